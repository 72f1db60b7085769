"""dsvc list, and the states that pushes leave in a store."""

import errno
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dsvc.log.entry import RefChange
from tests.conftest import RunDsvc
from tests.crash_support import Watch, dying_at, failing_at, fast_folder, run_forked, warm_up
from tests.worktree_support import commit_all, make_worktree

# More than a push has.
MOST_STEPS = 200


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A repository with a version 1.0, and a remote that has nothing yet."""
    worktree = make_worktree(tmp_path / "repository")
    first = commit_all(worktree, {b"a": b"1", b"b": b"22"}, "one")
    worktree.store.publish(lambda _: [RefChange("refs/tags/v1", None, first.hex(), publish=True)])
    commit_all(worktree, {b"a": b"22", b"b": b"22"}, "two")
    (worktree.control / "config.toml").write_text('[remote.origin]\nurl = "../remote"\n')
    return worktree.root


def records(run_dsvc: RunDsvc, folder: Path, *words: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run_dsvc("list", *words, "--json", cwd=folder).lines]


def test_datasets_and_versions_are_listed_with_their_states(folder: Path, run_dsvc: RunDsvc) -> None:
    assert run_dsvc("list", cwd=folder).lines == [
        "main  final      2 files, 4 B  2026-07-25  two",
        "v1    published  2 files, 3 B  2026-07-25  one",
    ]

    found = records(run_dsvc, folder)

    assert [(one["kind"], one["ref"], one["state"]) for one in found] == [
        ("dataset", "refs/heads/main", "final"),
        ("version", "refs/tags/v1", "published"),
    ]
    assert (found[0]["files"], found[0]["size"], found[0]["message"]) == (2, 4, "two")


def test_the_log_tells_states_where_it_is_asked(folder: Path, run_dsvc: RunDsvc) -> None:
    assert run_dsvc("log", "--state", cwd=folder).lines[1] == "State:  final"

    found = [json.loads(line) for line in run_dsvc("log", "--state", "--json", cwd=folder).lines]

    assert [one["state"] for one in found] == ["final", "published"]
    assert all("state" not in json.loads(line) for line in run_dsvc("log", "--json", cwd=folder).lines)


def test_what_is_staged_is_a_draft(folder: Path, run_dsvc: RunDsvc) -> None:
    (folder / "c").write_text("333")
    run_dsvc("add", "-q", "c", cwd=folder)

    draft = records(run_dsvc, folder, ".", "ma*")[0]

    assert draft == {"kind": "draft", "name": "main", "state": "draft", "files": 3, "size": 7, "changes": 1}
    assert " ".join(run_dsvc("list", cwd=folder).lines[0].split()) == "main draft 3 files, 7 B 1 change staged"


def test_names_are_chosen_by_patterns(folder: Path, run_dsvc: RunDsvc) -> None:
    assert [one["name"] for one in records(run_dsvc, folder, ".", "v*")] == ["v1"]
    assert records(run_dsvc, folder, ".", "x*") == []


def test_a_remote_tells_what_it_has(folder: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("list", "origin", cwd=folder, code=4)
    run_dsvc("push", "-q", "--tags", "origin", "main", cwd=folder)

    by_name, by_address = records(run_dsvc, folder, "origin"), records(run_dsvc, folder, "../remote")

    assert [(one["name"], one["state"]) for one in by_name] == [("main", "final"), ("v1", "final")]
    assert by_name == by_address


@contextmanager
def session_left(folder: Path, at: Callable[[int], Watch], code: int | None) -> Iterator[tuple[Path, list[str]]]:
    """Push, stopped at each step in turn, until the remote has a session; yield where, and what is told of it."""
    warm_up()
    for step in range(MOST_STEPS):
        with fast_folder() as fast:
            root = shutil.copytree(folder, fast / "repository")
            ended = run_forked("push", "-q", "origin", "main", cwd=root, watch=at(step))
            if list((fast / "remote" / "sessions").glob("*/*")):
                assert ended.code == code, ended.stderr
                listed = run_forked("list", "origin", cwd=root)
                assert listed.code == 0, listed.stderr
                yield root, listed.stdout.splitlines()
                return
    pytest.fail("no session was left")


def test_a_push_that_was_killed_shows_as_uploading_until_the_next_one(folder: Path) -> None:
    with session_left(folder, lambda step: Watch(dying_at(step)), None) as (root, lines):
        (uploading,) = lines
        assert uploading.split()[:2] == ["main", "uploading"]
        assert f"@{os.uname().nodename}, process " in uploading
        assert ", 0 % of " in uploading
        assert run_forked("push", "-q", "origin", "main", cwd=root).code == 0
        # What the log has is final, whatever a session says.
        assert [line.split()[1] for line in run_forked("list", "origin", cwd=root).stdout.splitlines()] == ["final"]


def test_a_push_that_failed_says_why(folder: Path) -> None:
    # Not lasting: what is said of it needs room too.
    with session_left(folder, lambda step: Watch(failing_at(step, errno.ENOSPC, lasting=False)), 9) as (root, lines):
        (failed,) = lines
        assert failed.split()[:2] == ["main", "failed"]
        assert "No space left on device" in failed
        shown = run_forked("log", "--oneline", "--state=origin", cwd=root).stdout.splitlines()
        assert [line.split()[1:] for line in shown] == [["[failed]", "two"], ["[published]", "one"]]


def test_a_push_that_was_interrupted_is_aborted(folder: Path) -> None:
    def interrupted(step: int) -> Watch:
        def act(_watch: Watch, _call: str, number: int) -> None:
            if number == step:
                os.kill(os.getpid(), signal.SIGINT)

        return Watch(act)

    with session_left(folder, interrupted, 130) as (_, lines):
        assert [line.split()[1] for line in lines] == ["aborted"]
