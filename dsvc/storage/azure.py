"""Containers of Azure Blob Storage, through adlfs.

adlfs finds the account and the credentials and holds the connections; the requests are the SDK's own, each
told not to try again. (Its download of a blob asks up to three times for a piece that broke off; nothing can be
said against that.)
"""

import warnings
from contextlib import suppress
from typing import Any, Final

import aiohttp
from adlfs import AzureBlobFileSystem
from azure.core import exceptions as azure
from azure.core.exceptions import ResourceNotFoundError

from dsvc.storage.faults import Fault, FaultKind, NoCredentialsError
from dsvc.storage.http_connection import connection_fault
from dsvc.storage.http_faults import http_fault
from dsvc.storage.object_store import DamagedUploadError, ObjectStore, Page
from dsvc.storage.retry import Clock
from dsvc.storage.settings import Settings

__all__ = ["open_azure", "open_system"]

Buffer = bytes | bytearray | memoryview

_BLOCKS_IN_FLIGHT: Final = 4
# The SDK hands over a whole blob at once, whatever it was given; a blob is a pack at most.
warnings.filterwarnings("ignore", "Sending a large body directly", ResourceWarning)


class AzureDriver:
    """Requests to one container."""

    def __init__(self, container: str, account: str | None, address: str, settings: Settings) -> None:
        self._container = container
        self._address = address
        self._settings = settings
        self._account = account
        self._system: Any = None
        self._options: dict[str, Any] = {
            "retry_total": 0,
            "connection_timeout": min(10, settings.timeout),
            "read_timeout": settings.timeout,
        }

    def _connected(self) -> Any:
        return self.open_system().service_client.get_container_client(self._container)

    def open_system(self) -> Any:
        """Return the file system that has the credentials."""
        if self._system is None:
            options: dict[str, object] = (
                {"account_host": _host(self._settings.endpoint)} if self._settings.endpoint else {}
            )
            if self._settings.secret:
                is_connection = "=" in self._settings.secret and ";" in self._settings.secret
                options["connection_string" if is_connection else "account_key"] = str(self._settings.secret)
            self._system = AzureBlobFileSystem(
                account_name=self._account or self._settings.profile,
                anon=self._settings.anonymous or None,
                skip_instance_cache=True,
                use_listings_cache=False,
                **options,
            )
        return self._system

    async def get(self, name: str, start: int, length: int | None) -> bytes:
        """Return bytes of *name*."""
        blob = self._connected().get_blob_client(name)
        wanted = {} if length is None and not start else {"offset": start, "length": length}
        answer = await blob.download_blob(**wanted, **self._options)
        value: bytes = await answer.readall()
        return value

    async def head(self, name: str) -> int:
        """Return the length of *name*."""
        found = await self._connected().get_blob_client(name).get_blob_properties(**self._options)
        return int(found.size)

    async def put(self, name: str, value: Buffer, *, exclusive: bool) -> None:
        """Store *value* as *name*."""
        blob = self._connected().get_blob_client(name)
        tier = {"standard_blob_tier": self._settings.storage_class} if self._settings.storage_class else {}
        try:
            # With a digest of each request, which the service compares.
            await blob.upload_blob(
                bytes(value),
                length=len(value),
                overwrite=not exclusive,
                max_concurrency=_BLOCKS_IN_FLIGHT,
                validate_content=True,
                **tier,
                **self._options,
            )
        except azure.HttpResponseError as error:
            if error.status_code == 400 and "md5" in f"{getattr(error, 'error_code', '')} {error.message}".lower():
                raise DamagedUploadError from error
            raise

    async def remove(self, name: str) -> None:
        """Remove *name*."""
        try:
            await self._connected().get_blob_client(name).delete_blob(**self._options)
        except ResourceNotFoundError as error:
            if getattr(error, "error_code", None) != "BlobNotFound":
                raise

    async def page(self, prefix: str, token: str | None) -> Page:
        """Return the names below *prefix*, some thousands at a time."""
        pages = self._connected().list_blobs(name_starts_with=prefix, **self._options).by_page(token)
        found = [(each.name, int(each.size)) async for each in await anext(pages)]
        return found, pages.continuation_token or None

    async def close(self) -> None:
        """Close all connections."""
        if self._system is not None:
            with suppress(AttributeError):
                await self._system.service_client.close()

    def abandon(self) -> None:
        """Do nothing: a call that is cancelled has ended."""

    def sort(self, error: Exception) -> Fault | None:
        """Return what *error* means."""
        if isinstance(error, azure.ClientAuthenticationError) and error.response is None:
            return Fault(FaultKind.FINAL, NoCredentialsError(f"there are no credentials for {self._address}"))
        if isinstance(error, azure.HttpResponseError) and error.response is not None:
            code = getattr(error, "error_code", None) or ""
            status = error.response.status_code or 0
            return http_fault(status, str(getattr(code, "value", code)), address=self._address, bucket=self._container)
        if isinstance(error, azure.AzureError | aiohttp.ClientError | OSError):
            return connection_fault(error, self._where())
        if isinstance(error, ValueError):
            # Its message may quote the connection string, which holds the key.
            message = f"there are no credentials for {self._address}, or they are not well-formed"
            return Fault(FaultKind.FINAL, NoCredentialsError(message))
        return None

    def _where(self) -> str:
        if self._system is None:
            return self._address
        return f"{self._address} (https://{self._system.service_client.primary_hostname})"


def _host(endpoint: str) -> str:
    return endpoint.partition("://")[2].rstrip("/") or endpoint


def _driver(address: str, settings: Settings) -> AzureDriver:
    container, _, host = address.partition("://")[2].partition("/")[0].partition("@")
    return AzureDriver(container, host.partition(".")[0] or None, address, settings)


def open_azure(address: str, settings: Settings, clock: Clock | None = None) -> ObjectStore:
    """Return the backend at *address*: `az://CONTAINER/PREFIX`, or with `CONTAINER@ACCOUNT.dfs.core.windows.net`."""
    prefix = address.partition("://")[2].partition("/")[2]
    return ObjectStore(_driver(address, settings), address, prefix.strip("/"), settings, clock)


def open_system(address: str, settings: Settings) -> tuple[Any, AzureDriver]:
    """Return what reads whatever is in the container of *address*, and what knows the meaning of its errors."""
    driver = _driver(address, settings)
    return driver.open_system(), driver
