"""What goes wrong in clearml-data, shown not to here: the defects that dsvc-clearml(7) lists.

A defect of something that has tests of its own is shown there, by a test whose name begins with `test_clearml_` too.
"""

import os
from pathlib import Path
from typing import Final

import msgspec
import pytest

from dsvc.log.entry import RefChange
from dsvc.log.sessions import UploadSession
from dsvc.model.codec import encode
from dsvc.model.ids import Kind
from dsvc.storage.local import LocalBackend
from tests.forked import Desk, desk
from tests.transport_support import make_context, noise
from tests.worktree_support import Content, Executable, open_copy, read_files

__all__ = ["desk"]

# The test that shows each of them absent, here or with what it is a defect of.
TESTS: Final = {
    "silent partial get": "test_clearml_silent_partial_get__what_is_damaged_is_an_error_and_no_folder",
    "links missing without error": "test_clearml_links_missing_without_error__a_version_with_one_is_not_got",
    "removed-after-upload file reappears": "test_clearml_removed_file_reappears__it_is_in_no_copy",
    "squash resurrects": "test_clearml_squash_resurrects__what_was_removed_on_the_way_stays_removed",
    "rename not fetchable": "test_clearml_rename_not_fetchable__content_is_had_under_any_name",
    "sync state not saved": (
        "test_clearml_sync_state_not_saved__a_killed_sync_leaves_the_version_before_or_the_one_after"
    ),
    "delete guard dead": "test_delete_protects_children_as_clearml_does_not",
    "cache deletes in-use folder": "test_a_tree_in_use_is_never_evicted",
    "lost exec bit": "test_clearml_lost_exec_bit__it_comes_through_a_remote",
    "exponential ancestor walk": "test_clearml_exponential_ancestor_walk__forty_stacked_merges_are_walked_once",
    "O(files x chunks) state upload": "test_clearml_state_upload__a_push_sends_what_is_new_and_one_entry_of_the_log",
    "verify exit 0": "test_clearml_verify_exits_with_0__any_mismatch_is_told_and_is_a_failure",
    "read mutates aborted version": "test_clearml_read_mutates_aborted_version__nothing_that_reads_writes",
    "absolute URLs": "test_clearml_absolute_urls__a_store_that_moved_is_the_same_store",
    "version number crashes": "test_clearml_version_number_crashes__any_text_is_one_and_the_next_is_found",
}


@pytest.mark.parametrize("defect", TESTS)
def test_each_defect_has_its_test(defect: str) -> None:
    tests = Path(__file__).parent.glob("test_*.py")

    assert any(f"def {TESTS[defect]}(" in test.read_text("utf-8") for test in tests)


def cache(desk: Desk) -> list[str]:
    return ["-c", f"cache.dir={desk.folder / 'cache'}", "-c", "cache.keep=0s"]


def got(desk: Desk, address: str) -> Path:
    """Get a version, and return the folder that it is in."""
    return Path(desk(*cache(desk), "get", address).stdout.removesuffix("\n"))


