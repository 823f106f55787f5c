from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain429.errors import RequestError
from chain429.wire.chat import CHAT, ChatRequest
from chain429.wire.chat_stream import ChatStream
from chain429.wire.cleanup import Cleanup
from chain429.wire.conversation import Conversation
from chain429.wire.dialect import Problem, Side
from chain429.wire.events import Error, Usage

HELLO = b'{"model":"default","messages":[{"role":"user","content":"Hi"}]}'


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "c1", "choices": [choice], **more}).encode() + b"\n\n"


ROLE = chunk({"role": "assistant", "content": ""})
WORDS = chunk({"content": "Hello"}) + chunk({"content": " you"})
FINISH = chunk({}, "stop")
USAGE = b'data: {"id":"c1","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}\n\n'
DONE = b"data: [DONE]\n\n"


# The client's request.


def test_a_request_says_what_the_gateway_must_know() -> None:
    request = ChatRequest.parse(
        b'{"model":"m","stream":true,"stream_options":{"include_usage":true},"max_tokens":7,"tools":null,"stop":null,'
        b'"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:"}}]}]}'
    )
    assert (request.model, request.stream, request.include_usage, request.max_tokens) == ("m", True, True, 7)


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        (b"", None, "could not be read"),
        (b"[]", None, "must be a JSON object"),
        (b'{"model":"m"}', "messages", "Missing required parameter"),
        (b'{"messages":"Hi"}', "messages", "non-empty list"),
        (b'{"messages":[]}', "messages", "non-empty list"),
        (b'{"messages":["Hi"]}', "messages[0]", "an object"),
        (b'{"messages":[{"role":"user"},{"content":"x"}]}', "messages[1].role", "a string"),
        (b'{"messages":[{"role":"user"}],"model":5}', "model", "a string"),
        (b'{"messages":[{"role":"user"}],"stream":"yes"}', "stream", "true or false"),
        (b'{"messages":[{"role":"user"}],"stream_options":[1]}', "stream_options", "an object"),
        (b'{"messages":[{"role":"user","content":5}]}', "messages[0].content", "a string or a list"),
        (b'{"messages":[{"role":"user","content":["Hi"]}]}', "messages[0].content[0]", "an object"),
        (b'{"messages":[{"role":"user","content":[{"text":"Hi"}]}]}', "messages[0].content[0].type", "a string"),
        (b'{"messages":[{"role":"assistant","tool_calls":{}}]}', "messages[0].tool_calls", "a list of calls"),
        (b'{"messages":[{"role":"assistant","tool_calls":[1]}]}', "messages[0].tool_calls[0]", "an object"),
        (b'{"messages":[{"role":"user"}],"max_tokens":true}', "max_tokens", "a whole number"),
        (b'{"messages":[{"role":"user"}],"temperature":"0"}', "temperature", "a number"),
        (b'{"messages":[{"role":"user"}],"response_format":"json"}', "response_format", "an object"),
        (b'{"messages":[{"role":"user"}],"tool_choice":1}', "tool_choice", "an object"),
        (b'{"messages":[{"role":"user"}],"tools":{"name":"f"}}', "tools", "a list of tools"),
        (b'{"messages":[{"role":"user"}],"tools":["f"]}', "tools[0]", "an object"),
        (b'{"messages":[{"role":"user"}],"tools":[{"type":"function","name":"f"}]}', "tools[0].function", "an object"),
        (b'{"messages":[{"role":"user"}],"tools":[{"function":{}}]}', "tools[0].function.name", "a string"),
    ],
)
def test_a_wrong_request_is_refused_by_the_name_of_its_field(body: bytes, param: str | None, words: str) -> None:
    with pytest.raises(RequestError, match=words.replace("(", r"\(")) as caught:
        ChatRequest.parse(body)
    assert caught.value.status == 400
    assert caught.value.param == param


def test_only_the_model_changes_in_a_plain_request() -> None:
    request = ChatRequest.parse(b'{"model":"default","messages":[{"role":"user","content":"Hi"}],"x_new":1.50}')
    assert request.exchange(Side("p", "chat", "gpt-oss"), ()).body == (
        b'{"model":"gpt-oss","messages":[{"role":"user","content":"Hi"}],"x_new":1.50}'
    )


def test_usage_is_asked_for_on_every_stream() -> None:
    request = ChatRequest.parse(b'{"messages":[{"role":"user"}],"stream":true,"stream_options":{"other":1}}')
    body = json.loads(request.exchange(Side("p", "chat", "m"), ()).body)
    assert body["stream_options"] == {"other": 1, "include_usage": True}


