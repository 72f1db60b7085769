"""dsvc undo: take back what was done last."""

from itertools import islice
from typing import Annotated

from dsvc.cli import console, session
from dsvc.cli.errors import UsageError
from dsvc.cli.options import Jobs, Json, Quiet, option
from dsvc.cli.progress_bar import progress_bar
from dsvc.cli.workers import workers
from dsvc.history.undo import Operation, undoable
from dsvc.log.entry import RefChange
from dsvc.log.refs import DATASETS, WORKTREES, short_name
from dsvc.worktree.session import decode_session
from dsvc.worktree.undo import Undone, redo, undo
from dsvc.worktree.worktree import Worktree

__all__ = ["command"]

_LISTED = 10


def command(
    *,
    count: Annotated[
        int | None, option("-n", "--number", metavar="N", digits=True, help="Take back the last *N* operations.")
    ] = None,
    list_: Annotated[
        bool, option("-l", "--list", help="List what would be taken back, by default ten operations.")
    ] = False,
    again: Annotated[bool, option("--redo", help="Do again what was taken back.")] = False,
    jobs: Jobs = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Take back what was done last.

    An operation is what one command did to branches, to tags, to HEAD and to what is staged: an `add`, a
    `commit`, a `switch`, a `reset`, a `branch -D`, a `tag`. Undoing it gives them the values that they
    had. The log keeps everything, so an undo is itself written there.

    Undoing again goes further back, one operation at a time. `--redo` goes forward again, until
    something else is done: what was taken back then stays in `dsvc reflog`, and is out of reach of
    `--redo`.

    Files follow where the operation took them along: for `switch`, `merge`, `reset --hard` and the like
    they become what they were, as in a switch, and nothing is done if local changes would be lost.
    After `rm` and `mv`, files that were not touched since come back. After an `add` or a `commit`, the
    files stay as they are. What was never staged cannot come back: edits that `reset --hard` or
    `restore` gave up are gone.

    What a fetch or a push remembered of remotes stays, and so does what others pushed into this
    repository. A published tag is never taken back.

    Examples:
        $ dsvc branch -D topic
        $ dsvc undo
        undid branch: topic is at 1a2b3c4d5e again
        $ dsvc undo --list
        $ dsvc undo -n 2
        $ dsvc undo --redo

    Exit status:
        4 there is nothing to undo or redo, or what a ref was is no longer stored
        5 local changes would be lost, or somebody else has moved a ref
        10 a tag is published

    See also:
        dsvc-reflog(1), dsvc-reset(1), dsvc-restore(1)
    """
    console.set_quiet(quiet)
    if count is not None and count < 1:
        message = f"cannot take back {count} operations"
        raise UsageError(message)
    if list_ and again:
        message = "choose one of `--list` and `--redo`"
        raise UsageError(message)
    worktree = session.open_worktree()
    if list_:
        with console.pager(worktree.config):
            _list(worktree, count or _LISTED, json=json)
        return
    verb = "redid" if again else "undid"
    for _ in range(count or 1):
        with progress_bar() as progress:
            change = redo if again else undo
            undone = change(worktree, workers=workers(worktree.config, jobs), progress=progress)
        if json:
            console.out_json(_record(undone.operation) | {"files": undone.files})
        else:
            console.say(f"{verb} {undone.operation.command}: {_outcome(undone)}")


def _outcome(undone: Undone) -> str:
    # What is said of a dataset follows its name.
    changes = [change for change in undone.changes if not change.ref.startswith(DATASETS)] or undone.changes
    told = [text for change in changes for text in _change_texts(change)]
    if undone.files:
        told.append(console.plural(undone.files, "path") + " updated")
    return ", ".join(told) or "nothing else changed"


def _change_texts(change: RefChange) -> list[str]:
    if change.ref.startswith(DATASETS):
        return [f"what is said of {short_name(change.ref)} is as it was"]
    if not change.ref.startswith(WORKTREES):
        name = short_name(change.ref)
        return [f"{name} is gone" if change.new is None else f"{name} is at {change.new[:10]} again"]
    old, new = decode_session(change.old), decode_session(change.new)
    told = []
    if old.head != new.head:
        told.append(f"HEAD is {_place(new.head)} again")
    if old.verb != new.verb:
        told.append(f"the {new.verb} is to be concluded again" if new.verb else f"there is no {old.verb} any more")
    if old.staged != new.staged:
        told.append("nothing is staged" if new.staged is None else "what is staged is as it was")
    return told


def _place(head: str) -> str:
    return short_name(head) if head.startswith("refs/") else head[:10]


def _list(worktree: Worktree, count: int, *, json: bool) -> None:
    now = session.now()[0]
    for number, operation in enumerate(islice(undoable(worktree.store.log), count), 1):
        if json:
            console.out_json({"number": number, **_record(operation)})
            continue
        when = console.relative_date(operation.time, now)
        who = console.paint(f"({when}, {operation.actor})", "dim")
        console.out(f"{number:>3}  {operation.command}: {_summary(operation)} {who}")


def _summary(operation: Operation) -> str:
    told = []
    for change in operation.changes.values():
        if change.ref.startswith(WORKTREES):
            old, new = decode_session(change.old), decode_session(change.new)
            if old.head != new.head:
                told.append(f"HEAD {_place(old.head)} -> {_place(new.head)}")
            if old.verb != new.verb:
                told.append(f"{old.verb} ended" if new.verb is None else f"{new.verb} to be concluded")
            elif old.staged != new.staged and new.staged is not None:
                told.append("staged")
        elif change.ref.startswith(DATASETS):
            told.append(f"what is said of {short_name(change.ref)}")
        else:
            old_id, new_id = ((value or "nothing")[:10] for value in (change.old, change.new))
            told.append(f"{short_name(change.ref)} {old_id} -> {new_id}")
    told.extend(f"published {short_name(ref)}" for ref in sorted(operation.published))
    return ", ".join(told) or "unstaged"


def _record(operation: Operation) -> dict[str, object]:
    return {
        "first": operation.first,
        "last": operation.last,
        "time": operation.time,
        "actor": operation.actor,
        "command": operation.command,
        "changes": [{"ref": change.ref, "old": change.old, "new": change.new} for change in operation.changes.values()],
        "published": sorted(operation.published),
    }
