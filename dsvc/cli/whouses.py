"""dsvc whouses: who works with a version, and what was made from it."""

from collections.abc import Iterator
from typing import Annotated, Final, NamedTuple

from dsvc.cli import console
from dsvc.cli.elsewhere import is_elsewhere, uses_elsewhere
from dsvc.cli.errors import UsageError
from dsvc.cli.exchange import open_remote, remote_hints, usual_remote
from dsvc.cli.history import History, open_history
from dsvc.cli.options import Json, argument
from dsvc.cli.version_names import version_names
from dsvc.history.commits import commits_here
from dsvc.history.inputs import read_input
from dsvc.history.lineage import nearest_names, read_lineage
from dsvc.log.uses import RecordedUse, read_uses
from dsvc.model.commit import Commit
from dsvc.model.ids import Kind, ObjectId

__all__ = ["command"]

_NOBODY: Final = 1


def command(
    version: Annotated[str, argument("VERSION", help="The version, such as `NAME@1.2`, or *NAME*`@`*ID*.")],
    remote: Annotated[
        str | None, argument("REMOTE", help="Ask this one, a remote's name or an address, not the usual one.")
    ] = None,
    *,
    json: Json = False,
) -> int:
    """Show who works with a version, and what was made from it.

    First come the commits known here that were made from it: those that it is an input of, whatever dataset they are
    of, and those that it is a parent of. `dsvc graph --descendants` shows what was made of these in turn.

    Then come the uses that were recorded on the remote with `dsvc use --record`, the newest first: who, when, the name
    and the address of their run, and the machine if they told it. Without *REMOTE* the usual remote is asked, if there
    is one; `.` is this repository's own store.

    Of `URL#NAME` or `REMOTE#NAME`, a version of another store, the uses that were recorded there are shown. No
    repository is needed then.

    Examples:
        $ dsvc whouses vision/raw@1.2
        $ dsvc whouses vision/raw@1.2 origin --json
        $ dsvc whouses 's3://bucket/sets#vision/raw@1.2'

    Exit status:
        1 nobody is known to use it
        4 there is no such version

    See also:
        dsvc-use(1), dsvc-graph(1), dsvc-commit(1)
    """
    if is_elsewhere(version):
        if remote is not None:
            message = f"`{version}` says where to ask already"
            raise UsageError(message)
        place, uses = uses_elsewhere(version)
        for use in uses:
            _print_use(place, use, json=json)
        return 0 if uses else _NOBODY
    history = open_history()
    wanted = read_input(history.worktree.store, history.state, version, head=history.head)
    commit_id = ObjectId(wanted.commit)
    count = 0
    for kind, found in _made(history, commit_id):
        count += 1
        _print_made(kind, found, json=json)
    # Last, for it may fail; what is known here has been said by then.
    for place, use in _uses(history, commit_id, remote):
        count += 1
        _print_use(place, use, json=json)
    return 0 if count else _NOBODY


def _uses(history: History, commit_id: ObjectId, remote: str | None) -> Iterator[tuple[str, RecordedUse]]:
    """Yield the recorded uses, each with the remote that tells of it, "" for the own store."""
    worktree = history.worktree
    for use in read_uses(worktree.store.backend, commit_id) if remote in (None, ".") else ():
        yield "", use
    name = remote or (usual_remote(worktree) if worktree.config.remotes() else ".")
    if name != ".":
        with remote_hints(name):
            there = open_remote(worktree, name)
            uses = read_uses(there.open().backend, commit_id)
        for use in uses:
            yield there.name, use


class _Made(NamedTuple):
    """A commit that was made from the version, and what it is called."""

    id: ObjectId
    commit: Commit
    name: str


def _made(history: History, commit_id: ObjectId) -> Iterator[tuple[str, _Made]]:
    """Yield what was made from *commit_id*, and how: that was an `input` of it, or a `parent`."""

    def is_here(one: ObjectId) -> bool:
        return history.objects.kind_of(one) == Kind.COMMIT

    commits = commits_here(history.objects)
    lineage = read_lineage(commits, is_here, history.tips(), (), full=True)
    places = nearest_names(commits, ((one, name) for one, name, _ in version_names(history)))
    for version in lineage.values():
        commit = version.commit
        if commit is None:
            continue
        made = _Made(version.id, commit, str(places.get(version.id, version.id.short)))
        if any(one.commit == commit_id for one in commit.inputs):
            yield "input", made
        if commit_id in commit.parents:
            yield "parent", made


def _print_made(kind: str, made: _Made, *, json: bool) -> None:
    date = console.format_iso_date(made.commit.time, made.commit.offset)
    if json:
        record = {"kind": kind, "commit": made.id.hex(), "name": made.name, "date": date}
        console.out_json(record | {"author": made.commit.author, "subject": made.commit.subject})
        return
    commit = console.paint(made.id.short, "yellow")
    console.out(f"{kind:6} of  {date[:10]}  {commit}  {console.printable(f'{made.name}  {made.commit.subject}')}")


def _print_use(place: str, use: RecordedUse, *, json: bool) -> None:
    date = console.format_iso_date(use.time, 0)
    if json:
        record = {"kind": "use", "remote": place or None, "name": use.name, "date": date, "who": use.who}
        console.out_json(record | {"host": use.host or None, "run": use.run or None, "url": use.url or None})
        return
    who = f"{use.who} on {use.host}" if use.host else use.who
    words = ["used by  ", date[:10], who, use.run, use.url, f"as {use.name}", f"({place})" if place else ""]
    console.out("  ".join(console.printable(word) for word in words if word))
