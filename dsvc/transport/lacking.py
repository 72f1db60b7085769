"""Stores that lack what they were promised: those of lazy and shallow clones, where such a one is used as a remote.

Who reads from one is told so. What it relies on is not asked in its place: nothing is fetched from an address that
the user did not name.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from dsvc.config import Config, ConfigError
from dsvc.errors import StorageError
from dsvc.odb.database import ObjectDatabase
from dsvc.odb.objects import OutOfReachError
from dsvc.progress import NO_PROGRESS, Progress
from dsvc.storage.backend import Backend
from dsvc.storage.local import LocalBackend
from dsvc.transport.address import has_worktree, redact

__all__ = ["LackingRemoteError", "NotAsked", "clone_of"]


class LackingRemoteError(OutOfReachError):
    """*what* is not here, and *remote*, which is itself the clone that *reason* says, lacks it too."""

    wording = "cannot read {what}: it is neither here nor in {remote}, which is itself {reason}"


def clone_of(backend: Backend) -> str | None:
    """Return what the store in *backend* is, such as `a lazy clone of ADDRESS`, if it relies on others for some data.

    None stands for one that is whole, and for one of which nobody can tell: only a folder shows its configuration.
    """
    if not isinstance(backend, LocalBackend):
        return None
    control = backend.root.parent if has_worktree(backend, "") else backend.root
    try:
        config = Config().with_repository(control / "config.toml")
        names = config.promisors()
    except (ConfigError, StorageError):
        return None
    if not names:
        return None
    kind = "shallow" if any(config.flag(f"remote.{name}.shallow") for name in names) else "lazy"
    return f"a {kind} clone of {' and '.join(redact(config.remotes()[name]) for name in names)}"


class NotAsked:
    """The promisor that says no, with *refusal*, of a store that has *objects*."""

    def __init__(self, objects: ObjectDatabase, refusal: OutOfReachError) -> None:
        self._objects: Final = objects
        self._refusal: Final = refusal

    def bring(self, object_ids: Iterable[bytes], progress: Progress = NO_PROGRESS) -> list[bytes]:
        """Do nothing, if all of *object_ids* are there.

        Raises:
            OutOfReachError: One is not.
        """
        del progress
        for object_id in self.unpromised(object_ids):
            self._refuse(object_id)
        return []

    def unpromised(self, object_ids: Iterable[bytes]) -> list[bytes]:
        """Return those of *object_ids* that are not there."""
        return [object_id for object_id in object_ids if object_id not in self._objects]

    def stream(self, kind: int, object_ids: Sequence[bytes]) -> Iterator[tuple[bytes, bytes | bytearray | memoryview]]:
        """Refuse.

        Raises:
            OutOfReachError: As it is called only for what is not there.
        """
        del kind
        self._refuse(object_ids[0])
        return iter(())

    def _refuse(self, object_id: bytes) -> None:
        what = f"object {object_id.hex()}"
        raise self._refusal.about(what)
