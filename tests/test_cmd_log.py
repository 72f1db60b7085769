"""dsvc log, as a person meets it."""

import json
from pathlib import Path
from typing import NamedTuple

import pytest

from dsvc.model.ids import ObjectId
from tests.conftest import RunDsvc
from tests.history_support import Versions


class Past(NamedTuple):
    """A repository with one commit a day from 2026-08-02 on, and a merge among them.

    one, two, merge and last are main; side came from one and went into merge: topic, and the tag v1.
    """

    folder: Path
    ids: dict[str, ObjectId]

    def short(self, *names: str) -> list[str]:
        return [self.ids[name].short for name in names]


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Past:
    folder = tmp_path_factory.mktemp("repository")
    versions = Versions(folder)
    ids: dict[str, ObjectId] = {}
    ids["one"] = versions.make({b"a.txt": b"a\n", b"data/x": b"x"}, "one\n\nThe first of all.\n")
    ids["side"] = versions.make(
        {b"a.txt": b"a\n", b"data/x": b"x2"}, "side", parents=[ids["one"]], ref="refs/heads/topic", author="Bob <bob@x>"
    )
    ids["two"] = versions.make({b"a.txt": b"A\n", b"data/x": b"x"}, "two", parents=[ids["one"]])
    merged = {b"a.txt": b"A\n", b"data/x": b"x2"}
    ids["merge"] = versions.make(merged, "merge topic", parents=[ids["two"], ids["side"]])
    ids["last"] = versions.make({**merged, b"b.txt": b"A\n"}, "last", parents=[ids["merge"]])
    versions.tag("v1", ids["side"])
    return Past(folder, ids)


def test_commits_are_shown_as_git_shows_them(past: Past, run_dsvc: RunDsvc) -> None:
    ids = past.ids
    two, side = past.short("two", "side")

    shown = run_dsvc("log", "--no-decorate", "HEAD~1", "--skip", "0", "^v1", cwd=past.folder).stdout

    assert shown == (
        f"commit {ids['merge']}\n"
        f"Merge: {two} {side}\n"
        "Author: Ada <ada@example.org>\n"
        "Date:   Wed Aug 5 14:00:00 2026 +0200\n"
        "\n"
        "    merge topic\n"
        "\n"
        f"commit {ids['two']}\n"
        "Author: Ada <ada@example.org>\n"
        "Date:   Tue Aug 4 14:00:00 2026 +0200\n"
        "\n"
        "    two\n"
    )


def test_refs_stand_beside_their_commits(past: Past, run_dsvc: RunDsvc) -> None:
    last, side = past.short("last", "side")

    assert run_dsvc("log", "--oneline", "--decorate", "-1", cwd=past.folder).stdout == f"{last} (HEAD -> main) last\n"
    assert run_dsvc("log", "--oneline", "--decorate", "-1", "topic", cwd=past.folder).stdout == (
        f"{side} (tag: v1, topic) side\n"
    )
    full = run_dsvc("log", "--oneline", "--decorate=full", "-1", cwd=past.folder)
    assert full.stdout == f"{last} (HEAD -> refs/heads/main) last\n"
    # As git: in a pipe, only where it is asked for.
    assert run_dsvc("log", "--oneline", "-1", cwd=past.folder).stdout == f"{last} last\n"


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ([], "last merge two side one"),
        (["-n", "2"], "last merge"),
        (["-2", "--skip=1"], "merge two"),
        (["--reverse", "-2"], "merge last"),
        (["topic"], "side one"),
        (["v1..main"], "last merge two"),
        (["main", "^topic"], "last merge two"),
        (["^HEAD^^"], "last merge side"),
        (["HEAD~2...topic"], "two side"),
        (["--first-parent"], "last merge two one"),
        (["--merges"], "merge"),
        (["--no-merges"], "last two side one"),
        (["--author", "bob"], "side"),
        (["--author=BOB", "-i"], "side"),
        (["--grep", "^two$", "--grep", "first"], "two one"),
        (["--since", "2026-08-05"], "last merge"),
        (["--until", "2026-08-03"], "side one"),
        (["--since=2026-08-03", "--until=2026-08-04"], "two side"),
        (["--", "data"], "side one"),
        (["--", "a.txt"], "two one"),
        (["HEAD", "--", "b.txt"], "last"),
        (["--", "*.txt"], "last two one"),
        (["--all", "-3"], "last merge two"),
        (["topic", "--", "nothing"], ""),
        (["HEAD..HEAD"], ""),
    ],
)
def test_the_commits_that_are_asked_for_are_shown(past: Past, run_dsvc: RunDsvc, words: list[str], names: str) -> None:
    shown = run_dsvc("log", "--format=%s", *words, cwd=past.folder).lines

    assert shown == [{"merge": "merge topic"}.get(name, name) for name in names.split()]


def test_the_graph_shows_how_commits_hang_together(past: Past, run_dsvc: RunDsvc) -> None:
    last, merge, two, side, one = past.short("last", "merge", "two", "side", "one")

    assert run_dsvc("log", "--graph", "--oneline", cwd=past.folder).lines == [
        f"* {last} last",
        f"*   {merge} merge topic",
        "|\\",
        f"| * {side} side",
        f"* | {two} two",
        "|/",
        f"* {one} one",
    ]
    # A hidden commit is passed over, and its parents stand in for it.
    assert run_dsvc("log", "--graph", "--format=%s", "--no-merges", cwd=past.folder).lines == [
        "*   last",
        "|\\",
        "| * side",
        "* | two",
        "|/",
        "* one",
    ]
    drawn = run_dsvc("log", "--graph", "-2", "--stat", "--first-parent", cwd=past.folder).lines
    assert drawn[0] == f"* commit {past.ids['last']}"
    assert "|  b.txt | 0 B → 2 B  +2 B" in drawn
    assert "|" in drawn
    assert drawn[-1] == "|  1 file changed: 1 modified  +1 B"


