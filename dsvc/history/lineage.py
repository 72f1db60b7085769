"""Lineage: how versions come from each other, across datasets, by parents and by inputs.

A version is known here if something here leads to it: a branch, a tag, what was seen of a remote, or a version that
was made from it. So the versions that were made from one are found by looking at all of them, once each: whatever the
shape of the history, the work grows with the number of commits and edges, and with nothing else.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from dsvc.history.commits import Commits
from dsvc.model.commit import Commit
from dsvc.model.ids import ObjectId

__all__ = ["Edge", "Place", "Version", "nearest_names", "read_lineage", "select"]


class Edge(NamedTuple):
    """What a version comes from; *skipped* versions between the two are not shown. An input has a *name*."""

    target: ObjectId
    skipped: int = 0
    name: str = ""


class Version(msgspec.Struct, frozen=True):
    """One version, and what it comes from. *commit* is None for an input that is not here."""

    id: ObjectId
    commit: Commit | None
    parents: Sequence[Edge] = ()
    inputs: Sequence[Edge] = ()

    @property
    def targets(self) -> list[ObjectId]:
        """What it comes from, each once, parents first."""
        return list(dict.fromkeys(edge.target for edge in (*self.parents, *self.inputs)))


Lineage = dict[ObjectId, Version]


def read_lineage(
    commits: Commits,
    is_here: Callable[[ObjectId], bool],
    tips: Iterable[ObjectId],
    named: Collection[ObjectId],
    *,
    with_inputs: bool = True,
    full: bool = False,
) -> Lineage:
    """Return all that *tips* come from, each before what it comes from.

    Unless *full*, only those are there that say something: the *named* ones, the first ones, those with several
    parents or with inputs, and inputs. An input that is not *is_here*, a commit of this store, is the end of its line.
    """
    found = _collect(commits, is_here, tips, with_inputs=with_inputs)
    order = _in_order(found)
    if full:
        return {commit_id: found[commit_id] for commit_id in order}
    kept = {edge.target for version in found.values() for edge in version.inputs}.union(named)
    nearest: dict[ObjectId, Edge] = {}
    shown: Lineage = {}
    for commit_id in reversed(order):
        version = found[commit_id]
        if len(version.parents) == 1 and not version.inputs and commit_id not in kept:
            target, skipped, _ = nearest[version.parents[0].target]
            nearest[commit_id] = Edge(target, skipped + 1)
        else:
            nearest[commit_id] = Edge(commit_id)
            parents = {edge.target: edge for edge in (nearest[one.target] for one in version.parents)}
            shown[commit_id] = msgspec.structs.replace(version, parents=list(parents.values()))
    return {commit_id: shown[commit_id] for commit_id in _in_order(shown)}


def _collect(
    commits: Commits, is_here: Callable[[ObjectId], bool], tips: Iterable[ObjectId], *, with_inputs: bool
) -> Lineage:
    found: Lineage = {}
    waiting = list(dict.fromkeys(tips))
    while waiting:
        commits.load(waiting)
        for commit_id in waiting:
            commit = commits.get(commit_id)
            inputs = [Edge(ObjectId(one.commit), name=one.name) for one in commit.inputs] if with_inputs else []
            parents = commits.here(commits.parents(commit_id))
            found[commit_id] = Version(commit_id, commit, list(map(Edge, parents)), inputs)
        versions = [found[commit_id] for commit_id in waiting]
        following = dict.fromkeys(edge.target for version in versions for edge in version.parents)
        for one in dict.fromkeys(edge.target for version in versions for edge in version.inputs):
            if one in found or one in following:
                continue
            if is_here(one):
                following[one] = None
            else:
                found[one] = Version(one, None)
        waiting = [one for one in following if one not in found]
    return found


def _in_order(versions: Mapping[ObjectId, Version]) -> list[ObjectId]:
    """Return the ids so that none comes before what was made from it, lines of development together, newest first."""
    made_from = dict.fromkeys(versions, 0)
    for version in versions.values():
        for target in version.targets:
            made_from[target] += 1
    ready = sorted((one for one, count in made_from.items() if not count), key=lambda one: _time(versions[one]))
    order: list[ObjectId] = []
    while ready:
        commit_id = ready.pop()
        order.append(commit_id)
        for target in versions[commit_id].targets:
            made_from[target] -= 1
            if not made_from[target]:
                ready.append(target)
    return order


def _time(version: Version) -> int:
    return 0 if version.commit is None else version.commit.time


def select(
    lineage: Lineage, starts: Iterable[ObjectId], *, ancestors: bool, descendants: bool, depth: int | None = None
) -> Lineage:
    """Return what *starts* come from, what was made from them, or both, at most *depth* steps away."""
    made: dict[ObjectId, list[ObjectId]] = {}
    for version in lineage.values():
        for target in version.targets:
            made.setdefault(target, []).append(version.id)
    chosen = set(starts)
    if ancestors:
        chosen |= _reach(chosen, lambda one: lineage[one].targets, depth)
    if descendants:
        chosen |= _reach(set(starts), lambda one: made.get(one, []), depth)
    return {one: _without(version, chosen) for one, version in lineage.items() if one in chosen}


def _reach(
    starts: Collection[ObjectId], step: Callable[[ObjectId], Iterable[ObjectId]], depth: int | None
) -> set[ObjectId]:
    found = set(starts)
    waiting = list(starts)
    while waiting and depth != 0:
        following = dict.fromkeys(target for one in waiting for target in step(one))
        waiting = [target for target in following if target not in found]
        found.update(waiting)
        depth = None if depth is None else depth - 1
    return found


def _without(version: Version, chosen: Collection[ObjectId]) -> Version:
    return msgspec.structs.replace(
        version,
        parents=[edge for edge in version.parents if edge.target in chosen],
        inputs=[edge for edge in version.inputs if edge.target in chosen],
    )


class Place(NamedTuple):
    """Where a version is: *distance* first parents below what is called *name*."""

    name: str
    distance: int

    def __str__(self) -> str:
        return f"{self.name}~{self.distance}" if self.distance else self.name


def nearest_names(commits: Commits, names: Iterable[tuple[ObjectId, str]]) -> dict[bytes, Place]:
    """Return the nearest of *names* above each version; of several as near, the first given."""
    found: dict[bytes, Place] = {}
    for commit_id, name in names:
        found.setdefault(commit_id, Place(name, 0))
    waiting = list(found)
    while waiting:
        commits.load(waiting)
        following: list[bytes] = []
        for one in waiting:
            name, distance = found[one]
            first = commits.get(one).parents[:1]
            if first and first[0] not in found:
                for parent in commits.here([ObjectId(first[0])]):
                    found[parent] = Place(name, distance + 1)
                    following.append(parent)
        waiting = following
    return found
