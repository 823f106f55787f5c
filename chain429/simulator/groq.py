"""How Groq speaks.

Limits are per model: requests per day and tokens per minute are in headers, the other two only in refusals. All of them
drain steadily: recorded waits are exactly what is over the limit, at ``limit / window`` (1529 tokens over 200 000 per
day: ``11m0.528s``). Tokens are reserved before the answer: the prompt's and ``max_completion_tokens``.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from chain429.simulator.answers import Answer
from chain429.simulator.dialect import Body, Dialect, Turn, charged_up_front, whole_seconds, with_headers
from chain429.simulator.limits import Draining, Exceeded, Limits, Metric, Period, Window
from chain429.simulator.reply import Reply, event, json_reply

_UNSUPPORTED = ("logprobs", "top_logprobs", "logit_bias")
_MESSAGE_FIELDS = frozenset({"role", "content", "tool_calls", "tool_call_id", "reasoning"})
# In headers, and the period that each metric is counted over there.
_REPORTED = ((Metric.REQUESTS, Period.DAY), (Metric.TOKENS, Period.MINUTE))
_LETTERS = {Metric.REQUESTS: "R", Metric.TOKENS: "T"}


class Groq(Dialect):
    name = "groq"
    path = "/openai/v1"
    context = 131072
    knows = frozenset((metric, period) for metric in Metric for period in (Period.MINUTE, Period.DAY))
    models = MappingProxyType(
        {
            "openai/gpt-oss-120b": Limits(rpm=30, rpd=1000, tpm=8000, tpd=200_000),
            "openai/gpt-oss-20b": Limits(rpm=30, rpd=1000, tpm=8000, tpd=200_000),
            "qwen/qwen3.6-27b": Limits(rpm=30, rpd=1000, tpm=8000),
            "groq/compound": Limits(rpm=30, rpd=250, tpm=70_000),
            "groq/compound-mini": Limits(rpm=30, rpd=250, tpm=70_000),
            "allam-2-7b": Limits(rpm=30, rpd=7000, tpm=6000, tpd=500_000),
        }
    )
    retired = frozenset({"llama-3.1-8b-instant", "llama-3.3-70b-versatile"})
    failures = MappingProxyType(
        {
            **Dialect.failures,
            403: ("Forbidden", "invalid_request_error", "forbidden"),
            498: ("Flex tier capacity exceeded.", "capacity_exceeded", "capacity_exceeded"),
            500: ("Internal Server Error", "internal_server_error", None),
            503: ("Service Unavailable", "internal_server_error", None),
        }
    )

    def window(self, period: Period, limit: int) -> Window:
        return Draining(limit, period.seconds)

    def cost(self, body: Body, answer: Answer) -> int:
        return charged_up_front(body, answer)

    def reasons(self, turn: Turn) -> bool:
        return "gpt-oss" in turn.model and "reasoning_effort" in turn.body

    def error(
        self, status: int, message: str, kind: str = "invalid_request_error", code: str | None = None, **more: Any
    ) -> Reply:
        error = {"message": message, "type": kind} | ({"code": code} if code else {}) | more
        return json_reply(status, {"error": error})

    def wrong_key(self) -> Reply:
        return self.error(401, "Invalid API Key", code="invalid_api_key")

    def retired_model(self, model: str) -> Reply:
        message = (
            f"The model `{model}` has been decommissioned and is no longer supported. "
            "Please refer to https://console.groq.com/docs/deprecations for what to use instead."
        )
        return self.error(400, message, code="model_decommissioned")

    def too_long(self, prompt: int, answer: int) -> Reply:
        message = "Please reduce the length of the messages or completion."
        return self.error(400, message, code="context_length_exceeded", param="messages")

    def check(self, turn: Turn) -> Reply | None:
        body = turn.body
        for field in _UNSUPPORTED:
            if body.get(field) not in (None, False, {}):
                return self.error(400, f"property '{field}' is unsupported")
        if body.get("n") not in (None, 1):
            return self.error(400, "'n' : number must be at most 1")
        for index, message in enumerate(body["messages"]):
            known = _MESSAGE_FIELDS | {"name"} if message["role"] == "tool" else _MESSAGE_FIELDS
            fields = [field for field in message if field not in known]
            for field in fields:
                place = f"'messages.{index}'"
                unmet = f"({place} : property '{field}' is unsupported)"
                text = f"{place} : for 'role:{message['role']}' the following must be satisfied[{unmet}]"
                return self.error(400, text)
        return None

    def limited(self, exceeded: Exceeded, turn: Turn) -> Reply:
        too_large = math.isinf(exceeded.wait)
        short = f"{_LETTERS[exceeded.metric]}P{exceeded.period[0].upper()}"
        start = (
            f"{'Request too large' if too_large else 'Rate limit reached'} for model `{turn.model}` in organization "
            f"`org_simulated` service tier `on_demand` on {exceeded.metric} per {exceeded.period} ({short}): "
            f"Limit {exceeded.limit}, "
        )
        if too_large:
            text = f"{start}Requested {exceeded.requested}, please reduce your message size and try again."
            # Its genuine mistake: a wait that never helps.
            exceeded = replace(exceeded, wait=turn.minute)
        else:
            wait = go_duration(exceeded.wait)
            text = (
                f"{start}Used {exceeded.used}, Requested {exceeded.requested}. Please try again in {wait}. "
                "Need more tokens? Upgrade to Dev Tier today at https://console.groq.com/settings/billing"
            )
        reply = self.error(413 if too_large else 429, text, exceeded.metric, "rate_limit_exceeded")
        headers = self.limit_headers(turn, 0)
        if (exceeded.metric, exceeded.period) in _REPORTED and not too_large:
            headers[f"x-ratelimit-remaining-{exceeded.metric}"] = str(max(0, exceeded.limit - exceeded.used))
        return with_headers(reply, {"retry-after": whole_seconds(exceeded.wait), **headers})

    def refusals(self) -> Mapping[str, Callable[[Turn], Reply]]:
        failed = "Failed to call a function. Please adjust your prompt. See 'failed_generation' for more details."
        return {
            "capacity": lambda turn: self.failure(498, turn),
            "decommissioned": lambda turn: self.retired_model(turn.model),
            "tool_use_failed": lambda turn: self.error(
                400, failed, code="tool_use_failed", failed_generation="<function=x>{</function>"
            ),
        }

    def limit_headers(self, turn: Turn, tokens: int) -> dict[str, str]:
        headers = {"x-request-id": _request_id(turn)}
        for metric, period in _REPORTED:
            if state := turn.quota.state(metric, period, turn.now):
                headers[f"x-ratelimit-limit-{metric}"] = str(state.limit)
                headers[f"x-ratelimit-remaining-{metric}"] = str(state.remaining)
                headers[f"x-ratelimit-reset-{metric}"] = go_duration(state.clears)
        return headers

    def completion_id(self, turn: Turn) -> str:
        return f"chatcmpl-{uuid.UUID(int=turn.serial)}"

    def usage(self, answer: Answer) -> dict[str, Any]:
        return {
            "queue_time": 0.001,
            "prompt_tokens": answer.prompt_tokens,
            "prompt_time": 0.002,
            "completion_tokens": answer.completion_tokens,
            "completion_time": 0.01,
            "total_tokens": answer.prompt_tokens + answer.completion_tokens,
            "total_time": 0.012,
        }

    def envelope(self, kind: str, turn: Turn) -> dict[str, Any]:
        return {**super().envelope(kind, turn), "system_fingerprint": "fp_simulated"}

    def completion(self, answer: Answer, turn: Turn) -> dict[str, Any]:
        return {**super().completion(answer, turn), "x_groq": {"id": _request_id(turn)}, "service_tier": "on_demand"}

    def chunks(self, answer: Answer, turn: Turn) -> Iterator[dict[str, Any]]:
        for chunk in super().chunks(answer, turn):
            for choice in chunk["choices"]:
                choice["logprobs"] = None
                if "role" in choice["delta"]:
                    chunk["x_groq"] = {"id": _request_id(turn)}
                if choice["finish_reason"]:
                    usage = self.usage(answer)
                    chunk |= {"x_groq": {"id": _request_id(turn), "usage": usage}, "usage": usage}
            yield chunk

    def stream_error(self, turn: Turn, form: str) -> bytes:
        error = {
            "message": f"{turn.model} is currently over capacity. Please try again and back off exponentially.",
            "type": "internal_server_error",
            "code": "over_capacity",
        }
        if form == "text":
            return event({"error": error["message"]})
        if form == "x_groq":
            chunk = self.chunk(turn, {}, None)
            return event({**chunk, "x_groq": {"id": _request_id(turn), "error": error["message"]}})
        return event({"error": error})

    def model_entry(self, model: str) -> dict[str, Any]:
        return {**super().model_entry(model), "active": True, "context_window": self.context}


def _request_id(turn: Turn) -> str:
    return f"req_{turn.serial:026d}"


def go_duration(seconds: float) -> str:
    """A duration as Go prints it, to the millisecond: ``194ms``, ``7.66s``, ``2m59.56s``, ``24h0m0s``."""
    ms = max(0, round(min(seconds, 400 * 86400.0) * 1000))
    if 0 < ms < 1000:
        return f"{ms}ms"
    minutes, ms = divmod(ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{ms / 1000:g}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{hours}h{text}" if hours else text
