"""Sessions: what a push tells others while it runs, and how it ended."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import msgspec
import pytest

from dsvc.errors import StorageError
from dsvc.log.log import Log
from dsvc.log.sessions import (
    Session,
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
from dsvc.odb.database import ObjectDatabase
from dsvc.storage.memory import MemoryBackend
from tests.log_support import MAIN, move, oid, pack
from tests.odb_support import chunk_id, database_of, make_pack

NOTHING = State.empty("")
NOW = 2_000_000
DAY = 24 * 3600 * 1_000_000


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
    session = UploadSession(backend, who or context(), process=os.getpid())
    session.start({MAIN: oid(1)}, 300)
    return session


def sessions_of(
    backend: MemoryBackend, state: State = NOTHING, objects: ObjectDatabase | None = None, now: int = NOW
) -> list[Session]:
    return read_sessions(backend, state, objects or ObjectDatabase(MemoryBackend()), now=now)


def test_a_push_under_way_tells_who_where_and_how_far() -> None:
    backend = MemoryBackend()

    started(backend).advance(100, [pack(1)])

    (found,) = sessions_of(backend)
    upload = found.upload
    assert (upload.state, upload.actor, upload.process) == (UploadState.UPLOADING, "ada@example", os.getpid())
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

    (found,) = sessions_of(backend)
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
        sessions = [
            UploadSession(backend, context(who), process=os.getpid(), background=background) for who in ("a", "b", "c")
        ]
        for session in sessions:
            session.start({MAIN: oid(1)}, 300)
            session.advance(100)
        sessions[0].finish()
        # Too early, as it turns out.
        sessions[1].finish()
        sessions[1].fail(StorageError("the network is down"))

    assert {found.id: found.upload.state for found in sessions_of(backend)} == {
        sessions[1].id: UploadState.FAILED,
        sessions[2].id: UploadState.UPLOADING,
    }


def test_what_the_log_has_is_final_whatever_a_session_says() -> None:
    backend = MemoryBackend()
    log = Log.create(backend, store_id="here")
    started(backend)
    assert len(sessions_of(backend, log.head())) == 1

    move(log, 1)

    assert sessions_of(backend, log.head()) == []


def test_several_are_told_the_newest_first() -> None:
    backend = MemoryBackend()
    for actor in ("ada@one", "bob@two"):
        started(backend, context(actor))

    found = sessions_of(backend)

    assert {one.upload.actor for one in found} == {"ada@one", "bob@two"}
    assert [one.upload.started for one in found] == sorted((one.upload.started for one in found), reverse=True)


def test_anybody_may_expire_one_and_take_it_away() -> None:
    backend = MemoryBackend()
    started(backend)

    (found,) = sessions_of(backend)
    expire(backend, found, context("bob@two"))

    (found,) = sessions_of(backend)
    assert (found.upload.state, found.upload.actor) == (UploadState.EXPIRED, "ada@example")
    remove_session(backend, found.id, found.number + 1)
    assert sessions_of(backend) == []


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
        "time/0": msgspec.json.encode({**newer, "time": -(10**17)}),
        "late/0": msgspec.json.encode({**newer, "started": 10**18}),
        "below/0": msgspec.json.encode({**newer, "sent": -1}),
        "target/0": msgspec.json.encode({**newer, "targets": {MAIN: "no id"}}),
    }.items():
        backend.write(f"sessions/{name}", raw)

    assert [found.id for found in sessions_of(backend)] == [session.id]


def test_fields_that_a_later_version_adds_are_passed_over() -> None:
    backend = MemoryBackend()
    started(backend)
    (found,) = sessions_of(backend)

    with_more = {**msgspec.json.decode(encode_upload(found.upload)), "colour": "blue"}

    assert decode_upload(msgspec.json.encode(with_more)) == found.upload


def test_one_whose_versions_came_by_another_push_is_over_though_the_branch_went_on(tmp_path: Path) -> None:
    backend, data = MemoryBackend(), b"a version"
    session = UploadSession(backend, context(), process=os.getpid())
    session.start({MAIN: chunk_id(data).hex()}, 300)
    log = Log.create(backend, store_id="here")
    move(log, 2)
    assert len(sessions_of(backend, log.head())) == 1

    objects, _ = database_of([make_pack(tmp_path, [data])])

    assert sessions_of(backend, log.head(), objects) == []


def test_one_whose_process_is_gone_is_aborted() -> None:
    backend = MemoryBackend()
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        UploadSession(backend, context(), process=gone.pid).start({MAIN: oid(1)}, 300)

    (found,) = sessions_of(backend)

    assert found.upload.state == UploadState.ABORTED


def test_one_of_another_machine_that_is_silent_for_a_day_is_expired() -> None:
    backend = MemoryBackend()
    started(backend)
    (found,) = sessions_of(backend)
    elsewhere = msgspec.structs.replace(found.upload, host="elsewhere")
    backend.write(f"sessions/{found.id}/0", encode_upload(elsewhere))

    states = [sessions_of(backend, now=time)[0].upload.state for time in (NOW, NOW + DAY // 2, NOW + 2 * DAY)]

    assert states == [UploadState.UPLOADING, UploadState.UPLOADING, UploadState.EXPIRED]
