"""Where a file is cut is a constant of the format: the same on every machine, for ever."""

import hashlib
from itertools import pairwise

import pyfastcdc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsvc.chunking.fastcdc import MAX_CHUNK, MIN_CHUNK, NORMAL_CHUNK, Cutter, SlowChunkerError
from tests.odb_support import noise

# As dsvc-format(5) has them; test_format.py compares.
_GEAR = [
    int.from_bytes(hashlib.md5(bytes([byte] * 64), usedforsecurity=False).digest()[:8], "big") for byte in range(256)
]
_SMALL_MASK = 0x0000D91707537000
_LARGE_MASK = 0x0000D90703537000

ONE = noise(5_000_000)


def first_cut(data: bytes | memoryview) -> int:
    """Return the length of the first chunk, the plain way."""
    if len(data) <= MIN_CHUNK:
        return len(data)
    end = min(len(data), MAX_CHUNK)
    value = 0
    for position in range(MIN_CHUNK, end - end % 2):
        value = (2 * value + _GEAR[data[position]]) % 2**64
        if not value & (_SMALL_MASK if position < NORMAL_CHUNK else _LARGE_MASK):
            return position
    return end


def plain_ends(data: bytes) -> list[int]:
    ends, start = [], 0
    while start < len(data):
        start += first_cut(memoryview(data)[start:])
        ends.append(start)
    return ends


def cut(data: bytes) -> list[int]:
    return Cutter().cut(data, final=True)


@pytest.mark.parametrize(
    ("data", "ends"),
    [
        (b"", []),
        (b"a", [1]),
        (bytes(65_536), [65_536]),
        (bytes(3_000_000), [1_048_576, 2_097_152, 3_000_000]),
        (b"\xff" * 1_048_577, [1_048_576, 1_048_577]),
        (noise(2_000_000), [575_721, 840_892, 1_080_593, 1_518_507, 1_594_277, 1_699_870, 2_000_000]),
        (noise(1_500_001, 2), [99_395, 386_470, 692_526, 804_765, 893_841, 1_320_936, 1_402_153, 1_500_001]),
    ],
)
def test_known_data_is_cut_where_it_always_was(data: bytes, ends: list[int]) -> None:
    assert cut(data) == ends


@settings(max_examples=15)
@given(st.integers(0, 4), st.integers(0, 700_000), st.sampled_from([b"", b"\0", b"id,name\n"]), st.integers(0, 100_000))
def test_the_compiled_cutter_cuts_as_the_plain_one(seed: int, length: int, text: bytes, times: int) -> None:
    data = noise(length, seed) + text * times

    assert cut(data) == plain_ends(data)


def test_chunks_keep_to_their_bounds() -> None:
    lengths = [end - start for start, end in pairwise([0, *cut(noise(30_000_000))])]

    assert sum(lengths) == 30_000_000
    assert all(MIN_CHUNK <= length <= MAX_CHUNK for length in lengths[:-1])
    assert 200_000 < sum(lengths) / len(lengths) < 400_000


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 3_000_000), max_size=6), st.integers(0, 3_000_000))
def test_a_stream_is_cut_as_the_whole_in_any_pieces(sizes: list[int], length: int) -> None:
    data = ONE[:length]
    cutter = Cutter()
    ends: list[int] = []
    held, offset, read = b"", 0, 0
    for size in [*sizes, length]:
        piece = data[read : read + size]
        read += len(piece)
        held += piece
        found = cutter.cut(held, final=read == length)
        ends += [offset + end for end in found]
        if found:
            held, offset = held[found[-1] :], offset + found[-1]
        if read == length:
            break

    assert ends == cut(data)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2_500_000), st.integers(0, 2_000), st.binary(max_size=2_000))
def test_an_edit_moves_the_cuts_near_it_and_no_others(place: int, removed: int, put: bytes) -> None:
    before = ONE[:3_000_000]
    after = before[:place] + put + before[place + removed :]
    moved = len(after) - len(before)

    old, new = cut(before), cut(after)

    # All cuts that lie before the edit stay, and those behind it meet again.
    assert [end for end in new if end <= place] == [end for end in old if end <= place]
    assert {end - moved for end in new} & {end for end in old if end > place}


@given(st.sampled_from([0, 1, MIN_CHUNK - 1, MIN_CHUNK]))
def test_a_file_of_up_to_the_least_size_is_one_chunk(length: int) -> None:
    assert cut(ONE[:length]) == ([length] if length else [])


def test_the_first_chunk_is_found_alone() -> None:
    cutter = Cutter()

    assert cutter.first(ONE) == cut(ONE)[0]
    assert cutter.first(b"a") == 1


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_is_cut_alike(kind: type) -> None:
    assert Cutter().cut(kind(ONE), final=True) == cut(ONE)


def test_an_unfinished_stream_keeps_its_last_chunk_back() -> None:
    assert Cutter().cut(ONE, final=False) == cut(ONE)[:-1]
    assert Cutter().cut(b"a", final=False) == []
    assert Cutter().cut(b"", final=False) == []
    assert Cutter().cut(b"", final=True) == []


def test_the_slow_chunker_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from pyfastcdc.py import FastCDC

    monkeypatch.setattr(pyfastcdc, "FastCDC", FastCDC)

    with pytest.raises(SlowChunkerError, match="lacks its compiled part"):
        Cutter()
