"""dsvc reflog."""

import json
from pathlib import Path

import pytest

from tests.conftest import RunDsvc
from tests.worktree_support import commit_all, make_worktree


@pytest.fixture
def folder(tmp_path: Path, run_dsvc: RunDsvc) -> Path:
    """Two commits on main, a branch, one commit there, and back."""
    worktree = make_worktree(tmp_path / "repository")
    commit_all(worktree, {b"a": b"1"}, "one")
    commit_all(worktree, {b"a": b"22"}, "two")
    run_dsvc("switch", "-q", "-c", "topic", "HEAD~1", cwd=worktree.root)
    (worktree.root / "b").write_text("3")
    run_dsvc("add", "b", cwd=worktree.root)
    run_dsvc("commit", "-q", "-m", "three", cwd=worktree.root)
    run_dsvc("switch", "-q", "main", cwd=worktree.root)
    return worktree.root


def told(run_dsvc: RunDsvc, folder: Path, *words: str) -> list[str]:
    """Return the lines without the ids in front and the dates behind."""
    return [line[11:].rpartition(" (")[0] for line in run_dsvc("reflog", *words, cwd=folder).lines]


def test_head_is_shown_over_time_whatever_branch_it_was_on(folder: Path, run_dsvc: RunDsvc) -> None:
    assert told(run_dsvc, folder) == [
        "HEAD@{0}: switch: moving from topic to main",
        "HEAD@{1}: commit: three",
        "HEAD@{2}: switch: moving from main to topic",
        "HEAD@{3}: test: two",
        "HEAD@{4}: test: one",
    ]


def test_each_name_that_it_prints_is_a_revision(folder: Path, run_dsvc: RunDsvc) -> None:
    for line in run_dsvc("reflog", cwd=folder).lines:
        short, name = line.split(" ")[:2]
        logged = run_dsvc("log", "-1", "--json", name.rstrip(":"), cwd=folder).stdout
        assert short in logged


def test_a_branch_has_its_own_which_outlives_it(folder: Path, run_dsvc: RunDsvc) -> None:
    assert told(run_dsvc, folder, "main") == ["main@{0}: test: two", "main@{1}: test: one"]
    run_dsvc("branch", "-D", "topic", cwd=folder)

    assert told(run_dsvc, folder, "show", "topic") == [
        "topic@{0}: branch: deleted",
        "topic@{1}: commit: three",
        "topic@{2}: switch: one",
    ]


def test_only_the_last_changes_are_shown_if_asked(folder: Path, run_dsvc: RunDsvc) -> None:
    assert told(run_dsvc, folder, "-1") == ["HEAD@{0}: switch: moving from topic to main"]
    assert len(told(run_dsvc, folder, "-n", "2", "HEAD")) == 2


def test_json_tells_time_actor_and_command(folder: Path, run_dsvc: RunDsvc) -> None:
    newest, older = [json.loads(line) for line in run_dsvc("reflog", "--json", "-2", cwd=folder).lines]

    assert newest["command"] == "switch"
    assert (newest["old_head"], newest["head"]) == ("refs/heads/topic", "refs/heads/main")
    assert newest["old"] == older["new"]
    assert newest["time"] == 1_785_578_400_000_000
    assert "@" in newest["actor"]
    assert newest["seq"] > older["seq"]


def test_a_name_that_never_was_is_refused(folder: Path, run_dsvc: RunDsvc) -> None:
    ended = run_dsvc("reflog", "nothing", cwd=folder, code=4)

    assert "there never was such a ref" in ended.stderr


def test_before_the_first_commit_there_is_nothing_to_show(repository_folder: Path, run_dsvc: RunDsvc) -> None:
    assert run_dsvc("reflog", cwd=repository_folder).stdout == ""
