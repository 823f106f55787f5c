"""Completions without a chat, passed on."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain429.errors import RequestError, WireError
from chain429.wire.cleanup import Cleanup
from chain429.wire.completions import CompletionsRequest
from chain429.wire.dialect import Problem, Side
from chain429.wire.events import Seen, Usage
from chain429.wire.exchange import droppable, exchange

CHAT = Side("there", "chat", "its-model")
BROKEN = Problem(502, "It broke off.", "server_error", "stream_broken")


def event(text: str = "", finish: str | None = None, index: int = 0) -> bytes:
    choice = {"text": text, "index": index, "logprobs": None, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "cmpl-1", "object": "text_completion", "choices": [choice]}).encode() + b"\n\n"


USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2}}\n\n'
DONE = b"data: [DONE]\n\n"
STREAM = (event("de"), event("f"), event("", "stop"), USAGE, DONE)


def asked(**fields: Any) -> CompletionsRequest:
    return CompletionsRequest.parse(json.dumps({"model": "default", "prompt": "Hi", "stream": True, **fields}).encode())


def delivered(request: CompletionsRequest, *pieces: bytes) -> tuple[bytes, Seen]:
    stream = exchange(request, CHAT, (), "req_1", 0).stream()
    out = b"".join([stream.feed(piece) for piece in pieces])
    out += stream.close()
    return out if stream.seen.complete else out + stream.fail(BROKEN), stream.seen


def test_only_the_model_is_changed() -> None:
    body = b'{"prompt": "a\\tb", "suffix": "c", "model": "default", "temperature": 0.20, "echo": true, "max_tokens": 7}'
    request = CompletionsRequest.parse(body)
    attempt = exchange(request, CHAT, (), "req_1", 0)
    assert attempt.path == "/completions"
    assert attempt.body == body.replace(b"default", b"its-model")
    assert (request.stream, request.max_tokens, request.model) == (False, 7, "default")


def test_what_a_provider_does_not_take_is_left_out_and_named() -> None:
    rule = Cleanup(
        accept=frozenset({"messages", "model", "max_tokens", "random_seed", "temperature", "user"}),
        drop=frozenset({"user"}),
        rename={"max_tokens": "max_completion_tokens", "seed": "random_seed"},
    )
    side = replace(CHAT, rules=(rule,), max_output=100)
    request = asked(suffix="b", max_tokens=500, seed=7, user="u", temperature=0, logprobs=2, stop="x")
    attempt = exchange(request, side, ("temperature",), "req_1", 0)
    assert json.loads(attempt.body) == {
        "model": "its-model", "prompt": "Hi", "stream": True, "suffix": "b", "max_tokens": 100, "random_seed": 7,
        "logprobs": 2,
    }  # fmt: skip
    assert set(attempt.lost) == {"stop", "temperature", "user"}
    told = ("temperature", "top_p", "suffix", "logprobs")
    assert [droppable(request, side, name) for name in told] == ["temperature", None, None, None]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": 5}, "model"),
        ({"prompt": None}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [{}]}, "prompt"),
        ({"stream": "yes"}, "stream"),
        ({"n": "2"}, "n"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        asked(**fields)
    assert (caught.value.status, caught.value.param) == (400, param)


def test_without_a_model_it_is_for_the_default_chain() -> None:
    assert CompletionsRequest.parse(b'{"prompt": ""}').model == ""


@given(cuts=st.lists(st.integers(0, 420), max_size=20))
def test_a_stream_is_passed_as_it_came_however_it_is_cut(cuts: list[int]) -> None:
    whole = b"".join(STREAM)
    places = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    out, seen = delivered(asked(), *[whole[start:end] for start, end in pairwise(places)])
    assert out == whole
    assert (seen.meaningful, seen.ended, seen.usage) == (True, True, Usage(5, 2))


def test_only_whole_events_are_passed() -> None:
    stream = exchange(asked(), CHAT, (), "req_1", 0).stream()
    assert stream.feed(event("a") + event("b")[:30]) == event("a")
    assert stream.feed(event("b")[30:]) == event("b")


def test_words_are_the_commit_point_and_so_is_an_end() -> None:
    for piece, meant in ((event(""), False), (USAGE, False), (event("a"), True), (event("", "length"), True)):
        assert delivered(asked(), piece)[1].meaningful is meant


def test_a_stream_without_its_end_mark_gets_one() -> None:
    out, seen = delivered(asked(), event("a"), event("", "stop"))
    assert out == event("a") + event("", "stop") + DONE
    assert seen.complete


def test_several_texts_are_complete_when_each_of_them_is() -> None:
    request = asked(prompt=["a", "b"], n=2)
    ends = [event("x", "stop", index) for index in range(4)]
    assert not delivered(request, *ends[:3])[1].complete
    assert delivered(request, *ends)[0] == b"".join(ends) + DONE


@pytest.mark.parametrize(
    "piece",
    [
        b'data: {"error":{"message":"Overloaded"}}\n\n',
        b'{"error":{"message":"Overloaded"}}\n\n',
        b'data: {"message":"Overloaded"}\n\n',
        event("", "error"),
    ],
)
def test_an_error_in_a_stream_ends_it(piece: bytes) -> None:
    out, seen = delivered(asked(), event("a") + piece + event("b"), DONE)
    assert seen.error is not None
    assert out.startswith(event("a") + b'data: {"error":{"message":"It broke off."')
    assert DONE not in out


@pytest.mark.parametrize(
    "piece",
    [b"data: <html>\n\n", b'data: {"choices":[5]}\n\n', b'data: {"choices":{"a":1}}\n\n', b'{"choices":[]}\n\n'],
)
def test_what_makes_no_sense_is_told(piece: bytes) -> None:
    stream = exchange(asked(), CHAT, (), "req_1", 0).stream()
    with pytest.raises(WireError):
        stream.feed(event("a") + piece)
    assert stream.fail(BROKEN).startswith(event("a") + b'data: {"error":')


def test_comments_are_passed_and_what_comes_after_the_end_is_not() -> None:
    assert delivered(asked(), b": wait\n\n", event("a", "stop"), DONE, event("b"))[0] == (
        b": wait\n\n" + event("a", "stop") + DONE
    )


def test_a_whole_answer_is_passed_as_it_came() -> None:
    choice = b'{"text":"","index":0,"finish_reason":"length"}'
    body = b'{"choices":[' + choice + b'],"usage":{"prompt_tokens":5,"completion_tokens":2}}'
    seen, out = exchange(asked(stream=False), CHAT, (), "req_1", 0).answer(body)
    assert out is body
    assert (seen.meaningful, seen.complete, seen.usage) == (True, True, Usage(5, 2))


@pytest.mark.parametrize(
    "body",
    [b'{"error":{"message":"No."}}', b'{"message":"No."}', b'{"choices":[]}', b'{"choices":[],"usage":{}}'],
)
def test_what_is_no_answer_is_none(body: bytes) -> None:
    seen, _ = exchange(asked(stream=False), CHAT, (), "req_1", 0).answer(body)
    assert not seen.meaningful


def test_an_answer_of_a_chat_is_none() -> None:
    with pytest.raises(WireError, match="one of its choices has no text"):
        exchange(asked(), CHAT, (), "req_1", 0).answer(b'{"choices":[{"message":{"content":"Hi"}}]}')


@pytest.mark.parametrize("dialect", ["messages", "responses"])
def test_it_is_not_translated(dialect: Any) -> None:
    with pytest.raises(WireError, match="requests for completions are not translated"):
        exchange(asked(), Side("there", dialect, "its-model"), (), "req_1", 0)
