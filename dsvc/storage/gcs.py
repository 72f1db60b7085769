"""Buckets of Google Cloud Storage, with the credentials of gcsfs.

The requests are those of the JSON API, one each: gcsfs's own would try again by themselves, ask first what kind of
bucket it is, and send anything large in an upload that honours no precondition.
"""

import json
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from hashlib import md5
from secrets import token_hex
from typing import Any, Final
from urllib.parse import quote, urlsplit

import aiohttp
from gcsfs.core import GCSFileSystem
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError

from dsvc.errors import StorageError
from dsvc.storage.faults import BucketNotFoundError, CredentialsExpiredError, Fault, FaultKind, NoCredentialsError
from dsvc.storage.http_connection import connection_fault
from dsvc.storage.http_faults import http_fault, network_fault
from dsvc.storage.object_store import CONCURRENCY, DamagedUploadError, ObjectStore, Page
from dsvc.storage.retry import Clock
from dsvc.storage.settings import Settings

__all__ = ["open_gcs", "open_system"]

Buffer = bytes | bytearray | memoryview

_PIECE: Final = 256 * 1024
_GOOGLE: Final = ".googleapis.com"
_THROTTLED: Final = {"rateLimitExceeded", "userRateLimitExceeded"}


class _AnswerError(Exception):
    """An answer that is none of those that were hoped for."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status
        self.text = text
        self.reason = ""
        with suppress(ValueError, LookupError, TypeError):
            self.reason = json.loads(text)["error"]["errors"][0]["reason"]

    @property
    def names_bucket(self) -> bool:
        """Whether it is the bucket that is not there."""
        return self.status == 404 and "bucket" in self.text.lower() and "object" not in self.text.lower()


class GcsDriver:
    """Requests to one bucket."""

    def __init__(self, bucket: str, address: str, settings: Settings) -> None:
        self._bucket = bucket
        self._address = address
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None
        self._system: Any = None
        self._base = ""

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            self.open_system()
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONCURRENCY),
                timeout=aiohttp.ClientTimeout(sock_connect=10, sock_read=self._settings.timeout),
                trust_env=True,
            )
        return self._session

    def open_system(self) -> Any:
        """Return the file system that has the credentials."""
        self._system = self._make_system("anon")
        self._base = self._system._location  # noqa: SLF001 (the emulator's, the one for certificates or the usual)
        # An emulator has no logins, and looking for one on a machine that has none takes seconds.
        if not self._settings.anonymous and (urlsplit(self._base).hostname or "").endswith(_GOOGLE):
            self._system = self._make_system(self._settings.key_file)
        return self._system

    def _make_system(self, token: str | None) -> Any:
        return GCSFileSystem(
            token=token,
            project=self._settings.profile or "",
            endpoint_url=self._settings.endpoint,
            skip_instance_cache=True,
            use_listings_cache=False,
        )

    async def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        data: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        session = self._connected()
        sent = dict(headers or {})
        self._system.credentials.apply(sent)
        async with session.request(
            method, f"{self._base}{path}", params=query, data=data, headers=sent, allow_redirects=False
        ) as answer:
            value = await answer.read()
            if answer.status >= 300:
                raise _AnswerError(answer.status, value.decode("utf-8", "replace"))
        return value

    def _object(self, name: str) -> str:
        return f"/storage/v1/b/{self._bucket}/o/{quote(name, safe='')}"

    async def get(self, name: str, start: int, length: int | None) -> bytes:
        """Return bytes of *name*."""
        end = "" if length is None else start + length - 1
        # Compressed on the way, the range would be one of other bytes.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-{end}"} if start or end != "" else {})
        return await self._ask("GET", self._object(name), {"alt": "media"}, headers=headers)

    async def head(self, name: str) -> int:
        """Return the length of *name*."""
        return int(json.loads(await self._ask("GET", self._object(name), {"fields": "size"}))["size"])

    async def put(self, name: str, value: Buffer, *, exclusive: bool) -> None:
        """Store *value* as *name*."""
        digest = b64encode(md5(value, usedforsecurity=False).digest()).decode()
        description = {"name": name, "md5Hash": digest}
        if self._settings.storage_class:
            description["storageClass"] = self._settings.storage_class
        boundary = token_hex(16)
        part = f"--{boundary}\r\nContent-Type: "
        head = f"{part}application/json; charset=UTF-8\r\n\r\n{json.dumps(description)}\r\n"
        start = f"{head}{part}application/octet-stream\r\n\r\n".encode()
        end = f"\r\n--{boundary}--\r\n".encode()
        headers = {
            "Content-Type": f"multipart/related; boundary={boundary}",
            "Content-Length": str(len(start) + len(value) + len(end)),
        }
        query = {"fields": "md5Hash", "uploadType": "multipart"} | ({"ifGenerationMatch": "0"} if exclusive else {})
        path = f"/upload/storage/v1/b/{self._bucket}/o"
        try:
            answer = json.loads(await self._ask("POST", path, query, _pieces(start, value, end), headers))
        except _AnswerError as error:
            if error.status == 404:
                raise BucketNotFoundError(self._bucket) from error
            if error.status == 400 and "MD5" in error.text:
                raise DamagedUploadError from error
            raise
        if answer.get("md5Hash", digest) != digest:
            raise DamagedUploadError

    async def remove(self, name: str) -> None:
        """Remove *name*."""
        try:
            await self._ask("DELETE", self._object(name), {})
        except _AnswerError as error:
            if error.status != 404 or error.names_bucket:
                raise

    async def page(self, prefix: str, token: str | None) -> Page:
        """Return the names below *prefix*, a thousand at a time."""
        query = {"prefix": prefix, "fields": "items(name,size),nextPageToken"}
        if token is not None:
            query["pageToken"] = token
        found = json.loads(await self._ask("GET", f"/storage/v1/b/{self._bucket}/o", query))
        return [(each["name"], int(each["size"])) for each in found.get("items", ())], found.get("nextPageToken")

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    def abandon(self) -> None:
        """Do nothing: a call that is cancelled has ended."""

    def sort(self, error: Exception) -> Fault | None:
        """Return what *error* means."""
        if isinstance(error, _AnswerError):
            return self._sort_answer(error)
        if isinstance(error, DefaultCredentialsError):
            return Fault(FaultKind.FINAL, NoCredentialsError(f"there are no credentials for {self._address}"))
        if isinstance(error, TransportError):
            return network_fault(error, address=self._where(), sent=False)
        if isinstance(error, GoogleAuthError):
            return Fault(FaultKind.FINAL, CredentialsExpiredError(f"the login for {self._address} has ended"))
        if isinstance(error, aiohttp.InvalidURL):
            return Fault(FaultKind.FINAL, StorageError(f"cannot use {self._address}: the endpoint is no URL"))
        if isinstance(error, aiohttp.ClientError | OSError):
            return connection_fault(error, self._where())
        if isinstance(error, ValueError):
            return Fault(FaultKind.FINAL, StorageError(f"cannot use {self._address}: {error}"))
        return None

    def _sort_answer(self, error: _AnswerError) -> Fault:
        if error.names_bucket:
            return Fault(FaultKind.FINAL, BucketNotFoundError(self._bucket))
        if error.reason in _THROTTLED:
            return http_fault(429, error.reason, address=self._address, bucket=self._bucket)
        is_stranger = self._system.credentials.method == "anon" and not self._settings.anonymous
        if error.status in (401, 403) and is_stranger:
            return Fault(FaultKind.FINAL, NoCredentialsError(f"there are no credentials for {self._address}"))
        return http_fault(error.status, error.reason, address=self._address, bucket=self._bucket)

    def _where(self) -> str:
        return f"{self._address} ({self._base})" if self._base else self._address


async def _pieces(start: bytes, value: Buffer, end: bytes) -> AsyncIterator[Buffer]:
    """Yield a body in pieces: the whole of it at once would be copied where it cannot be sent yet."""
    yield start
    view = memoryview(value).cast("B")
    for place in range(0, len(view), _PIECE):
        yield view[place : place + _PIECE]
    yield end


def open_gcs(address: str, settings: Settings, clock: Clock | None = None) -> ObjectStore:
    """Return the backend at *address*, `gs://BUCKET/PREFIX`."""
    bucket, _, prefix = address.partition("://")[2].partition("/")
    return ObjectStore(GcsDriver(bucket, address, settings), address, prefix.strip("/"), settings, clock)


def open_system(address: str, settings: Settings) -> tuple[Any, GcsDriver]:
    """Return what reads whatever is in the bucket of *address*, and what knows the meaning of its errors."""
    driver = GcsDriver(address.partition("://")[2].partition("/")[0], address, settings)
    return driver.open_system(), driver
