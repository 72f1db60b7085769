"""Branches: refs that move. Which one is current, a worktree knows, so it is told."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from dsvc.errors import AlreadyExistsError, NotFoundError, RefusedError
from dsvc.history.commits import Commits
from dsvc.history.store import Store
from dsvc.history.walk import ancestors, is_ancestor
from dsvc.log.entry import RefChange
from dsvc.log.refs import HEADS, REMOTES, InvalidRefNameError, branch_ref, check_ref_name, short_name
from dsvc.log.state import State
from dsvc.model.ids import ObjectId

__all__ = [
    "Branch",
    "BranchExistsError",
    "BranchNotFoundError",
    "CurrentBranchError",
    "UnmergedBranchError",
    "branch_change",
    "containing",
    "copy_branch",
    "create_branch",
    "delete_branch",
    "list_branches",
    "merged",
    "rename_branch",
]


class BranchExistsError(AlreadyExistsError):
    """The name is taken."""

    def __init__(self, ref: str) -> None:
        super().__init__(f"a branch named '{short_name(ref)}' already exists")
        self.ref = ref


class BranchNotFoundError(NotFoundError):
    """There is no such branch."""

    def __init__(self, ref: str) -> None:
        kind = "remote-tracking branch" if ref.startswith(REMOTES) else "branch"
        super().__init__(f"{kind} '{short_name(ref)}' not found")
        self.ref = ref


class CurrentBranchError(RefusedError):
    """A worktree is on this branch."""

    def __init__(self, ref: str, what: str) -> None:
        super().__init__(f"cannot {what} branch '{short_name(ref)}': it is the current one")
        self.ref = ref


class UnmergedBranchError(RefusedError):
    """The branch has commits that would be on no branch any more."""

    def __init__(self, ref: str) -> None:
        super().__init__(f"the branch '{short_name(ref)}' is not fully merged")
        self.ref = ref


class Branch(NamedTuple):
    """A branch by its full name, and the commit that it is at."""

    ref: str
    commit: ObjectId

    @property
    def name(self) -> str:
        """What people call it."""
        return short_name(self.ref)


def list_branches(state: State, *, local: bool = True, remote: bool = False) -> list[Branch]:
    """Return the branches of this store and those that are remembered of remotes, in order of their full names."""
    kinds = tuple(kind for kind, wanted in ((HEADS, local), (REMOTES, remote)) if wanted)
    return [
        Branch(name, ObjectId.from_hex(ref.value)) for name, ref in sorted(state.refs.items()) if name.startswith(kinds)
    ]


def containing(commits: Commits, branches: Iterable[Branch], commit: ObjectId) -> Iterator[Branch]:
    """Yield those of *branches* that *commit* is part of."""
    return (branch for branch in branches if is_ancestor(commits, commit, branch.commit))


def merged(commits: Commits, branches: Iterable[Branch], commit: ObjectId) -> Iterator[Branch]:
    """Yield those of *branches* that are part of *commit*."""
    known = frozenset(ancestors(commits, [commit]))
    return (branch for branch in branches if branch.commit in known)


def branch_change(
    state: State, ref: str, commit: ObjectId, *, force: bool = False, current: str | None = None
) -> RefChange | None:
    """Return the change that makes the branch *ref*, or with *force* moves it; None if it is there already.

    Raises:
        BranchExistsError: It is there, without *force*.
        CurrentBranchError: It is *current*, and would move.
        InvalidRefNameError: No branch may be called so.
    """
    check_ref_name(ref)
    if short_name(ref) in ("HEAD", "@"):
        raise InvalidRefNameError(ref, "the name stands for what is checked out")
    old = state.value(ref)
    if ref == current and old != commit.hex():
        raise CurrentBranchError(ref, "move")
    if old is not None and not force:
        raise BranchExistsError(ref)
    return None if old == commit.hex() else RefChange(ref, old, commit.hex())


def create_branch(
    store: Store, name: str, commit: ObjectId, *, force: bool = False, current: str | None = None
) -> None:
    """Make the branch *name* at *commit*; with *force*, move it there if it exists. *current* is a full name.

    Raises:
        BranchExistsError, CurrentBranchError, InvalidRefNameError: As `branch_change`.
    """

    def build(state: State) -> Sequence[RefChange] | None:
        change = branch_change(state, branch_ref(name), commit, force=force, current=current)
        return None if change is None else [change]

    store.publish(build)


def delete_branch(
    store: Store,
    ref: str,
    *,
    merged_into: Sequence[ObjectId] | None,
    current: str | None = None,
) -> ObjectId:
    """Delete the branch *ref* and return where it was, if that is part of one of *merged_into*; None is no matter.

    Raises:
        BranchNotFoundError: It is not there.
        CurrentBranchError: It is *current*.
        UnmergedBranchError: It is part of none of them.
    """
    where: list[ObjectId] = []

    def build(state: State) -> Sequence[RefChange]:
        value = state.value(ref)
        if value is None:
            raise BranchNotFoundError(ref)
        if ref == current:
            raise CurrentBranchError(ref, "delete")
        commit = ObjectId.from_hex(value)
        if merged_into is not None:
            commits = Commits(store.objects)
            if not any(is_ancestor(commits, commit, other) for other in merged_into):
                raise UnmergedBranchError(ref)
        where.append(commit)
        return [RefChange(ref, value, None)]

    store.publish(build)
    return where[-1]


def copy_branch(store: Store, source: str, name: str, *, force: bool = False, current: str | None = None) -> None:
    """Make the branch *name* where the branch *source* is.

    Raises:
        BranchNotFoundError: *source* is not there.
        BranchExistsError, CurrentBranchError, InvalidRefNameError: As `branch_change`.
    """

    def build(state: State) -> Sequence[RefChange] | None:
        value = state.value(branch_ref(source))
        if value is None:
            raise BranchNotFoundError(branch_ref(source))
        commit = ObjectId.from_hex(value)
        change = branch_change(state, branch_ref(name), commit, force=force, current=current)
        return None if change is None else [change]

    store.publish(build)


def rename_branch(
    store: Store,
    source: str,
    name: str,
    *,
    force: bool = False,
    current: str | None = None,
    also: Callable[[State], Sequence[RefChange]] = lambda _: (),
) -> None:
    """Call the branch *source* *name* from now on; the changes of *also* are made in the same transaction.

    A branch without commits is there only for who is on it: then all there is to do is *also*'s.

    Raises:
        BranchNotFoundError: *source* is not there, and is not *current*.
        BranchExistsError, CurrentBranchError, InvalidRefNameError: As `branch_change`.
    """
    old_ref, new_ref = branch_ref(source), branch_ref(name)

    def build(state: State) -> Sequence[RefChange] | None:
        value = state.value(old_ref)
        if value is None and old_ref != current:
            raise BranchNotFoundError(old_ref)
        if old_ref == new_ref:
            return None
        if value is None:
            if state.value(new_ref) is not None:
                raise BranchExistsError(new_ref)
            return also(state)
        change = branch_change(state, new_ref, ObjectId.from_hex(value), force=force, current=current)
        moved = [] if change is None else [change]
        return [RefChange(old_ref, value, None), *moved, *also(state)]

    store.publish(build)
