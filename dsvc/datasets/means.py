"""What a get works with, all of it together: it is passed on and on, and never changes on the way."""

from typing import TYPE_CHECKING

import msgspec

from dsvc.datasets.source import Source
from dsvc.datasets.user_cache import UserCache
from dsvc.progress import NO_PROGRESS, Progress
from dsvc.worktree.workers import ALONE, Workers

if TYPE_CHECKING:
    from collections.abc import Callable

    from dsvc.datasets.links import Links

__all__ = ["Means"]


class Means(msgspec.Struct, frozen=True):
    """The *cache* to fill from the *source*; *links* returns what reads external content, and is None if nobody may."""

    cache: UserCache
    source: Source
    links: "Callable[[], Links] | None" = None
    workers: Workers = ALONE
    progress: Progress = NO_PROGRESS
