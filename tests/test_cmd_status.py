"""dsvc status, and that it sees every edit."""

import json
import os
import random
from pathlib import Path

import pytest

from dsvc.worktree.pathspec import Pathspec
from dsvc.worktree.stat_cache import DamagedCacheError, StatCache
from dsvc.worktree.status import read_status
from tests.conftest import RunDsvc
from tests.worktree_support import add_all, make_worktree


@pytest.fixture
def folder(run_dsvc: RunDsvc, repository_folder: Path) -> Path:
    """A repository with one commit: a, b, c/d."""
    (repository_folder / "c").mkdir()
    for name in ("a", "b", "c/d"):
        (repository_folder / name).write_text(f"{name} of the first commit")
    run_dsvc("add", ".", cwd=repository_folder)
    run_dsvc("commit", "-qm", "first", cwd=repository_folder)
    return repository_folder


def change_everything(run_dsvc: RunDsvc, folder: Path) -> None:
    run_dsvc("mv", "a", "moved", cwd=folder)
    (folder / "b").write_text("staged")
    run_dsvc("add", "b", cwd=folder)
    (folder / "b").write_text("and edited")
    (folder / "c/d").unlink()
    (folder / "new folder").mkdir()
    (folder / "new folder/x").write_text("x")
    (folder / "new folder/y").write_text("y")
    (folder / ".dsvcignore").write_text("*.log\n")
    (folder / "z.log").write_text("z")


def test_the_long_form_reads_like_gits(run_dsvc: RunDsvc, folder: Path) -> None:
    change_everything(run_dsvc, folder)

    assert run_dsvc("status", "--ignored", cwd=folder).stdout == (
        "On branch main\n"
        "Changes to be committed:\n"
        '  (use "dsvc restore --staged <file>..." to unstage)\n'
        "\tmodified:   b (21 B -> 6 B)\n"
        "\trenamed:    a -> moved\n"
        "\n"
        "Changes not staged for commit:\n"
        '  (use "dsvc add/rm <file>..." to update what will be committed)\n'
        '  (use "dsvc restore <file>..." to discard changes in the working folder)\n'
        "\tmodified:   b (6 B -> 10 B)\n"
        "\tdeleted:    c/d\n"
        "\n"
        "Untracked files:\n"
        '  (use "dsvc add <file>..." to include in what will be committed)\n'
        "\t.dsvcignore\n"
        "\tnew folder/\n"
        "\n"
        "Ignored files:\n"
        '  (use "dsvc add -f <file>..." to include in what will be committed)\n'
        "\tz.log\n"
        "\n"
    )


def test_short_and_porcelain_forms_are_gits(run_dsvc: RunDsvc, folder: Path) -> None:
    change_everything(run_dsvc, folder)
    changes = ["MM b", " D c/d", "R  a -> moved"]
    below = ["MM ../b", " D d", "R  ../a -> ../moved"]

    assert run_dsvc("status", "-sb", cwd=folder).lines == ["## main", *changes, "?? .dsvcignore", '?? "new folder/"']
    assert run_dsvc("status", "-s", "-uno", cwd=folder).lines == changes
    assert run_dsvc("status", "--porcelain", "-u", "--ignored", cwd=folder).lines == [
        *changes, "?? .dsvcignore", '?? "new folder/x"', '?? "new folder/y"', "!! z.log",
    ]  # fmt: skip
    (folder / "c").mkdir(exist_ok=True)
    assert run_dsvc("status", "-s", "-uno", cwd=folder / "c").lines == below
    assert run_dsvc("status", "--porcelain", "-uno", cwd=folder / "c").lines == changes
    assert run_dsvc("status", "-z", "-uno", cwd=folder).stdout == "MM b\0 D c/d\0R  moved\0a\0"


def test_json_has_a_line_for_head_and_one_for_each_path(run_dsvc: RunDsvc, folder: Path) -> None:
    change_everything(run_dsvc, folder)
    with open(os.fsencode(folder) + b"/bad\xff", "wb"):  # noqa: PTH123 (bytes)
        pass

    head, *records = map(json.loads, run_dsvc("status", "--json", cwd=folder).lines)

    assert (head["kind"], head["branch"], len(head["commit"]), head["upstream"]) == ("head", "main", 64, None)
    assert records == [
        {"kind": "change", "path": "b", "staged": "modified", "unstaged": "modified", "size": 10},
        {"kind": "change", "path": "c/d", "staged": None, "unstaged": "deleted", "size": None},
        {"kind": "change", "path": "moved", "staged": "renamed", "unstaged": None, "size": 21, "old_path": "a"},
        {"kind": "untracked", "path": ".dsvcignore"},
        {"kind": "untracked", "path": "bad\ufffd", "path_b64": "YmFk/w=="},
        {"kind": "untracked", "path": "new folder/"},
    ]


def test_paths_limit_what_is_shown(run_dsvc: RunDsvc, folder: Path) -> None:
    change_everything(run_dsvc, folder)

    assert run_dsvc("status", "-s", "c", "*.log", cwd=folder).lines == [" D c/d"]
    assert run_dsvc("status", "-s", "nothing", cwd=folder).lines == []


