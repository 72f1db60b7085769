"""Stores on the servers of `tests.servers`, started when a test first asks, one set for each process of the tests."""

import asyncio
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from dsvc.storage.settings import NO_SETTINGS, Settings
from tests.servers.registry import SERVERS, Running, start

__all__ = ["HONEST", "Stores", "stores"]

HONEST = [name for name, kind in SERVERS.items() if kind.is_honest]
_BUCKET = "tests"


def _missing(name: str, problem: str) -> None:
    message = f"{problem}; to have it, run `python -m tests.servers`"
    if os.environ.get("DSVC_REQUIRE_STORES") == "1":
        pytest.fail(f"{name} is required: {message}")
    pytest.skip(message)


class Stores:
    """The running servers, and places on them that are new for each who asks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, Running] = {}
        # A backend that is collected closes its connections, which those of later tests share.
        self._kept: dict[tuple[str, Settings], Any] = {}

    def running(self, name: str) -> Running:
        """The server *name*; the test is skipped if it is not installed."""
        if name not in self._running:
            if not SERVERS[name].is_installed():
                _missing(name, f"the server {name} is not installed")
            self._running[name] = start(name, self._folder / name)
            self.make_bucket(name, _BUCKET)
        return self._running[name]

    def environment(self, name: str) -> Mapping[str, str]:
        """What a process has in its environment to reach the server."""
        return self.running(name).environment

    def address(self, name: str, bucket: str = _BUCKET) -> str:
        """An address where nothing is yet."""
        running, scheme = self.running(name), SERVERS[name].scheme
        if scheme == "sftp":
            return f"sftp://127.0.0.1:{running.port}{running.folder}/{bucket}/{uuid4().hex}"
        return f"{scheme}://{bucket}/{uuid4().hex}"

    def settings(self, name: str) -> Settings:
        """What a process that has the environment of another server needs in addition."""
        port = self.running(name).port
        return Settings(endpoint=f"http://127.0.0.1:{port}") if SERVERS[name].scheme == "s3" else NO_SETTINGS

    def backend(self, name: str, settings: Settings | None = None) -> Any:
        """A backend where nothing is yet; the caller has set the environment."""
        from dsvc.storage.object_store import ObjectStore
        from dsvc.transport.address import open_backend

        settings = settings or self.settings(name)
        address = self.address(name)
        key = (name, settings)
        if key not in self._kept:
            self._kept[key] = [open_backend(address, Path("/"), settings)]
            return self._kept[key][0]
        first = self._kept[key][0]
        prefix = address.partition("://")[2].partition("/")[2]
        made = ObjectStore(first._driver, address, f"/{prefix}" if name == "sshd" else prefix, settings)
        self._kept[key].append(made)
        return made

    def open(self, name: str, address: str) -> Any:
        """The backend at *address*."""
        from dsvc.transport.address import open_backend

        found = open_backend(address, Path("/"), self.settings(name))
        self._kept.setdefault((name, Settings(profile=address)), []).append(found)
        return found

    def keys(self, name: str, address: str, prefix: str) -> list[str]:
        """What is below *prefix* at *address*."""
        with pytest.MonkeyPatch.context() as patch:
            for variable, value in self.environment(name).items():
                patch.setenv(variable, value)
            return [key for key, _ in self.open(name, address).list(prefix)]

    def make_bucket(self, name: str, bucket: str) -> None:
        """Make an empty bucket."""
        running = self._running[name]
        if name == "sshd":
            (running.folder / bucket).mkdir()
            return
        with pytest.MonkeyPatch.context() as patch:
            for variable, value in running.environment.items():
                patch.setenv(variable, value)
            _make_bucket(name, bucket, self.settings(name))

    def stop(self) -> None:
        """End all servers."""
        for opened in self._kept.values():
            opened[0].close()
        for running in self._running.values():
            running.process.stop()


def _make_bucket(name: str, bucket: str, settings: Settings) -> None:
    from dsvc.transport.address import open_backend

    backend: Any = open_backend(f"{SERVERS[name].scheme}://{bucket}/x", Path("/"), settings)
    driver = backend._driver

    async def make() -> None:
        if name == "gcs":
            headers = {"Content-Type": "application/json"}
            await driver._ask("POST", "/storage/v1/b", {"project": "test"}, json.dumps({"name": bucket}), headers)
        elif name == "azurite":
            await driver._connected().create_container()
        else:
            await (await driver._connected()).create_bucket(Bucket=bucket)

    try:
        asyncio.run_coroutine_threadsafe(make(), backend._loop).result(30)
    finally:
        backend.close()


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    """All storage servers."""
    found = Stores(tmp_path_factory.mktemp("servers"))
    yield found
    found.stop()
