"""A folder of a machine that is reached by SSH, through paramiko.

The layout is that of a folder on disk, so both serve as each other. fsspec's own SFTP would trust any
server that it meets, overwrite where it should create, and wait for each 32 KiB; so paramiko is used itself. A
value appears whole or not at all: it is uploaded under a temporary name, synced where the server knows how, and
renamed. The plain rename of SSH fails where the name is taken, which makes it the exclusive create; not all servers
keep to that, so the probe asks.
"""

import asyncio
import errno
import posixpath
import socket
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any, Final, TypeVar
from urllib.parse import unquote, urlsplit

import paramiko
from paramiko.sftp import CMD_EXTENDED
from paramiko.ssh_exception import NoValidConnectionsError

from dsvc.errors import StorageError
from dsvc.storage.faults import (
    AccessDeniedError,
    CredentialsRefusedError,
    Fault,
    FaultKind,
    HostKeyError,
    NoCredentialsError,
)
from dsvc.storage.http_faults import lost, network_fault
from dsvc.storage.object_store import ObjectStore, Page
from dsvc.storage.retry import Clock
from dsvc.storage.settings import Settings
from dsvc.storage.temporary import is_temporary, temporary_name

__all__ = ["open_sftp"]

Buffer = bytes | bytearray | memoryview
Result = TypeVar("Result")

# OpenSSH allows ten channels of one connection. paramiko is bound by this machine's processor, not by waiting.
_CHANNELS: Final = 4
_PIECE: Final = 1024 * 1024
_READ_PIECE: Final = 128 * 1024
_TEMPORARY: Final = "tmp"
_PORT: Final = 22
# In seconds. Whoever still writes a file touches it all the time.
_LEFT_ALONE: Final = 24 * 3600


