"""Whether a store creates exclusively, found out by trying: of several writers at once exactly one may win.

A server that knows nothing of conditions stores whatever comes last and says that all went well; then the
log of a store would lose entries, and with them people's work.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier
from typing import Final

from dsvc.errors import StorageError
from dsvc.storage.backend import Backend, KeyExistsError, UnknownOutcomeError, interrupt
from dsvc.storage.bundle import BundleBackend
from dsvc.storage.faults import NoConditionalWritesError
from dsvc.storage.local import LocalBackend, storage_error
from dsvc.storage.memory import MemoryBackend

__all__ = ["PROBE_FILE", "PROBE_PREFIX", "is_probed", "needs_probe", "probe", "remember_probe"]

PROBE_PREFIX: Final = "probe/"
PROBE_FILE: Final = "probed"
_WRITERS: Final = 8


def needs_probe(backend: Backend) -> bool:
    """Tell whether *backend* leaves creating to somebody else; a disk and memory are known, and a bundle never does."""
    return not isinstance(backend, LocalBackend | MemoryBackend | BundleBackend)


def probe(backend: Backend, address: str, nonce: Callable[[], str]) -> None:
    """Check that *backend*, at *address*, creates exclusively; nothing of the check stays there.

    Raises:
        NoConditionalWritesError: It does not.
        StorageError: It could not be found out.
    """
    key = f"{PROBE_PREFIX}{nonce()}"
    try:
        problem = _problem(backend, key, nonce)
    except Exception:
        _remove(backend, key)
        raise
    _remove(backend, key)
    if problem is not None:
        raise NoConditionalWritesError(address, problem)


def _problem(backend: Backend, key: str, nonce: Callable[[], str]) -> str | None:
    """Return what is wrong with how *backend* creates *key*, None if nothing is."""
    values = [f"{number} {nonce()}".encode() for number in range(_WRITERS)]
    winners = _race(backend, key, values)
    found = backend.read_many([key])[0]
    if found is None:
        return "what was created there is not there"
    if len(winners) != 1:
        return f"of {_WRITERS} writers that created one key at once, {len(winners) or 'none'} had it"
    if found != winners[0]:
        return "a writer that was told it was too late replaced what the first one had stored"
    if _creates(backend, key, nonce().encode()) or backend.read_many([key]) != [found]:
        return "it creates what is there already"
    return None


def _remove(backend: Backend, key: str) -> None:
    # One that stays makes no place taken, and nobody reads it.
    with suppress(StorageError):
        backend.delete(key)


def _race(backend: Backend, key: str, values: list[bytes]) -> list[bytes]:
    """Return those of *values* whose creation went well, all begun at the same time."""
    start = Barrier(len(values))

    def contend(value: bytes) -> bool:
        start.wait()
        return _creates(backend, key, value)

    with ThreadPoolExecutor(len(values)) as pool:
        try:
            return [value for value, won in zip(values, pool.map(contend, values), strict=True) if won]
        except BaseException:
            # Leaving the pool waits for its threads, and they may wait for a network.
            interrupt(backend)
            raise


def _creates(backend: Backend, key: str, value: bytes) -> bool:
    try:
        backend.create(key, value)
    except (KeyExistsError, UnknownOutcomeError):
        # An answer that got lost looks like another's success.
        return backend.read_many([key])[0] == value
    return True


def is_probed(folder: Path, address: str) -> bool:
    """Tell whether *folder* remembers that the store at *address* passed."""
    with suppress(OSError):
        return (folder / PROBE_FILE).read_text("utf-8") == address
    return False


def remember_probe(folder: Path, address: str) -> None:
    """Remember in *folder* that the store at *address* passed; forgotten, it is only found out again."""
    temporary = folder / f"{PROBE_FILE}.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary.write_text(address, "utf-8")
        temporary.replace(folder / PROBE_FILE)
    except OSError as error:
        raise storage_error(error, f"write {folder / PROBE_FILE}") from error
