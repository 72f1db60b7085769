"""The extensions of entries: read and checked, and written.

What a commit of somebody else says is believed only as far as it obeys the format.
"""

from collections.abc import Sequence

from dsvc.errors import CorruptionError, InvalidInputError
from dsvc.model.canonical_json import JsonObject, decode_canonical, encode_canonical
from dsvc.model.codec import FORMAT_VERSION, decode, encode
from dsvc.model.commit import MAX_TIME, MIN_TIME
from dsvc.model.extension import MAX_METADATA_LENGTH, Extension, Link
from dsvc.model.ids import Kind
from dsvc.model.link_url import BadLinkUrlError, check_link_url
from dsvc.model.paths import quote_path
from dsvc.model.tree import Entry, EntryKind
from dsvc.odb.objects import ObjectReader, ObjectWriter

__all__ = [
    "NO_EXTENSION",
    "MalformedExtensionError",
    "MetadataTooLargeError",
    "check_extension",
    "extension_metadata",
    "read_extensions",
    "write_extension",
]

NO_EXTENSION = Extension(FORMAT_VERSION)


class MalformedExtensionError(CorruptionError):
    """An entry and its extension contradict each other, or the format."""

    def __init__(self, path: bytes, reason: str) -> None:
        super().__init__(f"{quote_path(path)}: {reason}")
        self.path = path


class MetadataTooLargeError(InvalidInputError):
    """More metadata than one object may hold."""

    def __init__(self, length: int) -> None:
        super().__init__(f"metadata of {length:,} bytes is too much: {MAX_METADATA_LENGTH:,} is the most")


def read_extensions(objects: ObjectReader, entries: Sequence[Entry]) -> list[Extension]:
    """Return the extension of each of *entries*, an empty one where there is none; they are read together.

    Raises:
        CorruptionError: One is missing or damaged, or does not fit its entry.
    """
    wanted = list(dict.fromkeys(entry.extension for entry in entries if entry.extension is not None))
    read = dict(zip(wanted, objects.read_many(Kind.EXTENSION, wanted), strict=True)) if wanted else {}
    found: dict[bytes | None, Extension] = {None: NO_EXTENSION}
    for entry in entries:
        if entry.extension not in found:
            found[entry.extension] = decode(Extension, read[entry.extension or b""])
        check_extension(entry, found[entry.extension])
    return [found[entry.extension] for entry in entries]


def check_extension(entry: Entry, extension: Extension) -> None:
    """Do nothing, if *entry* may have *extension*.

    Raises:
        MalformedExtensionError, MalformedJsonError: It may not.
    """
    is_external = entry.kind == EntryKind.EXTERNAL
    if is_external and extension.link is None:
        raise MalformedExtensionError(entry.path, "it is external, and nothing says where")
    if extension.link is not None:
        if not is_external:
            raise MalformedExtensionError(entry.path, "it has a link, and is not external")
        _check_link(entry, extension.link)
    if extension.metadata != "{}":
        decode_canonical(extension.metadata)


def _check_link(entry: Entry, link: Link) -> None:
    try:
        check_link_url(link.url)
    except BadLinkUrlError as error:
        raise MalformedExtensionError(entry.path, str(error)) from error
    # They are shown to people.
    if not (link.etag.isprintable() and link.version_id.isprintable() and MIN_TIME <= link.modified <= MAX_TIME):
        raise MalformedExtensionError(entry.path, "what is said of its content cannot be")


def extension_metadata(extension: Extension) -> JsonObject:
    """Return what people say of the entry that has *extension*."""
    return decode_canonical(extension.metadata)


def write_extension(writer: ObjectWriter, link: Link | None, metadata: JsonObject | str = "{}") -> bytes | None:
    """Write an extension, and return its id; None where there is nothing to say.

    Raises:
        MetadataTooLargeError: *metadata* is too much.
        UnsayableError: It has no canonical JSON.
    """
    text = metadata if isinstance(metadata, str) else encode_canonical(metadata)
    length = len(text.encode())
    if length > MAX_METADATA_LENGTH:
        raise MetadataTooLargeError(length)
    extension = Extension(FORMAT_VERSION, link, text)
    return None if extension == NO_EXTENSION else bytes(writer.write(Kind.EXTENSION, encode(extension)))
