"""Links into buckets, on servers that speak the vendors' protocols."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from dsvc.config import Config
from dsvc.datasets.link_edit import add_links, links_of, vendor_links
from dsvc.datasets.link_policy import LinkPolicy, read_policy
from dsvc.datasets.link_targets import Wanted, find_targets
from dsvc.datasets.links import Drift, LinkChangedError, Links
from dsvc.errors import NotFoundError
from dsvc.worktree.pathspec import Pathspec
from dsvc.worktree.worktree import Worktree
from tests.servers.proxy import FaultProxy
from tests.stores import Stores
from tests.worktree_support import make_worktree

_SYSTEMS = {"ministack": ("s3", {}), "gcs": ("gs", {"token": "anon"}), "azurite": ("az", {})}
ODD = "p/ü d#e?.txt"


class Bucket:
    """A place of its own in a bucket, and what its owner does there."""

    def __init__(self, name: str) -> None:
        import fsspec

        scheme, options = _SYSTEMS[name]
        self.system = fsspec.filesystem(scheme, skip_instance_cache=True, use_listings_cache=False, **options)
        self.prefix = f"tests/{uuid4().hex}"
        self.url = f"{scheme}://{self.prefix}"

    def put(self, key: str, content: bytes) -> None:
        self.system.pipe_file(f"{self.prefix}/{key}", content)

    def remove(self, key: str) -> None:
        self.system.rm_file(f"{self.prefix}/{key}")


@contextmanager
def environment(stores: Stores, name: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in stores.environment(name).items():
            patch.setenv(variable, value)
        yield


@pytest.fixture(params=sorted(_SYSTEMS))
def bucket(stores: Stores, request: pytest.FixtureRequest) -> Iterator[Bucket]:
    with environment(stores, request.param):
        bucket = Bucket(request.param)
        for key in ("p/a", "p/deep/b", ODD):
            bucket.put(key, f"the content of {key}".encode())
        yield bucket


def open_links(worktree: Worktree) -> Links:
    return Links(worktree.config, worktree.store.context, read_policy(worktree.config, worktree.control))


def link(worktree: Worktree, links: Links, *urls: str, recursive: bool = False) -> None:
    wanted = [Wanted(url, b"", into=True) for url in urls]
    targets, named = find_targets(links, wanted, recursive=recursive)
    add_links(worktree, worktree.store.state(), links, targets, named=named)


def all_links(worktree: Worktree) -> list[tuple[bytes, str]]:
    found = links_of(worktree.store.objects, worktree.staged_tree(worktree.store.state()), Pathspec())
    return [(one.entry.path, one.link.url) for one in found]


def test_links_into_a_bucket_are_listed_checked_read_and_brought_in(bucket: Bucket, tmp_path: Path) -> None:
    worktree = make_worktree(tmp_path / "repository")
    link(worktree, open_links(worktree), f"{bucket.url}/p", recursive=True)
    link(worktree, open_links(worktree), f"{bucket.url}/p/a")
    link(worktree, open_links(worktree), f"{bucket.url}/p/deep/*")
    odd = ODD.encode()
    assert all_links(worktree) == [
        (b"a", f"{bucket.url}/p/a"),
        (b"b", f"{bucket.url}/p/deep/b"),
        (b"p/a", f"{bucket.url}/p/a"),
        (b"p/deep/b", f"{bucket.url}/p/deep/b"),
        (odd, f"{bucket.url}/{ODD}"),
    ]

    links = open_links(worktree)
    tree = worktree.staged_tree(worktree.store.state())
    found = links_of(worktree.store.objects, tree, Pathspec())
    # What a listing said, and what is said of one object, are the same.
    assert {one.drift for one in links.standing(found, digest=True)} == {Drift.SAME}
    assert b"".join(links.read(found[-1])) == f"the content of {ODD}".encode()
    assert b"".join(links.read(found[0], 4, 11)) == b"content"
    bucket.put("p/a", b"THE CONTENT OF p/a")
    bucket.remove("p/deep/b")
    drifts = {one.linked.entry.path: one.drift for one in links.standing(found)}
    assert drifts == {b"a": Drift.CHANGED, b"b": Drift.GONE, b"p/a": Drift.CHANGED, b"p/deep/b": Drift.GONE,
                      odd: Drift.SAME}  # fmt: skip
    with pytest.raises(LinkChangedError):
        list(links.read(found[0]))
    with pytest.raises(NotFoundError):
        list(links.read(found[1]))
    vendor_links(worktree, links, [found[-1]])
    assert (worktree.root / ODD).read_text() == f"the content of {ODD}"


def test_many_links_take_one_listing_and_one_entry_of_the_log(stores: Stores, tmp_path: Path) -> None:
    with environment(stores, "ministack") as _, pytest.MonkeyPatch.context() as patch:
        bucket = Bucket("ministack")
        bucket.system.pipe({f"{bucket.prefix}/many/{number}": b"%d" % number for number in range(60)})
        proxy = FaultProxy(stores.running("ministack").port)
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
        worktree = make_worktree(tmp_path / "repository")
        before = worktree.store.log.head().seq

        link(worktree, open_links(worktree), f"{bucket.url}/many", recursive=True)
        found = links_of(worktree.store.objects, worktree.staged_tree(worktree.store.state()), Pathspec())
        assert proxy.count() == 1
        assert worktree.store.log.head().seq == before + 1
        assert {one.drift for one in open_links(worktree).standing(found)} == {Drift.SAME}
        assert len(found) == 60
        assert proxy.count() == 2
        proxy.stop()


def test_a_bucket_is_reached_as_a_remote_in_it_is_configured(stores: Stores, tmp_path: Path) -> None:
    port = stores.running("ministack").port
    with environment(stores, "ministack"):
        bucket = Bucket("ministack")
        bucket.put("a", b"x")
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in stores.environment("ministack").items():
            if "ENDPOINT" not in variable:
                patch.setenv(variable, value)
        remote = {"remote.raw.url": "s3://tests/other", "remote.raw.endpoint": f"http://127.0.0.1:{port}"}
        context = make_worktree(tmp_path / "repository").store.context
        links = Links(Config(flags=remote), context, LinkPolicy())

        assert links.place(bucket.url).state(f"{bucket.url}/a").size == 1
