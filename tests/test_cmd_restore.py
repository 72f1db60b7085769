"""dsvc restore and dsvc unlock."""

import os
from pathlib import Path

import pytest

from tests.conftest import RunDsvc


@pytest.fixture
def folder(run_dsvc: RunDsvc, repository_folder: Path) -> Path:
    """A repository with two commits: a and old, then a and c/d."""
    (repository_folder / "c").mkdir()
    (repository_folder / "a").write_text("a of the first commit")
    (repository_folder / "old").write_text("old")
    run_dsvc("add", "a", "old", cwd=repository_folder)
    run_dsvc("commit", "-qm", "first", cwd=repository_folder)
    (repository_folder / "a").write_text("a of the second commit")
    (repository_folder / "old").unlink()
    (repository_folder / "c/d").write_text("d")
    run_dsvc("add", "-A", cwd=repository_folder)
    run_dsvc("commit", "-qm", "second", cwd=repository_folder)
    return repository_folder


def short(run_dsvc: RunDsvc, folder: Path) -> list[str]:
    return run_dsvc("status", "-s", cwd=folder).lines


def test_restore_gives_up_edits_of_files(run_dsvc: RunDsvc, folder: Path) -> None:
    (folder / "a").write_text("edited")
    (folder / "a").chmod(0o755)
    (folder / "c/d").unlink()
    (folder / "c").rmdir()
    (folder / "new").write_text("new")

    result = run_dsvc("restore", ".", cwd=folder)

    assert result.stderr == "restored 2 files\n"
    assert (folder / "a").read_text() == "a of the second commit"
    assert short(run_dsvc, folder) == ["?? new"]


def test_restore_takes_files_from_what_is_staged(run_dsvc: RunDsvc, folder: Path) -> None:
    (folder / "a").write_text("staged")
    run_dsvc("add", "a", cwd=folder)
    (folder / "a").write_text("edited")

    run_dsvc("restore", "a", cwd=folder)

    assert (folder / "a").read_text() == "staged"


def test_restore_staged_leaves_the_files(run_dsvc: RunDsvc, folder: Path) -> None:
    (folder / "a").write_text("staged")
    (folder / "new").write_text("new")
    run_dsvc("add", ".", cwd=folder)
    run_dsvc("rm", "-q", "c/d", cwd=folder)

    result = run_dsvc("restore", "--staged", ".", cwd=folder)

    assert result.stderr == "unstaged 3 changes\n"
    assert (folder / "a").read_text() == "staged"
    assert short(run_dsvc, folder) == [" M a", " D c/d", "?? new"]


def test_restore_staged_works_before_the_first_commit(run_dsvc: RunDsvc, repository_folder: Path) -> None:
    (repository_folder / "a").write_text("a")
    run_dsvc("add", "a", cwd=repository_folder)

    run_dsvc("restore", "--staged", "a", cwd=repository_folder)

    assert short(run_dsvc, repository_folder) == ["?? a"]


def test_restore_of_a_revision_removes_what_that_has_not(run_dsvc: RunDsvc, folder: Path) -> None:
    run_dsvc("restore", "-s", "HEAD~1", ".", cwd=folder)

    assert short(run_dsvc, folder) == [" M a", " D c/d", "?? old"]
    run_dsvc("restore", "-W", ".", cwd=folder)
    assert short(run_dsvc, folder) == ["?? old"]


def test_restore_of_both_from_a_revision_stages_it(run_dsvc: RunDsvc, folder: Path) -> None:
    run_dsvc("restore", "-SW", "--source=HEAD~1", "--overlay", ".", cwd=folder)
    assert short(run_dsvc, folder) == ["M  a", "A  old"]

    run_dsvc("restore", "-SW", "--source=HEAD~1", ".", cwd=folder)
    assert short(run_dsvc, folder) == ["M  a", "D  c/d", "A  old"]
    assert (folder / "old").read_text() == "old"


def test_restore_refuses_what_is_not_there_and_changes_nothing(run_dsvc: RunDsvc, folder: Path) -> None:
    (folder / "a").write_text("edited")
    (folder / "new").write_text("new")

    for words, named in ((("a", "nothere"), "nothere"), (("a", "new"), "new"), (("a", "*.zip"), "*.zip")):
        assert named in run_dsvc("restore", *words, cwd=folder, code=4).stderr
    assert "v9" in run_dsvc("restore", "-s", "v9", "a", cwd=folder, code=4).stderr
    run_dsvc("restore", cwd=folder, code=2)

    assert short(run_dsvc, folder) == [" M a", "?? new"]


def test_restore_does_not_remove_what_is_not_tracked_and_in_the_way(run_dsvc: RunDsvc, folder: Path) -> None:
    (folder / "a").unlink()
    (folder / "a").mkdir()
    (folder / "a/precious").write_text("p")
    (folder / "c/d").unlink()
    (folder / "c").rmdir()
    (folder / "c").write_text("precious")

    result = run_dsvc("restore", ".", cwd=folder, code=5)

    assert "a/precious" in result.stderr
    assert "\tc\n" in result.stderr
    assert (folder / "a/precious").read_text() == "p"
    assert (folder / "c").read_text() == "precious"


def test_a_restored_empty_folder_and_link_are_what_they_were(run_dsvc: RunDsvc, folder: Path) -> None:
    (folder / "hollow").mkdir()
    (folder / "link").symlink_to("nowhere")
    run_dsvc("add", "-A", cwd=folder)
    (folder / "hollow").rmdir()
    (folder / "link").unlink()

    run_dsvc("restore", "hollow", "link", cwd=folder)

    assert (folder / "hollow").is_dir()
    assert (folder / "link").readlink() == Path("nowhere")


# unlock


def test_unlock_gives_a_locked_file_bytes_of_its_own(run_dsvc: RunDsvc, folder: Path, tmp_path: Path) -> None:
    os.link(folder / "a", tmp_path / "cached")
    (folder / "a").chmod(0o555)
    date = (folder / "a").stat().st_mtime_ns

    result = run_dsvc("unlock", "a", cwd=folder)

    assert result.stderr == "a is unlocked\n"
    status = (folder / "a").stat()
    assert (status.st_nlink, status.st_mode & 0o300, status.st_mtime_ns) == (1, 0o300, date)
    (folder / "a").write_text("my own")
    assert (tmp_path / "cached").read_text() == "a of the second commit"


def test_unlock_leaves_what_is_not_locked_and_refuses_what_is_no_file(run_dsvc: RunDsvc, folder: Path) -> None:
    assert run_dsvc("unlock", "a", cwd=folder).stderr == "a was not locked\n"
    run_dsvc("unlock", "c", cwd=folder, code=2)
    run_dsvc("unlock", "nothere", cwd=folder, code=4)
    assert short(run_dsvc, folder) == []
