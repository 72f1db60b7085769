"""The prolly tree, on maps of bytes to bytes."""

import random
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsvc.errors import InvalidInputError
from dsvc.model.codec import encode
from dsvc.model.ids import Kind, ObjectId
from dsvc.model.tree import Child, InnerPage, MapItem, MapPage
from dsvc.odb.objects import MemoryObjects, ObjectNotFoundError
from dsvc.odb.page_boundary import MAX_LEVELS, Splitter, is_boundary
from dsvc.odb.pages import MalformedPageError, MapLayout, Pages, Totals
from dsvc.odb.prolly import ProllyTree, build
from dsvc.odb.prolly_diff import diff

# Each example builds trees of many pages.
big = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])

Map = dict[bytes, bytes]


class CountingObjects(MemoryObjects):
    """Objects that count how often they are read and written."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0
        self.requests = 0
        self.writes = 0

    def read(self, kind: int, object_id: bytes) -> bytes:
        self.requests += 1
        self.reads += 1
        return super().read(kind, object_id)

    def read_many(self, kind: int, object_ids: Sequence[bytes]) -> list[bytes]:
        requests = self.requests
        found = super().read_many(kind, object_ids)
        self.requests = requests + 1
        return found

    def write(self, kind: int, data: bytes) -> ObjectId:
        self.writes += 1
        return super().write(kind, data)

    def reset(self) -> None:
        self.reads = self.requests = self.writes = 0


def open_tree(objects: MemoryObjects, root: bytes | None = None) -> ProllyTree[MapItem]:
    return ProllyTree.open(MapLayout(), objects, root)


def build_tree(objects: MemoryObjects, model: Map) -> ProllyTree[MapItem]:
    items = (MapItem(key, model[key]) for key in sorted(model))
    return build(Pages(MapLayout(), objects), objects, items)


def edits_of(model: Mapping[bytes, bytes | None]) -> dict[bytes, MapItem | None]:
    return {key: None if value is None else MapItem(key, value) for key, value in model.items()}


def short_key(number: int) -> bytes:
    return b"%06d" % number


def long_key(number: int) -> bytes:
    # 33 of them fill a page, so a few thousand make three levels, and no cut depends on a hash.
    return b"%06d" % number + b"." * 8000


# How many numbered keys there are, and what they are like.
Universe = tuple[int, Callable[[int], bytes]]
SHORT: Universe = (4000, short_key)
LONG: Universe = (1500, long_key)

# A batch puts or removes runs of numbered keys: (first, how many, step, value or None).
Batch = list[tuple[int, int, int, bytes | None]]


def batches() -> st.SearchStrategy[list[Batch]]:
    run = st.tuples(
        st.integers(0, 4000),
        st.one_of(st.integers(1, 3), st.integers(1, 4000)),
        st.sampled_from([1, 1, 2, 7, 600]),
        st.sampled_from([b"1", b"2", None]),
    )
    return st.lists(st.lists(run, min_size=1, max_size=4), min_size=1, max_size=4)


def batch_edits(batch: Batch, universe: Universe = SHORT) -> dict[bytes, bytes | None]:
    size, key = universe
    return {
        key(number): value
        for first, count, step, value in batch
        for number in range(first, min(first + count * step, size), step)
    }


def put(model: Map, edits: Mapping[bytes, bytes | None]) -> None:
    for key, value in edits.items():
        if value is None:
            model.pop(key, None)
        else:
            model[key] = value


# Where pages end


@given(
    st.lists(st.one_of(st.binary(min_size=1, max_size=8), st.integers(1, 30000).map(lambda n: b"k" * n)), max_size=300),
    st.integers(0, 5000),
    st.lists(st.integers(0, 6000), max_size=6),
    st.integers(0, MAX_LEVELS - 1),
)
@big
def test_cutting_runs_of_any_length_is_the_plain_rule_item_by_item(
    odd: list[bytes], short: int, cuts: list[int], level: int
) -> None:
    keys = [short_key(number) for number in range(short)]
    keys[short // 2 : short // 2] = odd
    expected, count, key_bytes = [], 0, 0
    for position, key in enumerate(keys, 1):
        count, key_bytes = count + 1, key_bytes + len(key)
        if is_boundary(level, key, count, key_bytes):
            expected.append(position)
            count = key_bytes = 0

    splitter = Splitter(level)
    bounds = sorted({0, len(keys), *(cut for cut in cuts if cut < len(keys))})
    found = [start + end for start, stop in pairwise(bounds) for end in splitter.split(keys[start:stop])]

    assert found == expected


@pytest.mark.parametrize("level", [0, 1, 2, 5])
@pytest.mark.parametrize(
    "name",
    [b"%08d.jpg", b"img%d", b"train\0%d\0image.png", b"2024-01-01T%06d.json"],
)
def test_pages_have_about_512_items_at_any_level(name: bytes, level: int) -> None:
    ends = Splitter(level).split(sorted(name % number for number in range(100_000)))

    sizes = [end - start for start, end in zip([0, *ends], ends, strict=False)]

    assert 470 < sum(sizes) / len(sizes) < 555
    assert max(sizes) < 1200


def test_no_page_has_more_than_2048_items_or_256_kib_of_keys() -> None:
    assert Splitter(0).split([b"same"] * 5000) in ([], [2048, 4096])
    assert Splitter(0).split([b"x" * 32768] * 20) == [8, 16]


def test_the_boundaries_are_a_constant_of_the_format() -> None:
    keys = [b"%07d" % number for number in range(4000)]

    assert Splitter(0).split(keys) == [530, 831, 1333, 2058, 2673, 3171, 3934]
    assert Splitter(1).split(keys) == [562, 1002, 1533, 2059, 2576, 3018, 3547, 3839]
    assert Splitter(15).split(keys) == [247, 805, 1079, 1483, 2255, 2992, 3713]


# The law: the same items, the same root


@given(batches(), st.sampled_from([SHORT, LONG]))
@big
def test_any_order_and_batching_of_edits_gives_the_root_of_a_build(history: list[Batch], universe: Universe) -> None:
    objects = MemoryObjects()
    tree = open_tree(objects)
    model: Map = {}

    for batch in history:
        edits = batch_edits(batch, universe)
        put(model, edits)
        tree = tree.apply(objects, edits_of(edits))

        assert tree.root == build_tree(objects, model).root


@given(st.integers(0, 2**32), st.integers(1, 12_000), st.integers(1, 5))
@big
def test_scattered_edits_give_the_root_of_a_build(seed: int, size: int, rounds: int) -> None:
    source = random.Random(seed)  # noqa: S311
    objects = MemoryObjects()
    model = {short_key(source.randrange(20_000)): b"old" for _ in range(size)}
    tree = build_tree(objects, model)

    for _ in range(rounds):
        edits = {
            short_key(source.randrange(20_000)): source.choice([b"new", None])
            for _ in range(source.choice([1, 5, 2000]))
        }
        put(model, edits)
        tree = tree.apply(objects, edits_of(edits))

    assert tree.root == build_tree(objects, model).root


@given(st.dictionaries(st.binary(min_size=1, max_size=40), st.binary(max_size=5), max_size=40), st.randoms())
@settings(deadline=None)
def test_the_order_of_single_edits_does_not_matter(model: Map, source: random.Random) -> None:
    objects = MemoryObjects()
    keys = list(model)
    source.shuffle(keys)
    tree = open_tree(objects)

    for key in keys:
        tree = tree.apply(objects, {key: MapItem(key, model[key])})

    assert tree.root == build_tree(objects, model).root


def test_removing_from_the_front_brings_the_root_down_again() -> None:
    objects = MemoryObjects()
    model = {long_key(number): b"" for number in range(2500)}
    tree = build_tree(objects, model)

    for left in (1200, 100, 34, 33, 32, 1, 0):
        edits = dict.fromkeys(sorted(model)[: len(model) - left])
        put(model, edits)
        tree = tree.apply(objects, edits_of(edits))

        assert tree.root == build_tree(objects, model).root
    assert tree.root == open_tree(objects).root


@pytest.mark.parametrize(("first", "count"), [(0, 33), (10, 33), (330, 66), (33 * 32, 33), (5, 33 * 33)])
def test_a_page_stays_whole_only_where_all_levels_below_it_are_cut(first: int, count: int) -> None:
    objects = MemoryObjects()
    model = {long_key(number): b"" for number in range(33 * 80)}
    tree = build_tree(objects, model)

    # As many keys as leaves have: the leaves after them stay as they are, the pages above do not.
    edits = {long_key(number): None for number in range(first, first + count)}
    put(model, edits)
    tree = tree.apply(objects, edits_of(edits))

    assert tree.root == build_tree(objects, model).root


def test_a_page_with_one_child_that_is_left_alone_is_no_root() -> None:
    objects = MemoryObjects()
    model = {long_key(number): b"" for number in range(33 * 33 + 20)}
    tree = build_tree(objects, model)

    edits = dict.fromkeys(sorted(model)[: 33 * 33])
    put(model, edits)
    tree = tree.apply(objects, edits_of(edits))

    assert tree.root == build_tree(objects, model).root


def test_removing_everything_leaves_the_empty_tree() -> None:
    objects = MemoryObjects()
    model = {short_key(number): b"" for number in range(5000)}

    tree = build_tree(objects, model).apply(objects, edits_of(dict.fromkeys(model)))

    assert tree.root == open_tree(objects).root
    assert objects.read(Kind.PAGE, tree.root) == encode(MapPage(1, 0, []))
    assert list(tree.items()) == []


def test_edits_that_change_nothing_keep_the_root() -> None:
    objects = MemoryObjects()
    tree = build_tree(objects, {short_key(number): b"" for number in range(5000)})

    assert tree.apply(objects, {}).root == tree.root
    assert tree.apply(objects, {b"absent": None}).root == tree.root
    assert tree.apply(objects, {short_key(77): MapItem(short_key(77), b"")}).root == tree.root


# Reading


@given(batches(), st.integers(0, 4000), st.integers(0, 4000))
@big
def test_a_tree_reads_as_the_dictionary_it_was_made_of(history: list[Batch], low: int, high: int) -> None:
    objects = MemoryObjects()
    model: Map = {}
    for batch in history:
        put(model, batch_edits(batch))
    tree = build_tree(objects, model)
    start, stop = short_key(low), short_key(high)
    asked = [short_key(number) for number in range(0, 4000, 61)]

    inside = [key for key in sorted(model) if start <= key < stop]

    assert [(item.key, item.value) for item in tree.items()] == sorted(model.items())
    assert [item.key for item in tree.items(start, stop)] == inside
    assert tree.totals(start, stop) == Totals(len(inside), 0)
    assert tree.totals() == Totals(len(model), 0)
    assert [item and item.value for item in tree.get_many(asked)] == [model.get(key) for key in asked]
    for key in (start, stop, b"", b"~"):
        item = tree.get(key)
        assert (item and item.value) == model.get(key)


def test_an_empty_tree_reads_nothing() -> None:
    objects = CountingObjects()
    tree = open_tree(objects)

    assert tree.get(b"a") is None
    assert tree.get_many([b"a", b"b"]) == [None, None]
    assert list(tree.items()) == []
    assert tree.totals() == Totals(0, 0)
    assert objects.reads == 0


def test_a_missing_page_is_not_found() -> None:
    with pytest.raises(ObjectNotFoundError):
        open_tree(MemoryObjects(), b"?" * 32).get(b"a")


# Differences


def differences(
    old: ProllyTree[MapItem], new: ProllyTree[MapItem], start: bytes = b"", stop: bytes | None = None
) -> list[tuple[bytes | None, bytes | None]]:
    pairs = diff(old, new, start, stop)
    return [(left.value if left else None, right.value if right else None) for left, right in pairs]


@given(batches(), batches(), st.integers(0, 4000), st.integers(0, 4000), st.sampled_from([SHORT, LONG]))
@big
def test_a_difference_of_trees_is_the_difference_of_dictionaries(
    first: list[Batch], second: list[Batch], low: int, high: int, universe: Universe
) -> None:
    objects = MemoryObjects()
    old: Map = {}
    for batch in first:
        put(old, batch_edits(batch, universe))
    new = dict(old)
    for batch in second:
        put(new, batch_edits(batch, universe))
    trees = build_tree(objects, old), build_tree(objects, new)
    start, stop = short_key(low), short_key(high)

    changed = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]

    assert differences(*trees) == [(old.get(key), new.get(key)) for key in changed]
    assert differences(*trees, start, stop) == [(old.get(key), new.get(key)) for key in changed if start <= key < stop]


# What it costs


@pytest.fixture(scope="module")
def large() -> tuple[CountingObjects, ObjectId]:
    objects = CountingObjects()
    return objects, build_tree(objects, {short_key(number): b"v" for number in range(0, 600_000, 2)}).root


@pytest.mark.parametrize("number", [1, 300_001, 599_999, 700_001])
def test_one_edit_of_a_large_tree_reads_and_writes_a_path(large: tuple[CountingObjects, ObjectId], number: int) -> None:
    objects, root = large
    tree = open_tree(objects, root)
    assert next(iter(tree.items())).key == short_key(0)
    objects.reset()

    edited = open_tree(objects, root).apply(objects, edits_of({short_key(number): b"new"}))

    assert objects.reads <= 4
    assert objects.writes <= 5
    objects.reset()
    assert differences(open_tree(objects, root), open_tree(objects, edited.root)) == [(None, b"new")]
    assert objects.reads <= 10


def test_replacing_one_value_moves_no_boundary(large: tuple[CountingObjects, ObjectId]) -> None:
    objects, root = large
    objects.reset()

    open_tree(objects, root).apply(objects, edits_of({short_key(1000): b"another"}))

    assert (objects.reads, objects.writes) == (3, 3)


def test_ten_edits_cost_ten_paths_at_most(large: tuple[CountingObjects, ObjectId]) -> None:
    objects, root = large
    edits = {short_key(number): b"new" for number in range(7, 600_000, 60_000)}
    objects.reset()

    edited = open_tree(objects, root).apply(objects, edits_of(edits))

    assert objects.reads <= 40
    assert objects.writes <= 40
    objects.reset()
    assert differences(open_tree(objects, root), open_tree(objects, edited.root)) == [(None, b"new")] * 10
    assert objects.reads <= 80


def test_looking_up_and_totalling_read_a_path(large: tuple[CountingObjects, ObjectId]) -> None:
    objects, root = large

    objects.reset()
    open_tree(objects, root).get(short_key(222_222))
    assert objects.reads == 3

    objects.reset()
    assert open_tree(objects, root).totals(short_key(1), short_key(599_990)) == Totals(299_994, 0)
    assert objects.reads <= 5


def test_a_tree_compared_with_itself_is_not_read(large: tuple[CountingObjects, ObjectId]) -> None:
    objects, root = large
    objects.reset()

    assert differences(open_tree(objects, root), open_tree(objects, root)) == []
    assert objects.reads == 0


def test_pages_are_read_many_at_a_time(large: tuple[CountingObjects, ObjectId]) -> None:
    objects, root = large
    objects.reset()

    assert sum(1 for _ in open_tree(objects, root).items()) == 300_000
    assert objects.reads > 500
    assert objects.requests < 40


# What is refused


@pytest.mark.parametrize(
    "item",
    [MapItem(b"", b""), MapItem(b"k" * 32769, b""), MapItem(b"k", b"v" * (2**20 + 1))],
    ids=["empty", "key", "value"],
)
def test_an_item_that_could_not_be_read_back_is_not_written(item: MapItem) -> None:
    objects = MemoryObjects()

    with pytest.raises(InvalidInputError):
        open_tree(objects).apply(objects, {item.key: item})


def test_an_item_goes_only_to_its_own_key() -> None:
    objects = MemoryObjects()

    with pytest.raises(InvalidInputError):
        open_tree(objects).apply(objects, {b"a": MapItem(b"b", b"")})


@pytest.mark.parametrize("keys", [[b"b", b"a"], [b"a", b"a"]])
def test_a_build_needs_its_items_in_order(keys: list[bytes]) -> None:
    objects = MemoryObjects()

    with pytest.raises(InvalidInputError):
        build(Pages(MapLayout(), objects), objects, [MapItem(key, b"") for key in keys])


def leaf(*keys: bytes, version: int = 1, level: int = 0) -> MapPage:
    return MapPage(version, level, [MapItem(key, b"") for key in keys])


def inner(objects: MemoryObjects, *pages: MapPage, level: int = 1, **changes: Any) -> InnerPage:
    children = []
    for page in pages:
        values: dict[str, Any] = {
            "last_key": page.entries[-1].key if page.entries else b"z",
            "files": len(page.entries),
            "size": 0,
        }
        values |= changes
        children.append(Child(page=bytes(objects.write(Kind.PAGE, encode(page))), **values))
    return InnerPage(1, level, children)


def test_a_well_formed_page_is_read() -> None:
    objects = MemoryObjects()
    root = objects.write(Kind.PAGE, encode(inner(objects, leaf(b"a"), leaf(b"b"))))

    assert [item.key for item in open_tree(objects, root).items()] == [b"a", b"b"]


def malformed(objects: MemoryObjects) -> dict[str, bytes]:
    many = [b"%05d" % number for number in range(2049)]
    return {
        "an unknown version": encode(leaf(b"a", version=2)),
        "a leaf of level 1": encode(leaf(b"a", level=1)),
        "keys out of order": encode(leaf(b"b", b"a")),
        "a key twice": encode(leaf(b"a", b"a")),
        "an empty key": encode(leaf(b"")),
        "a key over the limit": encode(leaf(b"k" * 32769)),
        "too many items": encode(leaf(*many)),
        "too many bytes of keys": encode(leaf(*(b"%d" % number + b"k" * 32767 for number in range(9)))),
        "trailing bytes": encode(leaf(b"a")) + b"\0",
        "a longer spelling": b"\xdc\0\x03" + encode(leaf(b"a"))[1:],
        "an inner page without children": encode(InnerPage(1, 1, [])),
        "a root with one child": encode(inner(objects, leaf(b"a"))),
        "a level over the limit": encode(inner(objects, leaf(b"a"), leaf(b"b"), level=16)),
        "a level that the child does not have": encode(inner(objects, leaf(b"a"), leaf(b"b"), level=2)),
        "an empty leaf below": encode(inner(objects, leaf(), leaf(b"zz"))),
        "children out of order": encode(inner(objects, leaf(b"b"), leaf(b"a"))),
        "overlapping children": encode(inner(objects, leaf(b"b"), leaf(b"a", b"c"))),
        "another last key": encode(_replaced(inner(objects, leaf(b"a"), leaf(b"b")), last_key=b"c")),
        "another count": encode(_replaced(inner(objects, leaf(b"a"), leaf(b"b")), files=2)),
        "another size": encode(_replaced(inner(objects, leaf(b"a"), leaf(b"b")), size=1)),
        "a negative count": encode(_replaced(inner(objects, leaf(b"a"), leaf(b"b")), files=-1)),
        "a short id": encode(_replaced(inner(objects, leaf(b"a"), leaf(b"b")), page=b"short")),
        "no page at all": b"",
        "text": b"not a page",
    }


def _replaced(parent: InnerPage, **changes: Any) -> InnerPage:
    last = parent.children[-1]
    values = {name: getattr(last, name) for name in ("last_key", "page", "files", "size")} | changes
    return InnerPage(parent.version, parent.level, [*parent.children[:-1], Child(**values)])


@pytest.mark.parametrize("name", list(malformed(MemoryObjects())))
def test_a_malformed_page_is_refused_by_its_id(name: str) -> None:
    objects = MemoryObjects()
    root = objects.write(Kind.PAGE, malformed(objects)[name])

    with pytest.raises(MalformedPageError) as caught:
        list(open_tree(objects, root).items())

    assert objects.read(Kind.PAGE, caught.value.page) is not None
    assert caught.value.page.hex() in str(caught.value)


def test_the_root_of_a_map_is_a_constant_of_the_format() -> None:
    objects = MemoryObjects()
    model = {b"%07d" % number: b"%d" % (number * number) for number in range(3000)}

    assert str(open_tree(objects).root) == "5d4980e37b20724b70a65b2854f1ce21bc67d32a1dfe13cc37f9b81982841d72"
    assert str(build_tree(objects, model).root) == "958fc096370a5079e346f4d0a62f2cbb18f6f44fc9edceb52d73792ed4aaaae1"
