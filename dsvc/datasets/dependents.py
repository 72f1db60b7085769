"""What depends on a dataset: versions of others that come from its versions, or that name them as inputs.

A version stays readable as long as anything leads to it, so no deletion ever harms one that comes from another. What it
would take away is where that came from.
"""

from collections.abc import Iterable, Sequence

from dsvc.errors import RefusedError
from dsvc.history.commits import Commits, commits_here
from dsvc.history.lineage import nearest_names
from dsvc.history.revisions import Target, UnknownRevisionError, peel
from dsvc.history.store import Store
from dsvc.history.walk import ancestors
from dsvc.log.refs import HEADS, REMOTES, TAGS, short_name
from dsvc.log.state import State
from dsvc.model.ids import Kind, ObjectId

__all__ = ["DatasetInUseError", "find_dependents"]

_SHOWN = 5


class DatasetInUseError(RefusedError):
    """A dataset has *published* versions, or others depend on it: *dependents*, by name."""

    def __init__(self, name: str, published: Sequence[str], dependents: Sequence[str]) -> None:
        reasons = []
        if published:
            reasons.append(f"{_listed(published)} {'is' if len(published) == 1 else 'are'} published")
        if dependents:
            reasons.append(f"{_listed(dependents)} {'comes' if len(dependents) == 1 else 'come'} from it")
        super().__init__(f"the dataset `{name}` is not deleted: {', and '.join(reasons)}")
        self.name = name
        self.published = published
        self.dependents = dependents


def _listed(names: Sequence[str]) -> str:
    more = [f"{len(names) - _SHOWN:,} more"] if len(names) > _SHOWN else []
    *most, last = [*names[:_SHOWN], *more]
    return f"{', '.join(most)} and {last}" if most else last


def find_dependents(store: Store, state: State, name: str, tags: Sequence[str]) -> list[str]:
    """Return what would lose the versions that it comes from, without the dataset *name* and its *tags*, by name.

    These are the branches and tags of others with a version of the dataset before them, unless another branch or tag is
    at that version too; and the versions of others that name one as an input which nothing else leads to.
    """
    own_refs = {HEADS + name, *tags}
    commits = commits_here(store.objects)
    own = {tip for ref in own_refs if ref in state.refs and (tip := _commit(store, state, ref)) is not None}
    others: dict[str, ObjectId] = {}
    for ref in sorted(state.refs):
        # What is remembered of the same dataset elsewhere is no other one.
        is_other = ref not in own_refs and not (ref.startswith(REMOTES) and ref.split("/", 3)[3:] == [name])
        if is_other and ref.startswith((HEADS, TAGS, REMOTES)) and (tip := _commit(store, state, ref)) is not None:
            others[ref] = tip
    tips = set(others.values())
    kept = list(ancestors(commits, tips))
    below = _descendants(commits, kept, own - tips)
    found = [short_name(ref) for ref, tip in others.items() if tip in below]
    lost = set(ancestors(commits, own)).difference(kept)
    users = [one for one in kept if any(made_of.commit in lost for made_of in commits.get(one).inputs)] if lost else []
    if users:
        names = nearest_names(commits, [(tip, short_name(ref)) for ref, tip in others.items()])
        found += [str(names.get(one, one.short)) for one in users]
    return list(dict.fromkeys(found))


def _commit(store: Store, state: State, ref: str) -> ObjectId | None:
    value = ObjectId.from_hex(state.refs[ref].value)
    kind = store.objects.kind_of(value)
    try:
        target = None if kind is None else peel(store, Target(value, kind))
    except UnknownRevisionError:
        return None
    return target.id if target is not None and target.kind == Kind.COMMIT else None


def _descendants(commits: Commits, among: Iterable[ObjectId], starts: set[ObjectId]) -> set[ObjectId]:
    """Return those of *among* that come from any of *starts*, which are not."""
    children: dict[ObjectId, list[ObjectId]] = {}
    for one in among:
        for parent in commits.parents(one):
            children.setdefault(parent, []).append(one)
    found: set[ObjectId] = set()
    waiting = list(starts)
    while waiting:
        new = [child for child in children.get(waiting.pop(), ()) if child not in found]
        found.update(new)
        waiting.extend(new)
    return found
