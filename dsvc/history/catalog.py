"""The catalogue of a store: its datasets, which are branches, and its versions, which are tags."""

from collections.abc import Iterator
from typing import NamedTuple

from dsvc.errors import CorruptionError, NotFoundError
from dsvc.history.commits import Commits
from dsvc.history.store import Store
from dsvc.history.tags import NotTaggableError, read_tag
from dsvc.log.refs import HEADS, TAGS, short_name
from dsvc.log.state import State
from dsvc.model.commit import Commit
from dsvc.model.ids import ObjectId

__all__ = ["CatalogEntry", "read_catalog"]


class CatalogEntry(NamedTuple):
    """The dataset or version that is called *ref*: its newest commit, and whether it can never move."""

    ref: str
    commit_id: ObjectId
    commit: Commit
    is_published: bool

    @property
    def name(self) -> str:
        """What people call it."""
        return short_name(self.ref)

    @property
    def is_dataset(self) -> bool:
        """Whether it is a branch."""
        return self.ref.startswith(HEADS)

    @property
    def state(self) -> str:
        """How final it is: what the log has is at least that."""
        return "published" if self.is_published else "final"


def read_catalog(store: Store, state: State) -> Iterator[CatalogEntry]:
    """Yield the datasets and then the versions of *store* in *state*, each kind by name.

    Tags that name no version, and those whose version is not here, are left out.

    Raises:
        CorruptionError: A commit is missing or damaged.
    """
    heads = {ref: ObjectId.from_hex(state.refs[ref].value) for ref in sorted(state.refs) if ref.startswith(HEADS)}
    commits = Commits(store.objects)
    # All of them in one reading.
    commits.load(heads.values())
    for ref, commit_id in heads.items():
        yield CatalogEntry(ref, commit_id, commits.get(commit_id), is_published=False)
    for ref in sorted(state.refs):
        if ref.startswith(TAGS):
            try:
                tag = read_tag(store, state, ref)
            except (NotTaggableError, NotFoundError, CorruptionError):
                continue
            yield CatalogEntry(ref, tag.commit_id, tag.commit, tag.is_published)
