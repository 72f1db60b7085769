"""Lazy clones: what is not here comes when it is needed, once, verified, and in few requests."""

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsvc.errors import StorageError
from dsvc.history.commits import Commits
from dsvc.history.content import read_content
from dsvc.history.store import Store
from dsvc.log.entry import Transaction
from dsvc.model.ids import Kind, ObjectId
from dsvc.odb.objects import ObjectNotFoundError, OutOfReachError
from dsvc.odb.pack import SealedPack
from dsvc.odb.pack_reader import open_pack, verified_pieces
from dsvc.odb.segment_writer import build_segment
from dsvc.odb.writer import store_segment
from dsvc.storage.backend import Backend
from dsvc.storage.local import LocalBackend
from dsvc.storage.memory import MemoryBackend
from dsvc.transport.fetch import FetchOptions, fetch
from dsvc.transport.position import mirror
from dsvc.transport.promise import Promise
from dsvc.transport.remote import Remote, RemoteDamagedError
from tests.counting_backend import CountingBackend
from tests.transport_support import (
    assert_whole,
    commit,
    files_of,
    make_context,
    make_store,
    noise,
    push_refs,
    remote_of,
    values,
)

DOWN = "no route to host"
FALSE = bytes(range(32))
LAZY = FetchOptions(data=False)


@pytest.fixture
def far() -> CountingBackend:
    return CountingBackend(MemoryBackend())


@pytest.fixture
def local(tmp_path: Path) -> Store:
    return make_store(tmp_path / "local")


def far_remote(far: Backend, folder: Path) -> Remote:
    """The remote as another process finds it."""
    return Remote("origin", "far away", mirror(folder, far), make_context("remote"), folder)


def lazy_clone(far: Backend, folder: Path) -> Store:
    """All that *far* has, without data."""
    clone = make_store(folder, "ben")
    fetch(clone, far_remote(far, folder / "known"), options=LAZY)
    return reopened(clone, far)


def reopened(clone: Store, far: Backend) -> Store:
    """*clone* as another process finds it."""
    folder = clone.files.root
    store = Store(LocalBackend(folder), make_context("ben"))
    store.promise(Promise(store, [far_remote(far, folder / "known")]))
    return store


def chunks(store: Store) -> list[bytes]:
    return [one for segment in store.objects.segments for one, kind in segment.ids() if kind == Kind.CHUNK]


# What comes with a fetch.


def test_a_fetch_without_data_brings_everything_but_chunks(local: Store, far: CountingBackend, tmp_path: Path) -> None:
    made = commit(local, {b"a": noise(1, 300_000), b"folder/b": b"two", b"empty": b""})
    push_refs(local, far_remote(far, tmp_path / "known"))

    clone = lazy_clone(far, tmp_path / "clone")

    assert values(clone, "refs/remotes/origin/") == {"main": made.hex()}
    assert chunks(clone) == []
    entries = list(Commits(clone.objects).tree(made).entries())
    assert [entry.path for entry in entries] == [b"a", b"empty", b"folder/b"]
    assert entries[0].blob is not None
    assert entries[0].blob in clone.objects


