"""Sparse worktrees: files of some folders only, and versions that stay whole."""

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsvc.log.entry import RefChange
from dsvc.model.ids import ObjectId
from dsvc.worktree.checkout import switch_to
from dsvc.worktree.pathspec import Pathspec
from dsvc.worktree.restore import restore
from dsvc.worktree.session import SessionChangedError
from dsvc.worktree.sparse import set_sparse
from dsvc.worktree.sparse_set import EVERYTHING, SparseSetChangedError
from dsvc.worktree.status import read_status
from dsvc.worktree.worktree import Worktree
from tests.crash_support import run_forked
from tests.forked import Desk, desk
from tests.killed import killed_at_step
from tests.worktree_support import (
    EMPTY_FOLDER,
    Content,
    add_all,
    check_out,
    commit_all,
    make_worktree,
    open_copy,
    read_files,
    tree_of,
)

__all__ = ["desk"]

FILES: dict[bytes, Content] = {
    b"a/one": b"1",
    b"a/two": b"2",
    b"b/c/three": b"3",
    b"b/four": b"4",
    b"large": os.urandom(2_000_000),
}


@pytest.fixture
def work(desk: Desk) -> Path:
    desk.commit(FILES)
    return desk.work


def files_in(version: str, work: Path, desk: Desk) -> list[str]:
    return desk("ls", "-r", version, cwd=work).lines


def test_files_go_and_come_back_and_no_version_changes(work: Path, desk: Desk) -> None:
    assert desk("sparse", "set", "b", cwd=work).stderr == "3 files went\n"

    assert read_files(work) == {path: FILES[path] for path in (b"b/c/three", b"b/four")}
    assert desk("sparse", cwd=work).lines == ["b"]
    assert desk("status", cwd=work).lines[-1] == "nothing to commit, working tree clean"
    assert desk("sparse", "add", "a/one", cwd=work / "b", code=0).stderr.startswith("warning: this version has no b/a")
    assert desk("sparse", "add", "../a/one", cwd=work / "b").stderr == "1 file came\n"
    assert desk("sparse", "list", cwd=work).lines == ["a/one", "b"]
    assert desk("sparse", "disable", cwd=work).stderr == "2 files came\n"
    assert read_files(work) == FILES
    assert desk("status", "--porcelain", cwd=work).stdout == ""
    assert desk("sparse", cwd=work).stdout == ""


def test_what_is_outside_stays_in_every_version(work: Path, desk: Desk) -> None:
    desk("sparse", "set", "a", cwd=work)
    (work / "a" / "one").unlink()
    (work / "a" / "new").write_text("new")

    desk("add", "-A", cwd=work)
    desk("commit", "-q", "-m", "second", cwd=work)

    assert files_in("HEAD", work, desk) == ["a/new", "a/two", "b/c/three", "b/four", "large"]
    desk("switch", "-q", "--detach", "HEAD~1", cwd=work)
    assert set(read_files(work)) == {b"a/one", b"a/two"}
    desk("switch", "-q", "main", cwd=work)
    assert set(read_files(work)) == {b"a/new", b"a/two"}
    desk("reset", "-q", "--hard", "HEAD~1", cwd=work)
    assert set(read_files(work)) == {b"a/one", b"a/two"}
    desk("undo", "-q", cwd=work)
    assert set(read_files(work)) == {b"a/new", b"a/two"}
    assert desk("snapshot", "--no-push", cwd=work).stderr.endswith("nothing changed\n")


def test_a_conflict_outside_is_decided_by_nobody_who_cannot_see_it(work: Path, desk: Desk) -> None:
    for branch in ("side", "main"):
        desk("switch", "-q", *([] if branch == "main" else ["-c"]), branch, cwd=work)
        (work / "b" / "four").write_text(branch)
        desk("commit", "-qam", branch, cwd=work)
    desk("sparse", "set", "-q", "a", cwd=work)

    desk("merge", "side", cwd=work, code=5)
    desk("add", "-A", cwd=work)
    assert "b/four" in desk("merge", "--continue", cwd=work, code=5).stderr
    desk("sparse", "add", "-q", "b", cwd=work)
    desk("restore", "--theirs", "b/four", cwd=work)
    desk("add", "-A", cwd=work)
    desk("merge", "-q", "--continue", cwd=work)

    assert desk("cat", "HEAD:b/four", cwd=work).stdout == "side"


