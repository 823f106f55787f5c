"""What is put right in a Chat Completions answer for a client of the same dialect; all else passes (test_chat.py)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chain429.errors import WireError
from chain429.wire.chat_stream import ChatStream
from chain429.wire.dialect import Problem
from tests.wire.answers import DONE, between, called, chunk, data, delivered
from tests.wire.wellformed import check, folded

HEAD = chunk({"role": "assistant", "content": ""})
WORDS = chunk({"content": "Hi"})
CALL = called(0, "", "call_a", "read")
A = called(0, '{"path":"a"}')
END = chunk({}, "tool_calls")
OLD = {"name": "f", "arguments": "{}"}


def passed(*pieces: bytes) -> bytes:
    return delivered(between("chat", "chat"), *pieces)[0]


def choices(out: bytes) -> list[dict[str, Any]]:
    events = [json.loads(one.removeprefix(b"data: ")) for one in out.split(b"\n\n") if one and one != DONE.strip()]
    return [event["choices"][0] for event in events]


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param((HEAD, CALL, A, END, DONE), id="in pieces"),
        pytest.param((HEAD, called(0, "{}", "call_a", "read"), END, DONE), id="no arguments"),
        pytest.param((HEAD, called(0, "{}", "a", "f"), called(1, "{}", "b", "f"), END, DONE), id="two without"),
        pytest.param((HEAD, chunk({"tool_calls": None, "content": "Hi"}), chunk({}, "stop"), DONE), id="no calls"),
        pytest.param((HEAD, chunk({"function_call": OLD}), chunk({}, "function_call"), DONE), id="as calls once were"),
        pytest.param((b": hello\n\n", HEAD, WORDS, b": still here\n\n", chunk({}, "stop"), DONE), id="comments"),
    ],
)
def test_what_clients_can_read_passes_as_it_came(pieces: tuple[bytes, ...]) -> None:
    assert passed(*pieces) == b"".join(pieces)
    assert passed(b"".join(pieces)) == b"".join(pieces)


def test_an_empty_object_waits_until_it_is_known_to_be_all() -> None:
    stream = ChatStream(include_usage=False)
    opened = called(0, "{}", "call_a", "read")
    assert stream.feed(HEAD + opened) == HEAD
    assert stream.feed(END) == opened + END
    stream = ChatStream(include_usage=False)
    stream.feed(HEAD + opened)
    (first, second) = choices(stream.feed(A))
    assert first["delta"]["tool_calls"][0]["function"] == {"name": "read", "arguments": ""}
    assert second["delta"]["tool_calls"][0]["function"] == {"arguments": '{"path":"a"}'}


def test_what_else_a_chunk_holds_is_kept_when_it_is_put_right() -> None:
    wrong = chunk({"content": None, "tool_calls": [{"function": {"name": "f", "arguments": "{}1"}}]}, x_more={"a": 1})
    event = json.loads(passed(wrong).split(b"\n\n")[0].removeprefix(b"data: "))
    assert (event["x_more"], event["id"], event["choices"][0]["delta"]["content"]) == ({"a": 1}, "c1", None)


@pytest.mark.parametrize("finish", ["", "eos", "MAX_TOKENS", "max_tokens", "refusal", "end_turn"])
def test_a_reason_of_another_dialect_is_told_in_this_one(finish: str) -> None:
    due = {"": None, "eos": "stop", "end_turn": "stop", "refusal": "content_filter"}
    out = passed(WORDS, chunk({}, finish), chunk({}, "stop") if not finish else b"", DONE)
    assert choices(out)[1]["finish_reason"] == due.get(finish, "length")
    assert check("chat", out) == "complete"


def test_an_end_for_calls_that_nobody_made_is_an_ordinary_one() -> None:
    assert folded("chat", passed(WORDS, END, DONE))["finish"] == "stop"


def test_a_chunk_without_a_delta_has_one() -> None:
    out = passed(WORDS, data({"choices": [{"index": 0, "finish_reason": "stop"}]}), DONE)
    assert choices(out)[1]["delta"] == {}
    out = passed(data({"choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}]}), DONE)
    assert folded("chat", out)["content"] == "Hi"


def test_a_chunk_without_the_words_of_the_protocol_gets_them() -> None:
    assert folded("chat", passed(WORDS.removeprefix(b"data: "), chunk({}, "stop")))["content"] == "Hi"


@pytest.mark.parametrize("event", [b"event: x\n\n", b"id: 7\n\n", b"retry: 5\n\n", b"data:\n\n", b"data: \n\n"])
def test_an_event_without_data_is_not_passed_on(event: bytes) -> None:
    assert passed(WORDS, event, chunk({}, "stop"), DONE) == WORDS + chunk({}, "stop") + DONE


@pytest.mark.parametrize("choices", [[1], [None], ["a"], "a", {"a": 1}, True])
def test_choices_that_are_none_are_refused(choices: Any) -> None:
    with pytest.raises(WireError):
        ChatStream(include_usage=False).feed(data({"choices": choices}))


def test_pieces_of_arguments_pass_without_being_taken_apart_and_are_still_known() -> None:
    pieces = [called(0, text) for text in ('{"a":', '"b', " c", "\\u00e9 \\\\", '"', "}")]
    begun = (HEAD, CALL, *pieces)
    assert passed(*begun, END, DONE) == b"".join([*begun, END, DONE])
    # The call is whole, so what comes then is another one's, though nothing else tells so.
    out = passed(*begun, called(0, '{"d":1}', name="read"), DONE)
    (first, second) = folded("chat", out)["calls"]
    assert (first["arguments"], second["arguments"]) == ('{"a":"b c\\u00e9 \\\\"}', '{"d":1}')
    assert folded("chat", passed(*begun[:-1], DONE))["finish"] == "length"


def test_what_came_before_garbage_is_still_the_client_s() -> None:
    stream = ChatStream(include_usage=False)
    stream.feed(HEAD + WORDS)
    with pytest.raises(WireError):
        stream.feed(CALL + A + b"data: <html>\n\n")
    assert stream.fail(Problem(502, "Why")).startswith(CALL + A + b'data: {"error"')


def test_half_an_event_at_the_end_is_not_passed_on() -> None:
    whole = chunk({"content": "you"})
    for at in range(1, len(whole) - 2):
        stream = ChatStream(include_usage=False)
        stream.feed(WORDS + whole[:at])
        try:
            assert stream.close() == b""
        except WireError:
            assert not stream.seen.complete


@pytest.mark.parametrize(
    ("message", "finish", "due"),
    [
        ({"content": "Hi"}, "stop", ("stop", [])),
        ({"content": "Hi"}, "tool_calls", ("stop", [])),
        ({"content": "Hi"}, "end_turn", ("stop", [])),
        ({"content": None, "function_call": OLD}, "function_call", ("function_call", [])),
        ({"tool_calls": [{"id": "x", "function": {"name": "f", "arguments": ""}}]}, "stop", ("tool_calls", ["{}"])),
        ({"tool_calls": [{"id": "x", "function": {"name": "f", "arguments": '{"a'}}]}, "length", ("length", ['{"a'])),
    ],
)
def test_a_whole_answer_is_put_right_too(message: dict[str, Any], finish: str, due: tuple[str, list[str]]) -> None:
    body = json.dumps({"id": "c", "choices": [{"index": 0, "message": message, "finish_reason": finish}]}).encode()
    seen, out = between("chat", "chat", stream=False).answer(body)
    (choice,) = json.loads(out)["choices"]
    calls = [call["function"]["arguments"] for call in choice["message"].get("tool_calls") or ()]
    assert (choice["finish_reason"], calls) == due
    assert seen.complete
    assert (out == body) is (finish == due[0])


@pytest.mark.parametrize(
    "choice", [{"finish_reason": "stop"}, {"text": "Hi", "finish_reason": "stop"}, {"message": None}]
)
def test_an_answer_without_a_message_is_none(choice: dict[str, Any]) -> None:
    seen, _ = between("chat", "chat", stream=False).answer(json.dumps({"choices": [choice]}).encode())
    assert seen.error is not None


@pytest.mark.parametrize("first", [{"content": "", "role": "assistant"}, {"content": "Hi", "role": "assistant"}])
def test_a_role_that_is_told_with_every_chunk_is_told_once(first: dict[str, Any]) -> None:
    spaced = b'data: {"choices": [{"delta": {"role": "assistant", "content": "\\"role\\":"}, "index": 0}]}\n\n'
    rest = [chunk({"content": "a", "role": "assistant"}), spaced, chunk({"role": "assistant"}, "stop"), DONE]
    out = passed(chunk(first), *rest)
    deltas = [{"content": "a"}, {"content": '"role":'}, {}]
    assert [choice["delta"] for choice in choices(out)] == [first, *deltas]
    assert passed(chunk(first) + b"".join(rest)) == out


def test_each_of_several_answers_has_its_role() -> None:
    other = data({"choices": [{"index": 1, "delta": {"role": "assistant", "content": "Ho"}}]})
    assert passed(HEAD, WORDS, other, chunk({}, "stop"), DONE) == HEAD + WORDS + other + chunk({}, "stop") + DONE


def test_a_call_goes_on_although_the_role_is_told_again() -> None:
    call = {"index": 0, "id": "call_a", "type": "function", "function": {"name": "f", "arguments": "{"}}
    more = {"index": 0, "function": {"arguments": "}"}}
    again = [chunk({"role": "assistant", "tool_calls": [piece]}) for piece in (call, more)]
    out = passed(HEAD, *again, END, DONE)
    assert out.count(b'"role"') == 1
    assert folded("chat", out)["calls"][0]["arguments"] == "{}"


THINKING = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}


@pytest.mark.parametrize(
    ("content", "put_right"),
    [
        ([THINKING], {"content": None, "reasoning_content": "Hm"}),
        ([THINKING, {"type": "text", "text": "Hi"}], {"content": "Hi", "reasoning_content": "Hm"}),
        ([{"type": "text", "text": "H"}, {"type": "text", "text": "i"}], {"content": "Hi"}),
    ],
)
def test_words_and_thoughts_in_a_list_are_told_in_their_places(content: Any, put_right: dict[str, Any]) -> None:
    """Mistral's models that think answer so."""
    spaced = b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": content}}]}).encode() + b"\n\n"
    out = passed(HEAD, chunk({"content": content}), WORDS, spaced, chunk({}, "stop"), DONE)
    assert [choice["delta"] for choice in choices(out)[1:4]] == [put_right, {"content": "Hi"}, put_right]
    message = {"role": "assistant", "content": content}
    body = json.dumps({"id": "c1", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()
    _, answer = between("chat", "chat", stream=False).answer(body)
    assert json.loads(answer)["choices"][0]["message"] == {"role": "assistant", **put_right}


def test_pieces_of_a_call_pass_as_they_came_whatever_stands_beside_them() -> None:
    """OpenAI hides how long they are."""
    opening = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}
    told = [{"index": 0, "function": {"arguments": piece}} for piece in ('{"a"', ": 1", "}")]
    pieces = [
        chunk({"tool_calls": [one]}).replace(b"}\n\n", b',"obfuscation":"%b"}\n\n' % (b"x" * number))
        for number, one in enumerate(told)
    ]
    out = passed(HEAD, chunk({"tool_calls": [opening]}), *pieces, chunk({}, "tool_calls"), DONE)
    assert b"".join(pieces) in out
    assert folded("chat", out)["calls"][0]["arguments"] == '{"a": 1}'


def test_what_is_no_json_is_not_passed_on_even_where_it_looks_like_words() -> None:
    stream = between("chat", "chat").stream()
    assert stream.feed(HEAD + WORDS) == HEAD + WORDS
    with pytest.raises(WireError):
        stream.feed(WORDS + WORDS.replace(b'Hi"', b"Hi"))
    assert stream.fail(Problem(502, "It broke off.")).startswith(WORDS + b'data: {"error"')
