"""dsvc verify: whether a folder holds what a version says."""

import os
import shutil
from pathlib import Path

import pytest

from dsvc.history.tree import Tree
from dsvc.model.codec import encode
from dsvc.model.extension import Extension
from dsvc.model.extension import Link as Elsewhere
from dsvc.model.ids import Kind, ObjectId, hash_object
from dsvc.model.tree import Entry, EntryKind
from dsvc.worktree.verify import Check, Finding, Problem, Scope, verify
from dsvc.worktree.workers import Workers
from tests.crash_support import run_forked
from tests.forked import Desk, desk
from tests.worktree_support import EMPTY_FOLDER, Executable, Files, Link, commit_all, make_worktree, write_files

__all__ = ["desk"]

FILES: Files = {
    b"a": b"12345",
    b"deep/b": b"2" * 100_000,
    b"empty": EMPTY_FOLDER,
    b"link": Link(b"a"),
    b"run": Executable(b"#!"),
}


@pytest.fixture
def copy(desk: Desk) -> Path:
    """A folder with what the last version holds."""
    desk.commit(FILES)
    folder = desk.folder / "copy"
    folder.mkdir()
    write_files(folder, FILES)
    return folder


def told(desk: Desk, *words: str | Path, code: int) -> set[str]:
    """Return what is wrong, without the reasons."""
    return {line.partition(" (")[0] for line in desk("verify", *words, code=code).stdout.splitlines()}


def test_a_folder_that_holds_a_version_is_told_as_such(desk: Desk, copy: Path) -> None:
    ended = desk("verify", "HEAD", copy)

    assert ended.stdout == ""
    assert ended.stderr == "all is as in HEAD: 4 files, 97.7 KiB read\n"
    assert desk("verify").stderr == ended.stderr
    assert desk("verify", copy).stderr == ended.stderr


def test_clearml_verify_exits_with_0__any_mismatch_is_told_and_is_a_failure(desk: Desk, copy: Path) -> None:
    (copy / "deep" / "b").unlink()
    (copy / "a").write_text("1234x")
    (copy / "run").chmod(0o644)
    (copy / "link").unlink()
    (copy / "link").write_text("a")
    (copy / "deep" / "new").write_text("")

    assert told(desk, "HEAD", copy, code=8) == {
        "missing: deep/b",
        "changed: a",
        "of another mode: run",
        "of another type: link",
        "extra: deep/new",
    }


@pytest.mark.parametrize(
    ("path", "problem", "code"),
    [("deep/b", "missing", 8), ("empty", "missing", 8), ("new", "extra", 1), ("run", "of another mode", 1)],
)
def test_the_exit_status_says_whether_something_of_the_version_is_lost(
    desk: Desk, copy: Path, path: str, problem: str, code: int
) -> None:
    target = copy / path
    if problem == "extra":
        target.mkdir()
    elif problem == "of another mode":
        target.chmod(0o644)
    elif target.is_dir():
        target.rmdir()
    else:
        target.unlink()

    assert told(desk, "HEAD", copy, code=code) == {f"{problem}: {path}"}


def test_bytes_are_read_whatever_the_times_say(desk: Desk) -> None:
    desk.commit(FILES)
    desk("status")
    target = desk.work / "a"
    before = target.stat()
    target.write_text("x2345")
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert told(desk, code=8) == {"changed: a"}
    assert desk("verify", "--quick").stderr == "all is as in HEAD: 4 files, sizes only\n"
    target.write_text("x")
    assert told(desk, "--quick", code=8) == {"changed: a"}


def test_extra_files_are_told_unless_they_are_ignored_or_no_matter(desk: Desk, copy: Path) -> None:
    (copy / ".dsvcignore").write_text("*.tmp\nout/\n.dsvcignore\n")
    (copy / "x.tmp").write_text("")
    (copy / "out").mkdir()
    (copy / "out" / "x").write_text("")
    (copy / "deep" / "y").write_text("")

    assert told(desk, "HEAD", copy, code=1) == {"extra: deep/y"}
    assert told(desk, "HEAD", copy, "--no-extra", code=0) == set()


def test_a_file_of_the_version_that_is_ignored_is_checked_too(desk: Desk, copy: Path) -> None:
    (copy / ".dsvcignore").write_text("deep/\n.dsvcignore\n")

    assert told(desk, "HEAD", copy, code=0) == set()
    (copy / "deep" / "b").write_bytes(b"3" * 100_000)
    assert told(desk, "HEAD", copy, code=8) == {"changed: deep/b"}


def test_part_of_a_version_and_part_of_a_folder_can_be_verified(desk: Desk, copy: Path) -> None:
    shutil.rmtree(desk.folder / "copy" / "deep")

    assert told(desk, "HEAD", copy, "--", "a", "run", code=0) == set()
    assert told(desk, "HEAD", copy, "--", "deep", code=8) == {"missing: deep/b"}
    other = desk.folder / "other"
    other.mkdir()
    (other / "b").write_bytes(b"2" * 100_000)
    assert told(desk, "HEAD", other, "--prefix", "deep", code=0) == set()
    (other / "c").write_text("")
    assert told(desk, "HEAD", other, "--prefix", "deep/", code=1) == {"extra: c"}


