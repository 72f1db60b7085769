"""What can go wrong with a store behind a network, and what that means for whoever asked.

Each kind of store has its own thousand errors; its module sorts them into the few below. Messages say
what to look at, and never hold a secret.
"""

from enum import Enum, auto

import msgspec

from dsvc.errors import InvalidInputError, NotFoundError, RefusedError, StorageError

__all__ = [
    "AccessDeniedError",
    "BucketNotFoundError",
    "CredentialsExpiredError",
    "CredentialsRefusedError",
    "Fault",
    "FaultKind",
    "HostKeyError",
    "MissingExtraError",
    "NoConditionalWritesError",
    "NoCredentialsError",
    "ReadOnlyRemoteError",
    "TlsError",
    "UnreachableError",
]


class MissingExtraError(InvalidInputError):
    """The packages for a kind of address are not installed; they come with the extra *extra*."""

    def __init__(self, scheme: str, extra: str) -> None:
        super().__init__(f"{scheme}:// needs packages that are not installed: they come with dsvc[{extra}]")
        self.extra = extra


class BucketNotFoundError(NotFoundError):
    """The bucket or container that an address names is not there."""

    def __init__(self, bucket: str) -> None:
        super().__init__(f"there is no bucket or container {bucket!r}, or it is not shown to you")
        self.bucket = bucket


class NoCredentialsError(StorageError):
    """Nothing says who we are."""


class CredentialsRefusedError(StorageError):
    """The other side does not know who we say we are."""


class CredentialsExpiredError(CredentialsRefusedError):
    """They were good once."""


class AccessDeniedError(StorageError):
    """The other side knows us, and does not let us."""


class UnreachableError(StorageError):
    """Nobody answers at the address."""


class TlsError(StorageError):
    """The other side cannot show that it is who it should be."""


class HostKeyError(StorageError):
    """An SSH server whose key is not known, or is another one than it was."""


class ReadOnlyRemoteError(RefusedError):
    """Something was to be written where the configuration says that nothing is."""

    def __init__(self, address: str) -> None:
        super().__init__(f"{address} is configured to be read-only")


class NoConditionalWritesError(RefusedError):
    """A store that does not create exclusively: of two writers at once, one would lose its work."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"{address} cannot have several writers: {reason}")


class FaultKind(Enum):
    """What to do about it."""

    ABSENT = auto()
    """There is nothing by that name."""
    EXISTS = auto()
    """There is something by that name, so it was not created."""
    RANGE = auto()
    """The value is shorter than the range that was asked for."""
    BUSY = auto()
    """The other side refused before it did anything, and asks us to come again."""
    UNREACHED = auto()
    """The request was never sent."""
    LOST = auto()
    """It may have been done; what is idempotent can be done again."""
    FINAL = auto()
    """It was not done, and the same again would fail the same way."""


class Fault(msgspec.Struct, frozen=True):
    """A failure of one request: its kind, and the error to raise if nothing can be done about it."""

    kind: FaultKind
    error: Exception
