"""dsvc use: which versions the code here uses, kept in a small file with it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

from dsvc.cli import console
from dsvc.cli.aliases import Target, known_lock, nearest_repository, read_targets, stated_lock
from dsvc.cli.errors import UsageError
from dsvc.cli.exchange import remote_hints
from dsvc.cli.options import Json, Quiet, argument, option
from dsvc.cli.progress_bar import progress_bar
from dsvc.cli.session import record_use
from dsvc.cli.use_record import record_targets
from dsvc.cli.user_cache import open_cache, open_source, surroundings
from dsvc.datasets.address import parse_address
from dsvc.datasets.lockfile import (
    LOCK_FILE,
    AliasNotFoundError,
    Locked,
    change_lock,
    check_alias,
    read_lock,
    usual_alias,
)
from dsvc.datasets.remote_source import RemoteSource
from dsvc.datasets.source import Source
from dsvc.history.versions import split_version
from dsvc.model.ids import ObjectId
from dsvc.transport.address import redact, resolve_address
from dsvc.transport.remote import default_remote
from dsvc.worktree.worktree import Worktree

__all__ = ["command"]

_ROOTS: Final = (".git", ".dsvc")


def command(
    names: Annotated[
        tuple[str, ...], argument("NAME", help="The version, `[REMOTE#]NAME[@VERSION]`; aliases with `--update`.")
    ] = (),
    *,
    alias: Annotated[
        str | None, option("--as", metavar="ALIAS", help="Call it so; by default by the last word of its name.")
    ] = None,
    update: Annotated[bool, option("--update", help="Use what is newest now, under these aliases or all.")] = False,
    delete: Annotated[bool, option("-d", "--delete", help="Use nothing under these aliases any more.")] = False,
    record: Annotated[
        bool | None, option("--record", help="Tell on the remote who uses it; without a name, all that is used.")
    ] = None,
    run: Annotated[str | None, option("--run", metavar="NAME", help="With `--record`: what the run is called.")] = None,
    url: Annotated[str | None, option("--url", metavar="URL", help="With `--record`: where it is shown.")] = None,
    lock: Annotated[Path | None, option("--lock", metavar="FILE", help="Use this file, not `dsvc.lock`.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Pin the versions that some code uses, in a file beside the code.

    The file, `dsvc.lock`, says for each alias which commit of which dataset is meant and where it can be got. It is a
    small text that diffs well: commit it to the git repository of the code. It is looked for in the working folder and
    in those above, unless `use.lock` names another one, and made at the root of the repository, git's or dsvc's, where
    there is none. Outside of a repository of dsvc, write `REMOTE#NAME`, with the address of a remote.

    A program asks for the folder of a version with `dsvc get @`*ALIAS*. It gets exactly the version of the file,
    whatever has become of branches and tags. `DSVC_USE_`*ALIAS* in the environment, in upper case and with `_` for `-`,
    is against the file: *NAME*`@`*VERSION*, *REMOTE*`#`*NAME*`@`*VERSION*, or a plain folder whose path begins with
    `/`, `./`, `../` or `~`. That is said each time, and what was really used is what counts as an input; a plain folder
    is no version, and none.

    Without *NAME*, show what is used. `--update` looks again for what was asked for: a branch, an alias such as
    `@latest`, and also a number, which stays where it is if it was published.

    With `--record`, or if `use.record` is true also at each `dsvc get @`*ALIAS*, it is told on the remote that you use
    the version, for `dsvc whouses`: your user name, the time, `--url` and the name of the run. That is `--run`, else
    `use.run-name`, else the first of the variables `DSVC_RUN`, `MLFLOW_RUN_ID`, `WANDB_RUN_ID` and `CLEARML_TASK_ID`.
    The machine is told if `use.record-host` is true. Where the remote cannot be written to, that is said, and no
    failure.

    Examples:
        $ dsvc use vision/imagenet@1.2.0 --as train
        $ dsvc use s3://bucket/vision#labels@latest
        $ python train.py --data $(dsvc get @train)
        $ DSVC_USE_TRAIN=vision/imagenet@1.3.0 python train.py
        $ dsvc use --update train
        $ dsvc use --record --run $SLURM_JOB_ID

    Exit status:
        2 the file cannot be read, or two aliases would be one variable
        4 there is no such version, alias or file

    See also:
        dsvc-get(1), dsvc-whouses(1), dsvc-commit(1), dsvc-publish(1)
    """
    console.set_quiet(quiet)
    _check_options(names, alias, update=update, delete=delete, record=record, told=run or url)
    if delete:
        path = known_lock(lock)
        change_lock(path, lambda found: _without(path, found, names))
        return
    if update:
        _update(known_lock(lock), names, json=json)
        return
    if names:
        path = stated_lock(lock) or _new_lock()
        aliases = [_use(path, names[0], alias)]
    else:
        path = known_lock(lock)
        aliases = None
    targets = [found for found in read_targets(path) if aliases is None or found[0].alias in aliases]
    if record or (record is None and names and surroundings()[0].flag("use.record")):
        record_targets([target for target, _ in targets], run=run, url=url)
    _show(targets, json=json)


