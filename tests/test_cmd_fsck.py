"""dsvc fsck."""

import json
from pathlib import Path

import pytest

from tests.conftest import RunDsvc


@pytest.fixture
def work(repository_folder: Path, run_dsvc: RunDsvc) -> Path:
    (repository_folder / "a.csv").write_text("1,2\n")
    (repository_folder / "b.bin").write_bytes(bytes(range(256)) * 2000)
    run_dsvc("add", "-A", cwd=repository_folder)
    run_dsvc("commit", "-q", "-m", "first", cwd=repository_folder)
    return repository_folder


def files(work: Path, what: str) -> list[Path]:
    found = [path for path in (work / ".dsvc" / "store" / what).rglob("*") if path.is_file()]
    return sorted(found, key=lambda path: path.stat().st_size)


def spoil(path: Path, at: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.chmod(0o644)
    path.write_bytes(raw)


def test_a_sound_repository_is_whole(work: Path, run_dsvc: RunDsvc) -> None:
    result = run_dsvc("fsck", cwd=work)

    assert result.stdout == ""
    assert result.stderr.startswith("the store is whole: 2 log entries, ")
    assert result.stderr.endswith("1 version; every byte read\n")
    assert run_dsvc("fsck", "--quick", cwd=work).stderr.endswith("no data read\n")


def test_damage_is_told_by_name_and_path_with_a_hint(work: Path, run_dsvc: RunDsvc) -> None:
    spoil(files(work, "packs")[-1], at=500)

    result = run_dsvc("fsck", cwd=work, code=8)

    assert any(line.startswith("damaged: pack ") for line in result.lines)
    assert "\ta.csv" in result.lines or "\tb.bin" in result.lines
    assert "hint: a pack never changes" in result.stderr
    kinds = [json.loads(line)["kind"] for line in run_dsvc("fsck", "--json", cwd=work, code=8).lines]
    assert kinds[-1] == "summary"
    assert {"finding", "lost"} <= set(kinds)


def test_a_damaged_index_is_rebuilt(work: Path, run_dsvc: RunDsvc) -> None:
    for path in files(work, "index"):
        spoil(path, at=-1)

    result = run_dsvc("fsck", cwd=work, code=8)
    assert "hint: the index can be made anew from the packs: run `dsvc fsck --rebuild-index`" in result.stderr

    assert run_dsvc("fsck", "--rebuild-index", cwd=work).stderr.startswith("indexed ")
    run_dsvc("fsck", cwd=work)
    run_dsvc("status", cwd=work)


def test_the_store_of_a_remote_can_be_checked_from_anywhere(work: Path, run_dsvc: RunDsvc, tmp_path: Path) -> None:
    assert run_dsvc("fsck", work, cwd=tmp_path).stderr.startswith(f"{work} is whole: ")
    run_dsvc("fsck", "nothing", cwd=tmp_path, code=4)
    run_dsvc("fsck", cwd=tmp_path, code=3)
    run_dsvc("fsck", "--quick", "--full", cwd=work, code=2)


def test_a_damaged_worktree_database_is_no_damage(work: Path, run_dsvc: RunDsvc) -> None:
    (work / ".dsvc" / "worktree.db").write_bytes(b"no database at all" * 100)

    run_dsvc("fsck", cwd=work)
    assert run_dsvc("status", "-s", cwd=work).stdout == ""
