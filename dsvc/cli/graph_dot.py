"""The lineage as a text for graphviz."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from dsvc.cli.console import printable

if TYPE_CHECKING:
    from dsvc.cli.graph import Node

__all__ = ["draw"]


def draw(nodes: "Sequence[Node]") -> Iterator[str]:
    """Yield the lines of a directed graph: from what something was made of to what was made of it."""
    yield "digraph lineage {"
    yield "  rankdir=LR;"
    yield '  node [shape=box, style=rounded, fontname="sans-serif", fontsize=11];'
    yield '  edge [fontname="sans-serif", fontsize=9];'
    for node in nodes:
        title = ", ".join(node.refs) or node.name
        subject = [] if node.commit is None else [node.commit.subject]
        label = _quoted(title, *subject, ", ".join(node.figures()), node.version.id.short)
        dashes = ', style="rounded,dashed"' if node.commit is None else ""
        yield f"  {_id(node.version.id)} [label={label}{dashes}];"
    for node in nodes:
        to = _id(node.version.id)
        for edge in node.version.parents:
            yield f"  {_id(edge.target)} -> {to};"
        for edge in node.version.inputs:
            yield f"  {_id(edge.target)} -> {to} [style=dashed, tooltip={_quoted(edge.name)}];"
    yield "}"


def _id(commit_id: bytes) -> str:
    # Quoted, or what begins with digits would be read as a number.
    return f'"{commit_id.hex()}"'


def _quoted(*lines: str) -> str:
    """Return *lines* as graphviz reads them, however strange: in its strings, a backslash begins an escape."""
    escaped = (printable(line).replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return '"' + "\\n".join(escaped) + '"'
