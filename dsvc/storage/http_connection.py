"""How far a request came whose connection failed: only what was surely never sent may be sent again blindly.

The SDKs say "could not connect" of a connection that broke in the middle of a request too.
"""

from typing import Final

import aiohttp

from dsvc.storage.faults import Fault
from dsvc.storage.http_faults import causes, network_fault

__all__ = ["connection_fault"]

_NEVER_SENT: Final = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


def connection_fault(error: Exception, address: str) -> Fault:
    """Return what *error* means, which an SDK raised because of the connection to *address*."""
    sent = not any(isinstance(each, _NEVER_SENT) for each in causes(error))
    return network_fault(error, address=address, sent=sent)
