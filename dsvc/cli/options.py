"""How a command declares what it takes: annotations on the parameters of its function.

    def command(
        paths: Annotated[tuple[bytes, ...], argument("PATH", help="Add only these.")] = (),
        *,
        update: Annotated[bool, option("-u", "--update", help="Only what is tracked.")] = False,
    ) -> int:

Positional parameters are arguments, keyword-only ones are options. `parser` reads argv by
these declarations; `usage` and `man` write help and man pages from them.

The shape is typer's. Its code is not used, because it costs 150 ms of a start-up that may
cost 130 (it coerces each value through pydantic), and because it drops the `--` that tells
revisions from paths.
"""

from collections.abc import Callable
from typing import Annotated

import msgspec

__all__ = [
    "AnyLinks",
    "AnySymlinks",
    "Argument",
    "Depth",
    "DryRun",
    "Jobs",
    "Json",
    "NullTerminated",
    "Option",
    "Quiet",
    "Verbose",
    "argument",
    "option",
]

Parse = Callable[[str], object]


class Option(msgspec.Struct, frozen=True):
    """What `option` declares."""

    names: tuple[str, ...]
    help: str
    metavar: str | None
    count: bool
    bare: object
    digits: bool
    parse: Parse | None
    hidden: bool


class Argument(msgspec.Struct, frozen=True):
    """What `argument` declares."""

    metavar: str
    help: str
    parse: Parse | None
    after_dashes: bool


def option(
    *names: str,
    help: str,
    metavar: str | None = None,
    count: bool = False,
    bare: object = None,
    digits: bool = False,
    parse: Parse | None = None,
    hidden: bool = False,
) -> Option:
    """Declare an option called *names*, such as "-m" and "--message".

    *help* is one sentence. With *count*, each mention adds one. *bare* is the value of a
    mention without a value, which is then only taken from `--name=value`. With *digits*, `-5`
    is a mention with the value 5. *parse* makes the value from text and refuses with
    InvalidInputError or ValueError. A *hidden* option is not in the help.
    """
    return Option(names, help, metavar, count, bare, digits, parse, hidden)


def argument(metavar: str, *, help: str, parse: Parse | None = None, after_dashes: bool = False) -> Argument:
    """Declare an argument, shown as *metavar*.

    With *after_dashes* it takes only what stands after `--`, and is None where there was none.
    """
    return Argument(metavar, help, parse, after_dashes)


def _parse_depth(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        message = "a depth is a number of versions, 1 or more"
        raise ValueError(message)
    return int(text)


AnyLinks = Annotated[
    bool, option("--links", help="Follow links to URLs that nobody here has named, but none to files of this machine.")
]
AnySymlinks = Annotated[bool, option("--unsafe-symlinks", help="Write symlinks that lead out of the version, too.")]
Depth = Annotated[
    int | None,
    option("--depth", metavar="N", parse=_parse_depth, help="Get only the *N* newest versions of each branch."),
]
DryRun = Annotated[bool, option("-n", "--dry-run", help="Say what would be done, and do nothing.")]
Jobs = Annotated[int | None, option("-j", "--jobs", metavar="N", help="Work in *N* threads.")]
Json = Annotated[bool, option("--json", help="Print JSON, one object on a line.")]
NullTerminated = Annotated[bool, option("-z", "--null", help="End each path with a zero byte and print it as it is.")]
Quiet = Annotated[bool, option("-q", "--quiet", help="Say nothing but errors.")]
Verbose = Annotated[bool, option("-v", "--verbose", help="Say more.")]
