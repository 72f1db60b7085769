"""Searching versions: all commits that the branches, tags and remotes' branches of a store lead to, each once."""

from collections.abc import Callable, Iterator, Sequence

import msgspec

from dsvc.errors import CorruptionError
from dsvc.history.commits import commits_here
from dsvc.history.datasets import current_name, read_info
from dsvc.history.lineage import nearest_names
from dsvc.history.metadata import Condition, commit_meta
from dsvc.history.numbers import parse_number
from dsvc.history.revisions import Target, UnknownRevisionError, peel
from dsvc.history.store import Store
from dsvc.history.tree_search import TreeSearch
from dsvc.history.versions import split_version
from dsvc.history.walk import ancestors
from dsvc.log.refs import HEADS, REMOTES, TAGS, short_name
from dsvc.log.state import State
from dsvc.model.canonical_json import JsonObject, MalformedJsonError
from dsvc.model.commit import Commit
from dsvc.model.ids import Kind, ObjectId
from dsvc.model.tree import Entry

__all__ = ["Found", "Query", "readable_meta", "search"]

Matches = Callable[[str], bool]


class Query(msgspec.Struct, frozen=True):
    """What is searched for; all conditions have to hold, and None is none.

    *dataset* is asked of the name of the dataset, *tag* of those of versions: the commit itself has to be called so.
    *words* are looked for, whatever their case, in the name, the description of the dataset, and the message. *author*
    and *message* are asked of those, *entry* of the files. Times are in microseconds since 1970 UTC.
    """

    dataset: Matches | None = None
    tag: Matches | None = None
    words: Sequence[str] = ()
    meta: Sequence[Condition] = ()
    author: Matches | None = None
    message: Matches | None = None
    since: int | None = None
    until: int | None = None
    published: bool | None = None
    entry: Callable[[Entry], bool] | None = None
    archived: bool = False


class Found(msgspec.Struct, frozen=True):
    """A version that was found: *names* are the tags and branches at it, *name* the nearest one that leads to it.

    *count* entries of it were asked for and found; *entries* yields them.
    """

    commit_id: ObjectId
    commit: Commit
    name: str
    names: Sequence[str]
    is_published: bool
    count: int
    entries: Callable[[], Iterator[Entry]]


def search(store: Store, state: State, query: Query) -> Iterator[Found]:
    """Yield the versions that *query* asks for, the newest first.

    Raises:
        CorruptionError: A commit or a page is missing or damaged.
    """
    commits = commits_here(store.objects)
    tips = _tips(store, state, query)
    named: dict[ObjectId, list[str]] = {}
    for ref, tip in tips.items():
        named.setdefault(tip, []).append(ref)
    places = nearest_names(commits, [(tip, short_name(ref)) for ref, tip in tips.items()])
    trees = None if query.entry is None else TreeSearch(store.objects, query.entry)
    for commit_id in ancestors(commits, named):
        commit, refs = commits.get(commit_id), named.get(commit_id, [])
        place = places.get(commit_id)
        name = commit_id.short if place is None else str(place)
        is_published = any(state.refs[ref].published for ref in refs)
        if not _holds(query, state, commit, refs, "" if place is None else place.name, is_published=is_published):
            continue
        count = 0 if trees is None else trees.count(commit.tree)
        if trees is None or count:
            entries = _none if trees is None else _entries(trees, commit.tree)
            yield Found(commit_id, commit, name, list(map(short_name, refs)), is_published, count, entries)


def _none() -> Iterator[Entry]:
    return iter(())


def _entries(trees: TreeSearch, root: bytes) -> Callable[[], Iterator[Entry]]:
    return lambda: trees.entries(root)


def _dataset(ref: str) -> str:
    """Return the name of the dataset that the ref is of."""
    name = ref.split("/", 3)[-1] if ref.startswith(REMOTES) else short_name(ref)
    parts = split_version(name) if ref.startswith(TAGS) else None
    return parts[0] if parts else name


def _tips(store: Store, state: State, query: Query) -> dict[str, ObjectId]:
    """Return the commits to begin with, by their refs, and those first that people would call a version by."""
    found: dict[str, ObjectId] = {}
    for ref in sorted((ref for ref in state.refs if ref.startswith((HEADS, TAGS, REMOTES))), key=_rank(state)):
        dataset = _dataset(ref)
        info = None if query.archived else read_info(state, current_name(state, dataset))
        if (query.dataset is not None and not query.dataset(dataset)) or (info is not None and info.archived):
            continue
        value = ObjectId.from_hex(state.refs[ref].value)
        kind = store.objects.kind_of(value)
        try:
            target = None if kind is None else peel(store, Target(value, kind))
        except (UnknownRevisionError, CorruptionError):
            # What a tag names may be gone; the others can be searched all the same.
            continue
        if target is not None and target.kind == Kind.COMMIT:
            found[ref] = target.id
    return found


def _rank(state: State) -> Callable[[str], tuple[int, str]]:
    def rank(ref: str) -> tuple[int, str]:
        if ref.startswith(REMOTES):
            return 4, ref
        if ref.startswith(HEADS):
            return 2, ref
        parts = split_version(short_name(ref))
        if parts is None or parse_number(parts[1]) is None:
            return 1 if state.refs[ref].published else 3, ref
        return 0 if state.refs[ref].published else 1, ref

    return rank


def _holds(query: Query, state: State, commit: Commit, refs: Sequence[str], name: str, *, is_published: bool) -> bool:
    if query.since is not None and commit.time < query.since:
        return False
    if query.until is not None and commit.time > query.until:
        return False
    if query.published is not None and query.published != is_published:
        return False
    if query.author is not None and not query.author(commit.author):
        return False
    if query.message is not None and not query.message(commit.message):
        return False
    if query.tag is not None and not any(map(query.tag, _versions(refs))):
        return False
    if query.words:
        text = "\n".join((name, commit.message, *_descriptions(state, name))).casefold()
        if not all(word.casefold() in text for word in query.words):
            return False
    meta = readable_meta(commit) if query.meta else {}
    return all(condition.matches(meta) for condition in query.meta)


def _versions(refs: Sequence[str]) -> Iterator[str]:
    for ref in refs:
        if ref.startswith(TAGS):
            name = short_name(ref)
            yield name
            if parts := split_version(name):
                yield parts[1]


def _descriptions(state: State, name: str) -> Iterator[str]:
    for ref in (TAGS + name, HEADS + name, REMOTES + name):
        if ref in state.refs:
            info = read_info(state, current_name(state, _dataset(ref)))
            if info is not None:
                yield info.description


def readable_meta(commit: Commit) -> JsonObject:
    """Return what people say of *commit*; nothing, where somebody's program wrote what nobody can read."""
    try:
        return commit_meta(commit)
    except MalformedJsonError:
        return {}
