"""Checkout: files are what a tree says, and nothing of the user's is ever lost."""

import os
import random
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsvc.errors import CorruptionError, StorageError
from dsvc.history.diff import Change
from dsvc.log.entry import RefChange
from dsvc.model.codec import FORMAT_VERSION, encode
from dsvc.model.commit import Commit
from dsvc.model.ids import EMPTY_DIGEST, Kind, ObjectId
from dsvc.model.paths import InvalidPathError, validate_path
from dsvc.model.tree import Entry, EntryKind, LeafPage
from dsvc.worktree.case_folding import NameCollisionError, find_collision, folds_case, refuse_collisions
from dsvc.worktree.checkout import LocalChangesError, change_files, materialise, switch_to
from dsvc.worktree.folders import FolderInTheWayError, Folders
from dsvc.worktree.ingest import LARGE_FILE
from dsvc.worktree.pathspec import Pathspec
from dsvc.worktree.resume import resume
from dsvc.worktree.session import SessionChangedError
from dsvc.worktree.status import read_status
from dsvc.worktree.worktree import Worktree
from tests.killed import killed_at_step
from tests.worktree_support import (
    EMPTY_FOLDER,
    Content,
    Executable,
    Files,
    Link,
    add_all,
    check_out,
    clear,
    commit_all,
    make_worktree,
    open_copy,
    place,
    read_files,
    tree_of,
    write_files,
)

KIB = 1024
few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def _is_valid(name: bytes) -> bool:
    try:
        validate_path(name)
    except InvalidPathError:
        return False
    # The one decides what is ignored, the other is.
    return name not in (b".dsvcignore", b".git")


def _content(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)  # noqa: S311 (any bytes will do)


# Few common names, so that versions meet; and any others that a filesystem can hold.
names = (
    st.sampled_from([b"a", b"b", b"c", b"d e"])
    | st.binary(min_size=1, max_size=255)
    .map(lambda name: name.replace(b"\0", b"\n").replace(b"/", b"\\"))
    .filter(_is_valid)
    | st.sampled_from([b"n" * 255, "é".encode() * 127, b"\xff\xfe", b"-f", b"*?[", b" ", b"\n"])
)
contents = st.binary(max_size=40) | st.builds(
    _content,
    st.sampled_from([64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 256 * KIB, 1024 * KIB + 1, 2500 * KIB]),
    st.integers(0, 3),
)
targets = st.binary(min_size=1, max_size=200).map(lambda target: target.replace(b"\0", b"/"))
leaves: st.SearchStrategy[Content] = contents | st.builds(Executable, contents) | st.builds(Link, targets)
Nested = dict[bytes, "Content | Nested"]
nested: st.SearchStrategy[Nested] = st.dictionaries(
    names,
    st.recursive(leaves, lambda inside: st.dictionaries(names, inside, max_size=3), max_leaves=6),
    max_size=4,
)


def _flatten(folder: Nested, above: bytes = b"") -> Iterator[tuple[bytes, Content]]:
    for name, inside in folder.items():
        path = above + b"/" + name if above else name
        if not isinstance(inside, dict):
            yield path, inside
        elif inside:
            yield from _flatten(inside, path)
        else:
            yield path, EMPTY_FOLDER


trees: st.SearchStrategy[Files] = nested.map(lambda folder: dict(_flatten(folder)))


@pytest.fixture
def worktree(tmp_path: Path) -> Worktree:
    return make_worktree(tmp_path / "data")


def is_clean(worktree: Worktree) -> bool:
    return read_status(worktree, worktree.store.state(), Pathspec()).is_clean