def test_a_refused_parameter_is_left_out_and_a_renamed_one_renamed() -> None:
    request = ChatRequest.parse(b'{"messages":[{"role":"user"}],"max_tokens":5,"seed":1,"stream":true}')
    body = json.loads(request.exchange(Side("p", "chat", "m"), ("seed", "max_tokens", "stream_options")).body)
    assert body == {"messages": [{"role": "user"}], "stream": True, "model": "m", "max_completion_tokens": 5}


@pytest.mark.parametrize(
    ("param", "name"),
    [
        ("seed", "seed"),
        ("stream_options.include_usage", "stream_options"),
        ("max_tokens", "max_tokens"),
        ("temperature", None),  # was not sent
        ("messages[0].content", None),
        ("tools", None),
        ("model", None),
    ],
)
def test_only_what_merely_tunes_an_answer_may_be_dropped(param: str, name: str | None) -> None:
    request = ChatRequest.parse(
        b'{"messages":[{"role":"user"}],"model":"m","max_tokens":5,"seed":1,"stream":true,"tools":[]}'
    )
    assert request.droppable(param) == name


@pytest.mark.parametrize(
    ("sent", "limit", "outgoing"),
    [
        ({"max_tokens": 64_000}, 8192, {"max_tokens": 8192}),
        ({"max_completion_tokens": 64_000, "max_tokens": 5}, 8192, {"max_completion_tokens": 8192, "max_tokens": 5}),
        ({"max_tokens": 64_000}, None, {"max_tokens": 64_000}),
        ({}, 8192, {}),
    ],
)
def test_edge_13_no_more_is_asked_for_than_the_model_makes(
    sent: dict[str, int], limit: int | None, outgoing: dict[str, int]
) -> None:
    request = ChatRequest.parse(json.dumps({"messages": [{"role": "user"}], **sent}).encode())
    body = json.loads(request.exchange(Side("p", "chat", "m", max_output=limit), ()).body)
    assert {name: value for name, value in body.items() if name.startswith("max")} == outgoing


def test_edge_13_the_limit_goes_by_the_name_that_the_provider_knows() -> None:
    request = ChatRequest.parse(b'{"messages":[{"role":"user"}],"max_completion_tokens":900}')
    rule = Cleanup(rename={"max_completion_tokens": "max_tokens"})
    found = request.exchange(Side("p", "chat", "m", [rule], max_output=50), ())
    assert json.loads(found.body) == {"messages": [{"role": "user"}], "max_tokens": 50, "model": "m"}
    assert found.lost == ()


def test_what_is_left_out_is_named() -> None:
    request = ChatRequest.parse(b'{"messages":[{"role":"user"}],"seed":1,"n":1,"max_tokens":5}')
    found = request.exchange(Side("p", "chat", "m", [Cleanup(drop=frozenset({"n", "user"}))]), ("seed", "max_tokens"))
    assert found.lost == ("n", "seed")


# Which conversation it is.


def conversation(*messages: dict[str, Any], session: str = "", **fields: Any) -> Conversation:
    return ChatRequest.parse(json.dumps({"messages": messages, **fields}).encode()).conversation(session)


