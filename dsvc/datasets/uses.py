"""Uses: which versions a program has got or used, remembered until it commits what it made of them.

One small file for each, in a folder of the user's own. A use belongs to the program that asked for it, a process, and
to all that this starts; or to a *run*, a name in the environment that also reaches over machines. Of what is asked for
by one name several times, as in a loop, the last counts. Nothing depends on it: a file that cannot be read or written
is passed over.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from blake3 import blake3

from dsvc.model.commit import Input
from dsvc.storage.temporary import temporary_name

__all__ = ["Caller", "Process", "Use", "inputs_of", "record_use"]

_VERSION: Final = 1
_MAX_LENGTH: Final = 65_536
# Nobody tells when a run over several machines is at its end, or a process of another one.
_LONGEST: Final = 30 * 86_400 * 1_000_000


class Process(NamedTuple):
    """A process by its number, and when it started in ticks of its system: numbers are used again."""

    number: int
    start: int


class Caller(msgspec.Struct, frozen=True):
    """Who asks: *programs*, none where somebody types, and all processes *above*; and the *run*, if it has a name.

    *machine* says where their numbers mean anything, and *is_alive* whether a process is still there.
    """

    machine: str
    programs: tuple[Process, ...]
    above: tuple[Process, ...]
    run: str | None
    is_alive: Callable[[Process], bool]


class Use(msgspec.Struct, frozen=True):
    """That *programs* got or used the version *commit*, called *name*, of the store at *place*.

    *time* is in microseconds since 1970 UTC.
    """

    name: str
    commit: str
    place: str
    time: int
    machine: str
    programs: tuple[Process, ...]
    run: str | None
    v: int = _VERSION


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Use)


def record_use(folder: Path, caller: Caller, name: str, commit: bytes, *, place: str, time: int) -> None:
    """Remember in *folder* that *caller* uses the version *commit*, called *name*, of the store at *place*.

    Where somebody types, nothing is remembered: what they do next need not come of it.
    """
    if not caller.programs and caller.run is None:
        return
    use = Use(name, commit.hex(), place, time, caller.machine, caller.programs, caller.run)
    same = msgspec.json.encode(msgspec.structs.replace(use, time=0, commit=""))
    with suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _drop_finished(folder, caller, time)
        temporary = folder / temporary_name()
        temporary.write_bytes(_encoder.encode(use))
        temporary.replace(folder / f"{blake3(same).hexdigest(length=16)}.json")


def inputs_of(folder: Path, caller: Caller) -> list[Input]:
    """Return what the programs above *caller*, or other parts of its run, have used, in that order."""
    uses = sorted((use for _, use in _read(folder) if _is_callers(use, caller)), key=lambda use: (use.time, use.name))
    return list(dict.fromkeys(Input(use.name, bytes.fromhex(use.commit)) for use in uses))


def _is_callers(use: Use, caller: Caller) -> bool:
    if use.run is not None and caller.run is not None:
        return use.run == caller.run
    return use.machine == caller.machine and not set(use.programs).isdisjoint(caller.above)


def _read(folder: Path) -> Iterator[tuple[Path, Use]]:
    for path in folder.glob("*.json"):
        with suppress(OSError, msgspec.DecodeError, ValueError, RecursionError):
            raw = path.read_bytes()[: _MAX_LENGTH + 1]
            use = _decoder.decode(raw)
            if len(raw) <= _MAX_LENGTH and use.v == _VERSION and len(bytes.fromhex(use.commit)) == 32:
                yield path, use


def _drop_finished(folder: Path, caller: Caller, now: int) -> None:
    """Forget the uses whose program has ended, as far as that can be told, and those of long ago."""
    for path, use in _read(folder):
        if use.run is None and use.machine == caller.machine:
            is_over = not any(map(caller.is_alive, use.programs))
        else:
            is_over = now - use.time > _LONGEST
        if is_over:
            path.unlink(missing_ok=True)
