"""dsvc bundle: versions in a file, for places without a network."""

import random
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsvc.history.store import Store
from dsvc.model.ids import ObjectId
from dsvc.storage.bundle import BundleBackend
from dsvc.storage.local import LocalBackend
from dsvc.transport.bundle import NothingNewError, create_bundle
from dsvc.transport.fetch import fetch
from dsvc.transport.remote import Remote
from tests.crash_support import Watch, dying_at, failing_at, fast_folder, run_forked
from tests.forked import Desk, desk
from tests.transport_support import assert_whole, commit, files_of, make_context, make_store, noise, values
from tests.worktree_support import EMPTY_FOLDER, Executable, Files, Link, read_files

__all__ = ["desk"]

OLD: Files = {b"a": b"1", b"big": noise(1, 900_000), b"in/moved": noise(2, 60_000)}
NEW: Files = {
    b"a": b"2",
    b"big": noise(1, 900_000) + b"more",
    b"out/moved": noise(2, 60_000),
    b"empty": EMPTY_FOLDER,
    b"link": Link(b"a"),
    b"run": Executable(b"#!"),
}


@pytest.fixture
def versions(desk: Desk) -> tuple[str, str]:
    """The commits of two versions."""
    return desk.commit(OLD, "Old"), desk.commit(NEW, "New")


def cloned(desk: Desk, bundle: str, name: str = "clone") -> Path:
    desk("clone", "-q", bundle, name, cwd=desk.folder)
    return desk.folder / name


def refs(folder: Path) -> dict[str, str]:
    """The branches of a repository, and what it remembers of others'."""
    store = folder / ".dsvc" / "store"
    found = values(Store(LocalBackend(store if store.exists() else folder), make_context("look")))
    return {ref: value for ref, value in found.items() if ref.startswith(("heads/", "remotes/"))}


def test_a_bundle_is_cloned_like_a_repository_and_is_needed_no_more(desk: Desk, versions: tuple[str, str]) -> None:
    desk("tag", "v1", versions[0])

    said = desk("bundle", "create", "../all.bundle").stderr

    assert said.startswith("wrote ../all.bundle: 2 versions with ")
    clone = cloned(desk, "all.bundle")
    (desk.folder / "all.bundle").unlink()
    assert read_files(clone) == NEW
    desk("switch", "-q", "--detach", "v1", cwd=clone)
    assert read_files(clone) == OLD
    assert "is whole" in desk("fsck", cwd=clone).stderr
    assert desk("status", "-s", cwd=clone).stdout == ""


def test_the_folder_of_a_clone_is_called_as_the_bundle_and_stands_on_the_branch_of_the_maker(
    desk: Desk, versions: tuple[str, str]
) -> None:
    desk("switch", "-q", "-c", "topic", versions[0])
    desk("bundle", "create", "-q", "../images.bundle")

    desk("clone", "-q", "images.bundle", cwd=desk.folder)

    assert desk("branch", cwd=desk.folder / "images").stdout == "* topic\n"


def test_an_update_holds_what_is_new_and_nothing_that_the_other_side_has(desk: Desk, versions: tuple[str, str]) -> None:
    desk("bundle", "create", "-q", "../old.bundle", "--no-tags", "main")
    desk.commit({**NEW, b"moved again": NEW[b"out/moved"], b"new": noise(3, 5000)}, "Newer")

    said = desk("bundle", "create", "../update.bundle", f"{versions[1]}..main").stderr

    assert said.splitlines()[1] == f"it builds on {versions[1][:10]}"
    assert (desk.folder / "update.bundle").stat().st_size < 8000
    clone = cloned(desk, "old.bundle")
    desk("pull", "-q", "../update.bundle", cwd=clone)
    assert read_files(clone) == read_files(desk.work)
    assert "is whole" in desk("fsck", cwd=clone).stderr


def test_what_an_update_builds_on_is_looked_for_before_anything_is_taken(desk: Desk, versions: tuple[str, str]) -> None:
    desk("bundle", "create", "-q", "../update.bundle", "--since", versions[0])
    desk("init", "-q", "other", cwd=desk.folder)
    other = desk.folder / "other"

    refused = desk("bundle", "apply", "../update.bundle", cwd=other, code=4).stderr

    assert f"builds on versions that are not here: {versions[0][:10]}" in refused
    assert "get those first" in refused
    assert refs(other) == {}
    desk("clone", "update.bundle", "third", cwd=desk.folder, code=4)
    assert not (desk.folder / "third").exists()
    assert "builds on versions that are not here" in desk("get", "../update.bundle#main", cwd=other, code=4).stderr
    assert "which is not all here" in desk("bundle", "verify", "../update.bundle", cwd=other, code=4).stderr
    assert "which is here" in desk("bundle", "verify", "../update.bundle").stderr
    assert "run `dsvc bundle verify ../update.bundle`" in desk("fsck", "../update.bundle", code=10).stderr


