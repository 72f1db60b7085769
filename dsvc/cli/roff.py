r"""Text with light marks as roff, for man(7), and as plain text.

The marks are those of the docstrings: `literal` becomes bold, *placeholder* italic. It knows
nothing of commands.
"""

import re
from collections.abc import Iterable
from typing import Final

__all__ = ["blocks", "definitions", "inline", "literal", "plain", "section", "synopsis", "title", "verbatim"]

# `literal`, *placeholder*, and the name of a page before its section.
_MARKED: Final = re.compile(r"`([^`]+)`|(?<![\w*])\*([^*\s][^*]*)\*(?![\w*])|\b([a-z][\w-]*)(?=\([157]\))")

# Those that a terminal would otherwise show as typographic quotes, hyphens and accents.
_GLYPHS: Final = str.maketrans({"\\": r"\e", "-": r"\-", "'": r"\(aq", "^": r"\(ha", "~": r"\(ti", "`": r"\(ga"})

# What stands for a value in a synopsis: the rest is typed as it is.
_PLACEHOLDER: Final = re.compile(r"[A-Z][A-Z0-9_]*")


def literal(text: str) -> str:
    """Return *text* so that it is shown as it is."""
    return _guarded(text.translate(_GLYPHS))


def plain(text: str) -> str:
    """Return *text* without its marks."""
    return _MARKED.sub(lambda match: match.group(1) or match.group(2) or match.group(3), text)


def inline(text: str) -> str:
    """Return *text*, in one line, with its marks as fonts."""
    words, end = [], 0
    joined = " ".join(text.split())
    for match in _MARKED.finditer(joined):
        words.append(joined[end : match.start()].translate(_GLYPHS))
        code, placeholder, page = match.groups()
        words.append(rf"\fI{placeholder.translate(_GLYPHS)}\fR" if placeholder else _bold(code or page))
        end = match.end()
    words.append(joined[end:].translate(_GLYPHS))
    return _guarded("".join(words))


def _guarded(line: str) -> str:
    # At the start of a line both would be a request.
    return rf"\&{line}" if line.startswith((".", "'")) else line


def title(name: str, number: int, source: str, manual: str) -> list[str]:
    """Return the head of the page *name* in the section *number* of the *manual*."""
    # No date: a page is the same whenever it is written. No spaces put in to fill a line.
    return [f'.TH "{literal(name.upper())}" {number} "" "{literal(source)}" "{literal(manual)}"', ".ad l"]


def section(heading: str, lines: Iterable[str]) -> list[str]:
    """Return a section, or nothing if it has no lines."""
    content = list(lines)
    return [f".SH {heading.upper()}", *content] if content else []


def blocks(texts: Iterable[str]) -> list[str]:
    """Return paragraphs, lists (lines that start with "- ") and indented examples."""
    lines: list[str] = []
    for text in texts:
        if text.startswith(" "):
            lines += [".PP", *verbatim(text)]
        elif text.startswith("- "):
            for item in text.removeprefix("- ").split("\n- "):
                lines += [r".IP \(bu 2", inline(item)]
        else:
            lines += [".PP", inline(text)]
    return lines


def definitions(terms: Iterable[tuple[str, str]]) -> list[str]:
    """Return a list of (term as typed, explanation)."""
    lines = []
    for term, explanation in terms:
        lines += [".TP", _typed(term), inline(explanation)]
    return lines


def verbatim(text: str) -> list[str]:
    """Return *text* line by line as it is."""
    return [".EX", *(literal(line) for line in text.splitlines()), ".EE"]


def synopsis(form: str, text: str) -> list[str]:
    """Return the line *text*, that starts with the command *form*, as a synopsis."""
    # An option and its value stay together; in groff that is what `\~` is for.
    words = re.findall(r"\[[^\]]*\[[^\]]*\][^\]]*\]\S*|\[[^\]]*\]\S*|\S+", text.removeprefix(form))
    return [f'.SY "{literal(form)}"', *(_typed(word).replace(" ", r"\~") for word in words), ".YS"]


def _typed(term: str) -> str:
    parts, end = [], 0
    for match in _PLACEHOLDER.finditer(term):
        parts.append(_bold_words(term[end : match.start()]))
        parts.append(rf"\fI{match.group()}\fR" if _is_placeholder(term, match) else _bold(match.group()))
        end = match.end()
    parts.append(_bold_words(term[end:]))
    # Within a word, the mark against hyphens would be a place for one.
    return _guarded(re.sub(r"(?:(?<=[]=|])|(?<=-\\fR\[))(\\fB)\\%", r"\1", "".join(parts)))


def _is_placeholder(term: str, match: re.Match[str]) -> bool:
    # The A of `-A` is typed; so is a variable, which is all of its term.
    return not term[: match.start()].endswith("-") and (match.group() != term or "_" not in term)


def _bold_words(text: str) -> str:
    return re.sub(r"[^\s\[\]|,=]+", lambda match: _bold(match.group()) if match.group() != "..." else "...", text)


def _bold(text: str) -> str:
    # What is typed has no hyphens put into it.
    words = re.sub(r"(?<!\S)(?=\w)", "\N{NULL}", text).translate(_GLYPHS).replace("\N{NULL}", r"\%")
    return rf"\fB{words}\fR"
