"""What each fault looks like on the wire, at a provider without limits."""

from __future__ import annotations

import asyncio

import pytest

from chain429.simulator import Simulator
from chain429.simulator.dialect import Generic
from chain429.simulator.faults import FAULTS, STATUSES, faults_of
from chain429.simulator.limits import Metric, Period
from tests.simulator.fakes import (
    NOON,
    FakeClock,
    all_answered,
    ask,
    connection,
    events,
    exchange,
    request_bytes,
    something_received,
)

PATH = "/generic/v1/chat/completions"
WHOLE = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1789992000,"model":"qwen3","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"generic/qwen3 here. You said: Hi"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":1,"completion_tokens":8,"total_tokens":9}}'
)
START = b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1789992000,"model":"qwen3","choices":['
ROLE = START + b'{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
WORDS = [
    START + b'{"index":0,"delta":{"content":"%s"},"finish_reason":null}]}\n\n' % word
    for word in (b"generic/qwen3 ", b"here. ", b"You ", b"said: ", b"Hi")
]
FINISH = START + b'{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
STREAM = b"".join([ROLE, *WORDS, FINISH])
ERROR = b'{"error":{"message":"The server had an error.","type":"server_error","param":null,"code":null}}'
PAGE = b"<!DOCTYPE html>\n<html><head><title>Bad gateway</title></head><body><h1>Bad gateway</h1></body></html>\n"

# How each fault ends, and what is in the body: for a streamed request, and for one that is not.
BENT = {
    "cut": (("cut", ROLE + WORDS[0] + WORDS[1]), ("cut", WHOLE[: len(WHOLE) // 2])),
    "cut_before": (("cut", ROLE), ("cut", b"")),
    "error_in_stream": (("clean", b"data: " + ERROR + b"\n\n"), ("clean", ERROR)),
    "error_mid_stream": (("clean", ROLE + WORDS[0] + WORDS[1] + b"data: " + ERROR + b"\n\n"), ("clean", ERROR)),
    "error_in_200": (("clean", ERROR), ("clean", ERROR)),
    "garbage": (("clean", b'{"id": "chatcmpl-1", oops'), ("clean", b'{"id": "chatcmpl-1", oops')),
    "html": (("clean", PAGE), ("clean", PAGE)),
    "empty": (("clean", b""), ("clean", b"")),
    "wrong_content_type": (("clean", STREAM), ("clean", WHOLE)),
    "half_event": (("clean", ROLE + WORDS[0] + WORDS[1][: len(WORDS[1]) // 2]), ("clean", WHOLE[: len(WHOLE) // 2])),
    "slow_drip": (("clean", STREAM), ("clean", WHOLE)),
}
TYPES = {
    "error_in_200": "application/json",
    "garbage": "application/json",
    "html": "text/html; charset=utf-8",
    "wrong_content_type": "text/plain; charset=utf-8",
}
# What these do to each dialect is tested with ``garble``.
GARBLED = {
    "no_usage",
    "late_usage",
    "no_finish",
    "single_characters",
    "no_indexes",
    "zero_indexes",
    "cumulative",
}
SILENT = {"reset", "hang", "hang_mid_stream"}


def test_every_fault_is_tested_here() -> None:
    limits = {f"{name}_{period}" for name in ("rate_limit", "tokens") for period in Period}
    one_way = {"input_tokens_minute", "output_tokens_minute"}
    assert set(FAULTS) == set(BENT) | SILENT | GARBLED | limits | one_way | {str(status) for status in STATUSES}
    assert set(faults_of(Generic())) == set(FAULTS) - one_way
    both_ways = {(metric, period) for metric in (Metric.REQUESTS, Metric.TOKENS) for period in Period}
    minutes = {(metric, Period.MINUTE) for metric in Metric}
    assert {row.limit for row in FAULTS.values() if row.limit} == both_ways | minutes


def test_every_row_refuses_or_bends() -> None:
    assert all((row.refuse is None) != (row.bend is None) for row in FAULTS.values())


async def test_without_a_fault(sim: Simulator) -> None:
    whole = await exchange(sim, PATH, ask("qwen3", "Hi"))
    assert (whole.status, whole.body, whole.ended) == (200, WHOLE, "clean")


async def test_without_a_fault_streamed(sim: Simulator) -> None:
    streamed = await exchange(sim, PATH, ask("qwen3", "Hi", stream=True))
    assert (streamed.status, streamed.body, streamed.ended) == (200, STREAM, "clean")


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("fault", BENT)
async def test_faults_of_answers(sim: Simulator, fault: str, stream: bool) -> None:
    sim.control.script("generic", fault, 1, None, **({"delay": 0} if fault == "slow_drip" else {}))
    got = await exchange(sim, PATH, ask("qwen3", "Hi", stream=stream))
    assert (got.status, got.ended, got.body) == (200, *BENT[fault][0 if stream else 1])
    usual = "text/event-stream" if stream else "application/json"
    json_instead = not stream and fault == "error_in_stream"
    assert got.headers["content-type"] == ("application/json" if json_instead else TYPES.get(fault, usual))
    [record] = sim.control.received()
    assert (record.status, record.done, record.closed_early) == (200, True, False)


@pytest.mark.parametrize("status", STATUSES)
async def test_statuses(sim: Simulator, status: int) -> None:
    sim.control.script("generic", str(status), retry_after="7")
    got = await exchange(sim, PATH, ask("qwen3"))
    assert (got.status, got.headers["retry-after"], got.ended) == (status, "7", "clean")
    assert b'"error":{"message":' in got.body


@pytest.mark.parametrize("stream", [True, False])
async def test_reset(sim: Simulator, stream: bool) -> None:
    sim.control.script("generic", "reset")
    got = await exchange(sim, PATH, ask("qwen3", stream=stream))
    assert (got.head, got.body, got.ended) == (b"", b"", "reset")
    [record] = sim.control.received()
    assert (record.status, record.done, record.closed_early) == (None, True, False)


@pytest.mark.parametrize(
    ("fault", "stream", "beginning"),
    [
        ("hang", True, b""),
        ("hang", False, b""),
        ("hang_mid_stream", True, WORDS[1]),
        ("hang_mid_stream", False, WHOLE[: len(WHOLE) // 2]),
    ],
)
async def test_hanging_ends_when_the_caller_leaves(sim: Simulator, fault: str, stream: bool, beginning: bytes) -> None:
    sim.control.script("generic", fault)
    async with connection(sim) as (reader, writer):
        writer.write(request_bytes(PATH, ask("qwen3", "Hi", stream=stream)))
        await something_received(sim)
        if beginning:
            await reader.readuntil(beginning)
        [record] = sim.control.received()
        assert (record.done, record.closed_early) == (False, False)
    await all_answered(sim)
    assert (record.closed_early, record.status) == (True, 200 if beginning else None)


async def test_slow_drip_waits_before_each_chunk_but_the_first(sim: Simulator, clock: FakeClock) -> None:
    sim.control.script("generic", "slow_drip", delay=30)
    async with connection(sim) as (reader, writer):
        writer.write(request_bytes(PATH, ask("qwen3", "Hi", stream=True)))
        for piece in (ROLE, *WORDS, b'"finish_reason":"stop"'):
            await reader.readuntil(piece)
            await clock.somebody_sleeps()
            clock.advance(30)
        await reader.readuntil(b"data: [DONE]")
    assert clock.now() == NOON + 7 * 30


async def test_an_answer_that_is_not_streamed_drips_too(sim: Simulator, clock: FakeClock) -> None:
    sim.control.script("generic", "slow_drip", delay=30)
    asking = asyncio.create_task(exchange(sim, PATH, ask("qwen3", "Hi")))
    for _ in range(7):
        await clock.somebody_sleeps()
        clock.advance(30)
    assert (await asking).body == WHOLE


async def test_after_says_how_many_chunks_come_first(sim: Simulator) -> None:
    sim.control.script("generic", "cut", after=4)
    got = await exchange(sim, PATH, ask("qwen3", "Hi", stream=True))
    assert [event["choices"][0]["delta"].get("content") for event in events(got.body)] == [
        "",
        "generic/qwen3 ",
        "here. ",
        "You ",
        "said: ",
    ]
    assert sim.control.received()[0].chunks == 5
