"""Staging entries that are stored already: the staged tree changes, and the stat cache follows.

The order is what makes it safe: packs, index, log entry, stat cache.
"""

from collections.abc import Iterable, Sequence

from dsvc.log.entry import RefChange
from dsvc.log.state import State
from dsvc.model.tree import Entry
from dsvc.odb.writer import DatabaseWriter, Sealed
from dsvc.worktree.session import Session, SessionChangedError, refuse_interrupted
from dsvc.worktree.stat_cache import Row, StatCache
from dsvc.worktree.unmerged import decide
from dsvc.worktree.worktree import Worktree

__all__ = ["Edit", "filled_folders", "stage"]

Edit = tuple[bytes, Entry | None]  # a path, and what is to be there


def stage(
    worktree: Worktree,
    writer: DatabaseWriter,
    edits: Sequence[Edit],
    rows: Sequence[Row],
    *,
    decided: Iterable[bytes] = (),
    decides: bool = True,
    seen: Session | None = None,
) -> None:
    """Apply *edits* to the staged tree; make it and all that *writer* holds durable; tell the cache *rows*.

    There is a row for each entry that *edits* put. What the program that stages them has got or used so far becomes
    an input of the next commit. The paths of *edits*, if that *decides* them, and those *decided* are in conflict no
    more. Should another process have staged something meanwhile, the edits are applied to that; but not on another
    branch than in the session in which the files were *seen*: what a switch took away was not removed by anybody.

    Raises:
        PathConflictError: A path would be a file and a folder at once.
        SwitchInterruptedError: A checkout is on its way, or was cut short.
        SessionChangedError: Another process has switched since the files were seen.
        SparseSetChangedError: Another process changed meanwhile which files are here.
    """
    state = worktree.store.state()
    base = worktree.staged_tree(state)
    staged = base
    paths = [*decided, *(path for path, _ in edits if decides)]
    if paths or edits:
        inputs = worktree.store.context.inputs()
        known = worktree.session(state).unfinished
        left = decide(worktree.store.objects, writer, known, paths)
        staged = base.apply(writer, edits)
        sealed: list[Sealed] = [writer.seal()]

        def build(state: State) -> Sequence[RefChange]:
            nonlocal base, staged, known, left
            session = worktree.session(state)
            # A switch on its way would put its own tree in place of this one.
            refuse_interrupted(session)
            if seen is not None and session.head != seen.head:
                raise SessionChangedError
            # Files that went with it were not removed by anybody.
            worktree.check_sparse_set()
            now = worktree.staged_tree(state)
            if now.root != base.root or session.unfinished != known:
                base, staged = now, now.apply(writer, edits)
                known = session.unfinished
                left = decide(worktree.store.objects, writer, known, paths)
                sealed.append(writer.seal())
            root = staged.root.hex() if staged.root != worktree.head_tree(state).root else None
            return [session.change(state, staged=root, inputs=session.with_inputs(inputs), unfinished=left)]

        worktree.store.publish(build, sealed)
    removed = [path for path, entry in edits if entry is None]
    worktree.update_cache(base, staged, rows, [*removed, *filled_folders(worktree.stat_cache, edits)])


def filled_folders(cache: StatCache, edits: Iterable[Edit]) -> list[bytes]:
    """Return the folders above *edits* that *cache* knows as empty ones, and that are so no more."""
    above: set[bytes] = set()
    for path, entry in edits:
        folder = path.rpartition(b"/")[0]
        while entry is not None and folder and folder not in above:
            above.add(folder)
            folder = folder.rpartition(b"/")[0]
    return [folder for folder in above if cache.row(folder) is not None]
