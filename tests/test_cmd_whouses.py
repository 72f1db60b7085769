"""dsvc whouses."""

import json
from pathlib import Path

import pytest

from dsvc.log.entry import RefChange
from dsvc.log.uses import record_use
from dsvc.model.commit import Input
from dsvc.model.ids import ObjectId
from dsvc.storage.local import LocalBackend
from dsvc.worktree.commit import commit
from tests.conftest import RunDsvc
from tests.transport_support import make_context, make_store
from tests.worktree_support import commit_all, make_worktree

# A time that no calendar shows.
FAR = b'{"v":1,"name":"raw","time":9000000000000000000,"who":"eve"}'


@pytest.fixture
def raw(tmp_path: Path) -> ObjectId:
    """The version raw@1.0 of a repository with `small`, made from it, as its child, and a remote that lacks all."""
    worktree = make_worktree(tmp_path / "repository")
    raw = commit_all(worktree, {b"a": b"a"}, "crawl")
    worktree.store.publish(lambda _: [RefChange("refs/tags/raw@1.0", None, raw.hex())])
    commit(worktree, worktree.store.state(), "resize", allow_empty=True, inputs=[Input("raw@1.0", bytes(raw))])
    make_store(tmp_path / "remote")
    (worktree.control / "config.toml").write_text(f'[remote.origin]\nurl = "{tmp_path / "remote"}"\n')
    return raw


def test_what_was_made_from_it_and_who_uses_it_is_told(run_dsvc: RunDsvc, tmp_path: Path, raw: ObjectId) -> None:
    there = LocalBackend(tmp_path / "remote")
    record_use(there, make_context("bob"), raw, "raw", host=True, run="train-7", url="https://runs/7")
    record_use(LocalBackend(tmp_path / "repository/.dsvc/store"), make_context("eve"), raw, "raw@1.0")
    folder = tmp_path / "repository"

    lines = run_dsvc("whouses", "raw@1.0", cwd=folder).lines
    records = [json.loads(line) for line in run_dsvc("whouses", "raw@1.0", "origin", "--json", cwd=folder).lines]

    assert [line.split() for line in lines] == [
        ["input", "of", "2026-07-25", lines[0].split()[3], "main", "resize"],
        ["parent", "of", "2026-07-25", lines[0].split()[3], "main", "resize"],
        ["used", "by", "2026-07-25", "eve", "as", "raw@1.0"],
        ["used", "by", "2026-07-25", "bob", "on", "host", "train-7", "https://runs/7", "as", "raw", "(origin)"],
    ]
    assert [record["kind"] for record in records] == ["input", "parent", "use"]
    assert (records[2]["who"], records[2]["host"], records[2]["run"], records[2]["remote"]) == (
        "bob",
        "host",
        "train-7",
        "origin",
    )


def test_who_uses_a_version_of_another_store_is_told_outside_of_a_repository(
    run_dsvc: RunDsvc, tmp_path: Path, raw: ObjectId
) -> None:
    record_use(LocalBackend(tmp_path / "repository/.dsvc/store"), make_context("eve"), raw, "raw@1.0")

    (line,) = run_dsvc("whouses", "./repository#raw@1.0", cwd=tmp_path).lines

    assert line.split() == ["used", "by", "2026-07-25", "eve", "as", "raw@1.0", "(./repository)"]
    assert run_dsvc("whouses", "./repository#main", cwd=tmp_path, code=1).stdout == ""
    run_dsvc("whouses", "./repository#raw@2.0", cwd=tmp_path, code=4)
    run_dsvc("whouses", "./repository#raw@1.0", "origin", cwd=tmp_path, code=2)


def test_what_nobody_uses_is_told_by_the_exit_code(run_dsvc: RunDsvc, tmp_path: Path, raw: ObjectId) -> None:
    del raw

    assert run_dsvc("whouses", "main", cwd=tmp_path / "repository", code=1).stdout == ""
    assert "nope" in run_dsvc("whouses", "nope", cwd=tmp_path / "repository", code=4).stderr


def test_what_is_no_record_is_passed_over_and_the_store_is_whole(
    run_dsvc: RunDsvc, tmp_path: Path, raw: ObjectId
) -> None:
    folder = tmp_path / "repository"
    own = LocalBackend(folder / ".dsvc/store")
    for name, content in (("damaged", b"{"), ("newer", b'{"v":2}'), ("large", b" " * 70_000), ("far", FAR)):
        own.create(f"uses/{raw.hex()}/{name}", content)

    assert "used by" not in run_dsvc("whouses", "raw@1.0", ".", cwd=folder).stdout
    run_dsvc("fsck", "-q", cwd=folder)


def test_what_is_known_here_is_told_though_the_remote_is_gone(run_dsvc: RunDsvc, tmp_path: Path, raw: ObjectId) -> None:
    del raw
    (tmp_path / "remote").rename(tmp_path / "moved")

    result = run_dsvc("whouses", "raw@1.0", cwd=tmp_path / "repository", code=4)

    assert [line.split()[0] for line in result.lines] == ["input", "parent"]
    assert "remote" in result.stderr
