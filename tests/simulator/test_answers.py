from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain429.simulator.answers import Call, Dictated, compose, made_up, prompt_tokens, tokens_in, words
from tests.simulator.fakes import TOOLS, ask


def test_the_answer_says_who_serves_and_what_was_said() -> None:
    answer = compose(ask("m", "Hello there"), "groq/m")
    assert answer.text == "groq/m here. You said: Hello there"
    assert (answer.finish, answer.prompt_tokens, answer.completion_tokens) == ("stop", 3, 9)
    assert answer == compose(ask("m", "Hello there"), "groq/m")


def test_a_long_prompt_is_repeated_only_in_part() -> None:
    answer = compose(ask("m", "a" * 5000), "p/m")
    assert answer.text == "p/m here. You said: " + "a" * 2000 + "…"
    assert answer.prompt_tokens == 1250


def test_text_parts_and_tools_count_as_the_prompt() -> None:
    parts = [{"type": "text", "text": "abcd"}, {"type": "image_url", "image_url": {"url": "data:"}}]
    assert prompt_tokens({"messages": [{"role": "user", "content": parts}]}) == 1
    assert prompt_tokens(ask("m", "abcd", tools=TOOLS)) > 30


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_the_most_tokens_cut_the_answer(field: str) -> None:
    answer = compose(ask("m", "Hello there", **{field: 5}), "groq/m")
    assert (answer.text, answer.finish, answer.completion_tokens) == ("groq/m here. You sai", "length", 5)


def test_reasoning_comes_first_when_the_answer_is_cut() -> None:
    answer = compose(ask("m", max_tokens=4), "groq/m", reasons=True)
    assert (answer.reasoning, answer.text) == ("The last message", "")


@given(st.text(max_size=200), st.integers(1, 80), st.booleans())
def test_an_answer_never_has_more_tokens_than_allowed(text: str, most: int, reasons: bool) -> None:
    answer = compose(ask("m", text, max_tokens=most), "p/m", reasons=reasons)
    whole = compose(ask("m", text), "p/m", reasons=reasons)
    assert answer.completion_tokens <= most
    assert whole.text.startswith(answer.text)
    assert (answer.finish == "length") == (whole.completion_tokens > most)


@given(st.text())
def test_words_joined_are_the_text(text: str) -> None:
    assert "".join(words(text)) == text


def test_tokens_are_bytes_by_four() -> None:
    assert [tokens_in(text) for text in ("", "a", "abcd", "abcde", "é" * 4)] == [0, 1, 1, 2, 2]


WEATHER = Call("weather", '{"city":"x","days":1}')
NEWS = Call("news", "{}")


@pytest.mark.parametrize(
    ("text", "choice", "calls"),
    [
        pytest.param("Hello", None, (), id="unasked"),
        pytest.param("Now use the tool.", None, (WEATHER,), id="asked in words"),
        pytest.param("Use the tool", "none", (), id="forbidden"),
        pytest.param("Hello", "required", (WEATHER,), id="required"),
        pytest.param("Hello", "any", (WEATHER,), id="any"),
        pytest.param("Use every tool", "auto", (WEATHER, NEWS), id="every one"),
        pytest.param("Hello", {"type": "function", "function": {"name": "news"}}, (NEWS,), id="named"),
    ],
)
def test_when_tools_are_called(text: str, choice: object, calls: tuple[Call, ...]) -> None:
    answer = compose(ask("m", text, tools=TOOLS, tool_choice=choice), "p/m")
    assert answer.calls == calls
    assert answer.finish == ("tool_calls" if calls else "stop")
    assert bool(answer.text) == (not calls)


def test_a_tool_result_is_answered_in_text() -> None:
    messages = [
        {"role": "user", "content": "Use the tool"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "a", "function": {"name": "weather"}}]},
        {"role": "tool", "tool_call_id": "a", "content": "Sunny"},
    ]
    answer = compose({"messages": messages, "tools": TOOLS, "tool_choice": "required"}, "p/m")
    assert (answer.text, answer.calls) == ("p/m here. The tool answered: Sunny", ())


