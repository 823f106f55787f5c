"""How Mistral speaks.

Limits are per model and minute. Headers tell them with whole answers and with refusals, never with streams, and nothing
ever says how long to wait. Unknown fields are refused, ids of tool calls must have nine letters or digits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from chain429.simulator.answers import Answer, Call, words
from chain429.simulator.dialect import Dialect, Turn, with_headers
from chain429.simulator.limits import Exceeded, Limits, Metric, Period
from chain429.simulator.reply import Reply, event, json_reply

_KNOWN = frozenset(
    [
        "model",
        "messages",
        "temperature",
        "top_p",
        "max_tokens",
        "stream",
        "stop",
        "random_seed",
        "metadata",
        "response_format",
        "tools",
        "tool_choice",
        "presence_penalty",
        "frequency_penalty",
        "n",
        "prediction",
        "parallel_tool_calls",
        "prompt_mode",
        "safe_prompt",
        "reasoning_effort",
    ]
)
_MESSAGE_FIELDS = {
    "system": frozenset({"role", "content"}),
    "user": frozenset({"role", "content"}),
    "assistant": frozenset({"role", "content", "tool_calls", "prefix"}),
    "tool": frozenset({"role", "content", "tool_call_id", "name"}),
}
_CALL_ID = re.compile(r"[a-zA-Z0-9]{9}")
_ALWAYS = {"x-max-retry-attempts-reached": "false"}


class Mistral(Dialect):
    name = "mistral"
    path = "/v1"
    context = 131072
    stream_type = "text/event-stream; charset=utf-8"
    knows = frozenset({(Metric.REQUESTS, Period.MINUTE), (Metric.TOKENS, Period.MINUTE)})
    models = MappingProxyType(
        {
            "mistral-small-latest": Limits(rpm=50, tpm=50_000),
            "mistral-small-2603": Limits(rpm=50, tpm=50_000),
            "mistral-medium-latest": Limits(rpm=50, tpm=25_000),
            "mistral-medium-2508": Limits(rpm=23, tpm=356_000),
            "mistral-large-latest": Limits(rpm=4, tpm=250_000),
            "mistral-large-2512": Limits(rpm=4, tpm=250_000),
            "codestral-latest": Limits(rpm=125, tpm=625_000),
            "devstral-latest": Limits(rpm=50, tpm=1_000_000),
            "ministral-3b-latest": Limits(rpm=750, tpm=1_300_000),
            "ministral-8b-latest": Limits(rpm=188, tpm=625_000),
            "ministral-14b-latest": Limits(rpm=30, tpm=937_500),
        }
    )
    failures = MappingProxyType(
        {
            **Dialect.failures,
            403: ("Labs models are not enabled for this organization.", "forbidden", "1913"),
            429: ("Rate limit exceeded", "rate_limited", "1300"),
            500: ("Internal server error", "internal_server_error", "1000"),
            503: ("Service unavailable.", "unreachable_backend", "1100"),
        }
    )

    def error(
        self, status: int, message: str, kind: str = "invalid_request_error", code: str | None = None, **more: Any
    ) -> Reply:
        error = {"object": "error", "message": message, "type": kind, "param": None, "code": code, **more}
        return json_reply(status, error, _ALWAYS)

    def wrong_key(self) -> Reply:
        return json_reply(401, {"detail": "Unauthorized"})

    def no_money(self, turn: Turn) -> Reply:
        return self.error(402, "Payment required: the workspace has no active subscription.", "payment_required")

    def unknown_model(self, model: str) -> Reply:
        return self.error(400, f"Invalid model: {model}", "invalid_model", "1500")

    def too_long(self, prompt: int, answer: int) -> Reply:
        message = (
            f"Prompt contains {prompt + answer} tokens, too large for model with {self.context} maximum context length"
        )
        return self.error(400, message, "invalid_request_prompt", "3051")

    def check(self, turn: Turn) -> Reply | None:
        body = turn.body
        if details := list(_faults(body)):
            error = {"object": "error", "message": {"detail": details}, "type": "invalid_request_error"}
            return json_reply(422, {**error, "param": None, "code": None}, _ALWAYS)
        for message in body["messages"]:
            for ident in _call_ids(message):
                if not _CALL_ID.fullmatch(ident):
                    text = f"Tool call id was {ident} but must be a-z, A-Z, 0-9, with a length of 9."
                    return self.error(400, text, "invalid_function_call", "3280")
        last = body["messages"][-1]
        if last["role"] == "assistant" and last.get("prefix") is not True:
            text = "Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant"
            return self.error(400, text, "invalid_request_message_order", "3230")
        return None

    def limited(self, exceeded: Exceeded, turn: Turn) -> Reply:
        headers = self.limit_headers(turn, exceeded.requested)
        if exceeded.metric is Metric.REQUESTS:
            headers = {name: value for name, value in headers.items() if "tokens" not in name}
            headers["x-ratelimit-remaining-req-minute"] = "0"
        else:
            headers["x-ratelimit-remaining-tokens-minute"] = str(exceeded.limit - exceeded.used)
        return with_headers(self.error(429, *self.failures[429], raw_status_code=429), headers)

    def refusals(self) -> Mapping[str, Callable[[Turn], Reply]]:
        message = "Service tier capacity exceeded for this model."
        return {"capacity": lambda turn: self.error(429, message, "service_tier_capacity_exceeded", "3505")}

    def limit_headers(self, turn: Turn, tokens: int) -> dict[str, str]:
        headers = dict(_ALWAYS)
        for metric, word in ((Metric.REQUESTS, "req"), (Metric.TOKENS, "tokens")):
            if state := turn.quota.state(metric, Period.MINUTE, turn.now):
                headers[f"x-ratelimit-limit-{word}-minute"] = str(state.limit)
                headers[f"x-ratelimit-remaining-{word}-minute"] = str(state.remaining)
        headers["x-ratelimit-tokens-query-cost"] = str(tokens)
        return headers

    def stream_headers(self, turn: Turn, tokens: int) -> dict[str, str]:
        return dict(_ALWAYS)

    def completion_id(self, turn: Turn) -> str:
        return f"{turn.serial:032x}"

    def call_id(self, turn: Turn, index: int) -> str:
        return f"c{turn.serial % 10**6:06d}{index % 100:02d}"

    def call(self, turn: Turn, index: int, call: Call) -> dict[str, Any]:
        function = {"name": call.name, "arguments": call.arguments}
        return {"id": self.call_id(turn, index), "function": function, "index": index}

    def message(self, answer: Answer, turn: Turn) -> dict[str, Any]:
        message = {"tool_calls": None, **super().message(answer, turn), "content": answer.text}
        if message.pop("reasoning", None):
            words = [{"type": "text", "text": answer.text}] if answer.text else []
            message["content"] = [_thinking(answer.reasoning), *words]
        return message

    def chunks(self, answer: Answer, turn: Turn) -> Iterator[dict[str, Any]]:
        yield self.chunk(turn, {"role": "assistant", "content": ""})
        for word in words(answer.reasoning):
            yield self.chunk(turn, {"content": [_thinking(word)]})
        for word in words(answer.text):
            yield self.chunk(turn, {"content": word})
        # Tool calls come whole, and with the finish; usage comes unasked.
        delta: dict[str, Any] = {"content": ""}
        if answer.calls:
            delta["tool_calls"] = [self.call(turn, index, call) for index, call in enumerate(answer.calls)]
        yield {**self.chunk(turn, delta, answer.finish), "usage": self.usage(answer)}

    def stream_error(self, turn: Turn, form: str) -> bytes:
        return event(self.error_in_answer(turn))

    def error_in_answer(self, turn: Turn) -> dict[str, Any]:
        message, kind, code = self.failures[503]
        return {"object": "error", "message": message, "type": kind, "param": None, "code": code}


def _thinking(words: str) -> dict[str, Any]:
    """Part of a content: where there is thinking, that is a list."""
    return {"type": "thinking", "thinking": [{"type": "text", "text": words}]}


def _faults(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What is wrong with the request's fields, one by one."""
    for field, value in body.items():
        if field == "stream_options" and isinstance(value, dict) and value:
            yield from (_forbidden([field, inner], its) for inner, its in value.items())
        elif field not in _KNOWN:
            yield _forbidden([field], value)
    for index, message in enumerate(body["messages"]):
        role = message["role"]
        if role not in _MESSAGE_FIELDS:
            text = f"Input tag '{role}' found using 'role' does not match any of the expected tags"
            yield {"type": "union_tag_invalid", "loc": ["body", "messages", index], "msg": text, "input": message}
            continue
        for field, value in message.items():
            if field not in _MESSAGE_FIELDS[role]:
                yield _forbidden(["messages", index, role, field], value)


def _forbidden(place: list[str | int], value: Any) -> dict[str, Any]:
    return {"type": "extra_forbidden", "loc": ["body", *place], "msg": "Extra inputs are not permitted", "input": value}


def _call_ids(message: Mapping[str, Any]) -> Iterator[str]:
    for call in message.get("tool_calls") or ():
        yield str(call.get("id"))
    if message["role"] == "tool":
        yield str(message.get("tool_call_id"))
