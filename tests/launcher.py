"""Processes of the command line that start in a few milliseconds: forks of one that has loaded the command.

A new interpreter loads for a tenth of a second, which is most of what a small run costs. Each run is a process
of its own all the same, and nothing is in it that `python -m dsvc` would not have loaded by then.
"""

import marshal
import os
import selectors
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Final

from dsvc.cli.commands import COMMANDS

__all__ = ["Launcher"]

# What a new interpreter asks the environment for, before it is anybody's program.
_READ_AT_START: Final = ("PYTHON", "LC_", "LANG")
# What a pipe holds before somebody reads it.
_PIPE: Final = 65536


class Launcher:
    """Runs commands; *environment* is what new interpreters start with."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._lock = Lock()
        self._loaded: dict[str, _Loaded] = {}
        self._socket, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        with theirs:
            words = [sys.executable, "-W", "error", "-m", "tests.launched", str(theirs.fileno())]
            # Its streams are pipes, as those of the runs are.
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(
                words, env=environment, pass_fds=[theirs.fileno()], stdin=pipe, stdout=pipe, stderr=pipe
            )

    def run(
        self, words: list[str], folder: Path, environment: Mapping[str, str], stdin: bytes
    ) -> tuple[int, bytes, bytes]:
        """Run `dsvc` with *words*, and return its exit code and what it wrote on stdout and stderr.

        A run that might not be the same as a fork is a new interpreter.
        """
        name = words[0] if words else ""
        if name in COMMANDS and len(stdin) <= _PIPE and _at_start(environment) == _at_start(self._environment):
            loaded = self._load(name)
            # One run at a time: what other threads run meanwhile does not wait for it.
            if loaded.lock.acquire(blocking=False):
                try:
                    return loaded.run(words, folder, environment, stdin)
                finally:
                    loaded.lock.release()
        command = [sys.executable, "-W", "error", "-m", "dsvc", *words]
        ended = subprocess.run(command, cwd=folder, input=stdin, env=environment, capture_output=True, check=False)
        return ended.returncode, ended.stdout, ended.stderr

    def _load(self, name: str) -> "_Loaded":
        with self._lock:
            if name not in self._loaded:
                ours, theirs = socket.socketpair()
                with theirs:
                    socket.send_fds(self._socket, [name.encode()], [theirs.fileno()])
                self._loaded[name] = _Loaded(ours)
            return self._loaded[name]

    def close(self) -> None:
        """End the processes."""
        for loaded in self._loaded.values():
            loaded.close()
        self._socket.close()
        said = self._process.communicate()[1]
        assert not said, said.decode()


class _Loaded:
    """A process at the other end of *connection* that has loaded a command."""

    def __init__(self, connection: socket.socket) -> None:
        self.lock = Lock()
        self._socket = connection

    def run(
        self, words: list[str], folder: Path, environment: Mapping[str, str], stdin: bytes
    ) -> tuple[int, bytes, bytes]:
        (their_input, our_input), (output, their_output), (errors, their_errors) = [os.pipe() for _ in range(3)]
        os.write(our_input, stdin)
        os.close(our_input)
        socket.send_fds(self._socket, [b"."], [their_input, their_output, their_errors])
        self._socket.sendall(marshal.dumps((words, str(folder), dict(environment))))
        for descriptor in (their_input, their_output, their_errors):
            os.close(descriptor)
        stdout, stderr = _read_to_end(output, errors)
        status = self._socket.recv(4)
        assert status, "the process that has loaded the command has ended; it says why in the end"
        return os.waitstatus_to_exitcode(int.from_bytes(status, "little")), stdout, stderr

    def close(self) -> None:
        self._socket.close()


def _at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_READ_AT_START)}


def _read_to_end(*descriptors: int) -> list[bytes]:
    """Read from all *descriptors* as something comes, and close them."""
    found = {descriptor: bytearray() for descriptor in descriptors}
    with selectors.DefaultSelector() as open_ones:
        for descriptor in descriptors:
            open_ones.register(descriptor, selectors.EVENT_READ)
        while open_ones.get_map():
            for key, _ in open_ones.select():
                data = os.read(key.fd, _PIPE)
                found[key.fd] += data
                if not data:
                    open_ones.unregister(key.fd)
                    os.close(key.fd)
    return [bytes(data) for data in found.values()]
