"""Cherry-pick, revert and rebase: what each commit changed is merged, one after the other."""

from pathlib import Path

import pytest

from dsvc.history.merge_heads import Head, Strategy
from dsvc.maintenance.fsck import fsck
from dsvc.maintenance.roots import roots
from dsvc.model.commit import Input
from dsvc.model.ids import ObjectId
from dsvc.worktree.add import What, add
from dsvc.worktree.checkout import LocalChangesError
from dsvc.worktree.commit import HeadMovedError, commit
from dsvc.worktree.merge import MergeOptions, abort, merge
from dsvc.worktree.outcome import StagedChangesError
from dsvc.worktree.pathspec import Pathspec
from dsvc.worktree.replay import (
    MainlineError,
    MidwayConflictError,
    Replayed,
    ReplayOptions,
    Verb,
    go_on,
    rebase,
    replay,
)
from dsvc.worktree.session import UnfinishedError
from dsvc.worktree.status import read_status
from dsvc.worktree.switch import switch_to_branch, switch_to_new_branch
from dsvc.worktree.undo import undo
from dsvc.worktree.unmerged import UnmergedPathsError
from dsvc.worktree.worktree import Worktree
from tests.history_support import move_refs
from tests.worktree_support import Files, add_all, commit_all, make_worktree, read_files

BASE: Files = {b"a": b"1", b"b": b"1"}


@pytest.fixture
def worktree(tmp_path: Path) -> Worktree:
    """On main, with `a` edited; topic has four commits: t1, t2, an edit of `a`, t4."""
    worktree = make_worktree(tmp_path / "data")
    root = commit_all(worktree, BASE, "base")
    switch_to_new_branch(worktree, "topic", root)
    files = dict(BASE)
    for path, content in ((b"t1", b"1"), (b"t2", b"2"), (b"a", b"topic"), (b"t4", b"4")):
        files[path] = content
        commit_all(worktree, files, f"topic {path.decode()}")
    switch_to_branch(worktree, "main")
    commit_all(worktree, {**BASE, b"a": b"main"}, "main a")
    return worktree


def head(worktree: Worktree) -> ObjectId:
    state = worktree.store.state()
    found = worktree.session(state).commit(state)
    assert found is not None
    return found


def tip(worktree: Worktree, branch: str) -> ObjectId:
    value = worktree.store.state().value(f"refs/heads/{branch}")
    assert value is not None
    return ObjectId.from_hex(value)


def topic(worktree: Worktree) -> list[ObjectId]:
    """Return the commits of topic, the oldest first."""
    found = [tip(worktree, "topic")]
    for _ in range(3):
        found.append(ObjectId(worktree.commit_of(found[-1]).parents[0]))
    return found[::-1]


def subjects(worktree: Worktree, commit_id: ObjectId | None = None) -> list[str]:
    made = worktree.commit_of(commit_id or head(worktree))
    return [made.subject, *(subjects(worktree, ObjectId(made.parents[0])) if made.parents else [])]


def run(worktree: Worktree, verb: Verb, picks: list[ObjectId], options: ReplayOptions | None = None) -> Replayed:
    return replay(worktree, verb, picks, options or ReplayOptions())


def decide(worktree: Worktree, path: bytes, content: bytes) -> None:
    (worktree.root / path.decode()).write_bytes(content)
    add(worktree, worktree.store.state(), What(Pathspec([path])))


def test_what_commits_changed_is_applied_with_their_messages(worktree: Worktree) -> None:
    first, second, _, last = topic(worktree)

    done = run(worktree, "cherry-pick", [last, first, second])

    assert subjects(worktree) == ["topic t2", "topic t1", "topic t4", "main a", "base"]
    assert read_files(worktree.root) == {b"a": b"main", b"b": b"1", b"t1": b"1", b"t2": b"2", b"t4": b"4"}
    assert (len(done.made), done.changed, done.head) == (3, 3, head(worktree))
    assert worktree.commit_of(done.head).files == 5


def test_what_is_here_already_is_left_out(worktree: Worktree) -> None:
    first, second, *_ = topic(worktree)
    run(worktree, "cherry-pick", [first])

    done = run(worktree, "cherry-pick", [first, second])

    assert (done.skipped, subjects(worktree)[:2]) == ([first], ["topic t2", "topic t1"])


def test_a_message_can_say_where_it_is_from(worktree: Worktree) -> None:
    pick = topic(worktree)[0]

    run(worktree, "cherry-pick", [pick], ReplayOptions(signed=True))

    assert worktree.commit_of(head(worktree)).message == f"topic t1\n\n(cherry picked from commit {pick.hex()})"


