from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain429.errors import WireError
from chain429.wire.chat_reader import ChatReader
from chain429.wire.events import End, Error, Event, Finish, Reasoning, Signature, Text, ToolArguments, ToolCall, Usage


def read(*chunks: bytes) -> list[Event]:
    reader = ChatReader()
    return [event for one in chunks for event in reader.read(one)]


@pytest.mark.parametrize(
    ("data", "events"),
    [
        (b'{"choices":[{"delta":{"role":"assistant","content":""}}]}', []),
        (b'{"choices":[{"delta":{"content":null}}]}', []),
        (b"{}", []),
        (b'{"choices":[{"delta":{"content":"Hi"}}]}', [Text("Hi")]),
        (b'{"choices":[{"delta":{"refusal":"No"}}]}', [Text("No")]),
        (b'{"choices":[{"delta":{"reasoning":"hm"}}]}', [Reasoning("hm")]),
        (b'{"choices":[{"delta":{"reasoning_content":"hm","content":"Hi"}}]}', [Reasoning("hm"), Text("Hi")]),
        (b'{"choices":[{"delta":{"reasoning_content":"hm","reasoning":"hm"}}]}', [Reasoning("hm")]),
        (
            b'{"choices":[{"delta":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},'
            b'{"type":"text","text":"Hi"}]}}]}',
            [Reasoning("hm"), Text("Hi")],
        ),
        (b"[DONE]", [End()]),
        (b"[DONE] ", [End()]),
        # A whole answer is read by the same rules.
        (
            b'\n\n{"choices":[{"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],'
            b'"usage":{"prompt_tokens":1,"completion_tokens":1}}',
            [Text("Hi"), Finish("stop"), Usage(1, 1)],
        ),
    ],
)
def test_chunks_become_neutral_events(data: bytes, events: list[Event]) -> None:
    assert read(data) == events


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b'{"error":{"message":"Over capacity"}}', {"message": "Over capacity"}),
        (b'{"error":"Over capacity"}', "Over capacity"),
        (b'{"id":"x","choices":[{"delta":{"content":""}}],"x_groq":{"error":"Over"}}', "Over"),
        (b'{"error":{"code":429},"choices":[{"delta":{"content":""},"finish_reason":"error"}]}', {"code": 429}),
        (
            b'{"choices":[{"delta":{"content":""},"finish_reason":"error"}]}',
            {"message": "the provider ended the answer with an error"},
        ),
        (
            b'{"choices":[{"delta":{},"finish_reason":"insufficient_system_resource"}]}',
            {"message": "the provider ended the answer with an error"},
        ),
        (b'[{"error":{"code":503}}]', {"code": 503}),
        (b'{"message":"Too many","code":"queue_exceeded"}', {"message": "Too many", "code": "queue_exceeded"}),
        (b'{"choices":[{"error":{"message":"x"},"message":{"content":""}}]}', {"message": "x"}),
    ],
)
def test_errors_inside_of_a_success_are_told_in_the_forms_that_are_known(data: bytes, error: Any) -> None:
    assert read(data) == [Error(error)]
    assert ChatReader().whole(data) == [Error(error)]


@pytest.mark.parametrize("data", [b"<html>", b"{", b'"text"', b"[1,2]", b"[" * 100_000, b"\xff{}"])
def test_what_is_no_chunk_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(WireError):
        read(data)


@pytest.mark.parametrize(
    ("reason", "neutral"),
    [
        ("stop", "stop"),
        ("eos", "stop"),
        ("end_turn", "stop"),
        ("something new", "stop"),
        ("length", "length"),
        ("model_length", "length"),
        ("MAX_TOKENS", "length"),
        ("tool_calls", "tool_calls"),
        ("function_call", "tool_calls"),
        ("tool_use", "tool_calls"),
        ("content_filter", "content_filter"),
        ("SAFETY", "content_filter"),
    ],
)
def test_edge_09_reasons_are_told_in_neutral_words(reason: str, neutral: str) -> None:
    assert read(json.dumps({"choices": [{"delta": {}, "finish_reason": reason}]}).encode()) == [Finish(neutral)]


@pytest.mark.parametrize("reason", [b'""', b"null", b"7", b"[]"])
def test_edge_09_what_is_no_reason_ends_nothing(reason: bytes) -> None:
    assert read(b'{"choices":[{"delta":{},"finish_reason":' + reason + b"}]}") == []


