"""What the answers of a store that speaks HTTP mean: the part that all vendors have in common."""

import errno
import ssl
from collections.abc import Iterator
from typing import Final

from dsvc.errors import NoSpaceError, StorageError
from dsvc.storage.faults import (
    AccessDeniedError,
    BucketNotFoundError,
    CredentialsExpiredError,
    CredentialsRefusedError,
    Fault,
    FaultKind,
    NoConditionalWritesError,
    TlsError,
    UnreachableError,
)

__all__ = ["causes", "http_fault", "lost", "network_fault"]

_NO_BUCKET: Final = {"NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted", "ResourceNotFound"}
_EXPIRED: Final = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"}
_REFUSED: Final = {
    "AuthenticationFailed", "InvalidAccessKeyId", "InvalidAuthenticationInfo", "InvalidClientTokenId", "InvalidToken",
    "NoAuthenticationInformation", "SignatureDoesNotMatch", "UnrecognizedClientException",
}  # fmt: skip
_EXISTING: Final = {"BlobAlreadyExists", "PreconditionFailed", "ConditionNotMet", "UploadIDAlreadyExists"}
_ELSEWHERE: Final = {"AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect"}
_FULL: Final = {"QuotaExceeded", "XMinioStorageFull"}
_REFUSED_BEFORE: Final = {429, 503}
_UNCLEAR: Final = {408, 500, 502, 504}
_SILENT: Final = "nobody answers at {}: {}"
_REASONS: Final = {
    errno.ECONNREFUSED: "the connection was refused",
    errno.EHOSTUNREACH: "there is no way to that machine",
    errno.ENETUNREACH: "there is no way to that network",
    errno.ETIMEDOUT: "no answer in time",
}


def http_fault(status: int, code: str, *, address: str, bucket: str) -> Fault:
    """Return what an answer with *status* and the vendor's *code* means, for a store at *address* in *bucket*."""
    said = f"{status} {code}".strip()
    if code in _NO_BUCKET:
        return Fault(FaultKind.FINAL, BucketNotFoundError(bucket))
    if code in _EXISTING or status in (304, 412):
        return Fault(FaultKind.EXISTS, StorageError(f"{address}: it is there already"))
    if status == 404:
        return Fault(FaultKind.ABSENT, StorageError(f"{address}: it is not there"))
    if status == 416:
        return Fault(FaultKind.RANGE, StorageError(f"{address}: it is shorter than expected"))
    if code == "ConditionalRequestConflict" or status in _REFUSED_BEFORE or code in ("SlowDown", "ServerBusy"):
        return Fault(FaultKind.BUSY, StorageError(f"{address} was too busy for too long: it answered {said}"))
    if status in _UNCLEAR or code in ("RequestTimeout", "BadDigest", "InternalError"):
        return Fault(FaultKind.LOST, StorageError(f"{address} failed again and again: it answered {said}"))
    return Fault(FaultKind.FINAL, _refusal(status, code, address, said))


def _refusal(status: int, code: str, address: str, said: str) -> Exception:
    if code in _EXPIRED:
        return CredentialsExpiredError(f"the credentials for {address} have expired")
    if status == 401 or code in _REFUSED:
        return CredentialsRefusedError(f"{address} does not accept the credentials ({said})")
    if code in _ELSEWHERE:
        return StorageError(f"{address} is in another region than was asked ({said})")
    if code == "RequestTimeTooSkewed":
        return StorageError(f"{address} says that the clock of this machine is wrong")
    if status == 507 or code in _FULL:
        return NoSpaceError(f"no space is left at {address} ({said})")
    if status == 403:
        return AccessDeniedError(f"no permission at {address} ({said})")
    if status == 501:
        return NoConditionalWritesError(address, f"it has no conditional writes ({said})")
    return StorageError(f"{address} answered {said}")


def network_fault(error: BaseException, *, address: str, sent: bool) -> Fault:
    """Return what it means that no answer came; *sent* if the request may have been."""
    found = list(causes(error))
    if any(isinstance(each, ssl.SSLError | ssl.CertificateError) for each in found):
        verdicts = [each.verify_message for each in found if isinstance(each, ssl.SSLCertVerificationError)]
        reason = verdicts[0] if verdicts else "the other side speaks no TLS, or none that we trust"
        return Fault(FaultKind.FINAL, TlsError(f"no safe connection to {address}: {reason}"))
    if sent:
        return lost(address)
    number = next((each.errno for each in found if isinstance(each, OSError) and each.errno in _REASONS), None)
    reason = _REASONS.get(number or 0, "no answer in time" if _is_timeout(found) else "its name is not known")
    return Fault(FaultKind.UNREACHED, UnreachableError(_SILENT.format(address, reason)))


def lost(address: str) -> Fault:
    """Return the fault of an answer that never came, or not whole."""
    return Fault(FaultKind.LOST, UnreachableError(f"the connection to {address} broke, again and again"))


def _is_timeout(found: list[BaseException]) -> bool:
    return any(isinstance(each, TimeoutError) or "timeout" in type(each).__name__.lower() for each in found)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield *error* and all that led to it."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        # Some libraries keep the reason in an attribute, or as an argument.
        waiting += [each.__cause__, each.__context__, getattr(each, "os_error", None)]
        waiting += [argument for argument in each.args if isinstance(argument, BaseException)]
        certificate = getattr(each, "certificate_error", None)
        waiting.append(certificate if isinstance(certificate, BaseException) else None)
