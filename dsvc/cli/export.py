"""dsvc export: a version as an archive or a folder."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final, Literal

from dsvc.cli import console
from dsvc.cli.errors import UsageError
from dsvc.cli.history import History, PathNotFoundError, open_history
from dsvc.cli.links import open_links
from dsvc.cli.options import AnyLinks, AnySymlinks, Json, Quiet, argument, option
from dsvc.cli.progress_bar import progress_bar
from dsvc.datasets.archives import Archive, Format, format_of, open_archive, open_folder
from dsvc.datasets.export import Exported, LinkTreatment, Selected, export, new_file, new_folder, select
from dsvc.history.revisions import UnbornHeadError, UnknownRevisionError
from dsvc.history.tree import Tree
from dsvc.model.paths import quote_path, validate_path
from dsvc.worktree.pathspec import Pathspec

__all__ = ["command"]

_STDOUT: Final = "-"


def command(
    words: Annotated[tuple[str, ...], argument("REVISION", help="The version, by default the last; then paths.")] = (),
    paths: Annotated[
        tuple[bytes, ...] | None, argument("PATH", help="Only these files and folders.", after_dashes=True)
    ] = None,
    *,
    to: Annotated[
        str | None, option("-o", "--to", metavar="TARGET", help="The archive or the folder; `-` is stdout, as a tar.")
    ] = None,
    form: Annotated[
        Literal["tar", "tar.gz", "tar.zst", "zip"] | None,
        option("--format", help="The format, where the name of the archive does not say it."),
    ] = None,
    prefix: Annotated[bytes, option("--prefix", metavar="PATH", help="Put everything into the folder *PATH*.")] = b"",
    linked: Annotated[
        LinkTreatment,
        option("--linked", help="Of links, read the content, leave them out, or write where they lead."),
    ] = "read",
    links: AnyLinks = False,
    unsafe_symlinks: AnySymlinks = False,
    force: Annotated[bool, option("-f", "--force", help="Overwrite the archive if it is there.")] = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Write a version as an archive or a folder.

    What is written needs no dsvc to be read. If *TARGET* ends in `.tar`, `.tar.gz`, `.tgz`, `.tar.zst`, `.tzst` or
    `.zip`, it is an archive, and else a folder, which must be empty or not there. It has that name only when it is
    whole: content is verified while it is written, and one file that cannot be had means that nothing is.

    The same version makes the same archive, byte for byte, with the same versions of the compressing libraries: paths
    are in order, the time of all files is that of the commit, their owner is root, and their mode says only whether
    they may be executed. The commit's id is the comment of the archive. Files may be of any size. A tar holds any name,
    and a zip those that are UTF-8.

    The content of a link is read from where it is and verified, as dsvc-link(1) describes. With `--linked=skip` links
    are left out, and with `--linked=url` a file `PATH.url` says where each leads.

    A symlink that leads out of the version is refused, as by dsvc-get(1), unless `--unsafe-symlinks` is given.

    Examples:
        $ dsvc export v1.0 --to images.tar.zst
        $ dsvc export v1.0 labels --to labels.zip
        $ dsvc export --to /srv/share/images
        $ dsvc export v1.0 --to - | ssh host tar -x -C /data

    Exit status:
        4 there is no such version or path, or nothing is where a link leads
        5 the target is there already
        8 something is damaged, or what a link leads to has changed
        9 no space is left
        10 a link leads where nobody here has allowed it, or a symlink leads out of the version

    See also:
        dsvc-verify(1), dsvc-bundle(1), dsvc-cat(1), dsvc-link(1)
    """
    console.set_quiet(quiet)
    if not to:
        message = "say what to write with `--to`"
        raise UsageError(message, hint="an archive such as `images.tar.zst`, a folder, or `-` for stdout")
    history = open_history()
    text, named = history.split_version(words, paths)
    tree = history.tree(text or "HEAD")
    selected = _selected(history, tree, named, text or "HEAD")
    place = prefix.strip(b"/")
    if place:
        validate_path(place)
    with progress_bar() as progress, _opened(history, text or "HEAD", to, form, force=force) as archive:
        done = export(
            history.objects,
            selected,
            archive,
            open_links(history.worktree, anything=links),
            prefix=place,
            treatment=linked,
            any_symlinks=unsafe_symlinks,
            progress=progress,
        )
    _report(to, done, json=json)


def _selected(history: History, tree: Tree, named: list[bytes], version: str) -> Selected:
    pathspec = Pathspec(named, exists=lambda path: next(tree.entries(path), None) is not None)
    selected = select(history.objects, tree, pathspec)
    for path in pathspec.unmatched(entry.path for entry in selected.entries):
        raise PathNotFoundError(path, f"`{version}`")
    return selected


@contextmanager
def _opened(history: History, version: str, to: str, name: str | None, *, force: bool) -> Iterator[Archive]:
    """Give what to write to."""
    time, comment = _stamp(history, version)
    form = _form(to, name)
    if form is None:
        with new_folder(Path(to)) as root, open_folder(root, time) as archive:
            yield archive
    elif to == _STDOUT:
        if sys.stdout.isatty():
            message = "an archive is nothing to read on a terminal"
            raise UsageError(message, hint="send it into a file or a pipe")
        sys.stdout.flush()
        with open_archive(sys.stdout.buffer, form, time, comment) as archive:
            yield archive
    else:
        with new_file(Path(to), replace=force) as file, open_archive(file, form, time, comment) as archive:
            yield archive


def _form(to: str, name: str | None) -> Format | None:
    if name is not None:
        return format_of(f".{name}")
    return format_of(".tar" if to == _STDOUT else to)


def _stamp(history: History, version: str) -> tuple[int, str]:
    """Return the time that all files get, and the id of the version."""
    try:
        commit_id = history.commit(version)
    except UnbornHeadError:
        raise
    except UnknownRevisionError:
        return 0, history.tree(version).root.hex()
    return history.commits.get(commit_id).time // 1_000_000, commit_id.hex()


def _report(to: str, done: Exported, *, json: bool) -> None:
    if json:
        # Where the archive itself goes to stdout, nothing else may.
        if to != _STDOUT:
            record = {"kind": "export", **console.json_path(os.fsencode(to)), "files": done.files}
            console.out_json(record | {"bytes": done.size, "skipped": done.skipped})
        return
    where = "stdout" if to == _STDOUT else quote_path(os.fsencode(to))
    skipped = f", without {console.plural(done.skipped, 'link')}" if done.skipped else ""
    console.say(f"exported {console.plural(done.files, 'file')} ({console.format_size(done.size)}) to {where}{skipped}")
