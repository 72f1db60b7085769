"""Sessions: what a running push tells everybody who looks at the store, and how it ended.

They are a courtesy. Nothing that is in the log depends on them, a push goes on where one cannot be written,
and whoever cannot read one passes over it. Each record says all that there is to know, so the one with the
greatest number is enough. A push that ended well leaves none: from then on the log tells.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from dsvc.errors import DsvcError
from dsvc.log.state import State
from dsvc.model.context import Context
from dsvc.model.ids import ObjectId
from dsvc.odb.database import ObjectDatabase
from dsvc.storage.backend import Backend
from dsvc.storage.temporary import is_alive, this_host

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

__all__ = [
    "Session",
    "Upload",
    "UploadSession",
    "UploadState",
    "decode_upload",
    "encode_upload",
    "expire",
    "read_sessions",
    "remove_session",
]

_VERSION: Final = 1
_FOLDER: Final = "sessions/"
_MAX_LENGTH: Final = 65_536
_MAX_PACKS: Final = 512
_MAX_REASON: Final = 500
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,8}")
# In microseconds. Long enough for any clock that is only somewhat wrong, and for the slowest network: a push that goes
# on tells so with each 64 MiB.
_LONGEST_SILENCE: Final = 24 * 3600 * 1_000_000


# What others wrote there may be anything.
_Value = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
_Count = Annotated[int, msgspec.Meta(ge=0)]
# Up to the end of the year 9999, which is the last that has a date.
_Time = Annotated[int, msgspec.Meta(ge=0, lt=253_402_300_800_000_000)]


class UploadState(Enum):
    """How far a push has come; that it is final, the log says."""

    UPLOADING = "uploading"
    FAILED = "failed"
    ABORTED = "aborted"
    EXPIRED = "expired"


class Upload(msgspec.Struct, frozen=True, omit_defaults=True):
    """A push under way, or that ended in the middle.

    *targets* are the values that refs are to get. *sent* of *total* bytes are durable there, in *packs* (the last 512
    of them). *started* and *time*, when this was written, are microseconds since 1970 by the writer's clock; *actor*
    is "user@host". *reason* says why it failed. *host* is what `this_host` says where *process* runs.
    """

    v: int
    state: UploadState
    actor: str
    process: _Count
    started: _Time
    time: _Time
    targets: dict[str, _Value | None]
    sent: _Count = 0
    total: _Count = 0
    packs: list[str] = []
    reason: str = ""
    host: str = ""


class Session(msgspec.Struct, frozen=True):
    """The session *id* as it was found: its last record, *number*, tells of *upload*."""

    id: str
    number: int
    upload: Upload


class _Version(msgspec.Struct):
    v: int


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Upload)
_version_decoder: Final = msgspec.json.Decoder(_Version)


def _key(session: str, number: int) -> str:
    return f"{_FOLDER}{session}/{number}"


def encode_upload(upload: Upload) -> bytes:
    """Return the record of *upload*."""
    return _encoder.encode(upload)


def decode_upload(raw: bytes) -> Upload | None:
    """Return the upload that *raw* tells of, None if it is not for this version to read."""
    if len(raw) > _MAX_LENGTH:
        return None
    try:
        return _decoder.decode(raw) if _version_decoder.decode(raw).v == _VERSION else None
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


class UploadSession:
    """The session of one push. Nothing that goes wrong with it is anybody's trouble.

    What it tells is written by *background*, if there is one, one thing after another, while the push goes on. Only
    `fail` waits: that it ended in the middle is there when it returns.
    """

    def __init__(
        self, backend: Backend, context: Context, *, process: int, background: "Executor | None" = None
    ) -> None:
        self.id: Final = context.nonce()
        self._backend = backend
        self._context = context
        self._background = background
        self._writing: list[Future[None]] = []
        self._next = 0
        now = context.now()[0]
        self._upload = Upload(_VERSION, UploadState.UPLOADING, context.actor, process, now, now, {}, host=this_host())

    def start(self, targets: Mapping[str, str | None], total: int) -> None:
        """Tell that *targets* are to be pushed, *total* bytes."""
        self._tell(targets=dict(targets), total=total)

    def advance(self, sent: int, packs: Iterable[str] = ()) -> None:
        """Tell that *sent* bytes are durable by now, in *packs* as far as that is known."""
        self._tell(sent=sent, packs=list(packs)[-_MAX_PACKS:])

    def fail(self, error: BaseException) -> None:
        """Tell that *error* has ended it, if it was told that it began."""
        if not self._next:
            return
        # Not waited for: the record with the greatest number is the one that counts.
        for writing in self._writing:
            writing.cancel()
        if isinstance(error, DsvcError | OSError):
            self._write(*self._record(state=UploadState.FAILED, reason=str(error)[:_MAX_REASON]))
        else:
            # Ctrl-C, or a bug of ours, whose words are nobody's to read.
            self._write(*self._record(state=UploadState.ABORTED))

    def finish(self) -> None:
        """Remove it: from the next entry on, the log tells what was pushed. It may be started again."""
        if self._next:
            self._do(remove_session, self._backend, self.id, self._next)

    def _tell(self, **fields: object) -> None:
        self._do(self._write, *self._record(**fields))

    def _do(self, work: Callable[..., None], *arguments: object) -> None:
        if self._background is None:
            work(*arguments)
        else:
            self._writing.append(self._background.submit(work, *arguments))

    def _record(self, **fields: object) -> tuple[str, bytes]:
        self._upload = msgspec.structs.replace(self._upload, time=self._context.now()[0], **fields)
        # Counted first: it may be there though we are interrupted before we know.
        key = _key(self.id, self._next)
        self._next += 1
        return key, encode_upload(self._upload)

    def _write(self, key: str, raw: bytes) -> None:
        with suppress(DsvcError):
            self._backend.write(key, raw)


def remove_session(backend: Backend, session: str, count: int) -> None:
    """Remove the first *count* records of *session*, as far as that can be done; the last one, which counts, first."""
    for number in reversed(range(count)):
        with suppress(DsvcError):
            backend.delete(_key(session, number))


def read_sessions(backend: Backend, state: State, objects: ObjectDatabase, *, now: int) -> list[Session]:
    """Return the sessions of pushes that did not end well, or not yet, the newest first.

    One whose targets have their values in *state*, or all of whose values are among *objects*, came to its end,
    whatever it says itself: perhaps by a push of somebody else. One that was killed cannot say so: where its process is
    gone it is aborted, and expired once nothing was heard of it for long, at *now*.
    """
    newest: dict[str, int] = {}
    for key, _ in backend.list(_FOLDER):
        session, _, digits = key.removeprefix(_FOLDER).partition("/")
        if _NUMBER.fullmatch(digits):
            newest[session] = max(newest.get(session, 0), int(digits))
    raws = backend.read_many([_key(session, number) for session, number in newest.items()])
    sessions = []
    for (session, number), raw in zip(newest.items(), raws, strict=True):
        upload = None if raw is None else decode_upload(raw)
        if upload is not None and not _is_over(upload, state, objects):
            told = msgspec.structs.replace(upload, state=_state_of(upload, now))
            sessions.append(Session(session, number, told))
    return sorted(sessions, key=lambda found: (-found.upload.started, found.id))


def _is_over(upload: Upload, state: State, objects: ObjectDatabase) -> bool:
    # The ref may have gone on since; what an entry of the log has brought is there all the same.
    return bool(upload.targets) and all(
        state.value(ref) == value or (value is not None and objects.locate(ObjectId.from_hex(value)) is not None)
        for ref, value in upload.targets.items()
    )


def _state_of(upload: Upload, now: int) -> UploadState:
    if upload.state is not UploadState.UPLOADING:
        return upload.state
    if upload.host == this_host() and not is_alive(upload.process):
        return UploadState.ABORTED
    return UploadState.EXPIRED if upload.time < now - _LONGEST_SILENCE else UploadState.UPLOADING


def expire(backend: Backend, session: Session, context: Context) -> None:
    """Tell that the push of *session* will not go on; should it do so all the same, it comes to no harm."""
    expired = msgspec.structs.replace(session.upload, state=UploadState.EXPIRED, time=context.now()[0])
    backend.write(_key(session.id, session.number + 1), encode_upload(expired))
