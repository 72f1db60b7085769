"""The stat cache: what each staged file looked like on disk when its content was last known.

`worktree.db` is a pure cache. It may be deleted at any time, and is made anew from the staged
tree when it is missing, damaged or of another version; all that costs is hashing.

It has one row for each entry of the staged tree whose root it names, so that the rows alone
tell what is gone. A row is only ever trusted while the file's fingerprint (size, mtime, ctime,
inode, mode) is the same, and a fingerprint is only recorded if the file's times are older than the
moment before its content was read, on the filesystem's own clock. An edit within one tick of the clock
could otherwise go unseen ("racy git").
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from dsvc.errors import BusyError, CorruptionError, DsvcError, NoSpaceError, StorageError
from dsvc.model.paths import key_path, path_key
from dsvc.model.tree import Entry
from dsvc.storage.local import storage_error
from dsvc.storage.temporary import temporary_name
from dsvc.worktree.stat_runs import SCHEMA, GatheredRuns, Row, Run, Runs

__all__ = ["CacheUpdate", "DamagedCacheError", "Row", "StatCache", "entry_from_row", "pack_row"]

_VERSION: Final = 2
_SCHEMA: Final = f"""
{SCHEMA};
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""

# Statements that could not be carried out say nothing about the file; the other errors do.
_Refused = sqlite3.OperationalError
_KINDS: Final = {
    sqlite3.SQLITE_BUSY: BusyError,
    sqlite3.SQLITE_LOCKED: BusyError,
    sqlite3.SQLITE_FULL: NoSpaceError,
}

_IN_MEMORY: Final = ":memory:"

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[int, int, bytes, bytes | None, bytes | None])


def entry_from_row(key: bytes, packed: bytes) -> Entry:
    """Return the entry that a row was made from."""
    kind, size, digest, blob, extension = _decoder.decode(packed)
    return Entry(key_path(key), kind, size, digest, blob, extension)


def pack_row(entry: Entry, fingerprint: bytes) -> Row:
    """Return the row of *entry*."""
    packed = _encoder.encode((entry.kind, entry.size, entry.digest, entry.blob, entry.extension))
    return path_key(entry.path), fingerprint, packed


class DamagedCacheError(CorruptionError):
    """The file was damaged. It is an empty one by now, so whoever starts again gets what is right."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} was damaged and is made anew; run the same command again")
        self.path = path


class CacheUpdate:
    """A change of the cache on its way; *root* is set to the tree that the rows will stand for."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._runs = Runs(database)
        self.root: bytes | None = None

    def put(self, rows: Iterable[Row]) -> None:
        """Store *rows*."""
        self._runs.put(rows)

    def put_runs(self, runs: Iterable[Run]) -> None:
        """Store the rows of *runs*."""
        self._runs.put_runs(runs)

    def remove(self, paths: Iterable[bytes]) -> None:
        """Remove the rows of *paths*."""
        self._runs.remove(map(path_key, paths))


