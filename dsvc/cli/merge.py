"""dsvc merge: join other versions with the current one."""

from typing import Annotated

from dsvc.cli import console
from dsvc.cli.errors import UsageError
from dsvc.cli.history import History, open_history
from dsvc.cli.merging import StrategyOption, chosen_strategy, tell_commit, tell_merge
from dsvc.cli.options import Jobs, Json, Quiet, argument, option
from dsvc.cli.progress_bar import progress_bar
from dsvc.cli.workers import workers
from dsvc.history.merge_heads import Head
from dsvc.history.merge_message import merge_message
from dsvc.history.revisions import resolve_ref
from dsvc.worktree.merge import FastForward, MergeOptions, abort, conclude, merge

__all__ = ["command"]


def command(
    revisions: Annotated[tuple[str, ...], argument("REVISION", help="What to merge: any number of versions.")] = (),
    *,
    message: Annotated[
        tuple[str, ...], option("-m", "--message", help="The message; of several, each is a paragraph.")
    ] = (),
    ff: Annotated[
        bool, option("--ff", help="Move forward without a commit where that is enough; the default.")
    ] = False,
    no_ff: Annotated[bool, option("--no-ff", help="Make a commit, even if moving forward were enough.")] = False,
    ff_only: Annotated[bool, option("--ff-only", help="Move forward, or do nothing.")] = False,
    squash: Annotated[
        bool, option("--squash", help="Stage what comes of it, as one change, and make no merge.")
    ] = False,
    no_commit: Annotated[
        bool, option("--no-commit", help="Stop before the commit, to look at what comes of it.")
    ] = False,
    strategy: StrategyOption = None,
    allow_unrelated: Annotated[
        bool, option("--allow-unrelated-histories", help="Merge datasets that have no version in common.")
    ] = False,
    continue_: Annotated[bool, option("--continue", help="Commit, once all conflicts are decided.")] = False,
    abort_: Annotated[bool, option("--abort", help="Go back to before the merge.")] = False,
    jobs: Jobs = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Join other versions with the current one.

    What the versions have changed since they were one, in any path, is brought together in a commit with all of
    them as parents. Where this branch has nothing of its own, it is only moved forward.

    Both sides are compared with the best version that they have in common. If there are several, as after two
    branches were merged into each other, those are merged first, in the same way, and what was in conflict
    there is in conflict again unless both sides are the same now. Of several versions, one is merged after the
    other. Only parts of the trees that differ are read, so a merge costs what the change costs, whatever the
    size of the dataset.

    A path that one side changed is taken from there. The content of a file, its executable bit and its metadata
    count as apart. Renames are not looked for: a file that one side renamed and the other edited is in
    conflict.

    Tables can be merged row by row. A file `.dsvcattributes` in the dataset says which, in the syntax of
    gitattributes(5), and which columns tell one row from another:

        *.csv           merge=rows key=id
        labels/*.jsonl  merge=rows key=image,box

    In CSV, TSV and JSON Lines, rows are then added, changed and removed as on either side, and columns that one
    side added stay. Rows are in our order, and those that they added come last. A row that both sides changed,
    and not to the same, is a conflict of the whole file. So is a file where this does not work: with a key that
    is missing or there twice, ragged rows, columns that were removed, or more than 256 MiB. The reason is told.
    Some six times the size of the file is held in memory. `format=csv` says what the end of a name does not.

    In a conflict both sides are kept. The file in the worktree is ours, or theirs if we have deleted it;
    nothing is written into it. `dsvc status` lists what is not decided. To decide, edit the file or take a side
    with `dsvc restore --ours` or `--theirs`, then `dsvc add` it, or `dsvc rm` it. The versions can be read as
    `:1:PATH` (the base), `:2:PATH` (ours) and `:3:PATH` (theirs), say with `dsvc cat :3:labels.csv`. Where one
    side has a file and the other a folder, the file gets the name of its side, as in `labels~topic`. With more
    than two sides, conflicts are refused: merge one after the other, or use `-X`.

    `-X ours` and `-X theirs` settle conflicts, and those only, for one side: of several versions, for the first
    or for the last one. `-X last-wins` is the rule of clearml-data: every path of any version is there, and
    where several have it, that of the last one named counts. What one has deleted comes back if another has it,
    and an old file may take the place of a newer one.

    What you have edited and not staged stays, where the merge does not touch it; otherwise nothing is done. A
    merge that was cut short, by a power failure, say, can be finished or given up in the same way as one with
    conflicts.

    Examples:
        $ dsvc merge topic
        $ dsvc merge --no-ff -m "The labels of July" labels/july
        $ dsvc merge -X last-wins train validation test
        $ dsvc switch --orphan all && dsvc merge --allow-unrelated-histories train test
        $ dsvc merge --abort

    Exit status:
        4 there is no such version, or no merge to go on with
        5 conflicts have to be decided, or local changes would be lost
        10 the versions have no history in common

    See also:
        dsvc-pull(1), dsvc-rebase(1), dsvc-cherry-pick(1), dsvc-restore(1), dsvc-status(1), dsvc-undo(1)
    """
    console.set_quiet(quiet)
    if ff + no_ff + ff_only > 1 or continue_ + abort_ + bool(revisions) > 1 or (squash and no_ff):
        text = "choose one of `--ff`, `--no-ff` and `--ff-only`; and of versions, `--continue` and `--abort`"
        raise UsageError(text)
    history = open_history()
    worktree = history.worktree
    work = workers(worktree.config, jobs)
    given = "\n\n".join(message) or None
    if abort_:
        with progress_bar() as progress:
            head = abort(worktree, workers=work, progress=progress)
        if json:
            console.out_json({"kind": "merge", "result": "aborted", "new": None if head is None else head.hex()})
        elif head is not None:
            console.say(f"HEAD is at {head.short} {worktree.commit_of(head).subject}")
        return
    if continue_:
        made = conclude(worktree, given)
        if json:
            console.out_json({"kind": "merge", "result": "merged", "new": None if made is None else made.id.hex()})
        elif made is not None:
            tell_commit(worktree, made.id)
        return
    if not revisions:
        text = "missing version to merge"
        raise UsageError(text)
    ways = {no_ff: FastForward.NEVER, ff_only: FastForward.ONLY}
    options = MergeOptions(
        ways.get(True, FastForward.ALLOWED),
        commits=not no_commit,
        squashed=squash,
        strategy=chosen_strategy(strategy),
        allow_unrelated=allow_unrelated,
    )
    heads = [Head(history.commit(word), word) for word in revisions]
    with progress_bar() as progress:
        merged = merge(worktree, heads, given or _message(history, revisions), options, workers=work, progress=progress)
    tell_merge(worktree, merged, revisions[-1], json=json)


def _message(history: History, revisions: tuple[str, ...]) -> str:
    store, state, head = history.worktree.store, history.state, history.head
    sources = [(resolve_ref(store, state, word, head=head), word) for word in revisions]
    return merge_message(sources, head.ref)
