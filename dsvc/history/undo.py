"""Operations: what was done to a repository, one after the other, and where `undo` and `redo` have got to.

An operation is an entry of the log that changed branches, tags or a worktree's session, together with
the entries that only prepared it: the beginning of a switch, and the staging of `commit -a`. What
a fetch or push remembers of remotes is none, nor is what others push into this store, nor a published tag or what is
said of a dataset, where they came from a remote.

Undoing makes a new entry, whose command says where that leads: `undo to 16` makes everything as it was
after entry 16, and what comes to be undone next is the operation that ended there; so undoing
again goes further back. `redo to 17` goes forward the same way, until something else is done. What
is undone and redone stays in the log, so nothing is lost by either.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from dsvc.errors import NotFoundError
from dsvc.log.entry import LogEntry, RefChange
from dsvc.log.log import Log
from dsvc.log.refs import DATASETS, HEADS, TAGS, WORKTREES

__all__ = [
    "NothingToRedoError",
    "NothingToUndoError",
    "Operation",
    "Step",
    "next_redo",
    "next_undo",
    "operations",
    "redo_command",
    "undo_command",
    "undoable",
]

_STEP: Final = re.compile(r"(undo|redo) to ([0-9]{1,18})")
_BEGINNINGS: Final = frozenset({"init", "clone"})
_FOREIGN: Final = "push"
# What else publishes tags, and says things of datasets, has it from a remote.
_PUBLISH: Final = "publish"
_DATASET: Final = "dataset"


class NothingToUndoError(NotFoundError):
    """Nothing was done, or all of it was undone."""

    def __init__(self) -> None:
        super().__init__("nothing to undo")


class NothingToRedoError(NotFoundError):
    """Nothing was undone, or something else was done since."""

    def __init__(self) -> None:
        super().__init__("nothing to redo")


class Operation(msgspec.Struct, frozen=True):
    """What one command did: entries *first* to *last*, and what became of each ref on the whole.

    *published* are the tags that it published. *moved_files* tells that files went along, as in a switch.
    """

    first: int
    last: int
    time: int
    actor: str
    command: str
    changes: Mapping[str, RefChange]
    published: frozenset[str]
    moved_files: bool

    @property
    def leads_to(self) -> int | None:
        """The entry whose state an undo or redo restored."""
        found = _STEP.fullmatch(self.command)
        return int(found[2]) if found else None


class Step(msgspec.Struct, frozen=True):
    """One undo or redo: the *operation* that it reverts or repeats, and the entry whose state it restores."""

    operation: Operation
    leads_to: int


def undo_command(seq: int) -> str:
    """Return the command of an entry that undoes all after entry *seq*."""
    return f"undo to {seq}"


def redo_command(seq: int) -> str:
    """Return the command of an entry that does again what was done up to entry *seq*."""
    return f"redo to {seq}"


def operations(log: Log, start: int | None = None) -> Iterator[Operation]:
    """Yield the operations that ended at entry *start*, or at the head, or before, the newest first."""
    prepared: set[int] = set()
    for entry in log.newest_entries(start):
        if entry.seq in prepared:
            continue
        changes = _local_changes(log, entry)
        if not changes and not _published(log, entry):
            continue
        entries = [entry, *_preparations(log, entry, changes)]
        prepared.update(one.seq for one in entries)
        operation = _operation(log, entries)
        if operation.changes or operation.published:
            yield operation


def undoable(log: Log) -> Iterator[Operation]:
    """Yield what can be undone, in the order in which it would be."""
    seq: int | None = None
    while True:
        operation = _top(log, seq)
        if operation is None:
            return
        yield operation
        seq = operation.first - 1


def next_undo(log: Log) -> Step:
    """Return what undoing would do now.

    Raises:
        NothingToUndoError: There is nothing.
    """
    operation = _top(log, None)
    if operation is None:
        raise NothingToUndoError
    return Step(operation, operation.first - 1)


def next_redo(log: Log) -> Step:
    """Return what redoing would do now.

    Raises:
        NothingToRedoError: There is nothing.
    """
    steps: list[Operation] = []
    for operation in operations(log):
        if operation.leads_to is None:
            break
        steps.append(operation)
    undone: list[int] = []
    for step in reversed(steps):
        if step.command.startswith("undo"):
            undone.append(_undone_by(log, step))
        elif undone:
            undone.pop()
    if not undone:
        raise NothingToRedoError
    operation = next(operations(log, undone[-1]))
    return Step(operation, operation.last)


def _top(log: Log, seq: int | None) -> Operation | None:
    """Return the operation whose outcome is there after entry *seq*, or at the head."""
    while True:
        operation = next(operations(log, seq), None) if seq != 0 else None
        if operation is None or operation.command in _BEGINNINGS:
            return None
        if operation.leads_to is None:
            return operation
        seq = operation.leads_to


def _undone_by(log: Log, undo: Operation) -> int:
    """Return the last entry of the operation that *undo* reverted."""
    operation = _top(log, undo.first - 1)
    # It was there, or the undo would not be.
    return 0 if operation is None else operation.last


def _local_changes(log: Log, entry: LogEntry) -> list[RefChange]:
    if entry.command == _FOREIGN:
        return []
    is_ours = entry.command == _DATASET or _STEP.fullmatch(entry.command)
    kinds = (HEADS, TAGS, WORKTREES, *([DATASETS] if is_ours else []))
    return [
        change
        for transaction in log.transactions(entry)
        for change in transaction.ops
        if change.ref.startswith(kinds) and (not change.publish or entry.command == _PUBLISH)
    ]


def _published(log: Log, entry: LogEntry) -> frozenset[str]:
    return frozenset(change.ref for change in _local_changes(log, entry) if change.publish)


def _preparations(log: Log, entry: LogEntry, changes: list[RefChange]) -> list[LogEntry]:
    """Return the entry that began what *entry* ended."""
    for change in changes:
        if not change.ref.startswith(WORKTREES) or not change.prev:
            continue
        before = log.entry(change.prev)
        if _read(change.old).switching is not None or _is_staging_of(log, before, entry, change):
            return [before]
    return []


def _is_staging_of(log: Log, before: LogEntry, entry: LogEntry, change: RefChange) -> bool:
    """Tell whether *before* is what `commit -a` staged, for *entry* to commit."""
    changes = _local_changes(log, before)
    return (
        before.command == entry.command == "commit"
        and before.actor == entry.actor
        and [one.ref for one in changes] == [change.ref]
        and _read(changes[0].old).head == _read(changes[0].new).head
    )


def _operation(log: Log, entries: list[LogEntry]) -> Operation:
    net: dict[str, RefChange] = {}
    published: frozenset[str] = frozenset()
    for entry in reversed(entries):
        published |= _published(log, entry)
        for change in _local_changes(log, entry):
            earlier = net.get(change.ref, change)
            net[change.ref] = RefChange(change.ref, earlier.old, change.new)
    last = entries[0]
    return Operation(
        first=entries[-1].seq,
        last=last.seq,
        time=last.time,
        actor=last.actor,
        command=entries[-1].command if _STEP.fullmatch(entries[-1].command) else last.command,
        changes={ref: change for ref, change in net.items() if change.old != change.new},
        published=published,
        moved_files=any(
            change.ref.startswith(WORKTREES) and _read(change.old).switching is not None
            for change in _local_changes(log, last)
        ),
    )


class _Session(msgspec.Struct):
    """Of a worktree's session, what is needed here. Before there is one, HEAD is an unborn main."""

    head: str = f"{HEADS}main"
    switching: object = None


def _read(value: str | None) -> _Session:
    return _Session() if value is None else msgspec.json.decode(value, type=_Session)
