"""Errors as Anthropic's API words them: ``{"type": "error", "error": {"type", "message"}, "request_id"}``."""

from __future__ import annotations

import json
from typing import Any

from chain429.wire import sse
from chain429.wire.dialect import Dialect, DialectName, Problem

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_KINDS = {*_TYPES.values(), "api_error"}
# By these words Claude Code knows that it has to shorten the conversation.
_TOO_LONG = "prompt is too long"


def error_body(problem: Problem) -> bytes:
    """The body of an error answer; its ``type`` is always one that Anthropic has."""
    kind = problem.kind if problem.kind in _KINDS and problem.status not in _TYPES else None
    kind = kind or _TYPES.get(problem.status)
    kind = kind or ("api_error" if problem.status >= 500 else "invalid_request_error")
    message = problem.message
    if problem.code == "context_length_exceeded" and _TOO_LONG not in message.lower():
        message = f"{_TOO_LONG}: {message}"
    error: dict[str, Any] = {"type": kind, "message": message}
    if problem.details:
        error["chain429"] = problem.details
    identifier = problem.details.get("request_id")
    return json.dumps({"type": "error", "error": error, "request_id": identifier}, separators=(",", ":")).encode()


def error_event(problem: Problem) -> bytes:
    """The end of a stream that broke. Nothing follows it: the answer is not complete."""
    return sse.event(error_body(problem), "error")


class MessagesDialect:
    """See ``dialect.Dialect``."""

    name: DialectName = "messages"
    provider: DialectName = "messages"
    translates = True
    one_model = False
    keep_alive = sse.event(b'{"type": "ping"}', "ping")

    def error(self, problem: Problem) -> bytes:
        return error_body(problem)


MESSAGES: Dialect = MessagesDialect()
