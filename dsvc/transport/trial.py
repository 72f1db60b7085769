"""Trying out a remote: what works there, how fast, and what sending something would take."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Final

import msgspec
from blake3 import blake3

from dsvc.errors import DsvcError, StorageError
from dsvc.log.store import CONFIG_KEY
from dsvc.storage.backend import Backend
from dsvc.storage.faults import NoConditionalWritesError
from dsvc.storage.local import LocalBackend
from dsvc.transport.probe import PROBE_PREFIX, probe
from dsvc.transport.remote import Remote

__all__ = ["Check", "Speed", "Trial", "try_remote"]

_SAMPLE: Final = 4 * 1024 * 1024
_ROUNDS: Final = 5


class Check(msgspec.Struct, frozen=True):
    """One thing that was tried: *problem* says how it failed, None if it worked or was left out."""

    name: str
    problem: str | None = None
    skipped: bool = False


class Speed(msgspec.Struct, frozen=True):
    """*latency* of a small read in seconds, and the rates in bytes per second."""

    latency: float
    up: float | None = None
    down: float | None = None


class Trial(msgspec.Struct, frozen=True):
    """What came out: *error* is the first failure that is one of the remote's."""

    checks: list[Check]
    is_store: bool
    speed: Speed | None
    error: DsvcError | None = None


class _Trying:
    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.checks: list[Check] = []
        self.error: DsvcError | None = None

    def check(self, name: str, call: Callable[[], object]) -> bool:
        """Try *call*; note whether it worked, or that it was left out because something before it failed."""
        if self.error is not None and not isinstance(self.error, NoConditionalWritesError):
            self.checks.append(Check(name, skipped=True))
            return False
        try:
            call()
        except DsvcError as error:
            self.checks.append(Check(name, str(error)))
            self.error = self.error or error
            return False
        self.checks.append(Check(name))
        return True


def try_remote(remote: Remote, *, now: Callable[[], float] = time.perf_counter) -> Trial:
    """Try what is needed of *remote*, with objects that are removed again; *now* is a clock in seconds."""
    backend, nonce = remote.origin, remote.context.nonce
    trying = _Trying(backend)
    key, sample = f"{PROBE_PREFIX}{nonce()}/small", f"{PROBE_PREFIX}{nonce()}/sample"
    content = blake3(nonce().encode()).digest(length=_SAMPLE)
    found: list[bool] = []
    trying.check("reach", lambda: found.append(_reach(remote)))
    was_there = isinstance(backend, LocalBackend) and backend.root.is_dir()
    latency = _latency(backend, now) if trying.error is None else 0.0
    up = down = None
    if remote.settings.read_only:
        trying.checks += [Check(name, skipped=True) for name in ("write", "create", "exclusive create", "read")]
        trying.checks += [Check(name, skipped=True) for name in ("range reads", "list", "delete")]
    else:
        try:
            start = now()
            if trying.check("write", lambda: backend.write(sample, content)):
                up = _SAMPLE / max(now() - start, 1e-9)
            trying.check("create", lambda: backend.create(key, b"first"))
            if not remote.settings.single_writer:
                trying.check("exclusive create", lambda: probe(backend, remote.address, nonce))
            start = now()
            if trying.check("read", lambda: _expect(backend.read(sample) == content, "other bytes came back")):
                down = _SAMPLE / max(now() - start, 1e-9)
            trying.check("range reads", lambda: _check_ranges(backend, sample, content))
            trying.check("list", lambda: _check_list(backend, key))
        finally:
            deleted = trying.check("delete", lambda: _check_delete(backend, [key, sample]))
            if not deleted:
                with suppress(DsvcError):
                    _check_delete(backend, [key, sample])
            if isinstance(backend, LocalBackend):
                _remove_folders(backend.root, was_there=was_there)
    speed = Speed(latency, up, down) if trying.checks[0].problem is None else None
    return Trial(trying.checks, bool(found and found[0]), speed, trying.error)


def _reach(remote: Remote) -> bool:
    """Tell whether a store is there; if not, one could be."""
    if remote.is_store:
        return True
    remote.check_creatable()
    return False


def _remove_folders(root: Path, *, was_there: bool) -> None:
    """Remove the folders that values were in, which only a disk has."""
    probed = root / PROBE_PREFIX.rstrip("/")
    made = [*sorted(probed.glob("*"), reverse=True), probed]
    for folder in made if was_there else [*made, root / "tmp", root]:
        with suppress(OSError):
            folder.rmdir()


def _latency(backend: Backend, now: Callable[[], float]) -> float:
    taken = []
    for _ in range(_ROUNDS):
        start = now()
        backend.read_many([CONFIG_KEY])
        taken.append(now() - start)
    return median(taken)


def _expect(is_right: bool, problem: str) -> None:  # noqa: FBT001 (what was found, not an option)
    if not is_right:
        raise StorageError(problem)


def _check_ranges(backend: Backend, key: str, content: bytes) -> None:
    ranges = [(0, 100), (1_000_000, 1000), (_SAMPLE - 7, 7)]
    right = backend.read_ranges(key, ranges) == [content[start : start + length] for start, length in ranges]
    _expect(right, "other bytes came back")


def _check_list(backend: Backend, key: str) -> None:
    folder = key.rpartition("/")[0] + "/"
    _expect([name for name, _ in backend.list(folder)] == [key], "what was created is not listed")


def _check_delete(backend: Backend, keys: list[str]) -> None:
    for key in keys:
        backend.delete(key)
    _expect(backend.read_many(keys) == [None] * len(keys), "what was deleted is still there")
