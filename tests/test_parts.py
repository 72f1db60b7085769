"""Parts of a version: whole together, disjoint, even, and as they were where nothing happened."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsvc.datasets.parts import Part, entries_of_part, parse_part
from dsvc.errors import InvalidInputError
from dsvc.model.tree import Entry, EntryKind

SIZES = st.lists(st.integers(0, 1000) | st.just(0), max_size=40)
COUNTS = st.integers(1, 12)


def entries(sizes: Sequence[int]) -> list[Entry]:
    return [Entry(b"%04d" % number, EntryKind.FILE, size, bytes(32)) for number, size in enumerate(sizes)]


def parts(files: Sequence[Entry], count: int) -> list[list[Entry]]:
    return [entries_of_part(files, Part(number, count)) for number in range(1, count + 1)]


@given(SIZES, COUNTS)
def test_parts_are_disjoint_and_together_the_whole_in_order(sizes: list[int], count: int) -> None:
    files = entries(sizes)

    assert [entry for part in parts(files, count) for entry in part] == files


@given(SIZES, COUNTS)
def test_no_part_is_further_from_its_share_than_the_largest_file(sizes: list[int], count: int) -> None:
    for part in parts(entries(sizes), count):
        assert abs(count * sum(entry.size for entry in part) - sum(sizes)) <= count * max(sizes, default=0)


@given(st.integers(0, 40), COUNTS)
def test_of_empty_files_each_part_has_as_many(files: int, count: int) -> None:
    lengths = [len(part) for part in parts(entries([0] * files), count)]

    assert max(lengths) - min(lengths) <= 1


@given(SIZES, COUNTS, st.integers(0, 40), st.integers(0, 1000))
def test_a_file_that_comes_moves_only_those_next_to_a_cut(sizes: list[int], count: int, place: int, size: int) -> None:
    old = entries([*sizes, 1])
    # Its path is between those of two others.
    new = Entry(b"%04d." % min(place, len(sizes)), EntryKind.FILE, size, bytes(32))
    before = {entry.path: number for number, part in enumerate(parts(old, count)) for entry in part}
    both = sorted([*old, new], key=lambda entry: entry.path)
    after = {entry.path: number for number, part in enumerate(parts(both, count)) for entry in part}

    moved = sum(entry.size for entry in old if before[entry.path] != after[entry.path])

    assert moved <= (count - 1) * (size + max(entry.size for entry in old))


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/0", "-1/3", "a/b", "1/2/3", "1.5/2", ""])
def test_what_is_no_part_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidInputError, match=f"`{text}` is no part"):
        parse_part(text)


def test_parts_count_from_one() -> None:
    assert parse_part("1/1") == Part(1, 1)
    assert parse_part("8/8") == Part(8, 8)
