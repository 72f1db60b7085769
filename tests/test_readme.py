"""What the README says can be typed, typed."""

import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import PROJECT

README = (PROJECT / "README.md").read_text()


def block(title: str) -> str:
    """Return the first shell block below the heading *title*."""
    found = re.search(rf"^## {title}\n.*?^```sh\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    assert found
    return found[1]


def test_the_commands_of_the_first_minute_work(environment: dict[str, str], tmp_path: Path) -> None:
    commands = block("In a minute").replace("/mnt/share", str(tmp_path / "share"))
    (tmp_path / "share").mkdir()
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "cat.jpg").write_bytes(b"\xff\xd8\xff" * 1000)
    program = f'dsvc() {{ "{sys.executable}" -m dsvc "$@"; }}\n'

    subprocess.run(["bash", "-euc", program + commands], cwd=tmp_path / "images", env=environment, check=True)

    assert (tmp_path / "images" / "elsewhere" / "cat.jpg").read_bytes() == b"\xff\xd8\xff" * 1000


def test_the_command_that_passes_the_tests_is_what_ci_runs() -> None:
    command = block("Run the tests").strip()

    assert command.startswith("python3 -m venv .venv && ")
    assert "grep -m 1" in (PROJECT / ".ci" / "run").read_text()
    assert command.splitlines() == [command]
