"""What a repository should do, told with dictionaries: the oracle of the state machine.

Files, what is staged and each version are mappings from path to content, as in
`tests.worktree_support`. An empty folder is in them only while nothing is in it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from tests.worktree_support import EMPTY_FOLDER, Content, EmptyFolder, Executable

__all__ = [
    "Files",
    "Model",
    "Refused",
    "Snapshot",
    "above",
    "at_or_below",
    "carried",
    "changed",
    "is_tree",
    "merged",
    "moved",
    "replaced",
    "tidy",
]

Files = dict[bytes, Content]


class Refused(Exception):  # noqa: N818 (what is expected, not what goes wrong)
    """The repository should refuse, and leave everything as it was."""


def above(path: bytes) -> Iterator[bytes]:
    """Yield the folders above *path*, the nearest first."""
    while path := path.rpartition(b"/")[0]:
        yield path


def at_or_below(files: Iterable[bytes], path: bytes) -> list[bytes]:
    return [one for one in files if one == path or one.startswith(path + b"/")]


def tidy(files: Mapping[bytes, Content]) -> Files:
    """Return *files* without the folders that are not empty."""
    full = {folder for path in files for folder in above(path)}
    return {path: content for path, content in files.items() if content != EMPTY_FOLDER or path not in full}


def is_tree(files: Mapping[bytes, Content]) -> bool:
    """Tell whether nothing is below a file."""
    full = {folder for path in files for folder in above(path)}
    return not any(path in full and content != EMPTY_FOLDER for path, content in files.items())


def changed(old: Mapping[bytes, Content], new: Mapping[bytes, Content]) -> list[bytes]:
    return sorted(path for path in {*old, *new} if old.get(path) != new.get(path))


def replaced(files: Files, source: Files, region: bytes) -> Files:
    """Return *files* with what *source* has at and below *region* in place of what is there.

    Raises:
        Refused: A file would be above another.
    """
    kept = {path: content for path, content in files.items() if path not in at_or_below(files, region)}
    result = tidy(kept | {path: source[path] for path in at_or_below(source, region)})
    if not is_tree(result):
        raise Refused
    return result


def carried(head: Files, staged: Files, target: Files) -> Files:
    """Return *target* with what is staged on top of *head*.

    Raises:
        Refused: *target* has something else there.
    """
    wanted = dict(target)
    for path in changed(head, staged):
        if target.get(path) not in (head.get(path), staged.get(path)):
            raise Refused
        if path in staged:
            wanted[path] = staged[path]
        else:
            wanted.pop(path, None)
    wanted = tidy(wanted)
    if not is_tree(wanted):
        raise Refused
    return wanted


def in_the_way(files: Files, paths: Iterable[bytes], wanted: Files) -> bool:
    """Tell whether a file has to go that none of *paths* takes away, so that they can be as in *wanted*."""
    paths = list(paths)
    leaving = {path for path in paths if path not in wanted}
    for path in paths:
        if path not in wanted:
            continue
        if any(files.get(folder, EMPTY_FOLDER) != EMPTY_FOLDER and folder not in leaving for folder in above(path)):
            return True
        if wanted[path] != EMPTY_FOLDER and any(
            one != path and files[one] != EMPTY_FOLDER and one not in leaving for one in at_or_below(files, path)
        ):
            return True
    return False


def moved(files: Files, paths: Iterable[bytes], wanted: Files) -> Files:
    """Return *files* after each of *paths* was made as it is in *wanted*, whatever is in the way."""
    paths = list(paths)
    result = dict(files)
    for path in paths:
        if path not in wanted:
            result.pop(path, None)
            for folder in above(path):
                if result.get(folder) == EMPTY_FOLDER:
                    del result[folder]
    for path in paths:
        if path in wanted:
            for folder in above(path):
                result.pop(folder, None)
            if isinstance(wanted[path], EmptyFolder):
                if not at_or_below(result, path) or path in result:
                    result[path] = EMPTY_FOLDER
                continue
            for one in at_or_below(result, path):
                del result[one]
            result[path] = wanted[path]
    return tidy(result)


def merged(base: Files, ours: Files, theirs: Files, names: tuple[bytes, bytes]) -> tuple[Files, frozenset[bytes]]:
    """Return what a merge leaves, and the paths in conflict; a file that meets a folder gets its side's name."""
    files: Files = {}
    folders: Files = {}
    conflicts: set[bytes] = set()
    sides: dict[bytes, int] = {}
    for path in {*base, *ours, *theirs}:
        entries = [one.get(path) for one in (base, ours, theirs)]
        old, mine, other = (None if content == EMPTY_FOLDER else content for content in entries)
        sides[path] = 0
        content = mine
        if other not in (old, mine):
            joined = other if mine == old else _joined(old, mine, other)
            if joined is None and mine != old:
                conflicts.add(path)
                joined = mine or other
            content = joined
            sides[path] = int(content is other)
        if content is not None:
            files[path] = content
        else:
            there = [entry == EMPTY_FOLDER for entry in entries]
            if there[2] if there[0] == there[1] else there[1]:
                folders[path] = EMPTY_FOLDER
    for path in list(files):
        if any(path in above(other) for other in files):
            moved_to = path + b"~" + names[sides[path]]
            files[moved_to] = files.pop(path)
            conflicts.discard(path)
            conflicts.add(moved_to)
    kept = {path for path in folders if path not in files and not any(one in files for one in above(path))}
    return tidy(files | dict.fromkeys(kept, EMPTY_FOLDER)), frozenset(conflicts)


