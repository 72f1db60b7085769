"""Buckets of S3 and of what speaks its protocol, through s3fs.

s3fs finds the credentials and holds the connections. The requests themselves are the SDK's own calls:
s3fs's would try again by themselves, look around before they read, and hide which precondition failed.
"""

import asyncio
import hashlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import s3fs
from botocore import exceptions as botocore
from botocore.parsers import ResponseParserError
from fsspec.asyn import get_loop, sync

from dsvc.errors import StorageError
from dsvc.storage.faults import CredentialsRefusedError, Fault, FaultKind, NoCredentialsError
from dsvc.storage.http_connection import connection_fault
from dsvc.storage.http_faults import http_fault
from dsvc.storage.object_store import CONCURRENCY, DamagedUploadError, ObjectStore, Page
from dsvc.storage.retry import Clock
from dsvc.storage.settings import Settings
from dsvc.storage.value_reader import ValueReader

__all__ = ["open_s3", "open_system"]

Buffer = bytes | bytearray | memoryview

_NO_CREDENTIALS: Final = (
    botocore.NoCredentialsError,
    botocore.NoAuthTokenError,
    botocore.PartialCredentialsError,
    botocore.ProfileNotFound,
    botocore.CredentialRetrievalError,
    botocore.ConfigNotFound,
)
_EXPIRED: Final = tuple(
    getattr(botocore, name)
    for name in ("TokenRetrievalError", "UnauthorizedSSOTokenError", "SSOTokenLoadError")
    if hasattr(botocore, name)
)
_NO_ANSWER: Final = (
    botocore.ConnectionError,
    botocore.HTTPClientError,
    botocore.IncompleteReadError,
    botocore.ChecksumError,
    ResponseParserError,
    aiohttp.ClientError,
    OSError,
)
# Below, a copy is cheaper than a file.
_LARGE: Final = 1024 * 1024
# One request is as fast, and either all of it is there or nothing; above, a broken one would waste too much.
_SINGLE: Final = 96 * 1024 * 1024
_PART: Final = 16 * 1024 * 1024
_PARTS_IN_FLIGHT: Final = 4
_MD5_LENGTH: Final = 16
_AWS: Final = ("amazonaws.com", "amazonaws.com.cn")


