from __future__ import annotations

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
from chain429.wire.messages_answer import MessagesReader, MessagesWriter
from chain429.wire.prompt import Original, unmarked


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def start(index: int, **block: Any) -> bytes:
    return event("content_block_start", index=index, content_block=block)


def delta(index: int, kind: str, **fields: Any) -> bytes:
    return event("content_block_delta", index=index, delta={"type": kind, **fields})


def stop(index: int) -> bytes:
    return event("content_block_stop", index=index)


BEGIN = event(
    "message_start",
    message={
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            "input_tokens": 10,
            "output_tokens": 1,
            "cache_read_input_tokens": 5,
            "cache_creation_input_tokens": 2,
        },
    },
)
# Literally as Anthropic's API sends it, padding included.
HELLO = (
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":'
    b'{"type":"text","text":""}     }\n\n'
    b'event: ping\ndata: {"type": "ping"}\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":'
    b'{"type":"text_delta","text":"Hel"}             }\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":'
    b'{"type":"text_delta","text":"lo"}  }\n\n'
    b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0              }\n\n'
)
STOP = event("message_stop")


def ended(reason: str | None, sequence: str | None = None, **usage: Any) -> bytes:
    return event("message_delta", delta={"stop_reason": reason, "stop_sequence": sequence}, usage=usage)


def read(stream: bytes) -> list[Event]:
    reader = MessagesReader()
    parser = sse.EventParser()
    found = [*parser.feed(stream), *parser.close()]
    return [item for one in found if one.data is not None for item in reader.read(one.data, one.name)]


def write(events: Iterable[Event], writer: MessagesWriter | None = None) -> list[dict[str, Any]]:
    """The events that a client gets, as parsed; their names are checked."""
    writer = writer or MessagesWriter("msg_1", "default", 0)
    stream = b"".join([writer.add(item) for item in events]) + writer.close()
    found = []
    for one in sse.EventParser().feed(stream):
        assert one.data is not None
        message = json.loads(one.data)
        assert one.name == message["type"]
        found.append(message)
    return found


def kinds(messages: Sequence[dict[str, Any]]) -> list[str]:
    return [
        f"{message['type']} {message['index']}" if "index" in message else str(message["type"]) for message in messages
    ]


# Reading.


def test_a_streamed_answer_is_read() -> None:
    stream = (
        BEGIN
        + start(0, type="thinking", thinking="", signature="")
        + delta(0, "thinking_delta", thinking="Hm")
        + delta(0, "signature_delta", signature="EqQB")
        + stop(0)
        + HELLO.replace(b'"index":0', b'"index":1')
        + start(2, type="tool_use", id="toolu_1", name="Bash", input={})
        + delta(2, "input_json_delta", partial_json="")
        + delta(2, "input_json_delta", partial_json='{"command":')
        + delta(2, "input_json_delta", partial_json='"ls"}')
        + stop(2)
        + ended("tool_use", output_tokens=9, output_tokens_details={"thinking_tokens": 3})
        + STOP
    )
    assert read(stream) == [
        Usage(17, 1, 5, 0, 2),
        Reasoning("Hm"),
        Signature("EqQB"),
        Text("Hel"),
        Text("lo"),
        ToolCall(0, "toolu_1", "Bash"),
        ToolArguments(0, '{"command":'),
        ToolArguments(0, '"ls"}'),
        Finish("tool_calls"),
        Usage(17, 9, 5, 3, 2),
        End(),
    ]


def test_a_whole_answer_is_read_as_a_stream_would_be() -> None:
    body = {
        "type": "message",
        "content": [
            {"type": "thinking", "thinking": "Hm", "signature": "EqQB"},
            {"type": "redacted_thinking", "data": "ErUB"},
            {"type": "text", "text": "Hello"},
            {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
            {"type": "tool_use", "id": "a", "name": "f", "input": {}},
            {"type": "tool_use", "id": "b", "name": "g", "input": {"x": 1}},
        ],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 3, "output_tokens": 4},
    }
    assert MessagesReader().whole(json.dumps(body).encode()) == [
        Reasoning("Hm"),
        Signature("EqQB"),
        Signature("ErUB", redacted=True),
        Text("Hello"),
        ToolCall(0, "a", "f"),
        ToolArguments(0, "{}"),
        ToolCall(1, "b", "g"),
        ToolArguments(1, '{"x":1}'),
        Finish("tool_calls"),
        Usage(3, 4),
        End(),
    ]


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", Finish("stop")),
        ("max_tokens", Finish("length")),
        ("model_context_window_exceeded", Finish("length")),
        ("refusal", Finish("content_filter")),
        ("pause_turn", Finish("stop")),
        ("something_new", Finish("stop")),
    ],
)
def test_reasons_are_told_in_neutral_words(reason: str, finish: Finish) -> None:
    assert read(BEGIN + HELLO + ended(reason, output_tokens=2))[3] == finish


