"""dsvc.lock: a text that people read, that git merges, and that says exactly what is meant."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsvc.datasets.lockfile import (
    AliasClashError,
    Locked,
    MalformedLockError,
    change_lock,
    check_alias,
    find_lock,
    read_lock,
    usual_alias,
    variable_of,
)
from dsvc.errors import InvalidInputError

ONE, TWO = "1" * 64, "2" * 64
RAW = Locked("raw", ONE, TWO)

texts = st.text(max_size=20)
ids = st.binary(min_size=32, max_size=32).map(bytes.hex)
locks = st.dictionaries(
    st.from_regex(r"[a-z][a-z0-9]*", fullmatch=True),
    st.builds(Locked, texts.filter(bool), ids, ids, texts, texts),
    max_size=5,
)


def write(path: Path, wanted: Mapping[str, Locked]) -> None:
    change_lock(path, lambda _: dict(wanted))


@given(locks)
def test_what_is_written_is_read_back_and_written_the_same(
    tmp_path_factory: pytest.TempPathFactory, wanted: dict[str, Locked]
) -> None:
    path = tmp_path_factory.mktemp("lock") / "dsvc.lock"

    write(path, wanted)
    text = path.read_bytes()
    write(path, read_lock(path))

    assert read_lock(path) == wanted
    assert path.read_bytes() == text
    assert [file.name for file in path.parent.iterdir()] == ["dsvc.lock"]


def test_a_change_is_the_lines_of_its_alias(tmp_path: Path) -> None:
    path = tmp_path / "dsvc.lock"
    write(path, {"b": RAW, "a": RAW})
    before = path.read_text().splitlines()

    change_lock(path, lambda found: found | {"b": Locked("raw", TWO, TWO, "1.0", "s3://bucket/x")})

    after = path.read_text().splitlines()
    assert [line for line in after if line not in before] == [
        'version = "1.0"',
        f'commit = "{TWO}"',
        'url = "s3://bucket/x"',
    ]
    assert after[: before.index("[use.b]")] == before[: before.index("[use.b]")]


@pytest.mark.parametrize(
    "text",
    [
        "format = 2",
        "format = 1\nother = 1",
        "format = 1\n[use.a]\nname = 'raw'",
        f"format = 1\n[use.a]\nname = 'raw'\ncommit = '{ONE[1:]}'\ntree = '{ONE}'",
        "<<<<<<< ours",
    ],
)
def test_a_file_that_says_something_else_is_refused_and_left_as_it_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / "dsvc.lock"
    path.write_text(text)

    with pytest.raises(MalformedLockError, match=r"dsvc\.lock"):
        change_lock(path, lambda found: found)

    assert path.read_text() == text


def test_two_aliases_of_one_variable_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "dsvc.lock"
    write(path, {"a-b": RAW})

    with pytest.raises(AliasClashError, match="DSVC_USE_A_B"):
        change_lock(path, lambda found: found | {"A_b": RAW})

    assert list(read_lock(path)) == ["a-b"]


def test_it_is_found_in_the_nearest_folder_above(tmp_path: Path) -> None:
    inner = tmp_path / "code" / "deep"
    inner.mkdir(parents=True)
    write(tmp_path / "dsvc.lock", {})
    outer = find_lock(inner)
    write(tmp_path / "code" / "dsvc.lock", {})

    assert outer == tmp_path / "dsvc.lock"
    assert find_lock(inner) == tmp_path / "code" / "dsvc.lock"


def test_an_alias_is_the_last_word_of_a_name_and_a_variable() -> None:
    assert usual_alias("vision/image net") == "image-net"
    assert variable_of("image-net") == "DSVC_USE_IMAGE_NET"
    for wrong in ("", "2024", "a b", "a.b", "ä"):
        with pytest.raises(InvalidInputError):
            check_alias(wrong)
