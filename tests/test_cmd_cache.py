"""The user's cache: what stays, what goes, what is damaged, and who may share it."""

import errno
import fcntl
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from dsvc.datasets.evict import evict
from dsvc.datasets.get import find_wanted, get
from dsvc.datasets.means import Means
from dsvc.datasets.parts import Part
from dsvc.datasets.selection import Selection
from dsvc.datasets.source import RepositorySource
from dsvc.datasets.user_cache import UserCache
from dsvc.datasets.verify_cache import verify_cache
from tests.crash_support import FASTEST, warm_up
from tests.get_support import FIRST, SECOND, Scene, edit, scene
from tests.worktree_support import commit_all, make_worktree, open_copy, read_files

__all__ = ["scene"]

_GROUP = 54_321
_NOBODY = 65_534


@pytest.fixture(scope="module", autouse=True)
def warmed() -> None:
    warm_up()


def in_a_child(action: Callable[[], object]) -> int:
    """Start *action* in another process, and return its number."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            action()
            code = 0
        except BaseException:  # noqa: BLE001 (it must not go on as the test runner)
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)
    return child


def freed(scene: Scene, *words: str) -> int:
    record = json.loads(scene.run("cache", "gc", "--json", *words).stdout)
    count: int = record["freed_bytes"]
    return count


def listed(scene: Scene) -> dict[str, dict[str, object]]:
    return {
        Path(record["path"]).name: record
        for record in map(json.loads, scene.run("cache", "ls", "--json").stdout.splitlines())
    }


def test_trees_are_listed_by_the_names_they_were_asked_for(scene: Scene) -> None:
    tree, part = scene.get("main"), scene.get("main@1.0", "--part", "1/2")
    scene.get("HEAD")

    records = listed(scene)

    assert records[tree.name]["names"] == ["main", "HEAD"]
    assert records[part.name]["selection"] == "part 1/2"
    assert records[tree.name]["files"] == len(SECOND) - 1
    assert {record["complete"] for record in records.values()} == {True}
    shown = scene.run("cache")
    assert "main, HEAD" in shown.stdout
    assert shown.stderr.startswith("2 trees, ")
    scene.get("../work#main", cwd=scene.away)
    assert "what is known of 1 store: " in scene.run("cache").stderr


def test_what_was_asked_for_a_short_while_ago_stays_whatever_the_limit(scene: Scene) -> None:
    tree = scene.get("main")

    said = scene.run("cache", "gc", "--max-size", "0").stderr
    short = scene.run("-c", "cache.keep=0", "cache", "gc", "--max-size", "0", "--dry-run").stderr

    assert tree.exists()
    assert "1 asked for a short while ago" in said
    assert "would free" in short
    assert tree.exists()
    scene.run("-c", "cache.keep=0", "cache", "gc", "--max-size", "0")
    assert scene.trees() + scene.files() == []


def test_a_pinned_tree_stays_until_it_is_unpinned(scene: Scene) -> None:
    tree = scene.get("main")
    scene.run("cache", "pin", "main")
    scene.age(tree)

    assert "1 pinned" in scene.run("cache", "gc", "--max-size", "0").stderr
    assert listed(scene)[tree.name]["pinned"] is True
    scene.run("cache", "unpin", str(tree / "data"))
    scene.run("cache", "gc", "--max-size", "0")
    assert not tree.exists()
    assert "no tree in the cache is called `main`" in scene.run("cache", "pin", "main", code=4).stderr


def test_the_tree_that_was_not_asked_for_for_the_longest_time_goes_first_and_what_others_share_stays(
    scene: Scene,
) -> None:
    old, new = scene.get("main@1.0"), scene.get("main")
    scene.age(old, 9 * 86_400)
    scene.age(new, 8 * 86_400)
    would = freed(scene, "--max-size", "165K", "--dry-run")

    did = freed(scene, "--max-size", "165K")

    assert would == did == 4096 * 2
    assert not old.exists()
    assert read_files(new) == SECOND
    assert [path.name for path in scene.files()] != []
    assert read_files(scene.get("main@1.0")) == FIRST


def test_without_a_limit_only_what_nobody_uses_goes(scene: Scene) -> None:
    tree = scene.get("main")
    other = scene.get("main@1.0", "gone")
    scene.age(tree)
    subprocess.run(["chmod", "-R", "u+w", other], check=True)
    shutil.rmtree(other)

    assert freed(scene) == 4096
    assert read_files(tree) == SECOND


def test_a_get_keeps_the_cache_below_its_limit(scene: Scene) -> None:
    old = scene.get("main@1.0", "data")
    scene.age(old)
    scene.run("config", "--user", "cache.max-size", "8K")

    new = scene.get("main", "a.csv")

    assert not old.exists()
    assert new.exists()
    assert len(scene.files()) == 1
    for value in ("lots", "-1"):
        assert "cache.max-size" in scene.run("-c", f"cache.max-size={value}", "get", "main", code=2).stderr
    assert "cache.dir" in scene.run("-c", "cache.dir=here", "get", "main", code=2).stderr


def test_a_process_that_holds_a_tree_keeps_it(scene: Scene) -> None:
    cache = UserCache.open(scene.cache)
    source = RepositorySource(scene.worktree)
    with get(Means(cache, source), find_wanted(source, "main", Selection())) as got:
        kept = evict(cache, 0, keep=0)
        assert kept.kept == {"in use": 1}
        assert read_files(got.path) == SECOND

    assert evict(cache, 0, keep=0).trees == [got.tree_id]


def test_whoever_gets_is_never_met_by_whoever_evicts_or_verifies(scene: Scene) -> None:
    commits = {"main@1.0": FIRST, "main": SECOND}

    def use(seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311 (no secret)
        cache = UserCache.open(scene.cache)
        means = Means(cache, RepositorySource(open_copy(scene.work)))
        for _ in range(25):
            name = chance.choice(["main", "main@1.0"])
            part = chance.choice([None, Part(1, 2), Part(2, 2)])
            with get(means, find_wanted(means.source, name, Selection(part=part))) as got:
                found = read_files(got.path)
                assert found.items() <= commits[name].items()
                assert part or found == commits[name]
            if chance.random() < 0.2:
                evict(cache, chance.choice([0, 100_000, None]), keep=0)
            if chance.random() < 0.1:
                assert list(verify_cache(cache)) == []

    children = [in_a_child(partial(use, seed)) for seed in range(3)]

    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]
    cache = UserCache.open(scene.cache)
    evict(cache, 0, keep=0)
    assert scene.trees() + scene.files() == []


def test_where_there_are_no_locks_nothing_is_evicted_by_itself(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = scene.get("main")
    scene.age(tree)
    cache = UserCache.open(scene.cache)

    def no_locks(_descriptor: int, _how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)

    assert evict(cache, 0, keep=0, automatic=True).kept == {"perhaps in use": 1}
    assert read_files(scene.get("main")) == SECOND
    assert evict(cache, 0, keep=0).trees == [tree.name]


def test_what_was_left_of_a_tree_that_was_never_finished_goes(scene: Scene) -> None:
    scene.run("get", "main", "nope", code=4)
    (lease,) = (scene.cache / "leases").iterdir()
    os.utime(lease, (0, 0))

    scene.run("cache", "gc")

    assert list((scene.cache / "leases").iterdir()) == []


# Damage.


def test_verify_finds_damage_says_so_and_drops_it(scene: Scene) -> None:
    tree, part = scene.get("main"), scene.get("main", "a.csv")
    large = tree / "data/large"
    before = large.stat()
    edit(large, b"?")
    os.utime(large, ns=(before.st_atime_ns, before.st_mtime_ns))

    dry = scene.run("cache", "verify", "-n", code=8)
    assert tree.exists()
    scene.run("cache", "verify", str(part))
    found = scene.run("cache", "verify", code=8)

    assert dry.stdout.count("stays") == found.stdout.count("dropped") == 2
    assert "its content is not what its name says" in found.stdout
    assert f"{tree}: data/large is not as written: dropped" in found.stdout
    assert scene.run("cache", "verify").stderr == "all is as it was written\n"
    assert not tree.exists()
    assert part.exists()
    assert read_files(scene.get("main")) == SECOND


def test_a_damaged_tree_in_use_stays_and_the_next_get_repairs_it(scene: Scene) -> None:
    cache = UserCache.open(scene.cache)
    source = RepositorySource(scene.worktree)
    means, wanted = Means(cache, source), find_wanted(source, "main", Selection())
    with get(means, wanted) as got:
        edit(got.path / "a.csv", b"9")
        assert "in use" in scene.run("cache", "verify", code=8).stdout
        descriptor = os.open(got.path, os.O_RDONLY)
        with get(means, wanted) as again:
            assert again.path == got.path
            assert read_files(got.path) == SECOND
        # Whoever was in it still is.
        assert set(os.listdir(descriptor)) == {path.name for path in got.path.iterdir()}  # noqa: PTH208 (of what is open)
        os.close(descriptor)


@pytest.mark.parametrize("kind", ["records", "manifests", "leases"])
def test_what_the_cache_writes_down_may_be_lost_or_damaged(kind: str, scene: Scene) -> None:
    for damage in (Path.unlink, lambda path: (path.chmod(0o644), path.write_bytes(b"\x93x"))):
        tree = scene.get("main")
        damage(scene.cache / kind / tree.name)

        assert scene.get("main") == tree
        assert read_files(tree) == SECOND
        scene.run("cache", "ls")
        scene.run("cache", "verify")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_a_cache_that_cannot_be_written_to_gives_what_it_has(scene: Scene) -> None:
    tree = scene.get("main")
    subprocess.run(["chmod", "-R", "a+rX", scene.root], check=True)

    assert Path(scene.run("get", "main", user=_NOBODY).stdout.strip()) == tree
    refused = scene.run("get", "main@1.0", user=_NOBODY, code=7)
    assert refused.stderr.startswith("error: cannot lock ")


# What filesystems do not have.


def got(scene: Scene, name: str = "main") -> tuple[Path, int]:
    """Get *name* in this process; return the path, and how many bytes of it no other file shares."""
    source = RepositorySource(scene.worktree)
    with get(Means(UserCache.open(scene.cache), source), find_wanted(source, name, Selection())) as found:
        return found.path, found.record.own


def test_where_there_can_be_no_links_a_tree_has_copies(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_arguments: object, **_keywords: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", no_links)
    tree, own = got(scene)

    assert read_files(tree) == SECOND
    assert own == sum(path.stat().st_size for path in tree.rglob("*") if path.is_file() and not path.is_symlink())
    assert not (tree / "data/large").stat().st_mode & 0o222
    assert got(scene) == (tree, own)
    assert freed(scene, "--max-size", "0") == 0
    scene.age(tree)
    assert freed(scene, "--max-size", "0") == own


def test_where_a_file_has_all_the_links_it_can_have_another_takes_its_place(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = got(scene, "main@1.0")
    link = os.link
    refused: list[bytes] = []

    def full(source: bytes, *arguments: object, **keywords: object) -> None:
        if b"/" in source and not refused:
            refused.append(source)
            raise OSError(errno.EMLINK, os.strerror(errno.EMLINK))
        link(source, *arguments, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "link", full)
    second, own = got(scene)

    assert refused
    assert read_files(first) == FIRST
    assert read_files(second) == SECOND
    assert own == 0
    assert scene.run("cache", "verify").stderr == "all is as it was written\n"


# Several users.


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of a group; pytest's own are for root alone."""
    made = Path(tempfile.mkdtemp(dir=FASTEST))
    os.chown(made, -1, _GROUP)
    made.chmod(0o2775)
    yield made
    shutil.rmtree(made)


