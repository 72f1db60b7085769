"""What it takes to get a version to a remote, and back from it.

On disk: `dsvc push` beside `restic copy` and `dvc push`, and `dsvc clone` with its checkout beside `dvc pull`, of
the same data on the same disk.

Far away, with `--far`: `dsvc push` to S3 through a line that delays all that is sent to it by 30 ms, beside a
program that uploads the same packs as plain objects, eight at once. The server is one that the tests install:
`python -m tests.servers`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from threading import Thread
from typing import TYPE_CHECKING

from generate import generate
from measure import Measurement, default_work, note, run, table, workspace
from tools import bare_environment, dsvc_environment, dsvc_program, find

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["main"]

DATASETS = ("images", "tiny")
DELAY = 0.03
# Promised: on disk, at least four times as fast as the peers; far away, at most 1.3 times the plain upload.
ON_DISK = 1 / 4
FAR = 1.3
UPLOAD = """
import asyncio, sys
from pathlib import Path
import s3fs

async def main(folder, target):
    fs = s3fs.S3FileSystem(asynchronous=True, config_kwargs={"max_pool_connections": 8})
    session = await fs.set_session()
    slots = asyncio.Semaphore(8)

    async def send(path):
        async with slots:
            await fs._pipe_file(f"{target}/{path.name}", path.read_bytes())

    await asyncio.gather(*[send(path) for path in Path(folder).rglob("*") if path.is_file()])
    await session.close()

