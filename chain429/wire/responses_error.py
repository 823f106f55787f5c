"""Errors as OpenAI's Responses API words them: before an answer as in Chat Completions, in a stream as an answer that
failed."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from chain429.wire import sse
from chain429.wire.chat_writer import error_body
from chain429.wire.dialect import Dialect, DialectName, Problem

# Codex gives up at these; at all others it asks again.
_FINAL = frozenset({"context_length_exceeded", "insufficient_quota", "invalid_prompt"})
_LIMIT = "rate_limit_exceeded"
# The words in which Codex looks for how long it is to wait; the first in the text count.
_WAIT = re.compile(r"try again in\s*\d+(?:\.\d+)?\s*(?:ms|s|seconds?)\b", re.IGNORECASE)
_SECONDS = 1


def failure(problem: Problem) -> dict[str, Any]:
    """The ``error`` of an answer that failed, such as clients act on."""
    code, message = problem.code, problem.message
    if problem.status == 429 or code == _LIMIT:
        code = code if code in _FINAL else _LIMIT
    elif code not in _FINAL:
        code = "server_error"
    if code == _LIMIT:
        # A provider's own words must not be taken for ours: another one may be free long before.
        message = _WAIT.sub("try again later", message)
        message = f"Please try again in {_wait(problem.details)}s. {message}"
    error: dict[str, Any] = {"code": code, "message": message}
    if problem.details:
        error["chain429"] = problem.details
    return error


def _wait(details: Mapping[str, Any]) -> int:
    seconds = details.get("retry_after")
    if isinstance(seconds, int | float) and 0 < seconds < math.inf:
        return math.ceil(seconds)
    return _SECONDS


class ResponsesDialect:
    """See ``dialect.Dialect``."""

    name: DialectName = "responses"
    provider: DialectName = "responses"
    translates = True
    one_model = False
    keep_alive = sse.comment("keep-alive")

    def error(self, problem: Problem) -> bytes:
        return error_body(problem)


RESPONSES: Dialect = ResponsesDialect()
