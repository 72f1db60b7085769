"""dsvc switch, also one that was interrupted."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dsvc.log.entry import RefChange
from dsvc.worktree.resume import resume
from dsvc.worktree.switch import switch_to_branch, switch_to_new_branch
from tests.conftest import RunDsvc
from tests.worktree_support import commit_all, make_worktree, open_copy


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A repository on main at the first commit; `topic` has a second one."""
    worktree = make_worktree(tmp_path / "repository")
    first = commit_all(worktree, {b"a": b"1", b"gone": b"1"}, "one")
    switch_to_new_branch(worktree, "topic", first)
    commit_all(worktree, {b"a": b"22", b"d/x": b"x", b"d/y": b"y", b"d/z": b"z"}, "two")
    switch_to_branch(worktree, "main")
    return worktree.root


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def current(run_dsvc: RunDsvc, folder: Path) -> str:
    return run_dsvc("branch", "--show-current", cwd=folder).stdout.strip()


def test_files_and_head_go_to_the_other_branch_and_back(folder: Path, run_dsvc: RunDsvc) -> None:
    ended = run_dsvc("switch", "topic", cwd=folder)

    assert ended.stdout == ""
    assert ended.stderr.splitlines() == ["Switched to branch 'topic'", "updated 5 paths"]
    assert (folder / "a").read_text() == "22"
    assert not (folder / "gone").exists()
    assert run_dsvc("status", "-s", cwd=folder).stdout == ""
    run_dsvc("switch", "-", cwd=folder)
    assert current(run_dsvc, folder) == "main"
    assert names(folder) == [".dsvc", "a", "gone"]


def test_where_one_is_already_nothing_happens(folder: Path, run_dsvc: RunDsvc) -> None:
    assert run_dsvc("switch", "main", cwd=folder).stderr.splitlines() == ["Already on 'main'"]


def test_a_new_branch_starts_here_or_where_it_is_told(folder: Path, run_dsvc: RunDsvc) -> None:
    ended = run_dsvc("switch", "-c", "new", cwd=folder)
    assert ended.stderr.splitlines() == ["Switched to a new branch 'new'"]
    run_dsvc("switch", "-c", "vision/new", "topic", cwd=folder)
    assert (folder / "a").read_text() == "22"

    ended = run_dsvc("switch", "-c", "main", cwd=folder, code=5)
    assert "a branch named 'main' already exists" in ended.stderr
    ended = run_dsvc("switch", "-C", "new", "topic", cwd=folder)
    assert ended.stderr.splitlines() == ["Switched to and reset branch 'new'"]


def test_before_the_first_commit_what_is_staged_goes_to_the_new_branch(
    repository_folder: Path, run_dsvc: RunDsvc
) -> None:
    (repository_folder / "a").write_text("1")
    run_dsvc("add", "a", cwd=repository_folder)

    run_dsvc("switch", "-c", "trunk", cwd=repository_folder)

    assert run_dsvc("status", "-s", cwd=repository_folder).lines == ["A  a"]
    assert current(run_dsvc, repository_folder) == "trunk"


def test_a_version_needs_detach_and_a_commit_left_behind_is_named(folder: Path, run_dsvc: RunDsvc) -> None:
    ended = run_dsvc("switch", "topic~1", cwd=folder, code=2)
    assert "dsvc switch --detach topic~1" in ended.stderr

    ended = run_dsvc("switch", "--detach", "topic", cwd=folder)
    assert ended.stderr.splitlines()[0].startswith("HEAD is now at ")
    (folder / "a").write_text("333")
    run_dsvc("commit", "-q", "-a", "-m", "on no branch", cwd=folder)
    ended = run_dsvc("switch", "main", cwd=folder)

    assert "you are leaving 1 commit behind" in ended.stderr
    assert "on no branch" in ended.stderr
    assert "dsvc branch <new-branch-name>" in ended.stderr


