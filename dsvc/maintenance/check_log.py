"""Checking a log: the chain of its entries, and what they say."""

from collections.abc import Iterator
from itertools import pairwise

from dsvc.errors import CorruptionError
from dsvc.log.entries import EntryReader, entry_key
from dsvc.log.entry import MalformedEntryError, UnsupportedFormatError, decode_entry, hash_bytes, read_link
from dsvc.log.log import Log
from dsvc.log.verify import LogFault, verify_log
from dsvc.maintenance.findings import Finding, Part, Severity

__all__ = ["check_log"]


def check_log(log: Log) -> Iterator[Finding]:
    """Yield what is wrong with *log*.

    An entry that counts for nothing harms nobody, if it was written like that: then the next writer
    saw the same bytes. Where the next entry was written after other bytes, somebody or something changed it.
    """
    changed: int | None = None
    void = 0
    try:
        for fault in verify_log(log):
            if not fault.is_void:
                yield Finding(Part.LOG, f"entry {fault.seq}", fault.message, Severity.WARNING)
            elif changed is not None:
                void += 1
            elif (changed := _changed(log, fault)) is None:
                problem = f"it counts for nothing: {fault.message}"
                yield Finding(Part.LOG, f"entry {fault.seq}", problem, Severity.WARNING)
            else:
                void += changed != fault.seq
                yield Finding(Part.LOG, f"entry {changed}", "it was changed after it was written")
        yield from _beyond(log)
    except CorruptionError as error:
        yield Finding(Part.LOG, "", str(error))
    except UnsupportedFormatError:
        seq = _changed_beyond_us(log)
        if seq is None:
            raise
        yield Finding(Part.LOG, f"entry {seq}", "it was changed after it was written")
    if void:
        yield Finding(Part.LOG, f"entry {changed}", f"{void:,} later ones count for nothing because of it")


def _changed(log: Log, fault: LogFault) -> int | None:
    """Return which entry was changed so that there is *fault*, None if it was so from the start."""
    before, raw, after = log.backend.read_many([entry_key(fault.seq + step) for step in (-1, 0, 1)])
    own, following = (None if one is None else read_link(one) for one in (raw, after))
    if own is not None and own.seq == fault.seq and before is not None and own.prev_hash != hash_bytes(before):
        return fault.seq - 1
    if raw is None or after is None:
        # The last one: its writer had checked that it is right.
        return fault.seq
    return fault.seq if following is None or following.prev_hash != hash_bytes(raw) else None


def _changed_beyond_us(log: Log) -> int | None:
    """Return which entry only seems to be from a newer dsvc: the next one was written after other bytes."""
    raws = log.backend.read_many([entry_key(seq) for seq in range(1, EntryReader(log.backend).find_head(0, 1) + 1)])
    for seq, (raw, after) in enumerate(pairwise(raws), 1):
        try:
            decode_entry(raw or b"")
        except UnsupportedFormatError:
            following = read_link(after or b"")
            return seq if following is not None and following.prev_hash != hash_bytes(raw or b"") else None
        except MalformedEntryError:
            continue
    return None


def _beyond(log: Log) -> Iterator[Finding]:
    """Look for entries behind a gap: who opens the log without a list of its keys takes the gap for the end."""
    head = log.head().seq
    seqs = sorted(int(name) for key, _ in log.backend.list("log/") if (name := key.rpartition("/")[2]).isdecimal())
    later = [seq for seq in seqs if seq > head]
    if later:
        problem = f"it is missing, and {len(later):,} later ones, up to entry {later[-1]}, are there"
        yield Finding(Part.LOG, f"entry {head + 1}", problem)
