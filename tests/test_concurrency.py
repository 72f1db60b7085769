"""Several commands at once in one repository: each does its work or says that it cannot, and nothing is lost.

One command is stopped before each of its changes of the disk in turn, another runs from start to end, and
the first goes on: so every order of two commands is met. Then many run at once for real.
"""

import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from dsvc.config import Config
from dsvc.errors import DsvcError
from dsvc.history.content import read_content
from dsvc.history.store import Store
from dsvc.history.tree import Tree
from dsvc.log.verify import verify_log
from dsvc.maintenance.fsck import fsck
from dsvc.model.ids import ObjectId, ObjectMismatchError
from dsvc.model.tree import EntryKind
from dsvc.odb.objects import OutOfReachError
from dsvc.repository import open_worktree
from dsvc.storage.local import LocalBackend
from dsvc.worktree.losses import LocalChangesError
from dsvc.worktree.worktree import Worktree
from tests.crash_support import Ended, Pause, Running, Watch, fast_folder, run_forked, warm_up
from tests.worktree_support import make_context, tree_of

Words = tuple[str, ...]

# More than any of these commands has.
MOST_STEPS = 200

FILES = {b"a": b"a, first", b"b": b"b, first", b"c": b"c, first"}


@pytest.fixture(scope="module")
def original() -> Iterator[Path]:
    """Make a repository to copy: two versions of three files, and a branch at each."""
    warm_up()
    with fast_folder() as folder:
        root = folder / "original"
        root.mkdir()
        dsvc(root, "init", "-q")
        for name, content in FILES.items():
            (root / os.fsdecode(name)).write_bytes(content)
        dsvc(root, "add", "-q", ".")
        dsvc(root, "commit", "-q", "-m", "First")
        dsvc(root, "branch", "first")
        (root / "c").write_bytes(b"c, second")
        dsvc(root, "commit", "-q", "-a", "-m", "Second")
        (root / "a").write_bytes(b"a, edited")
        (root / "b").write_bytes(b"b, edited")
        yield root


def dsvc(root: Path, *words: str) -> Ended:
    ended = run_forked(*words, cwd=root)
    assert ended.code == 0, ended.stderr
    return ended


def opened(root: Path) -> Worktree:
    return open_worktree(root / ".dsvc", make_context("check"), Config())


def check(root: Path) -> None:
    """Check that log, packs and index are whole, no switch is half done, and the stat cache tells the truth."""
    worktree = opened(root)
    state = worktree.store.state()
    assert worktree.session(state).switching is None
    assert list(verify_log(worktree.store.log)) == []
    assert not fsck(worktree.store).is_damaged
    told = [dsvc(root, "status", "--porcelain").stdout for _ in range(2)]
    for path in (root / ".dsvc").glob("worktree.db*"):
        path.unlink()
    assert told == [dsvc(root, "status", "--porcelain").stdout] * 2


def contents(worktree: Worktree, tree: Tree) -> dict[bytes, bytes]:
    objects = worktree.store.objects
    return {entry.path: read_content(objects, entry) for entry in tree.entries() if entry.kind == EntryKind.FILE}


def staged(root: Path) -> dict[bytes, bytes]:
    worktree = opened(root)
    return contents(worktree, worktree.staged_tree(worktree.store.state()))


def history(root: Path) -> list[dict[bytes, bytes]]:
    """Return the files of each version of the current branch, the newest first."""
    worktree = opened(root)
    state = worktree.store.state()
    commit_id = worktree.session(state).commit(state)
    versions = []
    while commit_id is not None:
        versions.append(contents(worktree, tree_of(worktree, commit_id)))
        parents = worktree.commit_of(commit_id).parents
        assert len(parents) < 2
        commit_id = type(commit_id)(parents[0]) if parents else None
    return versions


def interleaved(
    original: Path,
    slow: Words,
    fast: Words,
    check_one: Callable[[Path, Ended, Ended], None],
    *first: Words,
    edit: Callable[[Path], object] = lambda _: None,
    reads: bool = False,
) -> None:
    """Run *fast* before each change of the disk that *slow* makes, after the commands *first*; check each outcome.

    *edit* is done just before *fast*. With *reads*, it is also tried before each file that *slow* opens to read.
    """
    for step in range(MOST_STEPS):
        pause = Pause()
        with fast_folder() as folder:
            root = shutil.copytree(original, folder / "copy", symlinks=True)
            for words in first:
                dsvc(root, *words)
            running = Running(slow, cwd=root, watch=Watch(pause.at(step), reads=reads))
            pause.expect(running)
            edit(root)
            other = run_forked(*fast, cwd=root)
            pause.go_on()
            ended = running.wait()
            pause.close()
            check_one(root, ended, other)
            check(root)
        if step >= ended.steps:
            assert step > 3
            return
    pytest.fail("there are more steps than were tried")


