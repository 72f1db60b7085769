"""Pruning: packs of data that a remote has, and will keep, go from here, and are promised from then on.

Nothing is taken on trust. The remote's log and index are read anew, each pack there that is relied on is looked at, and
what a pack here holds has to be needed by a version that the remote keeps: by a published tag, which nobody can delete.
The packs then go as all garbage does: the log dooms them, sweeps what nobody has rescued, and only then files are
deleted.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec

from dsvc.errors import CorruptionError, RefusedError
from dsvc.history.commits import Commits
from dsvc.history.store import Store
from dsvc.history.walk import ancestors
from dsvc.log.entry import Transaction
from dsvc.log.refs import HEADS, TAGS
from dsvc.log.state import State
from dsvc.model.ids import Kind, ObjectId
from dsvc.odb.marks import WANTED, Marks
from dsvc.odb.pack import SealedPack, pack_key
from dsvc.odb.pack_reader import open_pack, verified_pieces
from dsvc.odb.segment import Segment
from dsvc.odb.segment_writer import build_segment
from dsvc.odb.writer import store_segment
from dsvc.progress import NO_PROGRESS, Progress
from dsvc.storage.backend import KeyNotFoundError, interrupt
from dsvc.transport.closure import Closure, peel
from dsvc.transport.metadata import bring_index
from dsvc.transport.remote import Remote, RemoteDamagedError

__all__ = ["NothingProtectedError", "Pruned", "prune_pushed"]

_AT_ONCE: Final = 8


class NothingProtectedError(RefusedError):
    """No published tag of the remote protects anything there."""

    def __init__(self, remote: str) -> None:
        super().__init__(
            f"the remote {remote} has no published tag, so nobody is kept from deleting there what is here"
        )
        self.remote = remote


class Pruned(msgspec.Struct, frozen=True):
    """What went, or would: *objects* in *packs*, whose files had *size* bytes; *kept* packs hold other data too."""

    packs: int
    objects: int
    size: int
    kept: int


def prune_pushed(
    local: Store,
    remote: Remote,
    *,
    promise: Callable[[], None],
    force: bool = False,
    dry_run: bool = False,
    progress: Progress = NO_PROGRESS,
) -> Pruned:
    """Drop the packs of *local* with nothing but data that *remote* verifiably keeps.

    With *force*, what any branch or tag there leads to counts as kept. *promise* is called before anything goes, to
    make the remote one that data is read from. An earlier run that was cut short is finished.

    Raises:
        NothingProtectedError: There is no published tag there, without *force*.
        RemoteDamagedError: Something is missing or damaged there; nothing went.
        StoreGoneError, OtherStoreError, RemoteRewoundError: It is not what it was.
    """
    local.state()
    if not dry_run:
        _delete_swept(local)
    there = remote.open()
    bring_index(there)
    there.objects.nearer = local.objects
    try:
        kept_there = _kept_there(there, remote, force=force, progress=progress)
        packs, kept, relied = _droppable(local, there, kept_there)
        _check_there(remote, relied, progress)
    except CorruptionError as error:
        raise RemoteDamagedError(remote.name, error) from error
    size = sum(local.backend.size(pack_key(name)) for name in packs)
    pruned = Pruned(len(packs), sum(packs.values()), size, kept)
    if packs and not dry_run:
        promise()
        _sweep(local, sorted(packs))
        _delete_swept(local)
    return pruned


def _kept_there(there: Store, remote: Remote, *, force: bool, progress: Progress) -> Marks:
    """Return marks on all that *there* has below its published tags, or with *force* below all branches and tags."""
    state = there.state()
    refs = [ref for name, ref in state.refs.items() if (name.startswith((HEADS, TAGS)) if force else ref.published)]
    if not refs:
        raise NothingProtectedError(remote.name)
    objects = there.objects
    closure, commits = Closure(objects, remote.empty_database(), progress), Commits(objects)
    ends = [peel(objects, ObjectId.from_hex(ref.value))[1] for ref in refs]
    progress.start("compare")
    for end in dict.fromkeys(ends):
        if objects.kind_of(end) == Kind.PAGE:
            closure.add_tree(end)
    for commit_id in ancestors(commits, [end for end in ends if objects.kind_of(end) == Kind.COMMIT]):
        closure.add_tree(commits.get(commit_id).tree)
    progress.finish()
    return closure.marks


def _droppable(local: Store, there: Store, kept_there: Marks) -> tuple[dict[str, int], int, set[str]]:
    """Return the packs to drop and how many objects each has, how many of data stay, and the packs relied on there."""
    doomed = there.state().doomed
    marks, live = Marks(local.objects), set[str]()
    counts: dict[str, int] = {}
    relied: dict[str, set[str]] = {}
    for number, segment in enumerate(marks.segments):
        pack_of = [segment.pack_at(row[0]) for row in segment.frame_rows()]
        for row, frame in marks.live_rows(number):
            pack = pack_of[frame]
            live.add(pack)
            place = kept_there.find(segment.id_of(row)) if segment.object_at(row)[1] == Kind.CHUNK else None
            if place is None or not kept_there.flags[place[0]][place[1]] & WANTED:
                counts[pack] = -1
                continue
            other = kept_there.segments[place[0]].location(place[1]).pack
            if other in doomed:
                counts[pack] = -1
            elif counts.get(pack, 0) >= 0:
                counts[pack] = counts.get(pack, 0) + 1
                relied.setdefault(pack, set()).add(other)
    packs = {name: count for name, count in counts.items() if count > 0}
    stay = sum(1 for name in live if name not in packs and not open_pack(local.backend, name).footer.content)
    return packs, stay, {other for name in packs for other in relied[name]}


def _check_there(remote: Remote, names: Collection[str], progress: Progress) -> None:
    """Check that the packs *names* are there, as long as they should be, with the footer that their names vouch for."""
    progress.start("check the remote", files=len(names))

    def check(name: str) -> None:
        try:
            open_pack(remote.origin, name)
        except KeyNotFoundError:
            message = f"pack {name} is missing"
            raise CorruptionError(message) from None
        progress.advance(files=1)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            list(pool.map(check, sorted(names)))
        except BaseException:
            # Leaving the pool waits for its threads, and they may wait for a network.
            interrupt(remote.origin)
            raise
    progress.finish()


def _commit(local: Store, build: Callable[[State], Transaction | None]) -> State:
    context = local.context
    return local.log.commit(
        build, actor=context.actor, time=context.now()[0], command=context.command, nonce=context.nonce
    )


def _sweep(local: Store, names: Sequence[str]) -> None:
    """Doom the packs *names*, and end those that nobody has rescued; the index goes on without them."""

    def mark(state: State) -> Transaction | None:
        packs = [name for name in names if name in state.packs]
        return Transaction(mark=packs, mark_base=state.seq) if packs else None

    def sweep(state: State) -> Transaction | None:
        packs = [name for name in names if name in state.doomed and name in state.packs]
        if not packs:
            return None
        segment = _index_of(local, set(state.packs).difference(packs), state)
        replaced = [name for name in state.segments if name != segment.name]
        added = [] if segment.name in state.segments else [segment.name]
        return Transaction(sweep=packs, add_index=added, drop_index=replaced)

    _commit(local, mark)
    _commit(local, sweep)
    local.state()


def _index_of(local: Store, names: Iterable[str], state: State) -> Segment:
    """Store and return a segment of the packs *names*.

    It is made from the packs themselves: where an object is in two, the old index may know only the one that goes.
    """
    packs = (_sealed(local, name) for name in sorted(names))
    segment = build_segment(packs, state.last_sweep, local.files.temporary().parent)
    store_segment(local.backend, segment)
    return segment


def _sealed(local: Store, name: str) -> SealedPack:
    pack = open_pack(local.backend, name)
    ids = pack.footer.ids or b"".join(piece.ids for piece in verified_pieces(local.backend, pack))
    return SealedPack(name, Path(), pack.length, pack.raw_length, pack.footer, ids)


def _delete_swept(local: Store) -> None:
    """Delete the files of what was swept, and say so in the log."""
    swept = sorted(local.state().swept)
    if not swept:
        return
    for name in swept:
        local.backend.delete(pack_key(name))

    def deleted(state: State) -> Transaction | None:
        gone = [name for name in swept if name in state.swept]
        return Transaction(deleted=gone) if gone else None

    _commit(local, deleted)
