"""What a remote has to offer to a fetch, and what of it is to come: branches, and tags with them."""

from collections.abc import Collection, Mapping, Sequence
from enum import Enum

from dsvc.errors import RefusedError
from dsvc.history.store import Store
from dsvc.history.versions import is_alias
from dsvc.log.refs import HEADS, REMOTES, TAGS, check_ref_name, remote_ref
from dsvc.log.state import State
from dsvc.model.ids import ObjectId
from dsvc.transport.closure import peel
from dsvc.transport.preparation import missing_there
from dsvc.transport.refspec import Refspec, expand, find_ref
from dsvc.transport.remote import Remote
from dsvc.transport.tracking import tracking_ref
from dsvc.transport.updates import Wish

__all__ = ["Into", "Offer"]


class Into(Enum):
    """Where branches come that are fetched: to what remembers the remote's, or to those of the same name.

    A mirror has the same branches and tags, wherever they were, and no others.
    """

    TRACKING = "tracking"
    BRANCHES = "branches"
    MIRROR = "mirror"


class Offer:
    """The refs of *remote*, whose store is *there*, for who is in *state*.

    *tags* None stands for those of the versions that come, True for all, False for none. With *force*, tags and
    branches here move wherever they were. If all is to be *complete*, older versions come too, and so do their tags.
    """

    def __init__(
        self,
        remote: Remote,
        there: Store,
        state: State,
        *,
        tags: bool | None,
        force: bool,
        into: Into = Into.TRACKING,
        complete: bool = False,
    ) -> None:
        self._into = into
        self._complete = complete
        self._remote = remote
        self._objects = there.objects
        self._state = state
        self._tags = True if into is Into.MIRROR else tags
        self._force = force or into is Into.MIRROR
        # What was just read: another look is another wait, and might show something else.
        refs = there.last_state().refs
        self._refs = {ref: refs[ref] for ref in sorted(refs) if ref.startswith((HEADS, TAGS))}

    def wishes(self, refspecs: Sequence[Refspec], *, prune: bool) -> list[Wish]:
        """Return what is to become of the refs here, for *refspecs* or without any for all branches.

        With *prune*, what remembers branches that are gone there goes too.
        """
        wishes = [wish for refspec in refspecs for wish in self._asked(refspec)]
        if not refspecs:
            wishes = [self._branch(ref) for ref in self._refs if ref.startswith(HEADS)]
        wished = {wish.target for wish in wishes}
        tips = [wish.new for wish in wishes if wish.new is not None]
        wishes += [self._tag(ref, force=self._force) for ref in self._followed(tips) if ref not in wished]
        if prune or self._into is Into.MIRROR:
            wishes += [Wish("", ref, None, force=True) for ref in self._gone()]
        return wishes

    def _gone(self) -> list[str]:
        """Return the refs here of what is no longer there."""
        refs = self._state.refs
        if self._into is Into.TRACKING:
            prefix = f"{REMOTES}{self._remote.name}/"
            known = {ref: HEADS + ref.removeprefix(prefix) for ref in refs if ref.startswith(prefix)}
        else:
            # What is published stays, whatever becomes of it there.
            kinds = (HEADS, TAGS) if self._into is Into.MIRROR else (HEADS,)
            known = {ref: ref for ref in refs if ref.startswith(kinds) and not refs[ref].published}
        return sorted(ref for ref, source in known.items() if source not in self._refs)

    def new_tags(self) -> list[ObjectId]:
        """Return the values of the tags that are not here."""
        return [self._value(ref) for ref in self._refs if ref.startswith(TAGS) and ref not in self._state.refs]

    def tags_of(self, ends: Mapping[ObjectId, ObjectId], commits: Collection[ObjectId]) -> list[Wish]:
        """Return the wish for each tag that is not here and leads to one of *commits*, as *ends* say."""
        coming = {value for value, end in ends.items() if end in set(commits)}
        tags = (ref for ref in self._refs if ref.startswith(TAGS) and ref not in self._state.refs)
        return [self._tag(ref, force=self._force) for ref in tags if self._value(ref) in coming]

    def aliases(self, wishes: Sequence[Wish]) -> Mapping[str, str | None]:
        """Return what is to be remembered, by ref, of the aliases there that are here too, or come with *wishes*."""
        if self._remote.folder is None:
            return {}
        coming = {wish.source for wish in wishes}
        return {
            tracking_ref(self._remote.name, ref): found.value
            for ref, found in self._refs.items()
            if is_alias(ref) and (ref in coming or ref in self._state.refs)
        }

    def _value(self, ref: str) -> ObjectId:
        return ObjectId.from_hex(self._refs[ref].value)

    def _branch(self, ref: str) -> Wish:
        if self._into is not Into.TRACKING:
            return Wish(ref, ref, self._value(ref), self._force)
        # What remembers follows, wherever the branch went.
        return Wish(ref, remote_ref(self._remote.name, ref.removeprefix(HEADS)), self._value(ref), force=True)

    def _tag(self, ref: str, *, force: bool) -> Wish:
        known = self._known(ref)
        return Wish(
            ref,
            ref,
            self._value(ref),
            force,
            publish=self._refs[ref].published,
            known=None if known is None else ObjectId.from_hex(known),
        )

    def _known(self, ref: str) -> str | None:
        """Return what the alias *ref* was when it was looked at last."""
        if self._remote.folder is None or not is_alias(ref):
            return None
        return self._state.value(tracking_ref(self._remote.name, ref))

    def _asked(self, pattern: Refspec) -> list[Wish]:
        wishes = []
        for refspec in expand(pattern, self._refs):
            source = find_ref(self._refs, refspec.source)
            force = refspec.force or self._force
            is_tag = source.startswith(TAGS)
            if not is_tag:
                wishes.append(self._branch(source))
            target = _target(refspec.target or source, source) if refspec.target or is_tag else None
            if is_tag and target == source:
                wishes.append(self._tag(source, force=force))
            elif target is not None:
                wishes.append(Wish(source, target, self._value(source), force))
        return wishes

    def _followed(self, tips: list[ObjectId]) -> list[str]:
        """Return the tags to take along with *tips*."""
        if self._tags is False:
            return []
        tags = [ref for ref in self._refs if ref.startswith(TAGS) and not self._is_moved_here_only(ref)]
        if self._tags:
            return tags
        new = [ref for ref in tags if ref not in self._state.refs]
        changed = [ref for ref in tags if ref in self._state.refs and self._has_changed(ref)]
        if not new:
            return changed
        missing = missing_there(self._objects, State.empty("") if self._complete else self._state, tips)
        coming = {*missing.commits, *missing.boundary, *tips}
        return [ref for ref in new if peel(self._objects, self._value(ref))[1] in coming] + changed

    def _is_moved_here_only(self, ref: str) -> bool:
        return ref in self._state.refs and self._known(ref) == self._refs[ref].value

    def _has_changed(self, ref: str) -> bool:
        """Tell whether the tag *ref*, which is here too, was published there since, or is an alias that moved."""
        here, there = self._state.refs[ref], self._refs[ref]
        if there.published:
            return not (here.published and here.value == there.value)
        return is_alias(ref) and here.value != there.value


def _target(name: str, source: str) -> str:
    kind = TAGS if source.startswith(TAGS) else HEADS
    target = check_ref_name(name if name.startswith("refs/") else kind + name)
    if not target.startswith((HEADS, TAGS, REMOTES)):
        message = f"cannot fetch into {target}: it is neither a branch nor a tag"
        raise RefusedError(message)
    return target