def test_a_series_stops_at_a_conflict_and_goes_on_after_it(worktree: Worktree) -> None:
    picks = topic(worktree)

    done = run(worktree, "cherry-pick", picks)

    assert (done.stopped, [one.path for one in done.conflicts]) == (picks[2], [b"a"])
    assert subjects(worktree) == ["topic t2", "topic t1", "main a", "base"]
    assert read_files(worktree.root) == {b"a": b"main", b"b": b"1", b"t1": b"1", b"t2": b"2"}
    with pytest.raises(UnmergedPathsError):
        go_on(worktree, "cherry-pick")
    with pytest.raises(UnfinishedError, match="a cherry-pick is not concluded yet"):
        go_on(worktree, "revert")
    decide(worktree, b"a", b"both")
    go_on(worktree, "cherry-pick")
    assert subjects(worktree)[:3] == ["topic t4", "topic a", "topic t2"]
    assert read_files(worktree.root) == {b"a": b"both", b"b": b"1", b"t1": b"1", b"t2": b"2", b"t4": b"4"}
    assert worktree.session(worktree.store.state()).verb is None


def test_the_commit_in_conflict_may_be_made_by_hand_or_left_out(worktree: Worktree) -> None:
    picks = topic(worktree)
    run(worktree, "cherry-pick", picks)
    decide(worktree, b"a", b"by hand")
    commit(worktree, worktree.store.state(), "by hand")

    go_on(worktree, "cherry-pick")

    assert subjects(worktree)[:2] == ["topic t4", "by hand"]
    for _ in range(3):
        undo(worktree)
    assert worktree.session(worktree.store.state()).verb == "cherry-pick"
    done = go_on(worktree, "cherry-pick", skip=True)
    assert (done.skipped, subjects(worktree)[:2]) == ([picks[2]], ["topic t4", "topic t2"])
    assert (worktree.root / "a").read_bytes() == b"main"


def test_deciding_for_what_was_there_leaves_the_commit_out(worktree: Worktree) -> None:
    picks = topic(worktree)
    run(worktree, "cherry-pick", picks)
    add_all(worktree)

    done = go_on(worktree, "cherry-pick")

    assert (done.skipped, subjects(worktree)[0]) == ([picks[2]], "topic t4")


def test_an_abort_goes_back_to_before_the_whole_series(worktree: Worktree) -> None:
    old, files = head(worktree), read_files(worktree.root)
    run(worktree, "cherry-pick", topic(worktree))
    (worktree.root / "a").write_bytes(b"half done")

    abort(worktree, "cherry-pick")

    assert (head(worktree), read_files(worktree.root)) == (old, files)
    assert read_status(worktree, worktree.store.state(), Pathspec()).is_clean


def test_all_that_a_series_needs_is_kept_from_collection(worktree: Worktree) -> None:
    picks = topic(worktree)
    run(worktree, "cherry-pick", picks)
    move_refs(worktree.store, {"refs/heads/topic": None})

    state = worktree.store.state()
    waiting = [root.value for root in roots(worktree.store.log, state, keep=0)]
    found: set[bytes] = set()
    while waiting:
        one = waiting.pop()
        if worktree.store.objects.kind_of(one) == 3 and one not in found:
            found.add(one)
            waiting += map(ObjectId, worktree.commit_of(one).parents)
    assert set(picks) <= found
    assert fsck(worktree.store).findings == []


def test_changes_are_staged_without_commits_where_that_is_asked(worktree: Worktree) -> None:
    old = head(worktree)
    first, second, conflicting, _ = topic(worktree)
    (worktree.root / "mine").write_bytes(b"staged before")
    add_all(worktree)

    run(worktree, "cherry-pick", [first, second], ReplayOptions(commits=False))

    assert head(worktree) == old
    staged = read_status(worktree, worktree.store.state(), Pathspec()).staged
    assert [change.path for change in staged] == [b"mine", b"t1", b"t2"]
    with pytest.raises(MidwayConflictError):
        run(worktree, "cherry-pick", [conflicting], ReplayOptions(commits=False))
    with pytest.raises(StagedChangesError):
        run(worktree, "cherry-pick", [first])


def test_a_revert_takes_back_one_commit_and_leaves_the_rest(worktree: Worktree) -> None:
    switch_to_branch(worktree, "topic")
    first, _, edit, _ = topic(worktree)

    run(worktree, "revert", [edit, first])

    assert read_files(worktree.root) == {b"a": b"1", b"b": b"1", b"t2": b"2", b"t4": b"4"}
    assert subjects(worktree)[:2] == ['Revert "topic t1"', 'Revert "topic a"']
    assert worktree.commit_of(head(worktree)).message.endswith(f"\n\nThis reverts commit {first.hex()}.")