def test_records_tell_each_finding_and_the_counts(desk: Desk, copy: Path) -> None:
    (copy / "a").write_text("1234x")

    finding, summary = desk.json("verify", "HEAD", copy, code=8)

    assert (finding["path"], finding["problem"], finding["size"]) == ("a", "changed", 5)
    assert (summary["files"], summary["changed"], summary["missing"]) == (4, 1, 0)


def test_what_cannot_be_read_is_told_and_the_rest_is_checked(desk: Desk, copy: Path) -> None:
    (copy / "a").chmod(0)
    (copy / "run").write_text("!!")
    desk.folder.chmod(0o755)
    for path in (desk.work, *desk.work.rglob("*"), *desk.work.glob(".dsvc")):
        if not path.is_symlink():
            os.chown(path, 12345, 12345)

    ended = run_forked("verify", "HEAD", copy, cwd=desk.work, user=12345)

    assert ended.code == 8
    assert {line.partition(" (")[0] for line in ended.stdout.splitlines()} == {"unreadable: a", "changed: run"}


def test_what_a_sparse_worktree_leaves_out_is_not_missing(desk: Desk, copy: Path) -> None:
    desk("clone", "-q", "--sparse", "deep", desk.work, "sparse", cwd=desk.folder)
    clone = desk.folder / "sparse"

    assert desk("verify", cwd=clone).stderr == "all is as in HEAD: 1 file, 97.7 KiB read\n"
    (clone / "deep" / "b").unlink()
    (clone / "a").write_text("other")
    assert desk("verify", cwd=clone, code=8).stdout.splitlines()[1] == "missing: deep/b"
    assert "changed: a" in desk("verify", cwd=clone, code=8).stdout
    assert copy.is_dir()


def test_a_version_of_another_store_is_verified_where_no_repository_is(desk: Desk, copy: Path) -> None:
    desk("remote", "add", "origin", "../remote")
    desk("push", "-q", "origin", "main")

    def outside(*words: str, code: int) -> str:
        return desk("verify", *words, cwd=desk.folder, code=code).stdout

    assert outside("remote#main", "copy", code=0) == ""
    (copy / "a").unlink()
    assert outside("remote#main", "copy", code=8) == "missing: a\n"
    outside("remote#nowhere", "copy", code=4)
    outside("remote#main", "nowhere", code=4)
    assert "name the folder" in desk("verify", "origin#main", code=2).stderr


def test_what_is_named_must_be_there_and_be_one_thing(desk: Desk, copy: Path) -> None:
    desk("branch", "deep")

    assert "both a version and a folder" in desk("verify", "deep", code=2).stderr
    assert "there is no folder nowhere" in desk("verify", "HEAD", "nowhere", code=4).stderr
    assert "nowhere" in desk("verify", "nowhere", code=4).stderr
    assert "is not in `HEAD`" in desk("verify", "HEAD", copy, "--prefix", "nowhere", code=4).stderr
    desk("verify", "HEAD", copy, "a", code=2)


def test_many_workers_find_what_one_does_in_the_same_order(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    worktree = make_worktree(tmp_path / "w")
    files = {b"%02d/%04d" % (number % 7, number): b"%d" % number for number in range(1500)}
    commit = commit_all(worktree, files)
    tree = Tree(worktree.store.objects, ObjectId(worktree.commit_of(commit).tree))
    for number in range(0, 1500, 100):
        worktree.root.joinpath(f"{number % 7:02}/{number:04}").write_bytes(b"x" * len(b"%d" % number))
    (worktree.root / "03" / "0500").unlink(missing_ok=True)

    def found(workers: Workers) -> list[Finding]:
        return list(verify(worktree.root_bytes, tree, Scope(), Check(), workers=workers))

    alone = found(Workers())

    assert found(Workers(2, ThreadPoolExecutor)) == alone
    assert len(alone) == 15
    assert {finding.problem for finding in alone} == {Problem.CHANGED, Problem.MISSING}


def test_clearml_links_missing_without_error__an_external_file_is_looked_for_and_compared(tmp_path: Path) -> None:
    worktree, folder = make_worktree(tmp_path / "w"), tmp_path / "copy"
    writer = worktree.store.writer()
    link = bytes(writer.write(Kind.EXTENSION, encode(Extension(1, Elsewhere("s3://bucket/x")))))
    digest = bytes(hash_object(Kind.CHUNK, b"12345"))
    digests = {b"changed": digest, b"gone": digest, b"good": digest, b"short": digest, b"unread": b""}
    entries = [Entry(path, EntryKind.EXTERNAL, 5, one, None, link) for path, one in digests.items()]
    tree = Tree(worktree.store.objects).apply(writer, [(entry.path, entry) for entry in entries])
    writer.seal()
    folder.mkdir()
    write_files(folder, {b"changed": b"1234x", b"good": Executable(b"12345"), b"short": b"1", b"unread": b"54321"})

    found = {finding.path: finding.problem for finding in verify(os.fsencode(folder), tree, Scope(), Check())}

    assert found == {
        b"changed": Problem.CHANGED,
        b"gone": Problem.MISSING,
        b"short": Problem.CHANGED,
        b"unread": Problem.UNVERIFIED,
    }
    (folder / "changed").unlink()
    (folder / "short").unlink()
    there = verify(os.fsencode(folder), tree, Scope(linked=False), Check())
    assert {finding.path for finding in there} == {b"unread"}