def test_a_file_outside_is_told_of_and_never_added(work: Path, desk: Desk) -> None:
    desk("sparse", "set", "a", cwd=work)
    (work / "b").mkdir()
    (work / "b" / "four").write_text("edited")

    status = desk("status", cwd=work).stdout
    added = desk("add", "-A", cwd=work)
    named = desk("add", "b/four", cwd=work, code=10)

    assert "Outside of this sparse worktree:\n" in status
    assert "\tb/four\n" in status
    assert [json.loads(line)["kind"] for line in desk("status", "--json", cwd=work).lines] == ["head", "outside"]
    assert added.stderr.startswith("warning: left out, as this worktree is sparse: 1 file, such as b/four\nhint: ")
    assert added.stderr.endswith("nothing changed\n")
    assert named.stderr.startswith("error: outside of what this sparse worktree has: b/four\nhint: to have it")
    snapshot = desk("snapshot", "--no-push", cwd=work)
    assert "nothing changed; left out 1 file outside of the sparse worktree" in snapshot.stderr
    # It is the user's own, so it is not overwritten either.
    assert "\tb/four\n" in desk("sparse", "add", "b", cwd=work, code=5).stderr
    assert (work / "b" / "four").read_text() == "edited"


@pytest.mark.parametrize(
    "words",
    [["rm", "large"], ["mv", "a/one", "b/one"], ["mv", "large", "a"], ["restore", "large"], ["checkout", "--", "b"]],
)
def test_to_name_what_is_outside_is_an_error(words: list[str], work: Path, desk: Desk) -> None:
    desk("sparse", "set", "a", cwd=work)
    (work / "b").mkdir()

    assert "outside of what this sparse worktree has" in desk(*words, cwd=work, code=10).stderr
    (work / "b").rmdir()
    assert desk("status", "--porcelain", cwd=work).stdout == ""


def test_an_edited_file_does_not_go(work: Path, desk: Desk) -> None:
    (work / "large").write_text("edited")

    assert "\tlarge\n" in desk("sparse", "set", "a", cwd=work, code=5).stderr

    assert set(read_files(work)) == set(FILES)
    assert desk("sparse", cwd=work).stdout == ""
    # What is staged can go: it is stored.
    desk("add", "large", cwd=work)
    desk("sparse", "set", "a", cwd=work)
    assert desk("status", "--porcelain", cwd=work).lines == ["M  large"]
    desk("commit", "-q", "-m", "second", cwd=work)
    assert desk("cat", "HEAD:large", cwd=work).stdout == "edited"


def test_ignore_files_above_are_inside(work: Path, desk: Desk) -> None:
    (work / ".dsvcignore").write_text("*.log\n")
    desk("add", "-q", ".dsvcignore", cwd=work)
    desk("commit", "-q", "-m", "second", cwd=work)

    desk("sparse", "set", "b/c", cwd=work)
    (work / "b" / "c" / "x.log").write_text("")

    assert set(read_files(work)) == {b".dsvcignore", b"b/c/three", b"b/c/x.log"}
    assert desk("status", "--porcelain", cwd=work).stdout == ""


def test_a_sparse_clone_brings_only_the_data_inside(work: Path, desk: Desk) -> None:
    clone = work.parent / "clone"

    said = desk("clone", "--sparse", "b/", "--sparse", "c", work, clone, cwd=work.parent).stderr

    assert "warning: this version has no c\n" in said
    assert "checked out main: 2 files\n" in said
    assert set(read_files(clone)) == {b"b/c/three", b"b/four"}
    assert sum(path.stat().st_size for path in (clone / ".dsvc").rglob("*") if path.is_file()) < 1_000_000
    desk("sparse", "disable", cwd=clone)
    assert read_files(clone) == FILES


@pytest.mark.parametrize(
    "words", [["set", "."], ["set", "../elsewhere"], ["set", "a\nb"], ["set", ".dsvc/store"], ["set"]]
)
def test_what_can_be_no_part_is_refused(words: list[str], work: Path, desk: Desk) -> None:
    desk("sparse", *words, cwd=work, code=2)

    assert read_files(work) == FILES
    assert desk("sparse", cwd=work).stdout == ""


