"""The log of a store: finding its head, and adding to it.

Every change of a store is one more entry, created exclusively: of all writers in the world one
gets each number, and the others look again. There is no lock, no server and no clock.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from time import sleep
from typing import Final

import msgspec

from dsvc.errors import BusyError, CorruptionError, DsvcError, RefusedError, StorageError
from dsvc.log.append import create_entry, pause
from dsvc.log.checkpoint import CHECKPOINT_INTERVAL, load_checkpoint, read_state_object, write_checkpoint
from dsvc.log.entries import HINT_INTERVAL, HINT_KEY, EntryReader, decode_hint, encode_hint, entry_key
from dsvc.log.entry import (
    ENTRY_VERSION,
    CheckpointName,
    LogEntry,
    MalformedEntryError,
    Transaction,
    decode_entry,
    encode_entry,
    hash_bytes,
    read_link,
    state_key,
)
from dsvc.log.refs import check_ref_name, check_ref_value
from dsvc.log.replay import InvalidTransactionError, merge_holds, replay, resolve_lists
from dsvc.log.state import LogPosition, State
from dsvc.log.store import CONFIG_KEY, Store, create_store, decode_store
from dsvc.storage.backend import Backend

__all__ = ["ChangedEntryError", "Log", "LogContendedError", "RewoundError"]

_MAX_TEXT_LENGTH: Final = 1000
_ATTEMPTS: Final = 40


class LogContendedError(BusyError):
    """Other writers were faster, again and again."""


class RewoundError(RefusedError):
    """The log is not the one that was read before, or has lost entries since."""

    def __init__(self, position: LogPosition) -> None:
        super().__init__(f"entry {position.seq} of the log, once read, is no longer there")
        self.position = position


class ChangedEntryError(CorruptionError):
    """An entry is not what it was, or not there any more, so it and the later ones count for nothing."""

    def __init__(self, seq: int) -> None:
        super().__init__(f"{entry_key(seq) if seq else CONFIG_KEY} was changed or removed after it was written")
        self.seq = seq


class Log:
    """The log of the store in a backend. Safe to use from several threads.

    In a log of our *own*, nobody writes what counts for nothing.
    """

    def __init__(self, backend: Backend, *, own: bool = False) -> None:
        self.backend: Final = backend
        self._own = own
        self._changed: int | None = None
        self._store: Store | None = None
        self._state: State | None = None
        # Whether `_state` was remembered from an earlier reading, and this one has yet to find it there.
        self._unchecked = False

    @classmethod
    def create(cls, backend: Backend, *, store_id: str) -> "Log":
        """Make *backend* an empty store called *store_id*, which nobody else may use, and return its log.

        Raises:
            StoreExistsError: It is another store already.
        """
        log = cls(backend)
        log._store = create_store(backend, store_id=store_id)
        return log

    @property
    def store(self) -> Store:
        """The store that this is the log of.

        Raises:
            StoreNotFoundError: There is none.
            UnsupportedFormatError: A newer dsvc made it.
        """
        if self._store is None:
            self._store = decode_store(self.backend.read_many([CONFIG_KEY])[0])
        return self._store

    def resume(self, state: State) -> None:
        """Go on from *state*, as `head` has returned it once, where nothing was read yet.

        Whether the log still leads there is looked at when it is read.
        """
        if self._state is None:
            self._state, self._unchecked = state, True

    def head(self) -> State:
        """Return the state after the last entry.

        Raises:
            StoreNotFoundError: There is no store.
            UnsupportedFormatError: It needs a newer dsvc.
            RewoundError: Entries that this log has read before are no longer there.
        """
        known = self._state
        if known is not None and self._unchecked:
            self._state = state = self._resumed(known)
        else:
            self._state = state = self._open() if known is None else self._refreshed(known)
        return state

    def last(self) -> State:
        """Return the state that was read last, without a look at whether others have added to it since."""
        return self.head() if self._state is None or self._unchecked else self._state

    def state_at(self, seq: int) -> State:
        """Return the state after entry *seq*, which is there."""
        return self._build(EntryReader(self.backend), seq)

    def _open(self) -> State:
        config, hint_value = self.backend.read_many([CONFIG_KEY, HINT_KEY])
        self._store = decode_store(config)
        entries, hint = EntryReader(self.backend), decode_hint(hint_value)
        head = entries.find_head(hint, hint - hint % CHECKPOINT_INTERVAL)
        state = self._build(entries, head)
        # The first is read anew: others may have added both after it was looked for.
        if self._own and entries.read([head + 2]) != [None] and self.backend.read_many([entry_key(head + 1)]) == [None]:
            self._changed = head + 1
        return state

    def _resumed(self, state: State) -> State:
        # In one go: the store, the entry that is known, and the one behind it, which mostly is not there.
        seqs = (state.seq, state.seq + 1)
        config, *raws = self.backend.read_many([CONFIG_KEY, *map(entry_key, seqs)])
        self._store = decode_store(config)
        found = self._store.genesis if not state.seq else None if raws[0] is None else hash_bytes(raws[0])
        if found != state.hash:
            raise RewoundError(state.position)
        self._unchecked = False
        return self._refreshed(state, EntryReader(self.backend, dict(zip(seqs, raws, strict=True))))

    def _refreshed(self, state: State, entries: EntryReader | None = None) -> State:
        entries = entries or EntryReader(self.backend)
        following = state.seq + 1
        if entries.read([following]) == [None]:
            return state
        head = entries.find_head(following, following)
        self._check_continues(state, entries.read([following])[0])
        if head - state.seq > 2 * CHECKPOINT_INTERVAL:
            return self._build(entries, head)
        return self._replayed(state, entries, head)

    def _build(self, entries: EntryReader, head: int) -> State:
        """Return the state after entry *head*, from the newest checkpoint that can be read."""
        for seq in range(head - head % CHECKPOINT_INTERVAL, 0, -CHECKPOINT_INTERVAL):
            with suppress(CorruptionError):
                state = self._from_checkpoint(entries.read_all(seq, seq + 1)[0], seq)
                if state is not None:
                    return self._replayed(state, entries, head)
        return self._replayed(State.empty(self.store.genesis), entries, head)

    def _replayed(self, state: State, entries: EntryReader, head: int) -> State:
        raws = entries.read_all(state.seq + 1, head + 1)
        void: list[int] = []
        after = replay(state, raws, self._read_lists, lambda seq, _: void.append(seq))
        if void:
            self._changed = self._find_changed(state, raws, void)
        return after

    def _find_changed(self, state: State, raws: list[bytes], void: list[int]) -> int | None:
        """Return which of the entries *raws* behind *state* was changed, given those that are *void*."""
        hashes = [state.hash, *map(hash_bytes, raws)]
        for seq in void:
            link = read_link(raws[seq - state.seq - 1])
            # Whoever wrote it had read the one before.
            if link is not None and link.seq == seq and link.prev_hash != hashes[seq - state.seq - 1]:
                return seq - 1
        head = state.seq + len(raws)
        return head if self._own and head in void else None

    def check_unchanged(self) -> None:
        """Check that no entry was changed after it was written, as far as what was read so far can tell.

        Replay passes over it, and so over all that was done since; who would go on from there could lose that.

        Raises:
            ChangedEntryError: One was.
        """
        if self._changed is not None:
            raise ChangedEntryError(self._changed)

    def _from_checkpoint(self, raw: bytes, seq: int) -> State | None:
        """Return the state before entry *seq*, whose bytes are *raw*, if it names a checkpoint of it."""
        try:
            entry = decode_entry(raw)
        except MalformedEntryError:
            return None
        name = entry.checkpoint
        if name is None or name.seq != seq - 1 or entry.seq != seq:
            return None
        state = load_checkpoint(self.backend, name)
        return state if state.hash == entry.prev_hash else None

    def _check_continues(self, state: State, raw: bytes | None) -> None:
        """Check that *raw*, the entry after *state*, was written after what we know, not in place of it."""
        try:
            if raw is None or decode_entry(raw).prev_hash == state.hash:
                return
        except MalformedEntryError:
            pass
        # A void entry, the same for all; or our own past has changed, and we would be the only ones to call it void.
        self._check_entry(state.position)

    def _check_entry(self, position: LogPosition) -> None:
        if position.seq:
            raw = EntryReader(self.backend).read([position.seq])[0]
            found = None if raw is None else hash_bytes(raw)
        else:
            found = self.store.genesis
        if found != position.hash:
            raise RewoundError(position)

    def check_not_rewound(self, position: LogPosition) -> None:
        """Check that the log still has what somebody has read of it before.

        Raises:
            RewoundError: It ends before *position*, or has another entry there.
        """
        state = self.head()
        if position.seq > state.seq:
            raise RewoundError(position)
        if position != state.position:
            self._check_entry(position)

    def entry(self, seq: int) -> LogEntry:
        """Return entry *seq*, which is there, as it was written. See `transactions`.

        Raises:
            MalformedEntryError: It is no entry; all readers pass over it.
        """
        return decode_entry(EntryReader(self.backend).read_all(seq, seq + 1)[0])

    def entries(self, start: int = 1, stop: int | None = None) -> Iterator[LogEntry]:
        """Yield entries *start* to *stop* - 1, to the head if *stop* is None, oldest first.

        Malformed ones are left out, others that are void are not.
        """
        return self._decoded(start, self.head().seq + 1 if stop is None else stop)

    def newest_entries(self, start: int | None = None) -> Iterator[LogEntry]:
        """Yield the entries from *start*, or the head, down to the first one.

        Malformed ones are left out, others that are void are not.
        """
        return self._decoded(self.head().seq if start is None else start, 0)

    def _decoded(self, start: int, stop: int) -> Iterator[LogEntry]:
        for _, raw in EntryReader(self.backend).stream(start, stop):
            try:
                yield decode_entry(raw)
            except MalformedEntryError:
                continue

    def transactions(self, entry: LogEntry) -> list[Transaction]:
        """Return the transactions of *entry*, with the long lists that it only names."""
        return resolve_lists(entry, self._read_lists)

    def _read_lists(self, name: str) -> bytes:
        return read_state_object(self.backend, name)

    def commit(
        self,
        build: Callable[[State], Transaction | None],
        *,
        actor: str,
        time: int,
        command: str,
        nonce: Callable[[], str],
        attempts: int = _ATTEMPTS,
        wait: Callable[[float], None] = sleep,
        at_once: bool = False,
    ) -> State:
        """Add the transaction that *build* returns for the state at the head; return the state after it.

        With *at_once*, the state that was read last is taken for that at first, without another look: the key that
        comes next is created only if it is not there, so should it be outdated, nothing happens.

        If another writer is faster, *build* is asked again for the state that this one has made, up to
        *attempts* times, with a pause in seconds passed to *wait* between. It may return None:
        there is nothing to do. It need not set `prev` in changes of refs. *time* is in
        microseconds since 1970 UTC; *nonce* returns another word at each call.

        Raises:
            RefMovedError: A ref is not at its `old` value.
            PublishedTagError: It would move a published tag.
            InvalidRefNameError: A ref may not be called so, or have such a value.
            InvalidTransactionError: It breaks a rule about packs and segments.
            LogContendedError: All attempts lost.
            CommitUnknownError: The backend failed in a way that leaves open what happened.
            StorageError: The backend failed, and nothing has changed.
        """
        for attempt in range(attempts):
            state = self.last() if at_once and not attempt else self.head()
            transaction = build(state)
            if transaction is None:
                return state
            base, checkpoint = self._checkpointed(state)
            entry = LogEntry(
                v=ENTRY_VERSION,
                require=[],
                seq=base.seq + 1,
                prev_hash=base.hash,
                nonce=nonce(),
                actor=_clean(actor),
                time=time,
                command=_clean(command),
                transactions=[_linked(base, transaction)],
                checkpoint=checkpoint,
            )
            after = self._append(base, entry, wait)
            if after is not None:
                self._state = after
                self._write_hint(after.seq)
                return after
            wait(pause(entry.nonce, attempt))
        message = f"other writers were faster {attempts} times"
        raise LogContendedError(message)

    def _checkpointed(self, state: State) -> tuple[State, CheckpointName | None]:
        if (state.seq + 1) % CHECKPOINT_INTERVAL:
            return state, None
        try:
            name, rebased = write_checkpoint(self.backend, state)
        except (StorageError, CorruptionError):
            # It saves readers time, no more. If something is wrong, the entry itself will meet it.
            return state, None
        return rebased, name

    def _append(self, state: State, entry: LogEntry, wait: Callable[[float], None]) -> State | None:
        """Create *entry* behind *state*; return the state after it, or None if another writer was first."""
        raw, objects = encode_entry(entry)
        lists = {hash_bytes(data): data for data in objects}
        # What would be void is not written: it raises here, for the same reasons.
        after = replay(state, [raw], lists.__getitem__, _raise)
        for name, data in lists.items():
            self.backend.write(state_key(name), data)
        return after if create_entry(self.backend, entry, raw, wait) else None

    def _write_hint(self, seq: int) -> None:
        if seq % HINT_INTERVAL == 0:
            # The entry is in the log. A hint that is old costs the next reader a request.
            with suppress(StorageError):
                self.backend.write(HINT_KEY, encode_hint(seq))


def _linked(state: State, transaction: Transaction) -> Transaction:
    """Return *transaction* with the link of each change of a ref to the one before."""
    for change in transaction.ops:
        check_ref_name(change.ref)
        for value in (change.old, change.new):
            if value is not None:
                check_ref_value(change.ref, value)
    if not merge_holds(state, transaction):
        message = "a segment to be dropped is no longer live"
        raise InvalidTransactionError(message)
    ops = [msgspec.structs.replace(change, prev=state.last_change(change.ref)) for change in transaction.ops]
    return msgspec.structs.replace(transaction, ops=ops)


def _clean(text: str) -> str:
    """Return *text* as the log can hold it: not too long, and without the lone surrogates of odd file names."""
    return text[:_MAX_TEXT_LENGTH].encode("utf-8", "backslashreplace").decode()


def _raise(_seq: int, reason: DsvcError) -> None:
    raise reason
