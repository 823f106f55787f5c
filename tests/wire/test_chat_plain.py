from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain429.wire.chat_plain import frame
from chain429.wire.chat_reader import ChatReader, parsed

WORDS = [
    b'{"id":"c1","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{"content":"Hi"}}]}',
    b'{"id": "c1", "choices": [{"index": 0, "delta": {"content": "Hi"}, "logprobs": null, "finish_reason": null}]}',
    # Gemini and Cerebras
    b'{"choices":[{"delta":{"content":"Hi","role":"assistant"},"index":0}],"created":7,"model":"m"}',
    # OpenAI: hides how long the texts are
    b'{"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}],"usage":null,"obfuscation":"x9"}',
    # OpenRouter
    b'{"id":"g","provider":"P","choices":[{"index":0,"delta":{"role":"assistant","content":"Hi"},"finish_reason":null}]}',
]


@pytest.mark.parametrize("data", WORDS)
def test_words_in_the_usual_way_are_plain(data: bytes) -> None:
    found = frame(data)
    assert found is not None
    assert (found.kind, found.choice, found.text(data)) == ("text", 0, "Hi")
    assert found.text(data.replace(b"Hi", rb"\u00fc \"quoted\"\n")) == 'ü "quoted"\n'


def test_thoughts_and_arguments_in_the_usual_way_are_plain() -> None:
    thoughts = b'{"choices":[{"index":0,"delta":{"content":null,"reasoning_content":"Hm"}}]}'
    arguments = (
        b'{"choices":[{"index":0,"delta":{"tool_calls":[{"index":2,"id":null,"type":"function",'
        b'"function":{"name":null,"arguments":"{\\"a\\""}}]},"finish_reason":null}]}'
    )
    found, other = frame(thoughts), frame(arguments)
    assert found is not None
    assert other is not None
    assert (found.kind, found.text(thoughts)) == ("reasoning", "Hm")
    assert (other.kind, other.call, other.text(arguments)) == ("arguments", 2, '{"a"')


@pytest.mark.parametrize(
    "data",
    [
        b'{"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}',
        b'{"choices":[{"index":0,"delta":{"content":"Hi"}}],"usage":{"prompt_tokens":1}}',
        b'{"choices":[{"index":0,"delta":{"content":"Hi"}}],"error":"no more"}',
        b'{"error":"no more","choices":[{"index":0,"delta":{"content":"Hi"}}]}',
        b'{"choices":[{"index":0,"delta":{"content":"Hi"}},{"index":1,"delta":{"content":"Ho"}}]}',
        b'{"choices":[{"index":0,"delta":{"content":"Hi","reasoning_content":"Hm"}}]}',
        b'{"choices":[{"index":0,"delta":{"content":"Hi"}},',
        b'{"choices":[{"delta":{"content":"Hi"}}]}',
        b'{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","function":{"arguments":"{"}}]}}]}',
        b'{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"name":"f","arguments":"{"}}]}}]}',
        b'{"model":"\xff","choices":[{"index":0,"delta":{"content":"Hi"}}]}',
        b'{"n":01,"choices":[{"index":0,"delta":{"content":"Hi"}}]}',
    ],
)
def test_what_says_more_or_is_broken_is_not_plain(data: bytes) -> None:
    assert frame(data) is None


@pytest.mark.parametrize(
    ("rest", "text"),
    [
        (b',"usage":null,"obfuscation":"abc"}', "Hi"),
        (b"}", "Hi"),
        (b',"usage":{"prompt_tokens":1}}', None),
        (b',"error":"no more"}', None),
        (b",}", None),
        (b"}}", None),
    ],
)
def test_what_stands_after_the_choices_may_differ(rest: bytes, text: str | None) -> None:
    found = frame(WORDS[3])
    assert found is not None
    assert found.text(WORDS[3].partition(b"]")[0] + b"]" + rest) == text


@pytest.mark.parametrize("inside", [b'Hi"},"x":{"y":"', b"Hi\\", b"\n", b"\\", b"\\x", b"\xff", b""])
def test_a_frame_holds_one_text_and_nothing_else(inside: bytes) -> None:
    found = frame(WORDS[0])
    assert found is not None
    assert found.text(WORDS[0].replace(b"Hi", inside)) is None


NOTHING: st.SearchStrategy[Any] = st.sampled_from([None, ""])
TEXT = st.text(alphabet='ab "\\\n{}]ü', max_size=4)
CALL = st.fixed_dictionaries(
    {
        "function": st.fixed_dictionaries(
            {}, optional={"arguments": TEXT, "name": st.sampled_from(["f", "g", "", None])}
        )
    },
    optional={"index": st.integers(0, 2), "id": st.sampled_from(["c1", "c2", "", None]), "type": st.just("function")},
)
DELTA = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(["assistant", None]),
        "content": st.none() | TEXT,
        "reasoning_content": st.none() | TEXT,
        "refusal": NOTHING,
        "tool_calls": st.lists(CALL, max_size=2),
    },
)
CHUNK = st.fixed_dictionaries(
    {"choices": st.lists(st.fixed_dictionaries({"delta": DELTA}, optional={"index": st.integers(0, 1)}), max_size=2)},
    optional={"created": st.integers(-1, 9), "obfuscation": TEXT, "usage": st.none(), "error": NOTHING},
)


@given(chunks=st.lists(CHUNK, max_size=6), spaced=st.booleans())
def test_what_is_read_is_what_it_means_parsed(chunks: list[dict[str, Any]], spaced: bool) -> None:
    one, other = ChatReader(), ChatReader()
    for chunk in chunks:
        data = json.dumps(chunk, separators=None if spaced else (",", ":")).encode()
        assert one.read(data) == other.take(parsed(data))
