"""What a network does to requests, and what backends make of it: the same as if nothing had been, or a clear error."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from dsvc.errors import NoSpaceError, StorageError
from dsvc.log.append import create_entry
from dsvc.log.entry import LogEntry
from dsvc.log.log import Log
from dsvc.storage.backend import KeyExistsError, KeyNotFoundError, UnknownOutcomeError
from dsvc.storage.faults import AccessDeniedError, CredentialsExpiredError, NoConditionalWritesError, UnreachableError
from dsvc.storage.object_store import CONCURRENCY, ObjectStore
from dsvc.storage.retry import Clock
from dsvc.storage.settings import Settings
from tests.conftest import RunDsvc
from tests.servers.proxy import Action, FaultProxy, Rule
from tests.stores import Stores
from tests.transport_support import noise

MIB = 1024 * 1024


async def _no_wait(_seconds: float) -> None:
    return


# Time stands still, so a deadline never comes, and no test waits.
TIMELESS = Clock(now=lambda: 0.0, wait=_no_wait, part=lambda: 0.5)


class Ticking:
    """A clock on which only waiting takes time."""

    def __init__(self) -> None:
        self.time = 0.0
        self.waits: list[float] = []

    async def wait(self, seconds: float) -> None:
        self.time += seconds
        self.waits.append(seconds)

    def clock(self) -> Clock:
        return Clock(now=lambda: self.time, wait=self.wait, part=lambda: 0.5)


class Setting:
    """A store behind a proxy."""

    def __init__(self, name: str, stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
        running = stores.running(name)
        self.proxy = FaultProxy(running.port)
        self._opened: list[Any] = []
        for variable, value in running.environment.items():
            monkeypatch.setenv(variable, value.replace(f":{running.port}", f":{self.proxy.port}"))
        self._name, self._stores = name, stores
        self.address = stores.address(name)

    def backend(self, clock: Clock = TIMELESS, **more: Any) -> ObjectStore:
        from dsvc.storage import azure, gcs, s3

        endpoint = f"http://127.0.0.1:{self.proxy.port}" if self._name in ("ministack", "moto") else None
        options = {"endpoint": endpoint, "timeout": 1, "deadline": 60, **more}
        open_store: Callable[..., ObjectStore] = {"gcs": gcs.open_gcs, "azurite": azure.open_azure}.get(
            self._name, s3.open_s3
        )
        found = open_store(self.address, Settings(**options), clock)
        self._opened.append(found)
        return found

    def close(self) -> None:
        for backend in self._opened:
            backend.close()
        self.proxy.stop()


@pytest.fixture(params=["ministack", "gcs", "azurite"])
def setting(request: pytest.FixtureRequest, stores: Stores, monkeypatch: pytest.MonkeyPatch) -> Iterator[Setting]:
    found = Setting(request.param, stores, monkeypatch)
    yield found
    found.close()


@pytest.fixture
def s3(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> Iterator[Setting]:
    found = Setting("ministack", stores, monkeypatch)
    yield found
    found.close()


BROKEN: list[Action] = ["status", "reset", "cut response"]


@pytest.mark.parametrize("size", [1000, 3 * MIB])
def test_what_is_damaged_on_its_way_there_is_sent_again(setting: Setting, size: int) -> None:
    backend = setting.backend()
    value = noise(1, size)
    backend.write("another/key", b"nothing")
    setting.proxy.reset(Rule("corrupt request", "PUT|POST"))

    backend.write("a/key", value)

    assert setting.proxy.count("PUT|POST") == 2
    assert backend.read("a/key") == value


def test_what_is_damaged_each_time_is_a_failure(setting: Setting) -> None:
    backend = setting.backend(Ticking().clock())
    backend.write("another/key", b"nothing")
    setting.proxy.reset(Rule("corrupt request", "PUT|POST", times=1000))

    with pytest.raises(StorageError, match="again and again"):
        backend.write("a/key", noise(1, 1000))


def test_what_a_store_took_damaged_is_found_by_its_answer(s3: Setting) -> None:
    backend = s3.backend()
    value = noise(1, 1000)
    backend.write("another/key", b"nothing")
    s3.proxy.reset(Rule("corrupt request", "PUT", unseen=True))

    backend.write("a/key", value)

    assert s3.proxy.count("PUT") == 2
    assert backend.read("a/key") == value
    s3.proxy.reset(Rule("corrupt request", "PUT", unseen=True))
    with pytest.raises(UnknownOutcomeError):
        backend.create("a/new", value)


def test_a_store_whose_tags_are_no_digests_is_looked_at_once(s3: Setting) -> None:
    backend = s3.backend()
    s3.proxy.reset(Rule("retag", "PUT", times=2))

    backend.write("a/key", b"value")
    backend.write("another/key", b"value")

    assert (s3.proxy.count("PUT"), s3.proxy.count("GET")) == (2, 1)


@pytest.mark.parametrize("action", BROKEN)
def test_a_read_is_tried_again_until_it_works(setting: Setting, action: Action) -> None:
    backend = setting.backend()
    value = bytes(range(256)) * 1000
    backend.write("a/key", value)
    setting.proxy.reset(Rule(action, "GET", times=3))

    assert backend.read("a/key") == value
    assert backend.read_ranges("a/key", [(1000, 5000)]) == [value[1000:6000]]
    assert sum(bool(done) for _, done in setting.proxy.log) == 3


@pytest.mark.parametrize("action", ["status", "reset", "cut request", "lost"])
def test_a_write_is_tried_again_until_it_works(setting: Setting, action: Action) -> None:
    backend = setting.backend()
    value = bytes(range(256)) * 5000
    setting.proxy.reset(Rule(action, "PUT|POST", times=2))

    backend.write("a/key", value)

    assert backend.read("a/key") == value
    assert setting.proxy.count("PUT|POST") == 3


def test_nobody_else_tries_again(setting: Setting) -> None:
    ticking = Ticking()
    backend = setting.backend(ticking.clock(), deadline=10)
    backend.write("a/key", b"value")
    setting.proxy.reset(Rule("status", times=1000))

    with pytest.raises(StorageError, match="too busy for too long"):
        backend.read("a/key")

    assert setting.proxy.count() == len(ticking.waits) + 1
    assert sum(ticking.waits) <= 10


def test_the_waits_grow_and_end(s3: Setting) -> None:
    ticking = Ticking()
    backend = s3.backend(ticking.clock(), deadline=200)
    s3.proxy.reset(Rule("status", times=1000))

    with pytest.raises(StorageError):
        backend.read("a/key")

    assert ticking.waits[:4] == pytest.approx([0.15, 0.3, 0.6, 1.2])
    assert max(ticking.waits) == pytest.approx(15)
    assert sum(ticking.waits) <= 200


def test_where_nobody_ever_answered_it_is_given_up_soon(s3: Setting) -> None:
    ticking = Ticking()
    backend = s3.backend(ticking.clock())
    s3.proxy.reset(Rule("reset", times=1000))

    with pytest.raises(UnreachableError, match="broke"):
        backend.read("a/key")
    soon = ticking.time
    s3.proxy.reset()
    assert backend.read_many(["a/key"]) == [None]
    ticking.time = 0
    s3.proxy.reset(Rule("reset", times=1000))
    with pytest.raises(UnreachableError):
        backend.read("a/key")

    assert soon <= 5
    assert 30 < ticking.time <= 60


def test_an_answer_that_never_comes_is_asked_for_again(s3: Setting) -> None:
    backend = s3.backend()
    backend.write("a/key", b"value")
    s3.proxy.reset(Rule("stall", "GET"))

    assert backend.read("a/key") == b"value"
    assert s3.proxy.count("GET") == 2


def test_one_that_is_missing_is_not_asked_for_again(setting: Setting) -> None:
    backend = setting.backend()
    setting.proxy.reset()

    with pytest.raises(KeyNotFoundError):
        backend.read("a/key")

    assert setting.proxy.count() == 1


def test_only_who_has_never_written_asks_before_a_large_body_is_sent(s3: Setting) -> None:
    backend = s3.backend()
    backend.write("a/small", b"x" * 1000)
    backend.write("a/large", b"x" * 2_000_000)
    assert s3.proxy.asked == 0

    other = s3.backend()
    for _ in range(3):
        other.write("a/large", b"x" * 2_000_000)

    assert s3.proxy.asked == 1


def test_each_call_is_one_request(setting: Setting) -> None:
    backend = setting.backend()
    backend.read_many(["a/key"])
    for call in (
        lambda: backend.create("a/key", b"0123456789"),
        lambda: backend.write("a/other", b"x" * 2_000_000),
        lambda: backend.read("a/key"),
        lambda: backend.read_ranges("a/key", [(2, 3)]),
        lambda: backend.size("a/key"),
        lambda: list(backend.list("a/")),
        lambda: backend.delete("a/other"),
    ):
        setting.proxy.reset()
        call()
        assert setting.proxy.count() == 1


@pytest.mark.parametrize("action", ["lost", "reset", "stall", "cut request"])
def test_a_create_whose_answer_is_lost_is_not_called_a_failure(setting: Setting, action: Action) -> None:
    backend = setting.backend()
    setting.proxy.reset(Rule(action, "PUT|POST", times=1000 if action == "reset" else 1))

    # aiohttp sends a PUT a second time if the connection breaks, which may find the first one's value, or work.
    with suppress(UnknownOutcomeError, KeyExistsError):
        backend.create("a/key", b"value")
        assert backend.read("a/key") == b"value"

    # Refused where it surely was not done, it would be tried a third time.
    assert setting.proxy.count("PUT|POST") <= 2
    assert backend.read_many(["a/key"])[0] in ((b"value",) if action in ("lost", "stall") else (b"value", None))


def test_a_create_of_which_nobody_knows_is_not_tried_again(setting: Setting) -> None:
    backend = setting.backend()
    setting.proxy.reset(Rule("stall", "PUT|POST"))

    with pytest.raises(UnknownOutcomeError):
        backend.create("a/key", b"value")

    assert setting.proxy.count("PUT|POST") == 1
    assert backend.read("a/key") == b"value"


def test_a_create_that_was_refused_for_now_is_tried_again(setting: Setting) -> None:
    backend = setting.backend()
    setting.proxy.reset(Rule("status", "PUT|POST", times=2))

    backend.create("a/key", b"value")

    assert backend.read("a/key") == b"value"
    with pytest.raises(KeyExistsError):
        backend.create("a/key", b"other")


def test_two_creates_that_meet_at_the_same_moment_try_again(s3: Setting) -> None:
    backend = s3.backend()
    s3.proxy.reset(Rule("status", "PUT", times=2, status=409, code="ConditionalRequestConflict"))

    backend.create("a/key", b"value")

    assert s3.proxy.count("PUT") == 3


def test_one_that_may_have_been_created_before_it_was_refused_is_unknown(s3: Setting) -> None:
    backend = s3.backend()
    backend.write("a/key", b"value")
    s3.proxy.reset(Rule("status", "PUT"))

    # It was refused once, and is there at the second attempt: perhaps it is ours.
    with pytest.raises(UnknownOutcomeError):
        backend.create("a/key", b"value")


def _entry(nonce: str) -> LogEntry:
    return LogEntry(1, [], 1, "0" * 64, nonce, "ada@host", 0, "test", [])


@pytest.mark.parametrize("action", ["lost", "reset", "stall"])
def test_the_log_finds_its_own_entry_after_a_lost_answer(setting: Setting, action: Action) -> None:
    backend = setting.backend()
    waits: list[float] = []
    setting.proxy.reset(Rule(action, "PUT|POST"))

    assert create_entry(backend, _entry("ours"), b"ours", waits.append)
    assert not create_entry(backend, _entry("others"), b"others", waits.append)
    assert backend.read(f"log/0/{1:020}") == b"ours"


def test_a_store_is_made_although_the_answer_is_lost(setting: Setting) -> None:
    backend = setting.backend()
    setting.proxy.reset(Rule("lost", "PUT|POST"))

    log = Log.create(backend, store_id="store")

    assert log.head().seq == 0
    assert Log(backend).store.store_id == "store"


@pytest.mark.parametrize(
    ("status", "code", "error", "words"),
    [
        (400, "ExpiredToken", CredentialsExpiredError, "have expired"),
        (403, "AccessDenied", AccessDeniedError, "no permission"),
        (403, "InvalidAccessKeyId", StorageError, "does not accept the credentials"),
        (403, "RequestTimeTooSkewed", StorageError, "clock"),
        (400, "AuthorizationHeaderMalformed", StorageError, "another region"),
        (507, "XMinioStorageFull", NoSpaceError, "no space is left"),
        (403, "QuotaExceeded", NoSpaceError, "no space is left"),
        (501, "NotImplemented", NoConditionalWritesError, "no conditional writes"),
    ],
)
def test_a_refusal_is_said_at_once_and_in_words(
    s3: Setting, status: int, code: str, error: type[Exception], words: str
) -> None:
    backend = s3.backend()
    s3.proxy.reset(Rule("status", times=1000, status=status, code=code))

    with pytest.raises(error, match=words):
        backend.create("a/key", b"value")

    assert s3.proxy.count() == 1


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    from dsvc.storage import s3

    monkeypatch.setattr(s3, "_SINGLE", 6 * MIB)
    monkeypatch.setattr(s3, "_PART", 5 * MIB)


@pytest.mark.usefixtures("small_parts")
def test_parts_that_are_not_wanted_any_more_are_given_up(s3: Setting) -> None:
    backend = s3.backend()
    s3.proxy.reset(Rule("status", r"PUT .*partNumber=2", times=1000, status=403, code="AccessDenied"))

    with pytest.raises(AccessDeniedError):
        backend.write("large", bytes(12 * MIB))

    assert s3.proxy.count(r"DELETE .*uploadId=") == 1
    assert backend.read_many(["large"]) == [None]


@pytest.mark.usefixtures("small_parts")
def test_a_value_of_many_parts_is_whole(s3: Setting) -> None:
    backend = s3.backend()
    value = bytes(range(251)) * 50_000
    s3.proxy.reset(Rule("lost", r"PUT .*partNumber=2"))

    backend.write("large", value)

    assert backend.read("large") == value


def test_requests_in_flight_are_bounded(s3: Setting) -> None:
    backend = s3.backend()
    backend.create("a/key", b"value")
    s3.proxy.reset()

    assert backend.read_many(["a/key"] * 200) == [b"value"] * 200
    assert 1 < s3.proxy.most <= CONCURRENCY


def test_closing_ends_the_waits_of_other_threads(s3: Setting) -> None:
    backend = s3.backend(timeout=60)
    backend.write("a/key", b"value")
    s3.proxy.reset(Rule("stall", "GET", times=2))
    with ThreadPoolExecutor(2) as pool:
        reads = [pool.submit(backend.read, "a/key") for _ in range(2)]
        while s3.proxy.count("GET") < 2:
            pass
        backend.close()

        for read in reads:
            assert isinstance(read.exception(), StorageError)


def test_an_interrupt_ends_the_waits_of_other_threads_only(s3: Setting) -> None:
    backend = s3.backend(timeout=60)
    backend.write("a/key", b"value")
    s3.proxy.reset(Rule("stall", "GET", times=2))
    with ThreadPoolExecutor(2) as pool:
        reads = [pool.submit(backend.read, "a/key") for _ in range(2)]
        while s3.proxy.count("GET") < 2:
            pass
        backend.interrupt()

        for read in reads:
            assert isinstance(read.exception(), StorageError)
        assert isinstance(pool.submit(backend.read, "a/key").exception(), StorageError)
    assert backend.read("a/key") == b"value"


def test_a_limit_holds_both_ways(s3: Setting) -> None:
    ticking = Ticking()
    backend = s3.backend(ticking.clock(), bandwidth=MIB)

    backend.write("a/key", bytes(5 * MIB))
    assert ticking.time == pytest.approx(4, abs=0.1)
    backend.read_ranges("a/key", [(number * MIB, MIB) for number in range(5)])
    assert ticking.time == pytest.approx(8, abs=0.1)


def test_a_connection_by_ssh_that_broke_is_opened_anew(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", stores.environment("sshd")["HOME"])
    backend = stores.open("sshd", stores.address("sshd"))
    backend.write("a/key", b"value")

    backend._driver._client.get_transport().sock.close()

    assert backend.read_many(["a/key"] * 20) == [b"value"] * 20


def test_a_connection_does_not_survive_a_fork(s3: Setting) -> None:
    code = """
