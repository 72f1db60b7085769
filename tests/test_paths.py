"""A tree holds any name that a POSIX system may hold, and none that would lead elsewhere."""

import os
from itertools import groupby, product

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dsvc.history.entry_layout import path_keys
from dsvc.model.paths import (
    MAX_PATH_LENGTH,
    InvalidPathError,
    display_path,
    is_within,
    key_path,
    path_key,
    quote_path,
    validate_path,
)

# Names from bytes that matter, and from any.
_odd = st.sampled_from(
    [b".", b"..", b".dsvc", b"DSVC~1", b"~1", b":", b"\\", b" ", "\u200c".encode(), "\ufeff".encode()]
)
components = st.one_of(
    st.binary(min_size=1, max_size=8),
    st.lists(_odd | st.binary(max_size=3), min_size=1, max_size=4).map(b"".join),
)
paths = st.lists(components, min_size=1, max_size=4).map(b"/".join)


def refused(path: bytes) -> bool:
    try:
        validate_path(path)
    except InvalidPathError:
        return True
    return False


CASES = [bytes(letters) for letters in product(*zip(b".dsvc", b".DSVC", strict=True))]


@pytest.mark.parametrize("name", sorted(set(CASES)))
def test_the_control_folder_is_refused_in_any_case(name: bytes) -> None:
    assert refused(name)
    assert refused(name + b"/x")
    assert refused(b"a/" + name)
    assert refused(b"a/" + name + b"/x")


@pytest.mark.parametrize("code", [*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF])
def test_the_control_folder_is_refused_with_what_hfs_ignores_in_it(code: int) -> None:
    for position in range(6):
        name = ".dSvc"[:position] + chr(code) + ".dSvc"[position:]

        assert refused(name.encode())
        assert refused(b"a/" + name.encode() + b"/x")


@pytest.mark.parametrize(
    "name",
    [
        b"dsvc~1",
        b"DSVC~1",
        b"Dsvc~1 ",
        b".dsvc.",
        b".dsvc ",
        b".DSVC . .",
        b".dsvc::$INDEX_ALLOCATION",
        b".dsvc:x",
        b".dsvc .:x",
        b".dsvc\\config.toml",
        b"dsvc~1\\x",
        b"DSVC~1:x",
        ".d\u017fvc".encode(),
        ".D\u017f\u200cVC".encode(),
    ],
)
def test_the_control_folder_is_refused_under_the_names_that_other_systems_have_for_it(name: bytes) -> None:
    assert refused(name)
    assert refused(b"a/" + name)


@pytest.mark.parametrize(
    "path",
    [
        b"",
        b"/",
        b"/a",
        b"a/",
        b"a//b",
        b".",
        b"..",
        b"./a",
        b"a/.",
        b"a/..",
        b"a/../b",
        b"../a",
        b"\0",
        b"a\0b",
        b"a/\0",
        b"x" * 256,
        b"a/" + b"x" * 256 + b"/b",
        b"a/" * (MAX_PATH_LENGTH // 2) + b"a",
    ],
)
def test_what_would_lead_elsewhere_or_nowhere_is_refused(path: bytes) -> None:
    with pytest.raises(InvalidPathError) as caught:
        validate_path(path)

    assert caught.value.path == path
    assert quote_path(path) in str(caught.value)


@pytest.mark.parametrize(
    "path",
    [
        b"a",
        b"...",
        b"..a",
        b"a..",
        b".a",
        b"a.",
        b" ",
        b"~",
        b"-",
        b"-rf",
        b"a b",
        b"a\nb",
        b"\xff\xfe",
        b"\x01",
        b"a\\b",
        b"a:b",
        b"CON",
        b"nul.txt",
        b"dsvc",
        b"dsvc~2",
        b"xdsvc~1",
        b".dsvcignore",
        b".dsv",
        b".dsvc2",
        b".dsvc~1",
        b"a.dsvc",
        b".git",
        b".git/config",
        "\u200c".encode(),
        "\ufeff".encode(),
        ".d\u017fv".encode(),
        ".\u0501svc".encode(),
        b".dsvc\xff",
        b".\xe2\x80dsvc",
        b"x" * 255,
        (b"x" * 255 + b"/") * 127 + b"x" * 255,
        b"a/" * (MAX_PATH_LENGTH // 2 - 1) + b"ab",
    ],
)
def test_any_other_name_is_accepted(path: bytes) -> None:
    assert not refused(path)


@given(st.binary(min_size=1, max_size=255).filter(lambda name: not set(name) & set(b"/\0.dD\xe2\xef")))
def test_any_bytes_but_slash_and_nul_make_a_name(name: bytes) -> None:
    assert not refused(name)


@given(st.lists(paths, min_size=1, max_size=5))
@example([b"a", b"\0", b"b"])
@example([b"a/\0", b"\0/b"])
def test_many_paths_at_once_are_judged_as_each_alone(many: list[bytes]) -> None:
    try:
        keys = path_keys(many)
    except InvalidPathError:
        keys = []

    assert keys == ([] if any(map(refused, many)) else [path_key(path) for path in many])


@given(paths.filter(lambda path: not refused(path)))
def test_a_key_is_the_path_in_another_order(path: bytes) -> None:
    assert key_path(path_key(path)) == path


names = st.text("ab./ -\x01~", min_size=1, max_size=4).map(str.encode)


@given(st.lists(st.lists(names, min_size=1, max_size=4).map(b"/".join), max_size=30, unique=True), names)
def test_a_folder_is_one_range_of_keys(many: list[bytes], folder: bytes) -> None:
    ordered = sorted(many, key=path_key)

    runs = [is_in for is_in, _ in groupby(is_within(path, folder) for path in ordered)]

    assert runs.count(True) <= 1


@given(st.binary())
def test_what_is_displayed_turns_back_into_the_same_bytes(path: bytes) -> None:
    assert os.fsencode(display_path(path)) == path


@given(st.binary())
def test_what_is_quoted_is_one_printable_line_that_tells_paths_apart(path: bytes) -> None:
    quoted = quote_path(path)

    assert quoted.isprintable()
    assert quoted
    assert _unquoted(quoted) == path


def _unquoted(quoted: str) -> bytes:
    if not quoted.startswith('"'):
        return quoted.encode()
    letters = {"a": 7, "b": 8, "t": 9, "n": 10, "v": 11, "f": 12, "r": 13, '"': 34, "\\": 92}
    body, found = quoted[1:-1], bytearray()
    while body:
        if body[0] != "\\":
            found += body[0].encode()
            body = body[1:]
        elif body[1] in letters:
            found.append(letters[body[1]])
            body = body[2:]
        else:
            found.append(int(body[1:4], 8))
            body = body[4:]
    return bytes(found)
