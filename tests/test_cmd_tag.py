"""dsvc tag."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsvc.errors import AlreadyExistsError
from dsvc.history.numbers import version_key
from dsvc.history.revisions import Target
from dsvc.history.store import Store
from dsvc.history.tags import create_tag, delete_tag, list_tags, read_tag, read_tags
from dsvc.log.entry import RefChange
from dsvc.log.replay import PublishedTagError
from dsvc.model.codec import FORMAT_VERSION, encode
from dsvc.model.commit import Tag
from dsvc.model.ids import Kind, ObjectId
from dsvc.storage.local import LocalBackend
from dsvc.worktree.worktree import Worktree
from tests.conftest import RunDsvc
from tests.counting_backend import CountingBackend
from tests.transport_support import commit, make_context, make_store, noise
from tests.worktree_support import commit_all, make_worktree


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A repository with two commits."""
    worktree = make_worktree(tmp_path / "repository")
    commit_all(worktree, {b"a": b"1"}, "one")
    commit_all(worktree, {b"a": b"22"}, "two")
    return worktree.root


def tags(run_dsvc: RunDsvc, folder: Path, *options: str) -> list[str]:
    return run_dsvc("tag", *options, cwd=folder).lines


def test_tags_name_versions_and_are_listed(folder: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("tag", "v1", "HEAD~1", cwd=folder)
    run_dsvc("tag", "vision/imagenet@1.2.0", "-m", "a release", cwd=folder)

    assert tags(run_dsvc, folder) == ["v1", "vision/imagenet@1.2.0"]
    assert tags(run_dsvc, folder, "-l", "vision/*") == ["vision/imagenet@1.2.0"]
    assert tags(run_dsvc, folder, "-n") == ["v1              one", "vision/imagenet@1.2.0 a release"]
    assert tags(run_dsvc, folder, "--contains", "HEAD") == ["vision/imagenet@1.2.0"]
    assert tags(run_dsvc, folder, "--merged", "v1") == ["v1"]
    assert tags(run_dsvc, folder, "--points-at", "HEAD") == ["vision/imagenet@1.2.0"]
    assert run_dsvc("log", "--oneline", "vision/imagenet@1.2.0", cwd=folder).lines[0].endswith("two")


def test_json_tells_all_of_it(folder: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("tag", "-m", "subject", "-m", "body", "v2", cwd=folder)
    run_dsvc("tag", "v1", "HEAD~1", cwd=folder)

    plain, annotated = map(json.loads, tags(run_dsvc, folder, "--json"))

    assert (plain["name"], plain["tag"], plain["message"], plain["subject"]) == ("v1", None, None, "one")
    assert annotated["message"] == "subject\n\nbody"
    assert annotated["tagger"] == "Ada Lovelace <ada@example.org>"
    assert annotated["tag"] != annotated["commit"]
    assert not annotated["published"]


def test_versions_are_sorted_as_numbers(folder: Path, run_dsvc: RunDsvc) -> None:
    for name in ("v1.10", "v1.9", "v1.10-rc1"):
        run_dsvc("tag", name, cwd=folder)

    assert tags(run_dsvc, folder, "--sort=version") == ["v1.9", "v1.10-rc1", "v1.10"]
    assert tags(run_dsvc, folder, "--sort=-v:refname") == ["v1.10", "v1.10-rc1", "v1.9"]


def test_a_message_may_come_from_a_file_or_the_editor(folder: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("tag", "-F", "-", "v1", cwd=folder, input="from stdin\n# not this\n")
    run_dsvc("tag", "-a", "v2", cwd=folder, env={"DSVC_EDITOR": "echo from the editor >"})

    assert tags(run_dsvc, folder, "-n") == ["v1              from stdin", "v2              from the editor"]


def test_a_tag_is_moved_by_force_and_deleted(folder: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("tag", "v1", cwd=folder)

    ended = run_dsvc("tag", "v1", "HEAD~1", cwd=folder, code=5)
    assert "tag 'v1' already exists" in ended.stderr
    ended = run_dsvc("tag", "-f", "v1", "HEAD~1", cwd=folder)
    assert ended.stderr.startswith("Updated tag 'v1' (was ")
    assert tags(run_dsvc, folder, "-n") == ["v1              one"]
    ended = run_dsvc("tag", "-d", "v1", cwd=folder)

    assert ended.stderr.startswith("Deleted tag 'v1' (was ")
    assert tags(run_dsvc, folder) == []


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["a b"], 2, "invalid ref"),
        (["HEAD"], 2, "invalid ref"),
        (["v1", "nowhere"], 4, "unknown revision `nowhere`"),
        (["-d", "v1"], 4, "tag 'v1' not found"),
        (["-d"], 2, "tag name required"),
        (["-m", "text"], 2, "tag name required"),
        (["-m", "", "v1"], 2, "the message is empty"),
        (["-m", "text", "-F", "x", "v1"], 2, "`-m` or `-F`"),
        (["-F", "missing", "v1"], 4, "there is no file missing"),
        (["v1", "HEAD", "more"], 2, "unexpected argument `more`"),
        (["--sort=colour"], 2, "cannot sort by `colour`"),
    ],
)
def test_what_cannot_be_is_refused(folder: Path, run_dsvc: RunDsvc, words: list[str], code: int, message: str) -> None:
    assert message in run_dsvc("tag", *words, cwd=folder, code=code).stderr
    assert tags(run_dsvc, folder) == []


@given(st.lists(st.integers(0, 99), min_size=1, max_size=4), st.lists(st.integers(0, 99), min_size=1, max_size=4))
def test_the_order_of_versions_is_that_of_their_numbers(one: list[int], other: list[int]) -> None:
    keys = [version_key("data@" + ".".join(map(str, numbers))) for numbers in (one, other)]

    assert (keys[0] < keys[1]) == (one < other)


class TestPublished:
    @pytest.fixture
    def worktree(self, tmp_path: Path) -> Worktree:
        return make_worktree(tmp_path / "data")

    def published(self, worktree: Worktree) -> tuple[ObjectId, ObjectId]:
        first = commit_all(worktree, {b"a": b"1"})
        second = commit_all(worktree, {b"a": b"2"})
        tag = RefChange("refs/tags/v1", None, first.hex(), publish=True)
        worktree.store.publish(lambda _: [tag])
        return first, second

    def test_it_can_be_neither_moved_nor_deleted(self, worktree: Worktree) -> None:
        first, second = self.published(worktree)

        with pytest.raises(AlreadyExistsError):
            create_tag(worktree.store, "v1", Target(second, Kind.COMMIT))
        with pytest.raises(PublishedTagError):
            create_tag(worktree.store, "v1", Target(second, Kind.COMMIT), force=True)
        with pytest.raises(PublishedTagError):
            create_tag(worktree.store, "v1", Target(second, Kind.COMMIT), message="moved", force=True)
        with pytest.raises(PublishedTagError):
            delete_tag(worktree.store, "v1")

        tag = read_tag(worktree.store, worktree.store.state(), "refs/tags/v1")
        assert tag.is_published
        assert tag.commit_id == first

    def test_a_tag_of_a_tag_stands_for_the_same_version(self, worktree: Worktree) -> None:
        commit_id = commit_all(worktree, {b"a": b"1"})
        create_tag(worktree.store, "one", Target(commit_id, Kind.COMMIT), message="one")
        inner = read_tag(worktree.store, worktree.store.state(), "refs/tags/one")
        create_tag(worktree.store, "two", Target(inner.value, Kind.TAG), message="two")

        outer = read_tag(worktree.store, worktree.store.state(), "refs/tags/two")

        assert outer.commit_id == commit_id
        assert outer.subject == "two"


def test_many_tags_are_read_together_wherever_they_are(tmp_path: Path) -> None:
    local = make_store(tmp_path / "store")
    commit_id = commit(local, {b"a": b"1"})
    writer = local.writer()
    changes = []
    for number in range(400):
        # Some twenty frames; in the order of names, neighbours are in different ones.
        tag = Tag(FORMAT_VERSION, bytes(commit_id), "v", "ada", number, 0, noise(number, 30_000).hex())
        name = f"refs/tags/v{number % 20:02}-{number:03}"
        changes.append(RefChange(name, None, writer.write(Kind.TAG, encode(tag)).hex()))
    sealed = writer.seal()
    local.publish(lambda _: changes, [sealed])
    far = CountingBackend(LocalBackend(tmp_path / "store"))
    store = Store(far, make_context())
    state = store.state()

    read = list(read_tags(store, state, list_tags(state)))

    assert [tag.ref for tag in read] == sorted(change.ref for change in changes)
    assert {(tag.commit_id, tag.name[-3:] == f"{tag.time:03}") for tag in read} == {(commit_id, True)}
    assert far.verbs("packs/").total() <= 2 * len(sealed.packs) + 2
