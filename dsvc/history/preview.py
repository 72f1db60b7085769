"""What a file looks like: the head of a table or text, the size of an image, the length of a sound.

It is looked at when somebody asks, and kept nowhere: a sample may be what nobody else should see. Only the first
ranges of a file are read.
"""

import csv
import json
from collections.abc import Sequence
from typing import Final

import msgspec

from dsvc.errors import InvalidInputError
from dsvc.history.media import Image, Read, Sound, image_of, sound_of
from dsvc.history.parquet import TAIL, footer_length, read_footer
from dsvc.history.patch import is_text
from dsvc.history.tables import HEAD_BYTES, first_records, type_of

__all__ = ["Preview", "preview"]

# Texts are shown by lines, and one of them may be all of a file.
_TEXT_BYTES: Final = 64 * 1024
_BYTES: Final = 16


class Preview(msgspec.Struct, frozen=True):
    """What there is to show: some of these.

    *columns* and *rows* are the head of a table, *total* says how many rows there are if that is known. *lines* are
    the first ones of a text, *first* the first bytes of anything else.
    """

    image: Image | None = None
    sound: Sound | None = None
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[object]] = ()
    total: int | None = None
    lines: Sequence[str] | None = None
    first: bytes | None = None


def preview(path: bytes, size: int, read: Read, *, rows: int = 10) -> Preview:
    """Return what the file at *path*, of *size* bytes, looks like; *rows* is how many rows or lines to show."""
    found = _by_type(path, size, read, rows)
    if found is not None:
        return found
    image = image_of(read)
    if image is not None:
        return Preview(image=image)
    sound = sound_of(read)
    if sound is not None:
        return Preview(sound=sound)
    head = read(0, min(size, _TEXT_BYTES))
    if not is_text(head):
        return Preview(first=head[:_BYTES])
    return Preview(lines=_lines(head.decode("utf-8", "replace"), rows))


def _lines(text: str, most: int) -> list[str]:
    lines = text.split("\n", most)
    # The last line ends too.
    return lines[:most] if lines[-1] or len(lines) > most else lines[:-1]


def _by_type(path: bytes, size: int, read: Read, rows: int) -> Preview | None:
    """Return what it looks like if it is what it is called."""
    kind = type_of(path)
    try:
        if kind in ("csv", "tsv", "jsonl", "ndjson"):
            # Most tables have short rows; one with long ones is read on.
            for length in (_TEXT_BYTES, HEAD_BYTES):
                columns, found = first_records(kind, read(0, min(size, length)), whole=size <= length, most=rows)
                if len(found) >= rows or size <= length:
                    break
            return Preview(columns=columns, rows=found)
        if kind == "parquet":
            length = footer_length(read(max(0, size - TAIL), size))
            total, described = read_footer(read(max(0, size - TAIL - length), size - TAIL))
            return Preview(columns=[f"{name}:{column}" for name, column in described], total=total)
        if kind in ("json", "geojson", "ipynb") and size <= HEAD_BYTES:
            text = json.dumps(json.loads(read(0, size)), indent=2, ensure_ascii=False)
            return Preview(lines=_lines(text, rows))
    except (InvalidInputError, csv.Error, ValueError, RecursionError):
        return None
    return None
