"""What the message of a merge says unless somebody says something else: git's words."""

from collections.abc import Sequence
from itertools import groupby

from dsvc.log.refs import HEADS, REMOTES, TAGS, short_name

__all__ = ["merge_message"]

_KINDS = ((HEADS, "branch", "branches"), (REMOTES, "remote-tracking branch", "remote-tracking branches"))


def merge_message(sources: Sequence[tuple[str | None, str]], into: str | None, *, remote: str | None = None) -> str:
    """Return the message of a merge of *sources*, each the ref it is, if it is one, and the word that was used for it.

    *into* is the branch that they go into, and *remote* where they were fetched from just now.
    """
    named = sorted(((*_kind(ref), short_name(ref) if ref else word) for ref, word in sources), key=lambda one: one[:2])
    parts = []
    for (one, many), group in groupby(named, key=lambda each: each[:2]):
        names = [f"'{name}'" for _, _, name in group]
        listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
        parts.append(f"{one if len(names) == 1 else many} {listed}")
    where = f" of {remote}" if remote else ""
    target = f" into {short_name(into)}" if into else ""
    return f"Merge {'; '.join(parts)}{where}{target}"


def _kind(ref: str | None) -> tuple[str, str]:
    for prefix, one, many in _KINDS:
        if ref is not None and ref.startswith(prefix):
            return one, many
    return ("tag", "tags") if ref is not None and ref.startswith(TAGS) else ("commit", "commits")
