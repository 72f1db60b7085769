"""Push and fetch: what is there afterwards is what was here, nothing is sent twice, and nobody's work is lost."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsvc.history.commits import Commits
from dsvc.history.store import Store
from dsvc.history.walk import is_ancestor
from dsvc.model.ids import Kind, ObjectId, hash_object
from dsvc.odb.objects import ObjectNotFoundError
from dsvc.storage.local import LocalBackend
from dsvc.storage.memory import MemoryBackend
from dsvc.transport.fetch import FetchOptions, FetchRejectedError, fetch
from dsvc.transport.position import OtherStoreError, RemoteRewoundError, StoreGoneError
from dsvc.transport.push import PushRejectedError
from dsvc.transport.refspec import UnknownSourceError, parse_refspec
from dsvc.transport.remote import NoStoreError, NotEmptyError
from dsvc.transport.updates import Outcome
from tests.transport_support import (
    assert_whole,
    commit,
    files_of,
    make_context,
    make_store,
    make_tag,
    noise,
    push_refs,
    remote_of,
    try_push,
    values,
)


@pytest.fixture
def local(tmp_path: Path) -> Store:
    return make_store(tmp_path / "local")


@pytest.fixture
def there(tmp_path: Path) -> LocalBackend:
    return LocalBackend(tmp_path / "there")


def reopened(backend: LocalBackend | MemoryBackend) -> Store:
    return Store(backend, make_context("reader"))


def test_what_was_pushed_is_there(local: Store, there: LocalBackend) -> None:
    files = {b"a": b"one", b"folder/b": b"two" * 100_000, b"empty": b""}
    made = commit(local, files)

    pushed = push_refs(local, remote_of(there))

    assert [update.outcome for update in pushed.updates] == [Outcome.NEW]
    assert values(reopened(there)) == {"heads/main": made.hex()}
    assert files_of(reopened(there), made) == files
    assert_whole(there)


def test_pushing_twice_sends_nothing(local: Store, there: LocalBackend) -> None:
    commit(local, {b"a": b"one"})
    push_refs(local, remote_of(there))
    before = reopened(there).state().seq

    again = push_refs(local, remote_of(there))

    assert (again.objects, again.sent) == (0, 0)
    assert [update.outcome for update in again.updates] == [Outcome.UNCHANGED]
    assert reopened(there).state().seq == before


def test_an_edit_sends_only_what_changed(local: Store, there: LocalBackend) -> None:
    files = {b"folder/%04d" % number: b"%d" % number for number in range(5000)}
    first = commit(local, files)
    push_refs(local, remote_of(there))

    commit(local, {**files, b"folder/0100": b"edited"}, first)
    pushed = push_refs(local, remote_of(there))

    # A chunk, a leaf, the root and the commit.
    assert pushed.objects == 4
    assert pushed.sent < 60_000
    assert_whole(there)


def test_a_dry_run_tells_what_a_push_does_and_makes_nothing(local: Store, there: LocalBackend) -> None:
    commit(local, {b"a": b"one"})

    planned = push_refs(local, remote_of(there), dry_run=True)

    assert not there.root.exists()
    pushed = push_refs(local, remote_of(there))
    assert (planned.objects, planned.raw, planned.updates) == (pushed.objects, pushed.raw, pushed.updates)


def test_a_store_in_memory_serves_as_well(local: Store) -> None:
    backend = MemoryBackend()
    made = commit(local, {b"a": noise(1, 3_000_000)})

    push_refs(local, remote_of(backend))

    assert files_of(reopened(backend), made) == files_of(local, made)
    assert_whole(backend)


def test_a_large_pack_keeps_its_name(local: Store, there: LocalBackend) -> None:
    commit(local, {b"%d" % number: noise(number, 99_000) for number in range(200)})
    commit(local, {b"other": noise(-1, 50_000)}, branch="other")

    push_refs(local, remote_of(there), "main", "other")

    large = {name for name in local.state().packs if local.backend.size(f"packs/{name}") > 16_000_000}
    assert large
    assert large <= set(reopened(there).state().packs)


def test_many_small_packs_are_sent_as_few(local: Store, there: LocalBackend) -> None:
    made = commit(local, {b"a": b"0"})
    for number in range(1, 20):
        made = commit(local, {b"a": b"%d" % number}, made)

    push_refs(local, remote_of(there))

    assert len(local.state().packs) == 40
    assert len(reopened(there).state().packs) == 2
    assert_whole(there)


@pytest.mark.parametrize("size", [200, 600_000])
def test_what_no_version_has_never_leaves(local: Store, there: LocalBackend, size: int) -> None:
    # Staged beside what is committed, in the same frames and packs.
    secrets = [noise(number, size) for number in range(3)]
    made = commit(local, {b"%d" % number: noise(9 + number, size) for number in range(4)}, unused=secrets)

    push_refs(local, remote_of(there))

    found = reopened(there)
    assert files_of(found, made) == files_of(local, made)
    for secret in secrets:
        with pytest.raises(ObjectNotFoundError):
            found.objects.read(Kind.CHUNK, hash_object(Kind.CHUNK, secret))
    for key, _ in list(there.list("packs/")):
        assert all(secret[:150] not in there.read(key) for secret in secrets)
    assert_whole(there)


def test_what_is_not_a_descendant_is_rejected_and_all_else_is_pushed(local: Store, there: LocalBackend) -> None:
    base = commit(local, {b"a": b"one"})
    push_refs(local, remote_of(there))
    theirs = commit(local, {b"a": b"two"}, base)
    push_refs(local, remote_of(there))
    commit(local, {b"a": b"three"}, base)
    commit(local, {b"b": b"four"}, base, branch="side")

    with pytest.raises(PushRejectedError) as caught:
        push_refs(local, remote_of(there), "main", "side")

    assert [update.target for update in caught.value.exchange.rejected] == ["refs/heads/main"]
    assert values(reopened(there), "refs/heads/") == {"main": theirs.hex(), "side": values(local)["heads/side"]}


def test_force_moves_a_ref_anywhere(local: Store, there: LocalBackend) -> None:
    commit(local, {b"a": b"one"})
    push_refs(local, remote_of(there))
    other = commit(local, {b"a": b"two"})

    push_refs(local, remote_of(there), "+main")

    assert values(reopened(there))["heads/main"] == other.hex()
    assert_whole(there)


def test_a_tag_does_not_move_unless_forced(local: Store, there: LocalBackend) -> None:
    first = commit(local, {b"a": b"one"})
    make_tag(local, "v1", first)
    push_refs(local, remote_of(there), "v1")
    make_tag(local, "v1", commit(local, {b"a": b"two"}, first))

    with pytest.raises(PushRejectedError):
        push_refs(local, remote_of(there), "v1")

    assert values(reopened(there)) == {"tags/v1": first.hex()}


def test_a_branch_can_be_removed(local: Store, there: LocalBackend) -> None:
    commit(local, {b"a": b"one"})
    push_refs(local, remote_of(there), "main", "main:old")

    push_refs(local, remote_of(there), ":old")

    assert set(values(reopened(there))) == {"heads/main"}


def test_what_is_not_there_cannot_be_pushed(local: Store, there: LocalBackend) -> None:
    with pytest.raises(UnknownSourceError):
        push_refs(local, remote_of(there), "nothing")

    assert not there.root.exists()


def test_fetch_brings_branches_and_their_tags(local: Store, there: LocalBackend, tmp_path: Path) -> None:
    first = commit(local, {b"a": b"one"})
    second = commit(local, {b"a": b"two"}, first, branch="dev")
    make_tag(local, "v1", first)
    make_tag(local, "elsewhere", commit(local, {b"z": b"z"}, branch=None))
    push_refs(local, remote_of(there), "main", "dev", "v1", "elsewhere")
    other = make_store(tmp_path / "other")

    fetched = fetch(other, remote_of(there))

    assert fetched.objects > 0
    assert values(other) == {
        "remotes/origin/main": first.hex(),
        "remotes/origin/dev": second.hex(),
        "tags/v1": first.hex(),
    }
    assert files_of(other, second) == {b"a": b"two"}
    assert fetch(other, remote_of(there)).objects == 0
    assert_whole(other.backend)


def test_prune_forgets_what_is_gone_there(local: Store, there: LocalBackend, tmp_path: Path) -> None:
    commit(local, {b"a": b"one"})
    push_refs(local, remote_of(there), "main", "main:old")
    other = make_store(tmp_path / "other")
    fetch(other, remote_of(there))
    push_refs(local, remote_of(there), ":old")

    fetch(other, remote_of(there))
    assert "remotes/origin/old" in values(other)
    fetch(other, remote_of(there), options=FetchOptions(prune=True))

    assert set(values(other)) == {"remotes/origin/main"}


def test_a_tag_of_ours_is_not_replaced(local: Store, there: LocalBackend, tmp_path: Path) -> None:
    make_tag(local, "v1", commit(local, {b"a": b"one"}))
    push_refs(local, remote_of(there), "main", "v1")
    other = make_store(tmp_path / "other")
    ours = commit(other, {b"b": b"ours"})
    make_tag(other, "v1", ours)

    with pytest.raises(FetchRejectedError):
        fetch(other, remote_of(there), options=FetchOptions(tags=True))

    assert values(other)["tags/v1"] == ours.hex()
    assert "remotes/origin/main" in values(other)


def test_linked_packs_are_the_same_files_and_copied_ones_are_not(
    local: Store, there: LocalBackend, tmp_path: Path
) -> None:
    commit(local, {b"a": noise(3, 20_000_000)})
    push_refs(local, remote_of(there))

    def links(*, link: bool) -> set[int]:
        other = make_store(tmp_path / f"other-{link}")
        fetch(other, remote_of(there), options=FetchOptions(link=link))
        assert_whole(other.backend)
        files = (tmp_path / f"other-{link}" / "packs").rglob("*.0")
        return {path.stat().st_nlink for path in files if path.stat().st_size > 16_000_000}

    assert links(link=True) == {2}
    assert links(link=False) == {1}


def test_a_remote_that_went_back_is_refused(local: Store, there: LocalBackend, tmp_path: Path) -> None:
    known = tmp_path / "known"
    first = commit(local, {b"a": b"one"})
    push_refs(local, remote_of(there, known))
    commit(local, {b"a": b"two"}, first)
    push_refs(local, remote_of(there, known))
    there.delete("log/0/00000000000000000002")

    with pytest.raises(RemoteRewoundError):
        push_refs(local, remote_of(there, known))
    with pytest.raises(RemoteRewoundError):
        fetch(local, remote_of(there, known))


def test_another_store_in_the_place_of_a_remote_is_refused(local: Store, there: LocalBackend, tmp_path: Path) -> None:
    known = tmp_path / "known"
    commit(local, {b"a": b"one"})
    push_refs(local, remote_of(there, known))
    other = make_store(tmp_path / "other")

    with pytest.raises(OtherStoreError):
        push_refs(local, remote_of(other.backend, known))
    with pytest.raises(StoreGoneError):
        push_refs(local, remote_of(LocalBackend(tmp_path / "empty"), known))

    assert not (tmp_path / "empty").exists()


def test_a_folder_with_other_things_does_not_become_a_store(local: Store, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "holiday.jpg").write_bytes(b"...")
    commit(local, {b"a": b"one"})

    with pytest.raises(NotEmptyError):
        push_refs(local, remote_of(LocalBackend(folder)))

    assert [path.name for path in folder.iterdir()] == ["holiday.jpg"]


def test_fetching_from_nothing_is_refused(local: Store, tmp_path: Path) -> None:
    with pytest.raises(NoStoreError):
        fetch(local, remote_of(LocalBackend(tmp_path / "nothing")))


def test_a_fetched_branch_can_be_written_to_one_of_ours(local: Store, there: LocalBackend, tmp_path: Path) -> None:
    made = commit(local, {b"a": b"one"})
    push_refs(local, remote_of(there))
    other = make_store(tmp_path / "other")

    fetch(other, remote_of(there), [parse_refspec("main:copy")])

    assert values(other) == {"remotes/origin/main": made.hex(), "heads/copy": made.hex()}


CONTENTS = st.binary(max_size=12) | st.integers(0, 6).map(lambda seed: noise(seed, 150_000))
PATHS = st.sampled_from([b"a", b"b", b"folder/c", b"folder/d", b"e/f/g"])
VERSIONS = st.lists(
    st.tuples(st.dictionaries(PATHS, CONTENTS, max_size=4), st.integers(0, 9), st.integers(0, 9), st.booleans()),
    min_size=1,
    max_size=6,
)


@settings(max_examples=40, deadline=None)
@given(versions=VERSIONS)
def test_any_history_comes_back_whole_from_a_push_and_a_clone(
    versions: list[tuple[dict[bytes, bytes], int, int, bool]],
) -> None:
    with TemporaryDirectory() as folder:
        local, there = make_store(Path(folder, "local")), LocalBackend(Path(folder, "there"))
        made: list[ObjectId] = []
        for number, (files, one, other, push_now) in enumerate(versions):
            parents = dict.fromkeys(made[each % len(made)] for each in (one, other)) if made else {}
            made.append(commit(local, files, *parents, branch=f"b{number}", unused=[b"unused %d" % number]))
            if push_now:
                push_refs(local, remote_of(there), "refs/heads/*:refs/heads/*")

        push_refs(local, remote_of(there), "refs/heads/*:refs/heads/*")
        again = push_refs(local, remote_of(there), "refs/heads/*:refs/heads/*")
        clone = make_store(Path(folder, "clone"))
        fetch(clone, remote_of(there))

        assert (again.objects, again.sent) == (0, 0)
        assert values(clone, "refs/remotes/origin/") == values(local, "refs/heads/")
        for commit_id in made:
            assert files_of(clone, commit_id) == files_of(local, commit_id)
        assert assert_whole(there).dangling == 0
        assert assert_whole(clone.backend).dangling == 0


# Who acts, what they do, and to which branch.
ACTIONS = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from(["commit", "push", "fetch", "reset"]), st.integers(0, 1)),
    max_size=14,
)


@settings(max_examples=40, deadline=None)
@given(actions=ACTIONS)
def test_of_interleaved_pushes_each_lands_or_is_a_conflict(actions: list[tuple[int, str, int]]) -> None:
    with TemporaryDirectory() as folder:
        there = LocalBackend(Path(folder, "there"))
        clones = [make_store(Path(folder, name), name) for name in ("ada", "ben")]
        expected: dict[str, str] = {}
        for number, (who, action, which) in enumerate(actions):
            local, branch = clones[who], f"b{which}"
            mine = values(local, "refs/heads/").get(branch)
            if action == "commit":
                parents = [ObjectId.from_hex(mine)] if mine else []
                commit(local, {b"file": b"%d" % number}, *parents, branch=branch)
            elif action == "push" and mine:
                theirs = expected.get(branch)
                forward = theirs is None or (
                    ObjectId.from_hex(theirs) in local.objects
                    and is_ancestor(Commits(local.objects), ObjectId.from_hex(theirs), ObjectId.from_hex(mine))
                )
                assert try_push(local, remote_of(there), branch) == forward
                if forward:
                    expected[branch] = mine
            elif action == "fetch" and expected:
                fetch(local, remote_of(there))
            elif action == "reset" and f"refs/remotes/origin/{branch}" in local.state().refs:
                fetched = ObjectId.from_hex(values(local, "refs/remotes/origin/")[branch])
                commit(local, {b"file": b"%d" % number}, fetched, branch=branch)

        if expected:
            assert values(reopened(there), "refs/heads/") == expected
            assert_whole(there)
        for local in clones:
            assert_whole(local.backend)
