"""dsvc dataset, and what is said of datasets on its way between stores."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsvc.datasets.dependents import find_dependents
from dsvc.history.datasets import DatasetInfo, current_name, family, later_infos, read_info
from dsvc.history.revisions import resolve
from dsvc.history.store import Store
from dsvc.history.versions import latest_version, version_tags
from dsvc.log.entry import RefChange
from dsvc.log.log import Log
from dsvc.log.state import State
from dsvc.maintenance.fsck import fsck
from dsvc.model.codec import encode
from dsvc.model.commit import Input
from dsvc.model.ids import Kind, ObjectId
from dsvc.storage.memory import MemoryBackend
from dsvc.transport.fetch import fetch
from tests.crash_support import Ended, fast_folder, run_forked, warm_up
from tests.history_support import move_refs
from tests.transport_support import commit, make_context, make_store, make_tag, push_refs, remote_of
from tests.worktree_support import make_worktree


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_store(tmp_path / "local")


def say(store: Store, name: str, **fields: object) -> None:
    move_refs(store, {f"refs/datasets/{name}": DatasetInfo(**fields).encode()})  # type: ignore[arg-type]  # as they come


class TestNames:
    def test_an_old_name_leads_to_the_new_one_and_both_have_all_versions(self, store: Store) -> None:
        first = commit(store, {b"a": b"1"}, branch="newest")
        second = commit(store, {b"a": b"2"}, first, branch="newest")
        store.publish(lambda _: [RefChange("refs/tags/old@1.0", None, first.hex(), publish=True)])
        make_tag(store, "newest@2.0", second)
        say(store, "old", time=1, moved_to="new")
        say(store, "new", time=2, moved_to="newest")
        state = store.state()

        for name in ("old", "new", "newest"):
            assert current_name(state, name) == "newest"
            assert family(state, name) == ["newest", "new", "old"]
            assert list(version_tags(state, name)) == ["1.0", "2.0"]
            assert latest_version(state, name) == "1.0"
            assert resolve(store, state, name) == second
            assert resolve(store, state, f"{name}@1.0") == first
            assert resolve(store, state, f"{name}@latest") == first

    @given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd")), max_size=8))
    def test_names_that_lead_in_circles_end_somewhere(self, moves: list[tuple[str, str]]) -> None:
        store = Store(MemoryBackend(), make_context(), log=None)
        Log.create(store.backend, store_id="0" * 32)
        for old, new in moves:
            say(store, old, time=1, moved_to=new)
        state = store.state()

        for name in "abcd":
            assert current_name(state, name) in "abcd"
            assert len(family(state, name)) == len(set(family(state, name)))

    @pytest.mark.parametrize("value", ["", "words", "{}", "[]", '{"time":"x"}', "null", '{"time":1,"moved_to":3}'])
    def test_what_nobody_can_read_says_nothing(self, store: Store, value: str) -> None:
        made = commit(store, {b"a": b"1"}, branch="data")
        state = move_refs(store, {"refs/datasets/data": value})

        assert read_info(state, "data") is None
        assert resolve(store, state, "data") == made
        assert not fsck(store).is_damaged

    @given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["one", "two"])), min_size=2, max_size=2))
    def test_two_stores_come_to_say_the_same_whoever_asks_first(self, said: list[tuple[int, str]]) -> None:
        states = []
        for time, text in said:
            store = Store(MemoryBackend(), make_context())
            Log.create(store.backend, store_id="0" * 32)
            say(store, "data", time=time, description=text)
            states.append(store.state())
        one, other = states

        found = [_after(one, later_infos(one, other)), _after(other, later_infos(other, one))]

        assert found[0] == found[1]
        assert found[0] in {state.value("refs/datasets/data") for state in states}


def _after(state: State, changes: list[RefChange]) -> str | None:
    return changes[0].new if changes else state.value("refs/datasets/data")


class TestTravel:
    def test_what_is_said_goes_along_and_the_later_word_counts(self, store: Store, tmp_path: Path) -> None:
        there = MemoryBackend()
        ben = make_store(tmp_path / "ben", "ben")
        commit(store, {b"a": b"1"}, branch="data")
        say(store, "data", time=1, description="first")
        say(store, "other", time=1, description="not pushed")
        assert push_refs(store, remote_of(there), "data").described == 1
        fetch(ben, remote_of(there))
        assert read_info(ben.state(), "data") == DatasetInfo(1, "first")
        assert read_info(ben.state(), "other") is None

        say(ben, "data", time=5, description="ben's")
        push_refs(ben, remote_of(there), "refs/remotes/origin/data:refs/heads/data")
        say(store, "data", time=3, description="ada's, earlier")
        assert push_refs(store, remote_of(there), "data").described == 0
        fetch(store, remote_of(there))

        assert read_info(store.state(), "data") == DatasetInfo(5, "ben's")
        assert not fsck(store).is_damaged

    def test_a_bundle_has_it_too(self, store: Store, tmp_path: Path) -> None:
        commit(store, {b"a": b"1"}, branch="data")
        say(store, "data", time=1, description="words")
        worktree = make_worktree(tmp_path / "ben")
        (tmp_path / "ada").mkdir()
        shutil.copytree(store.files.root, tmp_path / "ada" / ".dsvc" / "store")
        dsvc(tmp_path / "ada", "bundle", "create", "-q", "../a.bundle", "data")

        dsvc(worktree.root, "bundle", "apply", "-q", "../a.bundle")

        assert read_info(worktree.store.state(), "data") == DatasetInfo(1, "words")

    def test_an_old_name_goes_along_with_the_new_one(self, store: Store, tmp_path: Path) -> None:
        there = MemoryBackend()
        made = commit(store, {b"a": b"1"}, branch="new")
        say(store, "old", time=1, moved_to="new")
        push_refs(store, remote_of(there), "new")
        ben = make_store(tmp_path / "ben", "ben")
        fetch(ben, remote_of(there))

        assert resolve(ben, ben.state(), "old") == made


class TestDependents:
    """clearml's guard searches for a mark that is never written, so it protects nothing."""

    def test_a_child_of_a_version_is_named(self, store: Store) -> None:
        base = commit(store, {b"a": b"1"}, branch="base")
        tip = commit(store, {b"a": b"2"}, base, branch="base")
        make_tag(store, "base@1.0", base)
        commit(store, {b"a": b"3"}, base, branch="child")
        grandchild = commit(store, {b"a": b"4"}, commit(store, {b"a": b"5"}, tip, branch=None), branch="grandchild")
        make_tag(store, "grandchild@1", grandchild)
        commit(store, {b"b": b"1"}, branch="unrelated")

        found = find_dependents(store, store.state(), "base", ["refs/tags/base@1.0"])

        assert found == ["child", "grandchild", "grandchild@1"]
        assert find_dependents(store, store.state(), "child", []) == []

    def test_what_it_was_made_from_is_not_in_the_way(self, store: Store) -> None:
        base = commit(store, {b"a": b"1"}, branch="base")
        commit(store, {b"a": b"2"}, base, branch="child")

        assert find_dependents(store, store.state(), "child", []) == []

    def test_a_version_that_something_else_is_called_by_is_kept_by_that(self, store: Store) -> None:
        base = commit(store, {b"a": b"1"}, branch="base")
        make_tag(store, "kept", base)
        commit(store, {b"a": b"2"}, base, branch="child")

        assert find_dependents(store, store.state(), "base", []) == []

    def test_a_version_that_names_it_as_an_input_is_named(self, store: Store) -> None:
        base = commit(store, {b"a": b"1"}, branch="base")
        user = _with_input(store, base)
        commit(store, {b"b": b"2"}, user, branch="user")

        assert find_dependents(store, store.state(), "base", []) == ["user~1"]
        make_tag(store, "kept", base)
        assert find_dependents(store, store.state(), "base", []) == []