def test_a_stop_sequence_is_told() -> None:
    assert Finish("stop", "END") in read(BEGIN + HELLO + ended("stop_sequence", "END", output_tokens=2))


def test_edge_05_arguments_that_come_with_the_call_s_beginning_are_kept() -> None:
    stream = BEGIN + start(0, type="tool_use", id="a", name="f", input={"x": 1}) + stop(0)
    assert read(stream)[1:] == [ToolCall(0, "a", "f"), ToolArguments(0, '{"x":1}')]
    # Some send them in both places.
    again = BEGIN + start(0, type="tool_use", id="a", name="f", input={"x": 1})
    again += delta(0, "input_json_delta", partial_json='{"x": 1}') + stop(0)
    assert read(again)[1:] == [ToolCall(0, "a", "f"), ToolArguments(0, '{"x": 1}')]
    assert read(BEGIN + start(0, type="text", text="Hi"))[1:] == [Text("Hi")]


def test_a_block_that_is_never_closed_gives_what_it_holds() -> None:
    stream = BEGIN + start(0, type="tool_use", id="a", name="f", input={"x": 1}) + ended("tool_use") + STOP
    assert read(stream)[1:4] == [ToolCall(0, "a", "f"), ToolArguments(0, '{"x":1}'), Finish("tool_calls")]


def test_edge_23_two_calls_of_the_same_index_are_two_calls() -> None:
    stream = BEGIN
    for name in ("f", "g"):
        stream += start(0, type="tool_use", id=name, name=name, input={})
        stream += delta(0, "input_json_delta", partial_json=json.dumps({"n": name})) + stop(0)
    assert read(stream)[1:] == [
        ToolCall(0, "f", "f"),
        ToolArguments(0, '{"n": "f"}'),
        ToolCall(1, "g", "g"),
        ToolArguments(1, '{"n": "g"}'),
    ]


def test_edge_16_counts_that_are_missing_or_zero_do_not_undo_others() -> None:
    assert read(BEGIN + ended("end_turn", input_tokens=0, output_tokens=7))[-1] == Usage(17, 7, 5, 0, 2)
    late = event("message_start", message={"usage": {"input_tokens": 0, "output_tokens": 0}})
    assert read(late) == []
    assert read(late + ended("end_turn", input_tokens=4, output_tokens=7))[-1] == Usage(4, 7)
    assert read(event("message_start", message={"usage": None}) + event("message_delta", delta={}, usage=None)) == []


@pytest.mark.parametrize(
    "data",
    [
        b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}',
        b'{"error":{"type":"overloaded_error","message":"Overloaded"}}',
    ],
)
def test_an_error_inside_an_answer_is_told(data: bytes) -> None:
    error = Error({"type": "overloaded_error", "message": "Overloaded"})
    assert MessagesReader().read(data) == [error]
    assert MessagesReader().whole(data) == [error]


def test_what_is_no_answer_is_an_error() -> None:
    assert MessagesReader().whole(b'{"detail":"no"}') == [Error({"detail": "no"})]
    assert MessagesReader().read(b'{"detail":"no"}') == [Error({"detail": "no"})]
    for data in (b"", b"<html>", b"[1]"):
        with pytest.raises(WireError):
            MessagesReader().read(data)
        with pytest.raises(WireError):
            MessagesReader().whole(data)


# Writing.


def test_an_answer_is_written_block_by_block() -> None:
    events: list[Event] = [
        Reasoning("Hm"),
        Reasoning("m"),
        Text("Hel"),
        Text("lo"),
        ToolCall(0, "call_1", "Bash"),
        ToolArguments(0, '{"command":"ls"}'),
        Finish("tool_calls"),
        Usage(20, 9, 5, 3, 2),
        End(),
    ]
    written = write(events, MessagesWriter("r1", "default", 0, origin="groq", estimate=18))
    assert written == [
        {
            "type": "message_start",
            "message": {
                "id": "msg_r1",
                "type": "message",
                "role": "assistant",
                "model": "default",
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": {
                    "input_tokens": 18,
                    "cache_creation_input_tokens": 0,
                    "cache_read_input_tokens": 0,
                    "output_tokens": 0,
                },
            },
        },
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "thinking", "thinking": "", "signature": ""},
        },
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "m"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "c429.groq."}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Hel"}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "lo"}},
        {"type": "content_block_stop", "index": 1},
        {
            "type": "content_block_start",
            "index": 2,
            "content_block": {"type": "tool_use", "id": "call_1", "name": "Bash", "input": {}},
        },
        {
            "type": "content_block_delta",
            "index": 2,
            "delta": {"type": "input_json_delta", "partial_json": '{"command":"ls"}'},
        },
        {"type": "content_block_stop", "index": 2},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use", "stop_sequence": None},
            "usage": {
                "input_tokens": 13,
                "cache_creation_input_tokens": 2,
                "cache_read_input_tokens": 5,
                "output_tokens": 9,
                "output_tokens_details": {"thinking_tokens": 3},
            },
        },
        {"type": "message_stop"},
    ]