def test_files_added_at_the_same_time_are_all_staged(original: Path) -> None:
    def check_one(root: Path, slow: Ended, fast: Ended) -> None:
        assert (slow.code, fast.code) == (0, 0), slow.stderr + fast.stderr
        assert staged(root) == {b"a": b"a, edited", b"b": b"b, edited", b"c": b"c, second"}

    interleaved(original, ("add", "a"), ("add", "b"), check_one)


def test_the_same_file_added_twice_at_the_same_time_is_staged(original: Path) -> None:
    def check_one(root: Path, slow: Ended, fast: Ended) -> None:
        assert (slow.code, fast.code) == (0, 0), slow.stderr + fast.stderr
        assert staged(root) == {b"a": b"a, edited", b"b": b"b, edited", b"c": b"c, second"}

    interleaved(original, ("add", "-A"), ("add", "."), check_one)


def test_what_was_staged_during_an_add_that_found_nothing_new_is_known(original: Path) -> None:
    def check_one(root: Path, slow: Ended, fast: Ended) -> None:
        assert (slow.code, fast.code) == (0, 0), slow.stderr + fast.stderr
        assert staged(root) == {b"a": b"a, first", b"b": b"b, first", b"c": b"c, edited"}

    def rewrite(root: Path) -> None:
        (root / "c").write_bytes(b"c, edited")

    with fast_folder() as folder:
        root = shutil.copytree(original, folder / "unknown")
        dsvc(root, "reset", "-q", "--hard")
        for path in (root / ".dsvc").glob("worktree.db*"):
            path.unlink()
        interleaved(root, ("add", "c"), ("add", "c"), check_one, edit=rewrite, reads=True)


@pytest.mark.parametrize(("slow", "fast"), [(("status",), ("add", ".")), (("add", "."), ("status",))])
def test_a_status_disturbs_no_add(original: Path, slow: Words, fast: Words) -> None:
    def check_one(root: Path, slow: Ended, fast: Ended) -> None:
        assert (slow.code, fast.code) == (0, 0), slow.stderr + fast.stderr
        assert staged(root) == {b"a": b"a, edited", b"b": b"b, edited", b"c": b"c, second"}

    interleaved(original, slow, fast, check_one)


def test_of_two_commits_at_the_same_time_one_is_made_and_the_other_says_so(original: Path) -> None:
    def check_one(root: Path, slow: Ended, fast: Ended) -> None:
        assert fast.code in (0, 1), fast.stderr
        assert {slow.code, fast.code} in ({0, 1}, {0, 5}), slow.stderr + fast.stderr
        assert history(root)[0] == {b"a": b"a, edited", b"b": b"b, first", b"c": b"c, second"}
        assert len(history(root)) == 3

    interleaved(original, ("commit", "-m", "One"), ("commit", "-m", "Other"), check_one, ("add", "a"))


@pytest.mark.parametrize("slow_commit", [True, False])
def test_a_commit_during_an_add_takes_all_of_it_or_nothing(original: Path, *, slow_commit: bool) -> None:
    commit, add = ("commit", "-m", "One"), ("add", "b")

    def check_one(root: Path, slow: Ended, fast: Ended) -> None:
        committed, added = (slow, fast) if slow_commit else (fast, slow)
        assert added.code == 0, added.stderr
        assert committed.code in (0, 5), committed.stderr
        versions = history(root)
        assert len(versions) == (3 if committed.code == 0 else 2)
        if committed.code == 0:
            assert versions[0][b"a"] == b"a, edited"
            assert versions[0][b"b"] in (b"b, first", b"b, edited")
        assert staged(root) == {b"a": b"a, edited", b"b": b"b, edited", b"c": b"c, second"}

    slow, fast = (commit, add) if slow_commit else (add, commit)
    interleaved(original, slow, fast, check_one, ("add", "a"))


