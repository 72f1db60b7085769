"""The command line in forked children, which start in a millisecond: for tests of many short runs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.crash_support import Ended, fast_folder, run_forked, warm_up
from tests.worktree_support import Files, clear, write_files

__all__ = ["Desk", "desk"]


class Desk:
    """A folder with a repository in it, `work`, and room beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work = folder / "work"
        self.work.mkdir()
        self("init", "-q")

    def __call__(self, *words: str | bytes | Path, code: int = 0, cwd: Path | None = None) -> Ended:
        """Run `dsvc` in the repository, and check that it exits with *code*."""
        ended = run_forked(*words, cwd=cwd or self.work, environment={"HOME": str(self.folder / "home")})
        assert ended.code == code, f"exit code {ended.code}, not {code}\n{ended.stdout}{ended.stderr}"
        return ended

    def lines(self, *words: str | bytes | Path) -> list[str]:
        """Run `dsvc`, and return the lines that it prints."""
        return self(*words).stdout.splitlines()

    def json(self, *words: str | bytes | Path, code: int = 0) -> list[dict[str, Any]]:
        """Run `dsvc` with `--json`, and return what it prints."""
        return [json.loads(line) for line in self(words[0], "--json", *words[1:], code=code).stdout.splitlines()]

    def commit(self, files: Files, message: str = "A version") -> str:
        """Commit *files* in place of what is in the worktree, and return the commit's id."""
        clear(self.work)
        write_files(self.work, files)
        self("add", "-q", "-A")
        self("commit", "-q", "--allow-empty", "-m", message)
        return self.head()

    def head(self, revision: str = "HEAD") -> str:
        """Return the id of the commit *revision*."""
        return self.lines("log", "-1", "--format=%H", revision)[0]

    def tree(self, revision: str = "HEAD") -> str:
        """Return the id of the tree of *revision*."""
        return self.lines("log", "-1", "--format=%T", revision)[0]


@pytest.fixture
def desk() -> Iterator[Desk]:
    """An empty repository, and a folder around it."""
    warm_up()
    with fast_folder() as folder:
        yield Desk(folder)