def test_versions_are_taken_and_branches_remembered_and_moved_where_that_is_said(
    desk: Desk, versions: tuple[str, str]
) -> None:
    desk("bundle", "create", "-q", "../all.bundle")
    desk("init", "-q", "other", cwd=desk.folder)
    other = desk.folder / "other"

    desk("bundle", "apply", "-n", "../all.bundle", cwd=other)
    assert refs(other) == {}
    desk("bundle", "apply", "../all.bundle", "main:taken", cwd=other)

    assert refs(other) == {"heads/taken": versions[1], "remotes/bundle/main": versions[1]}
    assert "Everything" not in desk("bundle", "apply", "../all.bundle", cwd=other).stderr


def test_in_a_bare_repository_the_branches_themselves_move(desk: Desk, versions: tuple[str, str]) -> None:
    desk("bundle", "create", "-q", "../old.bundle", "main")
    desk("clone", "-q", "--bare", "old.bundle", "bare.dsvc", cwd=desk.folder)
    desk.commit({b"a": b"3"})
    desk("bundle", "create", "-q", "../update.bundle", "--since", versions[1])

    desk("bundle", "apply", "-q", "../update.bundle", cwd=desk.folder / "bare.dsvc")

    assert refs(desk.folder / "bare.dsvc")["heads/main"] == desk.head()


def test_refs_and_what_it_builds_on_are_listed(desk: Desk, versions: tuple[str, str]) -> None:
    desk("tag", "v1", versions[0])
    desk("tag", "v2", versions[1])
    desk("branch", "old", versions[0])
    desk("bundle", "create", "-q", "../x.bundle", "main", "--since", versions[0])

    # The tag of what is in it comes along, and no other one.
    wanted = [f"{versions[1]}\trefs/heads/main", f"{versions[1]}\trefs/tags/v2"]
    assert desk.lines("bundle", "list", "../x.bundle") == wanted
    assert desk.lines("bundle", "list", "-v", "../x.bundle") == [*wanted, f"-{versions[0]}"]
    assert desk("bundle", "list", "x.bundle", cwd=desk.folder).stdout.splitlines() == wanted
    records = desk("bundle", "list", "--json", "../x.bundle").stdout
    assert f'{{"kind":"prerequisite","commit":"{versions[0]}"}}' in records
    assert "refs/tags" not in desk("bundle", "create", "-q", "--no-tags", "../y.bundle", "main").stdout
    assert desk.lines("bundle", "list", "../y.bundle") == [f"{versions[1]}\trefs/heads/main"]


def test_what_is_published_stays_so_on_its_way(desk: Desk, versions: tuple[str, str]) -> None:
    desk("publish", "main@1.0.0", "-q")
    desk("bundle", "create", "-q", "../x.bundle")

    clone = cloned(desk, "x.bundle")

    assert "published" in desk("tag", "-d", "main@1.0.0", cwd=clone, code=10).stderr
    assert len(versions) == 2


def test_an_interrupted_bundle_is_gone_on_with_from_what_is_whole(desk: Desk, versions: tuple[str, str]) -> None:
    folder = desk.folder / "out"
    folder.mkdir()
    whole = desk.folder / "whole.bundle"
    desk("bundle", "create", "-q", whole)
    steps = 0
    while True:
        ended = run_forked(
            "bundle", "create", "../out/x.bundle", cwd=desk.work, watch=Watch(dying_at(steps), within=folder)
        )
        if not ended.was_killed:
            break
        # It is whole, or the same again goes on from wherever it was.
        if not (folder / "x.bundle").exists():
            desk("bundle", "create", "-q", "../out/x.bundle")
        desk("bundle", "verify", "-q", "../out/x.bundle")
        assert (folder / "x.bundle").stat().st_size == whole.stat().st_size
        shutil.rmtree(folder)
        folder.mkdir()
        steps += 2
    assert steps > 10
    assert versions

    # The data is there, and killed is what comes after it: the next one writes hardly anything.
    (folder / "x.bundle").unlink()
    run_forked("bundle", "create", "../out/x.bundle", cwd=desk.work, watch=Watch(dying_at(steps - 5), within=folder))
    written = (folder / "x.bundle.part").stat().st_size
    again = run_forked("bundle", "create", "../out/x.bundle", cwd=desk.work, record=True, watch=Watch(within=folder))
    sent = sum(len(event.data) for event in again.events if event.call == "write" and "x.bundle" in event.path)
    assert written > 900_000
    assert sent < 20_000
    assert (folder / "x.bundle").stat().st_size == whole.stat().st_size


