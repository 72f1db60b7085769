"""dsvc help: what there is, and how to use it."""

import sys
from pathlib import Path
from typing import Annotated

from dsvc.cli import console
from dsvc.cli.commands import COMMANDS
from dsvc.cli.errors import Failure, UsageError
from dsvc.cli.options import argument, option
from dsvc.cli.usage import help_text, overview

__all__ = ["command"]


def command(
    topic: Annotated[str | None, argument("TOPIC", help="A command, or a guide such as `concepts`.")] = None,
    *,
    man: Annotated[bool, option("-m", "--man", help="Open the man page of the command.")] = False,
) -> int:
    """Show help about dsvc or a command.

    Without *TOPIC*, lists the commands. With a command, prints what `dsvc` *COMMAND* `--help`
    prints. With the name of a guide, opens its man page.

    Examples:
        $ dsvc help add
        $ dsvc help concepts
    """
    if topic is None:
        console.out(overview())
        return 0
    if topic in COMMANDS and not man:
        console.out(help_text(topic))
        return 0
    return _open_page(topic)


def _open_page(topic: str) -> int:
    import subprocess

    name = topic if topic == "dsvc" else f"dsvc-{topic}"
    page = next((file for folder in _man_folders() for file in sorted(folder.glob(f"man[157]/{name}.[157]"))), None)
    if page is None:
        message = f"no command or guide is called `{topic}`"
        raise UsageError(message, similar=(topic, [*COMMANDS, *_guides()]))
    try:
        return subprocess.run(["man", str(page)], check=False).returncode  # noqa: S603, S607 (the page is ours, the user's own man reads it)
    except FileNotFoundError as error:
        message = f"there is no `man` on this machine to show {page} with"
        raise Failure(message, code=4) from error


def _man_folders() -> list[Path]:
    # Where the wheel puts them, and where a checkout has them.
    return [Path(sys.prefix, "share/man"), Path(__file__).parents[2] / "man"]


def _guides() -> list[str]:
    return [file.stem.removeprefix("dsvc-") for folder in _man_folders() for file in folder.glob("man[57]/dsvc-*.[57]")]
