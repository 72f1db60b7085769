"""Reads words of a command line by the declarations of `options`, with git's habits.

Options and arguments may be mixed, short flags joined (`-am`), long names shortened as long as
one fits, flags negated (`--no-verify`). `--` ends the options.
"""

import os
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Final, Literal, Union, get_args, get_origin

import msgspec

from dsvc.cli.errors import UsageError
from dsvc.cli.options import Argument, Option
from dsvc.errors import InvalidInputError

__all__ = ["Command", "HelpRequested", "Parameter", "parameters", "parse", "split_names"]

Command = Callable[..., int | None]
Convert = Callable[[str], object]

_HELP: Final = ("-h", "--help")


class HelpRequested(Exception):  # noqa: N818 (not an error: the user asked for it)
    """The words ask for the help of the command instead."""


class Parameter(msgspec.Struct, frozen=True):
    """One parameter of a command's function, as the command line sees it."""

    name: str
    declared: Option | Argument
    convert: Convert
    is_flag: bool
    is_repeated: bool
    is_required: bool
    default: object
    choices: tuple[str, ...]
    value_name: str

    @property
    def is_after_dashes(self) -> bool:
        """Whether this argument takes only what stands after `--`."""
        return isinstance(self.declared, Argument) and self.declared.after_dashes

    @property
    def takes_value(self) -> bool:
        """Whether a mention of this option comes with a value."""
        return not (self.is_flag or (isinstance(self.declared, Option) and self.declared.count))


def parameters(command: Command) -> tuple[Parameter, ...]:
    """Return what *command* declares, in its order."""
    # Not inspect.signature: it takes longer than all the rest of this module.
    code = command.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    positional = command.__defaults__ or ()
    defaults = dict(zip(names[code.co_argcount - len(positional) : code.co_argcount], positional, strict=True))
    defaults.update(command.__kwdefaults__ or {})
    annotations = command.__annotations__
    # Where paths may stand among revisions, a word need not be text.
    any_bytes = any(_is_after_dashes(annotations[name]) for name in names)
    return tuple(_parameter(name, annotations[name], defaults, any_bytes=any_bytes) for name in names)


def _is_after_dashes(annotation: object) -> bool:
    declared = get_args(annotation)[-1]
    return isinstance(declared, Argument) and declared.after_dashes


def _parameter(name: str, annotation: object, defaults: dict[str, object], *, any_bytes: bool) -> Parameter:
    if get_origin(annotation) is not Annotated:
        message = f"parameter {name!r} is not declared as an option or an argument"
        raise TypeError(message)
    kind, declared = get_args(annotation)
    # `Literal[...] | None` is a typing.Union, `str | None` a types.UnionType.
    if get_origin(kind) in (types.UnionType, Union):
        (kind,) = (choice for choice in get_args(kind) if choice is not type(None))
    is_repeated = get_origin(kind) is tuple
    if is_repeated:
        kind = get_args(kind)[0]
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    return Parameter(
        name=name,
        declared=declared,
        convert=declared.parse or _converter(kind, choices, any_bytes=any_bytes and isinstance(declared, Argument)),
        is_flag=kind is bool,
        is_repeated=is_repeated,
        is_required=name not in defaults,
        default=defaults.get(name),
        choices=choices,
        value_name=declared.metavar or ("|".join(choices) if choices else _VALUE_NAMES.get(kind, "VALUE")),
    )


_VALUE_NAMES: Final[dict[object, str]] = {int: "N", float: "NUMBER", Path: "FILE", bytes: "PATH", str: "TEXT"}


def _converter(kind: object, choices: tuple[str, ...], *, any_bytes: bool) -> Convert:
    if choices:
        return lambda word: _choose(word, choices)
    if kind is str and any_bytes:
        return _lenient_text
    return _CONVERTERS[kind]


def _choose(word: str, choices: tuple[str, ...]) -> str:
    if word not in choices:
        message = f"`{word}` is none of {', '.join(choices)}"
        raise ValueError(message)
    return word


def _text(word: str) -> str:
    try:
        return os.fsencode(word).decode()
    except UnicodeDecodeError:
        message = f"{os.fsencode(word)!r} is not UTF-8"
        raise ValueError(message) from None


def _lenient_text(word: str) -> str:
    return os.fsencode(word).decode("utf-8", "surrogateescape")


def _whole_number(word: str) -> int:
    try:
        return int(word)
    except ValueError:
        message = f"`{word}` is not a whole number"
        raise ValueError(message) from None


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        message = f"`{word}` is not a number"
        raise ValueError(message) from None


def _path(word: str) -> Path:
    # The working folder is `.`; nothing at all is a variable of a script that is not set.
    if not word:
        message = "'' names no file or folder"
        raise ValueError(message)
    return Path(word)


_CONVERTERS: Final[dict[object, Convert]] = {
    str: _text,
    bytes: os.fsencode,
    Path: _path,
    int: _whole_number,
    float: _number,
    bool: bool,
}


def split_names(option: Option) -> tuple[list[str], list[str]]:
    """Return the short and the long names of *option*."""
    long = [name for name in option.names if name.startswith("--")]
    return [name for name in option.names if name not in long], long


def parse(command: Command, words: list[str]) -> dict[str, object]:
    """Return the arguments to call *command* with.

    Raises:
        UsageError: The words do not fit its declarations.
        HelpRequested: They ask for help.
    """
    return _Reader(parameters(command)).read(words)


