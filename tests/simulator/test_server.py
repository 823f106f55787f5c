from __future__ import annotations

import asyncio
import json
import logging

import pytest

from chain429.errors import StartError
from chain429.simulator import Simulator
from tests.simulator.fakes import (
    FakeClock,
    all_answered,
    ask,
    body_of,
    connection,
    exchange,
    request_bytes,
    something_received,
)

CHAT = "/generic/v1/chat/completions"


async def test_each_provider_has_its_own_url_shape(sim: Simulator) -> None:
    start = f"http://127.0.0.1:{sim.port}"
    assert {name: sim.base_url(name) for name in sim.providers} == {
        "groq": f"{start}/groq/openai/v1",
        "cerebras": f"{start}/cerebras/v1",
        "openrouter": f"{start}/openrouter/api/v1",
        "gemini": f"{start}/gemini/v1beta/openai",
        "mistral": f"{start}/mistral/v1",
        "anthropic": f"{start}/anthropic/v1",
        "openai-responses": f"{start}/openai-responses/v1",
        "generic": f"{start}/generic/v1",
    }


async def test_every_provider_answers(sim: Simulator) -> None:
    for name, provider in sim.providers.items():
        model = next(iter(provider.models))
        path = sim.base_url(name).removeprefix(f"http://127.0.0.1:{sim.port}")
        match provider.dialect.endpoint:
            case "/messages":
                version = ("anthropic-version: 2023-06-01",)
                got = await exchange(sim, f"{path}/messages", ask(model, max_tokens=99), headers=version)
                text = json.loads(got.body)["content"][0]["text"]
            case "/responses":
                got = await exchange(sim, f"{path}/responses", {"model": model, "input": "Hello there"})
                text = json.loads(got.body)["output"][0]["content"][0]["text"]
            case chat:
                got = await exchange(sim, f"{path}{chat}", ask(model))
                text = json.loads(got.body)["choices"][0]["message"]["content"]
        assert text == f"{name}/{model} here. You said: Hello there"
        assert (await exchange(sim, f"{path}/models", method="GET")).status == 200


async def test_what_is_not_json_is_refused(sim: Simulator) -> None:
    async with connection(sim) as (reader, writer):
        writer.write(b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n{x}" % CHAT.encode())
        assert await reader.readuntil(b"\r\n") == b"HTTP/1.1 400 Bad Request\r\n"


async def test_limits_are_enforced_until_the_clock_moves_on(sim: Simulator, clock: FakeClock) -> None:
    path, request = "/cerebras/v1/chat/completions", ask("gpt-oss-120b")
    assert [(await exchange(sim, path, request)).status for _ in range(6)] == [200] * 5 + [429]
    clock.advance(59)
    assert (await exchange(sim, path, request)).status == 429
    clock.advance(1)
    assert (await exchange(sim, path, request)).status == 200


async def test_time_can_run_faster(clock: FakeClock) -> None:
    async with Simulator(clock, time_scale=60.0) as sim:
        path, request = "/cerebras/v1/chat/completions", ask("gpt-oss-120b")
        statuses = [(await exchange(sim, path, request)).status for _ in range(6)]
        clock.advance(1)
        statuses.append((await exchange(sim, path, request)).status)
        assert statuses == [200] * 5 + [429, 200]


async def test_words_come_at_the_pace_that_was_set(clock: FakeClock) -> None:
    async with Simulator(clock, token_delay=0.5) as sim, connection(sim) as (reader, writer):
        writer.write(request_bytes(CHAT, ask("qwen3", "Hi", stream=True)))
        for word in (b'"content":""', b'"content":"generic/qwen3 "', b'"content":"here. "'):
            await reader.readuntil(word)
            await clock.somebody_sleeps()
            clock.advance(0.5)


async def test_an_answer_that_is_not_streamed_comes_at_once(clock: FakeClock) -> None:
    async with Simulator(clock, token_delay=0.5) as sim:
        assert (await exchange(sim, CHAT, ask("qwen3"))).status == 200


async def test_who_leaves_during_a_pause_is_noticed(clock: FakeClock) -> None:
    async with Simulator(clock, token_delay=0.5) as sim:
        async with connection(sim) as (reader, writer):
            writer.write(request_bytes(CHAT, ask("qwen3", stream=True)))
            await reader.readuntil(b"assistant")
            await clock.somebody_sleeps()
        await all_answered(sim)
        [record] = sim.control.received()
        assert (record.closed_early, record.chunks) == (True, 1)


@pytest.mark.parametrize("fault", ["hang", "hang_mid_stream", "slow_drip"])
async def test_stop_ends_what_is_not_answered(clock: FakeClock, fault: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    sim = Simulator(clock)
    await sim.start()
    sim.control.script("generic", fault)
    async with connection(sim) as (reader, writer):
        writer.write(request_bytes(CHAT, ask("qwen3", stream=True)))
        await something_received(sim)
        await sim.stop()
        await reader.read()
    [record] = sim.control.received()
    assert (record.done, record.closed_early) == (True, False)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert caplog.records == []
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", sim.port)


@pytest.mark.parametrize("fault", ["cut", "cut_before", "reset", "half_event", "empty"])
@pytest.mark.parametrize("stream", [True, False])
async def test_faults_leave_no_trace_in_the_log(
    sim: Simulator, fault: str, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    sim.control.script("generic", fault)
    await exchange(sim, CHAT, ask("qwen3", stream=stream))
    await exchange(sim, CHAT, ask("qwen3", stream=stream))
    assert [record.status for record in sim.control.received()][1] == 200
    assert caplog.records == []


async def test_stop_and_start_again(clock: FakeClock) -> None:
    sim = Simulator(clock)
    await sim.stop()
    await sim.start()
    port = sim.port
    await sim.stop()
    await sim.stop()
    await sim.start()
    assert sim.port == port
    assert (await exchange(sim, CHAT, ask("qwen3"))).status == 200
    await sim.stop()


async def test_a_port_that_is_taken(sim: Simulator, clock: FakeClock) -> None:
    with pytest.raises(StartError, match=f"the simulator can't listen on 127.0.0.1:{sim.port}: the port is taken"):
        await Simulator(clock, port=sim.port).start()


async def test_a_connection_serves_many_requests(sim: Simulator) -> None:
    async with connection(sim) as (reader, writer):
        for stream in (True, False, True):
            writer.write(request_bytes(CHAT, ask("qwen3", stream=stream)).replace(b"Connection: close\r\n", b""))
            await reader.readuntil(b"0\r\n\r\n" if stream else b'"total_tokens":14}}')
    assert [record.chunks for record in sim.control.received()] == [9, 1, 9]


async def test_the_same_decision_with_and_without_a_socket(sim: Simulator, clock: FakeClock) -> None:
    got = await exchange(sim, CHAT, ask("qwen3"))
    sim.control.reset()
    reply = sim.providers["generic"].respond("sim-1", ask("qwen3"), clock.now())
    assert {**json.loads(got.body), "id": ""} == {**body_of(reply), "id": ""}
