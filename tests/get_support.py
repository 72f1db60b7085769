"""What the tests of `dsvc get` and of the user's cache share: a repository with two versions, and a home."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.crash_support import Ended, Running, Watch, fast_folder, run_forked
from tests.worktree_support import (
    EMPTY_FOLDER,
    Content,
    Executable,
    Link,
    commit_all,
    make_worktree,
)

__all__ = ["FIRST", "SECOND", "Scene", "edit", "scene"]

FIRST: dict[bytes, Content] = {
    b"a.csv": b"1,2\n",
    b"data/large": os.urandom(150_000),
    b"data/same": b"same",
    b"data/deep/twin": b"same",
    b"run": Executable(b"same"),
    b"link": Link(b"data/same"),
    b"empty": EMPTY_FOLDER,
    b"gone": b"for a while",
}
SECOND: dict[bytes, Content] = {
    **{path: content for path, content in FIRST.items() if path != b"gone"},
    b"a.csv": b"3,4\n",
    b"new/file": b"new",
}


class Scene:
    """A folder with a repository `work`, in which FIRST is `main@1.0`, published, and SECOND is `main`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cache = root / "home" / ".cache" / "dsvc"
        self.away = root / "away"
        self.away.mkdir()
        (root / "home").mkdir()
        self.worktree = make_worktree(root / "work")
        commit_all(self.worktree, FIRST)
        self.run("publish", "-q", "main@1.0")
        commit_all(self.worktree, SECOND)

    @property
    def work(self) -> Path:
        return self.worktree.root

    def run(
        self,
        *words: str | Path,
        cwd: Path | None = None,
        code: int | None = 0,
        watch: Watch | None = None,
        user: int | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Ended:
        environment = {"HOME": str(self.root / "home"), "PATH": os.environ["PATH"], **(env or {})}
        ended = run_forked(*words, cwd=cwd or self.work, watch=watch, user=user, environment=environment)
        assert ended.code == code, f"exit code {ended.code}, not {code}\n{ended.stdout}{ended.stderr}"
        return ended

    def start(self, *words: str | Path, before: Callable[[], object]) -> Running:
        """Start a command that does *before* first."""
        environment = {"HOME": str(self.root / "home"), "PATH": os.environ["PATH"]}
        return Running(words, cwd=self.work, before=before, environment=environment)

    def get(self, *words: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Path:
        """Get what *words* say, and return where it is."""
        (line,) = self.run("get", *words, cwd=cwd, env=env).stdout.splitlines()
        return Path(line)

    def trees(self) -> list[Path]:
        """The trees in the cache, and all that is on its way to be one."""
        return [path for name in ("trees", "tmp", "incoming") for path in (self.cache / name).iterdir()]

    def files(self) -> list[Path]:
        return [path for path in (self.cache / "files").rglob("*") if path.is_file()]

    def age(self, tree: Path, seconds: int = 7 * 86_400) -> None:
        """Let it be long ago that *tree* was asked for."""
        lease = self.cache / "leases" / tree.name
        then = lease.stat().st_mtime - seconds
        os.utime(lease, (then, then))


@pytest.fixture
def scene() -> Iterator[Scene]:
    with fast_folder() as folder:
        yield Scene(folder)


def edit(path: Path, content: bytes) -> None:
    """Edit a file in place, as somebody does who makes it writable first."""
    path.chmod(path.stat().st_mode | 0o200)
    with path.open("r+b") as file:
        file.write(content)
