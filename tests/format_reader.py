"""A second reader of the store format, written after dsvc-format(5) and nothing else: no code of dsvc is in it.

It is plain and slow. Where it and dsvc disagree, the manual is wrong or one of them is.
"""

import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import zstandard
from blake3 import blake3

__all__ = ["CHUNK", "COMMIT", "PAGE", "TAG", "Entry", "FormatError", "Pack", "StoreReader", "object_id", "unpack"]

CHUNK, BLOB, PAGE, COMMIT, TAG, EXTENSION = range(6)
CONTEXTS = {BLOB: "blob", PAGE: "page", COMMIT: "commit", TAG: "tag", EXTENSION: "extension"}
TAIL = re.compile(r"(?:([0-9a-f]{2})/\1[0-9a-f]{62}|[0-9a-f]{64})\.(0|[1-9][0-9]{0,18})")
HEX = re.compile(r"[0-9a-f]{64}")


class FormatError(Exception):
    """Something is not as the manual says."""


class NewerError(FormatError):
    """Something is of a version or needs a feature that this reader does not know."""


def check(condition: object, message: str) -> None:
    if not condition:
        raise FormatError(message)


def object_id(kind: int, data: bytes) -> bytes:
    if kind == CHUNK:
        return blake3(data).digest()
    return blake3(data, derive_key_context=f"dsvc 2026 {CONTEXTS[kind]}").digest()


# MessagePack: what the canonical encoding uses, and no more.


def unpack(data: bytes) -> Any:
    """Return the value whose canonical encoding is *data*."""
    value, end = _unpack(data, 0)
    check(end == len(data), "bytes after the value")
    return value


def _unpack(data: bytes, at: int) -> tuple[Any, int]:
    check(at < len(data), "cut short")
    first = data[at]
    if first <= 0x7F or first >= 0xE0:
        return first - (first & 0x80) * 2, at + 1
    if first == 0xC0:
        return None, at + 1
    if first in (0xC2, 0xC3):
        return first == 0xC3, at + 1
    if 0xCC <= first <= 0xD3:
        return _integer(data, at)
    if 0x90 <= first <= 0x9F or first in (0xDC, 0xDD):
        count, at = (first & 15, at + 1) if first <= 0x9F else _length(data, at, {0xDC: (2, 16), 0xDD: (4, 2**16)})
        items = []
        for _ in range(count):
            item, at = _unpack(data, at)
            items.append(item)
        return items, at
    if 0xA0 <= first <= 0xBF or 0xD9 <= first <= 0xDB:
        sizes = {0xD9: (1, 32), 0xDA: (2, 2**8), 0xDB: (4, 2**16)}
        count, at = (first & 31, at + 1) if first <= 0xBF else _length(data, at, sizes)
        check(at + count <= len(data), "cut short")
        return data[at : at + count].decode("utf-8"), at + count
    count, at = _length(data, at, {0xC4: (1, 0), 0xC5: (2, 2**8), 0xC6: (4, 2**16)})
    check(at + count <= len(data), "cut short")
    return data[at : at + count], at + count


def _length(data: bytes, at: int, sizes: dict[int, tuple[int, int]]) -> tuple[int, int]:
    check(data[at] in sizes, f"no value begins with {data[at]:#x}")
    width, least = sizes[data[at]]
    check(at + 1 + width <= len(data), "cut short")
    length = int.from_bytes(data[at + 1 : at + 1 + width], "big")
    check(length >= least, "not the shortest form")
    return length, at + 1 + width


def _integer(data: bytes, at: int) -> tuple[int, int]:
    width, signed = 1 << (data[at] & 3), data[at] >= 0xD0
    check(at + 1 + width <= len(data), "cut short")
    value = int.from_bytes(data[at + 1 : at + 1 + width], "big", signed=signed)
    if signed:
        shortest = -(2 ** (4 * width - 1)) if width > 1 else -32
        check(value < shortest, "not the shortest form")
    else:
        check(value >= (2 ** (4 * width) if width > 1 else 128), "not the shortest form")
    return value, at + 1 + width


# Packs.


class Frame(NamedTuple):
    offset: int
    stored: int
    raw: int
    objects: int
    codec: int
    checksum: bytes


