"""dsvc commit."""

import json
import shlex
import sys
from pathlib import Path

import pytest

from dsvc.worktree.commit import HeadMovedError, commit
from tests.conftest import RunDsvc
from tests.worktree_support import add_all, make_worktree


@pytest.fixture
def folder(run_dsvc: RunDsvc, repository_folder: Path) -> Path:
    """A repository with one commit: a and b, 12 bytes each."""
    for name in ("a", "b"):
        (repository_folder / name).write_text(f"the file {name}.\n")
    run_dsvc("add", ".", cwd=repository_folder)
    run_dsvc("commit", "-qm", "first", cwd=repository_folder)
    return repository_folder


def short(run_dsvc: RunDsvc, folder: Path) -> list[str]:
    return run_dsvc("status", "-s", cwd=folder).lines


def last(run_dsvc: RunDsvc, folder: Path) -> dict[str, object]:
    """Return what an empty commit says of the one before."""
    record: dict[str, object] = json.loads(run_dsvc("log", "-n1", "--json", cwd=folder).lines[0])
    return record


def message_of(run_dsvc: RunDsvc, folder: Path) -> str:
    return str(last(run_dsvc, folder)["message"])


def editor(text: str) -> dict[str, str]:
    """Return an environment whose editor keeps what it is shown in `seen` and writes *text*."""
    code = f"import sys, shutil; shutil.copy(sys.argv[1], 'seen'); open(sys.argv[1], 'w').write({text!r})"
    return {"DSVC_EDITOR": shlex.join([sys.executable, "-c", code])}


def test_commit_says_where_it_went_and_what_changed(run_dsvc: RunDsvc, folder: Path) -> None:
    (folder / "a").write_text("edited")
    (folder / "b").unlink()
    (folder / "new").write_bytes(bytes(2048))
    (folder / "moved").write_text("the file b.\n")
    run_dsvc("add", "-A", cwd=folder)

    result = run_dsvc("commit", "-m", "second", "-m", "and why", cwd=folder)

    first, second = result.stderr.splitlines()
    assert result.stdout == ""
    assert first.startswith("[main ")
    assert first.endswith("] second")
    assert second == " 3 files changed: 1 new, 1 modified, 1 renamed, 2.0 KiB"
    assert message_of(run_dsvc, folder) == "second\n\nand why"


def test_the_first_commit_is_called_the_root(run_dsvc: RunDsvc, repository_folder: Path) -> None:
    (repository_folder / "a").write_text("a")
    run_dsvc("add", "a", cwd=repository_folder)

    assert run_dsvc("commit", "-m", "x", cwd=repository_folder).stderr.startswith("[main (root-commit) ")


def test_json_is_one_line_on_stdout(run_dsvc: RunDsvc, folder: Path) -> None:
    (folder / "a").write_text("edited")

    result = run_dsvc("commit", "-a", "-m", "second", "--json", cwd=folder)

    record = json.loads(result.stdout)
    assert (record["branch"], record["subject"], record["modified"], record["size"]) == ("main", "second", 1, 6)
    assert record["commit"] == json.loads(run_dsvc("status", "--json", cwd=folder).lines[0])["commit"]


def test_nothing_to_commit_prints_the_status_and_exits_with_1(run_dsvc: RunDsvc, folder: Path) -> None:
    assert run_dsvc("commit", "-m", "x", cwd=folder, code=1).lines[-1] == "nothing to commit, working tree clean"
    (folder / "a").write_text("edited")
    assert "no changes added" in run_dsvc("commit", "-m", "x", cwd=folder, code=1).lines[-1]
    assert run_dsvc("commit", "-qm", "x", cwd=folder, code=1).stdout == ""

    run_dsvc("commit", "--allow-empty", "-m", "empty", cwd=folder)
    assert short(run_dsvc, folder) == [" M a"]


def test_commit_all_takes_tracked_files_and_no_others(run_dsvc: RunDsvc, folder: Path) -> None:
    (folder / "a").write_text("edited")
    (folder / "b").unlink()
    (folder / "new").write_text("new")

    run_dsvc("commit", "-am", "second", cwd=folder)

    assert short(run_dsvc, folder) == ["?? new"]


def test_commit_of_paths_leaves_what_else_is_staged(run_dsvc: RunDsvc, folder: Path) -> None:
    (folder / "a").write_text("edited")
    (folder / "new").write_text("new")
    run_dsvc("add", "new", cwd=folder)
    run_dsvc("rm", "-q", "b", cwd=folder)

    result = run_dsvc("commit", "-m", "only a", "a", cwd=folder)

    assert " 1 file changed: 1 modified, 6 B\n" in result.stderr
    assert short(run_dsvc, folder) == ["D  b", "A  new"]
    run_dsvc("commit", "-qm", "only b", "b", cwd=folder)
    assert short(run_dsvc, folder) == ["A  new"]


def test_commit_of_a_path_that_is_not_tracked_is_refused(run_dsvc: RunDsvc, folder: Path) -> None:
    (folder / "new").write_text("new")

    assert "new" in run_dsvc("commit", "-m", "x", "new", cwd=folder, code=4).stderr
    run_dsvc("commit", "-am", "x", "a", cwd=folder, code=2)
    assert short(run_dsvc, folder) == ["?? new"]


