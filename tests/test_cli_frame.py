"""The frame of the command line: which command runs, what is said where, and with which exit code."""

import ast
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dsvc import __version__
from dsvc.cli import console, errors
from dsvc.cli.commands import COMMANDS, GROUPS, load, load_subcommands
from dsvc.cli.editor import clean_message
from dsvc.cli.paths import OutsideRepositoryError, shown_path, split_words, tree_path
from dsvc.errors import BusyError, CorruptionError, DsvcError, NoSpaceError, NotFoundError, RefusedError, StorageError
from dsvc.repository import NotARepositoryError
from tests.conftest import PROJECT, RunDsvc

# Which command


def test_the_version_is_one_line_on_stdout(run_dsvc: RunDsvc) -> None:
    for words in (["--version"], ["version"], ["--no-pager", "--version"]):
        result = run_dsvc(*words)

        assert (result.stdout, result.stderr) == (f"dsvc {__version__}\n", "")


def test_the_version_for_a_bug_report_is_json_too(run_dsvc: RunDsvc) -> None:
    facts = json.loads(run_dsvc("version", "--verbose", "--json").stdout)

    assert facts["dsvc"] == __version__
    assert facts["blake3"]


def test_help_lists_every_command_once_in_its_group(run_dsvc: RunDsvc) -> None:
    text = run_dsvc("help").stdout

    for name, entry in COMMANDS.items():
        assert text.count(f"\n   {name} ") == 1
        assert entry.group in GROUPS
    assert run_dsvc("--help").stdout == text


def test_no_command_is_a_usage_error_that_shows_the_help(run_dsvc: RunDsvc) -> None:
    assert run_dsvc(code=2).stdout == run_dsvc("help").stdout


def test_help_of_a_command_is_the_same_however_it_is_asked_for(run_dsvc: RunDsvc) -> None:
    text = run_dsvc("help", "config").stdout

    assert text.startswith("usage: dsvc config ")
    assert run_dsvc("config", "--help").stdout == text
    assert run_dsvc("config", "-h").stdout == text


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        (["confgi"], "`confgi` is not a dsvc command", "did you mean `config`?"),
        (["qqqqq"], "`qqqqq` is not a dsvc command", "see `dsvc help`"),
        (["--nonsense", "config"], "unknown option `--nonsense` before the command", "options of a command stand"),
        (["config", "--nonsense"], "unknown option `--nonsense`", "see `dsvc config --help`"),
        (["config", "--lisst"], "unknown option `--lisst`", "did you mean `--list`?"),
        (["config", "user.nme"], "unknown configuration key 'user.nme'", "did you mean `user.name`"),
        (["config", "a", "b", "c"], "unexpected argument `c`", "see `dsvc config --help`"),
        (["-C"], "option `-C` needs a value", "see `dsvc help`"),
        (["-c", "user.name"], "`-c` takes KEY=VALUE, not `user.name`", "see `dsvc help`"),
        (["help", "confgi"], "no command or guide is called `confgi`", "did you mean `config`?"),
    ],
)
def test_a_mistake_is_one_error_and_one_hint_on_stderr(
    run_dsvc: RunDsvc, words: list[str], error: str, hint: str
) -> None:
    result = run_dsvc(*words, code=2)

    assert result.stdout == ""
    said, advised = result.stderr.splitlines()
    assert said == f"error: {error}"
    assert advised.startswith(f"hint: {hint}")


def test_every_command_is_a_module_with_its_summary_and_nothing_else_is() -> None:
    for name, entry in COMMANDS.items():
        assert (load(name).__doc__ or "").split("\n")[0] == f"{entry.summary}.", name
        for subcommand in load_subcommands(name).values():
            assert (subcommand.__doc__ or "").split("\n")[0].endswith("."), name

    modules = {path.stem for path in (PROJECT / "dsvc/cli").glob("*.py") if _defines_command(path)}
    assert modules == {name.replace("-", "_") for name in COMMANDS}


