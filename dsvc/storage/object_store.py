"""A backend over a network: what all kinds of stores there have in common.

A *driver* knows one kind, and does one request at a time. This puts many of them in flight, tries again,
checks what came, and turns answers into the backend's. All requests run on fsspec's loop, in a
thread of its own, so Ctrl-C ends a wait at once.

Nothing of this survives a fork: threads and connections do not. So processes are forked before a remote is
opened, and afterwards started anew (`dsvc.cli.workers`); in a child that was forked all the same, a call fails.
"""

import asyncio
import os
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from threading import get_ident
from typing import Final, Protocol, TypeVar

from fsspec.asyn import get_loop

from dsvc.errors import DsvcError, InvalidInputError, StorageError
from dsvc.storage.backend import (
    KeyExistsError,
    KeyNotFoundError,
    UnknownOutcomeError,
    check_key,
    check_prefix,
)
from dsvc.storage.bandwidth import Bandwidth
from dsvc.storage.faults import Fault, FaultKind, ReadOnlyRemoteError
from dsvc.storage.retry import Clock, FaultError, RetryPolicy, retrying
from dsvc.storage.settings import Settings

__all__ = ["CONCURRENCY", "DamagedUploadError", "Driver", "ObjectStore", "Page"]

Buffer = bytes | bytearray | memoryview
Page = tuple[list[tuple[str, int]], str | None]
Result = TypeVar("Result")

# Who has pressed Ctrl-C waits so many seconds more, at most, for what is said at the end.
_FAREWELL: Final = 0.5
# Nearly all values are smaller, and take one request.
_PIECE: Final = 16 * 1024 * 1024
# Requests in flight, of all threads together. More does not make a bucket faster, and each takes a connection.
CONCURRENCY: Final = 32
# A create is not idempotent: only what surely did not happen is tried again here. The log does the rest. (aiohttp
# sends a PUT once more where a connection breaks, and cannot be told not to; so "it is there" may be our own.)
_SILENCE: Final = (FaultKind.UNREACHED, FaultKind.LOST)
_NOTHING_DONE: Final = (FaultKind.FINAL, FaultKind.UNREACHED, FaultKind.ABSENT)
_HARMLESS: Final = frozenset({FaultKind.BUSY, FaultKind.UNREACHED})


class DamagedUploadError(Exception):
    """The store says that it got other bytes than were sent."""


class Driver(Protocol):
    """One kind of store. No method tries again, and each is one request; a large value may take several.

    Names are keys with the prefix of the address in front. Methods are called on the loop only.
    """

    async def get(self, name: str, start: int, length: int | None) -> bytes:
        """Return *length* bytes of *name* from *start*, or all that follow; fewer where there are no more."""

    async def head(self, name: str) -> int:
        """Return the length of *name*."""

    async def put(self, name: str, value: Buffer, *, exclusive: bool) -> None:
        """Store *value* as *name*, if *exclusive* in one request that fails if something is there.

        A digest goes along, by which the store can refuse what was damaged on the way; and where it answers with one,
        that is compared.

        Raises:
            DamagedUploadError: It has something else now, or has refused that.
        """

    async def remove(self, name: str) -> None:
        """Remove *name*, whether it is there or not."""

    async def page(self, prefix: str, token: str | None) -> Page:
        """Return some of the (name, length) below *prefix*, and the token for those that follow, None at the end."""

    async def close(self) -> None:
        """Close all connections."""

    def abandon(self) -> None:
        """End what cancelling a call does not end. May be called in any thread."""

    def sort(self, error: Exception) -> Fault | None:
        """Return what *error*, raised by one of the above, means; None if it is none of theirs."""


