"""The small dataset of the demonstration: the same bytes on every machine."""

import json
import os
import random
from pathlib import Path
from typing import Final

__all__ = ["edit_dataset", "make_dataset", "same_files"]

_ROWS: Final = 40_000
_ANNOTATIONS: Final = 1_500
_IMAGES: Final = 24

# Not for secrets: the same dataset each time is what it is for.
_random = random.Random(2026)  # noqa: S311


def make_dataset(folder: Path) -> None:
    """Write a table, annotations and binary files into the new *folder*."""
    for name in ("images", "annotations"):
        (folder / name).mkdir(parents=True)
    with (folder / "readings.csv").open("w", encoding="utf-8", newline="\n") as table:
        table.write("time,sensor,temperature,humidity\n")
        table.writelines(map(_row, range(_ROWS)))
    for number in range(_ANNOTATIONS):
        _write_annotation(folder, number)
    for number in range(_IMAGES):
        (folder / "images" / f"{number:04}.bin").write_bytes(_random.randbytes(_random.randrange(40_000, 200_000)))
    script = folder / "convert.sh"
    script.write_text("#!/bin/sh\nsort readings.csv\n", "utf-8")
    script.chmod(0o755)
    (folder / "latest.csv").symlink_to("readings.csv")


def _row(number: int) -> str:
    temperature, humidity = _random.gauss(20, 4), _random.uniform(30, 90)
    time = f"2026-08-{number // 1440 % 28 + 1:02}T{number // 60 % 24:02}:{number % 60:02}"
    return f"{time},s{number % 7},{temperature:.2f},{humidity:.1f}\n"


def _write_annotation(folder: Path, number: int) -> None:
    box = [_random.randrange(0, 1000) for _ in range(4)]
    record = {"image": f"{number % _IMAGES:04}", "label": _random.choice(["cat", "dog", "bird"]), "box": box}
    (folder / "annotations" / f"{number:05}.json").write_text(json.dumps(record) + "\n", "utf-8")


def edit_dataset(folder: Path) -> None:
    """Do what people do to a dataset: change rows, relabel, add, remove and move files."""
    table = folder / "readings.csv"
    rows = table.read_text("utf-8").splitlines(keepends=True)
    middle = len(rows) // 2
    rows[middle : middle + 20] = [row.replace("s", "t", 1) for row in rows[middle : middle + 20]]
    rows.append("2026-09-01T00:00,s9,19.50,50.0\n")
    table.write_text("".join(rows), "utf-8", newline="\n")
    for number in range(0, _ANNOTATIONS, 100):
        _write_annotation(folder, number)
    (folder / "images" / "9999.bin").write_bytes(_random.randbytes(100_000))
    (folder / "images" / "0003.bin").unlink()
    (folder / "convert.sh").rename(folder / "sort.sh")


def same_files(one: Path, other: Path) -> tuple[int, int] | None:
    """Return how many files and bytes two folders have, None unless both have the same in every byte and bit."""
    left, right = _contents(one), _contents(other)
    if left != right:
        return None
    return len(left), sum(len(content) for _, _, content in left.values())


def _contents(folder: Path) -> dict[str, tuple[bool, bool, bytes]]:
    """Return of each file whether it is a link, whether it can be run, and its content."""
    found = {}
    for above, folders, names in os.walk(folder):
        if ".dsvc" in folders:
            folders.remove(".dsvc")
        for name in names:
            path = Path(above, name)
            link = path.is_symlink()
            content = os.fsencode(path.readlink()) if link else path.read_bytes()
            found[str(path.relative_to(folder))] = link, not link and os.access(path, os.X_OK), content
    return found