asyncio.run(main(sys.argv[1], sys.argv[2]))
"""

Runs = dict[str, list[Measurement]]


class Bench:
    """One data set and a place to work in; `runs` has what each question took."""

    def __init__(self, place: Path, data: Path) -> None:
        self.place = place
        self.data = data
        self.runs: Runs = {}

    def do(self, command: Sequence[str], folder: Path, environment: Mapping[str, str], name: str | None = None) -> None:
        """Run *command* in *folder*; with a *name*, note what it took."""
        folder.mkdir(parents=True, exist_ok=True)
        taken = run(list(command), cwd=folder, environment=environment)
        if name is not None:
            self.runs.setdefault(name, []).append(taken)

    def home(self, name: str) -> Path:
        """Return an empty home."""
        folder = self.place / f"home-{name}"
        folder.mkdir(exist_ok=True)
        return folder


def dsvc_repository(bench: Bench, program: str, more: Mapping[str, str], remote: str) -> tuple[Path, dict[str, str]]:
    """Make a repository whose `origin` has its first, empty version, and commit the data to it."""
    environment = dsvc_environment(bench.home("dsvc")) | dict(more)
    work = bench.place / "dsvc"
    begin = (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "empty"], ["remote", "add", "origin", remote])
    for words in (*begin, ["push", "-q", "origin", "main"]):
        bench.do([program, *words], work, environment)
    bench.do(["cp", "-r", str(bench.data), str(work / "data")], work, environment)
    for words in (["add", "-q", "-A"], ["commit", "-q", "-m", "first"]):
        bench.do([program, *words], work, environment)
    return work, environment


def dsvc_on_disk(bench: Bench, program: str) -> None:
    """Push to a folder, and clone that."""
    remote = str(bench.place / "dsvc-remote")
    work, environment = dsvc_repository(bench, program, {}, remote)
    bench.do([program, "push", "-q", "origin", "main"], work, environment, "push: dsvc push")
    clone = [program, "clone", "-q", remote, str(bench.place / "clone")]
    bench.do(clone, bench.place, environment, "clone: dsvc clone")


def restic_on_disk(bench: Bench, program: str) -> None:
    """Copy a snapshot from one repository to another."""
    environment = bare_environment(bench.home("restic")) | {"RESTIC_PASSWORD": "x", "RESTIC_FROM_PASSWORD": "x"}
    first, second = str(bench.place / "restic"), str(bench.place / "restic-copy")
    bench.do([program, "-q", "-r", first, "init", "--repository-version", "2"], bench.place, environment)
    bench.do([program, "-q", "-r", first, "backup", str(bench.data)], bench.place, environment)
    begin = ["init", "--repository-version", "2", "--from-repo", first, "--copy-chunker-params"]
    bench.do([program, "-q", "-r", second, *begin], bench.place, environment)
    copy = [program, "-q", "-r", second, "copy", "--from-repo", first]
    bench.do(copy, bench.place, environment, "push: restic copy")


def dvc_on_disk(bench: Bench, program: str) -> None:
    """Push the cache to a folder, and pull it in another working folder."""
    environment = bare_environment(bench.home("dvc")) | {
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(bench.place / "site"),
    }
    work, clone, remote = bench.place / "dvc", bench.place / "dvc-clone", bench.place / "dvc-remote"
    for folder in (work, clone):
        bench.do([program, "init", "-q", "--no-scm"], folder, environment)
        bench.do([program, "remote", "add", "-q", "-d", "origin", str(remote)], folder, environment)
    bench.do(["cp", "-r", str(bench.data), str(work / "data")], work, environment)
    bench.do([program, "add", "-q", "data"], work, environment)
    bench.do([program, "push", "-q"], work, environment, "push: dvc push")
    (clone / "data.dvc").write_bytes((work / "data.dvc").read_bytes())
    bench.do([program, "pull", "-q"], clone, environment, "clone: dvc pull")


class Line:
    """A port that leads to *upstream*; what is sent there arrives *delay* seconds later, as over a long line."""

    def __init__(self, upstream: int, delay: float) -> None:
        self._upstream = upstream
        self._delay = delay
        self._loop = asyncio.new_event_loop()
        Thread(target=self._loop.run_forever, daemon=True).start()
        server = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop)
        self.port: int = server.result().sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._upstream)
        await asyncio.gather(self._pass(reader, back, self._delay), self._pass(there, writer, 0))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
        # Bytes on their way do not wait for each other.
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(256)

        async def deliver() -> None:
            while True:
                when, data = await waiting.get()
                await asyncio.sleep(max(0.0, when - self._loop.time()))
                if not data:
                    writer.close()
                    return
                writer.write(data)
                await writer.drain()

        with suppress(ConnectionError):
            delivery = asyncio.create_task(deliver())
            while data := await reader.read(1 << 18):
                await waiting.put((self._loop.time() + delay, data))
            await waiting.put((self._loop.time() + delay, b""))
            await delivery


@contextmanager
def far_store(place: Path) -> Iterator[dict[str, str]]:
    """Run a server of S3 behind a long line; yield the environment to reach it, in which `s3://bench` is a bucket."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.servers.registry import start

    running = start("ministack", place / "server")
    try:
        environment = {**running.environment, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{running.port}"}
        make = "import s3fs; s3fs.S3FileSystem().call_s3('create_bucket', Bucket='bench')"
        run([sys.executable, "-c", make], cwd=place, environment=bare_environment(place) | environment)
        yield environment | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{Line(running.port, DELAY).port}"}
    finally:
        running.process.stop()


def far_away(bench: Bench, program: str) -> None:
    """Push over the line, and upload the same packs as plain objects."""
    with far_store(bench.place) as store:
        work, environment = dsvc_repository(bench, program, store, "s3://bench/dsvc")
        bench.do([program, "push", "-q", "origin", "main"], work, environment, "far: dsvc push")
        packs = str(work / ".dsvc/store/packs")
        bench.do([sys.executable, "-c", UPLOAD, packs, "bench/plain"], work, environment, "far: plain upload")


def measure(dataset: str, work: Path, scale: float, rounds: int, parts: Sequence[Callable[[Bench], None]]) -> Runs:
    """Return what each question took, in each round."""
    runs: Runs = {}
    with workspace(work) as folder:
        generate(dataset, folder, scale=scale)
        for number in range(rounds):
            note(f"{dataset}, round {number + 1} of {rounds}")
            for part in parts:
                with workspace(work) as place:
                    bench = Bench(place, folder)
                    part(bench)
                    for name, taken in bench.runs.items():
                        runs.setdefault(name, []).extend(taken)
    return runs


def report(dataset: str, runs: Runs) -> str:
    """Return a table of seconds, memory, and the share that dsvc takes of what stands beside it."""
    taken = {name: median(one.seconds for one in measured) for name, measured in runs.items()}
    rows = [[dataset, "s", "processor s", "MB", "dsvc takes of it", "at most"]]
    for name, measured in runs.items():
        question, _, what = name.partition(": ")
        own = taken.get(f"{question}: dsvc {'clone' if question == 'clone' else 'push'}")
        is_peer = not what.startswith("dsvc") and own is not None
        rows.append(
            [
                name,
                f"{taken[name]:.2f}",
                f"{median(one.processor for one in measured):.2f}",
                f"{max(one.memory for one in measured) / 1e6:.0f}",
                f"{own / taken[name]:.2f}" if is_peer and own else "",
                f"{FAR if question == 'far' else ON_DISK:.2f}" if is_peer else "",
            ]
        )
    return table(rows)


def main() -> None:
    """Measure what the command line asks for and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="*", default=DATASETS)
    parser.add_argument("--far", action="store_true", help="measure S3 behind a long line, not folders")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--work", type=Path, default=default_work())
    for name in ("dsvc", "restic", "dvc"):
        parser.add_argument(f"--{name}", metavar="PATH")
    arguments = parser.parse_args()
    dsvc = dsvc_program(arguments.dsvc)
    if dsvc is None:
        parser.error("there is no dsvc")
    parts: list[Callable[[Bench], None]] = []
    if arguments.far:
        parts.append(lambda bench: far_away(bench, dsvc))
    else:
        parts.append(lambda bench: dsvc_on_disk(bench, dsvc))
        if restic := find(arguments.restic, "restic"):
            parts.append(lambda bench: restic_on_disk(bench, restic))
        if dvc := find(arguments.dvc, "dvc"):
            parts.append(lambda bench: dvc_on_disk(bench, dvc))
    for dataset in arguments.datasets:
        runs = measure(dataset, arguments.work, arguments.scale, arguments.rounds, parts)
        print(report(dataset, runs), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
