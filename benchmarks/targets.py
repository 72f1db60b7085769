"""What dsvc promises of its speed and size, each promise as a number to stay under.

Ratios are taken within one run, since machines differ: a promise knows only results.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from results import Results

__all__ = ["Verdict", "verdicts"]

PEERS = ("restic", "borg", "dvc", "oxen")
MANY_FILES = ("images", "tiny")
MEGABYTE = 1_000_000
MEMORY_LIMIT = 300 * MEGABYTE
TINY_STORE_LIMIT = 20 * MEGABYTE
SMALL_EDITS_LIMIT = 3 * MEGABYTE


@dataclass(frozen=True, slots=True)
class Verdict:
    """A promise, what it allows and what was found: nothing where a part of it was not measured."""

    promise: str
    dataset: str
    limit: float
    found: float | None

    @property
    def word(self) -> str:
        """Return kept, LOST or not measured."""
        if self.found is None:
            return "not measured"
        return "kept" if self.found <= self.limit else "LOST"


def verdicts(results: Results, dataset: str) -> Iterator[Verdict]:
    """Yield every promise that concerns *dataset*."""
    yield from first_version(results, dataset)
    for question in ("unchanged", "status"):
        found = share(results.median(dataset, "dsvc", question), results.median(dataset, "restic", "unchanged"))
        yield Verdict(f"{question}: under 1/4 of restic's unchanged", dataset, 1 / 4, found)
    yield Verdict(
        "1 % edit: under 1/3 of the fastest peer", dataset, 1 / 3, against_fastest(results, dataset, "edited")
    )
    yield Verdict(
        "clone: under 1/2 of the fastest restore", dataset, 1 / 2, against_fastest(results, dataset, "restore")
    )
    checks = results.median(dataset, "dsvc", "check"), results.median(dataset, "borg", "check")
    yield Verdict("full fsck: no slower than borg's", dataset, 1.0, share(*checks))
    memory = results.peak(dataset, "dsvc") or None
    yield Verdict("memory in MB", dataset, MEMORY_LIMIT / MEGABYTE, share(memory, MEGABYTE))
    if dataset == "tiny":
        size = results.median(dataset, "dsvc", "first", lambda record: record.size)
        yield Verdict("store of tiny in MB", dataset, TINY_STORE_LIMIT / MEGABYTE, share(size, MEGABYTE))
    if dataset == "table":
        growth = results.median(dataset, "dsvc", "small", lambda record: record.growth)
        yield Verdict(
            "growth for ten small edits in MB", dataset, SMALL_EDITS_LIMIT / MEGABYTE, share(growth, MEGABYTE)
        )


def first_version(results: Results, dataset: str) -> Iterator[Verdict]:
    """Yield the promises about init + add + commit."""
    own = results.median(dataset, "dsvc", "first")
    yield Verdict(
        "first: at most 1.5 of the floor", dataset, 1.5, share(own, results.median(dataset, "floor", "first"))
    )
    if dataset in MANY_FILES:
        fastest = against_fastest(results, dataset, "first")
        yield Verdict("first: at most 1/3 of the fastest peer", dataset, 1 / 3, fastest)
    else:
        borg, oxen = results.median(dataset, "borg", "first"), results.median(dataset, "oxen", "first")
        yield Verdict("first: at most 1/3 of borg", dataset, 1 / 3, share(own, borg))
        yield Verdict("first: at most 1.3 of Oxen", dataset, 1.3, share(own, oxen))


def against_fastest(results: Results, dataset: str, question: str) -> float | None:
    """Return the time of dsvc as a share of the fastest peer's."""
    times = [time for peer in PEERS if (time := results.median(dataset, peer, question)) is not None]
    return share(results.median(dataset, "dsvc", question), min(times, default=None))


def share(part: float | None, whole: float | None) -> float | None:
    """Return *part* divided by *whole*, or nothing where one of them is not there."""
    return part / whole if part is not None and whole else None
