"""Help as plain text, from what a command declares and from its docstring.

`man` writes the same content as roff; both take the synopsis from here.
"""

import os
import textwrap
from collections.abc import Iterator, Mapping
from inspect import getdoc
from typing import Final

import msgspec

from dsvc.cli.commands import COMMANDS, GROUPS, load, load_subcommands
from dsvc.cli.options import Argument, Option
from dsvc.cli.parser import Command, Parameter, parameters, split_names
from dsvc.cli.roff import plain

__all__ = [
    "GLOBAL_OPTIONS",
    "Document",
    "argument_terms",
    "forms",
    "help_text",
    "option_terms",
    "overview",
    "read_document",
    "synopsis",
]

_WIDTH: Final = 80
_SECTIONS: Final = ("Examples", "Exit status", "See also")

GLOBAL_OPTIONS: Final = (
    ("-C DIR", "Act as if started in *DIR*."),
    ("-c KEY=VALUE", "Let *VALUE* stand above all configuration for this run."),
    ("--no-pager", "Print long output as it is."),
    ("--version", "Show the version."),
    ("-h, --help", "Show this help, or that of the command it follows."),
)


class Document(msgspec.Struct, frozen=True):
    """A docstring in parts: its first line, its blocks of text, and its named sections."""

    summary: str
    body: tuple[str, ...]
    sections: Mapping[str, str]


def read_document(command: Command) -> Document:
    """Return the parts of the docstring of *command*."""
    summary, _, rest = (getdoc(command) or "").partition("\n")
    body: list[str] = []
    sections: dict[str, str] = {}
    for block in rest.strip("\n").split("\n\n"):
        title, _, content = block.partition("\n")
        if title.endswith(":") and title[:-1] in _SECTIONS:
            sections[title[:-1]] = textwrap.dedent(content)
        elif sections and block.startswith(" "):
            last = list(sections)[-1]
            sections[last] += "\n\n" + textwrap.dedent(block)
        elif block:
            body.append(block)
    return Document(summary.rstrip("."), tuple(body), sections)


def forms(name: str) -> list[tuple[str, Command]]:
    """Return each way to call the command *name*: itself and its subcommands, with their functions."""
    subcommands = load_subcommands(name).items()
    return [(f"dsvc {name}", load(name)), *((f"dsvc {name} {word}", command) for word, command in subcommands)]


def synopsis(form: str, command: Command) -> str:
    """Return the one line that shows all that *command*, called as *form*, takes."""
    declared = parameters(command)
    words = [form]
    words += [_option_word(each) for each in declared if isinstance(each.declared, Option) and not each.declared.hidden]
    arguments = [each for each in declared if isinstance(each.declared, Argument)]
    dashed = any(each.is_after_dashes for each in arguments)
    if arguments and not dashed and any(each.is_repeated for each in arguments):
        words.append("[--]")
    words += [_argument_word(each) for each in arguments]
    return " ".join(words)


def _option_word(parameter: Parameter) -> str:
    terms = _spellings(parameter)
    word = terms[0]
    repeat = "..." if parameter.is_repeated else ""
    return f"{word}{repeat}" if parameter.is_required else f"[{word}]{repeat}"


def _argument_word(parameter: Parameter) -> str:
    dots = "..." if parameter.is_repeated else ""
    if parameter.is_after_dashes:
        return f"[--] [{parameter.value_name}{dots}]"
    return f"{parameter.value_name}{dots}" if parameter.is_required else f"[{parameter.value_name}{dots}]"


def _spellings(parameter: Parameter) -> list[str]:
    """Return each name of an option as it is typed, with its value."""
    declared = parameter.declared
    if not isinstance(declared, Option):
        return []
    short, long = split_names(declared)
    if parameter.is_flag and parameter.default is not False:
        # It is on already, so what there is to type is the negation.
        return [*(f"--[no-]{name[2:]}" for name in long), *short]
    if not parameter.takes_value:
        return short + long
    value = parameter.value_name
    if declared.bare is not None:
        return [f"{name}[{value}]" for name in short] + [f"{name}[={value}]" for name in long]
    attached = [f"-{value}"] if declared.digits else []
    return attached + [f"{name} {value}" for name in short] + [f"{name}={value}" for name in long]


