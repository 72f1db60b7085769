"""Checkpoints: a whole state as an object of the store, so that nobody replays a log from its beginning.

A checkpoint is JSON that names the roots of one prolly tree for each table of the state, null for an
empty one. It is a function of the state alone: whoever has replayed the log can tell whether it is right.
Entry n, where n is a multiple of 128, names the checkpoint of the state after entry n - 1, which its
writer has stored before. One that is missing costs readers time and nothing else.

Everything is stored as `state/<hash>`: pages under their ids, the JSON under its BLAKE3.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec

from dsvc.errors import CorruptionError
from dsvc.log.entry import ENTRY_VERSION, CheckpointName, Hash, check_features, hash_bytes, state_key
from dsvc.log.state import Ref, State, Table
from dsvc.model import codec
from dsvc.model.ids import ObjectId, ObjectMismatchError, hash_object
from dsvc.model.tree import MapItem
from dsvc.odb.objects import ObjectNotFoundError, ObjectReader, ObjectWriter
from dsvc.odb.pages import MapLayout
from dsvc.odb.prolly import ProllyTree
from dsvc.storage.backend import Backend, KeyNotFoundError

__all__ = [
    "CHECKPOINT_INTERVAL",
    "StateObjects",
    "StoredTable",
    "encode_checkpoint",
    "load_checkpoint",
    "read_state_object",
    "write_checkpoint",
]

CHECKPOINT_INTERVAL: Final = 128

ValueT = TypeVar("ValueT")


class _Checkpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    v: int
    require: list[str]
    seq: int
    hash: str
    last_sweep: int
    refs: Hash | None
    deleted: Hash | None
    packs: Hash | None
    segments: Hash | None
    doomed: Hash | None
    swept: Hash | None


class _Header(msgspec.Struct):
    v: int
    require: list[str] = []


class _Objects(ObjectReader, ObjectWriter, Protocol):
    """Where pages are read and written."""


_TABLES: Final = ("refs", "deleted", "packs", "segments", "doomed", "swept")
_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(_Checkpoint)
_header_decoder: Final = msgspec.json.Decoder(_Header)
_encode_value: Final = msgspec.msgpack.Encoder().encode
_decode_number: Final = msgspec.msgpack.Decoder(int).decode


def _decode_ref(data: bytes) -> Ref:
    return codec.decode(Ref, data)


class StateObjects:
    """The pages of states, each a value of the backend under its id. Safe to use from several threads."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def read(self, kind: int, object_id: bytes) -> bytes:
        """Return the verified bytes of *object_id*."""
        try:
            data = self._backend.read(state_key(object_id.hex()))
        except KeyNotFoundError:
            raise ObjectNotFoundError(object_id) from None
        return _verified(kind, object_id, data)

    def read_many(self, kind: int, object_ids: Sequence[bytes]) -> list[bytes]:
        """Return the verified bytes of each of *object_ids*, in one request."""
        values = self._backend.read_many([state_key(object_id.hex()) for object_id in object_ids])
        found = []
        for object_id, data in zip(object_ids, values, strict=True):
            if data is None:
                raise ObjectNotFoundError(object_id)
            found.append(_verified(kind, object_id, data))
        return found

    def write(self, kind: int, data: bytes) -> ObjectId:
        """Store *data*, durably at once, and return its id."""
        object_id = hash_object(kind, data)
        # Not `create`: the same bytes under the same name change nothing, and heal what was damaged.
        self._backend.write(state_key(object_id.hex()), data)
        return object_id


def _verified(kind: int, object_id: bytes, data: bytes) -> bytes:
    if hash_object(kind, data) != object_id:
        raise ObjectMismatchError(object_id, state_key(object_id.hex()))
    return data


def read_state_object(backend: Backend, name: str) -> bytes:
    """Return the bytes of the state object whose BLAKE3 is *name*, 64 hex digits.

    Raises:
        CorruptionError: It is missing, or its bytes are not what they were.
    """
    try:
        data = backend.read(state_key(name))
    except KeyNotFoundError:
        message = f"{state_key(name)} is missing, and the log needs it"
        raise CorruptionError(message) from None
    if hash_bytes(data) != name:
        message = f"{state_key(name)} is damaged"
        raise CorruptionError(message)
    return data


