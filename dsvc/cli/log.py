"""dsvc log: the commits, newest first."""

import re
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from typing import Annotated, Final

from dsvc.cli import console
from dsvc.cli.changes import ChangePrinter, NameOnly, NameStatus, NoRenames, Patch, Shape, Stat, with_renames
from dsvc.cli.commit_text import CommitPrinter, Decorate, Format, Oneline, decorations
from dsvc.cli.errors import UsageError
from dsvc.cli.history import History, open_history
from dsvc.cli.options import Json, NullTerminated, argument, option
from dsvc.cli.session import now
from dsvc.history.catalog import read_catalog
from dsvc.history.commits import commits_here
from dsvc.history.dates import parse_date
from dsvc.history.diff import Change
from dsvc.history.graph import Graph
from dsvc.history.path_history import differ_below, follow_paths
from dsvc.history.revisions import Range, resolve_range
from dsvc.history.walk import Follow, Step, Visit, walk
from dsvc.log.sessions import read_sessions
from dsvc.model.commit import Commit
from dsvc.model.ids import ObjectId
from dsvc.worktree.diff import diff_versions
from dsvc.worktree.pathspec import Pathspec

__all__ = ["command"]

_DECORATE: Final = ("short", "full", "auto", "no")


def command(
    words: Annotated[
        tuple[str, ...], argument("REVISION", help="Show what this reaches; `A..B` is what B has and A has not.")
    ] = (),
    paths: Annotated[
        tuple[bytes, ...] | None, argument("PATH", help="Show only commits that changed these.", after_dashes=True)
    ] = None,
    *,
    oneline: Oneline = False,
    graph: Annotated[bool, option("--graph", help="Draw how the commits hang together.")] = False,
    max_count: Annotated[
        int | None, option("-n", "--max-count", metavar="N", digits=True, help="Show *N* at most.")
    ] = None,
    skip: Annotated[int, option("--skip", metavar="N", help="Leave out the first *N*.")] = 0,
    all: Annotated[bool, option("--all", help="Start from HEAD and from every branch and tag.")] = False,
    stat: Stat = False,
    name_status: NameStatus = False,
    name_only: NameOnly = False,
    patch: Patch = False,
    no_renames: NoRenames = False,
    since: Annotated[str | None, option("--since", "--after", metavar="DATE", help="Leave out what is older.")] = None,
    until: Annotated[str | None, option("--until", "--before", metavar="DATE", help="Leave out what is newer.")] = None,
    author: Annotated[
        tuple[str, ...], option("--author", metavar="PATTERN", help="Show only commits whose author matches.")
    ] = (),
    grep: Annotated[
        tuple[str, ...], option("--grep", metavar="PATTERN", help="Show only commits whose message matches.")
    ] = (),
    ignore_case: Annotated[bool, option("-i", "--regexp-ignore-case", help="Match patterns in any case.")] = False,
    merges: Annotated[bool, option("--merges", help="Show only commits with several parents.")] = False,
    no_merges: Annotated[bool, option("--no-merges", help="Leave out commits with several parents.")] = False,
    reverse: Annotated[bool, option("--reverse", help="Show the oldest of them first.")] = False,
    first_parent: Annotated[bool, option("--first-parent", help="Follow only the first parent of a merge.")] = False,
    topo_order: Annotated[
        bool, option("--topo-order", help="Never show a parent before its children, nor mix lines of development.")
    ] = False,
    format: Format = None,
    decorate: Decorate = "auto",
    no_decorate: Annotated[bool, option("--no-decorate", help="Do not show the refs of each commit.")] = False,
    state: Annotated[
        str | None,
        option("--state", bare=".", metavar="REMOTE", help="Show how final each commit is; of uploads, ask *REMOTE*."),
    ] = None,
    inputs: Annotated[bool, option("--inputs", help="Show what each commit was made from.")] = False,
    null: NullTerminated = False,
    json: Json = False,
) -> int:
    """Show the commits.

    They come newest first, from HEAD or from *REVISION*. With paths, only the commits are shown
    that changed something there: where a merge took one side's files as they were, only that
    side is followed. dsvc-revisions(7) says how revisions and ranges are written.

    Dates are ISO 8601, such as `2026-08-01`, or words, such as `yesterday` and `2 weeks ago`. `--until`
    a day includes that day. Patterns are regular expressions; of several, one must match.

    A text for `--format` may hold `%H` `%h` (id), `%T` `%t` (tree), `%P` `%p` (parents), `%an` `%ae` (author), `%ad`
    `%ar` `%aI` `%as` `%at` (date), `%s` (subject), `%b` (body), `%B` (message), `%d` `%D` (refs) and `%n`. With
    `--json`, each commit is an object of kind `commit`; with `--stat` or its like, an object of kind
    `change` follows it for each file.

    With `--state`, each commit is *published* where a tag that can never move names it, and else *final*. With
    `--state=`*REMOTE* those that are being pushed there are *uploading*, and *failed*, *aborted* or *expired* where
    that ended in the middle; `dsvc list` *REMOTE* tells more of them.

    With `--stat`, `-p` and their like, a merge shows no changes, as in git, unless with
    `--first-parent`.

    Examples:
        $ dsvc log --oneline --graph --all
        $ dsvc log -3 --stat -- images
        $ dsvc log v1.0..main
        $ dsvc log --since "2 weeks ago" --author ada

    Exit status:
        4 there is no such revision, or no commit yet

    See also:
        dsvc-show(1), dsvc-diff(1), dsvc-reflog(1), dsvc-revisions(7)
    """
    shape = Shape.chosen(names=name_only, status=name_status, stat=stat, patch=patch, json=json, null=null)
    if graph and (reverse or json):
        message = f"`--graph` and `--{'reverse' if reverse else 'json'}` do not go together"
        raise UsageError(message)
    if decorate not in _DECORATE:
        message = f"`--decorate` takes one of {', '.join(_DECORATE)}"
        raise UsageError(message)
    history = open_history()
    revisions, pathspec = history.split(words, paths)
    matches = _matcher(
        history,
        since=since,
        until=until,
        author=_pattern(author, ignore_case=ignore_case),
        message=_pattern(grep, ignore_case=ignore_case),
        parents=(2 if merges else 0, 1 if no_merges else None),
    )
    asked = _range(history, revisions, all=all)
    # What is left out may be an ancestor by way of versions that are not here.
    commits = history.commits if asked.exclude else commits_here(history.objects)
    visits = walk(
        commits,
        *asked,
        first_parent=first_parent,
        topological=graph or topo_order,
        follow=_follow(history, pathspec, matches, first_parent=first_parent),
    )
    stop = None if max_count is None or max_count < 0 else skip + max_count
    chosen: Iterable[Visit] = islice(visits, skip, stop)
    with console.pager(history.worktree.config):
        refs = _refs(history, "no" if no_decorate else decorate, json=json, format=format)
        printer = CommitPrinter(
            "oneline" if oneline else format,
            refs,
            now=history.worktree.store.context.now()[0],
            states=None if state is None else _states(history, state),
            inputs=inputs,
        )
        output = _Output(history, printer, shape, pathspec, renames=not no_renames, first_parent=first_parent)
        if graph:
            output.draw(chosen)
        else:
            output.print(reversed(list(chosen)) if reverse else chosen)
    if commits.cut:
        console.hint("older versions are not here; to have them here too, run `dsvc fetch --unshallow`")
    return 0


