"""Push and fetch that are killed at any moment, and many at once: both sides stay whole, and nothing is sent twice."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path
from threading import Barrier

import pytest

from dsvc.errors import StorageError
from dsvc.history.store import Store
from dsvc.log.sessions import UploadState, read_sessions
from dsvc.log.state import State
from dsvc.model.ids import ObjectId
from dsvc.odb.database import ObjectDatabase
from dsvc.odb.pack import MalformedPackError, pack_key
from dsvc.storage.local import LocalBackend
from dsvc.storage.memory import MemoryBackend
from dsvc.transport.address import open_backend
from dsvc.transport.fetch import fetch
from dsvc.transport.remote import RemoteDamagedError
from tests.conftest import PROJECT
from tests.killed import killed_at_step
from tests.stores import Stores
from tests.transport_support import (
    assert_whole,
    commit,
    files_of,
    make_context,
    make_store,
    noise,
    push_refs,
    remote_of,
    try_push,
    values,
)


def opened(folder: Path) -> Store:
    return Store(LocalBackend(folder), make_context("again"))


def steps(template: Path, work: Path) -> Iterator[tuple[int, Path]]:
    """A fresh copy of *template* for each step at which something may be killed."""
    for step in count():
        folder = work / str(step)
        shutil.copytree(template, folder)
        yield step, folder
        shutil.rmtree(folder)


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """A store that has pushed one version, and has two more that it has not."""
    folder = tmp_path / "template"
    folder.mkdir()
    local = make_store(folder / "local")
    first = commit(local, {b"a": b"one", b"large": noise(1, 300_000)})
    push_refs(local, remote_of(LocalBackend(folder / "there"), folder / "known"))
    second = commit(local, {b"a": b"two", b"large": noise(1, 300_000), b"more": noise(2, 300_000)}, first)
    commit(local, {b"a": b"three"}, second, unused=[b"never in a version"])
    commit(local, {b"z": b"side"}, branch="side")
    return folder


def test_a_push_that_is_killed_anywhere_leaves_both_sides_whole_and_the_next_one_completes(
    template: Path, tmp_path: Path
) -> None:
    def push_all(folder: Path) -> None:
        push_refs(opened(folder / "local"), remote_of(LocalBackend(folder / "there"), folder / "known"), "main", "side")

    wanted = values(opened(template / "local"), "refs/heads/")
    before = values(opened(template / "there"), "refs/heads/")

    for step, folder in steps(template, tmp_path):
        killed = killed_at_step(step, partial(push_all, folder))

        assert values(opened(folder / "there"), "refs/heads/") in (before, wanted)
        assert_whole(LocalBackend(folder / "there"))
        assert_whole(LocalBackend(folder / "local"))
        push_all(folder)
        assert values(opened(folder / "there"), "refs/heads/") == wanted
        assert_whole(LocalBackend(folder / "there"))
        if not killed:
            assert step > 20
            break


def test_a_first_push_that_is_killed_anywhere_can_be_made_again(template: Path, tmp_path: Path) -> None:
    shutil.rmtree(template / "there")
    shutil.rmtree(template / "known")
    wanted = values(opened(template / "local"), "refs/heads/")

    def push_all(folder: Path) -> None:
        push_refs(opened(folder / "local"), remote_of(LocalBackend(folder / "there"), folder / "known"), "main", "side")

    for step, folder in steps(template, tmp_path):
        killed = killed_at_step(step, partial(push_all, folder))

        push_all(folder)
        assert values(opened(folder / "there"), "refs/heads/") == wanted
        assert_whole(LocalBackend(folder / "there"))
        if not killed:
            break


def test_a_fetch_that_is_killed_anywhere_leaves_the_store_whole_and_the_next_one_completes(
    template: Path, tmp_path: Path
) -> None:
    push_refs(opened(template / "local"), remote_of(LocalBackend(template / "there")), "main", "side")
    make_store(template / "other")

    def fetch_all(folder: Path) -> None:
        fetch(opened(folder / "other"), remote_of(LocalBackend(folder / "there"), folder / "known-to-other"))

    wanted = values(opened(template / "there"), "refs/heads/")

    for step, folder in steps(template, tmp_path):
        killed = killed_at_step(step, partial(fetch_all, folder))

        assert values(opened(folder / "other"), "refs/remotes/origin/") in ({}, wanted)
        assert_whole(LocalBackend(folder / "other"))
        fetch_all(folder)
        assert values(opened(folder / "other"), "refs/remotes/origin/") == wanted
        if not killed:
            break


def test_packs_that_arrived_before_an_interruption_are_not_sent_again(tmp_path: Path) -> None:
    local, there = make_store(tmp_path / "local"), LocalBackend(tmp_path / "there")
    made = commit(local, {b"%d" % number: noise(number, 99_000) for number in range(300)})
    # As a push leaves it that was killed before its log entry: the pack is there, and nothing names it.
    large = max(local.state().packs, key=lambda name: local.backend.size(pack_key(name)))
    there.write(pack_key(large), local.backend.read(pack_key(large)))
    size = there.size(pack_key(large))
    make_store(tmp_path / "config")
    shutil.copy(tmp_path / "config" / "config.json", tmp_path / "there" / "config.json")

    pushed = push_refs(local, remote_of(there))

    assert size > 25_000_000
    assert pushed.stored > size - 100_000
    assert pushed.sent < 100_000
    assert files_of(Store(there, make_context()), made) == files_of(local, made)


PUSHER = """
import sys
from pathlib import Path
from dsvc.history.store import Store
from dsvc.storage.local import LocalBackend
from dsvc.storage.memory import MemoryBackend
from tests.transport_support import commit, make_context, make_store, push_refs, remote_of
folder, number, branch = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
local = make_store(folder / f"local-{number}", f"pusher-{number}")
commit(local, {b"shared": b"x" * 1000, b"own": b"%d" % number}, branch=branch)
sys.stdin.read()
try:
    push_refs(local, remote_of(LocalBackend(folder / "there")), branch)
