"""Who acts, and when: passed in, because the library reads neither the clock nor the environment."""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from dsvc.model.canonical_json import JsonObject
from dsvc.model.commit import Input

__all__ = ["Context"]


def _no_inputs() -> Sequence[Input]:
    return ()


def _no_run() -> JsonObject:
    return {}


class Context(msgspec.Struct, frozen=True):
    """The actor of one command.

    *author* returns "Name <email>" for commits, which may take asking git; *actor* is "user@host" for
    log entries. *now* returns microseconds since 1970 and the local zone's offset in minutes; *nonce*
    a new random text. *environment* is where variables are looked up that the configuration names. *inputs* returns
    the versions that the program, of which this command is a part, has got or used so far; *run* what commits are to
    say of that program.
    """

    author: Callable[[], str]
    actor: str
    command: str
    now: Callable[[], tuple[int, int]]
    nonce: Callable[[], str]
    environment: Mapping[str, str] = {}
    inputs: Callable[[], Sequence[Input]] = _no_inputs
    run: Callable[[], JsonObject] = _no_run
