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


@pytest.fixture
def remote(work: Path, run_dsvc: RunDsvc) -> Path:
    """A remote that got eight packs of data in eight pushes."""
    run_dsvc("remote", "add", "origin", "../remote", cwd=work)
    for number in range(8):
        (work / "b.bin").write_bytes(bytes([number, *range(256)]) * 2000)
        run_dsvc("commit", "-q", "-a", "-m", str(number), cwd=work)
        run_dsvc("push", "-q", "origin", "main", cwd=work)
    return work.parent / "remote"


def summary(run_dsvc: RunDsvc, work: Path, *options: str, code: int = 0) -> dict[str, object]:
    found: dict[str, object] = json.loads(
        run_dsvc("fsck", "--remote", "origin", *options, "--json", cwd=work, code=code).lines[-1]
    )
    return found


def test_a_remote_is_checked_by_name(work: Path, remote: Path, run_dsvc: RunDsvc) -> None:
    assert run_dsvc("fsck", "--remote", "origin", cwd=work).stderr.startswith("origin is whole: 8 log entries, ")
    whole = summary(run_dsvc, work)
    assert (whole["packs"], whole["unread_packs"], whole["commits"]) == (16, 0, 9)
    assert summary(run_dsvc, work, "--quick")["packs"] == 16
    (remote / "index").rename(remote / "aside")
    hint = "run `dsvc fsck --remote origin --rebuild-index`"
    assert hint in run_dsvc("fsck", "--remote", "origin", cwd=work, code=8).stderr
    (remote / "aside").rename(remote / "index")
    next(path for path in (remote / "packs").rglob("*") if path.is_file()).unlink()
    assert summary(run_dsvc, work, "--quick", code=8)["damaged"] is True
    run_dsvc("fsck", "--remote", "elsewhere", cwd=work, code=4)
    run_dsvc("fsck", "--remote", "origin", "../remote", cwd=work, code=2)


@pytest.mark.parametrize(("share", "packs"), [("25%", 4), ("0.25", 4), ("100%", 16), ("0.1%", 1)])
def test_a_sample_reads_a_share_of_the_packs(
    work: Path, remote: Path, run_dsvc: RunDsvc, share: str, packs: int
) -> None:
    read = summary(run_dsvc, work, "--sample", share)

    assert (read["packs"], read["unread_packs"]) == (packs, 16 - packs)
    # Whether a version lacks something, only who has read all can tell.
    assert read["commits"] == (9 if packs == 16 else 0)
    assert remote.is_dir()


def test_shares_and_times_are_read_as_people_write_them(work: Path, remote: Path, run_dsvc: RunDsvc) -> None:
    result = run_dsvc("fsck", "--remote", "origin", "--time", "20m", cwd=work)

    assert result.stderr.startswith("origin is whole")
    for option in ("--sample=0", "--sample=101%", "--sample=x", "--time=0", "--time=soon", "--time=-5m"):
        assert run_dsvc("fsck", option, cwd=work, code=2).stderr.startswith(f"error: {option.partition('=')[0]}: ")
    run_dsvc("fsck", "--sample", "5%", "--quick", cwd=work, code=2)
    assert remote.is_dir()
