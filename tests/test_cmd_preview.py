"""dsvc preview: what files look like, from their first bytes, and kept nowhere."""

import base64
import io
import json
import wave
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from dsvc.history.media import Image, Sound, image_of, sound_of
from dsvc.history.preview import preview
from tests.conftest import RunDsvc
from tests.inside import call_dsvc

__all__ = ["call_dsvc"]

PARQUET = Path(__file__).parent / "fixtures" / "eight_columns.parquet"
# The beginnings of images of 300 x 7 pixels, as Pillow writes them.
IMAGES = {
    "PNG": "iVBORw0KGgoAAAANSUhEUgAAASwAAAAHCAIAAAA9A+djAAAAMElEQQ==",
    "GIF": "R0lGODdhLAEHAIEAAAECAwAAAAAAAAAAACwAAAAALAEHAAAITAABCA==",
    "JPEG": (
        "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAP//////////////////////////////////////////////////////////////////"
        "////////////////////2wBDAf//////////////////////////////////////////////////////////////////////////"
        "////////////wAARCAAHASwDASIAAhEBAxEB"
    ),
    "progressive JPEG": (
        "/9j/4AAQSkZJRgABAQAAAQABAAD/4QAuRXhpZgAATU0AKgAAAAgAAQEOAAIAAAALAAAAGgAAAAB4eHh4eHh4eHh4AAD/2wBDAP//"
        "////////////////////////////////////////////////////////////////////////////////////2wBDAf//////////"
        "////////////////////////////////////////////////////////////////////////////wgARCAAHASwDASIAAhEBAxEB"
    ),
    "lossy WebP": "UklGRjoAAABXRUJQVlA4IC4AAACwAwCdASosAQcAP/3+/3+/uzayIQ==",
    "lossless WebP": "UklGRiYAAABXRUJQVlA4TBoAAAAvK4EBAAdQgVQIIAAKmv7HABLC/w==",
    "extended WebP": "UklGRnoAAABXRUJQVlA4WAoAAAAIAAAAKwEABgAAVlA4IC4AAACwAw==",
}


def image(name: str) -> Image | None:
    data = base64.b64decode(IMAGES[name])
    return image_of(lambda start, stop: data[start:stop])


def sound(seconds: int, before: bytes = b"") -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(2)
        writer.setsampwidth(2)
        writer.setframerate(8000)
        writer.writeframes(bytes(4 * 8000 * seconds))
    data = file.getvalue()
    return data[:36] + before + data[36:]


@pytest.mark.parametrize("name", IMAGES)
def test_images_of_each_kind_say_how_large_they_are(name: str) -> None:
    assert image(name) == Image(name.rpartition(" ")[2], 300, 7)


def test_sounds_say_how_long_they_are_whatever_comes_before_the_samples() -> None:
    for data in (sound(3), sound(3, b"LIST\x03\x00\x00\x00abc\x00")):
        assert sound_of(lambda start, stop, data=data: data[start:stop]) == Sound("WAV", 3.0, 2, 8000)  # type: ignore[misc]


@settings(max_examples=150)
@given(
    st.sampled_from([*map(base64.b64decode, IMAGES.values()), sound(1), PARQUET.read_bytes(), b'{"a": [1]}']), st.data()
)
def test_whatever_a_file_holds_it_has_a_preview(data: bytes, drawn: st.DataObject) -> None:
    damaged = bytearray(data[: drawn.draw(st.integers(0, len(data)))])
    for _ in range(drawn.draw(st.integers(0, 3)) if damaged else 0):
        damaged[drawn.draw(st.integers(0, len(damaged) - 1))] = drawn.draw(st.integers(0, 255))
    content = bytes(damaged)
    name = drawn.draw(st.sampled_from([b"a.csv", b"a.jsonl", b"a.parquet", b"a.json", b"a.png", b"a"]))

    found = preview(name, len(content), lambda start, stop: content[start:stop])

    some = found.image or found.sound or found.first or found.columns or found.total is not None
    assert some or found.lines is not None or not content.strip()