@pytest.mark.parametrize("slow_switch", [True, False])
@pytest.mark.parametrize("other", [("add", "a"), ("commit", "-q", "-m", "One", "--allow-empty"), ("restore", "a")])
def test_during_a_switch_other_commands_are_refused_or_come_before(
    original: Path, other: Words, *, slow_switch: bool
) -> None:
    switch = ("switch", "first")

    def check_one(root: Path, slow: Ended, fast: Ended) -> None:
        switched, done = (slow, fast) if slow_switch else (fast, slow)
        assert switched.code in (0, 5, 6), switched.stderr
        assert done.code in (0, 5, 6), done.stderr
        assert 0 in (switched.code, done.code)
        worktree = opened(root)
        state = worktree.store.state()
        assert worktree.session(state).branch == ("refs/heads/first" if switched.code == 0 else "refs/heads/main")
        assert (root / "c").read_bytes() == (b"c, first" if switched.code == 0 else b"c, second")
        if other[0] == "add" and done.code == 0:
            assert staged(root)[b"a"] == b"a, edited"
        commits = sum(len(history_of(worktree, name)) for name in ("refs/heads/main", "refs/heads/first"))
        assert commits == 3 + (other[0] == "commit" and done.code == 0)

    slow, fast = (switch, other) if slow_switch else (other, switch)
    interleaved(original, slow, fast, check_one)


def history_of(worktree: Worktree, ref: str) -> list[bytes]:
    found = []
    value = worktree.store.state().value(ref)
    waiting = [] if value is None else [bytes.fromhex(value)]
    while waiting:
        found.append(waiting.pop())
        waiting += worktree.commit_of(found[-1]).parents
    return found


def at_once(root: Path, *commands: Words) -> list[Ended]:
    """Let all *commands* start at the same moment."""
    gate = Pause()
    running = [Running(words, cwd=root, before=gate.hold) for words in commands]
    assert all([gate.expect(one) for one in running])  # noqa: C419 (each has to be waited for)
    gate.go_on(len(running))
    ended = [one.wait() for one in running]
    gate.close()
    return ended


def numbered(root: Path, count: int) -> list[str]:
    """Return the names of so many tracked files that were edited."""
    names = [f"file {number}" for number in range(count)]
    for name in names:
        (root / name).write_text("as it was")
    dsvc(root, "add", "-q", *names)
    dsvc(root, "commit", "-q", "-m", "Third")
    for name in names:
        (root / name).write_text(name)
    return names


@pytest.mark.parametrize(
    ("other", "slow_snapshot"),
    [
        (("add", "a"), True),
        (("add", "a"), False),
        (("commit", "-q", "-a", "-m", "By hand"), True),
        (("commit", "-q", "-a", "-m", "By hand"), False),
        (("snapshot",), True),
    ],
)
def test_a_snapshot_takes_all_changes_once_whatever_others_do_meanwhile(
    original: Path, other: Words, *, slow_snapshot: bool
) -> None:
    def check_one(root: Path, slow: Ended, fast: Ended) -> None:
        taken, done = (slow, fast) if slow_snapshot else (fast, slow)
        assert taken.code == 0, taken.stderr
        # What is to be committed by hand may be taken by the snapshot.
        assert done.code in ((0, 1, 5) if other[0] == "commit" else (0,)), done.stderr
        versions = history(root)
        assert versions[0] == staged(root) == {b"a": b"a, edited", b"b": b"b, edited", b"c": b"c, second"}
        assert all(after != before for after, before in pairwise(versions))
        assert versions[-2:] == [{**FILES, b"c": b"c, second"}, FILES]

    slow, fast = (("snapshot",), other) if slow_snapshot else (other, ("snapshot",))
    interleaved(original, slow, fast, check_one)


@pytest.mark.slow
@pytest.mark.parametrize("slow_snapshot", [True, False])
def test_a_snapshot_during_a_switch_commits_and_pushes_the_branch_that_it_names(
    original: Path, *, slow_snapshot: bool
) -> None:
    def check_one(root: Path, slow: Ended, fast: Ended) -> None:
        taken, switched = (slow, fast) if slow_snapshot else (fast, slow)
        assert taken.code in (0, 5, 6), taken.stderr
        assert switched.code in (0, 5, 6), switched.stderr
        worktree = opened(root)
        commits = {name: history_of(worktree, f"refs/heads/{name}") for name in ("main", "first")}
        counts = {name: len(versions) for name, versions in commits.items()}
        if taken.code == 0:
            branch = taken.stderr[1:].split()[0]
            tree = tree_of(worktree, ObjectId(commits[branch][0]))
            assert contents(worktree, tree) == {
                b"a": b"a, edited",
                b"b": b"b, edited",
                b"c": b"c, second" if branch == "main" else b"c, first",
            }
            remote = Store(LocalBackend(root.parent / "remote"), make_context("check")).state()
            heads = {name: ref.value for name, ref in remote.refs.items()}
            assert heads == {f"refs/heads/{branch}": commits[branch][0].hex()}
            counts[branch] -= 1
        assert counts == {"main": 2, "first": 1}
        if taken.code:
            assert (root / "a").read_bytes() == b"a, edited"

    slow, fast = (("snapshot",), ("switch", "first")) if slow_snapshot else (("switch", "first"), ("snapshot",))
    interleaved(original, slow, fast, check_one, ("remote", "add", "origin", "../remote"))


