"""dsvc du, as a person meets it."""

import json
from pathlib import Path
from random import Random

import pytest

from tests.conftest import RunDsvc
from tests.history_support import Versions

_random = Random(1)  # noqa: S311 (the same ones each time)
SHARED, FIRST, SECOND = (_random.randbytes(5000) for _ in range(3))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    versions = Versions(folder)
    first = versions.make({b"data/a": SHARED, b"data/b": FIRST}, "first")
    files = {b"data/a": SHARED, b"data/deep/again": SHARED, b"data/deep/c": SECOND, b"small": b"x"}
    versions.make(files, "second", parents=[first])
    (folder / "data").mkdir()
    return folder


def sizes(run_dsvc: RunDsvc, folder: Path, *words: str) -> list[tuple[str, ...]]:
    return [tuple(line.split()) for line in run_dsvc("du", *words, cwd=folder).lines]


def test_raw_bytes_count_each_file_and_stored_ones_each_chunk_once(folder: Path, run_dsvc: RunDsvc) -> None:
    ((raw, stored, path),) = sizes(run_dsvc, folder)

    assert (int(raw), path) == (15_001, ".")
    # Random bytes do not shrink; a frame adds a little.
    assert 10_001 <= int(stored) < 10_400


def test_folders_are_shown_down_to_a_depth_each_after_those_in_it(folder: Path, run_dsvc: RunDsvc) -> None:
    shown = sizes(run_dsvc, folder, "-d2")

    assert [(row[0], row[2]) for row in shown] == [("10000", "data/deep"), ("15000", "data"), ("15001", ".")]
    assert [row[-1] for row in sizes(run_dsvc, folder / "data", "-d1")] == ["deep", "."]
    assert [row[0] for row in sizes(run_dsvc, folder, "data/deep", "small")] == ["10000", "1"]


def test_a_version_is_told_what_it_shares_and_what_it_has_alone(folder: Path, run_dsvc: RunDsvc) -> None:
    for words, alone in ((["HEAD~1"], 5000), (["HEAD"], 5001), ([], 5001), (["HEAD~1", "--", "data/a"], 0)):
        ((_, stored, shared, exclusive, _),) = sizes(run_dsvc, folder, "-x", *words)
        assert int(stored) == int(shared) + int(exclusive)
        assert alone <= int(exclusive) < alone + 200


def test_sizes_are_shown_for_people_and_for_programs(folder: Path, run_dsvc: RunDsvc) -> None:
    (line,) = run_dsvc("du", "-h", cwd=folder).lines
    assert line.split()[:2] == ["14.6", "KiB"]

    (record,) = map(json.loads, run_dsvc("du", "--json", "-x", "HEAD~1:data", cwd=folder).lines)
    assert (record["path"], record["files"], record["raw"], record["absent"]) == ("data", 2, 10_000, 0)
    assert record["stored"] == record["shared"] + record["exclusive"]


def test_what_is_not_there_is_named(folder: Path, run_dsvc: RunDsvc) -> None:
    assert "nothing is not in `HEAD`" in run_dsvc("du", "HEAD", "nothing", cwd=folder, code=4).stderr
    assert "negative" in run_dsvc("du", "-d", "-1", cwd=folder, code=2).stderr


def test_an_empty_version_takes_no_room(repository_folder: Path, run_dsvc: RunDsvc) -> None:
    assert sizes(run_dsvc, repository_folder, "-x") == [("0", "0", "0", "0", ".")]
