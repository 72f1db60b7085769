"""The form of an entry: what is read, what is malformed, and what only a newer dsvc can read."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsvc.log.entry import (
    MAX_ENTRY_LENGTH,
    LogEntry,
    MalformedEntryError,
    RefChange,
    Transaction,
    UnsupportedFormatError,
    decode_entry,
    decode_lists,
    encode_entry,
    hash_bytes,
    tail_generation,
    tail_key,
)
from dsvc.log.replay import resolve_lists
from tests.log_support import MAIN, oid, pack, segment

# Lists by their length: those that matter are too long for an entry.
tails = st.integers(0, 1500).map(lambda length: [pack(number) for number in range(length)])
changes = st.integers(0, 600).map(
    lambda length: [RefChange(f"refs/heads/{n}", oid(n) if n % 3 else None, oid(n + 1), prev=n) for n in range(length)]
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def entry(**fields: Any) -> LogEntry:
    defaults: dict[str, Any] = {
        "v": 1,
        "require": [],
        "seq": 7,
        "prev_hash": "f" * 64,
        "nonce": "n",
        "actor": "Ö <o@example.org>",
        "time": 1_700_000_000_000_000,
        "command": "commit",
        "transactions": [Transaction(ops=[RefChange(MAIN, None, oid(1))])],
    }
    return LogEntry(**(defaults | fields))


def changed(**fields: Any) -> bytes:
    raw: dict[str, Any] = json.loads(encode_entry(entry())[0])
    return json.dumps(raw | fields).encode()


def without(field: str) -> bytes:
    raw: dict[str, Any] = json.loads(encode_entry(entry())[0])
    del raw[field]
    return json.dumps(raw).encode()


@given(ops=changes, add_packs=tails, sweep=tails, actor=texts)
def test_an_entry_of_any_length_comes_back_and_is_at_most_64_kib(
    ops: list[RefChange], add_packs: list[str], sweep: list[str], actor: str
) -> None:
    transaction = Transaction(ops=ops, add_packs=add_packs, sweep=sweep)
    original = entry(transactions=[transaction], actor=actor)

    raw, objects = encode_entry(original)

    stored = {hash_bytes(data): data for data in objects}
    assert len(raw) <= MAX_ENTRY_LENGTH
    assert decode_entry(raw).actor == actor
    assert resolve_lists(decode_entry(raw), stored.__getitem__) == [transaction]


def test_refs_stay_in_the_entry_when_packs_do_not() -> None:
    ops = [RefChange(MAIN, None, oid(1))]
    raw, objects = encode_entry(
        entry(transactions=[Transaction(ops=ops, mark=[pack(n) for n in range(2000)], mark_base=6)])
    )

    (transaction,) = decode_entry(raw).transactions

    assert transaction == Transaction(ops=ops, mark_base=6, lists=hash_bytes(objects[0]))


def test_what_fits_names_no_object() -> None:
    raw, objects = encode_entry(entry())

    assert objects == []
    assert decode_entry(raw) == entry()


def test_an_entry_that_cannot_be_made_short_is_refused() -> None:
    with pytest.raises(MalformedEntryError):
        encode_entry(entry(actor="x" * MAX_ENTRY_LENGTH))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"v": 1}',
        *[
            without(field)
            for field in ("require", "seq", "prev_hash", "nonce", "actor", "time", "command", "transactions")
        ],
        changed(seq="7"),
        changed(seq=7.5),
        changed(time=None),
        changed(extra=1),
        changed(v="1"),
        changed(transactions=[{"ops": [{"ref": "refs/heads/main"}]}]),
        changed(transactions=[{"unknown": []}]),
        changed(transactions=[{"lists": "../../etc/passwd"}]),
        changed(transactions=[{"lists": oid(1) + "\n"}]),
        changed(checkpoint={"seq": 6, "hash": "short"}),
        changed(actor="\ud800"),
        changed(actor="x" * MAX_ENTRY_LENGTH),
    ],
)
def test_anything_else_is_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedEntryError):
        decode_entry(raw)


@pytest.mark.parametrize(
    "raw",
    [
        changed(v=2),
        changed(v=0),
        changed(require=["sealed"]),
        changed(v=2, anything={"new": True}, seq="seven"),
        changed(require=["sealed"], extra=1),
        b'{"v": 2}',
    ],
)
def test_what_a_newer_dsvc_wrote_is_not_passed_over(raw: bytes) -> None:
    with pytest.raises(UnsupportedFormatError):
        decode_entry(raw)


@given(st.binary(max_size=300))
def test_garbage_is_malformed(raw: bytes) -> None:
    with pytest.raises((MalformedEntryError, UnsupportedFormatError)):
        decode_entry(raw)


@pytest.mark.parametrize("raw", [b"", b"[]", b'{"lists": "' + b"a" * 64 + b'"}', b'{"mark_base": 1}', b'{"x": 1}'])
def test_lists_hold_only_lists(raw: bytes) -> None:
    with pytest.raises(MalformedEntryError):
        decode_lists(raw)


def test_packs_and_segments_have_keys_and_generations() -> None:
    assert tail_key(pack(5, 3)) == f"packs/{oid(5)[:2]}/{oid(5)}.3"
    assert tail_key(segment(5, 30)) == f"index/{oid(5)}.30"
    assert (tail_generation(pack(5, 3)), tail_generation(segment(5, 30))) == (3, 30)


@pytest.mark.parametrize(
    "tail",
    [
        "",
        "x",
        oid(1),
        f"{oid(1)}.",
        f"{oid(1)}.01",
        f"{oid(1)}.-1",
        f"zz/{oid(1)}.1",
        f"{oid(1)}.1\n",
        f"../{oid(1)}.1",
    ],
)
def test_any_other_name_is_refused(tail: str) -> None:
    with pytest.raises(MalformedEntryError):
        tail_generation(tail)


@pytest.mark.parametrize(("field", "number"), [("seq", -1), ("seq", 1 << 63), ("time", 1 << 63), ("time", -(1 << 64))])
def test_a_number_that_another_reader_could_not_hold_is_malformed(field: str, number: int) -> None:
    with pytest.raises(MalformedEntryError):
        decode_entry(changed(**{field: number}))
