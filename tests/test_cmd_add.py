"""dsvc add, and what it refuses."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest
from blake3 import blake3

from dsvc.cli.errors import exit_code
from dsvc.history.content import read_content
from dsvc.model.tree import EntryKind
from dsvc.worktree import addition, ingest
from dsvc.worktree.add import What, add
from dsvc.worktree.ingest import FileChangingError
from dsvc.worktree.pathspec import Pathspec
from dsvc.worktree.session import SessionChangedError
from dsvc.worktree.status import read_status
from dsvc.worktree.workers import Workers
from tests.conftest import RunDsvc
from tests.worktree_support import check_out, commit_all, make_worktree, open_copy

NOBODY = 65534


@pytest.fixture
def folder(repository_folder: Path) -> Path:
    return repository_folder


def short(run_dsvc: RunDsvc, folder: Path, *options: str) -> list[str]:
    return run_dsvc("status", "-s", *options, cwd=folder).lines


# What is staged


def test_add_stages_files_folders_and_what_is_gone_below_them(run_dsvc: RunDsvc, folder: Path) -> None:
    (folder / "data/deep").mkdir(parents=True)
    (folder / "data/a").write_text("a")
    (folder / "data/deep/b").write_text("b")
    (folder / "other").write_text("o")
    run_dsvc("add", "data", cwd=folder)
    run_dsvc("commit", "-qm", "first", cwd=folder)
    (folder / "data/a").unlink()
    (folder / "data/c").write_text("c")

    run_dsvc("add", "data", cwd=folder)

    assert short(run_dsvc, folder) == ["D  data/a", "A  data/c", "?? other"]


def test_add_says_in_one_line_what_was_new_and_what_was_there_already(run_dsvc: RunDsvc, folder: Path) -> None:
    (folder / "a").write_bytes(bytes(range(256)) * 8)
    (folder / "gone").write_text("x")
    first = run_dsvc("add", "-A", cwd=folder)
    shutil.copy(folder / "a", folder / "copy")
    (folder / "gone").unlink()

    second = run_dsvc("add", "-A", cwd=folder)
    third = run_dsvc("add", "-A", cwd=folder)

    assert first.stderr.startswith("added 2 files: 2 new; 2.0 KiB read, 2.0 KiB new, stored in ")
    assert second.stderr == "added 2 files: 1 new, 1 removed; 2.0 KiB read, all of it stored already\n"
    assert third.stderr == "nothing changed\n"
    assert (first.stdout, second.stdout) == ("", "")


def test_add_update_stages_tracked_files_only(run_dsvc: RunDsvc, folder: Path) -> None:
    for name in ("edited", "gone"):
        (folder / name).write_text(name)
    run_dsvc("add", ".", cwd=folder)
    run_dsvc("commit", "-qm", "first", cwd=folder)
    (folder / "edited").write_text("something else")
    (folder / "gone").unlink()
    (folder / "new").write_text("n")

    run_dsvc("add", "-u", cwd=folder)

    assert short(run_dsvc, folder) == ["M  edited", "D  gone", "?? new"]


def test_add_no_all_leaves_what_is_gone(run_dsvc: RunDsvc, folder: Path) -> None:
    (folder / "gone").write_text("x")
    run_dsvc("add", ".", cwd=folder)
    run_dsvc("commit", "-qm", "first", cwd=folder)
    (folder / "gone").unlink()
    (folder / "new").write_text("n")

    run_dsvc("add", "--no-all", ".", cwd=folder)

    assert short(run_dsvc, folder) == [" D gone", "A  new"]


def test_a_pattern_matches_across_folders_and_a_file_of_that_name_is_meant_first(
    run_dsvc: RunDsvc, folder: Path
) -> None:
    (folder / "deep").mkdir()
    for name in ("deep/a.csv", "b.csv", "c.txt", "[x].bin"):
        (folder / name).write_text(name)

    run_dsvc("add", "*.csv", "[x].bin", cwd=folder)

    assert short(run_dsvc, folder) == ["A  [x].bin", "A  b.csv", "A  deep/a.csv", "?? c.txt"]


def test_paths_are_relative_to_the_working_folder(run_dsvc: RunDsvc, folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub/a").write_text("a")
    (folder / "top").write_text("t")

    run_dsvc("add", "a", "../top", cwd=folder / "sub")

    assert short(run_dsvc, folder / "sub") == ["A  a", "A  ../top"]


def test_a_dry_run_says_what_would_happen_and_stages_nothing(run_dsvc: RunDsvc, folder: Path) -> None:
    for name in ("same", "gone", "edited"):
        (folder / name).write_text(name)
    run_dsvc("add", ".", cwd=folder)
    (folder / "gone").unlink()
    (folder / "edited").write_text("EDITED")
    (folder / "same").touch()
    (folder / "new").write_text("n")

    result = run_dsvc("add", "-n", ".", cwd=folder)

    assert result.lines == ["add 'edited'", "remove 'gone'", "add 'new'"]
    assert short(run_dsvc, folder) == ["AM edited", "AD gone", "A  same", "?? new"]
    assert run_dsvc("add", "-v", ".", cwd=folder).lines == result.lines


def test_nothing_specified_is_nothing_added(run_dsvc: RunDsvc, folder: Path) -> None:
    (folder / "a").write_text("a")

    result = run_dsvc("add", cwd=folder)

    assert "Nothing specified" in result.stderr
    assert short(run_dsvc, folder) == ["?? a"]


def test_paths_come_from_a_file_by_line_quoted_or_not_or_by_zero_bytes(run_dsvc: RunDsvc, folder: Path) -> None:
    names = ["plain", "with space", 'quo"te', "new\nline", "back\\slash"]
    for name in names:
        (folder / name).write_text(name)

    by_zero = "\0".join(names[:3]) + "\0"
    run_dsvc("add", "--pathspec-from-file=-", "--pathspec-file-nul", cwd=folder, input=by_zero)
    (folder / "list").write_text('"new\\nline"\r\nback\\slash\n')
    run_dsvc("add", "--pathspec-from-file", "list", cwd=folder)

    status = run_dsvc("status", "-z", "-uno", cwd=folder).stdout.split("\0")
    assert sorted(status) == sorted(["", *(f"A  {name}" for name in names)])


def test_a_hundred_thousand_named_paths_are_matched_in_little_time() -> None:
    words = [b"folder/%06d" % number for number in range(100_000)]
    pathspec = Pathspec(words)

    assert pathspec.unmatched(word + b"/below" for word in words[1:]) == words[:1]
    assert len(pathspec.folders) == 100_000
    assert pathspec.matches(b"folder/000007/x")
    assert not pathspec.matches(b"folder")


# What a name and a file may be


def test_names_of_any_bytes_and_of_255_of_them_are_added(run_dsvc: RunDsvc, folder: Path) -> None:
    names = [b"new\nline", b"tab\t", b"\xff\xfe", b"n" * 255, "é".encode(), b"-dash", b"sp ace", b"\x01", b"a\\b"]
    for name in names:
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:  # noqa: PTH118, PTH123 (bytes)
            file.write(name)

    run_dsvc("add", "-A", cwd=folder)

    status = run_dsvc("status", "-z", cwd=folder).stdout.encode("utf-8", "surrogateescape")
    assert sorted(status.split(b"\0")) == sorted([b"", *(b"A  " + name for name in names)])


@pytest.fixture
def shallow_again(folder: Path) -> Iterator[None]:
    """Remove `d` at the end, in which pytest would lose itself: it removes folders by recursion."""
    yield
    subprocess.run(["rm", "-rf", folder / "d"], check=True)


@pytest.mark.usefixtures("shallow_again")
def test_a_path_deeper_than_the_recursion_limit_is_added(run_dsvc: RunDsvc, folder: Path) -> None:
    depth = (4000 - len(os.fsencode(folder))) // 2
    here = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("leaf", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)

    run_dsvc("add", "-A", cwd=folder)

    assert short(run_dsvc, folder) == ["A  " + "d/" * depth + "leaf"]


def test_empty_files_empty_folders_and_links_that_lead_nowhere_are_added(run_dsvc: RunDsvc, folder: Path) -> None:
    (folder / "empty").touch()
    (folder / "hollow/inside").mkdir(parents=True)
    (folder / "dangling").symlink_to("nowhere")
    (folder / "loop").symlink_to("loop")
    (folder / "up").symlink_to("..")

    run_dsvc("add", "-A", cwd=folder)

    assert short(run_dsvc, folder) == ["A  dangling", "A  empty", "A  hollow/inside", "A  loop", "A  up"]


def test_a_folder_that_was_empty_and_is_filled_is_not_gone(run_dsvc: RunDsvc, folder: Path) -> None:
    (folder / "hollow").mkdir()
    run_dsvc("add", "-A", cwd=folder)
    run_dsvc("commit", "-qm", "first", cwd=folder)
    (folder / "hollow/file").write_text("x")

    assert short(run_dsvc, folder) == ["?? hollow/file"]

    run_dsvc("add", "hollow/file", cwd=folder)

    assert short(run_dsvc, folder) == ["D  hollow", "A  hollow/file"]


def test_a_file_that_became_a_folder_and_back_is_followed(run_dsvc: RunDsvc, folder: Path) -> None:
    (folder / "x").write_text("file")
    run_dsvc("add", "x", cwd=folder)
    run_dsvc("commit", "-qm", "first", cwd=folder)
    (folder / "x").unlink()
    (folder / "x").mkdir()
    (folder / "x/inside").write_text("i")

    run_dsvc("add", "x/inside", cwd=folder)
    assert short(run_dsvc, folder) == ["D  x", "A  x/inside"]

    shutil.rmtree(folder / "x")
    (folder / "x").write_text("file again")
    run_dsvc("add", "x", cwd=folder)
    assert short(run_dsvc, folder) == ["M  x"]


# What is refused leaves everything as it was


def test_what_matches_nothing_is_not_found_and_nothing_is_staged(run_dsvc: RunDsvc, folder: Path) -> None:
    (folder / "a").write_text("a")

    for word in ("nothere", "*.zip", "a/below", "n" * 5000):
        result = run_dsvc("add", "a", word, cwd=folder, code=2 if len(word) > 255 else 4)
        assert word in result.stderr

    assert short(run_dsvc, folder) == ["?? a"]


def test_paths_outside_and_dsvcs_own_are_refused(run_dsvc: RunDsvc, folder: Path) -> None:
    (folder / "a").write_text("a")

    for word in ("..", "/etc/passwd", ".dsvc", ".dsvc/store/config.json", ".DSVC", ""):
        result = run_dsvc("add", "a", word, cwd=folder, code=2)
        assert word in result.stderr

    assert short(run_dsvc, folder) == ["?? a"]


def test_a_path_through_a_link_is_not_found(run_dsvc: RunDsvc, folder: Path) -> None:
    (folder / "real").mkdir()
    (folder / "real/file").write_text("x")
    (folder / "link").symlink_to("real")

    run_dsvc("add", "link/file", cwd=folder, code=4)

    assert short(run_dsvc, folder) == ["?? link", "?? real/"]


def test_an_ignored_path_is_refused_by_name_and_passed_over_otherwise(run_dsvc: RunDsvc, folder: Path) -> None:
    (folder / ".dsvcignore").write_text("*.log\nbuild/\n")
    (folder / "build").mkdir()
    for name in ("a", "x.log", "build/out"):
        (folder / name).write_text(name)

    for word in ("x.log", "build", "build/out"):
        result = run_dsvc("add", "a", word, cwd=folder, code=2)
        assert word in result.stderr
        assert "--force" in result.stderr
    assert short(run_dsvc, folder) == ["?? .dsvcignore", "?? a"]

    run_dsvc("add", ".", cwd=folder)
    run_dsvc("add", "-f", "x.log", cwd=folder)
    assert short(run_dsvc, folder, "--ignored") == ["A  .dsvcignore", "A  a", "A  x.log", "!! build/"]


def test_sockets_and_pipes_are_refused_by_name_and_left_out_with_a_warning_otherwise(
    run_dsvc: RunDsvc, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(folder / "pipe")
    monkeypatch.chdir(folder)  # the name of a socket has at most 108 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        (folder / "a").write_text("a")

        assert "pipe: it is a named pipe" in run_dsvc("add", "a", "pipe", cwd=folder, code=2).stderr
        assert "socket: it is a socket" in run_dsvc("add", "a", "socket", cwd=folder, code=2).stderr
        assert short(run_dsvc, folder) == ["?? a"]

        result = run_dsvc("add", ".", cwd=folder)

    assert result.stderr.count("warning: ") == 2
    assert short(run_dsvc, folder) == ["A  a"]


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that everybody may enter; pytest's own are for its user alone."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


# The interpreter may be in root's own home: all is imported, by use in another repository, before root is dropped.
AS_NOBODY = """
import os, sys
from dsvc.cli.main import run
there = os.getcwd()
os.chdir(sys.argv[1])
for words in (["init", "-q"], ["add", "-q", "."], ["status", "-s"]):
    assert run(words) == 0
