"""dsvc undo: every operation can be taken back and done again."""

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsvc.errors import DsvcError
from dsvc.history.branches import create_branch, delete_branch
from dsvc.history.revisions import Target
from dsvc.history.tags import create_tag, delete_tag
from dsvc.history.undo import NothingToRedoError, NothingToUndoError, undoable
from dsvc.log.entry import RefChange
from dsvc.log.replay import PublishedTagError, RefMovedError
from dsvc.model.ids import Kind, ObjectId
from dsvc.worktree.checkout import LocalChangesError
from dsvc.worktree.commit import commit
from dsvc.worktree.pathspec import Pathspec
from dsvc.worktree.reset import ResetMode, reset
from dsvc.worktree.status import read_status
from dsvc.worktree.switch import detach, rename_current_or_other, switch_to_branch, switch_to_new_branch
from dsvc.worktree.undo import redo, undo
from dsvc.worktree.worktree import Worktree
from tests.conftest import RunDsvc
from tests.killed import killed_at_step
from tests.worktree_support import add_all, commit_all, make_context, make_worktree, open_copy, read_files, write_files


@pytest.fixture
def worktree(tmp_path: Path) -> Worktree:
    return make_worktree(tmp_path / "data")


def refs(worktree: Worktree) -> dict[str, str]:
    """Return everything that an undo is about; a session is there even before it was ever changed."""
    state = worktree.store.state()
    session = worktree.session(state).encode()
    return {name: ref.value for name, ref in state.refs.items()} | {"refs/worktrees/main": session}


def head_commit(worktree: Worktree) -> ObjectId | None:
    state = worktree.store.state()
    return worktree.session(state).commit(state)


def write(worktree: Worktree, path: str, content: bytes) -> None:
    (worktree.root / path).unlink(missing_ok=True)
    (worktree.root / path).write_bytes(content)


# One random operation each: what it needs may not be there, then it fails and changes nothing.
Action = Callable[[Worktree, int], object]


def _stage(worktree: Worktree, number: int) -> None:
    write(worktree, "abc"[number % 3], b"%d" % number)
    add_all(worktree)


def _commit(worktree: Worktree, number: int) -> None:
    commit(worktree, worktree.store.state(), f"number {number}")


def _reset(worktree: Worktree, number: int) -> None:
    head = head_commit(worktree)
    if head is not None:
        parents = worktree.commit_of(head).parents
        target = ObjectId(parents[0]) if parents else head
        reset(worktree, worktree.store.state(), target, list(ResetMode)[number % 3])


def _branch(worktree: Worktree, number: int) -> None:
    head = head_commit(worktree)
    if head is not None:
        create_branch(worktree.store, f"b{number % 3}", head)


def _new_branch(worktree: Worktree, number: int) -> None:
    switch_to_new_branch(worktree, f"b{number % 3}", head_commit(worktree))


def _delete(worktree: Worktree, number: int) -> None:
    current = worktree.session(worktree.store.state()).branch
    delete_branch(worktree.store, f"refs/heads/b{number % 3}", merged_into=None, current=current)


def _rename(worktree: Worktree, number: int) -> None:
    rename_current_or_other(worktree, f"b{number % 3}", f"b{(number + 1) % 3}")


def _switch(worktree: Worktree, number: int) -> None:
    switch_to_branch(worktree, f"b{number % 3}")


def _detach(worktree: Worktree, _: int) -> None:
    head = head_commit(worktree)
    if head is not None:
        detach(worktree, head)


def _tag(worktree: Worktree, number: int) -> None:
    head = head_commit(worktree)
    if head is not None:
        message = "a message" if number % 2 else None
        create_tag(worktree.store, f"t{number % 3}", Target(head, Kind.COMMIT), message=message, force=True)


def _delete_tag(worktree: Worktree, number: int) -> None:
    delete_tag(worktree.store, f"t{number % 3}")


actions = st.tuples(
    st.sampled_from((
        _stage, _stage, _commit, _commit, _reset, _branch, _new_branch, _delete, _rename, _switch, _switch, _detach,
        _tag, _delete_tag,
    )),
    st.integers(0, 30),
)  # fmt: skip


