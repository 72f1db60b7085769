"""Loading our libraries without typing_extensions.

Some ask it for names that `typing` has had for years, and it loads `inspect` and more: 10 ms of each start.
"""

import sys
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

__all__ = ["light_typing"]

_NAME = "typing_extensions"


class _LightTyping(ModuleType):
    """Stands in for typing_extensions with what `typing` has, and loads it for all else."""

    def __getattr__(self, name: str) -> object:
        if hasattr(typing, name):
            return getattr(typing, name)
        if name.startswith("__"):
            # The import system asks whether this is a package.
            raise AttributeError(name)
        sys.modules.pop(_NAME, None)
        return getattr(import_module(_NAME), name)


@contextmanager
def light_typing() -> Iterator[None]:
    """Import what follows with the stand-in. Afterwards it is gone: what others mean by a name may differ."""
    stand_in = _LightTyping(_NAME)
    sys.modules.setdefault(_NAME, stand_in)
    try:
        yield
    finally:
        if sys.modules.get(_NAME) is stand_in:
            del sys.modules[_NAME]
