"""dsvc fetch."""

import json
from pathlib import Path

import pytest

from tests.conftest import RunDsvc


@pytest.fixture
def clone(repository_folder: Path, run_dsvc: RunDsvc) -> Path:
    """A clone of a repository that has gone on since, with a second branch and a tag."""
    (repository_folder / "a.csv").write_text("1,2\n")
    run_dsvc("add", "-A", cwd=repository_folder)
    run_dsvc("commit", "-q", "-m", "first", cwd=repository_folder)
    folder = repository_folder.parent / "clone"
    run_dsvc("clone", "-q", repository_folder, folder)
    (repository_folder / "a.csv").write_text("1,3\n")
    run_dsvc("commit", "-q", "-a", "-m", "second", cwd=repository_folder)
    run_dsvc("branch", "dev", cwd=repository_folder)
    run_dsvc("tag", "v1", cwd=repository_folder)
    return folder


def test_it_brings_branches_and_tags_and_leaves_ours_where_they_are(clone: Path, run_dsvc: RunDsvc) -> None:
    result = run_dsvc("fetch", cwd=clone)

    assert result.stderr.startswith("fetched 1 version with 2 objects (")
    assert " * [new branch]" in result.stderr
    assert " -> origin/dev" in result.stderr
    assert " * [new tag]" in result.stderr
    assert (clone / "a.csv").read_text() == "1,2\n"
    assert "behind 'origin/main' by 1 commit" in run_dsvc("status", cwd=clone).stdout
    assert run_dsvc("fetch", cwd=clone).stderr == ""


def test_a_dry_run_changes_nothing(clone: Path, run_dsvc: RunDsvc) -> None:
    assert run_dsvc("fetch", "-n", cwd=clone).stderr.startswith("would fetch 1 version")

    assert run_dsvc("fetch", cwd=clone).stderr.startswith("fetched 1 version")


def test_one_branch_can_be_fetched_without_tags(clone: Path, run_dsvc: RunDsvc) -> None:
    lines = run_dsvc("fetch", "--no-tags", "--json", "origin", "dev", cwd=clone).lines

    assert [json.loads(line)["ref"] for line in lines[:-1]] == ["refs/remotes/origin/dev"]


def test_branches_that_are_gone_are_forgotten_when_asked(clone: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("fetch", "-q", cwd=clone)
    run_dsvc("branch", "-D", "dev", cwd=clone.parent / "repository")

    result = run_dsvc("fetch", "--prune", cwd=clone)

    assert " - [deleted]  (none) -> origin/dev" in result.stderr


def test_a_tag_of_ours_stays(clone: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("tag", "v1", cwd=clone)

    result = run_dsvc("fetch", "--tags", cwd=clone, code=5)

    assert " ! [rejected]" in result.stderr
    assert "(already exists)" in result.stderr
    run_dsvc("fetch", "--tags", "--force", cwd=clone)


def test_all_remotes_can_be_fetched(clone: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("remote", "add", "second", "../repository", cwd=clone)

    run_dsvc("fetch", "-q", "--all", cwd=clone)

    found = run_dsvc("branch", "-r", cwd=clone).stdout.split()
    assert {"origin/dev", "second/dev"} <= set(found)


@pytest.mark.parametrize(
    ("arguments", "code"), [(["nowhere"], 4), (["origin", "nothing"], 4), (["--all", "origin"], 2)]
)
def test_what_cannot_be_fetched_is_refused(clone: Path, run_dsvc: RunDsvc, arguments: list[str], code: int) -> None:
    assert run_dsvc("fetch", *arguments, cwd=clone, code=code).stderr.startswith("error: ")
