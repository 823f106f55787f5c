"""Edge cases that clients and providers are known to trip over, from one end of an exchange to the other.

Those that belong to one module are with its tests; the number is the same.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from chain429.wire.cleanup import Cleanup
from chain429.wire.dialect import DialectName, Problem
from chain429.wire.exchange import exchange
from tests.wire.answers import (
    ANSWERS,
    AT,
    BROKEN,
    DIALECTS,
    DONE,
    asked,
    between,
    block,
    chunk,
    data,
    delivered,
    event,
    side,
)
from tests.wire.wellformed import folded, whole

HELLO = {"role": "user", "content": "Read a and b."}
NO_TEXT = {"type": "text", "text": ""}
CHAT_CALL = {"id": "call_a", "type": "function", "function": {"name": "read", "arguments": "{}"}}
TOOL_USE = {"type": "tool_use", "id": "call_a", "name": "read", "input": {}}
every_front = pytest.mark.parametrize("front", DIALECTS)


def sent(front: DialectName, behind: DialectName, *rules: Cleanup, vendor: bool = True, **more: Any) -> dict[str, Any]:
    """The body that a provider gets for a client's request."""
    request = asked(front, stream=False, **more)
    body: dict[str, Any] = json.loads(exchange(request, side(behind, rules=rules, vendor=vendor), (), "r", AT).body)
    return body


def got(front: DialectName, behind: DialectName, *pieces: bytes) -> dict[str, Any]:
    """The answer that a client has of a provider's stream."""
    return folded(front, delivered(between(front, behind), *pieces)[0])


def calls(front: DialectName, answer: dict[str, Any]) -> list[tuple[str, Any]]:
    """The calls of an answer: their names and arguments, each with an id of its own."""
    if front == "chat":
        found = [(call["id"], call["name"], json.loads(call["arguments"])) for call in answer["calls"]]
    elif front == "messages":
        blocks = [one for one in answer["content"] if one["type"] == "tool_use"]
        found = [(one["id"], one["name"], one["input"]) for one in blocks]
    else:
        items = [item for item in answer["output"] if item["type"] == "function_call"]
        found = [(item["call_id"], item["name"], json.loads(item["arguments"])) for item in items]
    assert len({identifier for identifier, _, _ in found}) == len(found)
    return [(name, arguments) for _, name, arguments in found]


def ended(front: DialectName, answer: dict[str, Any]) -> str:
    reason: str = answer[{"chat": "finish", "messages": "stop_reason", "responses": "status"}[front]]
    return reason


def piece(call: dict[str, Any], finish: str | None = None) -> bytes:
    return chunk({"tool_calls": [call]}, finish)


def read_call(arguments: str, **more: Any) -> dict[str, Any]:
    return {**more, "type": "function", "function": {"name": "read", "arguments": arguments}}


BOTH = [("read", {"path": "a"}), ("read", {"path": "b"})]
A, B = '{"path":"a"}', '{"path":"b"}'


@every_front
@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([piece(read_call(A, id="x")), piece(read_call(B, id="y"))], id="no index"),
        pytest.param([piece(read_call(A, id="x", index=0)), piece(read_call(B, id="y", index=0))], id="all of them 0"),
        pytest.param([piece(read_call(A, id="x", index=1)), piece(read_call(B, id="y", index=4))], id="gaps"),
        pytest.param([piece(read_call(A)), piece(read_call(B))], id="no id"),
        pytest.param([piece(read_call(A, id="x", index=0)), piece(read_call(B, id="x", index=1))], id="the same id"),
        pytest.param(
            [chunk({"tool_calls": [read_call(A, id="x", index=0), read_call(B, id="y", index=0)]})], id="in one chunk"
        ),
        pytest.param(
            [
                piece(read_call("", id="x", index=0)),
                piece({"index": 0, "function": {"arguments": '{"path":'}}),
                piece({"index": 0, "function": {"arguments": '"a"}'}}),
                piece(read_call("", id="y", index=0)),
                piece({"index": 0, "function": {"arguments": B}}),
            ],
            id="pieces of calls that are all 0",
        ),
    ],
)
def test_edge_01_parallel_calls_are_told_apart(front: DialectName, pieces: list[bytes]) -> None:
    answer = got(front, "chat", chunk({"role": "assistant"}), *pieces, chunk({}, "tool_calls"), DONE)
    assert calls(front, answer) == BOTH


