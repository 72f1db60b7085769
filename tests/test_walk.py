"""Walks of the history, against brute force on random histories."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from dsvc.history.commits import Commits
from dsvc.history.walk import ahead_behind, ancestors, is_ancestor, merge_bases, walk
from dsvc.model.ids import ObjectId
from dsvc.odb.objects import MemoryObjects
from tests.history_support import random_commits

Shape = list[tuple[tuple[int, ...], int]]


@st.composite
def shapes(draw: st.DrawFn, *, clocks_agree: bool = False) -> Shape:
    """Commits by the numbers of their parents; the clocks of their authors may say anything."""
    shape: Shape = []
    for number in range(draw(st.integers(1, 12))):
        most = min(number, 3)
        parents = draw(st.lists(st.integers(0, number - 1), max_size=most, unique=True)) if number else []
        time = number if clocks_agree else draw(st.integers(0, 5))
        shape.append((tuple(parents), time))
    return shape


def closure(shape: Shape, tips: Iterable[int]) -> set[int]:
    found: set[int] = set()
    waiting = list(tips)
    while waiting:
        number = waiting.pop()
        if number not in found:
            found.add(number)
            waiting.extend(shape[number][0])
    return found


def made(shape: Shape) -> tuple[Commits, list[ObjectId]]:
    return random_commits(MemoryObjects(), shape)


def numbers(shape: Shape, count: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, len(shape) - 1), max_size=count)


@given(st.data(), shapes(), st.booleans())
def test_a_walk_yields_what_is_reachable_and_not_excluded_once(
    data: st.DataObject,
    shape: Shape,
    topological: bool,  # noqa: FBT001
) -> None:
    commits, ids = made(shape)
    include, exclude = data.draw(numbers(shape, 3)), data.draw(numbers(shape, 3))

    walked = [
        visit.id
        for visit in walk(
            commits, [ids[one] for one in include], [ids[one] for one in exclude], topological=topological
        )
    ]

    assert len(walked) == len(set(walked))
    assert set(walked) == {ids[one] for one in closure(shape, include) - closure(shape, exclude)}


@given(st.data(), shapes())
def test_in_a_topological_walk_children_come_before_parents(data: st.DataObject, shape: Shape) -> None:
    commits, ids = made(shape)
    include, exclude = data.draw(numbers(shape, 3)), data.draw(numbers(shape, 2))

    visits = list(walk(commits, [ids[one] for one in include], [ids[one] for one in exclude], topological=True))

    places = {visit.id: place for place, visit in enumerate(visits)}
    for visit in visits:
        assert visit.parents == [one for one in commits.parents(visit.id) if one in places]
        assert all(places[parent] > places[visit.id] for parent in visit.parents)


@given(st.data(), shapes(clocks_agree=True))
def test_where_clocks_agree_a_walk_goes_back_in_time(data: st.DataObject, shape: Shape) -> None:
    commits, ids = made(shape)

    times = [visit.commit.time for visit in walk(commits, [ids[one] for one in data.draw(numbers(shape, 3))])]

    assert times == sorted(times, reverse=True)


@given(shapes())
def test_only_first_parents_are_followed_where_that_is_asked(shape: Shape) -> None:
    commits, ids = made(shape)
    line = [len(shape) - 1]
    while shape[line[-1]][0]:
        line.append(shape[line[-1]][0][0])

    assert [visit.id for visit in walk(commits, [ids[-1]], first_parent=True)] == [ids[one] for one in line]


def test_a_walk_reads_no_more_than_it_is_asked_for() -> None:
    objects = CountingObjects()
    commits, ids = random_commits(objects, [((number - 1,) if number else (), number) for number in range(100)])

    visits = walk(commits, [ids[-1]])
    next(visits)

    assert objects.reads < 3


class CountingObjects(MemoryObjects):
    reads = 0

    def read(self, kind: int, object_id: bytes) -> bytes:
        self.reads += 1
        return super().read(kind, object_id)


@given(st.data(), shapes())
def test_ancestors_are_found_whatever_the_clocks_say(data: st.DataObject, shape: Shape) -> None:
    commits, ids = made(shape)
    one, other = (data.draw(st.integers(0, len(shape) - 1)) for _ in range(2))

    assert is_ancestor(commits, ids[one], ids[other]) == (one in closure(shape, [other]))
    assert set(ancestors(commits, [ids[one]])) == {ids[found] for found in closure(shape, [one])}


@given(st.data(), shapes())
def test_merge_bases_are_the_common_ancestors_above_which_there_is_none(data: st.DataObject, shape: Shape) -> None:
    commits, ids = made(shape)
    one, other = (data.draw(st.integers(0, len(shape) - 1)) for _ in range(2))

    common = closure(shape, [one]) & closure(shape, [other])
    best = {found for found in common if not any(found in closure(shape, shape[above][0]) for above in common)}

    assert set(merge_bases(commits, ids[one], ids[other])) == {ids[found] for found in best}


@given(st.data(), shapes())
def test_ahead_and_behind_count_what_only_one_side_has(data: st.DataObject, shape: Shape) -> None:
    commits, ids = made(shape)
    one, other = (data.draw(st.integers(0, len(shape) - 1)) for _ in range(2))
    left, right = closure(shape, [one]), closure(shape, [other])

    assert ahead_behind(commits, ids[one], ids[other]) == (len(left - right), len(right - left))
