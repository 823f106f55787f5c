"""What each way of garbling does to a stream of each dialect."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from chain429.simulator.anthropic import Anthropic
from chain429.simulator.dialect import Dialect, Generic
from chain429.simulator.gemini import Gemini
from chain429.simulator.groq import Groq
from chain429.simulator.mistral import Mistral
from chain429.simulator.openai_responses import OpenAIResponses
from chain429.simulator.openrouter import OpenRouter
from chain429.simulator.provider import SimulatedProvider
from chain429.simulator.reply import Reply
from tests.simulator.fakes import NOON, TOOLS, ask, body_of, events, provider

NAMES = ("weather", "news")
TEXT = 'call weather with {"a":1} and call news with {}'
CHAT = [
    pytest.param(Generic(), "qwen3", id="generic"),
    pytest.param(Groq(), "openai/gpt-oss-120b", id="groq"),
    pytest.param(OpenRouter(), "openai/gpt-oss-20b:free", id="openrouter"),
    pytest.param(Gemini(), "gemini-2.5-flash", id="gemini"),
    pytest.param(Mistral(), "mistral-small-2603", id="mistral"),
]


def streamed(dialect: Dialect, model: str, fault: str, text: str = TEXT, *, stream: bool = True) -> Reply:
    """The garbled reply to a request for two parallel calls."""
    asked = provider(dialect)
    asked.script(fault)
    return ASK[dialect.endpoint](asked, model, text, stream)


def ask_chat(asked: SimulatedProvider, model: str, text: str, stream: bool) -> Reply:
    usage = {"stream_options": {"include_usage": True}} if stream and asked.name != "mistral" else {}
    return asked.respond("sim-1", ask(model, text, tools=TOOLS, stream=stream, **usage), NOON)


def ask_messages(asked: SimulatedProvider, model: str, text: str, stream: bool) -> Reply:
    tools = [{"name": name, "input_schema": {"type": "object"}} for name in NAMES]
    body = ask(model, text, tools=tools, stream=stream, max_tokens=99)
    return asked.respond("sim-1", body, NOON, {"anthropic-version": "2023-06-01"})


def ask_responses(asked: SimulatedProvider, model: str, text: str, stream: bool) -> Reply:
    tools = [{"type": "function", "name": name} for name in NAMES]
    return asked.respond("sim-1", {"model": model, "input": text, "tools": tools, "stream": stream}, NOON)


ASK: dict[str, Callable[[SimulatedProvider, str, str, bool], Reply]] = {
    "/chat/completions": ask_chat,
    "/messages": ask_messages,
    "/responses": ask_responses,
}


def messages_events(fault: str) -> list[dict[str, Any]]:
    return named(streamed(Anthropic(), "claude-haiku-4-5", fault))


def responses_events(fault: str) -> list[dict[str, Any]]:
    found = named(streamed(OpenAIResponses(), "gpt-5-mini", fault))
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


def named(reply: Reply) -> list[dict[str, Any]]:
    return [json.loads(piece.partition(b"data: ")[2]) for piece in reply.pieces]


def chunks(reply: Reply) -> list[dict[str, Any]]:
    return [chunk for chunk in events(reply.body) if isinstance(chunk, dict)]


def calls_in(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [call for chunk in found for choice in chunk["choices"] for call in choice["delta"].get("tool_calls", ())]


@pytest.mark.parametrize(("dialect", "model"), CHAT)
def test_chat_in_single_characters(dialect: Dialect, model: str) -> None:
    reply = streamed(dialect, model, "single_characters")
    found = chunks(reply)
    arguments = {0: "", 1: ""}
    for call in calls_in(found):
        assert len(call["function"]["arguments"]) <= 1
        arguments[call["index"]] += call["function"]["arguments"]
    assert arguments == {0: '{"a":1}', 1: "{}"}
    assert [call["function"]["name"] for call in calls_in(found) if "id" in call] == ["weather", "news"]
    finishes = [
        choice["finish_reason"] for chunk in found for choice in chunk["choices"] if choice.get("finish_reason")
    ]
    assert len(finishes) == 1
    assert reply.pieces[-1] == b"data: [DONE]\n\n"


@pytest.mark.parametrize(("dialect", "model"), CHAT)
def test_chat_with_indexes_that_do_not_help(dialect: Dialect, model: str) -> None:
    assert not any("index" in call for call in calls_in(chunks(streamed(dialect, model, "no_indexes"))))
    zero = calls_in(chunks(streamed(dialect, model, "zero_indexes")))
    # Gemini never tells an index.
    assert {call.get("index") for call in zero} == ({None} if dialect.name == "gemini" else {0})


@pytest.mark.parametrize(("dialect", "model"), CHAT)
def test_chat_without_usage_or_with_a_late_one(dialect: Dialect, model: str) -> None:
    assert b'"usage"' not in streamed(dialect, model, "no_usage").body
    assert b'"usage"' not in streamed(dialect, model, "no_usage", stream=False).body
    reply = streamed(dialect, model, "late_usage")
    *earlier, last = chunks(reply)
    assert (last["choices"], last["usage"]["completion_tokens"]) == ([], 5)
    assert not any("usage" in chunk for chunk in earlier)
    assert reply.pieces[-1] == b"data: [DONE]\n\n"


@pytest.mark.parametrize(("dialect", "model"), CHAT)
def test_chat_without_a_finish(dialect: Dialect, model: str) -> None:
    found = chunks(streamed(dialect, model, "no_finish"))
    assert found
    assert not any(choice.get("finish_reason") for chunk in found for choice in chunk["choices"])


def test_chat_that_repeats_itself() -> None:
    found = calls_in(chunks(streamed(Generic(), "qwen3", "cumulative")))
    assert [(call["index"], call["function"]["name"], call["function"]["arguments"]) for call in found] == [
        (0, "weather", ""),
        (0, "weather", '{"a'),
        (0, "weather", '{"a":1}'),
        (1, "news", ""),
        (1, "news", "{"),
        (1, "news", "{}"),
    ]
    assert {call["id"] for call in found if call["index"] == 0} == {"call_000000000000000000000100"}


def test_comments_stay_in_front() -> None:
    pieces = streamed(OpenRouter(), "openai/gpt-oss-20b:free", "no_usage").pieces
    assert pieces[0].startswith(b": ")
    assert pieces[-1] == b"data: [DONE]\n\n"


def test_messages_in_single_characters() -> None:
    deltas = [
        event["delta"]["partial_json"]
        for event in messages_events("single_characters")
        if event["type"] == "content_block_delta"
    ]
    assert deltas == ["", *'{"a":1}', ""]


def test_messages_with_indexes_that_do_not_help() -> None:
    assert not any("index" in event for event in messages_events("no_indexes"))
    assert {event["index"] for event in messages_events("zero_indexes") if "index" in event} == {0}


def test_messages_without_usage_or_with_a_late_one() -> None:
    found = messages_events("no_usage")
    assert "usage" not in found[0]["message"]
    assert not any("usage" in event for event in found)
    late = messages_events("late_usage")
    assert late[0]["message"]["usage"] == {"input_tokens": 0, "output_tokens": 0}
    assert late[-2]["usage"]["input_tokens"] > 0


def test_messages_without_a_finish() -> None:
    assert messages_events("no_finish")[-1]["type"] == "content_block_stop"


def test_messages_that_repeat_themselves() -> None:
    deltas = [event["delta"] for event in messages_events("cumulative") if event["type"] == "content_block_delta"]
    assert [delta["partial_json"] for delta in deltas] == ["", '{"a', '{"a":1}', ""]


def test_responses_in_single_characters() -> None:
    found = responses_events("single_characters")
    assert [event["delta"] for event in found if "delta" in event] == [*'{"a":1}', "{", "}"]


def test_responses_with_indexes_that_do_not_help() -> None:
    assert not any("output_index" in event for event in responses_events("no_indexes"))
    assert {event["output_index"] for event in responses_events("zero_indexes") if "output_index" in event} == {0}


def test_responses_without_usage() -> None:
    assert "usage" not in responses_events("no_usage")[-1]["response"]
    assert responses_events("late_usage")[-1]["response"]["usage"]["input_tokens"] > 0


def test_responses_without_a_finish() -> None:
    assert responses_events("no_finish")[-1]["type"] == "response.output_item.done"


def test_responses_that_repeat_themselves() -> None:
    deltas = [event["delta"] for event in responses_events("cumulative") if "delta" in event]
    assert deltas == ['{"a', '{"a":1}', "{", "{}"]


def test_an_answer_that_is_not_streamed_has_only_its_usage_to_lose() -> None:
    whole = body_of(streamed(Anthropic(), "claude-haiku-4-5", "no_usage", stream=False))
    assert ("usage" in whole, whole["stop_reason"]) == (False, "tool_use")
    same = streamed(Generic(), "qwen3", "cumulative", stream=False)
    assert body_of(same)["choices"][0]["finish_reason"] == "tool_calls"
