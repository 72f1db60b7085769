"""dsvc cache: what `dsvc get` keeps, for how long, and in how much room."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final

from dsvc.cli import console
from dsvc.cli.errors import Failure
from dsvc.cli.options import DryRun, Json, Quiet, argument, option
from dsvc.cli.progress_bar import progress_bar
from dsvc.cli.user_cache import cache_keep, cache_limit, open_cache, surroundings
from dsvc.datasets.amounts import parse_size
from dsvc.datasets.evict import cache_size, evict
from dsvc.datasets.tree_record import read_record
from dsvc.datasets.user_cache import Use, UserCache
from dsvc.datasets.verify_cache import verify_cache
from dsvc.model.paths import quote_path

__all__ = ["SUBCOMMANDS", "command"]

_DAMAGED: Final = 8
_NOT_FOUND: Final = 4
_ID: Final = re.compile(r"[0-9a-f]{4,64}")

Trees = Annotated[
    tuple[str, ...], argument("TREE", help="A name that it was got by, its path, or the first digits of its id.")
]


def command(*, quiet: Quiet = False, json: Json = False) -> None:
    """Manage the cache that versions are got into.

    Without a subcommand, what is in it is listed, as by `dsvc cache ls`.

    The cache is in `$XDG_CACHE_HOME/dsvc`, or `~/.cache/dsvc`, unless `cache.dir` says another folder. It holds the
    trees that `dsvc get` has made, and the files that they are links to. None of it is the only copy of anything: to be
    rid of all of it, run `dsvc -c cache.keep=0s cache gc --max-size 0`.

    *What stays.* A tree that a process uses has a lease, which ends with the process however that ends; `dsvc get
    ADDRESS -- COMMAND` holds one while the command runs. A tree whose path was only printed stays for the time of
    `cache.keep` after that, a day by default. One that is pinned stays until it is unpinned. Of all others, those that
    were not asked for for the longest time go when there is more in the cache than `cache.max-size`, which is looked at
    after each `dsvc get` that made something; without that setting, nothing goes by itself. Where a filesystem has no
    locks, only `dsvc cache gc` makes trees go. What is known of stores is in `stores`: the metadata of those far away
    goes as trees do, and comes again when it is needed; what names meant there stays until you remove it.

    *What is checked.* Files and folders of trees are read-only. Each time that a tree is asked for, its folders are
    looked at, which shows whatever came, went or was replaced; and the size and time of every file, in a tree of more
    than 10,000 files only once a day. What is not as it was written is made again. `dsvc get --verify` and `dsvc cache
    verify` read and hash all of it.

    *Times.* The date of a file is made from its content, and lies between 2000 and 2017: it shows an edit, and it makes
    equal files equal for tools such as rsync.

    *Sharing.* With `cache.shared`, and a `cache.dir` in a folder of their group, several users who trust each other
    share one cache. Trees are then writable for the group, so that any member can evict them. Where the system lets
    nobody make links to files of others (Linux's `fs.protected_hardlinks`), a tree that has files in common with
    another user's has copies of them.

    Examples:
        $ dsvc cache ls
        $ dsvc cache pin vision/imagenet@1.2.0
        $ dsvc cache gc --max-size 50G
        $ dsvc cache verify

    See also:
        dsvc-get(1), dsvc-config(5), dsvc-concepts(7)
    """
    list_trees(quiet=quiet, json=json)


def list_trees(*, quiet: Quiet = False, json: Json = False) -> None:
    """List the trees, the one asked for last first.

    The columns are size, files, when it was last asked for, whether it is pinned or in use, and what it is.
    """
    console.set_quiet(quiet)
    config = surroundings()[0]
    cache = open_cache(config)
    trees = sorted(cache.trees(), key=cache.last_use, reverse=True)
    now = cache.clock()
    for tree_id in trees:
        _show(cache, tree_id, now, json=json)
    limit = cache_limit(config)
    most = f" of at most {console.format_size(limit)}" if limit is not None else ""
    taken = f"{console.plural(len(trees), 'tree')}, {console.format_size(cache_size(cache))}{most}"
    console.say(f"{taken}, in {quote_path(os.fsencode(cache.root))}")
    stores = list((cache.root / "stores").iterdir())
    if stores:
        size = sum(path.lstat().st_size for store in stores for path in store.rglob("*"))
        console.say(f"what is known of {console.plural(len(stores), 'store')}: {console.format_size(size)}")


def _show(cache: UserCache, tree_id: str, now: int, *, json: bool) -> None:
    record, names, used = read_record(cache, tree_id), cache.names(tree_id), cache.last_use(tree_id)
    with cache.claim(tree_id) as use:
        pass
    states = ["pinned"] * cache.is_pinned(tree_id) + ["in use"] * (use is Use.IN_USE)
    if json:
        console.out_json(
            {
                **console.json_path(os.fsencode(cache.tree(tree_id))),
                "id": tree_id,
                "names": names,
                "selection": (record.selection or None) if record else None,
                "files": record.files if record else None,
                "size": record.size if record else None,
                "last_use": used // 1000,
                "pinned": cache.is_pinned(tree_id),
                "in_use": use is Use.IN_USE,
                "complete": record is not None,
            }
        )
        return
    size = (
        f"{console.format_size(record.size):>10} {console.plural(record.files, 'file'):>14}"
        if record
        else f"{'incomplete':>25}"
    )
    what = ", ".join(names) + (f" ({record.selection})" if record and record.selection else "")
    console.out(
        f"{size}  {console.relative_date(used // 1000, now // 1000):14} {', '.join(states):14} {tree_id[:10]} {what}"
    )


def pin(trees: Trees, *, quiet: Quiet = False) -> None:
    """Let trees stay, whatever room they take.

    Exit status:
        4 there is no such tree; `dsvc get` makes it
    """
    console.set_quiet(quiet)
    cache = open_cache(surroundings()[0])
    for tree_id in _chosen(cache, trees):
        cache.pin(tree_id)


def unpin(trees: Trees, *, quiet: Quiet = False) -> None:
    """Let trees go once nobody uses them.

    Exit status:
        4 there is no such tree
    """
    console.set_quiet(quiet)
    cache = open_cache(surroundings()[0])
    for tree_id in _chosen(cache, trees):
        cache.unpin(tree_id)


def verify(trees: Trees = (), *, dry_run: DryRun = False, quiet: Quiet = False, json: Json = False) -> int:
    """Read and hash everything, or some trees, and drop what is damaged.

    What was dropped is made again by the next `dsvc get`. A tree that is in use is not dropped, and repaired then.

    Exit status:
        4 there is no such tree
        8 something was damaged
    """
    console.set_quiet(quiet)
    cache = open_cache(surroundings()[0])
    count = 0
    with progress_bar() as progress:
        chosen = list(_chosen(cache, trees)) if trees else None
        for damage in verify_cache(cache, chosen, dry_run=dry_run, progress=progress):
            count += 1
            path = os.fsencode(damage.path)
            if json:
                console.out_json({**console.json_path(path), "reason": damage.reason, "outcome": damage.outcome})
            else:
                console.out(f"{quote_path(path)}: {damage.reason}: {damage.outcome}")
    console.say(f"{console.plural(count, 'damaged thing')}" if count else "all is as it was written")
    return _DAMAGED if count else 0


def gc(
    *,
    max_size: Annotated[
        int | None,
        option("--max-size", metavar="SIZE", parse=parse_size, help="Let at most *SIZE* stay, such as `50G`."),
    ] = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Make room.

    Files go that no tree is a link to, then trees with their files and the metadata of stores far away, first what was
    not asked for for the longest time, until there is no more than *SIZE*, by default `cache.max-size`. Without either,
    only what nobody uses goes.
    What is pinned, in use, or was asked for within `cache.keep` stays, and it is said if that is why there is more.
    """
    console.set_quiet(quiet)
    config = surroundings()[0]
    cache = open_cache(config)
    limit = cache_limit(config) if max_size is None else max_size
    gone = evict(cache, limit, keep=cache_keep(config), dry_run=dry_run)
    if json:
        console.out_json(
            {
                "trees": gone.trees,
                "files": gone.files,
                "stores": gone.stores,
                "freed_bytes": gone.freed,
                "size": gone.size,
                "kept": gone.kept,
                "dry_run": dry_run,
            }
        )
        return
    verb = "would free" if dry_run else "freed"
    what = f"{console.plural(len(gone.trees), 'tree')} and {console.plural(gone.files, 'file')}"
    if gone.stores:
        what += f", and the metadata of {console.plural(len(gone.stores), 'store')}"
    console.say(f"{verb} {console.format_size(gone.freed)}: {what}; {console.format_size(gone.size)} stay")
    if limit is not None and gone.size > limit:
        why = ", ".join(f"{count:,} {reason}" for reason, count in gone.kept.items())
        console.warn(f"that is more than {console.format_size(limit)}: of trees and stores, {why}")


SUBCOMMANDS = {"ls": list_trees, "pin": pin, "unpin": unpin, "verify": verify, "gc": gc}


def _chosen(cache: UserCache, words: Sequence[str]) -> Iterator[str]:
    """Yield the trees that *words* name.

    Raises:
        Failure: One names none.
    """
    trees = cache.trees()
    for word in words:
        found = [one for one in trees if _is_named(cache, one, word)]
        if not found:
            message = f"no tree in the cache is called `{word}`"
            raise Failure(
                message, code=_NOT_FOUND, hint="`dsvc cache ls` lists those that there are; `dsvc get` makes one"
            )
        yield from found


def _is_named(cache: UserCache, tree_id: str, word: str) -> bool:
    names = cache.names(tree_id)
    if word in names or (_ID.fullmatch(word) and tree_id.startswith(word)):
        return True
    tree = cache.tree(tree_id)
    return "/" in word and Path(os.path.normpath(Path.cwd() / word)).is_relative_to(tree)
