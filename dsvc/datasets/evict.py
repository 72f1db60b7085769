"""Making room in the user's cache: what was not asked for for the longest time goes first.

Nothing goes that is pinned, in use, or was asked for a short while ago: whoever was told a path has to be able to use
it. First go files that no tree is a link to; then whole trees, with the files that were theirs alone, and the metadata
of stores far away. What the names in these meant stays: it is little, and a tree that stays is found by it.
"""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final

import msgspec

from dsvc.datasets.cached_file import cached_name, is_cached
from dsvc.datasets.tree_record import read_manifest, read_record
from dsvc.datasets.user_cache import Use, UserCache
from dsvc.storage.local import storage_error

__all__ = ["Evicted", "cache_size", "evict"]

_SECOND: Final = 1_000_000_000
_BLOCK: Final = 512


class Evicted(msgspec.Struct, frozen=True):
    """What went, or would: *trees* by id, *files*, and the metadata of *stores* by key.

    They had *freed* bytes on the disk, and *size* are left. *kept* says how many trees and stores had to stay for each
    reason, where more room was wanted.
    """

    trees: list[str]
    files: int
    freed: int
    size: int
    kept: dict[str, int]
    stores: list[str]


class _File(msgspec.Struct):
    links: int
    size: int
    changed: int


def _scan(cache: UserCache) -> dict[bytes, _File]:
    """Return what is in `files`, by name."""
    found: dict[bytes, _File] = {}
    try:
        with os.scandir(cache.files) as folders:
            for folder in folders:
                with os.scandir(folder.path) as files:
                    for file in files:
                        status = file.stat(follow_symlinks=False)
                        found[file.name] = _File(status.st_nlink - 1, status.st_blocks * _BLOCK, status.st_ctime_ns)
    except OSError as error:
        raise storage_error(error, f"read {cache.root}") from error
    return found


def _own(cache: UserCache, tree_id: str) -> int:
    record = read_record(cache, tree_id)
    return 0 if record is None else record.own


def _metadata_size(cache: UserCache, key: str) -> int:
    """Return how many bytes the metadata of the store *key* takes on the disk."""
    size = 0
    for path in (path for folder in cache.metadata(key) for path in folder.rglob("*")):
        # Another process may be at work on it.
        with suppress(FileNotFoundError):
            size += path.lstat().st_blocks * _BLOCK
    return size


def cache_size(cache: UserCache) -> int:
    """Return how many bytes files, trees and the metadata of stores take on the disk."""
    return _size(cache, _scan(cache), _metadata_sizes(cache))


def _metadata_sizes(cache: UserCache) -> dict[str, int]:
    return {key: _metadata_size(cache, key) for key in cache.stores()}


def _size(cache: UserCache, files: Mapping[bytes, _File], metadata: Mapping[str, int]) -> int:
    own = sum(_own(cache, one) for one in cache.trees())
    return sum(file.size for file in files.values()) + own + sum(metadata.values())


def evict(cache: UserCache, limit: int | None, *, keep: int, automatic: bool = False, dry_run: bool = False) -> Evicted:
    """Let at most *limit* bytes be taken, as far as what has to stay allows; without one, only what nobody uses goes.

    What was asked for in the last *keep* seconds stays. If it is *automatic*, trees of which it cannot be told whether
    they are in use stay too.

    Raises:
        StorageError: The system refuses.
    """
    room = _Room(cache, limit, keep=keep, automatic=automatic, dry_run=dry_run)
    if not dry_run:
        cache.tidy()
    room.drop_leftovers()
    room.drop_files()
    room.drop_oldest()
    return Evicted(room.trees, room.count, room.freed, room.size, dict(room.kept), room.stores)


