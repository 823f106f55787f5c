"""The API as clients meet it: a real listener, a scripted upstream."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import socket
import zlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from chain429.config import Config, parse
from chain429.engine import Engine
from chain429.errors import StartError
from chain429.redact import Redactor
from chain429.routing.ledger import Ledger
from chain429.upstream import HttpUpstream
from chain429.web.api import Api, normalise
from chain429.web.auth import Doors, Peer, kept_token
from chain429.web.server import Listener, api_runner
from chain429.web.through import Through
from chain429.wire.via import mark
from tests.fakes import HANG, FakeAnswer, FakeClock, FakeUpstream, Records, settle

CONFIG = """
patience: 0
providers: {a: {base_url: http://a.test/v1}}
chains: {default: [a/big], fast: [a/small]}
aliases: {gpt-4o: default, "claude-*": fast}
max_body: 100000
"""
TOKEN = "c429_test"
VIA = mark("here")
AUTH = {"authorization": f"Bearer {TOKEN}"}
HELLO = b'{"model":"default","messages":[{"role":"user","content":"Hi"}]}'
STREAMED = b'{"model":"default","stream":true,"messages":[{"role":"user","content":"Hi"}]}'
ANSWER = b'{"choices":[{"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}'
WORD = b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n'
END = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
OK = FakeAnswer(200, {"content-type": "application/json"}, [ANSWER])


def stream(*pieces: bytes | str | asyncio.Event) -> FakeAnswer:
    return FakeAnswer(200, {"content-type": "text/event-stream"}, pieces)


@dataclass
class Server:
    url: str
    port: int
    upstream: FakeUpstream
    records: Records
    clock: FakeClock
    client: aiohttp.ClientSession
    proxied: set[Peer]
    listener: Listener
    looked: asyncio.Event  # at the configuration
    adopt: Callable[[str], None]

    async def post(
        self, body: bytes = HELLO, path: str = "/v1/chat/completions", headers: Mapping[str, str] = AUTH
    ) -> tuple[int, Mapping[str, str], bytes]:
        async with self.client.post(self.url + path, data=body, headers=headers) as response:
            return response.status, response.headers, await response.read()

    async def get(self, path: str, headers: Mapping[str, str] = AUTH) -> tuple[int, Mapping[str, str], bytes]:
        async with self.client.get(self.url + path, headers=headers) as response:
            return response.status, response.headers, await response.read()

    async def raw(self, data: bytes, *, proxied: bool = False) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        if proxied:
            self.proxied.add(writer.get_extra_info("sockname"))
        writer.write(data)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer


@asynccontextmanager
async def serving(*answers: FakeAnswer | str, text: str = CONFIG) -> AsyncIterator[Server]:
    clock, records = FakeClock(), Records()
    config = parse(text, {})
    ledger = Ledger(config.breaker)
    script: Mapping[str, Sequence[FakeAnswer | Exception | str]] = {"http://a.test": answers or (OK,)}
    upstream = FakeUpstream(script)
    engine = Engine(config, ledger, upstream, records, clock, Redactor())
    proxied: set[Peer] = set()
    doors = Doors([TOKEN], proxied)
    through = Through(HttpUpstream(clock), lambda: config, doors.is_token, records, clock)
    looked, configs = asyncio.Event(), [config]

    def current() -> Config:
        looked.set()
        return configs[-1]

    def adopt(text: str) -> None:
        configs.append(parse(text, {}))
        engine.adopt(configs[-1])

    api = Api(
        engine,
        current,
        lambda: doors,
        records,
        clock,
        lambda: {"status": "ok"},
        "it is kept in a file",
        VIA,
        through,
    )
    listener = await Listener.start(
        api_runner(api.handle, max_body=lambda: config.max_body, drain=0.5), "127.0.0.1", 0, "the API"
    )
    try:
        async with aiohttp.ClientSession() as client:
            yield Server(
                listener.url, listener.port, upstream, records, clock, client, proxied, listener, looked, adopt
            )
    finally:
        await listener.stop()


async def test_a_request_is_answered() -> None:
    async with serving() as server:
        status, headers, body = await server.post()
        assert (status, body) == (200, ANSWER)
        assert headers["content-type"] == "application/json"
        assert headers["x-chain429-provider"] == "a"
        assert headers["x-request-id"].startswith("req_")
        assert server.records.last.client == "sdk"


async def test_what_was_sent_from_here_does_not_go_round() -> None:
    async with serving() as server:
        status, _, body = await server.post(headers={**AUTH, "via": f"1.1 office.example, {VIA}"})
        assert (status, json.loads(body)["error"]["code"]) == (508, "loop_detected")
        assert server.upstream.requests == []
        assert server.records.last.outcome == "refused"


async def test_another_gateway_may_be_passed_and_is_named_to_the_next() -> None:
    async with serving() as server:
        await server.post()
        await server.post(headers={**AUTH, "via": mark("there")})
        plain, marked = server.upstream.requests
        assert "via" not in plain.headers
        assert marked.headers["via"] == f"{mark('there')}, {VIA}"


async def test_the_proxy_tells_for_which_host_a_request_came() -> None:
    text = CONFIG + "proxy: {hosts: {api.openai.com: fast}}"
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %s\r\n" % TOKEN.encode()
    told = b"x-chain429-origin: https://api.openai.com\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(HELLO)
    body = HELLO.replace(b'"default"', b'"gpt-4o"')
    told = told.replace(b"%d" % len(HELLO), b"%d" % len(body))
    async with serving(text=text) as server:
        for proxied, chain in ((True, b"fast"), (False, b"default")):
            answer = await server.raw(head + told + body, proxied=proxied)
            assert b"x-chain429-chain: " + chain in answer


async def test_codex_is_answered_in_responses() -> None:
    async with serving() as server:
        body = b'{"model":"default","input":"Hi"}'
        status, headers, answer = await server.post(body, "/v1/responses")
        assert (status, headers["content-type"]) == (200, "application/json")
        told = json.loads(answer)
        assert (told["object"], told["status"]) == ("response", "completed")
        assert told["output"][0]["content"][0]["text"] == "Hi"
        assert json.loads(server.upstream.requests[0].body)["messages"] == [{"role": "user", "content": "Hi"}]
        assert server.records.last.dialect == "responses"


async def test_who_asks_for_a_websocket_is_told_to_go_on_over_http() -> None:
    async with serving() as server:
        asked = {**AUTH, "upgrade": "websocket", "connection": "Upgrade"}
        status, _, body = await server.get("/v1/responses", asked)
        assert (status, json.loads(body)["error"]["code"]) == (426, "websocket_not_supported")
        status, headers, _ = await server.get("/v1/responses")
        assert (status, headers["allow"]) == (405, "POST")


async def test_a_body_of_responses_at_the_path_of_chat_completions_is_answered_in_chat_completions() -> None:
    async with serving() as server:
        status, _, answer = await server.post(b'{"model":"default","input":[{"role":"user","content":"Hi"}]}')
        assert (status, json.loads(answer)["choices"][0]["message"]["content"]) == (200, "Hi")


LIMITED = FakeAnswer(429, {"content-type": "application/json", "retry-after": "20"}, [b'{"error":{"message":"!"}}'])


@pytest.mark.parametrize(
    ("usual", "asked", "waits"),
    [
        (30, None, True),
        (30, "", True),
        (30, "0", False),
        (30, "19", False),
        (0, "21", True),
        (0, "20.5", True),
        (0, "inf", True),
        # What makes no sense is as if it were not said.
        (30, "-1", True),
        (30, "nan", True),
        (30, "soon", True),
        (0, "soon", False),
    ],
)
async def test_a_request_may_say_how_long_it_would_wait(usual: int, asked: str | None, waits: bool) -> None:
    async with serving(LIMITED, OK, text=CONFIG.replace("patience: 0", f"patience: {usual}")) as server:
        headers = AUTH if asked is None else {**AUTH, "x-chain429-patience": asked}
        request = asyncio.ensure_future(server.post(headers=headers))
        await until(lambda: bool(server.upstream.requests))
        await until(lambda: request.done() or bool(server.clock.waiting))
        await server.clock.advance(20)
        status, answer, _ = await request
        assert (status, answer["x-chain429-attempts"]) == ((200, "2") if waits else (429, "1"))
        assert "x-chain429-patience" not in server.upstream.requests[0].headers


async def test_no_request_waits_for_longer_than_five_minutes() -> None:
    spent = b'{"error":{"message":"10 requests per hour"}}'
    refusal = FakeAnswer(429, {"content-type": "application/json", "retry-after": "301"}, [spent])
    async with serving(refusal, OK) as server:
        status, headers, _ = await server.post(headers={**AUTH, "x-chain429-patience": "86400"})
        assert (status, headers["retry-after"]) == (429, "55")


@pytest.mark.parametrize("name", ["x-chain429-session", "X-Claude-Code-Session-Id", "session_id"])
async def test_a_session_that_a_header_names_is_kept_together(name: str) -> None:
    text = CONFIG.replace("chains: {", "chains: {pair: [a/m, a/n], ")
    async with serving(OK, LIMITED, OK, text=text) as server:

        async def ask(about: str) -> str:
            talk = [{"role": "assistant", "content": "!"}, {"role": "user", "content": about}]
            body = json.dumps({"model": "pair", "messages": talk}).encode()
            status, headers, _ = await server.post(body, headers={**AUTH, name: "s-1"})
            assert status == 200
            return headers["x-chain429-model"]

        assert [await ask("one"), await ask("two")] == ["m", "n"]
        await server.clock.advance(60)
        assert await ask("three") == "n"
        assert name.lower() not in server.upstream.requests[-1].headers


async def test_a_stream_is_streamed() -> None:
    async with serving(stream(WORD, HANG)) as server:
        async with server.client.post(f"{server.url}/v1/chat/completions", data=STREAMED, headers=AUTH) as response:
            assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert "content-encoding" not in response.headers
            # The word is here although the provider has not gone on.
            assert await response.content.readuntil(b"\n\n") == WORD
        await until(lambda: bool(server.records.all))
        assert server.records.last.outcome == "cancelled"
        assert server.upstream.answers[0].closed


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  sockets give no event to wait for
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("/v1/chat/completions", "/chat/completions"),
        ("/chat/completions", "/chat/completions"),
        ("/v1/v1/chat/completions/", "/chat/completions"),
        ("//v1//models", "/models"),
        ("/", "/"),
        ("/v1", "/"),
    ],
)
def test_paths_are_tolerated(path: str, known: str) -> None:
    assert normalise(path) == known


async def test_a_query_does_not_matter() -> None:
    async with serving() as server:
        assert (await server.post(path="/chat/completions/?beta=true"))[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": "Bearer"},
        {"x-api-key": ""},
        {"authorization": "Bearer ü".encode().decode("latin-1")},
    ],
)
async def test_without_the_token_there_is_no_answer(headers: dict[str, str]) -> None:
    async with serving() as server:
        status, got, body = await server.post(headers=headers)
        assert status == 401
        assert got["x-should-retry"] == "false"
        assert json.loads(body)["error"]["code"] == "invalid_api_key"
        assert server.upstream.requests == []
        assert (server.records.last.status, server.records.last.outcome) == (401, "refused")
        assert (await server.get("/v1/models", headers))[0] == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": TOKEN},
        {"authorization": f"bearer {TOKEN}"},
        {"authorization": "Bearer client's own", "x-chain429-token": TOKEN},
    ],
)
async def test_every_way_to_show_the_token_works(headers: dict[str, str]) -> None:
    async with serving() as server:
        assert (await server.post(headers=headers))[0] == 200
        assert server.records.last.client == "sdk"
        assert {"authorization", "x-api-key", "x-chain429-token"}.isdisjoint(server.upstream.requests[0].headers)


async def test_who_comes_through_the_proxy_needs_no_token() -> None:
    request = (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(HELLO)
    ) + HELLO
    async with serving() as server:
        assert (await server.raw(request)).startswith(b"HTTP/1.1 401")
        assert (await server.raw(request, proxied=True)).startswith(b"HTTP/1.1 200")
        assert server.records.last.client == "proxy"


async def test_health_and_root_need_no_token() -> None:
    async with serving() as server:
        status, _, body = await server.get("/health", {})
        assert (status, json.loads(body)) == (200, {"status": "ok"})
        async with server.client.head(server.url + "/") as response:
            assert response.status == 200


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "could not be read"),
        (b"{", "not valid JSON"),
        (b'{"model":"default"}', "'messages'"),
        (b"[1]", "must be a JSON object"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
async def test_a_bad_body_is_a_clear_400_and_a_row(body: bytes, words: str) -> None:
    async with serving() as server:
        status, _, answer = await server.post(body)
        assert status == 400
        error = json.loads(answer)["error"]
        assert words in error["message"]
        assert error["type"] == "invalid_request_error"
        assert (server.records.last.outcome, server.records.last.status) == ("refused", 400)


async def test_a_body_that_is_too_large_is_a_413_however_it_comes() -> None:
    large = b" " * 200_000

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield large[:10_000]

    async with serving() as server:
        assert (await server.post(large))[0] == 413
        async with server.client.post(f"{server.url}/v1/chat/completions", data=pieces(), headers=AUTH) as response:
            assert response.status == 413
        squeezed = gzip.compress(large)
        status, _, body = await server.post(squeezed, headers={**AUTH, "content-encoding": "gzip"})
        assert status == 413
        assert json.loads(body)["error"]["code"] == "request_too_large"


# As clients squeeze HELLO: Claude Code by gzip, Codex by zstd.
SQUEEZED = {
    "gzip": gzip.compress(HELLO),
    "deflate": zlib.compress(HELLO),
    "zstd": bytes.fromhex("28b52ffd203ff90100") + HELLO,
}


@pytest.mark.parametrize("encoding", SQUEEZED)
async def test_a_squeezed_body_is_read(encoding: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with serving() as server:
        headers = {**AUTH, "content-encoding": encoding}
        assert (await server.post(SQUEEZED[encoding], headers=headers))[0] == 200
        assert b'"content":"Hi"' in server.upstream.requests[-1].body
        status, response_headers, body = await server.post(b"nothing of the kind", "/v1/messages", headers)
        assert (status, json.loads(body)["error"]["type"]) == (400, "invalid_request_error")
        assert "can't be decoded" in json.loads(body)["error"]["message"]
        assert response_headers["connection"] == "close"
    assert not caplog.records


@pytest.mark.parametrize("encoding", ["snappy", "gzip, gzip"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/messages/count_tokens", "/v1/responses"])
async def test_an_encoding_that_is_not_known_is_refused(path: str, encoding: str) -> None:
    async with serving() as server:
        status, headers, body = await server.post(HELLO, path, {**AUTH, "content-encoding": encoding})
        assert (status, headers["connection"]) == (415, "close")
        assert f"content-encoding '{encoding}' is not known" in json.loads(body)["error"]["message"]
        assert server.upstream.requests == []


async def test_a_request_takes_the_configuration_of_the_moment_when_it_is_there_as_a_whole() -> None:
    async with serving() as server:

        async def slowly() -> AsyncIterator[bytes]:
            yield HELLO[:20]
            await server.looked.wait()
            server.adopt(CONFIG.replace("{a:", "{b:").replace("[a/", "[b/"))
            yield HELLO[20:]

        async with server.client.post(f"{server.url}/v1/chat/completions", data=slowly(), headers=AUTH) as response:
            assert (response.status, response.headers["x-chain429-provider"]) == (200, "b")


async def test_unknown_models_take_the_default_chain_unless_strict() -> None:
    body = HELLO.replace(b'"default"', b'"gpt-99"')
    async with serving() as server:
        assert (await server.post(body))[0] == 200
        assert (server.records.last.chain, server.records.last.model_asked) == ("default", "gpt-99")
    async with serving(text=CONFIG + "strict: true\n") as server:
        status, _, answer = await server.post(body)
        assert status == 404
        assert json.loads(answer)["error"]["code"] == "model_not_found"
        assert (await server.post(HELLO.replace(b'"default"', b'"claude-x"')))[0] == 200
        assert server.records.last.chain == "fast"


async def test_models_are_listed() -> None:
    async with serving() as server:
        status, _, body = await server.get("/v1/models")
        assert status == 200
        found = json.loads(body)
        assert found["object"] == "list"
        assert [row["id"] for row in found["data"]] == ["default", "fast", "gpt-4o", "a/big", "a/small"]
        openai, anthropic = {"id", "object", "created", "owned_by"}, {"id", "type", "display_name", "created_at"}
        assert set(found["data"][0]) == openai | anthropic
        assert (found["has_more"], found["first_id"], found["last_id"]) == (False, "default", "a/small")
        for path in ("/v1/models/a/big", "/v1/models/a%2Fbig"):
            assert json.loads((await server.get(path))[2])["id"] == "a/big"
        assert (await server.get("/v1/models/none"))[0] == 404


async def test_models_are_listed_with_what_they_are_known_to_take() -> None:
    models = "models: {big: {context: 9000, output: 900}, small: {context: 4000, output: 1000}}"
    text = CONFIG.replace("http://a.test/v1", f"http://a.test/v1, {models}").replace("[a/small]", "[a/small, a/any]")
    text = text.replace("default: [a/big]", "default: [a/small, a/big], none: [a/any]")
    async with serving(text=text) as server:
        found = {row["id"]: row for row in json.loads((await server.get("/v1/models"))[2])["data"]}
        sizes = ("context_length", "max_input_tokens", "max_tokens")
        small, both = [4000, 4000, 1000], [9000, 9000, 1000]
        # What the largest takes is taken: a longer request passes the others over.
        expected = {"default": both, "gpt-4o": both, "fast": small, "a/small": small, "a/big": [9000, 9000, 900]}
        assert {name: [found[name][size] for size in sizes] for name in expected} == expected
        for name in ("none", "a/any"):
            assert not found[name].keys() & set(sizes)
        assert json.loads((await server.get("/v1/models/a/big"))[2]) == found["a/big"]


async def test_a_request_that_only_fills_a_cache_is_answered_without_a_provider() -> None:
    async with serving() as server:
        headers = {**AUTH, "anthropic-version": "2023-06-01", "x-request-id": "r-1"}
        body = b'{"model":"default","max_tokens":0,"messages":[{"role":"user","content":"Hello, how are you?"}]}'
        status, told, answer = await server.post(body, "/v1/messages", headers)
        message = json.loads(answer)
        assert (status, told["content-type"], told["request-id"]) == (200, "application/json", "r-1")
        assert (message["type"], message["content"], message["stop_reason"]) == ("message", [], "max_tokens")
        assert message["usage"]["input_tokens"] > 0
        assert message["usage"]["output_tokens"] == 0
        streamed = body.replace(b'"max_tokens":0', b'"max_tokens":0,"stream":true')
        status, told, answer = await server.post(streamed, "/v1/messages", headers)
        assert (status, told["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert [line for line in answer.split(b"\n") if line.startswith(b"event")] == [
            b"event: message_start",
            b"event: message_delta",
            b"event: message_stop",
        ]
        assert server.upstream.requests == []


async def test_embeddings_and_old_completions_are_passed_on() -> None:
    rows = b'{"data":[{"embedding":[0.5]}]}'
    text = b'data: {"choices":[{"text":"Hi","finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    async with serving(FakeAnswer(200, {"content-type": "application/json"}, [rows]), stream(text)) as server:
        assert (await server.post(b'{"model":"default","input":"Hi"}', "/v1/embeddings"))[::2] == (200, rows)
        asked = b'{"model":"gpt-4o","prompt":"Hi","stream":true}'
        assert (await server.post(asked, "/v1/completions"))[::2] == (200, text)
        assert [request.url for request in server.upstream.requests] == [
            "http://a.test/v1/embeddings",
            "http://a.test/v1/completions",
        ]
        assert [record.dialect for record in server.records.all] == ["embeddings", "completions"]


@pytest.mark.parametrize("model", ['"text-embedding-3-small"', '""', "null"])
async def test_embeddings_of_a_model_that_is_not_known_are_not_those_of_another(model: str) -> None:
    async with serving() as server:
        status, _, body = await server.post(b'{"model":%s,"input":"Hi"}' % model.encode(), "/v1/embeddings")
        error = json.loads(body)["error"]
        assert (status, error["param"]) == (400 if model == "null" else 404, "model")
        assert server.upstream.requests == []


async def test_what_is_wrong_with_what_is_passed_on_is_told_and_logged() -> None:
    async with serving() as server:
        for path, param in (("/v1/embeddings", "input"), ("/v1/completions", "prompt")):
            status, _, body = await server.post(b'{"model":"default"}', path)
            assert (status, json.loads(body)["error"]["param"]) == (400, param)
            assert (server.records.last.dialect, server.records.last.outcome) == (path.removeprefix("/v1/"), "refused")
            status, headers, _ = await server.get(path)
            assert (status, headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("path", "body", "place"),
    [
        ("/v1/chat/completions", b"{", ("error", "chain429", "request_id")),
        ("/v1/messages", b"{", ("request_id",)),
        ("/v1/responses", b"{", ("error", "chain429", "request_id")),
        ("/v1/nothing", b"{}", ("error", "chain429", "request_id")),
    ],
)
async def test_errors_say_which_request_they_are_about(path: str, body: bytes, place: tuple[str, ...]) -> None:
    async with serving() as server:
        _, headers, answer = await server.post(body, path, {**AUTH, "x-request-id": "r-1"})
        told = json.loads(answer)
        for name in place:
            told = told[name]
        assert (told, headers["request-id"]) == ("r-1", "r-1")


async def test_other_paths_and_methods_are_refused_in_the_same_words() -> None:
    async with serving() as server:
        status, _, body = await server.get("/v1/nothing")
        assert (status, json.loads(body)["error"]["code"]) == (404, "unknown_url")
        status, headers, _ = await server.get("/v1/chat/completions")
        assert (status, headers["allow"]) == (405, "POST")
        async with server.client.options(f"{server.url}/v1/chat/completions") as response:
            assert "access-control-allow-origin" not in response.headers
            assert response.status in (401, 405)


async def test_the_clients_request_id_is_kept_when_it_is_fit() -> None:
    async with serving() as server:
        for path in ("/v1/models", "/v1/models/default"):
            assert (await server.get(path))[1]["request-id"].startswith("req_")
        assert (await server.post(headers={**AUTH, "x-request-id": "mine-1"}))[1]["x-request-id"] == "mine-1"
        assert server.records.last.id == "mine-1"
        for unfit in ("x" * 129, "a b"):
            headers = {**AUTH, "x-request-id": unfit}
            assert (await server.post(headers=headers))[1]["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
async def test_what_is_no_http_gets_a_400_without_a_traceback(data: bytes) -> None:
    async with serving() as server:
        answer = await server.raw(data)
        assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400"))
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b"application/json" in head
        assert json.loads(body)["error"]["type"] == "invalid_request_error"
        assert b"Traceback" not in answer


@pytest.mark.parametrize(
    ("status", "data"),
    [
        (b"414", b"GET /v1/models?key=" + b"k" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"),
        (b"431", b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + b"k" * 40_000 + b"\r\n\r\n"),
    ],
)
async def test_what_is_too_long_is_said_without_quoting_it(status: bytes, data: bytes) -> None:
    async with serving() as server:
        head, _, body = (await server.raw(data)).partition(b"\r\n\r\n")
        assert head.split()[1] == status
        assert b"x-request-id: req_" in head
        assert "is too long" in json.loads(body)["error"]["message"]
        assert b"kk" not in body


async def test_a_client_that_leaves_while_it_sends_its_body_is_in_the_log() -> None:
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 9\r\n\r\n"
    )
    async with serving() as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(head.encode() + b"{")
        await until(lambda: server.clock.waiting > 0)
        writer.close()
        await writer.wait_closed()
        await until(lambda: bool(server.records.all))
        assert (server.records.last.status, server.records.last.outcome) == (499, "cancelled")


async def test_a_body_that_never_comes_is_a_408() -> None:
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 9\r\n\r\n"
    )
    async with serving() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(head.encode())
        await until(lambda: server.clock.waiting > 0)
        await server.clock.advance(120)
        assert (await reader.readline()).startswith(b"HTTP/1.1 408")
        writer.close()
        await writer.wait_closed()


async def test_a_client_that_waits_to_be_asked_for_its_body_is_asked() -> None:
    async with serving() as server, asyncio.timeout(5):
        url = f"{server.url}/v1/chat/completions"
        async with server.client.post(url, data=HELLO, headers=AUTH, expect100=True) as response:
            assert (response.status, await response.read()) == (200, ANSWER)


async def test_a_client_that_leaves_before_the_answer_closes_the_call() -> None:
    async with serving(HANG) as server:
        task = asyncio.create_task(server.post())
        await until(lambda: bool(server.upstream.requests))
        task.cancel()
        await until(lambda: bool(server.records.all))
        assert (server.records.last.status, server.records.last.outcome) == (499, "cancelled")
        await settle()


async def test_a_client_that_does_not_read_holds_nothing_for_ever() -> None:
    long = b'data: {"choices":[{"index":0,"delta":{"content":"' + b"x" * 1_000_000 + b'"}}]}\n\n'
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
    async with serving(stream(*[long] * 40, HANG)) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as unread:
            unread.sendall(head.encode() + b"Content-Length: %d\r\n\r\n%b" % (len(STREAMED), STREAMED))
            await until(lambda: server.clock.waiting > 0)
            assert not server.records.all
            await server.clock.advance(120)
            await until(lambda: bool(server.records.all))
        assert server.records.last.outcome == "cancelled"
        assert server.upstream.answers[-1].closed


async def test_requests_under_way_finish_when_the_listener_stops() -> None:
    go_on = asyncio.Event()
    async with (
        serving(stream(WORD, go_on, END)) as server,
        server.client.post(f"{server.url}/v1/chat/completions", data=STREAMED, headers=AUTH) as response,
    ):
        assert await response.content.readuntil(b"\n\n") == WORD
        stopping = asyncio.create_task(server.listener.stop())
        await settle()
        with pytest.raises(aiohttp.ClientConnectionError):
            await server.get("/health")
        go_on.set()
        assert await response.content.read() == END
        await stopping
    assert server.records.last.outcome == "served"


async def test_a_request_that_does_not_finish_in_time_is_broken_off() -> None:
    async with serving(stream(WORD, HANG)) as server:
        async with server.client.post(f"{server.url}/v1/chat/completions", data=STREAMED, headers=AUTH) as response:
            assert await response.content.readuntil(b"\n\n") == WORD
            await server.listener.stop()
        assert server.records.last.outcome == "cancelled"
        assert server.upstream.answers[0].closed


def test_the_token_is_made_once_and_kept_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "data" / "client-token"
    token, made = kept_token(path, "c429_")
    assert made
    assert len(token) > 30
    assert kept_token(path, "c429_") == (token, False)
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(b" \n")
    assert kept_token(path, "c429_")[1]
    path.write_bytes(b"\n mine\r\n")
    assert kept_token(path, "c429_") == ("mine", False)


@pytest.mark.parametrize("text", [b"two words", b"two\nlines", b"a\tb", b"a\0b", b"a\x1b[2Jb", "schlüssel".encode()])
def test_a_token_that_is_not_one_plain_word_is_refused(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "client-token"
    path.write_bytes(text)
    with pytest.raises(StartError) as raised:
        kept_token(path, "c429_")
    assert str(raised.value) == (
        f"the token in {path} must be one word, of ASCII that can be seen: mend it, or delete the file to get a new one"
    )
    assert path.read_bytes() == text


def kept(server: Server) -> tuple[str, str]:
    bodies = server.records.last.bodies
    assert bodies is not None
    found = bodies.kept(lambda words: words)
    return found.asked, found.answered


async def test_bodies_are_kept_where_that_is_switched_on() -> None:
    answers = (OK, stream(WORD, END), stream(WORD))
    async with serving(*answers, text=CONFIG + "log: {bodies: true, body_limit: 2000}\n") as server:
        await server.post()
        assert kept(server) == (HELLO.decode(), ANSWER.decode())
        for _ in range(2):
            _, _, body = await server.post(STREAMED)
            assert kept(server) == (STREAMED.decode(), body.decode())
        assert server.records.last.outcome == "broken"
        await server.post(b"no JSON")
        assert kept(server) == ("no JSON", "")
    async with serving(FakeAnswer(500, {}, []), text=CONFIG + "log: {bodies: true}\n") as server:
        status, _, body = await server.post()
        assert (status, kept(server)) == (502, (HELLO.decode(), body.decode()))


async def test_no_bodies_are_kept_otherwise() -> None:
    async with serving() as server:
        await server.post()
        assert server.records.last.bodies is None
