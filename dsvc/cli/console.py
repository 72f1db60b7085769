"""What commands print: data on stdout, conversation on stderr.

Nothing here knows what a command does. The state is that of this process's two streams, so it
is the module's own.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import TextIOWrapper
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from subprocess import Popen

    from dsvc.config import Config

__all__ = [
    "error",
    "format_date",
    "format_iso_date",
    "format_size",
    "hint",
    "is_quiet",
    "is_terminal",
    "json_path",
    "out",
    "out_bytes",
    "out_json",
    "pager",
    "paint",
    "plural",
    "prepare",
    "printable",
    "relative_date",
    "say",
    "set_paging",
    "set_quiet",
    "stderr_is_terminal",
    "warn",
    "width",
]


class _State:
    quiet = False
    paging = True
    paged = False


_state: Final = _State()

_COLOURS: Final = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
}


def prepare() -> None:
    """Make both streams pass paths through as the bytes that they were."""
    # Started with one of the three closed, the next file we open would take its place and be printed into.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(descriptor)
    sys.stdout = _reopened(sys.stdout, 1)
    sys.stderr = _reopened(sys.stderr, 2)


def _reopened(stream: TextIO | None, descriptor: int) -> TextIO:
    # Paths are bytes, shown as UTF-8 whatever the locale says, as git does; see display_path.
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(encoding="utf-8", errors="surrogateescape")
        return stream
    return open(descriptor, "w", encoding="utf-8", errors="surrogateescape", closefd=False)


def set_quiet(quiet: bool) -> None:  # noqa: FBT001 (the value of a flag)
    """Choose whether `say` is silent."""
    _state.quiet = quiet


def set_paging(paging: bool) -> None:  # noqa: FBT001 (the value of a flag)
    """Choose whether long output may go through a pager."""
    _state.paging = paging


def is_quiet() -> bool:
    """Tell whether the user wants to hear nothing but errors."""
    return _state.quiet


def out(text: str = "", end: str = "\n") -> None:
    """Print data."""
    sys.stdout.write(text + end)


def out_bytes(data: bytes | bytearray | memoryview) -> None:
    """Print raw data."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)


def out_json(value: Mapping[str, object]) -> None:
    """Print *value* as one line of JSON."""
    # msgspec is loaded by whatever has data to print, and six times as fast as json.
    import msgspec

    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")


def json_path(path: bytes) -> dict[str, str]:
    """Return *path* as JSON can hold it: text, and base64 too where it is not UTF-8."""
    try:
        return {"path": path.decode()}
    except UnicodeDecodeError:
        import base64

        return {"path": path.decode("utf-8", "replace"), "path_b64": base64.b64encode(path).decode()}


def say(text: str) -> None:
    """Tell the user *text*, unless they asked for quiet."""
    if not _state.quiet:
        _talk(text)


def warn(text: str) -> None:
    """Warn the user of *text*."""
    _talk(f"{_paint(sys.stderr, 'warning:', 'yellow')} {text}")


def error(text: str) -> None:
    """Say what went wrong."""
    _talk(f"{_paint(sys.stderr, 'error:', 'red')} {text}")


def hint(text: str) -> None:
    """Say what the user could do now."""
    _talk(f"{_paint(sys.stderr, 'hint:', 'cyan')} {text}")


def _talk(text: str) -> None:
    # In the order in which things happened, also where both streams are one file.
    sys.stdout.flush()
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def is_terminal() -> bool:
    """Tell whether stdout is read by a person."""
    return _state.paged or sys.stdout.isatty()


def width() -> int | None:
    """Return how many characters fit on a line of stdout, None where nobody has to fit in."""
    if not is_terminal():
        return None
    import shutil

    return shutil.get_terminal_size().columns


def stderr_is_terminal() -> bool:
    """Tell whether stderr is read by a person."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: str) -> str:
    """Return *text* in *colour* where stdout is a terminal and NO_COLOR is not set."""
    return _paint(sys.stdout, text, colour)


def _paint(stream: object, text: str, colour: str) -> str:
    if os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb":
        return text
    if not (is_terminal() if stream is sys.stdout else sys.stderr.isatty()):
        return text
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[m"


@contextmanager
def pager(config: "Config") -> Iterator[None]:
    """Send what is printed meanwhile through the user's pager, where stdout is a terminal."""
    command = _pager_command(config)
    if command is None:
        yield
        return
    import subprocess

    environment = {"LESS": "FRX", "LV": "-c", **os.environ}
    sys.stdout.flush()
    # The command is the user's own setting, for their own shell, as in git.
    process = subprocess.Popen(command, shell=True, stdin=subprocess.PIPE, env=environment)  # noqa: S602
    saved = os.dup(1)
    if process.stdin is not None:
        os.dup2(process.stdin.fileno(), 1)
        process.stdin.close()
    _state.paged = True
    try:
        yield
        sys.stdout.flush()
    finally:
        _state.paged = False
        # The pager sees the end only when nobody holds its input any more.
        os.dup2(saved, 1)
        os.close(saved)
        _wait(process)


def _wait(process: "Popen[bytes]") -> None:
    # Ctrl-C is the pager's to answer; leaving now would leave it fighting the shell for the terminal.
    while True:
        try:
            process.wait()
        except KeyboardInterrupt:
            continue
        return


def _pager_command(config: "Config") -> str | None:
    if _state.paged or not _state.paging or not sys.stdout.isatty():
        return None
    import shutil

    command = config.text("core.pager") or os.environ.get("PAGER") or shutil.which("less")
    return None if command == "cat" else command


def format_size(size: int) -> str:
    """Return *size* bytes for people, in binary units spelled as git spells them."""
    if size < 1024:
        return f"{size} B"
    amount = size / 1024
    units = iter(("KiB", "MiB", "GiB", "TiB", "PiB"))
    unit = next(units)
    # 1023.96 would be shown as "1024.0".
    while amount >= 1023.95 and (larger := next(units, None)):
        amount, unit = amount / 1024, larger
    return f"{amount:.1f} {unit}"


def printable(text: str) -> str:
    """Return *text* without what would control a terminal, or is not allowed in a document."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """Return *count* and *noun*, or its plural."""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


_STEPS: Final = (
    (90, 1, "second"),
    (90 * 60, 60, "minute"),
    (36 * 3600, 3600, "hour"),
    (14 * 86400, 86400, "day"),
    (70 * 86400, 7 * 86400, "week"),
    (365 * 86400, 2_629_746, "month"),
)


def relative_date(then: int, now: int) -> str:
    """Return how long before *now* *then* was, both in microseconds since 1970."""
    seconds = (now - then) // 1_000_000
    if seconds < 0:
        return "in the future"
    for limit, unit, name in _STEPS:
        if seconds < limit:
            return f"{plural(round(seconds / unit), name)} ago"
    return f"{plural(round(seconds / 31_556_952), 'year')} ago"


def format_iso_date(time: int, offset: int) -> str:
    """Return *time*, in microseconds since 1970, in ISO 8601, *offset* minutes east of Greenwich."""
    from datetime import UTC, datetime, timedelta, timezone

    moment = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=time)
    return moment.astimezone(timezone(timedelta(minutes=offset))).isoformat(timespec="seconds")


def format_date(time: int, offset: int) -> str:
    """Return *time*, in microseconds since 1970, as git shows it *offset* minutes east of Greenwich."""
    from datetime import UTC, datetime, timedelta

    local = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=time, minutes=offset)
    sign = "-" if offset < 0 else "+"
    return f"{local:%a %b} {local.day} {local:%H:%M:%S %Y} {sign}{abs(offset) // 60:02}{abs(offset) % 60:02}"
