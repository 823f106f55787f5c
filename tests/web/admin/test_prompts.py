from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from chain429.errors import ConnectFailed
from tests.fakes import HANG, FakeAnswer
from tests.test_engine import FINISH, ROLE, TOO_MANY, USAGE, WORD, World, error, stream
from tests.web.admin.conftest import BEARER, Script

REASONING = b'data: {"choices":[{"index":0,"delta":{"reasoning_content":"Hm."}}]}\n\n'
DONE = b"data: [DONE]\n\n"


def world(ask: Script, **script: Sequence[FakeAnswer | Exception | str]) -> World:
    found = World(script, clock=ask.site.clock)
    ask.gateway.config, ask.gateway.engine = found.config, found.engine
    return found


async def events(ask: Script, **body: object) -> list[tuple[str, Any]]:
    status, text = await ask("POST", "prompt", {"model": "default", "prompt": "Hello <b>", **body})
    assert status == 200
    blocks = [block.split("\n") for block in text.split("\n\n") if block]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in blocks]


async def test_the_answer_comes_in_pieces_and_then_who_served_it(ask: Script) -> None:
    made = world(ask, a=[error(429, TOO_MANY)], b=[stream(ROLE, REASONING, WORD, WORD, FINISH, USAGE, DONE)])
    begin, *pieces, (name, end) = await events(ask, system="Be brief.", max_tokens=40)
    assert begin == ("begin", {"request_id": made.records.last.id, "chain": "default"})
    assert pieces == [("reasoning", {"text": "Hm."}), ("text", {"text": "Hi"}), ("text", {"text": "Hi"})]
    assert name == "end"
    assert end["served"] == {"provider": "b", "model": "big", "credential": "b/B"}
    assert (end["tokens_in"], end["tokens_out"], end["finish"], end["error"]) == (3, 2, "stop", None)
    assert (end["seconds"], end["first_token"]) == (0.0, 0.0)
    assert [(row["provider"], row["outcome"]) for row in end["attempts"]] == [("a", "rate_limited"), ("b", "served")]
    sent = json.loads(made.upstream.requests[-1].body)
    assert [message["content"] for message in sent["messages"]] == ["Be brief.", "Hello <b>"]
    assert sent["max_tokens"] == 40
    assert (made.records.last.client, made.records.last.outcome) == ("pages", "served")


async def test_where_nobody_serves_it_the_end_says_why(ask: Script) -> None:
    world(ask, a=[error(429, TOO_MANY)], b=[error(500)], c=[ConnectFailed("refused")])
    (begin, _), (name, end) = await events(ask)
    assert (begin, name, end["served"], end["status"]) == ("begin", "end", None, 429)
    assert "No target of chain 'default' is free." in end["error"]
    assert len(end["attempts"]) == 3


async def test_what_breaks_off_is_told_with_what_there_was_of_it(ask: Script) -> None:
    world(ask, a=[stream(ROLE, WORD)])
    found = await events(ask, model="alone")
    assert found[1] == ("text", {"text": "Hi"})
    assert found[-1][1]["served"]["provider"] == "a"
    assert "broke off" in found[-1][1]["error"]
    assert found[-1][1]["attempts"][-1]["outcome"] == "broken"


async def test_whoever_leaves_takes_the_call_with_them(ask: Script) -> None:
    made = world(ask, a=[stream(ROLE, WORD, HANG)])
    body = {"model": "alone", "prompt": "Hello"}
    answer = await ask.site.client.post("/admin/api/prompt", json=body, headers=BEARER)
    await answer.content.readuntil(b'{"text":"Hi"}\n\n')
    answer.close()
    while not made.records.all:  # noqa: ASYNC110  when it is noticed is the server's own
        await asyncio.sleep(0)
    assert made.records.last.outcome == "cancelled"
    assert made.upstream.answers[-1].closed


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({}, 400, "'prompt' must be the text"),
        ({"model": "default", "prompt": " "}, 400, "'prompt' must be the text"),
        ({"prompt": "Hi"}, 400, "'model'"),
        ({"model": "default", "prompt": "Hi", "max_tokens": 0}, 400, "'max_tokens'"),
        ({"model": "default", "prompt": "Hi", "stream": False}, 400, "Send JSON such as"),
        (b"[", 400, "Send JSON such as"),
    ],
)
async def test_what_can_not_be_sent(ask: Script, body: object, status: int, words: str) -> None:
    world(ask, a=[])
    found, told = await ask("POST", "prompt", body)
    assert (found, words in told["error"]["message"]) == (status, True)


async def test_a_model_that_is_not_known_is_refused_where_the_configuration_is_strict(ask: Script) -> None:
    made = World({}, "strict: true\nproviders: {c: {base_url: https://c.test/v1}}\nchains: {default: c/x}\n")
    ask.gateway.config = made.config
    assert (await ask("POST", "prompt", {"model": "nothing", "prompt": "Hi"}))[0] == 404
