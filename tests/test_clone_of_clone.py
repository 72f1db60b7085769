"""Lazy and shallow clones as remotes: what they lack is not damaged, and who asks for it is told where it is."""

import os
import shutil
from pathlib import Path

import pytest

from tests.forked import Desk, desk

__all__ = ["desk"]


@pytest.fixture
def origin(desk: Desk) -> Path:
    """A repository with three versions."""
    for number in range(3):
        desk.commit({b"a.csv": b"%d" % number, b"large": os.urandom(200_000)}, f"version {number}")
    return desk.work


def clone(desk: Desk, source: Path, name: str, *words: str) -> Path:
    desk("clone", "-q", *words, source, name, cwd=desk.folder)
    return desk.folder / name


@pytest.fixture
def lazy(origin: Path, desk: Desk) -> Path:
    return clone(desk, origin, "lazy")


@pytest.fixture
def shallow(origin: Path, desk: Desk) -> Path:
    return clone(desk, origin, "shallow", "--depth", "1")


def assert_not_damaged(desk: Desk, folder: Path) -> str:
    fsck = desk("fsck", cwd=folder)
    assert "damaged" not in fsck.stdout
    assert "lost" not in fsck.stdout
    return fsck.stdout


def test_a_clone_of_a_lazy_clone_has_what_is_there_and_says_who_has_the_rest(
    origin: Path, lazy: Path, desk: Desk
) -> None:
    said = desk("clone", lazy, "second", cwd=desk.folder).stderr

    second = desk.folder / "second"
    assert f"warning: {lazy} is itself a lazy clone of {origin}" in said
    assert (second / "a.csv").read_text() == "2"
    told = desk("cat", "HEAD~1:a.csv", cwd=second, code=4).stderr
    assert told.startswith(
        f"error: cannot read a.csv: it is neither here nor in origin, which is itself a lazy clone of {origin}\n"
        "hint: run `dsvc fetch --unshallow --data` there, "
    )
    assert desk("switch", "-q", "--detach", "HEAD~1", cwd=second, code=4).stderr.startswith(
        "error: cannot read the data"
    )
    assert f"origin lacks them too: it is itself a lazy clone of {origin}" in assert_not_damaged(desk, second)

    desk("fetch", "-q", "--data", cwd=lazy)

    assert desk("cat", "HEAD~1:a.csv", cwd=second).stdout == "1"
    assert assert_not_damaged(desk, second) == ""


@pytest.mark.parametrize("words", ["--data", "--bare", "--mirror"])
def test_all_data_cannot_be_had_from_a_lazy_clone(words: str, origin: Path, lazy: Path, desk: Desk) -> None:
    told = desk("clone", "-q", words, lazy, "second", cwd=desk.folder, code=4).stderr

    assert f"neither here nor in origin, which is itself a lazy clone of {origin}\nhint: run `dsvc fetch " in told
    desk("fetch", "-q", "--data", cwd=lazy)
    second = clone(desk, lazy, "second", words)
    shutil.rmtree(lazy)
    assert assert_not_damaged(desk, second) == ""


@pytest.mark.parametrize("words", [(), ("--data",), ("--bare",), ("--depth", "2")])
def test_more_of_a_history_than_a_shallow_clone_has_cannot_be_had_from_it(
    words: tuple[str, ...], origin: Path, shallow: Path, desk: Desk
) -> None:
    told = desk("clone", "-q", *words, shallow, "second", cwd=desk.folder, code=4).stderr

    assert f"neither here nor in origin, which is itself a shallow clone of {origin}\nhint: run `dsvc fetch " in told
    desk("fetch", "-q", "--unshallow", "--data", cwd=shallow)
    second = clone(desk, shallow, "second", *words)
    assert desk("log", "--format=%s", cwd=second).lines[:2] == ["version 2", "version 1"]


def test_a_clone_as_shallow_as_a_shallow_one_is_one(origin: Path, shallow: Path, desk: Desk) -> None:
    second = clone(desk, shallow, "second", "--depth", "1")

    assert desk("log", "--format=%s", cwd=second).lines == ["version 2"]
    assert (second / "a.csv").read_text() == "2"
    assert f"it is itself a shallow clone of {origin}" in assert_not_damaged(desk, second)
    told = desk("fetch", "--unshallow", cwd=second, code=4).stderr
    assert f"neither here nor in origin, which is itself a shallow clone of {origin}\n" in told


@pytest.mark.parametrize("theirs", [("--sparse", "new"), ("--depth", "1", "--sparse", "new")])
@pytest.mark.parametrize("ours", [(), ("--depth", "1")])
def test_two_clones_of_one_origin_fetch_from_each_other(
    theirs: tuple[str, ...], ours: tuple[str, ...], origin: Path, desk: Desk
) -> None:
    other = clone(desk, origin, "other", *theirs)
    mine = clone(desk, origin, "mine", *ours)
    desk.commit({b"a.csv": b"3", b"large": b"3", b"theirs": b"3"}, "version 3")
    desk("pull", "-q", cwd=other)
    (other / "new").write_text("new")
    desk("add", "-q", "new", cwd=other)
    desk("commit", "-q", "-m", "new", cwd=other)
    desk("remote", "add", "other", other, cwd=mine)

    desk("fetch", "-q", "other", cwd=mine)

    assert desk("cat", "other/main:new", cwd=mine).stdout == "new"
    # What only the origin has is still asked of that.
    assert desk("cat", "other/main~1:theirs", cwd=mine).stdout == "3"
    assert desk("cat", "other/main~3:a.csv", cwd=mine).stdout == "1"
    assert assert_not_damaged(desk, mine) == ""


def test_what_nobody_has_is_told_of_a_clone_that_relies_on_another_remote(origin: Path, lazy: Path, desk: Desk) -> None:
    desk("init", "-q", "mine", cwd=desk.folder)
    mine = desk.folder / "mine"
    desk("remote", "add", "lazy", lazy, cwd=mine)
    desk("init", "-q", "--bare", "empty", cwd=desk.folder)
    desk("remote", "add", "empty", "../empty", cwd=mine)
    desk("config", "remote.empty.promisor", "true", cwd=mine)

    told = desk("fetch", "-q", "lazy", cwd=mine, code=4).stderr

    assert f"neither here nor in lazy, which is itself a lazy clone of {origin}\n" in told


def test_a_version_that_a_lazy_clone_lacks_cannot_be_got_from_it(origin: Path, lazy: Path, desk: Desk) -> None:
    desk("get", "-q", f"{lazy}#main", cwd=desk.folder)

    told = desk("get", "-q", f"{lazy}#main~1", cwd=desk.folder, code=4).stderr

    assert f", which is itself a lazy clone of {origin}\n" in told


def test_what_is_damaged_in_a_whole_repository_is_called_so(origin: Path, desk: Desk) -> None:
    for pack in (origin / ".dsvc" / "store" / "packs").glob("*/*"):
        pack.unlink()

    told = desk("clone", "-q", origin, "second", cwd=desk.folder, code=8).stderr

    assert f"hint: to see what is damaged there, run `dsvc fsck {origin}`" in told
