"""dsvc get: whole or not at all, verified, cached, and never at the cost of what somebody uses."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import RunDsvc
from tests.crash_support import Pause, Watch, dying_at, failing_at, warm_up
from tests.get_support import FIRST, SECOND, Scene, edit, scene
from tests.stores import Stores, stores
from tests.worktree_support import Content, commit_all, read_files, write_files

__all__ = ["scene", "stores"]

_NOBODY = 65534


@pytest.fixture(scope="module", autouse=True)
def warmed() -> None:
    warm_up()


def data_packs(scene: Scene) -> list[Path]:
    """The packs with the large file."""
    packs = (scene.work / ".dsvc/store/packs").rglob("*")
    return [pack for pack in packs if pack.is_file() and pack.stat().st_size > 100_000]


# What is got.


def test_one_line_is_printed_the_path_of_the_whole_version(scene: Scene) -> None:
    assert read_files(scene.get("main")) == SECOND
    assert read_files(scene.get("main@1.0")) == FIRST
    assert read_files(scene.get("HEAD~1")) == FIRST


def test_executable_bit_and_empty_folders_survive(scene: Scene) -> None:
    tree = scene.get("main")

    assert os.access(tree / "run", os.X_OK)
    assert not (tree / "a.csv").stat().st_mode & 0o111
    assert (tree / "empty").is_dir()
    assert (tree / "link").readlink() == Path("data/same")


def test_a_file_that_was_removed_does_not_reappear(scene: Scene) -> None:
    assert (scene.get("main@1.0") / "gone").exists()
    assert not (scene.get("main") / "gone").exists()


def test_versions_share_the_files_they_have_in_common_and_nothing_with_the_worktree(scene: Scene) -> None:
    first, second = scene.get("main@1.0"), scene.get("main")

    assert (first / "data/large").samefile(second / "data/large")
    assert (first / "data/same").samefile(second / "data/deep/twin")
    assert not (first / "data/large").samefile(scene.work / "data/large")


def test_a_tree_is_read_only(scene: Scene) -> None:
    tree = scene.get("main")

    assert not any(path.stat().st_mode & 0o222 for path in [tree, *tree.rglob("*")])


def test_a_large_file_comes_whole_as_a_link_and_as_a_copy(scene: Scene) -> None:
    files: dict[bytes, Content] = {b"large": os.urandom(17_000_000), b"small": b"1"}
    commit_all(scene.worktree, files)

    assert read_files(scene.get("main", "--to", "../out")) == files
    assert read_files(scene.get("main")) == files
    assert read_files(scene.get("main", "--to", "../other")) == files
    assert (scene.get("main") / "large").stat().st_nlink == 2


def test_paths_and_patterns_select_and_what_is_not_there_is_named(scene: Scene) -> None:
    tree = scene.get("main", "data", "*.csv")

    assert read_files(tree) == {path: SECOND[path] for path in SECOND if path.startswith((b"data/", b"a.csv"))}
    assert scene.get("main", "./*.csv", "data/") == tree
    assert (
        scene.run("get", "main", "data", "gone", "nope*", code=4).stderr == "error: gone and 1 more are not in `main`\n"
    )
    assert scene.run("get", "main", "../x", code=2).stderr.startswith("error: invalid path ../x")


def test_a_path_in_the_address_is_what_is_printed(scene: Scene) -> None:
    path = scene.get("main:data/deep")

    assert read_files(path) == {b"twin": b"same"}
    assert [one.name for one in path.parent.iterdir()] == ["deep"]
    assert scene.get("main:a.csv").read_bytes() == b"3,4\n"


def test_parts_are_together_the_whole_and_no_file_is_in_two(scene: Scene) -> None:
    parts = [read_files(scene.get("main", "--part", f"{number}/3")) for number in (1, 2, 3)]

    assert sum(map(len, parts)) == len(SECOND)
    assert parts[0] | parts[1] | parts[2] == SECOND
    assert scene.get("main", "--part", "2/3") == scene.get("main", "--part", "2/3")


def test_a_range_selects_what_came_or_changed(scene: Scene) -> None:
    changed = {b"a.csv": b"3,4\n", b"new/file": b"new"}

    assert read_files(scene.get("main", "--changed", "1.0..")) == changed
    assert read_files(scene.get("main", "--changed", "1.0..HEAD", "new")) == {b"new/file": b"new"}
    assert read_files(scene.get("main@1.0", "--changed", "main..")) == {b"a.csv": b"1,2\n", b"gone": b"for a while"}
    assert read_files(scene.get("main", "--changed", "main..main", "data")) == {}
    assert "two different versions" in scene.run("get", "main@1.0", "--changed", "1.0..HEAD", code=2).stderr
    assert "no range" in scene.run("get", "main", "--changed", "1.0", code=2).stderr


def test_json_says_all_that_is_known(scene: Scene) -> None:
    record = json.loads(scene.run("get", "--json", "main@1.0", "data").stdout)

    assert Path(record["path"]).name == record["tree"]
    assert (record["name"], record["files"], record["selection"], record["was_there"]) == ("main@1.0", 3, "data", False)
    assert scene.run("log", "-1", "--format=%H", "main@1.0").stdout.strip() == record["commit"]


# Asking again.


def test_asking_again_reads_no_data(scene: Scene) -> None:
    tree = scene.get("main")
    for pack in data_packs(scene):
        pack.unlink()

    assert scene.get("main") == tree
    assert "there already" in scene.run("get", "-v", "main").stderr


def test_a_published_version_or_an_exact_commit_asks_nobody(scene: Scene) -> None:
    commit = scene.run("log", "-1", "--format=%H", "main@1.0").stdout.strip()
    tree = scene.get("../work#main@1.0", cwd=scene.away)
    scene.get("../work#main", cwd=scene.away)
    scene.work.rename(scene.root / "gone")

    assert scene.get("../work#main@1.0", cwd=scene.away) == tree
    assert scene.get(f"../work#{commit}", cwd=scene.away) == tree
    assert scene.run("get", "../work#main", cwd=scene.away, code=7).stderr.startswith("error: the store of the remote")


def test_off_line_a_branch_is_what_it_was_and_its_age_is_said(scene: Scene) -> None:
    tree = scene.get("../work#main", cwd=scene.away)
    scene.work.rename(scene.root / "gone")

    old = scene.run("get", "--offline", "../work#main", cwd=scene.away, env={"DSVC_DATE": "2026-08-03T12:00:00+02:00"})

    assert Path(old.stdout.strip()) == tree
    assert old.stderr == "`main` is what it was 2 days ago\n"
    assert "not known here" in scene.run("get", "--offline", "../work#main@1.0", cwd=scene.away, code=7).stderr


def test_a_branch_follows_the_remote(scene: Scene) -> None:
    scene.get("../work#main", cwd=scene.away)
    commit_all(scene.worktree, {b"third": b"3"})

    assert read_files(scene.get("../work#main", cwd=scene.away)) == {b"third": b"3"}


def test_what_may_move_is_asked_for_each_time(scene: Scene) -> None:
    scene.run("tag", "v2", "main~1")
    for name, version in (("main@latest", FIRST), ("v2", FIRST), ("main~0", SECOND)):
        assert read_files(scene.get(f"../work#{name}", cwd=scene.away)) == version
    third: dict[bytes, Content] = {b"third": b"3"}
    commit_all(scene.worktree, third)
    scene.run("publish", "-q", "main@1.1")
    scene.run("tag", "-f", "v2", "main")

    for name in ("main@latest", "v2", "main~0"):
        assert read_files(scene.get(f"../work#{name}", cwd=scene.away)) == third


def test_a_remote_may_be_named_in_the_users_own_configuration(scene: Scene) -> None:
    scene.run("config", "--user", "remote.lab.url", str(scene.work), cwd=scene.away)

    assert read_files(scene.get("lab#main", cwd=scene.away)) == SECOND


def test_a_store_that_was_replaced_by_another_is_refused_and_how_to_go_on_is_said(scene: Scene) -> None:
    scene.get("../work#main", cwd=scene.away)
    shutil.rmtree(scene.work)
    scene.work.mkdir()
    scene.run("init", "-q")

    refused = scene.run("get", "../work#main", cwd=scene.away, code=10)

    assert f"remove {scene.cache}/stores/" in refused.stderr


def test_bad_names_are_refused_and_leave_nothing(scene: Scene) -> None:
    assert scene.run("get", "nope", code=4).stderr == "error: unknown revision `nope`\n"
    assert "there is no remote `nope`" in scene.run("get", "nope#main", code=4).stderr
    assert "no dsvc store" in scene.run("get", "./#main", cwd=scene.away, code=4).stderr
    assert "REMOTE#NAME" in scene.run("get", "main", cwd=scene.away, code=3).stderr
    assert "URL#NAME" in scene.run("get", "s3://bucket", code=2).stderr
    for words in (["--copy"], ["--to", "x", "--copy", "--link"], ["--overwrite"], ["--part", "0/2"], ["--nope"]):
        scene.run("get", "main", *words, code=2)
    scene.run("get", "main:data", "data", code=2)
    assert scene.trees() == []


# Whole or not at all.


def test_a_get_that_cannot_be_whole_fails_and_leaves_no_tree(scene: Scene) -> None:
    for pack in data_packs(scene):
        pack.unlink()

    failed = scene.run("get", "main", code=8)

    assert failed.stdout == ""
    assert scene.trees() == []
    scene.run("get", "main", "--to", "../out", code=8)
    assert not (scene.root / "out").exists()


def test_wrong_bytes_are_never_got(scene: Scene) -> None:
    for pack in data_packs(scene):
        data = bytearray(pack.read_bytes())
        data[len(data) // 2] ^= 1
        pack.chmod(0o644)
        pack.write_bytes(data)

    scene.run("get", "main", code=8)

    assert scene.trees() == []


def test_killed_at_any_step_it_leaves_nothing_that_passes_for_whole(scene: Scene) -> None:
    steps = scene.run("get", "main", watch=Watch(within=scene.cache)).steps
    shutil.rmtree(scene.cache)

    for step in range(0, steps, 5):
        scene.run("get", "main", watch=Watch(dying_at(step), within=scene.cache), code=None)
        tree = scene.get("main", "-q")
        assert read_files(tree) == SECOND
        assert scene.trees() == [tree]
        shutil.rmtree(scene.cache)


def test_a_full_disk_is_said_and_nothing_passes_for_whole(scene: Scene) -> None:
    steps = scene.run("get", "main", watch=Watch(within=scene.cache)).steps
    shutil.rmtree(scene.cache)

    for step in range(0, steps, 5):
        full = Watch(failing_at(step, errno.ENOSPC), within=scene.cache)
        failed = scene.run("get", "main", watch=full, code=9)
        assert failed.stdout == ""
        assert read_files(scene.get("main")) == SECOND
        shutil.rmtree(scene.cache)


def test_two_who_get_the_same_at_once_make_it_once(scene: Scene) -> None:
    gate = Pause()
    running = [scene.start("get", "--json", "main", before=gate.hold) for _ in range(2)]
    assert all([gate.expect(one) for one in running])  # noqa: C419 (each has to be waited for)
    gate.go_on(2)
    records = [json.loads(one.wait().stdout) for one in running]
    gate.close()

    assert sorted(record["was_there"] for record in records) == [False, True]
    assert {Path(record["path"]) for record in records} == set(scene.trees())
    assert read_files(Path(records[0]["path"])) == SECOND


# What is there is looked at.


@pytest.mark.parametrize("how", ["edited", "removed", "added", "replaced", "folder", "mode", "link"])
def test_a_tree_that_was_changed_is_made_right_before_it_is_given_out(how: str, scene: Scene) -> None:
    tree = scene.get("main")
    subprocess.run(["chmod", "-R", "u+w", tree], check=True)
    if how == "edited":
        edit(tree / "data/large", b"!")
    elif how == "removed":
        (tree / "data/deep/twin").unlink()
    elif how == "added":
        write_files(tree, {b"data/labels.cache": b"x", b"more/and/more": b"x"})
    elif how == "replaced":
        (tree / "a.csv").unlink()
        (tree / "a.csv").write_bytes(b"9,9\n")
    elif how == "folder":
        shutil.rmtree(tree / "data")
        (tree / "data").write_bytes(b"a file")
    elif how == "mode":
        (tree / "run").chmod(0o444)
    else:
        (tree / "link").unlink()
        (tree / "link").symlink_to("/etc/passwd")

    assert scene.get("main") == tree
    assert read_files(tree) == SECOND
    assert not any(path.stat().st_mode & 0o222 for path in [tree, *tree.rglob("*")])


def test_what_only_a_hash_shows_is_found_where_that_is_asked_for(scene: Scene) -> None:
    tree = scene.get("main")
    large = tree / "data/large"
    before = large.stat()
    edit(large, b"?")
    large.chmod(0o444)
    os.utime(large, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert scene.get("main", "--verify") == tree
    assert read_files(tree) == SECOND
    assert read_files(scene.get("main@1.0")) == FIRST


def test_a_damaged_file_of_the_cache_gets_into_no_other_tree(scene: Scene) -> None:
    edit(scene.get("main") / "data/large", b"!")

    assert read_files(scene.get("main@1.0")) == FIRST


# Links.


def test_the_content_of_links_comes_and_one_that_is_gone_is_an_error(scene: Scene) -> None:
    outside = scene.root / "outside.bin"
    outside.write_bytes(b"elsewhere")
    scene.run("link", "add", "-q", "--digest", "--to", "linked", outside.as_uri())
    scene.run("commit", "-q", "-m", "A link")
    wanted = {**SECOND, b"linked": b"elsewhere"}

    tree = scene.get("main")
    assert read_files(tree) == wanted
    assert read_files(scene.get("main", "--to", "../out")) == wanted
    outside.unlink()
    assert scene.get("main") == tree
    assert read_files(scene.get("main", "linked", "--offline")) == {b"linked": b"elsewhere"}
    assert "there already" in scene.run("get", "-v", "main", "--to", "../out").stderr
    scene.run("-c", "cache.keep=0", "cache", "gc", "--max-size", "0")

    gone = scene.run("get", "main", code=4)

    assert gone.stderr.startswith(f"error: linked is a link to {outside.as_uri()}, where nothing is any more\n")
    assert scene.trees() == []
    assert "nobody is to be asked" in scene.run("get", "main", "--offline", code=7).stderr
    outside.write_bytes(b"otherwise")
    assert "has changed" in scene.run("get", "main", code=8).stderr
    assert "nobody here has named" in scene.run("get", "../work#main", cwd=scene.away, code=10).stderr
    assert scene.trees() == []


def test_in_a_lazy_clone_only_what_is_needed_comes_and_without_the_remote_nothing_is_made(scene: Scene) -> None:
    scene.run("clone", "-q", "--no-checkout", scene.work, "../clone")
    clone = scene.root / "clone"

    assert read_files(scene.get("main@1.0", "a.csv", cwd=clone)) == {b"a.csv": b"1,2\n"}
    scene.work.rename(scene.root / "gone")
    # Its history is here, and so is what was got.
    assert read_files(scene.get("main@1.0", "*.csv", cwd=clone)) == {b"a.csv": b"1,2\n"}
    trees = scene.trees()
    for words in ([], ["--offline"], ["--to", "../out"]):
        failed = scene.run("get", "main", *words, cwd=clone, code=7)
        assert "error: cannot read the data of link, which " in failed.stderr
    assert scene.trees() == trees
    (scene.root / "gone").rename(scene.work)
    assert read_files(scene.get("main", cwd=clone)) == SECOND


# Into a folder of one's own.


def test_copies_may_be_edited_and_harm_nothing(scene: Scene) -> None:
    tree = scene.get("main")
    out = scene.get("main", "--to", "../out")
    with (out / "data/large").open("ab") as file:
        file.write(b"!")

    assert out == scene.root / "out"
    assert read_files(scene.get("main")) == SECOND
    assert read_files(tree) == SECOND
    assert read_files(out) == {**SECOND, b"data/large": bytes(SECOND[b"data/large"]) + b"!"}  # type: ignore[arg-type]


def test_a_folder_of_ones_own_needs_no_room_in_the_cache(scene: Scene) -> None:
    assert read_files(scene.get("main", "--to", "../out")) == SECOND

    assert scene.files() == []
    assert scene.trees() == []


def test_what_an_earlier_get_has_put_there_stays(scene: Scene) -> None:
    out = scene.get("main", "--to", "../out")
    before = {path: path.stat().st_ctime_ns for path in out.rglob("*")}
    again = scene.run("get", "-v", "main", "--to", "../out")
    (out / "a.csv").unlink()
    shutil.rmtree(out / "new")
    os.utime(out / "run")

    assert "there already" in again.stderr
    assert "there already" not in scene.run("get", "-v", "main", "--to", "../out").stderr
    assert read_files(out) == SECOND
    after = {path: path.stat().st_ctime_ns for path in out.rglob("*")}
    assert [path.name for path in before if before[path] != after[path]] == ["a.csv", "new", "file", "run"] or {
        path.name for path in before if before[path] != after[path]
    } == {"a.csv", "new", "file", "run"}


def test_what_only_a_hash_shows_is_found_in_a_folder_of_ones_own_too(scene: Scene) -> None:
    out = scene.get("main", "--to", "../out")
    before = (out / "data/large").stat()
    edit(out / "data/large", b"?")
    os.utime(out / "data/large", ns=(before.st_atime_ns, before.st_mtime_ns))

    assert "\n\tdata/large\n" in scene.run("get", "main", "--to", out, "--verify", code=5).stderr
    assert read_files(scene.get("main", "--to", out, "--verify", "--overwrite")) == SECOND


def test_other_things_in_the_folder_are_named_and_left_alone(scene: Scene) -> None:
    out = scene.get("main", "--to", "../out")
    (out / "a.csv").write_bytes(b"mine")
    (out / "note").write_bytes(b"mine too")
    before = read_files(out)

    refused = scene.run("get", "main@1.0", "--to", "../out", code=5)

    assert "\n\ta.csv\n\tnew/file\n\tnote\n" in refused.stderr
    assert "`--overwrite`" in refused.stderr
    assert read_files(out) == before
    assert read_files(scene.get("main@1.0", "--to", "../out", "--overwrite")) == FIRST


def test_what_is_to_be_overwritten_goes_only_when_all_else_has_come(scene: Scene) -> None:
    out = scene.root / "out"
    write_files(out, {b"a.csv": b"mine", b"note": b"mine too"})
    for pack in data_packs(scene):
        pack.rename(f"{pack}.away")

    # Else where symlinks lead to is looked at before anything comes.
    failed = scene.run("get", "--unsafe-symlinks", "main", "--to", out, "--overwrite", code=8)

    assert "what has come is kept in" in failed.stderr
    assert {path: content for path, content in read_files(out).items() if not path.startswith(b".dsvc-get")} == {
        b"a.csv": b"mine",
        b"note": b"mine too",
    }
    for pack in data_packs(scene):
        pack.rename(pack.with_suffix(""))
    assert "\n\ta.csv\n\tnote\n" in scene.run("get", "main@1.0", "--to", out, code=5).stderr
    # One that was given up is in nobody's way.
    assert read_files(scene.get("main@1.0", "--to", out, "--overwrite")) == FIRST


def test_what_names_no_folder_is_refused(scene: Scene) -> None:
    (scene.root / "file").write_text("mine")

    assert "file is not a folder" in scene.run("get", "main", "--to", "../file", "--overwrite", code=5).stderr
    # A variable that is not set, in a script.
    assert "'' names no file or folder" in scene.run("get", "main", "--to", "", "--overwrite", code=2).stderr
    assert (scene.root / "file").read_text() == "mine"


def test_a_shared_cache_opens_nothing_else_to_the_group(scene: Scene) -> None:
    out = scene.root / "out"
    shared = ["-c", "cache.shared=true", "get", "main"]

    def private() -> None:
        os.umask(0o077)

    assert scene.start(*shared, "--to", out, before=private).wait().code == 0
    shutil.rmtree(out / "data/deep")
    assert scene.start(*shared, "--to", out, before=private).wait().code == 0
    ended = scene.start(*shared, "--", "sh", "-c", "umask", before=private).wait()

    assert read_files(out) == SECOND
    assert not any(path.lstat().st_mode & 0o077 for path in [out, *out.rglob("*")] if not path.is_symlink())
    assert ended.stdout == "0077\n"
    assert (scene.cache / "locks").stat().st_mode & 0o070 == 0o070


def test_a_repository_is_never_overwritten(scene: Scene) -> None:
    (scene.away / ".git").mkdir()

    for folder in (".", "../away"):
        assert "is a repository" in scene.run("get", "main", "--to", folder, "--overwrite", code=10).stderr


def test_killed_on_the_way_into_a_folder_it_shows_only_what_is_whole_and_goes_on(scene: Scene) -> None:
    out = scene.root / "out"
    steps = scene.run("get", "main", "--to", out, watch=Watch(within=out)).steps
    shutil.rmtree(out)

    for step in range(1, steps, 3):
        scene.run("get", "main", "--to", out, watch=Watch(dying_at(step), within=out), code=None)
        whole = {path: content for path, content in read_files(out).items() if not path.startswith(b".dsvc-get")}
        assert whole.items() <= SECOND.items()
        scene.get("main", "--to", out)
        assert read_files(out) == SECOND
        shutil.rmtree(out)


def test_links_to_the_cache_are_read_only_and_root_gets_copies(scene: Scene) -> None:
    for path in [scene.root, *scene.root.rglob("*")]:
        os.chown(path, _NOBODY, _NOBODY, follow_symlinks=False)
    scene.run("get", "main", "--to", "../linked", "--link", user=_NOBODY)
    linked = scene.root / "linked"
    root = scene.run("get", "main", "--to", "../copied", "--link")

    assert read_files(linked) == SECOND
    assert (linked / "data/large").stat().st_nlink == 2
    assert not (linked / "data/large").stat().st_mode & 0o222
    assert "are copies" in root.stderr
    assert (scene.root / "copied/data/large").stat().st_nlink == 1


# While somebody uses it.


def test_a_command_is_run_with_the_path_and_its_exit_status_is_ours(scene: Scene) -> None:
    script = 'cat "$1/a.csv"; test "$1" = "$DSVC_PATH"; kill -"$2" $$; exit "$2"'

    assert scene.run("get", "main", "--", "sh", "-c", script, "sh", "{}", "0").stdout == "3,4\n"
    scene.run("get", "main", "--", "sh", "-c", "exit 7", code=7)
    scene.run("get", "main", "--", "sh", "-c", "kill -15 $$", code=143)
    assert "cannot run nowhere" in scene.run("get", "main", "--", "nowhere", code=127).stderr
    scene.run("get", "main", "--", "/dev/null", code=126)


def test_a_tree_in_use_is_never_evicted(scene: Scene, environment: dict[str, str]) -> None:
    environment = {**environment, "HOME": str(scene.root / "home")}
    words = [
        sys.executable,
        "-m",
        "dsvc",
        "get",
        "main",
        "--",
        "sh",
        "-c",
        'echo "$DSVC_PATH"; read line; cat "$DSVC_PATH/a.csv"',
    ]
    with subprocess.Popen(
        words, cwd=scene.work, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as user:
        assert user.stdin is not None
        assert user.stdout is not None
        tree = Path(user.stdout.readline().strip())
        scene.age(tree)
        kept = scene.run("cache", "gc", "--max-size", "0")
        listed = scene.run("cache", "ls")
        user.stdin.write("\n")
        user.stdin.close()
        assert user.stdout.read() == "3,4\n"

    assert "1 in use" in kept.stderr
    assert "in use" in listed.stdout
    scene.run("cache", "gc", "--max-size", "0")
    assert not tree.exists()


# Far away.


def test_a_version_comes_from_a_bucket_without_a_repository_and_is_asked_for_once(
    scene: Scene, stores: Stores, run_dsvc: RunDsvc
) -> None:
    env, address = stores.environment("ministack"), stores.address("ministack")
    home = {"HOME": str(scene.root / "home")}

    def dsvc(*words: str, cwd: Path = scene.away, env: dict[str, str] = {**env, **home}, code: int = 0) -> str:  # noqa: B006
        return run_dsvc(*words, cwd=cwd, env=env, code=code).stdout.strip()

    dsvc("push", "-q", address, "main", "main@1.0", cwd=scene.work)
    tree = Path(dsvc("get", f"{address}#main@1.0"))

    assert read_files(tree) == FIRST
    assert Path(dsvc("get", f"{address}#main@1.0", env=home)) == tree
    assert Path(dsvc("get", "--offline", f"{address}#main@1.0", "data", env=home)) != tree
    dsvc("get", f"{address}#main", env=home, code=7)
    # Data is there once: as files.
    kept = [path for path in (scene.cache / "stores").rglob("packs/*/*") if path.stat().st_size > 100_000]
    assert kept == []
    assert list((scene.cache / "incoming").iterdir()) == []
