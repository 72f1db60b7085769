"""dsvc link, as a person meets it."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3
from yarl import URL

from dsvc.storage.web import is_within
from tests.conftest import RunDsvc
from tests.inside import call_dsvc
from tests.web_server import WebServer, web_server

__all__ = ["call_dsvc"]


@pytest.fixture
def web() -> Iterator[WebServer]:
    with web_server() as server:
        server.pages["/data/labels.csv"] = b"cat,dog\n"
        yield server


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder of files that are no part of any repository."""
    folder = tmp_path / "outside"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("one\n")
    (folder / "deep/b.jpg").write_text("two\n")
    (folder / "deep/c.txt").write_text("three\n")
    return folder


@pytest.fixture
def repository(call_dsvc: RunDsvc, tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    call_dsvc("init", "-q", cwd=folder)
    return folder


def listed(call_dsvc: RunDsvc, repository: Path) -> dict[str, str]:
    lines = call_dsvc("link", "list", cwd=repository).lines
    return {path: url for path, _, url in (line.partition("\t") for line in lines)}


def test_paths_of_links_are_as_cp_would_give_them(call_dsvc: RunDsvc, repository: Path, outside: Path) -> None:
    (repository / "here").mkdir()
    url = outside.as_uri()

    call_dsvc("link", "add", f"{url}/a.txt", cwd=repository)
    call_dsvc("link", "add", f"{url}/a.txt", "--to", "other/name.txt", cwd=repository)
    call_dsvc("link", "add", f"{url}/a.txt", "--to", "here", cwd=repository)
    call_dsvc("link", "add", f"{url}/a.txt", "--to", "new/", cwd=repository)
    call_dsvc("link", "add", f"{url}/a.txt", f"{url}/deep/c.txt", "--to", "both", cwd=repository)
    call_dsvc("link", "add", "-r", f"{url}/deep", cwd=repository / "here")
    call_dsvc("link", "add", "-r", url, "--to", "all", cwd=repository)
    call_dsvc("link", "add", f"{url}/*.txt", "--to", "texts", cwd=repository)
    call_dsvc("link", "add", f"{url}/deep/", "--to", "slash", cwd=repository)

    assert {path: found.removeprefix(url) for path, found in listed(call_dsvc, repository).items()} == {
        "a.txt": "/a.txt",
        "all/a.txt": "/a.txt",
        "all/deep/b.jpg": "/deep/b.jpg",
        "all/deep/c.txt": "/deep/c.txt",
        "both/a.txt": "/a.txt",
        "both/c.txt": "/deep/c.txt",
        "here/a.txt": "/a.txt",
        "here/deep/b.jpg": "/deep/b.jpg",
        "here/deep/c.txt": "/deep/c.txt",
        "new/a.txt": "/a.txt",
        "other/name.txt": "/a.txt",
        "slash/b.jpg": "/deep/b.jpg",
        "slash/c.txt": "/deep/c.txt",
        "texts/a.txt": "/a.txt",
        "texts/deep/c.txt": "/deep/c.txt",
    }


def test_a_link_is_no_file_and_is_missed_by_nobody(call_dsvc: RunDsvc, repository: Path, outside: Path) -> None:
    call_dsvc("link", "add", "-r", outside.as_uri(), "--to", "raw", cwd=repository)
    call_dsvc("commit", "-qm", "links", cwd=repository)
    call_dsvc("add", "-A", cwd=repository)

    assert call_dsvc("status", "-s", cwd=repository).stdout == ""
    assert not (repository / "raw").exists()
    assert len(listed(call_dsvc, repository)) == 3
    (line,) = call_dsvc("ls", "-l", "raw/a.txt", cwd=repository).lines
    assert line.split() == ["external", "4", "-", "raw/a.txt", "->", f"{outside.as_uri()}/a.txt"]
    assert call_dsvc("fsck", cwd=repository).code == 0


def test_links_come_and_go_with_their_versions(call_dsvc: RunDsvc, repository: Path, outside: Path) -> None:
    (repository / "a.txt").write_text("a file")
    call_dsvc("add", ".", cwd=repository)
    call_dsvc("commit", "-qm", "file", cwd=repository)
    call_dsvc("rm", "-q", "a.txt", cwd=repository)
    call_dsvc("link", "add", f"{outside.as_uri()}/a.txt", cwd=repository)
    call_dsvc("commit", "-qm", "link", cwd=repository)

    call_dsvc("switch", "-q", "-d", "HEAD~1", cwd=repository)
    assert (repository / "a.txt").read_text() == "a file"
    call_dsvc("switch", "-q", "main", cwd=repository)
    assert not (repository / "a.txt").exists()
    assert call_dsvc("status", "-s", cwd=repository).stdout == ""


def test_a_file_at_the_path_of_a_link_is_a_change_and_can_be_taken_back(
    call_dsvc: RunDsvc, repository: Path, outside: Path
) -> None:
    call_dsvc("link", "add", f"{outside.as_uri()}/a.txt", cwd=repository)
    call_dsvc("commit", "-qm", "link", cwd=repository)
    (repository / "a.txt").write_text("mine")

    assert call_dsvc("status", "-s", cwd=repository).lines == [" T a.txt"]
    assert "something is there" in call_dsvc("link", "add", f"{outside.as_uri()}/a.txt", cwd=repository, code=5).stderr
    call_dsvc("restore", "a.txt", cwd=repository)
    assert not (repository / "a.txt").exists()
    (repository / "a.txt").write_text("mine")
    call_dsvc("add", "a.txt", cwd=repository)
    assert listed(call_dsvc, repository) == {}
    assert call_dsvc("cat", "a.txt", cwd=repository).stdout == "mine"


def test_what_was_changed_or_removed_meanwhile_is_told_and_never_given(
    call_dsvc: RunDsvc, repository: Path, web: WebServer
) -> None:
    web.pages |= {"/gone": b"x", "/same": b"same", "/hidden": b"x"}
    urls = [f"{web.url}/{name}" for name in ("data/labels.csv", "gone", "same", "hidden")]
    call_dsvc("link", "add", *urls, cwd=repository)
    call_dsvc("commit", "-qm", "links", cwd=repository)
    assert call_dsvc("link", "check", cwd=repository).stdout == ""
    web.pages["/data/labels.csv"] = b"dog,cat\n"
    del web.pages["/gone"]
    web.forbidden.add("/hidden")

    result = call_dsvc("link", "check", cwd=repository, code=1)
    assert [line.split()[:2] for line in result.lines] == [
        ["gone", "gone"], ["unknown", "hidden"], ["changed", "labels.csv"],
    ]  # fmt: skip
    assert "its etag is" in result.stdout
    records = [json.loads(line) for line in call_dsvc("link", "check", "--json", cwd=repository, code=1).lines]
    assert {one["path"]: one["state"] for one in records} == {
        "gone": "gone", "hidden": "unknown", "labels.csv": "changed", "same": "same",
    }  # fmt: skip
    assert {one["path"] for one in records if one["reason"]} == {"hidden", "labels.csv"}
    assert (
        f"labels.csv is a link to {urls[0]}, which has changed"
        in call_dsvc("cat", "labels.csv", cwd=repository, code=8).stderr
    )
    assert (
        f"gone is a link to {urls[1]}, where nothing is any more"
        in call_dsvc("cat", "gone", cwd=repository, code=4).stderr
    )
    assert "hidden" in call_dsvc("cat", "hidden", cwd=repository, code=7).stderr
    assert call_dsvc("link", "check", "--", "hidden", cwd=repository, code=7).stdout


def test_an_update_pins_what_is_there_now_and_nothing_if_one_is_gone(
    call_dsvc: RunDsvc, repository: Path, web: WebServer
) -> None:
    web.pages["/other"] = b"other"
    call_dsvc("link", "add", f"{web.url}/data/labels.csv", f"{web.url}/other", cwd=repository)
    web.pages |= {"/data/labels.csv": b"new and longer\n"}
    kept = web.pages.pop("/other")

    call_dsvc("link", "update", ".", cwd=repository, code=4)
    assert call_dsvc("link", "check", cwd=repository, code=1).stdout.startswith("changed")
    web.pages["/other"] = kept
    assert "1 link: 1 changed" in call_dsvc("link", "update", ".", cwd=repository).stderr
    assert call_dsvc("cat", "labels.csv", cwd=repository).stdout == "new and longer\n"
    assert "nothing changed" in call_dsvc("link", "update", "labels.csv", cwd=repository).stderr


def test_the_digest_is_kept_once_somebody_has_read_all(call_dsvc: RunDsvc, repository: Path, web: WebServer) -> None:
    call_dsvc("link", "add", "--digest", f"{web.url}/data/labels.csv", cwd=repository)
    call_dsvc("link", "add", f"{web.url}/data/labels.csv", "--to", "b", cwd=repository)
    call_dsvc("commit", "-qm", "links", cwd=repository)
    digest = blake3(b"cat,dog\n").hexdigest()

    assert [line.split()[2] for line in call_dsvc("ls", "-l", cwd=repository).lines] == ["-", digest]
    assert "staged 1 new digest" in call_dsvc("link", "check", "--digest", cwd=repository).stderr
    assert [line.split()[2] for line in call_dsvc("ls", "-l", cwd=repository).lines] == [digest, digest]
    assert call_dsvc("status", "-s", cwd=repository).lines == ["M  b"]
    # Pinned anew while it is the same, it is still known.
    call_dsvc("link", "update", "b", cwd=repository)
    assert call_dsvc("status", "-s", cwd=repository).lines == ["M  b"]


def test_content_that_hides_a_change_from_its_owner_is_found_by_its_digest(
    call_dsvc: RunDsvc, repository: Path, outside: Path
) -> None:
    file = outside / "a.txt"
    call_dsvc("link", "add", "--digest", file.as_uri(), cwd=repository)
    before = file.stat()
    file.write_text("ONE\n")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert call_dsvc("link", "check", cwd=repository).stdout == ""
    assert "its digest is another" in call_dsvc("link", "check", "--digest", cwd=repository, code=1).stdout
    assert "its digest is another" in call_dsvc("cat", "a.txt", cwd=repository, code=8).stderr


def test_vendoring_makes_files_of_links(call_dsvc: RunDsvc, repository: Path, outside: Path, web: WebServer) -> None:
    call_dsvc("link", "add", "-r", outside.as_uri(), "--to", "raw", cwd=repository)
    call_dsvc("link", "add", f"{web.url}/data/labels.csv", cwd=repository)

    call_dsvc("link", "vendor", "raw", "labels.csv", cwd=repository)

    assert listed(call_dsvc, repository) == {}
    assert (repository / "raw/deep/c.txt").read_text() == "three\n"
    call_dsvc("commit", "-qm", "files", cwd=repository)
    assert call_dsvc("cat", "HEAD:labels.csv", cwd=repository).stdout == "cat,dog\n"
    assert call_dsvc("status", "-s", cwd=repository).stdout == ""


def test_what_cannot_be_vendored_leaves_everything_as_it_was(
    call_dsvc: RunDsvc, repository: Path, outside: Path
) -> None:
    call_dsvc("link", "add", "-r", outside.as_uri(), "--to", "raw", cwd=repository)
    before = call_dsvc("ls", "-r", "-l", cwd=repository).stdout
    (outside / "deep/c.txt").write_text("another")

    call_dsvc("link", "vendor", "raw", cwd=repository, code=8)

    assert call_dsvc("ls", "-r", "-l", cwd=repository).stdout == before
    assert not (repository / "raw").exists()
    assert list((repository / ".dsvc/tmp").iterdir()) == []
    (repository / "raw").mkdir()
    (repository / "raw/a.txt").write_text("mine")
    call_dsvc("link", "vendor", "raw/a.txt", cwd=repository, code=5)
    assert (repository / "raw/a.txt").read_text() == "mine"


def test_links_are_moved_and_removed_by_path_and_by_url(call_dsvc: RunDsvc, repository: Path, outside: Path) -> None:
    url = outside.as_uri()
    call_dsvc("link", "add", "-r", url, "--to", "raw", cwd=repository)

    call_dsvc("mv", "raw", "data", cwd=repository)
    call_dsvc("mv", "data/a.txt", "data/deep", cwd=repository)
    assert list(listed(call_dsvc, repository)) == ["data/deep/a.txt", "data/deep/b.jpg", "data/deep/c.txt"]
    assert "exists" in call_dsvc("mv", "data/deep/a.txt", "data/deep/b.jpg", cwd=repository, code=5).stderr
    call_dsvc("rm", "-q", f"{url}/a.txt", cwd=repository)
    call_dsvc("rm", "-q", "data/deep/b.jpg", cwd=repository)
    assert list(listed(call_dsvc, repository)) == ["data/deep/c.txt"]
    call_dsvc("rm", "-q", f"{url}/deep/", cwd=repository)
    assert listed(call_dsvc, repository) == {}
    assert "no link leads to" in call_dsvc("rm", f"{url}/a.txt", cwd=repository, code=4).stderr


def test_links_of_others_are_followed_only_where_somebody_here_allows_it(
    call_dsvc: RunDsvc, repository: Path, tmp_path: Path, web: WebServer, outside: Path
) -> None:
    call_dsvc("link", "add", f"{web.url}/data/labels.csv", f"{outside.as_uri()}/a.txt", cwd=repository)
    call_dsvc("commit", "-qm", "links", cwd=repository)
    call_dsvc("clone", "-q", repository, "clone", cwd=tmp_path)
    clone = tmp_path / "clone"
    web.asked.clear()

    for words in (["cat", "labels.csv"], ["link", "check"], ["link", "update", "."], ["link", "vendor", "labels.csv"]):
        assert "nobody here has named" in call_dsvc(*words, cwd=clone, code=10).stderr
    assert web.asked == []
    assert call_dsvc("cat", "--links", "labels.csv", cwd=clone).stdout == "cat,dog\n"
    # No option makes somebody else's commit read a file of this machine.
    call_dsvc("cat", "--links", "a.txt", cwd=clone, code=10)
    call_dsvc("config", "links.allow", f"{web.url}/*,{outside.as_uri()}/*", cwd=clone)
    assert call_dsvc("cat", "labels.csv", "a.txt", cwd=clone).stdout == "cat,dog\none\n"
    assert call_dsvc("link", "check", cwd=clone).code == 0


def test_a_redirect_is_followed_within_a_server_and_elsewhere_only_where_that_is_allowed(
    call_dsvc: RunDsvc, repository: Path, web: WebServer
) -> None:
    web.moved["/moved.csv"] = "/data/labels.csv"
    web.pages["/other.csv"] = b"cat\n"
    with web_server() as other:
        other.pages["/secret.csv"] = b"key\n"

        call_dsvc("link", "add", f"{web.url}/moved.csv", f"{web.url}/other.csv", cwd=repository)
        assert call_dsvc("cat", "moved.csv", cwd=repository).stdout == "cat,dog\n"
        web.moved["/other.csv"] = f"{other.url}/secret.csv?token=hidden"
        refused = call_dsvc("cat", "other.csv", cwd=repository, code=10).stderr
        checked = call_dsvc("link", "check", cwd=repository, code=7).stdout
        added = call_dsvc("link", "add", "--digest", f"{web.url}/other.csv", cwd=repository, code=10).stderr

        told = f"{web.url}/other.csv leads on to {other.url}/secret.csv"
        assert all(told in said and "hidden" not in said for said in (refused, checked, added))
        assert "\nhint: if you trust that too, set `links.allow` " in refused
        assert not other.asked
        other.pages["/secret.csv?token=hidden"] = b"cat\n"
        call_dsvc("config", "links.allow", f"{other.url}/*", cwd=repository)
        call_dsvc("link", "update", "other.csv", cwd=repository)
        assert call_dsvc("cat", "other.csv", cwd=repository).stdout == "cat\n"
        call_dsvc("config", "--unset", "links.allow", cwd=repository)
        assert call_dsvc("cat", "--links", "other.csv", cwd=repository).stdout == "cat\n"


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://a.org/x", "http://a.org/y"),
        ("http://a.org/x", "https://A.org/y"),
        ("http://a.org/x", "https://a.org:8443/y"),
        ("https://a.org/x", "https://a.org:443/y"),
    ],
)
def test_a_server_may_send_to_itself_and_to_its_encrypted_side(url: str, target: str) -> None:
    assert is_within(URL(url), URL(target))


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://a.org/x", "http://a.org/y"),
        ("http://a.org/x", "http://a.org:8080/y"),
        ("https://a.org/x", "https://a.org:8443/y"),
        ("http://a.org/x", "https://b.a.org/y"),
        ("http://a.org/x", "http://169.254.169.254/latest/meta-data"),
    ],
)
def test_another_port_or_host_is_another_server(url: str, target: str) -> None:
    assert not is_within(URL(url), URL(target))


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("https://ada:secret@example.org/x", "a user or a password"),
        ("https://token@example.org/x", "a user or a password"),
        ("s3://key:secret@bucket/x", "a user or a password"),
        ("https://b.s3.amazonaws.com/x?X-Amz-Signature=ab&X-Amz-Date=1", "`X-Amz-Signature`"),
        ("https://a.blob.core.windows.net/c/x?sv=1&sig=secret", "`sig`"),
        ("https://storage.googleapis.com/b/x?X-Goog-Credential=secret", "`X-Goog-Credential`"),
        ("https://example.org/x?access_token=secret", "`access_token`"),
        ("https://example.org/x?a=1;Access-Key=secret", "`Access-Key`"),
        ("ftp://example.org/x", "a link is s3://"),
        ("/just/a/path", "a link is s3://"),
        ("file:///data/../etc/shadow", "it leads through"),
        ("https://data.example.org/open/%2e%2e/kept", "it leads through"),
        ("https://data.example.org/open/..%5Ckept", "it leads through"),
        ("file://host/x", "on this machine"),
        ("s3:///x", "it names no bucket"),
        ("https://example.org/x#part", "it has a fragment"),
    ],
)
def test_a_url_that_no_commit_may_hold_is_refused_and_its_secret_is_not_told(
    call_dsvc: RunDsvc, repository: Path, url: str, problem: str
) -> None:
    result = call_dsvc("link", "add", url, cwd=repository, code=2)

    assert problem in result.stderr
    assert "secret" not in result.stderr
    assert listed(call_dsvc, repository) == {}


