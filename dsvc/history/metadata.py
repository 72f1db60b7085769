"""What people say of versions and files: JSON objects, changed by patches and searched by conditions.

A commit's metadata has parts: `meta` is what people say, the others what programs do. A patch is a JSON Merge
Patch (RFC 7396): what it names is replaced, and null removes it. So no value is null.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import eq, ge, gt, le, lt
from typing import Any, Final

from dsvc.errors import InvalidInputError, NotFoundError
from dsvc.history.commits import Commits
from dsvc.history.merge import Side
from dsvc.history.walk import merge_bases
from dsvc.model.canonical_json import Json, JsonObject, decode_canonical, encode_canonical
from dsvc.model.commit import Commit
from dsvc.model.ids import ObjectId

__all__ = [
    "BadAssignmentError",
    "BadConditionError",
    "Condition",
    "NoSuchKeyError",
    "assignment",
    "commit_meta",
    "conflicts",
    "find",
    "flat",
    "inherited",
    "literal",
    "merged",
    "merged_metadata",
    "parse_condition",
    "patch_between",
    "patched",
    "printable",
    "removal",
    "replayed_metadata",
    "shown",
    "with_part",
]

_KEY: Final = re.compile(r"[^\s.=!<>~():,\"']+(\.[^\s.=!<>~():,\"']+)*")
_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<quoted>"(?:[^"\\]|\\.)*"|'[^']*')|(?P<op>==|!=|<=|>=|[=<>~()])|(?P<word>[^\s=!<>~()"']+))"""
)
_MOST: Final = 100


class BadAssignmentError(InvalidInputError):
    """Text that gives no key a value."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(f"`{text}` sets no metadata: {reason}")
        self.text = text


class BadConditionError(InvalidInputError):
    """Text that says no condition."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(f"`{text}` is no condition: {reason}")
        self.text = text


class NoSuchKeyError(NotFoundError):
    """Metadata that nobody has set."""

    def __init__(self, key: str, where: str) -> None:
        super().__init__(f"`{key}` is not set in the metadata of {where}")
        self.key = key


def commit_meta(commit: Commit) -> JsonObject:
    """Return what people say of *commit*.

    Raises:
        MalformedJsonError: Its metadata is not JSON after RFC 8785.
    """
    meta = decode_canonical(commit.metadata).get("meta", {})
    return meta if isinstance(meta, dict) else {}


def inherited(commit: Commit | None) -> str:
    """Return the metadata of a version that follows *commit*: what people say, and not what programs found."""
    meta = {} if commit is None else commit_meta(commit)
    return encode_canonical({"meta": meta} if meta else {})


def merged(base: JsonObject, ours: JsonObject, theirs: JsonObject) -> JsonObject:
    """Return *ours* with what *theirs* changed since *base*, key by key; where both changed one, ours stays."""
    result: JsonObject = {}
    for key in ours.keys() | theirs.keys():
        before, mine, other = base.get(key), ours.get(key), theirs.get(key)
        if isinstance(mine, dict) and isinstance(other, dict):
            chosen: Json = merged(before if isinstance(before, dict) else {}, mine, other)
        else:
            chosen = other if mine == before else mine
        if chosen is not None:
            result[key] = chosen
    return result


def conflicts(base: JsonObject, ours: JsonObject, theirs: JsonObject, above: str = "") -> list[str]:
    """Return the dotted keys that both sides have changed since *base*, and not to the same."""
    found: list[str] = []
    for key in sorted(ours.keys() | theirs.keys() | base.keys()):
        before, mine, other = base.get(key), ours.get(key), theirs.get(key)
        if isinstance(mine, dict) and isinstance(other, dict):
            found += conflicts(before if isinstance(before, dict) else {}, mine, other, f"{above}{key}.")
        elif mine != other and before not in (mine, other):
            found.append(above + key)
    return found


def merged_metadata(commits: Commits, ours: ObjectId, heads: Sequence[ObjectId], favour: Side | None = None) -> str:
    """Return the metadata of a version that *heads* are merged into, which was *ours*; the later one is theirs."""
    mine = commits.get(ours)
    meta = commit_meta(mine)
    for number, head in enumerate(heads):
        bases = merge_bases(commits, head, ours, *heads[:number])
        base = commit_meta(commits.get(bases[0])) if bases else {}
        meta = _favoured(base, meta, commit_meta(commits.get(head)), favour)
    return encode_canonical({"meta": meta} if meta else {})


