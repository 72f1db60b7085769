"""The user's cache, and the stores that versions are got from, as configuration and command line say."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from dsvc.cli.errors import Failure, UsageError, exit_code
from dsvc.cli.session import load_config, make_context, open_repository, user_cache_folder, user_config_file
from dsvc.config import Config
from dsvc.datasets.amounts import BadAmountError, parse_duration, parse_size
from dsvc.datasets.source import RepositorySource, Source
from dsvc.datasets.user_cache import UserCache
from dsvc.progress import Progress
from dsvc.repository import NotARepositoryError, find_control

if TYPE_CHECKING:
    from dsvc.storage.settings import Settings

__all__ = ["cache_keep", "cache_limit", "find_store", "open_cache", "open_source", "surroundings"]


def surroundings() -> tuple[Config, Path | None]:
    """Return the configuration, and the control folder of the repository where we are, None if we are in none."""
    try:
        control = find_control(Path.cwd())
    except NotARepositoryError:
        return load_config(), None
    return load_config(control), control


def open_cache(config: Config) -> UserCache:
    """Return the user's cache.

    Raises:
        UsageError: `cache.dir` is not an absolute path.
    """
    stated = config.text("cache.dir")
    folder = user_cache_folder() if stated is None else Path(stated).expanduser()
    if not folder.is_absolute():
        message = f"cache.dir cannot be `{stated}`: it is no absolute path"
        raise UsageError(message)
    shared = config.flag("cache.shared")
    if shared:
        # The group may do what the owner may; all else is as the user has it.
        os.umask(os.umask(0o077) & ~0o070)
    return UserCache.open(folder, shared=shared)


def cache_limit(config: Config) -> int | None:
    """Return how many bytes the cache may hold, None without a limit."""
    stated = config.text("cache.max-size")
    try:
        return None if stated is None else parse_size(stated)
    except BadAmountError as error:
        message = f"cache.max-size: {error}"
        raise UsageError(message) from error


def cache_keep(config: Config) -> int:
    """Return for how many seconds what was asked for stays."""
    try:
        return parse_duration(config.text("cache.keep") or "0")
    except BadAmountError as error:
        message = f"cache.keep: {error}"
        raise UsageError(message) from error


def open_source(cache: UserCache, store: str | None, *, offline: bool, progress: Progress) -> Source:
    """Return where to get versions from: *store*, a remote's name or an address, or the repository where we are.

    Raises:
        Failure: We are in none, or *store* is neither.
    """
    if store is None:
        try:
            return RepositorySource(open_repository(), offline=offline)
        except NotARepositoryError as error:
            hint = "to name what is in a store, write `REMOTE#NAME`: a remote's name or its address, and what is in it"
            raise Failure(str(error), code=exit_code(error), hint=hint) from error
    # All of transport, which what is here does not need.
    from dsvc.cli.exchange import remote_hints
    from dsvc.datasets.remote_source import open_remote_source
    from dsvc.transport.address import redact

    config, _ = surroundings()
    with remote_hints(store):
        address, settings = find_store(store)
    context, label = make_context(config), redact(store)
    return open_remote_source(cache, label, address, context, settings=settings, offline=offline, progress=progress)


def find_store(store: str) -> "tuple[str, Settings]":
    """Return the address, which means the same everywhere, of *store*, a remote's name or an address, and its settings.

    Raises:
        RemoteNotFoundError: It is neither.
    """
    from dsvc.storage.settings import NO_SETTINGS, read_settings
    from dsvc.transport.address import resolve_address
    from dsvc.transport.remote import RemoteNotFoundError

    config, control = surroundings()
    remotes = {name: resolve_address(one, _base(config, control, name)) for name, one in config.remotes().items()}
    if store in remotes:
        return remotes[store], read_settings(config, store, os.environ)
    if not ("/" in store or store.startswith(".") or Path(store).exists()):
        raise RemoteNotFoundError(store)
    address = resolve_address(store, Path.cwd())
    # Whoever names a remote by its address means it as it is configured.
    known = next((name for name, one in remotes.items() if one == address), None)
    return address, NO_SETTINGS if known is None else read_settings(config, known, os.environ)


def _base(config: Config, control: Path | None, remote: str) -> Path:
    """Return what a path as the address of *remote* is relative to: the repository, or else the user's own settings."""
    from dsvc.transport.remote import base_folder

    is_own = control is not None and config.origin(f"remote.{remote}.url") == "repository"
    return base_folder(control) if control is not None and is_own else user_config_file().parent
