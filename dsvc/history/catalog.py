"""The catalogue of a store: its datasets, which are branches, and its versions, which are tags."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

import msgspec

from dsvc.errors import CorruptionError, NotFoundError
from dsvc.history.commits import Commits
from dsvc.history.datasets import DatasetInfo, current_name, read_info
from dsvc.history.numbers import version_order
from dsvc.history.store import Store
from dsvc.history.tags import read_tag_objects
from dsvc.history.versions import highest, is_alias, split_version
from dsvc.log.refs import HEADS, TAGS, short_name
from dsvc.log.state import State
from dsvc.model.codec import decode
from dsvc.model.commit import Commit, Tag
from dsvc.model.ids import Kind, ObjectId
from dsvc.odb.database import ObjectDatabase

__all__ = ["CatalogEntry", "read_catalog"]

_AT_ONCE: Final = 4096


class CatalogEntry(msgspec.Struct, frozen=True):
    """The dataset or version that is called *ref*: its newest commit, and whether it can never move.

    *dataset* is the name that the dataset has now, None for a tag that is of none, and *info* what is said of it.
    *versions* are those of a dataset, lowest first, and *latest* the one that `latest` means. *tag* is the tag object
    of a version, if it has one.
    """

    ref: str
    commit_id: ObjectId
    commit: Commit
    is_published: bool = False
    dataset: str | None = None
    info: DatasetInfo | None = None
    versions: Sequence[str] = ()
    latest: str | None = None
    tag: Tag | None = None

    @property
    def name(self) -> str:
        """What people call it."""
        return short_name(self.ref)

    @property
    def is_dataset(self) -> bool:
        """Whether it is a branch."""
        return self.ref.startswith(HEADS)

    @property
    def is_alias(self) -> bool:
        """Whether it is a tag that is there to be moved."""
        return not self.is_published and is_alias(self.ref)

    @property
    def version(self) -> str | None:
        """What the version is called in its dataset."""
        parts = None if self.is_dataset else split_version(self.name)
        return parts[1] if parts else None

    @property
    def is_archived(self) -> bool:
        """Whether the dataset is not to be shown."""
        return self.info is not None and self.info.archived

    @property
    def time(self) -> int:
        """When it was made, or tagged with a message, in microseconds since 1970 UTC."""
        return self.commit.time if self.tag is None else self.tag.time

    @property
    def state(self) -> str:
        """How final it is: what the log has is at least that."""
        return "published" if self.is_published else "final"


def read_catalog(
    store: Store, state: State, is_wanted: Callable[[str], bool] = lambda _: True
) -> Iterator[CatalogEntry]:
    """Yield the datasets and then the versions of *store* in *state*: by name, and the versions of one as numbers.

    Of the refs, only those that are *is_wanted*, by their full names, are looked at.

    Tags that name no version, and those whose version is not here, are left out. Each commit is read once, and many of
    them together.

    Raises:
        CorruptionError: A commit is missing or damaged.
    """
    refs = sorted(state.refs)
    # What was published before a dataset was renamed is called by its old name.
    tags = [ref for ref in refs if ref.startswith(TAGS)]
    named = {ref: parts for ref in tags if (parts := split_version(short_name(ref))) is not None}
    wanted_tags = sorted(filter(is_wanted, tags), key=lambda ref: _place(ref, named.get(ref)))
    heads = [ref for ref in refs if ref.startswith(HEADS) and is_wanted(ref)]
    current = {name: current_name(state, name) for name in {name for name, _ in named.values()}}
    versions: dict[str, dict[str, str]] = {}
    for ref, (name, version) in named.items():
        if state.refs[ref].published or not is_alias(ref):
            versions.setdefault(current[name], {})[version] = ref
    infos = {name: read_info(state, name) for name in {*current.values(), *map(short_name, heads)}}
    commits = Commits(store.objects)
    for some in _batches(state, heads):
        commits.load(some.values())
        for ref, commit_id in some.items():
            name = short_name(ref)
            tags_of = versions.get(name, {})
            known = sorted(tags_of, key=version_order)
            published = [one for one in known if state.refs[tags_of[one]].published]
            commit = commits.get(commit_id)
            yield CatalogEntry(
                ref, commit_id, commit, dataset=name, info=infos[name], versions=known, latest=highest(published)
            )
    for some in _batches(state, wanted_tags):
        for ref, commit_id, tag in _ends(store, commits, some):
            dataset = current[named[ref][0]] if ref in named else None
            info = infos[dataset] if dataset is not None else None
            is_published = state.refs[ref].published
            yield CatalogEntry(ref, commit_id, commits.get(commit_id), is_published, dataset, info, tag=tag)


def _place(ref: str, parts: tuple[str, str] | None) -> tuple[object, ...]:
    return (short_name(ref),) if parts is None else (parts[0], version_order(parts[1]))


def _ends(store: Store, commits: Commits, values: dict[str, ObjectId]) -> Iterator[tuple[str, ObjectId, Tag | None]]:
    """Yield those of the tags *values* that lead to a commit, which *commits* has by then, and their tag objects."""
    tags = read_tag_objects(store.objects, values.values(), _decoded)
    ends: dict[str, ObjectId] = {}
    for ref, value in values.items():
        end = value
        while end in tags:
            end = ObjectId(tags[end].target)
        if store.objects.kind_of(end) == Kind.COMMIT:
            ends[ref] = end
    _load(commits, list(dict.fromkeys(ends.values())))
    for ref, end in ends.items():
        try:
            commits.get(end)
        except (NotFoundError, CorruptionError):
            continue
        yield ref, end, tags.get(values[ref])


def _decoded(objects: ObjectDatabase, tag_ids: Sequence[ObjectId]) -> dict[ObjectId, Tag]:
    """Return the tags *tag_ids*, but for those that are damaged."""
    try:
        return {one: decode(Tag, data) for one, data in zip(tag_ids, objects.read_many(Kind.TAG, tag_ids), strict=True)}
    except (NotFoundError, CorruptionError):
        if len(tag_ids) < 2:
            return {}
    middle = len(tag_ids) // 2
    return {**_decoded(objects, tag_ids[:middle]), **_decoded(objects, tag_ids[middle:])}


def _load(commits: Commits, commit_ids: Sequence[ObjectId]) -> None:
    """Read *commit_ids* together, but for those that are damaged."""
    try:
        commits.load(commit_ids)
    except (NotFoundError, CorruptionError):
        middle = len(commit_ids) // 2
        _load(commits, commit_ids[:middle])
        _load(commits, commit_ids[middle:])


def _batches(state: State, refs: Iterable[str]) -> Iterator[dict[str, ObjectId]]:
    """Yield the values of *refs*, some at once."""
    remaining = iter(refs)
    while batch := list(islice(remaining, _AT_ONCE)):
        yield {ref: ObjectId.from_hex(state.refs[ref].value) for ref in batch}
