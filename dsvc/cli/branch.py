"""dsvc branch: list, make, rename and delete branches."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import Annotated, Final

from dsvc.cli import console
from dsvc.cli.errors import Failure, UsageError
from dsvc.cli.options import Json, Quiet, argument, option
from dsvc.cli.session import open_repository
from dsvc.config import KeyNotSetError, set_value, unset_value
from dsvc.history.branches import (
    Branch,
    UnmergedBranchError,
    containing,
    copy_branch,
    create_branch,
    delete_branch,
    list_branches,
    merged,
)
from dsvc.history.commits import Commits
from dsvc.history.numbers import version_key
from dsvc.history.revisions import resolve
from dsvc.log.refs import HEADS, REMOTES, branch_ref, check_ref_name, short_name
from dsvc.log.state import State
from dsvc.model.commit import Commit
from dsvc.model.ids import ObjectId
from dsvc.worktree.head import read_head
from dsvc.worktree.session import Session
from dsvc.worktree.switch import rename_current_or_other
from dsvc.worktree.worktree import Worktree

__all__ = ["command"]

_REFUSED: Final = 10


def command(
    names: Annotated[
        tuple[str, ...], argument("NAME", help="The branch to make and where, or what the options work on.")
    ] = (),
    *,
    list_: Annotated[bool, option("-l", "--list", help="List the branches that match the patterns *NAME*.")] = False,
    all_: Annotated[bool, option("-a", "--all", help="List the branches of remotes too.")] = False,
    remotes: Annotated[bool, option("-r", "--remotes", help="List the branches of remotes only.")] = False,
    verbose: Annotated[bool, option("-v", "--verbose", help="Show commit, size and subject of each.")] = False,
    show_current: Annotated[bool, option("--show-current", help="Print the name of the current branch.")] = False,
    contains: Annotated[
        str | None, option("--contains", metavar="REVISION", help="Only those that *REVISION* is part of.")
    ] = None,
    merged_: Annotated[
        str | None, option("--merged", metavar="REVISION", help="Only those that are part of *REVISION*.")
    ] = None,
    unmerged: Annotated[
        str | None, option("--no-merged", metavar="REVISION", help="Only those that are not part of it.")
    ] = None,
    sort: Annotated[
        str, option("--sort", metavar="KEY", help="Sort by `refname`, `version` or `date`; with `-` before, backwards.")
    ] = "refname",
    delete: Annotated[bool, option("-d", "--delete", help="Delete branches that are merged.")] = False,
    delete_any: Annotated[bool, option("-D", help="Delete branches, merged or not.")] = False,
    move: Annotated[bool, option("-m", "--move", help="Rename the branch, by default the current one.")] = False,
    move_any: Annotated[bool, option("-M", help="The same, even if the new name is taken.")] = False,
    copy: Annotated[bool, option("-c", "--copy", help="Copy the branch, by default the current one.")] = False,
    copy_any: Annotated[bool, option("-C", help="The same, even if the new name is taken.")] = False,
    upstream: Annotated[
        str | None,
        option("-u", "--set-upstream-to", metavar="REMOTE/BRANCH", help="Let the branch follow that one of a remote."),
    ] = None,
    unset_upstream: Annotated[bool, option("--unset-upstream", help="Let it follow its namesake again.")] = False,
    force: Annotated[bool, option("-f", "--force", help="Move the branch if it exists.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List, make, rename and delete branches.

    Without names, the branches are listed, and the current one is marked. `dsvc branch` *NAME*
    [*START*] makes a branch at *START*, by default at HEAD, and does not go there: `dsvc switch`
    does.

    A dataset is a branch, so names may have slashes, such as `vision/imagenet`.

    A branch follows the branch of the same name of `origin`, unless `-u` or `dsvc push -u` says another.

    `-d` refuses a branch whose commits are not part of its remote's branch or, without one, of HEAD;
    `-D` does not. Neither deletes the current one. `dsvc undo` brings a deleted branch back.

    Examples:
        $ dsvc branch vision/imagenet
        $ dsvc branch -v
        * main             1a2b3c4d5e  12 files, 1.2 MiB  first version
          vision/imagenet  1a2b3c4d5e  12 files, 1.2 MiB  first version
        $ dsvc branch -m vision/imagenet vision/imagenet-1k

    Exit status:
        4 there is no such branch
        5 the name is taken
        10 the branch is the current one, or not merged

    See also:
        dsvc-switch(1), dsvc-tag(1), dsvc-undo(1), dsvc-revisions(7)
    """
    console.set_quiet(quiet)
    follows = upstream is not None or unset_upstream
    chosen = sum((list_, show_current, delete or delete_any, move or move_any, copy or copy_any, follows))
    if chosen > 1:
        message = "choose one of `--list`, `--show-current`, `-d`, `-m`, `-c` and `-u`"
        raise UsageError(message)
    worktree = open_repository()
    state = worktree.store.state()
    session = worktree.session(state)
    if show_current:
        _check_count(names, 0, 0)
        if session.branch is not None:
            console.out(short_name(session.branch))
    elif follows:
        _check_count(names, 0, 1)
        _follow(worktree, state, names, upstream)
    elif delete or delete_any:
        _check_count(names, 1)
        _delete(worktree, state, names, remote=remotes, force=delete_any or force)
    elif move or move_any:
        source, name = _source_and_name(session, names)
        rename_current_or_other(worktree, source, name, force=move_any or force)
    elif copy or copy_any:
        source, name = _source_and_name(session, names)
        copy_branch(worktree.store, source, name, force=copy_any or force, current=session.branch)
    elif not names or list_ or contains or merged_ or unmerged or remotes or all_:
        conditions = (contains, merged_, unmerged)
        found = _filtered(worktree, state, names, conditions, local=not remotes, remote=remotes or all_)
        _sort(worktree, found, sort)
        _print(worktree, session, found, verbose=verbose, json=json)
    else:
        _check_count(names, 1, 2)
        _create(worktree, state, names, force=force)


