"""What a get works with, all of it together: it is passed on and on, and never changes on the way."""

import msgspec

from dsvc.datasets.links import Links
from dsvc.datasets.source import Source
from dsvc.datasets.user_cache import UserCache
from dsvc.progress import NO_PROGRESS, Progress
from dsvc.worktree.workers import ALONE, Workers

__all__ = ["Means"]


class Means(msgspec.Struct, frozen=True):
    """The *cache* to fill from the *source*; the content of external entries is read by *links*, None if by nobody."""

    cache: UserCache
    source: Source
    links: Links | None = None
    workers: Workers = ALONE
    progress: Progress = NO_PROGRESS
