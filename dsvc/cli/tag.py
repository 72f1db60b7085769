"""dsvc tag: list, make and delete tags."""

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

from dsvc.cli import console
from dsvc.cli.editor import clean_message, edit
from dsvc.cli.errors import Failure, UsageError
from dsvc.cli.options import Json, Quiet, argument, option
from dsvc.cli.session import open_repository
from dsvc.history.commits import Commits
from dsvc.history.numbers import version_key
from dsvc.history.revisions import peel, resolve, resolve_any
from dsvc.history.tags import TagRef, create_tag, delete_tag, list_tags, read_tags
from dsvc.history.versions import alias_name
from dsvc.history.walk import ancestors, is_ancestor
from dsvc.log.refs import short_name
from dsvc.log.state import State
from dsvc.model.ids import ObjectId
from dsvc.worktree.head import read_head
from dsvc.worktree.worktree import Worktree

__all__ = ["command"]

_TEMPLATE = """

# Write a message for the tag {name}.
# Lines that start with '#' are left out; an empty message makes no tag.
"""


def command(
    names: Annotated[tuple[str, ...], argument("NAME", help="The tag to make and of what, or patterns to list.")] = (),
    *,
    list_: Annotated[bool, option("-l", "--list", help="List the tags that match the patterns *NAME*.")] = False,
    lines: Annotated[
        int | None, option("-n", metavar="LINES", bare=1, help="Show the first lines of each message, by default one.")
    ] = None,
    sort: Annotated[
        str, option("--sort", metavar="KEY", help="Sort by `refname`, `version` or `date`; with `-` before, backwards.")
    ] = "refname",
    contains: Annotated[
        str | None, option("--contains", metavar="REVISION", help="Only those that *REVISION* is part of.")
    ] = None,
    merged: Annotated[
        str | None, option("--merged", metavar="REVISION", help="Only those that are part of *REVISION*.")
    ] = None,
    points_at: Annotated[
        str | None, option("--points-at", metavar="REVISION", help="Only those of *REVISION* itself.")
    ] = None,
    annotate: Annotated[bool, option("-a", "--annotate", help="Make a tag with message, author and date.")] = False,
    message: Annotated[
        tuple[str, ...], option("-m", "--message", help="The message; several are paragraphs. It makes `-a` needless.")
    ] = (),
    file: Annotated[Path | None, option("-F", "--file", help="Take the message from *FILE*; `-` is stdin.")] = None,
    force: Annotated[bool, option("-f", "--force", help="Move the tag if it exists.")] = False,
    alias: Annotated[bool, option("--alias", help="Make or move an alias, such as *DATASET*`@prod`.")] = False,
    delete: Annotated[bool, option("-d", "--delete", help="Delete tags.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List, make and delete tags.

    `dsvc tag` *NAME* [*REVISION*] names a version, by default HEAD. With `-a` or `-m`, the tag has a
    message, an author and a date of its own. Without names, the tags are listed.

    A release of a dataset is a tag called *DATASET*`@`*VERSION*, such as `vision/imagenet@1.2.0`.

    An alias is a tag called *DATASET*`@`*WORD*, by a word that is no number, such as `prod`. `--alias` moves it to
    another version wherever it was, and `dsvc push` moves it on the remote.

    A published tag can be neither moved nor deleted, see dsvc-publish(1). `dsvc undo` brings a deleted tag back.

    Examples:
        $ dsvc tag -m "first release" vision/imagenet@1.0.0
        $ dsvc tag -l 'vision/*' --sort=-version
        vision/imagenet@1.10.0
        vision/imagenet@1.9.0
        $ dsvc tag -n
        $ dsvc tag --alias vision/imagenet@prod vision/imagenet@1.9.0

    Exit status:
        4 there is no such tag or version
        5 the name is taken
        10 the tag is published

    See also:
        dsvc-publish(1), dsvc-branch(1), dsvc-show(1), dsvc-undo(1), dsvc-revisions(7)
    """
    console.set_quiet(quiet)
    worktree = open_repository()
    state = worktree.store.state()
    conditions = (contains, merged, points_at)
    is_annotated = annotate or bool(message) or file is not None
    makes = is_annotated or force or alias
    if alias and (is_annotated or delete):
        text = "an alias has no message" if is_annotated else "`-d` alone deletes an alias"
        raise UsageError(text)
    if delete:
        if not names:
            text = "tag name required"
            raise UsageError(text)
        for name in names:
            console.say(f"Deleted tag '{name}' (was {delete_tag(worktree.store, name).short}).")
    elif (not names or list_ or lines is not None or any(conditions)) and not makes:
        with console.pager(worktree.config):
            _print(_sorted(_filtered(worktree, state, names, conditions), sort), lines or 0, json=json)
    else:
        body = _message(worktree, names, message, file, wanted=annotate)
        _create(worktree, state, names, body, force=force, alias=alias)


def _create(
    worktree: Worktree, state: State, names: Sequence[str], message: str | None, *, force: bool, alias: bool
) -> None:
    if not names:
        text = "tag name required"
        raise UsageError(text)
    if len(names) > 2:
        text = f"unexpected argument `{names[2]}`"
        raise UsageError(text)
    revision = names[1] if len(names) == 2 else "HEAD"
    head = read_head(worktree, state)
    target = resolve_any(worktree.store, state, revision, head=head)
    if alias:
        alias_name(names[0])
        target = peel(worktree.store, target)
    before = create_tag(worktree.store, names[0], target, message=message, force=force or alias)
    if before is not None and before != target.id.hex():
        console.say(f"Updated tag '{names[0]}' (was {before[:10]})")


def _message(
    worktree: Worktree, names: Sequence[str], paragraphs: Sequence[str], file: Path | None, *, wanted: bool
) -> str | None:
    """Return the message of an annotated tag, None for a plain one."""
    if paragraphs and file is not None:
        text = "give the message with `-m` or `-F`, not both"
        raise UsageError(text)
    if paragraphs:
        message = clean_message("\n\n".join(paragraphs))
    elif file is not None:
        message = clean_message(_read(file))
    elif wanted and names:
        template = _TEMPLATE.format(name=names[0])
        message = edit(template, worktree.config, worktree.control / "TAG_EDITMSG")
    else:
        return None
    if not message:
        text = "the message is empty, so no tag was made"
        raise Failure(text, code=2, hint="give a message with `-m`")
    return message


def _read(file: Path) -> str:
    import sys

    try:
        data = sys.stdin.buffer.read() if file == Path("-") else file.read_bytes()
        return data.decode()
    except FileNotFoundError as error:
        text = f"there is no file {file}"
        raise Failure(text, code=4) from error
    except UnicodeDecodeError as error:
        text = f"{file} is not UTF-8"
        raise UsageError(text) from error


Conditions = tuple[str | None, str | None, str | None]


def _filtered(worktree: Worktree, state: State, patterns: Sequence[str], conditions: Conditions) -> list[TagRef]:
    store, head = worktree.store, read_head(worktree, state)
    wanted_refs = (
        ref
        for ref in list_tags(state)
        if not patterns or any(fnmatchcase(short_name(ref), pattern) for pattern in patterns)
    )
    tags = list(read_tags(store, state, wanted_refs))
    contains, merged, points_at = conditions
    commits = Commits(store.objects)
    if contains is not None:
        wanted = resolve(store, state, contains, head=head)
        tags = [tag for tag in tags if is_ancestor(commits, wanted, tag.commit_id)]
    if merged is not None:
        known = frozenset(ancestors(commits, [resolve(store, state, merged, head=head)]))
        tags = [tag for tag in tags if tag.commit_id in known]
    if points_at is not None:
        target = resolve_any(store, state, points_at, head=head)
        ids = {bytes(target.id), bytes(peel(store, target).id)}
        tags = [tag for tag in tags if {bytes(tag.value), bytes(tag.commit_id)} & ids]
    return tags


def _sorted(tags: list[TagRef], key: str) -> list[TagRef]:
    keys: dict[str, Callable[[TagRef], object]] = {
        "refname": lambda tag: tag.ref,
        "version": lambda tag: version_key(tag.ref),
        "date": lambda tag: tag.time,
    }
    keys |= {"version:refname": keys["version"], "v:refname": keys["version"], "creatordate": keys["date"]}
    name = key.removeprefix("-")
    if name not in keys:
        text = f"cannot sort by `{name}`"
        raise UsageError(text, hint="choose from `refname`, `version` and `date`")
    return sorted(tags, key=keys[name], reverse=key.startswith("-"))  # type: ignore[arg-type]  # each sorts its own kind


def _print(tags: Sequence[TagRef], lines: int, *, json: bool) -> None:
    for tag in tags:
        if json:
            _print_json(tag)
        elif not lines:
            console.out(tag.name)
        else:
            message = tag.commit.message if tag.tag is None else tag.tag.message
            first, *rest = message.split("\n")[:lines]
            console.out(f"{tag.name:<15} {first}")
            for line in rest:
                console.out(f"    {line}" if line else "")


def _print_json(tag: TagRef) -> None:
    annotated = tag.tag
    console.out_json(
        {
            "name": tag.name,
            "ref": tag.ref,
            "commit": tag.commit_id.hex(),
            "tag": None if annotated is None else ObjectId(tag.value).hex(),
            "time": tag.time,
            "tagger": None if annotated is None else annotated.tagger,
            "message": None if annotated is None else annotated.message,
            "subject": tag.subject,
            "published": tag.is_published,
            "files": tag.commit.files,
            "size": tag.commit.size,
        }
    )
