"""How Cerebras speaks.

Everything about its limits is in headers, except when it refuses: a 429 has a flat body and a wait of a minute,
whichever limit it was. Tokens are reserved before the answer: the prompt's and ``max_completion_tokens``.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from chain429.simulator.answers import Answer
from chain429.simulator.dialect import Body, Dialect, Turn, charged_up_front, whole_seconds, with_headers
from chain429.simulator.limits import Exceeded, Limits, Metric, Period
from chain429.simulator.reply import Reply, event, json_reply

_FREE = Limits(rpm=5, rph=150, rpd=2400, tpm=30_000, tph=1_000_000, tpd=1_000_000)
_UNSUPPORTED = ("frequency_penalty", "presence_penalty", "logit_bias", "service_tier")
_MESSAGE_FIELDS = frozenset({"role", "content", "name", "tool_calls", "tool_call_id", "reasoning"})


class Cerebras(Dialect):
    name = "cerebras"
    path = "/v1"
    context = 65536
    stream_type = "text/event-stream; charset=utf-8"
    models = MappingProxyType({"gpt-oss-120b": _FREE, "gemma-4-31b": _FREE})
    retired = frozenset({"zai-glm-4.7"})
    failures = MappingProxyType(
        {
            **Dialect.failures,
            402: ("Payment required to access this resource.", "payment_required_error", "payment_required"),
            403: ("You do not have access to this resource.", "permission_error", "forbidden"),
            500: ("Encountered a server error, please try again.", "server_error", ""),
            503: ("Service temporarily unavailable.", "server_error", ""),
        }
    )

    def cost(self, body: Body, answer: Answer) -> int:
        return charged_up_front(body, answer)

    def reasons(self, turn: Turn) -> bool:
        return "gpt-oss" in turn.model and "reasoning_effort" in turn.body

    def error(
        self, status: int, message: str, kind: str = "invalid_request_error", code: str | None = None, **more: Any
    ) -> Reply:
        error = {"message": message, "type": kind, "param": "", "code": code or "", **more}
        if status >= 500:
            return json_reply(status, {"status_code": status, "error": {**error, "id": ""}})
        return json_reply(status, error)

    def wrong_key(self) -> Reply:
        return self.error(401, "Wrong API Key", code="wrong_api_key", param="api_key")

    def no_money(self, turn: Turn) -> Reply:
        return self.error(402, *self.failures[402])

    def unknown_model(self, model: str) -> Reply:
        message = f"Model {model} does not exist or you do not have access to it."
        return self.error(404, message, "not_found_error", "model_not_found", param="model")

    def retired_model(self, model: str) -> Reply:
        return self.error(404, f"Model {model} is archived.", "not_found_error", "model_archived", param="model")

    def too_long(self, prompt: int, answer: int) -> Reply:
        message = (
            "Please reduce the length of the messages or completion. "
            f"Current length is {prompt + answer} while limit is {self.context}"
        )
        return self.error(400, message, code="context_length_exceeded", param="messages")

    def check(self, turn: Turn) -> Reply | None:
        body = turn.body
        fields = [field for field in _UNSUPPORTED if field in body]
        if "reasoning_effort" in body and "gpt-oss" not in turn.model:
            fields.append("reasoning_effort")
        for index, message in enumerate(body["messages"]):
            if message["role"] == "developer":
                return self._wrong_format(f"messages.{index}.role: 'developer' is not one of the allowed roles")
            place = f"messages.{index}.{message['role']}"
            fields.extend(f"{place}.{field}" for field in message if field not in _MESSAGE_FIELDS)
        # Fields of the body are named with it, fields of messages without.
        places = [field if field.startswith("messages.") else f"body.{field}" for field in fields]
        if not places:
            return None
        return self._wrong_format("\n".join(f"{place}: property '{place}' is unsupported" for place in places))

    def _wrong_format(self, message: str) -> Reply:
        return self.error(400, message, code="wrong_api_format", param="validation_error")

    def limited(self, exceeded: Exceeded, turn: Turn) -> Reply:
        if exceeded.metric is Metric.REQUESTS:
            what, code = "too many requests sent", "request_quota_exceeded"
        else:
            what, code = "too many tokens processed", "token_quota_exceeded"
        message = f"{exceeded.metric.capitalize()} per {exceeded.period} limit exceeded - {what}."
        reply = self.error(429, message, "too_many_requests_error", code, param="quota")
        return with_headers(reply, {"retry-after": whole_seconds(turn.minute)})

    def refusals(self) -> Mapping[str, Callable[[Turn], Reply]]:
        message = "We're experiencing high traffic right now! Please try again soon."
        return {
            "queue": lambda turn: with_headers(
                self.error(429, message, "too_many_requests_error", "queue_exceeded", param="queue"),
                {"x-should-retry": "false"},
            )
        }

    def limit_headers(self, turn: Turn, tokens: int) -> dict[str, str]:
        headers = {}
        for metric in Metric:
            for period in Period:
                if state := turn.quota.state(metric, period, turn.now):
                    headers[f"x-ratelimit-limit-{metric}-{period}"] = str(state.limit)
                    headers[f"x-ratelimit-remaining-{metric}-{period}"] = str(state.remaining)
        return headers

    def model_list(self, models: Mapping[str, object]) -> Reply:
        # It lists what it has archived as well.
        return super().model_list({**models, **dict.fromkeys(self.retired)})

    def completion_id(self, turn: Turn) -> str:
        return f"chatcmpl-{uuid.UUID(int=turn.serial)}"

    def envelope(self, kind: str, turn: Turn) -> dict[str, Any]:
        return {**super().envelope(kind, turn), "system_fingerprint": "fp_simulated"}

    def completion(self, answer: Answer, turn: Turn) -> dict[str, Any]:
        return {**super().completion(answer, turn), "time_info": _times(turn)}

    def chunks(self, answer: Answer, turn: Turn) -> Iterator[dict[str, Any]]:
        for chunk in super().chunks(answer, turn):
            if chunk["choices"] and chunk["choices"][0]["finish_reason"]:
                chunk["time_info"] = _times(turn)
            yield chunk

    def stream_error(self, turn: Turn, form: str) -> bytes:
        error = {"message": self.failures[500][0], "type": "server_error", "param": "", "code": "", "id": ""}
        return event({"status_code": 500, "error": error})

    def error_in_answer(self, turn: Turn) -> dict[str, Any]:
        error = {"message": self.failures[500][0], "type": "server_error", "param": "", "code": "", "id": ""}
        return {"status_code": 500, "error": error}


def _times(turn: Turn) -> dict[str, float]:
    return {
        "queue_time": 0.001,
        "prompt_time": 0.002,
        "completion_time": 0.01,
        "total_time": 0.013,
        "created": turn.now,
    }
