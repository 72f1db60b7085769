"""dsvc show, as a person meets it."""

import json
from pathlib import Path
from typing import NamedTuple

import pytest

from dsvc.model.ids import ObjectId, hash_object
from tests.conftest import RunDsvc
from tests.history_support import Versions

IMAGE = bytes(range(256)) * 20


class Past(NamedTuple):
    """A repository with three versions: the second changes things, the third merges nothing new."""

    folder: Path
    first: ObjectId
    second: ObjectId
    merge: ObjectId
    tag: ObjectId


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Past:
    folder = tmp_path_factory.mktemp("repository")
    versions = Versions(folder)
    files = {b"a.txt": b"one\ntwo\n", b"data/image.png": IMAGE, b"data/old": b"same\n"}
    files |= {b"empty/": b"", b"run*": b"#!\n"}
    first = versions.make(files, "first")
    changed = {**files, b"a.txt": b"one\n2\n", b"data/image.png": IMAGE + b"\0", b"data/new": b"same\n"}
    del changed[b"data/old"]
    second = versions.make(changed, "second\n\nWith a body.", parents=[first])
    merge = versions.make({**changed, b"caf\xe9": b"x"}, "merge", parents=[second, first])
    tag = versions.tag("v1", second)
    return Past(folder, first, second, merge, tag)


def test_a_commit_is_shown_with_the_sizes_of_what_it_changed(past: Past, run_dsvc: RunDsvc) -> None:
    shown = run_dsvc("show", "HEAD~1", cwd=past.folder).lines

    assert shown == [
        f"commit {past.second}",
        "Author: Ada <ada@example.org>",
        "Date:   Mon Aug 3 14:00:00 2026 +0200",
        "",
        "    second",
        "",
        "    With a body.",
        "",
        " a.txt                | 8 B → 6 B  -2 B",
        " data/image.png       | 5.0 KiB → 5.0 KiB  +1 B",
        " data/old => data/new | 5 B → 5 B",
        " 3 files changed: 2 modified, 1 renamed  +1 B  -2 B",
    ]


def test_a_merge_is_shown_with_what_it_changed_since_its_first_parent(past: Past, run_dsvc: RunDsvc) -> None:
    assert run_dsvc("show", "--format=%s", "--name-status", cwd=past.folder).lines == ["merge", 'A\t"caf\\351"']


def test_a_patch_is_shown_where_it_is_asked_for(past: Past, run_dsvc: RunDsvc) -> None:
    shown = run_dsvc("show", "--oneline", "-p", "v1^{}", cwd=past.folder).lines

    digests = [hash_object(0, content).hex()[:10] for content in (b"one\ntwo\n", b"one\n2\n", IMAGE, IMAGE + b"\0")]
    assert shown == [
        f"{past.second.short} second",
        "diff --git a/a.txt b/a.txt",
        f"index {digests[0]}..{digests[1]} 100644",
        "--- a/a.txt",
        "+++ b/a.txt",
        "@@ -1,2 +1,2 @@",
        " one",
        "-two",
        "+2",
        "diff --git a/data/image.png b/data/image.png",
        f"index {digests[2]}..{digests[3]} 100644",
        "Binary files a/data/image.png and b/data/image.png differ: 5.0 KiB → 5.0 KiB, 5 of 6 chunks shared",
        "diff --git a/data/old b/data/new",
        "similarity index 100%",
        "rename from data/old",
        "rename to data/new",
    ]


def test_changes_are_shown_of_the_paths_asked_for_or_not_at_all(past: Past, run_dsvc: RunDsvc) -> None:
    assert run_dsvc("show", "v1^{}", "--oneline", "--name-only", "--", "data/image.png", cwd=past.folder).lines == [
        f"{past.second.short} second",
        "data/image.png",
    ]
    assert run_dsvc("show", "-s", "--oneline", cwd=past.folder).lines == [f"{past.merge.short} merge"]
    unjoined = run_dsvc("show", "v1^{}", "--format=%s", "--name-status", "--no-renames", "-z", cwd=past.folder).stdout
    assert unjoined == "second\nM\0a.txt\0M\0data/image.png\0A\0data/new\0D\0data/old\0"


def test_a_tag_is_shown_with_its_commit(past: Past, run_dsvc: RunDsvc) -> None:
    assert run_dsvc("show", "v1", "-s", "--oneline", cwd=past.folder).lines == [
        "tag v1",
        "Tagger: Ada <ada@example.org>",
        "Date:   Sat Aug 1 12:00:00 2026 +0000",
        "",
        "a tag",
        "",
        f"{past.second.short} second",
    ]


def test_the_bytes_of_a_file_come_out_as_they_are(past: Past, run_dsvc: RunDsvc) -> None:
    (past.folder / "data").mkdir(exist_ok=True)

    for text, folder in (("v1:data/image.png", past.folder), ("v1:./image.png", past.folder / "data")):
        assert run_dsvc("show", text, cwd=folder).stdout.encode("utf-8", "surrogateescape") == IMAGE + b"\0"
    assert run_dsvc("show", "HEAD~2:a.txt", "HEAD:a.txt", cwd=past.folder).stdout == "one\ntwo\n\none\n2\n"
    assert run_dsvc("show", ":a.txt", cwd=past.folder).stdout == "one\n2\n"
    by_digest = run_dsvc("show", hash_object(0, b"one\n2\n").hex()[:12], cwd=past.folder)
    assert by_digest.stdout == "one\n2\n"


def test_folders_and_trees_are_shown_as_lists(past: Past, run_dsvc: RunDsvc) -> None:
    assert run_dsvc("show", "v1:data", cwd=past.folder).lines == ["tree v1:data", "", "image.png", "new"]
    assert run_dsvc("show", "HEAD^{tree}", cwd=past.folder).lines == [
        "tree HEAD^{tree}", "", "a.txt", '"caf\\351"', "data/", "empty/", "run",
    ]  # fmt: skip


def test_json_has_an_object_for_each_thing_shown(past: Past, run_dsvc: RunDsvc) -> None:
    records = [json.loads(line) for line in run_dsvc("show", "--json", "v1", cwd=past.folder).lines]

    assert [one["kind"] for one in records] == ["tag", "commit", "change", "change", "change"]
    assert records[0]["target"] == records[1]["commit"] == past.second.hex()
    assert (records[4]["change"], records[4]["old_path"], records[4]["path"]) == ("renamed", "data/old", "data/new")
    assert len(records[3]["new"]["blob"]) == 64
    (odd,) = (json.loads(line) for line in run_dsvc("show", "--json", cwd=past.folder).lines[1:])
    assert odd["path_b64"] == "Y2Fm6Q=="


def test_what_is_not_there_is_named(past: Past, run_dsvc: RunDsvc) -> None:
    assert run_dsvc("show", "v9", cwd=past.folder, code=4).stderr == "error: unknown revision `v9`\n"
    assert run_dsvc("show", "v1:nothing", cwd=past.folder, code=4).stderr == "error: nothing is not in `v1`\n"
    assert "unknown revision `v9`" in run_dsvc("show", "v9:a.txt", cwd=past.folder, code=4).stderr
