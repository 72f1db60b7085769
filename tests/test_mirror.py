"""A remote far away: what was read from it once and never changes is at hand, and what may change is asked for."""

import shutil
from pathlib import Path

import pytest
from blake3 import blake3

from dsvc.errors import CorruptionError
from dsvc.history.store import Store
from dsvc.log.log import Log
from dsvc.storage.backend import Backend, KeyNotFoundError
from dsvc.storage.local import LocalBackend
from dsvc.storage.memory import MemoryBackend
from dsvc.storage.mirror import MirroredBackend
from dsvc.transport.fetch import fetch
from dsvc.transport.position import OtherStoreError, RemoteRewoundError, StoreGoneError, mirror
from dsvc.transport.remote import NoStoreError, Remote
from tests.backend_contract import BackendContract
from tests.counting_backend import CountingBackend
from tests.transport_support import commit, files_of, make_context, make_store, push_refs, values


class TestMirroredBackend(BackendContract):
    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        return MirroredBackend(MemoryBackend(), LocalBackend(tmp_path), lambda key: key.startswith("kept/"))


@pytest.fixture
def far() -> CountingBackend:
    return CountingBackend(MemoryBackend())


@pytest.fixture
def near(far: CountingBackend, tmp_path: Path) -> MirroredBackend:
    far.write("kept/a", b"value of a")
    far.write("kept/b", b"value of b")
    far.write("other", b"value")
    far.clear()
    return MirroredBackend(far, LocalBackend(tmp_path / "copy"), lambda key: key.startswith("kept/"))


def test_what_is_kept_is_asked_for_once(far: CountingBackend, near: MirroredBackend) -> None:
    for _ in range(2):
        assert near.read("kept/a") == b"value of a"
        assert near.read_many(["kept/b", "kept/none", "kept/a"]) == [b"value of b", None, b"value of a"]
        assert near.file("kept/b").read_bytes() == b"value of b"
        assert near.read_ranges("kept/a", [(0, 5), (6, 4)]) == [b"value", b"of a"]

    assert far.asked == [("read", "kept/a"), ("read", "kept/b"), ("read", "kept/none"), ("read", "kept/none")]


def test_what_is_not_kept_is_asked_for_each_time(far: CountingBackend, near: MirroredBackend) -> None:
    for _ in range(2):
        assert near.read("other") == b"value"
        # Who asks relies on it being there, not here.
        assert near.size("kept/a") == 10

    assert far.asked == [("read", "other"), ("size", "kept/a")] * 2


def test_ranges_alone_keep_nothing(far: CountingBackend, near: MirroredBackend) -> None:
    for _ in range(2):
        assert near.read_ranges("kept/a", [(0, 5)]) == [b"value"]

    assert far.asked == [("range", "kept/a")] * 2


def test_many_can_be_brought_at_once(far: CountingBackend, near: MirroredBackend) -> None:
    near.read("kept/a")
    far.clear()

    near.fetch(["kept/a", "kept/b"])

    assert far.asked == [("read", "kept/b")]
    with pytest.raises(KeyNotFoundError):
        near.fetch(["kept/a", "kept/none"])


def test_what_is_not_what_it_was_is_not_kept(far: CountingBackend, tmp_path: Path) -> None:
    far.write("kept/a", b"wrong")
    digest = blake3(b"right").hexdigest()
    near = MirroredBackend(far, LocalBackend(tmp_path), lambda key: key.startswith("kept/"), lambda _: digest)

    with pytest.raises(CorruptionError):
        near.file("kept/a")
    with pytest.raises(CorruptionError):
        near.read("kept/a")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    far.write("kept/a", b"right")
    assert near.file("kept/a").read_bytes() == b"right"


def test_what_is_deleted_is_gone_here_too(near: MirroredBackend) -> None:
    near.read("kept/a")

    near.delete("kept/a")

    with pytest.raises(KeyNotFoundError):
        near.read("kept/a")


# Remotes.


@pytest.fixture
def local(tmp_path: Path) -> Store:
    return make_store(tmp_path / "local")


def remote(far: Backend, folder: Path) -> Remote:
    """The remote as another process finds it."""
    return Remote("origin", "far away", mirror(folder, far), make_context("remote"), folder)


def test_a_remote_that_is_known_is_opened_in_one_round_trip(local: Store, far: CountingBackend, tmp_path: Path) -> None:
    made = commit(local, {b"a": b"one"})
    for number in range(140):
        made = commit(local, {b"a": b"%d" % number}, made)
        push_refs(local, remote(far, tmp_path / "known"))
    far.clear()

    store = remote(far, tmp_path / "known").open()

    assert far.trips == 1
    assert values(store) == {"heads/main": made.hex()}
    assert store.state().seq == 140
    assert files_of(store, made) == {b"a": b"139"}


def test_what_others_pushed_meanwhile_is_found(local: Store, far: CountingBackend, tmp_path: Path) -> None:
    made = commit(local, {b"a": b"one"})
    push_refs(local, remote(far, tmp_path / "known"))
    for number in range(140):
        made = commit(local, {b"a": b"%d" % number}, made)
        push_refs(local, remote(far, tmp_path / "other"))

    assert values(remote(far, tmp_path / "known").open()) == {"heads/main": made.hex()}


@pytest.mark.parametrize("lost", ["position.json", "copy", "copy/state", "copy/index"])
def test_what_is_known_of_a_remote_may_be_lost(local: Store, far: CountingBackend, tmp_path: Path, lost: str) -> None:
    made = commit(local, {b"a": b"one"})
    push_refs(local, remote(far, tmp_path / "known"))
    path = tmp_path / "known" / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()

    store = remote(far, tmp_path / "known").open()

    assert files_of(store, made) == {b"a": b"one"}


def test_a_remote_that_went_back_is_refused_though_its_log_is_known(
    local: Store, far: CountingBackend, tmp_path: Path
) -> None:
    made = commit(local, {b"a": b"one"})
    push_refs(local, remote(far, tmp_path / "known"))
    commit(local, {b"a": b"two"}, made)
    push_refs(local, remote(far, tmp_path / "known"))

    far.delete(f"log/0/{2:020}")

    with pytest.raises(RemoteRewoundError, match="entry 2 of its log"):
        remote(far, tmp_path / "known").open()


@pytest.mark.parametrize("replaced", [False, True])
def test_another_store_at_the_same_place_is_refused(
    local: Store, far: CountingBackend, tmp_path: Path, *, replaced: bool
) -> None:
    commit(local, {b"a": b"one"})
    push_refs(local, remote(far, tmp_path / "known"))
    for key in [key for key, _ in far.backend.list("")]:
        far.backend.delete(key)
    if replaced:
        Log.create(far.backend, store_id="another")

    with pytest.raises(OtherStoreError if replaced else StoreGoneError):
        remote(far, tmp_path / "known").open()
    if not replaced:
        with pytest.raises(NoStoreError):
            remote(far, tmp_path / "new").open()


def test_a_fetch_finds_all_of_a_remote_through_its_copy(local: Store, far: CountingBackend, tmp_path: Path) -> None:
    made = commit(local, {b"%d" % number: b"%d" % number for number in range(3000)})
    push_refs(local, remote(far, tmp_path / "known"))
    other = make_store(tmp_path / "other")

    fetch(other, remote(far, tmp_path / "elsewhere"))

    assert files_of(other, made) == files_of(local, made)
