"""How long it takes until dsvc answers at all.

`dsvc --version` and `dsvc status` of a repository of three files, against a bare `python -c pass` of the same
Python, in turns. Promised: at most 8 and 12 times the bare one.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import median

from measure import default_work, note, run, table, workspace
from tools import dsvc_environment, dsvc_program

__all__ = ["main"]

BARE = "python -c pass"
LIMITS = {"dsvc --version": 8.0, "dsvc status": 12.0}


def interpreter_of(program: str) -> str:
    """Return the Python that *program*, a script, names in its first line; this one if it names none."""
    with Path(program).open("rb") as script:
        first = script.readline().decode(errors="replace").strip()
    python = first.removeprefix("#!")
    return python if python != first and Path(python).is_file() else sys.executable


def small_repository(program: str, folder: Path, environment: dict[str, str]) -> None:
    """Make a repository with one commit of three files."""
    for name in ("a", "b", "c"):
        (folder / name).write_text(name)
    for command in (["init"], ["add", "-A"], ["commit", "-m", "first"]):
        run([program, *command], cwd=folder, environment=environment)


def measured(program: str, work: Path, rounds: int) -> dict[str, float]:
    """Return the median seconds of each command."""
    with workspace(work) as folder:
        home = folder / "home"
        home.mkdir()
        environment = dsvc_environment(home)
        repository = folder / "repository"
        repository.mkdir()
        small_repository(program, repository, environment)
        commands = {
            BARE: [interpreter_of(program), "-c", "pass"],
            "dsvc --version": [program, "--version"],
            "dsvc status": [program, "status"],
        }
        taken: dict[str, list[float]] = {name: [] for name in commands}
        # One more round than asked for: the first writes bytecode.
        for _ in range(rounds + 1):
            for name, command in commands.items():
                taken[name].append(run(command, cwd=repository, environment=environment).seconds)
    return {name: median(values[1:]) for name, values in taken.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dsvc", metavar="PATH", help="the dsvc to use")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--work", type=Path, default=default_work(), help="folder to work in (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object: seconds by name")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    arguments = parser.parse_args()
    program = dsvc_program(arguments.dsvc)
    if program is None:
        note("dsvc: MISSING on this machine, not measured")
        sys.exit(1)
    seconds = measured(program, arguments.work, arguments.rounds)
    if arguments.json:
        print(json.dumps(seconds))
        return
    rows = [["command", "ms", "times the bare one", "at most", "verdict"]]
    for name, value in seconds.items():
        ratio, limit = value / seconds[BARE], LIMITS.get(name)
        verdict = ["-", "-"] if limit is None else [f"{limit:.0f}", "kept" if ratio <= limit else "LOST"]
        rows.append([name, f"{value * 1000:.1f}", f"{ratio:.1f}", *verdict])
    print(table(rows, markdown=arguments.markdown))


if __name__ == "__main__":
    main()
