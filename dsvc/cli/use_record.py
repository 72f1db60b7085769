"""Telling on a remote that a version is used."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dsvc.cli import console
from dsvc.cli.aliases import Target
from dsvc.cli.errors import describe
from dsvc.cli.progress_bar import progress_bar
from dsvc.cli.session import make_context, open_repository
from dsvc.cli.user_cache import find_store, open_cache, open_source, surroundings
from dsvc.errors import DsvcError
from dsvc.log.uses import record_use
from dsvc.storage.backend import Backend
from dsvc.transport.address import open_backend, redact
from dsvc.transport.remote import NoStoreError, Remote

__all__ = ["place_of", "record_targets"]

# As their libraries call them.
_RUNS: Final = ("DSVC_RUN", "MLFLOW_RUN_ID", "WANDB_RUN_ID", "CLEARML_TASK_ID")
_LONGEST: Final = 8192


def record_targets(targets: Sequence[Target], *, run: str | None, url: str | None) -> None:
    """Tell of each of *targets*, on the remote that it is of, that it is used; where that fails, say so.

    *run* is the name of the work, by default that of the configuration or of an environment of experiments.
    """
    config = surroundings()[0]
    named = run or config.text("use.run-name") or next(filter(None, map(os.environ.get, _RUNS)), "")
    for target in targets:
        if target.folder is not None:
            console.say(f"`{target.alias}` is the folder {target.folder}, and no version, so its use is not recorded")
            continue
        try:
            _record(target, named, redact(url or ""), host=config.flag("use.record-host"))
        except (DsvcError, OSError) as error:
            # What is at work must not fail for that.
            console.warn(f"the use of {target.name} was not recorded: {describe(error)}")


def _record(target: Target, run: str, url: str, *, host: bool) -> None:
    config = surroundings()[0]
    context = make_context(config)
    with progress_bar() as progress:
        source = open_source(open_cache(config), target.store, offline=False, progress=progress)
        commit = bytes.fromhex(source.resolve(target.version).commit)
    backend, where = place_of(target.origin)
    record_use(backend, context, commit, target.name, host=host, run=run[:_LONGEST], url=url[:_LONGEST])
    console.say(f"recorded on {where} that you use {target.name}{f' in {run}' if run else ''}")


def place_of(store: str | None) -> tuple[Backend, str]:
    """Return where to tell it, and what that is called: *store*, or else the repository itself."""
    if store is None:
        return open_repository().store.backend, "this repository"
    address, settings = find_store(store)
    backend = open_backend(address, Path("/"), settings)
    if not Remote(store, address, backend, make_context(surroundings()[0]), settings=settings).is_store:
        raise NoStoreError(address)
    return backend, redact(store)