def test_changes_are_shown_in_the_form_asked_for(past: Past, run_dsvc: RunDsvc) -> None:
    def shown(*words: str) -> list[str]:
        return run_dsvc("log", "--format=%s", *words, cwd=past.folder).lines

    assert shown("-1", "--name-status") == ["last", "A\tb.txt"]
    assert shown("-1", "--name-only") == ["last", "b.txt"]
    assert shown("-1", "--stat") == ["last", " b.txt | 0 B → 2 B  +2 B", " 1 file changed: 1 added  +2 B"]
    assert shown("-1", "-p")[-2:] == ["@@ -0,0 +1 @@", "+A"]
    # A merge has nothing of its own to show, unless it stands for what it brought.
    assert shown("-2", "--name-only", "--skip=1") == ["merge topic", "two", "a.txt"]
    assert shown("-1", "--name-only", "--skip=1", "--first-parent") == ["merge topic", "data/x"]
    # Only the changes of the paths asked for.
    assert shown("--name-only", "topic", "--", "data") == ["side", "data/x", "one", "data/x"]
    assert run_dsvc("log", "--format=%s", "-1", "--name-status", "-z", cwd=past.folder).stdout == "last\nA\0b.txt\0"


def test_a_format_may_hold_placeholders(past: Past, run_dsvc: RunDsvc) -> None:
    one, merge = past.ids["one"], past.ids["merge"]

    def shown(text: str, revision: str) -> str:
        return run_dsvc("log", "-1", f"--format={text}", revision, cwd=past.folder).stdout

    assert shown("%H %h|%P|%p|%an|%ae|%x41%%", "main~3") == f"{one} {one.short}|||Ada|ada@example.org|A%\n"
    assert shown("%as %at %aI %ad", "main~3") == (
        "2026-08-02 1785672000 2026-08-02T14:00:00+02:00 Sun Aug 2 14:00:00 2026 +0200\n"
    )
    assert shown("%s%n%b", "main~3") == "one\nThe first of all.\n"
    assert shown("%B", "main~3") == "one\n\nThe first of all.\n"
    assert shown("format:%D", "topic") == "tag: v1, topic\n"
    assert shown("%s%d", "topic") == "side (tag: v1, topic)\n"
    assert shown("%p", str(merge)) == " ".join(past.short("two", "side")) + "\n"
    assert shown("%q %s", "topic") == "%q side\n"
    assert shown("short", "main~3") == f"commit {one}\nAuthor: Ada <ada@example.org>\n\n    one\n"
    assert shown("oneline", "main~3") == f"{one.short} one\n"
    assert "Size:   2 files, 3 B" in shown("full", "main~3")
    error = run_dsvc("log", "--format=onelin", cwd=past.folder, code=2).stderr
    assert "`onelin` is no format" in error
    assert "did you mean `oneline`?" in error


def test_json_has_one_object_for_each_commit_and_for_each_change(past: Past, run_dsvc: RunDsvc) -> None:
    records = [json.loads(line) for line in run_dsvc("log", "--json", "--name-only", "-3", cwd=past.folder).lines]

    assert [(one["kind"], one.get("message") or one["path"]) for one in records] == [
        ("commit", "last"), ("change", "b.txt"), ("commit", "merge topic"), ("commit", "two"), ("change", "a.txt"),
    ]  # fmt: skip
    last, added, merge, _, changed = records
    assert last["refs"] == ["HEAD -> main"]
    assert (last["files"], last["size"], last["metadata"], last["inputs"]) == (3, 6, {}, [])
    assert merge["parents"] == [past.ids["two"].hex(), past.ids["side"].hex()]
    assert merge["date"] == "2026-08-05T14:00:00+02:00"
    assert (added["change"], added["old"], added["new"]["size"]) == ("added", None, 2)
    assert (changed["change"], changed["old"]["kind"]) == ("modified", "file")


def test_before_the_first_commit_there_is_nothing_to_show(repository_folder: Path, run_dsvc: RunDsvc) -> None:
    told = run_dsvc("log", cwd=repository_folder, code=4).stderr

    assert told == "error: your current branch `main` does not have any commits yet\n"
    assert run_dsvc("log", "--all", cwd=repository_folder).stdout == ""


def test_what_is_neither_a_revision_nor_a_path_is_refused(past: Past, run_dsvc: RunDsvc) -> None:
    assert "nothing is neither a revision nor a path" in run_dsvc("log", "nothing", cwd=past.folder, code=4).stderr
    assert "unknown revision `nothing`" in run_dsvc("log", "nothing", "--", cwd=past.folder, code=4).stderr
    folder = past.folder / "folder"
    folder.mkdir()
    (folder / "topic").touch()
    assert "both a revision and a path" in run_dsvc("log", "topic", cwd=folder, code=2).stderr
    assert run_dsvc("log", "--format=%s", "topic", "--", cwd=folder).lines == ["side", "one"]


@pytest.mark.parametrize(
    "words",
    [["--since", "someday"], ["--grep", "("], ["--graph", "--reverse"], ["--name-only", "--stat"], ["--decorate=x"]],
)
def test_options_that_make_no_sense_are_refused(past: Past, run_dsvc: RunDsvc, words: list[str]) -> None:
    assert run_dsvc("log", *words, cwd=past.folder, code=2).stderr.startswith("error: ")
