"""Data sets to measure with, and the edits made to them.

Every byte comes from BLAKE3 in its extendable mode, keyed by the seed, the data
set and the place, so a data set is the same on every machine and with every Python
and needs no download. It knows nothing of the tools that will read it.

The data sets at scale 1:

    images  10,000 files of random bytes, 8 to 96 KiB, 532 MB, in 100 folders
    tiny    100,000 JSON annotations of about 270 bytes, 27 MB, in 100 folders
    table   one CSV of sensor readings, 480 MB
    blob    one file of 1 GiB of random bytes
    flat    1,000,000 JSON files of about 50 bytes in one folder

The edits:

    one-percent  images, tiny, flat: every hundredth file gets new content, of another
                 length; table: one run of rows, 1 % of the file at 40 % of its length,
                 gets new readings; blob: 1 % of the bytes at 40 % are overwritten and
                 7 bytes are inserted at 70 %
    small        table only: ten edits of one row each, spread over the file: five rows
                 inserted, five changed
    one-file     images, tiny, flat: one file gets new content
"""

from __future__ import annotations

import argparse
import json
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from blake3 import blake3

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["DATASETS", "EDITS", "edit", "generate", "main"]

DEFAULT_SEED = 2026
BLOCK = 4 << 20
TABLE_BYTES = 480_000_000
BLOB_BYTES = 1 << 30
ROW_BLOCK = 10_000
ROW_HEADER = b"id,time,sensor,latitude,longitude,temperature,humidity,pressure,status\n"
LABELS = ("car", "person", "bicycle", "traffic light", "dog", "bus", "truck", "bench")
STATUSES = ("ok", "ok", "ok", "ok", "ok", "ok", "late", "drift", "recalibrated", "missing")
INSERTED = 7
SMALL_EDITS = 10


def random_bytes(key: str, length: int, offset: int = 0) -> bytes:
    """Return *length* bytes of the endless stream that *key* names, from *offset*."""
    return blake3(key.encode()).digest(length=length, seek=offset)


def random_words(key: str, count: int) -> tuple[int, ...]:
    """Return *count* unsigned 32-bit numbers of the stream that *key* names."""
    return struct.unpack(f"<{count}I", random_bytes(key, 4 * count))


# What a file holds ------------------------------------------------------------------


def image(key: str, number: int) -> bytes:
    """Return bytes that look compressed already, 8 to 96 KiB of them."""
    (word,) = random_words(f"{key}/size/{number}", 1)
    return random_bytes(f"{key}/{number}", 8192 + word % (88 * 1024 + 1))


def annotation(key: str, number: int) -> bytes:
    """Return one JSON annotation of an image, about 270 bytes."""
    words = random_words(f"{key}/{number}", 13)
    boxes = [
        {
            "label": LABELS[words[at] % len(LABELS)],
            "bbox": [
                words[at + 1] % 1280,
                words[at + 2] % 720,
                words[at + 1] // 1280 % 640,
                words[at + 2] // 720 % 360,
            ],
            "score": words[at + 3] % 10_000 / 10_000,
        }
        for at in range(1, 2 + words[0] % 3 * 4, 4)
    ]
    value = {
        "image": f"images/{number % 100:02d}/{number:06d}.jpg",
        "width": 1280,
        "height": 720,
        "annotator": f"a{words[0] // 3 % 40:02d}",
        "checked": words[0] % 2 == 0,
        "objects": boxes,
    }
    return json.dumps(value).encode() + b"\n"


def label(key: str, number: int) -> bytes:
    """Return one JSON label, about 50 bytes."""
    first, second = random_words(f"{key}/{number}", 2)
    return b'{"id": %d, "label": %d, "score": 0.%06d}\n' % (number, first % 1000, second % 1_000_000)


