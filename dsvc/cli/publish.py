"""dsvc publish: a version that nobody can move or delete any more."""

from typing import Annotated, Literal

from dsvc.cli import console
from dsvc.cli.editor import clean_message
from dsvc.cli.errors import Failure, UsageError
from dsvc.cli.exchange import open_remote, remote_hints, transferred
from dsvc.cli.options import DryRun, Jobs, Json, Quiet, argument, option
from dsvc.cli.progress_bar import progress_bar
from dsvc.cli.session import open_repository
from dsvc.cli.workers import workers
from dsvc.datasets.publish import NextNumber, Published, publish
from dsvc.history.revisions import resolve
from dsvc.history.versions import LATEST, dataset_ref, split_version
from dsvc.log.refs import TAGS, short_name
from dsvc.log.state import State
from dsvc.model.ids import ObjectId
from dsvc.transport.remote import Remote, default_remote
from dsvc.worktree.head import read_head
from dsvc.worktree.worktree import Worktree

__all__ = ["command"]

_NOT_FOUND = 4


def command(
    name: Annotated[str, argument("NAME", help="The version, as *DATASET*`@1.2.0`; or the dataset, with `--next`.")],
    revision: Annotated[
        str | None, argument("REVISION", help="What is published; by default the tip of the dataset's branch.")
    ] = None,
    *,
    next_: Annotated[
        Literal["patch", "minor", "major"] | None, option("--next", help="Take the number after the highest.")
    ] = None,
    pre: Annotated[
        str | None,
        option("--pre", metavar="LABEL", help="With `--next`, take one that comes before it, such as `1.3.0-rc.1`."),
    ] = None,
    alias: Annotated[
        tuple[str, ...], option("--alias", metavar="WORD", help="Move the alias *DATASET*`@`*WORD* there too.")
    ] = (),
    message: Annotated[
        tuple[str, ...], option("-m", "--message", help="Give the version a message; several are paragraphs.")
    ] = (),
    remote: Annotated[
        str | None, option("--remote", metavar="REMOTE", help="Publish it on *REMOTE*, a name or an address.")
    ] = None,
    local: Annotated[bool, option("--local", help="Publish it in this repository only.")] = False,
    dry_run: DryRun = False,
    jobs: Jobs = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Publish a version: nobody can move or delete it then.

    The version becomes a published tag, here and on the remote, which gets what it lacks of it first, and where the
    dataset's branch moves forward to it, unless it is further on or elsewhere by then. No client moves
    or deletes a published tag, by `--force`, by `tag -d`, by a mirror or by `undo`: whoever reads *DATASET*`@1.2.0`
    reads the same for ever. To publish the same commit again does nothing.

    With `--next`, the number is the one after the highest release of the dataset, here or on the remote: `1.2.3` is
    followed by `1.2.4` (`patch`), `1.3.0` (`minor`) or `2.0.0` (`major`); the first is `1.0.0`. The remote
    decides: of any number who ask at once, each gets another one. Its name is printed. Other names than numbers may
    be published too, and have no next one; see NUMBERS in dsvc-revisions(7).

    *DATASET*`@latest` is the highest number that is published, unless you move an alias of that name. With `--alias`
    and no version, only aliases move.

    The remote is the one that the dataset's branch follows, or else `origin`; where there is none, or with `--local`,
    it is published in this repository alone. `dsvc push` publishes it on a remote later.

    Examples:
        $ dsvc publish vision/imagenet@1.0.0
        $ dsvc publish vision/imagenet --next minor -m "with the new labels"
        $ dsvc publish vision/imagenet --next patch --pre rc
        $ dsvc publish vision/imagenet@1.0.0 1a2b3c4d --alias prod

    Exit status:
        5 there is a tag of that name, not published, of another commit
        10 the number is published already, for another commit

    See also:
        dsvc-tag(1), dsvc-push(1), dsvc-list(1), dsvc-prune(1), dsvc-revisions(7)
    """
    console.set_quiet(quiet)
    if local and remote is not None:
        text = "choose one of `--local` and `--remote`"
        raise UsageError(text)
    if pre is not None and (next_ is None or not pre.isalnum() or not pre[0].isalpha()):
        text = "`--pre` takes a word such as `rc`, and goes with `--next`"
        raise UsageError(text)
    worktree = open_repository()
    state = worktree.store.state()
    dataset, version = _version(state, name, next_, pre, has_alias=bool(alias))
    commit = _commit(worktree, state, dataset, version, revision)
    other = None if local else _remote(worktree, dataset, remote)
    with remote_hints(other.name if other else ""), progress_bar() as progress:
        published = publish(
            worktree.store,
            other,
            commit,
            version,
            aliases=[f"{dataset}@{word}" for word in alias],
            message=clean_message("\n\n".join(message)) or None,
            dry_run=dry_run,
            workers=workers(worktree.config, jobs),
            progress=progress,
        )
        if other is not None:
            other.remember()
    _report(published, other, [f"{dataset}@{word}" for word in alias], dry_run=dry_run, json=json)


def _version(
    state: State, name: str, part: Literal["patch", "minor", "major"] | None, label: str | None, *, has_alias: bool
) -> tuple[str, str | NextNumber | None]:
    """Return the dataset that *name* says, and which version of it."""
    parts = split_version(name)
    if part is not None:
        if parts is not None:
            text = f"`--next` chooses the number, and `{name}` has one"
            raise UsageError(text, hint=f"dsvc publish {parts[0]} --next {part}")
        return name, NextNumber(name, part, label)
    if parts is not None and parts[1] == LATEST:
        text = f"`{name}` is there to be moved, and what is published stays"
        raise UsageError(text, hint=f"to move it, run `dsvc publish {parts[0]} --alias {LATEST}`")
    if parts is not None:
        return parts[0], name
    if TAGS + name in state.refs and not has_alias:
        return name, name
    if "@" in name or not name:
        text = f"`{name}` names no version: one is written as DATASET@1.2.0"
        raise UsageError(text)
    if not has_alias:
        text = f"which version of `{name}`?"
        raise UsageError(text, hint=f"dsvc publish {name}@1.0.0, or dsvc publish {name} --next patch")
    return name, None


def _commit(
    worktree: Worktree, state: State, dataset: str, version: str | NextNumber | None, revision: str | None
) -> ObjectId:
    if revision is None:
        is_tag = isinstance(version, str) and TAGS + version in state.refs
        revision = f"{TAGS}{version}" if is_tag else dataset_ref(state, dataset)
    if revision is None:
        text = f"there is no dataset `{dataset}`"
        raise Failure(text, code=_NOT_FOUND, hint="say which version it is to be, such as HEAD; or see `dsvc list`")
    return resolve(worktree.store, state, revision, head=read_head(worktree, state))


def _remote(worktree: Worktree, dataset: str, name: str | None) -> Remote | None:
    chosen = name or default_remote(worktree.config, dataset)
    if name is None and chosen not in worktree.config.remotes():
        return None
    with remote_hints(chosen):
        return open_remote(worktree, chosen)


def _report(published: Published, other: Remote | None, aliases: list[str], *, dry_run: bool, json: bool) -> None:
    name = None if published.ref is None else short_name(published.ref)
    if json:
        console.out_json(
            {
                "name": name,
                "ref": published.ref,
                "commit": published.commit.hex(),
                "new": published.is_new,
                "remote": None if other is None else other.name,
                "aliases": aliases,
                "dry_run": dry_run,
            }
        )
        return
    line = transferred(published.exchange, "sent") if published.exchange else None
    if line:
        console.say(line)
    where = "in this repository" if other is None else f"on {other.name}"
    if name is not None:
        console.out(name)
        verb = "would be published" if dry_run else "is published" if published.is_new else "was published already"
        console.say(f"{name} {verb} {where}, as {published.commit.short}")
    for one in aliases:
        console.say(f"{one} {'would be' if dry_run else 'is'} {published.commit.short} {where}")
