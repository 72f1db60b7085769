"""Revisions: the texts by which people name commits, such as `main~2`, `v1^`, `main@{yesterday}`.

    NAME              HEAD or @, a full ref name, else the first there is of refs/NAME, refs/tags/NAME,
                      refs/heads/NAME, refs/remotes/NAME; then as `dsvc.history.versions` says
    NAME@VERSION      the tag of that name; `latest`, if there is none, for the highest that is published; or the first
                      digits of a commit of that dataset
    ID                64 digits, or the first ones (at least 4) of an id that they tell from all others
    REV~N  REV^N      N first parents up; the N-th parent; REV^0 is the commit itself
    REV^{}  ^{commit}  ^{tree}      what a tag names; its commit; the root of its tree
    REF@{N}  REF@{DATE}             what the ref was N changes ago; what it was at the end of that day, or
                      at that time. HEAD@{...} is what was checked out, @{...} the current branch
    @{-N}  -          the branch that was checked out before; N switches ago
    REF@{upstream}  @{u}            the remote's branch that this one follows
    A..B  A...B  ^A   ranges: of B and not of A; of one of them only; not of A

The rules are those of gitrevisions(7). What HEAD is, a worktree knows, so it is told.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from dsvc.errors import InvalidInputError, NotFoundError
from dsvc.history.commits import Commits, commits_here
from dsvc.history.head import UNBORN, Head
from dsvc.history.store import Store
from dsvc.history.versions import LATEST, split_version, version_ref, version_tags
from dsvc.history.walk import ancestors, merge_bases
from dsvc.log.reflog import reflog
from dsvc.log.refs import HEADS, short_name
from dsvc.log.state import State
from dsvc.model.codec import decode
from dsvc.model.commit import Tag
from dsvc.model.ids import ID_LENGTH, Kind, ObjectId

__all__ = [
    "AmbiguousIdError",
    "Range",
    "Target",
    "UnbornHeadError",
    "UnknownRevisionError",
    "find_ref",
    "peel",
    "resolve",
    "resolve_any",
    "resolve_range",
    "resolve_ref",
    "split_path",
    "split_range",
]

_HEX: Final = re.compile(r"[0-9a-fA-F]{4,64}")
_LOOKED_UP: Final = ("{}", "refs/{}", "refs/tags/{}", "refs/heads/{}", "refs/remotes/{}")

# A ref name holds none of `~`, `^`, `:` and `@{`.
_EXPRESSION: Final = re.compile(
    r"(?P<base>(?:(?!@\{)[^~^:])*)(?P<at>(?:@\{[^}]*\})*)(?P<steps>(?:[~^][0-9]{0,7}|\^\{[a-z]*\})*)", re.DOTALL
)
_AT: Final = re.compile(r"@\{([^}]*)\}", re.DOTALL)
_STEP: Final = re.compile(r"~[0-9]*|\^\{[a-z]*\}|\^[0-9]*")
_NUMBER: Final = re.compile(r"[0-9]{1,7}")
_SWITCHES: Final = re.compile(r"-([1-9][0-9]{0,6})")
_ID: Final = re.compile(r"[0-9a-f]{64}")
_STAGE: Final = re.compile(r"(:[0-3]):(.*)", re.DOTALL)
_WITH_PATH: Final = re.compile(r"((?:@\{[^}]*\}|(?!@\{)[^:])*):(.*)", re.DOTALL)

_COMMITS: Final = frozenset({Kind.COMMIT, Kind.TAG})
_SHOWN_CANDIDATES: Final = 8


class UnknownRevisionError(NotFoundError):
    """Text that names no version, or nothing of the kind that is needed."""

    def __init__(self, text: str, reason: str | None = None) -> None:
        super().__init__(f"unknown revision `{text}`" + (f": {reason}" if reason else ""))
        self.text = text


class UnbornHeadError(UnknownRevisionError):
    """HEAD is a branch that has no commit yet."""

    def __init__(self, ref: str | None) -> None:
        super().__init__("HEAD")
        self.args = (f"your current branch `{short_name(ref or 'HEAD')}` does not have any commits yet",)
        self.ref = ref


class AmbiguousIdError(InvalidInputError):
    """The first digits of several ids."""

    def __init__(self, digits: str, candidates: Mapping[ObjectId, Kind]) -> None:
        length = max(12, len(digits) + 4)
        named = [f"{Kind(kind).name.lower()} {one.hex()[:length]}" for one, kind in sorted(candidates.items())]
        more = [f"{len(named) - _SHOWN_CANDIDATES} more"] if len(named) > _SHOWN_CANDIDATES else []
        listed = ", ".join(named[:_SHOWN_CANDIDATES] + more)
        super().__init__(f"the id `{digits}` is ambiguous; it begins {listed}")
        self.digits = digits
        self.candidates = dict(candidates)


class Target(NamedTuple):
    """An object that a text named."""

    id: ObjectId
    kind: Kind


class Range(NamedTuple):
    """What is reachable from *include* and not from *exclude*."""

    include: tuple[ObjectId, ...]
    exclude: tuple[ObjectId, ...]


def resolve(store: Store, state: State, text: str, *, head: Head = UNBORN) -> ObjectId:
    """Return the commit that *text* names; a tag stands for its commit.

    Raises:
        UnknownRevisionError: It names none.
        UnbornHeadError: It is HEAD, before the first commit.
        AmbiguousIdError: It is the beginning of several commits' ids.
    """
    return _Resolver(store, state, head).commit(text)


def resolve_any(store: Store, state: State, text: str, *, head: Head = UNBORN) -> Target:
    """Return the object that *text* names, whatever its kind: a tag stays a tag.

    Raises:
        UnknownRevisionError: It names none.
        AmbiguousIdError: It is the beginning of several ids.
    """
    return _Resolver(store, state, head).target(text, wanted=frozenset(Kind))


def resolve_ref(store: Store, state: State, text: str, *, head: Head = UNBORN) -> str | None:
    """Return the full name of the ref that *text* names, or None.

    Understood are what HEAD stands for, names in the order of look-up, `@{-1}`, `-` and `@{upstream}`.
    The ref of an `@{-1}` need no longer be there.
    """
    return _Resolver(store, state, head).ref(text)


def resolve_range(store: Store, state: State, words: Iterable[str], *, head: Head = UNBORN) -> Range:
    """Return the commits to include and to exclude that *words* name together.

    Raises:
        UnknownRevisionError: One of them names no commit.
        AmbiguousIdError: One is the beginning of several commits' ids.
    """
    resolver = _Resolver(store, state, head)
    include: dict[ObjectId, None] = {}
    exclude: dict[ObjectId, None] = {}
    for word in words:
        more, less = resolver.range(word)
        include.update(dict.fromkeys(more))
        exclude.update(dict.fromkeys(less))
    return Range(tuple(include), tuple(exclude))


def find_ref(state: State, name: str) -> str | None:
    """Return the full name of the ref that people call *name*, or None: the first in git's order of look-up."""
    for pattern in _LOOKED_UP:
        ref = pattern.format(name)
        if ref.startswith("refs/") and ref in state.refs:
            return ref
    return None