class TestIdentity:
    @few
    @given(files=trees)
    def test_what_was_committed_comes_back_whatever_it_was(self, files: Files) -> None:
        with tempfile.TemporaryDirectory() as folder:
            worktree = make_worktree(Path(folder))
            version = commit_all(worktree, files)
            clear(worktree.root)

            check_out(worktree, version, force=True)

            assert read_files(worktree.root) == files
            assert is_clean(worktree)

    @few
    @given(one=trees, other=trees)
    def test_there_and_back_again_restores_every_byte(self, one: Files, other: Files) -> None:
        with tempfile.TemporaryDirectory() as folder:
            worktree = make_worktree(Path(folder))
            first = commit_all(worktree, one)
            second = commit_all(worktree, other)

            check_out(worktree, first)
            assert read_files(worktree.root) == one
            check_out(worktree, second)
            assert read_files(worktree.root) == other
            assert is_clean(worktree)

    @pytest.mark.parametrize("kind", [b"file", Link(b"f"), EMPTY_FOLDER, Executable(b"#!"), "folder"])
    @pytest.mark.parametrize("before", [b"other", Link(b"g"), EMPTY_FOLDER, Executable(b"file"), "folder"])
    def test_anything_replaces_anything(self, worktree: Worktree, before: Content | str, kind: Content | str) -> None:
        def files(content: Content | str) -> Files:
            return {b"x/y": b"below", b"k": b""} if isinstance(content, str) else {b"x": content, b"k": b""}

        first = commit_all(worktree, files(before))
        commit_all(worktree, files(kind))

        check_out(worktree, first)

        assert read_files(worktree.root) == files(before)

    def test_folders_may_be_deeper_than_python_can_recurse(self) -> None:
        deep = b"/".join([b"d"] * 1100)
        # Not pytest's own folder: neither it nor Python's rmtree can remove one so deep.
        folder = Path(tempfile.mkdtemp())
        try:
            worktree = make_worktree(folder)
            with Folders(worktree.root_bytes) as folders:
                folders.open(deep, make=True)
                first = commit_all(worktree)
                folders.remove_tree(b"d")
                second = commit_all(worktree)

                check_out(worktree, first)
                assert folders.status(deep)
                check_out(worktree, second)

            assert read_files(worktree.root) == {}
        finally:
            subprocess.run(["rm", "-rf", folder], check=True)

    def test_folders_that_were_left_empty_go(self, worktree: Worktree) -> None:
        first = commit_all(worktree, {b"a": b""})
        commit_all(worktree, {b"a": b"", b"b/c/d": b"1"})

        check_out(worktree, first)

        assert not (worktree.root / "b").exists()

    def test_a_checkout_of_the_same_version_writes_nothing(self, worktree: Worktree) -> None:
        version = commit_all(worktree, {b"a": b"1"})
        before = (worktree.root / "a").stat()

        assert check_out(worktree, version) == 0

        assert (worktree.root / "a").stat().st_ino == before.st_ino


def edit(worktree: Worktree, path: bytes, content: Content) -> None:
    """Put *content* at *path*, as an editor that saves by renaming."""
    target = place(worktree.root, path)
    if target.is_symlink() or target.exists():
        if target.is_dir() and not target.is_symlink():
            for name in list(read_files(target)):
                place(target, name).unlink()
            target.rmdir()
        else:
            target.unlink()
    write_files(worktree.root, {path: content})


