"""Merging tables row by row: a row that one side changed is taken from there, and columns that one side added stay.

The result has our rows in our order, then what they added, in theirs. A row is written as it was by whoever changed
it; only one that is put together of both is written anew, the way we write. The base and what they changed are held in
memory, so large files are refused.
"""

from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Final

from dsvc.errors import ConflictError
from dsvc.history.merge import Side
from dsvc.history.table_rows import Cells, Key, NoTableError, Row, Table

__all__ = ["RowConflictError", "merge_rows"]

_SHOWN: Final = 3


class RowConflictError(ConflictError):
    """Rows that both sides changed, and not to the same."""

    def __init__(self, keys: Sequence[str], count: int) -> None:
        more = f" and {count - len(keys):,} more" if count > len(keys) else ""
        super().__init__(f"in row{'s' if count > 1 else ''} {', '.join(keys)}{more}")
        self.count = count


def merge_rows(base: Table | None, ours: Table, theirs: Table, favour: Side | None = None) -> Iterator[str]:
    """Yield the text of the merged table, piece by piece; conflicts are settled for the side that is *favoured*.

    Raises:
        RowConflictError: At the end: both sides changed some rows, and nobody is favoured.
        NoTableError: One of them is no table with keys, or has lost a column of the base.
    """
    return _RowMerge(base, ours, theirs, favour).run()


