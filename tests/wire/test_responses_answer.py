from __future__ import annotations

import base64
import importlib
import json
from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain429.errors import WireError
from chain429.wire import sse
from chain429.wire.dialect import Problem
from chain429.wire.events import (
    End,
    Error,
    Event,
    Finish,
    Reasoning,
    Seen,
    Signature,
    Text,
    ToolArguments,
    ToolCall,
    Usage,
)
from chain429.wire.prompt import Original, unmarked
from chain429.wire.responses_answer import ResponsesReader, ResponsesWriter
from chain429.wire.responses_reasoning import Thoughts, opened
from chain429.wire.responses_writer import free_text

USAGE = {
    "input_tokens": 20,
    "input_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 2},
    "output_tokens": 9,
    "output_tokens_details": {"reasoning_tokens": 3},
    "total_tokens": 29,
}
BEGUN = {"id": "resp_1", "object": "response", "created_at": 7, "model": "gpt", "status": "in_progress", "output": []}


def event(kind: str, **members: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n".encode()


def added(index: int, **item: Any) -> bytes:
    return event("response.output_item.added", output_index=index, item=item)


def done(index: int, **item: Any) -> bytes:
    return event("response.output_item.done", output_index=index, item=item)


def delta(kind: str, index: int, text: str, **members: Any) -> bytes:
    return event(f"response.{kind}.delta", output_index=index, item_id=f"i{index}", delta=text, **members)


def ended(kind: str = "completed", **response: Any) -> bytes:
    return event(f"response.{kind}", response={**BEGUN, "status": kind, "usage": USAGE, **response})


CREATED = event("response.created", response=BEGUN)
MESSAGE = {"type": "message", "id": "msg_1", "role": "assistant", "content": [{"type": "output_text", "text": "Hello"}]}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "shell", "arguments": '{"x":1}'}
# Literally as OpenAI's API sends it.
HELLO = (
    b'event: response.output_item.added\ndata: {"type":"response.output_item.added","sequence_number":2,'
    b'"output_index":0,"item":{"id":"msg_1","type":"message","status":"in_progress","content":[],"role":"assistant"}}'
    b'\n\nevent: response.content_part.added\ndata: {"type":"response.content_part.added","sequence_number":3,'
    b'"item_id":"msg_1","output_index":0,"content_index":0,"part":{"type":"output_text","annotations":[],"logprobs":[],"text":""'
    b'}}\n\nevent: response.output_text.delta\ndata: {"type":"response.output_text.delta","sequence_number":4,"item_id"'
    b':"msg_1","output_index":0,"content_index":0,"delta":"Hel","logprobs":[],"obfuscation":"hJNLAEDiBnxZs"}\n\n'
    b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","sequence_number":5,"item_id"'
    b':"msg_1","output_index":0,"content_index":0,"delta":"lo","logprobs":[],"obfuscation":"7W6XPNdTk1UdBM"}\n\n'
    b'event: response.output_text.done\ndata: {"type":"response.output_text.done","sequence_number":6,"item_id":'
    b'"msg_1","output_index":0,"content_index":0,"text":"Hello","logprobs":[]}\n\n'
    b'event: response.output_item.done\ndata: {"type":"response.output_item.done","sequence_number":8,'
    b'"output_index":0,"item":{"id":"msg_1","type":"message","status":"completed","content":[{"type":"output_text",'
    b'"annotations":[],"logprobs":[],"text":"Hello"}],"role":"assistant"}}\n\n'
)


def read(stream: bytes) -> list[Event]:
    reader = ResponsesReader()
    parser = sse.EventParser()
    found = [*parser.feed(stream), *parser.close()]
    return [item for one in found if one.data is not None for item in reader.read(one.data, one.name)]


def streamed(events: Iterable[Event], writer: ResponsesWriter) -> bytes:
    return b"".join([writer.add(item) for item in events]) + writer.close()


def messages(stream: bytes) -> list[dict[str, Any]]:
    """The events that a client gets, as parsed; their names and numbers are checked."""
    found = []
    for number, one in enumerate(sse.EventParser().feed(stream)):
        assert one.data is not None
        message = json.loads(one.data)
        assert one.name == message["type"]
        assert message["sequence_number"] == number
        found.append(message)
    return found


