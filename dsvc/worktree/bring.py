"""Bringing the data that files need, in one go, before the first of them is touched.

A lazy clone may lack it. Processes that write files know of no remote, and what cannot be had must be known before
anything has changed.
"""

from collections.abc import Iterable

from dsvc.history.needs import bring_entries, chunks_of_entries
from dsvc.model.paths import quote_path
from dsvc.model.tree import Entry, EntryKind
from dsvc.odb.objects import OutOfReachError
from dsvc.progress import Progress
from dsvc.worktree.place import uncached
from dsvc.worktree.worktree import Worktree

__all__ = ["bring_content"]


def bring_content(worktree: Worktree, entries: Iterable[Entry], progress: Progress) -> None:
    """Let the content of *entries*, which are to be written, be here; where all data is here, nothing is looked at.

    Raises:
        OutOfReachError: The remote that has some of it cannot be reached.
        ObjectNotFoundError: Nobody has promised some of it.
    """
    objects = worktree.store.objects
    if objects.promisor is None:
        return
    wanted = uncached(worktree, [entry for entry in entries if entry.size and entry.kind <= EntryKind.SYMLINK])
    try:
        bring_entries(objects, wanted, progress)
    except OutOfReachError as error:
        raise OutOfReachError(_named(worktree, wanted), error.remote, error.reason) from error


def _named(worktree: Worktree, entries: Iterable[Entry]) -> str:
    """Return the first path that lacks data, and how many others do."""
    objects = worktree.store.objects
    lacking = [entry for entry in entries if any(one not in objects for one in chunks_of_entries(objects, [entry]))]
    more = f" and {len(lacking) - 1:,} more" if len(lacking) > 1 else ""
    return f"the data of {quote_path(lacking[0].path)}{more}" if lacking else "data"
