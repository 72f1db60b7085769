"""Remotes behind a network, as people use them: the real command line, real servers, credentials in the environment."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dsvc.storage.backend import Backend
from dsvc.storage.faults import NoConditionalWritesError
from dsvc.storage.temporary import temporary_name
from dsvc.transport.probe import probe
from tests.conftest import PROJECT, RunDsvc
from tests.servers.process import free_port
from tests.servers.registry import SERVERS
from tests.stores import HONEST, Stores
from tests.transport_support import make_context


def fill(folder: Path, name: str, files: int = 20) -> None:
    (folder / name).mkdir(parents=True)
    for number in range(files):
        (folder / name / str(number)).write_text(f"{name} {number}\n" * number)
    (folder / name / "large").write_bytes(name.encode() * 100_000)


def same(one: Path, other: Path) -> bool:
    words = ["diff", "-r", "--exclude", ".dsvc", str(one), str(other)]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


# Of the two that speak S3, one is enough for what is slow.
@pytest.mark.parametrize("server", [name for name in HONEST if name != "moto"])
def test_a_version_travels_through_each_kind_of_store(
    server: str, stores: Stores, run_dsvc: RunDsvc, repository_folder: Path, tmp_path: Path
) -> None:
    env, address, clone = stores.environment(server), stores.address(server), tmp_path / "clone"

    def dsvc(*words: str, cwd: Path = repository_folder) -> str:
        return run_dsvc(*words, cwd=cwd, env=env).stdout

    fill(repository_folder, "first")
    dsvc("add", ".")
    dsvc("commit", "-q", "-m", "First")
    dsvc("remote", "add", "origin", address)
    dsvc("push", "-q")
    dsvc("clone", "-q", address, str(clone))
    assert same(repository_folder, clone)
    fill(clone, "second")
    dsvc("add", ".", cwd=clone)
    dsvc("commit", "-q", "-m", "Second", cwd=clone)
    dsvc("push", "-q", cwd=clone)
    dsvc("pull", "-q")

    assert same(repository_folder, clone)
    dsvc("fsck", cwd=clone)
    dsvc("fsck", "--remote", "origin", cwd=clone)
    checks = [json.loads(line) for line in dsvc("remote", "test", "origin", "--json").splitlines()]
    assert {check["state"] for check in checks if check["kind"] == "check"} == {"ok"}
    assert stores.keys(server, address, "probe/") == []


def test_what_a_dry_run_says_is_what_a_push_takes(stores: Stores, run_dsvc: RunDsvc, repository_folder: Path) -> None:
    env, address = stores.environment("ministack"), stores.address("ministack")

    def dsvc(*words: str) -> str:
        return run_dsvc(*words, cwd=repository_folder, env=env).stdout

    def planned_and_done() -> tuple[dict[str, object], dict[str, object]]:
        planned, done = (json.loads(dsvc("push", "--json", *words).splitlines()[-1]) for words in (["-n"], []))
        return planned, done

    dsvc("remote", "add", "origin", address)
    for name in ("first", "second"):
        fill(repository_folder, name)
        dsvc("add", ".")
        dsvc("commit", "-q", "-m", name)

        planned, done = planned_and_done()

        assert {key: planned[key] for key in ("packs", "requests")} == {key: done[key] for key in ("packs", "requests")}
    assert planned_and_done()[0]["requests"] == 0


def test_a_trial_says_nothing_of_a_store_that_nobody_can_see(
    stores: Stores, run_dsvc: RunDsvc, repository_folder: Path
) -> None:
    env = {**stores.environment("ministack"), "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
    run_dsvc("config", "remote.origin.url", "s3://tests/nobody", cwd=repository_folder)

    tried = run_dsvc("remote", "test", "origin", cwd=repository_folder, env=env, code=7).lines

    assert tried[0].startswith("reach            failed: nobody answers at s3://tests/nobody")
    assert not any(line.startswith("store") for line in tried)


def test_many_who_push_at_once_all_land(stores: Stores, run_dsvc: RunDsvc, tmp_path: Path) -> None:
    env, address = stores.environment("ministack"), stores.address("ministack")

    def push(number: int) -> None:
        folder = tmp_path / f"writer{number}"
        folder.mkdir()
        run_dsvc("init", "-q", "-b", f"branch{number}", cwd=folder)
        fill(folder, f"data{number}", files=3)
        run_dsvc("add", ".", cwd=folder)
        run_dsvc("commit", "-q", "-m", f"Version {number}", cwd=folder)
        run_dsvc("-c", f"remote.origin.url={address}", "push", "-q", "origin", cwd=folder, env=env)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(push, range(6)))

    run_dsvc("clone", "-q", "-b", "branch3", address, "all", env=env)
    branches = run_dsvc("branch", "-r", cwd=tmp_path / "all").stdout
    assert all(f"origin/branch{number}" in branches for number in range(6))


# Four threads of each process create the same keys at the same time, and print those that they won.
RACE = """
import sys
from pathlib import Path
from threading import Thread
from dsvc.storage.backend import KeyExistsError
from dsvc.transport.address import open_backend

