"""How one provider speaks: the base of all dialects, which is plain Chat Completions as OpenAI documents it.

A dialect holds a provider's facts (models, free limits, how it counts) and shapes (headers, bodies, chunks); one module
per provider overrides what is its own. No state, no clock, no sockets: who calls, and what is used, comes in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, ClassVar

from chain429.simulator.answers import Answer, Call, max_tokens, words
from chain429.simulator.beside import complete, embed
from chain429.simulator.chat_checks import conversation_fault, malformation
from chain429.simulator.limits import Exceeded, Limits, Metric, Period, Quota, Rolling, Window
from chain429.simulator.reply import DONE, Reply, event, json_reply, stream_reply

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Turn:
    """One request, as far as a dialect needs it. ``minute``: the real seconds that a provider's minute takes.

    ``headers`` have lower-case names; ``options`` are the provider's, see ``Dialect.options``.
    """

    serial: int
    model: str
    body: Body
    now: float
    minute: float
    quota: Quota
    headers: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, bool] = field(default_factory=dict)

    @property
    def stream(self) -> bool:
        return self.body.get("stream") is True

    @property
    def include_usage(self) -> bool:
        options = self.body.get("stream_options")
        return isinstance(options, dict) and options.get("include_usage") is True


class Dialect:
    """Plain Chat Completions. Subclasses set the class variables and override the shapes that are their own."""

    name: ClassVar[str]
    path: ClassVar[str]  # of the base URL
    endpoint: ClassVar[str] = "/chat/completions"  # where it takes requests, below that
    count_endpoint: ClassVar[str | None] = None  # where it tells how many tokens a request is
    others: ClassVar[Mapping[str, Callable[[Dialect, Turn], Reply]]] = MappingProxyType({})  # what else it answers
    models: ClassVar[Mapping[str, Limits]]  # with the limits of the bucket that each counts in
    retired: ClassVar[frozenset[str]] = frozenset()  # models that are gone
    needs_key: ClassVar[bool] = True
    lists_to_all: ClassVar[bool] = False  # its list of models wants no key
    context: ClassVar[int | None] = None  # tokens that prompt and answer must fit
    counts_failures: ClassVar[bool] = False  # a request that fails still counts against the limits
    role_chunk: ClassVar[bool] = True  # a stream begins with a chunk that has a role and no text
    comments: ClassVar[tuple[bytes, ...]] = ()  # what a stream sends before its first event
    stream_type: ClassVar[str] = "text/event-stream"
    knows: ClassVar[frozenset[tuple[Metric, Period]]] = frozenset(
        (metric, period) for metric in (Metric.REQUESTS, Metric.TOKENS) for period in Period
    )
    # What can be switched, with what holds at the start. ``strict``: conversations are checked as the real one does.
    options: ClassVar[Mapping[str, bool]] = MappingProxyType({"strict": True})
    # Models with one of these in their names take no images.
    blind: ClassVar[tuple[str, ...]] = ("gpt-oss", "nemotron", "compound", "allam", "codestral", "devstral", "glm")
    # What it says with a status, where it says something of its own: message, type, code.
    failures: ClassVar[Mapping[int, tuple[str, str, str | None]]] = MappingProxyType(
        {
            400: ("Invalid request.", "invalid_request_error", None),
            413: ("Request too large.", "invalid_request_error", "request_too_large"),
            429: ("Rate limit exceeded.", "rate_limit_error", None),
        }
    )

    # Reading

    def key_of(self, headers: Mapping[str, str]) -> str | None:
        """The key that a request brings; the names of ``headers`` are in lower case."""
        return bearer(headers)

    def malformed(self, turn: Turn) -> Reply | None:
        """Its refusal of a request in which ``in_chat`` would not find what it looks for."""
        said = malformation(turn.body)
        return self.error(400, said) if said else None

    def in_chat(self, body: Body) -> Body:
        """The request as Chat Completions would have it, as far as an answer depends on it."""
        return body

    # Counting

    def bucket(self, model: str) -> str:
        """The bucket that a model counts in."""
        return model

    def model_of(self, body: Body) -> str:
        """The model that a request names."""
        return str(body.get("model", ""))

    def window(self, period: Period, limit: int) -> Window:
        return Rolling(limit, period.seconds)

    def cost(self, body: Body, answer: Answer) -> int:
        """How many tokens a request is charged when it is admitted."""
        return answer.prompt_tokens + answer.completion_tokens

    def reasons(self, turn: Turn) -> bool:
        """Whether the model shows its reasoning."""
        return False

    # Refusals

    def error(
        self, status: int, message: str, kind: str = "invalid_request_error", code: str | None = None, **more: Any
    ) -> Reply:
        """An error body in this provider's envelope."""
        return json_reply(status, {"error": {"message": message, "type": kind, "param": None, "code": code, **more}})

    def failure(self, status: int, turn: Turn) -> Reply:
        """What it says with this status when nothing else is known of the reason."""
        match status:
            case 401:
                return self.wrong_key()
            case 402:
                return self.no_money(turn)
            case 404:
                return self.unknown_model(turn.model)
        if status in self.failures:
            return self.error(status, *self.failures[status])
        phrases = {each.value: each.phrase for each in HTTPStatus} | {498: "Capacity exceeded", 529: "Overloaded"}
        kind = "server_error" if status >= 500 else "invalid_request_error"
        return self.error(status, phrases.get(status, "Error"), kind)

    def not_a_request(self) -> Reply:
        return self.error(400, "The request must be a JSON object with a model.")

    def missing_key(self) -> Reply:
        return self.wrong_key()

    def wrong_key(self) -> Reply:
        return self.error(401, "Incorrect API key provided.", code="invalid_api_key")

    def no_money(self, turn: Turn) -> Reply:
        message = "You exceeded your current quota, please check your plan and billing details."
        return self.error(402, message, "insufficient_quota", "insufficient_quota")

    def unknown_model(self, model: str) -> Reply:
        message = f"The model `{model}` does not exist or you do not have access to it."
        return self.error(404, message, code="model_not_found")

    def retired_model(self, model: str) -> Reply:
        return self.unknown_model(model)

    def too_long(self, prompt: int, answer: int) -> Reply:
        """Its refusal of so many tokens, as prompt and at most as answer."""
        message = (
            f"This model's maximum context length is {self.context} tokens. "
            f"However, you requested {prompt + answer} tokens."
        )
        return self.error(400, message, code="context_length_exceeded")

    def check(self, turn: Turn) -> Reply | None:
        """Its refusal of a request that it does not take, but which is not malformed."""
        return None

    def check_conversation(self, turn: Turn) -> Reply | None:
        """Its refusal of a conversation that does not hold together; only asked where ``strict`` is on."""
        said = conversation_fault(turn.body, sees=not any(word in turn.model for word in self.blind))
        return self.error(400, said) if said else None

    def counted(self, turn: Turn) -> Reply:
        """What it says when it is only asked how many tokens a request is."""
        raise NotImplementedError

    def limited(self, exceeded: Exceeded, turn: Turn) -> Reply:
        """Its refusal of a request that does not fit a limit."""
        message = f"Rate limit reached: {exceeded.metric} per {exceeded.period}, limit {exceeded.limit}."
        reply = self.error(429, message, exceeded.metric, "rate_limit_exceeded")
        return with_headers(reply, {"retry-after": whole_seconds(exceeded.wait)})

    def refusals(self) -> Mapping[str, Callable[[Turn], Reply]]:
        """Refusals that only this provider has, by the names that faults give them."""
        return {}

    # Answers

    def limit_headers(self, turn: Turn, tokens: int) -> dict[str, str]:
        """What it reports of its limits with an answer that was charged so many tokens."""
        return {}

    def stream_headers(self, turn: Turn, tokens: int) -> dict[str, str]:
        return self.limit_headers(turn, tokens)

    def completion_id(self, turn: Turn) -> str:
        return f"chatcmpl-{turn.serial}"

    def call_id(self, turn: Turn, index: int) -> str:
        return f"call_{turn.serial:022d}{index:02d}"

    def usage(self, answer: Answer) -> dict[str, Any]:
        return {
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": answer.completion_tokens,
            "total_tokens": answer.prompt_tokens + answer.completion_tokens,
        }

    def call(self, turn: Turn, index: int, call: Call) -> dict[str, Any]:
        """One whole tool call."""
        function = {"name": call.name, "arguments": call.arguments}
        return {"id": self.call_id(turn, index), "type": "function", "function": function}

    def message(self, answer: Answer, turn: Turn) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": answer.text or None}
        if answer.reasoning:
            message["reasoning"] = answer.reasoning
        if answer.calls:
            message["tool_calls"] = [self.call(turn, index, call) for index, call in enumerate(answer.calls)]
        return message

    def envelope(self, kind: str, turn: Turn) -> dict[str, Any]:
        """What completions and chunks have in common; ``kind`` is their ``object``."""
        return {"id": self.completion_id(turn), "object": kind, "created": int(turn.now), "model": turn.model}

    def completion(self, answer: Answer, turn: Turn) -> dict[str, Any]:
        choice = {"index": 0, "message": self.message(answer, turn), "finish_reason": answer.finish}
        return {
            **self.envelope("chat.completion", turn),
            "choices": [choice],
            "usage": self.usage(answer),
        }

    def chunk(self, turn: Turn, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return {**self.envelope("chat.completion.chunk", turn), "choices": [choice]}

    def deltas(self, answer: Answer, turn: Turn) -> Iterator[dict[str, Any]]:
        """What is new in each chunk, between the role and the finish."""
        for word in words(answer.reasoning):
            yield {"reasoning": word}
        for word in words(answer.text):
            yield {"content": word}
        for index, call in enumerate(answer.calls):
            whole = self.call(turn, index, call)
            yield {"tool_calls": [{"index": index, **whole, "function": {"name": call.name, "arguments": ""}}]}
            half = len(call.arguments) // 2
            for part in (call.arguments[:half], call.arguments[half:]):
                yield {"tool_calls": [{"index": index, "function": {"arguments": part}}]}

    def chunks(self, answer: Answer, turn: Turn) -> Iterator[dict[str, Any]]:
        """All chunks of a stream, from the role to the usage."""
        if self.role_chunk:
            yield self.chunk(turn, {"role": "assistant", "content": ""})
        for delta in self.deltas(answer, turn):
            yield self.chunk(turn, delta)
        yield self.chunk(turn, {}, answer.finish)
        if turn.include_usage:
            yield {**self.envelope("chat.completion.chunk", turn), "choices": [], "usage": self.usage(answer)}

    def stream_error(self, turn: Turn, form: str) -> bytes:
        """An error inside of a stream; ``form`` chooses where a provider has several."""
        error = {"message": "The server had an error.", "type": "server_error", "param": None, "code": None}
        return event({"error": error})

    def error_in_answer(self, turn: Turn) -> dict[str, Any]:
        """What it sends in place of an answer, with status 200."""
        return {"error": {"message": "The server had an error.", "type": "server_error", "param": None, "code": None}}

    def answer(self, answer: Answer, turn: Turn) -> Reply:
        """The reply to a request that was admitted."""
        tokens = self.cost(turn.body, answer)
        if not turn.stream:
            return json_reply(200, self.completion(answer, turn), self.limit_headers(turn, tokens))
        pieces = [*self.comments, *(event(chunk) for chunk in self.chunks(answer, turn)), DONE]
        headers = {"Content-Type": self.stream_type, "Cache-Control": "no-cache", **self.stream_headers(turn, tokens)}
        return stream_reply(pieces, headers, len(self.comments) + self.role_chunk)

    def model_entry(self, model: str) -> dict[str, Any]:
        return {"id": model, "object": "model", "created": 1767225600, "owned_by": self.name}

    def model_list(self, models: Mapping[str, object]) -> Reply:
        return json_reply(200, {"object": "list", "data": [self.model_entry(model) for model in models]})


def bearer(headers: Mapping[str, str]) -> str | None:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else None


def charged_up_front(body: Body, answer: Answer) -> int:
    """The cost where a provider reserves the most that an answer may have, when the request says so."""
    return answer.prompt_tokens + (max_tokens(body) or answer.completion_tokens)


def with_headers(reply: Reply, headers: Mapping[str, str]) -> Reply:
    return Reply(reply.status, {**reply.headers, **headers}, reply.pieces)


def whole_seconds(seconds: float) -> str:
    """A wait as ``retry-after`` has it: rounded up, and not for ever."""
    return str(max(1, math.ceil(min(seconds, 30 * 86400.0))))


class Generic(Dialect):
    """A local server without limits, as people run at home: it takes any key, or none."""

    name = "generic"
    path = "/v1"
    needs_key = False
    others = MappingProxyType({"/completions": complete, "/embeddings": embed})
    options = MappingProxyType({"strict": False})
    models = MappingProxyType({model: Limits() for model in ("qwen3", "gemma4", "gpt-oss:20b", "llama3.2")})

    def unknown_model(self, model: str) -> Reply:
        return self.error(404, f'model "{model}" not found, try pulling it first', "api_error")
