"""Names of refs: what may be one, and what people call it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsvc.log.refs import (
    MAX_REF_NAME_LENGTH,
    InvalidRefNameError,
    branch_ref,
    check_ref_name,
    check_ref_value,
    remote_ref,
    short_name,
    tag_ref,
    worktree_ref,
)
from tests.log_support import oid


@pytest.mark.parametrize(
    "name",
    ["main", "vision/imagenet", "v1.2.0", "vision/imagenet@1.2.0", "@", "a-b_c+d", "größe", "数据/集", "a.b/c.d"],
)
def test_a_good_name_is_taken(name: str) -> None:
    for make in (branch_ref, tag_ref, worktree_ref):
        assert short_name(make(name)) == name


@pytest.mark.parametrize(
    "name",
    [
        *[
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            ".",
            "..",
            "a..b",
            ".a",
            "a/.b",
            "a.",
            "a/b.",
            "-a",
            "a/-b",
            "a.lock",
            "a.lock/b",
        ],
        *["a b", "a~1", "a^", "a:b", "a?", "a*", "a[b", "a\\b", "a@{1}", "a\tb", "a\n", "a\0", "a\x7f"],
        *["a\u00a0b", "a\u2028", "a\u202eb", "\ufeffa", "a\ud800"],
        "x" * MAX_REF_NAME_LENGTH,
        "ö" * (MAX_REF_NAME_LENGTH // 2),
    ],
)
def test_a_bad_name_is_refused(name: str) -> None:
    for make in (branch_ref, tag_ref, worktree_ref):
        with pytest.raises(InvalidRefNameError):
            make(name)


@pytest.mark.parametrize(
    "ref", ["", "main", "refs", "refs/", "refs/main", "heads/main", "REFS/heads/main", "refs//main"]
)
def test_a_ref_has_a_kind_and_a_name(ref: str) -> None:
    with pytest.raises(InvalidRefNameError):
        check_ref_name(ref)


def test_a_remote_is_one_component() -> None:
    assert remote_ref("origin", "a/b") == "refs/remotes/origin/a/b"
    assert short_name("refs/remotes/origin/a/b") == "origin/a/b"
    with pytest.raises(InvalidRefNameError):
        remote_ref("origin/a", "b")


@given(st.text(max_size=30))
def test_what_is_taken_can_be_written_and_holds_nothing_odd(name: str) -> None:
    try:
        ref = check_ref_name(f"refs/heads/{name}")
    except InvalidRefNameError:
        return

    assert ref.encode().decode() == ref
    assert not set(ref) & set(" ~^:?*[\\\n\t\0")
    assert all(part and part[0] not in ".-" and part[-1] != "." for part in ref.split("/"))


@pytest.mark.parametrize("kind", ["heads", "tags", "remotes/origin"])
@pytest.mark.parametrize("value", ["", "main", oid(1)[:-1], oid(1) + "0", oid(1).upper()[:-1] + "A", oid(1) + "\n"])
def test_a_branch_or_tag_is_at_an_object(kind: str, value: str) -> None:
    ref = f"refs/{kind}/name"

    assert check_ref_value(ref, oid(1)) == oid(1)
    with pytest.raises(InvalidRefNameError):
        check_ref_value(ref, value)


def test_a_worktree_holds_any_text() -> None:
    assert check_ref_value("refs/worktrees/1", '{"head":"ö"}') == '{"head":"ö"}'
    with pytest.raises(InvalidRefNameError):
        check_ref_value("refs/worktrees/1", "\ud800")