def test_killed_at_any_step_all_inside_is_there_and_the_next_run_does_it(tmp_path: Path) -> None:
    step, killed = 0, True
    while killed:
        worktree = make_worktree(tmp_path / f"{step}")
        commit_all(worktree, FILES)
        set_sparse(worktree, [b"a"])
        worktree.close()

        killed = killed_at_step(step, partial(set_at, worktree.root, b"b"))

        again = open_copy(worktree.root)
        status = read_status(again, again.store.state(), Pathspec())
        assert (status.unstaged, status.untracked) == ([], []), step
        set_sparse(again, [b"b"])
        # An emptied folder may be left.
        left = {path for path, content in read_files(again.root).items() if content != EMPTY_FOLDER}
        assert left == {b"b/c/three", b"b/four"}, step
        again.close()
        step += 1
    assert step > 15


def set_at(root: Path, path: bytes) -> None:
    set_sparse(open_copy(root), [path])


class Meanwhile:
    """Progress at whose first step something else is done."""

    def __init__(self, action: Callable[[], object]) -> None:
        self._actions = [action]

    def start(self, *_: object, **__: object) -> None:
        if self._actions:
            self._actions.pop()()

    def expect(self, **_: object) -> None: ...

    def advance(self, *_: object, **__: object) -> None: ...

    def finish(self) -> None: ...


def test_a_switch_meanwhile_stops_the_change(tmp_path: Path) -> None:
    worktree = make_worktree(tmp_path / "work")
    first = commit_all(worktree, FILES)
    second = commit_all(worktree, {b"a/one": b"other", b"b/four": b"other"})
    set_sparse(worktree, [b"a"])

    with pytest.raises(SessionChangedError):
        set_sparse(worktree, [b"b"], progress=Meanwhile(lambda: check_out(open_copy(worktree.root), first)))

    again = open_copy(worktree.root)
    assert again.sparse.named == (b"a",)
    assert read_files(again.root) == {b"a/one": b"1", b"a/two": b"2", b"b/four": b"other"}
    assert read_status(again, again.store.state(), Pathspec()).outside == [b"b/four"]
    assert second != first


def test_a_pull_meanwhile_stops_the_change(tmp_path: Path) -> None:
    """Which leaves the session as it was, and moves the branch."""
    worktree = make_worktree(tmp_path / "work")
    first = commit_all(worktree, {b"a/one": b"1", b"b/four": b"1"})
    second = commit_all(worktree, {b"a/one": b"2", b"b/four": b"2"})
    main = "refs/heads/main"

    def go(root: Path, old: ObjectId, new: ObjectId) -> None:
        other = open_copy(root)
        switch_to(other, main, tree_of(other, new), changes=lambda _: [RefChange(main, old.hex(), new.hex())])

    go(worktree.root, second, first)
    worktree = open_copy(worktree.root)
    set_sparse(worktree, [b"a"])

    with pytest.raises(SessionChangedError):
        set_sparse(worktree, [b"b"], progress=Meanwhile(lambda: go(worktree.root, first, second)))

    again = open_copy(worktree.root)
    assert again.sparse.named == (b"a",)
    assert read_status(again, again.store.state(), Pathspec()).unstaged == []


def test_two_changes_do_not_happen_at_once(tmp_path: Path) -> None:
    worktree = make_worktree(tmp_path / "work")
    commit_all(worktree, FILES)
    set_sparse(worktree, [b"a"])

    def another() -> None:
        assert run_forked("sparse", "set", "large", cwd=worktree.root).code == 6

    set_sparse(worktree, [b"b"], progress=Meanwhile(another))

    assert read_files(worktree.root) == {path: FILES[path] for path in (b"b/c/three", b"b/four")}


def test_a_change_meanwhile_stops_the_switch(tmp_path: Path) -> None:
    worktree = make_worktree(tmp_path / "work")
    first = commit_all(worktree, FILES)
    commit_all(worktree, {b"a/one": b"other", b"b/four": b"other"})
    late = open_copy(worktree.root)
    assert late.sparse == EVERYTHING
    set_sparse(worktree, [b"a"])

    with pytest.raises(SparseSetChangedError):
        check_out(late, first)

    assert read_files(worktree.root) == {b"a/one": b"other"}
    check_out(open_copy(worktree.root), first)
    assert read_files(worktree.root) == {b"a/one": b"1", b"a/two": b"2"}


