from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain429.wire import sse
from chain429.wire.chat import ChatRequest
from chain429.wire.dialect import ClientRequest, Problem, Side
from chain429.wire.exchange import exchange
from chain429.wire.messages import MessagesRequest

CHAT = Side("groq", "chat", "gpt-oss")
CLAUDE = Side("claude", "messages", "claude-haiku")
AT = 1_800_000_000


def messages(**more: Any) -> MessagesRequest:
    body = {"model": "sonnet", "max_tokens": 900, "messages": [{"role": "user", "content": "Hi"}], **more}
    return MessagesRequest.parse(json.dumps(body).encode())


def chat(**more: Any) -> ChatRequest:
    body = {"model": "default", "messages": [{"role": "user", "content": "Hi"}], **more}
    return ChatRequest.parse(json.dumps(body).encode())


def sent(request: ClientRequest, side: Side = CHAT, refused: tuple[str, ...] = ()) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(exchange(request, side, refused, "req_1", AT).body)
    return found


def data(value: object, name: str = "") -> bytes:
    return sse.event(json.dumps(value).encode(), name)


def delta(delta: dict[str, Any], finish: str | None = None) -> bytes:
    return data({"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


def call(index: int | None, identifier: str | None, name: str | None, arguments: str) -> bytes:
    function = {"arguments": arguments, **({"name": name} if name else {})}
    one: dict[str, Any] = {"function": function}
    if index is not None:
        one["index"] = index
    if identifier:
        one |= {"id": identifier, "type": "function"}
    return delta({"tool_calls": [one]})


USAGE = data({"id": "c", "choices": [], "usage": {"prompt_tokens": 30, "completion_tokens": 5}})
DONE = b"data: [DONE]\n\n"
TWO_CALLS = [
    delta({"role": "assistant", "content": ""}),
    delta({"reasoning_content": "Hm."}),
    delta({"content": "Let me see."}),
    call(0, "call_a", "read", ""),
    call(0, None, None, '{"path":'),
    call(0, None, None, '"a"}'),
    call(1, "call_b", "read", '{"path":"b"}'),
    delta({}, "tool_calls"),
    USAGE,
    DONE,
]


def events(out: bytes) -> list[tuple[str, dict[str, Any]]]:
    parser = sse.EventParser()
    found = [*parser.feed(out), *parser.close()]
    return [(one.name, json.loads(one.data)) for one in found if one.data and one.data != b"[DONE]"]


def streamed(request: ClientRequest, side: Side, pieces: list[bytes]) -> bytes:
    stream = exchange(request, side, (), "req_1", AT).stream()
    out = b"".join([stream.feed(piece) for piece in pieces])
    return out + stream.close()


def test_a_messages_request_reaches_a_chat_provider_in_its_words() -> None:
    request = messages(
        system=[{"type": "text", "text": "Be brief."}],
        tools=[{"name": "read", "description": "Reads.", "input_schema": {"type": "object"}}],
        tool_choice={"type": "any"},
        stop_sequences=["END", " "],
        temperature=0.5,
        stream=True,
        metadata={"user_id": "somebody"},
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "Read a."}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm.", "signature": "theirs"},
                    {"type": "text", "text": "Yes."},
                    {"type": "tool_use", "id": "toolu_1", "name": "read", "input": {"path": "a"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Go on."},
                    {"type": "tool_result", "tool_use_id": "toolu_1", "content": "no", "is_error": True},
                ],
            },
        ],
    )
    body = sent(request)
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Read a."},
        {
            "role": "assistant",
            "content": "Yes.",
            "tool_calls": [
                {"id": "toolu_1", "type": "function", "function": {"name": "read", "arguments": '{"path":"a"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "toolu_1", "content": "Error: no"},
        {"role": "user", "content": "Go on."},
    ]
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("gpt-oss", 900, 0.5)
    assert (body["stop"], body["tool_choice"], body["stream"]) == (["END"], "required", True)
    assert body["stream_options"] == {"include_usage": True}
    assert "somebody" not in json.dumps(body)


def test_a_parameter_that_the_provider_refuses_is_left_out() -> None:
    assert "temperature" not in sent(messages(temperature=0.5), CHAT, ("temperature",))


def test_edge_15_images_in_tool_results_follow_the_results() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    calls: list[Any] = [{"type": "tool_use", "id": one, "name": "see", "input": {}} for one in ("t1", "t2")]
    results = [
        {"type": "tool_result", "tool_use_id": "t2", "content": "two"},
        {"type": "tool_result", "tool_use_id": "t1", "content": [image]},
    ]
    request = messages(
        tools=[{"name": "see", "input_schema": {"type": "object"}}],
        messages=[
            {"role": "user", "content": "See."},
            {"role": "assistant", "content": calls},
            {"role": "user", "content": results},
        ],
    )
    _, assistant, first, second, shown = sent(request)["messages"]
    assert assistant["content"] is None
    assert [first["tool_call_id"], second["tool_call_id"]] == ["t1", "t2"]
    assert (first["role"], second["content"]) == ("tool", "two")
    assert shown == {
        "role": "user",
        "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}],
    }


def test_edge_10_a_missing_result_is_said_to_be_missing() -> None:
    turn = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}],
    }
    tools = [{"type": "function", "function": {"name": "f"}}]
    orphan = {"role": "tool", "tool_call_id": "c9", "content": "nobody asked"}
    body = sent(chat(tools=tools, messages=[{"role": "user", "content": "Hi"}, turn, orphan]), CLAUDE)
    _, assistant, results = body["messages"]
    assert assistant["content"] == [{"type": "tool_use", "id": "c1", "name": "f", "input": {}}]
    assert [block["tool_use_id"] for block in results["content"]] == ["c1"]


