"""dsvc get: a version in a folder, to be read."""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from dsvc.cli import console
from dsvc.cli.aliases import path_within, what_is_meant
from dsvc.cli.errors import Failure, UsageError, exit_code
from dsvc.cli.options import AnyLinks, AnySymlinks, Jobs, Json, Quiet, Verbose, argument, option
from dsvc.cli.pathspec import PathspecFile, PathspecNull, read_lines
from dsvc.cli.progress_bar import progress_bar
from dsvc.cli.session import make_context, now, record_use
from dsvc.cli.user_cache import cache_keep, cache_limit, open_cache, open_source, surroundings
from dsvc.cli.workers import workers
from dsvc.config import Config
from dsvc.datasets.address import parse_address
from dsvc.datasets.get import Changed, Wanted, find_wanted, get, parse_changed
from dsvc.datasets.means import Means
from dsvc.datasets.parts import Part, parse_part
from dsvc.datasets.selection import Selection, clean_paths
from dsvc.datasets.source import RepositorySource, Source, Version
from dsvc.errors import DsvcError, NoSpaceError
from dsvc.model.paths import quote_path

if TYPE_CHECKING:
    from dsvc.datasets.links import Links

__all__ = ["command"]

_MISSING: Final = 127
_NOT_EXECUTABLE: Final = 126
_PLACE: Final = "{}"


