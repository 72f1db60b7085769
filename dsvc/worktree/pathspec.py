"""Pathspecs: which paths a command is about. Names of files and folders, or git's patterns."""

import re
from collections.abc import Callable, Iterable
from typing import Final

from dsvc.history.diff import outermost

__all__ = ["Pathspec"]

_MAGIC: Final = re.compile(rb"[*?\[]")


class Pathspec:
    """Paths from the root; no words at all means everything.

    A word with `*`, `?` or `[` that names no file is a pattern, in which `*` matches slashes too,
    as git's does. There may be a hundred thousand words: looking at a path takes its depth.
    """

    def __init__(self, words: Iterable[bytes] = (), *, exists: Callable[[bytes], bool] = lambda _: False) -> None:
        self.words = tuple(dict.fromkeys(words))
        magic = {word for word in self.words if _MAGIC.search(word) and not exists(word)}
        self.patterns = {word: _translate(word) for word in self.words if word in magic}
        self._named = frozenset(self.words) - magic

    def only(self, words: Iterable[bytes]) -> "Pathspec":
        """Return the pathspec of some of the words; a pattern stays one, and a name a name."""
        return Pathspec(words, exists=lambda word: word not in self.patterns)

    def __bool__(self) -> bool:
        return bool(self.words)

    @property
    def named(self) -> list[bytes]:
        """The words that are paths, not patterns."""
        return [word for word in self.words if word in self._named]

    @property
    def folders(self) -> tuple[bytes, ...]:
        """Where to look: disjoint paths that hold every match, in the order of the keys."""
        if self.patterns or not self.words:
            return (b"",)
        return tuple(outermost(self._named))

    def names(self, path: bytes) -> bool:
        """Tell whether *path* itself is one of the words."""
        return path in self._named

    def matches(self, path: bytes) -> bool:
        """Tell whether *path* is meant."""
        if not self.words or not self._named.isdisjoint(_path_and_above(path)):
            return True
        return any(pattern.match(path) for pattern in self.patterns.values())

    def words_matching(self, path: bytes) -> list[bytes]:
        """Return the words that mean *path*."""
        named = self._named.intersection(_path_and_above(path))
        return [*named, *(word for word, pattern in self.patterns.items() if pattern.match(path))]

    def unmatched(self, paths: Iterable[bytes]) -> list[bytes]:
        """Return the words that match none of *paths*."""
        named = set(self._named)
        patterns = dict(self.patterns)
        for path in paths:
            if named:
                named.difference_update(_path_and_above(path))
            for word in [word for word, pattern in patterns.items() if pattern.match(path)]:
                del patterns[word]
            if not named and not patterns:
                break
        return [word for word in self.words if word in named or word in patterns]


def _path_and_above(path: bytes) -> list[bytes]:
    """Return *path* and the folders above it, up to the root, which is empty."""
    above = [path, b""]
    while path := path.rpartition(b"/")[0]:
        above.append(path)
    return above


def _translate(pattern: bytes) -> "re.Pattern[bytes]":
    """Turn a pattern into an expression that also matches everything below what it matches."""
    out = [rb"(?s:"]
    index = 0
    while index < len(pattern):
        character = pattern[index : index + 1]
        index += 1
        if character == b"*":
            out.append(rb".*")
        elif character == b"?":
            out.append(rb"[^/]")
        elif character == b"[" and (end := pattern.find(b"]", index + 1)) > 0:
            inside = pattern[index:end].replace(b"\\", b"\\\\")
            negated = inside[:1] in (b"!", b"^")
            out.append(b"[" + (b"^" + inside[1:] if negated else inside) + b"]")
            index = end + 1
        else:
            out.append(re.escape(character))
    out.append(rb")(?:/.*)?\Z")
    return re.compile(b"".join(out), re.DOTALL)