def write(events: Iterable[Event], writer: ResponsesWriter | None = None) -> list[dict[str, Any]]:
    return messages(streamed(events, writer or ResponsesWriter("r", "default", 0)))


def kinds(written: Sequence[dict[str, Any]]) -> list[str]:
    return [message["type"].removeprefix("response.") for message in written]


def output(events: Iterable[Event], **fields: Any) -> list[dict[str, Any]]:
    writer = ResponsesWriter("r", "default", 0, **fields)
    for item in events:
        writer.add(item)
    items: list[dict[str, Any]] = json.loads(writer.whole())["output"]
    return items


# Reading.


def test_a_streamed_answer_is_read() -> None:
    stream = (
        CREATED
        + event("response.in_progress", response=BEGUN)
        + added(0, type="reasoning", id="rs_1", summary=[])
        + event("response.reasoning_summary_part.added", output_index=0, summary_index=0)
        + delta("reasoning_summary_text", 0, "Hm", summary_index=0)
        + delta("reasoning_summary_text", 0, "Now", summary_index=1)
        + done(0, type="reasoning", id="rs_1", summary=[{"text": "Hm"}, {"text": "Now"}], encrypted_content="gAAA")
        + HELLO.replace(b'"output_index":0', b'"output_index":1')
        + added(2, type="web_search_call", id="ws_1", status="in_progress")
        + added(3, **{**CALL, "arguments": ""})
        + delta("function_call_arguments", 3, '{"x"')
        + delta("function_call_arguments", 3, ":1}")
        + event("response.function_call_arguments.done", output_index=3, arguments='{"x":1}')
        + done(3, **CALL)
        + ended(output=[MESSAGE, CALL])
    )
    assert read(stream) == [
        Reasoning("Hm"),
        Reasoning("\n\nNow"),
        Signature("gAAA"),
        Text("Hel"),
        Text("lo"),
        ToolCall(0, "call_1", "shell"),
        ToolArguments(0, '{"x"'),
        ToolArguments(0, ":1}"),
        Finish("tool_calls"),
        Usage(20, 9, 5, 3, 2),
        End(),
    ]


def test_a_whole_answer_is_read_as_a_stream_would_be() -> None:
    thoughts = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm"}]}
    free = {"type": "custom_tool_call", "call_id": "call_2", "name": "apply_patch", "input": 'a "b"\n'}
    body = {**BEGUN, "status": "completed", "output": [thoughts, MESSAGE, CALL, free], "usage": USAGE, "error": None}
    assert ResponsesReader().whole(json.dumps(body).encode()) == [
        Reasoning("Hm"),
        Text("Hello"),
        ToolCall(0, "call_1", "shell"),
        ToolArguments(0, '{"x":1}'),
        ToolCall(1, "call_2", "apply_patch"),
        ToolArguments(1, '{"input":"'),
        ToolArguments(1, 'a \\"b\\"\\n'),
        ToolArguments(1, '"}'),
        Finish("tool_calls"),
        Usage(20, 9, 5, 3, 2),
        End(),
    ]


def test_free_text_is_told_as_the_json_that_it_was_asked_for_in() -> None:
    free = {"type": "custom_tool_call", "call_id": "call_2", "name": "apply_patch", "input": ""}
    stream = (
        added(0, **free)
        + delta("custom_tool_call_input", 0, "*** Begin\n")
        + delta("custom_tool_call_input", 0, '"x" \U0001f600')
        + done(0, **{**free, "input": '*** Begin\n"x" \U0001f600'})
    )
    events = read(stream)
    text = "".join([one.text for one in events if isinstance(one, ToolArguments)])
    assert json.loads(text) == {"input": '*** Begin\n"x" \U0001f600'}
    # It is whole even where nobody says that the item is.
    assert read(stream[: stream.index(b"event: response.output_item.done")] + ended())[-4:-2] == [
        ToolArguments(0, '"}'),
        Finish("tool_calls"),
    ]


def test_the_least_that_codex_understands_is_read() -> None:
    assert read(CREATED + done(0, **MESSAGE) + done(1, **CALL) + ended(usage=None)) == [
        Text("Hello"),
        ToolCall(0, "call_1", "shell"),
        ToolArguments(0, '{"x":1}'),
        Finish("tool_calls"),
        End(),
    ]
    assert read(CREATED + ended(output=[MESSAGE], usage=None)) == [Text("Hello"), Finish("stop"), End()]


