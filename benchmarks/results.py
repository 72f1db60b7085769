"""What was measured, as flat records in a file of one JSON object a line, and questions about it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from measure import middle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

__all__ = ["Record", "Results"]


@dataclass(frozen=True, slots=True)
class Record:
    """One answer of one tool in one round.

    *size* and *files* are the store's after it, *growth* is what it added, *overhead* what
    the tool keeps beside the store (caches, indexes); all but *files* in bytes. With an
    *error* the rest says nothing.
    """

    dataset: str
    tool: str
    question: str
    turn: int
    seconds: float = 0.0
    processor: float = 0.0
    memory: int = 0
    size: int = 0
    files: int = 0
    growth: int = 0
    overhead: int = 0
    error: str = ""


class Results:
    """Records and the medians over their rounds."""

    def __init__(self, records: Iterable[Record]) -> None:
        """Take over *records*."""
        self.records = list(records)

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read what `save` wrote."""
        return cls(Record(**json.loads(line)) for line in path.read_text().splitlines())

    def save(self, path: Path) -> None:
        """Add the records to the file *path*."""
        with path.open("a") as file:
            file.writelines(json.dumps(asdict(record)) + "\n" for record in self.records)

    def of(self, dataset: str, tool: str, question: str) -> list[Record]:
        """Return the records of all rounds, those that failed too."""
        wanted = (dataset, tool, question)
        return [record for record in self.records if (record.dataset, record.tool, record.question) == wanted]

    def median(
        self, dataset: str, tool: str, question: str, value: Callable[[Record], float] = lambda record: record.seconds
    ) -> float | None:
        """Return the median of *value* over the rounds that went well, or nothing where none did."""
        return middle([value(record) for record in self.of(dataset, tool, question) if not record.error])

    def failed(self, dataset: str, tool: str, question: str) -> bool:
        """Say whether a round of this ended with an error."""
        return any(record.error for record in self.of(dataset, tool, question))

    def peak(self, dataset: str, tool: str) -> int:
        """Return the largest memory of *tool* in any round and question, in bytes."""
        wanted = (dataset, tool)
        return max((record.memory for record in self.records if (record.dataset, record.tool) == wanted), default=0)

    def names(self, part: Callable[[Record], str]) -> list[str]:
        """Return the distinct values of *part*, in the order they came."""
        return list(dict.fromkeys(map(part, self.records)))