backend = open_backend(sys.argv[1], Path("/"))
backend.read_many(["nothing"])
print("ready", flush=True)
sys.stdin.readline()

def contend(name):
    for number in range(5):
        try:
            backend.create(f"race/{number}", name.encode() * 500)
        except KeyExistsError:
            continue
        print(number, name, flush=True)

threads = [Thread(target=contend, args=[f"{sys.argv[2]}-{thread}"]) for thread in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def race(address: str, environment: Mapping[str, str], processes: int) -> list[tuple[int, str]]:
    """Let the threads of *processes* race for the same keys; return each key that was won, and by whom."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, address, str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**environment, "PYTHONPATH": str(PROJECT)},
            text=True,
        )
        for number in range(processes)
    ]
    for each in running:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    for each in running:
        assert each.stdin is not None
        each.stdin.write("\n")
        each.stdin.flush()
    won = [line.split() for each in running for line in each.communicate()[0].splitlines()]
    return sorted((int(number), name) for number, name in won)


@pytest.mark.parametrize("server", HONEST)
def test_of_sixteen_in_four_processes_that_create_a_key_one_wins(
    server: str, stores: Stores, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    address = stores.address(server)
    for variable, value in stores.environment(server).items():
        monkeypatch.setenv(variable, value)

    won = race(address, {**environment, **stores.environment(server)}, 4)

    assert [number for number, _ in won] == list(range(5))
    backend = stores.open(server, address)
    for number, name in won:
        assert backend.read(f"race/{number}") == name.encode() * 500


@pytest.fixture(params=list(SERVERS))
def probed(request: pytest.FixtureRequest, stores: Stores, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Backend]:
    for variable, value in stores.environment(request.param).items():
        monkeypatch.setenv(variable, value)
    return request.param, stores.backend(request.param)


def test_the_probe_tells_honest_stores_from_others(probed: tuple[str, Backend]) -> None:
    server, backend = probed

    if SERVERS[server].is_honest:
        probe(backend, "somewhere", make_context().nonce)
        assert list(backend.list("")) == []
    else:
        with pytest.raises(NoConditionalWritesError, match="cannot have several writers"):
            probe(backend, "somewhere", make_context().nonce)


def test_a_store_that_does_not_keep_writers_apart_is_refused_or_has_one(
    stores: Stores, run_dsvc: RunDsvc, repository_folder: Path, tmp_path: Path
) -> None:
    env, address = stores.environment("rclone"), stores.address("rclone")
    fill(repository_folder, "data")
    run_dsvc("add", ".", cwd=repository_folder)
    run_dsvc("commit", "-q", "-m", "First", cwd=repository_folder)

    refused = run_dsvc("remote", "add", "origin", address, cwd=repository_folder, env=env, code=10)
    run_dsvc("push", "-q", address, "main", cwd=repository_folder, env=env, code=10)
    run_dsvc("remote", "add", "origin", address, "--single-writer", cwd=repository_folder, env=env)
    run_dsvc("push", "-q", cwd=repository_folder, env=env)
    run_dsvc("clone", "-q", address, "clone", env=env)

    assert "cannot have several writers" in refused.stderr
    assert "single-writer" in refused.stderr
    assert same(repository_folder, tmp_path / "clone")


def test_a_network_that_is_down_is_a_warning_when_a_remote_is_added(
    run_dsvc: RunDsvc, repository_folder: Path, stores: Stores
) -> None:
    env = {**stores.environment("ministack"), "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}

    short = ("-c", "remote.origin.deadline=1")
    added = run_dsvc(*short, "remote", "add", "origin", "s3://tests/x", cwd=repository_folder, env=env)
    tried = run_dsvc(*short, "remote", "test", "origin", cwd=repository_folder, env=env, code=7)

    assert "warning: the remote could not be tried: nobody answers at" in added.stderr
    assert run_dsvc("remote", cwd=repository_folder).lines == ["origin"]
    assert "reach            failed: nobody answers at" in tried.stdout


@pytest.mark.parametrize(
    ("address", "changed", "code", "words"),
    [
        ("s3://no-such-bucket/x", {}, 4, "there is no bucket or container 'no-such-bucket'"),
        ("s3://tests/x", {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, 7, "the connection was refused"),
        ("s3://tests/x", {"AWS_ENDPOINT_URL": "http://no-such-host.invalid"}, 7, "its name is not known"),
        ("s3://tests/x", {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, 7, "there are no credentials"),
        ("s3://tests/x", {"AWS_PROFILE": "nobody"}, 7, "there are no credentials"),
        ("s3://tests/x", {"AWS_ENDPOINT_URL": "https://127.0.0.1:{port}"}, 7, "no safe connection"),
        ("az://tests/x", {}, 7, "there are no credentials"),
    ],
)
def test_what_is_wrong_with_a_remote_is_said_in_one_line_with_what_to_do(
    stores: Stores, run_dsvc: RunDsvc, *, address: str, changed: dict[str, str], code: int, words: str
) -> None:
    port = stores.running("ministack").port
    env = {**stores.environment("ministack"), **{key: value.format(port=port) for key, value in changed.items()}}

    result = run_dsvc("clone", "-q", "-c", "remote.origin.deadline=1", address, "clone", env=env, code=code)

    error, hint = result.stderr.splitlines()
    assert error.startswith("error: ")
    assert words in error
    assert hint.startswith("hint: ")


def test_a_host_whose_key_is_not_known_is_not_trusted(stores: Stores, run_dsvc: RunDsvc) -> None:
    address = stores.address("sshd")

    result = run_dsvc("clone", "-q", address, "clone", code=7)

    assert "the host key of" in result.stderr
    assert "is not known" in result.stderr


def test_a_folder_behind_ssh_may_have_any_name(stores: Stores, run_dsvc: RunDsvc, repository_folder: Path) -> None:
    env, address = stores.environment("sshd"), stores.address("sshd")
    folder = Path("/" + address.partition("//")[2].partition("/")[2])

    run_dsvc("remote", "add", "origin", f"{address}/a%20b?c#d \u00fc", cwd=repository_folder, env=env)
    (repository_folder / "file").write_text("data")
    run_dsvc("add", ".", cwd=repository_folder)
    run_dsvc("commit", "-q", "-m", "First", cwd=repository_folder)
    run_dsvc("push", "-q", cwd=repository_folder, env=env)

    assert [path.name for path in folder.iterdir()] == ["a b?c#d \u00fc"]


def test_what_an_interrupted_push_has_left_behind_ssh_goes_after_a_day(
    stores: Stores, run_dsvc: RunDsvc, repository_folder: Path
) -> None:
    env, address = stores.environment("sshd"), stores.address("sshd")
    left = Path("/" + address.partition("//")[2].partition("/")[2]) / "tmp"
    left.mkdir(parents=True)
    old, young, other = (left / name for name in (temporary_name(), temporary_name(), "of-somebody"))
    for path, age in ((old, 2 * 86_400), (young, 3600), (other, 2 * 86_400)):
        path.write_text("half")
        os.utime(path, (time.time() - age,) * 2)
    (repository_folder / "file").write_text("data")
    run_dsvc("add", ".", cwd=repository_folder)
    run_dsvc("commit", "-q", "-m", "First", cwd=repository_folder)

    run_dsvc("-c", f"remote.origin.url={address}", "push", "-q", cwd=repository_folder, env=env)

    assert set(left.iterdir()) == {young, other}


def test_a_machine_without_ssh_refuses_the_connection(run_dsvc: RunDsvc) -> None:
    said = run_dsvc("list", f"sftp://127.0.0.1:{free_port()}/x", code=7).stderr

    assert "the connection was refused" in said


def test_a_branch_that_somebody_works_on_behind_ssh_stays_where_it_is(
    stores: Stores, run_dsvc: RunDsvc, repository_folder: Path, tmp_path: Path
) -> None:
    env = stores.environment("sshd")
    address = f"sftp://127.0.0.1:{stores.running('sshd').port}{repository_folder}/.dsvc/store"
    fill(repository_folder, "first", files=3)
    run_dsvc("add", ".", cwd=repository_folder)
    run_dsvc("commit", "-q", "-m", "First", cwd=repository_folder)
    run_dsvc("clone", "-q", address, "clone", env=env)
    fill(tmp_path / "clone", "second", files=3)
    run_dsvc("add", ".", cwd=tmp_path / "clone")
    run_dsvc("commit", "-q", "-m", "Second", cwd=tmp_path / "clone")

    refused = run_dsvc("push", cwd=tmp_path / "clone", env=env, code=5)
    run_dsvc("push", "-q", "origin", "main:other", cwd=tmp_path / "clone", env=env)

    assert "somebody works on that branch there" in refused.stderr
    assert "other" in run_dsvc("branch", cwd=repository_folder).stdout


def test_a_folder_that_may_not_be_written_is_said(stores: Stores, run_dsvc: RunDsvc, repository_folder: Path) -> None:
    env, address = stores.environment("sshd"), stores.address("sshd")
    (repository_folder / "file").write_text("data")
    run_dsvc("add", ".", cwd=repository_folder)
    run_dsvc("commit", "-q", "-m", "First", cwd=repository_folder)
    proc = address.replace(address.partition("//")[2].partition("/")[2], "proc/dsvc")

    result = run_dsvc("push", "-q", proc, "main", cwd=repository_folder, env=env, code=7)

    assert "cannot make the folder /proc/dsvc" in result.stderr


def test_a_remote_that_is_read_only_here_is_not_written(
    stores: Stores, run_dsvc: RunDsvc, repository_folder: Path
) -> None:
    env, address = stores.environment("ministack"), stores.address("ministack")
    fill(repository_folder, "data")
    run_dsvc("add", ".", cwd=repository_folder)
    run_dsvc("commit", "-q", "-m", "First", cwd=repository_folder)
    run_dsvc("remote", "add", "origin", address, "--read-only", cwd=repository_folder, env=env)

    result = run_dsvc("push", "-q", cwd=repository_folder, env=env, code=10)

    assert "read-only" in result.stderr


def test_trying_a_folder_out_leaves_nothing_in_it(run_dsvc: RunDsvc, repository_folder: Path, tmp_path: Path) -> None:
    run_dsvc("remote", "add", "origin", "../remote", cwd=repository_folder)

    tried = run_dsvc("remote", "test", "origin", cwd=repository_folder)
    run_dsvc("remote", "set-url", "origin", "../no/such/place", cwd=repository_folder)
    lost = run_dsvc("remote", "test", "origin", cwd=repository_folder, code=4)

    assert "exclusive create ok" in tried.stdout
    assert "none yet; the first push makes it" in tried.stdout
    assert not (tmp_path / "remote").exists()
    assert "so no store can be made in it" in lost.stdout


def test_settings_of_a_remote_go_with_it(run_dsvc: RunDsvc, repository_folder: Path) -> None:
    words = ["--read-only", "--bandwidth", "20M", "--profile", "work"]
    run_dsvc("remote", "add", "origin", "../remote", *words, cwd=repository_folder)
    run_dsvc("remote", "rename", "origin", "backup", cwd=repository_folder)

    listed = run_dsvc("config", "--list", cwd=repository_folder).lines
    assert "remote.backup.bandwidth=20M" in listed
    assert "remote.backup.read-only=true" in listed
    assert "remote.backup.profile=work" in listed
    assert not any(line.startswith("remote.origin.") for line in listed)
    run_dsvc("remote", "remove", "backup", cwd=repository_folder)
    assert not any(line.startswith("remote.") for line in run_dsvc("config", "--list", cwd=repository_folder).lines)


def test_settings_may_be_given_to_a_clone_and_stay(
    stores: Stores, run_dsvc: RunDsvc, repository_folder: Path, tmp_path: Path
) -> None:
    env, address = dict(stores.environment("ministack")), stores.address("ministack")
    fill(repository_folder, "data", files=3)
    run_dsvc("add", ".", cwd=repository_folder)
    run_dsvc("commit", "-q", "-m", "First", cwd=repository_folder)
    run_dsvc("push", "-q", address, "main", cwd=repository_folder, env=env)
    endpoint = env.pop("AWS_ENDPOINT_URL")

    run_dsvc("clone", "-q", "-c", f"remote.origin.endpoint={endpoint}", address, "clone", env=env)
    run_dsvc("fetch", cwd=tmp_path / "clone", env=env)

    assert same(repository_folder, tmp_path / "clone")
    run_dsvc("clone", "-c", "nonsense", address, "other", env=env, code=2)


def test_a_secret_comes_from_the_environment_and_is_never_shown(
    stores: Stores, run_dsvc: RunDsvc, repository_folder: Path
) -> None:
    text = stores.environment("azurite")["AZURE_STORAGE_CONNECTION_STRING"]
    address = stores.address("azurite")
    words = ["remote", "add", "origin", address, "--secret-env", "WORK_AZURE"]

    missing = run_dsvc(*words, cwd=repository_folder, code=2)
    broken = run_dsvc(*words, cwd=repository_folder, env={"WORK_AZURE": "AccountKey=topsecret;x=y"})
    run_dsvc("remote", "test", "origin", cwd=repository_folder, env={"WORK_AZURE": text})

    assert "WORK_AZURE, which is not set" in missing.stderr
    assert "topsecret" not in broken.stderr
    assert "AccountKey" not in (repository_folder / ".dsvc/config.toml").read_text()


def test_a_push_tells_packs_and_requests_before_and_after(
    stores: Stores, run_dsvc: RunDsvc, repository_folder: Path
) -> None:
    address, env = stores.address("ministack"), stores.environment("ministack")

    def data(*options: str) -> dict[str, int]:
        lines = run_dsvc("push", "--json", *options, "origin", "main", cwd=repository_folder, env=env).lines
        found: dict[str, int] = json.loads(lines[-1])
        return found

    run_dsvc("remote", "add", "origin", address, cwd=repository_folder, env=env)
    (repository_folder / "first").write_text("first")
    run_dsvc("add", ".", cwd=repository_folder)
    run_dsvc("commit", "-q", "-m", "First", cwd=repository_folder)
    data()
    for number in range(500):
        (repository_folder / f"{number}").write_text(f"file {number}")
    run_dsvc("add", ".", cwd=repository_folder)
    run_dsvc("commit", "-q", "-m", "Many", cwd=repository_folder)

    before = data("-n")
    after = data()

    assert before["packs"] == after["packs"] == 2
    assert before["requests"] - 2 <= after["requests"] <= before["requests"] + 2
    line = run_dsvc("push", "-n", "origin", "main~1:again", cwd=repository_folder, env=env).stderr
    assert "[new branch]" in line
