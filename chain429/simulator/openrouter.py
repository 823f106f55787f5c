"""How OpenRouter speaks, towards an account that never bought credit.

All ``:free`` models share one bucket, where failed requests count, whose day ends at midnight UTC; nothing of it is in
the headers of an answer. A refusal is the platform's, for all free models, or that of a provider behind it.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from chain429.simulator.answers import Answer
from chain429.simulator.dialect import Dialect, Turn, with_headers
from chain429.simulator.limits import Calendar, Exceeded, Limits, Metric, Period, Window
from chain429.simulator.reply import Reply, event, json_reply

_FREE = Limits(rpm=20, rpd=50)
_RETRY_SECONDS = 17


class OpenRouter(Dialect):
    name = "openrouter"
    path = "/api/v1"
    context = 131072
    counts_failures = True
    comments = (b": OPENROUTER PROCESSING\n\n",)
    knows = frozenset({(Metric.REQUESTS, Period.MINUTE), (Metric.REQUESTS, Period.DAY)})
    models = MappingProxyType(
        {
            "openai/gpt-oss-20b:free": _FREE,
            "nvidia/nemotron-3-super-120b-a12b:free": _FREE,
            "nvidia/nemotron-3-nano-30b-a3b:free": _FREE,
            "google/gemma-4-31b-it:free": _FREE,
            "google/gemma-4-26b-a4b-it:free": _FREE,
            "qwen/qwen3-coder:free": _FREE,
            "tencent/hy3:free": _FREE,
            "openrouter/free": _FREE,
        }
    )
    lists_to_all = True
    retired = frozenset({"meta-llama/llama-3.3-70b-instruct:free"})
    failures = MappingProxyType(
        {
            **Dialect.failures,
            403: ("Your chosen model requires moderation and your input was flagged.", "permission_denied", None),
            408: ("Your request timed out.", "timeout", None),
            413: ("Request payload too large.", "payload_too_large", None),
            500: ("Internal Server Error", "server", None),
            502: ("Provider returned error", "provider_unavailable", None),
            503: ("No available model provider meets your routing requirements.", "provider_overloaded", None),
        }
    )

    def bucket(self, model: str) -> str:
        return ":free" if model.endswith((":free", "/free")) else model

    def window(self, period: Period, limit: int) -> Window:
        return Calendar(limit, datetime.UTC) if period is Period.DAY else super().window(period, limit)

    def error(
        self, status: int, message: str, kind: str = "invalid_request", code: str | None = None, **more: Any
    ) -> Reply:
        metadata = {"error_type": kind, **more}
        return json_reply(status, {"error": {"message": message, "code": status, "metadata": metadata}})

    def missing_key(self) -> Reply:
        return json_reply(401, {"error": {"message": "Missing Authentication header", "code": 401}})

    def wrong_key(self) -> Reply:
        return json_reply(401, {"error": {"message": "User not found.", "code": 401}})

    def no_money(self, turn: Turn) -> Reply:
        message = (
            "This request requires more credits, or fewer max_tokens. "
            "You requested up to 2000 tokens, but can only afford 500."
        )
        return self.error(402, message, "payment_required", limit_source="openrouter_credits")

    def unknown_model(self, model: str) -> Reply:
        return json_reply(404, {"error": {"message": f"No endpoints found for {model}.", "code": 404}})

    def retired_model(self, model: str) -> Reply:
        message = (
            "This model is unavailable for free. The paid version is available now - use this slug instead: "
            f"{model.removesuffix(':free')}"
        )
        return json_reply(404, {"error": {"message": message, "code": 404}})

    def too_long(self, prompt: int, answer: int) -> Reply:
        message = (
            f"This endpoint's maximum context length is {self.context} tokens. However, you requested about "
            f"{prompt + answer} tokens ({prompt} of text input, {answer} in the output)."
        )
        return self.error(400, message, "context_length_exceeded")

    def limited(self, exceeded: Exceeded, turn: Turn) -> Reply:
        """The platform's refusal, of every free model."""
        reset = round((turn.now + min(exceeded.wait, 86400.0)) * 1000)
        headers = {
            "X-RateLimit-Limit": str(exceeded.limit),
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": str(reset),
        }
        metadata: dict[str, Any] = {"headers": headers}
        if exceeded.period is Period.DAY:
            message = (
                "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day"
            )
            metadata["limit_source"] = "openrouter_free_tier_daily"
        else:
            message = "Rate limit exceeded: free-models-per-min. "
        error = {"message": message, "code": 429, "metadata": metadata}
        return json_reply(429, {"error": error, "user_id": "user_simulated"}, headers)

    def refusals(self) -> Mapping[str, Callable[[Turn], Reply]]:
        return {
            "upstream_429": self._upstream_busy,
            "upstream_404": lambda turn: json_reply(
                404,
                {"error": {"message": "Provider returned error", "code": 404, "metadata": {"provider_name": "Venice"}}},
            ),
            "in_flight_budget": lambda turn: self.error(
                402, "In-flight budget exceeded.", "payment_required", limit_source="openrouter_in_flight_budget"
            ),
            "not_free": lambda turn: self.retired_model(turn.model),
        }

    def _upstream_busy(self, turn: Turn) -> Reply:
        wait = str(_RETRY_SECONDS)
        metadata = {
            "raw": f"{turn.model} is temporarily rate-limited upstream. Please retry shortly, or add your own key.",
            "provider_name": "Venice",
            "is_byok": False,
            "retry_after_seconds": _RETRY_SECONDS,
            "retry_after_seconds_raw": 16.007,
            "headers": {"Retry-After": wait},
        }
        error = {"message": "Provider returned error", "code": 429, "metadata": metadata}
        return with_headers(json_reply(429, {"error": error, "user_id": "user_simulated"}), {"Retry-After": wait})

    def limit_headers(self, turn: Turn, tokens: int) -> dict[str, str]:
        return {"X-Generation-Id": self.completion_id(turn)}

    def completion_id(self, turn: Turn) -> str:
        return f"gen-{int(turn.now)}-{turn.serial:020d}"

    def envelope(self, kind: str, turn: Turn) -> dict[str, Any]:
        return {
            "id": self.completion_id(turn),
            "provider": "Venice",
            "model": turn.model,
            "object": kind,
            "created": int(turn.now),
        }

    def completion(self, answer: Answer, turn: Turn) -> dict[str, Any]:
        completion = super().completion(answer, turn)
        completion["choices"][0] |= {"native_finish_reason": answer.finish, "logprobs": None}
        return completion

    def chunk(self, turn: Turn, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        delta = {"role": "assistant", "content": "", **delta}
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "native_finish_reason": finish, "logprobs": None}
        return {**self.envelope("chat.completion.chunk", turn), "choices": [choice]}

    def chunks(self, answer: Answer, turn: Turn) -> Iterator[dict[str, Any]]:
        for chunk in super().chunks(answer, turn):
            # Its usage comes with a choice in it, unlike OpenAI's.
            yield chunk if chunk["choices"] else {**self.chunk(turn, {}), "usage": chunk["usage"]}

    def stream_error(self, turn: Turn, form: str) -> bytes:
        metadata = {"error_type": "rate_limit_exceeded"}
        error = {"code": 429, "message": "Rate limit exceeded", "metadata": metadata}
        choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "error"}
        chunk = {**self.envelope("chat.completion.chunk", turn), "error": error, "choices": [choice]}
        return self.comments[0] + event(chunk)

    def error_in_answer(self, turn: Turn) -> dict[str, Any]:
        return {"error": {"message": "Provider returned error", "code": 429}}

    def model_entry(self, model: str) -> dict[str, Any]:
        return {
            "id": model,
            "name": model,
            "created": 1767225600,
            "context_length": self.context,
            "pricing": {"prompt": "0", "completion": "0"},
            "supported_parameters": ["max_tokens", "temperature", "tools", "tool_choice"],
        }

    def model_list(self, models: Mapping[str, object]) -> Reply:
        return json_reply(200, {"data": [self.model_entry(model) for model in models]})
