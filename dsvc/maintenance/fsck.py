"""Checking a whole store: its log, its packs, its index, and that every version can be read.

The quick check reads footers and the index. The full one reads every byte, and hashes every frame
and every object; then it walks all that refs lead to. A sample reads every byte of some packs, other ones each
time, so that in many nights all of a large remote is read.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from dsvc.errors import CorruptionError, NotFoundError, StorageError
from dsvc.history.store import Store
from dsvc.log.entry import UnsupportedFormatError
from dsvc.log.state import State
from dsvc.maintenance.check_index import RowCheck, check_frames, load_segments
from dsvc.maintenance.check_log import check_log
from dsvc.maintenance.check_packs import CheckedPack, check_packs
from dsvc.maintenance.connectivity import Connectivity
from dsvc.maintenance.findings import Finding, LostPath, Part, Report, Severity
from dsvc.maintenance.roots import Root, roots
from dsvc.odb.database import ObjectDatabase
from dsvc.odb.pack import pack_key
from dsvc.odb.segment import Location, Segment
from dsvc.progress import NO_PROGRESS, Progress
from dsvc.storage.local import LocalBackend
from dsvc.storage.temporary import stale_files

__all__ = ["Promised", "Sample", "fsck"]

_SHOWN: Final = 3


class Sample(msgspec.Struct, frozen=True):
    """Which packs to read: those that *shuffled* puts first, up to a *share* of all, until it *is_over*."""

    shuffled: Callable[[list[str]], list[str]]
    share: float = 1.0
    is_over: Callable[[], bool] = lambda: False

    def of(self, names: Collection[str]) -> list[str]:
        """Return which of *names* to read, in order; at least one, where there is any."""
        return self.shuffled(sorted(names))[: math.ceil(self.share * len(names))]


class Promised(msgspec.Struct, frozen=True):
    """Where data may be that is not here: the *databases* of remotes, and of others why they may have it.

    Those *unreachable* cannot be asked; *lacking* says of each that is a clone of another store what it is.
    """

    databases: Sequence[ObjectDatabase] = ()
    unreachable: Sequence[str] = ()
    lacking: Mapping[str, str] = {}

    @property
    def doubt(self) -> str | None:
        """Why what is in none of the databases may not be lost, if there is a reason."""
        reasons = [f"{name} lacks them too: it is itself {clone}" for name, clone in self.lacking.items()]
        if self.unreachable:
            reasons.append(f"{', '.join(self.unreachable)} cannot be asked whether they are there")
        return ", and ".join(reasons) or None


NOTHING_PROMISED: Final = Promised()


def fsck(
    store: Store,
    *,
    full: bool = True,
    sample: Sample | None = None,
    keep: int = 100,
    folders: Sequence[Path] = (),
    promised: Promised = NOTHING_PROMISED,
    threads: int = 1,
    progress: Progress = NO_PROGRESS,
) -> Report:
    """Check *store*, every byte of it if *full*; the last *keep* values of each ref have to be whole too.

    With a *sample*, log and index are checked, and every byte of its packs; what versions need is not looked for.

    *folders* are looked through for files that ended processes have left. Data that is *promised* is counted, and not
    missed.

    Raises:
        StoreNotFoundError: There is no store.
        UnsupportedFormatError: It needs a newer dsvc.
    """
    report = Report()
    report.findings.extend(check_log(store.log))
    try:
        state = store.log.head()
    except (CorruptionError, UnsupportedFormatError):
        # Without the log, nobody knows what belongs to the store.
        if not report.is_damaged:
            raise
        return report
    report.entries = state.seq
    segments, findings = load_segments(store.backend, state.segments_by_age)
    report.findings.extend(findings)
    lost = _check_data(store, state, segments, report, full=full, sample=sample, threads=threads, progress=progress)
    if sample is not None and report.unread:
        return report
    if any(finding.part is Part.INDEX for finding in report.findings):
        problem = "what versions need was not looked for: the index has to be mended first"
        report.findings.append(Finding(Part.INDEX, "", problem, Severity.WARNING))
    elif full:
        objects = ObjectDatabase(store.backend)
        objects.update(state.packs, ())
        objects.attach((), segments)
        _check_versions(store, state, objects, lost, report, keep=keep, promised=promised, progress=progress)
    _check_files(store, state, folders, report)
    return report


class _Lost:
    """Which places in packs cannot be read."""

    def __init__(self) -> None:
        self.packs: set[str] = set()
        self.frames: set[tuple[str, int]] = set()

    def __call__(self, location: Location) -> bool:
        return location.pack in self.packs or (location.pack, location.offset) in self.frames


def _check_data(
    store: Store,
    state: State,
    segments: Collection[Segment],
    report: Report,
    *,
    full: bool,
    sample: Sample | None,
    threads: int,
    progress: Progress,
) -> _Lost:
    """Check packs and index; return what of them is lost."""
    lost, rows = _Lost(), RowCheck(segments)
    frames: dict[str, dict[int, tuple[int, int, int]]] = {}
    names = sorted(state.packs) if sample is None else sample.of(state.packs)
    progress.start("check packs", size=_total(store, names) if full else None)

    def done(checked: CheckedPack) -> None:
        progress.advance(size=0 if checked.pack is None else checked.pack.length)

    enough = sample.is_over if sample else lambda: False
    for checked in check_packs(store.backend, names, full=full, threads=threads, done=done, enough=enough):
        report.findings.extend(checked.findings)
        report.packs += 1
        if checked.pack is None:
            lost.packs.add(checked.name)
            continue
        report.size += checked.pack.length
        report.objects += len(checked.pack.footer.kinds)
        lost.frames.update((checked.name, offset) for offset in checked.bad)
        frames[checked.name] = {
            record.offset: (record.header.stored_length, record.header.raw_length, record.header.codec)
            for record in checked.pack.footer.frames
        }
        if full:
            report.findings.extend(rows.compare(checked))
    progress.finish()
    report.unread = len(state.packs) - report.packs
    report.findings.extend(check_frames(segments, frames))
    if full:
        sound = {
            name: {offset for offset in offsets if (name, offset) not in lost.frames}
            for name, offsets in frames.items()
        }
        report.findings.extend(rows.finish(sound))
    return lost


def _total(store: Store, names: Iterable[str]) -> int:
    total = 0
    for name in names:
        try:
            total += store.backend.size(pack_key(name))
        except (StorageError, NotFoundError):
            continue
    return total


def _check_versions(
    store: Store,
    state: State,
    objects: ObjectDatabase,
    lost: _Lost,
    report: Report,
    *,
    keep: int,
    promised: Promised,
    progress: Progress,
) -> None:
    """Walk all that refs lead to."""
    walk = Connectivity(objects, lost, progress, promised=promised.databases, uncertain=promised.doubt is not None)
    progress.start("check versions")
    named: list[Root] = []
    try:
        for root in roots(store.log, state, keep=keep):
            named.append(root)
            walk.add(root.value)
    except CorruptionError as error:
        report.findings.append(Finding(Part.LOG, "", str(error)))
    progress.finish()
    for root in named:
        if root.value in walk.broken and root.value not in walk.commits:
            report.findings.append(Finding(Part.REF, root.name, f"{root.value}: {walk.broken[root.value]}"))
    report.findings.extend(
        Finding(Part.OBJECT, object_id.hex(), problem) for object_id, problem in sorted(walk.broken.items())
    )
    report.commits = len(walk.commits)
    report.dangling, report.promised = walk.dangling(), walk.promised
    if walk.unknown:
        problem = f"{len(walk.unknown):,} objects are not here, and {promised.doubt}"
        report.findings.append(Finding(Part.OBJECT, "", problem, Severity.WARNING))
    report.lost = [] if not walk.broken else _lost_paths(walk, named)


def _lost_paths(walk: Connectivity, named: Sequence[Root]) -> list[LostPath]:
    told: set[bytes] = set()
    lost = []
    for commit_id, commit in walk.commits.items():
        told.add(commit.tree)
        lost += [LostPath(commit_id, path, files) for path, files in walk.lost_paths(commit.tree)]
    for root in named:
        if root.value not in told and root.value not in walk.commits:
            told.add(root.value)
            lost += [LostPath(None, path, files) for path, files in walk.lost_paths(root.value)]
    return lost


def _check_files(store: Store, state: State, folders: Sequence[Path], report: Report) -> None:
    """Look for what no process and no log entry needs."""
    backend = store.backend
    unknown = [
        (key, length)
        for key, length in backend.list("packs/")
        if (tail := key.removeprefix("packs/")) not in state.packs
        and tail not in state.doomed
        and tail not in state.swept
    ]
    if unknown:
        problem = f"packs that are not part of the store yet, or were left by what was interrupted: {len(unknown):,}"
        report.findings.append(Finding(Part.FILES, "", problem, Severity.NOTE))
    if isinstance(backend, LocalBackend):
        folders = [backend.root / "tmp", *folders]
    stale = list(stale_files(folders))
    if stale:
        size = sum(length for _, length in stale)
        shown = ", ".join(str(path) for path, _ in stale[:_SHOWN]) + (", ..." if len(stale) > _SHOWN else "")
        problem = f"{len(stale):,} files of {size:,} bytes were left by processes that have ended: {shown}"
        report.findings.append(Finding(Part.FILES, "", problem, Severity.NOTE))
