"""Lazy clones and pruning, through the command line: on line, off line, and killed at every step."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import RunDsvc
from tests.crash_support import Watch, dying_at, fast_folder, run_forked, warm_up
from tests.worktree_support import Content, Link, read_files, write_files

VERSIONS: list[dict[bytes, Content]] = [
    {b"a.csv": b"%d,2\n" % number, b"large": os.urandom(2_000_000), b"folder/b": b"same", b"link": Link(b"%d" % number)}
    for number in range(3)
]


@pytest.fixture
def origin(tmp_path: Path, run_dsvc: RunDsvc) -> Path:
    """A store with three versions, and nobody working in it."""
    work = tmp_path / "work"
    work.mkdir()
    make_origin(work, lambda *words: run_dsvc(*words, cwd=work))
    return tmp_path / "origin"


def make_origin(work: Path, run: object) -> None:
    call = run if callable(run) else None
    assert call is not None
    call("init", "-q")
    call("remote", "add", "origin", "../origin")
    for files in VERSIONS:
        for path in read_files(work):
            (work / os.fsdecode(path)).unlink()
        write_files(work, files)
        call("add", "-q", "-A")
        call("commit", "-q", "-m", "version")
    call("push", "-q", "origin", "main")


@pytest.fixture
def clone(origin: Path, run_dsvc: RunDsvc) -> Path:
    run_dsvc("clone", "-q", origin, "clone", cwd=origin.parent)
    return origin.parent / "clone"


def promised(clone: Path, run_dsvc: RunDsvc) -> int:
    (summary,) = (
        line for line in map(json.loads, run_dsvc("fsck", "--json", cwd=clone).lines) if line["kind"] == "summary"
    )
    assert not summary["damaged"]
    count: int = summary["promised"]
    return count


def test_a_clone_has_the_data_of_what_it_checks_out(clone: Path, run_dsvc: RunDsvc) -> None:
    assert read_files(clone) == VERSIONS[2]
    assert promised(clone, run_dsvc) > 10
    assert run_dsvc("config", "remote.origin.promisor", cwd=clone).lines == ["true"]
    assert "promised: not here, and in a remote" in run_dsvc("fsck", cwd=clone).stderr


@pytest.mark.parametrize("address", ["clone", "clone/.dsvc", "clone/.dsvc/store"])
def test_a_lazy_clone_is_checked_from_outside_as_from_inside(clone: Path, address: str, run_dsvc: RunDsvc) -> None:
    inside = run_dsvc("fsck", cwd=clone).stderr

    assert run_dsvc("fsck", address, cwd=clone.parent).stderr == inside.replace("the store", address)
    run_dsvc("init", "-q", "other", cwd=clone.parent)
    run_dsvc("remote", "add", "theirs", f"../{address}", cwd=clone.parent / "other")
    assert "promised: not here" in run_dsvc("fsck", "--remote", "theirs", cwd=clone.parent / "other").stderr


def test_with_data_nothing_is_promised(origin: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("clone", "-q", "--data", origin, "full", cwd=origin.parent)
    run_dsvc("clone", "-q", "--no-checkout", origin, "bare", cwd=origin.parent)
    shutil.rmtree(origin)

    assert promised(origin.parent / "full", run_dsvc) == 0
    assert run_dsvc("cat", "HEAD~2:a.csv", cwd=origin.parent / "full").stdout == "0,2\n"
    assert run_dsvc("log", "--oneline", cwd=origin.parent / "bare").lines
    run_dsvc("cat", "HEAD:a.csv", cwd=origin.parent / "bare", code=7)


def test_whatever_needs_data_gets_it(clone: Path, run_dsvc: RunDsvc) -> None:
    assert run_dsvc("cat", "HEAD~1:a.csv", cwd=clone).stdout == "1,2\n"
    assert "-0,2\n+2,2" in run_dsvc("diff", "-p", "HEAD~2", "HEAD", "a.csv", cwd=clone).stdout
    assert run_dsvc("show", "HEAD~2:a.csv", cwd=clone).stdout == "0,2\n"
    run_dsvc("du", "HEAD~2", cwd=clone)
    run_dsvc("switch", "-q", "--detach", "HEAD~1", cwd=clone)
    assert read_files(clone) == VERSIONS[1]
    run_dsvc("restore", "-q", "--source", "main~2", "large", cwd=clone)
    assert read_files(clone)[b"large"] == VERSIONS[0][b"large"]
    run_dsvc("restore", "-q", ".", cwd=clone)
    run_dsvc("undo", "-q", cwd=clone)
    assert read_files(clone) == VERSIONS[2]
    run_dsvc("reset", "-q", "--hard", "HEAD~2", cwd=clone)
    assert read_files(clone) == VERSIONS[0]
    assert promised(clone, run_dsvc) == 0


def test_the_data_of_a_version_or_of_paths_in_it_can_be_fetched_before(
    origin: Path, clone: Path, run_dsvc: RunDsvc
) -> None:
    run_dsvc("fetch", "--data", "HEAD~1", "--", "a.csv", cwd=clone)
    run_dsvc("fetch", "--data", "HEAD~2", cwd=clone)
    run_dsvc("fetch", "--data", "HEAD~1", "--", "nothing", cwd=clone, code=4)
    run_dsvc("fetch", "--data", "nothing", cwd=clone, code=4)
    run_dsvc("fetch", "origin", "--", "a.csv", cwd=clone, code=2)

    origin.rename(origin.parent / "away")

    assert run_dsvc("cat", "HEAD~1:a.csv", cwd=clone).stdout == "1,2\n"
    run_dsvc("cat", "HEAD~1:large", cwd=clone, code=7)
    run_dsvc("reset", "-q", "--hard", "HEAD~2", cwd=clone)
    assert read_files(clone) == VERSIONS[0]


def test_all_data_can_be_fetched_later(origin: Path, clone: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("fetch", "--data", cwd=clone)
    shutil.rmtree(origin)

    assert promised(clone, run_dsvc) == 0


def test_off_line_only_what_is_absent_fails_and_the_error_names_it(
    origin: Path, clone: Path, run_dsvc: RunDsvc
) -> None:
    origin.rename(origin.parent / "away")

    cat = run_dsvc("cat", "HEAD~1:large", cwd=clone, code=7)
    switch = run_dsvc("switch", "--detach", "HEAD~1", cwd=clone, code=7)

    reason = ", which origin has: the store of the remote origin is gone\n"
    assert cat.stderr.startswith(f"error: cannot read large{reason}")
    # Which others depends on which small objects came along in one frame.
    assert re.match(rf"error: cannot read the data of (large|a\.csv and \d more){reason}", switch.stderr)
    assert run_dsvc("status", "--porcelain", cwd=clone).stdout == ""
    assert read_files(clone) == VERSIONS[2]
    (clone / "new").write_text("mine")
    run_dsvc("add", "new", cwd=clone)
    run_dsvc("commit", "-q", "-m", "off line", cwd=clone)
    for words in (["log"], ["list"], ["ls", "HEAD~2"], ["diff", "--stat", "HEAD~2"], ["status"], ["reflog"], ["undo"]):
        run_dsvc(*words, cwd=clone)
    fsck = run_dsvc("fsck", cwd=clone)
    assert "origin cannot be asked whether they are there" in fsck.stdout
    # What is lost is not excused by that, once the remote can be asked.
    (origin.parent / "away").rename(origin)
    assert promised(clone, run_dsvc) > 0


def test_what_the_remote_has_not_either_is_lost(origin: Path, clone: Path, run_dsvc: RunDsvc) -> None:
    shutil.rmtree(origin)
    run_dsvc("init", "-q", "other", cwd=origin.parent)
    run_dsvc("config", "--unset", "remote.origin.promisor", cwd=clone)

    result = run_dsvc("fsck", cwd=clone, code=8)

    assert "lost: " in result.stdout


def test_a_push_elsewhere_takes_along_what_was_only_promised(
    origin: Path, clone: Path, tmp_path: Path, run_dsvc: RunDsvc
) -> None:
    (tmp_path / "second").mkdir()
    run_dsvc("remote", "add", "second", "../second", cwd=clone)

    planned = run_dsvc("push", "-n", "second", "main", cwd=clone)
    run_dsvc("push", "second", "main", cwd=clone)

    assert "more would be fetched first" in planned.stderr
    run_dsvc("fsck", tmp_path / "second", cwd=tmp_path)
    shutil.rmtree(origin)
    run_dsvc("clone", "-q", "--data", tmp_path / "second", "copy", cwd=tmp_path)
    assert run_dsvc("cat", "HEAD~2:a.csv", cwd=tmp_path / "copy").stdout == "0,2\n"


def test_prune_says_what_it_frees_and_the_data_comes_back(origin: Path, run_dsvc: RunDsvc) -> None:
    work = origin.parent / "work"
    assert run_dsvc("prune", cwd=work, code=2).stderr.startswith("error: nothing but `--pushed` can be pruned yet\n")
    assert "has no published tag" in run_dsvc("prune", "--pushed", cwd=work, code=10).stderr

    would = run_dsvc("prune", "--pushed", "--force", "-n", "--json", cwd=work)
    did = run_dsvc("prune", "--pushed", "--force", "--json", cwd=work)

    assert json.loads(would.stdout)["freed_bytes"] == json.loads(did.stdout)["freed_bytes"] > 5_000_000
    assert promised(work, run_dsvc) > 10
    run_dsvc("reset", "-q", "--hard", "HEAD~2", cwd=work)
    assert read_files(work) == VERSIONS[0]
    run_dsvc("undo", "-q", cwd=work)
    assert read_files(work) == VERSIONS[2]


def test_a_remote_that_data_is_read_from_is_not_removed_unawares(origin: Path, clone: Path, run_dsvc: RunDsvc) -> None:
    result = run_dsvc("remote", "remove", "origin", cwd=clone, code=10)
    run_dsvc("remote", "rename", "origin", "upstream", cwd=clone)
    assert run_dsvc("cat", "HEAD~1:a.csv", cwd=clone).stdout == "1,2\n"
    run_dsvc("fetch", "--data", "upstream", cwd=clone)
    run_dsvc("config", "--unset", "remote.upstream.promisor", cwd=clone)
    run_dsvc("remote", "remove", "upstream", cwd=clone)
    shutil.rmtree(origin)

    assert "run `dsvc config --unset remote.origin.promisor`" in result.stderr
    assert promised(clone, run_dsvc) == 0


# Killed at every step. The last version is checked out, and the others are promised.

KINDS = {
    "cat": ("clone", ("cat", "HEAD~1:large")),
    "switch": ("clone", ("switch", "-q", "--detach", "HEAD~1")),
    "prune": ("work", ("prune", "-q", "--pushed", "--force")),
}


@pytest.fixture(scope="module")
def ground() -> Iterator[Path]:
    warm_up()
    with fast_folder() as folder:
        work = folder / "start" / "work"
        work.mkdir(parents=True)

        def run(*words: str) -> None:
            ended = run_forked(*words, cwd=work)
            assert ended.code == 0, ended.stderr

        make_origin(work, run)
        assert run_forked("clone", "-q", "../origin", "../clone", cwd=work).code == 0
        yield folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_any_step_nothing_is_lost_and_the_next_run_does_it(ground: Path, kind: str) -> None:
    name, words = KINDS[kind]
    step = 0
    while True:
        copy = shutil.copytree(ground / "start", ground / "copy", symlinks=True)
        root = copy / name
        ended = run_forked(*words, cwd=root, watch=Watch(dying_at(step)))

        fsck = run_forked("fsck", cwd=root)
        assert fsck.code == 0, (step, fsck.stdout, fsck.stderr)
        again = run_forked(*words, cwd=root)
        if kind == "switch" and "interrupted" in again.stderr:
            again = run_forked("switch", "--continue", cwd=root)
        assert again.code == 0, (step, again.stderr)
        if kind == "prune":
            packs = (root / ".dsvc" / "store" / "packs").rglob("*.?*")
            assert sum(path.stat().st_size for path in packs) < 1_000_000, step
        content = run_forked("cat", "main~2:a.csv", "main~1:a.csv", "main:a.csv", cwd=root)
        assert content.stdout == "0,2\n1,2\n2,2\n", (step, content.stderr)
        assert run_forked("fsck", cwd=root).code == 0
        shutil.rmtree(copy)
        if not ended.was_killed:
            break
        step += 1
    assert step > 20


def test_what_was_brought_by_a_killed_read_is_kept_if_it_had_arrived(ground: Path) -> None:
    copy = shutil.copytree(ground / "start", ground / "copy", symlinks=True)
    root = copy / "clone"
    assert run_forked("fetch", "--data", "HEAD~1", cwd=root).code == 0
    (copy / "origin").rename(copy / "away")

    ended = run_forked("switch", "-q", "--detach", "HEAD~1", cwd=root)

    assert ended.code == 0, ended.stderr
    shutil.rmtree(copy)


@pytest.mark.slow
def test_two_processes_that_need_the_same_data_both_get_it(ground: Path) -> None:
    from tests.crash_support import Pause, Running

    words, content = ["cat", "HEAD~1:large"], VERSIONS[1][b"large"]
    step = 0
    while True:
        copy = shutil.copytree(ground / "start", ground / "copy", symlinks=True)
        root, pause = copy / "clone", Pause()
        slow = Running(words, cwd=root, watch=Watch(pause.at(step), within=root / ".dsvc" / "store"))
        is_here = pause.expect(slow)

        fast = run_forked(*words, cwd=root)
        if is_here:
            pause.go_on()
        ended = slow.wait()

        assert (fast.code, os.fsencode(fast.stdout)) == (0, content), (step, fast.stderr)
        assert (ended.code, os.fsencode(ended.stdout)) == (0, content), (step, ended.stderr)
        fsck = run_forked("fsck", cwd=root)
        assert fsck.code == 0, (step, fsck.stdout)
        pause.close()
        shutil.rmtree(copy)
        if not is_here:
            break
        step += 1
    assert step > 5
