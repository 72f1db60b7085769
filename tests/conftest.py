"""The command line as a user has it: a process of its own, with a home and an environment of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import HealthCheck, settings

from tests.stores import stores

__all__ = ["PROJECT", "Result", "RunDsvc", "stores"]

PROJECT = Path(__file__).parents[1]

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
        "HOME": str(tmp_path_factory.mktemp("home")),
        "PATH": os.environ["PATH"],
        "LC_ALL": "C.UTF-8",
        "PYTHONPATH": str(PROJECT),
        "GIT_CONFIG_NOSYSTEM": "1",
        "DSVC_AUTHOR_NAME": "Ada Lovelace",
        "DSVC_AUTHOR_EMAIL": "ada@example.org",
        "DSVC_DATE": "2026-08-01T12:00:00+02:00",
    }


@pytest.fixture
def run_dsvc(tmp_path: Path, environment: dict[str, str]) -> RunDsvc:
    def run(
        *arguments: str | bytes | Path,
        cwd: Path | None = None,
        input: str | bytes = b"",  # noqa: A002 (as in subprocess.run)
        env: Mapping[str, str] | None = None,
        code: int = 0,
    ) -> Result:
        ended = subprocess.run(
            [sys.executable, "-W", "error", "-m", "dsvc", *arguments],
            cwd=cwd or tmp_path,
            input=input.encode() if isinstance(input, str) else input,
            env={**environment, **(env or {})},
            capture_output=True,
            check=False,
        )
        result = Result(ended.returncode, _text(ended.stdout), _text(ended.stderr))
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