class TestLocalChanges:
    @few
    @given(one=trees, other=trees, mine=trees)
    def test_what_is_in_neither_version_is_never_lost(self, one: Files, other: Files, mine: Files) -> None:
        with tempfile.TemporaryDirectory() as folder:
            worktree = make_worktree(Path(folder))
            commit_all(worktree, one)
            second = commit_all(worktree, other)
            first = commit_all(worktree, one)
            clear(worktree.root)
            write_files(worktree.root, mine)

            try:
                check_out(worktree, second)
            except LocalChangesError:
                assert read_files(worktree.root) == mine
                assert worktree.session(worktree.store.state()).switching is None
            after = read_files(worktree.root)
            for path, content in mine.items():
                if content not in (one.get(path), other.get(path), EMPTY_FOLDER):
                    assert after.get(path) == content
            check_out(worktree, first, force=True)
            restored = read_files(worktree.root)
            for path, content in one.items():
                # The user's own files may be in what was an empty folder.
                is_folder = content == EMPTY_FOLDER and place(worktree.root, path).is_dir()
                assert restored.get(path) == content or is_folder

    def test_an_edited_file_stops_the_checkout_before_anything_is_written(self, worktree: Worktree) -> None:
        first = commit_all(worktree, {b"a": b"1", b"b": b"1"})
        commit_all(worktree, {b"a": b"2", b"b": b"2"})
        edit(worktree, b"b", b"mine")

        with pytest.raises(LocalChangesError) as caught:
            check_out(worktree, first)

        assert caught.value.paths == [b"b"]
        assert read_files(worktree.root) == {b"a": b"2", b"b": b"mine"}

    def test_an_edited_file_that_is_in_both_versions_the_same_is_carried_along(self, worktree: Worktree) -> None:
        first = commit_all(worktree, {b"a": b"1", b"b": b"1"})
        commit_all(worktree, {b"a": b"2", b"b": b"1"})
        edit(worktree, b"b", b"mine")

        check_out(worktree, first)

        assert read_files(worktree.root) == {b"a": b"1", b"b": b"mine"}

    def test_a_file_that_was_edited_into_what_is_wanted_is_no_obstacle(self, worktree: Worktree) -> None:
        first = commit_all(worktree, {b"a": b"1"})
        commit_all(worktree, {b"a": b"2"})
        edit(worktree, b"a", b"1")

        check_out(worktree, first)

        assert is_clean(worktree)

    def test_a_change_of_the_executable_bit_is_a_change(self, worktree: Worktree) -> None:
        first = commit_all(worktree, {b"a": b"1"})
        commit_all(worktree, {b"a": b"2"})
        edit(worktree, b"a", Executable(b"2"))

        with pytest.raises(LocalChangesError):
            check_out(worktree, first)

    @pytest.mark.parametrize("mine", [b"mine", Link(b"mine"), Executable(b"1")])
    def test_an_untracked_file_in_the_way_stops_the_checkout(self, worktree: Worktree, mine: Content) -> None:
        first = commit_all(worktree, {b"a": b"1", b"b": b""})
        commit_all(worktree, {b"b": b""})
        edit(worktree, b"a", mine)

        with pytest.raises(LocalChangesError):
            check_out(worktree, first)

        assert read_files(worktree.root) == {b"a": mine, b"b": b""}

    def test_an_ignored_file_in_the_way_stops_it_too(self, worktree: Worktree) -> None:
        first = commit_all(worktree, {b"a": b"1"})
        commit_all(worktree, {b".dsvcignore": b"a\n"})
        edit(worktree, b"a", b"mine")

        with pytest.raises(LocalChangesError):
            check_out(worktree, first)

    @pytest.mark.parametrize("mine", [b"mine", Link(b"/tmp"), Link(b"e")])
    def test_a_file_or_link_where_a_folder_must_be_stops_it(self, worktree: Worktree, mine: Content) -> None:
        first = commit_all(worktree, {b"d/a": b"1", b"e/f": b""})
        commit_all(worktree, {b"e/f": b""})
        edit(worktree, b"d", mine)

        with pytest.raises(LocalChangesError) as caught:
            check_out(worktree, first)

        assert caught.value.paths == [b"d"]
        assert read_files(worktree.root) == {b"d": mine, b"e/f": b""}

    @pytest.mark.parametrize("mine", [b"mine", Link(b"/tmp")])
    def test_a_folder_with_something_in_it_where_a_file_must_be_stops_it(
        self, worktree: Worktree, mine: Content
    ) -> None:
        first = commit_all(worktree, {b"d": b"1"})
        commit_all(worktree, {b"d/a": b"2"})
        edit(worktree, b"d/sub/mine", mine)

        with pytest.raises(LocalChangesError) as caught:
            check_out(worktree, first)

        assert caught.value.paths == [b"d/sub/mine"]

    def test_folders_with_nothing_in_them_are_no_obstacle(self, worktree: Worktree) -> None:
        first = commit_all(worktree, {b"d": b"1"})
        commit_all(worktree, {b"e": b"2"})
        write_files(worktree.root, {b"d/x/y": EMPTY_FOLDER, b"d/z": EMPTY_FOLDER})

        check_out(worktree, first)

        assert read_files(worktree.root) == {b"d": b"1"}

    @pytest.mark.parametrize("control", [b".dsvc", b".git"])
    def test_a_repository_inside_is_never_removed_even_by_force(self, worktree: Worktree, control: bytes) -> None:
        first = commit_all(worktree, {b"d": b"1"})
        commit_all(worktree, {b"e": b"2"})
        write_files(worktree.root, {b"d/inside/" + control + b"/config": b""})

        with pytest.raises(LocalChangesError):
            check_out(worktree, first)
        with pytest.raises(FolderInTheWayError):
            check_out(worktree, first, force=True)

        assert place(worktree.root, b"d/inside/" + control + b"/config").exists()

    def test_a_folder_that_a_file_left_stays_while_untracked_files_are_in_it(self, worktree: Worktree) -> None:
        first = commit_all(worktree, {b"k": b""})
        commit_all(worktree, {b"k": b"", b"d/a": b"1"})
        write_files(worktree.root, {b"d/mine": b"mine"})

        check_out(worktree, first)

        assert read_files(worktree.root) == {b"k": b"", b"d/mine": b"mine"}

    def test_force_overwrites_what_is_edited_or_in_the_way_and_leaves_the_rest(self, worktree: Worktree) -> None:
        first = commit_all(worktree, {b"a": b"1", b"d/x": b"1", b"f": b"1", b"same": b"1"})
        commit_all(worktree, {b"a": b"2", b"same": b"1"})
        edit(worktree, b"a", b"mine")
        edit(worktree, b"same", b"mine")
        write_files(worktree.root, {b"d": b"mine", b"f/g/h": b"mine", b"untracked": b"mine"})

        check_out(worktree, first, force=True)

        assert read_files(worktree.root) == {
            b"a": b"1", b"d/x": b"1", b"f": b"1", b"same": b"1", b"untracked": b"mine",
        }  # fmt: skip