@every_front
@pytest.mark.parametrize(
    "told",
    [
        [read_call(A, id="x"), read_call(B, id="x")],
        [read_call(A), read_call(B, id="")],
        [read_call(A, id="x"), {"id": "y", "function": {"name": "read", "arguments": {"path": "b"}}}],
    ],
    ids=["the same id", "no id", "arguments that are no text"],
)
def test_edge_01_calls_of_a_whole_answer_are_told_apart(front: DialectName, told: list[Any]) -> None:
    choice = {"index": 0, "message": {"content": None, "tool_calls": told}, "finish_reason": "tool_calls"}
    _, body = between(front, "chat", stream=False).answer(json.dumps({"id": "c", "choices": [choice]}).encode())
    assert calls(front, whole(front, body)) == BOTH


def test_edge_01_what_google_signs_stays_with_a_call_that_is_put_right() -> None:
    signed = {"extra_content": {"google": {"thought_signature": "sig"}}}
    pieces = [piece({**read_call(A, id="x", index=0), **signed}), piece(read_call(B, id="y", index=0))]
    out, _ = delivered(between("chat", "chat"), *pieces, chunk({}, "stop"), DONE)
    assert out.startswith(pieces[0])
    second = piece({**read_call(A, id="x", index=3), **signed})
    (mended,) = json.loads(delivered(between("chat", "chat"), second)[0].split(b"\n\n")[0][6:])["choices"]
    (call,) = mended["delta"]["tool_calls"]
    assert (call["index"], call["extra_content"]) == (0, signed["extra_content"])


@every_front
@pytest.mark.parametrize("arguments", ["", "{}"])
def test_edge_05_a_call_without_arguments_has_an_empty_object(front: DialectName, arguments: str) -> None:
    pieces = [piece(read_call(arguments, id="x", index=0)), chunk({}, "tool_calls"), DONE]
    assert calls(front, got(front, "chat", *pieces)) == [("read", {})]
    assert calls(front, got(front, "chat", piece(read_call(arguments, id="x", index=0), "tool_calls"))) == [
        ("read", {})
    ]


def test_edge_05_a_call_without_arguments_has_them_before_the_next_one_begins() -> None:
    """Clients read the arguments of a call as JSON as soon as another begins."""
    bare = block(0, TOOL_USE, {"type": "input_json_delta", "partial_json": ""})
    other = block(1, {**TOOL_USE, "id": "call_b"})
    end = event("message_delta", delta={"stop_reason": "tool_use"}, usage={"output_tokens": 1})
    started = event("message_start", message={"id": "msg_1", "type": "message", "role": "assistant", "content": []})
    from_messages = delivered(between("chat", "messages"), started, *bare, *other, end, event("message_stop"))[0]
    first, second = read_call("{}", id="call_a"), read_call("{}", id="call_b")
    told = chunk({"tool_calls": [first]}), chunk({"tool_calls": [second]}), chunk({}, "tool_calls"), DONE
    from_chat = delivered(between("chat", "chat"), *told)[0]
    items = [{"type": "function_call", "call_id": name, "name": "read", "arguments": ""} for name in ("a", "b")]
    done = [
        event("response.output_item.done", output_index=number, item={**item, "status": "completed"})
        for number, item in enumerate(items)
    ]
    completed = event("response.completed", response={"id": "resp_1", "status": "completed", "output": []})
    from_responses = delivered(between("chat", "responses"), *done, completed)[0]
    for out in (from_messages, from_chat, from_responses):
        before, _, after = out.partition(b'"index":1')
        assert (before.count(b'"arguments":"{}"'), after.count(b'"arguments":"{}"')) == (1, 1)


