"""Renaming, describing and deleting datasets: changes of refs, here and on a remote.

Each verb is a plan: what the changes are in a state. It is carried out in one entry of each log, first on the
remote, where it may be refused for what others did there.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from dsvc.datasets.dependents import DatasetInUseError, find_dependents
from dsvc.errors import InvalidInputError
from dsvc.history.branches import BranchExistsError, CurrentBranchError
from dsvc.history.datasets import (
    DatasetInfo,
    DatasetNotFoundError,
    check_not_moved,
    current_name,
    dataset_name,
    info_change,
    read_info,
)
from dsvc.history.store import Store
from dsvc.history.tags import TagExistsError
from dsvc.history.versions import is_alias, split_version, version_tags
from dsvc.log.entry import RefChange
from dsvc.log.refs import DATASETS, HEADS, TAGS, short_name, tag_ref
from dsvc.log.state import State
from dsvc.transport.remote import Remote
from dsvc.transport.tracking import changes_to, tracking_ref
from dsvc.worktree.session import read_session, refuse_interrupted
from dsvc.worktree.worktree import Worktree

__all__ = ["Deleted", "delete_dataset", "rename_datasets", "say_of_dataset"]

Plan = Callable[[Store, State], Sequence[RefChange]]


class Deleted(NamedTuple):
    """The refs that went, and what they were; and the published versions that stay."""

    refs: Mapping[str, str]
    kept: Sequence[str]


def say_of_dataset(worktree: Worktree, remote: Remote | None, name: str, **fields: object) -> None:
    """Say *fields* of the dataset *name*; see `DatasetInfo`.

    Raises:
        DatasetNotFoundError: It is not there.
        InvalidInputError: The description is too long.
    """
    time = worktree.store.context.now()[0]

    def plan(_: Store, state: State) -> list[RefChange]:
        current = current_name(state, name)
        if HEADS + current not in state.refs:
            raise DatasetNotFoundError(name)
        return [info_change(state, current, time, **fields)]

    _carry_out(worktree, remote, plan)


def rename_datasets(worktree: Worktree, remote: Remote | None, names: Mapping[str, str]) -> None:
    """Call datasets by other names, from old to new, with their versions but for published ones, which stay.

    The old names lead to the new ones.

    Raises:
        DatasetNotFoundError: One is not there.
        BranchExistsError, TagExistsError, NameMovedError: A new name is taken.
        CurrentBranchError: Somebody works on one, on the remote.
        InvalidRefNameError: No dataset may be called so.
    """
    time = worktree.store.context.now()[0]
    for old, new in names.items():
        dataset_name(new)
        if new in names or old == new:
            message = f"{old} cannot become {new}"
            raise InvalidInputError(message)

    def plan(_: Store, state: State) -> list[RefChange]:
        tags: dict[str, list[str]] = {old: [] for old in names}
        for ref in sorted(state.refs):
            parts = split_version(ref.removeprefix(TAGS)) if ref.startswith(TAGS) else None
            if parts is not None and parts[0] in tags and not state.refs[ref].published:
                tags[parts[0]].append(ref)
        return [change for old, new in names.items() for change in _renamed(state, old, new, tags[old], time)]

    _carry_out(worktree, remote, plan, renamed={HEADS + old: HEADS + new for old, new in names.items()})


def _renamed(state: State, old: str, new: str, tags: Sequence[str], time: int) -> list[RefChange]:
    value = state.value(HEADS + old)
    if value is None:
        raise DatasetNotFoundError(old)
    if HEADS + new in state.refs:
        raise BranchExistsError(HEADS + new)
    check_not_moved(state, new, allowed=old)
    moved = [(HEADS + old, HEADS + new, value)]
    for ref in tags:
        target = tag_ref(f"{new}{ref.removeprefix(TAGS + old)}")
        if target in state.refs:
            raise TagExistsError(target)
        moved.append((ref, target, state.refs[ref].value))
    said = read_info(state, old) or DatasetInfo(time)
    return [
        *(RefChange(source, current, None) for source, _, current in moved),
        *(RefChange(target, None, current) for _, target, current in moved),
        info_change(state, old, time, description="", archived=False, moved_to=new),
        info_change(state, new, time, description=said.description, archived=said.archived, moved_to=None),
    ]


def delete_dataset(worktree: Worktree, remote: Remote | None, name: str, *, force: bool = False) -> Deleted:
    """Delete the dataset *name* with its versions; with *force*, whatever depends on it, but for published ones.

    Raises:
        DatasetNotFoundError: It is not there.
        DatasetInUseError: Versions are published, others come from them, or name them as inputs; without *force*.
        CurrentBranchError: It is checked out.
    """
    gone: dict[str, str] = {}
    kept: dict[str, None] = {}

    def plan(store: Store, state: State) -> list[RefChange]:
        if HEADS + name not in state.refs and not version_tags(state, name):
            raise DatasetNotFoundError(name)
        tags = [ref for ref in version_tags(state, name).values() if ref.removeprefix(TAGS).startswith(f"{name}@")]
        published = [ref for ref in tags if state.refs[ref].published]
        if not force:
            dependents = find_dependents(store, state, name, tags)
            if published or dependents:
                raise DatasetInUseError(name, [short_name(ref) for ref in published], dependents)
        refs = [ref for ref in (HEADS + name, *tags) if ref in state.refs and ref not in published]
        gone.update({ref: state.refs[ref].value for ref in refs})
        kept.update(dict.fromkeys(published))
        words = [] if published or DATASETS + name not in state.refs else [DATASETS + name]
        return [RefChange(ref, state.value(ref), None) for ref in (*refs, *words)]

    _carry_out(worktree, remote, plan)
    return Deleted(gone, list(kept))


def _carry_out(
    worktree: Worktree, remote: Remote | None, plan: Plan, *, renamed: Mapping[str, str] | None = None
) -> None:
    """Do what *plan* says, on *remote* and then here; at least one of both has to have the dataset."""
    there: list[RefChange] = []
    is_here = True
    try:
        # What cannot be done here is not done there either.
        _here(worktree, worktree.store.state(), plan, renamed or {})
    except DatasetNotFoundError:
        if remote is None:
            raise
        is_here = False
    if remote is not None:
        there = _there(remote, plan)
    if is_here:
        worktree.store.publish(lambda state: _here(worktree, state, plan, renamed or {}) or None)
    if remote is not None and remote.folder is not None:
        seen = {
            tracking_ref(remote.name, change.ref): change.new
            for change in there
            if change.ref.startswith(HEADS) or is_alias(change.ref)
        }
        worktree.store.publish(lambda state: changes_to(state, seen) or None)


def _there(remote: Remote, plan: Plan) -> list[RefChange]:
    remote.open()
    store = remote.open_or_create()
    made: list[RefChange] = []

    def build(state: State) -> list[RefChange] | None:
        try:
            made[:] = plan(store, state)
        except DatasetNotFoundError as error:
            raise DatasetNotFoundError(error.name, remote.name) from None
        current = read_session(state).branch if remote.has_worktree else None
        for change in made:
            if change.ref == current:
                raise CurrentBranchError(change.ref, "change")
        return made or None

    store.publish(build)
    remote.remember()
    return made


def _here(worktree: Worktree, state: State, plan: Plan, renamed: Mapping[str, str]) -> list[RefChange]:
    changes = list(plan(worktree.store, state))
    session = worktree.session(state)
    refs = {change.ref for change in changes}
    if session.head not in refs:
        return changes
    if session.head not in renamed:
        raise CurrentBranchError(session.head, "delete")
    refuse_interrupted(session)
    return [*changes, msgspec.structs.replace(session, head=renamed[session.head]).change(state)]
