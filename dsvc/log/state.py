"""The state of a store: what the entries of its log add up to.

Values only. How an entry changes a state is `dsvc.log.replay`'s to know, and how one is kept
so that nobody replays from the beginning, `dsvc.log.checkpoint`'s.
"""

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec

from dsvc.log.entry import tail_generation
from dsvc.model.codec import Record

__all__ = ["NO_ITEMS", "LogPosition", "Ref", "Standing", "State", "StoredItems", "Table"]

ValueT = TypeVar("ValueT")
ValueT_co = TypeVar("ValueT_co", covariant=True)


class Ref(Record, frozen=True):
    """What a ref points to, and the entry that changed it last. A *published* one stays as it is."""

    value: str
    seq: int
    published: bool = False


class LogPosition(Record, frozen=True):
    """How far somebody has read a log: the entry *seq*, and the hash of its bytes."""

    seq: int
    hash: str


class Standing(Enum):
    """What may be done with a pack or segment, by the state.

    LIVE: it counts. DOOMED: it counts, or lies there unused, and will go unless it is rescued.
    NEW: the log has never heard of it, and no sweep can have met it; it may be added.
    GONE: it is not live, and was swept or may have been; what it held is stored again under the
    new generation. A name that was swept never comes back.
    """

    LIVE = "live"
    DOOMED = "doomed"
    NEW = "new"
    GONE = "gone"


class StoredItems(Protocol[ValueT_co]):
    """The items of a table as a checkpoint has them."""

    def items(self) -> Mapping[str, ValueT_co]:
        """Return all of them; read at the first call, and kept."""


class _NoItems:
    def items(self) -> Mapping[str, "ValueT"]:
        return {}


NO_ITEMS: Final = _NoItems()
_UNCHANGED: Final = object()


class Table(Mapping[str, ValueT], Generic[ValueT]):
    """A mapping in two layers: the items of a checkpoint, read when first needed, and what changed since.

    A new state thus costs the change and not the whole, and so does its checkpoint. Iteration
    is in no order.
    """

    __slots__ = ("_changes", "_items", "_stored")

    def __init__(self, stored: StoredItems[ValueT] = NO_ITEMS, changes: dict[str, ValueT | None] | None = None) -> None:
        self._stored = stored
        self._changes = changes if changes is not None else {}
        self._items: dict[str, ValueT] | None = None

    @property
    def stored(self) -> StoredItems[ValueT]:
        """What the checkpoint has."""
        return self._stored

    @property
    def changes(self) -> Mapping[str, ValueT | None]:
        """What is another value since, or None where it went."""
        return self._changes

    def copy(self) -> "Table[ValueT]":
        """Return a table with the same items, to be changed with `put`."""
        return Table(self._stored, dict(self._changes))

    def flat(self) -> "Table[ValueT]":
        """Return a table with the same items that stands on no checkpoint."""
        return Table(changes=dict(self._all()))

    def put(self, key: str, value: ValueT | None) -> None:
        """Set the value of *key*, or remove it; only for who has made a copy and shown it to nobody."""
        if value is None and self._stored is NO_ITEMS:
            self._changes.pop(key, None)
        else:
            self._changes[key] = value
        self._items = None

    def __getitem__(self, key: str) -> ValueT:
        value = self._changes.get(key, _UNCHANGED)
        if value is _UNCHANGED:
            return self._stored.items()[key]
        if value is None:
            raise KeyError(key)
        return value  # type: ignore[return-value]

    def __contains__(self, key: object) -> bool:
        value = self._changes.get(key, _UNCHANGED)  # type: ignore[call-overload]
        return key in self._stored.items() if value is _UNCHANGED else value is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> dict[str, ValueT]:
        if self._items is None:
            both = {**self._stored.items(), **self._changes}
            self._items = {key: value for key, value in both.items() if value is not None}
        return self._items


class State(msgspec.Struct, frozen=True):
    """Everything that the entries up to *seq* add up to; *hash* is that of entry *seq*.

    *refs* are those that are there, *deleted* the last change of those that are not. *packs* and
    *segments* are the live ones, by the entry that added them; *doomed* ones by the entry that marked
    them, and *swept* ones, which may still lie in the store, by the entry that swept them.
    *last_sweep* is the generation of what is written now.
    """

    seq: int
    hash: str
    refs: Table[Ref]
    deleted: Table[int]
    packs: Table[int]
    segments: Table[int]
    doomed: Table[int]
    swept: Table[int]
    last_sweep: int = 0
    features: frozenset[str] = frozenset()

    @classmethod
    def empty(cls, genesis: str) -> "State":
        """Return the state before the first entry, whose `prev_hash` is *genesis*."""
        return cls(0, genesis, Table(), Table(), Table(), Table(), Table(), Table())

    @property
    def tables(self) -> tuple[Table[Any], ...]:
        """All tables."""
        return self.refs, self.deleted, self.packs, self.segments, self.doomed, self.swept

    @property
    def position(self) -> LogPosition:
        """How far the log was read."""
        return LogPosition(self.seq, self.hash)

    @property
    def published(self) -> frozenset[str]:
        """The refs that nobody can move or delete."""
        return frozenset(name for name, ref in self.refs.items() if ref.published)

    @property
    def segments_by_age(self) -> list[str]:
        """The live segments, oldest first."""
        return sorted(self.segments, key=lambda tail: (self.segments[tail], tail))

    def flat(self) -> "State":
        """Return the same state on no checkpoint: all that it holds is in memory."""
        return msgspec.structs.replace(
            self,
            refs=self.refs.flat(),
            deleted=self.deleted.flat(),
            packs=self.packs.flat(),
            segments=self.segments.flat(),
            doomed=self.doomed.flat(),
            swept=self.swept.flat(),
        )

    def copy(self) -> "State":
        """Return the same state with tables of its own, to be changed with `Table.put`."""
        return msgspec.structs.replace(
            self,
            refs=self.refs.copy(),
            deleted=self.deleted.copy(),
            packs=self.packs.copy(),
            segments=self.segments.copy(),
            doomed=self.doomed.copy(),
            swept=self.swept.copy(),
        )

    def value(self, ref: str) -> str | None:
        """Return the value of *ref*, None if it is not there."""
        found = self.refs.get(ref)
        return found.value if found else None

    def last_change(self, ref: str) -> int:
        """Return the entry that changed *ref* last, if only to delete it; 0 if none did."""
        found = self.refs.get(ref)
        return found.seq if found else self.deleted.get(ref, 0)

    def standing(self, tail: str) -> Standing:
        """Tell what may be done with the pack or segment *tail*.

        Raises:
            MalformedEntryError: *tail* names neither.
        """
        generation = tail_generation(tail)
        if tail in (self.packs if "/" in tail else self.segments):
            return Standing.DOOMED if tail in self.doomed else Standing.LIVE
        # Of an older generation, it may have been swept already, and somebody may delete it at any time, however late;
        # also if it was stored once more, and marked once more. (One of a newer generation is another log's.)
        if generation != self.last_sweep:
            return Standing.GONE
        return Standing.DOOMED if tail in self.doomed else Standing.NEW
