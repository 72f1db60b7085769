"""dsvc clone."""

import os
import shutil
from pathlib import Path

import pytest

from tests.conftest import PROJECT, RunDsvc
from tests.worktree_support import EMPTY_FOLDER, Content, Executable, Link, read_files, write_files

FILES: dict[bytes, Content] = {
    b"a.csv": b"1,2\n",
    b"folder/\xff odd\n name": b"bytes",
    b"large": os.urandom(3_000_000),
    b"empty": b"",
    b"nothing/in/here": EMPTY_FOLDER,
    b"run.sh": Executable(b"#!/bin/sh\n"),
    b"link": Link(b"folder"),
}


@pytest.fixture
def origin(repository_folder: Path, run_dsvc: RunDsvc) -> Path:
    write_files(repository_folder, FILES)
    run_dsvc("add", "-A", cwd=repository_folder)
    run_dsvc("commit", "-q", "-m", "first", cwd=repository_folder)
    return repository_folder


def test_everything_comes_back(origin: Path, run_dsvc: RunDsvc) -> None:
    result = run_dsvc("clone", origin, "copy", cwd=origin.parent)

    copy = origin.parent / "copy"
    assert read_files(copy) == FILES
    assert result.stdout == ""
    assert result.stderr.startswith("Cloning into copy...\nfetched 1 version with ")
    assert "checked out main: " in result.stderr
    assert run_dsvc("status", "-s", cwd=copy).stdout == ""
    assert run_dsvc("log", "--oneline", cwd=copy).lines == run_dsvc("log", "--oneline", cwd=origin).lines
    assert run_dsvc("remote", "get-url", "origin", cwd=copy).lines == [str(origin)]
    run_dsvc("fsck", cwd=copy)
    run_dsvc("pull", "-q", cwd=copy)


def test_the_folder_is_called_as_the_address(origin: Path, tmp_path: Path, run_dsvc: RunDsvc) -> None:
    (tmp_path / "elsewhere").mkdir()

    run_dsvc("clone", "-q", f"file://{origin}/", cwd=tmp_path / "elsewhere")

    assert read_files(tmp_path / "elsewhere" / "repository") == FILES


