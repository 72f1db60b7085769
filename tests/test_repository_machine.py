"""The whole repository against a plain dictionary model, through the verbs of the library.

Two views of one repository (two processes, as far as the library can tell) do by turns what people
do: write, rename and remove files, also unseen by any clock; stage, commit, branch, switch, reset,
restore and undo. After each step the files, what is staged and the status are as the model says.
"""

import dataclasses
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import pytest
from blake3 import blake3
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from dsvc.config import Config
from dsvc.errors import AlreadyExistsError, ConflictError, NotFoundError
from dsvc.history.branches import create_branch, delete_branch
from dsvc.history.content import read_content
from dsvc.history.diff import Change
from dsvc.history.merge_heads import Head
from dsvc.history.revisions import Target
from dsvc.history.tags import create_tag, delete_tag
from dsvc.history.tree import Tree
from dsvc.log.state import State
from dsvc.log.verify import verify_log
from dsvc.maintenance.fsck import fsck
from dsvc.model.ids import Kind, ObjectId
from dsvc.model.tree import EMPTY_FOLDER_DIGEST, EntryKind
from dsvc.repository import open_worktree
from dsvc.worktree.add import What, add
from dsvc.worktree.checkout import materialise
from dsvc.worktree.commit import NothingToCommitError, commit
from dsvc.worktree.merge import MergeOptions, abort, merge
from dsvc.worktree.move import move, plan_moves
from dsvc.worktree.pathspec import Pathspec
from dsvc.worktree.remove import plan_removal, remove
from dsvc.worktree.reset import ResetMode, reset
from dsvc.worktree.restore import restore
from dsvc.worktree.status import read_status
from dsvc.worktree.switch import detach, switch_to_branch, switch_to_new_branch
from dsvc.worktree.undo import undo
from dsvc.worktree.unmerged import read_unmerged
from dsvc.worktree.worktree import Worktree
from tests.repository_model import (
    Merging,
    Model,
    Refused,
    Snapshot,
    above,
    at_or_below,
    carried,
    changed,
    merged,
    replaced,
)
from tests.worktree_support import (
    EMPTY_FOLDER,
    Content,
    EmptyFolder,
    Executable,
    Link,
    make_context,
    make_worktree,
    place,
    read_files,
    write_files,
)

# Memory where there is some: each step syncs files.
FASTEST: Final = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 (a folder of our own is made in it)

MANY_CHUNKS: Final = random.Random(1).randbytes(700_000)  # noqa: S311
CONTENTS: Final[list[Content]] = [
    b"",
    b"1",
    b"2",
    b"3",
    b"x" * 5000,
    EMPTY_FOLDER,
    MANY_CHUNKS,
    MANY_CHUNKS[:300_000] + b"!" + MANY_CHUNKS[300_001:],
    Executable(b"1"),
    Executable(b"#!"),
    Link(b"a"),
    Link(b"no such\xff"),
]
ONE_OF: Final[dict[Content, Content]] = {content: content for content in CONTENTS}
FIRST: Final[dict[bytes, Content]] = {
    b"a/a": b"1",
    b"a/b/a": MANY_CHUNKS,
    b"a.\xff": EMPTY_FOLDER,
    b"b": b"2",
}
SECOND: Final[dict[bytes, Content]] = {
    b"a/a": Executable(b"1"),
    b"a/b": Link(b"a"),
    b"a.\xff": b"1",
    b"b": EMPTY_FOLDER,
}
# Few, so that they meet: files and folders of one name, and names that sort differently as keys.
PATHS: Final = [b"a", b"a/a", b"a/b", b"a/b/a", b"a.\xff", b"b", b"b/a"]
COMMANDS: Final = ["init", "add", "rm", "mv", "restore", "commit", "branch", "tag", "switch", "reset", "undo", "merge"]
BRANCHES: Final = ["main", "topic", "deep/topic"]

Place = tuple[bytes, int, int, bytes]

paths = st.sampled_from(PATHS)
destinations = st.sampled_from([*PATHS, b"moved", b"too", b"a/moved", b"b/moved", b"moved/too"])
choices = st.integers(0, 9)
regions = st.sampled_from([b"", *PATHS])
# By number: what is drawn from is written out for each step, and kept, a megabyte each time.
contents = st.integers(0, len(CONTENTS) - 1).map(lambda number: CONTENTS[number])
views = st.integers(0, 1)


