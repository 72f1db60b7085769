"""The session of a worktree: where HEAD is, and what is staged.

It is the value of a ref in the log, `refs/worktrees/main`, replaced as it changes. So what is
staged is a root like any commit: `undo` covers it, and nothing collects it.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from dsvc.errors import BusyError, ConflictError, CorruptionError
from dsvc.log.entry import RefChange
from dsvc.log.state import State
from dsvc.model.commit import Input
from dsvc.model.ids import ObjectId

__all__ = [
    "SESSION_REF",
    "DetachedHeadError",
    "MalformedSessionError",
    "Series",
    "Session",
    "SessionChangedError",
    "Switch",
    "SwitchInterruptedError",
    "Unfinished",
    "UnfinishedError",
    "decode_session",
    "read_session",
    "refuse_interrupted",
    "refuse_unfinished",
]

SESSION_REF: Final = "refs/worktrees/main"
BRANCHES: Final = "refs/heads/"


class MalformedSessionError(CorruptionError):
    """The log holds a session that this version cannot read."""


class SessionChangedError(BusyError):
    """Another process staged, committed or switched meanwhile."""

    def __init__(self) -> None:
        super().__init__("another process changed HEAD or what is staged meanwhile")


class DetachedHeadError(ConflictError):
    """HEAD is no branch, so nothing can move forward."""

    def __init__(self) -> None:
        super().__init__("HEAD is not on a branch")


class SwitchInterruptedError(ConflictError):
    """A checkout was cut short, and must be resumed or undone first."""

    def __init__(self, to_head: str) -> None:
        name = to_head.removeprefix(BRANCHES)
        super().__init__(f"a switch to {name} was interrupted; the files are partly the old ones")
        self.to_head = to_head


class UnfinishedError(ConflictError):
    """A merge, or the like, is not concluded; *verb* is the command that began it."""

    def __init__(self, verb: str) -> None:
        super().__init__(f"a {verb} is not concluded yet")
        self.verb = verb


class Series(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Commits that `cherry-pick`, `revert` or `rebase`, the *verb*, applies one after the other.

    *commits* is a commit that is in no history and whose parents they are; *done* counts those that were dealt with.
    *origin* is what HEAD was before, and *branch* what a rebase will move to the result. *mainline* and *signed*
    are the options `-m` and `-x`, *strategy* that of `-X`.
    """

    verb: str
    commits: str
    origin: str
    done: int = 0
    branch: str | None = None
    mainline: int = 0
    signed: bool = False
    strategy: str | None = None


