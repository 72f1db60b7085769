"""Settings, limits and the probe, without a network."""

import subprocess
import sys
from itertools import count
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsvc.config import Config, ConfigError, Layer, parse_value
from dsvc.errors import InvalidInputError, RefusedError
from dsvc.storage.backend import Buffer, KeyExistsError, UnknownOutcomeError
from dsvc.storage.bandwidth import Bandwidth
from dsvc.storage.faults import NoConditionalWritesError
from dsvc.storage.local import LocalBackend
from dsvc.storage.memory import MemoryBackend
from dsvc.storage.retry import RetryPolicy
from dsvc.storage.settings import BadRateError, Settings, parse_rate, read_settings
from dsvc.transport.address import open_backend
from dsvc.transport.probe import is_probed, probe, remember_probe

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("text", "rate"), [("1", 1), ("500K", 512_000), ("20M", 20 * 1024**2), ("1.5 GiB/s", 1536 * 1024**2), ("3kb", 3072)]
)
def test_a_rate_is_a_number_and_a_unit(text: str, rate: int) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "fast", "-1", "0", "20X", "1e6", "M"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(BadRateError):
        parse_rate(text)


def test_settings_of_a_remote_come_from_the_configuration() -> None:
    repository: Layer = {
        "remote.origin.endpoint": "http://host", "remote.origin.read-only": True, "remote.origin.bandwidth": "1K",
        "remote.origin.secret-env": "WORK", "remote.origin.deadline": 7, "remote.other.profile": "x",
    }  # fmt: skip

    found = read_settings(Config(repository=repository), "origin", {"WORK": "hunter2"})

    assert found.endpoint == "http://host"
    assert (found.read_only, found.single_writer, found.bandwidth, found.deadline) == (True, False, 1024, 7)
    assert found.secret == "hunter2"  # noqa: S105 (the test's own)
    assert "hunter2" not in repr(found)
    assert read_settings(Config(repository=repository), "third", {}) == Settings()
    with pytest.raises(InvalidInputError, match="WORK, which is not set"):
        read_settings(Config(repository=repository), "origin", {})


@pytest.mark.parametrize(("text", "value"), [("true", True), ("Yes", True), ("0", False), ("off", False)])
def test_a_flag_is_read_as_git_does(text: str, value: bool) -> None:  # noqa: FBT001 (what is expected)
    assert parse_value("remote.origin.read-only", text) is value


def test_what_is_no_flag_is_refused() -> None:
    with pytest.raises(ConfigError, match="true or false"):
        parse_value("remote.origin.read-only", "perhaps")


async def _never(_seconds: float) -> None:
    raise AssertionError


@given(st.lists(st.tuples(st.integers(1, 5000), st.floats(0, 3)), max_size=40))
def test_no_more_travels_than_the_limit_allows(takes: list[tuple[int, float]]) -> None:
    time = 0.0
    bandwidth = Bandwidth(1000, lambda: time, _never)
    sent = 0
    for length, idle in takes:
        time += idle
        time += bandwidth.debt(length)
        sent += length

        assert sent <= 1000 * (time + 1) + 1e-3


def test_the_limit_is_used_up() -> None:
    time = 0.0
    bandwidth = Bandwidth(1000, lambda: time, _never)
    for _ in range(100):
        time += bandwidth.debt(500)

    assert time == pytest.approx(49)


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_a_pause_is_never_longer_than_allowed_nor_nothing(attempt: int, part: float) -> None:
    policy = RetryPolicy()

    assert policy.first / 2 <= policy.pause(attempt, part) <= policy.longest


class LyingBackend(MemoryBackend):
    """It knows of no conditions; the last writer wins, and all are told that they did."""

    def create(self, key: str, value: Buffer) -> None:
        self.write(key, value)


class OverwritingBackend(MemoryBackend):
    """One writer is told that it won, but the last one's value is there."""

    def create(self, key: str, value: Buffer) -> None:
        try:
            super().create(key, value)
        except KeyExistsError:
            self.write(key, value)
            raise


class LosingBackend(MemoryBackend):
    """Each answer to a create gets lost."""

    def create(self, key: str, value: Buffer) -> None:
        super().create(key, value)
        message = "no answer"
        raise UnknownOutcomeError(message)


_numbers = count()
_lock = Lock()


def nonce() -> str:
    with _lock:
        return f"{next(_numbers):032}"


@pytest.mark.parametrize("backend", [MemoryBackend(), LosingBackend()])
def test_the_probe_lets_honest_stores_pass(backend: MemoryBackend) -> None:
    probe(backend, "memory", nonce)

    assert list(backend.list("")) == []


@pytest.mark.parametrize("backend", [LyingBackend(), OverwritingBackend()])
def test_the_probe_finds_those_that_lose_writes(backend: MemoryBackend) -> None:
    with pytest.raises(NoConditionalWritesError):
        probe(backend, "memory", nonce)

    assert list(backend.list("")) == []


def test_a_probe_is_remembered_for_its_address_only(tmp_path: Path) -> None:
    assert not is_probed(tmp_path / "origin", "s3://one")

    remember_probe(tmp_path / "origin", "s3://one")

    assert is_probed(tmp_path / "origin", "s3://one")
    assert not is_probed(tmp_path / "origin", "s3://other")


def test_a_folder_that_is_read_only_is_read_and_not_written(tmp_path: Path) -> None:
    LocalBackend(tmp_path).write("a/key", b"value")

    backend = open_backend(str(tmp_path), Path("/"), Settings(read_only=True))

    assert backend.read("a/key") == b"value"
    calls: list[Callable[[], None]] = [
        lambda: backend.write("a/key", b"other"),
        lambda: backend.create("a/new", b"other"),
        lambda: backend.delete("a/key"),
    ]
    for call in calls:
        with pytest.raises(RefusedError):
            call()
    assert backend.read("a/key") == b"value"


@pytest.mark.parametrize(
    ("package", "scheme", "extra"),
    [("s3fs", "s3", "s3"), ("gcsfs", "gs", "gcs"), ("adlfs", "az", "azure"), ("paramiko", "sftp", "sftp")],
)
def test_a_package_that_is_missing_is_named_with_what_to_install(
    environment: dict[str, str], tmp_path: Path, package: str, scheme: str, extra: str
) -> None:
    code = (
        f"import sys\nsys.modules[{package!r}] = None\nsys.argv = ['dsvc', 'clone', '{scheme}://place/x']\n"
        "from dsvc.__main__ import main\nsys.exit(main())"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [
        f"error: {scheme}:// needs packages that are not installed: they come with dsvc[{extra}]",
        f"hint: run `pip install 'dsvc[{extra}]'`",
    ]
