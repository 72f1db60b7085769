"""Checking the user's cache to the byte: every file against its name, every tree against its manifest.

What is damaged is dropped, and made again when it is next asked for. A tree that somebody uses stays where it is, and
is only no longer taken for whole: the next get repairs it.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
from blake3 import blake3

from dsvc.datasets.cached_file import cached_name, content_time, is_cached
from dsvc.datasets.tree_record import inspect, read_manifest, read_record
from dsvc.datasets.user_cache import Use, UserCache
from dsvc.model.paths import quote_path
from dsvc.model.tree import Entry
from dsvc.progress import NO_PROGRESS, Progress
from dsvc.storage.local import storage_error

__all__ = ["CacheDamage", "verify_cache"]

_PIECE: Final = 1 << 20


class CacheDamage(msgspec.Struct, frozen=True):
    """What is wrong with a file or a tree at *path*, and what became of it: "dropped", or why it stays."""

    path: Path
    reason: str
    outcome: str


def verify_cache(
    cache: UserCache,
    trees: Iterable[str] | None = None,
    *,
    dry_run: bool = False,
    progress: Progress = NO_PROGRESS,
) -> Iterator[CacheDamage]:
    """Yield what is damaged in *cache*, or in these *trees* and their files; unless *dry_run*, it is dropped.

    Raises:
        StorageError: Something cannot be read.
    """
    chosen = cache.trees() if trees is None else list(trees)
    names = _all_names(cache) if trees is None else _names(read_manifest(cache, tree_id) for tree_id in chosen)
    sound: set[tuple[int, int]] = set()
    progress.start("verify", files=len(names))
    for name in names:
        path = cache.root / "files" / name[:2] / name
        reason = _file_damage(path, sound)
        progress.advance(1)
        if reason:
            if not dry_run:
                path.unlink(missing_ok=True)
            yield CacheDamage(path, reason, "stays" if dry_run else "dropped")
    progress.finish()
    for tree_id in chosen:
        with cache.only_one(tree_id, wait=False) as is_idle:
            # One that is being made or repaired just now is not complete, and will be.
            reason = _tree_damage(cache, tree_id, sound) if is_idle else None
            if reason:
                outcome = "stays" if dry_run else _drop(cache, tree_id)
                yield CacheDamage(cache.tree(tree_id), reason, outcome)


def _all_names(cache: UserCache) -> list[str]:
    return sorted(path.name for folder in (cache.root / "files").iterdir() for path in folder.iterdir())


def _names(manifests: Iterable[Sequence[Entry] | None]) -> list[str]:
    return sorted({cached_name(one).decode() for entries in manifests for one in entries or () if is_cached(one)})


def _file_damage(path: Path, sound: set[tuple[int, int]]) -> str | None:
    """Return what is wrong with the cached file *path*; one that is *sound* is added there by its device and inode."""
    hexadecimal, _, executable = path.name.partition(".")
    try:
        with path.open("rb", buffering=0) as file:
            status, hasher = os.fstat(file.fileno()), blake3()
            while piece := file.read(_PIECE):
                hasher.update(piece)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise storage_error(error, f"read {path}") from error
    digest = hasher.digest()
    if digest.hex() != hexadecimal:
        return "its content is not what its name says"
    if status.st_mtime_ns != content_time(digest) or bool(status.st_mode & 0o100) != bool(executable):
        return "its time or its mode is not what was written"
    sound.add((status.st_dev, status.st_ino))
    return None


def _tree_damage(cache: UserCache, tree_id: str, sound: set[tuple[int, int]]) -> str | None:
    tree = cache.tree(tree_id)
    root = os.fsencode(tree)
    with cache.lease(tree_id):
        if not tree.exists():
            # It was evicted a moment ago.
            return None
        entries = read_manifest(cache, tree_id)
        if entries is None or read_record(cache, tree_id) is None:
            return "it is not complete"
        damage = inspect(root, entries)
        paths = [*(entry.path for entry in (*damage.missing, *damage.wrong)), *damage.extra]
        if not paths:
            # What is a link to a file that was just read need not be read again.
            others = [entry for entry in entries if is_cached(entry) and not _is_one_of(tree, entry, sound)]
            paths = [entry.path for entry in inspect(root, others, content=True, names=False).wrong]
    if not paths:
        return None
    more = f" and {len(paths) - 1:,} more paths are" if len(paths) > 1 else " is"
    return f"{quote_path(paths[0])}{more} not as written"


def _is_one_of(tree: Path, entry: Entry, sound: set[tuple[int, int]]) -> bool:
    status = (tree / os.fsdecode(entry.path)).lstat()
    return (status.st_dev, status.st_ino) in sound


def _drop(cache: UserCache, tree_id: str) -> str:
    with cache.claim(tree_id) as use:
        if use is Use.FREE:
            cache.drop_tree(tree_id)
            return "dropped"
        # Whoever asks for it next looks at each file of it.
        cache.values.delete(f"records/{tree_id}")
        return "in use, so it stays; the next get repairs it"
