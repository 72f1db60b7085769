"""Words of a command line are read by declarations, with git's habits."""

import os
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsvc.cli.errors import UsageError
from dsvc.cli.options import Json, argument, option
from dsvc.cli.parser import HelpRequested, parse
from dsvc.cli.usage import synopsis
from dsvc.errors import InvalidInputError


def _parse_size(text: str) -> int:
    if not text.endswith("k"):
        message = f"not a size: {text}"
        raise InvalidInputError(message)
    return int(text[:-1]) * 1024


def log(
    words: Annotated[tuple[str, ...], argument("REVISION", help="Where to start.")] = (),
    paths: Annotated[tuple[bytes, ...] | None, argument("PATH", help="Only these.", after_dashes=True)] = None,
    *,
    everything: Annotated[bool, option("-a", "--all", help="All branches.")] = False,
    count: Annotated[int | None, option("-n", "--max-count", help="At most.", digits=True)] = None,
    colour: Annotated[
        Literal["auto", "always", "never"], option("--color", help="When to colour.", bare="always")
    ] = "auto",
    patch: Annotated[bool, option("-p", "--patch", help="The change too.")] = True,
    verbose: Annotated[int, option("-v", "--verbose", help="Say more.", count=True)] = 0,
    authors: Annotated[tuple[str, ...], option("--author", help="Only these.")] = (),
    size: Annotated[int, option("--size", help="How large.", parse=_parse_size, metavar="SIZE")] = 0,
    file: Annotated[Path | None, option("-F", "--file", help="Read it.")] = None,
    json: Json = False,
) -> None:
    """Show commits."""


def move(
    sources: Annotated[tuple[bytes, ...], argument("SOURCE", help="What.")],
    destination: Annotated[bytes, argument("DESTINATION", help="Where to.")],
) -> None:
    """Move files."""


def fetch(
    remote: Annotated[str, argument("REMOTE", help="From where.")] = "origin",
    branch: Annotated[str | None, argument("BRANCH", help="What.")] = None,
) -> None:
    """Fetch."""


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ([], {}),
        (["-a"], {"everything": True}),
        (["--all"], {"everything": True}),
        (["--no-all"], {"everything": False}),
        (["-a", "--no-all"], {"everything": False}),
        (["--no-patch"], {"patch": False}),
        (["-n", "5"], {"count": 5}),
        (["-n5"], {"count": 5}),
        (["-5"], {"count": 5}),
        (["--max-count=5"], {"count": 5}),
        (["--max-count", "5"], {"count": 5}),
        (["--max", "5"], {"count": 5}),
        (["-an5"], {"everything": True, "count": 5}),
        (["-vv", "-v"], {"verbose": 3}),
        (["--color"], {"colour": "always"}),
        (["--color=never", "HEAD"], {"colour": "never", "words": ("HEAD",)}),
        (["--color", "HEAD"], {"colour": "always", "words": ("HEAD",)}),
        (["--author=a", "--author", "b"], {"authors": ("a", "b")}),
        (["--size=4k"], {"size": 4096}),
        (["-F", "-"], {"file": Path("-")}),
        (["HEAD", "-a", "main"], {"words": ("HEAD", "main"), "everything": True}),
        (["HEAD", "--"], {"words": ("HEAD",), "paths": ()}),
        (["--", "-a", "--"], {"paths": (b"-a", b"--")}),
        (["-"], {"words": ("-",)}),
    ],
)
def test_words_are_read_as_git_reads_them(words: list[str], values: dict[str, object]) -> None:
    assert parse(log, words) == values


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--al=x"], "option `--all` takes no value"),
        (["-n"], "option `-n` needs a value"),
        (["--max-count"], "option `--max-count` needs a value"),
        (["-n", "many"], "-n: `many` is not a whole number"),
        (["--color=blue"], "--color: `blue` is none of auto, always, never"),
        (["--size", "4"], "--size: not a size: 4"),
        (["--a"], "option `--a` is ambiguous: --all, --author"),
        (["--xyz"], "unknown option `--xyz`"),
        (["-x"], "unknown option `-x`"),
        (["-ax"], "unknown option `-x` in `-ax`"),
        (["-F", ""], "-F: '' names no file or folder"),
        (["--author", os.fsdecode(b"\xff")], "--author: b'\\xff' is not UTF-8"),
    ],
)
def test_words_that_do_not_fit_are_refused_with_the_word(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse(log, words)

    assert str(refused.value) == message


def test_a_mistyped_option_brings_the_nearest_to_mind() -> None:
    with pytest.raises(UsageError) as refused:
        parse(log, ["--max-cuont=3"])

    assert refused.value.hint == "did you mean `--max-count`?"


@pytest.mark.parametrize("words", [["-h"], ["--help"], ["--he"], ["-a", "--help", "--nonsense"]])
def test_help_is_asked_for_anywhere_before_the_dashes(words: list[str]) -> None:
    with pytest.raises(HelpRequested):
        parse(log, words)


def test_help_after_the_dashes_is_a_path() -> None:
    assert parse(log, ["--", "--help"]) == {"paths": (b"--help",)}


def test_the_last_arguments_get_theirs_before_one_that_repeats() -> None:
    assert parse(move, ["a", "b", "c"]) == {"sources": (b"a", b"b"), "destination": b"c"}


def test_optional_arguments_are_filled_from_the_left() -> None:
    assert parse(fetch, []) == {}
    assert parse(fetch, ["there"]) == {"remote": "there"}
    assert parse(fetch, ["there", "main"]) == {"remote": "there", "branch": "main"}


def test_a_missing_argument_is_named() -> None:
    with pytest.raises(UsageError, match="missing argument DESTINATION"):
        parse(move, ["a"])


def test_an_argument_too_many_is_named() -> None:
    with pytest.raises(UsageError, match="unexpected argument `c`"):
        parse(fetch, ["a", "b", "c"])


@given(st.binary(min_size=1).filter(lambda name: b"\0" not in name))
def test_a_path_reaches_the_command_as_the_bytes_that_it_is(path: bytes) -> None:
    assert parse(log, ["--", os.fsdecode(path)]) == {"paths": (path,)}


@given(st.binary(min_size=1).filter(lambda name: b"\0" not in name and not name.startswith(b"-")))
def test_a_word_that_may_be_a_path_loses_no_byte(word: bytes) -> None:
    (read,) = parse(log, [os.fsdecode(word)]).values()

    assert isinstance(read, tuple)
    assert read[0].encode("utf-8", "surrogateescape") == word


def test_the_synopsis_shows_everything_that_is_taken() -> None:
    assert synopsis("dsvc log", log) == (
        "dsvc log [-a] [-N] [--color[=auto|always|never]] [--[no-]patch] [-v] [--author=TEXT]... [--size=SIZE]"
        " [-F FILE] [--json] [REVISION...] [--] [PATH...]"
    )
    assert synopsis("dsvc mv", move) == "dsvc mv [--] SOURCE... DESTINATION"
    assert synopsis("dsvc fetch", fetch) == "dsvc fetch [REMOTE] [BRANCH]"
