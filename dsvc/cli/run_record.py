"""What made a version: the program, the commit of its code, the machine and the user, for those who ask for it.

Never the environment; and of what the program was called with, only if that is asked for, and nothing that looks like a
secret. A version is for everybody who can read the store.
"""

import os
import re
from collections.abc import Sequence
from typing import Final

from dsvc.cli import console
from dsvc.cli.caller import arguments_of, read_caller
from dsvc.cli.session import user
from dsvc.config import Config, parse_value
from dsvc.model.canonical_json import JsonObject

__all__ = ["masked", "run_record", "wanted"]

_USUAL: Final = ("command", "git", "host", "user")
_MASK: Final = "***"
_INTERPRETERS: Final = re.compile(
    r"(python|pypy|perl|ruby|node|julia|lua|Rscript|java|php|bash|zsh|dash|ksh|sh)[0-9.]*"
)

# `token` is one, `tokens` and `tokenizer` are none.
_CALLED: Final = (
    r"(?:(?:password|passwd|passphrase|secret|token|credentials?|signature|api.?key|access.?key|private.?key)"
    r"|(?<![A-Za-z])(?:pass|pwd|auth|key|sas))(?![A-Za-z])"
)
_NAMED: Final = re.compile(_CALLED, re.IGNORECASE)
_ASSIGNED: Final = re.compile(rf"({_CALLED}[\w.-]*[\"']?\s*[=:]\s*)[^\s&;]+", re.IGNORECASE)
# As services begin them; and what nobody types: long, of letters of both cases and digits, or of hexadecimal digits.
_MIXED: Final = r"(?=[A-Za-z+/_-]*[0-9])(?=[A-Z0-9+/_-]*[a-z])(?=[a-z0-9+/_-]*[A-Z])"
_SECRET: Final = re.compile(
    r"\b(?:AKIA|ASIA|AIza|ghp_|gho_|ghu_|ghs_|github_pat_|glpat-|hf_|sk-|pk-|xox[abprs]-|eyJ)[A-Za-z0-9_.-]{8,}"
    r"|(?<![A-Za-z0-9+/_-])"
    rf"(?:[0-9a-fA-F]{{32,}}|{_MIXED}[A-Za-z0-9+_-]{{32,}}=*|{_MIXED}[A-Za-z0-9+][A-Za-z0-9+/]{{39}})"
    r"(?![A-Za-z0-9+/_-])"
)
_IN_ADDRESS: Final = re.compile(r"(://)[^/@\s]+@")


def run_record(config: Config, asked: str | None) -> JsonObject:
    """Return what to record: what *asked* names, `usual` and `none` included, or else the configuration.

    What there is not, such as a program where somebody types, is left out.
    """
    words = wanted(config, asked)
    record: JsonObject = {}
    if "command" in words or "arguments" in words:
        command, arguments = _program()
        if command:
            record["command"] = " ".join(command)
        if arguments and "arguments" in words:
            record["arguments"] = [*masked(arguments)]
    if "git" in words:
        code = _code()
        if code is not None:
            record["git"] = code
        elif asked is not None:
            console.warn("the working folder is in no git repository with a commit, so none is recorded")
    if "host" in words:
        record["host"] = os.uname().nodename
    if "user" in words:
        record["user"] = user()
    return record


def wanted(config: Config, asked: str | None) -> Sequence[str]:
    """Return the words for what *asked*, or else the configuration, wants to have recorded.

    Raises:
        ConfigError: There is no such word.
    """
    if asked is None:
        return config.words("commit.record-run")
    if asked == "none":
        return ()
    if asked == "usual":
        return config.words("commit.record-run") or _USUAL
    value = parse_value("commit.record-run", asked)
    return value if isinstance(value, tuple) else ()


def _program() -> tuple[list[str], list[str]]:
    """Return the program that this is a part of, and what it was called with; nothing where somebody types."""
    words = next((arguments_of(program.number) for program in read_caller().programs), [])
    if not words:
        return [], []
    count = 1
    if _INTERPRETERS.fullmatch(os.path.basename(words[0]).lstrip("-")):  # noqa: PTH119 (a word, perhaps of no file)
        count = _script_at(words)
    return masked(words[:count]), words[count:]


def _script_at(words: Sequence[str]) -> int:
    """Return how many of *words* name an interpreter and its program: options after that are the program's."""
    for at, word in enumerate(words[1:], 1):
        if word == "-m":
            return min(at + 2, len(words))
        # What follows is the text of a program, or goes on in a way that is the interpreter's own.
        if word in ("-c", "-e"):
            return 1
        if not word.startswith("-"):
            return at + 1
    return 1


def masked(words: Sequence[str]) -> list[str]:
    """Return *words* with what looks like a secret replaced by asterisks."""
    shown: list[str] = []
    hide_next = False
    for word in words:
        if hide_next and not word.startswith("-"):
            shown.append(_MASK)
            hide_next = False
            continue
        hide_next = word.startswith("-") and "=" not in word and _NAMED.search(word) is not None
        shown.append(_mask_within(word))
    return shown


def _mask_within(word: str) -> str:
    return _SECRET.sub(_MASK, _ASSIGNED.sub(rf"\1{_MASK}", _IN_ADDRESS.sub(rf"\1{_MASK}@", word)))


def _code() -> JsonObject | None:
    """Return the commit of the git repository that the working folder is in, and whether its files differ."""
    import subprocess

    def git(*words: str) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(["git", *words], capture_output=True, check=False, stdin=subprocess.DEVNULL)  # noqa: S603, S607 (no word of it is foreign)

    try:
        commit = git("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        if commit.returncode:
            return None
        is_modified = git("diff", "--quiet", "HEAD", "--").returncode != 0
    except OSError:
        return None
    return {"commit": commit.stdout.decode().strip(), "modified": is_modified}
