"""dsvc list, and the states that pushes leave in a store."""

import csv
import errno
import io
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dsvc.history.catalog import read_catalog
from dsvc.history.revisions import Target
from dsvc.history.store import Store
from dsvc.history.tags import create_tag
from dsvc.log.entry import RefChange
from dsvc.log.sessions import Upload, UploadState, encode_upload
from dsvc.model.ids import Kind, ObjectId
from tests.conftest import RunDsvc
from tests.counting_backend import CountingBackend
from tests.crash_support import Watch, dying_at, failing_at, fast_folder, run_forked, warm_up
from tests.history_support import Versions, commit_object, tag_object
from tests.worktree_support import commit_all, make_worktree, open_copy

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

    assert [(one["name"], one["state"]) for one in by_name] == [("main", "final"), ("v1", "published")]
    assert by_name == by_address


@pytest.fixture
def catalogue(folder: Path) -> Path:
    """The same with datasets, versions of them, and an alias; not everything is of one size or day."""
    store = open_copy(folder).store
    first, second = (ObjectId.from_hex(store.state().refs[ref].value) for ref in ("refs/tags/v1", "refs/heads/main"))
    changes = [RefChange(f"refs/heads/{name}", None, first.hex()) for name in ("vision/cats", "vision/x/dogs", "audio")]
    for version, commit in (("1.9.0", first), ("1.10.0", second), ("2.0.0-rc.1", second)):
        changes.append(RefChange(f"refs/tags/vision/cats@{version}", None, commit.hex(), publish=True))
    changes.append(RefChange("refs/tags/vision/cats@prod", None, first.hex()))
    store.publish(lambda _: changes)
    create_tag(store, "audio@1.0", Target(second, Kind.COMMIT), message="a release\n\nwith more words")
    return folder


def names(run_dsvc: RunDsvc, folder: Path, *words: str) -> list[object]:
    return [one["name"] for one in records(run_dsvc, folder, *words)]


def test_a_dataset_shows_its_latest_version_and_how_many_there_are(catalogue: Path, run_dsvc: RunDsvc) -> None:
    lines = run_dsvc("list", cwd=catalogue).lines

    assert lines[2].split()[:2] == ["vision/cats", "final"]
    assert lines[2].endswith("  1.10.0 of 3  one")
    assert lines[4].endswith("  a release")
    assert lines[5].split()[:2] == ["v1", "published"]
    assert lines[6].endswith("  alias        one")
    cats = records(run_dsvc, catalogue, "vision/cats")[0]
    assert (cats["versions"], cats["latest"]) == (["1.9.0", "1.10.0", "2.0.0-rc.1"], "1.10.0")


def test_they_are_sorted_and_filtered(catalogue: Path, run_dsvc: RunDsvc) -> None:
    assert names(run_dsvc, catalogue, "--datasets") == ["audio", "main", "vision/cats", "vision/x/dogs"]
    assert names(run_dsvc, catalogue, "--project", "vision", "--datasets") == ["vision/cats", "vision/x/dogs"]
    assert names(run_dsvc, catalogue, "vision/x") == ["vision/x/dogs"]
    assert names(run_dsvc, catalogue, "v*", "--versions", "--sort=version", "--reverse") == [
        "vision/cats@2.0.0-rc.1", "vision/cats@1.10.0", "vision/cats@1.9.0", "vision/cats@prod", "v1",
    ]  # fmt: skip
    assert names(run_dsvc, catalogue, "--tag", "1.*") == [
        "audio", "vision/cats", "audio@1.0", "vision/cats@1.9.0", "vision/cats@1.10.0",
    ]  # fmt: skip
    assert names(run_dsvc, catalogue, "--state", "final", "--versions") == ["audio@1.0", "vision/cats@prod"]
    assert names(run_dsvc, catalogue, "--datasets", "--sort=size") == ["audio", "vision/cats", "vision/x/dogs", "main"]
    assert "neither a remote nor a dataset" in run_dsvc("list", "nothing", cwd=catalogue, code=4).stderr


