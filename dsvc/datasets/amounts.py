"""Amounts as people write them in configuration and options: bytes with a unit, and lengths of time."""

import re
from typing import Final

from dsvc.errors import InvalidInputError

__all__ = ["BadAmountError", "parse_duration", "parse_size"]

_SIZE: Final = re.compile(r"(?P<number>[0-9]{1,15}(\.[0-9]{1,9})?) ?(?P<unit>[KMGTP]?)(i?B)?", re.IGNORECASE)
_SIZES: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "P": 1 << 50}
_DURATION: Final = re.compile(r"(?P<number>[0-9]{1,9}(\.[0-9]{1,9})?) ?(?P<unit>[smhdw]?)")
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


class BadAmountError(InvalidInputError):
    """Text that says no amount."""

    def __init__(self, text: str, kind: str) -> None:
        super().__init__(f"{text!r} is no {kind}")


def parse_size(text: str) -> int:
    """Return the bytes that *text* means: a number, and K, M, G, T or P for powers of 1024.

    Raises:
        BadAmountError: It means none.
    """
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise BadAmountError(text, "size, such as 500M or 50GB")
    return int(float(found["number"]) * _SIZES[found["unit"].upper()])


def parse_duration(text: str) -> int:
    """Return the seconds that *text* means: a number, and s, m, h, d or w.

    Raises:
        BadAmountError: It means none.
    """
    found = _DURATION.fullmatch(text.strip())
    if not found:
        raise BadAmountError(text, "length of time, such as 12h or 7d")
    return int(float(found["number"]) * _SECONDS[found["unit"]])
