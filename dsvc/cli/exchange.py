"""What push, fetch, pull and clone say of refs and data, in git's words."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from dsvc.cli import console
from dsvc.cli.errors import Failure, exit_code
from dsvc.log.refs import HEADS, TAGS, short_name
from dsvc.model.ids import ObjectId
from dsvc.storage.bundle import bundle_file
from dsvc.transport.address import open_backend, redact
from dsvc.transport.position import OtherStoreError, RemoteRewoundError, StoreGoneError
from dsvc.transport.remote import (
    NoStoreError,
    NotEmptyError,
    Remote,
    RemoteDamagedError,
    RemoteNotFoundError,
    default_remote,
    find_remote,
)
from dsvc.transport.updates import Exchange, Outcome, RefUpdate
from dsvc.worktree.worktree import Worktree

__all__ = [
    "BUNDLE",
    "open_remote",
    "print_json",
    "rejection_code",
    "remote_hints",
    "show_refs",
    "transferred",
    "usual_remote",
]

_CONFLICT = 5
_REFUSED = 10
BUNDLE: Final = "bundle"

_FLAGS = {
    Outcome.UNCHANGED: "=",
    Outcome.NEW: "*",
    Outcome.FAST_FORWARD: " ",
    Outcome.FORCED: "+",
    Outcome.DELETED: "-",
    Outcome.MOVED: " ",
    Outcome.PUBLISHED: "*",
}


def open_remote(worktree: Worktree, name: str) -> Remote:
    """Return the remote *name*, or the store at the address *name* where it is one and no remote's name.

    A bundle has no name of its own: what is remembered of its branches is called as those of a remote `bundle`.

    Raises:
        RemoteNotFoundError: It is neither.
    """
    if name not in worktree.config.remotes():
        if bundle_file(Path(name)) is not None:
            return Remote(BUNDLE, name, open_backend(name, Path.cwd()), worktree.store.context)
        if "/" in name or name.startswith("."):
            return Remote(redact(name), name, open_backend(name, Path.cwd()), worktree.store.context)
    return find_remote(worktree.config, worktree.control, name, worktree.store.context)


def usual_remote(worktree: Worktree) -> str:
    """Return the name of the remote that the current branch follows, or else the default."""
    branch = worktree.session(worktree.store.state()).branch
    return default_remote(worktree.config, None if branch is None else branch.removeprefix(HEADS))


@contextmanager
def remote_hints(name: str, address: str | None = None) -> Iterator[None]:
    """Add to what goes wrong with the remote *name* what to type."""
    try:
        yield
    except (RemoteRewoundError, OtherStoreError) as error:
        hint = f"if that is as it should be, as after a restore from a backup, run `dsvc remote accept-rewind {name}`"
        raise Failure(str(error), code=exit_code(error), hint=hint) from error
    except StoreGoneError as error:
        hint = f"see whether its disk is mounted; if it is lost, run `dsvc remote accept-rewind {name}`, then push anew"
        raise Failure(str(error), code=exit_code(error), hint=hint) from error
    except RemoteNotFoundError as error:
        hint = f"to add it, run `dsvc remote add {error.name} ADDRESS`; `dsvc remote -v` lists those that there are"
        raise Failure(str(error), code=exit_code(error), hint=hint) from error
    except NoStoreError as error:
        hint = "check the address; a new store is made by the first `dsvc push`"
        raise Failure(str(error), code=exit_code(error), hint=hint) from error
    except NotEmptyError as error:
        hint = "name a folder that is empty or not there yet, or that of a store"
        raise Failure(str(error), code=exit_code(error), hint=hint) from error
    except RemoteDamagedError as error:
        hint = f"to see what is damaged there, run `dsvc fsck {redact(address or 'ADDRESS')}`"
        raise Failure(str(error), code=exit_code(error), hint=hint) from error


def show_refs(updates: Sequence[RefUpdate], heading: str, *, verbose: bool = False) -> bool:
    """Say what became of each ref, below *heading*; return whether there was anything to say."""
    shown = [update for update in updates if verbose or update.outcome is not Outcome.UNCHANGED]
    if not shown:
        return False
    console.say(heading)
    words = [_word(update) for update in shown]
    sources = [short_name(update.source) or "(none)" for update in shown]
    width, room = max(map(len, words)), max(map(len, sources))
    for update, word, source in zip(shown, words, sources, strict=True):
        flag = _FLAGS.get(update.outcome, "!")
        why = f" ({update.outcome.value})" if flag in "!+" or update.outcome is Outcome.MOVED else ""
        console.say(f" {flag} {word:{width}}  {source:{room}} -> {short_name(update.target)}{why}")
    return True


def _word(update: RefUpdate) -> str:
    if update.outcome.is_rejected:
        return "[rejected]"
    if update.outcome is Outcome.UNCHANGED:
        return "[up to date]"
    if update.outcome is Outcome.DELETED:
        return "[deleted]"
    if update.publish:
        return "[published]"
    if update.old is None or update.new is None:
        return f"[new {'tag' if update.target.startswith(TAGS) else 'branch'}]"
    dots = "..." if update.outcome is Outcome.FORCED else ".."
    return f"{update.old.short}{dots}{update.new.short}"


def rejection_code(exchange: Exchange) -> int:
    """Return the exit code where refs were rejected."""
    return _REFUSED if any(update.outcome is Outcome.PROTECTED for update in exchange.rejected) else _CONFLICT


def transferred(exchange: Exchange, verb: str) -> str | None:
    """Return one line about the data that was sent, None if there was none."""
    if not exchange.objects:
        return None
    parts = [console.plural(exchange.objects, "object")]
    if exchange.commits:
        parts.insert(0, console.plural(exchange.commits, "version"))
    size = f"{console.format_size(exchange.raw)}, {console.format_size(exchange.stored)} as packed"
    if exchange.packs:
        size += f" in {console.plural(exchange.packs, 'pack')}"
    if exchange.requests:
        size += f", {console.plural(exchange.requests, 'request')}"
    saved = exchange.stored - exchange.sent
    there = f", {console.format_size(saved)} of it there already" if saved * 10 > exchange.stored else ""
    more = f"; {console.plural(exchange.promised, 'object')} more would be fetched first" if exchange.promised else ""
    return f"{verb} {' with '.join(parts)} ({size}{there}){more}"


def print_json(exchange: Exchange) -> None:
    """Print one object for each ref, and one for the data."""
    for update in exchange.updates:
        console.out_json(
            {
                "kind": "ref",
                "ref": update.target,
                "source": update.source or None,
                "old": _hex(update.old),
                "new": _hex(update.new),
                "published": update.publish,
                "status": update.outcome.name.lower(),
            }
        )
    console.out_json(
        {
            "kind": "data",
            "commits": exchange.commits,
            "objects": exchange.objects,
            "raw_bytes": exchange.raw,
            "stored_bytes": exchange.stored,
            "sent_bytes": exchange.sent,
            "packs": exchange.packs,
            "requests": exchange.requests,
        }
    )


def _hex(value: ObjectId | None) -> str | None:
    return None if value is None else value.hex()
