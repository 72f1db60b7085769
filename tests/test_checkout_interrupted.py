"""A checkout that is killed at any moment: it can be finished or taken back, and nothing is lost."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from dsvc.history.tree import Tree
from dsvc.log.entry import RefChange
from dsvc.model.ids import ObjectId
from dsvc.worktree.add import What, select
from dsvc.worktree.checkout import LocalChangesError, SwitchInterruptedError, switch_to
from dsvc.worktree.commit import commit
from dsvc.worktree.pathspec import Pathspec
from dsvc.worktree.resume import resume
from dsvc.worktree.status import read_status
from dsvc.worktree.worktree import Worktree
from tests.killed import killed_at_step
from tests.worktree_support import (
    EMPTY_FOLDER,
    Executable,
    Files,
    Link,
    check_out,
    commit_all,
    make_worktree,
    open_copy,
    read_files,
    tree_of,
    write_files,
)

OLD: Files = {
    b"edited": b"old" * 1000,
    b"same": b"same",
    b"gone/a": b"1",
    b"gone/b": b"2",
    b"file to folder": b"f",
    b"folder to file/x": b"x",
    b"link": Link(b"same"),
    b"run": b"#!",
    b"empty": EMPTY_FOLDER,
}
NEW: Files = {
    b"edited": b"new" * 1000,
    b"same": b"same",
    b"came/a": b"1" * 5000,
    b"came/link": Link(b"a"),
    b"file to folder/x": b"x",
    b"folder to file": b"f",
    b"link": Link(b"edited"),
    b"run": Executable(b"#!"),
    b"empty/not": b"",
    b"other": EMPTY_FOLDER,
}
MINE: Files = {b"mine": b"mine", b"gone/mine": b"mine"}
# More than there are; a run that is not killed ends the series.
STEPS = 200


class Case:
    """A repository with two versions, at the old one, and copies of it to be ruined."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        worktree = make_worktree(folder / "original")
        self.new = commit_all(worktree, NEW)
        self.old = commit_all(worktree, OLD)
        topic = RefChange("refs/heads/topic", None, self.new.hex())
        worktree.store.publish(lambda _: [topic])
        write_files(worktree.root, MINE)
        read_status(worktree, worktree.store.state(), Pathspec())
        worktree.stat_cache.close()
        self.count = 0

    def copy(self, source: Path | None = None) -> Path:
        self.count += 1
        return shutil.copytree(source or self.folder / "original", self.folder / str(self.count), symlinks=True)

    def switch(self, root: Path) -> None:
        worktree = open_copy(root)
        switch_to(worktree, "refs/heads/topic", tree_of(worktree, self.new))


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def check_interrupted(worktree: Worktree, new: ObjectId) -> None:
    """Check that nothing goes on before the switch is finished or taken back."""
    state = worktree.store.state()
    assert read_status(worktree, state, Pathspec()).session.switching is not None
    attempts: list[Callable[[], object]] = [
        lambda: select(worktree, state, What(Pathspec())),
        lambda: commit(worktree, state, "too early", allow_empty=True),
        lambda: check_out(worktree, new),
    ]
    for attempt in attempts:
        with pytest.raises(SwitchInterruptedError, match="a switch to topic was interrupted"):
            attempt()


def check_whole(worktree: Worktree, case: Case, *, new: bool) -> None:
    state = worktree.store.state()
    session = worktree.session(state)
    assert session.head == ("refs/heads/topic" if new else "refs/heads/main")
    assert session.commit(state) == (case.new if new else case.old)
    assert session.staged is None
    assert session.switching is None
    assert read_files(worktree.root) == {**(NEW if new else OLD), **MINE}
    status = read_status(worktree, state, Pathspec())
    assert not status.staged
    assert not status.unstaged
    for commit_id in (case.old, case.new):
        check_readable(worktree, tree_of(worktree, commit_id))


def check_readable(worktree: Worktree, tree: Tree) -> None:
    for entry in tree.entries():
        if entry.size:
            worktree.store.objects.read(0, entry.digest)


def run_and_recover(case: Case, step: int, *, back: bool) -> bool:
    """Kill a switch at *step*, recover from that, and tell whether there was anything to kill."""
    root = case.copy()
    killed = killed_at_step(step, lambda: case.switch(root))
    worktree = open_copy(root)
    session = worktree.session(worktree.store.state())
    if session.switching is None:
        check_whole(worktree, case, new=session.head == "refs/heads/topic")
    else:
        check_interrupted(worktree, case.new)
        resume(worktree, back=back)
        check_whole(worktree, case, new=not back)
        assert list((root / ".dsvc/tmp").glob("*")) == []
    worktree.stat_cache.close()
    shutil.rmtree(root)
    return killed


@pytest.mark.parametrize("back", [False, True])
def test_a_switch_that_is_killed_anywhere_can_be_finished_or_taken_back(case: Case, *, back: bool) -> None:
    for step in range(STEPS):
        if not run_and_recover(case, step, back=back):
            break
    else:
        pytest.fail("the switch has more steps than were tried")


@pytest.mark.parametrize("back", [False, True])
def test_a_recovery_may_be_killed_too(case: Case, *, back: bool) -> None:
    middle = interrupted(case, case.switch)
    for step in range(0, STEPS, 3):
        root = case.copy(middle)
        killed = killed_at_step(step, partial(recover, root, back=not back))
        worktree = open_copy(root)

        resume(worktree, back=back)

        session = worktree.session(worktree.store.state())
        check_whole(worktree, case, new=session.head == "refs/heads/topic")
        if not killed:
            break
    else:
        pytest.fail("the recovery has more steps than were tried")


def recover(root: Path, *, back: bool) -> None:
    resume(open_copy(root), back=back)


def interrupted(case: Case, switch: Callable[[Path], None]) -> Path:
    """Return a copy in which *switch* was killed in the middle of the files."""
    roots: list[Path] = []
    for step in range(STEPS):
        root = case.copy()
        if not killed_at_step(step, partial(switch, root)):
            break
        worktree = open_copy(root)
        if worktree.session(worktree.store.state()).switching is not None:
            roots.append(root)
    return roots[len(roots) // 2]


def test_where_nothing_was_cut_short_there_is_nothing_to_resume(case: Case) -> None:
    worktree = open_copy(case.copy())

    assert resume(worktree) is None
    check_whole(worktree, case, new=False)


@pytest.mark.parametrize("back", [False, True])
def test_what_was_edited_since_is_not_overwritten_unless_asked(case: Case, *, back: bool) -> None:
    root = interrupted(case, case.switch)
    worktree = open_copy(root)
    (root / "edited").unlink()
    (root / "edited").write_bytes(b"mine, and about as long as that")

    with pytest.raises(LocalChangesError) as caught:
        resume(worktree, back=back)
    assert caught.value.paths == [b"edited"]
    assert (root / "edited").read_bytes().startswith(b"mine")
    resume(worktree, back=back, force=True)

    check_whole(worktree, case, new=not back)


def test_a_branch_that_was_to_be_made_is_made_by_the_resumed_switch(case: Case) -> None:
    def switch(root: Path) -> None:
        worktree = open_copy(root)
        made = RefChange("refs/heads/made", None, case.new.hex())
        switch_to(worktree, "refs/heads/made", tree_of(worktree, case.new), changes=lambda _: [made])

    worktree = open_copy(interrupted(case, switch))

    resume(worktree)

    state = worktree.store.state()
    assert state.value("refs/heads/made") == case.new.hex()
    assert worktree.session(state).head == "refs/heads/made"
    assert worktree.session(state).staged is None
