"""What a version was made from and by: named by people, and found by itself."""

import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from dsvc.cli.run_record import masked
from dsvc.datasets.uses import Caller, Process, inputs_of, record_use
from dsvc.log.entry import RefChange
from dsvc.model.commit import Commit, Input
from tests.conftest import RunDsvc
from tests.worktree_support import add_all, commit_all, make_worktree, open_copy, write_files

ELSEWHERE = "ab" * 32
OTHER = "cd" * 32


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A repository with the branches `raw` and `main`, a staged file and one that is not."""
    root = tmp_path / "repository"
    worktree = make_worktree(root)
    raw = commit_all(worktree, {b"a": b"a"}, "first")
    worktree.store.publish(lambda _: [RefChange("refs/heads/raw", None, raw.hex())])
    write_files(root, {b"b": b"b"})
    commit_all(worktree, message="second")
    write_files(root, {b"c": b"c"})
    add_all(worktree)
    write_files(root, {b"d": b"d"})
    return root


def last(folder: Path) -> Commit:
    worktree = open_copy(folder)
    head = worktree.session(worktree.store.state()).commit(worktree.store.state())
    assert head is not None
    return worktree.commit_of(head)


def head_of(folder: Path, branch: str) -> str:
    return open_copy(folder).store.state().refs[f"refs/heads/{branch}"].value


def inputs(folder: Path) -> list[tuple[str, str]]:
    return [(one.name, one.commit.hex()) for one in last(folder).inputs]


def metadata(folder: Path) -> object:
    return json.loads(last(folder).metadata)


def run_program(text: str, folder: Path, environment: Mapping[str, str]) -> None:
    """Run a shell script as cron would; `dsvc` is the command, and `use NAME ID` what a `dsvc get` remembers."""
    use = (
        "from dsvc.cli.session import record_use as r; import sys; r(sys.argv[1], bytes.fromhex(sys.argv[2]), place='')"
    )
    words = (
        f'dsvc() {{ "{sys.executable}" -m dsvc "$@"; }}\nuse() {{ timeout 60 "{sys.executable}" -c "{use}" "$@"; }}\n'
    )
    program = folder.parent / "program.sh"
    program.write_text(words + text)
    command = ["sh", "-eu", program.name]
    subprocess.run(
        command, cwd=folder.parent, env={**environment, "PWD": str(folder)}, check=True, start_new_session=True
    )


def test_inputs_are_named_and_shown_and_kept_by_an_amendment(run_dsvc: RunDsvc, folder: Path) -> None:
    raw = head_of(folder, "raw")

    said = run_dsvc("commit", "-m", "third", "--input", "raw", "--input", f"web/pages@{ELSEWHERE}", cwd=folder).stderr
    run_dsvc("commit", "--amend", "-qm", "again", "--input", "raw", cwd=folder)

    assert f" made from web/pages ({ELSEWHERE[:10]})" in said.splitlines()
    assert inputs(folder) == [("raw", raw), ("web/pages", ELSEWHERE)]
    shown = f"Input:  raw {raw[:10]}"
    assert shown in run_dsvc("show", cwd=folder).lines
    assert shown in run_dsvc("log", "--inputs", cwd=folder).lines
    assert shown not in run_dsvc("log", cwd=folder).lines


def test_a_branch_that_only_a_remote_has_is_an_input(run_dsvc: RunDsvc, folder: Path) -> None:
    raw = head_of(folder, "raw")
    moved = [RefChange("refs/heads/raw", raw, None), RefChange("refs/remotes/origin/raw", None, raw)]
    open_copy(folder).store.publish(lambda _: moved)

    run_dsvc("commit", "-qm", "third", "--input", "raw", cwd=folder)

    assert inputs(folder) == [("raw", raw)]


@pytest.mark.parametrize(("text", "code"), [("nowhere", 4), (ELSEWHERE, 2), ("raw:a", 4)])
def test_an_input_that_nobody_knows_is_refused_and_nothing_is_committed(
    run_dsvc: RunDsvc, folder: Path, text: str, code: int
) -> None:
    result = run_dsvc("commit", "-m", "third", "--input", text, cwd=folder, code=code)

    assert text in result.stderr
    assert "hint: " in result.stderr
    assert last(folder).message == "second"


def test_a_program_commits_with_what_it_got_as_inputs(folder: Path, environment: dict[str, str]) -> None:
    run_program(
        f"(use web/pages {ELSEWHERE}; use web/pages {ELSEWHERE} | cat)\ndsvc -C repository commit -qm third",
        folder,
        environment,
    )

    assert inputs(folder) == [("web/pages", ELSEWHERE)]


def test_what_a_program_staged_keeps_its_inputs_until_somebody_commits(
    run_dsvc: RunDsvc, folder: Path, environment: dict[str, str]
) -> None:
    run_program(f"use web/pages {ELSEWHERE}\ndsvc -C repository add -q d", folder, environment)

    assert f"\tweb/pages ({ELSEWHERE[:12]})" in run_dsvc("status", cwd=folder).lines
    run_dsvc("commit", "-qm", "third", cwd=folder)
    first = inputs(folder)
    run_dsvc("commit", "-qm", "fourth", "--allow-empty", cwd=folder)

    assert first == [("web/pages", ELSEWHERE)]
    assert inputs(folder) == []


def test_what_is_unstaged_has_no_inputs_left(run_dsvc: RunDsvc, folder: Path, environment: dict[str, str]) -> None:
    run_program(f"use web/pages {ELSEWHERE}\ndsvc -C repository add -q a b c", folder, environment)

    run_dsvc("reset", "-q", cwd=folder)
    run_dsvc("add", "-q", "d", cwd=folder)
    run_dsvc("commit", "-qm", "third", cwd=folder)

    assert inputs(folder) == []


def test_two_programs_know_nothing_of_each_other(folder: Path, environment: dict[str, str]) -> None:
    run_program(f"use web/pages {ELSEWHERE}", folder, environment)
    run_program(f"use text {OTHER}\ndsvc -C repository commit -qm third", folder, environment)

    assert inputs(folder) == [("text", OTHER)]


def test_what_one_script_got_is_no_input_of_the_next_one_that_the_same_program_runs(
    folder: Path, environment: dict[str, str]
) -> None:
    run_program(
        f"""
        (echo 'use web/pages {ELSEWHERE}'; echo 'dsvc -C repository add -q c') > first
        (echo 'use text {OTHER}'; echo 'dsvc -C repository commit -qm third --no-edit') > second
        functions=$(sed -n '/^dsvc()/p; /^use()/p' program.sh)
        for script in first second; do echo "$functions" | cat - $script > $script.sh; done
        sh first.sh; dsvc -C repository reset -q; dsvc -C repository add -q c; sh second.sh
        """,
        folder,
        environment,
    )

    assert inputs(folder) == [("text", OTHER)]


def test_of_what_is_asked_for_again_and_again_the_last_counts(tmp_path: Path) -> None:
    caller = Caller("here", (Process(7, 100),), (Process(7, 100),), None, lambda _: True)
    for time in range(3):
        record_use(tmp_path, caller, "raw@latest", bytes([time]) * 32, place="", time=time)
    record_use(tmp_path, caller, "raw@1.0", b"x" * 32, place="", time=3)

    assert inputs_of(tmp_path, caller) == [Input("raw@latest", bytes([2]) * 32), Input("raw@1.0", b"x" * 32)]
    assert len(list(tmp_path.iterdir())) == 2


def test_the_parts_of_a_run_share_their_inputs_wherever_they_are(folder: Path, environment: dict[str, str]) -> None:
    run_program(f"use web/pages {ELSEWHERE}", folder, {**environment, "DSVC_RUN": "job 7"})
    run_program(f"use text {OTHER}", folder, {**environment, "DSVC_RUN": "job 8"})
    run_program("dsvc -C repository commit -qm third", folder, {**environment, "DSVC_RUN": "job 7"})

    assert inputs(folder) == [("web/pages", ELSEWHERE)]


@pytest.mark.parametrize("words", [["--no-auto-inputs"], ["-c", "commit.auto-inputs=false"]])
def test_inputs_are_not_looked_for_where_that_is_unwanted(
    folder: Path, environment: dict[str, str], words: list[str]
) -> None:
    before, after = (words, []) if words[0] == "-c" else ([], words)
    command = " ".join(["dsvc", "-C", "repository", *before, "commit", "-qm", "third", *after])
    run_program(f"use web/pages {ELSEWHERE}\n{command}", folder, environment)

    assert inputs(folder) == []


def test_a_parent_is_not_named_once_more(folder: Path, environment: dict[str, str]) -> None:
    head = head_of(folder, "main")

    run_program(f"use main {head}\ndsvc -C repository commit -qm third", folder, environment)

    assert inputs(folder) == []


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize("nested", [[], ["bash --norc -i"]])
def test_what_is_typed_at_a_prompt_makes_no_inputs_of_what_is_typed_later(
    folder: Path, environment: dict[str, str], nested: list[str]
) -> None:
    record = f"from dsvc.cli.session import record_use; record_use('web/pages', bytes.fromhex('{ELSEWHERE}'), place='')"
    typed = [f'{sys.executable} -c "{record}"', f'x=$({sys.executable} -c "{record}")']
    typed += [f"{sys.executable} -m dsvc commit -qm third", "exit"]
    typed = [*nested, *typed, *["exit" for _ in nested]]
    process, terminal = pty.fork()
    if not process:
        os.chdir(folder)
        os.execvpe("bash", ["bash", "--norc", "-i"], environment)  # noqa: S606 (it is a shell)
    os.write(terminal, "\n".join([*typed, ""]).encode())
    try:
        while os.read(terminal, 4096):
            pass
    except OSError:
        # So ends a terminal.
        pass
    os.waitpid(process, 0)
    os.close(terminal)

    assert last(folder).message == "third"
    assert inputs(folder) == []


def test_uses_are_forgotten_when_their_program_is_gone_or_its_number_is_used_again(tmp_path: Path) -> None:
    alive = {Process(7, 100), Process(8, 100)}
    programs = [Caller("here", (one,), (one,), None, alive.__contains__) for one in (Process(7, 100), Process(8, 100))]
    for program, name in zip(programs, ("one", "two"), strict=True):
        record_use(tmp_path, program, name, b"x" * 32, place="", time=1)
    alive.remove(Process(7, 100))
    alive.add(Process(7, 200))

    record_use(
        tmp_path, Caller("here", (Process(7, 200),), (), None, alive.__contains__), "three", b"x" * 32, place="", time=2
    )

    assert inputs_of(tmp_path, programs[0]) == []
    assert inputs_of(tmp_path, programs[1]) == [Input("two", b"x" * 32)]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_damaged_record_of_a_use_is_passed_over(tmp_path: Path) -> None:
    caller = Caller("here", (Process(7, 100),), (Process(7, 100),), None, lambda _: True)
    record_use(tmp_path, caller, "one", b"x" * 32, place="", time=1)
    (tmp_path / "damaged.json").write_text("{")
    (tmp_path / "newer.json").write_text('{"v": 2}')

    assert inputs_of(tmp_path, caller) == [Input("one", b"x" * 32)]


def test_a_commit_says_what_made_it_only_where_that_is_asked_for(
    run_dsvc: RunDsvc, folder: Path, environment: dict[str, str]
) -> None:
    for words in (["init", "-q"], ["config", "user.name", "Ada"], ["config", "user.email", "a@b"]):
        subprocess.run(["git", *words], cwd=folder, env=environment, check=True)
    (folder / "code.py").write_text("")
    subprocess.run(["git", "add", "code.py"], cwd=folder, env=environment, check=True)
    subprocess.run(["git", "commit", "-qm", "code"], cwd=folder, env=environment, check=True)
    code = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=folder, env=environment, check=True, capture_output=True, text=True
    ).stdout.strip()

    run_program("dsvc -C repository commit -qm third --record-run", folder, {**environment, "USER": "ada"})
    usual = metadata(folder)
    (folder / "code.py").write_text("edited")
    run_program(
        "dsvc -C repository commit -qm fourth --allow-empty --record-run=arguments,git",
        folder,
        environment,
    )
    asked = metadata(folder)
    run_dsvc("commit", "-qm", "fifth", "--allow-empty", cwd=folder)

    assert usual == {
        "run": {
            "command": "sh -eu program.sh",
            "git": {"commit": code, "modified": False},
            "host": os.uname().nodename,
            "user": "ada",
        }
    }
    assert asked == {"run": {"command": "sh -eu program.sh", "git": {"commit": code, "modified": True}}}
    assert metadata(folder) == {}


def test_what_to_record_can_be_configured_and_refused(run_dsvc: RunDsvc, folder: Path) -> None:
    run_dsvc("config", "commit.record-run", "host", cwd=folder)

    run_dsvc("commit", "-qm", "third", cwd=folder)
    configured = metadata(folder)
    (folder / "e").write_text("e")
    run_dsvc("sync", "-q", ".", cwd=folder)
    synced = metadata(folder)
    run_dsvc("commit", "-qm", "fourth", "--allow-empty", "--record-run=none", cwd=folder)
    refused = metadata(folder)
    result = run_dsvc("commit", "-m", "fifth", "--allow-empty", "--record-run=environment", cwd=folder, code=2)

    assert configured == synced == {"run": {"host": os.uname().nodename}}
    assert refused == {}
    assert "command, arguments, git, host, user" in result.stderr


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--lr", "0.1", "--epochs=3", "data/train.csv"], ["--lr", "0.1", "--epochs=3", "data/train.csv"]),
        (["--password", "hunter2", "x"], ["--password", "***", "x"]),
        (["--password=hunter2"], ["--password=***"]),
        (["DB_PASSWORD=hunter2", "api_key: x"], ["DB_PASSWORD=***", "api_key: ***"]),
        (["--auth-token", "--verbose", "x"], ["--auth-token", "--verbose", "x"]),
        (["https://ada:hunter2@host/x?token=abc&n=1"], ["https://***@host/x?token=***&n=1"]),
        (["AKIAIOSFODNN7EXAMPLE", "ghp_0123456789abcdef"], ["***", "***"]),
        (["x=wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"], ["x=***", "***"]),
        (["0123456789abcdef0123456789abcdef01234567"], ["***"]),
        (["curl -H 'token: abc' host"], ["curl -H 'token: *** host"]),
        (["/a/very/long/path/to/a/Folder/of/2026/that/has/many/Parts"],) * 2,
        (["--tokenizer", "bert-base-uncased", "--keyword", "x"],) * 2,
    ],
)
def test_what_looks_like_a_secret_is_masked(words: list[str], shown: list[str]) -> None:
    assert masked(words) == shown