def _range(history: History, revisions: Sequence[str], *, all: bool) -> Range:
    store = history.worktree.store
    words = list(revisions) or ([] if all else ["HEAD"])
    # Only what to leave out was said: of HEAD, then.
    found = resolve_range(store, history.state, words, head=history.head)
    if not found.include and not all:
        found = resolve_range(store, history.state, [*words, "HEAD"], head=history.head)
    return Range((*found.include, *history.tips()), found.exclude) if all else found


def _pattern(texts: Sequence[str], *, ignore_case: bool) -> "re.Pattern[str] | None":
    if not texts:
        return None
    try:
        joined = "|".join(f"(?:{text})" for text in texts)
        return re.compile(joined, (re.IGNORECASE if ignore_case else 0) | re.MULTILINE)
    except re.error as error:
        message = f"not a regular expression: `{texts[0]}`: {error}"
        raise UsageError(message) from error


class _Matcher:
    """What a commit must be to be shown. *parents* are the least and the most that it may have."""

    def __init__(
        self,
        times: tuple[int | None, int | None],
        author: "re.Pattern[str] | None",
        message: "re.Pattern[str] | None",
        parents: tuple[int, int | None],
    ) -> None:
        self._since, self._until = times
        self._author = author
        self._message = message
        self._least, self._most = parents

    def __bool__(self) -> bool:
        limits = (self._since, self._until, self._author, self._message, self._most)
        return self._least > 0 or any(limit is not None for limit in limits)

    def __call__(self, commit: Commit) -> bool:
        return (
            (self._since is None or commit.time >= self._since)
            and (self._until is None or commit.time <= self._until)
            and (self._author is None or self._author.search(commit.author) is not None)
            and (self._message is None or self._message.search(commit.message) is not None)
            and self._least <= len(commit.parents)
            and (self._most is None or len(commit.parents) <= self._most)
        )


