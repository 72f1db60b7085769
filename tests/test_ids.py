"""An id is the hash of an object's bytes, and no two kinds share one."""

from contextlib import suppress

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from dsvc.errors import InvalidInputError
from dsvc.model.ids import EMPTY_DIGEST, Kind, ObjectId, hash_object

ids = st.binary(min_size=32, max_size=32).map(ObjectId)


@given(st.binary())
def test_the_id_of_a_chunk_is_what_b3sum_prints(data: bytes) -> None:
    assert hash_object(Kind.CHUNK, data) == blake3(data).digest()


@given(st.binary())
def test_the_same_bytes_have_another_id_in_each_kind(data: bytes) -> None:
    assert len({hash_object(kind, data) for kind in Kind}) == len(Kind)


@given(st.binary())
def test_the_id_does_not_depend_on_how_the_bytes_are_held(data: bytes) -> None:
    for kind in Kind:
        held = {hash_object(kind, data), hash_object(kind, bytearray(data)), hash_object(kind, memoryview(data))}
        assert len(held) == 1


def test_the_digest_of_nothing_is_the_known_one() -> None:
    assert str(EMPTY_DIGEST) == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"


@given(ids)
def test_an_id_survives_being_written_as_hex(object_id: ObjectId) -> None:
    assert ObjectId.from_hex(str(object_id)) == object_id
    assert ObjectId.from_hex(str(object_id).upper()) == object_id


@given(ids)
def test_an_id_is_found_in_a_set_as_the_bytes_that_it_is(object_id: ObjectId) -> None:
    assert hash(object_id) == hash(bytes(object_id))
    assert object_id == bytes(object_id)


@given(ids)
def test_the_short_form_is_the_first_ten_digits(object_id: ObjectId) -> None:
    assert object_id.short == str(object_id)[:10]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "0" * 63,
        "0" * 65,
        "0" * 128,
        "g" * 64,
        " " + "0" * 63,
        "0 " * 32,
        "0" * 62 + "\n0",
        "\u0660" * 64,
        "0x" * 32,
    ],
)
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="not an object id"):
        ObjectId.from_hex(text)


@given(st.text())
def test_any_text_is_an_id_or_refused(text: str) -> None:
    with suppress(InvalidInputError):
        assert str(ObjectId.from_hex(text)) == text.lower()
