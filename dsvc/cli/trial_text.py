"""How `dsvc remote test` shows what it found."""

from dsvc.cli import console
from dsvc.cli.errors import hint
from dsvc.odb.pack import DATA_PACK_SIZE
from dsvc.transport.transfer import requests_for
from dsvc.transport.trial import Trial

__all__ = ["report_trial"]


def report_trial(trial: Trial, size: int, *, json: bool) -> None:
    """Print what *trial* found, and what it would take to send *size* bytes as packed."""
    for check in trial.checks:
        state = "skipped" if check.skipped else "ok" if check.problem is None else "failed"
        if json:
            console.out_json({"kind": "check", "name": check.name, "state": state, "problem": check.problem})
        else:
            console.out(f"{check.name:17}{state}" + (f": {check.problem}" if check.problem else ""))
    speed = trial.speed
    if json:
        rates = {"latency": speed.latency, "up": speed.up, "down": speed.down} if speed else {}
        console.out_json({"kind": "speed", **rates})
        console.out_json(
            {
                "kind": "plan",
                "store": trial.is_store if speed else None,
                "bytes": size,
                "requests": _requests(trial, size),
            }
        )
        return
    if speed is not None:
        ways = [
            f"{console.format_size(int(rate))}/s {way}"
            for way, rate in (("up", speed.up), ("down", speed.down))
            if rate
        ]
        console.out(f"{'speed':17}{', '.join([f'{speed.latency * 1000:.1f} ms for a small read', *ways])}")
        # Where nobody answered, nobody knows.
        console.out(f"{'store':17}{'there' if trial.is_store else 'none yet; the first push makes it'}")
    requests = console.plural(_requests(trial, size), "request")
    console.out(f"{'to send all':17}{console.format_size(size)} in about {requests}")
    if trial.error is not None and (advice := hint(trial.error)):
        console.hint(advice)


def _requests(trial: Trial, size: int) -> int:
    # Data and metadata, each in packs of its own.
    return requests_for(1 + -(-size // DATA_PACK_SIZE), is_store=trial.is_store)
