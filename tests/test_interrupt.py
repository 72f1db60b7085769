"""Ctrl-C, as a terminal sends it: to every process of the command at once."""

import os
import signal
import subprocess
import sys
from pathlib import Path


def test_an_interrupted_add_ends_quietly_and_stages_nothing(environment: dict[str, str], tmp_path: Path) -> None:
    root = tmp_path / "w"
    root.mkdir()
    program = [sys.executable, "-m", "dsvc"]
    subprocess.run([*program, "init", "-q"], cwd=root, env=environment, check=True)
    for number in range(9000):
        (root / f"{number}").write_bytes(b"%d" % number)
    # The scan comes to this pipe when two batches are on their way to the workers.
    stop = root / "zz"
    stop.mkdir()
    os.mkfifo(stop / ".dsvcignore")

    running = subprocess.Popen(
        [*program, "add", "-A", "-j", "2"],
        cwd=root,
        env=environment,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    # Opening the pipe for writing returns once the scan has it open for reading.
    with running, (stop / ".dsvcignore").open("wb"):
        os.killpg(running.pid, signal.SIGINT)
        said = running.stderr.read() if running.stderr else b""

    assert running.returncode == 130
    assert b"Traceback" not in said
    (stop / ".dsvcignore").unlink()
    told = subprocess.run(
        [*program, "status", "-s", "-uno"], cwd=root, env=environment, check=True, capture_output=True
    )
    assert told.stdout == b""
