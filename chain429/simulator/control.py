"""The other side of the simulator: setting limits, scripting faults, and seeing what was received.

``Control`` has the operations; ``routes`` offers the same over HTTP, under ``/control``.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from aiohttp import web

from chain429.errors import RequestError
from chain429.simulator.answers import Call, Dictated
from chain429.simulator.faults import faults_of
from chain429.simulator.provider import SimulatedProvider

_RECORDS = 10_000
_RECORDED_BYTES = 64 * 1024 * 1024


@dataclass(slots=True)
class Received:
    """One request as it came in, and what became of it; the last four fields change while it is answered.

    ``path`` is below the provider's own prefix, ``key`` the one that was sent, ``headers`` have lower-case names,
    ``body`` is the parsed JSON (None if there is none), ``at`` is Unix seconds. ``status`` is None until a status line
    is sent. ``closed_early``: the caller left before the end of the answer.
    """

    provider: str
    method: str
    path: str
    key: str | None
    headers: dict[str, str]
    body: Any
    at: float
    status: int | None = None
    chunks: int = 0
    closed_early: bool = False
    done: bool = False


class Ledger:
    """The last requests: at most 10 000, and fewer when they are large."""

    def __init__(self) -> None:
        self._records: deque[tuple[Received, int]] = deque()
        self._bytes = 0

    def add(self, record: Received, size: int) -> None:
        self._records.append((record, size))
        self._bytes += size
        while len(self._records) > _RECORDS or (self._bytes > _RECORDED_BYTES and len(self._records) > 1):
            self._bytes -= self._records.popleft()[1]

    def records(self, provider: str | None) -> list[Received]:
        return [record for record, _ in self._records if provider in (None, record.provider)]

    def clear(self) -> None:
        self._records.clear()
        self._bytes = 0


class Control:
    """What a test, or a curious person, does to the simulator. Errors are ``RequestError``."""

    def __init__(self, providers: Mapping[str, SimulatedProvider], ledger: Ledger) -> None:
        self._providers = providers
        self._ledger = ledger

    def provider(self, name: str) -> SimulatedProvider:
        if name not in self._providers:
            known = ", ".join(self._providers)
            raise RequestError(f"no provider named {name!r}; there are: {known}", param="provider")
        return self._providers[name]

    def limits(self, provider: str, model: str | None, limits: Mapping[str, object]) -> None:
        """Set limits (``rpm rph rpd tpm tph tpd``; None is no limit) of a model, or of all; the others stay.

        What was used of these buckets is forgotten.
        """
        self.provider(provider).set_limits(model, limits)

    def script(self, provider: str, fault: str, times: int = 1, model: str | None = None, **arguments: object) -> None:
        """Let the next requests run into a fault; see ``faults.FAULTS``, and ``overview`` for a provider's own."""
        self.provider(provider).script(fault, times, model, **arguments)

    def answer(
        self,
        provider: str,
        text: str = "",
        reasoning: str = "",
        calls: Iterable[tuple[str, str]] = (),
        times: int = 1,
        model: str | None = None,
    ) -> None:
        """Let the next answers be this one, word for word; ``calls`` are names of tools with their arguments as text.

        What a prompt can ask for is told in ``steering``. A refused request does not use an answer up.
        """
        dictated = Dictated(text, reasoning, tuple(Call(name, arguments) for name, arguments in calls))
        self.provider(provider).script_answer(dictated, times, model)

    def options(self, provider: str, **options: bool) -> None:
        """Switch what a provider takes: ``strict`` conversations, ``system_in_messages``; see ``Dialect.options``."""
        self.provider(provider).set_options(options)

    def register(self, provider: str, key: str) -> None:
        """Let a provider take a key that does not begin with ``sim-``."""
        self.provider(provider).keys.add(key)

    def received(self, provider: str | None = None) -> list[Received]:
        """The last requests, oldest first."""
        return self._ledger.records(provider)

    def overview(self) -> dict[str, Any]:
        """All providers with their models' limits and the faults that they can have."""
        return {
            name: {
                "path": f"/{name}{provider.path}",
                "models": {model: asdict(limits) for model, limits in provider.models.items()},
                "options": dict(provider.options),
                "faults": {fault: row.about for fault, row in faults_of(provider.dialect).items()},
            }
            for name, provider in self._providers.items()
        }

    def reset(self) -> None:
        """Everything as at the start."""
        self._ledger.clear()
        for provider in self._providers.values():
            provider.reset()


