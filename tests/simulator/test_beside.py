from __future__ import annotations

import base64
import json
import struct
from typing import Any

import aiohttp
import pytest

from chain429.simulator.dialect import Generic
from chain429.simulator.provider import SimulatedProvider
from chain429.simulator.reply import Reply
from chain429.simulator.server import Simulator
from tests.simulator.fakes import NOON, body_of, provider


def ask(path: str, of: SimulatedProvider | None = None, **fields: Any) -> Reply:
    return (of or provider(Generic())).beside(path, None, {"model": "qwen3", **fields}, NOON)


def test_a_whole_completion() -> None:
    body = body_of(ask("/completions", prompt=["Hi", "Ho"], n=2))
    assert [choice["text"][-7:] for choice in body["choices"]] == ["aid: Hi", "aid: Hi", "aid: Ho", "aid: Ho"]
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2, 3]
    assert body["usage"]["prompt_tokens"] == 2


def test_a_streamed_completion() -> None:
    reply = ask("/completions", prompt="Hi", stream=True, stream_options={"include_usage": True})
    *pieces, usage, done = [piece.removeprefix(b"data: ") for piece in reply.pieces]
    choices = [json.loads(piece)["choices"][0] for piece in pieces]
    assert "".join(choice["text"] for choice in choices) == "generic/qwen3 here. You said: Hi"
    assert [choice["finish_reason"] for choice in choices[-2:]] == [None, "stop"]
    assert json.loads(usage)["usage"]["completion_tokens"] == 8
    assert done == b"[DONE]\n\n"


def test_embeddings_of_equal_texts_are_equal() -> None:
    rows = body_of(ask("/embeddings", input=["a", "b", "a"]))["data"]
    first, second, third = [row["embedding"] for row in rows]
    assert first == third != second


def test_embeddings_come_packed_if_they_are_wanted_so() -> None:
    (plain,) = body_of(ask("/embeddings", input="a"))["data"]
    (packed,) = body_of(ask("/embeddings", input="a", encoding_format="base64"))["data"]
    assert list(struct.unpack("<8f", base64.b64decode(packed["embedding"]))) == plain["embedding"]


@pytest.mark.parametrize(("given", "count"), [("a", 1), ([1, 2], 1), ([[1, 2], [3]], 2)])
def test_there_is_one_for_each_text(given: Any, count: int) -> None:
    assert len(body_of(ask("/embeddings", input=given))["data"]) == count


def test_what_is_refused() -> None:
    assert ask("/embeddings", input=[]).status == 400
    assert ask("/completions").status == 400
    assert ask("/completions", prompt="Hi", n=0).status == 400
    assert ask("/embeddings", input="a", model="other").status == 404
    generic = provider(Generic())
    generic.script("429")
    assert [ask("/embeddings", generic, input="a").status for _ in range(2)] == [429, 200]


async def test_they_are_served() -> None:
    async with Simulator() as simulator, aiohttp.ClientSession(simulator.base_url("generic") + "/") as client:
        async with client.post("embeddings", json={"model": "qwen3", "input": "a"}) as response:
            assert response.status == 200
        async with client.post("completions", json={"model": "qwen3", "prompt": "a"}) as response:
            assert response.status == 200
