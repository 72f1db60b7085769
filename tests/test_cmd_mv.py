"""dsvc mv."""

from pathlib import Path

import pytest

from dsvc.errors import StorageError
from dsvc.worktree.move import move, plan_moves
from dsvc.worktree.pathspec import Pathspec
from dsvc.worktree.status import read_status
from tests.conftest import RunDsvc
from tests.worktree_support import commit_all, make_worktree, read_files


@pytest.fixture
def folder(run_dsvc: RunDsvc, repository_folder: Path) -> Path:
    """A repository with one commit: a, b, c/d, c/e/f."""
    (repository_folder / "c/e").mkdir(parents=True)
    for name in ("a", "b", "c/d", "c/e/f"):
        (repository_folder / name).write_text(f"the file {name}")
    run_dsvc("add", ".", cwd=repository_folder)
    run_dsvc("commit", "-qm", "first", cwd=repository_folder)
    return repository_folder


def short(run_dsvc: RunDsvc, folder: Path) -> list[str]:
    return run_dsvc("status", "-s", cwd=folder).lines


def test_mv_renames_a_file(run_dsvc: RunDsvc, folder: Path) -> None:
    result = run_dsvc("mv", "-v", "a", "z", cwd=folder)

    assert result.lines == ["Renaming a to z"]
    assert (folder / "z").read_text() == "the file a"
    assert short(run_dsvc, folder) == ["R  a -> z"]


def test_mv_takes_several_into_a_folder(run_dsvc: RunDsvc, folder: Path) -> None:
    run_dsvc("mv", "../a", "../b", "d", "e", cwd=folder / "c")

    assert short(run_dsvc, folder) == ["R  a -> c/e/a", "R  b -> c/e/b", "R  c/d -> c/e/d"]


def test_mv_takes_a_folder_with_all_in_it_and_leaves_no_empty_one(run_dsvc: RunDsvc, folder: Path) -> None:
    (folder / "c/e/untracked").write_text("u")
    (folder / "c/d").unlink()
    (folder / "c/d").write_text("edited")
    (folder / "deep").mkdir()

    run_dsvc("mv", "c/e", "deep", cwd=folder)
    run_dsvc("mv", "c/d", "deep/d", cwd=folder)

    assert not (folder / "c").exists()
    assert short(run_dsvc, folder) == ["RM c/d -> deep/d", "R  c/e/f -> deep/e/f", "?? deep/e/untracked"]


def test_mv_reads_no_content_and_the_stat_cache_moves_along(tmp_path: Path) -> None:
    worktree = make_worktree(tmp_path / "w")
    commit_all(worktree, {b"a": b"a", b"b/c": b"c", b"b/d": b"d"})
    while worktree.clock() <= (worktree.root / "b/d").stat().st_ctime_ns:
        pass
    read_status(worktree, worktree.store.state(), Pathspec())
    known = {row[0]: row[1] for row in worktree.stat_cache.rows()}
    assert all(known.values())

    move(worktree, plan_moves(worktree, worktree.store.state(), [b"b"], b"n"))
    move(worktree, plan_moves(worktree, worktree.store.state(), [b"a"], b"n/a"))

    moved = {row[0]: row[1] for row in worktree.stat_cache.rows()}
    assert moved.keys() == {b"n\0a", b"n\0c", b"n\0d"}
    assert (moved[b"n\0c"], moved[b"n\0d"]) == (known[b"b\0c"], known[b"b\0d"])
    assert moved[b"n\0a"]
    assert read_status(worktree, worktree.store.state(), Pathspec()).unstaged == []


def test_mv_refuses_what_cannot_be_and_moves_nothing(run_dsvc: RunDsvc, folder: Path) -> None:
    (folder / "untracked").write_text("u")
    refusals = (
        (("nothere", "x"), 4, "nothere"),
        (("untracked", "x"), 4, "untracked is not under version control"),
        (("a", "b"), 5, "b exists"),
        (("a", "b", "x"), 2, "several sources"),
        (("c", "c/e"), 2, "into itself"),
        (("a", "no/where"), 2, "the folder is not there"),
        (("a", "new/"), 2, "the folder is not there"),
        (("a", "../out"), 2, "outside"),
        (("a", ".dsvc/x"), 2, ".dsvc"),
        (("a", "n" * 256), 2, "255 bytes"),
        ((".", "c"), 2, "worktree itself"),
        (("-f", "c", "a"), 5, "a exists"),
    )

    for words, code, reason in refusals:
        assert reason in run_dsvc("mv", *words, cwd=folder, code=code).stderr
    run_dsvc("mv", "-n", "a", "x", cwd=folder)

    assert short(run_dsvc, folder) == ["?? untracked"]


def test_mv_force_overwrites_a_file(run_dsvc: RunDsvc, folder: Path) -> None:
    run_dsvc("mv", "-f", "a", "b", cwd=folder)

    assert (folder / "b").read_text() == "the file a"
    assert short(run_dsvc, folder) == ["D  a", "M  b"]


def test_what_fails_half_way_is_moved_back(tmp_path: Path) -> None:
    worktree = make_worktree(tmp_path / "w")
    files = {b"a": b"a", b"b": b"b", b"n/x": b"x"}
    commit_all(worktree, files)
    moves = plan_moves(worktree, worktree.store.state(), [b"a", b"b"], b"n")
    (worktree.root / "b").unlink()

    with pytest.raises(StorageError, match="cannot move b to n/b"):
        move(worktree, moves)

    assert read_files(worktree.root) == {b"a": b"a", b"n/x": b"x"}
    assert read_status(worktree, worktree.store.state(), Pathspec()).staged == []


def test_what_is_in_conflict_is_not_moved(run_dsvc: RunDsvc, folder: Path) -> None:
    for branch, *words in (("side", "-c"), ("main",)):
        run_dsvc("switch", "-q", *words, branch, cwd=folder)
        (folder / "c/d").write_text(branch)
        run_dsvc("commit", "-qam", branch, cwd=folder)
    run_dsvc("merge", "side", cwd=folder, code=5)

    assert "c/d" in run_dsvc("mv", "c", "moved", cwd=folder, code=5).stderr
    assert short(run_dsvc, folder) == ["UU c/d"]
    run_dsvc("mv", "a", "moved", cwd=folder)