def test_amend_replaces_the_last_commit(run_dsvc: RunDsvc, folder: Path) -> None:
    (folder / "a").write_text("edited")
    run_dsvc("commit", "-am", "second", "--author", "Grace <grace@example.org>", cwd=folder)
    before = last(run_dsvc, folder)
    (folder / "new").write_text("new")
    run_dsvc("add", "new", cwd=folder)

    result = run_dsvc("commit", "--amend", "--no-edit", cwd=folder)

    after = last(run_dsvc, folder)
    assert " 2 files changed: 1 new, 1 modified, " in result.stderr
    assert after["commit"] != before["commit"]
    same = ("parents", "author", "message")
    assert [after[key] for key in same] == [before[key] for key in same]

    run_dsvc("commit", "--amend", "-qm", "better", cwd=folder)
    assert message_of(run_dsvc, folder) == "better"


def test_there_is_nothing_to_amend_before_the_first_commit(run_dsvc: RunDsvc, repository_folder: Path) -> None:
    result = run_dsvc("commit", "--amend", "-m", "x", cwd=repository_folder, code=4)

    assert "no commit to amend" in result.stderr


# The message


def test_the_editor_shows_the_status_as_comments(run_dsvc: RunDsvc, folder: Path) -> None:
    (folder / "a").write_text("edited")
    (folder / "b").write_text("edited too")
    run_dsvc("add", "a", cwd=folder)

    run_dsvc("commit", cwd=folder, env=editor("\n  \nSubject  \n\n\nBody\n# comment\n"))

    assert message_of(run_dsvc, folder) == "Subject\n\nBody"
    seen = (folder / "seen").read_text()
    assert "# On branch main\n" in seen
    assert "# Changes to be committed:\n" in seen
    assert "#\tmodified:   a" in seen.replace("# \t", "#\t")
    assert "# Changes not staged for commit:\n" in seen


def test_an_empty_message_aborts_and_stages_nothing(run_dsvc: RunDsvc, folder: Path) -> None:
    (folder / "a").write_text("edited")

    for words in (["-a"], ["-am", " "], ["-aF", "-"]):
        result = run_dsvc("commit", *words, cwd=folder, env=editor("# only comments\n"), code=1)
        assert "message is empty" in result.stderr
    (folder / "seen").unlink()
    assert short(run_dsvc, folder) == [" M a"]

    run_dsvc("commit", "-a", "--allow-empty-message", "-m", "", cwd=folder)
    assert short(run_dsvc, folder) == []


def test_the_editor_is_not_opened_for_nothing(run_dsvc: RunDsvc, folder: Path) -> None:
    run_dsvc("commit", cwd=folder, env=editor("x"), code=1)

    assert not (folder / "seen").exists()


def test_amend_edits_the_old_message(run_dsvc: RunDsvc, folder: Path) -> None:
    run_dsvc("commit", "--amend", cwd=folder, env=editor("new words"))

    assert (folder / "seen").read_text().startswith("first\n")
    assert message_of(run_dsvc, folder) == "new words"


def test_the_message_comes_from_a_file_or_stdin(run_dsvc: RunDsvc, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "message").write_text("from a file\n\n# no comment here\n")
    run_dsvc("commit", "--allow-empty", "-F", tmp_path / "message", cwd=folder)
    assert message_of(run_dsvc, folder) == "from a file\n\n# no comment here"

    run_dsvc("commit", "--allow-empty", "-F", "-", cwd=folder, input="from stdin é\n")
    assert message_of(run_dsvc, folder) == "from stdin é"


def test_messages_and_authors_that_cannot_be_used_are_refused(run_dsvc: RunDsvc, folder: Path, tmp_path: Path) -> None:
    (folder / "a").write_text("edited")
    (tmp_path / "latin").write_bytes(b"\xe9t\xe9")

    run_dsvc("commit", "-a", "-F", tmp_path / "latin", cwd=folder, code=2)
    run_dsvc("commit", "-a", "-F", tmp_path / "nothere", cwd=folder, code=4)
    run_dsvc("commit", "-a", "-m", "x", "-F", "-", cwd=folder, code=2)
    for author in ("nobody", "A <b", "<a@b>", "A\n <a@b>"):
        assert "author" in run_dsvc("commit", "-am", "x", "--author", author, cwd=folder, code=2).stderr

    assert short(run_dsvc, folder) == [" M a"]


def test_who_says_nobody_is_the_author_hears_of_it(run_dsvc: RunDsvc, folder: Path) -> None:
    (folder / "a").write_text("edited")
    nobody = {"DSVC_AUTHOR_NAME": "", "DSVC_AUTHOR_EMAIL": "", "USER": "grace", "LOGNAME": "grace"}

    result = run_dsvc("commit", "-am", "x", cwd=folder, env=nobody)

    assert "nobody said who you are" in result.stderr
    assert str(last(run_dsvc, folder)["author"]).startswith("grace <grace@")


def test_a_dry_run_shows_what_would_be_committed(run_dsvc: RunDsvc, folder: Path) -> None:
    run_dsvc("commit", "--dry-run", cwd=folder, code=1)
    (folder / "a").write_text("edited")

    result = run_dsvc("commit", "-a", "--dry-run", cwd=folder)

    assert "Changes to be committed:" in result.lines
    assert short(run_dsvc, folder) == [" M a"]


# Two at once


def test_a_commit_that_another_overtook_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    worktree = make_worktree(tmp_path / "w")
    (worktree.root / "a").write_text("a")
    add_all(worktree)
    stale = worktree.store.state()
    first = commit(worktree, stale, "first")

    with pytest.raises(HeadMovedError):
        commit(worktree, stale, "second")

    state = worktree.store.state()
    assert worktree.session(state).commit(state) == first.id
