"""Publishing: what is published stays for ever, for everybody, and no two versions get one number."""

import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dsvc.datasets.publish import NextNumber, VersionTakenError, publish
from dsvc.history.revisions import resolve
from dsvc.history.store import Store
from dsvc.history.tags import TagExistsError, read_tag
from dsvc.log.entry import RefChange
from dsvc.log.replay import PublishedTagError
from dsvc.model.ids import ObjectId
from dsvc.storage.backend import Backend
from dsvc.storage.local import LocalBackend
from dsvc.storage.memory import MemoryBackend
from dsvc.transport.fetch import FetchOptions, FetchRejectedError, fetch
from dsvc.transport.push import PushRejectedError, push
from dsvc.transport.refspec import parse_refspec
from dsvc.transport.remote import Remote
from dsvc.transport.updates import Outcome
from tests.crash_support import Ended, Watch, dying_at, fast_folder, run_forked, warm_up
from tests.transport_support import (
    assert_whole,
    commit,
    files_of,
    make_context,
    make_store,
    make_tag,
    push_refs,
    remote_of,
    values,
)


@pytest.fixture
def there() -> Backend:
    return MemoryBackend()


@pytest.fixture
def local(tmp_path: Path) -> Store:
    return make_store(tmp_path / "local")


def opened(there: Backend) -> Store:
    return Store(there, make_context("reader"))


def published(store: Store) -> dict[str, str]:
    """The versions that are published, without the first part of their names, and their commits."""
    state = store.state()
    tags = [read_tag(store, state, ref) for ref in sorted(state.published)]
    return {tag.name: tag.commit_id.hex() for tag in tags}


def named(backend: Backend, folder: Path) -> Remote:
    """A remote with a name, of which it is remembered what was seen."""
    return remote_of(backend, folder / "known")


