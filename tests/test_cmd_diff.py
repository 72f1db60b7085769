"""dsvc diff, as a person meets it."""

import json
import os
import subprocess
from pathlib import Path
from random import Random

import pytest

from dsvc.model.ids import hash_object
from tests.conftest import RunDsvc
from tests.history_support import Versions

OLD = "one\ntwo\nthree\n"
TABLE = "x,y\n1,2\n"
LARGE = Random(1).randbytes(2 << 20)  # noqa: S311 (the same ones each time)


@pytest.fixture
def worktree(repository_folder: Path, run_dsvc: RunDsvc) -> Path:
    """A repository with one version, and a clean worktree."""
    (repository_folder / "a.txt").write_text(OLD)
    (repository_folder / "data").mkdir()
    (repository_folder / "data" / "b.csv").write_text(TABLE)
    (repository_folder / "run").write_text("#!\n")
    commit(repository_folder, run_dsvc)
    return repository_folder


def commit(folder: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("add", "-A", cwd=folder)
    run_dsvc("commit", "-q", "-m", "version", cwd=folder)


def short(text: str) -> str:
    return hash_object(0, text.encode()).hex()[:10]


def test_files_are_compared_with_what_is_staged(worktree: Path, run_dsvc: RunDsvc) -> None:
    assert run_dsvc("diff", cwd=worktree).stdout == ""
    (worktree / "a.txt").write_text("one\n2\nthree\n")
    (worktree / "run").chmod(0o755)
    (worktree / "data" / "b.csv").unlink()
    (worktree / "untracked").touch()

    assert run_dsvc("diff", cwd=worktree / "data").lines == [
        "diff --git a/a.txt b/a.txt",
        f"index {short(OLD)}..0000000000 100644",
        "--- a/a.txt",
        "+++ b/a.txt",
        "@@ -1,3 +1,3 @@",
        " one",
        "-two",
        "+2",
        " three",
        "diff --git a/data/b.csv b/data/b.csv",
        "deleted file mode 100644",
        f"index {short(TABLE)}..0000000000",
        "--- a/data/b.csv",
        "+++ /dev/null",
        "@@ -1,2 +0,0 @@",
        "-x,y",
        "-1,2",
        "diff --git a/run b/run",
        "old mode 100644",
        "new mode 100755",
    ]
    assert run_dsvc("diff", "--name-status", "a.txt", "run", cwd=worktree).lines == ["M\ta.txt", "M\trun"]
    assert run_dsvc("diff", "--name-only", "-z", "--", "data", cwd=worktree).stdout == "data/b.csv\0"


def test_what_is_staged_is_compared_with_a_version(worktree: Path, run_dsvc: RunDsvc) -> None:
    (worktree / "a.txt").write_text("one\n")
    (worktree / "data" / "b.csv").rename(worktree / "data" / "c.csv")
    run_dsvc("add", "-A", cwd=worktree)
    (worktree / "a.txt").write_text("not staged\n")

    for words in (["--staged"], ["--cached", "HEAD"], ["--staged", "main"]):
        assert run_dsvc("diff", "--name-status", *words, cwd=worktree).lines == [
            "M\ta.txt",
            "R100\tdata/b.csv\tdata/c.csv",
        ]
    assert run_dsvc("diff", "--staged", "--stat", cwd=worktree).lines == [
        " a.txt                    | 14 B → 4 B  -10 B",
        " data/b.csv => data/c.csv | 8 B → 8 B",
        " 2 files changed: 1 modified, 1 renamed  -10 B",
    ]
    assert run_dsvc("diff", "--staged", "--name-status", "--no-renames", "--", "data", cwd=worktree).lines == [
        "D\tdata/b.csv",
        "A\tdata/c.csv",
    ]
    assert run_dsvc("diff", "--name-only", cwd=worktree).lines == ["a.txt"]


def test_files_are_compared_with_a_version_whatever_is_staged(worktree: Path, run_dsvc: RunDsvc) -> None:
    (worktree / "a.txt").write_text("staged\n")
    (worktree / "new").write_text("new\n")
    (worktree / "passing").write_text("soon gone\n")
    run_dsvc("add", "-A", cwd=worktree)
    # Back to what it was; changed again; gone again.
    (worktree / "a.txt").write_text(OLD)
    (worktree / "new").write_text("newer\n")
    (worktree / "passing").unlink()
    (worktree / "run").unlink()

    assert run_dsvc("diff", "HEAD", "--name-status", cwd=worktree).lines == ["A\tnew", "D\trun"]
    assert "+newer" in run_dsvc("diff", "HEAD", cwd=worktree).lines


def test_two_versions_are_compared_however_they_are_written(tmp_path: Path, run_dsvc: RunDsvc) -> None:
    versions = Versions(tmp_path)
    base = versions.make({b"a": b"base\n"}, "base")
    versions.make({b"a": b"base\n", b"side": b"s\n"}, "side", parents=[base], ref="refs/heads/side")
    versions.make({b"a": b"main\n"}, "main", parents=[base])
    versions.make({b"z": b"z"}, "elsewhere", ref="refs/heads/unrelated")

    def changed(*words: str) -> list[str]:
        return run_dsvc("diff", "--name-status", *words, cwd=tmp_path).lines

    assert changed("main", "side") == changed("main..side") == changed("..side") == ["M\ta", "A\tside"]
    assert changed("side..") == ["M\ta", "D\tside"]
    assert changed("main...side") == ["A\tside"]
    assert changed("side...main") == ["M\ta"]
    assert changed("main", "side", "--", "side") == ["A\tside"]
    assert changed("main..main") == []
    told = run_dsvc("diff", "main...unrelated", cwd=tmp_path, code=4).stderr
    assert "have no history in common" in told


def test_large_and_binary_files_are_shown_as_sizes(worktree: Path, run_dsvc: RunDsvc) -> None:
    (worktree / "large").write_bytes(LARGE)
    (worktree / "small").write_bytes(b"\0")
    commit(worktree, run_dsvc)
    (worktree / "large").write_bytes(LARGE[:1_000_000] + b"edit" + LARGE[1_000_000:])
    (worktree / "small").write_bytes(b"\0\0")

    shown = run_dsvc("diff", cwd=worktree).lines
    assert "Binary files a/large and b/large differ: 2.0 MiB → 2.0 MiB" in shown
    assert "Binary files a/small and b/small differ: 1 B → 2 B" in shown

    run_dsvc("add", "-A", cwd=worktree)
    (told,) = (line for line in run_dsvc("diff", "--staged", cwd=worktree).lines if "b/large differ" in line)
    shared, _, of, _ = told.partition("MiB, ")[2].split(" ", 3)
    assert 0 < int(shared) < int(of)


def test_a_patch_can_be_applied_by_git(worktree: Path, run_dsvc: RunDsvc, tmp_path: Path) -> None:
    (worktree / "a.txt").write_text("zero\none\nthree")
    (worktree / "caf\udce9 \n").write_text("odd name\n")
    (worktree / "link").symlink_to("a.txt")
    (worktree / "data" / "b.csv").rename(worktree / "data" / "c.csv")
    (worktree / "run").chmod(0o755)
    old = tmp_path / "old"
    old.mkdir()
    run_dsvc("add", "-A", cwd=worktree)
    for name in ("a.txt", "run", "data/b.csv"):
        (old / name).parent.mkdir(exist_ok=True)
        content = run_dsvc("cat", f"HEAD:{name}", cwd=worktree).stdout
        (old / name).write_text(content)

    patch = run_dsvc("diff", "--staged", cwd=worktree).stdout.encode("utf-8", "surrogateescape")
    subprocess.run(["git", "apply", "-"], input=patch, cwd=old, check=True)

    for name in ("a.txt", "run", "data/c.csv", "caf\udce9 \n"):
        assert (old / name).read_bytes() == (worktree / name).read_bytes()
    assert (old / "link").readlink() == Path("a.txt")
    assert os.access(old / "run", os.X_OK)
    assert not (old / "data" / "b.csv").exists()


def test_a_file_that_became_a_link_is_shown_as_one_that_went_and_one_that_came(
    worktree: Path, run_dsvc: RunDsvc
) -> None:
    (worktree / "run").unlink()
    (worktree / "run").symlink_to("a.txt")

    assert run_dsvc("diff", "--name-status", cwd=worktree).lines == ["T\trun"]
    shown = run_dsvc("diff", cwd=worktree).lines
    assert [line for line in shown if "file mode" in line] == ["deleted file mode 100644", "new file mode 120000"]
    assert shown[-2:] == ["+a.txt", "\\ No newline at end of file"]


def test_the_exit_code_tells_of_differences_where_that_is_asked(worktree: Path, run_dsvc: RunDsvc) -> None:
    run_dsvc("diff", "--exit-code", cwd=worktree)
    run_dsvc("diff", "-q", cwd=worktree)
    (worktree / "a.txt").write_text("other\n")

    assert run_dsvc("diff", "--exit-code", cwd=worktree, code=1).stdout
    assert run_dsvc("diff", "--quiet", cwd=worktree, code=1).stdout == ""
    assert run_dsvc("diff", "--quiet", "data", cwd=worktree).stdout == ""


def test_json_has_one_object_for_each_change(worktree: Path, run_dsvc: RunDsvc) -> None:
    (worktree / "a.txt").write_text("other\n")
    (worktree / "data" / "b.csv").unlink()

    changed, gone = (json.loads(line) for line in run_dsvc("diff", "--json", cwd=worktree).lines)

    assert (changed["kind"], changed["path"], changed["change"]) == ("change", "a.txt", "modified")
    assert (changed["old"]["size"], changed["new"]["size"], changed["new"]["digest"]) == (14, 6, None)
    assert (gone["change"], gone["new"]) == ("deleted", None)


def test_before_the_first_commit_all_that_is_staged_is_new(repository_folder: Path, run_dsvc: RunDsvc) -> None:
    (repository_folder / "a").write_text("a\n")
    run_dsvc("add", "a", cwd=repository_folder)

    assert run_dsvc("diff", "--staged", "--name-status", cwd=repository_folder).lines == ["A\ta"]
    assert run_dsvc("diff", cwd=repository_folder).stdout == ""


@pytest.mark.parametrize(
    "words",
    [["HEAD", "HEAD", "HEAD"], ["--staged", "HEAD", "HEAD"], ["--staged", "HEAD..HEAD"], ["--stat", "--name-only"]],
)
def test_arguments_that_make_no_sense_are_refused(worktree: Path, run_dsvc: RunDsvc, words: list[str]) -> None:
    assert run_dsvc("diff", *words, cwd=worktree, code=2).stderr.startswith("error: ")