class Pack:
    """A pack, every byte of it checked."""

    def __init__(self, name: str, data: bytes) -> None:
        stored_length, raw_length, digest, end = struct.unpack("<II32s8s", data[-48:])
        magic, version, self.content, zero = struct.unpack("<8sHHI", data[:16])
        check((magic, version, zero, end) == (b"DSVCPACK", 1, 0, b"DSVCPEND"), "no pack")
        footer_at = len(data) - 48 - stored_length
        stored = data[footer_at:-48]
        check(blake3(data[:16] + stored).digest() == digest and digest.hex() == name[3:67], "another name")
        self.frames, self.kinds, self.lengths, ids = self._footer(_unzip(stored, raw_length))
        self.objects: dict[bytes, tuple[int, int, int, int]] = {}
        position, first, self.raws = 16, 0, list[bytes]()
        for number, frame in enumerate(self.frames):
            check(frame.offset == position, "a gap between frames")
            prefix = struct.pack("<4sBBHIIII", b"DSVF", frame.codec, 0, 0, frame.raw, frame.stored, frame.objects, 0)
            check(data[position : position + 56] == prefix + frame.checksum, "another frame header")
            payload = data[position + 56 : position + 56 + frame.stored]
            check(blake3(prefix + blake3(payload).digest()).digest() == frame.checksum, "another frame")
            check(frame.codec in (0, 1), "an unknown codec")
            self.raws.append(_unzip(payload, frame.raw) if frame.codec else payload)
            place = 0
            for index in range(first, first + frame.objects):
                kind, length = self.kinds[index], self.lengths[index]
                found = object_id(kind, self.raws[-1][place : place + length])
                check(ids is None or ids[32 * index : 32 * index + 32] == found, "another id")
                check((kind == CHUNK) == (self.content == 0), "data and metadata in one pack")
                self.objects[found] = (number, place, length, kind)
                place += length
            check(place == frame.raw, "objects that do not fill their frame")
            first += frame.objects
            position += 56 + frame.stored
        check(position == footer_at and first == len(self.kinds), "frames that do not reach the footer")
        check(ids is not None or self.content == 0, "metadata without ids")

    @staticmethod
    def _footer(raw: bytes) -> tuple[list[Frame], bytes, list[int], bytes | None]:
        frames, objects, has_ids = struct.unpack_from("<IIB", raw)
        check(len(raw) == 9 + 49 * frames + (5 + 32 * has_ids) * objects, "a footer of another length")
        columns, at = [], 9
        for _ in range(4):
            columns.append(struct.unpack_from(f"<{frames}I", raw, at))
            at += 4 * frames
        codecs, at = raw[at : at + frames], at + frames
        checksums = [raw[at + 32 * number : at + 32 * number + 32] for number in range(frames)]
        at += 32 * frames
        kinds, at = raw[at : at + objects], at + objects
        lengths = list(struct.unpack_from(f"<{objects}I", raw, at))
        rows = zip(*columns, codecs, checksums, strict=True)
        return [Frame(*row) for row in rows], kinds, lengths, raw[at + 4 * objects :] if has_ids else None


def _unzip(data: bytes, length: int) -> bytes:
    parameters = zstandard.get_frame_parameters(data)
    check(parameters.content_size == length and not parameters.dict_id, "another zstd frame")
    return zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False)


# Index segments.