def _defines_command(path: Path) -> bool:
    return any(
        isinstance(node, ast.FunctionDef) and node.name == "command" for node in ast.parse(path.read_text()).body
    )


# Where


def test_c_changes_the_folder_as_often_as_it_is_given(run_dsvc: RunDsvc, tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)

    result = run_dsvc("-C", "a", "-C", "b", "config", "user.name", "Ada", code=3)

    assert str(tmp_path / "a/b") in result.stderr
    assert run_dsvc("-C", "none", "help", code=4).stderr == "error: none: no such file or directory\n"


def test_outside_a_repository_is_said_with_the_way_out(run_dsvc: RunDsvc, tmp_path: Path) -> None:
    result = run_dsvc("config", "user.name", "Ada", code=3)

    assert result.stderr.startswith(f"error: not a dsvc repository (or any of the parent folders): {tmp_path}\nhint: ")


# Configuration


def test_a_setting_is_what_was_set_until_it_is_unset(run_dsvc: RunDsvc) -> None:
    run_dsvc("config", "--user", "core.pager", "less -S")
    run_dsvc("config", "--user", "checkout.link", "copy,reflink")

    assert run_dsvc("config", "core.pager").stdout == "less -S\n"
    assert run_dsvc("config", "--get", "checkout.link").stdout == "copy,reflink\n"
    assert "core.pager=less -S" in run_dsvc("config", "--list").lines

    run_dsvc("config", "--user", "--unset", "core.pager")

    assert run_dsvc("config", "core.pager", code=1).stdout == ""
    run_dsvc("config", "--user", "--unset", "core.pager", code=4)


def test_flags_stand_above_variables_and_those_above_files(run_dsvc: RunDsvc) -> None:
    run_dsvc("config", "--user", "add.jobs", "1")

    shown = ["config", "--show-origin", "add.jobs"]
    assert run_dsvc(*shown).stdout == "user\t1\n"
    assert run_dsvc(*shown, env={"DSVC_ADD_JOBS": "2"}).stdout == "environment\t2\n"
    assert run_dsvc("-c", "add.jobs=3", *shown, env={"DSVC_ADD_JOBS": "2"}).stdout == "flag\t3\n"


def test_settings_are_json_one_object_on_a_line(run_dsvc: RunDsvc) -> None:
    settings = [json.loads(line) for line in run_dsvc("config", "--list", "--json").lines]

    assert {"key": "checkout.link", "value": ["reflink", "hardlink", "copy"], "origin": "default"} in settings


def test_a_wrong_user_file_is_a_usage_error_that_names_it(run_dsvc: RunDsvc, environment: dict[str, str]) -> None:
    file = Path(environment["HOME"], ".config/dsvc/config.toml")
    file.parent.mkdir(parents=True)
    file.write_text("[user]\nnmae = 'x'\n")

    assert str(file) in run_dsvc("config", "--list", code=2).stderr


# How it ends


class _OurConflictError(NotFoundError):
    pass


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.UsageError("x"), 2),
        (NotARepositoryError(Path("x")), 3),
        (_OurConflictError("x"), 4),
        (BusyError("x"), 6),
        (StorageError("x"), 7),
        (PermissionError(13, "Permission denied"), 7),
        (CorruptionError("x"), 8),
        (NoSpaceError("x"), 9),
        (OSError(28, "No space left on device"), 9),
        (RefusedError("x"), 10),
        (errors.Failure("x", code=5), 5),
        (ZeroDivisionError(), 70),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error: Exception, code: int) -> None:
    assert errors.exit_code(error) == code


def test_every_kind_of_error_of_the_library_has_an_exit_code_that_the_manual_lists() -> None:
    listed = {int(code) for code, _ in errors.EXIT_STATUS}

    for kind in DsvcError.__subclasses__():
        if kind is not errors.Failure:
            assert errors.exit_code(kind.__new__(kind)) in listed - {0, 1, 70}


_PRELUDE = """\
import sys
from dsvc.cli import console, errors, session
from dsvc.config import Config
console.prepare()
"""


