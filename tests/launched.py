"""A process from which one comes for each command, and from that one each run of the command: all of them forks.

Each has loaded what `dsvc` has loaded by then and little else: that would be there already when a command, which
should have, forgets to load it.
"""

import marshal
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import dsvc.__main__
from dsvc.cli.commands import load
from dsvc.cli.light_typing import light_typing

__all__: list[str] = []


def _load_commands(connection: socket.socket) -> None:
    """Make a process for each command that is named, until the other end is closed."""
    while True:
        name, (*theirs,), _, _ = socket.recv_fds(connection, 100, 1)
        if not theirs:
            break
        if os.fork() == 0:
            with _only_a_child():
                connection.close()
                load(name.decode())
                with socket.socket(fileno=theirs[0]) as asking:
                    _run(asking)
        os.close(theirs[0])
    # The time that they took is then that of the tests.
    with suppress(ChildProcessError):
        while True:
            os.wait()


def _run(connection: socket.socket) -> None:
    """Do one run after another, until the other end is closed."""
    requests = connection.makefile("rb")
    while True:
        _, streams, _, _ = socket.recv_fds(connection, 1, 3)
        if not streams:
            return
        words, folder, environment = marshal.load(requests)  # noqa: S302 (the tests wrote it)
        child = os.fork()
        if child == 0:
            with _only_a_child():
                connection.close()
                requests.close()
                _become(words, folder, environment, streams)
        for descriptor in streams:
            os.close(descriptor)
        _, status = os.waitpid(child, 0)
        connection.sendall(status.to_bytes(4, "little"))


@contextmanager
def _only_a_child() -> Iterator[None]:
    """End the process in the end: it must not go on as a second one of what it is a fork of."""
    code = 99
    try:
        yield
        code = 0
    except BaseException:  # noqa: BLE001 (told, as at the end of any process)
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def _become(words: list[str], folder: str, environment: dict[str, str], streams: list[int]) -> None:
    """Go on as `python -m dsvc` with *words* does once it has loaded the command."""
    for standard, descriptor in enumerate(streams):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[:] = [dsvc.__main__.__file__, *words]
    sys.path[0] = folder
    # A worker that is a new interpreter imports it.
    sys.modules["__main__"] = dsvc.__main__
    dsvc.__main__.main()


if __name__ == "__main__":
    with light_typing():
        import dsvc.cli.main
    with socket.socket(fileno=int(sys.argv[1])) as asking:
        _load_commands(asking)
