"""Tags: names given on purpose. A published one stays as it is for ever; the log sees to that."""

from collections.abc import Sequence
from typing import NamedTuple

from dsvc.errors import AlreadyExistsError, InvalidInputError, NotFoundError
from dsvc.history.revisions import Target, peel
from dsvc.history.store import Store
from dsvc.log.entry import RefChange
from dsvc.log.refs import TAGS, InvalidRefNameError, short_name, tag_ref
from dsvc.log.replay import PublishedTagError
from dsvc.log.state import State
from dsvc.model.codec import FORMAT_VERSION, decode, encode
from dsvc.model.commit import Commit, Tag
from dsvc.model.ids import Kind, ObjectId
from dsvc.odb.writer import Sealed

__all__ = [
    "NotTaggableError",
    "TagExistsError",
    "TagNotFoundError",
    "TagRef",
    "create_tag",
    "delete_tag",
    "list_tags",
    "read_tag",
    "tag_object",
]


class TagExistsError(AlreadyExistsError):
    """The name is taken."""

    def __init__(self, ref: str, where: str | None = None) -> None:
        super().__init__(f"tag '{short_name(ref)}' already exists" + (f" on {where}" if where else ""))
        self.ref = ref


class TagNotFoundError(NotFoundError):
    """There is no such tag."""

    def __init__(self, ref: str) -> None:
        super().__init__(f"tag '{short_name(ref)}' not found")
        self.ref = ref


class NotTaggableError(InvalidInputError):
    """Only versions have tags."""

    def __init__(self, target: Target) -> None:
        super().__init__(f"{target.id.hex()} is neither a commit nor a tag")
        self.target = target


class TagRef(NamedTuple):
    """A tag, and all that it stands for: *tag* is its object if it has one, *commit* what it names in the end."""

    ref: str
    value: ObjectId
    is_published: bool
    tag: Tag | None
    commit_id: ObjectId
    commit: Commit

    @property
    def name(self) -> str:
        """What people call it."""
        return short_name(self.ref)

    @property
    def time(self) -> int:
        """When it was given, or its commit made, in microseconds since 1970 UTC."""
        return self.commit.time if self.tag is None else self.tag.time

    @property
    def subject(self) -> str:
        """The first line of its message, or of its commit's."""
        return self.commit.subject if self.tag is None else self.tag.message.split("\n", 1)[0]


def list_tags(state: State) -> list[str]:
    """Return the full names of the tags, in their order."""
    return sorted(name for name in state.refs if name.startswith(TAGS))


def read_tag(store: Store, state: State, ref: str) -> TagRef:
    """Return what the tag *ref* stands for.

    Raises:
        TagNotFoundError: It is not there.
        NotTaggableError: It names something else than a version.
        ObjectNotFoundError: What it names is not here.
    """
    found = state.refs.get(ref)
    if found is None:
        raise TagNotFoundError(ref)
    value = ObjectId.from_hex(found.value)
    kind = store.objects.kind_of(value) or Kind.COMMIT
    tag = decode(Tag, store.objects.read(Kind.TAG, value)) if kind == Kind.TAG else None
    target = peel(store, Target(value, kind))
    if target.kind != Kind.COMMIT:
        raise NotTaggableError(target)
    commit = decode(Commit, store.objects.read(Kind.COMMIT, target.id))
    return TagRef(ref, value, found.published, tag, target.id, commit)


def create_tag(
    store: Store, name: str, target: Target, *, message: str | None = None, force: bool = False
) -> str | None:
    """Call *target* *name*; with a *message*, through a tag object. Return the value that the tag had before.

    Raises:
        NotTaggableError: *target* is neither a commit nor a tag.
        TagExistsError: It is there, without *force*.
        PublishedTagError: It is published, and would move.
        InvalidRefNameError: No tag may be called so.
    """
    ref = tag_ref(name)
    if name in ("HEAD", "@"):
        raise InvalidRefNameError(ref, "the name stands for what is checked out")
    if target.kind not in (Kind.COMMIT, Kind.TAG):
        raise NotTaggableError(target)
    # Before anything is written, and once more at the head of the log.
    _check_free(store.state(), ref, force=force)
    value, sealed = target.id, list[Sealed]()
    if message is not None:
        value, sealed = tag_object(store, name, target, message)
    before: list[str | None] = []

    def build(state: State) -> Sequence[RefChange] | None:
        _check_free(state, ref, force=force)
        old = state.value(ref)
        before.append(old)
        return None if old == value.hex() else [RefChange(ref, old, value.hex())]

    store.publish(build, sealed)
    return before[-1]


def tag_object(store: Store, name: str, target: Target, message: str) -> tuple[ObjectId, list[Sealed]]:
    """Return the id of a new tag object, and what is to be published with the first ref to it."""
    time, offset = store.context.now()
    writer = store.writer()
    tag = Tag(FORMAT_VERSION, bytes(target.id), name, store.context.author(), time, offset, message)
    value = writer.write(Kind.TAG, encode(tag))
    return value, [writer.seal()]


def _check_free(state: State, ref: str, *, force: bool) -> None:
    found = state.refs.get(ref)
    if found is not None and not force:
        raise TagExistsError(ref)
    if found is not None and found.published:
        raise PublishedTagError(ref)


def delete_tag(store: Store, name: str) -> ObjectId:
    """Delete the tag *name*, and return what it was.

    Raises:
        TagNotFoundError: It is not there.
        PublishedTagError: It is published.
    """
    ref = tag_ref(name)
    where: list[str] = []

    def build(state: State) -> Sequence[RefChange]:
        value = state.value(ref)
        if value is None:
            raise TagNotFoundError(ref)
        where.append(value)
        return [RefChange(ref, value, None)]

    store.publish(build)
    return ObjectId.from_hex(where[-1])
