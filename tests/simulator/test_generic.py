from __future__ import annotations

from chain429.simulator.dialect import Generic
from tests.simulator.fakes import NOON, TOOLS, ask, body_of, events, provider


def test_a_whole_answer() -> None:
    reply = provider(Generic()).respond(None, ask("qwen3"), NOON)
    assert (reply.status, reply.headers) == (200, {"Content-Type": "application/json"})
    assert reply.body == (
        b'{"id":"chatcmpl-1","object":"chat.completion","created":1789992000,"model":"qwen3","choices":[{"index":0,'
        b'"message":{"role":"assistant","content":"generic/qwen3 here. You said: Hello there"},'
        b'"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":11,"total_tokens":14}}'
    )


def test_a_stream() -> None:
    request = ask("qwen3", "Hi", stream=True, stream_options={"include_usage": True}, max_tokens=4)
    reply = provider(Generic()).respond("any key", request, NOON)
    assert reply.headers == {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
    start = (
        b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1789992000,"model":"qwen3","choices":['
    )
    assert reply.pieces == (
        start + b'{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n',
        start + b'{"index":0,"delta":{"content":"generic/qwen3 "},"finish_reason":null}]}\n\n',
        start + b'{"index":0,"delta":{"content":"he"},"finish_reason":null}]}\n\n',
        start + b'{"index":0,"delta":{},"finish_reason":"length"}]}\n\n',
        start + b'],"usage":{"prompt_tokens":1,"completion_tokens":4,"total_tokens":5}}\n\n',
        b"data: [DONE]\n\n",
    )


def test_tool_calls_come_in_fragments_with_their_index() -> None:
    request = ask("qwen3", "Use every tool", stream=True, tools=TOOLS)
    *chunks, done = events(provider(Generic()).respond(None, request, NOON).body)
    assert done == "[DONE]"
    assert [chunk["choices"][0]["delta"] for chunk in chunks] == [
        {"role": "assistant", "content": ""},
        {
            "tool_calls": [
                {
                    "index": 0,
                    "id": "call_000000000000000000000100",
                    "type": "function",
                    "function": {"name": "weather", "arguments": ""},
                }
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"city":"x'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '","days":1}'}}]},
        {
            "tool_calls": [
                {
                    "index": 1,
                    "id": "call_000000000000000000000101",
                    "type": "function",
                    "function": {"name": "news", "arguments": ""},
                }
            ]
        },
        {"tool_calls": [{"index": 1, "function": {"arguments": "{"}}]},
        {"tool_calls": [{"index": 1, "function": {"arguments": "}"}}]},
        {},
    ]
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_it_has_no_limits_unless_some_are_set() -> None:
    generic = provider(Generic())
    assert all(generic.respond(None, ask("qwen3"), NOON).status == 200 for _ in range(500))
    generic.set_limits(None, {"rpm": 1})
    assert generic.respond(None, ask("qwen3"), NOON).status == 200
    reply = generic.respond(None, ask("qwen3"), NOON + 20)
    assert (reply.status, reply.headers["retry-after"]) == (429, "40")
    assert body_of(reply)["error"]["code"] == "rate_limit_exceeded"


def test_an_unknown_model() -> None:
    reply = provider(Generic()).respond(None, ask("nope"), NOON)
    assert (reply.status, reply.body) == (
        404,
        b'{"error":{"message":"model \\"nope\\" not found, try pulling it first","type":"api_error","param":null,'
        b'"code":null}}',
    )


def test_models() -> None:
    reply = provider(Generic()).list_models(None)
    assert body_of(reply)["data"][0] == {
        "id": "qwen3",
        "object": "model",
        "created": 1767225600,
        "owned_by": "generic",
    }
