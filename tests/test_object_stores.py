"""Backends over a network keep the contract of all backends, each with a real server."""

import pytest

from dsvc.storage import object_store
from dsvc.storage.backend import Backend, KeyNotFoundError, Streaming
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

    @pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 16, 20])
    def test_a_value_comes_in_pieces(self, backend: Backend, monkeypatch: pytest.MonkeyPatch, length: int) -> None:
        assert isinstance(backend, Streaming)
        monkeypatch.setattr(object_store, "_PIECE", 8)
        backend.write("a/b", bytes(range(length)))

        pieces = list(backend.pieces("a/b"))

        assert b"".join(pieces) == bytes(range(length))
        assert [len(piece) for piece in pieces[:-1]] == [8] * (length // 8)
        with pytest.raises(KeyNotFoundError):
            list(backend.pieces("a/none"))


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
