"""Making a dataset: a branch with a first version of its own, which comes from any number of others, or from none."""

from collections.abc import Sequence

from dsvc.history.branches import BranchExistsError
from dsvc.history.commits import Commits, new_commit
from dsvc.history.datasets import check_not_moved, dataset_name, info_change, read_info
from dsvc.history.merge_heads import Head, ManyHeadsConflictError, Strategy, join_heads
from dsvc.history.metadata import merged_metadata
from dsvc.history.store import Store
from dsvc.history.tree import Tree
from dsvc.log.entry import RefChange
from dsvc.log.refs import branch_ref
from dsvc.log.state import State
from dsvc.model.codec import encode
from dsvc.model.ids import Kind, ObjectId
from dsvc.odb.overlay import Overlay

__all__ = ["create_dataset"]


def create_dataset(
    store: Store, name: str, parents: Sequence[Head], *, strategy: Strategy | None = None, description: str = ""
) -> ObjectId:
    """Make the dataset *name*, with the files of all *parents*; return its first version.

    Where *parents* are in conflict, *strategy* decides. They need not share any history.

    Raises:
        BranchExistsError, NameMovedError: The name is taken.
        ManyHeadsConflictError: A path is another file in two of them.
        InvalidRefNameError, InvalidInputError: No dataset may be called, or described, so.
    """
    ref = branch_ref(dataset_name(name))

    def check(state: State) -> None:
        if ref in state.refs:
            raise BranchExistsError(ref)
        check_not_moved(state, name)

    def build(state: State) -> list[RefChange]:
        check(state)
        said = []
        if description or read_info(state, name) is not None:
            # What a dataset of that name was before is not said of this one.
            said.append(info_change(state, name, made.time, description=description, archived=False))
        return [RefChange(ref, None, commit_id.hex()), *said]

    check(store.state())
    commits = Commits(store.objects)
    objects = Overlay(store.objects, store.writer())
    tree, metadata = _join(commits, objects, parents, strategy)
    ids = [parent.commit for parent in parents]
    made = new_commit(store.context, tree, ids, f"Create {name}", metadata=metadata)
    commit_id = objects.write(Kind.COMMIT, encode(made))
    store.publish(build, objects.seal())
    return commit_id


def _join(commits: Commits, objects: Overlay, parents: Sequence[Head], strategy: Strategy | None) -> tuple[Tree, str]:
    """Return the files of *parents*, and their metadata."""
    if not parents:
        return Tree(objects, Tree.empty(objects)), "{}"
    first, *others = parents
    joined = join_heads(commits, objects, first, others, strategy=strategy, allow_unrelated=True)
    if joined.conflicts:
        raise ManyHeadsConflictError(others[-1].name, joined.conflicts)
    side = None if strategy is None else strategy.side
    return joined.tree, merged_metadata(commits, first.commit, [other.commit for other in others], side)