def _check_count(names: Sequence[str], least: int, most: int | None = None) -> None:
    if len(names) < least:
        message = "branch name required"
        raise UsageError(message)
    if most is not None and len(names) > most:
        message = f"unexpected argument `{names[most]}`"
        raise UsageError(message)


def _create(worktree: Worktree, state: State, names: Sequence[str], *, force: bool) -> None:
    head = read_head(worktree, state)
    commit = resolve(worktree.store, state, names[1] if len(names) > 1 else "HEAD", head=head)
    create_branch(worktree.store, names[0], commit, force=force, current=head.ref)


def _source_and_name(session: Session, names: Sequence[str]) -> tuple[str, str]:
    _check_count(names, 1, 2)
    if len(names) == 2:
        return names[0], names[1]
    if session.branch is None:
        message = "HEAD is on no branch"
        raise Failure(message, code=4, hint="name the branch too: `dsvc branch -m OLD NEW`")
    return short_name(session.branch), names[0]


def _follow(worktree: Worktree, state: State, names: tuple[str, ...], upstream: str | None) -> None:
    """Record what the branch in *names*, by default the current one, follows; None for its namesake."""
    ref = branch_ref(names[0]) if names else worktree.session(state).branch
    if ref is None or ref not in state.refs:
        message = f"there is no branch {names[0]!r}" if names else "HEAD is detached, so name the branch"
        raise Failure(message, code=4)
    file = worktree.control / "config.toml"
    short = short_name(ref)
    if upstream is None:
        for key in (f"branch.{short}.remote", f"branch.{short}.merge"):
            with suppress(KeyNotSetError):
                unset_value(file, key)
        return
    remote = next((name for name in worktree.config.remotes() if upstream.startswith(name + "/")), None)
    if remote is None or f"{REMOTES}{upstream}" not in state.refs:
        message = f"there is no branch {upstream!r} of a remote"
        raise Failure(message, code=4, hint="dsvc fetch, then dsvc branch -r")
    set_value(file, f"branch.{short}.remote", remote)
    set_value(file, f"branch.{short}.merge", upstream.removeprefix(remote + "/"))
    console.say(f"branch {short!r} follows {upstream!r}")


