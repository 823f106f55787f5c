"""Requests that are only observed, without the proxy that leads them here."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp import web

from chain429.config import parse
from chain429.errors import ConnectFailed, Cut
from chain429.upstream import Answer
from chain429.web.covered import ORIGIN_HEADER, TICKET_HEADER, Origin, Taken
from chain429.web.server import Listener, api_runner
from chain429.web.through import Body, Passage, Through
from chain429.wire.chat import ChatRequest
from chain429.wire.dialect import ClientRequest
from chain429.wire.messages import MessagesRequest
from tests.fakes import FakeAnswer, FakeClock, Records

CONFIG = parse("providers: {a: {base_url: http://a.test/v1}}\nchains: {default: [a/big]}", {})
OPENAI = Origin("https", "api.openai.com", 443)
ASKED = b'{"model":"gpt-4o","messages":[{"role":"user","content":"Hi"}]}'
STREAMED = b'{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"Hi"}]}'
ANSWER = b'{"choices":[{"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":%s}'
USAGE = b'{"prompt_tokens":12,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":8}}'
WORD = b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n'
END = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}],"usage":' + USAGE + b"}\n\ndata: [DONE]\n\n"
JSON, EVENTS = {"content-type": "application/json"}, {"content-type": "text/event-stream"}


@dataclass
class FakeForwarding:
    """Answers everything with the same, and keeps what was sent."""

    answer: FakeAnswer | Exception
    sent: list[tuple[str, str, list[tuple[str, str]], Body]] = field(default_factory=list)

    async def forward(
        self, method: str, url: str, headers: Sequence[tuple[str, str]], body: Body, connect_timeout: float
    ) -> Answer:
        self.sent.append((method, url, list(headers), body))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@dataclass
class World:
    forwarding: FakeForwarding
    records: Records
    url: str

    async def ask(self, headers: Mapping[str, str] | None = None) -> tuple[int, Mapping[str, str], bytes]:
        async with (
            aiohttp.ClientSession() as client,
            client.post(self.url + "/v1/x", data=ASKED, headers=headers) as answer,
        ):
            return answer.status, answer.headers, await answer.read()


@asynccontextmanager
async def passing(
    answer: FakeAnswer | Exception, asked: ClientRequest | None = None, taken: Taken | None = None
) -> AsyncIterator[World]:
    forwarding, records, clock = FakeForwarding(answer), Records(), FakeClock()
    through = Through(forwarding, lambda: CONFIG, lambda text: text == "c429_token", records, clock)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        passage = Passage("req_1", OPENAI, asked, await request.read(), taken, "1.1 chain429-x", 0.0, clock.monotonic())
        return await through.pass_on(request, passage)

    listener = await Listener.start(api_runner(handle, max_body=lambda: 100_000, drain=0.5), "127.0.0.1", 0, "the API")
    try:
        yield World(forwarding, records, listener.url)
    finally:
        await listener.stop()


@pytest.mark.parametrize(
    ("body", "headers", "pieces"),
    [
        (ASKED, JSON, [ANSWER[:20], ANSWER[20:] % USAGE]),
        (STREAMED, EVENTS, [WORD[:9], WORD[9:], END]),
        # Some providers begin a stream that was not asked for, and some the other way round.
        (ASKED, EVENTS, [WORD + END]),
    ],
)
async def test_usage_is_read_along(body: bytes, headers: Mapping[str, str], pieces: list[bytes]) -> None:
    async with passing(FakeAnswer(200, headers, pieces), ChatRequest.parse(body)) as world:
        assert (await world.ask())[2] == b"".join(pieces)
        record = world.records.last
        assert (record.provider, record.model, record.chain, record.outcome) == (
            "openai",
            "gpt-4o",
            "observe",
            "served",
        )
        assert (record.tokens_in, record.tokens_out, record.tokens_cached) == (12, 3, 8)
        assert [attempt.outcome for attempt in record.attempts] == ["served"]


@pytest.mark.parametrize("answer", [b"not JSON", b'{"choices": 5}', b""])
async def test_what_cant_be_read_is_passed_on_all_the_same(answer: bytes) -> None:
    async with passing(FakeAnswer(200, JSON, [answer]), ChatRequest.parse(ASKED)) as world:
        assert (await world.ask())[::2] == (200, answer)
        assert (world.records.last.outcome, world.records.last.tokens_in) == ("served", None)


async def test_headers_go_both_ways_but_for_those_of_a_connection_and_our_own() -> None:
    theirs = {**JSON, "x-ratelimit-reset": "5", "keep-alive": "timeout=5", "connection": "x-hop", "x-hop": "1"}
    taken = Taken("/v1/chat/completions?key=k", (("authorization", "Bearer sk-1"), ("cookie", "a=b")))
    async with passing(FakeAnswer(201, theirs, [b"{}"]), taken=taken) as world:
        ours = {ORIGIN_HEADER: "https://x", TICKET_HEADER: "t", "x-chain429-token": "c429_token", "te": "trailers"}
        ours["expect"] = "something"
        mine = {**ours, "x-api-key": "c429_token", "openai-beta": "x", "connection": "x-mine", "x-mine": "1"}
        status, headers, _ = await world.ask(mine)
        assert (status, headers["x-ratelimit-reset"]) == (201, "5")
        assert not {"x-hop", "keep-alive"} & {name.lower() for name in headers}
        (method, url, sent, body) = world.forwarding.sent[0]
        assert (method, url, body) == ("POST", "https://api.openai.com/v1/chat/completions?key=k", ASKED)
        told = {name.lower(): value for name, value in sent}
        assert (told["authorization"], told["cookie"], told["openai-beta"]) == ("Bearer sk-1", "a=b", "x")
        assert (told["via"], told["accept-encoding"]) == ("1.1 chain429-x", "identity")
        assert not {*ours, "x-api-key", "x-mine", "host", "content-length"} & told.keys()


@pytest.mark.parametrize(
    ("status", "outcome", "attempt"),
    [
        (400, "refused", "rejected"),
        (401, "exhausted", "unauthorized"),
        (429, "exhausted", "rate_limited"),
        (503, "exhausted", "failed"),
        (304, "served", "served"),
    ],
)
async def test_what_became_of_it(status: int, outcome: str, attempt: str) -> None:
    async with passing(FakeAnswer(status, JSON, []), ChatRequest.parse(ASKED)) as world:
        assert (await world.ask())[0] == status
        record = world.records.last
        assert (record.status, record.outcome, record.attempts[0].outcome) == (status, outcome, attempt)


async def test_a_host_that_is_not_there_is_told_of_in_the_clients_words() -> None:
    asked = MessagesRequest.parse(b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}')
    async with passing(ConnectFailed("no connection: unreachable"), asked) as world:
        status, headers, body = await world.ask()
        told = json.loads(body)
        assert (status, headers["content-type"], told["type"]) == (502, "application/json", "error")
        assert "api.openai.com is observed here" in told["error"]["message"]
        record = world.records.last
        assert (record.status, record.outcome, record.attempts[0].outcome) == (502, "exhausted", "failed")


@pytest.mark.parametrize(
    ("target", "url"),
    [
        ("/v1/x?a=b", "https://api.openai.com/v1/x?a=b"),
        ("https://api.openai.com/v1/x?a=b", "https://api.openai.com/v1/x?a=b"),
        ("//elsewhere.example/x", "https://api.openai.com//elsewhere.example/x"),
        # By HTTP/2 anything can come as a path; a key goes with it.
        ("@elsewhere.example/x", "https://api.openai.com/"),
        (".elsewhere.example/x", "https://api.openai.com/"),
        ("*", "https://api.openai.com/"),
    ],
)
async def test_no_path_makes_another_host_of_it(target: str, url: str) -> None:
    async with passing(FakeAnswer(200, JSON, [b"{}"]), taken=Taken(target, ())) as world:
        await world.ask()
        assert world.forwarding.sent[0][1] == url


async def test_an_answer_that_is_cut_short_does_not_look_whole(caplog: pytest.LogCaptureFixture) -> None:
    answer = FakeAnswer(200, EVENTS, [WORD, Cut("its answer was cut short")])
    async with passing(answer, ChatRequest.parse(STREAMED)) as world:
        with pytest.raises(aiohttp.ClientPayloadError):
            await world.ask()
        record = world.records.last
        assert (record.outcome, record.error) == ("broken", "its answer was cut short")
        assert answer.closed
        assert "a fault in chain429" not in caplog.text


async def test_a_compressed_answer_is_passed_on_as_it_was_unpacked() -> None:
    packed = {**JSON, "content-encoding": "gzip", "content-length": "7"}
    async with passing(FakeAnswer(200, packed, [b"unpacked by now"])) as world:
        _, headers, body = await world.ask()
        assert body == b"unpacked by now"
        assert "content-encoding" not in headers