def _favoured(base: JsonObject, ours: JsonObject, theirs: JsonObject, favour: Side | None) -> JsonObject:
    return merged(base, theirs, ours) if favour is Side.THEIRS else merged(base, ours, theirs)


def replayed_metadata(mine: Commit, before: Commit | None, after: Commit | None, favour: Side | None = None) -> str:
    """Return the metadata of a version that follows *mine*, with what people changed from *before* to *after*."""
    old, new = ({} if one is None else commit_meta(one) for one in (before, after))
    meta = _favoured(old, commit_meta(mine), new, favour)
    return encode_canonical({"meta": meta} if meta else {})


def with_part(metadata: str, part: str, value: Json) -> str:
    """Return the *metadata* of a commit with *value* as one of its parts; an empty one is left out."""
    parts = decode_canonical(metadata)
    if value:
        parts[part] = value
    else:
        parts.pop(part, None)
    return encode_canonical(parts)


def patched(value: JsonObject, patch: JsonObject) -> JsonObject:
    """Return *value* changed as the merge *patch* says."""
    result = dict(value)
    for key, new in patch.items():
        if new is None:
            result.pop(key, None)
        elif isinstance(new, dict):
            old = result.get(key)
            result[key] = patched(old if isinstance(old, dict) else {}, new)
        else:
            result[key] = new
    return result


def patch_between(old: JsonObject, new: JsonObject) -> JsonObject:
    """Return the merge patch that makes *new* of *old*, empty where they are the same."""
    patch: JsonObject = dict.fromkeys(old.keys() - new.keys())
    for key, value in new.items():
        before = old.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            if inner := patch_between(before, value):
                patch[key] = inner
        # In Python true is 1, and in JSON it is not.
        elif before is None or encode_canonical({key: before}) != encode_canonical({key: value}):
            patch[key] = value
    return patch


def assignment(text: str) -> JsonObject:
    """Return the patch that `KEY=VALUE` or `KEY:=JSON` means; dots in the key lead into objects.

    A VALUE that is a JSON number, true or false is that, and anything else is text.

    Raises:
        BadAssignmentError: It means none.
    """
    name, equals, value = text.partition("=")
    is_json = name.endswith(":")
    key = name.removesuffix(":")
    if not equals:
        raise BadAssignmentError(text, "it has no `=`")
    if not is_json:
        return _nested(text, key, literal(value))
    try:
        found: Json = json.loads(value)
        encode_canonical(found)
    except (ValueError, RecursionError, InvalidInputError) as error:
        raise BadAssignmentError(text, f"what follows `:=` is no JSON that can be kept: {error}") from error
    return _nested(text, key, found)


def removal(key: str) -> JsonObject:
    """Return the patch that removes *key*.

    Raises:
        BadAssignmentError: It is no key.
    """
    return _nested(key, key, None)


def _nested(text: str, key: str, value: Json) -> JsonObject:
    if not _KEY.fullmatch(key):
        raise BadAssignmentError(text, "a key is a word, or several with dots between")
    *above, last = key.split(".")
    result: JsonObject = {last: value}
    for name in reversed(above):
        result = {name: result}
    return result


def literal(text: str) -> Json:
    """Return the number or truth value that *text* is in JSON, else the text itself."""
    if text in ("true", "false"):
        return text == "true"
    if re.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?", text):
        try:
            number: Json = json.loads(text)
            encode_canonical(number)
        except (ValueError, InvalidInputError):
            # More digits than a number keeps, as those of an id have.
            return text
        return number
    return text


def find(value: Json, key: str) -> Json:
    """Return what is at the dotted *key* of *value*, None where nothing is."""
    if not isinstance(value, dict):
        return None
    if key in value:
        return value[key]
    name, dot, rest = key.partition(".")
    return find(value[name], rest) if dot and name in value else None


def flat(value: JsonObject, above: str = "") -> Iterator[tuple[str, Json]]:
    """Yield each dotted key and its value, in order; an empty object is a value."""
    for key in sorted(value):
        inner = value[key]
        if isinstance(inner, dict) and inner:
            yield from flat(inner, f"{above}{key}.")
        else:
            yield above + key, inner


