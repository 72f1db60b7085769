"""Entries by number: reading them in batches, and finding the last one without listing.

All entries from 1 to the head are there, so a search needs only to ask whether a number is. The
hint is a number that somebody wrote down; it may be old, wrong, or gone.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from dsvc.errors import CorruptionError
from dsvc.storage.backend import Backend

__all__ = ["HINT_INTERVAL", "HINT_KEY", "EntryReader", "decode_hint", "encode_hint", "entry_key"]

HINT_KEY: Final = "log/hint"
HINT_INTERVAL: Final = 16
_BATCH: Final = 128
_FOLDER: Final = 4096
_MAX_SEQ: Final = 10**18


class _Hint(msgspec.Struct):
    seq: int


def entry_key(seq: int) -> str:
    """Return the key of entry *seq*."""
    return f"log/{seq // _FOLDER}/{seq:020d}"


def encode_hint(seq: int) -> bytes:
    """Return what `log/hint` says when *seq* is the head."""
    return msgspec.json.encode(_Hint(seq))


def decode_hint(raw: bytes | None) -> int:
    """Return the number that *raw* tells, 0 if it tells none."""
    try:
        seq = msgspec.json.decode(raw or b"", type=_Hint).seq
    except (msgspec.DecodeError, ValueError, RecursionError):
        return 0
    return seq if 0 <= seq < _MAX_SEQ else 0


class EntryReader:
    """The bytes of entries. It keeps what it has read, *known* at first, so make one for each operation."""

    def __init__(self, backend: Backend, known: Mapping[int, bytes | None] | None = None) -> None:
        self._backend = backend
        self._known: dict[int, bytes | None] = dict(known or {})

    def read(self, seqs: Iterable[int]) -> list[bytes | None]:
        """Return entries *seqs*, None where there is none, all in one request to the backend."""
        wanted = list(seqs)
        missing = [seq for seq in wanted if seq not in self._known]
        if missing:
            values = self._backend.read_many([entry_key(seq) for seq in missing])
            self._known.update(zip(missing, values, strict=True))
        return [self._known[seq] for seq in wanted]

    def read_all(self, start: int, stop: int) -> list[bytes]:
        """Return entries *start* to *stop* - 1.

        Raises:
            CorruptionError: One is missing.
        """
        found = self.read(range(start, stop))
        return [_required(raw, seq) for seq, raw in enumerate(found, start)]

    def stream(self, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        """Yield (number, bytes) of entries *start* to *stop* - 1, backwards if *stop* is less; kept for nobody.

        Raises:
            CorruptionError: One is missing.
        """
        seqs = range(start, stop) if start <= stop else range(start, stop, -1)
        for first in range(0, len(seqs), _BATCH):
            batch = seqs[first : first + _BATCH]
            values = self._backend.read_many([entry_key(seq) for seq in batch])
            yield from ((seq, _required(raw, seq)) for seq, raw in zip(batch, values, strict=True))

    def find_head(self, hint: int, first: int) -> int:
        """Return the number of the last entry, 0 if there is none.

        It is looked for from *hint* on. Entries from *first* to *hint* are read along, as they
        will be needed.
        """
        window = range(max(first, 1), hint + HINT_INTERVAL + 1)
        found = dict(zip(window, self.read(window), strict=True))
        if hint and found.get(hint) is None:
            return self._search(*self._gallop(0))
        for seq in range(hint + 1, hint + HINT_INTERVAL + 1):
            if found[seq] is None:
                return seq - 1
        return self._search(*self._gallop(hint + HINT_INTERVAL))

    def _gallop(self, low: int) -> tuple[int, int]:
        """Return a number that has an entry, and a greater one that has none; *low* has one, or is 0."""
        step, start = 1, low
        while True:
            seqs = [start + (step << doubling) for doubling in range(8)]
            for seq, raw in zip(seqs, self.read(seqs), strict=True):
                if raw is None:
                    return low, seq
                low = seq
            step <<= 8

    def _search(self, low: int, high: int) -> int:
        """Return the last number with an entry, from *low*, which has one, to *high*, which has none."""
        while high - low > 1:
            step = max(1, (high - low) // HINT_INTERVAL)
            seqs: Sequence[int] = range(low + step, high, step)
            for seq, raw in zip(seqs, self.read(seqs), strict=True):
                if raw is None:
                    high = seq
                    break
                low = seq
        return low


def _required(raw: bytes | None, seq: int) -> bytes:
    if raw is None:
        message = f"entry {seq} of the log is missing, and later ones are there"
        raise CorruptionError(message)
    return raw
