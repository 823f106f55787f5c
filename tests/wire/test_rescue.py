from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chain429.wire.chat_reader import ChatReader
from chain429.wire.cleanup import Cleanup
from chain429.wire.dialect import DialectName
from chain429.wire.events import End, Event, Finish, Text, ToolArguments, ToolCall
from chain429.wire.exchange import exchange
from chain429.wire.rescue import RescuingReader
from tests.wire.answers import AT, DIALECTS, DONE, asked, chunk, delivered, side
from tests.wire.wellformed import check, folded, whole

CALL = '{"name": "read", "arguments": {"path": "a"}}'
OTHER = '{"name": "write", "arguments": {"path": "b"}}'
READ = ("read", '{"path":"a"}')
WRITE = ("write", '{"path":"b"}')
TAGGED = f"<tool_call>\n{CALL}\n</tool_call>"


def body(text: str) -> bytes:
    return json.dumps({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}).encode()


def rescued(events: list[Event]) -> tuple[str, list[tuple[str, str]]]:
    """The words, and the calls, that are found; each call is opened before its arguments come."""
    calls: list[tuple[str, str]] = []
    words = ""
    for event in events:
        if isinstance(event, Text):
            assert event.text
            words += event.text
        elif isinstance(event, ToolCall):
            assert event.index == len(calls)
            calls.append((event.name, ""))
        elif isinstance(event, ToolArguments):
            name, text = calls[event.index]
            calls[event.index] = (name, text + event.text)
    return words, calls


def read(*words: str) -> tuple[str, list[tuple[str, str]]]:
    """What is made of words that are streamed."""
    reader = RescuingReader(ChatReader(), {"read", "write"})
    chunks = [*[chunk({"content": one}) for one in words], chunk({}, "stop"), DONE]
    events = [event for one in chunks for event in reader.read(one.removeprefix(b"data: "))]
    assert [type(event) for event in events[-2:]] == [Finish, End]
    return rescued(events)


CASES = [
    pytest.param(TAGGED, "", [READ], id="tags"),
    pytest.param(f"Let me see.\n{TAGGED}\n", "Let me see.\n", [READ], id="words before"),
    pytest.param(f"{TAGGED}\nThere.", "There.", [READ], id="words after"),
    pytest.param(f"{TAGGED}\n<tool_call>{OTHER}</tool_call>", "", [READ, WRITE], id="two"),
    pytest.param(f"<tool_call>{CALL}\n{OTHER}</tool_call>", "", [READ, WRITE], id="two in one"),
    pytest.param(f"<tool_call>[{CALL},{OTHER}]</tool_call>", "", [READ, WRITE], id="a list"),
    pytest.param(f"<tool_call>{CALL}", "", [READ], id="a tag that is not closed"),
    pytest.param(f"```json\n{CALL}\n```", "", [READ], id="a fence"),
    pytest.param(f"```\n{CALL}\n```", "", [READ], id="a plain fence"),
    pytest.param(CALL, "", [READ], id="nothing but the call"),
    pytest.param(f"\n {CALL} \n", "", [READ], id="nothing but the call and white space"),
    pytest.param('{"function": {"name": "read", "arguments": {}}}', "", [("read", "{}")], id="within its function"),
    pytest.param('{"name": "read", "parameters": {"path": "a"}}', "", [READ], id="parameters"),
    pytest.param('{"name": "read"}', "", [("read", "{}")], id="no arguments"),
    pytest.param('{"name": "read", "arguments": "{\\"path\\":\\"a\\"}"}', "", [READ], id="arguments as a text"),
    pytest.param(
        '<tool_call>{"name": "read", "arguments": {"path": "a\nb"}}</tool_call>',
        "",
        [("read", '{"path":"a\\nb"}')],
        id="a line break in a string",
    ),
    pytest.param(
        '<tool_call>{"name": "write", "arguments": {"path": "</tool_call>"}}</tool_call>',
        "",
        [("write", '{"path":"</tool_call>"}')],
        id="what closes a call within it",
    ),
    *[
        pytest.param(text, text, [], id=name)
        for name, text in {
            "no call": "Hello.",
            "white space": " \n",
            "another tool": '<tool_call>{"name": "shell", "arguments": {}}</tool_call>',
            "one of another tool among them": f'[{CALL}, {{"name": "shell", "arguments": {{}}}}]',
            "an example in the words": f"Say {CALL} to it.",
            "code": "```python\nprint(1)\n```\n",
            "json that is no call": '```json\n{"name": "Ada", "age": 36}\n```',
            "an object that is no call": '{"answer": 42}',
            "half of an object": '{"name": "read", "arguments": {"path":',
            "broken json": '<tool_call>{"name": read}</tool_call>',
            "a tag alone": "The tag is <tool_call>.",
            "the beginning of a tag": "a <tool",
            "arguments that are none": '{"name": "read", "arguments": [1]}',
        }.items()
    ],
]


