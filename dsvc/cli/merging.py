"""What `dsvc merge`, `pull`, `cherry-pick`, `revert` and `rebase` say of merges, and of conflicts."""

from collections.abc import Sequence
from typing import Annotated, Final, Literal

from dsvc.cli import console
from dsvc.cli.changes import entry_record
from dsvc.cli.errors import Failure
from dsvc.cli.options import option
from dsvc.cli.paths import shown_path
from dsvc.history.merge import Conflict, ConflictKind
from dsvc.history.merge_heads import Strategy
from dsvc.log.refs import short_name
from dsvc.model.ids import ObjectId
from dsvc.worktree.merge import MergeResult, Result
from dsvc.worktree.worktree import Worktree

__all__ = [
    "SideOption",
    "StrategyOption",
    "chosen_strategy",
    "fail_for_conflicts",
    "tell_commit",
    "tell_conflicts",
    "tell_merge",
]

_CONFLICT: Final = 5
_SHOWN: Final = 20

StrategyOption = Annotated[
    Literal["ours", "theirs", "last-wins"] | None,
    option("-X", "--strategy-option", metavar="SIDE", help="Settle conflicts: `ours`, `theirs` or `last-wins`."),
]
SideOption = Annotated[
    Literal["ours", "theirs"] | None,
    option("-X", "--strategy-option", metavar="SIDE", help="Settle conflicts: `ours` or `theirs`."),
]


def chosen_strategy(word: str | None) -> Strategy | None:
    """Return what `-X` chose."""
    return None if word is None else Strategy(word)


def tell_conflicts(worktree: Worktree, conflicts: Sequence[Conflict], names: tuple[str, str], *, json: bool) -> None:
    """Say of each path what is wrong with it; *names* are those of our side and of theirs."""
    if json:
        for conflict in conflicts:
            console.out_json(_conflict_record(conflict))
        return
    for conflict in conflicts[:_SHOWN]:
        console.say(_conflict_line(worktree, conflict, names))
    if len(conflicts) > _SHOWN:
        console.say(f"and {len(conflicts) - _SHOWN:,} more conflicts, which `dsvc status` lists")


def _conflict_line(worktree: Worktree, conflict: Conflict, names: tuple[str, str]) -> str:
    path = shown_path(worktree.root, conflict.path)
    ours, theirs = names
    kind = conflict.kind
    if conflict.moved_from is not None:
        side = theirs if conflict.ours is None else ours
        moved = shown_path(worktree.root, conflict.moved_from)
        return f"CONFLICT (file/folder): a folder is in the way of {moved} from {side}; it is at {path} now"
    if kind in (ConflictKind.DELETED_BY_US, ConflictKind.DELETED_BY_THEM):
        gone, kept = names if kind is ConflictKind.DELETED_BY_US else (theirs, ours)
        return f"CONFLICT (modify/delete): {path} deleted in {gone} and modified in {kept}; the latter stays for now"
    word = "add/add" if kind is ConflictKind.BOTH_ADDED else "content"
    reason = f": {conflict.reason}" if conflict.reason else ""
    return f"CONFLICT ({word}): both sides changed {path}{reason}"


def _conflict_record(conflict: Conflict) -> dict[str, object]:
    """Return what `--json` prints of *conflict*."""
    record: dict[str, object] = {"kind": "conflict", **console.json_path(conflict.path), "type": conflict.kind.value}
    for name, entry in (("base", conflict.base), ("ours", conflict.ours), ("theirs", conflict.theirs)):
        record[name] = None if entry is None else entry_record(entry)
    if conflict.reason:
        record["reason"] = conflict.reason
    if conflict.moved_from is not None:
        record |= {f"moved_from_{key}": value for key, value in console.json_path(conflict.moved_from).items()}
    return record


def fail_for_conflicts(count: int, verb: str, name: str) -> Failure:
    """Return the error of a *verb* that stopped for *count* conflicts with *name*."""
    message = f"{console.plural(count, 'path')} in conflict with {name}, which is not committed"
    hint = (
        "edit the files, or take a side with `dsvc restore --ours` or `--theirs`, and `dsvc add` them; then "
        f"`dsvc {verb} --continue`, or `dsvc {verb} --abort` to give up"
    )
    return Failure(message, code=_CONFLICT, hint=hint)


def tell_commit(worktree: Worktree, commit: ObjectId) -> None:
    """Say that *commit* was made, as `dsvc commit` does."""
    branch = worktree.session(worktree.store.state()).branch
    name = "detached HEAD" if branch is None else short_name(branch)
    console.say(f"[{name} {commit.short}] {worktree.commit_of(commit).subject}")


def tell_merge(worktree: Worktree, merged: MergeResult, name: str, *, json: bool) -> None:
    """Say how the merge of *name* ended.

    Raises:
        Failure: With conflicts.
    """
    tell_conflicts(worktree, merged.conflicts, ("HEAD", name), json=json)
    session = worktree.session(worktree.store.state())
    branch = None if session.branch is None else short_name(session.branch)
    if json:
        old = None if merged.old is None else merged.old.hex()
        record = {"kind": "merge", "result": merged.result.value, "branch": branch, "old": old, "new": merged.new.hex()}
        console.out_json({**record, "paths": merged.changed, "conflicts": len(merged.conflicts)})
    if merged.conflicts:
        raise fail_for_conflicts(len(merged.conflicts), "merge", name)
    changed = f"{console.plural(merged.changed, 'path')} changed"
    if json:
        return
    if merged.result is Result.UP_TO_DATE:
        console.say("Already up to date.")
    elif merged.result is Result.FAST_FORWARD:
        start = "nothing" if merged.old is None else merged.old.short
        console.say(f"Updating {start}..{merged.new.short}: {changed}")
    elif merged.result is Result.MERGED:
        tell_commit(worktree, merged.new)
        console.say(f" {changed}")
    else:
        console.say(f"Merged and staged: {changed}; to conclude it, run `dsvc commit`")
