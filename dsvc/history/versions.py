"""Datasets and their versions by name: what `NAME[@VERSION]` is in the state of a store.

    NAME              the branch, or of what was only fetched the remote's; an old name leads to the new one
    NAME@1.2.0        the tag of that name
    NAME@prod         an alias: a tag that is not published, and is called by no number; it is there to be moved
    NAME@latest       the same, if there is one; else the highest published number

What only a look at commits can tell, `NAME@1a2b3c4d`, is `dsvc.history.revisions`'s, which takes all of these.
"""

from collections.abc import Iterable
from typing import Final

from dsvc.errors import InvalidInputError
from dsvc.history.datasets import current_name, family
from dsvc.history.numbers import parse_number, version_order
from dsvc.log.refs import HEADS, REMOTES, TAGS, tag_ref
from dsvc.log.state import State

__all__ = [
    "LATEST",
    "InvalidAliasError",
    "alias_name",
    "dataset_ref",
    "highest",
    "is_alias",
    "is_only_remote",
    "latest_version",
    "split_version",
    "version_ref",
    "version_tags",
]

LATEST: Final = "latest"


class InvalidAliasError(InvalidInputError):
    """A name that no alias may have."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"an alias cannot be called {name!r}: {reason}")
        self.name = name


def split_version(name: str) -> tuple[str, str] | None:
    """Return the dataset and the version that *name* says, None if it has no `@` between two words."""
    dataset, at, version = name.rpartition("@")
    return (dataset, version) if at and dataset and version else None


def alias_name(name: str) -> str:
    """Return *name* if an alias may be called so: DATASET@WORD, and the word neither is a number nor begins like one.

    Raises:
        InvalidAliasError: It may not.
        InvalidRefNameError: No tag may be called so.
    """
    parts = split_version(name)
    if parts is None:
        raise InvalidAliasError(name, "it is of the form DATASET@WORD")
    if not _is_word(parts[1]):
        raise InvalidAliasError(name, f"{parts[1]!r} would be taken for a number, and numbers stay where they are")
    tag_ref(name)
    return name


def is_alias(ref: str) -> bool:
    """Tell whether the tag *ref*, unless it is published, is an alias."""
    parts = split_version(ref.removeprefix(TAGS)) if ref.startswith(TAGS) else None
    return parts is not None and _is_word(parts[1])


def _is_word(version: str) -> bool:
    return version[:1].isalpha() and parse_number(version) is None


def dataset_ref(state: State, name: str) -> str | None:
    """Return the branch that the dataset *name* is; if only remotes have it, that of `origin` or of the only one."""
    name = current_name(state, name)
    if HEADS + name in state.refs:
        return HEADS + name
    usual = f"{REMOTES}origin/{name}"
    if usual in state.refs:
        return usual
    ending = f"/{name}"
    found = [
        ref
        for ref in state.refs
        if ref.endswith(ending) and ref.startswith(REMOTES) and ref.split("/", 3)[3:] == [name]
    ]
    return found[0] if len(found) == 1 else None


def is_only_remote(state: State, name: str) -> bool:
    """Tell whether *name* is a dataset that only a remote has: what else it may mean, a path, say, comes first."""
    return TAGS + name not in state.refs and (dataset_ref(state, name) or "").startswith(REMOTES)


def version_tags(state: State, dataset: str) -> dict[str, str]:
    """Return the full names of the tags of *dataset* by the version that they say, in order of these, lowest first.

    What was published before it was renamed is among them.
    """
    prefixes = tuple(f"{TAGS}{name}@" for name in family(state, dataset))
    found: dict[str, str] = {}
    for ref in state.refs:
        if ref.startswith(prefixes):
            start, _, version = ref.rpartition("@")
            known = found.get(version)
            if f"{start}@" in prefixes and (known is None or _place(prefixes, ref) < _place(prefixes, known)):
                found[version] = ref
    return {version: found[version] for version in sorted(found, key=version_order)}


def _place(prefixes: tuple[str, ...], ref: str) -> int:
    return prefixes.index(f"{ref.rpartition('@')[0]}@")


def latest_version(state: State, dataset: str) -> str | None:
    """Return the highest published version of *dataset*: if there is one, a release, else what comes before one."""
    return highest(version for version, ref in version_tags(state, dataset).items() if state.refs[ref].published)


def highest(versions: Iterable[str]) -> str | None:
    """Return what `latest` is among *versions*, None if there are none."""
    best: str | None = None
    for version in versions:
        if best is None or _rank(version) > _rank(best):
            best = version
    return best


def _rank(version: str) -> tuple[int, object]:
    number = parse_number(version)
    kind = 0 if number is None else 1 if number.is_prerelease else 2
    return kind, version_order(version)


def version_ref(state: State, name: str) -> str | None:
    """Return the full name of the ref that is the dataset or the version *name*, or None."""
    if TAGS + name in state.refs:
        return TAGS + name
    parts = split_version(name)
    if parts is not None:
        tags = version_tags(state, parts[0])
        version = latest_version(state, parts[0]) if parts[1] == LATEST and LATEST not in tags else parts[1]
        if version in tags:
            return tags[version]
    return dataset_ref(state, name)
