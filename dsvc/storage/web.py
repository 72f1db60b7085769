"""Web servers, of which only the named ones are asked: what they redirect to elsewhere is somebody else's."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

import aiohttp
from fsspec.implementations.http import HTTPFileSystem
from yarl import URL

from dsvc.errors import RefusedError
from dsvc.model.link_url import without_secrets
from dsvc.storage.faults import Fault
from dsvc.storage.http_connection import connection_fault
from dsvc.storage.http_faults import http_fault
from dsvc.storage.settings import Settings

__all__ = ["RedirectedElsewhereError", "is_within", "open_web"]

Sort = Callable[[Exception], Fault | None]

_CONNECT_SECONDS: Final = 10


class RedirectedElsewhereError(RefusedError):
    """Whoever was asked for *url* names another place, *target*, where nobody here has sent us."""

    def __init__(self, url: str, target: str) -> None:
        super().__init__(f"{without_secrets(url)} leads on to {without_secrets(target)}, which nobody here has named")
        self.target = target


def is_within(url: URL, target: URL) -> bool:
    """Tell whether *target* is on the server that *url* is on: the same, or its encrypted side."""
    if (url.scheme, target.scheme) == ("http", "https"):
        return url.host == target.host
    return (url.scheme, url.host, url.port) == (target.scheme, target.host, target.port)


def open_web(url: str, settings: Settings, allows: Callable[[str], bool]) -> tuple[Any, Sort]:
    """Return the file system of the web server in *url*, and what sorts its failures.

    A redirect is followed within a server, and to what somebody *allows*.
    """
    host = without_secrets(url).split("?")[0]

    def sort(error: Exception) -> Fault | None:
        if isinstance(error, aiohttp.ClientResponseError):
            return http_fault(error.status, "", address=host, bucket=host)
        if isinstance(error, aiohttp.ClientError | TimeoutError):
            return connection_fault(error, host)
        return None

    async def check(
        _session: aiohttp.ClientSession, _context: SimpleNamespace, redirect: aiohttp.TraceRequestRedirectParams
    ) -> None:
        asked, headers = redirect.url, redirect.response.headers
        target = asked.join(URL(headers.get("Location") or headers.get("URI") or ""))
        if not is_within(asked, target) and not allows(str(target)):
            redirect.response.close()
            raise RedirectedElsewhereError(str(asked), str(target))

    tracing = aiohttp.TraceConfig()
    tracing.on_request_redirect.append(check)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=settings.timeout)
    options = {"trust_env": True, "timeout": timeout, "trace_configs": [tracing]}
    return HTTPFileSystem(client_kwargs=options, skip_instance_cache=True, use_listings_cache=False), sort