def test_edge_17_a_chat_answer_with_calls_ends_for_them_in_messages() -> None:
    out = events(
        streamed(messages(stream=True), CHAT, [piece.replace(b'"tool_calls"}', b'"stop"}') for piece in TWO_CALLS])
    )
    names = [name for name, _ in out]
    assert names[0] == "message_start"
    assert names[-2:] == ["message_delta", "message_stop"]
    starts = [value for name, value in out if name == "content_block_start"]
    assert [one["index"] for one in starts] == [0, 1, 2, 3]
    assert [one["content_block"]["type"] for one in starts] == ["thinking", "text", "tool_use", "tool_use"]
    ended = out[-2][1]
    assert ended["delta"]["stop_reason"] == "tool_use"
    assert (ended["usage"]["input_tokens"], ended["usage"]["output_tokens"]) == (30, 5)


def test_edge_01_calls_without_indexes_are_told_apart() -> None:
    pieces = [call(None, "call_a", "read", '{"a":1}'), call(None, "call_b", "read", '{"b":2}'), delta({}, "stop"), DONE]
    out = events(streamed(messages(stream=True), CHAT, pieces))
    assert [value["delta"]["partial_json"] for name, value in out if name == "content_block_delta"] == [
        '{"a":1}',
        '{"b":2}',
    ]


@given(st.lists(st.integers(0, 5000), max_size=30))
def test_however_it_is_cut_the_same_comes_out(cuts: list[int]) -> None:
    whole = b"".join(TWO_CALLS)
    places = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    pieces = [whole[start:end] for start, end in pairwise(places)]
    request = messages(stream=True)
    assert streamed(request, CHAT, pieces) == streamed(request, CHAT, [whole])


def test_a_whole_answer_is_the_fold_of_the_stream() -> None:
    function = {"name": "read", "arguments": '{"path":"a"}'}
    body = {
        "choices": [
            {
                "message": {
                    "content": "Let me see.",
                    "reasoning_content": "Hm.",
                    "tool_calls": [
                        {"id": "call_a", "function": function},
                        {"id": "call_b", "function": {"name": "read", "arguments": '{"path":"b"}'}},
                    ],
                },
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {"prompt_tokens": 30, "completion_tokens": 5},
    }
    seen, out = exchange(messages(), CHAT, (), "req_1", AT).answer(json.dumps(body).encode())
    assert seen.complete
    answer = json.loads(out)
    blocks: dict[int, dict[str, Any]] = {}
    for name, value in events(streamed(messages(stream=True), CHAT, TWO_CALLS)):
        if name == "content_block_start":
            blocks[value["index"]] = value["content_block"]
        elif name == "content_block_delta":
            block, change = blocks[value["index"]], value["delta"]
            kind = change["type"].removesuffix("_delta")
            if kind == "input_json":
                block["json"] = block.get("json", "") + change["partial_json"]
            else:
                block[kind] = block.get(kind, "") + change[kind]
    folded = [
        {**{name: value for name, value in block.items() if name != "json"}, "input": json.loads(block["json"])}
        if "json" in block
        else block
        for block in blocks.values()
    ]
    assert answer["content"] == folded
    assert (answer["model"], answer["stop_reason"]) == ("sonnet", "tool_use")


ANSWER = [
    data({"type": kind, **rest}, kind)
    for kind, rest in (
        ("message_start", {"message": {"id": "m", "usage": {"input_tokens": 9, "output_tokens": 1}}}),
        ("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}),
        ("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": "Hello"}}),
        ("content_block_stop", {"index": 0}),
        ("message_delta", {"delta": {"stop_reason": "max_tokens"}, "usage": {"output_tokens": 4}}),
        ("message_stop", {}),
    )
]


@pytest.mark.parametrize("asked", [False, True])
def test_a_messages_answer_reaches_a_chat_client_in_its_words(asked: bool) -> None:
    request = chat(stream=True, stream_options={"include_usage": asked})
    out = streamed(request, CLAUDE, ANSWER)
    assert out.endswith(DONE)
    assert out.count(DONE) == 1
    chunks = [value for _, value in events(out)]
    assert {(one["id"], one["object"], one["model"], one["created"]) for one in chunks} == {
        ("chatcmpl-req_1", "chat.completion.chunk", "default", AT)
    }
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert chunks[1]["choices"][0]["delta"] == {"content": "Hello"}
    assert chunks[2]["choices"][0]["finish_reason"] == "length"
    assert [one["usage"]["completion_tokens"] for one in chunks[3:]] == ([4] if asked else [])


def test_an_error_in_front_of_the_answer_is_no_empty_success() -> None:
    failed = data({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}, "error")
    stream = exchange(chat(stream=True), CLAUDE, (), "req_1", AT).stream()
    assert stream.feed(failed) + stream.close() == b""
    assert stream.seen.error is not None


def test_edge_09_an_answer_that_is_cut_gets_no_invented_end() -> None:
    stream = exchange(messages(stream=True), CHAT, (), "req_1", AT).stream()
    out = stream.feed(delta({"content": "Hello"})) + stream.close()
    assert "message_stop" not in [name for name, _ in events(out)]
    assert not stream.seen.complete
    assert [name for name, _ in events(stream.fail(Problem(502, "It broke.")))] == ["error"]


def test_what_has_no_place_is_named() -> None:
    found = exchange(chat(logprobs=True, n=1), CLAUDE, (), "req_1", AT)
    assert found.lost == ("logprobs",)
    assert found.headers == {"anthropic-version": "2023-06-01"}
