"""A prompt that is typed in, sent the way of any client's request: by a chain or to one model, through the engine.

The answer goes out as server-sent events while it comes: ``begin`` (the request's id, the chain), ``text`` and
``reasoning`` with pieces of it, ``end`` with who served it, how long that took and what was attempted.
"""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from chain429.clock import Clock
from chain429.engine import Call, Reply, Stream
from chain429.errors import RequestError
from chain429.web.admin.gateway import Gateway
from chain429.web.admin.routes import Route, read_body
from chain429.web.admin.schemas import TEXT, WHOLE, operation, optional, shape
from chain429.web.server import new_id
from chain429.wire.chat import ChatRequest
from chain429.wire.chat_reader import ChatReader
from chain429.wire.events import Error, Event, Finish, Reasoning, Text, Usage
from chain429.wire.sse import EventParser

CLIENT = "pages"


class Prompts:
    def __init__(self, gateway: Gateway, clock: Clock) -> None:
        self._gateway = gateway
        self._clock = clock

    def routes(self) -> tuple[Route, ...]:
        told = operation(
            "prompt",
            "Send a prompt, and read the answer and who served it as server-sent events",
            {},  # OpenAPI 3.1 has no words for the events of a stream
            media="text/event-stream",
            body=shape({"model": TEXT, "prompt": TEXT}, {"system": TEXT, "max_tokens": optional(WHOLE)}, closed=True),
            errors=(400, 404),
        )
        return (Route("POST", "/prompt", self.ask, told),)

    async def ask(self, request: web.Request) -> web.StreamResponse:
        started, at = self._clock.monotonic(), self._clock.now()
        asked = _asked(await read_body(request))
        chain = self._gateway.config.resolve(asked.model)
        if chain is None:
            words = f"The model {asked.model!r} names no chain, no alias and no provider's model."
            raise RequestError(words, status=404)
        call = Call(new_id(), asked, chain, CLIENT, at, started)
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        answer.force_close()
        await answer.prepare(request)
        try:
            await answer.write(_event("begin", {"request_id": call.id, "chain": chain.name}))
            await self._tell(call, answer)
            await answer.write_eof()
        except ConnectionError:
            pass  # whoever asked has left
        return answer

    async def _tell(self, call: Call, answer: web.StreamResponse) -> None:
        reply = await self._gateway.ask(call)
        heard = _Heard()
        if isinstance(reply.body, bytes):
            heard.refused(reply.body)
        else:
            stream = reply.body
            try:
                await self._pass_on(stream, heard, call, answer)
            finally:
                stream.close()
        await answer.write(_event("end", self._end(call, reply, heard)))

    async def _pass_on(self, stream: Stream, heard: _Heard, call: Call, answer: web.StreamResponse) -> None:
        while piece := await stream.next():
            for event in heard.read(piece):
                if not isinstance(event, Text | Reasoning):
                    continue
                if heard.first is None:
                    heard.first = self._clock.monotonic() - call.started
                kind = "text" if isinstance(event, Text) else "reasoning"
                await answer.write(_event(kind, {"text": event.text}))

    def _end(self, call: Call, reply: Reply, heard: _Heard) -> dict[str, Any]:
        last = call.attempts[-1] if call.attempts and isinstance(reply.body, Stream) else None
        return {
            "request_id": call.id,
            "status": reply.status,
            "served": {"provider": last.provider, "model": last.model, "credential": last.credential} if last else None,
            "seconds": self._clock.monotonic() - call.started,
            "first_token": heard.first,
            "tokens_in": heard.usage.input if heard.usage else None,
            "tokens_out": heard.usage.output if heard.usage else None,
            "finish": heard.finish,
            "error": heard.error,
            "attempts": [attempt._asdict() for attempt in call.attempts],
        }


class _Heard:
    """What has been heard of an answer. ``first`` is how many seconds it took to its first words."""

    def __init__(self) -> None:
        self._parser = EventParser()
        self._reader = ChatReader()
        self.first: float | None = None
        self.usage: Usage | None = None
        self.finish: str | None = None
        self.error: str | None = None

    def read(self, piece: bytes) -> list[Event]:
        found: list[Event] = []
        for event in self._parser.feed(piece):
            if event.data is not None:
                found += self._reader.read(event.data, event.name)
        for one in found:
            if isinstance(one, Usage):
                self.usage = one
            elif isinstance(one, Finish):
                self.finish = one.reason
            elif isinstance(one, Error):
                self.error = _message(one.error)
        return found

    def refused(self, body: bytes) -> None:
        self.error = _message(json.loads(body).get("error"))


def _message(error: object) -> str:
    told = error.get("message") if isinstance(error, dict) else error
    return told if isinstance(told, str) and told else "It did not say what went wrong."


def _asked(body: bytes) -> ChatRequest:
    """The request that the body amounts to. Raises RequestError."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict) or told.keys() - {"model", "prompt", "system", "max_tokens"}:
        raise RequestError('Send JSON such as {"model": "default", "prompt": "Say hello."}.')
    system, prompt = told.get("system", ""), told.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip() or not isinstance(system, str):
        raise RequestError("'prompt' must be the text to send; 'system', if it is there, is text too.")
    most = told.get("max_tokens")
    if most is not None and (not isinstance(most, int) or isinstance(most, bool) or most < 1):
        raise RequestError("'max_tokens' must be a whole number, 1 or more.")
    messages = [{"role": "system", "content": system}] if system.strip() else []
    wanted = {
        "model": told.get("model"),
        "messages": [*messages, {"role": "user", "content": prompt}],
        "stream": True,
        "stream_options": {"include_usage": True},
        **({"max_tokens": most} if most is not None else {}),
    }
    return ChatRequest.parse(json.dumps(wanted).encode())


def _event(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
