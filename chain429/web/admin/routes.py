"""What all of the admin API has in common: how a route is written down, who is let in, and how it says no.

A route carries its own description, from which the OpenAPI document is put together (see ``openapi``), so that there is
none without. What goes wrong is raised, as one of chain429's errors, and becomes an answer here, once: always JSON, in
one shape (``{"error": {"message": …}}``), without a secret and without a traceback.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from aiohttp import web

from chain429.errors import Chain429Error, ConfigError, EditConflict, Fault, RequestError, StartError, StoreError

PREFIX = "/admin/api"
CSRF_HEADER = "x-chain429-csrf"
MAX_BODY = 1024 * 1024
# Deeper than anything that is configured, and far from what a recursive writer can bear.
_DEEPEST = 12

_log = logging.getLogger("chain429.admin")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Admits = Callable[[web.Request], bool]
# Takes secrets out of a text.
Redact = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Route:
    """One operation. ``path`` goes on after ``PREFIX``; ``operation`` is what OpenAPI's document says of it, see
    ``openapi.operation``. What is no GET changes something."""

    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    answer: Handler
    operation: Mapping[str, Any]


class Problem(Exception):
    """An answer that is no success. ``more`` are members beside the message."""

    def __init__(self, status: int, message: str, **more: object) -> None:
        self.status = status
        self.message = message
        self.more = more
        super().__init__(message)


class Gate:
    """Lets in who may read, or change, and turns errors into answers."""

    def __init__(self, reads: Admits, changes: Admits, redact: Redact) -> None:
        self._reads = reads
        self._changes = changes
        self._redact = redact

    def guarded(self, route: Route) -> Handler:
        admits = self._reads if route.method == "GET" else self._changes

        async def answer(request: web.Request) -> web.StreamResponse:
            if not admits(request):
                return unauthorized()
            try:
                return await route.answer(request)
            except web.HTTPRequestEntityTooLarge:
                return problem(413, f"The body is larger than {MAX_BODY} bytes.")
            except Problem as found:
                return problem(found.status, self._redact(found.message), **found.more)
            except Chain429Error as error:
                return self._refusal(error)
            except (web.HTTPException, ConnectionError):
                raise
            except Exception:  # noqa: BLE001  the last resort: whoever asked gets an answer, and the log the traceback
                _log.exception("a fault in chain429 on %s %s%s", route.method, PREFIX, route.path)
                return problem(500, "A fault in chain429; its log says more.")

        return answer

    def _refusal(self, error: Chain429Error) -> web.Response:
        match error:
            case ConfigError():
                return self._faulty(error)
            case EditConflict():
                return problem(409, _sentence(str(error)))
            case RequestError():
                return problem(error.status, self._redact(error.message))
            case StoreError() | StartError():
                return problem(507, _sentence(self._redact(str(error))))
        return problem(502, _sentence(self._redact(str(error))))

    def _faulty(self, error: ConfigError) -> web.Response:
        told = [{"key": self._redact(one.key), "message": self._redact(one.message)} for one in error.faults]
        faults = [{**row, "line": one.line} for row, one in zip(told, error.faults, strict=True)]
        words = [": ".join(part for part in (one["key"], one["message"]) if part) for one in told]
        more = f", and {len(words) - 1} more" if len(words) > 1 else ""
        return problem(422, f"The configuration is not right: {words[0]}{more}.", faults=faults)


def problem(status: int, message: str, **more: object) -> web.Response:
    return web.json_response({"error": {"message": message, **more}}, status=status)


def unauthorized() -> web.Response:
    answer = problem(401, "The admin token is needed, as Authorization: Bearer.")
    answer.headers["WWW-Authenticate"] = 'Bearer realm="chain429"'
    return answer


def fault(key: str, message: str) -> ConfigError:
    """The refusal of a body in which something is wrong at ``key`` (dotted; empty for the whole)."""
    return ConfigError([Fault(message, key)])


async def read_body(request: web.Request) -> bytes:
    """The body, up to the size that the admin API takes; the pages take less."""
    return await request.clone(client_max_size=MAX_BODY).read()


async def read_object(request: web.Request, example: str) -> dict[str, Any]:
    """The body, which must be a JSON object that a YAML file can hold. Raises ConfigError."""
    body = await read_body(request)
    try:
        found = json.loads(body or b"{}", parse_constant=_no_number)
        json.dumps(found, ensure_ascii=False).encode()  # half of a character pair is no text
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not _holds(found, _DEEPEST):
        raise fault("", f"a JSON object was expected, such as {example}")
    return found


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _holds(value: object, depth: int) -> bool:
    """Whether a value is nested no deeper than ``depth``, with finite numbers only (JSON knows 1e999)."""
    if isinstance(value, float):
        return math.isfinite(value)
    if not isinstance(value, dict | list):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(_holds(item, depth - 1) for item in inner)


def version_seen(request: web.Request) -> str | None:
    """The version of the configuration that the sender saw, out of ``If-Match``; None where it does not say, or takes
    any."""
    told = request.headers.get("If-Match", "").strip()
    return None if told in ("", "*") else told.removeprefix("W/").strip('"')


def with_version(body: Mapping[str, Any], version: str, *, status: int = 200) -> web.Response:
    """An answer whose ETag is the version of the configuration."""
    return web.json_response(body, status=status, headers={"ETag": f'"{version}"'})


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


@web.middleware
async def without_routes(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What leads to no route of the admin API is answered in its own form."""
    try:
        return await handler(request)
    except (web.HTTPNotFound, web.HTTPMethodNotAllowed) as error:
        if not request.path.startswith(f"{PREFIX}/"):
            raise
        if error.status == 404:
            return problem(404, f"There is no {request.path}; {PREFIX}/openapi.json says what there is.")
        answer = problem(405, f"{request.method} is not allowed on {request.path}.")
        answer.headers["Allow"] = error.headers["Allow"]
        return answer
