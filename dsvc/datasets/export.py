"""Exporting: a version, or part of it, as an archive or a folder that needs no dsvc.

All content is verified while it is written, and what is written has its name only when it is whole.
"""

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO, Final, Literal

import msgspec

from dsvc.datasets.archives import Archive
from dsvc.datasets.links import Linked, Links, linked_entries
from dsvc.datasets.symlinks import check_symlinks
from dsvc.errors import AlreadyExistsError
from dsvc.history.batches import in_batches
from dsvc.history.content import read_range
from dsvc.history.needs import bring_files
from dsvc.history.tree import Tree
from dsvc.model.ids import Kind
from dsvc.model.link_url import without_secrets
from dsvc.model.paths import quote_path
from dsvc.model.tree import Entry, EntryKind
from dsvc.odb.database import ObjectDatabase
from dsvc.progress import NO_PROGRESS, Progress
from dsvc.storage.local import make_folder, storage_error, sync_file, sync_folder
from dsvc.storage.temporary import stale_files, temporary_name
from dsvc.worktree.pathspec import Pathspec

__all__ = ["Exported", "LinkTreatment", "Selected", "TargetExistsError", "export", "new_file", "new_folder", "select"]

LinkTreatment = Literal["read", "skip", "url"]
"""What becomes of links: their content is read, they are left out, or a file says where they lead."""

# What is read at once: many small files in one go, and of a lazy clone one request for all.
_BATCH_FILES: Final = 1024
_BATCH_BYTES: Final = 64 * 1024 * 1024
_SMALL_BYTES: Final = 16 * 1024 * 1024
# In front of the name of what is being written.
_TEMPORARY: Final = ".dsvc-export-"


