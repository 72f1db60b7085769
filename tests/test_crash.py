"""Killed with SIGKILL, or without power, at every change of the disk: nothing that was committed is lost."""

import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from blake3 import blake3

from dsvc.config import Config
from dsvc.history.content import read_content
from dsvc.history.store import Store
from dsvc.history.tree import Tree
from dsvc.log.verify import verify_log
from dsvc.maintenance.fsck import fsck
from dsvc.model.ids import ObjectId
from dsvc.model.tree import EntryKind
from dsvc.repository import open_worktree
from dsvc.storage.local import LocalBackend
from dsvc.worktree.worktree import Worktree
from tests.crash_support import Event, Watch, dying_at, fast_folder, run_forked, torn_in_write, warm_up
from tests.power_cut import Disk, Survives, all_names, nothing
from tests.worktree_support import (
    EMPTY_FOLDER,
    Content,
    Executable,
    Files,
    Link,
    clear,
    make_context,
    read_files,
    write_files,
)

OLD: Files = {
    b"same": b"same",
    b"edited": b"old" * 1000,
    b"gone/a": b"1",
    b"large": random.Random(1).randbytes(600_000),  # noqa: S311
    b"link": Link(b"same"),
    b"run": b"#!",
}
NEW: Files = {
    b"same": b"same",
    b"edited": b"new" * 1000,
    b"came/a": b"1" * 5000,
    b"came/empty": EMPTY_FOLDER,
    b"large": random.Random(2).randbytes(600_000),  # noqa: S311
    b"link": Link(b"edited"),
    b"run": Executable(b"#!"),
}
# More than there are: a run that is not killed ends the series.
MOST_STEPS = 300


@dataclass(frozen=True)
class Case:
    """A command, and the folder in which it is to be run: `repository`, and a remote beside it."""

    name: str
    words: tuple[str, ...]
    folder: Path
    old: str
    new: str | None

    def run(self, folder: Path, watch: Watch | None = None, *, record: bool = False) -> int | None:
        return run_forked(*self.words, cwd=folder / "repository", watch=watch, record=record).code


def dsvc(folder: Path, *words: str) -> None:
    ended = run_forked(*words, cwd=folder / "repository")
    assert ended.code == 0, ended.stderr


def head(folder: Path) -> str:
    return run_forked("log", "-1", "--json", cwd=folder / "repository").stdout.split('"commit":"')[1][:64]


def opened(root: Path) -> Worktree:
    return open_worktree(root / ".dsvc", make_context("check"), Config())


@pytest.fixture(scope="module")
def cases() -> Iterator[dict[str, Case]]:
    """Make the folder that each command starts from."""
    warm_up()
    with fast_folder() as folder:
        yield {case.name: case for case in _cases(folder)}


def _cases(folder: Path) -> Iterator[Case]:
    start = folder / "start"
    (start / "repository").mkdir(parents=True)
    dsvc(start, "init", "-q")
    write_files(start / "repository", OLD)
    dsvc(start, "add", "-q", ".")
    dsvc(start, "commit", "-q", "-m", "Old")
    dsvc(start, "branch", "old")
    dsvc(start, "remote", "add", "origin", "../remote")
    dsvc(start, "push", "-q", "origin", "main")
    old = head(start)
    clear(start / "repository")
    write_files(start / "repository", NEW)
    yield Case("add", ("add", "-q", "."), start, old, None)
    staged = shutil.copytree(start, folder / "staged", symlinks=True)
    dsvc(staged, "add", "-q", ".")
    yield Case("commit", ("commit", "-q", "-m", "New"), staged, old, None)
    committed = shutil.copytree(staged, folder / "committed", symlinks=True)
    dsvc(committed, "commit", "-q", "-m", "New")
    new = head(committed)
    yield Case("push", ("push", "-q", "origin", "main"), committed, old, new)
    yield Case("switch", ("switch", "-q", "old"), committed, old, new)


