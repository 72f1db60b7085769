"""Looking ahead: while this process opens the way to a store far away, another finds out what will have to be sent.

Loading what speaks a vendor's protocol keeps the interpreter busy for half a second. What is found is that for the
remote's log as it was read last; should it say something else by now, it is found out again.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from dsvc.log.log import Log
from dsvc.log.state import State
from dsvc.odb.database import ObjectDatabase
from dsvc.odb.pack import SealedPack
from dsvc.storage.local import LocalBackend
from dsvc.storage.temporary import temporary_name
from dsvc.transport.position import copied, known_state
from dsvc.transport.preparation import Preparation, prepare
from dsvc.transport.transfer import Plan, make_packs
from dsvc.transport.updates import Wish, judge, values_of
from dsvc.worktree.workers import Workers

if TYPE_CHECKING:
    from concurrent.futures import Future


__all__ = ["NOTHING_AHEAD", "Ahead", "looking_ahead"]

Result = TypeVar("Result")


class _Found(msgspec.Struct, frozen=True):
    """What has to be sent where the log ends with the entry *seq*, whose hash is *hash*."""

    seq: int
    hash: str
    preparation: Preparation


class _Work(msgspec.Struct, frozen=True):
    """What packs are to be made of: the frames and objects in *plan* of a store, as *generation*."""

    backend: LocalBackend
    source: ObjectDatabase
    plan: Plan
    generation: int


# In the other process: what was found, for the packs to be made of it.
_works: Final[list[_Work]] = []


class Ahead:
    """What another process finds out, and then makes of it; nothing, where there is none."""

    def __init__(
        self,
        found: "Future[_Found | None] | None" = None,
        packs: "Future[list[SealedPack] | None] | None" = None,
        end: Callable[[], object] = lambda: None,
    ) -> None:
        self._found = found
        self._packs = packs
        self._end = end

    def preparation(self, state: State, tips: Sequence[bytes]) -> Preparation | None:
        """Return, once, what has to be sent so that *tips* are whole where the log says *state*, None if unknown."""
        future, self._found = self._found, None
        found = _result(future)
        # Without an entry, one store is like another.
        is_same = found is not None and found.seq == state.seq and (not found.seq or found.hash == state.hash)
        if found is None or not is_same or found.preparation.tips != frozenset(tips):
            return None
        return msgspec.structs.replace(found.preparation, state=state)

    def packs(self) -> list[SealedPack] | None:
        """Return, once, packs made of all of that which does not go as whole packs, None if there are none."""
        future, self._packs = self._packs, None
        packs = _result(future)
        # The names of the files tell whose they are, and the other process is not needed any more.
        ours = None if packs is None else [_renamed(pack) for pack in packs]
        self._end()
        return ours

    def end(self) -> bool:
        """Remove what was made for nothing; return whether nothing is being done any more."""
        if self._packs is None:
            return True
        if not self._packs.done():
            return False
        for pack in self.packs() or ():
            pack.path.unlink(missing_ok=True)
        return True


NOTHING_AHEAD: Final = Ahead()


def _renamed(pack: SealedPack) -> SealedPack:
    path = pack.path.with_name(temporary_name())
    return msgspec.structs.replace(pack, path=pack.path.rename(path))


def _result(future: "Future[Result] | None") -> "Result | None":
    if future is not None:
        # Whatever went wrong over there will do so here again, and be told.
        with suppress(Exception):
            return future.result()
    return None


@contextmanager
def looking_ahead(local: Path, known: Path, wishes: Sequence[Wish], workers: Workers) -> Iterator[Ahead]:
    """Yield what one of *workers* finds out meanwhile.

    The store in the folder *local* is to be pushed, for *wishes*, to the remote of which the folder *known* remembers
    what it said last.
    """
    if workers.pool is None or workers.jobs < 2:
        yield NOTHING_AHEAD
        return
    pool = workers.pool(1)
    ahead = Ahead(pool.submit(_look, local, known, wishes), pool.submit(_pack), pool.shutdown)
    try:
        yield ahead
    finally:
        pool.shutdown(wait=ahead.end(), cancel_futures=True)


def _look(local: Path, known: Path, wishes: Sequence[Wish]) -> _Found | None:
    """Find out what is to be sent for *wishes*; None where nothing is, or where that cannot be told from here."""
    backend = LocalBackend(local)
    source = _database(backend, Log(backend).head())
    state = known_state(known) or State.empty("")
    tips = values_of(judge(source, state, wishes, worked_on=None))
    if not tips:
        return None
    found = prepare(source, backend, _database(copied(known), state), state, tips)
    if not found.promised:
        _works.append(_Work(backend, source, found.plan, state.last_sweep))
    # States are read from a store as they are needed, and do not travel.
    return _Found(state.seq, state.hash, msgspec.structs.replace(found, state=State.empty("")))


def _database(backend: LocalBackend, state: State) -> ObjectDatabase:
    return ObjectDatabase(backend, packs=state.packs, segments=state.segments)


def _pack() -> list[SealedPack] | None:
    """Make packs for what was found."""
    if not _works:
        return None
    work = _works.pop()
    return make_packs(
        work.plan, work.source, work.backend, temporary=work.backend.temporary, generation=work.generation
    )