@pytest.mark.parametrize(
    ("data", "events"),
    [
        pytest.param(b'{"choices":[],"prompt_filter_results":[]}', [], id="before the answer"),
        pytest.param(
            b'{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}', [Usage(3, 2)], id="on its own"
        ),
        pytest.param(
            b'{"choices":null,"usage":{"prompt_tokens":3,"completion_tokens":2}}', [Usage(3, 2)], id="null choices"
        ),
        pytest.param(
            b'{"choices":[{"delta":{"content":"Hi"}}],"usage":{"prompt_tokens":3,"completion_tokens":1}}',
            [Text("Hi"), Usage(3, 1)],
            id="with words",
        ),
        pytest.param(
            b'{"choices":[{"delta":{},"finish_reason":"stop","usage":{"prompt_tokens":3,"completion_tokens":1}}]}',
            [Finish("stop"), Usage(3, 1)],
            id="inside the choice",
        ),
        pytest.param(b'{"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":0}}', [], id="nothing counted yet"),
        pytest.param(b'{"choices":[],"usage":null}', [], id="null"),
        pytest.param(
            b'{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4,"prompt_tokens_details":'
            b'{"cached_tokens":6,"cache_write_tokens":2},"completion_tokens_details":{"reasoning_tokens":1}}}',
            [Usage(9, 4, cached=6, reasoning=1, written=2)],
            id="in detail",
        ),
        pytest.param(
            b'{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4,"prompt_tokens_details":null,'
            b'"prompt_cache_hit_tokens":5,"prompt_cache_miss_tokens":4}}',
            [Usage(9, 4, cached=5)],
            id="DeepSeek",
        ),
        pytest.param(
            b'{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4,"prompt_tokens_details":{},'
            b'"prompt_cache_hit_tokens":5}}',
            [Usage(9, 4, cached=5)],
            id="empty details",
        ),
        pytest.param(
            b'{"choices":[{"delta":{},"finish_reason":"stop"}],"x_groq":{"usage":{"prompt_tokens":1,'
            b'"completion_tokens":2}}}',
            [Finish("stop"), Usage(1, 2)],
            id="Groq",
        ),
        pytest.param(
            b'{"choices":[],"usage":{"prompt_tokens":-1,"completion_tokens":2.5,"total_tokens":"7"}}',
            [],
            id="no counts",
        ),
    ],
)
def test_edge_16_usage_is_found_wherever_it_is_told(data: bytes, events: list[Event]) -> None:
    assert read(data) == events


def test_edge_27_of_several_answers_the_first_one_that_speaks_counts() -> None:
    first = b'{"choices":[{"index":0,"delta":{"content":"A"}}]}'
    second = b'{"choices":[{"index":1,"delta":{"content":"B"},"finish_reason":"stop"}]}'
    both = b'{"choices":[{"index":1,"delta":{"content":"D"}},{"index":0,"delta":{"content":"C"}}]}'
    assert read(first, second, both) == [Text("A"), Text("C")]


# Tool calls.


def calls(*calls: Any) -> bytes:
    return json.dumps({"choices": [{"delta": {"tool_calls": list(calls)}}]}).encode()


def call(arguments: Any = None, name: Any = None, id: Any = None, index: Any = None) -> dict[str, Any]:
    """A piece of a call, with the members that are given."""
    function = {"name": name, "arguments": arguments}
    outer = {"index": index, "id": id, "function": {key: value for key, value in function.items() if value is not None}}
    return {key: value for key, value in outer.items() if value is not None}


def folded(events: Iterable[Event]) -> list[tuple[str, str, str]]:
    """Id, name and arguments of each call."""
    found: list[tuple[str, str, str]] = []
    for event in events:
        if isinstance(event, ToolCall):
            assert event.index == len(found)
            found.append((event.id, event.name, ""))
        elif isinstance(event, ToolArguments):
            assert event.text
            identifier, name, arguments = found[event.index]
            found[event.index] = (identifier, name, arguments + event.text)
    return found


