"""Checkpoints: what they hold is what replay gives, and losing them loses nothing."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsvc.errors import CorruptionError
from dsvc.log.checkpoint import StoredTable, encode_checkpoint, load_checkpoint, write_checkpoint
from dsvc.log.entries import HINT_KEY, EntryReader, entry_key
from dsvc.log.entry import CheckpointName, RefChange, Transaction, UnsupportedFormatError, hash_bytes
from dsvc.log.log import Log
from dsvc.log.reflog import RefUpdate, reflog
from dsvc.log.replay import replay
from dsvc.log.state import Ref, State
from dsvc.log.verify import repair_checkpoint, verify_log
from dsvc.odb.objects import MemoryObjects
from dsvc.storage.memory import MemoryBackend
from tests.log_support import MAIN, commit, move, oid, pack, segment


def busy_log(length: int) -> tuple[MemoryBackend, Log]:
    """A log of at least *length* entries in which everything happens."""
    backend = MemoryBackend()
    log = Log.create(backend, store_id="store")
    while (state := log.head()).seq < length:
        number = state.seq
        generation = state.last_sweep
        move(log, number, f"refs/heads/{number % 7}")
        commit(
            log,
            Transaction(
                ops=[RefChange(f"refs/tags/{number}", None, oid(number), publish=number % 5 == 0)],
                add_packs=[pack(number, generation)],
                add_index=[segment(number, generation)],
                drop_index=state.segments_by_age if len(state.segments) > 3 else [],
            ),
        )
        if number % 3 == 0:
            move(log, None, f"refs/heads/{number % 7}")
        if number % 11 == 0:
            commit(log, lambda now: Transaction(mark=sorted(now.packs)[:3], mark_base=now.seq))
        if number % 13 == 0:
            commit(log, lambda now: Transaction(sweep=sorted(now.doomed)[:2]))
            commit(log, lambda now: Transaction(deleted=sorted(now.swept)[:1]))
    return backend, log


@pytest.fixture(scope="module")
def original() -> MemoryBackend:
    return busy_log(400)[0]


@pytest.fixture
def backend(original: MemoryBackend) -> MemoryBackend:
    return copied(original)


def copied(backend: MemoryBackend) -> MemoryBackend:
    copy = MemoryBackend()
    for key, _ in backend.list(""):
        copy.create(key, backend.read(key))
    return copy


def from_the_beginning(backend: MemoryBackend) -> State:
    log = Log(backend)
    entries = EntryReader(backend).read_all(1, log.head().seq + 1)
    return replay(State.empty(log.store.genesis), entries, lambda name: backend.read(f"state/{name}"))


def named(backend: MemoryBackend, seq: int) -> CheckpointName:
    checkpoint = Log(backend).entry(seq).checkpoint
    assert checkpoint is not None
    return checkpoint


def test_every_128th_entry_names_the_checkpoint_of_the_one_before(backend: MemoryBackend) -> None:
    names = {entry.seq: entry.checkpoint for entry in Log(backend).entries() if entry.checkpoint}

    assert list(names) == [128, 256, 384]
    assert [name.seq for name in names.values()] == [127, 255, 383]


def test_a_state_loaded_is_the_state_replayed(backend: MemoryBackend) -> None:
    state = Log(backend).head()

    assert isinstance(state.refs.stored, StoredTable)
    assert state == from_the_beginning(backend)
    for table in (state.refs, state.deleted, state.packs, state.segments, state.doomed, state.swept):
        assert table
    assert state.published


def test_a_checkpoint_is_a_function_of_the_state(backend: MemoryBackend) -> None:
    log = Log(backend)
    for seq in (128, 256, 384):
        replayed = log.state_at(seq - 1)
        data, rebased = encode_checkpoint(replayed.flat(), MemoryObjects())

        assert hash_bytes(data) == named(backend, seq).hash
        assert rebased == replayed == load_checkpoint(backend, named(backend, seq))


def test_a_checkpoint_costs_the_change() -> None:
    backend = MemoryBackend()
    many = State.empty("0" * 64)
    for number in range(20_000):
        many.packs.put(pack(number), number)
        many.refs.put(f"refs/tags/{number}", Ref(oid(number), number))
    _, state = write_checkpoint(backend, many)
    before = dict(backend.list(""))

    changed = state.copy()
    changed.refs.put("refs/tags/777", Ref(oid(1), 20_001))
    write_checkpoint(backend, changed)

    written = {key: size for key, size in backend.list("") if key not in before}
    assert len(written) <= 4
    assert sum(written.values()) < 300_000 < sum(before.values())


def damage(backend: MemoryBackend, key: str) -> None:
    backend.write(key, backend.read(key)[:-1] + b"?")


def remove(backend: MemoryBackend, key: str) -> None:
    backend.delete(key)


@pytest.mark.parametrize("spoil", [damage, remove])
@pytest.mark.parametrize("lost", [[384], [384, 256], [384, 256, 128], [128]])
def test_a_lost_checkpoint_costs_only_time(
    backend: MemoryBackend, lost: list[int], spoil: Callable[[MemoryBackend, str], None]
) -> None:
    expected = from_the_beginning(backend)
    for seq in lost:
        spoil(backend, f"state/{named(backend, seq).hash}")

    assert Log(backend).head() == expected
    assert move(Log(backend), 1).seq == expected.seq + 1


def test_a_checkpoint_of_another_log_or_entry_is_not_believed(backend: MemoryBackend) -> None:
    expected = from_the_beginning(backend)
    other = busy_log(140)[0]
    own = named(backend, 384)
    for wrong in (named(other, 128), CheckpointName(own.seq, named(backend, 256).hash)):
        for key, _ in other.list("state/"):
            backend.write(key, other.read(key))
        raw = backend.read(entry_key(384)).replace(own.hash.encode(), wrong.hash.encode())
        spoiled = copied(backend)
        for seq in range(384, expected.seq + 1):
            spoiled.delete(entry_key(seq))
        spoiled.create(entry_key(384), raw)
        spoiled.write(HINT_KEY, b"")

        assert Log(spoiled).head().refs == expected_at(backend, 384).refs


def expected_at(backend: MemoryBackend, seq: int) -> State:
    log = Log(backend)
    entries = EntryReader(backend).read_all(1, seq + 1)
    return replay(State.empty(log.store.genesis), entries, lambda name: backend.read(f"state/{name}"))


@pytest.mark.parametrize("spoil", [damage, remove])
def test_a_lost_page_is_gone_round_or_noticed_and_repaired(
    backend: MemoryBackend, spoil: Callable[[MemoryBackend, str], None]
) -> None:
    expected = from_the_beginning(backend)
    checkpoint = backend.read(f"state/{named(backend, 384).hash}").decode()
    for table in ("refs", "packs", "deleted", "swept"):
        root = checkpoint.split(f'"{table}":"')[1][:64]
        spoil(backend, f"state/{root}")
        state = Log(backend).head()

        with suppress(CorruptionError):
            assert state == expected
        assert [fault.seq for fault in verify_log(Log(backend))] == [384]
        assert repair_checkpoint(Log(backend)) == named(backend, 384)
        assert list(verify_log(Log(backend))) == []
        assert Log(backend).head() == expected


def test_a_checkpoint_of_a_newer_dsvc_stops_the_reader() -> None:
    backend = MemoryBackend()
    data, _ = encode_checkpoint(State.empty("0" * 64), MemoryObjects())
    for newer in (data.replace(b'"v":1', b'"v":2'), data.replace(b'"require":[]', b'"require":["sealed"]')):
        backend.write(f"state/{hash_bytes(newer)}", newer)
        with pytest.raises(UnsupportedFormatError):
            load_checkpoint(backend, CheckpointName(0, hash_bytes(newer)))


@pytest.mark.parametrize("data", [b"", b"{}", b'{"v": 1}', b"garbage"])
def test_what_is_no_checkpoint_is_corrupt(data: bytes) -> None:
    backend = MemoryBackend()
    backend.write(f"state/{hash_bytes(data)}", data)

    with pytest.raises(CorruptionError):
        load_checkpoint(backend, CheckpointName(0, hash_bytes(data)))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.dictionaries(st.integers(0, 300).map(str), st.none() | st.integers(0, 5), max_size=200), max_size=4))
def test_a_table_on_top_of_a_checkpoint_is_a_mapping(layers: list[dict[str, int | None]]) -> None:
    state, model, pages = State.empty("0" * 64), dict[str, int](), MemoryObjects()
    for layer in layers:
        state = state.copy()
        table = state.packs
        for key, value in layer.items():
            table.put(key, value)
            model.pop(key, None)
            if value is not None:
                model[key] = value
        assert dict(table) == model
        assert len(table) == len(model)
        for key in layer:
            assert (key in table) == (key in model)
            assert table.get(key) == model.get(key)
        _, state = encode_checkpoint(state, pages)
        assert dict(state.packs) == model
        assert state.packs.changes == {}


def test_a_good_log_has_no_faults(backend: MemoryBackend) -> None:
    assert list(verify_log(Log(backend))) == []
    empty = Log.create(MemoryBackend(), store_id="empty")
    assert list(verify_log(empty)) == []
    assert repair_checkpoint(empty) is None


@pytest.mark.parametrize("length", [1, 126, 127, 128, 129, 255, 256, 257])
def test_a_log_of_any_length_is_verified(length: int) -> None:
    backend = MemoryBackend()
    log = Log.create(backend, store_id="store")
    for number in range(length):
        move(log, number)

    assert list(verify_log(log)) == []


def test_faults_of_a_log_are_named(backend: MemoryBackend) -> None:
    log = Log(backend)
    head = log.head().seq
    backend.create(entry_key(head + 1), b"garbage")
    backend.delete(f"state/{named(backend, 384).hash}")

    faults = list(verify_log(log))

    assert [(fault.seq, fault.is_void) for fault in faults] == [(head + 1, True), (384, False)]
    assert all(fault.message for fault in faults)


def test_a_chain_that_was_broken_is_named() -> None:
    backend = MemoryBackend()
    log = Log.create(backend, store_id="store")
    for number in range(20):
        move(log, number)
    backend.write(entry_key(10), backend.read(entry_key(10)).replace(b"someone", b"another"))

    faults = list(verify_log(Log(backend)))

    assert [fault.seq for fault in faults] == list(range(11, 21))
    assert all(fault.is_void for fault in faults)


def test_a_reflog_is_every_value_that_a_ref_had() -> None:
    log = Log.create(MemoryBackend(), store_id="store")
    commit(log, Transaction(ops=[RefChange(MAIN, None, oid(1))]), time=10)
    move(log, 5, "refs/heads/other")
    commit(log, Transaction(ops=[RefChange(MAIN, oid(1), oid(2))]), time=30)
    commit(log, Transaction(ops=[RefChange(MAIN, oid(2), None)]), time=40)
    move(log, 6, "refs/heads/other")

    def update(seq: int, old: int | None, new: int | None) -> RefUpdate:
        values = [None if number is None else oid(number) for number in (old, new)]
        return RefUpdate(seq, seq * 10, "someone", "test", *values)

    assert list(reflog(log, MAIN)) == [update(4, 2, None), update(3, 1, 2), update(1, None, 1)]
    commit(log, Transaction(ops=[RefChange(MAIN, None, oid(3))]), time=60)
    assert next(reflog(log, MAIN)) == update(6, None, 3)
    assert len(list(reflog(log, MAIN))) == 4
    assert list(reflog(log, "refs/heads/never")) == []


def test_a_reflog_goes_through_lists_and_checkpoints() -> None:
    log = Log.create(MemoryBackend(), store_id="store")
    for number in range(3):
        commit(
            log,
            lambda state, number=number: Transaction(  # type: ignore[misc]
                ops=[RefChange(f"refs/heads/{n}", state.value(f"refs/heads/{n}"), oid(number)) for n in range(1000)]
            ),
        )
    for number in range(300):
        move(log, number)

    assert [update.new for update in reflog(log, "refs/heads/77")] == [oid(2), oid(1), oid(0)]
    assert log.entry(1).transactions[0].ops == []
    assert len(list(reflog(log, MAIN))) == 300
