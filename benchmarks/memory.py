"""What memory push, fetch and clone take, however much travels.

Pushes very many tiny files, or with --large a file of some GB and many small ones, to a folder, clones that with and
without files, and with --far does the same with S3, through a line that delays all that is sent to it. The server is
one that the tests install: `python -m tests.servers`. Promised: under 400 MB, summed over the processes alive at once.
What is mapped from files is told, and does not count: the index is, and the system takes that back when it needs it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from generate import generate
from measure import default_work, note, table, workspace
from remotes import Bench, dsvc_repository, far_store
from tools import dsvc_program

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LIMIT", "main"]

LIMIT = 400
MEGABYTE = 1_000_000


def travel(bench: Bench, program: str, more: Mapping[str, str], remote: str, place: str) -> None:
    """Push the data to *remote*, which is called *place*, and clone it in two ways."""
    work, environment = dsvc_repository(bench, program, more, remote)
    bench.do([program, "push", "-q", "origin", "main"], work, environment, f"{place}: push")
    bare = [program, "clone", "-q", "--bare", remote, str(bench.place / "bare")]
    bench.do(bare, bench.place, environment, f"{place}: clone of all data, without files")
    clone = [program, "clone", "-q", remote, str(bench.place / "clone")]
    bench.do(clone, bench.place, environment, f"{place}: clone with files")


def report(bench: Bench) -> str:
    """Return a table of what was held at most."""
    rows = [["MB", "own", "with what is mapped", "under", "verdict"]]
    for name, measured in bench.runs.items():
        own, resident = max(one.own for one in measured), max(one.memory for one in measured)
        verdict = "kept" if own < LIMIT * MEGABYTE else "LOST"
        rows.append([name, f"{own / MEGABYTE:.0f}", f"{resident / MEGABYTE:.0f}", f"{LIMIT}", verdict])
    return table(rows)


def main() -> None:
    """Measure what the command line asks for and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true", help="6 GB in one file and 300,000 small ones")
    parser.add_argument("--far", action="store_true", help="S3 behind a long line, not folders")
    parser.add_argument("--scale", type=float, default=1.0, help="of a million files, or of the 6 GB and more")
    parser.add_argument("--work", type=Path, default=default_work())
    parser.add_argument("--dsvc", metavar="PATH")
    arguments = parser.parse_args()
    program = dsvc_program(arguments.dsvc)
    if program is None:
        parser.error("there is no dsvc")
    with workspace(arguments.work) as data, workspace(arguments.work) as place:
        note("making files")
        for name, scale in (("blob", 6), ("tiny", 3)) if arguments.large else (("flat", 1),):
            generate(name, data / name, scale=scale * arguments.scale)
        bench = Bench(place, data)
        if arguments.far:
            with far_store(place) as store:
                travel(bench, program, store, "s3://bench/dsvc", "S3")
        else:
            travel(bench, program, {}, str(place / "remote"), "folder")
        print(report(bench))


if __name__ == "__main__":
    main()
