"""dsvc link: content that stays elsewhere."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

from dsvc.cli import console
from dsvc.cli.errors import Failure, UsageError
from dsvc.cli.history import History, open_history
from dsvc.cli.links import link_record, open_links
from dsvc.cli.options import AnyLinks, DryRun, Jobs, Json, NullTerminated, Quiet, argument, option
from dsvc.cli.paths import shown_path, tree_path
from dsvc.cli.pathspec import PathspecFile, PathspecNull, named_paths, read_pathspec
from dsvc.cli.progress_bar import progress_bar
from dsvc.cli.session import open_worktree
from dsvc.cli.workers import begun, workers
from dsvc.datasets.link_edit import (
    LinksStaged,
    add_links,
    keep_digests,
    links_of,
    staged_links,
    update_links,
    vendor_links,
)
from dsvc.datasets.link_targets import Wanted, find_targets
from dsvc.datasets.links import Drift, Linked, Standing
from dsvc.model.paths import display_path
from dsvc.worktree.pathspec import Pathspec
from dsvc.worktree.worktree import Worktree

__all__ = ["SUBCOMMANDS", "command"]

_DIFFERENT: Final = 1
_STORAGE: Final = 7

Urls = Annotated[
    tuple[str, ...], argument("URL", help="An object or prefix: s3://, gs://, az://, http://, https:// or file:///.")
]
Paths = Annotated[tuple[bytes, ...], argument("PATH", help="A link, a folder, or a pattern such as `*.jpg`.")]
Versions = Annotated[tuple[str, ...], argument("REVISION", help="A version; by default what is staged.")]
After = Annotated[
    tuple[bytes, ...] | None, argument("PATH", help="Only these links, folders or patterns.", after_dashes=True)
]
Digest = Annotated[bool, option("--digest", help="Read all of the content, and keep its digest.")]


def command(*, null: NullTerminated = False, json: Json = False) -> None:
    """Link to content that stays elsewhere.

    Without a subcommand, the links of what is staged are listed.

    A link is an entry of a version like a file: it has a path and a size, is moved, removed, compared and merged.
    Its content stays where it is, in a bucket, on a web server or in a folder of this machine, and is not copied.
    What the entry pins is the size, the etag or version that its owner gives it, the time of its last change,
    and, once somebody has read all of it, its digest. So a version says what its links led to, and nobody is given
    anything else unawares: what was changed or removed meanwhile is an error.

    In the worktree a link has no file. A file that is put at its path is a change like any other, and takes the
    place of the link when it is added.

    A version may come from somebody else, and so may its links. They are only followed to URLs that were given
    to `dsvc link add` in this repository, that `links.allow` permits, or with `--links`, which never reads files of
    this machine. How a bucket is reached, if not with what the environment says, is configured as for a remote
    with an address in that bucket. A web server may send us on to another page of its own, or to its encrypted side;
    to another server only where `links.allow` or `--links` permits that.

    Examples:
        $ dsvc link add --recursive s3://bucket/raw/2026 --to raw
        $ dsvc link add https://example.org/labels.csv
        $ dsvc link check
        $ dsvc link vendor labels.csv

    See also:
        dsvc-add(1), dsvc-rm(1), dsvc-cat(1), dsvc-remotes(7), dsvc-concepts(7)
    """
    list_links(null=null, json=json)


def add(
    urls: Urls = (),
    *,
    to: Annotated[
        bytes | None,
        option("--to", metavar="PATH", help="Put it at *PATH*, or into it if it is a folder or ends with `/`."),
    ] = None,
    recursive: Annotated[bool, option("-r", "--recursive", help="Link to all objects below each *URL*.")] = False,
    urls_from_file: Annotated[
        Path | None,
        option(
            "--urls-from-file", metavar="FILE", help="Read URLs from *FILE*, one on a line, perhaps with tab and path."
        ),
    ] = None,
    digest: Digest = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Stage links to what is at URLs.

    Each is looked at, and pinned as it is now. Paths are as `cp` would give them: the last name of the *URL*, in the
    working folder or where `--to` says. A *URL* that ends with a slash means all that is below it, as with `-r`. In the
    names of objects in buckets and of files, `*`, `?` and `[` make a pattern; `*` matches slashes too. Everything that
    is found is staged at once, or nothing is.

    With `--urls-from-file`, a line is a URL, or a URL, a tab, and a path as `--to` would take it.

    A *URL* that was linked to already, at the same path, is pinned anew. Objects whose names no version can hold, such
    as those with an empty part or `..`, are an error.

    A *URL* that holds a password, a token or a signature is refused, because everybody could read it in the commit.

    Exit status:
        2 a link may not have the *URL*, or it is a folder
        4 nothing is there
        5 something else is at the path
        7 it cannot be reached
    """
    console.set_quiet(quiet)
    worktree = open_worktree()
    state = worktree.store.state()
    links = open_links(worktree, anything=False)
    wanted = _wanted(worktree, urls, to, urls_from_file)
    with progress_bar() as progress:
        targets, named = find_targets(links, wanted, recursive=recursive)
        if dry_run or json:
            for target in targets:
                _tell_target(worktree, target.path, target.state.url, target.state.size, json=json)
        if dry_run:
            return
        staged = add_links(worktree, state, links, targets, named=named, digest=digest, progress=progress)
    console.say(_summary(staged))


