r"""The shape of the history as text: columns of `*` and `|`, joined by `/`, `\` and `_`, as in `git log --graph`.

    *   a merge
    |\
    | * of its second parent
    * | of its first one
    |/
    * of both

Commits come in an order in which children stand before their parents. A column is a commit that
is still to come; it is given to the renderer as an id, of which it knows nothing else.
"""

from collections.abc import Hashable, Iterator, Sequence
from itertools import zip_longest

__all__ = ["Graph"]

Column = Hashable | None


class Graph:
    """Draws one commit after another."""

    def __init__(self) -> None:
        self._columns: list[Column] = []

    def draw(self, commit: Hashable, parents: Sequence[Hashable], lines: Sequence[str]) -> Iterator[str]:
        """Yield the lines that show *commit* with *lines* of text beside it, and lead on to its *parents*.

        Parents that never come are columns to the end: leave out those that will not be shown.
        """
        parents = list(dict.fromkeys(parents))
        if commit not in self._columns:
            self._columns.append(commit)
        place = self._columns.index(commit)
        extra = max(0, len(parents) - 2)
        yield from self._make_room(place, extra)
        # All the text stands right of the widest line that it has beside it.
        width = 2 * (len(self._columns) + (len(parents) > 1))
        drawn = self._drawn(place, extra, parents)
        for beside, text in zip_longest(drawn, lines):
            line = _draw(self._columns) if beside is None else beside
            yield line if text is None else f"{line:{width}}{text}"

    def _make_room(self, place: int, extra: int) -> Iterator[str]:
        """Push the columns after *place* to the right, for a commit of more than two parents."""
        if place + 1 == len(self._columns):
            self._columns += [None] * extra
            return
        for _ in range(extra):
            moved = {at: 1 for at in range(place + 1, len(self._columns)) if self._columns[at] is not None}
            yield _draw(self._columns, moved)
            self._columns.insert(place + 1, None)

    def _drawn(self, place: int, extra: int, parents: list[Hashable]) -> list[str]:
        columns = self._columns
        cells = list(_draw(columns).ljust(2 * len(columns)))
        cells[2 * place] = "*"
        if extra:
            # The columns that were made free for them.
            cells[2 * place + 1 : 2 * (place + extra) + 1] = "-" * (2 * extra - 1) + "."
        lines = ["".join(cells).rstrip()]
        if len(parents) > 1:
            lines.append(self._fork(place, parents))
        else:
            columns[place] = parents[0] if parents else None
        lines.extend(self._collapse())
        return lines

    def _fork(self, place: int, parents: list[Hashable]) -> str:
        """Let the column at *place* become one for each of *parents*."""
        columns = self._columns
        after = place + len(parents) - 1
        width = 2 * (len(columns) + 1)
        cells = [" "] * width
        for at, column in enumerate(columns):
            if at <= place and column is not None:
                cells[2 * at] = "|"
            if place <= at < after or (at >= after and column is not None):
                cells[2 * at + 1] = "\\"
        columns[place:after] = parents
        return "".join(cells).rstrip()

    def _collapse(self) -> Iterator[str]:
        """Join columns of the same commit, and close gaps."""
        while True:
            while self._columns and self._columns[-1] is None:
                self._columns.pop()
            moved = self._movable()
            if moved:
                yield _draw(self._columns, moved)
                self._move(moved)
                continue
            crossing = self._crossing()
            if crossing is None:
                return
            yield from self._cross(*crossing)

    def _movable(self) -> dict[int, int]:
        """Return the columns that can go one step to the left: into a gap, or into their twin."""
        moved: dict[int, int] = {}
        before = self._columns[:1]
        for at, column in enumerate(self._columns[1:], 1):
            left = before[at - 1]
            if column is not None and (left is None or left == column):
                moved[at] = -1
                before[at - 1] = column
                before.append(None)
            else:
                before.append(column)
        return moved

    def _move(self, moved: dict[int, int]) -> None:
        for at, step in sorted(moved.items()):
            self._columns[at + step] = self._columns[at]
            self._columns[at] = None

    def _crossing(self) -> tuple[int, int] | None:
        """Return the places of a column whose twin is further to the left, and of that twin."""
        first: dict[Column, int] = {}
        for at, column in enumerate(self._columns):
            if column is not None and column in first:
                return at, first[column]
            first[column] = at
        return None

    def _cross(self, at: int, twin: int) -> Iterator[str]:
        """Lead the column at *at* below those between to its twin."""
        columns = self._columns
        columns[at] = None
        cells = list(_draw(columns).ljust(2 * len(columns)))
        cells[2 * at - 1] = "/"
        for between in range(twin + 1, at - 1):
            cells[2 * between + 1] = "_"
        yield "".join(cells).rstrip()
        cells = list(_draw(columns).ljust(2 * len(columns)))
        cells[2 * twin + 1] = "/"
        yield "".join(cells).rstrip()


def _draw(columns: Sequence[Column], moved: dict[int, int] | None = None) -> str:
    """Return a line on which the columns stand, or move by one to the right (1) or left (-1)."""
    cells = [" "] * (2 * len(columns) + 2)
    for at, column in enumerate(columns):
        if column is None:
            continue
        step = moved.get(at, 0) if moved else 0
        cells[2 * at + step] = "|" if not step else "\\" if step > 0 else "/"
    return "".join(cells).rstrip()
