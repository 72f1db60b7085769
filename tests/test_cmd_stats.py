"""dsvc stats, as a person meets it."""

import json
from pathlib import Path

import pytest

from tests.conftest import RunDsvc
from tests.inside import call_dsvc

__all__ = ["call_dsvc"]


@pytest.fixture
def folder(call_dsvc: RunDsvc, tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    (root / "images").mkdir(parents=True)
    call_dsvc("init", "-q", cwd=root)
    for number in range(20):
        (root / f"images/{number}.png").write_bytes(b"x" * 100 * number)
    (root / "labels.csv").write_text("name,score\na,1\nb,2.5\n")
    call_dsvc("add", ".", cwd=root)
    return root


def figures(call_dsvc: RunDsvc, folder: Path, *words: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(call_dsvc("stats", "--json", *words, cwd=folder).stdout)
    return found


def test_figures_are_shown_of_what_is_staged_and_of_parts(call_dsvc: RunDsvc, folder: Path) -> None:
    lines = [line.split() for line in call_dsvc("stats", cwd=folder).lines]

    assert ["files", "21"] in lines
    assert [".png", "20", "18.6", "KiB"] in lines
    assert ["images/", "20", "18.6", "KiB"] in lines
    assert ["labels.csv", "2", "name:text", "score:number"] in lines
    assert ["images/19.png", "1.9", "KiB"] in lines
    assert figures(call_dsvc, folder, "images")["files"] == 20
    assert figures(call_dsvc, folder, "--no-tables")["tables"] is None
    assert "nothing is not in what is staged" in call_dsvc("stats", "nothing", cwd=folder, code=4).stderr


def test_figures_are_kept_with_a_commit_when_that_is_asked(call_dsvc: RunDsvc, folder: Path, tmp_path: Path) -> None:
    call_dsvc("commit", "-qm", "none", cwd=folder)
    call_dsvc("commit", "-qm", "kept", "--amend", "--stats", cwd=folder)
    (folder / "labels.csv").write_text("name,score\na,1\n")
    call_dsvc("-c", "commit.stats=true", "commit", "-qam", "changed", cwd=folder)
    call_dsvc("commit", "--amend", "-qm", "amended", cwd=folder)
    (folder / "images/0.png").unlink()
    call_dsvc("commit", "-qam", "none", cwd=folder)

    def kept(revision: str) -> object:
        return json.loads(call_dsvc("show", "--json", revision, cwd=folder).lines[0])["metadata"].get("stats")

    assert kept("HEAD") is None
    for revision in ("HEAD~1", "HEAD~2"):
        shown = figures(call_dsvc, folder, revision)
        del shown["folders"]
        assert kept(revision) == shown
    assert figures(call_dsvc, folder, "HEAD")["files"] == 20
    # Who has never counted anything counts the same.
    call_dsvc("clone", "-q", "--data", folder, "clone", cwd=tmp_path)
    assert figures(call_dsvc, tmp_path / "clone", "HEAD") == figures(call_dsvc, folder, "HEAD")
    assert figures(call_dsvc, tmp_path / "clone", "HEAD~1") == figures(call_dsvc, folder, "HEAD~1")


def test_amending_other_files_gives_up_what_was_counted_of_the_old_ones(call_dsvc: RunDsvc, folder: Path) -> None:
    call_dsvc("commit", "-qm", "kept", "--stats", cwd=folder)
    (folder / "images/0.png").unlink()
    call_dsvc("commit", "-qam", "amended", "--amend", cwd=folder)

    assert "stats" not in json.loads(call_dsvc("show", "--json", cwd=folder).lines[0])["metadata"]
    assert figures(call_dsvc, folder, "HEAD")["files"] == 20


def test_of_some_files_only_the_version_is_counted(call_dsvc: RunDsvc, folder: Path) -> None:
    call_dsvc("commit", "-qm", "first", cwd=folder)
    (folder / "new").write_text("new")
    (folder / "labels.csv").write_text("name,score\na,1\n")
    call_dsvc("add", ".", cwd=folder)
    call_dsvc("commit", "-qm", "some", "--stats", "labels.csv", cwd=folder)

    shown = figures(call_dsvc, folder, "HEAD")
    assert shown["files"] == 21
    assert shown["tables"] == {
        "labels.csv": {"rows": 1, "width": 2, "columns": [["name", "text"], ["score", "integer"]]}
    }
