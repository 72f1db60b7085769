"""Committing: the staged tree becomes a version, and the branch moves to it."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from dsvc.errors import ConflictError, InvalidInputError, NotFoundError
from dsvc.history.commits import new_commit
from dsvc.history.diff import diff_trees
from dsvc.history.metadata import commit_meta, inherited, patched, with_part
from dsvc.history.tree import Tree
from dsvc.log.entry import RefChange
from dsvc.log.state import State
from dsvc.model.canonical_json import decode_canonical
from dsvc.model.codec import encode
from dsvc.model.commit import Commit, Input
from dsvc.model.ids import Kind, ObjectId
from dsvc.worktree.measure import measure_tree
from dsvc.worktree.pathspec import Pathspec
from dsvc.worktree.session import Session, refuse_interrupted
from dsvc.worktree.unmerged import refuse_unmerged
from dsvc.worktree.worktree import Worktree

if TYPE_CHECKING:
    from dsvc.odb.writer import Sealed

__all__ = [
    "AmendInMergeError",
    "Committed",
    "HeadMovedError",
    "InvalidAuthorError",
    "NothingToAmendError",
    "NothingToCommitError",
    "PartialMergeError",
    "check_author",
    "commit",
    "read_draft",
]

_AUTHOR: Final = re.compile(r"[^<>\n]*[^<>\s] <[^<>\n]*>")


class NothingToCommitError(NotFoundError):
    """The staged tree is that of HEAD."""

    def __init__(self) -> None:
        super().__init__("nothing to commit")


class NothingToAmendError(NotFoundError):
    """There is no commit yet."""

    def __init__(self) -> None:
        super().__init__("there is no commit to amend yet")


class InvalidAuthorError(InvalidInputError):
    """An author that is not written as "Name <address>"."""

    def __init__(self, author: str) -> None:
        super().__init__(f"the author {author!r} is not of the form `Name <address>`")
        self.author = author


class PartialMergeError(ConflictError):
    """Some paths only cannot be committed while a merge is not."""

    def __init__(self) -> None:
        super().__init__("cannot commit some paths only in the middle of a merge")


class AmendInMergeError(ConflictError):
    """What would be amended is not what is being made."""

    def __init__(self) -> None:
        super().__init__("cannot amend in the middle of a merge")


class HeadMovedError(ConflictError):
    """Another process committed to the same branch meanwhile."""

    def __init__(self, head: str) -> None:
        super().__init__(f"{head} moved while this commit was made")
        self.head = head


class Committed(msgspec.Struct, frozen=True):
    """A new commit, where it went, and the trees of what HEAD was and of what it is."""

    id: ObjectId
    commit: Commit
    session: Session
    parent_tree: Tree
    tree: Tree


def check_author(author: str) -> None:
    """Do nothing, if *author* is of the form "Name <address>".

    Raises:
        InvalidAuthorError: It is not.
    """
    if not _AUTHOR.fullmatch(author):
        raise InvalidAuthorError(author)


def commit(
    worktree: Worktree,
    state: State,
    message: str,
    *,
    amend: bool = False,
    allow_empty: bool = False,
    author: str | None = None,
    only: Pathspec | None = None,
    inputs: Sequence[Input] = (),
    auto_inputs: bool = True,
    stats: bool = False,
) -> Committed:
    """Commit what is staged in *state*, and move the current branch, or a detached HEAD.

    With *only*, what is staged elsewhere stays so for the next commit. The metadata is what people say of HEAD or have
    staged, or with *amend* all of the amended one. Its inputs are those of the amended one, *inputs*, and with
    *auto_inputs* what the programs have got or used that staged it or are committing it, but for its parents. With
    *stats*, figures about the files are kept with the commit.

    Raises:
        InvalidAuthorError: *author* is not of the form "Name <address>".
        PartialMergeError, AmendInMergeError: *only* or *amend*, in the middle of a merge.
        UnmergedPathsError: Paths are in conflict.
        SwitchInterruptedError: A checkout was cut short.
        NothingToCommitError: Nothing is staged, and *allow_empty* was not asked for.
        NothingToAmendError: *amend*, before the first commit.
        HeadMovedError: HEAD or the staged tree changed since *state*.
    """
    session = worktree.session(state)
    refuse_interrupted(session)
    refuse_unmerged(worktree.store.objects, session)
    draft = read_draft(worktree, session)
    if only is not None and (session.merge or draft is not None):
        raise PartialMergeError
    if amend and (session.merge or draft is not None):
        raise AmendInMergeError
    if author is not None:
        check_author(author)
    head = session.commit(state)
    previous = None if head is None else worktree.commit_of(head)
    if amend and previous is None:
        raise NothingToAmendError
    staged = tree = worktree.staged_tree(state)
    head_tree = worktree.head_tree(state)
    writer = worktree.store.writer()
    if only is not None:
        edits = [(change.path, change.new) for change in diff_trees(head_tree, staged) if only.matches(change.path)]
        tree = head_tree.apply(writer, edits)
    says = session.metadata if only is None else ""
    is_kept = not says and (draft is None or draft.metadata == inherited(previous))
    if tree.root == head_tree.root and is_kept and not (amend or allow_empty or session.merge):
        raise NothingToCommitError
    after = staged.root.hex() if staged.root != tree.root else None
    if head is None and tree.root == head_tree.root:
        Tree.empty(writer)
    made = _make_commit(
        worktree, session, tree, message, head=head, previous=previous, amend=amend, draft=draft, author=author
    )
    found = (Input(name, bytes.fromhex(one)) for name, one in session.with_inputs(worktree.store.context.inputs()))
    automatic = [one for one in found if one.commit not in made.parents] if auto_inputs else []
    made = msgspec.structs.replace(
        made,
        metadata=with_part(made.metadata, "meta", patched(commit_meta(made), decode_canonical(says)))
        if says
        else made.metadata,
        inputs=list(dict.fromkeys([*made.inputs, *inputs, *automatic])),
    )
    sealed: list[Sealed] = []
    if stats:
        # They are read from the new pages.
        sealed.append(writer.seal())
        figures = measure_tree(worktree, tree, [] if previous is None else [previous]).to_json()
        made = msgspec.structs.replace(made, metadata=with_part(made.metadata, "stats", figures))
    commit_id = writer.write(Kind.COMMIT, encode(made))
    sealed.append(writer.seal())
    left = session.unfinished
    if left is not None and draft is not None:
        left = left.committed()
    following: dict[str, object] = {
        "staged": after,
        "merge": [],
        "metadata": "" if only is None else session.metadata,
        "unfinished": left,
    }

    def build(now: State) -> Sequence[RefChange]:
        if worktree.session(now) != session or session.commit(now) != head:
            raise HeadMovedError(session.head)
        if session.branch is None:
            return [session.change(now, head=commit_id.hex(), **following)]
        old = None if head is None else head.hex()
        return [RefChange(session.branch, old, commit_id.hex()), session.change(now, **following)]

    worktree.store.publish(build, sealed)
    return Committed(commit_id, made, session, head_tree, tree)


def read_draft(worktree: Worktree, session: Session) -> Commit | None:
    """Return the commit whose message, author, metadata and inputs the next one will have, if there is one."""
    draft = None if session.unfinished is None else session.unfinished.draft
    return None if draft is None else worktree.commit_of(ObjectId.from_hex(draft))


def _make_commit(
    worktree: Worktree,
    session: Session,
    tree: Tree,
    message: str,
    *,
    head: ObjectId | None,
    previous: Commit | None,
    amend: bool,
    draft: Commit | None,
    author: str | None,
) -> Commit:
    context = worktree.store.context
    if amend and previous is not None:
        # What was counted was the old tree.
        metadata = previous.metadata if previous.tree == tree.root else with_part(previous.metadata, "stats", None)
        return new_commit(
            context,
            tree,
            previous.parents,
            message,
            author=author or previous.author,
            metadata=metadata,
            inputs=previous.inputs,
        )
    parents = [*([] if head is None else [head]), *session.merging]
    if draft is not None:
        author = author or draft.author
        return new_commit(context, tree, parents, message, author=author, metadata=draft.metadata, inputs=draft.inputs)
    return new_commit(context, tree, parents, message, author=author, metadata=inherited(previous))
