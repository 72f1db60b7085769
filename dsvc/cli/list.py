"""dsvc list: the datasets and versions of a store, and how final each of them is."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Annotated, NamedTuple

from dsvc.cli import console
from dsvc.cli.exchange import open_remote, remote_hints
from dsvc.cli.options import Json, argument
from dsvc.cli.session import open_repository
from dsvc.history.catalog import CatalogEntry, read_catalog
from dsvc.history.diff import diff_trees
from dsvc.history.store import Store
from dsvc.log.refs import short_name
from dsvc.log.sessions import Session, read_sessions
from dsvc.log.state import State
from dsvc.worktree.worktree import Worktree

__all__ = ["command"]


class _Row(NamedTuple):
    """What is shown of one thing: as text, and as JSON."""

    name: str
    state: str
    size: str
    when: str
    what: str
    record: dict[str, object]


def command(
    remote: Annotated[
        str | None, argument("REMOTE", help="Look there, a remote's name or an address, instead of here.")
    ] = None,
    patterns: Annotated[
        tuple[str, ...], argument("PATTERN", help="List only names that match one of these, such as `vision/*`.")
    ] = (),
    *,
    json: Json = False,
) -> None:
    """List the datasets and versions.

    A dataset is a branch, a version a tag. Each has a state:

    *draft*: staged here, to be part of the next commit. *uploading*: being pushed to the remote now. *failed*,
    *aborted*: a push ended in the middle, and what it was to bring is not there; the next push goes on from where it
    was. *expired*: one that somebody has given up on. *final*: there, whole. *published*: there, and nobody can ever
    move or delete it.

    Of uploads, it is shown who pushes from where, and how far that has come. They are told by the store they go to, so
    everybody sees the same; without *REMOTE* this repository's own store is asked, and `.` as *REMOTE* is it too.

    Examples:
        $ dsvc list
        $ dsvc list origin
        $ dsvc list origin 'vision/*' --json

    See also:
        dsvc-branch(1), dsvc-tag(1), dsvc-push(1), dsvc-log(1)
    """
    worktree = open_repository()
    if remote is None or remote == ".":
        state = worktree.store.state()
        rows = [*_draft(worktree, state), *_rows(worktree.store, state)]
    else:
        with remote_hints(remote):
            there = open_remote(worktree, remote)
            store = there.open()
            rows = list(_rows(store, store.state()))
            there.remember()
    _print([row for row in rows if not patterns or any(fnmatchcase(row.name, one) for one in patterns)], json=json)


def _rows(store: Store, state: State) -> Iterator[_Row]:
    for session in read_sessions(store.backend, state):
        yield from _uploads(session)
    for entry in read_catalog(store, state):
        yield _entry(entry)


def _draft(worktree: Worktree, state: State) -> Iterator[_Row]:
    session = worktree.session(state)
    if session.staged is None:
        return
    staged = worktree.staged_tree(state)
    changes = sum(1 for _ in diff_trees(worktree.head_tree(state), staged))
    totals = staged.totals()
    name = short_name(session.branch) if session.branch else session.head
    yield _Row(
        name,
        "draft",
        _size(totals.files, totals.size),
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


def _uploads(session: Session) -> Iterator[_Row]:
    upload = session.upload
    for ref, value in upload.targets.items():
        share = (
            f", {100 * upload.sent // upload.total} % of {console.format_size(upload.total)}" if upload.total else ""
        )
        yield _Row(
            short_name(ref),
            upload.state.value,
            "",
            _date(upload.time),
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


def _entry(entry: CatalogEntry) -> _Row:
    commit = entry.commit
    return _Row(
        entry.name,
        entry.state,
        _size(commit.files, commit.size),
        _date(commit.time),
        commit.subject,
        {
            "kind": "dataset" if entry.is_dataset else "version",
            "name": entry.name,
            "ref": entry.ref,
            "state": entry.state,
            "commit": entry.commit_id.hex(),
            "files": commit.files,
            "size": commit.size,
            "time": commit.time,
            "author": commit.author,
            "message": commit.message,
        },
    )


def _size(files: int, size: int) -> str:
    return f"{console.plural(files, 'file')}, {console.format_size(size)}"


def _date(time: int) -> str:
    return f"{datetime.fromtimestamp(time / 1_000_000, UTC):%Y-%m-%d}"


def _print(rows: Iterable[_Row], *, json: bool) -> None:
    shown = list(rows)
    if json:
        for row in shown:
            console.out_json(row.record)
        return
    widths = [max((len(row[column]) for row in shown), default=0) for column in range(4)]
    for row in shown:
        cells = (f"{row[column]:{width}}" for column, width in enumerate(widths) if width)
        console.out("  ".join((*cells, row.what)).rstrip())
