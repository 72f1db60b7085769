"""dsvc dataset: datasets as a whole, by name."""

from typing import Annotated, Final

from dsvc.cli import console
from dsvc.cli.editor import clean_message
from dsvc.cli.errors import Failure
from dsvc.cli.exchange import open_remote, remote_hints
from dsvc.cli.list import All, Csv, Filter, Long, Reverse, Sort, entry_row, print_rows, show
from dsvc.cli.merging import StrategyOption, chosen_strategy
from dsvc.cli.options import Json, Quiet, argument, option
from dsvc.cli.session import open_repository
from dsvc.datasets.create import create_dataset
from dsvc.datasets.edit import delete_dataset, rename_datasets, say_of_dataset
from dsvc.history.catalog import read_catalog
from dsvc.history.datasets import DatasetNotFoundError, current_name, family, read_info
from dsvc.history.merge_heads import Head
from dsvc.history.revisions import resolve
from dsvc.history.versions import dataset_ref, latest_version, version_tags
from dsvc.log.refs import HEADS, short_name
from dsvc.transport.remote import Remote
from dsvc.worktree.head import read_head
from dsvc.worktree.worktree import Worktree

__all__ = ["SUBCOMMANDS", "command"]

_NOT_FOUND: Final = 4

Name = Annotated[str, argument("NAME", help="The dataset, such as `vision/imagenet`.")]
OnRemote = Annotated[str | None, option("--remote", metavar="REMOTE", help="Do it on *REMOTE* too.")]


def command(*, json: Json = False) -> None:
    """Make, describe, rename, archive and delete datasets.

    A dataset is a branch, and its versions are commits and tags; see dsvc-concepts(7). Its name may have slashes, and
    what stands before the last one is its *project*. Without a subcommand, the datasets are listed.

    All of it works without a network. What is said of a dataset, its description and whether it is archived, goes along
    when its branch is pushed or fetched, and what was said last counts. With `--remote` it is done on a remote too, at
    once; a dataset that is only there may be meant.

    Examples:
        $ dsvc dataset create vision/small --from vision/imagenet@1.2.0 -m "a tenth of it"
        $ dsvc dataset create vision/all --from vision/cats --from vision/dogs -X last-wins
        $ dsvc dataset rename vision/small vision/tiny
        $ dsvc dataset archive vision/tiny --remote origin
        $ dsvc dataset delete vision/tiny

    See also:
        dsvc-list(1), dsvc-branch(1), dsvc-publish(1), dsvc-search(1), dsvc-concepts(7)
    """
    list_datasets(json=json)


def list_datasets(
    words: Annotated[
        tuple[str, ...], argument("REMOTE|PATTERN", help="Of that remote or address; only those that match.")
    ] = (),
    *,
    all: All = False,
    sort: Sort = None,
    reverse: Reverse = False,
    long: Long = False,
    csv: Csv = False,
    json: Json = False,
) -> None:
    """List the datasets. It is `dsvc list --datasets`."""
    wanted = Filter(kinds=frozenset({"dataset"}), archived=all)
    show(words, wanted, sort=sort, reverse=reverse, long=long, csv=csv, json=json)


def show_dataset(name: Name, *, json: Json = False) -> None:
    """Show what is known of a dataset: what is said of it, its newest version, and its versions.

    Exit status:
        4 there is no such dataset
    """
    worktree = open_repository()
    state = worktree.store.state()
    current = current_name(state, name)
    names = family(state, name)
    refs = (HEADS + current, *version_tags(state, name).values())
    entries = list(read_catalog(worktree.store, state, frozenset(refs).__contains__))
    ref = dataset_ref(state, name)
    if ref is None and not entries:
        raise DatasetNotFoundError(name)
    info = read_info(state, current)
    former = names[1:]
    if json:
        console.out_json(
            {
                "name": current,
                "ref": ref,
                "description": info.description if info else "",
                "archived": bool(info and info.archived),
                "former_names": former,
                "latest": latest_version(state, current),
                "entries": [entry_row(entry).record for entry in entries],
            }
        )
        return
    console.out(f"{console.paint(current, 'bold')}{' (archived)' if info and info.archived else ''}")
    if former:
        console.out(f"formerly {', '.join(former)}")
    if info and info.description:
        console.out(f"\n{info.description}")
    console.out()
    print_rows([entry_row(entry) for entry in entries])


def create(
    name: Name,
    *,
    start: Annotated[
        tuple[str, ...],
        option("--from", metavar="REVISION", help="Begin with the files of *REVISION*; several are merged in order."),
    ] = (),
    strategy: StrategyOption = None,
    message: Annotated[
        tuple[str, ...], option("-m", "--message", "--description", help="Describe it; several are paragraphs.")
    ] = (),
    quiet: Quiet = False,
) -> None:
    """Make a dataset.

    Its first version has the files of the versions that it comes from, or none. You stay where you are.

    Several are merged as by dsvc-merge(1), and need not have any history in common. With `-X last-wins`, as
    in clearml-data, each lays its files over those of the ones before.

    Exit status:
        5 the name is taken, or a path is another file in two of them
    """
    console.set_quiet(quiet)
    worktree = open_repository()
    state = worktree.store.state()
    head = read_head(worktree, state)
    parents = [Head(resolve(worktree.store, state, one, head=head), one) for one in start]
    description = clean_message("\n\n".join(message))
    made = create_dataset(worktree.store, name, parents, strategy=chosen_strategy(strategy), description=description)
    console.say(f"Created dataset '{name}' at {made.short}; `dsvc switch {name}` goes there")


