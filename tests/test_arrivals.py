"""Packs that are read before anybody has verified them: what is read is verified, and only what was read is kept."""

from pathlib import Path

import pytest

from dsvc.model.ids import Kind, ObjectMismatchError
from dsvc.odb import frame
from dsvc.odb.arrivals import Arrivals
from dsvc.odb.database import ObjectDatabase
from dsvc.odb.pack import HEADER_LENGTH, MalformedPackError, pack_key
from dsvc.odb.pack_reader import open_pack
from dsvc.storage.local import LocalBackend
from dsvc.storage.memory import MemoryBackend
from tests.killed import killed_at_step
from tests.odb_support import chunk_id, noise, open_writer, store_pack


def edit(backend: LocalBackend, pack: str, at: int) -> None:
    path = backend.path(pack_key(pack))
    damaged = bytearray(path.read_bytes())
    damaged[at] ^= 1
    path.chmod(0o644)
    path.write_bytes(damaged)


@pytest.fixture
def there(tmp_path: Path) -> LocalBackend:
    return LocalBackend(tmp_path / "there")


@pytest.fixture
def here(tmp_path: Path) -> LocalBackend:
    return LocalBackend(tmp_path / "here")


DATAS = [noise(70_000, seed) for seed in range(3)]
IDS = list(map(chunk_id, DATAS))


def test_what_was_read_is_kept_and_nothing_else_is_left(there: LocalBackend, here: LocalBackend) -> None:
    name = store_pack(there, DATAS)
    database = ObjectDatabase(here)
    arrivals = Arrivals(database, here, generation=7)
    assert arrivals.take(there, open_pack(there, name))

    arrivals.open()
    read = dict(database.stream(Kind.CHUNK, IDS))
    assert not any(object_id in database for object_id in IDS)
    sealed = arrivals.keep()

    assert [bytes(read[object_id]) for object_id in IDS] == DATAS
    assert sealed.packs == [name.removesuffix("0") + "7"]
    assert sealed.segment is not None
    again = ObjectDatabase(here, packs=sealed.packs, segments=[sealed.segment.name])
    assert again.read_many(Kind.CHUNK, IDS) == database.read_many(Kind.CHUNK, IDS) == DATAS
    assert here.path(pack_key(sealed.packs[0])).samefile(there.path(pack_key(name)))
    assert [*here.path("tmp").iterdir()] == []


def test_what_is_not_kept_goes(there: LocalBackend, here: LocalBackend) -> None:
    name = store_pack(there, DATAS)
    database = ObjectDatabase(here)
    arrivals = Arrivals(database, here, generation=0)
    arrivals.take(there, open_pack(there, name))
    arrivals.open()

    arrivals.close()

    assert database.nearer is None
    assert [path for path in here.root.rglob("*") if path.is_file()] == []
    assert open_pack(there, name).footer.ids == b"".join(IDS)


def test_each_object_is_verified_also_where_its_reader_would_trust_it(there: LocalBackend, here: LocalBackend) -> None:
    name = store_pack(there, DATAS)
    edit(there, name, HEADER_LENGTH + frame.HEADER_LENGTH + 100_000)
    database = ObjectDatabase(here)
    arrivals = Arrivals(database, here, generation=0)
    arrivals.take(there, open_pack(there, name))
    arrivals.open()

    with pytest.raises(ObjectMismatchError):
        dict(database.stream(Kind.CHUNK, IDS, trusted=IDS))


def test_a_lie_about_an_id_is_found_out(there: LocalBackend, here: LocalBackend) -> None:
    wrong = chunk_id(b"something else")
    name = store_pack(there, DATAS, [IDS[0], wrong, IDS[2]])
    database = ObjectDatabase(here)
    arrivals = Arrivals(database, here, generation=0)
    arrivals.take(there, open_pack(there, name))
    arrivals.open()

    with pytest.raises(ObjectMismatchError):
        dict(database.stream(Kind.CHUNK, [wrong], trusted=[wrong]))


def test_what_arrived_is_read_even_where_the_same_is_here_already(there: LocalBackend, here: LocalBackend) -> None:
    database, writer = open_writer(here)
    writer.write(Kind.CHUNK, DATAS[0])
    writer.seal()
    name = store_pack(there, DATAS)
    edit(there, name, HEADER_LENGTH + frame.HEADER_LENGTH)
    arrivals = Arrivals(database, here, generation=0)
    arrivals.take(there, open_pack(there, name))

    arrivals.open()

    with pytest.raises(ObjectMismatchError):
        database.read(Kind.CHUNK, IDS[0])


@pytest.mark.parametrize("at", [0, frame.HEADER_LENGTH - 1])
def test_a_pack_with_another_frame_header_than_its_footer_says_is_not_taken(
    there: LocalBackend, here: LocalBackend, at: int
) -> None:
    name = store_pack(there, DATAS)
    edit(there, name, HEADER_LENGTH + at)
    arrivals = Arrivals(ObjectDatabase(here), here, generation=0)

    assert not arrivals.take(there, open_pack(there, name))

    arrivals.open()
    assert arrivals.keep().packs == []


def test_a_pack_that_does_not_name_its_objects_is_not_taken(there: LocalBackend, here: LocalBackend) -> None:
    small = [b"%d" % number for number in range(100)]
    name = store_pack(there, small)

    assert open_pack(there, name).footer.ids is None
    assert not Arrivals(ObjectDatabase(here), here, generation=0).take(there, open_pack(there, name))


def test_what_cannot_be_linked_is_not_taken(there: LocalBackend, here: LocalBackend) -> None:
    name = store_pack(there, DATAS)
    elsewhere = MemoryBackend()
    elsewhere.write(pack_key(name), there.read(pack_key(name)))

    assert not Arrivals(ObjectDatabase(here), here, generation=0).take(elsewhere, open_pack(elsewhere, name))


def test_an_object_that_is_there_twice_is_refused(there: LocalBackend, here: LocalBackend) -> None:
    # Only one of them would be read, and the other is a lie.
    names = [store_pack(there, DATAS), store_pack(there, [noise(70_000, 9)], [IDS[0]])]
    database = ObjectDatabase(here)
    arrivals = Arrivals(database, here, generation=0)
    for name in names:
        assert arrivals.take(there, open_pack(there, name))

    with pytest.raises(MalformedPackError, match="twice"):
        arrivals.open()

    assert database.nearer is None
    assert arrivals.keep().packs == []


def test_what_a_killed_process_left_goes_with_other_temporary_files(there: LocalBackend, here: LocalBackend) -> None:
    name = store_pack(there, DATAS)

    def arrive() -> None:
        arrivals = Arrivals(ObjectDatabase(here), here, generation=0)
        arrivals.take(there, open_pack(there, name))
        arrivals.open()
        arrivals.keep()

    assert killed_at_step(12, arrive)
    assert [*here.path("tmp").iterdir()]

    here.tidy()

    assert [*here.path("tmp").iterdir()] == []