def test_the_branch_of_a_remote_is_made_here(folder: Path, run_dsvc: RunDsvc) -> None:
    worktree = open_copy(folder)
    there = worktree.store.state().value("refs/heads/topic")
    worktree.store.publish(lambda _: [RefChange("refs/remotes/origin/data/theirs", None, there)])

    ended = run_dsvc("switch", "data/theirs", cwd=folder)

    assert "branch 'data/theirs' set up to track 'origin/data/theirs'" in ended.stderr
    assert (folder / "a").read_text() == "22"
    run_dsvc("switch", "-q", "main", cwd=folder)
    run_dsvc("branch", "-D", "data/theirs", cwd=folder)
    run_dsvc("switch", "--no-guess", "data/theirs", cwd=folder, code=4)
    worktree.store.publish(lambda _: [RefChange("refs/remotes/other/data/theirs", None, there)])
    ended = run_dsvc("switch", "data/theirs", cwd=folder, code=5)
    assert "several remotes: origin/data/theirs, other/data/theirs" in ended.stderr


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "missing branch to switch to"),
        (["nowhere"], 4, "there is no such branch"),
        (["-c", "x", "nowhere"], 4, "unknown revision `nowhere`"),
        (["-c", "a..b"], 2, "invalid ref"),
        (["-c", "x", "-C", "y"], 2, "choose one of"),
        (["--orphan", "x", "main"], 2, "starts from nothing"),
        (["--orphan", "topic"], 5, "already exists"),
        (["--continue"], 4, "no switch was interrupted"),
        (["--abort"], 4, "no switch was interrupted"),
    ],
)
def test_what_cannot_be_is_refused(folder: Path, run_dsvc: RunDsvc, words: list[str], code: int, message: str) -> None:
    assert message in run_dsvc("switch", *words, cwd=folder, code=code).stderr
    assert current(run_dsvc, folder) == "main"


def test_an_orphan_begins_without_files(folder: Path, run_dsvc: RunDsvc) -> None:
    (folder / "untracked").write_text("mine")

    run_dsvc("switch", "--orphan", "fresh", cwd=folder)

    assert names(folder) == [".dsvc", "untracked"]
    assert current(run_dsvc, folder) == "fresh"


def test_local_changes_stop_a_switch_unless_they_are_given_up(folder: Path, run_dsvc: RunDsvc) -> None:
    (folder / "a").write_text("mine")

    ended = run_dsvc("switch", "topic", cwd=folder, code=5)
    assert ended.stderr.splitlines()[:2] == ["error: local changes would be overwritten:", "\ta"]
    assert (folder / "a").read_text() == "mine"
    run_dsvc("switch", "-f", "topic", cwd=folder)

    assert (folder / "a").read_text() == "22"


class TestInterrupted:
    """The real command line, killed at a chosen step."""

    @pytest.fixture
    def interrupted(self, folder: Path, environment: dict[str, str]) -> Path:
        script = "import sys; from tests.killed import arm; from dsvc.cli.main import run; arm(int(sys.argv[1]));"
        python = [sys.executable, "-c", f"{script} run(['switch', '-q', 'topic'])"]
        # Later and later, until some files are written, and before all are.
        for step in range(10, 60):
            ended = subprocess.run([*python, str(step)], cwd=folder, env=environment, check=False)
            assert ended.returncode == -signal.SIGKILL
            if (folder / "d" / "x").exists():
                return folder
            resume(open_copy(folder), back=True)
        pytest.fail("it was never interrupted among the files")

    def test_status_says_so_and_everything_waits_until_it_is_finished(
        self, interrupted: Path, run_dsvc: RunDsvc
    ) -> None:
        assert "A switch to topic was interrupted" in run_dsvc("status", cwd=interrupted).stdout
        for words in (["add", "-A"], ["commit", "-m", "x"], ["switch", "topic"], ["undo"]):
            ended = run_dsvc(*words, cwd=interrupted, code=5)
            assert "a switch to topic was interrupted" in ended.stderr
            assert "dsvc switch --continue" in ended.stderr
            assert "dsvc switch --abort" in ended.stderr

        ended = run_dsvc("switch", "--continue", cwd=interrupted)

        assert ended.stderr.splitlines() == ["Switched to branch 'topic'"]
        assert names(interrupted) == [".dsvc", "a", "d"]
        assert run_dsvc("status", "-s", cwd=interrupted).stdout == ""

    def test_it_can_be_taken_back(self, interrupted: Path, run_dsvc: RunDsvc) -> None:
        ended = run_dsvc("switch", "--abort", cwd=interrupted)

        assert ended.stderr.splitlines() == ["Back on branch 'main'"]
        assert names(interrupted) == [".dsvc", "a", "gone"]
        assert run_dsvc("status", "-s", cwd=interrupted).stdout == ""
        run_dsvc("switch", "topic", cwd=interrupted)
