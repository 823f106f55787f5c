from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain429.errors import RequestError
from chain429.simulator.cerebras import Cerebras
from chain429.simulator.dialect import Dialect, Generic
from chain429.simulator.gemini import Gemini
from chain429.simulator.groq import Groq
from chain429.simulator.limits import Limits
from chain429.simulator.mistral import Mistral
from chain429.simulator.openrouter import OpenRouter
from chain429.simulator.server import DIALECTS
from tests.simulator.fakes import NOON, ask, body_of, provider

MODEL = "openai/gpt-oss-120b"


def test_keys() -> None:
    groq = provider(Groq())
    groq.keys.add("gsk_registered")
    statuses = {key: groq.respond(key, ask(MODEL), NOON).status for key in ("sim-1", "gsk_registered", "gsk_other")}
    assert statuses == {"sim-1": 200, "gsk_registered": 200, "gsk_other": 401}
    assert groq.respond(None, ask(MODEL), NOON).status == 401
    assert groq.list_models("sim-bad").status == 401


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("key", ["sim-bad", "sim-bad-2"])
def test_every_provider_refuses_a_bad_key(dialect: type[Dialect], key: str) -> None:
    refusing = provider(dialect())
    model = next(iter(refusing.models))
    assert refusing.respond(key, ask(model), NOON).status == (400 if dialect is Gemini else 401)
    statuses = {"gemini": 429, "anthropic": 400, "openai-responses": 429}
    assert refusing.respond("sim-broke-1", ask(model), NOON).status == statuses.get(refusing.name, 402)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"model": 3},
        {"messages": []},
        {"messages": "Hello"},
        {"messages": ["Hello"]},
        {"messages": [{"content": "Hello"}]},
        {"messages": [{"role": "assistant", "tool_calls": "x"}]},
        {"messages": [{"role": "user", "content": "Hello"}], "tools": 1},
        {"messages": [{"role": "user", "content": "Hello"}], "tools": [{"function": {}}]},
    ],
)
def test_every_provider_refuses_what_is_no_request(dialect: type[Dialect], body: Any) -> None:
    refusing = provider(dialect())
    if isinstance(body, dict) and "messages" in body:
        body = {"model": next(iter(refusing.models)), **body}
    assert refusing.respond("sim-1", body, NOON).status == 400


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "max_tokens": JSON,
        "tools": JSON,
        "tool_choice": JSON,
        "stream": JSON,
        "stream_options": JSON,
        "messages": st.lists(
            st.fixed_dictionaries(
                {"role": st.sampled_from(["user", "assistant", "tool", "x"])},
                optional={"content": JSON, "tool_calls": JSON, "name": JSON, "tool_call_id": JSON},
            ),
            max_size=3,
        ),
    },
)


@pytest.mark.parametrize("dialect", DIALECTS)
@given(fields=FIELDS)
def test_any_json_gets_a_reply(dialect: type[Dialect], fields: dict[str, Any]) -> None:
    asked = provider(dialect())
    model = next(iter(asked.models))
    assert asked.respond("sim-1", {**ask(model), **fields}, NOON).status in (200, 400, 413, 422, 429)


def test_free_limits_are_those_that_were_recorded() -> None:
    assert provider(Groq()).models[MODEL] == Limits(rpm=30, rpd=1000, tpm=8000, tpd=200_000)
    assert provider(Cerebras()).models["gpt-oss-120b"] == Limits(5, 150, 2400, 30_000, 1_000_000, 1_000_000)
    assert provider(OpenRouter()).models["openrouter/free"] == Limits(rpm=20, rpd=50)
    assert provider(Gemini()).models["gemini-2.5-flash"] == Limits(rpm=5, rpd=20, tpm=250_000)
    assert provider(Mistral()).models["mistral-large-latest"] == Limits(rpm=4, tpm=250_000)


def test_limits_of_one_model_or_of_all() -> None:
    groq = provider(Groq())
    groq.set_limits(MODEL, {"rpm": 2})
    groq.set_limits(None, {"tpm": None})
    assert groq.models[MODEL] == Limits(rpm=2, rpd=1000, tpd=200_000)
    assert groq.models["allam-2-7b"] == Limits(rpm=30, rpd=7000, tpd=500_000)


def test_new_limits_forget_what_was_used() -> None:
    groq = provider(Groq())
    groq.set_limits(MODEL, {"rpm": 1})
    assert [groq.respond("sim-1", ask(MODEL), NOON).status for _ in range(2)] == [200, 429]
    groq.set_limits(MODEL, {"rpm": 2})
    assert [groq.respond("sim-1", ask(MODEL), NOON).status for _ in range(3)] == [200, 200, 429]


def test_limits_of_a_free_model_are_those_of_all() -> None:
    openrouter = provider(OpenRouter())
    openrouter.set_limits("openrouter/free", {"rpm": 1})
    assert openrouter.respond("sim-1", ask("qwen/qwen3-coder:free"), NOON).status == 200
    assert openrouter.respond("sim-1", ask("openrouter/free"), NOON).status == 429


def test_faults_happen_in_order_and_as_often_as_told() -> None:
    groq = provider(Groq())
    groq.script("503", times=2)
    groq.script("capacity")
    assert [groq.respond("sim-1", ask(MODEL), NOON).status for _ in range(4)] == [503, 503, 498, 200]


