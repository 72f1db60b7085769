"""Configuration: known keys, in layers, the nearest first.

    flag  >  environment  >  repository (.dsvc/config.toml)  >  user  >  default

A layer is a mapping from key to value. This module parses and checks layers and edits files; which
files they are, and what the environment holds, it is told.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from dsvc.errors import InvalidInputError, NotFoundError, StorageError

__all__ = [
    "KEYS",
    "Config",
    "ConfigError",
    "Key",
    "KeyNotSetError",
    "Layer",
    "UnknownKeyError",
    "Value",
    "environment_layer",
    "find_key",
    "format_value",
    "parse_value",
    "read_layer",
    "set_value",
    "unset_value",
]

Value = str | bool | int | tuple[str, ...]
Layer = Mapping[str, Value]


class ConfigError(InvalidInputError):
    """A configuration file or value that cannot be used as it is."""


class UnknownKeyError(ConfigError):
    """No such key; *key* is what was asked for."""

    def __init__(self, key: str, where: str | None = None) -> None:
        super().__init__(f"unknown configuration key {key!r}{f' in {where}' if where else ''}")
        self.key = key


class KeyNotSetError(NotFoundError):
    """A known key that has no value in the file."""


class Key(msgspec.Struct, frozen=True):
    """A key that may be set. `*` in *name* stands for a name that the user gives.

    *choices* are the only words that may be used, if there are any; *environment* is the variable that overrides files.
    """

    name: str
    default: Value | None
    help: str
    environment: str | None = None
    kind: type = str
    choices: tuple[str, ...] = ()
    minimum: int | None = None


_ALL_KEYS: Final = (
    Key("user.name", None, "Your name, for commits and tags.", "DSVC_AUTHOR_NAME"),
    Key("user.email", None, "Your mail address, for commits and tags.", "DSVC_AUTHOR_EMAIL"),
    Key(
        "checkout.link",
        ("reflink", "hardlink", "copy"),
        "How files get from the cache into the worktree: the first of these that works.",
        "DSVC_CHECKOUT_LINK",
        kind=tuple,
        choices=("reflink", "hardlink", "copy"),
    ),
    Key(
        "add.jobs",
        0,
        "Threads that read and pack files; 0 is one for each processor.",
        "DSVC_ADD_JOBS",
        kind=int,
        minimum=0,
    ),
    Key(
        "commit.auto-inputs",
        True,  # noqa: FBT003 (the default of a flag)
        "Whether a commit names what the program that makes it has got or used as its inputs.",
        "DSVC_COMMIT_AUTO_INPUTS",
        kind=bool,
    ),
    Key(
        "commit.record-run",
        None,
        "What a commit says of the program that made it; see dsvc-commit(1).",
        "DSVC_COMMIT_RECORD_RUN",
        kind=tuple,
        choices=("command", "arguments", "git", "host", "user"),
    ),
    Key("core.pager", None, "The program that shows long output; `cat` for none.", "DSVC_PAGER"),
    Key("core.editor", None, "The program that edits messages.", "DSVC_EDITOR"),
    Key(
        "log.keep",
        100,
        "How many earlier values of each branch stay protected, for `dsvc undo` and `dsvc reflog`.",
        "DSVC_LOG_KEEP",
        kind=int,
        minimum=1,
    ),
    Key("commit.stats", None, "Whether `dsvc commit` keeps figures about the files with each commit.", kind=bool),
    Key("pull.rebase", None, "Whether `dsvc pull` puts your commits on top of theirs, and does not merge.", kind=bool),
    Key(
        "pull.ff",
        None,
        "Whether `dsvc pull` moves forward without a commit: `true`, `false` for never, `only` for nothing else.",
        choices=("true", "false", "only"),
    ),
    Key(
        "links.allow",
        None,
        "URLs that links of versions may lead to, as patterns in which `*` is anything, such as `https://data.org/*`.",
        "DSVC_LINKS_ALLOW",
        kind=tuple,
    ),
    Key(
        "cache.dir", None, "The folder of the user's cache, that `dsvc get` fills; see dsvc-cache(1).", "DSVC_CACHE_DIR"
    ),
    Key(
        "cache.max-size",
        None,
        "How much the user's cache may hold, such as `50G`; by default it is never emptied by itself.",
        "DSVC_CACHE_MAX_SIZE",
    ),
    Key(
        "cache.keep",
        "1d",
        "How long what was asked for stays in the user's cache in any case, such as `12h` or `7d`.",
        "DSVC_CACHE_KEEP",
    ),
    Key(
        "cache.shared",
        False,  # noqa: FBT003 -- a value
        "Whether the user's cache is for all members of its folder's group.",
        "DSVC_CACHE_SHARED",
        kind=bool,
    ),
    Key("use.lock", None, "The file that `dsvc use` writes, in place of the nearest `dsvc.lock`.", "DSVC_LOCK"),
    Key(
        "use.record",
        False,  # noqa: FBT003 (the default of a flag)
        "Whether it is told on the remote what `dsvc use` and `dsvc get @ALIAS` use; see dsvc-use(1).",
        "DSVC_RECORD_USE",
        kind=bool,
    ),
    Key("use.run-name", None, "What the work is called that uses it, where that is told.", "DSVC_RUN_NAME"),
    Key(
        "use.record-host",
        False,  # noqa: FBT003 (the default of a flag)
        "Whether the machine is told, too.",
        "DSVC_RECORD_HOST",
        kind=bool,
    ),
    Key("remote.*.url", None, "Where a remote's store is; see dsvc-remotes(7)."),
    Key("remote.*.endpoint", None, "The URL of the service, where it is not the vendor's own."),
    Key("remote.*.region", None, "The region of the bucket."),
    Key("remote.*.profile", None, "The profile with the credentials, in the files of the AWS tools."),
    Key(
        "remote.*.key-file", None, "The file with the credentials: a private key for SSH, a service account's for GCS."
    ),
    Key("remote.*.secret-env", None, "The environment variable with the secret; see dsvc-remotes(7)."),
    Key("remote.*.storage-class", None, "The storage class of what is written."),
    Key("remote.*.anonymous", None, "Whether to come without credentials, as to a public bucket.", kind=bool),
    Key("remote.*.read-only", None, "Whether writing is refused here already.", kind=bool),
    Key(
        "remote.*.single-writer",
        None,
        "Whether nobody else ever writes, so that a store serves that cannot create exclusively.",
        kind=bool,
    ),
    Key("remote.*.promisor", None, "Whether data that is not here is read from it when it is needed.", kind=bool),
    Key(
        "remote.*.shallow",
        None,
        "Whether older versions stay there, promised, and a fetch brings no more of the history than it must.",
        kind=bool,
    ),
    Key("remote.*.mirror", None, "Whether a push makes its branches and tags what they are here.", kind=bool),
    Key(
        "remote.*.fetch",
        None,
        "Where fetched branches come: `tracking`, to NAME/BRANCH; or in a bare repository `branches`, to those of the "
        "same name, which only move forward; or `mirror`, which has the same branches and tags and no others.",
        choices=("tracking", "branches", "mirror"),
    ),
    Key(
        "remote.*.mirror-of",
        None,
        "The remote whose store this one is a copy of; where that cannot be reached, this one is asked.",
    ),
    Key(
        "remote.*.order",
        0,
        "Which remote is asked first for data that several have, and which mirror of one that is away: the lowest.",
        kind=int,
    ),
    Key("remote.*.bandwidth", None, "How many bytes may travel each way in a second, such as `20M`."),
    Key("remote.*.timeout", 30, "How many seconds to wait for an answer.", kind=int, minimum=1),
    Key("remote.*.deadline", 120, "How many seconds to try the same again for.", kind=int, minimum=1),
    Key("branch.*.remote", None, "The remote that a branch is pushed to and pulled from."),
    Key("branch.*.merge", None, "The branch of that remote that a branch follows."),
)

KEYS: Final[dict[str, Key]] = {key.name: key for key in _ALL_KEYS}


def find_key(name: str) -> Key:
    """Return the key that *name* is.

    Raises:
        UnknownKeyError: There is none.
    """
    key = KEYS.get(name) or KEYS.get(_pattern(name))
    if key is None or "*" in name:
        raise UnknownKeyError(name)
    return key


def _pattern(name: str) -> str:
    first, _, rest = name.partition(".")
    middle, _, last = rest.rpartition(".")
    return f"{first}.*.{last}" if middle else name


class Config(msgspec.Struct, frozen=True):
    """All layers together."""

    flags: Layer = {}
    environment: Layer = {}
    repository: Layer = {}
    user: Layer = {}

    def with_repository(self, file: Path) -> "Config":
        """Return this configuration with the repository's layer read from *file*."""
        return msgspec.structs.replace(self, repository=read_layer(file))

    def layers(self) -> Iterator[tuple[str, Layer]]:
        """Yield each layer with its name, the nearest first."""
        yield "flag", self.flags
        yield "environment", self.environment
        yield "repository", self.repository
        yield "user", self.user

    def get(self, name: str) -> Value | None:
        """Return the value of the key *name* in the nearest layer that has one, or its default."""
        key = find_key(name)
        return next((layer[name] for _, layer in self.layers() if name in layer), key.default)

    def origin(self, name: str) -> str:
        """Return the name of the layer that the value of *name* comes from."""
        return next((layer for layer, values in self.layers() if name in values), "default")

    def items(self) -> Iterator[tuple[str, Value]]:
        """Yield each key that has a value, with it, in alphabetical order."""
        names = {name for name, key in KEYS.items() if key.default is not None and "*" not in name}
        names.update(*(layer for _, layer in self.layers()))
        for name in sorted(names):
            value = self.get(name)
            if value is not None:
                yield name, value

    def text(self, name: str) -> str | None:
        """Return the value of a key that holds text."""
        value = self.get(name)
        return None if value is None else str(value)

    def number(self, name: str) -> int:
        """Return the value of a key that holds a number."""
        value = self.get(name)
        return value if isinstance(value, int) else 0

    def flag(self, name: str) -> bool:
        """Return the value of a key that is true or false."""
        return self.get(name) is True

    def words(self, name: str) -> tuple[str, ...]:
        """Return the value of a key that holds a list."""
        value = self.get(name)
        return value if isinstance(value, tuple) else ()

    def upstream(self, branch: str) -> tuple[str, str]:
        """Return the remote and its branch that *branch* follows: by default the same name of `origin`."""
        remote = self.text(f"branch.{branch}.remote") or "origin"
        return remote, self.text(f"branch.{branch}.merge") or branch

    def promisors(self) -> list[str]:
        """Return the names of the remotes that data is read from when it is needed, in the order to ask them."""
        names = [name for name in self.remotes() if self.flag(f"remote.{name}.promisor")]
        mirrors = [mirror for name in names for mirror in self.mirrors_of(name)]
        return self._in_order(dict.fromkeys([*names, *mirrors]))

    def mirrors_of(self, remote: str) -> list[str]:
        """Return the names of the remotes that stand in for *remote*, in the order to ask them."""
        return self._in_order(name for name in self.remotes() if self.text(f"remote.{name}.mirror-of") == remote)

    def _in_order(self, remotes: Iterable[str]) -> list[str]:
        return sorted(remotes, key=lambda name: self.number(f"remote.{name}.order"))

    def remotes(self) -> dict[str, str]:
        """Return the address of each remote by its name."""
        return {
            name.removeprefix("remote.").removesuffix(".url"): str(value)
            for name, value in self.items()
            if name.startswith("remote.") and name.endswith(".url")
        }


