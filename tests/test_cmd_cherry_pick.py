"""dsvc cherry-pick, dsvc revert and dsvc rebase, as people type them."""

import json
from pathlib import Path

import pytest

from dsvc.worktree.switch import switch_to_branch, switch_to_new_branch
from tests.conftest import RunDsvc
from tests.worktree_support import Files, commit_all, make_worktree, read_files

BASE: Files = {b"a": b"1", b"b": b"1"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """On main, with `a` edited; topic has two commits: a new file, and an edit of `a`."""
    worktree = make_worktree(tmp_path / "repository")
    root = commit_all(worktree, BASE, "base")
    switch_to_new_branch(worktree, "topic", root)
    commit_all(worktree, {**BASE, b"new": b"new"}, "a new file")
    commit_all(worktree, {**BASE, b"new": b"new", b"a": b"topic"}, "an edit")
    switch_to_branch(worktree, "main")
    commit_all(worktree, {**BASE, b"a": b"main"}, "another edit")
    worktree.close()
    return worktree.root


def test_a_range_is_picked_up_to_its_conflict(folder: Path, run_dsvc: RunDsvc) -> None:
    ended = run_dsvc("cherry-pick", "-x", "main..topic", cwd=folder, code=5)

    assert ended.stderr.splitlines()[0].endswith("] a new file")
    assert ended.stderr.splitlines()[1] == "CONFLICT (content): both sides changed a"
    assert 'run "dsvc cherry-pick --continue"' in run_dsvc("status", cwd=folder).stdout
    assert run_dsvc("cherry-pick", "--skip", cwd=folder).stderr.startswith("left out ")
    assert run_dsvc("log", "--format=%s", cwd=folder).lines == ["a new file", "another edit", "base"]


def test_a_revert_names_what_it_reverts(folder: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("revert", "HEAD", cwd=folder)

    assert read_files(folder) == BASE
    assert run_dsvc("log", "-1", "--format=%s", cwd=folder).stdout == 'Revert "another edit"\n'


def test_a_rebase_makes_history_a_line(folder: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("rebase", "-X", "theirs", "topic", cwd=folder)

    assert run_dsvc("log", "--format=%s", cwd=folder).lines == ["another edit", "an edit", "a new file", "base"]
    assert read_files(folder) == {**BASE, b"new": b"new", b"a": b"main"}


def test_json_says_what_was_made(folder: Path, run_dsvc: RunDsvc) -> None:
    ended = run_dsvc("cherry-pick", "--json", "topic~1", "topic", cwd=folder, code=5)

    conflict, last = map(json.loads, ended.lines)
    assert (conflict["kind"], conflict["path"]) == ("conflict", "a")
    assert (last["kind"], len(last["made"]), last["conflicts"]) == ("cherry-pick", 1, 1)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["cherry-pick"], 2),
        (["revert", "--continue", "--abort"], 2),
        (["rebase", "--skip", "topic"], 2),
        (["cherry-pick", "nowhere"], 4),
        (["revert", "--abort"], 4),
        (["cherry-pick", "-m", "1", "topic"], 2),
    ],
)
def test_what_cannot_be_is_refused(folder: Path, run_dsvc: RunDsvc, words: list[str], code: int) -> None:
    run_dsvc(*words, cwd=folder, code=code)

    assert read_files(folder) == {**BASE, b"a": b"main"}