def chosen(files: Iterable[bytes], choice: int) -> bytes | None:
    """Return one of *files* or of the folders above them, if there are any."""
    found = sorted({path for file in files for path in (file, *above(file))})
    return found[choice % len(found)] if found else None


def places(files: dict[bytes, Content]) -> set[Place]:
    """Return what a tree should say of *files*: path, kind, size and digest."""
    return {_place(path, content) for path, content in files.items()}


def _place(path: bytes, content: Content) -> Place:
    if isinstance(content, EmptyFolder):
        return path, int(EntryKind.FOLDER), 0, EMPTY_FOLDER_DIGEST
    kind, data = EntryKind.FILE, content
    if isinstance(content, Executable):
        kind, data = EntryKind.EXECUTABLE, content.content
    elif isinstance(content, Link):
        kind, data = EntryKind.SYMLINK, content.target
    assert isinstance(data, bytes)
    return path, int(kind), len(data), blake3(data).digest()


def tree_places(tree: Tree) -> set[Place]:
    return {(entry.path, entry.kind, entry.size, entry.digest) for entry in tree.entries()}


class RepositoryMachine(RuleBasedStateMachine):
    """One repository, seen by two *views*, and the *model* of it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="dsvc-machine-", dir=FASTEST))
        self.root = self.folder / "root"
        self.model = Model()
        self.contexts = {name: make_context(name) for name in COMMANDS}
        self.views = [make_worktree(self.root, self.contexts["init"]), self.open()]
        self.view = self.views[0]
        self.exports = 0
        self.looks_often = True

    def open(self) -> Worktree:
        return open_worktree(self.root / ".dsvc", self.contexts["init"], Config())

    @initialize(looks_often=st.booleans(), merges=st.booleans())
    def begin(self, *, looks_often: bool, merges: bool) -> None:
        # A status remembers what it saw: where nobody looks, other things go wrong.
        self.looks_often = looks_often
        # Two versions that differ in all ways, so that there is something to do from the start.
        for files in (FIRST, SECOND):
            for path, content in files.items():
                self.put(path, content)
            self.add(b"")
            self.commit(allow_empty=False, amend=False)
        # And a branch that is in conflict with them.
        self.switch_to_new_branch(0, "topic")
        self.put(b"a/a", b"3")
        self.put(b"b/a", b"3")
        self.put(b"a.\xff/a", b"3")
        self.add(b"")
        self.commit(allow_empty=False, amend=False)
        self.switch_to_branch("main")
        if merges:
            self.merge(2)
            assert self.model.undecided
        self.put(b"a/b/a", b"3")

    # What people do with files.

    def look(self) -> None:
        """Let the model have the files as they are."""
        # One object for each content: a run of the machine keeps hundreds of copies.
        self.model.files = {path: ONE_OF.setdefault(found, found) for path, found in read_files(self.root).items()}

    def put(self, path: bytes, content: Content) -> None:
        target = place(self.root, path)
        for folder in above(path):
            found = place(self.root, folder)
            if found.is_symlink() or found.is_file():
                # The last one to close it may still be at it.
                found.unlink(missing_ok=True)
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        elif target.is_symlink() or target.exists():
            target.unlink()
        write_files(self.root, {path: content})
        self.look()

    @rule(path=paths, content=contents)
    def write(self, path: bytes, content: Content) -> None:
        self.put(path, content)

    @rule(choice=choices, how=st.sampled_from(["in place", "unseen by size and mtime", "touched", "executable"]))
    def edit(self, choice: int, how: str) -> None:
        files = sorted(path for path, content in self.model.files.items() if isinstance(content, bytes | Executable))
        if not files:
            return
        target = place(self.root, files[choice % len(files)])
        before = target.stat()
        if how == "in place":
            target.write_bytes(b"%d" % choice)
        elif how == "executable":
            target.chmod(before.st_mode ^ 0o111)
        elif how == "touched":
            os.utime(target, ns=(0, before.st_mtime_ns + choice - 10))
        elif before.st_size:
            with target.open("r+b") as file:
                first = file.read(1)[0]
                file.seek(0)
                file.write(bytes([first ^ 1]))
            os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
        self.look()

    @rule(choice=choices)
    def delete(self, choice: int) -> None:
        path = chosen(self.model.files, choice)
        if path is None:
            return
        target = place(self.root, path)
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink()
        self.look()

    def is_free(self, path: bytes) -> bool:
        """Tell whether something may be moved to *path*: the folder is there, and nothing in it of that name."""
        folder = path.rpartition(b"/")[0]
        is_reached = not any(place(self.root, one).is_symlink() for one in above(path))
        return is_reached and place(self.root, folder).is_dir() and not at_or_below(self.model.files, path)

    @rule(choice=choices, destination=destinations)
    def rename(self, choice: int, destination: bytes) -> None:
        source = chosen(self.model.files, choice)
        if source is None or at_or_below([destination], source) or not self.is_free(destination):
            return
        place(self.root, source).rename(place(self.root, destination))
        self.look()

    # What they do with dsvc.

    @rule(view=views)
    def take_turns(self, view: int) -> None:
        self.view = self.views[view]

    @rule(lose_the_cache=st.booleans())
    def open_again(self, *, lose_the_cache: bool) -> None:
        for view in self.views:
            view.stat_cache.close()
        if lose_the_cache:
            for found in (self.root / ".dsvc").glob("worktree.db*"):
                found.unlink()
        self.views = [self.open(), self.open()]
        self.view = self.views[0]

    def state(self) -> State:
        return self.view.store.state()

    def begin_command(self, name: str) -> None:
        self.view.store.context = self.contexts[name]

    def attempt(self, expected: Callable[[], None], action: Callable[[], object], before: Snapshot) -> bool:
        """Do *action*, which should do to the model what *expected* does, or be refused as that is."""
        kept = dataclasses.replace(self.model)
        try:
            expected()
        except Refused:
            self.model = kept
            with pytest.raises((AlreadyExistsError, ConflictError, NotFoundError)):
                action()
            return False
        action()
        self.model.remember(before)
        return True

    @rule(region=regions)
    def add(self, region: bytes) -> None:
        self.begin_command("add")

        def expected() -> None:
            staged = self.model.after_add(region)
            self.model.decide([*staged, *self.model.staged] if not region else [])
            self.model.decide(at_or_below(self.model.undecided, region))
            self.model.decide(changed(staged, self.model.staged))
            self.model.staged = staged

        pathspec = Pathspec([region] if region else [])
        self.attempt(expected, lambda: add(self.view, self.state(), What(pathspec)), self.model.snapshot())

    @precondition(lambda self: self.model.staged)
    @rule(choice=choices, cached=st.booleans(), force=st.booleans())
    def rm(self, choice: int, *, cached: bool, force: bool) -> None:
        region = chosen(self.model.staged, choice)
        assert region is not None
        self.begin_command("rm")

        def expected() -> None:
            tracked = at_or_below(self.model.staged, region)
            self.model.files, self.model.staged = self.model.after_rm(region, cached=cached, force=force)
            self.model.decide(tracked)

        def action() -> None:
            plan = plan_removal(self.view, self.state(), Pathspec([region]), keep_files=cached, force=force)
            remove(self.view, plan)

        self.attempt(expected, action, self.model.snapshot(takes_files=True))

    @precondition(lambda self: self.model.staged)
    @rule(choice=choices, destination=destinations)
    def mv(self, choice: int, destination: bytes) -> None:
        model = self.model
        source = chosen(model.staged, choice)
        if source is None or not at_or_below(model.files, source):
            return
        if (
            at_or_below([destination], source)
            or at_or_below(model.staged, destination)
            or not self.is_free(destination)
        ):
            return
        self.begin_command("mv")

        def expected() -> None:
            staged = self.model.staged
            self.model.files, self.model.staged = self.model.after_mv(source, destination)
            self.model.decide(changed(staged, self.model.staged))

        self.attempt(
            expected,
            lambda: move(self.view, plan_moves(self.view, self.state(), [source], destination)),
            self.model.snapshot(takes_files=True),
        )

    @precondition(lambda self: self.model.staged)
    @rule(choice=choices, staged=st.booleans(), files=st.booleans(), version=choices)
    def restore(self, choice: int, *, staged: bool, files: bool, version: int) -> None:
        files = files or not staged
        self.begin_command("restore")
        commits: list[str | None] = [self.model.commit, *self.model.versions]
        picked = commits[version % len(commits)]
        # Without a source, files are restored from what is staged.
        from_index = not staged and version % 2
        source = self.model.staged if from_index else self.model.version(picked)
        region = chosen({*self.model.staged, *source}, choice)
        assert region is not None

        def expected() -> None:
            undecided = at_or_below(self.model.undecided, region)
            if undecided and not staged and source == self.model.staged:
                raise Refused
            if files:
                self.model.files = self.model.after_restore(source, region)
            if staged:
                before = self.model.staged
                self.model.staged = replaced(before, source, region)
                self.model.decide([*undecided, *changed(before, self.model.staged)])

        def action() -> None:
            state = self.state()
            tree = self.view.staged_tree(state) if from_index else self.tree(picked)
            restore(self.view, state, tree, Pathspec([region]), staged=staged, files=files)

        self.attempt(expected, action, self.model.snapshot())

    def tree(self, commit_id: str | None) -> Tree:
        objects = self.view.store.objects
        return Tree(objects, None if commit_id is None else self.view.commit_of(bytes.fromhex(commit_id)).tree)

    @rule(allow_empty=st.booleans(), amend=st.booleans())
    def commit(self, *, allow_empty: bool, amend: bool) -> None:
        model = self.model
        self.begin_command("commit")
        amend = amend and model.commit is not None
        if model.undecided or (amend and model.merging):
            with pytest.raises(ConflictError):
                commit(self.view, self.state(), "a message", amend=amend)
            return
        merging = [model.merging.head] if model.merging else []
        allow_empty = allow_empty or bool(merging)
        if not (allow_empty or amend) and model.staged == model.committed:
            with pytest.raises(NothingToCommitError):
                commit(self.view, self.state(), "a message")
            return
        before = model.snapshot()
        parent = model.commit

        made = commit(self.view, self.state(), "a message", amend=amend, allow_empty=allow_empty).id.hex()

        parents = [*([] if parent is None else [parent]), *merging]
        model.merging = None
        model.parents[made] = model.parents[parent] if amend and parent is not None else parents
        model.versions[made] = model.staged
        self.head_to(made)
        model.remember(before)

    def head_to(self, commit_id: str) -> None:
        """Let the current branch, or a detached HEAD, be at *commit_id* in the model."""
        if self.model.is_detached:
            self.model.head = commit_id
        else:
            self.model.branches = self.model.branches | {self.model.head: commit_id}

    @precondition(lambda self: self.model.commit)
    @rule(name=st.sampled_from(BRANCHES))
    def branch(self, name: str) -> None:
        model = self.model
        self.begin_command("branch")
        current = None if model.is_detached else f"refs/heads/{model.head}"
        assert model.commit is not None

        def expected() -> None:
            if name in model.branches:
                raise Refused
            self.model.branches = model.branches | {name: str(model.commit)}

        self.attempt(
            expected,
            lambda: create_branch(self.view.store, name, ObjectId.from_hex(str(model.commit)), current=current),
            model.snapshot(),
        )

    @rule(name=st.sampled_from(BRANCHES))
    def delete_branch(self, name: str) -> None:
        model = self.model
        if name not in model.branches or name == model.head:
            return
        self.begin_command("branch")
        before = model.snapshot()

        where = delete_branch(self.view.store, f"refs/heads/{name}", merged_into=None)

        assert where.hex() == model.branches[name]
        model.branches = {other: value for other, value in model.branches.items() if other != name}
        model.remember(before)

    @precondition(lambda self: self.model.versions)
    @rule(number=choices, name=st.sampled_from(["v1", "v2"]), annotated=st.booleans())
    def tag(self, number: int, name: str, *, annotated: bool) -> None:
        model = self.model
        self.begin_command("tag")
        before = model.snapshot()
        if name in model.tags:
            assert delete_tag(self.view.store, name).hex() == model.tags[name]
            model.tags = {other: value for other, value in model.tags.items() if other != name}
            model.remember(before)
            return
        commit_id = ObjectId.from_hex(self.version(number))

        create_tag(self.view.store, name, Target(commit_id, Kind.COMMIT), message="a tag" if annotated else None)

        value = self.state().value(f"refs/tags/{name}")
        assert value is not None
        assert (value == commit_id.hex()) is not annotated
        model.tags = model.tags | {name: value}
        model.remember(before)

    def version(self, number: int) -> str:
        versions = list(self.model.versions)
        return versions[number % len(versions)]

    def switch(self, wanted: str | None, head: str, action: Callable[[], object], **made: str) -> None:
        before = self.model.snapshot(moves_files=True)

        def expected() -> None:
            model = self.model
            if model.merging:
                raise Refused
            staged = carried(model.committed, model.staged, model.version(wanted))
            model.files = model.after_switch(staged)
            model.staged = staged
            model.head = head
            model.branches = model.branches | made

        self.begin_command("switch")
        self.attempt(expected, action, before)

    @rule(name=st.sampled_from(BRANCHES))
    def switch_to_branch(self, name: str) -> None:
        if name not in self.model.branches:
            return
        self.switch(self.model.branches[name], name, lambda: switch_to_branch(self.view, name))

    @precondition(lambda self: self.model.versions)
    @rule(number=choices, name=st.sampled_from(BRANCHES))
    def switch_to_new_branch(self, number: int, name: str) -> None:
        if name in self.model.branches:
            return
        commit_id = self.version(number)
        self.switch(
            commit_id,
            name,
            lambda: switch_to_new_branch(self.view, name, ObjectId.from_hex(commit_id)),
            **{name: commit_id},
        )

    @precondition(lambda self: self.model.versions)
    @rule(number=choices)
    def detach(self, number: int) -> None:
        commit_id = self.version(number)
        self.switch(commit_id, commit_id, lambda: detach(self.view, ObjectId.from_hex(commit_id)))

    @precondition(lambda self: self.model.versions)
    @rule(number=choices, mode=st.sampled_from(ResetMode))
    def reset(self, number: int, mode: ResetMode) -> None:
        model = self.model
        self.begin_command("reset")
        commit_id = self.version(number)
        before = model.snapshot(moves_files=mode is ResetMode.HARD)
        if model.merging and mode is ResetMode.SOFT:
            with pytest.raises(ConflictError):
                reset(self.view, self.state(), ObjectId.from_hex(commit_id), mode)
            return

        reset(self.view, self.state(), ObjectId.from_hex(commit_id), mode)

        if mode is ResetMode.HARD:
            model.files = model.after_hard_reset(model.versions[commit_id])
        model.merging = None
        if mode is not ResetMode.SOFT:
            model.staged = model.versions[commit_id]
        self.head_to(commit_id)
        model.remember(before)

    @precondition(lambda self: self.model.commit and not self.model.merging)
    @rule(number=choices)
    def merge(self, number: int) -> None:
        model = self.model
        self.begin_command("merge")
        other, mine = self.version(number), str(model.commit)
        bases = model.merge_bases(mine, other)
        if len(bases) != 1:
            return
        before = model.snapshot(moves_files=True)
        wanted, conflicts = model.versions[other], frozenset[bytes]()
        is_forward = bases == [mine]
        if other not in model.ancestors(mine) and not is_forward:
            base, ours, theirs = (model.versions[one] for one in (bases[0], mine, other))
            wanted, conflicts = merged(base, ours, theirs, (b"HEAD", b"other"))

        def expected() -> None:
            model = self.model
            if is_forward and mine != other:
                staged = carried(model.committed, model.staged, wanted)
                model.files, model.staged = model.after_switch(staged), staged
                self.head_to(other)
                return
            if other in model.ancestors(mine):
                return
            if model.staged != model.committed:
                raise Refused
            model.files = model.after_merge(wanted, conflicts)
            model.staged = wanted
            model.merging = Merging(other, conflicts)

        def action() -> None:
            # A merge with a commit of its own is one that is concluded at once: that is another rule.
            options = MergeOptions(commits=False)
            merge(self.view, [Head(ObjectId.from_hex(other), "other")], "a merge", options)

        self.attempt(expected, action, before)

    @precondition(lambda self: self.model.merging)
    @rule()
    def abort(self) -> None:
        self.begin_command("merge")

        def expected() -> None:
            model = self.model
            model.files = model.after_abort(model.committed)
            model.staged, model.merging = model.committed, None

        self.attempt(expected, lambda: abort(self.view), self.model.snapshot(moves_files=True))

    @precondition(lambda self: self.model.done)
    @rule()
    def undo(self) -> None:
        model = self.model
        last = model.done[-1]
        self.begin_command("undo")
        try:
            files = model.files
            if last.moves_files:
                files = model.after_switch(last.staged)
            elif last.takes_files:
                files = model.after_taking_back(last.staged)
        except Refused:
            with pytest.raises(ConflictError):
                undo(self.view)
            return

        undo(self.view)

        model.files = files
        model.restore(model.done.pop())

    @precondition(lambda self: self.model.versions)
    @rule(number=choices)
    def check_out_elsewhere(self, number: int) -> None:
        self.check_version(self.version(number))

    def check_version(self, commit_id: str) -> None:
        self.exports += 1
        elsewhere = self.folder / f"export {self.exports}"
        (elsewhere / ".dsvc").mkdir(parents=True)
        other = Worktree(elsewhere, elsewhere / ".dsvc", self.view.store, Config())
        made = self.view.commit_of(bytes.fromhex(commit_id))
        tree = Tree(self.view.store.objects, made.tree)

        materialise(other, [Change(None, entry) for entry in tree.entries()], {})

        assert read_files(elsewhere) == self.model.versions[commit_id]
        assert [parent.hex() for parent in made.parents] == self.model.parents[commit_id]
        assert tree.totals() == (made.files, made.size)
        for entry in tree.entries():
            if entry.kind != EntryKind.FOLDER:
                assert blake3(read_content(self.view.store.objects, entry)).digest() == entry.digest

    # What holds after each step.

    @invariant()
    def the_files_are_as_they_should_be(self) -> None:
        assert read_files(self.root) == self.model.files

    @invariant()
    def the_refs_are_as_they_should_be(self) -> None:
        state = self.state()
        session = self.view.session(state)
        head = self.model.head if self.model.is_detached else f"refs/heads/{self.model.head}"
        refs = {f"refs/heads/{name}": value for name, value in self.model.branches.items()}
        refs |= {f"refs/tags/{name}": value for name, value in self.model.tags.items()}
        assert session.head == head
        assert session.switching is None
        assert session.merge == ([self.model.merging.head] if self.model.merging else [])
        unmerged = read_unmerged(self.view.store.objects, session)
        assert {conflict.path for conflict in unmerged} == self.model.undecided
        assert (session.staged is None) == (self.model.staged == self.model.committed)
        assert {name: ref.value for name, ref in state.refs.items() if "worktrees" not in name} == refs
        assert tree_places(self.view.staged_tree(state)) == places(self.model.staged)
        assert tree_places(self.view.head_tree(state)) == places(self.model.committed)

    @invariant()
    def the_status_is_always_right(self) -> None:
        if self.looks_often:
            self.the_status_is_right()

    @rule()
    def the_status_is_right(self) -> None:
        model = self.model

        status = read_status(self.view, self.state(), Pathspec())

        staged = {(change.old and change.old.path, change.new and change.new.path) for change in status.staged}
        assert staged == {
            (path if path in model.committed else None, path if path in model.staged else None)
            for path in {*model.committed, *model.staged}
            if model.committed.get(path) != model.staged.get(path) and path not in model.undecided
        }
        assert {change.path for change in status.unstaged} == set(model.unstaged()) - model.undecided
        assert sorted(status.untracked) == sorted(model.untracked())
        assert status.ignored == []

    def teardown(self) -> None:
        try:
            for commit_id in self.model.versions:
                self.check_version(commit_id)
            assert list(verify_log(self.view.store.log)) == []
            assert not fsck(self.view.store).is_damaged
        finally:
            for view in self.views:
                view.stat_cache.close()
            shutil.rmtree(self.folder)


RepositoryMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
TestRepositoryMachine = RepositoryMachine.TestCase


@pytest.mark.slow
def test_the_repository_machine_for_long() -> None:
    # Longer stories rather than more of them: a third of the time of a short one is its beginning and its end.
    run_state_machine_as_test(
        RepositoryMachine, settings=settings(max_examples=320, stateful_step_count=100, deadline=None)
    )