def test_csv_is_for_spreadsheets(catalogue: Path, run_dsvc: RunDsvc) -> None:
    printed = run_dsvc("list", "--csv", "audio", "vision/cats", cwd=catalogue).stdout
    rows = list(csv.DictReader(io.StringIO(printed)))

    assert [row["name"] for row in rows[:2]] == ["audio", "vision/cats"]
    assert (rows[1]["versions"], rows[1]["latest"], rows[1]["archived"]) == ("3", "1.10.0", "false")
    assert rows[2]["message"] == "a release\n\nwith more words"
    assert rows[1]["time"] == "2026-07-25T17:20:01+00:00"


def test_an_address_works_outside_of_any_repository(catalogue: Path, run_dsvc: RunDsvc, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()

    assert names(run_dsvc, outside, f"{catalogue}", "--datasets") == ["audio", "main", "vision/cats", "vision/x/dogs"]
    shutil.copytree(catalogue / ".dsvc" / "store", catalogue / "store")
    (catalogue / "audio").mkdir()
    # A folder that is a store is one, and any other is none.
    assert names(run_dsvc, catalogue, "store", "audio") == names(run_dsvc, catalogue, "audio") == ["audio", "audio@1.0"]
    run_dsvc("list", cwd=outside, code=3)
    run_dsvc("list", "../nowhere", cwd=outside, code=4)


def test_a_large_catalogue_reads_each_pack_a_few_times(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    writer = versions.store.writer()
    commits = [commit_object(writer, message=str(number)) for number in range(2000)]
    tags = [tag_object(writer, one, str(number)) for number, one in enumerate(commits)]
    refs = {f"refs/heads/project/{number}": one for number, one in enumerate(commits)}
    versions.publish(writer, refs | {f"refs/tags/project/{number}@1.0": one for number, one in enumerate(tags)})
    backend = CountingBackend(versions.store.backend)
    store = Store(backend, versions.store.context)
    state = store.state()
    backend.clear()

    entries = list(read_catalog(store, state))

    assert sorted(entry.commit.message for entry in entries) == sorted([*map(str, range(2000))] * 2)
    assert len(backend.asked) < 100


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


def test_a_push_that_was_killed_shows_as_aborted_until_the_next_one(folder: Path) -> None:
    with session_left(folder, lambda step: Watch(dying_at(step)), None) as (root, lines):
        (aborted,) = lines
        assert aborted.split()[:2] == ["main", "aborted"]
        assert f"@{os.uname().nodename}, process " in aborted
        assert ", 0 % of " in aborted
        assert run_forked("push", "-q", "origin", "main", cwd=root).code == 0
        # What the log has is final, whatever a session says.
        assert [line.split()[1] for line in run_forked("list", "origin", cwd=root).stdout.splitlines()] == ["final"]
        # And stays so when the branch goes on.
        assert run_forked("commit", "-q", "--allow-empty", "-m", "three", cwd=root).code == 0
        assert run_forked("push", "-q", "origin", "main", cwd=root).code == 0
        assert [line.split()[1] for line in run_forked("list", "origin", cwd=root).stdout.splitlines()] == ["final"]


def test_what_others_say_of_a_push_does_not_reach_the_terminal_as_it_is(folder: Path, run_dsvc: RunDsvc) -> None:
    told = Upload(
        1,
        UploadState.FAILED,
        "ada\x1b[31m",
        7,
        0,
        0,
        {"refs/heads/x\x1b[2J": "0" * 64},
        reason="\x1b]0;me\x07\nmain  final",
    )
    run_dsvc("push", "-q", "origin", "main", cwd=folder)
    session = folder / "../remote/sessions/word"
    session.mkdir(parents=True)
    (session / "0").write_bytes(encode_upload(told))

    lines = run_dsvc("list", "origin", "--datasets", cwd=folder).stdout.splitlines()

    assert [line.split()[1] for line in lines] == ["failed", "final"]
    assert all(line.isprintable() for line in lines)


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
