"""A disk that is full, unreadable, read-only or damaged: one clear line, the right exit code, and nothing lost."""

import errno
import itertools
import os
import random
import shutil
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dsvc.config import Config
from dsvc.history.store import Store
from dsvc.log.verify import verify_log
from dsvc.maintenance.fsck import fsck
from dsvc.repository import open_worktree
from dsvc.storage.local import LocalBackend
from tests.crash_support import Ended, Watch, failing_at, fast_folder, run_forked, warm_up
from tests.worktree_support import EMPTY_FOLDER, Executable, Files, Link, make_context, read_files, write_files

# More than any of these commands has.
MOST_STEPS = 300
SOMEBODY = 12345
LARGE = random.Random(1).randbytes(700_000)  # noqa: S311
FIRST: Files = {b"a": b"a, first", b"gone/b": b"b, first", b"large": LARGE, b"link": Link(b"a")}
SECOND: Files = {
    b"a": b"a, second",
    b"came/c": Executable(b"#!"),
    b"large": LARGE[:300_000] + b"!" + LARGE[300_001:],
    b"link": Link(b"large"),
    b"empty": EMPTY_FOLDER,
}


def dsvc(root: Path, *words: str) -> Ended:
    ended = run_forked(*words, cwd=root)
    assert ended.code == 0, ended.stderr
    return ended


def opened(root: Path) -> Store:
    return open_worktree(root / ".dsvc", make_context("check"), Config()).store


def check_whole(store: Store) -> None:
    assert list(verify_log(store.log)) == []
    assert not fsck(store).is_damaged


def refs(store: Store) -> dict[str, str]:
    return {name: ref.value for name, ref in store.state().refs.items()}


@pytest.fixture(scope="module")
def original() -> Iterator[Path]:
    """Make a repository of two versions, at the second one, with a remote beside it; others may read it."""
    warm_up()
    with fast_folder() as folder:
        folder.chmod(0o755)
        root = folder / "original" / "repository"
        root.mkdir(parents=True)
        dsvc(root, "init", "-q")
        write_files(root, FIRST)
        dsvc(root, "add", "-q", ".")
        dsvc(root, "commit", "-q", "-m", "First")
        dsvc(root, "branch", "first")
        dsvc(root, "remote", "add", "origin", "../remote")
        dsvc(root, "push", "-q", "origin", "first:main")
        for path in ("a", "gone", "large", "link"):
            shutil.rmtree(root / path) if (root / path).is_dir() else (root / path).unlink()
        write_files(root, SECOND)
        dsvc(root, "add", "-q", ".")
        dsvc(root, "commit", "-q", "-m", "Second")
        yield root.parent


@pytest.fixture
def folder(original: Path) -> Iterator[Path]:
    """Make a copy of the repository and its remote."""
    with fast_folder() as copies:
        copies.chmod(0o755)
        yield shutil.copytree(original, copies / "copy", symlinks=True)


def edited(root: Path) -> None:
    (root / "a").write_bytes(b"a, third")
    (root / "new").write_bytes(LARGE[::-1])


def staged(root: Path) -> None:
    edited(root)
    dsvc(root, "add", "-q", ".")


def nothing(_root: Path) -> None:
    pass


# Full disks.


@pytest.mark.parametrize(
    ("words", "prepare"),
    [
        (("add", "."), edited),
        (("commit", "-m", "Third"), staged),
        (("push", "-q", "origin", "main"), nothing),
        (("rm", "-q", "a"), nothing),
        (("tag", "-m", "A tag", "v1"), nothing),
        (("status",), edited),
    ],
)
def test_a_disk_that_is_full_at_any_step_changes_nothing(
    original: Path, words: tuple[str, ...], prepare: Callable[[Path], None]
) -> None:
    for step in range(MOST_STEPS):
        with fast_folder() as copies:
            folder = shutil.copytree(original, copies / "copy", symlinks=True)
            root = folder / "repository"
            prepare(root)
            files, before, there = read_files(root), refs(opened(root)), refs(remote_of(folder))

            ended = run_forked(*words, cwd=root, watch=Watch(failing_at(step)))

            if ended.code:
                assert_one_line(ended, 9, "o space left on device", "database or disk is full")
                if words[0] not in ("push", "rm"):
                    assert before == refs(opened(root))
                    assert files == read_files(root)
                # The refs of the remote are the last thing that a push changes there.
                assert there == refs(remote_of(folder)) or words[0] == "push"
                assert temporary_files(folder) == []
            check_whole(opened(root))
            check_whole(remote_of(folder))
            again = run_forked(*words, cwd=root)
            # What could not be told to a cache, or to the log of this side, was done all the same.
            assert again.code in ({0} if ended.code else {0, 1, 4, 5}), again.stderr
            check_whole(opened(root))
        if step >= ended.steps:
            assert ended.code == 0
            return
    pytest.fail("there are more steps than were tried")


