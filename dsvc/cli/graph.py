"""dsvc graph: what versions were made from, and what was made from them."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple

from dsvc.cli import console
from dsvc.cli.commit_text import decorations
from dsvc.cli.errors import UsageError
from dsvc.cli.history import History, open_history
from dsvc.cli.options import Json, argument, option
from dsvc.cli.version_names import dataset_of, version_names
from dsvc.history.commits import Commits, commits_here
from dsvc.history.graph import Graph
from dsvc.history.lineage import Version, nearest_names, read_lineage, select
from dsvc.model.commit import Commit
from dsvc.model.ids import Kind, ObjectId

__all__ = ["Node", "command"]

_FORMATS: Final = ("text", "json", "dot", "svg")


def command(
    revisions: Annotated[tuple[str, ...], argument("REV", help="Show the kin of these; by default of HEAD.")] = (),
    *,
    ancestors: Annotated[bool, option("--ancestors", help="Show what they were made from, and no more.")] = False,
    descendants: Annotated[bool, option("--descendants", help="Show what was made from them, and no more.")] = False,
    all: Annotated[bool, option("--all", help="Show every version that is known here.")] = False,
    depth: Annotated[
        int | None, option("--depth", metavar="N", help="Go *N* steps from the versions, and no further.")
    ] = None,
    inputs: Annotated[bool, option("--inputs", help="Follow inputs too, as by default; or parents only.")] = True,
    full: Annotated[bool, option("--full", help="Show every commit, and not only those that say something.")] = False,
    format: Annotated[
        Literal["text", "json", "dot", "svg"] | None,
        option("--format", help="How to show it; by default as the name of the output ends, or else as text."),
    ] = None,
    output: Annotated[Path | None, option("-o", "--output", metavar="FILE", help="Write to *FILE*.")] = None,
    json: Json = False,
) -> None:
    """Show what versions were made from, and what was made from them.

    There are two kinds of edges: to the *parents* of a version, which it goes on from, and to its *inputs*, which it
    was made from, whatever dataset they are of; see dsvc-commit(1). What was made from a version is known if a branch
    or a tag here leads to it, or a branch of a remote as it was last fetched. An input that is only somewhere else is
    shown by its name, and its own origin is not known.

    Most commits are left out: shown are tags, branches, merges, first versions, versions with inputs, and inputs. What
    lies between two of these is counted.

    The newest come first. With `--json`, or `--format json`, each version is an object of kind `version` with its
    `parents` and `inputs`, in the same order; *skipped* are commits that lie between. `dot` is for graphviz(7), where
    inputs are dashed lines, and `svg` a drawing for any browser.

    Examples:
        $ dsvc graph
        $ dsvc graph vision/small@1.0 --ancestors
        $ dsvc graph raw --descendants --depth 1
        $ dsvc graph --all -o lineage.svg
        $ dsvc graph --all --format dot | dot -Tpdf -o lineage.pdf

    Exit status:
        4 there is no such revision, or no commit yet

    See also:
        dsvc-commit(1), dsvc-log(1), dsvc-list(1), dsvc-concepts(7)
    """
    if all and (revisions or ancestors or descendants or depth is not None):
        message = "`--all` shows everything, so give no revisions, directions or depth with it"
        raise UsageError(message)
    if depth is not None and depth < 0:
        message = f"`--depth` cannot be {depth}"
        raise UsageError(message)
    history = open_history()
    commits = commits_here(history.objects)
    nodes = _nodes(
        history,
        commits,
        None if all else [history.commit(text) for text in revisions or ("HEAD",)],
        ancestors=ancestors or not descendants,
        descendants=descendants or not ancestors,
        depth=depth,
        inputs=inputs,
        full=full,
    )
    draw = _DRAWERS["json" if json else format or _format_of(output)]
    if output is None:
        with console.pager(history.worktree.config):
            for line in draw(nodes):
                console.out(line)
    else:
        content = "".join(f"{line}\n" for line in draw(nodes))
        output.write_text(content, "utf-8", "replace")
    if commits.cut:
        console.hint("older versions are not here; to have them here too, run `dsvc fetch --unshallow`")


def _format_of(output: Path | None) -> str:
    ending = "" if output is None else output.suffix.lower().removeprefix(".")
    ending = {"gv": "dot", "ndjson": "json", "jsonl": "json"}.get(ending, ending)
    return ending if ending in _FORMATS else "text"


class Node(NamedTuple):
    """A version and what is shown of it: what points to it, its *name*, *dataset*, and how final it is."""

    version: Version
    refs: Sequence[str]
    name: str
    dataset: str
    state: str

    @property
    def commit(self) -> Commit | None:
        """The commit, None if it is not here."""
        return self.version.commit

    def figures(self) -> list[str]:
        """Return what is known of it in words: state, files, size and date, and how much before it is not shown."""
        if self.commit is None:
            return [self.state]
        files, size = console.plural(self.commit.files, "file"), console.format_size(self.commit.size)
        date = console.format_iso_date(self.commit.time, self.commit.offset)[:10]
        hidden = sum(edge.skipped for edge in self.version.parents)
        return [self.state, files, size, date, *([f"{console.plural(hidden, 'commit')} before"] if hidden else [])]


def _nodes(
    history: History,
    commits: Commits,
    starts: Sequence[ObjectId] | None,
    *,
    ancestors: bool,
    descendants: bool,
    depth: int | None,
    inputs: bool,
    full: bool,
) -> list[Node]:
    refs = decorations(history)
    tips = [*(starts or ()), *(history.tips() if starts is None or descendants else ())]
    lineage = read_lineage(
        commits,
        lambda one: history.objects.kind_of(one) == Kind.COMMIT,
        tips,
        {*refs, *(starts or ())},
        with_inputs=inputs,
        full=full,
    )
    if starts is not None:
        lineage = select(lineage, starts, ancestors=ancestors, descendants=descendants, depth=depth)
    named = list(version_names(history))
    places = nearest_names(commits, ((commit_id, name) for commit_id, name, _ in named))
    datasets = nearest_names(commits, ((commit_id, dataset) for commit_id, _, dataset in named if dataset))
    published = {commit_id for ref, commit_id in history.refs() if history.state.refs[ref].published}
    elsewhere = {edge.target: edge.name for version in lineage.values() for edge in version.inputs}
    nodes = []
    for one, version in lineage.items():
        if version.commit is None:
            name = elsewhere[one]
            nodes.append(Node(version, (), name, dataset_of(name), "elsewhere"))
        else:
            state = "published" if one in published else "final"
            dataset = datasets[one].name if one in datasets else ""
            nodes.append(Node(version, refs.get(one, ()), str(places.get(one, one.short)), dataset, state))
    return nodes


def _text(nodes: Sequence[Node]) -> Iterator[str]:
    graph = Graph()
    for node in nodes:
        version = node.version
        shown = ", ".join(node.refs)
        refs = f" ({console.paint(shown, 'green')})" if shown else "" if node.commit is None else f" {node.name}"
        subject = node.name if node.commit is None else node.commit.subject
        lines = [f"{console.paint(version.id.short, 'yellow')}{refs} {console.printable(subject)}"]
        lines.append(console.paint(f"  {', '.join(node.figures())}", "dim"))
        lines += [f"  made from {console.printable(edge.name)} ({edge.target.short})" for edge in version.inputs]
        for line in graph.draw(version.id, version.targets, lines):
            yield line.rstrip()


def _json(nodes: Sequence[Node]) -> Iterator[str]:
    import msgspec

    for node in nodes:
        version, commit = node.version, node.commit
        record: dict[str, object] = {"kind": "version", "commit": version.id.hex(), "name": node.name}
        record |= {"dataset": node.dataset or None, "state": node.state, "refs": node.refs}
        if commit is not None:
            date = console.format_iso_date(commit.time, commit.offset)
            record |= {"subject": commit.subject, "author": commit.author, "date": date}
            record |= {"files": commit.files, "size": commit.size}
        record["parents"] = [{"commit": edge.target.hex(), "skipped": edge.skipped} for edge in version.parents]
        record["inputs"] = [{"commit": edge.target.hex(), "name": edge.name} for edge in version.inputs]
        yield msgspec.json.encode(record).decode()


def _dot(nodes: Sequence[Node]) -> Iterator[str]:
    from dsvc.cli.graph_dot import draw

    return draw(nodes)


def _svg(nodes: Sequence[Node]) -> Iterator[str]:
    from dsvc.cli.graph_svg import draw

    return draw(nodes)


_DRAWERS: Final[dict[str, Callable[[Sequence[Node]], Iterator[str]]]] = {
    "text": _text,
    "json": _json,
    "dot": _dot,
    "svg": _svg,
}