def test_the_metadata_of_a_remote_far_away_comes_in_few_round_trips(
    local: Store, far: CountingBackend, tmp_path: Path
) -> None:
    made = commit(local, {b"%05d" % number: b"%d" % number for number in range(20_000)})
    push_refs(local, far_remote(far, tmp_path / "known"))
    clone = make_store(tmp_path / "clone")
    far.clear()

    fetch(clone, far_remote(far, tmp_path / "elsewhere"), options=LAZY)

    assert far.verbs("packs/") == {"read": 1}
    assert far.trips <= 10
    # And what comes later builds on pages that are here.
    commit(local, {b"%05d" % number: b"%d" % (number // 19_999) for number in range(20_000)}, made)
    push_refs(local, far_remote(far, tmp_path / "known"))
    far.clear()
    fetch(clone, far_remote(far, tmp_path / "elsewhere"), options=LAZY)
    assert far.verbs("packs/") == {"read": 1}
    assert far.trips <= 10


# What comes on demand.


def test_reading_one_file_of_a_fresh_lazy_clone_is_one_round_trip(
    local: Store, far: CountingBackend, tmp_path: Path
) -> None:
    made = commit(local, {b"%05d" % number: b"%d" % number for number in range(3000)})
    push_refs(local, far_remote(far, tmp_path / "known"))
    clone = lazy_clone(far, tmp_path / "clone")
    entry = next(Commits(clone.objects).tree(made).entries(b"01234"))
    far.clear()

    assert read_content(clone.objects, entry) == b"1234"

    assert far.trips == 1
    assert far.verbs("packs/") == {"range": 1}


def test_what_came_once_never_comes_again(local: Store, far: CountingBackend, tmp_path: Path) -> None:
    made = commit(local, {b"a": noise(1, 3_000_000), b"b": b"two"})
    push_refs(local, far_remote(far, tmp_path / "known"))
    clone = lazy_clone(far, tmp_path / "clone")
    first = files_of(clone, made)
    far.clear()

    again = files_of(reopened(clone, far), made)

    assert first == again == files_of(local, made)
    assert far.asked == []
    assert_whole(clone.backend)


def test_what_was_pushed_after_the_index_was_read_is_found(local: Store, far: CountingBackend, tmp_path: Path) -> None:
    made = commit(local, {b"a": b"one"})
    push_refs(local, far_remote(far, tmp_path / "known"))
    clone = lazy_clone(far, tmp_path / "clone")
    later = commit(local, {b"b": b"two"}, made)
    push_refs(local, far_remote(far, tmp_path / "known"))
    chunk = next(Commits(local.objects).tree(later).entries(b"b")).digest

    assert clone.objects.read(Kind.CHUNK, chunk) == b"two"


def test_what_nobody_promised_is_not_found(local: Store, far: CountingBackend, tmp_path: Path) -> None:
    commit(local, {b"a": b"one"})
    push_refs(local, far_remote(far, tmp_path / "known"))
    clone = lazy_clone(far, tmp_path / "clone")

    with pytest.raises(ObjectNotFoundError):
        clone.objects.read(Kind.CHUNK, bytes(32))
    assert bytes(32) not in clone.objects


def test_adding_knows_only_what_is_here(local: Store, far: CountingBackend, tmp_path: Path) -> None:
    commit(local, {b"a": b"one"})
    push_refs(local, far_remote(far, tmp_path / "known"))
    clone = lazy_clone(far, tmp_path / "clone")
    far.clear()

    made = commit(clone, {b"a": b"one"})

    assert far.asked == []
    assert files_of(clone, made) == {b"a": b"one"}
    assert far.asked == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write anywhere")
def test_a_clone_that_cannot_be_written_reads_all_the_same(local: Store, far: CountingBackend, tmp_path: Path) -> None:
    made = commit(local, {b"a": noise(1, 300_000)})
    push_refs(local, far_remote(far, tmp_path / "known"))
    clone = lazy_clone(far, tmp_path / "clone")
    (tmp_path / "clone").chmod(0o555)

    try:
        assert files_of(clone, made) == files_of(local, made)
    finally:
        (tmp_path / "clone").chmod(0o755)
    assert chunks(clone) == []


def test_where_nothing_can_be_stored_data_is_read_from_where_it_is(
    local: Store, far: CountingBackend, tmp_path: Path
) -> None:
    commit(local, {b"a": b"one"})
    push_refs(local, far_remote(far, tmp_path / "known"))
    clone = lazy_clone(far, tmp_path / "clone")
    assert clone.promisor is not None

    found = dict(clone.promisor.stream(Kind.CHUNK, chunks(local)))

    assert list(map(bytes, found.values())) == [b"one"]
    assert chunks(clone) == []


class Unreachable(MemoryBackend):
    """A network that is down."""

    def read(self, key: str) -> bytes:
        raise StorageError(DOWN if key else "")

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        raise StorageError(DOWN if keys else "")

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        raise StorageError(DOWN if key and ranges else "")


def test_without_the_remote_the_error_names_it(local: Store, far: CountingBackend, tmp_path: Path) -> None:
    made = commit(local, {b"a": b"one"})
    push_refs(local, far_remote(far, tmp_path / "known"))
    clone = lazy_clone(far, tmp_path / "clone")

    with pytest.raises(OutOfReachError, match=r"cannot read object .*, which origin has: no route"):
        files_of(reopened(clone, Unreachable()), made)


@pytest.mark.parametrize("lost", ["position.json", "copy"])
def test_what_is_known_of_the_remote_may_be_lost(local: Store, far: CountingBackend, tmp_path: Path, lost: str) -> None:
    made = commit(local, {b"a": b"one"})
    push_refs(local, far_remote(far, tmp_path / "known"))
    clone = lazy_clone(far, tmp_path / "clone")
    path = tmp_path / "clone" / "known" / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()

    with pytest.raises(OutOfReachError):
        files_of(reopened(clone, Unreachable()), made)
    assert files_of(reopened(clone, far), made) == {b"a": b"one"}


def test_another_remote_that_has_it_is_asked(local: Store, far: CountingBackend, tmp_path: Path) -> None:
    made = commit(local, {b"a": b"one"})
    push_refs(local, far_remote(far, tmp_path / "known"))
    there = LocalBackend(tmp_path / "there")
    push_refs(local, remote_of(there))
    clone = lazy_clone(far, tmp_path / "clone")
    down = far_remote(Unreachable(), tmp_path / "clone" / "known")
    clone.promise(Promise(clone, [down, remote_of(there, name="second")]))

    assert files_of(clone, made) == {b"a": b"one"}


# A remote that is not what it says.


def _packs(backend: Backend) -> Iterator[str]:
    return (key for key, _ in list(backend.list("packs/")))


@pytest.mark.parametrize("where", [60, 120, -60])
def test_damage_in_the_remote_is_told_and_nothing_is_stored(
    local: Store, far: CountingBackend, tmp_path: Path, where: int
) -> None:
    made = commit(local, {b"a": noise(1, 300_000)})
    push_refs(local, far_remote(far, tmp_path / "known"))
    clone = lazy_clone(far, tmp_path / "clone")
    (largest,) = (key for key in _packs(far) if far.size(key) > 200_000)
    good = far.read(largest)
    position = where % len(good) if where > 0 else 100_000
    far.write(largest, good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])

    with pytest.raises(RemoteDamagedError, match="the remote origin: "):
        files_of(clone, made)

    assert chunks(clone) == []
    far.write(largest, good)
    assert files_of(reopened(clone, far), made) == files_of(local, made)


def test_a_pack_that_is_gone_is_told(local: Store, far: CountingBackend, tmp_path: Path) -> None:
    made = commit(local, {b"a": noise(1, 300_000)})
    push_refs(local, far_remote(far, tmp_path / "known"))
    clone = lazy_clone(far, tmp_path / "clone")
    (largest,) = (key for key in _packs(far) if far.size(key) > 200_000)
    far.delete(largest)

    with pytest.raises(RemoteDamagedError, match=r"the remote origin: packs/.* is missing"):
        files_of(clone, made)


def test_an_index_that_promises_what_its_pack_does_not_hold_is_told(
    local: Store, far: CountingBackend, tmp_path: Path
) -> None:
    """Rows of the index are given other ids: all else is as it should be."""
    made = commit(local, {b"a": noise(1, 90_000), b"b": noise(2, 90_000)})
    push_refs(local, far_remote(far, tmp_path / "known"))
    wanted = next(Commits(local.objects).tree(made).entries(b"a")).digest
    there = far_remote(far, tmp_path / "known").open()
    (old,) = there.state().segments
    packs = [_sealed(far, key.removeprefix("packs/")) for key in _packs(far)]
    segment = build_segment(
        [
            msgspec.structs.replace(pack, ids=pack.ids.replace(wanted, FALSE)) if wanted in pack.ids else pack
            for pack in packs
        ]
    )
    store_segment(far, segment)
    context = make_context("mallory")
    there.log.commit(
        lambda _: Transaction(add_index=[segment.name], drop_index=[old]),
        actor="mallory",
        time=0,
        command="push",
        nonce=context.nonce,
    )
    clone = make_store(tmp_path / "clone", "ben")
    clone.promise(Promise(clone, [far_remote(far, tmp_path / "clone" / "known")]))

    with pytest.raises(RemoteDamagedError, match="the remote origin: object"):
        clone.objects.read(Kind.CHUNK, FALSE)

    assert list(clone.backend.list("packs/")) == []
    assert clone.state().packs == {}


def _sealed(backend: Backend, name: str) -> SealedPack:
    pack = open_pack(backend, name)
    ids = b"".join(piece.ids for piece in verified_pieces(backend, pack))
    return SealedPack(name, Path(), pack.length, pack.raw_length, pack.footer, ids)


@pytest.mark.parametrize("near", [False, True])
def test_a_whole_pack_without_what_the_index_promises_is_told(
    local: Store, far: CountingBackend, tmp_path: Path, *, near: bool
) -> None:
    contents = {b"%d" % number: noise(number, 90_000) for number in range(300)}
    made = commit(local, contents)
    there: Backend = LocalBackend(tmp_path / "there") if near else far
    push_refs(local, remote_of(there))
    wanted = next(Commits(local.objects).tree(made).entries(b"7")).digest
    opened = remote_of(there).open()
    (old,) = opened.state().segments
    packs = [_sealed(there, key.removeprefix("packs/")) for key in _packs(there)]
    segment = build_segment([msgspec.structs.replace(one, ids=one.ids.replace(wanted, FALSE)) for one in packs])
    store_segment(there, segment)
    context = make_context("mallory")
    opened.log.commit(
        lambda _: Transaction(add_index=[segment.name], drop_index=[old]),
        actor="mallory",
        time=0,
        command="push",
        nonce=context.nonce,
    )
    clone = make_store(tmp_path / "clone", "ben")
    promise = Promise(clone, [remote_of(there)])
    ids = [entry.digest for entry in Commits(local.objects).tree(made).entries() if entry.digest != wanted]

    with pytest.raises(RemoteDamagedError, match=f"object {FALSE.hex()} is not where the index says"):
        promise.bring([*ids, FALSE])

    assert clone.state().packs == {}
    assert FALSE not in clone.objects


# Laws.

CONTENTS = st.binary(max_size=12) | st.integers(0, 6).map(lambda seed: noise(seed, 150_000))
PATHS = st.sampled_from([b"a", b"b", b"folder/c", b"folder/d", b"e/f/g"])
VERSIONS = st.lists(st.dictionaries(PATHS, CONTENTS, max_size=4), min_size=1, max_size=5)


@settings(max_examples=40, deadline=None)
@given(versions=VERSIONS, picks=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=8))
def test_a_lazy_clone_reads_as_a_full_one_and_asks_for_nothing_twice(
    versions: list[dict[bytes, bytes]], picks: list[tuple[int, int]]
) -> None:
    with TemporaryDirectory() as folder:
        local, far = make_store(Path(folder, "local")), CountingBackend(MemoryBackend())
        made: list[ObjectId] = []
        for files in versions:
            made.append(commit(local, files, *made[-1:]))
            push_refs(local, far_remote(far, Path(folder, "known")))
        clone = lazy_clone(far, Path(folder, "clone"))
        far.clear()

        for which, path in picks:
            version = made[which % len(made)]
            entries = list(Commits(clone.objects).tree(version).entries())
            if entries:
                entry = entries[path % len(entries)]
                content = read_content(clone.objects, entry)
                assert content == versions[which % len(made)][entry.path]
                clone = reopened(clone, far)
        for version, files in zip(made, versions, strict=True):
            assert files_of(clone, version) == files

        ranges = [request for request in far.ranges if request[0].startswith("packs/")]
        assert len(ranges) == len(set(ranges))
        assert_whole(clone.backend)
