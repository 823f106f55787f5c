from __future__ import annotations

import json

import pytest

from chain429.errors import RequestError
from chain429.wire.chat import CHAT, ChatRequest
from chain429.wire.cursor import CursorRequest, parse
from chain429.wire.dialect import Side
from chain429.wire.exchange import exchange

ASKED = b'{"model":"m","stream":true,"input":[{"role":"user","content":"Hi"}],"tools":[{"type":"function","name":"f"}]}'


def test_edge_26_a_body_of_the_other_api_is_answered_in_the_words_of_this_one() -> None:
    request = parse(ASKED)
    assert isinstance(request, CursorRequest)
    assert (request.model, request.stream, request.dialect) == ("m", True, CHAT)
    for dialect in ("chat", "responses"):
        attempt = exchange(request, Side("p", dialect, "x", vendor=True), (), "1", 0)
        assert attempt.path == {"chat": "/chat/completions", "responses": "/responses"}[dialect]
    attempt = exchange(request, Side("p", "chat", "x"), (), "1", 0)
    assert json.loads(attempt.body)["messages"] == [{"role": "user", "content": "Hi"}]
    stream = attempt.stream()
    out = stream.feed(b'data: {"choices":[{"delta":{"content":"Yes"},"finish_reason":"stop"}],"usage":{}}\n\n')
    out += stream.close()
    assert b'"object":"chat.completion.chunk"' in out
    assert b'"usage"' not in out
    assert out.endswith(b"data: [DONE]\n\n")


def test_usage_is_told_where_it_is_asked_for() -> None:
    request = parse(ASKED[:-1] + b',"stream_options":{"include_usage":true}}')
    stream = exchange(request, Side("p", "chat", "x"), (), "1", 0).stream()
    out = stream.feed(
        b'data: {"choices":[{"delta":{"content":"Yes"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}\n\n'
    )
    assert b'"usage"' in out + stream.close()


def test_any_other_body_is_read_as_ever() -> None:
    assert isinstance(parse(b'{"messages":[{"role":"user","content":"Hi"}],"input":"Hi"}'), ChatRequest)
    for body in (b'{"model":"m"}', b'{"messages":[]}', b'{"messages":[1]}', b"{"):
        with pytest.raises(RequestError):
            parse(body)
    with pytest.raises(RequestError, match="messages"):
        parse(b'{"model":"m"}')
    with pytest.raises(RequestError, match="input"):
        parse(b'{"input":[1]}')