def test_a_branch_or_a_tag_can_be_chosen(origin: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("branch", "dev", cwd=origin)
    run_dsvc("tag", "v1", cwd=origin)

    run_dsvc("clone", "-q", "-b", "dev", origin, "dev", cwd=origin.parent)
    run_dsvc("clone", "-q", "-b", "v1", origin, "tagged", cwd=origin.parent)

    assert "On branch dev" in run_dsvc("status", cwd=origin.parent / "dev").stdout
    assert "HEAD detached" in run_dsvc("status", cwd=origin.parent / "tagged").stdout
    run_dsvc("clone", "-b", "nothing", origin, "none", cwd=origin.parent, code=4)
    assert not (origin.parent / "none").exists()


def test_without_a_checkout_no_file_is_written(origin: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("clone", "-q", "-n", origin, "copy", cwd=origin.parent)

    copy = origin.parent / "copy"
    assert read_files(copy) == {}
    run_dsvc("restore", ".", cwd=copy)
    assert read_files(copy) == FILES


def test_the_remote_can_have_another_name(origin: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("clone", "-q", "-o", "upstream", origin, "copy", cwd=origin.parent)

    copy = origin.parent / "copy"
    assert run_dsvc("remote", cwd=copy).lines == ["upstream"]
    assert run_dsvc("pull", cwd=copy).stderr == "Already up to date.\n"


def test_hard_links_can_be_left_out(origin: Path, run_dsvc: RunDsvc) -> None:
    def shared(name: str) -> bool:
        packs = (origin.parent / name / ".dsvc" / "store" / "packs").rglob("*.0")
        return any(path.stat().st_nlink > 1 for path in packs)

    run_dsvc("clone", "-q", origin, "linked", cwd=origin.parent)
    run_dsvc("clone", "-q", "--no-hardlinks", origin, "copied", cwd=origin.parent)

    assert shared("linked")
    assert not shared("copied")


def test_a_clone_outlives_its_origin(origin: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("clone", "-q", origin, "copy", cwd=origin.parent)

    shutil.rmtree(origin)

    run_dsvc("fsck", cwd=origin.parent / "copy")


def test_an_empty_repository_is_cloned_with_a_warning(repository_folder: Path, run_dsvc: RunDsvc) -> None:
    result = run_dsvc("clone", repository_folder, "copy", cwd=repository_folder.parent)

    assert "warning: you appear to have cloned an empty repository" in result.stderr
    run_dsvc("fetch", cwd=repository_folder.parent / "copy")


def test_of_a_store_with_versions_and_no_branch_it_is_said_so(origin: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("tag", "v1", cwd=origin)
    run_dsvc("push", "-q", origin.parent / "tags", "v1", cwd=origin)

    result = run_dsvc("clone", origin.parent / "tags", "copy", cwd=origin.parent)

    assert "warning: there is no branch to work on" in result.stderr
    assert run_dsvc("list", "--json", cwd=origin.parent / "copy").stdout.count('"v1"')


def test_a_folder_with_something_in_it_stays_as_it_is(origin: Path, run_dsvc: RunDsvc) -> None:
    taken = origin.parent / "taken"
    taken.mkdir()
    (taken / "file").write_text("mine")

    result = run_dsvc("clone", origin, "taken", cwd=origin.parent, code=5)

    assert result.stderr.endswith("taken exists and is not an empty folder\n")
    assert [path.name for path in taken.iterdir()] == ["file"]


@pytest.mark.parametrize(("address", "code"), [("nothing", 4), ("ftp://host/x", 2), ("sftp://a:b@c/d", 2)])
def test_what_is_no_repository_makes_no_folder(tmp_path: Path, run_dsvc: RunDsvc, address: str, code: int) -> None:
    before = set(tmp_path.iterdir())

    run_dsvc("clone", address, "copy", cwd=tmp_path, code=code)

    assert set(tmp_path.iterdir()) == before


def test_damage_in_the_remote_is_told_and_the_clone_can_go_on_later(origin: Path, run_dsvc: RunDsvc) -> None:
    packs = (origin / ".dsvc" / "store" / "packs").rglob("*.0")
    largest = max(packs, key=lambda path: path.stat().st_size)
    good = largest.read_bytes()
    largest.chmod(0o644)
    largest.write_bytes(good[:5000] + bytes([good[5000] ^ 1]) + good[5001:])

    result = run_dsvc("clone", origin, "copy", cwd=origin.parent, code=8)

    assert "error: the remote origin: object " in result.stderr
    assert " is damaged in pack " in result.stderr
    assert "run the same again to go on" in result.stderr
    largest.write_bytes(good)
    run_dsvc("clone", "-q", origin, "copy", cwd=origin.parent)
    assert read_files(origin.parent / "copy") == FILES


KILLED = """
import sys
from tests import killed
from dsvc.cli.main import run
killed._arm(int(sys.argv[1]))
sys.exit(run(sys.argv[2:]))
"""


@pytest.mark.parametrize("step", [0, 3, 8, 15, 22, 30, 38, 46, 54, 62])
def test_a_clone_that_was_killed_goes_on_when_it_is_run_again(
    origin: Path, run_dsvc: RunDsvc, environment: dict[str, str], step: int
) -> None:
    import subprocess
    import sys

    command = [sys.executable, "-c", KILLED, str(step), "clone", "-q", "-j", "1", str(origin), "copy"]
    subprocess.run(command, cwd=origin.parent, env={**environment, "PYTHONPATH": str(PROJECT)}, check=False)

    run_dsvc("clone", "-q", origin, "copy", cwd=origin.parent)

    copy = origin.parent / "copy"
    assert read_files(copy) == FILES
    assert run_dsvc("status", "-s", cwd=copy).stdout == ""
    run_dsvc("fsck", cwd=copy)
