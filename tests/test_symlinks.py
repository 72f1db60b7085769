"""Symlinks that lead out of a version: where programs read other people's data, none is written unawares."""

import errno
import os
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dsvc.datasets.symlinks import leads_out
from tests.forked import Desk, desk
from tests.worktree_support import EMPTY_FOLDER, Content, Link, read_files

__all__ = ["desk"]

INSIDE: dict[bytes, Content] = {
    b"a/b/up": Link(b"../../c"),
    b"a/here": Link(b"./b//up"),
    b"c": b"1",
    b"root": Link(b"."),
    b"a/root": Link(b".."),
}

parts = st.sampled_from(["..", ".", "", "a", "b", "c"])
targets = st.lists(parts, min_size=1, max_size=5).map("/".join).filter(bool)
paths = st.sampled_from(["x", "y", "a/x", "a/y", "a/b/x", "a/b", "a/b/c", "c", "b"])


@settings(max_examples=50, deadline=None)
@given(links=st.dictionaries(paths, targets, max_size=5))
@example(links={"a/b": "..", "c": "a/b/.."})
@example(links={"x": "..", "a/b": "b//."})
def test_whatever_links_there_are_those_that_are_written_stay_inside(links: dict[str, str]) -> None:
    with TemporaryDirectory() as folder:
        root = Path(folder).resolve() / "1/2/3/root"
        (root / "a").mkdir(parents=True)
        written = []
        for path, target in sorted(links.items()):
            place = root / path
            if leads_out(path.encode(), target.encode()) or place.parent.is_symlink():
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            if not os.path.lexists(place):
                os.symlink(target, place)  # noqa: PTH211 (pathlib tidies the target)
                written.append(place)

        for place in written:
            assert _leads_in_circles(place) or Path(os.path.realpath(place)).is_relative_to(root)


def _leads_in_circles(place: Path) -> bool:
    # Then nobody gets anywhere through it, and Python says that it leads to the root.
    try:
        place.stat()
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


@pytest.mark.parametrize(
    ("path", "target"),
    [
        (b"link", b"/etc/passwd"),
        (b"link", b".."),
        (b"link", b"../x"),
        (b"a/link", b"../../x"),
        (b"a/link", b".././../x"),
        (b"a/link", b"b/../../../x"),
        (b"link", b"a/.."),
    ],
)
def test_what_may_lead_out(path: bytes, target: bytes) -> None:
    assert leads_out(path, target)


@pytest.mark.parametrize(("path", "target"), [(b"a/link", b"../x"), (b"link", b"..x/y"), (b"a/b/link", b"../.././c")])
def test_what_stays_inside(path: bytes, target: bytes) -> None:
    assert not leads_out(path, target)


def test_links_that_stay_inside_are_got_and_exported(desk: Desk) -> None:
    desk.commit(INSIDE)

    desk("export", "-q", "--to", "../out")

    assert read_files(desk.folder / "out") == INSIDE
    assert read_files(Path(desk.lines("get", "main")[0])) == INSIDE


@pytest.mark.parametrize("target", ["/etc", "../../../../../../etc", "empty/../.."])
def test_a_link_that_leads_out_is_refused_and_nothing_is_written(target: str, desk: Desk) -> None:
    files: dict[bytes, Content] = {b"big": os.urandom(100_000), b"data": Link(target.encode()), b"empty": EMPTY_FOLDER}
    desk.commit(files)
    told = f"error: data is a symlink to {target}, which leads out of the version\nhint: if you trust it, use `--unsafe"

    for words in (["get", "main"], ["get", "main", "--to", "../to"], ["export", "--to", "../out"],
                  ["export", "--to", "../out.tar"]):  # fmt: skip
        refused = desk(*words, code=10)
        assert told in refused.stderr
        assert refused.stdout == ""
    assert not any((desk.folder / name).exists() for name in ("to", "out", "out.tar"))
    assert desk("export", "--to", "../out", "--", "big").code == 0
    assert desk("get", "main", "big").code == 0


def test_a_link_that_leads_out_is_written_where_that_is_asked_for(desk: Desk) -> None:
    files: dict[bytes, Content] = {b"a": b"1", b"data": Link(b"/etc/nothing")}
    desk.commit(files)

    tree = Path(desk.lines("get", "--unsafe-symlinks", "main")[0])

    assert read_files(tree) == files
    assert Path(desk.lines("get", "--unsafe-symlinks", "main")[0]) == tree
    # Who does not ask for it is not given what is there already.
    desk("get", "main", code=10)
    desk("export", "-q", "--unsafe-symlinks", "--to", "../out.tar")
    with tarfile.open(desk.folder / "out.tar") as tar:
        assert tar.getmember("data").linkname == "/etc/nothing"
    desk("get", "-q", "--unsafe-symlinks", "main", "--to", "../to")
    assert read_files(desk.folder / "to") == files


def test_a_clone_has_every_link_as_it_is(desk: Desk) -> None:
    files: dict[bytes, Content] = {b"a": b"1", b"data": Link(b"/etc/nothing")}
    desk.commit(files)

    desk("clone", "-q", "work", "clone", cwd=desk.folder)

    assert read_files(desk.folder / "clone") == files
    assert desk("status", "--porcelain", cwd=desk.folder / "clone").stdout == ""
