"""Ctrl-C, as a terminal sends it: to every process of the command at once."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.worktree_support import check_out, commit_all, make_worktree

PROGRAM = [sys.executable, "-m", "dsvc"]


@pytest.fixture
def adding(environment: dict[str, str], tmp_path: Path) -> Iterator[tuple[Path, "subprocess.Popen[bytes]"]]:
    """An `add` in a process group of its own: two batches are with its workers, and the scan waits at a pipe."""
    root = tmp_path / "w"
    root.mkdir()
    subprocess.run([*PROGRAM, "init", "-q"], cwd=root, env=environment, check=True)
    for number in range(9000):
        (root / f"{number}").write_bytes(b"%d" % number)
    stop = root / "zz"
    stop.mkdir()
    os.mkfifo(stop / ".dsvcignore")
    running = subprocess.Popen(
        [*PROGRAM, "add", "-A", "-j", "2"],
        cwd=root,
        env=environment,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    # Opening the pipe for writing returns once the scan has it open for reading.
    with running, (stop / ".dsvcignore").open("wb"):
        yield root, running


def said_by(running: "subprocess.Popen[bytes]") -> bytes:
    """What was said by all processes of the command until the last of them has ended."""
    assert running.stderr is not None
    return running.stderr.read()


def test_an_interrupted_add_ends_quietly_and_stages_nothing(
    adding: tuple[Path, "subprocess.Popen[bytes]"], environment: dict[str, str]
) -> None:
    root, running = adding

    os.killpg(running.pid, signal.SIGINT)
    said = said_by(running)

    assert running.wait() == 130
    assert b"Traceback" not in said
    (root / "zz/.dsvcignore").unlink()
    told = subprocess.run(
        [*PROGRAM, "status", "-s", "-uno"], cwd=root, env=environment, check=True, capture_output=True
    )
    assert told.stdout == b""


def test_the_workers_of_a_command_that_is_killed_end_too(adding: tuple[Path, "subprocess.Popen[bytes]"]) -> None:
    _, running = adding

    os.kill(running.pid, signal.SIGKILL)

    assert b"Traceback" not in said_by(running)


def test_an_interrupt_of_a_checkout_is_no_error_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worktree = make_worktree(tmp_path)
    old, _ = (commit_all(worktree, {b"a": text}) for text in (b"old", b"newer"))
    rename = os.rename

    def interrupted(source: bytes, name: bytes, **folders: int) -> None:
        rename(source, name, **folders)
        if name == b"a":
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(os, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        check_out(worktree, old)
