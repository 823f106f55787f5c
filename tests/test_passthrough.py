"""Callers' own keys, from the API to the provider: who is shown them, and that nobody else is."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from chain429 import log
from chain429.app import App, Options
from chain429.clock import SystemClock
from chain429.config import parse
from chain429.redact import Redactor
from chain429.vault import Vault
from tests.fakes import FakeAnswer, FakeUpstream

CONFIG = """
listen: 127.0.0.1:0
pages: 127.0.0.1:0
patience: 0
providers:
  free: {base_url: https://free.test/v1, keys: [env:FREE]}
  anthropic: {keys: [passthrough]}
  openai: {keys: [env:OPENAI, {key: passthrough, rpm: 2}], strategy: priority}
  other: {base_url: https://other.test/v1, keys: [env:FREE]}
chains:
  default: [free/m, anthropic/claude, other/m]
  claude: [anthropic/claude]
  mixed: [openai/gpt]
"""
ENVIRON = {"FREE": "key-of-free-1234", "OPENAI": "key-of-openai-1234"}
# They look like nothing that a pattern would find.
MINE, YOURS = "plainwordsofmine", "plainwordsofyours"
ASKED = {
    "anthropic-beta": "oauth-2025-04-20,claude-code-20250219",
    "anthropic-version": "2023-06-01",
    "user-agent": "claude-cli/2.1.329",
    "x-app": "cli",
    "x-stainless-lang": "js",
    "anthropic-dangerous-direct-browser-access": "true",
}
JSON = {"content-type": "application/json"}
TALK = [{"role": "user", "content": "Hi"}]
CHAT = FakeAnswer(200, JSON, [b'{"choices":[{"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}'])
MESSAGE = FakeAnswer(
    200,
    JSON,
    [
        b'{"id":"m","type":"message","role":"assistant","model":"claude","content":[{"type":"text","text":"Hi"}],'
        b'"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":1}}'
    ],
)
BUSY = FakeAnswer(529, JSON, [b"{}"])


def error(key: str, kind: str = "api_error") -> dict[str, object]:
    """As a provider would word it that repeats the key."""
    return {"type": "error", "error": {"type": kind, "message": f"invalid key {key}"}}


def event(name: str, data: Mapping[str, object]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


START = {"id": "m", "type": "message", "role": "assistant", "model": "claude", "content": [], "usage": {}}
BEGUN = b"".join(
    event(str(data["type"]), data)
    for data in (
        {"type": "message_start", "message": START},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
    )
)


def refused(status: int, key: str, kind: str = "authentication_error") -> FakeAnswer:
    return FakeAnswer(status, JSON, [json.dumps(error(key, kind)).encode()])


def in_answer(key: str) -> FakeAnswer:
    return FakeAnswer(200, JSON, [json.dumps(error(key)).encode()])


def limited() -> FakeAnswer:
    body = b'{"type":"error","error":{"type":"rate_limit_error","message":"too many"}}'
    return FakeAnswer(429, {**JSON, "retry-after": "3000"}, [body])


@dataclass
class World:
    app: App
    upstream: FakeUpstream
    client: aiohttp.ClientSession
    headers: Mapping[str, str] = field(default_factory=dict)  # of the last answer

    async def ask(
        self,
        key: str = MINE,
        model: str = "claude",
        path: str = "/v1/messages",
        token: str | None = None,
        stream: bool = False,
        **more: str,
    ) -> tuple[int, str]:
        """Status and body. ``key`` goes as a subscription's token does."""
        headers = {**ASKED, "x-chain429-token": self.app.client_token if token is None else token}
        if key:
            headers["authorization"] = f"Bearer {key}"
        headers |= {name.replace("_", "-"): value for name, value in more.items()}
        body: dict[str, object] = {"model": model, "max_tokens": 5, "stream": stream}
        body |= {"prompt": "Hi"} if path.endswith("/completions") and "chat" not in path else {"messages": TALK}
        assert self.app.api
        async with self.client.post(self.app.api.url + path, json=body, headers=headers) as response:
            self.headers = response.headers
            return response.status, await response.text()

    def shown(self) -> list[tuple[str, Mapping[str, str]]]:
        """Which hosts were asked, and with which headers."""
        return [(request.url.split("/")[2], request.headers) for request in self.upstream.requests]


@asynccontextmanager
async def running(
    tmp_path: Path, text: str = CONFIG, redact: Redactor | None = None, **script: Sequence[FakeAnswer]
) -> AsyncIterator[World]:
    urls = {"free": "https://free.test", "other": "https://other.test"}
    urls |= {"anthropic": "https://api.anthropic.com", "openai": "https://api.openai.com"}
    usual = {"free": [CHAT], "other": [CHAT], "anthropic": [MESSAGE], "openai": [CHAT]}
    upstream = FakeUpstream({urls[name]: answers for name, answers in {**usual, **script}.items()})
    app = App(
        parse(text, ENVIRON),
        SystemClock(),
        options=Options(drain=0.1),
        environ={},
        redact=redact or Redactor(),
        path=None,
        data=tmp_path,
        vault=Vault(tmp_path),
        upstream=upstream,
    )
    await app.start()
    try:
        async with aiohttp.ClientSession() as client:
            yield World(app, upstream, client)
    finally:
        await app.stop()


async def test_edge_29_the_vendor_is_shown_the_callers_key_and_program(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        assert (await world.ask(x_api_key="another"))[0] == 200
    [(host, headers)] = world.shown()
    assert host == "api.anthropic.com"
    assert {name: headers.get(name) for name in ASKED} == ASKED
    assert (headers["authorization"], headers["x-api-key"]) == (f"Bearer {MINE}", "another")
    assert not {"x-chain429-token", "host", "cookie"} & headers.keys()


async def test_nobody_else_is(tmp_path: Path) -> None:
    async with running(tmp_path, free=[BUSY], anthropic=[BUSY]) as world:
        assert (await world.ask(model="default"))[0] == 200
    by_host = dict(world.shown())
    assert list(by_host) == ["free.test", "api.anthropic.com", "other.test"]
    for host in ("free.test", "other.test"):
        assert by_host[host]["authorization"] == "Bearer key-of-free-1234"
        assert MINE not in repr(by_host[host])
        assert not {"x-app", "x-stainless-lang", "x-api-key", "anthropic-beta"} & by_host[host].keys()
        assert "claude-cli" not in by_host[host]["user-agent"]


async def test_who_asks_in_another_dialect_has_the_key_shown_as_the_provider_wants_it(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        assert (await world.ask(path="/v1/chat/completions"))[0] == 200
    [(_, headers)] = world.shown()
    assert headers["x-api-key"] == MINE
    assert not {"authorization", "x-app", "anthropic-beta"} & headers.keys()


@pytest.mark.parametrize(("provider", "header"), [("anthropic", "x-api-key"), ("openai", "authorization")])
async def test_completions_show_the_key_as_the_provider_wants_it(tmp_path: Path, provider: str, header: str) -> None:
    text = CONFIG.replace("anthropic: {", "anthropic: {dialect: chat, ").replace("env:OPENAI, ", "")
    answer = FakeAnswer(200, JSON, [b'{"choices":[{"text":"Hi","finish_reason":"stop"}]}'])
    async with running(tmp_path, text, anthropic=[answer], openai=[answer]) as world:
        assert (await world.ask(model=f"{provider}/m", path="/v1/completions"))[0] == 200
    [(_, headers)] = world.shown()
    shown = {name for name in ("authorization", "x-api-key") if MINE in headers.get(name, "")}
    assert shown == {header}


async def test_without_a_key_of_its_own_a_request_passes_the_target_over(tmp_path: Path) -> None:
    async with running(tmp_path, free=[BUSY]) as world:
        token = world.app.client_token
        assert (await world.ask(model="default", key=token, x_api_key=token))[0] == 200
        assert [host for host, _ in world.shown()] == ["free.test", "other.test"]
        status, body = await world.ask(key="")
        assert status == 401
        error = json.loads(body)["error"]
        assert error["type"] == "authentication_error"
        assert "the request brings no key of its own for Anthropic" in error["message"]


async def test_stored_keys_stand_beside_the_callers(tmp_path: Path) -> None:
    model, path = "mixed", "/v1/chat/completions"
    async with running(tmp_path, openai=[limited(), CHAT]) as world:
        assert (await world.ask(model=model, path=path))[0] == 200
        stored, own = [headers["authorization"] for _, headers in world.shown()]
        assert (stored, own) == ("Bearer key-of-openai-1234", f"Bearer {MINE}")
        # What is configured holds for each caller's account.
        assert [(await world.ask(key, model, path))[0] for key in (MINE, MINE, YOURS)] == [200, 429, 200]


@pytest.mark.parametrize("answer", [limited(), refused(401, MINE), refused(403, MINE, "permission_error")])
async def test_what_one_caller_meets_benches_no_other(tmp_path: Path, answer: FakeAnswer) -> None:
    async with running(tmp_path, anthropic=[answer, MESSAGE]) as world:
        assert (await world.ask(MINE))[0] == answer.status
        assert (await world.ask(YOURS))[0] == 200
        assert (await world.ask(MINE))[0] == (429 if answer.status == 429 else 401)
        assert len(world.upstream.requests) == 2
        # Nor is it kept: after a restart nobody could tell whose it is.
        kept = json.dumps(world.app.ledger.snapshot(SystemClock().now()))
        assert "~anthropic" not in kept
        assert "invalid key" not in kept


async def test_what_is_left_is_told_to_each_caller_by_itself(tmp_path: Path) -> None:
    told = {**JSON, "anthropic-ratelimit-requests-remaining": "7", "anthropic-ratelimit-requests-limit": "50"}
    told["anthropic-ratelimit-requests-reset"] = "2099-01-01T00:00:00Z"
    body = await MESSAGE.again().read(10_000)
    async with running(tmp_path, anthropic=[FakeAnswer(200, told, [body]), MESSAGE]) as world:
        left = []
        for key in (MINE, YOURS):
            assert (await world.ask(key))[0] == 200
            left.append(world.headers.get("x-chain429-remaining-requests"))
    assert left == ["7", None]


async def test_a_trusted_machine_needs_no_token(tmp_path: Path) -> None:
    async with running(tmp_path / "a", CONFIG + "trust_loopback: true\n") as world:
        assert (await world.ask(token=""))[0] == 200
        assert (await world.ask(token="", origin="https://evil.example"))[0] == 401
        assert len(world.upstream.requests) == 1
        assert "without a token" in world.app.config.warnings[0]
    async with running(tmp_path / "b") as world:
        assert (await world.ask(token=""))[0] == 401
        assert world.upstream.requests == []


async def through_the_proxy(world: World, ticket: str) -> int:
    """The status of a request that comes by a connection of the proxy's."""
    assert world.app.api
    reader, writer = await asyncio.open_connection("127.0.0.1", world.app.api.port)
    peer = writer.get_extra_info("sockname")
    world.app.proxied.add(peer)
    body = b'{"model":"claude","max_tokens":5,"messages":[{"role":"user","content":"Hi"}]}'
    head = f"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-chain429-own: {ticket}\r\nx-api-key: {YOURS}\r\n"
    writer.write(f"{head}connection: close\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    world.app.proxied.discard(peer)
    return int(answer.split()[1])


async def test_what_the_proxy_lends_is_for_that_host_only(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        sent = {"authorization": f"Bearer {MINE}"}
        assert world.app.lend(sent, "api.example.com") is None
        right, wrong = world.app.lend(sent, "api.anthropic.com"), world.app.lend(sent, "api.openai.com")
        assert right
        assert wrong
        assert [await through_the_proxy(world, ticket) for ticket in (wrong, right, right)] == [401, 200, 401]
    [(host, shown)] = world.shown()
    assert (host, shown["authorization"]) == ("api.anthropic.com", f"Bearer {MINE}")
    assert YOURS not in repr(shown)


def written_to(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir() if path.is_file())


async def test_a_callers_key_is_found_nowhere(tmp_path: Path) -> None:
    redact, written = Redactor(), io.StringIO()
    handler = log.start(redact, debug=True, to=written)
    repeats = [
        refused(401, MINE),
        refused(400, MINE, "invalid_request_error"),
        refused(500, MINE, "api_error"),
        in_answer(MINE),
        # Cut off in the middle of the key, wherever that is.
        *[refused(403, "x" * length + f" {MINE}" * 40) for length in (1, 5, 9, 13)],
        in_answer("x" + f" {MINE}" * 40),
    ]
    repeats.append(FakeAnswer(200, {"content-type": "text/event-stream"}, [BEGUN, event("error", error(MINE))]))
    said = ""
    try:
        async with running(tmp_path, redact=redact, anthropic=repeats) as world:
            for number in range(len(repeats)):
                # Another caller each time, whose other key is not benched.
                streamed = number == len(repeats) - 1
                status, body = await world.ask(MINE, stream=streamed, x_api_key=f"otherkey{number}x")
                assert (status == 200) is streamed
                said += body
            assert len(world.upstream.requests) == len(repeats)
            assert world.app.pages
            headers = {"authorization": f"Bearer {world.app.admin_token}"}
            for path in ("/", "/fragment", "/admin/api/status", "/admin/api/limits"):
                async with world.client.get(world.app.pages.url + path, headers=headers) as response:
                    assert response.status == 200
                    said += await response.text()
            world.app.memory.keep()
            world.app.store.flush()
            said += repr(world.app.ledger.status(world.app.config.chains["claude"], SystemClock().now()))
        files = written_to(tmp_path)
    finally:
        log.stop(handler)
        logging.getLogger("chain429").setLevel(logging.NOTSET)
    assert "anthropic/claude" in written.getvalue()
    assert b"anthropic" in files
    for secret in (MINE, "plainwords", "otherkey"):
        assert secret not in written.getvalue()
        assert secret not in said
        assert secret.encode() not in files
