"""dsvc meta: what people say of versions and of files."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Final

from dsvc.cli import console
from dsvc.cli.commit_text import meta_lines
from dsvc.cli.errors import Failure, UsageError
from dsvc.cli.history import History, open_history
from dsvc.cli.meta_input import read_object, read_rows
from dsvc.cli.options import Json, NullTerminated, Quiet, argument, option
from dsvc.cli.paths import shown_path
from dsvc.cli.pathspec import read_pathspec
from dsvc.cli.session import open_worktree
from dsvc.history.extensions import extension_metadata, read_extensions
from dsvc.history.metadata import (
    NoSuchKeyError,
    assignment,
    find,
    parse_condition,
    patched,
    removal,
    shown,
)
from dsvc.log.refs import HEADS
from dsvc.model.canonical_json import JsonObject
from dsvc.model.paths import display_path, quote_path
from dsvc.model.tree import Entry
from dsvc.worktree.add import What, add
from dsvc.worktree.metadata import (
    TABLES,
    NotABranchError,
    change_meta,
    change_meta_of_branch,
    change_meta_of_files,
    staged_meta,
    version_meta,
)
from dsvc.worktree.pathspec import Pathspec
from dsvc.worktree.worktree import Worktree

__all__ = ["SUBCOMMANDS", "command"]

_NOT_FOUND: Final = 4
_TOGETHER: Final = 1000
_TABLE_KINDS: Final = (".csv", ".tsv", ".jsonl", ".parquet")

Path_ = Annotated[
    tuple[bytes, ...], option("--path", metavar="PATH", help="Of the files at *PATH*, and not of the version.")
]
Message = Annotated[
    str | None, option("-m", "--message", metavar="TEXT", help="The message of the commit, where one is made.")
]


def command(*, json: Json = False) -> None:
    """Say something of versions and of files.

    Without a subcommand, what is said of the next version is listed.

    Metadata is JSON: numbers, truth values, texts, lists, and objects, whose parts are named with dots, as in
    `model.layers`. It is part of the commit: it has a history like the files, and goes on from one version to the
    next until it is changed. What is said of a single file is kept with it, also when it is moved and when its
    content changes. `dsvc search --meta` looks for versions, and `dsvc meta list --where` for files.

    Metadata with many rows is a table: a CSV, TSV, JSON Lines or Parquet file in the folder `.dsvcmeta`, which is
    printed, compared and merged like any other.

    Examples:
        $ dsvc meta set license=CC-BY-4.0 classes=10
        $ dsvc meta set --path images/7.png label=cat split=test
        $ dsvc meta set --table labels labels.csv
        $ dsvc meta list -z --where 'label=cat and split!=test' main |
            dsvc get main --pathspec-from-file=- --pathspec-file-nul

    See also:
        dsvc-commit(1), dsvc-ls(1), dsvc-get(1), dsvc-search(1), dsvc-concepts(7)
    """
    list_(json=json)


def set_(
    words: Annotated[
        tuple[str, ...], argument("KEY=VALUE", help="What to say; `KEY:=JSON` for anything but text and numbers.")
    ] = (),
    *,
    paths: Path_ = (),
    file: Annotated[
        Path | None, option("-F", "--file", metavar="FILE", help="Take it from a JSON object in *FILE*; `-` is stdin.")
    ] = None,
    each: Annotated[
        Path | None,
        option(
            "--each", metavar="FILE", help="Say of each file what its row in *FILE* says; the column `path` names it."
        ),
    ] = None,
    table: Annotated[
        str | None, option("--table", metavar="NAME", help="Keep the file that is named as the table *NAME*.")
    ] = None,
    message: Message = None,
    quiet: Quiet = False,
) -> None:
    """Say something of the next version, of a branch, or of files.

    It is staged: the next commit says it. Where the first word is no KEY=VALUE but a branch or `HEAD`, it is said of
    the newest version of that branch, by a commit of its own with the same files. Older versions stay as they are.

    A VALUE that is a number, `true` or `false` is that, and anything else is text; what follows `:=` is JSON. Objects
    are merged: only the keys that are named change, and null removes one.

    With `--each`, *FILE* is a CSV, TSV or JSON Lines file with a row for each file.

    With `--table`, the one word that follows is a CSV, TSV, JSON Lines or Parquet file, of which a copy is staged.

    Exit status:
        2 a value cannot be kept
        4 a path matches no file
        10 the revision is no branch
    """
    console.set_quiet(quiet)
    if table is not None:
        _set_table(table, words, others=bool(paths or file or each or message))
        return
    revision, assignments = _split(words)
    patches = [read_object(file)] if file is not None else []
    patches += map(assignment, assignments)
    if bool(patches) == (each is not None):
        text = "`--each` says it all, so give no KEY=VALUE with it" if each else "nothing to set: give KEY=VALUE"
        raise UsageError(text)
    if each is not None:
        _set_each(each, alone=not (paths or revision or message))
        return
    names = ", ".join(dict.fromkeys(key for patch in patches for key in patch))
    _change(lambda meta: _all(meta, patches), paths, revision, message or f"Set metadata: {names}")


def unset(
    keys: Annotated[tuple[str, ...], argument("KEY", help="What to say no more; a branch may stand before it.")],
    *,
    paths: Path_ = (),
    message: Message = None,
    quiet: Quiet = False,
) -> None:
    """Say something no more.

    As with `set`, of the next version, of a branch that is named before the keys, or of files. A key that is not set
    is an error, but of files only if none has it.

    Exit status:
        4 a key is not set, or a path matches no file
        10 the revision is no branch
    """
    console.set_quiet(quiet)
    history = open_history()
    revision = keys[0] if len(keys) > 1 and _branch(history, keys[0]) else None
    gone = keys[1:] if revision else keys
    patches = [removal(key) for key in gone]
    found: set[str] = set()

    def change(meta: JsonObject) -> JsonObject:
        found.update(key for key in gone if find(meta, key) is not None)
        missing = [key for key in gone if key not in found]
        if missing and not paths:
            raise NoSuchKeyError(missing[0], f"`{revision}`" if revision else "what is staged")
        return _all(meta, patches)

    _change(change, paths, revision, message or f"Remove metadata: {', '.join(gone)}")
    missing = [key for key in gone if key not in found]
    if missing:
        raise NoSuchKeyError(missing[0], "these files")


def _all(meta: JsonObject, patches: Sequence[JsonObject]) -> JsonObject:
    for patch in patches:
        meta = patched(meta, patch)
    return meta


def _change(
    change: Callable[[JsonObject], JsonObject], paths: tuple[bytes, ...], revision: str | None, message: str
) -> None:
    if paths:
        if revision is not None:
            text = "what is said of files is staged, and not said of a branch: give a path or a revision"
            raise UsageError(text)
        worktree = open_worktree()
        pathspec = read_pathspec(worktree, paths)
        count = change_meta_of_files(worktree, worktree.store.state(), pathspec, lambda _, meta: change(meta))
        console.say(f"staged metadata of {console.plural(count, 'file')}" if count else "nothing changed")
    elif revision is not None:
        history = open_history()
        branch = _branch(history, revision)
        if branch is None:
            history.commit(revision)
            raise NotABranchError(revision)
        made = change_meta_of_branch(history.worktree.store, history.state, branch, change, message)
        console.say("nothing changed" if made is None else f"[{branch} {made.short}] {message}")
    else:
        changed = change_meta(open_worktree(), change)
        console.say("staged metadata of the next version" if changed else "nothing changed")


def _split(words: Sequence[str]) -> tuple[str | None, Sequence[str]]:
    """Return the revision that may come first, and the assignments."""
    return (words[0], words[1:]) if words and "=" not in words[0] else (None, words)


def _branch(history: History, revision: str) -> str | None:
    """Return the branch that *revision* names, None if it is none."""
    if revision in ("HEAD", "@"):
        ref = history.head.ref
        return ref.removeprefix(HEADS) if ref is not None and ref.startswith(HEADS) else None
    return revision if f"{HEADS}{revision}" in history.state.refs else None


def _set_each(file: Path, *, alone: bool) -> None:
    if not alone:
        text = "`--each` names the files itself"
        raise UsageError(text)
    worktree = open_worktree()
    patches = read_rows(file)
    pathspec = Pathspec(patches, exists=lambda _: True)
    count = change_meta_of_files(
        worktree, worktree.store.state(), pathspec, lambda path, meta: patched(meta, patches.get(path, {}))
    )
    console.say(f"staged metadata of {console.plural(count, 'file')}" if count else "nothing changed")


def _set_table(name: str, words: Sequence[str], *, others: bool) -> None:
    if others or len(words) != 1:
        text = "`--table` takes one file, and nothing else"
        raise UsageError(text)
    source = Path(words[0])
    if source.suffix not in _TABLE_KINDS:
        text = f"a table is a file that ends with {', '.join(_TABLE_KINDS)}, not {source.name}"
        raise UsageError(text)
    if not name or "/" in name or name.startswith("."):
        text = f"no table can be called `{name}`"
        raise UsageError(text)
    worktree = open_worktree()
    folder = worktree.root / display_path(TABLES)
    target = folder / f"{name}{source.suffix}"
    other = [one for kind in _TABLE_KINDS if (one := folder / f"{name}{kind}") != target and one.exists()]
    if other:
        text = f"the table {name} is {other[0].name}: remove it before"
        raise Failure(text, code=5)
    try:
        folder.mkdir(exist_ok=True)
        if not (target.exists() and source.samefile(target)):
            # A file that shares its bytes with the cache is read-only, and replaced by one that does not.
            target.unlink(missing_ok=True)
            shutil.copyfile(source, target)
    except OSError as error:
        message = f"cannot copy {source}: {error.strerror}"
        raise Failure(message, code=_NOT_FOUND if isinstance(error, FileNotFoundError) else 7) from error
    path = TABLES + b"/" + target.name.encode()
    add(worktree, worktree.store.state(), What(Pathspec([path], exists=lambda _: True), force=True))
    console.say(f"staged the table {quote_path(path)}")


def get(
    words: Annotated[tuple[str, ...], argument("KEY", help="What to show; a revision may stand before it.")],
    *,
    path: Annotated[
        bytes | None, option("--path", metavar="PATH", help="Of the file at *PATH*, and not of the version.")
    ] = None,
) -> None:
    """Show what is said under a key.

    Text is printed as it is, anything else as JSON. Without a revision it is what the next commit would say.

    Exit status:
        4 the key is not set, or there is no such revision or path
    """
    if len(words) > 2:
        text = "give a key, or a revision and a key"
        raise UsageError(text)
    history = open_history()
    revision = words[0] if len(words) > 1 else None
    where = f"`{revision}`" if revision else "what is staged"
    if path is None:
        meta = _meta(history, revision)
    else:
        (entry,) = _files(history, revision, [path])
        meta = extension_metadata(read_extensions(history.objects, [entry])[0])
        where = shown_path(history.worktree.root, entry.path)
    value = find(meta, words[-1])
    if value is None:
        raise NoSuchKeyError(words[-1], where)
    console.out(shown(value))


def _meta(history: History, revision: str | None) -> JsonObject:
    if revision is None:
        return staged_meta(history.worktree, history.state)
    return version_meta(history.worktree, history.commit(revision))


def _files(history: History, revision: str | None, paths: Sequence[bytes]) -> list[Entry]:
    """Return the files of a version at *paths*, all without any.

    Raises:
        Failure: A path matches none.
    """
    tree = history.version(revision)
    pathspec = read_pathspec(history.worktree, paths) if paths else Pathspec()
    found = [
        entry
        for folder in pathspec.folders
        for entry in tree.entries(folder)
        if not pathspec.patterns or pathspec.matches(entry.path)
    ]
    for word in pathspec.unmatched([entry.path for entry in found]):
        if word:
            text = f"{quote_path(word)} matches no file of {f'`{revision}`' if revision else 'what is staged'}"
            raise Failure(text, code=_NOT_FOUND)
    return found


def list_(
    words: Annotated[tuple[str, ...], argument("REVISION", help="A version; by default what is staged.")] = (),
    paths: Annotated[
        tuple[bytes, ...] | None, argument("PATH", help="Look only at these files.", after_dashes=True)
    ] = None,
    *,
    where: Annotated[
        str | None, option("--where", metavar="CONDITION", help="List the files of which *CONDITION* holds.")
    ] = None,
    null: NullTerminated = False,
    json: Json = False,
) -> None:
    """List what is said of a version, or the files of which something is said.

    Each line is a key and a value; objects are listed part by part. Tables come last.

    With `--where`, the paths of files are listed, of which a condition holds:

    `KEY=VALUE`, with `=`, `==`, `!=`, `<`, `<=`, `>` or `>=`; `KEY~PATTERN`, a regular expression that is found in it;
    or `KEY` alone, which holds if it is set. Conditions are joined by `and`, `or`, `not` and parentheses. Of a list,
    one element is enough. What is not set, or is text where a number is asked for, meets only `!=`.

    Exit status:
        1 no file meets the condition
        2 it is no condition
        4 there is no such revision or path
    """
    if len(words) > 1:
        text = f"unexpected argument `{words[1]}`"
        raise UsageError(text)
    history = open_history()
    revision = words[0] if words else None
    if where is None:
        if paths:
            text = "give `--where` to look at files; `dsvc ls --meta` lists what is said of each"
            raise UsageError(text)
        _list_version(history, revision, json=json)
        return
    condition = parse_condition(where)
    entries = [entry for entry in _files(history, revision, paths or ()) if entry.extension is not None]
    count = 0
    for start in range(0, len(entries), _TOGETHER):
        some = entries[start : start + _TOGETHER]
        for entry, extension in zip(some, read_extensions(history.objects, some), strict=True):
            meta = extension_metadata(extension)
            if condition.matches(meta):
                count += 1
                _print_file(history.worktree, entry, meta, null=null, json=json)
    if not count:
        text = "no file meets the condition"
        raise Failure(text, code=1)


def _print_file(worktree: Worktree, entry: Entry, meta: JsonObject, *, null: bool, json: bool) -> None:
    if json:
        console.out_json({**console.json_path(entry.path), "size": entry.size, "meta": meta})
    else:
        path = display_path(entry.path) if null else shown_path(worktree.root, entry.path)
        console.out(path, "\0" if null else "\n")


def _list_version(history: History, revision: str | None, *, json: bool) -> None:
    meta = _meta(history, revision)
    tables = list(history.version(revision).entries(TABLES))
    if json:
        paths = [console.json_path(entry.path)["path"] for entry in tables]
        console.out_json({"meta": meta, "tables": paths})
        return
    for line in meta_lines(meta):
        console.out(line)
    for entry in tables:
        console.out(f"table {shown_path(history.worktree.root, entry.path)} ({console.format_size(entry.size)})")


SUBCOMMANDS: Final = {"set": set_, "get": get, "list": list_, "unset": unset}
