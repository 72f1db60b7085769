"""URLs of external content: which ones a commit may hold.

A commit is read by others, so a URL that grants access by itself may not be in one. It is also written by
others, so nothing here is ever opened: whoever reads decides about that.
"""

import re
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from dsvc.errors import InvalidInputError
from dsvc.model.extension import MAX_URL_LENGTH

__all__ = ["BUCKET_SCHEMES", "LINK_SCHEMES", "BadLinkUrlError", "SecretInUrlError", "check_link_url", "without_secrets"]

BUCKET_SCHEMES: Final = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"})
LINK_SCHEMES: Final = BUCKET_SCHEMES | {"http", "https", "file"}

# What most are: nothing in it that has to be looked at, and no name that begins with a dot.
_PLAIN: Final = re.compile(
    r"(?:(?:s3|gs|az|https?)://[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*|file://)(?:/[A-Za-z0-9_=,+~-][A-Za-z0-9_=,+~.-]*)+"
)
# Parts of the names that signatures, tokens and keys have in the queries of S3, GCS, Azure, CloudFront and others.
_SECRET: Final = re.compile(
    r"signature|token|secret|password|credential|access[-_]?key|googleaccessid|api[-_]?key|session[-_]?id",
    re.IGNORECASE,
)
_SECRET_NAMES: Final = frozenset({"sig", "auth", "pwd", "passwd", "jwt"})


class BadLinkUrlError(InvalidInputError):
    """A URL that no link may have."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"cannot link to {without_secrets(url)!r}: {reason}")
        self.url = url


class SecretInUrlError(BadLinkUrlError):
    """A URL that grants access by itself, to everybody who reads it in the commit."""

    def __init__(self, url: str, what: str) -> None:
        super().__init__(url, f"it holds {what}, which everybody could read in the commit")


def check_link_url(url: str) -> str:
    """Return *url* if a link may have it.

    Raises:
        BadLinkUrlError: It is no absolute URL of a scheme that links have, is too long, or leads through `..`.
        SecretInUrlError: It holds a password, or the signature of a signed address.
    """
    if len(url) <= MAX_URL_LENGTH and _PLAIN.fullmatch(url):
        return url
    if not url.isprintable() or not 0 < len(url) <= MAX_URL_LENGTH:
        raise BadLinkUrlError(url, "it is empty, over 8,192 characters long, or holds characters that do not print")
    scheme, separator, rest = url.partition("://")
    if scheme not in LINK_SCHEMES or not separator:
        raise BadLinkUrlError(url, "a link is s3://, gs://, az://, http://, https:// or file://")
    try:
        parts = urlsplit(url)
        user, host = parts.username, parts.hostname
    except ValueError as error:
        raise BadLinkUrlError(url, "it is no URL") from error
    if parts.password is not None or (user is not None and not scheme.startswith("abfs")):
        raise SecretInUrlError(url, "a user or a password")
    if scheme == "file":
        if not rest.startswith("/"):
            raise BadLinkUrlError(url, "a file:// link is file:///PATH, on this machine")
    elif not host:
        raise BadLinkUrlError(url, "it names no bucket or host")
    # Else what `links.allow` permits would reach further than it says.
    path = rest.partition("/")[2].partition("?")[0]
    if scheme in ("http", "https"):
        # Whoever asks a web server for %2e%2e asks for `..`, and some take a backslash for a slash.
        path = unquote(path).replace("\\", "/")
    if {".", ".."} & set(path.split("/")):
        raise BadLinkUrlError(url, "it leads through `.` or `..`")
    if scheme in ("http", "https"):
        if parts.fragment:
            raise BadLinkUrlError(url, "it has a fragment, which no server sees")
        for name, _ in parse_qsl(parts.query.replace(";", "&"), keep_blank_values=True):
            if name.lower() in _SECRET_NAMES or _SECRET.search(name):
                raise SecretInUrlError(url, f"`{name}`")
    return url


def without_secrets(url: str) -> str:
    """Return *url* without what may be secret in it: the user, and the query of a web address."""
    text = re.sub(r"^([A-Za-z][A-Za-z0-9+.-]*://)[^/@?#]*@", r"\1***@", url)
    return re.sub(r"^(https?://[^?]*\?).+", r"\1***", text)