def test_edge_04_each_kind_has_its_own_block() -> None:
    written = write([Reasoning("a"), Text("b"), Reasoning("c"), Text("d"), Finish("stop")])
    blocks = [message["content_block"]["type"] for message in written if message["type"] == "content_block_start"]
    assert blocks == ["thinking", "text", "thinking", "text"]
    assert kinds(written)[1:4] == ["content_block_start 0", "content_block_delta 0", "content_block_stop 0"]


def test_thoughts_are_closed_by_their_signature() -> None:
    events: list[Event] = [
        Reasoning("a"),
        Signature("s1"),
        Reasoning("b"),
        Signature("s2"),
        Signature("hidden", redacted=True),
    ]
    writer = MessagesWriter("r", "m", 0, origin="claude")
    write([*events, Signature("alone"), Text("c"), Finish("stop")], writer)
    assert json.loads(writer.whole())["content"] == [
        {"type": "thinking", "thinking": "a", "signature": "c429.claude.s1"},
        {"type": "thinking", "thinking": "b", "signature": "c429.claude.s2"},
        {"type": "redacted_thinking", "data": "c429.claude.hidden"},
        {"type": "thinking", "thinking": "", "signature": "c429.claude.alone"},
        {"type": "text", "text": "c"},
    ]


def test_edge_16_the_end_waits_for_the_count_of_tokens() -> None:
    writer = MessagesWriter("r", "m", 0)
    writer.add(Text("Hi"))
    assert b"content_block_stop" in writer.add(Finish("stop"))
    end = writer.add(Usage(3, 4))
    assert b'"input_tokens":3' in end
    assert end.endswith(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')
    assert writer.add(End()) == writer.close() == b""


def test_tokens_that_nobody_counted_are_estimated() -> None:
    written = write([Text("word" * 10), Finish("stop")], MessagesWriter("r", "m", 0, estimate=12))
    assert (written[-2]["usage"]["input_tokens"], written[-2]["usage"]["output_tokens"]) == (12, 10)


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([Text("a"), Finish("stop")], "end_turn"),
        ([Text("a"), Finish("stop", "END")], "stop_sequence"),
        ([Text("a"), Finish("length")], "max_tokens"),
        ([Text("a"), Finish("content_filter")], "refusal"),
        ([Text("a"), End()], "end_turn"),
        ([ToolCall(0, "a", "f"), Finish("stop")], "tool_use"),
        ([ToolCall(0, "a", "f"), Finish("tool_calls")], "tool_use"),
        ([ToolCall(0, "a", "f"), End()], "tool_use"),
        ([ToolCall(0, "a", "f"), ToolArguments(0, '{"x":'), Finish("length")], "max_tokens"),
        # Nobody said that it was complete, and it is not.
        ([ToolCall(0, "a", "f"), ToolArguments(0, '{"x":'), End()], "max_tokens"),
        # Calls are no longer asked for, whatever was announced.
        ([Text("a"), Finish("tool_calls")], "end_turn"),
    ],
)
def test_edge_17_the_reason_is_that_of_what_was_said(events: list[Event], reason: str) -> None:
    writer = MessagesWriter("r", "m", 0)
    written = write(events, writer)
    assert written[-2]["delta"]["stop_reason"] == reason
    whole = json.loads(writer.whole())
    assert (whole["stop_reason"], whole["stop_sequence"]) == (reason, "END" if reason == "stop_sequence" else None)


def test_edge_08_what_comes_after_the_end_is_not_passed_on() -> None:
    writer = MessagesWriter("r", "m", 0)
    events: list[Event] = [Text("a"), Finish("stop"), Usage(1, 1), Usage(1, 1), Finish("stop"), Text("b"), End(), End()]
    assert kinds(write(events, writer)) == [
        "message_start",
        "content_block_start 0",
        "content_block_delta 0",
        "content_block_stop 0",
        "message_delta",
        "message_stop",
    ]
    assert writer.fail(Problem(502, "late")) == b""


