"""Bare clones and mirrors: stores without files that fetch, and serve as remotes."""

import os
import shutil
from pathlib import Path

import pytest

from tests.forked import Desk, desk

__all__ = ["desk"]


@pytest.fixture
def work(desk: Desk) -> Path:
    desk("switch", "-q", "--orphan", "trunk")
    commit(desk.work, desk, "first")
    desk("tag", "v1")
    commit(desk.work, desk, "second")
    desk("branch", "other", "HEAD~1")
    return desk.work


def commit(folder: Path, desk: Desk, text: str) -> None:
    (folder / "a.csv").write_text(text)
    (folder / "large").write_bytes(text.encode() * 50_000)
    desk("add", "-q", "-A", cwd=folder)
    desk("commit", "-q", "-m", text, cwd=folder)


def refs(folder: Path, desk: Desk) -> dict[str, str]:
    names = [line[2:] for line in desk("branch", cwd=folder).lines] + desk("tag", cwd=folder).lines
    return {name: desk("log", "-1", "--format=%H", name, cwd=folder).lines[0] for name in names}


def test_a_bare_clone_is_a_store_with_all_data(work: Path, desk: Desk) -> None:
    said = desk("clone", "--bare", work, cwd=work.parent).stderr

    bare = work.parent / f"{work.name}.dsvc"
    assert said.startswith(f"Cloning into {bare.name}...\n")
    assert {"config.json", "config.toml", "log", "packs", "index"} <= {path.name for path in bare.iterdir()}
    shutil.rmtree(work)
    assert desk("fsck", cwd=bare).stderr.endswith("2 versions; every byte read\n")
    assert desk("fsck", bare, cwd=work.parent).stderr.endswith("2 versions; every byte read\n")
    desk("clone", "-q", bare, "again", cwd=work.parent)
    assert (work.parent / "again" / "a.csv").read_text() == "second"


def test_what_needs_no_files_works_in_a_bare_clone(work: Path, desk: Desk) -> None:
    desk("clone", "-q", "--bare", work, "bare", cwd=work.parent)
    bare = work.parent / "bare"

    assert [line.split()[-1] for line in desk("log", "--oneline", cwd=bare).lines] == ["second", "first"]
    assert desk("branch", cwd=bare).lines == ["  other", "* trunk"]
    assert desk("cat", "v1:a.csv", cwd=bare).stdout == "first"
    assert desk("ls", "trunk", cwd=bare).lines == ["a.csv", "large"]
    assert desk("diff", "--name-only", "v1", "trunk", cwd=bare).lines == ["a.csv", "large"]
    desk("branch", "new", "v1", cwd=bare)
    desk("tag", "v2", cwd=bare)
    for words in (
        ["show"],
        ["du", "trunk"],
        ["list"],
        ["reflog", "trunk"],
        ["graph"],
        ["remote", "-v"],
        ["push", "-n"],
    ):
        desk(*words, cwd=bare)
    assert desk("config", "remote.origin.fetch", cwd=bare).lines == ["branches"]
    assert desk("log", "--oneline", cwd=bare / "packs").lines


@pytest.mark.parametrize(
    "words",
    ["status", "add -A", "commit -m x", "switch other", "diff", "diff trunk", "pull", "undo", "verify", "meta set a=1"],
)
def test_what_needs_files_refuses_in_one_line(work: Path, words: str, desk: Desk) -> None:
    desk("clone", "-q", "--bare", work, "bare", cwd=work.parent)
    bare = work.parent / "bare"
    before = sorted(bare.rglob("*"))

    said = desk(*words.split(" "), cwd=bare, code=3).stderr

    assert said == (
        f"error: {bare} is a bare repository: it has versions, and no files to work on\n"
        "hint: to work on files, clone it: `dsvc clone ADDRESS FOLDER`\n"
    )
    assert sorted(bare.rglob("*")) == before


def test_a_fetch_moves_the_branches_of_a_bare_clone_forward_and_no_other_way(work: Path, desk: Desk) -> None:
    desk("clone", "-q", "--bare", work, "bare", cwd=work.parent)
    bare = work.parent / "bare"
    desk("clone", "-q", bare, "mine", cwd=work.parent)
    mine = work.parent / "mine"
    desk("switch", "-q", "other", cwd=mine)
    commit(mine, desk, "mine")
    desk("push", "-q", "origin", "other", cwd=mine)
    commit(work, desk, "third")
    desk("switch", "-q", "other", cwd=work)
    commit(work, desk, "theirs")

    rejected = desk("fetch", cwd=bare, code=5)

    assert "! [rejected]" in rejected.stderr
    assert desk("cat", "trunk:a.csv", cwd=bare).stdout == "third"
    assert desk("cat", "other:a.csv", cwd=bare).stdout == "mine"
    desk("fetch", "-q", "--force", cwd=bare)
    assert desk("cat", "other:a.csv", cwd=bare).stdout == "theirs"
    assert not [name for name in desk("branch", "-a", cwd=bare).lines if "origin" in name]
    desk("fsck", cwd=bare)


