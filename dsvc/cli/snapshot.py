"""dsvc snapshot: commit everything that changed, and push it."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from dsvc.cli import console, session
from dsvc.cli.errors import Failure, UsageError, describe, exit_code, hint
from dsvc.cli.exchange import remote_hints
from dsvc.cli.options import DryRun, Jobs, Json, Quiet, argument, option
from dsvc.cli.progress_bar import progress_bar
from dsvc.cli.push import push_branch, rejection_hint
from dsvc.cli.snapshot_text import MESSAGE, Write, line, message_template, print_record, pushed, told_changes
from dsvc.cli.workers import workers
from dsvc.errors import DsvcError
from dsvc.log.refs import short_name
from dsvc.model.ids import ObjectId
from dsvc.model.paths import quote_path
from dsvc.repository import NotARepositoryError
from dsvc.transport.push import PushRejectedError
from dsvc.transport.remote import RemoteNotFoundError, default_remote
from dsvc.transport.updates import Exchange
from dsvc.worktree.session import DetachedHeadError
from dsvc.worktree.snapshot import Snapshot, preview, snapshot, snapshot_branch
from dsvc.worktree.snapshot_lock import Holder, SnapshotRunningError, hold, read_holder
from dsvc.worktree.workers import Workers
from dsvc.worktree.worktree import Worktree

__all__ = ["command"]

_NOT_FOUND: Final = 4
_CONFLICT: Final = 5
# An hour: longer than nearly any run, and no day's worth of processes that wait for one that hangs.
_PATIENCE: Final = 3600


def command(
    folder: Annotated[Path | None, argument("DIR", help="The repository, or a folder in it.")] = None,
    *,
    message: Annotated[
        str, option("-m", "--message", metavar="TEXT", help="The message of the version; see above for its fields.")
    ] = MESSAGE,
    remote: Annotated[str | None, option("--remote", metavar="NAME", help="Push to this remote.")] = None,
    push: Annotated[bool, option("--push", help="Push; with `--no-push`, only commit.")] = True,
    on_overlap: Annotated[
        Literal["skip", "wait"], option("--on-overlap", help="What to do while another snapshot is running.")
    ] = "skip",
    timeout: Annotated[
        int, option("--timeout", metavar="SECONDS", help="Wait no longer than this; an hour, if it is not given.")
    ] = _PATIENCE,
    dry_run: DryRun = False,
    jobs: Jobs = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Commit everything that changed, and push it.

    It is `dsvc add -A`, `dsvc commit` and `dsvc push` in one, for cron and other runs that nobody watches:
    it needs neither a terminal nor any variable of the environment, and says one line. *DIR* is
    the working folder if it is not given; always the whole repository is taken, with what is staged already.

    Where nothing changed, no version is made, and the exit status is 0. The current branch is pushed in any
    case, so what an earlier run could not push goes with the next. It goes to the remote that the branch
    follows, else to the only one there is or to `origin`. Where there is no remote at all, the version is made, and
    that is said; a remote that is not configured is an error before anything is done.

    Only one snapshot runs in a repository at a time. One that comes while another is running is skipped, with
    exit status 0: the next will find what it would have found. Where a run must not be skipped,
    because something else waits for its version, use `--on-overlap=wait`; with `--timeout=0` it does
    not wait and fails. The lock ends with the process that holds it, however that ends. Other commands
    may be used meanwhile, and a snapshot may be killed at any time: the next one goes on from there.

    In the message, `{changes}` stands for the counts in words, as in `3 new, 1 changed, 2 removed`, and
    `{new}`, `{changed}`, `{renamed}`, `{removed}`, `{branch}`, `{host}`, `{date}` and `{time}` for one thing
    each. The default is `Snapshot: {changes}`.

    With `-q`, only what went wrong is said, so cron sends mail of nothing else. A dry run looks at the remote
    too. It does not know renames, and tells them as new and removed.

    Examples:
        $ dsvc snapshot /data/images
        [main 1a2b3c4d5e] 3 new, 1 changed (2.4 MiB); pushed 1 version to origin (1.1 MiB)
        $ dsvc snapshot --no-push -m "Nightly of {date}: {changes}"

        Lines for crontab(5), with the path that `command -v dsvc` prints:

        # every quarter of an hour, with mail of failures only
        */15 * * * *  /usr/local/bin/dsvc snapshot -q /data/images
        # at night to a second remote, with a line for each run
        30 2 * * *  /usr/local/bin/dsvc snapshot --remote backup /data/images >>/var/log/images.log 2>&1

    Exit status:
        0 done, nothing had changed, or the run was skipped
        3 *DIR* is not in a repository
        4 the remote is not configured, or *DIR* is not there
        5 a switch or a merge is not finished, HEAD is no branch, or the remote has versions that are not here
        6 another snapshot was still running in the end, or a file changed while it was read
        7 the disk or the network failed; if a version was made, the error says so, and the next run pushes it

    See also:
        dsvc-add(1), dsvc-commit(1), dsvc-push(1)
    """
    console.set_quiet(quiet)
    if timeout < 0:
        text = f"`--timeout` cannot be {timeout}"
        raise UsageError(text)
    write = message_template(message)
    worktree = _open(folder)
    work = workers(worktree.config, jobs)
    if dry_run:
        _preview(_plan(worktree, work, remote, push=push), json=json)
        return
    try:
        with _alone(worktree, timeout if on_overlap == "wait" else 0):
            _take(_plan(worktree, work, remote, push=push), write, json=json)
    except SnapshotRunningError as error:
        if on_overlap == "wait":
            raise
        _tell_skipped(worktree, error, json=json)


