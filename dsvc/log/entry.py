"""The log entry: JSON that says who changed what, up to 64 KiB, chained to the entry before by its hash.

Fields, all of them required but for `checkpoint` and the lists that are empty:

    v             1
    require       features without which the entry cannot be understood
    seq           its own number, from 1
    prev_hash     BLAKE3 (hex) of the bytes of entry seq - 1; of config.json, for the first
    nonce         what tells the writer's own entry from another's
    actor, time, command    for people; time in microseconds since 1970 UTC
    transactions  see `Transaction`; they stand or fall together
    checkpoint    {seq, hash}: the whole state as of *seq*, as `state/<hash>`

An unknown field makes an entry malformed, so a field may only be added together with a new name
in `require`. This module knows the form of an entry, and not whether it holds.
"""

import re
from typing import Annotated, Final

import msgspec
from blake3 import blake3

from dsvc.errors import InvalidInputError

__all__ = [
    "ENTRY_VERSION",
    "MAX_ENTRY_LENGTH",
    "SUPPORTED_FEATURES",
    "CheckpointName",
    "Hash",
    "Link",
    "LogEntry",
    "MalformedEntryError",
    "RefChange",
    "Transaction",
    "UnsupportedFormatError",
    "check_features",
    "decode_entry",
    "decode_lists",
    "encode_entry",
    "hash_bytes",
    "read_link",
    "state_key",
    "tail_generation",
    "tail_key",
]

ENTRY_VERSION: Final = 1
MAX_ENTRY_LENGTH: Final = 64 * 1024
SUPPORTED_FEATURES: Final[frozenset[str]] = frozenset()

# No leading zeros, or one generation would have two names.
_TAIL: Final = re.compile(r"(?:([0-9a-f]{2})/\1[0-9a-f]{62}|[0-9a-f]{64})\.(0|[1-9][0-9]{0,18})")


# The decoder checks it: a name from an entry must not lead anywhere else.
Hash = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]


class UnsupportedFormatError(InvalidInputError):
    """The store was written by a newer dsvc, which knows something that this one must not ignore."""


class MalformedEntryError(InvalidInputError):
    """Bytes that are not a log entry, whatever the version."""


# Bounded, so that no two readers can differ over a number that one of them cannot hold.
Number = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
Time = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]


class RefChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """*ref* had the value *old* (None: it was not there) and gets *new* (None: it goes).

    *prev* is the entry that changed it last, 0 if none did; the log fills it in. *publish*, for a
    tag, makes this its value for ever: every replay refuses to move or delete it after. A tag that
    is there already is published by a change from its value to the same value.
    """

    ref: str
    old: str | None
    new: str | None
    prev: Number = 0
    publish: bool = False


