"""dsvc fsck: whether everything that is stored is whole."""

from collections import defaultdict
from pathlib import Path
from typing import Annotated, Final

from dsvc.cli import console, session
from dsvc.cli.errors import UsageError
from dsvc.cli.options import Jobs, Json, Quiet, argument, option
from dsvc.cli.progress_bar import progress_bar
from dsvc.cli.workers import workers
from dsvc.config import Config
from dsvc.history.store import Store
from dsvc.maintenance.findings import Finding, Part, Report, Severity
from dsvc.maintenance.fsck import fsck
from dsvc.maintenance.rebuild_index import rebuild_index
from dsvc.model.paths import quote_path
from dsvc.transport.address import open_backend, redact

__all__ = ["command"]

_DAMAGED: Final = 8
_SHOWN: Final = 20

_HINTS: Final = {
    Part.INDEX: "the index can be made anew from the packs: run `dsvc fsck --rebuild-index`",
    Part.PACK: "a pack never changes: if a clone, a remote or a backup has the file of that name, copy it to "
    "packs/ of the damaged store",
    Part.LOG: "an entry never changes: if a backup has the file of that number, copy it to log/ of the damaged store",
    Part.OBJECT: "if the files are still somewhere, `dsvc add` does not store them again while the damaged pack is in "
    "the store: copy the pack from a clone, a remote or a backup",
}


def command(
    address: Annotated[
        str | None, argument("ADDRESS", help="Check the store there, not that of this repository.")
    ] = None,
    *,
    quick: Annotated[bool, option("--quick", help="Read no data: only log, index and footers of packs.")] = False,
    full: Annotated[bool, option("--full", help="Read and hash every byte, which is the default.")] = False,
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

    Objects that nothing leads to are dangling. They are no damage: work that was staged and taken
    back, or that was interrupted.

    Examples:
        $ dsvc fsck
        $ dsvc fsck --quick /mnt/nas/datasets/images

    Exit status:
        8 something is damaged or missing

    See also:
        dsvc-undo(1), dsvc-format(5)
    """
    console.set_quiet(quiet)
    if quick and (full or rebuild):
        message = "`--quick` cannot be joined with `--full` or `--rebuild-index`"
        raise UsageError(message)
    config, store, folders = _open(address)
    threads = workers(config, jobs).jobs
    with progress_bar() as progress:
        if rebuild:
            rebuilt = rebuild_index(store, threads=threads, progress=progress)
            console.say(
                f"indexed {console.plural(rebuilt.objects, 'object')} in {console.plural(rebuilt.packs, 'pack')} anew"
            )
            store = Store(store.backend, store.context)
        report = fsck(
            store, full=not quick, keep=config.number("log.keep"), folders=folders, threads=threads, progress=progress
        )
    if json:
        _print_json(report)
    else:
        _print(report, where=address, full=not quick)
    return _DAMAGED if report.is_damaged else 0


def _open(address: str | None) -> tuple[Config, Store, list[Path]]:
    if address is None:
        worktree = session.open_worktree()
        return worktree.config, worktree.store, [worktree.control / "tmp"]
    config = session.load_config()
    return config, Store(open_backend(address, Path.cwd()), session.make_context(config)), []


def _print(report: Report, *, where: str | None, full: bool) -> None:
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
            console.hint(hint)
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
    if full:
        looked.append(console.plural(report.commits, "version"))
    damages = sum(finding.severity is Severity.DAMAGE for finding in report.findings)
    state = f"{console.plural(damages, 'damage')} found in {store}" if report.is_damaged else f"{store} is whole"
    read = "every byte read" if full else "no data read"
    console.say(f"{state}: {', '.join(looked)}; {read}")
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
