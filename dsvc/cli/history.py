"""The repository as the commands see it that look at versions: revisions and paths of the command line."""

import os
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from dsvc.cli.errors import Failure, UsageError
from dsvc.cli.paths import split_words, tree_path
from dsvc.cli.pathspec import read_pathspec
from dsvc.cli.session import open_repository
from dsvc.errors import NotFoundError
from dsvc.history.commits import Commits
from dsvc.history.head import Head
from dsvc.history.revisions import (
    AmbiguousIdError,
    Target,
    UnbornHeadError,
    UnknownRevisionError,
    peel,
    resolve,
    resolve_any,
    resolve_range,
    split_path,
    split_range,
)
from dsvc.history.tree import Tree
from dsvc.history.versions import is_only_remote
from dsvc.history.walk import merge_bases
from dsvc.log.refs import HEADS, REMOTES, TAGS
from dsvc.log.state import State
from dsvc.model.ids import Kind, ObjectId
from dsvc.model.paths import quote_path
from dsvc.odb.database import ObjectDatabase
from dsvc.worktree.head import read_head
from dsvc.worktree.pathspec import Pathspec
from dsvc.worktree.unmerged import stage_tree
from dsvc.worktree.worktree import Worktree

__all__ = ["History", "PathNotFoundError", "open_history"]

_NOT_FOUND: Final = 4
_STAGES: Final = (":1", ":2", ":3")


class PathNotFoundError(NotFoundError):
    """A path that a version has not."""

    def __init__(self, path: bytes, where: str) -> None:
        super().__init__(f"{quote_path(path)} is not in {where}")
        self.path = path


class History(msgspec.Struct, frozen=True):
    """One state of a repository, and what words mean in it."""

    worktree: Worktree
    state: State
    head: Head
    commits: Commits

    @property
    def objects(self) -> ObjectDatabase:
        """The objects of the store."""
        return self.worktree.store.objects

    def commit(self, text: str) -> ObjectId:
        """Return the commit that *text* names."""
        return resolve(self.worktree.store, self.state, text, head=self.head)

    def tree(self, text: str) -> Tree:
        """Return the tree that *text* names, itself or as that of a commit; HEAD before the first commit is empty."""
        try:
            found = peel(self.worktree.store, resolve_any(self.worktree.store, self.state, text, head=self.head))
        except UnbornHeadError:
            return Tree(self.objects)
        if found.kind == Kind.COMMIT:
            return self.commits.tree(found.id)
        if found.kind != Kind.PAGE:
            raise UnknownRevisionError(text, "it names no version")
        return Tree(self.objects, found.id)

    def tips(self) -> Iterator[ObjectId]:
        """Yield the commits of HEAD and of all branches, tags and remotes' branches; some perhaps twice."""
        if self.head.commit is not None:
            yield self.head.commit
        for _, commit_id in self.refs():
            yield commit_id

    def refs(self) -> Iterator[tuple[str, ObjectId]]:
        """Yield the full names of branches, tags and remotes' branches, with their commits where these are here."""
        for ref in sorted(self.state.refs):
            if ref.startswith((HEADS, TAGS, REMOTES)):
                object_id = ObjectId.from_hex(self.state.refs[ref].value)
                kind = self.objects.kind_of(object_id)
                # A tag may name a tree, and a remote's branch may not have been fetched.
                found = None if kind is None else peel(self.worktree.store, Target(object_id, kind))
                if found is not None and found.kind == Kind.COMMIT:
                    yield ref, found.id

    def is_revision(self, text: str) -> bool:
        """Tell whether *text* names a commit or a range of them, or would if it were not ambiguous.

        A path that is there comes before a dataset that is only a remote's.
        """
        if os.path.lexists(text) and is_only_remote(self.state, text):
            return False
        try:
            resolve_range(self.worktree.store, self.state, [text], head=self.head)
        except UnknownRevisionError as error:
            return isinstance(error, UnbornHeadError)
        except AmbiguousIdError:
            return True
        return True

    def split(self, words: Sequence[str], paths: tuple[bytes, ...] | None) -> tuple[tuple[str, ...], Pathspec]:
        """Tell revisions from paths among *words*, as git does."""
        revisions, rest = split_words(words, paths, self.is_revision)
        return revisions, read_pathspec(self.worktree, rest)

    def sides(self, revisions: Sequence[str]) -> tuple[Tree, Tree] | None:
        """Return both versions of `A B`, `A..B` or `A...B`, None where there is only one.

        Raises:
            UsageError: There are more.
        """
        parts = split_range(revisions[0]) if len(revisions) == 1 else None
        if parts is None:
            if len(revisions) == 1:
                return None
            if len(revisions) > 2 or any(map(split_range, revisions)):
                message = "more than two revisions"
                raise UsageError(message)
            return self.tree(revisions[0]), self.tree(revisions[1])
        left, dots, right = parts
        if dots == "..":
            return self.tree(left), self.tree(right)
        bases = merge_bases(self.commits, self.commit(left), self.commit(right))
        if not bases:
            message = f"`{left}` and `{right}` have no history in common"
            raise Failure(message, code=_NOT_FOUND)
        return self.commits.tree(bases[0]), self.tree(right)

    def split_version(self, words: Sequence[str], paths: tuple[bytes, ...] | None) -> tuple[str | None, list[bytes]]:
        """Return the version that the first of *words* may be, `REV:PATH` included, and the paths from the root."""
        named = [word.encode("utf-8", "surrogateescape") for word in words]
        text, within = split_path(words[0]) if words else ("", None)
        if within is not None and self._is_tree(text):
            places = [self.path_in_version(within), *(tree_path(self.worktree.root, path) for path in named[1:])]
            return text, [*places, *(tree_path(self.worktree.root, path) for path in paths or ())]
        is_version = bool(words) and self._is_tree(words[0])
        if is_version and paths is None and os.path.lexists(words[0]):
            message = f"`{words[0]}` is both a revision and a path"
            raise Failure(message, code=2, hint="put `--` between revisions and paths")
        rest = [*named[is_version:], *(paths or ())]
        return words[0] if is_version else None, [tree_path(self.worktree.root, path) for path in rest]

    def _is_tree(self, text: str) -> bool:
        try:
            self.version(text)
        except UnknownRevisionError:
            return False
        return True

    def path_in_version(self, path: bytes) -> bytes:
        """Return the path from the root that stands in `REV:PATH`: from the root unless it begins with a dot."""
        relative = path in (b".", b"..") or path.startswith((b"./", b"../"))
        return tree_path(self.worktree.root, path) if relative else path.strip(b"/")

    def version(self, text: str | None) -> Tree:
        """Return the tree of *text*; what is staged if that is None or empty, as in `:PATH`, a stage for `:N`."""
        if not text or text == ":0":
            return self.worktree.staged_tree(self.state)
        if text in _STAGES:
            return stage_tree(self.objects, self.worktree.session(self.state), _STAGES.index(text) + 1)
        return self.tree(text)


def open_history() -> History:
    """Open the repository that the working folder is in, as it is now."""
    worktree = open_repository()
    state = worktree.store.state()
    return History(worktree, state, read_head(worktree, state), Commits(worktree.store.objects))