class SftpDriver:
    """Requests to one folder: a connection with a few channels, each used by one thread at a time."""

    def __init__(self, address: str, root: str, settings: Settings) -> None:
        self._address = address
        self._root = root
        self._settings = settings
        self._threads = ThreadPoolExecutor(_CHANNELS, thread_name_prefix="sftp")
        self._lock = Lock()
        self._client: paramiko.SSHClient | None = None
        self._free: list[paramiko.SFTPClient] = []
        self._known: set[str] = set()
        self._is_tidy = False

    async def get(self, name: str, start: int, length: int | None) -> bytes:
        """Return bytes of *name*."""
        return await self._in_thread(lambda channel: _read(channel, name, start, length))

    async def head(self, name: str) -> int:
        """Return the length of *name*."""
        return await self._in_thread(lambda channel: _length(channel.stat(name)))

    async def put(self, name: str, value: Buffer, *, exclusive: bool) -> None:
        """Store *value* as *name*."""
        await self._in_thread(lambda channel: self._put(channel, name, value, exclusive=exclusive))

    async def remove(self, name: str) -> None:
        """Remove *name*."""
        await self._in_thread(lambda channel: _remove(channel, name))

    async def page(self, prefix: str, token: str | None) -> Page:
        """Return all names below *prefix*; a folder has no pages."""
        del token
        return await self._in_thread(lambda channel: (list(self._walk(channel, prefix)), None))

    async def close(self) -> None:
        """Close the connection."""
        self._hang_up()
        self._threads.shutdown(wait=False)

    async def _in_thread(self, work: Callable[[paramiko.SFTPClient], Result]) -> Result:
        def run() -> Result:
            with self._channel() as channel:
                return work(channel)

        return await asyncio.get_running_loop().run_in_executor(self._threads, run)

    def abandon(self) -> None:
        """Hang up: the threads would wait on, and the end of the program for them."""
        self._hang_up()

    @contextmanager
    def _channel(self) -> Iterator[paramiko.SFTPClient]:
        with self._lock:
            client = self._client
            if client is None:
                client = self._client = self._connect()
            channel = self._free.pop() if self._free else None
        try:
            if channel is None:
                channel = client.open_sftp()
                pipe = channel.get_channel()
                if pipe is not None:
                    pipe.settimeout(self._settings.timeout)
            yield channel
        except (paramiko.SSHException, EOFError, TimeoutError, ConnectionError):
            self._hang_up(client)
            raise
        except OSError as error:
            # What paramiko says of a channel whose connection broke, and it has no number.
            if str(error) != "Socket is closed":
                raise
            self._hang_up(client)
            raise ConnectionResetError(str(error)) from error
        finally:
            with self._lock:
                if channel is not None and self._client is client:
                    self._free.append(channel)

    def _hang_up(self, client: paramiko.SSHClient | None = None) -> None:
        """Close the connection, or only *client* if there is another one by now."""
        with self._lock:
            if self._client is None or (client is not None and self._client is not client):
                return
            client, self._client = self._client, None
            self._free.clear()
            self._known.clear()
        client.close()

    def _connect(self) -> paramiko.SSHClient:
        parts = urlsplit(self._address)
        host = parts.hostname or ""
        configured = _ssh_config(host)
        client = paramiko.SSHClient()
        # Whose key is not known is refused, as ssh does where it cannot ask.
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        client.load_system_host_keys()
        for file in ("/etc/ssh/ssh_known_hosts", *configured.get("userknownhostsfile", "").split()):
            with suppress(OSError):
                client.load_system_host_keys(str(Path(file).expanduser()))
        keys = [self._settings.key_file] if self._settings.key_file else configured.get("identityfile", [])
        timeout = self._settings.timeout
        secret = str(self._settings.secret) if self._settings.secret else None
        try:
            client.connect(
                configured.get("hostname", host),
                port=parts.port or int(configured.get("port", _PORT)),
                username=(unquote(parts.username) if parts.username else None) or configured.get("user"),
                key_filename=[str(Path(key).expanduser()) for key in keys] or None,
                password=secret,
                passphrase=secret,
                sock=_proxy(configured),
                timeout=min(10, timeout),
                banner_timeout=timeout,
                auth_timeout=timeout,
            )
        except BaseException:
            client.close()
            raise
        transport = client.get_transport()
        if transport is not None:
            transport.set_keepalive(30)
        return client

    def _put(self, channel: paramiko.SFTPClient, name: str, value: Buffer, *, exclusive: bool) -> None:
        temporary = posixpath.join(self._root, _TEMPORARY, temporary_name())
        try:
            self._upload(channel, temporary, value)
            self._make_folder(channel, posixpath.dirname(name))
            if exclusive:
                _rename_exclusively(channel, temporary, name)
            else:
                _replace(channel, temporary, name)
        except (OSError, StorageError):
            with suppress(OSError, paramiko.SSHException, EOFError):
                channel.remove(temporary)
            raise

    def _upload(self, channel: paramiko.SFTPClient, name: str, value: Buffer) -> None:
        self._make_folder(channel, posixpath.dirname(name))
        with channel.open(name, "wx") as file:
            # Without it, each 32 KiB would wait for the answer to the one before.
            file.set_pipelined(True)
            view = memoryview(value).cast("B")
            for start in range(0, len(view), _PIECE):
                file.write(view[start : start + _PIECE])
            file.flush()
            _sync(channel, file)
        status = channel.stat(name)
        if _length(status) != len(value):
            message = f"{name} did not arrive whole"
            raise OSError(errno.EIO, message)
        self._tidy(channel, posixpath.dirname(name), status.st_mtime)

    def _tidy(self, channel: paramiko.SFTPClient, folder: str, now: int | None) -> None:
        """Remove from *folder* what pushes have left that were interrupted; *now* is the time of the server's clock."""
        with self._lock:
            was_tidy, self._is_tidy = self._is_tidy, True
        if was_tidy or now is None:
            return
        with suppress(OSError):
            for each in channel.listdir_attr(folder):
                if is_temporary(each.filename) and (each.st_mtime or now) < now - _LEFT_ALONE:
                    channel.remove(posixpath.join(folder, each.filename))

    def _make_folder(self, channel: paramiko.SFTPClient, folder: str) -> None:
        if folder in self._known or folder in ("", "/", "."):
            return
        try:
            channel.stat(folder)
        except FileNotFoundError:
            self._make_folder(channel, posixpath.dirname(folder))
            try:
                channel.mkdir(folder)
            except OSError as error:
                self._check_made(channel, folder, error)
        self._known.add(folder)

    def _check_made(self, channel: paramiko.SFTPClient, folder: str, error: OSError) -> None:
        """Check that *folder* is there, because another one was faster when making it ended in *error*."""
        try:
            channel.stat(folder)
        except FileNotFoundError:
            if isinstance(error, PermissionError):
                raise error from None
            message = f"cannot make the folder {folder} at {self._address}"
            raise StorageError(message) from error

    def _walk(self, channel: paramiko.SFTPClient, prefix: str) -> Iterator[tuple[str, int]]:
        try:
            found = channel.listdir_attr(prefix or ".")
        except FileNotFoundError:
            return
        for each in found:
            name = prefix + each.filename
            if each.st_mode is not None and stat.S_ISDIR(each.st_mode):
                if name != posixpath.join(self._root, _TEMPORARY):
                    yield from self._walk(channel, f"{name}/")
            else:
                yield name, _length(each)

    def sort(self, error: Exception) -> Fault | None:
        """Return what *error* means."""
        known = self._sort_login(error)
        if known is not None:
            return Fault(FaultKind.FINAL, known)
        if isinstance(error, FileNotFoundError):
            return Fault(FaultKind.ABSENT, StorageError(f"{self._address}: it is not there"))
        if isinstance(error, FileExistsError):
            return Fault(FaultKind.EXISTS, StorageError(f"{self._address}: it is there already"))
        if isinstance(error, PermissionError):
            return Fault(FaultKind.FINAL, AccessDeniedError(f"no permission at {self._address}"))
        if isinstance(error, NoValidConnectionsError):
            # One for each address of the machine, and none of its own.
            return network_fault(next(iter(error.errors.values())), address=self._address, sent=False)
        if isinstance(error, socket.gaierror) or self._is_unreached(error):
            return network_fault(error, address=self._address, sent=False)
        if isinstance(error, paramiko.SSHException | EOFError | TimeoutError | ConnectionError):
            return lost(self._address)
        if isinstance(error, OSError):
            reason = error.strerror or str(error) or type(error).__name__
            # What a server of SFTP version 3 says of a full disk, and of all else that it has no number for.
            guess = "; perhaps its disk is full" if reason == "Failure" else ""
            message = f"the server of {self._address} says no more than: {reason}{guess}"
            return Fault(FaultKind.FINAL, StorageError(message))
        return None

    def _sort_login(self, error: Exception) -> Exception | None:
        if isinstance(error, paramiko.BadHostKeyException):
            return HostKeyError(f"the host key of {self._address} is another one than it was")
        if isinstance(error, paramiko.PasswordRequiredException):
            return NoCredentialsError(f"the key for {self._address} has a passphrase, which nobody told")
        if isinstance(error, paramiko.AuthenticationException):
            return CredentialsRefusedError(f"{self._address} does not let us in: {error}")
        if isinstance(error, paramiko.SSHException):
            if "known_hosts" in str(error):
                return HostKeyError(f"the host key of {self._address} is not known")
            if "No authentication methods" in str(error):
                return NoCredentialsError(f"there is neither a key nor a password for {self._address}")
        return None

    def _is_unreached(self, error: Exception) -> bool:
        return self._client is None and isinstance(error, TimeoutError | ConnectionError)


