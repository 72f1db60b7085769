"""dsvc reset."""

import json
from pathlib import Path

import pytest

from tests.conftest import RunDsvc


@pytest.fixture
def folder(run_dsvc: RunDsvc, repository_folder: Path) -> Path:
    """A repository with two commits: a and old, then a and new."""
    (repository_folder / "a").write_text("a of the first commit")
    (repository_folder / "old").write_text("old")
    run_dsvc("add", ".", cwd=repository_folder)
    run_dsvc("commit", "-qm", "first", cwd=repository_folder)
    (repository_folder / "a").write_text("a of the second commit")
    (repository_folder / "old").unlink()
    (repository_folder / "new").write_text("new")
    run_dsvc("add", "-A", cwd=repository_folder)
    run_dsvc("commit", "-qm", "second", cwd=repository_folder)
    return repository_folder


def short(run_dsvc: RunDsvc, folder: Path) -> list[str]:
    return run_dsvc("status", "-s", cwd=folder).lines


def head(run_dsvc: RunDsvc, folder: Path) -> str:
    record: dict[str, str] = json.loads(run_dsvc("status", "--json", cwd=folder).lines[0])
    return record["commit"]


def test_soft_moves_the_branch_alone(run_dsvc: RunDsvc, folder: Path) -> None:
    second = head(run_dsvc, folder)
    (folder / "a").write_text("edited")

    run_dsvc("reset", "--soft", "HEAD~1", cwd=folder)

    assert short(run_dsvc, folder) == ["MM a", "A  new", "D  old"]
    run_dsvc("reset", "--soft", second, cwd=folder)
    assert short(run_dsvc, folder) == [" M a"]
    assert head(run_dsvc, folder) == second


def test_mixed_unstages_and_tells_what_is_edited(run_dsvc: RunDsvc, folder: Path) -> None:
    result = run_dsvc("reset", "HEAD~1", cwd=folder)

    assert result.stderr == "Unstaged changes after reset:\nM\ta\nD\told\n"
    assert short(run_dsvc, folder) == [" M a", " D old", "?? new"]


def test_hard_takes_the_files_along_and_leaves_what_is_not_tracked(run_dsvc: RunDsvc, folder: Path) -> None:
    (folder / "a").write_text("edited")
    (folder / "staged").write_text("staged")
    run_dsvc("add", "staged", cwd=folder)
    (folder / "untracked").write_text("untracked")

    result = run_dsvc("reset", "--hard", "HEAD~1", cwd=folder)

    assert result.stderr.startswith("HEAD is now at ")
    assert result.stderr.endswith(" first\n")
    assert (folder / "a").read_text() == "a of the first commit"
    assert (folder / "old").read_text() == "old"
    assert sorted(path.name for path in folder.iterdir()) == [".dsvc", "a", "old", "untracked"]
    assert short(run_dsvc, folder) == ["?? untracked"]


def test_hard_without_a_revision_gives_up_all_edits(run_dsvc: RunDsvc, folder: Path) -> None:
    (folder / "a").write_text("staged")
    run_dsvc("add", "a", cwd=folder)
    (folder / "a").write_text("edited")
    (folder / "new").unlink()

    run_dsvc("reset", "--hard", cwd=folder)

    assert short(run_dsvc, folder) == []
    assert (folder / "a").read_text() == "a of the second commit"


def test_paths_are_unstaged_and_the_branch_stays(run_dsvc: RunDsvc, folder: Path) -> None:
    second = head(run_dsvc, folder)
    for name in ("a", "new"):
        (folder / name).write_text("edited")
    run_dsvc("add", ".", cwd=folder)

    run_dsvc("reset", "a", cwd=folder)
    assert short(run_dsvc, folder) == [" M a", "M  new"]

    run_dsvc("reset", "-q", "HEAD~1", "--", "new", cwd=folder)
    assert short(run_dsvc, folder) == [" M a", "D  new", "?? new"]
    assert head(run_dsvc, folder) == second


def test_before_the_first_commit_reset_empties_what_is_staged(run_dsvc: RunDsvc, repository_folder: Path) -> None:
    for name in ("a", "b"):
        (repository_folder / name).write_text(name)
    run_dsvc("add", ".", cwd=repository_folder)

    run_dsvc("reset", "a", cwd=repository_folder)
    assert short(run_dsvc, repository_folder) == ["A  b", "?? a"]
    run_dsvc("reset", cwd=repository_folder)
    assert short(run_dsvc, repository_folder) == ["?? a", "?? b"]

    run_dsvc("add", "b", cwd=repository_folder)
    run_dsvc("reset", "--hard", cwd=repository_folder)
    assert short(run_dsvc, repository_folder) == ["?? a"]


def test_reset_refuses_what_cannot_be_and_changes_nothing(run_dsvc: RunDsvc, folder: Path) -> None:
    (folder / "a").write_text("edited")
    before = head(run_dsvc, folder)

    assert "v9" in run_dsvc("reset", "--hard", "v9", cwd=folder, code=4).stderr
    run_dsvc("reset", "--hard", "--soft", cwd=folder, code=2)
    run_dsvc("reset", "--hard", "a", cwd=folder, code=2)
    run_dsvc("reset", "HEAD", "HEAD~1", cwd=folder, code=2)
    run_dsvc("reset", "HEAD~9", cwd=folder, code=4)

    assert (head(run_dsvc, folder), short(run_dsvc, folder)) == (before, [" M a"])
