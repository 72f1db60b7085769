"""What a checkout would lose: files that it would overwrite or remove, and whose content is stored nowhere.

Content that is that of the old or of the new entry of a path can be had again; anything else is
the user's own, tracked or not, ignored or not.
"""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from dsvc.errors import ConflictError
from dsvc.history.diff import Change
from dsvc.model.ids import Kind
from dsvc.model.paths import listed_paths, path_key, quote_path
from dsvc.model.tree import Entry, EntryKind
from dsvc.odb.blob_writer import chunks_of
from dsvc.storage.local import storage_error
from dsvc.worktree.compare import content_digest
from dsvc.worktree.folders import Folders
from dsvc.worktree.scan import Found, found_from_stat
from dsvc.worktree.stat_cache import StatCache
from dsvc.worktree.worktree import Worktree

__all__ = [
    "LocalChangesError",
    "becomes_file",
    "begins",
    "files_in_the_way",
    "holds",
    "is_expendable",
    "look",
    "refuse_losses",
]


class LocalChangesError(ConflictError):
    """Files that would be overwritten hold what is stored nowhere else."""

    def __init__(self, paths: Sequence[bytes]) -> None:
        super().__init__(f"local changes would be overwritten:{listed_paths(paths)}")
        self.paths = list(paths)


def look(worktree: Worktree, paths: Iterable[bytes]) -> dict[bytes, Found]:
    """Return what is at *paths*, where something is."""
    found: dict[bytes, Found] = {}
    absent: set[bytes] = set()
    with Folders(worktree.root_bytes) as folders:
        for path in paths:
            folder = path.rpartition(b"/")[0]
            # In a new clone no folder is there, and to ask for each file again would take a second for 100,000.
            if folder in absent:
                continue
            status = folders.status(path)
            if status is not None:
                found[path] = found_from_stat(path, status)
            elif folder and folders.status(folder) is None:
                absent.add(folder)
    return found


def refuse_losses(
    worktree: Worktree,
    cache: StatCache,
    moves: Iterable[Change],
    found: Mapping[bytes, Found],
    given_up: Collection[bytes] = (),
) -> None:
    """Do nothing, if *moves* can be carried out on what is *found* at their paths and nobody minds.

    What is at the paths *given_up* is not missed.

    Raises:
        LocalChangesError: Something would be lost.
    """
    lost = {
        move.path
        for move in (moves if found else ())
        if move.path in found
        and move.path not in given_up
        and not is_expendable(worktree, cache, move, found[move.path])
    }
    lost.update(files_in_the_way(worktree, moves, found))
    if lost:
        raise LocalChangesError(sorted(lost, key=path_key))


def is_expendable(worktree: Worktree, cache: StatCache, move: Change, found: Found) -> bool:
    """Tell whether what is *found* at the path of *move* is stored anyway: as what was there or as what will be."""
    if found.kind == EntryKind.FOLDER:
        # An empty folder holds nothing. What is in a full one moves itself, or is in the way.
        return True
    row = cache.row(move.path)
    if row is not None and row[1] and row[1] == found.fingerprint:
        return True
    return any(holds(worktree, entry, found) for entry in move if entry is not None)


def holds(worktree: Worktree, entry: Entry, found: Found) -> bool:
    """Tell whether what is *found* is *entry*, to the byte and to the executable bit."""
    if found.kind != entry.kind or found.size != entry.size:
        return False
    return not found.is_content or content_digest(worktree.root_bytes, found)[0] == entry.digest


def begins(worktree: Worktree, entry: Entry, found: Found) -> bool:
    """Tell whether a file holds the beginning of *entry*: what a crash leaves of one being written."""
    if found.kind != entry.kind or not entry.is_file or found.size >= entry.size:
        return False
    # Every component of the path was seen to be no link, a moment ago; and this only reads.
    path = worktree.root / os.fsdecode(found.path)
    try:
        with path.open("rb") as file:
            for piece in _content(worktree, entry):
                present = file.read(len(piece))
                if present != piece:
                    return piece.startswith(present)
    except OSError as error:
        raise storage_error(error, f"read {quote_path(found.path)}") from error
    return True


def _content(worktree: Worktree, entry: Entry) -> Iterator[bytes]:
    objects = worktree.store.objects
    if entry.blob is None:
        yield objects.read(Kind.CHUNK, entry.digest)
        return
    for item in chunks_of(objects, entry.blob, entry.size):
        yield objects.read(Kind.CHUNK, item.id)


def files_in_the_way(worktree: Worktree, moves: Iterable[Change], found: Mapping[bytes, Found]) -> list[bytes]:
    """Return what is in no tree and has to go: files where a folder must be, or below what must become a file."""
    ways, leaving = _ways(moves)
    lost: list[bytes] = []
    with Folders(worktree.root_bytes) as folders:
        for way in ways:
            status = None if way in leaving else folders.status(way)
            if status is not None and found_from_stat(way, status).kind != EntryKind.FOLDER:
                lost.append(way)
        for move in moves if found else ():
            if becomes_file(move, found):
                lost.extend(path for path in folders.files(move.path) if path not in leaving)
    return lost


def becomes_file(move: Change, found: Mapping[bytes, Found]) -> bool:
    """Tell whether *move* puts a file or link where there is a folder."""
    present = found.get(move.path)
    return (
        present is not None
        and present.kind == EntryKind.FOLDER
        and move.new is not None
        and move.new.kind != EntryKind.FOLDER
    )


def _ways(moves: Iterable[Change]) -> tuple[set[bytes], set[bytes]]:
    """Return the folders that are needed, and the paths that go."""
    ways: set[bytes] = set()
    leaving: set[bytes] = set()
    for move in moves:
        if move.new is None:
            leaving.add(move.path)
            continue
        folder = move.path.rpartition(b"/")[0]
        while folder and folder not in ways:
            ways.add(folder)
            folder = folder.rpartition(b"/")[0]
    return ways, leaving
