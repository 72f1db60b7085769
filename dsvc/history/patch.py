"""What changed in a text, line by line, as a unified diff.

Lines that both texts have once each are matched first, as in patience diff: that is fast, and
people read such a result best. Only the gaps between are compared line with line.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

__all__ = ["TEXT_LIMIT", "Hunk", "hunks", "is_text"]

# Above this many bytes a text is shown as sizes, not as a patch.
TEXT_LIMIT: Final = 1 << 20
_LOOKED_AT: Final = 8000
# A gap of more pairs of lines than this is taken as replaced: comparing them all could take minutes.
_MOST_PAIRS: Final = 1_000_000
_NO_NEWLINE: Final = b"\\ No newline at end of file"


class _Match(NamedTuple):
    """*length* equal lines, at these places of the old and the new text."""

    old: int
    new: int
    length: int


class Hunk(NamedTuple):
    """Neighbouring changes: the `@@` line, and lines that begin with a space, `-`, `+` or a backslash."""

    header: bytes
    lines: list[bytes]


def is_text(data: bytes) -> bool:
    """Tell whether *data* looks like text, by git's rule: no zero byte near its beginning."""
    return b"\0" not in data[:_LOOKED_AT]


def hunks(old: bytes, new: bytes, *, context: int = 3) -> Iterator[Hunk]:
    """Yield the changes from *old* to *new* with *context* equal lines around them."""
    before, after = _lines(old), _lines(new)
    for group in _grouped(_changes(before, after), context):
        yield _hunk(before, after, group, context)


def _lines(text: bytes) -> list[bytes]:
    lines = text.split(b"\n")
    last = lines.pop()
    # The last line is another one without its newline.
    return [*(line + b"\n" for line in lines), *([last] if last else [])]


class _Edit(NamedTuple):
    """Lines *old_start* to *old_stop* of the old text became those of the new one."""

    old_start: int
    old_stop: int
    new_start: int
    new_stop: int


def _changes(old: Sequence[bytes], new: Sequence[bytes]) -> list[_Edit]:
    edits: list[_Edit] = []
    at_old = at_new = 0
    for match in [*_matches(old, new), _Match(len(old), len(new), 0)]:
        if match.old > at_old or match.new > at_new:
            edits.append(_Edit(at_old, match.old, at_new, match.new))
        at_old, at_new = match.old + match.length, match.new + match.length
    return edits


def _matches(old: Sequence[bytes], new: Sequence[bytes]) -> Iterator[_Match]:
    """Yield what is equal, in order."""
    # A stack of parts that are still to be compared, the first one last; it may grow as long as the text.
    waiting = [(0, len(old), 0, len(new))]
    while waiting:
        low, high, new_low, new_high = waiting.pop()
        head = 0
        while low + head < high and new_low + head < new_high and old[low + head] == new[new_low + head]:
            head += 1
        if head:
            yield _Match(low, new_low, head)
            waiting.append((low + head, high, new_low + head, new_high))
            continue
        if low == high or new_low == new_high:
            continue
        anchors = _anchors(old[low:high], new[new_low:new_high])
        if not anchors:
            yield from _in_gap(old, new, (low, high, new_low, new_high))
            continue
        # Each part begins with an anchor, but for the first.
        starts = [(low, new_low), *((low + one, new_low + other) for one, other in anchors), (high, new_high)]
        parts = [(start[0], stop[0], start[1], stop[1]) for start, stop in pairwise(starts)]
        waiting.extend(reversed(parts))


def _anchors(old: Sequence[bytes], new: Sequence[bytes]) -> list[tuple[int, int]]:
    """Return the longest run of places, ascending on both sides, of lines that each side has once."""
    counts, new_counts = Counter(old), Counter(new)
    places = {line: place for place, line in enumerate(new) if new_counts[line] == 1}
    pairs = [(place, places[line]) for place, line in enumerate(old) if counts[line] == 1 and line in places]
    # Patience sorting: the last card of each pile, and for each card the one that it was put behind.
    tops: list[int] = []
    cards: list[int] = []
    behind: list[int] = []
    for card, (_, place) in enumerate(pairs):
        pile = bisect_left(tops, place)
        behind.append(cards[pile - 1] if pile else -1)
        tops[pile : pile + 1] = [place]
        cards[pile : pile + 1] = [card]
    run: list[tuple[int, int]] = []
    card = cards[-1] if cards else -1
    while card >= 0:
        run.append(pairs[card])
        card = behind[card]
    return run[::-1]


def _in_gap(old: Sequence[bytes], new: Sequence[bytes], gap: tuple[int, int, int, int]) -> Iterator[_Match]:
    low, high, new_low, new_high = gap
    # Equal ends are cheap to find, and often all there is.
    tail = 0
    while tail < min(high - low, new_high - new_low) and old[high - tail - 1] == new[new_high - tail - 1]:
        tail += 1
    rows, columns = high - tail - low, new_high - tail - new_low
    if rows and columns and rows * columns <= _MOST_PAIRS:
        from difflib import SequenceMatcher  # 3 ms, only for a patch

        matcher = SequenceMatcher(None, old[low : high - tail], new[new_low : new_high - tail], autojunk=False)
        for one, other, count in matcher.get_matching_blocks():
            if count:
                yield _Match(low + one, new_low + other, count)
    if tail:
        yield _Match(high - tail, new_high - tail, tail)


def _grouped(edits: list[_Edit], context: int) -> Iterator[list[_Edit]]:
    group: list[_Edit] = []
    for edit in edits:
        if group and edit.old_start - group[-1].old_stop > 2 * context:
            yield group
            group = []
        group.append(edit)
    if group:
        yield group


def _hunk(old: Sequence[bytes], new: Sequence[bytes], group: list[_Edit], context: int) -> Hunk:
    first, last = group[0], group[-1]
    lead = min(context, first.old_start)
    trail = min(context, len(old) - last.old_stop)
    lines: list[bytes] = []
    at = first.old_start - lead
    for edit in group:
        lines += _marked(b" ", old[at : edit.old_start])
        lines += _marked(b"-", old[edit.old_start : edit.old_stop])
        lines += _marked(b"+", new[edit.new_start : edit.new_stop])
        at = edit.old_stop
    lines += _marked(b" ", old[at : at + trail])
    old_range = _range(first.old_start - lead, last.old_stop + trail)
    new_range = _range(first.new_start - lead, last.new_stop + trail)
    return Hunk(b"@@ -%s +%s @@" % (old_range, new_range), lines)


def _marked(sign: bytes, lines: Sequence[bytes]) -> Iterator[bytes]:
    for line in lines:
        yield sign + line.removesuffix(b"\n")
        if not line.endswith(b"\n"):
            yield _NO_NEWLINE


def _range(start: int, stop: int) -> bytes:
    # As diff has it: an empty range is named by the line before it.
    length = stop - start
    if length == 1:
        return b"%d" % (start + 1)
    return b"%d,%d" % (start + 1 if length else start, length)
