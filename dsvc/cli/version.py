"""dsvc version: which dsvc this is."""

import sys
from typing import Annotated

from dsvc import __version__
from dsvc.cli import console
from dsvc.cli.options import Json, option

__all__ = ["command"]

_LIBRARIES = ("blake3", "fsspec", "msgspec", "pathspec", "pyfastcdc", "zstandard")


def command(
    *,
    verbose: Annotated[bool, option("-v", "--verbose", help="Add what a bug report needs.")] = False,
    json: Json = False,
) -> None:
    """Show the version of dsvc.

    Examples:
        $ dsvc version
        dsvc 0.1.0
    """
    facts = {"dsvc": __version__}
    if verbose:
        facts |= _surroundings()
    if json:
        console.out_json(facts)
        return
    for name, version in facts.items():
        console.out(f"{name} {version}")


def _surroundings() -> dict[str, str]:
    import platform
    from importlib.metadata import version

    return {
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        **{name: version(name) for name in _LIBRARIES},
    }
