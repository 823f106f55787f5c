from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain429.errors import RequestError
from chain429.wire.chat import ChatRequest
from chain429.wire.dialect import ClientRequest
from chain429.wire.messages import MessagesRequest
from chain429.wire.responses import ResponsesRequest
from chain429.wire.wants import Ability

PARSE: dict[str, Callable[[bytes], ClientRequest]] = {
    "chat": ChatRequest.parse,
    "messages": MessagesRequest.parse,
    "responses": ResponsesRequest.parse,
}


def chat(*parts: Any, **fields: Any) -> ClientRequest:
    messages = [{"role": "user", "content": list(parts) or "Hi"}]
    return ChatRequest.parse(json.dumps({"model": "m", "messages": messages, **fields}).encode())


def messages(*parts: Any, **fields: Any) -> ClientRequest:
    turns = [{"role": "user", "content": list(parts) or "Hi"}]
    return MessagesRequest.parse(json.dumps({"model": "m", "max_tokens": 9, "messages": turns, **fields}).encode())


def responses(*parts: Any, **fields: Any) -> ClientRequest:
    items = [{"role": "user", "content": list(parts) or "Hi"}]
    return ResponsesRequest.parse(json.dumps({"model": "m", "input": items, **fields}).encode())


SCHEMA = {"name": "s", "schema": {"type": "object"}}
FUNCTION = {"name": "f", "parameters": {"type": "object"}}
IMAGE = "data:image/png;base64,iVBORw0KGgo="
SOURCE = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}


@pytest.mark.parametrize(
    ("request_", "wants"),
    [
        (chat(), ()),
        (chat(tools=[]), ()),
        (chat(tools=None, functions=None, response_format=None), ()),
        (chat(tools=[{"type": "function", "function": FUNCTION}]), ("tools",)),
        (chat(functions=[FUNCTION]), ("tools",)),
        (chat({"type": "image_url", "image_url": {"url": IMAGE}}), ("images",)),
        (chat({"type": "image_url", "image_url": {"url": "https://a.test/cat.png"}}), ("images",)),
        # Who only speaks of images shows none.
        (chat({"type": "text", "text": 'say "image_url"'}), ()),
        (chat({"type": "text", "text": json.dumps({"type": "image_url"})}), ()),
        (chat(response_format={"type": "json_schema", "json_schema": SCHEMA}), ("schema",)),
        # Any JSON at all, no schema.
        (chat(response_format={"type": "json_object"}), ()),
        (
            chat(
                {"type": "image_url", "image_url": {"url": IMAGE}},
                tools=[{"type": "function", "function": FUNCTION}],
                response_format={"type": "json_schema", "json_schema": SCHEMA},
            ),
            ("tools", "images", "schema"),
        ),
        (messages(), ()),
        (messages(tools=[]), ()),
        (messages(tools=[{"name": "f", "input_schema": {"type": "object"}}]), ("tools",)),
        (messages({"type": "image", "source": SOURCE}), ("images",)),
        (messages({"type": "text", "text": '"image"'}), ()),
        (
            messages({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image", "source": SOURCE}]}),
            ("images",),
        ),
        (messages(output_config={"format": {"type": "json_schema", "schema": {"type": "object"}}}), ("schema",)),
        (messages(output_config={"effort": "low"}), ()),
        (responses(), ()),
        (responses(tools=[]), ()),
        (responses(tools=[{"type": "function", **FUNCTION}]), ("tools",)),
        (responses({"type": "input_image", "image_url": IMAGE}), ("images",)),
        (responses({"type": "input_text", "text": '"input_image"'}), ()),
        (responses(text={"format": {"type": "json_schema", **SCHEMA}}), ("schema",)),
        (responses(text={"format": {"type": "text"}}), ()),
        (responses(text={"verbosity": "low"}), ()),
    ],
)
def test_what_a_request_wants_is_read_from_its_body(request_: ClientRequest, wants: tuple[Ability, ...]) -> None:
    assert request_.wants == wants


def test_an_image_in_a_tools_result_is_shown_to_the_model_of_codex_too() -> None:
    result = {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_image", "image_url": IMAGE}]}
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    body = {"model": "m", "input": [{"role": "user", "content": "Hi"}, call, result]}
    assert ResponsesRequest.parse(json.dumps(body).encode()).wants == ("images",)


BYTES = 30_000
PICTURE = "A" * (BYTES * 4 // 3)
AN_IMAGE = 6400  # 1,600 tokens of four bytes
PAPER = round(len(PICTURE) * 0.12)


@pytest.mark.parametrize(
    ("ask", "part", "data", "weight"),
    [
        (chat, lambda data: {"type": "image_url", "image_url": {"url": data}}, "data:image/png;base64,", AN_IMAGE),
        (chat, lambda data: {"type": "file", "file": {"file_data": data}}, "data:application/pdf;base64,", PAPER),
        (
            messages,
            lambda data: {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}},
            "",
            AN_IMAGE,
        ),
        (
            messages,
            lambda data: {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": data},
            },
            "",
            PAPER,
        ),
        (
            messages,
            lambda data: {
                "type": "tool_result",
                "tool_use_id": "t",
                "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}],
            },
            "",
            AN_IMAGE,
        ),
        (responses, lambda data: {"type": "input_image", "image_url": data}, "data:image/png;base64,", AN_IMAGE),
        (responses, lambda data: {"type": "input_file", "file_data": data}, "data:application/pdf;base64,", PAPER),
    ],
)
def test_an_image_counts_as_its_tokens_and_a_document_as_part_of_its_bytes(
    ask: Callable[..., ClientRequest], part: Callable[[str], dict[str, Any]], data: str, weight: int
) -> None:
    nothing = ask(part("")).size
    assert ask(part(data + PICTURE)).size == pytest.approx(nothing + weight, abs=5)


def test_a_small_image_is_not_counted_larger_than_its_bytes() -> None:
    part = {"type": "image_url", "image_url": {"url": IMAGE}}
    nothing = chat({"type": "image_url", "image_url": {"url": ""}}).size
    assert chat(part).size == nothing + len(IMAGE)


def test_words_about_base64_keep_their_length() -> None:
    text = "data:image/png;base64," + PICTURE
    assert chat({"type": "text", "text": text}).size - chat({"type": "text", "text": ""}).size == len(text)


wild = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "image", "image_url", ";base64,", "base64"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "content", "output", "source", "image_url", "url", "data", "format"]), inner
        )
    ),
    max_leaves=8,
)
bodies = st.fixed_dictionaries(
    {"model": st.just("m"), "max_tokens": st.just(9)},
    optional={
        name: st.lists(wild, min_size=1, max_size=2) | wild
        for name in ("messages", "input", "tools", "functions", "response_format", "output_config", "text")
    },
)


@pytest.mark.parametrize("dialect", PARSE)
@given(body=bodies)
def test_whatever_a_body_holds_it_is_refused_or_understood(dialect: str, body: dict[str, Any]) -> None:
    body = {"messages": [{"role": "user", "content": [body.get("messages")]}], **body}
    try:
        parsed = PARSE[dialect](json.dumps(body).encode())
    except RequestError:
        return
    assert set(parsed.wants) <= {"tools", "images", "schema"}
    assert parsed.size > 0
