"""How large images are, and how long sounds: from the first bytes of a file alone.

Files may come from anybody: what does not fit is passed over, and no more is read than a few ranges.
"""

from collections.abc import Callable
from typing import Final

import msgspec

__all__ = ["Image", "Read", "Sound", "image_of", "sound_of"]

Read = Callable[[int, int], bytes]
"""Returns the bytes of a file from one place up to before another; fewer where it ends."""

# A JPEG may have a preview of itself and whatever cameras write before its size.
_MOST_SEGMENTS: Final = 256
_MOST_CHUNKS: Final = 64
_SIZES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class Image(msgspec.Struct, frozen=True):
    """An image of a *format*, *width* by *height* pixels."""

    format: str
    width: int
    height: int


class Sound(msgspec.Struct, frozen=True):
    """A sound of a *format*: its length in *seconds*, its channels, and samples in a second."""

    format: str
    seconds: float
    channels: int
    rate: int


def image_of(read: Read) -> Image | None:
    """Return what image a file is; None if it is none that is known."""
    head = read(0, 32)
    if head[:8] == b"\x89PNG\r\n\x1a\n" and head[12:16] == b"IHDR" and len(head) >= 24:
        return Image("PNG", int.from_bytes(head[16:20]), int.from_bytes(head[20:24]))
    if head[:6] in (b"GIF87a", b"GIF89a") and len(head) >= 10:
        return Image("GIF", int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little"))
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _webp(head)
    return _jpeg(read) if head[:3] == b"\xff\xd8\xff" else None


def _webp(head: bytes) -> Image | None:
    kind = head[12:16]
    if kind == b"VP8X" and len(head) >= 30:
        return Image("WebP", 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little"))
    if kind == b"VP8L" and len(head) >= 25 and head[20] == 0x2F:
        bits = int.from_bytes(head[21:25], "little")
        return Image("WebP", 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    if kind == b"VP8 " and len(head) >= 30 and head[23:26] == b"\x9d\x01\x2a":
        width, height = (int.from_bytes(head[at : at + 2], "little") & 0x3FFF for at in (26, 28))
        return Image("WebP", width, height)
    return None


def _jpeg(read: Read) -> Image | None:
    at = 2
    for _ in range(_MOST_SEGMENTS):
        segment = read(at, at + 9)
        if len(segment) < 9 or segment[0] != 0xFF:
            return None
        marker = segment[1]
        if marker == 0xFF:
            # Any number of these may stand before a marker.
            at += 1
        elif marker in _SIZES:
            return Image("JPEG", int.from_bytes(segment[7:9]), int.from_bytes(segment[5:7]))
        else:
            at += 2 + int.from_bytes(segment[2:4])
    return None


def sound_of(read: Read) -> Sound | None:
    """Return what sound a file is; None if it is no WAV."""
    head = read(0, 12)
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return None
    at, form = 12, b""
    for _ in range(_MOST_CHUNKS):
        chunk = read(at, at + 8)
        if len(chunk) < 8:
            return None
        length = int.from_bytes(chunk[4:], "little")
        if chunk[:4] == b"fmt ":
            form = read(at + 8, at + 8 + 16)
        elif chunk[:4] == b"data":
            return _wav(form, length)
        # Chunks begin at even places.
        at += 8 + length + length % 2
    return None


def _wav(form: bytes, length: int) -> Sound | None:
    channels, rate, each = (int.from_bytes(form[at : at + size], "little") for at, size in ((2, 2), (4, 4), (8, 4)))
    return Sound("WAV", length / each, channels, rate) if len(form) == 16 and each else None