def test_edge_24_white_space_alone_is_no_block() -> None:
    written = write([Text("\n\n"), ToolCall(0, "a", "f"), Finish("tool_calls")])
    assert [message["content_block"]["type"] for message in written if "content_block" in message] == ["tool_use"]
    writer = MessagesWriter("r", "m", 0)
    write([Text("\n"), Text("\n"), Text("Hi"), Finish("stop")], writer)
    assert json.loads(writer.whole())["content"] == [{"type": "text", "text": "\n\nHi"}]


def test_calls_whose_pieces_come_in_turns_follow_each_other() -> None:
    written = write(
        [
            ToolCall(0, "a", "f"),
            ToolCall(1, "b", "g"),
            ToolArguments(0, '{"x":'),
            ToolArguments(1, '{"y":'),
            ToolArguments(0, "1}"),
            Text("Both."),
            ToolArguments(1, "2}"),
            Finish("tool_calls"),
        ]
    )
    assert kinds(written)[1:-2] == [
        "content_block_start 0",
        "content_block_delta 0",
        "content_block_delta 0",
        "content_block_stop 0",
        "content_block_start 1",
        "content_block_delta 1",
        "content_block_delta 1",
        "content_block_stop 1",
        "content_block_start 2",
        "content_block_delta 2",
        "content_block_stop 2",
    ]


@pytest.mark.parametrize("pieces", [["null"], ["nu", "ll"], [" "], []])
def test_no_arguments_are_an_empty_object(pieces: list[str]) -> None:
    events: list[Event] = [ToolCall(0, "a", "f"), *[ToolArguments(0, piece) for piece in pieces], Finish("tool_calls")]
    writer = MessagesWriter("r", "m", 0)
    assert "content_block_delta 0" not in kinds(write(events, writer))
    assert json.loads(writer.whole())["content"][0]["input"] == {}


def test_arguments_that_are_no_object_become_one() -> None:
    events: list[Event] = [ToolCall(0, "a", "f"), ToolArguments(0, "[1,"), ToolArguments(0, "2]"), Finish("tool_calls")]
    assert write(events)[2]["delta"] == {"type": "input_json_delta", "partial_json": '{"arguments":[1,2]}'}


def test_edge_14_every_call_has_an_id_of_its_own_that_fits() -> None:
    events: list[Event] = [
        ToolCall(0, "", "f"),
        ToolCall(1, "a/b", "f"),
        ToolCall(2, "same", "f"),
        ToolCall(3, "same", "f"),
    ]
    writer = MessagesWriter("r1", "m", 0)
    write([*events, Finish("tool_calls")], writer)
    ids = [block["id"] for block in json.loads(writer.whole())["content"]]
    assert len(set(ids)) == 4
    assert ids[0] == "toolu_r1_0"
    assert ids[2] == "same"
    assert all(one.replace("_", "").replace("-", "").isalnum() for one in ids)


def test_a_tool_gets_the_client_s_name_back() -> None:
    writer = MessagesWriter("r", "m", 0, {"a_b_12345678": Original("a.b")})
    assert write([ToolCall(0, "a", "a_b_12345678")], writer)[1]["content_block"]["name"] == "a.b"


def test_edge_28_an_error_ends_the_stream_and_closes_nothing() -> None:
    writer = MessagesWriter("r", "m", 0)
    writer.add(ToolCall(0, "a", "f"))
    writer.add(ToolArguments(0, '{"command":"rm -r /tmp'))
    assert writer.fail(Problem(502, "It broke off.", "server_error", details={"request_id": "req_1"})) == (
        b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"It broke off.",'
        b'"chain429":{"request_id":"req_1"}},"request_id":"req_1"}\n\n'
    )
    assert writer.close() == writer.add(Text("more")) == b""


def test_an_answer_that_says_nothing_is_still_one() -> None:
    assert kinds(write([Finish("stop")])) == ["message_start", "message_delta", "message_stop"]


# The laws: whatever comes in, what goes out is well formed, and it is the same streamed or not.

