"""Bundles: versions in a file, made by the rules of a push, for whoever has some of them already or none."""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec
from blake3 import blake3

from dsvc.errors import CorruptionError, NotFoundError
from dsvc.history.commits import Commits
from dsvc.history.datasets import infos_of
from dsvc.history.store import Store
from dsvc.log.entry import RefChange
from dsvc.log.log import Log
from dsvc.log.refs import HEADS, TAGS
from dsvc.log.state import Ref, State
from dsvc.model.ids import ID_LENGTH, Kind, ObjectId
from dsvc.model.paths import quote_path
from dsvc.odb.database import ObjectDatabase
from dsvc.odb.pack import of_generation
from dsvc.odb.pack_reader import open_pack, verified_pieces
from dsvc.odb.receive import PackReceiver
from dsvc.odb.segment import Location
from dsvc.progress import NO_PROGRESS, Progress
from dsvc.storage.backend import Backend
from dsvc.storage.bundle import MANIFEST, BundleBackend, Item, MalformedBundleError
from dsvc.storage.bundle_writer import BundleWriter
from dsvc.storage.memory import MemoryBackend
from dsvc.transport.closure import Closure, MissingObjectError, peel
from dsvc.transport.preparation import Preparation, missing_there, prepare
from dsvc.transport.transfer import send
from dsvc.worktree.session import SESSION_REF, Session

__all__ = [
    "Bundled",
    "NothingNewError",
    "PrerequisiteMissingError",
    "check_bundle",
    "check_whole",
    "create_bundle",
    "stand_on",
    "take_packs",
]

_SHOWN: Final = 3
_PACKS: Final = "packs/"


class NothingNewError(NotFoundError):
    """All versions are among those that the other side has."""

    def __init__(self) -> None:
        super().__init__("there is no version that the other side lacks")


class PrerequisiteMissingError(NotFoundError):
    """A bundle builds on versions that are not here."""

    def __init__(self, path: Path, commits: Sequence[ObjectId]) -> None:
        shown = ", ".join(one.short for one in commits[:_SHOWN])
        more = f" and {len(commits) - _SHOWN} more" if len(commits) > _SHOWN else ""
        name = quote_path(os.fsencode(path))
        super().__init__(f"the bundle {name} builds on versions that are not here: {shown}{more}")
        self.commits = list(commits)


class Bundled(msgspec.Struct, frozen=True):
    """A bundle that was made: its *files*, of *size* bytes, with so many *commits* and *objects* for *refs*."""

    files: list[Path]
    size: int
    refs: list[str]
    prerequisites: list[ObjectId]
    commits: int
    objects: int


def create_bundle(
    local: Store,
    path: Path,
    refs: Mapping[str, ObjectId],
    *,
    since: Sequence[ObjectId] = (),
    tags: bool = True,
    head: str | None = None,
    split: int | None = None,
    replace: bool = False,
    threads: int = 1,
    progress: Progress = NO_PROGRESS,
) -> Bundled:
    """Make the bundle *path* of *refs* and all that they lead to, but for what the versions *since* lead to.

    With *tags*, those of the versions that are in it come too. *head* is the branch that a clone should stand on. What
    an attempt that was interrupted has written is not written again.

    Raises:
        NothingNewError: There is nothing to put in it.
        BundleExistsError, BundleBeingMadeError, ValueTooLargeError, StorageError: As `BundleWriter`.
        MissingObjectError, OutOfReachError: Something that is needed is not here, and cannot be had.
    """
    state, there = local.state(), _state_with(since)
    missing = missing_there(local.objects, there, list(refs.values()))
    if since and not missing.commits:
        raise NothingNewError
    wanted = dict(refs)
    if tags:
        wanted |= _tags_among(local, state, {*missing.commits, *refs.values()})
    known = _Known(local, since) if since else ObjectDatabase(MemoryBackend())
    found = _prepare(local, known, there, list(dict.fromkeys(wanted.values())), progress)
    bundle = blake3(local.context.nonce().encode()).digest()
    with BundleWriter(path, bundle, split=split, replace=replace) as writer:
        made = Store(writer, local.context, log=Log.create(writer, store_id=local.context.nonce()))
        receiver = PackReceiver(made.objects, writer, local.files.temporary, generation=0)
        progress.start("bundle", size=found.plan.stored)
        sent = send(found.plan, local.objects, local.backend, receiver, threads=threads, progress=progress)
        progress.finish()
        made.publish(lambda _: _changes(state, wanted, head), [sent.sealed])
        manifest = {"v": 1, "prerequisites": sorted(commit.hex() for commit in since)}
        writer.write(MANIFEST, msgspec.json.encode(manifest))
        files = writer.finish()
    size = sum(file.stat().st_size for file in files)
    return Bundled(files, size, sorted(wanted), list(since), len(found.missing.commits), found.plan.count)


def _state_with(commits: Sequence[ObjectId]) -> State:
    """Return the state of somebody who has *commits*."""
    state = State.empty("").copy()
    for number, commit in enumerate(commits):
        state.refs.put(f"{HEADS}{number}", Ref(commit.hex(), 0))
    return state