def test_a_mirror_becomes_what_is_there(work: Path, desk: Desk) -> None:
    desk("publish", "-q", "--local", "trunk@1.0.0", cwd=work)
    desk("clone", "-q", "--mirror", work, "mirror", cwd=work.parent)
    mirror = work.parent / "mirror"
    desk("branch", "own", "v1", cwd=mirror)
    desk("tag", "-d", "v1", cwd=work)
    desk("branch", "-D", "other", cwd=work)
    desk("reset", "-q", "--hard", "HEAD~1", cwd=work)
    commit(work, desk, "another")
    desk("tag", "v3", cwd=work)

    desk("fetch", cwd=mirror)

    assert refs(mirror, desk) == refs(work, desk)
    assert desk("branch", cwd=mirror).lines == ["* trunk"]
    assert desk("tag", cwd=mirror).lines == ["trunk@1.0.0", "v3"]
    assert "published" in desk("tag", "-d", "trunk@1.0.0", cwd=mirror, code=10).stderr
    assert desk("fetch", cwd=mirror).stderr == ""
    shutil.rmtree(work)
    assert desk("fsck", cwd=mirror).stderr.endswith("every byte read\n")


def test_an_interrupted_bare_clone_goes_on(work: Path, desk: Desk) -> None:
    pack = max((work / ".dsvc" / "store" / "packs").rglob("*.?*"), key=lambda path: path.stat().st_size)
    pack.rename(work / "away")

    said = desk("clone", "--mirror", work, "mirror", cwd=work.parent, code=8)
    (work / "away").rename(pack)
    desk("clone", "-q", "--mirror", work, "mirror", cwd=work.parent)

    assert "run the same again to go on" in said.stderr
    assert refs(work.parent / "mirror", desk) == refs(work, desk)
    assert not (work.parent / "mirror" / "cloning").exists()


def test_a_store_that_was_pushed_to_is_a_bare_repository(work: Path, desk: Desk) -> None:
    desk("remote", "add", "nas", "../nas", cwd=work)
    desk("push", "-q", "nas", "trunk", cwd=work)

    assert desk("log", "--oneline", "trunk", cwd=work.parent / "nas").lines
    # That of a repository is found from inside as the repository.
    assert desk("status", "--porcelain", cwd=work / ".dsvc" / "store" / "packs").stdout == ""
    desk("remote", "add", "up", "../elsewhere", cwd=work.parent / "nas")
    desk("push", "-q", "up", "trunk", cwd=work.parent / "nas")
    assert desk("log", "--oneline", "trunk", cwd=work.parent / "elsewhere").lines


def test_a_bare_repository_can_be_made_empty(work: Path, desk: Desk) -> None:
    bare = work.parent / "bare"

    assert desk("init", "--bare", "-b", "trunk", bare).stderr == f"Initialized empty bare dsvc repository in {bare}/\n"

    assert desk("init", "--bare", bare).stderr == f"There is a dsvc repository in {bare}/ already\n"
    desk("push", "-q", bare, "trunk")
    assert desk("branch", cwd=bare).lines == ["* trunk"]
    assert "is not empty" in desk("init", "--bare", work, code=10).stderr


def test_what_others_call_config_json_makes_no_repository(desk: Desk) -> None:
    for content in ("{}", '{"format": "x"}', "no json", ""):
        (desk.folder / "config.json").write_text(content)

        assert "not a dsvc repository" in desk("log", cwd=desk.folder, code=3).stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_others_wrote_beside_a_store_names_no_program_to_run(work: Path, desk: Desk) -> None:
    desk("clone", "-q", "--bare", work, "bare", cwd=work.parent)
    file = work.parent / "bare" / "config.toml"
    desk("config", "core.pager", "touch pwned", cwd=file.parent)
    assert desk("config", "core.pager", cwd=file.parent).lines == ["touch pwned"]
    os.chown(file, 12345, -1)

    said = desk("log", "--oneline", cwd=file.parent)

    assert said.stderr == f"warning: {file} belongs to somebody else, so what it says of core.pager does not count\n"
    assert desk("config", "remote.origin.fetch", cwd=file.parent).lines == ["branches"]
    desk("config", "core.pager", cwd=file.parent, code=1)


def test_a_bare_clone_takes_no_choice_of_files(work: Path, desk: Desk) -> None:
    said = desk("clone", "--bare", "--sparse", "a.csv", work, cwd=work.parent, code=2).stderr

    assert said.startswith("error: a bare clone has everything, and no files\n")
