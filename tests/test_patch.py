"""Patches, applied again by a few lines that only know the format."""

import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsvc.history.patch import hunks, is_text

LINES = st.lists(st.sampled_from([b"a", b"b", b"c", b"", b"d\r", b"\xff"]), max_size=14)
TEXTS = st.builds(lambda lines, end: b"\n".join(lines) + end, LINES, st.sampled_from([b"", b"\n"]))

NO_NEWLINE = b"\\ No newline at end of file"


def apply(old: bytes, patch: list[tuple[bytes, list[bytes]]]) -> bytes:
    before = [line + b"\n" for line in old.split(b"\n")]
    before[-1] = before[-1].removesuffix(b"\n")
    after: list[bytes] = []
    at = 0
    for header, lines in patch:
        start, _, length = header.split()[1][1:].partition(b",")
        begin = int(start) - (length != b"0")
        after += before[at:begin]
        at = begin
        for number, line in enumerate(lines):
            sign, text = line[:1], line[1:]
            whole = text if lines[number + 1 : number + 2] == [NO_NEWLINE] else text + b"\n"
            if sign in (b" ", b"-"):
                assert before[at] == whole
                at += 1
            if sign in (b" ", b"+"):
                after.append(whole)
    return b"".join(after + before[at:])


@given(TEXTS, TEXTS, st.integers(0, 4))
def test_a_patch_makes_the_new_text_of_the_old_one(old: bytes, new: bytes, context: int) -> None:
    assert apply(old, list(hunks(old, new, context=context))) == new


@given(TEXTS, TEXTS)
def test_the_counts_of_a_hunk_are_those_of_its_lines(old: bytes, new: bytes) -> None:
    for header, lines in hunks(old, new):
        _, before, after, _ = header.split()
        counts = [int(part.partition(b",")[2] or 1) for part in (before, after)]
        assert counts == [sum(line[:1] in signs for line in lines) for signs in ((b" ", b"-"), (b" ", b"+"))]


@given(TEXTS)
def test_equal_texts_have_no_patch(text: bytes) -> None:
    assert list(hunks(text, text)) == []


def test_git_applies_what_is_written(tmp_path: Path) -> None:
    old = b"".join(b"line %d\n" % number for number in range(40))
    new = old.replace(b"line 7\n", b"line seven\nand a half\n").replace(b"line 30\n", b"").removesuffix(b"\n")
    body = b"".join(b"\n".join([header, *lines]) + b"\n" for header, lines in hunks(old, new))
    (tmp_path / "file").write_bytes(old)

    patch = b"diff --git a/file b/file\n--- a/file\n+++ b/file\n" + body
    subprocess.run(["git", "apply", "--unidiff-zero", "-"], input=patch, cwd=tmp_path, check=True)

    assert (tmp_path / "file").read_bytes() == new


def test_a_hunk_shows_changes_with_three_lines_around_them() -> None:
    old = b"".join(b"%d\n" % number for number in range(1, 12))

    (hunk,) = hunks(old, old.replace(b"6\n", b"six\n"))

    assert hunk.header == b"@@ -3,7 +3,7 @@"
    assert hunk.lines == [b" 3", b" 4", b" 5", b"-6", b"+six", b" 7", b" 8", b" 9"]


@pytest.mark.parametrize("step", [1, 2, 7])
def test_large_texts_take_no_time_to_compare(step: int) -> None:
    rows = [b"row %d" % number for number in range(20_000)]
    edited = [row + b"!" if not number % step else row for number, row in enumerate(rows)]
    repeated = [b"same"] * 5000

    started = time.perf_counter()
    list(hunks(b"\n".join(rows + repeated), b"\n".join(repeated + edited)))

    assert time.perf_counter() - started < 5


def test_what_has_a_zero_byte_near_its_beginning_is_no_text() -> None:
    assert all(map(is_text, (b"", b"caf\xe9\n", b"x" * 9000 + b"\0")))
    assert not is_text(b"x\0")
