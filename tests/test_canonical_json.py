"""JSON after RFC 8785."""

import json
import struct
from math import isfinite

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsvc.model.canonical_json import Json, MalformedJsonError, UnsayableError, decode_canonical, encode_canonical

# Appendix B of the RFC: the bits of a double, and what it is written as.
NUMBERS = """
0000000000000000 0
8000000000000000 0
0000000000000001 5e-324
8000000000000001 -5e-324
7fefffffffffffff 1.7976931348623157e+308
ffefffffffffffff -1.7976931348623157e+308
4340000000000000 9007199254740992
c340000000000000 -9007199254740992
4430000000000000 295147905179352830000
44b52d02c7e14af5 9.999999999999997e+22
44b52d02c7e14af6 1e+23
44b52d02c7e14af7 1.0000000000000001e+23
444b1ae4d6e2ef4e 999999999999999700000
444b1ae4d6e2ef4f 999999999999999900000
444b1ae4d6e2ef50 1e+21
3eb0c6f7a0b5ed8c 9.999999999999997e-7
3eb0c6f7a0b5ed8d 0.000001
41b3de4355555553 333333333.3333332
41b3de4355555554 333333333.33333325
41b3de4355555555 333333333.3333333
41b3de4355555556 333333333.3333334
41b3de4355555557 333333333.33333343
becbf647612f3696 -0.0000033333333333333333
43143ff3c1cb0959 1424953923781206.2
"""

json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
    | st.integers(-(2**53), 2**53),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)  # fmt: skip


@pytest.mark.parametrize(("bits", "text"), [line.split() for line in NUMBERS.strip().split("\n")])
def test_numbers_are_written_as_javascript_writes_them(bits: str, text: str) -> None:
    (number,) = struct.unpack(">d", bytes.fromhex(bits))

    assert encode_canonical(number) == text


def test_text_and_the_order_of_keys_are_as_the_rfc_shows() -> None:
    # Its sections 3.2.2 and 3.2.3.
    value: Json = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/",
        "literals": [None, True, False],
    }
    assert encode_canonical(value) == (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    keys = ["€", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "ö"]
    ordered = list(json.loads(encode_canonical(dict.fromkeys(keys, 0))))
    assert ordered == ["\r", "1", "\u0080", "ö", "€", "\U0001f600", "\ufb33"]


@settings(max_examples=40)
@given(st.dictionaries(st.text(), json_values, max_size=3))
def test_any_object_comes_back_and_has_one_text(value: dict[str, Json]) -> None:
    text = encode_canonical(value)

    assert decode_canonical(text) == json.loads(text, parse_int=float) == value
    assert encode_canonical(decode_canonical(text)) == text


scalars = st.sampled_from(
    [0, -1, 1.5, 1e-7, 1e21, 1e16, 0.1, -0.0, 2.0, 1e20, 123456789012345, "é", "1.0", "a1e5", "\x7f", "\x1f/", "", True]
)


names = st.sampled_from(["a", "b", "é", "\U0001f600", "\ufb33", "1.0"])


@settings(max_examples=150)
@given(
    value=st.dictionaries(names, scalars | st.lists(scalars), max_size=4), ordered=st.booleans(), spaced=st.booleans()
)
def test_only_the_canonical_text_of_several_is_read(value: dict[str, Json], *, ordered: bool, spaced: bool) -> None:
    text = json.dumps(value, sort_keys=ordered, ensure_ascii=False, separators=(", ", ":") if spaced else (",", ":"))

    if text == encode_canonical(value):
        assert decode_canonical(text) == value
    else:
        with pytest.raises(MalformedJsonError):
            decode_canonical(text)


@given(st.floats())
def test_any_double_comes_back(number: float) -> None:
    if isfinite(number):
        assert float(encode_canonical(number)) == number
    else:
        with pytest.raises(UnsayableError):
            encode_canonical(number)


@pytest.mark.parametrize("value", [2**53 + 1, -(2**64) - 1, 10**400, "\ud800", {"\udfff": 1}])
def test_what_others_would_read_otherwise_is_refused(value: Json) -> None:
    with pytest.raises(UnsayableError):
        encode_canonical(value)


@pytest.mark.parametrize(
    "text",
    ['{"a": 1}', '{"b":1,"a":1}', '{"a":1,"a":1}', '{"a":1.0}', '{"a":1e21}', "[1]", '"a"', "", '{"a":"\\u0061"}',
     '{"a":9007199254740993}', '{"a":NaN}', '{"a":1e999}', '{"a":' + "[" * 100_000],
)  # fmt: skip
def test_any_other_text_is_malformed(text: str) -> None:
    with pytest.raises(MalformedJsonError):
        decode_canonical(text)
