"""Parts of a version, for several machines to share: of equal size, disjoint, and together the whole.

The files stand in the order of their paths, one behind the other, as in one long file that is cut into *count* equal
pieces; a file belongs to the piece that holds its middle. So a part is one run of neighbours, which are stored side by
side and come in few requests; no part is further from its share than its largest file; and a file that comes, goes or
grows moves only those next to a cut, and all others stay where they were. The greedy way would be as even, and
deal all files anew with each that comes.
"""

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from dsvc.errors import InvalidInputError
from dsvc.model.tree import Entry

__all__ = ["Part", "entries_of_part", "parse_part"]

_PART: Final = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")


class Part(msgspec.Struct, frozen=True, array_like=True):
    """The part *number*, counted from 1, of *count*."""

    number: int
    count: int


def parse_part(text: str) -> Part:
    """Read `I/N`, where I is from 1 to N.

    Raises:
        InvalidInputError: It is something else.
    """
    found = _PART.fullmatch(text)
    number, count = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= count:
        message = f"`{text}` is no part: write I/N, from 1/N to N/N"
        raise InvalidInputError(message)
    return Part(number, count)


def entries_of_part(entries: Sequence[Entry], part: Part) -> list[Entry]:
    """Return those of *entries*, which are in the order of their keys, that are in *part*."""
    sizes = [entry.size for entry in entries]
    total = sum(sizes)
    if not total:
        # Of files with nothing in them, as many each.
        sizes, total = [1] * len(sizes), len(sizes)
    chosen = []
    before = 0
    for entry, size in zip(entries, sizes, strict=True):
        # The middle, twice, so that it stays a whole number; what lies at the end of all belongs to the last part.
        number = min(part.count, 1 + (2 * before + size) * part.count // (2 * total))
        before += size
        if number == part.number:
            chosen.append(entry)
    return chosen
