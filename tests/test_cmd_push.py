"""dsvc push."""

import json
from pathlib import Path

import pytest

from tests.conftest import RunDsvc


@pytest.fixture
def work(repository_folder: Path, run_dsvc: RunDsvc) -> Path:
    """A repository with one version, and a remote that is not there yet."""
    (repository_folder / "a.csv").write_text("1,2\n")
    run_dsvc("add", "-A", cwd=repository_folder)
    run_dsvc("commit", "-q", "-m", "first", cwd=repository_folder)
    run_dsvc("remote", "add", "origin", "../remote", cwd=repository_folder)
    return repository_folder


def edit(work: Path, run_dsvc: RunDsvc, text: str) -> None:
    (work / "a.csv").write_text(text)
    run_dsvc("commit", "-q", "-a", "-m", text, cwd=work)


def test_the_first_push_makes_the_store_and_says_what_it_did(work: Path, run_dsvc: RunDsvc) -> None:
    result = run_dsvc("push", cwd=work)

    assert result.stdout == ""
    assert result.stderr.splitlines()[1:] == ["To ../remote", " * [new branch]  main -> main"]
    assert result.stderr.startswith("sent 1 version with 3 objects (")
    assert run_dsvc("push", cwd=work).stderr == "Everything up-to-date\n"
    assert run_dsvc("fsck", "../remote", cwd=work).stderr.startswith("../remote is whole: 1 log entry, ")


def test_a_dry_run_makes_nothing(work: Path, run_dsvc: RunDsvc) -> None:
    result = run_dsvc("push", "-n", cwd=work)

    assert result.stderr.startswith("would send 1 version with 3 objects")
    assert not (work / "../remote").exists()


def test_it_tells_scripts_in_json(work: Path, run_dsvc: RunDsvc) -> None:
    ref, data = map(json.loads, run_dsvc("push", "--json", cwd=work).lines)

    assert (ref["kind"], ref["ref"], ref["old"], ref["status"]) == ("ref", "refs/heads/main", None, "new")
    assert len(ref["new"]) == 64
    assert (data["kind"], data["commits"], data["objects"]) == ("data", 1, 3)


def test_quiet_says_nothing(work: Path, run_dsvc: RunDsvc) -> None:
    assert run_dsvc("push", "-q", cwd=work).stderr == ""


