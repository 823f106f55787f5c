"""What a simulated model says: the same answer for the same request, with a length that is told from its bytes.

Pure, and the same for all providers; how an answer looks on the wire belongs to their dialects. What a user's message
may ask for is told in ``steering``; a test can also dictate whole answers, with ``Control.answer``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from chain429.simulator.steering import command_field, next_step, shell_among, thinks_first, words_wanted

# An answer repeats this much of what it was told, so that a long prompt makes a long stream, but no endless one.
_ECHO = 2000
_BYTES_PER_TOKEN = 4
_DEPTH = 6
_WORDS = re.compile(r"\S+\s*|\s+")


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a tool. ``arguments`` is JSON text."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Dictated:
    """An answer that a test wants word for word. ``arguments`` of its calls may be no JSON at all."""

    text: str = ""
    reasoning: str = ""
    calls: tuple[Call, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says. ``cut``: ``max_tokens`` ended it."""

    text: str
    reasoning: str
    calls: tuple[Call, ...]
    cut: bool
    prompt_tokens: int
    completion_tokens: int

    @property
    def finish(self) -> Literal["stop", "length", "tool_calls"]:
        return "length" if self.cut else "tool_calls" if self.calls else "stop"

    @property
    def told(self) -> bool:
        """Whether anything is said at all: a cut can leave nothing."""
        return bool(self.reasoning or self.text or self.calls)

    @property
    def reasoning_tokens(self) -> int:
        return tokens_in(self.reasoning)


def parsed_arguments(call: Call) -> Any:
    """The arguments as a value, for dialects in which they are one; none at all where they are no JSON."""
    try:
        return json.loads(call.arguments)
    except ValueError:
        return {}


def words(text: str) -> list[str]:
    """The text in the pieces in which it is streamed; joined they are the text again."""
    return _WORDS.findall(text)


def compose(body: Mapping[str, Any], name: str, *, reasons: bool = False, dictated: Dictated | None = None) -> Answer:
    """The answer of the model called ``name`` to a Chat Completions request whose messages and tools are well formed.

    A tool is called when ``tool_choice`` demands it or the last user message says "use the tool" ("use every tool":
    each of them), unless the last message brings a tool's result. ``max_tokens`` cuts reasoning and text, never calls.
    What is ``dictated`` goes before everything else.
    """
    said = dictated or _thought_up(body, name, reasons)
    reasoning, text, calls = said.reasoning, said.text, said.calls
    room = max_tokens(body)
    cut = room is not None and not calls and tokens_in(reasoning + text) > room
    if cut and room is not None:
        reasoning, text = _first_tokens(reasoning, text, room)
    told = "".join([reasoning, text, *(call.name + call.arguments for call in calls)])
    return Answer(text, reasoning, calls, cut, prompt_tokens(body), tokens_in(told))


def _thought_up(body: Mapping[str, Any], name: str, reasons: bool) -> Dictated:
    messages = body["messages"]
    last = messages[-1]
    texts = [text_of(message.get("content")) for message in messages]
    calls = tuple(_steered_calls(body, texts))
    if not calls and last.get("role") != "tool":
        calls = tuple(_calls(body))
    said = texts[-1]
    echo = said[:_ECHO] + ("…" if len(said) > _ECHO else "")
    reasons = reasons or thinks_first(said)
    reasoning = f"The last message comes from the {last.get('role')}." if reasons else ""
    if calls:
        text = ""
    elif (count := words_wanted(said)) is not None:
        text = " ".join(f"word{number}" for number in range(1, count + 1))
    elif last.get("role") == "tool":
        text = f"{name} here. The tool answered: {echo}"
    else:
        text = f"{name} here. You said: {echo}"
    return Dictated(text, reasoning, calls)


def max_tokens(body: Mapping[str, Any]) -> int | None:
    """The most tokens that the request allows for its answer."""
    for field in ("max_completion_tokens", "max_tokens"):
        value = body.get(field)
        if isinstance(value, int) and value > 0:
            return value
    return None