def _ssh_config(host: str) -> dict[str, Any]:
    config = paramiko.SSHConfig()
    with suppress(OSError), Path("~/.ssh/config").expanduser().open() as stream:
        config.parse(stream)
    return dict(config.lookup(host))


def _proxy(configured: dict[str, Any]) -> Any:
    """Return the way to a machine behind others, None for the direct one."""
    command = configured.get("proxycommand")
    jump = configured.get("proxyjump")
    if command is None and jump is not None:
        command = f"ssh -W {configured['hostname']}:{configured.get('port', _PORT)} {jump}"
    return None if command is None or command == "none" else paramiko.ProxyCommand(command)


def _length(attributes: paramiko.SFTPAttributes) -> int:
    return int(attributes.st_size or 0)


def _read(channel: paramiko.SFTPClient, name: str, start: int, length: int | None) -> bytes:
    with channel.open(name, "rb") as file:
        # Asked for more than there is, paramiko takes the end of the file for that of the connection, now and then.
        _make_quiet(file)
        size = _length(file.stat())
        end = size if length is None else min(size, start + length)
        # In one piece, it would put it together byte string by byte string: at 1 MB/s for 64 MiB.
        return b"".join(
            file.readv([(place, min(_READ_PIECE, end - place)) for place in range(start, end, _READ_PIECE)])
        )


def _make_quiet(file: paramiko.SFTPFile) -> None:
    """Let the thread that paramiko starts to ask for what is read next not say that the connection was closed."""
    ask: Callable[..., None] = file._prefetch_thread  # noqa: SLF001 (it has no other place to catch it)

    def ask_quietly(*arguments: object) -> None:
        with suppress(OSError, EOFError, paramiko.SSHException):
            ask(*arguments)

    file._prefetch_thread = ask_quietly  # noqa: SLF001 (as above)


def _remove(channel: paramiko.SFTPClient, name: str) -> None:
    with suppress(FileNotFoundError):
        channel.remove(name)


def _sync(channel: paramiko.SFTPClient, file: paramiko.SFTPFile) -> None:
    """Make *file* durable, where the server has OpenSSH's extension for it."""
    with suppress(OSError):
        channel._request(CMD_EXTENDED, "fsync@openssh.com", file.handle)  # noqa: SLF001 (it has no other way)


def _rename_exclusively(channel: paramiko.SFTPClient, temporary: str, name: str) -> None:
    try:
        channel.rename(temporary, name)
    except OSError as error:
        if isinstance(error, FileNotFoundError | PermissionError):
            raise
        # "Failure" is all that the loser hears. The server did answer, so the one who is there is another.
        with suppress(FileNotFoundError):
            channel.stat(name)
            raise FileExistsError(errno.EEXIST, name) from error
        raise


def _replace(channel: paramiko.SFTPClient, temporary: str, name: str) -> None:
    try:
        channel.posix_rename(temporary, name)
    except FileNotFoundError:
        raise
    except OSError as error:
        if "unsupported" not in str(error).lower():
            raise
        # A server without the extension: between the two, a reader finds nothing, and asks again.
        _remove(channel, name)
        channel.rename(temporary, name)


def open_sftp(address: str, settings: Settings, clock: Clock | None = None) -> ObjectStore:
    """Return the backend at *address*, `sftp://USER@HOST:PORT/PATH`; a path that begins with `/~/` is from home."""
    # All of it: `?` and `#` are parts of names here.
    path = posixpath.normpath("/" + unquote(address.partition("://")[2].partition("/")[2]))
    root = path.removeprefix("/~/") if path.startswith("/~/") else path
    return ObjectStore(SftpDriver(address, root, settings), address, root.rstrip("/"), settings, clock)
