from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain429.wire.loading import dumps, loads

TEXTS = [
    '{"a":[1,2.5,true,null,"\\u00e9"]}', ' \n{"a":1}\r\n\t', '"words"', "7", "-0.0", "NaN",
    "", " ", "{", '{"a":1}}', '{"a":1} x', "[1,]", "nul", "'a'", '"\x00"', "\ufeff{}", "\u00a0{}",
]  # fmt: skip


def outcome(load: Any, text: str) -> str:
    try:
        return repr(load(text))
    except ValueError:
        return "an error"


@pytest.mark.parametrize("text", TEXTS)
def test_it_reads_what_the_standard_library_reads(text: str) -> None:
    assert outcome(loads, text) == outcome(json.loads, text)


@given(text=st.text(alphabet='{}[]",:0-1e.truefalsn\\ \n', max_size=20))
def test_and_nothing_else(text: str) -> None:
    assert outcome(loads, text) == outcome(json.loads, text)


def test_what_is_too_deep_is_a_recursion_error() -> None:
    with pytest.raises(RecursionError):
        loads("[" * 200_000)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@given(value=JSON)
def test_it_writes_what_the_standard_library_writes(value: Any) -> None:
    assert dumps(value) == json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def test_what_is_no_json_is_not_written() -> None:
    with pytest.raises(TypeError):
        dumps({"a": {1}})
