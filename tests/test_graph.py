"""The graph of the history, read back from what is drawn."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsvc.history.graph import Graph

Commits = list[tuple[str, Sequence[str]]]


def draw(commits: Commits) -> str:
    graph = Graph()
    return "\n".join(line for name, parents in commits for line in graph.draw(name, list(parents), [name])) + "\n"


SHAPES: dict[str, tuple[Commits, str]] = {
    "a line": (
        [("b", "a"), ("a", "")],
        """\
* b
* a
""",
    ),
    "two roots": (
        [("b", ""), ("a", "")],
        """\
* b
* a
""",
    ),
    "a merge": (
        [("m", "ab"), ("b", "r"), ("a", "r"), ("r", "")],
        """\
*   m
|\\
| * b
* | a
|/
* r
""",
    ),
    "an octopus": (
        [("o", "abc"), ("c", "r"), ("b", "r"), ("a", "r"), ("r", "")],
        """\
*-.   o
|\\ \\
| | * c
| * | b
| |/
* | a
|/
* r
""",
    ),
    "an octopus that others make room for": (
        [("m", "ox"), ("x", "r"), ("o", "abc"), ("c", "r"), ("b", "r"), ("a", "r"), ("r", "")],
        """\
*   m
|\\
| * x
|  \\
*-. |   o
|\\ \\ \\
| | * | c
| | |/
| * | b
| |/
* | a
|/
* r
""",
    ),
    "two branches from one commit": (
        [("b", "r"), ("a", "r"), ("r", "")],
        """\
* b
| * a
|/
* r
""",
    ),
    "a branch that passes below others": (
        [("w", "r"), ("x", "b"), ("y", "c"), ("z", "r"), ("c", "r"), ("b", "r"), ("r", "")],
        """\
* w
| * x
| | * y
| | | * z
| |_|/
|/| |
| | * c
| |/
|/|
| * b
|/
* r
""",
    ),
    "parents that do not come": (
        [("m", "ab"), ("b", "x")],
        """\
*   m
|\\
| * b
""",
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_is_drawn_as_git_draws_it(name: str) -> None:
    commits, drawn = SHAPES[name]

    assert draw(commits) == drawn


def test_text_of_several_lines_stands_beside_the_columns() -> None:
    graph = Graph()

    drawn = [*graph.draw("m", ["a", "b"], ["one", "", "two", "three"]), *graph.draw("b", ["a"], ["four", "five"])]

    assert drawn == [
        "*   one",
        "|\\  ",
        "| | two",
        "| | three",
        "| * four",
        "|/  five",
    ]


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, list[int]]]:
    """Commits and their parents, children before parents; parents beyond the end never come."""
    count = draw(st.integers(1, 14))
    history = []
    for number in range(count):
        after = st.integers(number + 1, count + 2)
        history.append((number, draw(st.lists(after, max_size=draw(st.sampled_from([1, 1, 2, 4])), unique=True))))
    return history


@given(histories())
def test_the_parents_of_each_commit_can_be_read_from_the_drawing(history: list[tuple[int, list[int]]]) -> None:
    graph = Graph()
    rows: list[str] = []
    places: list[int] = []
    for number, parents in history:
        lines = list(graph.draw(number, parents, []))
        places.append(len(rows) + next(at for at, line in enumerate(lines) if "*" in line))
        rows += lines

    for number, parents in history:
        if not parents:
            # Right below the first commit of a line, another line may begin.
            continue
        ends = {trace(rows, *start) for start in starts(rows, places[number])}
        reached = {places.index(row) for row in ends if row is not None}
        assert reached == {parent for parent in parents if parent < len(history)}
        assert (None in ends) == any(parent >= len(history) for parent in parents)


@given(histories())
def test_every_column_stands_under_the_one_above(history: list[tuple[int, list[int]]]) -> None:
    graph = Graph()
    for number, parents in history:
        for line in graph.draw(number, parents, []):
            assert line == line.rstrip()
            assert set(line[::2]) <= set("|* -._")
            assert set(line[1::2]) <= set("/\\ -_")


def at(rows: list[str], row: int, column: int) -> str:
    return rows[row][column : column + 1] if row < len(rows) and column >= 0 else ""


def starts(rows: list[str], row: int) -> list[tuple[int, int, str]]:
    """Return where the lines that lead on from the commit on *row* are at the next row: (row, column, direction)."""
    column = rows[row].index("*")
    below = row + 1
    if at(rows, below, column + 1) != "\\" or at(rows, below, column) != "|":
        return [(below, column, "|")]
    last = column
    while at(rows, row, last + 1) == "-":
        last += 2
    right = [(below + 1, one + 2, "\\") for one in range(column, last + 1, 2)]
    return [(below + 1, column, "|"), *right]


def trace(rows: list[str], row: int, column: int, direction: str) -> int | None:
    """Return the row of the commit that a line leads to, None if it leads out of the drawing."""
    while row < len(rows):
        here = at(rows, row, column)
        crosses = direction == "/" and at(rows, row, column - 1) == "/"
        if here == "*":
            return row
        if here == "|" and not crosses:
            direction = "|"
        elif at(rows, row, column - 1) == "/":
            column -= 2
            while at(rows, row, column - 1) == "_":
                column -= 2
            direction = "/"
        elif at(rows, row, column + 1) == "\\":
            column += 2
            direction = "\\"
        else:
            pytest.fail(f"a line ends on row {row}:\n" + "\n".join(rows))
        row += 1
    return None
