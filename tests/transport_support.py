"""What the tests of push, fetch and fsck share: stores made directly, and versions written as dictionaries."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path

from blake3 import blake3

from dsvc.history.commits import Commits
from dsvc.history.store import Store
from dsvc.history.tree import Tree
from dsvc.log.entry import RefChange
from dsvc.log.log import Log
from dsvc.maintenance.findings import Report
from dsvc.maintenance.fsck import fsck
from dsvc.model.codec import FORMAT_VERSION, encode
from dsvc.model.commit import Commit
from dsvc.model.context import Context
from dsvc.model.ids import Kind, ObjectId, hash_object
from dsvc.model.tree import Entry, EntryKind
from dsvc.odb.blob_writer import BlobBuilder, chunks_of
from dsvc.storage.backend import Backend
from dsvc.storage.local import LocalBackend
from dsvc.transport.push import PushRejectedError, push
from dsvc.transport.refspec import parse_refspec
from dsvc.transport.remote import Remote
from dsvc.transport.updates import Exchange
from dsvc.worktree.workers import Workers

__all__ = [
    "Files",
    "assert_whole",
    "commit",
    "files_of",
    "make_context",
    "make_store",
    "make_tag",
    "noise",
    "push_refs",
    "remote_of",
    "try_push",
    "values",
]

Files = Mapping[bytes, bytes]

_PIECE = 100_000
_numbers = count()


def noise(seed: int, length: int) -> bytes:
    """Bytes that no compressor shrinks, the same for the same *seed*."""
    return blake3(b"%d" % seed).digest(length=length)


def make_context(name: str = "ada") -> Context:
    ticks = count(1_785_000_000_000_000, 1_000_000)
    return Context(
        author=lambda: f"{name} <{name}@example.org>",
        actor=f"{name}@host",
        command="test",
        now=lambda: (next(ticks), 0),
        nonce=lambda: f"{name}-{next(_numbers):032}",
    )


def make_store(folder: Path, name: str = "ada") -> Store:
    backend = LocalBackend(folder)
    context = make_context(name)
    return Store(backend, context, log=Log.create(backend, store_id=context.nonce()))


def remote_of(backend: Backend, folder: Path | None = None, name: str = "origin") -> Remote:
    """A remote seen anew, as by another process."""
    return Remote(name, "somewhere", backend, make_context("remote"), folder)


def commit(
    store: Store,
    files: Files,
    *parents: ObjectId,
    branch: str | None = "main",
    unused: Sequence[bytes] = (),
    time: int | None = None,
) -> ObjectId:
    """Make a version of *files*, and let *branch* be there; *unused* contents are stored too, and in no version."""
    writer = store.writer()
    for content in unused:
        writer.write(Kind.CHUNK, content)
    old = parents[0] if parents else None
    base = Commits(store.objects).tree(old)
    edits: dict[bytes, Entry | None] = {entry.path: None for entry in base.entries() if entry.path not in files}
    for path, content in files.items():
        chunks = [content[start : start + _PIECE] for start in range(0, len(content), _PIECE)]
        blob = None
        builder = BlobBuilder()
        for chunk in chunks:
            builder.add(writer.write(Kind.CHUNK, chunk), len(chunk))
        if len(chunks) > 1:
            for data in builder.finish():
                blob = bytes(writer.write(Kind.BLOB, data))
        digest = bytes(hash_object(Kind.CHUNK, content))
        edits[path] = Entry(path, EntryKind.FILE, len(content), digest, blob)
    tree = base.apply(writer, edits.items())
    if not edits and old is None:
        Tree.empty(writer)
    totals = tree.totals()
    moment = time if time is not None else store.context.now()[0]
    made = Commit(
        FORMAT_VERSION,
        tree.root,
        [bytes(parent) for parent in parents],
        store.context.author(),
        moment,
        0,
        f"version {next(_numbers)}",
        "{}",
        [],
        totals.files,
        totals.size,
    )
    commit_id = writer.write(Kind.COMMIT, encode(made))
    sealed = [writer.seal()]
    ref = f"refs/heads/{branch}"
    store.publish(lambda state: [RefChange(ref, state.value(ref), commit_id.hex())] if branch else [], sealed)
    return commit_id


def make_tag(store: Store, name: str, target: ObjectId) -> None:
    store.publish(lambda state: [RefChange(f"refs/tags/{name}", state.value(f"refs/tags/{name}"), target.hex())])


def push_refs(local: Store, remote: Remote, *refspecs: str, dry_run: bool = False) -> Exchange:
    return push(local, remote, list(map(parse_refspec, refspecs or ("main",))), dry_run=dry_run, workers=Workers(2))


def try_push(local: Store, remote: Remote, *refspecs: str) -> bool:
    """Push; tell whether all of it landed."""
    with suppress(PushRejectedError):
        push_refs(local, remote, *refspecs)
        return True
    return False


def values(store: Store, prefix: str = "refs/") -> dict[str, str]:
    """What the refs are, without the first part of their names."""
    state = store.state()
    return {ref.removeprefix(prefix): state.refs[ref].value for ref in state.refs if ref.startswith(prefix)}


def files_of(store: Store, commit_id: bytes | str) -> dict[bytes, bytes]:
    """The content of every path of a version, each verified."""
    objects = store.objects
    one = ObjectId.from_hex(commit_id) if isinstance(commit_id, str) else commit_id
    found = {}
    for entry in Commits(objects).tree(one).entries():
        if entry.blob is not None:
            ids = [item.id for item in chunks_of(objects, entry.blob, entry.size)]
        else:
            ids = [entry.digest] if entry.size else []
        found[entry.path] = b"".join(objects.read_many(Kind.CHUNK, ids))
    return found


def assert_whole(backend: Backend) -> Report:
    """Check a store as another process would; return what was found."""
    report = fsck(Store(backend, make_context("fsck")))
    assert not report.is_damaged, [str(finding) for finding in report.findings]
    return report
