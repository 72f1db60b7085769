"""Replay: what an entry does to a state, and which entries are void."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsvc.errors import DsvcError
from dsvc.log.entry import (
    LogEntry,
    MalformedEntryError,
    RefChange,
    Transaction,
    UnsupportedFormatError,
    encode_entry,
    hash_bytes,
)
from dsvc.log.refs import InvalidRefNameError
from dsvc.log.replay import InvalidTransactionError, PublishedTagError, RefMovedError, replay
from dsvc.log.state import Ref, Standing, State
from tests.log_support import MAIN, oid, pack, segment

TAG = "refs/tags/v1"
GENESIS = "0" * 64


class History:
    """A state, and the entries that are put behind it one by one."""

    def __init__(self) -> None:
        self.state = State.empty(GENESIS)
        self.objects: dict[str, bytes] = {}

    def encode(self, *transactions: Transaction, seq: int | None = None, prev_hash: str | None = None) -> bytes:
        raw, objects = encode_entry(
            LogEntry(
                v=1,
                require=[],
                seq=self.state.seq + 1 if seq is None else seq,
                prev_hash=prev_hash or self.state.hash,
                nonce="nonce",
                actor="someone",
                time=0,
                command="test",
                transactions=list(transactions),
            )
        )
        self.objects.update((hash_bytes(data), data) for data in objects)
        return raw

    def add_raw(self, raw: bytes) -> DsvcError | None:
        """Replay *raw*; return why it was void, or None."""
        reasons: list[DsvcError] = []
        seq = self.state.seq
        self.state = replay(self.state, [raw], self.objects.__getitem__, lambda _seq, reason: reasons.append(reason))
        assert (self.state.seq, self.state.hash) == (seq + 1, hash_bytes(raw))
        return reasons[0] if reasons else None

    def add(self, *transactions: Transaction) -> State:
        assert self.add_raw(self.encode(*transactions)) is None
        return self.state

    def refuse(self, error: type[DsvcError], *transactions: Transaction) -> DsvcError:
        """Check that an entry of *transactions* is void because of *error*, and changes nothing."""
        before = contents(self.state)
        reason = self.add_raw(self.encode(*transactions))
        assert type(reason) is error
        assert contents(self.state) == before
        return reason


def contents(state: State) -> tuple[object, ...]:
    tables = (state.refs, state.deleted, state.packs, state.segments, state.doomed, state.swept)
    return (*(dict(table.items()) for table in tables), state.last_sweep, state.features)


@pytest.fixture
def history() -> History:
    return History()


def change(ref: str, old: int | None, new: int | None, prev: int = 0, *, publish: bool = False) -> Transaction:
    old_id, new_id = (None if number is None else oid(number) for number in (old, new))
    return Transaction(ops=[RefChange(ref, old_id, new_id, prev=prev, publish=publish)])


def test_refs_come_move_and_go(history: History) -> None:
    history.add(change(MAIN, None, 1))
    history.add(change("refs/heads/other", None, 9))
    state = history.add(change(MAIN, 1, 2, prev=1))

    assert state.refs[MAIN] == Ref(oid(2), 3)
    assert state.value(MAIN) == oid(2)

    state = history.add(change(MAIN, 2, None, prev=3))

    assert set(state.refs) == {"refs/heads/other"}
    assert state.value(MAIN) is None
    assert state.last_change(MAIN) == 4
    assert history.add(change(MAIN, None, 5, prev=4)).refs[MAIN] == Ref(oid(5), 5)


def test_a_state_does_not_change_when_another_follows(history: History) -> None:
    first = history.add(change(MAIN, None, 1), Transaction(add_packs=[pack(1)]))
    second = history.add(change(MAIN, 1, 2, prev=1), Transaction(add_packs=[pack(2)]))

    assert first.value(MAIN) == oid(1)
    assert dict(first.packs) == {pack(1): 1}
    assert dict(second.packs) == {pack(1): 1, pack(2): 2}


@pytest.mark.parametrize(
    ("transaction", "error"),
    [
        (change(MAIN, None, 2), RefMovedError),
        (change(MAIN, 7, 2, prev=1), RefMovedError),
        (change("refs/heads/other", 1, 2), RefMovedError),
        (change(MAIN, 1, 2, prev=0), InvalidTransactionError),
        (change(MAIN, 1, 2, prev=2), InvalidTransactionError),
        (change("refs/heads/other", None, None), InvalidTransactionError),
        (change("refs/heads/..", None, 2), InvalidRefNameError),
        (change("main", None, 2), InvalidRefNameError),
        (Transaction(ops=[RefChange("refs/heads/x", None, "not an id")]), InvalidRefNameError),
        (change("refs/heads/x", None, 2, publish=True), InvalidTransactionError),
        (change(TAG, None, None, publish=True), InvalidTransactionError),
        (Transaction(ops=change(MAIN, 1, 2, 1).ops * 2), InvalidTransactionError),
        (Transaction(add_packs=["nonsense"]), MalformedEntryError),
        (Transaction(add_index=[pack(1)]), InvalidTransactionError),
        (Transaction(add_packs=[segment(1)]), InvalidTransactionError),
        (Transaction(add_packs=[pack(1, 1)]), InvalidTransactionError),
        (Transaction(rescue=[pack(1)]), InvalidTransactionError),
        (Transaction(sweep=[pack(1)]), InvalidTransactionError),
        (Transaction(lists=hash_bytes(b"no lists"), mark_base=1), MalformedEntryError),
    ],
)
def test_an_entry_that_breaks_a_rule_is_void_and_the_log_goes_on(
    history: History, transaction: Transaction, error: type[DsvcError]
) -> None:
    history.add(change(MAIN, None, 1), Transaction(add_packs=[pack(100)]))
    history.objects[hash_bytes(b"no lists")] = b"no lists"

    history.refuse(error, transaction)

    assert history.add(change(MAIN, 1, 3, prev=1)).value(MAIN) == oid(3)


def test_one_bad_transaction_voids_the_whole_entry(history: History) -> None:
    history.refuse(RefMovedError, change("refs/heads/a", None, 1), change(MAIN, 1, 2))
    history.refuse(InvalidTransactionError, change(MAIN, None, 1), change(MAIN, None, 1))


@pytest.mark.parametrize("raw", [b"", b"garbage", b"{}", b"[]"])
def test_what_does_not_parse_is_void_and_part_of_the_chain(history: History, raw: bytes) -> None:
    history.add(change(MAIN, None, 1))

    assert isinstance(history.add_raw(raw), MalformedEntryError)

    assert history.add(change(MAIN, 1, 2, prev=1)).seq == 3


def test_an_entry_that_does_not_follow_the_one_before_is_void(history: History) -> None:
    history.add(change(MAIN, None, 1))
    move = change(MAIN, 1, 2, prev=1)

    for raw in (history.encode(move, seq=1), history.encode(move, seq=3), history.encode(move, prev_hash=GENESIS)):
        assert isinstance(history.add_raw(raw), InvalidTransactionError)

    assert history.state.value(MAIN) == oid(1)


def test_an_unknown_version_or_feature_stops_the_reader(history: History) -> None:
    raw = history.encode(change(MAIN, None, 1))

    with pytest.raises(UnsupportedFormatError):
        history.add_raw(raw.replace(b'"v":1', b'"v":2'))
    with pytest.raises(UnsupportedFormatError):
        history.add_raw(raw.replace(b'"require":[]', b'"require":["sealed"]'))


def test_a_moved_ref_says_where_it_is(history: History) -> None:
    history.add(change(MAIN, None, 1))

    error = history.refuse(RefMovedError, change(MAIN, 5, 6, prev=1))

    assert isinstance(error, RefMovedError)
    assert (error.ref, error.expected, error.found) == (MAIN, oid(5), oid(1))


def test_a_published_tag_is_neither_moved_nor_deleted(history: History) -> None:
    state = history.add(change(TAG, None, 1, publish=True))

    assert state.published == {TAG}
    history.refuse(PublishedTagError, change(TAG, 1, 2, prev=1))
    history.refuse(PublishedTagError, change(TAG, 1, 2, prev=1, publish=True))
    history.refuse(PublishedTagError, change(TAG, 1, None, prev=1))
    assert history.add(change(TAG, 1, 1, prev=1)).refs[TAG] == Ref(oid(1), 5, published=True)


def test_a_tag_can_be_moved_until_it_is_published(history: History) -> None:
    history.add(change(TAG, None, 1))
    history.add(change(TAG, 1, 2, prev=1))
    assert history.state.published == frozenset()

    history.add(change(TAG, 2, 2, prev=2, publish=True))

    assert history.state.published == {TAG}
    history.refuse(PublishedTagError, change(TAG, 2, 3, prev=3))


def test_segments_are_added_and_merged(history: History) -> None:
    history.add(Transaction(add_index=[segment(2)]))
    history.add(Transaction(add_index=[segment(1)]))
    assert history.state.segments_by_age == [segment(2), segment(1)]

    history.add(Transaction(add_index=[segment(3)], drop_index=[segment(1), segment(2)]))

    assert history.state.segments_by_age == [segment(3)]


def test_a_merge_of_what_is_no_longer_live_is_void_and_the_refs_are_not(history: History) -> None:
    history.add(Transaction(add_index=[segment(1)]))
    ops = change(MAIN, None, 1).ops

    history.add(
        Transaction(ops=ops, add_packs=[pack(1)], add_index=[segment(3)], drop_index=[segment(1), segment(2)]),
        Transaction(add_index=[segment(4)]),
    )

    assert set(history.state.segments) == {segment(1), segment(4)}
    assert history.state.value(MAIN) == oid(1)
    assert set(history.state.packs) == {pack(1)}


def test_garbage_is_marked_then_swept_then_deleted(history: History) -> None:
    history.add(Transaction(add_packs=[pack(1), pack(2)], add_index=[segment(1)]))
    history.add(Transaction(add_index=[segment(2)], drop_index=[segment(1)]))

    history.add(Transaction(mark=[pack(1), pack(3), segment(1)], mark_base=2))

    assert dict(history.state.doomed) == {pack(1): 3, pack(3): 3, segment(1): 3}
    assert set(history.state.packs) == {pack(1), pack(2)}

    history.add(Transaction(sweep=[pack(1), pack(3), segment(1)]))

    assert not history.state.doomed
    assert set(history.state.packs) == {pack(2)}
    assert dict(history.state.swept) == {pack(1): 4, pack(3): 4, segment(1): 4}
    assert history.state.last_sweep == 4

    history.add(Transaction(deleted=[pack(1), segment(1), pack(99)]))

    assert set(history.state.swept) == {pack(3)}


def test_what_is_doomed_lives_on_if_it_is_rescued(history: History) -> None:
    history.add(Transaction(add_packs=[pack(1)]))
    history.add(Transaction(mark=[pack(1), pack(2)], mark_base=1))
    history.refuse(InvalidTransactionError, Transaction(add_packs=[pack(1)]))
    history.refuse(InvalidTransactionError, Transaction(add_packs=[pack(2)]))

    history.add(Transaction(rescue=[pack(1), pack(2)], add_packs=[pack(2)]))

    assert not history.state.doomed
    assert set(history.state.packs) == {pack(1), pack(2)}
    history.refuse(InvalidTransactionError, Transaction(sweep=[pack(1)]))


def test_a_mark_holds_only_for_the_state_it_was_made_for(history: History) -> None:
    history.add(Transaction(add_packs=[pack(1)]))
    for base in (None, 0, 2):
        history.state = replay(State.empty(GENESIS), [], history.objects.__getitem__)
        history.add(Transaction(add_packs=[pack(1)]))
        history.refuse(InvalidTransactionError, Transaction(mark=[pack(1)], mark_base=base))


def test_what_is_used_or_gone_cannot_be_marked(history: History) -> None:
    history.add(Transaction(add_packs=[pack(1), pack(2)], add_index=[segment(1)]))
    history.add(Transaction(mark=[pack(1), pack(4)], mark_base=1))
    history.add(Transaction(sweep=[pack(1)]))

    for tail in (segment(1), pack(1), pack(5, 4)):
        history.refuse(InvalidTransactionError, Transaction(mark=[tail], mark_base=history.state.seq))
    history.refuse(
        InvalidTransactionError, Transaction(mark=[pack(6, 3)], mark_base=history.state.seq, add_packs=[pack(6, 3)])
    )
    history.refuse(InvalidTransactionError, Transaction(mark=[pack(4)], mark_base=history.state.seq, rescue=[pack(4)]))


def test_a_mark_or_sweep_is_alone_in_its_entry(history: History) -> None:
    history.add(Transaction(add_packs=[pack(1)]))
    history.refuse(InvalidTransactionError, Transaction(mark=[pack(1)], mark_base=1), change(MAIN, None, 1))
    history.add(Transaction(mark=[pack(1)], mark_base=2))
    history.refuse(InvalidTransactionError, Transaction(sweep=[pack(1)]), Transaction(rescue=[pack(1)]))
    history.refuse(InvalidTransactionError, Transaction(sweep=[pack(1)], rescue=[pack(1)]))


def test_what_may_have_been_swept_is_stored_again_under_the_new_generation(history: History) -> None:
    history.add(Transaction(add_packs=[pack(1)]))
    history.add(Transaction(mark=[pack(1), pack(2), segment(2)], mark_base=1))
    history.add(Transaction(sweep=[pack(1), pack(2), segment(2)]))
    history.add(Transaction(deleted=[pack(1)]))

    for gone in (pack(1), pack(2), pack(3)):
        assert history.state.standing(gone) is Standing.GONE
        history.refuse(InvalidTransactionError, Transaction(add_packs=[gone]))
        history.refuse(InvalidTransactionError, Transaction(add_packs=[gone], rescue=[gone]))
    history.refuse(InvalidTransactionError, Transaction(add_index=[segment(2)]))

    history.add(Transaction(add_packs=[pack(1, 3)], add_index=[segment(2, 3)]))

    assert set(history.state.packs) == {pack(1, 3)}


def test_what_is_doomed_and_may_have_been_swept_before_cannot_be_rescued(history: History) -> None:
    history.add(Transaction(mark=[pack(1)], mark_base=0))
    history.add(Transaction(sweep=[pack(1)]))
    history.add(Transaction(deleted=[pack(1)]))

    # Somebody who knew of no sweep has stored it again; another may still be about to delete it.
    history.add(Transaction(mark=[pack(1)], mark_base=3))

    assert history.state.standing(pack(1)) is Standing.GONE
    history.refuse(InvalidTransactionError, Transaction(rescue=[pack(1)], add_packs=[pack(1)]))
    history.add(Transaction(sweep=[pack(1)]))


def test_a_standing_says_what_may_be_done(history: History) -> None:
    history.add(Transaction(add_packs=[pack(1), pack(2)], add_index=[segment(1)]))
    history.add(Transaction(mark=[pack(2), pack(3), segment(2)], mark_base=1))
    standing = history.state.standing

    assert [standing(tail) for tail in (pack(1), segment(1))] == [Standing.LIVE] * 2
    assert [standing(tail) for tail in (pack(2), pack(3), segment(2))] == [Standing.DOOMED] * 3
    assert [standing(tail) for tail in (pack(4), segment(4))] == [Standing.NEW] * 2
    assert [standing(tail) for tail in (pack(4, 1), segment(4, 7))] == [Standing.GONE] * 2
    with pytest.raises(MalformedEntryError):
        standing("nonsense")


def test_lists_too_long_for_an_entry_count_like_any(history: History) -> None:
    packs = [pack(number) for number in range(2000)]
    ops = [RefChange(f"refs/heads/{number}", None, oid(number)) for number in range(1000)]

    state = history.add(Transaction(ops=ops, add_packs=packs))
    assert len(history.objects) == 1
    assert set(state.packs) == set(packs)
    assert len(state.refs) == 1000

    assert set(history.add(Transaction(mark=packs, mark_base=1)).doomed) == set(packs)
    assert set(history.add(Transaction(sweep=packs)).swept) == set(packs)


references = st.sampled_from([MAIN, "refs/heads/other", TAG, "refs/worktrees/1", "bad name"])
numbers = st.none() | st.integers(0, 2)
packs = st.lists(st.builds(pack, st.integers(0, 2), st.integers(0, 3)), max_size=2)
segments = st.lists(st.builds(segment, st.integers(0, 2), st.integers(0, 3)), max_size=2)
transactions = st.builds(
    Transaction,
    ops=st.lists(
        st.builds(
            lambda ref, old, new, prev, publish: change(ref, old, new, prev, publish=publish).ops[0],
            references, numbers, numbers, st.integers(0, 4), st.booleans(),
        ),
        max_size=2,
    ),
    add_packs=packs,
    add_index=segments,
    drop_index=segments,
    rescue=packs,
    mark=packs,
    mark_base=st.none() | st.integers(0, 6),
    sweep=packs,
    deleted=packs,
)  # fmt: skip


@given(st.lists(st.lists(transactions, min_size=1, max_size=2), max_size=8))
def test_replay_one_by_one_is_replay_at_once(entries: list[list[Transaction]]) -> None:
    history = History()
    raws = []
    for entry in entries:
        raws.append(history.encode(*entry))
        history.add_raw(raws[-1])

    at_once = replay(State.empty(GENESIS), raws, history.objects.__getitem__)

    assert at_once == history.state
    assert not set(at_once.swept) & set(at_once.packs)
    assert not set(at_once.segments) & set(at_once.doomed)
    assert not set(at_once.refs) & set(at_once.deleted)
    assert all(at_once.standing(tail) is not Standing.GONE for tail in at_once.packs)
