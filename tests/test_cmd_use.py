"""dsvc use, and dsvc get @ALIAS."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.crash_support import Ended, run_forked
from tests.forked import Desk, desk
from tests.worktree_support import read_files

__all__ = ["desk"]


class Code:
    """A git repository of code beside a repository of data with a remote, where `main` and `main@1.0` are."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.first = desk.commit({b"a": b"1"}, "first")
        desk("tag", "main@1.0")
        self.remote = desk.folder / "remote"
        desk("remote", "add", "origin", self.remote)
        desk("push", "-q", "origin", "main", "main@1.0")
        self.folder = desk.folder / "code" / "deep"
        self.folder.mkdir(parents=True)
        (desk.folder / "code" / ".git").mkdir()
        self.lock = desk.folder / "code" / "dsvc.lock"

    def __call__(self, *words: str | Path, code: int = 0, cwd: Path | None = None, **variables: str | Path) -> Ended:
        environment = {"HOME": self.desk.folder, "XDG_CACHE_HOME": self.desk.folder / "cache", **variables}
        ended = run_forked(
            *words, cwd=cwd or self.folder, environment={name: str(value) for name, value in environment.items()}
        )
        assert ended.code == code, f"exit code {ended.code}, not {code}\n{ended.stdout}{ended.stderr}"
        return ended

    def records(self, *words: str | Path, cwd: Path | None = None) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self(*words, "--json", cwd=cwd).stdout.splitlines()]

    def newer(self) -> str:
        commit = self.desk.commit({b"a": b"2"}, "second")
        self.desk("push", "-q", "origin", "main")
        return commit


@pytest.fixture
def code(desk: Desk) -> Code:
    return Code(desk)


def got(ended: Ended) -> dict[bytes, object]:
    return dict(read_files(Path(ended.stdout.removesuffix("\n"))))


def test_a_version_is_pinned_at_the_root_of_the_code_and_got_from_anywhere_in_it(code: Code) -> None:
    code("use", f"{code.remote}#main", "--as", "train")
    newer = code.newer()

    [record] = code.records("use")
    tree = code.desk.tree(code.first)
    assert record == {
        "alias": "train",
        "name": "main",
        "version": None,
        "commit": code.first,
        "tree": tree,
        "url": str(code.remote),
        "override": None,
    }
    assert code.lock.read_text().splitlines()[2:] == [
        "",
        "[use.train]",
        'name = "main"',
        f'commit = "{code.first}"',
        f'tree = "{tree}"',
        f'url = "{code.remote}"',
    ]
    assert got(code("get", "@train")) == {b"a": b"1"}
    assert newer != code.first


def test_what_was_asked_for_is_looked_for_again_where_that_is_wanted(code: Code) -> None:
    code("use", f"{code.remote}#main", "--as", "train")
    code("use", f"{code.remote}#main@1.0", "--as", "fixed")
    before = code.lock.read_text()
    newer = code.newer()

    said = code("use", "--update").stderr

    assert f"train: main is {newer[:10]} now, and was {code.first[:10]}" in said
    assert f"fixed: main@1.0 is {code.first[:10]} still" in said
    changed = [line for line in code.lock.read_text().splitlines() if line not in before.splitlines()]
    assert changed == [f'commit = "{newer}"', f'tree = "{code.desk.tree()}"']
    assert got(code("get", "@train")) == {b"a": b"2"}


def test_another_file_may_be_named(code: Code) -> None:
    other = code.desk.folder / "other.lock"

    code("use", f"{code.remote}#main", "--as", "train", "--lock", other)

    assert not code.lock.exists()
    assert [record["alias"] for record in code.records("use", "--lock", other)] == ["train"]
    assert got(code("get", "@train", DSVC_LOCK=other)) == {b"a": b"1"}


def test_in_the_repository_of_the_data_it_says_where_others_get_it(code: Code) -> None:
    (code.desk.work / "src").mkdir()
    work = code.desk.work

    pushed = code("use", "main@1.0", "--as", "old", cwd=work / "src").stderr
    (work / "a").write_text("2")
    code.desk("commit", "-qam", "second")
    not_pushed = code("use", "main", cwd=work).stderr

    found = {record["alias"]: record for record in code.records("use", cwd=work)}
    assert (work / "dsvc.lock").is_file()
    assert (found["old"]["version"], found["old"]["url"]) == ("1.0", str(code.remote))
    assert "push" in not_pushed
    assert "push" not in pushed
    shutil.rmtree(code.remote)
    assert got(code("get", "@main", cwd=work)) == {b"a": b"2"}


def test_the_environment_is_against_the_file_and_that_is_said(code: Code) -> None:
    code("use", f"{code.remote}#main@1.0", "--as", "my-data")
    code.newer()
    other = code.desk.folder / "other"
    other.mkdir()

    version = code("get", "@my-data", DSVC_USE_MY_DATA="main")
    elsewhere = code("get", "@my-data", DSVC_USE_MY_DATA=f"{code.desk.work}#main")
    plain = code("get", "@my-data", DSVC_USE_MY_DATA=other)
    shown = code("use", DSVC_USE_MY_DATA="main")

    assert got(version) == got(elsewhere) == {b"a": b"2"}
    assert plain.stdout == f"{other}\n"
    for ended in (version, elsewhere, plain, shown):
        assert "DSVC_USE_MY_DATA is set" in ended.stderr


