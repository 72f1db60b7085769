"""How fast the parts of the engine are, one by one.

Cutting, hashing, writing and finding objects, building, editing and comparing trees,
opening a log. Each case is small, runs in this process, and takes turns with the others;
the median of the rounds is printed with what one unit of work costs. Use it to see which part moved
when a command got slower; what people wait for is measured by peers.py and million.py.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from generate import annotation, random_bytes
from measure import default_work, note, table, workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["GROUPS", "Case", "main"]

# A case imports what it measures when it is asked for: compare.py also runs this on older revisions, which lack some.

BUFFER = 8 << 20
SMALL_OBJECTS = 50_000
ENTRIES = 100_000
EDITS = 1_000
LOG_ENTRIES = 500


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to time: *run* does *amount* units of work."""

    name: str
    amount: float
    unit: str
    run: Callable[[], object]


def chunking(_work: Path) -> Iterator[Case]:
    """Cut and hash one buffer of random bytes."""
    from blake3 import blake3

    from dsvc.chunking.fastcdc import Cutter

    data = random_bytes("engine/chunking", BUFFER)
    cutter = Cutter()
    megabytes = BUFFER / 1e6
    yield Case("cut 8 MiB", megabytes, "MB", lambda: cutter.cut(data, final=True))
    yield Case("hash 8 MiB", megabytes, "MB", lambda: blake3(data).digest())


def objects(work: Path) -> Iterator[Case]:
    """Write small objects to a database on disk, find them, find that others are absent."""
    from dsvc.model.ids import Kind, hash_object
    from dsvc.odb.database import ObjectDatabase
    from dsvc.odb.writer import DatabaseWriter
    from dsvc.storage.local import LocalBackend

    values = [annotation("engine/objects", number) for number in range(SMALL_OBJECTS)]
    present = [hash_object(Kind.CHUNK, value) for value in values]
    absent = [hash_object(Kind.CHUNK, value + b"absent") for value in values]

    def write() -> ObjectDatabase:
        backend = LocalBackend(Path(tempfile.mkdtemp(dir=work)))
        database = ObjectDatabase(backend)
        writer = DatabaseWriter(database, backend, generation=0)
        for value in values:
            writer.write(Kind.CHUNK, value)
        writer.seal()
        return database

    database = write()
    yield Case("write and seal small objects", SMALL_OBJECTS, "object", write)
    yield Case("find present ids", SMALL_OBJECTS, "id", lambda: [database.locate(key) for key in present])
    yield Case("find absent ids", SMALL_OBJECTS, "id", lambda: [database.locate(key) for key in absent])
    yield Case("read small objects", SMALL_OBJECTS, "object", lambda: database.read_many(Kind.CHUNK, present))


def trees(_work: Path) -> Iterator[Case]:
    """Build a tree, edit it, compare it, look paths up; objects are in memory."""
    from dsvc.history.diff import diff_trees
    from dsvc.history.tree import Tree
    from dsvc.model.ids import Kind, hash_object
    from dsvc.model.tree import Entry, EntryKind
    from dsvc.odb.objects import MemoryObjects

    def entry(number: int, version: bytes) -> Entry:
        path = b"images/%03d/%06d.jpg" % (number % 100, number)
        return Entry(path, EntryKind.FILE, number + 1, hash_object(Kind.CHUNK, version + path))

    store = MemoryObjects()

    def edits_of(numbers: range, version: bytes) -> list[tuple[bytes, Entry]]:
        made = [entry(number, version) for number in numbers]
        return [(one.path, one) for one in sorted(made, key=lambda one: one.path)]

    edits = edits_of(range(ENTRIES), b"1")
    # A step that shares no factor with the hundred folders, or all would fall into one of them.
    changed = edits_of(range(0, ENTRIES, ENTRIES // EDITS + 1), b"2")
    empty = Tree(store, None)
    tree = empty.apply(store, edits)
    other = tree.apply(store, changed)
    paths = [path for path, _ in edits[:: ENTRIES // EDITS]]
    yield Case("build a tree", ENTRIES, "entry", lambda: empty.apply(store, edits))
    yield Case("edit one entry", 1, "edit", lambda: tree.apply(store, changed[:1]))
    yield Case("edit scattered entries", len(changed), "edit", lambda: tree.apply(store, changed))
    yield Case("compare trees", len(changed), "difference", lambda: list(diff_trees(tree, other)))
    yield Case("walk a tree", ENTRIES, "entry", lambda: sum(1 for _ in tree.entries()))
    yield Case("look paths up together", len(paths), "path", lambda: tree.get_many(paths))


def log(work: Path) -> Iterator[Case]:
    """Append to a log and open it from nothing."""
    from dsvc.log.entry import RefChange, Transaction
    from dsvc.log.log import Log
    from dsvc.storage.local import LocalBackend

    nonces = map(str, count())

    def append(target: Log, number: int) -> None:
        ref = f"refs/heads/branch-{number}"
        made = Transaction(ops=[RefChange(ref=ref, old=None, new=f"{number:064x}")])

        target.commit(lambda _: made, actor="bench", time=number, command="bench", nonce=lambda: next(nonces))

    backend = LocalBackend(Path(tempfile.mkdtemp(dir=work)))
    long = Log.create(backend, store_id="bench")
    for number in range(LOG_ENTRIES):
        append(long, number)
    numbers = count(LOG_ENTRIES)
    yield Case(f"open a log of {LOG_ENTRIES}", 1, "log", lambda: Log(backend).head())
    yield Case("look at an open log", 1, "log", long.head)
    yield Case("append to a log", 1, "entry", lambda: append(long, next(numbers)))


GROUPS: dict[str, Callable[[Path], Iterator[Case]]] = {
    "chunking": chunking,
    "objects": objects,
    "trees": trees,
    "log": log,
}


def cases(groups: Sequence[str], work: Path) -> Iterator[Case]:
    """Yield the cases of *groups*; say which group this revision of dsvc cannot run."""
    for group in groups:
        try:
            yield from GROUPS[group](work)
        except ImportError as error:
            note(f"{group}: not measured, {error}")


def duration(seconds: float) -> str:
    """Return *seconds* in the unit that suits them."""
    for unit, length in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= length:
            return f"{seconds / length:.2f} {unit}"
    return f"{seconds / 1e-9:.0f} ns"


def main() -> None:
    """Time what the command line asks for and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="*", help=f"which of {', '.join(GROUPS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", type=Path, default=default_work(), help="folder to work in (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object: seconds by name")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    arguments = parser.parse_args()
    if unknown := set(arguments.groups) - set(GROUPS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    with workspace(arguments.work) as work:
        found = list(cases(arguments.groups or list(GROUPS), work))
        taken: dict[str, list[float]] = {case.name: [] for case in found}
        for _ in range(arguments.rounds):
            for case in found:
                begin = time.perf_counter()
                case.run()
                taken[case.name].append(time.perf_counter() - begin)
    seconds = {name: median(values) for name, values in taken.items()}
    if arguments.json:
        print(json.dumps(seconds))
        return
    rows = [["case", "units", "all", "one unit"]]
    for case in found:
        each = duration(seconds[case.name] / case.amount)
        rows.append([case.name, f"{case.amount:.0f}", duration(seconds[case.name]), f"{each} per {case.unit}"])
    print(table(rows, markdown=arguments.markdown))


if __name__ == "__main__":
    main()