def test_what_is_not_there_or_has_no_name_or_size_is_said(
    call_dsvc: RunDsvc, repository: Path, web: WebServer, outside: Path
) -> None:
    web.pages |= {"/": b"root", "/shy": b"shy"}
    web.shy.add("/shy")

    def error(*words: str, code: int) -> str:
        return call_dsvc("link", "add", *words, cwd=repository, code=code).stderr

    assert "there is nothing at" in error(f"{web.url}/nothing", code=4)
    assert "ends with no name" in error(f"{web.url}/", code=2)
    assert "does not say how large it is" in error(f"{web.url}/shy", code=7)
    assert "is a folder" in error(outside.as_uri(), code=2)
    assert "no object is at" in error(f"{outside.as_uri()}/*.gif", code=4)
    assert "something is there" in error(f"{web.url}/data/labels.csv", f"{web.url}/data/labels.csv", code=5)
    assert "nobody answers" in error("http://127.0.0.1:1/x", code=7)
    assert listed(call_dsvc, repository) == {}
    call_dsvc("link", "add", "--digest", f"{web.url}/shy", cwd=repository)
    call_dsvc("link", "add", f"{web.url}/", "--to", "root.html", cwd=repository)
    assert call_dsvc("cat", "shy", "root.html", cwd=repository).stdout == "shyroot"


