"""What has to be sent so that versions are whole on the other side, found out before anything is."""

from collections.abc import Sequence
from contextlib import suppress

import msgspec

from dsvc.history.commits import Commits
from dsvc.log.refs import HEADS, REMOTES, TAGS
from dsvc.log.state import State
from dsvc.model.ids import Kind, ObjectId
from dsvc.odb.database import ObjectDatabase
from dsvc.progress import NO_PROGRESS, Progress
from dsvc.storage.backend import Backend
from dsvc.transport.closure import Closure, MissingObjectError, peel
from dsvc.transport.negotiate import Missing, missing_commits
from dsvc.transport.transfer import Arrive, Bring, Plan, make_plan

__all__ = ["Preparation", "missing_there", "prepare", "still_holds"]


class Preparation(msgspec.Struct, frozen=True):
    """The *plan* that makes *tips* whole where the refs are those of *state*, and the commits it builds on.

    *promised* objects are needed too, and have to be brought to the source first.
    """

    state: State
    tips: frozenset[ObjectId]
    missing: Missing
    plan: Plan
    promised: set[bytes] = set()


def missing_there(objects: ObjectDatabase, state: State, tips: Sequence[ObjectId]) -> Missing:
    """Return the commits below *tips*, in *objects*, to which no ref of the other side's *state* leads.

    Raises:
        MissingObjectError: A tip is not in *objects*.
    """
    ends = [peel(objects, tip)[1] for tip in tips]
    return missing_commits(Commits(objects), _commits_among(objects, ends), _had(objects, state))


def _commits_among(objects: ObjectDatabase, values: Sequence[ObjectId]) -> list[ObjectId]:
    return [value for value in values if objects.kind_of(value) == Kind.COMMIT]


def _had(objects: ObjectDatabase, state: State) -> list[ObjectId]:
    """Return what refs of *state* lead to, as far as *objects* has it."""
    had: dict[ObjectId, None] = {}
    for ref, value in state.refs.items():
        if ref.startswith((HEADS, TAGS, REMOTES)):
            with suppress(MissingObjectError):
                had[peel(objects, ObjectId.from_hex(value.value))[1]] = None
    return _commits_among(objects, list(had))


def prepare(
    source: ObjectDatabase,
    packs: Backend,
    target: ObjectDatabase,
    state: State,
    tips: Sequence[ObjectId],
    *,
    progress: Progress = NO_PROGRESS,
    data: bool = True,
    data_of: ObjectId | None = None,
    bring: Bring | None = None,
    arrive: Arrive | None = None,
) -> Preparation:
    """Find out what *target*, where the refs are those of *state*, lacks of what *source* has below *tips*.

    What has to be sent is in *packs*. Without *data*, what files contain is left out, but for the version *data_of*. If
    there is a way to *bring* data to the target, that is done at once, and not planned, nor are packs of data that
    *arrive*.

    Raises:
        CorruptionError: Something is missing or damaged in *source*.
    """
    missing = missing_there(source, state, tips)
    closure = _closure(source, target, missing, tips, progress, data=data, data_of=data_of)
    plan = make_plan(closure, packs, bring, progress, arrive)
    return Preparation(state, frozenset(tips), missing, plan, closure.promised)


def _closure(
    objects: ObjectDatabase,
    target: ObjectDatabase,
    missing: Missing,
    tips: Sequence[ObjectId],
    progress: Progress,
    *,
    data: bool,
    data_of: ObjectId | None,
) -> Closure:
    closure, commits = Closure(objects, target, progress, data=data), Commits(objects)
    progress.start("compare", files=sum(commits.get(commit_id).files for commit_id in missing.commits[:1]))
    # Of a shallow store, what is before its history is known to be no news, and is not there.
    for commit_id in (one for one in missing.boundary if one in target):
        closure.skip_tree(commits.get(commit_id).tree)
    if data_of is not None and data_of in missing.commits:
        closure.add_whole_tree(commits.get(data_of).tree)
    # The oldest first: its files are where most of the others' come from.
    for commit_id in reversed(missing.commits):
        if closure.add(commit_id):
            closure.add_tree(commits.get(commit_id).tree)
    for tip in tips:
        _add_tip(closure, tip)
    progress.finish()
    return closure


def _add_tip(closure: Closure, tip: ObjectId) -> None:
    tags, end = peel(closure.source, tip)
    for tag in tags:
        closure.add(tag)
    kind = closure.source.kind_of(end)
    if kind == Kind.PAGE:
        closure.add_tree(end)
    elif kind != Kind.COMMIT:
        closure.add(end)


def still_holds(source: ObjectDatabase, preparation: Preparation, state: State) -> bool:
    """Tell whether what *preparation* left out, because refs led to it, is still reachable in *state*."""
    before = {ref.value for ref in preparation.state.refs.values()}
    if before <= {ref.value for ref in state.refs.values()}:
        return True
    now = missing_there(source, state, sorted(preparation.tips))
    return set(now.commits) <= set(preparation.missing.commits)