def content_of(kind: int, data: bytes) -> Content:
    match kind:
        case EntryKind.FOLDER:
            return EMPTY_FOLDER
        case EntryKind.SYMLINK:
            return Link(data)
        case EntryKind.EXECUTABLE:
            return Executable(data)
        case _:
            return data


def check_version(worktree: Worktree, commit_id: str, files: Files) -> None:
    """Check that the version *commit_id* is *files*, to the byte."""
    objects = worktree.store.objects
    found: dict[bytes, Content] = {}
    for entry in Tree(objects, worktree.commit_of(ObjectId.from_hex(commit_id)).tree).entries():
        data = b"" if entry.kind == EntryKind.FOLDER else read_content(objects, entry)
        assert entry.kind == EntryKind.FOLDER or blake3(data).digest() == entry.digest
        found[entry.path] = content_of(entry.kind, data)
    assert found == files


def check_sound(case: Case, folder: Path) -> None:
    """Check that the repository and the remote can be used, and hold all that was there before."""
    root = folder / "repository"
    ended = run_forked("status", "--porcelain", cwd=root)
    assert ended.code == 0, ended.stderr
    worktree = opened(root)
    worktree.store.state()
    check_version(worktree, case.old, OLD)
    if case.new is not None:
        check_version(worktree, case.new, NEW)
    check_store(worktree.store)
    remote = remote_of(folder)
    assert remote.state().value("refs/heads/main") in (case.old, case.new)
    check_store(remote)
    if case.name != "switch":
        assert read_files(root) == NEW


def remote_of(folder: Path) -> Store:
    return Store(LocalBackend(folder / "remote"), make_context("check"))


def check_store(store: Store) -> None:
    assert [fault for fault in verify_log(store.log) if not fault.is_void] == []
    report = fsck(store)
    assert not report.is_damaged, [str(finding) for finding in report.findings]


def finish(case: Case, folder: Path, *, files_survive: bool = True) -> None:
    """Run the command again, and check that all is as if it had never been cut short.

    Files of the worktree are not synced, as git's are not: without power, they may have to be restored.
    """
    root = folder / "repository"
    ended = run_forked(*case.words, cwd=root)
    if case.name == "switch" and "interrupted" in ended.stderr:
        assert ended.code == 5
        assert "dsvc switch --continue" in ended.stderr
        ended = run_forked("switch", "--continue", cwd=root)
    # Where the commit was made before the end came, there is nothing left to commit.
    assert ended.code in ({0, 1} if case.name == "commit" else {0}), ended.stderr
    if case.name == "switch" and not files_survive:
        dsvc(folder, "restore", ".")
        assert read_files(root).items() >= OLD.items()
        return
    worktree = opened(root)
    state = worktree.store.state()
    session = worktree.session(state)
    wanted = OLD if case.name == "switch" else NEW
    assert read_files(root) == wanted
    status = run_forked("status", "--porcelain", "-z", cwd=root)
    assert bool(status.stdout) == (case.name == "add"), status.stdout
    if case.name == "add":
        assert session.staged is not None
        dsvc(folder, "commit", "-q", "-m", "New")
        worktree.store.state()
    if case.name in ("add", "commit"):
        check_version(worktree, head(folder), NEW)
    if case.name == "push":
        assert remote_of(folder).state().value("refs/heads/main") == case.new
    if case.name == "switch":
        assert (session.branch, session.staged, session.switching) == ("refs/heads/old", None, None)
    check_store(worktree.store)


def check_tidy(folder: Path) -> None:
    """Check that the next `add` and `push` remove what dead processes have left."""
    (folder / "repository" / "another").write_bytes(b"x")
    dsvc(folder, "add", "-q", ".")
    dsvc(folder, "commit", "-q", "-m", "Another")
    dsvc(folder, "push", "-q", "origin", "main:another")
    left = [path for name in ("repository/.dsvc/tmp", "repository/.dsvc/store/tmp", "remote/tmp")
            for path in (folder / name).glob("*")]  # fmt: skip
    assert left == []


