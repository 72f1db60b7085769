"""Sessions: what a push tells others while it runs, and how it ended."""

from concurrent.futures import ThreadPoolExecutor
from itertools import count

import msgspec
import pytest

from dsvc.errors import StorageError
from dsvc.log.log import Log
from dsvc.log.sessions import (
    UploadSession,
    UploadState,
    decode_upload,
    encode_upload,
    expire,
    read_sessions,
    remove_session,
)
from dsvc.log.state import State
from dsvc.model.context import Context
from dsvc.storage.memory import MemoryBackend
from tests.log_support import MAIN, move, oid, pack

NOTHING = State.empty("")


def context(actor: str = "ada@example") -> Context:
    times, nonces = count(1_000_000), count()
    return Context(
        author=lambda: "Ada <ada@example.org>",
        actor=actor,
        command="dsvc push",
        now=lambda: (next(times), 0),
        nonce=lambda: f"{actor.partition('@')[0]}-{next(nonces)}",
    )


def started(backend: MemoryBackend, who: Context | None = None) -> UploadSession:
    session = UploadSession(backend, who or context(), process=7)
    session.start({MAIN: oid(1)}, 300)
    return session


def test_a_push_under_way_tells_who_where_and_how_far() -> None:
    backend = MemoryBackend()

    started(backend).advance(100, [pack(1)])

    (found,) = read_sessions(backend, NOTHING)
    upload = found.upload
    assert (upload.state, upload.actor, upload.process) == (UploadState.UPLOADING, "ada@example", 7)
    assert upload.targets == {MAIN: oid(1)}
    assert (upload.sent, upload.total, upload.packs) == (100, 300, [pack(1)])
    assert upload.started < upload.time


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (StorageError("the network is down"), UploadState.FAILED, "the network is down"),
        (KeyboardInterrupt(), UploadState.ABORTED, ""),
        (ValueError("a bug, with secrets"), UploadState.ABORTED, ""),
    ],
)
def test_a_push_that_ended_in_the_middle_says_how(error: BaseException, state: UploadState, reason: str) -> None:
    backend = MemoryBackend()

    started(backend).fail(error)

    (found,) = read_sessions(backend, NOTHING)
    assert (found.upload.state, found.upload.reason) == (state, reason)


def test_a_push_that_ended_well_leaves_nothing() -> None:
    backend = MemoryBackend()
    session = started(backend)
    session.advance(300, [pack(1), pack(2)])

    session.finish()

    assert list(backend.list("")) == []


def test_what_is_told_in_the_background_is_there_at_the_end_and_gone_if_it_was_well() -> None:
    backend = MemoryBackend()
    with ThreadPoolExecutor(1) as background:
        sessions = [UploadSession(backend, context(who), process=7, background=background) for who in ("a", "b", "c")]
        for session in sessions:
            session.start({MAIN: oid(1)}, 300)
            session.advance(100)
        sessions[0].finish()
        # Too early, as it turns out.
        sessions[1].finish()
        sessions[1].fail(StorageError("the network is down"))

    assert {found.id: found.upload.state for found in read_sessions(backend, NOTHING)} == {
        sessions[1].id: UploadState.FAILED,
        sessions[2].id: UploadState.UPLOADING,
    }


def test_what_the_log_has_is_final_whatever_a_session_says() -> None:
    backend = MemoryBackend()
    log = Log.create(backend, store_id="here")
    started(backend)
    assert len(read_sessions(backend, log.head())) == 1

    move(log, 1)

    assert read_sessions(backend, log.head()) == []


def test_several_are_told_the_newest_first() -> None:
    backend = MemoryBackend()
    for actor in ("ada@one", "bob@two"):
        started(backend, context(actor))

    found = read_sessions(backend, NOTHING)

    assert {one.upload.actor for one in found} == {"ada@one", "bob@two"}
    assert [one.upload.started for one in found] == sorted((one.upload.started for one in found), reverse=True)


def test_anybody_may_expire_one_and_take_it_away() -> None:
    backend = MemoryBackend()
    started(backend)

    (found,) = read_sessions(backend, NOTHING)
    expire(backend, found, context("bob@two"))

    (found,) = read_sessions(backend, NOTHING)
    assert (found.upload.state, found.upload.actor) == (UploadState.EXPIRED, "ada@example")
    remove_session(backend, found.id, found.number + 1)
    assert read_sessions(backend, NOTHING) == []


def test_a_session_that_cannot_be_written_is_nobodys_trouble() -> None:
    class Full(MemoryBackend):
        def write(self, key: str, value: bytes | bytearray | memoryview) -> None:
            message = f"no room for {len(value)} bytes as {key}"
            raise StorageError(message)

    session = started(Full())

    session.advance(1, [])
    session.fail(KeyboardInterrupt())
    session.finish()


def test_what_others_wrote_there_is_passed_over() -> None:
    backend = MemoryBackend()
    session = started(backend)
    known = next(backend.read(key) for key, _ in backend.list("sessions/"))
    newer = msgspec.json.decode(known)
    for name, raw in {
        "newer/0": msgspec.json.encode({**newer, "v": 2}),
        "empty/0": b"",
        "garbage/1": b"\xff" * 100,
        "deep/0": b"[" * 10_000,
        "long/0": known + b" " * 70_000,
        "odd/x": known,
        "odd/y1": known,
    }.items():
        backend.write(f"sessions/{name}", raw)

    assert [found.id for found in read_sessions(backend, NOTHING)] == [session.id]


def test_fields_that_a_later_version_adds_are_passed_over() -> None:
    backend = MemoryBackend()
    started(backend)
    (found,) = read_sessions(backend, NOTHING)

    with_more = {**msgspec.json.decode(encode_upload(found.upload)), "colour": "blue"}

    assert decode_upload(msgspec.json.encode(with_more)) == found.upload
