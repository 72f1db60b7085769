"""dsvc commit: make a version of what is staged."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec

from dsvc.cli import console
from dsvc.cli.commit_text import input_records
from dsvc.cli.errors import Failure, UsageError
from dsvc.cli.options import Jobs, Json, Quiet, argument, option
from dsvc.cli.paths import shown_path
from dsvc.cli.pathspec import PathspecFile, PathspecNull, read_pathspec
from dsvc.cli.progress_bar import progress_bar
from dsvc.cli.session import open_worktree, set_record_run
from dsvc.cli.status_text import Others, Place, long_lines, read_place
from dsvc.cli.workers import workers
from dsvc.history.diff import Change, ChangeKind, count_changes
from dsvc.history.inputs import read_input
from dsvc.history.tree import Tree
from dsvc.log.state import State
from dsvc.model.commit import Commit
from dsvc.model.ids import ObjectId
from dsvc.model.paths import path_key
from dsvc.worktree.commit import (
    Committed,
    NothingToAmendError,
    NothingToCommitError,
    check_author,
    commit,
    read_draft,
)
from dsvc.worktree.head import read_head
from dsvc.worktree.pathspec import Pathspec
from dsvc.worktree.session import refuse_interrupted
from dsvc.worktree.status import Status, collapse_untracked, read_status
from dsvc.worktree.unmerged import refuse_unmerged
from dsvc.worktree.worktree import Worktree

if TYPE_CHECKING:
    from dsvc.worktree.add import What

__all__ = ["command"]

_NOTHING = 1
_INVALID = 2
_NOT_FOUND = 4

_TEMPLATE = """\