class TestStaged:
    def test_what_is_staged_is_carried_along_where_both_versions_agree(self, worktree: Worktree) -> None:
        first = commit_all(worktree, {b"a": b"1", b"gone": b"1"})
        commit_all(worktree, {b"a": b"2", b"gone": b"1"})
        edit(worktree, b"new", b"staged")
        (worktree.root / "gone").unlink()
        add_all(worktree)

        check_out(worktree, first)

        assert read_files(worktree.root) == {b"a": b"1", b"new": b"staged"}
        status = read_status(worktree, worktree.store.state(), Pathspec())
        assert [(change.kind.value, change.path) for change in status.staged] == [("D", b"gone"), ("A", b"new")]
        assert not status.unstaged

    def test_what_is_staged_where_the_versions_differ_stops_the_checkout(self, worktree: Worktree) -> None:
        first = commit_all(worktree, {b"a": b"1"})
        commit_all(worktree, {b"a": b"2"})
        edit(worktree, b"a", b"staged")
        add_all(worktree)

        with pytest.raises(LocalChangesError):
            check_out(worktree, first)

        assert read_files(worktree.root) == {b"a": b"staged"}

    def test_a_staged_file_where_the_other_version_has_a_folder_stops_it(self, worktree: Worktree) -> None:
        first = commit_all(worktree, {b"d/x": b"1", b"k": b""})
        commit_all(worktree, {b"k": b""})
        edit(worktree, b"d", b"staged")
        add_all(worktree)

        with pytest.raises(LocalChangesError) as caught:
            check_out(worktree, first)

        assert caught.value.paths == [b"d"]

    def test_what_another_process_stages_meanwhile_is_not_thrown_away(self, worktree: Worktree) -> None:
        first = commit_all(worktree, {b"a": b"1"})
        commit_all(worktree, {b"a": b"2"})
        state = worktree.store.state()
        edit(worktree, b"b", b"staged")
        add_all(worktree)

        with pytest.raises(SessionChangedError):
            change_files(worktree, state, tree_of(worktree, first), worktree.session(state))

        assert read_files(worktree.root) == {b"a": b"2", b"b": b"staged"}


