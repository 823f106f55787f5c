"""What translation costs: CPU of a request's body and of each event of a stream, for every pair of dialects, and for
Chat Completions as they pass through, where answers are put right.

All in one process, without a network. A request is what an agent sends in the middle of its work: long instructions,
twenty tools, forty turns with calls and results, 100 kB in all. To translate it is to make the provider's bytes of what
was parsed: a request that passes through has to be parsed, too.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from chain429.wire import chat, messages, responses
from chain429.wire.cleanup import Cleanup
from chain429.wire.dialect import AnswerStream, ClientRequest, DialectName, Side
from chain429.wire.events import Event, Text, ToolArguments, ToolCall
from chain429.wire.exchange import exchange
from scripts.benchmark.report import Bar, Figures, verdicts

# What stands for it among the contestants.
TRANSLATION = "translation"

# key: what it is, its unit, and what a value in seconds is multiplied with to be told in that unit
ROWS = {
    "body": ("a body of 100 kB", "ms", 1e3),
    "parsed": ("the same, parsed first", "ms", 1e3),
    "text": ("an event of text", "us", 1e6),
    "arguments": ("an event of a call's arguments", "us", 1e6),
    # What the standard library's JSON takes to parse the same bytes and to write them: how fast the machine is.
    "json": ("only JSON: the body", "ms", 1e3),
    "json of text": ("only JSON: an event of text", "us", 1e6),
    "json of arguments": ("only JSON: an event of arguments", "us", 1e6),
}
# What the most expensive pair may take, in seconds.
_MOST = {"body": 2e-3, "text": 30e-6, "arguments": 30e-6}
# What each is compared with.
_JSON = {"body": "json", "parsed": "json", "text": "json of text", "arguments": "json of arguments"}
_PAIRS: Sequence[tuple[DialectName, DialectName]] = (
    ("chat", "chat"), ("chat", "messages"), ("chat", "responses"), ("messages", "chat"), ("messages", "responses"),
    ("responses", "chat"), ("responses", "messages"),
)  # fmt: skip

_SIZE = 100_000
_TOOLS, _CALLS, _EVENTS = 20, 20, 400
_SYSTEM, _DESCRIPTION = 12_000, 1_000
_WORDS = 'Read the file first, then change "what" is wrong — and nothing else.\nKeep lines short; don\'t guess. '

# Of each dialect a provider as the catalog describes them.
_PROVIDERS: Mapping[DialectName, Side] = MappingProxyType(
    {
        "chat": Side(
            "groq",
            "chat",
            "openai/gpt-oss-120b",
            (
                Cleanup(models="openai/gpt-oss*", reasoning_back="reasoning"),
                Cleanup(
                    roles={"developer": "system"},
                    drop=frozenset({"n", "logprobs", "top_logprobs", "logit_bias"}),
                    accept_in_messages=frozenset({"role", "content", "tool_calls", "tool_call_id", "reasoning"}),
                    accept_in_calls=frozenset({"id", "type", "function"}),
                    drop_nulls=True,
                ),
            ),
            max_output=65_536,
        ),
        "messages": Side("anthropic", "messages", "claude-sonnet", max_output=64_000, vendor=True),
        "responses": Side("openai", "responses", "gpt-5", max_output=128_000, vendor=True),
    }
)
_PARSE: Mapping[DialectName, Callable[[bytes], ClientRequest]] = MappingProxyType(
    {
        "chat": chat.ChatRequest.parse,
        "messages": messages.MessagesRequest.parse,
        "responses": responses.ResponsesRequest.parse,
    }
)


def measure(repeated: int) -> dict[str, dict[str, float]]:
    """The figures of each pair of dialects, the client's and the provider's: seconds of CPU.

    They are the shortest of ``repeated``: whatever else the machine does can only add to them. What they are stands in
    ``ROWS``. A machine is not as fast at all times, so what is compared is measured in turns.
    """
    found: dict[str, dict[str, float]] = {}
    for asked, spoken in _PAIRS:
        taken = _bodies(body_of(asked), _PARSE[asked], _PROVIDERS[spoken], repeated)
        attempt = exchange(_PARSE[asked](body_of(asked)), _PROVIDERS[spoken], (), "bench", 0)
        for kind in ("text", "arguments"):
            begun, events = stream_of(spoken, kind)
            taken[kind], taken[_JSON[kind]] = [], []
            for _ in range(repeated):
                taken[kind].append(_an_event(attempt.stream(), begun, events))
                taken[_JSON[kind]].append(_an_event_of_json(events))
        found[f"{asked} > {spoken}"] = {key: min(seconds) for key, seconds in taken.items()}
    return found


def _bodies(body: bytes, parse: Callable[[bytes], ClientRequest], side: Side, repeated: int) -> dict[str, list[float]]:
    request = parse(body)
    calls: dict[str, Callable[[], object]] = {
        "json": lambda: json.dumps(json.loads(body)).encode(),
        "body": lambda: exchange(request, side, (), "bench", 0).body,
        "parsed": lambda: exchange(parse(body), side, (), "bench", 0).body,
    }
    taken: dict[str, list[float]] = {key: [] for key in calls}
    for _ in range(repeated):
        for key, call in calls.items():
            began = time.process_time()
            call()
            taken[key].append(time.process_time() - began)
    return taken


def _an_event(stream: AnswerStream, begun: bytes, events: Sequence[bytes]) -> float:
    stream.feed(begun)
    began = time.process_time()
    for event in events:
        stream.feed(event)
    return (time.process_time() - began) / len(events)


def _an_event_of_json(events: Sequence[bytes]) -> float:
    texts = [event[event.index(b"{") :] for event in events]
    began = time.process_time()
    for text in texts:
        json.dumps(json.loads(text)).encode()
    return (time.process_time() - began) / len(events)


def body_of(dialect: DialectName) -> bytes:
    """A request of 100 kB in a client's dialect: in Messages as Claude Code sends it, in Responses as Codex does."""
    write = _WRITTEN[dialect]
    left = _SIZE - len(_encoded(write("")))
    # What tools gave back fills the rest; in the body a line's end is two bytes, and so are others.
    plain = len(_WORDS)
    written = len(_encoded(_WORDS)) - 2
    return _encoded(write(_text(left * plain // written // _CALLS)))


def _text(size: int) -> str:
    return (_WORDS * (size // len(_WORDS) + 1))[:size]


def _encoded(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _schema(number: int) -> dict[str, Any]:
    names = [f"{name}_{number}" for name in ("path", "pattern", "limit")]
    properties = {name: {"type": "string", "description": _text(80)} for name in names}
    return {"type": "object", "properties": properties, "required": names[:1], "additionalProperties": False}


def _input(number: int) -> dict[str, Any]:
    return {"command": f"sed -n {number},90p src/module.py", "description": _text(60), "timeout": 1000 + number}


def _as_chat(result: str) -> dict[str, Any]:
    turns: list[dict[str, Any]] = [
        {"role": "system", "content": _text(_SYSTEM)},
        {"role": "user", "content": "Fix it."},
    ]
    for number in range(_CALLS):
        function = {"name": f"tool_{number}", "arguments": json.dumps(_input(number))}
        call = {"id": f"call_{number:024}", "type": "function", "function": function}
        turns.append({"role": "assistant", "content": _text(120), "tool_calls": [call]})
        turns.append({"role": "tool", "tool_call_id": call["id"], "content": result})
    tools = [
        {"name": f"tool_{number}", "description": _text(_DESCRIPTION), "parameters": _schema(number)}
        for number in range(_TOOLS)
    ]
    return {
        "model": "default",
        "messages": turns,
        "tools": [{"type": "function", "function": tool} for tool in tools],
        "max_tokens": 32_000,
        "stream": True,
    }


def _as_messages(result: str) -> dict[str, Any]:
    mark = {"type": "ephemeral"}
    turns: list[dict[str, Any]] = [{"role": "user", "content": [{"type": "text", "text": "Fix it."}]}]
    for number in range(_CALLS):
        identifier = f"toolu_{number:024}"
        call = {"type": "tool_use", "id": identifier, "name": f"tool_{number}", "input": _input(number)}
        thoughts = {"type": "thinking", "thinking": "", "signature": _text(20)}
        turns.append({"role": "assistant", "content": [thoughts, {"type": "text", "text": _text(120)}, call]})
        given = {"type": "tool_result", "tool_use_id": identifier, "content": result}
        turns.append({"role": "user", "content": [given]})
    return {
        "model": "default",
        "messages": turns,
        "system": [
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1;"},
            {"type": "text", "text": _text(_SYSTEM), "cache_control": mark},
        ],
        "tools": [
            {"name": f"tool_{number}", "description": _text(_DESCRIPTION), "input_schema": _schema(number)}
            for number in range(_TOOLS)
        ],
        "metadata": {"user_id": json.dumps({"session_id": "5b0c2f9e-3a8f-4c53-9a37-0f3d3a6b9c11"})},
        "max_tokens": 32_000,
        "thinking": {"type": "adaptive"},
        "output_config": {"effort": "medium"},
        "stream": True,
    }


def _as_responses(result: str) -> dict[str, Any]:
    def message(role: str, kind: str, text: str) -> dict[str, Any]:
        return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}

    items = [message("developer", "input_text", _text(_SYSTEM)), message("user", "input_text", "Fix it.")]
    for number in range(_CALLS):
        call = {"type": "function_call", "call_id": f"call_{number:024}", "name": f"tool_{number}"}
        items.append({"type": "reasoning", "summary": [], "encrypted_content": _text(20)})
        items.append(message("assistant", "output_text", _text(120)))
        items.append({**call, "id": f"fc_{number}", "arguments": json.dumps(_input(number))})
        items.append({"type": "function_call_output", "call_id": call["call_id"], "output": result})
    tools: list[dict[str, Any]] = [
        {
            "type": "function",
            "name": f"tool_{number}",
            "description": _text(_DESCRIPTION),
            "strict": False,
            "parameters": _schema(number),
        }
        for number in range(_TOOLS)
    ]
    return {
        "model": "default",
        "input": items,
        # Some of them are in a group of their own.
        "tools": [*tools[4:], {"type": "namespace", "name": "agents", "description": "Agents.", "tools": tools[:4]}],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "reasoning": {"effort": "medium", "summary": "auto"},
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "5b0c2f9e-3a8f-4c53-9a37-0f3d3a6b9c11",
        "stream": True,
    }


_WRITTEN: Mapping[DialectName, Callable[[str], dict[str, Any]]] = MappingProxyType(
    {"chat": _as_chat, "messages": _as_messages, "responses": _as_responses}
)


def stream_of(dialect: DialectName, kind: str) -> tuple[bytes, list[bytes]]:
    """A provider's stream of words, or of a call's arguments: its beginning, then the events with a piece each."""
    request = _PARSE[dialect](body_of(dialect))
    writer = request.writer(request.prompt(), Side("", dialect, "model"), "bench", 0)
    begun: list[Event] = (
        [Text("So ")] if kind == "text" else [ToolCall(0, "call_1", "tool_1"), ToolArguments(0, '{"a":"')]
    )
    piece: Event = Text("word ") if kind == "text" else ToolArguments(0, "word ")
    head = b"".join([writer.add(event) for event in begun])
    return head, [_padded(writer.add(piece), number) for number in range(_EVENTS)]


def _padded(event: bytes, number: int) -> bytes:
    """No two events alike, as OpenAI's are: these have a member that hides how long their texts are."""
    return event.replace(b"}\n\n", b',"obfuscation":"%b"}\n\n' % (b"x" * (number % 13)))


def bars(figures: Figures) -> list[Bar]:
    """What the most expensive pair has to live up to."""
    found: list[Bar] = []
    for key, most in _MOST.items() if figures else ():
        title, unit, scale = ROWS[key]
        pair, own = max(figures.items(), key=lambda item: item[1][key])
        found.append(Bar(title, own[key] * scale, most * scale, f"{unit} ({pair})"))
    return found


def table(figures: Figures) -> str:
    """The pairs side by side, each figure with its ratio to that of JSON; then the bars."""
    lines = [f"{'translation':44}" + "".join(f"{pair:>24}" for pair in figures)]
    for key, (title, unit, scale) in ROWS.items():
        cells = [_cell(own, key, scale) for own in figures.values()]
        lines.append(f"{f'{title} [{unit}]':44}" + "".join(f"{cell:>24}" for cell in cells))
    return "\n".join([*lines, "", *verdicts(bars(figures))])


def _cell(own: Mapping[str, float], key: str, scale: float) -> str:
    ratio = f" ({own[key] / own[_JSON[key]]:.2f}x)" if key in _JSON else ""
    return f"{own[key] * scale:.2f}{ratio}"