def _wanted(worktree: Worktree, urls: Sequence[str], to: bytes | None, file: Path | None) -> list[Wanted]:
    place = tree_path(worktree.root, b"." if to is None else to)
    into = to is None or len(urls) > 1 or _is_folder(worktree, to)
    wanted = [Wanted(url, place, into) for url in urls]
    for line in _lines(file) if file is not None else ():
        url, _, path = line.partition("\t")
        if path:
            wanted.append(Wanted(url, named_paths(worktree, [os.fsencode(path)])[0], into=path.endswith("/")))
        else:
            wanted.append(Wanted(url, place, into=True))
    if not wanted:
        message = "no URL given: what is to be linked to?"
        raise UsageError(message)
    return wanted


def _lines(file: Path) -> list[str]:
    try:
        content = sys.stdin.buffer.read() if file == Path("-") else file.read_bytes()
    except OSError as error:
        message = f"cannot read {file}: {error.strerror}"
        raise Failure(message, code=4 if isinstance(error, FileNotFoundError) else 7) from error
    return [line for line in os.fsdecode(content).splitlines() if line.strip()]


def _is_folder(worktree: Worktree, to: bytes) -> bool:
    path = tree_path(worktree.root, to)
    if to.endswith(b"/") or not path or (worktree.root / os.fsdecode(path)).is_dir():
        return True
    first = next(worktree.staged_tree(worktree.store.state()).entries(path), None)
    return first is not None and first.path != path


def _tell_target(worktree: Worktree, path: bytes, url: str, size: int | None, *, json: bool) -> None:
    if json:
        console.out_json({**console.json_path(path), "url": url, "size": size})
    else:
        console.out(f"link '{shown_path(worktree.root, path)}' -> {url}")


def _summary(staged: LinksStaged) -> str:
    if not (staged.new or staged.changed):
        return "nothing changed"
    counts = ((staged.new, "new"), (staged.changed, "changed"))
    parts = ", ".join(f"{count:,} {word}" for count, word in counts if count)
    return (
        f"{console.plural(staged.new + staged.changed, 'link')}: {parts}; {console.format_size(staged.size)} elsewhere"
    )


def list_links(words: Versions = (), paths: After = None, *, null: NullTerminated = False, json: Json = False) -> None:
    """List the links of a version.

    Each line is a path and a URL, with a tab between. Nobody is asked whether they still lead anywhere.

    Exit status:
        4 there is no such revision, or a path is no link
    """
    history = open_history()
    for one in _chosen(history, words, paths)[1]:
        if json:
            console.out_json(link_record(one))
        else:
            path = display_path(one.entry.path) if null else shown_path(history.worktree.root, one.entry.path)
            console.out(f"{path}\t{one.link.url}", "\0" if null else "\n")


def _chosen(history: History, words: Sequence[str], paths: tuple[bytes, ...] | None) -> tuple[str | None, list[Linked]]:
    """Return the version that was named, None for what is staged, and its links at the paths that were."""
    text, named = history.split_version(words, paths)
    return text, links_of(history.objects, history.version(text), Pathspec(path for path in named if path))


