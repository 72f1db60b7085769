"""The manual says what the code does, and every page of it can be read."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsvc.cli import man, roff
from dsvc.cli.commands import COMMANDS, load
from dsvc.cli.options import Argument, Option
from dsvc.cli.parser import parameters
from dsvc.cli.usage import forms, synopsis
from dsvc.config import KEYS
from tests.conftest import PROJECT, RunDsvc
from tests.test_parser import log

PAGES = sorted((PROJECT / "man").glob("man[157]/*.[157]"))

needs_groff = pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")


def _render(page: Path) -> str:
    words = ["groff", "-man", "-ww", "-Tutf8", "-P-cbou", str(page)]
    ended = subprocess.run(words, capture_output=True, text=True, check=True)
    assert ended.stderr == ""
    # Roff's glyphs for what is typed differently.
    return ended.stdout.replace("\N{HYPHEN}", "-").replace("\N{MINUS SIGN}", "-").replace("\N{NO-BREAK SPACE}", " ")


def _section(text: str, heading: str) -> str:
    found = re.search(rf"^{heading}\n((?:[ ].*\n|\n)*)", text, re.MULTILINE)
    return " ".join(found.group(1).split()) if found else ""


def test_the_pages_are_those_that_the_code_makes() -> None:
    words = [sys.executable, "-m", "dsvc.cli.man", "--check"]
    ended = subprocess.run(words, capture_output=True, text=True, check=False, cwd=PROJECT)

    assert (ended.returncode, ended.stdout) == (0, "")


def test_each_command_has_a_page_and_each_page_a_command() -> None:
    pages = {page.stem for page in (PROJECT / "man/man1").iterdir()}

    assert pages == {"dsvc", *(f"dsvc-{name}" for name in COMMANDS)}


@needs_groff
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_is_rendered_without_a_warning_and_says_what_it_is(page: Path) -> None:
    text = _render(page)

    assert re.search(rf"^ +{re.escape(page.stem)} - .", text, re.MULTILINE)
    assert _section(text, "DESCRIPTION")
    assert _section(text, "SEE ALSO")


@needs_groff
@pytest.mark.parametrize("name", COMMANDS)
def test_the_synopsis_of_the_page_is_that_of_the_help(name: str, run_dsvc: RunDsvc) -> None:
    shown = _section(_render(PROJECT / f"man/man1/dsvc-{name}.1"), "SYNOPSIS")
    usage = run_dsvc(name, "--help").stdout.partition("\n\n")[0]

    wanted = " ".join(synopsis(*form) for form in forms(name))
    assert shown == wanted
    assert " ".join(usage.removeprefix("usage:").replace("\n   or:", "").split()) == wanted


@needs_groff
def test_a_synopsis_of_every_kind_of_option_survives_roff(tmp_path: Path) -> None:
    line = synopsis("dsvc log", log)
    page = tmp_path / "page.1"
    page.write_text("\n".join(['.TH "T" 1 "" "" ""', ".SH SYNOPSIS", *roff.synopsis("dsvc log", line), ".SH END", ""]))

    assert _section(_render(page), "SYNOPSIS") == line


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_and_argument_is_explained_in_a_sentence(name: str) -> None:
    for _, command in forms(name):
        for parameter in parameters(command):
            assert isinstance(parameter.declared, Option | Argument)
            assert re.fullmatch(r"[A-Z`*].*[.]", parameter.declared.help), parameter.name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example(name: str) -> None:
    assert f"$ dsvc {name}" in (load(name).__doc__ or "")


def test_every_key_is_in_the_manual() -> None:
    page = man.pages()["man5/dsvc-config.5"]

    for key in KEYS.values():
        assert "\\fB\\%" + key.name.replace("-", "\\-") in page or "*" in key.name


def test_pages_that_are_referred_to_are_there() -> None:
    known = {f"{page.stem}({page.suffix[1:]})" for page in PAGES}
    referred = {
        f"{name}({number})"
        for page in PAGES
        for name, number in re.findall(r"\b(dsvc[\w-]*)(?:\\fR)?\((\d)\)", page.read_text().replace("\\-", "-"))
    }

    assert referred <= known


@needs_groff
# Each is a groff of its own.
@settings(max_examples=40)
@given(st.lists(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=60), min_size=1))
def test_any_text_is_shown_as_it_is(lines: list[str]) -> None:
    source = "\n".join(['.TH "T" 1 "" "" ""', ".SH X", *roff.verbatim("\n".join(lines))])
    words = ["groff", "-man", "-ww", "-Tascii", "-P-cbou", "-rLL=200n"]
    ended = subprocess.run(words, input=source + "\n", capture_output=True, text=True, check=True)

    assert ended.stderr == ""
    shown = [line.strip() for line in ended.stdout.splitlines() if line.strip()]
    assert shown[2:-1] == [line.strip() for line in lines if line.strip()]
