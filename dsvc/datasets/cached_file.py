"""What a file of the cache looks like: read-only, and dated by its content.

Its time of modification is made from its digest. So a look at a file tells whether it is still what was written, and no
record is needed that processes, machines and users would have to share: whoever edits it gives it another time. It
also makes equal files equal, and others different, to tools such as rsync.
"""

import os
import stat
from typing import Final

from dsvc.model.tree import Entry, EntryKind

__all__ = [
    "cached_name",
    "cached_path",
    "content_time",
    "date_file",
    "is_as_written",
    "is_cached",
    "is_sealed",
    "seal_file",
]

# 2000-01-01; the times end in 2017, and are whole and even seconds, which every filesystem can hold.
_FIRST: Final = 946_684_800
_SECOND: Final = 1_000_000_000
_WRITABLE: Final = 0o222


def is_cached(entry: Entry) -> bool:
    """Tell whether the content of *entry* is a file of the cache, wherever it comes from; else it is in trees only."""
    return entry.is_file or entry.kind == EntryKind.EXTERNAL


def cached_name(entry: Entry) -> bytes:
    """Return what the file with the content of *entry* is called; executable and plain twins are two files."""
    return entry.digest.hex().encode() + (b".x" if entry.kind == EntryKind.EXECUTABLE else b"")


def cached_path(entry: Entry) -> bytes:
    """Return where the file with the content of *entry* is, from the folder of all files."""
    name = cached_name(entry)
    return name[:2] + b"/" + name


def content_time(digest: bytes) -> int:
    """Return the time of a file with *digest*, in nanoseconds since 1970."""
    return (_FIRST + (int.from_bytes(digest[:4], "big") >> 3 & ~1)) * _SECOND


def is_as_written(entry: Entry, status: os.stat_result) -> bool:
    """Tell whether a file with *status* is the one that was written for *entry*: by its kind, size and time."""
    mode = status.st_mode
    return (
        status.st_size == entry.size
        and status.st_mtime_ns == content_time(entry.digest)
        and stat.S_ISREG(mode)
        and bool(mode & 0o100) == (entry.kind == EntryKind.EXECUTABLE)
    )


def is_sealed(entry: Entry, status: os.stat_result) -> bool:
    """Tell whether a file with *status* is as written, and nobody has made it writable."""
    return is_as_written(entry, status) and not status.st_mode & _WRITABLE


def date_file(entry: Entry, name: bytes, folder: int) -> None:
    """Give the file *name* in *folder*, which holds the content of *entry* by now, its time."""
    time = content_time(entry.digest)
    os.utime(name, ns=(time, time), dir_fd=folder, follow_symlinks=False)


def seal_file(entry: Entry, name: bytes, folder: int, mode: int) -> None:
    """Make the file *name* in *folder* read-only to whom *mode* lets read, then give it its time."""
    if entry.kind != EntryKind.EXECUTABLE:
        mode &= ~0o111
    os.chmod(name, mode & ~_WRITABLE & 0o777, dir_fd=folder)
    date_file(entry, name, folder)
