"""The tools that are measured side by side, each as the commands that answer a question.

A tool is plain data: which commands to run, where, and where its store is. Nothing here
runs or measures anything but the look-up of programs and of their versions.

Places in a command: `{place}` is a fresh folder of this tool and round, with `work/data`
(the data set), `store`, `restored` and `home`; `{label}` is another word for each question.
What a peer needs once for a new repository is done before the clock starts; for dsvc
`init` counts.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["QUESTIONS", "Command", "Tool", "dsvc_environment", "dsvc_program", "known_tools"]

QUESTIONS = {
    "first": "first version",
    "unchanged": "nothing changed",
    "status": "status",
    "small": "ten small edits",
    "edited": "1 % edited",
    "push": "push to a folder",
    "restore": "restore, clone + checkout",
    "check": "full check",
}

DSVC_ENVIRONMENT = {"DSVC_AUTHOR_NAME": "bench", "DSVC_AUTHOR_EMAIL": "bench@example.org"}
OXEN_SAVE = "import oxen; repo = oxen.Repo('.'); repo.add('data'); repo.commit('{label}')"
OXEN_BEGIN = "import oxen; oxen.user.config_user('bench', 'bench@example.org'); oxen.Repo('.').init()"


@dataclass(frozen=True, slots=True)
class Command:
    """One command line, and the folder to run it in."""

    argv: tuple[str, ...]
    cwd: str = "{place}/work"

    def at(self, place: Path, label: str) -> tuple[list[str], Path]:
        """Return the arguments and the folder with every place filled in."""
        fill = {"place": str(place), "label": label}
        return [argument.format_map(fill) for argument in self.argv], Path(self.cwd.format_map(fill))


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool: its answers to the questions, in order, and where it keeps what.

    *prepare* runs before the clock starts; *before* likewise, before the question it
    names. A question without an answer is one that the tool does not have. A tool that
    restores *in_place* has the data set taken away first.
    """

    name: str
    version: str
    answers: Mapping[str, Sequence[Command]]
    store: str
    caches: Sequence[str] = ()
    prepare: Sequence[Command] = ()
    before: Mapping[str, Sequence[Command]] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    restored: str = "{place}/restored/data"
    in_place: bool = False

    def environment_at(self, place: Path) -> dict[str, str]:
        """Return the environment of its commands: a home of its own, nothing of the user's."""
        return bare_environment(place / "home") | {
            "TMPDIR": str(place / "tmp"),
            **{name: value.format(place=place) for name, value in self.environment.items()},
        }


def answer(*commands: Sequence[str], cwd: str = "{place}/work") -> list[Command]:
    """Return *commands*, all to run in *cwd*."""
    return [Command(tuple(command), cwd) for command in commands]


def restic(program: str) -> Tool:
    """Return restic with a version 2 repository; its automatic compression is zstd at the default level, 3."""
    base = [program, "--quiet", "--repo", "{place}/store"]
    backup = [*base, "backup", "--compression", "auto", "data"]
    saves = ("first", "unchanged", "small", "edited")
    return Tool(
        name="restic",
        version=first_line(program, "version"),
        prepare=answer([*base, "init", "--repository-version", "2"]),
        answers={question: answer(backup) for question in saves}
        | {
            "restore": answer([*base, "restore", "latest", "--target", "{place}/restored"]),
            "check": answer([*base, "check", "--read-data"]),
        },
        store="{place}/store",
        caches=["{place}/home"],
        environment={"RESTIC_PASSWORD": "benchmark"},
    )


def borg(program: str) -> Tool:
    """Return borg, unencrypted, with zstd at level 3."""
    create = [program, "create", "-C", "zstd,3", "{place}/store::{label}", "data"]
    saves = ("first", "unchanged", "small", "edited")
    return Tool(
        name="borg",
        version=first_line(program, "--version"),
        prepare=answer([program, "init", "--encryption", "none", "{place}/store"]),
        answers={question: answer(create) for question in saves}
        | {
            "restore": answer([program, "extract", "{place}/store::edited"], cwd="{place}/restored"),
            "check": answer([program, "check", "--verify-data", "{place}/store"]),
        },
        store="{place}/store",
        caches=["{place}/home"],
        environment={"BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes", "BORG_BASE_DIR": "{place}/home"},
    )


def dvc(program: str) -> Tool:
    """Return DVC without git around it, which would only add to its times."""
    add = [program, "add", "--quiet", "data"]
    return Tool(
        name="dvc",
        version=first_line(program, "--version"),
        prepare=answer([program, "init", "--quiet", "--no-scm"]),
        answers={question: answer(add) for question in ("first", "unchanged", "small", "edited")}
        | {"restore": answer([program, "checkout", "--quiet"])},
        store="{place}/work/.dvc/cache",
        caches=["{place}/work/.dvc/tmp", "{place}/site", "{place}/home"],
        environment={"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": "{place}/site"},
        restored="{place}/work/data",
        in_place=True,
    )