def test_edge_05_arguments_that_come_at_once_are_kept_wherever_they_stand() -> None:
    call = [ToolCall(0, "call_1", "shell"), ToolArguments(0, '{"x":1}')]
    assert read(added(0, **CALL) + done(0, **{**CALL, "arguments": ""}))[:2] == call
    assert read(added(0, **{**CALL, "arguments": ""}) + done(0, **CALL)) == call
    assert read(added(0, **CALL) + delta("function_call_arguments", 0, '{"x":1}') + done(0, **CALL)) == call
    assert read(added(0, **CALL) + ended())[:2] == call


def test_edge_08_an_item_that_is_closed_twice_is_one() -> None:
    assert read(done(0, **CALL) + done(0, **CALL)) == [ToolCall(0, "call_1", "shell"), ToolArguments(0, '{"x":1}')]


def test_items_in_the_same_place_are_told_apart() -> None:
    other = {**CALL, "call_id": "call_2", "arguments": "{}"}
    calls = [ToolCall(0, "call_1", "shell"), ToolArguments(0, '{"x":1}'), ToolCall(1, "call_2", "shell")]
    assert read(added(0, **CALL) + added(0, **other) + done(0, **other))[:3] == calls
    assert read(done(0, **CALL) + done(0, **other))[:3] == calls


@pytest.mark.parametrize(
    ("kind", "response", "reason"),
    [
        ("completed", {}, "stop"),
        ("incomplete", {"incomplete_details": {"reason": "max_output_tokens"}}, "length"),
        ("incomplete", {"incomplete_details": {"reason": "content_filter"}}, "content_filter"),
        ("incomplete", {"incomplete_details": None}, "length"),
        ("completed", {"status": "incomplete"}, "length"),
    ],
)
def test_reasons_are_told_in_neutral_words(kind: str, response: dict[str, Any], reason: str) -> None:
    assert read(CREATED + HELLO + ended(kind, **response))[2] == Finish(reason)


@pytest.mark.parametrize(
    ("stream", "error"),
    [
        (
            event("response.failed", response={"error": {"code": "rate_limit_exceeded", "message": "Slow down"}}),
            {"code": "rate_limit_exceeded", "message": "Slow down"},
        ),
        (
            event("error", code="server_error", message="Oh", param=None, sequence_number=3),
            {"code": "server_error", "message": "Oh"},
        ),
        (event("error", error={"message": "Oh"}), {"message": "Oh"}),
        (b'data: {"error":{"message":"Oh"}}\n\n', {"message": "Oh"}),
        (b'data: {"detail":"Oh"}\n\n', {"detail": "Oh"}),
        (
            event("response.failed", response={"error": None}),
            {"message": "the provider ended the answer without saying why"},
        ),
    ],
)
def test_an_error_inside_an_answer_is_told(stream: bytes, error: Any) -> None:
    assert read(CREATED + stream) == [Error(error)]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"error":{"message":"Oh"}}', {"message": "Oh"}),
        (b'{"object":"response","status":"failed","error":{"message":"Oh"},"output":[]}', {"message": "Oh"}),
        (b'{"object":"response","status":"queued","error":null,"output":[]}', {"message": "the answer is queued"}),
        (b'{"detail":"no"}', {"detail": "no"}),
    ],
)
def test_what_is_no_answer_is_an_error(body: bytes, error: Any) -> None:
    assert ResponsesReader().whole(body) == [Error(error)]


@pytest.mark.parametrize("data", [b"", b"<html>", b"[1]"])
def test_what_is_no_object_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        ResponsesReader().read(data)
    with pytest.raises(WireError):
        ResponsesReader().whole(data)


def test_edge_09_another_dialect_s_mark_does_not_end_an_answer() -> None:
    assert read(CREATED + HELLO + b"data: [DONE]\n\n") == [Text("Hel"), Text("lo")]


def test_thoughts_that_are_told_in_two_ways_are_told_once() -> None:
    stream = delta("reasoning_text", 0, "Long", content_index=0) + delta("reasoning_summary_text", 0, "Short")
    assert read(stream + delta("reasoning_text", 0, " words", content_index=0)) == [
        Reasoning("Long"),
        Reasoning(" words"),
    ]


# Writing.


