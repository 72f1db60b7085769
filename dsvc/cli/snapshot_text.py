"""What `dsvc snapshot` says: the message of the version, one line for people, one object for programs."""

import os
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from dsvc.cli import console, session
from dsvc.cli.errors import UsageError
from dsvc.history.diff import ChangeKind
from dsvc.log.refs import short_name
from dsvc.transport.updates import Exchange
from dsvc.worktree.worktree import Worktree

__all__ = ["MESSAGE", "Write", "line", "message_template", "print_record", "pushed", "told_changes"]

Counts = Counter[ChangeKind]
Write = Callable[[Counts, str], str]
"""What makes the message of the counts and of the name of the branch."""

MESSAGE: Final = "Snapshot: {changes}"

_FIELD: Final = re.compile(r"\{([a-z]+)\}")
_WORDS: Final = {
    "new": (ChangeKind.ADDED,),
    "changed": (ChangeKind.MODIFIED, ChangeKind.TYPE_CHANGED),
    "renamed": (ChangeKind.RENAMED,),
    "removed": (ChangeKind.DELETED,),
}


def message_template(text: str) -> Write:
    """Return what fills in the fields of *text*.

    Raises:
        UsageError: It is empty, or has a field that there is not.
    """
    stamp = console.format_iso_date(*session.now())
    others = {"host": os.uname().nodename, "date": stamp[:10], "time": stamp[11:16]}

    def write(counts: Counts, branch: str) -> str:
        numbers = {word: f"{number:,}" for word, number in _by_word(counts).items()}
        fields = {"changes": told_changes(counts), **numbers, "branch": short_name(branch), **others}
        return _FIELD.sub(lambda found: _field(fields, found[1]), text).strip()

    if not write(Counter(), "main"):
        problem = "a message cannot be empty"
        raise UsageError(problem)
    return write


def _field(fields: Mapping[str, str], name: str) -> str:
    if name not in fields:
        text = f"a message has no field `{{{name}}}`; there are {', '.join(f'`{{{each}}}`' for each in fields)}"
        raise UsageError(text)
    return fields[name]


def _by_word(counts: Counts) -> dict[str, int]:
    return {word: sum(counts[kind] for kind in kinds) for word, kinds in _WORDS.items()}


def told_changes(counts: Counts) -> str:
    """Return *counts* in words."""
    return ", ".join(f"{number:,} {word}" for word, number in _by_word(counts).items() if number) or "nothing changed"


def pushed(exchange: Exchange, remote: str) -> str:
    """Return what went to *remote*."""
    if not any(update.is_change for update in exchange.updates):
        return f"{remote} is up to date"
    if not exchange.commits:
        return f"pushed to {remote}, which had it all"
    return f"pushed {console.plural(exchange.commits, 'version')} to {remote} ({console.format_size(exchange.sent)})"


def line(where: str, *parts: str | None) -> str:
    """Return the one line: the branch, and the version where there is one, and all *parts* that are something."""
    return f"[{where}] {'; '.join(part for part in parts if part)}"


def print_record(worktree: Worktree, status: str, counts: Counts, more: Mapping[str, object]) -> None:
    """Print what programs read."""
    record: dict[str, object] = {"kind": "snapshot", "status": status}
    record |= console.json_path(worktree.root_bytes)
    record |= {kind.name.lower(): counts[kind] for kind in ChangeKind}
    console.out_json(record | dict(more))
