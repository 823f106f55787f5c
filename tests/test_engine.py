"""The waterfall against a scripted upstream and a clock that the test moves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

import pytest

from chain429.config import Config, parse
from chain429.engine import Call, Engine, Reply, Stream
from chain429.errors import ConnectFailed, Cut
from chain429.redact import Redactor
from chain429.routing.ledger import Ledger
from chain429.routing.limits import Need
from chain429.routing.outcome import Kind, Outcome
from chain429.wire.chat import ChatRequest
from chain429.wire.completions import CompletionsRequest
from chain429.wire.dialect import ClientRequest
from chain429.wire.embeddings import EmbeddingsRequest
from chain429.wire.messages import MessagesRequest
from chain429.wire.responses import ResponsesRequest
from tests.fakes import HANG, FakeAnswer, FakeClock, FakeUpstream, Piece, Records, settle

CONFIG = """
patience: 0
providers:
  a: {base_url: https://a.test/v1, keys: [env:A]}
  b: {base_url: https://b.test/v1, keys: [env:B]}
  c: {base_url: https://c.test/v1}
chains:
  default: [a/big, b/big, c/small]
  pair: [a/big, a/other, b/big]
  alone: [a/big]
"""
POOL = """
patience: 0
providers:
  a: {base_url: https://a.test/v1, keys: [env:A, env:B], strategy: priority}
  b: {base_url: https://b.test/v1}
chains: {default: [a/big, b/big]}
"""
ENVIRON = {"A": "secret-key-of-a", "B": "secret-key-of-b"}
JSON = {"content-type": "application/json"}
SSE = {"content-type": "text/event-stream"}

ANSWER = (
    b'{"id":"1","model":"big-v2","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},'
    b'"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}'
)
ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
WORD = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}\n\n'
MORE = b'data: {"choices":[{"index":0,"delta":{"content":" you"},"finish_reason":null}]}\n\n'
FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
DONE = b"data: [DONE]\n\n"
TOO_MANY = b'{"error":{"message":"Rate limit reached","type":"requests","code":"rate_limit_exceeded"}}'


def ok(body: bytes = ANSWER) -> FakeAnswer:
    return FakeAnswer(200, JSON, [body])


def stream(*pieces: Piece) -> FakeAnswer:
    return FakeAnswer(200, SSE, pieces)


def error(status: int, body: bytes = b"{}", **headers: str) -> FakeAnswer:
    return FakeAnswer(status, {**JSON, **{name.replace("_", "-"): value for name, value in headers.items()}}, [body])


@dataclass
class World:
    """An engine over a scripted upstream."""

    script: Mapping[str, Sequence[FakeAnswer | Exception | str]]
    text: str = CONFIG
    clock: FakeClock = field(default_factory=FakeClock)
    records: Records = field(default_factory=Records)

    def __post_init__(self) -> None:
        self.config: Config = parse(self.text, ENVIRON)
        self.ledger = Ledger(self.config.breaker)
        self.ledger.configure(self.config.breaker, self.config.providers.values())
        self.upstream = FakeUpstream({f"https://{name}.test": answers for name, answers in self.script.items()})
        self.engine = Engine(
            self.config, self.ledger, self.upstream, self.records, self.clock, Redactor(ENVIRON.values())
        )

    def call(self, model: str = "default", **fields: object) -> Call:
        body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], **fields}
        chain = self.config.resolve(model)
        assert chain
        return Call(
            "req_1",
            ChatRequest.parse(json.dumps(body).encode()),
            chain,
            "sdk",
            self.clock.now(),
            self.clock.monotonic(),
        )

    async def run(self, model: str = "default", **fields: object) -> Reply:
        return await self.engine.run(self.call(model, **fields))

    def asked(self) -> list[str]:
        """Which providers were called, in order."""
        return [request.url.removeprefix("https://")[0] for request in self.upstream.requests]

    def outcomes(self) -> list[str]:
        return [f"{attempt.provider} {attempt.outcome}" for attempt in self.records.last.attempts]


async def drain(reply: Reply) -> bytes:
    assert isinstance(reply.body, Stream)
    parts = []
    while piece := await reply.body.next():
        parts.append(piece)
    reply.body.close()
    return b"".join(parts)


def error_of(reply: Reply) -> dict[str, object]:
    assert isinstance(reply.body, bytes)
    found = json.loads(reply.body)["error"]
    assert isinstance(found, dict)
    return found


async def test_the_first_target_answers_and_says_so() -> None:
    world = World({"a": [ok()]})
    reply = await world.run()
    assert (reply.status, reply.body) == (200, ANSWER)
    assert reply.headers["x-chain429-provider"] == "a"
    assert reply.headers["x-chain429-model"] == "big"
    assert reply.headers["x-chain429-attempts"] == "1"
    request = world.upstream.requests[0]
    assert request.url == "https://a.test/v1/chat/completions"
    assert request.headers["authorization"] == "Bearer secret-key-of-a"
    assert json.loads(request.body)["model"] == "big"
    record = world.records.last
    assert (record.provider, record.status, record.outcome) == ("a", 200, "served")
    assert (record.tokens_in, record.tokens_out) == (3, 1)
    assert [attempt.reason for attempt in record.attempts] == [""]
    assert world.upstream.answers[0].finished
    assert world.ledger.leased() == 0


FAILURES: dict[str, tuple[FakeAnswer | Exception, str]] = {
    "429 with a window": (error(429, TOO_MANY, retry_after="20"), "rate_limited"),
    "429 with nothing": (error(429, b""), "rate_limited"),
    "500": (error(500), "failed"),
    "502 html": (FakeAnswer(502, {"content-type": "text/html"}, [b"<html>Bad gateway</html>"]), "failed"),
    "503": (error(503), "busy"),
    "529": (error(529), "busy"),
    "401": (error(401), "unauthorized"),
    "402": (error(402), "quota_spent"),
    "404 model": (error(404, b'{"error":{"message":"no such model","code":"model_not_found"}}'), "gone"),
    "410": (error(410), "gone"),
    "413": (error(413), "too_large"),
    "400": (error(400, b'{"error":{"message":"Bad value"}}'), "rejected"),
    "422": (error(422), "rejected"),
    "redirect": (FakeAnswer(307, {"location": "https://evil.test/"}, []), "failed"),
    "refused": (ConnectFailed("no connection: Connection refused"), "failed"),
    "reset": (Cut("it closed the connection without an answer"), "failed"),
    "not json": (ok(b"<html>hello</html>"), "failed"),
    "empty": (ok(b""), "failed"),
    "no answer in it": (ok(b'{"choices":[]}'), "failed"),
    "error in a 200": (ok(b'{"error":{"message":"Provider returned error","code":429}}'), "rate_limited"),
    "error in its choice": (ok(b'{"choices":[{"error":{"message":"x","code":500}}]}'), "failed"),
    "cut": (FakeAnswer(200, JSON, [ANSWER[:40], Cut("its answer was cut short")]), "failed"),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_every_failure_moves_on_to_the_next_provider(name: str) -> None:
    failure, outcome = FAILURES[name]
    world = World({"a": [failure], "b": [ok()]})
    reply = await world.run()
    assert reply.status == 200
    assert reply.headers["x-chain429-provider"] == "b"
    assert reply.headers["x-chain429-attempts"] == "2"
    assert world.outcomes() == [f"a {outcome}", "b served"]
    assert all(answer.closed or answer.finished for answer in world.upstream.answers)
    assert world.ledger.leased() == 0


STREAM_FAILURES: dict[str, tuple[FakeAnswer | Exception, str]] = {
    "nothing": (stream(), "failed"),
    "only its role": (stream(ROLE), "failed"),
    "cut before a word": (stream(ROLE, Cut("cut")), "failed"),
    "an error first": (stream(b'data: {"error":{"message":"Over capacity","code":503}}\n\n'), "busy"),
    "an error after its role": (stream(ROLE + b'data: {"error":"Over capacity"}\n\n'), "busy"),
    "only its end mark": (stream(DONE), "failed"),
    "half an event": (stream(b'data: {"choices":[{"delta":{"con'), "failed"),
    "garbage": (stream(b"data: <html>\n\n"), "failed"),
    "an html page": (FakeAnswer(200, {"content-type": "text/html"}, [b"<html>"]), "failed"),
    "a whole answer": (ok(), "failed"),
    "an error as json": (ok(TOO_MANY), "rate_limited"),
    "429": (error(429, TOO_MANY), "rate_limited"),
}


@pytest.mark.parametrize("name", STREAM_FAILURES)
async def test_every_failure_of_a_stream_before_its_first_word_moves_on(name: str) -> None:
    failure, outcome = STREAM_FAILURES[name]
    world = World({"a": [failure], "b": [stream(ROLE, WORD, FINISH, DONE)]})
    reply = await world.run(stream=True)
    assert await drain(reply) == ROLE + WORD + FINISH + DONE
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert world.outcomes() == [f"a {outcome}", "b served"]
    assert all(answer.closed or answer.finished for answer in world.upstream.answers)
    assert world.ledger.leased() == 0


async def test_nothing_reaches_the_client_before_the_first_word() -> None:
    world = World({"a": [stream(b": PROCESSING\n\n", ROLE, HANG)], "b": [stream(ROLE, WORD, FINISH, DONE)]})
    task = asyncio.create_task(world.run(stream=True))
    await settle()
    assert not task.done()
    await world.clock.advance(60)
    reply = await task
    assert reply.headers["x-chain429-provider"] == "b"
    assert await drain(reply) == ROLE + WORD + FINISH + DONE
    assert world.upstream.answers[0].closed
    assert world.records.last.attempts[0].reason == "first event time-out after 60 s"


async def test_words_are_passed_on_as_they_come() -> None:
    world = World({"a": [stream(ROLE, WORD, MORE, FINISH, USAGE, DONE)]})
    reply = await world.run(stream=True)
    assert isinstance(reply.body, Stream)
    assert await reply.body.next() == ROLE + WORD
    assert await reply.body.next() == MORE
    assert await reply.body.next() == FINISH
    assert await reply.body.next() == DONE
    assert world.records.all == []
    assert await reply.body.next() == b""
    assert (world.records.last.tokens_in, world.records.last.tokens_out) == (3, 2)
    assert await reply.body.next() == b""
    reply.body.close()
    assert len(world.records.all) == 1


async def test_a_cut_after_the_first_word_is_never_replayed() -> None:
    world = World({"a": [stream(WORD, Cut("its answer was cut short"))], "b": [stream(WORD)]})
    out = await drain(await world.run(stream=True))
    head, _, tail = out.partition(WORD)
    assert head == b""
    event = json.loads(tail.removeprefix(b"data: "))
    assert event["error"]["message"] == ("a/big broke off in the middle of its answer: its answer was cut short")
    assert b"[DONE]" not in out
    assert world.asked() == ["a"]
    assert (world.records.last.outcome, world.outcomes()) == ("broken", ["a broken"])
    assert world.upstream.answers[0].closed


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        ([WORD], "its answer was cut short"),
        ([WORD, b'data: {"error":{"message":"Overloaded"}}\n\n'], "Overloaded"),
        ([WORD, b"data: <html>\n\n"], "not JSON"),
    ],
)
async def test_a_stream_that_breaks_ends_with_an_error_event(pieces: list[Piece], words: str) -> None:
    world = World({"a": [stream(*pieces)]})
    out = await drain(await world.run(stream=True))
    assert out.startswith(WORD + b'data: {"error":')
    assert words in out.decode()
    assert world.ledger.leased() == 0


async def test_a_silent_stream_is_broken_off() -> None:
    world = World({"a": [stream(WORD, HANG)]})
    reply = await world.run(stream=True)
    assert isinstance(reply.body, Stream)
    await reply.body.next()
    task = asyncio.create_task(reply.body.next())
    await world.clock.advance(60)
    assert b"idle time-out after 60 s" in await task
    assert await reply.body.next() == b""
    assert world.upstream.answers[0].closed


PROMPT = b'{"model": "default", "max_tokens": 9, "stream": true, "messages": [{"role": "user", "content": "Hi"}]}'
PING = b'event: ping\ndata: {"type": "ping"}\n\n'


def requests() -> dict[str, ClientRequest]:
    """A streamed request of each dialect."""
    asked = b'{"model": "default", "stream": true, "input": "Hi"}'
    return {
        "chat": ChatRequest.parse(PROMPT),
        "messages": MessagesRequest.parse(PROMPT),
        "responses": ResponsesRequest.parse(asked),
    }


@pytest.mark.parametrize(
    ("dialect", "sign"),
    [("chat", b": keep-alive\n\n"), ("messages", PING), ("responses", b": keep-alive\n\n")],
)
async def test_while_a_provider_is_silent_the_client_hears_something_every_15_seconds(
    dialect: str, sign: bytes
) -> None:
    go_on = asyncio.Event()
    world = World({"a": [stream(WORD, go_on, MORE + FINISH + DONE)]})
    call = world.call()
    call.request = requests()[dialect]
    reply = await world.engine.run(call)
    assert isinstance(reply.body, Stream)
    assert b"Hi" in await reply.body.next()
    for _ in range(3):
        task = asyncio.create_task(reply.body.next())
        await world.clock.advance(15)
        assert await task == sign
    task = asyncio.create_task(reply.body.next())
    await world.clock.advance(13)
    assert not task.done()
    go_on.set()
    assert b" you" in await task
    assert b" you" not in await drain(reply)
    assert world.records.last.outcome == "served"
    assert world.clock.waiting == 0


async def test_signs_of_life_do_not_make_a_silent_stream_last() -> None:
    world = World({"a": [stream(WORD, HANG)]})
    reply = await world.run(stream=True)
    assert isinstance(reply.body, Stream)
    said = [await reply.body.next()]
    while len(said) < 9 and said[-1]:
        task = asyncio.create_task(reply.body.next())
        await world.clock.advance(15)
        said.append(await task)
    assert said[1:4] == [b": keep-alive\n\n"] * 3
    assert b"idle time-out after 60 s" in said[4]
    assert said[5:] == [b""]


async def test_what_a_client_is_not_sent_is_silence_to_it_but_a_sign_that_the_provider_lives() -> None:
    steps = [asyncio.Event() for _ in range(20)]
    pieces: list[Piece] = [piece for step in steps for piece in (step, USAGE)]
    world = World({"a": [stream(WORD, *pieces, FINISH, DONE)]})
    reply = await world.run(stream=True)
    assert isinstance(reply.body, Stream)
    said: list[bytes] = []

    async def read(body: Stream) -> None:
        while piece := await body.next():
            said.append(piece)

    task = asyncio.create_task(read(reply.body))
    for number, step in enumerate(steps):  # of 14 seconds, each with a byte of the provider
        await world.clock.advance(4)
        assert said == [WORD, *[b": keep-alive\n\n"] * number]
        await world.clock.advance(6)
        step.set()
        await world.clock.advance(4)
    await task
    assert said == [WORD, *[b": keep-alive\n\n"] * 19, FINISH, DONE]
    assert world.records.last.outcome == "served"


async def test_a_byte_that_comes_late_and_is_not_passed_on_does_not_delay_the_sign_of_life() -> None:
    step = asyncio.Event()
    world = World({"a": [stream(WORD, step, USAGE, HANG)]})
    reply = await world.run(stream=True)
    assert isinstance(reply.body, Stream)
    await reply.body.next()
    task = asyncio.create_task(reply.body.next())
    await settle()
    world.clock.time += 14  # and no time-out had its turn yet
    step.set()
    assert await asyncio.wait_for(task, 5) == b": keep-alive\n\n"
    reply.body.close()


async def test_the_idle_time_out_is_kept_to_the_second() -> None:
    world = World({"a": [stream(WORD, HANG)]}, CONFIG + "timeouts: {idle: 20}\n")
    reply = await world.run(stream=True)
    assert isinstance(reply.body, Stream)
    await reply.body.next()
    task = asyncio.create_task(reply.body.next())
    await world.clock.advance(14)
    assert await task == b": keep-alive\n\n"
    task = asyncio.create_task(reply.body.next())
    await world.clock.advance(5)
    assert not task.done()
    await world.clock.advance(1)
    assert b"idle time-out after 20 s" in await asyncio.wait_for(task, 5)


async def test_half_of_an_event_is_held_back_while_signs_of_life_are_sent() -> None:
    go_on = asyncio.Event()
    world = World({"a": [stream(WORD, MORE[:20], go_on, MORE[20:], FINISH, DONE)]})
    reply = await world.run(stream=True)
    assert isinstance(reply.body, Stream)
    assert await reply.body.next() == WORD
    task = asyncio.create_task(reply.body.next())
    await world.clock.advance(15)
    assert await task == b": keep-alive\n\n"
    go_on.set()
    assert await drain(reply) == MORE + FINISH + DONE


async def test_a_finished_stream_whose_connection_hangs_is_a_good_one() -> None:
    world = World({"a": [stream(WORD, FINISH, HANG)]})
    reply = await world.run(stream=True)
    assert isinstance(reply.body, Stream)
    assert await reply.body.next() == WORD
    assert await reply.body.next() == FINISH
    task = asyncio.create_task(reply.body.next())
    await world.clock.advance(60)
    assert await task == DONE
    assert world.records.last.outcome == "served"


async def test_a_stream_without_its_end_mark_gets_one() -> None:
    world = World({"a": [stream(WORD, FINISH)]})
    assert await drain(await world.run(stream=True)) == WORD + FINISH + DONE
    assert world.records.last.outcome == "served"


# The client leaves.


@pytest.mark.parametrize("script", [HANG, stream(ROLE, HANG)])
async def test_a_client_that_leaves_early_closes_the_call(script: FakeAnswer | str) -> None:
    world = World({"a": [script], "b": [ok()]})
    task = asyncio.create_task(world.run(stream=True))
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert all(answer.closed for answer in world.upstream.answers)
    assert world.asked() == ["a"]
    assert (world.records.last.status, world.outcomes()) == (499, ["a cancelled"])
    assert world.ledger.leased() == 0
    assert world.clock.waiting == 0


async def test_a_client_that_leaves_in_the_middle_closes_the_call() -> None:
    world = World({"a": [stream(WORD, HANG)]})
    reply = await world.run(stream=True)
    assert isinstance(reply.body, Stream)
    await reply.body.next()
    task = asyncio.create_task(reply.body.next())
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    reply.body.close()
    assert world.upstream.answers[0].closed
    assert world.outcomes() == ["a cancelled"]
    assert world.ledger.leased() == 0


class SlowToFinish(FakeAnswer):
    """Its connection does not come to its end."""

    def again(self) -> SlowToFinish:
        return self

    async def finish(self) -> None:
        await asyncio.Event().wait()


async def test_a_client_that_leaves_when_it_has_the_whole_answer_was_served() -> None:
    world = World({"a": [SlowToFinish(200, SSE, [WORD, FINISH + DONE])]})
    reply = await world.run(stream=True)
    assert isinstance(reply.body, Stream)
    assert await reply.body.next() + await reply.body.next() == WORD + FINISH + DONE
    task = asyncio.create_task(reply.body.next())
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    reply.body.close()
    assert world.upstream.answers[0].closed
    assert (world.records.last.outcome, world.outcomes()) == ("served", ["a served"])
    assert world.ledger.leased() == 0


async def test_a_reply_that_is_never_read_is_given_back() -> None:
    world = World({"a": [stream(WORD, HANG)]})
    reply = await world.run(stream=True)
    assert isinstance(reply.body, Stream)
    reply.body.close()
    reply.body.close()
    assert world.upstream.answers[0].closed
    assert len(world.records.all) == 1
    assert world.ledger.leased() == 0


# What was learned is used.


async def test_a_limited_target_is_not_called_until_its_window_frees() -> None:
    world = World({"a": [error(429, TOO_MANY, retry_after="20"), ok()], "b": [ok()]})
    await world.run()
    await world.run()
    assert world.asked() == ["a", "b", "b"]
    assert world.outcomes() == ["a skipped", "b served"]
    await world.clock.advance(19)
    await world.run()
    assert world.asked() == ["a", "b", "b", "b"]
    await world.clock.advance(1)
    assert (await world.run()).headers["x-chain429-provider"] == "a"


async def test_a_bucket_that_is_reported_empty_is_not_called() -> None:
    last = FakeAnswer(
        200, {**JSON, "x-ratelimit-limit-requests": "30", "x-ratelimit-remaining-requests": "0",
              "x-ratelimit-reset-requests": "12s"}, [ANSWER]
    )  # fmt: skip
    world = World({"a": [last], "b": [ok()]})
    await world.run()
    await world.run()
    assert world.asked() == ["a", "b"]


async def test_a_header_without_a_window_is_the_size_of_the_limit_that_refused() -> None:
    spent = b'{"error":{"message":"Rate limit exceeded: free-models-per-day. Add 10 credits.","code":429}}'
    sizes = {"x_ratelimit_limit": "50", "x_ratelimit_remaining": "0", "x_ratelimit_reset": "1800057600000"}
    text = CONFIG.replace("https://a.test/v1,", "https://a.test/v1, preset: openrouter,")
    world = World({"a": [ok(), error(429, spent, **sizes)], "b": [ok()]}, text)
    await world.run()
    await world.run()
    assert world.asked() == ["a", "a", "b"]
    (target,) = world.ledger.status(world.config.chains["default"], world.clock.now()).tiers[0]
    reported = [limit for limit in target.limits if limit.layer == "reported"]
    assert [(limit.window, limit.limit, limit.left) for limit in reported] == [("day", 50, 0)]


async def test_what_a_provider_claims_to_have_counted_is_believed_within_reason() -> None:
    claims = ANSWER.replace(b'"prompt_tokens":3', b'"prompt_tokens":1' + b"0" * 400)
    text = CONFIG.replace("https://a.test/v1,", "https://a.test/v1, limits: {tpm: 100000},")
    world = World({"a": [ok(claims), ok()], "b": [ok()]}, text)
    await world.run()
    await world.run()
    assert world.asked() == ["a", "a"]
    assert world.records.last.tokens_in == 3
    assert world.ledger.leased() == 0


async def test_a_refusal_as_long_as_a_book_is_still_one() -> None:
    world = World({"a": [error(429, TOO_MANY[:-1] + b" " * 300_000 + b"}", retry_after="7")], "b": [ok()]})
    await world.run()
    assert world.outcomes() == ["a rate_limited", "b served"]


async def test_one_refused_key_never_benches_its_sibling() -> None:
    world = World({"a": [error(401), ok()], "b": [ok()]}, POOL)
    await world.run()
    await world.run()
    assert [request.headers["authorization"] for request in world.upstream.requests] == [
        "Bearer secret-key-of-a",
        "Bearer secret-key-of-b",
        "Bearer secret-key-of-b",
    ]


async def test_a_model_that_is_gone_is_not_tried_with_another_key() -> None:
    world = World({"a": [error(410)], "b": [ok()]}, POOL)
    await world.run()
    assert world.asked() == ["a", "b"]


async def test_the_breaker_opens_after_three_failures_and_lets_one_probe_through() -> None:
    world = World({"a": [error(500), error(500), error(500), ok()], "b": [ok()]})
    for _ in range(4):
        await world.run()
    assert world.asked() == ["a", "b"] * 3 + ["b"]
    await world.clock.advance(30)
    await world.run()
    assert world.asked()[-1] == "a"
    await world.run()
    assert world.asked()[-1] == "a"


async def test_a_provider_that_can_not_be_reached_is_not_tried_with_another_model() -> None:
    world = World({"a": [ConnectFailed("no connection")], "b": [ok()]})
    await world.run("pair")
    assert world.asked() == ["a", "b"]


async def test_a_named_parameter_is_dropped_once_and_remembered() -> None:
    refusal = error(400, b'{"error":{"message":"Unsupported parameter: \'seed\'","param":"seed"}}')
    world = World({"a": [refusal, ok(), ok()]})
    reply = await world.run(seed=1)
    assert reply.status == 200
    assert world.asked() == ["a", "a"]
    assert ["seed" in json.loads(request.body) for request in world.upstream.requests] == [True, False]
    assert world.records.last.attempts[-1].reason == "without seed"
    await world.run(seed=2)
    assert "seed" not in json.loads(world.upstream.requests[2].body)


async def test_a_parameter_that_is_refused_again_moves_on() -> None:
    refusal = b'{"error":{"message":"Unsupported parameter: \'seed\'","param":"seed"}}'
    world = World({"a": [error(400, refusal), error(400, refusal)], "b": [ok()]})
    await world.run(seed=1)
    assert world.asked() == ["a", "a", "b"]


async def test_a_request_that_was_too_large_goes_to_the_next_and_is_remembered() -> None:
    world = World({"a": [error(413), ok()], "b": [ok()]})
    await world.run(user="x" * 100)
    await world.run(user="x" * 100)
    assert world.asked() == ["a", "b", "b"]
    await world.run()
    assert world.asked()[-1] == "a"


# Nothing is left.


async def test_exhaustion_by_limits_is_an_honest_429() -> None:
    world = World(
        {
            "a": [error(429, TOO_MANY, retry_after="20")],
            "b": [error(429, TOO_MANY, retry_after="9")],
            "c": [ConnectFailed("no connection: Connection refused")],
        }
    )
    reply = await world.run()
    assert reply.status == 429
    assert reply.headers["retry-after"] == "9"
    assert "x-should-retry" not in reply.headers
    found = error_of(reply)
    assert (found["type"], found["code"]) == ("rate_limit_error", "rate_limit_exceeded")
    details = found["chain429"]
    assert isinstance(details, dict)
    assert [(line["target"], line["outcome"], line["back_in"]) for line in details["targets"]] == [
        ("a/big", "rate_limited", 20),
        ("b/big", "rate_limited", 9),
        ("c/small", "failed", None),
    ]
    assert world.records.last.outcome == "exhausted"
    again = await world.run()
    assert again.status == 429
    assert world.asked() == ["a", "b", "c", "c"]


async def test_a_model_that_a_client_named_and_nobody_has_is_its_mistake() -> None:
    world = World({"a": [error(404)]})
    for _ in range(2):
        reply = await world.run("a/nope")
        found = error_of(reply)
        assert (reply.status, found["code"], found["param"]) == (404, "model_not_found", "model")
    assert world.asked() == ["a"]


async def test_where_a_target_may_be_asked_again_at_once_clients_are_told_to() -> None:
    reply = await World({"a": [error(500)]}).run("alone")
    assert (reply.status, reply.headers["retry-after"]) == (502, "1")
    assert "x-should-retry" not in reply.headers


async def test_edge_06_retry_after_is_held_to_what_clients_stand() -> None:
    world = World({"a": [error(429, TOO_MANY, retry_after="100")]})
    reply = await world.run("alone")
    assert reply.headers["retry-after"] == "55"
    assert "x-should-retry" not in reply.headers


async def test_edge_06_a_day_long_wait_is_not_worth_retrying() -> None:
    world = World({"a": [error(402)]})
    reply = await world.run("alone")
    assert (reply.status, reply.headers["retry-after"], reply.headers["x-should-retry"]) == (429, "55", "false")


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (error(500), 502, "no_target_available"),
        (error(503), 503, "no_target_available"),
        (error(401), 503, "no_target_available"),
        (error(413), 400, "context_length_exceeded"),
        (error(400, b'{"error":{"message":"Bad tool","param":"tools[0]"}}'), 400, "request_rejected"),
        (error(422, b'{"error":{"message":"Bad tool"}}'), 422, "request_rejected"),
    ],
)
async def test_the_status_says_what_the_cause_was(answer: FakeAnswer, status: int, code: str) -> None:
    world = World({"a": [answer]})
    reply = await world.run("alone")
    assert (reply.status, error_of(reply)["code"]) == (status, code)


async def test_a_provider_s_full_stop_ends_the_sentence() -> None:
    world = World({"a": [error(400, b'{"error":{"message":"No such tool."}}')]})
    found = error_of(await world.run("alone"))
    assert str(found["message"]).endswith("request refused (HTTP 400): No such tool.")


@pytest.mark.parametrize("kind", [b"null", b'"<nil>"', b'"new_api_error"'])
async def test_edge_28_a_refusal_keeps_the_provider_s_words_and_has_a_type_that_clients_know(kind: bytes) -> None:
    world = World({"a": [error(400, b'{"error":{"message":"context_management: Extra inputs","type":%b}}' % kind)]})
    found = error_of(await world.run("alone"))
    assert "context_management: Extra inputs" in str(found["message"])
    assert found["type"] == "invalid_request_error"


ABLE = """
patience: 0
providers:
  a: {base_url: https://a.test/v1, keys: [env:A, env:B], models: {plain: {tools: false}, blind: {images: false}}}
  b: {base_url: https://b.test/v1, models: {short: {context: 100}, "*": {json_schema: false}}}
  c: {base_url: https://c.test/v1}
chains:
  default: [a/plain, b/any, c/any]
  plain: [a/plain]
  none: [a/plain, b/short]
  short: [b/short]
  both: [c/any, a/plain]
"""
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}


async def test_what_a_model_lacks_is_passed_over_without_a_call() -> None:
    world = World({"a": [ok()], "b": [ok()], "c": [ok()]}, ABLE)
    assert (await world.run(tools=TOOLS)).headers["x-chain429-provider"] == "b"
    skips = [(skip.credential, skip.reason) for skip in world.records.last.attempts if skip.outcome == "skipped"]
    assert skips == [("a/A", "it calls no tools"), ("a/B", "it calls no tools")]
    assert (await world.run(tools=TOOLS, response_format=SCHEMA)).headers["x-chain429-provider"] == "c"
    assert (await world.run()).headers["x-chain429-provider"] == "a"
    assert world.asked() == ["b", "c", "a"]


async def test_a_request_that_no_model_of_the_chain_can_serve_is_the_clients_to_change() -> None:
    world = World({"a": [ok()], "b": [ok()]}, ABLE)
    reply = await world.run("none", tools=TOOLS, response_format=SCHEMA)
    assert reply.status == 400
    assert "retry-after" not in reply.headers
    found = error_of(reply)
    assert (found["type"], found["code"]) == ("invalid_request_error", "unsupported_request")
    assert found["message"] == (
        "No target of chain 'none' can do what the request needs. a/plain: it calls no tools; "
        "a/plain: it calls no tools; b/short: it does not answer by a JSON schema."
    )
    assert world.asked() == []
    assert world.records.last.status == 400


async def test_what_no_model_can_do_is_told_in_the_clients_own_dialect() -> None:
    world = World({"a": [ok()]}, ABLE)
    chain = world.config.resolve("plain")
    assert chain
    tools = [{"name": "f", "input_schema": {"type": "object"}}]
    body = {"model": "plain", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}], "tools": tools}
    request = MessagesRequest.parse(json.dumps(body).encode())
    reply = await world.engine.run(Call("req_1", request, chain, "sdk", world.clock.now(), world.clock.monotonic()))
    assert reply.status == 400
    assert isinstance(reply.body, bytes)
    found = json.loads(reply.body)
    assert (found["type"], found["error"]["type"]) == ("error", "invalid_request_error")
    assert "it calls no tools" in found["error"]["message"]


LONG = [{"role": "user", "content": "word " * 1000}]


async def test_what_is_too_long_by_estimate_is_passed_over_but_tried_when_nothing_else_is_left() -> None:
    world = World({"b": [ok()], "c": [ok()]}, ABLE.replace("[a/plain, b/any, c/any]", "[b/short, c/any]"))
    assert (await world.run(messages=LONG)).headers["x-chain429-provider"] == "c"
    assert world.records.last.attempts[0].reason.startswith("it takes 100 tokens, and this request has about ")
    assert (await world.run("short", messages=LONG)).headers["x-chain429-provider"] == "b"
    assert world.asked() == ["c", "b"]


async def test_what_was_too_long_indeed_is_not_tried_again() -> None:
    world = World({"b": [error(413)]}, ABLE)
    for _ in range(2):
        reply = await world.run("short", messages=LONG)
        assert (reply.status, error_of(reply)["code"], error_of(reply)["param"]) == (
            400,
            "context_length_exceeded",
            "messages",
        )
    assert world.asked() == ["b"]


async def test_too_large_for_one_and_too_much_for_the_other() -> None:
    world = World({"c": [error(413)]}, ABLE)
    reply = await world.run("both", tools=TOOLS)
    assert (reply.status, error_of(reply)["code"]) == (400, "unsupported_request")
    assert str(error_of(reply)["message"]).startswith(
        "No target of chain 'both' can do what the request needs and take it. c/any: "
    )


@pytest.mark.parametrize(("answer", "status"), [(error(429), 429), (error(500), 502), (error(422), 422)])
async def test_a_target_that_might_have_served_decides_what_is_told(answer: FakeAnswer, status: int) -> None:
    world = World({"c": [answer]}, ABLE)
    assert (await world.run("both", tools=TOOLS)).status == status


async def test_if_all_reject_the_first_rejection_goes_back() -> None:
    world = World(
        {
            "a": [error(400, b'{"error":{"message":"Bad tool","param":"tools"}}')],
            "b": [error(422)],
            "c": [error(404)],
        }
    )
    reply = await world.run()
    assert reply.status == 400
    found = error_of(reply)
    assert found["param"] == "tools"
    assert "Bad tool" in str(found["message"])


async def test_a_cut_after_the_end_is_the_end_of_an_answer_that_was_whole() -> None:
    usage = b'data: {"choices":[],"usa'
    world = World({"a": [stream(WORD, FINISH, usage, Cut("its answer was cut short"))]})
    assert await drain(await world.run(stream=True)) == WORD + FINISH + DONE
    assert world.records.last.outcome == "served"


async def test_whoever_waits_is_served_as_soon_as_the_configuration_gives_room() -> None:
    text = """
patience: 60
providers: {{a: {{base_url: https://a.test/v1, keys: [{{key: env:A, rpm: {rpm}}}]}}}}
chains: {{default: [a/big]}}
"""
    world = World({"a": [ok()]}, text.format(rpm=1))
    await world.run()
    waiting = asyncio.create_task(world.run())
    await settle()
    config = parse(text.format(rpm=9), ENVIRON)
    world.ledger.configure(config.breaker, config.providers.values())
    world.engine.adopt(config)
    await settle()
    assert waiting.done()
    assert (await waiting).status == 200


async def test_a_provider_that_had_no_time_left_is_not_to_blame() -> None:
    world = World({"a": [HANG], "b": [HANG]}, CONFIG + "timeouts: {first_event: 60, answer: 60, deadline: 61}\n")
    for _ in range(3):
        asked = asyncio.create_task(world.run())
        await world.clock.advance(60)
        await world.clock.advance(1)
        assert (await asked).status == 504
        world.ledger.reset_breaker("a")
    assert world.records.last.attempts[-1].provider == "b"
    assert world.ledger.breaker("b").until is None


async def test_the_deadline_ends_the_search() -> None:
    world = World({"a": [HANG], "b": [HANG], "c": [HANG]}, CONFIG + "timeouts: {first_event: 60, deadline: 90}\n")
    task = asyncio.create_task(world.run(stream=True))
    await world.clock.advance(60)
    await world.clock.advance(30)
    reply = await task
    assert reply.status == 504
    assert world.asked() == ["a", "b"]
    assert world.records.last.attempts[-1].reason == "deadline time-out after 30 s"


async def test_a_whole_answer_may_take_longer_than_a_streams_first_word() -> None:
    world = World({"a": [HANG], "b": [ok()]})
    task = asyncio.create_task(world.run())
    await world.clock.advance(179)
    assert world.asked() == ["a"]
    await world.clock.advance(1)
    await task
    assert world.records.last.attempts[0].reason == "answer time-out after 180 s"


async def test_no_key_is_in_an_error_or_in_the_log() -> None:
    quoted = b'{"error":{"message":"Incorrect API key provided: secret-key-of-a"}}'
    world = World({"a": [error(401, quoted)]})
    reply = await world.run("alone")
    assert b"secret-key" not in reply.body if isinstance(reply.body, bytes) else False
    assert "secret-key" not in repr(world.records.last)
    assert "secret-key" not in repr(world.upstream.requests) + repr(world.config)


async def test_two_requests_at_once_never_take_the_last_slot() -> None:
    text = CONFIG.replace("keys: [env:A]}", "keys: [{key: env:A, concurrent: 1}]}")
    world = World({"a": [stream(WORD, HANG)], "b": [stream(WORD, HANG)]}, text)
    first = await world.run(stream=True)
    second = await world.run(stream=True)
    assert world.asked() == ["a", "b"]
    for reply in (first, second):
        assert isinstance(reply.body, Stream)
        reply.body.close()
    assert world.ledger.leased() == 0


# Waiting for a target to free.

PATIENT = CONFIG.replace("patience: 0", "patience: 30")
SLOTS = PATIENT.replace("keys: [env:A]}", "keys: [{key: env:A, concurrent: 1}]}")


def limited(seconds: int) -> FakeAnswer:
    return error(429, TOO_MANY, retry_after=str(seconds))


async def test_a_request_waits_for_the_soonest_and_is_served() -> None:
    world = World({"a": [limited(25)], "b": [limited(9), ok()], "c": [limited(20)]}, PATIENT)
    task = asyncio.create_task(world.run())
    await world.clock.advance(8.9)
    assert not task.done()
    await world.clock.advance(0.1)
    reply = await task
    assert (reply.status, reply.headers["x-chain429-provider"], reply.headers["x-chain429-attempts"]) == (200, "b", "4")
    assert world.asked() == ["a", "b", "c", "b"]
    assert world.ledger.leased() == 0
    assert world.clock.waiting == 0


async def test_it_waits_again_while_its_patience_lasts_and_then_says_when_to_come_back() -> None:
    world = World({"a": [limited(10)]}, PATIENT)
    task = asyncio.create_task(world.run("alone"))
    for _ in range(3):
        await world.clock.advance(10)
    reply = await task
    assert (reply.status, reply.headers["retry-after"]) == (429, "10")
    assert len(world.asked()) == 4
    assert world.clock.waiting == 0


@pytest.mark.parametrize(("patience", "wait"), [(0, 1), (5, 6), (29.9, 30)])
async def test_a_wait_that_is_longer_than_the_patience_is_not_begun(patience: float, wait: int) -> None:
    world = World({"a": [limited(wait)]}, PATIENT)
    call = world.call("alone")
    call.patience = patience
    reply = await world.engine.run(call)
    assert (reply.status, reply.headers["retry-after"]) == (429, str(wait))
    assert (world.asked(), call.waited) == (["a"], 0)


async def test_the_deadline_bounds_the_patience() -> None:
    world = World({"a": [limited(20)]}, PATIENT + "timeouts: {deadline: 15}\n")
    assert (await world.run("alone")).status == 429


async def test_what_failed_is_not_waited_for() -> None:
    world = World({"a": [error(500), ok()]}, PATIENT)
    assert (await world.run("alone")).status == 502
    assert world.asked() == ["a"]


async def test_waiters_are_served_in_the_order_in_which_they_came() -> None:
    world = World({"a": [stream(WORD, HANG), stream(WORD, HANG), stream(WORD, HANG)]}, SLOTS)
    first = await world.run("alone", stream=True)
    second = asyncio.create_task(world.run("alone", stream=True))
    await settle()
    third = asyncio.create_task(world.run("alone", stream=True))
    await settle()
    assert isinstance(first.body, Stream)
    first.body.close()
    await settle()
    assert (second.done(), third.done()) == (True, False)
    body = (await second).body
    assert isinstance(body, Stream)
    body.close()
    await settle()
    body = (await third).body
    assert isinstance(body, Stream)
    body.close()
    assert world.ledger.leased() == 0
    assert world.clock.waiting == 0


async def test_a_request_that_comes_later_does_not_overtake_one_that_waits() -> None:
    world = World({"a": [limited(10), ok()]}, PATIENT.replace("keys: [env:A]}", "keys: [{key: env:A, rpm: 1}]}"))
    waiting = asyncio.create_task(world.run("alone"))
    await settle()
    world.clock.time += 10  # its time has come, but it has not yet been woken
    late = asyncio.create_task(world.run("alone"))
    await world.clock.advance(0)
    assert (await waiting).status == 200
    assert (await late).status == 429


async def test_a_waiter_whose_client_leaves_gives_up_its_place() -> None:
    world = World({"a": [stream(WORD, HANG), stream(WORD, HANG)]}, SLOTS)
    first = await world.run("alone", stream=True)
    second = asyncio.create_task(world.run("alone", stream=True))
    await settle()
    third = asyncio.create_task(world.run("alone", stream=True))
    await settle()
    second.cancel()
    await settle()
    assert second.cancelled()
    assert (world.records.last.status, world.records.last.outcome) == (499, "cancelled")
    assert isinstance(first.body, Stream)
    first.body.close()
    await settle()
    body = (await third).body
    assert isinstance(body, Stream)
    body.close()
    assert world.ledger.leased() == 0
    assert world.clock.waiting == 0


async def test_a_waiter_that_leaves_as_its_turn_comes_gives_it_to_the_next() -> None:
    world = World({"a": [stream(WORD, HANG), stream(WORD, HANG)]}, SLOTS)
    first = await world.run("alone", stream=True)
    second = asyncio.create_task(world.run("alone", stream=True))
    await settle()
    third = asyncio.create_task(world.run("alone", stream=True))
    await settle()
    assert isinstance(first.body, Stream)
    first.body.close()  # the second is given the slot, and its client leaves before it can use it
    second.cancel()
    await settle()
    assert second.cancelled()
    assert third.done()
    body = (await third).body
    assert isinstance(body, Stream)
    body.close()
    assert len(world.asked()) == 2
    assert world.ledger.leased() == 0


async def test_before_it_fails_what_only_an_estimate_forbids_is_tried() -> None:
    text = PATIENT.replace("keys: [env:A]}", "keys: [{key: env:A, tpm: 500}]}")
    world = World({"a": [ok()]}, text)
    assert (await world.run("alone")).status == 200
    large = await world.run("alone", user="x" * 4000)
    assert (large.status, world.asked()) == (200, ["a", "a"])


async def test_what_an_estimate_forbids_is_the_last_that_is_tried() -> None:
    text = PATIENT.replace("keys: [env:A]}", "keys: [{key: env:A, tpm: 500}]}")
    world = World({"a": [ok()], "b": [ok()]}, text)
    await world.run()
    await world.run(user="x" * 4000)
    assert world.asked() == ["a", "b"]


class Counting(FakeClock):
    """Counts how often anybody begins to wait."""

    begun = 0

    def timeout(self, seconds: float | None) -> AbstractAsyncContextManager[object]:
        self.begun += 1
        assert seconds is None or seconds > 0
        return super().timeout(seconds)


async def test_what_should_have_freed_but_has_not_is_not_asked_for_in_a_circle() -> None:
    clock = Counting()
    world = World({"a": [stream(WORD, HANG)]}, SLOTS, clock=clock)
    first = await world.run("alone", stream=True)
    before = clock.begun
    waiting = asyncio.create_task(world.run("alone", stream=True))
    await settle()
    assert clock.begun == before + 1
    for _ in range(29):
        await clock.advance(1)
    assert not waiting.done()
    assert clock.begun <= before + 31
    await clock.advance(1)
    await clock.advance(1)
    assert (await waiting).status in (429, 503)
    assert isinstance(first.body, Stream)
    first.body.close()
    assert clock.waiting == 0


async def test_a_target_that_will_never_free_again_ends_the_wait() -> None:
    world = World({"a": [limited(10)]}, PATIENT)
    waiting = asyncio.create_task(world.run("alone", user="x" * 100))
    await settle()
    # While it waits, a request of another client that is smaller turns out to be too large.
    provider, target = world.config.providers["a"], world.call("alone").chain.targets[0]
    lease = world.ledger.take(provider, target, Need(size=50), world.clock.now())
    world.ledger.learn(lease, Outcome.of(Kind.TOO_LARGE, "too large"), (None, None), world.clock.now())
    await world.clock.advance(10)
    assert (await waiting).status == 429
    assert world.asked() == ["a"]
    assert world.clock.waiting == 0


async def test_a_clock_that_is_set_back_does_not_make_a_wait_longer_than_the_patience() -> None:
    class SetBack(FakeClock):
        back = 0.0

        def now(self) -> float:
            return self.time - self.back

    clock = SetBack()
    world = World({"a": [limited(10)]}, PATIENT, clock=clock)
    waiting = asyncio.create_task(world.run("alone"))
    await settle()
    clock.back = 86400.0
    for _ in range(31):
        await clock.advance(1)
    assert waiting.done()
    await waiting
    assert clock.waiting == 0
    assert world.ledger.leased() == 0


# What is left for a chain is on every answer.

LIMITED = CONFIG.replace("keys: [env:A]", "keys: [{key: env:A, rpm: 5, tpm: 5000}]").replace(
    "keys: [env:B]", "keys: [{key: env:B, rpm: 2}]"
)


def capacity(reply: Reply) -> dict[str, str]:
    """Its capacity headers."""
    names = ("remaining-requests", "reset-requests", "remaining-tokens", "reset-tokens")
    return {name: reply.headers[f"x-chain429-{name}"] for name in names if f"x-chain429-{name}" in reply.headers}


async def test_what_is_left_for_the_chain_is_on_an_answer() -> None:
    world = World({"a": [ok()], "b": [ok()]}, LIMITED)
    left = {"remaining-requests": "4", "reset-requests": "61", "remaining-tokens": "4996", "reset-tokens": "61"}
    assert capacity(await world.run("alone")) == left


async def test_what_is_left_for_the_chain_is_on_a_stream_whose_own_share_is_not_yet_known() -> None:
    world = World({"a": [stream(WORD, FINISH, DONE)]}, LIMITED)
    reply = await world.run("alone", stream=True)
    assert capacity(reply)["remaining-requests"] == "4"
    assert int(capacity(reply)["remaining-tokens"]) < 4996
    await drain(reply)


async def test_what_is_left_for_the_chain_is_on_a_refusal_too_and_never_out_of_date() -> None:
    world = World({"a": [error(503), *[ok()] * 5]}, LIMITED)
    assert capacity(await world.run("alone")) == {
        "remaining-requests": "0",
        "reset-requests": "2",
        "remaining-tokens": "0",
        "reset-tokens": "2",
    }
    await world.clock.advance(3)
    replies = [await world.run("alone") for _ in range(6)]
    assert [reply.status for reply in replies] == [200] * 5 + [429]
    assert capacity(replies[4])["remaining-requests"] == "4", "of a second ago at most"
    assert capacity(replies[5])["remaining-requests"] == "0"
    assert replies[5].headers["x-chain429-chain"] == "alone"


async def test_where_no_limit_is_known_no_capacity_is_told() -> None:
    world = World({"a": [ok()]})
    assert capacity(await world.run("alone")) == {}


async def test_what_is_cleared_by_hand_goes_to_those_who_wait() -> None:
    world = World({"a": [limited(25), ok()]}, PATIENT)
    waiting = asyncio.create_task(world.run("alone"))
    await settle()
    assert world.asked() == ["a"]
    world.engine.clear(world.call("alone").chain.targets)
    reply = await waiting
    assert (reply.status, world.asked()) == (200, ["a", "a"])
    assert world.clock.waiting == 0


async def test_a_breaker_that_is_reset_by_hand_goes_to_those_who_wait() -> None:
    world = World({"a": [ok()]}, PATIENT)
    for _ in range(3):
        world.ledger.breaker("a").failed(world.clock.now(), "down")
    waiting = asyncio.create_task(world.run("alone"))
    await settle()
    assert world.asked() == []
    world.engine.reset_breaker("a")
    reply = await waiting
    assert (reply.status, world.asked()) == (200, ["a"])


# Conversations go on where their prompt is cached.

KEYS = """
patience: 0
providers:
  a: {base_url: https://a.test/v1, keys: [env:A, env:B], strategy: round_robin}
  b: {base_url: https://b.test/v1}
chains: {default: [a/big, b/big]}
"""
TIERS = """
patience: 0
providers:
  a: {base_url: https://a.test/v1, keys: [env:A]}
  b: {base_url: https://b.test/v1}
chains: {default: [a/big, b/big], other: [a/big, b/big]}
"""


def turns(count: int, about: str = "Hi") -> list[dict[str, str]]:
    """A conversation in which so many questions have been asked."""
    talk = [{"role": "user", "content": about}]
    for _ in range(count - 1):
        talk += [{"role": "assistant", "content": "Yes."}, {"role": "user", "content": "And?"}]
    return talk


def keys_of(world: World) -> str:
    return "".join(request.headers["authorization"][-1] for request in world.upstream.requests)


async def test_a_conversation_stays_with_a_key_while_others_go_round() -> None:
    world = World({"a": [ok()]}, KEYS)
    for count in (1, 2, 3):
        await world.run(messages=turns(count))
        await world.run(messages=turns(1, f"another {count}"))
    assert keys_of(world) == "ab" + "ab" + "ab"
    await world.run(messages=turns(4))
    await world.run(messages=turns(5))
    assert keys_of(world)[-2:] == "aa"


async def test_without_history_requests_go_round_however_alike_they_are() -> None:
    world = World({"a": [ok()]}, KEYS)
    for _ in range(4):
        await world.run()
    assert keys_of(world) == "abab"


@pytest.mark.parametrize("off", ["affinity: false", "chains: {default: {targets: [a/big, b/big], affinity: false}}"])
async def test_where_it_is_switched_off_nothing_is_kept(off: str) -> None:
    text = KEYS + off if off.startswith("affinity") else KEYS.replace("chains: {default: [a/big, b/big]}", off)
    world = World({"a": [ok()]}, text)
    for count in (1, 2, 3, 4):
        await world.run(messages=turns(count))
    assert keys_of(world) == "abab"


async def test_a_conversation_that_moved_below_stays_there_for_a_while() -> None:
    world = World({"a": [error(429, TOO_MANY, retry_after="20"), ok()], "b": [ok()]}, TIERS)
    await world.run(messages=turns(1))
    await world.clock.advance(30)
    await world.run(messages=turns(2))
    await world.run(messages=turns(1, "another"))
    assert world.asked() == ["a", "b", "b", "a"]
    await world.clock.advance(300)
    await world.run(messages=turns(3))
    assert world.asked()[-1] == "a"
    await world.run(messages=turns(4))
    assert world.asked()[-1] == "a"


async def test_a_conversation_goes_on_elsewhere_when_its_target_fails_and_stays_there() -> None:
    world = World({"a": [ok(), error(503), ok()], "b": [ok()]}, TIERS)
    reply = None
    for count in (1, 2, 3):
        reply = await world.run(messages=turns(count))
        assert reply.status == 200
        await world.clock.advance(60)
    assert world.asked() == ["a", "a", "b", "b"]


async def test_a_pin_and_another_chain_are_as_they_were() -> None:
    world = World({"a": [ok(), error(503), ok()], "b": [ok()]}, TIERS)
    await world.run(messages=turns(1))
    await world.run(messages=turns(2))
    await world.clock.advance(60)
    await world.run(messages=turns(3))
    await world.run("other", messages=turns(3))
    await world.run("a/big", messages=turns(3))
    assert world.asked() == ["a", "a", "b", "b", "a", "a"]


async def test_a_session_that_is_named_is_one_conversation_whatever_is_said() -> None:
    world = World({"a": [ok()]}, KEYS)
    for count, about in ((1, "Hi"), (2, "A summary"), (3, "Another")):
        call = world.call(messages=turns(count, about))
        call.session = "s-1"
        await world.engine.run(call)
        await world.run(messages=turns(1, f"elsewhere {count}"))
    assert keys_of(world) == "ab" + "ab" + "ab"
    await world.run(messages=turns(2, "A summary"))
    await world.run(messages=turns(2, "Another"))
    assert keys_of(world)[-2:] == "ab"


async def test_a_stream_is_remembered_from_its_first_word_and_a_reload_keeps_it() -> None:
    world = World({"a": [stream(WORD, HANG), ok()]}, KEYS)
    reply = await world.run(messages=turns(1), stream=True)
    world.engine.adopt(parse(KEYS, ENVIRON))
    await world.run(messages=turns(2))
    assert keys_of(world) == "aa"
    assert isinstance(reply.body, Stream)
    reply.body.close()
    assert world.ledger.leased() == 0


async def test_a_conversation_waits_in_the_line_like_all_others_and_nothing_is_held_for_it() -> None:
    text = KEYS.replace("patience: 0", "patience: 90").replace(
        "[env:A, env:B]", "[{key: env:A, rpm: 1}, {key: env:B, rpm: 1}]"
    )
    world = World({"a": [ok()]}, text.replace("[a/big, b/big]", "[a/big]"))
    await world.run(messages=turns(1))
    await world.run()
    first = asyncio.create_task(world.run(messages=turns(1, "another")))
    await settle()
    second = asyncio.create_task(world.run(messages=turns(2)))
    await world.clock.advance(70)
    assert (await first).status == (await second).status == 200
    assert keys_of(world) == "ab" + "ab"
    assert world.ledger.leased() == 0


# What is only passed on.

PASSED = """
patience: 0
providers:
  a: {base_url: https://a.test/v1, keys: [env:A, env:B], strategy: priority}
  b: {base_url: https://b.test/v1}
  c: {base_url: https://c.test/v1, dialect: messages, keys: [env:A]}
chains:
  default: [a/big, a/small, c/big, b/small, b/big]
  foreign: [c/big]
"""
ROWS = b'{"object":"list","data":[{"index":0,"embedding":[0.5]}],"usage":{"prompt_tokens":4,"total_tokens":4}}'
LEGACY = b'data: {"object":"text_completion","choices":[{"text":"Hi","index":0,"finish_reason":"stop"}]}\n\n'


def passed(world: World, request: ClientRequest, model: str = "default") -> Call:
    call = world.call(model)
    call.request = request
    return call


def embeddings() -> ClientRequest:
    return EmbeddingsRequest.parse(b'{"model": "default", "input": "Hi"}')


def completions(*, stream: bool = True) -> ClientRequest:
    body = {"model": "default", "prompt": "Hi", "stream": stream}
    return CompletionsRequest.parse(json.dumps(body).encode())


async def test_embeddings_go_to_the_very_same_model_only() -> None:
    world = World({"a": [error(429, TOO_MANY)], "b": [ok(ROWS)]}, PASSED)
    reply = await world.engine.run(passed(world, embeddings()))
    assert (reply.status, reply.body) == (200, ROWS)
    asked = [(request.url, json.loads(request.body)["model"]) for request in world.upstream.requests]
    assert asked == [("https://a.test/v1/embeddings", "big")] * 2 + [("https://b.test/v1/embeddings", "big")]
    last = world.records.last
    assert (last.dialect, last.outcome, last.tokens_in, last.tokens_out) == ("embeddings", "served", 4, 0)
    passed_over = {f"{one.provider}/{one.model}": one.reason for one in last.attempts if one.outcome == "skipped"}
    assert passed_over == {
        "a/small": "its embeddings can't be compared with those of big, which comes first in the chain",
        "c/big": "it speaks messages, and requests for embeddings are not translated",
        "b/small": "its embeddings can't be compared with those of big, which comes first in the chain",
    }


async def test_where_embeddings_could_not_be_had_it_is_told_why_others_were_not_asked() -> None:
    world = World({"a": [error(429, TOO_MANY)], "b": [error(500)]}, PASSED)
    reply = await world.engine.run(passed(world, embeddings()))
    assert reply.status == 429
    told = str(error_of(reply)["message"])
    assert "a/small: its embeddings can't be compared with those of big" in told
    assert "c/big: it speaks messages" in told
    assert world.asked() == ["a", "a", "b"]


async def test_what_nobody_in_the_chain_can_be_asked_is_the_clients_to_change() -> None:
    world = World({}, PASSED)
    for request in (embeddings(), completions()):
        reply = await world.engine.run(passed(world, request, "foreign"))
        assert (reply.status, error_of(reply)["code"]) == (400, "unsupported_request")
    assert world.upstream.requests == []


async def test_completions_are_streamed_from_whoever_can_be_asked() -> None:
    world = World({"a": [error(503)], "b": [stream(LEGACY)]}, PASSED)
    reply = await world.engine.run(passed(world, completions()))
    assert await drain(reply) == LEGACY + DONE
    assert reply.headers["x-chain429-model"] == "small"
    assert [request.url for request in world.upstream.requests] == [
        "https://a.test/v1/completions", "https://a.test/v1/completions", "https://b.test/v1/completions",
    ]  # fmt: skip
    assert (world.records.last.dialect, world.records.last.outcome) == ("completions", "served")


@pytest.mark.parametrize(
    "answer",
    [
        error(404, b'{"error":{"message":"Not found"}}'),
        error(405),
        error(501, b'{"error":{"message":"This server does not support embeddings"}}'),
        error(403, b'{"error":{"message":"You are not allowed to generate embeddings from this model"}}'),
        error(400, b'{"error":{"message":"no such model","code":"model_not_found"}}'),
        FakeAnswer(200, JSON, [b'{"error":{"message":"no such model","code":"model_not_found"}}']),
    ],
)
async def test_a_provider_without_the_path_is_left_for_this_request_and_benched_for_nothing(answer: FakeAnswer) -> None:
    world = World({"a": [*[answer] * 3, ok()], "b": [ok(ROWS)]}, PASSED)
    for _ in range(3):
        reply = await world.engine.run(passed(world, embeddings()))
        assert (reply.status, reply.body) == (200, ROWS)
    assert world.asked() == ["a", "b"] * 3
    assert world.outcomes()[0] == "a rejected"
    assert (await world.run()).headers["x-chain429-provider"] == "a"


async def test_where_no_provider_has_the_path_the_first_refusal_goes_back() -> None:
    world = World({"a": [error(404)], "b": [error(405)]}, PASSED)
    reply = await world.engine.run(passed(world, embeddings()))
    assert (reply.status, error_of(reply)["code"]) == (404, "request_rejected")


async def test_a_refused_key_is_one_whatever_was_asked() -> None:
    world = World({"a": [error(401), ok(ROWS)], "b": [ok()]}, PASSED)
    await world.engine.run(passed(world, embeddings()))
    assert [outcome for outcome in world.outcomes() if outcome.startswith("a") and "skipped" not in outcome] == [
        "a unauthorized", "a served",
    ]  # fmt: skip