def test_eight_adds_at_once_stage_all(original: Path) -> None:
    with fast_folder() as folder:
        root = shutil.copytree(original, folder / "copy")
        names = numbered(root, 8)

        ended = at_once(root, *[("add", name) for name in names])

        assert [one.code for one in ended] == [0] * 8, [one.stderr for one in ended]
        assert {name.encode(): name.encode() for name in names}.items() <= staged(root).items()
        check(root)


@pytest.mark.parametrize("count", [2, 8])
def test_commits_at_once_are_all_made_when_those_that_were_refused_try_again(original: Path, count: int) -> None:
    with fast_folder() as folder:
        root = shutil.copytree(original, folder / "copy")
        left = numbered(root, count)
        names = list(left)

        while left:
            ended = at_once(root, *[("commit", "-q", "-m", name, "--", name) for name in left])
            assert {one.code for one in ended} <= {0, 5, 6}, [one.stderr for one in ended]
            # Whoever is refused lost to somebody.
            assert 0 in {one.code for one in ended}
            left = [name for name, one in zip(left, ended, strict=True) if one.code]

        versions = history(root)
        assert len(versions) == 3 + count
        assert {name.encode(): name.encode() for name in names}.items() <= versions[0].items()
        steps = [after.items() - before.items() for after, before in pairwise(versions[: count + 1])]
        assert [len(step) for step in steps] == [1] * count
        check(root)


def test_statuses_at_once_make_the_lost_cache_anew(original: Path) -> None:
    with fast_folder() as folder:
        root = shutil.copytree(original, folder / "copy")
        for _ in range(5):
            for path in (root / ".dsvc").glob("worktree.db*"):
                path.unlink()

            ended = at_once(root, *[("status", "--porcelain")] * 8)

            assert {(one.code, one.stdout, one.stderr) for one in ended} == {(0, " M a\n M b\n", "")}
        check(root)


def test_a_folder_is_made_a_repository_once() -> None:
    warm_up()
    with fast_folder() as folder:
        ended = at_once(folder, *[("init",)] * 8)

        assert [one.code for one in ended] == [0] * 8, [one.stderr for one in ended]
        assert sum("Initialized" in one.stderr for one in ended) == 1
        check(folder)


def test_pushes_to_different_branches_all_arrive_and_of_those_to_one_branch_one(original: Path) -> None:
    with fast_folder() as folder:
        roots = [shutil.copytree(original, folder / str(number)) for number in range(4)]
        for number, root in enumerate(roots):
            dsvc(root, "remote", "add", "origin", "../remote")
            dsvc(root, "commit", "-q", "-a", "-m", f"Commit {number}")
            (root / "own").write_text(str(number))
            dsvc(root, "add", "own")
            dsvc(root, "commit", "-q", "-m", f"Own {number}")

        ended = all_push(roots, [f"main:branch-{number}" for number in range(4)])
        assert [one.code for one in ended] == [0] * 4, [one.stderr for one in ended]
        ended = all_push(roots, ["main:shared"] * 4)
        assert sorted(one.code or 0 for one in ended) == [0, 5, 5, 5], [one.stderr for one in ended]

        remote = Store(LocalBackend(folder / "remote"), make_context("check"))
        heads = {ref.value for name, ref in remote.state().refs.items() if name.startswith("refs/heads/")}
        assert len(heads) == 4
        assert list(verify_log(remote.log)) == []
        assert not fsck(remote).is_damaged


def all_push(roots: list[Path], refspecs: list[str]) -> list[Ended]:
    gate = Pause()
    running = [
        Running(("push", "-q", "origin", refspec), cwd=root, before=gate.hold)
        for root, refspec in zip(roots, refspecs, strict=True)
    ]
    assert all([gate.expect(one) for one in running])  # noqa: C419 (as in `at_once`)
    gate.go_on(len(running))
    ended = [one.wait() for one in running]
    gate.close()
    return ended


@pytest.mark.parametrize(
    "error",
    [ObjectMismatchError(b"1" * 32, "pack 2"), OutOfReachError("3", "origin", "no route"), LocalChangesError([b"4"])],
)
def test_what_a_worker_process_raises_arrives_as_it_was(error: DsvcError) -> None:
    arrived = pickle.loads(pickle.dumps(error))  # noqa: S301 (our own)

    assert (type(arrived), str(arrived), vars(arrived)) == (type(error), str(error), vars(error))
