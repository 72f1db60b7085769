"""The small parts of push and fetch: addresses, refspecs, and which commits are missing."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsvc.errors import InvalidInputError
from dsvc.history.commits import Commits
from dsvc.history.walk import ancestors
from dsvc.storage.local import LocalBackend
from dsvc.transport.address import (
    CredentialsInAddressError,
    UnsupportedAddressError,
    check_address,
    folder_of,
    open_backend,
    redact,
    resolve_address,
)
from dsvc.transport.negotiate import missing_commits
from dsvc.transport.refspec import Refspec, UnknownSourceError, expand, find_ref, parse_refspec
from dsvc.transport.remote import check_remote_name
from tests.transport_support import commit, make_store

BASE = Path("/base/folder")


@pytest.mark.parametrize(
    ("address", "folder"),
    [
        ("/a/b", "/a/b"),
        ("../b", "/base/b"),
        (".", "/base/folder"),
        ("host:path", "/base/folder/host:path"),
        ("file:///a/b", "/a/b"),
        ("file://localhost/a/b", "/a/b"),
        ("FILE:///a", "/a"),
    ],
)
def test_a_path_and_a_file_address_lead_to_a_folder(address: str, folder: str) -> None:
    assert folder_of(address, BASE) == Path(folder)
    assert open_backend(address, BASE).root == Path(folder)  # type: ignore[attr-defined]


def test_a_repository_leads_to_its_store(tmp_path: Path) -> None:
    make_store(tmp_path / "work" / ".dsvc" / "store")

    for address in ("work", "work/.dsvc", "work/.dsvc/store"):
        backend = open_backend(address, tmp_path)
        assert isinstance(backend, LocalBackend)
        assert backend.root == tmp_path / "work" / ".dsvc" / "store"


@pytest.mark.parametrize(
    "address", ["", "ftp://bucket/key", "http://host/x", "a\nb", "xyz://", "s3://bucket/../x", "az://c/./x"]
)
def test_an_address_that_nothing_serves_is_refused(address: str) -> None:
    with pytest.raises(UnsupportedAddressError):
        check_address(address)


@pytest.mark.parametrize(
    "address",
    [
        "sftp://ada:hunter2@host/path",
        "az://container/path?sv=2026&sig=hunter2&se=2027",
        "s3://bucket/path?X-Amz-Signature=hunter2",
    ],
)
def test_an_address_with_a_secret_is_refused_and_that_is_not_repeated(address: str) -> None:
    with pytest.raises(CredentialsInAddressError) as caught:
        check_address(address)

    assert "hunter2" not in str(caught.value)


def test_a_password_in_an_address_is_not_shown() -> None:
    assert redact("sftp://ada:secret@host/path") == "sftp://ada:***@host/path"
    assert redact("/a/b:c@d") == "/a/b:c@d"


def test_a_relative_address_is_made_absolute() -> None:
    assert resolve_address("../b", BASE) == "/base/b"
    assert resolve_address("file:///a", BASE) == "file:///a"


@pytest.mark.parametrize("name", ["", "a/b", "-x", "a b", "..", "a..b", "x.lock", "ä", ".x"])
def test_a_remote_cannot_be_called_anything(name: str) -> None:
    with pytest.raises(InvalidInputError):
        check_remote_name(name)


@pytest.mark.parametrize(
    ("text", "refspec"),
    [
        ("main", Refspec("main")),
        ("+main", Refspec("main", force=True)),
        ("a:b", Refspec("a", "b")),
        (":b", Refspec("", "b")),
        ("refs/heads/*:refs/remotes/o/*", Refspec("refs/heads/*", "refs/remotes/o/*")),
    ],
)
def test_refspecs_are_read_as_git_reads_them(text: str, refspec: Refspec) -> None:
    assert parse_refspec(text) == refspec


@pytest.mark.parametrize("text", ["", ":", "+", "a:", "refs/heads/*:x", "refs/heads/*", "refs/heads/a b:c"])
def test_what_is_no_refspec_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        parse_refspec(text)


def test_a_star_stands_for_the_same_on_both_sides() -> None:
    refs = {"refs/heads/a": 1, "refs/heads/b/c": 1, "refs/tags/a": 1}

    found = expand(parse_refspec("+refs/heads/*:refs/x/*y"), refs)

    assert found == [
        Refspec("refs/heads/a", "refs/x/ay", force=True),
        Refspec("refs/heads/b/c", "refs/x/b/cy", force=True),
    ]


def test_a_short_name_is_a_branch_or_a_tag_and_not_both() -> None:
    refs = ["refs/heads/main", "refs/heads/both", "refs/tags/both", "refs/tags/v1"]

    assert find_ref(refs, "main") == "refs/heads/main"
    assert find_ref(refs, "v1") == "refs/tags/v1"
    assert find_ref(refs, "refs/tags/both") == "refs/tags/both"
    with pytest.raises(InvalidInputError):
        find_ref(refs, "both")
    with pytest.raises(UnknownSourceError):
        find_ref(refs, "none")


HISTORIES = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(0, 5)), min_size=1, max_size=9)


@settings(max_examples=60, deadline=None)
@given(history=HISTORIES, wanted=st.sets(st.integers(0, 8)), had=st.sets(st.integers(0, 8)))
def test_what_is_called_missing_is_all_that_is_and_the_boundary_is_there(
    history: list[tuple[int, int, int]], wanted: set[int], had: set[int]
) -> None:
    with TemporaryDirectory() as folder:
        store = make_store(Path(folder, "store"))
        made = [commit(store, {}, branch=None, time=0)]
        for one, other, skew in history:
            parents = dict.fromkeys(made[each % len(made)] for each in (one, other))
            # Clocks that are right, and some that are not.
            made.append(commit(store, {}, *parents, branch=None, time=1_000_000 * (len(made) + skew)))
        tips = [made[number % len(made)] for number in sorted(wanted)]
        there = [made[number % len(made)] for number in sorted(had)]
        commits = Commits(store.objects)

        found = missing_commits(commits, tips, there)

        reachable = set(ancestors(commits, there))
        assert set(found.commits) >= set(ancestors(commits, tips)) - reachable
        assert set(found.boundary) <= reachable
        known = {*found.commits, *found.boundary}
        assert set(tips) <= known
        assert all(parent in known for one in found.commits for parent in commits.parents(one))
        if all(skew == 0 for _, _, skew in history):
            assert not set(found.commits) & reachable
