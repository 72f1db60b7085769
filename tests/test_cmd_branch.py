"""dsvc branch."""

import json
from pathlib import Path

import pytest

from dsvc.history.branches import create_branch
from tests.conftest import RunDsvc
from tests.worktree_support import commit_all, make_worktree


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A repository with two commits on main, and the branch `first` at the first of them."""
    worktree = make_worktree(tmp_path / "repository")
    first = commit_all(worktree, {b"a": b"1"}, "one")
    create_branch(worktree.store, "first", first)
    commit_all(worktree, {b"a": b"22"}, "two")
    return worktree.root


def branches(run_dsvc: RunDsvc, folder: Path, *options: str) -> list[str]:
    return run_dsvc("branch", *options, cwd=folder).lines


def test_branches_are_listed_with_the_current_one_marked(folder: Path, run_dsvc: RunDsvc) -> None:
    assert branches(run_dsvc, folder) == ["  first", "* main"]
    assert branches(run_dsvc, folder, "--show-current") == ["main"]
    assert branches(run_dsvc, folder, "--list", "f*") == ["  first"]
    assert branches(run_dsvc, folder, "--sort=-refname") == ["* main", "  first"]


def test_verbose_shows_commit_size_and_subject(folder: Path, run_dsvc: RunDsvc) -> None:
    lines = [line.split("  ") for line in branches(run_dsvc, folder, "-v")]

    assert [line[-2:] for line in lines] == [["1 file, 1 B", "one"], ["1 file, 2 B", "two"]]


def test_json_tells_all_of_it(folder: Path, run_dsvc: RunDsvc) -> None:
    told = [json.loads(line) for line in branches(run_dsvc, folder, "--json")]

    assert [(one["name"], one["current"], one["subject"], one["files"], one["size"]) for one in told] == [
        ("first", False, "one", 1, 1),
        ("main", True, "two", 1, 2),
    ]


def test_branches_are_chosen_by_what_they_contain_and_by_what_contains_them(folder: Path, run_dsvc: RunDsvc) -> None:
    assert branches(run_dsvc, folder, "--contains", "main") == ["* main"]
    assert branches(run_dsvc, folder, "--contains", "first") == ["  first", "* main"]
    assert branches(run_dsvc, folder, "--merged", "first") == ["  first"]
    assert branches(run_dsvc, folder, "--no-merged", "first") == ["* main"]


def test_a_branch_starts_where_it_is_told_and_may_have_slashes(folder: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("branch", "vision/imagenet", "HEAD~1", cwd=folder)

    assert branches(run_dsvc, folder, "--merged", "first") == ["  first", "  vision/imagenet"]
    assert branches(run_dsvc, folder, "--show-current") == ["main"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["first"], 5, "a branch named 'first' already exists"),
        (["-f", "main", "first"], 10, "cannot move branch 'main': it is the current one"),
        (["new", "nowhere"], 4, "unknown revision `nowhere`"),
        (["a..b"], 2, "invalid ref"),
        (["HEAD"], 2, "invalid ref"),
        (["-d", "main"], 10, "cannot delete branch 'main': it is the current one"),
        (["-d", "nothing"], 4, "branch 'nothing' not found"),
        (["-m", "nothing", "new"], 4, "branch 'nothing' not found"),
        (["-m", "first"], 5, "a branch named 'first' already exists"),
        (["-d"], 2, "branch name required"),
        (["-d", "-m", "first"], 2, "choose one of"),
        (["one", "two", "three"], 2, "unexpected argument `three`"),
        (["--sort=colour"], 2, "cannot sort by `colour`"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    folder: Path, run_dsvc: RunDsvc, words: list[str], code: int, message: str
) -> None:
    before = branches(run_dsvc, folder, "-v")

    ended = run_dsvc("branch", *words, cwd=folder, code=code)

    assert message in ended.stderr
    assert branches(run_dsvc, folder, "-v") == before


def test_before_the_first_commit_there_is_nothing_to_branch_from(repository_folder: Path, run_dsvc: RunDsvc) -> None:
    ended = run_dsvc("branch", "topic", cwd=repository_folder, code=4)

    assert "your current branch `main` does not have any commits yet" in ended.stderr


def test_force_moves_a_branch(folder: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("branch", "-f", "first", "main", cwd=folder)

    assert branches(run_dsvc, folder, "--contains", "main") == ["  first", "* main"]


def test_a_merged_branch_is_deleted_and_another_one_only_by_force(folder: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("switch", "-q", "first", cwd=folder)

    ended = run_dsvc("branch", "-d", "main", cwd=folder, code=10)
    assert "the branch 'main' is not fully merged" in ended.stderr
    assert "dsvc branch -D main" in ended.stderr
    ended = run_dsvc("branch", "-D", "main", cwd=folder)
    assert ended.stderr.startswith("Deleted branch main (was ")

    run_dsvc("branch", "merged", cwd=folder)
    run_dsvc("branch", "-d", "merged", cwd=folder)
    assert branches(run_dsvc, folder) == ["* first"]


def test_the_current_branch_is_renamed_and_head_goes_with_it(folder: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("branch", "-m", "trunk", cwd=folder)

    assert branches(run_dsvc, folder) == ["  first", "* trunk"]
    assert run_dsvc("status", "-s", cwd=folder).stdout == ""
    run_dsvc("branch", "-m", "first", "other", cwd=folder)
    assert branches(run_dsvc, folder) == ["  other", "* trunk"]
    run_dsvc("branch", "-M", "other", cwd=folder)
    assert branches(run_dsvc, folder) == ["* other"]


def test_a_branch_without_commits_can_be_renamed(repository_folder: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("branch", "-m", "trunk", cwd=repository_folder)

    assert branches(run_dsvc, repository_folder, "--show-current") == ["trunk"]


def test_a_copy_is_at_the_same_commit(folder: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("branch", "-c", "first", "second", cwd=folder)

    assert branches(run_dsvc, folder, "--merged", "first") == ["  first", "  second"]


def test_a_detached_head_is_listed_as_such(folder: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("switch", "-q", "--detach", "first", cwd=folder)

    lines = branches(run_dsvc, folder)

    assert lines[0].startswith("* (HEAD detached at ")
    assert lines[1:] == ["  first", "  main"]
    assert branches(run_dsvc, folder, "--show-current") == []


def test_a_branch_follows_what_it_is_told_to(run_dsvc: RunDsvc, tmp_path: Path) -> None:
    first = tmp_path / "first"
    run_dsvc("init", str(first))
    (first / "a").write_text("a")
    run_dsvc("add", "-A", cwd=first)
    run_dsvc("commit", "-m", "one", cwd=first)
    run_dsvc("remote", "add", "hub", str(tmp_path / "hub"), cwd=first)
    run_dsvc("push", "hub", "main:shared", cwd=first)

    run_dsvc("branch", "-u", "hub/shared", cwd=first)

    assert "up to date with 'hub/shared'" in run_dsvc("status", cwd=first).stdout
    run_dsvc("branch", "--unset-upstream", cwd=first)
    assert "hub/shared" not in run_dsvc("status", cwd=first).stdout
    assert run_dsvc("branch", "-u", "hub/other", cwd=first, code=4).stderr.startswith("error: there is no branch")
