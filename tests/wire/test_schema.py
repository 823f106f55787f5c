from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain429.wire.schema import without

WORDS = frozenset({"$schema", "additionalProperties", "format", "const"})


@pytest.mark.parametrize(
    ("schema", "fitting"),
    [
        pytest.param({"$schema": "x", "type": "object"}, {"type": "object"}, id="at the top"),
        pytest.param(
            {"properties": {"a": {"type": "string", "format": "uri"}}},
            {"properties": {"a": {"type": "string"}}},
            id="a property",
        ),
        pytest.param(
            {"properties": {"format": {"type": "string"}, "const": {"const": "x"}}},
            {"properties": {"format": {"type": "string"}, "const": {"enum": ["x"]}}},
            id="a property that is called so",
        ),
        pytest.param({"$defs": {"format": {"format": "date"}}}, {"$defs": {"format": {}}}, id="definitions"),
        pytest.param({"items": {"format": "date"}}, {"items": {}}, id="items"),
        pytest.param({"items": [{"format": "date"}, {}]}, {"items": [{}, {}]}, id="items of a tuple"),
        pytest.param(
            {"anyOf": [{"format": "date"}, {"not": {"format": "time"}}]},
            {"anyOf": [{}, {"not": {}}]},
            id="alternatives",
        ),
        pytest.param(
            {"additionalProperties": {"format": "date"}}, {}, id="a schema below a word that is refused goes with it"
        ),
        pytest.param({"const": "x"}, {"enum": ["x"]}, id="const"),
        pytest.param({"const": 5}, {}, id="a const that is no text"),
        pytest.param({"enum": ["format", {"format": 1}]}, {"enum": ["format", {"format": 1}]}, id="values"),
        pytest.param({"default": {"format": 1}}, {"default": {"format": 1}}, id="a default"),
        pytest.param({"required": ["format"]}, {"required": ["format"]}, id="names"),
    ],
)
def test_words_that_are_refused_are_left_out(schema: dict[str, Any], fitting: dict[str, Any]) -> None:
    before = copy.deepcopy(schema)
    assert without(schema, WORDS) == fitting
    assert schema == before


def test_what_stays_keeps_its_order() -> None:
    schema = {"title": "t", "$schema": "x", "type": "object", "properties": {"b": {}, "a": {"format": "x"}}}
    fitting = without(schema, WORDS)
    assert list(fitting) == ["title", "type", "properties"]
    assert list(fitting["properties"]) == ["b", "a"]


@pytest.mark.parametrize("schema", [None, True, False, "object", ["format"], 5, {"properties": None}, {"anyOf": "x"}])
def test_what_is_no_schema_is_left_alone(schema: Any) -> None:
    assert without(schema, WORDS) is schema


schemas = st.recursive(
    st.just({}) | st.just({"type": "string"}) | st.just({"format": "uri"}) | st.booleans(),
    lambda inner: (
        st.builds(lambda one: {"items": one}, inner)
        | st.builds(lambda some: {"anyOf": some}, st.lists(inner, max_size=3))
        | st.builds(lambda some: {"properties": some}, st.dictionaries(st.sampled_from(["a", "format"]), inner))
        | st.builds(lambda one: {"additionalProperties": one, "title": "t"}, inner)
    ),
)


@given(schemas)
def test_twice_is_the_same_as_once_and_nothing_is_written_anew_that_fits(schema: Any) -> None:
    fitting = without(schema, WORDS)
    assert without(fitting, WORDS) is fitting
    assert without(schema, ()) is schema