def test_edge_05_a_call_that_is_cut_before_its_arguments_gets_none() -> None:
    bare = block(0, TOOL_USE)
    end = event("message_delta", delta={"stop_reason": "max_tokens"}, usage={"output_tokens": 1})
    started = event("message_start", message={"id": "msg_1", "type": "message", "role": "assistant", "content": []})
    out = delivered(between("chat", "messages"), started, *bare, end, event("message_stop"))[0]
    assert b"{}" not in out.replace(b'"delta":{}', b"")
    assert folded("chat", out)["finish"] == "length"


@every_front
def test_edge_05_an_empty_object_before_the_arguments_is_none_of_them(front: DialectName) -> None:
    more = piece({"index": 0, "function": {"arguments": A}})
    assert (
        calls(front, got(front, "chat", piece(read_call("{}", id="x", index=0)), more, chunk({}, "stop"))) == BOTH[:1]
    )


@every_front
def test_edge_05_arguments_that_stand_in_the_beginning_of_a_block_are_kept(front: DialectName) -> None:
    begun = {**TOOL_USE, "input": {"path": "a"}}
    stream = [
        event("message_start", message={"usage": {"input_tokens": 1}}),
        *block(0, begun),
        event("message_delta", delta={"stop_reason": "tool_use"}, usage={"output_tokens": 1}),
    ]
    assert calls(front, got(front, "messages", *stream)) == BOTH[:1]


@every_front
@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ([chunk({"content": "Hi"}), DONE], {"chat": "stop", "messages": "end_turn", "responses": "completed"}),
        (
            [piece(read_call(A, id="x", index=0)), DONE],
            {"chat": "tool_calls", "messages": "tool_use", "responses": "completed"},
        ),
        (
            [piece(read_call('{"path":', id="x", index=0)), DONE],
            {"chat": "length", "messages": "max_tokens", "responses": "incomplete"},
        ),
    ],
    ids=["words", "a call", "half a call"],
)
def test_edge_09_an_end_without_a_reason_gets_one(
    front: DialectName, pieces: list[bytes], reason: dict[DialectName, str]
) -> None:
    assert ended(front, got(front, "chat", *pieces)) == reason[front]


def test_edge_09_an_end_that_is_told_twice_is_told_once() -> None:
    out, seen = delivered(
        between("chat", "chat"), chunk({"content": "Hi"}), chunk({}, "length"), chunk({}, "stop"), DONE
    )
    assert ended("chat", folded("chat", out)) == seen.finish == "length"


@every_front
def test_edge_12_thoughts_come_back_to_the_provider_that_wants_them(front: DialectName) -> None:
    answer = got(front, "chat", *ANSWERS["chat"]["calls"].events)
    if front == "chat":
        thoughts = {"content": answer["content"], "reasoning_content": answer["reasoning"]}
        call = {"id": "call_a", "type": "function", "function": {"name": "read", "arguments": A}}
        turns: list[Any] = [{"role": "assistant", **thoughts, "tool_calls": [call]}]
        result: dict[str, Any] = {"role": "tool", "tool_call_id": "call_a", "content": "A"}
    elif front == "messages":
        turns = [{"role": "assistant", "content": answer["content"]}]
        result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_a", "content": "A"}]}
    else:
        turns = answer["output"]
        result = {"type": "function_call_output", "call_id": "call_a", "output": "A"}
    said: dict[str, Any] = {"input" if front == "responses" else "messages": [HELLO, *turns, result]}
    due = Cleanup(reasoning_back="reasoning_content", reasoning_due=True)
    assert sent(front, "chat", due, **said)["messages"][1]["reasoning_content"] == "Two files."


def test_edge_12_thoughts_that_nobody_knows_any_more_are_empty_where_they_are_due() -> None:
    turns = [HELLO, {"role": "assistant", "content": [TOOL_USE]}, {"role": "user", "content": "Go on."}]
    due = Cleanup(reasoning_back="reasoning_content", reasoning_due=True)
    assert sent("messages", "chat", due, messages=turns)["messages"][1]["reasoning_content"] == ""


