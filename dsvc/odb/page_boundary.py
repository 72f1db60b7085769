"""Where a page of a prolly tree ends. This is a constant of the format.

A page ends after a key because of that key, and of how much is in the page already. Values have
no say, so an edited file moves no boundary; nor has the order of edits, so equal trees have
equal pages. At level L a page ends after the item with key K if

    w >= 2048, or n >= 64 and h < t(w)

    n     items since the start of the page, this one included
    w     max(n, bytes of keys since the start of the page, this one included, >> 7)
    h     bits 32 to 63 of crc32(K) * M[L], with the CRC-32 of zlib
    t(w)  min(2**32 - 1, (w**3 << 34) // 565**4)

    M[0] = 0x9E3779B97F4A7C15,  M[L + 1] = (M[L] * 0xD1342543DE82EF95 + 2 | 1) mod 2**64

On an inner page K is the last key of the child.

The chance of an end grows with the cube of w: sizes follow a Weibull distribution of shape 4 and
scale 565, with the mean 512 and the deviation 144. A constant chance would give many tiny pages
and many at the limit. Measured at levels 0 to 4 with 1e6 numbered, dated, nested and random
names: means of 505 to 520, deviations of 139 to 147, the largest page 1061.
"""

from collections.abc import Sequence
from typing import Final
from zlib import crc32

__all__ = ["MAX_LEVELS", "MAX_WEIGHT", "MIN_ITEMS", "Splitter", "is_boundary", "page_weight"]

MAX_LEVELS: Final = 16
MIN_ITEMS: Final = 64
MAX_WEIGHT: Final = 2048
_KEY_SHIFT: Final = 7
_SHORT_KEY: Final = 1 << _KEY_SHIFT
_SCALE: Final = 565
_MASK: Final = 2**64 - 1


def _multipliers() -> tuple[int, ...]:
    multipliers = [0x9E3779B97F4A7C15]
    while len(multipliers) < MAX_LEVELS:
        multipliers.append((multipliers[-1] * 0xD1342543DE82EF95 + 2 | 1) & _MASK)
    return tuple(multipliers)


_MULTIPLIERS: Final = _multipliers()

# What the low 64 bits of the product are compared with, which saves shifting them down: t(w)
# moved to the upper half. The last one is never missed.
_THRESHOLDS: Final = (
    *(min(2**32 - 1, (weight**3 << 34) // _SCALE**4) << 32 for weight in range(MAX_WEIGHT)),
    _MASK + 1,
)


def page_weight(count: int, key_bytes: int) -> int:
    """Return the weight of a page of *count* items whose keys have *key_bytes* bytes together."""
    return max(count, key_bytes >> _KEY_SHIFT)


def is_boundary(level: int, key: bytes, count: int, key_bytes: int) -> bool:
    """Tell whether a page of *level* ends after *key*.

    *count* items and *key_bytes* bytes of keys are on it, those of *key* included.
    """
    weight = page_weight(count, key_bytes)
    if weight >= MAX_WEIGHT:
        return True
    return count >= MIN_ITEMS and crc32(key) * _MULTIPLIERS[level] & _MASK < _THRESHOLDS[weight]


class Splitter:
    """Cuts the keys of one level, which come in runs, into pages."""

    def __init__(self, level: int) -> None:
        self._level = level
        self._count = 0
        self._key_bytes = 0

    def split(self, keys: Sequence[bytes]) -> list[int]:
        """Take the next run of *keys*; return the positions in it up to which a page is full, in order."""
        if not keys:
            return []
        # Where no key is over 128 bytes, a page weighs what it counts.
        if self._key_bytes <= self._count << _KEY_SHIFT and max(map(len, keys)) <= _SHORT_KEY:
            return self._split_short(keys)
        return self._split_any(keys)

    def _split_any(self, keys: Sequence[bytes]) -> list[int]:
        ends = []
        for position, key in enumerate(keys, 1):
            self._count += 1
            self._key_bytes += len(key)
            if is_boundary(self._level, key, self._count, self._key_bytes):
                ends.append(position)
                self._count = self._key_bytes = 0
        return ends

    # 0.2 µs a key where _split_any takes 0.5: only items that may end a page are looked at.
    def _split_short(self, keys: Sequence[bytes]) -> list[int]:
        multiplier = _MULTIPLIERS[self._level]
        thresholds = _THRESHOLDS
        ends: list[int] = []
        start, count, total = 0, self._count, len(keys)
        while True:
            first = start + max(0, MIN_ITEMS - 1 - count)
            lowest = count + first - start + 1
            window = keys[first : first + MAX_WEIGHT + 1 - lowest]
            for number, value in enumerate(map(crc32, window), lowest):
                if value * multiplier & _MASK < thresholds[number]:
                    break
            else:
                break
            start += number - count
            count = 0
            ends.append(start)
        self._count = count + total - start
        self._key_bytes = (0 if ends else self._key_bytes) + sum(map(len, keys[start:]))
        return ends