class ObjectStore:
    """Values as objects of a store behind a network, in which *prefix* comes before each key."""

    def __init__(
        self, driver: Driver, address: str, prefix: str, settings: Settings, clock: Clock | None = None
    ) -> None:
        self.address: Final = address
        self.requests = 0
        self._driver = driver
        self._prefix = f"{prefix}/" if prefix else ""
        self._settings = settings
        self._clock = clock or Clock()
        self._policy = RetryPolicy(deadline=settings.deadline, patience=min(RetryPolicy().patience, settings.deadline))
        self._loop: asyncio.AbstractEventLoop = get_loop()
        self._process = os.getpid()
        self._slots = asyncio.Semaphore(CONCURRENCY)
        self._pending: set[Future[object]] = set()
        self._answered = False
        self._closed = False
        self._leaving = False
        self._only: int | None = None
        # At the end of the program too: else each library says in its own way that it was not closed.
        weakref.finalize(self, _close, driver, self._loop)
        self._up, self._down = (
            Bandwidth(settings.bandwidth, self._clock.now, self._clock.wait) if settings.bandwidth else None
            for _ in range(2)
        )

    # What the protocol asks for.

    def read(self, key: str) -> bytes:
        """Return the value of *key*."""
        return self._run(self._read(check_key(key), 0, None))

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the values of *keys*, None where nothing is there."""
        return self._run(_all(self._read_or_none(key) for key in map(check_key, list(keys))))

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of *key* in each range of (offset, length)."""
        return self._run(self._read_ranges(check_key(key), ranges))

    def pieces(self, key: str) -> Iterator[bytes]:
        """Yield the value of *key* in pieces."""
        start, more = 0, True
        while more:
            piece = self._run(self._read_piece(check_key(key), start))
            start, more = start + len(piece), len(piece) == _PIECE
            yield piece

    def size(self, key: str) -> int:
        """Return the length of the value of *key*."""
        return self._run(self._asking(key, lambda: self._driver.head(self._name(check_key(key)))))

    def write(self, key: str, value: Buffer) -> None:
        """Store *value* as *key*."""
        self._check_writable()
        self._run(self._write(check_key(key), value))

    def create(self, key: str, value: Buffer) -> None:
        """Store *value* as *key* only if nothing is there."""
        self._check_writable()
        self._run(self._create(check_key(key), value))

    def delete(self, key: str) -> None:
        """Remove *key*."""
        self._check_writable()
        self._run(self._asking(key, lambda: self._driver.remove(self._name(check_key(key)))))

    # What it can do beyond.

    def names(self) -> Iterator[str]:
        """Yield the names of all that is below the address, also of what is no key of ours."""
        for name, _ in self._names(self._prefix):
            yield name[len(self._prefix) :]

    def interrupt(self) -> None:
        """Make what other threads wait for fail at once, and what they call from now on; this one may soon end."""
        self._only = get_ident()
        self._leaving = True
        self._cancel()

    def _cancel(self) -> None:
        for future in list(self._pending):
            future.cancel()
        self._driver.abandon()

    def close(self) -> None:
        """Give up whatever other threads still wait for, close all connections, and make no more."""
        self._closed = True
        self._cancel()
        _close(self._driver, self._loop)

    # How.

    def _name(self, key: str) -> str:
        return self._prefix + key

    def _check_writable(self) -> None:
        if self._settings.read_only:
            raise ReadOnlyRemoteError(self.address)

    def _run(self, work: Coroutine[object, object, Result]) -> Result:
        """Return what *work* returns, done on the loop while this thread waits."""
        if os.getpid() != self._process:
            work.close()
            message = f"the connection to {self.address} was opened by another process"
            raise StorageError(message)
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        self._pending.add(future)  # type: ignore[arg-type]  # only to cancel it
        if self._closed or self._only not in (None, get_ident()):
            future.cancel()
        try:
            return future.result(_FAREWELL if self._leaving else None)
        except CancelledError:
            message = f"what was asked of {self.address} is not wanted any more"
            raise StorageError(message) from None
        except TimeoutError:
            # The program's own; those of the network are faults by now.
            self._cancel()
            message = f"{self.address} was not waited for any longer"
            raise StorageError(message) from None
        except KeyboardInterrupt:
            self._leaving = True
            self._cancel()
            raise
        finally:
            self._pending.discard(future)

    async def _retrying(
        self, call: Callable[[], Awaitable[Result]], transient: frozenset[FaultKind] | None = None
    ) -> Result:
        async def answered() -> Result:
            self.requests += 1
            result = await call()
            self._answered = True
            return result

        options = {} if transient is None else {"transient": transient}
        async with self._slots:
            return await retrying(
                answered, self._sort, self._policy, self._clock, is_known=lambda: self._answered, **options
            )

    def _sort(self, error: Exception) -> Fault | None:
        if isinstance(error, DsvcError):
            return Fault(FaultKind.FINAL, error)
        if isinstance(error, DamagedUploadError):
            message = f"{self.address} got other bytes than were sent, again and again"
            return Fault(FaultKind.LOST, StorageError(message))
        fault = self._driver.sort(error)
        self._answered = self._answered or (fault is not None and fault.kind not in _SILENCE)
        return fault

    async def _asking(self, key: str, call: Callable[[], Awaitable[Result]], *, beyond: Result | None = None) -> Result:
        """Return what *call*, which is idempotent, returns in the end; *beyond*, if it asks for what is behind that."""
        try:
            return await self._retrying(call)
        except FaultError as failure:
            if failure.fault.kind is FaultKind.ABSENT:
                raise KeyNotFoundError(key) from None
            if failure.fault.kind is FaultKind.RANGE:
                if beyond is not None:
                    return beyond
                raise _short(key) from None
            raise failure.fault.error from failure

    async def _read(self, key: str, start: int, length: int | None) -> bytes:
        if self._down is not None and length is not None:
            await self._down.take(length)
        value = await self._asking(key, lambda: self._driver.get(self._name(key), start, length))
        if self._down is not None and length is None:
            await self._down.take(len(value))
        if length is not None and len(value) != length:
            raise _short(key)
        return value

    async def _read_piece(self, key: str, start: int) -> bytes:
        """Return what is from *start* on, at most so much as a piece is."""
        # Nothing is there if the piece before was full, or if all is empty.
        value = await self._asking(key, lambda: self._driver.get(self._name(key), start, _PIECE), beyond=b"")
        if self._down is not None:
            await self._down.take(len(value))
        return value

    async def _read_or_none(self, key: str) -> bytes | None:
        try:
            return await self._read(key, 0, None)
        except KeyNotFoundError:
            return None

    async def _read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        if ranges and not any(length for _, length in ranges):
            await self._asking(key, lambda: self._driver.head(self._name(key)))
        # No protocol can ask for no bytes.
        return await _all(self._read(key, start, length) if length else _nothing() for start, length in ranges)

    async def _write(self, key: str, value: Buffer) -> None:
        if self._up is not None:
            await self._up.take(len(value))
        try:
            await self._retrying(lambda: self._driver.put(self._name(key), value, exclusive=False))
        except FaultError as failure:
            raise failure.fault.error from failure

    async def _create(self, key: str, value: Buffer) -> None:
        if self._settings.single_writer:
            await self._create_alone(key, value)
            return
        if self._up is not None:
            await self._up.take(len(value))
        try:
            await self._retrying(lambda: self._driver.put(self._name(key), value, exclusive=True), _HARMLESS)
        except FaultError as failure:
            if failure.fault.kind is FaultKind.EXISTS and not failure.doubtful:
                raise KeyExistsError(key) from None
            if failure.fault.kind in _NOTHING_DONE and not failure.doubtful:
                raise failure.fault.error from failure
            raise _unknown(key, str(failure.fault.error)) from failure
        except Exception as error:
            # Whatever it is, it came after the request may have been sent. Its text may hold a secret.
            raise _unknown(key, type(error).__name__) from error

    async def _create_alone(self, key: str, value: Buffer) -> None:
        """Create *key* on a store that cannot do it exclusively: nobody else writes, says the configuration."""
        with suppress(KeyNotFoundError):
            await self._asking(key, lambda: self._driver.head(self._name(key)))
            raise KeyExistsError(key)
        await self._write(key, value)

    # Last, because in the class's own body its name is no longer that of the type.
    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield (key, length) of all keys that start with *prefix*."""
        for name, length in self._names(self._prefix + check_prefix(prefix)):
            key = name[len(self._prefix) :]
            # Tools that show a bucket as folders leave markers such as "packs/".
            with suppress(InvalidInputError):
                yield check_key(key), length

    def _names(self, prefix: str) -> Iterator[tuple[str, int]]:
        token: str | None = None
        while True:
            asked = token
            found, token = self._run(self._asking(prefix, lambda: self._driver.page(prefix, asked)))  # noqa: B023 (it runs now)
            yield from found
            if token is None:
                return


def _close(driver: Driver, loop: asyncio.AbstractEventLoop) -> None:
    with suppress(RuntimeError):
        if asyncio.get_running_loop() is loop:
            # Collected by whatever ran on it; nobody can wait here.
            loop.create_task(driver.close())
            return
    if loop.is_running():
        with suppress(Exception):
            asyncio.run_coroutine_threadsafe(driver.close(), loop).result(timeout=1)


async def _nothing() -> bytes:
    return b""


async def _all(work: "Iterator[Coroutine[object, object, Result]]") -> list[Result]:
    """Return the results of *work*, done at the same time; the first failure ends all of it."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()


def _short(key: str) -> StorageError:
    return StorageError(f"{key} is shorter than expected")


def _unknown(key: str, reason: str) -> UnknownOutcomeError:
    return UnknownOutcomeError(f"{key} may or may not have been created: {reason}")