def command(
    address: Annotated[str, argument("ADDRESS", help="What to get: `[REMOTE#]NAME[@VERSION][:PATH]`.")],
    paths: Annotated[tuple[bytes, ...], argument("PATH", help="Get only these, counted from the root.")] = (),
    words: Annotated[
        tuple[str, ...] | None,
        argument("COMMAND", help="Run it, and let the folder stay while it runs.", after_dashes=True),
    ] = None,
    *,
    to: Annotated[Path | None, option("--to", metavar="DIR", help="Make it be in the folder *DIR*.")] = None,
    copy: Annotated[bool, option("--copy", help="With `--to`: files to work on; so it is by default.")] = False,
    link: Annotated[bool, option("--link", help="With `--to`: read-only links to the cache.")] = False,
    overwrite: Annotated[bool, option("--overwrite", help="With `--to`: other things in *DIR* make way.")] = False,
    part: Annotated[
        Part | None, option("--part", metavar="I/N", parse=parse_part, help="Get the part *I* of *N*, from 1 on.")
    ] = None,
    changed: Annotated[
        Changed | None,
        option("--changed", metavar="A..B", parse=parse_changed, help="Get only what came or changed from *A* to *B*."),
    ] = None,
    verify: Annotated[bool, option("--verify", help="Hash what is there already, too.")] = False,
    offline: Annotated[bool, option("--offline", help="Ask nobody, and use what is known.")] = False,
    any_links: AnyLinks = False,
    unsafe_symlinks: AnySymlinks = False,
    pathspec_from_file: PathspecFile = None,
    pathspec_file_nul: PathspecNull = False,
    jobs: Jobs = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    json: Json = False,
) -> int:
    """Get a version into a folder, read-only and cached.

    The folder is in the user's cache, holds the whole version, and its path is printed; nothing else is, so that a
    script can use it as it is. Its files are links to files of the cache, so versions share what they have in common.
    Asking again costs nothing: not a byte is sent, and of a published version, or one that is named by its full id,
    nobody is even asked. Every file is hashed as it comes. If one cannot be had, there is no folder, and an error.

    *NAME* is a dataset or any revision (see dsvc-revisions(7)) of the repository where you are; anywhere else,
    write `REMOTE#NAME`, with the name of a remote, from your own configuration too, or with its address, as in
    dsvc-remotes(7). With `:PATH` only that path is got, and what is printed is where it is. Paths and patterns after
    that select, too.

    With `--to`, the version comes to be in *DIR* instead, with files of its own that may be edited, or with `--link`
    read-only ones that take no room; for root, and on another filesystem, these are copies too. What an earlier get has
    put there is not written again; other things in *DIR* are never touched unless you say `--overwrite`.

    `--part I/N` shares a version among *N* machines: parts have the same size but for at most a file, no file is in
    two, and together they are all. A part is a run of neighbours in the order of paths. `--changed A..B` gets what was
    added or modified; *A* and *B* are versions of the dataset or revisions, and *B* may be left out.

    With a *COMMAND*, that is run with `{}` replaced by the path, which is also in the variable `DSVC_PATH`. While it
    runs, the folder stays where it is, whatever is evicted, and the exit status is its own. Without one, the folder
    stays for the time of `cache.keep`, a day by default, and longer if it is pinned; see dsvc-cache(1).

    Programs follow symlinks, so one that leads out of the version is refused: it may come from somebody who wants
    another file of yours to be read. Its target is absolute, or has a `..` that goes above the root or comes after a
    name. `--unsafe-symlinks` writes it as it is.

    `@ALIAS` is the version that the code here uses under that name, as its `dsvc.lock` or the environment says; see
    dsvc-use(1).

    Examples:
        $ dsvc get vision/imagenet@1.2.0
        $ python train.py --data $(dsvc get s3://bucket/images#train@latest)
        $ dsvc get origin#train --part 3/8 -- python train.py --data {}
        $ dsvc get train@1.2.0:labels --to labels
        $ dsvc get train --changed 1.1.0..1.2.0 '*.jpg'
        $ dsvc meta list -z --where label=cat train |
            dsvc get train --pathspec-from-file=- --pathspec-file-nul

    Exit status:
        4 there is no such version, or it has no such path, or nothing is where a link leads any more
        5 *DIR* holds other things, or is a file
        7 the remote cannot be reached
        8 something that came is damaged, or what a link leads to has changed
        10 a link leads to a URL that nobody here has named, a symlink leads out of the version, or *DIR* is a
        repository
        126 *COMMAND* cannot be run
        127 *COMMAND* is not there

    See also:
        dsvc-cache(1), dsvc-checkout(1), dsvc-cat(1), dsvc-revisions(7), dsvc-remotes(7)
    """
    console.set_quiet(quiet)
    what, target = what_is_meant(parse_address(address))
    if to is None and (copy or link or overwrite):
        message = "`--copy`, `--link` and `--overwrite` are for a folder of your own"
        raise UsageError(message, hint="to name it, use `--to DIR`")
    if copy and link:
        message = "give `--copy` or `--link`, not both"
        raise UsageError(message)
    if pathspec_from_file is not None:
        paths = _named(paths, pathspec_from_file, null=pathspec_file_nul)
    if what.path and paths:
        message = "give `:PATH`, or paths, not both"
        raise UsageError(message)
    if target is not None and target.folder is not None:
        if to is not None or paths or part is not None or changed is not None:
            message = f"`{address}` is the folder {target.folder} here, and can only be used as it is"
            raise UsageError(message, hint=f"unset {target.variable}")
        path = path_within(target.folder, what.path)
        if words is not None:
            return _run(words, path, None, _umask())
        if json:
            console.out_json({**console.json_path(os.fsencode(path)), "commit": None})
        else:
            console.out(str(path))
        return 0
    selection = Selection(clean_paths([what.path] if what.path else paths), part=part, any_symlinks=unsafe_symlinks)
    config, control = surroundings()
    umask = _umask()
    cache, limit, keep = open_cache(config), cache_limit(config), cache_keep(config)
    links = partial(_links, config, None if what.store else control, anything=any_links)
    with ExitStack() as stack:
        with progress_bar() as progress:
            source = open_source(cache, what.store, offline=offline, progress=progress)
            with _hints(source, offline=offline):
                wanted = find_wanted(source, what.version, selection, changed)
                if target is not None:
                    version = msgspec.structs.replace(wanted.version, name=target.name)
                    wanted = msgspec.structs.replace(wanted, name=target.name, version=version)
                _tell_age(source, wanted.version, offline=offline)
                means = Means(cache, source, None if offline else links, workers(config, jobs), progress)
                if to is None:
                    got = stack.enter_context(get(means, wanted, verify=verify))
                    shown = _Shown(got.path, got.record.files, got.record.size, got.was_there, got.lease)
                else:
                    shown = _get_to(means, wanted, to, umask, linked=link, overwrite=overwrite, verify=verify)
        if limit is not None and not shown.was_there:
            from dsvc.datasets.evict import evict

            evict(cache, limit, keep=keep, automatic=True)
        record_use(wanted.version.name, wanted.version.commit_id, place=source.place, itself=words is not None)
        if target is not None and config.flag("use.record"):
            from dsvc.cli.use_record import record_targets

            record_targets([target], run=None, url=None)
        path = shown.path_of(what.path)
        if verbose:
            _say(wanted, shown)
        if words is not None:
            return _run(words, path, shown.lease, umask)
        if json:
            _print_json(wanted, shown, path)
        else:
            console.out(str(path))
    return 0


def _named(paths: tuple[bytes, ...], file: Path, *, null: bool) -> tuple[bytes, ...]:
    """Return the paths in *file*; without any, nothing is wanted, and not everything."""
    named = tuple(read_lines(file, null=null))
    if paths or not named:
        message = "give paths, or `--pathspec-from-file`, not both" if paths else f"{file} names no path"
        raise UsageError(message)
    return named


def _links(config: Config, control: Path | None, *, anything: bool) -> "Links":
    from dsvc.datasets.link_policy import read_policy
    from dsvc.datasets.links import Links

    return Links(config, make_context(config), read_policy(config, control, anything=anything))


