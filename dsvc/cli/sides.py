"""Options of `dsvc restore` and `dsvc checkout` that take one side of a merge."""

from typing import Annotated

from dsvc.cli.errors import UsageError
from dsvc.cli.options import option
from dsvc.history.merge import Side

__all__ = ["Ours", "Theirs", "chosen_side"]

Ours = Annotated[bool, option("--ours", help="Of files in conflict, take our side.")]
Theirs = Annotated[bool, option("--theirs", help="Of files in conflict, take their side.")]


def chosen_side(*, ours: bool, theirs: bool) -> Side | None:
    """Return the side that options chose, None for none.

    Raises:
        UsageError: They chose both.
    """
    if ours and theirs:
        message = "choose one of `--ours` and `--theirs`"
        raise UsageError(message)
    return Side.OURS if ours else Side.THEIRS if theirs else None
