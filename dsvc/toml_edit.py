"""Sets and removes single keys in the text of a TOML file, line by line, so that comments stay.

It knows the ways in which people write settings: `[section]` headers and `key = value` lines, whose
value may go over several lines. It does not understand the rest of TOML, so a caller parses the
result and compares; see `config`.
"""

import re
import tomllib
from typing import Final

__all__ = ["edit_toml"]

Value = str | bool | int | tuple[str, ...]

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_HEADER: Final = re.compile(r"\s*\[")

_ESCAPES: Final = {'"': '\\"', "\\": "\\\\"}


def edit_toml(text: str, name: str, value: Value | None) -> str:
    """Return *text* with the dotted key *name* set to *value*, or removed where that is None.

    The first part of *name* and the last are one word each; what is between is one name.
    """
    table, last = _split(name)
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    start, end = _find_section(lines, table)
    found = _find_key(lines, start, end, last)
    new = [] if value is None else [f"{last} = {_format(value)}\n"]
    if found is not None:
        lines[found[0] : found[1]] = new
    elif start is None:
        lines += ["\n"] * bool(lines) + [f"[{_header(table)}]\n", *new]
    else:
        place = _end_of_content(lines, start, end)
        lines[place:place] = new
    return "".join(lines)


def _split(name: str) -> tuple[tuple[str, ...], str]:
    first, _, rest = name.partition(".")
    middle, _, last = rest.rpartition(".")
    return ((first, middle) if middle else (first,)), last


def _header(table: tuple[str, ...]) -> str:
    return ".".join(part if _BARE.fullmatch(part) else _quote(part) for part in table)


def _quote(text: str) -> str:
    return '"' + "".join(_ESCAPES.get(letter, letter) for letter in text) + '"'


def _format(value: Value) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_quote(word) for word in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return _quote(value) if isinstance(value, str) else str(value)


def _find_section(lines: list[str], table: tuple[str, ...]) -> tuple[int | None, int]:
    """Return the first line after the header of *table*, None if it has none, and the line after its last."""
    start = None
    for number, line in enumerate(lines):
        if not _HEADER.match(line) or _is_inside_value(lines, number):
            continue
        if start is not None:
            return start, number
        if _parse(line) == _nested(table, {}):
            start = number + 1
    return start, len(lines)


def _is_inside_value(lines: list[str], number: int) -> bool:
    # A line that starts with "[" may belong to a list above it; then the text before it is not whole.
    return _parse("".join(lines[:number])) is None


def _find_key(lines: list[str], start: int | None, end: int, key: str) -> tuple[int, int] | None:
    if start is None:
        return None
    for first in range(start, end):
        name = lines[first].partition("=")[0].strip()
        if name not in (key, f'"{key}"', f"'{key}'"):
            continue
        for last in range(first + 1, end + 1):
            if _parse("".join(lines[first:last])) is not None:
                return first, last
    return None


def _end_of_content(lines: list[str], start: int, end: int) -> int:
    while end > start and not lines[end - 1].strip():
        end -= 1
    return end


def _parse(text: str) -> dict[str, object] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _nested(table: tuple[str, ...], inner: dict[str, object]) -> dict[str, object]:
    for part in reversed(table):
        inner = {part: inner}
    return inner
