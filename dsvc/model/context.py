"""Who acts, and when: passed in, because the library reads neither the clock nor the environment."""

from collections.abc import Callable

import msgspec

__all__ = ["Context"]


class Context(msgspec.Struct, frozen=True):
    """The actor of one command.

    *author* returns "Name <email>" for commits, which may take asking git; *actor* is "user@host" for
    log entries. *now* returns microseconds since 1970 and the local zone's offset in minutes; *nonce*
    a new random text.
    """

    author: Callable[[], str]
    actor: str
    command: str
    now: Callable[[], tuple[int, int]]
    nonce: Callable[[], str]