class TestPublishing:
    def test_the_branch_of_the_dataset_moves_forward_to_it_there_where_it_can(
        self, local: Store, there: Backend
    ) -> None:
        first = commit(local, {b"a": b"one"}, branch="data")
        second = commit(local, {b"a": b"two"}, first, branch="data")

        publish(local, remote_of(there), first, "data@1.0.0")
        assert values(opened(there))["heads/data"] == first.hex()
        publish(local, remote_of(there), second, "data@1.1.0")
        assert values(opened(there))["heads/data"] == second.hex()
        publish(local, remote_of(there), first, "data@1.0.1")
        assert values(opened(there))["heads/data"] == second.hex()
        assert list(published(opened(there))) == ["data@1.0.0", "data@1.0.1", "data@1.1.0"]

    def test_a_version_of_no_branch_makes_none_there(self, local: Store, there: Backend) -> None:
        commit(local, {b"a": b"one"}, branch="data")
        other = commit(local, {b"a": b"two"}, branch="other")

        publish(local, remote_of(there), other, "data@1.0.0")

        assert list(values(opened(there))) == ["tags/data@1.0.0"]

    def test_it_is_there_and_here_with_all_that_it_needs(self, local: Store, there: Backend) -> None:
        made = commit(local, {b"a": b"one"})

        done = publish(local, remote_of(there), made, "data@1.0.0", message="a release")

        assert done.is_new
        assert published(local) == published(opened(there)) == {"data@1.0.0": made.hex()}
        assert read_tag(local, local.state(), "refs/tags/data@1.0.0").subject == "a release"
        assert files_of(opened(there), made) == {b"a": b"one"}
        assert_whole(there)

    def test_again_it_does_nothing(self, local: Store, there: Backend) -> None:
        made = commit(local, {b"a": b"one"})
        publish(local, remote_of(there), made, "data@1.0.0", message="a release")
        before = values(opened(there)), opened(there).state().seq, local.state().seq

        done = publish(local, remote_of(there), made, "data@1.0.0", message="another text")

        assert not done.is_new
        assert (values(opened(there)), opened(there).state().seq, local.state().seq) == before

    def test_another_version_cannot_have_its_number(self, local: Store, there: Backend, tmp_path: Path) -> None:
        first = commit(local, {b"a": b"one"})
        second = commit(local, {b"a": b"two"}, first)
        publish(local, remote_of(there), first, "data@1.0.0")
        other = make_store(tmp_path / "other", "ben")
        third = commit(other, {b"a": b"three"})

        for store, version in ((local, second), (other, third)):
            with pytest.raises(VersionTakenError):
                publish(store, remote_of(there), version, "data@1.0.0")

        assert published(opened(there)) == {"data@1.0.0": first.hex()}
        assert published(other) == {}

    def test_what_somebody_else_published_is_taken_over(self, local: Store, there: Backend, tmp_path: Path) -> None:
        made = commit(local, {b"a": b"one"})
        push_refs(local, remote_of(there))
        other = make_store(tmp_path / "other", "ben")
        fetch(other, remote_of(there))
        publish(other, remote_of(there), made, "data@1.0.0", message="ben's")

        done = publish(local, remote_of(there), made, "data@1.0.0")

        assert not done.exchange or not done.exchange.rejected
        assert read_tag(local, local.state(), "refs/tags/data@1.0.0").subject == "ben's"
        assert published(local) == {"data@1.0.0": made.hex()}

    def test_a_tag_of_the_same_version_is_published_as_it_is(self, local: Store, there: Backend) -> None:
        made = commit(local, {b"a": b"one"})
        make_tag(local, "data@1.0.0", made)
        push_refs(local, remote_of(there), "data@1.0.0")
        assert published(opened(there)) == {}

        publish(local, remote_of(there), made, "data@1.0.0")

        assert published(local) == published(opened(there)) == {"data@1.0.0": made.hex()}

    def test_a_tag_of_another_version_is_in_the_way(self, local: Store, there: Backend) -> None:
        first = commit(local, {b"a": b"one"})
        second = commit(local, {b"a": b"two"}, first)
        make_tag(opened_with(there, local, first), "data@1.0.0", first)

        with pytest.raises(TagExistsError, match="already exists on origin"):
            publish(local, remote_of(there), second, "data@1.0.0")

        assert published(local) == published(opened(there)) == {}

    def test_without_a_remote_it_is_here_alone_and_pushed_later(self, local: Store, there: Backend) -> None:
        made = commit(local, {b"a": b"one"})
        publish(local, None, made, "data@1.0.0")
        assert published(local) == {"data@1.0.0": made.hex()}

        pushed = push_refs(local, remote_of(there), "refs/tags/data@1.0.0")

        assert [update.publish for update in pushed.updates] == [True]
        assert published(opened(there)) == {"data@1.0.0": made.hex()}

    def test_nothing_is_published_here_if_the_remote_fails(self, local: Store) -> None:
        made = commit(local, {b"a": b"one"})
        place = local.files.root.parent / "gone" / "deeper"

        with pytest.raises(Exception, match="is not there"):
            publish(local, remote_of(LocalBackend(place)), made, "data@1.0.0")

        assert values(local, "refs/tags/") == {}

    def test_a_dry_run_publishes_nothing(self, local: Store, there: Backend) -> None:
        made = commit(local, {b"a": b"one"})

        done = publish(local, remote_of(there), made, NextNumber("data", "patch"), dry_run=True)

        assert (done.ref, done.is_new) == ("refs/tags/data@1.0.0", True)
        assert list(there.list("")) == []
        assert published(local) == {}


def opened_with(there: Backend, local: Store, value: ObjectId) -> Store:
    """Return the remote with the commit *value*."""
    push_refs(local, remote_of(there), f"{value.hex()}:refs/heads/main")
    return opened(there)


