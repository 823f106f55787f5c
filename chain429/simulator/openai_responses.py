"""How a provider speaks that has OpenAI's Responses API, and nothing else.

Limits are requests and tokens per minute, as OpenAI has and reports them: both in headers, with resets as Go prints
durations. What a request may look like is in ``responses_checks``, as strict as the real one. Nothing is kept: no
answer can be referred to later, and reasoning is brought back as ``encrypted_content``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from chain429.simulator.answers import Answer, Call, parsed_arguments, words
from chain429.simulator.dialect import Body, Dialect, Turn, whole_seconds, with_headers
from chain429.simulator.groq import go_duration
from chain429.simulator.limits import Draining, Exceeded, Limits, Metric, Period, Window
from chain429.simulator.reply import Reply, json_reply, named_event, stream_reply
from chain429.simulator.responses_checks import fault
from chain429.simulator.responses_items import functions_among, messages_in_chat, offered, tool_named
from chain429.simulator.seals import wrap

_LETTERS = {Metric.REQUESTS: ("requests", "RPM"), Metric.TOKENS: ("tokens", "TPM")}
Event = dict[str, Any]


class OpenAIResponses(Dialect):
    name = "openai-responses"
    path = "/v1"
    endpoint = "/responses"
    context = 400_000
    stream_type = "text/event-stream; charset=utf-8"
    knows = frozenset((metric, Period.MINUTE) for metric in _LETTERS)
    models = MappingProxyType(
        {
            "gpt-5.4-mini": Limits(rpm=500, tpm=500_000),
            "gpt-5-mini": Limits(rpm=500, tpm=500_000),
            "gpt-4.1-mini": Limits(rpm=500, tpm=200_000),
        }
    )
    retired = frozenset({"o1-mini"})
    options = MappingProxyType({})

    def malformed(self, turn: Turn) -> Reply | None:
        found = fault(turn.body, self.name, reasoning_model=_reasons(turn.model))
        return self.error(400, found.message, code=found.code, param=found.param) if found else None

    def in_chat(self, body: Body) -> Body:
        chat: dict[str, Any] = {"messages": list(messages_in_chat(body)) or [{"role": "user", "content": ""}]}
        if body.get("max_output_tokens"):
            chat["max_tokens"] = body["max_output_tokens"]
        if tools := [{"type": "function", "function": function} for function in functions_among(offered(body))]:
            chat["tools"] = tools
        match body.get("tool_choice"):
            case {"type": "function" | "custom", "name": str(name)}:
                chat["tool_choice"] = {"type": "function", "function": {"name": name}}
            case str(choice):
                chat["tool_choice"] = choice
        return chat

    def window(self, period: Period, limit: int) -> Window:
        return Draining(limit, period.seconds)

    def reasons(self, turn: Turn) -> bool:
        reasoning = turn.body.get("reasoning")
        wanted = isinstance(reasoning, dict) and reasoning.get("effort") != "none" and any(reasoning.values())
        return wanted and _reasons(turn.model)

    # Refusals

    def error(
        self, status: int, message: str, kind: str = "invalid_request_error", code: str | None = None, **more: Any
    ) -> Reply:
        reply = super().error(status, message, kind, code, **more)
        return with_headers(reply, {"x-request-id": "req_simulated"})

    def no_money(self, turn: Turn) -> Reply:
        message = (
            "You exceeded your current quota, please check your plan and billing details. For more information on "
            "this error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors."
        )
        return self.error(429, message, "insufficient_quota", "insufficient_quota")

    def unknown_model(self, model: str) -> Reply:
        message = f"The requested model '{model}' does not exist."
        return self.error(400, message, code="model_not_found", param="model")

    def too_long(self, prompt: int, answer: int) -> Reply:
        message = "Your input exceeds the context window of this model. Please adjust your input and try again."
        return self.error(400, message, code="context_length_exceeded", param="input")

    def limited(self, exceeded: Exceeded, turn: Turn) -> Reply:
        what, letters = _LETTERS[exceeded.metric]
        message = (
            f"Rate limit reached for {turn.model} in organization org-simulated on {what} per min ({letters}): "
            f"Limit {exceeded.limit}, Used {exceeded.used}, Requested {exceeded.requested}. "
            f"Please try again in {go_duration(exceeded.wait)}. "
            "Visit https://platform.openai.com/account/rate-limits to learn more."
        )
        headers = self.limit_headers(turn, 0)
        headers[f"x-ratelimit-remaining-{what}"] = str(max(0, exceeded.limit - exceeded.used))
        reply = self.error(429, message, what, "rate_limit_exceeded")
        # Milliseconds come only with the refusal, and before the seconds.
        wait = {"retry-after-ms": str(round(min(exceeded.wait, 86400.0) * 1000))}
        return with_headers(reply, {**wait, "retry-after": whole_seconds(exceeded.wait), **headers})

    def refusals(self) -> Mapping[str, Callable[[Turn], Reply]]:
        return {
            "bad_encrypted_content": lambda turn: self.error(
                400,
                "The encrypted content for item rs_1 could not be verified. "
                "Reason: Encrypted content could not be decrypted or parsed.",
                code="invalid_encrypted_content",
            )
        }

    # Answers

    def limit_headers(self, turn: Turn, tokens: int) -> dict[str, str]:
        headers = {"x-request-id": f"req_{turn.serial:032x}", "openai-organization": "org-simulated"}
        for metric, (what, _) in _LETTERS.items():
            if state := turn.quota.state(metric, Period.MINUTE, turn.now):
                headers[f"x-ratelimit-limit-{what}"] = str(state.limit)
                headers[f"x-ratelimit-remaining-{what}"] = str(state.remaining)
                headers[f"x-ratelimit-reset-{what}"] = go_duration(state.clears)
        return headers

    def usage(self, answer: Answer) -> dict[str, Any]:
        return {
            "input_tokens": answer.prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": answer.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": answer.reasoning_tokens},
            "total_tokens": answer.prompt_tokens + answer.completion_tokens,
        }

    def items(self, answer: Answer, turn: Turn) -> Iterator[dict[str, Any]]:
        """The answer's output, item by item."""
        ident = f"{turn.serial:048x}"
        if answer.reasoning:
            summary = [{"type": "summary_text", "text": answer.reasoning}]
            item = {"id": f"rs_{ident}", "type": "reasoning", "summary": summary}
            if "reasoning.encrypted_content" in (turn.body.get("include") or ()):
                item["encrypted_content"] = wrap(self.name, answer.reasoning)
            yield item
        if answer.text:
            part = {"type": "output_text", "annotations": [], "logprobs": [], "text": answer.text}
            status = "incomplete" if answer.cut else "completed"
            yield {"id": f"msg_{ident}", "type": "message", "status": status, "role": "assistant", "content": [part]}
        for index, call in enumerate(answer.calls):
            yield self._call_item(call, turn, index)

    def _call_item(self, call: Call, turn: Turn, index: int) -> dict[str, Any]:
        ident = f"{turn.serial:046x}{index:02x}"
        namespace, tool = tool_named(offered(turn.body), call.name)
        common = {"status": "completed", "call_id": self.call_id(turn, index), "name": call.name}
        if namespace:
            common["namespace"] = namespace
        if tool.get("type") == "custom":
            text = parsed_arguments(call).get("input", "")
            return {"id": f"ctc_{ident}", "type": "custom_tool_call", **common, "input": str(text)}
        return {"id": f"fc_{ident}", "type": "function_call", **common, "arguments": call.arguments}

    def response(self, answer: Answer, turn: Turn) -> dict[str, Any]:
        body = turn.body
        asked = body.get("reasoning")
        reasoning = {"effort": None, "summary": None, **(asked if isinstance(asked, dict) else {})}
        return {
            "id": f"resp_{turn.serial:048x}",
            "object": "response",
            "created_at": int(turn.now),
            "status": "incomplete" if answer.cut else "completed",
            "background": False,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if answer.cut else None,
            "instructions": body.get("instructions"),
            "max_output_tokens": body.get("max_output_tokens"),
            "model": turn.model,
            "output": list(self.items(answer, turn)),
            "parallel_tool_calls": body.get("parallel_tool_calls", True),
            "previous_response_id": None,
            "reasoning": reasoning,
            "store": body.get("store", True),
            "temperature": body.get("temperature", 1.0),
            "text": body.get("text") or {"format": {"type": "text"}},
            "tool_choice": body.get("tool_choice") or "auto",
            "tools": body.get("tools") or [],
            "top_p": body.get("top_p", 1.0),
            "truncation": "disabled",
            "usage": self.usage(answer),
            "user": None,
            "metadata": body.get("metadata") or {},
        }

    def events(self, answer: Answer, turn: Turn) -> Iterator[Event]:
        """All events of a stream, but for their numbers."""
        whole = self.response(answer, turn)
        begun = {**whole, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
        yield {"type": "response.created", "response": begun}
        yield {"type": "response.in_progress", "response": begun}
        for index, item in enumerate(whole["output"]):
            yield from _item_events(item, index)
        yield {"type": f"response.{whole['status']}", "response": whole}

    def answer(self, answer: Answer, turn: Turn) -> Reply:
        headers = self.limit_headers(turn, self.cost(turn.body, answer))
        if not turn.stream:
            return json_reply(200, self.response(answer, turn), headers)
        pieces = [
            named_event(event["type"], {**event, "sequence_number": number})
            for number, event in enumerate(self.events(answer, turn))
        ]
        headers = {"Content-Type": self.stream_type, "Cache-Control": "no-cache", **headers}
        # The response twice, and where text follows the item and its part; a call that is begun is meaningful.
        return stream_reply(pieces, headers, 4 if answer.reasoning or answer.text else 2)

    def stream_error(self, turn: Turn, form: str) -> bytes:
        """The event ``error``, or ``response.failed`` in the form ``failed``."""
        error = {"code": "server_error", "message": "The server had an error while processing your request."}
        if form == "failed":
            response = {"id": f"resp_{turn.serial:048x}", "object": "response", "created_at": int(turn.now)}
            response |= {"status": "failed", "model": turn.model, "output": [], "error": error, "usage": None}
            return named_event("response.failed", {"type": "response.failed", "response": response})
        return named_event("error", {"type": "error", **error, "param": None})


def _item_events(item: dict[str, Any], index: int) -> Iterator[Event]:
    """One item: added, filled, done."""
    place = {"item_id": item["id"], "output_index": index}

    def added(**empty: Any) -> Event:
        status = {"status": "in_progress"} if "status" in item else {}
        return {"type": "response.output_item.added", "output_index": index, "item": {**item, **status, **empty}}

    match item:
        case {"type": "reasoning", "summary": [{"text": text} as part]}:
            here = {**place, "summary_index": 0}
            yield added(summary=[])
            yield {"type": "response.reasoning_summary_part.added", **here, "part": {**part, "text": ""}}
            for word in words(text):
                yield {"type": "response.reasoning_summary_text.delta", **here, "delta": word}
            yield {"type": "response.reasoning_summary_text.done", **here, "text": text}
            yield {"type": "response.reasoning_summary_part.done", **here, "part": part}
        case {"type": "message", "content": [{"text": text} as part]}:
            here = {**place, "content_index": 0}
            yield added(content=[])
            yield {"type": "response.content_part.added", **here, "part": {**part, "text": ""}}
            for word in words(text):
                yield {"type": "response.output_text.delta", **here, "delta": word, "logprobs": []}
            yield {"type": "response.output_text.done", **here, "text": text, "logprobs": []}
            yield {"type": "response.content_part.done", **here, "part": part}
        case {"type": "function_call", "arguments": arguments}:
            yield added(arguments="")
            half = len(arguments) // 2
            for fragment in (arguments[:half], arguments[half:]):
                yield {"type": "response.function_call_arguments.delta", **place, "delta": fragment}
            yield {"type": "response.function_call_arguments.done", **place, "arguments": arguments}
        case {"type": "custom_tool_call", "input": text}:
            yield added(input="")
            yield {"type": "response.custom_tool_call_input.delta", **place, "delta": text}
            yield {"type": "response.custom_tool_call_input.done", **place, "input": text}
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _reasons(model: str) -> bool:
    return model.startswith("gpt-5")
