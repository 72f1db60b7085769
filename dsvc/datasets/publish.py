"""Publishing a version: a tag that from then on nobody moves or deletes, here and on the remote that others read from.

The remote's log decides. Whoever comes second with a number for another version is refused, or takes the next one, and
nothing is published here that is not published there: first goes what the version needs, then comes the tag there,
then the tag here. The dataset's branch there moves forward to the version, where it can.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from dsvc.errors import ConflictError, RefusedError
from dsvc.history.commits import Commits
from dsvc.history.datasets import current_name
from dsvc.history.numbers import Part, next_number
from dsvc.history.revisions import Target
from dsvc.history.store import Store
from dsvc.history.tags import TagExistsError, tag_object
from dsvc.history.versions import alias_name, split_version, version_tags
from dsvc.history.walk import is_ancestor
from dsvc.log.entry import RefChange
from dsvc.log.refs import HEADS, short_name, tag_ref
from dsvc.log.replay import PublishedTagError
from dsvc.log.state import State
from dsvc.model.ids import Kind, ObjectId
from dsvc.odb.database import ObjectDatabase
from dsvc.progress import NO_PROGRESS, Progress
from dsvc.transport.closure import peel
from dsvc.transport.fetch import FetchOptions, fetch
from dsvc.transport.push import PushRejectedError, push
from dsvc.transport.refspec import Refspec
from dsvc.transport.remote import Remote
from dsvc.transport.updates import Exchange, Wish
from dsvc.worktree.workers import ALONE, Workers

__all__ = ["NextNumber", "Published", "VersionTakenError", "publish"]

# As many may ask for the next number at once, and each of them gets another one.
_ATTEMPTS: Final = 200


class VersionTakenError(RefusedError):
    """The number was given to another version, and is published."""

    def __init__(self, ref: str, commit: ObjectId, where: str | None) -> None:
        place = f" on {where}" if where else ""
        super().__init__(f"{short_name(ref)} is published{place} already, as {commit.short}, and stays that")
        self.ref = ref
        self.commit = commit


class NextNumber(NamedTuple):
    """The version of *dataset* after all that there are; see `dsvc.history.numbers.next_number`."""

    dataset: str
    part: Part
    label: str | None = None

    def name(self, *states: State) -> str:
        """Return what it is called where *states* are all that is known."""
        taken = [version for state in states for version in version_tags(state, self.dataset)]
        return f"{self.dataset}@{next_number(taken, self.part, self.label)}"


class Published(msgspec.Struct, frozen=True):
    """The tag *ref* of *commit*, None where only aliases moved, and whether it was not published before.

    *exchange* is what was sent, None where nothing was to be.
    """

    ref: str | None
    commit: ObjectId
    is_new: bool
    exchange: Exchange | None = None


def publish(
    local: Store,
    remote: Remote | None,
    commit: ObjectId,
    version: str | NextNumber | None,
    *,
    aliases: Sequence[str] = (),
    message: str | None = None,
    dry_run: bool = False,
    workers: Workers = ALONE,
    progress: Progress = NO_PROGRESS,
) -> Published:
    """Publish *commit* as *version*, the name of a tag or the next number, on *remote*, if there is one, and then here.

    *aliases*, names as `data@prod`, come to be at the same commit; None as *version* moves only them. With a
    *message*, a new tag is one with message, author and date.

    Raises:
        VersionTakenError: It is published, and another commit.
        TagExistsError: There is such a tag of another commit, which is not published.
        PublishedTagError: An alias is published itself.
        InvalidAliasError, InvalidRefNameError: Nothing may be called so.
    """
    moved = [tag_ref(alias_name(one)) for one in aliases]
    for _ in range(_ATTEMPTS):
        places = [*_remote_place(remote, dry_run=dry_run), _Place(local.state(), local.objects, None)]
        name = version.name(*(place.state for place in places)) if isinstance(version, NextNumber) else version
        ref = None if name is None else _ref(places, name)
        wanted = _look(places, commit, ref, moved, is_plain=message is None)
        if isinstance(version, NextNumber):
            wanted = msgspec.structs.replace(wanted, create=True)
        if dry_run:
            return Published(ref, commit, wanted.is_new)
        if ref is not None and wanted.value is None:
            wanted = msgspec.structs.replace(wanted, value=_new_value(local, ref, commit, message))
        try:
            exchange = None if remote is None else _there(local, remote, wanted, workers, progress)
            if remote is None:
                _here(local, wanted, create=wanted.create)
        except (PushRejectedError, VersionTakenError, TagExistsError) as error:
            if isinstance(error, PushRejectedError) and ref not in _rejected(error):
                raise
            # Somebody was faster. The next number may be free; a given one is looked at again.
            continue
        if remote is not None:
            _here(local, wanted)
        return Published(ref, commit, wanted.is_new, exchange)
    text = f"others published versions of the same dataset {_ATTEMPTS} times meanwhile"
    raise ConflictError(text)


class _Wanted(msgspec.Struct, frozen=True):
    """What is to be: the tag *ref* at *value*, None where that is still to be made, and *aliases* at *commit*.

    With *create*, the tag is to be nobody else's, not even for the same commit.
    """

    commit: ObjectId
    ref: str | None
    value: ObjectId | None
    aliases: Sequence[str]
    is_new: bool
    create: bool = False


class _Place(NamedTuple):
    """A store: *where* is the remote's name, None for here."""

    state: State
    objects: ObjectDatabase
    where: str | None

    def value(self, ref: str, commit: ObjectId) -> ObjectId | None:
        """Return what the tag *ref* is, None if it is not there.

        Raises:
            VersionTakenError, TagExistsError: It is another commit than *commit*.
        """
        found = self.state.refs.get(ref)
        if found is None:
            return None
        value = ObjectId.from_hex(found.value)
        named = peel(self.objects, value)[1]
        if named == commit:
            return value
        if found.published:
            raise VersionTakenError(ref, named, self.where)
        raise TagExistsError(ref, self.where)


