"""dsvc fsck: whether everything that is stored is whole."""

import random
from collections import defaultdict
from pathlib import Path
from time import monotonic
from typing import Annotated, Final

from dsvc.cli import console, session
from dsvc.cli.errors import Failure, UsageError
from dsvc.cli.exchange import remote_hints
from dsvc.cli.options import Jobs, Json, Quiet, argument, option
from dsvc.cli.progress_bar import progress_bar
from dsvc.cli.workers import workers
from dsvc.config import Config
from dsvc.history.store import Store
from dsvc.maintenance.findings import Finding, Part, Report, Severity
from dsvc.maintenance.fsck import Promised, Sample, fsck
from dsvc.maintenance.rebuild_index import rebuild_index
from dsvc.model.paths import quote_path
from dsvc.odb.objects import OutOfReachError
from dsvc.repository import control_at, promisor_remotes
from dsvc.storage.backend import Backend
from dsvc.storage.bundle import BundleBackend
from dsvc.storage.local import LocalBackend
from dsvc.transport.address import open_backend, redact
from dsvc.transport.lacking import clone_of
from dsvc.transport.remote import find_remote
from dsvc.worktree.worktree import Worktree

__all__ = ["command"]

_DAMAGED: Final = 8
_REFUSED: Final = 10
_SHOWN: Final = 20
_UNITS: Final = {"s": 1, "m": 60, "h": 3600}

_HINTS: Final = {
    Part.INDEX: "the index can be made anew from the packs: run `dsvc fsck{store} --rebuild-index`",
    Part.PACK: "a pack never changes: if a clone, a remote or a backup has the file of that name, copy it to "
    "packs/ of the damaged store",
    Part.LOG: "an entry never changes: if a backup has the file of that number, copy it to log/ of the damaged store",
    Part.OBJECT: "if the files are still somewhere, `dsvc add` does not store them again while the damaged pack is in "
    "the store: copy the pack from a clone, a remote or a backup",
}


def _parse_share(text: str) -> float:
    share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    if not 0 < share <= 1:
        message = "a share is from above 0 to 100 %, such as `5%` or `0.05`"
        raise ValueError(message)
    return share


def _parse_time(text: str) -> int:
    unit = _UNITS.get(text[-1:])
    seconds = int(text[:-1]) * unit if unit else int(text)
    if seconds <= 0:
        message = "a time is a number of seconds, or such as `20m` and `2h`"
        raise ValueError(message)
    return seconds


