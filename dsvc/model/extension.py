"""Extensions: what only a few entries of a tree have, kept beside it so that the others stay small."""

from typing import Annotated, Final

from msgspec import Meta

from dsvc.model.codec import Record, Version

__all__ = ["MAX_METADATA_LENGTH", "MAX_URL_LENGTH", "Extension", "Link"]

MAX_URL_LENGTH: Final = 8192
MAX_METADATA_LENGTH: Final = 1 << 20

_Word = Annotated[str, Meta(max_length=1024)]


class Link(Record, frozen=True):
    """Where the content of an external entry stays, and how its owner tells one state of it from another.

    *etag* and *version_id* are the store's own words, empty where it says none; *modified* is in
    microseconds since 1970 UTC, 0 where it is not known.
    """

    url: Annotated[str, Meta(min_length=1, max_length=MAX_URL_LENGTH)]
    etag: _Word = ""
    version_id: _Word = ""
    modified: int = 0


class Extension(Record, frozen=True):
    """More about one entry: its *link*, if it is external, and people's own *metadata*, an RFC 8785 JSON object."""

    version: Version
    link: Link | None = None
    metadata: Annotated[str, Meta(max_length=MAX_METADATA_LENGTH)] = "{}"