def test_a_part_of_what_a_link_leads_to_is_read_alone(call_dsvc: RunDsvc, repository: Path, web: WebServer) -> None:
    web.pages["/large"] = bytes(range(256)) * 100
    call_dsvc("link", "add", f"{web.url}/large", cwd=repository)

    web.pages["/whole"] = web.pages["/large"]
    web.whole.add("/whole")
    call_dsvc("link", "add", f"{web.url}/whole", cwd=repository)

    assert call_dsvc("cat", "--range", "25600:", "large", cwd=repository).stdout == ""
    assert call_dsvc("cat", "--range", "97+3", "whole", cwd=repository).stdout == "abc"
    assert call_dsvc("cat", "--range", "97+3", "large", cwd=repository).stdout == "abc"


def test_adding_a_url_like_a_file_says_what_to_type(call_dsvc: RunDsvc, repository: Path) -> None:
    result = call_dsvc("add", "s3://bucket/x", cwd=repository, code=2)
    assert "`dsvc link add`" in result.stderr


def test_a_change_of_a_link_is_shown_with_where_it_leads(call_dsvc: RunDsvc, repository: Path, web: WebServer) -> None:
    call_dsvc("link", "add", f"{web.url}/data/labels.csv", cwd=repository)
    call_dsvc("commit", "-qm", "link", cwd=repository)
    web.pages["/data/labels.csv"] = b"another"
    call_dsvc("link", "update", ".", cwd=repository)

    lines = [line for line in call_dsvc("diff", "--staged", cwd=repository).lines if line.startswith(("+", "-"))]
    assert [line.split(" etag")[0] for line in lines] == [
        f"-link {web.url}/data/labels.csv 8 B",
        f"+link {web.url}/data/labels.csv 7 B",
    ]