@pytest.mark.parametrize(("stated", "code_"), [("/nowhere", 4), ("nope@1", 4), ("s3://bucket", 2)])
def test_an_override_that_cannot_be_is_an_error_that_names_it(code: Code, stated: str, code_: int) -> None:
    code("use", f"{code.remote}#main", "--as", "train")

    assert stated in code("get", "@train", code=code_, DSVC_USE_TRAIN=stated).stderr


def test_what_was_really_used_becomes_an_input(code: Code) -> None:
    code("use", f"{code.remote}#main@1.0", "--as", "train")
    newer = code.newer()

    code("get", "@train", DSVC_USE_TRAIN="main", DSVC_RUN="job")
    code("get", f"{code.remote}#main@1.0", DSVC_RUN="other job")
    code("commit", "--allow-empty", "-qm", "made", cwd=code.desk.work, DSVC_RUN="job")
    code("switch", "-q", "--orphan", "made", cwd=code.desk.work)
    code("commit", "--allow-empty", "-qm", "made", cwd=code.desk.work, DSVC_RUN="job")

    # On main, the newer one is the parent. What pinned the first is part of this program.
    pinned = {"name": "main@1.0", "commit": code.first}
    [on_main] = code.records("log", "-n1", "main", cwd=code.desk.work)
    [alone] = code.records("log", "-n1", cwd=code.desk.work)
    assert on_main["inputs"] == [pinned]
    assert alone["inputs"] == [{"name": "main", "commit": newer}, pinned]


def test_a_program_that_get_runs_has_what_it_got_as_an_input(code: Code, environment: dict[str, str]) -> None:
    code.desk("switch", "-q", "--orphan", "made")
    dsvc = [sys.executable, "-m", "dsvc"]
    commit = [*dsvc, "-C", str(code.desk.work), "commit", "--allow-empty", "-qm", "made"]
    words = [*dsvc, "get", f"{code.remote}#main@1.0", "--", *commit]

    subprocess.run(words, cwd=code.folder, env=environment, check=True, start_new_session=True)

    assert code.records("log", "-n1", cwd=code.desk.work)[0]["inputs"] == [{"name": "main@1.0", "commit": code.first}]


def test_uses_are_told_on_the_remote_where_that_is_asked_for(code: Code) -> None:
    code("use", f"{code.remote}#main@1.0", "--as", "train")
    assert not (code.remote / "uses").exists()

    code("use", "--record", "--run", "job-7", "--url", "https://ada:secret@runs/7", LOGNAME="ada")
    code("use", "--record", MLFLOW_RUN_ID="abc", LOGNAME="ada")
    code("get", "@train", DSVC_RECORD_USE="true", DSVC_RECORD_HOST="true", DSVC_RUN_NAME="job-8", LOGNAME="ada")

    uses = [record for record in code.desk.json("whouses", "main@1.0", "origin") if record["kind"] == "use"]
    assert {(use["who"], use["name"], use["run"], use["url"], use["host"] is not None) for use in uses} == {
        ("ada", "main@1.0", "job-7", "https://ada:***@runs/7", False),
        ("ada", "main@1.0", "abc", None, False),
        ("ada", "main@1.0", "job-8", None, True),
    }
    code.desk("fsck", "-q", "--remote", "origin")


def test_a_remote_that_cannot_be_written_to_is_told_of_and_stops_nothing(code: Code) -> None:
    config = code.desk.folder / ".config" / "dsvc" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(f'[remote.data]\nurl = "{code.remote}"\nread-only = true\n')
    code("use", f"{code.remote}#main", "--as", "train")

    assert "read-only" in code("use", "--record", "--run", "x").stderr
    assert not (code.remote / "uses").exists()


def test_what_is_used_no_more_is_deleted_and_what_is_not_there_is_said(code: Code) -> None:
    code("use", f"{code.remote}#main", "--as", "train")

    assert "nope" in code("use", "--delete", "nope", code=4).stderr
    assert "nope" in code("get", "@nope", code=4).stderr
    code("use", "-d", "train")
    assert code("use").stdout == ""
    code.lock.unlink()
    assert "dsvc use" in code("use", code=4).stderr


@pytest.mark.parametrize(
    "words",
    [
        ["use", "--as", "x"],
        ["use", "--update", "--delete", "x"],
        ["use", "{}#main:a"],
        ["use", "{}#main", "--as", "1x"],
        ["use", "{}#main", "--run", "x"],
        ["use", "a", "b"],
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_is_written(code: Code, words: list[str]) -> None:
    assert code(*[word.replace("{}", str(code.remote)) for word in words], code=2).stderr
    assert not code.lock.exists()


def test_outside_of_a_repository_a_name_alone_is_not_enough(code: Code) -> None:
    assert "repository" in code("use", "main", code=3).stderr
    assert not code.lock.exists()