def routes(control: Control) -> list[web.RouteDef]:
    """``GET`` and ``DELETE /control``, ``GET /control/received``; ``POST /control/faults``, ``limits``, ``answers`` and
    ``options``, with the arguments of ``Control``'s methods as JSON."""

    async def overview(request: web.Request) -> web.Response:
        return web.json_response({"providers": control.overview()})

    async def reset(request: web.Request) -> web.Response:
        control.reset()
        return web.json_response({"ok": True})

    async def faults(request: web.Request) -> web.Response:
        try:
            fields = await _fields(request)
            provider, fault = _take(fields, "provider", str), _take(fields, "fault", str)
            times, model = _take(fields, "times", int, 1), _take(fields, "model", str, None)
            control.provider(provider).script(fault, times, model, **fields)
        except RequestError as error:
            return _refused(error)
        return web.json_response({"ok": True})

    async def limits(request: web.Request) -> web.Response:
        try:
            fields = await _fields(request)
            provider, model = _take(fields, "provider", str), _take(fields, "model", str, None)
            control.limits(provider, model, fields)
        except RequestError as error:
            return _refused(error)
        return web.json_response({"ok": True})

    async def answers(request: web.Request) -> web.Response:
        try:
            fields = await _fields(request)
            provider, text = _take(fields, "provider", str), _take(fields, "text", str, "")
            reasoning, calls = _take(fields, "reasoning", str, ""), _calls(fields.pop("calls", []))
            times, model = _take(fields, "times", int, 1), _take(fields, "model", str, None)
            for name in fields:
                raise RequestError(f"no argument named {name!r} for an answer", param=name)
            control.answer(provider, text, reasoning, calls, times, model)
        except RequestError as error:
            return _refused(error)
        return web.json_response({"ok": True})

    async def options(request: web.Request) -> web.Response:
        try:
            fields = await _fields(request)
            control.provider(_take(fields, "provider", str)).set_options(fields)
        except RequestError as error:
            return _refused(error)
        return web.json_response({"ok": True})

    async def received(request: web.Request) -> web.Response:
        provider = request.query.get("provider")
        try:
            if provider is not None:
                control.provider(provider)
        except RequestError as error:
            return _refused(error)
        return web.json_response({"received": [asdict(record) for record in control.received(provider)]})

    return [
        web.get("/control", overview),
        web.delete("/control", reset),
        web.post("/control/faults", faults),
        web.post("/control/limits", limits),
        web.post("/control/answers", answers),
        web.post("/control/options", options),
        web.get("/control/received", received),
    ]


_REQUIRED = object()


def _take(fields: dict[str, Any], name: str, kind: type, default: object = _REQUIRED) -> Any:
    """Take a field out; raises RequestError where it is missing or of another type."""
    value = fields.pop(name, default)
    if value is default and default is not _REQUIRED:
        return default
    if not isinstance(value, kind) or isinstance(value, bool):
        raise RequestError(f"{name} must be given, as {'text' if kind is str else 'a whole number'}", param=name)
    return value


def _calls(given: object) -> list[tuple[str, str]]:
    """Calls as ``{"name": …, "arguments": …}``; arguments that are not text are written as JSON."""
    if not isinstance(given, list):
        raise RequestError("calls must be a list", param="calls")
    calls = []
    for call in given:
        if not isinstance(call, dict) or not isinstance(call.get("name"), str) or "arguments" not in call:
            raise RequestError("each of calls must be an object with a name and arguments", param="calls")
        arguments = call["arguments"]
        calls.append((call["name"], arguments if isinstance(arguments, str) else json.dumps(arguments)))
    return calls


async def _fields(request: web.Request) -> dict[str, Any]:
    try:
        fields = json.loads(await request.read())
    except ValueError as error:
        raise RequestError("the body must be JSON") from error
    if not isinstance(fields, dict):
        raise RequestError("the body must be a JSON object")
    return fields


def _refused(error: RequestError) -> web.Response:
    return web.json_response({"error": {"message": error.message, "param": error.param}}, status=error.status)
