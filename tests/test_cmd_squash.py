"""dsvc squash: one version in place of several."""

from pathlib import Path

import pytest

from tests.forked import Desk, desk
from tests.worktree_support import Files, read_files

__all__ = ["desk"]

VERSIONS: list[Files] = [
    {b"a": b"1", b"b": b"2"},
    {b"a": b"1", b"b": b"2", b"removed-later": b"x" * 100_000},
    {b"a": b"3", b"b": b"2"},
    {b"a": b"3", b"c": b"4"},
]


@pytest.fixture
def ids(desk: Desk) -> list[str]:
    """The commits of four versions."""
    return [desk.commit(files, f"Version {number}") for number, files in enumerate(VERSIONS)]


def data_of(desk: Desk) -> set[Path]:
    return set((desk.work / ".dsvc" / "store" / "packs").rglob("*.*"))


def test_the_current_branch_gets_one_version_with_the_very_tree_of_the_last(desk: Desk, ids: list[str]) -> None:
    tree = desk.tree()

    said = desk("squash", f"{ids[0]}..", "-m", "All").stderr.splitlines()

    assert said == [f"[main {desk.head()[:10]}] All", " squashed 3 versions"]
    assert desk.tree() == tree
    assert desk.lines("log", "--format=%s") == ["All", "Version 0"]
    assert desk("status", "-s").stdout == ""


def test_clearml_squash_resurrects__what_was_removed_on_the_way_stays_removed(desk: Desk, ids: list[str]) -> None:
    desk("squash", f"{ids[0]}..{ids[3]}", "--branch", "short", "-q")
    desk("squash", "--root", ids[2], "--branch", "shortest", "-q")

    assert desk.lines("ls", "-r", "short") == ["a", "c"]
    assert desk.lines("ls", "-r", "shortest") == ["a", "b"]
    desk("clone", "-q", "-b", "short", desk.work, "clone", cwd=desk.folder)
    assert read_files(desk.folder / "clone") == VERSIONS[3]


def test_no_data_moves(desk: Desk, ids: list[str]) -> None:
    before = data_of(desk)

    desk("squash", f"{ids[0]}..", "-q")

    (new,) = data_of(desk) - before
    assert new.stat().st_size < 1000


def test_another_branch_is_made_and_nothing_else_moves(desk: Desk, ids: list[str]) -> None:
    said = desk("squash", f"{ids[0]}..{ids[2]}", "-b", "short").stderr.splitlines()

    assert said[1] == " squashed 2 versions, which stay at main"
    assert desk.head() == ids[3]
    assert desk.tree("short") == desk.tree(ids[2])
    assert desk.lines("log", "--format=%P", "-1", "short") == [ids[0]]


def test_without_a_message_the_versions_are_listed(desk: Desk, ids: list[str]) -> None:
    desk("squash", f"{ids[1]}..", "-q")

    assert desk.lines("log", "-1", "--format=%B")[:4] == ["Squash 2 versions", "", "* Version 3", "* Version 2"]


def test_all_versions_become_one_without_any_before_it(desk: Desk, ids: list[str]) -> None:
    desk("squash", "--root", "-m", "All", "-q")

    assert desk.lines("log", "--format=%s|%P") == ["All|"]
    assert len(ids) == 4


def test_what_is_edited_and_staged_stays_so_and_undo_takes_it_back(desk: Desk, ids: list[str]) -> None:
    (desk.work / "staged").write_text("x")
    desk("add", "-q", "staged")
    (desk.work / "a").write_text("edited")

    desk("squash", f"{ids[0]}..", "-q")

    assert desk.lines("status", "-s") == [" M a", "A  staged"]
    desk("undo", "-q")
    assert desk.head() == ids[3]
    assert desk.lines("status", "-s") == [" M a", "A  staged"]


def test_versions_that_were_pushed_are_squashed_by_force_or_beside(desk: Desk, ids: list[str]) -> None:
    desk("remote", "add", "origin", "../remote")
    desk("push", "-q", "origin", "main")

    refused = desk("squash", f"{ids[0]}..", code=10)

    assert "origin/main would part from it" in refused.stderr
    assert desk.head() == ids[3]
    desk("squash", f"{ids[0]}..", "-b", "beside", "-q")
    assert desk("squash", f"{ids[0]}..", "-f").stderr.splitlines()[1].endswith(", which stay at origin/main")


def test_versions_that_a_remote_has_gone_on_from_were_pushed_too(desk: Desk, ids: list[str]) -> None:
    desk("remote", "add", "origin", "../remote")
    desk("push", "-q", "origin", "main")
    desk("reset", "-q", "--hard", ids[2])

    assert "origin/main would part from it" in desk("squash", f"{ids[0]}..", code=10).stderr
    assert desk.head() == ids[2]


def test_other_branches_and_tags_keep_the_old_versions_and_are_named(desk: Desk, ids: list[str]) -> None:
    desk("tag", "v1", ids[1])
    desk("tag", "-a", "v2", "-m", "Two", ids[2])
    desk("branch", "topic", ids[0])

    (record,) = desk.json("squash", f"{ids[0]}..")

    assert record["squashed"] == 3
    assert record["kept"] == ["refs/tags/v1", "refs/tags/v2"]
    assert desk.head("v1") == ids[1]


def test_inputs_of_all_are_kept(desk: Desk, ids: list[str]) -> None:
    desk("branch", "source", ids[0])
    desk("commit", "-q", "--allow-empty", "-m", "Made", "--input", "source")
    desk("commit", "-q", "--allow-empty", "-m", "Last")

    desk("squash", f"{ids[3]}..", "-q")

    assert ids[0] in desk("show", "--json").stdout


def test_what_cannot_be_squashed_is_refused_with_the_reason(desk: Desk, ids: list[str]) -> None:
    assert "is one version already" in desk("squash", f"{ids[2]}..", code=1).stderr
    assert "is not the current version" in desk("squash", f"{ids[0]}..{ids[2]}", code=2).stderr
    assert "is not a version that" in desk("squash", f"{ids[3]}..{ids[0]}", "-b", "x", code=2).stderr
    assert "is not a range" in desk("squash", ids[0], code=2).stderr
    assert "say which versions" in desk("squash", code=2).stderr
    assert "is not a range" in desk("squash", f"{ids[0]}...", code=2).stderr
    assert "name the last version only" in desk("squash", "--root", f"{ids[0]}..", code=2).stderr
    assert "already exists" in desk("squash", f"{ids[0]}..", "-b", "main", code=5).stderr
    desk("squash", "nowhere..", code=4)
    assert desk.head() == ids[3]
