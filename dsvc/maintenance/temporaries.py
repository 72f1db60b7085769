"""Files that an ended process has left."""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

__all__ = ["stale_files"]

# `<host>-<process>-<random>`, as the local backend names them; in `.dsvc/tmp` a name ends in the process.
_STORE: Final = re.compile(r"(?P<host>.+)-(?P<process>\d+)-[0-9a-f]{32}")
_CONTROL: Final = re.compile(r"[a-z-]+-(?P<process>\d+)")


def stale_files(folders: Iterable[Path]) -> Iterator[tuple[Path, int]]:
    """Yield (file, length in bytes) of temporary files in *folders* whose process, on this machine, has ended."""
    host = os.uname().nodename
    for folder in folders:
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            found = _STORE.fullmatch(path.name)
            if found is not None and found["host"] != host:
                # Another machine's, which may still be at work.
                continue
            found = found or _CONTROL.fullmatch(path.name)
            if found is not None and not _is_alive(int(found["process"])):
                try:
                    yield path, path.lstat().st_size
                except FileNotFoundError:
                    continue


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