def _delete(worktree: Worktree, state: State, names: Sequence[str], *, remote: bool, force: bool) -> None:
    head = read_head(worktree, state)
    for name in names:
        ref = check_ref_name(REMOTES + name) if remote else branch_ref(name)
        upstream = None if remote else state.value(head.upstream(ref))
        merged_into = [head.commit] if head.commit is not None else []
        if upstream is not None:
            merged_into = [ObjectId.from_hex(upstream)]
        try:
            where = delete_branch(
                worktree.store, ref, merged_into=None if force or remote else merged_into, current=head.ref
            )
        except UnmergedBranchError as error:
            raise Failure(
                str(error), code=_REFUSED, hint=f"if you are sure you want to delete it, run `dsvc branch -D {name}`"
            ) from error
        kind = "remote-tracking branch" if remote else "branch"
        console.say(f"Deleted {kind} {name} (was {where.short}).")


Conditions = tuple[str | None, str | None, str | None]


def _filtered(
    worktree: Worktree, state: State, patterns: Sequence[str], conditions: Conditions, *, local: bool, remote: bool
) -> list[Branch]:
    found = [
        branch
        for branch in list_branches(state, local=local, remote=remote)
        if not patterns or any(fnmatchcase(branch.name, pattern) for pattern in patterns)
    ]
    commits, head = Commits(worktree.store.objects), read_head(worktree, state)
    contains, merged_, unmerged = (
        None if text is None else resolve(worktree.store, state, text, head=head) for text in conditions
    )
    if contains is not None:
        found = list(containing(commits, found, contains))
    if merged_ is not None:
        found = list(merged(commits, found, merged_))
    if unmerged is not None:
        known = set(merged(commits, found, unmerged))
        found = [branch for branch in found if branch not in known]
    return found


def _sort(worktree: Worktree, branches: list[Branch], key: str) -> None:
    keys: dict[str, Callable[[Branch], object]] = {
        "refname": lambda branch: branch.ref,
        "version": lambda branch: version_key(branch.ref),
        "date": lambda branch: worktree.commit_of(branch.commit).time,
    }
    keys |= {"version:refname": keys["version"], "v:refname": keys["version"], "committerdate": keys["date"]}
    name = key.removeprefix("-")
    if name not in keys:
        message = f"cannot sort by `{name}`"
        raise UsageError(message, similar=(name, keys), hint="choose from `refname`, `version` and `date`")
    branches.sort(key=keys[name], reverse=key.startswith("-"))  # type: ignore[arg-type]  # each key sorts its own kind


def _print(worktree: Worktree, session: Session, branches: Sequence[Branch], *, verbose: bool, json: bool) -> None:
    if json:
        for branch in branches:
            _print_json(worktree, branch, current=branch.ref == session.branch)
        return
    # A branch of a remote is shown as such where it stands among others.
    both = any(branch.ref.startswith(HEADS) for branch in branches)
    names = [branch.name if not both or branch.ref.startswith(HEADS) else branch.ref[5:] for branch in branches]
    detached = f"(HEAD detached at {session.head[:10]})" if session.branch is None else None
    width = max(map(len, [*names, detached or ""]), default=0) if verbose else 0
    with console.pager(worktree.config):
        if detached is not None and both:
            details = _details(worktree, ObjectId.from_hex(session.head)) if verbose else ""
            console.out(f"* {console.paint(detached, 'green')}{' ' * (width - len(detached))}{details}")
        for branch, name in zip(branches, names, strict=True):
            current = branch.ref == session.branch
            colour = "green" if current else "red" if branch.ref.startswith(REMOTES) else None
            details = " " * (width - len(name)) + _details(worktree, branch.commit) if verbose else ""
            console.out(f"{'*' if current else ' '} {console.paint(name, colour) if colour else name}{details}")


def _details(worktree: Worktree, commit_id: ObjectId) -> str:
    commit = worktree.commit_of(commit_id)
    return f"  {commit_id.short}  {_size(commit)}  {commit.subject}"


def _size(commit: Commit) -> str:
    return f"{console.plural(commit.files, 'file')}, {console.format_size(commit.size)}"


def _print_json(worktree: Worktree, branch: Branch, *, current: bool) -> None:
    commit = worktree.commit_of(branch.commit)
    console.out_json(
        {
            "name": branch.name,
            "ref": branch.ref,
            "current": current,
            "commit": branch.commit.hex(),
            "time": commit.time,
            "author": commit.author,
            "subject": commit.subject,
            "files": commit.files,
            "size": commit.size,
        }
    )
