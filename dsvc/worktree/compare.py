"""Comparing the worktree with what is staged, by one walk of both in the order of their keys."""

import os
import stat
from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol

from blake3 import blake3

from dsvc.model.ids import ObjectId
from dsvc.model.paths import quote_path
from dsvc.model.tree import Entry, EntryKind
from dsvc.storage.local import storage_error
from dsvc.worktree.ignore import IgnoredPaths
from dsvc.worktree.pathspec import Pathspec
from dsvc.worktree.scan import Found, Listed, fingerprint, found_from_stat, look_up, scan
from dsvc.worktree.stat_cache import Row, entry_from_row

__all__ = ["Difference", "Expected", "content_digest", "differences"]


_PIECE: Final = 1 << 20


class Expected(Protocol):
    """What should be there, and what is known of it: a StatCache, or what yields the same rows."""

    def rows(self, folder: bytes = b"") -> Iterator[Row]:
        """Yield the rows at and below *folder*, in the order of the keys."""


class Difference(NamedTuple):
    """A path whose file may differ from its staged entry; None for what is not there.

    Where nothing is staged, nobody has looked at the file yet: *found* has its kind and no more.
    """

    path: bytes
    staged: Entry | None
    found: Found | None
    ignored: bool = False


def differences(
    root: bytes, expected: Expected, pathspec: Pathspec, *, everything: bool = False, linked: bool = False
) -> Iterator[Difference]:
    """Yield what differs, or may differ, between the rows of *expected* and the files below *root*.

    What the rows vouch for is passed over. Ignored files that are not staged are yielded,
    marked; with *everything*, nothing is ignored. The content of an external entry is elsewhere, so it has no file to
    be missed, but with *linked*.
    """
    ignored = None if everything else IgnoredPaths(root)
    for folder in pathspec.folders:
        found = _join(root, expected.rows(folder), _look(root, folder, ignored), linked=linked)
        if pathspec.patterns:
            found = (difference for difference in found if pathspec.matches(difference.path))
        yield from found


def _look(root: bytes, path: bytes, ignored: IgnoredPaths | None) -> Iterator[Listed]:
    """Yield what is at and below *path*; where *ignored* is None, nothing is."""
    if not path:
        yield from scan(root, everything=ignored is None)
        return
    status = look_up(root, path)
    if status is None:
        return
    is_folder = stat.S_ISDIR(status.st_mode)
    is_ignored = ignored is not None and ignored.matches(path, is_folder=is_folder)
    if is_folder and not is_ignored:
        yield from scan(root, path, everything=ignored is None)
    else:
        yield path, found_from_stat(path, status).kind, is_ignored


def _join(root: bytes, rows: Iterator[Row], files: Iterator[Listed], *, linked: bool) -> Iterator[Difference]:
    row = next(rows, None)
    hidden = b"\0"  # the ignored folder that was passed over last
    prefix = os.path.join(root, b"")
    for path, kind, ignored in files:
        if row is None and not ignored:
            # A new worktree: nothing more is asked for each of a million files.
            yield Difference(path, None, _unread(root, path, kind))
            continue
        key = path.replace(b"/", b"\0")
        while row is not None and row[0] < key:
            # A folder that was empty, and has something in it now, is still there.
            if not key.startswith(row[0] + b"\0") or entry_from_row(row[0], row[2]).kind != EntryKind.FOLDER:
                yield from _not_seen(root, row, hidden, linked=linked)
            row = next(rows, None)
        if ignored and kind == EntryKind.FOLDER:
            hidden = key + b"\0"
        if row is None or row[0] != key:
            yield Difference(path, None, _unread(root, path, kind), ignored)
            continue
        try:
            status = os.lstat(prefix + path)
        except OSError:
            # It went since its folder was read; or it cannot be told, and then this fails again.
            yield from _not_seen(root, row, b"", linked=linked)
        else:
            if row[1] != fingerprint(status):
                yield from _seen(row, found_from_stat(path, status))
        row = next(rows, None)
    while row is not None:
        yield from _not_seen(root, row, hidden, linked=linked)
        row = next(rows, None)


def _unread(root: bytes, path: bytes, kind: int) -> Found:
    """Return what is known of a path from its folder alone."""
    mode = 0
    if kind < 0:
        # What it is instead is worth a word.
        status = look_up(root, path)
        mode = 0 if status is None else status.st_mode
    return Found(path, kind, 0, 0, b"", mode)


def _seen(row: Row, found: Found) -> Iterator[Difference]:
    if row[1] != found.fingerprint or not row[1]:
        staged = entry_from_row(row[0], row[2])
        if staged.kind != EntryKind.FOLDER or found.kind != EntryKind.FOLDER:
            yield Difference(found.path, staged, found)


def _not_seen(root: bytes, row: Row, hidden: bytes, *, linked: bool) -> Iterator[Difference]:
    staged = entry_from_row(row[0], row[2])
    # What was added by force in an ignored folder is followed all the same.
    status = look_up(root, staged.path) if row[0].startswith(hidden) else None
    if status is not None:
        yield from _seen(row, found_from_stat(staged.path, status))
    elif linked or staged.kind != EntryKind.EXTERNAL:
        yield Difference(staged.path, staged, None)


def content_digest(root: bytes, found: Found) -> tuple[bytes, Found]:
    """Return the digest of a file or symlink, and what the file looked like when it was read.

    Raises:
        StorageError: It cannot be read.
    """
    path = os.path.join(root, found.path)
    try:
        if found.kind == EntryKind.SYMLINK:
            target = os.readlink(path)
            return ObjectId(blake3(target).digest()), found_from_stat(found.path, os.lstat(path))
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0))
        try:
            before = found_from_stat(found.path, os.fstat(descriptor))
            hasher = blake3()
            # A byte more than there should be is enough to tell: somebody may write as fast as we read. Where it does
            # not come with the rest, that was the end.
            left = before.size + 1
            while left != 1 and (data := os.read(descriptor, min(left, _PIECE))):
                hasher.update(data)
                left -= len(data)
            return ObjectId(hasher.digest()), before
        finally:
            os.close(descriptor)
    except OSError as error:
        raise storage_error(error, f"read {quote_path(found.path)}") from error
