"""dsvc bundle: versions in a file, for places without a network."""

import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

from dsvc.cli import console
from dsvc.cli.errors import Failure, UsageError
from dsvc.cli.exchange import BUNDLE
from dsvc.cli.fetch import fetch_from
from dsvc.cli.options import DryRun, Jobs, Json, Quiet, Verbose, argument, option
from dsvc.cli.progress_bar import progress_bar
from dsvc.cli.session import load_config, make_context, open_repository
from dsvc.cli.workers import workers
from dsvc.errors import InvalidInputError
from dsvc.history.revisions import resolve, resolve_ref, split_range
from dsvc.history.store import Store
from dsvc.log.refs import HEADS, TAGS
from dsvc.log.state import State
from dsvc.model.ids import Kind, ObjectId
from dsvc.model.paths import quote_path
from dsvc.repository import NotARepositoryError
from dsvc.storage.bundle import BundleBackend, VolumeMissingError, bundle_file
from dsvc.transport.address import has_worktree
from dsvc.transport.bundle import Bundled, NothingNewError, check_bundle, create_bundle, take_packs
from dsvc.transport.fetch import FetchOptions
from dsvc.transport.offer import Into
from dsvc.transport.refspec import parse_refspec
from dsvc.transport.remote import Remote, RemoteDamagedError
from dsvc.worktree.head import read_head
from dsvc.worktree.worktree import Worktree

__all__ = ["SUBCOMMANDS", "command"]

_NOTHING: Final = 1
_NOT_FOUND: Final = 4
# As for split(1): 4G is 4GiB, and 4GB is a little less.
_SIZE: Final = re.compile(r"([0-9]{1,12})(?:([KMGT])(iB|B)?)?", re.IGNORECASE)

File = Annotated[Path, argument("FILE", help="The bundle; of one in volumes, any of them.")]


def _size(text: str) -> int:
    found = _SIZE.fullmatch(text)
    size = 0
    if found:
        unit = "kmgt".index(found[2].lower()) + 1 if found[2] else 0
        size = int(found[1]) * (1000 if (found[3] or "").lower() == "b" else 1024) ** unit
    if not size:
        message = f"`{text}` is no size, such as `4GB` or `700MiB`"
        raise InvalidInputError(message)
    return size


def command() -> None:
    """Put versions into a file, for places without a network.

    A bundle is a store in one file: it holds versions with all their data, and what reads from a remote reads from it,
    as `dsvc clone FILE`, `dsvc fetch FILE`, `dsvc pull FILE` and `dsvc list FILE`. It never changes.

    Where the other side has some versions already, `--since` leaves out what they hold, to the byte: an update of large
    files that were edited takes about the room of the edits. What it then builds on is named in it, and looked for
    before it is taken.

    Examples:
        $ dsvc bundle create images.bundle
        $ dsvc clone images.bundle

        and a month later:

        $ dsvc bundle create august.bundle main --since v1.0
        $ dsvc pull august.bundle

    See also:
        dsvc-clone(1), dsvc-fetch(1), dsvc-pull(1), dsvc-export(1), dsvc-format(5)
    """
    message = "say what to do: `create`, `list`, `verify` or `apply`"
    raise UsageError(message)


