"""Which files of a version are wanted: some paths, one part of several, or what changed since another version."""

from collections.abc import Iterable
from typing import Final

import msgspec
from blake3 import blake3

from dsvc.datasets.parts import Part, entries_of_part
from dsvc.errors import NotFoundError
from dsvc.history.diff import diff_trees
from dsvc.history.tree import Tree
from dsvc.model.ids import ObjectId
from dsvc.model.paths import quote_path, validate_path
from dsvc.model.tree import Entry
from dsvc.odb.objects import ObjectReader
from dsvc.worktree.pathspec import Pathspec

__all__ = ["PathsNotFoundError", "Selection", "clean_paths"]

_CONTEXT: Final = "dsvc 2026 selection"
_SHOWN: Final = 3
# To look for so many paths one by one takes as long as to look through a tree of a hundred times as many.
_MANY: Final = 1000


class PathsNotFoundError(NotFoundError):
    """Paths that a version has not."""

    def __init__(self, paths: list[bytes], where: str) -> None:
        more = f" and {len(paths) - 1:,} more are" if len(paths) > 1 else " is"
        super().__init__(f"{quote_path(paths[0])}{more} not in {where}")
        self.paths = paths


def clean_paths(paths: Iterable[bytes]) -> tuple[bytes, ...]:
    """Return *paths*, names or patterns from the root of a dataset, as a tree has them; nothing, if the root is one.

    Raises:
        InvalidPathError: No tree may have one of them.
    """
    cleaned = []
    for path in paths:
        parts = [part for part in path.split(b"/") if part not in (b"", b".")]
        if not parts:
            return ()
        validate_path(b"/".join(parts))
        cleaned.append(b"/".join(parts))
    return tuple(sorted(set(cleaned)))


class Selection(msgspec.Struct, frozen=True):
    """What is wanted: *paths* of what was added or modified since the tree *base*, if there is one; *part* of these.

    With *any_symlinks*, those that lead out of the version may be among it.
    """

    paths: tuple[bytes, ...] = ()
    base: ObjectId | None = None
    part: Part | None = None
    any_symlinks: bool = False

    def id(self, root: bytes) -> str:
        """Return what tells this selection from the tree *root* from all others; of the whole tree, its own id."""
        if self == Selection():
            return root.hex()
        base = None if self.base is None else bytes(self.base)
        more = ["any symlinks"] if self.any_symlinks else []
        value = msgspec.msgpack.encode([bytes(root), self.paths, base, self.part, *more])
        return blake3(value, derive_key_context=_CONTEXT).hexdigest()

    def entries(self, objects: ObjectReader, root: bytes, name: str) -> list[Entry]:
        """Return the entries of the tree *root*, of the version *name*, that are selected, in order.

        Raises:
            PathsNotFoundError: There is nothing at one of the paths, before any of the rest is looked at.
        """
        tree = Tree(objects, root)
        pathspec = Pathspec(self.paths, exists=lambda path: tree.get(path) is not None)
        folders = pathspec.folders if len(self.paths) < _MANY else (b"",)
        if self.base is None:
            found = [entry for folder in folders for entry in tree.entries(folder)]
        else:
            base = Tree(objects, self.base)
            changes = (change for folder in folders for change in diff_trees(base, tree, folder))
            found = [change.new for change in changes if change.new is not None]
        if self.paths:
            found = [entry for entry in found if pathspec.matches(entry.path)]
            self._check(tree, pathspec, found, name)
        return found if self.part is None else entries_of_part(found, self.part)

    def _check(self, tree: Tree, pathspec: Pathspec, found: list[Entry], name: str) -> None:
        missing = pathspec.unmatched(entry.path for entry in found)
        if missing and self.base is not None:
            # Of what is there, nothing need have changed.
            rest = pathspec.only(missing)
            missing = rest.unmatched(entry.path for folder in rest.folders for entry in tree.entries(folder))
        if missing:
            raise PathsNotFoundError(missing, name)

    def describe(self) -> str:
        """Return what is selected, for people."""
        words = [quote_path(path) for path in self.paths[:_SHOWN]]
        if len(self.paths) > _SHOWN:
            words.append(f"and {len(self.paths) - _SHOWN:,} more")
        if self.base is not None:
            words.append(f"changed since {self.base.short}")
        if self.part is not None:
            words.append(f"part {self.part.number}/{self.part.count}")
        if self.any_symlinks:
            words.append("any symlinks")
        return ", ".join(words)
