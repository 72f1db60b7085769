"""What every backend promises. A test class of one inherits `BackendContract` and gives it a `backend`."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsvc.errors import InvalidInputError, NotFoundError, StorageError
from dsvc.storage.backend import Backend, KeyExistsError, KeyNotFoundError

__all__ = ["BackendContract"]

BAD_KEYS = [
    "", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", ".hidden", "a/.b", "A", "a b", "a\\b", "a\n", "ä", "a\0b",
]  # fmt: skip

names = st.text("abcdefghij0123456789_-.", min_size=1, max_size=8).filter(lambda name: not name.startswith("."))
# A key may not be the folder of another, so those of the property all have two parts.
keys = st.tuples(names, names).map("/".join)


class BackendContract:
    """The promises of `Backend`, as tests. Where each call takes milliseconds, a class does with fewer of them."""

    races = 25
    values_watched = 40
    examples = 25

    @pytest.fixture
    def backend(self) -> Backend:
        raise NotImplementedError

    def test_what_was_written_is_read(self, backend: Backend) -> None:
        backend.write("a/b", b"value")

        assert backend.read("a/b") == b"value"
        assert backend.size("a/b") == 5

    def test_an_empty_value_is_a_value(self, backend: Backend) -> None:
        backend.create("a/b", b"")

        assert backend.read("a/b") == b""
        assert backend.size("a/b") == 0
        assert backend.read_many(["a/b"]) == [b""]
        with pytest.raises(KeyExistsError):
            backend.create("a/b", b"")

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_any_buffer_can_be_stored(self, backend: Backend, kind: Callable[[bytes], bytes]) -> None:
        backend.write("a/written", kind(b"one"))
        backend.create("a/created", kind(b"two"))

        assert backend.read_many(["a/written", "a/created"]) == [b"one", b"two"]

    def test_a_value_larger_than_any_buffer_comes_back_whole(self, backend: Backend) -> None:
        value = bytes(range(256)) * 20_000

        backend.create("large", value)

        assert backend.read("large") == value

    def test_write_replaces_and_create_does_not(self, backend: Backend) -> None:
        backend.create("key", b"first")
        with pytest.raises(KeyExistsError) as caught:
            backend.create("key", b"second")

        assert caught.value.key == "key"
        assert backend.read("key") == b"first"
        backend.write("key", b"third")
        assert backend.read("key") == b"third"

    def test_what_is_not_there_is_not_found(self, backend: Backend) -> None:
        for look in (backend.read, backend.size, lambda key: backend.read_ranges(key, [(0, 1)])):
            with pytest.raises(KeyNotFoundError) as caught:
                look("no/such/key")
            assert caught.value.key == "no/such/key"
            assert isinstance(caught.value, NotFoundError)

    def test_nothing_is_below_a_value(self, backend: Backend) -> None:
        backend.create("file", b"value")

        assert backend.read_many(["file/below"]) == [None]
        with pytest.raises(KeyNotFoundError):
            backend.read("file/below")
        backend.delete("file/below")
        assert list(backend.list("file/")) == []

    def test_many_are_read_in_the_order_asked_for(self, backend: Backend) -> None:
        for name in ("x", "y", "z"):
            backend.create(f"a/{name}", name.encode())

        assert backend.read_many(["a/z", "a/none", "a/x", "a/z"]) == [b"z", None, b"x", b"z"]
        assert backend.read_many([]) == []

    def test_ranges_come_back_in_the_order_asked_for(self, backend: Backend) -> None:
        backend.create("key", b"0123456789")

        assert backend.read_ranges("key", [(7, 3), (0, 2), (1, 4), (10, 0)]) == [b"789", b"01", b"1234", b""]
        assert backend.read_ranges("key", []) == []

    @pytest.mark.parametrize("wanted", [(8, 3), (10, 1), (11, 1), (0, 11)])
    def test_a_range_that_is_not_all_there_is_refused(self, backend: Backend, wanted: tuple[int, int]) -> None:
        backend.write("key", b"0123456789")

        with pytest.raises(StorageError):
            backend.read_ranges("key", [(0, 1), wanted])

    def test_a_deleted_key_is_gone_and_may_come_again(self, backend: Backend) -> None:
        backend.create("a/b", b"first")

        backend.delete("a/b")
        backend.delete("a/b")
        backend.delete("never/there")

        assert backend.read_many(["a/b"]) == [None]
        backend.create("a/b", b"second")
        assert backend.read("a/b") == b"second"

    def test_a_list_has_the_keys_below_a_folder_with_their_lengths(self, backend: Backend) -> None:
        for key in ("a/b/1", "a/b/2", "a/bc", "a/c/d/e", "b"):
            backend.create(key, key.encode())

        assert sorted(backend.list("a/b/")) == [("a/b/1", 5), ("a/b/2", 5)]
        assert sorted(key for key, _ in backend.list("a/")) == ["a/b/1", "a/b/2", "a/bc", "a/c/d/e"]
        assert sorted(key for key, _ in backend.list("")) == ["a/b/1", "a/b/2", "a/bc", "a/c/d/e", "b"]
        assert list(backend.list("none/")) == []

    @pytest.mark.parametrize("prefix", ["/", "../", "a/../", "a", "A/", "a//"])
    def test_a_prefix_that_is_no_folder_is_refused(self, backend: Backend, prefix: str) -> None:
        with pytest.raises(InvalidInputError):
            list(backend.list(prefix))

    @pytest.mark.parametrize("key", BAD_KEYS)
    def test_a_bad_key_is_refused_by_every_method(self, backend: Backend, key: str) -> None:
        calls: list[Callable[[], object]] = [
            lambda: backend.read(key),
            lambda: backend.read_many([key]),
            lambda: backend.read_ranges(key, [(0, 1)]),
            lambda: backend.size(key),
            lambda: backend.write(key, b"value"),
            lambda: backend.create(key, b"value"),
            lambda: backend.delete(key),
        ]

        for call in calls:
            with pytest.raises(InvalidInputError):
                call()
        assert list(backend.list("")) == []

    def test_two_creators_of_one_key_have_one_winner(self, backend: Backend) -> None:
        contenders, rounds = 16, self.races
        start = Barrier(contenders)

        def contend(contender: int) -> list[bool]:
            won = []
            for number in range(rounds):
                start.wait()
                try:
                    backend.create(f"race/{number}", f"{contender}".encode() * 1000)
                except KeyExistsError:
                    won.append(False)
                else:
                    won.append(True)
            return won

        with ThreadPoolExecutor(contenders) as pool:
            results = list(pool.map(contend, range(contenders)))

        for number in range(rounds):
            winners = [contender for contender in range(contenders) if results[contender][number]]
            assert len(winners) == 1
            assert backend.read(f"race/{number}") == f"{winners[0]}".encode() * 1000

    def test_a_reader_sees_the_whole_value_or_none_of_it(self, backend: Backend) -> None:
        rounds, value = self.values_watched, b"whole" * 200_000
        done = Event()

        def watch() -> set[int]:
            lengths: set[int] = set()
            while not done.is_set():
                found = backend.read_many([f"created/{number}" for number in range(rounds)] + ["written"])
                lengths.update(len(each) for each in found if each is not None)
                lengths.update(length for _, length in backend.list("created/"))
            return lengths

        with ThreadPoolExecutor(1) as pool:
            watcher = pool.submit(watch)
            try:
                for number in range(rounds):
                    backend.create(f"created/{number}", value)
                    backend.write("written", value)
            finally:
                done.set()

        assert watcher.result() <= {len(value)}

    def test_it_is_a_mapping(self, backend: Backend) -> None:
        # One backend for all examples, emptied before each.
        @settings(max_examples=self.examples, deadline=None)
        @given(values=st.dictionaries(keys, st.binary(max_size=50), max_size=12), data=st.data())
        def check(values: dict[str, bytes], data: st.DataObject) -> None:
            self._check_mapping(backend, values, data)

        check()

    def _check_mapping(self, backend: Backend, values: dict[str, bytes], data: st.DataObject) -> None:
        for key, _ in list(backend.list("")):
            backend.delete(key)
        for key, value in values.items():
            backend.create(key, value)
        if values:
            gone = data.draw(st.lists(st.sampled_from(sorted(values)), max_size=3))
            for key in gone:
                backend.delete(key)
            values = {key: value for key, value in values.items() if key not in gone}

        assert dict(backend.list("")) == {key: len(value) for key, value in values.items()}
        assert backend.read_many(list(values)) == list(values.values())