@pytest.mark.parametrize("name", ["add", "commit", "push", "switch"])
@pytest.mark.parametrize(("fault", "least"), [(dying_at, 10), (torn_in_write, 3)])
def test_a_command_killed_at_any_step_loses_nothing_and_can_be_run_again(
    cases: dict[str, Case], name: str, fault: Callable[[int], Callable[[Watch, str, int], None]], least: int
) -> None:
    case = cases[name]
    for step in range(MOST_STEPS):
        with fast_folder() as copies:
            folder = shutil.copytree(case.folder, copies / "copy", symlinks=True)
            code = case.run(folder, Watch(fault(step)))
            check_sound(case, folder)
            if code is None:
                finish(case, folder)
                if step % 5 == 0:
                    check_tidy(folder)
        if code is not None:
            assert code == 0
            assert step > least
            return
    pytest.fail("there are more steps than were tried")


def recorded(case: Case) -> tuple[Path, list[Event]]:
    """Run the command in a copy beside the original, and return the copy and what was done to it."""
    folder = case.folder.with_name(f"{case.name} recorded")
    shutil.copytree(case.folder, folder, symlinks=True)
    ended = run_forked(*case.words, cwd=folder / "repository", record=True)
    assert ended.code == 0, ended.stderr
    return folder, ended.events


def test_what_a_command_reports_as_done_is_durable() -> None:
    warm_up()
    with fast_folder() as folder:
        root = folder / "there" / "repository"
        root.mkdir(parents=True)
        write_files(root, NEW)
        disk = Disk(folder / "there")
        for number, words in enumerate(
            (
                ("init", "-q"),
                ("add", "-q", "."),
                ("commit", "-q", "-m", "New"),
                ("tag", "v1"),
                ("switch", "-q", "-c", "topic"),
                ("remote", "add", "origin", "../remote"),
                ("push", "-q", "origin", "topic"),
                ("rm", "-q", "run"),
                ("reset", "-q", "--hard"),
            )
        ):
            ended = run_forked(*words, cwd=root, record=True)
            assert ended.code == 0, ended.stderr
            disk.apply(ended.events)
            image = folder / str(number)
            disk.write_to(image)
            assert references(image) == references(folder / "there"), words


def references(folder: Path) -> dict[str, str]:
    """Return what is in the log of the repository and in that of the remote, if there is one."""
    found: dict[str, str] = {}
    for store in ("repository/.dsvc/store", "remote"):
        if (folder / store).exists():
            state = Store(LocalBackend(folder / store), make_context("check")).state()
            found |= {f"{store} {name}": ref.value for name, ref in state.refs.items()}
            found[store] = f"{state.seq} {state.hash}"
            check_store(Store(LocalBackend(folder / store), make_context("check")))
    return found


def sometimes(seed: int) -> Survives:
    chance = random.Random(seed)  # noqa: S311
    return lambda _: chance.random() < 0.5


@pytest.mark.parametrize("name", ["add", "commit", "push", "switch"])
@pytest.mark.parametrize(
    "survives",
    [
        pytest.param(nothing, id="nothing survives that was not synced"),
        pytest.param(all_names, id="names survive and contents do not"),
        *[pytest.param(sometimes(seed), id=f"half survives {seed}", marks=pytest.mark.slow) for seed in range(5)],
    ],
)
def test_a_power_cut_at_any_moment_loses_nothing_that_was_committed(
    cases: dict[str, Case], name: str, survives: Survives
) -> None:
    case = cases[name]
    folder, events = recorded(case)
    shutil.rmtree(folder)
    shutil.copytree(case.folder, folder, symlinks=True)
    disk = Disk(folder)
    checked: set[bytes] = set()
    for event in (None, *events):
        if event is not None:
            disk.apply([event])
        with fast_folder() as copies:
            image = copies / "image"
            digest = disk.write_to(image, survives)
            # Of two moments that leave the same to the byte, one is enough.
            if digest not in checked:
                checked.add(digest)
                check_sound(case, image)
                finish(case, image, files_survive=False)
    shutil.rmtree(folder)
