"""The store that a command looks at: this repository's, a remote's, or one at an address."""

import os
from pathlib import Path
from typing import Final, NamedTuple

from dsvc.cli.exchange import remote_hints
from dsvc.cli.session import load_config, make_context, open_repository
from dsvc.config import Config
from dsvc.history.store import Store
from dsvc.log.state import State
from dsvc.log.store import CONFIG_KEY
from dsvc.model.context import Context
from dsvc.repository import NotARepositoryError
from dsvc.transport.address import open_backend, redact
from dsvc.transport.remote import Remote, find_remote
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

    A remote's name, a path that begins with `/` or a dot, an address with `://` and what is a store name one; `.` is
    this repository.

    Raises:
        NotARepositoryError: It would be this repository's, and there is none.
        NoStoreError: There is no store at the address.
    """
    word = words[0] if words else None
    try:
        worktree = open_repository()
    except NotARepositoryError:
        if word is None or not _is_address(word):
            raise
        config = load_config()
        return _at(word, make_context(config), config), words[1:]
    if word in worktree.config.remotes():
        with remote_hints(word):
            remote = find_remote(worktree.config, worktree.control, word, worktree.store.context)
        return _there(remote, worktree.config), words[1:]
    if word not in (None, ".") and _is_address(word):
        return _at(word, worktree.store.context, worktree.config), words[1:]
    here = Place(worktree.store, worktree.store.state(), worktree.config, worktree)
    return here, words[1:] if word == "." else words


def _is_address(word: str) -> bool:
    if "://" in word or word.startswith(_ADDRESSES):
        return True
    # A dataset may be called as a folder of the worktree is, which is no store.
    return os.path.exists(word) and open_backend(word, Path.cwd()).read_many([CONFIG_KEY]) != [None]  # noqa: PTH110


def _at(address: str, context: Context, config: Config) -> Place:
    return _there(Remote(redact(address), address, open_backend(address, Path.cwd()), context), config)


def _there(remote: Remote, config: Config) -> Place:
    with remote_hints(remote.name):
        store = remote.open()
        state = store.state()
        remote.remember()
    return Place(store, state, config, None)
