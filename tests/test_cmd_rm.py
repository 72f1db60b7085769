"""dsvc rm."""

from pathlib import Path

import pytest

from tests.conftest import RunDsvc


@pytest.fixture
def folder(run_dsvc: RunDsvc, repository_folder: Path) -> Path:
    """A repository with one commit: a, b, c/d, c/e/f."""
    (repository_folder / "c/e").mkdir(parents=True)
    for name in ("a", "b", "c/d", "c/e/f"):
        (repository_folder / name).write_text(name)
    run_dsvc("add", ".", cwd=repository_folder)
    run_dsvc("commit", "-qm", "first", cwd=repository_folder)
    return repository_folder


def short(run_dsvc: RunDsvc, folder: Path) -> list[str]:
    return run_dsvc("status", "-s", cwd=folder).lines


def test_rm_removes_the_file_and_what_is_staged(run_dsvc: RunDsvc, folder: Path) -> None:
    result = run_dsvc("rm", "a", "c/d", cwd=folder)

    assert result.lines == ["rm 'a'", "rm 'c/d'"]
    assert not (folder / "a").exists()
    assert (folder / "c/e/f").exists()
    assert short(run_dsvc, folder) == ["D  a", "D  c/d"]


def test_rm_of_a_folder_needs_to_be_said_and_takes_empty_parents_along(run_dsvc: RunDsvc, folder: Path) -> None:
    assert "without `-r`" in run_dsvc("rm", "c", cwd=folder, code=2).stderr
    assert short(run_dsvc, folder) == []

    run_dsvc("rm", "-rq", "c", cwd=folder)

    assert not (folder / "c").exists()
    assert short(run_dsvc, folder) == ["D  c/d", "D  c/e/f"]


def test_rm_leaves_the_working_folder_and_what_is_not_tracked(run_dsvc: RunDsvc, folder: Path) -> None:
    (folder / "c/untracked").write_text("u")

    run_dsvc("rm", "-q", "f", cwd=folder / "c/e")
    run_dsvc("rm", "-q", "d", cwd=folder / "c")

    assert (folder / "c/e").is_dir()
    assert (folder / "c/untracked").read_text() == "u"


def test_rm_cached_leaves_the_file(run_dsvc: RunDsvc, folder: Path) -> None:
    run_dsvc("rm", "--cached", "a", cwd=folder)

    assert (folder / "a").read_text() == "a"
    assert short(run_dsvc, folder) == ["D  a", "?? a"]


def test_rm_refuses_to_lose_what_no_commit_holds(run_dsvc: RunDsvc, folder: Path) -> None:
    (folder / "a").write_text("edited")
    (folder / "b").write_text("staged")
    (folder / "new").write_text("new")
    run_dsvc("add", "b", "new", cwd=folder)
    (folder / "new").write_text("and edited")
    before = short(run_dsvc, folder)

    for name, reason in (("a", "local changes"), ("b", "changes staged"), ("new", "differs from both")):
        result = run_dsvc("rm", name, cwd=folder, code=5)
        assert reason in result.stderr
        assert "--force" in result.stderr
    run_dsvc("rm", "-r", ".", cwd=folder, code=5)
    assert short(run_dsvc, folder) == before == [" M a", "M  b", "AM new"]

    run_dsvc("rm", "--cached", "a", "b", cwd=folder)
    run_dsvc("rm", "--cached", "new", cwd=folder, code=5)
    run_dsvc("rm", "-f", "new", cwd=folder)
    assert short(run_dsvc, folder) == ["D  a", "D  b", "?? a", "?? b"]


def test_rm_of_what_is_gone_already_stages_that(run_dsvc: RunDsvc, folder: Path) -> None:
    (folder / "a").unlink()
    (folder / "b").unlink()
    (folder / "b").mkdir()
    (folder / "b/kept").write_text("k")

    run_dsvc("rm", "a", "b", cwd=folder)

    assert short(run_dsvc, folder) == ["D  a", "D  b", "?? b/"]


def test_rm_of_a_pattern_takes_every_match(run_dsvc: RunDsvc, folder: Path) -> None:
    run_dsvc("rm", "-q", "c/*", cwd=folder)

    assert short(run_dsvc, folder) == ["D  c/d", "D  c/e/f"]


def test_a_dry_run_removes_nothing(run_dsvc: RunDsvc, folder: Path) -> None:
    assert run_dsvc("rm", "-n", "a", cwd=folder).lines == ["rm 'a'"]
    assert short(run_dsvc, folder) == []


def test_rm_of_what_is_not_tracked_is_not_found_and_nothing_is_removed(run_dsvc: RunDsvc, folder: Path) -> None:
    (folder / "untracked").write_text("u")

    assert "untracked" in run_dsvc("rm", "a", "untracked", cwd=folder, code=4).stderr
    run_dsvc("rm", cwd=folder, code=2)
    assert short(run_dsvc, folder) == ["?? untracked"]

    run_dsvc("rm", "-q", "--ignore-unmatch", "untracked", cwd=folder)


def test_an_empty_folder_is_removed(run_dsvc: RunDsvc, folder: Path) -> None:
    (folder / "hollow").mkdir()
    run_dsvc("add", "hollow", cwd=folder)
    run_dsvc("commit", "-qm", "second", cwd=folder)

    run_dsvc("rm", "-r", "hollow", cwd=folder)

    assert not (folder / "hollow").exists()
    assert short(run_dsvc, folder) == ["D  hollow"]