except Exception as error:
    print(type(error).__name__)
else:
    print("pushed")
"""


def push_at_once(folder: Path, branches: list[str]) -> list[str]:
    """Let a process for each branch push it to one new remote, all at the same time; return what each said."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PUSHER, str(folder), str(number), branch],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
        )
        for number, branch in enumerate(branches)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
    said = []
    for process in processes:
        assert process.stdout is not None
        said.append(process.stdout.read().strip())
        process.stdout.close()
        process.wait()
    return said


def test_sixteen_first_pushes_to_different_branches_all_land(tmp_path: Path) -> None:
    branches = [f"branch-{number}" for number in range(16)]

    said = push_at_once(tmp_path, branches)

    assert said == ["pushed"] * 16
    found = opened(tmp_path / "there")
    assert set(values(found, "refs/heads/")) == set(branches)
    for number, branch in enumerate(branches):
        assert files_of(found, values(found)[f"heads/{branch}"])[b"own"] == b"%d" % number
    assert_whole(LocalBackend(tmp_path / "there"))


def test_of_sixteen_pushes_to_one_branch_one_lands_and_the_others_are_told(tmp_path: Path) -> None:
    said = push_at_once(tmp_path, ["main"] * 16)

    assert sorted(said) == ["PushRejectedError"] * 15 + ["pushed"]
    found = opened(tmp_path / "there")
    assert files_of(found, values(found)["heads/main"])[b"own"] == b"%d" % said.index("pushed")
    assert_whole(LocalBackend(tmp_path / "there"))


def test_a_damaged_object_is_not_pushed(tmp_path: Path) -> None:
    local, there = make_store(tmp_path / "local"), LocalBackend(tmp_path / "there")
    commit(local, {b"a": noise(1, 90_000)})
    damage(local, at=1000)

    with pytest.raises(MalformedPackError):
        push_refs(local, remote_of(there))

    assert values(Store(there, make_context())) == {}


def test_a_damaged_object_is_not_fetched(tmp_path: Path) -> None:
    local, there = make_store(tmp_path / "local"), LocalBackend(tmp_path / "there")
    commit(local, {b"a": noise(1, 90_000)})
    push_refs(local, remote_of(there))
    damage(Store(there, make_context()), at=1000)
    other = make_store(tmp_path / "other")

    with pytest.raises(RemoteDamagedError, match=r"the remote origin: pack .* is damaged"):
        fetch(other, remote_of(there))

    assert values(other) == {}
    assert_whole(other.backend)


def test_a_remote_whose_index_lies_does_not_poison_ours(tmp_path: Path) -> None:
    local, there = make_store(tmp_path / "local"), LocalBackend(tmp_path / "there")
    made = commit(local, {b"a": b"small", b"b": b"other"})
    push_refs(local, remote_of(there))
    # Two ids change places, in a segment of the right name: what its own writer could do.
    store = Store(there, make_context())
    [old] = store.state().segments
    raw = bytearray(there.read(f"index/{old}"))
    rows = len(store.objects.segments[0])
    rest = 64 + 8 * rows
    places = rest + 24 * rows + (4 * rows + 7) // 8 * 8
    kinds = [store.objects.segments[0].location(row).kind for row in range(rows)]
    one, other = (row for row, kind in enumerate(kinds) if kind == 0)
    first, second = (slice(places + 4 * row, places + 4 * row + 4) for row in (one, other))
    raw[first], raw[second] = raw[second], raw[first]
    there.write(f"index/{old}", raw)
    mine = make_store(tmp_path / "mine")

    fetch(mine, remote_of(there))

    assert files_of(mine, made) == {b"a": b"small", b"b": b"other"}
    assert_whole(mine.backend)