import os, sys
from pathlib import Path
from dsvc.errors import StorageError
from dsvc.transport.address import open_backend

backend = open_backend(sys.argv[1], Path("/"))
backend.write("a/key", b"value")
if os.fork() == 0:
    try:
        backend.read("a/key")
    except StorageError:
        os._exit(7)
    os._exit(0)
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    ended = subprocess.run([sys.executable, "-c", code, s3.address], capture_output=True, text=True, check=True)

    assert ended.stdout == "7\n"


def test_workers_are_started_anew_once_a_network_was_opened() -> None:
    from dsvc.cli import workers

    # It is loaded with the store that this module tests.
    pool: Any = workers._pool(1)

    with pool:
        assert pool._mp_context.get_start_method() == "spawn"


@pytest.fixture
def heavy(repository_folder: Path, run_dsvc: RunDsvc) -> Path:
    """A repository with three packs, each large enough to travel whole."""
    for number in range(3):
        (repository_folder / f"file{number}").write_bytes(noise(number, 17 * MIB))
        run_dsvc("add", ".", cwd=repository_folder)
        run_dsvc("commit", "-q", "-m", "One more", cwd=repository_folder)
    return repository_folder


@pytest.mark.parametrize(
    ("tip", "hanging"),
    [
        ("main~2", "/packs/"),
        ("main", "/packs/"),
        # Where nobody can be told, only this machine knows.
        ("main", ""),
    ],
)
def test_a_push_to_a_network_that_hangs_is_ended_by_ctrl_c_and_shows_as_aborted(
    s3: Setting,
    run_dsvc: RunDsvc,
    heavy: Path,
    *,
    tip: str,
    hanging: str,
) -> None:
    # The settings of the proxy are in this process's environment; what else there is does no harm to a push.
    env = {**os.environ, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{s3.proxy.port}"}
    words = [sys.executable, "-m", "dsvc", "push", "-q", "-j", "2", s3.address, f"{tip}:refs/heads/main"]
    s3.proxy.reset(Rule("stall", "PUT .*/packs/", times=100))
    process = subprocess.Popen(words, cwd=heavy, env=env, stderr=subprocess.PIPE, text=True)
    while not s3.proxy.count("PUT .*/packs/"):
        assert process.poll() is None
    s3.proxy.rules = [Rule("hang", hanging, times=1000)]

    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)

    assert process.returncode == 130
    assert "Traceback" not in said
    s3.proxy.reset()
    (state,) = [line.split()[1] for line in run_dsvc("list", s3.address, cwd=heavy, env=env).lines]
    assert state == "aborted"