class TestNumbers:
    def test_the_next_one_is_after_all_that_are_here_or_there(
        self, local: Store, there: Backend, tmp_path: Path
    ) -> None:
        made = commit(local, {b"a": b"one"})
        publish(local, None, made, "data@1.0.0")
        other = make_store(tmp_path / "other", "ben")
        publish(other, remote_of(there), commit(other, {b"a": b"two"}), "data@1.9.0")

        done = publish(local, remote_of(there), made, NextNumber("data", "minor"))

        assert done.ref == "refs/tags/data@1.10.0"

    @pytest.mark.parametrize(("message", "same"), [(None, False), ("a release", False), (None, True)])
    def test_sixteen_who_ask_at_once_get_sixteen_numbers(
        self, tmp_path: Path, message: str | None, *, same: bool
    ) -> None:
        # Each from a repository of its own, for a version of its own or for the same.
        there = LocalBackend(tmp_path / "remote")
        stores = [make_store(tmp_path / str(number), f"user{number}") for number in range(16)]
        made = [commit(store, {b"a": b"%d" % number}) for number, store in enumerate(stores)]
        push_refs(stores[0], remote_of(there))
        if same:
            made = [made[0]] * 16
            for store in stores[1:]:
                fetch(store, remote_of(there))

        def ask(number: int) -> str | None:
            return publish(
                stores[number], remote_of(there), made[number], NextNumber("data", "patch"), message=message
            ).ref

        with ThreadPoolExecutor(16) as pool:
            refs = list(pool.map(ask, range(16)))

        assert sorted(refs, key=str) == sorted((f"refs/tags/data@1.0.{number}" for number in range(16)), key=str)
        names = published(opened(there))
        assert [names[str(ref).removeprefix("refs/tags/")] for ref in refs] == [one.hex() for one in made]
        for store, ref in zip(stores, refs, strict=True):
            assert list(published(store)) == [str(ref).removeprefix("refs/tags/")]
        assert_whole(there)

    def test_processes_in_one_repository_get_numbers_of_their_own(self, tmp_path: Path) -> None:
        local = make_store(tmp_path / "local")
        made = commit(local, {b"a": b"one"})
        children = []
        for number in range(4):
            child = os.fork()
            if child == 0:
                store = Store(LocalBackend(local.files.root), make_context(f"process{number}"))
                try:
                    publish(store, None, made, NextNumber("data", "patch"))
                    os._exit(0)
                finally:
                    os._exit(1)
            children.append(child)

        assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
        assert list(published(local)) == ["data@1.0.0", "data@1.0.1", "data@1.0.2", "data@1.0.3"]


class TestForEver:
    """Nothing that any client can ask for moves or deletes what is published."""

    @pytest.fixture
    def version(self, local: Store, there: Backend) -> Iterator[ObjectId]:
        first = commit(local, {b"a": b"one"})
        push_refs(local, remote_of(there))
        publish(local, remote_of(there), first, "data@1.0.0")
        yield first
        assert published(opened(there))["data@1.0.0"] == first.hex()

    @pytest.mark.parametrize("refspec", ["+other:refs/tags/data@1.0.0", ":data@1.0.0", ":refs/tags/data@1.0.0"])
    def test_a_push_is_rejected_and_other_refs_go(
        self, local: Store, there: Backend, version: ObjectId, refspec: str
    ) -> None:
        other = commit(local, {b"a": b"two"}, version, branch="other")

        with pytest.raises(PushRejectedError) as raised:
            push_refs(local, remote_of(there), refspec, "other")

        assert raised.value.outcomes == {Outcome.PROTECTED}
        assert values(opened(there), "refs/heads/")["other"] == other.hex()

    def test_a_mirror_does_not_try(self, there: Backend, version: ObjectId, tmp_path: Path) -> None:
        ben = make_store(tmp_path / "ben", "ben")
        mine = commit(ben, {b"a": b"mine"})
        make_tag(ben, "data@1.0.0", mine)
        everything = [parse_refspec("+refs/heads/*:refs/heads/*"), parse_refspec("+refs/tags/*:refs/tags/*")]

        pushed = push(ben, remote_of(there), everything, mirror=True)

        assert [update.target for update in pushed.updates] == ["refs/heads/main"]
        assert values(opened(there)) == {"heads/main": mine.hex(), "tags/data@1.0.0": version.hex()}

    def test_a_fetch_brings_the_mark_and_then_it_holds_here(
        self, there: Backend, version: ObjectId, tmp_path: Path
    ) -> None:
        ben = make_store(tmp_path / "ben", "ben")
        fetch(ben, remote_of(there))

        assert published(ben) == {"data@1.0.0": version.hex()}
        with pytest.raises(PublishedTagError):
            ben.publish(lambda _: [RefChange("refs/tags/data@1.0.0", version.hex(), None)])

    def test_a_tag_that_was_fetched_before_becomes_published_with_the_next_fetch(
        self, local: Store, there: Backend, version: ObjectId, tmp_path: Path
    ) -> None:
        make_tag(local, "data@1.1.0", version)
        push_refs(local, remote_of(there), "data@1.1.0")
        ben = make_store(tmp_path / "ben", "ben")
        fetch(ben, remote_of(there))
        assert "data@1.1.0" not in published(ben)

        publish(local, remote_of(there), version, "data@1.1.0")
        fetch(ben, remote_of(there))
        assert "data@1.1.0" in published(ben)
        before = opened(there).state().seq
        push_refs(ben, remote_of(there), "refs/tags/*:refs/tags/*")

        assert opened(there).state().seq == before

    def test_a_tag_of_that_name_that_is_another_version_here_stays_and_is_told(
        self, there: Backend, version: ObjectId, tmp_path: Path
    ) -> None:
        ben = make_store(tmp_path / "ben", "ben")
        mine = commit(ben, {b"a": b"mine"})
        make_tag(ben, "data@1.0.0", mine)

        fetched = fetch(ben, remote_of(there))
        assert [update.outcome for update in fetched.rejected] == [Outcome.TAG_EXISTS]
        with pytest.raises(FetchRejectedError):
            fetch(ben, remote_of(there), options=FetchOptions(tags=True))
        assert values(ben, "refs/tags/") == {"data@1.0.0": mine.hex()}
        fetch(ben, remote_of(there), options=FetchOptions(tags=True, force=True))

        assert published(ben) == {"data@1.0.0": version.hex()}


