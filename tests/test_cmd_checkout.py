"""dsvc checkout: switching and restoring under git's old name."""

from pathlib import Path

import pytest

from dsvc.log.entry import RefChange
from dsvc.worktree.switch import switch_to_branch, switch_to_new_branch
from tests.conftest import RunDsvc
from tests.worktree_support import commit_all, make_worktree, open_copy


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A repository on main at the first commit; `topic` has a second one."""
    worktree = make_worktree(tmp_path / "repository")
    first = commit_all(worktree, {b"a": b"1", b"b": b"1"}, "one")
    switch_to_new_branch(worktree, "topic", first)
    commit_all(worktree, {b"a": b"22", b"c": b"22"}, "two")
    switch_to_branch(worktree, "main")
    return worktree.root


def current(run_dsvc: RunDsvc, folder: Path) -> str:
    return run_dsvc("branch", "--show-current", cwd=folder).stdout.strip()


def test_a_branch_is_switched_to(folder: Path, run_dsvc: RunDsvc) -> None:
    ended = run_dsvc("checkout", "topic", cwd=folder)
    assert ended.stderr.splitlines()[0] == "Switched to branch 'topic'"
    assert (folder / "c").exists()

    run_dsvc("checkout", "-", cwd=folder)
    assert current(run_dsvc, folder) == "main"
    assert run_dsvc("checkout", cwd=folder).stderr == ""


def test_another_version_detaches_head_with_advice(folder: Path, run_dsvc: RunDsvc) -> None:
    ended = run_dsvc("checkout", "topic~0", cwd=folder)

    assert "You are in 'detached HEAD' state" in ended.stderr
    assert "dsvc switch -c <new-branch-name>" in ended.stderr
    assert "HEAD is now at " in ended.stderr
    assert current(run_dsvc, folder) == ""
    assert (folder / "a").read_text() == "22"


def test_branches_are_made_with_b(folder: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("checkout", "-b", "new", "topic", cwd=folder)
    assert current(run_dsvc, folder) == "new"
    run_dsvc("checkout", "-b", "main", cwd=folder, code=5)
    run_dsvc("checkout", "-B", "new", "main", cwd=folder)

    assert (folder / "a").read_text() == "1"


def test_the_branch_of_a_remote_is_made_here(folder: Path, run_dsvc: RunDsvc) -> None:
    store = open_copy(folder).store
    store.publish(lambda state: [RefChange("refs/remotes/origin/theirs", None, state.value("refs/heads/topic"))])

    run_dsvc("checkout", "theirs", cwd=folder)

    assert current(run_dsvc, folder) == "theirs"
    assert (folder / "a").read_text() == "22"


def test_paths_are_restored_from_what_is_staged(folder: Path, run_dsvc: RunDsvc) -> None:
    (folder / "a").unlink()
    (folder / "b").unlink()
    (folder / "b").write_text("mine")

    run_dsvc("checkout", "a", cwd=folder)
    assert (folder / "a").read_text() == "1"
    run_dsvc("checkout", "--", "b", cwd=folder)

    assert (folder / "b").read_text() == "1"
    assert run_dsvc("status", "-s", cwd=folder).stdout == ""


def test_paths_of_a_version_are_restored_and_staged_and_nothing_is_removed(folder: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("checkout", "topic", "--", ".", cwd=folder)

    assert run_dsvc("status", "-s", cwd=folder).lines == ["M  a", "A  c"]
    assert (folder / "b").exists()
    assert current(run_dsvc, folder) == "main"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["nowhere"], 4, "nowhere"),
        (["topic", "main"], 4, "main"),
        (["topic", "main", "--", "a"], 2, "more than one revision"),
        (["--", "nothing"], 4, "nothing"),
        (["-b", "x", "-B", "y"], 2, "choose one"),
        (["-b", "x", "--", "a"], 2, "takes no paths"),
    ],
)
def test_what_cannot_be_is_refused(folder: Path, run_dsvc: RunDsvc, words: list[str], code: int, message: str) -> None:
    assert message in run_dsvc("checkout", *words, cwd=folder, code=code).stderr
    assert current(run_dsvc, folder) == "main"


def test_a_word_that_is_a_branch_and_a_file_is_refused(folder: Path, run_dsvc: RunDsvc) -> None:
    (folder / "topic").write_text("mine")

    ended = run_dsvc("checkout", "topic", cwd=folder, code=2)
    assert "both a revision and a path" in ended.stderr
    run_dsvc("checkout", "-f", "topic~0", cwd=folder)

    assert (folder / "topic").read_text() == "mine"


def test_local_changes_stop_it_unless_forced(folder: Path, run_dsvc: RunDsvc) -> None:
    (folder / "a").unlink()
    (folder / "a").write_text("mine")

    assert "local changes would be overwritten" in run_dsvc("checkout", "topic", cwd=folder, code=5).stderr
    run_dsvc("checkout", "-f", "topic", cwd=folder)

    assert (folder / "a").read_text() == "22"
