"""Tables as rows with keys, each with the text that it was written as: CSV, TSV and JSON Lines.

Text that is not UTF-8 stays what it is. A row is told from others by the values of some columns, its key.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal, NamedTuple, Protocol

from dsvc.errors import InvalidInputError

__all__ = ["Key", "NoTableError", "Row", "Table", "read_table"]

Key = str | tuple[str, ...]
Cells = dict[str, str]

_DELIMITERS: Final = ",;\t|"
_SPACES: Final = frozenset(" \t\r\n")


class NoTableError(InvalidInputError):
    """Content that cannot be taken as rows with keys."""


class Row(NamedTuple):
    """One row: its key, None of a blank line; its text, and what ends it, nothing at the end of some files."""

    key: Key | None
    text: str
    end: str


class Table(Protocol):
    """A table that is read once, row by row. *columns* are None where each row has its own.

    Tables of one *style* can have each other's text, if they have the same columns.
    """

    columns: Sequence[str] | None
    header: Row | None
    style: str

    def rows(self) -> Iterator[Row]:
        """Yield the rows.

        Raises:
            NoTableError: It cannot be read as a table.
        """

    def cells(self, text: str) -> Cells:
        """Return the cells of the row *text*, by column, as they are to be compared.

        Raises:
            NoTableError: It has no such cells.
        """

    def text(self, cells: Cells, columns: Sequence[str]) -> str:
        """Return a row of *cells* as this table would write it; what lacks one of *columns* is empty there."""


def read_table(kind: str, pieces: Iterable[bytes], key: Sequence[str]) -> Table:
    """Return the table of *kind* (csv, tsv, jsonl) whose bytes are *pieces*, and whose rows have the *key*.

    Raises:
        NoTableError: There is no such kind, or no such column.
    """
    if kind in ("jsonl", "ndjson"):
        return _JsonLines(_lines(pieces), key)
    if kind in ("csv", "tsv"):
        return _Csv(_lines(pieces), key, "\t" if kind == "tsv" else _DELIMITERS)
    message = f"rows of a file of type `{kind}` are not known" if kind else "its name says no type of table"
    raise NoTableError(message)


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    held = b""
    for piece in pieces:
        if b"\0" in piece:
            message = "it holds zero bytes"
            raise NoTableError(message)
        whole, found, rest = piece.rpartition(b"\n")
        if found:
            # Many at once: a call for each of a million lines would take longer than all else.
            yield from [line + "\n" for line in (held + whole).decode("utf-8", "surrogateescape").split("\n")]
            held = rest
        else:
            held += piece
    if held:
        yield held.decode("utf-8", "surrogateescape")


def _split_end(line: str) -> tuple[str, str]:
    text = line.removesuffix("\n").removesuffix("\r")
    return text, line[len(text) :]


class _Csv:
    def __init__(self, lines: Iterator[str], key: Sequence[str], delimiters: str) -> None:
        self._taken: list[str] = []
        self._number = 1
        self._source = self._recorded(lines)
        first = next(self._source, "")
        for delimiter in delimiters:
            self.style = delimiter
            names = next(_read([first.removeprefix("\ufeff")], delimiter), [])
            if set(key) <= set(names):
                break
        else:
            missing = ", ".join(f"`{name}`" for name in key)
            message = f"its first line names no column {missing}"
            raise NoTableError(message)
        if len(set(names)) < len(names):
            message = "two of its columns have one name"
            raise NoTableError(message)
        self.columns: Sequence[str] | None = names
        self.header: Row | None = Row(None, *_split_end(first))
        self._places = [names.index(name) for name in key]
        self._quotes_all = first.removeprefix("\ufeff").startswith('"')
        self._taken.clear()

    def _recorded(self, lines: Iterator[str]) -> Iterator[str]:
        # A row in quotes may have several lines: what the reader took for one is its text.
        for line in lines:
            self._taken.append(line)
            yield line

    def rows(self) -> Iterator[Row]:
        places, count = self._places, len(self.columns or ())
        place = places[0] if len(places) == 1 else None
        for cells in _read(self._source, self.style):
            self._number += len(self._taken)
            text, end = _split_end("".join(self._taken))
            self._taken.clear()
            if not cells:
                yield Row(None, text, end)
                continue
            if len(cells) != count:
                message = f"line {self._number} has {len(cells)} cells, where the first line has {count}"
                raise NoTableError(message)
            yield Row(tuple(cells[at] for at in places) if place is None else cells[place], text, end)

    def cells(self, text: str) -> Cells:
        read = next(_read(io.StringIO(text, newline=""), self.style), [])
        return dict(zip(self.columns or (), read, strict=True))

    def text(self, cells: Cells, columns: Sequence[str]) -> str:
        out = io.StringIO()
        row = [cells.get(name, "") for name in columns]
        quoting: Literal[0, 1] = csv.QUOTE_ALL if self._quotes_all else csv.QUOTE_MINIMAL
        csv.writer(out, delimiter=self.style, quoting=quoting, lineterminator="").writerow(row)
        return out.getvalue()


def _read(lines: Iterable[str], delimiter: str) -> Iterator[list[str]]:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        yield from reader
    except csv.Error as error:
        message = f"row {reader.line_num} is no CSV: {error}"
        raise NoTableError(message) from error


class _JsonLines:
    style = "JSON"

    def __init__(self, lines: Iterator[str], key: Sequence[str]) -> None:
        self.columns: Sequence[str] | None = None
        self.header: Row | None = None
        self._lines = lines
        self._key = key
        self._decoder = json.JSONDecoder()
        self._separators = (", ", ": ")

    def rows(self) -> Iterator[Row]:
        for number, line in enumerate(self._lines, 1):
            text, end = _split_end(line)
            if not text.strip():
                yield Row(None, text, end)
                continue
            try:
                value = self._decoder.decode(text)
                found = tuple(_as_key(value[name]) for name in self._key)
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                message = f"line {number} is no JSON object with {', '.join(f'`{name}`' for name in self._key)}"
                raise NoTableError(message) from error
            if number == 1:
                self._separators = (", " if '", "' in text or ', "' in text else ",", ": " if '": ' in text else ":")
            yield Row(found[0] if len(found) == 1 else found, text, end)

    def cells(self, text: str) -> Cells:
        # It is an object, or `rows` would have said so. The text of values is kept: no number loses digits on its way.
        cells: Cells = {}
        at = _next(text, _next(text, 0) + 1)
        while not text.startswith("}", at):
            name, at = self._decoder.raw_decode(text, at)
            start = _next(text, _next(text, at) + 1)
            end: int = self._decoder.raw_decode(text, start)[1]
            if name in cells:
                message = f"a row has two members `{name}`"
                raise NoTableError(message)
            cells[name] = text[start:end]
            at = _next(text, end)
            if text.startswith(",", at):
                at = _next(text, at + 1)
        return cells

    def text(self, cells: Cells, columns: Sequence[str]) -> str:
        del columns
        comma, colon = self._separators
        return "{" + comma.join(f"{_quoted(name)}{colon}{value}" for name, value in cells.items()) + "}"


def _as_key(value: object) -> str:
    if type(value) is str:
        return f'"{value}"'
    return str(value) if type(value) is int else json.dumps(value, sort_keys=True)


def _next(text: str, at: int) -> int:
    """Return where the next thing is that is no space."""
    while text[at : at + 1] in _SPACES:
        at += 1
    return at


def _quoted(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)
