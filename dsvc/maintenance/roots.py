"""What keeps objects alive: the refs, what they were lately, and what the worktrees have staged."""

from collections.abc import Iterator
from itertools import islice
from typing import Final

import msgspec

from dsvc.errors import CorruptionError
from dsvc.log.log import Log
from dsvc.log.reflog import reflog
from dsvc.log.refs import ALIASES, DATASETS, WORKTREES
from dsvc.log.state import State
from dsvc.model.ids import ObjectId
from dsvc.worktree.session import Session

__all__ = ["Root", "roots"]

# What an alias was elsewhere need not be here, and what is said of a dataset is text.
_NO_ROOTS: Final = (ALIASES, DATASETS)


class Root(msgspec.Struct, frozen=True):
    """*name* says what leads to the commit, tag or tree *value*."""

    name: str
    value: ObjectId


def roots(log: Log, state: State, *, keep: int) -> Iterator[Root]:
    """Yield what the refs of *state* are, and the last *keep* values of each ref, deleted ones too.

    Raises:
        CorruptionError: The reflog cannot be read.
    """
    for ref in sorted(state.refs):
        yield from _values(ref, state.refs[ref].value, ref)
    for ref in sorted({*state.refs, *state.deleted}):
        for number, update in enumerate(islice(reflog(log, ref), keep)):
            if update.old is not None:
                yield from _values(ref, update.old, f"{ref}@{{{number + 1}}}")


def _values(ref: str, value: str, name: str) -> Iterator[Root]:
    if ref.startswith(_NO_ROOTS):
        return
    if not ref.startswith(WORKTREES):
        yield Root(name, ObjectId.from_hex(value))
        return
    try:
        session = msgspec.json.decode(value, type=Session)
    except msgspec.DecodeError as error:
        message = f"{name} holds a session that this version cannot read: {error}"
        raise CorruptionError(message) from error
    for each in session.objects:
        yield Root(name, ObjectId.from_hex(each))
