"""dsvc squash: make one version of several."""

from typing import Annotated, Final

from dsvc.cli import console
from dsvc.cli.errors import Failure, UsageError
from dsvc.cli.history import History, open_history
from dsvc.cli.options import Json, Quiet, argument, option
from dsvc.history.revisions import split_range
from dsvc.log.refs import short_name
from dsvc.worktree.squash import NothingToSquashError, SharedVersionsError, Span, Squashed, find_span, squash

__all__ = ["command"]

_NOTHING: Final = 1
_REFUSED: Final = 10
_LISTED: Final = 50


def command(
    versions: Annotated[str, argument("RANGE", help="`A..B`: the versions behind *A*, up to *B*.")] = "",
    *,
    message: Annotated[
        str | None, option("-m", "--message", metavar="TEXT", help="The message, in place of a list of the versions.")
    ] = None,
    branch: Annotated[
        str | None, option("-b", "--branch", metavar="NAME", help="Make this branch, and move none.")
    ] = None,
    root: Annotated[
        bool, option("--root", help="Take all versions up to *B*, so that the new one has none before it.")
    ] = False,
    force: Annotated[
        bool, option("-f", "--force", help="Move the branch though the versions were pushed or are published.")
    ] = False,
    quiet: Quiet = False,
    json: Json = False,
) -> int:
    """Make one version of several.

    The new version has the very tree of *B*, and *A* before it. No data is read or moved, and it takes some hundred
    bytes. What was removed on the way stays removed. It has the metadata of *B*, and the inputs of all.

    With `--branch`, a new branch is made at it, and nothing else changes. Without, *B* must be the current version,
    as in `A..`, and the current branch moves; files and what is staged stay as they are. `dsvc undo` takes it back.

    The old versions stay where something else leads to them. Where that is a published tag, or a branch of a remote,
    the current branch does not move without `--force`: it could not be pushed as it is then.

    Examples:
        $ dsvc squash v1.0.. -m "All of July"
        [main 1a2b3c4d5e] All of July
         squashed 12 versions
        $ dsvc squash v1.0..v2.0 --branch condensed
        $ dsvc squash --root --branch fresh

    Exit status:
        1 there is only one version
        4 there is no such version
        5 the branch exists, or somebody moved the current one meanwhile
        10 the versions were pushed or are published

    See also:
        dsvc-merge(1), dsvc-reset(1), dsvc-undo(1), dsvc-revisions(7)
    """
    console.set_quiet(quiet)
    history = open_history()
    try:
        span = _span(history, versions, root=root)
    except NothingToSquashError as error:
        console.say(str(error))
        return _NOTHING
    if branch is None and span.tip != history.head.commit:
        text = f"{span.tip.short} is not the current version, so no branch can move from there"
        raise UsageError(text, hint="give the new version a branch with `--branch NAME`")
    try:
        made = squash(
            history.worktree,
            span,
            _listed(span) if message is None else message,
            branch=branch,
            force=force,
        )
    except SharedVersionsError as error:
        advice = "to leave the branch as it is, use `--branch NAME`; to move it all the same, `--force`"
        raise Failure(str(error), code=_REFUSED, hint=advice) from error
    _report(span, made, json=json)
    return 0


def _span(history: History, text: str, *, root: bool) -> Span:
    sides = split_range(text)
    if root:
        if sides:
            message = "with `--root`, name the last version only"
            raise UsageError(message)
        return find_span(history.commits, None, history.commit(text or "HEAD"))
    if sides is None or sides[1] != "..":
        message = f"`{text}` is not a range of versions" if text else "say which versions to squash"
        raise UsageError(message, hint="write `A..B`, or `A..` for all behind A; `--root` takes all there are")
    return find_span(history.commits, history.commit(sides[0]), history.commit(sides[2]))


def _listed(span: Span) -> str:
    lines = [f"* {commit.subject}" for _, commit in span.versions[:_LISTED]]
    if len(span.versions) > _LISTED:
        lines.append(f"* and {len(span.versions) - _LISTED:,} more")
    return "\n".join([f"Squash {len(span.versions):,} versions", "", *lines])


def _report(span: Span, made: Squashed, *, json: bool) -> None:
    branch = None if made.branch is None else short_name(made.branch)
    if json:
        record: dict[str, object] = {"kind": "squash", "commit": made.id.hex(), "branch": branch}
        record |= {"tree": made.commit.tree.hex(), "parents": [parent.hex() for parent in made.commit.parents]}
        console.out_json(record | {"squashed": len(span.versions), "kept": made.kept})
        return
    console.say(f"[{branch or 'detached HEAD'} {made.id.short}] {made.commit.subject}")
    kept = f", which stay at {', '.join(map(short_name, made.kept))}" if made.kept else ""
    console.say(f" squashed {console.plural(len(span.versions), 'version')}{kept}")
