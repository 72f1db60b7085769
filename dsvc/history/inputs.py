"""Inputs: the versions that a commit says it was made from, by a name and an id.

They are names and not references. So one may be of another store altogether, where what people call it is all
that can be said here; what is here, or was seen on a remote, is looked up once, when it is named.
"""

import re
from typing import Final

from dsvc.errors import InvalidInputError
from dsvc.history.head import UNBORN, Head
from dsvc.history.revisions import UnknownRevisionError, resolve
from dsvc.history.store import Store
from dsvc.log.state import State
from dsvc.model.commit import Input

__all__ = ["UnknownInputError", "UnnamedInputError", "read_input"]

_WITH_ID: Final = re.compile(r"(?:(?P<name>.+)@)?(?P<id>[0-9a-f]{64})", re.DOTALL)


class UnknownInputError(UnknownRevisionError):
    """A version that is neither here, nor known of a remote."""


class UnnamedInputError(InvalidInputError):
    """The id of a version that is not here, and no name to know it by."""

    def __init__(self, text: str) -> None:
        super().__init__(f"commit {text} is not here, so it needs a name too")
        self.text = text


def read_input(store: Store, state: State, text: str, *, head: Head = UNBORN) -> Input:
    """Return the input that *text* names: a version that is here, or `NAME@ID` of one that need not be.

    Raises:
        UnknownInputError: It names none.
        AmbiguousIdError: It may be several.
        UnnamedInputError: It is an id of 64 digits without a name, and not here.
    """
    with_id = _WITH_ID.fullmatch(text)
    if with_id and with_id["name"] and text.isprintable():
        return Input(with_id["name"], bytes.fromhex(with_id["id"]))
    try:
        return Input(text, bytes(resolve(store, state, text, head=head)))
    except UnknownRevisionError:
        raise (UnnamedInputError if with_id else UnknownInputError)(text) from None
