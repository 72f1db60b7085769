"""A process that has loaded one command of `dsvc`, and of which each run that it is asked for is a fork.

It loads little else: that would be there already when a command, which should have, forgets to load it.
"""

import marshal
import os
import socket
import sys

import dsvc.__main__
from dsvc.cli.commands import load
from dsvc.cli.light_typing import light_typing

__all__: list[str] = []


def _serve(connection: socket.socket) -> None:
    """Do one run after another, until the other end is closed."""
    requests = connection.makefile("rb")
    while True:
        _, streams, _, _ = socket.recv_fds(connection, 1, 3)
        if not streams:
            return
        words, folder, environment = marshal.load(requests)  # noqa: S302 (the tests wrote it)
        child = os.fork()
        if child == 0:
            try:
                connection.close()
                requests.close()
                _become(words, folder, environment, streams)
            except BaseException:  # noqa: BLE001 (a child must not go on as a second one that serves)
                sys.excepthook(*sys.exc_info())
            finally:
                os._exit(99)
        for descriptor in streams:
            os.close(descriptor)
        _, status = os.waitpid(child, 0)
        connection.sendall(status.to_bytes(4, "little"))


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
    load(sys.argv[2])
    _serve(socket.socket(fileno=int(sys.argv[1])))