class _Room:
    def __init__(self, cache: UserCache, limit: int | None, *, keep: int, automatic: bool, dry_run: bool) -> None:
        self._cache = cache
        self._limit = limit
        self._dry_run = dry_run
        self._automatic = automatic
        self._recent = cache.clock() - keep * _SECOND
        self._files = _scan(cache)
        self._metadata = _metadata_sizes(cache)
        self.size = _size(cache, self._files, self._metadata)
        self.trees: list[str] = []
        self.stores: list[str] = []
        self.count = 0
        self.freed = 0
        self.kept: Counter[str] = Counter()

    @property
    def _is_enough(self) -> bool:
        return self._limit is not None and self.size <= self._limit

    def drop_leftovers(self) -> None:
        """Remove what is left of trees that were never finished."""
        for tree_id in self._cache.unfinished():
            if not self._dry_run and self._cache.last_use(tree_id) < self._recent:
                with self._cache.claim(tree_id) as use:
                    if use is Use.FREE:
                        self._cache.drop_tree(tree_id)

    def drop_files(self) -> None:
        """Remove files that no tree is a link to, the oldest first."""
        unused = [(file.changed, name) for name, file in self._files.items() if not file.links]
        for _, name in sorted(unused):
            if self._is_enough:
                return
            self._drop_file(name)

    def _drop_file(self, name: bytes) -> None:
        file = self._files[name]
        if not self._dry_run:
            path = self._cache.root / "files" / os.fsdecode(name[:2]) / os.fsdecode(name)
            try:
                # Somebody may just have linked to it.
                if path.lstat().st_nlink > 1:
                    return
                path.unlink()
            except FileNotFoundError:
                pass
            except OSError as error:
                raise storage_error(error, f"remove {path}") from error
        del self._files[name]
        self.count += 1
        self._free(file.size)

    def _free(self, size: int) -> None:
        self.freed += size
        self.size -= size

    def drop_oldest(self) -> None:
        """Remove trees, and metadata of stores, what was not asked for for the longest time first."""
        if self._limit is None:
            return
        cache = self._cache
        stores = [(cache.last_use(cache.store_lease(key)), key) for key, size in self._metadata.items() if size]
        trees = [(cache.last_use(tree_id), tree_id) for tree_id in cache.trees()]
        for _, name in sorted([*trees, *stores]):
            if self._is_enough:
                return
            reason = self._drop_metadata(name) if name in self._metadata else self._drop_tree(name)
            if reason:
                self.kept[reason] += 1

    def _drop_metadata(self, key: str) -> str | None:
        """Remove the metadata of a store; return what keeps it, if it stays."""
        with self._claimed(self._cache.store_lease(key)) as reason:
            if reason is None:
                if not self._dry_run:
                    self._cache.drop_metadata(key)
                self.stores.append(key)
                self._free(self._metadata[key])
            return reason

    @contextmanager
    def _claimed(self, lease: str) -> Iterator[str | None]:
        """Yield what keeps what has the *lease*, None if it may go; then nobody begins to use it, for the block."""
        if self._cache.last_use(lease) >= self._recent:
            yield "asked for a short while ago"
            return
        with self._cache.claim(lease) as use:
            if use is Use.UNKNOWN and self._automatic:
                yield "perhaps in use"
            else:
                yield "in use" if use is Use.IN_USE else None

    def _drop_tree(self, tree_id: str) -> str | None:
        """Remove a tree and the files that are its alone; return what keeps it, if it stays."""
        cache = self._cache
        if cache.is_pinned(tree_id):
            return "pinned"
        with self._claimed(tree_id) as reason:
            if reason is not None:
                return reason
            entries = read_manifest(cache, tree_id) or []
            own = _own(cache, tree_id)
            if not self._dry_run:
                cache.drop_tree(tree_id)
        self.trees.append(tree_id)
        self._free(own)
        for name, count in Counter(cached_name(entry) for entry in entries if is_cached(entry)).items():
            file = self._files.get(name)
            if file is not None:
                file.links -= count
                if file.links <= 0:
                    self._drop_file(name)
        return None
