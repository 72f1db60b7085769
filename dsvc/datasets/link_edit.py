"""Staging links: made of what is found at URLs, pinned anew, or replaced by the content itself.

However many there are, each step is one listing, one staging and one entry of the log.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from dsvc.datasets.link_policy import remember_named
from dsvc.datasets.link_targets import Target
from dsvc.datasets.links import Drift, Linked, LinkGoneError, Links, Standing, linked_entries, pinned_state
from dsvc.errors import AlreadyExistsError, StorageError
from dsvc.history.batches import in_batches
from dsvc.history.extensions import NO_EXTENSION, read_extensions, write_extension
from dsvc.history.tree import Tree
from dsvc.log.state import State
from dsvc.model.extension import Link
from dsvc.model.link_url import without_secrets
from dsvc.model.paths import quote_path
from dsvc.model.tree import Entry, EntryKind
from dsvc.odb.objects import ObjectReader
from dsvc.progress import NO_PROGRESS, Progress
from dsvc.storage.foreign import ObjectState
from dsvc.storage.local import storage_error
from dsvc.storage.temporary import temporary_name
from dsvc.worktree.add import PathspecError, What, add
from dsvc.worktree.folders import Folders
from dsvc.worktree.materialise import give_name
from dsvc.worktree.pathspec import Pathspec
from dsvc.worktree.scan import look_up
from dsvc.worktree.session import refuse_interrupted
from dsvc.worktree.stage import stage
from dsvc.worktree.stat_cache import pack_row
from dsvc.worktree.workers import ALONE, Workers
from dsvc.worktree.worktree import Worktree

__all__ = [
    "LinkPathTakenError",
    "SizelessUrlError",
    "add_links",
    "keep_digests",
    "links_of",
    "staged_links",
    "update_links",
    "vendor_links",
]

_TEMPORARY: Final = b".dsvc/tmp"
# What is brought in at one go: until it is staged, it is a file that nobody knows.
_BATCH_FILES: Final = 1000
_BATCH_BYTES: Final = 1 << 30


class SizelessUrlError(StorageError):
    """The owner of some content does not say how large it is."""

    def __init__(self, url: str) -> None:
        super().__init__(f"{without_secrets(url)} does not say how large it is")
        self.url = url


class LinkPathTakenError(AlreadyExistsError):
    """Something is where a link was to go."""

    def __init__(self, path: bytes, url: str) -> None:
        super().__init__(f"cannot put a link to {without_secrets(url)} at {quote_path(path)}: something is there")
        self.path = path
        self.url = url


class _Pin(NamedTuple):
    """A link as it is to be: where, in which state its content is, and what else the entry says."""

    path: bytes
    state: ObjectState
    digest: bytes = b""
    metadata: str = "{}"
    old: Entry | None = None


class LinksStaged(NamedTuple):
    """How many links are new, how many others are pinned anew, and the size of all that were looked at, in bytes."""

    new: int
    changed: int
    size: int


def add_links(
    worktree: Worktree,
    state: State,
    links: Links,
    targets: Sequence[Target],
    *,
    named: Iterable[str] = (),
    digest: bool = False,
    progress: Progress = NO_PROGRESS,
) -> LinksStaged:
    """Stage a link at the path of each of *targets*; *named* is remembered here. With *digest*, all of it is read.

    A link to the same URL is pinned anew.

    Raises:
        LinkPathTakenError: Anything else is in the way.
        PathConflictError: A path would be a file and a folder at once.
        SizelessUrlError: A web server does not say how large its content is, without *digest*.
        SwitchInterruptedError: A checkout was cut short.
    """
    refuse_interrupted(worktree.session(state))
    before = worktree.staged_tree(state).get_many([target.path for target in targets])
    held = [entry for entry in before if entry is not None]
    extensions = dict(zip(held, read_extensions(worktree.store.objects, held), strict=True))
    taken: set[bytes] = set()
    pins: list[_Pin] = []
    for old, (path, found) in zip(before, targets, strict=True):
        extension = NO_EXTENSION if old is None else extensions[old]
        is_other = old is not None and (extension.link is None or extension.link.url != found.url)
        if is_other or path in taken or look_up(worktree.root_bytes, path) is not None:
            raise LinkPathTakenError(path, found.url)
        taken.add(path)
        pins.append(_Pin(path, found, metadata=extension.metadata, old=old))
    pins = _read(links, pins, progress) if digest else pins
    remember_named(worktree.control, named)
    return _stage(worktree, pins)


def update_links(
    worktree: Worktree,
    state: State,
    links: Links,
    linked: Sequence[Linked],
    *,
    digest: bool = False,
    progress: Progress = NO_PROGRESS,
) -> LinksStaged:
    """Pin what is now at the URLs of *linked*, which are staged; with *digest*, read all of it.

    Raises:
        LinkNotAllowedError: One may not be read.
        LinkGoneError: Nothing is there any more.
        StorageError: One cannot be looked at.
    """
    refuse_interrupted(worktree.session(state))
    metadata = _metadata(worktree, linked)
    pins: list[_Pin] = []
    for standing in links.standing(linked, progress=progress):
        entry, link = standing.linked
        if standing.drift is Drift.GONE:
            raise LinkGoneError(entry.path, link.url)
        if standing.state is None:
            raise StorageError(standing.reason)
        pins.append(_Pin(entry.path, standing.state, b"", metadata[entry], entry))
    return _stage(worktree, _read(links, pins, progress) if digest else pins)


def keep_digests(worktree: Worktree, state: State, standings: Iterable[Standing]) -> LinksStaged:
    """Stage the digests of what was read of links that are the same, where they were not known yet."""
    refuse_interrupted(worktree.session(state))
    read = [one for one in standings if one.drift is Drift.SAME and one.digest and not one.linked.entry.digest]
    metadata = _metadata(worktree, [one.linked for one in read])
    pins = [
        _Pin(one.linked.entry.path, pinned_state(one.linked), one.digest, metadata[one.linked.entry], one.linked.entry)
        for one in read
    ]
    return _stage(worktree, pins)


def _metadata(worktree: Worktree, linked: Sequence[Linked]) -> dict[Entry, str]:
    entries = [one.entry for one in linked]
    found = read_extensions(worktree.store.objects, entries)
    return {entry: extension.metadata for entry, extension in zip(entries, found, strict=True)}


def _read(links: Links, pins: Sequence[_Pin], progress: Progress) -> list[_Pin]:
    measured = links.measure_all([(pin.path, pin.state) for pin in pins], progress)
    return [pin._replace(state=state, digest=digest) for pin, (state, digest) in zip(pins, measured, strict=True)]


def _stage(worktree: Worktree, pins: Sequence[_Pin]) -> LinksStaged:
    """Stage *pins*: all in one entry of the log.

    Raises:
        SizelessUrlError: The size of one is not known.
    """
    writer = worktree.store.writer()
    edits: list[tuple[bytes, Entry | None]] = []
    entries: list[Entry] = []
    size = new = 0
    for pin in pins:
        state, old = pin.state, pin.old
        if state.size is None:
            writer.discard()
            raise SizelessUrlError(state.url)
        link = Link(state.url, state.etag, state.version_id, state.modified)
        extension = write_extension(writer, link, pin.metadata)
        digest = pin.digest
        if not digest and old is not None and (old.size, old.extension) == (state.size, extension):
            # It was read once, and is still the same.
            digest = old.digest
        entry = Entry(pin.path, EntryKind.EXTERNAL, state.size, bytes(digest), None, extension)
        size += state.size
        if entry != old:
            edits.append((pin.path, entry))
            entries.append(entry)
            new += old is None
    stage(worktree, writer, edits, [pack_row(entry, b"") for entry in entries])
    return LinksStaged(new, len(edits) - new, size)


def staged_links(worktree: Worktree, state: State, pathspec: Pathspec) -> list[Linked]:
    """Return the staged links at *pathspec*, in order of keys.

    Raises:
        PathspecError: A word matches no link.
        CorruptionError: An extension is missing, damaged or does not fit.
    """
    return links_of(worktree.store.objects, worktree.staged_tree(state), pathspec)


def links_of(objects: ObjectReader, tree: Tree, pathspec: Pathspec) -> list[Linked]:
    """Return the links of *tree* at *pathspec*, in order of keys.

    Raises:
        PathspecError: A word matches no link.
        CorruptionError: An extension is missing, damaged or does not fit.
    """
    entries = [
        entry
        for folder in pathspec.folders
        for entry in tree.entries(folder)
        if entry.kind == EntryKind.EXTERNAL and (not pathspec.patterns or pathspec.matches(entry.path))
    ]
    for word in pathspec.unmatched([entry.path for entry in entries]):
        raise PathspecError(word, "links")
    return linked_entries(objects, entries)


def vendor_links(
    worktree: Worktree,
    links: Links,
    linked: Sequence[Linked],
    *,
    workers: Workers = ALONE,
    progress: Progress = NO_PROGRESS,
) -> int:
    """Put the content of *linked*, which are staged, into files at their paths, and stage these; return the size.

    They come in batches: what is cut short has some of them, each as a file or still as a link.

    Raises:
        LinkNotAllowedError, LinkGoneError, LinkChangedError: One cannot be had as it was pinned.
        LinkPathTakenError: A file is at the path of one.
        StorageError: It cannot be read, or written.
    """
    links.check_allowed(linked)
    for entry, link in linked:
        if look_up(worktree.root_bytes, entry.path) is not None:
            raise LinkPathTakenError(entry.path, link.url)
    worktree.tidy()
    for batch in in_batches(linked, lambda one: one.entry.size, most=_BATCH_FILES, most_bytes=_BATCH_BYTES):
        _vendor(worktree, links, batch, workers, progress)
    return sum(one.entry.size for one in linked)


def _vendor(worktree: Worktree, links: Links, batch: list[Linked], workers: Workers, progress: Progress) -> None:
    folder = worktree.control / "tmp"
    files = [folder / temporary_name() for _ in batch]
    placed: list[bytes] = []
    try:
        links.fetch_all(list(zip(batch, files, strict=True)), progress)
        with Folders(worktree.root_bytes) as folders:
            for one, file in zip(batch, files, strict=True):
                _place(folders, one, file)
                placed.append(one.entry.path)
        paths = frozenset(placed)
        what = What(Pathspec(placed, exists=paths.__contains__), removals=False)
        add(worktree, worktree.store.state(), what, workers=workers, progress=progress)
    except BaseException:
        for file in files:
            file.unlink(missing_ok=True)
        with Folders(worktree.root_bytes) as folders:
            for path in reversed(placed):
                folders.remove(path)
        raise


def _place(folders: Folders, one: Linked, file: Path) -> None:
    """Move *file* to the path of *one*, where nothing is."""
    parent, _, name = one.entry.path.rpartition(b"/")
    try:
        source = folders.open(_TEMPORARY)
        give_name(source, os.fsencode(file.name), folders.open(parent, make=True), name, replace=False)
    except FileExistsError as error:
        raise LinkPathTakenError(one.entry.path, one.link.url) from error
    except OSError as error:
        raise storage_error(error, f"write {quote_path(one.entry.path)}") from error
