"""One value has one encoding, and nothing else is read as it."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsvc.errors import InvalidInputError
from dsvc.model.blob import Blob, BlobItem
from dsvc.model.codec import FORMAT_VERSION, MalformedObjectError, Record, UnencodableError, decode, encode
from dsvc.model.commit import MAX_TIME, MIN_TIME, Commit, Input, InvalidTimeError, Tag
from dsvc.model.extension import Extension, Link
from dsvc.model.tree import MAX_SIZE, Child, Entry, InnerPage, LeafPage, MapItem, MapPage

ids = st.binary(min_size=32, max_size=32)
sizes = st.integers(0, MAX_SIZE) | st.sampled_from([0, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, MAX_SIZE])
times = st.integers(MIN_TIME, MAX_TIME)
offsets = st.integers(-1439, 1439)
keys = st.binary(min_size=1, max_size=300)
entries = st.builds(Entry, keys, st.integers(0, 4), sizes, ids | st.just(b""), st.none() | ids, st.none() | ids)
records: st.SearchStrategy[Record] = st.one_of(
    st.builds(
        Commit,
        st.just(FORMAT_VERSION),
        ids,
        st.lists(ids, max_size=20),
        st.text(),
        times,
        offsets,
        st.text(),
        st.text(),
        st.lists(st.builds(Input, st.text(), ids), max_size=3),
        sizes,
        sizes,
    ),
    st.builds(
        Extension,
        st.just(FORMAT_VERSION),
        st.none()
        | st.builds(Link, st.text(min_size=1), st.text(max_size=99), st.text(max_size=99), st.integers(0, MAX_SIZE)),
        st.text(),
    ),
    st.builds(Tag, st.just(FORMAT_VERSION), ids, st.text(), st.text(), times, offsets, st.text()),
    st.builds(
        Blob,
        st.just(FORMAT_VERSION),
        st.integers(0, 8),
        st.lists(st.builds(BlobItem, ids, st.integers(1, MAX_SIZE)), min_size=1, max_size=40),
    ),
    st.builds(LeafPage, st.just(FORMAT_VERSION), st.just(0), st.lists(entries, max_size=5)),
    st.builds(
        InnerPage,
        st.just(FORMAT_VERSION),
        st.integers(1, 15),
        st.lists(st.builds(Child, keys, ids, sizes, sizes), max_size=5),
    ),
    st.builds(
        MapPage,
        st.just(FORMAT_VERSION),
        st.just(0),
        st.lists(st.builds(MapItem, keys, st.binary(max_size=300)), max_size=5),
    ),
)

COMMIT = Commit(FORMAT_VERSION, bytes(32), [bytes(32)], "Ada <a@b>", 1, 60, "first", "{}", [], 1, 2)
BLOB = Blob(FORMAT_VERSION, 0, [BlobItem(bytes(32), 1), BlobItem(bytes(32), 2)])


def read(record_type: type[Record], data: bytes) -> Record | None:
    try:
        return decode(record_type, data)
    except MalformedObjectError:
        return None


@given(records)
def test_what_is_encoded_is_read_back(record: Record) -> None:
    data = encode(record)

    assert decode(type(record), data) == record
    assert decode(type(record), memoryview(data)) == record


@given(st.sampled_from([Commit, Tag, Blob, LeafPage, InnerPage, MapPage]), st.binary(max_size=200))
def test_bytes_that_are_read_are_the_encoding_of_what_is_read(record_type: type[Record], data: bytes) -> None:
    record = read(record_type, data)

    assert record is None or encode(record) == data


@given(records, st.data())
def test_a_changed_byte_makes_another_value_or_none(record: Record, data: st.DataObject) -> None:
    encoded = bytearray(encode(record))
    position = data.draw(st.integers(0, len(encoded) - 1))
    encoded[position] ^= data.draw(st.integers(1, 255))

    found = read(type(record), bytes(encoded))

    assert found is None or (found != record and encode(found) == encoded)


@given(records)
def test_cut_short_or_with_more_behind_it_is_refused(record: Record) -> None:
    encoded = encode(record)

    for length in range(max(0, len(encoded) - 40), len(encoded)):
        assert read(type(record), encoded[:length]) is None
    assert read(type(record), encoded + b"\0") is None
    assert read(type(record), encoded + encoded) is None


def longer(encoded: bytes, short: bytes, long: bytes) -> bytes:
    assert encoded.count(short) == 1
    return encoded.replace(short, long)


@pytest.mark.parametrize(
    "spelt",
    [
        longer(encode(COMMIT), b"\x9b\x01", b"\x9b\xcc\x01"),  # 1 in a byte of its own
        longer(encode(COMMIT), b"\x9b\x01", b"\x9b\xd0\x01"),  # 1 as a signed byte
        longer(encode(COMMIT), b"\x9b\x01", b"\x9b\xcb\x3f\xf0" + bytes(6)),  # 1.0
        longer(encode(COMMIT), b"\x9b\x01", b"\x9b\xc3"),  # true
        longer(encode(COMMIT), b"\x9b\x01", b"\xdc\x00\x0b\x01"),  # array 16
        longer(encode(COMMIT), b"\xa5first", b"\xd9\x05first"),  # str 8
        longer(encode(COMMIT), b"\xa5first", b"\xc4\x05first"),  # bin 8
        longer(encode(COMMIT), b"\xa5first", b"\xa5fir\xff\xff"),  # no UTF-8
        longer(encode(COMMIT), b"\xa5first", b"\xa5\xed\xa0\x80st"),  # a surrogate
        longer(encode(COMMIT), b"\x91\xc4\x20", b"\x91\xc5\x00\x20"),  # bin 16
        longer(encode(COMMIT), b"\x9b\x01", b"\x9c\x01") + b"\xc0",  # a twelfth field
        b"\x9a" + encode(COMMIT)[1:-1],  # ten fields
        b"\x81\xa7version\x01",  # a map
        b"\xc0",
        b"",
    ],
)
def test_any_other_spelling_of_a_value_is_refused(spelt: bytes) -> None:
    with pytest.raises(MalformedObjectError, match="malformed commit"):
        decode(Commit, spelt)


@pytest.mark.parametrize(
    "hostile",
    [
        b"\xdd\xff\xff\xff\xff",
        b"\x93\x01\x00\xdd\xff\xff\xff\xff",
        b"\x93\x01\x00\xdd\x10\x00\x00\x00" + b"\x92" * 100,
        b"\x93\x01\x00\x91\x92\xc6\xff\xff\xff\xff",
        b"\x93\x01\x00" + b"\x91" * 100_000,
        b"\x91" * 1_000_000,
        b"\x81" * 1_000_000,
    ],
)
def test_lengths_that_are_lies_and_deep_nesting_cost_nothing(hostile: bytes) -> None:
    with pytest.raises(MalformedObjectError):
        decode(Blob, hostile)


@pytest.mark.parametrize("record", [COMMIT, BLOB, Tag(1, bytes(32), "v1", "Ada", 0, 0, "")])
def test_a_newer_version_is_called_so_even_if_it_has_other_fields(record: Record) -> None:
    encoded = bytearray(encode(record))
    encoded[1] = 2

    for newer in (bytes(encoded), bytes([encoded[0] + 1, *encoded[1:], 0xC0])):
        with pytest.raises(MalformedObjectError, match="version 2 is not supported"):
            decode(type(record), newer)


def changed(record: Record, **fields: Any) -> bytes:
    values = {name: getattr(record, name) for name in record.__struct_fields__} | fields
    return msgspec.msgpack.encode(list(values.values()))


@pytest.mark.parametrize(
    ("record", "fields"),
    [
        (COMMIT, {"tree": bytes(31)}),
        (COMMIT, {"tree": bytes(33)}),
        (COMMIT, {"parents": [b""]}),
        (COMMIT, {"time": MAX_TIME + 1}),
        (COMMIT, {"time": MIN_TIME - 1}),
        (COMMIT, {"time": 2**64 - 1}),
        (COMMIT, {"offset": 1440}),
        (COMMIT, {"offset": -1440}),
        (COMMIT, {"files": -1}),
        (COMMIT, {"size": 2**63}),
        (COMMIT, {"inputs": [["a", bytes(31)]]}),
        (BLOB, {"level": 9}),
        (BLOB, {"level": -1}),
        (BLOB, {"items": []}),
        (BLOB, {"items": [[bytes(32), 0]]}),
        (BLOB, {"items": [[bytes(32), -1]]}),
        (BLOB, {"items": [[bytes(32), 2**63]]}),
        (BLOB, {"items": [[bytes(31), 1]]}),
    ],
)
def test_values_out_of_their_bounds_are_refused(record: Record, fields: dict[str, Any]) -> None:
    assert decode(type(record), changed(record)) == record

    with pytest.raises(MalformedObjectError):
        decode(type(record), changed(record, **fields))


@pytest.mark.parametrize(("time", "offset"), [(MAX_TIME + 1, 0), (MIN_TIME - 1, 0), (0, 1440), (0, -1440)])
def test_no_commit_is_made_that_could_not_be_read(time: int, offset: int) -> None:
    with pytest.raises(InvalidTimeError, match="no calendar shows"):
        Commit(FORMAT_VERSION, bytes(32), [], "Ada", time, offset, "", "{}", [], 0, 0)
    with pytest.raises(InvalidTimeError):
        Tag(FORMAT_VERSION, bytes(32), "v1", "Ada", time, offset, "")


def test_text_that_is_not_unicode_is_refused_before_it_is_stored() -> None:
    with pytest.raises(UnencodableError, match="a commit cannot be stored"):
        encode(Commit(FORMAT_VERSION, bytes(32), [], "Ada \udcff", 0, 0, "", "{}", [], 0, 0))
    assert issubclass(UnencodableError, InvalidInputError)
