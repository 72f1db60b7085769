"""What becomes of a ref that is pushed or fetched, and by which rule."""

from collections.abc import Iterable
from enum import Enum
from typing import Final

import msgspec

from dsvc.history.commits import Commits
from dsvc.history.datasets import current_name
from dsvc.history.versions import is_alias
from dsvc.history.walk import is_ancestor
from dsvc.log.entry import RefChange
from dsvc.log.refs import HEADS, TAGS
from dsvc.log.state import State
from dsvc.model.ids import Kind, ObjectId
from dsvc.odb.database import ObjectDatabase

__all__ = ["Exchange", "Outcome", "RefUpdate", "Wish", "changes_of", "judge", "moves_forward", "values_of"]


class Outcome(Enum):
    """What happened to a ref, or would."""

    UNCHANGED = "up to date"
    NEW = "new"
    FAST_FORWARD = "fast-forward"
    FORCED = "forced update"
    DELETED = "deleted"
    MOVED = "alias moved"
    PUBLISHED = "published"
    NOT_FAST_FORWARD = "non-fast-forward"
    TAG_EXISTS = "already exists"
    CHECKED_OUT = "checked out there"
    PROTECTED = "published, and stays"
    RENAMED = "has another name there"

    @property
    def is_rejected(self) -> bool:
        """Whether the ref stays as it is, against the user's wish."""
        return self in _REJECTED


_REJECTED: Final = frozenset(
    {Outcome.NOT_FAST_FORWARD, Outcome.TAG_EXISTS, Outcome.CHECKED_OUT, Outcome.PROTECTED, Outcome.RENAMED}
)


class Wish(msgspec.Struct, frozen=True):
    """The ref *target* is to get the value *new* of *source*, None to go; with *force*, whatever it was.

    With *publish*, a tag is to stay there for ever; with *create*, it must not be there yet, at whatever value.
    *known* is what both sides last had as the value of an alias: from there it may move.
    """

    source: str
    target: str
    new: ObjectId | None
    force: bool = False
    publish: bool = False
    create: bool = False
    known: ObjectId | None = None

    @property
    def hex(self) -> str | None:
        """The value as the log has it."""
        return _hex(self.new)


class RefUpdate(msgspec.Struct, frozen=True):
    """The ref *target* goes from *old* to *new*, None where it is not there, because *source* is there.

    With *publish*, it stays there.
    """

    source: str
    target: str
    old: ObjectId | None
    new: ObjectId | None
    outcome: Outcome
    publish: bool = False

    @property
    def is_change(self) -> bool:
        """Whether the ref moves."""
        return self.outcome is not Outcome.UNCHANGED and not self.outcome.is_rejected


class Exchange(msgspec.Struct, frozen=True):
    """What a push or a fetch did, or would do.

    *objects* in *commits* versions were missing on the other side, *raw* bytes of them, about *stored*
    bytes as packed; *sent* bytes travelled, which are fewer after an interruption. They are in *packs* packs, and took,
    or will take about, *requests*, 0 where a remote has none. *promised* objects more would have to be brought from
    elsewhere first. Of *described* datasets, it was told what is said of them.
    """

    updates: list[RefUpdate]
    objects: int = 0
    raw: int = 0
    stored: int = 0
    sent: int = 0
    commits: int = 0
    packs: int = 0
    requests: int = 0
    promised: int = 0
    described: int = 0

    @property
    def rejected(self) -> list[RefUpdate]:
        """The refs that stay as they are."""
        return [update for update in self.updates if update.outcome.is_rejected]


def values_of(updates: Iterable[RefUpdate]) -> list[ObjectId]:
    """Return the values that refs get."""
    return [update.new for update in updates if update.new is not None and update.is_change]


def changes_of(updates: Iterable[RefUpdate]) -> list[RefChange]:
    """Return *updates* as the log has them."""
    return [
        RefChange(update.target, _hex(update.old), _hex(update.new), publish=update.publish)
        for update in updates
        if update.is_change
    ]


def _hex(value: ObjectId | None) -> str | None:
    return None if value is None else value.hex()


def moves_forward(objects: ObjectDatabase, old: ObjectId, new: ObjectId) -> bool:
    """Tell whether *new* has *old* among its ancestors, as far as *objects*, where *new* is, can tell."""
    if objects.kind_of(old) != Kind.COMMIT or objects.kind_of(new) != Kind.COMMIT:
        return False
    return is_ancestor(Commits(objects), old, new)


def judge(objects: ObjectDatabase, state: State, wishes: Iterable[Wish], *, worked_on: str | None) -> list[RefUpdate]:
    """Return what becomes of *wishes*, whose values are in *objects*, where the refs are those of *state*.

    *worked_on* is the branch whose files somebody has there: moving it would make them seem changed.
    """
    updates = []
    for wish in wishes:
        found = state.refs.get(wish.target)
        old = None if found is None else ObjectId.from_hex(found.value)
        outcome = _judge(objects, wish, old, is_published=found is not None and found.published)
        if outcome is not Outcome.UNCHANGED and wish.target == worked_on:
            outcome = Outcome.CHECKED_OUT
        elif outcome is Outcome.NEW and not wish.force and _is_renamed(state, wish.target):
            # A branch of the old name would take back the versions that were published under it.
            outcome = Outcome.RENAMED
        updates.append(RefUpdate(wish.source, wish.target, old, wish.new, outcome, wish.publish))
    return updates


def _is_renamed(state: State, ref: str) -> bool:
    """Tell whether the branch *ref* would be called as a dataset was that has another name by now."""
    name = ref.removeprefix(HEADS)
    return ref.startswith(HEADS) and (now := current_name(state, name)) != name and HEADS + now in state.refs


def _judge(objects: ObjectDatabase, wish: Wish, old: ObjectId | None, *, is_published: bool) -> Outcome:
    if wish.create and old is not None:
        return Outcome.TAG_EXISTS
    if old == wish.new:
        return Outcome.PUBLISHED if wish.publish and not is_published else Outcome.UNCHANGED
    if is_published:
        return Outcome.PROTECTED
    if wish.new is None:
        return Outcome.DELETED
    if old is None:
        return Outcome.NEW
    if wish.target.startswith(TAGS):
        return _judge_tag(objects, wish, old, wish.new)
    if moves_forward(objects, old, wish.new):
        return Outcome.FAST_FORWARD
    return Outcome.FORCED if wish.force else Outcome.NOT_FAST_FORWARD


def _judge_tag(objects: ObjectDatabase, wish: Wish, old: ObjectId, new: ObjectId) -> Outcome:
    # An alias is there to be moved, but for what is not known of it: somebody else may have moved it meanwhile.
    if is_alias(wish.target) and not wish.publish and (old == wish.known or moves_forward(objects, old, new)):
        return Outcome.MOVED
    return Outcome.FORCED if wish.force else Outcome.TAG_EXISTS
