"""What the disk and other versions can do to a repository: one clear line, the right exit code, nothing lost."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import RunDsvc


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 6 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small filesystem")
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], check=False)
    if mounted.returncode:
        pytest.skip("this system does not let a filesystem be mounted")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def folder(run_dsvc: RunDsvc, repository_folder: Path) -> Path:
    """A repository with one version."""
    (repository_folder / "a").write_bytes(b"a" * 100_000)
    run_dsvc("add", "-A", cwd=repository_folder)
    run_dsvc("commit", "-m", "one", cwd=repository_folder)
    return repository_folder


def test_a_full_disk_stops_an_add_and_nothing_else(run_dsvc: RunDsvc, small_disk: Path) -> None:
    run_dsvc("init", cwd=small_disk)
    (small_disk / "a").write_text("a")
    run_dsvc("add", "a", cwd=small_disk)
    run_dsvc("commit", "-m", "one", cwd=small_disk)
    (small_disk / "big").write_bytes(os.urandom(4 << 20))

    refused = run_dsvc("add", "big", cwd=small_disk, code=9)

    assert refused.stderr.startswith("error: ")
    assert "No space left" in refused.stderr.splitlines()[0]
    assert run_dsvc("status", "-s", cwd=small_disk).stdout == "?? big\n"
    assert list((small_disk / ".dsvc/store/tmp").iterdir()) == []
    (small_disk / "big").write_bytes(os.urandom(1 << 20))
    run_dsvc("add", "big", cwd=small_disk)
    run_dsvc("commit", "-m", "two", cwd=small_disk)
    run_dsvc("fsck", cwd=small_disk)


def test_a_store_of_a_newer_format_is_refused(run_dsvc: RunDsvc, folder: Path) -> None:
    config = folder / ".dsvc/store/config.json"
    said = json.loads(config.read_bytes())
    config.chmod(0o644)
    config.write_text(json.dumps(said | {"format": 99}))
    before = sorted((path, path.stat().st_mtime_ns) for path in (folder / ".dsvc/store").rglob("*") if path.is_file())

    refused = run_dsvc("add", "-A", cwd=folder, code=2)

    assert "99" in refused.stderr.splitlines()[0]
    assert before == sorted(
        (path, path.stat().st_mtime_ns) for path in (folder / ".dsvc/store").rglob("*") if path.is_file()
    )


def test_an_entry_that_needs_a_newer_dsvc_stops_reading(run_dsvc: RunDsvc, folder: Path) -> None:
    entries = sorted((folder / ".dsvc/store/log/0").iterdir())
    newest = json.loads(entries[-1].read_bytes())
    following = entries[-1].with_name(f"{newest['seq'] + 1:020}")
    following.write_text(json.dumps(newest | {"seq": newest["seq"] + 1, "require": ["time-travel"]}))

    assert "time-travel" in run_dsvc("status", cwd=folder, code=2).stderr.splitlines()[0]


def test_a_damaged_pack_is_named_by_whatever_reads_it(run_dsvc: RunDsvc, folder: Path) -> None:
    for pack in (folder / ".dsvc/store/packs").rglob("*.0"):
        data = bytearray(pack.read_bytes())
        data[80] ^= 1
        pack.chmod(0o644)
        pack.write_bytes(data)

    refused = run_dsvc("cat", "HEAD:a", cwd=folder, code=8)

    assert refused.stdout == ""
    assert refused.stderr.startswith("error: ")


@pytest.mark.slow
def test_a_sparse_file_of_five_gibibytes_comes_back(run_dsvc: RunDsvc, repository_folder: Path) -> None:
    size = 5 << 30
    sparse = repository_folder / "sparse"
    with sparse.open("wb") as file:
        file.write(b"first")
        file.seek(size - 4)
        file.write(b"last")
    run_dsvc("add", "sparse", cwd=repository_folder)
    run_dsvc("commit", "-m", "sparse", cwd=repository_folder)
    listed = json.loads(run_dsvc("ls", "--json", "HEAD", cwd=repository_folder).lines[0])
    sparse.unlink()

    run_dsvc("restore", "sparse", cwd=repository_folder)

    assert sparse.stat().st_size == listed["size"] == size
    with sparse.open("rb") as file:
        assert file.read(6) == b"first\0"
        file.seek(size - 5)
        assert file.read() == b"\0last"
    stored = sum(path.stat().st_size for path in (repository_folder / ".dsvc/store").rglob("*") if path.is_file())
    assert stored < 10 << 20
