from __future__ import annotations

import json
from typing import Any

import pytest

from chain429.errors import RequestError
from chain429.simulator import Received, Simulator
from chain429.simulator.control import Ledger
from tests.simulator.fakes import NOON, ask, exchange

MODEL = "openai/gpt-oss-120b"
CHAT = "/groq/openai/v1/chat/completions"


async def control(sim: Simulator, method: str, path: str, body: object = None) -> tuple[int, Any]:
    got = await exchange(sim, path, body, key=None, method=method)
    return got.status, json.loads(got.body)


async def test_faults_over_http(sim: Simulator) -> None:
    fault = {"provider": "groq", "fault": "rate_limit_minute", "times": 2, "model": MODEL, "wait": 12}
    assert await control(sim, "POST", "/control/faults", fault) == (200, {"ok": True})
    first, second, third = [await exchange(sim, CHAT, ask(MODEL)) for _ in range(3)]
    assert [first.status, second.status, third.status] == [429, 429, 200]
    assert first.headers["retry-after"] == "12"


async def test_limits_over_http(sim: Simulator) -> None:
    assert (await control(sim, "POST", "/control/limits", {"provider": "groq", "rpm": 1}))[0] == 200
    assert [(await exchange(sim, CHAT, ask(MODEL))).status for _ in range(2)] == [200, 429]
    status, overview = await control(sim, "GET", "/control")
    groq = overview["providers"]["groq"]
    assert (status, groq["path"]) == (200, "/groq/openai/v1")
    unlimited = dict.fromkeys(["rph", "tph", "itpm", "otpm"])
    assert groq["models"][MODEL] == {"rpm": 1, "rpd": 1000, "tpm": 8000, "tpd": 200_000, **unlimited}
    assert groq["faults"]["reset"] == "the connection is reset before any header"
    assert "queue" in overview["providers"]["cerebras"]["faults"]


async def test_answers_over_http(sim: Simulator) -> None:
    call = {"name": "ls", "arguments": {"path": "."}}
    await control(sim, "POST", "/control/answers", {"provider": "groq", "calls": [call], "times": 2})
    assert await control(
        sim, "POST", "/control/answers", {"provider": "groq", "text": "Done.", "reasoning": "Hm.", "model": MODEL}
    ) == (200, {"ok": True})
    messages = [json.loads((await exchange(sim, CHAT, ask(MODEL))).body)["choices"][0]["message"] for _ in range(4)]
    assert [message.get("tool_calls", [{}])[0].get("function") for message in messages[:3]] == [
        {"name": "ls", "arguments": '{"path": "."}'},
        {"name": "ls", "arguments": '{"path": "."}'},
        None,
    ]
    assert messages[2] == {"role": "assistant", "content": "Done.", "reasoning": "Hm."}
    assert messages[3]["content"] == f"groq/{MODEL} here. You said: Hello there"


async def test_a_refused_request_uses_up_no_answer(sim: Simulator) -> None:
    sim.control.answer("groq", "Done.")
    sim.control.limits("groq", MODEL, {"rpm": 0})
    assert (await exchange(sim, CHAT, ask(MODEL))).status == 413
    sim.control.limits("groq", MODEL, {"rpm": 9})
    assert b'"content":"Done."' in (await exchange(sim, CHAT, ask(MODEL))).body


async def test_options_over_http(sim: Simulator) -> None:
    orphan = {"model": MODEL, "messages": [{"role": "tool", "tool_call_id": "a", "content": "b"}]}
    assert (await exchange(sim, CHAT, orphan)).status == 400
    assert (await control(sim, "POST", "/control/options", {"provider": "groq", "strict": False}))[0] == 200
    assert (await exchange(sim, CHAT, orphan)).status == 200
    overview = (await control(sim, "GET", "/control"))[1]["providers"]
    assert (overview["groq"]["options"], overview["mistral"]["options"]) == ({"strict": False}, {"strict": True})
    sim.control.reset()
    assert (await exchange(sim, CHAT, orphan)).status == 400


