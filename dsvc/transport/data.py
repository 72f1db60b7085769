"""Bringing the data of versions that are here without it."""

from itertools import chain

from dsvc.history.commits import commits_here
from dsvc.history.needs import chunks_of_trees
from dsvc.history.store import Store
from dsvc.history.walk import ancestors
from dsvc.log.refs import HEADS, REMOTES, TAGS
from dsvc.log.state import State
from dsvc.model.ids import Kind, ObjectId
from dsvc.odb.objects import ObjectNotFoundError
from dsvc.progress import NO_PROGRESS, Progress
from dsvc.transport.closure import peel

__all__ = ["bring_all", "history_here"]


def history_here(local: Store, state: State) -> set[ObjectId]:
    """Return the versions that branches and tags of *state* lead to, and that are here, and those right before them."""
    commits = commits_here(local.objects)
    ends = [end for end in _ends(local, state) if local.objects.kind_of(end) == Kind.COMMIT]
    return {*ancestors(commits, ends), *commits.cut}


def _ends(local: Store, state: State) -> list[ObjectId]:
    """Return what branches and tags of *state*, those of remotes too, lead to."""
    tips = [ref.value for name, ref in state.refs.items() if name.startswith((HEADS, TAGS, REMOTES))]
    return [peel(local.objects, ObjectId.from_hex(tip))[1] for tip in dict.fromkeys(tips)]


def bring_all(local: Store, state: State, progress: Progress = NO_PROGRESS) -> None:
    """Bring the data of all versions that branches and tags of *state* lead to, and that are here.

    Raises:
        OutOfReachError: The remote that has some of it cannot be reached.
        RemoteDamagedError: What came is not what its id says.
        ObjectNotFoundError: Nobody has promised some of it.
    """
    objects = local.objects
    if objects.promisor is None:
        return
    ends = _ends(local, state)
    roots = [end for end in ends if objects.kind_of(end) == Kind.PAGE]
    commits = commits_here(objects)
    versions = ancestors(commits, [end for end in ends if objects.kind_of(end) == Kind.COMMIT])
    chunks = chunks_of_trees(objects, chain(roots, (commits.get(version).tree for version in versions)))
    for chunk_id in objects.promisor.bring(chunks, progress):
        raise ObjectNotFoundError(chunk_id)
