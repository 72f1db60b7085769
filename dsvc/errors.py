"""The tree of errors. Its second level is what a handler would do about them.

DsvcError
├── NotFoundError        name something else
├── AlreadyExistsError   choose another name
├── InvalidInputError    correct the input
├── ConflictError        look at both sides, then try again
├── BusyError            wait, then try again
├── CorruptionError      stop, and run fsck
├── StorageError         look at the disk or the network
└── RefusedError         allowed on purpose only

The specific class stands beside the code that raises it and carries its data. A message
is a whole lower-case phrase that names the path or the value. Exit codes and hints belong
to the command line alone.
"""

__all__ = [
    "AlreadyExistsError",
    "BusyError",
    "ConflictError",
    "CorruptionError",
    "DsvcError",
    "InvalidInputError",
    "NoSpaceError",
    "NotFoundError",
    "RefusedError",
    "StorageError",
]


class DsvcError(Exception):
    """Any failure that dsvc foresees."""

    def __reduce__(self) -> tuple[object, ...]:
        # What a worker process raises arrives as it was: made anew from its message, most would be something else.
        return _received, (type(self), self.args), self.__dict__


def _received(kind: type[DsvcError], args: tuple[object, ...]) -> DsvcError:
    return kind.__new__(kind, *args)


class NotFoundError(DsvcError):
    """What was named is not there."""


class AlreadyExistsError(DsvcError):
    """What was to be made is already there."""


class InvalidInputError(DsvcError):
    """An argument, a file or a name can never work as it is."""


class ConflictError(DsvcError):
    """Two changes meet, and dsvc will not choose between them."""


class BusyError(DsvcError):
    """Another process is at work on the same thing."""


class CorruptionError(DsvcError):
    """Stored bytes are not what they were."""


class StorageError(DsvcError):
    """The disk or the network failed; the same call may work later."""


class NoSpaceError(StorageError):
    """The disk is full."""


class RefusedError(DsvcError):
    """It could be done, and would harm; ask for it explicitly."""
