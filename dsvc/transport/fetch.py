"""Fetching: what a remote has comes here, and refs of ours remember where its branches are.

All that arrives is hashed before it counts; then one log entry names packs, index and refs.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec

from dsvc.errors import ConflictError, CorruptionError, DsvcError
from dsvc.history.datasets import later_infos
from dsvc.history.store import CollectedError, Store
from dsvc.log.entry import RefChange
from dsvc.log.refs import TAGS, short_name
from dsvc.log.state import State
from dsvc.model.ids import ObjectId
from dsvc.odb.arrivals import Arrivals
from dsvc.odb.objects import ObjectNotFoundError
from dsvc.odb.receive import PackReceiver
from dsvc.odb.writer import Sealed
from dsvc.progress import NO_PROGRESS, Progress
from dsvc.storage.backend import Backend
from dsvc.transport.address import has_worktree
from dsvc.transport.bundle import stand_on
from dsvc.transport.closure import MissingObjectError
from dsvc.transport.data import history_here
from dsvc.transport.lacking import LackingRemoteError, clone_of
from dsvc.transport.metadata import bring_index, bring_metadata, drop_metadata
from dsvc.transport.negotiate import Missing
from dsvc.transport.offer import Into, Offer
from dsvc.transport.preparation import Preparation, missing_there, prepare, still_holds
from dsvc.transport.promise import Promise
from dsvc.transport.refspec import Refspec
from dsvc.transport.remote import Remote, RemoteDamagedError
from dsvc.transport.shallow import Versions
from dsvc.transport.tracking import changes_to
from dsvc.transport.transfer import Plan, send
from dsvc.transport.updates import Exchange, Outcome, RefUpdate, Wish, changes_of, judge, values_of
from dsvc.worktree.session import read_session

__all__ = ["FetchOptions", "FetchRejectedError", "fetch"]

_ATTEMPTS: Final = 5
_ONWARD: Final = (Outcome.UNCHANGED, Outcome.NEW, Outcome.FAST_FORWARD, Outcome.PUBLISHED)


class FetchRejectedError(ConflictError):
    """Some refs stay as they are, because what is here would be lost; the others were fetched."""

    def __init__(self, exchange: Exchange) -> None:
        names = ", ".join(f"{short_name(update.target)} ({update.outcome.value})" for update in exchange.rejected)
        super().__init__(f"rejected: {names}")
        self.exchange = exchange


class FetchOptions(msgspec.Struct, frozen=True):
    """*tags* None takes those of the versions that are fetched, True all, False none.

    With *prune*, branches that are gone there are forgotten; with *link*, packs are shared with a
    remote on the same filesystem instead of copied. Without *data*, what files contain stays there, promised, but for
    that of the version *data_of*; of a remote that is far away, it is brought later at less cost. *into* says where
    branches come.

    *shallow* brings no more of the history than it must, and with *depth* only so many versions before each tip: the
    rest stays there, promised. *complete* brings all of it, whatever is here already, and of the history of what refs
    here lead to all that is there.

    A remote that *stands_in* for the one that it is called as may be behind that: refs only come, or move forward.
    """

    tags: bool | None = None
    prune: bool = False
    force: bool = False
    dry_run: bool = False
    link: bool = False
    data: bool = True
    data_of: ObjectId | None = None
    threads: int = 1
    into: Into = Into.TRACKING
    shallow: bool = False
    depth: int | None = None
    complete: bool = False
    stands_in: bool = False


_DEFAULT: Final = FetchOptions()


def fetch(
    local: Store,
    remote: Remote,
    refspecs: Sequence[Refspec] = (),
    options: FetchOptions = _DEFAULT,
    *,
    arrivals: Arrivals | None = None,
    progress: Progress = NO_PROGRESS,
    also: Callable[[State], Sequence[RefChange]] = lambda _: (),
) -> Exchange:
    """Fetch *refspecs*, or without any all branches, from *remote*; *also* changes refs in the same entry.

    If there are *arrivals*, packs of data come to be there, open to be read, where they can.

    Raises:
        NoStoreError: There is nothing at its address.
        FetchRejectedError: Some refs would not move forward, and were asked for. All others were fetched.
        RemoteDamagedError: Something is missing or damaged there; nothing was fetched.
        StoreGoneError, OtherStoreError, RemoteRewoundError: It is not what it was.
    """
    fetching = _Fetching(local, remote, options, progress, arrivals)
    for _ in range(_ATTEMPTS):
        try:
            fetched = fetching.attempt(refspecs, also)
        except CollectedError as error:
            outdated = error
            continue
        remote.remember()
        asked = bool(refspecs) or options.tags is True
        if any(asked or not update.target.startswith(TAGS) for update in fetched.rejected):
            raise FetchRejectedError(fetched)
        return fetched
    raise outdated


class _Came(NamedTuple):
    """What came of a fetch: *found* is what had to, *sent* how many bytes did, and the log has to name *sealed*."""

    found: Preparation
    sent: int
    sealed: Sequence[Sealed] = ()


class _Fetching(NamedTuple):
    """One fetch, which may take several attempts."""

    local: Store
    remote: Remote
    options: FetchOptions
    progress: Progress
    arrivals: Arrivals | None

    def attempt(self, refspecs: Sequence[Refspec], also: Callable[[State], Sequence[RefChange]]) -> Exchange:
        """Bring what is missing, and move the refs.

        Raises:
            CollectedError: Something here changed meanwhile.
        """
        local, options = self.local, self.options
        there, state = self.remote.open(), local.state()
        stand_on(there, local)
        try:
            if options.shallow:
                bring_index(there)
                packs = there.backend
            else:
                packs = bring_metadata(there, local.objects)
            tags = False if options.depth is not None and options.tags is None else options.tags
            offer = Offer(
                self.remote,
                there,
                state,
                tags=tags,
                force=options.force,
                into=options.into,
                complete=options.complete,
            )
            wishes = offer.wishes(refspecs, prune=options.prune)
            updates = self._judge(state, wishes)
            if options.stands_in:
                updates = [update for update in updates if update.outcome in _ONWARD]
                targets = {update.target for update in updates}
                wishes = [wish for wish in wishes if wish.target in targets]
            if options.shallow:
                came = self._bring_newest(state, offer, wishes)
                updates = self._judge(state, wishes)
            else:
                tips = self._all_tips(there, state, wishes) if options.complete else values_of(updates)
                came = self._bring(state, tips, packs)
        except ObjectNotFoundError as error:
            drop_metadata(there)
            raise self._lacks(error.object_id) from error
        except CorruptionError as error:
            # What was copied of it is asked for again, should it be mended there.
            drop_metadata(there)
            if isinstance(error, RemoteDamagedError):
                raise
            raise RemoteDamagedError(self.remote.name, error) from error
        found, aliases = came.found, {} if options.stands_in else offer.aliases(wishes)
        if options.dry_run:
            return _exchange(updates, came)

        def build(now: State) -> Sequence[RefChange] | None:
            nonlocal updates
            updates = self._judge(now, wishes)
            if not (found.tips.issuperset(values_of(updates)) and still_holds(there.objects, found, now)):
                raise CollectedError(self.remote.name)
            said = later_infos(now, there.last_state())
            changes = [*changes_of(updates), *changes_to(now, aliases), *said, *also(now)]
            return changes if changes or any(one.packs for one in came.sealed) else None

        local.publish(build, came.sealed, relied=found.plan.relied)
        return _exchange(updates, came)

    def _lacks(self, object_id: bytes) -> DsvcError:
        """Return the error that the remote lacks *object_id*, which nobody has promised."""
        clone = clone_of(self.remote.origin)
        if clone is not None:
            return LackingRemoteError(f"object {object_id.hex()}", self.remote.name, clone)
        return RemoteDamagedError(self.remote.name, MissingObjectError(object_id))

    def _judge(self, state: State, wishes: Sequence[Wish]) -> list[RefUpdate]:
        # In a bare repository, nobody works on a branch.
        worked_on = read_session(state).branch if has_worktree(self.local.backend, "") else None
        return judge(self.remote.open().objects, state, wishes, worked_on=worked_on)

    def _all_tips(self, there: Store, state: State, wishes: Sequence[Wish]) -> list[ObjectId]:
        """Return what *wishes* lead to, and of the history of all that refs here lead to what is *there*."""
        known = [commit_id for commit_id in sorted(history_here(self.local, state)) if commit_id in there.objects]
        return list(dict.fromkeys([*_values(wishes), *known]))

    def _bring(self, state: State, tips: Sequence[ObjectId], packs: Backend) -> _Came:
        """Bring what is missing here below *tips*; metadata is read from *packs*."""
        local, options, progress, arrivals = self.local, self.options, self.progress, self.arrivals
        there = self.remote.open()
        if arrivals is not None:
            # Those of an earlier attempt.
            arrivals.close()
        is_far, bring = packs is not there.backend, None
        if is_far and options.data and not options.dry_run:
            # In few large requests, and what an interruption leaves is not asked for again.
            bring = Promise(local, [self.remote], link=options.link).bring
        found = prepare(
            there.objects,
            # All that is left is in the copy by now, but for data that nobody has brought.
            there.backend if options.data and bring is None else packs,
            local.objects,
            # Where all is to come, nothing is taken for complete because a ref leads to it.
            State.empty("") if options.complete else state,
            tips,
            progress=progress,
            data=options.data,
            data_of=options.data_of,
            bring=bring,
            arrive=None if arrivals is None else arrivals.take,
        )
        promisor = there.objects.promisor
        for object_id in promisor.unpromised(found.promised) if promisor is not None and found.promised else ():
            raise self._lacks(object_id)
        if options.dry_run:
            return _Came(found, found.plan.stored)
        local.tidy()
        receiver = PackReceiver(
            local.objects, local.backend, local.files.temporary, generation=state.last_sweep, distinct=True
        )
        if arrivals is not None:
            arrivals.open()
        progress.start("fetch", size=found.plan.stored - found.plan.brought - found.plan.arrived)
        sent = send(
            found.plan,
            there.objects,
            packs,
            receiver,
            threads=options.threads,
            link=options.link or is_far,
            progress=progress,
        )
        progress.finish()
        return _Came(found, found.plan.brought + found.plan.arrived + sent.bytes, [sent.sealed])

    def _bring_newest(self, state: State, offer: Offer, wishes: list[Wish]) -> _Came:
        """Bring the versions that *wishes* lead to, and of those before them as few as the options allow.

        Where they say how many, *wishes* comes to have the tags of these.
        """
        options, there = self.options, self.remote.open().objects
        promise = Promise(self.local, [self.remote], exact=True)
        versions = Versions(there, self.local.objects, promise.bring, self.progress)
        tips, commits = _values(wishes), list[ObjectId]()
        if options.depth is None:
            commits = missing_there(there, state, tips).commits
        if not options.dry_run:
            ends = versions.bring_tags(tips)
            if options.depth is not None:
                commits = versions.bring_newest(ends.values(), options.depth)
                if options.tags is None:
                    wished = {wish.target for wish in wishes}
                    tags = offer.tags_of(versions.bring_tags(offer.new_tags()), commits)
                    wishes += [wish for wish in tags if wish.target not in wished]
            versions.bring_trees(commits)
        plan = Plan(count=versions.count, raw=versions.raw, stored=versions.stored)
        # Nothing was left out because a ref leads there.
        found = Preparation(State.empty(""), frozenset(_values(wishes)), Missing(commits, []), plan)
        return _Came(found, versions.stored)


def _values(wishes: Sequence[Wish]) -> list[ObjectId]:
    return [wish.new for wish in wishes if wish.new is not None]


def _exchange(updates: list[RefUpdate], came: _Came) -> Exchange:
    plan = came.found.plan
    return Exchange(updates, plan.count, plan.raw, plan.stored, came.sent, len(came.found.missing.commits))