class _RowMerge:
    def __init__(self, base: Table | None, ours: Table, theirs: Table, favour: Side | None) -> None:
        self._base_table = base or ours
        self._ours = ours
        self._theirs = theirs
        self._favour = favour
        self._shared: Sequence[str] | None = None
        self._columns: Sequence[str] = ()
        if ours.columns is not None and theirs.columns is not None:
            self._shared = ours.columns if base is None else base.columns
            _check_columns(self._shared or (), (ours.columns, theirs.columns), is_whole=base is None)
            self._columns = list(dict.fromkeys([*ours.columns, *theirs.columns]))
        self._base = {} if base is None else _texts(base)
        # What they have removed, by its key, and what is new or different there.
        self._gone = set(self._base)
        self._changed: dict[Key, str] = {}
        self._conflicts = 0
        self._told: list[str] = []

    def run(self) -> Iterator[str]:
        self._read_theirs()
        end = "\n"
        last: Row | None = None
        for row in self._merged():
            end = row.end or end
            if last is not None:
                yield last.text + (last.end or end)
            last = row
        if self._conflicts:
            raise RowConflictError(self._told, self._conflicts)
        if last is not None:
            yield last.text + last.end

    def _read_theirs(self) -> None:
        base, theirs = self._base_table, self._theirs
        is_like_base = (theirs.style, theirs.columns) == (base.style, base.columns)
        for row in self._theirs.rows():
            if row.key is None:
                continue
            _take_once(row.key, self._base, self._gone, self._changed)
            if not is_like_base or self._base.get(row.key) != row.text:
                self._changed[row.key] = row.text

    def _merged(self) -> Iterator[Row]:
        ours = self._ours
        if ours.header is not None:
            yield ours.header._replace(text=self._header(ours.header.text))
        # Keys are held once: those of the base that have not come yet, and those that are new.
        left, new = set(self._base), set[Key]()
        last = "\n" if ours.header is None else ours.header.end
        for row in ours.rows():
            last = row.end
            if row.key is None:
                yield row
                continue
            _take_once(row.key, self._base, left, new)
            if row.key not in self._base:
                new.add(row.key)
            text = self._of_ours(row.key, row.text)
            if text is not None:
                yield row._replace(text=text)
        for key, text in self._changed.items():
            if key in left if key in self._base else key not in new:
                added = self._of_theirs(key, text)
                if added is not None:
                    yield Row(key, added, last)

    def _header(self, text: str) -> str:
        if list(self._columns) == list(self._ours.columns or ()):
            return text
        mark = "\ufeff" if text.startswith("\ufeff") else ""
        return mark + self._ours.text(dict(zip(self._columns, self._columns, strict=True)), self._columns)

    def _of_ours(self, key: Key, text: str) -> str | None:
        """Return what becomes of a row of ours, None if it goes."""
        before, other = self._base.get(key), self._changed.get(key)
        if other is None and key not in self._gone:
            return self._widened(text)
        cells = self._ours.cells(text)
        if other is None:
            # They have removed it.
            if before is not None and not self._differs(before, cells):
                return None
            return self._settled(key, self._widened(text), None)
        return self._joined(key, before, (text, cells), (other, self._theirs.cells(other)))

    def _of_theirs(self, key: Key, text: str) -> str | None:
        """Return what becomes of a row of theirs that we have not, None if it goes."""
        before = self._base.get(key)
        cells = self._theirs.cells(text)
        if before is not None and not self._differs(before, cells):
            return None
        theirs = text if self._is_written_alike() else self._ours.text(cells, self._columns)
        return theirs if before is None else self._settled(key, None, theirs)

    def _joined(self, key: Key, before: str | None, ours: tuple[str, Cells], theirs: tuple[str, Cells]) -> str | None:
        """Return a row that is on both sides, and not as it was on theirs."""
        mine, other = ours[1], theirs[1]
        known = {} if before is None else self._base_table.cells(before)
        names = self._shared_names(known, mine, other)
        new_mine, new_other = ({name: cells.get(name) for name in names} for cells in (mine, other))
        old = {name: known.get(name) for name in names}
        added = {name: value for name, value in other.items() if name not in names}
        clash = any(name in mine and mine[name] != value for name, value in added.items())
        if new_mine == new_other or (before is not None and new_other == old):
            chosen = new_mine
        elif before is not None and new_mine == old:
            chosen = new_other
        else:
            chosen, clash = new_other if self._favour is Side.THEIRS else new_mine, True
        if clash:
            self._conflict(key)
        own = {name: value for name, value in mine.items() if name not in names}
        extra = own | added if self._favour is Side.THEIRS else added | own
        found = {name: value for name, value in chosen.items() if value is not None} | extra
        result = {name: found[name] for name in dict.fromkeys([*mine, *other]) if name in found}
        if result == mine:
            return self._widened(ours[0])
        return theirs[0] if result == other and self._is_written_alike() else self._ours.text(result, self._columns)

    def _shared_names(self, known: Cells, mine: Cells, other: Cells) -> Sequence[str]:
        """Return the columns in which both sides could have changed the row: others were added."""
        if self._shared is not None:
            return self._shared
        return list(known) if known else list(dict.fromkeys([*mine, *other]))

    def _is_written_alike(self) -> bool:
        """Tell whether their text can stand among ours."""
        is_whole = self._shared is None or list(self._theirs.columns or ()) == list(self._columns)
        return is_whole and self._theirs.style == self._ours.style

    def _differs(self, before: str, cells: Cells) -> bool:
        known = self._base_table.cells(before)
        return {name: value for name, value in cells.items() if self._shared is None or name in known} != known

    def _widened(self, text: str) -> str:
        """Return a row of ours with empty cells for the columns that they added."""
        if list(self._columns) == list(self._ours.columns or ()):
            return text
        return self._ours.text(self._ours.cells(text), self._columns)

    def _settled(self, key: Key, ours: str | None, theirs: str | None) -> str | None:
        """Return the row of the favoured side, where one has changed it and the other removed it."""
        self._conflict(key)
        return theirs if self._favour is Side.THEIRS else ours

    def _conflict(self, key: Key) -> None:
        if self._favour is None:
            self._conflicts += 1
            if len(self._told) < _SHOWN:
                self._told.append(key if isinstance(key, str) else "/".join(key))


def _check_columns(shared: Sequence[str], sides: Iterable[Sequence[str]], *, is_whole: bool) -> None:
    for columns in sides:
        kept = list(columns) if is_whole else [name for name in columns if name in shared]
        if kept != list(shared):
            message = "its columns differ" if is_whole else "columns were removed, renamed or moved"
            raise NoTableError(message)


def _take_once(key: Key, base: Container[Key], left: set[Key], new: Container[Key]) -> None:
    """Take *key* from those *left* of the *base*; it is there once, or *new* once.

    Raises:
        NoTableError: It has come before.
    """
    if (key not in left) if key in base else (key in new):
        raise _repeated(key)
    left.discard(key)


def _repeated(key: Key) -> NoTableError:
    message = f"two rows have the key {key if isinstance(key, str) else '/'.join(key)}"
    return NoTableError(message)


def _texts(table: Table) -> dict[Key, str]:
    texts: dict[Key, str] = {}
    for row in table.rows():
        if row.key in texts:
            raise _repeated(row.key)
        if row.key is not None:
            texts[row.key] = row.text
    return texts