def _joined(old: Content | None, mine: Content | None, other: Content | None) -> Content | None:
    """Return a file whose content one side changed, and whose mode the other did; None if that is not so."""
    files = [one for one in (old, mine, other) if isinstance(one, bytes | Executable)]
    if len(files) < 3:
        return None
    modes = [isinstance(one, Executable) for one in files]
    data = [one.content if isinstance(one, Executable) else one for one in files]
    mode, content = (
        one[1] if one[2] == one[0] else one[2] if one[1] in (one[0], one[2]) else None for one in (modes, data)
    )
    if mode is None or content is None:
        return None
    assert isinstance(content, bytes)
    return Executable(content) if mode else content


@dataclass(frozen=True)
class Merging:
    """A merge that is not concluded: the other head, and what is not decided."""

    head: str
    conflicts: frozenset[bytes]

    def without(self, paths: Iterable[bytes]) -> "Merging":
        return Merging(self.head, self.conflicts.difference(paths))


@dataclass(frozen=True)
class Snapshot:
    """All that `undo` brings back, before an operation, and how that operation treated files."""

    staged: Files
    head: str
    branches: dict[str, str]
    tags: dict[str, str]
    merging: Merging | None = None
    moves_files: bool = False
    takes_files: bool = False


@dataclass
class Model:
    """A repository and its files. *head* is the name of a branch, or the id of a commit."""

    files: Files = field(default_factory=dict)
    staged: Files = field(default_factory=dict)
    head: str = "main"
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    versions: dict[str, Files] = field(default_factory=dict)
    parents: dict[str, list[str]] = field(default_factory=dict)
    done: list[Snapshot] = field(default_factory=list)
    merging: Merging | None = None

    @property
    def undecided(self) -> frozenset[bytes]:
        """The paths in conflict."""
        return self.merging.conflicts if self.merging else frozenset()

    def decide(self, paths: Iterable[bytes]) -> None:
        """Let *paths* be in conflict no more."""
        if self.merging:
            self.merging = self.merging.without(paths)

    def ancestors(self, commit: str) -> set[str]:
        """Return *commit* and all before it."""
        found: set[str] = set()
        waiting = [commit]
        while waiting:
            one = waiting.pop()
            if one not in found:
                found.add(one)
                waiting += self.parents[one]
        return found

    def merge_bases(self, one: str, other: str) -> list[str]:
        """Return the best common ancestors."""
        common = self.ancestors(one) & self.ancestors(other)
        return [found for found in common if not any(found in self.ancestors(two) - {two} for two in common)]

    @property
    def is_detached(self) -> bool:
        return self.head in self.versions

    @property
    def commit(self) -> str | None:
        return self.head if self.is_detached else self.branches.get(self.head)

    @property
    def committed(self) -> Files:
        """The files of HEAD's version."""
        return self.version(self.commit)

    def version(self, commit: str | None) -> Files:
        return {} if commit is None else self.versions[commit]

    def snapshot(self, *, moves_files: bool = False, takes_files: bool = False) -> Snapshot:
        return Snapshot(
            self.staged,
            self.head,
            dict(self.branches),
            dict(self.tags),
            self.merging,
            moves_files=moves_files,
            takes_files=takes_files,
        )

    def remember(self, before: Snapshot) -> None:
        """Count what was done since *before* as an operation, if it changed anything that can be undone."""
        now = self.snapshot(moves_files=before.moves_files, takes_files=before.takes_files)
        if now != before:
            self.done.append(before)

    def restore(self, snapshot: Snapshot) -> None:
        self.staged = snapshot.staged
        self.head = snapshot.head
        self.branches = dict(snapshot.branches)
        self.tags = dict(snapshot.tags)
        self.merging = snapshot.merging

    # Status.

    def unstaged(self) -> list[bytes]:
        """The staged paths whose files are something else."""
        return [
            path
            for path, content in self.staged.items()
            if self.files.get(path) != content
            and not (content == EMPTY_FOLDER and len(at_or_below(self.files, path)) > (path in self.files))
        ]

    def untracked(self) -> list[bytes]:
        """What is not staged; of a folder whose files are gone, that is told already."""
        return [
            path + b"/" if content == EMPTY_FOLDER else path
            for path, content in self.files.items()
            if path not in self.staged and not (content == EMPTY_FOLDER and at_or_below(self.staged, path))
        ]

    # What the verbs should make of files and of what is staged.

    def after_add(self, path: bytes) -> Files:
        """What is staged after *path* was added; the empty path is everything.

        Raises:
            Refused: Nothing is there, or is staged.
        """
        if not path:
            return tidy(self.files)
        if not at_or_below([*self.files, *self.staged], path):
            raise Refused
        new = {one: self.files[one] for one in at_or_below(self.files, path)}
        kept = {one: content for one, content in self.staged.items() if one not in at_or_below(self.staged, path)}
        for one in new:
            for folder in above(one):
                kept.pop(folder, None)
        return tidy(kept | new)

    def after_switch(self, wanted: Files) -> Files:
        """The files after what is staged became *wanted*.

        Raises:
            Refused: Something would be lost.
        """
        paths = changed(self.staged, wanted)
        if not all(self._is_expendable(path, wanted) for path in paths) or in_the_way(self.files, paths, wanted):
            raise Refused
        return moved(self.files, paths, wanted)

    def after_merge(self, wanted: Files, conflicts: Iterable[bytes]) -> Files:
        """The files after what is staged became *wanted*, with *conflicts* in it.

        Raises:
            Refused: Something would be lost, now or by an abort.
        """
        if not all(self._is_expendable(path, wanted) for path in conflicts):
            raise Refused
        return self.after_switch(wanted)

    def after_abort(self, wanted: Files) -> Files:
        """The files after a merge was given up: what is in conflict is given up, and other edits are not.

        Raises:
            Refused: Something would be lost.
        """
        edited = [path for path in self.unstaged() if path in self.undecided]
        paths = {*changed(self.staged, wanted), *edited}
        lost = [path for path in paths if path not in self.undecided and not self._is_expendable(path, wanted)]
        if lost or in_the_way(self.files, paths, wanted):
            raise Refused
        return moved(self.files, sorted(paths), wanted)

    def after_taking_back(self, wanted: Files) -> Files:
        """The files after the undoing of an operation that took files away: what was edited since stays.

        Raises:
            Refused: Something is in the way.
        """
        paths = [path for path in changed(self.staged, wanted) if self._is_expendable(path, wanted)]
        if in_the_way(self.files, paths, wanted):
            raise Refused
        return moved(self.files, paths, wanted)

    def _is_expendable(self, path: bytes, wanted: Files) -> bool:
        present = self.files.get(path, EMPTY_FOLDER)
        return present == EMPTY_FOLDER or present in (self.staged.get(path), wanted.get(path))

    def after_hard_reset(self, wanted: Files) -> Files:
        edited = [path for path in self.unstaged() if path in wanted]
        return moved(self.files, sorted({*changed(self.staged, wanted), *edited}), wanted)

    def after_restore(self, source: Files, region: bytes) -> Files:
        """The files after a restore of *region* from *source*.

        Raises:
            Refused: Nothing is tracked there, or something is in the way.
        """
        if not at_or_below([*self.staged, *source], region):
            raise Refused
        paths = {path for path in changed(self.staged, source) if path in at_or_below([path], region)}
        paths.update(path for path in self.unstaged() if path in at_or_below([path], region))
        if in_the_way(self.files, paths, source):
            raise Refused
        return moved(self.files, sorted(paths), source)

    def after_rm(self, region: bytes, *, cached: bool, force: bool) -> tuple[Files, Files]:
        """The files and what is staged after a removal.

        Raises:
            Refused: Something would be lost.
        """
        tracked = at_or_below(self.staged, region)
        present = [path for path in tracked if self._is_present(path)]
        for path in set(present) - self.undecided if not force else ():
            is_edited = path in self.unstaged()
            is_new = self.staged[path] != self.committed.get(path)
            if (is_edited and (is_new or not cached)) or (is_new and not cached):
                raise Refused
        staged = {path: content for path, content in self.staged.items() if path not in tracked}
        if cached:
            return self.files, staged
        return {path: content for path, content in self.files.items() if path not in present}, staged

    def _is_present(self, path: bytes) -> bool:
        """Tell whether there is a file for the staged *path*; a folder is none, unless it was one."""
        if self.staged[path] == EMPTY_FOLDER:
            return bool(at_or_below(self.files, path))
        return self.files.get(path, EMPTY_FOLDER) != EMPTY_FOLDER

    def after_mv(self, source: bytes, target: bytes) -> tuple[Files, Files]:
        """The files and what is staged after *source*, which is tracked and there, became *target*, which is not.

        Raises:
            Refused: Something that is staged would be below a file, or is not decided.
        """
        files = _renamed(self.files, source, target)
        staged = _renamed(self.staged, source, target)
        if not is_tree(staged) or at_or_below(self.undecided, source):
            raise Refused
        return files, staged


def _renamed(files: Files, source: bytes, target: bytes) -> Files:
    moving = at_or_below(files, source)
    kept = {path: content for path, content in files.items() if path not in moving}
    return tidy(kept | {target + path[len(source) :]: files[path] for path in moving})
