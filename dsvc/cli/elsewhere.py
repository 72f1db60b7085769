"""Versions of other stores, for commands that look at what is in versions and not into files."""

from contextlib import contextmanager
from typing import TYPE_CHECKING

from dsvc.history.tree import Tree
from dsvc.log.uses import RecordedUse, read_uses
from dsvc.model.ids import ObjectId

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dsvc.datasets.source import Source, Version

__all__ = ["is_elsewhere", "tree_elsewhere", "uses_elsewhere"]


def is_elsewhere(text: str) -> bool:
    """Tell whether *text* is `URL#NAME`, which names a version of another store or of this one."""
    return "#" in text


def tree_elsewhere(text: str) -> Tree:
    """Return the tree of the version `URL#NAME[@VERSION]`; of a store far away, only metadata is copied.

    Raises:
        InvalidAddressError: It is no such address.
        UnknownRevisionError: There is no such version.
    """
    with _found(text) as (source, version):
        root = ObjectId(version.tree)
        return Tree(source.objects(root), root)


def uses_elsewhere(text: str) -> tuple[str, list[RecordedUse]]:
    """Return the store of the version `URL#NAME[@VERSION]`, and the uses of it that are told there, the newest first.

    Raises:
        InvalidAddressError: It is no such address.
        UnknownRevisionError: There is no such version.
    """
    from dsvc.cli.use_record import place_of
    from dsvc.datasets.address import parse_address

    with _found(text) as (_, version):
        backend, place = place_of(parse_address(text).store)
        return place, read_uses(backend, version.commit_id)


@contextmanager
def _found(text: str) -> "Iterator[tuple[Source, Version]]":
    """Give the version that *text* names, and the store that it is in."""
    # All of transport, which a version of this repository does not need.
    from dsvc.cli.exchange import remote_hints
    from dsvc.cli.progress_bar import progress_bar
    from dsvc.cli.user_cache import open_cache, open_source, surroundings
    from dsvc.datasets.address import parse_address

    address = parse_address(text)
    with progress_bar() as progress:
        source = open_source(open_cache(surroundings()[0]), address.store, offline=False, progress=progress)
        with remote_hints(source.label):
            yield source, source.resolve(address.version)
