"""How Anthropic speaks: the Messages API, in its versions 2023-06-01 and 2026-10-21.

Limits are requests, tokens in and tokens out, each per minute; they drain steadily, and headers tell all of them, with
tokens rounded to thousands and resets as times of day. Tokens out are those that came, whatever ``max_tokens`` allowed.
What a request may look like is in ``anthropic_checks``, as strict as the real one; of options there is
``system_in_messages``: messages of the role ``system`` are taken, as its newest models do.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from chain429.simulator.answers import Answer, parsed_arguments, prompt_tokens, words
from chain429.simulator.anthropic_blocks import messages_in_chat
from chain429.simulator.anthropic_checks import (
    CONTEXT,
    MAX_OUTPUT,
    malformation,
    refusal,
    thinking_kind,
    too_long_a_prompt,
)
from chain429.simulator.dialect import Body, Dialect, Turn, bearer, whole_seconds, with_headers
from chain429.simulator.limits import Draining, Exceeded, Limits, Metric, Period, Window
from chain429.simulator.reply import Reply, json_reply, named_event, stream_reply
from chain429.simulator.seals import seal

_TIER = Limits(rpm=1000, itpm=450_000, otpm=90_000)
_DATED = {"claude-haiku-4-5-20251001": "claude-haiku-4-5"}
_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_MESSAGES = {
    403: "Your API key does not have permission to use the specified resource.",
    413: "Request exceeds the maximum size",
    429: "This request would exceed your account's rate limit. Please try again later.",
    500: "Internal server error",
    503: "Service unavailable",
    504: "Request timed out",
    529: "Overloaded",
}
_STOPS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
_ORGANIZATION = "00000000-0000-4000-8000-000000000429"


class Anthropic(Dialect):
    name = "anthropic"
    path = "/v1"
    endpoint = "/messages"
    count_endpoint = "/messages/count_tokens"
    stream_type = "text/event-stream; charset=utf-8"
    knows = frozenset((metric, Period.MINUTE) for metric in (Metric.REQUESTS, Metric.INPUT, Metric.OUTPUT))
    models = MappingProxyType(dict.fromkeys(MAX_OUTPUT, _TIER))
    retired = frozenset({"claude-3-5-sonnet-20241022", "claude-3-opus-20240229"})
    options = MappingProxyType({"system_in_messages": False})

    def key_of(self, headers: Mapping[str, str]) -> str | None:
        return headers.get("x-api-key") or bearer(headers)

    def malformed(self, turn: Turn) -> Reply | None:
        said = malformation(turn.body, turn.headers, counting=False)
        return self.error(400, said) if said else None

    def in_chat(self, body: Body) -> Body:
        chat: dict[str, Any] = {"messages": list(messages_in_chat(body))}
        for field in ("max_tokens", "stop_sequences"):
            if field in body:
                chat[field] = body[field]
        tools = [tool for tool in body.get("tools") or () if "input_schema" in tool]
        if tools:
            chat["tools"] = [
                {"type": "function", "function": {"name": tool["name"], "parameters": tool["input_schema"]}}
                for tool in tools
            ]
        match body.get("tool_choice"):
            case {"type": "tool", "name": name}:
                chat["tool_choice"] = {"type": "function", "function": {"name": name}}
            case {"type": kind}:
                chat["tool_choice"] = kind
        return chat

    def bucket(self, model: str) -> str:
        return _DATED.get(model, model)

    def window(self, period: Period, limit: int) -> Window:
        return Draining(limit, period.seconds)

    def reasons(self, turn: Turn) -> bool:
        return thinking_kind(turn.body) in ("enabled", "adaptive")

    # Refusals

    def error(
        self, status: int, message: str, kind: str = "invalid_request_error", code: str | None = None, **more: Any
    ) -> Reply:
        kind = _KINDS.get(status, "api_error" if status >= 500 else "invalid_request_error")
        body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_simulated"}
        return json_reply(status, body, {"request-id": "req_simulated", "x-should-retry": _retryable(status)})

    def failure(self, status: int, turn: Turn) -> Reply:
        if status == 402:
            return self.error(402, "There is an issue with your organization's billing.")
        return self.error(status, _MESSAGES[status]) if status in _MESSAGES else super().failure(status, turn)

    def not_a_request(self) -> Reply:
        return self.error(400, "model: Field required")

    def missing_key(self) -> Reply:
        return self.error(401, "x-api-key header is required")

    def wrong_key(self) -> Reply:
        return self.error(401, "invalid x-api-key")

    def no_money(self, turn: Turn) -> Reply:
        message = (
            "Your credit balance is too low to access the Anthropic API. "
            "Please go to Plans & Billing to upgrade or purchase credits."
        )
        return self.error(400, message)

    def unknown_model(self, model: str) -> Reply:
        return self.error(404, f"model: {model}")

    def check(self, turn: Turn) -> Reply | None:
        tokens = prompt_tokens(self.in_chat(turn.body))
        said = refusal(turn.body, turn.headers, turn.model, self.name, turn.options)
        said = said or too_long_a_prompt(turn.model, tokens)
        return self.error(400, said) if said else None

    def limited(self, exceeded: Exceeded, turn: Turn) -> Reply:
        what = exceeded.metric.replace("-", " ")
        message = (
            f"This request would exceed the rate limit for your organization ({_ORGANIZATION}) of "
            f"{exceeded.limit:,} {what} per minute. For details, refer to: "
            "https://docs.claude.com/en/api/rate-limits. You can see the response headers for current usage."
        )
        headers = self.limit_headers(turn, 0)
        left = max(0, exceeded.limit - exceeded.used)
        prefix = f"anthropic-ratelimit-{exceeded.metric}"
        headers[f"{prefix}-remaining"] = str(left if exceeded.metric is Metric.REQUESTS else _thousands(left))
        return with_headers(self.error(429, message), {"retry-after": whole_seconds(exceeded.wait), **headers})

    def refusals(self) -> Mapping[str, Callable[[Turn], Reply]]:
        spent = "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC."
        return {
            "overloaded": lambda turn: self.failure(529, turn),
            "credit": self.no_money,
            "usage_limit": lambda turn: self.error(400, spent),
            "bad_signature": lambda turn: self.error(
                400, "messages.1.content.0: Invalid `signature` in `thinking` block"
            ),
        }

    # Answers

    def counted(self, turn: Turn) -> Reply:
        if turn.model not in self.models:
            return self.unknown_model(turn.model)
        if said := malformation(turn.body, turn.headers, counting=True):
            return self.error(400, said)
        return json_reply(200, {"input_tokens": prompt_tokens(self.in_chat(turn.body))}, _identity(turn))

    def limit_headers(self, turn: Turn, tokens: int) -> dict[str, str]:
        headers = _identity(turn)
        limit, left, reset = 0, 0, 0.0
        for metric in (Metric.REQUESTS, Metric.INPUT, Metric.OUTPUT):
            state = turn.quota.state(metric, Period.MINUTE, turn.now)
            if state is None:
                continue
            remaining, clear = state.remaining, turn.now + state.clears
            if metric is not Metric.REQUESTS:
                remaining = _thousands(remaining)
                limit, left, reset = limit + state.limit, left + remaining, max(reset, clear)
            headers |= _reported(metric, state.limit, remaining, clear)
        if limit:
            headers |= _reported("tokens", limit, left, reset)
        return headers

    def completion_id(self, turn: Turn) -> str:
        return f"msg_{turn.serial:024d}"

    def call_id(self, turn: Turn, index: int) -> str:
        return f"toolu_{turn.serial:022d}{index:02d}"

    def usage(self, answer: Answer) -> dict[str, Any]:
        cached = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
        thought = {"output_tokens_details": {"thinking_tokens": answer.reasoning_tokens}} if answer.reasoning else {}
        return {"input_tokens": answer.prompt_tokens, **cached, "output_tokens": answer.completion_tokens, **thought}

    def blocks(self, answer: Answer, turn: Turn) -> Iterator[dict[str, Any]]:
        """The answer's content."""
        if answer.reasoning:
            # Who does not want to read it still has to bring it back.
            thinking = turn.body.get("thinking")
            shown = "" if isinstance(thinking, dict) and thinking.get("display") == "omitted" else answer.reasoning
            yield {"type": "thinking", "thinking": shown, "signature": seal(self.name, shown)}
        if answer.text:
            yield {"type": "text", "text": answer.text}
        for index, call in enumerate(answer.calls):
            ident = self.call_id(turn, index)
            yield {"type": "tool_use", "id": ident, "name": call.name, "input": parsed_arguments(call)}

    def message(self, answer: Answer, turn: Turn) -> dict[str, Any]:
        return {
            "id": self.completion_id(turn),
            "type": "message",
            "role": "assistant",
            "model": turn.model,
            "content": list(self.blocks(answer, turn)),
            "stop_reason": _STOPS[answer.finish],
            "stop_sequence": None,
            "usage": {**self.usage(answer), "service_tier": "standard"},
        }

    def events(self, answer: Answer, turn: Turn) -> Iterator[dict[str, Any]]:
        """All events of a stream."""
        whole = self.message(answer, turn)
        begun = {**whole, "content": [], "stop_reason": None, "usage": {**whole["usage"], "output_tokens": 1}}
        begun["usage"].pop("output_tokens_details", None)
        yield {"type": "message_start", "message": begun}
        arguments = iter(answer.calls)
        for index, block in enumerate(whole["content"]):
            match block:
                case {"type": "thinking", "thinking": text, "signature": signature}:
                    empty: dict[str, Any] = {**block, "thinking": "", "signature": ""}
                    deltas: list[dict[str, Any]] = [
                        {"type": "thinking_delta", "thinking": word} for word in words(text)
                    ]
                    deltas.append({"type": "signature_delta", "signature": signature})
                case {"type": "text", "text": text}:
                    empty = {**block, "text": ""}
                    deltas = [{"type": "text_delta", "text": word} for word in words(text)]
                case _:
                    empty = {**block, "input": {}}
                    told = next(arguments).arguments
                    half = len(told) // 2
                    # Its genuine beginning is an empty fragment; no arguments at all are only that.
                    parts = ["", told[:half], told[half:]] if block["input"] else [""]
                    deltas = [{"type": "input_json_delta", "partial_json": part} for part in parts]
            yield {"type": "content_block_start", "index": index, "content_block": empty}
            if index == 0:
                yield {"type": "ping"}
            for delta in deltas:
                yield {"type": "content_block_delta", "index": index, "delta": delta}
            yield {"type": "content_block_stop", "index": index}
        delta = {"stop_reason": whole["stop_reason"], "stop_sequence": whole["stop_sequence"]}
        yield {"type": "message_delta", "delta": delta, "usage": self.usage(answer)}
        yield {"type": "message_stop"}

    def answer(self, answer: Answer, turn: Turn) -> Reply:
        headers = self.limit_headers(turn, 0)
        if not turn.stream:
            return json_reply(200, self.message(answer, turn), headers)
        pieces = [named_event(each["type"], each) for each in self.events(answer, turn)]
        headers = {"Content-Type": self.stream_type, "Cache-Control": "no-cache", **headers}
        # The start of the message, that of a block, and a ping.
        return stream_reply(pieces, headers, 3 if answer.told else 1)

    def stream_error(self, turn: Turn, form: str) -> bytes:
        return named_event("error", self.error_in_answer(turn))

    def error_in_answer(self, turn: Turn) -> dict[str, Any]:
        return {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}

    def model_entry(self, model: str) -> dict[str, Any]:
        name = model.removesuffix("-20251001").replace("-", " ").title()
        limits = {"max_input_tokens": CONTEXT[model], "max_tokens": MAX_OUTPUT[model]}
        return {"type": "model", "id": model, "display_name": name, "created_at": "2026-01-01T00:00:00Z", **limits}

    def model_list(self, models: Mapping[str, object]) -> Reply:
        entries = [self.model_entry(model) for model in models]
        ends = {"first_id": entries[0]["id"], "last_id": entries[-1]["id"]}
        return json_reply(200, {"data": entries, "has_more": False, **ends})


def _identity(turn: Turn) -> dict[str, str]:
    return {"request-id": f"req_{turn.serial:024d}", "anthropic-organization-id": _ORGANIZATION}


def _thousands(tokens: int) -> int:
    return round(tokens / 1000) * 1000


def _reported(metric: str, limit: int, remaining: int, reset: float) -> dict[str, str]:
    at = datetime.datetime.fromtimestamp(math.ceil(reset), datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    prefix = f"anthropic-ratelimit-{metric}"
    return {f"{prefix}-limit": str(limit), f"{prefix}-remaining": str(remaining), f"{prefix}-reset": at}


def _retryable(status: int) -> str:
    return "true" if status in (408, 409, 429) or status >= 500 else "false"
