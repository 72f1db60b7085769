"""What is found at the URLs that somebody wants to link to, and which paths it gets."""

import os
import re
from collections.abc import Sequence
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from dsvc.datasets.links import Links
from dsvc.errors import InvalidInputError, NotFoundError
from dsvc.model.link_url import BUCKET_SCHEMES, check_link_url, without_secrets
from dsvc.model.paths import validate_path
from dsvc.storage.foreign import ObjectState

__all__ = ["NamelessUrlError", "NothingLinkedError", "Target", "Wanted", "find_targets"]

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


class Wanted(NamedTuple):
    """A URL to link to, and where: at *to* in place of its last name, or if that is *into* a folder, below it."""

    url: str
    to: bytes
    into: bool


def find_targets(links: Links, wanted: Sequence[Wanted], *, recursive: bool) -> tuple[list[Target], list[str]]:
    """Return what the URLs lead to and the paths for it, as `cp` would have them; and what of it is to be remembered.

    A URL with `*`, `?` or `[` in the name of a bucket's object is a pattern, and one that ends with a slash means all
    that is below.

    Raises:
        BadLinkUrlError: A link may not have one of them.
        FolderUrlError, NothingLinkedError, NamelessUrlError: One leads to no object.
        InvalidPathError: What it leads to has a name that no tree may hold.
        StorageError: It cannot be looked at.
    """
    targets: list[Target] = []
    named: list[str] = []
    single: list[tuple[bytes, str]] = []
    for one in wanted:
        url = check_link_url(one.url)
        place = links.place(url)
        pattern = _MAGIC.search(url) if url.partition("://")[0] in BUCKET_SCHEMES | {"file"} else None
        if pattern is not None:
            prefix = url[: url.rindex("/", 0, pattern.start()) + 1]
            found, base = place.below(prefix, url[len(prefix) :]), one.to
        elif place.lists and (recursive or url.endswith("/")):
            prefix = url.rstrip("/") + "/"
            found, base = place.below(prefix), _place(one)
        else:
            single.append((_place(one), url))
            continue
        if not found:
            raise NothingLinkedError(url)
        targets += [Target(_joined(base, os.fsencode(state.url[len(prefix) :])), state) for state in found]
        named.append(prefix)
    states = links.states([url for _, url in single])
    targets += [Target(path, state) for (path, _), state in zip(single, states, strict=True)]
    for target in targets:
        check_link_url(target.state.url)
        validate_path(target.path)
    return targets, [*named, *(url for _, url in single)]


def _place(wanted: Wanted) -> bytes:
    """Return the path for what is at a URL.

    Raises:
        NamelessUrlError: It ends with none.
    """
    if not wanted.into:
        return wanted.to
    scheme, _, rest = wanted.url.partition("://")
    path = rest.rstrip("/")
    if scheme in ("http", "https"):
        # On the web names are escaped, and what follows a question mark is no part of one.
        path = rest.partition("?")[0].partition("/")[2].rstrip("/")
        name = unquote_to_bytes(path.rpartition("/")[2]).replace(b"/", b"_")
    else:
        name = os.fsencode(path.rpartition("/")[2])
    if not name:
        raise NamelessUrlError(wanted.url)
    return _joined(wanted.to, name)


def _joined(folder: bytes, name: bytes) -> bytes:
    return folder + b"/" + name if folder else name
