"""A server as a process on loopback: started, waited for, and ended with the tests, however they end."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

__all__ = ["ServerError", "ServerProcess", "answers", "free_port"]

_PR_SET_PDEATHSIG = 1


class ServerError(Exception):
    """A server did not start."""


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def answers(port: int, request: bytes = b"", expected: bytes = b"") -> bool:
    """Tell whether who listens on *port* says *expected* to *request*."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(request)
            return not expected or expected in connection.recv(4096)
    except OSError:
        return False


def _die_with_parent() -> None:
    # An aborted run would leave its servers behind.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class ServerProcess:
    """One running server."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        is_ready: Callable[[], bool],
        limit: float = 30,
    ) -> None:
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env={"PATH": os.environ["PATH"], "HOME": str(folder), **environment},
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 (it calls one function of the system)
            )
        end = time.monotonic() + limit
        while not is_ready():
            if self._process.poll() is not None or time.monotonic() > end:
                self.stop()
                message = f"{command[0]} did not start:\n{self._log.read_text('utf-8', 'replace')[-2000:]}"
                raise ServerError(message)
            time.sleep(0.02)

    def stop(self) -> None:
        """End it and all that it has started."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(8)
                return
