"""Merging two files that both sides changed: tables, where the dataset declares a key for their rows."""

from collections.abc import Iterator
from typing import Final

import msgspec

from dsvc.history.attributes import Attributes
from dsvc.history.content import read_range
from dsvc.history.extensions import extension_metadata, read_extensions, write_extension
from dsvc.history.merge import Side
from dsvc.history.metadata import conflicts, merged
from dsvc.history.needs import bring_entries
from dsvc.history.tables import type_of
from dsvc.history.tree import Tree
from dsvc.model.tree import Entry
from dsvc.odb.objects import ObjectReader, ObjectWriter

__all__ = ["FileMerger"]

# Most of it is in memory for a while, several times over.
_MOST_BYTES: Final = 256 * 1024 * 1024


class FileMerger:
    """Merges files of *theirs* into those of *ours*; what it makes is written to *writer*."""

    def __init__(
        self, reader: ObjectReader, writer: ObjectWriter, ours: Tree, theirs: Tree, favour: Side | None = None
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._favour = favour
        self._attributes = Attributes(reader, (ours, theirs))

    def __call__(self, base: Entry | None, ours: Entry, theirs: Entry) -> Entry | str:
        """Return *ours* with what both sides changed, or why there is no such thing."""
        said = self._attributes.of(ours.path)
        if said.get("merge") != "rows":
            return ""
        key = [name for name in said.get("key", "").split(",") if name]
        if not key:
            return "its attributes name no key"
        sides = [entry for entry in (base, ours, theirs) if entry is not None]
        if any(entry.size > _MOST_BYTES for entry in sides):
            return "it is larger than 256 MiB"
        return self._merge(base, ours, theirs, said.get("format") or type_of(ours.path), key)

    def merge_metadata(self, base: Entry | None, ours: Entry, theirs: Entry) -> bytes | str | None:
        """Return the id of an extension with what people say on both sides, or which keys both have changed."""
        entries = [ours if base is None else base, ours, theirs]
        old, mine, other = map(extension_metadata, read_extensions(self._reader, entries))
        if base is None:
            old = {}
        both = conflicts(old, mine, other)
        if both and self._favour is None:
            return f"both sides say something else of its {', '.join(both)}"
        favoured = merged(old, other, mine) if self._favour is Side.THEIRS else merged(old, mine, other)
        return write_extension(self._writer, None, favoured)

    def _merge(self, base: Entry | None, ours: Entry, theirs: Entry, kind: str, key: list[str]) -> Entry | str:
        # Few merges get here.
        from dsvc.history.content_writer import write_content
        from dsvc.history.row_merge import RowConflictError, merge_rows
        from dsvc.history.table_rows import NoTableError, Table, read_table

        def table(entry: Entry) -> Table:
            return read_table(kind, read_range(self._reader, entry), key)

        bring_entries(self._reader, [entry for entry in (base, ours, theirs) if entry is not None])
        try:
            known = None if base is None else table(base)
            # Whether there are conflicts is known at the end, and nothing is to be stored then.
            pieces = list(_encoded(merge_rows(known, table(ours), table(theirs), self._favour)))
        except NoTableError as error:
            return f"its rows cannot be merged: {error}"
        except RowConflictError as error:
            return str(error)
        made = write_content(self._writer, ours.path, pieces)
        return msgspec.structs.replace(ours, size=made.size, digest=made.digest, blob=made.blob)


def _encoded(texts: Iterator[str]) -> Iterator[bytes]:
    held: list[str] = []
    length = 0
    for text in texts:
        held.append(text)
        length += len(text)
        if length > 1 << 16:
            yield "".join(held).encode("utf-8", "surrogateescape")
            held.clear()
            length = 0
    yield "".join(held).encode("utf-8", "surrogateescape")
