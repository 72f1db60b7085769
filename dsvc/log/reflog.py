"""The reflog: all that a ref has been, newest first. It is a walk along links, not a search of the log."""

from collections.abc import Iterable, Iterator

import msgspec

from dsvc.errors import CorruptionError
from dsvc.log.entry import LogEntry, RefChange, Transaction
from dsvc.log.log import Log

__all__ = ["RefUpdate", "reflog"]


class RefUpdate(msgspec.Struct, frozen=True):
    """One change of a ref: from *old* to *new*, None where it was not there; *time* in microseconds since 1970 UTC."""

    seq: int
    time: int
    actor: str
    command: str
    old: str | None
    new: str | None


def reflog(log: Log, ref: str) -> Iterator[RefUpdate]:
    """Yield the changes of *ref*, the newest first, one read for each; none if it never was.

    A ref that was deleted still has them.
    """
    seq = log.head().last_change(ref)
    while seq:
        entry = log.entry(seq)
        change = _change(log, entry, ref)
        if change is None or change.prev >= seq:
            message = f"the log says that entry {seq} changed {ref}, and it did not"
            raise CorruptionError(message)
        yield RefUpdate(seq, entry.time, entry.actor, entry.command, change.old, change.new)
        seq = change.prev


def _change(log: Log, entry: LogEntry, ref: str) -> RefChange | None:
    # What an entry only names is read if it must be.
    return _find(entry.transactions, ref) or _find(log.transactions(entry), ref)


def _find(transactions: Iterable[Transaction], ref: str) -> RefChange | None:
    for transaction in transactions:
        for change in transaction.ops:
            if change.ref == ref:
                return change
    return None
