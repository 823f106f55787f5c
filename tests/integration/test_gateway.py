"""The whole gateway over real sockets: the real OpenAI SDK in front, simulated providers behind."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

from chain429 import log
from chain429.app import App, Options, launch
from chain429.clock import SystemClock
from chain429.redact import Redactor
from chain429.simulator import Received, Simulator
from tests.integration.sdk import openai_client

KEYS = {"GROQ": "sim-groq-0123456789abcdef", "OTHER": "sim-other-0123456789abcdef", "HOME": "sim-home-0123456789abc"}
CONFIG = """
providers:
  groq:     {{keys: [env:GROQ], base_url: {groq}}}
  cerebras: {{keys: [env:OTHER], base_url: {cerebras}}}
  mistral:  {{keys: [env:OTHER], base_url: {mistral}}}
  home:     {{keys: [env:HOME], base_url: {generic}}}
chains:
  default: [groq/openai/gpt-oss-120b, cerebras/gpt-oss-120b, home/qwen3]
  groq:    [groq/openai/gpt-oss-120b]
  mistral: [mistral/mistral-small-2603, home/qwen3]
timeouts: {{first_event: 1, answer: 1, idle: 1}}
patience: 0
"""
HELLO = [{"role": "user", "content": "Hello there"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@dataclass
class World:
    app: App
    simulator: Simulator
    sdk: Any  # openai.AsyncOpenAI; its overloads differ between the versions that are tested with
    data: Path

    @property
    def url(self) -> str:
        assert self.app.api
        return self.app.api.url

    def asked(self, provider: str) -> list[Received]:
        # The lists of models are asked for as well, when their time has come.
        return [record for record in self.simulator.control.received(provider) if record.method == "POST"]

    async def ask(self, model: str = "default") -> tuple[str, str]:
        """Who answered, and what."""
        raw = await self.sdk.chat.completions.with_raw_response.create(model=model, messages=HELLO)
        return raw.headers["x-chain429-provider"], raw.parse().choices[0].message.content or ""

    async def stream(self, model: str = "default", **more: object) -> tuple[str, list[str]]:
        """Who answered, and the pieces."""
        raw = await self.sdk.chat.completions.with_raw_response.create(
            model=model,
            messages=HELLO,
            stream=True,
            **more,
        )
        pieces = [chunk.choices[0].delta.content or "" async for chunk in raw.parse() if chunk.choices]
        return raw.headers["x-chain429-provider"], [piece for piece in pieces if piece]

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        self.app.store.flush()
        with sqlite3.connect(self.data / "chain429.db") as database:
            rows = database.execute(sql).fetchall()
        database.close()
        return rows


@asynccontextmanager
async def running(
    tmp_path: Path, *, time_scale: float = 1.0, token_delay: float = 0.0, config: str = CONFIG
) -> AsyncIterator[World]:
    clock = SystemClock()
    simulator = Simulator(clock=clock, time_scale=time_scale, token_delay=token_delay)
    await simulator.start()
    try:
        path = tmp_path / "chain429.yaml"
        names = ("groq", "cerebras", "mistral", "generic")
        path.write_text(config.format(**{name: simulator.base_url(name) for name in names}))
        options = Options(path, tmp_path / "data", "127.0.0.1:0", "127.0.0.1:0", drain=0.1)
        app = await launch(options, KEYS, clock, Redactor())
        try:
            assert app.api
            async with openai_client(app.api.url, app.client_token) as sdk:
                yield World(app, simulator, sdk, tmp_path / "data")
        finally:
            await app.stop()
    finally:
        await simulator.stop()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running(tmp_path) as found:
        yield found


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  the simulator and the log give no event to wait for
            await asyncio.sleep(0.005)


async def test_the_sdk_is_answered_whole_and_streamed(world: World) -> None:
    assert await world.ask() == ("groq", "groq/openai/gpt-oss-120b here. You said: Hello there")
    provider, pieces = await world.stream()
    assert (provider, "".join(pieces)) == ("groq", "groq/openai/gpt-oss-120b here. You said: Hello there")
    assert len(pieces) > 3


FAULTS = [
    "rate_limit_minute", "rate_limit_day", "tokens_minute", "tokens_day", "400", "401", "402", "403", "404", "410",
    "413", "422", "429", "498", "500", "502", "503", "504", "529", "reset", "hang", "cut_before", "error_in_200",
    "garbage", "html", "empty",
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
async def test_the_caller_notices_nothing_of_a_failure(world: World, fault: str) -> None:
    # Where it was a kept connection that was reset, it is asked once more, over a new one.
    times = 2 if fault == "reset" else 1
    if fault != "cut_before":
        world.simulator.control.script("groq", fault, times=times)
        assert (await world.ask())[0] == "cerebras"
        assert 1 <= len(world.asked("groq")) <= times
        for chain in world.app.config.chains.values():
            for target in chain.targets:
                world.app.ledger.clear(target)
    world.simulator.control.script("groq", fault, times=times)
    provider, pieces = await world.stream()
    assert (provider, "".join(pieces)) == ("cerebras", "cerebras/gpt-oss-120b here. You said: Hello there")


async def test_an_error_event_before_the_first_word_moves_on(world: World) -> None:
    world.simulator.control.script("groq", "error_in_stream")
    assert (await world.stream())[0] == "cerebras"


@pytest.mark.parametrize("fault", ["cut", "error_mid_stream", "half_event", "hang_mid_stream"])
async def test_after_the_first_word_nothing_is_replayed(tmp_path: Path, fault: str) -> None:
    # With a pause between the words, so that the first one is on its way before the failure comes.
    async with running(tmp_path, token_delay=0.05) as world:
        world.simulator.control.script("groq", fault)
        stream = await world.sdk.chat.completions.create(model="default", messages=HELLO, stream=True)
        pieces: list[str] = []

        async def read() -> None:
            pieces.extend([chunk.choices[0].delta.content or "" async for chunk in stream])

        with pytest.raises(openai.APIError, match="broke off in the middle of its answer"):
            await read()
        assert world.asked("cerebras") == []
        assert world.rows("select outcome from request") == [("broken",)]


async def test_a_cooldown_is_entered_and_left(world: World) -> None:
    world.simulator.control.script("groq", "429", retry_after="1")
    assert [(await world.ask())[0] for _ in range(3)] == ["cerebras"] * 3
    assert len(world.asked("groq")) == 1, "while it cools down, it is not called"
    async with asyncio.timeout(20):
        while (await world.ask())[0] != "groq":  # noqa: ASYNC110  real time has to pass
            await asyncio.sleep(0.1)


async def test_one_refusal_is_enough_to_know_a_limit(world: World) -> None:
    world.simulator.control.limits("groq", None, {"rpm": 20})
    served = [(await world.ask())[0] for _ in range(22)]
    assert served == ["groq"] * 20 + ["cerebras"] * 2
    assert len(world.asked("groq")) == 21


async def test_a_conversation_stays_with_one_key_while_others_go_round(tmp_path: Path) -> None:
    two_keys = CONFIG.replace("[env:GROQ]", "[env:GROQ, env:OTHER]")
    async with running(tmp_path, config=two_keys) as world:
        talk: list[Any] = [{"role": "system", "content": "Be brief."}, *HELLO]
        for number in range(3):
            answer = await world.sdk.chat.completions.create(model="groq", messages=talk)
            talk += [answer.choices[0].message.model_dump(exclude_none=True), {"role": "user", "content": "And?"}]
            for another in range(2):
                question = {"role": "user", "content": f"Something else {number} {another}"}
                await world.sdk.chat.completions.create(model="groq", messages=[question])
        asked = world.asked("groq")
        kept = [one.key for one in asked if one.body["messages"][0]["role"] == "system"]
        others = [one.key for one in asked if one.body["messages"][0]["role"] == "user"]
        assert kept == [kept[0]] * 3
        assert set(others) == {KEYS["GROQ"], KEYS["OTHER"]}


async def test_exhaustion_can_be_read_by_the_sdk(world: World) -> None:
    world.simulator.control.script("groq", "rate_limit_minute", 2)
    with pytest.raises(openai.RateLimitError) as caught:
        await world.ask("groq")
    error = caught.value
    assert error.code == "rate_limit_exceeded"
    assert "groq/openai/gpt-oss-120b" in error.message
    assert 1 <= int(error.response.headers["retry-after"]) <= 55
    assert isinstance(error.body, dict)
    assert error.body["chain429"]["targets"][0]["outcome"] == "rate_limited"


async def test_a_client_that_leaves_closes_the_providers_call(tmp_path: Path) -> None:
    async with running(tmp_path, token_delay=0.05) as world:
        stream = await world.sdk.chat.completions.create(model="default", messages=HELLO, stream=True)
        await anext(aiter(stream))
        await stream.close()
        await until(lambda: any(record.closed_early for record in world.asked("groq")), 1.0)
        await until(lambda: world.rows("select outcome from request") == [("cancelled",)])


async def test_a_client_that_leaves_before_the_answer_closes_the_providers_call(world: World) -> None:
    world.simulator.control.script("groq", "hang")
    task = asyncio.create_task(world.ask())
    await until(lambda: bool(world.asked("groq")))
    task.cancel()
    await until(lambda: world.asked("groq")[0].closed_early, 1.0)
    assert world.asked("cerebras") == []


async def test_words_are_not_held_back(world: World) -> None:
    # The provider goes silent after two words; what came before must be here although nothing follows.
    world.simulator.control.script("groq", "hang_mid_stream")
    async with (
        aiohttp.ClientSession() as client,
        client.post(
            f"{world.url}/v1/chat/completions",
            json={"model": "default", "stream": True, "messages": HELLO},
            headers={"authorization": f"Bearer {world.app.client_token}"},
        ) as response,
    ):
        seen = b""
        while seen.count(b"data: ") < 3:
            seen += await response.content.readany()
        assert not world.asked("groq")[0].closed_early
        assert b"error" not in seen


async def test_tool_calls_pass_through(world: World) -> None:
    answer = await world.sdk.chat.completions.create(
        model="default",
        messages=HELLO,
        tools=[WEATHER],
        tool_choice="required",
    )
    calls = answer.choices[0].message.tool_calls
    assert calls
    assert calls[0].type == "function"
    assert json.loads(calls[0].function.arguments) == {"city": "x"}
    again = await world.sdk.chat.completions.create(
        model="mistral",
        messages=[
            *HELLO,
            answer.choices[0].message.model_dump(exclude_none=True),
            {"role": "tool", "tool_call_id": calls[0].id, "content": "sunny"},
        ],
        tools=[WEATHER],
        seed=7,
        user="me",
    )
    # Mistral refuses ids of another form, unknown fields and 'seed': it was asked in its own way.
    assert again.model.startswith("mistral")


async def test_usage_is_streamed_only_to_those_who_ask(world: World) -> None:
    async def last(**more: object) -> list[object]:
        stream = await world.sdk.chat.completions.create(
            model="default",
            messages=HELLO,
            stream=True,
            **more,
        )
        return [chunk.usage async for chunk in stream if not chunk.choices]

    assert await last() == []
    assert len(await last(stream_options={"include_usage": True})) <= 1
    rows = world.rows("select tokens_in, tokens_out from request")
    assert len(rows) == 2
    assert all(isinstance(tokens, int) and tokens > 0 for row in rows for tokens in row)


async def test_mistral_is_not_sent_what_it_refuses(world: World) -> None:
    assert (await world.stream("mistral", stream_options={"include_usage": True}))[0] == "mistral"
    assert [record.status for record in world.asked("mistral")] == [200]


async def test_models_are_listed_to_the_sdk(world: World) -> None:
    ids = [model.id async for model in await world.sdk.models.list()]
    assert ids[:3] == ["default", "groq", "mistral"]
    assert (await world.sdk.models.retrieve("home/qwen3")).id == "home/qwen3"


async def test_a_wrong_token_is_an_authentication_error(world: World) -> None:
    async with openai_client(world.url, "wrong") as sdk:
        with pytest.raises(openai.AuthenticationError, match="client token"):
            await sdk.models.list()


async def test_a_refused_key_is_said_and_the_next_provider_answers(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        world.simulator.control.script("groq", "401")
        assert (await world.ask())[0] == "cerebras"
        status = world.app.status(SystemClock().now())
        assert "The provider refuses the key groq/GROQ." in status.problems
        states = {target.provider: target.state for target in status.chains[0].tiers[0]}
        assert states == {"groq": "refused"}


async def test_no_key_and_no_token_is_found_anywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import io

    redact = Redactor()
    written = io.StringIO()
    handler = log.start(redact, debug=True, to=written)
    try:
        async with running(tmp_path) as world:
            redact.know([*KEYS.values(), world.app.client_token, world.app.admin_token])
            for fault in ("401", "403", "400", "429", "error_in_200"):
                world.simulator.control.script("groq", fault)
                await world.ask()
            world.simulator.control.script("groq", "500", 5)
            with pytest.raises(openai.APIStatusError) as caught:
                await world.ask("groq")
            said = caught.value.response.text + repr(caught.value.response.headers)
            assert world.app.pages
            async with aiohttp.ClientSession() as client:
                headers = {"authorization": f"Bearer {world.app.admin_token}"}
                for path in ("/", "/fragment", "/admin/api/status"):
                    async with client.get(world.app.pages.url + path, headers=headers) as response:
                        assert response.status == 200
                        said += await response.text()
            world.app.store.flush()
            secrets = [*KEYS.values(), world.app.client_token, world.app.admin_token]
            files = b"".join(path.read_bytes() for path in (tmp_path / "data").glob("chain429.db*"))
    finally:
        log.stop(handler)
    assert "cerebras" in written.getvalue()
    assert b"cerebras" in files
    for secret in secrets:
        assert secret not in written.getvalue()
        assert secret not in said
        assert secret.encode() not in files
    assert capsys.readouterr().out == ""