def check(
    words: Versions = (),
    paths: After = None,
    *,
    digest: Digest = False,
    links: AnyLinks = False,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Tell which links no longer lead to what they did.

    Those that drifted are told: `changed` if something else is there, `gone` if nothing is, `unknown` if nobody
    can tell now. Of many in one folder, all are looked up by one listing. With `--digest`, all content is
    read and compared with the digests that are known; those of what is staged that were not known yet are staged.

    Exit status:
        0 all are as they were
        1 some are changed or gone
        4 there is no such revision, or a path is no link
        7 some could not be reached, and none was seen to be changed or gone
        10 a link leads where nobody here has allowed it
    """
    history = open_history()
    worktree = history.worktree
    text, chosen = _chosen(history, words, paths)
    with progress_bar() as progress:
        standings = list(open_links(worktree, anything=links).standing(chosen, digest=digest, progress=progress))
    for one in standings:
        if json:
            console.out_json({**link_record(one.linked), "state": one.drift.value, "reason": one.reason or None})
        elif one.drift is not Drift.SAME:
            path = shown_path(worktree.root, one.linked.entry.path)
            reason = f": {one.reason}" if one.reason else ""
            console.out(f"{one.drift.value:8} {path} -> {one.linked.link.url}{reason}")
    if digest and text is None:
        kept = keep_digests(worktree, history.state, standings)
        if kept.changed and not quiet:
            console.say(f"staged {console.plural(kept.changed, 'new digest')}")
    return _tell_drift(standings, quiet=quiet)


def _tell_drift(standings: Sequence[Standing], *, quiet: bool) -> int:
    counts = {drift: sum(one.drift is drift for one in standings) for drift in Drift}
    if not quiet:
        told = [f"{count:,} {drift.value}" for drift, count in counts.items() if count]
        console.say(f"{console.plural(len(standings), 'link')}: {', '.join(told)}" if told else "there are no links")
    if counts[Drift.CHANGED] or counts[Drift.GONE]:
        return _DIFFERENT
    return _STORAGE if counts[Drift.UNKNOWN] else 0


def update(
    paths: Paths = (),
    *,
    digest: Digest = False,
    links: AnyLinks = False,
    pathspec_from_file: PathspecFile = None,
    pathspec_file_nul: PathspecNull = False,
    quiet: Quiet = False,
) -> None:
    """Pin what is at the URLs of links now.

    The staged links at *PATH* get the state of what they lead to now, so the next commit has that. Earlier commits
    keep what they pinned.

    Exit status:
        4 a path is no link, or a link leads nowhere any more
        7 what a link leads to cannot be reached
        10 a link leads where nobody here has allowed it
    """
    console.set_quiet(quiet)
    worktree = open_worktree()
    state = worktree.store.state()
    chosen = _staged(worktree, read_pathspec(worktree, paths, pathspec_from_file, null=pathspec_file_nul))
    with progress_bar() as progress:
        opened = open_links(worktree, anything=links)
        staged = update_links(worktree, state, opened, chosen, digest=digest, progress=progress)
    console.say(_summary(staged))


def _staged(worktree: Worktree, pathspec: Pathspec) -> list[Linked]:
    if not pathspec:
        message = "no path given: which links are meant?"
        raise UsageError(message, hint="for all of them, write `.` at the top of the worktree")
    if b"" in pathspec.words:
        pathspec = Pathspec()
    return staged_links(worktree, worktree.store.state(), pathspec)


def vendor(
    paths: Paths = (),
    *,
    links: AnyLinks = False,
    pathspec_from_file: PathspecFile = None,
    pathspec_file_nul: PathspecNull = False,
    jobs: Jobs = None,
    quiet: Quiet = False,
) -> None:
    """Bring in what links lead to.

    The content is read, verified against what the link pins, written to a file at the path of the link, and
    staged in its place. From then on it is in the repository like that of any other file.

    Exit status:
        4 a path is no link, or a link leads nowhere any more
        5 a file is at the path of a link
        7 what a link leads to cannot be reached
        8 it is no longer what it was
        10 a link leads where nobody here has allowed it
    """
    console.set_quiet(quiet)
    worktree = open_worktree()
    chosen = _staged(worktree, read_pathspec(worktree, paths, pathspec_from_file, null=pathspec_file_nul))
    with progress_bar() as progress:
        opened = open_links(worktree, anything=links)
        size = vendor_links(worktree, opened, chosen, workers=begun(workers(worktree.config, jobs)), progress=progress)
    console.say(f"brought in {console.plural(len(chosen), 'link')}, {console.format_size(size)}")


SUBCOMMANDS: Final = {"add": add, "list": list_links, "check": check, "update": update, "vendor": vendor}
