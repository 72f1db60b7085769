"""dsvc export: a version as an archive or a folder."""

import os
import stat
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zstandard import ZstdDecompressor

from dsvc.datasets.archives import Format, _pax_header, _plain_header, open_archive
from tests.conftest import PROJECT
from tests.crash_support import Watch, dying_at, failing_at, run_forked
from tests.forked import Desk, desk
from tests.worktree_support import EMPTY_FOLDER, Content, Executable, Files, Link, read_files

__all__ = ["desk"]

# The date that commands run at in these tests.
TIME = 1_785_578_400
LONG = b"/".join([b"folder-%d" % number * 5 for number in range(4)]) + b"/" + b"x" * 200
FILES: Files = {
    b"a": b"1",
    b"big": os.urandom(3_000_000),
    b"empty": b"",
    b"hollow": EMPTY_FOLDER,
    b"link": Link(b"elsewhere//x"),
    LONG: b"long",
    b"run": Executable(b"#!"),
    "ümläut".encode(): b"2",
}
NOT_TEXT: Files = {b"\xff\xfe": b"odd"}


def from_tar(archive: Path) -> dict[bytes, Content]:
    data = archive.read_bytes()
    if archive.suffix == ".zst":
        data = ZstdDecompressor().decompressobj().decompress(data)
    found: dict[bytes, Content] = {}
    with tarfile.open(fileobj=BytesIO(data)) as tar:
        for member in tar:
            path = os.fsencode(member.name)
            assert (member.uid, member.gid, member.mtime) == (0, 0, TIME)
            if member.isdir():
                found[path] = EMPTY_FOLDER
            elif member.issym():
                found[path] = Link(os.fsencode(member.linkname))
            else:
                file = tar.extractfile(member)
                assert file is not None
                content = file.read()
                found[path] = Executable(content) if member.mode & 0o100 else content
    return found


def from_zip(archive: Path) -> dict[bytes, Content]:
    found: dict[bytes, Content] = {}
    with zipfile.ZipFile(archive) as file:
        assert file.testzip() is None
        for member in file.infolist():
            mode = member.external_attr >> 16
            path, content = member.filename.encode(), file.read(member)
            if member.is_dir():
                found[path.rstrip(b"/")] = EMPTY_FOLDER
            elif stat.S_ISLNK(mode):
                found[path] = Link(content)
            else:
                found[path] = Executable(content) if mode & 0o100 else content
    return found


READERS: dict[str, Callable[[Path], dict[bytes, Content]]] = {
    "x.tar": from_tar,
    "x.tar.gz": from_tar,
    "x.tgz": from_tar,
    "x.tar.zst": from_tar,
    "x.ZIP": from_zip,
    "x": read_files,
}


@pytest.mark.parametrize("name", READERS)
def test_an_archive_or_a_folder_holds_exactly_the_version(desk: Desk, name: str) -> None:
    desk.commit(FILES)
    (desk.work / "a").write_text("edited")
    target = desk.folder / name

    said = desk("export", "--to", target).stderr

    assert READERS[name](target) == FILES
    assert said == f"exported 7 files (2.9 MiB) to {target}\n"
    assert sorted(path.name for path in desk.folder.iterdir()) == sorted([name, "work"])


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz", "x.tar.zst", "x.zip"])
def test_the_same_version_makes_the_same_bytes_into_a_file_or_a_pipe(desk: Desk, name: str) -> None:
    desk.commit(FILES)
    desk("export", "HEAD", "--to", desk.folder / name)
    desk("clone", "-q", "--data", desk.work, "clone", cwd=desk.folder)

    # Bytes, and `Ended` has text.
    command = [sys.executable, "-m", "dsvc", "export", "-o", "-", "--format", name[2:]]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT)}
    piped = subprocess.run(command, cwd=desk.folder / "clone", check=True, capture_output=True, env=environment)

    assert piped.stdout == (desk.folder / name).read_bytes()


