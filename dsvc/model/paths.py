"""Paths in a tree: bytes, relative, `/` between the components.

Any bytes that a POSIX name may hold are allowed. What is refused could write outside the
worktree or into dsvc's own folder.
"""

import re
from collections.abc import Sequence
from typing import Final

from dsvc.errors import InvalidInputError

__all__ = [
    "CONTROL_FOLDER",
    "MAX_PATH_LENGTH",
    "InvalidPathError",
    "display_path",
    "is_within",
    "key_path",
    "listed_paths",
    "path_key",
    "quote_path",
    "unquote_path",
    "validate_path",
]

CONTROL_FOLDER: Final = b".dsvc"
MAX_PATH_LENGTH: Final = 32_768
_LISTED: Final = 10
_MAX_COMPONENT_LENGTH: Final = 255

# What some file systems ignore inside a name. HFS+: U+200C to U+200F, U+202A to U+202E, U+206A to
# U+206F, U+FEFF; ext4 with case folding: the other ones too.
_IGNORED: Final = (
    range(0x200B, 0x2010),
    range(0x202A, 0x202F),
    range(0x2060, 0x2070),
    range(0xFE00, 0xFE10),
    range(0xFEFF, 0xFF00),
    range(0xFFF0, 0xFFF9),
)
# APFS and ext4 take the long s for an s where they ignore case.
_FOLDED: Final = {0x17F: "s", **{code: None for codes in _IGNORED for code in codes}}


class InvalidPathError(InvalidInputError):
    """A path that no tree may hold."""

    def __init__(self, path: bytes, reason: str) -> None:
        super().__init__(f"invalid path {quote_path(path)}: {reason}")
        self.path = path


def path_key(path: bytes) -> bytes:
    """Return what *path* is ordered by: `/` is byte 0, so that a folder is one range."""
    return path.replace(b"/", b"\0")


def key_path(key: bytes) -> bytes:
    """Return the path that is ordered by *key*."""
    return key.replace(b"\0", b"/")


def is_within(path: bytes, folder: bytes) -> bool:
    """Tell whether *path* is *folder* or lies below it; the empty folder holds all."""
    return not folder or path == folder or path.startswith(folder + b"/")


def display_path(path: bytes) -> str:
    """Return *path* as text that turns back into the same bytes with `os.fsencode`."""
    return path.decode("utf-8", "surrogateescape")


def listed_paths(paths: Sequence[bytes]) -> str:
    """Return what follows the colon of a message about *paths*: a line for each of the first ten."""
    shown = [quote_path(path) for path in paths[:_LISTED]]
    more = [f"and {len(paths) - _LISTED:,} more"] if len(paths) > _LISTED else []
    return "".join(f"\n\t{line}" for line in [*shown, *more])


def quote_path(path: bytes) -> str:
    r"""Return *path* for people: as it is, or in git's quotes where it holds odd bytes.

    Control characters, `"`, `\\` and bytes that are not UTF-8 appear as escapes.
    """
    try:
        text = path.decode("utf-8")
    except UnicodeDecodeError:
        text = ""
    if text.isprintable() and text and '"' not in text and "\\" not in text:
        return text
    return '"' + "".join(_quoted(path)) + '"'


_ESCAPE: Final = re.compile(rb"\\(?:([0-7]{1,3})|(.))", re.DOTALL)
_LETTERS: Final = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
_ESCAPES: Final = {
    7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\",
}  # fmt: skip


def _quoted(path: bytes) -> list[str]:
    # surrogateescape keeps the valid UTF-8 around a bad byte readable.
    quoted = []
    for character in path.decode("utf-8", "surrogateescape"):
        code = ord(character)
        if code in _ESCAPES:
            quoted.append(_ESCAPES[code])
        elif 0xDC80 <= code <= 0xDCFF:
            quoted.append(f"\\{code - 0xDC00:03o}")
        elif character.isprintable():
            quoted.append(character)
        else:
            quoted.extend(f"\\{byte:03o}" for byte in character.encode())
    return quoted


def unquote_path(text: str) -> bytes:
    """Return the path that `quote_path` shows as *text*; what is in no quotes is a path as it is."""
    path = text.encode("utf-8", "surrogateescape")
    if len(path) < 2 or not (path.startswith(b'"') and path.endswith(b'"')):
        return path
    return _ESCAPE.sub(_unescaped, path[1:-1])


def _unescaped(found: "re.Match[bytes]") -> bytes:
    octal, letter = found.groups()
    return bytes([int(octal, 8) & 0xFF]) if octal else _LETTERS.get(letter, letter)


def validate_path(path: bytes) -> None:
    """Check that a tree may hold *path*.

    Raises:
        InvalidPathError: It is empty, absolute, too long, holds NUL, or has a component
            that is empty, `.`, `..`, over 255 bytes, or a spelling of `.dsvc`.
    """
    if not path:
        raise InvalidPathError(path, "it is empty")
    if len(path) > MAX_PATH_LENGTH:
        raise InvalidPathError(path, f"it is over {MAX_PATH_LENGTH} bytes long")
    if b"\0" in path:
        raise InvalidPathError(path, "it holds a NUL byte")
    for component in path.split(b"/"):
        if component in (b"", b".", b".."):
            raise InvalidPathError(path, f"it has a component {component.decode()!r}")
        if len(component) > _MAX_COMPONENT_LENGTH:
            raise InvalidPathError(path, f"a component is over {_MAX_COMPONENT_LENGTH} bytes long")
        # Most names are settled by their length, before the costly folding.
        if len(component) >= len(CONTROL_FOLDER) and _is_control(component):
            raise InvalidPathError(path, "`.dsvc` is kept for dsvc itself")


def _is_control(component: bytes) -> bool:
    first = component[:1]
    if first not in b".dD\xe2\xef":
        return False
    # Windows ends a name at a colon or backslash, and drops dots and spaces before that.
    name = component.partition(b":")[0].partition(b"\\")[0].rstrip(b". ")
    if name.lower() in (CONTROL_FOLDER, b"dsvc~1"):
        return True
    if first not in b".\xe2\xef" or component.isascii():
        return False
    folded = component.decode("utf-8", "surrogateescape").translate(_FOLDED)
    return folded.lower() == ".dsvc"