def test_a_rejected_branch_is_a_conflict_with_a_hint(work: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("push", cwd=work)
    run_dsvc("clone", "-q", "../remote", "../other", cwd=work)
    edit(work.parent / "other", run_dsvc, "theirs")
    run_dsvc("push", "-q", cwd=work.parent / "other")
    edit(work, run_dsvc, "ours")

    result = run_dsvc("push", cwd=work, code=5)

    assert " ! [rejected]  main -> main (non-fast-forward)" in result.stderr
    assert "error: rejected: main (non-fast-forward)" in result.stderr
    assert "hint: the remote has versions that are not here: run `dsvc pull`" in result.stderr
    forced = run_dsvc("push", "--force", cwd=work)
    assert " + " in forced.stderr
    assert "(forced update)" in forced.stderr


def test_all_branches_and_tags_can_be_pushed(work: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("branch", "vision/imagenet", cwd=work)
    run_dsvc("tag", "v1", cwd=work)

    run_dsvc("push", "-q", "--all", "--tags", cwd=work)

    run_dsvc("clone", "-q", "../remote", "../other", cwd=work)
    assert run_dsvc("tag", cwd=work.parent / "other").lines == ["v1"]
    branches = run_dsvc("branch", "-r", cwd=work.parent / "other").stdout.split()
    assert branches == ["origin/main", "origin/vision/imagenet"]


def test_a_branch_can_be_removed_there(work: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("push", "-q", "origin", "main", "main:old", cwd=work)

    assert " - [deleted]  (none) -> old" in run_dsvc("push", "origin", "--delete", "old", cwd=work).stderr
    run_dsvc("push", "origin", "--delete", "old", cwd=work, code=4)
    run_dsvc("push", "--delete", cwd=work, code=2)


def test_the_upstream_is_remembered(work: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("remote", "add", "backup", "../backup", cwd=work)

    run_dsvc("push", "-u", "backup", "main:copy", cwd=work)

    assert run_dsvc("config", "branch.main.remote", cwd=work).lines == ["backup"]
    assert run_dsvc("config", "branch.main.merge", cwd=work).lines == ["copy"]


def test_the_branch_that_somebody_works_on_there_is_not_moved(work: Path, run_dsvc: RunDsvc) -> None:
    other = work.parent / "other"
    run_dsvc("clone", "-q", work, other)
    edit(other, run_dsvc, "new")

    result = run_dsvc("push", cwd=other, code=5)

    assert "(checked out there)" in result.stderr
    run_dsvc("push", "-q", "origin", "main:from-other", cwd=other)
    assert run_dsvc("status", "-s", cwd=work).stdout == ""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["nowhere"], 4),
        (["origin", "nothing"], 4),
        (["origin", "main:refs/worktrees/main"], 10),
        (["origin", "a b:c"], 4),
        (["origin", "main:a..b"], 2),
        (["--all", "origin", "main"], 2),
        (["ftp://host/x", "main"], 2),
        (["/no/such/folder", "main"], 4),
    ],
)
def test_what_cannot_be_pushed_is_refused(work: Path, run_dsvc: RunDsvc, arguments: list[str], code: int) -> None:
    result = run_dsvc("push", *arguments, cwd=work, code=code)

    assert result.stderr.startswith("error: ")


def test_a_repository_without_a_version_has_nothing_to_push(repository_folder: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("remote", "add", "origin", "../remote", cwd=repository_folder)

    result = run_dsvc("push", cwd=repository_folder, code=4)

    assert result.stderr.startswith("error: there is no commit to push yet")


def test_each_remote_gets_it_and_one_that_fails_keeps_none_of_the_others(work: Path, run_dsvc: RunDsvc) -> None:
    disk = work.parent / "disk"
    disk.mkdir()
    run_dsvc("remote", "add", "broken", "../disk/remote", cwd=work)
    run_dsvc("remote", "add", "second", "../second", cwd=work)
    disk.rmdir()

    result = run_dsvc("push", "--all-remotes", cwd=work, code=4)

    assert result.stderr.count("error: ") == 1
    assert [line for line in result.stderr.splitlines() if line.endswith(":")] == ["broken:", "origin:", "second:"]
    for name in ("origin", "second"):
        assert run_dsvc("push", "-q", "--json", name, cwd=work).lines[0].endswith('"status":"unchanged"}')


def test_a_remote_that_is_read_only_is_none_of_all_remotes(work: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("remote", "add", "upstream", "../upstream", "--read-only", cwd=work)

    result = run_dsvc("push", "--all-remotes", cwd=work)

    assert "upstream: it is read-only, and left out" in result.stderr.splitlines()
    assert not (work / "../upstream").exists()
    told = [json.loads(line) for line in run_dsvc("push", "--all-remotes", "--json", cwd=work).lines]
    assert {one["name"]: one["read_only"] for one in told if one["kind"] == "remote"} == {
        "origin": False,
        "upstream": True,
    }


def test_all_remotes_take_neither_one_remote_nor_an_upstream(work: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("push", "--all-remotes", "origin", cwd=work, code=2)
    run_dsvc("push", "--all-remotes", "-u", cwd=work, code=2)


def test_any_revision_can_be_pushed_to_a_branch_that_is_named(work: Path, run_dsvc: RunDsvc) -> None:
    edit(work, run_dsvc, "second")

    run_dsvc("push", "-q", "origin", "main~1:old", "HEAD~1:older", cwd=work)

    first = run_dsvc("log", "--format=%H", "-1", "main~1", cwd=work).lines
    refs = [json.loads(line) for line in run_dsvc("push", "-v", "--json", "origin", "main~1:old", cwd=work).lines]
    assert (refs[0]["new"], refs[0]["status"]) == (first[0], "unchanged")
    assert "say which branch" in run_dsvc("push", "origin", "main~1", cwd=work, code=4).stderr
    assert run_dsvc("push", "origin", "main~7:old", cwd=work, code=4).stderr.startswith("error: ")


def test_a_mirror_gets_all_refs_and_loses_those_that_are_not_here(work: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("config", "remote.origin.mirror", "true", cwd=work)
    run_dsvc("branch", "old", cwd=work)
    run_dsvc("tag", "v1", cwd=work)
    run_dsvc("push", "-q", cwd=work)
    assert [line.split()[0] for line in run_dsvc("list", "origin", cwd=work).lines] == ["main", "old", "v1"]
    run_dsvc("branch", "-q", "-D", "old", cwd=work)
    run_dsvc("commit", "-q", "--amend", "-m", "Another", cwd=work)

    result = run_dsvc("push", cwd=work)

    assert [line.split()[0] for line in run_dsvc("list", "origin", cwd=work).lines] == ["main", "v1"]
    assert "(forced update)" in result.stderr
    assert "[deleted]" in result.stderr
    # Who says what to push means that.
    run_dsvc("branch", "new", cwd=work)
    run_dsvc("push", "-q", "origin", "main", cwd=work)
    assert [line.split()[0] for line in run_dsvc("list", "origin", cwd=work).lines] == ["main", "v1"]
