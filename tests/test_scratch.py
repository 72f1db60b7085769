"""Numbers for each of very many objects are the same wherever they are kept."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from dsvc.errors import NoSpaceError
from dsvc.odb import scratch
from dsvc.odb.scratch import zeros


@pytest.mark.parametrize("in_memory", [0, 1 << 20])
@pytest.mark.parametrize("code", ["B", "I", "Q"])
def test_they_are_zero_and_keep_what_is_put_there(monkeypatch: pytest.MonkeyPatch, in_memory: int, code: str) -> None:
    monkeypatch.setattr(scratch, "_IN_MEMORY", in_memory)
    monkeypatch.setattr(scratch, "_PIECE", 100)

    numbers = zeros(333, code)
    assert list(numbers) == [0] * 333
    numbers[7], numbers[332] = 200, 5
    numbers[7] |= 1

    assert {index: number for index, number in enumerate(numbers) if number} == {7: 201, 332: 5}
    assert list(zeros(0, code)) == []


def test_many_leave_no_file_and_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(scratch, "_IN_MEMORY", 0)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    numbers = zeros(10_000)

    assert list(tmp_path.iterdir()) == []
    assert len(numbers) == 10_000

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(NoSpaceError, match="cannot write a temporary file: No space left"):
        zeros(10_000)
