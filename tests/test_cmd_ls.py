"""dsvc ls, as a person meets it."""

import json
from pathlib import Path

import pytest
from blake3 import blake3

from tests.conftest import RunDsvc
from tests.history_support import Versions

FILES = {
    b"a.txt": b"one\n",
    b"data/deep/x": b"x" * 2000,
    b"data/deep/y": b"y",
    b"data/run*": b"#!\n",
    b"empty/": b"",
    b"link@": b"a.txt",
    b"odd\n\xff": b"",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    versions = Versions(folder)
    first = versions.make({b"old": b"old"}, "first")
    versions.make(FILES, "second", parents=[first])
    (folder / "data" / "deep").mkdir(parents=True)
    return folder


def test_one_level_is_listed_from_what_is_staged(folder: Path, run_dsvc: RunDsvc) -> None:
    assert run_dsvc("ls", cwd=folder).lines == ["a.txt", "data/", "empty/", "link", '"odd\\n\\377"']
    assert run_dsvc("ls", "data", cwd=folder).lines == ["data/deep/", "data/run"]
    assert run_dsvc("ls", cwd=folder / "data").lines == ["deep/", "run"]
    assert run_dsvc("ls", "../a.txt", cwd=folder / "data").lines == ["../a.txt"]


def test_a_version_is_listed_where_it_is_named(folder: Path, run_dsvc: RunDsvc) -> None:
    assert run_dsvc("ls", "HEAD~1", cwd=folder).lines == ["old"]
    assert run_dsvc("ls", "HEAD", "data", cwd=folder).lines == ["data/deep/", "data/run"]
    assert run_dsvc("ls", "main:data/deep", cwd=folder).lines == ["data/deep/x", "data/deep/y"]
    assert run_dsvc("ls", "HEAD~1", "--", "old", cwd=folder).lines == ["old"]


def test_all_files_below_are_listed_or_the_folder_itself(folder: Path, run_dsvc: RunDsvc) -> None:
    assert run_dsvc("ls", "-r", "data", "empty", cwd=folder).lines == [
        "data/deep/x", "data/deep/y", "data/run", "empty/",
    ]  # fmt: skip
    assert run_dsvc("ls", "-d", "data", "a.txt", cwd=folder).lines == ["data/", "a.txt"]


def test_the_long_form_shows_kind_size_and_the_digest_that_b3sum_prints(folder: Path, run_dsvc: RunDsvc) -> None:
    rows = [line.split() for line in run_dsvc("ls", "-l", "data", "link", cwd=folder).lines]

    assert rows == [
        ["folder", "2001", "-", "data/deep/"],
        ["executable", "3", blake3(b"#!\n").hexdigest(), "data/run"],
        ["symlink", "5", blake3(b"a.txt").hexdigest(), "link"],
    ]
    (large,) = run_dsvc("ls", "-lh", "data/deep/x", cwd=folder).lines
    assert large.split() == ["file", "2.0", "KiB", blake3(b"x" * 2000).hexdigest(), "data/deep/x"]


def test_paths_are_given_as_they_are_to_programs(folder: Path, run_dsvc: RunDsvc) -> None:
    listed = run_dsvc("ls", "-z", cwd=folder).stdout.encode("utf-8", "surrogateescape")
    assert listed == b"a.txt\0data/\0empty/\0link\0odd\n\xff\0"

    records = [json.loads(line) for line in run_dsvc("ls", "--json", cwd=folder).lines]
    assert [one["kind"] for one in records] == ["file", "folder", "folder", "symlink", "file"]
    assert records[0]["digest"] == blake3(b"one\n").hexdigest()
    assert (records[1]["path"], records[1]["files"], records[1]["size"]) == ("data", 3, 2004)
    assert records[4]["path_b64"] == "b2RkCv8="


def test_what_is_not_there_is_named(folder: Path, run_dsvc: RunDsvc) -> None:
    assert run_dsvc("ls", "nothing", cwd=folder, code=4).stderr == "error: nothing is not in what is staged\n"
    assert run_dsvc("ls", "HEAD", "nothing", cwd=folder, code=4).stderr == "error: nothing is not in `HEAD`\n"
    assert "outside the repository" in run_dsvc("ls", "/", cwd=folder, code=2).stderr


def test_before_the_first_commit_nothing_is_listed(repository_folder: Path, run_dsvc: RunDsvc) -> None:
    assert run_dsvc("ls", cwd=repository_folder).stdout == ""
    assert run_dsvc("ls", "HEAD", cwd=repository_folder).stdout == ""
