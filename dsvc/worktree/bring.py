"""Bringing the data that files need, in one go, before the first of them is touched.

A lazy clone may lack it. Processes that write files know of no remote, and what cannot be had must be known before
anything has changed.
"""

from collections.abc import Iterable
from itertools import islice
from typing import Final

from dsvc.history.needs import bring_files
from dsvc.model.tree import Entry, EntryKind
from dsvc.progress import Progress
from dsvc.worktree.place import uncached
from dsvc.worktree.worktree import Worktree

__all__ = ["bring_content"]

# Files, of which a promise brings some thousand at once.
_AT_ONCE: Final = 1 << 16


def bring_content(worktree: Worktree, entries: Iterable[Entry], progress: Progress) -> None:
    """Let the content of *entries*, which are to be written, be here; where nothing is promised, nothing is looked at.

    Raises:
        OutOfReachError: The remote that has some of it cannot be reached.
        ObjectNotFoundError: Nobody has promised some of it.
    """
    objects = worktree.store.objects
    if objects.promisor is not None:
        wanted = (entry for entry in entries if entry.size and entry.kind <= EntryKind.SYMLINK)
        while some := list(islice(wanted, _AT_ONCE)):
            bring_files(objects, uncached(worktree, some), progress)
