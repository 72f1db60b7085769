"""The command line in this process: as `run_dsvc`, without what a new process costs. One run at a time."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from dsvc.cli import console, session
from dsvc.cli.main import run
from tests.conftest import Result, RunDsvc

__all__ = ["call_dsvc"]


@pytest.fixture
def call_dsvc(
    environment: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunDsvc]:
    def call(
        *arguments: str | bytes | Path,
        cwd: Path | None = None,
        input: str | bytes = b"",  # noqa: A002 (as in subprocess.run)
        env: Mapping[str, str] | None = None,
        code: int = 0,
    ) -> Result:
        assert not input
        with monkeypatch.context() as patch:
            patch.chdir(cwd or tmp_path)
            for name in [name for name in os.environ if name.startswith("DSVC_") or name in ("HOME", "NO_COLOR")]:
                patch.delenv(name)
            for name, value in {**environment, **(env or {})}.items():
                patch.setenv(name, value)
            capfd.readouterr()
            ended = run([os.fsdecode(word) for word in arguments])
            console.set_quiet(False)
            session._flags.clear()
        output, errors = capfd.readouterr()
        assert ended == code, f"exit code {ended}, not {code}\n{output}{errors}"
        return Result(ended, output, errors)

    yield call
    session.close()