# Please enter the commit message for your changes. Lines starting
# with '#' will be ignored, and an empty message aborts the commit.
#
"""


def command(
    paths: Annotated[tuple[bytes, ...], argument("PATH", help="Commit only these files, as they are now.")] = (),
    *,
    message: Annotated[
        tuple[str, ...], option("-m", "--message", help="The message; of several, each is a paragraph.")
    ] = (),
    file: Annotated[
        Path | None, option("-F", "--file", metavar="FILE", help="Take the message from *FILE*; `-` is stdin.")
    ] = None,
    all: Annotated[bool, option("-a", "--all", help="Stage tracked files that changed or are gone.")] = False,
    amend: Annotated[bool, option("--amend", help="Replace the last commit.")] = False,
    edit: Annotated[
        bool | None, option("-e", "--edit", help="Edit the message; `--no-edit` takes it as it is.")
    ] = None,
    allow_empty: Annotated[bool, option("--allow-empty", help="Commit though nothing changed.")] = False,
    allow_empty_message: Annotated[bool, option("--allow-empty-message", help="Commit without a message.")] = False,
    author: Annotated[
        str | None, option("--author", metavar="AUTHOR", help="Who made this, as `Name <address>`.")
    ] = None,
    input: Annotated[
        tuple[str, ...],
        option("--input", metavar="VERSION", help="Say that this was made from *VERSION*, such as `NAME@1.2`."),
    ] = (),
    auto_inputs: Annotated[
        bool, option("--auto-inputs", help="Name what this program has got or used, as by default; or do not.")
    ] = True,
    record_run: Annotated[
        str | None,
        option("--record-run", bare="usual", metavar="WHAT", help="Say what made this: `command,git,host,user`."),
    ] = None,
    stats: Annotated[
        bool | None, option("--stats", help="Keep the figures of dsvc-stats(1) with the commit, for everybody.")
    ] = None,
    only: Annotated[bool, option("-o", "--only", help="Commit only the paths given, as is done anyway.")] = False,
    dry_run: Annotated[bool, option("--dry-run", help="Say what would be committed, and do nothing.")] = False,
    pathspec_from_file: PathspecFile = None,
    pathspec_file_nul: PathspecNull = False,
    jobs: Jobs = None,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Make a version of what is staged.

    The current branch, or a detached HEAD, moves to the new commit. With *PATH*, only these
    files go into it, as they are now; what is staged elsewhere stays so.

    Without `-m` or `-F`, your editor opens: that of `core.editor`, `VISUAL` or `EDITOR`. The author
    is `user.name` and `user.email` of the configuration, else git's.

    A merge that is to be concluded has a message already, which the editor shows and `--no-edit` takes.

    `--amend` makes a commit in place of the last one, with its parents, author and message unless
    others are given. What was pushed already stays as it was on the remote.

    A commit can name the versions that it was made from, its *inputs*: those of `--input`, and by itself those that the
    program has got or used before, with `dsvc get` or `dsvc use`, which makes it, or has staged its files with `dsvc
    add`. The program is the process that ran `dsvc get`, such as a script or a notebook, and all that this runs belongs
    to it, as long as it lives. A shell that somebody types at is none: what is typed at a prompt never makes an input
    of what is typed later there. Where several programs or machines make one version, and where there is no `/proc`,
    give all of them the same `DSVC_RUN`, any text, in the environment. `--no-auto-inputs`, or `commit.auto-inputs` set
    to false, names only those of `--input`.

    An input may be a version here, a branch of a remote as it was last fetched, or *NAME*`@`*ID*, with all 64 digits,
    of a store somewhere else. `--amend` keeps the inputs that there are. `dsvc log --inputs` and `dsvc graph` show
    them.

    With `--record-run`, the commit says what made it: the program that it is part of (`command`), the commit of its
    code, and whether that was modified, if the working folder is in a git repository (`git`), the machine (`host`) and
    the `user`. What the program was called with is recorded only if *WHAT* names `arguments`, and what looks like a
    secret in it is masked; the environment never is. `commit.record-run` sets this for all commits, also those of
    `dsvc sync`, `dsvc snapshot` and `dsvc merge`, and `--record-run=none` is against it.

    Examples:
        $ dsvc commit -m "Add the images of July"
        [main 1a2b3c4d5e6f] Add the images of July
         12 files changed: 12 new, 3.4 MiB
        $ dsvc commit -a --amend --no-edit
        $ dsvc commit -m "Resize to 224 pixels" --input vision/raw@1.2 --record-run

    Exit status:
        1 there is nothing to commit, or the message is empty
        4 an input is not known
        5 another command committed meanwhile

    See also:
        dsvc-add(1), dsvc-status(1), dsvc-reset(1), dsvc-undo(1)
    """
    console.set_quiet(quiet)
    worktree = open_worktree()
    state = worktree.store.state()
    refuse_interrupted(worktree.session(state))
    pathspec = read_pathspec(worktree, paths, pathspec_from_file, null=pathspec_file_nul)
    if author is not None:
        check_author(author)
    if record_run is not None:
        from dsvc.cli.run_record import wanted

        wanted(worktree.config, record_run)
        set_record_run(record_run)
    _check_options(pathspec, all=all, only=only, messages=bool(message), file=file)
    inputs = [read_input(worktree.store, state, text, head=read_head(worktree, state)) for text in input]
    plan = _Plan(all=all, only=pathspec or None, amend=amend, allow_empty=allow_empty)
    if dry_run:
        return _preview(worktree, state, plan)
    if not all:
        refuse_unmerged(worktree.store.objects, worktree.session(state))
    what = _what(worktree, state, plan)
    given = _given_message(worktree, state, plan, message, file, wants_editor=edit)
    if edit or given is None:
        text = _edited(worktree, state, plan, given)
        if text is None:
            return _NOTHING
    else:
        text = given
    if not text and not allow_empty_message:
        told = "aborting the commit: its message is empty"
        raise Failure(told, code=_NOTHING)
    if what is not None:
        from dsvc.worktree.add import add

        with progress_bar() as progress:
            add(worktree, state, what, workers=workers(worktree.config, jobs), progress=progress)
        state = worktree.store.state()
    try:
        made = commit(
            worktree,
            state,
            text,
            amend=amend,
            allow_empty=allow_empty,
            author=author,
            only=plan.only,
            inputs=inputs,
            auto_inputs=auto_inputs,
            stats=worktree.config.flag("commit.stats") if stats is None else stats,
        )
    except NothingToCommitError:
        _tell_nothing(worktree, state)
        return _NOTHING
    _report(worktree, made, json=json)
    return 0


