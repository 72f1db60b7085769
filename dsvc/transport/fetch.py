"""Fetching: what a remote has comes here, and refs of ours remember where its branches are.

All that arrives is hashed before it counts; then one log entry names packs, index and refs.
"""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from dsvc.errors import ConflictError, CorruptionError
from dsvc.history.datasets import later_infos
from dsvc.history.store import CollectedError, Store
from dsvc.log.entry import RefChange
from dsvc.log.refs import TAGS, short_name
from dsvc.log.state import State
from dsvc.model.ids import ObjectId
from dsvc.odb.receive import PackReceiver
from dsvc.progress import NO_PROGRESS, Progress
from dsvc.transport.address import has_worktree
from dsvc.transport.bundle import stand_on
from dsvc.transport.metadata import bring_metadata, drop_metadata
from dsvc.transport.offer import Into, Offer
from dsvc.transport.preparation import Preparation, prepare, still_holds
from dsvc.transport.promise import Promise
from dsvc.transport.refspec import Refspec
from dsvc.transport.remote import Remote, RemoteDamagedError
from dsvc.transport.tracking import changes_to
from dsvc.transport.transfer import send
from dsvc.transport.updates import Exchange, RefUpdate, Wish, changes_of, judge, values_of
from dsvc.worktree.session import read_session

__all__ = ["FetchOptions", "FetchRejectedError", "fetch"]

_ATTEMPTS: Final = 5


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


_DEFAULT: Final = FetchOptions()


def fetch(
    local: Store,
    remote: Remote,
    refspecs: Sequence[Refspec] = (),
    options: FetchOptions = _DEFAULT,
    *,
    progress: Progress = NO_PROGRESS,
    also: Callable[[State], Sequence[RefChange]] = lambda _: (),
) -> Exchange:
    """Fetch *refspecs*, or without any all branches, from *remote*; *also* changes refs in the same entry.

    Raises:
        NoStoreError: There is nothing at its address.
        FetchRejectedError: Some refs would not move forward, and were asked for. All others were fetched.
        RemoteDamagedError: Something is missing or damaged there; nothing was fetched.
        StoreGoneError, OtherStoreError, RemoteRewoundError: It is not what it was.
    """
    for _ in range(_ATTEMPTS):
        try:
            fetched = _attempt(local, remote, refspecs, options, progress=progress, also=also)
        except CollectedError as error:
            outdated = error
            continue
        remote.remember()
        asked = bool(refspecs) or options.tags is True
        if any(asked or not update.target.startswith(TAGS) for update in fetched.rejected):
            raise FetchRejectedError(fetched)
        return fetched
    raise outdated


def _attempt(
    local: Store,
    remote: Remote,
    refspecs: Sequence[Refspec],
    options: FetchOptions,
    *,
    progress: Progress,
    also: Callable[[State], Sequence[RefChange]],
) -> Exchange:
    there, state = remote.open(), local.state()
    stand_on(there, local)
    try:
        packs = bring_metadata(there, local.objects)
        there.objects.nearer = local.objects
        offer = Offer(remote, there, state, tags=options.tags, force=options.force, into=options.into)
        wishes = offer.wishes(refspecs, prune=options.prune)
        aliases = offer.aliases(wishes)
        updates = _judge(local, there, state, wishes)
        is_far, bring = packs is not there.backend, None
        if options.data and is_far:
            # In few large requests, and what an interruption leaves is not asked for again.
            bring = Promise(local, [remote], link=options.link).bring
            # Without data, all that has to come is in the copy by now.
            packs = there.backend if options.dry_run else packs
        found = prepare(
            there.objects,
            packs,
            local.objects,
            state,
            values_of(updates),
            progress=progress,
            data=options.data,
            data_of=options.data_of,
            bring=None if options.dry_run else bring,
        )
        if options.dry_run:
            return _exchange(updates, found, sent=found.plan.stored)
        local.tidy()
        receiver = PackReceiver(local.objects, local.backend, local.files.temporary, generation=state.last_sweep)
        progress.start("fetch", size=found.plan.stored - found.plan.brought)
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
    except CorruptionError as error:
        # What was copied of it is asked for again, should it be mended there.
        drop_metadata(there)
        if isinstance(error, RemoteDamagedError):
            raise
        raise RemoteDamagedError(remote.name, error) from error

    def build(now: State) -> Sequence[RefChange] | None:
        nonlocal updates
        updates = _judge(local, there, now, wishes)
        if not (found.tips.issuperset(values_of(updates)) and still_holds(there.objects, found, now)):
            raise CollectedError(remote.name)
        return [*changes_of(updates), *changes_to(now, aliases), *later_infos(now, there.state()), *also(now)] or None

    local.publish(build, [sent.sealed], relied=found.plan.relied)
    return _exchange(updates, found, sent=found.plan.brought + sent.bytes)


def _exchange(updates: list[RefUpdate], found: Preparation, *, sent: int) -> Exchange:
    plan = found.plan
    return Exchange(updates, plan.count, plan.raw, plan.stored, sent, len(found.missing.commits))


def _judge(local: Store, there: Store, state: State, wishes: Sequence[Wish]) -> list[RefUpdate]:
    # In a bare repository, nobody works on a branch.
    worked_on = read_session(state).branch if has_worktree(local.backend, "") else None
    return judge(there.objects, state, wishes, worked_on=worked_on)
