"""The command line as a user has it: a process of its own, with a home and an environment of its own."""

import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import HealthCheck, settings

from tests.launcher import Launcher
from tests.stores import stores

__all__ = ["PROJECT", "Result", "RunDsvc", "stores"]

PROJECT = Path(__file__).parents[1]
# All that a new interpreter needs.
_NOTHING_ELSE = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "PYTHONPATH": str(PROJECT)}

# How long a machine takes is no promise of ours.
settings.register_profile("dsvc", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("dsvc")
# A shell lets what it runs in the background ignore Ctrl-C, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class Result:
    """What one run printed; bytes that are not UTF-8 are kept as surrogates."""

    code: int
    stdout: str
    stderr: str

    @property
    def lines(self) -> list[str]:
        return self.stdout.splitlines()


class RunDsvc(Protocol):
    """Runs `dsvc` with *arguments* and checks that it exits with *code*.

    It runs in *cwd*, by default the test's own folder, with *input* on stdin and the variables of
    *env* on top of a clean environment.
    """

    def __call__(
        self,
        *arguments: str | bytes | Path,
        cwd: Path | None = None,
        input: str | bytes = b"",  # noqa: A002 (as in subprocess.run)
        env: Mapping[str, str] | None = None,
        code: int = 0,
    ) -> Result: ...


@pytest.fixture
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Nothing of the user's own; a fixed author, and a fixed date."""
    return {
        **_NOTHING_ELSE,
        "HOME": str(tmp_path_factory.mktemp("home")),
        "GIT_CONFIG_NOSYSTEM": "1",
        "DSVC_AUTHOR_NAME": "Ada Lovelace",
        "DSVC_AUTHOR_EMAIL": "ada@example.org",
        "DSVC_DATE": "2026-08-01T12:00:00+02:00",
    }


@pytest.fixture(scope="session")
def launcher() -> Iterator[Launcher]:
    """Runs the command line in processes of their own."""
    launcher = Launcher(_NOTHING_ELSE)
    yield launcher
    launcher.close()


@pytest.fixture
def run_dsvc(tmp_path: Path, environment: dict[str, str], launcher: Launcher) -> RunDsvc:
    def run(
        *arguments: str | bytes | Path,
        cwd: Path | None = None,
        input: str | bytes = b"",  # noqa: A002 (as in subprocess.run)
        env: Mapping[str, str] | None = None,
        code: int = 0,
    ) -> Result:
        stdin = input.encode() if isinstance(input, str) else input
        ended = launcher.run(
            [os.fsdecode(word) for word in arguments], cwd or tmp_path, {**environment, **(env or {})}, stdin
        )
        result = Result(ended[0], _text(ended[1]), _text(ended[2]))
        assert result.code == code, f"exit code {result.code}, not {code}\n{result.stdout}{result.stderr}"
        return result

    return run


def _text(output: bytes) -> str:
    return output.decode("utf-8", "surrogateescape")


@pytest.fixture
def repository_folder(tmp_path: Path, run_dsvc: RunDsvc) -> Path:
    """An empty repository."""
    folder = tmp_path / "repository"
    folder.mkdir()
    run_dsvc("init", "-q", cwd=folder)
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run what takes long first: at the end, one process would be left with it while the others wait."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
