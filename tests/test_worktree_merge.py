"""Merging in a worktree: what becomes of files, of what is staged and of HEAD, and that nothing is lost by it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dsvc.history.merge import ConflictKind, Side
from dsvc.history.merge_heads import Head, ManyHeadsConflictError, Strategy, UnrelatedHistoriesError
from dsvc.maintenance.fsck import fsck
from dsvc.maintenance.roots import roots
from dsvc.model.ids import ObjectId
from dsvc.worktree.add import PathspecError, What, add
from dsvc.worktree.checkout import LocalChangesError
from dsvc.worktree.commit import AmendInMergeError, PartialMergeError, commit
from dsvc.worktree.merge import (
    DivergedError,
    FastForward,
    MergeOptions,
    MergeResult,
    NothingUnfinishedError,
    Result,
    abort,
    conclude,
    merge,
)
from dsvc.worktree.outcome import StagedChangesError
from dsvc.worktree.pathspec import Pathspec
from dsvc.worktree.remove import plan_removal, remove
from dsvc.worktree.reset import ResetMode, reset
from dsvc.worktree.restore import restore, take_side
from dsvc.worktree.session import SwitchInterruptedError, UnfinishedError
from dsvc.worktree.status import read_status
from dsvc.worktree.switch import switch_to_branch, switch_to_new_branch, switch_to_orphan
from dsvc.worktree.undo import redo, undo
from dsvc.worktree.unmerged import NoSideError, UnmergedPathsError, stage_tree
from dsvc.worktree.worktree import Worktree
from tests.killed import killed_at_step
from tests.worktree_support import Files, add_all, commit_all, make_worktree, open_copy, read_files, write_files

BASE: Files = {b"a": b"1", b"b": b"1", b"c": b"1", b"same": b"same"}
OURS: Files = {b"a": b"ours", b"b": b"1", b"c": b"ours", b"mine": b"m", b"same": b"same"}
THEIRS: Files = {b"a": b"theirs", b"b": b"theirs", b"same": b"same", b"yours/x": b"y"}
# What a merge of THEIRS into OURS leaves in the folder.
STOPPED: Files = {**OURS, b"b": b"theirs", b"yours/x": b"y"}


def head(worktree: Worktree) -> ObjectId:
    state = worktree.store.state()
    found = worktree.session(state).commit(state)
    assert found is not None
    return found


def branches(root: Path, ours: Files, theirs: Files, base: Files = BASE) -> Worktree:
    """Return a worktree on main, which has *ours*, beside topic, which has *theirs*; both came from *base*."""
    worktree = make_worktree(root)
    commit_all(worktree, base)
    switch_to_new_branch(worktree, "topic", head(worktree))
    commit_all(worktree, theirs)
    switch_to_branch(worktree, "main")
    commit_all(worktree, ours)
    return worktree


@pytest.fixture
def parted(tmp_path: Path) -> Worktree:
    """Two branches that are in conflict about `a` and `c`."""
    return branches(tmp_path / "data", OURS, THEIRS)


def tip(worktree: Worktree, branch: str) -> Head:
    value = worktree.store.state().value(f"refs/heads/{branch}")
    assert value is not None
    return Head(ObjectId.from_hex(value), branch)


def merge_of(worktree: Worktree, *names: str, options: MergeOptions | None = None) -> MergeResult:
    return merge(worktree, [tip(worktree, name) for name in names], "merged", options or MergeOptions())


def kinds(worktree: Worktree) -> dict[bytes, ConflictKind]:
    status = read_status(worktree, worktree.store.state(), Pathspec())
    return {conflict.path: conflict.kind for conflict in status.unmerged}


def add_path(worktree: Worktree, path: bytes) -> None:
    add(worktree, worktree.store.state(), What(Pathspec([path])))


# What a merge makes


def test_disjoint_changes_are_merged_without_a_word(tmp_path: Path) -> None:
    worktree = branches(tmp_path / "data", {**BASE, b"a": b"ours"}, {b"a": b"1", b"c": b"theirs", b"same": b"same"})
    old, other = head(worktree), tip(worktree, "topic").commit

    merged = merge_of(worktree, "topic")

    assert (merged.result, merged.changed, merged.conflicts) == (Result.MERGED, 2, ())
    assert read_files(worktree.root) == {b"a": b"ours", b"c": b"theirs", b"same": b"same"}
    assert worktree.commit_of(head(worktree)).parents == [old, other]
    assert read_status(worktree, worktree.store.state(), Pathspec()).is_clean


def test_a_branch_that_is_behind_moves_forward_and_one_that_is_ahead_stays(parted: Worktree) -> None:
    switch_to_new_branch(parted, "behind", tip(parted, "topic").commit)
    commit_all(parted, {b"x": b"x"})
    switch_to_branch(parted, "topic")

    assert merge_of(parted, "behind").result is Result.FAST_FORWARD
    assert head(parted) == tip(parted, "behind").commit
    assert merge_of(parted, "behind").result is Result.UP_TO_DATE
    with pytest.raises(DivergedError, match="topic and main have diverged: 2 commits here, and 1 commit there"):
        merge_of(parted, "main", options=MergeOptions(FastForward.ONLY))


def test_moving_forward_can_be_a_commit_all_the_same(parted: Worktree) -> None:
    switch_to_new_branch(parted, "behind", head(parted))
    commit_all(parted, {b"x": b"x"})
    switch_to_branch(parted, "main")
    old = head(parted)

    merged = merge_of(parted, "behind", options=MergeOptions(FastForward.NEVER))

    assert merged.result is Result.MERGED
    assert parted.commit_of(head(parted)).parents == [old, tip(parted, "behind").commit]


def test_any_number_of_versions_make_one_commit(tmp_path: Path) -> None:
    worktree = make_worktree(tmp_path / "data")
    root = commit_all(worktree, BASE)
    for name in ("one", "two", "three"):
        switch_to_new_branch(worktree, name, root)
        commit_all(worktree, {**BASE, name.encode(): b"new"})
    switch_to_branch(worktree, "main")

    merge_of(worktree, "one", "two", "three")

    made = worktree.commit_of(head(worktree))
    assert made.parents == [root, *(tip(worktree, name).commit for name in ("one", "two", "three"))]
    assert read_files(worktree.root) == {**BASE, b"one": b"new", b"two": b"new", b"three": b"new"}


def test_what_is_in_conflict_among_many_is_refused_or_settled_by_order(parted: Worktree) -> None:
    switch_to_new_branch(parted, "third", tip(parted, "topic").commit)
    commit_all(parted, {**THEIRS, b"third": b"3"})
    switch_to_new_branch(parted, "fourth", ObjectId(parted.commit_of(tip(parted, "main").commit).parents[0]))
    commit_all(parted, {b"a": b"fourth"})
    switch_to_branch(parted, "main")

    with pytest.raises(ManyHeadsConflictError, match="third is in conflict"):
        merge_of(parted, "third", "fourth")
    assert read_files(parted.root) == OURS

    merge_of(parted, "third", "fourth", options=MergeOptions(strategy=Strategy.THEIRS))
    assert (parted.root / "a").read_bytes() == b"fourth"


def test_the_last_one_wins_as_in_clearml(parted: Worktree) -> None:
    merge_of(parted, "topic", options=MergeOptions(strategy=Strategy.LAST_WINS))

    # Nothing that one side has deleted is missing, and theirs is there wherever they have something.
    assert read_files(parted.root) == {**OURS, **THEIRS}


@pytest.mark.parametrize(("strategy", "content"), [(Strategy.OURS, b"ours"), (Strategy.THEIRS, b"theirs")])
def test_conflicts_and_only_those_are_settled_for_a_side(parted: Worktree, strategy: Strategy, content: bytes) -> None:
    merged = merge_of(parted, "topic", options=MergeOptions(strategy=strategy))

    assert merged.result is Result.MERGED
    assert (parted.root / "a").read_bytes() == content
    assert (parted.root / "b").read_bytes() == b"theirs"
    assert (parted.root / "c").exists() == (strategy is Strategy.OURS)


def test_datasets_that_share_nothing_are_joined_where_that_is_asked(parted: Worktree) -> None:
    switch_to_orphan(parted, "other")
    commit_all(parted, {b"a": b"other", b"z": b"z"})

    with pytest.raises(UnrelatedHistoriesError):
        merge_of(parted, "main")
    merged = merge_of(parted, "main", options=MergeOptions(allow_unrelated=True))

    assert [(one.path, one.kind) for one in merged.conflicts] == [(b"a", ConflictKind.BOTH_ADDED)]
    assert read_files(parted.root) == {**OURS, b"a": b"other", b"z": b"z"}


def test_a_new_dataset_can_be_what_others_come_to(parted: Worktree) -> None:
    switch_to_orphan(parted, "validation")
    commit_all(parted, {b"v": b"v"})
    switch_to_orphan(parted, "all")

    with pytest.raises(ManyHeadsConflictError):
        merge_of(parted, "main", "topic", options=MergeOptions(allow_unrelated=True))
    options = MergeOptions(allow_unrelated=True, strategy=Strategy.LAST_WINS)
    merge_of(parted, "main", "topic", "validation", options=options)

    heads = [tip(parted, name).commit for name in ("main", "topic", "validation")]
    assert parted.commit_of(head(parted)).parents == heads
    assert read_files(parted.root) == {**OURS, **THEIRS, b"v": b"v"}


def test_a_squashed_merge_is_staged_and_has_no_second_parent(parted: Worktree) -> None:
    old = head(parted)
    merged = merge_of(parted, "topic", options=MergeOptions(squashed=True, strategy=Strategy.OURS))
    assert merged.result is Result.STAGED

    made = commit(parted, parted.store.state(), "squashed")

    assert made.commit.parents == [old]
    assert (parted.root / "b").read_bytes() == b"theirs"


def test_without_a_commit_the_merge_waits_for_one(parted: Worktree) -> None:
    old = head(parted)
    merged = merge_of(parted, "topic", options=MergeOptions(commits=False, strategy=Strategy.OURS))
    assert (merged.result, head(parted)) == (Result.STAGED, old)

    conclude(parted)

    made = parted.commit_of(head(parted))
    assert (made.parents, made.message) == ([old, tip(parted, "topic").commit], "merged")


# Conflicts


def test_in_a_conflict_both_sides_are_kept(parted: Worktree) -> None:
    merged = merge_of(parted, "topic")

    assert merged.result is Result.CONFLICT
    assert kinds(parted) == {b"a": ConflictKind.BOTH_MODIFIED, b"c": ConflictKind.DELETED_BY_THEM}
    assert read_files(parted.root) == STOPPED
    session = parted.session(parted.store.state())
    trees = [stage_tree(parted.store.objects, session, stage) for stage in (1, 2, 3)]
    assert [[entry.path for entry in tree.entries()] for tree in trees] == [[b"a", b"c"], [b"a", b"c"], [b"a"]]


def test_nothing_is_committed_or_left_before_all_is_decided(parted: Worktree) -> None:
    merge_of(parted, "topic")
    state = parted.store.state()

    with pytest.raises(UnmergedPathsError):
        commit(parted, state, "x")
    with pytest.raises(UnmergedPathsError):
        conclude(parted)
    with pytest.raises(UnmergedPathsError):
        restore(parted, state, parted.staged_tree(state), Pathspec([b"a"]))
    with pytest.raises(UnfinishedError, match="a merge is not concluded yet"):
        switch_to_branch(parted, "topic")
    with pytest.raises(UnfinishedError):
        merge_of(parted, "topic")
    with pytest.raises(UnfinishedError):
        reset(parted, state, head(parted), ResetMode.SOFT)
    remove(parted, plan_removal(parted, state, Pathspec([b"a", b"c"])))
    with pytest.raises(PartialMergeError):
        commit(parted, parted.store.state(), "x", only=Pathspec([b"b"]))
    with pytest.raises(AmendInMergeError):
        commit(parted, parted.store.state(), "x", amend=True)


def test_a_side_is_taken_an_edit_is_added_or_the_file_removed(parted: Worktree) -> None:
    merge_of(parted, "topic")

    take_side(parted, parted.store.state(), Pathspec([b"a"]), Side.THEIRS)
    assert (parted.root / "a").read_bytes() == b"theirs"
    assert b"a" in kinds(parted)
    add_path(parted, b"a")
    remove(parted, plan_removal(parted, parted.store.state(), Pathspec([b"c"])))
    assert kinds(parted) == {}
    conclude(parted)

    expected = {key: value for key, value in STOPPED.items() if key != b"c"} | {b"a": b"theirs"}
    assert read_files(parted.root) == expected
    assert read_status(parted, parted.store.state(), Pathspec()).is_clean
    assert fsck(parted.store).findings == []


def test_adding_the_file_as_it_is_decides_for_it(parted: Worktree) -> None:
    merge_of(parted, "topic")

    add_all(parted)

    assert kinds(parted) == {}
    assert conclude(parted) is not None
    assert read_files(parted.root) == STOPPED


def test_a_side_that_has_nothing_cannot_be_taken(parted: Worktree) -> None:
    merge_of(parted, "topic")
    state = parted.store.state()

    with pytest.raises(NoSideError):
        take_side(parted, state, Pathspec([b"c"]), Side.THEIRS)
    with pytest.raises(PathspecError):
        take_side(parted, state, Pathspec([b"b"]), Side.OURS)
    assert read_files(parted.root) == STOPPED


def test_an_abort_goes_back_and_leaves_other_edits_alone(parted: Worktree) -> None:
    (parted.root / "mine").write_bytes(b"edited")
    merge_of(parted, "topic")
    (parted.root / "a").write_bytes(b"half done")

    abort(parted)

    assert read_files(parted.root) == {**OURS, b"mine": b"edited"}
    assert parted.session(parted.store.state()).verb is None
    with pytest.raises(NothingUnfinishedError):
        abort(parted)


def test_an_abort_does_not_lose_an_edit_of_what_was_merged(parted: Worktree) -> None:
    merge_of(parted, "topic")
    (parted.root / "b").write_bytes(b"edited since")

    with pytest.raises(LocalChangesError):
        abort(parted)

    assert (parted.root / "b").read_bytes() == b"edited since"
    reset(parted, parted.store.state(), head(parted), ResetMode.HARD)
    assert read_files(parted.root) == OURS


def test_a_file_makes_way_for_a_folder(tmp_path: Path) -> None:
    worktree = branches(tmp_path / "data", {**BASE, b"d": b"file"}, {**BASE, b"d/x": b"folder"})

    merged = merge_of(worktree, "topic")

    assert [(one.path, one.moved_from, one.kind) for one in merged.conflicts] == [
        (b"d~HEAD", b"d", ConflictKind.ADDED_BY_US)
    ]
    assert read_files(worktree.root) == {**BASE, b"d~HEAD": b"file", b"d/x": b"folder"}


# What is not to be lost


def test_edits_that_would_be_overwritten_stop_it_before_anything_is_changed(parted: Worktree) -> None:
    (parted.root / "b").write_bytes(b"edited")
    before = parted.store.state().refs
    with pytest.raises(LocalChangesError):
        merge_of(parted, "topic")
    assert {name: ref.value for name, ref in parted.store.state().refs.items()} == {
        name: ref.value for name, ref in before.items()
    }
    (parted.root / "b").write_bytes(b"1")
    (parted.root / "yours").write_bytes(b"untracked")
    with pytest.raises(LocalChangesError):
        merge_of(parted, "topic")
    (parted.root / "yours").unlink()
    (parted.root / "new").write_bytes(b"new")
    add_all(parted)

    with pytest.raises(StagedChangesError):
        merge_of(parted, "topic")

    assert read_files(parted.root) == {**OURS, b"new": b"new"}


def test_an_edit_of_what_would_be_in_conflict_stops_it_too(parted: Worktree) -> None:
    (parted.root / "a").write_bytes(b"edited")

    with pytest.raises(LocalChangesError, match="a"):
        merge_of(parted, "topic")

    assert (parted.root / "a").read_bytes() == b"edited"
    assert parted.session(parted.store.state()).verb is None


def test_all_of_it_is_undone_and_done_again(parted: Worktree) -> None:
    merge_of(parted, "topic")
    undo(parted)
    assert read_files(parted.root) == OURS
    assert parted.session(parted.store.state()).verb is None
    redo(parted)
    assert read_files(parted.root) == STOPPED
    add_path(parted, b"a")
    assert b"a" not in kinds(parted)

    undo(parted)

    assert b"a" in kinds(parted)
    add_all(parted)
    conclude(parted)
    undo(parted)
    assert parted.session(parted.store.state()).verb == "merge"
    assert conclude(parted) is not None


def test_everything_that_a_merge_needs_is_kept_from_collection(parted: Worktree) -> None:
    merge_of(parted, "topic")

    state = parted.store.state()
    named = {root.value.hex() for root in roots(parted.store.log, state, keep=0)}
    session = parted.session(state)

    assert session.unfinished is not None
    assert session.unfinished.stages is not None
    assert {*session.unfinished.stages, session.unfinished.draft, *session.merge} <= named
    assert fsck(parted.store).findings == []


def run_killed(
    parted: Worktree, tmp_path: Path, action: Callable[[Worktree], object], check: Callable[[Worktree], None]
) -> int:
    """Kill *action* at every step in a copy, and *check* what can be done then; return how many steps there were."""
    for step in range(200):
        copy = tmp_path / "copy"
        shutil.copytree(parted.root, copy, symlinks=True)
        died = killed_at_step(step, lambda copy=copy: action(open_copy(copy)))  # type: ignore[misc]
        check(open_copy(copy))
        shutil.rmtree(copy)
        if not died:
            return step
    raise AssertionError


def test_a_merge_that_was_killed_can_be_finished_or_given_up(parted: Worktree, tmp_path: Path) -> None:
    turn = 0

    def check(copy: Worktree) -> None:
        nonlocal turn
        turn += 1
        session = copy.session(copy.store.state())
        if session.switching is None and session.verb is None:
            assert read_files(copy.root) == OURS
            return
        if turn % 2:
            abort(copy)
            assert read_files(copy.root) == OURS
        else:
            with pytest.raises(UnmergedPathsError):
                conclude(copy)
            assert read_files(copy.root) == STOPPED

    assert run_killed(parted, tmp_path, lambda copy: merge_of(copy, "topic"), check) > 10


def test_nothing_else_goes_on_before_a_killed_merge_does(parted: Worktree, tmp_path: Path) -> None:
    stuck = 0

    def check(copy: Worktree) -> None:
        nonlocal stuck
        if copy.session(copy.store.state()).switching is not None:
            stuck += 1
            with pytest.raises(SwitchInterruptedError):
                merge_of(copy, "topic")

    options = MergeOptions(strategy=Strategy.OURS)
    run_killed(parted, tmp_path, lambda copy: merge_of(copy, "topic", options=options), check)
    assert stuck > 3


def test_files_that_are_there_already_do_no_harm(parted: Worktree) -> None:
    write_files(parted.root, {b"yours/x": b"y"})

    merge_of(parted, "topic")

    assert read_files(parted.root) == STOPPED
