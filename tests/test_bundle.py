"""Bundles as files: what is written is read back, what is unfinished gone on with, and what is damaged refused."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from dsvc.errors import CorruptionError, DsvcError
from dsvc.storage.backend import KeyExistsError, KeyNotFoundError
from dsvc.storage.bundle import (
    BundleBackend,
    MalformedBundleError,
    VolumeMissingError,
    WriteToBundleError,
    bundle_file,
    encode_header,
    volume_name,
)
from dsvc.storage.bundle_writer import BundleBeingMadeError, BundleExistsError, BundleWriter, ValueTooLargeError
from tests.crash_support import fast_folder

ID = bytes(range(32))
OTHER = bytes(32)
VALUES = {f"packs/ab/{number}": bytes([number]) * 1000 for number in range(5)} | {"config.json": b"{}", "log/0/1": b""}


def write(path: Path, values: dict[str, bytes], *, split: int | None = None, bundle: bytes = ID) -> list[Path]:
    with BundleWriter(path, bundle, split=split) as writer:
        for key, value in values.items():
            writer.write(key, value)
        return writer.finish()


def read(path: Path) -> dict[str, bytes]:
    backend = BundleBackend.open(path)
    return {key: backend.read(key) for key, _ in backend.list("")}


@pytest.mark.parametrize("split", [None, 1_000_000, 2500, 1300])
def test_what_was_written_is_read_back_from_one_file_or_from_volumes(tmp_path: Path, split: int | None) -> None:
    files = write(tmp_path / "x", VALUES, split=split)

    assert read(files[-1]) == VALUES
    assert sorted(tmp_path.iterdir()) == sorted(files)
    assert split is None or all(file.stat().st_size <= split for file in files)
    assert len(files) == {None: 1, 1_000_000: 1, 2500: 3, 1300: 5}[split]
    assert bundle_file(tmp_path / "x") == files[0]


def test_it_is_a_backend_that_reads_parts_and_lists_and_knows_what_is_not_there(tmp_path: Path) -> None:
    (file,) = write(tmp_path / "x", VALUES)
    backend = BundleBackend.open(file)

    assert backend.read_ranges("packs/ab/1", [(0, 3), (999, 1), (5, 0)]) == [b"\1\1\1", b"\1", b""]
    assert backend.read_many(["config.json", "nothing"]) == [b"{}", None]
    assert backend.size("packs/ab/1") == 1000
    assert sorted(backend.list("log/")) == [("log/0/1", 0)]
    for call in (backend.read, backend.size):
        with pytest.raises(KeyNotFoundError):
            call("nothing")
    with pytest.raises(DsvcError, match="shorter"):
        backend.read_ranges("packs/ab/1", [(1, 1000)])


def test_nothing_is_ever_added_to_one(tmp_path: Path) -> None:
    (file,) = write(tmp_path / "x", VALUES)
    backend = BundleBackend.open(file)

    with pytest.raises(WriteToBundleError):
        backend.write("x", b"")
    with pytest.raises(WriteToBundleError):
        backend.create("x", b"")
    with pytest.raises(WriteToBundleError):
        backend.delete("x")


def test_what_is_being_written_can_be_read_back(tmp_path: Path) -> None:
    with BundleWriter(tmp_path / "x", ID) as writer:
        writer.create("config.json", b"{}")
        writer.write("packs/ab/1", b"12345")

        assert writer.read("packs/ab/1") == b"12345"
        assert writer.read_ranges("packs/ab/1", [(1, 2)]) == [b"23"]
        assert writer.read_many(["config.json", "x"]) == [b"{}", None]
        assert sorted(writer.list("")) == [("config.json", 2), ("packs/ab/1", 5)]
        with pytest.raises(KeyExistsError):
            writer.create("config.json", b"")


def test_threads_write_side_by_side(tmp_path: Path) -> None:
    values = {f"packs/ab/{number}": bytes([number]) * 5000 for number in range(50)}
    with BundleWriter(tmp_path / "x", ID, split=60_000) as writer:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda item: writer.write(*item), values.items()))
        files = writer.finish()

    assert read(files[0]) == values


@pytest.mark.parametrize("split", [None, 2500])
def test_one_that_was_left_is_gone_on_with_and_what_is_whole_is_not_written_again(
    tmp_path: Path, split: int | None
) -> None:
    with BundleWriter(tmp_path / "x", ID, split=split) as writer:
        for number in range(3):
            writer.write(f"packs/ab/{number}", VALUES[f"packs/ab/{number}"])
        writer.write("config.json", b"never")
    parts = sorted(tmp_path.iterdir())
    # As a process that was killed in the middle of the last write.
    with parts[-1].open("r+b") as file:
        file.truncate(parts[-1].stat().st_size - 1)

    with BundleWriter(tmp_path / "x", OTHER, split=split) as writer:
        found = sorted(key for key, _ in writer.list(""))
        for key, value in VALUES.items():
            writer.write(key, value)
        files = writer.finish()

    assert found == ["packs/ab/0", "packs/ab/1"]
    assert read(files[0]) == VALUES
    assert sorted(tmp_path.iterdir()) == files
    assert {volume.bundle for volume in BundleBackend.open(files[0]).volumes} == {ID}


@given(cut=st.integers(0, 3500), broken=st.integers(0, 3500))
def test_however_it_was_left_the_next_one_is_whole(cut: int, broken: int) -> None:
    with fast_folder() as folder:
        with BundleWriter(folder / "x", ID) as writer:
            for number in range(3):
                writer.write(f"packs/ab/{number}", VALUES[f"packs/ab/{number}"])
        part = folder / "x.part"
        data = bytearray(part.read_bytes())
        if broken < len(data):
            data[broken] ^= 1
        part.write_bytes(data[:cut])

        (file,) = write(folder / "x", VALUES)

        assert read(file) == VALUES
        backend = BundleBackend.open(file)
        for key in VALUES:
            backend.check(key)


def test_one_that_is_finished_and_not_called_so_yet_is_made_anew_from_its_packs(tmp_path: Path) -> None:
    (file,) = write(tmp_path / "x", VALUES)
    file.rename(tmp_path / "x.part")

    write(tmp_path / "x", VALUES | {"config.json": b"new"})

    assert read(tmp_path / "x") == VALUES | {"config.json": b"new"}


def test_where_nothing_was_written_nothing_is_left(tmp_path: Path) -> None:
    with BundleWriter(tmp_path / "x", ID), pytest.raises(BundleBeingMadeError):
        BundleWriter(tmp_path / "x", ID)
    with pytest.raises(ValueTooLargeError), BundleWriter(tmp_path / "x", ID, split=500) as writer:
        writer.write("packs/ab/1", bytes(600))

    assert list(tmp_path.iterdir()) == []


def test_what_is_there_stays_unless_it_is_to_be_replaced(tmp_path: Path) -> None:
    write(tmp_path / "x", VALUES, split=1300)
    with pytest.raises(BundleExistsError):
        BundleWriter(tmp_path / "x", ID)

    with BundleWriter(tmp_path / "x", ID, replace=True) as writer:
        writer.write("config.json", b"new")
        writer.finish()

    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert read(tmp_path / "x") == {"config.json": b"new"}


def test_a_volume_that_is_missing_is_named_and_the_others_can_be_read_all_the_same(tmp_path: Path) -> None:
    files = write(tmp_path / "x", VALUES, split=1300)
    for number, path in enumerate(files, 1):
        assert path == volume_name(tmp_path / "x", number)
    files[1].unlink()

    with pytest.raises(VolumeMissingError, match="volume 2 is not here"):
        BundleBackend.open(files[0])
    partial = BundleBackend.open(files[2], partial=True)
    files[-1].unlink()
    with pytest.raises(VolumeMissingError, match="volume 2 and the last volume is not here"):
        BundleBackend.open(files[0])

    assert (partial.missing, partial.has_last) == ([2], True)
    assert partial.read("packs/ab/0") == VALUES["packs/ab/0"]


def test_volumes_of_two_bundles_are_not_taken_for_one(tmp_path: Path) -> None:
    files = write(tmp_path / "x", VALUES, split=1300)
    others = write(tmp_path / "y", VALUES, split=1300, bundle=OTHER)
    others[1].replace(files[1])

    with pytest.raises(MalformedBundleError, match="another bundle"):
        BundleBackend.open(files[0])


@given(data=st.data())
def test_whatever_is_changed_in_one_is_found_or_is_in_a_value_whose_hash_says_so(data: st.DataObject) -> None:
    with fast_folder() as folder:
        (file,) = write(folder / "x", {"packs/ab/1": b"12345", "bundle.json": b'{"v":1,"prerequisites":[]}'})
        content = bytearray(file.read_bytes())
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] ^= data.draw(st.integers(1, 255))
        file.write_bytes(content)

        with pytest.raises(CorruptionError):  # noqa: PT012 (either of them)
            backend = BundleBackend.open(file)
            for key, _ in backend.list(""):
                backend.check(key)


@given(cut=st.integers(0, 400))
def test_one_that_is_cut_short_is_refused(cut: int) -> None:
    with fast_folder() as folder:
        (file,) = write(folder / "x", {"packs/ab/1": b"12345", "config.json": b"{}"})
        content = file.read_bytes()
        if cut >= len(content):
            return
        file.write_bytes(content[:cut])

        with pytest.raises(MalformedBundleError):
            BundleBackend.open(file)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"DSVCBNDL",
        encode_header(ID, 0),
        encode_header(ID, 1).replace(b"\1\0\0\0\1", b"\2\0\0\0\1", 1),
        encode_header(ID, 1) + b"DSVCITEM" + b"\xff" * 48 + b"x" * 2000,
        encode_header(ID, 1) + b"DSVCITEM" + bytes(48),
        encode_header(ID, 1) + b"something else that is long enough to be the head of an item, or so.",
    ],
)
def test_what_is_no_bundle_is_refused_without_reading_far(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)

    with pytest.raises(MalformedBundleError):
        BundleBackend.open(path)


def test_keys_that_no_store_has_are_refused(tmp_path: Path) -> None:
    (file,) = write(tmp_path / "x", {"config.json": b"{}"})
    content = file.read_bytes().replace(b"config.json", b"../../etc/x")
    heads = blake3(content[:48] + content[48:115])
    file.write_bytes(content[:-32] + heads.digest())

    with pytest.raises(MalformedBundleError, match="the key at byte 48"):
        BundleBackend.open(file)
