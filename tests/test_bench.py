"""The benchmark: that its parts say what they mean, and that a run of a few requests gives every figure."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from chain429.store.queries import Queries
from chain429.wire.dialect import DialectName
from scripts.benchmark import pages, translation
from scripts.benchmark.__main__ import run
from scripts.benchmark.contestants import DIRECT, GATEWAY, RELAY
from scripts.benchmark.load import Plan, Unexpected, carry_out
from scripts.benchmark.provider import ANSWER, PACE, Conversation
from scripts.benchmark.report import ROWS, bars, table
from scripts.benchmark.rounds import Sizes


class Wire(asyncio.WriteTransport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))


class Timers:
    """Time that moves to the next call when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0
        self._calls: list[tuple[float, Callable[[], None]]] = []

    def at(self, when: float, call: Callable[[], None]) -> None:
        self._calls.append((when, call))

    def go(self) -> bool:
        if not self._calls:
            return False
        self.now, call = self._calls.pop(0)
        call()
        return True


def request(model: str) -> bytes:
    body = b'{"messages": [{"role": "user", "content": "Hi"}], "model": "%b"}' % model.encode()
    return b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def conversation() -> tuple[Conversation, Wire, Timers]:
    wire, timers = Wire(), Timers()
    talk = Conversation(lambda: timers.now, timers.at, set())
    talk.connection_made(wire)
    return talk, wire, timers


def test_the_provider_answers_whole_wherever_the_request_is_cut() -> None:
    whole = request("bench/whole")
    answers = set()
    for cut in range(1, len(whole)):
        talk, wire, _ = conversation()
        talk.data_received(whole[:cut])
        assert wire.written == []
        talk.data_received(whole[cut:])
        answers.add(b"".join(wire.written))
    (answer,) = answers
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert f"content-length: {len(body)}".encode() in head
    assert json.loads(body)["choices"][0]["finish_reason"] == "stop"


def test_each_request_that_is_to_be_refused_asks_for_a_model_of_its_own() -> None:
    plan = Plan(1, "t", "limited", requests=2, attempts=2, first=40)
    for number in range(2):
        talk, wire, _ = conversation()
        asked = plan.request(number)
        assert b'"model": "limited-%05d"' % (40 + number) in asked
        talk.data_received(asked)
        talk.data_received(asked)
        assert wire.written[0] == ANSWER  # It is known before it refuses.
        assert wire.written[1].startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
        assert b"\r\nretry-after: 60\r\n" in wire.written[1]


@pytest.mark.parametrize(("kind", "seconds"), [("stream", 0.0), ("paced", 3 * PACE)])
def test_the_provider_streams_each_word_by_itself(kind: str, seconds: float) -> None:
    talk, wire, timers = conversation()
    talk.data_received(request(f"bench/{kind}-3"))
    while timers.go():
        pass
    assert [piece.count(b'"content":"word ') for piece in wire.written] == [0, 1, 1, 1, 0]
    assert wire.written[-1].endswith(b"\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
    assert timers.now == pytest.approx(100.0 + seconds)
    talk.data_received(request("whole"))
    assert wire.written[-1].startswith(b"HTTP/1.1 200 OK\r\n")


def test_the_provider_waits_for_one_who_does_not_read_and_forgets_one_who_leaves() -> None:
    talk, wire, timers = conversation()
    talk.data_received(request("stream-5"))
    talk.pause_writing()
    assert timers.go()
    assert not timers.go()
    written = len(wire.written)
    talk.resume_writing()
    assert len(wire.written) == written + 1
    talk.connection_lost(None)
    assert timers.go()
    assert not timers.go()
    assert len(wire.written) == written + 1


async def asked(plan: Callable[[int], Plan]) -> tuple[int, int]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Conversation(loop.time, loop.call_at, set()), "127.0.0.1", 0)
    async with server:
        tally = await carry_out(plan(server.sockets[0].getsockname()[1]))
    assert all(0 < first <= whole for first, whole in zip(tally.first, tally.whole, strict=False))
    return len(tally.whole), len(tally.first)


async def test_the_load_asks_as_often_as_planned() -> None:
    assert await asked(lambda port: Plan(port, "t", "whole", requests=5, clients=2)) == (5, 0)
    assert await asked(lambda port: Plan(port, "t", "stream-7", requests=3, clients=9, words=7)) == (3, 3)


