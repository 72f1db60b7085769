"""How fast dsvc is beside its peers, and beside the least that Python can do.

For each data set and tool: a first version, nothing changed, ten small edits (table), 1 %
edited, restore (dsvc: clone with checkout), full check; peak memory and size of the store.
Every tool and round begins with a fresh copy of the data set in a fresh folder, on a RAM
disk if there is one, with the page cache warm; tools take turns within a round, so that
what disturbs one disturbs all. Prints the commands, medians over the rounds, the ratios
that dsvc promises, and which of the promises are lost.

A tool that is not on this machine is named as missing. Peers: restic and borg from the
system's packages, DVC and Oxen from PyPI (`pip install dvc`; `pip install oxenai`, whose
Python is given with --oxen since it brings no command).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from generate import DATASETS
from measure import CommandFailedError, Footprint, Measurement, default_work, footprint, note, run, table, workspace
from results import Record, Results
from targets import verdicts
from tools import QUESTIONS, Tool, known_tools

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tools import Command

__all__ = ["main", "measure_dataset", "report"]

LARGE_FILES = ("table", "blob")
COMPARED = tuple(name for name in DATASETS if name != "flat")
TOOLS = ("floor", "dsvc", "restic", "borg", "dvc", "oxen")
EDITED = {"small": "small", "edited": "one-percent"}
MEGABYTE = 1_000_000


# Measuring -------------------------------------------------------------------------------


def generator(dataset: str, folder: Path, scale: float, *options: str) -> None:
    """Write or edit the data set in a process of its own, whose memory then is not ours."""
    script = Path(__file__).with_name("generate.py")
    command = [sys.executable, str(script), dataset, str(folder), "--scale", str(scale), *options]
    subprocess.run(command, check=True)


def measure_dataset(dataset: str, tools: Sequence[Tool], work: Path, *, scale: float, rounds: int) -> Iterator[Record]:
    """Yield what each of *tools* takes for *dataset*, round after round."""
    with workspace(work) as folder:
        generator(dataset, folder / "pristine", scale)
        for turn in range(rounds):
            # Another one goes first in each round: the first finds memory that the last data set left cold.
            first = turn % len(tools)
            for tool in [*tools[first:], *tools[:first]]:
                note(f"{dataset}, round {turn + 1} of {rounds}: {tool.name}")
                with workspace(folder) as place:
                    yield from Round(tool, dataset, place, turn, scale).answers(folder / "pristine")


class Round:
    """One tool that answers every question about one data set once."""

    def __init__(self, tool: Tool, dataset: str, place: Path, turn: int, scale: float) -> None:
        """Be ready to work in the fresh folder *place*."""
        self.tool, self.dataset, self.place, self.turn, self.scale = tool, dataset, place, turn, scale
        self.data = place / "work" / "data"
        self.size = 0

    def answers(self, pristine: Path) -> Iterator[Record]:
        """Yield a record for each question that the tool answers, up to the first that fails."""
        for name in ("work", "restored", "home", "tmp"):
            (self.place / name).mkdir()
        shutil.copytree(pristine, self.data)
        try:
            self.run(self.tool.prepare, "prepare")
        except CommandFailedError as error:
            yield self.failure("first", error)
            return
        self.size = self.store().size
        for question in QUESTIONS:
            if question not in self.tool.answers or (question == "small" and self.dataset != "table"):
                continue
            try:
                yield self.answer(question)
            except CommandFailedError as error:
                yield self.failure(question, error)
                return

    def answer(self, question: str) -> Record:
        """Set the scene for *question*, let the tool answer it and say what it took."""
        if question in EDITED:
            generator(self.dataset, self.data, self.scale, "--edit", EDITED[question])
        self.run(self.tool.before.get(question, ()), question)
        taken = self.restore() if question == "restore" else self.run(self.tool.answers[question], question)
        store, before = self.store(), self.size
        self.size = store.size
        overhead = sum(footprint(Path(path.format(place=self.place))).size for path in self.tool.caches)
        return Record(
            self.dataset,
            self.tool.name,
            question,
            self.turn,
            taken.seconds,
            taken.processor,
            taken.memory,
            store.size,
            store.files,
            store.size - before,
            overhead,
        )

    def restore(self) -> Measurement:
        """Let the tool restore and check that as many files and bytes came back as there were.

        Raises:
            CommandFailedError: They did not.
        """
        expected = footprint(self.data)
        if self.tool.in_place:
            self.data.rename(self.place / "taken-away")
        taken = self.run(self.tool.answers["restore"], "restore")
        found = footprint(Path(self.tool.restored.format(place=self.place)))
        if found != expected:
            message = f"{self.tool.name} restored {found}, not {expected}"
            raise CommandFailedError(message)
        return taken

    def run(self, commands: Sequence[Command], label: str) -> Measurement:
        """Run *commands* one after another and measure them together."""
        total = Measurement(0.0, 0.0, 0)
        environment = self.tool.environment_at(self.place)
        for command in commands:
            argv, cwd = command.at(self.place, label)
            total += run(argv, cwd=cwd, environment=environment)
        return total

    def store(self) -> Footprint:
        """Return what the store holds now."""
        return footprint(Path(self.tool.store.format(place=self.place)))

    def failure(self, question: str, error: Exception) -> Record:
        """Return the record of an answer that failed."""
        note(str(error))
        return Record(self.dataset, self.tool.name, question, self.turn, error=str(error))


# Reporting -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Figure:
    """A row of a table: the median of *value* over what *question* took, written as *form*."""

    title: str
    question: str
    value: Callable[[Record], float]
    form: str = ".2f"

    def cell(self, results: Results, dataset: str, tool: str) -> str:
        """Return it for one tool: a dash where the tool has no answer."""
        if results.failed(dataset, tool, self.question):
            return "failed"
        found = results.median(dataset, tool, self.question, self.value)
        return "-" if found is None else format(found, self.form)


FIGURES = (
    *(Figure(f"{title}, s", question, lambda record: record.seconds) for question, title in QUESTIONS.items()),
    Figure("store, MB", "first", lambda record: record.size / MEGABYTE, ".1f"),
    Figure("files in the store", "first", lambda record: record.files, ".0f"),
    Figure("growth, ten small edits, MB", "small", lambda record: record.growth / MEGABYTE),
    Figure("growth, 1 % edited, MB", "edited", lambda record: record.growth / MEGABYTE),
    Figure("kept beside the store, MB", "first", lambda record: record.overhead / MEGABYTE, ".1f"),
    Figure("first version, processor s", "first", lambda record: record.processor),
)


def figures(results: Results, dataset: str, tools: Sequence[str], *, markdown: bool) -> str:
    """Return the table of seconds, sizes and memory of *dataset*, one column for each of *tools*."""
    rows = [[dataset, *tools]]
    for figure in FIGURES:
        cells = [figure.cell(results, dataset, tool) for tool in tools]
        if set(cells) != {"-"}:
            rows.append([figure.title, *cells])
    rows.append(["peak memory, MB", *(f"{results.peak(dataset, tool) / MEGABYTE:.0f}" for tool in tools)])
    return table(rows, markdown=markdown)


def promises(results: Results, datasets: Sequence[str], *, markdown: bool) -> str:
    """Return the table of what dsvc promises and what was found."""
    rows = [["promise", "data set", "at most", "found", "verdict"]]
    for dataset in datasets:
        for verdict in verdicts(results, dataset):
            found = "-" if verdict.found is None else f"{verdict.found:.2f}"
            rows.append([verdict.promise, dataset, f"{verdict.limit:.2f}", found, verdict.word])
    return table(rows, markdown=markdown)


def report(results: Results, *, markdown: bool) -> str:
    """Return all tables."""
    datasets = results.names(lambda record: record.dataset)
    present = results.names(lambda record: record.tool)
    tools = [tool for tool in TOOLS if tool in present]
    parts = [figures(results, dataset, tools, markdown=markdown) for dataset in datasets]
    return "\n\n".join([*parts, promises(results, datasets, markdown=markdown)])


def print_tools(tools: dict[str, Tool | None]) -> None:
    """Print which tools there are, their versions and their commands, and which are missing."""
    for name, tool in tools.items():
        if tool is None:
            print(f"{name}: MISSING on this machine, not measured")
            continue
        print(f"{name}: {tool.version}")
        parts = {"before the clock": tool.prepare, **tool.answers}
        for question, commands in parts.items():
            for command in [*tool.before.get(question, ()), *commands]:
                print(f"    {question:16}  {' '.join(command.argv)}")


# The command line --------------------------------------------------------------------------


def arguments_from(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Declare and read the options."""
    parser.add_argument("datasets", nargs="*", help=f"which of {', '.join(COMPARED)} (default: all)")
    parser.add_argument("--tools", default=",".join(TOOLS), help="which tools, with commas (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="size of the data sets (default 1)")
    parser.add_argument("--work", type=Path, default=default_work(), help="folder to work in (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="add the records to this file, one a line")
    parser.add_argument("--saved", type=Path, help="measure nothing, print what this file of records says")
    parser.add_argument("--markdown", action="store_true", help="print tables as Markdown")
    for name in TOOLS[1:]:
        what = "the Python that has oxenai" if name == "oxen" else f"the {name} to use"
        parser.add_argument(f"--{name}", metavar="PATH", help=what)
    arguments = parser.parse_args()
    if unknown := (set(arguments.datasets) - set(COMPARED)) | (set(arguments.tools.split(",")) - set(TOOLS)):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    return arguments


def main() -> None:
    """Measure what the command line asks for and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments = arguments_from(parser)
    if arguments.saved:
        print(report(Results.load(arguments.saved), markdown=arguments.markdown))
        return
    paths = {name: getattr(arguments, name) for name in TOOLS[1:]}
    wanted = arguments.tools.split(",")
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} at the start, working in {arguments.work}")
    records: list[Record] = []
    for number, dataset in enumerate(arguments.datasets or COMPARED):
        tools = known_tools(paths, large_files=dataset in LARGE_FILES)
        chosen = {name: tools[name] for name in wanted}
        if number == 0:
            print_tools(chosen)
        there = [tool for tool in chosen.values() if tool]
        for record in measure_dataset(dataset, there, arguments.work, scale=arguments.scale, rounds=arguments.rounds):
            records.append(record)
            if arguments.json:
                Results([record]).save(arguments.json)
    print(f"load {os.getloadavg()[0]:.1f} at the end\n")
    print(report(Results(records), markdown=arguments.markdown))


if __name__ == "__main__":
    main()
