"""dsvc demo: a whole round with a small dataset, step by step."""

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Final

from dsvc.cli import console
from dsvc.cli.demo_data import edit_dataset, make_dataset, same_files
from dsvc.cli.errors import Failure
from dsvc.cli.options import argument
from dsvc.model.paths import quote_path

__all__ = ["command"]

_EXISTS: Final = 5
_WRONG: Final = 8
_PACKAGE: Final = Path(__file__).parents[2]


def command(
    folder: Annotated[
        Path | None, argument("FOLDER", help="The new folder for it all; by default `dsvc-demo`.")
    ] = None,
) -> None:
    """Show what dsvc does on a small dataset.

    It makes a dataset of some megabytes, versions it, edits it, versions it again, pushes it to a remote on
    disk, clones that elsewhere, compares both byte for byte, and shows the history and what was
    saved. Each step is a command that you could have typed, and is shown as such. The folder
    stays, to look around in.

    Examples:
        $ dsvc demo
        $ dsvc demo /tmp/try

    Exit status:
        5 the folder exists, and is not empty
        8 what came back is not what was stored

    See also:
        dsvc-concepts(7), dsvc-init(1), dsvc-push(1)
    """
    root = Path(os.path.normpath(Path.cwd() / (folder or "dsvc-demo")))
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        message = f"{quote_path(os.fsencode(root))} exists and is not an empty folder"
        raise Failure(message, code=_EXISTS, hint="name another one: `dsvc demo FOLDER`")
    root.mkdir(parents=True, exist_ok=True)
    dataset, store, copy = root / "dataset", root / "remote", root / "clone"

    _tell("A dataset: one table, 1,500 annotations, 24 binary files, a script and a link")
    make_dataset(dataset)
    _tell("Make it a repository, and its first version")
    _run(["init"], dataset)
    _run(["add", "-A"], dataset)
    _run(["commit", "-m", "First version"], dataset)
    _tell("Edit it: 20 rows, 15 labels; one file comes, one goes, one is renamed")
    edit_dataset(dataset)
    _run(["add", "-A"], dataset)
    _run(["commit", "-m", "Correct the labels"], dataset)
    _tell("Push both versions to a remote; here it is a folder")
    _run(["remote", "add", "origin", "../remote"], dataset)
    _run(["push"], dataset)
    _tell("Clone it elsewhere, and check every byte that is stored there")
    _run(["clone", "remote", "clone"], root)
    _run(["fsck"], copy)
    _tell("The history")
    _run(["log", "--oneline"], copy)
    _compare(dataset, copy)
    _show_savings(dataset, store)
    console.out(f"\nAll of it is in {quote_path(os.fsencode(root))}: look around, and remove it when you are done.")


def _tell(text: str) -> None:
    console.out(f"\n{console.paint(f'# {text}', 'bold')}")


def _run(words: list[str], folder: Path) -> None:
    console.out(f"{folder.name}$ {console.paint(shlex.join(['dsvc', *words]), 'green')}")
    sys.stdout.flush()
    environment = {
        # It is an example; nobody is asked who they are for it.
        "DSVC_AUTHOR_NAME": "Demo",
        "DSVC_AUTHOR_EMAIL": "demo@example.org",
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (str(_PACKAGE), os.environ.get("PYTHONPATH")))),
    }
    # This program itself; both streams are the user's.
    command = [sys.executable, "-m", "dsvc", "--no-pager", *words]
    code = subprocess.run(command, cwd=folder, env=environment, check=False).returncode  # noqa: S603
    if code:
        message = f"`{shlex.join(['dsvc', *words])}` failed with exit code {code}"
        raise Failure(message, code=code)


def _compare(dataset: Path, copy: Path) -> None:
    found = same_files(dataset, copy)
    if found is None:
        message = f"{copy} is not what {dataset} is"
        raise Failure(message, code=_WRONG, hint="this must not happen: please report it")
    files, size = found
    _tell("Compare")
    console.out(f"The clone is the same in every byte and bit: {files:,} files, {console.format_size(size)}.")


def _show_savings(dataset: Path, store: Path) -> None:
    _tell("What was saved")
    whole = _size(dataset)
    stored = _size(store)
    files = sum(1 for path in store.rglob("*") if path.is_file())
    console.out(
        f"Two copies of the dataset would take {console.format_size(2 * whole)}. The remote holds both versions "
        f"in {console.format_size(stored)}, in {console.plural(files, 'file')}."
    )


def _size(folder: Path) -> int:
    return sum(
        path.lstat().st_size
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and ".dsvc" not in path.parts
    )
