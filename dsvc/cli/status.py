"""dsvc status: what changed since the last commit."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Final, Literal

from dsvc.cli import console
from dsvc.cli.options import Json, NullTerminated, argument, option
from dsvc.cli.paths import shown_path
from dsvc.cli.pathspec import read_pathspec
from dsvc.cli.session import open_worktree
from dsvc.cli.status_text import Line, Others, Place, joined, long_lines, place_line, read_place
from dsvc.model.canonical_json import decode_canonical
from dsvc.model.paths import display_path, path_key, quote_path
from dsvc.worktree.status import Status, collapse_untracked, read_status
from dsvc.worktree.worktree import Worktree

__all__ = ["command"]

_STATES: Final = {"A": "added", "D": "deleted", "M": "modified", "R": "renamed", "T": "type-changed"}


def command(
    paths: Annotated[tuple[bytes, ...], argument("PATH", help="Look only at these files and folders.")] = (),
    *,
    short: Annotated[bool, option("-s", "--short", help="Print one line for each file.")] = False,
    porcelain: Annotated[
        Literal["v1"] | None, option("--porcelain", bare="v1", help="Print lines for scripts, which stay as they are.")
    ] = None,
    branch: Annotated[bool, option("-b", "--branch", help="Show the branch in the short form too.")] = False,
    untracked: Annotated[
        Literal["no", "normal", "all"],
        option("-u", "--untracked-files", bare="all", help="Show untracked files: none, folders as one, or each."),
    ] = "normal",
    ignored: Annotated[bool, option("--ignored", help="Show ignored files too.")] = False,
    null: NullTerminated = False,
    json: Json = False,
) -> None:
    """Show what changed since the last commit.

    There are three versions of a file: that of the last commit, the one that is staged for the
    next, and the file itself. The first group of changes lies between the first two, the second
    between the last two. Only files whose size or times are not what they were are read.

    With `-s`, each file has two letters, one for each group: `M` modified, `A` added, `D` deleted,
    `R` renamed, `T` of another type; `??` is untracked and `!!` ignored. What a merge left undecided has
    both letters of one pair: `UU` both sides changed it, `AA` both added it, `UD` they deleted what we changed,
    `DU` we deleted what they changed, `AU` and `UA` one side's file had to make way. `--porcelain` prints the
    same without colours, with paths from the root of the repository. With `-z`, paths are not
    quoted, and the earlier name of a renamed file comes after the new one.

    Examples:
        $ dsvc status -s
         M data/a.csv
        ?? data/new.csv
        $ dsvc status --porcelain -z | xargs -0 -n1

    See also:
        dsvc-diff(1), dsvc-add(1), dsvc-commit(1)
    """
    worktree = open_worktree()
    state = worktree.store.state()
    pathspec = read_pathspec(worktree, paths)
    status = read_status(worktree, state, pathspec)
    place = read_place(worktree, state)
    new = _untracked(worktree, status, untracked)
    outside = [] if untracked == "no" else status.outside
    hidden = status.ignored if ignored else []
    if json:
        _print_json(status, place, {"untracked": new, "outside": outside, "ignored": hidden})
    elif short or porcelain or null:
        printer = _Short(worktree, from_root=bool(porcelain or null), null=null)
        printer.print(status, place if branch else None, sorted([*new, *outside], key=path_key), hidden)
    else:
        others = Others(new, outside, hidden)
        for line in long_lines(status, place, lambda path: shown_path(worktree.root, path), others):
            console.out(line)


def _untracked(worktree: Worktree, status: Status, which: str) -> list[bytes]:
    if which == "no":
        return []
    return status.untracked if which == "all" else list(collapse_untracked(worktree.stat_cache, status.untracked))


class _Short:
    """Prints one line for each path."""

    def __init__(self, worktree: Worktree, *, from_root: bool, null: bool) -> None:
        self._root = worktree.root
        self._from_root = from_root
        self._null = null

    def print(self, status: Status, place: Place | None, untracked: Sequence[bytes], ignored: Sequence[bytes]) -> None:
        end = "\0" if self._null else "\n"
        if place is not None:
            console.out(place_line(place), end)
        for line in joined(status):
            console.out(self._line(line), end)
        for letters, paths in (("??", untracked), ("!!", ignored)):
            for path in paths:
                console.out(f"{self._paint(letters, 'red')} {self._path(path)}", end)

    def _line(self, line: Line) -> str:
        letters = self._paint(line.staged, "green") + self._paint(line.unstaged, "red")
        if line.old_path is None:
            return f"{letters} {self._path(line.path)}"
        if self._null:
            return f"{letters} {self._path(line.path)}\0{self._path(line.old_path)}"
        return f"{letters} {self._path(line.old_path)} -> {self._path(line.path)}"

    def _path(self, path: bytes) -> str:
        if self._null:
            return display_path(path)
        shown = quote_path(path) if self._from_root else shown_path(self._root, path)
        # As git: in this format, a space would end the path.
        return f'"{shown}"' if " " in shown and not shown.startswith('"') else shown

    def _paint(self, letters: str, colour: str) -> str:
        return letters if self._from_root or not letters.strip() else console.paint(letters, colour)


def _print_json(status: Status, place: Place, others: Mapping[str, Sequence[bytes]]) -> None:
    upstream = place.upstream
    console.out_json(
        {
            "kind": "head",
            "branch": place.branch,
            "commit": None if place.commit is None else place.commit.hex(),
            "upstream": None if upstream is None else upstream.name,
            "ahead": None if upstream is None else upstream.ahead,
            "behind": None if upstream is None else upstream.behind,
            "merging": list(place.session.merge),
            "unfinished": place.session.verb,
            "inputs": [{"name": name, "commit": commit} for name, commit in place.session.inputs],
            "metadata": decode_canonical(place.session.metadata) if place.session.metadata else None,
            "switching": None if place.session.switching is None else place.session.switching.to_head,
        }
    )
    unmerged = {conflict.path: conflict.kind.value for conflict in status.unmerged}
    for line in joined(status):
        if line.path in unmerged:
            console.out_json({"kind": "unmerged", **console.json_path(line.path), "type": unmerged[line.path]})
            continue
        record: dict[str, object] = {"kind": "change", **console.json_path(line.path)}
        record |= {"staged": _STATES.get(line.staged), "unstaged": _STATES.get(line.unstaged), "size": line.size}
        if line.old_path is not None:
            record |= {f"old_{key}": value for key, value in console.json_path(line.old_path).items()}
        console.out_json(record)
    for kind, paths in others.items():
        for path in paths:
            console.out_json({"kind": kind, **console.json_path(path)})
