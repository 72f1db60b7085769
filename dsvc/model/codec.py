"""The one encoding of every metadata object: MessagePack of array-like structs.

Equal values give equal bytes, and only those bytes are read back: unknown fields, trailing
bytes and longer spellings of the same value are refused, or one value could have two ids.
"""

from typing import Annotated, Any, Final, TypeVar

import msgspec

from dsvc.errors import CorruptionError, InvalidInputError

__all__ = ["FORMAT_VERSION", "MalformedObjectError", "Record", "UnencodableError", "Version", "decode", "encode"]

FORMAT_VERSION: Final = 1

# The first field of an object. The decoder refuses any other.
Version = Annotated[int, msgspec.Meta(ge=FORMAT_VERSION, le=FORMAT_VERSION)]


def _plain(value: Any) -> bytes:
    """Return an ObjectId as bytes: msgspec takes no subclass of them."""
    if isinstance(value, bytes):
        return bytes(value)
    message = f"cannot encode a {type(value).__name__}"
    raise TypeError(message)


_encoder = msgspec.msgpack.Encoder(enc_hook=_plain)
_decoders: dict[Any, "msgspec.msgpack.Decoder[Any]"] = {}


class Record(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True, gc=False):
    """A value that is stored: its fields in fixed order, without their names."""


RecordT = TypeVar("RecordT", bound=Record)


class MalformedObjectError(CorruptionError):
    """Bytes that are not the canonical encoding of what they should be."""


class UnencodableError(InvalidInputError):
    """A value that has no encoding: text that is not Unicode, or a number over 64 bits."""


def encode(record: Record) -> bytes:
    """Return the canonical bytes of *record*.

    Raises:
        UnencodableError: There are none.
    """
    try:
        return _encoder.encode(record)
    except (UnicodeEncodeError, OverflowError) as error:
        message = f"a {type(record).__name__.lower()} cannot be stored: {error}"
        raise UnencodableError(message) from error


def decode(record_type: type[RecordT], data: bytes | memoryview) -> RecordT:
    """Read a *record_type* from its canonical bytes.

    Raises:
        MalformedObjectError: *data* is anything else.
    """
    decoder = _decoders.get(record_type)
    if decoder is None:
        decoder = _decoders[record_type] = msgspec.msgpack.Decoder(record_type)
    try:
        record: RecordT = decoder.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        message = f"malformed {record_type.__name__.lower()}: {_reason(record_type, data) or error}"
        raise MalformedObjectError(message) from error
    if _encoder.encode(record) != data:
        message = f"malformed {record_type.__name__.lower()}: not in canonical form"
        raise MalformedObjectError(message)
    return record


def _reason(record_type: type[Record], data: bytes | memoryview) -> str:
    """Say so if *data* is of another version: a newer one is not broken, whatever else does not fit."""
    # In canonical form the second byte is the version: it comes first, after the header of a short array.
    if "version" in record_type.__struct_fields__ and len(data) > 1 and FORMAT_VERSION != data[1] < 128:
        return f"version {data[1]} is not supported"
    return ""
