"""Checking packs: their names, lengths and footers, and if asked for, every byte."""

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from dsvc.errors import StorageError
from dsvc.maintenance.findings import Finding, Part
from dsvc.odb import frame
from dsvc.odb.pack import MalformedPackError, pack_key
from dsvc.odb.pack_reader import DamagedFrameError, StoredPack, check_frame, open_pack, pieces
from dsvc.storage.backend import Backend, KeyNotFoundError

__all__ = ["CheckedPack", "check_packs"]


@dataclass(slots=True)
class CheckedPack:
    """What was found of the pack *name*.

    *pack* is None where not even the footer can be read. *ids* are those of the objects of each frame, by its
    number, if every byte was read; *bad* has the offsets of damaged frames.
    """

    name: str
    pack: StoredPack | None = None
    findings: list[Finding] = field(default_factory=list)
    ids: dict[int, bytes] = field(default_factory=dict)
    bad: set[int] = field(default_factory=set)

    def _find(self, problem: str) -> None:
        self.findings.append(Finding(Part.PACK, self.name, problem))

    def open(self, backend: Backend) -> None:
        """Read the footer."""
        try:
            self.pack = open_pack(backend, self.name)
        except KeyNotFoundError:
            self._find("it is missing")
        except MalformedPackError as error:
            self._find(error.reason)
        except StorageError as error:
            self._find(str(error))

    def read(self, backend: Backend) -> None:
        """Read and hash every frame."""
        if self.pack is None:
            return
        for start, end, offset, length in pieces(self.pack):
            try:
                data = backend.read_ranges(pack_key(self.name), [(offset, length)])[0]
            except StorageError as error:
                self._find(str(error))
                self.bad.update(self.pack.footer.frames[number].offset for number in range(start, end))
                continue
            view = memoryview(data)
            for number in range(start, end):
                record = self.pack.footer.frames[number]
                begin = record.offset - offset
                part = view[begin : begin + frame.HEADER_LENGTH + record.header.stored_length]
                self._check(self.pack, number, part)

    def _check(self, pack: StoredPack, number: int, data: memoryview) -> None:
        try:
            self.ids[number], _ = check_frame(pack, number, data)
        except DamagedFrameError as error:
            self._find(error.reason)
            self.bad.add(error.offset)


def check_packs(
    backend: Backend,
    names: Collection[str],
    *,
    full: bool,
    threads: int,
    done: Callable[[CheckedPack], None] = lambda _: None,
    enough: Callable[[], bool] = lambda: False,
) -> Iterator[CheckedPack]:
    """Check the packs *names* in their order, with *full* down to every object's hash; stop when it is *enough*.

    *done* is called in a thread after each.
    """

    def check(name: str) -> CheckedPack | None:
        if enough():
            return None
        checked = CheckedPack(name)
        checked.open(backend)
        if full:
            checked.read(backend)
        done(checked)
        return checked

    if threads <= 1:
        yield from filter(None, map(check, names))
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from filter(None, pool.map(check, names))
