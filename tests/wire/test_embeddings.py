"""Embeddings, passed on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chain429.errors import RequestError, WireError
from chain429.wire.dialect import Problem, Side
from chain429.wire.embeddings import EMBEDDINGS, EmbeddingsRequest
from chain429.wire.events import Usage
from chain429.wire.exchange import droppable, exchange

CHAT = Side("there", "chat", "its-model")
ROW = b'{"object":"embedding","index":0,"embedding":[0.1,1e-7]}'
ANSWER = b'{"object":"list","data":[' + ROW + b'],"model":"its-model","usage":{"prompt_tokens":4,"total_tokens":4}}'


def asked(**fields: Any) -> EmbeddingsRequest:
    return EmbeddingsRequest.parse(json.dumps({"model": "default", "input": "Hi", **fields}).encode())


def test_only_the_model_is_changed() -> None:
    body = b'{ "input": ["\\u00e9", "b"], "model": "default", "dimensions": 1e2, "odd": null }'
    attempt = exchange(EmbeddingsRequest.parse(body), CHAT, ("dimensions",), "req_1", 0)
    assert attempt.path == "/embeddings"
    assert (dict(attempt.headers), attempt.lost) == ({}, ())
    sent = json.loads(attempt.body)
    assert sent == json.loads(body) | {"model": "its-model"}
    assert b"1e2" in attempt.body


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"model": 5}, "model"),
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": {}}, "input"),
        ({"input": ["a", 1]}, "input"),
        ({"input": [[1], []]}, "input"),
        ({"input": [True]}, "input"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        asked(**fields)
    assert (caught.value.status, caught.value.param) == (400, param)


def test_a_body_that_is_not_json_is_refused() -> None:
    with pytest.raises(RequestError, match="it ends too early"):
        EmbeddingsRequest.parse(b"{")


def test_an_answer_is_passed_as_it_came_and_its_tokens_are_counted() -> None:
    seen, body = exchange(asked(), CHAT, (), "req_1", 0).answer(ANSWER)
    assert body is ANSWER
    assert (seen.meaningful, seen.complete, seen.usage) == (True, True, Usage(4, 0))


@pytest.mark.parametrize(
    ("given", "rows"),
    [("Hi", 1), ([1, 2, 3], 1), (["a"], 1), (["a", "b"], 2), ([[1, 2], [3]], 2)],
)
def test_there_must_be_one_for_each_text(given: Any, rows: int) -> None:
    attempt = exchange(asked(input=given), CHAT, (), "req_1", 0)
    assert attempt.answer(b'{"data":[' + b",".join([ROW] * rows) + b"]}")[0].complete
    with pytest.raises(WireError, match=f"it has {rows + 1} embeddings where {rows} were asked for"):
        attempt.answer(b'{"data":[' + b",".join([ROW] * (rows + 1)) + b"]}")


@pytest.mark.parametrize("row", [b"{}", b"5", b'{"embedding":[]}', b'{"embedding":""}', b'{"embedding":7}'])
def test_what_is_no_embedding_is_no_answer(row: bytes) -> None:
    with pytest.raises(WireError, match="one of its embeddings is none"):
        exchange(asked(), CHAT, (), "req_1", 0).answer(b'{"data":[' + row + b"]}")


@pytest.mark.parametrize(
    "body", [b'{"error":{"message":"No."}}', b'{"message":"No."}', b'{"data":null}', b'{"data":{}}']
)
def test_an_error_in_a_success_is_one(body: bytes) -> None:
    seen, _ = exchange(asked(), CHAT, (), "req_1", 0).answer(body)
    assert seen.error is not None
    assert not seen.meaningful


@pytest.mark.parametrize("dialect", ["messages", "responses"])
def test_it_is_not_translated(dialect: Any) -> None:
    with pytest.raises(WireError, match="requests for embeddings are not translated"):
        exchange(asked(), Side("there", dialect, "its-model"), (), "req_1", 0)


def test_nothing_is_left_out_of_it() -> None:
    assert droppable(asked(dimensions=5), CHAT, "dimensions") is None


def test_what_it_takes_is_known() -> None:
    request = asked()
    assert (request.stream, request.max_tokens, request.wants) == (False, 0, ())
    assert not request.conversation("a session").begun
    assert json.loads(EMBEDDINGS.error(Problem(429, "Later.")))["error"]["message"] == "Later."
