"""The lineage as a drawing: one version a row, the newest at the top, and lines in lanes beside them.

Each line has a lane of its own from the row below what was made to the row of what it was made from, so the work grows
with the number of lines, and nothing crosses the text. Inputs are dashed. Colours tell datasets apart, and follow the
reader's choice of light or dark.
"""

from collections.abc import Iterator, Mapping, Sequence
from heapq import heappop, heappush
from html import escape
from typing import TYPE_CHECKING, Final, NamedTuple

from dsvc.cli.console import printable
from dsvc.model.ids import ObjectId

if TYPE_CHECKING:
    from dsvc.cli.graph import Node

__all__ = ["draw"]

_ROW: Final = 46
_LANE: Final = 18
_MARGIN: Final = 20
# Letters are about half as wide as high; a text that is cut ends there.
_LETTER: Final = 7.2
_LONGEST: Final = 110
# Told apart by most people who see few colours (Okabe and Ito, 2008).
_COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b08900", "#56b4e9", "#7f7f7f")

_STYLE: Final = "\n".join(
    [
        "svg { background: #ffffff; color: #1f2328; font-family: system-ui, sans-serif; }",
        "text { fill: currentColor; font-size: 13px; }",
        ".name { font-weight: 600; }",
        ".more { font-size: 12px; opacity: 0.7; }",
        "path { fill: none; stroke-width: 2; }",
        ".input { stroke-dasharray: 4 4; }",
        *(
            f"path.c{number} {{ stroke: {colour}; }} circle.c{number} {{ stroke: {colour}; fill: {colour}; }}"
            for number, colour in enumerate(_COLOURS)
        ),
        "circle.elsewhere { fill: none; stroke-width: 2; stroke-dasharray: 3 2; }",
        "@media (prefers-color-scheme: dark) { svg { background: #0d1117; color: #e6edf3; } }",
    ]
)


class _Line(NamedTuple):
    """A line in *lane*, from the row and lane of what was made down to the row of what it was made from."""

    row: int
    start: int
    lane: int
    target: ObjectId
    is_input: bool
    colour: int


def draw(nodes: "Sequence[Node]") -> Iterator[str]:
    """Yield the lines of an SVG document."""
    colours: dict[str, int] = {}
    for node in nodes:
        colours.setdefault(node.dataset, len(colours) % len(_COLOURS))
    lanes, lines, width = _lay_out(nodes, colours)
    rows = {node.version.id: row for row, node in enumerate(nodes)}
    texts = [_texts(node) for node in nodes]
    left = 2 * _MARGIN + width * _LANE
    longest = max((len(text) for pair in texts for text in pair), default=0)
    size = f'width="{left + longest * _LETTER + _MARGIN:.0f}" height="{len(nodes) * _ROW + _MARGIN}"'
    yield f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {size}>'
    yield "<title>Lineage of datasets</title>"
    yield f"<style>\n{_STYLE}\n</style>"
    for line in lines:
        end = rows[line.target]
        kind = " input" if line.is_input else ""
        yield f'<path class="c{line.colour}{kind}" d="{_path(line, end, lanes[end])}"/>'
    for row, (node, (name, more)) in enumerate(zip(nodes, texts, strict=True)):
        y = _y(row)
        kind = " elsewhere" if node.commit is None else ""
        yield f"<g><title>{node.version.id.hex()}</title>"
        yield f'<circle class="c{colours[node.dataset]}{kind}" cx="{_x(lanes[row])}" cy="{y}" r="6"/>'
        yield f'<text class="name" x="{left}" y="{y - 2}">{_escaped(name)}</text>'
        yield f'<text class="more" x="{left}" y="{y + 15}">{_escaped(more)}</text></g>'
    yield "</svg>"


def _lay_out(nodes: "Sequence[Node]", colours: Mapping[str, int]) -> tuple[list[int], list[_Line], int]:
    """Return the lane of each node, the lines between them, and how many lanes there are."""
    places: list[int] = []
    lines: list[_Line] = []
    lanes = _Lanes()
    # The lanes on their way to a version: of what goes on from it, and of what names it as an input.
    leading: dict[tuple[ObjectId, bool], int] = {}
    for row, node in enumerate(nodes):
        version = node.version
        ending = sorted(leading.pop(key) for key in ((version.id, False), (version.id, True)) if key in leading)
        own = ending[0] if ending else lanes.take()
        for lane in ending[1:]:
            lanes.free(lane)
        places.append(own)
        goes_on = False
        for edge, is_input in [*((one, False) for one in version.parents), *((one, True) for one in version.inputs)]:
            key = (edge.target, is_input)
            if key not in leading:
                leading[key] = lanes.take() if goes_on else own
                goes_on = True
            lines.append(_Line(row, own, leading[key], edge.target, is_input, colours[node.dataset]))
        if not goes_on:
            lanes.free(own)
    return places, lines, lanes.width


class _Lanes:
    """Lanes that are taken and given back; the leftmost one that is free is taken first."""

    def __init__(self) -> None:
        self.width = 0
        self._free: list[int] = []

    def take(self) -> int:
        if self._free:
            return heappop(self._free)
        self.width += 1
        return self.width - 1

    def free(self, lane: int) -> None:
        heappush(self._free, lane)


def _path(line: _Line, end: int, lane: int) -> str:
    """Return the line as SVG draws it: over to its lane, straight down, and over to where it ends."""
    start, below = _y(line.row), _y(line.row + 1)
    moved = f"M{_x(line.start)} {start}"
    if end == line.row + 1:
        return moved + _curve(_x(line.start), start, _x(lane), below)
    above = _y(end - 1)
    over = _curve(_x(line.start), start, _x(line.lane), below)
    return f"{moved}{over}V{above}{_curve(_x(line.lane), above, _x(lane), _y(end))}"


def _curve(x: int, y: int, to_x: int, to_y: int) -> str:
    if x == to_x:
        return f"V{to_y}"
    middle = (y + to_y) // 2
    return f"C{x} {middle} {to_x} {middle} {to_x} {to_y}"


def _x(lane: int) -> int:
    return _MARGIN + lane * _LANE


def _y(row: int) -> int:
    return _MARGIN + row * _ROW


def _texts(node: "Node") -> tuple[str, str]:
    """Return the two lines of text beside a version."""
    name = ", ".join(node.refs) or node.name
    more = " \N{MIDDLE DOT} ".join([*node.figures(), node.version.id.short])
    return _cut(name if node.commit is None else f"{name}  {node.commit.subject}"), _cut(more)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _escaped(text: str) -> str:
    return escape(printable(text))
