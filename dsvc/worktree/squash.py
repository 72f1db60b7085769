"""Squashing: one version in place of several, with the very tree of the last of them.

A commit is written and no data moves: what was removed on the way stays removed, as it is not in that tree.
"""

from collections.abc import Sequence

import msgspec

from dsvc.errors import InvalidInputError, NotFoundError, RefusedError
from dsvc.history.branches import branch_change
from dsvc.history.commits import Commits, commits_here, new_commit
from dsvc.history.revisions import Target, peel
from dsvc.history.store import Store
from dsvc.history.walk import is_ancestor, walk
from dsvc.log.entry import RefChange
from dsvc.log.refs import HEADS, REMOTES, TAGS, branch_ref, short_name
from dsvc.log.state import State
from dsvc.model.codec import encode
from dsvc.model.commit import Commit
from dsvc.model.ids import Kind, ObjectId
from dsvc.worktree.commit import HeadMovedError
from dsvc.worktree.session import refuse_unfinished
from dsvc.worktree.worktree import Worktree

__all__ = ["NotAncestorError", "NothingToSquashError", "SharedVersionsError", "Span", "Squashed", "find_span", "squash"]

_SHOWN = 5


class NotAncestorError(InvalidInputError):
    """The first version is none that the last one was made from."""

    def __init__(self, base: ObjectId, tip: ObjectId) -> None:
        super().__init__(f"{base.short} is not a version that {tip.short} comes from")


class NothingToSquashError(NotFoundError):
    """There are not several versions."""

    def __init__(self, tip: ObjectId) -> None:
        super().__init__(f"nothing to squash: {tip.short} is one version already")


class SharedVersionsError(RefusedError):
    """Others know the versions, and their branches would have another history than ours."""

    def __init__(self, branch: str, names: Sequence[str]) -> None:
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        shown = ", ".join(names[:_SHOWN]) + more
        super().__init__(f"{branch} would lose versions that are published or were pushed: {shown} would part from it")
        self.names = list(names)


class Span(msgspec.Struct, frozen=True):
    """The *versions* to squash, the newest first, the first of which is the last one's; *base* comes before them."""

    base: ObjectId | None
    tip: ObjectId
    versions: list[tuple[ObjectId, Commit]]


class Squashed(msgspec.Struct, frozen=True):
    """The new version, where it is, and the refs that still lead to those that it stands for."""

    id: ObjectId
    commit: Commit
    branch: str | None
    kept: list[str]


def find_span(commits: Commits, base: ObjectId | None, tip: ObjectId) -> Span:
    """Return the versions behind *base* up to *tip*; all of them, if there is no *base*.

    Raises:
        NotAncestorError: *tip* does not come from *base*.
        NothingToSquashError: They are one or none.
    """
    if base is not None and not is_ancestor(commits, base, tip):
        raise NotAncestorError(base, tip)
    versions = [(visit.id, visit.commit) for visit in walk(commits, [tip], [] if base is None else [base])]
    if len(versions) < 2:
        raise NothingToSquashError(tip)
    return Span(base, tip, versions)


def squash(worktree: Worktree, span: Span, message: str, *, branch: str | None = None, force: bool = False) -> Squashed:
    """Make one version of *span*, and the new *branch* at it; without one, the current branch moves there.

    It has the metadata of the last one, and the inputs of all. Nothing else moves, and the files stay as they are.

    Raises:
        SharedVersionsError: The current branch would part from what is published or was pushed, without *force*.
        BranchExistsError, InvalidRefNameError: *branch* cannot be made.
        HeadMovedError: The current branch is not at the last of the versions.
        UnfinishedError, SwitchInterruptedError: The current branch cannot be moved now.
    """
    store = worktree.store
    state = store.state()
    session = worktree.session(state)
    kept = _leading_to(worktree, state, span)
    if branch is None:
        refuse_unfinished(session)
        kept = [ref for ref in kept if ref != session.branch]
        shared = [short_name(ref) for ref in kept if ref.startswith(REMOTES) or state.refs[ref].published]
        if shared and not force:
            raise SharedVersionsError(short_name(session.head), shared)
    made = _commit_of(store, span, message)
    writer = store.writer()
    commit_id = writer.write(Kind.COMMIT, encode(made))
    sealed = [writer.seal()]

    def build(now: State) -> list[RefChange]:
        if branch is not None:
            change = branch_change(now, branch_ref(branch), commit_id)
            return [] if change is None else [change]
        if worktree.session(now) != session or session.commit(now) != span.tip:
            raise HeadMovedError(session.head)
        if session.branch is None:
            return [session.change(now, head=commit_id.hex())]
        return [RefChange(session.branch, span.tip.hex(), commit_id.hex())]

    store.publish(build, sealed)
    return Squashed(commit_id, made, session.branch if branch is None else branch_ref(branch), kept)


def _commit_of(store: Store, span: Span, message: str) -> Commit:
    """Return the commit that stands for *span*."""
    commits = Commits(store.objects)
    old = {commit_id for commit_id, _ in span.versions}
    inputs = (one for _, commit in reversed(span.versions) for one in commit.inputs if one.commit not in old)
    return new_commit(
        store.context,
        commits.tree(span.tip),
        [] if span.base is None else [span.base],
        message,
        metadata=commits.get(span.tip).metadata,
        inputs=list(dict.fromkeys(inputs)),
    )


def _leading_to(worktree: Worktree, state: State, span: Span) -> list[str]:
    """Return the refs that lead to one of the versions of *span*: that are at one, or at what comes from it."""
    objects = worktree.store.objects
    values: dict[str, ObjectId] = {}
    for ref in sorted(ref for ref in state.refs if ref.startswith((HEADS, TAGS, REMOTES))):
        value = ObjectId.from_hex(state.refs[ref].value)
        if ref.startswith(TAGS) and objects.kind_of(value) == Kind.TAG:
            value = peel(worktree.store, Target(value, Kind.TAG)).id
        if objects.kind_of(value) == Kind.COMMIT:
            values[ref] = value
    commits = commits_here(objects)
    leading = {commit_id for commit_id, _ in span.versions}
    newest_first = list(walk(commits, values.values(), [] if span.base is None else [span.base], topological=True))
    for visit in reversed(newest_first):
        if not leading.isdisjoint(commits.parents(visit.id)):
            leading.add(visit.id)
    return [ref for ref, value in values.items() if value in leading]