def create(
    file: Annotated[Path, argument("FILE", help="The bundle to make.")],
    refs: Annotated[
        tuple[str, ...], argument("REF", help="Branches and tags, or `A..B`; by default all there are.")
    ] = (),
    *,
    since: Annotated[
        tuple[str, ...],
        option(
            "--since", "--not", metavar="REVISION", help="Leave out what the other side has, as it has this version."
        ),
    ] = (),
    tags: Annotated[bool, option("--tags", help="Take the tags of the versions along; `--no-tags` does not.")] = True,
    split: Annotated[
        int | None,
        option("--split", metavar="SIZE", parse=_size, help="Make volumes of at most this size, as `4GB` or `700MiB`."),
    ] = None,
    force: Annotated[bool, option("-f", "--force", help="Overwrite the bundle if it is there.")] = False,
    jobs: Jobs = None,
    quiet: Quiet = False,
    json: Json = False,
) -> int:
    """Make a bundle of branches and tags.

    It is written as `FILE.part`, and called *FILE* when it is whole. One that was interrupted goes on where it was when
    the same command is run again: what is whole in the part is not written again.

    With `--since`, or for `A..B`, the other side must have that version, as a clone or an earlier bundle has it. All
    its data is left out, and whatever else it needs is in the bundle.

    With `--split`, the bundle is in volumes `FILE.001`, `FILE.002` and so on, as for media of that size, or a file
    system that knows no larger files. They are read together where they are in one folder; or each is applied on its
    own, the last one last. They are filled by pieces of up to about 64 MiB, and so a little smaller than they may be.

    Examples:
        $ dsvc bundle create all.bundle
        $ dsvc bundle create update.bundle main --since v1.0
        $ dsvc bundle create /media/stick/images.bundle v1.0..v1.1 --split 4GB
    """
    console.set_quiet(quiet)
    worktree = open_repository()
    state = worktree.store.state()
    wanted, excluded = _chosen(worktree, state, refs, since)
    try:
        with progress_bar() as progress:
            made = create_bundle(
                worktree.store,
                file,
                wanted,
                since=excluded,
                tags=tags,
                head=worktree.session(state).branch,
                split=split,
                replace=force,
                threads=workers(worktree.config, jobs).jobs,
                progress=progress,
            )
    except NothingNewError as error:
        console.say(str(error))
        return _NOTHING
    except BaseException:
        if any(file.parent.glob(f"{glob.escape(file.name)}*.part")):
            console.hint("what was written is kept beside it: run the same again to go on")
        raise
    _report(made, json=json)
    return 0


def _chosen(
    worktree: Worktree, state: State, words: Sequence[str], since: Sequence[str]
) -> tuple[dict[str, ObjectId], list[ObjectId]]:
    """Return the refs to put into a bundle, and the versions that the other side has."""
    head = read_head(worktree, state)
    excluded = list(since)
    refs: list[str] = []
    for word in words:
        sides = split_range(word)
        if sides is not None and sides[1] == "..":
            excluded.append(sides[0])
        name = sides[2] if sides is not None and sides[1] == ".." else word
        ref = resolve_ref(worktree.store, state, name, head=head)
        if ref is None or not ref.startswith((HEADS, TAGS)) or ref not in state.refs:
            message = f"`{name}` is no branch or tag, and a bundle holds those"
            raise Failure(message, code=_NOT_FOUND, hint="give the version a name with `dsvc branch` or `dsvc tag`")
        refs.append(ref)
    if not words:
        refs = [ref for ref in state.refs if ref.startswith((HEADS, TAGS))]
    if not refs:
        message = "there is no version yet"
        raise Failure(message, code=_NOT_FOUND)
    commits = [resolve(worktree.store, state, text, head=head) for text in excluded]
    return {ref: ObjectId.from_hex(state.refs[ref].value) for ref in refs}, list(dict.fromkeys(commits))


def _report(made: Bundled, *, json: bool) -> None:
    if json:
        record: dict[str, object] = {"kind": "bundle", "files": [os.fsdecode(file) for file in made.files]}
        record |= {"bytes": made.size, "refs": made.refs, "commits": made.commits, "objects": made.objects}
        console.out_json(record | {"prerequisites": [commit.hex() for commit in made.prerequisites]})
        return
    name = quote_path(os.fsencode(made.files[0]))
    several = f" and {len(made.files) - 1} more" if len(made.files) > 1 else ""
    told = f"{console.plural(made.commits, 'version')} with {console.plural(made.objects, 'object')}"
    console.say(f"wrote {name}{several}: {told}, {console.format_size(made.size)}")
    if made.prerequisites:
        console.say(f"it builds on {', '.join(commit.short for commit in made.prerequisites)}")


def list_refs(file: File, *, verbose: Verbose = False, json: Json = False) -> None:
    """List the branches and tags in a bundle; with `-v`, also what it builds on."""
    backend = _open(file)
    state = Store(backend, make_context(load_config())).state()
    for ref in sorted(state.refs):
        if ref.startswith((HEADS, TAGS)):
            found = state.refs[ref]
            if json:
                console.out_json({"kind": "ref", "ref": ref, "value": found.value, "published": found.published})
            else:
                console.out(f"{found.value}\t{ref}")
    for commit in backend.prerequisites if verbose or json else ():
        if json:
            console.out_json({"kind": "prerequisite", "commit": commit})
        else:
            console.out(f"-{commit}")


