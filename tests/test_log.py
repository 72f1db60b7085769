"""The log: finding its head, adding to it, and what becomes of a writer whose connection is bad."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsvc.errors import CorruptionError, NoSpaceError, StorageError
from dsvc.log.append import CommitUnknownError
from dsvc.log.entries import HINT_KEY, entry_key
from dsvc.log.entry import LogEntry, MalformedEntryError, RefChange, Transaction, UnsupportedFormatError
from dsvc.log.log import Log, LogContendedError, RewoundError
from dsvc.log.refs import InvalidRefNameError
from dsvc.log.replay import InvalidTransactionError, PublishedTagError, RefMovedError
from dsvc.log.state import LogPosition, State
from dsvc.log.store import StoreExistsError, StoreNotFoundError
from dsvc.storage.local import LocalBackend
from dsvc.storage.memory import MemoryBackend
from tests.log_support import MAIN, Fault, FaultyBackend, commit, move, moved_to, oid, pack, segment


@pytest.fixture
def backend() -> MemoryBackend:
    return MemoryBackend()


@pytest.fixture
def log(backend: MemoryBackend) -> Log:
    return Log.create(backend, store_id="store")


def filled(count: int) -> MemoryBackend:
    backend = MemoryBackend()
    log = Log.create(backend, store_id="store")
    for number in range(1, count + 1):
        move(log, number)
    return backend


def test_a_new_store_has_an_empty_log(backend: MemoryBackend, log: Log) -> None:
    state = log.head()

    assert state.seq == 0
    assert dict(state.refs) == {}
    assert list(log.entries()) == []
    assert Log(backend).store.store_id == "store"
    assert Log(backend).head() == state


def test_a_store_is_created_once(backend: MemoryBackend, log: Log) -> None:
    with pytest.raises(StoreExistsError) as caught:
        Log.create(backend, store_id="another")

    assert caught.value.store_id == "store"
    assert Log(backend).store == log.store


def test_where_there_is_no_store_there_is_no_log(backend: MemoryBackend) -> None:
    with pytest.raises(StoreNotFoundError):
        Log(backend).head()
    with pytest.raises(StoreNotFoundError):
        _ = Log(backend).store


def test_a_store_of_another_format_is_refused(backend: MemoryBackend) -> None:
    backend.create("config.json", b'{"format": 2, "store_id": "x", "new": true}')

    with pytest.raises(UnsupportedFormatError):
        Log(backend).head()


@pytest.mark.parametrize("config", [b"", b"[]", b'{"format": "1"}', b'{"format": 1}'])
def test_a_malformed_store_is_refused(backend: MemoryBackend, config: bytes) -> None:
    backend.create("config.json", config)

    with pytest.raises(CorruptionError):
        Log(backend).head()


def test_a_commit_is_seen_by_all(backend: MemoryBackend, log: Log) -> None:
    other = Log(backend)
    assert other.head().seq == 0

    state = move(log, 1)

    assert state.value(MAIN) == oid(1)
    assert log.head() is state
    assert other.head() == state
    assert Log(backend).head() == state


def test_an_entry_says_who_did_what_and_when(log: Log) -> None:
    log.commit(moved_to(1), actor="Ada", time=12, command="commit -m first", nonce=lambda: "word")

    entry = log.entry(1)

    assert entry == LogEntry(
        v=1,
        require=[],
        seq=1,
        prev_hash=log.store.genesis,
        nonce="word",
        actor="Ada",
        time=12,
        command="commit -m first",
        transactions=[Transaction(ops=[RefChange(MAIN, None, oid(1))])],
    )
    assert list(log.entries()) == [entry]


def test_odd_or_endless_words_of_a_command_are_kept_as_far_as_they_go(log: Log) -> None:
    log.commit(moved_to(1), actor="\udcff", time=0, command="add " + "x" * 100_000, nonce=lambda: "1")

    assert log.entry(1).actor == "\\udcff"
    assert log.entry(1).command.startswith("add xxx")
    assert len(log.entry(1).command) == 1000


def test_nothing_to_do_writes_nothing(backend: MemoryBackend, log: Log) -> None:
    move(log, 1)

    state = commit(log, lambda _state: None)

    assert state.seq == 1
    assert not backend.read_many([entry_key(2)])[0]


@pytest.mark.parametrize(
    ("transaction", "error"),
    [
        (Transaction(ops=[RefChange(MAIN, oid(5), oid(6))]), RefMovedError),
        (Transaction(ops=[RefChange(MAIN, None, oid(6))]), RefMovedError),
        (Transaction(ops=[RefChange("refs/tags/v1", oid(1), None)]), PublishedTagError),
        (Transaction(ops=[RefChange("refs/heads/a b", None, oid(1))]), InvalidRefNameError),
        (Transaction(ops=[RefChange("refs/heads/\ud800", None, oid(1))]), InvalidRefNameError),
        (Transaction(ops=[RefChange(MAIN, oid(1), "\ud800")]), InvalidRefNameError),
        (Transaction(add_packs=[pack(1, 9)]), InvalidTransactionError),
        (Transaction(add_index=[segment(1)], drop_index=[segment(2)]), InvalidTransactionError),
        (Transaction(mark=[pack(1)], mark_base=1), InvalidTransactionError),
    ],
)
def test_what_would_be_void_is_refused_and_not_written(
    backend: MemoryBackend, log: Log, transaction: Transaction, error: type[Exception]
) -> None:
    move(log, 1)
    commit(log, Transaction(ops=[RefChange("refs/tags/v1", None, oid(1), publish=True)]))

    with pytest.raises(error):
        commit(log, transaction)

    assert Log(backend).head().seq == 2


def test_a_writer_that_lost_the_race_builds_again_on_what_the_winner_made(backend: MemoryBackend, log: Log) -> None:
    other = Log(backend)
    seen = []

    def build(state: State) -> Transaction:
        seen.append(state.seq)
        if len(seen) < 4:
            move(other, len(seen), "refs/heads/other")
        return Transaction(ops=[RefChange(MAIN, None, oid(9))])

    state = commit(log, build)

    assert seen == [0, 1, 2, 3]
    assert state.seq == 4
    assert (state.value(MAIN), state.value("refs/heads/other")) == (oid(9), oid(3))


def test_a_ref_that_moved_under_the_writer_is_a_conflict(backend: MemoryBackend, log: Log) -> None:
    other = Log(backend)

    def build(state: State) -> Transaction:
        if state.seq == 0:
            move(other, 1)
        return Transaction(ops=[RefChange(MAIN, None, oid(2))])

    with pytest.raises(RefMovedError) as caught:
        commit(log, build)

    assert (caught.value.expected, caught.value.found) == (None, oid(1))


def test_a_writer_that_always_loses_gives_up_with_longer_and_longer_pauses(backend: MemoryBackend, log: Log) -> None:
    other = Log(backend)
    pauses: list[float] = []

    def build(state: State) -> Transaction:
        move(other, state.seq, "refs/heads/other")
        return Transaction(ops=[RefChange(MAIN, None, oid(2))])

    with pytest.raises(LogContendedError):
        log.commit(
            build, actor="", time=0, command="", nonce=iter("abcdefghijkl").__next__, attempts=12, wait=pauses.append
        )

    assert len(pauses) == 12
    assert all(0 <= pause <= 5 for pause in pauses)
    assert sum(pauses[6:]) > sum(pauses[:6])


HAPPENED = [Fault.LOST_ANSWER, Fault.LOST_AS_EXISTS, Fault.LOST_AS_ERROR]
DID_NOT = [Fault.REFUSED, Fault.UNANSWERED, Fault.LATE, Fault.FALSE_EXISTS]


@pytest.mark.parametrize("fault", HAPPENED + DID_NOT)
def test_a_failed_create_is_settled_by_what_is_there(backend: MemoryBackend, fault: Fault) -> None:
    Log.create(backend, store_id="store")
    faulty = FaultyBackend(backend)
    faulty.faults.append(fault)

    state = move(Log(faulty), 1)

    assert (state.seq, state.value(MAIN)) == (1, oid(1))
    assert Log(backend).head() == state


@pytest.mark.parametrize("fault", HAPPENED)
def test_a_store_whose_creation_got_no_answer_is_ours(backend: MemoryBackend, fault: Fault) -> None:
    faulty = FaultyBackend(backend)
    faulty.faults.append(fault)

    log = Log.create(faulty, store_id="store")

    assert log.store == Log(backend).store
    with pytest.raises(StoreExistsError):
        Log.create(faulty, store_id="another")


@pytest.mark.parametrize("fault", DID_NOT)
def test_a_store_that_could_not_be_created_can_be_tried_again(backend: MemoryBackend, fault: Fault) -> None:
    faulty = FaultyBackend(backend)
    faulty.faults.append(fault)

    with pytest.raises(StorageError):
        Log.create(faulty, store_id="store")

    assert Log.create(faulty, store_id="store").head().seq == 0


@pytest.mark.parametrize("first", HAPPENED + DID_NOT)
@pytest.mark.parametrize("second", DID_NOT)
def test_a_connection_that_stays_bad_makes_no_entry_twice(backend: MemoryBackend, first: Fault, second: Fault) -> None:
    Log.create(backend, store_id="store")
    faulty = FaultyBackend(backend)
    faulty.faults.extend([first, second, second])

    move(Log(faulty), 1)

    assert len(list(Log(backend).entries())) == 1


def test_an_entry_of_another_is_not_taken_for_ours(backend: MemoryBackend, log: Log) -> None:
    faulty = FaultyBackend(backend)
    slow = Log(faulty)

    def build(state: State) -> Transaction:
        if state.seq == 0:
            move(log, 1, "refs/heads/other")
            faulty.faults.append(Fault.UNANSWERED)
        return Transaction(ops=[RefChange(MAIN, None, oid(2))])

    state = commit(slow, build)

    assert (state.seq, state.value(MAIN), state.value("refs/heads/other")) == (2, oid(2), oid(1))


@pytest.mark.parametrize("fault", [Fault.LOST_ANSWER, Fault.UNANSWERED])
def test_an_outcome_that_nobody_can_tell_is_said_to_be_unknown(backend: MemoryBackend, fault: Fault) -> None:
    Log.create(backend, store_id="store")
    faulty = FaultyBackend(backend)
    log = Log(faulty)
    log.head()
    faulty.faults.append(fault)
    faulty.read_faults = 100

    with pytest.raises(CommitUnknownError, match=rf"{entry_key(1)} holds the nonce nonce \d+"):
        move(log, 1)
    faulty.read_faults = 0

    assert log.head().seq == (1 if fault is Fault.LOST_ANSWER else 0)
    assert move(log, 2).value(MAIN) == oid(2)


def test_a_create_that_never_gets_an_answer_is_unknown_and_one_that_is_refused_is_not(backend: MemoryBackend) -> None:
    Log.create(backend, store_id="store")
    faulty = FaultyBackend(backend)

    faulty.faults.extend([Fault.UNANSWERED] + [Fault.REFUSED] * 3)
    with pytest.raises(CommitUnknownError):
        move(Log(faulty), 1)
    faulty.faults.extend([Fault.REFUSED] * 4)
    with pytest.raises(StorageError, match="it did not happen"):
        move(Log(faulty), 1)

    assert Log(backend).head().seq == 0


def test_a_create_that_comes_through_after_all_was_said_to_be_unknown(backend: MemoryBackend) -> None:
    Log.create(backend, store_id="store")
    faulty = FaultyBackend(backend)
    faulty.faults.extend([Fault.REFUSED] * 3 + [Fault.LATE])

    with pytest.raises(CommitUnknownError):
        move(Log(faulty), 1)

    assert Log(backend).head().value(MAIN) == oid(1)


def test_a_full_disk_is_reported_at_once(backend: MemoryBackend, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def full(key: str, _value: bytes) -> None:
        tried.append(key)
        raise NoSpaceError(key)

    monkeypatch.setattr(backend, "create", full)
    with pytest.raises(NoSpaceError):
        move(log, 1)

    assert tried == [entry_key(1)]


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 40, 127, 128, 129, 300])
@pytest.mark.parametrize(
    "hint",
    [
        None,
        b"",
        b"garbage",
        b'{"seq": "3"}',
        b'{"seq": -3}',
        b'{"seq": 1e30}',
        b"[" * 10_000,
        *range(0, 400, 57),
        10**15,
    ],
)
def test_any_hint_leads_to_the_head(length: int, hint: bytes | int | None) -> None:
    backend = filled(length)
    backend.delete(HINT_KEY)
    if hint is not None:
        backend.write(HINT_KEY, b'{"seq": %d}' % hint if isinstance(hint, int) else hint)

    state = Log(backend).head()

    assert state.seq == length
    assert state.value(MAIN) == (oid(length) if length else None)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 90), max_size=6))
def test_a_log_that_was_open_all_the_time_sees_what_a_new_one_sees(steps: list[int]) -> None:
    backend = MemoryBackend()
    log = Log.create(backend, store_id="store")
    number = 0
    for step in steps:
        writer = Log(backend)
        for _ in range(step):
            number += 1
            move(writer, number)

        assert log.head() == Log(backend).head() == writer.head()


def test_nothing_is_listed_and_little_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    faulty = FaultyBackend(filled(1000))
    monkeypatch.setattr(faulty, "list", None)

    log = Log(faulty)
    log.head()
    assert len(faulty.reads) < 160

    faulty.reads.clear()
    log.head()
    assert faulty.reads == [entry_key(1001)]

    faulty.reads.clear()
    move(log, 0)
    assert faulty.reads == [entry_key(1001)]


def test_the_hint_is_written_now_and_then_and_never_in_the_way(
    backend: MemoryBackend, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        move(log, number)
    assert backend.read(HINT_KEY) == b'{"seq":16}'

    def fail(key: str, _value: bytes) -> None:
        raise StorageError(key)

    monkeypatch.setattr(backend, "write", fail)
    for number in range(20):
        move(log, number)

    assert Log(backend).head().seq == 40


def test_entries_are_read_from_both_ends(backend: MemoryBackend, log: Log) -> None:
    for number in range(300):
        move(log, number)
    backend.write(entry_key(150), b"garbage")

    oldest = [entry.seq for entry in log.entries()]

    assert oldest == [seq for seq in range(1, 301) if seq != 150]
    assert [entry.seq for entry in log.newest_entries()] == oldest[::-1]
    assert [entry.seq for entry in log.entries(5, 9)] == [5, 6, 7, 8]
    assert [entry.seq for entry in log.newest_entries(3)] == [3, 2, 1]
    with pytest.raises(MalformedEntryError):
        log.entry(150)


def test_lists_too_long_for_an_entry_are_read_back(backend: MemoryBackend, log: Log) -> None:
    packs = [pack(number) for number in range(3000)]

    state = commit(log, Transaction(add_packs=packs))

    assert Log(backend).head() == state
    assert log.transactions(log.entry(1)) == [Transaction(add_packs=packs)]
    assert log.entry(1).transactions[0].add_packs == []


def test_lists_that_are_gone_stop_the_reader(backend: MemoryBackend, log: Log) -> None:
    commit(log, Transaction(add_packs=[pack(number) for number in range(3000)]))
    (key,) = (key for key, _ in backend.list("state/"))
    value = backend.read(key)

    backend.write(key, value + b" ")
    with pytest.raises(CorruptionError, match="damaged"):
        Log(backend).head()
    backend.delete(key)
    with pytest.raises(CorruptionError, match="missing"):
        Log(backend).head()


def test_the_state_of_long_ago_can_be_had(log: Log) -> None:
    states = [log.head(), *(move(log, number) for number in range(1, 280))]

    for seq in (0, 1, 127, 128, 129, 255, 256, 279):
        assert log.state_at(seq) == states[seq]


def test_a_void_entry_of_another_changes_nothing(backend: MemoryBackend, log: Log) -> None:
    move(log, 1)
    backend.create(entry_key(2), b"garbage")
    backend.create(entry_key(3), backend.read(entry_key(1)))

    assert (log.head().seq, log.head().value(MAIN)) == (3, oid(1))
    assert Log(backend).head() == log.head()
    assert move(log, 2).seq == 4


def test_an_entry_of_a_newer_dsvc_stops_readers_and_writers(backend: MemoryBackend, log: Log) -> None:
    move(log, 1)
    backend.create(entry_key(2), b'{"v": 2}')

    for each in (log, Log(backend)):
        with pytest.raises(UnsupportedFormatError):
            each.head()
        with pytest.raises(UnsupportedFormatError):
            move(each, 2)
    assert backend.read_many([entry_key(3)]) == [None]


def test_a_log_that_lost_entries_is_noticed(backend: MemoryBackend, log: Log) -> None:
    positions = [log.head().position, *(move(log, number).position for number in range(1, 5))]
    for position in positions:
        Log(backend).check_not_rewound(position)

    backend.delete(entry_key(4))

    for position in positions[:4]:
        Log(backend).check_not_rewound(position)
    with pytest.raises(RewoundError) as caught:
        Log(backend).check_not_rewound(positions[4])
    assert caught.value.position == positions[4]


def test_a_log_with_another_past_is_noticed(backend: MemoryBackend, log: Log) -> None:
    for number in range(1, 5):
        move(log, number)
    position = log.head().position
    for seq in (3, 4):
        backend.delete(entry_key(seq))
    writer = Log(backend)
    for number in range(10, 15):
        move(writer, number)

    with pytest.raises(RewoundError):
        Log(backend).check_not_rewound(position)
    with pytest.raises(RewoundError):
        log.head()
    with pytest.raises(RewoundError):
        Log(backend).check_not_rewound(LogPosition(0, oid(1)))


def test_a_hole_in_the_log_is_corruption() -> None:
    backend = filled(100)
    backend.delete(entry_key(50))

    with pytest.raises(CorruptionError, match="entry 50"):
        Log(backend).head()


class OvertakenBackend(MemoryBackend):
    """A store of *known* entries, to which others are added as soon as somebody has looked for the next one."""

    def __init__(self, later: MemoryBackend, known: int) -> None:
        super().__init__()
        self._later, self._next = later, entry_key(known + 1)
        self._copy(lambda key: not key.startswith("log/0/") or key < self._next)

    def _copy(self, wanted: Callable[[str], bool]) -> None:
        for key, _ in self._later.list(""):
            if wanted(key):
                self.write(key, self._later.read(key))

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        values = []
        for key in keys:
            values += super().read_many([key])
            if key == self._next:
                self._copy(lambda _: True)
        return values


@pytest.mark.parametrize("known", [0, 3, 20])
def test_entries_that_come_while_the_log_is_opened_are_no_damage(known: int) -> None:
    log = Log(OvertakenBackend(filled(known + 2), known), own=True)

    assert log.head().seq == known
    log.check_unchanged()
    assert log.head().seq == known + 2


@pytest.mark.parametrize("contest", ["one ref", "a ref each"])
@pytest.mark.parametrize("logs", ["one log", "a log each"])
def test_no_commit_of_many_threads_is_lost(tmp_path: Path, contest: str, logs: str) -> None:
    backend = LocalBackend(tmp_path / "store")
    log = Log.create(backend, store_id="store")
    threads, commits = 16, 5

    def work(thread: int) -> None:
        own = log if logs == "one log" else Log(backend)
        for number in range(commits):
            move(own, thread * commits + number, MAIN if contest == "one ref" else f"refs/heads/{thread}")

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))

    state = Log(backend).head()
    values = [entry.transactions[0].ops[0].new for entry in log.entries()]
    assert state.seq == threads * commits
    assert sorted(map(str, values)) == sorted(oid(number) for number in range(threads * commits))
    assert log.head() == state
    if contest == "one ref":
        olds = [entry.transactions[0].ops[0].old for entry in log.entries()]
        assert olds == [None, *values[:-1]]