class TargetExistsError(AlreadyExistsError):
    """What should be written is there already."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{quote_path(os.fsencode(path))} is there already")
        self.path = path


class Selected(msgspec.Struct, frozen=True):
    """What is to be exported: *entries* in order of keys, and the *linked* ones among them."""

    entries: list[Entry]
    linked: list[Linked]

    @property
    def size(self) -> int:
        """The size of all content in bytes."""
        return sum(entry.size for entry in self.entries)


class Exported(msgspec.Struct):
    """What was written: so many *files* of *size* bytes; *skipped* links were left out."""

    files: int = 0
    size: int = 0
    skipped: int = 0


def select(objects: ObjectDatabase, tree: Tree, pathspec: Pathspec) -> Selected:
    """Return what *pathspec* means in *tree*."""
    found = (entry for folder in pathspec.folders for entry in tree.entries(folder))
    entries = [entry for entry in found if pathspec.matches(entry.path)]
    return Selected(entries, linked_entries(objects, [one for one in entries if one.kind == EntryKind.EXTERNAL]))


def export(
    objects: ObjectDatabase,
    selected: Selected,
    archive: Archive,
    links: Links,
    *,
    prefix: bytes = b"",
    treatment: LinkTreatment = "read",
    any_symlinks: bool = False,
    progress: Progress = NO_PROGRESS,
) -> Exported:
    """Write what is *selected* to *archive*, below *prefix*; with *any_symlinks*, those that lead out of it, too.

    Raises:
        SymlinkOutsideError: One does; nothing was written.
        LinkNotAllowedError: A link leads where nothing may be read; nothing was written.
        LinkGoneError, LinkChangedError: What a link leads to is not there any more, or not what it was.
        CorruptionError, OutOfReachError: Content is damaged, or cannot be had.
        ConflictError: Two paths are one in the archive.
        StorageError: It cannot be written.
    """
    if treatment == "read":
        links.check_allowed(selected.linked)
    symlinks = [entry for entry in selected.entries if entry.kind == EntryKind.SYMLINK]
    if not any_symlinks:
        bring_files(objects, symlinks)
        check_symlinks(objects, symlinks)
    linked = {one.entry.path: one for one in selected.linked}
    done = Exported()
    progress.start("export", files=len(selected.entries), size=selected.size)
    for entry, pieces in _contents(objects, selected.entries):
        path = b"%s/%s" % (prefix, entry.path) if prefix else entry.path
        if entry.kind == EntryKind.EXTERNAL and treatment == "skip":
            done.skipped += 1
        elif entry.kind == EntryKind.EXTERNAL:
            _add_link(archive, path, linked[entry.path], done, links if treatment == "read" else None)
        elif entry.kind == EntryKind.FOLDER:
            archive.add_folder(path)
        elif entry.kind == EntryKind.SYMLINK:
            archive.add_link(path, b"".join(pieces))
            done.files += 1
        else:
            archive.add_file(path, entry.size, pieces, executable=entry.kind == EntryKind.EXECUTABLE)
            done.files += 1
            done.size += entry.size
        progress.advance(1, entry.size)
    progress.finish()
    return done


def _add_link(archive: Archive, path: bytes, one: Linked, done: Exported, links: Links | None) -> None:
    """Write the content of *one*, or without *links* a file that says where that is."""
    if links is not None:
        size, pieces = one.entry.size, links.read(one)
    else:
        # What the systems of most people open by a click.
        text = f"[InternetShortcut]\nURL={without_secrets(one.link.url)}\n".encode()
        path, size, pieces = path + b".url", len(text), iter([text])
    archive.add_file(path, size, pieces)
    done.files += 1
    done.size += size


def _contents(objects: ObjectDatabase, entries: Iterable[Entry]) -> Iterator[tuple[Entry, Iterable[bytes]]]:
    """Yield *entries* with their content, verified, in pieces; what is small is read together."""
    for batch in in_batches(entries, attrgetter("size"), most=_BATCH_FILES, most_bytes=_BATCH_BYTES):
        stored = [entry for entry in batch if entry.size and entry.kind <= EntryKind.SYMLINK]
        if objects.promisor is not None:
            bring_files(objects, stored)
        small = _small(stored)
        data = dict(zip(small, objects.read_many(Kind.CHUNK, small), strict=True))
        for entry in batch:
            if entry.blob is None and entry.digest in data:
                yield entry, [data[entry.digest]]
            elif entry.kind <= EntryKind.SYMLINK:
                yield entry, read_range(objects, entry)
            else:
                yield entry, ()


def _small(entries: Iterable[Entry]) -> list[bytes]:
    """Return the chunks of those of *entries* that have a single one, as long as they are not much."""
    chosen: dict[bytes, None] = {}
    size = 0
    for entry in entries:
        size += entry.size if entry.blob is None else 0
        if size > _SMALL_BYTES:
            break
        if entry.blob is None:
            chosen[entry.digest] = None
    return list(chosen)


@contextmanager
def new_file(path: Path, *, replace: bool = False) -> Iterator[BinaryIO]:
    """Give a new file to write to, which is durable and called *path* once the block ends well, and gone if not.

    Raises:
        TargetExistsError: There is something already, without *replace*.
        StorageError: It cannot be written.
    """
    if path.is_dir() or (os.path.lexists(path) and not replace):
        raise TargetExistsError(path)
    temporary = _temporary(path)
    try:
        with _writing(path), temporary.open("xb", buffering=1 << 20) as file:
            yield file
            file.flush()
            sync_file(file.fileno())
        with _writing(path):
            temporary.replace(path)
            sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a new folder to write to, which is called *path* once the block ends well, and gone if not.

    Raises:
        TargetExistsError: There is something already, and it is not an empty folder.
        StorageError: It cannot be written.
    """
    with _writing(path):
        if os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir())):
            raise TargetExistsError(path)
        make_folder(path.parent)
    temporary = _temporary(path)
    try:
        with _writing(path):
            temporary.mkdir()
        yield temporary
        with _writing(path):
            temporary.rename(path)
            sync_folder(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _temporary(path: Path) -> Path:
    """Return a new name beside *path*, where what exports that were killed have left goes."""
    with suppress(OSError):
        for left, _ in stale_files([path.parent], prefix=_TEMPORARY):
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink()
    return path.with_name(_TEMPORARY + temporary_name())


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise storage_error(error, f"write {quote_path(os.fsencode(path))}") from error