def test_an_answer_is_written_item_by_item() -> None:
    events: list[Event] = [
        Reasoning("Hm"),
        Reasoning("m"),
        Text("Hel"),
        Text("lo"),
        ToolCall(0, "call_1", "shell"),
        ToolArguments(0, '{"command":'),
        ToolArguments(0, '"ls"}'),
        Finish("tool_calls"),
        Usage(20, 9, 5, 3, 2),
        End(),
    ]
    writer = ResponsesWriter("q1", "default", 1700000000, origin="groq", settings={"temperature": 0.5, "tools": [{}]})
    written = write(events, writer)
    base = {
        "id": "resp_q1",
        "object": "response",
        "created_at": 1700000000,
        "model": "default",
        "instructions": None,
        "previous_response_id": None,
        "store": False,
        "tools": [],
        "max_output_tokens": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "reasoning": None,
        "temperature": 0.5,
        "text": None,
        "tool_choice": "auto",
        "top_p": None,
        "truncation": "disabled",
    }
    begun = {**base, "status": "in_progress", "error": None, "incomplete_details": None, "output": [], "usage": None}
    hidden = "c429.groq.t." + base64.b64encode(b"Hmm").decode() + "."
    thoughts = {
        "type": "reasoning",
        "id": "rs_q1_0",
        "summary": [{"type": "summary_text", "text": "Hmm"}],
        "encrypted_content": hidden,
    }
    part = {"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}
    message = {"type": "message", "id": "msg_q1_1", "status": "completed", "role": "assistant", "content": [part]}
    call = {"type": "function_call", "id": "fc_q1_2", "status": "completed", "call_id": "call_1", "name": "shell"}
    arguments = '{"command":"ls"}'
    of_thoughts = {"item_id": "rs_q1_0", "output_index": 0, "summary_index": 0}
    of_message = {"item_id": "msg_q1_1", "output_index": 1, "content_index": 0}
    of_call = {"item_id": "fc_q1_2", "output_index": 2}
    expected: list[tuple[str, dict[str, Any]]] = [
        ("created", {"response": begun}),
        ("in_progress", {"response": begun}),
        ("output_item.added", {"output_index": 0, "item": {"type": "reasoning", "id": "rs_q1_0", "summary": []}}),
        ("reasoning_summary_part.added", {**of_thoughts, "part": {"type": "summary_text", "text": ""}}),
        ("reasoning_summary_text.delta", {**of_thoughts, "delta": "Hm"}),
        ("reasoning_summary_text.delta", {**of_thoughts, "delta": "m"}),
        ("reasoning_summary_text.done", {**of_thoughts, "text": "Hmm"}),
        ("reasoning_summary_part.done", {**of_thoughts, "part": {"type": "summary_text", "text": "Hmm"}}),
        ("output_item.done", {"output_index": 0, "item": thoughts}),
        ("output_item.added", {"output_index": 1, "item": {**message, "status": "in_progress", "content": []}}),
        ("content_part.added", {**of_message, "part": {**part, "text": ""}}),
        ("output_text.delta", {**of_message, "logprobs": [], "delta": "Hel"}),
        ("output_text.delta", {**of_message, "logprobs": [], "delta": "lo"}),
        ("output_text.done", {**of_message, "text": "Hello", "logprobs": []}),
        ("content_part.done", {**of_message, "part": part}),
        ("output_item.done", {"output_index": 1, "item": message}),
        ("output_item.added", {"output_index": 2, "item": {**call, "status": "in_progress", "arguments": ""}}),
        ("function_call_arguments.delta", {**of_call, "delta": '{"command":'}),
        ("function_call_arguments.delta", {**of_call, "delta": '"ls"}'}),
        ("function_call_arguments.done", {**of_call, "arguments": arguments}),
        ("output_item.done", {"output_index": 2, "item": {**call, "arguments": arguments}}),
        (
            "completed",
            {
                "response": {
                    **begun,
                    "status": "completed",
                    "output": [thoughts, message, {**call, "arguments": arguments}],
                    "usage": USAGE,
                }
            },
        ),
    ]
    assert written == [
        {"type": f"response.{kind}", "sequence_number": number, **members}
        for number, (kind, members) in enumerate(expected)
    ]
    assert json.loads(writer.whole()) == written[-1]["response"]


def test_edge_07_a_tool_gets_the_client_s_name_and_namespace_back() -> None:
    originals = {
        "multi_agent_v1__close_agent": Original("close_agent", "multi_agent_v1"),
        "apply_patch": Original("apply_patch", free=True),
    }
    written = write(
        [
            ToolCall(0, "a", "multi_agent_v1__close_agent"),
            ToolCall(1, "b", "apply_patch"),
            ToolArguments(0, "{}"),
            ToolArguments(1, '{"inp'),
            ToolArguments(1, 'ut":"*** Begin\\n+\\u00e4"}'),
            Finish("tool_calls"),
        ],
        ResponsesWriter("r", "m", 0, originals),
    )
    items = [message["item"] for message in written if message["type"] == "response.output_item.done"]
    common = {"status": "completed"}
    assert items == [
        {
            "type": "function_call",
            "id": "fc_r_0",
            **common,
            "call_id": "a",
            "name": "close_agent",
            "namespace": "multi_agent_v1",
            "arguments": "{}",
        },
        {
            "type": "custom_tool_call",
            "id": "ctc_r_1",
            **common,
            "call_id": "b",
            "name": "apply_patch",
            "input": "*** Begin\n+\xe4",
        },
    ]
    told = [message for message in written if "custom_tool_call_input" in message["type"]]
    assert [message.get("delta", message.get("input")) for message in told] == ["*** Begin\n+\xe4"] * 2


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ('{"input":"a"}', "a"),
        ('{"patch":"a"}', "a"),
        ('{"input":"a","why":"b"}', "a"),
        ('"a"', "a"),
        ("*** Begin", "*** Begin"),
        ('{"a":1,"b":2}', '{"a":1,"b":2}'),
        ("", ""),
        ("{}", ""),
    ],
)
def test_free_text_is_found_however_a_model_wraps_it(arguments: str, text: str) -> None:
    assert free_text(arguments) == text