def command(
    address: Annotated[
        str | None, argument("ADDRESS", help="Check the store there, not that of this repository.")
    ] = None,
    *,
    quick: Annotated[bool, option("--quick", help="Read no data: only log, index and footers of packs.")] = False,
    full: Annotated[bool, option("--full", help="Read and hash every byte, which is the default.")] = False,
    remote: Annotated[str | None, option("--remote", metavar="NAME", help="Check the remote *NAME*.")] = None,
    sample: Annotated[
        float | None,
        option("--sample", metavar="SHARE", parse=_parse_share, help="Read only so much of the packs, such as `5%`."),
    ] = None,
    time: Annotated[
        int | None,
        option("--time", metavar="TIME", parse=_parse_time, help="Read packs for so long at most, such as `20m`."),
    ] = None,
    rebuild: Annotated[bool, option("--rebuild-index", help="Make the index anew from the packs, then check.")] = False,
    jobs: Jobs = None,
    quiet: Quiet = False,
    json: Json = False,
) -> int:
    """Check that everything stored is whole.

    The full check reads every byte of every pack, hashes every object, compares the index with what was found, and
    walks all that branches, tags, staged files and the reflog lead to. What cannot be read is
    listed by version and path. The quick check finds what is missing or cut short, and reads no data.

    Nothing is changed, but for `--rebuild-index`: the index only says where objects are, and
    the packs hold all that it says. `.dsvc/worktree.db` is not looked at: it is made anew whenever it is damaged.

    A remote is checked as a folder is, over the network: `--quick` asks for the length and the footer of each pack.
    `--sample` and `--time` read every byte of some packs, chosen by chance, and other ones at the next run: a job each
    night reads all of it in the end.

    Objects that nothing leads to are dangling. They are no damage: work that was staged and taken
    back, or that was interrupted. In a shallow clone, they are in no remote either: what is there as well may belong to
    older versions.

    Examples:
        $ dsvc fsck
        $ dsvc fsck --quick /mnt/nas/datasets/images
        $ dsvc fsck --remote origin --sample 5% --time 20m

    Exit status:
        8 something is damaged or missing

    See also:
        dsvc-undo(1), dsvc-format(5)
    """
    console.set_quiet(quiet)
    if quick and (full or rebuild):
        message = "`--quick` cannot be joined with `--full` or `--rebuild-index`"
        raise UsageError(message)
    samples = sample is not None or time is not None
    if samples and (quick or full or rebuild):
        message = "`--sample` and `--time` cannot be joined with `--quick`, `--full` or `--rebuild-index`"
        raise UsageError(message)
    if address is not None and remote is not None:
        message = "an address and `--remote` are two stores; name one"
        raise UsageError(message)
    config, store, folders = _open(address, remote)
    threads = workers(config, jobs).jobs
    with progress_bar() as progress:
        if rebuild:
            rebuilt = rebuild_index(store, threads=threads, progress=progress)
            console.say(
                f"indexed {console.plural(rebuilt.objects, 'object')} in {console.plural(rebuilt.packs, 'pack')} anew"
            )
            store = Store(store.backend, store.context, promisor=store.promisor)
        report = fsck(
            store,
            full=not quick,
            sample=_sample(sample, time) if samples else None,
            keep=config.number("log.keep"),
            folders=folders,
            promised=_promised(store),
            threads=threads,
            progress=progress,
        )
    if json:
        _print_json(report)
    else:
        named = f" --remote {remote}" if remote else f" {redact(address)}" if address else ""
        _print(report, where=address or remote, named=named, full=not quick)
    return _DAMAGED if report.is_damaged else 0


def _sample(share: float | None, seconds: int | None) -> Sample:
    end = None if seconds is None else monotonic() + seconds
    return Sample(
        # Nobody has to be kept from foreseeing the choice.
        lambda names: random.sample(names, len(names)),
        1.0 if share is None else share,
        lambda: end is not None and monotonic() > end,
    )


def _open(address: str | None, remote: str | None) -> tuple[Config, Store, list[Path]]:
    if remote is not None:
        worktree = session.open_repository()
        with remote_hints(remote):
            there = find_remote(worktree.config, worktree.control, remote, worktree.store.context)
            there.open()
        # What was read before says nothing of what is there now; nor does it know what was promised to that one.
        other = _repository_of(there.origin)
        promisor = None if other is None else other.store.promisor
        return worktree.config, Store(there.origin, there.context, promisor=promisor), []
    if address is None:
        worktree = session.open_repository()
    else:
        config, backend = session.load_config(), open_backend(address, Path.cwd())
        found = _repository_of(backend)
        if isinstance(backend, BundleBackend) and backend.prerequisites:
            message = f"{redact(address)} is a bundle of what is new since other versions, and not whole by itself"
            raise Failure(message, code=_REFUSED, hint=f"run `dsvc bundle verify {redact(address)}`")
        if found is None:
            return config, Store(backend, session.make_context(config)), []
        worktree = found
    return worktree.config, worktree.store, [worktree.control / "tmp"]


def _repository_of(backend: Backend) -> Worktree | None:
    """Return the repository whose store is in *backend*, where it is a folder of one."""
    if not isinstance(backend, LocalBackend):
        return None
    root = backend.root
    control = control_at(root) or control_at(root.parent.parent)
    return session.open_control(control) if control in (root, root.parent) and control is not None else None


