"""What the tests of the log share: short ways to commit, and a backend that fails as networks do."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from enum import Enum
from itertools import count

from dsvc.errors import StorageError
from dsvc.log.entry import RefChange, Transaction
from dsvc.log.log import Log
from dsvc.log.state import State
from dsvc.storage.backend import Backend, KeyExistsError, UnknownOutcomeError

__all__ = ["MAIN", "Fault", "FaultyBackend", "commit", "move", "moved_to", "no_wait", "oid", "pack", "segment"]

MAIN = "refs/heads/main"

_nonces = count()


def oid(number: int) -> str:
    """Return an object id in hex that differs for each *number*."""
    return f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}{number:048x}"


def pack(number: int, generation: int = 0) -> str:
    return f"{oid(number)[:2]}/{oid(number)}.{generation}"


def segment(number: int, generation: int = 0) -> str:
    return f"{oid(number)}.{generation}"


def no_wait(_seconds: float) -> None:
    pass


def new_nonce() -> str:
    return f"nonce {next(_nonces)}"


def commit(
    log: Log, transaction: Transaction | Callable[[State], Transaction | None], *, attempts: int = 10_000, time: int = 0
) -> State:
    build = transaction if callable(transaction) else lambda _state: transaction
    return log.commit(
        build, actor="someone", time=time, command="test", nonce=new_nonce, attempts=attempts, wait=no_wait
    )


def moved_to(number: int | None, ref: str = MAIN) -> Callable[[State], Transaction]:
    """Return a build that sets *ref* to the id of *number*, wherever it is."""
    new = None if number is None else oid(number)
    return lambda state: Transaction(ops=[RefChange(ref, state.value(ref), new)])


def move(log: Log, number: int | None, ref: str = MAIN) -> State:
    return commit(log, moved_to(number, ref))


class Fault(Enum):
    """How the creation of an entry goes wrong."""

    NONE = "none"
    LOST_ANSWER = "it happened, and the answer was lost"
    LOST_AS_EXISTS = "it happened, and a repeated request finds its own value"
    LOST_AS_ERROR = "it happened, and the answer was an error"
    REFUSED = "it did not happen"
    UNANSWERED = "it did not happen, and nothing came back"
    LATE = "it happens only after the value was looked for"
    FALSE_EXISTS = "it did not happen, and something is said to be there"


_HAPPENS = {Fault.NONE, Fault.LOST_ANSWER, Fault.LOST_AS_EXISTS, Fault.LOST_AS_ERROR}


class FaultyBackend:
    """Another backend, reached over a bad connection: entries and config meet *faults*, reads of them *read_faults*."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.faults: deque[Fault] = deque()
        self.read_faults = 0
        self.reads: list[str] = []
        self._late: tuple[str, bytes] | None = None

    def read(self, key: str) -> bytes:
        self.reads.append(key)
        if key.startswith("log/0/") and self.read_faults:
            self.read_faults -= 1
            message = "no answer"
            raise StorageError(message)
        try:
            return self.backend.read(key)
        finally:
            self.arrive()

    def arrive(self) -> None:
        """Let through what was sent and not answered."""
        if self._late is not None:
            key, value = self._late
            self._late = None
            with suppress(KeyExistsError):
                self.backend.create(key, value)

    def read_many(self, keys: Sequence[str]) -> list[bytes | None]:
        self.reads.extend(keys)
        return self.backend.read_many(keys)

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        return self.backend.read_ranges(key, ranges)

    def size(self, key: str) -> int:
        return self.backend.size(key)

    def write(self, key: str, value: bytes | bytearray | memoryview) -> None:
        self.backend.write(key, value)

    def create(self, key: str, value: bytes | bytearray | memoryview) -> None:
        fault = self.faults.popleft() if key.startswith(("log/", "config.json")) and self.faults else Fault.NONE
        if fault in _HAPPENS:
            self.backend.create(key, value)
        if fault is Fault.LATE:
            self._late = (key, bytes(value))
        if fault in (Fault.LOST_ANSWER, Fault.UNANSWERED, Fault.LATE):
            raise UnknownOutcomeError(fault.value)
        if fault in (Fault.LOST_AS_EXISTS, Fault.FALSE_EXISTS):
            raise KeyExistsError(key)
        if fault in (Fault.LOST_AS_ERROR, Fault.REFUSED):
            raise StorageError(fault.value)

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        return self.backend.list(prefix)

    def delete(self, key: str) -> None:
        self.backend.delete(key)
