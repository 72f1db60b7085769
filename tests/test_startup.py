"""What a command does not need is not loaded: start-up time, told by modules and not by a clock."""

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Protocol

import pytest

from dsvc.cli.commands import COMMANDS
from dsvc.cli.light_typing import light_typing
from tests.conftest import RunDsvc

# What draws, and what speaks to clouds, services and databases of others.
SELDOM_NEEDED = {
    "adlfs", "azure", "asyncio", "fsspec", "botocore", "boto3", "dask", "distributed", "duckdb", "gcsfs", "google",
    "mlflow", "paramiko", "platformdirs", "pydantic", "requests", "rich", "s3fs", "starlette", "typer", "aiohttp",
    "inspect", "multiprocessing", "subprocess", "typing_extensions",
}  # fmt: skip
BEHIND_NETWORKS = {"adlfs", "aiohttp", "asyncio", "azure", "botocore", "fsspec", "gcsfs", "google", "paramiko", "s3fs"}


def _loaded(words: list[str], environment: dict[str, str], folder: Path) -> set[str]:
    code = (
        "import sys\nbefore = set(sys.modules)\nfrom dsvc.__main__ import run\nrun(sys.argv[1:])\n"
        "sys.stderr.write('\\n' + ' '.join(sorted(set(sys.modules) - before)))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, *words], env=environment, cwd=folder, capture_output=True, text=True, check=True
    )
    return set(ended.stderr.splitlines()[-1].split())


def _packages(modules: set[str]) -> set[str]:
    return {module.partition(".")[0] for module in modules}


def test_the_version_loads_nothing_but_itself(environment: dict[str, str], tmp_path: Path) -> None:
    loaded = _loaded(["--version"], environment, tmp_path)

    assert {name for name in loaded if name.startswith("dsvc")} == {"dsvc", "dsvc.__main__"}
    assert _packages(loaded) & {"re", "inspect", "pathlib", "dataclasses"} == set()


def test_help_loads_no_command(environment: dict[str, str], tmp_path: Path) -> None:
    loaded = _loaded(["help"], environment, tmp_path)

    assert {name for name in COMMANDS if f"dsvc.cli.{name}" in loaded} == {"help"}


@pytest.mark.parametrize("words", [["config", "--list"], ["status"], ["log"], ["ls"], ["branch"], ["add", "."]])
def test_no_everyday_command_loads_what_it_seldom_needs(
    words: list[str], environment: dict[str, str], repository_folder: Path, run_dsvc: RunDsvc
) -> None:
    (repository_folder / "file").write_text("data")
    run_dsvc("add", ".", cwd=repository_folder)
    run_dsvc("commit", "-q", "-m", "First", cwd=repository_folder)

    loaded = _loaded(words, environment, repository_folder)

    assert _packages(loaded) & SELDOM_NEEDED == set()
    assert {name for name in COMMANDS if f"dsvc.cli.{name}" in loaded} == {words[0]}


def test_what_typing_lacks_comes_from_typing_extensions_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "typing_extensions", raising=False)

    with light_typing():
        stand_in = importlib.import_module("typing_extensions")
        found = stand_in.Protocol, stand_in.TypeForm

    real = importlib.import_module("typing_extensions")
    assert real is not stand_in
    assert found == (Protocol, real.TypeForm)


def test_a_command_leaves_no_open_database_behind(repository_folder: Path, run_dsvc: RunDsvc) -> None:
    (repository_folder / "file").write_text("data")

    run_dsvc("add", ".", cwd=repository_folder)

    assert list((repository_folder / ".dsvc").glob("worktree.db-*")) == []


def test_a_remote_on_disk_loads_nothing_of_those_behind_a_network(
    environment: dict[str, str], repository_folder: Path, run_dsvc: RunDsvc
) -> None:
    (repository_folder / "file").write_text("data")
    run_dsvc("add", ".", cwd=repository_folder)
    run_dsvc("commit", "-q", "-m", "First", cwd=repository_folder)

    for words in (["remote", "add", "origin", "../remote"], ["push"], ["fetch"], ["remote", "-v"]):
        loaded = _loaded(words, environment, repository_folder)

        assert _packages(loaded) & BEHIND_NETWORKS == set()
        assert "dsvc.storage.object_store" not in loaded


@pytest.mark.parametrize(
    ("address", "needed"),
    [
        ("s3://bucket/x", "s3fs"),
        ("gs://bucket/x", "gcsfs"),
        ("az://container/x", "adlfs"),
        ("sftp://host/x", "paramiko"),
    ],
)
def test_an_address_loads_the_packages_of_its_own_kind_only(
    environment: dict[str, str], tmp_path: Path, address: str, needed: str
) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom dsvc.transport.address import open_backend\n"
        f"open_backend({address!r}, Path('/'))\nprint(*sys.modules)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert _packages(set(ended.stdout.split())) & {"s3fs", "gcsfs", "adlfs", "paramiko"} == {needed}


def test_a_lazy_clone_loads_what_knows_remotes_only_for_what_is_not_here(
    environment: dict[str, str], repository_folder: Path, run_dsvc: RunDsvc
) -> None:
    for content in ("one", "two"):
        (repository_folder / "file").write_text(content)
        run_dsvc("add", ".", cwd=repository_folder)
        run_dsvc("commit", "-q", "-m", content, cwd=repository_folder)
    run_dsvc("clone", "-q", repository_folder, "clone", cwd=repository_folder.parent)
    clone = repository_folder.parent / "clone"

    for words in (["status"], ["log"], ["ls", "HEAD~1"], ["cat", "HEAD:file"]):
        assert "dsvc.transport.promise" not in _loaded(words, environment, clone)
    assert "dsvc.transport.promise" in _loaded(["cat", "HEAD~1:file"], environment, clone)
