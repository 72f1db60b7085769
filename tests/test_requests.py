"""What a push and a fetch ask of a remote far away: few requests, none for a file, and never a list of all that is."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from dsvc.errors import StorageError
from dsvc.history.store import Store
from dsvc.storage.memory import MemoryBackend
from dsvc.transport.fetch import fetch
from dsvc.transport.position import mirror
from dsvc.transport.remote import Remote
from tests.counting_backend import CountingBackend
from tests.transport_support import (
    assert_whole,
    commit,
    files_of,
    make_context,
    make_store,
    noise,
    push_refs,
    values,
)

FILES = {b"%d" % number: b"small file %d" % number for number in range(5000)}
# What a push asks besides packs: the store, its last entry and the next one, the session, the index, the entry, and
# the end of the session.
FIXED = 7


@pytest.fixture
def local(tmp_path: Path) -> Store:
    return make_store(tmp_path / "local")


@pytest.fixture
def far() -> CountingBackend:
    return CountingBackend(MemoryBackend())


def remote(far: CountingBackend, folder: Path) -> Remote:
    """The remote as another process finds it."""
    return Remote("origin", "far away", mirror(folder, far), make_context("remote"), folder)


def test_many_small_files_are_few_requests(local: Store, far: CountingBackend, tmp_path: Path) -> None:
    first = commit(local, {b"first": b"file"})
    push_refs(local, remote(far, tmp_path / "known"))
    commit(local, FILES, first)
    far.clear()

    pushed = push_refs(local, remote(far, tmp_path / "known"))

    assert pushed.objects > len(FILES)
    # One pack of data and one of metadata.
    assert far.verbs("packs/") == {"write": 2}
    assert len(far.asked) == FIXED + 2
    assert "list" not in far.verbs()


def test_a_large_push_takes_one_request_for_each_pack(local: Store, far: CountingBackend, tmp_path: Path) -> None:
    made = commit(local, {b"first": b"file"})
    push_refs(local, remote(far, tmp_path / "known"))
    for number in range(3):
        made = commit(local, {b"large": noise(number, 20_000_000)}, made)
    far.clear()

    push_refs(local, remote(far, tmp_path / "known"))

    packs = {key for verb, key in far.asked if verb == "write" and key.startswith("packs/")}
    assert len(packs) == 4  # three of data, and the metadata of all three versions in one
    assert len(far.asked) == FIXED + len(packs)
    assert "list" not in far.verbs()


class Dying(MemoryBackend):
    """It takes packs and no index while *is_down*."""

    is_down = False

    def write(self, key: str, value: bytes | bytearray | memoryview) -> None:
        if self.is_down and key.startswith("index/"):
            message = "the network is gone"
            raise StorageError(message)
        super().write(key, value)


def test_packs_are_looked_for_only_after_a_push_that_did_not_end_well(local: Store, tmp_path: Path) -> None:
    there = Dying()
    far = CountingBackend(there)
    made = commit(local, {b"large": noise(1, 20_000_000)})
    push_refs(local, remote(far, tmp_path / "known"))
    looked = [far.verbs("packs/")["size"]]
    made = commit(local, {b"large": noise(2, 20_000_000)}, made)
    there.is_down = True
    with pytest.raises(StorageError, match="the network is gone"):
        push_refs(local, remote(far, tmp_path / "known"))
    there.is_down = False
    far.clear()

    pushed = push_refs(local, remote(far, tmp_path / "known"))

    looked.append(far.verbs("packs/")["size"])
    assert looked[0] == 0 < looked[1]
    assert pushed.sent < 1_000_000 < pushed.stored
    far.clear()
    commit(local, {b"large": noise(3, 20_000_000)}, made)
    push_refs(local, remote(far, tmp_path / "known"))
    assert far.verbs("packs/") == {"write": 2}


def test_what_is_there_already_is_not_asked_for_file_by_file(
    local: Store, far: CountingBackend, tmp_path: Path
) -> None:
    first = commit(local, FILES)
    push_refs(local, remote(far, tmp_path / "known"))
    commit(local, {**FILES, b"one more": b"file"}, first)
    far.clear()

    push_refs(local, remote(far, tmp_path / "known"))

    assert len(far.asked) <= FIXED + 4
    assert far.verbs("index/") == {"write": 1}


def test_a_push_of_nothing_asks_little_and_writes_nothing(local: Store, far: CountingBackend, tmp_path: Path) -> None:
    commit(local, FILES)
    push_refs(local, remote(far, tmp_path / "known"))
    far.clear()

    push_refs(local, remote(far, tmp_path / "known"))

    assert set(far.verbs()) == {"read"}
    assert far.trips <= 4


def test_a_fetch_with_all_data_is_few_requests(local: Store, far: CountingBackend, tmp_path: Path) -> None:
    made = commit(local, FILES)
    for number in range(20):
        made = commit(local, {**FILES, b"edited": b"%d" % number}, made)
        push_refs(local, remote(far, tmp_path / "known"))
    other = make_store(tmp_path / "other")
    far.clear()

    fetch(other, remote(far, tmp_path / "elsewhere"))

    assert_whole(other.files)
    assert set(files_of(other, made)) == {*FILES, b"edited"}
    # Of each of twenty pushes a pack of metadata, as it is, and a few bytes of data.
    assert far.verbs("packs/")["read"] == 20
    assert far.verbs("packs/")["range"] <= 20
    assert far.verbs("packs/").total() <= 45


class Interrupted(CountingBackend):
    """A network that goes down after so many large answers, until it is told to be up again."""

    large = 1_000_000
    left = 4

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        if max(length for _, length in ranges) > self.large:
            self.left -= 1
            if self.left < 0:
                message = "the network is down"
                raise StorageError(message)
        return super().read_ranges(key, ranges)


def test_what_a_fetch_with_all_data_has_brought_is_not_asked_for_again(local: Store, tmp_path: Path) -> None:
    far = Interrupted(MemoryBackend())
    made = None
    for number in range(3):
        made = commit(local, {b"%d" % number: noise(number, 8_000_000)}, *([made] if made else []))
        push_refs(local, remote(far, tmp_path / "known"))
    other = make_store(tmp_path / "other")
    with pytest.raises(StorageError):
        fetch(other, remote(far, tmp_path / "elsewhere"))
    assert values(other) == {}

    far.left = 100
    fetch(other, remote(far, tmp_path / "elsewhere"))

    assert_whole(other.files)
    assert values(other) == {"remotes/origin/main": str(made and made.hex())}
    # What was on its way when the network went down, two answers of four megabytes, had not been brought; without the
    # rest, it would be forty.
    asked = sum(length for key, _, length in far.ranges if length > far.large)
    assert asked < 33_000_000
    assert far.left >= 96


def test_a_fetch_of_what_is_known_asks_for_little_more_than_the_log(
    local: Store, far: CountingBackend, tmp_path: Path
) -> None:
    commit(local, FILES)
    push_refs(local, remote(far, tmp_path / "known"))
    other = make_store(tmp_path / "other")
    fetch(other, remote(far, tmp_path / "elsewhere"))
    far.clear()

    fetch(other, remote(far, tmp_path / "elsewhere"))

    # The commit at the tip, to see that nothing below it is missing.
    assert sum(far.verbs("packs/").values()) <= 1
    assert set(far.verbs()) <= {"read", "range"}
    assert far.trips <= 3
