"""Getting versions from a store far away: what is asked of it, how often, and what an interruption costs."""

import gc
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from dsvc.datasets import assemble
from dsvc.datasets.evict import cache_size, evict
from dsvc.datasets.get import find_wanted, get
from dsvc.datasets.means import Means
from dsvc.datasets.remote_source import RemoteSource
from dsvc.datasets.selection import Selection
from dsvc.datasets.source import RepositorySource
from dsvc.datasets.to_folder import get_to
from dsvc.datasets.user_cache import UserCache
from dsvc.errors import StorageError
from dsvc.history.tree import Tree
from dsvc.log.entry import RefChange
from dsvc.odb.objects import OutOfReachError
from dsvc.progress import NO_PROGRESS
from dsvc.storage.memory import MemoryBackend
from dsvc.storage.settings import NO_SETTINGS
from dsvc.transport.position import OtherStoreError
from dsvc.worktree.worktree import Worktree
from tests.counting_backend import CountingBackend
from tests.transport_support import push_refs, remote_of
from tests.worktree_support import Files, Link, commit_all, make_context, make_worktree, read_files

_MEGABYTE = 1_000_000


class Bucket(CountingBackend):
    """A store far away, of whose packs nothing comes from an offset *broken* on, if that is said.

    What is to be done *meanwhile* is done while the first data is waited for.
    """

    broken: int | None = None
    meanwhile: Callable[[], object] | None = None

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        if self.meanwhile is not None:
            action, self.meanwhile = self.meanwhile, None
            action()
        if self.broken is not None and any(offset >= self.broken for offset, _ in ranges):
            message = "the network is gone"
            raise StorageError(message)
        return super().read_ranges(key, ranges)


@pytest.fixture
def bucket() -> Bucket:
    return Bucket(MemoryBackend())


@pytest.fixture
def worktree(tmp_path: Path) -> Worktree:
    return make_worktree(tmp_path / "work")


@pytest.fixture
def cache(tmp_path: Path) -> UserCache:
    return UserCache.open(tmp_path / "cache")


def publish(worktree: Worktree, bucket: Bucket, files: Files, name: str) -> None:
    """Make a version of *files* and let it be in the bucket, as `main` and as the published *name*."""
    commit_id = commit_all(worktree, files)
    ref = f"refs/tags/{name}"
    worktree.store.publish(lambda _: [RefChange(ref, None, commit_id.hex(), publish=True)])
    push_refs(worktree.store, remote_of(bucket.backend), "main", name)


def source_of(bucket: Bucket, cache: UserCache, *, offline: bool = False) -> RemoteSource:
    """The bucket seen anew, as by another process."""
    return RemoteSource(
        cache,
        "bucket",
        "memory://bucket",
        bucket,
        make_context(),
        settings=NO_SETTINGS,
        offline=offline,
        progress=NO_PROGRESS,
    )


def got(source: RemoteSource | RepositorySource, cache: UserCache, name: str, *paths: bytes) -> dict[bytes, object]:
    with get(Means(cache, source), find_wanted(source, name, Selection(paths))) as found:
        return dict(read_files(found.path))


def data_read(bucket: Bucket) -> int:
    return sum(length for key, _, length in bucket.ranges if key.startswith("packs/"))


def test_only_the_data_that_is_needed_comes_and_only_once(worktree: Worktree, bucket: Bucket, cache: UserCache) -> None:
    files: Files = {b"%d" % number: os.urandom(_MEGABYTE) for number in range(4)}
    publish(worktree, bucket, files, "v1")

    assert got(source_of(bucket, cache), cache, "v1", b"2") == {b"2": files[b"2"]}
    assert data_read(bucket) < 2 * _MEGABYTE
    bucket.clear()
    assert got(source_of(bucket, cache), cache, "main") == files
    assert data_read(bucket) < 3.5 * _MEGABYTE
    bucket.clear()
    publish(worktree, bucket, {**files, b"new": b"new"}, "v2")
    bucket.clear()
    assert got(source_of(bucket, cache), cache, "v2")[b"new"] == b"new"
    assert data_read(bucket) < _MEGABYTE


def test_a_published_version_is_asked_for_once_and_a_branch_each_time(
    worktree: Worktree, bucket: Bucket, cache: UserCache
) -> None:
    files: Files = {b"a": b"1", b"link": Link(b"a")}
    publish(worktree, bucket, files, "v1")
    got(source_of(bucket, cache), cache, "v1")
    got(source_of(bucket, cache), cache, "main")
    bucket.clear()

    assert got(source_of(bucket, cache), cache, "v1") == files
    assert got(source_of(bucket, cache, offline=True), cache, "main") == files
    assert bucket.trips == 0
    assert got(source_of(bucket, cache), cache, "main") == files
    assert 1 <= bucket.trips <= 6
    assert data_read(bucket) == 0


