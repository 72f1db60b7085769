"""Settings come in layers, are checked where they come in, and files keep what people wrote in them."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsvc.config import (
    Config,
    ConfigError,
    KeyNotSetError,
    UnknownKeyError,
    environment_layer,
    parse_value,
    read_layer,
    set_value,
    unset_value,
)
from dsvc.toml_edit import edit_toml

WRITTEN_BY_HAND = """\
# mine
[user]
name = "Ada"   # as on my passport
email = 'ada@example.org'

[checkout]
link = [
    "hardlink",  # the disk is small
    "copy",
]

[remote."the office"]
url = "/mnt/office"
"""


def test_the_nearest_layer_that_has_a_value_wins() -> None:
    config = Config(
        flags={"add.jobs": 1},
        environment={"add.jobs": 2, "core.pager": "more"},
        repository={"core.pager": "less", "user.name": "Ada"},
        user={"user.name": "Grace", "user.email": "grace@example.org"},
    )

    assert config.number("add.jobs") == 1
    assert config.text("core.pager") == "more"
    assert config.text("user.name") == "Ada"
    assert config.text("user.email") == "grace@example.org"
    assert config.number("log.keep") == 100
    assert [config.origin(key) for key in ("add.jobs", "core.pager", "user.name", "user.email", "log.keep")] == [
        "flag", "environment", "repository", "user", "default",
    ]  # fmt: skip


def test_a_file_is_a_layer(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(WRITTEN_BY_HAND)

    config = Config().with_repository(file)

    assert config.words("checkout.link") == ("hardlink", "copy")
    assert config.remotes() == {"the office": "/mnt/office"}


def test_no_file_and_only_comments_are_empty_layers(tmp_path: Path) -> None:
    (tmp_path / "comments.toml").write_text("# nothing yet\n\n")

    assert read_layer(tmp_path / "none.toml") == {}
    assert read_layer(tmp_path / "comments.toml") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[user\n", "is not TOML"),
        ("[user]\nnmae = 'x'\n", "unknown configuration key 'user.nmae' in "),
        ("[user]\nname = 1\n", "user.name must be text, not 1"),
        ("[user]\nname = ' '\n", "user.name cannot be ' '"),
        ("[add]\njobs = true\n", "add.jobs must be a whole number, not True"),
        ("[add]\njobs = -1\n", "add.jobs cannot be -1: the least is 0"),
        ("[checkout]\nlink = 'copy'\n", "checkout.link must be a list of words"),
        ("[checkout]\nlink = ['move']\n", "checkout.link cannot be 'move': choose from reflink, hardlink, copy"),
        ("[remote]\nurl = 'x'\n", "unknown configuration key 'remote.url'"),
    ],
)
def test_a_wrong_file_is_refused_by_name_key_and_value(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(text)

    with pytest.raises(ConfigError) as refused:
        read_layer(file)

    assert message in str(refused.value)
    assert str(file) in str(refused.value)


def test_variables_are_a_layer_and_the_error_names_the_variable() -> None:
    assert environment_layer({"DSVC_ADD_JOBS": "4", "DSVC_CHECKOUT_LINK": "copy, reflink", "HOME": "/"}) == {
        "add.jobs": 4,
        "checkout.link": ("copy", "reflink"),
    }
    with pytest.raises(ConfigError, match=r"DSVC_ADD_JOBS: add\.jobs must be a whole number, not 'all'"):
        environment_layer({"DSVC_ADD_JOBS": "all"})


def test_setting_changes_one_line_and_keeps_the_comments(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(WRITTEN_BY_HAND)

    set_value(file, "user.email", "ada@lovelace.example")
    set_value(file, "user.name", "Ada")
    set_value(file, "checkout.link", ("copy",))

    assert file.read_text() == WRITTEN_BY_HAND.replace("'ada@example.org'", '"ada@lovelace.example"').replace(
        '"Ada"   # as on my passport', '"Ada"'
    ).replace('link = [\n    "hardlink",  # the disk is small\n    "copy",\n]', 'link = ["copy"]')


def test_unsetting_removes_the_lines_of_the_key_alone(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(WRITTEN_BY_HAND)

    unset_value(file, "checkout.link")
    unset_value(file, "remote.the office.url")

    assert read_layer(file) == {"user.name": "Ada", "user.email": "ada@example.org"}
    with pytest.raises(KeyNotSetError):
        unset_value(file, "checkout.link")


def test_a_file_that_cannot_be_edited_by_lines_stays_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('user = {name = "Ada"}\n')

    with pytest.raises(ConfigError, match="edit it by hand"):
        set_value(file, "user.name", "Grace")

    assert file.read_text() == 'user = {name = "Ada"}\n'


def test_a_linked_file_stays_a_link_and_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "real.toml").touch(0o600)
    link = tmp_path / "config.toml"
    link.symlink_to("real.toml")

    set_value(link, "user.name", "Ada")

    assert link.is_symlink()
    assert (tmp_path / "real.toml").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["config.toml", "real.toml"]


def test_unknown_keys_are_never_written(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"

    for key in ("user", "user.nme", "remote.url", "remote.*.url", ""):
        with pytest.raises(UnknownKeyError):
            set_value(file, key, "x")
        with pytest.raises(UnknownKeyError):
            parse_value(key, "x")

    assert not file.exists()


names = st.text(min_size=1, max_size=8).filter(str.isprintable).filter(lambda name: "*" not in name and name.strip())
settings = st.one_of(
    st.tuples(st.just("add.jobs"), st.integers(0, 10**6)),
    st.tuples(st.sampled_from(["user.name", "core.pager"]), names),
    st.tuples(st.just("checkout.link"), st.lists(st.sampled_from(["copy", "reflink"]), min_size=1).map(tuple)),
    st.tuples(names.map(lambda name: f"remote.{name}.url"), names),
)


@given(st.sampled_from(["", WRITTEN_BY_HAND]), st.lists(settings, max_size=6))
def test_what_is_set_is_what_is_read(text: str, changes: list[tuple[str, str | int | tuple[str, ...]]]) -> None:
    for key, value in changes:
        text = edit_toml(text, key, value)

    read = tomllib.loads(text)
    for key, value in dict(changes).items():
        first, _, rest = key.partition(".")
        middle, _, last = rest.rpartition(".")
        found = read[first][middle][last] if middle else read[first][last]
        assert found == (list(value) if isinstance(value, tuple) else value)
    assert text.startswith("# mine") or "# mine" not in text