def rename(
    old: Annotated[str, argument("OLD", help="What the dataset is called.")],
    new: Annotated[str, argument("NEW", help="What it is to be called.")],
    *,
    remote: OnRemote = None,
    quiet: Quiet = False,
) -> None:
    """Rename a dataset.

    Its branch and its versions are called by the new name then. Those that are published stay what they are, and
    are versions of the new name too; the old name leads to the new one.

    Exit status:
        4 there is no such dataset
        5 the new name is taken
    """
    console.set_quiet(quiet)
    _rename({old: new}, remote)


def move(
    name: Annotated[str, argument("NAME", help="The dataset; or with a slash at its end, all datasets of a project.")],
    project: Annotated[str, argument("PROJECT", help="The project that it is to be in; `/` for none.")],
    *,
    remote: OnRemote = None,
    quiet: Quiet = False,
) -> None:
    """Move a dataset to another project.

    That is to rename it: `vision/imagenet` becomes *PROJECT*`/imagenet`. `vision/` stands for all datasets whose
    names begin so; they are moved together or not at all.

    Exit status:
        4 there is no such dataset
        5 a new name is taken
    """
    console.set_quiet(quiet)
    worktree = open_repository()
    inside = f"{project.strip('/')}/" if project.strip("/") else ""
    if not name.endswith("/"):
        _rename({name: inside + name.rpartition("/")[2]}, remote)
        return
    state = worktree.store.state()
    below = [ref.removeprefix(HEADS) for ref in sorted(state.refs) if ref.startswith(HEADS + name)]
    if not below:
        text = f"there is no dataset in `{name}`"
        raise Failure(text, code=_NOT_FOUND, hint="see `dsvc list`")
    _rename({one: inside + one.removeprefix(name) for one in below}, remote)


def _rename(names: dict[str, str], remote: str | None) -> None:
    worktree = open_repository()
    other = _other(worktree, remote)
    with remote_hints(remote or ""):
        rename_datasets(worktree, other, names)
    for old, new in names.items():
        console.say(f"Renamed dataset '{old}' to '{new}'{_where(remote)}")


def describe(
    name: Name,
    *,
    message: Annotated[
        tuple[str, ...], option("-m", "--message", help="What it is from now on; several are paragraphs.")
    ] = (),
    remote: OnRemote = None,
    quiet: Quiet = False,
) -> None:
    """Print the description of a dataset, or change it.

    An empty one, `-m ''`, takes it away.

    Exit status:
        4 there is no such dataset
    """
    console.set_quiet(quiet)
    worktree = open_repository()
    if message:
        _say(worktree, name, remote, description=clean_message("\n\n".join(message)))
        return
    state = worktree.store.state()
    if dataset_ref(state, name) is None:
        raise DatasetNotFoundError(name)
    info = read_info(state, current_name(state, name))
    if info is not None and info.description:
        console.out(info.description)


def archive(name: Name, *, remote: OnRemote = None, quiet: Quiet = False) -> None:
    """Archive a dataset: lists and searches leave it out.

    Everything else goes on as before. `dsvc list --all` shows it, and `dsvc dataset restore` takes it back.
    """
    console.set_quiet(quiet)
    _say(open_repository(), name, remote, archived=True)
    console.say(f"Archived dataset '{name}'{_where(remote)}")


def restore(name: Name, *, remote: OnRemote = None, quiet: Quiet = False) -> None:
    """Take a dataset back out of the archive."""
    console.set_quiet(quiet)
    _say(open_repository(), name, remote, archived=False)
    console.say(f"Restored dataset '{name}'{_where(remote)}")


def delete(
    name: Name,
    *,
    force: Annotated[
        bool, option("-f", "--force", help="Delete it though others depend on it; what is published stays.")
    ] = False,
    remote: OnRemote = None,
    quiet: Quiet = False,
) -> None:
    """Delete a dataset: its branch, and the tags of its versions.

    It is refused, and told why, if a version is published; if a branch or a tag of another dataset comes from one of
    its versions; or if a version of another one names one of them as an input. So nothing ever loses what it was made
    from unnoticed. With `--force` all goes but for what is published, and is told.

    No data of anything that is left is harmed either way, since a version keeps all that it comes from. `dsvc undo`
    brings the dataset back.

    Exit status:
        4 there is no such dataset
        10 it is needed, or it is checked out
    """
    console.set_quiet(quiet)
    worktree = open_repository()
    other = _other(worktree, remote)
    with remote_hints(remote or ""):
        deleted = delete_dataset(worktree, other, name, force=force)
    for ref, value in deleted.refs.items():
        kind = "dataset" if ref.startswith(HEADS) else "version"
        console.say(f"Deleted {kind} {short_name(ref)} (was {value[:10]}){_where(remote)}.")
    for ref in deleted.kept:
        console.say(f"{short_name(ref)} is published, and stays")


SUBCOMMANDS: Final = {
    "list": list_datasets,
    "show": show_dataset,
    "create": create,
    "rename": rename,
    "move": move,
    "describe": describe,
    "archive": archive,
    "restore": restore,
    "delete": delete,
}


def _other(worktree: Worktree, name: str | None) -> Remote | None:
    if name is None:
        return None
    with remote_hints(name):
        return open_remote(worktree, name)


def _say(worktree: Worktree, name: str, remote: str | None, **fields: object) -> None:
    other = _other(worktree, remote)
    with remote_hints(remote or ""):
        say_of_dataset(worktree, other, name, **fields)


def _where(remote: str | None) -> str:
    return "" if remote is None else f", on {remote} too"