class _Plan(msgspec.Struct, frozen=True):
    """Which changes a commit takes."""

    all: bool
    only: Pathspec | None
    amend: bool
    allow_empty: bool


def _check_options(pathspec: Pathspec, *, all: bool, only: bool, messages: bool, file: Path | None) -> None:
    if pathspec and all:
        text = "`-a` takes all tracked files, so give no paths with it"
        raise UsageError(text)
    if only and not pathspec:
        text = "`--only` needs paths"
        raise UsageError(text)
    if messages and file is not None:
        text = "give the message with `-m` or with `-F`, not with both"
        raise UsageError(text)


def _what(worktree: Worktree, state: State, plan: _Plan) -> "What | None":
    if plan.only is None and not plan.all:
        return None
    # Most commits take what is staged, and need nothing of what reads files: 5 ms.
    from dsvc.worktree.add import PathspecError, What

    if plan.only is None:
        return What(Pathspec(), tracked_only=True)
    staged, head = worktree.staged_tree(state), worktree.head_tree(state)
    words: list[bytes] = []
    for word in plan.only.words:
        if not word or word in plan.only.patterns or next(staged.entries(word), None) is not None:
            words.append(word)
        elif next(head.entries(word), None) is None:
            raise PathspecError(word, "tracked files")
    return What(plan.only.only(words), tracked_only=True) if words else None


def _given_message(
    worktree: Worktree,
    state: State,
    plan: _Plan,
    messages: Sequence[str],
    file: Path | None,
    *,
    wants_editor: bool | None,
) -> str | None:
    """Return the message that needs no editor, None if there is none."""
    if messages:
        return _tidy("\n\n".join(messages))
    if file is not None:
        return _tidy(_read_message(file))
    head = worktree.session(state).commit(state)
    if plan.amend and head is None:
        raise NothingToAmendError
    if wants_editor is False:
        template = worktree.commit_of(head) if plan.amend and head is not None else _draft(worktree, state)
        return None if template is None else template.message
    return None


def _draft(worktree: Worktree, state: State) -> Commit | None:
    """Return what a merge, or the like, has prepared for the commit."""
    return read_draft(worktree, worktree.session(state))


def _read_message(file: Path) -> str:
    try:
        content = sys.stdin.buffer.read() if file == Path("-") else file.read_bytes()
        return content.decode()
    except OSError as error:
        text = f"cannot read {file}: {error.strerror}"
        raise Failure(text, code=_NOT_FOUND if isinstance(error, FileNotFoundError) else 7) from error
    except UnicodeDecodeError as error:
        text = f"the message in {file} is not UTF-8"
        raise Failure(text, code=_INVALID) from error


def _tidy(text: str) -> str:
    """Return *text* without blank space at the ends of lines, and with single blank lines, inside only."""
    lines: list[str] = []
    for line in map(str.rstrip, text.splitlines()):
        if line or (lines and lines[-1]):
            lines.append(line)
    return "\n".join(lines).rstrip("\n")


def _edited(worktree: Worktree, state: State, plan: _Plan, given: str | None) -> str | None:
    """Return the message that the user writes, None if there is nothing to commit."""
    from dsvc.cli.editor import edit

    status = _planned(worktree, state, plan)
    place = read_place(worktree, state)
    if not (status.staged or plan.amend or plan.allow_empty or place.session.merge or place.session.metadata):
        _print_status(worktree, status, place)
        return None
    text = given or ""
    if plan.amend and given is None and place.commit is not None:
        text = worktree.commit_of(place.commit).message
    elif given is None and (draft := _draft(worktree, state)) is not None:
        text = draft.message
    comments = "".join(f"# {line}".rstrip() + "\n" for line in _status_lines(worktree, status, place))
    return edit(text + "\n" + _TEMPLATE + comments, worktree.config, worktree.control / "COMMIT_EDITMSG")