def test_where_no_room_is_left_what_is_written_is_kept_for_the_next_run(desk: Desk, versions: tuple[str, str]) -> None:
    folder = desk.folder / "out"
    folder.mkdir()

    full = run_forked("bundle", "create", "../out/x.bundle", cwd=desk.work, watch=Watch(failing_at(6), within=folder))

    assert full.code == 9
    assert "run the same again to go on" in full.stderr
    assert [path.name for path in folder.iterdir()] == ["x.bundle.part"]
    desk("bundle", "create", "-q", "../out/x.bundle")
    desk("bundle", "verify", "../out/x.bundle")
    assert versions


def test_an_interrupted_apply_is_gone_on_with(desk: Desk, versions: tuple[str, str]) -> None:
    desk("bundle", "create", "-q", "../x.bundle")
    desk("init", "-q", "empty", cwd=desk.folder)
    for step in range(0, 60, 7):
        other = desk.folder / f"other{step}"
        shutil.copytree(desk.folder / "empty", other)
        ended = run_forked("bundle", "apply", "../x.bundle", cwd=other, watch=Watch(dying_at(step), within=other))

        desk("bundle", "apply", "-q", "../x.bundle", cwd=other)
        assert refs(other) == {"remotes/bundle/main": versions[1]}
        assert "is whole" in desk("fsck", cwd=other).stderr
        if not ended.was_killed:
            break
    assert not ended.was_killed


def test_volumes_are_read_together_or_one_after_the_other(desk: Desk, versions: tuple[str, str]) -> None:
    desk("bundle", "create", "-q", "../whole.bundle")
    most = (desk.folder / "whole.bundle").stat().st_size - 100
    said = desk("bundle", "create", "../x.bundle", "--split", str(most)).stderr
    files = sorted(desk.folder.glob("x.bundle.*"))
    assert len(files) >= 2
    assert f"and {len(files) - 1} more" in said
    assert all(file.stat().st_size <= most for file in files)
    assert read_files(cloned(desk, "x.bundle")) == NEW
    assert read_files(cloned(desk, "x.bundle.001", "again")) == NEW
    sticks = [desk.folder / f"stick{number}" for number in range(len(files))]
    for stick, file in zip(sticks, files, strict=True):
        stick.mkdir()
        file.rename(stick / file.name)
    desk("init", "-q", "other", cwd=desk.folder)
    other = desk.folder / "other"

    early = desk("bundle", "apply", sticks[-1] / files[-1].name, cwd=other, code=4)
    assert "volume 1" in early.stderr
    assert "apply those first" in early.stderr
    assert refs(other) == {}
    for stick, file in zip(sticks[:-1], files[:-1], strict=True):
        assert "apply the other volumes too" in desk("bundle", "apply", stick / file.name, cwd=other).stderr
    desk("bundle", "apply", sticks[-1] / files[-1].name, cwd=other)

    assert refs(other) == {"remotes/bundle/main": versions[1]}
    assert "is whole" in desk("fsck", cwd=other).stderr
    desk("bundle", "apply", sticks[0] / files[0].name, cwd=other)
    assert "volume 1 and" not in desk("clone", sticks[0] / files[0].name, "no", cwd=desk.folder, code=4).stderr


def test_a_damaged_bundle_is_told_as_such_and_nothing_of_it_is_taken(desk: Desk, versions: tuple[str, str]) -> None:
    desk("bundle", "create", "-q", "../x.bundle")
    path = desk.folder / "x.bundle"
    desk("init", "-q", "other", cwd=desk.folder)
    content = path.read_bytes()
    numbers = random.Random(7)  # noqa: S311 (any places will do)
    for place in [50, len(content) - 1, *(numbers.randrange(len(content)) for _ in range(8))]:
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)

        told = desk("bundle", "verify", "../x.bundle", code=8).stderr
        assert told.startswith("error: the bundle ../x.bundle is damaged: ")
        assert "\nhint: copy it once more" in told
        ended = run_forked("bundle", "apply", "../x.bundle", cwd=desk.folder / "other")
        # What nothing in it needs to be read for does no harm.
        assert ended.code == 8 or "is whole" in desk("fsck", cwd=desk.folder / "other").stderr
    path.write_bytes(content[:-1])
    assert "is damaged: it is cut short" in desk("bundle", "verify", "../x.bundle", code=8).stderr
    assert versions


def test_a_lazy_clone_puts_all_data_in_and_takes_updates(desk: Desk, versions: tuple[str, str]) -> None:
    desk("clone", "-q", desk.work, "lazy", cwd=desk.folder)
    lazy = desk.folder / "lazy"
    desk.commit({**NEW, b"new": b"3"}, "Newer")
    desk("bundle", "create", "-q", "../update.bundle", "--since", versions[1])

    desk("bundle", "create", "-q", "../all.bundle", cwd=lazy)
    desk("pull", "-q", "../update.bundle", cwd=lazy)

    assert (lazy / "new").read_text() == "3"
    assert "is whole" in desk("fsck", cwd=lazy).stderr
    clone = cloned(desk, "all.bundle")
    shutil.rmtree(desk.work)
    shutil.rmtree(lazy)
    desk("switch", "-q", "--detach", versions[0], cwd=clone)
    assert read_files(clone) == OLD