def test_any_name_fits_into_a_tar_and_a_zip_refuses_what_is_no_text(desk: Desk) -> None:
    desk.commit(NOT_TEXT)

    desk("export", "-o", "../x.tar")
    refused = desk("export", "-o", "../x.zip", code=2)

    assert from_tar(desk.folder / "x.tar") == NOT_TEXT
    assert "is not UTF-8, and a zip holds no other names" in refused.stderr
    assert not (desk.folder / "x.zip").exists()


def test_the_comment_is_the_id_of_the_commit(desk: Desk) -> None:
    commit = desk.commit(FILES)
    desk("export", "-q", "-o", "../x.tar")
    desk("export", "-q", "-o", "../x.zip")

    with tarfile.open(desk.folder / "x.tar") as tar, zipfile.ZipFile(desk.folder / "x.zip") as file:
        assert tar.pax_headers["comment"] == commit
        assert file.comment.decode() == commit


def test_some_paths_of_any_version_go_below_a_prefix(desk: Desk) -> None:
    old = desk.commit({b"in/a": b"1", b"in/b.txt": b"2", b"c.txt": b"3"})
    desk.commit({b"d": b"4"})

    desk("export", old, "in", "-o", "../x", "--prefix", "data/v1/")
    desk("export", old, "-o", "../y", "--", "*.txt")

    assert read_files(desk.folder / "x") == {b"data/v1/in/a": b"1", b"data/v1/in/b.txt": b"2"}
    assert read_files(desk.folder / "y") == {b"in/b.txt": b"2", b"c.txt": b"3"}


def test_a_lazy_clone_brings_what_is_exported(desk: Desk) -> None:
    old = desk.commit(FILES)
    desk.commit({b"d": b"4"})
    desk("clone", "-q", desk.work, "clone", cwd=desk.folder)

    desk("export", old, "-q", "-o", desk.folder / "x.tar", cwd=desk.folder / "clone")

    assert from_tar(desk.folder / "x.tar") == FILES


def test_what_is_there_stays_unless_an_archive_is_to_be_overwritten(desk: Desk) -> None:
    desk.commit({b"a": b"1"})
    (desk.folder / "x.tar").write_text("mine")
    (desk.folder / "x").mkdir()
    desk("export", "-o", "../x")

    assert "is there already" in desk("export", "-o", "../x.tar", code=5).stderr
    assert "is there already" in desk("export", "-o", "../x", code=5).stderr
    assert (desk.folder / "x.tar").read_text() == "mine"
    desk("export", "-f", "-o", "../x.tar")
    assert from_tar(desk.folder / "x.tar") == {b"a": b"1"}


@pytest.mark.parametrize("name", ["x.tar.zst", "x"])
def test_what_could_not_be_written_whole_has_no_name(desk: Desk, name: str) -> None:
    desk.commit(FILES)
    # In the middle, when there is no room any more.
    full = Watch(failing_at(4), within=desk.folder / ".")

    ended = run_forked("export", "-o", desk.folder / name, cwd=desk.work, watch=full)

    assert ended.code == 9
    assert [path.name for path in desk.folder.iterdir()] == ["work"]


@pytest.mark.parametrize("name", ["x.tar", "x"])
def test_what_a_killed_export_has_left_goes_with_the_next_one(desk: Desk, name: str) -> None:
    desk.commit(FILES)
    killed = Watch(dying_at(4), within=desk.folder / ".")
    run_forked("export", "-o", desk.folder / name, cwd=desk.work, watch=killed)
    assert [path.name for path in desk.folder.iterdir()] != ["work"]

    desk("export", "-q", "-o", desk.folder / name)

    assert {path.name for path in desk.folder.iterdir()} == {"work", name}


def test_clearml_silent_partial_get__damaged_content_is_never_exported(desk: Desk) -> None:
    desk.commit({b"a": b"1" * 1000, b"b": os.urandom(2_000_000)})
    (pack,) = [path for path in (desk.work / ".dsvc/store/packs").rglob("*.*") if path.stat().st_size > 1_000_000]
    pack.chmod(0o644)
    with pack.open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"damaged")

    for name in ("x.tar", "x"):
        assert "damaged" in desk("export", "-o", desk.folder / name, code=8).stderr
        assert not (desk.folder / name).exists()


