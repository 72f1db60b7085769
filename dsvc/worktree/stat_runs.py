"""The rows of the stat cache as they are kept: in runs, each of them one value of the database.

A run is a few dozen rows in the order of their keys, packed. To write, send or read one takes hardly
longer than a single row, so a worker packs the rows of what it has read, and nobody looks at them again
before they are in the file. It knows nothing of files and entries.
"""

import sqlite3
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from dsvc.storage.local import storage_error
from dsvc.storage.temporary import temporary_name

__all__ = ["SCHEMA", "GatheredRuns", "Row", "Run", "Runs", "pack_runs"]

Row = tuple[bytes, bytes, bytes]  # key, fingerprint ("" if unknown), entry without its path
Run = tuple[bytes, bytes, bytes]  # first key, last key, packed rows

# Not WITHOUT ROWID: such a table is one index, which is slow where a value fills a page.
SCHEMA: Final = "CREATE TABLE runs (first BLOB PRIMARY KEY, rows BLOB NOT NULL)"

# As many as fit a page of the database. An edit packs a whole run again.
_RUN: Final = 32
_LONGEST: Final = 2 * _RUN

_IN_MEMORY: Final = 16 * 1024 * 1024

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Row])
_runs_decoder = msgspec.msgpack.Decoder(list[Run])


def pack_runs(rows: Sequence[Row]) -> list[Run]:
    """Return *rows*, which are in order of their keys, as runs."""
    pieces = [rows[start : start + _RUN] for start in range(0, len(rows), _RUN)]
    return [(piece[0][0], piece[-1][0], _encoder.encode(piece)) for piece in pieces]


def _unpack(packed: bytes) -> list[Row]:
    try:
        return _decoder.decode(packed)
    except msgspec.DecodeError as error:
        # SQLite itself does not look into values.
        raise sqlite3.DatabaseError(str(error)) from error


class Runs:
    """All rows of one database. A run reaches up to the first key of the next one."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def rows(self, start: bytes = b"", stop: bytes | None = None) -> Iterator[Row]:
        """Yield the rows in order of their keys, from *start* and up to *stop*."""
        if not start and stop is None:
            for (packed,) in self._database.execute("SELECT rows FROM runs ORDER BY first"):
                yield from _unpack(packed)
            return
        found = self._database.execute(
            "SELECT rows FROM runs WHERE first < ?2"
            " AND first >= coalesce((SELECT max(first) FROM runs WHERE first <= ?1), x'') ORDER BY first",
            (start, stop),
        )
        for (packed,) in found:
            for row in _unpack(packed):
                if start <= row[0] and (stop is None or row[0] < stop):
                    yield row

    def get(self, key: bytes) -> Row | None:
        """Return the row at *key*."""
        found = self._at(key)
        return next((row for row in _unpack(found[1]) if row[0] == key), None) if found else None

    def _at(self, key: bytes) -> tuple[bytes, bytes] | None:
        query = "SELECT first, rows FROM runs WHERE first <= ? ORDER BY first DESC LIMIT 1"
        found: tuple[bytes, bytes] | None = self._database.execute(query, (key,)).fetchone()
        return found

    def clear(self) -> None:
        """Remove all rows."""
        self._database.execute("DELETE FROM runs")

    def put(self, rows: Iterable[Row]) -> None:
        """Put *rows*, in any order, in place of those at their keys; of several with one key, the last one."""
        self._change({row[0]: row for row in rows})

    def remove(self, keys: Iterable[bytes]) -> None:
        """Remove the rows at *keys*."""
        self._change(dict.fromkeys(keys))

    def append(self, rows: Iterable[Row]) -> None:
        """Put *rows*, which are in order of their keys and come after all others, in little memory."""
        stream = iter(rows)
        while some := list(islice(stream, _RUN)):
            self._insert(pack_runs(some))

    def put_runs(self, runs: Iterable[Run]) -> None:
        """Put the rows of *runs*; it is fastest where each comes after all others."""
        end = self._last_key()
        for run in runs:
            if end is None or run[0] > end:
                self._insert([run])
                end = run[1]
            else:
                self.put(_unpack(run[2]))
                end = max(end, run[1])

    def _last_key(self) -> bytes | None:
        found = self._database.execute("SELECT rows FROM runs ORDER BY first DESC LIMIT 1").fetchone()
        return _unpack(found[0])[-1][0] if found else None

    def _insert(self, runs: Iterable[Run]) -> None:
        self._database.executemany("INSERT INTO runs VALUES (?, ?)", [(first, packed) for first, _, packed in runs])

    def _change(self, changes: dict[bytes, Row | None]) -> None:
        keys = sorted(changes)
        start = 0
        while start < len(keys):
            # What comes before all runs goes into the first one.
            run = (
                self._at(keys[start])
                or self._database.execute("SELECT first, rows FROM runs ORDER BY first LIMIT 1").fetchone()
            )
            rows: dict[bytes, Row] = {}
            end = len(keys)
            if run is not None:
                rows = {row[0]: row for row in _unpack(run[1])}
                (following,) = self._database.execute(
                    "SELECT min(first) FROM runs WHERE first > ?", (run[0],)
                ).fetchone()
                end = len(keys) if following is None else bisect_left(keys, following, start)
                self._database.execute("DELETE FROM runs WHERE first = ?", (run[0],))
            for key in keys[start:end]:
                row = changes[key]
                if row is not None:
                    rows[key] = row
                else:
                    rows.pop(key, None)
            self._insert(_split([rows[key] for key in sorted(rows)]))
            start = end


def _split(rows: list[Row]) -> list[Run]:
    if len(rows) > _LONGEST:
        return pack_runs(rows)
    return [(rows[0][0], rows[-1][0], _encoder.encode(rows))] if rows else []


class GatheredRuns:
    """Runs that are kept for a while; when there are many, in a file of *folder* that has no name any more."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runs: list[Run] = []
        self._held = 0
        self._file: BinaryIO | None = None

    def extend(self, runs: Iterable[Run]) -> None:
        """Keep *runs* too.

        Raises:
            StorageError: They cannot be written.
        """
        for run in runs:
            self._runs.append(run)
            self._held += len(run[2])
        if self._held >= _IN_MEMORY:
            try:
                self._spill()
            except OSError as error:
                raise storage_error(error, f"write to {self._folder}") from error

    def _spill(self) -> None:
        if self._file is None:
            self._folder.mkdir(exist_ok=True)
            path = self._folder / temporary_name()
            self._file = path.open("x+b")
            path.unlink()
        packed = _encoder.encode(self._runs)
        self._file.write(len(packed).to_bytes(4, "little") + packed)
        self._runs, self._held = [], 0

    def __iter__(self) -> Iterator[Run]:
        """Yield them in the order in which they came."""
        return chain(self._spilled(), self._runs)

    def _spilled(self) -> Iterator[Run]:
        if self._file is not None:
            self._file.seek(0)
            while head := self._file.read(4):
                yield from _runs_decoder.decode(self._file.read(int.from_bytes(head, "little")))

    def clear(self) -> None:
        """Drop them."""
        if self._file is not None:
            self._file.close()
        self._file = None
        self._runs, self._held = [], 0