def test_a_hint_names_only_commands_that_there_are() -> None:
    named = {word for hint in errors._HINTS.values() for word in re.findall(r"`dsvc (\w+)", hint)}

    assert named <= set(COMMANDS)


def _run_code(code: str, environment: dict[str, str], **options: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", _PRELUDE + code]
    return subprocess.run(words, env=environment, text=True, check=False, **{"capture_output": True, **options})  # type: ignore[call-overload,no-any-return]


def test_a_bug_is_one_line_and_how_to_see_more(environment: dict[str, str]) -> None:
    code = "sys.exit(errors.guard(lambda: 1 // 0))"

    short = _run_code(code, environment)
    long = _run_code(code, {**environment, "DSVC_TRACEBACK": "1"})

    assert short.returncode == long.returncode == 70
    assert short.stderr.startswith(
        "error: unexpected ZeroDivisionError: integer division or modulo by zero (<string>:5)"
    )
    assert "DSVC_TRACEBACK=1" in short.stderr
    assert "Traceback" in long.stderr


def test_a_reader_that_has_seen_enough_ends_us_without_a_word(environment: dict[str, str]) -> None:
    code = "sys.exit(errors.guard(lambda: [console.out('y' * 1000) for _ in range(10000)] and 0))"
    reading, writing = os.pipe()
    os.close(reading)

    ended = _run_code(code, environment, capture_output=False, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)

    assert (ended.returncode, ended.stderr) == (141, "")


def test_a_full_disk_behind_stdout_is_said(environment: dict[str, str]) -> None:
    with Path("/dev/full").open("w") as full:
        ended = _run_code(
            "sys.exit(errors.guard(lambda: console.out('y') or 0))",
            environment,
            capture_output=False,
            stdout=full,
            stderr=subprocess.PIPE,
        )

    assert (ended.returncode, ended.stderr) == (9, "error: no space left on device\n")


def test_an_interrupt_ends_with_130_and_no_traceback(environment: dict[str, str]) -> None:
    code = "import signal\nsys.exit(errors.guard(lambda: signal.raise_signal(signal.SIGINT) or 0))"

    ended = _run_code(code, environment)

    assert (ended.returncode, ended.stderr) == (128 + signal.SIGINT, "")


def test_closed_streams_are_nobodys_files(environment: dict[str, str], tmp_path: Path) -> None:
    # Without stdout, the first file that is opened gets its number, and must not get what is printed.
    code = "with open('data', 'w') as data:\n    console.out('printed')\n    data.write('data')"

    words = ["sh", "-c", '"$@" >&- 2>&-', "sh", sys.executable, "-c", _PRELUDE + code]
    subprocess.run(words, env=environment, cwd=tmp_path, check=False)

    assert (tmp_path / "data").read_text() == "data"


# What is said


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1024 * 1024 - 1, "1.0 MiB"),
        (1_288_490_189, "1.2 GiB"),
        (10**18, "888.2 PiB"),
    ],
)
def test_sizes_are_shown_in_binary_units(size: int, text: str) -> None:
    assert console.format_size(size) == text


def test_counts_agree_with_their_noun() -> None:
    assert console.plural(1, "file") == "1 file"
    assert console.plural(1234, "file") == "1,234 files"
    assert console.plural(0, "branch", "branches") == "0 branches"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 seconds ago"),
        (89, "89 seconds ago"),
        (90, "2 minutes ago"),
        (3 * 3600, "3 hours ago"),
        (86400 * 13, "13 days ago"),
        (86400 * 20, "3 weeks ago"),
        (86400 * 100, "3 months ago"),
        (86400 * 800, "2 years ago"),
        (-5, "in the future"),
    ],
)
def test_dates_are_told_as_git_tells_them(seconds: int, text: str) -> None:
    assert console.relative_date(0, seconds * 1_000_000) == text


