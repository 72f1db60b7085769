"""The changes of a checkout come back as they were, from both ends, however many there are."""

from pathlib import Path

import pytest

from dsvc.history.diff import Change
from dsvc.model.tree import Entry, EntryKind
from dsvc.worktree.moves import Moves
from tests.odb_support import chunk_id


@pytest.mark.parametrize("count", [0, 1, 70_000])
def test_changes_come_back_in_both_directions_and_nothing_of_them_stays(tmp_path: Path, count: int) -> None:
    entry = Entry(b"path", EntryKind.FILE, 4, bytes(chunk_id(b"some")))
    link = Entry(b"link", EntryKind.SYMLINK, 4, bytes(chunk_id(b"else")))
    changes = [(Change(None, entry), Change(entry, None), Change(link, entry))[number % 3] for number in range(count)]

    moves = Moves(tmp_path / "tmp", changes)

    assert len(moves) == count
    assert list(moves) == changes == list(moves)
    assert list(reversed(moves)) == changes[::-1]
    assert not any(tmp_path.rglob("*-*"))
