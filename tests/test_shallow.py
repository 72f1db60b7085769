"""Shallow clones: what is newest of a history, and the rest when somebody needs it."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsvc.history.commits import Commits, commits_here
from dsvc.history.store import Store
from dsvc.history.walk import HistoryCutError, ahead_behind, ancestors, merge_bases
from dsvc.model.ids import ObjectId
from dsvc.storage.backend import Backend
from dsvc.storage.local import LocalBackend
from dsvc.storage.memory import MemoryBackend
from dsvc.transport.fetch import FetchOptions, fetch
from dsvc.transport.position import mirror
from dsvc.transport.promise import Promise
from dsvc.transport.remote import Remote
from tests.counting_backend import CountingBackend
from tests.forked import Desk, desk
from tests.transport_support import commit, files_of, make_context, make_store, push_refs, values

__all__ = ["desk"]


@pytest.fixture
def origin(desk: Desk) -> Path:
    """A store with five versions of a branch, the second of which has a tag, and one more of another branch."""
    for number in range(5):
        desk.commit({b"a.csv": b"%d" % number, b"same": b"same", b"large": os.urandom(200_000)}, f"version {number}")
        if number in (1, 4):
            desk("tag", "-m", "a tag", f"v{number}")
    desk("branch", "side", "HEAD~4")
    desk("remote", "add", "origin", "../origin")
    desk("push", "-q", "--all", "origin")
    desk("push", "-q", "--tags", "origin")
    return desk.folder / "origin"


@pytest.fixture
def clone(origin: Path, desk: Desk) -> Path:
    desk("clone", "-q", "--depth", "2", origin, "clone", cwd=desk.folder)
    return desk.folder / "clone"


def subjects(clone: Path, desk: Desk, *words: str) -> list[str]:
    return desk("log", "--format=%s", *words, cwd=clone).lines


def test_the_newest_versions_are_here_and_log_says_where_they_end(clone: Path, origin: Path, desk: Desk) -> None:
    origin.rename(origin.parent / "away")

    log = desk("log", "--format=%s", cwd=clone)

    assert log.lines == ["version 4", "version 3"]
    assert log.stderr == "hint: older versions are not here; to have them here too, run `dsvc fetch --unshallow`\n"
    assert desk("log", "--graph", "--oneline", "--all", cwd=clone).lines[0].startswith("* ")
    assert subjects(clone, desk, "-1") == ["version 4"]
    assert desk("log", "-1", cwd=clone).stderr == ""
    # Of each branch so many, and tags of what came.
    assert subjects(clone, desk, "origin/side") == ["version 0"]
    assert desk("tag", cwd=clone).lines == ["v4"]
    assert desk("ls", "HEAD~1", cwd=clone).lines == ["a.csv", "large", "same"]
    assert desk("status", "-sb", cwd=clone).lines == ["## main...origin/main"]
    assert "origin has" in desk("cat", "HEAD~2:a.csv", cwd=clone, code=7).stderr


def test_a_depth_of_one_brings_one_version_of_each(origin: Path, desk: Desk) -> None:
    said = desk("clone", "--depth", "1", origin, "one", cwd=desk.folder).stderr

    assert "fetched 2 versions" in said
    assert desk("tag", cwd=desk.folder / "one").lines == ["v4"]
    assert subjects(desk.folder / "one", desk) == ["version 4"]
    desk("clone", "-q", "--depth", "1", "-b", "v1", origin, "tag", cwd=desk.folder)
    assert (desk.folder / "tag" / "a.csv").read_text() == "1"


def test_what_is_older_comes_when_it_is_needed(clone: Path, desk: Desk) -> None:
    assert desk("cat", "HEAD~4:a.csv", cwd=clone).stdout == "0"
    assert desk("diff", "--name-only", "main...origin/side", cwd=clone).lines == []
    assert desk("diff", "--name-only", "origin/side...main", cwd=clone).lines == ["a.csv", "large"]
    assert desk("show", "--name-only", "--format=%s", "HEAD~1", cwd=clone).lines[-1] == "large"
    assert desk("log", "--format=%s", "origin/side..main", cwd=clone).lines == [
        f"version {number}" for number in (4, 3, 2, 1)
    ]


def test_fsck_tells_promised_from_lost(clone: Path, desk: Desk) -> None:
    fsck = desk("fsck", cwd=clone)

    assert "promised: not here, and in a remote" in fsck.stderr
    desk("config", "--unset", "remote.origin.promisor", cwd=clone)
    assert "it is missing" in desk("fsck", cwd=clone, code=8).stdout


def test_fsck_calls_nothing_dangling_that_the_rest_of_the_history_may_need(
    clone: Path, origin: Path, desk: Desk
) -> None:
    # Pages of older versions come along, in the same frames as those of newer ones.
    desk("cat", f"{desk.head('HEAD~4')}:large", cwd=clone)

    assert "dangling" not in desk("fsck", cwd=clone).stderr
    (clone / "taken-back").write_text("taken back")
    desk("add", "-q", "taken-back", cwd=clone)
    desk("undo", "-q", cwd=clone)
    desk("config", "log.keep", "1", cwd=clone)
    for number in range(2):
        (clone / "other").write_text(f"{number}")
        desk("add", "-q", "other", cwd=clone)
    # That is in no remote.
    assert re.search(r"\d objects? dangling", desk("fsck", cwd=clone).stderr)
    origin.rename(origin.parent / "away")
    # Of the rest of the history, nothing is known.
    assert "dangling" not in desk("fsck", cwd=clone).stderr


def test_new_versions_go_and_come(clone: Path, origin: Path, desk: Desk) -> None:
    (clone / "a.csv").write_text("mine")
    desk("commit", "-q", "-a", "-m", "mine", cwd=clone)
    assert desk("status", "-sb", cwd=clone).lines == ["## main...origin/main [ahead 1]"]
    desk("push", "-q", "origin", "main", cwd=clone)
    desk("pull", "-q")
    desk.commit({b"a.csv": b"theirs"}, "theirs")
    desk("push", "-q", "origin", "main")
    desk("fetch", "-q", cwd=clone)
    assert desk("status", "-sb", cwd=clone).lines == ["## main...origin/main [behind 1]"]

    desk("pull", "-q", cwd=clone)

    origin.rename(origin.parent / "away")
    assert subjects(clone, desk) == ["theirs", "mine", "version 4", "version 3"]
    assert (clone / "a.csv").read_text() == "theirs"


def test_a_fetch_deepens_and_at_last_has_everything(clone: Path, origin: Path, desk: Desk) -> None:
    desk("fetch", "-q", "--depth", "3", cwd=clone)
    assert subjects(clone, desk) == ["version 4", "version 3", "version 2"]

    desk("fetch", "-q", "--unshallow", cwd=clone)

    desk("fetch", "-q", "--data", cwd=clone)
    origin.rename(origin.parent / "away")
    log = desk("log", "--format=%s", cwd=clone)
    assert log.lines == [f"version {number}" for number in (4, 3, 2, 1, 0)]
    assert log.stderr == ""
    assert desk("cat", "HEAD~4:a.csv", cwd=clone).stdout == "0"
    desk("config", "remote.origin.shallow", cwd=clone, code=1)
    desk("config", "--unset", "remote.origin.promisor", cwd=clone)
    desk("fsck", cwd=clone)


def test_an_unshallow_completes_all_that_refs_here_lead_to(origin: Path, desk: Desk) -> None:
    desk("switch", "-q", "-c", "gone", "HEAD~1")
    desk.commit({b"gone": b"gone"}, "gone")
    desk("push", "-q", "origin", "gone")
    desk("clone", "-q", "--depth", "1", origin, "clone", cwd=desk.folder)
    clone = desk.folder / "clone"
    desk("branch", "mine", "origin/gone", cwd=clone)
    desk("switch", "-q", "mine", cwd=clone)
    (clone / "new").write_text("new")
    desk("add", "-q", "new", cwd=clone)
    desk("commit", "-q", "-m", "mine", cwd=clone)
    desk("push", "-q", "origin", ":gone")

    desk("fetch", "-q", "--unshallow", cwd=clone)

    assert desk("tag", cwd=clone).lines == ["v1", "v4"]
    desk("fetch", "-q", "--data", cwd=clone)
    origin.rename(origin.parent / "away")
    desk("config", "--unset", "remote.origin.promisor", cwd=clone)
    desk("fsck", cwd=clone)
    older = ["gone", *(f"version {number}" for number in (3, 2, 1, 0))]
    assert subjects(clone, desk, "mine") == ["mine", *older]
    assert subjects(clone, desk, "origin/gone") == older


def test_an_unshallow_leaves_what_another_remote_has(origin: Path, desk: Desk) -> None:
    desk("clone", "-q", "--depth", "1", origin, "clone", cwd=desk.folder)
    clone = desk.folder / "clone"
    desk("init", "-q", "other", cwd=desk.folder)
    other = desk.folder / "other"
    for number in range(3):
        (other / "file").write_text(f"{number}")
        desk("add", "-q", "file", cwd=other)
        desk("commit", "-q", "-m", f"other {number}", cwd=other)
    desk("remote", "add", "other", other, cwd=clone)
    desk("config", "remote.other.promisor", "true", cwd=clone)
    desk("fetch", "-q", "--depth", "1", "other", cwd=clone)
    other.rename(desk.folder / "away")

    desk("fetch", "-q", "--unshallow", "origin", cwd=clone)

    assert subjects(clone, desk)[-1] == "version 0"
    assert subjects(clone, desk, "other/main") == ["other 2"]


def test_a_push_elsewhere_takes_the_whole_history_along(clone: Path, origin: Path, desk: Desk) -> None:
    desk("remote", "add", "second", "../second", cwd=clone)

    desk("push", "-q", "second", "main", cwd=clone)

    shutil.rmtree(origin)
    assert desk("log", "--format=%s", "main", cwd=desk.folder / "second").lines[-1] == "version 0"
    desk("fsck", "../second", cwd=clone)


@pytest.mark.parametrize("words", ["--depth 0", "--depth x", "--depth 1 --mirror"])
def test_a_depth_that_cannot_be_is_refused(words: str, desk: Desk) -> None:
    desk("clone", *words.split(), ".", "x", code=2)

    assert not (desk.work / "x").exists()


@pytest.mark.usefixtures("origin")
def test_history_is_only_left_behind_where_it_is_promised(desk: Desk) -> None:
    said = desk("fetch", "--depth", "1", code=10).stderr

    assert said.startswith("error: nothing older could be read: origin is no promisor\nhint: to rely on it, ")
    assert desk("fetch", "--depth", "1", "--unshallow", code=2).stderr.startswith("error: choose one of ")


# Of a remote far away.


def far_remote(far: Backend, folder: Path) -> Remote:
    """The remote as another process finds it."""
    return Remote("origin", "far away", mirror(folder, far), make_context("remote"), folder)


def reopened(clone: Store, far: Backend) -> Store:
    folder = clone.files.root
    store = Store(LocalBackend(folder), make_context("ben"))
    store.promise(Promise(store, [far_remote(far, folder / "known")]))
    return store


def test_a_shallow_fetch_is_a_few_large_requests_for_little_of_a_history(tmp_path: Path) -> None:
    local, far = make_store(tmp_path / "local"), CountingBackend(MemoryBackend())
    files = {b"%05d" % number: b"%d" % number for number in range(1000)}
    made = commit(local, files)
    for number in range(15):
        files = {path: content + b"%d" % number for path, content in files.items()}
        made = commit(local, files, made)
        push_refs(local, far_remote(far, tmp_path / "known"))
    whole = sum(size for key, size in far.backend.list("packs/"))
    clone = make_store(tmp_path / "clone")
    far.clear()

    options = FetchOptions(data=False, shallow=True, depth=2)
    fetch(clone, far_remote(far, clone.files.root / "known"), options=options)

    assert values(clone, "refs/remotes/origin/") == {"main": made.hex()}
    assert sum(length for _, _, length in far.ranges) < whole / 4
    # Commits, two generations of them, and the levels of their trees.
    assert far.verbs("packs/").total() <= 12
    assert far.trips <= 30
    assert len(list(ancestors(commits_here(reopened(clone, far).objects), [made]))) == 2


# Whatever the history, and whatever the depth.

parents = st.lists(st.integers(0, 30), max_size=2, unique=True)
histories = st.lists(st.tuples(parents, st.integers(0, 3)), min_size=1, max_size=7)
lasts = st.sampled_from([FetchOptions(data=False, shallow=True), FetchOptions(complete=True), None])


def made_of(store: Store, shape: list[tuple[list[int], int]]) -> Iterator[tuple[ObjectId, dict[bytes, bytes]]]:
    made: list[ObjectId] = []
    for number, (parents, content) in enumerate(shape):
        files = {b"%d" % path: b"%d" % content for path in range(content + 1)} | {b"number": b"%d" % number}
        above = dict.fromkeys(made[parent % len(made)] for parent in parents) if made else {}
        made.append(commit(store, files, *above, branch=f"b{number % 3}"))
        yield made[-1], files


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(history=histories, more=histories, depth=st.integers(1, 4), last=lasts)
def test_a_shallow_clone_reads_as_a_full_one(
    history: list[tuple[list[int], int]], more: list[tuple[list[int], int]], depth: int, last: FetchOptions | None
) -> None:
    with TemporaryDirectory() as folder:
        local, far = make_store(Path(folder, "local")), MemoryBackend()
        known = Path(folder, "known")
        versions = dict(made_of(local, history))
        push_refs(local, far_remote(far, known), "+refs/heads/*:refs/heads/*")
        clone = make_store(Path(folder, "clone"), "ben")
        shallow = FetchOptions(data=False, shallow=True, depth=depth)
        fetch(clone, far_remote(far, clone.files.root / "known"), options=shallow)
        versions.update(made_of(local, more))
        push_refs(local, far_remote(far, known), "+refs/heads/*:refs/heads/*")
        again = reopened(clone, far)
        fetch(again, far_remote(far, clone.files.root / "known"), options=last or shallow)

        tips = [ObjectId.from_hex(value) for value in values(again, "refs/remotes/origin/").values()]
        assert values(again, "refs/remotes/origin/") == values(local, "refs/heads/")
        check_distances(again, local, tips)
        if last is not None and last.complete:
            # Nothing is asked of the remote any more.
            again = Store(again.backend, make_context())
        reachable = set(ancestors(Commits(local.objects), tips))
        assert set(ancestors(Commits(again.objects), tips)) == reachable
        for version in reachable:
            assert files_of(again, version) == versions[version]
        for tip in tips:
            assert merge_bases(Commits(again.objects), tips[0], tip) == merge_bases(
                Commits(local.objects), tips[0], tip
            )


def check_distances(shallow: Store, whole: Store, tips: list[ObjectId]) -> None:
    """What is told of two versions without asking the remote is true, or it is said that it cannot be told."""
    for tip in tips:
        try:
            told = ahead_behind(commits_here(shallow.objects), tips[0], tip)
        except HistoryCutError:
            continue
        assert told == ahead_behind(Commits(whole.objects), tips[0], tip)
