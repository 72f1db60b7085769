"""dsvc pull."""

from pathlib import Path

import pytest

from tests.conftest import RunDsvc


@pytest.fixture
def origin(repository_folder: Path, run_dsvc: RunDsvc) -> Path:
    (repository_folder / "a.csv").write_text("1,2\n")
    (repository_folder / "b.csv").write_text("b\n")
    run_dsvc("add", "-A", cwd=repository_folder)
    run_dsvc("commit", "-q", "-m", "first", cwd=repository_folder)
    run_dsvc("clone", "-q", repository_folder, repository_folder.parent / "clone")
    return repository_folder


@pytest.fixture
def clone(origin: Path) -> Path:
    return origin.parent / "clone"


def edit(folder: Path, run_dsvc: RunDsvc, name: str, text: str) -> None:
    (folder / name).write_text(text)
    run_dsvc("add", name, cwd=folder)
    run_dsvc("commit", "-q", "-m", text, cwd=folder)


def test_it_moves_the_branch_and_the_files_forward(origin: Path, clone: Path, run_dsvc: RunDsvc) -> None:
    edit(origin, run_dsvc, "a.csv", "new")

    result = run_dsvc("pull", cwd=clone)

    assert "Updating " in result.stderr
    assert "1 path changed" in result.stderr
    assert (clone / "a.csv").read_text() == "new"
    assert run_dsvc("status", "-s", cwd=clone).stdout == ""
    assert run_dsvc("pull", "--ff-only", cwd=clone).stderr == "Already up to date.\n"


def test_edited_files_are_carried_along_or_stop_it(origin: Path, clone: Path, run_dsvc: RunDsvc) -> None:
    edit(origin, run_dsvc, "a.csv", "new")
    (clone / "b.csv").write_text("mine")
    run_dsvc("pull", "-q", cwd=clone)
    assert (clone / "b.csv").read_text() == "mine"

    edit(origin, run_dsvc, "b.csv", "theirs")
    result = run_dsvc("pull", cwd=clone, code=5)

    assert "local changes would be overwritten" in result.stderr
    assert (clone / "b.csv").read_text() == "mine"


def test_branches_that_diverged_are_merged_or_rebased(origin: Path, clone: Path, run_dsvc: RunDsvc) -> None:
    edit(origin, run_dsvc, "a.csv", "theirs")
    edit(clone, run_dsvc, "b.csv", "ours")

    merged = run_dsvc("pull", cwd=clone)

    assert "] Merge branch 'main' of origin into main\n" in merged.stderr
    assert ((clone / "a.csv").read_text(), (clone / "b.csv").read_text()) == ("theirs", "ours")
    run_dsvc("undo", "-q", cwd=clone)
    run_dsvc("config", "pull.rebase", "true", cwd=clone)
    run_dsvc("pull", "-q", cwd=clone)
    assert run_dsvc("log", "--format=%s", cwd=clone).lines == ["ours", "theirs", "first"]
    assert (clone / "a.csv").read_text() == "theirs"
    assert run_dsvc("pull", cwd=clone).stderr.endswith(" ours\n")


def test_a_conflict_with_what_came_can_be_decided_or_given_up(origin: Path, clone: Path, run_dsvc: RunDsvc) -> None:
    edit(origin, run_dsvc, "a.csv", "theirs")
    edit(clone, run_dsvc, "a.csv", "ours")

    for words, verb in ((["pull"], "merge"), (["pull", "--rebase"], "rebase")):
        assert "both sides changed a.csv" in run_dsvc(*words, cwd=clone, code=5).stderr
        assert f"a {verb} is not concluded yet" in run_dsvc("pull", cwd=clone, code=5).stderr
        run_dsvc(verb, "--abort", cwd=clone)
        assert (clone / "a.csv").read_text() == "ours"
    assert run_dsvc("branch", "--show-current", cwd=clone).stdout == "main\n"


def test_branches_that_diverged_are_left_alone_where_only_forward_is_allowed(
    origin: Path, clone: Path, run_dsvc: RunDsvc
) -> None:
    edit(origin, run_dsvc, "a.csv", "theirs")
    edit(clone, run_dsvc, "b.csv", "ours")

    result = run_dsvc("pull", "--ff-only", cwd=clone, code=5)

    assert "error: main and origin/main have diverged: 1 commit here, and 1 commit there" in result.stderr
    assert "hint: " in result.stderr
    assert (clone / "b.csv").read_text() == "ours"


def test_a_branch_that_is_ahead_is_up_to_date(clone: Path, run_dsvc: RunDsvc) -> None:
    edit(clone, run_dsvc, "b.csv", "ours")

    assert run_dsvc("pull", cwd=clone).stderr == "Already up to date.\n"


def test_it_follows_the_upstream_of_the_branch(origin: Path, clone: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("push", "-q", "-u", "origin", "main:shared", cwd=clone)
    run_dsvc("switch", "-q", "shared", cwd=origin)
    edit(origin, run_dsvc, "a.csv", "new")

    run_dsvc("pull", "-q", cwd=clone)

    assert (clone / "a.csv").read_text() == "new"


def test_an_empty_repository_can_pull(origin: Path, tmp_path: Path, run_dsvc: RunDsvc) -> None:
    empty = tmp_path / "empty"
    run_dsvc("init", "-q", empty)
    run_dsvc("remote", "add", "origin", origin, cwd=empty)

    run_dsvc("pull", "-q", cwd=empty)

    assert (empty / "a.csv").read_text() == "1,2\n"
    assert run_dsvc("status", "-s", cwd=empty).stdout == ""


def test_a_branch_that_is_not_there_is_not_found(clone: Path, run_dsvc: RunDsvc) -> None:
    result = run_dsvc("pull", "origin", "nothing", cwd=clone, code=4)

    assert result.stderr.startswith("error: the remote origin has no branch `nothing`")


def test_without_a_branch_there_is_nothing_to_move(clone: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("switch", "-q", "--detach", cwd=clone)

    assert "HEAD is not on a branch" in run_dsvc("pull", cwd=clone, code=5).stderr
