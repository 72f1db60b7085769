"""Whether a change made dsvc faster or slower.

Installs two revisions, each in a virtual environment of its own, runs the same benchmark
of *this* working copy with both in turns, and prints the medians and their ratio. The revisions come
from `git archive`, so the working copy and its git state stay as they are.

    python benchmarks/compare.py main HEAD
    python benchmarks/compare.py v0.1.0 HEAD --benchmark peers -- images --scale 0.1

What follows `--` is passed on to the benchmark.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
import venv
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from measure import default_work, note, table, workspace
from results import Results

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["BENCHMARKS", "main"]

HERE = Path(__file__).resolve().parent
BENCHMARKS = ("startup", "engine", "million", "peers")


def export(revision: str, folder: Path) -> None:
    """Write the files of *revision* into *folder*."""
    with tempfile.TemporaryFile() as archive:
        command = ["git", "-C", str(HERE.parent), "archive", "--format=tar", revision]
        subprocess.run(command, check=True, stdout=archive)
        archive.seek(0)
        with tarfile.open(fileobj=archive) as tar:
            tar.extractall(folder, filter="data")


def install(revision: str, folder: Path) -> Path:
    """Install *revision* into an environment of its own in *folder* and return that environment's Python."""
    note(f"installing {revision}")
    export(revision, folder / "source")
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(folder / "source")]
    subprocess.run(command, check=True)
    return python


def figures(benchmark: str, python: Path, options: Sequence[str], work: Path) -> dict[str, float]:
    """Run *benchmark* once with the dsvc of *python* and return its figures by name."""
    # -E, or a PYTHONPATH that names the working copy would win over the revision.
    script = str(HERE / f"{benchmark}.py")
    if benchmark == "peers":
        return peer_figures(script, python, options, work)
    once = ["--rounds", "5" if benchmark in ("startup", "engine") else "1"]
    command = [str(python), "-E", script, "--json", "--work", str(work), *once, *options]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, float] = json.loads(output)
    return found


def peer_figures(script: str, python: Path, options: Sequence[str], work: Path) -> dict[str, float]:
    """Run peers.py with dsvc alone and return the seconds of every question it answered."""
    with workspace(work) as folder:
        records = folder / "records"
        command = [
            str(python),
            "-E",
            script,
            "--tools",
            "dsvc",
            "--rounds",
            "1",
            "--work",
            str(work),
            "--json",
            str(records),
        ]
        subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL)
        found = Results.load(records).records
    return {f"{record.dataset}: {record.question}": record.seconds for record in found if not record.error}


def main() -> None:
    """Compare the two revisions that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", help="a revision of this repository")
    parser.add_argument("new", help="another one")
    parser.add_argument("--benchmark", choices=BENCHMARKS, default="startup", help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each revision, in turns (default 3)")
    parser.add_argument("--work", type=Path, default=default_work(), help="folder to work in (default: %(default)s)")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    arguments = parser.parse_args(sys.argv[1:split])
    revisions = [arguments.old, arguments.new]
    taken: list[dict[str, list[float]]] = [{}, {}]
    with workspace(arguments.work) as work:
        pythons = [install(revision, work / str(number)) for number, revision in enumerate(revisions)]
        for turn in range(arguments.rounds):
            # Who goes first changes from round to round: the first one warms the machine up.
            for number in (0, 1) if turn % 2 == 0 else (1, 0):
                note(f"round {turn + 1} of {arguments.rounds}: {revisions[number]}")
                for name, value in figures(arguments.benchmark, pythons[number], sys.argv[split + 1 :], work).items():
                    taken[number].setdefault(name, []).append(value)
    old, new = ({name: median(values) for name, values in one.items()} for one in taken)
    rows = [[arguments.benchmark, *revisions, "new / old"]]
    for name in dict.fromkeys([*old, *new]):
        before, after = old.get(name), new.get(name)
        ratio = f"{after / before:.2f}" if before and after else "-"
        rows.append([name, *("-" if value is None else f"{value:.4g}" for value in (before, after)), ratio])
    print(table(rows, markdown=arguments.markdown))


if __name__ == "__main__":
    main()
