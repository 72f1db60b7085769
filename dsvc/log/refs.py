"""Ref names: `refs/heads/NAME` and its kin, and the short names that people type.

What a ref points to is a string; of that, this module knows only its outer form.
"""

import re
from typing import Final

from dsvc.errors import InvalidInputError

__all__ = [
    "ALIASES",
    "DATASETS",
    "HEADS",
    "MAX_REF_NAME_LENGTH",
    "REMOTES",
    "TAGS",
    "WORKTREES",
    "InvalidRefNameError",
    "alias_ref",
    "branch_ref",
    "check_ref_name",
    "check_ref_value",
    "remote_ref",
    "short_name",
    "tag_ref",
    "worktree_ref",
]

HEADS: Final = "refs/heads/"
TAGS: Final = "refs/tags/"
REMOTES: Final = "refs/remotes/"
WORKTREES: Final = "refs/worktrees/"
ALIASES: Final = "refs/aliases/"
DATASETS: Final = "refs/datasets/"

MAX_REF_NAME_LENGTH: Final = 1024
_MAX_VALUE_LENGTH: Final = 64 * 1024

# After git-check-ref-format(1), but a component must not start with "-" either: it would read as an option.
# Spaces and controls beyond ASCII are listed, not asked of `str.isspace`: every version of Python must agree.
_FORBIDDEN: Final = re.compile(
    r"[\x00-\x20\x7f~^:?*\[\\]"
    r"|[\x80-\xa0\u1680\u2000-\u200b\u200e\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff\ud800-\udfff]"
    r"|\.\.|@\{|//"
    r"|(?:^|/)[.-]"
    r"|\.lock(?:/|$)|[./]$"
)
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
_OBJECT_ID: Final = re.compile(r"[0-9a-f]{64}")


class InvalidRefNameError(InvalidInputError):
    """A name that no ref may have, or a value that this ref may not have."""

    def __init__(self, ref: str, reason: str) -> None:
        super().__init__(f"invalid ref {ref!r}: {reason}")
        self.ref = ref


def check_ref_name(ref: str) -> str:
    """Return *ref* if a ref may be called so: `refs/KIND/NAME`, and NAME may have slashes.

    Raises:
        InvalidRefNameError: It may not.
    """
    if not ref.startswith("refs/") or ref.count("/") < 2:
        raise InvalidRefNameError(ref, "it is not of the form refs/KIND/NAME")
    found = _FORBIDDEN.search(ref)
    if found:
        raise InvalidRefNameError(ref, f"it holds or ends with {found.group()!r}")
    if len(ref.encode()) > MAX_REF_NAME_LENGTH:
        raise InvalidRefNameError(ref, f"it is over {MAX_REF_NAME_LENGTH} bytes long")
    return ref


def check_ref_value(ref: str, value: str) -> str:
    """Return *value* if *ref* may have it: an object id in hex, but for a worktree, which is free.

    Raises:
        InvalidRefNameError: It may not.
    """
    if ref.startswith((HEADS, TAGS, REMOTES)) and not _OBJECT_ID.fullmatch(value):
        raise InvalidRefNameError(ref, f"its value is not an object id: {value[:80]!r}")
    if len(value) > _MAX_VALUE_LENGTH or _SURROGATE.search(value):
        raise InvalidRefNameError(ref, f"its value is over {_MAX_VALUE_LENGTH} characters long, or not Unicode")
    return value


def branch_ref(name: str) -> str:
    """Return the ref of the branch *name*.

    Raises:
        InvalidRefNameError: No branch may be called so.
    """
    return check_ref_name(HEADS + name)


def tag_ref(name: str) -> str:
    """Return the ref of the tag *name*.

    Raises:
        InvalidRefNameError: No tag may be called so.
    """
    return check_ref_name(TAGS + name)


def remote_ref(remote: str, name: str) -> str:
    """Return the ref that remembers the branch *name* of *remote*.

    Raises:
        InvalidRefNameError: *remote* has a slash, or no ref may be called so.
    """
    ref = f"{REMOTES}{remote}/{name}"
    if "/" in remote:
        raise InvalidRefNameError(ref, "the name of a remote has no slash")
    return check_ref_name(ref)


def alias_ref(remote: str, tag: str) -> str:
    """Return the ref that remembers where the tag *tag*, a full name, was moved to in *remote*."""
    return check_ref_name(f"{ALIASES}{remote}/{tag.removeprefix(TAGS)}")


def worktree_ref(worktree: str) -> str:
    """Return the session ref of the worktree with the id *worktree*.

    Raises:
        InvalidRefNameError: No worktree may be called so.
    """
    return check_ref_name(WORKTREES + worktree)


def short_name(ref: str) -> str:
    """Return what people call *ref*: `main` for refs/heads/main, `origin/main` for refs/remotes/origin/main."""
    return ref.split("/", 2)[2] if ref.startswith((HEADS, TAGS, REMOTES, WORKTREES, DATASETS)) else ref
