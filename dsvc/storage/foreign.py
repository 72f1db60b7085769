"""Content that others own, and that is only read: single objects by their URLs, and all below a prefix.

Unlike a backend's values, they have any names and may change at any time, so what is said of one is what
it was when somebody looked. fsspec's file systems find the credentials and speak the protocols.
"""

import fnmatch
import stat
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib import import_module
from typing import Any, Final, TypeVar

import msgspec

from dsvc.errors import DsvcError, InvalidInputError, NotFoundError, StorageError
from dsvc.model.link_url import BUCKET_SCHEMES, without_secrets
from dsvc.storage.faults import AccessDeniedError, Fault, MissingExtraError
from dsvc.storage.http_faults import causes
from dsvc.storage.local import storage_error
from dsvc.storage.settings import NO_SETTINGS, Settings

__all__ = ["THREADS", "FolderUrlError", "Foreign", "ForeignGoneError", "ObjectState", "open_foreign", "place_of"]

Result = TypeVar("Result")

# Requests in flight, each by a thread that waits for it.
THREADS: Final = 16
_PIECE: Final = 8 * 1024 * 1024
_GONE: Final = (404, 410)
_SECOND: Final = 10**6
# More than any owner says; and what is shown to people has to be fit for that.
_LONGEST_TAG: Final = 1024


class ForeignGoneError(NotFoundError):
    """Nothing is at a URL."""

    def __init__(self, url: str) -> None:
        super().__init__(f"there is nothing at {without_secrets(url)}")
        self.url = url


class FolderUrlError(InvalidInputError):
    """A folder is at a URL, where an object was asked for."""

    def __init__(self, url: str) -> None:
        super().__init__(f"{without_secrets(url)} is a folder")
        self.url = url


class ObjectState(msgspec.Struct, frozen=True):
    """What is at *url*: its size in bytes, None where its owner does not say, and what tells this state from others.

    *etag* and *version_id* are empty where there is none; *modified* is in microseconds since 1970, 0 if not known.
    """

    url: str
    size: int | None
    etag: str = ""
    version_id: str = ""
    modified: int = 0

    def is_same(self, other: "ObjectState") -> bool:
        """Tell whether both are the same state of the content, as far as their owner tells."""
        if self.size != other.size:
            return False
        if self.version_id and other.version_id:
            return self.version_id == other.version_id
        if self.etag and other.etag:
            return self.etag == other.etag
        times = self.modified, other.modified
        # Of a single object, some tell the time to the second only, and in a listing better.
        if any(time % _SECOND == 0 for time in times):
            return 0 in times or times[0] // _SECOND == times[1] // _SECOND
        return times[0] == times[1]


