"""Cloning: a new repository gets what a remote has.

The repository is there already, empty, and knows the remote; whoever makes it does that first, so
that an interrupted clone can be gone on with from wherever it stopped.
"""

from contextlib import closing, nullcontext
from typing import Final

import msgspec

from dsvc.errors import CorruptionError, NotFoundError
from dsvc.history.tree import Tree
from dsvc.log.entry import RefChange
from dsvc.log.refs import HEADS, TAGS
from dsvc.log.state import State
from dsvc.model.ids import ObjectId
from dsvc.odb.arrivals import Arrivals
from dsvc.progress import NO_PROGRESS, Progress
from dsvc.storage.backend import LocalFiles
from dsvc.transport.closure import peel
from dsvc.transport.data import bring_all
from dsvc.transport.fetch import FetchOptions, fetch
from dsvc.transport.offer import Into
from dsvc.transport.promise import Promise
from dsvc.transport.refspec import Refspec
from dsvc.transport.remote import Remote, RemoteDamagedError
from dsvc.transport.updates import Exchange
from dsvc.worktree.bring import bring_content
from dsvc.worktree.checkout import switch_to
from dsvc.worktree.resume import resume
from dsvc.worktree.session import read_session
from dsvc.worktree.workers import ALONE, Workers
from dsvc.worktree.worktree import Worktree

__all__ = ["Cloned", "NoBranchError", "choose_head", "clone"]

_USUAL: Final = ("main", "master")


class NoBranchError(NotFoundError):
    """The remote has no branch or tag that is called so."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the remote has no branch or tag `{name}`")
        self.name = name


class Cloned(msgspec.Struct, frozen=True):
    """What a clone did: *head* is what it stands on, None where the remote is empty; *files* were written."""

    exchange: Exchange
    head: str | None
    files: int


def clone(
    worktree: Worktree,
    remote: Remote,
    *,
    branch: str | None = None,
    checkout: bool = True,
    link: bool = True,
    data: bool = False,
    into: Into = Into.TRACKING,
    depth: int | None = None,
    workers: Workers = ALONE,
    progress: Progress = NO_PROGRESS,
) -> Cloned:
    """Fetch all that *remote* has into *worktree*, which is new, and write the files of *branch* or its default.

    With *data*, that of all versions comes; else, only that of the files which are written, and *remote* should be
    configured as a promisor. *into* says where branches come. With *depth*, so many versions of each branch do, and
    older ones are promised. What an earlier attempt has done is not done again.

    Raises:
        NoStoreError: There is nothing at the remote's address.
        NoBranchError: There is no such branch.
        RemoteDamagedError: Something is missing or damaged there.
    """
    there = remote.open()
    chosen = choose_head(there.last_state(), branch)
    shallow = depth is not None
    if not data or shallow:
        worktree.store.promise(Promise(worktree.store, [remote], link=link))
    first, is_new, arrivals = None, False, None
    if checkout and chosen is not None and not (worktree.sparse or shallow) and isinstance(there.backend, LocalFiles):
        # Of a folder, all comes at one go; far away, metadata is walked where it was brought to.
        first = peel(there.objects, chosen[1])[1]
        is_new = worktree.store.objects.is_empty
        if is_new and link and not data:
            arrivals = Arrivals(
                worktree.store.objects, worktree.store.files, generation=worktree.store.state().last_sweep
            )
    options = FetchOptions(
        tags=None if shallow else True,
        link=link,
        data=data,
        data_of=first,
        threads=max(1, workers.jobs),
        into=into,
        shallow=shallow,
        depth=depth,
    )
    with nullcontext() if arrivals is None else closing(arrivals):
        exchange = fetch(worktree.store, remote, options=options, arrivals=arrivals, progress=progress)
        if chosen is not None and chosen[0].startswith(TAGS) and chosen[0] not in worktree.store.state().refs:
            # It names an older version than came.
            fetch(worktree.store, remote, [Refspec(chosen[0])], options, progress=progress)
        if data:
            # Where an earlier attempt has fetched without.
            bring_all(worktree.store, worktree.store.state(), progress)
        if chosen is None:
            return Cloned(exchange, None, 0)
        ref, value = chosen
        commit_id = peel(worktree.store.objects, value)[1]
        head = ref if ref.startswith(HEADS) else commit_id.hex()
        if not checkout:
            worktree.store.publish(lambda state: _set_head(worktree, state, head, commit_id))
            return Cloned(exchange, head, 0)
        try:
            files = _check_out(worktree, head, commit_id, workers, progress, is_here=is_new)
        except CorruptionError as error:
            if arrivals is None:
                raise
            raise RemoteDamagedError(remote.name, error) from error
        if arrivals is not None:
            # Each object in there was read by now, and verified: all of it belongs to these files.
            sealed = arrivals.keep()
            worktree.store.publish(lambda _: [] if sealed.packs else None, [sealed])
        elif first is not None and not is_new:
            # The data of what an earlier attempt has written.
            tree = Tree(worktree.store.objects, worktree.commit_of(commit_id).tree)
            bring_content(worktree, tree.entries(), progress)
        return Cloned(exchange, head, files)


def choose_head(state: State, name: str | None) -> tuple[str, ObjectId] | None:
    """Return the ref to stand on, *name* or the default of the store in *state*, and its value; None if it is empty.

    Raises:
        NoBranchError: There is no *name*.
    """
    refs = {ref: ObjectId.from_hex(state.refs[ref].value) for ref in state.refs if ref.startswith((HEADS, TAGS))}
    if name is not None:
        for ref in (HEADS + name, TAGS + name):
            if ref in refs:
                return ref, refs[ref]
        raise NoBranchError(name)
    branches = sorted(ref for ref in refs if ref.startswith(HEADS))
    # Where somebody works on the other side, what they work on; a bare store has no opinion.
    preferred = [read_session(state).head, *(HEADS + usual for usual in _USUAL), *branches]
    return next(((ref, refs[ref]) for ref in preferred if ref in branches), None)


def _check_out(
    worktree: Worktree,
    head: str,
    commit_id: ObjectId,
    workers: Workers,
    progress: Progress,
    *,
    is_here: bool = False,
) -> int:
    if resume(worktree, workers=workers, progress=progress):
        return worktree.commit_of(commit_id).files
    tree = Tree(worktree.store.objects, worktree.commit_of(commit_id).tree)
    return switch_to(
        worktree,
        head,
        tree,
        is_here=is_here,
        changes=lambda state: _branch_change(state, head, commit_id),
        workers=workers,
        progress=progress,
    )


def _branch_change(state: State, head: str, commit_id: ObjectId) -> list[RefChange]:
    if not head.startswith(HEADS) or state.value(head) == commit_id.hex():
        return []
    return [RefChange(head, state.value(head), commit_id.hex())]


def _set_head(worktree: Worktree, state: State, head: str, commit_id: ObjectId) -> list[RefChange] | None:
    changes = _branch_change(state, head, commit_id)
    session = worktree.session(state)
    if session.head != head:
        changes.append(session.change(state, head=head))
    return changes or None
