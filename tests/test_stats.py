"""Figures about files: those that follow a change equal those that are counted from nothing."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsvc.history.diff import diff_trees
from dsvc.history.parquet import TAIL, NotParquetError, footer_length, read_footer
from dsvc.history.stats import Stats, measure, measure_change, read_stats
from dsvc.history.tables import TableShape, table_shape, type_of
from dsvc.history.tree import Tree
from dsvc.model.canonical_json import JsonObject, decode_canonical, encode_canonical
from dsvc.model.ids import Kind, hash_object
from dsvc.model.paths import quote_path, unquote_path
from dsvc.model.tree import Entry, EntryKind
from dsvc.odb.objects import MemoryObjects

FIXTURES = Path(__file__).parent / "fixtures"


def put(objects: MemoryObjects, path: bytes, content: bytes, kind: int = EntryKind.FILE) -> Entry:
    if content:
        objects.write(Kind.CHUNK, content)
    return Entry(path, kind, len(content), bytes(hash_object(Kind.CHUNK, content)))


def shape(content: bytes, name: bytes = b"t.csv") -> TableShape | None:
    objects = MemoryObjects()
    return table_shape(objects, put(objects, name, content))


names = st.sampled_from(
    [b"a.csv", b"b.csv", b"c.jsonl", b"d.txt", b"e", b'f".txt', b"g\xff.txt", b"h/a.csv", b"h/b.png"]
)
contents = st.sampled_from(
    [b"", b"x", b"a,b\n1,2\n", b"a\n1\n2\n", b'{"a": 1}\n', b"y" * 100, b"z" * 5000, b"w" * 5001]
)
kinds = st.sampled_from([EntryKind.FILE, EntryKind.EXECUTABLE, EntryKind.SYMLINK])
files = st.dictionaries(names, st.tuples(contents, kinds), max_size=9)
crowds = st.lists(st.tuples(st.sampled_from([40, 41, 300]), st.integers(0, 40)), max_size=30)


@settings(max_examples=80)
@given(files, files, crowds, crowds)
def test_stats_after_a_change_are_those_that_are_counted_from_nothing(
    before: dict[bytes, tuple[bytes, int]],
    after: dict[bytes, tuple[bytes, int]],
    crowd: list[tuple[int, int]],
    other: list[tuple[int, int]],
) -> None:
    objects = MemoryObjects()

    def tree(some: dict[bytes, tuple[bytes, int]], many: list[tuple[int, int]]) -> Tree:
        found = {path: put(objects, path, content, kind) for path, (content, kind) in some.items()}
        found |= {b"n%d" % number: put(objects, b"n%d" % number, b"q" * size) for size, number in many}
        return Tree(objects, Tree.empty(objects)).apply(objects, list(found.items()))

    old, new = tree(before, crowd), tree(after, other)
    stats = measure(objects, old.entries())

    changed = measure_change(objects, stats, diff_trees(old, new), new)

    assert changed == measure(objects, new.entries())
    assert read_stats(decode_canonical(encode_canonical({"stats": changed.to_json()}))["stats"]) == changed
    totals = new.totals()
    assert (changed.files, changed.size) == (totals.files, totals.size)


@settings(max_examples=60)
@given(st.lists(st.integers(0, 1 << 45), min_size=1), st.sampled_from([0.01, 0.5, 0.95, 1.0]))
def test_quantiles_are_right_to_three_percent(sizes: list[int], part: float) -> None:
    stats = measure(MemoryObjects(), [Entry(b"%d" % number, 0, size, b"") for number, size in enumerate(sizes)])
    rank = max(0, -int(-part * len(sizes) // 1) - 1)
    exact = sorted(sizes)[rank]

    assert exact * 0.968 <= stats.quantile(part) <= exact
    octaves = Counter(1 << size.bit_length() - 1 if size else 0 for size in sizes)
    assert list(stats.octaves()) == sorted(octaves.items())


def test_with_too_many_tables_none_is_described_and_with_fewer_again_all_are() -> None:
    objects = MemoryObjects()
    entries = [put(objects, b"%03d.csv" % number, b"a\n%d\n" % number) for number in range(201)]
    many = Tree(objects, Tree.empty(objects)).apply(objects, [(one.path, one) for one in entries])
    few = many.apply(objects, [(entries[0].path, None)])

    stats = measure(objects, many.entries())
    assert stats.tables is None
    fewer = measure_change(objects, stats, diff_trees(many, few), few)
    assert fewer == measure(objects, few.entries())
    assert len(fewer.tables or {}) == 200
    assert measure_change(objects, fewer, diff_trees(few, many), many) == stats


def test_only_tables_that_changed_are_read() -> None:
    objects = MemoryObjects()
    old = Tree(objects, Tree.empty(objects)).apply(
        objects, [(one.path, one) for one in (put(objects, b"a.csv", b"a\n1\n"), put(objects, b"b.csv", b"b\n"))]
    )
    stats = measure(objects, old.entries())
    new = old.apply(objects, [(b"b.csv", put(objects, b"b.csv", b"b\n2\n"))])
    # Whoever looked at the other one here would find nothing.
    only_new = MemoryObjects()
    only_new.write(Kind.CHUNK, b"b\n2\n")

    changed = measure_change(only_new, stats, diff_trees(old, new), new)

    assert changed == measure(objects, new.entries())


@pytest.mark.parametrize(
    ("content", "rows", "columns"),
    [
        (b"a,b\n1,x\n2,y\n", 2, [("a", "integer"), ("b", "text")]),
        (b"a,b\n1,x\n2,y", 2, [("a", "integer"), ("b", "text")]),
        (b"a,b\r\n1.5,true\r\n\r\n2,FALSE\r\n", 2, [("a", "number"), ("b", "boolean")]),
        (b'a,b\n"x\ny, ""z""",\n"",2\n', 2, [("a", "text"), ("b", "integer")]),
        (b"\xef\xbb\xbfa\n-1\n+2\n1e5\n", 3, [("a", "number")]),
        (b"a,b\n1\n1,2,3\n", 2, [("a", "integer"), ("b", "integer")]),
        (b"a\nnan\n1_000\n", 2, [("a", "text")]),
        (b"only,header", 0, [("only", "empty"), ("header", "empty")]),
        (b"\n\na\n\n\n1\n\n", 1, [("a", "integer")]),
    ],
)
def test_rows_and_columns_of_csv(content: bytes, rows: int, columns: list[tuple[str, str]]) -> None:
    assert shape(content) == TableShape(rows, len(columns), tuple(columns))
    # Wherever the pieces end that it is read in.
    large = content + b"\n" + b"1,2\n" * 300_000
    found = shape(large[: 1 << 20])
    assert found is not None
    assert found.width == len(columns)


