"""Who acts, and when: passed in, because the library reads neither the clock nor the environment."""

from collections.abc import Callable, Mapping

import msgspec

__all__ = ["Context"]


class Context(msgspec.Struct, frozen=True):
    """The actor of one command.

    *author* returns "Name <email>" for commits, which may take asking git; *actor* is "user@host" for
    log entries. *now* returns microseconds since 1970 and the local zone's offset in minutes; *nonce*
    a new random text. *environment* is where variables are looked up that the configuration names.
    """

    author: Callable[[], str]
    actor: str
    command: str
    now: Callable[[], tuple[int, int]]
    nonce: Callable[[], str]
    environment: Mapping[str, str] = {}
