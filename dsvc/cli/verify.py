"""dsvc verify: whether a folder holds what a version says."""

import os
from collections import Counter
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import msgspec

from dsvc.cli import console
from dsvc.cli.elsewhere import is_elsewhere, tree_elsewhere
from dsvc.cli.errors import Failure, UsageError
from dsvc.cli.history import History, open_history
from dsvc.cli.options import Jobs, Json, Quiet, argument, option
from dsvc.cli.progress_bar import progress_bar
from dsvc.cli.session import load_config
from dsvc.cli.workers import workers
from dsvc.config import Config
from dsvc.history.revisions import UnknownRevisionError
from dsvc.history.tree import Tree
from dsvc.model.paths import quote_path, validate_path
from dsvc.worktree.pathspec import Pathspec
from dsvc.worktree.verify import Check, Finding, Problem, Scope, verify
from dsvc.worktree.worktree import Worktree

__all__ = ["command"]

_DIFFERENT: Final = 1
_NOT_FOUND: Final = 4
_DAMAGED: Final = 8


def command(
    words: Annotated[
        tuple[str, ...], argument("REVISION", help="The version, by default the last; and the folder.")
    ] = (),
    paths: Annotated[
        tuple[bytes, ...] | None,
        argument("PATH", help="Look at these only, by their paths in the folder.", after_dashes=True),
    ] = None,
    *,
    prefix: Annotated[
        bytes, option("--prefix", metavar="PATH", help="The folder is to hold what is below *PATH* in the version.")
    ] = b"",
    quick: Annotated[bool, option("--quick", help="Compare types, modes and sizes, and read no file.")] = False,
    extra: Annotated[
        bool, option("--extra", help="Tell of files that the version has not; `--no-extra` does not.")
    ] = True,
    jobs: Jobs = None,
    quiet: Quiet = False,
    json: Json = False,
) -> int:
    """Check that a folder holds what a version says.

    `dsvc verify [REVISION] [DIR]` reads every file of *DIR*, by default of the worktree, and tells what is missing,
    what has other bytes or is of another type or mode than in *REVISION*, by default the last commit, and what is
    there and not in it. Only what a `.dsvcignore` in *DIR* ignores is not told as extra. What was remembered of files
    is not believed, as `dsvc status` does. With several processors, several files are read at once.

    *REVISION* may be a version of another store, as `URL#NAME` or `REMOTE#NAME`. No repository is needed then.

    A link (see dsvc-link(1)) has no file in the worktree, and is to have one in any other folder; and what a sparse
    worktree leaves out is not missing. Of a link whose content
    nobody has read yet, only the size is known; it is told as unverified.

    Examples:
        $ dsvc verify
        $ dsvc verify v1.0 /srv/training/images && train
        $ dsvc verify --quick v1.0 /srv/training/images
        $ dsvc verify HEAD /mnt/lake/images --prefix images --no-extra
        $ dsvc verify 's3://bucket/sets#vision/raw@1.0' /srv/training/images

    Exit status:
        0 the folder holds the version, and nothing else
        1 all is there, but modes differ, or something is extra or unverified
        4 there is no such version or folder
        8 something is missing, cannot be read, or has other bytes

    See also:
        dsvc-fsck(1), dsvc-status(1), dsvc-export(1), dsvc-sync(1)
    """
    console.set_quiet(quiet)
    where = _where(words)
    revision, folder, tree = where.revision, where.folder, where.tree
    place = prefix.strip(b"/")
    if place:
        validate_path(place)
        if next(tree.entries(place), None) is None:
            message = f"{quote_path(place)} is not in `{revision}`"
            raise Failure(message, code=_NOT_FOUND)
    pathspec = Pathspec(path.strip(b"/") for path in paths or ())
    scope = Scope(place, pathspec, quick=quick, extra=extra)
    if where.worktree is not None:
        # Links have no files there, and it may be sparse.
        scope = msgspec.structs.replace(scope, linked=False, sparse=where.worktree.sparse)
    check, problems = Check(), Counter[Problem]()
    with progress_bar() as progress:
        hands = workers(where.config, jobs)
        for finding in verify(os.fsencode(folder), tree, scope, check, workers=hands, progress=progress):
            problems[finding.problem] += 1
            _print(finding, json=json)
    _summarise(revision, scope, check, problems, json=json)
    if any(problem.is_damage for problem in problems):
        return _DAMAGED
    return _DIFFERENT if problems else 0


class _Where(NamedTuple):
    """What is verified: whether *folder* holds *tree*; if that is the *worktree*, what it is to have of it."""

    revision: str
    folder: Path
    tree: Tree
    config: Config
    worktree: Worktree | None = None


def _where(words: tuple[str, ...]) -> _Where:
    """Return the version and the folder that *words* name."""
    if len(words) > 2:
        message = "name a version and a folder, and paths behind `--`"
        raise UsageError(message)
    if words and is_elsewhere(words[0]):
        if len(words) < 2:
            message = "name the folder that is to hold the version"
            raise UsageError(message)
        folder = _folder(words[1])
        return _Where(words[0], folder, tree_elsewhere(words[0]), load_config())
    history = open_history()
    revision, named = _split(history, words)
    worktree = history.worktree
    if named is None:
        worktree.need_files()
    folder = worktree.root if named is None else _folder(named)
    own = worktree if folder.samefile(worktree.root) else None
    return _Where(revision, folder, history.tree(revision), worktree.config, own)


def _folder(text: str) -> Path:
    folder = Path(text)
    if not text or not folder.is_dir():
        message = f"there is no folder {quote_path(os.fsencode(text))}"
        raise Failure(message, code=_NOT_FOUND)
    return folder


def _split(history: History, words: tuple[str, ...]) -> tuple[str, str | None]:
    """Return the version and the folder that *words* name, None for that of the worktree."""
    if len(words) != 1:
        return words if len(words) == 2 else ("HEAD", None)
    is_version, is_folder = _is_version(history, words[0]), Path(words[0]).is_dir()
    if is_version and is_folder:
        message = f"`{words[0]}` is both a version and a folder"
        raise UsageError(message, hint=f"write `dsvc verify {words[0]} .` or `dsvc verify HEAD {words[0]}`")
    return ("HEAD", words[0]) if is_folder else (words[0], None)


def _is_version(history: History, text: str) -> bool:
    try:
        history.tree(text)
    except UnknownRevisionError:
        return False
    return True


def _print(finding: Finding, *, json: bool) -> None:
    if json:
        entry = finding.entry
        record: dict[str, object] = {"kind": "finding", **console.json_path(finding.path)}
        record |= {"problem": finding.problem.name.lower(), "reason": finding.reason or None}
        record |= {"size": None if entry is None else entry.size}
        console.out_json(record | {"digest": entry.digest.hex() or None if entry is not None else None})
        return
    colour = "red" if finding.problem.is_damage else "yellow"
    reason = f" ({finding.reason})" if finding.reason else ""
    console.out(f"{console.paint(finding.problem.value + ':', colour)} {quote_path(finding.path)}{reason}")


def _summarise(revision: str, scope: Scope, check: Check, problems: Counter[Problem], *, json: bool) -> None:
    if json:
        record: dict[str, object] = {"kind": "summary", "files": check.files, "read_bytes": check.size}
        console.out_json(record | {problem.name.lower(): problems[problem] for problem in Problem})
        return
    looked = console.plural(check.files, "file")
    read = "sizes only" if scope.quick else f"{console.format_size(check.size)} read"
    told = ", ".join(f"{count:,} {problem.value}" for problem, count in problems.items())
    console.say(f"{told or f'all is as in {revision}'}: {looked}, {read}")