def test_a_date_is_shown_in_the_zone_of_who_made_it() -> None:
    assert console.format_date(1_785_578_400_000_000, 120) == "Sat Aug 1 12:00:00 2026 +0200"
    assert console.format_date(0, -570) == "Wed Dec 31 14:30:00 1969 -0930"


def test_json_holds_a_path_whatever_its_bytes() -> None:
    assert console.json_path("ä b".encode()) == {"path": "ä b"}
    assert console.json_path(b"a\xff") == {"path": "a\N{REPLACEMENT CHARACTER}", "path_b64": "Yf8="}


def test_a_path_comes_out_as_the_bytes_that_it_is_in_any_locale(environment: dict[str, str]) -> None:
    code = "console.out('\\udcff\\u00e4')"

    for locale in ("C", "C.UTF-8", "de_DE.ISO-8859-1"):
        ended = subprocess.run(
            [sys.executable, "-c", _PRELUDE + code],
            env={**environment, "LC_ALL": locale},
            capture_output=True,
            check=True,
        )
        assert ended.stdout == b"\xff\xc3\xa4\n"


def test_a_message_loses_comments_and_needless_blanks() -> None:
    assert clean_message("\n\nAdd data  \n\n\n\nMore.\n# Changes:\n#\tx\n\n") == "Add data\n\nMore."
    assert clean_message("# nothing\n\n") == ""


# Paths


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def test_paths_are_read_and_shown_from_the_working_folder(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)

    with _inside(tmp_path / "a/b"):
        assert tree_path(tmp_path, b"x") == b"a/b/x"
        assert tree_path(tmp_path, b"../x/") == b"a/x"
        assert tree_path(tmp_path, b"../..") == b""
        assert tree_path(tmp_path, os.fsencode(tmp_path / "y")) == b"y"
        assert shown_path(tmp_path, b"a/b/x") == "x"
        assert shown_path(tmp_path, b"a/x y") == "../x y"
        assert shown_path(tmp_path, b"c/") == "../../c/"
        with pytest.raises(OutsideRepositoryError):
            tree_path(tmp_path, b"../../..")


def test_a_path_by_way_of_a_link_is_found_in_the_repository(tmp_path: Path) -> None:
    (tmp_path / "repository/data").mkdir(parents=True)
    (tmp_path / "link").symlink_to("repository/data")

    assert tree_path(tmp_path / "repository", os.fsencode(tmp_path / "link/x")) == b"data/x"