def _planned(worktree: Worktree, state: State, plan: _Plan) -> Status:
    """Return the status as it will be when what the commit takes is staged, and nothing else is."""
    status = read_status(worktree, state, Pathspec())
    if plan.only is None and not plan.all:
        return status
    taken = [change for change in status.unstaged if plan.only is None or plan.only.matches(change.path)]
    staged = {change.path: change for change in status.staged if plan.only is None or plan.only.matches(change.path)}
    for change in taken:
        earlier = staged.pop(change.path, change)
        if (earlier.old, change.new) != (None, None):
            staged[change.path] = Change(earlier.old, change.new)
    status.staged = sorted(staged.values(), key=lambda change: path_key(change.path))
    status.unstaged = [change for change in status.unstaged if change not in taken]
    return status


def _status_lines(worktree: Worktree, status: Status, place: Place) -> list[str]:
    untracked = list(collapse_untracked(worktree.stat_cache, status.untracked))
    return list(long_lines(status, place, lambda path: shown_path(worktree.root, path), Others(untracked)))


def _print_status(worktree: Worktree, status: Status, place: Place) -> None:
    for line in _status_lines(worktree, status, place):
        console.out(line)


def _preview(worktree: Worktree, state: State, plan: _Plan) -> int:
    status = _planned(worktree, state, plan)
    place = read_place(worktree, state)
    _print_status(worktree, status, place)
    goes = status.staged or plan.amend or plan.allow_empty or place.session.merge or place.session.metadata
    return 0 if goes else _NOTHING


def _tell_nothing(worktree: Worktree, state: State) -> None:
    if not console.is_quiet():
        _print_status(worktree, read_status(worktree, state, Pathspec()), read_place(worktree, state))


def _report(worktree: Worktree, made: Committed, *, json: bool) -> None:
    counts, size = _count(worktree, made)
    branch = made.session.branch
    name = "detached HEAD" if branch is None else branch.removeprefix("refs/heads/")
    if json:
        record: dict[str, object] = {"commit": made.id.hex(), "branch": None if branch is None else name}
        record |= {"parents": [parent.hex() for parent in made.commit.parents], "subject": made.commit.subject}
        record |= {kind.name.lower(): counts[kind] for kind in ChangeKind} | {"size": size}
        record["inputs"] = input_records(made.commit)
        console.out_json(record)
        return
    root = "" if made.commit.parents else " (root-commit)"
    console.say(f"[{name}{root} {made.id.short}] {made.commit.subject}")
    words = {
        ChangeKind.ADDED: "new",
        ChangeKind.MODIFIED: "modified",
        ChangeKind.TYPE_CHANGED: "of another type",
        ChangeKind.RENAMED: "renamed",
        ChangeKind.DELETED: "deleted",
    }
    parts = [f"{counts[kind]:,} {word}" for kind, word in words.items() if counts[kind]]
    if parts:
        content = [console.format_size(size)] if counts.total() > counts[ChangeKind.DELETED] else []
        console.say(f" {console.plural(counts.total(), 'file')} changed: {', '.join(parts + content)}")
    for one in made.commit.inputs:
        console.say(f" made from {one.name} ({ObjectId(one.commit).short})")


def _count(worktree: Worktree, made: Committed) -> tuple[Counter[ChangeKind], int]:
    """Return how many paths changed in which way, and the size of what is new in them."""
    parents = made.commit.parents
    if not parents:
        return Counter({ChangeKind.ADDED: made.commit.files}), made.commit.size
    return count_changes(Tree(worktree.store.objects, ObjectId(worktree.commit_of(parents[0]).tree)), made.tree)