def oxen(python: str) -> Tool:
    """Return Oxen through *python*, since PyPI has its library (oxenai) and no command; the import counts."""
    save = [python, "-c", OXEN_SAVE]
    return Tool(
        name="oxen",
        version=first_line(python, "-c", "from importlib.metadata import version; print('oxenai', version('oxenai'))"),
        prepare=answer([python, "-c", OXEN_BEGIN]),
        answers={
            "first": answer(save),
            "unchanged": answer([python, "-c", "import oxen; oxen.Repo('.').add('data')"]),
            "status": answer([python, "-c", "import oxen; oxen.Repo('.').status()"]),
            "small": answer(save),
            "edited": answer(save),
            # Within the repository: a clone needs its server.
            "restore": answer([python, "-c", "import oxen; oxen.Repo('.').restore('data')"]),
        },
        store="{place}/work/.oxen",
        restored="{place}/work/data",
        in_place=True,
    )


def dsvc(program: str) -> Tool:
    """Return dsvc with its own defaults."""
    add = [program, "add", "-A"]
    commit = [program, "commit", "-m", "{label}"]
    return Tool(
        name="dsvc",
        version=first_line(program, "--version"),
        answers={
            "first": answer([program, "init"], add, commit),
            "unchanged": answer(add),
            "status": answer([program, "status"]),
            "small": answer(add, commit),
            "edited": answer(add, commit),
            "push": answer([program, "push", "origin", "main"]),
            "restore": answer([program, "clone", "{place}/store", "{place}/restored"], cwd="{place}"),
            "check": answer([program, "fsck", "--full"]),
        },
        before={"push": answer([program, "remote", "add", "origin", "{place}/store"])},
        store="{place}/work/.dsvc/store",
        caches=[
            "{place}/work/.dsvc/worktree.db",
            "{place}/work/.dsvc/cache",
            "{place}/work/.dsvc/remotes",
            "{place}/work/.dsvc/tmp",
            "{place}/home",
        ],
        environment=DSVC_ENVIRONMENT,
    )


def floor(how: str) -> Tool:
    """Return the naive loop of *how*, which only ever keeps a first version."""
    script = str(Path(__file__).with_name("naive.py"))
    return Tool(
        name="floor",
        version=f"naive.py {how}",
        answers={"first": answer([sys.executable, script, how, "data", "{place}/store"])},
        store="{place}/store",
    )


def first_line(*command: str) -> str:
    """Return the first line that *command* prints."""
    output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return " ".join((output.splitlines() or ["version unknown"])[0].split()[:2])


def find(program: str | None, name: str) -> str | None:
    """Return the absolute path of *program*, or of *name* on PATH; nothing if there is none."""
    found = shutil.which(program or name)
    return str(Path(found).absolute()) if found else None


def bare_environment(home: Path) -> dict[str, str]:
    """Return an environment that holds nothing of the user's but where programs are."""
    return {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "NO_COLOR": "1", "HOME": str(home)}


def dsvc_environment(home: Path) -> dict[str, str]:
    """Return the environment to run dsvc in, with an author."""
    return bare_environment(home) | DSVC_ENVIRONMENT


def dsvc_program(given: str | None) -> str | None:
    """Return *given*, or the `dsvc` that belongs to this Python, or the one on PATH."""
    beside = Path(sys.executable).with_name("dsvc")
    return find(given or (str(beside) if beside.exists() else None), "dsvc")


def oxen_python(given: str | None) -> str | None:
    """Return *given*, or this Python if it has oxenai."""
    python = find(given, sys.executable)
    if python is None:
        return None
    there = subprocess.run([python, "-c", "import oxen"], capture_output=True, check=False).returncode == 0
    return python if there else None


def known_tools(paths: Mapping[str, str | None], *, large_files: bool) -> dict[str, Tool | None]:
    """Return every tool by name, nothing for one that is not on this machine; *paths* says where to look first."""
    programs = {
        "dsvc": (dsvc, dsvc_program(paths.get("dsvc"))),
        "restic": (restic, find(paths.get("restic"), "restic")),
        "borg": (borg, find(paths.get("borg"), "borg")),
        "dvc": (dvc, find(paths.get("dvc"), "dvc")),
        "oxen": (oxen, oxen_python(paths.get("oxen"))),
    }
    tools: dict[str, Tool | None] = {"floor": floor("threaded" if large_files else "serial")}
    return tools | {name: make(program) if program else None for name, (make, program) in programs.items()}
