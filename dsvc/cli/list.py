"""dsvc list: the datasets and versions of a store, and how final each of them is."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Annotated, Final, Literal, NamedTuple

from dsvc.cli import console
from dsvc.cli.errors import Failure, UsageError
from dsvc.cli.options import Json, argument, option
from dsvc.cli.place import Place, open_place
from dsvc.cli.session import now
from dsvc.history.catalog import CatalogEntry, read_catalog
from dsvc.history.diff import diff_trees
from dsvc.history.numbers import version_key, version_order
from dsvc.log.refs import TAGS, short_name
from dsvc.log.sessions import Session, read_sessions
from dsvc.worktree.worktree import Worktree

__all__ = [
    "All",
    "Csv",
    "Filter",
    "Long",
    "Reverse",
    "Row",
    "Sort",
    "command",
    "entry_row",
    "print_rows",
    "show",
]

All = Annotated[bool, option("-a", "--all", help="Archived datasets too.")]
Long = Annotated[bool, option("-l", "--long", help="Show authors and ids too.")]
Csv = Annotated[bool, option("--csv", help="Print CSV, with the names of the columns first.")]
Reverse = Annotated[bool, option("-r", "--reverse", help="The other way round.")]
SortKey = Literal["name", "date", "size", "files", "version"]
Sort = Annotated[
    SortKey | None,
    option("--sort", metavar="KEY", help="Sort by `name`, `date`, `size`, `files` or `version`, the greatest last."),
]
State = Literal["draft", "uploading", "failed", "aborted", "expired", "final", "published"]

_NOT_FOUND: Final = 4
_COLUMNS: Final = (
    "kind", "name", "dataset", "version", "state", "files", "size", "time", "author", "commit", "alias", "archived",
    "versions", "latest", "description", "message",
)  # fmt: skip


class Filter(NamedTuple):
    """What is to be listed: names that match one of *patterns*, and more conditions, all of which have to hold."""

    patterns: tuple[str, ...] = ()
    kinds: frozenset[str] = frozenset()
    states: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    project: str | None = None
    archived: bool = False


class Row(NamedTuple):
    """What is shown of one thing: as text, and as JSON. *versions* are those of a dataset, or itself.

    What is *below* are lines that follow.
    """

    name: str
    state: str
    size: str
    when: str
    latest: str
    what: str
    record: dict[str, object]
    versions: Sequence[str] = ()
    below: Sequence[str] = ()


def command(
    words: Annotated[
        tuple[str, ...],
        argument(
            "REMOTE|PATTERN",
            help="Look there, a remote or an address, instead of here; and list only what matches, such as `vision/*`.",
        ),
    ] = (),
    *,
    datasets: Annotated[bool, option("--datasets", help="Datasets only.")] = False,
    versions: Annotated[bool, option("--versions", help="Versions only.")] = False,
    state: Annotated[tuple[State, ...], option("--state", metavar="STATE", help="Only what is in this state.")] = (),
    tag: Annotated[
        tuple[str, ...], option("--tag", metavar="PATTERN", help="Only versions so called, and datasets with one.")
    ] = (),
    project: Annotated[
        str | None, option("--project", metavar="PROJECT", help="Only what is in this project, or in one in it.")
    ] = None,
    all: All = False,
    sort: Sort = None,
    reverse: Reverse = False,
    long: Long = False,
    csv: Csv = False,
    json: Json = False,
) -> None:
    """List the datasets and versions.

    A dataset is a branch, a version a tag. Each has a state:

    *draft*: staged here, to be part of the next commit. *uploading*: being pushed to the remote now. *failed*,
    *aborted*: a push ended in the middle, and what it was to bring is not there; the next push goes on from where it
    was. *expired*: nothing was heard of one for a day. *final*: there, whole. *published*: there, and nobody can ever
    move or delete it.

    Of a dataset, its latest version is shown, and how many there are. Of uploads, it is shown who pushes from where,
    and how far that has come. They are told by the store they go to, so everybody sees the same; without *REMOTE* this
    repository's own store is asked, and `.` as *REMOTE* is it too. An address works outside of any repository.

    A *PATTERN* without `*`, `?` or `[` stands for a dataset with its versions, or for a project with all that is in it.

    Examples:
        $ dsvc list
        $ dsvc list origin
        $ dsvc list s3://bucket/images 'vision/*' --datasets --sort size -r
        $ dsvc list --versions --state published --csv

    Exit status:
        4 there is no such remote or dataset

    See also:
        dsvc-search(1), dsvc-dataset(1), dsvc-branch(1), dsvc-tag(1), dsvc-push(1), dsvc-log(1)
    """
    kinds = frozenset(kind for kind, wanted in (("dataset", datasets), ("version", versions)) if wanted)
    wanted = Filter(kinds=kinds, states=state, tags=tag, project=project, archived=all)
    show(words, wanted, sort=sort, reverse=reverse, long=long, csv=csv, json=json)


def show(
    words: tuple[str, ...],
    wanted: Filter,
    *,
    sort: SortKey | None = None,
    reverse: bool = False,
    long: bool = False,
    csv: bool = False,
    json: bool = False,
) -> None:
    """List what is *wanted* of the store that *words* name, if they do, and that matches the others of them."""
    if csv and json:
        text = "choose one of `--csv` and `--json`"
        raise UsageError(text)
    place, patterns = open_place(words)
    chosen = wanted._replace(patterns=(*wanted.patterns, *patterns))
    rows = [row for row in _rows(place, chosen, long=long) if _is_wanted(row, chosen)]
    if sort is not None:
        rows.sort(key=_KEYS[sort])
    if reverse:
        rows.reverse()
    with console.pager(place.config):
        if csv:
            _print_csv(rows)
        elif json:
            for row in rows:
                console.out_json(row.record)
        else:
            print_rows(rows, None if long else console.width())
    for pattern in patterns:
        if not _is_glob(pattern) and not any(_matches(row.name, pattern) for row in rows):
            text = f"`{pattern}` is neither a remote nor a dataset"
            raise Failure(text, code=_NOT_FOUND, hint="`dsvc list` shows the datasets, `dsvc remote` the remotes")


_KEYS: Final[dict[str, Callable[[Row], tuple[object, ...]]]] = {
    "name": lambda row: (version_key(row.name),),
    "date": lambda row: (row.record.get("time") or 0, row.name),
    "size": lambda row: (row.record.get("size") or 0, row.name),
    "files": lambda row: (row.record.get("files") or 0, row.name),
    "version": lambda row: (version_order(str(row.record.get("version") or "")), row.name),
}


def _is_wanted(row: Row, wanted: Filter) -> bool:
    record = row.record
    if not _has_name(row.name, wanted, is_version=record["kind"] == "version"):
        return False
    if wanted.states and record["state"] not in wanted.states:
        return False
    if record.get("archived") and not wanted.archived and record["dataset"] not in wanted.patterns:
        return False
    return not wanted.tags or any(fnmatchcase(version, tag) for version in row.versions for tag in wanted.tags)


def _has_name(name: str, wanted: Filter, *, is_version: bool) -> bool:
    if wanted.kinds and ("version" if is_version else "dataset") not in wanted.kinds:
        return False
    if wanted.project is not None and not name.startswith(f"{wanted.project.strip('/')}/"):
        return False
    return not wanted.patterns or any(_matches(name, pattern) for pattern in wanted.patterns)


def _matches(name: str, pattern: str) -> bool:
    if _is_glob(pattern):
        return fnmatchcase(name, pattern)
    return name == pattern or name.startswith((f"{pattern}@", f"{pattern.rstrip('/')}/"))


def _is_glob(pattern: str) -> bool:
    return bool(set(pattern) & set("*?["))


def _rows(place: Place, wanted: Filter, *, long: bool) -> Iterator[Row]:
    def is_wanted(ref: str) -> bool:
        return _has_name(short_name(ref), wanted, is_version=ref.startswith(TAGS))

    if place.worktree is not None:
        yield from _draft(place.worktree, place)
    for session in read_sessions(place.store.backend, place.state, place.store.objects, now=now()[0]):
        yield from _uploads(session)
    for entry in read_catalog(place.store, place.state, is_wanted):
        yield entry_row(entry, long=long)


def _draft(worktree: Worktree, place: Place) -> Iterator[Row]:
    session = worktree.session(place.state)
    if session.staged is None:
        return
    staged = worktree.staged_tree(place.state)
    changes = sum(1 for _ in diff_trees(worktree.head_tree(place.state), staged))
    totals = staged.totals()
    name = short_name(session.branch) if session.branch else session.head
    yield Row(
        name,
        "draft",
        _size(totals.files, totals.size),
        "",
        "",
        f"{console.plural(changes, 'change')} staged",
        {
            "kind": "draft",
            "name": name,
            "state": "draft",
            "files": totals.files,
            "size": totals.size,
            "changes": changes,
        },
    )


def _uploads(session: Session) -> Iterator[Row]:
    upload = session.upload
    for ref, value in upload.targets.items():
        share = (
            f", {100 * upload.sent // upload.total} % of {console.format_size(upload.total)}" if upload.total else ""
        )
        yield Row(
            short_name(ref),
            upload.state.value,
            "",
            _date(upload.time),
            "",
            f"by {upload.actor}, process {upload.process}{share}{upload.reason and f': {upload.reason}'}",
            {
                "kind": "upload",
                "name": short_name(ref),
                "ref": ref,
                "state": upload.state.value,
                "commit": value,
                "session": session.id,
                "actor": upload.actor,
                "process": upload.process,
                "started": upload.started,
                "time": upload.time,
                "sent_bytes": upload.sent,
                "total_bytes": upload.total,
                "reason": upload.reason or None,
            },
        )


def entry_row(entry: CatalogEntry, *, long: bool = False) -> Row:
    """Return what is shown of *entry*."""
    commit = entry.commit
    latest = "alias" if entry.is_alias else ""
    if entry.versions:
        more = f" of {len(entry.versions):,}" if len(entry.versions) > 1 else ""
        latest = f"{entry.latest or entry.versions[-1]}{more}"
    subject = commit.subject if entry.tag is None else entry.tag.message.split("\n", 1)[0]
    subject = f"[archived] {subject}" if entry.is_archived else subject
    author = commit.author if entry.tag is None else entry.tag.tagger
    return Row(
        entry.name,
        entry.state,
        _size(commit.files, commit.size),
        _date(entry.time),
        latest,
        f"{entry.commit_id.short}  {author}  {subject}" if long else subject,
        {
            "kind": "dataset" if entry.is_dataset else "version",
            "name": entry.name,
            "ref": entry.ref,
            "dataset": entry.dataset,
            "version": entry.version,
            "state": entry.state,
            "commit": entry.commit_id.hex(),
            "files": commit.files,
            "size": commit.size,
            "time": entry.time,
            "author": author,
            "message": commit.message if entry.tag is None else entry.tag.message,
            "alias": entry.is_alias,
            "archived": entry.is_archived,
            "description": entry.info.description if entry.info else "",
            **({"versions": entry.versions, "latest": entry.latest} if entry.is_dataset else {}),
        },
        entry.versions if entry.is_dataset else (entry.version or entry.name,),
    )


def _size(files: int, size: int) -> str:
    return f"{console.plural(files, 'file')}, {console.format_size(size)}"


def _date(time: int) -> str:
    return f"{datetime.fromtimestamp(time / 1_000_000, UTC):%Y-%m-%d}"


def _print_csv(rows: Iterable[Row]) -> None:
    import csv
    import sys

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for row in rows:
        record = row.record | {"versions": len(row.versions) if "versions" in row.record else None}
        writer.writerow([_cell(column, record.get(column)) for column in _COLUMNS])


def _cell(column: str, value: object) -> object:
    if column == "time" and isinstance(value, int):
        return console.format_iso_date(value, 0)
    return str(value).lower() if isinstance(value, bool) else "" if value is None else value


def print_rows(rows: Sequence[Row], room: int | None = None) -> None:
    """Print *rows* as a table, on lines of *room* characters."""
    shown = [row[:5] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row, texts in zip(rows, shown, strict=True):
        cells = (f"{text:{width}}" for text, width in zip(texts, widths, strict=True) if width)
        # Anybody who can push may have written it.
        line = console.printable(f"{'  '.join(cells)}  {row.what}".rstrip())
        console.out(line if room is None or len(line) <= room else f"{line[: room - 1]}…")
        for text in row.below:
            console.out(f"    {console.printable(text)}")
