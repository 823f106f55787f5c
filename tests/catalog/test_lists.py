from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain429.catalog.lists import ListError, Shape, read_list
from chain429.routing.fit import UNKNOWN, Capabilities


def one(entry: dict[str, Any], shape: Shape = "openai") -> Capabilities:
    place = {"openai": "data", "cohere": "models", "cloudflare": "result"}[shape]
    return read_list(shape, json.dumps({place: [{"id": "m", "name": "m", **entry}]}).encode()).models["m"]


@pytest.mark.parametrize(
    ("body", "models"),
    [
        (b'{"object":"list","data":[{"id":"a","object":"model"},{"id":"b"}]}', ["a", "b"]),
        (b'[{"id":"together/a"},{"id":"b"}]', ["together/a", "b"]),
        (b'{"data":[{"id":"models/gemini-2.5-flash"}]}', ["models/gemini-2.5-flash", "gemini-2.5-flash"]),
        # What is no model is passed over.
        (b'{"data":[{"id":"a"},{"id":5},{"id":""},{"id":"x\\ny"},{},7,null,["b"]]}', ["a"]),
    ],
)
def test_the_ids_of_a_list(body: bytes, models: list[str]) -> None:
    found = read_list("openai", body)
    assert (list(found.models), found.whole, found.next) == (models, True, None)
    assert set(found.models.values()) == {UNKNOWN}


def test_each_shape_has_its_models_in_a_place_of_its_own() -> None:
    assert list(read_list("cohere", b'{"models":[{"name":"command-a-03-2025"}]}').models) == ["command-a-03-2025"]
    assert list(read_list("cloudflare", b'{"result":[{"id":"uuid","name":"@cf/x"}]}').models) == ["@cf/x"]


@pytest.mark.parametrize(
    ("shape", "body", "complaint"),
    [
        ("openai", b"", "it is no JSON"),
        ("openai", b"<html>", "it is no JSON"),
        ("openai", b"\xff", "it is no JSON"),
        ("openai", b"[" * 100_000, "it is no JSON"),
        ("openai", b"5", "it has no array named 'data'"),
        ("openai", b'{"error":{"message":"no"}}', "it has no array named 'data'"),
        ("openai", b'{"data":{"a":1}}', "it has no array named 'data'"),
        ("cohere", b'[{"name":"a"}]', "it has no array named 'models'"),
        ("cloudflare", b'{"success":false,"result":null}', "it has no array named 'result'"),
        # Nobody serves nothing, so this says nothing of what is served.
        ("openai", b'{"data":[]}', "no model is in it"),
        ("openai", b'{"data":[{"name":"a"}]}', "no model is in it"),
    ],
)
def test_what_is_no_list(shape: Shape, body: bytes, complaint: str) -> None:
    with pytest.raises(ListError, match=complaint):
        read_list(shape, body)


OPENROUTER = {
    "context_length": 131072,
    "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]},
    "top_provider": {"context_length": 65536, "max_completion_tokens": 8192, "is_moderated": False},
    "supported_parameters": ["max_tokens", "reasoning", "response_format", "tool_choice", "tools"],
}


