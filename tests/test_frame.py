"""A frame gives back its bytes or refuses; no length in it is believed."""

import struct

import msgspec
import pytest
import zstandard
from blake3 import blake3
from hypothesis import assume, example, given
from hypothesis import strategies as st

from dsvc.odb.frame import (
    HEADER_LENGTH,
    MAX_OBJECTS,
    MAX_RAW_LENGTH,
    MAX_STORED_LENGTH,
    RAW,
    ZSTD,
    FrameHeader,
    MalformedFrameError,
    compress,
    decompress,
    frame_checksum,
    parse_header,
    probably_shrinks,
)
from tests.odb_support import noise

payloads = st.binary(max_size=300) | st.builds(
    lambda data, times: data * times, st.binary(max_size=9), st.integers(1, 900)
)


def make_frame(raw: bytes, count: int = 1) -> bytes:
    packed = compress(raw)
    payload = raw if packed is None else packed
    header = FrameHeader(RAW if packed is None else ZSTD, len(raw), len(payload), count, b"")
    return header.prefix() + frame_checksum(header.prefix(), blake3(payload).digest()) + payload


def read_frame(data: bytes) -> bytes:
    header = parse_header(data)
    payload = data[HEADER_LENGTH:]
    raw = bytes(decompress(header, payload))
    if frame_checksum(header.prefix(), blake3(payload).digest()) != header.checksum:
        message = "another checksum"
        raise MalformedFrameError(message)
    return raw


def read_zstd(payload: bytes, raw_length: int) -> bytes:
    return bytes(decompress(FrameHeader(ZSTD, raw_length, len(payload), 1, b""), payload))


@given(payloads, st.integers(0, MAX_OBJECTS))
def test_a_frame_gives_back_its_bytes(raw: bytes, count: int) -> None:
    data = make_frame(raw, count)
    header = parse_header(data)

    assert read_frame(data) == raw
    assert (header.raw_length, header.count, HEADER_LENGTH + header.stored_length) == (len(raw), count, len(data))
    assert header.prefix() + header.checksum == data[:HEADER_LENGTH]


@given(payloads)
def test_what_gains_less_than_three_percent_is_stored_raw(raw: bytes) -> None:
    packed = compress(raw)

    assert packed is None or len(packed) <= 0.97 * len(raw)


def test_the_probe_tells_noise_from_text() -> None:
    assert not probably_shrinks(memoryview(noise(1 << 20)))
    assert probably_shrinks(memoryview(b"id,name,value\n" * 10_000))
    assert not probably_shrinks(memoryview(b""))


@given(payloads, st.data())
@example(b"a" * 1000, None)
def test_a_flipped_bit_is_noticed(raw: bytes, data: st.DataObject | None) -> None:
    frame = make_frame(raw)
    bits = range(len(frame) * 8) if data is None else [data.draw(st.integers(0, len(frame) * 8 - 1))]

    for bit in bits:
        damaged = bytearray(frame)
        damaged[bit // 8] ^= 1 << bit % 8

        with pytest.raises(MalformedFrameError):
            read_frame(bytes(damaged))


@given(payloads)
def test_a_frame_cut_short_anywhere_is_refused(raw: bytes) -> None:
    frame = make_frame(raw)

    for length in range(len(frame)):
        with pytest.raises(MalformedFrameError):
            read_frame(frame[:length])


@given(st.binary(max_size=100), st.integers(0, 200), st.integers(0, 200))
def test_any_bytes_are_a_frame_or_refused(data: bytes, raw_length: int, stored_length: int) -> None:
    for header in (
        FrameHeader(ZSTD, raw_length, stored_length, 1, b""),
        FrameHeader(RAW, raw_length, stored_length, 1, b""),
    ):
        try:
            raw = decompress(header, data)
        except MalformedFrameError:
            continue
        assert len(raw) == (raw_length if header.codec == ZSTD else stored_length)


@given(st.binary(min_size=HEADER_LENGTH, max_size=HEADER_LENGTH))
def test_a_header_is_read_as_the_bytes_that_it_would_be_written_as(data: bytes) -> None:
    assume(data[:4] != b"DSVF")

    with pytest.raises(MalformedFrameError):
        parse_header(data)


@pytest.mark.parametrize(
    ("codec", "cipher", "zero", "raw", "stored", "count", "zero2"),
    [
        (2, 0, 0, 1, 1, 1, 0),
        (255, 0, 0, 1, 1, 1, 0),
        (0, 1, 0, 1, 1, 1, 0),
        (0, 0, 1, 1, 1, 1, 0),
        (0, 0, 0, 1, 1, 1, 1),
        (0, 0, 0, 1, 2, 1, 0),
        (1, 0, 0, MAX_RAW_LENGTH + 1, 1, 1, 0),
        (1, 0, 0, 2**32 - 1, 1, 1, 0),
        (1, 0, 0, 1, MAX_STORED_LENGTH + 1, 1, 0),
        (0, 0, 0, MAX_RAW_LENGTH + 1, MAX_RAW_LENGTH + 1, 1, 0),
        (0, 0, 0, 1, 1, MAX_OBJECTS + 1, 0),
    ],
)
def test_headers_of_another_format_or_beyond_a_limit_are_refused(  # noqa: PLR0917 (the fields of a header)
    codec: int, cipher: int, zero: int, raw: int, stored: int, count: int, zero2: int
) -> None:
    good = struct.pack("<4sBBHIIII", b"DSVF", 0, 0, 0, 1, 1, 1, 0) + bytes(32)
    bad = struct.pack("<4sBBHIIII", b"DSVF", codec, cipher, zero, raw, stored, count, zero2) + bytes(32)

    assert parse_header(good) == FrameHeader(RAW, 1, 1, 1, bytes(32))
    with pytest.raises(MalformedFrameError):
        parse_header(bad)


def test_a_bomb_is_refused_before_it_goes_off() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(1 << 28))
    assert len(bomb) < 100_000

    for claimed in (0, 1, 1000, MAX_RAW_LENGTH):
        with pytest.raises(MalformedFrameError):
            read_zstd(bomb, claimed)
    with pytest.raises(MalformedFrameError, match="beyond its limit"):
        parse_header(FrameHeader(ZSTD, 1 << 28, len(bomb), 1, b"").prefix() + bytes(32))


