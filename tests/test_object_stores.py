"""Backends over a network keep the contract of all backends, each with a real server."""

import pytest

from dsvc.storage.backend import Backend
from tests.backend_contract import BackendContract
from tests.stores import Stores


class RemoteContract(BackendContract):
    """The contract, with the store that a class's *server* keeps."""

    server = ""
    races = 5
    values_watched = 5
    examples = 8

    @pytest.fixture
    def backend(self, stores: Stores, monkeypatch: pytest.MonkeyPatch) -> Backend:
        for variable, value in stores.environment(self.server).items():
            monkeypatch.setenv(variable, value)
        found: Backend = stores.backend(self.server)
        return found


class TestMiniStack(RemoteContract):
    server = "ministack"


class TestMoto(RemoteContract):
    server = "moto"


class TestFakeGcs(RemoteContract):
    server = "gcs"


class TestAzurite(RemoteContract):
    server = "azurite"


class TestOpenSsh(RemoteContract):
    server = "sshd"