def _matcher(
    history: History,
    *,
    since: str | None,
    until: str | None,
    author: "re.Pattern[str] | None",
    message: "re.Pattern[str] | None",
    parents: tuple[int, int | None],
) -> _Matcher:
    now = history.worktree.store.context.now()
    times = (
        None if since is None else parse_date(since, now),
        None if until is None else parse_date(until, now, end=True),
    )
    return _Matcher(times, author, message, parents)


def _follow(history: History, pathspec: Pathspec, matches: _Matcher, *, first_parent: bool) -> Follow | None:
    """Return how to walk, None for everything."""
    commits = history.commits
    count = 1 if first_parent else None
    inner: Follow | None = None
    if pathspec:
        differ = differ_below(pathspec.folders, pathspec.matches if pathspec.patterns else None)
        inner = follow_paths(commits, differ, first_parent=first_parent)
    if not matches:
        return inner

    def follow(commit_id: ObjectId, hidden: frozenset[ObjectId]) -> Step:
        step = inner(commit_id, hidden) if inner else Step(shown=True, parents=commits.parents(commit_id)[:count])
        return Step(step.shown and matches(commits.get(commit_id)), step.parents)

    return follow


def _states(history: History, remote: str) -> dict[ObjectId, str]:
    """Return how final the commits are that are not simply final."""
    found: dict[ObjectId, str] = {}
    if remote != ".":
        # What speaks to remotes takes a fifth of the start, and hardly anybody asks one here.
        from dsvc.cli.exchange import open_remote, remote_hints

        with remote_hints(remote):
            there = open_remote(history.worktree, remote).open()
            sessions = read_sessions(there.backend, there.state(), there.objects, now=now()[0])
            for session in reversed(sessions):
                for value in filter(None, session.upload.targets.values()):
                    found[ObjectId.from_hex(value)] = session.upload.state.value
    for entry in read_catalog(history.worktree.store, history.state, history.state.published.__contains__):
        found[entry.commit_id] = entry.state
    return found


def _refs(history: History, decorate: str, *, json: bool, format: str | None) -> dict[ObjectId, list[str]]:
    asked = json or (format is not None and ("%d" in format or "%D" in format))
    if decorate == "no" or (decorate == "auto" and not asked and not console.is_terminal()):
        return {}
    return decorations(history, full=decorate == "full")


class _Output:
    """Prints one commit after another, each with its changes."""

    def __init__(
        self,
        history: History,
        printer: CommitPrinter,
        shape: Shape,
        pathspec: Pathspec,
        *,
        renames: bool,
        first_parent: bool,
    ) -> None:
        self._commits = history.commits
        self._printer = printer
        self._shape = shape
        self._pathspec = pathspec
        self._renames = renames
        self._first_parent = first_parent
        self._changes = ChangePrinter(shape, history.objects)

    def print(self, visits: Iterable[Visit]) -> None:
        """Print each of *visits*."""
        if self._shape.json:
            for visit in visits:
                console.out_json(self._printer.record(visit.id, visit.commit))
                self._changes.print(self._changes_of(visit))
            return
        apart = False
        for visit in visits:
            if apart:
                console.out()
            apart = self._printer.is_block
            for line in self._printer.lines(visit.id, visit.commit):
                console.out(line)
            self._print_changes(visit)

    def _print_changes(self, visit: Visit) -> None:
        changes = iter(self._changes_of(visit))
        first = next(changes, None)
        if first is not None:
            if self._printer.is_block:
                console.out()
            self._changes.print(chain([first], changes))

    def draw(self, visits: Iterable[Visit]) -> None:
        """Print each of *visits* with the columns of a graph."""
        graph = Graph()
        waiting: Visit | None = None
        for visit in visits:
            if waiting is not None:
                self._draw(graph, waiting, last=False)
            waiting = visit
        if waiting is not None:
            self._draw(graph, waiting, last=True)

    def _draw(self, graph: Graph, visit: Visit, *, last: bool) -> None:
        lines = self._printer.lines(visit.id, visit.commit)
        changed = list(self._changes.lines(self._changes_of(visit)))
        if changed and self._printer.is_block:
            lines.append("")
        lines += changed
        if self._printer.is_block and not last:
            lines.append("")
        for line in graph.draw(visit.id, visit.parents, lines):
            console.out(line.rstrip())

    def _changes_of(self, visit: Visit) -> Iterable[Change]:
        parents = visit.commit.parents
        if not self._shape or (len(parents) > 1 and not self._first_parent):
            return ()
        old = self._commits.tree(parents[0] if parents else None)
        changes = diff_versions(old, self._commits.tree(visit.id), self._pathspec)
        # In a first version nothing was renamed, and there may be a million files.
        return with_renames(changes, renames=self._renames and bool(parents))
