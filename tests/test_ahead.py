"""What a push finds out ahead is what it would have found out itself, and is dropped where that has changed."""

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dsvc.history.store import Store
from dsvc.model.ids import ObjectId
from dsvc.storage.backend import Backend
from dsvc.storage.memory import MemoryBackend
from dsvc.transport.position import mirror
from dsvc.transport.push import push
from dsvc.transport.refspec import parse_refspec
from dsvc.transport.remote import Remote
from dsvc.transport.updates import Exchange
from dsvc.worktree.workers import Workers
from tests.counting_backend import CountingBackend
from tests.transport_support import assert_whole, commit, files_of, make_context, make_store, noise, push_refs, values

SMALL = {b"%d" % number: b"small file %d" % number for number in range(500)}


class Noted(ThreadPoolExecutor):
    """It remembers what it did; a thread is as good as a process here."""

    done: list[Future[Any]]

    def submit(self, *call: Any, **options: Any) -> Future[Any]:
        self.done = [*getattr(self, "done", []), super().submit(*call, **options)]
        return self.done[-1]

    def results(self) -> list[Any]:
        return [future.result() for future in self.done]


@pytest.fixture
def local(tmp_path: Path) -> Store:
    return make_store(tmp_path / "local")


def far_push(
    local: Store, there: Backend, known: Path, meanwhile: Callable[[], object] = lambda: None
) -> tuple[Exchange, list[Any]]:
    """Push main to *there*; return what was done, and what had been found out and made ahead of *meanwhile*."""
    pools: list[Noted] = []

    def pool(jobs: int) -> Executor:
        pools.append(Noted(jobs))
        return pools[-1]

    def reach() -> Backend:
        pools[0].results()
        meanwhile()
        return mirror(known, there)

    remote = Remote("origin", "far away", reach, make_context("remote"), known)
    pushed = push(local, remote, [parse_refspec("main")], workers=Workers(2, pool))
    return pushed, pools[0].results()


def versions(local: Store) -> list[ObjectId]:
    """Versions of which a push needs whole packs, frames, and single objects."""
    first = commit(local, SMALL)
    second = commit(local, {**SMALL, b"large": noise(1, 20_000_000)}, first, unused=[noise(2, 50_000)])
    return [first, second]


def test_what_was_found_out_ahead_is_sent_and_nothing_of_it_stays_here(local: Store, tmp_path: Path) -> None:
    there, alone = MemoryBackend(), MemoryBackend()
    _, made = versions(local)

    pushed, (found, packs) = far_push(local, there, tmp_path / "known")

    names = {pack.name for pack in packs}
    assert found.preparation.plan.count == pushed.objects
    assert names
    assert names <= Store(there, make_context()).state().packs.keys()
    push_refs(local, Remote("origin", "", alone, make_context("remote"), tmp_path / "other"))
    assert sorted(there.list("packs/")) == sorted(alone.list("packs/"))
    assert files_of(Store(there, make_context()), made) == files_of(local, made)
    assert not any(local.files.temporary().parent.iterdir())
    assert_whole(there)


def test_where_the_remote_is_known_only_the_rest_is_found(local: Store, tmp_path: Path) -> None:
    there = MemoryBackend()
    first, _ = versions(local)
    push_refs(local, Remote("origin", "", mirror(tmp_path / "known", there), make_context(), tmp_path / "known"))
    commit(local, {**SMALL, b"one more": b"file"}, first, branch="side")
    last = commit(local, {b"one more": b"file"}, *[ObjectId.from_hex(values(local, "refs/heads/")["main"])])

    pushed, (found, _) = far_push(local, there, tmp_path / "known")

    assert found.preparation.plan.count == pushed.objects < 20
    assert files_of(Store(there, make_context()), last) == {b"one more": b"file"}
    assert_whole(there)


def test_what_others_changed_meanwhile_is_found_out_again(local: Store, tmp_path: Path) -> None:
    there = MemoryBackend()
    _, made = versions(local)
    other = make_store(tmp_path / "another")
    commit(other, {b"theirs": b"file"})

    def push_theirs() -> None:
        push_refs(other, Remote("origin", "", there, make_context("other"), tmp_path / "theirs"), "main:theirs")

    pushed, (found, packs) = far_push(local, there, tmp_path / "known", push_theirs)

    assert packs
    assert found.preparation.plan.count == pushed.objects
    assert values(Store(there, make_context()), "refs/heads/").keys() == {"main", "theirs"}
    assert files_of(Store(there, make_context()), made) == files_of(local, made)
    assert not any(local.files.temporary().parent.iterdir())
    assert_whole(there)


def test_a_push_of_nothing_asks_no_more_than_before(local: Store, tmp_path: Path) -> None:
    far = CountingBackend(MemoryBackend())
    versions(local)
    far_push(local, far, tmp_path / "known")
    far.clear()

    pushed, results = far_push(local, far, tmp_path / "known")

    assert (pushed.objects, results) == (0, [None, None])
    assert set(far.verbs()) == {"read"}
