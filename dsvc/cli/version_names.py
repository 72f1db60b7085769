"""What people call versions: by which names commits are shown that nobody has named."""

from collections.abc import Iterator

from dsvc.cli.history import History
from dsvc.history.versions import split_version
from dsvc.log.refs import HEADS, REMOTES, TAGS
from dsvc.model.ids import ObjectId

__all__ = ["dataset_of", "version_names"]


def version_names(history: History) -> Iterator[tuple[ObjectId, str, str]]:
    """Yield each commit that has a name, with it and with the dataset that it says, if any; the best names first."""
    refs = list(history.refs())
    for prefix in (TAGS, HEADS, REMOTES):
        # Of branches that are as near, the one that is checked out.
        for ref, commit_id in sorted(refs, key=lambda found: found[0] != history.head.ref):
            if ref.startswith(prefix):
                name = ref.removeprefix(prefix)
                whole = name.partition("/")[2] if prefix == REMOTES else name
                yield commit_id, name, dataset_of(whole) if prefix != TAGS or split_version(name) else ""
    if history.head.commit is not None:
        yield history.head.commit, "HEAD", ""


def dataset_of(name: str) -> str:
    """Return the dataset of the version *name*, which is that or a version of it."""
    parts = split_version(name)
    return name if parts is None else parts[0]
