"""Refspecs: what to push or fetch to where, as git writes them: `[+]SOURCE[:TARGET]`."""

from collections.abc import Iterable, Mapping

import msgspec

from dsvc.errors import InvalidInputError, NotFoundError
from dsvc.log.refs import HEADS, TAGS, check_ref_name

__all__ = ["Refspec", "UnknownSourceError", "expand", "find_ref", "parse_refspec"]


class UnknownSourceError(NotFoundError):
    """A refspec names what is not there."""

    def __init__(self, source: str) -> None:
        super().__init__(f"`{source}` is neither a branch nor a tag")
        self.source = source


class Refspec(msgspec.Struct, frozen=True):
    """*source* is empty to delete, *target* is None where it was not given; *force* allows any move."""

    source: str
    target: str | None = None
    force: bool = False


def parse_refspec(text: str) -> Refspec:
    """Read a refspec.

    Raises:
        InvalidInputError: It is none.
    """
    source, colon, target = text.removeprefix("+").partition(":")
    refspec = Refspec(source, target if colon else None, text.startswith("+"))
    stars = (source.count("*"), target.count("*"))
    if not (source or target) or (colon and not target) or stars not in ((0, 0), (1, 1)):
        message = f"`{text}` is no refspec: it has the form SOURCE:TARGET"
        raise InvalidInputError(message)
    for name in (source, target):
        if name.startswith("refs/"):
            check_ref_name(name.replace("*", "x"))
    return refspec


def find_ref(refs: Iterable[str], name: str) -> str:
    """Return which of *refs* the full or short *name* is.

    Raises:
        UnknownSourceError: None.
        InvalidInputError: A branch and a tag.
    """
    known = set(refs)
    if name in known:
        return name
    found = [prefix + name for prefix in (HEADS, TAGS) if prefix + name in known]
    if not found:
        raise UnknownSourceError(name)
    if len(found) > 1:
        message = f"`{name}` is a branch and a tag; write {found[0]} or {found[1]}"
        raise InvalidInputError(message)
    return found[0]


def expand(refspec: Refspec, refs: Mapping[str, object]) -> list[Refspec]:
    """Return *refspec* for each of *refs* that its star stands for, itself if it has none."""
    if "*" not in refspec.source:
        return [refspec]
    before, after = refspec.source.split("*")
    target = refspec.target or refspec.source
    return [
        msgspec.structs.replace(
            refspec, source=ref, target=target.replace("*", ref[len(before) : len(ref) - len(after)])
        )
        for ref in sorted(refs)
        if ref.startswith(before) and ref.endswith(after) and len(ref) > len(before) + len(after)
    ]
