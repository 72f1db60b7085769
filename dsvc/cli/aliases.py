"""The aliases of `dsvc.lock`: what each of them stands for here and now, which the environment may override."""

import os
from pathlib import Path

import msgspec

from dsvc.cli import console
from dsvc.cli.errors import Failure
from dsvc.cli.session import open_repository
from dsvc.cli.user_cache import surroundings
from dsvc.datasets.address import Address, parse_address
from dsvc.datasets.lockfile import LOCK_FILE, AliasNotFoundError, Locked, find_lock, read_lock, variable_of
from dsvc.errors import InvalidInputError
from dsvc.model.ids import ObjectId
from dsvc.model.paths import quote_path
from dsvc.repository import NotARepositoryError
from dsvc.worktree.worktree import Worktree

__all__ = [
    "Target",
    "find_target",
    "known_lock",
    "nearest_repository",
    "path_within",
    "read_targets",
    "stated_lock",
    "what_is_meant",
]

_NOT_FOUND = 4


class Target(msgspec.Struct, frozen=True):
    """What *alias* stands for: the *version*, called *name*, of *store*, None for the repository; or a plain *folder*.

    *origin* is the store that others get it from, None if there is none; *variable* what overrides the lock file.
    """

    alias: str
    name: str
    store: str | None = None
    origin: str | None = None
    version: str = ""
    folder: Path | None = None
    variable: str | None = None


def stated_lock(given: Path | None) -> Path | None:
    """Return the lock file: the one *given*, or configured, or else the nearest one above the working folder."""
    if given is not None:
        return given
    configured = surroundings()[0].text("use.lock")
    return find_lock(Path.cwd()) if configured is None else Path(configured).expanduser()


def known_lock(given: Path | None = None) -> Path:
    """Return the lock file, as `stated_lock` does.

    Raises:
        Failure: There is none.
    """
    path = stated_lock(given)
    if path is None or not path.is_file():
        message = f"there is no {path or LOCK_FILE} here"
        hint = f"to use a version under an alias, run `dsvc use NAME@VERSION --as ALIAS`, which makes a {LOCK_FILE}"
        raise Failure(message, code=_NOT_FOUND, hint=hint)
    return path


def what_is_meant(address: Address) -> tuple[Address, Target | None]:
    """Return *address*; of `@ALIAS`, where what that stands for can be got, and that."""
    word = address.version
    # `@` and `@{1}` are revisions.
    if address.store is not None or not word.startswith("@") or not word[1:2].isalpha():
        return address, None
    target = find_target(word[1:])
    return Address(target.store, target.version, address.path), target


def path_within(folder: Path, within: bytes | None) -> Path:
    """Return the path *within* a plain *folder*.

    Raises:
        Failure: It is not there.
    """
    path = folder / os.fsdecode(within) if within else folder
    if not os.path.lexists(path):
        message = f"there is no {quote_path(os.fsencode(path))}"
        raise Failure(message, code=_NOT_FOUND)
    return path


def find_target(alias: str) -> Target:
    """Return what *alias* stands for, and say so if it is not what the lock file says.

    Raises:
        AliasNotFoundError: The lock file has no such alias.
        InvalidInputError: What overrides it is nothing that can be used.
    """
    path = known_lock()
    locked = read_lock(path).get(alias)
    if locked is None:
        raise AliasNotFoundError(alias, path)
    target = _target(alias, locked, nearest_repository())
    if target.variable is not None:
        what = str(target.folder or target.name)
        console.warn(f"{target.variable} is set: `{alias}` is {what}, and not {locked.asked} as {path.name} says")
    return target


def read_targets(path: Path) -> list[tuple[Target, Locked]]:
    """Return what each alias of the lock file *path* stands for, and what that says."""
    repository = nearest_repository()
    return [(_target(alias, locked, repository), locked) for alias, locked in read_lock(path).items()]


def nearest_repository() -> Worktree | None:
    """Return the repository that the working folder is in, None if it is in none."""
    try:
        return open_repository()
    except NotARepositoryError:
        return None


def _target(alias: str, locked: Locked, repository: Worktree | None) -> Target:
    variable = variable_of(alias)
    stated = os.environ.get(variable)
    if stated:
        return _overridden(alias, variable, stated, locked)
    # What is here need not be asked for.
    is_here = repository is not None and ObjectId.from_hex(locked.commit) in repository.store.objects
    origin = locked.url or None
    return Target(alias, locked.asked, None if is_here else origin, origin, locked.commit)


def _overridden(alias: str, variable: str, stated: str, locked: Locked) -> Target:
    if ("#" not in stated and stated.startswith(("/", "./", "../", "~"))) or stated in (".", ".."):
        folder = Path(stated).expanduser()
        if not folder.is_dir():
            message = f"{variable}: there is no folder {stated}"
            raise Failure(message, code=_NOT_FOUND, hint="a name is written without a slash or dot before it")
        return Target(alias, stated, folder=folder.absolute(), variable=variable)
    try:
        address = parse_address(stated)
    except InvalidInputError as error:
        message = f"{variable}: {error}"
        raise InvalidInputError(message) from error
    store = address.store or locked.url or None
    return Target(alias, address.version, store, store, address.version, variable=variable)