def test_of_a_merge_the_parent_to_compare_with_is_named(worktree: Worktree) -> None:
    merge(worktree, [Head(topic(worktree)[1], "topic")], "merged", MergeOptions())
    made = head(worktree)

    with pytest.raises(MainlineError, match="it has 2 parents"):
        run(worktree, "revert", [made])
    with pytest.raises(MainlineError, match="it is no merge"):
        run(worktree, "revert", [topic(worktree)[0]], ReplayOptions(mainline=1))
    run(worktree, "revert", [made], ReplayOptions(mainline=1))

    assert read_files(worktree.root) == {b"a": b"main", b"b": b"1"}
    assert "reversing\nchanges made to" in worktree.commit_of(head(worktree)).message


def test_local_edits_are_carried_along_or_stop_it_before_anything_is_changed(worktree: Worktree) -> None:
    first, *_ = topic(worktree)
    old = head(worktree)
    (worktree.root / "b").write_bytes(b"edited")
    run(worktree, "cherry-pick", [first])
    assert (worktree.root / "b").read_bytes() == b"edited"
    undo(worktree)
    (worktree.root / "t1").write_bytes(b"untracked")

    with pytest.raises(LocalChangesError):
        run(worktree, "cherry-pick", [first])

    assert (head(worktree), (worktree.root / "t1").read_bytes()) == (old, b"untracked")


def test_a_rebase_puts_commits_on_top_and_moves_the_branch_at_its_end(worktree: Worktree) -> None:
    switch_to_branch(worktree, "topic")
    old = head(worktree)

    done = rebase(worktree, tip(worktree, "main"), ReplayOptions())

    assert done.stopped == topic(worktree)[2]
    assert (tip(worktree, "topic"), worktree.session(worktree.store.state()).branch) == (old, None)
    decide(worktree, b"a", b"both")
    go_on(worktree, "rebase")
    assert worktree.session(worktree.store.state()).branch == "refs/heads/topic"
    assert subjects(worktree) == ["topic t4", "topic a", "topic t2", "topic t1", "main a", "base"]
    assert read_files(worktree.root) == {b"a": b"both", b"b": b"1", b"t1": b"1", b"t2": b"2", b"t4": b"4"}


def test_a_rebase_is_given_up_where_it_was(worktree: Worktree) -> None:
    switch_to_branch(worktree, "topic")
    old, files = head(worktree), read_files(worktree.root)
    rebase(worktree, tip(worktree, "main"), ReplayOptions())

    abort(worktree, "rebase")

    assert (head(worktree), read_files(worktree.root)) == (old, files)
    assert worktree.session(worktree.store.state()).branch == "refs/heads/topic"


def test_a_rebase_does_not_overwrite_a_branch_that_somebody_moved(worktree: Worktree) -> None:
    switch_to_branch(worktree, "topic")
    rebase(worktree, tip(worktree, "main"), ReplayOptions())
    move_refs(worktree.store, {"refs/heads/topic": topic(worktree)[0]})
    decide(worktree, b"a", b"both")

    with pytest.raises(HeadMovedError):
        go_on(worktree, "rebase")

    moved = tip(worktree, "topic")
    abort(worktree, "rebase")
    assert head(worktree) == tip(worktree, "topic") == moved


def test_a_rebase_moves_forward_or_does_nothing_where_that_is_enough(worktree: Worktree) -> None:
    switch_to_new_branch(worktree, "behind", topic(worktree)[0])

    assert rebase(worktree, tip(worktree, "topic"), ReplayOptions()).head == tip(worktree, "topic")
    assert tip(worktree, "behind") == tip(worktree, "topic")
    assert rebase(worktree, topic(worktree)[0], ReplayOptions()).made == []


def test_a_rebase_keeps_commits_that_never_changed_a_file(worktree: Worktree) -> None:
    switch_to_branch(worktree, "topic")
    made_from = Input("other@1.0.0", tip(worktree, "main"))
    commit(worktree, worktree.store.state(), "made from another", allow_empty=True, inputs=[made_from])

    rebase(worktree, tip(worktree, "main"), ReplayOptions(strategy=Strategy.OURS))

    assert subjects(worktree)[:2] == ["made from another", "topic t4"]
    assert worktree.commit_of(head(worktree)).inputs == [made_from]
    # One whose change is there already has nothing left to say.
    assert "topic a" not in subjects(worktree)