A, B = '{"a":1}', '{"b":{"c":2}}'
TWO = [("a", "f", A), ("b", "g", B)]


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param(
            [
                calls(call("", "f", "a", 0)),
                calls(call(A, index=0)),
                calls(call("", "g", "b", 1)),
                calls(call(B, index=1)),
            ],
            id="as documented",
        ),
        pytest.param(
            [
                calls(call("", "f", "a", 0), call("", "g", "b", 1)),
                calls(call('{"b":', index=1)),
                calls(call('{"a":', index=0)),
                calls(call('{"c":2}}', index=1), call("1}", index=0)),
            ],
            id="in turns",
        ),
        pytest.param([calls(call(A, "f", "a"), call(B, "g", "b"))], id="no index"),
        pytest.param([calls(call(A, "f", "a", 0)), calls(call(B, "g", "b", 0))], id="index always 0"),
        pytest.param(
            [
                calls(call("", "f", "a", 0)),
                calls(call(A, index=0)),
                calls(call("", "g", "b", 0)),
                calls(call(B, index=0)),
            ],
            id="index always 0, in pieces",
        ),
        pytest.param(
            [
                calls(call("", "f", "a", 0)),
                calls(call(A, index=7)),
                calls(call("", "g", "b", 1)),
                calls(call(B, index=9)),
            ],
            id="indexes that are not those of the calls",
        ),
        pytest.param(
            [calls(call(A, "f", "a"), call("", "g", "b")), calls(call('{"b":')), calls(call('{"c":2}}'))],
            id="two at once, the rest without any name",
        ),
        pytest.param(
            [
                calls(call('{"a"', "f", "a"), call('{"b":', "g", "b")),
                calls(call(":1}", id="a")),
                calls(call('{"c":2}}', id="b")),
            ],
            id="told apart by id alone",
        ),
        pytest.param([calls(call({"a": 1}, "f", "a"), call({"b": {"c": 2}}, "g", "b"))], id="arguments as objects"),
        pytest.param(
            [calls(call(id="a", index=0)), calls(call(A, "f", index=0)), calls(call(B, "g", "b", 1))],
            id="the id first",
        ),
        pytest.param(
            [calls(call('{"a', id="a", index=0)), calls(call('":1}', "f", index=0)), calls(call(B, "g", "b", 1))],
            id="arguments before the name",
        ),
        pytest.param(
            [calls(None, 5, {}, call(A, "f", "a", "0"), call(B, "g", "b", [])), calls({"function": 7, "index": True})],
            id="nonsense in between",
        ),
    ],
)
def test_edge_01_parallel_calls_stay_apart(chunks: list[bytes]) -> None:
    assert folded(read(*chunks)) == TWO


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param([calls(call(A, "f"), call(B, "g"))], id="by their names"),
        pytest.param(
            [calls(call("", "f", index=0)), calls(call(A, index=0)), calls(call(B, "g", index=0))], id="in pieces"
        ),
    ],
)
def test_edge_01_calls_without_ids_stay_apart(chunks: list[bytes]) -> None:
    assert folded(read(*chunks)) == [("", "f", A), ("", "g", B)]


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param([calls(call(A, "f")), calls(call(B, "f"))], id="no index"),
        pytest.param([calls(call(A, "f", index=0)), calls(call(B, "f", index=0))], id="index always 0"),
        pytest.param(
            [
                calls(call(A, "f", index=0)),
                calls(call("", "f", index=0)),
                calls(call('{"b":')),
                calls(call('{"c":2}}')),
            ],
            id="in pieces",
        ),
    ],
)
def test_edge_01_arguments_after_whole_ones_are_another_call_s(chunks: list[bytes]) -> None:
    assert folded(read(*chunks)) == [("", "f", A), ("", "f", B)]