def store_hostile(worktree: Worktree, entries: Sequence[Entry]) -> ObjectId:
    """Return a commit of *entries*, which nobody has checked."""
    writer = worktree.store.writer()
    page = writer.write(Kind.PAGE, encode(LeafPage(FORMAT_VERSION, 0, list(entries))))
    commit = Commit(FORMAT_VERSION, bytes(page), [], "Eve", 0, 0, "harmless", "{}", [], len(entries), 0)
    commit_id = writer.write(Kind.COMMIT, encode(commit))
    change = RefChange("refs/heads/hostile", None, commit_id.hex())
    worktree.store.publish(lambda _: [change], [writer.seal()])
    return commit_id


def store_chunk(worktree: Worktree, data: bytes) -> bytes:
    writer = worktree.store.writer()
    chunk = writer.write(Kind.CHUNK, data)
    worktree.store.publish(lambda _: [], [writer.seal()])
    return bytes(chunk)


class TestHostileTrees:
    @pytest.mark.parametrize(
        "path",
        [
            b"../x", b"a/../../x", b"/tmp/x", b".", b"..", b"a//b", b"a/", b".dsvc/config.toml", b".DSVC/config.toml",
            b"d/.Dsvc/x", b".dsvc", b"dsvc~1/x", ".d\u200csvc/x".encode(), b"a\0b", b"n" * 256,
        ],
    )  # fmt: skip
    def test_a_path_that_leads_elsewhere_is_refused_before_anything_is_written(
        self, worktree: Worktree, path: bytes
    ) -> None:
        good = Entry(b"\x01good", EntryKind.FILE, 0, EMPTY_DIGEST)
        hostile = store_hostile(
            worktree, sorted([good, Entry(path, EntryKind.FILE, 0, EMPTY_DIGEST)], key=lambda entry: entry.path)
        )

        with pytest.raises(CorruptionError):
            check_out(worktree, hostile)

        assert read_files(worktree.root) == {}
        assert list(worktree.root.parent.iterdir()) == [worktree.root]

    def test_a_link_with_a_file_below_it_is_refused_before_anything_is_written(
        self, worktree: Worktree, tmp_path: Path
    ) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        target = os.fsencode(outside)
        link = Entry(b"d", EntryKind.SYMLINK, len(target), store_chunk(worktree, target))
        hostile = store_hostile(worktree, [link, Entry(b"d/file", EntryKind.FILE, 0, EMPTY_DIGEST)])

        with pytest.raises(CorruptionError):
            check_out(worktree, hostile)

        assert list(outside.iterdir()) == []

    def test_a_link_that_becomes_a_folder_is_not_written_through(self, worktree: Worktree, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "file").write_bytes(b"theirs")
        first = commit_all(worktree, {b"d": Link(os.fsencode(outside))})
        second = commit_all(worktree, {b"d/file": b"ours", b"d/other": b""})

        check_out(worktree, first)
        check_out(worktree, second)
        assert read_files(worktree.root) == {b"d/file": b"ours", b"d/other": b""}
        check_out(worktree, first)

        assert read_files(outside) == {b"file": b"theirs"}

    def test_a_folder_that_the_user_made_a_link_is_not_written_or_removed_through(
        self, worktree: Worktree, tmp_path: Path
    ) -> None:
        outside = tmp_path / "outside"
        first = commit_all(worktree, {b"d/file": b"1", b"d/old": b"1"})
        second = commit_all(worktree, {b"d/file": b"2"})
        check_out(worktree, first)
        (worktree.root / "d").rename(outside)
        (worktree.root / "d").symlink_to(outside)

        with pytest.raises(LocalChangesError):
            check_out(worktree, second)
        assert read_files(outside) == {b"file": b"1", b"old": b"1"}
        check_out(worktree, second, force=True)

        assert read_files(outside) == {b"file": b"1", b"old": b"1"}
        assert read_files(worktree.root) == {b"d/file": b"2"}

    def test_a_link_put_there_after_the_check_is_not_followed_either(self, worktree: Worktree, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        (worktree.root / "d").symlink_to(outside)

        with pytest.raises(FolderInTheWayError):
            materialise(worktree, [Change(None, Entry(b"d/e/file", EntryKind.FILE, 0, EMPTY_DIGEST))], {})

        assert list(outside.iterdir()) == []


def _check_out_copy(root: Path, version: ObjectId) -> None:
    check_out(open_copy(root), version)


class TestLargeFiles:
    """Files that are made aside and hashed as a whole."""

    SIZE = LARGE_FILE + 5

    def damage(self, worktree: Worktree) -> None:
        """Flip a bit in the middle of the largest pack."""
        pack = max((worktree.store.files.root / "packs").glob("*/*"), key=lambda path: path.stat().st_size)
        data = bytearray(pack.read_bytes())
        data[len(data) // 2] ^= 1
        pack.chmod(0o644)
        pack.write_bytes(data)

    def left_over(self, worktree: Worktree) -> list[Path]:
        return list((worktree.control / "tmp").iterdir())

    def test_it_comes_back_new_or_in_the_place_of_another(self, worktree: Worktree) -> None:
        files: Files = {b"d/large": _content(self.SIZE, 1), b"run": Executable(b"ab" * self.SIZE)}
        large = commit_all(worktree, files)
        small = commit_all(worktree, {b"d/large": b"1", b"run": b"2"})
        check_out(worktree, large)
        assert read_files(worktree.root) == files
        check_out(worktree, small)
        clear(worktree.root)

        check_out(worktree, large, force=True)

        assert read_files(worktree.root) == files
        assert is_clean(worktree)
        assert self.left_over(worktree) == []

    @pytest.mark.parametrize("replaced", [False, True])
    @pytest.mark.parametrize("size", [SIZE, 600 * KIB, 5 * KIB])
    def test_a_damaged_one_is_at_no_path_and_the_pack_is_named(
        self, worktree: Worktree, size: int, *, replaced: bool
    ) -> None:
        before: Files = {b"large": b"before"} if replaced else {b"other": b"before"}
        small = commit_all(worktree, before)
        large = commit_all(worktree, {b"large": _content(size, 2)})
        check_out(worktree, small)
        self.damage(worktree)

        with pytest.raises(CorruptionError, match=r"is damaged in pack "):
            check_out(worktree, large)

        assert read_files(worktree.root) == (before if replaced else {})
        assert self.left_over(worktree) == []

    def test_chunks_that_are_right_and_do_not_make_the_file_are_noticed(self, worktree: Worktree) -> None:
        version = commit_all(worktree, {b"large": _content(self.SIZE, 3)})
        entry = next(iter(tree_of(worktree, version).entries()))
        liar = Entry(b"liar", EntryKind.FILE, entry.size, bytes(32), entry.blob)

        with pytest.raises(CorruptionError, match="liar"):
            materialise(worktree, [Change(None, liar)], {})

        assert not (worktree.root / "liar").exists()

    def test_what_appears_meanwhile_at_its_path_is_not_overwritten(self, worktree: Worktree) -> None:
        version = commit_all(worktree, {b"large": _content(self.SIZE, 4)})
        entry = next(iter(tree_of(worktree, version).entries()))
        (worktree.root / "large").write_bytes(b"mine")

        with pytest.raises(StorageError, match="large"):
            materialise(worktree, [Change(None, entry)], {})

        assert read_files(worktree.root) == {b"large": b"mine"}
        assert self.left_over(worktree) == []

    def test_one_that_was_killed_anywhere_is_finished(self, worktree: Worktree, tmp_path: Path) -> None:
        files: Files = {b"large": _content(self.SIZE, 5)}
        large = commit_all(worktree, files)
        check_out(worktree, commit_all(worktree, {b"other": b"1"}))
        worktree.stat_cache.close()
        for step in range(200):
            root = tmp_path / str(step)
            shutil.copytree(worktree.root, root)
            killed = killed_at_step(step, partial(_check_out_copy, root, large))
            copy = open_copy(root)
            if resume(copy) is not None:
                assert read_files(root) == files
            elif not killed:
                break
            copy.stat_cache.close()
            shutil.rmtree(root)
        else:
            pytest.fail("the checkout has more steps than were tried")


class TestModes:
    @pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
    def test_the_umask_is_respected_and_nothing_is_set_beyond_it(self, worktree: Worktree, umask: int) -> None:
        version = commit_all(worktree, {b"file": b"1", b"run": Executable(b"2"), b"d/file": b"3"})
        clear(worktree.root)
        before = os.umask(umask)
        try:
            check_out(worktree, version, force=True)
        finally:
            os.umask(before)

        modes = {path: stat.S_IMODE((worktree.root / path).stat().st_mode) for path in ("file", "run", "d")}
        # A file that is shared with the cache is not writable; otherwise it is.
        assert modes["file"] in (0o666 & ~umask, 0o444 & ~umask)
        assert modes["run"] in (0o777 & ~umask, 0o555 & ~umask)
        assert modes["d"] == 0o777 & ~umask

    def test_a_setuid_bit_is_not_versioned(self, worktree: Worktree) -> None:
        write_files(worktree.root, {b"run": Executable(b"1")})
        (worktree.root / "run").chmod(0o6755)
        version = commit_all(worktree)
        clear(worktree.root)

        check_out(worktree, version, force=True)

        assert not (worktree.root / "run").stat().st_mode & (stat.S_ISUID | stat.S_ISGID)


class TestCaseFolding:
    def test_it_is_noticed_that_capitals_name_the_same_folder(self, tmp_path: Path) -> None:
        control = tmp_path / ".dsvc"
        control.mkdir()

        assert folds_case(control, lambda path: path.name.lower())
        assert not folds_case(control, lambda path: path.name)
        assert not folds_case(control, lambda path: path.name if path == control else None)

    def test_this_filesystem_is_asked(self, tmp_path: Path) -> None:
        control = tmp_path / ".dsvc"
        control.mkdir()

        assert folds_case(control) == (tmp_path / ".DSVC").exists()

    @pytest.mark.parametrize(
        ("paths", "collision"),
        [
            ([b"a", b"b", b"a/b"], None),
            ([b"A/x", b"B", b"a/x"], (b"A/x", b"a/x")),
            ([b"A/x", b"a/y"], (b"A", b"a")),
            ([b"README", b"readme"], (b"README", b"readme")),
            (["é".encode(), "e\u0301".encode()], ("é".encode(), "e\u0301".encode())),
            ([b"\xffA", b"\xffa"], (b"\xffA", b"\xffa")),
            (["straße".encode(), b"STRASSE"], ("straße".encode(), b"STRASSE")),
        ],
    )
    def test_names_that_a_folding_filesystem_takes_for_one_collide(
        self, paths: list[bytes], collision: tuple[bytes, bytes] | None
    ) -> None:
        assert find_collision(paths) == collision

    def test_a_collision_is_refused(self) -> None:
        with pytest.raises(NameCollisionError, match="Read and read would be the same file"):
            refuse_collisions([b"Read", b"read"])


class TestConcurrentRefs:
    def test_changes_of_other_refs_come_with_the_head_or_not_at_all(self, worktree: Worktree) -> None:
        first = commit_all(worktree, {b"a": b"1"})
        commit_all(worktree, {b"a": b"2"})
        made = RefChange("refs/heads/topic", None, first.hex())

        switch_to(worktree, "refs/heads/topic", tree_of(worktree, first), changes=lambda _: [made])

        state = worktree.store.state()
        assert state.value("refs/heads/topic") == first.hex()
        assert worktree.session(state).head == "refs/heads/topic"
        assert is_clean(worktree)
