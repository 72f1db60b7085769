"""The store that a command looks at: this repository's, a remote's, or one at an address."""

import os
from pathlib import Path
from typing import Final, NamedTuple

from dsvc.cli.exchange import open_remote, remote_hints
from dsvc.cli.session import load_config, make_context, open_repository
from dsvc.config import Config
from dsvc.history.store import Store
from dsvc.log.state import State
from dsvc.repository import NotARepositoryError
from dsvc.transport.address import open_backend, redact
from dsvc.transport.remote import Remote
from dsvc.worktree.worktree import Worktree

__all__ = ["Place", "open_place"]

_ADDRESSES: Final = ("/", "./", "../")


class Place(NamedTuple):
    """A store as it is now; *worktree* is there if it is that of the repository that one is in."""

    store: Store
    state: State
    config: Config
    worktree: Worktree | None


def open_place(words: tuple[str, ...]) -> tuple[Place, tuple[str, ...]]:
    """Return the store that the first of *words* names, else this repository's, and the words that are left.

    A remote's name, an address with `://`, a folder that is there and `.`, this repository, name one.

    Raises:
        NotARepositoryError: It would be this repository's, and there is none.
        NoStoreError: There is no store at the address.
    """
    try:
        worktree = open_repository()
    except NotARepositoryError:
        if not words or not _is_address(words[0]):
            raise
        config = load_config()
        address = words[0]
        remote = Remote(redact(address), address, open_backend(address, Path.cwd()), make_context(config))
        return _there(remote, config), words[1:]
    if not words or not (words[0] in worktree.config.remotes() or _is_address(words[0])):
        return Place(worktree.store, worktree.store.state(), worktree.config, worktree), words
    if words[0] == ".":
        return Place(worktree.store, worktree.store.state(), worktree.config, worktree), words[1:]
    with remote_hints(words[0]):
        remote = open_remote(worktree, words[0])
    return _there(remote, worktree.config), words[1:]


def _is_address(word: str) -> bool:
    return word == "." or "://" in word or word.startswith(_ADDRESSES) or os.path.isdir(word)  # noqa: PTH112 (a word)


def _there(remote: Remote, config: Config) -> Place:
    with remote_hints(remote.name):
        store = remote.open()
        state = store.state()
        remote.remember()
    return Place(store, state, config, None)