def test_many_urls_come_from_a_file_each_with_its_path(
    call_dsvc: RunDsvc, repository: Path, web: WebServer, tmp_path: Path
) -> None:
    for number in range(20):
        web.pages[f"/page{number}"] = b"%d" % number
    lines = [f"{web.url}/page{number}" for number in range(18)]
    file = tmp_path / "urls"
    file.write_text("\n".join([*lines, f"{web.url}/page18\tdeep/name", f"{web.url}/page19\tdeep/", ""]))
    call_dsvc("link", "add", "--urls-from-file", file, "--to", "pages", cwd=repository)

    found = listed(call_dsvc, repository)
    assert found["deep/name"] == f"{web.url}/page18"
    assert found["deep/page19"] == f"{web.url}/page19"
    assert found["pages/page7"] == f"{web.url}/page7"
    assert len(found) == 20
    call_dsvc("link", "add", cwd=repository, code=2)
    call_dsvc("link", "add", "--urls-from-file", tmp_path / "nothing", cwd=repository, code=4)


def test_an_edit_within_a_second_is_seen(call_dsvc: RunDsvc, repository: Path, outside: Path) -> None:
    file = outside / "a.txt"
    os.utime(file, ns=(10**18 + 1000, 10**18 + 1000))
    call_dsvc("link", "add", file.as_uri(), cwd=repository)
    file.write_text("ONE\n")
    os.utime(file, ns=(10**18 + 500_000_000, 10**18 + 500_000_000))

    assert "it was modified" in call_dsvc("link", "check", cwd=repository, code=1).stdout