def _tags_among(local: Store, state: State, commits: Collection[ObjectId]) -> dict[str, ObjectId]:
    """Return the tags of *commits*."""
    tags = {ref: ObjectId.from_hex(found.value) for ref, found in state.refs.items() if ref.startswith(TAGS)}
    return {ref: value for ref, value in tags.items() if peel(local.objects, value)[1] in commits}


def _changes(state: State, refs: Mapping[str, ObjectId], head: str | None) -> list[RefChange]:
    changes = [
        RefChange(ref, None, value.hex(), publish=state.refs[ref].published) for ref, value in sorted(refs.items())
    ]
    branches = {ref.removeprefix(HEADS) for ref in refs if ref.startswith(HEADS)}
    changes += infos_of(State.empty(""), state, branches)
    if head is not None and head in refs:
        changes.append(RefChange(SESSION_REF, None, Session(head).encode()))
    return changes


class _Known(ObjectDatabase):
    """What somebody has who has the versions *commits* of *here*, as far as it matters: those, and all in them."""

    def __init__(self, here: Store, commits: Sequence[ObjectId]) -> None:
        super().__init__(MemoryBackend())
        self._here = here.objects
        closure, read = Closure(here.objects, ObjectDatabase(MemoryBackend())), Commits(here.objects)
        for commit in commits:
            closure.add(commit)
            closure.add_tree(read.get(commit).tree)
        self._marks, self._promised = closure.marks, closure.promised

    @property
    def is_empty(self) -> bool:
        return False

    def __contains__(self, object_id: bytes) -> bool:
        return object_id in self._promised or self._marks.is_marked(object_id, ~0)

    def locate(self, object_id: bytes) -> Location | None:
        if object_id not in self:
            return None
        # Of what is only promised here, nobody asks where it is.
        return self._here.locate(object_id) or Location("", 0, 0, 0, Kind.CHUNK, 0, 0, 0)


def _prepare(
    local: Store, known: ObjectDatabase, there: State, tips: Sequence[ObjectId], progress: Progress
) -> Preparation:
    found = prepare(local.objects, local.backend, known, there, tips, progress=progress)
    if found.promised and local.objects.promisor is not None:
        for object_id in local.objects.promisor.bring(found.promised, progress):
            raise MissingObjectError(object_id)
        found = prepare(local.objects, local.backend, known, there, tips, progress=progress)
    return found


def check_whole(backend: Backend) -> None:
    """Check that *backend* builds on nothing else, as a bundle may.

    Raises:
        PrerequisiteMissingError: It does.
    """
    _check_prerequisites(backend, lambda _: False)


def stand_on(there: Store, here: Store) -> None:
    """Check that what *there* builds on is *here*, if it is a bundle, and let it be read from here.

    What neither has may be promised: to a lazy clone, of which another one has fetched.

    Raises:
        PrerequisiteMissingError: It is not.
    """
    _check_prerequisites(there.backend, lambda commit: here.objects.kind_of(commit) == Kind.COMMIT)
    there.objects.nearer = here.objects
    there.objects.promisor = here.promisor or there.promisor


def _check_prerequisites(backend: Backend, is_here: Callable[[ObjectId], bool]) -> None:
    if isinstance(backend, BundleBackend):
        missing = [commit for commit in map(ObjectId.from_hex, backend.prerequisites) if not is_here(commit)]
        if missing:
            raise PrerequisiteMissingError(backend.path, missing)


def check_bundle(backend: BundleBackend, *, threads: int = 1, progress: Progress = NO_PROGRESS) -> int:
    """Check each value of *backend*, and each object in it down to its hash; return how many objects there are.

    Raises:
        MalformedBundleError: Something is damaged.
    """
    items = list(backend.items())
    progress.start("verify", files=len(items), size=sum(item.length for item in items))

    def check(item: Item) -> int:
        count = 0
        if item.key.startswith(_PACKS):
            try:
                pack = open_pack(backend, item.key.removeprefix(_PACKS))
                count = sum(len(piece.ids) for piece in verified_pieces(backend, pack)) // ID_LENGTH
            except CorruptionError as error:
                raise MalformedBundleError(backend.path, str(error)) from error
        else:
            backend.check(item.key)
        progress.advance(1, item.length)
        return count

    with ThreadPoolExecutor(max(1, threads)) as pool:
        objects = sum(pool.map(check, items))
    progress.finish()
    return objects


def take_packs(local: Store, backend: BundleBackend, *, progress: Progress = NO_PROGRESS) -> int:
    """Take all that is in the packs of *backend*, for a later volume to name it; return how many bytes were new.

    Raises:
        CorruptionError: Something is damaged; nothing of that pack is taken.
    """
    state = local.state()
    names = [key.removeprefix(_PACKS) for key, _ in backend.list(_PACKS)]
    new = [name for name in names if of_generation(name, state.last_sweep) not in state.packs]
    receiver = PackReceiver(local.objects, local.backend, local.files.temporary, generation=state.last_sweep)
    packs = [open_pack(backend, name) for name in new]
    progress.start("take", size=sum(pack.length for pack in packs))
    try:
        for pack in packs:
            receiver.copy(backend, pack)
            progress.advance(size=pack.length)
        sealed = receiver.finish()
    except BaseException:
        receiver.discard()
        raise
    progress.finish()
    if packs:
        local.publish(lambda _: [], [sealed])
    return sum(pack.length for pack in packs)
