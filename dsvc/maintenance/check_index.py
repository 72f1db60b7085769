"""Checking the index: its segments, and whether each row points to the object that it names."""

from collections.abc import Collection, Iterable, Iterator, Mapping

from dsvc.errors import StorageError
from dsvc.maintenance.check_packs import CheckedPack
from dsvc.maintenance.findings import Finding, Part
from dsvc.model.ids import ID_LENGTH
from dsvc.odb.database import load_segment
from dsvc.odb.segment import MalformedSegmentError, Segment
from dsvc.storage.backend import Backend, KeyNotFoundError

__all__ = ["RowCheck", "check_frames", "load_segments"]

_Frames = Mapping[int, tuple[int, int, int]]  # offset: stored length, raw length, codec


def load_segments(backend: Backend, names: Iterable[str]) -> tuple[list[Segment], list[Finding]]:
    """Return the segments *names* that are sound, and what is wrong with the others."""
    segments, findings = [], []
    for name in names:
        try:
            segment = load_segment(backend, name)
            segment.verify()
        except KeyNotFoundError:
            findings.append(Finding(Part.INDEX, name, "it is missing"))
        except MalformedSegmentError as error:
            findings.append(Finding(Part.INDEX, name, error.reason))
        except (StorageError, OSError) as error:
            findings.append(Finding(Part.INDEX, name, str(error)))
        else:
            segments.append(segment)
    return segments, findings


def check_frames(segments: Iterable[Segment], packs: Mapping[str, _Frames]) -> Iterator[Finding]:
    """Yield which *segments* name frames that are not in *packs*, as far as those could be opened."""
    for segment in segments:
        wrong = 0
        for pack, offset, stored, raw, codec in segment.frame_rows():
            frames = packs.get(segment.pack_at(pack))
            wrong += frames is not None and frames.get(offset) != (stored, raw, codec)
        if wrong:
            yield Finding(Part.INDEX, segment.name, f"{wrong:,} of its frames are not where it says")


class RowCheck:
    """Compares the rows of segments with what was found in packs, pack by pack."""

    def __init__(self, segments: Iterable[Segment]) -> None:
        self._segments = list(segments)
        self._confirmed = [bytearray(len(segment)) for segment in self._segments]

    def compare(self, checked: CheckedPack) -> Iterator[Finding]:
        """Confirm the rows of the objects of *checked*, and yield a finding if some have no row."""
        pack = checked.pack
        if pack is None:
            return
        unknown = 0
        for number, ids in checked.ids.items():
            offset, place = pack.footer.frames[number].offset, 0
            for position in range(pack.first[number], pack.first[number + 1]):
                start = ID_LENGTH * (position - pack.first[number])
                length = pack.footer.lengths[position]
                where = (pack.name, offset, place, length, pack.footer.kinds[position])
                unknown += not self._confirm(ids[start : start + ID_LENGTH], where)
                place += length
        if unknown:
            yield Finding(Part.INDEX, "", f"{unknown:,} objects of pack {pack.name} are not in the index")

    def _confirm(self, object_id: bytes, where: tuple[str, int, int, int, int]) -> bool:
        known = False
        for segment, confirmed in zip(self._segments, self._confirmed, strict=True):
            row = segment.find(object_id)
            if row >= 0:
                known = True
                found = segment.location(row)
                if (found.pack, found.offset, found.place, found.length, found.kind) == where:
                    confirmed[row] = 1
        return known

    def finish(self, sound: Mapping[str, Collection[int]]) -> Iterator[Finding]:
        """Yield which segments have rows that point to no such object; *sound* has the good frames of each pack."""
        for segment, confirmed in zip(self._segments, self._confirmed, strict=True):
            wrong = 0
            for row, flag in enumerate(confirmed):
                if not flag:
                    found = segment.location(row)
                    wrong += found.offset in sound.get(found.pack, ())
            if wrong:
                yield Finding(Part.INDEX, segment.name, f"{wrong:,} of its rows point to other objects than they name")