class TestAliases:
    """An alias moves with whoever knows where it was."""

    @pytest.fixture
    def folders(self, tmp_path: Path) -> tuple[Path, Path]:
        return tmp_path / "ada", tmp_path / "ben"

    @pytest.fixture
    def versions(self, local: Store, there: Backend) -> list[ObjectId]:
        first = commit(local, {b"a": b"one"})
        second = commit(local, {b"a": b"two"}, first)
        third = commit(local, {b"a": b"three"}, first, branch="side")
        push_refs(local, remote_of(there), "main", "side")
        return [first, second, third]

    def move(self, store: Store, value: ObjectId) -> None:
        make_tag(store, "data@prod", value)

    def prod(self, store: Store) -> str:
        return values(store, "refs/tags/")["data@prod"]

    def test_it_moves_there_as_it_moved_here_without_force(
        self, local: Store, there: Backend, versions: list[ObjectId], tmp_path: Path
    ) -> None:
        for version in (versions[1], versions[0], versions[2]):
            self.move(local, version)
            pushed = push_refs(local, named(there, tmp_path), "data@prod")
            assert pushed.updates[0].outcome in (Outcome.NEW, Outcome.MOVED)
            assert self.prod(opened(there)) == version.hex()

    def test_other_tags_still_need_force(self, local: Store, there: Backend, versions: list[ObjectId]) -> None:
        make_tag(local, "v1", versions[0])
        push_refs(local, remote_of(there), "v1")
        make_tag(local, "v1", versions[1])

        with pytest.raises(PushRejectedError):
            push_refs(local, remote_of(there), "v1")

    def test_who_has_not_seen_that_it_moved_cannot_move_it_back(
        self, local: Store, there: Backend, versions: list[ObjectId], tmp_path: Path
    ) -> None:
        first, second, third = versions
        ben = make_store(tmp_path / "ben", "ben")
        self.move(local, first)
        push_refs(local, named(there, tmp_path / "a"), "data@prod")
        fetch(ben, named(there, tmp_path / "b"))
        self.move(local, second)
        push_refs(local, named(there, tmp_path / "a"), "data@prod")
        self.move(ben, third)

        with pytest.raises(PushRejectedError):
            push_refs(ben, named(there, tmp_path / "b"), "refs/tags/*:refs/tags/*")
        assert [one.target for one in fetch(ben, named(there, tmp_path / "b")).rejected] == ["refs/tags/data@prod"]
        assert self.prod(ben) == third.hex()
        # Seen now, and moved on purpose.
        push_refs(ben, named(there, tmp_path / "b"), "data@prod")

        assert self.prod(opened(there)) == third.hex()

    def test_a_fetch_follows_it_back_too_unless_it_was_moved_here(
        self, local: Store, there: Backend, versions: list[ObjectId], tmp_path: Path
    ) -> None:
        first, second, _ = versions
        ben = make_store(tmp_path / "ben", "ben")
        for version in (second, first, second):
            self.move(local, version)
            push_refs(local, named(there, tmp_path / "a"), "data@prod")
            fetch(ben, named(there, tmp_path / "b"))
            assert self.prod(ben) == version.hex()
        self.move(ben, first)

        assert not fetch(ben, named(there, tmp_path / "b")).rejected

        assert self.prod(ben) == first.hex()
        assert_whole(ben.backend)

    def test_publishing_moves_them_along(self, local: Store, there: Backend, versions: list[ObjectId]) -> None:
        for version in (versions[1], versions[0]):
            publish(local, remote_of(there), version, NextNumber("data", "patch"), aliases=["data@prod"])

            assert self.prod(local) == self.prod(opened(there)) == version.hex()
        publish(local, remote_of(there), versions[2], None, aliases=["data@prod", "data@latest"])

        assert self.prod(opened(there)) == versions[2].hex()
        assert resolve(local, local.state(), "data@latest") == versions[2]
        assert list(published(local)) == ["data@1.0.0", "data@1.0.1"]

    def test_what_is_published_is_no_alias(self, local: Store, there: Backend, versions: list[ObjectId]) -> None:
        publish(local, remote_of(there), versions[0], "data@spring")

        with pytest.raises(PublishedTagError):
            publish(local, remote_of(there), versions[1], "data@1.0.0", aliases=["data@spring"])

        assert published(opened(there)) == {"data@spring": versions[0].hex()}


