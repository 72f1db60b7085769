"""dsvc meta, as a person meets it."""

import json
from pathlib import Path

import pytest

from tests.conftest import RunDsvc
from tests.inside import call_dsvc

__all__ = ["call_dsvc"]


@pytest.fixture
def folder(call_dsvc: RunDsvc, tmp_path: Path) -> Path:
    """A repository with one commit: images/1, images/2, other."""
    root = tmp_path / "repository"
    (root / "images").mkdir(parents=True)
    call_dsvc("init", "-q", cwd=root)
    for name in ("images/1", "images/2", "other"):
        (root / name).write_text(name)
    call_dsvc("add", ".", cwd=root)
    call_dsvc("commit", "-qm", "first", cwd=root)
    return root


def said(call_dsvc: RunDsvc, folder: Path, *revision: str) -> object:
    return json.loads(call_dsvc("meta", "list", "--json", *revision, cwd=folder).stdout)["meta"]


def where(call_dsvc: RunDsvc, folder: Path, condition: str, *words: str) -> list[str]:
    return call_dsvc("meta", "list", "--where", condition, *words, cwd=folder).lines


def test_what_is_said_is_staged_and_the_next_commit_says_it(call_dsvc: RunDsvc, folder: Path) -> None:
    call_dsvc("meta", "set", "epochs=3", "name=x y", "model.layers:=[1, 2]", cwd=folder)

    assert said(call_dsvc, folder, "HEAD") == {}
    assert call_dsvc("meta", "set", "epochs=3", cwd=folder).stderr == "nothing changed\n"
    assert "Metadata to be committed:" in call_dsvc("status", cwd=folder).stdout
    assert json.loads(call_dsvc("status", "--json", cwd=folder).lines[0])["metadata"]["epochs"] == 3
    # Nothing else has changed, and that is enough.
    call_dsvc("commit", "-qm", "says", cwd=folder)
    assert said(call_dsvc, folder, "HEAD") == {"epochs": 3, "model": {"layers": [1, 2]}, "name": "x y"}
    assert call_dsvc("meta", "list", cwd=folder).lines == ["epochs=3", "model.layers=[1,2]", "name=x y"]
    assert "Metadata" not in call_dsvc("status", cwd=folder).stdout
    assert "Meta:   epochs=3" in call_dsvc("show", cwd=folder).lines
    call_dsvc("commit", "-m", "nothing", cwd=folder, code=1)


def test_what_is_said_goes_on_until_it_is_changed(call_dsvc: RunDsvc, folder: Path) -> None:
    call_dsvc("meta", "set", "a=1", "b.c=2", "b.d=3", cwd=folder)
    call_dsvc("commit", "-qm", "second", cwd=folder)
    (folder / "other").write_text("edited")
    call_dsvc("meta", "unset", "b.c", cwd=folder)
    call_dsvc("commit", "-qam", "third", cwd=folder)
    (folder / "other").write_text("again")
    call_dsvc("commit", "-qam", "fourth", cwd=folder)

    assert said(call_dsvc, folder, "HEAD~2") == {"a": 1, "b": {"c": 2, "d": 3}}
    assert said(call_dsvc, folder, "HEAD") == said(call_dsvc, folder, "HEAD~1") == {"a": 1, "b": {"d": 3}}
    assert call_dsvc("meta", "get", "b.d", cwd=folder).stdout == "3\n"
    assert call_dsvc("meta", "get", "HEAD~2", "b", cwd=folder).stdout == '{"c":2,"d":3}\n'
    assert "`b.c` is not set" in call_dsvc("meta", "get", "b.c", cwd=folder, code=4).stderr
    assert "`b.c` is not set" in call_dsvc("meta", "unset", "b.c", cwd=folder, code=4).stderr


def test_what_is_staged_is_given_up_undone_and_kept_with_the_rest(call_dsvc: RunDsvc, folder: Path) -> None:
    call_dsvc("meta", "set", "a=1", cwd=folder)
    call_dsvc("undo", cwd=folder)
    assert said(call_dsvc, folder) == {}
    call_dsvc("meta", "set", "a=1", cwd=folder)
    call_dsvc("reset", "-q", cwd=folder)
    assert said(call_dsvc, folder) == {}
    call_dsvc("meta", "set", "a=1", cwd=folder)
    call_dsvc("commit", "-qm", "second", cwd=folder)
    call_dsvc("reset", "-q", "--soft", "HEAD~1", cwd=folder)
    assert (said(call_dsvc, folder), said(call_dsvc, folder, "HEAD")) == ({"a": 1}, {})
    # Of some files only, it is not said yet.
    (folder / "other").write_text("edited")
    call_dsvc("commit", "-qm", "file", "other", cwd=folder)
    assert (said(call_dsvc, folder), said(call_dsvc, folder, "HEAD")) == ({"a": 1}, {})
    call_dsvc("commit", "-q", "--amend", "--no-edit", cwd=folder)
    assert said(call_dsvc, folder, "HEAD") == {"a": 1}