def test_edge_01_calls_that_share_an_id_are_told_apart_by_their_names() -> None:
    chunks = [calls(call("", "f", "x")), calls(call(A, id="x")), calls(call("", "g", "x")), calls(call(B, id="x"))]
    assert folded(read(*chunks)) == [("x", "f", A), ("", "g", B)]


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param(
            [calls(call(piece, "f", "a", 0)) for piece in ("", '{"a"', ":1", "}")], id="id and name with each piece"
        ),
        pytest.param([calls(call(piece, "f")) for piece in ("", '{"a"', ":1", "}")], id="only the name"),
        pytest.param([calls(call(A[:end], "f", "a", 0)) for end in range(len(A) + 1)], id="all so far, each time"),
        pytest.param([calls(call(A, "f", "a", 0)), calls(call(A, "f", "a", 0))], id="all of it twice"),
        pytest.param([calls(call(A, "f", "a", 0)), calls(call('{"a": 1}', index=0))], id="again, spelled otherwise"),
        pytest.param(
            [calls(call('{"a"', "f", "a", 0)), calls(call(":1}", index=0)), calls(call(A, index=0))],
            id="all of it at the end",
        ),
        pytest.param([calls(call("{}", "f", "a", 0)), calls(call(A, index=0))], id="an empty object first"),
        pytest.param(
            [calls(call("", "f", "a", 0)), calls(call('{"a"', None, "b", 0)), calls(call(":1}", None, "c", 0))],
            id="a new id with each piece",
        ),
    ],
)
def test_edge_18_what_is_said_again_counts_once(chunks: list[bytes]) -> None:
    ((identifier, name, arguments),) = folded(read(*chunks))
    assert (identifier, name, arguments) == ("" if b'"id"' not in chunks[0] else "a", "f", A)


def test_edge_05_arguments_that_come_with_the_call_s_beginning_are_kept() -> None:
    assert read(calls(call('{"a"', "f", "a", 0))) == [ToolCall(0, "a", "f"), ToolArguments(0, '{"a"')]


def test_a_call_without_arguments_has_none() -> None:
    for empty in ("", "{}", " {} ", None):
        assert folded(read(calls(call(empty, "f", "a", 0)))) == [("a", "f", "")]


def test_a_call_that_is_never_named_is_none() -> None:
    assert read(calls(call(A, id="a", index=0)), b'{"choices":[{"delta":{},"finish_reason":"stop"}]}') == [
        Finish("stop")
    ]


def test_calls_of_the_time_when_there_was_one_at_a_time_are_read() -> None:
    chunks = [{"name": "f", "arguments": ""}, {"arguments": '{"a":'}, {"arguments": "1}"}]
    data = [json.dumps({"choices": [{"delta": {"function_call": one}}]}).encode() for one in chunks]
    assert folded(read(*data)) == [("", "f", A)]


def test_google_s_proof_of_thinking_goes_before_its_call() -> None:
    signed = {**call(A, "f", "a", 0), "extra_content": {"google": {"thought_signature": "sig=="}}}
    assert read(calls(signed)) == [
        Signature("sig==", redacted=True), ToolCall(0, "a", "f"), ToolArguments(0, A),
    ]  # fmt: skip


def test_in_a_whole_answer_each_call_is_one_whatever_it_says() -> None:
    given = [call("{}", "f"), call("{}", "f"), call(A, "f", "x", 0), call(A, "f", "x", 0)]
    body = json.dumps({"choices": [{"message": {"tool_calls": given}, "finish_reason": "tool_calls"}]}).encode()
    assert folded(ChatReader().whole(body)) == [("", "f", ""), ("", "f", ""), ("x", "f", A), ("", "f", A)]


# No name begins with a brace: cut after its quote, what follows looks like the whole text told once more.
json_objects = st.dictionaries(
    st.text('ab}\\"\n', max_size=4),
    st.recursive(st.integers() | st.text('ab{}[]\\"\n'), lambda inner: st.lists(inner, max_size=2), max_leaves=4),
    max_size=3,
)


@given(
    st.lists(st.tuples(st.sampled_from("fg"), json_objects), min_size=1, max_size=4),
    st.data(),
    st.sampled_from(["all", "no index", "index always 0", "cumulative"]),
)
def test_edge_18_arguments_split_anywhere_come_out_as_they_were(
    made: list[tuple[str, dict[str, Any]]], data: st.DataObject, style: str
) -> None:
    chunks: list[bytes] = []
    for number, (name, value) in enumerate(made):
        text = json.dumps(value)
        cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
        index = {"no index": None, "index always 0": 0}.get(style, number)
        chunks.append(calls(call("", name, f"id{number}", index)))
        for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
            piece = text[:end] if style == "cumulative" else text[start:end]
            chunks.append(calls(call(piece, index=index)))
    found = [(identifier, name, json.loads(text or "{}")) for identifier, name, text in folded(read(*chunks))]
    assert found == [(f"id{number}", name, value) for number, (name, value) in enumerate(made)]