def _promised(store: Store) -> Promised:
    """Return where data may be that *store* lacks."""
    databases, unreachable, lacking = [], [], {}
    for remote in promisor_remotes(store.promisor):
        try:
            databases.append(remote.database)
        except OutOfReachError:
            unreachable.append(remote.remote.name)
        clone = clone_of(remote.remote.origin)
        if clone is not None:
            lacking[remote.remote.name] = clone
    return Promised(databases, unreachable, lacking)


def _print(report: Report, *, where: str | None, named: str, full: bool) -> None:
    for finding in report.findings:
        if finding.severity is Severity.DAMAGE:
            console.out(f"{console.paint('damaged:', 'red')} {finding}")
        elif finding.severity is Severity.WARNING:
            console.out(f"{console.paint('warning:', 'yellow')} {finding}")
        else:
            console.say(f"note: {finding}")
    _print_lost(report)
    parts = {finding.part for finding in report.findings if finding.severity is Severity.DAMAGE}
    for part, hint in _HINTS.items():
        if part in parts and not (part is Part.OBJECT and Part.PACK in parts):
            console.hint(hint.format(store=named))
    _summarise(report, where=where, full=full)


def _print_lost(report: Report) -> None:
    versions: dict[str, list[str]] = defaultdict(list)
    for lost in report.lost:
        name = quote_path(lost.path) if lost.path else "all files"
        more = f" and the {lost.files - 1:,} before it" if lost.files > 1 else ""
        versions["what is staged" if lost.commit is None else f"version {lost.commit.short}"].append(name + more)
    for version, names in versions.items():
        console.out(f"{console.paint('lost:', 'red')} {version}: {console.plural(len(names), 'path')}")
        for name in names[:_SHOWN]:
            console.out(f"\t{name}")
        if len(names) > _SHOWN:
            console.out(f"\tand {len(names) - _SHOWN:,} more; `--json` lists all")


def _summarise(report: Report, *, where: str | None, full: bool) -> None:
    store = "the store" if where is None else redact(where)
    looked = [console.plural(report.entries, "log entry", "log entries"), console.plural(report.packs, "pack")]
    looked.append(f"{console.plural(report.objects, 'object')} ({console.format_size(report.size)})")
    if full and not report.unread:
        looked.append(console.plural(report.commits, "version"))
    damages = sum(finding.severity is Severity.DAMAGE for finding in report.findings)
    sound = f"nothing is wrong with what was read of {store}" if report.unread else f"{store} is whole"
    state = f"{console.plural(damages, 'damage')} found in {store}" if report.is_damaged else sound
    read = "every byte read" if full else "no data read"
    if report.unread:
        read += f"; {console.plural(report.unread, 'pack')} left for another time"
    console.say(f"{state}: {', '.join(looked)}; {read}")
    if report.promised:
        console.say(f"{console.plural(report.promised, 'object')} promised: not here, and in a remote")
    if report.dangling:
        console.say(f"{console.plural(report.dangling, 'object')} dangling: no version needs them")


def _print_json(report: Report) -> None:
    for finding in report.findings:
        console.out_json(_finding(finding))
    for lost in report.lost:
        console.out_json(
            {
                "kind": "lost",
                "commit": None if lost.commit is None else lost.commit.hex(),
                **console.json_path(lost.path),
                "files": lost.files,
            }
        )
    console.out_json(
        {
            "kind": "summary",
            "damaged": report.is_damaged,
            "entries": report.entries,
            "packs": report.packs,
            "objects": report.objects,
            "stored_bytes": report.size,
            "commits": report.commits,
            "dangling": report.dangling,
            "promised": report.promised,
            "unread_packs": report.unread,
        }
    )


def _finding(finding: Finding) -> dict[str, object]:
    return {
        "kind": "finding",
        "severity": finding.severity.value,
        "part": finding.part.value,
        "name": finding.name or None,
        "problem": finding.problem,
    }
