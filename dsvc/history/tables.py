"""The shape of tables: how many rows, and which columns of which types. No cell is kept.

CSV and TSV have a header. Rows are counted in all of a file, names and types are those of its beginning; of Parquet,
only the footer is read.
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final

import msgspec

from dsvc.errors import InvalidInputError
from dsvc.history.content import read_range
from dsvc.history.parquet import TAIL, footer_length, read_footer
from dsvc.model.tree import Entry
from dsvc.odb.objects import ObjectReader

__all__ = ["TABLE_TYPES", "TableShape", "first_records", "table_shape", "type_of"]

TABLE_TYPES: Final = frozenset({"csv", "tsv", "jsonl", "ndjson", "parquet"})
# What is looked at for names and types.
HEAD_BYTES: Final = 1 << 20
_HEAD_ROWS: Final = 1000
_MOST_COLUMNS: Final = 50
_LONGEST_NAME: Final = 64
# Counting the rows of more than this takes longer than anybody waits at a commit.
_MOST_BYTES: Final = 1 << 30

Read = Callable[[int, int], Iterator[bytes]]


class TableShape(msgspec.Struct, frozen=True):
    """The rows of a table, None where they were not counted; its columns, and (name, type) of the first of them."""

    rows: int | None
    width: int
    columns: tuple[tuple[str, str], ...]


def type_of(path: bytes) -> str:
    """Return the type of a file after the end of its name: letters and digits behind a dot, in lower case, or ""."""
    at = path.rfind(b".") + 1
    # A dot at the beginning of a name hides it, and one before that is of a folder.
    return "" if at <= path.rfind(b"/") + 2 else _type(path[at:])


@lru_cache(4096)
def _type(suffix: bytes) -> str:
    if not (suffix.isalnum() and suffix.isascii()) or suffix.isdigit() or len(suffix) > 16:
        return ""
    return suffix.decode("ascii").lower()


def table_shape(objects: ObjectReader, entry: Entry) -> TableShape | None:
    """Return the shape of the table that *entry* is, None if it is none or cannot be read as one."""
    kind = type_of(entry.path)
    if kind not in TABLE_TYPES or not entry.is_file or not entry.size:
        return None
    try:
        if kind == "parquet":
            return _parquet_shape(objects, entry)
        names, samples = _columns(
            kind, b"".join(read_range(objects, entry, 0, HEAD_BYTES)), whole=entry.size <= HEAD_BYTES
        )
    except (InvalidInputError, csv.Error, UnicodeDecodeError, ValueError, RecursionError):
        return None
    rows = _count(kind, read_range(objects, entry)) if entry.size <= _MOST_BYTES else None
    return _shape(rows, [(name, _common(values)) for name, values in zip(names, samples, strict=True)])


def _shape(rows: int | None, columns: Sequence[tuple[str, str]]) -> TableShape:
    shown = tuple((name[:_LONGEST_NAME], kind) for name, kind in columns[:_MOST_COLUMNS])
    return TableShape(rows, len(columns), shown)


def _parquet_shape(objects: ObjectReader, entry: Entry) -> TableShape:
    length = footer_length(b"".join(read_range(objects, entry, max(0, entry.size - TAIL))))
    footer = b"".join(read_range(objects, entry, max(0, entry.size - TAIL - length), entry.size - TAIL))
    return _shape(*read_footer(footer))


def first_records(
    kind: str, head: bytes, *, whole: bool, most: int = _HEAD_ROWS
) -> tuple[list[str], list[list[object]]]:
    """Return the names of the columns, and the first *most* rows, of a table that begins with *head*.

    Cells of CSV are text, those of JSON values, and None where a row has none.

    Raises:
        ValueError, csv.Error: It cannot be read as a table of this *kind*.
    """
    if not whole:
        # The last line may be cut off, perhaps within a character.
        head = head[: head.rfind(b"\n") + 1]
    text = head.decode("utf-8-sig")
    if kind in ("jsonl", "ndjson"):
        return _json_records(text, most)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t" if kind == "tsv" else ",")
    rows: list[list[object]] = []
    names: list[str] | None = None
    for row in reader:
        if not row:
            continue
        if names is None:
            names = row
        elif len(rows) >= most:
            break
        else:
            rows.append([*row[: len(names)], *[None] * (len(names) - len(row))])
    return names or [], rows


def _json_records(text: str, most: int) -> tuple[list[str], list[list[object]]]:
    found: list[dict[str, object]] = []
    for line in text.split("\n"):
        if line.strip() and len(found) < most:
            value = json.loads(line)
            found.append(value if isinstance(value, dict) else {"value": value})
    names = list(dict.fromkeys(name for row in found for name in row))
    return names, [[row.get(name) for name in names] for row in found]


def _columns(kind: str, head: bytes, *, whole: bool) -> tuple[list[str], list[list[object]]]:
    names, rows = first_records(kind, head, whole=whole)
    return names, [[row[number] for row in rows] for number in range(len(names))]


def _common(values: Iterable[object]) -> str:
    """Return the type that all *values* have; what is empty says nothing."""
    kinds = {kind for kind in map(_kind, values) if kind}
    if not kinds:
        return "empty"
    if len(kinds) == 1:
        return kinds.pop()
    return "number" if kinds == {"integer", "number"} else "text" if kinds <= _PLAIN else "mixed"


_PLAIN: Final = {"text", "integer", "number", "boolean"}


def _kind(value: object) -> str:
    if value is None or value == "":
        return ""
    if isinstance(value, str):
        return _text_kind(value)
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    return "list" if isinstance(value, list) else "object"


def _text_kind(text: str) -> str:
    if text.lower() in ("true", "false"):
        return "boolean"
    digits = text.removeprefix("-").removeprefix("+")
    if digits.isascii() and digits.isdigit():
        return "integer"
    # Python also takes underscores, and the words for what is no number.
    if digits[:1].isdigit() or digits[:1] == ".":
        try:
            float(text.replace("_", "x"))
        except ValueError:
            return "text"
        return "number"
    return "text"


def _count(kind: str, pieces: Iterable[bytes]) -> int:
    """Return how many records there are, without the header of CSV and TSV; empty lines are none."""
    records = 0
    quoted = False
    line = False  # whether something has come since the last end of a record
    for piece in pieces:
        for number, part in enumerate(piece.split(b'"') if kind in ("csv", "tsv") else [piece]):
            if number:
                quoted = not quoted
                line = True
            if quoted:
                line = line or bool(part)
                continue
            *ends, rest = part.split(b"\n")
            for end in ends:
                records += line or end not in (b"", b"\r")
                line = False
            line = line or rest not in (b"", b"\r")
    records += line
    return max(0, records - (kind in ("csv", "tsv")))
