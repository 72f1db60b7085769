"""Archives: files of a version, one after another, into a tar, a zip or a folder.

The same files make the same bytes, whoever writes them: no owner, one time for all, the mode of their kind. Nothing
is held in memory but the piece that is written.
"""

import os
import stat
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import gmtime
from typing import BinaryIO, Final, NamedTuple, Protocol

from dsvc.errors import ConflictError, InvalidInputError
from dsvc.model.paths import display_path, quote_path
from dsvc.storage.local import storage_error

__all__ = [
    "Archive",
    "Format",
    "NameTakenError",
    "UnknownFormatError",
    "UnwritablePathError",
    "format_of",
    "open_archive",
    "open_folder",
]

_MODES: Final = {False: 0o644, True: 0o755}
_FOLDER_MODE: Final = 0o755
_LINK_MODE: Final = 0o777
# A zip knows the years 1980 to 2107.
_EARLIEST: Final = (1980, 1, 1, 0, 0, 0)
_LATEST: Final = (2107, 12, 31, 23, 59, 58)
# What a tar is filled up to.
_RECORD: Final = tarfile.RECORDSIZE
_OWNER: Final = 2 * b"root".ljust(32, b"\0")


class Archive(Protocol):
    """Something that takes files, each path once, and is whole after `finish`."""

    def add_file(self, path: bytes, size: int, pieces: Iterable[bytes], *, executable: bool = False) -> None:
        """Write a file of *size* bytes, which are *pieces*."""

    def add_link(self, path: bytes, target: bytes) -> None:
        """Write a symlink."""

    def add_folder(self, path: bytes) -> None:
        """Write an empty folder."""

    def finish(self) -> None:
        """Write what comes at the end."""


class UnwritablePathError(InvalidInputError):
    """A path that this kind of archive cannot hold."""

    def __init__(self, path: bytes, reason: str) -> None:
        super().__init__(f"{quote_path(path)} {reason}")
        self.path = path


class NameTakenError(ConflictError):
    """Two paths that are one on a filesystem."""

    def __init__(self, path: bytes) -> None:
        super().__init__(f"{quote_path(path)} and another path are one on this filesystem")
        self.path = path


class TarArchive:
    """A tar as POSIX has it (pax) in *file*, with *time* in seconds since 1970 for all; *comment* stands in front."""

    def __init__(self, file: BinaryIO, time: int, comment: str) -> None:
        self._file = file
        self._time = time
        self._written = 0
        self._write(tarfile.TarInfo.create_pax_global_header({"comment": comment}))

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._written += len(data)

    def _start(self, path: bytes, kind: bytes, mode: int, size: int = 0, target: bytes = b"") -> None:
        self._write(
            _plain_header(path, kind, mode, size, self._time, target)
            or _pax_header(path, kind, mode, size, self._time, target)
        )

    def add_file(self, path: bytes, size: int, pieces: Iterable[bytes], *, executable: bool = False) -> None:
        self._start(path, tarfile.REGTYPE, _MODES[executable], size)
        for piece in pieces:
            self._write(piece)
        self._fill(tarfile.BLOCKSIZE)

    def add_link(self, path: bytes, target: bytes) -> None:
        self._start(path, tarfile.SYMTYPE, _LINK_MODE, target=target)

    def add_folder(self, path: bytes) -> None:
        self._start(path + b"/", tarfile.DIRTYPE, _FOLDER_MODE)

    def finish(self) -> None:
        self._write(bytes(2 * tarfile.BLOCKSIZE))
        self._fill(_RECORD)

    def _fill(self, length: int) -> None:
        self._write(bytes(-self._written % length))


def _plain_header(path: bytes, kind: bytes, mode: int, size: int, time: int, target: bytes) -> bytes | None:  # noqa: PLR0917
    """Return what `_pax_header` does, in a fifth of the time, where a single block is enough; else None."""
    fits = max(len(path), len(target)) <= 100 and path.isascii() and target.isascii()
    if not (fits and size < 8**11 and 0 <= time < 8**11):
        return None
    head = b"".join(
        (
            path.ljust(100, b"\0"),
            b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, 0, 0, size, time),
            b"        ",
            kind,
            target.ljust(100, b"\0"),
            b"ustar\00000",
            _OWNER,
            bytes(183),
        )
    )
    return b"%s%06o\0 %s" % (head[:148], sum(head), head[156:])


def _pax_header(path: bytes, kind: bytes, mode: int, size: int, time: int, target: bytes) -> bytes:  # noqa: PLR0917
    info = tarfile.TarInfo(display_path(path))
    info.type, info.mode, info.size, info.mtime = kind, mode, size, time
    info.linkname = display_path(target)
    info.uname = info.gname = "root"
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