@pytest.mark.parametrize(
    ("shape", "entry", "known"),
    [
        ("openai", OPENROUTER, Capabilities(True, False, False, True, 65536, 8192)),
        (
            "openai",
            {
                **OPENROUTER,
                "architecture": {"input_modalities": ["file", "image", "text"]},
                "top_provider": {"context_length": None, "max_completion_tokens": None},
                "supported_parameters": ["structured_outputs"],
            },
            Capabilities(False, True, True, False, 131072, None),
        ),
        ("openai", {"context_length": 5, "supported_parameters": [], "architecture": None}, Capabilities(context=5)),
        (
            "openai",
            {"active": True, "context_window": 131072, "max_completion_tokens": 65536},
            Capabilities(context=131072, output=65536),
        ),
        (
            "openai",
            {
                "max_context_length": 131072,
                "capabilities": {"completion_chat": True, "function_calling": True, "vision": False},
            },
            Capabilities(tools=True, images=False, context=131072),
        ),
        ("openai", {"type": "chat", "context_length": 8193, "pricing": {}}, Capabilities(context=8193)),
        ("openai", {"max_model_len": 40960, "root": "/models/x"}, Capabilities(context=40960)),
        ("openai", {"max_input_tokens": 200000, "max_tokens": 64000}, Capabilities(context=200000, output=64000)),
        ("openai", {"metadata": {"context_length": 9000, "max_tokens": 8000}}, Capabilities(context=9000, output=8000)),
        (
            "openai",
            {"supports_image_in": True, "supports_reasoning": False},
            Capabilities(images=True, reasoning=False),
        ),
        ("openai", {"supported_features": ["json_mode", "tools"]}, Capabilities(True, None, False, False)),
        ("cohere", {"context_length": 256000, "endpoints": ["chat"]}, Capabilities(context=256000)),
        (
            "cloudflare",
            {
                "properties": [
                    {"property_id": "context_window", "value": "128000"},
                    {"property_id": "function_calling", "value": "true"},
                    {"property_id": "price", "value": [{"unit": "per M"}]},
                    {"property_id": None},
                    5,
                ]
            },
            Capabilities(tools=True, context=128000),
        ),
        # Numbers that are none, and answers that are none.
        ("openai", {"context_length": 0, "context_window": 7}, Capabilities(context=7)),
        ("openai", {"context_length": -1, "max_tokens": 1e3, "max_completion_tokens": True}, UNKNOWN),
        ("openai", {"context_length": 10**30, "max_model_len": "9" * 20, "metadata": []}, UNKNOWN),
        ("openai", {"supports_vision": "maybe", "reasoning": {"effort": 1}, "capabilities": ["vision"]}, UNKNOWN),
    ],
)
def test_what_a_list_says_of_a_model(shape: Shape, entry: dict[str, Any], known: Capabilities) -> None:
    assert one(entry, shape) == known


@pytest.mark.parametrize(
    ("shape", "rest", "whole", "page"),
    [
        ("openai", {"has_more": False}, True, None),
        ("openai", {"has_more": True, "last_id": "m"}, False, None),
        ("openai", {"links": {"next": None}}, True, None),
        ("openai", {"links": {"next": "/api/v1/models?page=2"}}, False, "/api/v1/models?page=2"),
        ("cohere", {"next_page_token": ""}, True, None),
        ("cohere", {"next_page_token": "abc"}, False, None),
        ("cloudflare", {"result_info": {"count": 1, "total_count": 1}}, True, None),
        ("cloudflare", {"result_info": {"count": 1, "total_count": 2}}, False, None),
    ],
)
def test_whether_a_list_is_whole(shape: Shape, rest: dict[str, Any], whole: bool, page: str | None) -> None:
    place = {"openai": "data", "cohere": "models", "cloudflare": "result"}[shape]
    found = read_list(shape, json.dumps({place: [{"id": "m", "name": "m"}], **rest}).encode())
    assert (found.whole, found.next) == (whole, page)


names = st.sampled_from(
    [
        *("data", "models", "result", "id", "name", "links", "next", "context_length", "capabilities", "vision"),
        *("metadata", "top_provider", "supported_parameters", "properties", "property_id", "value", "architecture"),
    ]
)
wild = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=5),
    max_leaves=25,
)
entries = st.lists(st.dictionaries(names, wild) | wild, max_size=4)


@given(st.sampled_from(["openai", "cohere", "cloudflare"]), wild | st.dictionaries(names, wild | entries))
def test_whatever_is_sent_is_a_list_or_an_error(shape: Shape, value: object) -> None:
    try:
        found = read_list(shape, json.dumps(value).encode())
    except ListError:
        return
    assert found.models
    for known in found.models.values():
        assert all(part in (None, True, False) for part in known[:4])
        assert all(part is None or part > 0 for part in known[4:])
