"""A store as a whole: its log, and the objects that the log says are live, over one backend.

A repository's own store and every remote are the same thing in different places.
"""

from collections.abc import Callable, Collection, Sequence
from functools import cached_property

from dsvc.errors import ConflictError, InvalidInputError
from dsvc.log.entry import RefChange, Transaction
from dsvc.log.log import Log
from dsvc.log.state import Standing, State
from dsvc.model.context import Context
from dsvc.odb.database import ObjectDatabase
from dsvc.odb.objects import Promisor
from dsvc.odb.writer import DatabaseWriter, Sealed, store_segment
from dsvc.storage.backend import Backend, LocalFiles
from dsvc.storage.local import LocalBackend

__all__ = ["CollectedError", "Store"]


class CollectedError(ConflictError):
    """What a change relies on was collected as garbage meanwhile; made again from the start, it holds."""

    def __init__(self, tail: str) -> None:
        super().__init__(f"{tail} was collected as garbage meanwhile")
        self.tail = tail


class Store:
    """One store, seen by one actor; objects that are not in it are asked of the *promisor*, if there is one."""

    def __init__(
        self, backend: Backend, context: Context, *, log: Log | None = None, promisor: Promisor | None = None
    ) -> None:
        self.backend = backend
        self.context = context
        self.log = log or Log(backend)
        self.promisor = promisor

    @property
    def files(self) -> LocalBackend:
        """The backend, where it is a folder of this machine; new packs are built in one."""
        if not isinstance(self.backend, LocalBackend):
            message = "this store is not a folder of this machine"
            raise InvalidInputError(message)
        return self.backend

    @cached_property
    def objects(self) -> ObjectDatabase:
        """The database over what is live."""
        state = self.log.last()
        objects = ObjectDatabase(self.backend, packs=state.packs, segments=state.segments, promisor=self.promisor)
        objects.refresh = self.state
        return objects

    def promise(self, promisor: Promisor) -> None:
        """Let *promisor* be asked for objects that are not here."""
        self.promisor = promisor
        self.objects.promisor = promisor

    def acting(self, context: Context) -> "Store":
        """Return the same store, seen by who acts in *context*."""
        store = Store(self.backend, context, log=self.log, promisor=self.promisor)
        store.__dict__["objects"] = self.objects
        return store

    def state(self) -> State:
        """Return the newest state, and let `objects` follow it.

        Raises:
            ChangedEntryError: The log was damaged.
        """
        self.log.head()
        return self.last_state()

    def last_state(self) -> State:
        """Return the state that was read last, without a look at whether others have added to it since.

        Raises:
            ChangedEntryError: The log was damaged.
        """
        state = self.log.last()
        self.log.check_unchanged()
        self._follow(state)
        return state

    def _follow(self, state: State, sealed: Sequence[Sealed] = ()) -> None:
        """Let `objects` have what is live in *state*, and what is *sealed* to become so."""
        if "objects" in self.__dict__:
            self.objects.update(state.packs, state.segments)
            for one in sealed:
                if one.segment is not None:
                    self.objects.attach(one.packs, [one.merged or one.segment])

    def writer(self) -> DatabaseWriter:
        """Return a writer whose objects `publish` can make part of the store."""
        return DatabaseWriter(self.objects, self.backend, generation=self.log.last().last_sweep)

    def tidy(self) -> None:
        """Remove what processes have left that ended in the middle, where the store is a folder."""
        if isinstance(self.backend, LocalFiles):
            self.backend.tidy()

    def publish(
        self,
        build: Callable[[State], Sequence[RefChange] | None],
        sealed: Sequence[Sealed] = (),
        *,
        relied: Collection[str] = (),
        at_once: bool = False,
    ) -> State:
        """Append one transaction: the changes that *build* makes of the newest state, and *sealed*.

        *build* may be called again, if others were faster, and may add to *sealed* meanwhile. If it
        returns None, there is nothing to do. *relied* are packs that hold what the new values need;
        those of them that are doomed are rescued. With *at_once*, the state read last is tried first, as it is.

        Raises:
            RefMovedError: A ref is not what *build* expected.
            CollectedError: A pack is no longer there to rely on.
            UnknownOutcomeError: Nobody can say whether it was written.
        """

        def transaction(state: State) -> Transaction | None:
            self.log.check_unchanged()
            # Others may have been faster, and *build* may have to read what they stored.
            self._follow(state, sealed)
            changes = build(state)
            if changes is None:
                return None
            index = [self._index(one, state) for one in sealed]
            packs = [pack for one in sealed for pack in one.packs]
            segments = [name for added, _ in index for name in added]
            return Transaction(
                ops=list(changes),
                add_packs=packs,
                add_index=segments,
                drop_index=[name for _, dropped in index for name in dropped],
                rescue=_rescue(state, [*packs, *segments], relied),
            )

        state = self.log.commit(
            transaction,
            actor=self.context.actor,
            time=self.context.now()[0],
            command=self.context.command,
            nonce=self.context.nonce,
            at_once=at_once,
        )
        self._follow(state)
        return state

    def _index(self, sealed: Sealed, state: State) -> tuple[list[str], list[str]]:
        """Return which segments to add and which to drop."""
        if sealed.segment is None:
            return [], []
        if sealed.merged is None:
            return [sealed.segment.name], []
        if all(name in state.segments for name in sealed.replaces):
            return [sealed.merged.name], sealed.replaces
        # Another process merged the same segments meanwhile: ours stands alone.
        store_segment(self.backend, sealed.segment)
        return [sealed.segment.name], []


def _rescue(state: State, added: Collection[str], relied: Collection[str]) -> list[str]:
    """Return what is doomed of all that a transaction adds or relies on.

    Raises:
        CollectedError: Something was swept, and has to be stored again.
    """
    for tail in added:
        if state.standing(tail) is Standing.GONE:
            raise CollectedError(tail)
    for tail in relied:
        if tail not in state.packs:
            raise CollectedError(tail)
    return sorted({tail for tail in (*added, *relied) if tail in state.doomed})
