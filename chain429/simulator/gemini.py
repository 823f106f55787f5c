"""How Gemini speaks on its OpenAI-compatible path.

No header says anything of its limits. Errors come in an array. The day ends at midnight in California, and a refusal
for the day names a wait of seconds all the same. A streamed tool call has no index and ends with ``stop``.
"""

from __future__ import annotations

import math
import zoneinfo
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from chain429.simulator.answers import Answer, Call, words
from chain429.simulator.dialect import Body, Dialect, Turn
from chain429.simulator.limits import Calendar, Exceeded, Limits, Metric, Period, Window
from chain429.simulator.reply import Reply, event, json_reply

_MESSAGE_FIELDS = frozenset({"role", "content", "name", "tool_calls", "tool_call_id"})
_KNOWN = frozenset(
    [
        "model",
        "messages",
        "stream",
        "stream_options",
        "temperature",
        "top_p",
        "max_tokens",
        "max_completion_tokens",
        "n",
        "stop",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "reasoning_effort",
        "frequency_penalty",
        "presence_penalty",
        "seed",
        "logprobs",
        "top_logprobs",
        "modalities",
        "audio",
        "extra_body",
    ]
)
_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_METRICS = {
    Metric.REQUESTS: "generativelanguage.googleapis.com/generate_content_free_tier_requests",
    Metric.TOKENS: "generativelanguage.googleapis.com/generate_content_free_tier_input_token_count",
}
_QUOTAS = {
    (Metric.REQUESTS, Period.DAY): "GenerateRequestsPerDayPerProjectPerModel-FreeTier",
    (Metric.REQUESTS, Period.MINUTE): "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
    (Metric.TOKENS, Period.MINUTE): "GenerateContentInputTokensPerModelPerMinute-FreeTier",
}
_GOOGLE = "type.googleapis.com/google.rpc."
_FLASH = Limits(rpm=5, rpd=20, tpm=250_000)


