"""Writes the man pages that follow from the code: `python -m dsvc.cli.man [--check]`.

One page for each command, from its declarations and docstring; dsvc(1), from the table of
commands; dsvc-config(5), from the known keys. The other pages are written by hand.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from dsvc import __version__
from dsvc.cli import console, roff
from dsvc.cli.commands import COMMANDS, GROUPS, load
from dsvc.cli.errors import EXIT_STATUS
from dsvc.cli.usage import GLOBAL_OPTIONS, argument_terms, forms, option_terms, read_document, synopsis
from dsvc.config import KEYS, Key, format_value

__all__ = ["FOLDER", "main", "pages"]

FOLDER: Final = Path(__file__).parents[2] / "man"
_MANUAL: Final = "dsvc manual"
_NOTICE: Final = r".\" Written by `python -m dsvc.cli.man`; change the code, not this file."


def pages() -> dict[str, str]:
    """Return each generated page by its place under `man/`."""
    written = {f"man1/dsvc-{name}.1": _command_page(name) for name in COMMANDS}
    written["man1/dsvc.1"] = _overview_page()
    written["man5/dsvc-config.5"] = _config_page()
    return {name: "\n".join(lines) + "\n" for name, lines in written.items()}


def _head(name: str, number: int, summary: str) -> list[str]:
    source = f"dsvc {__version__}"
    lowered = summary[:1].lower() + summary[1:]
    name_line = rf"{roff.literal(name)} \- {roff.literal(lowered)}"
    return [_NOTICE, *roff.title(name, number, source, _MANUAL), *roff.section("Name", [name_line])]


def _command_page(name: str) -> list[str]:
    document = read_document(load(name))
    every = forms(name)
    lines = _head(f"dsvc-{name}", 1, document.summary)
    lines += roff.section(
        "Synopsis", [line for form, each in every for line in roff.synopsis(form, synopsis(form, each))]
    )
    lines += roff.section("Description", roff.blocks([f"{document.summary}.", *document.body]))
    own, *subcommands = every
    lines += roff.section("Options", roff.definitions([*argument_terms(own[1]), *option_terms(own[1])]))
    for form, each in subcommands:
        described = read_document(each)
        terms = [*argument_terms(each), *option_terms(each)]
        content = [*roff.blocks([f"{described.summary}.", *described.body]), *roff.definitions(terms)]
        lines += roff.section(roff.literal(form), content)
    if "Examples" in document.sections:
        lines += roff.section("Examples", roff.verbatim(document.sections["Examples"]))
    lines += roff.section("Exit status", _exit_status(document.sections.get("Exit status", "")))
    return lines + _see_also(document.sections.get("See also", ""))


def _exit_status(own: str) -> list[str]:
    terms = [(code, meaning) for code, _, meaning in (line.partition(" ") for line in own.splitlines())]
    return [*roff.definitions(terms), ".PP", "The codes that all commands share are in \\fBdsvc\\fR(1)."]


def _see_also(named: str) -> list[str]:
    names = [page.strip() for page in named.replace("\n", " ").split(",") if page.strip()]
    return roff.section("See also", [", ".join(_page_name(page) for page in ["dsvc(1)", *names])])


def _page_name(page: str) -> str:
    name, _, number = page.partition("(")
    return rf"\fB{roff.literal(name)}\fR({number}"


def _overview_page() -> list[str]:
    lines = _head("dsvc", 1, "version control for datasets")
    usage = "dsvc [-C DIR] [-c KEY=VALUE] [--no-pager] COMMAND [ARG...]"
    lines += roff.section("Synopsis", roff.synopsis("dsvc", usage))
    lines += roff.section("Description", roff.blocks(_DESCRIPTION))
    lines += roff.section("Options", roff.definitions(GLOBAL_OPTIONS))
    lines += roff.section("Commands", _command_list())
    lines += roff.section("Exit status", roff.definitions(EXIT_STATUS))
    lines += roff.section("Environment", roff.definitions(_environment()))
    lines += roff.section("Files", roff.definitions(_FILES))
    return lines + roff.section("See also", [", ".join(_page_name(page) for page in _GUIDES)])


def _command_list() -> list[str]:
    lines = []
    for group, heading in GROUPS.items():
        members = [name for name, entry in COMMANDS.items() if entry.group == group]
        if members:
            lines.append(f".SS {heading[:1].upper()}{heading[1:]}")
        for name in members:
            lines += [".TP", _page_name(f"dsvc-{name}(1)"), roff.inline(COMMANDS[name].summary + ".")]
    return lines


def _environment() -> Iterable[tuple[str, str]]:
    for key in KEYS.values():
        if key.environment:
            yield key.environment, f"Stands above `{key.name}` of the configuration."
    yield from _VARIABLES


def _config_page() -> list[str]:
    lines = _head("dsvc-config", 5, "what can be configured")
    lines += roff.section("Description", roff.blocks(_CONFIGURATION))
    lines += roff.section("Keys", roff.definitions((_key_name(key), _key_text(key)) for key in KEYS.values()))
    lines += roff.section("Examples", roff.verbatim(_EXAMPLE))
    lines += roff.section("Files", roff.definitions(_FILES[:2]))
    return lines + roff.section(
        "See also", [", ".join(map(_page_name, ("dsvc(1)", "dsvc-config(1)", "dsvc-remotes(7)", "dsvc-concepts(7)")))]
    )


def _key_name(key: Key) -> str:
    return key.name.replace("*", "NAME")


def _key_text(key: Key) -> str:
    kind = {bool: "True or false.", int: "A whole number.", tuple: "A list.", str: ""}[key.kind]
    default = f"Default: `{format_value(key.default)}`." if key.default is not None else ""
    variable = f"Environment: `{key.environment}`." if key.environment else ""
    return " ".join(part for part in (key.help, kind, default, variable) if part)


_DESCRIPTION: Final = (
    """dsvc keeps the versions of datasets: folders of any files, of any size and number. Its commands, options and
    habits are git's. It cuts files into chunks by their content, stores each chunk once and compressed, and shares
    them between versions, branches and files.""",
    """A *store* is a folder on any filesystem; a repository's own and a remote have the same layout, and there is no
    server. Everything in a store is written once and never changed, so any number of machines may push at once.""",
    """dsvc-concepts(7) explains the ideas in terms of git's. What commands print on stdout is data; what they say to
    people goes to stderr, and progress only to a terminal.""",
)

_VARIABLES: Final = (
    ("DSVC_DATE", "The time of what is made, as seconds since 1970 or a date of ISO 8601, instead of the clock's."),
    ("DSVC_RUN", "The name of the run that this command is part of, on whatever machine; see dsvc-commit(1)."),
    ("DSVC_USE_ALIAS", "The version that stands for the alias ALIAS, in place of that of dsvc.lock; see dsvc-use(1)."),
    ("DSVC_TRACEBACK", "If set, an error shows where in the code it came from."),
    ("NO_COLOR", "If set, nothing is coloured."),
    ("PAGER, VISUAL, EDITOR", "As in git, where dsvc's own are not set."),
    ("XDG_CONFIG_HOME", "Where the user's configuration is, instead of `~/.config`."),
    ("XDG_STATE_HOME", "Where it is noted what programs have got and used, instead of `~/.local/state`."),
)

_FILES: Final = (
    (".dsvc/config.toml", "Configuration of the repository."),
    ("~/.config/dsvc/config.toml", "Configuration of the user."),
    (".dsvc/store", "Everything that was committed or staged; see dsvc-format(5)."),
    (".dsvcignore", "Patterns of files that are not added, in the syntax of gitignore(5)."),
)

_GUIDES: Final = ("dsvc-concepts(7)", "dsvc-clearml(7)", "dsvc-remotes(7)", "dsvc-config(5)", "dsvc-format(5)")

_CONFIGURATION: Final = (
    "A value comes from the first of these that has one:",
    """- `dsvc -c` *KEY*`=`*VALUE*, for one run
