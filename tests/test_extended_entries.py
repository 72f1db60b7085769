"""Links and metadata among files, whatever people do: nothing is forgotten, and the stat cache never lies."""

import shutil
from pathlib import Path
from tempfile import mkdtemp

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dsvc.datasets.link_edit import LinkPathTakenError, add_links
from dsvc.datasets.link_policy import LinkPolicy
from dsvc.datasets.link_targets import Target
from dsvc.datasets.links import Links
from dsvc.errors import DsvcError
from dsvc.history.extensions import extension_metadata, read_extensions
from dsvc.model.ids import ObjectId
from dsvc.model.tree import Entry, EntryKind
from dsvc.storage.foreign import ObjectState
from dsvc.worktree.checkout import LocalChangesError
from dsvc.worktree.metadata import change_meta_of_files
from dsvc.worktree.move import move, plan_moves
from dsvc.worktree.pathspec import Pathspec
from dsvc.worktree.remove import plan_removal, remove
from dsvc.worktree.restore import restore
from dsvc.worktree.stat_cache import entry_from_row
from dsvc.worktree.status import read_status, staged_cache
from tests.worktree_support import add_all, check_out, commit_all, make_worktree

PATHS = st.sampled_from([b"a", b"d/x", b"d/y", b"d/e/z"])
NUMBERS = st.integers(0, 11)
CONTENTS = st.sampled_from([b"one", b"two", b"three"])


class ExtendedEntries(RuleBasedStateMachine):
    """One worktree. *links* and *said* are what is staged, by path, as the tests know it."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(mkdtemp())
        self.worktree = make_worktree(self.folder / "work")
        self.open = Links(self.worktree.config, self.worktree.store.context, LinkPolicy())
        self.links: dict[bytes, str] = {}
        self.said: dict[bytes, int] = {}
        self.kept: dict[ObjectId, tuple[dict[bytes, str], dict[bytes, int]]] = {}
        self.write_and_add(b"a", b"one")
        self.write_and_add(b"d/x", b"two")
        self.link(b"d/y", "1")
        self.say(1, 0)

    def teardown(self) -> None:
        self.worktree.close()
        shutil.rmtree(self.folder)

    def staged(self) -> dict[bytes, Entry]:
        tree = self.worktree.staged_tree(self.worktree.store.state())
        return {entry.path: entry for entry in tree.entries() if entry.kind != EntryKind.FOLDER}

    def chosen(self, number: int) -> bytes | None:
        """One of the staged paths, if there is any."""
        paths = list(self.staged())
        return paths[number % len(paths)] if paths else None

    def forget(self, gone: set[bytes]) -> None:
        self.links = {path: url for path, url in self.links.items() if path not in gone}
        self.said = {path: value for path, value in self.said.items() if path not in gone}

    @rule(number=NUMBERS, content=CONTENTS)
    def edit_and_add(self, number: int, content: bytes) -> None:
        self.write_and_add(self.chosen(number) or b"a", content)

    @rule(path=PATHS, content=CONTENTS)
    def write_and_add(self, path: bytes, content: bytes) -> None:
        target = self.worktree.root / path.decode()
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        add_all(self.worktree)
        self.links.pop(path, None)

    @rule(path=PATHS, etag=st.sampled_from(["1", "2"]))
    def link(self, path: bytes, etag: str) -> None:
        url = f"s3://bucket/{path.decode()}"
        target = Target(path, ObjectState(url, 5, etag))
        there = path in self.staged() and path not in self.links
        try:
            add_links(self.worktree, self.worktree.store.state(), self.open, [target])
        except LinkPathTakenError:
            assert there or path in self.links or (self.worktree.root / path.decode()).exists()
        else:
            assert not there
            self.links[path] = url

    @rule(number=NUMBERS, value=st.integers(0, 3))
    def say(self, number: int, value: int) -> None:
        if path := self.chosen(number):
            state = self.worktree.store.state()
            change_meta_of_files(self.worktree, state, Pathspec([path]), lambda _, meta: meta | {"value": value})
            self.said[path] = value

    @rule(number=NUMBERS, destination=PATHS)
    def rename(self, number: int, destination: bytes) -> None:
        source = self.chosen(number) or b"nothing"
        try:
            moves = plan_moves(self.worktree, self.worktree.store.state(), [source], destination)
        except DsvcError:
            return
        move(self.worktree, moves)
        (one,) = moves
        if source in self.links:
            self.links[one.destination] = self.links.pop(source)
        if source in self.said:
            self.said[one.destination] = self.said.pop(source)

    @rule(number=NUMBERS)
    def remove(self, number: int) -> None:
        path = self.chosen(number) or b"nothing"
        removal = plan_removal(self.worktree, self.worktree.store.state(), Pathspec([path]), force=True)
        remove(self.worktree, removal)
        self.forget({path})

    @rule(number=NUMBERS, content=CONTENTS)
    def edit_and_restore(self, number: int, content: bytes) -> None:
        path = self.chosen(number)
        if path is None:
            return
        target = self.worktree.root / path.decode()
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        state = self.worktree.store.state()
        restore(self.worktree, state, self.worktree.staged_tree(state), Pathspec([path]))
        assert target.exists() is (path not in self.links)

    @rule()
    def commit(self) -> None:
        made = commit_all(self.worktree)
        self.kept[made] = dict(self.links), dict(self.said)

    @precondition(lambda self: self.kept)
    @rule(number=st.integers(0, 5), force=st.booleans())
    def go(self, number: int, *, force: bool) -> None:
        commit = ObjectId(list(self.kept)[number % len(self.kept)])
        carries = self.worktree.session(self.worktree.store.state()).staged is not None and not force
        try:
            check_out(self.worktree, commit, force=force)
        except LocalChangesError:
            return
        if carries:
            # What was staged came along; where it is, the commits agree.
            check_out(self.worktree, commit, force=True)
        self.links, self.said = dict(self.kept[commit][0]), dict(self.kept[commit][1])

    @invariant()
    def what_was_linked_and_said_is_staged(self) -> None:
        if not hasattr(self, "worktree"):
            return
        entries = list(self.staged().values())
        found = list(zip(entries, read_extensions(self.worktree.store.objects, entries), strict=True))
        assert {entry.path: one.link.url for entry, one in found if one.link is not None} == self.links
        meta = {entry.path: extension_metadata(one) for entry, one in found}
        assert {path: value["value"] for path, value in meta.items() if value} == self.said

    @invariant()
    def the_stat_cache_has_the_staged_entries_and_vouches_for_no_wrong_file(self) -> None:
        if not hasattr(self, "worktree"):
            return
        state = self.worktree.store.state()
        cached = [entry_from_row(key, packed) for key, _, packed in staged_cache(self.worktree, state).rows()]
        assert cached == list(self.worktree.staged_tree(state).entries())
        assert read_status(self.worktree, state, Pathspec()).unstaged == []


ExtendedEntries.TestCase.settings = settings(max_examples=20, stateful_step_count=12, deadline=None)
TestExtendedEntries = ExtendedEntries.TestCase
