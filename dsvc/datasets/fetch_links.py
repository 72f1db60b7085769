"""Bringing the content of links into the user's cache, where it is like that of any other file.

A link whose digest is known and whose content is in the cache needs nobody any more. What was fetched is held by a
second name until the tree is made of it, so that nobody evicts it meanwhile.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from dsvc.datasets.cached_file import seal_file
from dsvc.datasets.links import linked_entries
from dsvc.datasets.means import Means
from dsvc.datasets.user_cache import UserCache, remove_folder
from dsvc.errors import StorageError
from dsvc.model.link_url import without_secrets
from dsvc.model.paths import quote_path
from dsvc.model.tree import Entry, EntryKind
from dsvc.storage.local import storage_error

__all__ = ["LinkNotAskedError", "with_links"]


class LinkNotAskedError(StorageError):
    """The content of a link is not here, and nobody is to be asked for it."""

    def __init__(self, path: bytes, url: str) -> None:
        super().__init__(f"{quote_path(path)} is a link to {without_secrets(url)}, and nobody is to be asked")
        self.path = path
        self.url = url


@contextmanager
def with_links(
    means: Means, root: bytes, entries: Sequence[Entry], *, is_there: Callable[[Entry], bool] = lambda _: False
) -> Iterator[Sequence[Entry]]:
    """Let the content of all links among *entries*, of the tree *root*, be in the cache for the block.

    Yielded are the entries, each link with the digest of its content. Not asked for are those of which *is_there* says
    that they are where they are wanted.

    Raises:
        LinkNotAskedError: Some of it is not here, and nobody is to be asked.
        LinkNotAllowedError, LinkGoneError, LinkChangedError, StorageError: It cannot be had.
    """
    cache = means.cache
    external = [entry for entry in entries if entry.kind == EntryKind.EXTERNAL and not is_there(entry)]
    if not external:
        yield entries
        return
    folder = cache.temporary()
    try:
        folder.mkdir()
        missing = [
            entry for number, entry in enumerate(external) if not _is_held(cache, entry, folder / f"held{number}")
        ]
        found = _fetch(means, root, missing, folder) if missing else {}
    except OSError as error:
        remove_folder(folder)
        raise storage_error(error, f"write to the cache {cache.root}") from error
    except BaseException:
        remove_folder(folder)
        raise
    try:
        yield [found.get(entry.path, entry) for entry in entries]
    finally:
        remove_folder(folder)


def _is_held(cache: UserCache, entry: Entry, name: Path) -> bool:
    """Let *name* be another name of the cached content of *entry*; tell whether that is there."""
    if not entry.digest or not cache.has_file(entry):
        return False
    try:
        name.hardlink_to(cache.file(entry))
    except FileNotFoundError:
        return False
    except OSError:
        # Where there are no links, it is the moment that has to do.
        return True
    return True


def _fetch(means: Means, root: bytes, entries: Sequence[Entry], folder: Path) -> dict[bytes, Entry]:
    """Fetch the content of *entries* by way of *folder*, and return them by path with its digests."""
    linked = linked_entries(means.source.objects(root), entries)
    if means.links is None:
        raise LinkNotAskedError(linked[0].entry.path, linked[0].link.url)
    wanted = [(one, folder / f"new{number}") for number, one in enumerate(linked)]
    found: dict[bytes, Entry] = {}
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        for (one, file), digest in zip(wanted, means.links().fetch_all(wanted, means.progress), strict=True):
            entry = found[one.entry.path] = msgspec.structs.replace(one.entry, digest=bytes(digest))
            seal_file(entry, os.fsencode(file.name), descriptor, mode)
            means.cache.add_file(entry, file)
    finally:
        os.close(descriptor)
    return found