def test_an_interrupted_get_leaves_no_tree_and_asks_for_nothing_twice(
    worktree: Worktree, bucket: Bucket, cache: UserCache
) -> None:
    files: Files = {
        b"%s/%d" % (folder, number): os.urandom(_MEGABYTE) for folder in (b"a", b"b") for number in range(10)
    }
    publish(worktree, bucket, files, "v1")
    wanted = {path: content for path, content in files.items() if path.startswith(b"a/")}
    source = source_of(bucket, cache)
    find_wanted(source, "v1", Selection())
    bucket.clear()
    bucket.broken = 8 * _MEGABYTE

    with pytest.raises(OutOfReachError):
        got(source, cache, "v1", b"a")

    assert cache.trees() == []
    first = set(bucket.ranges)
    bucket.clear()
    bucket.broken = None
    assert got(source_of(bucket, cache), cache, "v1", b"a") == wanted
    assert first
    assert not first & set(bucket.ranges)
    assert list((cache.root / "incoming").iterdir()) == []


def test_what_comes_in_several_steps_is_whole(
    worktree: Worktree, bucket: Bucket, cache: UserCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    files: Files = {b"%d" % number: b"%d" % number * number for number in range(50)} | {b"link": Link(b"7")}
    publish(worktree, bucket, files, "v1")
    monkeypatch.setattr(assemble, "_WINDOW", 20)

    assert got(source_of(bucket, cache), cache, "v1") == files


def test_gets_of_one_version_to_several_places_and_gc_are_in_nobodys_way(
    worktree: Worktree, bucket: Bucket, cache: UserCache, tmp_path: Path
) -> None:
    files: Files = {b"a": os.urandom(_MEGABYTE), b"link": Link(b"a")}
    publish(worktree, bucket, files, "v1")

    def get_one(target: Path) -> None:
        source = source_of(bucket, cache)
        get_to(Means(cache, source), find_wanted(source, "v1", Selection()), target)

    def meanwhile() -> None:
        get_one(tmp_path / "two")
        got(source_of(bucket, cache), cache, "v1")
        evict(cache, 0, keep=0)

    find_wanted(source_of(bucket, cache), "v1", Selection())
    bucket.meanwhile = meanwhile
    get_one(tmp_path / "one")

    assert read_files(tmp_path / "one") == read_files(tmp_path / "two") == files
    assert list((cache.root / "incoming").iterdir()) == []


def test_the_metadata_of_a_store_is_counted_and_goes_unless_it_is_in_use(
    worktree: Worktree, bucket: Bucket, cache: UserCache
) -> None:
    publish(worktree, bucket, {b"%d" % number: os.urandom(100) for number in range(1000)}, "v1")
    source = source_of(bucket, cache)
    wanted = find_wanted(source, "v1", Selection())
    with get(Means(cache, source), wanted):
        pass
    root = wanted.version.tree
    pages = source.objects(root)
    cache.pin(wanted.tree_id)
    metadata = sum(path.stat().st_size for path in (source.folder / "store/packs").rglob("*") if path.is_file())
    before = cache_size(cache)

    kept = evict(cache, 0, keep=0)
    del source

    assert (kept.stores, kept.kept) == ([], {"pinned": 1, "in use": 1})
    assert Tree(pages, root).totals().files == 1000
    del pages
    gc.collect()
    assert evict(cache, before, keep=0).stores == []
    assert evict(cache, 0, keep=3600).kept == {"pinned": 1, "asked for a short while ago": 1}
    (key,) = evict(cache, 0, keep=0, dry_run=True).stores
    gone = evict(cache, 0, keep=0)
    assert gone.stores == [key]
    assert gone.freed == before - cache_size(cache) >= metadata
    # What its names meant is still known, and that its log went forward.
    assert len(got(source_of(bucket, cache, offline=True), cache, "v1")) == 1000
    assert len(got(source_of(bucket, cache), cache, "main", b"1")) == 1
    other = Bucket(MemoryBackend())
    publish(make_worktree(worktree.root.parent / "other"), other, {b"1": b"1"}, "v1")
    with pytest.raises(OtherStoreError):
        got(source_of(other, cache), cache, "main")


def test_what_the_bucket_has_lost_is_an_error_and_no_tree(worktree: Worktree, bucket: Bucket, cache: UserCache) -> None:
    publish(worktree, bucket, {b"a": os.urandom(_MEGABYTE)}, "v1")
    source = source_of(bucket, cache)
    find_wanted(source, "v1", Selection())
    for key, length in list(bucket.list("packs/")):
        if length > _MEGABYTE // 2:
            bucket.delete(key)

    with pytest.raises(Exception, match="is missing"):
        got(source, cache, "v1")

    assert cache.trees() == []