class StatCache:
    """The rows of one worktree. One process writes at a time; SQLite sees to it.

    What `replace` and `refresh` cannot write, they do not: the rows stand for an older tree then, and
    catch up later. All else may raise DamagedCacheError, BusyError, or StorageError where the system refuses.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._gathered = GatheredRuns(path.parent / "tmp")
        self._found: os.stat_result | None = None
        self._database = self._opened()

    def _opened(self) -> sqlite3.Connection:
        try:
            if not self._path.exists():
                self._make(None)
            self._found = self._path.stat()
            try:
                return _connect(self._path)
            except _Refused:
                raise
            except sqlite3.DatabaseError:
                self._make(self._found)
                self._found = self._path.stat()
                return _connect(self._path)
        except (OSError, _Refused) as error:
            if os.access(self._path.parent, os.W_OK):
                raise self._refused(error) from error
            # Somebody else's repository, or one on a medium that cannot be written: nothing is remembered.
            return _connect(_IN_MEMORY)

    def _refused(self, error: OSError | sqlite3.Error) -> DsvcError:
        if isinstance(error, OSError):
            return storage_error(error, f"use {self._path}")
        kind = _KINDS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, StorageError)
        return kind(f"cannot use {self._path}: {error}")

    def _make(self, damaged: os.stat_result | None) -> None:
        """Put an empty database in place of the *damaged* file, or where there was none.

        Others may find the same at the same time, or use what one of them made already: there is one at a time here,
        and only what it came for is replaced. Nobody sees a file that is half made.
        """
        folder = self._path.parent / "tmp"
        folder.mkdir(exist_ok=True)
        new = folder / temporary_name()
        with self._path.with_name(f"{self._path.name}.lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _is_still(self._path, damaged):
                return
            try:
                _connect(new).close()
                # Nobody may open a new file with an old log beside it.
                for suffix in ("", "-wal", "-shm", "-journal"):
                    self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
                new.replace(self._path)
            finally:
                new.unlink(missing_ok=True)

    def close(self) -> None:
        """Release the file."""
        self._database.close()

    @contextmanager
    def _guarded(self) -> Iterator[sqlite3.Connection]:
        try:
            yield self._database
        except _Refused as error:
            raise self._refused(error) from error
        except sqlite3.DatabaseError as error:
            self._database.close()
            self._make(self._found)
            self._database = self._opened()
            raise DamagedCacheError(self._path) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._guarded() as database:
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
                database.execute("COMMIT")
            finally:
                if database.in_transaction:
                    database.execute("ROLLBACK")

    @property
    def root(self) -> bytes | None:
        """The root of the tree that the rows stand for, None if they stand for none."""
        with self._guarded() as database:
            return _root(database)

    def rows(self, folder: bytes = b"") -> Iterator[Row]:
        """Yield the rows at and below *folder*, in the order of the keys."""
        key = path_key(folder)
        with self._guarded() as database:
            yield from Runs(database).rows(key, key + b"\1" if key else None)

    def row(self, path: bytes) -> Row | None:
        """Return the row of *path*."""
        with self._guarded() as database:
            return Runs(database).get(path_key(path))

    @contextmanager
    def update(self, known: bytes | None) -> Iterator["CacheUpdate"]:
        """Change rows inside the block, which stood for *known*; it says what tree they stand for then.

        Where they stand for another tree by now, or it says none, nothing is changed.
        """
        with self._transaction() as database:
            update = CacheUpdate(database)
            yield update
            if update.root is None or _root(database) != known:
                database.execute("ROLLBACK")
                database.execute("BEGIN")
            else:
                database.execute("INSERT OR REPLACE INTO meta VALUES ('root', ?)", (update.root,))

    def gather(self, runs: Iterable[Run]) -> None:
        """Keep *runs* for the next `replace`, outside memory and not in others' way when there are many."""
        self._gathered.extend(runs)

    def forget_gathered(self) -> None:
        """Drop the rows that were gathered."""
        self._gathered.clear()

    def replace(self, known: bytes | None, root: bytes, rows: Iterable[Row], removed: Iterable[bytes] = ()) -> None:
        """Remove the rows of the paths *removed*, store *rows* and the gathered ones, and stand for the tree *root*.

        Where they stand for another tree than *known* by now, or nothing can be written, nothing is changed.
        """
        with suppress(BusyError, StorageError, DamagedCacheError), self.update(known) as update:
            update.remove(removed)
            update.put_runs(self._gathered)
            update.put(rows)
            update.root = root

    def rebuild(self, root: bytes, entries: Iterable[Entry]) -> None:
        """Stand for the tree *root* of *entries*, knowing no fingerprint.

        Raises:
            StorageError: It cannot be written.
        """
        with self._transaction() as database:
            runs = Runs(database)
            runs.clear()
            runs.append(pack_row(entry, b"") for entry in entries)
            database.execute("INSERT OR REPLACE INTO meta VALUES ('root', ?)", (root,))

    def refresh(self, rows: Iterable[Row]) -> None:
        """Record fingerprints that were found to hold, if that can be written; the tree stays the same."""
        with suppress(BusyError, StorageError, DamagedCacheError), self._transaction() as database:
            runs = Runs(database)
            # Where another process staged something else meanwhile, they say nothing.
            runs.put([row for row in rows if (now := runs.get(row[0])) is not None and now[2] == row[2]])


def _root(database: sqlite3.Connection) -> bytes | None:
    row = database.execute("SELECT value FROM meta WHERE name = 'root'").fetchone()
    return None if row is None else bytes(row[0])


def _connect(path: Path | str) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None, timeout=30)
    try:
        if _version(database) != _VERSION:
            # A new file, which nobody else has, or that of another dsvc.
            database.execute("PRAGMA journal_mode=WAL")
            _recreate(database)
        database.execute("PRAGMA synchronous=NORMAL")
        _root(database)
    except sqlite3.DatabaseError:
        database.close()
        raise
    return database


def _version(database: sqlite3.Connection) -> int:
    version: int = database.execute("PRAGMA user_version").fetchone()[0]
    return version


def _recreate(database: sqlite3.Connection) -> None:
    database.execute("BEGIN IMMEDIATE")
    # Another process may have done it meanwhile, and filled the tables.
    if _version(database) != _VERSION:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            database.execute(f'DROP TABLE "{name}"')
        for statement in _SCHEMA.strip().split("\n"):
            database.execute(statement)
        database.execute(f"PRAGMA user_version = {_VERSION}")
    database.execute("COMMIT")


def _is_still(path: Path, found: os.stat_result | None) -> bool:
    """Tell whether *path* is the file that was *found* there, or nothing where nothing was."""
    try:
        now = path.stat()
    except FileNotFoundError:
        # Whoever removed it had a reason to.
        return True
    return found is not None and os.path.samestat(now, found)
