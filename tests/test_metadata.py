"""Metadata as values: patches, assignments and conditions."""

import pytest

from dsvc.history.metadata import (
    BadAssignmentError,
    BadConditionError,
    assignment,
    conflicts,
    find,
    flat,
    merged,
    parse_condition,
    patched,
    removal,
    with_part,
)
from dsvc.model.canonical_json import Json, JsonObject

PATCHES: list[tuple[JsonObject, JsonObject, JsonObject]] = [
    # Appendix A of RFC 7396, as far as it is about objects.
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("value", "patch", "result"), PATCHES)
def test_patches_do_what_the_rfc_shows(value: JsonObject, patch: JsonObject, result: JsonObject) -> None:
    before = repr(value)

    assert patched(value, patch) == result
    assert repr(value) == before


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "result"),
    [
        ({"a": 1}, {"a": 1}, {"a": 2}, {"a": 2}),
        ({"a": 1}, {"a": 2}, {"a": 1}, {"a": 2}),
        ({"a": 1}, {"a": 2}, {"a": 3}, {"a": 2}),
        ({"a": 1, "b": 1}, {"a": 1}, {"b": 1}, {}),
        ({"a": 1}, {"a": 2}, {}, {"a": 2}),
        ({}, {"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"o": {"x": 1, "y": 1}}, {"o": {"x": 2, "y": 1}}, {"o": {"x": 1}}, {"o": {"x": 2}}),
        ({"o": {"x": 1}}, {"o": {"x": 1}}, {"o": 5}, {"o": 5}),
    ],
)
def test_what_both_sides_changed_comes_together_key_by_key(
    base: JsonObject, ours: JsonObject, theirs: JsonObject, result: JsonObject
) -> None:
    assert merged(base, ours, theirs) == result


def test_keys_that_both_sides_changed_are_named() -> None:
    base: JsonObject = {"a": 1, "o": {"x": 1, "y": 1}, "same": 1, "gone": 1}
    ours: JsonObject = {"a": 2, "o": {"x": 2, "y": 1}, "same": 2}
    theirs: JsonObject = {"a": 3, "o": {"x": 3, "y": 5}, "same": 2, "gone": 2, "new": 1}

    assert conflicts(base, ours, theirs) == ["a", "gone", "o.x"]
    assert conflicts(base, ours, base) == conflicts(base, base, theirs) == []


@pytest.mark.parametrize(
    ("text", "patch"),
    [
        ("epochs=3", {"epochs": 3}),
        ("rate=-1.5e-3", {"rate": -0.0015}),
        ("done=true", {"done": True}),
        ("name=True", {"name": "True"}),
        ("name=a=b", {"name": "a=b"}),
        ("empty=", {"empty": ""}),
        ("zip=01234", {"zip": "01234"}),
        ("id=12345678901234567890", {"id": "12345678901234567890"}),
        ("model.layers=2", {"model": {"layers": 2}}),
        ('tags:=["a", "b"]', {"tags": ["a", "b"]}),
        ('text:="3"', {"text": "3"}),
        ("gone:=null", {"gone": None}),
    ],
)  # fmt: skip
def test_an_assignment_has_the_type_that_it_looks_like(text: str, patch: JsonObject) -> None:
    assert assignment(text) == patch


@pytest.mark.parametrize("text", ["epochs", "=3", ".a=1", "a..b=1", "a b=1", "x:=[1", "x:=NaN", "x:=1e999"])
def test_what_sets_nothing_is_refused(text: str) -> None:
    with pytest.raises(BadAssignmentError):
        assignment(text)


def test_keys_with_dots_lead_into_objects() -> None:
    value: JsonObject = {"a": {"b": {"c": 1}}, "x.y": 2, "e": {}}

    assert [find(value, key) for key in ("a.b.c", "x.y", "a.z", "a.b.c.d", "e")] == [1, 2, None, None, {}]
    assert list(flat(value)) == [("a.b.c", 1), ("e", {}), ("x.y", 2)]
    assert patched(value, removal("a.b.c"))["a"] == {"b": {}}


CAT: JsonObject = {"label": "cat", "split": "train", "size": 10, "tags": ["a", "b"], "ok": True, "deep": {"x": 1.5}}


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("label=cat", True),
        ("label==cat", True),
        ("label = 'cat' and split != test", True),
        ("label=cat and split=test", False),
        ("label=dog or size>=10", True),
        ("not label=dog", True),
        ("not (label=cat or label=dog)", False),
        ("label=dog or label=cat and split=test", False),
        ("size>9", True),
        ("size<9.5", False),
        ("size>abc", False),
        ("size='10'", False),
        ("label>abc", True),
        ("tags=b", True),
        ("tags=c", False),
        ("tags!=b", False),
        ("ok=true", True),
        ("ok=1", False),
        ("deep.x=1.5", True),
        ("deep", True),
        ("missing", False),
        ("missing=x", False),
        ("missing!=x", True),
        ("label~^c.t$", True),
        ('label~"^(c|d)"', True),
        ("tags~^b", True),
    ],
)
def test_a_condition_is_met_as_it_reads(text: str, *, met: bool) -> None:
    assert parse_condition(text).matches(CAT) is met


@pytest.mark.parametrize(
    "text", ["", "and", "label=", "=cat", "(label=cat", "label=cat)", "a=b c=d", "x~(", "not", "a='b", "a!b"]
)
def test_what_says_no_condition_is_refused(text: str) -> None:
    with pytest.raises(BadConditionError):
        parse_condition(text)


def test_a_part_of_the_metadata_of_a_commit_leaves_the_others() -> None:
    value: Json = {"epochs": 3}
    text = with_part('{"run":{"host":"h"}}', "meta", value)

    assert text == '{"meta":{"epochs":3},"run":{"host":"h"}}'
    assert with_part(text, "meta", {}) == '{"run":{"host":"h"}}'
