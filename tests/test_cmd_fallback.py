"""Several remotes: who is asked where the first cannot be reached."""

import shutil
from pathlib import Path

import pytest

from tests.forked import Desk, desk

__all__ = ["desk"]


@pytest.fixture
def clone(desk: Desk) -> Path:
    """A lazy clone of `first`, which `second` mirrors and `third` mirrored once."""
    desk.commit({b"a": b"1" * 100_000}, "one")
    desk("remote", "add", "origin", "../first")
    desk("push", "-q", "origin", "main")
    desk("clone", "-q", "--mirror", "first", "third", cwd=desk.folder)
    desk.commit({b"a": b"2" * 100_000}, "two")
    desk("branch", "new")
    desk("tag", "v2")
    desk("push", "-q", "--all", "origin")
    desk("push", "-q", "--tags", "origin")
    desk("clone", "-q", "--mirror", "first", "second", cwd=desk.folder)
    desk("clone", "-q", "first", "clone", cwd=desk.folder)
    folder = desk.folder / "clone"
    for name, order in (("third", "5"), ("second", "1")):
        desk("remote", "add", name, f"../{name}", cwd=folder)
        desk("config", f"remote.{name}.mirror-of", "origin", cwd=folder)
        desk("config", f"remote.{name}.order", order, cwd=folder)
    return folder


def test_refs_come_from_a_mirror_where_the_remote_is_away(clone: Path, desk: Desk) -> None:
    desk.commit({b"a": b"3"}, "three")
    desk("push", "-q", "origin", "main")
    desk("fetch", "-q", cwd=desk.folder / "second")
    shutil.rmtree(desk.folder / "first")

    said = desk("pull", cwd=clone).stderr

    assert "warning: the store of the remote origin is gone; asking its mirror second\n" in said
    assert "From ../second\n" in said
    assert (clone / "a").read_text() == "3"
    assert desk("branch", "-r", cwd=clone).lines == ["  origin/main", "  origin/new"]


def test_what_a_mirror_that_is_behind_has_moves_nothing_back(clone: Path, desk: Desk) -> None:
    before = desk("log", "-1", "--format=%H", "origin/main", cwd=clone).stdout
    for name in ("first", "second"):
        shutil.rmtree(desk.folder / name)

    said = desk("fetch", "--prune", cwd=clone).stderr

    assert "asking its mirror second\n" in said
    assert "asking its mirror third\n" in said
    assert desk("log", "-1", "--format=%H", "origin/main", cwd=clone).stdout == before
    assert desk("log", "-1", "--format=%s", "origin/new", cwd=clone).lines == ["two"]
    assert desk("log", "-1", "--format=%s", "v2", cwd=clone).lines == ["two"]


def test_data_comes_from_who_can_be_reached_first(clone: Path, desk: Desk) -> None:
    shutil.rmtree(desk.folder / "first")
    shutil.rmtree(desk.folder / "second")

    # The third has what is asked for, and not what came after it was made.
    assert desk("cat", "HEAD~1:a", cwd=clone).stdout == "1" * 100_000
    assert "third" in desk("config", "--list", cwd=clone).stdout


def test_where_nobody_can_be_reached_the_remote_is_named(clone: Path, desk: Desk) -> None:
    for name in ("first", "second", "third"):
        shutil.rmtree(desk.folder / name)

    said = desk("fetch", cwd=clone, code=7).stderr

    assert "error: the store of the remote origin is gone\n" in said
    assert "origin has" in desk("cat", "HEAD~1:a", cwd=clone, code=7).stderr


def test_a_remote_that_mirrors_nothing_is_not_asked_for_others(clone: Path, desk: Desk) -> None:
    for name in ("second", "third"):
        desk("config", "--unset", f"remote.{name}.mirror-of", cwd=clone)
    shutil.rmtree(desk.folder / "first")

    assert "asking" not in desk("fetch", cwd=clone, code=7).stderr
    desk("cat", "HEAD~1:a", cwd=clone, code=7)
