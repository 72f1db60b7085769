"""What a check of a store found."""

from enum import Enum

import msgspec

from dsvc.model.ids import ObjectId

__all__ = ["Finding", "LostPath", "Part", "Report", "Severity"]


class Severity(Enum):
    """How bad it is: data is lost or in danger; odd, but nothing is lost; only worth knowing."""

    DAMAGE = "damage"
    WARNING = "warning"
    NOTE = "note"


class Part(Enum):
    """What of a store something is wrong with."""

    LOG = "log"
    PACK = "pack"
    INDEX = "index"
    OBJECT = "object"
    REF = "ref"
    FILES = "files"


class Finding(msgspec.Struct, frozen=True):
    """One thing that is not as it should be; *name* says which one, *problem* is a phrase."""

    part: Part
    name: str
    problem: str
    severity: Severity = Severity.DAMAGE

    def __str__(self) -> str:
        return f"{self.part.value} {self.name}: {self.problem}" if self.name else self.problem


class LostPath(msgspec.Struct, frozen=True):
    """A path of the version *commit*, None for what is staged, that cannot be read.

    *files* is more than one where a page of the tree is lost: *path* is then the last of them.
    """

    commit: ObjectId | None
    path: bytes
    files: int = 1


class Report(msgspec.Struct):
    """All findings of one check, and how much was looked at. *size* is in bytes, as stored.

    *unread* packs were left out of a sample; *promised* objects are at a remote, and not here.
    """

    findings: list[Finding] = []
    lost: list[LostPath] = []
    entries: int = 0
    packs: int = 0
    objects: int = 0
    commits: int = 0
    dangling: int = 0
    promised: int = 0
    size: int = 0
    unread: int = 0

    @property
    def is_damaged(self) -> bool:
        """Whether data is lost or in danger."""
        return bool(self.lost) or any(finding.severity is Severity.DAMAGE for finding in self.findings)
