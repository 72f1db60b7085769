"""Checkout through the link cache, as somebody whom a read-only bit stops: root gets copies instead."""

import errno
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dsvc.config import Config
from dsvc.worktree.link_cache import LinkCache, cache_entry
from dsvc.worktree.pathspec import Pathspec
from dsvc.worktree.restore import restore
from dsvc.worktree.status import read_status
from dsvc.worktree.unlock import unlock
from dsvc.worktree.worktree import Worktree
from tests.worktree_support import Executable, Files, check_out, clear, commit_all, make_worktree, read_files

_NOBODY = 65534
_FILES: Files = {b"a": b"same", b"b/c": b"same", b"run": Executable(b"same"), b"other": b"1" * 100_000}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that nobody in particular may write to; pytest's own are for root alone."""
    made = Path(tempfile.mkdtemp())
    if os.geteuid() == 0:
        os.chown(made, _NOBODY, _NOBODY)
    yield made
    shutil.rmtree(made)


def as_ordinary_user(action: Callable[[], None]) -> None:
    """Do *action*, in a process that is not root."""
    if os.geteuid() != 0:
        action()
        return
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([])
            os.setgid(_NOBODY)
            os.setuid(_NOBODY)
            action()
            code = 0
        except BaseException:  # noqa: BLE001 -- it must not go on as the test runner
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def linked_worktree(folder: Path, *ways: str) -> Worktree:
    """Return a worktree whose files were all checked out, in *ways* or else a copy."""
    worktree = make_worktree(folder / "w")
    worktree.config = Config(flags={"checkout.link": (*ways, "copy")})
    first = commit_all(worktree, _FILES)
    clear(worktree.root)
    check_out(worktree, first, force=True)
    return worktree


def links_of(worktree: Worktree, name: str) -> int:
    return (worktree.root / name).stat().st_nlink


def is_clean(worktree: Worktree) -> bool:
    return read_status(worktree, worktree.store.state(), Pathspec()).is_clean


def restore_all(worktree: Worktree) -> None:
    state = worktree.store.state()
    restore(worktree, state, worktree.staged_tree(state), Pathspec([b""]), staged=False, files=True)


def test_files_are_read_only_links_to_the_cache(folder: Path) -> None:
    def action() -> None:
        worktree = linked_worktree(folder, "hardlink")

        assert read_files(worktree.root) == _FILES
        assert links_of(worktree, "a") == 3
        assert not (worktree.root / "a").stat().st_mode & 0o222
        assert is_clean(worktree)

    as_ordinary_user(action)


def test_executable_and_plain_twins_are_two_files(folder: Path) -> None:
    def action() -> None:
        worktree = linked_worktree(folder, "hardlink")

        assert links_of(worktree, "run") == 2
        assert not (worktree.root / "a").samefile(worktree.root / "run")

    as_ordinary_user(action)


def test_an_edit_through_a_link_is_seen_and_can_be_taken_back(folder: Path) -> None:
    def action() -> None:
        worktree = linked_worktree(folder, "hardlink")
        edited = worktree.root / "a"
        edited.chmod(0o644)
        with edited.open("ab") as file:
            file.write(b"!")

        assert not is_clean(worktree)
        restore_all(worktree)

        assert read_files(worktree.root) == _FILES
        assert is_clean(worktree)

    as_ordinary_user(action)


def test_a_file_that_is_unlocked_is_its_own(folder: Path) -> None:
    def action() -> None:
        worktree = linked_worktree(folder, "hardlink")

        assert unlock(worktree, b"a")

        with (worktree.root / "a").open("ab") as file:
            file.write(b"!")
        assert (worktree.root / "b/c").read_bytes() == b"same"

    as_ordinary_user(action)


def test_a_way_that_the_filesystem_does_not_have_is_passed_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    def action() -> None:
        monkeypatch.setattr(os, "link", refuse_files)
        worktree = linked_worktree(folder, "hardlink")

        assert read_files(worktree.root) == _FILES
        assert links_of(worktree, "a") == 1

    link = os.link

    def refuse_files(source: object, target: object, **options: object) -> None:
        # The log needs links, and has them; only those into the worktree fail.
        if "dst_dir_fd" in options:
            refuse()
        link(source, target)  # type: ignore[arg-type]

    as_ordinary_user(action)


def test_a_file_with_too_many_links_is_written_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link
    failures = [errno.EMLINK]

    def sometimes(source: object, target: object, **options: object) -> None:
        if "dst_dir_fd" in options and failures:
            raise OSError(failures.pop(), "too many links")
        link(source, target, **options)  # type: ignore[arg-type]

    def action() -> None:
        monkeypatch.setattr(os, "link", sometimes)
        worktree = linked_worktree(folder, "hardlink")

        assert not failures
        assert read_files(worktree.root) == _FILES
        assert links_of(worktree, "a") > 1

    as_ordinary_user(action)


def test_damaged_records_cost_the_cache_and_nothing_else(folder: Path) -> None:
    def action() -> None:
        worktree = linked_worktree(folder, "hardlink")
        records = worktree.control / "cache" / "records.db"
        for file in records.parent.glob("records.db*"):
            file.unlink()
        records.write_bytes(b"no database" * 1000)

        (worktree.root / "a").unlink()
        restore_all(worktree)

        assert read_files(worktree.root) == _FILES

    as_ordinary_user(action)


def test_a_cached_file_is_only_believed_as_it_was_written(folder: Path) -> None:
    def action() -> None:
        worktree = linked_worktree(folder, "hardlink")
        state = worktree.store.state()
        entry = worktree.staged_tree(state).get(b"other")
        assert entry is not None
        name = cache_entry(entry).path
        cache = LinkCache(worktree.control / "cache")
        assert cache.is_sound(name)

        os.utime(cache.path(name), ns=(0, 0))

        assert not cache.is_sound(name)
        cache.close()

    as_ordinary_user(action)