@pytest.mark.parametrize("back", [False, True])
def test_a_switch_on_a_full_disk_can_be_finished_or_taken_back(original: Path, *, back: bool) -> None:
    for step in range(MOST_STEPS):
        with fast_folder() as copies:
            root = shutil.copytree(original, copies / "copy", symlinks=True) / "repository"

            ended = run_forked("switch", "-q", "first", cwd=root, watch=Watch(failing_at(step)))

            wanted = FIRST
            if ended.code:
                assert_one_line(ended, 9, "o space left on device")
                if opened_session(root) is None:
                    wanted = SECOND
                else:
                    dsvc(root, "switch", "--abort" if back else "--continue")
                    wanted = SECOND if back else FIRST
            assert read_files(root) == wanted
            assert dsvc(root, "status", "--porcelain").stdout == ""
            check_whole(opened(root))
        if step >= ended.steps:
            assert ended.code == 0
            return
    pytest.fail("there are more steps than were tried")


def opened_session(root: Path) -> object:
    worktree = open_worktree(root / ".dsvc", make_context("check"), Config())
    return worktree.session(worktree.store.state()).switching


def remote_of(folder: Path) -> Store:
    return Store(LocalBackend(folder / "remote"), make_context("check"))


def temporary_files(folder: Path) -> list[Path]:
    places = ("repository/.dsvc/tmp", "repository/.dsvc/store/tmp", "remote/tmp")
    return [path for place in places for path in (folder / place).glob("*")]


def assert_one_line(ended: Ended, code: int, *said: str) -> None:
    """Check that a refusal is one line that starts with `error:` and has one of *said*; a hint may follow."""
    assert ended.code == code, ended.stderr
    error, *hints = ended.stderr.splitlines()
    assert error.startswith("error: ")
    assert any(text in error for text in said), error
    assert all(line.startswith(("hint: ", "warning: ")) for line in hints), ended.stderr


# What cannot be read or written.


def test_a_pack_that_the_disk_cannot_read_is_named(folder: Path) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def break_disk() -> None:
        os.pread = fail

    ended = run_forked("cat", "HEAD:large", cwd=folder / "repository", before=break_disk)

    assert_one_line(ended, 7, "Input/output error")
    assert "/store/packs/" in ended.stderr
    assert ended.stdout == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_somebody_elses_repository_can_be_read_and_not_written(folder: Path) -> None:
    root = folder / "repository"
    edited(root)

    for reading in (("log",), ("show",), ("cat", "HEAD:a"), ("ls",), ("diff",), ("fsck", "-q")):
        assert run_forked(*reading, cwd=root, user=SOMEBODY).code == 0, reading
    assert run_forked("status", "-s", cwd=root, user=SOMEBODY).stdout == " M a\n?? new\n"
    writing: list[tuple[str, ...]] = [("add", "a"), ("commit", "--allow-empty", "-m", "x"), ("tag", "v1")]
    for words in (*writing, ("reset", "--hard", "first")):
        assert_one_line(run_forked(*words, cwd=root, user=SOMEBODY), 7, "cannot write")
    assert temporary_files(folder) == []
    assert run_forked("status", "-s", cwd=root).stdout == " M a\n?? new\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_folder_that_cannot_be_written_stops_a_switch_that_can_be_finished_later(folder: Path) -> None:
    root = folder / "repository"
    for path in (root, *root.rglob("*")):
        os.chown(path, SOMEBODY, SOMEBODY, follow_symlinks=False)
    (root / "came").chmod(0o555)

    ended = run_forked("switch", "-q", "first", cwd=root, user=SOMEBODY)

    assert_one_line(ended, 7, "cannot remove came/c: Permission denied")
    (root / "came").chmod(0o755)
    assert run_forked("switch", "--continue", cwd=root, user=SOMEBODY).code == 0
    assert read_files(root) == FIRST