def option_terms(command: Command) -> Iterator[tuple[str, str]]:
    """Yield each option of *command* as it is typed, and its help."""
    for parameter in parameters(command):
        if isinstance(parameter.declared, Option) and not parameter.declared.hidden:
            yield ", ".join(_spellings(parameter)), parameter.declared.help + _default(parameter)


def argument_terms(command: Command) -> Iterator[tuple[str, str]]:
    """Yield each argument of *command* and its help."""
    for parameter in parameters(command):
        if isinstance(parameter.declared, Argument):
            yield parameter.value_name, parameter.declared.help


def _default(parameter: Parameter) -> str:
    if parameter.choices and isinstance(parameter.default, str) and parameter.default:
        return f" Default: `{parameter.default}`."
    return ""


def help_text(name: str) -> str:
    """Return the help of the command *name*."""
    command = load(name)
    document = read_document(command)
    every = forms(name)
    leads = ["usage: ", *["   or: "] * (len(every) - 1)]
    lines = [_wrap_synopsis(synopsis(*form), lead) for form, lead in zip(every, leads, strict=True)]
    lines += ["", f"{document.summary}."]
    for block in document.body:
        lines += ["", _wrap(block)]
    for form, each in every:
        if each is not command:
            lines += ["", f"{form}: {read_document(each).summary}."]
        lines += _definitions(argument_terms(each), option_terms(each))
    for title in ("Examples", "Exit status", "See also"):
        if title in document.sections:
            lines += ["", f"{title}:", textwrap.indent(document.sections[title], "  ")]
    return "\n".join(lines)


def _definitions(*groups: Iterator[tuple[str, str]]) -> list[str]:
    lines = []
    for terms in groups:
        block = [_wrap_term(term, help_) for term, help_ in terms]
        lines += ["", *block] if block else []
    return lines


def _wrap_term(term: str, help_: str) -> str:
    indent = " " * 22
    text = _fill(help_, indent, indent)
    head = f"  {term}"
    return head.ljust(22) + text.lstrip() if len(head) < 21 else f"{head}\n{text}"


def _wrap(block: str) -> str:
    if block.startswith(" "):
        return block
    if block.startswith("- "):
        items = block.removeprefix("- ").split("\n- ")
        return "\n".join(_fill(item, "  - ", "    ") for item in items)
    return _fill(block)


def _fill(text: str, first: str = "", rest: str = "") -> str:
    return textwrap.fill(plain(" ".join(text.split())), _WIDTH, initial_indent=first, subsequent_indent=rest)


def _wrap_synopsis(text: str, lead: str) -> str:
    # A word in brackets is not broken.
    kept = text.replace(" [", "\n[").replace("\n", " \n")
    lines, indent = [lead], " " * (len(lead) + 5)
    for word in kept.split("\n"):
        if len(lines[-1]) + len(word.rstrip()) > _WIDTH:
            lines.append(indent)
        lines[-1] += word
    return "\n".join(line.rstrip() for line in lines)


def overview() -> str:
    """Return the help of dsvc itself: every command, by what it is for."""
    lines = ["usage: dsvc [-C DIR] [-c KEY=VALUE] [--no-pager] COMMAND [ARG...]"]
    for group, title in GROUPS.items():
        members = [(name, entry.summary) for name, entry in COMMANDS.items() if entry.group == group]
        if members:
            lines += ["", title, *(f"   {name.ljust(11)} {summary}" for name, summary in members)]
    lines += ["", "`dsvc COMMAND --help` or `man dsvc-COMMAND` explains a command, `man dsvc-concepts` the ideas."]
    return os.linesep.join(lines)
