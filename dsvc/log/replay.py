"""Replay: how an entry changes a state, the same for all who read it.

An entry that is malformed, or that breaks a rule, is void: it changes nothing, and the chain goes
on behind it. So a bad writer harms nobody, and a log never needs repair. Rules ask only what the
entries say, never a clock, never what lies in the store.
"""

from collections.abc import Callable, Iterable, Sequence

import msgspec

from dsvc.errors import ConflictError, DsvcError, InvalidInputError, RefusedError
from dsvc.log.entry import (
    LogEntry,
    MalformedEntryError,
    RefChange,
    Transaction,
    decode_entry,
    decode_lists,
    hash_bytes,
    tail_generation,
)
from dsvc.log.refs import TAGS, InvalidRefNameError, check_ref_name, check_ref_value
from dsvc.log.state import Ref, Standing, State

__all__ = [
    "InvalidTransactionError",
    "PublishedTagError",
    "ReadLists",
    "RefMovedError",
    "merge_holds",
    "replay",
    "resolve_lists",
]

ReadLists = Callable[[str], bytes]


class RefMovedError(ConflictError):
    """A ref is not where the change says that it was."""

    def __init__(self, ref: str, expected: str | None, found: str | None) -> None:
        super().__init__(f"{ref} was to be at {expected or 'nothing'}, and is at {found or 'nothing'}")
        self.ref = ref
        self.expected = expected
        self.found = found


class PublishedTagError(RefusedError):
    """A published tag stays where it is."""

    def __init__(self, ref: str) -> None:
        super().__init__(f"{ref} is published: it can be neither moved nor deleted")
        self.ref = ref


class InvalidTransactionError(InvalidInputError):
    """A transaction that no state allows, or not this one: a rule about packs, segments or order."""


# What makes an entry void. UnsupportedFormatError is not among them: who cannot read must not go on.
_VOID = (
    MalformedEntryError,
    InvalidRefNameError,
    InvalidTransactionError,
    RefMovedError,
    PublishedTagError,
)


def _ignore(_seq: int, _reason: DsvcError) -> None:
    pass


def replay(
    state: State,
    entries: Iterable[bytes],
    read_lists: ReadLists,
    on_void: Callable[[int, DsvcError], None] = _ignore,
) -> State:
    """Return the state after *entries*, the bytes of those that follow *state*.

    *read_lists* returns the verified bytes of the object that a transaction names as its lists;
    *on_void* is told of each entry that changes nothing, and why.

    Raises:
        UnsupportedFormatError: An entry needs a newer dsvc.
    """
    draft = state.copy()
    for raw in entries:
        seq, reason = draft.seq + 1, None
        try:
            entry = decode_entry(raw)
            transactions = _check(draft, entry, read_lists)
        except _VOID as error:
            reason = error
            draft = msgspec.structs.replace(draft, seq=seq, hash=hash_bytes(raw))
        else:
            draft = _apply(draft, entry, transactions, hash_bytes(raw))
        if reason is not None:
            on_void(seq, reason)
    return draft


def resolve_lists(entry: LogEntry, read_lists: ReadLists) -> list[Transaction]:
    """Return the transactions of *entry*, with the lists that it only names.

    Raises:
        MalformedEntryError: What it names is something else.
    """
    return [
        transaction if transaction.lists is None else transaction.joined(decode_lists(read_lists(transaction.lists)))
        for transaction in entry.transactions
    ]


def merge_holds(state: State, transaction: Transaction) -> bool:
    """Tell whether all segments that *transaction* drops are live; else its part about the index is void."""
    return all(tail in state.segments for tail in transaction.drop_index)


def _check(state: State, entry: LogEntry, read_lists: ReadLists) -> list[Transaction]:
    """Return the transactions of *entry*, whole, if all of them hold in *state*, the one before it."""
    if entry.seq != state.seq + 1 or entry.prev_hash != state.hash:
        message = f"entry {state.seq + 1} does not follow the entry before it"
        raise InvalidTransactionError(message)
    transactions = resolve_lists(entry, read_lists)
    if len(transactions) > 1 and any(each.mark or each.sweep for each in transactions):
        # What is marked and what is added must be seen in one order, by all.
        message = "a mark or a sweep shares its entry with other transactions"
        raise InvalidTransactionError(message)
    rescued = {tail for transaction in transactions for tail in transaction.rescue}
    changed: set[str] = set()
    for transaction in transactions:
        for change in transaction.ops:
            _check_change(state, change, changed)
        _check_tails(state, transaction, rescued)
    return transactions