async def test_reset_over_http(sim: Simulator) -> None:
    sim.control.script("groq", "500", times=5)
    sim.control.register("groq", "mine")
    sim.control.limits("groq", None, {"rpm": 0})
    await exchange(sim, CHAT, ask(MODEL))
    assert await control(sim, "DELETE", "/control") == (200, {"ok": True})
    assert sim.control.received() == []
    assert (await exchange(sim, CHAT, ask(MODEL))).status == 200
    assert (await exchange(sim, CHAT, ask(MODEL), key="mine")).status == 401


async def test_what_was_received(sim: Simulator) -> None:
    sim.control.register("groq", "gsk_key")
    await exchange(sim, f"{CHAT}?a=b", ask(MODEL), key="gsk_key")
    await exchange(sim, "/cerebras/v1/models", key=None, method="GET")
    [record] = sim.control.received("groq")
    headers = record.headers
    assert headers.pop("content-length")
    assert record == Received(
        provider="groq",
        method="POST",
        path="/openai/v1/chat/completions?a=b",
        key="gsk_key",
        headers={"host": "127.0.0.1", "connection": "close", "authorization": "Bearer gsk_key"},
        body=ask(MODEL),
        at=NOON,
        status=200,
        chunks=1,
        closed_early=False,
        done=True,
    )
    assert [(other.provider, other.key, other.status) for other in sim.control.received()] == [
        ("groq", "gsk_key", 200),
        ("cerebras", None, 401),
    ]
    status, listed = await control(sim, "GET", "/control/received?provider=cerebras")
    assert (status, [each["path"] for each in listed["received"]]) == (200, ["/v1/models"])


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("/control/faults", {"provider": "nope", "fault": "cut"}, "no provider named 'nope'; there are: groq, "),
        ("/control/faults", {"provider": "groq", "fault": "nope"}, "groq has no fault 'nope'; it has: "),
        ("/control/faults", {"provider": "groq"}, "fault must be given, as text"),
        (
            "/control/faults",
            {"provider": "groq", "fault": "cut", "times": "2"},
            "times must be given, as a whole number",
        ),
        ("/control/faults", {"provider": "groq", "fault": "cut", "x": 1}, "no argument named 'x'"),
        ("/control/faults", [], "the body must be a JSON object"),
        ("/control/faults", None, "the body must be JSON"),
        ("/control/limits", {"provider": "groq", "model": "x", "rpm": 1}, "groq has no model 'x'; it has: openai/"),
        ("/control/limits", {"provider": "groq", "rpx": 1}, "no limit named 'rpx'"),
        ("/control/options", {"provider": "groq", "x": True}, "groq has no option 'x'; it has: strict"),
        ("/control/options", {"provider": "groq", "strict": 1}, "strict must be true or false"),
        ("/control/answers", {"provider": "groq", "calls": 1}, "calls must be a list"),
        ("/control/answers", {"provider": "groq", "calls": [{"name": "a"}]}, "an object with a name and arguments"),
        ("/control/answers", {"provider": "groq", "say": "a"}, "no argument named 'say' for an answer"),
        ("/control/answers", {"provider": "groq", "times": 0}, "times must be at least 1"),
    ],
)
async def test_mistakes_are_told(sim: Simulator, path: str, body: object, says: str) -> None:
    status, answer = await control(sim, "POST", path, body)
    assert status == 400
    assert says in answer["error"]["message"]


async def test_an_unknown_provider_has_received_nothing(sim: Simulator) -> None:
    assert (await control(sim, "GET", "/control/received?provider=nope"))[0] == 400
    with pytest.raises(RequestError, match="no provider named"):
        sim.base_url("nope")


def test_only_the_last_requests_are_kept() -> None:
    ledger = Ledger()
    for number in range(10_005):
        ledger.add(Received("groq", "POST", str(number), None, {}, None, NOON), 10)
    kept = ledger.records(None)
    assert (len(kept), kept[0].path) == (10_000, "5")


def test_large_requests_are_kept_only_as_far_as_they_fit() -> None:
    ledger = Ledger()
    for number in range(5):
        ledger.add(Received("groq", "POST", str(number), None, {}, None, NOON), 30 * 1024 * 1024)
    assert [record.path for record in ledger.records("groq")] == ["3", "4"]
    assert ledger.records("gemini") == []
