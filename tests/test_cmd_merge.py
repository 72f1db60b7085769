"""dsvc merge, and what other commands say in the middle of one."""

import json
from pathlib import Path

import pytest

from dsvc.worktree.switch import switch_to_branch, switch_to_new_branch
from tests.conftest import RunDsvc
from tests.worktree_support import Files, commit_all, make_worktree, read_files

BASE: Files = {b"a.csv": b"1\n", b"b.csv": b"1\n", b"c.csv": b"1\n"}
OURS: Files = {b"a.csv": b"ours\n", b"b.csv": b"1\n", b"c.csv": b"ours\n"}
THEIRS: Files = {b"a.csv": b"theirs\n", b"b.csv": b"theirs\n"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """On main; topic is in conflict with it about `a.csv` and `c.csv`, and easy has nothing but a new file."""
    worktree = make_worktree(tmp_path / "repository")
    root = commit_all(worktree, BASE, "base")
    switch_to_new_branch(worktree, "topic", root)
    commit_all(worktree, THEIRS, "theirs")
    switch_to_new_branch(worktree, "easy", root)
    commit_all(worktree, {**BASE, b"new.csv": b"new\n"}, "easy")
    switch_to_branch(worktree, "main")
    commit_all(worktree, OURS, "ours")
    worktree.close()
    return worktree.root


def test_a_merge_says_what_it_made(folder: Path, run_dsvc: RunDsvc) -> None:
    made = run_dsvc("merge", "easy", cwd=folder)

    assert made.stderr.splitlines()[0].endswith("] Merge branch 'easy' into main")
    assert made.stderr.splitlines()[1] == " 1 path changed"
    assert run_dsvc("merge", "easy", cwd=folder).stderr == "Already up to date.\n"
    assert run_dsvc("log", "-1", "--format=%s", "easy", cwd=folder).stdout == "easy\n"


def test_conflicts_are_listed_resolved_and_committed(folder: Path, run_dsvc: RunDsvc) -> None:
    merged = run_dsvc("merge", "topic", cwd=folder, code=5)

    assert merged.stderr.splitlines()[:-1] == [
        "CONFLICT (content): both sides changed a.csv",
        "CONFLICT (modify/delete): c.csv deleted in topic and modified in HEAD; the latter stays for now",
        "error: 2 paths in conflict with topic, which is not committed",
    ]
    assert run_dsvc("status", "--porcelain", cwd=folder).lines == ["UU a.csv", "M  b.csv", "UD c.csv"]
    status = run_dsvc("status", cwd=folder).lines
    assert status[status.index("Unmerged paths:") + 3 :][:2] == ["\tboth modified:   a.csv", "\tdeleted by them: c.csv"]
    assert run_dsvc("cat", ":1:a.csv", ":2:a.csv", ":3:a.csv", cwd=folder).stdout == "1\nours\ntheirs\n"
    assert run_dsvc("diff", "--name-status", cwd=folder).lines == ["U\ta.csv", "U\tc.csv"]
    assert run_dsvc("diff", cwd=folder).lines == ["* Unmerged path a.csv", "* Unmerged path c.csv"]
    run_dsvc("commit", "-m", "too early", cwd=folder, code=5)

    run_dsvc("checkout", "--theirs", "a.csv", cwd=folder)
    run_dsvc("add", "a.csv", cwd=folder)
    run_dsvc("rm", "-q", "c.csv", cwd=folder)
    ended = run_dsvc("merge", "--continue", cwd=folder)

    assert ended.stderr.endswith("] Merge branch 'topic' into main\n")
    assert read_files(folder) == {b"a.csv": b"theirs\n", b"b.csv": b"theirs\n"}
    assert run_dsvc("status", "-s", cwd=folder).stdout == ""


def test_an_abort_goes_back(folder: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("merge", "topic", cwd=folder, code=5)
    run_dsvc("restore", "--theirs", "a.csv", cwd=folder)

    assert run_dsvc("merge", "--abort", cwd=folder).stderr.endswith(" ours\n")

    assert read_files(folder) == OURS
    assert "no merge is to be concluded" in run_dsvc("merge", "--abort", cwd=folder, code=4).stderr
    assert "merge: merge ended" in run_dsvc("undo", "--list", cwd=folder).stdout
    assert "the merge is to be concluded again" in run_dsvc("undo", cwd=folder).stderr


def test_json_has_a_line_for_each_conflict_and_one_for_the_end(folder: Path, run_dsvc: RunDsvc) -> None:
    ended = run_dsvc("merge", "--json", "topic", cwd=folder, code=5)

    *conflicts, last = map(json.loads, ended.lines)
    assert [(one["path"], one["type"]) for one in conflicts] == [("a.csv", "UU"), ("c.csv", "UD")]
    assert (last["kind"], last["result"], last["branch"], last["conflicts"]) == ("merge", "conflict", "main", 2)
    records = [json.loads(line) for line in run_dsvc("status", "--json", cwd=folder).lines]
    assert records[0]["unfinished"] == "merge"
    assert [one["type"] for one in records if one["kind"] == "unmerged"] == ["UU", "UD"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([], 2),
        (["--ff", "--no-ff", "topic"], 2),
        (["--continue", "topic"], 2),
        (["nowhere"], 4),
        (["--continue"], 4),
        (["--ff-only", "topic"], 5),
    ],
)
def test_what_cannot_be_is_refused(folder: Path, run_dsvc: RunDsvc, words: list[str], code: int) -> None:
    run_dsvc("merge", *words, cwd=folder, code=code)

    assert read_files(folder) == OURS


def test_the_message_of_a_merge_is_ready_for_the_commit(folder: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("merge", "--no-commit", "easy", "-m", "my words", cwd=folder)

    run_dsvc("commit", "--no-edit", "-q", cwd=folder)

    assert run_dsvc("log", "-1", "--format=%s", cwd=folder).stdout == "my words\n"
