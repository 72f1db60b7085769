"""Which chunks the content of files is made of, and bringing them where they are only promised.

Whoever is about to read much asks for all of it first: a request for each piece would take a round trip each.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from dsvc.history.tree import Tree
from dsvc.model.blob import Blob
from dsvc.model.codec import decode
from dsvc.model.ids import Kind
from dsvc.model.paths import quote_path
from dsvc.model.tree import Entry, EntryKind
from dsvc.odb.database import ObjectDatabase
from dsvc.odb.objects import ObjectNotFoundError, ObjectReader, OutOfReachError
from dsvc.odb.pages import Inner, Page
from dsvc.progress import NO_PROGRESS, Progress

__all__ = ["bring_chunks", "bring_entries", "bring_files", "chunks_of_entries", "chunks_of_trees"]

_READ_AHEAD: Final = 32


def chunks_of_entries(objects: ObjectReader, entries: Iterable[Entry]) -> Iterator[bytes]:
    """Yield the ids of the chunks of all *entries*, in their order; one that is in several may come several times.

    Lists of chunks are read, a few at once, and no data.
    """
    remaining = iter(entries)
    while batch := list(islice(remaining, _READ_AHEAD)):
        lists = [entry.blob for entry in batch if entry.blob is not None]
        blobs = dict(zip(lists, objects.read_many(Kind.BLOB, lists), strict=True)) if lists else {}
        for entry in batch:
            if entry.blob is not None:
                yield from _chunks_of(objects, blobs[entry.blob])
            elif entry.size and entry.kind <= EntryKind.SYMLINK:
                yield entry.digest


def _chunks_of(objects: ObjectReader, data: bytes) -> Iterator[bytes]:
    blob = decode(Blob, data)
    if blob.level == 0:
        yield from [item.id for item in blob.items]
        return
    for item in blob.items:
        yield from _chunks_of(objects, objects.read(Kind.BLOB, item.id))


def chunks_of_trees(objects: ObjectReader, roots: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the ids of the chunks of all files of the trees *roots*; a page that is in several is read once."""
    pages = Tree(objects).prolly.pages
    seen: set[bytes] = set()

    def below(page: Page[Entry], lower: bytes) -> Iterator[bytes]:
        if not isinstance(page, Inner):
            yield from chunks_of_entries(objects, page.items)
            return
        new = [position for position, child in enumerate(page.children) if child.page not in seen]
        seen.update(page.children[position].page for position in new)
        for first in range(0, len(new), _READ_AHEAD):
            positions = new[first : first + _READ_AHEAD]
            lowers = [page.keys[position - 1] if position else lower for position in positions]
            children = [page.children[position] for position in positions]
            for child, before in zip(pages.load_many(children, page.level - 1, lowers), lowers, strict=True):
                yield from below(child, before)

    for root in roots:
        if root not in seen and root != pages.empty_root:
            seen.add(root)
            yield from below(pages.root(root)[1], b"")


def bring_chunks(objects: ObjectReader, chunk_ids: Iterable[bytes], progress: Progress = NO_PROGRESS) -> list[bytes]:
    """Let chunks be here, if somebody has promised them; return those that nobody has.

    Where *objects* has no promisor, nothing is looked at: what is not here then is missed when it is read.

    Raises:
        OutOfReachError: Who has promised one cannot be reached.
        CorruptionError: What came is not what its id says.
    """
    promisor = objects.promisor if isinstance(objects, ObjectDatabase) else None
    return [] if promisor is None else promisor.bring(chunk_ids, progress)


def bring_entries(objects: ObjectReader, entries: Iterable[Entry], progress: Progress = NO_PROGRESS) -> None:
    """Let the data of *entries* be here.

    Raises:
        OutOfReachError: Who has promised some of it cannot be reached.
        CorruptionError: What came is not what its id says.
        ObjectNotFoundError: Nobody has promised some of it.
    """
    for chunk_id in bring_chunks(objects, chunks_of_entries(objects, entries), progress):
        raise ObjectNotFoundError(chunk_id)


def bring_files(objects: ObjectReader, entries: Sequence[Entry], progress: Progress = NO_PROGRESS) -> None:
    """Let the data of *entries* be here; what goes wrong is told of files.

    Raises:
        OutOfReachError: Who has promised some of it cannot be reached.
        CorruptionError: What came is not what its id says.
        ObjectNotFoundError: Nobody has promised some of it.
    """
    try:
        bring_entries(objects, entries, progress)
    except OutOfReachError as error:
        lacking = [one for one in entries if _lacks(objects, one)]
        more = f" and {len(lacking) - 1:,} more" if len(lacking) > 1 else ""
        what = f"the data of {quote_path(lacking[0].path)}{more}" if lacking else "data"
        raise error.about(what) from error


def _lacks(objects: ObjectReader, entry: Entry) -> bool:
    return isinstance(objects, ObjectDatabase) and any(
        chunk_id not in objects for chunk_id in chunks_of_entries(objects, [entry])
    )