def test_an_empty_folder_in_which_links_are_is_none(call_dsvc: RunDsvc, repository: Path, outside: Path) -> None:
    call_dsvc("link", "add", f"{outside.as_uri()}/a.txt", "--to", "raw/", cwd=repository)
    (repository / "raw").mkdir()

    assert call_dsvc("add", "-A", cwd=repository).stderr == "nothing changed\n"
    assert list(listed(call_dsvc, repository)) == ["raw/a.txt"]
    assert call_dsvc("status", "-s", cwd=repository).lines == ["A  raw/a.txt"]


def test_to_take_a_side_takes_its_link(call_dsvc: RunDsvc, repository: Path, outside: Path) -> None:
    def commit(branch: str, **links: str) -> None:
        for path, source in links.items():
            call_dsvc("rm", "-q", "--ignore-unmatch", path, cwd=repository)
            if source:
                call_dsvc("link", "add", f"{outside.as_uri()}/{source}", "--to", path, cwd=repository)
            else:
                (repository / path).write_text("file")
                call_dsvc("add", path, cwd=repository)
        call_dsvc("commit", "-qm", branch, cwd=repository)

    commit("base", both="a.txt", file="a.txt", link="a.txt")
    call_dsvc("switch", "-q", "-c", "side", cwd=repository)
    commit("side", both="deep/b.jpg", file="", link="deep/b.jpg")
    call_dsvc("switch", "-q", "main", cwd=repository)
    commit("main", both="deep/c.txt", file="deep/c.txt", link="")

    call_dsvc("merge", "side", cwd=repository, code=5)
    call_dsvc("restore", "--theirs", ".", cwd=repository)
    call_dsvc("add", "both", "file", "link", cwd=repository)
    call_dsvc("merge", "-q", "--continue", cwd=repository)

    side = f"{outside.as_uri()}/deep/b.jpg"
    assert listed(call_dsvc, repository) == {"both": side, "link": side}
    assert [path.name for path in repository.iterdir() if path.name != ".dsvc"] == ["file"]
    assert call_dsvc("diff", "--name-only", "side", "HEAD", cwd=repository).lines == []
    assert call_dsvc("status", "-s", cwd=repository).lines == []
