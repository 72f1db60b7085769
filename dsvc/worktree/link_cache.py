"""The cache of whole files that checkouts link to: `.dsvc/cache/files/ab/<digest>`.

It is never the only copy, and never believed blindly: a file whose inode, size or mtime is not what was
recorded when it was written (somebody edited it through a link) is thrown away and written again. So
editing through a link can cost time, but never data. Executable and plain twins are two files.
"""

import contextlib
import fcntl
import os
import sqlite3
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from dsvc.model.tree import Entry, EntryKind

__all__ = ["LinkCache", "cache_entry", "reflink", "share_blocks"]

_FICLONE: Final = 0x40049409
_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS files (name BLOB PRIMARY KEY, inode INTEGER, size INTEGER, mtime INTEGER) WITHOUT ROWID"
)


def cache_entry(entry: Entry) -> Entry:
    """Return *entry* at its path in the cache."""
    digits = entry.digest.hex()
    suffix = ".x" if entry.kind == EntryKind.EXECUTABLE else ""
    path = f"files/{digits[:2]}/{digits}{suffix}".encode()
    return Entry(path, entry.kind, entry.size, entry.digest, entry.blob)


class LinkCache:
    """The cached files of one repository, and what is recorded of them."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.root = os.fsencode(folder)
        self._records = folder / "records.db"
        try:
            self._database = self._open()
        except sqlite3.DatabaseError:
            # A record that is lost makes a cached file be written again, no more.
            for suffix in ("", "-wal", "-shm"):
                self._records.with_name(self._records.name + suffix).unlink(missing_ok=True)
            self._database = self._open()

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._records, isolation_level=None, timeout=30)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute(_SCHEMA)
        return database

    def path(self, name: bytes) -> bytes:
        """Return the absolute path of the cached file *name*, as in `cache_entry(entry).path`."""
        return os.path.join(self.root, name)

    def is_sound(self, name: bytes) -> bool:
        """Tell whether the cached file *name* is there, and as it was recorded."""
        recorded = self._database.execute("SELECT inode, size, mtime FROM files WHERE name = ?", (name,)).fetchone()
        if recorded is None:
            return False
        try:
            status = os.lstat(self.path(name))
        except OSError:
            return False
        found = (status.st_ino, status.st_size, status.st_mtime_ns)
        return stat.S_ISREG(status.st_mode) and found == recorded

    def record(self, names: Iterable[bytes]) -> None:
        """Make the files *names*, just written, read-only, and remember what they look like."""
        rows = []
        for name in names:
            path = self.path(name)
            os.chmod(path, 0o555 if name.endswith(b".x") else 0o444)
            status = os.lstat(path)
            rows.append((name, status.st_ino, status.st_size, status.st_mtime_ns))
        self._database.execute("BEGIN IMMEDIATE")
        self._database.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", rows)
        self._database.execute("COMMIT")

    def discard(self, name: bytes) -> None:
        """Remove the cached file *name*; links to it keep what they hold."""
        self._database.execute("DELETE FROM files WHERE name = ?", (name,))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path(name))

    def close(self) -> None:
        """Release the records."""
        self._database.close()


def reflink(source: bytes, target: int) -> None:
    """Let the empty file *target* share the blocks of *source*.

    Raises:
        OSError: The filesystem cannot do that.
    """
    descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        share_blocks(descriptor, target)
    finally:
        os.close(descriptor)


def share_blocks(source: int, target: int) -> None:
    """Let the empty file that is open as *target* share the blocks of the one that is open as *source*.

    Raises:
        OSError: The filesystem cannot do that.
    """
    fcntl.ioctl(target, _FICLONE, source)
