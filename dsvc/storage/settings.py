"""How one remote is reached, as its configuration says.

The configuration is read by others, so it holds no secrets: it names the profile, the file or the
environment variable that does.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from dsvc.config import Config
from dsvc.errors import InvalidInputError

__all__ = ["NO_SETTINGS", "BadRateError", "Secret", "Settings", "parse_rate", "read_settings"]

_RATE: Final = re.compile(r"(?P<number>[0-9]+(\.[0-9]+)?) ?(?P<unit>[KMG]?)(i?B)?(/s)?", re.IGNORECASE)
_UNITS: Final = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}


class BadRateError(InvalidInputError):
    """Text that says no rate."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text!r} is no rate in bytes per second, such as 500K or 20M")


class Secret(str):
    """Text that is not shown."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class Settings(msgspec.Struct, frozen=True):
    """What applies to one remote, all of it optional.

    *bandwidth* is in bytes per second, each way; *timeout* is how long one answer may take, and *deadline* how
    long an operation is tried again, in seconds. *mirror* and *order* are for whoever chooses among remotes.
    """

    endpoint: str | None = None
    region: str | None = None
    profile: str | None = None
    storage_class: str | None = None
    key_file: str | None = None
    secret: Secret | None = None
    anonymous: bool = False
    read_only: bool = False
    single_writer: bool = False
    mirror: bool = False
    order: int = 0
    bandwidth: int | None = None
    timeout: int = 30
    deadline: int = 120


NO_SETTINGS: Final = Settings()


def parse_rate(text: str) -> int:
    """Return the bytes per second that *text* means: a number, and K, M or G for powers of 1024.

    Raises:
        BadRateError: It means none, or nothing at all could travel.
    """
    found = _RATE.fullmatch(text.strip())
    rate = int(float(found["number"]) * _UNITS[found["unit"].upper()]) if found else 0
    if rate < 1:
        raise BadRateError(text)
    return rate


def read_settings(config: Config, name: str, environment: Mapping[str, str]) -> Settings:
    """Return what *config* says of the remote *name*; variables that it names are looked up in *environment*.

    Raises:
        BadRateError: Its bandwidth is none.
        InvalidInputError: A variable that it names is not set.
    """

    def text(key: str) -> str | None:
        return config.text(f"remote.{name}.{key}")

    def flag(key: str) -> bool:
        return config.flag(f"remote.{name}.{key}")

    variable, rate = text("secret-env"), text("bandwidth")
    if variable is not None and not environment.get(variable):
        message = f"remote.{name}.secret-env names the environment variable {variable}, which is not set"
        raise InvalidInputError(message)
    return Settings(
        endpoint=text("endpoint"),
        region=text("region"),
        profile=text("profile"),
        storage_class=text("storage-class"),
        key_file=text("key-file"),
        secret=None if variable is None else Secret(environment[variable]),
        anonymous=flag("anonymous"),
        read_only=flag("read-only"),
        single_writer=flag("single-writer"),
        mirror=flag("mirror"),
        order=config.number(f"remote.{name}.order"),
        bandwidth=None if rate is None else parse_rate(rate),
        timeout=config.number(f"remote.{name}.timeout") or NO_SETTINGS.timeout,
        deadline=config.number(f"remote.{name}.deadline") or NO_SETTINGS.deadline,
    )
