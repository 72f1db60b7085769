"""Lets the user write a message in their editor."""

import os
from pathlib import Path

from dsvc.cli import console
from dsvc.cli.errors import Failure
from dsvc.config import Config

__all__ = ["clean_message", "edit"]


def edit(text: str, config: Config, file: Path) -> str:
    """Return what the user makes of *text* in *file*, without comment lines; empty if they wrote nothing.

    Raises:
        Failure: There is no editor, or it failed.
    """
    import subprocess

    file.write_text(text, "utf-8")
    command = _editor(config)
    console.say("waiting for your editor to close the file")
    # The command is the user's own setting, for their own shell, as in git.
    words = ["/bin/sh", "-c", f'{command} "$@"', command, os.fspath(file)]
    if subprocess.run(words, check=False).returncode:  # noqa: S603
        message = f"the editor `{command}` failed"
        raise Failure(message, code=2, hint="give the message with `-m`, or set `dsvc config core.editor`")
    return clean_message(file.read_text("utf-8"))


def _editor(config: Config) -> str:
    dumb = os.environ.get("TERM", "dumb") == "dumb"
    found = config.text("core.editor") or (None if dumb else os.environ.get("VISUAL")) or os.environ.get("EDITOR")
    if found is None and dumb:
        message = "there is no terminal to edit a message in"
        raise Failure(message, code=2, hint="give the message with `-m`")
    return found or "vi"


def clean_message(text: str) -> str:
    """Return *text* without comment lines, without blank space at the ends, and without double blank lines."""
    lines: list[str] = []
    for line in map(str.rstrip, text.splitlines()):
        if not line.startswith("#") and (line or (lines and lines[-1])):
            lines.append(line)
    return "\n".join(lines).strip("\n")