def test_a_worker_that_is_killed_is_no_bug_of_ours_and_stages_nothing(folder: Path) -> None:
    root = folder / "repository"
    (root / "many").mkdir()
    for number in range(10_000):
        (root / "many" / str(number)).touch()

    def die_in_a_worker() -> None:
        owner, opened = os.getpid(), os.open

        def deadly(*arguments: Any, **options: Any) -> int:
            if os.getpid() != owner:
                os.kill(os.getpid(), signal.SIGKILL)
            return opened(*arguments, **options)

        os.open = deadly

    ended = run_forked("add", "-j", "2", ".", cwd=root, before=die_in_a_worker)

    assert_one_line(ended, 7, "a worker process was killed")
    assert run_forked("status", "--porcelain", cwd=root).stdout == "?? many/\n"
    dsvc(root, "add", ".")
    assert temporary_files(folder) == []


# Damage.


def damaged(data: bytes, how: str) -> bytes | None:
    match how:
        case "a bit":
            return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]
        case "cut short":
            return data[: len(data) // 2]
        case "empty":
            return b""
        case "garbage":
            return random.Random(3).randbytes(len(data))  # noqa: S311
        case _:
            return None


@pytest.mark.parametrize("how", ["a bit", "cut short", "empty", "garbage", "missing"])
@pytest.mark.parametrize(
    ("what", "named"),
    [
        ("packs/*/*", ("pack ",)),
        ("index/*", ("index segment ", "index/", "is not here", "pack ")),
        ("log/0/*2", ("log/0/00000000000000000002 was changed or removed",)),
        ("config.json", ("config.json",)),
    ],
)
def test_damage_is_named_and_stops_whoever_needs_what_it_hit(
    folder: Path, what: str, named: tuple[str, ...], how: str
) -> None:
    if (what, how) == ("config.json", "missing"):
        pytest.skip("without it, this is no repository")
    root = folder / "repository"
    edited(root)
    for path in (root / ".dsvc/store").glob(what):
        data = damaged(path.read_bytes(), how)
        path.unlink()
        if data is not None:
            path.write_bytes(data)
    before = everything(root)

    for words in (("cat", "HEAD:large"), ("status",), ("add", "."), ("commit", "-a", "-m", "x"), ("switch", "first")):
        assert_one_line(run_forked(*words, cwd=root), 8, *named)
    assert run_forked("fsck", "-q", cwd=root).code == 8
    assert everything(root) == before


def everything(root: Path) -> dict[str, bytes]:
    """Return every file below *root* that is not a cache."""
    return {
        str(path): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not path.is_symlink() and not path.name.startswith("worktree.db")
    }


def test_the_last_entry_of_the_log_is_missed_when_it_is_damaged(folder: Path) -> None:
    root = folder / "repository"
    last = max((root / ".dsvc/store/log/0").iterdir())
    good = last.read_bytes()
    last.unlink()
    last.write_bytes(good[:100])

    assert_one_line(run_forked("status", cwd=root), 8, f"log/0/{last.name} was changed or removed")
    last.write_bytes(good)
    assert run_forked("status", cwd=root).code == 0


def test_a_damaged_log_of_a_remote_is_not_pushed_to(folder: Path) -> None:
    root = folder / "repository"
    dsvc(root, "push", "-q", "origin", "first:second")
    first = folder / "remote/log/0/00000000000000000001"
    good = first.read_bytes()
    first.unlink()
    first.write_bytes(good.replace(b"push", b"PUSH"))
    before = everything(folder / "remote")

    assert_one_line(run_forked("push", "-q", "origin", "main", cwd=root), 8, "0001 was changed or removed")
    assert everything(folder / "remote") == before


def test_a_damaged_index_is_made_anew_from_the_packs(folder: Path) -> None:
    root = folder / "repository"
    for path in (root / ".dsvc/store/index").iterdir():
        path.unlink()

    assert run_forked("fsck", "-q", "--rebuild-index", cwd=root).code == 0

    check_whole(opened(root))
    assert run_forked("cat", "HEAD:a", cwd=root).stdout == "a, second"


@pytest.mark.parametrize("step", range(0, 24_576, 512))
def test_a_stat_cache_damaged_anywhere_costs_time_and_never_truth(folder: Path, step: int) -> None:
    root = folder / "repository"
    edited(root)
    right = dsvc(root, "status", "--porcelain").stdout
    cache = root / ".dsvc/worktree.db"
    data = bytearray(cache.read_bytes())
    position = step % len(data)
    data[position : position + 64] = bytes(byte ^ 0xFF for byte in data[position : position + 64])
    cache.write_bytes(data)

    ended = [run_forked("status", "--porcelain", cwd=root) for _ in range(2)]

    assert [(one.code, one.stdout) for one in ended] == [(0, right)] * 2, ended[0].stderr


# Files that do not keep still, and names.


@pytest.mark.parametrize("size", [1000, 20 << 20])
def test_a_file_that_grows_with_each_read_is_refused_by_name(folder: Path, size: int) -> None:
    root = folder / "repository"
    (root / "growing").write_bytes(bytes(size))

    def grow() -> None:
        watched = (root / "growing").stat().st_ino

        def growing(read: Callable[..., object]) -> Callable[..., object]:
            def call(descriptor: int, *arguments: object) -> object:
                result = read(descriptor, *arguments)
                status = os.fstat(descriptor)
                if stat.S_ISREG(status.st_mode) and status.st_ino == watched:
                    with (root / "growing").open("ab") as file:
                        file.write(b"!")
                return result

            return call

        for name in ("read", "readv", "pread", "preadv"):
            setattr(os, name, growing(getattr(os, name)))

    ended = run_forked("add", ".", cwd=root, before=grow)

    assert_one_line(ended, 6, "growing changes while it is read")
    assert run_forked("status", "--porcelain", cwd=root).stdout == "?? growing\n"
    assert temporary_files(folder) == []
    dsvc(root, "add", ".")


def test_every_byte_that_a_name_may_have_comes_back(folder: Path) -> None:
    root = folder / "repository"
    names = [bytes([byte]) for byte in range(1, 256) if byte not in b"./"]
    names += [
        b"-" * 255,
        b"\xff" * 255,
        b" ",
        b"a\nb",
        b"a\tb",
        b'"',
        b"\\",
        b"-rf",
        b"~",
        b"...",
        b"..x",
        b"*",
        b"[x]",
    ]
    names += [bytes(pair) for pair in itertools.product(b'\n\\"\xc3 ', repeat=2)]
    files: Files = {b"odd/" + name: b"content of " + name for name in names}
    write_files(root, files)

    dsvc(root, "add", "odd")
    dsvc(root, "commit", "-q", "-m", "Odd")
    listed = dsvc(root, "ls", "-r", "-z", "HEAD").stdout.encode("utf-8", "surrogateescape").split(b"\0")
    dsvc(root, "switch", "-q", "first")
    dsvc(root, "switch", "-q", "main")

    assert set(files) <= set(listed)
    assert read_files(root) == {**SECOND, **files}
    assert dsvc(root, "status", "--porcelain").stdout == ""


def test_a_path_longer_than_the_system_allows_is_named_and_nothing_is_staged(folder: Path) -> None:
    root = folder / "repository"
    (root / "new").write_text("new")
    name = b"n" * 200
    descriptor = os.open(root, os.O_RDONLY)
    for _ in range(25):
        os.mkdir(name, dir_fd=descriptor)
        below = os.open(name, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(os.open("leaf", os.O_WRONLY | os.O_CREAT, dir_fd=descriptor))
    os.close(descriptor)

    ended = run_forked("add", ".", cwd=root)

    assert_one_line(ended, 7, "File name too long")
    assert dsvc(root, "add", "new").code == 0
    shutil.rmtree(root / os.fsdecode(name))
    assert run_forked("status", "-s", cwd=root).stdout == "A  new\n"