def read_segment(name: str, data: bytes) -> dict[bytes, tuple[str, int, int, int, int]]:
    """Return (pack, offset of the frame, place, length, kind) by id."""
    check(blake3(data).hexdigest() == name[:64], "another name")
    magic, version, zero, packs, frames, zero2, objects, bits = struct.unpack("<8sHHIIIQQ24x", data[:64])
    check((magic, version, zero, zero2, data[40:64]) == (b"DSVCINDX", 1, 0, 0, bytes(24)), "no segment")
    at = 64

    def column(width: int, count: int) -> bytes:
        nonlocal at
        found, at = data[at : at + width * count], at + width * count + -(width * count) % 8
        return found

    def numbers(count: int, code: str = "I") -> tuple[int, ...]:
        return struct.unpack(f"<{count}{code}", column(struct.calcsize(f"<{code}"), count))

    prefixes, rest = numbers(objects, "Q"), column(24, objects)
    of_frame, places, lengths, kinds = numbers(objects), numbers(objects), numbers(objects), column(1, objects)
    pack_of, offsets, _, _ = (numbers(frames) for _ in range(4))
    column(1, frames)
    hashes, generations = column(32, packs), numbers(packs, "Q")
    names = [f"{hashes[32 * one : 32 * one + 32].hex()}.{generations[one]}" for one in range(packs)]
    check(at + bits // 8 == len(data), "another length")
    check(bits == (0 if objects < 65536 else 1 << (16 * objects - 1).bit_length()), "another filter")
    ids = [prefix.to_bytes(8, "big") + rest[24 * row : 24 * row + 24] for row, prefix in enumerate(prefixes)]
    check(ids == sorted(set(ids)), "ids out of order")
    return {
        one: (
            f"{names[pack_of[frame]][:2]}/{names[pack_of[frame]]}",
            offsets[frame],
            places[row],
            lengths[row],
            kinds[row],
        )
        for row, (one, frame) in enumerate(zip(ids, of_frame, strict=True))
    }


# The log.

ENTRY = {"v", "require", "seq", "prev_hash", "nonce", "actor", "time", "command", "transactions"}
LISTS = ("ops", "add_packs", "add_index", "drop_index", "rescue", "mark", "sweep", "deleted")


class Void(Exception):  # noqa: N818 (it is no error: the log goes on)
    """An entry that changes nothing."""


def void_unless(condition: object) -> None:
    if not condition:
        raise Void


class State:
    """What the entries add up to."""

    def __init__(self, genesis: str) -> None:
        self.seq, self.hash, self.last_sweep = 0, genesis, 0
        self.refs: dict[str, tuple[str, int, bool]] = {}
        self.gone: dict[str, int] = {}
        self.packs: dict[str, int] = {}
        self.segments: dict[str, int] = {}
        self.doomed: dict[str, int] = {}
        self.swept: dict[str, int] = {}
        self.void: list[int] = []

    def tables(self) -> dict[str, dict[str, Any]]:
        names = {"deleted": "gone"}
        tables = ("refs", "deleted", "packs", "segments", "doomed", "swept")
        return {name: getattr(self, names.get(name, name)) for name in tables}


class StoreReader:
    """A store in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        config = (folder / "config.json").read_bytes()
        check(json.loads(config)["format"] == 1, "another format")
        self.state = State(blake3(config).hexdigest())
        self.checkpoints: dict[int, dict[str, Any]] = {}
        while (entry := folder / f"log/{(self.state.seq + 1) // 4096}/{self.state.seq + 1:020}").exists():
            self._replay(entry.read_bytes())
        self.packs = {name: Pack(name, (folder / "packs" / name).read_bytes()) for name in self.state.packs}
        self.index: dict[bytes, tuple[str, int, int, int, int]] = {}
        for name in self.state.segments:
            rows = read_segment(name, (folder / "index" / name).read_bytes())
            self.index.update({one: row for one, row in rows.items() if row[0] in self.packs})

    # Replay.

    def _replay(self, raw: bytes) -> None:
        state = self.state
        seq = state.seq + 1
        try:
            entry = self._entry(raw)
            self._check_and_apply(entry, seq)
        except Void:
            state.void.append(seq)
        state.seq, state.hash = seq, blake3(raw).hexdigest()

    @staticmethod
    def _entry(raw: bytes) -> dict[str, Any]:
        try:
            entry = json.loads(raw.decode("utf-8"))
        except ValueError:
            raise Void from None
        void_unless(isinstance(entry, dict))
        if type(entry.get("v")) is int and (entry["v"] != 1 or entry.get("require", [])):
            message = "a newer entry"
            raise NewerError(message)
        void_unless(entry.keys() | {"checkpoint"} == ENTRY | {"checkpoint"} and len(raw) <= 65536)
        found: dict[str, Any] = entry
        return found

    def _check_and_apply(self, entry: dict[str, Any], seq: int) -> None:
        state = self.state
        void_unless(entry["seq"] == seq and entry["prev_hash"] == state.hash)
        transactions = [self._joined(one) for one in entry["transactions"]]
        void_unless(len(transactions) == 1 or not any(one["mark"] or one["sweep"] for one in transactions))
        rescued = {tail for one in transactions for tail in one["rescue"]}
        changed: set[str] = set()
        for one in transactions:
            for change in one["ops"]:
                self._check_change(change, changed)
            self._check_tails(one, rescued)
        if entry.get("checkpoint"):
            self._check_checkpoint(entry["checkpoint"])
        for one in transactions:
            self._apply(one, seq)

    def _joined(self, transaction: dict[str, Any]) -> dict[str, Any]:
        void_unless(transaction.keys() <= {*LISTS, "mark_base", "lists"})
        rest: dict[str, Any] = {}
        if transaction.get("lists") is not None:
            rest = json.loads(self.state_object(transaction["lists"]))
            void_unless(rest.keys() <= set(LISTS))
        joined = {name: transaction.get(name, []) + rest.get(name, []) for name in LISTS}
        return joined | {"mark_base": transaction.get("mark_base")}

    def state_object(self, name: str) -> bytes:
        data = (self.folder / "state" / name).read_bytes()
        check(blake3(data).hexdigest() == name, "another state object")
        return data

    def _check_change(self, change: dict[str, Any], changed: set[str]) -> None:
        refs, gone = self.state.refs, self.state.gone
        void_unless(
            change.keys() <= {"ref", "old", "new", "prev", "publish"} and change.keys() >= {"ref", "old", "new"}
        )
        ref, new = change["ref"], change["new"]
        value, last, published = refs.get(ref, (None, gone.get(ref, 0), False))
        void_unless(ref.startswith("refs/") and ref.count("/") >= 2 and ref not in changed)
        if new is not None and ref.startswith(("refs/heads/", "refs/tags/", "refs/remotes/")):
            void_unless(HEX.fullmatch(new))
        void_unless(change["old"] == value and change.get("prev", 0) == last)
        void_unless(not (published and new != value) and not (value is None and new is None))
        void_unless(not change.get("publish") or (new is not None and ref.startswith("refs/tags/")))
        changed.add(ref)

    def _standing(self, tail: str) -> str:
        state, found = self.state, TAIL.fullmatch(tail)
        void_unless(found)
        live = state.packs if "/" in tail else state.segments
        if tail in live:
            return "doomed" if tail in state.doomed else "live"
        if int(found.group(2) if found else 0) != state.last_sweep:
            return "gone"
        return "doomed" if tail in state.doomed else "new"

    def _check_tails(self, one: dict[str, Any], rescued: set[str]) -> None:
        state = self.state
        for name, is_pack in (("add_packs", True), ("add_index", False)):
            for tail in one[name]:
                standing = self._standing(tail)
                void_unless(("/" in tail) == is_pack and standing != "gone")
                void_unless(standing != "doomed" or tail in rescued)
        void_unless(all(self._standing(tail) == "doomed" for tail in one["rescue"]))
        if one["mark"]:
            void_unless(one["mark_base"] == state.seq)
            used = rescued | {*one["add_packs"], *one["add_index"], *state.segments}
            for tail in one["mark"]:
                self._standing(tail)
                generation = int(tail.rpartition(".")[2])
                void_unless(generation <= state.last_sweep and tail not in state.swept and tail not in used)
        void_unless(all(tail in state.doomed and tail not in rescued for tail in one["sweep"]))

    def _apply(self, one: dict[str, Any], seq: int) -> None:
        state = self.state
        for tail in one["rescue"]:
            state.doomed.pop(tail, None)
        for tail in one["add_packs"]:
            state.packs.setdefault(tail, seq)
        if all(tail in state.segments for tail in one["drop_index"]):
            for tail in one["drop_index"]:
                state.segments.pop(tail, None)
            for tail in one["add_index"]:
                state.segments.setdefault(tail, seq)
        for tail in one["mark"]:
            state.doomed.setdefault(tail, seq)
        for tail in one["sweep"]:
            state.doomed.pop(tail, None)
            state.packs.pop(tail, None)
            state.swept[tail] = seq
            state.last_sweep = seq
        for tail in one["deleted"]:
            state.swept.pop(tail, None)
        for change in one["ops"]:
            ref, new = change["ref"], change["new"]
            published = change.get("publish", False) or state.refs.get(ref, ("", 0, False))[2]
            state.refs.pop(ref, None)
            state.gone.pop(ref, None)
            if new is None:
                state.gone[ref] = seq
            else:
                state.refs[ref] = (new, seq, published)

    def _check_checkpoint(self, named: dict[str, Any]) -> None:
        """A checkpoint holds what replay came to; a reader may begin with it instead."""
        state = self.state
        checkpoint = json.loads(self.state_object(named["hash"]))
        check(named["seq"] == checkpoint["seq"] == state.seq and checkpoint["hash"] == state.hash, "another checkpoint")
        check(checkpoint["v"] == 1 and checkpoint["require"] == [], "a newer checkpoint")
        check(checkpoint["last_sweep"] == state.last_sweep, "another sweep")
        for name, table in state.tables().items():
            found = {key.decode(): unpack(value) for key, value in self._map(checkpoint[name])}
            check(found == {key: list(row) if name == "refs" else row for key, row in table.items()}, f"other {name}")
        self.checkpoints[state.seq] = checkpoint

    def _map(self, root: str | None) -> Iterator[tuple[bytes, bytes]]:
        def read(page: bytes) -> bytes:
            data = (self.folder / "state" / page.hex()).read_bytes()
            check(object_id(PAGE, data) == page, "another page")
            return data

        if root is not None:
            yield from walk(read, bytes.fromhex(root), is_tree=False)

    # Objects.

    def read(self, kind: int, one: bytes) -> bytes:
        pack, offset, place, length, found_kind = self.index[one]
        check(found_kind == kind, "another kind")
        frames = self.packs[pack].frames
        number = next(number for number, frame in enumerate(frames) if frame.offset == offset)
        data = self.packs[pack].raws[number][place : place + length]
        check(object_id(kind, data) == one, "another object")
        return data

    def tree(self, root: bytes) -> list["Entry"]:
        return [Entry(*item) for item in walk(lambda page: self.read(PAGE, page), root, is_tree=True)]

    def content(self, entry: "Entry") -> Iterator[bytes]:
        """Yield the bytes of *entry*, and check its digest at the end."""
        if entry.kind == 3:
            check((entry.size, entry.digest, entry.blob) == (0, b"", None), "a folder with content")
            return
        hasher = blake3()
        size = 0
        for chunk, length in self._chunks(entry):
            data = self.read(CHUNK, chunk)
            check(len(data) == length, "a chunk of another length")
            hasher.update(data)
            size += length
            yield data
        check(hasher.digest() == entry.digest and size == entry.size, "another content")

    def _chunks(self, entry: "Entry") -> Iterator[tuple[bytes, int]]:
        if entry.blob is not None:
            yield from self._blob(entry.blob, entry.size, None)
        elif entry.size:
            yield entry.digest, entry.size

    def _blob(self, blob: bytes, size: int, level: int | None) -> Iterator[tuple[bytes, int]]:
        version, found, items = unpack(self.read(BLOB, blob))
        check(version == 1 and level in (None, found) and found <= 8, "another level")
        check(sum(length for _, length in items) == size and all(length > 0 for _, length in items), "another size")
        for one, length in items:
            if found:
                yield from self._blob(one, length, found - 1)
            else:
                yield one, length


# Pages.


class Entry(NamedTuple):
    path: bytes
    kind: int
    size: int
    digest: bytes
    blob: bytes | None
    extension: bytes | None

    @property
    def key(self) -> bytes:
        return self.path.replace(b"/", b"\0")


MULTIPLIERS = [0x9E3779B97F4A7C15]
for _ in range(15):
    MULTIPLIERS.append((MULTIPLIERS[-1] * 0xD1342543DE82EF95 + 2 | 1) % 2**64)


def ends_page(level: int, key: bytes, count: int, key_bytes: int) -> bool:
    weight = max(count, key_bytes >> 7)
    if weight >= 2048:
        return True
    threshold = min(2**32 - 1, (weight**3 << 34) // 565**4)
    return count >= 64 and (crc32(key) * MULTIPLIERS[level] >> 32) % 2**32 < threshold


def walk(read: Any, root: bytes, *, is_tree: bool) -> Iterator[Any]:
    """Yield the items of the tree *root*; check that each page ends where it must."""
    items, _, _, _ = _walk(read, root, None, is_tree=is_tree, last=True)
    yield from items


def _walk(read: Any, page: bytes, level: int | None, *, is_tree: bool, last: bool) -> tuple[list[Any], bytes, int, int]:
    version, found, children = unpack(read(page))
    check(version == 1 and (level is None or found == level) and found < 16, "another level")
    keys = [child[0].replace(b"/", b"\0") if is_tree and not found else child[0] for child in children]
    check(keys == sorted(set(keys)) and (keys or level is None), "keys out of order")
    check(not (level is None and found and len(keys) == 1), "a root with one child")
    key_bytes = 0
    for count, key in enumerate(keys, 1):
        key_bytes += len(key)
        is_last = count == len(keys)
        ends = ends_page(found, key, count, key_bytes)
        check(ends == is_last or (is_last and last), "a page that ends elsewhere")
    if not found:
        files = sum(child[1] != 3 for child in children) if is_tree else len(children)
        return children, keys[-1] if keys else b"", files, sum(child[2] for child in children) if is_tree else 0
    items, total_files, total_size = [], 0, 0
    for number, (last_key, child, files, size) in enumerate(children):
        below, key, *totals = _walk(read, child, found - 1, is_tree=is_tree, last=last and number == len(children) - 1)
        check(key == last_key and totals == [files, size], "a child that is not what its parent says")
        items += below
        total_files, total_size = total_files + files, total_size + size
    return items, keys[-1], total_files, total_size