class Transaction(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Changes of refs, and of the packs and segments that are live.

    Packs and segments are named by the tail of their keys: `ab/<hash>.<generation>` is a pack,
    `<hash>.<generation>` a segment. *lists* is the hash of an object with the same fields, whose
    lists go on where these end: what would not fit into an entry is there.

    Garbage collection: *mark* dooms packs (live or never added) and segments (not live) as
    unreachable in the state after entry *mark_base*, which is the entry before; *rescue* takes
    back what is doomed; *sweep* ends what is doomed still; *deleted* says that what was swept is gone.
    """

    ops: list[RefChange] = []
    add_packs: list[str] = []
    add_index: list[str] = []
    drop_index: list[str] = []
    rescue: list[str] = []
    mark: list[str] = []
    mark_base: Number | None = None
    sweep: list[str] = []
    deleted: list[str] = []
    lists: Hash | None = None

    def joined(self, rest: "Transaction") -> "Transaction":
        """Return this transaction with the lists of *rest* behind its own."""
        return Transaction(
            ops=self.ops + rest.ops,
            add_packs=self.add_packs + rest.add_packs,
            add_index=self.add_index + rest.add_index,
            drop_index=self.drop_index + rest.drop_index,
            rescue=self.rescue + rest.rescue,
            mark=self.mark + rest.mark,
            mark_base=self.mark_base,
            sweep=self.sweep + rest.sweep,
            deleted=self.deleted + rest.deleted,
        )


class CheckpointName(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """The checkpoint of the state after entry *seq*, and the hash of its bytes."""

    seq: Number
    hash: Hash


class LogEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One entry, as its bytes say. See the module for the fields."""

    v: int
    require: list[str]
    seq: Number
    prev_hash: str
    nonce: str
    actor: str
    time: Time
    command: str
    transactions: list[Transaction]
    checkpoint: CheckpointName | None = None


class Link(msgspec.Struct, frozen=True, gc=False):
    """An entry's own number, and the hash of the entry before it that its writer had read."""

    seq: int
    prev_hash: str


class _Header(msgspec.Struct, gc=False):
    v: int
    require: list[str] = []


_encoder: Final = msgspec.json.Encoder()
_entry_decoder: Final = msgspec.json.Decoder(LogEntry)
_header_decoder: Final = msgspec.json.Decoder(_Header)
_link_decoder: Final = msgspec.json.Decoder(Link)
_lists_decoder: Final = msgspec.json.Decoder(Transaction)


def hash_bytes(data: bytes) -> str:
    """Return the BLAKE3 of *data* in hex: the link between entries, and the name of a state object."""
    return blake3(data).hexdigest()


def state_key(name: str) -> str:
    """Return the key of the state object *name*."""
    return f"state/{name}"


def tail_key(tail: str) -> str:
    """Return the key of the pack or segment that entries name *tail*."""
    return f"packs/{tail}" if "/" in tail else f"index/{tail}"


def tail_generation(tail: str) -> int:
    """Return the generation of the pack or segment *tail*: the last sweep that its writer knew.

    Raises:
        MalformedEntryError: *tail* names neither.
    """
    found = _TAIL.fullmatch(tail)
    if not found:
        message = f"neither a pack nor a segment: {tail[:100]!r}"
        raise MalformedEntryError(message)
    return int(found.group(2))


def check_features(version: int, features: list[str]) -> None:
    """Check that this dsvc understands what is of *version* and needs *features*.

    Raises:
        UnsupportedFormatError: It does not.
    """
    if version != ENTRY_VERSION:
        message = f"the log has an entry of version {version}, and this dsvc knows version {ENTRY_VERSION}"
        raise UnsupportedFormatError(message)
    unknown = sorted(set(features) - SUPPORTED_FEATURES)
    if unknown:
        message = f"the store needs what this dsvc does not know: {', '.join(unknown)}"
        raise UnsupportedFormatError(message)


def decode_entry(raw: bytes) -> LogEntry:
    """Read an entry; what its `lists` name is not read.

    Raises:
        UnsupportedFormatError: It is of another version, or requires an unknown feature.
        MalformedEntryError: It is no entry at all.
    """
    try:
        entry = _entry_decoder.decode(raw)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        _refuse_unknown(raw)
        message = f"malformed log entry: {error}"
        raise MalformedEntryError(message) from error
    check_features(entry.v, entry.require)
    if len(raw) > MAX_ENTRY_LENGTH:
        message = f"malformed log entry: it is {len(raw)} bytes long"
        raise MalformedEntryError(message)
    return entry


def read_link(raw: bytes) -> Link | None:
    """Return where in the chain an entry says that it is, None if it does not even say that."""
    try:
        return _link_decoder.decode(raw)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


def _refuse_unknown(raw: bytes) -> None:
    """Refuse what a newer dsvc wrote, though nothing else of it can be read."""
    try:
        header = _header_decoder.decode(raw)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return
    check_features(header.v, header.require)


def decode_lists(raw: bytes) -> Transaction:
    """Read the object that a transaction names as its `lists`.

    Raises:
        MalformedEntryError: It is something else.
    """
    try:
        lists = _lists_decoder.decode(raw)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        message = f"malformed lists of a log entry: {error}"
        raise MalformedEntryError(message) from error
    if lists.lists is not None or lists.mark_base is not None:
        message = "malformed lists of a log entry: it holds more than lists"
        raise MalformedEntryError(message)
    return lists


def encode_entry(entry: LogEntry) -> tuple[bytes, list[bytes]]:
    """Return the bytes of *entry*, at most 64 KiB, and the objects with long lists that must be stored before.

    Raises:
        MalformedEntryError: It is too long even so.
    """
    raw = _encoder.encode(entry)
    objects: list[bytes] = []
    # First the names of packs, and refs only if it must be: those are what people look for in an entry.
    for keep_ops in (True, False):
        if len(raw) <= MAX_ENTRY_LENGTH:
            return raw, objects
        shorter = [_shorten(transaction, keep_ops=keep_ops) for transaction in entry.transactions]
        objects = [lists for _, lists in shorter if lists]
        transactions = [transaction for transaction, _ in shorter]
        raw = _encoder.encode(msgspec.structs.replace(entry, transactions=transactions))
    if len(raw) > MAX_ENTRY_LENGTH:
        message = f"a log entry may have {MAX_ENTRY_LENGTH} bytes, and this one would have {len(raw)}"
        raise MalformedEntryError(message)
    return raw, objects


def _shorten(transaction: Transaction, *, keep_ops: bool) -> tuple[Transaction, bytes]:
    ops = transaction.ops if keep_ops else []
    lists = msgspec.structs.replace(transaction, ops=[] if keep_ops else transaction.ops, mark_base=None)
    if lists == Transaction():
        return transaction, b""
    encoded = _encoder.encode(lists)
    return Transaction(ops=ops, mark_base=transaction.mark_base, lists=hash_bytes(encoded)), encoded
