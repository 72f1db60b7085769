"""The numbers of versions: their order, and which one comes next.

A number is SemVer's `1.2.0`, `1.2.0-rc.1` and `1.2.0+build`, of any number of parts, or PEP 440's `1.2rc1`,
`1.2.dev3` and `1.2.post1`; a `v` may stand before it. Whatever else a version is called has its place
too, below all numbers: no name is an error.
"""

import re
from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

__all__ = ["Number", "Part", "next_number", "parse_number", "version_key", "version_order"]

Part = Literal["major", "minor", "patch"]

_RUN: Final = re.compile(r"[0-9]+|[^0-9]+")
# Python refuses to read numbers of many thousands of digits.
_NUMBER: Final = re.compile(
    r"(?P<prefix>[vV]?)(?P<release>[0-9]{1,1000}(?:\.[0-9]{1,1000})*)"
    r"(?:-(?P<label>[A-Za-z][0-9A-Za-z.-]*)"
    r"|[._-]?(?P<word>(?:alpha|beta|preview|pre|rc|dev|post|a|b|c)[._-]?[0-9]*))?"
    r"(?:\+[0-9A-Za-z.-]+)?"
)
_PARTS: Final[dict[Part, int]] = {"major": 0, "minor": 1, "patch": 2}
_FIRST: Final = (1, 0, 0)
# Of one release: what is in development, what comes before it, itself, and what comes after.
_DEVELOPMENT, _BEFORE, _FINAL, _AFTER = range(4)


class Number(NamedTuple):
    """A number by its parts: *release* are those between the dots, *label* what follows them, such as `rc.1`."""

    prefix: str
    release: tuple[int, ...]
    label: str

    @property
    def phase(self) -> int:
        """Where among the numbers of one release it stands."""
        if self.label.startswith("dev"):
            return _DEVELOPMENT
        return _FINAL if not self.label else _AFTER if self.label.startswith("post") else _BEFORE

    @property
    def is_prerelease(self) -> bool:
        """Whether it comes before its release."""
        return self.phase < _FINAL


def parse_number(text: str) -> Number | None:
    """Return *text* as a number, or None: it is another name."""
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    prefix, release, label, word = found.group("prefix", "release", "label", "word")
    return Number(prefix, tuple(map(int, release.split("."))), (label or word or "").lower())


VersionOrder = tuple[int, tuple[int, ...], int, tuple[tuple[int, int, str], ...], str]


def version_order(text: str) -> VersionOrder:
    """Return what to sort versions by: names of any other kind come before numbers, and 1.0-rc.1 before 1.0.

    The order is total: equal keys are equal texts.
    """
    number = parse_number(text)
    if number is None:
        return 0, (), 0, version_key(text), text
    release = number.release
    while release and not release[-1]:
        # 1.0 and 1.0.0 are the same release.
        release = release[:-1]
    return 1, release, number.phase, version_key(number.label), text


def version_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return what to sort *name* by so that 1.9 comes before 1.10, and 2.0-rc1 before 2.0."""
    runs = [(1, int(run), "") if run.isdecimal() else (0, 0, run) for run in _RUN.findall(name)]
    # The end of a name comes after "-", which starts what comes before a release, and before ".".
    return (*runs, (0, 0, "-\U0010ffff"))


def next_number(taken: Iterable[str], part: Part, label: str | None = None) -> str:
    """Return the number after those of *taken*: the highest release with *part* one higher; the first is 1.0.0.

    With a *label* such as `rc`, it is the next that comes before that release: `1.3.0-rc.1`, then `1.3.0-rc.2`.
    Where all that there is comes before a release, that release is next.

    Examples:
        >>> next_number(["1.9.0", "1.10.0", "2.0.0-rc.1", "spring"], "minor")
        '1.11.0'
        >>> next_number(["1.9.0", "1.9.1-rc.1"], "patch", "rc")
        '1.9.1-rc.2'
    """
    numbers = sorted((text for text in taken if parse_number(text)), key=version_order)
    known = [number for text in numbers if (number := parse_number(text)) is not None]
    released = [number for number in known if not number.is_prerelease]
    prefix = known[-1].prefix if known else ""
    release = known[-1].release if known else _FIRST
    if released:
        release = _raised(released[-1].release, _PARTS[part])
    text = prefix + ".".join(map(str, release))
    if label is None:
        return text
    used = re.compile(re.escape(f"{text}-{label}.").lower() + "([0-9]+)")
    counts = [int(found[1]) for one in numbers if (found := used.fullmatch(one.lower()))]
    return f"{text}-{label}.{max(counts, default=0) + 1}"


def _raised(release: tuple[int, ...], place: int) -> tuple[int, ...]:
    if place == _PARTS["patch"]:
        # What has four parts or more is raised at its last one.
        place = max(place, len(release) - 1)
    parts = [*release, 0, 0, 0][: max(len(release), 3)]
    return (*parts[:place], parts[place] + 1, *(0 for _ in parts[place + 1 :]))