- the environment
- `.dsvc/config.toml` of the repository, or `config.toml` of a bare one
- `~/.config/dsvc/config.toml` of the user
- the default""",
    """The files are TOML: the part of a key before the last dot is a table, the rest a key in it. A key that is not
    listed here is an error, because it would be a spelling mistake that nobody notices. What a repository's file says
    of programs to run, as `core.pager`, counts only if the file is yours or root's.""",
)

_EXAMPLE: Final = """\
# ~/.config/dsvc/config.toml
[user]
name = "Ada Lovelace"
email = "ada@example.org"

[checkout]
link = ["hardlink", "copy"]   # never ask for reflinks
"""


def main(words: list[str]) -> int:
    """Write all pages, or with `--check` only say which are not as they should be."""
    check = words == ["--check"]
    wanted = pages()
    stale = [page for page in sorted(FOLDER.glob("man1/*.1")) if page.relative_to(FOLDER).as_posix() not in wanted]
    changed = [FOLDER / name for name, text in wanted.items() if _content(FOLDER / name) != text]
    for page in (*changed, *stale):
        console.out(
            f"{page.relative_to(FOLDER)}: {'out of date, run `python -m dsvc.cli.man`' if check else 'written'}"
        )
    if check:
        return 1 if changed or stale else 0
    for page in changed:
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(wanted[page.relative_to(FOLDER).as_posix()], "utf-8")
    for page in stale:
        page.unlink()
    return 0


def _content(page: Path) -> str | None:
    return page.read_text("utf-8") if page.exists() else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
