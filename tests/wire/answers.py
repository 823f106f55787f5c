"""Answers as providers of each dialect send them, streamed and whole, to be passed on in every dialect."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chain429.errors import WireError
from chain429.wire.chat import ChatRequest
from chain429.wire.dialect import ClientRequest, DialectName, Exchange, Problem, Side
from chain429.wire.events import Seen
from chain429.wire.exchange import exchange
from chain429.wire.messages import MessagesRequest
from chain429.wire.responses import ResponsesRequest

DIALECTS: tuple[DialectName, ...] = ("chat", "messages", "responses")
PAIRS = [(front, behind) for front in DIALECTS for behind in DIALECTS]
AT = 1_800_000_000
BROKEN = Problem(502, "It broke off.", "server_error", "stream_broken", details={"request_id": "req_1"})


@dataclass(frozen=True, slots=True)
class Said:
    """One answer: its events as they are streamed, and its body as a whole."""

    events: tuple[bytes, ...]
    body: bytes

    @property
    def stream(self) -> bytes:
        return b"".join(self.events)


def side(dialect: DialectName, **more: Any) -> Side:
    """A provider that speaks ``dialect``; who made the dialect itself, so that nothing has to be marked."""
    return Side("there", dialect, "its-model", **{"vendor": True, **more})


def asked(dialect: DialectName, *, stream: bool = True, **more: Any) -> ClientRequest:
    """What a client of ``dialect`` asks, with a tool that may be called."""
    schema = {"type": "object", "properties": {"path": {"type": "string"}}}
    hello = [{"role": "user", "content": "Read a and b."}]
    body: dict[str, Any] = {"model": "default", "stream": stream}
    if dialect == "chat":
        tool: dict[str, Any] = {"type": "function", "function": {"name": "read", "parameters": schema}}
        body |= {"messages": hello, "tools": [tool]}
        if stream:
            body["stream_options"] = {"include_usage": True}
        return ChatRequest.parse(json.dumps({**body, **more}).encode())
    if dialect == "messages":
        body |= {"messages": hello, "max_tokens": 900, "tools": [{"name": "read", "input_schema": schema}]}
        return MessagesRequest.parse(json.dumps({**body, **more}).encode())
    tool = {"type": "function", "name": "read", "parameters": schema}
    return ResponsesRequest.parse(json.dumps({**body, "input": hello, "tools": [tool], **more}).encode())


def between(front: DialectName, behind: DialectName, **more: Any) -> Exchange:
    """An attempt: a client that speaks ``front`` asked, a provider that speaks ``behind`` answers."""
    return exchange(asked(front, **more), side(behind), (), "req_1", AT)


def delivered(attempt: Exchange, *pieces: bytes) -> tuple[bytes, Seen]:
    """What the client is sent for the provider's bytes, as long as they make sense; and how much was understood."""
    stream = attempt.stream()
    out = b""
    try:
        for piece in pieces:
            out += stream.feed(piece)
            if stream.seen.error is not None or stream.seen.ended:
                break
        else:
            out += stream.close()
    except WireError:
        # What comes after the end of an answer may be anything.
        out += stream.close() if stream.seen.complete else b""
    if not stream.seen.meaningful:
        return b"", stream.seen  # nothing is sent before something is said: another provider is asked
    return out if stream.seen.complete else out + stream.fail(BROKEN), stream.seen


def data(value: Any) -> bytes:
    return b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"


def event(kind: str, **members: Any) -> bytes:
    return b"event: " + kind.encode() + b"\n" + data({"type": kind, **members})


