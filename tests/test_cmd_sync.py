"""dsvc sync: a version becomes what a folder holds, wherever that is."""

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsvc.model.paths import is_within
from dsvc.progress import NO_PROGRESS
from dsvc.worktree.sync import FolderGoneError, Limit, Target, sync
from tests.crash_support import Pause, Running, Watch, dying_at, fast_folder, run_forked
from tests.forked import Desk, desk
from tests.worktree_support import (
    EMPTY_FOLDER,
    Content,
    Executable,
    Files,
    Link,
    clear,
    commit_all,
    make_worktree,
    read_files,
    tree_of,
    write_files,
)

__all__ = ["desk"]

MAIN = Target("refs/heads/main")
LAKE: Files = {
    b"a": b"1",
    b"deep/b": b"2" * 100_000,
    b"empty": EMPTY_FOLDER,
    b"link": Link(b"/nowhere"),
    b"run": Executable(b"#!"),
}


@pytest.fixture
def lake(desk: Desk) -> Path:
    folder = desk.folder / "lake"
    folder.mkdir()
    write_files(folder, LAKE)
    return folder


def said(desk: Desk, *words: str | Path, code: int = 0) -> str:
    """Return the line that was said, without the version's id."""
    (line,) = desk("sync", *words, code=code).stderr.splitlines()
    where, _, rest = line.partition("] ")
    return f"{where.split()[0].rstrip(']')}] {rest}"


def test_a_version_becomes_what_a_folder_elsewhere_holds_and_the_worktree_follows(desk: Desk, lake: Path) -> None:
    desk.commit({b"own": b"x"})

    line = said(desk, lake)

    assert line == "[main] 5 new, 1 removed (97.7 KiB)"
    assert read_files(desk.work) == LAKE
    assert desk("status", "-s").stdout == ""
    assert desk.lines("log", "--format=%s") == [f"Sync {lake}: 5 new, 1 removed", "A version"]


def test_what_is_added_changed_and_removed_goes_into_one_version(desk: Desk, lake: Path) -> None:
    desk("sync", lake, "-q")
    (lake / "a").write_text("new")
    (lake / "new").write_text("new")
    shutil.rmtree(lake / "deep")
    (lake / "run").chmod(0o644)
    (lake / "empty" / "full").write_text("x")

    assert said(desk, lake, "-m", "Second") == "[main] 2 new, 2 changed, 2 removed (9 B)"

    assert read_files(desk.work) == read_files(lake)
    assert len(desk.lines("log", "--format=%s")) == 2


def test_with_a_prefix_the_rest_of_the_version_stays(desk: Desk, lake: Path) -> None:
    desk.commit({b"own": b"x", b"data/raw/old": b"y", b"data/kept": b"z"})

    assert said(desk, lake, "--prefix", "data/raw/") == "[main] 5 new, 1 removed (97.7 KiB)"

    wanted = {b"data/raw/" + path: content for path, content in LAKE.items()}
    assert read_files(desk.work) == {b"own": b"x", b"data/kept": b"z", **wanted}
    (lake / "a").unlink()
    assert said(desk, lake, "--prefix", "data/raw") == "[main] 1 removed"


def test_where_nothing_changed_no_version_is_made(desk: Desk, lake: Path) -> None:
    desk("sync", lake, "-q")
    head = desk.head()

    assert said(desk, lake) == "[main] nothing changed"
    assert said(desk, lake, "--exit-code", code=1) == "[main] nothing changed"
    assert said(desk, lake, "-n") == "[main] nothing changed"
    assert desk.head() == head


def test_another_branch_is_made_or_gets_a_version_and_the_worktree_is_left_alone(desk: Desk, lake: Path) -> None:
    desk.commit({b"own": b"x"})

    assert said(desk, lake, "--branch", "sets/lake").startswith("[sets/lake] 4 new (")
    (lake / "a").write_text("2")
    assert said(desk, lake, "--branch", "sets/lake") == "[sets/lake] 1 changed (1 B)"

    assert read_files(desk.work) == {b"own": b"x"}
    assert desk.lines("ls", "-r", "sets/lake") == ["a", "deep/b", "empty/", "link", "run"]
    assert len(desk.lines("log", "--format=%s", "sets/lake")) == 2


