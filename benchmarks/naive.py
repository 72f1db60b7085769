"""The floors: the least that a Python program can do to keep a data set.

`serial` is for many small files: one loop that scans, reads, hashes with BLAKE3, fills
solid zstd frames, writes them to one file and notes every file in SQLite. `threaded` is
for large files: every thread reads 8 MiB into a buffer it uses again and again, cuts it by
content, hashes the chunks, compresses at level 1 unless a 64 KiB probe does not shrink, and
writes the views to a place of its own.

Neither deduplicates, syncs, verifies, resumes or can be read back by anything: what a
version-control system takes beyond these times is what it has to give for.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import zstandard
from blake3 import blake3
from pyfastcdc import FastCDC

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["main", "serial", "threaded"]

FRAME = 1 << 20
BUFFER = 8 << 20
PROBE = 64 << 10
MIN_CHUNK, AVERAGE_CHUNK, MAX_CHUNK = 64 << 10, 256 << 10, 1 << 20
LEVEL, FAST_LEVEL = 3, 1
# A frame that does not shrink by 3 % is stored raw.
WORTHWHILE = 0.97


def files_below(folder: str) -> Iterator[os.DirEntry[str]]:
    """Yield every file below *folder*."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from files_below(entry.path)
            else:
                yield entry


def serial(source: str, store: Path) -> None:
    """Keep every file below *source* in *store*: one pack of solid frames, one database."""
    compressor = zstandard.ZstdCompressor(level=LEVEL)
    database = sqlite3.connect(store / "files.db")
    database.execute("CREATE TABLE file (path TEXT, size INT, mtime INT, digest BLOB, frame INT, place INT)")
    found: list[tuple[str, int, int, bytes, int, int]] = []
    pending: list[bytes] = []
    place = frame = 0
    with (store / "pack").open("wb", buffering=0) as pack:

        def seal() -> None:
            nonlocal place, frame
            raw = b"".join(pending)
            packed = compressor.compress(raw)
            pack.write(packed if len(packed) < WORTHWHILE * len(raw) else raw)
            pending.clear()
            place, frame = 0, frame + 1

        for entry in files_below(source):
            status = entry.stat(follow_symlinks=False)
            descriptor = os.open(entry.path, os.O_RDONLY)
            data = os.read(descriptor, status.st_size)
            os.close(descriptor)
            found.append((entry.path, len(data), status.st_mtime_ns, blake3(data).digest(), frame, place))
            pending.append(data)
            place += len(data)
            if place >= FRAME:
                seal()
        seal()
    with database:
        database.executemany("INSERT INTO file VALUES (?, ?, ?, ?, ?, ?)", found)
    database.close()


def threaded(source: str, store: Path, *, threads: int = 2) -> None:
    """Keep every file below *source* in *store*, a buffer of 8 MiB at a time, a pack for each thread."""
    lock = threading.Lock()
    spans = iter([(entry.path, at) for entry in files_below(source) for at in range(0, entry.stat().st_size, BUFFER)])

    def work(name: str) -> None:
        # A pack of its own: two threads writing to one file wait for each other in the kernel, which doubles the time.
        pack = os.open(store / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        end = 0
        chunks: list[bytes] = []
        buffer = memoryview(bytearray(BUFFER))
        chunker = FastCDC(AVERAGE_CHUNK, min_size=MIN_CHUNK, max_size=MAX_CHUNK)
        compressor = zstandard.ZstdCompressor(level=FAST_LEVEL)
        while True:
            with lock:
                path, offset = next(spans, ("", 0))
            if not path:
                break
            descriptor = os.open(path, os.O_RDONLY)
            length = os.preadv(descriptor, [buffer], offset)
            os.close(descriptor)
            probe = buffer[: min(PROBE, length)]
            shrinks = len(compressor.compress(probe)) < WORTHWHILE * len(probe)
            frames: list[bytes | memoryview] = []
            for chunk in chunker.cut_buf(buffer[:length]):
                chunks.append(blake3(chunk.data).digest() + chunk.length.to_bytes(4, "little"))
                frames.append(compressor.compress(chunk.data) if shrinks else chunk.data)
            end += os.pwritev(pack, frames, end)
        os.pwrite(pack, b"".join(chunks), end)
        os.close(pack)

    workers = [threading.Thread(target=work, args=(f"pack-{number}",)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def main() -> None:
    """Read the command line, keep a folder, say how long it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("how", choices=("serial", "threaded"))
    parser.add_argument("source", help="the folder to keep")
    parser.add_argument("store", type=Path, help="where to keep it; made if it is not there")
    parser.add_argument("--threads", type=int, default=2, help="for threaded (default 2)")
    arguments = parser.parse_args()
    arguments.store.mkdir(parents=True, exist_ok=True)
    begin = time.perf_counter()
    if arguments.how == "serial":
        serial(arguments.source, arguments.store)
    else:
        threaded(arguments.source, arguments.store, threads=arguments.threads)
    size = sum(path.stat().st_size for path in arguments.store.iterdir())
    print(f"{time.perf_counter() - begin:.2f} s, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