@pytest.mark.parametrize(("text", "words", "calls"), CASES)
def test_calls_in_words_are_calls(text: str, words: str, calls: list[tuple[str, str]]) -> None:
    assert read(text) == (words, calls)
    events = RescuingReader(ChatReader(), {"read", "write"}).whole(body(text))
    assert rescued(list(events)) == (words, calls)


@pytest.mark.parametrize(("text", "words", "calls"), CASES)
def test_calls_that_come_letter_by_letter_are_the_same(text: str, words: str, calls: list[tuple[str, str]]) -> None:
    assert read(*text) == (words, calls)


@example([" ", TAGGED], [2])
@given(
    st.lists(st.sampled_from([TAGGED, CALL, "```json\n", "```", "<tool_call>", "</tool_call>", " ", "\n", "{", "Hi"])),
    st.lists(st.integers(0, 200), max_size=12),
)
def test_where_words_are_cut_does_not_matter(texts: list[str], cuts: list[int]) -> None:
    text = "".join(texts)
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    assert read(*[text[a:b] for a, b in pairwise(places) if a < b]) == read(*([text] if text else []))


@given(st.text(max_size=40))
def test_words_without_a_call_come_out_as_they_are(text: str) -> None:
    assert read(*text) == (text, [])


def test_words_that_can_t_become_a_call_are_not_held_back() -> None:
    reader = RescuingReader(ChatReader(), {"read"})
    assert reader.read(b'{"choices":[{"delta":{"content":"The answer `"}}]}') == [Text("The answer ")]
    assert reader.read(b'{"choices":[{"delta":{"content":"x` is"}}]}') == [Text("`x` is")]


def test_calls_where_they_belong_are_counted_together_with_those_in_words() -> None:
    reader = RescuingReader(ChatReader(), {"read"})
    where_it_belongs = {"index": 0, "id": "x", "function": {"name": "write", "arguments": "{}1"}}
    events = reader.read(json.dumps({"choices": [{"delta": {"content": TAGGED}}]}).encode())
    events += reader.read(json.dumps({"choices": [{"delta": {"tool_calls": [where_it_belongs]}}]}).encode())
    assert rescued(events) == ("", [READ, ("write", "{}1")])


@pytest.mark.parametrize("front", DIALECTS)
def test_a_rescued_call_is_one_for_every_client(front: DialectName) -> None:
    there = side("chat", rules=(Cleanup(text_calls=True),))
    attempt = exchange(asked(front), there, (), "req_1", AT)
    out, _ = delivered(
        attempt, chunk({"content": TAGGED[:20]}), chunk({"content": TAGGED[20:]}), chunk({}, "stop"), DONE
    )
    assert check(front, out) == "complete"
    _, answer = exchange(asked(front, stream=False), there, (), "req_1", AT).answer(body(TAGGED))
    streamed: dict[str, Any] = folded(front, out)
    at_once = whole(front, answer)
    for one in (streamed, at_once):
        one.pop("usage")
    assert streamed == at_once
    assert "tool_call" not in json.dumps(streamed.get("content"))


@pytest.mark.parametrize("front", DIALECTS)
def test_words_of_models_that_do_not_do_so_are_left_alone(front: DialectName) -> None:
    there = side("chat", rules=(Cleanup(models="other-*", text_calls=True),))
    attempt = exchange(asked(front), there, (), "req_1", AT)
    out, _ = delivered(attempt, chunk({"content": TAGGED}), chunk({}, "stop"), DONE)
    assert b"<tool_call>" in out


def test_without_tools_there_is_nothing_to_rescue() -> None:
    there = side("chat", rules=(Cleanup(text_calls=True),))
    attempt = exchange(asked("chat", tools=[]), there, (), "req_1", AT)
    pieces = (chunk({"content": TAGGED}), chunk({}, "stop"), DONE)
    assert delivered(attempt, *pieces)[0] == b"".join(pieces)