def said(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


SYSTEM, ASKED, ANSWERED = said("system", "Be brief."), said("user", "Hello"), said("assistant", "Hi")


def test_a_conversation_keeps_its_key_while_it_grows() -> None:
    turns = [SYSTEM, ASKED, ANSWERED, said("user", "More"), said("assistant", None), said("tool", "7")]
    first = conversation(*turns[:2])
    assert not first.begun
    for length in range(3, len(turns) + 1):
        assert conversation(*turns[:length]) == Conversation(first.key, begun=True)


def test_a_greeting_before_the_first_question_is_no_part_of_the_key() -> None:
    turns = [SYSTEM, said("assistant", "Welcome!"), ASKED, ANSWERED, said("user", "More")]
    assert conversation(*turns[:3]) == conversation(*turns)
    assert conversation(*turns[:3]).key == conversation(SYSTEM, ASKED).key


@pytest.mark.parametrize(
    "messages",
    [
        [ASKED],
        [said("system", "Be verbose."), ASKED],
        [SYSTEM, said("user", "Hello!")],
        [SYSTEM, ASKED, said("user", "And more")],
        [SYSTEM, said("user", None)],
        [SYSTEM],
    ],
)
def test_another_opening_is_another_conversation(messages: list[dict[str, Any]]) -> None:
    assert conversation(*messages).key != conversation(SYSTEM, ASKED).key


def test_words_are_the_same_as_text_or_in_parts() -> None:
    parts = [{"type": "text", "text": "Hel", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "lo"}]
    assert conversation(SYSTEM, said("user", parts)) == conversation(SYSTEM, ASKED)
    image = {"type": "image_url", "image_url": {"url": "data:"}}
    assert conversation(SYSTEM, said("user", [*parts, image])) != conversation(SYSTEM, ASKED)


@pytest.mark.parametrize("content", [None, [], [{"type": "text"}, {"type": "text", "text": 5}], "\ud800"])
def test_content_of_any_form_has_a_key(content: Any) -> None:
    assert conversation(said("user", content)) == conversation(said("user", content))


def test_questions_that_begin_alike_are_told_apart_by_their_length_and_instructions_by_their_beginning() -> None:
    rules = "x" * 5000
    assert conversation(said("user", rules + "one")).key != conversation(said("user", rules + "other")).key
    now, later = said("system", f"{rules} It is 12:00."), said("system", f"{rules} It is 12:00:07.")
    assert conversation(now, ASKED).key == conversation(later, ASKED).key


def test_no_more_than_the_first_messages_are_looked_at() -> None:
    questions = [said("user", f"{number}") for number in range(20)]
    assert conversation(*questions).key == conversation(*questions[:8]).key
    assert conversation(*questions).key != conversation(*questions[:7]).key


def test_what_is_shared_by_many_conversations_only_tells_them_from_others() -> None:
    names = ("prompt_cache_key", "user", "safety_identifier")
    keys = {conversation(ASKED, **{name: "mine"}).key for name in names}
    assert len(keys) == 1
    assert keys.isdisjoint({conversation(ASKED).key, conversation(ASKED, user="yours").key})
    assert conversation(said("user", "Other"), user="mine").key not in keys
    both = conversation(ASKED, prompt_cache_key="mine", user="changes")
    assert both.key in keys
    assert conversation(ASKED, user=5, prompt_cache_key="").key == conversation(ASKED).key


def test_a_session_that_is_named_counts_alone() -> None:
    one = conversation(SYSTEM, ASKED, session="s-1", user="me")
    assert one == conversation(said("user", "Summary"), session="s-1")
    assert one.key != conversation(SYSTEM, ASKED, session="s-2").key
    assert conversation(SYSTEM, ASKED, ANSWERED, session="s-1") == Conversation(one.key, begun=True)


# Passing a stream on.


def test_a_stream_passes_through_unchanged_when_usage_was_asked_for() -> None:
    whole = b": PROCESSING\n\n" + ROLE + WORDS + FINISH + USAGE + DONE
    stream = ChatStream(include_usage=True)
    assert stream.feed(whole) == whole
    assert stream.close() == b""
    assert stream.seen.complete
    assert stream.seen.usage == Usage(3, 2)


def test_the_usage_that_was_not_asked_for_is_taken_out() -> None:
    stream = ChatStream(include_usage=False)
    assert stream.feed(ROLE + WORDS + FINISH + USAGE + DONE) == ROLE + WORDS + FINISH + DONE
    assert stream.seen.usage == Usage(3, 2)


def test_edge_16_counts_of_nothing_are_not_passed_on_either() -> None:
    zeros = USAGE.replace(b"3", b"0").replace(b"2", b"0")
    stream = ChatStream(include_usage=False)
    assert stream.feed(ROLE + zeros + WORDS) == ROLE + WORDS
    assert stream.seen.usage is None


def test_usage_that_rides_on_a_chunk_with_words_stays() -> None:
    last = chunk({}, "stop", usage={"prompt_tokens": 1, "completion_tokens": 1})
    stream = ChatStream(include_usage=False)
    assert stream.feed(WORDS + last) == WORDS + last


@pytest.mark.parametrize(
    ("before", "meaningful"),
    [
        (b": PROCESSING\n\n", False),
        (ROLE, False),
        (b'data: {"choices":[],"prompt_filter_results":[]}\n\n', False),
        (USAGE, False),
        (chunk({"content": "H"}), True),
        (chunk({"reasoning": "h"}), True),
        (chunk({"tool_calls": [{"id": "a", "function": {"name": "f"}}]}), True),
        (FINISH, True),
        (b'data: {"error":{"message":"x"}}\n\n', False),
        (chunk({"content": "H"})[:-1], False),
    ],
)
def test_the_commit_point_is_the_first_meaningful_event(before: bytes, meaningful: bool) -> None:
    stream = ChatStream(include_usage=True)
    stream.feed(before)
    assert stream.seen.meaningful is meaningful


def test_nothing_is_passed_on_from_an_error_on() -> None:
    stream = ChatStream(include_usage=True)
    assert stream.feed(ROLE + WORDS + b'data: {"error":{"message":"x"}}\n\n' + DONE) == ROLE + WORDS
    assert stream.feed(WORDS) == b""
    assert stream.seen.error == Error({"message": "x"})
    assert not stream.seen.complete


def test_an_error_without_the_words_of_the_protocol_is_seen() -> None:
    stream = ChatStream(include_usage=True)
    stream.feed(WORDS + b'{"error":{"code":503,"message":"overloaded"}}\n\n')
    assert stream.seen.error == Error({"code": 503, "message": "overloaded"})


def test_a_stream_that_finished_without_its_end_mark_gets_one() -> None:
    stream = ChatStream(include_usage=True)
    assert stream.feed(WORDS + FINISH) == WORDS + FINISH
    assert stream.close() == DONE
    assert stream.close() == b""


def test_a_stream_that_was_cut_gets_no_end_mark() -> None:
    stream = ChatStream(include_usage=True)
    assert stream.feed(WORDS) == WORDS
    assert stream.close() == b""
    assert not stream.seen.complete


def test_what_follows_the_end_mark_is_not_passed_on() -> None:
    stream = ChatStream(include_usage=True)
    assert stream.feed(WORDS + FINISH + DONE) == WORDS + FINISH + DONE
    assert stream.feed(WORDS) == b""


def test_words_that_look_like_the_protocol_are_only_words() -> None:
    words = chunk({"content": '"error": {"usage":{"finish_reason":"stop" [DONE]'})
    stream = ChatStream(include_usage=False)
    assert stream.feed(WORDS + words) == WORDS + words
    assert stream.feed(words) == words
    assert stream.seen.error is None
    assert not stream.seen.ended


def test_words_that_come_together_with_what_ends_them_are_passed_on() -> None:
    stream = ChatStream(include_usage=False)
    stream.feed(ROLE + WORDS)
    assert stream.feed(WORDS * 3 + FINISH + USAGE + DONE) == WORDS * 3 + FINISH + DONE
    assert (stream.seen.finish, stream.seen.usage, stream.seen.ended) == ("stop", Usage(3, 2), True)


def test_of_what_comes_together_with_an_error_only_the_words_before_it_are_passed_on() -> None:
    stream = ChatStream(include_usage=False)
    stream.feed(ROLE + WORDS)
    assert stream.feed(WORDS * 2 + b'data: {"error":{"message":"no"}}\n\n' + WORDS) == WORDS * 2
    assert stream.seen.error is not None


WHOLE = b": c\n\n" + ROLE + WORDS + chunk({"content": "\u2028ü"}) + FINISH + USAGE + DONE


@given(st.lists(st.integers(0, len(WHOLE)), max_size=6))
def test_a_stream_cut_anywhere_is_passed_on_the_same(cuts: list[int]) -> None:
    at = [0, *sorted(cuts), len(WHOLE)]
    stream = ChatStream(include_usage=False)
    out = b"".join(stream.feed(WHOLE[start:end]) for start, end in pairwise(at)) + stream.close()
    assert out == WHOLE.replace(USAGE, b"")
    assert (stream.seen.finish, stream.seen.usage, stream.seen.ended) == ("stop", Usage(3, 2), True)


# Errors.


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (502, "server_error"),
    ],
)
def test_an_error_is_worded_as_openai_does(status: int, kind: str) -> None:
    assert json.loads(CHAT.error(Problem(status, "Why", code="c", param="p", details={"a": 1}))) == {
        "error": {"message": "Why", "type": kind, "param": "p", "code": "c", "chain429": {"a": 1}}
    }


def test_an_error_event_ends_the_stream_without_an_end_mark() -> None:
    assert ChatStream(include_usage=False).fail(Problem(502, "Why")) == (
        b'data: {"error":{"message":"Why","type":"server_error","param":null,"code":null}}\n\n'
    )


@pytest.mark.parametrize(
    ("text", "plain"), [("abc", 3), ("\\u03b1\\u03b2", 4), ("\\u4e2d\\u6587", 6), ("\u03b1", 2), ("\\n", 2)]
)
def test_the_size_of_a_request_is_that_of_its_text_however_it_is_escaped(text: str, plain: int) -> None:
    body = '{"model": "m", "messages": [{"role": "user", "content": "%s"}]}'
    empty = ChatRequest.parse((body % "").encode()).size
    assert ChatRequest.parse((body % text).encode()).size - empty == plain
