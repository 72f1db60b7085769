"""What a dataset says of its files: `.dsvcattributes`, in the syntax of gitattributes.

    *.csv           merge=rows key=id
    labels/*.jsonl  merge=rows key=image,box
    "my table.csv"  merge=rows key="sample id"

A file speaks for its folder and all below. Of several lines that match a path, the last one in the deepest folder
decides, for each attribute by itself; `-merge` takes one back.
"""

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from dsvc.history.content import read_content
from dsvc.history.tree import Tree
from dsvc.odb.objects import ObjectReader

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

__all__ = ["ATTRIBUTES_FILE", "Attributes", "parse_attributes"]

ATTRIBUTES_FILE: Final = b".dsvcattributes"
_MOST_BYTES: Final = 1 << 20


class Line(msgspec.Struct, frozen=True):
    """One line: the paths that it is about, and what it says of them; None takes an attribute back."""

    spec: "GitIgnoreSpec"
    said: dict[str, str | None]


class Attributes:
    """The attributes of the files of a version, which the first of *trees* that has a file says."""

    def __init__(self, objects: ObjectReader, trees: Sequence[Tree]) -> None:
        self._objects = objects
        self._trees = trees
        self._known: dict[bytes, list[Line]] = {}

    def of(self, path: bytes) -> dict[str, str]:
        """Return the attributes of *path* that are set, with their values."""
        found: dict[str, str | None] = {}
        folder = b""
        for part in [*path.split(b"/")[:-1], b""]:
            relative = path[len(folder) + 1 :] if folder else path
            for line in self._lines(folder):
                if line.spec.match_file(relative.decode("utf-8", "surrogateescape")):
                    found |= line.said
            folder = folder + b"/" + part if folder else part
        return {name: value for name, value in found.items() if value is not None}

    def _lines(self, folder: bytes) -> list[Line]:
        if folder not in self._known:
            path = folder + b"/" + ATTRIBUTES_FILE if folder else ATTRIBUTES_FILE
            entries = (tree.get(path) for tree in self._trees)
            entry = next((entry for entry in entries if entry is not None and entry.is_file), None)
            is_usable = entry is not None and entry.size <= _MOST_BYTES
            self._known[folder] = parse_attributes(read_content(self._objects, entry)) if entry and is_usable else []
        return self._known[folder]


def parse_attributes(content: bytes) -> list[Line]:
    """Return the lines of a file; one that cannot be understood is passed over, as in git."""
    # 25 ms to import, and few datasets say anything.
    from pathspec import GitIgnoreSpec

    lines: list[Line] = []
    for text in content.decode("utf-8", "surrogateescape").splitlines():
        try:
            words = _words(text)
        except ValueError:
            continue
        if not words or text.lstrip().startswith("#") or words[0].startswith("!"):
            continue
        said: dict[str, str | None] = {}
        for word in words[1:]:
            name, _, value = word.partition("=")
            said[name.lstrip("-!")] = None if name[:1] in ("-", "!") else value
        lines.append(Line(GitIgnoreSpec.from_lines([words[0]]), said))
    return lines


def _words(text: str) -> list[str]:
    """Return the words of a line; quotes keep spaces together, and a backslash belongs to the pattern."""
    lexer = shlex.shlex(text, posix=True)
    lexer.whitespace_split, lexer.commenters, lexer.escape, lexer.quotes = True, "", "", '"'
    return list(lexer)