def _ref(places: Sequence[_Place], name: str) -> str:
    """Return the tag that *name* is to be, or that it was published as when its dataset had another name."""
    parts = split_version(name)
    if parts is None or any(tag_ref(name) in place.state.refs for place in places):
        return tag_ref(name)
    former = (version_tags(place.state, parts[0]).get(parts[1]) for place in places)
    return next((ref for ref in former if ref is not None), tag_ref(name))


def _remote_place(remote: Remote | None, *, dry_run: bool) -> list[_Place]:
    if remote is None or (dry_run and not remote.is_store):
        return []
    there = remote.open() if dry_run else remote.open_or_create()
    return [_Place(there.state(), there.objects, remote.name)]


def _look(
    places: Sequence[_Place], commit: ObjectId, ref: str | None, aliases: Sequence[str], *, is_plain: bool
) -> _Wanted:
    """Return what is wanted, after a look at whether it may be; *places* are the remote, if there is one, and here."""
    for alias in aliases:
        if any(alias in place.state.published for place in places):
            raise PublishedTagError(alias)
    if ref is None:
        return _Wanted(commit, None, None, aliases, is_new=False)
    values = [place.value(ref, commit) for place in places]
    is_new = not all(ref in place.state.refs and place.state.refs[ref].published for place in places)
    # What it is there counts more than what it is here.
    value = next((one for one in values if one is not None), None)
    if is_new and not is_plain and value is not None and not any(ref in place.state.published for place in places):
        raise TagExistsError(ref)
    return _Wanted(commit, ref, value, aliases, is_new)


def _new_value(local: Store, ref: str, commit: ObjectId, message: str | None) -> ObjectId:
    """Return what a new tag is to be; with a message, an object that is stored now."""
    if message is None:
        return commit
    value, sealed = tag_object(local, short_name(ref), Target(commit, Kind.COMMIT), message)
    local.publish(lambda _: [], sealed)
    return value


def _there(local: Store, remote: Remote, wanted: _Wanted, workers: Workers, progress: Progress) -> Exchange:
    wishes = [Wish(wanted.commit.hex(), alias, wanted.commit, force=True) for alias in wanted.aliases]
    if wanted.ref is not None and wanted.value is not None:
        if wanted.value not in local.objects:
            # Somebody else made it, with a message.
            fetch(local, remote, [Refspec(wanted.ref, wanted.ref, force=True)], FetchOptions(tags=False))
        wishes.append(Wish(wanted.value.hex(), wanted.ref, wanted.value, publish=True, create=wanted.create))
    branch = None
    if (source := _branch(local, wanted)) is not None:
        # It may have another name by now.
        branch = HEADS + current_name(remote.open_or_create().last_state(), source.removeprefix(HEADS))
        wishes.append(Wish(source, branch, wanted.commit))
    try:
        return push(local, remote, [], also=wishes, workers=workers, progress=progress)
    except PushRejectedError as error:
        # The branch has gone on there, or elsewhere, or somebody works on it; the version is there all the same.
        if _rejected(error) != {branch}:
            raise
        return error.exchange


def _rejected(error: PushRejectedError) -> set[str]:
    return {update.target for update in error.exchange.rejected}


def _branch(local: Store, wanted: _Wanted) -> str | None:
    """Return the branch of the dataset, if the version is part of it here."""
    parts = None if wanted.ref is None else split_version(short_name(wanted.ref))
    state = local.last_state()
    branch = None if parts is None else HEADS + current_name(state, parts[0])
    tip = None if branch is None else state.value(branch)
    if tip is None or not is_ancestor(Commits(local.objects), wanted.commit, ObjectId.from_hex(tip)):
        return None
    return branch


def _here(local: Store, wanted: _Wanted, *, create: bool = False) -> None:
    def build(state: State) -> Sequence[RefChange] | None:
        changes = [
            RefChange(alias, state.value(alias), wanted.commit.hex())
            for alias in wanted.aliases
            if state.value(alias) != wanted.commit.hex()
        ]
        ref, value = wanted.ref, wanted.value
        if ref is not None and value is not None:
            if _Place(state, local.objects, None).value(ref, wanted.commit) is not None and create:
                raise TagExistsError(ref)
            if not (ref in state.refs and state.refs[ref].published):
                changes.append(RefChange(ref, state.value(ref), value.hex(), publish=True))
        return changes or None

    local.publish(build)
