"""Verifying a log from its first entry: the chain, the rules, and the checkpoints."""

from collections.abc import Iterator

import msgspec

from dsvc.errors import CorruptionError
from dsvc.log.checkpoint import (
    CHECKPOINT_INTERVAL,
    encode_checkpoint,
    load_checkpoint,
    read_state_object,
    write_checkpoint,
)
from dsvc.log.entries import EntryReader
from dsvc.log.entry import CheckpointName, MalformedEntryError, decode_entry, hash_bytes
from dsvc.log.log import Log
from dsvc.log.replay import replay
from dsvc.log.state import State
from dsvc.odb.objects import MemoryObjects

__all__ = ["LogFault", "repair_checkpoint", "verify_log"]


class LogFault(msgspec.Struct, frozen=True):
    """What is wrong with entry *seq*. If it *is_void*, that harms nobody: all readers pass over it."""

    seq: int
    message: str
    is_void: bool


def verify_log(log: Log) -> Iterator[LogFault]:
    """Replay *log* from its first entry, and yield what is wrong with it.

    Raises:
        CorruptionError: An entry is missing, or lists that one names.
        UnsupportedFormatError: An entry needs a newer dsvc.
    """
    newest: CheckpointName | None = None
    for stretch in _stretches(log):
        yield from stretch.faults
        if stretch.named == stretch.right:
            newest = stretch.named
        elif stretch.named is not None:
            seq = stretch.state.seq
            yield LogFault(seq + 1, f"it names a checkpoint that is not that of entry {seq}", is_void=False)
    if newest is not None:
        yield from _unreadable(log, newest)


def repair_checkpoint(log: Log) -> CheckpointName | None:
    """Store the newest checkpoint of *log* again, as replay from the first entry gives it; return its name.

    None means that there is none yet.

    Raises:
        CorruptionError: An entry is missing, or lists that one names.
        UnsupportedFormatError: An entry needs a newer dsvc.
    """
    newest: State | None = None
    for stretch in _stretches(log):
        newest = stretch.state if stretch.named == stretch.right else newest
    # Without what it has in memory already, or its pages would be taken for stored.
    return None if newest is None else write_checkpoint(log.backend, newest.flat())[0]


class _Stretch(msgspec.Struct):
    """Entries up to where the next one may name a checkpoint, or to the head.

    *state* is the one after them, *right* what its checkpoint is called, *named* what the next entry
    calls it, and *faults* are the void entries among them.
    """

    state: State
    right: CheckpointName
    named: CheckpointName | None
    faults: list[LogFault]


def _stretches(log: Log) -> Iterator[_Stretch]:
    head = log.head().seq
    state = State.empty(log.store.genesis)
    pages = MemoryObjects()
    while state.seq < head:
        following = state.seq + 1
        last = min(head, following + CHECKPOINT_INTERVAL - 1 - following % CHECKPOINT_INTERVAL)
        entries = EntryReader(log.backend).read_all(following, min(head, last + 1) + 1)
        faults: list[LogFault] = []
        state = replay(
            state,
            entries[: last + 1 - following],
            lambda name: read_state_object(log.backend, name),
            lambda seq, reason, faults=faults: faults.append(LogFault(seq, str(reason), is_void=True)),  # type: ignore[misc]
        )
        data, state = encode_checkpoint(state, pages)
        right = CheckpointName(state.seq, hash_bytes(data))
        yield _Stretch(state, right, _named(entries[-1]) if last < head else None, faults)


def _named(raw: bytes) -> CheckpointName | None:
    try:
        return decode_entry(raw).checkpoint
    except MalformedEntryError:
        return None


def _unreadable(log: Log, name: CheckpointName) -> Iterator[LogFault]:
    """Read the whole checkpoint *name*, and yield what is wrong with it, or nothing."""
    try:
        state = load_checkpoint(log.backend, name)
        for table in (state.refs, state.deleted, state.packs, state.segments, state.doomed, state.swept):
            len(table)
    except CorruptionError as error:
        yield LogFault(name.seq + 1, str(error), is_void=False)
