"""`dsvc.lock`: which versions of which datasets some code uses, in a small text to be kept with the code.

    [use.train]
    name = "vision/imagenet"
    version = "1.2.0"
    commit = "3f9a…"
    tree = "84cc…"
    url = "s3://bucket/vision"

One table for each alias, in order, so that changes are few lines, and two people's are merged by git. The commit and
the tree say exactly what is meant, wherever it is got from; name and version, what was asked for, and what to look for
again when the code is to use something newer.
"""

import fcntl
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import msgspec

from dsvc.errors import InvalidInputError, NotFoundError
from dsvc.storage.local import storage_error
from dsvc.storage.temporary import temporary_name

__all__ = [
    "LOCK_FILE",
    "AliasClashError",
    "AliasNotFoundError",
    "Locked",
    "MalformedLockError",
    "change_lock",
    "check_alias",
    "find_lock",
    "read_lock",
    "usual_alias",
    "variable_of",
]

LOCK_FILE: Final = "dsvc.lock"
_FORMAT: Final = 1
_ALIAS: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_NOT_IN_ALIAS: Final = re.compile(r"[^A-Za-z0-9_-]+")
_Id = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
_HEADER: Final = """\
# Which versions of datasets this code uses. Keep it with the code; `dsvc use` writes it.
format = 1
"""


class MalformedLockError(InvalidInputError):
    """A lock file that this version cannot read."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"cannot read {path}: {reason}")
        self.path = path


class AliasNotFoundError(NotFoundError):
    """No version is used under an alias."""

    def __init__(self, alias: str, path: Path) -> None:
        super().__init__(f"{path} has no `{alias}`")
        self.alias = alias


class AliasClashError(InvalidInputError):
    """Two aliases that one variable would stand for."""

    def __init__(self, alias: str, other: str) -> None:
        super().__init__(f"`{alias}` and `{other}` would both be {variable_of(alias)} in the environment")
        self.alias = alias
        self.other = other


class Locked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A version that is used: of the dataset *name*, the *version* asked for, and the *commit* and *tree* of it then.

    *version* is empty for whatever is newest. *url* is where it can be got, without credentials; empty if only in the
    repository that the code is in.
    """

    name: str
    commit: _Id
    tree: _Id
    version: str = ""
    url: str = ""

    @property
    def asked(self) -> str:
        """The name and the version as they were asked for."""
        return f"{self.name}@{self.version}" if self.version else self.name


Locks = dict[str, Locked]


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    format: int
    use: Locks = {}


def check_alias(alias: str) -> str:
    """Return *alias* if a version may be used under it.

    Raises:
        InvalidInputError: It may not.
    """
    if not _ALIAS.fullmatch(alias):
        message = f"an alias cannot be called {alias!r}: it is a letter, then letters, digits, `-` and `_`"
        raise InvalidInputError(message)
    return alias


def usual_alias(name: str) -> str:
    """Return the alias for the dataset *name* that nobody gave one: the last of its words."""
    return check_alias(_NOT_IN_ALIAS.sub("-", name.rpartition("/")[2]))


def variable_of(alias: str) -> str:
    """Return the variable of the environment that overrides *alias*."""
    return f"DSVC_USE_{alias.upper().replace('-', '_')}"


def find_lock(start: Path) -> Path | None:
    """Return the lock file of the folder *start* or of the nearest folder above it."""
    return next((path for folder in (start, *start.parents) if (path := folder / LOCK_FILE).is_file()), None)


def read_lock(path: Path) -> Locks:
    """Return what *path* says by alias, in order; nothing if it is not there.

    Raises:
        MalformedLockError: It says something else.
        StorageError: It cannot be read.
    """
    import tomllib

    try:
        document = msgspec.convert(tomllib.loads(path.read_text("utf-8")), _Document)
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise MalformedLockError(path, str(error)) from error
    except OSError as error:
        raise storage_error(error, f"read {path}") from error
    if document.format != _FORMAT:
        raise MalformedLockError(path, f"its format is {document.format}, of a newer dsvc")
    for alias in document.use:
        check_alias(alias)
    return dict(sorted(document.use.items()))


def change_lock(path: Path, change: Callable[[Locks], Locks]) -> Locks:
    """Let *path* say what *change* makes of what it says, and return that; others change it before or after.

    Raises:
        MalformedLockError: It says something else; it is as it was.
        AliasClashError: Two aliases would be one; it is as it was.
        StorageError: It cannot be written.
    """
    try:
        with _alone(path.parent):
            changed = change(read_lock(path))
            _check_variables(changed)
            _write(path, _text(changed))
            return changed
    except OSError as error:
        raise storage_error(error, f"write {path}") from error


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    # A file to lock would lie about in the repository of the code.
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _check_variables(locks: Mapping[str, Locked]) -> None:
    aliases: dict[str, str] = {}
    for alias in locks:
        other = aliases.setdefault(variable_of(alias), alias)
        if other != alias:
            raise AliasClashError(alias, other)


def _text(locks: Mapping[str, Locked]) -> str:
    tables = [_table(alias, locked) for alias, locked in sorted(locks.items())]
    return "\n".join([_HEADER, *tables])


def _table(alias: str, locked: Locked) -> str:
    fields = [("name", locked.name), ("version", locked.version), ("commit", locked.commit), ("tree", locked.tree)]
    lines = [f"{key} = {_quoted(value)}" for key, value in (*fields, ("url", locked.url)) if value]
    return "\n".join([f"[use.{alias}]", *lines, ""])


def _quoted(text: str) -> str:
    # A string of JSON is one of TOML, but for DEL.
    return msgspec.json.encode(text).decode().replace("\x7f", "\\u007f")


def _write(path: Path, text: str) -> None:
    # A link to the real file stays a link.
    target = path.resolve()
    temporary = target.with_name(temporary_name())
    try:
        temporary.write_text(text, "utf-8")
        if target.exists():
            temporary.chmod(target.stat().st_mode & 0o777)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