class _Plan(msgspec.Struct, frozen=True):
    """The *branch* of *worktree* is committed to, and goes to *remote*, None where there is none or none is wanted."""

    worktree: Worktree
    branch: str
    remote: str | None
    workers: Workers
    push: bool


def _open(folder: Path | None) -> Worktree:
    # Links stay; the working folder, which may be gone, is not looked at without need.
    start = Path(os.path.abspath(folder or Path()))  # noqa: PTH100
    shown = quote_path(os.fsencode(start))
    if not start.is_dir():
        text = f"there is no folder {shown}"
        raise Failure(text, code=_NOT_FOUND)
    try:
        return session.open_worktree(start, attended=False)
    except NotARepositoryError as error:
        raise Failure(str(error), code=exit_code(error), hint=f"to make one, run `dsvc init {shown}`") from error


def _plan(worktree: Worktree, work: Workers, wanted: str | None, *, push: bool) -> _Plan:
    try:
        branch = snapshot_branch(worktree.session(worktree.store.state()))
    except DetachedHeadError as error:
        raise Failure(str(error), code=_CONFLICT, hint="go to a branch with `dsvc switch BRANCH`") from error
    remotes = worktree.config.remotes()
    if wanted is None and not (push and remotes):
        return _Plan(worktree, branch, None, work, push)
    name = wanted or default_remote(worktree.config, short_name(branch))
    with remote_hints(name):
        if name not in remotes:
            raise RemoteNotFoundError(name)
    return _Plan(worktree, branch, name if push else None, work, push)


@contextmanager
def _alone(worktree: Worktree, patience: int) -> Iterator[None]:
    """Let no other snapshot run meanwhile, after waiting for at most *patience* seconds for one that does.

    Raises:
        SnapshotRunningError: It was still running.
    """
    path = worktree.control / "snapshot.lock"
    holder = Holder(os.uname().nodename, os.getpid(), session.now()[0])
    with ExitStack() as held:
        with _alarm(patience, path):
            held.enter_context(hold(path, holder, wait=patience > 0))
        yield


@contextmanager
def _alarm(seconds: int, path: Path) -> Iterator[None]:
    """Give up the wait for the lock *path* after so many seconds."""

    def ring(_signal: int, _frame: object) -> None:
        raise SnapshotRunningError(read_holder(path))

    before = signal.signal(signal.SIGALRM, ring)
    # 0 is no alarm.
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _take(plan: _Plan, write: Write, *, json: bool) -> None:
    with progress_bar() as progress:
        taken = snapshot(
            plan.worktree,
            plan.branch,
            lambda counts: write(counts, plan.branch),
            workers=plan.workers,
            progress=progress,
        )
    head = taken.made.id if taken.made else _head(plan)
    exchange = None
    if plan.remote is not None and head is not None:
        try:
            exchange = push_branch(plan.worktree, plan.remote, plan.branch, workers=plan.workers)
        except (DsvcError, OSError) as error:
            if json:
                _print_json(plan, taken, head, None, error)
            raise _failure(plan, taken, head, error) from error
    if json:
        _print_json(plan, taken, head, exchange, None)
    else:
        console.say(_line(plan, taken, head, exchange))