class ZipArchive:
    """A zip in *file*, with *time* in seconds since 1970 for all; *comment* stands at its end."""

    def __init__(self, file: BinaryIO, time: int, comment: str) -> None:
        # It would go back to fill in what was not known; into a pipe it cannot, and the bytes should be the same.
        self._zip = zipfile.ZipFile(_Unseekable(file), "w", zipfile.ZIP_DEFLATED)
        self._zip.comment = comment.encode()
        self._time = min(max(_EARLIEST, gmtime(max(0, time))[:6]), _LATEST)

    def _info(self, path: bytes, mode: int) -> zipfile.ZipInfo:
        try:
            name = path.decode()
        except UnicodeDecodeError:
            raise UnwritablePathError(path, "is not UTF-8, and a zip holds no other names") from None
        info = zipfile.ZipInfo(name, self._time)
        info.create_system = 3
        info.external_attr = mode << 16
        info.compress_type = zipfile.ZIP_DEFLATED
        return info

    def add_file(self, path: bytes, size: int, pieces: Iterable[bytes], *, executable: bool = False) -> None:
        info = self._info(path, stat.S_IFREG | _MODES[executable])
        info.file_size = size
        with self._zip.open(info, "w", force_zip64=size >= zipfile.ZIP64_LIMIT // 2) as target:
            for piece in pieces:
                target.write(piece)

    def add_link(self, path: bytes, target: bytes) -> None:
        self._zip.writestr(self._info(path, stat.S_IFLNK | _LINK_MODE), target)

    def add_folder(self, path: bytes) -> None:
        info = self._info(path + b"/", stat.S_IFDIR | _FOLDER_MODE)
        info.external_attr |= 0x10
        self._zip.writestr(info, b"")

    def finish(self) -> None:
        self._zip.close()


class _Unseekable:
    """A file that can only be written to."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, data: bytes, /) -> int:
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        """Leave it open: it is somebody else's."""


class FolderArchive:
    """Files in *root*, a new folder that nobody else writes to, with *time* in seconds since 1970 for all."""

    def __init__(self, root: Path, time: int) -> None:
        self._root = root
        self._time = time
        self._made: set[bytes] = set()
        # At the end, so that nothing is ever written through one.
        self._links: list[tuple[bytes, bytes]] = []

    def add_file(self, path: bytes, size: int, pieces: Iterable[bytes], *, executable: bool = False) -> None:
        del size
        target = self._place(path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with self._writing(path), os.fdopen(os.open(target, flags, 0o777 if executable else 0o666), "wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.utime(file.fileno(), (self._time, self._time))

    def add_link(self, path: bytes, target: bytes) -> None:
        self._links.append((path, target))

    def add_folder(self, path: bytes) -> None:
        self._make(path)

    def finish(self) -> None:
        for path, target in self._links:
            place = self._place(path)
            with self._writing(path):
                os.symlink(target, os.fsencode(place))  # noqa: PTH211 (pathlib tidies the target)
                os.utime(place, (self._time, self._time), follow_symlinks=False)

    def _place(self, path: bytes) -> Path:
        self._make(path.rpartition(b"/")[0])
        return self._root / os.fsdecode(path)

    def _make(self, folder: bytes) -> None:
        if folder not in self._made:
            with self._writing(folder):
                (self._root / os.fsdecode(folder)).mkdir(parents=True, exist_ok=True)
            self._made.add(folder)

    @contextmanager
    def _writing(self, path: bytes) -> Iterator[None]:
        try:
            yield
        except FileExistsError:
            raise NameTakenError(path) from None
        except OSError as error:
            raise storage_error(error, f"write {quote_path(path)}") from error


class Format(NamedTuple):
    """A *kind* of archive, `tar` or `zip`, and how it is compressed then: `gz`, `zst`, or not at all."""

    kind: str
    compression: str = ""


_FORMATS: Final = {
    ".tar": Format("tar"),
    ".tar.gz": Format("tar", "gz"),
    ".tgz": Format("tar", "gz"),
    ".tar.zst": Format("tar", "zst"),
    ".tzst": Format("tar", "zst"),
    ".zip": Format("zip"),
}
# Nobody wants a folder that is called so.
_OTHERS: Final = (".7z", ".bz2", ".gz", ".rar", ".tbz", ".tbz2", ".txz", ".xz", ".zst")


class UnknownFormatError(InvalidInputError):
    """A name that ends like that of an archive which cannot be written."""

    def __init__(self, name: str) -> None:
        super().__init__(f"cannot write {name}: an archive ends in {', '.join(_FORMATS)}")
        self.name = name


def format_of(name: str) -> Format | None:
    """Return the format that the end of *name* stands for, None if it is that of a folder.

    Raises:
        UnknownFormatError: It stands for one that cannot be written.
    """
    lower = name.lower()
    for end in sorted(_FORMATS, key=len, reverse=True):
        if lower.endswith(end):
            return _FORMATS[end]
    if lower.endswith(_OTHERS):
        raise UnknownFormatError(name)
    return None


@contextmanager
def open_archive(file: BinaryIO, form: Format, time: int, comment: str) -> Iterator[Archive]:
    """Give an archive that is written to *file*, and whole when the block ends well."""
    kind = ZipArchive if form.kind == "zip" else TarArchive
    with _compressed(file, form.compression) as packed:
        archive = kind(packed, time, comment)
        yield archive
        archive.finish()


@contextmanager
def open_folder(root: Path, time: int) -> Iterator[Archive]:
    """Give the new folder *root* as an archive, whole when the block ends well."""
    archive = FolderArchive(root, time)
    yield archive
    archive.finish()


@contextmanager
def _compressed(file: BinaryIO, method: str) -> Iterator[BinaryIO]:
    """Give a file whose content goes to *file* compressed by *method*."""
    if method == "gz":
        from gzip import GzipFile

        with GzipFile("", "wb", fileobj=file, mtime=0) as packed:
            yield packed  # type: ignore[misc]  # it is one, but for its class
    elif method == "zst":
        from zstandard import ZstdCompressor

        with ZstdCompressor(write_checksum=True).stream_writer(file, closefd=False) as packed:
            yield packed
    else:
        yield file