def peel(store: Store, target: Target) -> Target:
    """Return what *target* names in the end, if it is a tag, else itself."""
    while target.kind == Kind.TAG:
        named = ObjectId(decode(Tag, store.objects.read(Kind.TAG, target.id)).target)
        kind = store.objects.kind_of(named)
        if kind is None:
            raise UnknownRevisionError(named.hex(), f"tag {target.id.short} names it, and it is not here")
        target = Target(named, kind)
    return target


def split_path(text: str) -> tuple[str, bytes | None]:
    """Return the revision and the path of `REV:PATH`, and None for the path where there is no colon.

    Of `:PATH` the revision is empty, and of `:N:PATH`, a stage of a merge, it is `:N`.
    """
    found = _STAGE.fullmatch(text) or _WITH_PATH.fullmatch(text)
    return (found[1], found[2].encode("utf-8", "surrogateescape")) if found else (text, None)


def split_range(text: str) -> tuple[str, str, str] | None:
    """Return the left side, the dots and the right side of `A..B` or `A...B`; a missing side is HEAD."""
    for dots in ("...", ".."):
        left, found, right = text.partition(dots)
        # `..` alone is the folder above.
        if found and (left or right or dots == "...") and ".." not in right:
            return left or "HEAD", dots, right or "HEAD"
    return None