_CHUNK = {"id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "m"}


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return data(
        {"id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "m", "choices": [choice], **more}
    )


def called(index: int, arguments: str, identifier: str = "", name: str = "") -> bytes:
    function = {"name": name, "arguments": arguments} if name else {"arguments": arguments}
    opened = {"id": identifier, "type": "function"} if identifier else {}
    return chunk({"tool_calls": [{"index": index, **opened, "function": function}]})


def block(index: int, begun: dict[str, Any], *deltas: dict[str, Any]) -> tuple[bytes, ...]:
    return (
        event("content_block_start", index=index, content_block=begun),
        *(event("content_block_delta", index=index, delta=delta) for delta in deltas),
        event("content_block_stop", index=index),
    )


def numbered(*events: tuple[str, dict[str, Any]]) -> tuple[bytes, ...]:
    """Events of Responses: their kinds without "response.", and their members."""
    return tuple(
        event(f"response.{kind}", sequence_number=number, **members) for number, (kind, members) in enumerate(events)
    )


DONE = data(b"[DONE]")
MESSAGE_STOP = event("message_stop")
_WORDS = "Caf\u00e9 \u2028 \U0001f600"

_CHAT_USAGE = {
    "prompt_tokens": 30,
    "completion_tokens": 5,
    "total_tokens": 35,
    "prompt_tokens_details": {"cached_tokens": 8},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
_CHAT_COUNTED = data({**_CHUNK, "choices": [], "usage": _CHAT_USAGE})


def _chat_body(message: dict[str, Any], finish: str) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    answer = {"id": "c1", "object": "chat.completion", "created": 7, "model": "m", "choices": [choice]}
    return json.dumps({**answer, "usage": _CHAT_USAGE}).encode()


_CHAT_CALLS = [
    {"id": "call_a", "type": "function", "function": {"name": "read", "arguments": '{"path":"a"}'}},
    {"id": "call_b", "type": "function", "function": {"name": "read", "arguments": '{"path":"b"}'}},
]
_CHAT = {
    "calls": Said(
        (
            chunk({"role": "assistant", "content": ""}),
            chunk({"reasoning_content": "Two "}),
            chunk({"reasoning_content": "files."}),
            chunk({"content": "Let me "}),
            chunk({"content": "see."}),
            called(0, "", "call_a", "read"),
            called(0, '{"path":'),
            called(0, '"a"}'),
            called(1, '{"path":"b"}', "call_b", "read"),
            chunk({}, "tool_calls"),
            _CHAT_COUNTED,
            DONE,
        ),
        _chat_body(
            {"content": "Let me see.", "reasoning_content": "Two files.", "tool_calls": _CHAT_CALLS}, "tool_calls"
        ),
    ),
    "words": Said(
        (
            chunk({"role": "assistant", "content": ""}),
            chunk({"content": _WORDS}),
            chunk({"content": " \n"}),
            chunk({"content": "bar"}),
            chunk({}, "length"),
            _CHAT_COUNTED,
            DONE,
        ),
        _chat_body({"content": f"{_WORDS} \nbar"}, "length"),
    ),
}

_MESSAGES_USAGE = {"input_tokens": 22, "cache_read_input_tokens": 8, "output_tokens": 5}
_BEGUN: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [],
    "stop_reason": None,
    "stop_sequence": None,
    "usage": {"input_tokens": 22, "cache_read_input_tokens": 8, "output_tokens": 1},
}


def _messages(content: list[dict[str, Any]], events: tuple[bytes, ...], reason: str) -> Said:
    stopped = {"stop_reason": reason, "stop_sequence": None}
    return Said(
        (
            event("message_start", message=_BEGUN),
            event("ping"),
            *events,
            event("message_delta", delta=stopped, usage={"output_tokens": 5}),
            MESSAGE_STOP,
        ),
        json.dumps({**_BEGUN, "content": content, **stopped, "usage": _MESSAGES_USAGE}).encode(),
    )


def _tool_use(identifier: str, **given: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": identifier, "name": "read", "input": given}


_MESSAGES = {
    "calls": _messages(
        [
            {"type": "thinking", "thinking": "Two files.", "signature": "c2ln"},
            {"type": "redacted_thinking", "data": "aGlkZGVu"},
            {"type": "text", "text": "Let me see."},
            _tool_use("toolu_a", path="a"),
            _tool_use("toolu_b", path="b"),
        ],
        (
            *block(
                0,
                {"type": "thinking", "thinking": "", "signature": ""},
                {"type": "thinking_delta", "thinking": "Two files."},
                {"type": "signature_delta", "signature": "c2ln"},
            ),
            *block(1, {"type": "redacted_thinking", "data": "aGlkZGVu"}),
            *block(
                2,
                {"type": "text", "text": ""},
                {"type": "text_delta", "text": "Let me "},
                {"type": "text_delta", "text": "see."},
            ),
            *block(
                3,
                _tool_use("toolu_a"),
                {"type": "input_json_delta", "partial_json": ""},
                {"type": "input_json_delta", "partial_json": '{"path":'},
                {"type": "input_json_delta", "partial_json": '"a"}'},
            ),
            *block(4, _tool_use("toolu_b"), {"type": "input_json_delta", "partial_json": '{"path":"b"}'}),
        ),
        "tool_use",
    ),
    "words": _messages(
        [{"type": "text", "text": f"{_WORDS} \nbar"}],
        block(
            0,
            {"type": "text", "text": ""},
            {"type": "text_delta", "text": _WORDS},
            {"type": "text_delta", "text": " \n"},
            {"type": "text_delta", "text": "bar"},
        ),
        "max_tokens",
    ),
}

_RESPONSE = {
    "id": "resp_1", "object": "response", "created_at": 7, "model": "m", "error": None, "incomplete_details": None
}  # fmt: skip
_RESPONSES_USAGE = {
    "input_tokens": 30,
    "input_tokens_details": {"cached_tokens": 8},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 35,
}
_STARTED = {**_RESPONSE, "status": "in_progress", "output": [], "usage": None}


def _responses(output: list[dict[str, Any]], *events: tuple[str, dict[str, Any]], cut: bool = False) -> Said:
    status = "incomplete" if cut else "completed"
    details = {"reason": "max_output_tokens"} if cut else None
    response = {
        **_RESPONSE, "status": status, "incomplete_details": details, "output": output, "usage": _RESPONSES_USAGE
    }  # fmt: skip
    begun = (("created", {"response": _STARTED}), ("in_progress", {"response": _STARTED}))
    return Said(numbered(*begun, *events, (status, {"response": response})), json.dumps(response).encode())


def _opened(index: int, item: dict[str, Any], **empty: Any) -> tuple[str, dict[str, Any]]:
    return "output_item.added", {"output_index": index, "item": {**item, **empty, "status": "in_progress"}}


def _closed(index: int, item: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return "output_item.done", {"output_index": index, "item": item}


def _message(text: str, status: str = "completed") -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": status, "content": [part]}


def _call(identifier: str, path: str) -> dict[str, Any]:
    call = {"type": "function_call", "id": f"fc_{identifier}", "call_id": f"call_{identifier}", "name": "read"}
    return {**call, "arguments": json.dumps({"path": path}), "status": "completed"}


_THOUGHTS = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "Two files."}],
    "encrypted_content": "gAAA",
}
_RESPONSES = {
    "calls": _responses(
        [_THOUGHTS, _message("Let me see."), _call("a", "a"), _call("b", "b")],
        ("output_item.added", {"output_index": 0, "item": {"type": "reasoning", "id": "rs_1", "summary": []}}),
        (
            "reasoning_summary_text.delta",
            {"item_id": "rs_1", "output_index": 0, "summary_index": 0, "delta": "Two files."},
        ),
        _closed(0, _THOUGHTS),
        _opened(1, _message(""), content=[]),
        ("output_text.delta", {"item_id": "msg_1", "output_index": 1, "content_index": 0, "delta": "Let me "}),
        ("output_text.delta", {"item_id": "msg_1", "output_index": 1, "content_index": 0, "delta": "see."}),
        _closed(1, _message("Let me see.")),
        _opened(2, _call("a", "a"), arguments=""),
        ("function_call_arguments.delta", {"item_id": "fc_a", "output_index": 2, "delta": '{"path": '}),
        ("function_call_arguments.delta", {"item_id": "fc_a", "output_index": 2, "delta": '"a"}'}),
        _closed(2, _call("a", "a")),
        _opened(3, _call("b", "b"), arguments=""),
        _closed(3, _call("b", "b")),
    ),
    "words": _responses(
        [_message(f"{_WORDS} \nbar", "incomplete")],
        _opened(0, _message(""), content=[]),
        ("output_text.delta", {"item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": _WORDS}),
        ("output_text.delta", {"item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": " \nbar"}),
        _closed(0, _message(f"{_WORDS} \nbar", "incomplete")),
        cut=True,
    ),
}

ANSWERS: Mapping[DialectName, Mapping[str, Said]] = {"chat": _CHAT, "messages": _MESSAGES, "responses": _RESPONSES}