class S3Driver:
    """Requests to one bucket."""

    def __init__(self, bucket: str, address: str, settings: Settings) -> None:
        self._bucket = bucket
        self._address = address
        self._settings = settings
        self._client: Any = None
        self._opening = asyncio.Lock()
        self._has_written = False
        self._tags_are_digests = True
        self._system = self._make_system(path_style=settings.endpoint is not None)

    def _make_system(self, *, path_style: bool, session: object = None) -> s3fs.S3FileSystem:
        settings = self._settings
        config: dict[str, object] = {
            # Once: `dsvc.storage.retry` tries again.
            "retries": {"total_max_attempts": 1, "mode": "standard"},
            "max_pool_connections": CONCURRENCY,
            "connect_timeout": min(10, settings.timeout),
            "read_timeout": settings.timeout,
            # Checksums in trailers are unknown to half of the servers; objects have hashes, and requests an MD5.
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
        }
        if path_style:
            config["s3"] = {"addressing_style": "path"}
        options: dict[str, object] = {"profile": settings.profile} if settings.profile else {}
        return s3fs.S3FileSystem(
            anon=settings.anonymous,
            endpoint_url=settings.endpoint,
            client_kwargs={"region_name": settings.region} if settings.region else {},
            config_kwargs=config,
            skip_instance_cache=True,
            use_listings_cache=False,
            session=session,
            **options,
        )

    async def _connected(self) -> Any:
        if self._client is None:
            async with self._opening:
                if self._client is None:
                    self._client = await self._connect()
        return self._client

    async def _connect(self) -> Any:
        client = await self._system.set_session()
        host = urlsplit(client.meta.endpoint_url).hostname or ""
        if self._settings.endpoint is None and not host.endswith(_AWS):
            # The environment or the profile names another vendor: few of them have a name for each bucket. What the
            # first session has read, of the protocol and of the user's files, is not read again.
            self._system = self._make_system(path_style=True, session=self._system.session)
            client = await self._system.set_session()
        client.meta.events.register_last("before-call.s3", self._send_at_once)
        return client

    def _send_at_once(self, params: dict[str, Any], **_: object) -> None:
        # To wait for "100 Continue" after the headers is a round trip more. It pays where the body is large and may be
        # refused; who was allowed to write once is not asked again.
        headers = params["headers"]
        if self._has_written or int(headers.get("Content-Length", _LARGE)) < _LARGE:
            headers.pop("Expect", None)

    async def get(self, name: str, start: int, length: int | None) -> bytes:
        """Return bytes of *name*."""
        client = await self._connected()
        wanted = {} if length is None and not start else {"Range": _range(start, length)}
        answer = await client.get_object(Bucket=self._bucket, Key=name, **wanted)
        async with answer["Body"] as body:
            value: bytes = await body.read()
        if len(value) != answer["ContentLength"]:
            raise aiohttp.ClientPayloadError
        return value

    async def head(self, name: str) -> int:
        """Return the length of *name*."""
        client = await self._connected()
        answer = await client.head_object(Bucket=self._bucket, Key=name)
        return int(answer["ContentLength"])

    async def put(self, name: str, value: Buffer, *, exclusive: bool) -> None:
        """Store *value* as *name*."""
        client = await self._connected()
        if len(value) > _SINGLE and not exclusive:
            await self._put_parts(client, name, value)
            return
        condition, digest = {"IfNoneMatch": "*"} if exclusive else {}, await _md5(value)
        answer = await client.put_object(
            Bucket=self._bucket,
            Key=name,
            Body=ValueReader(value) if len(value) > _LARGE else bytes(value),
            ContentLength=len(value),
            ContentMD5=digest,
            **condition,
            **self._storage_class(),
        )
        self._has_written = True
        if self._tags_are_digests and not _agrees(answer, digest):
            # Most stores call by its MD5 what they do not encrypt; perhaps this one does not.
            if await self.get(name, 0, None) != value:
                raise DamagedUploadError
            self._tags_are_digests = False

    def _storage_class(self) -> dict[str, str]:
        return {"StorageClass": self._settings.storage_class} if self._settings.storage_class else {}

    async def _put_parts(self, client: Any, name: str, value: Buffer) -> None:
        place = {"Bucket": self._bucket, "Key": name}
        begun = await client.create_multipart_upload(**place, **self._storage_class())
        place["UploadId"] = begun["UploadId"]
        slots = asyncio.Semaphore(_PARTS_IN_FLIGHT)

        async def send(number: int, part: Buffer) -> dict[str, object]:
            async with slots:
                digest = await _md5(part)
                answer = await client.upload_part(**place, PartNumber=number, Body=bytes(part), ContentMD5=digest)
            return {"PartNumber": number, "ETag": answer["ETag"]}

        view = memoryview(value)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(send(number, view[start : start + _PART]))
                    for number, start in enumerate(range(0, len(value), _PART), 1)
                ]
            parts = [task.result() for task in tasks]
            await client.complete_multipart_upload(**place, MultipartUpload={"Parts": parts})
        except BaseException as error:
            # What was sent of it costs money until somebody says that it is not wanted.
            with suppress(Exception):
                await client.abort_multipart_upload(**place)
            if isinstance(error, BaseExceptionGroup):
                raise error.exceptions[0] from None
            raise

    async def remove(self, name: str) -> None:
        """Remove *name*."""
        client = await self._connected()
        await client.delete_object(Bucket=self._bucket, Key=name)

    async def page(self, prefix: str, token: str | None) -> Page:
        """Return the names below *prefix*, a thousand at a time."""
        client = await self._connected()
        more = {} if token is None else {"ContinuationToken": token}
        answer = await client.list_objects_v2(Bucket=self._bucket, Prefix=prefix, **more)
        found = [(each["Key"], int(each["Size"])) for each in answer.get("Contents", ())]
        return found, answer.get("NextContinuationToken") if answer.get("IsTruncated") else None

    async def close(self) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.close()

    def abandon(self) -> None:
        """Do nothing: a call that is cancelled has ended."""

    def sort(self, error: Exception) -> Fault | None:
        """Return what *error* means."""
        if isinstance(error, botocore.ClientError):
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            code = error.response.get("Error", {}).get("Code", "")
            return http_fault(status, "" if code == str(status) else code, address=self._address, bucket=self._bucket)
        if isinstance(error, _NO_CREDENTIALS):
            return Fault(FaultKind.FINAL, NoCredentialsError(f"there are no credentials for {self._address}: {error}"))
        if isinstance(error, _EXPIRED):
            return Fault(FaultKind.FINAL, CredentialsRefusedError(f"the login for {self._address} has ended: {error}"))
        if isinstance(error, _NO_ANSWER):
            return connection_fault(error, self._where())
        if isinstance(error, botocore.BotoCoreError | ValueError):
            return Fault(FaultKind.FINAL, StorageError(f"cannot use {self._address}: {error}"))
        return None

    def _where(self) -> str:
        endpoint = self._client.meta.endpoint_url if self._client is not None else None
        return f"{self._address} ({endpoint})" if endpoint else self._address


def _agrees(answer: Mapping[str, Any], digest: str) -> bool:
    """Tell whether an *answer* says nothing else of what was stored than *digest*."""
    tag = str(answer.get("ETag", "")).strip('"').lower()
    is_digest = len(tag) == 2 * _MD5_LENGTH and "aws:kms" not in str(answer.get("ServerSideEncryption", ""))
    return not is_digest or tag == b64decode(digest).hex()


def _range(start: int, length: int | None) -> str:
    return f"bytes={start}-" if length is None else f"bytes={start}-{start + length - 1}"


async def _md5(value: Buffer) -> str:
    def digest() -> bytes:
        return hashlib.md5(value, usedforsecurity=False).digest()

    # A pack takes a tenth of a second, in which the loop could do nothing else.
    found = digest() if len(value) < 1 << 20 else await asyncio.to_thread(digest)
    return b64encode(found).decode()


def open_s3(address: str, settings: Settings, clock: Clock | None = None) -> ObjectStore:
    """Return the backend at *address*, `s3://BUCKET/PREFIX`."""
    bucket, _, prefix = address.partition("://")[2].partition("/")
    return ObjectStore(S3Driver(bucket, address, settings), address, prefix.strip("/"), settings, clock)


def open_system(address: str, settings: Settings) -> tuple[s3fs.S3FileSystem, S3Driver]:
    """Return what reads whatever is in the bucket of *address*, and what knows the meaning of its errors."""
    driver = S3Driver(address.partition("://")[2].partition("/")[0], address, settings)
    sync(get_loop(), driver._connected)  # noqa: SLF001 (how its addresses are written is known once it is connected)
    return driver._system, driver  # noqa: SLF001 (as above)