@pytest.mark.parametrize(
    ("model", "expected", "words"),
    [
        ("limited", {}, "429 Too Many"),
        ("stream-3", {"words": 4}, "3 words instead of 4"),
        ("whole", {"attempts": 2}, "not 2 attempts"),
    ],
)
async def test_an_answer_that_was_not_planned_is_no_result(model: str, expected: dict[str, int], words: str) -> None:
    with pytest.raises(Unexpected, match=words):
        await asked(lambda port: Plan(port, "t", model, requests=1, **expected))


def test_bars_compare_with_the_relay_and_say_what_was_not_measured() -> None:
    relay = dict.fromkeys(ROWS, 1.0)
    own = {
        **dict.fromkeys(ROWS, 1.9),
        "cpu_full": 1.6,
        "cpu_paced": 1.2,
        "memory_end": 121.0,
        "memory_warm": 121.0,
        "refusal": 0.5,
    }
    found = {DIRECT: {}, RELAY: relay, GATEWAY: own}
    verdicts = [(bar.title, bar.verdict) for bar in bars(found) if bar.verdict == "FAIL"]
    assert verdicts == [("CPU of a chunk, full rate", "FAIL"), ("memory at the end", "FAIL")]
    assert "1.600 (1.60x)" in table(found, {})
    assert {bar.verdict for bar in bars({DIRECT: {}, RELAY: relay})} == {"not measured"}
    assert {bar.verdict for bar in bars({DIRECT: {}, GATEWAY: own})} == {"not measured", "pass", "FAIL"}
    assert "mitmproxy was skipped: no such file" in table({DIRECT: {}}, {"mitmproxy": "no such file"})


def test_a_run_gives_every_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = Sizes(
        rounds=1,
        serial=3,
        busy=8,
        clients=2,
        short=2,
        streams=1,
        words=5,
        paced=2,
        paced_words=3,
        limited=2,
        settle=0.0,
    )
    file = tmp_path / "figures.json"
    assert run(sizes, (DIRECT, RELAY, GATEWAY), file) == 0
    kept = json.loads(file.read_text(encoding="utf-8"))
    assert kept["skipped"] == {}
    assert set(kept["figures"][GATEWAY]) == set(ROWS)
    assert set(kept["figures"][RELAY]) == set(ROWS) - {"refusal", "cpu_refusal"}
    assert set(kept["figures"][DIRECT]) == {"latency_p50", "latency_p99", "first_p50", "rate"}
    assert kept["figures"][GATEWAY]["memory_start"] > 10
    printed = capsys.readouterr().out
    assert all(title in printed for title, _, _ in ROWS.values())


def test_translation_is_measured_for_every_pair_and_held_to_its_bars() -> None:
    found = translation.measure(1)
    assert all(own.keys() == translation.ROWS.keys() and min(own.values()) > 0 for own in found.values())
    assert {bar.unit.partition(" ")[2].strip("()") for bar in translation.bars(found)} <= found.keys()
    told = translation.table(found)
    assert all(title in told for title, _, _ in translation.ROWS.values())
    assert [line.rpartition("at most ")[2] for line in told.splitlines()[-3:]] == ["2", "30", "30"]


@pytest.mark.parametrize("dialect", ["chat", "messages", "responses"])
def test_what_is_translated_is_of_the_size_that_is_told(dialect: DialectName) -> None:
    assert len(translation.body_of(dialect)) == pytest.approx(100_000, rel=0.01)


def test_pages_are_measured_over_a_log_that_was_made(tmp_path: Path) -> None:
    found = pages.measure(tmp_path, 500, 1)
    assert len(found) == len(pages.bars(found)) > 10
    assert all(0 < own["median"] <= own["worst"] for own in found.values())
    assert "pages over a log of 500 requests" in pages.table(found, 500)
    log = Queries(tmp_path / pages.PAGES / "chain429.db")
    assert log.newest() == 500
    assert sum(sums.requests for sums in log.usage("day", 0.0)) == 500
    assert {sums.name for sums in log.usage("chain", 0.0)} == {"default", "fast", "code", ""}
