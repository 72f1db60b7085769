"""dsvc snapshot, as cron calls it."""

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from select import select
from typing import Any

import pytest

from dsvc.config import Config
from dsvc.log.verify import verify_log
from dsvc.repository import open_worktree
from dsvc.worktree.session import Switch
from dsvc.worktree.snapshot_lock import Holder, SnapshotRunningError, hold
from dsvc.worktree.worktree import Worktree
from tests.conftest import PROJECT, Result, RunDsvc
from tests.crash_support import Pause, Running, fast_folder, run_forked, warm_up
from tests.worktree_support import make_context

HOLDER = Holder("another-host", 4711, 1_785_000_000_000_000)


@pytest.fixture
def work(repository_folder: Path, run_dsvc: RunDsvc) -> Path:
    """A repository with one version, a change, and a remote that is not there yet."""
    (repository_folder / "a.csv").write_text("1,2\n")
    run_dsvc("snapshot", "-q", cwd=repository_folder)
    run_dsvc("remote", "add", "origin", "../remote", cwd=repository_folder)
    (repository_folder / "a.csv").write_text("1,3\n")
    return repository_folder


def said(result: Result) -> str:
    """Return the only line that was said, without the version's id."""
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    where, _, rest = line.partition("] ")
    return f"{where.split()[0]}] {rest}" if rest else line


def subjects(run_dsvc: RunDsvc, folder: Path, *words: str | Path) -> list[str]:
    return run_dsvc("log", "--format=%s", *words, cwd=folder).lines


def opened(folder: Path) -> Worktree:
    return open_worktree(folder / ".dsvc", make_context("test"), Config())


def test_what_changed_is_committed_and_pushed_and_told_in_one_line(work: Path, run_dsvc: RunDsvc) -> None:
    (work / "new" / "deep").mkdir(parents=True)
    (work / "new" / "deep" / "b.csv").write_text("3,4\n")

    line = said(run_dsvc("snapshot", work))

    assert line.startswith("[main] 1 new, 1 changed (8 B); pushed 2 versions to origin (")
    assert subjects(run_dsvc, work) == ["Snapshot: 1 new, 1 changed", "Snapshot: 1 new"]
    assert run_dsvc("status", "-s", cwd=work).stdout == ""
    run_dsvc("clone", "-q", "remote", "other")
    assert (work.parent / "other" / "new" / "deep" / "b.csv").read_text() == "3,4\n"


