"""What is said of a dataset beside its versions: a description, whether it is archived, and where it was moved to.

It is the value of a ref, `refs/datasets/NAME`, and so versioned by the log. Of two values the later one counts, here
as on a remote. A dataset that was renamed leaves its old name as one that leads to the new one, and goes on with the
versions that were published under it.
"""

from collections.abc import Callable, Collection
from typing import Final

import msgspec

from dsvc.errors import AlreadyExistsError, InvalidInputError, NotFoundError
from dsvc.log.entry import RefChange
from dsvc.log.refs import DATASETS, HEADS, InvalidRefNameError, branch_ref, check_ref_name
from dsvc.log.state import State

__all__ = [
    "DatasetInfo",
    "DatasetNotFoundError",
    "NameMovedError",
    "check_not_moved",
    "current_name",
    "dataset_name",
    "family",
    "info_change",
    "infos_of",
    "later_infos",
    "read_info",
]

_MAX_DESCRIPTION: Final = 32 * 1024
# No chain of renames is longer; somebody else's may have no end.
_MAX_MOVES: Final = 100


class DatasetNotFoundError(NotFoundError):
    """There is no such dataset."""

    def __init__(self, name: str, where: str | None = None) -> None:
        super().__init__(f"there is no dataset `{name}`" + (f" on {where}" if where else ""))
        self.name = name


class NameMovedError(AlreadyExistsError):
    """A dataset that has another name now was called so, and may have published versions under that name."""

    def __init__(self, name: str, current: str) -> None:
        super().__init__(f"`{name}` leads to the dataset `{current}`, which was called so before")
        self.name = name


class DatasetInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is said of a dataset, since *time*, in microseconds since 1970 UTC. *moved_to* is its name now."""

    time: int
    description: str = ""
    archived: bool = False
    moved_to: str | None = None

    def encode(self) -> str:
        """Return the value of the ref."""
        return msgspec.json.encode(self, order="sorted").decode()


_decoder: Final = msgspec.json.Decoder(DatasetInfo)


def _decode(value: str | None) -> DatasetInfo | None:
    # Anybody may write anything there, and it is only words.
    try:
        return None if value is None else _decoder.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return None


def dataset_name(name: str) -> str:
    """Return *name* if a dataset may be called so: as a branch, and without the `@` that begins a version.

    Raises:
        InvalidRefNameError: It may not.
    """
    ref = branch_ref(name)
    if "@" in name or name == "HEAD":
        raise InvalidRefNameError(ref, "the name of a dataset has no `@`" if "@" in name else "it stands for a commit")
    return name


def read_info(state: State, name: str) -> DatasetInfo | None:
    """Return what is said of the dataset *name*, None if nothing is."""
    return _decode(state.value(DATASETS + name))


def info_change(state: State, name: str, time: int, **fields: object) -> RefChange:
    """Return the change after which *fields* are said of *name*, at *time*, or just after what was said before.

    Raises:
        InvalidInputError: The description is too long.
    """
    before = read_info(state, name) or DatasetInfo(time)
    info = msgspec.structs.replace(before, time=max(time, before.time + 1), **fields)
    if len(info.description.encode("utf-8", "surrogatepass")) > _MAX_DESCRIPTION:
        message = f"a description has at most {_MAX_DESCRIPTION:,} bytes"
        raise InvalidInputError(message)
    return RefChange(check_ref_name(DATASETS + name), state.value(DATASETS + name), info.encode())


def check_not_moved(state: State, name: str, *, allowed: str | None = None) -> None:
    """Do nothing, unless *name* leads to a dataset that is not called *allowed*.

    Raises:
        NameMovedError: It does.
    """
    info = read_info(state, name)
    current = current_name(state, name)
    if info is not None and info.moved_to is not None and current != allowed:
        raise NameMovedError(name, current)


def later_infos(state: State, other: State, wanted: Callable[[str], bool] = lambda _: True) -> list[RefChange]:
    """Return the changes that bring to *state* what *other* says of *wanted* datasets, where that is later."""
    changes = []
    for ref in _refs(other):
        old, new = state.value(ref), other.value(ref)
        if old == new or not wanted(ref.removeprefix(DATASETS)):
            continue
        here, there = _decode(old), _decode(new)
        # Of one moment, the same one everywhere.
        if there is not None and (here is None or (here.time, old or "") < (there.time, new or "")):
            changes.append(RefChange(ref, old, new))
    return changes


def infos_of(state: State, other: State, branches: Collection[str]) -> list[RefChange]:
    """Return the changes that bring to *state* what *other* says of the datasets *branches*, by any of their names."""
    return later_infos(state, other, lambda name: name in branches or current_name(other, name) in branches)


def _refs(state: State) -> list[str]:
    return [ref for ref in state.refs if ref.startswith(DATASETS)]


def current_name(state: State, name: str) -> str:
    """Return what the dataset *name* is called now; one that has a branch is called as it is."""
    found = name
    for _ in range(_MAX_MOVES):
        if HEADS + found in state.refs:
            return found
        info = read_info(state, found)
        if info is None or info.moved_to is None:
            return found
        found = info.moved_to
    return name


def family(state: State, name: str) -> list[str]:
    """Return the name that the dataset *name* has now, and then those that it had before."""
    moved: dict[str, list[str]] = {}
    for ref in sorted(_refs(state)):
        # Most were never moved, and there may be many.
        if '"moved_to"' in state.refs[ref].value and (info := _decode(state.refs[ref].value)) and info.moved_to:
            moved.setdefault(info.moved_to, []).append(ref.removeprefix(DATASETS))
    names = [current_name(state, name)]
    for one in names:
        names += [former for former in moved.get(one, []) if former not in names and HEADS + former not in state.refs]
    return names
