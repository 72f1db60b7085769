"""What `dsvc status` says, as text: for people, for scripts, and as a comment for who writes a commit message."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from dsvc.cli import console
from dsvc.errors import NotFoundError
from dsvc.history.diff import Change, ChangeKind, detect_renames
from dsvc.history.merge import ConflictKind
from dsvc.log.state import State
from dsvc.model.ids import ObjectId
from dsvc.model.paths import path_key
from dsvc.worktree.session import BRANCHES, Session
from dsvc.worktree.status import Status
from dsvc.worktree.worktree import Worktree

__all__ = ["Line", "Others", "Place", "Upstream", "joined", "long_lines", "place_line", "read_place"]

Show = Callable[[bytes], str]

_WORDS: Final = {
    ChangeKind.ADDED: "new file:",
    ChangeKind.DELETED: "deleted:",
    ChangeKind.MODIFIED: "modified:",
    ChangeKind.RENAMED: "renamed:",
    ChangeKind.TYPE_CHANGED: "typechange:",
}


_OTHERS: Final = ("Untracked files:", "Outside of this sparse worktree:", "Ignored files:")
_HINTS: Final = (
    'use "dsvc add <file>..." to include in what will be committed',
    'use "dsvc sparse add <path>..." to have a file or folder in it',
    'use "dsvc add -f <file>..." to include in what will be committed',
)
_UNMERGED: Final = {
    ConflictKind.ADDED_BY_US: "added by us:",
    ConflictKind.DELETED_BY_THEM: "deleted by them:",
    ConflictKind.ADDED_BY_THEM: "added by them:",
    ConflictKind.DELETED_BY_US: "deleted by us:",
    ConflictKind.BOTH_ADDED: "both added:",
    ConflictKind.BOTH_MODIFIED: "both modified:",
}


class Upstream(NamedTuple):
    """The branch of the remote that goes by the same name, and how far both are apart, if that is known."""

    name: str
    ahead: int | None
    behind: int | None


class Place(NamedTuple):
    """Where HEAD is. *branch* is None when detached, *commit* before the first. *is_sparse* tells of files left out."""

    branch: str | None
    commit: ObjectId | None
    upstream: Upstream | None
    session: Session
    is_sparse: bool = False


class Others(NamedTuple):
    """Paths that are in no version: *untracked*, *outside* of a sparse worktree, and *ignored* ones."""

    untracked: Sequence[bytes] = ()
    outside: Sequence[bytes] = ()
    ignored: Sequence[bytes] = ()


class Line(NamedTuple):
    """One path in the format for scripts: the letters of what is staged and what is not, and its earlier name."""

    path: bytes
    staged: str = " "
    unstaged: str = " "
    old_path: bytes | None = None
    size: int | None = None

    @property
    def letters(self) -> str:
        """Both letters, as git prints them."""
        return self.staged + self.unstaged


def read_place(worktree: Worktree, state: State) -> Place:
    """Return where HEAD is in *state*."""
    session = worktree.session(state)
    commit_id = session.commit(state)
    branch = None if session.branch is None else session.branch.removeprefix(BRANCHES)
    upstream = None
    if branch is not None and commit_id is not None:
        name = "/".join(worktree.config.upstream(branch))
        ref = state.refs.get(f"refs/remotes/{name}")
        if ref is not None:
            upstream = Upstream(name, *_distance(worktree, commit_id, ObjectId.from_hex(ref.value)))
    return Place(branch, commit_id, upstream, session, bool(worktree.sparse))


def _distance(worktree: Worktree, ours: ObjectId, theirs: ObjectId) -> tuple[int | None, int | None]:
    if ours == theirs:
        return 0, 0
    # Only where they differ is there something to walk.
    from dsvc.history.commits import commits_here
    from dsvc.history.walk import ahead_behind

    try:
        return ahead_behind(commits_here(worktree.store.objects), ours, theirs)
    except NotFoundError:
        return None, None


def joined(status: Status) -> list[Line]:
    """Return one line for each path that is staged or edited, in the order of the keys."""
    lines: dict[bytes, Line] = {}
    for change in detect_renames(status.staged):
        old = change.old.path if change.old is not None and change.kind is ChangeKind.RENAMED else None
        lines[change.path] = Line(change.path, change.kind.value, " ", old, _size(change))
    for conflict in status.unmerged:
        staged, unstaged = conflict.kind.value
        lines[conflict.path] = Line(conflict.path, staged, unstaged)
    for change in status.unstaged:
        known = lines.get(change.path, Line(change.path))
        lines[change.path] = Line(change.path, known.staged, change.kind.value, known.old_path, _size(change))
    return sorted(lines.values(), key=lambda line: path_key(line.path))


def _size(change: Change) -> int | None:
    return None if change.new is None else change.new.size


def place_line(place: Place) -> str:
    """Return where HEAD is as `dsvc status -sb` says it."""
    if place.branch is None:
        return "## HEAD (no branch)"
    if place.commit is None:
        return f"## No commits yet on {place.branch}"
    if place.upstream is None:
        return f"## {place.branch}"
    counts = (("ahead", place.upstream.ahead), ("behind", place.upstream.behind))
    apart = ", ".join(f"{word} {count}" for word, count in counts if count)
    return f"## {place.branch}...{place.upstream.name}{f' [{apart}]' if apart else ''}"


def long_lines(status: Status, place: Place, show: Show, others: Others) -> Iterator[str]:
    """Yield what people read, line by line; paths are printed by *show*."""
    yield from _head_lines(place, conflicts=len(status.unmerged))
    if status.staged:
        yield "Changes to be committed:"
        yield f'  (use "dsvc {"rm --cached" if place.commit is None else "restore --staged"} <file>..." to unstage)'
        yield from _change_lines(detect_renames(status.staged), show, "green")
        yield ""
    if place.session.metadata:
        yield "Metadata to be committed:"
        yield '  (use "dsvc meta list" to see it)'
        yield ""
    if place.session.inputs:
        yield "Made from:"
        yield from (f"\t{name} ({commit[:12]})" for name, commit in place.session.inputs)
        yield ""
    if status.unmerged:
        yield "Unmerged paths:"
        yield '  (use "dsvc restore --ours/--theirs <file>..." to take a side)'
        yield '  (use "dsvc add/rm <file>..." as appropriate to mark resolution)'
        for conflict in status.unmerged:
            yield f"\t{console.paint(f'{_UNMERGED[conflict.kind]:<17}{show(conflict.path)}', 'red')}"
        yield ""
    if status.unstaged:
        verb = "add/rm" if any(change.new is None for change in status.unstaged) else "add"
        yield "Changes not staged for commit:"
        yield f'  (use "dsvc {verb} <file>..." to update what will be committed)'
        yield '  (use "dsvc restore <file>..." to discard changes in the working folder)'
        yield from _change_lines(status.unstaged, show, "red")
        yield ""
    for paths, heading, hint in zip(others, _OTHERS, _HINTS, strict=True):
        if paths:
            yield heading
            yield f"  ({hint})"
            yield from (f"\t{console.paint(show(path), 'red')}" for path in paths)
            yield ""
    if not (status.staged or place.session.metadata) and (last := _last_line(status, place)):
        yield last


def _head_lines(place: Place, *, conflicts: int) -> Iterator[str]:
    if place.branch is not None:
        yield f"On branch {place.branch}"
    elif place.commit is not None:
        yield f"HEAD detached at {place.commit.short}"
    if place.upstream is not None:
        yield from _upstream_lines(place.upstream)
        yield ""
    if place.is_sparse:
        yield "This worktree is sparse: it has only some of the files."
        yield '  (use "dsvc sparse" to see which)'
        yield ""
    if place.session.switching is not None:
        name = place.session.switching.to_head.removeprefix(BRANCHES)
        yield f"A switch to {name} was interrupted; the files are partly the old ones."
        yield '  (use "dsvc switch --continue" to finish it)'
        yield '  (use "dsvc switch --abort" to go back)'
        yield ""
    if place.session.verb is not None:
        yield from _unfinished_lines(place.session, place.session.verb, conflicts=conflicts)
        yield ""
    if place.commit is None:
        yield ""
        yield "No commits yet"
        yield ""


def _unfinished_lines(session: Session, verb: str, *, conflicts: int) -> Iterator[str]:
    series = None if session.unfinished is None else session.unfinished.series
    whose = f" of {series.branch.removeprefix(BRANCHES)}" if series is not None and series.branch else ""
    if conflicts:
        yield f"You have unmerged paths; the {verb}{whose} stopped there."
        yield f'  (fix conflicts and run "dsvc {verb} --continue")'
    elif session.merge:
        yield "All conflicts fixed but you are still merging."
        yield '  (use "dsvc commit" to conclude the merge)'
    else:
        yield f"You are currently in the middle of a {verb}{whose}."
        yield f'  (use "dsvc {verb} --continue" to go on)'
    yield f'  (use "dsvc {verb} --abort" to go back to before it)'


def _upstream_lines(upstream: Upstream) -> Iterator[str]:
    name, ahead, behind = upstream.name, upstream.ahead, upstream.behind
    if ahead is None or behind is None:
        yield f"Your branch and '{name}' differ."
    elif ahead and behind:
        yield f"Your branch and '{name}' have diverged,"
        yield f"and have {ahead:,} and {behind:,} different commits each, respectively."
    elif ahead:
        yield f"Your branch is ahead of '{name}' by {console.plural(ahead, 'commit')}."
        yield '  (use "dsvc push" to publish your local commits)'
    elif behind:
        yield f"Your branch is behind '{name}' by {console.plural(behind, 'commit')}, and can be fast-forwarded."
        yield '  (use "dsvc pull" to update your local branch)'
    else:
        yield f"Your branch is up to date with '{name}'."


def _change_lines(changes: Iterable[Change], show: Show, colour: str) -> Iterator[str]:
    for change in changes:
        path = show(change.path)
        if change.old is not None and change.kind is ChangeKind.RENAMED:
            path = f"{show(change.old.path)} -> {path}"
        text = console.paint(f"{_WORDS[change.kind]:<12}{path}", colour)
        yield f"\t{text}{_sizes(change)}"


def _sizes(change: Change) -> str:
    if change.kind is ChangeKind.ADDED and change.new is not None:
        return console.paint(f" ({console.format_size(change.new.size)})", "dim")
    if change.kind is ChangeKind.MODIFIED and change.old is not None and change.new is not None:
        old, new = console.format_size(change.old.size), console.format_size(change.new.size)
        return console.paint(f" ({old} -> {new})", "dim") if old != new else ""
    return ""


def _last_line(status: Status, place: Place) -> str:
    if status.unstaged or status.unmerged:
        return 'no changes added to commit (use "dsvc add" and/or "dsvc commit -a")'
    if status.untracked:
        return 'nothing added to commit but untracked files present (use "dsvc add" to track)'
    if place.commit is None:
        return 'nothing to commit (create/copy files and use "dsvc add" to track)'
    return "nothing to commit, working tree clean"