def _check_change(state: State, change: RefChange, changed: set[str]) -> None:
    ref, new = check_ref_name(change.ref), change.new
    if new is not None:
        check_ref_value(ref, new)
    current = state.refs.get(ref)
    found = current.value if current else None
    if change.old != found:
        raise RefMovedError(ref, change.old, found)
    if current and current.published and new != found:
        raise PublishedTagError(ref)
    if change.publish and (new is None or not ref.startswith(TAGS)):
        message = f"only a tag can be published, and {ref} is none"
        raise InvalidTransactionError(message)
    if ref in changed or found is new is None or change.prev != state.last_change(ref):
        # A reflog is a walk along `prev`: one change of a ref in an entry, and each names the one before.
        message = f"{ref} changes twice, or from nothing to nothing, or out of order"
        raise InvalidTransactionError(message)
    changed.add(ref)


def _check_tails(state: State, transaction: Transaction, rescued: set[str]) -> None:
    for tail in transaction.add_packs:
        _check_added(state, tail, rescued, is_pack=True)
    for tail in transaction.add_index:
        _check_added(state, tail, rescued, is_pack=False)
    for tail in transaction.rescue:
        if state.standing(tail) is not Standing.DOOMED:
            message = f"{tail} is not doomed or gone already, and cannot be rescued"
            raise InvalidTransactionError(message)
    if transaction.mark:
        _check_mark(state, transaction, rescued)
    for tail in transaction.sweep:
        if tail not in state.doomed or tail in rescued:
            message = f"{tail} is not doomed, and cannot be swept"
            raise InvalidTransactionError(message)


def _check_added(state: State, tail: str, rescued: set[str], *, is_pack: bool) -> None:
    standing = state.standing(tail)
    if ("/" in tail) != is_pack:
        message = f"a pack was taken for a segment, or a segment for a pack: {tail}"
        raise InvalidTransactionError(message)
    if standing is Standing.GONE:
        message = f"{tail} may have been swept, and must be stored again as generation {state.last_sweep}"
        raise InvalidTransactionError(message)
    if standing is Standing.DOOMED and tail not in rescued:
        message = f"{tail} is doomed, and must be rescued"
        raise InvalidTransactionError(message)


def _check_mark(state: State, transaction: Transaction, rescued: set[str]) -> None:
    if transaction.mark_base != state.seq:
        # What the entries between may have reached, the mark has not seen.
        message = f"the mark was made for entry {transaction.mark_base}, and follows entry {state.seq}"
        raise InvalidTransactionError(message)
    used = rescued.union(transaction.add_packs, transaction.add_index)
    for tail in transaction.mark:
        if tail_generation(tail) > state.last_sweep or tail in state.swept:
            message = f"{tail} is not in the store, and cannot be marked"
            raise InvalidTransactionError(message)
        if tail in state.segments or tail in used:
            message = f"{tail} is used, and cannot be marked"
            raise InvalidTransactionError(message)


def _apply(state: State, entry: LogEntry, transactions: Sequence[Transaction], entry_hash: str) -> State:
    """Change the tables of *state*, which are nobody else's, and return the state after *entry*."""
    swept = False
    for transaction in transactions:
        _apply_tails(state, transaction, entry.seq)
        swept = swept or bool(transaction.sweep)
        for change in transaction.ops:
            _apply_change(state, change, entry.seq)
    return msgspec.structs.replace(
        state,
        seq=entry.seq,
        hash=entry_hash,
        last_sweep=entry.seq if swept else state.last_sweep,
        features=state.features.union(entry.require) if entry.require else state.features,
    )


def _apply_tails(state: State, transaction: Transaction, seq: int) -> None:
    for tail in transaction.rescue:
        state.doomed.put(tail, None)
    for tail in transaction.add_packs:
        if tail not in state.packs:
            state.packs.put(tail, seq)
    if merge_holds(state, transaction):
        for tail in transaction.drop_index:
            state.segments.put(tail, None)
        for tail in transaction.add_index:
            if tail not in state.segments:
                state.segments.put(tail, seq)
    for tail in transaction.mark:
        if tail not in state.doomed:
            state.doomed.put(tail, seq)
    for tail in transaction.sweep:
        state.doomed.put(tail, None)
        state.packs.put(tail, None)
        state.swept.put(tail, seq)
    for tail in transaction.deleted:
        if tail in state.swept:
            state.swept.put(tail, None)


def _apply_change(state: State, change: RefChange, seq: int) -> None:
    ref, current = change.ref, state.refs.get(change.ref)
    if change.new is None:
        state.refs.put(ref, None)
        state.deleted.put(ref, seq)
        return
    published = change.publish or (current is not None and current.published)
    state.refs.put(ref, Ref(change.new, seq, published))
    if current is None:
        state.deleted.put(ref, None)