def _check_options(
    names: Sequence[str], alias: str | None, *, update: bool, delete: bool, record: bool | None, told: str | None
) -> None:
    if update and delete:
        message = "`--update` and `--delete` do not go together"
    elif alias is not None and (update or delete or not names):
        message = "`--as` is for a version that is to be used"
    elif record and (update or delete):
        message = "`--record` tells of what is used: give it alone, or with a version"
    elif told is not None and not record and not surroundings()[0].flag("use.record"):
        message = "`--run` and `--url` are for `--record`"
    elif delete and not names:
        message = "`--delete` needs aliases"
    elif len(names) > 1 and not (update or delete):
        message = "name one version at a time"
    else:
        return
    raise UsageError(message)


def _new_lock() -> Path:
    """Return where a lock file belongs: beside the code, at the root of its repository."""
    here = Path.cwd()
    return (
        next((one for one in (here, *here.parents) if any((one / root).exists() for root in _ROOTS)), here) / LOCK_FILE
    )


def _use(path: Path, text: str, alias: str | None) -> str:
    """Let *path* say the version *text*, and return the alias that it has there."""
    address = parse_address(text)
    if address.path:
        message = "a whole version is used; to get a path of it, write `dsvc get @ALIAS:PATH`"
        raise UsageError(message)
    name, version = split_version(address.version) or (address.version, "")
    alias = usual_alias(name) if alias is None else check_alias(alias)
    locked = _look_up(address.store, name, version)
    record_use(locked.asked, bytes.fromhex(locked.commit), place=redact(locked.url))
    change_lock(path, lambda found: {**found, alias: locked})
    return alias


def _look_up(store: str | None, name: str, version: str) -> Locked:
    """Return what *name* at *version* is now in *store*, or else in the repository here."""
    asked = f"{name}@{version}" if version else name
    with progress_bar() as progress:
        source = open_source(open_cache(surroundings()[0]), store, offline=False, progress=progress)
        with remote_hints(source.label):
            found = source.resolve(asked)
    return Locked(name, found.commit, found.root, version, _url(source, found.commit))


def _url(source: Source, commit: str) -> str:
    """Return where the version *commit* of *source* can be got by others."""
    if isinstance(source, RemoteSource):
        return redact(source.address)
    repository = nearest_repository()
    remotes = {} if repository is None else repository.config.remotes()
    if repository is None or not remotes:
        console.warn("there is no remote, so only who has this repository can get it; see `dsvc remote add`")
        return ""
    session = repository.session(repository.store.state())
    name = default_remote(repository.config, session.branch and session.branch.removeprefix("refs/heads/"))
    if not _is_pushed(repository, name, commit):
        console.warn(f"{name} does not have it yet, as far as is known here; run `dsvc push`")
    return redact(resolve_address(remotes[name], repository.root))


def _is_pushed(repository: Worktree, remote: str, commit: str) -> bool:
    """Tell whether *commit* is part of what was last seen of *remote*."""
    from dsvc.history.commits import Commits
    from dsvc.history.walk import ancestors

    state, objects = repository.store.state(), repository.store.objects
    prefix = f"refs/remotes/{remote}/"
    seen = (ObjectId.from_hex(state.refs[ref].value) for ref in state.refs if ref.startswith(prefix))
    tips = [one for one in seen if one in objects]
    return any(one.hex() == commit for one in ancestors(Commits(objects), tips))


def _without(path: Path, found: dict[str, Locked], aliases: Sequence[str]) -> dict[str, Locked]:
    for alias in aliases:
        if alias not in found:
            raise AliasNotFoundError(alias, path)
    return {alias: locked for alias, locked in found.items() if alias not in aliases}


def _update(path: Path, aliases: Sequence[str], *, json: bool) -> None:
    before = read_lock(path)
    _without(path, before, aliases)
    newest = {
        alias: _look_up(locked.url or None, locked.name, locked.version)
        for alias, locked in before.items()
        if not aliases or alias in aliases
    }
    change_lock(path, lambda found: {**found, **newest})
    for alias, locked in newest.items():
        old = before[alias]
        if json:
            record = {"alias": alias, "name": locked.name, "version": locked.version or None, "old": old.commit}
            console.out_json(record | {"commit": locked.commit, "tree": locked.tree, "url": locked.url or None})
        elif old.commit == locked.commit:
            console.say(f"{alias}: {locked.asked} is {_short(locked.commit)} still")
        else:
            console.say(f"{alias}: {locked.asked} is {_short(locked.commit)} now, and was {_short(old.commit)}")


def _show(targets: Sequence[tuple[Target, Locked]], *, json: bool) -> None:
    if json:
        for target, locked in targets:
            record: dict[str, object] = {"alias": target.alias, "name": locked.name, "version": locked.version or None}
            record |= {"commit": locked.commit, "tree": locked.tree, "url": locked.url or None}
            record |= {"override": None if target.variable is None else str(target.folder or target.name)}
            console.out_json(record)
        return
    rows = [(target.alias, locked.asked, _short(locked.commit), locked.url) for target, locked in targets]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for (target, _), row in zip(targets, rows, strict=True):
        line = "  ".join(f"{word:{width}}" for word, width in zip(row, widths, strict=True)).rstrip()
        console.out(console.printable(line))
        if target.variable is not None:
            console.warn(f"{target.variable} is set: `{target.alias}` is {target.folder or target.name} here")


def _short(commit: str) -> str:
    return ObjectId.from_hex(commit).short