# As git reads them.
_FLAGS: Final = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


def parse_value(name: str, text: str) -> Value:
    """Return the value that *text* is for the key *name*; lists have commas between their words.

    Raises:
        UnknownKeyError: There is no such key.
        ConfigError: It cannot have that value.
    """
    key = find_key(name)
    raw: object = text
    if key.kind is int:
        raw = int(text) if text.removeprefix("-").isdecimal() else text
    elif key.kind is bool:
        raw = _FLAGS.get(text.lower(), text)
    elif key.kind is tuple:
        raw = [word.strip() for word in text.split(",") if word.strip()]
    return _checked(key, name, raw)


def format_value(value: Value) -> str:
    """Return *value* as `parse_value` reads it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _checked(key: Key, name: str, raw: object) -> Value:
    problem = _PROBLEMS[key.kind](key, raw)
    if problem:
        message = f"{name} {problem}"
        raise ConfigError(message)
    return tuple(raw) if isinstance(raw, list) else raw  # type: ignore[return-value]  # the problem would be its type


def _text_problem(key: Key, raw: object) -> str | None:
    if not isinstance(raw, str):
        return f"must be text, not {raw!r}"
    if key.choices and raw not in key.choices:
        return f"cannot be {raw!r}: choose from {', '.join(key.choices)}"
    if not raw.strip() or not raw.isprintable():
        return f"cannot be {raw!r}: it is empty or holds control characters"
    return None


def _number_problem(key: Key, raw: object) -> str | None:
    if not isinstance(raw, int) or isinstance(raw, bool):
        return f"must be a whole number, not {raw!r}"
    if key.minimum is not None and raw < key.minimum:
        return f"cannot be {raw}: the least is {key.minimum}"
    return None


def _flag_problem(_key: Key, raw: object) -> str | None:
    return None if isinstance(raw, bool) else f"must be true or false, not {raw!r}"


def _words_problem(key: Key, raw: object) -> str | None:
    if not isinstance(raw, list) or not raw:
        return f"must be a list of words, not {raw!r}"
    if not key.choices:
        return next((text for word in raw if (text := _text_problem(key, word))), None)
    wrong = next((word for word in raw if word not in key.choices), None)
    return f"cannot be {wrong!r}: choose from {', '.join(key.choices)}" if wrong is not None else None


_PROBLEMS: Final[dict[type, Callable[[Key, object], str | None]]] = {
    str: _text_problem,
    bool: _flag_problem,
    int: _number_problem,
    tuple: _words_problem,
}


def environment_layer(environment: Mapping[str, str]) -> Layer:
    """Return the layer that the variables of *environment* make."""
    layer: dict[str, Value] = {}
    for key in _ALL_KEYS:
        if key.environment and (text := environment.get(key.environment)):
            try:
                layer[key.name] = parse_value(key.name, text)
            except ConfigError as error:
                message = f"{key.environment}: {error}"
                raise ConfigError(message) from error
    return layer


def read_layer(file: Path) -> Layer:
    """Return the layer in *file*; a file that is not there is an empty layer.

    Raises:
        UnknownKeyError: It sets a key that does not exist.
        ConfigError: It is not TOML, or a value does not fit its key.
        StorageError: It cannot be read.
    """
    return _parse_layer(_read(file), str(file))


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        message = f"{file} is not UTF-8"
        raise ConfigError(message) from error
    except OSError as error:
        message = f"cannot read {file}: {error.strerror}"
        raise StorageError(message) from error


def _parse_layer(text: str, where: str) -> Layer:
    # tomllib costs 3 ms; most repositories set nothing.
    if not any(line.strip() and not line.lstrip().startswith("#") for line in text.splitlines()):
        return {}
    import tomllib

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = f"{where} is not TOML: {error}"
        raise ConfigError(message) from error
    try:
        return {name: _checked(find_key(name), name, value) for name, value in _flatten(document)}
    except UnknownKeyError as error:
        raise UnknownKeyError(error.key, where) from error
    except ConfigError as error:
        message = f"{where}: {error}"
        raise ConfigError(message) from error


def _flatten(table: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def set_value(file: Path, name: str, value: Value) -> None:
    """Set the key *name* to *value* in *file*, leaving all else in it as it is, and durably.

    Raises:
        ConfigError: The file writes the key in a way that cannot be edited line by line.
    """
    key = find_key(name)
    _edit(file, name, _checked(key, name, list(value) if isinstance(value, tuple) else value))


def unset_value(file: Path, name: str) -> None:
    """Remove the key *name* from *file*.

    Raises:
        KeyNotSetError: It is not set there.
        ConfigError: The file writes the key in a way that cannot be edited line by line.
    """
    find_key(name)
    if name not in read_layer(file):
        message = f"{name} is not set in {file}"
        raise KeyNotSetError(message)
    _edit(file, name, None)


def _edit(file: Path, name: str, value: Value | None) -> None:
    from dsvc.toml_edit import edit_toml  # only for the command that writes

    text = _read(file)
    wanted = dict(_parse_layer(text, str(file)))
    if value is None:
        del wanted[name]
    else:
        wanted[name] = value
    edited = edit_toml(text, name, value)
    # The editor knows lines, not TOML; this says whether it was right.
    try:
        right = _parse_layer(edited, str(file)) == wanted
    except ConfigError:
        right = False
    if not right:
        message = f"{file} writes {name} in a way that dsvc cannot change; edit it by hand"
        raise ConfigError(message)
    _replace(file, edited)


def _replace(file: Path, text: str) -> None:
    # A link to the real file, as people who keep their settings elsewhere have, stays a link.
    target = file.resolve()
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as stream:
            if target.exists():
                os.fchmod(stream.fileno(), target.stat().st_mode & 0o777)
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        message = f"cannot write {file}: {error.strerror}"
        raise StorageError(message) from error
