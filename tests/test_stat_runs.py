"""The runs of the stat cache, against a plain dictionary."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsvc.worktree import stat_runs
from dsvc.worktree.stat_runs import SCHEMA, GatheredRuns, Row, Runs, pack_runs

_KEYS = st.binary(min_size=1, max_size=2) | st.integers(0, 300).map(b"%03d".__mod__)
_ROWS = st.builds(lambda key, value: (key, value, b"entry"), _KEYS, st.binary(max_size=2))
_CHANGES = st.lists(
    st.tuples(st.just("put"), st.lists(_ROWS, max_size=90))
    | st.tuples(st.just("put_runs"), st.lists(_ROWS, max_size=90, unique_by=lambda row: row[0]))
    | st.tuples(st.just("remove"), st.lists(_KEYS, max_size=90)),
    max_size=6,
)


def make_runs() -> Runs:
    database = sqlite3.connect(":memory:", isolation_level=None)
    database.execute(SCHEMA)
    return Runs(database)


@given(_CHANGES, _KEYS, _KEYS)
def test_runs_are_a_sorted_dictionary(changes: list[tuple[str, list[Any]]], start: bytes, stop: bytes) -> None:
    runs = make_runs()
    expected: dict[bytes, Row] = {}

    for what, values in changes:
        if what == "remove":
            runs.remove(values)
            for key in values:
                expected.pop(key, None)
        else:
            runs.put_runs(pack_runs(sorted(values))) if what == "put_runs" else runs.put(values)
            expected.update((row[0], row) for row in values)

    assert list(runs.rows()) == sorted(expected.values())
    assert list(runs.rows(start, stop)) == [row for key, row in sorted(expected.items()) if start <= key < stop]
    assert [runs.get(key) for key in (start, stop)] == [expected.get(key) for key in (start, stop)]


def test_rows_in_order_of_their_keys_are_appended() -> None:
    runs = make_runs()
    rows = [(b"%04d" % number, b"", b"") for number in range(1000)]

    runs.append(rows)

    assert list(runs.rows()) == rows
    assert runs.get(b"0500") == rows[500]


def test_a_damaged_run_is_an_error_of_the_database() -> None:
    runs = make_runs()
    runs.put_runs([(b"a", b"a", b"\xa5\xa5")])

    with pytest.raises(sqlite3.DatabaseError):
        list(runs.rows())


@pytest.mark.parametrize("in_memory", [1, 100, 1 << 20])
def test_gathered_runs_come_back_in_their_order(
    tmp_path: Path, in_memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stat_runs, "_IN_MEMORY", in_memory)
    gathered = GatheredRuns(tmp_path / "tmp")
    expected = [run for number in range(9) for run in pack_runs([(b"%d" % number, b"print", b"entry")])]

    for run in expected:
        gathered.extend([run])

    assert list(gathered) == list(gathered) == expected
    assert list(tmp_path.glob("tmp/*")) == []
    gathered.clear()
    assert list(gathered) == []
