"""dsvc remote."""

import json
from pathlib import Path

import pytest

from tests.conftest import RunDsvc


def test_remotes_are_added_listed_renamed_and_removed(repository_folder: Path, run_dsvc: RunDsvc) -> None:
    def remote(*arguments: str, code: int = 0) -> list[str]:
        return run_dsvc("remote", *arguments, cwd=repository_folder, code=code).lines

    assert remote() == []
    remote("add", "origin", "../remote")
    remote("add", "backup", str(repository_folder.parent / "backup"))
    assert remote() == ["backup", "origin"]
    assert remote("-v") == [f"backup\t{repository_folder.parent / 'backup'}", "origin\t../remote"]
    assert json.loads(remote("list", "--json")[1]) == {"name": "origin", "url": "../remote"}
    assert remote("get-url", "origin") == ["../remote"]
    remote("set-url", "origin", "../elsewhere")
    remote("rename", "origin", "upstream")
    assert remote("get-url", "upstream") == ["../elsewhere"]
    remote("remove", "backup")
    assert remote() == ["upstream"]
    assert not (repository_folder.parent / "remote").exists()


def test_a_relative_address_means_the_same_in_every_folder(repository_folder: Path, run_dsvc: RunDsvc) -> None:
    (repository_folder / "sub").mkdir()

    run_dsvc("remote", "add", "origin", "../../remote", cwd=repository_folder / "sub")

    assert run_dsvc("remote", "get-url", "origin", cwd=repository_folder).lines == ["../remote"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["add", "origin", "../other"], 5),
        (["add", "bad/name", "../other"], 2),
        (["add", "new", "ftp://host/folder"], 2),
        (["add", "new", "s3:///key"], 2),
        (["add", "new", "sftp://ada:hunter2@host/x"], 2),
        (["add", "new", "s3://bucket/x", "--endpoint", "https://ada:hunter2@host"], 2),
        (["add", "new", "/no/such/folder/here"], 4),
        (["add", "new", "."], 10),
        (["add", "new"], 2),
        (["remove", "nothing"], 4),
        (["rename", "nothing", "new"], 4),
        (["rename", "origin", "origin"], 5),
        (["set-url", "nothing", "../x"], 4),
        (["get-url", "nothing"], 4),
        (["accept-rewind", "nothing"], 4),
        (["frobnicate"], 2),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    repository_folder: Path, run_dsvc: RunDsvc, arguments: list[str], code: int
) -> None:
    run_dsvc("remote", "add", "origin", "../remote", cwd=repository_folder)
    folder = repository_folder.parent / "full"
    folder.mkdir()
    (folder / "file").write_text("something")
    before = (repository_folder / ".dsvc" / "config.toml").read_bytes()

    words = [str(folder) if word == "." else word for word in arguments]
    result = run_dsvc("remote", *words, cwd=repository_folder, code=code)

    assert result.stderr.startswith("error: ")
    assert "hunter2" not in result.stderr
    assert (repository_folder / ".dsvc" / "config.toml").read_bytes() == before


def test_what_is_known_of_its_branches_goes_with_a_remote(repository_folder: Path, run_dsvc: RunDsvc) -> None:
    (repository_folder / "a").write_text("a")
    run_dsvc("add", "-A", cwd=repository_folder)
    run_dsvc("commit", "-q", "-m", "first", cwd=repository_folder)
    run_dsvc("remote", "add", "origin", "../remote", cwd=repository_folder)
    run_dsvc("push", "-q", "-u", cwd=repository_folder)

    run_dsvc("remote", "rename", "origin", "upstream", cwd=repository_folder)
    assert run_dsvc("branch", "-r", cwd=repository_folder).stdout.split() == ["upstream/main"]
    assert run_dsvc("push", cwd=repository_folder).stderr == "Everything up-to-date\n"
    run_dsvc("remote", "remove", "upstream", cwd=repository_folder)
    assert run_dsvc("branch", "-r", cwd=repository_folder).stdout == ""
    run_dsvc("push", cwd=repository_folder, code=4)


def test_a_remote_that_went_back_is_refused_until_it_is_accepted(repository_folder: Path, run_dsvc: RunDsvc) -> None:
    (repository_folder / "a").write_text("a")
    run_dsvc("add", "-A", cwd=repository_folder)
    run_dsvc("commit", "-q", "-m", "first", cwd=repository_folder)
    run_dsvc("remote", "add", "origin", "../remote", cwd=repository_folder)
    run_dsvc("push", "-q", cwd=repository_folder)
    run_dsvc("push", "-q", "origin", "main:second", cwd=repository_folder)
    (repository_folder.parent / "remote" / "log" / "0" / f"{2:020}").unlink()

    result = run_dsvc("fetch", cwd=repository_folder, code=10)

    assert "the remote origin went back" in result.stderr
    assert "dsvc remote accept-rewind origin" in result.stderr
    run_dsvc("remote", "accept-rewind", "origin", cwd=repository_folder)
    run_dsvc("fetch", cwd=repository_folder)


@pytest.mark.parametrize("key", ["remote.new.url", "remote.new.endpoint"])
def test_no_secret_gets_into_the_configuration(key: str, repository_folder: Path, run_dsvc: RunDsvc) -> None:
    result = run_dsvc("config", key, "https://ada:hunter2@host/x", cwd=repository_folder, code=2)

    assert "hunter2" not in result.stderr
    assert "secret-env" in result.stderr
    assert run_dsvc("config", key, cwd=repository_folder, code=1).stdout == ""
