"""The lineage: what comes from what, exactly, and in time that grows with the history and not with its paths."""

from hypothesis import given
from hypothesis import strategies as st

from dsvc.history.commits import Commits
from dsvc.history.lineage import Lineage, nearest_names, read_lineage, select
from dsvc.model.codec import FORMAT_VERSION, encode
from dsvc.model.commit import Commit, Input
from dsvc.model.ids import Kind, ObjectId
from dsvc.odb.objects import MemoryObjects
from tests.history_support import random_commits

Shape = list[tuple[list[int], list[int]]]


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    """Versions, each with the numbers of its parents and of its inputs, all before it; the last one from all else."""
    shape: Shape = []
    for number in range(draw(st.integers(1, 12))):
        before = st.lists(st.integers(0, number - 1), unique=True, max_size=2) if number else st.just(list[int]())
        shape.append((draw(before), draw(before) if draw(st.booleans()) else []))
    return shape


def make(shape: Shape) -> tuple[Commits, list[ObjectId]]:
    objects = MemoryObjects()
    ids: list[ObjectId] = []
    for number, (parents, inputs) in enumerate(shape):
        named = [Input(f"input {one}", bytes(ids[one])) for one in inputs]
        above = [bytes(ids[one]) for one in parents]
        made = Commit(FORMAT_VERSION, b"t" * 32, above, "A <a@b>", number, 0, str(number), "{}", named, 0, 0)
        ids.append(objects.write(Kind.COMMIT, encode(made)))
    return Commits(objects), ids


def reach(shape: Shape, start: int) -> set[int]:
    found: set[int] = set()
    waiting = [start]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += [*shape[one][0], *shape[one][1]]
    return found


def reach_shown(lineage: Lineage, start: ObjectId) -> set[ObjectId]:
    return set(select(lineage, [start], ancestors=True, descendants=False))


@given(shapes(), st.sets(st.integers(0, 11)), st.booleans())
def test_what_is_shown_comes_from_each_other_as_the_whole_does(shape: Shape, named: set[int], full: bool) -> None:  # noqa: FBT001 (drawn)
    commits, ids = make(shape)
    numbers = {one: number for number, one in enumerate(ids)}

    lineage = read_lineage(commits, lambda _: True, ids, {ids[one] for one in named if one < len(ids)}, full=full)

    shown = {numbers[one] for one in lineage}
    assert {one for one in named if one < len(ids)} <= shown
    assert not full or len(shown) == len(ids)
    for one in lineage:
        assert {numbers[found] for found in reach_shown(lineage, one)} == reach(shape, numbers[one]) & shown


@given(shapes())
def test_nothing_comes_before_what_was_made_from_it(shape: Shape) -> None:
    commits, ids = make(shape)

    order = list(read_lineage(commits, lambda _: True, ids, (), full=True))

    for number, (parents, inputs) in enumerate(shape):
        for source in (*parents, *inputs):
            assert order.index(ids[number]) < order.index(ids[source])


@given(shapes(), st.data())
def test_descendants_are_those_that_it_is_an_ancestor_of(shape: Shape, data: st.DataObject) -> None:
    commits, ids = make(shape)
    start = data.draw(st.integers(0, len(ids) - 1))
    lineage = read_lineage(commits, lambda _: True, ids, (), full=True)

    found = select(lineage, [ids[start]], ancestors=False, descendants=True)

    assert set(found) == {ids[one] for one in range(len(ids)) if start in reach(shape, one)}


def test_stacked_merges_are_visited_once_each() -> None:
    # clearml 2.1.12 visits 2^40 versions here; see dsvc-clearml(7).
    shape: Shape = [([], [])]
    for _ in range(40):
        top = len(shape) - 1
        shape += [([top], []), ([top], []), ([top + 1, top + 2], [])]
    commits, ids = make(shape)

    full = read_lineage(commits, lambda _: True, ids[-1:], (), full=True)
    merges = read_lineage(commits, lambda _: True, ids[-1:], ())

    assert len(full) == 121
    assert len(merges) == 41
    assert len(select(full, ids[:1], ancestors=True, descendants=True, depth=None)) == 121


def test_a_walk_goes_no_further_than_it_is_asked_to() -> None:
    commits, ids = make([([], []), ([0], []), ([1], []), ([2], []), ([3], [])])
    lineage = read_lineage(commits, lambda _: True, ids, (), full=True)

    def found(depth: int) -> list[int]:
        chosen = select(lineage, [ids[2]], ancestors=True, descendants=True, depth=depth)
        return sorted(ids.index(one) for one in chosen)

    assert [found(depth) for depth in range(3)] == [[2], [1, 2, 3], [0, 1, 2, 3, 4]]


def test_an_input_that_is_not_here_is_the_end_of_its_line() -> None:
    commits, ids = make([([], []), ([0], []), ([], [1])])

    lineage = read_lineage(commits, lambda one: one != ids[1], [ids[2]], ())

    assert [(version.id, version.commit is None) for version in lineage.values()] == [(ids[2], False), (ids[1], True)]


def test_a_version_without_a_name_is_called_by_the_nearest_one_above() -> None:
    commits, ids = random_commits(MemoryObjects(), [([], 0), ([0], 1), ([1], 2), ([2], 3), ([1], 4)])

    places = nearest_names(commits, [(ids[3], "far"), (ids[4], "near"), (ids[4], "second")])

    assert [str(places[one]) for one in ids] == ["near~2", "near~1", "far~1", "far", "near"]