class _Shown(msgspec.Struct, frozen=True):
    """What there is to say of what was got into *folder*."""

    folder: Path
    files: int
    size: int
    was_there: bool
    lease: int | None

    def path_of(self, within: bytes | None) -> Path:
        """Return the path that was asked for: that of *within*, unless it is a pattern."""
        named = self.folder / os.fsdecode(within) if within else self.folder
        return named if os.path.lexists(named) else self.folder


def _umask() -> int:
    """Return the user's own umask, before a shared cache has changed it."""
    os.umask(found := os.umask(0o077))
    return found


def _get_to(
    means: Means, wanted: Wanted, folder: Path, umask: int, *, linked: bool, overwrite: bool, verify: bool
) -> _Shown:
    from dsvc.datasets.to_folder import get_to, has_begun

    shown = quote_path(os.fsencode(folder))
    try:
        # Only for a shared cache does it have to be said.
        forbidden = umask if means.cache.shared else 0
        placed = get_to(means, wanted, folder, forbidden, linked=linked, overwrite=overwrite, verify=verify)
    except BaseException:
        if has_begun(folder):
            console.hint(f"what has come is kept in {shown}: run the same again to go on")
        raise
    if linked and not placed.linked:
        console.say(f"the files of {shown} are copies: links to the cache cannot be there")
    absolute = Path(os.path.normpath(Path.cwd() / folder))
    return _Shown(absolute, placed.files, placed.size, placed.was_there, None)


def _say(wanted: Wanted, shown: _Shown) -> None:
    there = ", there already" if shown.was_there else ""
    what = f"{console.plural(shown.files, 'file')}, {console.format_size(shown.size)}"
    console.say(f"{wanted.name}: {what}{there}")


def _print_json(wanted: Wanted, shown: _Shown, path: Path) -> None:
    console.out_json(
        {
            **console.json_path(os.fsencode(path)),
            "name": wanted.name,
            "commit": wanted.version.commit,
            "tree": wanted.tree_id,
            "selection": wanted.selection.describe() or None,
            "files": shown.files,
            "size": shown.size,
            "was_there": shown.was_there,
        }
    )


@contextmanager
def _hints(source: Source, *, offline: bool) -> Iterator[None]:
    """Add to what goes wrong what to type."""
    try:
        yield
    except NoSpaceError as error:
        hint = "to make room in the cache, run `dsvc cache gc --max-size SIZE`"
        raise Failure(str(error), code=exit_code(error), hint=hint) from error
    except DsvcError as error:
        if not isinstance(source, RepositorySource):
            _raise_advised(error, source, offline=offline)
        raise


def _raise_advised(error: DsvcError, source: Source, *, offline: bool) -> None:
    """Raise *error* again if there is nothing special to say about it, else what says that."""
    from dsvc.cli.exchange import remote_hints
    from dsvc.datasets.remote_source import RemoteSource
    from dsvc.storage.faults import UnreachableError
    from dsvc.transport.position import OtherStoreError, RemoteRewoundError

    try:
        with remote_hints(source.label):
            raise error
    except Failure as failure:
        # A store that is no longer what it was has no name here that `dsvc remote` would know.
        if isinstance(source, RemoteSource) and isinstance(error, OtherStoreError | RemoteRewoundError):
            hint = f"if that is as it should be, remove {quote_path(os.fsencode(source.folder))}, and try again"
            raise Failure(str(error), code=failure.code, hint=hint) from error
        raise
    except UnreachableError:
        advice = None if offline else "to ask nobody, and use what is known, use `--offline`"
        raise Failure(str(error), code=exit_code(error), hint=advice) from error


def _tell_age(source: Source, version: Version, *, offline: bool) -> None:
    if offline and not isinstance(source, RepositorySource) and not version.is_final:
        age = console.relative_date(version.seen, now()[0])
        console.say(f"`{version.name}` is what it was {age}")


def _run(words: Sequence[str], path: Path, lease: int | None, umask: int) -> int:
    """Run the command *words* with *path* and *umask*, and let it hold the *lease* too; return its exit code."""
    import subprocess

    command = [word.replace(_PLACE, str(path)) for word in words]
    environment = {**os.environ, "DSVC_PATH": str(path)}
    held = () if lease is None else (lease,)
    try:
        process = subprocess.Popen(  # noqa: S603 -- the user's own words
            command, env=environment, pass_fds=held, umask=umask
        )
    except OSError as error:
        message = f"cannot run {command[0]}: {(error.strerror or str(error)).lower()}"
        code = _MISSING if isinstance(error, FileNotFoundError) else _NOT_EXECUTABLE
        raise Failure(message, code=code) from error
    # The terminal sends Ctrl-C to both, and it is the command's to answer.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: process.send_signal(received))
    code = process.wait()
    return 128 - code if code < 0 else code
