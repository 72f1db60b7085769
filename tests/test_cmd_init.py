"""dsvc init."""

import json
from pathlib import Path

from tests.conftest import RunDsvc


def branch(run_dsvc: RunDsvc, folder: Path) -> str:
    head: dict[str, str] = json.loads(run_dsvc("status", "--json", cwd=folder).lines[0])
    return head["branch"]


def test_init_makes_a_repository_in_the_working_folder_and_says_where(run_dsvc: RunDsvc, tmp_path: Path) -> None:
    result = run_dsvc("init")

    assert result.stdout == ""
    assert result.stderr == f"Initialized empty dsvc repository in {tmp_path}/.dsvc/\n"
    assert branch(run_dsvc, tmp_path) == "main"


def test_init_makes_the_folder_that_it_is_given(run_dsvc: RunDsvc, tmp_path: Path) -> None:
    run_dsvc("init", "-q", "deep/er", "-b", "trunk")

    assert branch(run_dsvc, tmp_path / "deep/er") == "trunk"


def test_init_of_a_repository_changes_nothing(run_dsvc: RunDsvc, repository_folder: Path) -> None:
    (repository_folder / "a").write_text("a")
    run_dsvc("add", "a", cwd=repository_folder)

    result = run_dsvc("init", "-b", "other", cwd=repository_folder)

    assert "already" in result.stderr
    assert branch(run_dsvc, repository_folder) == "main"
    assert run_dsvc("status", "-s", cwd=repository_folder).stdout == "A  a\n"


def test_init_refuses_a_name_that_no_branch_may_have_before_it_makes_anything(
    run_dsvc: RunDsvc, tmp_path: Path
) -> None:
    result = run_dsvc("init", "-b", "two words", "new", code=2)

    assert "two words" in result.stderr
    assert not (tmp_path / "new").exists()


def test_init_where_a_file_is_names_it(run_dsvc: RunDsvc, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    result = run_dsvc("init", "file/below", code=7)

    assert f"cannot make {tmp_path}/file/below" in result.stderr


def test_a_repository_inside_another_is_one_of_its_own(run_dsvc: RunDsvc, repository_folder: Path) -> None:
    (repository_folder / "inner").mkdir()
    run_dsvc("init", "-q", "inner", cwd=repository_folder)
    (repository_folder / "inner/file").write_text("x")

    run_dsvc("add", "-A", cwd=repository_folder / "inner")

    assert run_dsvc("status", "-s", cwd=repository_folder / "inner").stdout == "A  file\n"
