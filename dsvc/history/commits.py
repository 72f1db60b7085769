"""Commits by id: decoded once, and kept while somebody looks around in the history."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from dsvc.history.tree import Tree
from dsvc.model.canonical_json import decode_canonical, encode_canonical
from dsvc.model.codec import FORMAT_VERSION, decode
from dsvc.model.commit import Commit, Input
from dsvc.model.context import Context
from dsvc.model.ids import Kind, ObjectId
from dsvc.odb.database import ObjectDatabase
from dsvc.odb.objects import ObjectReader

__all__ = ["Commits", "commits_here", "new_commit"]


class Commits:
    """The commits that *reader* has. Those looked at stay in memory, about 1 KB each.

    If there is a way to tell whether one *is_here*, walks end where the others begin, which are noted as `cut`.
    """

    def __init__(self, reader: ObjectReader, is_here: Callable[[bytes], bool] | None = None) -> None:
        self.reader = reader
        self.cut: Final[set[ObjectId]] = set()
        self._is_here = is_here
        self._decoded: dict[bytes, Commit] = {}

    def get(self, commit_id: bytes) -> Commit:
        """Return the commit *commit_id*.

        Raises:
            ObjectNotFoundError: It is not here.
        """
        commit = self._decoded.get(commit_id)
        if commit is None:
            commit = self._decoded[commit_id] = decode(Commit, self.reader.read(Kind.COMMIT, commit_id))
        return commit

    def parents(self, commit_id: bytes) -> list[ObjectId]:
        """Return the parents of *commit_id*, in order, each once."""
        return list(map(ObjectId, dict.fromkeys(self.get(commit_id).parents)))

    def here(self, commit_ids: list[ObjectId]) -> list[ObjectId]:
        """Return those of *commit_ids* that a walk goes on to."""
        if self._is_here is None:
            return commit_ids
        here = [commit_id for commit_id in commit_ids if self._is_here(commit_id)]
        self.cut.update(set(commit_ids).difference(here))
        return here

    def load(self, commit_ids: Iterable[bytes]) -> None:
        """Read *commit_ids* together, where they are not known yet."""
        missing = [commit_id for commit_id in commit_ids if commit_id not in self._decoded]
        if len(missing) > 1:
            for commit_id, data in zip(missing, self.reader.read_many(Kind.COMMIT, missing), strict=True):
                self._decoded[commit_id] = decode(Commit, data)

    def tree(self, commit_id: bytes | None) -> Tree:
        """Return the tree of *commit_id*, an empty one for None."""
        return Tree(self.reader, None if commit_id is None else self.get(commit_id).tree)


def commits_here(objects: ObjectDatabase) -> Commits:
    """Return the commits of *objects* for a walk that ends where older ones are only promised."""
    return Commits(objects, None if objects.promisor is None else objects.__contains__)


def new_commit(
    context: Context,
    tree: Tree,
    parents: Sequence[bytes],
    message: str,
    *,
    author: str | None = None,
    metadata: str = "{}",
    inputs: Sequence[Input] = (),
) -> Commit:
    """Return a commit of *tree*, made now by *author*, or else by who acts in *context*. It is not stored yet."""
    time, offset = context.now()
    run = context.run()
    if run:
        metadata = encode_canonical({**decode_canonical(metadata), "run": run})
    totals = tree.totals()
    return Commit(
        FORMAT_VERSION,
        bytes(tree.root),
        [bytes(parent) for parent in parents],
        author or context.author(),
        time,
        offset,
        message,
        metadata,
        list(inputs),
        totals.files,
        totals.size,
    )
