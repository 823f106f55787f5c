from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain429.errors import WireError
from chain429.wire import sse
from chain429.wire.dialect import Problem
from chain429.wire.events import Error, Usage
from chain429.wire.prompt import marked
from chain429.wire.responses_reasoning import sealed
from chain429.wire.responses_stream import ResponsesStream
from tests.wire.wellformed import check

BEGUN = {"id": "resp_1", "object": "response", "created_at": 7, "model": "gpt", "status": "in_progress", "output": []}
MESSAGE = {"type": "message", "id": "msg_1", "role": "assistant", "content": [{"type": "output_text", "text": "Hello"}]}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "shell", "arguments": '{"x":1}'}
THOUGHTS: dict[str, Any] = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm"}]}
USAGE = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}


def numbered(*events: tuple[str, dict[str, Any]]) -> bytes:
    return b"".join(
        [
            f"event: {kind}\ndata: {json.dumps({'type': kind, 'sequence_number': number, **members})}\n\n".encode()
            for number, (kind, members) in enumerate((f"response.{kind}", members) for kind, members in events)
        ]
    )


CREATED = ("created", {"response": BEGUN})


def added(index: int, item: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return "output_item.added", {"output_index": index, "item": item}


def done(index: int, item: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return "output_item.done", {"output_index": index, "item": item}


def words(text: str, index: int = 0) -> tuple[str, dict[str, Any]]:
    return "output_text.delta", {"item_id": "msg_1", "output_index": index, "content_index": 0, "delta": text}


def completed(*output: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return "completed", {"response": {**BEGUN, "status": "completed", "output": output, "usage": USAGE}}


HELLO = numbered(
    CREATED,
    ("in_progress", {"response": BEGUN}),
    added(0, {**MESSAGE, "content": []}),
    ("content_part.added", {"output_index": 0, "item_id": "msg_1", "part": {"type": "output_text", "text": ""}}),
    words("Hel"),
    words("lo"),
    ("output_text.done", {"output_index": 0, "item_id": "msg_1", "text": "Hello"}),
    done(0, MESSAGE),
    completed(MESSAGE),
)


def passed(data: bytes, stream: ResponsesStream | None = None) -> bytes:
    stream = stream or ResponsesStream()
    return stream.feed(data) + stream.close()


def messages(data: bytes) -> list[dict[str, Any]]:
    """The events, as parsed; their names and numbers are checked."""
    found = [json.loads(one.data or b"null") for one in sse.EventParser().feed(data)]
    assert [one.name for one in sse.EventParser().feed(data)] == [message["type"] for message in found]
    assert [message["sequence_number"] for message in found] == list(range(len(found)))
    return found


def kinds_of(data: bytes) -> list[str]:
    """Whatever their numbers."""
    return [one.name for one in sse.EventParser().feed(data)]


def kinds(data: bytes) -> list[str]:
    return [message["type"].removeprefix("response.") for message in messages(data)]


def test_an_answer_passes_as_it_is() -> None:
    stream = ResponsesStream()
    assert passed(HELLO, stream) == HELLO
    assert (stream.seen.usage, stream.seen.finish, stream.seen.complete) == (Usage(3, 4), "stop", True)


@given(st.lists(st.integers(0, len(HELLO)), max_size=6))
def test_an_answer_passes_however_it_is_cut(cuts: list[int]) -> None:
    stream, out, at = ResponsesStream(), b"", 0
    for cut in [*sorted(cuts), len(HELLO)]:
        out += stream.feed(HELLO[at:cut])
        at = cut
    assert out + stream.close() == HELLO
    assert stream.seen.complete


def test_pieces_are_passed_without_being_read() -> None:
    stream = ResponsesStream()
    head = numbered(CREATED, added(0, MESSAGE), words("a"))
    # No JSON: it would not pass if it were read.
    pieces = b'event: response.output_text.delta\ndata: {"output_index": 0,}\n\n' * 3
    assert stream.feed(head) + stream.feed(pieces) == head + pieces
    failed = stream.fail(Problem(502, "x"))
    assert json.loads(failed.split(b"data: ")[1])["sequence_number"] == 6


def test_the_least_that_codex_understands_passes() -> None:
    data = numbered(CREATED, done(0, MESSAGE), done(1, CALL), completed())
    assert passed(data) == data


def test_what_is_no_event_passes() -> None:
    data = b": keep-alive\n\n" + HELLO
    assert passed(data) == data


def test_edge_08_what_comes_after_the_end_is_not_passed_on() -> None:
    assert passed(HELLO + HELLO + b"data: [DONE]\n\n") == HELLO


@pytest.mark.parametrize(
    "broken",
    [
        b'event: error\ndata: {"type":"error","code":"server_error","message":"Oh"}\n\n',
        numbered(("failed", {"response": {"error": {"code": "server_error", "message": "Oh"}}})),
        b'{"error":{"code":"server_error","message":"Oh"}}\n\n',
    ],
)
def test_an_error_is_not_passed_on(broken: bytes) -> None:
    stream = ResponsesStream()
    head = numbered(CREATED, added(0, MESSAGE), words("a"))
    assert passed(head + broken + HELLO, stream) == head
    assert stream.seen.error == Error({"code": "server_error", "message": "Oh"})
    last = messages(head + stream.fail(Problem(502, "It broke off.")))[-1]
    assert last["response"]["error"] == {"code": "server_error", "message": "It broke off."}
    assert (last["response"]["id"], last["response"]["status"]) == ("resp_1", "failed")


def test_edge_09_an_answer_without_an_end_is_not_complete() -> None:
    stream = ResponsesStream()
    data = numbered(CREATED, added(0, MESSAGE), words("a"), done(0, MESSAGE))
    assert passed(data + b"data: [DONE]\n\n", stream) == data
    assert not stream.seen.complete


def test_an_answer_without_beginnings_of_items_is_written_anew() -> None:
    data = numbered(CREATED, ("in_progress", {"response": BEGUN}), words("Hel"), words("lo"), completed())
    out = passed(data)
    assert kinds(out) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    last = messages(out)[-1]["response"]
    assert (last["id"], last["model"], last["output"][0]["content"][0]["text"]) == ("resp_1", "gpt", "Hello")
    bare = passed(numbered(words("Hel"), words("lo")))
    assert kinds(bare)[:2] == ["created", "in_progress"]


def test_pieces_that_name_no_item_are_written_anew() -> None:
    data = numbered(CREATED, ("output_text.delta", {"delta": "Hello"}), completed())
    assert kinds(passed(data))[1:4] == ["output_item.added", "content_part.added", "output_text.delta"]


def test_an_answer_that_was_written_anew_still_fails_once() -> None:
    stream = ResponsesStream()
    out = stream.feed(numbered(CREATED, words("Hel"))) + stream.fail(Problem(502, "x"))
    assert kinds(out)[-1] == "failed"
    assert stream.fail(Problem(502, "x")) == b""


def test_items_that_are_left_open_are_closed_before_the_end() -> None:
    data = numbered(CREATED, added(0, MESSAGE), words("Hello"), added(1, CALL), completed(MESSAGE, CALL))
    out = messages(passed(data))
    assert [message["type"].removeprefix("response.") for message in out[-3:]] == [
        "output_item.done",
        "output_item.done",
        "completed",
    ]
    assert [message["item"] for message in out[-3:-1]] == [MESSAGE, CALL]
    with pytest.raises(WireError, match="never closed"):
        passed(numbered(CREATED, added(0, MESSAGE), words("Hello"), completed()))


def test_edge_05_items_that_only_the_whole_answer_has_are_told_of() -> None:
    data = numbered(
        CREATED, added(0, {**MESSAGE, "content": []}), words("Hello"), done(0, MESSAGE), completed(MESSAGE, CALL)
    )
    out = passed(data)
    assert check("responses", out) == "complete"
    told = [message for message in messages(out) if message.get("output_index") == 1]
    assert [message["item"] for message in told] == [{**CALL, "arguments": ""}, CALL]
    assert check("responses", passed(numbered(CREATED, completed(MESSAGE, CALL)))) == "complete"


def test_edge_08_what_was_told_by_another_place_is_not_told_again() -> None:
    rest = completed(MESSAGE, CALL)
    counted = numbered(CREATED, done(0, MESSAGE), done(1, CALL), rest)
    assert messages(passed(numbered(CREATED, done(0, MESSAGE), done(0, CALL), rest))) == messages(counted)


def test_edge_08_an_item_that_is_said_twice_is_one() -> None:
    once = numbered(CREATED, added(0, CALL), done(0, CALL), completed(CALL))
    data = numbered(CREATED, CREATED, added(0, CALL), added(0, CALL), done(0, CALL), done(0, CALL), completed(CALL))
    assert kinds_of(passed(data)) == kinds_of(once)


def test_what_came_before_garbage_is_still_the_client_s() -> None:
    stream = ResponsesStream()
    begun = numbered(CREATED, done(0, MESSAGE))
    with pytest.raises(WireError):
        stream.feed(begun + b"data: <html>\n\n")
    assert stream.fail(Problem(502, "Why")).startswith(begun + b"event: response.failed\n")


def test_pieces_of_an_item_that_is_not_open_are_refused() -> None:
    with pytest.raises(WireError, match="no item that is open"):
        passed(numbered(CREATED, added(0, MESSAGE), words("a", 1)))
    late = ("output_text.done", {"output_index": 0, "text": "Hello"})
    assert kinds(passed(numbered(CREATED, added(0, MESSAGE), words("Hello"), done(0, MESSAGE), late))) == [
        "created", "output_item.added", "output_text.delta", "output_item.done"
    ]  # fmt: skip


def test_what_the_provider_runs_itself_is_an_answer() -> None:
    stream = ResponsesStream()
    search = {"type": "web_search_call", "id": "ws_1", "status": "in_progress"}
    data = numbered(CREATED, added(0, search), ("web_search_call.searching", {"output_index": 0}))
    assert stream.feed(data) == data
    assert stream.seen.meaningful


def test_an_event_s_name_is_that_of_its_data() -> None:
    bare = HELLO.replace(b"event: response.output_text.done\n", b"")
    assert kinds(passed(bare)) == kinds(HELLO)
    assert messages(passed(bare)) == messages(HELLO)


def test_edge_11_what_others_hide_is_marked() -> None:
    hidden = {**THOUGHTS, "encrypted_content": "gAA"}
    items = (added(0, hidden), done(0, hidden), done(1, THOUGHTS), done(2, MESSAGE))
    data = numbered(CREATED, *items, completed(hidden, THOUGHTS, MESSAGE))
    assert passed(data) == data
    out = messages(passed(data, ResponsesStream("groq")))
    ours = {**hidden, "encrypted_content": marked("groq", "gAA")}
    plain = {**THOUGHTS, "encrypted_content": sealed("groq", "Hm", "")}
    assert [out[1]["item"], out[2]["item"], out[3]["item"]] == [THOUGHTS, ours, plain]
    assert out[5]["response"]["output"] == [ours, plain, MESSAGE]


@pytest.mark.parametrize("data", [b"data: <html>\n\n", b"event: response.created\ndata: [1]\n\n"])
def test_what_is_no_event_stream_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        passed(data)


def without_index(event: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return event[0], {name: value for name, value in event[1].items() if name != "output_index"}


def at_zero(event: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return event[0], {name: 0 if name == "output_index" else value for name, value in event[1].items()}


@pytest.mark.parametrize("told", [without_index, at_zero])
def test_edge_01_items_that_are_not_counted_are_counted(told: Any) -> None:
    other = {**CALL, "id": "fc_2", "call_id": "call_2"}
    arguments = "function_call_arguments.delta"
    events = [
        CREATED,
        added(0, {**MESSAGE, "content": []}),
        words("Hel"),
        words("lo"),
        done(0, MESSAGE),
        added(1, {**CALL, "arguments": ""}),
        (arguments, {"output_index": 1, "item_id": "fc_1", "delta": '{"x":1}'}),
        done(1, CALL),
        added(2, {**other, "arguments": ""}),
        (arguments, {"output_index": 2, "item_id": "fc_2", "delta": '{"x":1}'}),
        done(2, other),
        completed(MESSAGE, CALL, other),
    ]
    data = numbered(*map(told, events))
    assert messages(passed(data)) == messages(numbered(*events))
    stream = ResponsesStream()
    pieces = [stream.feed(data[at : at + 1]) for at in range(len(data))]
    assert b"".join(pieces) == passed(data)
