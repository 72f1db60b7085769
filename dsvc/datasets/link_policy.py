"""Which links may be followed.

A link in a commit is an address that somebody else may have written: of a machine that only this one can
reach, or of a file that only this user can read. So nothing is read but what the user named, or allowed.
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

import msgspec

from dsvc.config import Config
from dsvc.errors import RefusedError
from dsvc.model.link_url import without_secrets
from dsvc.model.paths import quote_path
from dsvc.storage.local import storage_error

__all__ = ["LinkNotAllowedError", "LinkPolicy", "read_policy", "remember_named"]

_NAMED: Final = "links"


class LinkNotAllowedError(RefusedError):
    """A link to what nobody here has named or allowed."""

    def __init__(self, path: bytes, url: str) -> None:
        super().__init__(f"{quote_path(path)} is a link to {without_secrets(url)}, which nobody here has named")
        self.path = path
        self.url = url


class LinkPolicy(msgspec.Struct, frozen=True):
    """Which URLs may be read: those that were *named* here, with all below the prefixes, and those *allowed*.

    *allowed* are patterns. With *anything*, all but files of this machine.
    """

    named: frozenset[str] = frozenset()
    allowed: tuple[str, ...] = ()
    anything: bool = False

    def allows(self, url: str) -> bool:
        """Tell whether *url* may be read."""
        if self.anything and not url.startswith("file:"):
            return True
        return self._is_named(url) or any(fnmatchcase(url, pattern) for pattern in self.allowed)

    def _is_named(self, url: str) -> bool:
        if url in self.named:
            return True
        above = url
        while "/" in above.partition("://")[2]:
            above = above.rpartition("/")[0]
            if f"{above}/" in self.named:
                return True
        return False


def read_policy(config: Config, control: Path | None, *, anything: bool = False) -> LinkPolicy:
    """Return what may be read: as `links.allow` says, and what was named in the repository *control*."""
    named = frozenset(_named(control)) if control is not None else frozenset()
    return LinkPolicy(named, config.words("links.allow"), anything)


def _named(control: Path) -> list[str]:
    try:
        return (control / _NAMED).read_text("utf-8").splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise storage_error(error, f"read {control / _NAMED}") from error


def remember_named(control: Path, urls: Iterable[str]) -> None:
    """Note that the user named *urls* here; one that ends with a slash stands for all below it."""
    known = set(_named(control))
    new = [url for url in dict.fromkeys(urls) if url not in known]
    if not new:
        return
    try:
        with (control / _NAMED).open("a", encoding="utf-8") as file:
            file.write("".join(f"{url}\n" for url in new))
    except OSError as error:
        raise storage_error(error, f"write {control / _NAMED}") from error
