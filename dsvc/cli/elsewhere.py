"""Versions of other stores, for commands that look at what is in versions and not into files."""

from dsvc.history.tree import Tree
from dsvc.model.ids import ObjectId

__all__ = ["is_elsewhere", "tree_elsewhere"]


def is_elsewhere(text: str) -> bool:
    """Tell whether *text* is `URL#NAME`, which names a version of another store or of this one."""
    return "#" in text


def tree_elsewhere(text: str) -> Tree:
    """Return the tree of the version `URL#NAME[@VERSION]`; of a store far away, only metadata is copied.

    Raises:
        InvalidAddressError: It is no such address.
        UnknownRevisionError: There is no such version.
    """
    # All of transport, which a version of this repository does not need.
    from dsvc.cli.exchange import remote_hints
    from dsvc.cli.progress_bar import progress_bar
    from dsvc.cli.user_cache import open_cache, open_source, surroundings
    from dsvc.datasets.address import parse_address

    address = parse_address(text)
    with progress_bar() as progress:
        source = open_source(open_cache(surroundings()[0]), address.store, offline=False, progress=progress)
        with remote_hints(source.label):
            root = ObjectId(source.resolve(address.version).tree)
            return Tree(source.objects(root), root)