class StoredTable(Generic[ValueT]):
    """The items of a table that are in a prolly tree."""

    def __init__(self, tree: ProllyTree[MapItem], decode: Callable[[bytes], ValueT]) -> None:
        self.tree = tree
        self._decode = decode
        self._items: dict[str, ValueT] | None = None

    def items(self) -> Mapping[str, ValueT]:
        """Return all of them; read at the first call.

        Raises:
            CorruptionError: A page is missing or damaged.
        """
        if self._items is None:
            try:
                self._items = {item.key.decode(): self._decode(item.value) for item in self.tree.items()}
            except (ObjectNotFoundError, msgspec.DecodeError, UnicodeDecodeError) as error:
                message = f"a checkpoint of the log is damaged: {error}"
                raise CorruptionError(message) from error
        return self._items

    def with_tree(self, tree: ProllyTree[MapItem]) -> "StoredTable[ValueT]":
        """Return the items of another *tree* of the same form."""
        return StoredTable(tree, self._decode)


def encode_checkpoint(state: State, objects: _Objects) -> tuple[bytes, State]:
    """Return the bytes of the checkpoint of *state*, and the same state on top of it; its pages go to *objects*.

    Only pages that the last checkpoint below *state* does not have are written.
    """
    tables = {name: _store(getattr(state, name), name, objects) for name in _TABLES}
    checkpoint = _Checkpoint(
        v=ENTRY_VERSION,
        require=sorted(state.features),
        seq=state.seq,
        hash=state.hash,
        last_sweep=state.last_sweep,
        **{name: _root(table.tree) for name, table in tables.items()},
    )
    rebased: dict[str, Any] = {name: Table(table) for name, table in tables.items()}
    return _encoder.encode(checkpoint), msgspec.structs.replace(state, **rebased)


def _root(tree: ProllyTree[MapItem]) -> str | None:
    return None if tree.root == tree.pages.empty_root else tree.root.hex()


def _store(table: Table[Any], name: str, objects: _Objects) -> StoredTable[Any]:
    stored = table.stored
    if not isinstance(stored, StoredTable):
        stored = _table(name, None, objects)
    if not table.changes:
        return stored
    edits = {
        key.encode(): None if value is None else MapItem(key.encode(), _encode_value(value))
        for key, value in table.changes.items()
    }
    return stored.with_tree(stored.tree.apply(objects, edits))


def _table(name: str, root: str | None, objects: ObjectReader) -> StoredTable[Any]:
    tree = ProllyTree.open(MapLayout(), objects, None if root is None else ObjectId.from_hex(root))
    return StoredTable(tree, _decode_ref if name == "refs" else _decode_number)


def write_checkpoint(backend: Backend, state: State) -> tuple[CheckpointName, State]:
    """Store the checkpoint of *state*; return its name, and the same state on top of it."""
    data, rebased = encode_checkpoint(state, StateObjects(backend))
    name = hash_bytes(data)
    backend.write(state_key(name), data)
    return CheckpointName(state.seq, name), rebased


def load_checkpoint(backend: Backend, name: CheckpointName) -> State:
    """Return the state that the checkpoint *name* holds. Its tables are read when they are needed.

    Raises:
        CorruptionError: It is missing, damaged, or another state's.
        UnsupportedFormatError: It needs a newer dsvc.
    """
    checkpoint = _decode_checkpoint(read_state_object(backend, name.hash), name)
    objects = StateObjects(backend)
    tables: dict[str, Any] = {table: Table(_table(table, getattr(checkpoint, table), objects)) for table in _TABLES}
    return State(
        seq=checkpoint.seq,
        hash=checkpoint.hash,
        last_sweep=checkpoint.last_sweep,
        features=frozenset(checkpoint.require),
        **tables,
    )


def _decode_checkpoint(data: bytes, name: CheckpointName) -> _Checkpoint:
    try:
        header = _header_decoder.decode(data)
        check_features(header.v, header.require)
        checkpoint = _decoder.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        message = f"{state_key(name.hash)} is no checkpoint: {error}"
        raise CorruptionError(message) from error
    if checkpoint.seq != name.seq:
        message = f"{state_key(name.hash)} is the checkpoint of entry {checkpoint.seq}, not {name.seq}"
        raise CorruptionError(message)
    return checkpoint