def test_clearml_lost_exec_bit__it_is_in_every_format(desk: Desk) -> None:
    desk.commit({b"run": Executable(b"#!")})
    for name in ("x.tar", "x.zip", "x"):
        desk("export", "-q", "-o", desk.folder / name)
    subprocess.run(["tar", "xf", "x.tar", "--one-top-level=t"], cwd=desk.folder, check=True)

    assert os.access(desk.folder / "t" / "run", os.X_OK)
    assert os.access(desk.folder / "x" / "run", os.X_OK)
    assert from_zip(desk.folder / "x.zip") == {b"run": Executable(b"#!")}


def test_links_are_read_left_out_or_told_and_one_that_is_gone_is_an_error(desk: Desk) -> None:
    (desk.folder / "far").write_text("elsewhere")
    desk.commit({b"a": b"1"})
    desk("link", "add", "-q", f"file://{desk.folder}/far")
    desk("commit", "-q", "-m", "A link")

    desk("export", "-q", "-o", "../read")
    desk("export", "-q", "-o", "../told", "--linked=url")
    said = desk("export", "-o", "../left", "--linked=skip").stderr

    assert read_files(desk.folder / "read") == {b"a": b"1", b"far": b"elsewhere"}
    url = b"[InternetShortcut]\nURL=file://%s/far\n" % os.fsencode(desk.folder)
    assert read_files(desk.folder / "told") == {b"a": b"1", b"far.url": url}
    assert read_files(desk.folder / "left") == {b"a": b"1"}
    assert said.endswith("to ../left, without 1 link\n")
    (desk.folder / "far").unlink()
    assert "nothing is any more" in desk("export", "-o", "../gone", code=4).stderr
    assert not (desk.folder / "gone").exists()


def test_before_the_first_version_nothing_is_exported(desk: Desk) -> None:
    assert "any commits yet" in desk("export", "-o", "../x.tar", code=4).stderr
    assert not (desk.folder / "x.tar").exists()


def test_what_cannot_be_meant_is_refused(desk: Desk) -> None:
    desk.commit({b"a": b"1"})

    assert "say what to write" in desk("export", code=2).stderr
    assert "an archive ends in" in desk("export", "-o", "../x.tar.xz", code=2).stderr
    assert "nowhere is not in `HEAD`" in desk("export", "HEAD", "nowhere", "-o", "../x.tar", code=4).stderr
    assert "invalid path" in desk("export", "--prefix", "../x", "-o", "../x.tar", code=2).stderr
    assert [path.name for path in desk.folder.iterdir()] == ["work"]
    (record,) = desk.json("export", "-o", "../x.tar")
    assert (record["path"], record["files"], record["bytes"]) == ("../x.tar", 1, 1)


@given(
    path=st.binary(min_size=1, max_size=101).filter(lambda path: b"\0" not in path),
    target=st.sampled_from([b"", b"x" * 100, b"x" * 101, b"\xff"]),
    size=st.sampled_from([0, 1, 8**11 - 1, 8**11]),
    time=st.sampled_from([-1, 0, TIME, 8**11]),
    kind=st.sampled_from([(b"0", 0o644), (b"2", 0o777)]),
)
def test_a_header_that_is_made_the_fast_way_is_that_of_the_library(
    path: bytes, target: bytes, size: int, time: int, kind: tuple[bytes, int]
) -> None:
    fast = _plain_header(path, *kind, size, time, target)

    assert fast is None or fast == _pax_header(path, *kind, size, time, target)
    assert fast is not None or size or time or target or len(path) > 100 or not path.isascii()


def test_a_tar_tells_sizes_beyond_eight_gigabytes() -> None:
    size, sink = (8 << 30) + 5, BytesIO()

    # The header alone: the rest would be eight gigabytes.
    with open_archive(sink, Format("tar"), TIME, "x") as archive:
        archive.add_file(b"huge", size, [])
    sink.seek(0)

    with tarfile.open(fileobj=sink) as tar:
        member = tar.next()
    assert member is not None
    assert (member.name, member.size) == ("huge", size)
