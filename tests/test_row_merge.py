"""Tables merged row by row, against a merge of dictionaries, and how the result is written."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsvc.history.attributes import parse_attributes
from dsvc.history.content import read_content
from dsvc.history.content_writer import write_content
from dsvc.history.file_merge import FileMerger
from dsvc.history.merge import ConflictKind, Side
from dsvc.history.merge_heads import Head
from dsvc.history.row_merge import RowConflictError, merge_rows
from dsvc.history.table_rows import NoTableError, Table, read_table
from dsvc.history.tree import Tree
from dsvc.model.ids import ObjectId
from dsvc.odb.objects import MemoryObjects
from dsvc.worktree.merge import MergeOptions, Result, merge
from dsvc.worktree.switch import switch_to_branch, switch_to_new_branch
from tests.worktree_support import Files, commit_all, make_worktree

Rows = dict[str, str]


def merged(
    base: str | None,
    ours: str,
    theirs: str,
    *,
    kind: str = "csv",
    key: Sequence[str] = ("id",),
    favour: Side | None = None,
) -> str:
    def table(text: str) -> Table:
        return read_table(kind, [text.encode("utf-8", "surrogateescape")], key)

    known = None if base is None else table(base)
    return "".join(merge_rows(known, table(ours), table(theirs), favour))


def as_csv(rows: Rows) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([["id", "value"], *rows.items()])
    return out.getvalue()


def as_json(rows: Rows) -> str:
    return "".join(json.dumps({"id": key, "value": value}) + "\n" for key, value in rows.items())


def naive(base: Rows, ours: Rows, theirs: Rows) -> tuple[Rows, int]:
    """Return our rows in our order, then theirs, and how many are in conflict."""
    result: Rows = {}
    conflicts = 0
    for key in dict.fromkeys([*ours, *theirs, *base]):
        old, mine, other = base.get(key), ours.get(key), theirs.get(key)
        conflicts += mine not in (old, other) and other != old
        value = mine if other in (old, mine) else other
        if value is not None:
            result[key] = value
    return result, conflicts


VALUES = st.sampled_from(["1", "2", 'a "quoted" one', "two\nlines", "a,b", "", "é", " "])
TABLES = st.dictionaries(st.sampled_from("abcdef"), VALUES, max_size=6)


@given(TABLES, TABLES, TABLES, st.sampled_from(["csv", "jsonl"]))
def test_rows_are_merged_as_dictionaries_would_be(base: Rows, ours: Rows, theirs: Rows, kind: str) -> None:
    written = as_csv if kind == "csv" else as_json
    wanted, conflicts = naive(base, ours, theirs)

    if conflicts:
        with pytest.raises(RowConflictError) as caught:
            merged(written(base), written(ours), written(theirs), kind=kind)
        assert caught.value.count == conflicts
    else:
        assert merged(written(base), written(ours), written(theirs), kind=kind) == written(wanted)


@given(TABLES, TABLES, TABLES, st.sampled_from(Side))
def test_a_favoured_side_settles_rows_in_conflict_and_no_others(
    base: Rows, ours: Rows, theirs: Rows, side: Side
) -> None:
    text = merged(as_csv(base), as_csv(ours), as_csv(theirs), favour=side)

    found = dict(list(csv.reader(io.StringIO(text, newline="")))[1:])
    for key in {*base, *ours, *theirs}:
        old, mine, other = base.get(key), ours.get(key), theirs.get(key)
        if mine not in (old, other) and other != old:
            assert found.get(key) == (mine if side is Side.OURS else other)
        else:
            assert found.get(key) == (mine if other in (old, mine) else other)


def test_a_column_that_one_side_added_stays_with_what_the_other_changed() -> None:
    base = "id,x\n1,a\n2,b\n3,c\n"
    wide = "id,x,new\n1,a,n1\n2,b,n2\n3,c,n3\n"
    edited = "id,x\n1,A\n2,b\n4,d\n"

    assert merged(base, wide, edited) == "id,x,new\n1,A,n1\n2,b,n2\n4,d,\n"
    assert merged(base, edited, wide) == "id,x,new\n1,A,n1\n2,b,n2\n4,d,\n"
    assert merged(base, wide, "id,x,y\n1,a,y1\n2,b,y2\n3,c,y3\n") == ("id,x,new,y\n1,a,n1,y1\n2,b,n2,y2\n3,c,n3,y3\n")


def test_members_that_one_side_added_stay_in_json_too() -> None:
    base = '{"id":1,"x":"a"}\n{"id":2,"x":"b"}\n'

    assert merged(base, '{"id":1,"x":"a","n":1.50}\n{"id":2,"x":"b"}\n', '{"id":1,"x":"A"}\n', kind="jsonl") == (
        '{"id":1,"x":"A","n":1.50}\n'
    )


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "wanted"),
    [
        # Line ends, quotes and a missing end are ours.
        ("id,x\r\n1,a\r\n", "id,x\r\n1,a\r\n2,b\r\n", "id,x\r\n1,A\r\n3,c\r\n", "id,x\r\n1,A\r\n2,b\r\n3,c\r\n"),
        ("id,x\n1,a", "id,x\n1,a\n2,b", "id,x\n1,A", "id,x\n1,A\n2,b"),
        ('"id","x"\n"1","a"\n', '"id","x"\n"1","a"\n"2","b"\n', '"id","x","y"\n"1","a","z"\n',
         '"id","x","y"\n"1","a","z"\n"2","b",""\n'),
        # Another way to write the same is no change.
        ("id,x\n1,a\n", 'id,x\n1,"a"\n', "id,x\n1,b\n", "id,x\n1,b\n"),
        ("id,x\n1,a\n", "id;x\n1;a\n2;b\n", "id,x\n1,A\n3,c\n", "id;x\n1;A\n2;b\n3;c\n"),
        ("\ufeffid,x\n1,a\n", "\ufeffid,x\n1,a\n\n2,b\n", "\ufeffid,x\n1,A\n", "\ufeffid,x\n1,A\n\n2,b\n"),
        # Not UTF-8.
        ("id,x\n1,a\n", "id,x\n1,a\n2,\udce9\n", "id,x\n1,\udce8\n", "id,x\n1,\udce8\n2,\udce9\n"),
    ],
)  # fmt: skip
def test_rows_stay_as_they_were_written(base: str, ours: str, theirs: str, wanted: str) -> None:
    assert merged(base, ours, theirs) == wanted


def test_several_columns_may_be_the_key() -> None:
    base = "a\tb\tx\n1\t1\t-\n1\t2\t-\n"

    text = merged(
        base, base.replace("1\t1\t-", "1\t1\tours"), base.replace("1\t2\t-", "1\t2\ttheirs"), kind="tsv", key="ab"
    )

    assert text == "a\tb\tx\n1\t1\tours\n1\t2\ttheirs\n"


@pytest.mark.parametrize(
    ("ours", "theirs", "kind", "reason"),
    [
        ("id,x\n1,a\n1,b\n", "id,x\n", "csv", "two rows have the key 1"),
        ("id,x\n1,a\n", "id,x\n1\n", "csv", "line 2 has 1 cells, where the first line has 2"),
        ("id\n1\n", "id,x\n1,b\n", "csv", "columns were removed, renamed or moved"),
        ("no,x\n1,a\n", "id,x\n", "csv", "its first line names no column `id`"),
        ("id,id\n1,a\n", "id,x\n", "csv", "two of its columns have one name"),
        ('id,x\n1,"a\n', "id,x\n", "csv", "is no CSV"),
        ("id,x\n1,a\0\n", "id,x\n", "csv", "it holds zero bytes"),
        ('{"x":1}\n', "", "jsonl", "line 1 is no JSON object with `id`"),
        ("[1]\n", "", "jsonl", "line 1 is no JSON object with `id`"),
        ("id,x\n", "id,x\n", "txt", "rows of a file of type `txt` are not known"),
    ],
)  # fmt: skip
def test_what_is_no_table_with_keys_is_told(ours: str, theirs: str, kind: str, reason: str) -> None:
    base = "id,x\n2,b\n" if kind == "csv" else ""

    with pytest.raises(NoTableError, match=reason):
        merged(base, ours, theirs, kind=kind)


def test_a_table_that_both_added_needs_the_same_columns() -> None:
    assert merged(None, "id,x\n1,a\n", "id,x\n1,a\n2,b\n") == "id,x\n1,a\n2,b\n"
    with pytest.raises(NoTableError, match="its columns differ"):
        merged(None, "id,x\n1,a\n", "id,y\n1,a\n")
    with pytest.raises(RowConflictError, match="in row 1"):
        merged(None, "id,x\n1,a\n", "id,x\n1,b\n")


@pytest.mark.parametrize("size", [0, 1, 70_000, 3_000_000])
def test_what_is_written_can_be_read(size: int) -> None:
    objects = MemoryObjects()
    content = (b"0123456789abcdef" * (size // 16 + 1))[:size]

    entry = write_content(objects, b"a", [content[start : start + 9999] for start in range(0, size, 9999)])

    assert (entry.size, read_content(objects, entry)) == (size, content)


def test_attributes_are_those_of_the_last_line_that_matches() -> None:
    lines = parse_attributes(
        b'# a comment\n*.csv merge=rows key=id\n"my table.csv" key="sample id"\nold/*.csv -merge\n!x\n'
    )

    def of(path: str) -> dict[str, str | None]:
        found: dict[str, str | None] = {}
        for line in lines:
            found |= line.said if line.spec.match_file(path) else {}
        return found

    assert of("deep/a.csv") == {"merge": "rows", "key": "id"}
    assert of("my table.csv") == {"merge": "rows", "key": "sample id"}
    assert of("old/a.csv") == {"merge": None, "key": "id"}
    assert of("a.txt") == {}


# In a dataset


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ("*.csv merge=rows key=id\n", None),
        ("", ""),
        ("*.csv merge=rows\n", "its attributes name no key"),
        ("*.csv merge=rows key=name\n", "its rows cannot be merged: its first line names no column `name`"),
    ],
)
def test_a_dataset_says_which_of_its_tables_are_merged_by_row(
    tmp_path: Path, attributes: str, reason: str | None
) -> None:
    worktree = make_worktree(tmp_path / "data")
    files: Files = {b"t/.dsvcattributes": attributes.encode(), b"t/x.csv": b"id,x\n1,a\n2,b\n"}
    root = commit_all(worktree, files)
    switch_to_new_branch(worktree, "topic", root)
    theirs = commit_all(worktree, {**files, b"t/x.csv": b"id,x\n1,A\n2,b\n"})
    switch_to_branch(worktree, "main")
    commit_all(worktree, {**files, b"t/x.csv": b"id,x\n1,a\n2,B\n"})

    done = merge(worktree, [Head(ObjectId(theirs), "topic")], "merged", MergeOptions())

    if reason is None:
        assert done.result is Result.MERGED
        assert (worktree.root / "t/x.csv").read_bytes() == b"id,x\n1,A\n2,B\n"
    else:
        assert [(one.kind, one.reason) for one in done.conflicts] == [(ConflictKind.BOTH_MODIFIED, reason)]


def test_the_attributes_of_deeper_folders_come_last() -> None:
    objects = MemoryObjects()
    said = {b".dsvcattributes": b"*.csv merge=rows key=id\n", b"t/.dsvcattributes": b"x.csv -merge\n"}
    tables = dict.fromkeys((b"x.csv", b"t/x.csv", b"t/y.csv"), b"id\n1\n")
    entries = [write_content(objects, path, [content]) for path, content in {**said, **tables}.items()]
    tree = Tree(objects).apply(objects, [(entry.path, entry) for entry in entries])
    merger = FileMerger(objects, objects, tree, Tree(objects))

    def made(path: bytes) -> object:
        entry = tree.get(path)
        assert entry is not None
        return merger(entry, entry, entry)

    assert made(b"x.csv") == tree.get(b"x.csv")
    assert made(b"t/x.csv") == ""
    assert made(b"t/y.csv") == tree.get(b"t/y.csv")