def test_edge_09_nothing_is_closed_that_a_broken_answer_may_have_cut() -> None:
    writer = ResponsesWriter("r", "m", 0)
    stream = b"".join(
        [
            writer.add(one)
            for one in (
                Text("Hi"),
                ToolCall(0, "a", "f"),
                ToolArguments(0, "{}"),
                ToolCall(1, "b", "f"),
                Finish("stop"),
            )
        ]
    )
    closed = [message["item"]["type"] for message in messages(stream) if message["type"].endswith("item.done")]
    assert closed == ["message"]
    last = messages(stream + writer.fail(Problem(502, "It broke off.", "server_error", "stream_broken")))[-1]
    assert last["type"] == "response.failed"
    assert last["response"]["status"] == "failed"
    assert last["response"]["error"] == {"code": "server_error", "message": "It broke off."}
    assert [item["type"] for item in last["response"]["output"]] == ["message"]
    assert writer.close() == writer.add(Text("more")) == writer.fail(Problem(502, "again")) == b""


@pytest.mark.parametrize(
    ("problem", "code", "message"),
    [
        (Problem(429, "All are busy."), "rate_limit_exceeded", "Please try again in 1s. All are busy."),
        (
            Problem(429, "All are busy.", details={"retry_after": 7.2}),
            "rate_limit_exceeded",
            "Please try again in 8s. All are busy.",
        ),
        (
            Problem(503, "groq: Please try again in 3600s.", code="rate_limit_exceeded"),
            "rate_limit_exceeded",
            "Please try again in 1s. groq: Please try again later.",
        ),
        (Problem(400, "Too long", code="context_length_exceeded"), "context_length_exceeded", "Too long"),
        (Problem(429, "Paid up", code="insufficient_quota"), "insufficient_quota", "Paid up"),
        (Problem(502, "Oh", code="stream_broken"), "server_error", "Oh"),
    ],
)
def test_edge_06_a_limit_is_worded_so_that_codex_waits_and_asks_again(
    problem: Problem, code: str, message: str
) -> None:
    error = messages(ResponsesWriter("r", "m", 0).fail(problem))[-1]["response"]["error"]
    assert (error["code"], error["message"]) == (code, message)


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([Text("a"), Finish("stop")], None),
        ([Text("a"), Finish("length")], "max_output_tokens"),
        ([Text("a"), Finish("content_filter")], "content_filter"),
        ([Text("a"), End()], None),
        ([ToolCall(0, "a", "f"), Finish("stop")], None),
        ([ToolCall(0, "a", "f"), End()], None),
        ([ToolCall(0, "a", "f"), ToolArguments(0, '{"x":'), End()], "max_output_tokens"),
        ([ToolCall(0, "a", "f"), ToolArguments(0, '{"x":'), Finish("length")], "max_output_tokens"),
    ],
)
def test_an_answer_that_was_cut_says_so(events: list[Event], reason: str | None) -> None:
    last = write(events)[-1]
    assert last["type"] == f"response.{'incomplete' if reason else 'completed'}"
    assert last["response"]["incomplete_details"] == ({"reason": reason} if reason else None)
    assert last["response"]["output"][-1]["status"] == ("incomplete" if reason else "completed")