def test_what_cannot_be_meant_is_refused(desk: Desk) -> None:
    assert "there is no version yet" in desk("bundle", "create", "../x.bundle", code=4).stderr
    first = desk.commit({b"a": b"1"})

    assert "say what to do" in desk("bundle", code=2).stderr
    assert "is no branch or tag" in desk("bundle", "create", "../x.bundle", first, code=4).stderr
    assert "unknown revision" in desk("bundle", "create", "../x.bundle", "--since", "nowhere", code=4).stderr
    assert (
        "no version that the other side lacks"
        in desk("bundle", "create", "../x.bundle", "--since", "main", code=1).stderr
    )
    assert "is no size" in desk("bundle", "create", "../x.bundle", "--split", "big", code=2).stderr
    assert "does not fit into a volume" in desk("bundle", "create", "../x.bundle", "--split", "90", code=2).stderr
    assert [path.name for path in desk.folder.iterdir()] == ["work"]
    desk("bundle", "create", "-q", "../x.bundle")
    assert "is there already" in desk("bundle", "create", "../x.bundle", code=5).stderr
    desk("bundle", "create", "-q", "-f", "../x.bundle")
    assert "is a bundle, which nothing is added to" in desk("push", "../x.bundle", "main", code=10).stderr
    assert "is no bundle" in desk("bundle", "list", "a", code=4).stderr
    assert "is not there" in desk("bundle", "list", "nowhere", code=4).stderr


def test_a_remote_may_be_a_bundle_that_is_another_one_each_time(desk: Desk) -> None:
    desk.commit({b"a": b"1"})
    desk("bundle", "create", "-q", "../x.bundle")
    clone = cloned(desk, "x.bundle")
    desk.commit({b"a": b"2"})
    desk("bundle", "create", "-q", "-f", "../x.bundle")

    desk("pull", "-q", cwd=clone)
    desk("remote", "add", "stick", "../x.bundle", cwd=clone)

    assert (clone / "a").read_text() == "2"
    assert "is whole" in desk("fsck", "../x.bundle", cwd=clone).stderr
    desk("fetch", "-q", "stick", cwd=clone)
    assert refs(clone)["remotes/stick/main"] == desk.head()


NAMES = st.sampled_from([b"a", b"b", b"c/d"])
HISTORY = st.lists(
    st.tuples(st.dictionaries(NAMES, st.integers(0, 3), max_size=3), st.lists(st.integers(0, 5), max_size=2)),
    min_size=1,
    max_size=6,
)


def _made(store: Store, history: list[tuple[dict[bytes, int], list[int]]]) -> list[ObjectId]:
    commits: list[ObjectId] = []
    for number, (files, parents) in enumerate(history):
        content = {path: noise(seed, 300 * seed) for path, seed in files.items()}
        chosen = list(dict.fromkeys(commits[parent] for parent in parents if parent < len(commits)))
        commits.append(commit(store, content, *chosen, branch=f"b{number}"))
    return commits


@given(history=HISTORY, data=st.data())
@settings(max_examples=15)
def test_who_has_the_versions_that_an_update_builds_on_has_all_of_it_after(
    history: list[tuple[dict[bytes, int], list[int]]], data: st.DataObject
) -> None:
    with fast_folder() as folder:
        here, there = make_store(folder / "here"), make_store(folder / "there", "bob")
        commits = _made(here, history)
        since = data.draw(st.lists(st.sampled_from(commits), max_size=2, unique=True))
        chosen = {f"refs/heads/b{number}": one for number, one in enumerate(commits)}
        first = {ref: one for ref, one in chosen.items() if one in since}
        if first:
            create_bundle(here, folder / "first", first)
            _fetch(there, folder / "first")
        wanted = {ref: one for ref, one in chosen.items() if one not in since}
        made = None
        if wanted:
            try:
                made = create_bundle(here, folder / "second", wanted, since=since)
            except NothingNewError:
                made = None
        if made is not None:
            _fetch(there, folder / "second")
            assert_whole(there.backend)
            for number, one in enumerate(commits):
                assert values(there, "refs/remotes/bundle/").get(f"b{number}") in (one.hex(), None)
                if f"refs/heads/b{number}" in wanted:
                    assert files_of(there, one) == files_of(here, one)


def _fetch(store: Store, path: Path) -> None:
    fetch(store, Remote("bundle", str(path), BundleBackend.open(path), make_context("fetch")))