def test_what_did_not_change_is_not_read_again(desk: Desk, lake: Path) -> None:
    desk("sync", lake, "-q")

    def count(_watch: Watch, call: str, _number: int) -> None:
        if call == "read":
            os.write(2, b"read a file\n")

    again = run_forked("sync", lake, cwd=desk.work, watch=Watch(count, within=lake, reads=True))
    (lake / "a").write_text("other")
    changed = run_forked("sync", lake, cwd=desk.work, watch=Watch(count, within=lake, reads=True))

    assert again.stderr.count("read a file") == 0
    assert changed.stderr.count("read a file") == 1


def test_a_renamed_file_is_told_as_one_and_can_be_had_from_a_clone(desk: Desk, lake: Path) -> None:
    desk("sync", lake, "-q")
    (lake / "deep" / "b").rename(lake / "c")
    (lake / "deep").rmdir()

    assert said(desk, lake) == "[main] 1 renamed"

    desk("clone", "-q", "--data", desk.work, "clone", cwd=desk.folder)
    assert read_files(desk.folder / "clone") == read_files(lake)


def test_edited_files_are_not_overwritten_and_nothing_is_done(desk: Desk, lake: Path) -> None:
    desk("sync", lake, "-q")
    head = desk.head()
    (lake / "a").write_text("theirs")
    (desk.work / "a").write_text("mine")

    assert "local changes would be overwritten" in desk("sync", lake, code=5).stderr

    assert desk.head() == head
    assert (desk.work / "a").read_text() == "mine"
    assert desk.lines("status", "-s") == [" M a"]


def test_what_is_staged_stays_staged(desk: Desk, lake: Path) -> None:
    desk("sync", lake, "--prefix", "lake", "-q")
    (desk.work / "own").write_text("x")
    desk("add", "-q", "own")
    (lake / "a").write_text("2")

    assert said(desk, lake, "--prefix", "lake") == "[main] 1 changed (1 B)"

    assert desk.lines("status", "-s") == ["A  own"]


def test_what_is_ignored_in_the_folder_is_left_out(desk: Desk, lake: Path) -> None:
    (lake / ".dsvcignore").write_text("*.tmp\n")
    (lake / "deep" / "x.tmp").write_text("x")

    desk("sync", lake, "-q")

    assert b"deep/x.tmp" not in read_files(desk.work)
    assert b".dsvcignore" in read_files(desk.work)


def test_links_stay_and_give_way_to_files(desk: Desk, lake: Path) -> None:
    (desk.folder / "far").write_text("elsewhere")
    for name in ("far", "a"):
        desk("link", "add", "-q", "--to", name, f"file://{desk.folder}/far")
    desk("commit", "-q", "-m", "Links")

    desk("sync", lake, "-q")

    assert desk.lines("ls", "-l", "HEAD", "--", "a")[0].startswith("file ")
    assert desk.lines("ls", "-l", "HEAD", "--", "far")[0].startswith("external ")


def test_a_folder_of_the_worktree_is_committed_where_it_is(desk: Desk) -> None:
    desk.commit({b"in/a": b"1", b"in/b": b"2", b"out": b"3"})
    (desk.work / "in" / "a").unlink()
    (desk.work / "in" / "c").write_text("4")
    (desk.work / "out").write_text("edited")

    assert said(desk, "in") == "[main] 1 new, 1 removed (1 B)"

    assert desk.lines("ls", "-r", "HEAD") == ["in/b", "in/c", "out"]
    assert desk.lines("status", "-s") == [" M out"]
    assert said(desk, ".") == "[main] 1 changed (6 B)"


def test_a_dry_run_counts_and_does_nothing(desk: Desk, lake: Path) -> None:
    desk("sync", lake, "-q")
    (lake / "a").write_text("2")
    (lake / "new").write_text("2")
    (lake / "link").unlink()
    os.utime(lake / "run", ns=(1, 1))
    head, before = desk.head(), read_files(desk.work)

    assert said(desk, lake, "-n") == "[main] would commit 1 new, 1 changed, 1 removed"
    assert said(desk, lake, "-n", "--exit-code") == "[main] would commit 1 new, 1 changed, 1 removed"

    assert (desk.head(), read_files(desk.work)) == (head, before)


@pytest.mark.parametrize(("limit", "code"), [("1", 10), ("2", 0), ("39%", 10), ("40%", 0), ("100%", 0)])
def test_no_more_is_removed_than_was_allowed(desk: Desk, lake: Path, limit: str, code: int) -> None:
    (lake / "empty" / "x").write_text("x")
    desk("sync", lake, "-q")
    (lake / "a").unlink()
    (lake / "run").unlink()
    head = desk.head()

    desk("sync", lake, "-n", "--max-delete", limit, code=code)
    ended = desk("sync", lake, "--max-delete", limit, code=code)

    assert ("2 of 5 paths would be removed" in ended.stderr) == (code == 10)
    assert (desk.head() == head) == (code == 10)