class _Resolver:
    """Everything that a text may depend on."""

    def __init__(self, store: Store, state: State, head: Head) -> None:
        self.store = store
        self.state = state
        self.head = head
        self.commits = Commits(store.objects)

    def commit(self, text: str) -> ObjectId:
        return self._committed(text, self.target(text, wanted=_COMMITS))

    def range(self, word: str) -> tuple[list[ObjectId], list[ObjectId]]:
        sides = split_range(word)
        if sides:
            left, right = self.commit(sides[0]), self.commit(sides[2])
            if sides[1] == "..":
                return [right], [left]
            return [left, right], merge_bases(self.commits, left, right)
        if word.startswith("^"):
            return [], [self.commit(word[1:])]
        if word.endswith("^!"):
            commit_id = self.commit(word[:-2])
            return [commit_id], self.commits.parents(commit_id)
        return [self.commit(word)], []

    def target(self, text: str, *, wanted: frozenset[Kind]) -> Target:
        parts = _EXPRESSION.fullmatch("@{-1}" if text == "-" else text)
        if not parts or not text:
            raise UnknownRevisionError(text)
        base, at, steps = parts.group("base", "at", "steps")
        if steps:
            wanted = _COMMITS
        found = self._at(text, base, _AT.findall(at)) if at else self._named(text, base, wanted)
        for step in _STEP.findall(steps):
            found = self._step(text, found, step)
        return found

    def ref(self, text: str) -> str | None:
        parts = _EXPRESSION.fullmatch("@{-1}" if text == "-" else text)
        if not parts or parts["steps"]:
            return None
        base, at = parts["base"], _AT.findall(parts["at"])
        if not at:
            return self.head.ref if base in ("@", "HEAD") else self._ref_of(base)
        try:
            ref, rest = self._ref_at(text, base, at)
        except UnknownRevisionError:
            return None
        return ref if ref.startswith("refs/") and not rest else None

    def _named(self, text: str, base: str, wanted: frozenset[Kind]) -> Target:
        if base in ("@", "HEAD"):
            if self.head.commit is None:
                raise UnbornHeadError(self.head.ref)
            return Target(self.head.commit, Kind.COMMIT)
        digits = base.lower() if _HEX.fullmatch(base) else ""
        if len(digits) == 2 * ID_LENGTH:
            return self._of_id(text, digits)
        ref = self._ref_of(base)
        if ref is not None:
            return self._of_id(text, self._value(text, ref))
        if digits:
            return self._abbreviated(text, digits, wanted)
        parts = split_version(base)
        if parts is not None:
            return self._version(text, *parts)
        raise UnknownRevisionError(text, None if base == text else f"there is no `{base}`")

    def _ref_of(self, name: str) -> str | None:
        return find_ref(self.state, name) or version_ref(self.state, name)

    def _version(self, text: str, dataset: str, version: str) -> Target:
        """Return the commit of *dataset* whose id begins as *version* does; no tag says that it is one."""
        branch, tags = version_ref(self.state, dataset), version_tags(self.state, dataset)
        if branch is None and not tags:
            raise UnknownRevisionError(text, f"there is no dataset `{dataset}`")
        if _HEX.fullmatch(version):
            found = self._candidates(version.lower(), frozenset({Kind.COMMIT}))
            refs = [*tags.values(), *([branch] if branch else [])]
            tips = [peel(self.store, self._of_id(text, self._value(text, ref))) for ref in refs] if found else []
            below = ancestors(commits_here(self.store.objects), [tip.id for tip in tips if tip.kind == Kind.COMMIT])
            if known := {one: found[one] for one in below if one in found}:
                return _only(version, known)
        if version == LATEST:
            raise UnknownRevisionError(text, f"no version of `{dataset}` is published")
        newest = ", ".join([*tags][:-4:-1])
        raise UnknownRevisionError(text, f"`{dataset}` has no such version" + (f"; it has {newest}" if newest else ""))

    def _value(self, text: str, ref: str) -> str:
        value = self.state.value(ref)
        if value is None:
            raise UnknownRevisionError(text, f"there is no {ref}")
        if not _ID.fullmatch(value):
            raise UnknownRevisionError(text, f"{ref} does not name an object")
        return value

    def _of_id(self, text: str, digits: str) -> Target:
        object_id = ObjectId.from_hex(digits)
        kind = self.store.objects.kind_of(object_id)
        if kind is None:
            raise UnknownRevisionError(text, f"object {digits} is not here")
        return Target(object_id, kind)

    def _abbreviated(self, text: str, digits: str, wanted: frozenset[Kind]) -> Target:
        found = self._candidates(digits, wanted)
        if not found:
            raise UnknownRevisionError(text)
        return _only(digits, found)

    def _candidates(self, digits: str, wanted: frozenset[Kind]) -> dict[ObjectId, Kind]:
        return {
            object_id: kind
            for object_id, kind in self.store.objects.find_prefix(digits).items()
            if kind in wanted and object_id in self.store.objects
        }

    def _step(self, text: str, found: Target, step: str) -> Target:
        if step.startswith("^{"):
            return self._peeled(text, found, step[2:-1])
        commit = self._committed(text, found)
        if step.startswith("~"):
            for _ in range(int(step[1:] or 1)):
                commit = self._parent(text, commit, 1)
        elif number := int(step[1:] or 1):
            commit = self._parent(text, commit, number)
        return Target(commit, Kind.COMMIT)

    def _parent(self, text: str, commit: ObjectId, number: int) -> ObjectId:
        parents = self.commits.get(commit).parents
        if number > len(parents):
            count = f"{len(parents)} parents" if len(parents) > 1 else "one parent" if parents else "no parent"
            raise UnknownRevisionError(text, f"commit {commit.short} has {count}")
        return ObjectId(parents[number - 1])

    def _peeled(self, text: str, found: Target, kind: str) -> Target:
        if kind == "object" or (kind == "tag" and found.kind == Kind.TAG):
            return found
        peeled = peel(self.store, found)
        if not kind or (kind == "tree" and peeled.kind == Kind.PAGE):
            return peeled
        if kind not in ("commit", "tree"):
            raise UnknownRevisionError(text, f"it is no {kind}" if kind == "tag" else f"there is no kind `{kind}`")
        commit = self._committed(text, peeled)
        if kind == "commit":
            return Target(commit, Kind.COMMIT)
        return Target(ObjectId(self.commits.get(commit).tree), Kind.PAGE)

    def _committed(self, text: str, found: Target) -> ObjectId:
        peeled = peel(self.store, found)
        if peeled.kind != Kind.COMMIT:
            raise UnknownRevisionError(text, f"it is a {_noun(peeled.kind)}, not a commit")
        return peeled.id

    def _at(self, text: str, base: str, at: list[str]) -> Target:
        ref, rest = self._ref_at(text, base, at)
        if not rest:
            return self._of_id(text, ref if _ID.fullmatch(ref) else self._value(text, ref))
        if len(rest) > 1 or _ID.fullmatch(ref):
            raise UnknownRevisionError(text)
        value = self._past_value(text, ref, rest[0])
        if value is None:
            raise UnknownRevisionError(text, f"{_name(ref)} was not there then")
        return self._of_id(text, value)

    def _ref_at(self, text: str, base: str, at: list[str]) -> tuple[str, list[str]]:
        """Return the ref, or the id of a detached HEAD, that *base* and the first of *at* name; and the rest."""
        switches = _SWITCHES.fullmatch(at[0])
        if switches and not base:
            earlier = self.head.earlier(int(switches[1]))
            if earlier is None:
                raise UnknownRevisionError(text, f"there were not {switches[1]} switches of branches")
            return earlier, at[1:]
        if at[0].lower() in ("u", "upstream"):
            branch = find_ref(self.state, base) if base not in ("", "@", "HEAD") else self.head.ref
            if branch is None or not branch.startswith(HEADS):
                raise UnknownRevisionError(text, f"`{base or 'HEAD'}` is no branch")
            return self.head.upstream(branch), at[1:]
        if not base:
            return self.head.ref or "HEAD", at
        ref = "HEAD" if base in ("@", "HEAD") else self._known_ref(base)
        if ref is None:
            raise UnknownRevisionError(text, f"there never was a ref `{base}`")
        return ref, at

    def _known_ref(self, name: str) -> str | None:
        """Return the full name of the ref *name*, if need be one that is no longer there."""
        known = (pattern.format(name) for pattern in _LOOKED_UP)
        gone = (ref for ref in known if ref.startswith("refs/") and self.state.last_change(ref))
        return find_ref(self.state, name) or next(gone, None)

    def _past_value(self, text: str, ref: str, when: str) -> str | None:
        if _NUMBER.fullmatch(when):
            for number, (_, value) in enumerate(self._past(ref)):
                if number == int(when):
                    return value
            raise UnknownRevisionError(text, f"{_name(ref)} has not changed so often")
        from dsvc.history.dates import InvalidDateError, parse_date  # 4 ms, and most revisions name no date

        try:
            moment = parse_date(when, self.store.context.now(), end=True)
        except InvalidDateError as error:
            raise UnknownRevisionError(text, str(error)) from error
        return next((value for time, value in self._past(ref) if time <= moment), None)

    def _past(self, ref: str) -> Iterator[tuple[int, str | None]]:
        """Yield the values that *ref* had, the newest first, and since when."""
        if ref == "HEAD":
            for move in self.head.moves():
                yield move.time, move.commit.hex() if move.commit else None
        else:
            for update in reflog(self.store.log, ref):
                yield update.time, update.new


def _only(digits: str, found: Mapping[ObjectId, Kind]) -> Target:
    if len(found) > 1:
        raise AmbiguousIdError(digits, found)
    return Target(*next(iter(found.items())))


def _name(ref: str) -> str:
    return f"`{short_name(ref)}`"


def _noun(kind: Kind) -> str:
    return {Kind.PAGE: "tree", Kind.CHUNK: "file's content", Kind.BLOB: "file's content"}.get(kind, kind.name.lower())