class Foreign:
    """All that is in one place: a bucket, a web server, or this machine's files. Safe to use from several threads.

    Failures are StorageErrors, and ForeignGoneError where nothing is at a URL.
    """

    def __init__(self, scheme: str, system: Any, sort: Callable[[Exception], Fault | None]) -> None:
        self._scheme = scheme
        self._system = system
        self._sort = sort

    def state(self, url: str) -> ObjectState:
        """Return what is at *url* now.

        Raises:
            ForeignGoneError: Nothing is.
            FolderUrlError: A folder is.
            StorageError: It is a device or the like, or nobody can tell.
        """
        path = self._path(url)
        info = self._asking(url, lambda: self._system.info(path))
        if info.get("type") == "directory":
            raise FolderUrlError(url)
        if self._is_special(info):
            message = f"{without_secrets(url)} is no file"
            raise StorageError(message)
        return _state(url, info)

    def _is_special(self, info: Mapping[str, Any]) -> bool:
        return self._scheme == "file" and not stat.S_ISREG(info.get("mode", stat.S_IFREG))

    def below(self, url: str, pattern: str | None = None) -> list[ObjectState]:
        """Return all objects below the prefix *url*, or those of them that *pattern* matches, by one listing.

        In a *pattern*, which is relative to the prefix, `*` matches slashes too.
        """
        prefix = url.rstrip("/")
        start = self._path(prefix)
        found = self._asking(url, lambda: self._system.find(start, detail=True))
        states: list[ObjectState] = []
        for name, info in sorted(found.items()):
            inside = name[len(start) :].lstrip("/")
            # Tools that show a bucket as folders leave markers, which are empty and end with a slash.
            if not inside or inside.endswith("/") or self._is_special(info):
                continue
            if pattern is None or fnmatch.fnmatchcase(inside, pattern):
                states.append(_state(f"{prefix}/{inside}", info))
        return states

    def beside(self, folder: str) -> dict[str, ObjectState]:
        """Return the objects directly in the *folder*, by their URLs, in one listing; nothing if it is none."""
        start = self._path(folder)
        try:
            found = self._asking(folder, lambda: self._system.ls(start, detail=True))
        except ForeignGoneError:
            return {}
        urls = {f"{folder.rstrip('/')}/{info['name'].rsplit('/', 1)[-1]}": info for info in found}
        return {url: _state(url, info) for url, info in urls.items() if info["type"] == "file"}

    @property
    def lists(self) -> bool:
        """Whether it can be asked what there is; the web cannot."""
        return self._scheme not in ("http", "https")

    def read(self, url: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Yield the bytes at *url* from *start* up to before *stop*, in pieces of some MiB.

        What comes is not verified.
        """
        path = self._path(url)
        if self._scheme in BUCKET_SCHEMES and stop is not None and 0 < stop - start <= _PIECE:
            # One request, where a file that is opened takes two.
            yield self._asking(url, lambda: self._system.cat_file(path, start=start, end=stop))
            return
        # A web server that is asked for the beginning sends all, for as long as somebody reads on.
        whole = start == 0 and not self.lists
        options = {} if self._scheme == "file" else {"block_size": 0 if whole else _PIECE}
        file = self._asking(url, lambda: self._system.open(path, "rb", **options))
        with file:
            if start:
                self._asking(url, lambda: _seek(file, start))
            left = None if stop is None else stop - start
            while left is None or left > 0:
                length = _PIECE if left is None else min(left, _PIECE)
                piece = self._asking(url, lambda: file.read(length))  # noqa: B023 (it runs now)
                if not piece:
                    return
                left = None if left is None else left - len(piece)
                yield piece

    def _path(self, url: str) -> str:
        path: str = self._system._strip_protocol(url)  # noqa: SLF001 (fsspec's own name for what subclasses offer)
        return path

    def _asking(self, url: str, call: Callable[[], Result]) -> Result:
        try:
            return call()
        except Exception as error:
            failure = self._failure(url, error)
            if failure is None:
                raise
            raise failure from error

    def _failure(self, url: str, error: Exception) -> DsvcError | None:
        """Return what *error* means; its own text may hold a secret."""
        if isinstance(error, DsvcError):
            return None
        ours = next((each for each in causes(error) if isinstance(each, DsvcError)), None)
        if ours is not None:
            return ours
        # What a library says of its own comes before what fsspec makes of it, which tells less.
        chain = sorted(causes(error), key=lambda each: isinstance(each, OSError))
        status = next((code for each in chain if (code := _status(each))), None)
        missing = [isinstance(each, FileNotFoundError) for each in chain]
        # Of the web, fsspec says of all that fails that nothing is there; only what led to it tells.
        if status in _GONE or all(missing) or (isinstance(error, FileNotFoundError) and self.lists):
            return ForeignGoneError(url)
        if isinstance(error, PermissionError) or str(error).startswith("Forbidden"):
            return AccessDeniedError(f"no permission to read {without_secrets(url)}")
        for each in chain:
            if isinstance(each, Exception) and not isinstance(each, FileNotFoundError):
                fault = self._sort(each)
                if fault is not None and isinstance(fault.error, DsvcError):
                    return fault.error
        if status is not None:
            return StorageError(f"{without_secrets(url)} cannot be read: its owner answered {status}")
        if isinstance(error, OSError):
            return storage_error(error, f"read {without_secrets(url)}")
        is_ours = type(error).__module__.partition(".")[0] in ("builtins", "dsvc")
        if is_ours and not isinstance(error, ValueError | RuntimeError):
            return None
        return StorageError(f"cannot read {without_secrets(url)}: {type(error).__name__}")


def _seek(file: Any, start: int) -> None:
    try:
        file.seek(start)
    except ValueError:
        # A web server that knows no ranges: what comes before has to be read too.
        while start > 0 and (piece := file.read(min(start, _PIECE))):
            start -= len(piece)


def _status(error: BaseException) -> int | None:
    """Return the status of the answer that *error* is about: each library calls it differently."""
    values = (getattr(error, name, None) for name in ("status", "code", "status_code"))
    return next((value for value in values if isinstance(value, int) and value >= 400), None)


def _state(url: str, info: Mapping[str, Any]) -> ObjectState:
    """Return the state that one of fsspec's file systems describes in its own words."""
    etag = info.get("ETag") or info.get("etag") or ""
    version = info.get("VersionId") or info.get("generation") or info.get("version_id") or ""
    changed = next((info[key] for key in ("LastModified", "updated", "last_modified", "Last-Modified", "mtime")
                    if info.get(key)), None)  # fmt: skip
    size = info.get("size")
    # S3's word for an object from before there were versions.
    version = "" if version == "null" else str(version)
    tag = etag.removeprefix('"').removesuffix('"') if isinstance(etag, str) and etag.startswith('"') else str(etag)
    tag, version = (word if word.isprintable() and len(word) <= _LONGEST_TAG else "" for word in (tag, version))
    return ObjectState(url, None if size is None else int(size), tag, version, _microseconds(changed))


def _microseconds(moment: object) -> int:
    try:
        if isinstance(moment, str):
            moment = datetime.fromisoformat(moment) if "T" in moment[:11] else parsedate_to_datetime(moment)
        if isinstance(moment, datetime):
            moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except ValueError:
        return 0
    return round(moment * _SECOND) if isinstance(moment, int | float) else 0


def place_of(url: str) -> tuple[str, str]:
    """Return what is reached together: the scheme, and the bucket or host."""
    scheme, _, rest = url.partition("://")
    same = {"s3a": "s3", "gcs": "gs", "abfs": "az", "abfss": "az"}
    return same.get(scheme, scheme), rest.partition("/")[0].lower()


def open_foreign(
    url: str, settings: Settings = NO_SETTINGS, allows: Callable[[str], bool] = lambda _: False
) -> Foreign:
    """Return the place that *url* is in, reached as *settings* say. Nobody is asked yet, but for credentials.

    A web server that redirects is followed to another one only if that *allows* to.

    Raises:
        MissingExtraError: What it needs is not installed.
        StorageError: There are no credentials.
    """
    scheme = url.partition("://")[0]
    if scheme == "file":
        from fsspec.implementations.local import LocalFileSystem

        return Foreign(scheme, LocalFileSystem(), lambda _: None)
    if scheme in BUCKET_SCHEMES:
        module, extra = _BUCKETS[place_of(url)[0]]
        try:
            opener = import_module(module).open_system
        except ModuleNotFoundError as error:
            raise MissingExtraError(scheme, extra) from error
        # Errors name the bucket: it is opened for all that is in it.
        system, driver = opener(f"{scheme}://{url.partition('://')[2].partition('/')[0]}", settings)
        return Foreign(scheme, system, driver.sort)
    try:
        system, sort = import_module("dsvc.storage.web").open_web(url, settings, allows)
    except ModuleNotFoundError as error:
        raise MissingExtraError(scheme, "http") from error
    return Foreign(scheme, system, sort)


_BUCKETS: Final = {
    "s3": ("dsvc.storage.s3", "s3"),
    "gs": ("dsvc.storage.gcs", "gcs"),
    "az": ("dsvc.storage.azure", "azure"),
}
