"""Repositories that a group shares: what comes is for all who may read the folder, as what is made there is."""

import os
from pathlib import Path

import pytest

from tests.forked import Desk, desk

__all__ = ["desk"]


def unreadable(clone: Path, group: int) -> list[Path]:
    """The files of the store that members of *group* cannot read."""
    found = [(path, path.stat()) for path in (clone / ".dsvc/store").rglob("*") if path.is_file()]
    return [
        path
        for path, status in found
        if not status.st_mode & (0o040 if status.st_gid == group else 0o004) or not path.parent.stat().st_mode & 0o050
    ]


def test_what_comes_into_a_store_that_a_group_reads_is_readable_by_the_group(desk: Desk) -> None:
    before = os.umask(0o077)
    try:
        for number in range(2):
            # A pack that comes whole, and is linked where that can be.
            desk.commit({b"large": os.urandom(3_000_000), b"small": b"%d" % number})
        os.umask(0o027)
        desk("clone", "-q", "work", "clone", cwd=desk.folder)
        clone = desk.folder / "clone"
        group = clone.stat().st_gid
        assert unreadable(clone, group) == []

        desk("cat", "HEAD~1:large", cwd=clone)

        assert unreadable(clone, group) == []
    finally:
        os.umask(before)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to a group that it is not in")
def test_what_comes_into_a_store_of_another_group_is_readable_by_that_group(desk: Desk) -> None:
    before = os.umask(0o027)
    try:
        for number in range(2):
            desk.commit({b"large": os.urandom(3_000_000), b"small": b"%d" % number})
        clone = desk.folder / "clone"
        clone.mkdir()
        os.chown(clone, -1, 65534)
        clone.chmod(0o2750)

        desk("clone", "-q", "work", "clone", cwd=desk.folder)
        desk("cat", "HEAD~1:large", cwd=clone)

        assert unreadable(clone, 65534) == []
    finally:
        os.umask(before)


def test_packs_that_all_may_read_are_still_linked(desk: Desk) -> None:
    desk.commit({b"large": os.urandom(3_000_000)})

    desk("clone", "-q", "work", "clone", cwd=desk.folder)

    packs = [path for path in (desk.folder / "clone/.dsvc/store/packs").rglob("*") if path.is_file()]
    assert any(pack.stat().st_nlink > 1 for pack in packs)
