"""Pushing: a remote's refs move to what is here, after all that they need was made durable there.

Packs, then the index, then one log entry that moves the refs. Whatever an interrupted push has made
durable is found by the next one.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from threading import Lock
from typing import Final

import msgspec

from dsvc.errors import ConflictError, NotFoundError, RefusedError
from dsvc.history.datasets import infos_of
from dsvc.history.head import Head
from dsvc.history.revisions import resolve
from dsvc.history.store import CollectedError, Store
from dsvc.history.versions import is_alias
from dsvc.log.entry import RefChange
from dsvc.log.refs import HEADS, REMOTES, TAGS, alias_ref, check_ref_name, short_name
from dsvc.log.sessions import UploadSession
from dsvc.log.state import State
from dsvc.model.ids import Kind, ObjectId
from dsvc.odb.pack import DATA_PACK_SIZE
from dsvc.odb.receive import PackReceiver
from dsvc.odb.writer import Sealed
from dsvc.progress import NO_PROGRESS, Progress
from dsvc.storage.backend import LocalFiles, Metered, interrupt
from dsvc.transport.ahead import NOTHING_AHEAD, Ahead, looking_ahead
from dsvc.transport.closure import MissingObjectError, peel
from dsvc.transport.preparation import Preparation, prepare, still_holds
from dsvc.transport.refspec import Refspec, UnknownSourceError, expand, find_ref
from dsvc.transport.remote import Remote
from dsvc.transport.tracking import changes_to, tracking_ref
from dsvc.transport.transfer import Sent, requests_for, send
from dsvc.transport.updates import Exchange, RefUpdate, Wish, changes_of, judge, values_of
from dsvc.worktree.session import read_session
from dsvc.worktree.workers import ALONE, Workers

__all__ = ["PushRejectedError", "push"]

_ATTEMPTS: Final = 5
# Packs under way at once to a store behind a network, however many processors there are: each is held in memory.
_UPLOADS: Final = 2


class _OutdatedError(ConflictError):
    """Others changed what the push was prepared for; it is prepared again."""


class PushRejectedError(ConflictError):
    """Some refs stay as they are, because what is there would be lost; the others were pushed."""

    def __init__(self, exchange: Exchange) -> None:
        names = ", ".join(f"{short_name(update.target)} ({update.outcome.value})" for update in exchange.rejected)
        super().__init__(f"rejected: {names}")
        self.exchange = exchange
        self.outcomes = {update.outcome for update in exchange.rejected}


def push(
    local: Store,
    remote: Remote,
    refspecs: Sequence[Refspec],
    *,
    delete: Sequence[str] = (),
    also: Sequence[Wish] = (),
    mirror: bool = False,
    dry_run: bool = False,
    workers: Workers = ALONE,
    progress: Progress = NO_PROGRESS,
) -> Exchange:
    """Push *refspecs*, and remove the refs *delete* there.

    *also* are wishes that no refspec can say. A tag that is published here is published there. With *mirror*, all
    branches and tags there that are not here go too, and none that is published there is tried to be moved.

    Raises:
        PushRejectedError: Some refs would not move forward. All others were pushed.
        UnknownSourceError: Something to push or to delete is not there.
        CorruptionError: Something that has to be sent is missing or damaged here.
        CommitUnknownError: Nobody can say whether the refs moved.
    """
    state = local.state()
    # Of what goes, only the remote knows whether it is a branch or a tag.
    delete = [*delete, *(refspec.target or "" for refspec in refspecs if not refspec.source)]
    wishes = [*_wishes(local, state, [refspec for refspec in refspecs if refspec.source], remote), *also]
    # Before the remote is opened: processes are forked while nothing of it is here.
    with _looking_ahead(local, remote, wishes, workers) as ahead:
        before = _requests(remote)
        if dry_run and not remote.is_store:
            remote.check_creatable()
            pushed = _dry_run(local, remote, None, wishes, progress)
        else:
            there = remote.open() if dry_run or (delete and not wishes) else remote.open_or_create()
            if delete or mirror:
                found = there.last_state()
                if mirror:
                    published = {ref: value.value for ref, value in found.refs.items() if value.published}
                    wishes = [wish for wish in wishes if published.get(wish.target, wish.hex) == wish.hex]
                wishes += [*_deletions(found, delete), *(_surplus(found, state) if mirror else ())]
            if dry_run:
                pushed = _dry_run(local, remote, there, wishes, progress)
            else:
                pushed = _push(local, remote, there, wishes, ahead=ahead, threads=workers.jobs, progress=progress)
    if not dry_run:
        _track(local, remote, pushed.updates)
        remote.remember()
        pushed = msgspec.structs.replace(pushed, requests=_requests(remote) - before)
    if pushed.rejected:
        raise PushRejectedError(pushed)
    return pushed


def _looking_ahead(
    local: Store, remote: Remote, wishes: Sequence[Wish], workers: Workers
) -> AbstractContextManager[Ahead]:
    # Of a folder, nothing has to be loaded, so two would only do the same work.
    if remote.is_reached or remote.folder is None:
        return nullcontext(NOTHING_AHEAD)
    return looking_ahead(local.files.root, remote.folder, list(wishes), workers)


def _requests(remote: Remote) -> int:
    return remote.backend.requests if isinstance(remote.backend, Metered) else 0


def _wishes(local: Store, state: State, refspecs: Sequence[Refspec], remote: Remote) -> list[Wish]:
    wishes: dict[str, Wish] = {}
    for pattern in refspecs:
        for refspec in expand(pattern, state.refs):
            wish = _wish(local, state, refspec, remote)
            if wishes.setdefault(wish.target, wish) != wish:
                message = f"{wish.target} cannot be pushed from two places at once"
                raise ConflictError(message)
    return list(wishes.values())


def _wish(local: Store, state: State, refspec: Refspec, remote: Remote) -> Wish:
    session = read_session(state)
    if refspec.source in ("HEAD", "@"):
        value = session.commit(state)
        if value is None:
            message = "there is no commit to push yet"
            raise NotFoundError(message)
        source = session.branch or value.hex()
        default = session.branch
    else:
        source, value = _resolve(local, state, refspec.source)
        default = source if source.startswith("refs/") else None
    if refspec.target is None and default is None:
        message = f"say which branch {refspec.source} is to become, as `{refspec.source}:BRANCH`"
        raise NotFoundError(message)
    kind = TAGS if source.startswith(TAGS) else HEADS
    target = _target(refspec.target, kind) if refspec.target else default or ""
    if target.startswith(HEADS) and local.objects.kind_of(value) == Kind.TAG:
        value = peel(local.objects, value)[1]
    found = state.refs.get(source)
    publish = found is not None and found.published and target.startswith(TAGS)
    known = state.value(alias_ref(remote.name, target)) if is_alias(target) and remote.folder is not None else None
    return Wish(
        source,
        check_ref_name(target),
        value,
        refspec.force,
        publish=publish,
        known=None if known is None else ObjectId.from_hex(known),
    )


def _resolve(local: Store, state: State, name: str) -> tuple[str, ObjectId]:
    try:
        source = find_ref((ref for ref in state.refs if ref.startswith((HEADS, TAGS, REMOTES))), name)
    except UnknownSourceError:
        # A commit may be pushed by its id too, or as any other revision.
        if len(name) == 64 and not set(name) - set("0123456789abcdef"):
            value = ObjectId.from_hex(name)
            if local.objects.kind_of(value) in (Kind.COMMIT, Kind.TAG):
                return name, value
        session = read_session(state)
        with suppress(NotFoundError):
            return name, resolve(local, state, name, head=Head(session.branch, session.commit(state)))
        raise
    return source, ObjectId.from_hex(state.refs[source].value)


def _target(name: str, kind: str) -> str:
    target = check_ref_name(name if name.startswith("refs/") else kind + name)
    if not target.startswith((HEADS, TAGS)):
        message = f"only branches and tags can be pushed, and {target} is neither"
        raise RefusedError(message)
    return target


def _deletions(state: State, names: Sequence[str]) -> list[Wish]:
    return [
        Wish("", find_ref((ref for ref in state.refs if ref.startswith((HEADS, TAGS))), name), None, force=False)
        for name in names
    ]


def _surplus(there: State, here: State) -> list[Wish]:
    """Return the wish that each ref goes that is only there, and that may go."""
    return [
        Wish("", ref, None, force=True)
        for ref, found in sorted(there.refs.items())
        if ref.startswith((HEADS, TAGS)) and ref not in here.refs and not found.published
    ]


def _judge(local: Store, state: State, remote: Remote, wishes: Sequence[Wish]) -> list[RefUpdate]:
    worked_on = read_session(state).branch if remote.has_worktree else None
    return judge(local.objects, state, wishes, worked_on=worked_on)


def _dry_run(local: Store, remote: Remote, there: Store | None, wishes: Sequence[Wish], progress: Progress) -> Exchange:
    state = State.empty("") if there is None else there.state()
    updates = _judge(local, state, remote, wishes)
    objects = remote.empty_database() if there is None else there.objects
    found = prepare(local.objects, local.backend, objects, state, values_of(updates), progress=progress)
    planned = _exchange(updates, found, sent=found.plan.stored)
    is_metered = isinstance(remote.backend, Metered) and not found.plan.is_empty
    requests = requests_for(found.plan.packs, is_store=there is not None) if is_metered else 0
    return msgspec.structs.replace(planned, packs=found.plan.packs, requests=requests)


def _exchange(updates: list[RefUpdate], found: Preparation, *, sent: int) -> Exchange:
    plan = found.plan
    return Exchange(
        updates, plan.count, plan.raw, plan.stored, sent, len(found.missing.commits), promised=len(found.promised)
    )


def _push(
    local: Store,
    remote: Remote,
    there: Store,
    wishes: Sequence[Wish],
    *,
    ahead: Ahead,
    threads: int,
    progress: Progress,
) -> Exchange:
    with ThreadPoolExecutor(1) as background:
        session = UploadSession(there.backend, there.context, process=os.getpid(), background=background)
        try:
            for _ in range(_ATTEMPTS):
                try:
                    pushed = _attempt(
                        local, remote, there, wishes, ahead=ahead, session=session, threads=threads, progress=progress
                    )
                except (CollectedError, _OutdatedError) as error:
                    outdated = error
                else:
                    return pushed
            raise outdated
        except BaseException as error:
            if not isinstance(error, Exception):
                # Who pressed Ctrl-C does not wait for what is being told, but for the end of the story.
                interrupt(there.backend)
            session.fail(error)
            raise


class _Told:
    """Progress that is told to *progress*, and now and then to everybody, through *session*."""

    def __init__(self, progress: Progress, session: UploadSession) -> None:
        self._progress = progress
        self._session = session
        self._sent = self._told = 0
        self._lock = Lock()

    def start(self, task: str, *, files: int | None = None, size: int | None = None) -> None:
        self._progress.start(task, files=files, size=size)

    def expect(self, *, files: int, size: int) -> None:
        self._progress.expect(files=files, size=size)

    def advance(self, files: int = 0, size: int = 0) -> None:
        self._progress.advance(files, size)
        with self._lock:
            self._sent += size
            if self._sent - self._told >= DATA_PACK_SIZE:
                self._told = self._sent
                self._session.advance(self._sent)

    def finish(self) -> None:
        self._progress.finish()


def _attempt(
    local: Store,
    remote: Remote,
    there: Store,
    wishes: Sequence[Wish],
    *,
    ahead: Ahead,
    session: UploadSession,
    threads: int,
    progress: Progress,
) -> Exchange:
    state = there.last_state()
    updates = _judge(local, state, remote, wishes)
    found = ahead.preparation(state, values_of(updates))
    made = NOTHING_AHEAD.packs if found is None else ahead.packs
    found = found or _prepare(local, there, state, values_of(updates), progress)
    if found.plan.is_empty:
        sent = Sent(Sealed(), 0)
    else:
        session.start({change.ref: change.new for change in changes_of(updates)}, found.plan.stored)
        there.tidy()
        receiver = PackReceiver(
            there.objects,
            there.backend,
            local.files.temporary,
            generation=state.last_sweep,
            is_new=not remote.begin_sending(),
            distinct=True,
        )
        progress.start("push", size=found.plan.stored)
        told = _Told(progress, session)
        threads = threads if isinstance(there.backend, LocalFiles) else _UPLOADS
        sent = send(found.plan, local.objects, local.backend, receiver, threads=threads, made=made, progress=told)
        progress.finish()
    words: list[RefChange] = []

    def build(now: State) -> Sequence[RefChange] | None:
        nonlocal updates, words
        updates = _judge(local, now, remote, wishes)
        if not (found.tips.issuperset(values_of(updates)) and still_holds(local.objects, found, now)):
            message = f"the remote {remote.name} changed, again and again, while this was pushed"
            raise _OutdatedError(message)
        words = _words(local, now, updates)
        return [*changes_of(updates), *words] or None

    # While the entry is made: should it not be, the session is told to have failed, or is begun again.
    session.finish()
    # Looked at when it was opened; should others have been faster since, nothing is lost but this one request.
    there.publish(build, [sent.sealed], relied=found.plan.relied, at_once=True)
    remote.end_sending()
    return msgspec.structs.replace(
        _exchange(updates, found, sent=sent.bytes), packs=len(sent.sealed.packs), described=len(words)
    )


def _words(local: Store, now: State, updates: Sequence[RefUpdate]) -> list[RefChange]:
    """Return the changes that tell the remote what is said here of the datasets that go there."""
    branches = {one.target.removeprefix(HEADS) for one in updates if one.target.startswith(HEADS) and one.new}
    return infos_of(now, local.log.last(), branches)


def _prepare(local: Store, there: Store, state: State, tips: Sequence[ObjectId], progress: Progress) -> Preparation:
    """Find out what has to be sent; what of it is only promised here is brought first.

    Raises:
        MissingObjectError: Something is nowhere.
        OutOfReachError: The remote that has some of it cannot be reached.
    """
    found = prepare(local.objects, local.backend, there.objects, state, tips, progress=progress)
    if found.promised and local.objects.promisor is not None:
        for object_id in local.objects.promisor.bring(found.promised, progress):
            raise MissingObjectError(object_id)
        found = prepare(local.objects, local.backend, there.objects, state, tips, progress=progress)
    return found


def _track(local: Store, remote: Remote, updates: Sequence[RefUpdate]) -> None:
    """Let the refs that remember the remote's branches and aliases say what they are now."""
    if remote.folder is None:
        return
    wanted = {
        tracking_ref(remote.name, update.target): None if update.new is None else update.new.hex()
        for update in updates
        if (update.target.startswith(HEADS) or is_alias(update.target)) and not update.outcome.is_rejected
    }
    local.publish(lambda state: changes_to(state, wanted) or None)
