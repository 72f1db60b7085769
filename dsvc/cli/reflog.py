"""dsvc reflog: what a ref was before."""

import re
from collections.abc import Iterator
from itertools import chain, islice, pairwise
from typing import Annotated, Final, NamedTuple

from dsvc.cli import console, session
from dsvc.cli.errors import UsageError
from dsvc.cli.options import Json, argument, option
from dsvc.errors import CorruptionError, NotFoundError
from dsvc.history.revisions import Target, UnknownRevisionError, find_ref, peel, resolve_ref
from dsvc.log.reflog import reflog
from dsvc.log.refs import HEADS, short_name
from dsvc.log.state import State
from dsvc.model.ids import Kind, ObjectId
from dsvc.worktree.head import head_moves, read_head
from dsvc.worktree.worktree import Worktree

__all__ = ["command"]

_ID: Final = re.compile(r"[0-9a-f]{64}")


class _Change(NamedTuple):
    """One line: what the ref was after entry *seq*, None where it went; *head* is where HEAD was."""

    seq: int
    time: int
    actor: str
    command: str
    old: str | None
    new: str | None
    old_head: str | None = None
    head: str | None = None


def command(
    words: Annotated[tuple[str, ...], argument("REF", help="A branch or tag; by default HEAD.")] = (),
    *,
    max_count: Annotated[
        int | None, option("-n", "--max-count", metavar="N", digits=True, help="Show the last *N* changes only.")
    ] = None,
    json: Json = False,
) -> None:
    """Show what HEAD, or another ref, was before.

    Each line is one change, the newest first: the commit, the name by which it can be asked for,
    the command that made the change, when it was, and who did it. For HEAD that is every switch,
    and every change of the branch that it was on.

    The changes are in the log of the repository, which never forgets; a branch that was deleted
    still has its own. `dsvc undo` takes back the last one.

    Examples:
        $ dsvc reflog
        1a2b3c4d5e HEAD@{0}: commit: more cats (2 hours ago, ada@lab)
        5e4d3c2b1a HEAD@{1}: switch: moving from main to cats (3 hours ago, ada@lab)
        $ dsvc reflog -3 main
        $ dsvc switch --detach main@{1}

    Exit status:
        4 there never was such a ref

    See also:
        dsvc-undo(1), dsvc-log(1), dsvc-reset(1), dsvc-revisions(7)
    """
    # As git: `reflog show main`; a branch called `show` is `reflog show show`.
    refs = words[1:] if words[:1] == ("show",) else words
    if len(refs) > 1:
        message = f"unexpected argument `{refs[1]}`"
        raise UsageError(message)
    worktree = session.open_repository()
    state = worktree.store.state()
    name, changes = _changes(worktree, state, refs[0] if refs else "HEAD")
    now = session.now()[0]
    with console.pager(worktree.config):
        for number, change in enumerate(islice(changes, max_count)):
            if json:
                _print_json(name, number, change)
            else:
                _print(worktree, name, number, change, now)


def _changes(worktree: Worktree, state: State, word: str) -> tuple[str, Iterator[_Change]]:
    if word in ("HEAD", "@"):
        return "HEAD", _head_changes(worktree)
    ref = resolve_ref(worktree.store, state, word, head=read_head(worktree, state)) or _former_ref(state, word)
    if ref is None:
        raise UnknownRevisionError(word, "there never was such a ref")
    # By the name that was asked for: that is the one that can be typed again.
    name = word if find_ref(state, word) == ref else short_name(ref)
    return name, (
        _Change(update.seq, update.time, update.actor, update.command, update.old, update.new)
        for update in reflog(worktree.store.log, ref)
    )


def _former_ref(state: State, name: str) -> str | None:
    """Return the full name of a ref that was deleted."""
    known = (pattern.format(name) for pattern in ("{}", "refs/{}", "refs/tags/{}", "refs/heads/{}", "refs/remotes/{}"))
    return next((ref for ref in known if ref.startswith("refs/") and state.last_change(ref)), None)


def _head_changes(worktree: Worktree) -> Iterator[_Change]:
    moves = chain(head_moves(worktree.store.log), (None,))
    for move, before in pairwise(moves):
        if move is None or (before is None and move.commit is None):
            # Before its first commit, HEAD was nothing.
            return
        yield _Change(
            move.seq,
            move.time,
            move.actor,
            move.command,
            None if before is None or before.commit is None else before.commit.hex(),
            None if move.commit is None else move.commit.hex(),
            None if before is None else before.head,
            move.head,
        )


def _print(worktree: Worktree, name: str, number: int, change: _Change, now: int) -> None:
    value = change.new[:10] if change.new is not None and _ID.fullmatch(change.new) else "0" * 10
    when = console.relative_date(change.time, now)
    about = f"{change.command}: {_detail(worktree, change)}"
    who = console.paint(f"({when}, {change.actor})", "dim")
    console.out(f"{console.paint(value, 'yellow')} {name}@{{{number}}}: {about} {who}")


def _detail(worktree: Worktree, change: _Change) -> str:
    if change.old_head is not None and change.old_head != change.head and change.head is not None:
        return f"moving from {_place(change.old_head)} to {_place(change.head)}"
    if change.new is None:
        return "deleted" if change.head is None else "no commit yet"
    return _subject(worktree, change.new)


def _place(head: str) -> str:
    return short_name(head) if head.startswith(HEADS) else head[:10]


def _subject(worktree: Worktree, value: str) -> str:
    if not _ID.fullmatch(value):
        # What is said of a dataset.
        return value
    store, object_id = worktree.store, ObjectId.from_hex(value)
    kind = store.objects.kind_of(object_id)
    try:
        target = peel(store, Target(object_id, kind or Kind.COMMIT))
        return worktree.commit_of(target.id).subject
    except (NotFoundError, CorruptionError):
        return "(no longer here)"


def _print_json(name: str, number: int, change: _Change) -> None:
    record: dict[str, object] = {
        "ref": name,
        "number": number,
        "seq": change.seq,
        "time": change.time,
        "actor": change.actor,
        "command": change.command,
        "old": change.old,
        "new": change.new,
    }
    if change.head is not None:
        record |= {"old_head": change.old_head, "head": change.head}
    console.out_json(record)
