"""What it takes to have a version to read, and to ask for it again.

A hundred thousand tiny files are pushed to a folder and got from there with `dsvc get`, beside `dsvc clone` with its
checkout. Promised: asking again takes under 0.3 s, and getting at most 1.5 times a clone. At another --scale the limits
are the same, so it says little.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from measure import default_work, note, run, table, workspace
from tools import dsvc_environment, dsvc_program

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["main"]

CLONE, GET, AGAIN = "clone + checkout, s", "get, s", "get again, s"
MOST_AGAIN = 0.3
MOST_OF_CLONE = 1.5


def answers(program: str, folder: Path, scale: float) -> Iterator[tuple[str, float]]:
    """Yield the figures of one round."""
    home, work = folder / "home", folder / "work"
    for made in (home, work, folder / "away"):
        made.mkdir()
    script = Path(__file__).with_name("generate.py")
    command = [sys.executable, str(script), "tiny", str(work / "data"), "--scale", str(scale)]
    subprocess.run(command, check=True)

    def dsvc(*words: str, cwd: Path = folder / "away") -> float:
        return run([program, *words], cwd=cwd, environment=dsvc_environment(home)).seconds

    for words in (["init"], ["add", "-A"], ["commit", "-m", "first"], ["push", "../origin", "main"]):
        dsvc(*words, cwd=work)
    yield CLONE, dsvc("clone", "../origin", "clone")
    yield GET, dsvc("get", "../origin#main")
    yield AGAIN, dsvc("get", "../origin#main")
    yield "get, from the repository, s", dsvc("get", "main", cwd=work)
    yield "get again, every byte hashed, s", dsvc("get", "../origin#main", "--verify")
    yield "get, a part of ten, s", dsvc("get", "../origin#main", "--part", "1/10")
    yield "get, copies in a folder, s", dsvc("get", "../origin#main", "--to", "copies")
    yield "get again, copies in a folder, s", dsvc("get", "../origin#main", "--to", "copies")
    yield "cache verify, s", dsvc("cache", "verify")


def measured(program: str, work: Path, *, scale: float, rounds: int) -> dict[str, float]:
    """Return the median of each figure."""
    taken: dict[str, list[float]] = {}
    for _ in range(rounds):
        with workspace(work) as folder:
            for name, value in answers(program, folder, scale):
                taken.setdefault(name, []).append(value)
    return {name: median(values) for name, values in taken.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dsvc", metavar="PATH", help="the dsvc to use")
    parser.add_argument("--scale", type=float, default=1.0, help="1 is 100,000 files")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=default_work(), help="folder to work in (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object: seconds by name")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    arguments = parser.parse_args()
    program = dsvc_program(arguments.dsvc)
    if program is None:
        note("dsvc: MISSING on this machine, not measured")
        sys.exit(1)
    seconds = measured(program, arguments.work, scale=arguments.scale, rounds=arguments.rounds)
    if arguments.json:
        print(json.dumps(seconds))
        return
    limits = {GET: MOST_OF_CLONE * seconds[CLONE], AGAIN: MOST_AGAIN}
    rows = [["figure", "measured", "at most", "verdict"]]
    for name, value in seconds.items():
        limit = limits.get(name)
        verdict = ["-", "-"] if limit is None else [f"{limit:.2f}", "kept" if value <= limit else "LOST"]
        rows.append([name, f"{value:.2f}", *verdict])
    print(table(rows, markdown=arguments.markdown))


if __name__ == "__main__":
    main()