def dsvc(folder: Path, *words: str, code: int = 0) -> Ended:
    ended = run_forked(*words, cwd=folder)
    assert ended.code == code, ended.stdout + ended.stderr
    return ended


class TestCommand:
    @pytest.fixture
    def work(self) -> Iterator[Path]:
        """A repository on the dataset `vision/imagenet`, of two versions, and a remote that has them."""
        warm_up()
        with fast_folder() as folder:
            work = folder / "work"
            work.mkdir()
            dsvc(work, "init", "-q", "-b", "vision/imagenet")
            for text in ("one", "two"):
                (work / "a").write_text(text * 100_000)
                dsvc(work, "snapshot", "-q", "-m", text)
            dsvc(work, "remote", "add", "origin", "../remote")
            dsvc(work, "push", "-q")
            yield work

    def test_a_version_and_the_next_one(self, work: Path) -> None:
        first = dsvc(work, "publish", "vision/imagenet@1.0.0", "HEAD~1")
        second = dsvc(work, "publish", "vision/imagenet", "--next", "minor", "-m", "text", "--alias", "prod")

        assert first.stdout == "vision/imagenet@1.0.0\n"
        assert first.stderr.splitlines()[-1].startswith("vision/imagenet@1.0.0 is published on origin, as ")
        assert second.stdout == "vision/imagenet@1.1.0\n"
        dsvc(work.parent, "clone", "-q", "remote", "clone")
        told = [json.loads(line) for line in dsvc(work.parent / "clone", "tag", "--json").stdout.splitlines()]
        assert [(one["name"], one["published"]) for one in told] == [
            ("vision/imagenet@1.0.0", True),
            ("vision/imagenet@1.1.0", True),
            ("vision/imagenet@prod", False),
        ]
        assert dsvc(work, "log", "--format=%s", "vision/imagenet@latest").stdout == "two\none\n"
        again = json.loads(dsvc(work, "publish", "vision/imagenet@1.1.0", "--json").stdout)
        assert (again["new"], again["remote"]) == (False, "origin")

    def test_nothing_takes_it_back(self, work: Path) -> None:
        dsvc(work, "publish", "vision/imagenet@1.0.0")
        refused = [
            ("tag", "-d", "vision/imagenet@1.0.0"),
            ("tag", "-f", "vision/imagenet@1.0.0", "HEAD~1"),
            ("publish", "vision/imagenet@1.0.0", "HEAD~1"),
            ("push", "--force", "origin", "HEAD~1:refs/tags/vision/imagenet@1.0.0"),
            ("push", "origin", "--delete", "vision/imagenet@1.0.0"),
            ("push", "origin", ":vision/imagenet@1.0.0"),
            ("undo",),
        ]
        for words in refused:
            assert "published" in dsvc(work, *words, code=10).stderr
        dsvc(work, "config", "remote.origin.mirror", "true")
        dsvc(work, "push", "-q")

        for place in (".", "origin"):
            listed = dsvc(work, "list", place, "--json").stdout.splitlines()
            states = {one["name"]: one["state"] for one in map(json.loads, listed)}
            assert states == {"vision/imagenet": "final", "vision/imagenet@1.0.0": "published"}

    def test_what_came_with_a_fetch_does_not_stop_an_undo(self, work: Path) -> None:
        dsvc(work.parent, "clone", "-q", "remote", "clone")
        clone = work.parent / "clone"
        (clone / "b").write_text("b")
        dsvc(clone, "add", "b")
        dsvc(work, "publish", "vision/imagenet@1.0.0")
        dsvc(clone, "fetch", "-q")

        assert dsvc(clone, "undo").stderr == "undid add: nothing is staged\n"

    def test_an_alias_is_moved_by_tag(self, work: Path) -> None:
        dsvc(work, "tag", "--alias", "vision/imagenet@prod", "HEAD~1")
        moved = dsvc(work, "tag", "--alias", "vision/imagenet@prod", "HEAD")
        assert moved.stderr.startswith("Updated tag 'vision/imagenet@prod' (was ")
        dsvc(work, "push", "-q", "origin", "vision/imagenet@prod")
        dsvc(work, "tag", "--alias", "vision/imagenet@prod", "HEAD~1")
        assert dsvc(work, "push", "origin", "vision/imagenet@prod").stderr.endswith("(alias moved)\n")

        dsvc(work.parent, "clone", "-q", "remote", "clone")
        dsvc(work.parent / "clone", "tag", "--alias", "vision/imagenet@prod", "HEAD")
        dsvc(work.parent / "clone", "push", "-q", "origin", "vision/imagenet@prod")
        assert "somebody else moved the alias" in dsvc(work, "push", "--tags", code=5).stderr
        dsvc(work, "fetch", "-q")
        dsvc(work, "push", "-q", "--tags")
        assert "a number" in dsvc(work, "tag", "--alias", "vision/imagenet@2.0", code=2).stderr

    @pytest.mark.parametrize(
        ("words", "code", "message"),
        [
            (["vision/imagenet"], 2, "which version of `vision/imagenet`?"),
            (["vision/imagenet@"], 2, "`vision/imagenet@` names no version"),
            (["@1.0"], 2, "`@1.0` names no version"),
            (["nothing@1.0"], 4, "there is no dataset `nothing`"),
            (["vision/imagenet@latest"], 2, "is there to be moved"),
            (["vision/imagenet@1.0", "--next", "patch"], 2, "`--next` chooses the number"),
            (["vision/imagenet", "--alias", "1.0"], 2, "would be taken for a number"),
            (["vision/imagenet@1.0", "--pre", "rc"], 2, "`--pre` takes a word"),
            (["vision/imagenet@1.0", "--local", "--remote", "origin"], 2, "choose one of"),
            (["vision/imagenet@1 .0"], 2, "invalid ref"),
            (["vision/imagenet@1.0", "--remote", "nowhere"], 4, "there is no remote `nowhere`"),
        ],
    )
    def test_what_cannot_be_is_refused(self, work: Path, words: list[str], code: int, message: str) -> None:
        assert message in dsvc(work, "publish", *words, code=code).stderr
        assert dsvc(work, "tag").stdout == ""

    def test_one_that_is_killed_leaves_no_version_without_its_data(self, work: Path) -> None:
        (work / "a").write_text("three" * 100_000)
        dsvc(work, "snapshot", "-q", "--no-push", "-m", "three")
        words = ("publish", "-q", "vision/imagenet@1.0.0", "-m", "text")
        killed = 0
        for step in range(0, 400, 3):
            with fast_folder() as fast:
                copy = shutil.copytree(work.parent, fast / "copy") / "work"
                ended = run_forked(*words, cwd=copy, watch=Watch(dying_at(step)))
                store = Store(LocalBackend(copy.parent / "remote"), make_context("check"))
                assert_whole(store.backend)
                for commit_id in published(store).values():
                    assert files_of(store, commit_id)[b"a"] == b"three" * 100_000
                if ended.code == 0:
                    break
                killed += 1
                dsvc(copy, *words)
                assert published(store) == published(Store(LocalBackend(copy / ".dsvc/store"), make_context("check")))
                assert list(published(store)) == ["vision/imagenet@1.0.0"]

        assert killed > 5

    def test_prune_relies_on_what_is_published(self, work: Path) -> None:
        assert "has no published tag" in dsvc(work, "prune", "--pushed", code=10).stderr
        dsvc(work, "publish", "vision/imagenet@1.0.0")

        assert dsvc(work, "prune", "--pushed").stderr.startswith("freed ")

        assert dsvc(work, "cat", "HEAD~1:a").stdout == "one" * 100_000
        dsvc(work, "fsck")