def test_a_bomb_that_hides_its_size_is_refused() -> None:
    bomb = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(1 << 20))

    for claimed in (0, 1000, 1 << 20, 2**32 - 1):
        with pytest.raises(MalformedFrameError, match="zstd parameters"):
            read_zstd(bomb, claimed)


def test_a_size_that_is_a_lie_is_refused() -> None:
    honest = zstandard.ZstdCompressor().compress(b"a" * 200)
    # The size is the one byte after the magic and the descriptor.
    assert honest[5] == 200
    lie = honest[:5] + bytes([100]) + honest[6:]

    for claimed in (100, 200):
        with pytest.raises(MalformedFrameError):
            read_zstd(lie, claimed)


def test_a_window_that_would_take_much_memory_is_refused() -> None:
    wide = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=True)
    packed = zstandard.ZstdCompressor(compression_params=wide).compress(noise(1 << 10) * (150 << 10))

    with pytest.raises(MalformedFrameError, match="zstd parameters"):
        read_zstd(packed, 150 << 20)


def test_what_needs_a_dictionary_is_refused() -> None:
    samples: list[bytes | bytearray | memoryview] = [
        f"{number},{number * 7919 % 1000},name {number}\n".encode() * 3 for number in range(3000)
    ]
    dictionary = zstandard.train_dictionary(4096, samples)
    packed = zstandard.ZstdCompressor(dict_data=dictionary).compress(samples[0])

    with pytest.raises(MalformedFrameError, match="zstd parameters"):
        read_zstd(packed, len(samples[0]))


@pytest.mark.parametrize("behind", [b"\0", b"garbage", b"\x50\x2a\x4d\x18\x05\0\0\0hello"])
def test_a_payload_is_one_zstd_frame_and_nothing_else(behind: bytes) -> None:
    packed = zstandard.ZstdCompressor().compress(b"a" * 1000)

    assert read_zstd(packed, 1000) == b"a" * 1000
    for payload in (packed + behind, packed + packed, behind + packed, behind):
        for claimed in (len(payload), 5, 1000, 2000):
            with pytest.raises(MalformedFrameError):
                read_zstd(payload, claimed)


def test_the_largest_frame_that_may_be_is_read() -> None:
    raw = noise(1 << 16) * 256
    packed = compress(raw)
    header = FrameHeader(ZSTD, len(raw), len(packed or b""), 1, bytes(32))

    assert packed is not None
    assert len(raw) == MAX_RAW_LENGTH
    assert parse_header(header.prefix() + bytes(32)) == header
    assert decompress(header, packed) == raw
    with pytest.raises(MalformedFrameError):
        parse_header(msgspec.structs.replace(header, raw_length=MAX_RAW_LENGTH + 1).prefix() + bytes(32))
