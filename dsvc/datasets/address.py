"""Addresses of what is in a store: `[URL#]NAME[@VERSION][:PATH]`, as people write them everywhere.

The first `#` ends the URL: a folder, a bucket, or the name of a remote. Without one, the name is the repository's own;
a name with a `#` in it is then written `#NAME`. What a name means, the store it is in says.
"""

from typing import NamedTuple

from dsvc.errors import InvalidInputError
from dsvc.history.revisions import split_path
from dsvc.transport.address import redact

__all__ = ["Address", "InvalidAddressError", "parse_address"]


class InvalidAddressError(InvalidInputError):
    """Text that names no dataset."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(f"{redact(text)!r} names no dataset: {reason}")
        self.text = text


class Address(NamedTuple):
    """The *store*, None for the repository's own; the dataset or *version* in it; and perhaps a *path* in that."""

    store: str | None
    version: str
    path: bytes | None = None


def parse_address(text: str) -> Address:
    """Read `[URL#]NAME[@VERSION][:PATH]`.

    Raises:
        InvalidAddressError: There is no name in it.
    """
    store, found, rest = text.partition("#")
    if not found:
        if "://" in text:
            raise InvalidAddressError(text, "write URL#NAME")
        store, rest = "", text
    version, path = split_path(rest)
    if not version:
        raise InvalidAddressError(text, "the name is empty")
    return Address(store or None, version, path.strip(b"/") if path else None)
