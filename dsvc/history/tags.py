"""Tags: names given on purpose. A published one stays as it is for ever; the log sees to that."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple

from dsvc.errors import AlreadyExistsError, InvalidInputError, NotFoundError
from dsvc.history.commits import Commits
from dsvc.history.revisions import Target, UnknownRevisionError
from dsvc.history.store import Store
from dsvc.log.entry import RefChange
from dsvc.log.refs import TAGS, InvalidRefNameError, short_name, tag_ref
from dsvc.log.replay import PublishedTagError
from dsvc.log.state import Ref, State
from dsvc.model.codec import FORMAT_VERSION, decode, encode
from dsvc.model.commit import Commit, Tag
from dsvc.model.ids import Kind, ObjectId
from dsvc.odb.database import ObjectDatabase
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
    "read_tag_objects",
    "read_tags",
    "tag_object",
]

# As many as a few frames hold.
_AT_ONCE: Final = 4096

Decoded = Callable[[ObjectDatabase, Sequence[ObjectId]], dict[ObjectId, Tag]]


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
        TagNotFoundError, NotTaggableError, ObjectNotFoundError: As `read_tags`.
    """
    return next(read_tags(store, state, [ref]))


def read_tags(store: Store, state: State, refs: Iterable[str]) -> Iterator[TagRef]:
    """Yield what each of the tags *refs* stands for, in their order; many are read together.

    Raises:
        TagNotFoundError: One is not there.
        NotTaggableError: One names something else than a version.
        ObjectNotFoundError: What one names is not here.
    """
    remaining = iter(refs)
    while some := list(islice(remaining, _AT_ONCE)):
        found = [_found(state, ref) for ref in some]
        values = [ObjectId.from_hex(one.value) for one in found]
        tags, commits = read_tag_objects(store.objects, values, _decoded), Commits(store.objects)
        ends = [_end(store.objects, tags, value) for value in values]
        commits.load(dict.fromkeys(ends))
        for ref, one, value, end in zip(some, found, values, ends, strict=True):
            yield TagRef(ref, value, one.published, tags.get(value), end, commits.get(end))


def _found(state: State, ref: str) -> Ref:
    found = state.refs.get(ref)
    if found is None:
        raise TagNotFoundError(ref)
    return found


def read_tag_objects(objects: ObjectDatabase, values: Iterable[ObjectId], decoded: Decoded) -> dict[ObjectId, Tag]:
    """Return the tag objects among *values*, and those that these name; *decoded* reads many at once."""
    found: dict[ObjectId, Tag] = {}
    waiting = list(values)
    while waiting:
        wanted = [one for one in dict.fromkeys(waiting) if one not in found and objects.kind_of(one) == Kind.TAG]
        new = decoded(objects, wanted)
        found.update(new)
        waiting = [ObjectId(tag.target) for tag in new.values()]
    return found


def _decoded(objects: ObjectDatabase, tag_ids: Sequence[ObjectId]) -> dict[ObjectId, Tag]:
    return {one: decode(Tag, data) for one, data in zip(tag_ids, objects.read_many(Kind.TAG, tag_ids), strict=True)}


def _end(objects: ObjectDatabase, tags: Mapping[ObjectId, Tag], value: ObjectId) -> ObjectId:
    """Return the commit that *value* leads to through *tags*."""
    end, tag = value, None
    while end in tags:
        tag, end = end, ObjectId(tags[end].target)
    kind = objects.kind_of(end)
    if kind is None and tag is not None:
        raise UnknownRevisionError(end.hex(), f"tag {tag.short} names it, and it is not here")
    if kind not in (Kind.COMMIT, None):
        raise NotTaggableError(Target(end, kind or Kind.COMMIT))
    return end


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
