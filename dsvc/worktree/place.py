"""Putting content at paths of the worktree, the cheapest way there is.

`checkout.link` names the ways in order: a reflink or a hard link to a file of the link cache, or a
copy straight from the objects. A way that the filesystem does not have is passed over. Root can
write to a read-only file without noticing, so root gets copies.
"""

import errno
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from dsvc.history.batches import in_batches
from dsvc.history.needs import bring_files
from dsvc.model.paths import quote_path
from dsvc.model.tree import Entry, EntryKind
from dsvc.progress import Progress
from dsvc.storage.local import storage_error
from dsvc.worktree.folders import Folders, temporary_name
from dsvc.worktree.ingest import LARGE_FILE
from dsvc.worktree.link_cache import LinkCache, cache_entry, reflink
from dsvc.worktree.materialise import (
    ItemBatch,
    MaterialiseJob,
    Written,
    arrived_objects,
    materialise_batch,
    object_database,
    stored_objects,
    write_items,
    write_large,
)
from dsvc.worktree.scan import found_from_stat
from dsvc.worktree.workers import Workers
from dsvc.worktree.worktree import Worktree

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

__all__ = ["Item", "Placed", "place", "uncached"]

Item = tuple[Entry, bool]
"""A file or symlink, and whether something is at its path, to be replaced."""

Placed = tuple[Item, bytes, int]
"""An item, the fingerprint of its file, and when that changed last, in nanoseconds."""

_BATCH: Final = 4096
# The last batch is one worker's alone, so it is small beside the whole.
_BATCH_BYTES: Final = 16 * 1024 * 1024
_TEMPORARY: Final = b".dsvc/tmp"
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# What says that a way of linking does not exist here, rather than that something is wrong.
_NO_SUCH_WAY: Final = frozenset((errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.EPERM, errno.ENOSYS))


def place(worktree: Worktree, items: Iterable[Item], workers: Workers, progress: Progress) -> Iterator[Placed]:
    """Make each of *items* be there; yield what each looks like, in no order.

    Raises:
        CorruptionError: An object is damaged or missing.
        StorageError: The system refuses.
    """
    stream = iter(items)
    first = next(stream, None)
    if first is None:
        return
    items = chain([first], stream)
    ways = _ways(worktree)
    if not ways or first[0].kind == EntryKind.SYMLINK:
        yield from _write(worktree, worktree.root_bytes, items, workers, progress)
        return
    cache = LinkCache(worktree.control / "cache")
    try:
        for batch in _batches(items):
            _fill(worktree, cache, batch, workers)
            yield from _link(worktree, cache, batch, ways, workers=workers, progress=progress)
    finally:
        cache.close()


def uncached(worktree: Worktree, entries: Sequence[Entry]) -> list[Entry]:
    """Return which of *entries* `place` would have to write from the objects: those that are not in the link cache."""
    if not _ways(worktree):
        return list(entries)
    cache = LinkCache(worktree.control / "cache")
    try:
        return [one for one in entries if one.kind == EntryKind.SYMLINK or not cache.is_sound(cache_entry(one).path)]
    finally:
        cache.close()


def _ways(worktree: Worktree) -> list[str]:
    """Return the ways of linking to try before a copy."""
    if os.geteuid() == 0:
        return []
    words = worktree.config.words("checkout.link")
    return list(words[: words.index("copy")] if "copy" in words else words)


def _fill(worktree: Worktree, cache: LinkCache, batch: Sequence[Item], workers: Workers) -> None:
    """Write what *batch* needs and the cache has not."""
    wanted = {cached.path: cached for cached in (cache_entry(entry) for entry, _ in batch)}
    missing = [cached for name, cached in wanted.items() if not cache.is_sound(name)]
    for cached in missing:
        cache.discard(cached.path)
    for _ in _write(worktree, cache.root, [(cached, False) for cached in missing], workers, None):
        pass
    cache.record(cached.path for cached in missing)


def _link(
    worktree: Worktree,
    cache: LinkCache,
    batch: Sequence[Item],
    ways: list[str],
    *,
    workers: Workers,
    progress: Progress,
) -> Iterator[Placed]:
    with Folders(worktree.root_bytes) as folders:
        for item in batch:
            entry = item[0]
            status = None
            while status is None and ways:
                try:
                    status = _link_one(folders, cache, item, ways[0])
                except OSError as error:
                    if error.errno == errno.EMLINK:
                        # ext4 ends at 65,000 links to one file: start another.
                        cache.discard(cache_entry(entry).path)
                        _fill(worktree, cache, [item], workers)
                    elif error.errno in _NO_SUCH_WAY:
                        ways.pop(0)
                    else:
                        raise storage_error(error, f"write {quote_path(entry.path)}") from error
            if status is None:
                yield from _write(worktree, worktree.root_bytes, [item], workers, progress)
                continue
            progress.advance(1, entry.size)
            seen = found_from_stat(entry.path, status)
            yield item, seen.fingerprint, seen.changed


