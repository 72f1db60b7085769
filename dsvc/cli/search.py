"""dsvc search: versions by what they are called, what is said of them, and what they hold."""

import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from itertools import islice
from typing import Annotated, Final, Literal

from dsvc.cli import console, session
from dsvc.cli.errors import UsageError
from dsvc.cli.list import All, Row, print_rows
from dsvc.cli.options import Json, argument, option
from dsvc.cli.place import open_place
from dsvc.history.dates import parse_date
from dsvc.history.metadata import parse_condition
from dsvc.history.search import Found, Query, readable_meta, search
from dsvc.model.paths import quote_path
from dsvc.model.tree import Entry
from dsvc.worktree.pathspec import Pathspec

__all__ = ["command"]

_SHOWN: Final = 5
_LISTED: Final = 1000
_DIGEST: Final = re.compile(r"[0-9a-f]{4,64}")


def command(
    words: Annotated[
        tuple[str, ...],
        argument("REMOTE|TEXT", help="Search there, a remote or an address; and for versions that say all of these."),
    ] = (),
    *,
    name: Annotated[
        tuple[str, ...], option("--name", metavar="PATTERN", help="Only versions of datasets so called.")
    ] = (),
    tag: Annotated[tuple[str, ...], option("--tag", metavar="PATTERN", help="Only versions with such a tag.")] = (),
    meta: Annotated[
        tuple[str, ...],
        option("--meta", metavar="CONDITION", help="Only with such metadata: `KEY=VALUE`, or `!=`, `<`, `>`, `~`."),
    ] = (),
    author: Annotated[
        str | None, option("--author", metavar="EXPRESSION", help="Only what somebody so called made.")
    ] = None,
    message: Annotated[
        str | None, option("--message", "--grep", metavar="EXPRESSION", help="Only with such a message.")
    ] = None,
    since: Annotated[str | None, option("--since", "--after", metavar="DATE", help="Leave out what is older.")] = None,
    until: Annotated[str | None, option("--until", "--before", metavar="DATE", help="Leave out what is newer.")] = None,
    state: Annotated[
        Literal["final", "published"] | None, option("--state", help="Only versions in this state.")
    ] = None,
    path: Annotated[
        tuple[str, ...], option("--path", metavar="PATTERN", help="Only with a file or folder so called.")
    ] = (),
    digest: Annotated[
        tuple[str, ...], option("--digest", metavar="HEX", help="Only with a file whose digest begins so.")
    ] = (),
    most: Annotated[
        int | None, option("-n", "--max-count", metavar="N", digits=True, help="Show the newest *N*.")
    ] = None,
    all: All = False,
    json: Json = False,
) -> None:
    """Search for versions.

    All versions are searched that the branches, tags and remotes' branches here lead to, each commit once, and the
    newest are shown first. Nothing is asked of a remote, unless one is named; what was fetched is all here. Several
    conditions have to hold together, and of several patterns in one of `--name`, `--tag`, `--path` and `--digest` any.

    A version is called by the nearest tag or branch, such as `vision/imagenet@1.2.0`, or `vision/imagenet@1.2.0~3`
    for what is three versions before it.

    *TEXT* is looked for in names, messages and the descriptions of datasets, whatever its case. *PATTERN*s are those of
    the shell; the ones of `--path` are as for `dsvc ls`, from the root: a folder stands for all in it, and `*` matches
    slashes too. *EXPRESSION*s are regular ones, whatever their case. With `--path` and `--digest`, the files are shown;
    a part of a tree that versions share is read once.

    *CONDITION* is about what `dsvc meta set` has said of a version: `accuracy>0.9`, `license=cc-by`, `source.url~^s3`,
    joined by `and`, `or` and `not`; see dsvc-meta(1).

    Examples:
        $ dsvc search cats
        $ dsvc search --name 'vision/*' --meta 'quality>=3' --since 2026-01-01
        $ dsvc search --path 'labels/*.csv' --author ada
        $ dsvc search --digest 3f9a1c5e
        $ dsvc search s3://bucket/images --state published --json

    See also:
        dsvc-list(1), dsvc-log(1), dsvc-meta(1), dsvc-dataset(1), dsvc-revisions(7)
    """
    place, texts = open_place(words)
    now = session.now()
    query = Query(
        dataset=_any_of(name),
        tag=_any_of(tag),
        words=texts,
        meta=[parse_condition(one) for one in meta],
        author=_expression(author),
        message=_expression(message),
        since=None if since is None else parse_date(since, now),
        until=None if until is None else parse_date(until, now, end=True),
        published=None if state is None else state == "published",
        entry=_entry_test(path, digest),
        archived=all,
    )
    with console.pager(place.config):
        versions = islice(search(place.store, place.state, query), most)
        if json:
            for found in versions:
                console.out_json(_record(found))
        else:
            print_rows(list(map(_row, versions)), console.width())


def _any_of(patterns: tuple[str, ...]) -> Callable[[str], bool] | None:
    if not patterns:
        return None
    return lambda text: any(fnmatchcase(text, pattern) for pattern in patterns)


def _expression(text: str | None) -> Callable[[str], bool] | None:
    if text is None:
        return None
    try:
        expression = re.compile(text, re.IGNORECASE)
    except re.error as error:
        message = f"`{text}` is no regular expression: {error}"
        raise UsageError(message) from error
    return lambda value: expression.search(value) is not None


def _entry_test(paths: tuple[str, ...], digests: tuple[str, ...]) -> Callable[[Entry], bool] | None:
    """Return the test of a file's path and digest, None if there is none."""
    for digest in digests:
        if not _DIGEST.fullmatch(digest.lower()):
            message = f"`{digest}` is no digest: it has 4 to 64 hexadecimal digits"
            raise UsageError(message)
    pathspec = Pathspec(path.encode("utf-8", "surrogateescape").strip(b"/") for path in paths)
    starts = tuple(digest.lower() for digest in digests)
    if not paths and not digests:
        return None
    if not digests:
        return lambda entry: pathspec.matches(entry.path)
    return lambda entry: entry.digest.hex().startswith(starts) and pathspec.matches(entry.path)


def _row(found: Found) -> Row:
    commit = found.commit
    paths = [quote_path(entry.path) for entry in islice(found.entries(), _SHOWN)]
    return Row(
        found.name,
        "published" if found.is_published else "final",
        f"{console.plural(commit.files, 'file')}, {console.format_size(commit.size)}",
        console.format_iso_date(commit.time, commit.offset)[:10],
        "",
        commit.subject,
        {},
        below=[*paths, *([f"and {found.count - _SHOWN:,} more"] if found.count > _SHOWN else [])],
    )


def _record(found: Found) -> dict[str, object]:
    commit = found.commit
    entries = [
        {**console.json_path(entry.path), "size": entry.size, "digest": entry.digest.hex()}
        for entry in islice(found.entries(), _LISTED)
    ]
    return {
        "name": found.name,
        "names": found.names,
        "commit": found.commit_id.hex(),
        "state": "published" if found.is_published else "final",
        "author": commit.author,
        "time": commit.time,
        "date": console.format_iso_date(commit.time, commit.offset),
        "message": commit.message,
        "files": commit.files,
        "size": commit.size,
        "meta": readable_meta(commit),
        "matches": found.count,
        "entries": entries,
    }