def as_user(user: int, action: Callable[[], None]) -> None:
    """Do *action*, in a process of that user and of the group."""

    def become_and_act() -> None:
        os.setgroups([])
        os.setgid(_GROUP)
        os.setuid(user)
        os.umask(0o007)
        action()

    assert os.waitstatus_to_exitcode(os.waitpid(in_a_child(become_and_act), 0)[1]) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users")
def test_a_group_shares_one_cache(folder: Path) -> None:
    def get_as(user: str, version: str) -> Callable[[], None]:
        def action() -> None:
            cache = UserCache.open(folder / "cache", shared=True)
            root = folder / user
            worktree = make_worktree(root)
            commits = {"first": commit_all(worktree, FIRST), "second": commit_all(worktree, SECOND)}
            source = RepositorySource(worktree)
            with get(Means(cache, source), find_wanted(source, commits[version].hex(), Selection())) as got:
                assert read_files(got.path) == {"first": FIRST, "second": SECOND}[version]

        return action

    def evict_all() -> None:
        cache = UserCache.open(folder / "cache", shared=True)
        assert len(evict(cache, 0, keep=0).trees) == 2
        assert cache.trees() == []

    as_user(1001, get_as("ada", "first"))
    as_user(1002, get_as("bob", "first"))
    as_user(1002, get_as("bea", "second"))
    assert len(list((folder / "cache/trees").iterdir())) == 2
    as_user(1001, evict_all)
    assert not [path for path in (folder / "cache/files").rglob("*") if path.is_file()]
