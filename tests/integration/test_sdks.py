"""The real SDKs through the gateway: each dialect in front of each kind of provider."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from chain429.app import App, Options, launch
from chain429.clock import SystemClock
from chain429.redact import Redactor
from chain429.simulator import Simulator

if TYPE_CHECKING:
    from tests.integration.talks import Said, Talk

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "sim-key-0123456789abcdef"
# Three providers that speak Chat Completions, each strict in ways of its own, and one for each other dialect.
MODELS = {
    "groq": "openai/gpt-oss-120b",
    "gemini": "gemini-3.5-flash",
    "mistral": "mistral-small-2603",
    "anthropic": "claude-sonnet-5",
    "openai-responses": "gpt-5-mini",
}
# A chain for each of them; and one for each that begins with another provider, for that to refuse.
CONFIG: dict[str, Any] = {
    "providers": {"cerebras": {}, **{name: {} for name in MODELS}, "openai-responses": {"dialect": "responses"}},
    "chains": {
        **{name: [f"{name}/{model}"] for name, model in MODELS.items()},
        **{f"after-{name}": ["cerebras/gpt-oss-120b", f"{name}/{model}"] for name, model in MODELS.items()},
        "default": ["groq/openai/gpt-oss-120b"],
    },
    "timeouts": {"first_event": 2, "answer": 2, "idle": 2},
    "patience": 0,
}
NO_LIMIT = dict.fromkeys(("rpm", "rph", "rpd", "tpm", "tph", "tpd", "itpm", "otpm"))


@dataclass
class World:
    app: App
    simulator: Simulator
    openai: Any  # the overloads differ between the versions that are tested with
    anthropic: Any

    def talk(self, front: str, behind: str) -> Talk:
        from tests.integration.talks import TALKS

        return TALKS[front](self.anthropic if front == "messages" else self.openai, behind)

    def statuses(self, provider: str) -> list[int | None]:
        """What became of each request for an answer; lists of models are asked for whenever that suits the gateway."""
        asked = self.simulator.control.received(provider)
        return [record.status for record in asked if record.method == "POST"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def started(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    # Here, as each process collects all tests, and one of them runs these: to import the SDKs takes seconds.
    from anthropic import AsyncAnthropic
    from openai import AsyncOpenAI

    folder = tmp_path_factory.mktemp("sdks")
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        # With a moment between the words, so that those before a cut are on their way when it comes.
        simulator = await stack.enter_async_context(Simulator(clock=clock, token_delay=0.001))
        path = folder / "chain429.yaml"
        providers = {
            name: {"keys": ["env:KEY"], "base_url": simulator.base_url(name), **more}
            for name, more in CONFIG["providers"].items()
        }
        path.write_text(json.dumps({**CONFIG, "providers": providers}), encoding="utf-8")
        options = Options(path, folder / "data", "127.0.0.1:0", "127.0.0.1:0", drain=0.1)
        app = await launch(options, {"KEY": KEY}, clock, Redactor())
        stack.push_async_callback(app.stop)
        assert app.api
        url, token = app.api.url, app.client_token
        first = await stack.enter_async_context(AsyncOpenAI(base_url=f"{url}/v1", api_key=token, max_retries=0))
        second = await stack.enter_async_context(AsyncAnthropic(base_url=url, api_key=token, max_retries=0))
        yield World(app, simulator, first, second)


@pytest.fixture
def world(started: World) -> World:
    """The one gateway, with nothing left of what other tests did to it and its providers."""
    started.simulator.control.reset()
    for name in MODELS:
        started.simulator.control.limits(name, None, NO_LIMIT)
    for chain in started.app.config.chains.values():
        for target in chain.targets:
            started.app.ledger.clear(target)
    return started


Mode = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
Front = pytest.mark.parametrize("front", ["chat", "messages", "responses"])
Behind = pytest.mark.parametrize("behind", MODELS)


def each(*marks: pytest.MarkDecorator) -> Callable[[Any], Any]:
    def marked(test: Any) -> Any:
        for mark in reversed(marks):
            test = mark(test)
        return test

    return marked


every_pair = each(Behind, Front, Mode)
every_stream = each(Behind, Front)


def told(said: Said) -> tuple[str, list[tuple[str, Any]], str]:
    assert len({call.id for call in said.calls}) == len(said.calls)
    return said.text, [(call.name, call.arguments) for call in said.calls], said.end


@every_pair
async def test_text_is_the_same_wherever_it_comes_from(world: World, front: str, behind: str, streamed: bool) -> None:
    talk = world.talk(front, behind)
    talk.user("Hello there, wörld")
    said = await talk.say(streamed=streamed, tools=False)
    assert said.text.endswith(" here. You said: Hello there, wörld")
    assert (said.calls, said.thoughts, said.end) == ((), "", "stop")
    assert min(said.tokens) > 0
    if streamed:
        assert len(said.pieces) > 3
        assert "".join(said.pieces) == said.text


@every_pair
async def test_a_tool_is_called_and_its_result_is_heard(world: World, front: str, behind: str, streamed: bool) -> None:
    talk = world.talk(front, behind)
    talk.user('call weather with {"city":"Oslo, \\"west\\""}')
    said = await talk.say(streamed=streamed)
    assert told(said) == ("", [("weather", {"city": 'Oslo, "west"'})], "calls")
    talk.results([(said.calls[0], "sunny")])
    said = await talk.say(streamed=streamed)
    assert said.text.endswith(" here. The tool answered: sunny")
    assert said.end == "stop"
    talk.user("And tomorrow?")
    assert (await talk.say(streamed=streamed)).text.endswith(" here. You said: And tomorrow?")
    assert world.statuses(behind) == [200] * 3


@every_pair
async def test_what_was_thought_comes_back_to_who_thought_it(
    world: World, front: str, behind: str, streamed: bool
) -> None:
    talk = world.talk(front, behind)
    talk.user("think first, then call weather with {}")
    said = await talk.say(streamed=streamed)
    assert said.thoughts == "The last message comes from the user."
    assert told(said) == ("", [("weather", {})], "calls")
    talk.results([(said.calls[0], "sunny")])
    talk.user("think first")
    said = await talk.say(streamed=streamed)
    assert said.thoughts == "The last message comes from the user."
    assert said.text.endswith(" here. You said: think first")
    assert world.statuses(behind) == [200, 200]


@every_pair
async def test_parallel_calls_are_answered_in_any_order(world: World, front: str, behind: str, streamed: bool) -> None:
    talk = world.talk(front, behind)
    talk.user('call weather with {"city":"Oslo"} and call news with {} and call weather with {"city":"Rome"}')
    said = await talk.say(streamed=streamed)
    wanted = [("weather", {"city": "Oslo"}), ("news", {}), ("weather", {"city": "Rome"})]
    assert told(said) == ("", wanted, "calls")
    talk.results([(call, f"of {call.name} {number}") for number, call in reversed(list(enumerate(said.calls)))])
    assert "The tool answered: of weather " in (await talk.say(streamed=streamed)).text
    assert world.statuses(behind) == [200, 200]


SLOPPY = ["single_characters", "no_indexes", "zero_indexes", "late_usage"]


@pytest.mark.parametrize(
    ("behind", "fault"),
    # Only providers that speak Chat Completions were ever seen to repeat what they have said.
    [*((behind, fault) for behind in MODELS for fault in SLOPPY), ("groq", "cumulative"), ("gemini", "cumulative")],
)
@Front
async def test_calls_of_a_sloppy_provider_are_put_right(world: World, front: str, behind: str, fault: str) -> None:
    world.simulator.control.script(behind, fault)
    talk = world.talk(front, behind)
    talk.user('call weather with {"city":"Oslo"} and call weather with {"city":"Rome"}')
    said = await talk.say(streamed=True)
    assert told(said) == ("", [("weather", {"city": "Oslo"}), ("weather", {"city": "Rome"})], "calls")
    assert min(said.tokens) > 0


@every_pair
async def test_an_answer_that_is_cut_for_its_length_says_so(
    world: World, front: str, behind: str, streamed: bool
) -> None:
    talk = world.talk(front, behind)
    talk.user("say 200 words")
    limit = {"chat": "max_completion_tokens", "messages": "max_tokens", "responses": "max_output_tokens"}[front]
    said = await talk.say(streamed=streamed, tools=False, **{limit: 20})
    assert said.text.startswith("word1 word2 ")
    assert (said.end, len(said.text)) == ("length", 80)


@every_pair
async def test_another_provider_answers_when_the_first_refuses(
    world: World, front: str, behind: str, streamed: bool
) -> None:
    world.simulator.control.script("cerebras", "rate_limit_minute")
    talk = world.talk(front, f"after-{behind}")
    talk.user('call weather with {"city":"Oslo"}')
    said = await talk.say(streamed=streamed)
    talk.results([(said.calls[0], "sunny")])
    assert (await talk.say(streamed=streamed)).text.endswith("The tool answered: sunny")
    assert (world.statuses("cerebras"), world.statuses(behind)) == ([429], [200, 200])


# Errors


@each(Front, Mode)
async def test_a_wrong_token_is_an_authentication_error(world: World, front: str, streamed: bool) -> None:
    talk = world.talk(front, "groq")
    talk.sdk = talk.sdk.with_options(api_key="wrong")
    talk.user("Hello")
    with pytest.raises(talk.errors.AuthenticationError, match="client token"):
        await talk.say(streamed=streamed)


@each(Front, Mode)
async def test_a_bad_request_is_one_with_its_field_named(world: World, front: str, streamed: bool) -> None:
    talk = world.talk(front, "groq")
    talk.said = [{"role": 7, "content": "Hello"}]
    with pytest.raises(talk.errors.BadRequestError, match=rf"{talk.field}\W0\W.*role") as caught:
        await talk.say(streamed=streamed, tools=False)
    assert front == "messages" or caught.value.param == f"{talk.field}[0].role"
    assert world.statuses("groq") == []


@every_pair
async def test_what_the_provider_refuses_is_a_bad_request(
    world: World, front: str, behind: str, streamed: bool
) -> None:
    world.simulator.control.script(behind, "400")
    talk = world.talk(front, behind)
    talk.user("Hello")
    with pytest.raises(talk.errors.BadRequestError, match=f"{behind}/"):
        await talk.say(streamed=streamed)


@every_pair
async def test_when_nothing_is_left_it_is_a_rate_limit_that_says_how_long(
    world: World, front: str, behind: str, streamed: bool
) -> None:
    world.simulator.control.script(behind, "429", retry_after="20")
    talk = world.talk(front, behind)
    talk.user("Hello")
    with pytest.raises(talk.errors.RateLimitError, match=f"{behind}/") as caught:
        await talk.say(streamed=streamed)
    assert 1 <= int(caught.value.response.headers["retry-after"]) <= 20


@pytest.mark.parametrize("fault", ["cut", "error_mid_stream", "half_event"])
@every_stream
async def test_an_answer_that_breaks_off_is_no_answer(world: World, front: str, behind: str, fault: str) -> None:
    world.simulator.control.script(behind, fault)
    talk = world.talk(front, behind)
    talk.user("say 20 words")
    with pytest.raises(talk.broken) as caught:
        await talk.say(streamed=True, tools=False)
    assert "broke off in the middle of its answer" in (talk.failure or str(caught.value))


@pytest.mark.parametrize("fault", ["cut_before", "error_in_stream", "empty", "garbage", "error_in_200"])
@every_stream
async def test_a_stream_that_never_began_is_a_servers_error(world: World, front: str, behind: str, fault: str) -> None:
    world.simulator.control.script(behind, fault)
    talk = world.talk(front, behind)
    talk.user("Hello")
    with pytest.raises(talk.errors.InternalServerError, match=f"{behind}/"):
        await talk.say(streamed=True)


# What else the SDKs ask


async def test_models_are_listed_to_both(world: World) -> None:
    assert {model.id async for model in await world.openai.models.list()} >= set(MODELS)
    assert {model.id async for model in world.anthropic.models.list()} >= set(MODELS)


async def test_tokens_are_counted_before_they_are_spent(world: World) -> None:
    hello = [{"role": "user", "content": "Hello there " * 100}]
    count = await world.anthropic.messages.count_tokens(model="anthropic", messages=hello)
    assert 200 < count.input_tokens < 400