def test_edge_09_half_a_call_is_not_closed_but_whole_ones_are() -> None:
    calls: list[Event] = [ToolCall(0, "a", "f"), ToolArguments(0, '{"x":1}'), ToolCall(1, "b", "f")]
    written = write([*calls, ToolArguments(1, '{"comm'), Finish("length")])
    closed = [message["item"]["call_id"] for message in written if message["type"] == "response.output_item.done"]
    assert closed == ["a"]
    assert written[-1]["response"]["output"][1]["arguments"] == '{"comm'


def test_edge_12_thoughts_are_hidden_so_that_they_can_be_sent_back() -> None:
    items = output(
        [Reasoning("a"), Signature("s.1"), Reasoning("b"), Signature("x", redacted=True), Text("c")], origin="claude"
    )
    assert [item["type"] for item in items] == ["reasoning", "reasoning", "reasoning", "message"]
    assert [opened(item["encrypted_content"]) for item in items[:-1]] == [
        Thoughts("claude", "a", "s.1"),
        Thoughts("claude", "b", ""),
        Thoughts("claude", "", "x", True),
    ]
    assert "encrypted_content" not in output([Reasoning("a")])[0]
    assert output([Reasoning("a"), Signature("s")])[0]["encrypted_content"] == "s"


@given(st.text(), st.text(), st.booleans())
def test_what_is_hidden_is_found_again(text: str, signature: str, redacted: bool) -> None:
    events: list[Event] = [Signature(signature, redacted)]
    (item,) = output(events if redacted or not text else [Reasoning(text), *events], origin="p")
    wanted = Thoughts("p", "" if redacted else text, signature, redacted)
    assert opened(item["encrypted_content"]) == wanted


def test_what_others_hide_stays_as_it_is() -> None:
    assert opened("gAAAAABo") == Thoughts("", None, "gAAAAABo")
    assert opened("c429.openai.gAAAAABo") == Thoughts("openai", None, "gAAAAABo")
    assert opened("c429.p.t.%%%.s") == Thoughts("p", None, "t.%%%.s")
    assert opened("c429.p.t.YQ.s") == Thoughts("p", None, "t.YQ.s")


def test_white_space_alone_is_no_message() -> None:
    assert [item["type"] for item in output([Text("\n\n"), ToolCall(0, "a", "f"), Finish("tool_calls")])] == [
        "function_call"
    ]
    assert output([Text("\n"), Text("\n"), Text("Hi"), Finish("stop")])[0]["content"][0]["text"] == "\n\nHi"


def test_calls_whose_pieces_come_in_turns_are_kept_apart() -> None:
    events: list[Event] = [
        ToolCall(0, "a", "f"),
        ToolCall(1, "b", "g"),
        ToolArguments(0, '{"x":'),
        ToolArguments(1, '{"y":'),
        ToolArguments(0, "1}"),
        Text("Both."),
        ToolArguments(1, "2}"),
        Finish("tool_calls"),
    ]
    items = output(events)
    assert [item.get("arguments") for item in items] == ['{"x":1}', '{"y":2}', None]
    closed = [message["output_index"] for message in write(events) if message["type"] == "response.output_item.done"]
    assert closed == [0, 1, 2]


def test_no_arguments_are_an_empty_object() -> None:
    written = write([ToolCall(0, "a", "f"), Finish("tool_calls")])
    assert kinds(written)[2:-1] == [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
    ]
    assert written[-1]["response"]["output"][0]["arguments"] == "{}"


