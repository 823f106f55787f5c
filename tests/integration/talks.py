"""A conversation held by a real SDK, each in its own dialect, with the same verbs for all.

What the SDK gave is given back to it as it came, as programs do, so that each provider meets what clients echo.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar, Literal

import anthropic
import openai

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
NOTHING: dict[str, Any] = {"type": "object", "properties": {}, "required": []}
# The streaming methods of the OpenAI SDK take only tools that are strict.
TOOLS = [(name, {**schema, "additionalProperties": False}) for name, schema in (("weather", CITY), ("news", NOTHING))]


@dataclass(frozen=True, slots=True)
class Called:
    """One call of a tool; ``arguments`` are what its JSON says."""

    id: str
    name: str
    arguments: Any


@dataclass(frozen=True, slots=True)
class Said:
    """One answer. ``pieces`` are what the SDK told of its text while it came; ``tokens`` those of prompt and answer."""

    text: str
    thoughts: str
    calls: tuple[Called, ...]
    end: Literal["stop", "calls", "length"]
    tokens: tuple[int, int]
    pieces: tuple[str, ...] = ()


class Talk(ABC):
    """One conversation with ``model``: ``user`` and ``results`` say something, ``say`` has it answered.

    ``errors`` is the SDK's module, ``broken`` what it raises of a stream that breaks off; ``failure`` is what an event
    said of that, where it is told by one. ``field`` is where a request of this dialect has its conversation.
    """

    errors: ClassVar[ModuleType]
    broken: ClassVar[type[Exception]]
    field: ClassVar[str]
    failure = ""

    def __init__(self, sdk: Any, model: str) -> None:
        self.sdk = sdk
        self.model = model
        self.said: list[Any] = []

    def user(self, text: str) -> None:
        self.said.append({"role": "user", "content": text})

    @abstractmethod
    def results(self, told: Iterable[tuple[Called, str]]) -> None:
        """What the tools answered."""

    async def say(self, *, streamed: bool, tools: bool = True, **more: Any) -> Said:
        """The answer, which is part of the conversation from now on; ``more`` are parameters of the request."""
        asked = {"model": self.model, self.field: self.said, **more}
        if tools:
            asked["tools"] = [self.tool(*tool) for tool in TOOLS]
        return await (self.streamed(asked) if streamed else self.whole(asked))

    @staticmethod
    @abstractmethod
    def tool(name: str, schema: dict[str, Any]) -> dict[str, Any]: ...

    @abstractmethod
    async def whole(self, asked: dict[str, Any]) -> Said: ...

    @abstractmethod
    async def streamed(self, asked: dict[str, Any]) -> Said: ...


class ChatTalk(Talk):
    """By ``chat.completions`` of the OpenAI SDK."""

    errors: ClassVar[ModuleType] = openai
    broken = openai.APIError
    field = "messages"
    ENDS: ClassVar[dict[str, Literal["stop", "calls", "length"]]] = {
        "stop": "stop",
        "tool_calls": "calls",
        "length": "length",
    }

    def results(self, told: Iterable[tuple[Called, str]]) -> None:
        self.said += [{"role": "tool", "tool_call_id": call.id, "content": text} for call, text in told]

    @staticmethod
    def tool(name: str, schema: dict[str, Any]) -> dict[str, Any]:
        return {"type": "function", "function": {"name": name, "parameters": schema, "strict": True}}

    async def whole(self, asked: dict[str, Any]) -> Said:
        return self._kept(await self.sdk.chat.completions.create(**asked))

    async def streamed(self, asked: dict[str, Any]) -> Said:
        async with self.sdk.chat.completions.stream(**asked, stream_options={"include_usage": True}) as stream:
            pieces: list[str] = []
            try:
                pieces.extend([event.delta async for event in stream if event.type == "content.delta"])
                completion = await stream.get_final_completion()
            except openai.LengthFinishReasonError as cut:
                # So this method tells of an answer that is too short to be read as what was asked for.
                completion = cut.completion
            return self._kept(completion, pieces)

    def _kept(self, completion: Any, pieces: Iterable[str] = ()) -> Said:
        choice, usage = completion.choices[0], completion.usage
        message = choice.message
        self.said.append(message)
        thoughts = getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None) or ""
        return Said(
            message.content or "",
            thoughts,
            tuple(
                Called(call.id, call.function.name, json.loads(call.function.arguments))
                for call in message.tool_calls or ()
            ),
            self.ENDS[choice.finish_reason],
            (usage.prompt_tokens, usage.completion_tokens),
            tuple(pieces),
        )


class MessagesTalk(Talk):
    """By ``messages`` of the Anthropic SDK."""

    errors: ClassVar[ModuleType] = anthropic
    broken = anthropic.APIStatusError
    field = "messages"
    ENDS: ClassVar[dict[str, Literal["stop", "calls", "length"]]] = {
        "end_turn": "stop",
        "tool_use": "calls",
        "max_tokens": "length",
    }

    def results(self, told: Iterable[tuple[Called, str]]) -> None:
        blocks = [{"type": "tool_result", "tool_use_id": call.id, "content": text} for call, text in told]
        self.said.append({"role": "user", "content": blocks})

    @staticmethod
    def tool(name: str, schema: dict[str, Any]) -> dict[str, Any]:
        return {"name": name, "input_schema": schema}

    async def whole(self, asked: dict[str, Any]) -> Said:
        return self._kept(await self.sdk.messages.create(**{"max_tokens": 1000, **asked}))

    async def streamed(self, asked: dict[str, Any]) -> Said:
        async with self.sdk.messages.stream(**{"max_tokens": 1000, **asked}) as stream:
            pieces = [piece async for piece in stream.text_stream]
            return self._kept(await stream.get_final_message(), pieces)

    def _kept(self, message: Any, pieces: Iterable[str] = ()) -> Said:
        self.said.append({"role": "assistant", "content": message.content})
        return Said(
            "".join(block.text for block in message.content if block.type == "text"),
            "".join(block.thinking for block in message.content if block.type == "thinking"),
            tuple(Called(block.id, block.name, block.input) for block in message.content if block.type == "tool_use"),
            self.ENDS[message.stop_reason],
            (message.usage.input_tokens, message.usage.output_tokens),
            tuple(pieces),
        )


class ResponsesTalk(Talk):
    """By ``responses`` of the OpenAI SDK, with nothing stored."""

    errors: ClassVar[ModuleType] = openai
    # The SDK tells of a failure by an event; asked for the response, it says that there is none.
    broken = RuntimeError
    field = "input"

    def results(self, told: Iterable[tuple[Called, str]]) -> None:
        self.said += [{"type": "function_call_output", "call_id": call.id, "output": text} for call, text in told]

    @staticmethod
    def tool(name: str, schema: dict[str, Any]) -> dict[str, Any]:
        return {"type": "function", "name": name, "parameters": schema, "strict": True}

    async def whole(self, asked: dict[str, Any]) -> Said:
        return self._kept(await self.sdk.responses.create(**_STATELESS, **asked))

    async def streamed(self, asked: dict[str, Any]) -> Said:
        async with self.sdk.responses.stream(**_STATELESS, **asked) as stream:
            events = [event async for event in stream]
            last = events[-1]
            if last.type == "response.failed":
                self.failure = last.response.error.message
            pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
            final = last.response if last.type == "response.incomplete" else await stream.get_final_response()
            return self._kept(final, pieces)

    def _kept(self, response: Any, pieces: Iterable[str] = ()) -> Said:
        self.said += response.output
        calls = [item for item in response.output if item.type == "function_call"]
        thoughts = [item for item in response.output if item.type == "reasoning"]
        ended: Literal["stop", "calls", "length"] = "calls" if calls else "stop"
        if response.status == "incomplete":
            assert response.incomplete_details.reason == "max_output_tokens"
            ended = "length"
        return Said(
            response.output_text,
            "".join(part.text for item in thoughts for part in item.summary or item.content or ()),
            tuple(Called(call.call_id, call.name, json.loads(call.arguments)) for call in calls),
            ended,
            (response.usage.input_tokens, response.usage.output_tokens),
            tuple(pieces),
        )


_STATELESS: dict[str, Any] = {"store": False, "include": ["reasoning.encrypted_content"]}
TALKS: dict[str, type[Talk]] = {"chat": ChatTalk, "messages": MessagesTalk, "responses": ResponsesTalk}
