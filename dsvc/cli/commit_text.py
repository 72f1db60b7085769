"""A commit as text or JSON: as `dsvc log` and `dsvc show` print it, or after a format of the user's."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Final, NamedTuple

from dsvc.cli import console
from dsvc.cli.errors import UsageError
from dsvc.cli.history import History
from dsvc.cli.options import option
from dsvc.errors import CorruptionError
from dsvc.history.metadata import commit_meta, flat, printable, shown
from dsvc.history.revisions import Target, UnknownRevisionError, peel
from dsvc.log.refs import HEADS, REMOTES, TAGS, short_name
from dsvc.log.state import State
from dsvc.model.canonical_json import JsonObject, encode_canonical
from dsvc.model.commit import Commit
from dsvc.model.ids import ObjectId

__all__ = ["CommitPrinter", "Decorate", "Format", "Oneline", "decorations", "input_records"]

Oneline = Annotated[bool, option("--oneline", help="Show each commit on one line.")]
Format = Annotated[
    str | None,
    option(
        "--format",
        "--pretty",
        metavar="FORMAT",
        help="Show commits as `oneline`, `short`, `medium`, `full`, or as a text with placeholders says.",
    ),
]
Decorate = Annotated[
    str, option("--decorate", bare="short", help="Show the refs of each commit: `short`, `full`, `auto` or `no`.")
]

_PRESETS: Final = ("oneline", "short", "medium", "full")
_PLACEHOLDER: Final = re.compile(r"%(n|%|x[0-9a-fA-F]{2}|a[a-zA-Z]|[a-zA-Z])")


def decorations(history: History, *, full: bool = False) -> dict[ObjectId, list[str]]:
    """Return what points to each commit, in git's order: HEAD and its branch, tags, branches, remotes' branches."""
    state, head = history.state, history.head
    found: dict[ObjectId, list[str]] = {}
    name = (lambda ref: ref) if full else short_name
    if head.commit is not None:
        found[head.commit] = [f"HEAD -> {name(head.ref)}" if head.ref else "HEAD"]
    for prefix in (TAGS, HEADS, REMOTES):
        for ref in sorted(ref for ref in state.refs if ref.startswith(prefix)):
            commit = _commit_of(history, state, ref)
            if commit is not None and ref != head.ref:
                found.setdefault(commit, []).append(f"tag: {name(ref)}" if prefix == TAGS else name(ref))
    return found


def _commit_of(history: History, state: State, ref: str) -> ObjectId | None:
    object_id = ObjectId.from_hex(state.refs[ref].value)
    if not ref.startswith(TAGS):
        return object_id
    kind = history.objects.kind_of(object_id)
    try:
        return None if kind is None else peel(history.worktree.store, Target(object_id, kind)).id
    except (UnknownRevisionError, CorruptionError):
        # What a tag names may be gone, or damaged; the history can be shown all the same.
        return None


class CommitPrinter:
    """Makes lines of commits. *now*, in microseconds since 1970, is for relative dates.

    With *states*, how final each commit is is told too: as they say, else final.
    With *inputs*, what it was made from, and with *meta* what people say of it.
    """

    def __init__(
        self,
        text: str | None,
        refs: Mapping[ObjectId, list[str]],
        *,
        now: int,
        states: Mapping[ObjectId, str] | None = None,
        inputs: bool = False,
        meta: bool = False,
    ) -> None:
        self._refs = refs
        self._inputs = inputs
        self._meta = meta
        self._states = states
        self._now = now
        self._template: str | None = None
        self.preset = "medium"
        if text in _PRESETS:
            self.preset = text or "medium"
        elif text is not None:
            kind, _, template = text.partition(":")
            if kind in ("format", "tformat"):
                self._template = template
            elif "%" in text:
                self._template = text
            else:
                message = f"`{text}` is no format"
                raise UsageError(message, similar=(text, _PRESETS))

    @property
    def is_block(self) -> bool:
        """Whether a commit takes several lines, and an empty one sets it apart from the next."""
        return self._template is None and self.preset != "oneline"

    def lines(self, commit_id: ObjectId, commit: Commit) -> list[str]:
        """Return what is shown of a commit."""
        if self._template is not None:
            return self._expanded(commit_id, commit).split("\n")
        if self.preset == "oneline":
            state = "" if self._states is None else f" [{self._state_of(commit_id)}]"
            return [f"{console.paint(commit_id.short, 'yellow')}{state}{self._refs_of(commit_id)} {commit.subject}"]
        return self._block(commit_id, commit)

    def _state_of(self, commit_id: ObjectId) -> str:
        return (self._states or {}).get(commit_id, "final")

    def _refs_of(self, commit_id: ObjectId) -> str:
        names = self._refs.get(commit_id)
        if not names:
            return ""
        comma = console.paint(", ", "yellow")
        painted = comma.join(console.paint(name, _colour(name)) for name in names)
        return f" {console.paint('(', 'yellow')}{painted}{console.paint(')', 'yellow')}"

    def _block(self, commit_id: ObjectId, commit: Commit) -> list[str]:
        lines = [f"{console.paint(f'commit {commit_id.hex()}', 'yellow')}{self._refs_of(commit_id)}"]
        if len(commit.parents) > 1:
            lines.append("Merge: " + " ".join(ObjectId(parent).short for parent in commit.parents))
        if self._states is not None:
            lines.append(f"State:  {self._state_of(commit_id)}")
        lines.append(f"Author: {commit.author}")
        if self.preset != "short":
            lines.append(f"Date:   {console.format_date(commit.time, commit.offset)}")
        if self._inputs or self.preset == "full":
            lines += [f"Input:  {one.name} {ObjectId(one.commit).short}" for one in commit.inputs]
        if (self._meta or self.preset == "full") and commit.metadata != "{}":
            lines += [f"Meta:   {line}" for line in meta_lines(commit_meta(commit))]
        if self.preset == "full":
            lines.append(f"Size:   {console.plural(commit.files, 'file')}, {console.format_size(commit.size)}")
        message = [commit.subject] if self.preset == "short" else commit.message.rstrip("\n").split("\n")
        return [*lines, "", *(f"    {line}".rstrip() if line else "" for line in message)]

    def _expanded(self, commit_id: ObjectId, commit: Commit) -> str:
        def replace(found: "re.Match[str]") -> str:
            name = found[1]
            if name[0] == "x" and len(name) == 3:
                return chr(int(name[1:], 16))
            value = _PLACEHOLDERS.get(name)
            if value is None:
                # As git: what is unknown stays as it is.
                return found[0]
            return value(_Shown(commit_id, commit, self._refs.get(commit_id, []), self._now))

        return _PLACEHOLDER.sub(replace, self._template or "")

    def record(self, commit_id: ObjectId, commit: Commit) -> dict[str, object]:
        """Return a commit for JSON."""
        import msgspec

        return {
            "kind": "commit",
            "commit": commit_id.hex(),
            "tree": commit.tree.hex(),
            "parents": [parent.hex() for parent in commit.parents],
            "author": commit.author,
            "date": _iso(commit),
            "message": commit.message,
            "metadata": msgspec.Raw(commit.metadata.encode()),
            "inputs": input_records(commit),
            "files": commit.files,
            "size": commit.size,
            "refs": self._refs.get(commit_id, []),
            **({} if self._states is None else {"state": self._state_of(commit_id)}),
        }


def input_records(commit: Commit) -> list[dict[str, str]]:
    """Return what *commit* was made from, for JSON."""
    return [{"name": one.name, "commit": one.commit.hex()} for one in commit.inputs]


def _colour(name: str) -> str:
    if name.startswith("HEAD"):
        return "cyan"
    if name.startswith("tag: "):
        return "yellow"
    return "red" if "/" in name else "green"


def meta_lines(meta: JsonObject) -> Iterator[str]:
    """Yield what people say of something, a dotted key and its value on each line."""
    for key, value in flat(meta):
        text = shown(value)
        told = text if text.isprintable() else printable(encode_canonical(value))
        yield f"{key if key.isprintable() else printable(encode_canonical(key))}={told}"


class _Shown(NamedTuple):
    id: ObjectId
    commit: Commit
    refs: list[str]
    now: int


def _iso(commit: Commit) -> str:
    return console.format_iso_date(commit.time, commit.offset)


def _author(commit: Commit) -> tuple[str, str]:
    name, _, address = commit.author.partition(" <")
    return name, address.rstrip(">")


def _body(commit: Commit) -> str:
    return commit.message.partition("\n")[2].strip("\n")


# The names are git's.
_PLACEHOLDERS: Final[dict[str, Callable[[_Shown], str]]] = {
    "n": lambda _: "\n",
    "%": lambda _: "%",
    "H": lambda shown: shown.id.hex(),
    "h": lambda shown: shown.id.short,
    "T": lambda shown: shown.commit.tree.hex(),
    "t": lambda shown: ObjectId(shown.commit.tree).short,
    "P": lambda shown: " ".join(parent.hex() for parent in shown.commit.parents),
    "p": lambda shown: " ".join(ObjectId(parent).short for parent in shown.commit.parents),
    "an": lambda shown: _author(shown.commit)[0],
    "ae": lambda shown: _author(shown.commit)[1],
    "ad": lambda shown: console.format_date(shown.commit.time, shown.commit.offset),
    "ar": lambda shown: console.relative_date(shown.commit.time, shown.now),
    "at": lambda shown: str(shown.commit.time // 1_000_000),
    "aI": lambda shown: _iso(shown.commit),
    "as": lambda shown: _iso(shown.commit)[:10],
    "s": lambda shown: shown.commit.subject,
    "b": lambda shown: _body(shown.commit),
    "B": lambda shown: shown.commit.message.rstrip("\n"),
    "d": lambda shown: f" ({', '.join(shown.refs)})" if shown.refs else "",
    "D": lambda shown: ", ".join(shown.refs),
}