def test_a_folder_where_nothing_is_mounted_removes_nothing(desk: Desk, lake: Path) -> None:
    desk("sync", lake, "-b", "lake", "-q")
    clear(lake)

    refused = desk("sync", lake, "-b", "lake", code=10)

    assert "the folder is empty, so all 4 paths would be removed" in refused.stderr
    assert "--max-delete=100%" in refused.stderr
    desk("sync", lake, "-b", "lake", "-n", code=10)
    assert said(desk, lake, "-b", "lake", "--max-delete=100%") == "[lake] 5 removed"


def test_an_empty_folder_below_a_prefix_is_there_as_one(desk: Desk, lake: Path) -> None:
    clear(lake)

    desk("sync", lake, "--prefix", "data", "-q")

    assert read_files(desk.work) == {b"data": EMPTY_FOLDER}
    assert said(desk, lake, "--prefix", "data") == "[main] nothing changed"
    (lake / "a").write_text("1")
    assert said(desk, lake, "--prefix", "data") == "[main] 1 new (1 B)"


def test_a_file_in_the_place_of_the_prefix_gives_way_and_one_above_it_does_not(desk: Desk, lake: Path) -> None:
    desk.commit({b"data": b"x"})

    desk("sync", lake, "--prefix", "data/deeper", code=5)
    desk("sync", lake, "--prefix", "data", "-q")

    assert b"data/a" in read_files(desk.work)


def test_the_branch_is_pushed_also_when_nothing_changed(desk: Desk, lake: Path) -> None:
    desk("remote", "add", "origin", "../remote")
    desk("sync", lake, "-b", "lake", "-q")

    pushed = desk("sync", lake, "-b", "lake", "--push").stderr.splitlines()

    assert pushed[0] == "[lake] nothing changed"
    assert pushed[1].startswith("[lake] pushed 1 version to origin (")
    assert desk.lines("branch", "-r") == ["  origin/lake"]


def test_one_record_says_what_was_done(desk: Desk, lake: Path) -> None:
    (record,) = desk.json("sync", lake, "--prefix", "p")

    assert record["commit"] == desk.head()
    wanted = {"kind": "sync", "status": "committed", "branch": "main", "path": "p", "added": 4, "deleted": 0}
    assert {key: record[key] for key in wanted} == wanted
    assert desk.json("sync", lake, "--prefix", "p")[0]["status"] == "unchanged"


def test_what_cannot_be_meant_is_refused_with_the_reason(desk: Desk, lake: Path) -> None:
    desk.commit({b"in/a": b"1"})
    (desk.work / "away").symlink_to(lake)

    def refused(*words: str | Path, code: int) -> str:
        return desk("sync", *words, code=code).stderr

    assert "there is no folder ../nowhere" in refused("../nowhere", code=4)
    assert "in/a is no folder" in refused("in/a", code=2)
    assert ".. holds the repository" in refused("..", code=2)
    assert "is one of dsvc's own folders" in refused(".dsvc/store", code=2)
    assert "away is a link that leads out of the worktree" in refused("away", code=2)
    assert "in is in the worktree" in refused("in", "--prefix", "other", code=2)
    assert "goes to the current branch" in refused("in", "-b", "other", code=2)
    assert "neither a number nor a percentage" in refused(lake, "--max-delete", "some", code=2)
    assert "invalid path" in refused(lake, "--prefix", "a/../b", code=2)
    desk("switch", "-q", "--detach", "HEAD")
    assert "HEAD is not on a branch" in refused(lake, code=5)
    assert desk("sync", lake, "-b", "lake", "-q").stderr == ""


def test_one_sync_of_a_folder_runs_at_a_time(desk: Desk, lake: Path) -> None:
    pause = Pause()
    first = Running(
        ("sync", lake, "-b", "lake", "-q"), cwd=desk.work, watch=Watch(pause.at(0), within=lake, reads=True)
    )
    assert pause.expect(first)

    busy = desk("sync", lake, "-b", "lake", code=6)
    desk("sync", lake, "-b", "other", "-q")
    pause.go_on()

    assert first.wait().code == 0
    pause.close()
    assert "another sync of this folder is running (process" in busy.stderr
    assert said(desk, lake, "-b", "lake") == "[lake] nothing changed"