def test_words_are_told_apart_as_git_does(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    (tmp_path / "main").touch()
    known = {"HEAD", "v1", "main"}.__contains__

    with _inside(tmp_path):
        assert split_words(["HEAD", "v1", "data"], None, known) == (("HEAD", "v1"), (b"data",))
        assert split_words(["data", "*.csv"], None, known) == ((), (b"data", b"*.csv"))
        assert split_words(["main"], (b"gone",), known) == (("main",), (b"gone",))
        with pytest.raises(errors.Failure, match="`main` is both a revision and a path"):
            split_words(["main"], None, known)
        with pytest.raises(errors.Failure, match="gone is neither a revision nor a path"):
            split_words(["HEAD", "gone"], None, known)


# On a terminal


def _on_terminal(code: str, environment: dict[str, str]) -> str:
    """Return all that *code* prints on a terminal that is all three of its streams."""
    controller, terminal = pty.openpty()
    words = [sys.executable, "-c", _PRELUDE + code]
    with subprocess.Popen(words, env=environment, stdin=terminal, stdout=terminal, stderr=terminal):
        os.close(terminal)
        printed = b"".join(iter(lambda: _read(controller), b""))
    os.close(controller)
    return printed.decode().replace("\r\n", "\n")


def _read(controller: int) -> bytes:
    try:
        return os.read(controller, 65536)
    except OSError:
        # Linux's way of saying that nobody is at the other end.
        return b""


def test_colours_are_for_terminals_and_for_those_who_want_them(environment: dict[str, str]) -> None:
    code = "console.out(console.paint('new', 'green'))"
    colour = {**environment, "TERM": "xterm"}

    assert _on_terminal(code, colour) == "\x1b[32mnew\x1b[m\n"
    assert _on_terminal(code, {**colour, "NO_COLOR": "1"}) == "new\n"
    assert _on_terminal(code, {**colour, "TERM": "dumb"}) == "new\n"
    assert _run_code(code, colour).stdout == "new\n"


def test_long_output_goes_through_the_pager_on_a_terminal_alone(environment: dict[str, str]) -> None:
    code = "with console.pager(Config()):\n    console.out('one')\nconsole.out('two')"
    paged = {**environment, "PAGER": "sed s/^/paged:/"}

    assert _on_terminal(code, paged) == "paged:one\ntwo\n"
    assert _run_code(code, paged).stdout == "one\ntwo\n"
    assert _on_terminal("console.set_paging(False)\n" + code, paged) == "one\ntwo\n"


def test_progress_is_drawn_while_something_takes_long(environment: dict[str, str]) -> None:
    controller, terminal = pty.openpty()
    code = (
        "import sys\nfrom dsvc.cli.progress_bar import ProgressBar\nbar = ProgressBar(patience=0)\n"
        "bar.start('adding', files=4, size=4096)\nbar.advance(1, 1024)\nsys.stdin.read()\nbar.close()\nprint('done')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env={**environment, "TERM": "xterm", "COLUMNS": "120"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=terminal,
    ) as process:
        os.close(terminal)
        drawn = b""
        while b"left" not in drawn:
            drawn += os.read(controller, 65536)
        # Drained, so that the last strokes do not block it.
        threading.Thread(target=lambda: all(iter(lambda: _read(controller), b"")), daemon=True).start()
        output, _ = process.communicate(b"")

    assert b"adding" in drawn
    assert b"1 of 4 files, 1.0 KiB of 4.0 KiB, " in drawn
    assert output == b"done\n"


def test_what_is_quick_or_unwatched_draws_nothing_and_loads_nothing(environment: dict[str, str]) -> None:
    code = (
        "from dsvc.cli.progress_bar import progress_bar\nwith progress_bar() as bar:\n"
        "    bar.start('adding')\n    bar.advance(1, 1)\n    bar.finish()\nconsole.out(str('rich' in sys.modules))"
    )

    assert _on_terminal(code, {**environment, "TERM": "xterm"}) == "False\n"
    assert _run_code(code, environment).stdout == "False\n"


# Who


def test_the_author_is_who_the_settings_say_else_git_else_a_guess(environment: dict[str, str], tmp_path: Path) -> None:
    code = "console.out(session.author(session.load_config()))"
    unnamed = {key: value for key, value in environment.items() if not key.startswith("DSVC_AUTHOR")}
    unnamed |= {"USER": "grace", "LOGNAME": "grace"}

    assert _run_code(code, environment).stdout == "Ada Lovelace <ada@example.org>\n"

    guessed = _run_code(code, unnamed, cwd=tmp_path)
    assert guessed.stdout.startswith("grace <grace@")
    assert guessed.stderr.startswith("warning: nobody said who you are")

    Path(environment["HOME"], ".gitconfig").write_text("[user]\nname = Grace <Hopper>\nemail = g@example.org\n")
    from_git = _run_code(code, unnamed, cwd=tmp_path)
    assert (from_git.stdout, from_git.stderr) == ("Grace Hopper <g@example.org>\n", "")


@pytest.mark.parametrize(
    ("date", "moment"),
    [
        ("1785578400", (1_785_578_400_000_000, 0)),
        ("2026-08-01T12:00:00+02:00", (1_785_578_400_000_000, 120)),
        ("2026-08-01T10:00:00Z", (1_785_578_400_000_000, 0)),
    ],
)
def test_scripts_may_say_what_time_it_is(environment: dict[str, str], date: str, moment: tuple[int, int]) -> None:
    code = "console.out(str(session.now()))"

    assert _run_code(code, {**environment, "DSVC_DATE": date}).stdout == f"{moment}\n"