def clean_files(worktree: Worktree) -> None:
    """Let the files be what is staged, so that no undo is refused for their sake."""
    from dsvc.worktree.restore import restore

    state = worktree.store.state()
    staged = worktree.staged_tree(state)
    tracked = {entry.path for entry in staged.entries()}
    for path in read_files(worktree.root):
        if path not in tracked:
            (worktree.root / path.decode()).unlink()
    restore(worktree, state, staged, Pathspec())


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(actions, max_size=12))
def test_undoing_again_and_again_leads_to_the_beginning_and_redoing_to_the_end(
    steps: list[tuple[Action, int]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        worktree = make_worktree(Path(folder))
        history = [refs(worktree)]
        for action, number in steps:
            try:
                action(worktree, number)
            except DsvcError:
                continue
            if refs(worktree) != history[-1]:
                history.append(refs(worktree))

        assert len(list(undoable(worktree.store.log))) == len(history) - 1
        for before in reversed(history[:-1]):
            clean_files(worktree)
            undo(worktree)
            assert refs(worktree) == before
        with pytest.raises(NothingToUndoError):
            undo(worktree)
        for after in history[1:]:
            clean_files(worktree)
            redo(worktree)
            assert refs(worktree) == after
        with pytest.raises(NothingToRedoError):
            redo(worktree)


def test_something_done_after_an_undo_ends_what_can_be_redone_and_is_undone_first(worktree: Worktree) -> None:
    first = commit_all(worktree, {b"a": b"1"})
    for name in ("one", "two", "three"):
        create_branch(worktree.store, name, first)
    undo(worktree)
    undo(worktree)
    create_branch(worktree.store, "four", first)

    with pytest.raises(NothingToRedoError):
        redo(worktree)
    undo(worktree)
    undo(worktree)

    assert [name for name in refs(worktree) if name.startswith("refs/heads")] == ["refs/heads/main"]
    redo(worktree)
    assert "refs/heads/one" in refs(worktree)


class TestFiles:
    def test_an_undone_switch_brings_the_files_back(self, worktree: Worktree) -> None:
        first = commit_all(worktree, {b"a": b"1", b"gone": b"1"})
        commit_all(worktree, {b"a": b"2"})
        detach(worktree, first)

        undone = undo(worktree)

        assert undone.files == 2
        assert read_files(worktree.root) == {b"a": b"2"}
        assert read_status(worktree, worktree.store.state(), Pathspec()).is_clean
        redo(worktree)
        assert read_files(worktree.root) == {b"a": b"1", b"gone": b"1"}

    def test_an_undone_hard_reset_brings_branch_staging_and_files_back(self, worktree: Worktree) -> None:
        first = commit_all(worktree, {b"a": b"1"})
        commit_all(worktree, {b"a": b"2"})
        write(worktree, "a", b"staged")
        add_all(worktree)
        before = refs(worktree)
        reset(worktree, worktree.store.state(), first, ResetMode.HARD)

        undo(worktree)

        assert refs(worktree) == before
        assert read_files(worktree.root) == {b"a": b"staged"}

    def test_what_was_edited_since_is_not_overwritten(self, worktree: Worktree) -> None:
        first = commit_all(worktree, {b"a": b"1"})
        commit_all(worktree, {b"a": b"2"})
        detach(worktree, first)
        write(worktree, "a", b"mine")
        before = refs(worktree)

        with pytest.raises(LocalChangesError):
            undo(worktree)

        assert refs(worktree) == before
        assert read_files(worktree.root) == {b"a": b"mine"}

    def test_an_undone_add_or_commit_leaves_the_files(self, worktree: Worktree) -> None:
        commit_all(worktree, {b"a": b"1"})
        write(worktree, "a", b"2")
        add_all(worktree)
        commit(worktree, worktree.store.state(), "two")

        undo(worktree)
        status = read_status(worktree, worktree.store.state(), Pathspec())
        assert [change.path for change in status.staged] == [b"a"]
        undo(worktree)
        status = read_status(worktree, worktree.store.state(), Pathspec())
        assert not status.staged
        assert [change.path for change in status.unstaged] == [b"a"]

        assert read_files(worktree.root) == {b"a": b"2"}

    def test_an_interrupted_undo_can_be_finished_and_then_undone(self, worktree: Worktree, tmp_path: Path) -> None:
        first = commit_all(worktree, {b"a": b"1"})
        commit_all(worktree, {b"a": b"2", **{b"d/%d" % number: b"" for number in range(8)}})
        detach(worktree, first)
        worktree.stat_cache.close()
        for step in range(200):
            root = shutil.copytree(worktree.root, tmp_path / str(step))
            assert killed_at_step(step, lambda root=root: undo(open_copy(root)))  # type: ignore[misc]
            copy = open_copy(root)
            if (root / "d" / "3").exists():
                break
        from dsvc.worktree.resume import resume

        session = resume(copy)

        assert session is not None
        assert session.head == "refs/heads/main"
        assert (root / "a").read_bytes() == b"2"
        redo(copy)
        assert copy.session(copy.store.state()).head == first.hex()
        assert read_files(root) == {b"a": b"1"}


class TestRefusals:
    def test_nothing_was_done_yet(self, worktree: Worktree) -> None:
        with pytest.raises(NothingToUndoError):
            undo(worktree)
        with pytest.raises(NothingToRedoError):
            redo(worktree)

    def test_a_published_tag_is_never_taken_back(self, worktree: Worktree) -> None:
        first = commit_all(worktree, {b"a": b"1"})
        create_tag(worktree.store, "v1", Target(first, Kind.COMMIT))
        published = RefChange("refs/tags/v1", first.hex(), first.hex(), publish=True)
        worktree.store.acting(make_context("publish")).publish(lambda _: [published])

        with pytest.raises(PublishedTagError):
            undo(worktree)

        assert worktree.store.state().value("refs/tags/v1") == first.hex()

    def test_what_others_pushed_here_stays_and_stops_an_undo_of_the_same_branch(self, worktree: Worktree) -> None:
        first = commit_all(worktree, {b"a": b"1"})
        create_branch(worktree.store, "shared", first)
        second = commit_all(worktree, {b"a": b"2"})
        pushed = open_copy(worktree.root).store
        pushed.context = make_context("push")
        pushed.publish(lambda _: [RefChange("refs/heads/shared", first.hex(), second.hex())])

        undone = undo(worktree)
        assert "refs/heads/main" in undone.operation.changes
        undo(worktree)
        with pytest.raises(RefMovedError):
            undo(worktree)

        assert worktree.store.state().value("refs/heads/shared") == second.hex()


class TestCommandLine:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        worktree = make_worktree(tmp_path / "repository")
        commit_all(worktree, {b"a": b"1"}, "one")
        return worktree.root

    def test_a_deleted_branch_comes_back_and_goes_again(self, folder: Path, run_dsvc: RunDsvc) -> None:
        run_dsvc("branch", "topic", cwd=folder)
        run_dsvc("branch", "-d", "topic", cwd=folder)

        ended = run_dsvc("undo", cwd=folder)

        assert ended.stderr.startswith("undid branch: topic is at ")
        assert run_dsvc("branch", cwd=folder).lines == ["* main", "  topic"]
        assert run_dsvc("undo", "--redo", cwd=folder).stderr == "redid branch: topic is gone\n"
        assert "nothing to redo" in run_dsvc("undo", "--redo", cwd=folder, code=4).stderr

    def test_several_operations_are_listed_and_taken_back_at_once(self, folder: Path, run_dsvc: RunDsvc) -> None:
        write_files(folder, {b"b": b"2"})
        run_dsvc("add", "b", cwd=folder)
        run_dsvc("commit", "-q", "-m", "two", cwd=folder)
        run_dsvc("switch", "-q", "-c", "topic", "HEAD~1", cwd=folder)

        listed = run_dsvc("undo", "--list", cwd=folder).lines
        assert [line.split()[:2] for line in listed[:3]] == [["1", "switch:"], ["2", "commit:"], ["3", "add:"]]
        told = [json.loads(line) for line in run_dsvc("undo", "-n", "3", "--json", cwd=folder).lines]

        assert [one["command"] for one in told] == ["switch", "commit", "add"]
        assert run_dsvc("status", "-s", cwd=folder).lines == ["?? b"]
        assert run_dsvc("branch", cwd=folder).lines == ["* main"]

    def test_a_commit_of_everything_is_one_operation(self, folder: Path, run_dsvc: RunDsvc) -> None:
        (folder / "a").write_text("22")
        run_dsvc("commit", "-q", "-a", "-m", "two", cwd=folder)

        run_dsvc("undo", cwd=folder)

        assert run_dsvc("status", "-s", cwd=folder).lines == [" M a"]

    def test_removed_and_moved_files_come_back(self, folder: Path, run_dsvc: RunDsvc) -> None:
        run_dsvc("rm", "-q", "a", cwd=folder)
        run_dsvc("undo", cwd=folder)
        assert read_files(folder) == {b"a": b"1"}
        run_dsvc("mv", "a", "b", cwd=folder)
        run_dsvc("undo", cwd=folder)

        assert read_files(folder) == {b"a": b"1"}
        assert run_dsvc("status", "-s", cwd=folder).stdout == ""

    def test_the_beginning_of_a_repository_is_not_taken_back(self, tmp_path: Path, run_dsvc: RunDsvc) -> None:
        run_dsvc("init", "-q", "-b", "trunk", "new")

        assert "nothing to undo" in run_dsvc("undo", cwd=tmp_path / "new", code=4).stderr
        assert run_dsvc("branch", "--show-current", cwd=tmp_path / "new").lines == ["trunk"]

    @pytest.mark.parametrize(
        ("words", "message"), [(["-n", "0"], "cannot take back 0"), (["--list", "--redo"], "choose one of")]
    )
    def test_what_makes_no_sense_is_refused(
        self, folder: Path, run_dsvc: RunDsvc, words: list[str], message: str
    ) -> None:
        assert message in run_dsvc("undo", *words, cwd=folder, code=2).stderr