def test_a_prompt_steers_the_answer() -> None:
    assert compose(ask("m", "Please say 3 words"), "p/m").text == "word1 word2 word3"
    thought = compose(ask("m", "Think first, then say 1 words"), "p/m")
    assert (thought.reasoning, thought.text) == ("The last message comes from the user.", "word1")


def test_calls_in_so_many_words() -> None:
    text = 'call weather with {"city": "Oslo"} and call news with {}'
    assert compose(ask("m", text, tools=TOOLS), "p/m").calls == (
        Call("weather", '{"city": "Oslo"}'),
        Call("news", "{}"),
    )
    assert compose(ask("m", text, tools=TOOLS, tool_choice="none"), "p/m").calls == ()
    assert compose(ask("m", text), "p/m").calls == ()
    assert compose(ask("m", "call other with {}", tools=TOOLS), "p/m").calls == ()


@pytest.mark.parametrize(
    ("name", "parameters", "arguments"),
    [
        pytest.param("Bash", {"properties": {"command": {"type": "string"}}}, {"command": "ls -l"}, id="a text"),
        pytest.param("exec_command", {"properties": {"cmd": {"type": "string"}}}, {"cmd": "ls -l"}, id="another name"),
        pytest.param(
            "shell", {"properties": {"command": {"type": "array"}}}, {"command": ["bash", "-lc", "ls -l"]}, id="a list"
        ),
        pytest.param(
            "bash",
            {
                "properties": {"description": {"type": "string"}, "command": {"type": "string"}},
                "required": ["command", "description"],
            },
            {"command": "ls -l", "description": "x"},
            id="more is required",
        ),
        pytest.param("terminal", {}, {"command": "ls -l"}, id="no schema"),
    ],
)
def test_the_shell_of_any_client(name: str, parameters: dict[str, Any], arguments: dict[str, Any]) -> None:
    tools = [*TOOLS, {"type": "function", "function": {"name": name, "parameters": parameters}}]
    [call] = compose(ask("m", "Now run `ls -l` in the shell.", tools=tools), "p/m").calls
    assert (call.name, json.loads(call.arguments)) == (name, arguments)


def test_a_dictated_answer_goes_before_everything_else() -> None:
    dictated = Dictated("Yes.", "Hm.", (Call("a", "no JSON"),))
    answer = compose(ask("m", "use the tool", tools=TOOLS, max_tokens=1), "p/m", dictated=dictated)
    assert (answer.text, answer.reasoning, answer.calls) == ("Yes.", "Hm.", (Call("a", "no JSON"),))
    assert (answer.finish, answer.completion_tokens, answer.reasoning_tokens) == ("tool_calls", 4, 1)
    assert compose(ask("m", max_tokens=1), "p/m", dictated=Dictated("Yes, yes.")).text == "Yes,"


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        pytest.param({"type": "string"}, "x", id="string"),
        pytest.param({"type": "number"}, 1, id="number"),
        pytest.param({"type": "boolean"}, True, id="boolean"),
        pytest.param({"type": ["null", "integer"]}, 1, id="a type of several"),
        pytest.param({"enum": ["b", "a"]}, "b", id="enum"),
        pytest.param({"const": 7}, 7, id="const"),
        pytest.param({"anyOf": [{"type": "string"}, {"type": "null"}]}, "x", id="anyOf"),
        pytest.param({"type": "array", "items": {"type": "integer"}}, [1], id="array"),
        pytest.param({"properties": {"a": {"type": "object"}}}, {"a": {}}, id="object without a type"),
        pytest.param({}, None, id="anything"),
    ],
)
def test_values_made_up_from_a_schema(schema: dict[str, Any], value: object) -> None:
    assert made_up(schema) == value


def test_a_schema_without_end_is_followed_only_so_far() -> None:
    endless: dict[str, Any] = {"type": "array"}
    endless["items"] = endless
    assert made_up(endless) == [[[[[[None]]]]]]
