"""What is found at the URLs that somebody wants to link to, and which paths it gets."""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from dsvc.datasets.links import Links
from dsvc.errors import InvalidInputError, NotFoundError
from dsvc.model.link_url import BUCKET_SCHEMES, check_link_url, without_secrets
from dsvc.model.paths import validate_path
from dsvc.storage.foreign import FolderUrlError, ObjectState

__all__ = ["NamelessUrlError", "NothingLinkedError", "Target", "find_targets"]

_MAGIC: Final = re.compile(r"[*?\[]")


class NothingLinkedError(NotFoundError):
    """A prefix or pattern of URLs that fits no object."""

    def __init__(self, url: str) -> None:
        super().__init__(f"no object is at {without_secrets(url)}")
        self.url = url


class NamelessUrlError(InvalidInputError):
    """A URL that says nothing of what its content should be called."""

    def __init__(self, url: str) -> None:
        super().__init__(f"{without_secrets(url)} ends with no name, so say what its content is to be called")
        self.url = url


class Target(NamedTuple):
    """A path, and what was found for it."""

    path: bytes
    state: ObjectState


def find_targets(
    links: Links, urls: Sequence[str], to: bytes, *, into: bool, recursive: bool
) -> tuple[list[Target], list[str]]:
    """Return what *urls* lead to and the paths for it, as `cp` would have them; and what of it is to be remembered.

    *to* takes the place of the last name of the one URL there is, or with *into* is the folder for all of them.
    A URL with `*`, `?` or `[` in the name of a bucket's object is a pattern.

    Raises:
        BadLinkUrlError: A link may not have one of *urls*.
        FolderUrlError, NothingLinkedError, NamelessUrlError: One leads to no object.
        InvalidPathError: What it leads to has a name that no tree may hold.
        StorageError: It cannot be looked at.
    """
    into = into or len(urls) > 1
    targets: list[Target] = []
    named: list[str] = []
    for url in urls:
        check_link_url(url)
        place = links.place(url)
        folder, name = (to, _last_name(url)) if into else _split(to)
        pattern = _MAGIC.search(url) if url.partition("://")[0] in BUCKET_SCHEMES | {"file"} else None
        if pattern is not None:
            prefix = url[: url.rindex("/", 0, pattern.start()) + 1]
            found = place.below(prefix, url[len(prefix) :])
            base = to
        elif recursive and place.lists:
            prefix = url.rstrip("/") + "/"
            found = place.below(prefix)
            base = _joined(folder, name or _refuse_nameless(url))
        elif url.endswith("/") and place.lists:
            raise FolderUrlError(url)
        else:
            path = _joined(folder, name or _refuse_nameless(url))
            validate_path(path)
            targets.append(Target(path, place.state(url)))
            named.append(url)
            continue
        if not found:
            raise NothingLinkedError(url)
        for state in found:
            check_link_url(state.url)
            path = _joined(base, state.url[len(prefix) :].encode("utf-8", "surrogateescape"))
            validate_path(path)
            targets.append(Target(path, state))
        named.append(prefix)
    return targets, named


def _split(path: bytes) -> tuple[bytes, bytes]:
    folder, _, name = path.rpartition(b"/")
    return folder, name


def _last_name(url: str) -> bytes:
    scheme, _, rest = url.partition("://")
    path = rest.rstrip("/")
    if scheme in ("http", "https"):
        # On the web names are escaped, and what follows a question mark is no part of one.
        path = rest.partition("?")[0].partition("/")[2].rstrip("/")
        return unquote_to_bytes(path.rpartition("/")[2]).replace(b"/", b"_")
    return path.rpartition("/")[2].encode()


def _refuse_nameless(url: str) -> bytes:
    raise NamelessUrlError(url)


def _joined(folder: bytes, name: bytes) -> bytes:
    return folder + b"/" + name if folder else name