def remote_of(desk: Desk) -> Path:
    """Push everything to a new remote, and return its folder."""
    folder = desk.folder / "remote"
    desk("remote", "add", "origin", folder)
    desk("push", "-q", "origin", "main")
    return folder


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_clearml_silent_partial_get__what_is_damaged_is_an_error_and_no_folder(desk: Desk) -> None:
    desk.commit({b"small": b"s", b"large": noise(1, 300_000)})
    remote = remote_of(desk)
    packs = [path for path in (remote / "packs").rglob("*") if path.is_file()]
    largest = max(packs, key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[100_000] ^= 1
    largest.chmod(0o600)
    largest.write_bytes(content)

    result = desk(*cache(desk), "get", f"{remote}#main", code=8)

    assert result.stdout == ""
    assert not any(path.is_dir() and (path / "small").exists() for path in (desk.folder / "cache").rglob("*"))


def test_clearml_links_missing_without_error__a_version_with_one_is_not_got(desk: Desk) -> None:
    outside = desk.folder / "outside"
    outside.write_bytes(b"elsewhere")
    desk("link", "add", "-q", f"file://{outside}", "--to", "linked")
    desk("commit", "-qm", "with a link")
    there = got(desk, "main")
    assert read_files(there) == {b"linked": b"elsewhere"}
    desk(*cache(desk), "cache", "gc", "-q", "--max-size", "0")
    outside.unlink()

    result = desk(*cache(desk), "get", "main", code=4)

    assert "linked" in result.stderr
    assert (result.stdout, there.exists()) == ("", False)


def test_clearml_removed_file_reappears__it_is_in_no_copy(desk: Desk) -> None:
    for name in ("kept", "dropped"):
        (desk.work / name).write_text(name)
    desk("add", "-q", "-A")
    desk("rm", "-q", "--cached", "dropped")
    desk("commit", "-qm", "first")
    remote = remote_of(desk)

    folder = got(desk, f"{remote}#main")

    assert read_files(folder) == {b"kept": b"kept"}


def test_clearml_rename_not_fetchable__content_is_had_under_any_name(desk: Desk) -> None:
    desk.commit({b"old": noise(2, 100_000)})
    remote = remote_of(desk)
    desk("mv", "old", "new")
    (desk.work / "copy").write_bytes(noise(2, 100_000))
    desk("add", "-q", "copy")
    desk("commit", "-qm", "renamed and copied")

    sent = desk.json("push", "origin", "main")[-1]["sent_bytes"]
    folder = got(desk, f"{remote}#main")

    assert sent < 10_000
    assert read_files(folder) == {b"new": noise(2, 100_000), b"copy": noise(2, 100_000)}


def test_clearml_lost_exec_bit__it_comes_through_a_remote(desk: Desk) -> None:
    files: dict[bytes, Content] = {b"plain": b"x", b"tool": Executable(b"x")}
    desk.commit(files)
    remote = remote_of(desk)

    desk(*cache(desk), "get", f"{remote}#main", "--to", desk.folder / "copy")
    desk("clone", "-q", remote, desk.folder / "clone")

    assert read_files(desk.folder / "copy") == files
    assert read_files(desk.folder / "clone") == files
    assert os.access(got(desk, f"{remote}#main") / "tool", os.X_OK)


def test_clearml_exponential_ancestor_walk__forty_stacked_merges_are_walked_once(desk: Desk) -> None:
    desk.commit({b"a": b"a"})
    stack_merges(desk, 40)

    assert len(desk.lines("graph", "--all", "--full", "--json")) == 121
    assert len(desk.lines("log", "--format=%h")) == 121
    remote = remote_of(desk)
    assert read_files(got(desk, f"{remote}#main")) == {b"a": b"a"}


def stack_merges(desk: Desk, count: int) -> None:
    """Put *count* merges on top of the version of main, each of two versions of the one below."""
    worktree = open_copy(desk.work)
    state = worktree.store.state()
    head = worktree.session(state).commit(state)
    assert head is not None
    base = worktree.commit_of(head)
    writer = worktree.store.writer()

    def make(message: str, *parents: bytes) -> bytes:
        commit = msgspec.structs.replace(base, parents=list(parents), message=message)
        return bytes(writer.write(Kind.COMMIT, encode(commit)))

    top = bytes(head)
    for number in range(count):
        top = make(f"merge {number}", make(f"left {number}", top), make(f"right {number}", top))
    sealed = [writer.seal()]
    worktree.store.publish(lambda _: [RefChange("refs/heads/main", head.hex(), top.hex())], sealed)


def test_clearml_state_upload__a_push_sends_what_is_new_and_one_entry_of_the_log(desk: Desk) -> None:
    desk.commit({b"%d/%d" % (number % 10, number): b"%d" % number for number in range(2000)})
    remote = remote_of(desk)
    before = snapshot(remote)
    (desk.work / "3" / "new").write_bytes(noise(3, 200_000))
    desk("add", "-q", "-A")
    desk("commit", "-qm", "one more")

    desk("push", "-q", "origin", "main")

    new = {name: content for name, content in snapshot(remote).items() if before.get(name) != content}
    assert sum(map(len, new.values())) < 300_000
    assert sum(name.startswith("log/0/") for name in new) == 1


def test_clearml_read_mutates_aborted_version__nothing_that_reads_writes(desk: Desk) -> None:
    commit = desk.commit({b"a": b"a"})
    remote = remote_of(desk)
    session = UploadSession(LocalBackend(remote), make_context(), process=7)
    session.start({"refs/heads/more": "ab" * 32}, 100)
    session.fail(KeyboardInterrupt())
    before = snapshot(remote)

    states = [record["state"] for record in desk.json("list", "origin")]
    desk("log", "--state=origin")
    desk("fetch", "-q", "origin")
    got(desk, f"{remote}#{commit}")
    desk("whouses", "main", "origin", code=1)

    assert states == ["aborted", "final"]
    assert snapshot(remote) == before


def test_clearml_absolute_urls__a_store_that_moved_is_the_same_store(desk: Desk) -> None:
    desk.commit({b"a": b"a" * 5000})
    remote = remote_of(desk)
    moved = desk.folder / "elsewhere" / "moved"
    moved.parent.mkdir()
    remote.rename(moved)

    assert not any(os.fsencode(remote) in content for content in snapshot(moved).values())
    desk("remote", "set-url", "origin", moved)
    desk("fetch", "-q", "origin")
    assert read_files(got(desk, f"{moved}#main")) == {b"a": b"a" * 5000}


def test_clearml_version_number_crashes__any_text_is_one_and_the_next_is_found(desk: Desk) -> None:
    desk.commit({b"a": b"a"})
    for version in ("1.0.0+abc", "2026-08", "final_v2"):
        desk("publish", "-q", f"main@{version}")

    desk("publish", "-q", "main", "--next", "patch")

    names = {record["name"] for record in desk.json("list") if record["kind"] == "version"}
    assert names == {"main@1.0.0+abc", "main@2026-08", "main@final_v2", "main@1.0.1"}
