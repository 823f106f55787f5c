"""What the engine tells of its attempts."""

from __future__ import annotations

from collections.abc import Mapping

from chain429.engine import Stream
from chain429.errors import Cut
from chain429.observer import Sent
from chain429.routing.outcome import Outcome
from tests.test_engine import DONE, FINISH, ROLE, WORD, World, drain, error, ok, stream


class Noted:
    """One attempt, as it was told of."""

    def __init__(self, sent: Sent) -> None:
        self.sent = sent
        self.told: list[object] = []

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        self.told.append(status)

    def received(self, piece: bytes) -> None:
        self.told.append(piece)

    def complete(self) -> None:
        if self.told[-1] != "complete":
            self.told.append("complete")

    def ended(self, outcome: Outcome, reason: str) -> None:
        self.told.append(str(outcome.kind))


class Watching:
    def __init__(self) -> None:
        self.attempts: list[Noted] = []

    def begins(self, sent: Sent) -> Noted:
        self.attempts.append(Noted(sent))
        return self.attempts[-1]


async def test_each_attempt_is_told_of_from_its_request_to_its_end() -> None:
    refusal = b'{"error":{"message":"Rate limit reached"}}'
    world = World({"a": [error(429, refusal)], "b": [stream(ROLE, WORD, FINISH, DONE)]})
    watching = Watching()
    world.engine.observe(watching)
    await drain(await world.run(stream=True))
    refused, served = watching.attempts
    assert refused.told == [429, refusal, "complete", "rate_limited"]
    assert served.told == [200, ROLE, WORD, FINISH, DONE, "complete", "served"]
    assert [attempt.sent.number for attempt in watching.attempts] == [1, 2]
    assert [attempt.sent.request for attempt in watching.attempts] == world.upstream.requests
    assert (served.sent.id, served.sent.chain, str(served.sent.target)) == ("req_1", "default", "b/big (b/B)")
    assert "secret" not in repr(served.sent)


async def test_an_attempt_without_an_answer_and_one_that_is_left_have_an_end_too() -> None:
    world = World({"a": [Cut("it closed the connection")], "b": [stream(WORD, WORD, WORD)]})
    watching = Watching()
    world.engine.observe(watching)
    reply = await world.run(stream=True)
    assert isinstance(reply.body, Stream)
    await reply.body.next()
    reply.body.close()
    assert [attempt.told for attempt in watching.attempts] == [["failed"], [200, WORD, "cancelled"]]


async def test_nobody_is_told_who_does_not_look_any_more() -> None:
    world = World({"a": [ok()]})
    watching = Watching()
    world.engine.observe(watching)
    world.engine.observe(None)
    await world.run()
    assert watching.attempts == []