os.chdir(there)
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
sys.exit(run(sys.argv[2:]))
"""


def test_what_cannot_be_read_is_named_and_nothing_is_staged(
    public_folder: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", AS_NOBODY, str(tmp_path), *words]
        home = {"HOME": str(public_folder)}
        return subprocess.run(
            command, cwd=public_folder, env=environment | home, capture_output=True, text=True, check=False
        )

    if os.geteuid() == 0:
        os.chown(public_folder, NOBODY, NOBODY)
    assert run("init", "-q").returncode == 0
    (public_folder / "a").write_text("a")
    (public_folder / "secret").write_text("s")
    (public_folder / "secret").chmod(0)
    (public_folder / "shut").mkdir()
    (public_folder / "shut/in").write_text("i")
    (public_folder / "shut").chmod(0)

    added = run("add", "a", "secret")

    assert (added.returncode, added.stderr) == (7, "error: cannot read secret: Permission denied\n")
    for words in (("add", "a", "shut/in"), ("add", "a", "shut"), ("add", "-A"), ("status",)):
        refused = run(*words)
        assert refused.returncode == 7, words
        assert "cannot read shut" in refused.stderr
    (public_folder / "shut").chmod(0o755)
    assert run("status", "-s").stdout.endswith("?? a\n?? secret\n?? shut/\n")


class Watcher:
    """A watcher of progress that does nothing."""

    def start(self, task: str, *, files: int | None = None, size: int | None = None) -> None: ...

    def expect(self, *, files: int, size: int) -> None: ...

    def advance(self, files: int = 0, size: int = 0) -> None: ...

    def finish(self) -> None: ...


class Writer(Watcher):
    """Writes to a file whenever a part of it was read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._times = count(1)

    def advance(self, files: int = 0, size: int = 0) -> None:
        if files or size:
            os.utime(self._path, ns=(0, next(self._times)))


