"""The history of paths, against git's rule spelled out on random histories."""

from hypothesis import given
from hypothesis import strategies as st

from dsvc.history.path_history import differ_below, follow_paths
from dsvc.history.tree import Tree
from dsvc.history.walk import walk
from dsvc.odb.objects import MemoryObjects
from tests.history_support import entry, random_commits
from tests.test_walk import Shape, closure, shapes


def tree(objects: MemoryObjects, contents: str) -> Tree:
    """Return a tree in which the content of `data/x` and `other` are the two letters of *contents*; `-` is none."""
    named = zip((b"data/x", b"other"), contents, strict=True)
    entries = [entry(path, letter.encode()) for path, letter in named if letter != "-"]
    return Tree(objects).apply(objects, [(one.path, one) for one in entries])


def test_a_difference_is_looked_for_below_the_paths_only() -> None:
    objects = MemoryObjects()
    old, new = tree(objects, "aa"), tree(objects, "ab")

    assert differ_below([b""])(old, new)
    assert differ_below([b"other"])(old, new)
    assert not differ_below([b"data"])(old, new)
    assert not differ_below([b""], lambda path: path != b"other")(old, new)
    assert not differ_below([b""])(old, old)


def followed(
    shape: Shape, values: list[str], include: list[int], excluded: set[int], *, first_parent: bool
) -> set[int]:
    """Return the commits that git shows: those whose value differs from that of each parent, walked by its rule."""
    shown: set[int] = set()
    met: set[int] = set()
    waiting = list(include)
    while waiting:
        number = waiting.pop()
        if number in met or number in excluded:
            continue
        met.add(number)
        parents = list(shape[number][0])[: 1 if first_parent else None]
        kept = [parent for parent in parents if parent not in excluded]
        same = [parent for parent in kept if values[parent] == values[number]]
        if same:
            waiting.append(same[0])
            continue
        waiting.extend(kept)
        before = [values[parent] for parent in parents] or ["-"]
        if kept or any(value != values[number] for value in before):
            shown.add(number)
    return shown


@given(st.data(), shapes(), st.booleans(), st.booleans())
def test_a_walk_for_a_path_shows_what_git_shows(
    data: st.DataObject,
    shape: Shape,
    first_parent: bool,  # noqa: FBT001 (drawn by hypothesis)
    topological: bool,  # noqa: FBT001
) -> None:
    numbers = st.integers(0, len(shape) - 1)
    values = data.draw(st.lists(st.sampled_from("-ab"), min_size=len(shape), max_size=len(shape)))
    include, exclude = data.draw(st.lists(numbers, min_size=1, max_size=2)), data.draw(st.lists(numbers, max_size=1))
    objects = MemoryObjects()
    # What is elsewhere changes with each commit, and must not count.
    roots = [tree(objects, value + "abcdefghijklmnop"[number]).root for number, value in enumerate(values)]
    commits, ids = random_commits(objects, shape, roots)

    visits = walk(
        commits,
        [ids[one] for one in include],
        [ids[one] for one in exclude],
        topological=topological,
        first_parent=first_parent,
        follow=follow_paths(commits, differ_below([b"data"]), first_parent=first_parent),
    )

    expected = followed(shape, values, include, closure(shape, exclude), first_parent=first_parent)
    assert {visit.id for visit in visits} == {ids[number] for number in expected}


@given(st.data(), shapes())
def test_the_parents_of_what_is_shown_are_the_nearest_that_are(data: st.DataObject, shape: Shape) -> None:
    values = data.draw(st.lists(st.sampled_from("-ab"), min_size=len(shape), max_size=len(shape)))
    objects = MemoryObjects()
    roots = [tree(objects, value + "-").root for value in values]
    commits, ids = random_commits(objects, shape, roots)

    visits = list(walk(commits, [ids[-1]], topological=True, follow=follow_paths(commits, differ_below([b"data"]))))

    shown = {visit.id for visit in visits}
    for place, visit in enumerate(visits):
        later = {other.id for other in visits[place + 1 :]}
        assert set(visit.parents) <= later & shown
        # Each of them is reached, and without another in between where there is a single line.
        number = ids.index(visit.id)
        assert all(ids.index(parent) in closure(shape, [number]) for parent in visit.parents)
        if len(shape[number][0]) == 1:
            nearest = shape[number][0][0]
            while ids[nearest] not in shown and shape[nearest][0]:
                same = [parent for parent in shape[nearest][0] if values[parent] == values[nearest]]
                nearest = same[0]
            assert visit.parents == ([ids[nearest]] if ids[nearest] in shown else [])