@pytest.fixture
def folder(call_dsvc: RunDsvc, tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    (root / "images").mkdir(parents=True)
    call_dsvc("init", "-q", cwd=root)
    for number in range(12):
        (root / f"images/{number:02}.png").write_bytes(base64.b64decode(IMAGES["PNG"]))
    (root / "a.wav").write_bytes(sound(2))
    (root / "binary").write_bytes(b"\x7fELF\0" * 10)
    (root / "empty").write_bytes(b"")
    (root / "labels.csv").write_text("name,score,note\n" + "".join(f"n{number},{number}.5,\n" for number in range(30)))
    (root / "nested.json").write_text('{"a": {"b": [1, "é"]}}')
    (root / "rows.jsonl").write_text('{"x": 1, "y": {"z": 2}}\n{"x": 20, "w": null}\n')
    (root / "t.parquet").write_bytes(PARQUET.read_bytes())
    (root / "text").write_bytes(b"one\n\x1b[31mtwo\tthree\r\n" + b"long " * 100 + b"\n")
    call_dsvc("add", ".", cwd=root)
    return root


def block(call_dsvc: RunDsvc, folder: Path, path: str, *words: str) -> list[str]:
    return [line.removeprefix("  ") for line in call_dsvc("preview", path, *words, cwd=folder).lines[1:-1]]


def test_each_kind_of_file_is_shown_in_its_way(call_dsvc: RunDsvc, folder: Path) -> None:
    assert block(call_dsvc, folder, "labels.csv", "-n", "2") == ["name  score  note", "n0      0.5", "n1      1.5"]
    assert len(block(call_dsvc, folder, "labels.csv")) == 11
    assert block(call_dsvc, folder, "rows.jsonl") == [" x  y        w", ' 1  {"z":2}', "20"]
    nested = block(call_dsvc, folder, "nested.json")
    assert nested == ["{", '  "a": {', '    "b": [', "      1,", '      "é"', "    ]", "  }", "}"]
    assert block(call_dsvc, folder, "t.parquet")[:3] == ["3 rows", "i:integer", "d:number"]
    assert block(call_dsvc, folder, "a.wav") == ["WAV sound, 2.0 seconds, 2 channels, 8,000 Hz"]
    assert block(call_dsvc, folder, "images/00.png") == ["PNG image, 300 x 7 pixels"]
    assert block(call_dsvc, folder, "binary")[0].startswith("binary, beginning with 7f 45 4c 46 00")
    assert block(call_dsvc, folder, "empty") == ["empty"]


def test_nothing_that_a_file_holds_reaches_the_terminal_as_a_command(
    call_dsvc: RunDsvc, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")

    lines = block(call_dsvc, folder, "text")

    assert lines[:2] == ["one", "\\u001b[31mtwo  three"]
    assert lines[2].endswith("…")
    assert len(lines[2]) == 98
    (folder / "evil.csv").write_text("a\x1b]0;x\x07,b\n\x9b1m,2\n")
    call_dsvc("add", ".", cwd=folder)
    shown = call_dsvc("preview", "evil.csv", cwd=folder).stdout
    assert not set(shown) & {"\x1b", "\x07", "\x9b"}


def test_of_a_folder_files_of_all_types_are_chosen(call_dsvc: RunDsvc, folder: Path) -> None:
    shown = [line for line in call_dsvc("preview", "--files", "9", cwd=folder).lines if line and line[0] != " "]
    assert [line.split(" (")[0] for line in shown] == [
        "a.wav", "binary", "empty", "images/00.png", "images/01.png", "labels.csv", "nested.json", "rows.jsonl",
        "t.parquet",
    ]  # fmt: skip
    assert len(call_dsvc("preview", "images", "--json", cwd=folder).lines) == 10
    record = json.loads(call_dsvc("preview", "labels.csv", "-n1", "--json", cwd=folder).stdout)
    assert record["columns"] == ["name", "score", "note"]
    assert record["rows"] == [["n0", "0.5", ""]]
    assert "nothing is not in" in call_dsvc("preview", "nothing", cwd=folder, code=4).stderr
    call_dsvc("preview", "-n0", cwd=folder, code=2)


def test_only_the_beginning_of_a_promised_file_comes(call_dsvc: RunDsvc, folder: Path, tmp_path: Path) -> None:
    cells = [b"%d,%s\n" % (number, blake3(b"%d" % number).hexdigest(50).encode()) for number in range(30_000)]
    (folder / "large.csv").write_bytes(b"a,b\n" + b"".join(cells))
    call_dsvc("add", ".", cwd=folder)
    call_dsvc("commit", "-qm", "large", cwd=folder)
    call_dsvc("clone", "-q", "--no-checkout", folder, "clone", cwd=tmp_path)
    clone = tmp_path / "clone"

    assert call_dsvc("preview", "HEAD:large.csv", "-n1", cwd=clone).lines[1].split() == ["a", "b"]

    absent = json.loads(call_dsvc("du", "--json", "HEAD:large.csv", cwd=clone).stdout)["absent"]
    assert absent > 2_000_000


def test_links_are_looked_at_only_where_somebody_here_has_named_them(
    call_dsvc: RunDsvc, folder: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("far away")
    call_dsvc("link", "add", outside.as_uri(), cwd=folder)
    call_dsvc("commit", "-qm", "link", cwd=folder)
    assert block(call_dsvc, folder, "outside.txt") == ["far away"]

    call_dsvc("clone", "-q", folder, "clone", cwd=tmp_path)
    assert block(call_dsvc, tmp_path / "clone", "outside.txt") == ["a link, which nobody here has named"]