def rows(key: str, first: int, count: int) -> Iterator[bytes]:
    """Yield *count* rows of the table from row *first* on."""
    words = random_words(f"{key}/{first}", 5 * count)
    for row in range(count):
        a, b, c, d, e = words[5 * row : 5 * row + 5]
        number = first + row
        yield (
            f"{number},{1_700_000_000 + number // 40}.{number % 40 * 25:03d},sensor-{a % 400:03d},"
            f"{47 + b % 10_000 / 1e4:.4f},{8 + c % 10_000 / 1e4:.4f},{a % 4000 / 100 - 5:.2f},"
            f"{d % 1000 / 10:.1f},{980 + e % 500 / 10:.1f},{STATUSES[e % 97 % 10]}\n"
        ).encode()


# Writing a data set ---------------------------------------------------------------------


def write_file(path: str, data: bytes) -> None:
    """Write *data* as the whole content of *path*, with as few calls as there can be: there are a million of them."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)


def numbered(folder: Path, count: int, suffix: str, *, folders: int) -> Iterator[tuple[int, str]]:
    """Yield number and path of *count* files spread over *folders* folders (0: all in *folder* itself)."""
    for number in range(count):
        parent = f"{folder}/{number % folders:02d}" if folders else str(folder)
        yield number, f"{parent}/{number:07d}{suffix}"


def images(folder: Path, scale: float) -> Iterator[tuple[int, str]]:
    """Yield the files of the data set images."""
    return numbered(folder, max(1, round(10_000 * scale)), ".jpg", folders=100)


def tiny(folder: Path, scale: float) -> Iterator[tuple[int, str]]:
    """Yield the files of the data set tiny."""
    return numbered(folder, max(1, round(100_000 * scale)), ".json", folders=100)


def flat(folder: Path, scale: float) -> Iterator[tuple[int, str]]:
    """Yield the files of the data set flat."""
    return numbered(folder, max(1, round(1_000_000 * scale)), ".json", folders=0)


def write_many(files: Iterable[tuple[int, str]], content: Callable[[str, int], bytes], key: str) -> None:
    """Write each of *files* with what *content* says about its number."""
    parents: set[str] = set()
    for number, path in files:
        parent = path.rpartition("/")[0]
        if parent not in parents:
            Path(parent).mkdir(parents=True, exist_ok=True)
            parents.add(parent)
        write_file(path, content(key, number))


def write_table(path: Path, key: str, scale: float) -> None:
    """Write the table, whole rows up to its length."""
    remaining = round(TABLE_BYTES * scale)
    with path.open("wb") as table:
        remaining -= table.write(ROW_HEADER)
        first = 0
        while remaining > 0:
            remaining -= table.write(b"".join(rows(key, first, ROW_BLOCK)))
            first += ROW_BLOCK


def write_random(file: BinaryIO, key: str, length: int) -> None:
    """Write *length* random bytes to *file*, a block at a time."""
    file.writelines(random_bytes(key, min(BLOCK, length - offset), offset) for offset in range(0, length, BLOCK))


def write_blob(path: Path, key: str, scale: float) -> None:
    """Write the blob."""
    with path.open("wb") as blob:
        write_random(blob, key, round(BLOB_BYTES * scale))


# Editing it ---------------------------------------------------------------------------------


def copy_range(source: BinaryIO, target: BinaryIO, start: int, stop: int) -> None:
    """Copy the bytes from *start* to *stop* of *source* to *target*."""
    source.seek(start)
    remaining = stop - start
    while remaining > 0:
        block = source.read(min(BLOCK, remaining))
        target.write(block)
        remaining -= len(block)


def line_start(file: BinaryIO, offset: int) -> int:
    """Return where the first line begins that starts after *offset*."""
    file.seek(offset)
    file.readline()
    return file.tell()


def replace_region(path: Path, key: str) -> None:
    """Give 1 % of the table's rows, in one run at 40 % of its length, new readings."""
    edited = path.with_suffix(".edited")
    size = path.stat().st_size
    with path.open("rb") as old, edited.open("wb") as new:
        start, stop = line_start(old, size * 40 // 100), line_start(old, size * 41 // 100)
        old.seek(start)
        lines = old.read(stop - start).splitlines()
        copy_range(old, new, 0, start)
        new.writelines(rows(key, int(lines[0].split(b",")[0]), len(lines)))
        copy_range(old, new, stop, size)
    edited.replace(path)


def edit_rows(path: Path, key: str) -> None:
    """Insert five rows and change five others, at ten places spread over the table."""
    edited = path.with_suffix(".edited")
    size = path.stat().st_size
    with path.open("rb") as old, edited.open("wb") as new:
        done = 0
        for turn in range(SMALL_EDITS):
            at = line_start(old, size * (2 * turn + 1) // (2 * SMALL_EDITS))
            line = old.readline()
            copy_range(old, new, done, at)
            new.writelines(rows(key, int(line.split(b",")[0]), 1))
            done = at if turn % 2 else at + len(line)
        copy_range(old, new, done, size)
    edited.replace(path)


def overwrite_bytes(path: Path, key: str) -> None:
    """Overwrite 1 % of the blob at 40 % of its length, and insert a few bytes at 70 %."""
    edited = path.with_suffix(".edited")
    size = path.stat().st_size
    with path.open("rb") as old, edited.open("wb") as new:
        start, length = size * 40 // 100, size // 100
        copy_range(old, new, 0, start)
        write_random(new, key, length)
        copy_range(old, new, start + length, size * 70 // 100)
        new.write(random_bytes(f"{key}/inserted", INSERTED))
        copy_range(old, new, size * 70 // 100, size)
    edited.replace(path)


def every(files: Iterable[tuple[int, str]], step: int) -> Iterator[tuple[int, str]]:
    """Yield every *step*-th of *files*, from the middle of the first run on; with few files, at least one."""
    chosen = list(files)
    return iter(chosen[min(step // 2, len(chosen) - 1) :: step])


# By name ------------------------------------------------------------------------------------

FILES: dict[str, tuple[Callable[[Path, float], Iterator[tuple[int, str]]], Callable[[str, int], bytes]]] = {
    "images": (images, image),
    "tiny": (tiny, annotation),
    "flat": (flat, label),
}
DATASETS = (*FILES, "table", "blob")
EDITS = ("one-percent", "small", "one-file")


def generate(name: str, folder: Path, *, scale: float = 1.0, seed: int = DEFAULT_SEED) -> None:
    """Write the data set *name* into *folder*, which is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    key = f"{seed}/{name}"
    if name == "table":
        write_table(folder / "table.csv", key, scale)
    elif name == "blob":
        write_blob(folder / "blob.bin", key, scale)
    else:
        files, content = FILES[name]
        write_many(files(folder, scale), content, key)


def edit(name: str, folder: Path, kind: str, *, scale: float = 1.0, seed: int = DEFAULT_SEED) -> None:
    """Edit the data set *name* in *folder*, made with the same *scale*, in the way that *kind* names.

    Raises:
        ValueError: This data set has no such edit.
    """
    key = f"{seed}/{name}/{kind}"
    if name in FILES and kind in ("one-percent", "one-file"):
        files, content = FILES[name]
        chosen = every(files(folder, scale), 100)
        write_many([next(chosen)] if kind == "one-file" else chosen, content, key)
    elif name == "table" and kind == "one-percent":
        replace_region(folder / "table.csv", key)
    elif name == "table" and kind == "small":
        edit_rows(folder / "table.csv", key)
    elif name == "blob" and kind == "one-percent":
        overwrite_bytes(folder / "blob.bin", key)
    else:
        message = f"the data set {name} has no edit {kind}"
        raise ValueError(message)


def main() -> None:
    """Read the command line and write or edit one data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", choices=DATASETS)
    parser.add_argument("folder", type=Path, help="where it is, or is to be")
    parser.add_argument("--edit", choices=EDITS, help="edit what is there instead of writing it")
    parser.add_argument("--scale", type=float, default=1.0, help="size as a share of the full one (default 1)")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED)
    arguments = parser.parse_args()
    if arguments.edit is None:
        generate(arguments.dataset, arguments.folder, scale=arguments.scale, seed=arguments.seed)
        return
    try:
        edit(arguments.dataset, arguments.folder, arguments.edit, scale=arguments.scale, seed=arguments.seed)
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