def prompt_tokens(body: Mapping[str, Any]) -> int:
    """How many tokens a request is: its messages' text, the calls in them, and its tools."""
    parts: list[str] = []
    for message in body["messages"]:
        parts.append(text_of(message.get("content")))
        parts.extend(json.dumps(call) for call in message.get("tool_calls") or ())
    if body.get("tools"):
        parts.append(json.dumps(body["tools"]))
    return tokens_in("".join(parts))


def tokens_in(text: str) -> int:
    return -(-len(text.encode("utf-8", "replace")) // _BYTES_PER_TOKEN)


def text_of(content: object) -> str:
    """The text of a message's content: a string, or the text parts of a list."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return ""


def _first_tokens(reasoning: str, text: str, room: int) -> tuple[str, str]:
    """As much of reasoning, then text, as fits ``room`` tokens; no character is cut in two."""
    kept = (reasoning + text).encode("utf-8", "replace")[: room * _BYTES_PER_TOKEN].decode("utf-8", "ignore")
    return kept[: len(reasoning)], kept[len(reasoning) :]


def _steered_calls(body: Mapping[str, Any], texts: Sequence[str]) -> Iterable[Call]:
    """The calls that a user's message asked for in so many words."""
    functions = [tool["function"] for tool in body.get("tools") or ()]
    if not functions or body.get("tool_choice") == "none":
        return
    for wanted in next_step(body["messages"], texts):
        if wanted.name is not None:
            if any(function["name"] == wanted.name for function in functions):
                yield Call(wanted.name, wanted.arguments)
        elif shell := shell_among(functions):
            yield Call(shell["name"], _command(shell.get("parameters"), wanted.arguments))


def _command(schema: object, command: str) -> str:
    """The arguments with which a shell of this schema runs the command: that, and whatever else it requires."""
    schema = schema if isinstance(schema, Mapping) else {}
    properties = schema.get("properties") or {}
    field = command_field(properties) or "command"
    required = {name: made_up(properties.get(name)) for name in schema.get("required") or () if name != field}
    kind = (properties.get(field) or {}).get("type")
    value = ["bash", "-lc", command] if kind == "array" else command
    return json.dumps({field: value, **required}, separators=(",", ":"), ensure_ascii=False)


def _calls(body: Mapping[str, Any]) -> Iterable[Call]:
    choice = body.get("tool_choice")
    functions = [tool["function"] for tool in body.get("tools") or ()]
    if not functions or choice == "none":
        return
    asked = next((text_of(m.get("content")) for m in reversed(body["messages"]) if m.get("role") == "user"), "").lower()
    if isinstance(choice, dict):
        named = choice.get("function")
        chosen = [
            function for function in functions if isinstance(named, dict) and function["name"] == named.get("name")
        ]
    elif "use every tool" in asked:
        chosen = functions
    elif choice in ("required", "any") or "use the tool" in asked:
        chosen = functions[:1]
    else:
        chosen = []
    for function in chosen:
        arguments = made_up(function.get("parameters") or {"type": "object"})
        yield Call(function["name"], json.dumps(arguments, separators=(",", ":"), ensure_ascii=False))


def made_up(schema: object, depth: int = _DEPTH) -> Any:
    """A value that a JSON schema allows, as far as its plain keywords go: "x", 1, true, one item, every property."""
    if not isinstance(schema, Mapping) or depth == 0:
        return None
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for either in ("anyOf", "oneOf", "allOf"):
        if schema.get(either):
            return made_up(schema[either][0], depth - 1)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((each for each in kind if each != "null"), "null")
    if kind == "object" or (kind is None and "properties" in schema):
        return {name: made_up(inner, depth - 1) for name, inner in (schema.get("properties") or {}).items()}
    if kind == "array":
        return [made_up(schema.get("items") or {"type": "string"}, depth - 1)]
    return {"string": "x", "integer": 1, "number": 1, "boolean": True}.get(str(kind))