def _head(plan: _Plan) -> ObjectId | None:
    value = plan.worktree.store.state().value(plan.branch)
    return None if value is None else ObjectId.from_hex(value)


def _failure(plan: _Plan, taken: Snapshot, head: ObjectId, error: DsvcError | OSError) -> Failure:
    """Return what to say where the version is safe, and not where it was to go."""
    branch = short_name(plan.branch)
    done = f"committed {told_changes(taken.counts)}" if taken.made else "nothing changed"
    if isinstance(error, PushRejectedError):
        advice = rejection_hint(error)
    else:
        advice = hint(error) or f"the next snapshot pushes it; to try now, run `dsvc push {plan.remote} {branch}`"
    text = f"[{branch} {head.short}] {done}, but the push to {plan.remote} failed: {describe(error)}"
    return Failure(text, code=exit_code(error), hint=advice)


def _line(plan: _Plan, taken: Snapshot, head: ObjectId | None, exchange: Exchange | None) -> str:
    size = f" ({console.format_size(taken.size)})" if taken.size else ""
    if exchange is not None:
        rest: str | None = pushed(exchange, plan.remote or "")
    elif head is None:
        rest = "there is no version yet"
    else:
        rest = "there is no remote to push to" if plan.push else None
    where = short_name(plan.branch) if head is None else f"{short_name(plan.branch)} {head.short}"
    left_out = [
        (taken.left_out, "socket, pipe or device", "sockets, pipes and devices"),
        (taken.outside, "file outside of the sparse worktree", "files outside of the sparse worktree"),
    ]
    passed = [f"left out {console.plural(*each)}" for each in left_out if each[0]]
    return line(where, told_changes(taken.counts) + size, *passed, rest)


def _print_json(
    plan: _Plan,
    taken: Snapshot,
    head: ObjectId | None,
    exchange: Exchange | None,
    error: DsvcError | OSError | None,
) -> None:
    record: dict[str, object] = {"branch": short_name(plan.branch), "commit": None if head is None else head.hex()}
    record |= {"message": taken.made.commit.message if taken.made else None, "size": taken.size}
    record |= {
        "left_out": taken.left_out,
        "outside": taken.outside,
        "remote": plan.remote,
        "pushed": exchange is not None,
    }
    if exchange is not None:
        record |= {"commits": exchange.commits, "objects": exchange.objects, "sent_bytes": exchange.sent}
    if error is not None:
        record |= {"error": describe(error), "exit_code": exit_code(error)}
    print_record(plan.worktree, "committed" if taken.made else "unchanged", taken.counts, record)


def _preview(plan: _Plan, *, json: bool) -> None:
    counts = preview(plan.worktree, plan.worktree.store.state())
    versions = int(bool(counts))
    if plan.remote is not None and _head(plan) is not None:
        exchange = push_branch(plan.worktree, plan.remote, plan.branch, workers=plan.workers, dry_run=True)
        versions += exchange.commits
    if json:
        record = {"branch": short_name(plan.branch), "remote": plan.remote, "commits": versions}
        print_record(plan.worktree, "planned", counts, record)
        return
    rest = None
    if plan.remote is not None:
        count = console.plural(versions, "version")
        rest = f"would push {count} to {plan.remote}" if versions else f"{plan.remote} is up to date"
    changes = told_changes(counts)
    console.say(line(short_name(plan.branch), f"would commit {changes}" if counts else changes, rest))


def _tell_skipped(worktree: Worktree, error: SnapshotRunningError, *, json: bool) -> None:
    if not json:
        console.say(f"skipped: {error}")
        return
    holder = None
    if error.holder is not None:
        holder = msgspec.to_builtins(error.holder) | {"since": console.format_iso_date(error.holder.since, 0)}
    print_record(worktree, "skipped", Counter(), {"holder": holder})