def test_a_fault_for_one_model_waits_for_it() -> None:
    groq = provider(Groq())
    groq.script("500", model="allam-2-7b")
    statuses = [groq.respond("sim-1", ask(model), NOON).status for model in (MODEL, "allam-2-7b", "allam-2-7b")]
    assert statuses == [200, 500, 200]


def test_a_refused_request_uses_up_no_fault() -> None:
    groq = provider(Groq())
    groq.set_limits(MODEL, {"rpm": 1})
    groq.respond("sim-1", ask(MODEL), NOON)
    groq.script("empty")
    assert groq.respond("sim-bad", ask(MODEL), NOON).status == 401
    assert groq.respond("sim-1", ask(MODEL, n=2), NOON).status == 400
    assert groq.respond("sim-1", ask(MODEL), NOON).status == 429
    assert groq.respond("sim-1", ask(MODEL), NOON + 60).body == b""


def test_a_scripted_refusal_costs_nothing_where_failures_are_free() -> None:
    groq = provider(Groq())
    groq.set_limits(MODEL, {"rpm": 1})
    groq.script("503", times=3)
    assert [groq.respond("sim-1", ask(MODEL), NOON).status for _ in range(5)] == [503, 503, 503, 200, 429]


@pytest.mark.parametrize(
    ("dialect", "limit", "status", "says"),
    [
        (Groq(), "rate_limit_minute", 429, "on requests per minute (RPM): Limit 30, Used 30, Requested 1"),
        (Groq(), "rate_limit_day", 429, "on requests per day (RPD): Limit 1000, Used 1000"),
        (Groq(), "tokens_minute", 429, "on tokens per minute (TPM): Limit 8000"),
        (Groq(), "tokens_day", 429, "on tokens per day (TPD): Limit 200000"),
        (Cerebras(), "rate_limit_hour", 429, "Requests per hour limit exceeded"),
        (Cerebras(), "tokens_day", 429, "Tokens per day limit exceeded - too many tokens processed."),
        (OpenRouter(), "rate_limit_minute", 429, "free-models-per-min"),
        (OpenRouter(), "rate_limit_day", 429, "free-models-per-day"),
        (Gemini(), "rate_limit_day", 429, "GenerateRequestsPerDayPerProjectPerModel-FreeTier"),
        (Gemini(), "tokens_minute", 429, "GenerateContentInputTokensPerModelPerMinute-FreeTier"),
        (Mistral(), "rate_limit_minute", 429, "1300"),
        (Generic(), "tokens_hour", 429, "tokens per hour"),
    ],
)
def test_the_refusal_of_a_limit_can_be_scripted(dialect: Dialect, limit: str, status: int, says: str) -> None:
    scripted = provider(dialect)
    scripted.script(limit)
    model = next(iter(scripted.models))
    reply = scripted.respond("sim-1", ask(model), NOON)
    assert reply.status == status
    assert says in reply.body.decode()
    assert scripted.respond("sim-1", ask(model), NOON).status == 200


def test_a_scripted_refusal_reports_the_wait_it_is_given() -> None:
    groq = provider(Groq())
    groq.script("rate_limit_day", wait=90)
    reply = groq.respond("sim-1", ask(MODEL), NOON)
    assert "Please try again in 1m30s." in body_of(reply)["error"]["message"]
    assert (reply.headers["retry-after"], reply.headers["x-ratelimit-remaining-requests"]) == ("90", "0")


def test_a_status_can_have_any_retry_after() -> None:
    groq = provider(Groq())
    groq.script("429", retry_after="1555200")
    assert groq.respond("sim-1", ask(MODEL), NOON).headers["retry-after"] == "1555200"


@pytest.mark.parametrize(
    ("fault", "arguments", "says"),
    [
        pytest.param("nope", {}, "groq has no fault 'nope'; it has: rate_limit_minute, ", id="unknown"),
        pytest.param("rate_limit_hour", {}, "groq has no fault 'rate_limit_hour'", id="a limit it does not know"),
        pytest.param("upstream_429", {}, "groq has no fault 'upstream_429'", id="another provider's"),
        pytest.param("cut", {"times": 0}, "times must be at least 1", id="times"),
        pytest.param("cut", {"delay": 1}, "no argument named 'delay' for this fault; it takes: after", id="argument"),
        pytest.param("cut", {"after": "2"}, "after must be a number of at least 0", id="text for a number"),
        pytest.param("error_in_stream", {"form": 2}, "form must be text", id="number for a text"),
    ],
)
def test_faults_that_cannot_be(fault: str, arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(RequestError, match=says):
        provider(Groq()).script(fault, **arguments)


def test_what_is_kept_of_keys_and_scripts_is_bounded() -> None:
    groq = provider(Groq())
    groq.set_limits(MODEL, {"rpm": 1})
    assert groq.respond("sim-first", ask(MODEL), NOON).status == 200
    for number in range(1_000):
        groq.respond(f"sim-{number}", ask(MODEL), NOON)
    assert groq.respond("sim-first", ask(MODEL), NOON).status == 200
    for _ in range(1000):
        groq.script("500")
    with pytest.raises(RequestError, match="more than 1000"):
        groq.script("500")


def test_reset() -> None:
    groq = provider(Groq())
    groq.keys.add("mine")
    groq.script("500")
    groq.set_limits(MODEL, {"rpm": 0})
    groq.reset()
    assert groq.respond("mine", ask(MODEL), NOON).status == 401
    assert groq.respond("sim-1", ask(MODEL), NOON).status == 200
    assert groq.models[MODEL].rpm == 30
