"""fsck: damage of every kind is found and named, and what is whole is called whole."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsvc.history.store import Store
from dsvc.log.entries import entry_key
from dsvc.log.entry import RefChange, UnsupportedFormatError
from dsvc.log.log import Log
from dsvc.maintenance.findings import Part, Report, Severity
from dsvc.maintenance.fsck import Sample, fsck
from dsvc.maintenance.rebuild_index import rebuild_index
from dsvc.model.ids import ObjectId, hash_object
from dsvc.odb.pack import pack_key
from dsvc.odb.pack_reader import open_pack
from dsvc.odb.segment import segment_key
from dsvc.storage.memory import MemoryBackend
from dsvc.worktree.session import SESSION_REF, Session
from tests.transport_support import assert_whole, commit, files_of, make_context, make_store, make_tag, noise

FILES = {
    b"data/large": noise(1, 300_000),
    b"data/small": b"small",
    b"text": b"a line of text\n" * 5000,
    **{b"many/%04d" % number: b"file %d" % number for number in range(700)},
}


def make(folder: Path) -> Store:
    """A store with three versions and a tag."""
    store = make_store(folder)
    first = commit(store, FILES)
    second = commit(store, {**FILES, b"data/small": b"edited"}, first)
    commit(store, {**FILES, b"data/large": noise(2, 300_000)}, second, unused=[b"never in a version"])
    make_tag(store, "v1", first)
    return store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make(tmp_path / "store")


def check(store: Store, *, full: bool = True) -> Report:
    return fsck(Store(store.backend, make_context()), full=full, threads=2)


def damages(report: Report) -> set[tuple[Part, str]]:
    return {(finding.part, finding.name) for finding in report.findings if finding.severity is Severity.DAMAGE}


def flip(store: Store, key: str, at: int) -> None:
    raw = bytearray(store.backend.read(key))
    raw[at] ^= 0x10
    store.backend.write(key, raw)


def largest_pack(store: Store) -> str:
    return max(store.state().packs, key=lambda name: store.backend.size(pack_key(name)))


def metadata_pack(store: Store) -> str:
    packs = [open_pack(store.backend, name) for name in store.state().packs]
    return max((pack for pack in packs if pack.footer.content), key=lambda pack: pack.length).name


def test_a_sound_store_is_whole(store: Store) -> None:
    report = check(store)

    assert not report.findings
    assert not report.is_damaged
    assert (report.entries, report.commits, report.dangling) == (4, 3, 1)
    assert report.packs == len(store.state().packs)
    assert not check(store, full=False).findings


def test_an_empty_store_is_whole() -> None:
    backend = MemoryBackend()
    Log.create(backend, store_id="5" * 32)

    assert not fsck(Store(backend, make_context())).findings


@pytest.mark.parametrize("at", [20, 60, 100_000])
def test_a_flipped_bit_in_a_frame_is_found_and_the_paths_that_it_costs_are_listed(store: Store, at: int) -> None:
    first = ObjectId.from_hex(store.state().refs["refs/tags/v1"].value)
    name = store.objects.locate(hash_object(0, FILES[b"data/large"][:100_000]))
    assert name is not None
    flip(store, pack_key(name.pack), at=name.offset + at)

    report = check(store)

    assert (Part.PACK, name.pack) in damages(report)
    assert (first, b"data/large") in [(lost.commit, lost.path) for lost in report.lost]
    assert {lost.path for lost in report.lost if lost.commit == first} == {b"data/large"}


def test_only_the_full_check_reads_data(store: Store) -> None:
    name = largest_pack(store)
    flip(store, pack_key(name), at=2000)

    assert not check(store, full=False).is_damaged
    assert check(store).is_damaged


@pytest.mark.parametrize("at", [0, 9, -1, -20, -60, -100])
@pytest.mark.parametrize("full", [False, True])
def test_a_flipped_bit_in_header_or_footer_is_found(store: Store, at: int, *, full: bool) -> None:
    name = largest_pack(store)
    flip(store, pack_key(name), at=at)

    assert (Part.PACK, name) in damages(check(store, full=full))


@pytest.mark.parametrize("full", [False, True])
def test_a_missing_pack_is_found(store: Store, *, full: bool) -> None:
    name = largest_pack(store)
    store.backend.delete(pack_key(name))

    report = check(store, full=full)

    assert (Part.PACK, name) in damages(report)
    assert bool(report.lost) == full


@pytest.mark.parametrize("length", [0, 10, 1000, -1])
def test_a_pack_that_is_cut_short_is_found(store: Store, length: int) -> None:
    name = largest_pack(store)
    store.backend.write(pack_key(name), store.backend.read(pack_key(name))[:length])

    assert (Part.PACK, name) in damages(check(store, full=False))


def test_a_lost_page_names_the_files_that_it_held(store: Store) -> None:
    name = metadata_pack(store)
    store.backend.delete(pack_key(name))

    report = check(store)

    assert (Part.PACK, name) in damages(report)
    assert any(lost.files != 1 for lost in report.lost)


@pytest.mark.parametrize("full", [False, True])
def test_a_flipped_bit_in_the_index_is_found_and_the_index_can_be_rebuilt(store: Store, *, full: bool) -> None:
    name = max(store.state().segments, key=lambda name: store.backend.size(segment_key(name)))
    flip(store, segment_key(name), at=-9)

    assert (Part.INDEX, name) in damages(check(store, full=full))

    rebuild_index(Store(store.backend, make_context()))
    assert_whole(store.backend)


def test_a_missing_index_can_be_rebuilt(store: Store) -> None:
    wanted = {name: files_of(store, ref.value) for name, ref in store.state().refs.items()}
    for name in store.state().segments:
        store.backend.delete(segment_key(name))
    assert {part for part, _ in damages(check(store))} == {Part.INDEX}

    rebuilt = rebuild_index(Store(store.backend, make_context()))

    assert not rebuilt.findings
    again = Store(store.backend, make_context())
    assert {name: files_of(again, ref.value) for name, ref in again.state().refs.items()} == wanted
    assert_whole(store.backend)


def test_rebuilding_a_sound_index_twice_changes_nothing_more(store: Store) -> None:
    rebuild_index(Store(store.backend, make_context()))
    before = Store(store.backend, make_context()).state().seq

    rebuild_index(Store(store.backend, make_context()))

    assert Store(store.backend, make_context()).state().seq == before


def test_objects_of_a_pack_with_a_damaged_footer_are_found_again(store: Store) -> None:
    wanted = {name: files_of(store, ref.value) for name, ref in store.state().refs.items()}
    # With an index that is still there, and a segment that is not.
    for name in store.state().packs:
        flip(store, pack_key(name), at=-1)

    rebuilt = rebuild_index(Store(store.backend, make_context()))

    assert len(rebuilt.findings) == len(store.state().packs)
    again = Store(store.backend, make_context())
    assert {name: files_of(again, ref.value) for name, ref in again.state().refs.items()} == wanted


def test_a_changed_log_entry_is_found(store: Store) -> None:
    key = "log/0/00000000000000000002"
    store.backend.write(key, store.backend.read(key).replace(b'"actor":"ada', b'"actor":"eve'))

    report = check(store)

    assert (Part.LOG, "entry 2") in damages(report)


@pytest.mark.parametrize("seq", [1, 2, 4])
def test_a_log_entry_that_cannot_be_read_is_found(store: Store, seq: int) -> None:
    flip(store, f"log/0/{seq:020}", at=3)

    assert (Part.LOG, f"entry {seq}") in damages(check(store, full=False))


def test_a_missing_log_entry_is_found(store: Store) -> None:
    store.backend.delete("log/0/00000000000000000002")

    assert (Part.LOG, "entry 2") in damages(check(store))


def test_an_entry_that_was_void_from_the_start_is_no_damage(store: Store) -> None:
    raw = store.backend.read("log/0/00000000000000000004")
    # A bad writer's: it breaks a rule, and the log goes on behind it.
    store.backend.create("log/0/00000000000000000005", raw)
    commit(store, FILES, branch="after")

    report = check(store)

    assert not report.is_damaged
    assert [(finding.name, finding.severity) for finding in report.findings] == [("entry 5", Severity.WARNING)]


def test_a_ref_to_nothing_is_found(store: Store) -> None:
    store.publish(lambda _: [RefChange("refs/heads/bad", None, "ab" * 32)])

    assert (Part.REF, "refs/heads/bad") in damages(check(store))


def test_what_is_staged_and_what_a_ref_was_have_to_be_whole_too(store: Store) -> None:
    gone = commit(store, {b"only here": noise(7, 50_000)}, branch="gone")
    store.publish(lambda _: [RefChange("refs/heads/gone", gone.hex(), None)])
    assert check(store).dangling == 1
    location = store.objects.locate(hash_object(0, noise(7, 50_000)))
    assert location is not None
    store.backend.delete(pack_key(location.pack))

    report = check(store)

    assert [(lost.commit, lost.path) for lost in report.lost] == [(gone, b"only here")]
    lost_root = Session("refs/heads/main", staged="cd" * 32).encode()
    store.publish(lambda _: [RefChange(SESSION_REF, None, lost_root)])
    assert (Part.REF, SESSION_REF) in damages(check(store))


def test_files_of_ended_processes_are_told_and_are_no_damage(store: Store, tmp_path: Path) -> None:
    import os

    from dsvc.storage.temporary import this_host

    temporary = tmp_path / "store" / "tmp"
    temporary.mkdir(exist_ok=True)
    host = this_host()
    (temporary / f"{host}-999999999-{'0' * 32}").write_bytes(b"left")
    (temporary / f"{host}-{os.getpid()}-{'0' * 32}").write_bytes(b"in use")
    (temporary / f"elsewhere-999999999-{'0' * 32}").write_bytes(b"another machine's")

    report = check(store, full=False)

    assert not report.is_damaged
    assert ["1 files of 4 bytes" in finding.problem for finding in report.findings] == [True]


def test_a_pack_that_nothing_names_is_told_and_is_no_damage(store: Store) -> None:
    store.backend.write(f"packs/ab/{'ab' * 32}.0", b"left by a push")

    report = check(store, full=False)

    assert not report.is_damaged
    assert [finding.severity for finding in report.findings] == [Severity.NOTE]


SOUND: dict[str, bytes] = {}


def sound(make_folder: Callable[[], Path]) -> dict[str, bytes]:
    """The values of a sound store, made once."""
    if not SOUND:
        store = make(make_folder())
        SOUND.update({key: store.backend.read(key) for key, _ in store.backend.list("")})
    return SOUND


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_any_flipped_bit_is_found(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    known = sound(lambda: tmp_path_factory.mktemp("sound") / "store")
    backend = MemoryBackend()
    for key, value in known.items():
        backend.create(key, value)
    state = Store(backend, make_context()).state()
    # What the newest entry tells people is vouched for by the next one.
    keys = [*map(pack_key, state.packs), *map(segment_key, state.segments), *map(entry_key, range(1, state.seq))]
    key = data.draw(st.sampled_from(sorted(keys)))
    bit = data.draw(st.integers(0, 8 * len(known[key]) - 1))
    raw = bytearray(known[key])
    raw[bit // 8] ^= 1 << bit % 8
    backend.write(key, raw)

    assert fsck(Store(backend, make_context())).is_damaged


def test_a_version_that_nobody_wrote_is_damage(store: Store) -> None:
    key = entry_key(2)
    raw = store.backend.read(key)
    assert b'"v":1,' in raw
    store.backend.write(key, raw.replace(b'"v":1,', b'"v":3,'))

    report = check(store)

    assert damages(report) == {(Part.LOG, "entry 2")}


def test_a_store_of_a_newer_dsvc_is_not_damaged(store: Store) -> None:
    state = store.state()
    store.backend.create(entry_key(state.seq + 1), b'{"v":2,"seq":%d,"prev_hash":"%s"}' % (state.seq + 1, b"0" * 64))

    with pytest.raises(UnsupportedFormatError):
        check(store)


def sampled(store: Store, sample: Sample) -> Report:
    return fsck(Store(store.backend, make_context()), sample=sample)


def test_samples_that_differ_find_all_damage_in_the_end(store: Store) -> None:
    flip(store, pack_key(largest_pack(store)), 500)
    names = sorted(store.state().packs)

    rotations = ([*names[first:], *names[:first]] for first in range(len(names)))
    found = [sampled(store, Sample(lambda _: next(rotations), share=1 / len(names))) for _ in names]

    assert [report.packs for report in found] == [1] * len(names)
    assert [report.unread for report in found] == [len(names) - 1] * len(names)
    assert [damages(report) for report in found if report.is_damaged] == [{(Part.PACK, largest_pack(store))}]


def test_a_sample_ends_with_its_time_and_says_what_it_left_out(store: Store) -> None:
    ticks = iter((False, False, True, True, True, True, True, True, True))

    report = sampled(store, Sample(list, is_over=lambda: next(ticks)))

    assert (report.packs, report.unread) == (2, len(store.state().packs) - 2)
    assert not report.is_damaged
