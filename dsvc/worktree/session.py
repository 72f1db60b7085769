"""The session of a worktree: where HEAD is, and what is staged.

It is the value of a ref in the log, `refs/worktrees/main`, replaced as it changes. So what is
staged is a root like any commit: `undo` covers it, and nothing collects it.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from dsvc.errors import ConflictError, CorruptionError
from dsvc.log.entry import RefChange
from dsvc.log.state import State
from dsvc.model.commit import Input
from dsvc.model.ids import ObjectId

__all__ = [
    "SESSION_REF",
    "DetachedHeadError",
    "MalformedSessionError",
    "Session",
    "Switch",
    "SwitchInterruptedError",
    "decode_session",
    "read_session",
    "refuse_interrupted",
]

SESSION_REF: Final = "refs/worktrees/main"
BRANCHES: Final = "refs/heads/"


class MalformedSessionError(CorruptionError):
    """The log holds a session that this version cannot read."""


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


class Switch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A checkout on its way: the trees that the files are changing between.

    *to_head* and *to_merge* are the session's once it is done, and *changes* what happens to
    other refs then: name, old value, new value.
    """

    from_tree: str
    to_tree: str
    to_head: str
    to_merge: list[str] = []
    changes: list[tuple[str, str | None, str | None]] = []


class Session(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """*head* is a branch's ref name, or a commit's id when detached.

    *staged* is the root of the staged tree, None while it is that of HEAD. *merge* lists commits
    that the next commit will have as further parents. *inputs* are versions, by name and id, that what is staged was
    made from; the next commit will name them. *metadata* is what people say of the next version, as RFC 8785 JSON; it
    is empty while that is what they say of HEAD.
    """

    head: str
    merge: list[str] = []
    staged: str | None = None
    switching: Switch | None = None
    inputs: list[tuple[str, str]] = []
    metadata: str = ""

    @property
    def branch(self) -> str | None:
        """The full name of the current branch, None when detached."""
        return self.head if self.head.startswith(BRANCHES) else None

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
        for name in ("inputs", "metadata"):
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
