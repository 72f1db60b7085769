"""dsvc cat, as a person meets it."""

from pathlib import Path

import pytest

from tests.conftest import RunDsvc
from tests.history_support import Versions

CONTENT = b"".join(b"%04d\n" % number for number in range(2000))
BINARY = bytes(range(256)) * 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    versions = Versions(folder)
    first = versions.make({b"data/rows": b"old\n"}, "first")
    files = {b"data/rows": CONTENT, b"binary": BINARY, b"link@": b"data/rows", b"a:b": b"colon", b"empty": b""}
    versions.make(files, "second", parents=[first])
    (folder / "data").mkdir()
    return folder


def printed(run_dsvc: RunDsvc, folder: Path, *words: str) -> bytes:
    return run_dsvc("cat", *words, cwd=folder).stdout.encode("utf-8", "surrogateescape")


def test_the_bytes_of_files_are_printed_one_after_the_other(folder: Path, run_dsvc: RunDsvc) -> None:
    assert printed(run_dsvc, folder, "binary") == BINARY
    assert printed(run_dsvc, folder, "HEAD~1:data/rows", "main:data/rows", "empty") == b"old\n" + CONTENT
    assert printed(run_dsvc, folder, "link") == b"data/rows"


def test_paths_start_where_they_say(folder: Path, run_dsvc: RunDsvc) -> None:
    inside = folder / "data"

    assert printed(run_dsvc, inside, "rows") == printed(run_dsvc, inside, ":./rows") == CONTENT
    assert printed(run_dsvc, inside, "HEAD:data/rows") == printed(run_dsvc, inside, "HEAD:./rows") == CONTENT
    assert printed(run_dsvc, inside, "--rev", "HEAD~1", "rows") == b"old\n"
    assert printed(run_dsvc, folder, "a:b") == printed(run_dsvc, folder, "HEAD:a:b") == b"colon"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("10:20", CONTENT[10:20]),
        ("995+10", CONTENT[995:1005]),
        ("-10:", CONTENT[-10:]),
        (":-9990", CONTENT[:-9990]),
        ("-20:-10", CONTENT[-20:-10]),
        ("9k+100", CONTENT[9216:9316]),
        ("9999:20000", CONTENT[9999:]),
        ("20000:", b""),
        ("20:10", b""),
        ("-20000:5", CONTENT[:5]),
        (":", CONTENT),
        ("+5", CONTENT[:5]),
    ],
)
def test_a_range_of_bytes_is_cut_as_python_cuts(folder: Path, run_dsvc: RunDsvc, text: str, part: bytes) -> None:
    assert printed(run_dsvc, folder, "--range", text, "data/rows") == part


def test_what_cannot_be_printed_is_named_and_nothing_is_printed(folder: Path, run_dsvc: RunDsvc) -> None:
    def error(*words: str, code: int) -> str:
        result = run_dsvc("cat", *words, cwd=folder, code=code)
        assert result.stdout == ""
        return result.stderr

    assert "data is a folder" in error("binary", "data", code=2)
    assert "nothing is not in what is staged" in error("binary", "nothing", code=4)
    assert "nothing is not in `HEAD`" in error("HEAD:nothing", code=4)
    assert "unknown revision `v9`" in error("v9:binary", code=4)
    assert "not a range of bytes: `1-2`" in error("--range", "1-2", "binary", code=2)
    assert error(code=2)
