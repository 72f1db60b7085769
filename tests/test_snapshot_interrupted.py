"""Snapshots that are killed, or whose remote fails, at every change of the disk: the next run completes them."""

import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dsvc.config import Config
from dsvc.history.store import Store
from dsvc.log.verify import verify_log
from dsvc.maintenance.fsck import fsck
from dsvc.model.ids import ObjectId
from dsvc.repository import open_worktree
from dsvc.storage.local import LocalBackend
from tests.crash_support import Ended, Watch, failing_at, fast_folder, run_forked, torn_at, warm_up
from tests.worktree_support import Files, make_context, read_files, tree_of, write_files

# More than there are.
MOST_STEPS = 400

OLD: Files = {b"same": b"same", b"edited": b"old", b"gone": b"gone"}
NEW: Files = {b"edited": b"new" * 5000, b"came/\xff": b"came"}


@pytest.fixture(scope="module")
def start() -> Iterator[Path]:
    """Make a repository with changes, and a remote that has the version before."""
    warm_up()
    with fast_folder() as folder:
        root = folder / "start" / "work"
        root.mkdir(parents=True)
        run(root, "init", "-q")
        run(root, "remote", "add", "origin", "../remote")
        write_files(root, OLD)
        run(root, "snapshot", "-q")
        (root / "gone").unlink()
        write_files(root, NEW)
        yield root.parent


def run(root: Path, *words: str) -> Ended:
    ended = run_forked(*words, cwd=root)
    assert ended.code == 0, ended.stderr
    return ended


def check_complete(folder: Path) -> None:
    """Check that here and there are the same two versions, the newer one just as the files are."""
    worktree = open_worktree(folder / "work" / ".dsvc", make_context("check"), Config())
    remote = Store(LocalBackend(folder / "remote"), make_context("check"))
    for store in (worktree.store, remote):
        assert [fault for fault in verify_log(store.log) if not fault.is_void] == []
        report = fsck(store)
        assert not report.is_damaged, [str(finding) for finding in report.findings]
    state = worktree.store.state()
    value = state.value("refs/heads/main")
    assert value is not None
    assert (value, value) == (state.value("refs/remotes/origin/main"), remote.state().value("refs/heads/main"))
    newest = worktree.commit_of(ObjectId.from_hex(value))
    assert newest.message == "Snapshot: 1 new, 1 changed, 1 removed"
    assert [worktree.commit_of(parent).message for parent in newest.parents] == ["Snapshot: 3 new"]
    files = {entry.path for entry in tree_of(worktree, ObjectId.from_hex(value)).entries()}
    assert files == set(read_files(folder / "work")) == {b"same", b"edited", b"came/\xff"}
    assert run(folder / "work", "status", "--porcelain").stdout == ""


@pytest.mark.slow
def test_a_run_after_one_that_was_killed_at_any_step_completes_it(start: Path) -> None:
    for step in range(MOST_STEPS):
        with fast_folder() as copies:
            folder = shutil.copytree(start, copies / "copy")
            killed = run_forked("snapshot", cwd=folder / "work", watch=Watch(torn_at(step)))

            ended = run(folder / "work", "snapshot")

            assert ended.stderr.count("\n") == 1
            check_complete(folder)
            if not killed.was_killed:
                assert killed.code == 0
                assert step > 30
                return
    pytest.fail("there are more steps than were tried")


@pytest.mark.slow
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_run_after_one_whose_remote_failed_at_any_step_pushes_what_is_left(start: Path, code: int) -> None:
    for step in range(MOST_STEPS):
        with fast_folder() as copies:
            folder = shutil.copytree(start, copies / "copy")
            watch = Watch(failing_at(step, code), within=folder / "remote")
            failed = run_forked("snapshot", "-q", cwd=folder / "work", watch=watch)

            ended = run(folder / "work", "snapshot")

            assert "] nothing changed; " in ended.stderr
            check_complete(folder)
            if not failed.code:
                assert step > 10
                return
        assert failed.code == (9 if code == errno.ENOSPC else 7)
        said, _, advice = failed.stderr.partition("\n")
        assert "] committed 1 new, 1 changed, 1 removed, but the push to origin failed: cannot " in said
        assert advice.startswith("hint: ")
        assert advice.count("\n") == 1
    pytest.fail("there are more steps than were tried")