def damage(store: Store, *, at: int) -> None:
    """Change one byte of the largest pack."""
    name = max(store.state().packs, key=lambda name: store.backend.size(pack_key(name)))
    raw = bytearray(store.backend.read(pack_key(name)))
    raw[at] ^= 1
    store.backend.write(pack_key(name), raw)


def test_memory_remotes_are_shared_in_one_process(tmp_path: Path) -> None:
    one, other = (open_backend("memory://here", tmp_path) for _ in range(2))

    one.write("key", b"value")

    assert other.read("key") == b"value"


def test_ids_of_commits_can_be_pushed(tmp_path: Path) -> None:
    local, there = make_store(tmp_path / "local"), LocalBackend(tmp_path / "there")
    made = commit(local, {b"a": b"one"}, branch=None)

    push_refs(local, remote_of(there), f"{made.hex()}:main")

    assert ObjectId.from_hex(values(Store(there, make_context()))["heads/main"]) == made


def test_others_see_how_far_a_push_has_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(MemoryBackend):
        def write(self, key: str, value: bytes | bytearray | memoryview) -> None:
            if key.startswith("packs/") and sum(1 for _ in self.list("packs/")) == 2:
                message = "the network is gone"
                raise StorageError(message)
            super().write(key, value)

    monkeypatch.setattr("dsvc.transport.push.DATA_PACK_SIZE", 1_000_000)
    local, there = make_store(tmp_path / "local"), Failing()
    made = None
    for number in range(3):
        made = commit(local, {b"large": noise(number, 20_000_000)}, *([made] if made else []))

    with pytest.raises(StorageError, match="the network is gone"):
        push_refs(local, remote_of(there))

    (session,) = read_sessions(there, State.empty(""), ObjectDatabase(there), now=0)
    assert made is not None
    assert session.upload.targets == {"refs/heads/main": made.hex()}
    assert session.upload.state is UploadState.FAILED
    assert session.upload.reason == "the network is gone"
    assert 20_000_000 <= session.upload.sent < session.upload.total
    assert session.upload.total > 60_000_000


WRITERS = 16


@pytest.mark.parametrize("place", ["memory", "folder", "ministack"])
def test_of_sixteen_who_push_at_once_none_loses_anything(
    place: str, stores: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend: LocalBackend | MemoryBackend
    if place == "memory":
        backend = MemoryBackend()
    elif place == "folder":
        backend = LocalBackend(tmp_path / "there")
    else:
        for variable, value in stores.environment(place).items():
            monkeypatch.setenv(variable, value)
        backend = stores.backend(place)
    writers = [make_store(tmp_path / str(number), f"writer{number}") for number in range(WRITERS)]
    first = commit(writers[0], {b"base": b"base"}, time=1)
    push_refs(writers[0], remote_of(backend))
    for store in writers[1:]:
        fetch(store, remote_of(backend))
    made = [commit(store, {b"own": b"%d" % number}, first) for number, store in enumerate(writers)]
    start = Barrier(WRITERS)

    def push_at_once(number: int, *refspecs: str) -> bool:
        start.wait()
        return try_push(writers[number], remote_of(backend), *refspecs)

    with ThreadPoolExecutor(WRITERS) as pool:
        landed = list(pool.map(lambda number: push_at_once(number, "main"), range(WRITERS)))
        apart = list(pool.map(lambda number: push_at_once(number, f"main:{number}"), range(WRITERS)))

    # To one branch one of them comes first, and the others are told; each has its own branch in the end.
    assert sorted(landed) == [False] * (WRITERS - 1) + [True]
    assert apart == [True] * WRITERS
    there = Store(backend, make_context("reader"))
    expected = {str(number): made[number].hex() for number in range(WRITERS)}
    assert values(there, "refs/heads/") == {"main": made[landed.index(True)].hex(), **expected}
    for number, commit_id in enumerate(made):
        assert files_of(there, commit_id) == {b"own": b"%d" % number}
    assert_whole(backend)