def _link_one(folders: Folders, cache: LinkCache, item: Item, way: str) -> os.stat_result:
    entry, replace = item
    source = cache.path(cache_entry(entry).path)
    folder, _, name = entry.path.rpartition(b"/")
    target_folder, target = folders.open(folder, make=True), name
    if replace:
        target_folder, target = folders.open(_TEMPORARY, make=True), temporary_name()
    if way == "hardlink":
        os.link(source, target, dst_dir_fd=target_folder, follow_symlinks=False)
    else:
        _reflink(source, target, target_folder, entry)
    if replace:
        parent = folders.open(folder)
        os.rename(target, name, src_dir_fd=target_folder, dst_dir_fd=parent)
    return os.stat(name, dir_fd=folders.open(folder), follow_symlinks=False)


def _reflink(source: bytes, target: bytes, folder: int, entry: Entry) -> None:
    mode = 0o777 if entry.kind == EntryKind.EXECUTABLE else 0o666
    descriptor = os.open(target, _NEW, mode, dir_fd=folder)
    try:
        reflink(source, descriptor)
    except BaseException:
        os.unlink(target, dir_fd=folder)
        raise
    finally:
        os.close(descriptor)


def _write(
    worktree: Worktree,
    root: bytes,
    items: Iterable[Item],
    workers: Workers,
    progress: Progress | None,
) -> Iterator[Placed]:
    """Write *items* below *root* from the objects."""
    objects = worktree.store.objects
    job = MaterialiseJob(root, stored_objects(worktree.store, arrived_objects(objects)))
    # Before processes are forked.
    object_database(job.objects)
    lost: list[Item] = []
    large: list[Item] = []
    work = _batches(_small(items, large))
    # One batch is not worth a process.
    begun = list(islice(work, 2))
    pool = workers.pool if workers.jobs > 1 and len(begun) > 1 else None
    with pool(workers.jobs) if pool else nullcontext() as executor:
        for batch, written in _written(job, chain(begun, work), executor, ahead=2 * workers.jobs):
            if progress is not None:
                progress.advance(len(batch), sum([entry.size for entry, _ in batch]))
            for placed in zip(batch, written.fingerprints, written.changed, strict=True):
                if placed[1]:
                    yield placed
                else:
                    lost.append(placed[0])
    if lost:
        # Another process has pruned them since they were looked for; they may come again.
        bring_files(objects, [entry for entry, _ in lost])
        for number, seen in write_items(objects, root, lost):
            yield lost[number], seen.fingerprint, seen.changed
    with Folders(root) as folders:
        for item in large:
            entry, replace = item
            status = write_large(
                objects,
                folders,
                entry,
                replace=replace,
                # The link cache is a folder of files that are not believed before they are recorded.
                aside=root == worktree.root_bytes,
                threads=workers.jobs,
            )
            seen = found_from_stat(entry.path, status)
            if progress is not None:
                progress.advance(1, entry.size)
            yield item, seen.fingerprint, seen.changed


def _small(items: Iterable[Item], large: list[Item]) -> Iterator[Item]:
    """Yield those of *items* that are not large, and put the others aside."""
    for item in items:
        if item[0].size < LARGE_FILE:
            yield item
        else:
            large.append(item)


def _written(
    job: MaterialiseJob, work: Iterable[list[Item]], executor: "Executor | None", *, ahead: int
) -> Iterator[tuple[list[Item], Written]]:
    """Yield each batch of *work* and what became of it; with an *executor*, *ahead* of them are under way."""
    if executor is None:
        for batch in work:
            yield batch, materialise_batch(job, ItemBatch(batch))
        return
    stream = iter(work)
    waiting: deque[tuple[list[Item], Future[Written]]] = deque()
    try:
        while True:
            for batch in islice(stream, ahead - len(waiting)):
                waiting.append((batch, executor.submit(materialise_batch, job, ItemBatch(batch))))
            if not waiting:
                return
            batch, future = waiting.popleft()
            yield batch, future.result()
    finally:
        for _, future in waiting:
            future.cancel()


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    return in_batches(items, lambda item: item[0].size, most=_BATCH, most_bytes=_BATCH_BYTES)