@pytest.mark.parametrize("front", ["messages", "responses"])
def test_edge_16_tokens_that_are_counted_after_the_end_are_told(front: DialectName) -> None:
    pieces = [chunk({"content": "Hi"}, usage=None), chunk({}, "stop", usage=None)]
    counted = data({"choices": [], "usage": {"prompt_tokens": 30, "completion_tokens": 5}})
    usage = got(front, "chat", *pieces, counted, DONE)["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (30, 5)


def test_edge_16_a_chunk_without_a_choice_is_not_passed_on() -> None:
    filtered = data({"choices": [], "prompt_filter_results": []})
    words = (chunk({"content": "Hi"}), chunk({}, "stop"), DONE)
    assert delivered(between("chat", "chat"), filtered, *words)[0] == b"".join(words)


@every_front
@pytest.mark.parametrize("finish", ["stop", "end_turn", "STOP", "eos"])
def test_edge_17_an_end_that_hides_a_call_is_put_right(front: DialectName, finish: str) -> None:
    due = {"chat": "tool_calls", "messages": "tool_use", "responses": "completed"}
    answer = got(front, "chat", piece(read_call(A, id="x", index=0)), chunk({}, finish), DONE)
    assert ended(front, answer) == due[front]
    choice = {"index": 0, "message": {"content": None, "tool_calls": [read_call(A, id="x")]}, "finish_reason": finish}
    _, body = between(front, "chat", stream=False).answer(json.dumps({"choices": [choice]}).encode())
    assert ended(front, whole(front, body)) == due[front]


@every_front
@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param(
            [piece(read_call(part, id="x", index=0)) for part in ('{"path":', '"a"', "}")], id="id and name each time"
        ),
        pytest.param(
            [piece(read_call(part, id="x", index=0)) for part in ('{"path":', '{"path":"a"', A)], id="more each time"
        ),
        pytest.param([piece(read_call(A, id="x", index=0))] * 2, id="all of it twice"),
    ],
)
def test_edge_18_what_is_said_again_is_said_once(front: DialectName, pieces: list[bytes]) -> None:
    assert calls(front, got(front, "chat", *pieces, chunk({}, "tool_calls"), DONE)) == BOTH[:1]


@pytest.mark.parametrize("vendor", [True, False])
def test_edge_19_texts_of_nothing_are_no_blocks(vendor: bool) -> None:
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_a"}]}
    turns = [
        HELLO,
        {"role": "assistant", "content": [NO_TEXT, TOOL_USE]},
        result,
        {"role": "assistant", "content": [NO_TEXT]},
    ]
    assert sent("messages", "messages", vendor=vendor, messages=turns)["messages"] == [
        HELLO,
        {"role": "assistant", "content": [TOOL_USE]},
        result,
    ]
    told = {"role": "assistant", "content": "", "tool_calls": [CHAT_CALL]}
    turns = [
        HELLO,
        told,
        {"role": "tool", "tool_call_id": "call_a", "content": ""},
        {"role": "assistant", "content": ""},
    ]
    _, assistant, results = sent("chat", "messages", vendor=vendor, messages=turns)["messages"]
    assert assistant["content"] == [TOOL_USE]
    assert [one["type"] for one in results["content"]] == ["tool_result"]


@pytest.mark.parametrize(("form", "content"), [("null", None), ("empty", ""), ("absent", "absent")])
@pytest.mark.parametrize("given", [None, "", "absent"])
def test_edge_19_a_turn_without_words_has_what_the_provider_wants(form: Any, content: Any, given: Any) -> None:
    turn = {"role": "assistant", "content": given, "tool_calls": [CHAT_CALL]}
    if given == "absent":
        del turn["content"]
    result = {"role": "tool", "tool_call_id": "call_a", "content": "A"}
    body = sent("chat", "chat", Cleanup(no_content=form), messages=[HELLO, turn, result])
    assert body["messages"][1].get("content", "absent") == content


