"""dsvc compare: how two versions differ, in numbers."""

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dsvc.history.comparison import compare
from dsvc.history.diff import Change, ChangeKind, detect_renames
from dsvc.model.ids import hash_object
from dsvc.model.tree import Entry
from tests.forked import Desk, desk
from tests.worktree_support import EMPTY_FOLDER

__all__ = ["desk"]


def tally(files: int, old_bytes: int, bytes_: int) -> dict[str, int]:
    return {"files": files, "old_bytes": old_bytes, "bytes": bytes_}


def by(key: str, records: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """The groups, with the kinds of change that there were."""
    return {
        one[key]: {kind: found["files"] for kind, found in one.items() if kind != key and found["files"]}
        for one in records
    }


def two_versions(desk: Desk) -> tuple[str, str]:
    same = {b"same/%d.txt" % number: b"x" for number in range(3)}
    old = desk.commit(
        {**same, b"a.csv": b"12", b"in/moved.jpg": b"moved", b"in/gone.JPG": b"123", b"hollow": EMPTY_FOLDER}
    )
    new = desk.commit({**same, b"a.csv": b"1234", b"out/moved.jpg": b"moved", b"in/new": b"1", b"in/newer": b"22"})
    return old, new


def test_files_and_bytes_are_counted_by_what_happened_to_them(desk: Desk) -> None:
    old, new = two_versions(desk)

    (record,) = desk.json("compare", old, new)

    assert record["added"] == tally(2, 0, 3)
    assert record["removed"] == tally(1, 3, 0)
    assert record["modified"] == tally(1, 2, 4)
    assert record["renamed"] == tally(1, 5, 5)
    assert record["unchanged"] == tally(3, 3, 3)
    assert (record["empty_folders_added"], record["empty_folders_removed"]) == (0, 1)
    assert (record["equal"], record["old_tree"]) == (False, desk.tree(old))
    assert by("path", record["folders"]) == {
        "": {"modified": 1},
        "in": {"added": 2, "removed": 2},
        "out": {"added": 1},
    }
    assert by("type", record["types"]) == {
        ".csv": {"modified": 1},
        ".jpg": {"removed": 1, "renamed": 1},
        "": {"added": 2},
    }


def test_people_get_tables(desk: Desk) -> None:
    old, new = two_versions(desk)

    lines = desk.lines("compare", f"{old}..{new}")

    assert lines[:6] == [
        "           files  before  after",
        "added          2     0 B    3 B",
        "removed        1     3 B    0 B",
        "modified       1     2 B    4 B",
        "renamed        1     5 B    5 B",
        "unchanged      3     3 B    3 B",
    ]
    assert lines[6] == "empty folders: 0 added, 1 removed"
    assert lines[8:10] == ["folder  added  removed  modified  growth", "in/         2        2         0    -5 B"]


def test_one_version_is_compared_with_the_last_and_paths_narrow_it(desk: Desk) -> None:
    old, _ = two_versions(desk)

    (record,) = desk.json("compare", old, "--", "in")
    (pattern,) = desk.json("compare", old, "--", "*.txt")

    assert record["added"]["files"] == 2
    assert record["removed"]["files"] == 2
    assert record["unchanged"] == tally(0, 0, 0)
    assert (pattern["equal"], pattern["unchanged"]) == (True, tally(3, 3, 3))


def test_names_come_where_they_are_asked_for(desk: Desk) -> None:
    old, new = two_versions(desk)
    names = ["M\ta.csv", "D\thollow", "D\tin/gone.JPG", "A\tin/new", "A\tin/newer", "R100\tin/moved.jpg\tout/moved.jpg"]

    assert desk.lines("compare", old, new, "--name-status") == names
    assert desk.lines("compare", old, new, "-v")[-7:] == ["", *names]
    assert len(desk.json("compare", old, new, "-v")) == 7
    assert desk.lines("compare", old, new, "--stat")[0].split() == ["a.csv", "|", "2", "B", "→", "4", "B", "+2", "B"]
    assert "D\tin/moved.jpg" in desk.lines("compare", old, new, "--name-status", "--no-renames")


def test_equal_versions_exit_with_0_and_others_with_1_where_that_is_asked(desk: Desk) -> None:
    old, new = two_versions(desk)

    desk("compare", old, new, "--exit-code", code=1)
    desk("compare", old, new)
    assert desk("compare", new, "--exit-code").stdout.splitlines()[1:] == ["unchanged      7    15 B   15 B"]
    desk("compare", "nowhere", code=4)
    desk("compare", code=2)


def test_versions_of_other_stores_are_compared_from_anywhere(desk: Desk) -> None:
    old, new = two_versions(desk)
    desk("remote", "add", "origin", "../remote")
    desk("push", "-q", "origin", f"{old}:old")
    desk("bundle", "create", "-q", "../new.bundle")

    here = desk.lines("compare", old, new, "-v")

    assert desk.lines("compare", "origin#old", "-v") == here
    assert desk.lines("compare", "origin#old", "main", "-v") == here
    assert desk("compare", "remote#old", "./new.bundle#main", "-v", cwd=desk.folder).stdout.splitlines() == here
    assert "in/new" in desk("compare", "origin#old", "#main", "--name-status", "--", "in").stdout
    assert "unknown revision" in desk("compare", "origin#nowhere", code=4).stderr
    desk("compare", "nowhere#old", code=4)
    desk("compare", "origin#old", new, new, code=2)


ENTRIES = st.dictionaries(
    st.sampled_from([b"a.x", b"b/a.x", b"b/c.y", b"c", b"d/e/f"]), st.integers(0, 3), max_size=5
).map(
    lambda found: {
        path: Entry(path, 0, size, bytes(hash_object(0, b"x" * size))) for path, size in sorted(found.items())
    }
)


@given(old=ENTRIES, new=ENTRIES)
def test_what_came_went_changed_and_stayed_adds_up_to_both_versions(
    old: dict[bytes, Entry], new: dict[bytes, Entry]
) -> None:
    changes = detect_renames(
        Change(old.get(path), new.get(path)) for path in sorted({*old, *new}) if old.get(path) != new.get(path)
    )

    result = compare(changes, len(old), sum(entry.size for entry in old.values()))

    tallies = result.all.kinds
    gone = tallies[ChangeKind.DELETED].files if ChangeKind.DELETED in tallies else 0
    came = tallies[ChangeKind.ADDED].files if ChangeKind.ADDED in tallies else 0
    assert Counter({kind: one.files for kind, one in tallies.items()}) == Counter(one.kind for one in changes)
    assert result.unchanged.files + sum(one.files for one in tallies.values()) - gone == len(new)
    assert result.unchanged.files + sum(one.files for one in tallies.values()) - came == len(old)
    assert result.unchanged.size + sum(one.size for one in tallies.values()) == sum(one.size for one in new.values())
    for groups in (result.folders, result.types):
        assert sum(group.growth for group in groups.values()) == result.all.growth