def test_rows_are_counted_in_all_of_a_file_and_quoted_ends_of_lines_are_none() -> None:
    content = b"a,b\n" + b'1,"x\n\ny"\n' * 90_000

    assert shape(content[: 1 << 20]) is not None
    assert shape(content) == TableShape(90_000, 2, (("a", "integer"), ("b", "text")))


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (b"t.tsv", b"a b\tc\n1\t2\n", TableShape(1, 2, (("a b", "integer"), ("c", "integer")))),
        (
            b"t.jsonl",
            b'{"a": 1, "b": [1]}\n{"a": 2.5, "c": {}}\n\n',
            TableShape(2, 3, (("a", "number"), ("b", "list"), ("c", "object"))),
        ),
        (b"t.jsonl", b'1\n"x"\n', TableShape(2, 1, (("value", "text"),))),
        (b"t.jsonl", b"{\n", None),
        (b"t.csv", b"a\n\xff\n", None),
        (b"t.csv", b"", None),
        (b"t.parquet", b"a,b\n", None),
        (b"t.txt", b"a,b\n1,2\n", None),
    ],
)  # fmt: skip
def test_shapes_of_other_tables_and_of_what_is_none(name: bytes, content: bytes, expected: TableShape | None) -> None:
    assert shape(content, name) == expected


# Written by pyarrow 26 with a column of each: int64, double, string, bool, date32, timestamp, list<int64>, struct.
PARQUET = FIXTURES / "eight_columns.parquet"


def test_the_footer_of_parquet_tells_rows_and_columns() -> None:
    found = shape(PARQUET.read_bytes(), b"t.parquet")

    assert found == TableShape(
        3,
        8,
        (
            ("i", "integer"), ("d", "number"), ("s", "text"), ("b", "boolean"), ("day", "date"), ("t", "time"),
            ("l", "object"), ("st", "object"),
        ),
    )  # fmt: skip


@settings(max_examples=150)
@given(st.data())
def test_a_damaged_footer_is_told_and_nothing_worse(data: st.DataObject) -> None:
    content = PARQUET.read_bytes()
    length = footer_length(content[-TAIL:])
    footer = bytearray(content[-TAIL - length : -TAIL])
    footer[data.draw(st.integers(0, len(footer) - 1))] = data.draw(st.integers(0, 255))

    try:
        rows, columns = read_footer(bytes(footer[: data.draw(st.integers(0, len(footer)))]))
    except NotParquetError:
        return
    assert isinstance(rows, int)
    assert all(isinstance(name, str) for name, _ in columns)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (b"a/b.CSV", "csv"),
        (b"x.tar.gz", "gz"),
        (b"no", ""),
        (b".hidden", ""),
        (b"log.1", ""),
        (b"a.b/c", ""),
        (b"x.\xff", ""),
    ],
)
def test_types_are_ends_of_names(path: bytes, kind: str) -> None:
    assert type_of(path) == kind


@given(st.binary(min_size=1).filter(lambda path: b"\0" not in path))
def test_quoted_paths_come_back(path: bytes) -> None:
    assert unquote_path(quote_path(path)) == path


def test_stats_of_another_format_count_for_nothing() -> None:
    value = measure(MemoryObjects(), []).to_json()

    assert read_stats(value) == Stats()
    assert read_stats(value | {"version": 2}) is None
    assert read_stats([]) is None


@pytest.mark.parametrize(
    "change",
    [
        {"files": 2},
        {"size": 1},
        {"kinds": {"file": 1, "nothing": 0}},
        {"kinds": {"file": 2, "folder": 1}},
        {"types": {"\x1b[31m": [1, 5]}},
        {"buckets": {"99999999999": 1}},
        {"buckets": {"5": 2, "6": -1}},
        {"largest": [["\x1b]0;x", 5]]},
        {"largest": [["a.txt", -5]]},
        {"tables": {"\x9b": {"rows": 1, "width": 0, "columns": []}}},
        {"more": 1},
    ],
)
def test_stats_of_a_hostile_commit_count_for_nothing(change: JsonObject) -> None:
    value = measure(MemoryObjects(), [Entry(b"a.txt", 0, 5, b"d" * 32)]).to_json()

    assert read_stats(decode_canonical(encode_canonical(value))) is not None
    assert read_stats(decode_canonical(encode_canonical(value | change))) is None