def _open(file: Path, *, partial: bool = False) -> BundleBackend:
    found = bundle_file(file)
    if found is None:
        exists = os.path.lexists(file)
        message = f"{quote_path(os.fsencode(file))} {'is no bundle' if exists else 'is not there'}"
        raise Failure(message, code=_NOT_FOUND)
    return BundleBackend.open(found, partial=partial)


def verify(file: File, *, jobs: Jobs = None, quiet: Quiet = False, json: Json = False) -> int:
    """Check that a bundle is whole, every byte of it, and that what it builds on is here.

    Outside of a repository, what it builds on is only named.

    Exit status:
        4 a volume is missing, or what it builds on is not here
        8 something in it is damaged
    """
    console.set_quiet(quiet)
    backend = _open(file)
    config = load_config()
    with progress_bar() as progress:
        objects = check_bundle(backend, threads=workers(config, jobs).jobs, progress=progress)
    missing = _missing(backend)
    if json:
        record: dict[str, object] = {"kind": "summary", "objects": objects, "volumes": len(backend.volumes)}
        console.out_json(record | {"prerequisites": backend.prerequisites, "missing": missing})
    else:
        console.say(f"{quote_path(os.fsencode(file))} is whole: {console.plural(objects, 'object')}")
        if backend.prerequisites:
            shown = ", ".join(commit[:10] for commit in backend.prerequisites)
            here = "" if missing is None else ", which is not all here" if missing else ", which is here"
            console.say(f"it builds on {shown}{here}")
    return _NOT_FOUND if missing else 0


def _missing(backend: BundleBackend) -> list[str] | None:
    """Return what *backend* builds on and is not here, None where there is no repository."""
    try:
        objects = open_repository().store.objects
    except NotARepositoryError:
        return None
    return [commit for commit in backend.prerequisites if objects.kind_of(ObjectId.from_hex(commit)) != Kind.COMMIT]


def apply(
    file: File,
    refspecs: Annotated[
        tuple[str, ...], argument("REFSPEC", help="A branch or a tag, or `SOURCE:TARGET`; `+` in front forces it.")
    ] = (),
    *,
    force: Annotated[bool, option("-f", "--force", help="Move tags and branches in any direction.")] = False,
    dry_run: DryRun = False,
    jobs: Jobs = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Take the versions of a bundle.

    It is `dsvc fetch FILE`: `bundle/BRANCH` remembers where each branch is in it, and tags come along. `dsvc pull FILE`
    moves the current branch forward, too. In a bare repository, its branches move. What is here already is passed
    over, so a run that was interrupted goes on where it was.

    Of a bundle in volumes, all are taken that are in the same folder. Where that is not all, as with one on each
    medium, what is in them is kept until the others were applied, the last one last.

    Examples:
        $ dsvc bundle apply august.bundle
        $ dsvc bundle apply august.bundle main:main
        $ dsvc bundle apply /media/stick/images.bundle.001

    Exit status:
        4 the bundle builds on versions that are not here, or other volumes have to be applied first
        5 a ref was rejected; all others were taken
        8 something in it is damaged
    """
    console.set_quiet(quiet)
    worktree = open_repository()
    backend = _open(file, partial=True)
    if not backend.is_complete and not dry_run:
        with progress_bar() as progress:
            taken = take_packs(worktree.store, backend, progress=progress)
        numbers = ", ".join(str(volume.number) for volume in backend.volumes)
        console.say(f"took volume {numbers} ({console.format_size(taken)} of it new)")
    if not backend.has_last:
        console.say("apply the other volumes too, the last one last")
        return
    into = Into.TRACKING if has_worktree(worktree.store.backend, "") else Into.BRANCHES
    options = FetchOptions(force=force, dry_run=dry_run, threads=workers(worktree.config, jobs).jobs, into=into)
    other = Remote(BUNDLE, os.fspath(file), backend, worktree.store.context)
    try:
        fetch_from(worktree, other, list(map(parse_refspec, refspecs)), options, verbose=verbose, json=json)
    except Failure as error:
        # Where all volumes are, it really is damaged.
        if backend.is_complete or not isinstance(error.__cause__, RemoteDamagedError):
            raise
        missing = VolumeMissingError(backend.path, backend.missing, last=False)
        raise Failure(str(missing), code=_NOT_FOUND, hint="apply those first") from error


SUBCOMMANDS = {"create": create, "list": list_refs, "verify": verify, "apply": apply}