def test_undo_takes_a_sync_back(desk: Desk, lake: Path) -> None:
    desk.commit({b"own": b"x"})
    desk("sync", lake, "-q")

    desk("undo", "-q")

    assert read_files(desk.work) == {b"own": b"x"}
    assert desk.lines("log", "--format=%s") == ["A version"]


def test_clearml_sync_state_not_saved__a_killed_sync_leaves_the_version_before_or_the_one_after(
    desk: Desk, lake: Path
) -> None:
    desk("sync", lake, "--prefix", "p", "-q")
    (lake / "a").write_text("changed")
    (lake / "new").write_bytes(b"3" * 70_000)
    (lake / "run").unlink()
    start = desk.folder / "start"
    shutil.copytree(desk.folder / "work", start, symlinks=True)
    old, wanted = desk.tree(), {b"p/" + path: content for path, content in read_files(lake).items()}
    trees = set()
    # Every fifth change of the disk: each of them is tried with other commands.
    for step in range(0, 200, 5):
        shutil.rmtree(desk.work)
        shutil.copytree(start, desk.work, symlinks=True)
        ended = run_forked("sync", lake, "--prefix", "p", cwd=desk.work, watch=Watch(dying_at(step), within=desk.work))
        run_forked("switch", "--continue", cwd=desk.work)

        trees.add(desk.tree())
        assert desk("status", "-s").stdout == ""
        desk("sync", lake, "--prefix", "p", "-q")
        assert read_files(desk.work) == wanted
        if not ended.was_killed:
            break

    assert not ended.was_killed
    assert trees == {old, desk.tree()}


def test_a_folder_that_is_gone_in_the_middle_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    worktree, lake = make_worktree(tmp_path / "w"), tmp_path / "lake"
    lake.mkdir()
    write_files(lake, LAKE)
    sync(worktree, lake, MAIN, str)

    class Unmounting(type(NO_PROGRESS)):  # type: ignore[misc]  # the class has no public name
        def start(self, task: str, **_totals: int | None) -> None:
            if task == "add":
                lake.rename(tmp_path / "away")
                lake.mkdir()

    with pytest.raises(FolderGoneError, match="became another folder"):
        sync(worktree, lake, Target("refs/heads/main", limit=Limit(100, is_percent=True)), str, progress=Unmounting())

    assert read_files(worktree.root) == LAKE


NAMES = st.sampled_from([b"a", b"b", b"c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(b"/".join)
CONTENTS: st.SearchStrategy[Content] = st.one_of(
    st.binary(max_size=3),
    st.binary(max_size=3).map(Executable),
    st.sampled_from([Link(b"a"), EMPTY_FOLDER]),
)


def _possible(files: dict[bytes, Content]) -> dict[bytes, Content]:
    """Leave out what is below something that is no folder."""
    kept: dict[bytes, Content] = {}
    for path in sorted(files, key=lambda path: path.replace(b"/", b"\0")):
        if not any(path.startswith(above + b"/") for above in kept):
            kept[path] = files[path]
    return kept


TREES = st.dictionaries(PATHS, CONTENTS, max_size=6).map(_possible)


@given(before=TREES, folders=st.lists(TREES, min_size=1, max_size=3), prefix=st.sampled_from([b"", b"p", b"a/b"]))
@settings(max_examples=12)
def test_below_the_prefix_the_tree_is_that_of_an_add_of_the_same_files(
    before: Files, folders: list[Files], prefix: bytes
) -> None:
    with fast_folder() as folder:
        check_equal_trees(folder, before, folders, prefix)


def check_equal_trees(folder: Path, before: Files, folders: list[Files], prefix: bytes) -> None:
    worktree, lake = make_worktree(folder / "w"), folder / "lake"
    other = make_worktree(folder / "other")
    base = {path: content for path, content in before.items() if not prefix.startswith(path)}
    commit_all(worktree, base)
    lake.mkdir()
    for files in folders:
        clear(lake)
        write_files(lake, files)

        synced = sync(worktree, lake, Target("refs/heads/main", prefix, Limit(100, is_percent=True)), str)

        placed = {prefix + b"/" + path if prefix else path: content for path, content in files.items()}
        if prefix and not files:
            placed = {prefix: EMPTY_FOLDER}
        wanted = {path: content for path, content in base.items() if not is_within(path, prefix)} | placed
        assert read_files(worktree.root) == wanted
        head = worktree.session(worktree.store.state()).commit(worktree.store.state())
        assert head is not None
        assert synced.commit in (None, head)
        assert tree_of(worktree, head).root == tree_of(other, commit_all(other, wanted)).root