def test_of_a_finished_version_a_branch_says_it_in_a_commit_of_its_own(call_dsvc: RunDsvc, folder: Path) -> None:
    call_dsvc("branch", "vision/dogs", cwd=folder)
    (folder / "other").write_text("edited")
    call_dsvc("add", ".", cwd=folder)
    call_dsvc("meta", "set", "HEAD", "license=MIT", "-m", "Name the license", cwd=folder)
    call_dsvc("meta", "set", "vision/dogs", "license=BSD", cwd=folder)

    assert call_dsvc("log", "--format=%s", cwd=folder).lines == ["Name the license", "first"]
    assert call_dsvc("diff", "--name-only", "HEAD~1", "HEAD", cwd=folder).stdout == ""
    assert said(call_dsvc, folder, "vision/dogs") == {"license": "BSD"}
    # What was staged still is.
    assert call_dsvc("status", "-s", cwd=folder).lines == ["M  other"]
    assert "is no branch" in call_dsvc("meta", "set", "HEAD~1", "a=1", cwd=folder, code=10).stderr
    assert "unknown revision" in call_dsvc("meta", "set", "nothing", "a=1", cwd=folder, code=4).stderr


def test_values_come_from_a_file_too(call_dsvc: RunDsvc, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "card.json"
    file.write_text('{"license": "MIT", "classes": ["cat", "dog"], "old": null}')
    call_dsvc("meta", "set", "old=1", "size=2", cwd=folder)
    call_dsvc("meta", "set", "--file", file, cwd=folder)

    assert said(call_dsvc, folder) == {"license": "MIT", "classes": ["cat", "dog"], "size": 2}
    for text in ("[1]", "{", '{"a": 1e999}'):
        file.write_text(text)
        call_dsvc("meta", "set", "--file", file, cwd=folder, code=2)
    call_dsvc("meta", "set", "--file", tmp_path / "nothing", cwd=folder, code=4)
    call_dsvc("meta", "set", cwd=folder, code=2)
    call_dsvc("meta", "set", f"large={'x' * (1 << 20)}", cwd=folder, code=2)


def test_what_is_said_of_a_file_stays_with_it(call_dsvc: RunDsvc, folder: Path) -> None:
    call_dsvc("meta", "set", "--path", "images", "label=cat", "split=train", cwd=folder)
    call_dsvc("meta", "set", "--path", "images/2", "split=test", "score=0.5", cwd=folder)
    assert call_dsvc("status", "-s", cwd=folder).lines == ["M  images/1", "M  images/2"]
    call_dsvc("commit", "-qm", "labels", cwd=folder)
    assert call_dsvc("status", "-s", cwd=folder).stdout == ""

    (folder / "images/1").write_text("another content")
    call_dsvc("add", "-A", cwd=folder)
    call_dsvc("mv", "images", "pictures", cwd=folder)
    call_dsvc("commit", "-qm", "edited", cwd=folder)

    assert call_dsvc("ls", "-r", "--meta", cwd=folder).lines == [
        "other",
        'pictures/1 {"label":"cat","split":"train"}',
        'pictures/2 {"label":"cat","score":0.5,"split":"test"}',
    ]
    assert call_dsvc("meta", "get", "--path", "pictures/1", "split", cwd=folder).stdout == "train\n"
    assert call_dsvc("status", "-s", cwd=folder).stdout == ""
    assert call_dsvc("add", "-A", cwd=folder).stderr == "nothing changed\n"
    assert call_dsvc("fsck", cwd=folder).code == 0


def test_a_file_that_was_only_touched_is_no_change_and_is_still_said_something_of(
    call_dsvc: RunDsvc, folder: Path
) -> None:
    call_dsvc("meta", "set", "--path", "other", "label=cat", cwd=folder)
    call_dsvc("commit", "-qm", "labels", cwd=folder)
    (folder / "other").write_text("other")

    assert call_dsvc("add", "other", cwd=folder).stderr == "nothing changed\n"
    call_dsvc("mv", "other", "moved", cwd=folder)
    assert where(call_dsvc, folder, "label=cat") == ["moved"]


def test_files_are_found_by_what_is_said_of_them(call_dsvc: RunDsvc, folder: Path) -> None:
    call_dsvc("meta", "set", "--path", "images", "--path", "other", "label=cat", cwd=folder)
    call_dsvc("meta", "set", "--path", "images/2", "split=test", cwd=folder)
    call_dsvc("commit", "-qm", "labels", cwd=folder)
    call_dsvc("meta", "unset", "--path", ".", "label", cwd=folder)

    assert where(call_dsvc, folder, "label=cat and split!=test", "HEAD") == ["images/1", "other"]
    assert where(call_dsvc, folder, "label=cat", "HEAD", "--", "images") == ["images/1", "images/2"]
    assert where(call_dsvc, folder, "split", "--json") == ['{"path":"images/2","size":8,"meta":{"split":"test"}}']
    listed = call_dsvc("meta", "list", "-z", "--where", "label", "HEAD", cwd=folder).stdout
    assert listed == "images/1\0images/2\0other\0"
    assert "no file meets" in call_dsvc("meta", "list", "--where", "label=cat", cwd=folder, code=1).stderr
    assert "is no condition" in call_dsvc("meta", "list", "--where", "label=", cwd=folder, code=2).stderr
    call_dsvc("meta", "set", "--path", "nothing", "a=1", cwd=folder, code=4)
    call_dsvc("meta", "unset", "--path", "other", "a", cwd=folder, code=4)


def test_rows_of_a_table_say_something_of_each_file(call_dsvc: RunDsvc, folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text('path,label,box.x\nimages/1,"a, b",3\nimages/2,dog,\n')
    call_dsvc("meta", "set", "--each", table, cwd=folder)
    lines = tmp_path / "labels.jsonl"
    lines.write_text('{"path": "images/2", "tags": ["x"]}\n\n{"path": "other", "label": null}\n')
    call_dsvc("meta", "set", "--each", lines, cwd=folder)

    assert call_dsvc("ls", "-r", "--meta", cwd=folder).lines == [
        'images/1 {"box":{"x":3},"label":"a, b"}', 'images/2 {"label":"dog","tags":["x"]}', "other",
    ]  # fmt: skip
    table.write_text("path,label\nimages/1\n")
    assert "line 2" in call_dsvc("meta", "set", "--each", table, cwd=folder, code=2).stderr
    table.write_text("label\ncat\n")
    assert "there is no `path`" in call_dsvc("meta", "set", "--each", table, cwd=folder, code=2).stderr
    table.write_text("path,label\nnothing,cat\n")
    assert "nothing did not match" in call_dsvc("meta", "set", "--each", table, cwd=folder, code=4).stderr


def test_tables_are_files_of_the_version(call_dsvc: RunDsvc, folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    table.write_text("a,b\n1,2\n")
    call_dsvc("meta", "set", "--table", "scores", table, cwd=folder)
    call_dsvc("commit", "-qm", "table", cwd=folder)
    table.write_text("a,b\n1,3\n")
    call_dsvc("meta", "set", "--table", "scores", table, cwd=folder)
    call_dsvc("commit", "-qm", "edited", cwd=folder)

    assert call_dsvc("meta", "list", cwd=folder).lines == ["table .dsvcmeta/scores.csv (8 B)"]
    assert call_dsvc("cat", "HEAD~1:.dsvcmeta/scores.csv", cwd=folder).stdout == "a,b\n1,2\n"
    assert "+1,3" in call_dsvc("diff", "HEAD~1", "HEAD", cwd=folder).lines
    other = tmp_path / "rows.parquet"
    other.write_bytes(b"PAR1")
    call_dsvc("meta", "set", "--table", "scores", other, cwd=folder, code=5)
    call_dsvc("meta", "set", "--table", "../x", table, cwd=folder, code=2)
    call_dsvc("meta", "set", "--table", "x", tmp_path / "nothing.csv", cwd=folder, code=4)
    call_dsvc("meta", "set", "--table", "x", "picture.png", cwd=folder, code=2)


def test_a_change_of_what_is_said_of_a_file_is_shown(call_dsvc: RunDsvc, folder: Path) -> None:
    call_dsvc("meta", "set", "--path", "other", "label=cat", cwd=folder)
    call_dsvc("commit", "-qm", "labels", cwd=folder)
    call_dsvc("meta", "set", "--path", "other", "label=dog", cwd=folder)

    lines = [line for line in call_dsvc("diff", "--staged", cwd=folder).lines if line.startswith(("+", "-"))]
    assert lines == ['-metadata {"label":"cat"}', '+metadata {"label":"dog"}']


def test_links_keep_what_is_said_of_them_and_give_it_to_the_file(
    call_dsvc: RunDsvc, folder: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("far")
    call_dsvc("link", "add", outside.as_uri(), cwd=folder)
    call_dsvc("meta", "set", "--path", "outside.txt", "label=cat", cwd=folder)
    outside.write_text("further")
    call_dsvc("link", "update", "outside.txt", cwd=folder)
    assert where(call_dsvc, folder, "label=cat") == ["outside.txt"]
    assert call_dsvc("cat", "outside.txt", cwd=folder).stdout == "further"

    call_dsvc("link", "vendor", "outside.txt", cwd=folder)
    assert where(call_dsvc, folder, "label=cat") == ["outside.txt"]
    assert call_dsvc("fsck", cwd=folder).code == 0


def test_what_is_said_goes_with_a_switch_and_with_a_sync(call_dsvc: RunDsvc, folder: Path, tmp_path: Path) -> None:
    call_dsvc("meta", "set", "a=1", cwd=folder)
    call_dsvc("commit", "-qm", "says", cwd=folder)
    call_dsvc("branch", "side", cwd=folder)
    call_dsvc("meta", "set", "b=2", cwd=folder)
    call_dsvc("switch", "-q", "side", cwd=folder)
    assert said(call_dsvc, folder) == {"a": 1, "b": 2}
    call_dsvc("commit", "-qm", "on the side", cwd=folder)
    source = tmp_path / "source"
    source.mkdir()
    (source / "new").write_text("new")
    call_dsvc("sync", source, "--branch", "main", cwd=folder)
    assert said(call_dsvc, folder, "main") == {"a": 1}


def test_a_merge_says_what_both_sides_have_said(call_dsvc: RunDsvc, folder: Path) -> None:
    call_dsvc("meta", "set", "both=0", "gone=1", cwd=folder)
    call_dsvc("commit", "-qm", "base", cwd=folder)
    call_dsvc("switch", "-q", "-c", "side", cwd=folder)
    call_dsvc("meta", "set", "both=side", "side=1", "gone:=null", cwd=folder)
    (folder / "new").write_text("new")
    call_dsvc("add", "new", cwd=folder)
    call_dsvc("commit", "-qm", "side", cwd=folder)
    call_dsvc("switch", "-q", "main", cwd=folder)
    call_dsvc("meta", "set", "both=main", "main=1", cwd=folder)
    call_dsvc("commit", "-qm", "main", cwd=folder)

    call_dsvc("meta", "set", "staged=1", cwd=folder)
    assert "metadata is staged" in call_dsvc("merge", "side", cwd=folder, code=5).stderr
    call_dsvc("reset", "-q", cwd=folder)
    call_dsvc("merge", "-q", "-m", "merge", "side", cwd=folder)

    assert said(call_dsvc, folder, "HEAD") == {"both": "main", "main": 1, "side": 1}


def test_what_others_say_reaches_no_terminal_as_a_command(call_dsvc: RunDsvc, folder: Path) -> None:
    call_dsvc("meta", "set", "a=\x9b31m\u202e", "--path", "other", cwd=folder)
    call_dsvc("meta", "set", "a=\x9b31m", 'b:={"\x9b": 1}', cwd=folder)
    call_dsvc("commit", "-qm", "says", cwd=folder)

    shown = [call_dsvc(*words, cwd=folder).stdout for words in (["show", "-p"], ["ls", "--meta"], ["meta", "list"])]
    assert not set("".join(shown)) & {"\x9b", "\u202e"}


def test_what_is_found_can_be_got(call_dsvc: RunDsvc, folder: Path, tmp_path: Path) -> None:
    call_dsvc("meta", "set", "--path", "images/2", "--path", "other", "label=cat", cwd=folder)
    call_dsvc("commit", "-qm", "labels", cwd=folder)
    paths = tmp_path / "paths"
    paths.write_text(call_dsvc("meta", "list", "-z", "--where", "label=cat", "main", cwd=folder).stdout)
    words = ["get", "-q", "main", "--to", str(tmp_path / "cats"), "--pathspec-file-nul", "--pathspec-from-file"]

    call_dsvc(*words, paths, cwd=folder)

    assert sorted(path.name for path in (tmp_path / "cats").rglob("*") if path.is_file()) == ["2", "other"]
    # Nothing found is nothing wanted, and not everything.
    paths.write_text("")
    assert "names no path" in call_dsvc(*words, paths, cwd=folder, code=2).stderr


def test_what_two_say_of_one_file_is_merged_key_by_key(call_dsvc: RunDsvc, folder: Path) -> None:
    call_dsvc("switch", "-q", "-c", "side", cwd=folder)
    call_dsvc("meta", "set", "--path", "images", "split=test", "box.x=1", cwd=folder)
    call_dsvc("commit", "-qm", "side", cwd=folder)
    call_dsvc("switch", "-q", "main", cwd=folder)
    call_dsvc("meta", "set", "--path", "images", "label=cat", "box.y=2", cwd=folder)
    call_dsvc("commit", "-qm", "main", cwd=folder)

    call_dsvc("merge", "-q", "-m", "merge", "side", cwd=folder)

    assert call_dsvc("ls", "--meta", "images", cwd=folder).lines == [
        'images/1 {"box":{"x":1,"y":2},"label":"cat","split":"test"}',
        'images/2 {"box":{"x":1,"y":2},"label":"cat","split":"test"}',
    ]
    call_dsvc("switch", "-q", "side", cwd=folder)
    call_dsvc("meta", "set", "--path", "images/1", "label=dog", cwd=folder)
    call_dsvc("commit", "-qm", "dog", cwd=folder)
    result = call_dsvc("merge", "main", cwd=folder, code=5)
    assert "both sides say something else of its label" in result.stdout + result.stderr


def test_what_is_staged_takes_nothing_from_what_another_version_says(call_dsvc: RunDsvc, folder: Path) -> None:
    call_dsvc("meta", "set", "old=1", "both.a=1", cwd=folder)
    call_dsvc("commit", "-qm", "base", cwd=folder)
    call_dsvc("switch", "-q", "-c", "side", cwd=folder)
    call_dsvc("meta", "set", "side=1", "both.b=2", cwd=folder)
    call_dsvc("commit", "-qm", "side", cwd=folder)
    call_dsvc("switch", "-q", "main", cwd=folder)

    call_dsvc("meta", "set", "staged=1", cwd=folder)
    call_dsvc("meta", "unset", "old", cwd=folder)
    both = {"both": {"a": 1, "b": 2}, "side": 1, "staged": 1}
    call_dsvc("switch", "-q", "side", cwd=folder)
    assert said(call_dsvc, folder) == both
    call_dsvc("switch", "-q", "main", cwd=folder)
    assert said(call_dsvc, folder) == {"both": {"a": 1}, "staged": 1}
    call_dsvc("merge", "-q", "side", cwd=folder)
    call_dsvc("commit", "-qm", "forward", cwd=folder)

    assert said(call_dsvc, folder, "HEAD") == both


@pytest.fixture
def parted(call_dsvc: RunDsvc, folder: Path) -> Path:
    """On `side`, a version that says side=1 and of the file `other` who=side; on `main`, one in conflict with it."""
    call_dsvc("switch", "-q", "-c", "side", cwd=folder)
    for branch in ("side", "main"):
        call_dsvc("switch", "-q", branch, cwd=folder)
        (folder / "other").write_text(branch)
        call_dsvc("add", "other", cwd=folder)
        call_dsvc("meta", "set", "--path", "other", f"who={branch}", cwd=folder)
        call_dsvc("meta", "set", f"{branch}=1", cwd=folder)
        call_dsvc("commit", "-qm", branch, cwd=folder)
    return folder


def test_what_is_said_in_a_merge_is_added_to_it_and_goes_when_it_is_given_up(call_dsvc: RunDsvc, parted: Path) -> None:
    call_dsvc("merge", "side", cwd=parted, code=5)
    assert said(call_dsvc, parted) == {"main": 1, "side": 1}
    call_dsvc("meta", "set", "merge=1", cwd=parted)
    call_dsvc("merge", "--abort", cwd=parted)
    assert said(call_dsvc, parted) == {"main": 1}

    call_dsvc("merge", "side", cwd=parted, code=5)
    call_dsvc("meta", "set", "merge=1", cwd=parted)
    call_dsvc("add", "other", cwd=parted)
    call_dsvc("merge", "-q", "--continue", cwd=parted)
    assert said(call_dsvc, parted, "HEAD") == {"main": 1, "merge": 1, "side": 1}


def test_a_commit_that_says_something_is_not_left_out_when_its_files_are(call_dsvc: RunDsvc, parted: Path) -> None:
    call_dsvc("cherry-pick", "side", cwd=parted, code=5)
    call_dsvc("add", "other", cwd=parted)
    call_dsvc("cherry-pick", "--continue", cwd=parted)

    assert said(call_dsvc, parted, "HEAD") == {"main": 1, "side": 1}
    call_dsvc("reset", "-q", "--hard", "HEAD~1", cwd=parted)
    call_dsvc("cherry-pick", "side", cwd=parted, code=5)
    call_dsvc("meta", "set", "skipped=1", cwd=parted)
    call_dsvc("cherry-pick", "--skip", cwd=parted)
    assert said(call_dsvc, parted) == {"main": 1}


def test_to_take_a_side_takes_what_it_says_of_the_file(call_dsvc: RunDsvc, parted: Path) -> None:
    call_dsvc("merge", "side", cwd=parted, code=5)
    call_dsvc("restore", "--theirs", "other", cwd=parted)
    assert call_dsvc("status", "-s", cwd=parted).lines == ["UU other"]
    call_dsvc("add", "other", cwd=parted)
    call_dsvc("merge", "-q", "--continue", cwd=parted)

    assert (parted / "other").read_text() == "side"
    assert call_dsvc("meta", "get", "--path", "other", "who", cwd=parted).stdout == "side\n"


def test_what_is_said_of_a_file_in_conflict_does_not_decide_it(call_dsvc: RunDsvc, parted: Path) -> None:
    call_dsvc("merge", "side", cwd=parted, code=5)
    call_dsvc("meta", "set", "--path", "other", "who=both", cwd=parted)
    assert call_dsvc("status", "-s", cwd=parted).lines == ["UU other"]
    call_dsvc("merge", "--continue", cwd=parted, code=5)
    call_dsvc("add", "other", cwd=parted)
    call_dsvc("merge", "-q", "--continue", cwd=parted)

    assert call_dsvc("meta", "get", "--path", "other", "who", cwd=parted).stdout == "both\n"


@pytest.mark.parametrize(("strategy", "chosen"), [("ours", "main"), ("theirs", "side"), ("last-wins", "side")])
def test_a_strategy_settles_what_is_said_of_the_version_too(
    call_dsvc: RunDsvc, folder: Path, strategy: str, chosen: str
) -> None:
    call_dsvc("switch", "-q", "-c", "side", cwd=folder)
    for branch in ("side", "main"):
        call_dsvc("switch", "-q", branch, cwd=folder)
        call_dsvc("meta", "set", f"by={branch}", f"{branch}=1", cwd=folder)
        call_dsvc("commit", "-qm", branch, cwd=folder)

    call_dsvc("dataset", "create", "all", "--from", "main", "--from", "side", "-X", strategy, cwd=folder)
    call_dsvc("merge", "-q", "-X", strategy, "side", cwd=folder)

    expected = {"by": chosen, "main": 1, "side": 1}
    assert said(call_dsvc, folder, "HEAD") == said(call_dsvc, folder, "all") == expected
    if strategy != "last-wins":
        call_dsvc("reset", "-q", "--hard", "HEAD^1", cwd=folder)
        call_dsvc("cherry-pick", "-X", strategy, "side", cwd=folder)
        assert said(call_dsvc, folder, "HEAD") == expected


def test_of_several_versions_each_says_what_it_changed_since_any_of_those_before(
    call_dsvc: RunDsvc, folder: Path
) -> None:
    call_dsvc("switch", "-q", "-c", "one", cwd=folder)
    call_dsvc("meta", "set", "count=1", cwd=folder)
    call_dsvc("commit", "-qm", "both have it", cwd=folder)
    call_dsvc("branch", "two", cwd=folder)
    for branch, count in (("one", None), ("two", 2)):
        call_dsvc("switch", "-q", branch, cwd=folder)
        call_dsvc("meta", "set", f"{branch}=1", *([] if count is None else [f"count={count}"]), cwd=folder)
        call_dsvc("commit", "-qm", branch, cwd=folder)
    call_dsvc("switch", "-q", "main", cwd=folder)

    call_dsvc("merge", "-q", "-m", "all", "one", "two", cwd=folder)

    assert said(call_dsvc, folder, "HEAD") == {"count": 2, "one": 1, "two": 1}
