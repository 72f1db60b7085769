"""Where a remote is: its address, as people type it, and the backend that it leads to."""

import os
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from dsvc.errors import InvalidInputError
from dsvc.log.store import CONFIG_KEY
from dsvc.storage.backend import Backend
from dsvc.storage.bundle import BundleBackend, bundle_file
from dsvc.storage.faults import MissingExtraError
from dsvc.storage.local import LocalBackend, ReadOnlyFolder
from dsvc.storage.memory import MemoryBackend
from dsvc.storage.settings import NO_SETTINGS, Settings

__all__ = [
    "CONTROL",
    "CredentialsInAddressError",
    "UnsupportedAddressError",
    "check_address",
    "check_endpoint",
    "folder_of",
    "has_worktree",
    "open_backend",
    "redact",
    "resolve_address",
]

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_CREDENTIALS: Final = re.compile(r"(://[^/@:]*):[^/@]*@")
# Of Azure, S3 and Google, in this order; all before it is what they say it is good for.
_SIGNATURE: Final = re.compile(r"([?&](?:sig|X-Amz-Signature|X-Goog-Signature)=)[^&]+", re.IGNORECASE)
CONTROL: Final = ".dsvc"
_STORE: Final = "store"


class UnsupportedAddressError(InvalidInputError):
    """An address of a kind that no backend serves."""


class CredentialsInAddressError(InvalidInputError):
    """An address with a password in it, or a signed one, which would be written where others can read it."""

    def __init__(self, address: str) -> None:
        super().__init__(
            f"the address {redact(address)} holds a password or a signature, and others can read addresses"
        )


def _kinds() -> str:
    return ", ".join(f"{scheme}://" for scheme in _REMOTE)


def redact(address: str) -> str:
    """Return *address* with the password or the signature in it, if there is one, hidden."""
    return _SIGNATURE.sub(r"\1***", _CREDENTIALS.sub(r"\1:***@", address))


def _scheme(address: str) -> str:
    found = _SCHEME.match(address)
    return found[1].lower() if found else ""


def check_address(address: str) -> str:
    """Return *address* if a remote may have it; nothing is looked at or made.

    Raises:
        UnsupportedAddressError: No backend serves it.
        CredentialsInAddressError: It holds a password.
    """
    if not address or not address.isprintable():
        message = f"an address cannot be {address!r}"
        raise UnsupportedAddressError(message)
    scheme = _scheme(address)
    _check_secrets(address, scheme)
    if scheme not in _BACKENDS and scheme not in _REMOTE:
        message = f"cannot reach {redact(address)}: a remote is a folder, as a path or file:///path, or {_kinds()}"
        raise UnsupportedAddressError(message)
    if scheme in _REMOTE and not urlsplit(address).netloc:
        message = f"the address {redact(address)} names no {'machine' if _is_ssh(scheme) else 'bucket'}"
        raise UnsupportedAddressError(message)
    if scheme in _REMOTE and not _is_ssh(scheme) and {".", ".."} & set(address.split("/")):
        # For most tools a way to elsewhere, and for a bucket a name.
        message = f"the address {redact(address)} leads through `.` or `..`, which a bucket does not know"
        raise UnsupportedAddressError(message)
    return address


def _is_ssh(scheme: str) -> bool:
    return _REMOTE[scheme] is _SFTP


def check_endpoint(url: str) -> str:
    """Return *url* if it may be stored as that of a service.

    Raises:
        CredentialsInAddressError: It holds a password.
    """
    _check_secrets(url, _scheme(url))
    return url


def _check_secrets(address: str, scheme: str) -> None:
    if scheme and (urlsplit(address).password is not None or _SIGNATURE.search(address)):
        raise CredentialsInAddressError(address)


def folder_of(address: str, base: Path) -> Path | None:
    """Return the folder that *address* leads to from *base*, None if it is none."""
    return _local_path(address, base) if _scheme(address) in ("", "file") else None


def _local_path(address: str, base: Path) -> Path:
    path = address[len("file://") :].removeprefix("localhost") if _scheme(address) else address
    return Path(os.path.normpath(base / path))


def resolve_address(address: str, base: Path) -> str:
    """Return *address*, typed in the folder *base*, so that it means the same everywhere."""
    folder = folder_of(check_address(address), base)
    return address if folder is None or _scheme(address) else str(folder)


def open_backend(address: str, base: Path, settings: Settings = NO_SETTINGS) -> Backend:
    """Return the backend at *address*, reached as *settings* say; a path is relative to *base*.

    Whether a store is there, or anybody answers, is not looked at.

    Raises:
        UnsupportedAddressError: No backend serves it.
        CredentialsInAddressError: It holds a password.
        MissingExtraError: What it needs is not installed.
    """
    scheme = _scheme(check_address(address))
    if scheme in _BACKENDS:
        return _BACKENDS[scheme](address, base, settings)
    kind = _REMOTE[scheme]
    try:
        # Here and not above: it loads the packages of a vendor, and each takes half a second.
        module = import_module(kind.module)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("dsvc"):
            raise
        raise MissingExtraError(scheme, kind.extra) from error
    opened: Backend = getattr(module, kind.function)(address, settings)
    return opened


def has_worktree(backend: Backend, address: str) -> bool:
    """Tell whether the store of *backend*, at *address*, is that of a repository where somebody works."""
    root = backend.root if isinstance(backend, LocalBackend) else PurePosixPath(address)
    return root.name == _STORE and root.parent.name == CONTROL


def _open_folder(address: str, base: Path, settings: Settings) -> Backend:
    folder = _local_path(address, base)
    bundle = bundle_file(folder)
    if bundle is not None:
        return BundleBackend.open(bundle)
    kind = ReadOnlyFolder if settings.read_only else LocalBackend
    for candidate in (folder / CONTROL / _STORE, folder / _STORE if folder.name == CONTROL else folder):
        if (candidate / CONFIG_KEY).is_file():
            return kind(candidate)
    return kind(folder)


_memories: Final[dict[str, MemoryBackend]] = {}
_lock: Final = Lock()


def _open_memory(address: str, _base: Path, _settings: Settings) -> Backend:
    # As fsspec's: one for each name, as long as the process lives.
    with _lock:
        return _memories.setdefault(address.partition("://")[2], MemoryBackend())


_BACKENDS: Final[dict[str, Callable[[str, Path, Settings], Backend]]] = {
    "": _open_folder,
    "file": _open_folder,
    "memory": _open_memory,
}


class _Kind(NamedTuple):
    """Where the backend of a scheme is made, and what has to be installed for it."""

    module: str
    function: str
    extra: str


_S3: Final = _Kind("dsvc.storage.s3", "open_s3", "s3")
_GCS: Final = _Kind("dsvc.storage.gcs", "open_gcs", "gcs")
_AZURE: Final = _Kind("dsvc.storage.azure", "open_azure", "azure")
_SFTP: Final = _Kind("dsvc.storage.sftp", "open_sftp", "sftp")
_REMOTE: Final = {
    "s3": _S3, "s3a": _S3, "gs": _GCS, "gcs": _GCS, "az": _AZURE, "abfs": _AZURE, "abfss": _AZURE, "sftp": _SFTP,
    "ssh": _SFTP,
}  # fmt: skip