def test_a_file_that_changes_while_it_is_read_is_named_and_nothing_is_staged(tmp_path: Path) -> None:
    worktree = make_worktree(tmp_path / "w")
    (worktree.root / "a").write_text("a")
    with (worktree.root / "moving").open("wb") as file:
        file.truncate(20 << 20)

    with pytest.raises(FileChangingError, match="moving changes while it is read") as caught:
        add(worktree, worktree.store.state(), What(Pathspec()), progress=Writer(worktree.root / "moving"))

    status = read_status(worktree, worktree.store.state(), Pathspec())
    assert exit_code(caught.value) == 6
    assert (status.untracked, status.staged) == ([b"a", b"moving"], [])


class Editor(Watcher):
    """Edits files when all are found and none of a small lot is read."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def expect(self, *, files: int, size: int) -> None:
        assert (files, size) == (3, 0)
        (self._root / "changes").write_text("is longer now")
        (self._root / "changes").chmod(0o755)
        (self._root / "goes").unlink()


def test_a_file_that_changed_or_went_since_it_was_found_is_stored_as_it_is(tmp_path: Path) -> None:
    worktree = make_worktree(tmp_path / "w")
    for name in ("changes", "goes", "stays"):
        (worktree.root / name).write_text(name)

    added = add(worktree, worktree.store.state(), What(Pathspec()), progress=Editor(worktree.root))

    entries = {entry.path: entry for entry in worktree.staged_tree(worktree.store.state()).entries()}
    assert sorted(entries) == [b"changes", b"stays"]
    assert (entries[b"changes"].size, entries[b"changes"].kind) == (13, EntryKind.EXECUTABLE)
    assert (added.new, added.modified, added.removed) == (2, 0, 0)


@pytest.mark.parametrize("time", [0, 1 << 33])
def test_files_of_any_size_are_stored_whole_whether_their_times_are_past_or_to_come(tmp_path: Path, time: int) -> None:
    worktree = make_worktree(tmp_path / "w")
    lengths = [0, 1, 1 << 16, (1 << 16) + 1, (1 << 18) - 1, 1 << 18, (1 << 18) + 1, 3 << 20, (1 << 24) - 1, 1 << 24]
    contents = {b"%d" % length: blake3(b"%d" % length).digest(length) for length in lengths}
    for name, content in contents.items():
        path = worktree.root / os.fsdecode(name)
        path.write_bytes(content)
        os.utime(path, (time, time))

    add(worktree, worktree.store.state(), What(Pathspec()))

    state = worktree.store.state()
    entries = {entry.path: entry for entry in worktree.staged_tree(state).entries()}
    assert {path: (entry.size, entry.digest) for path, entry in entries.items()} == {
        name: (len(content), blake3(content).digest()) for name, content in contents.items()
    }
    for name, content in contents.items():
        assert read_content(worktree.store.objects, entries[name]) == content
    assert read_status(worktree, state, Pathspec()).unstaged == []


@pytest.mark.parametrize("jobs", [1, 3])
def test_it_does_not_matter_how_the_files_are_dealt_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    worktrees = [make_worktree(tmp_path / name) for name in ("at once", "dealt out")]
    for worktree in worktrees:
        for number in range(50):
            path = worktree.root / f"{number % 3}" / f"{number}"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"%d" % number * (number % 7 * 20))
    add(worktrees[0], worktrees[0].store.state(), What(Pathspec()))
    # Most batches end before all their files are read.
    monkeypatch.setattr(addition, "BATCH_FILES", 8)
    monkeypatch.setattr(ingest, "_BATCH_BYTES", 300)

    workers = Workers(jobs, ThreadPoolExecutor)
    added = add(worktrees[1], worktrees[1].store.state(), What(Pathspec()), workers=workers)

    roots = [worktree.staged_tree(worktree.store.state()).root for worktree in worktrees]
    rows = [[(row[0], row[2]) for row in worktree.stat_cache.rows()] for worktree in worktrees]
    assert roots[0] == roots[1]
    assert rows[0] == rows[1]
    assert added.new == 50


def test_options_that_contradict_each_other_are_refused(run_dsvc: RunDsvc, folder: Path) -> None:
    run_dsvc("add", "-A", "-u", cwd=folder, code=2)
    run_dsvc("add", "--pathspec-file-nul", "x", cwd=folder, code=2)
    run_dsvc("add", "--pathspec-from-file", "nothere", cwd=folder, code=4)
    run_dsvc("add", "-j", "-1", ".", cwd=folder, code=2)


@pytest.mark.parametrize("time", [1 << 40, -(1 << 40), 1 << 62])
def test_a_file_from_a_year_far_away_is_added_and_known(repository_folder: Path, run_dsvc: RunDsvc, time: int) -> None:
    path = repository_folder / "a"
    path.write_text("content")
    # The filesystem keeps of it what it can.
    with suppress(OverflowError, OSError):
        os.utime(path, (time, time))

    run_dsvc("add", "a", cwd=repository_folder)

    assert run_dsvc("status", "-s", cwd=repository_folder).lines == ["A  a"]


def test_what_a_switch_took_away_for_a_moment_is_not_removed_from_the_other_branch(tmp_path: Path) -> None:
    worktree = make_worktree(tmp_path / "work")
    first = commit_all(worktree, {b"a": b"1", b"b": b"1"})
    commit_all(worktree, {b"a": b"2", b"b": b"1"})
    state = worktree.store.state()
    check_out(open_copy(worktree.root), first)
    # As a scan may find it, that came while the file was replaced.
    (worktree.root / "a").unlink()

    with pytest.raises(SessionChangedError):
        add(worktree, state, What(Pathspec()))

    assert worktree.session(worktree.store.state()).staged is None
