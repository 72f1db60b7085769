"""Pruning what was pushed: room is made, and nothing is lost."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsvc.history.store import Store
from dsvc.log.entry import RefChange
from dsvc.maintenance.fsck import Promised, fsck
from dsvc.maintenance.prune import NothingProtectedError, Pruned, prune_pushed
from dsvc.model.ids import ObjectId
from dsvc.storage.backend import Backend
from dsvc.storage.local import LocalBackend
from dsvc.storage.memory import MemoryBackend
from dsvc.transport.promise import Promise
from dsvc.transport.remote import RemoteDamagedError
from dsvc.worktree.checkout import switch_to
from dsvc.worktree.ingest import LARGE_FILE
from dsvc.worktree.pathspec import Pathspec
from dsvc.worktree.status import read_status
from dsvc.worktree.workers import Workers
from tests.transport_support import commit, files_of, make_context, make_store, noise, push_refs, remote_of
from tests.worktree_support import Link, commit_all, make_worktree, open_copy, read_files, tree_of


@pytest.fixture
def there() -> Backend:
    return MemoryBackend()


@pytest.fixture
def local(tmp_path: Path) -> Store:
    return make_store(tmp_path / "local")


def reopened(store: Store, there: Backend) -> Store:
    """*store* as another process finds it, with a promise."""
    again = Store(LocalBackend(store.files.root), make_context("ben"))
    again.promise(Promise(again, [remote_of(there)]))
    return again


def publish(there: Backend, value: ObjectId, name: str = "v1") -> None:
    change = RefChange(f"refs/tags/{name}", None, value.hex(), publish=True)
    Store(there, make_context("release")).publish(lambda _: [change])


def prune(store: Store, there: Backend, *, force: bool = False, dry_run: bool = False) -> tuple[Pruned, bool]:
    """Prune; return what went, and whether the remote became a promisor."""
    promised: list[bool] = []
    pruned = prune_pushed(store, remote_of(there), promise=lambda: promised.append(True), force=force, dry_run=dry_run)
    return pruned, bool(promised)


def packs(store: Store) -> Iterator[tuple[str, int]]:
    return store.backend.list("packs/")


def check_promised(store: Store, there: Backend) -> int:
    """Check the store, with what the remote has; return how much is promised."""
    report = fsck(Store(store.backend, make_context()), promised=Promised([Store(there, make_context()).objects]))
    assert not report.is_damaged, [str(finding) for finding in report.findings]
    return report.promised


def test_what_a_published_tag_protects_goes_and_comes_back(local: Store, there: Backend) -> None:
    files = {b"a": noise(1, 300_000), b"b": b"two"}
    made = commit(local, files)
    push_refs(local, remote_of(there))
    publish(there, made)
    before = sum(size for _, size in packs(local))

    pruned, promised = prune(local, there)

    assert promised
    assert (pruned.packs, pruned.objects, pruned.kept) == (1, 5 - 1, 0)
    assert sum(size for _, size in packs(local)) == before - pruned.size < 20_000
    assert check_promised(local, there) == 4
    assert files_of(reopened(local, there), made) == files
    assert check_promised(local, there) == 0


def test_without_a_published_tag_nothing_goes_unless_forced(local: Store, there: Backend) -> None:
    commit(local, {b"a": noise(1, 300_000)})
    push_refs(local, remote_of(there))

    with pytest.raises(NothingProtectedError):
        prune(local, there)
    pruned, _ = prune(local, there, force=True)

    assert pruned.packs == 1


def test_a_dry_run_changes_nothing(local: Store, there: Backend) -> None:
    made = commit(local, {b"a": noise(1, 300_000)})
    push_refs(local, remote_of(there))
    publish(there, made)
    before, seq = sorted(packs(local)), local.state().seq

    pruned, promised = prune(local, there, dry_run=True)

    assert pruned.size > 300_000
    assert not promised
    assert sorted(packs(local)) == before
    assert local.state().seq == seq


def test_what_was_not_pushed_stays(local: Store, there: Backend) -> None:
    first = commit(local, {b"a": noise(1, 300_000)})
    push_refs(local, remote_of(there))
    publish(there, first)
    second = commit(local, {b"a": noise(2, 300_000)}, first)

    pruned, _ = prune(local, there)

    assert (pruned.packs, pruned.kept) == (1, 1)
    # Without any promise:
    assert files_of(Store(local.backend, make_context()), second) == {b"a": noise(2, 300_000)}
    assert prune(local, there)[0].packs == 0


def test_a_pack_with_one_object_that_was_not_pushed_stays_whole(local: Store, there: Backend) -> None:
    made = commit(local, {b"a": noise(1, 300_000)}, unused=[b"staged, and not pushed"])
    push_refs(local, remote_of(there))
    publish(there, made)

    pruned, promised = prune(local, there)

    assert (pruned.packs, pruned.kept) == (0, 1)
    assert not promised


def test_what_another_version_there_has_without_protection_stays(local: Store, there: Backend) -> None:
    first = commit(local, {b"a": noise(1, 300_000)})
    commit(local, {b"a": noise(2, 300_000)}, first)
    push_refs(local, remote_of(there))
    publish(there, first)

    pruned, _ = prune(local, there)

    assert (pruned.packs, pruned.kept) == (1, 1)


@pytest.mark.parametrize("harm", ["gone", "cut"])
def test_if_a_pack_there_is_not_what_it_should_be_nothing_goes(local: Store, there: Backend, harm: str) -> None:
    made = commit(local, {b"a": noise(1, 300_000)})
    push_refs(local, remote_of(there))
    publish(there, made)
    (key,) = (key for key, size in list(there.list("packs/")) if size > 200_000)
    value = there.read(key)
    there.delete(key)
    if harm == "cut":
        there.write(key, value[:-1])
    before = sorted(packs(local))

    with pytest.raises(RemoteDamagedError):
        prune(local, there)

    assert sorted(packs(local)) == before


def test_an_object_in_two_packs_stays_readable_when_one_goes(local: Store, there: Backend, tmp_path: Path) -> None:
    shared = noise(1, 90_000)
    first = commit(local, {b"a": shared})
    push_refs(local, remote_of(there))
    publish(there, first)
    # As another process does that has not seen the first.
    other = make_store(tmp_path / "other")
    second = commit(other, {b"a": shared, b"own": noise(2, 90_000)})
    for key, _ in list(other.backend.list("packs/")):
        local.backend.write(key, other.backend.read(key))
    sealed = [name.removeprefix("packs/") for name, _ in other.backend.list("packs/")]
    for name in other.state().segments:
        local.backend.write(f"index/{name}", other.backend.read(f"index/{name}"))
    _adopt(local, sealed, list(other.state().segments), second)

    prune(local, there)

    check_promised(local, there)
    assert files_of(Store(local.backend, make_context()), second)[b"a"] == shared


def _adopt(local: Store, names: list[str], segments: list[str], value: ObjectId) -> None:
    from dsvc.log.entry import Transaction

    ops = [RefChange("refs/heads/other", None, value.hex())]
    context = local.context
    local.log.commit(
        lambda _: Transaction(ops=ops, add_packs=names, add_index=segments),
        actor=context.actor,
        time=0,
        command="test",
        nonce=context.nonce,
    )


def test_who_reads_meanwhile_reads_on(local: Store, there: Backend) -> None:
    files = {b"%d" % number: noise(number, 300_000) for number in range(3)}
    made = commit(local, files)
    push_refs(local, remote_of(there))
    publish(there, made)
    reader = reopened(local, there)
    assert files_of(reader, made) == files

    prune(Store(local.backend, make_context("other")), there)

    assert files_of(reader, made) == files


class PrunesFirst(ThreadPoolExecutor):
    """Workers that begin when another process has just pruned."""

    def __init__(self, store: Store, there: Backend) -> None:
        super().__init__(1)
        prune(Store(store.backend, make_context("other")), there)


def test_who_writes_files_meanwhile_writes_on(there: Backend, tmp_path: Path) -> None:
    worktree = make_worktree(tmp_path / "work")
    small = {b"%d" % number: noise(number, 90_000) for number in range(400)}
    large = {b"large": noise(999, LARGE_FILE)}
    made = commit_all(worktree, {**small, **large, b"link": Link(b"0")})
    push_refs(worktree.store, remote_of(there))
    publish(there, made)
    files = read_files(worktree.root)
    commit_all(worktree, {})
    again = open_copy(worktree.root)
    again.store.promise(Promise(again.store, [remote_of(there)]))
    workers = Workers(2, lambda _: PrunesFirst(again.store, there))

    switch_to(again, made.hex(), tree_of(again, made), workers=workers)

    assert read_files(worktree.root) == files
    assert read_status(again, again.store.state(), Pathspec()).is_clean


@settings(max_examples=25, deadline=None)
@given(
    actions=st.lists(
        st.tuples(st.sampled_from(["commit", "push", "publish", "prune", "read"]), st.integers(0, 5)), max_size=14
    )
)
def test_nothing_that_was_committed_is_ever_lost(actions: list[tuple[str, int]]) -> None:
    with TemporaryDirectory() as folder:
        there: Backend = MemoryBackend()
        local = make_store(Path(folder, "local"))
        versions: dict[ObjectId, dict[bytes, bytes]] = {}
        pushed: list[ObjectId] = []
        for number, (action, seed) in enumerate(actions):
            tip = next(reversed(versions), None)
            if action == "commit":
                files = {b"a": noise(seed, 90_000), b"b": b"%d" % number}
                versions[commit(local, files, *([tip] if tip else []))] = files
            elif action == "push" and tip:
                push_refs(local, remote_of(there))
                pushed.append(tip)
            elif action == "publish" and pushed:
                publish(there, pushed[-1], f"v{number}")
            elif action == "prune" and pushed:
                prune(local, there, force=bool(seed % 2)) if _has_published(there) or seed % 2 else None
                local = reopened(local, there)
            elif action == "read" and tip:
                assert files_of(local, tip) == versions[tip]

        if pushed:
            check_promised(local, there)
            local = reopened(local, there)
        for made, files in versions.items():
            assert files_of(local, made) == files


def _has_published(there: Backend) -> bool:
    return bool(Store(there, make_context()).state().published)
