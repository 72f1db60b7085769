"""What a few entries have more than the others, and what of it is believed."""

from pathlib import Path

import pytest

from dsvc.datasets.link_policy import LinkPolicy
from dsvc.errors import CorruptionError
from dsvc.history.entry_layout import InvalidEntryError
from dsvc.history.extensions import MetadataTooLargeError, read_extensions, write_extension
from dsvc.maintenance.fsck import fsck
from dsvc.model.codec import FORMAT_VERSION, encode
from dsvc.model.extension import Extension, Link
from dsvc.model.ids import Kind
from dsvc.model.tree import Entry, EntryKind
from dsvc.odb.objects import MemoryObjects
from dsvc.worktree.stage import stage
from dsvc.worktree.stat_cache import pack_row
from tests.history_support import entry
from tests.worktree_support import make_worktree

LINK = Link("s3://bucket/x", "tag", "", 5)


def external(objects: MemoryObjects, link: Link | None, metadata: str = "{}") -> Entry:
    extension = objects.write(Kind.EXTENSION, encode(Extension(FORMAT_VERSION, link, metadata)))
    return Entry(b"far", EntryKind.EXTERNAL, 5, b"", None, bytes(extension))


def test_extensions_come_back_and_an_empty_one_is_none() -> None:
    objects = MemoryObjects()
    said = write_extension(objects, None, {"b": 1.0, "a": "x"})
    entries = [external(objects, LINK), entry(b"near"), Entry(b"said", 0, 0, entry(b"", b"").digest, None, said)]

    found = read_extensions(objects, entries)

    assert [one.link for one in found] == [LINK, None, None]
    assert [one.metadata for one in found] == ["{}", "{}", '{"a":"x","b":1}']
    assert write_extension(objects, None, {}) is None


@pytest.mark.parametrize(
    ("link", "metadata"),
    [
        (None, "{}"),
        (None, '{"a":1}'),
        (Link("s3://bucket/a/../b"), "{}"),
        (Link("https://h/a/%2E./b"), "{}"),
        (Link("https://ada:pass@example.org/"), "{}"),
        (Link("javascript:alert(1)"), "{}"),
        (Link("https://example.org/\x1b[2J"), "{}"),
        (Link("s3://bucket/x", "\x1b]0;x"), "{}"),
        (Link("s3://bucket/x", "", "\u202e"), "{}"),
        (Link("s3://bucket/x", "", "", 1 << 62), "{}"),
        (LINK, '{"a": 1}'),
        (LINK, "[]"),
    ],
)
def test_an_external_entry_of_a_hostile_commit_is_not_believed(link: Link | None, metadata: str) -> None:
    objects = MemoryObjects()

    with pytest.raises(CorruptionError):
        read_extensions(objects, [external(objects, link, metadata)])


def test_a_link_on_a_file_is_not_believed() -> None:
    objects = MemoryObjects()
    one = entry(b"near")
    linked = Entry(one.path, one.kind, one.size, one.digest, None, write_extension(objects, LINK))

    with pytest.raises(CorruptionError):
        read_extensions(objects, [linked])


def test_metadata_has_an_end() -> None:
    with pytest.raises(MetadataTooLargeError):
        write_extension(MemoryObjects(), None, {"a": "x" * (1 << 20)})


def test_an_external_entry_that_says_nowhere_is_in_no_tree(tmp_path: Path) -> None:
    worktree = make_worktree(tmp_path / "repository")
    nowhere = Entry(b"far", EntryKind.EXTERNAL, 5, b"")

    with pytest.raises(InvalidEntryError):
        stage(worktree, worktree.store.writer(), [(b"far", nowhere)], [pack_row(nowhere, b"")])


def test_fsck_finds_extensions_that_are_malformed_or_do_not_fit(tmp_path: Path) -> None:
    worktree = make_worktree(tmp_path / "repository")
    writer = worktree.store.writer()
    good = external(writer, LINK)  # type: ignore[arg-type]  # it only writes
    bad = external(writer, Link("file://elsewhere/x"))  # type: ignore[arg-type]  # as above
    entries = [good, Entry(b"wrong", EntryKind.EXTERNAL, 5, b"", None, bad.extension)]
    stage(worktree, writer, [(one.path, one) for one in entries], [pack_row(one, b"") for one in entries])

    report = fsck(worktree.store)

    assert [finding.name for finding in report.findings if finding.part.value == "object"] == [
        (bad.extension or b"").hex()
    ]
    assert [lost.path for lost in report.lost] == [b"wrong"]


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("s3://bucket/raw/a", True),
        ("s3://bucket/raw", False),
        ("s3://bucket/rawest", False),
        ("s3://bucket/one", True),
        ("s3://bucket/one/more", False),
        ("https://data.example.org/x", True),
        ("https://data.example.org.evil.example/x", False),
        ("https://evil.example/https://data.example.org/x", False),
        ("file:///etc/shadow", False),
    ],
)
def test_only_what_was_named_or_allowed_may_be_read(url: str, *, allowed: bool) -> None:
    policy = LinkPolicy(frozenset({"s3://bucket/raw/", "s3://bucket/one"}), ("https://data.example.org/*",))

    assert policy.allows(url) is allowed
    assert LinkPolicy(anything=True).allows(url) is not url.startswith("file:")
