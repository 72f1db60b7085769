"""Symlinks of other people's data: one that leads out of the version has whoever reads it read something else.

Nothing is ever written through one. But programs follow them when they read, and a commit may name any file there is.
"""

from collections.abc import Sequence
from typing import Final

from dsvc.errors import RefusedError
from dsvc.history.content import read_range
from dsvc.model.ids import Kind
from dsvc.model.paths import quote_path
from dsvc.model.tree import Entry
from dsvc.odb.objects import ObjectReader

__all__ = ["SymlinkOutsideError", "check_symlinks", "leads_out"]

_AT_ONCE: Final = 1024
_SHOWN: Final = 200
# No system makes a longer one.
_LONGEST: Final = 4096
_UP: Final = b".."


class SymlinkOutsideError(RefusedError):
    """A symlink that may lead out of its version."""

    def __init__(self, path: bytes, target: bytes) -> None:
        shown = quote_path(target[:_SHOWN]) + ("..." if len(target) > _SHOWN else "")
        super().__init__(f"{quote_path(path)} is a symlink to {shown}, which leads out of the version")
        self.path = path
        self.target = target


def leads_out(path: bytes, target: bytes) -> bool:
    """Tell whether a symlink at *path* to *target* may lead to somewhere outside of its tree.

    It goes up first, and no further than to the root, then only down. After a name, which may be another symlink,
    nobody knows where `..` leads to.
    """
    parts = [part for part in target.split(b"/") if part not in (b"", b".")]
    ups = next((number for number, part in enumerate(parts) if part != _UP), len(parts))
    return target.startswith(b"/") or ups > path.count(b"/") or _UP in parts[ups:]


def check_symlinks(objects: ObjectReader, links: Sequence[Entry]) -> None:
    """Do nothing, if none of *links*, whose content is at hand, may lead out of its tree.

    Raises:
        SymlinkOutsideError: One may.
        CorruptionError: Content is damaged.
    """
    for start in range(0, len(links), _AT_ONCE):
        some = links[start : start + _AT_ONCE]
        single = [link for link in some if link.blob is None and link.size]
        targets = dict(zip(single, objects.read_many(Kind.CHUNK, [link.digest for link in single]), strict=True))
        for link in some:
            target = targets[link] if link in targets else b"".join(read_range(objects, link, 0, _LONGEST))
            if link.size > _LONGEST or leads_out(link.path, target):
                raise SymlinkOutsideError(link.path, target)