def _with_input(store: Store, made_of: ObjectId) -> ObjectId:
    from msgspec.structs import replace

    from dsvc.history.commits import Commits

    plain = commit(store, {b"b": b"1"}, branch=None)
    writer = store.writer()
    made = replace(Commits(store.objects).get(plain), inputs=[Input("base", bytes(made_of))])
    value = writer.write(Kind.COMMIT, encode(made))
    sealed = [writer.seal()]
    store.publish(lambda _: [], sealed)
    return value


def dsvc(folder: Path, *words: str, code: int = 0) -> Ended:
    ended = run_forked(*words, cwd=folder)
    assert ended.code == code, ended.stdout + ended.stderr
    return ended


class TestCommand:
    @pytest.fixture
    def work(self) -> Iterator[Path]:
        """A repository on the dataset `vision/imagenet`, and a remote that has it."""
        warm_up()
        with fast_folder() as folder:
            work = folder / "work"
            work.mkdir()
            dsvc(work, "init", "-q", "-b", "vision/imagenet")
            (work / "a").write_text("one")
            dsvc(work, "snapshot", "-q", "-m", "one")
            dsvc(work, "remote", "add", "origin", "../remote")
            dsvc(work, "push", "-q")
            yield work

    def names(self, work: Path, *words: str) -> list[str]:
        return [json.loads(line)["name"] for line in dsvc(work, "list", *words, "--json").stdout.splitlines()]

    def test_a_dataset_is_made_with_a_parent_or_with_none(self, work: Path) -> None:
        dsvc(work, "dataset", "create", "vision/small", "--from", "HEAD", "-m", "a tenth", "-m", "of it")
        dsvc(work, "dataset", "create", "audio")

        assert self.names(work) == ["audio", "vision/imagenet", "vision/small"]
        assert dsvc(work, "dataset", "describe", "vision/small").stdout == "a tenth\n\nof it\n"
        assert dsvc(work, "log", "--format=%s", "vision/small").stdout == "Create vision/small\none\n"
        assert dsvc(work, "ls", "audio").stdout == ""
        assert dsvc(work, "ls", "vision/small").stdout == "a\n"
        dsvc(work, "switch", "-q", "audio")
        assert not (work / "a").exists()
        dsvc(work, "fsck")

    def test_several_parents_are_merged_in_order(self, work: Path) -> None:
        for name, text in (("cats", "cat"), ("dogs", "dog")):
            dsvc(work, "switch", "-q", "--orphan", name)
            (work / name).write_text(text)
            (work / "both").write_text(text)
            dsvc(work, "snapshot", "-q", "-m", text)

        ended = dsvc(work, "dataset", "create", "all", "--from", "cats", "--from", "dogs", code=5)
        assert "both" in ended.stderr
        dsvc(work, "dataset", "create", "all", "--from", "cats", "--from", "dogs", "-X", "last-wins")

        assert dsvc(work, "cat", "all:both", "all:cats").stdout == "dogcat"
        assert dsvc(work, "log", "--format=%s", "all^1", "all^2").stdout.split() == ["cat", "dog"]
        assert "all comes from it" in dsvc(work, "dataset", "delete", "cats", code=10).stderr
        dsvc(work, "fsck")

    def test_it_is_renamed_and_keeps_what_is_published(self, work: Path) -> None:
        dsvc(work, "publish", "vision/imagenet@1.0.0")
        dsvc(work, "tag", "vision/imagenet@1.1.0-rc.1")
        dsvc(work, "dataset", "describe", "vision/imagenet", "-m", "many images")
        before = self.names(work)

        dsvc(work, "dataset", "rename", "vision/imagenet", "vision/in1k")

        assert self.names(work) == ["vision/in1k", "vision/imagenet@1.0.0", "vision/in1k@1.1.0-rc.1"]
        assert dsvc(work, "branch", "--show-current").stdout == "vision/in1k\n"
        assert dsvc(work, "status", "--porcelain").stdout == ""
        for name in ("vision/imagenet", "vision/in1k"):
            assert dsvc(work, "log", "--format=%s", f"{name}@1.0.0").stdout == "one\n"
            assert dsvc(work, "dataset", "describe", name).stdout == "many images\n"
        shown = json.loads(dsvc(work, "dataset", "show", "vision/imagenet", "--json").stdout)
        assert (shown["name"], shown["former_names"], shown["latest"]) == ("vision/in1k", ["vision/imagenet"], "1.0.0")
        assert dsvc(work, "publish", "vision/in1k", "--next", "patch", "-n").stdout == "vision/in1k@1.0.1\n"
        assert "was published already" in dsvc(work, "publish", "vision/in1k@1.0.0").stderr
        assert "leads to" in dsvc(work, "dataset", "create", "vision/imagenet", code=5).stderr
        dsvc(work, "switch", "-q", "-c", "other")
        assert dsvc(work, "switch", "vision/imagenet").stderr == "Switched to branch 'vision/in1k'\n"
        dsvc(work, "branch", "-q", "-D", "other")
        dsvc(work, "undo", "-n", "4")
        assert self.names(work) == before
        dsvc(work, "dataset", "rename", "vision/imagenet", "x")
        dsvc(work, "dataset", "rename", "x", "vision/imagenet")
        assert self.names(work) == before

    def test_it_is_renamed_on_the_remote_too(self, work: Path) -> None:
        dsvc(work, "dataset", "rename", "vision/imagenet", "in1k", "--remote", "origin")

        assert self.names(work, "origin") == ["in1k"]
        assert dsvc(work, "branch", "-r").stdout == "  origin/in1k\n"
        dsvc(work.parent, "clone", "-q", "remote", "clone")
        assert dsvc(work.parent / "clone", "log", "--format=%s", "vision/imagenet").stdout == "one\n"

    def test_who_still_uses_the_old_name_does_not_bring_it_back(self, work: Path) -> None:
        dsvc(work, "publish", "vision/imagenet@1.0.0")
        dsvc(work.parent, "clone", "-q", "remote", "clone")
        clone = work.parent / "clone"
        dsvc(work, "dataset", "rename", "vision/imagenet", "in1k", "--remote", "origin")
        (clone / "more").write_text("more")
        dsvc(clone, "snapshot", "-q", "--no-push", "-m", "two")

        assert "renamed there" in dsvc(clone, "push", code=5).stderr
        dsvc(clone, "publish", "vision/imagenet", "--next", "patch")
        dsvc(work, "fetch", "-q")

        assert dsvc(work, "branch", "-r").stdout == "  origin/in1k\n"
        assert dsvc(work, "log", "--format=%s", "-n1", "origin/in1k").stdout == "two\n"
        assert self.names(work, "origin", "--datasets") == ["in1k"]
        assert dsvc(work, "log", "--format=%s", "-n1", "in1k@1.0.1").stdout == "two\n"
        dsvc(clone, "push", "--force")
        assert self.names(work, "origin", "--datasets") == ["in1k", "vision/imagenet"]

    def test_a_project_is_moved_together_or_not_at_all(self, work: Path) -> None:
        dsvc(work, "dataset", "create", "vision/coco")
        dsvc(work, "dataset", "create", "images/coco")

        dsvc(work, "dataset", "move", "vision/", "images", code=5)
        assert self.names(work, "vision") == ["vision/coco", "vision/imagenet"]
        dsvc(work, "dataset", "move", "vision/", "cv/images")
        assert self.names(work, "--project", "cv") == ["cv/images/coco", "cv/images/imagenet"]
        dsvc(work, "dataset", "move", "cv/images/coco", "/")

        assert self.names(work) == ["coco", "cv/images/imagenet", "images/coco"]

    def test_what_is_archived_is_hidden_and_comes_back(self, work: Path) -> None:
        dsvc(work, "tag", "vision/imagenet@1.0.0")
        dsvc(work, "dataset", "archive", "vision/imagenet", "--remote", "origin")

        for place in (".", "origin"):
            assert self.names(work, place) == []
            assert "vision/imagenet" in self.names(work, place, "--all")
            assert "vision/imagenet" in self.names(work, place, "vision/imagenet")
        assert dsvc(work, "log", "--format=%s", "vision/imagenet").stdout == "one\n"
        dsvc(work, "dataset", "restore", "vision/imagenet")
        dsvc(work, "push")

        assert self.names(work, "origin") == ["vision/imagenet"]

    def test_delete_protects_children_as_clearml_does_not(self, work: Path) -> None:
        dsvc(work, "dataset", "create", "small", "--from", "vision/imagenet")
        dsvc(work, "switch", "-q", "small")
        ended = dsvc(work, "dataset", "delete", "vision/imagenet", code=10)
        assert "small comes from it" in ended.stderr
        assert "vision/imagenet" in self.names(work)

        ended = dsvc(work, "dataset", "delete", "--force", "vision/imagenet")

        assert ended.stderr.startswith("Deleted dataset vision/imagenet (was ")
        assert self.names(work) == ["small"]
        assert dsvc(work, "cat", "small:a").stdout == "one"
        dsvc(work, "fsck")
        dsvc(work, "undo")
        assert self.names(work) == ["small", "vision/imagenet"]

    def test_force_deletes_what_is_not_published_and_tells_what(self, work: Path) -> None:
        dsvc(work, "publish", "vision/imagenet@1.0.0")
        dsvc(work, "tag", "vision/imagenet@1.1.0")
        dsvc(work, "switch", "-q", "-c", "other")
        dsvc(work, "commit", "-q", "--allow-empty", "-m", "mine")
        assert "is published" in dsvc(work, "dataset", "delete", "vision/imagenet", code=10).stderr

        told = dsvc(work, "dataset", "delete", "--force", "--remote", "origin", "vision/imagenet").stderr

        assert "Deleted version vision/imagenet@1.1.0" in told
        assert "vision/imagenet@1.0.0 is published, and stays" in told
        assert self.names(work) == ["other", "vision/imagenet@1.0.0"]
        assert self.names(work, "origin") == ["vision/imagenet@1.0.0"]

    @pytest.mark.parametrize(
        ("words", "code", "message"),
        [
            (["create", "vision/imagenet"], 5, "already exists"),
            (["create", "a@b"], 2, "no `@`"),
            (["create", "a", "-m", "x" * 40_000], 2, "at most 32,768 bytes"),
            (["rename", "nothing", "a"], 4, "there is no dataset `nothing`"),
            (["rename", "vision/imagenet", "vision/imagenet"], 2, "cannot become"),
            (["move", "nothing/", "a"], 4, "no dataset in `nothing/`"),
            (["describe", "nothing"], 4, "there is no dataset `nothing`"),
            (["describe", "nothing", "-m", "x"], 4, "there is no dataset `nothing`"),
            (["archive", "nothing", "--remote", "origin"], 4, "there is no dataset `nothing`"),
            (["delete", "nothing"], 4, "there is no dataset `nothing`"),
            (["delete", "vision/imagenet"], 10, "it is the current one"),
            (["delete", "vision/imagenet", "--remote", "origin"], 10, "it is the current one"),
            (["show", "nothing"], 4, "there is no dataset `nothing`"),
            (["delete", "vision/imagenet", "--remote", "nowhere"], 4, "there is no remote `nowhere`"),
        ],
    )
    def test_what_cannot_be_is_refused(self, work: Path, words: list[str], code: int, message: str) -> None:
        assert message in dsvc(work, "dataset", *words, code=code).stderr
        assert self.names(work) == ["vision/imagenet"]
        assert self.names(work, "origin") == ["vision/imagenet"]