class Gemini(Dialect):
    name = "gemini"
    path = "/v1beta/openai"
    context = 1_048_576
    role_chunk = False
    knows = frozenset(_QUOTAS)
    models = MappingProxyType(
        {
            "gemini-3.5-flash": _FLASH,
            "gemini-3-flash-preview": _FLASH,
            "gemini-2.5-flash": _FLASH,
            "gemini-3.1-flash-lite": Limits(rpm=15, rpd=500, tpm=250_000),
            "gemini-2.5-flash-lite": Limits(rpm=10, rpd=20, tpm=250_000),
            "gemma-3-27b-it": Limits(rpm=30, rpd=14_400, tpm=15_000),
        }
    )
    failures = MappingProxyType(
        {
            **Dialect.failures,
            403: ("Permission denied: Consumer has been suspended.", "", None),
            500: ("An internal error has occurred. Please retry or report.", "", None),
            503: ("The model is overloaded. Please try again later.", "", None),
        }
    )

    def model_of(self, body: Body) -> str:
        return super().model_of(body).removeprefix("models/")

    def window(self, period: Period, limit: int) -> Window:
        if period is Period.DAY:
            return Calendar(limit, zoneinfo.ZoneInfo("America/Los_Angeles"))
        return super().window(period, limit)

    def cost(self, body: Body, answer: Answer) -> int:
        return answer.prompt_tokens

    def error(self, status: int, message: str, kind: str = "", code: str | None = None, **more: Any) -> Reply:
        error = {"code": status, "message": message, "status": _STATUS.get(status, "UNKNOWN"), **more}
        return json_reply(status, [{"error": error}])

    def missing_key(self) -> Reply:
        return self.error(400, "Missing or invalid Authorization header.")

    def wrong_key(self) -> Reply:
        info = {
            "@type": f"{_GOOGLE}ErrorInfo",
            "reason": "API_KEY_INVALID",
            "domain": "googleapis.com",
            "metadata": {"service": "generativelanguage.googleapis.com"},
        }
        return self.error(400, "API key not valid. Please pass a valid API key.", details=[info])

    def no_money(self, turn: Turn) -> Reply:
        """Its way to say that a model has no free tier: a limit of 0."""
        return self.limited(Exceeded(Metric.REQUESTS, Period.DAY, 0, 0, 1, math.inf), turn)

    def unknown_model(self, model: str) -> Reply:
        message = (
            f"models/{model} is not found for API version v1main, or is not supported for generateContent. "
            "Call ListModels to see the list of available models and their supported methods."
        )
        return self.error(404, message)

    def too_long(self, prompt: int, answer: int) -> Reply:
        limit = (self.context or 0) - 1
        message = f"The input token count ({prompt}) exceeds the maximum number of tokens allowed ({limit})."
        return self.error(400, message)

    def check(self, turn: Turn) -> Reply | None:
        unknown = [f'"{field}"' for field in turn.body if field not in _KNOWN]
        for index, message in enumerate(turn.body["messages"]):
            unknown += [f"\"{field}\" at 'messages[{index}]'" for field in message if field not in _MESSAGE_FIELDS]
        if unknown:
            lines = [f"Invalid JSON payload received. Unknown name {name}: Cannot find field." for name in unknown]
            violations = [{"description": line} for line in lines]
            details = [{"@type": f"{_GOOGLE}BadRequest", "fieldViolations": violations}]
            return self.error(400, "\n".join(lines), details=details)
        if turn.model.startswith("gemini-3") and (call := _unsigned_call(turn.body["messages"])) is not None:
            message = (
                "Function call is missing a thought_signature in functionCall parts. "
                f"This is required for tools to work correctly: function call `{call}`."
            )
            return self.error(400, message)
        return None

    def limited(self, exceeded: Exceeded, turn: Turn) -> Reply:
        # The time until its minute is over, which for a daily limit is a lie that callers must see through.
        wait = turn.minute - turn.now % turn.minute if exceeded.period is Period.DAY else exceeded.wait
        wait = min(wait, turn.minute)
        metric = _METRICS[exceeded.metric]
        message = (
            "You exceeded your current quota, please check your plan and billing details. "
            f"\n* Quota exceeded for metric: {metric}, limit: {exceeded.limit}, model: {turn.model}"
            f"\nPlease retry in {wait:.6g}s."
        )
        violation = {
            "quotaMetric": metric,
            "quotaId": _QUOTAS.get((exceeded.metric, exceeded.period), _QUOTAS[Metric.REQUESTS, Period.DAY]),
            "quotaDimensions": {"location": "global", "model": turn.model},
            "quotaValue": str(exceeded.limit),
        }
        link = {
            "description": "Learn more about Gemini API quotas",
            "url": "https://ai.google.dev/gemini-api/docs/rate-limits",
        }
        details = [
            {"@type": f"{_GOOGLE}Help", "links": [link]},
            {"@type": f"{_GOOGLE}QuotaFailure", "violations": [violation]},
            {"@type": f"{_GOOGLE}RetryInfo", "retryDelay": f"{int(wait)}s"},
        ]
        return self.error(429, message, details=details)

    def refusals(self) -> Mapping[str, Callable[[Turn], Reply]]:
        return {"no_free_tier": self.no_money}

    def completion_id(self, turn: Turn) -> str:
        return f"{turn.serial:022d}"

    def call_id(self, turn: Turn, index: int) -> str:
        return f"function-call-{turn.serial:018d}{index:02d}"

    def call(self, turn: Turn, index: int, call: Call) -> dict[str, Any]:
        whole = super().call(turn, index, call)
        if turn.model.startswith("gemini-3") and index == 0:
            whole = {"extra_content": {"google": {"thought_signature": f"signature{turn.serial:011d}"}}, **whole}
        return whole

    def chunk(self, turn: Turn, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice: dict[str, Any] = {"delta": {"role": "assistant", **delta}, "index": 0}
        if finish:
            choice["finish_reason"] = finish
        return {"choices": [choice], **self.envelope("chat.completion.chunk", turn)}

    def chunks(self, answer: Answer, turn: Turn) -> Iterator[dict[str, Any]]:
        usage = {"usage": self.usage(answer)} if turn.include_usage else {}
        for word in words(answer.reasoning):
            yield {**self.chunk(turn, {"reasoning": word}), **usage}
        for word in words(answer.text):
            yield {**self.chunk(turn, {"content": word}), **usage}
        for index, call in enumerate(answer.calls):
            yield {**self.chunk(turn, {"tool_calls": [self.call(turn, index, call)]}), **usage}
        yield {**self.chunk(turn, {}, "stop" if answer.calls else answer.finish), **usage}

    def stream_error(self, turn: Turn, form: str) -> bytes:
        return event(self.error_in_answer(turn))

    def error_in_answer(self, turn: Turn) -> dict[str, Any]:
        return {"error": {"code": 503, "message": self.failures[503][0], "status": "UNAVAILABLE"}}

    def model_entry(self, model: str) -> dict[str, Any]:
        return {"id": f"models/{model}", "object": "model", "owned_by": "google"}


def _unsigned_call(messages: list[dict[str, Any]]) -> str | None:
    """The name of a tool call since the last user message that lost its signature; only the first of a turn has one."""
    for message in reversed(messages):
        if message["role"] == "user":
            break
        if calls := message.get("tool_calls"):
            extra = calls[0].get("extra_content")
            google = extra.get("google") if isinstance(extra, dict) else None
            if not (isinstance(google, dict) and google.get("thought_signature")):
                return str(calls[0]["function"]["name"])
    return None