class Unfinished(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What stopped before its commit, for conflicts or because somebody wanted to look at it first.

    *stages* are the roots of three trees, of the base, of ours and of theirs, that hold the paths that are not decided
    and no others. *draft* is a commit in no history, whose author, message, metadata and inputs the next one has.
    """

    stages: tuple[str, str, str] | None = None
    draft: str | None = None
    series: Series | None = None

    def committed(self) -> "Unfinished | None":
        """Return what is left to do after a commit: the rest of a series, if there is one."""
        series = self.series
        return None if series is None else Unfinished(series=msgspec.structs.replace(series, done=series.done + 1))


class Switch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A checkout on its way: the trees that the files are changing between.

    *to_head*, *to_merge* and *to_unfinished* are the session's once it is done, and *changes* what happens to
    other refs then: name, old value, new value.
    """

    from_tree: str
    to_tree: str
    to_head: str
    to_merge: list[str] = []
    changes: list[tuple[str, str | None, str | None]] = []
    to_unfinished: Unfinished | None = None


class Session(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """*head* is a branch's ref name, or a commit's id when detached.

    *staged* is the root of the staged tree, None while it is that of HEAD. *merge* lists commits
    that the next commit will have as further parents, and *unfinished* is what is to be concluded by it. *inputs* are
    versions, by name and id, that what is staged was made from; the next commit will name them. *metadata* is a
    JSON Merge Patch that changes what people say of HEAD, or of the draft, to what they say of the next version.
    """

    head: str
    merge: list[str] = []
    staged: str | None = None
    switching: Switch | None = None
    inputs: list[tuple[str, str]] = []
    metadata: str = ""
    unfinished: Unfinished | None = None

    @property
    def branch(self) -> str | None:
        """The full name of the current branch, None when detached."""
        return self.head if self.head.startswith(BRANCHES) else None

    @property
    def merging(self) -> list[ObjectId]:
        """The commits that the next commit will have as further parents."""
        return list(map(ObjectId.from_hex, self.merge))

    @property
    def verb(self) -> str | None:
        """The command that is not concluded yet: `merge`, `cherry-pick`, `revert` or `rebase`."""
        if self.unfinished is not None and self.unfinished.series is not None:
            return self.unfinished.series.verb
        return "merge" if self.merge or self.unfinished is not None else None

    @property
    def objects(self) -> list[str]:
        """The ids of all that it needs: commits and trees."""
        named = [] if self.branch else [self.head]
        named += [*self.merge, *([self.staged] if self.staged else []), *_objects(self.unfinished)]
        if self.switching is not None:
            named += [self.switching.from_tree, self.switching.to_tree, *self.switching.to_merge]
            named += [new for _, _, new in self.switching.changes if new is not None]
            named += _objects(self.switching.to_unfinished)
        return named

    def commit(self, state: State) -> ObjectId | None:
        """Return the commit that HEAD names in *state*, None before the first one."""
        if self.branch is None:
            return ObjectId.from_hex(self.head)
        ref = state.refs.get(self.head)
        return None if ref is None else ObjectId.from_hex(ref.value)

    def with_inputs(self, more: Iterable[Input]) -> list[tuple[str, str]]:
        """Return the inputs with *more*, each once."""
        return list(dict.fromkeys([*self.inputs, *((one.name, one.commit.hex()) for one in more)]))

    def encode(self) -> str:
        """Return the value of the ref."""
        fields: dict[str, object] = msgspec.to_builtins(self)
        # They came later: where there are none, the value is what it always was.
        for name in ("inputs", "metadata", "unfinished"):
            if not fields[name]:
                del fields[name]
        return msgspec.json.encode(fields, order="sorted").decode()

    def change(self, state: State, **fields: object) -> RefChange:
        """Return the change of the ref from *state*'s value to this session with *fields* replaced."""
        old = state.refs.get(SESSION_REF)
        new = msgspec.structs.replace(self, **fields) if fields else self
        if new.inputs and new.staged is None and not new.merge:
            # What was made from them is not to be committed any more.
            new = msgspec.structs.replace(new, inputs=[])
        return RefChange(SESSION_REF, None if old is None else old.value, new.encode())


def _objects(unfinished: Unfinished | None) -> list[str]:
    if unfinished is None:
        return []
    series = [] if unfinished.series is None else [unfinished.series.commits, unfinished.series.origin]
    return [*(unfinished.stages or ()), *([unfinished.draft] if unfinished.draft else []), *series]


def read_session(state: State) -> Session:
    """Return the session in *state*; a store that never had one is on an unborn `main`.

    Raises:
        MalformedSessionError: It cannot be read.
    """
    ref = state.refs.get(SESSION_REF)
    return decode_session(None if ref is None else ref.value)


def decode_session(value: str | None) -> Session:
    """Return the session that is the *value* of a ref, None where there never was one.

    Raises:
        MalformedSessionError: It cannot be read.
    """
    if value is None:
        return Session("refs/heads/main")
    try:
        return msgspec.json.decode(value, type=Session)
    except msgspec.DecodeError as error:
        message = f"the log holds a worktree session that this version cannot read: {error}"
        raise MalformedSessionError(message) from error


def refuse_interrupted(session: Session) -> None:
    """Do nothing, unless a checkout was cut short.

    Raises:
        SwitchInterruptedError: One was.
    """
    if session.switching is not None:
        raise SwitchInterruptedError(session.switching.to_head)


def refuse_unfinished(session: Session) -> None:
    """Do nothing, unless a merge or the like is not concluded, or a checkout was cut short.

    Raises:
        UnfinishedError, SwitchInterruptedError: So it is.
    """
    refuse_interrupted(session)
    if session.verb is not None:
        raise UnfinishedError(session.verb)