def test_where_nothing_changed_no_version_is_made_and_the_log_does_not_grow(work: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("snapshot", cwd=work)
    before = sorted((work / ".dsvc" / "store" / "log").rglob("*")), sorted((work / "../remote").rglob("*"))

    line = said(run_dsvc("snapshot", cwd=work))

    assert line == "[main] nothing changed; origin is up to date"
    assert before == (sorted((work / ".dsvc" / "store" / "log").rglob("*")), sorted((work / "../remote").rglob("*")))
    assert len(subjects(run_dsvc, work)) == 2


def test_an_empty_repository_has_nothing_to_commit_or_to_push(repository_folder: Path, run_dsvc: RunDsvc) -> None:
    assert said(run_dsvc("snapshot", repository_folder)) == "[main] nothing changed; there is no version yet"

    run_dsvc("remote", "add", "origin", "../remote", cwd=repository_folder)
    assert said(run_dsvc("snapshot", repository_folder)) == "[main] nothing changed; there is no version yet"
    assert said(run_dsvc("snapshot", "-n", repository_folder)) == "[main] nothing changed; origin is up to date"


def test_a_folder_that_is_empty_is_a_change_too(repository_folder: Path, run_dsvc: RunDsvc) -> None:
    (repository_folder / "empty").mkdir()

    run_dsvc("snapshot", repository_folder)

    assert subjects(run_dsvc, repository_folder) == ["Snapshot: 1 new"]


def test_what_is_staged_and_what_is_in_other_folders_is_taken_too(work: Path, run_dsvc: RunDsvc) -> None:
    (work / "staged").write_text("x")
    (work / "folder").mkdir()
    run_dsvc("add", "staged", cwd=work)
    (work / "a.csv").rename(work / "folder" / "c.csv")

    line = said(run_dsvc("snapshot", "folder", cwd=work))

    assert line.startswith("[main] 2 new, 1 removed (5 B); pushed ")
    assert run_dsvc("ls", "-r", cwd=work).lines == ["folder/c.csv", "staged"]
    assert run_dsvc("status", "-s", cwd=work).stdout == ""


def test_a_renamed_file_is_told_as_one(work: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("snapshot", work)
    (work / "a.csv").rename(work / "b.csv")

    assert said(run_dsvc("snapshot", "-n", work)).startswith("[main] would commit 1 new, 1 removed; ")
    assert said(run_dsvc("snapshot", work)).startswith("[main] 1 renamed; pushed 1 version to origin (")


def test_paths_that_are_not_text_are_taken(tmp_path: Path, run_dsvc: RunDsvc) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/w\xff"))
    run_dsvc("init", "-q", folder)
    (folder / os.fsdecode(b"f\xfe\n")).write_text("x")

    run_dsvc("snapshot", folder)

    assert run_dsvc("ls", "-z", cwd=folder).stdout == "f\udcfe\n\0"
    record = json.loads(run_dsvc("snapshot", "--json", folder).stdout)
    assert record["path_b64"]


def test_the_message_has_fields(work: Path, run_dsvc: RunDsvc) -> None:
    text = "{branch} {date} {time} of {host}: {new}+{changed}~{renamed}>{removed}- ({changes}) {} {x y}"

    run_dsvc("snapshot", "-m", text, work)

    host = os.uname().nodename
    wanted = f"main 2026-08-01 12:00 of {host}: 0+1~0>0- (1 changed) {{}} {{x y}}"
    assert subjects(run_dsvc, work, "-1") == [wanted]


@pytest.mark.parametrize("text", ["{chnages}", "", " \n"])
def test_a_message_that_cannot_be_is_refused_before_anything_is_done(work: Path, run_dsvc: RunDsvc, text: str) -> None:
    result = run_dsvc("snapshot", "-m", text, work, code=2)

    assert result.stderr.startswith("error: a message ")
    assert run_dsvc("status", "-s", cwd=work).lines == [" M a.csv"]


def test_quiet_says_nothing_of_what_went_well(work: Path, run_dsvc: RunDsvc) -> None:
    for _ in range(2):
        result = run_dsvc("snapshot", "-q", work)
        assert (result.stdout, result.stderr) == ("", "")


def test_sockets_and_pipes_are_left_out_and_counted(work: Path, run_dsvc: RunDsvc) -> None:
    os.mkfifo(work / "pipe")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(os.path.relpath(work / "socket"))

        line = said(run_dsvc("snapshot", work))

    assert line.startswith("[main] 1 changed (4 B); left out 2 sockets, pipes and devices; pushed ")


def test_a_dry_run_tells_and_changes_nothing(work: Path, run_dsvc: RunDsvc) -> None:
    (work / "new").write_text("new")

    line = said(run_dsvc("snapshot", "-n", work))

    assert line == "[main] would commit 1 new, 1 changed; would push 2 versions to origin"
    assert run_dsvc("status", "-s", cwd=work).lines == [" M a.csv", "?? new"]
    assert not (work / "../remote").exists()
    record = json.loads(run_dsvc("snapshot", "-n", "--json", work).stdout)
    assert (record["status"], record["added"], record["modified"], record["commits"]) == ("planned", 1, 1, 2)


def test_a_dry_run_counts_from_the_last_version_whatever_is_staged(work: Path, run_dsvc: RunDsvc) -> None:
    (work / "new").write_text("new")
    (work / "gone").write_text("gone")
    run_dsvc("add", "-A", cwd=work)
    (work / "gone").unlink()
    (work / "new").write_text("newer")
    (work / "a.csv").unlink()

    told = said(run_dsvc("snapshot", "-n", "--no-push", work)), said(run_dsvc("snapshot", "--no-push", work))

    assert told == ("[main] would commit 1 new, 1 removed", "[main] 1 new, 1 removed (5 B)")


def test_it_tells_programs_in_json(work: Path, run_dsvc: RunDsvc) -> None:
    first, second = (json.loads(run_dsvc("snapshot", "--json", work).stdout) for _ in range(2))

    assert first["commit"] == second["commit"] == run_dsvc("log", "-1", "--format=%H", cwd=work).lines[0]
    assert (first["kind"], first["status"], second["status"]) == ("snapshot", "committed", "unchanged")
    assert (first["path"], first["branch"], first["remote"]) == (str(work), "main", "origin")
    assert (first["message"], second["message"]) == ("Snapshot: 1 changed", None)
    assert (first["modified"], first["added"], first["size"], first["left_out"]) == (1, 0, 4, 0)
    assert (first["pushed"], first["commits"], second["pushed"], second["commits"]) == (True, 2, True, 0)
    assert first["sent_bytes"] > 0


# Where it goes.


def test_without_a_remote_the_version_is_made_and_that_is_said(work: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("remote", "remove", "origin", cwd=work)

    assert said(run_dsvc("snapshot", work)) == "[main] 1 changed (4 B); there is no remote to push to"
    assert said(run_dsvc("snapshot", work)) == "[main] nothing changed; there is no remote to push to"


def test_without_a_push_the_version_is_made_and_stays_here(work: Path, run_dsvc: RunDsvc) -> None:
    assert said(run_dsvc("snapshot", "--no-push", work)) == "[main] 1 changed (4 B)"

    assert not (work / "../remote").exists()


@pytest.mark.parametrize("words", [["--remote", "nowhere"], []])
def test_a_remote_that_is_not_configured_is_an_error_before_anything_is_done(
    work: Path, run_dsvc: RunDsvc, words: list[str]
) -> None:
    # Of two, neither is the one that is meant.
    run_dsvc("remote", "rename", "origin", "one", cwd=work)
    run_dsvc("remote", "add", "two", "../two", cwd=work)

    result = run_dsvc("snapshot", *words, work, code=4)

    assert result.stderr.startswith(f"error: there is no remote `{'nowhere' if words else 'origin'}`\nhint: ")
    assert run_dsvc("status", "-s", cwd=work).lines == [" M a.csv"]


def test_the_remote_is_the_one_named_or_followed(work: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("remote", "add", "backup", "../backup", cwd=work)

    assert "pushed 2 versions to origin" in said(run_dsvc("snapshot", work))
    assert "pushed 2 versions to backup" in said(run_dsvc("snapshot", "--remote", "backup", work))
    run_dsvc("config", "branch.main.remote", "backup", cwd=work)
    assert said(run_dsvc("snapshot", work)) == "[main] nothing changed; backup is up to date"


@pytest.mark.parametrize("edited_since", [True, False])
def test_what_a_lost_remote_could_not_take_goes_with_the_next_run(
    work: Path, run_dsvc: RunDsvc, *, edited_since: bool
) -> None:
    run_dsvc("snapshot", work)
    (work / "a.csv").write_text("5,6\n")
    (work / "../remote").rename(work / "../away")

    lost = run_dsvc("snapshot", "-q", work, code=7)
    again = run_dsvc("snapshot", "-q", work, code=7)
    assert not (work / "../remote").exists()
    (work / "../away").rename(work / "../remote")
    if edited_since:
        (work / "a.csv").write_text("7,8\n")
    back = said(run_dsvc("snapshot", work))

    why = "but the push to origin failed: the store of the remote origin is gone"
    assert f"] committed 1 changed, {why}\nhint: " in lost.stderr
    assert f"] nothing changed, {why}\nhint: " in again.stderr
    pushed = "1 changed (4 B); pushed 2 versions" if edited_since else "nothing changed; pushed 1 version"
    assert back.startswith(f"[main] {pushed} to origin (")


def test_a_failed_push_is_told_to_programs_too(work: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("snapshot", work)
    (work / "a.csv").write_text("5,6\n")
    (work / "../remote").rename(work / "../away")

    result = run_dsvc("snapshot", "--json", work, code=7)

    record = json.loads(result.stdout)
    assert (record["status"], record["pushed"], record["exit_code"]) == ("committed", False, 7)
    assert record["error"] == "the store of the remote origin is gone"
    assert result.stderr.startswith("error: ")


def test_versions_of_others_on_the_remote_are_a_conflict_after_the_commit(work: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("snapshot", work)
    run_dsvc("clone", "-q", "remote", "other")
    (work / "../other/b.csv").write_text("theirs")
    run_dsvc("snapshot", "-q", "other")
    (work / "a.csv").write_text("ours")

    result = run_dsvc("snapshot", work, code=5)

    assert "committed 1 changed, but the push to origin failed: rejected: main (non-fast-forward)" in result.stderr
    assert "hint: the remote has versions that are not here: run `dsvc pull`" in result.stderr
    assert subjects(run_dsvc, work, "-1") == ["Snapshot: 1 changed"]


# Where it does not work.


def test_a_folder_without_a_repository_is_named(tmp_path: Path, run_dsvc: RunDsvc) -> None:
    plain = run_dsvc("snapshot", "-q", tmp_path, code=3)
    missing = run_dsvc("snapshot", "-q", "missing", code=4)

    assert plain.stderr.splitlines() == [
        f"error: not a dsvc repository (or any of the parent folders): {tmp_path}",
        f"hint: to make one, run `dsvc init {tmp_path}`",
    ]
    assert missing.stderr == f"error: there is no folder {tmp_path}/missing\n"


def test_a_detached_head_is_refused(work: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("checkout", "-q", "HEAD~0", cwd=work)

    result = run_dsvc("snapshot", work, code=5)

    assert result.stderr.startswith("error: HEAD is not on a branch\nhint: go to a branch with `dsvc switch BRANCH`")
    assert run_dsvc("status", "-s", cwd=work).lines == [" M a.csv"]


def test_an_interrupted_switch_is_refused(work: Path, run_dsvc: RunDsvc) -> None:
    worktree = opened(work)
    tree = worktree.head_tree(worktree.store.state()).root.hex()
    switch = Switch(tree, tree, "refs/heads/other")
    worktree.store.publish(lambda state: [worktree.session(state).change(state, switching=switch)])

    result = run_dsvc("snapshot", work, code=5)

    assert result.stderr.startswith("error: a switch to other was interrupted; ")
    assert "hint: to finish it, run `dsvc switch --continue`" in result.stderr


def test_a_merge_that_somebody_began_is_not_concluded(work: Path, run_dsvc: RunDsvc) -> None:
    worktree = opened(work)
    head = run_dsvc("log", "-1", "--format=%H", cwd=work).lines
    worktree.store.publish(lambda state: [worktree.session(state).change(state, merge=head)])

    result = run_dsvc("snapshot", work, code=5)

    assert result.stderr.startswith("error: a merge is not concluded yet\nhint: ")


# Without an environment.


def test_no_variable_of_the_environment_is_needed(work: Path, run_dsvc: RunDsvc) -> None:
    (work / "caf\N{LATIN SMALL LETTER E WITH ACUTE}").write_text("x")

    # `-m` finds the package in the working folder, so not even PYTHONPATH is there.
    command = [sys.executable, "-W", "error", "-m", "dsvc", "snapshot", str(work)]
    ended = subprocess.run(
        command, cwd=PROJECT, env={}, stdin=subprocess.DEVNULL, capture_output=True, check=True, start_new_session=True
    )

    assert (ended.stdout, ended.stderr.count(b"\n")) == (b"", 1)
    assert subjects(run_dsvc, work, "-1") == ["Snapshot: 1 new, 1 changed"]
    assert "@" in run_dsvc("log", "-1", "--format=%ae", cwd=work).stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody without a name; run the tests with sudo")
def test_a_user_without_a_name_or_a_home_may_run_it(work: Path, run_dsvc: RunDsvc) -> None:
    with fast_folder() as folder:
        folder.chmod(0o755)
        there = shutil.copytree(work, folder / "copy")
        subprocess.run(["chown", "-R", "54321", folder], check=True)

        # Where Python itself is out of reach for others, what is needed has to be loaded before.
        warm_up()
        ended = run_forked("snapshot", "--no-push", cwd=there, user=54321, before=os.environ.clear)

        assert ended.code == 0, ended.stderr
        assert ended.stderr.count("\n") == 1
        assert subjects(run_dsvc, there, "-1") == ["Snapshot: 1 changed"]
        assert run_dsvc("log", "-1", "--format=%an", cwd=there).lines == ["54321"]


# Overlapping runs.


@pytest.fixture
def busy(work: Path) -> Iterator[Path]:
    """The lock, held by this process."""
    with hold(work / ".dsvc" / "snapshot.lock", HOLDER):
        yield work / ".dsvc" / "snapshot.lock"


@pytest.mark.usefixtures("busy")
def test_a_run_that_overlaps_another_is_skipped_and_says_who_that_is(work: Path, run_dsvc: RunDsvc) -> None:
    result = run_dsvc("snapshot", work)

    holder = "process 4711 on another-host, since 2026-07-25 17:20:00 UTC"
    assert result.stderr == f"skipped: another snapshot is running ({holder})\n"
    assert run_dsvc("snapshot", "-q", work).stderr == ""
    assert run_dsvc("status", "-s", cwd=work).lines == [" M a.csv"]
    record = json.loads(run_dsvc("snapshot", "--json", work).stdout)
    assert record["status"] == "skipped"
    assert record["holder"] == {"host": "another-host", "process": 4711, "since": "2026-07-25T17:20:00+00:00"}


@pytest.mark.usefixtures("busy")
@pytest.mark.parametrize("seconds", ["0", "1"])
def test_a_run_that_gives_up_waiting_is_busy(work: Path, run_dsvc: RunDsvc, seconds: str) -> None:
    result = run_dsvc("snapshot", "--on-overlap=wait", "--timeout", seconds, work, code=6)

    assert result.stderr.startswith("error: another snapshot is running (process 4711 on another-host, since ")


def test_a_run_that_waits_takes_what_changed_until_then(work: Path, run_dsvc: RunDsvc) -> None:
    pause = Pause()

    def tell_of_the_lock() -> None:
        real: Any = fcntl.lockf

        def watched(descriptor: int, operation: int) -> None:
            pause.hold()
            real(descriptor, operation)

        setattr(fcntl, "lockf", watched)  # noqa: B010 (mypy wants all that it takes)

    with hold(work / ".dsvc" / "snapshot.lock", HOLDER):
        waiting = Running(("snapshot", "--on-overlap=wait", work), cwd=work, before=tell_of_the_lock)
        assert pause.expect(waiting)
        pause.go_on()
        end = waiting.end()
        assert select([end], [], [], 0) == ([], [], [])
        os.close(end)
        (work / "late").write_text("x")
    ended = waiting.wait()
    pause.close()

    assert (ended.code, ended.stdout) == (0, ""), ended.stderr
    assert " 1 new, 1 changed (5 B); pushed " in ended.stderr
    assert said(run_dsvc("snapshot", work)) == "[main] nothing changed; origin is up to date"


def test_the_lock_ends_with_the_process_that_holds_it(work: Path, tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holding = Pause()

    def hold_for_ever() -> None:
        with hold(path, HOLDER):
            holding.hold()

    child = Running(("version",), cwd=work, before=hold_for_ever)
    assert holding.expect(child)
    with pytest.raises(SnapshotRunningError, match="process 4711 on another-host"), hold(path, HOLDER):
        pass
    holder = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()[-1]
    os.kill(int(holder), signal.SIGKILL)
    assert child.wait().was_killed
    holding.close()

    with hold(path, HOLDER):
        pass


def test_workers_that_outlive_a_killed_run_hold_no_lock(work: Path, environment: dict[str, str]) -> None:
    for number in range(9000):
        (work / f"{number}").write_bytes(b"%d" % number)
    # The scan comes to this pipe when two batches are on their way to the workers.
    stop = work / "zz"
    stop.mkdir()
    os.mkfifo(stop / ".dsvcignore")
    command = [sys.executable, "-m", "dsvc", "snapshot", "-j", "2"]
    running = subprocess.Popen(command, cwd=work, env=environment, start_new_session=True)
    try:
        # Opening the pipe for writing returns once the scan has it open for reading.
        with (stop / ".dsvcignore").open("wb"):
            running.kill()
            running.wait()
        (stop / ".dsvcignore").unlink()

        ended = run_forked("snapshot", "-j", "1", cwd=work)

        assert (ended.code, ended.stderr.count("9,001 new")) == (0, 1), ended.stderr
    finally:
        # They end by themselves soon.
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
    assert list(verify_log(opened(work).store.log)) == []