def test_edge_19_a_turn_of_nothing_at_all_is_left_out_where_it_is_refused() -> None:
    turns = [HELLO, {"role": "assistant", "content": ""}, HELLO]
    assert sent("chat", "chat", Cleanup(drop_empty=True), messages=turns)["messages"] == [HELLO, HELLO]


SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {"format": {"type": "string", "format": "uri"}},
    "additionalProperties": False,
}
FITTING = {"type": "object", "properties": {"format": {"type": "string"}}}


@every_front
def test_edge_25_schemas_lose_the_words_that_a_provider_refuses(front: DialectName) -> None:
    tool: dict[str, Any] = {"name": "read", "strict": True, "parameters": SCHEMA}
    if front == "chat":
        tool = {"type": "function", "function": tool}
    elif front == "messages":
        tool = {"name": "read", "input_schema": SCHEMA}
    else:
        tool["type"] = "function"
    words = frozenset({"$schema", "additionalProperties", "format"})
    rule = Cleanup(drop_in_tools=frozenset({"strict"}), drop_in_schemas=words)
    (given,) = sent(front, "chat", rule, tools=[tool])["tools"]
    assert given == {"type": "function", "function": {"name": "read", "parameters": FITTING}}
    assert list(given["function"]["parameters"]) == ["type", "properties"]


@pytest.mark.parametrize("behind", ["chat", "messages", "responses"])
def test_edge_25_a_tool_without_parameters_takes_none(behind: DialectName) -> None:
    front: DialectName = "chat" if behind != "chat" else "responses"
    tool = {"type": "function", **({"function": {"name": "f"}} if front == "chat" else {"name": "f"})}
    (given,) = sent(front, behind, tools=[tool])["tools"]
    given = given.get("function", given)
    assert given.get("input_schema", given.get("parameters")) == {"type": "object", "properties": {}}


@every_front
def test_edge_27_of_several_answers_one_is_passed_on(front: DialectName) -> None:
    other = [{"index": 1, "delta": {"content": "No"}, "finish_reason": None}]
    first = [{"index": 0, "delta": {"content": "Yes"}, "finish_reason": None}]
    pieces = [data({"id": "c", "choices": choices}) for choices in (first, other)]
    if front == "chat":
        # Who asks for several gets them as they come.
        out, _ = delivered(between(front, "chat", n=2), *pieces, chunk({}, "stop"), DONE)
        assert out == b"".join([*pieces, chunk({}, "stop"), DONE])
    else:
        answer = json.dumps(got(front, "chat", *pieces, chunk({}, "stop"), DONE))
        assert "Yes" in answer
        assert "No" not in answer


@pytest.mark.parametrize("behind", ["messages", "responses"])
def test_edge_27_a_provider_that_gives_one_answer_is_asked_for_one(behind: DialectName) -> None:
    attempt = between("chat", behind, n=2)
    assert "n" not in json.loads(attempt.body)
    assert attempt.lost == ("n",)


@every_front
@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529])
def test_edge_28_an_error_keeps_its_words_and_always_has_a_type(front: DialectName, status: int) -> None:
    error = json.loads(asked(front).dialect.error(Problem(status, "prompt is too long: 9 > 8")))["error"]
    assert error["message"] == "prompt is too long: 9 > 8"
    assert error["type"].isidentifier()


@every_front
def test_edge_28_an_error_after_words_ends_the_stream_in_the_dialect(front: DialectName) -> None:
    attempt = between(front, "messages")
    stream = attempt.stream()
    begun = [*ANSWERS["messages"]["words"].events[:5]]
    out = b"".join(stream.feed(one) for one in begun)
    out += stream.feed(event("error", error={"type": "<nil>", "message": "busy"}))
    assert stream.seen.error is not None
    last = json.loads((out + stream.fail(BROKEN)).strip().split(b"data: ")[-1])
    assert (last.get("response") or last)["error"]["message"] == "It broke off."
