"""The backends keep the contract, and what a folder promises beyond it."""

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dsvc.errors import NoSpaceError, StorageError
from dsvc.storage.backend import Backend
from dsvc.storage.local import LocalBackend
from dsvc.storage.memory import MemoryBackend
from tests.backend_contract import BackendContract


class TestMemoryBackend(BackendContract):
    @pytest.fixture
    def backend(self) -> Backend:
        return MemoryBackend()


class TestLocalBackend(BackendContract):
    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        return LocalBackend(tmp_path / "store")


@pytest.fixture
def local(tmp_path: Path) -> LocalBackend:
    return LocalBackend(tmp_path / "store")


def names_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# Each process creates the same keys, and prints those that it won. They start when a line comes.
RACE = """
import sys
from pathlib import Path
from dsvc.storage.backend import KeyExistsError
from dsvc.storage.local import LocalBackend

backend = LocalBackend(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for number in range(60):
    try:
        backend.create(f"race/{number}", sys.argv[2].encode() * 1000)
    except KeyExistsError:
        continue
    print(number)
"""


def test_two_processes_that_create_one_key_have_one_winner(local: LocalBackend) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(local.root), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()

    won = [[int(line) for line in process.communicate()[0].split()] for process in processes]

    assert [process.returncode for process in processes] == [0] * 4
    assert sorted(number for each in won for number in each) == list(range(60))
    for process_number, numbers in enumerate(won):
        for number in numbers:
            assert local.read(f"race/{number}") == f"{process_number}".encode() * 1000


# The process dies in the middle of the write, after the first half of the value.
DEATH = """
import os
import sys
from pathlib import Path
from dsvc.storage.local import LocalBackend

write = os.write
def die(descriptor, data):
    write(descriptor, data[: len(data) // 2])
    os._exit(3)
os.write = die
getattr(LocalBackend(Path(sys.argv[1])), sys.argv[2])("a/key", b"value" * 1000)
"""


@pytest.mark.parametrize("method", ["create", "write"])
def test_a_process_that_dies_while_it_writes_leaves_nothing_to_be_read(local: LocalBackend, method: str) -> None:
    done = subprocess.run([sys.executable, "-c", DEATH, str(local.root), method], check=False)

    assert done.returncode == 3
    assert local.read_many(["a/key"]) == [None]
    assert list(local.list("")) == []
    local.create("a/key", b"another")
    assert local.read("a/key") == b"another"


@pytest.mark.parametrize("method", ["create", "write"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_apart_and_leaves_no_file(
    local: LocalBackend, monkeypatch: pytest.MonkeyPatch, method: str, number: int
) -> None:
    local.create("a/before", b"value")

    def fail(_descriptor: int, _data: bytes) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "write", fail)
    with pytest.raises(NoSpaceError):
        getattr(local, method)("a/key", b"value")

    assert names_in(local.root) == ["a/before"]


@pytest.mark.parametrize(
    ("method", "function"),
    [
        ("create", "open"),
        ("create", "fdatasync"),
        ("create", "link"),
        ("write", "open"),
        ("write", "fdatasync"),
        ("write", "replace"),
    ],
)
def test_a_failure_of_the_disk_is_a_storage_error_and_leaves_no_file(
    local: LocalBackend, monkeypatch: pytest.MonkeyPatch, method: str, function: str
) -> None:
    if not hasattr(os, function):
        pytest.skip(f"this system has no {function}")
    local.create("a/before", b"value")

    def fail(*_arguments: object, **_options: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(StorageError):
        getattr(local, method)("a/key", b"value")
    monkeypatch.undo()

    assert names_in(local.root) == ["a/before"]


def test_a_write_that_takes_only_part_at_a_time_is_completed(
    local: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))

    local.create("key", b"0123456789" * 10)

    assert local.read("key") == b"0123456789" * 10


def test_a_read_that_returns_only_part_is_completed(local: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    local.create("key", b"0123456789" * 10)
    read, pread = os.read, os.pread
    monkeypatch.setattr(os, "read", lambda descriptor, length: read(descriptor, min(length, 7)))
    monkeypatch.setattr(os, "pread", lambda descriptor, length, offset: pread(descriptor, min(length, 7), offset))

    assert local.read("key") == b"0123456789" * 10
    assert local.read_ranges("key", [(1, 50)]) == [(b"0123456789" * 10)[1:51]]


def test_a_finished_temporary_file_becomes_a_value(local: LocalBackend) -> None:
    temporary = local.temporary()
    temporary.parent.mkdir(parents=True)
    temporary.write_bytes(b"packed")

    local.adopt(temporary, "packs/ab/name")

    assert local.read("packs/ab/name") == b"packed"
    assert local.path("packs/ab/name").is_file()
    assert not temporary.exists()


def test_temporary_names_differ_and_are_not_listed(local: LocalBackend) -> None:
    names = {local.temporary() for _ in range(100)}
    unfinished = names.pop()
    unfinished.parent.mkdir(parents=True)
    unfinished.write_bytes(b"half")

    assert len(names) == 99
    assert list(local.list("")) == []


def test_a_key_deleted_while_it_is_listed_is_left_out(local: LocalBackend) -> None:
    for number in range(3):
        local.create(f"a/{number}", b"value")

    listed = local.list("a/")
    first, _ = next(listed)
    for number in range(3):
        local.delete(f"a/{number}")

    assert list(listed) == []
    assert first.startswith("a/")


def test_folders_made_by_many_at_once_are_made_once(local: LocalBackend) -> None:
    start = threading.Barrier(8)

    def create(number: int) -> None:
        start.wait()
        local.create(f"a/b/c/d/{number}", b"value")

    threads = [threading.Thread(target=create, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(list(local.list("a/"))) == 8
