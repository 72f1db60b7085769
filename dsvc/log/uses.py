"""Uses: that somebody works with a version, told to everybody who looks at the store, beside the log.

Each is a key of its own that is created once and names the version in itself, so any number of runs tell at the same
time, and who asks for one version reads no other. Nothing depends on them, and nothing is kept for them.
"""

from typing import Final

import msgspec

from dsvc.model.commit import MAX_TIME, MIN_TIME
from dsvc.model.context import Context
from dsvc.storage.backend import Backend

__all__ = ["RecordedUse", "decode_use", "encode_use", "read_uses", "record_use"]

_VERSION: Final = 1
_FOLDER: Final = "uses/"
_MAX_LENGTH: Final = 65_536


class RecordedUse(msgspec.Struct, frozen=True, omit_defaults=True):
    """That *who* used a version, asked for by *name*, at *time*, in microseconds since 1970 by the writer's clock.

    *host* is the machine, *run* what the work is called, and *url* where more is told of it: empty where not said.
    """

    v: int
    name: str
    time: int
    who: str
    host: str = ""
    run: str = ""
    url: str = ""


class _Version(msgspec.Struct):
    v: int


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(RecordedUse)
_version_decoder: Final = msgspec.json.Decoder(_Version)


def encode_use(use: RecordedUse) -> bytes:
    """Return the record of *use*."""
    return _encoder.encode(use)


def decode_use(raw: bytes) -> RecordedUse | None:
    """Return the use that *raw* tells of, None if it is not for this version to read."""
    if len(raw) > _MAX_LENGTH:
        return None
    try:
        use = _decoder.decode(raw) if _version_decoder.decode(raw).v == _VERSION else None
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    return use if use is not None and MIN_TIME <= use.time <= MAX_TIME else None


def record_use(
    backend: Backend, context: Context, commit: bytes, name: str, *, host: bool = False, run: str = "", url: str = ""
) -> RecordedUse:
    """Tell in the store of *backend* that who acts uses the version *commit*, called *name*; *host* tells where.

    Raises:
        StorageError, RefusedError: It cannot be written there.
    """
    who, _, machine = context.actor.rpartition("@")
    use = RecordedUse(_VERSION, name, context.now()[0], who, machine if host else "", run, url)
    backend.create(f"{_FOLDER}{commit.hex()}/{context.nonce()}", encode_use(use))
    return use


def read_uses(backend: Backend, commit: bytes) -> list[RecordedUse]:
    """Return the uses of the version *commit* that are told in the store of *backend*, the newest first."""
    keys = [key for key, _ in backend.list(f"{_FOLDER}{commit.hex()}/")]
    found = (decode_use(raw) for raw in backend.read_many(keys) if raw is not None)
    return sorted((use for use in found if use is not None), key=lambda use: (-use.time, use.name, use.run))
