"""The store's `config.json`: its format and its id, written once, when the store is made.

Its hash is what the first entry of the log follows, so that no log passes for another store's.
"""

from typing import Final

import msgspec

from dsvc.errors import AlreadyExistsError, CorruptionError, NotFoundError, StorageError
from dsvc.log.entry import UnsupportedFormatError, hash_bytes
from dsvc.storage.backend import Backend

__all__ = [
    "CONFIG_KEY",
    "STORE_FORMAT",
    "Store",
    "StoreExistsError",
    "StoreNotFoundError",
    "create_store",
    "decode_store",
]

STORE_FORMAT: Final = 1
CONFIG_KEY: Final = "config.json"


class StoreExistsError(AlreadyExistsError):
    """There is a store already."""

    def __init__(self, store_id: str) -> None:
        super().__init__(f"there is a store already, with the id {store_id}")
        self.store_id = store_id


class StoreNotFoundError(NotFoundError):
    """There is no store."""


class Store(msgspec.Struct, frozen=True):
    """What `config.json` says, and *genesis*, the hash of its bytes."""

    format: int
    store_id: str
    genesis: str


class _Config(msgspec.Struct):
    format: int
    store_id: str


class _Format(msgspec.Struct):
    format: int


_decoder: Final = msgspec.json.Decoder(_Config)
_format_decoder: Final = msgspec.json.Decoder(_Format)


def create_store(backend: Backend, *, store_id: str) -> Store:
    """Make *backend* an empty store called *store_id*, which nobody else may use.

    Doing it again changes nothing.

    Raises:
        StoreExistsError: It is another store already.
    """
    raw = msgspec.json.encode(_Config(STORE_FORMAT, store_id))
    try:
        backend.create(CONFIG_KEY, raw)
    except StorageError as error:
        # An answer that got lost looks like another's success; the id tells whose store it is.
        (found,) = backend.read_many([CONFIG_KEY])
        if found is None:
            raise
        if found != raw:
            raise StoreExistsError(decode_store(found).store_id) from error
    return decode_store(raw)


def decode_store(raw: bytes | None) -> Store:
    """Read the bytes of `config.json`; None means that it is not there.

    Raises:
        StoreNotFoundError: It is not there.
        UnsupportedFormatError: A newer dsvc made the store.
        CorruptionError: It is malformed.
    """
    if raw is None:
        message = "there is no store here: config.json is missing"
        raise StoreNotFoundError(message)
    try:
        version = _format_decoder.decode(raw).format
        if version != STORE_FORMAT:
            message = f"the store has format {version}, and this dsvc knows format {STORE_FORMAT}"
            raise UnsupportedFormatError(message)
        config = _decoder.decode(raw)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        message = f"malformed config.json: {error}"
        raise CorruptionError(message) from error
    return Store(config.format, config.store_id, hash_bytes(raw))