class _Reader:
    """One reading of one command line."""

    def __init__(self, declared: tuple[Parameter, ...]) -> None:
        self._arguments = [parameter for parameter in declared if isinstance(parameter.declared, Argument)]
        self._options = [parameter for parameter in declared if isinstance(parameter.declared, Option)]
        self._names = {name: parameter for parameter in self._options for name in _option(parameter).names}
        self._values: dict[str, object] = {}
        self._positional: list[str] = []

    def read(self, words: list[str]) -> dict[str, object]:
        remaining = iter(words)
        for word in remaining:
            if word == "--":
                self._end_options(list(remaining))
            elif word.startswith("--"):
                self._read_long(word, remaining)
            elif word.startswith("-") and word != "-":
                self._read_short(word, remaining)
            else:
                self._positional.append(word)
        self._assign_arguments()
        for parameter in self._options:
            if parameter.is_required and parameter.name not in self._values:
                message = f"option `{_option(parameter).names[-1]}` is needed"
                raise UsageError(message)
        return self._values

    def _end_options(self, words: list[str]) -> None:
        for parameter in self._arguments:
            if parameter.is_after_dashes:
                self._values[parameter.name] = tuple(_convert(parameter, word, parameter.value_name) for word in words)
                return
        self._positional += words

    def _read_long(self, word: str, remaining: Iterator[str]) -> None:
        name, equals, value = word.partition("=")
        parameter, name, negated = self._find_long(name)
        if not parameter.takes_value:
            if equals:
                message = f"option `{name}` takes no value"
                raise UsageError(message)
            self._mention(parameter, negated=negated)
        elif equals:
            self._store(parameter, name, value)
        elif _option(parameter).bare is not None:
            self._values[parameter.name] = _option(parameter).bare
        else:
            self._store(parameter, name, _next_value(name, remaining))

    def _find_long(self, name: str) -> tuple[Parameter, str, bool]:
        """Return the option that *name* stands for, its whole name, and whether it is negated."""
        names = [long for long in self._names if long.startswith("--")]
        negations = {_negated(long): long for long in names if self._names[long].is_flag}
        known = [*names, *(long for long in negations if long not in names)]
        fitting = [name] if name in known else [long for long in (*known, "--help") if long.startswith(name)]
        if fitting == ["--help"] and "--help" not in known:
            raise HelpRequested
        if not fitting:
            message = f"unknown option `{name}`"
            raise UsageError(message, similar=(name, names))
        if len(fitting) > 1:
            message = f"option `{name}` is ambiguous: {', '.join(sorted(fitting))}"
            raise UsageError(message)
        whole = fitting[0]
        if whole in self._names:
            return self._names[whole], whole, False
        return self._names[negations[whole]], whole, True

    def _read_short(self, word: str, remaining: Iterator[str]) -> None:
        if word[1:].isdecimal() and (counter := self._digits_option()) is not None:
            self._store(counter, word, word[1:])
            return
        for place, letter in enumerate(word[1:], 2):
            name = f"-{letter}"
            parameter = self._names.get(name)
            if parameter is None:
                if name in _HELP:
                    raise HelpRequested
                message = f"unknown option `{name}`" if len(word) == 2 else f"unknown option `{name}` in `{word}`"
                raise UsageError(message, similar=(f"-{word}", self._names))
            if not parameter.takes_value:
                self._mention(parameter, negated=False)
                continue
            attached = word[place:]
            if not attached and _option(parameter).bare is not None:
                self._values[parameter.name] = _option(parameter).bare
            else:
                self._store(parameter, name, attached or _next_value(name, remaining))
            return

    def _digits_option(self) -> Parameter | None:
        return next((parameter for parameter in self._options if _option(parameter).digits), None)

    def _mention(self, parameter: Parameter, *, negated: bool) -> None:
        if parameter.is_flag:
            self._values[parameter.name] = not negated
        else:
            count = self._values.get(parameter.name, 0)
            self._values[parameter.name] = count + 1 if isinstance(count, int) else 1

    def _store(self, parameter: Parameter, name: str, word: str) -> None:
        value = _convert(parameter, word, name)
        if parameter.is_repeated:
            earlier = self._values.get(parameter.name, ())
            self._values[parameter.name] = (*earlier, value) if isinstance(earlier, tuple) else (value,)
        else:
            self._values[parameter.name] = value

    def _assign_arguments(self) -> None:
        arguments = [each for each in self._arguments if not each.is_after_dashes]
        words = self._positional
        spare = len(words) - sum(each.is_required for each in arguments)
        if spare < 0:
            missing = [each.value_name for each in arguments if each.is_required][len(words) :]
            message = f"missing argument {missing[0]}"
            raise UsageError(message)
        position = 0
        for parameter in arguments:
            optional = spare if parameter.is_repeated else min(spare, 0 if parameter.is_required else 1)
            taken = words[position : position + parameter.is_required + optional]
            position += len(taken)
            spare -= optional
            if not taken:
                continue
            values = tuple(_convert(parameter, word, parameter.value_name) for word in taken)
            self._values[parameter.name] = values if parameter.is_repeated else values[0]
        if position < len(words):
            message = f"unexpected argument `{words[position]}`"
            raise UsageError(message)


def _option(parameter: Parameter) -> Option:
    if not isinstance(parameter.declared, Option):
        message = f"{parameter.name} is not an option"
        raise TypeError(message)
    return parameter.declared


def _negated(long: str) -> str:
    return f"--{long[5:]}" if long.startswith("--no-") else f"--no-{long[2:]}"


def _next_value(name: str, remaining: Iterator[str]) -> str:
    for word in remaining:
        return word
    message = f"option `{name}` needs a value"
    raise UsageError(message)


def _convert(parameter: Parameter, word: str, where: str) -> object:
    try:
        return parameter.convert(word)
    except (ValueError, InvalidInputError) as error:
        message = f"{where}: {error}"
        raise UsageError(message) from error