def test_edge_14_every_call_has_an_id_of_its_own_that_fits() -> None:
    events: list[Event] = [
        ToolCall(0, "", "f"),
        ToolCall(1, "a/b", "f"),
        ToolCall(2, "same", "f"),
        ToolCall(3, "same", "f"),
        ToolCall(4, "x" * 90, "f"),
    ]
    writer = ResponsesWriter("q" * 100, "m", 0)
    items = write([*events, Finish("tool_calls")], writer)[-1]["response"]["output"]
    ids = [item["call_id"] for item in items]
    assert len(set(ids)) == 5
    assert ids[2] == "same"
    assert all(len(one) <= 64 and one.replace("_", "").isalnum() for one in [*ids, *[item["id"] for item in items]])


def test_edge_16_the_end_waits_for_the_count_of_tokens() -> None:
    writer = ResponsesWriter("r", "m", 0)
    writer.add(Text("Hi"))
    assert writer.add(Finish("stop")) == writer.add(Usage(3, 4)) == b""
    assert b'"total_tokens":7' in writer.add(End())
    assert writer.add(End()) == writer.close() == b""


def test_edge_16_tokens_that_nobody_counted_are_estimated() -> None:
    writer = ResponsesWriter("r", "m", 0, estimate=12)
    usage = write([Text("word" * 10), Finish("stop")], writer)[-1]["response"]["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (12, 10, 22)
    assert write([Text("word"), Finish("stop")])[-1]["response"]["usage"] is None


def test_edge_08_what_comes_after_the_end_is_not_passed_on() -> None:
    events: list[Event] = [Text("a"), Finish("stop"), End(), Text("b"), Usage(1, 1), Finish("stop"), End()]
    assert kinds(write(events))[-2:] == ["output_item.done", "completed"]


def test_an_answer_that_says_nothing_is_still_one() -> None:
    assert kinds(write([Finish("stop")])) == ["created", "in_progress", "completed"]


# The laws: whatever comes in, what goes out is well formed, and it is the same streamed or not.

words = st.text(min_size=1, max_size=6)
some_events = st.lists(
    st.builds(Text, words)
    | st.builds(Reasoning, words)
    | st.builds(Signature, words, st.booleans())
    | st.builds(ToolCall, st.integers(0, 3), st.sampled_from(["", "a", "b", "a b"]), st.sampled_from(["f", "free"]))
    | st.builds(ToolArguments, st.integers(0, 3), st.sampled_from(['{"x":', '"1"}', "{}", " ", "null", "}"]))
    | st.builds(Usage, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
    | st.builds(Finish, st.sampled_from(["stop", "length", "tool_calls", "content_filter"]))
    | st.builds(Error, st.just({"message": "x"}))
    | st.builds(End),
    max_size=14,
)
ORIGINALS = {"free": Original("patch", free=True)}


def answered() -> ResponsesWriter:
    return ResponsesWriter("r", "m", 0, ORIGINALS, "x")


def accumulated(stream: bytes) -> Any:
    """The answer as OpenAI's own SDK puts it together from a stream."""
    openai = pytest.importorskip("openai")
    # It is one of two, by the SDK's version.
    library = next(name for kind in openai.DefaultHttpxClient.__mro__ if (name := kind.__module__).startswith("httpx"))
    http = importlib.import_module(library.partition(".")[0])
    headers = {"content-type": "text/event-stream"}
    transport = http.MockTransport(lambda request: http.Response(200, headers=headers, content=stream))
    with (
        openai.OpenAI(
            api_key="k", base_url="http://127.0.0.1", http_client=http.Client(transport=transport), max_retries=0
        ) as client,
        client.responses.stream(model="m", input="Hi") as answer,
    ):
        return answer.get_final_response()


def put_together(written: Sequence[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """The items as a client knows them that listens to pieces; checks that each is opened and closed at its time."""
    items: dict[int, dict[str, Any]] = {}
    texts: dict[int, str] = {}
    closed: set[int] = set()
    for message in written:
        kind, index = message["type"].removeprefix("response."), message.get("output_index")
        if index is None:
            continue
        if kind == "output_item.added":
            assert index == len(items)
            items[index], texts[index] = message["item"], ""
            continue
        item = items[index]
        assert index not in closed
        if kind == "output_item.done":
            assert message["item"]["id"] == item["id"]
            closed.add(index)
            items[index] = message["item"]
            continue
        assert message["item_id"] == item["id"]
        if kind.endswith(".delta"):
            texts[index] += message["delta"]
        elif kind.endswith(".done") and not kind.endswith("part.done"):
            assert texts[index] == message.get("text", message.get("arguments", message.get("input")))
    assert all(item.get("status", "completed") == "in_progress" for index, item in items.items() if index not in closed)
    return items


@given(some_events)
def test_what_is_written_is_well_formed_and_the_same_streamed_or_not(events: list[Event]) -> None:
    written = write(events, answered())
    assert kinds(written)[:2] == ["created", "in_progress"]
    assert [kind for kind in kinds(written) if kind in ("completed", "incomplete", "failed")] == [kinds(written)[-1]]
    whole = answered()
    for item in events:
        whole.add(item)
    response = json.loads(whole.whole())
    assert response == written[-1]["response"]
    items = put_together(written)
    assert len(response["output"]) == len(items)
    for index, item in enumerate(response["output"]):
        assert items[index]["id"] == item["id"]
        if items[index].get("status") != "in_progress":
            assert items[index] == item


@given(some_events)
def test_a_broken_answer_ends_once_and_runs_no_call(events: list[Event]) -> None:
    events = list(takewhile(lambda item: not isinstance(item, End), events))
    writer = answered()
    written = messages(b"".join([writer.add(item) for item in events]) + writer.fail(Problem(502, "x")))
    assert kinds(written)[-1] == "failed"
    assert not {"completed", "incomplete"} & set(kinds(written))
    closed = {message["item"]["type"] for message in written if message["type"] == "response.output_item.done"}
    assert closed <= {"message", "reasoning"}


@given(some_events)
def test_reading_what_was_written_gives_the_same_answer(events: list[Event]) -> None:
    """Folded, that is: where pieces were cut does not matter."""
    events = list(takewhile(lambda item: not isinstance(item, Finish), events))
    events = [item for item in events if not (isinstance(item, Signature) and item.redacted)]
    writer, again = ResponsesWriter("r", "m", 0, ORIGINALS), ResponsesWriter("r", "m", 0, {"patch": ORIGINALS["free"]})
    seen = Seen()
    for item in read(streamed(events, writer)):
        again.add(item)
        seen.add(item)
    assert seen.complete
    first, second = json.loads(writer.whole()), json.loads(again.whole())
    if first["status"] == "completed":
        assert first["output"] == second["output"]
    assert first["status"] == second["status"]
    assert first["usage"] == second["usage"]


@given(some_events, st.data())
def test_a_stream_may_be_cut_anywhere(events: list[Event], data: st.DataObject) -> None:
    stream = streamed(events, answered())
    at = data.draw(st.integers(0, len(stream)))
    parser, reader = sse.EventParser(), ResponsesReader()
    found = [*parser.feed(stream[:at]), *parser.feed(stream[at:]), *parser.close()]
    assert [item for one in found for item in reader.read(one.data or b"")] == read(stream)


def test_openai_s_sdk_reads_what_is_written() -> None:
    events: list[Event] = [
        Reasoning("Hm"),
        Signature("sig"),
        Text("H\xe4llo \U0001f600"),
        ToolCall(0, "a", "f"),
        ToolCall(1, "b", "free"),
        ToolArguments(0, '{"x":'),
        ToolArguments(1, '{"input":"text"}'),
        ToolArguments(0, "[1]}"),
        ToolCall(2, "c", "g"),
        Finish("tool_calls"),
        Usage(20, 9, 5, 3),
    ]
    writer = answered()
    response = accumulated(streamed(events, writer))
    assert response.output_text == "H\xe4llo \U0001f600"
    assert unmarked(response.output[0].encrypted_content)[0] == "x"
    assert [item.type for item in response.output] == [
        "reasoning",
        "message",
        "function_call",
        "custom_tool_call",
        "function_call",
    ]
    assert (response.output[2].arguments, response.output[3].input) == ('{"x":[1]}', "text")
    assert (response.usage.input_tokens, response.usage.input_tokens_details.cached_tokens) == (20, 5)
    kind = importlib.import_module("openai.types.responses").Response
    assert kind.model_validate_json(writer.whole(), strict=False).status == "completed"
