"""What the tests of the history share: commits and refs made directly, without a worktree."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path

from dsvc.config import Config
from dsvc.history.commits import Commits
from dsvc.history.store import Store
from dsvc.history.tree import Tree
from dsvc.log.entry import RefChange
from dsvc.log.log import Log
from dsvc.log.state import State
from dsvc.model.blob import Blob, BlobItem
from dsvc.model.codec import FORMAT_VERSION, encode
from dsvc.model.commit import Commit, Tag
from dsvc.model.context import Context
from dsvc.model.ids import Kind, ObjectId, hash_object
from dsvc.model.tree import Entry, EntryKind
from dsvc.odb.objects import MemoryObjects, ObjectWriter
from dsvc.odb.writer import DatabaseWriter
from dsvc.repository import create_repository, open_worktree
from dsvc.storage.local import LocalBackend

__all__ = [
    "DAY",
    "NOON",
    "Clock",
    "Versions",
    "commit_object",
    "entry",
    "make_store",
    "move_refs",
    "random_commits",
    "tag_object",
]

DAY = 86_400_000_000
# 2026-08-01 12:00 UTC
NOON = 1_785_585_600_000_000


class Clock:
    """A clock that stands where it is put."""

    def __init__(self, time: int = NOON, offset: int = 0) -> None:
        self.time = time
        self.offset = offset

    def __call__(self) -> tuple[int, int]:
        return self.time, self.offset


def make_store(folder: Path, clock: Clock) -> Store:
    nonces = count()
    context = Context(lambda: "Ada <ada@example.org>", "ada@here", "test", clock, lambda: str(next(nonces)))
    backend = LocalBackend(folder)
    return Store(backend, context, log=Log.create(backend, store_id="0" * 32))


def commit_object(
    writer: ObjectWriter,
    parents: Sequence[bytes] = (),
    *,
    time: int = NOON,
    message: str = "message",
    tree: bytes | None = None,
) -> ObjectId:
    root = Tree.empty(writer) if tree is None else tree
    above = [bytes(one) for one in parents]
    author = "Ada <ada@example.org>"
    commit = Commit(FORMAT_VERSION, bytes(root), above, author, time, 0, message, "{}", [], 0, 0)
    return writer.write(Kind.COMMIT, encode(commit))


def tag_object(writer: ObjectWriter, target: bytes, name: str = "tag") -> ObjectId:
    tag = Tag(FORMAT_VERSION, bytes(target), name, "Ada <ada@example.org>", NOON, 0, "a tag")
    return writer.write(Kind.TAG, encode(tag))


def move_refs(store: Store, values: Mapping[str, ObjectId | str | None]) -> State:
    """Set refs, in one entry of the log; None deletes one."""

    def build(state: State) -> list[RefChange]:
        new = {ref: None if value is None else str(value) for ref, value in values.items()}
        return [RefChange(ref, state.value(ref), value) for ref, value in new.items()]

    return store.publish(build)


def random_commits(
    objects: MemoryObjects, shape: Iterable[tuple[Sequence[int], int]], roots: Sequence[bytes] = ()
) -> tuple[Commits, list[ObjectId]]:
    """Make a commit for each (numbers of parents, time) of *shape*; their trees are *roots*, in turn."""
    ids: list[ObjectId] = []
    for number, (parents, time) in enumerate(shape):
        tree = roots[number] if roots else None
        chosen = [ids[parent] for parent in parents]
        ids.append(commit_object(objects, chosen, time=time, message=f"commit {number}", tree=tree))
    return Commits(objects), ids


def entry(path: bytes, content: bytes = b"x") -> Entry:
    return Entry(path, EntryKind.FILE, len(content), bytes(hash_object(Kind.CHUNK, content)))


# Files longer than this get several chunks.
_CHUNK = 1000


class Versions:
    """Makes versions in a new repository in a folder, whose files stay away: quicker than the commands do."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        nonces = count()
        context = Context(lambda: "", "ada@here", "test", self.clock, lambda: f"version {next(nonces)}")
        create_repository(folder, context, store_id="0" * 32)
        self.store = open_worktree(folder / ".dsvc", context, Config()).store

    def make(
        self,
        files: Mapping[bytes, bytes],
        message: str = "message",
        *,
        parents: Sequence[bytes] = (),
        ref: str | None = "refs/heads/main",
        author: str = "Ada <ada@example.org>",
    ) -> ObjectId:
        """Commit *files*, by path, with *ref* as the branch that moves; a day after the one before.

        A path that ends with `@` is a symlink, with `*` an executable, with `/` an empty folder.
        """
        writer = self.store.writer()
        entries = [self._entry(writer, path, content) for path, content in files.items()]
        empty = Tree(self.store.objects, Tree.empty(writer))
        tree = empty.apply(writer, [(one.path, one) for one in entries])
        totals = tree.totals()
        self.clock.time += DAY
        made = Commit(
            FORMAT_VERSION,
            bytes(tree.root),
            [bytes(parent) for parent in parents],
            author,
            self.clock.time,
            120,
            message,
            "{}",
            [],
            totals.files,
            totals.size,
        )
        commit_id = writer.write(Kind.COMMIT, encode(made))
        self.publish(writer, {ref: commit_id} if ref else {})
        return commit_id

    def publish(self, writer: DatabaseWriter, refs: Mapping[str, ObjectId]) -> None:
        """Make what *writer* has part of the store, and move *refs*."""
        sealed = [writer.seal()]

        def build(state: State) -> list[RefChange]:
            return [RefChange(ref, state.value(ref), value.hex()) for ref, value in refs.items()]

        self.store.publish(build, sealed)

    def tag(self, name: str, target: bytes) -> ObjectId:
        """Make a tag object of *target*."""
        writer = self.store.writer()
        tag = tag_object(writer, target, name)
        self.publish(writer, {f"refs/tags/{name}": tag})
        return tag

    def _entry(self, writer: DatabaseWriter, path: bytes, content: bytes) -> Entry:
        marks = {b"@": EntryKind.SYMLINK, b"*": EntryKind.EXECUTABLE, b"/": EntryKind.FOLDER}
        kind = marks.get(path[-1:], EntryKind.FILE)
        path = path[:-1] if kind else path
        if kind == EntryKind.FOLDER:
            return Entry(path, kind, 0, b"")
        pieces = [content[at : at + _CHUNK] for at in range(0, len(content), _CHUNK)]
        items = [BlobItem(bytes(writer.write(Kind.CHUNK, piece)), len(piece)) for piece in pieces]
        blob = bytes(writer.write(Kind.BLOB, encode(Blob(FORMAT_VERSION, 0, items)))) if len(items) > 1 else None
        return Entry(path, kind, len(content), bytes(hash_object(Kind.CHUNK, content)), blob)