def shown(value: Json) -> str:
    """Return *value*: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else encode_canonical(value)


def printable(text: str) -> str:
    """Return JSON *text* for people: what a terminal could act upon is escaped."""
    return text if text.isprintable() else json.dumps(json.loads(text), separators=(",", ":"))


class Condition:
    """A test of metadata, made by `parse_condition`."""

    def __init__(self, test: Callable[[JsonObject], bool]) -> None:
        self._test = test

    def matches(self, metadata: JsonObject) -> bool:
        """Tell whether *metadata* meets it."""
        return self._test(metadata)


def parse_condition(text: str) -> Condition:
    """Return the condition that *text* says.

    `KEY=VALUE` compares, and so do `==`, `!=`, `<`, `<=`, `>` and `>=`; `KEY~PATTERN` searches for a regular
    expression, and `KEY` alone asks whether it is set. They are joined by `and`, `or` and `not`, with parentheses. What
    is not set, or is no number where one is compared with, meets only `!=`. A list meets what one of its elements does.

    Raises:
        BadConditionError: It says none.
    """
    return Condition(_Parser(text).parse())


_Test = Callable[[JsonObject], bool]
_ORDERED: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "=": eq, "==": eq, "!=": eq, "<": lt, "<=": le, ">": gt, ">=": ge,
}  # fmt: skip


class _Parser:
    """Reads one condition, from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[str, str]] = list(self._split())
        if len(self._tokens) > _MOST:
            raise BadConditionError(text, f"it has more than {_MOST} words")
        self._at = 0

    def _split(self) -> Iterator[tuple[str, str]]:
        at, text = 0, self._text.rstrip()
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                raise BadConditionError(self._text, f"`{text[at:].strip()}` cannot be read")
            kind = found.lastgroup or ""
            word = found[kind]
            at = found.end()
            yield kind, _unquoted(word) if kind == "quoted" else word

    def _next(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "")

    def _take(self) -> tuple[str, str]:
        token = self._next()
        self._at += 1
        return token

    def parse(self) -> _Test:
        test = self._any()
        if self._next()[0] != "end":
            raise BadConditionError(self._text, f"`{self._next()[1]}` is not expected there")
        return test

    def _any(self) -> _Test:
        return self._joined("or", self._all, any)

    def _all(self) -> _Test:
        return self._joined("and", self._one, all)

    def _joined(self, word: str, part: Callable[[], _Test], combine: Callable[[Iterable[bool]], bool]) -> _Test:
        tests = [part()]
        while self._next() == ("word", word):
            self._at += 1
            tests.append(part())
        return tests[0] if len(tests) == 1 else lambda metadata: combine(test(metadata) for test in tests)

    def _one(self) -> _Test:
        kind, word = self._take()
        if (kind, word) == ("word", "not"):
            inner = self._one()
            return lambda metadata: not inner(metadata)
        if (kind, word) == ("op", "("):
            inner = self._any()
            if self._take() != ("op", ")"):
                raise BadConditionError(self._text, "a parenthesis is not closed")
            return inner
        if kind not in ("word", "quoted") or word in ("and", "or"):
            raise BadConditionError(self._text, f"`{word}` is no key" if word else "it ends too early")
        operator = self._next()
        if operator[0] != "op" or operator[1] in "()":
            return lambda metadata: find(metadata, word) is not None
        self._at += 1
        return self._comparison(word, operator[1], *self._take())

    def _comparison(self, key: str, operator: str, kind: str, text: str) -> _Test:
        if kind not in ("word", "quoted"):
            raise BadConditionError(self._text, f"`{key}{operator}` is followed by no value")
        if operator == "~":
            try:
                pattern = re.compile(text)
            except re.error as error:
                raise BadConditionError(self._text, f"`{text}` is no regular expression: {error}") from error
            return lambda metadata: any(pattern.search(shown(one)) for one in _each(find(metadata, key)))
        wanted = literal(text) if kind == "word" else text
        compare = _ORDERED[operator]

        def test(metadata: JsonObject) -> bool:
            met = any(_comparable(one, wanted) and compare(one, wanted) for one in _each(find(metadata, key)))
            return not met if operator == "!=" else met

        return test


def _unquoted(word: str) -> str:
    return word[1:-1] if word[0] == "'" else re.sub(r"\\(.)", r"\1", word[1:-1])


def _each(value: Json) -> Sequence[Json]:
    if value is None:
        return ()
    return value if isinstance(value, list) else [value]


def _comparable(one: Json, other: Json) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return isinstance(one, bool) and isinstance(other, bool)
    return (isinstance(one, str) and isinstance(other, str)) or (
        isinstance(one, int | float) and isinstance(other, int | float)
    )
