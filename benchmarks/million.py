"""Whether a million files in one folder work, and what they take.

Adds 1,000,000 tiny files in one flat folder, commits them, asks for the status, changes
one file and commits that; then merges two branches that have each changed one file. Promised: add under 20 s, status
under 6 s, the merge under 2 s, the one-file commit writes under 300 KB, memory under 700 MB. At another --scale the
limits are the same, so it says little.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from measure import default_work, footprint, note, run, table, workspace
from tools import dsvc_environment, dsvc_program

from dsvc.history.commits import Commits
from dsvc.history.merge import merge_trees
from dsvc.history.walk import merge_bases
from dsvc.log.log import Log
from dsvc.model.ids import Kind, ObjectId
from dsvc.odb.database import ObjectDatabase
from dsvc.odb.objects import MemoryObjects
from dsvc.storage.local import LocalBackend

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["LIMITS", "main"]

MEGABYTE = 1_000_000
LIMITS = {
    "add, s": 20.0,
    "commit, s": None,
    "status, s": 6.0,
    "add again, nothing changed, s": None,
    "add one changed file by name, s": None,
    "commit one changed file, s": None,
    "written for one changed file, KB": 300.0,
    "merge two branches of one changed file, s": 2.0,
    "pages read to merge them": None,
    "store, MB": None,
    "peak memory, MB": 700.0,
}


@dataclass(frozen=True, slots=True)
class Flat:
    """A worktree with all files in one folder, and the dsvc to use in it."""

    program: str
    work: Path
    home: Path
    scale: float

    def generate(self, *options: str) -> None:
        """Write or edit the files, in a process of its own."""
        script = Path(__file__).with_name("generate.py")
        command = [sys.executable, str(script), "flat", str(self.work / "data"), "--scale", str(self.scale), *options]
        subprocess.run(command, check=True)

    def answers(self) -> Iterator[tuple[str, float]]:
        """Yield every figure of one round, as named in LIMITS."""
        memory = 0

        def dsvc(*words: str) -> float:
            nonlocal memory
            taken = run([self.program, *words], cwd=self.work, environment=dsvc_environment(self.home))
            memory = max(memory, taken.memory)
            return taken.seconds

        dsvc("init")
        yield "add, s", dsvc("add", "-A")
        yield "commit, s", dsvc("commit", "-m", "a million")
        yield "status, s", dsvc("status")
        yield "add again, nothing changed, s", dsvc("add", "-A")
        store = self.work / ".dsvc" / "store"
        before = footprint(store).size
        yield "store, MB", before / MEGABYTE
        changed = self.change_one()
        yield "add one changed file by name, s", dsvc("add", changed)
        yield "commit one changed file, s", dsvc("commit", "-m", "one")
        yield "written for one changed file, KB", (footprint(store).size - before) / 1000
        names = sorted(entry.name for entry in os.scandir(self.work / "data"))
        dsvc("branch", "topic")
        for branch, name in (("main", names[len(names) // 10]), ("topic", names[-len(names) // 10])):
            dsvc("switch", branch)
            (self.work / "data" / name).write_text(f"changed on {branch}\n")
            dsvc("add", f"data/{name}")
            dsvc("commit", "-m", branch)
        dsvc("switch", "main")
        yield "pages read to merge them", pages_to_merge(store)
        yield "merge two branches of one changed file, s", dsvc("merge", "topic")
        yield "peak memory, MB", memory / MEGABYTE

    def change_one(self) -> str:
        """Change one file and return its path in the worktree."""
        before = {entry.name: entry.stat().st_mtime_ns for entry in os.scandir(self.work / "data")}
        self.generate("--edit", "one-file")
        after = ((entry.name, entry.stat().st_mtime_ns) for entry in os.scandir(self.work / "data"))
        return next(f"data/{name}" for name, changed in after if before[name] != changed)


def pages_to_merge(folder: Path) -> int:
    """Return how many pages of trees a merge of topic into main reads."""
    backend = LocalBackend(folder)
    state = Log(backend).head()
    objects = Counting(ObjectDatabase(backend, packs=state.packs, segments=state.segments))
    commits = Commits(objects)
    ours, theirs = (ObjectId.from_hex(state.refs[f"refs/heads/{name}"].value) for name in ("main", "topic"))
    base = merge_bases(commits, theirs, ours)[0]
    trees = [commits.tree(one) for one in (base, ours, theirs)]
    trees[1].apply(MemoryObjects(), merge_trees(*trees).edits)
    return objects.pages


class Counting:
    """Reads objects, and counts the pages among them."""

    def __init__(self, objects: ObjectDatabase) -> None:
        self._objects = objects
        self.pages = 0

    def read(self, kind: int, object_id: bytes) -> bytes:
        """Return an object."""
        self.pages += kind == Kind.PAGE
        return self._objects.read(kind, object_id)

    def read_many(self, kind: int, object_ids: Sequence[bytes]) -> list[bytes]:
        """Return several objects."""
        self.pages += len(object_ids) * (kind == Kind.PAGE)
        return self._objects.read_many(kind, object_ids)


def measured(program: str, work: Path, *, scale: float, rounds: int) -> dict[str, float]:
    """Return the median of every figure over the rounds, each in a fresh folder."""
    found: dict[str, list[float]] = {}
    for turn in range(rounds):
        note(f"round {turn + 1} of {rounds}")
        with workspace(work) as place:
            flat = Flat(program, place / "work", place / "home", scale)
            flat.work.mkdir()
            flat.home.mkdir()
            flat.generate()
            for name, value in flat.answers():
                found.setdefault(name, []).append(value)
    return {name: median(found[name]) for name in LIMITS}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dsvc", metavar="PATH", help="the dsvc to use")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the million (default 1)")
    parser.add_argument("--work", type=Path, default=default_work(), help="folder to work in (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object: figures by name")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    arguments = parser.parse_args()
    program = dsvc_program(arguments.dsvc)
    if program is None:
        note("dsvc: MISSING on this machine, not measured")
        sys.exit(1)
    figures = measured(program, arguments.work, scale=arguments.scale, rounds=arguments.rounds)
    if arguments.json:
        print(json.dumps(figures))
        return
    rows = [["figure", "found", "under", "verdict"]]
    for name, limit in LIMITS.items():
        verdict = ["-", "-"] if limit is None else [f"{limit:.0f}", "kept" if figures[name] < limit else "LOST"]
        rows.append([name, f"{figures[name]:.2f}", *verdict])
    print(table(rows, markdown=arguments.markdown))


if __name__ == "__main__":
    main()
