"""The entry point: `dsvc` and `python -m dsvc`."""

import gc
import os
import sys

__all__ = ["main", "run"]


def run(words: list[str]) -> int:
    """Run the command line *words* and return the exit code."""
    # Asked for by scripts and shell prompts, so it does not wait for the rest to be imported.
    if words == ["--version"]:
        from dsvc import __version__

        sys.stdout.write(f"dsvc {__version__}\n")
        return 0
    # A run makes millions of values and hardly a cycle; at the usual 700, looking for some takes a tenth of `add`.
    gc.set_threshold(100_000, 50, 100)
    # Buffers of some MiB come and go by the hundred, and the C library gives each back to the system, which hands out
    # new pages, zeroed, for the next. glibc keeps twice as much as the largest piece that was ever let go: this one, of
    # which no page is touched. `clone` then takes 0.86 to 0.91 of the processor's time, and 3 to 6 MB more.
    bytes(8 << 20)
    try:
        from dsvc.cli.light_typing import light_typing

        with light_typing():
            from dsvc.cli.main import run as run_command
        return run_command(words)
    except KeyboardInterrupt:
        # Only during an import; `run_command` handles the others.
        return 130


def main() -> None:
    """Run the command line of this process and end the process with its exit code."""
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except OSError:
        code = code or 7
    # All is written and closed. Python would now take itself apart, piece by piece, for 12 ms.
    os._exit(code)


if __name__ == "__main__":
    main()