def test_files_that_go_meanwhile_are_not_staged_as_removed(tmp_path: Path) -> None:
    worktree = make_worktree(tmp_path / "work")
    made = commit_all(worktree, FILES)
    late = open_copy(worktree.root)
    assert late.sparse == EVERYTHING
    set_sparse(worktree, [b"a"])

    with pytest.raises(SparseSetChangedError):
        add_all(late)

    assert late.staged_tree(late.store.state()).root == tree_of(late, made).root
    add_all(late)
    assert late.staged_tree(late.store.state()).root == tree_of(late, made).root


# A worktree that is sparse, and one that is not, in which the same is done.

PATHS = [b"a", b"b/c", b"b/d", b"b/e/f", b"g/h", b"g/i"]
contents = st.sampled_from([b"", b"1", b"2", b"3" * 100_000])
sets = st.lists(st.sampled_from([b"a", b"b", b"b/c", b"b/e", b"g", b"nothing"]), max_size=3)
files = st.dictionaries(st.sampled_from(PATHS), contents)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("edit"), st.sampled_from(PATHS), st.one_of(st.none(), contents)),
        st.tuples(st.just("sparse"), sets, st.none()),
        st.tuples(st.just("commit"), st.none(), st.none()),
        st.tuples(st.just("switch"), st.integers(0, 9), st.none()),
        st.tuples(st.just("restore"), st.integers(0, 9), st.booleans()),
        st.tuples(st.just("anew"), st.none(), st.none()),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(first=files, second=files, steps=steps)
def test_a_version_made_in_a_sparse_worktree_is_the_whole_one_with_its_edits(
    first: dict[bytes, bytes], second: dict[bytes, bytes], steps: list[tuple[str, object, object]]
) -> None:
    with TemporaryDirectory() as folder:
        worktree = make_worktree(Path(folder, "work"))
        versions = [(commit_all(worktree, one), dict(one)) for one in (first, second)]
        expected = dict(second)
        for what, one, other in steps:
            sparse = worktree.sparse
            if what == "edit" and isinstance(one, bytes) and sparse.covers(one):
                edit(worktree, one, other if isinstance(other, bytes) else None)
                add_all(worktree)
                expected.pop(one, None)
                if isinstance(other, bytes):
                    expected[one] = other
            elif what == "sparse" and isinstance(one, list):
                set_sparse(worktree, one)
            elif what == "commit":
                versions.append((commit_all(worktree), dict(expected)))
            elif what == "switch" and isinstance(one, int):
                made, expected = versions[one % len(versions)][0], dict(versions[one % len(versions)][1])
                check_out(worktree, made, force=True)
            elif what == "restore" and isinstance(one, int):
                made, there = versions[one % len(versions)]
                state = worktree.store.state()
                restore(worktree, state, tree_of(worktree, made), Pathspec(), staged=True, overlay=bool(other))
                expected = {**expected, **there} if other else dict(there)
            elif what == "anew":
                (worktree.control / "worktree.db").unlink()
                worktree = open_copy(worktree.root)
            check(worktree, expected)


def edit(worktree: Worktree, path: bytes, content: bytes | None) -> None:
    target = worktree.root / os.fsdecode(path)
    if content is None:
        target.unlink(missing_ok=True)
        while target.parent != worktree.root and target.parent.exists() and not any(target.parent.iterdir()):
            target = target.parent
            target.rmdir()
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def check(worktree: Worktree, expected: dict[bytes, bytes]) -> None:
    state = worktree.store.state()
    staged = worktree.staged_tree(state)
    assert {entry.path for entry in staged.entries()} == set(expected)
    assert {entry.path: entry.size for entry in staged.entries()} == {path: len(expected[path]) for path in expected}
    assert read_files(worktree.root) == {path: expected[path] for path in expected if worktree.sparse.covers(path)}
    status = read_status(worktree, state, Pathspec())
    assert (status.unstaged, status.untracked, status.outside) == ([], [], [])