def test_nothing_to_commit_is_said_in_the_words_of_git(run_dsvc: RunDsvc, repository_folder: Path) -> None:
    def last() -> str:
        return run_dsvc("status", cwd=repository_folder).lines[-1]

    assert "No commits yet" in run_dsvc("status", cwd=repository_folder).lines
    assert last() == 'nothing to commit (create/copy files and use "dsvc add" to track)'
    (repository_folder / "a").write_text("a")
    assert last() == 'nothing added to commit but untracked files present (use "dsvc add" to track)'
    run_dsvc("add", "a", cwd=repository_folder)
    assert '  (use "dsvc rm --cached <file>..." to unstage)' in run_dsvc("status", cwd=repository_folder).lines
    run_dsvc("commit", "-qm", "x", cwd=repository_folder)
    assert last() == "nothing to commit, working tree clean"
    (repository_folder / "a").write_text("b")
    assert last() == 'no changes added to commit (use "dsvc add" and/or "dsvc commit -a")'


def test_a_file_of_another_type_or_mode_is_seen(run_dsvc: RunDsvc, folder: Path) -> None:
    (folder / "a").chmod(0o755)
    (folder / "b").unlink()
    (folder / "b").symlink_to("a")

    assert run_dsvc("status", "-s", cwd=folder).lines == [" M a", " T b"]


def test_what_is_ignored_and_tracked_is_followed(run_dsvc: RunDsvc, folder: Path) -> None:
    (folder / ".dsvcignore").write_text("*\n")
    (folder / "c/d").write_text("edited")
    (folder / "a").unlink()

    assert run_dsvc("status", "-s", cwd=folder).lines == [" D a", " M c/d"]


# The stat cache


def test_a_missing_or_damaged_stat_cache_is_made_anew(run_dsvc: RunDsvc, folder: Path) -> None:
    database = folder / ".dsvc/worktree.db"
    (folder / "a").write_text("edited")

    for damaged in (None, b"", b"no database at all", database.read_bytes()[:1000]):
        for name in ("worktree.db-wal", "worktree.db-shm"):
            (folder / ".dsvc" / name).unlink(missing_ok=True)
        if damaged is None:
            database.unlink()
        else:
            database.write_bytes(damaged)

        assert run_dsvc("status", "-s", cwd=folder).lines == [" M a"]
        assert run_dsvc("status", "-s", cwd=folder).lines == [" M a"]


def test_damage_in_the_middle_of_the_stat_cache_is_noticed_and_mended(run_dsvc: RunDsvc, tmp_path: Path) -> None:
    worktree = make_worktree(tmp_path / "w")
    for number in range(2000):
        (worktree.root / f"{number:040}").write_text(str(number))
    add_all(worktree)
    worktree.stat_cache.close()
    database = worktree.control / "worktree.db"
    content = bytearray(database.read_bytes())
    assert len(content) > 20 * 4096
    content[4 * 4096 :] = b"\xa5" * (len(content) - 4 * 4096)
    database.write_bytes(content)

    with pytest.raises(DamagedCacheError, match=r"worktree\.db was damaged"):
        list(StatCache(database).rows())
    assert list(StatCache(database).rows()) == []

    database.write_bytes(content)
    assert len(run_dsvc("status", "-s", cwd=worktree.root).lines) == 2000


def test_no_edit_goes_unseen_however_quick(tmp_path: Path) -> None:
    worktree = make_worktree(tmp_path / "w")
    generator = random.Random(2026)  # noqa: S311 (which edits, not which keys)
    names = [f"f{number}" for number in range(12)]
    for name in names:
        (worktree.root / name).write_bytes(b"0")
    add_all(worktree)
    staged = dict.fromkeys(names, b"0")

    for _ in range(300):
        # Equal sizes, in one tick of the clock or a few, with other commands in between.
        for name in generator.sample(names, generator.randrange(4)):
            (worktree.root / name).write_bytes(generator.choice((b"0", b"1")))
        if generator.random() < 0.3:
            add_all(worktree)
            staged = {name: (worktree.root / name).read_bytes() for name in names}
        if generator.random() < 0.3:
            name = generator.choice(names)
            (worktree.root / name).write_bytes(generator.choice((b"0", b"1")))

        seen = read_status(worktree, worktree.store.state(), Pathspec()).unstaged

        edited = [name for name in names if (worktree.root / name).read_bytes() != staged[name]]
        assert sorted(os.fsdecode(change.path) for change in seen) == sorted(edited)


def test_a_file_that_is_only_touched_is_read_once_and_remembered(tmp_path: Path) -> None:
    worktree = make_worktree(tmp_path / "w")
    (worktree.root / "a").write_text("a")
    os.utime(worktree.root / "a", (1, 1))
    add_all(worktree)
    os.utime(worktree.root / "a", (2, 2))
    while worktree.clock() <= (worktree.root / "a").stat().st_ctime_ns:
        pass

    status = read_status(worktree, worktree.store.state(), Pathspec())

    row = worktree.stat_cache.row(b"a")
    assert status.unstaged == []
    assert row is not None
    assert row[1]
