"""The entry point: `dsvc` and `python -m dsvc`."""

import gc
import sys

__all__ = ["main"]


def main() -> int:
    """Run the command line of this process and return its exit code."""
    # Asked for by scripts and shell prompts, so it does not wait for the rest to be imported.
    if sys.argv[1:] == ["--version"]:
        from dsvc import __version__

        sys.stdout.write(f"dsvc {__version__}\n")
        return 0
    # A run makes millions of values and hardly a cycle; at the usual 700, looking for some takes a tenth of `add`.
    gc.set_threshold(100_000, 50, 100)
    try:
        from dsvc.cli.main import run

        return run(sys.argv[1:])
    except KeyboardInterrupt:
        # Only during an import; `run` handles the others.
        return 130


if __name__ == "__main__":
    sys.exit(main())
