"""JSON in its one canonical form, RFC 8785: what metadata inside hashed objects is written in.

Equal values give equal text. Numbers are double precision, as JSON's are to everybody else; one that
would lose digits is refused, and so is what JSON cannot say.
"""

import json
import re
from typing import Any, Final, TypeAlias

import msgspec

from dsvc.errors import CorruptionError, InvalidInputError

__all__ = ["Json", "JsonObject", "MalformedJsonError", "UnsayableError", "decode_canonical", "encode_canonical"]

# Numbers that may be written in several ways, or hold more digits than a double.
_DOUBTFUL: Final = re.compile(r"[0-9]{16}|[0-9][eE]|\.0(?![0-9])")

# So few cannot be nested too deeply for those who look at them.
_DEEP: Final = 100

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
JsonObject = dict[str, Json]

# Every whole number up to this one is a double; JSON's readers may round what is above.
_MAX_WHOLE: Final = 2**53
# Digits, and a sign, that stay below it.
_ALWAYS_WHOLE: Final = 15


class UnsayableError(InvalidInputError):
    """A value that has no canonical JSON."""


class MalformedJsonError(CorruptionError):
    """Text that is not the canonical JSON of an object."""


def encode_canonical(value: Json) -> str:
    """Return the canonical text of *value*.

    Raises:
        UnsayableError: It holds a number that is no double, text that is not Unicode, or is nested too deeply.
    """
    try:
        text = _encoded(value)
        text.encode()
    except UnicodeEncodeError as error:
        message = "text that is not Unicode cannot be kept in metadata"
        raise UnsayableError(message) from error
    except RecursionError as error:
        message = "metadata is nested too deeply"
        raise UnsayableError(message) from error
    return text


def decode_canonical(text: str) -> JsonObject:
    """Return the object whose canonical text is *text*.

    Raises:
        MalformedJsonError: It is anything else.
    """
    if text == "{}":
        return {}
    if text.isascii() and not _DOUBTFUL.search(text) and text.count("{") + text.count("[") < _DEEP:
        # Labels of a million files: 2 µs each, and 40 by the way below.
        plain = _plain(text)
        if plain is not None:
            return plain
    try:
        value: Any = json.loads(text, parse_int=_double)
        is_canonical = isinstance(value, dict) and encode_canonical(value) == text
    except (ValueError, RecursionError, UnsayableError) as error:
        message = f"metadata is not JSON after RFC 8785: {error}"
        raise MalformedJsonError(message) from error
    if not is_canonical:
        message = "metadata is not a JSON object after RFC 8785"
        raise MalformedJsonError(message)
    found: JsonObject = value
    return found


def _plain(text: str) -> JsonObject | None:
    """Return the object that *text* is, if msgspec writes the same: canonical, where nothing is doubtful."""
    try:
        value: Any = msgspec.json.decode(text)
        is_same = isinstance(value, dict) and msgspec.json.encode(value, order="sorted").decode() == text
    except (msgspec.DecodeError, RecursionError):
        return None
    return value if is_same else None


def _encoded(value: Json) -> str:
    if isinstance(value, str):
        # What Python escapes, and how, is what the RFC says.
        return json.dumps(value, ensure_ascii=False)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return _number(value)
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_encoded, value))}]"
    members = (f"{_encoded(key)}:{_encoded(value[key])}" for key in sorted(value, key=_utf16))
    return f"{{{','.join(members)}}}"


def _utf16(key: str) -> bytes:
    # JavaScript's order: that of UTF-16 code units.
    return key.encode("utf-16-be", "surrogatepass")


def _number(value: float) -> str:
    if isinstance(value, int) and abs(value) <= _MAX_WHOLE:
        return str(value)
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    # A NaN is not itself; a whole number may not be the double that is nearest to it.
    if number != value or number in (float("inf"), float("-inf")):
        message = f"JSON cannot say the number {value} exactly; write it as text"
        raise UnsayableError(message)
    return _ecmascript(number)


def _double(text: str) -> int | float:
    """Return the number that a reader takes *text*, which has no point, for."""
    return int(text) if len(text) <= _ALWAYS_WHOLE else float(text)


def _ecmascript(number: float) -> str:
    """Return *number* as JavaScript prints it: Python finds the same digits, and puts the point elsewhere."""
    if number == 0:
        return "0"
    sign = "-" if number < 0 else ""
    mantissa, _, exponent = f"{abs(number)!r}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" and not exponent else fraction
    digits = (whole + fraction).lstrip("0")
    # The value is 0.DIGITS times ten to the power of *point*.
    point = int(exponent or 0) + len(whole) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    if 0 < point <= 21:
        text = digits.ljust(point, "0")
        return f"{sign}{text[:point]}{'.' + text[point:] if text[point:] else ''}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    rest = f".{digits[1:]}" if digits[1:] else ""
    return f"{sign}{digits[0]}{rest}e{'+' if point > 0 else '-'}{abs(point - 1)}"
