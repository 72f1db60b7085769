"""The one encoding of every metadata object: MessagePack of array-like structs.

Equal values give equal bytes, and only those bytes are read back: unknown fields, trailing
bytes and longer spellings of the same value are refused, or one value could have two ids.
"""

from typing import Any, TypeVar

import msgspec

from dsvc.errors import CorruptionError

__all__ = ["FORMAT_VERSION", "MalformedObjectError", "Record", "decode", "encode"]

FORMAT_VERSION = 1


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


def encode(record: Record) -> bytes:
    """Return the canonical bytes of *record*."""
    return _encoder.encode(record)


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
        message = f"malformed {record_type.__name__.lower()}: {error}"
        raise MalformedObjectError(message) from error
    if _encoder.encode(record) != data:
        message = f"malformed {record_type.__name__.lower()}: not in canonical form"
        raise MalformedObjectError(message)
    return record
