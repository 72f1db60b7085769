"""dsvc graph."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from dsvc.log.entry import RefChange
from dsvc.model.commit import Input
from dsvc.model.ids import ObjectId
from dsvc.worktree.commit import commit
from tests.conftest import RunDsvc
from tests.worktree_support import commit_all, make_worktree

ELSEWHERE = b"\xab" * 32
# Where it would do harm, were it not escaped: in XML, in graphviz and in a terminal.
HOSTILE = "a<b>&\"'\\n]]>{|}\x1b[31m"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """raw, at two versions; small, made from the first; and of a remote, a dataset made from small."""
    root = tmp_path / "repository"
    worktree = make_worktree(root)
    store = worktree.store

    def ref(name: str, target: ObjectId) -> None:
        store.publish(lambda state: [RefChange(name, state.value(name), target.hex())])

    crawl = commit_all(worktree, {b"a": b"a"}, "crawl")
    commit_all(worktree, message="fix")
    fixed = commit_all(worktree, message="fix again")
    ref("refs/tags/raw@1.0", fixed)
    newer = commit_all(worktree, message="newer")
    ref("refs/heads/raw", newer)
    ref("refs/heads/main", crawl)
    small = commit(worktree, store.state(), "resize", allow_empty=True, inputs=[Input("raw@1.0", bytes(fixed))]).id
    ref("refs/tags/small@1.0", small)
    inputs = [Input("small@1.0", bytes(small)), Input(HOSTILE, ELSEWHERE)]
    labels = commit(worktree, store.state(), f"labels {HOSTILE}", allow_empty=True, inputs=inputs).id
    ref("refs/remotes/origin/labels", labels)
    ref("refs/heads/main", small)
    return root


def records(run_dsvc: RunDsvc, folder: Path, *words: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run_dsvc("graph", "--json", *words, cwd=folder).lines]


def test_versions_of_other_datasets_and_of_remotes_are_part_of_it(run_dsvc: RunDsvc, folder: Path) -> None:
    text = run_dsvc("graph", "raw@1.0", cwd=folder).stdout.replace(HOSTILE.replace("\x1b", "\ufffd"), "X")

    assert re.sub(r"\b[0-9a-f]{10}\b", "ID", text).splitlines() == [
        "* ID (origin/labels) labels X",
        "|   final, 1 file, 1 B, 2026-07-25",
        "|   made from small@1.0 (ID)",
        "*   ID (HEAD -> main, tag: small@1.0) resize",
        "|\\    final, 1 file, 1 B, 2026-07-25",
        "| |   made from raw@1.0 (ID)",
        "| | * ID (raw) newer",
        "| |/    final, 1 file, 1 B, 2026-07-25",
        "| * ID (tag: raw@1.0) fix again",
        "|/    final, 1 file, 1 B, 2026-07-25, 1 commit before",
        "* ID small@1.0~1 crawl",
        "    final, 1 file, 1 B, 2026-07-25",
    ]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["raw@1.0", "--ancestors"], ["raw@1.0", "small@1.0~1"]),
        (["raw@1.0", "--ancestors", "--full"], ["raw@1.0", "raw@1.0~1", "small@1.0~1"]),
        (["raw@1.0", "--descendants", "--depth=1"], ["small@1.0", "raw", "raw@1.0"]),
        (["raw@1.0", "--no-inputs"], ["raw", "raw@1.0", "small@1.0~1"]),
        (["--depth=0"], ["small@1.0"]),
        (["--all"], ["raw", "origin/labels", HOSTILE, "small@1.0", "raw@1.0", "small@1.0~1"]),
    ],
)
def test_what_is_shown_can_be_chosen(run_dsvc: RunDsvc, folder: Path, words: list[str], names: list[str]) -> None:
    assert sorted(record["name"] for record in records(run_dsvc, folder, *words)) == sorted(names)


def test_json_tells_both_kinds_of_edges(run_dsvc: RunDsvc, folder: Path) -> None:
    found = {record["name"]: record for record in records(run_dsvc, folder, "--all")}

    ids = {name: record["commit"] for name, record in found.items()}
    labels, fixed = found["origin/labels"], found["raw@1.0"]
    assert labels["inputs"] == [
        {"commit": ids["small@1.0"], "name": "small@1.0"},
        {"commit": ELSEWHERE.hex(), "name": HOSTILE},
    ]
    assert labels["parents"] == [{"commit": ids["small@1.0"], "skipped": 0}]
    assert fixed["parents"] == [{"commit": ids["small@1.0~1"], "skipped": 1}]
    assert (fixed["dataset"], fixed["state"], fixed["files"], fixed["subject"]) == ("raw", "final", 1, "fix again")
    assert found[HOSTILE]["state"] == "elsewhere"


def test_a_drawing_is_a_document_whatever_people_write(run_dsvc: RunDsvc, folder: Path) -> None:
    run_dsvc("graph", "--all", "-o", "lineage.svg", cwd=folder)

    root = ET.parse(folder / "lineage.svg").getroot()  # noqa: S314 (it is ours)
    space = "{http://www.w3.org/2000/svg}"
    texts = ["".join(text.itertext()) for text in root.iter(f"{space}text")]
    assert any(HOSTILE.replace("\x1b", "\ufffd") in text for text in texts)
    assert len(list(root.iter(f"{space}circle"))) == 6
    # One dashed line for each input, one for each parent.
    assert len([path for path in root.iter(f"{space}path") if "input" in path.attrib["class"]]) == 3
    assert len(list(root.iter(f"{space}path"))) == 7


def test_graphviz_gets_whole_strings_whatever_people_write(run_dsvc: RunDsvc, folder: Path) -> None:
    run_dsvc("graph", "--all", "-o", "lineage.gv", cwd=folder)
    text = (folder / "lineage.gv").read_text()

    string = r'"(?:[^"\\]|\\.)*"'
    attributes = rf"\[\w+=(?:{string}|\w+)(?:, \w+=(?:{string}|[\w.]+))*\]"
    statements = [line.strip().removesuffix(";") for line in text.splitlines()[1:-1]]
    assert (text.splitlines()[0], text.splitlines()[-1]) == ("digraph lineage {", "}")
    for statement in statements:
        assert re.fullmatch(rf"rankdir=LR|(?:{string}|node|edge)(?: -> {string})?(?: {attributes})?", statement)
    assert sum('" -> "' in statement for statement in statements) == 7
    if shutil.which("dot"):
        subprocess.run(["dot", "-Tsvg"], input=text.encode(), check=True, capture_output=True)


@pytest.mark.parametrize("words", [["--all", "raw"], ["--all", "--ancestors"], ["--depth=-1"]])
def test_what_makes_no_sense_together_is_refused(run_dsvc: RunDsvc, folder: Path, words: list[str]) -> None:
    assert "hint: " in run_dsvc("graph", *words, cwd=folder, code=2).stderr


def test_a_repository_without_a_commit_has_no_lineage(run_dsvc: RunDsvc, repository_folder: Path) -> None:
    assert "does not have any commits yet" in run_dsvc("graph", cwd=repository_folder, code=4).stderr
    assert run_dsvc("graph", "--all", cwd=repository_folder).stdout == ""


def test_a_shallow_clone_shows_what_it_has_and_asks_nobody(run_dsvc: RunDsvc, folder: Path, tmp_path: Path) -> None:
    run_dsvc("clone", "-q", "--depth", "1", folder, tmp_path / "clone")
    folder.rename(tmp_path / "away")

    result = run_dsvc("graph", "--full", "--json", cwd=tmp_path / "clone")

    # The tag of the input came along, and what is before both is left out.
    assert [json.loads(line)["name"] for line in result.lines] == ["small@1.0", "raw@1.0"]
    assert "--unshallow" in result.stderr