words = st.text(min_size=1, max_size=6)
some_events = st.lists(
    st.builds(Text, words)
    | st.builds(Reasoning, words)
    | st.builds(Signature, words, st.booleans())
    | st.builds(ToolCall, st.integers(0, 3), st.sampled_from(["", "a", "b", "a b"]), st.just("f"))
    | st.builds(ToolArguments, st.integers(0, 3), st.sampled_from(['{"x":', "1}", "{}", " ", "null", "}"]))
    | st.builds(Usage, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
    | st.builds(Finish, st.sampled_from(["stop", "length", "tool_calls", "content_filter"]))
    | st.builds(Error, st.just({"message": "x"}))
    | st.builds(End),
    max_size=14,
)


def accumulated(stream: bytes) -> Any:
    """The answer as Anthropic's own SDK puts it together from a stream."""
    anthropic = pytest.importorskip("anthropic")
    # It is one of two, by the SDK's version.
    library = next(
        name for kind in anthropic.DefaultHttpxClient.__mro__ if (name := kind.__module__).startswith("httpx")
    )
    http = importlib.import_module(library.partition(".")[0])
    headers = {"content-type": "text/event-stream"}
    transport = http.MockTransport(lambda request: http.Response(200, headers=headers, content=stream))
    with (
        anthropic.Anthropic(
            api_key="k", base_url="http://127.0.0.1", http_client=http.Client(transport=transport), max_retries=0
        ) as client,
        client.messages.stream(model="m", max_tokens=9, messages=[{"role": "user", "content": "Hi"}]) as answer,
    ):
        return answer.get_final_message()


def check_form(messages: Sequence[dict[str, Any]]) -> None:
    assert messages[0]["type"] == "message_start"
    assert [message["type"] for message in messages[-2:]] == ["message_delta", "message_stop"]
    blocks = messages[1:-2]
    opened, current = 0, None
    for message in blocks:
        assert message["type"].startswith("content_block_")
        if message["type"] == "content_block_start":
            assert current is None
            assert message["index"] == opened
            opened, current = opened + 1, message["content_block"]["type"]
        else:
            assert current is not None
            assert message["index"] == opened - 1
            if message["type"] == "content_block_stop":
                current = None
            else:
                fitting = {
                    "text": {"text_delta"},
                    "thinking": {"thinking_delta", "signature_delta"},
                    "tool_use": {"input_json_delta"},
                }
                assert message["delta"]["type"] in fitting[current]
    assert current is None


@given(some_events)
def test_what_is_written_is_well_formed_and_the_same_streamed_or_not(events: list[Event]) -> None:
    streaming, whole = MessagesWriter("r", "m", 0, origin="x"), MessagesWriter("r", "m", 0, origin="x")
    written = write(events, streaming)
    check_form(written)
    for item in events:
        whole.add(item)
    answer = json.loads(whole.whole())
    content = [message["content_block"] for message in written if message["type"] == "content_block_start"]
    pieces = [""] * len(content)
    for message in written:
        if message["type"] == "content_block_delta":
            change, index = message["delta"], message["index"]
            pieces[index] += change.get("partial_json", "")
            for member in {"text", "thinking", "signature"} & set(change):
                content[index][member] += change[member]
    for block, arguments in zip(content, pieces, strict=True):
        if block["type"] == "tool_use":
            try:
                block["input"] = json.loads(arguments) if arguments else {}
            except ValueError:
                block["input"] = {"arguments": arguments}
    assert answer["content"] == content
    assert answer["stop_reason"] == written[-2]["delta"]["stop_reason"]
    assert answer["usage"] == written[-2]["usage"]


def test_anthropic_s_sdk_reads_what_is_written() -> None:
    events: list[Event] = [
        Reasoning("Hm"),
        Signature("sig"),
        Signature("hidden", redacted=True),
        Text("Hällo \U0001f600"),
        ToolCall(0, "a", "f"),
        ToolArguments(0, '{"x":'),
        ToolArguments(0, "[1]}"),
        ToolCall(1, "b", "g"),
        Finish("tool_calls"),
        Usage(20, 9, 5, 3),
    ]
    writer = MessagesWriter("r", "m", 0, origin="x", estimate=7)
    message = accumulated(b"".join([writer.add(item) for item in events]) + writer.close())
    got = message.to_dict()
    assert got["content"] == json.loads(writer.whole())["content"]
    assert (got["stop_reason"], got["usage"]["input_tokens"]) == ("tool_use", 15)
    assert unmarked(got["content"][0]["signature"]) == ("x", "sig")


@given(some_events)
def test_reading_what_was_written_gives_the_same_answer(events: list[Event]) -> None:
    """Folded, that is: where pieces were cut does not matter. After a finish, the same words would open a new block."""
    events = list(takewhile(lambda item: not isinstance(item, Finish), events))
    writer = MessagesWriter("r", "m", 0)
    stream = b"".join([writer.add(item) for item in events]) + writer.close()
    again = MessagesWriter("r", "m", 0)
    seen = Seen()
    for item in read(stream):
        again.add(item)
        seen.add(item)
    assert seen.complete
    first, second = json.loads(writer.whole()), json.loads(again.whole())
    assert first["content"] == second["content"]
    assert first["stop_reason"] == second["stop_reason"]
