"""A provider's refusal, parsed once at the edge, whatever shape it came in.

Only reading belongs here: which fields carry words, a message, a parameter, a wait. What they mean is decided in
``outcome``. Providers answer with an ``error`` object, a bare string, an array around it, a flat object, ``errors[]``,
``detail[]``, a page of HTML or nothing; all of them become a ``Failure``, and nothing here raises.
"""

from __future__ import annotations

import datetime
import html
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from chain429.routing.headers import parse_instant, parse_span

LONGEST_MESSAGE = 2000


@dataclass(frozen=True, slots=True)
class Quota:
    """One quota that a refusal names: its id, and its size where that is told."""

    id: str
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """What a provider said when it refused.

    ``codes``: every code, type, status and reason word of the body, as text (``429``, ``rate_limit_exceeded``).
    ``message``: the provider's own words, at most ``LONGEST_MESSAGE`` characters. ``param``: the request's field that
    is named as the culprit. ``headers``: names in lower case, those that a body repeats from its own upstream included.
    ``upstream``: the provider behind an aggregator, where the failure is that one's. ``quotas``: the quotas that were
    hit. When to come back, as far as the body tells: ``wait`` in seconds, ``reset_at`` in Unix seconds, ``reset_clock``
    as a date and time without a zone. ``page``: the body is no answer of an API but a page of HTML.
    """

    status: int
    codes: frozenset[str] = frozenset()
    message: str = ""
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    upstream: str | None = None
    quotas: tuple[Quota, ...] = ()
    wait: float | None = None
    reset_at: float | None = None
    reset_clock: datetime.datetime | None = None
    page: bool = False

    # The message in lower case: to search that is several times faster than with expressions that ignore case.
    folded: str = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "folded", self.message.lower())


def read_failure(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """The failure in an answer of HTTP ``status``; ``body`` is its whole body, decompressed."""
    text = body.decode("utf-8-sig", "replace")
    lowered = {name.lower(): value for name, value in headers.items()}
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return _read_text(status, lowered, text)
    return _read(status, lowered, document)


def failure_in_answer(error: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Failure:
    """The failure in the ``error`` member of an answer or of a stream's event that came with ``status``.

    Where that status tells of success, the error's own is taken: a numeric code, else what its words stand for, else
    500.
    """
    lowered = {name.lower(): value for name, value in (headers or {}).items()}
    document = error if isinstance(error, dict) and "error" in error else {"error": error}
    if status < 400:
        status = _status_of(_codes(_parts(document)))
    return _read(status, lowered, document)


# What an error's words stand for where no status came with it. The first that is found counts, so the general words
# ("invalid_request_error" goes with almost anything) come last.
_STATUS_OF_WORD: Mapping[str, int] = MappingProxyType(
    {
        **dict.fromkeys(("overloaded_error",), 529),
        **dict.fromkeys(
            (
                "rate_limit_exceeded",
                "rate_limit_error",
                "rate_limit_reached_error",
                "rate_limited",
                "too_many_requests",
                "too_many_requests_error",
                "resource_exhausted",
                "insufficient_quota",
                "queue_exceeded",
            ),
            429,
        ),
        **dict.fromkeys(("context_length_exceeded", "content_filter", "content_policy_violation"), 400),
        **dict.fromkeys(("authentication_error", "authentication", "invalid_api_key", "unauthenticated"), 401),
        **dict.fromkeys(("payment_required", "billing_error"), 402),
        **dict.fromkeys(("permission_error", "permission_denied"), 403),
        **dict.fromkeys(("not_found_error", "not_found", "model_not_found"), 404),
        **dict.fromkeys(("request_too_large", "payload_too_large"), 413),
        **dict.fromkeys(("unprocessable",), 422),
        **dict.fromkeys(("provider_unavailable",), 502),
        **dict.fromkeys(
            (
                "capacity_exceeded",
                "capacity_exhausted",
                "engine_overloaded_error",
                "overloaded",
                "provider_overloaded",
                "service_unavailable",
                "unavailable",
            ),
            503,
        ),
        **dict.fromkeys(("timeout", "timeout_error", "deadline_exceeded"), 504),
        **dict.fromkeys(("server_error", "internal_server_error", "internal", "api_error", "server"), 500),
        **dict.fromkeys(("invalid_request_error", "invalid_request", "invalid_argument"), 400),
    }
)


def _status_of(codes: Iterable[str]) -> int:
    words = {code.lower() for code in codes}
    numbers = sorted(int(word) for word in words if re.fullmatch("[45][0-9][0-9]", word))
    if numbers:
        return numbers[0]
    return next((status for word, status in _STATUS_OF_WORD.items() if word in words), 500)


_WORD_FIELDS = ("code", "type", "status", "param", "reason", "error_type", "limit_source")
# Only these are looked into: what a body echoes of the request ("input", "failed_generation") must not speak.
_CONTAINERS = (
    *("error", "errors", "message", "detail", "details", "violations"),
    *("metadata", "availability", "innererror"),
)
_NO_WORDS = frozenset({"", "error"})


def _parts(document: object) -> tuple[dict[str, Any], ...]:
    """Every object that speaks of the error, the outermost first."""
    found: list[dict[str, Any]] = []
    _gather(document, found, 0)
    return tuple(found)


def _gather(document: object, found: list[dict[str, Any]], depth: int) -> None:
    if depth > 6:
        return
    if isinstance(document, dict):
        found.append(document)
        for name in _CONTAINERS:
            if name in document:
                _gather(document[name], found, depth + 1)
    elif isinstance(document, list):
        for item in document[:20]:
            _gather(item, found, depth + 1)


def _codes(parts: Iterable[dict[str, Any]]) -> frozenset[str]:
    words = set()
    for part in parts:
        for name in _WORD_FIELDS:
            value = part.get(name)
            if isinstance(value, str) and len(value) <= 100:
                words.add(value)
            elif isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**9:
                words.add(str(value))
    return frozenset(words - _NO_WORDS)


def _read(status: int, headers: dict[str, str], document: object) -> Failure:
    parts = _parts(document)
    message = _clean(_message(document, parts) or headers.get("x-error-message", ""))
    headers = _repeated_headers(parts) | headers
    return Failure(
        status,
        _codes(parts),
        message,
        _param(status, parts, message),
        MappingProxyType(headers),
        _upstream(parts),
        tuple(_quotas(parts)),
        _wait(parts, message),
        _reset_at(parts, headers),
        _reset_clock(message),
    )


_TITLE = re.compile(r"<title[^<>]*>([^<]+)", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")


def _read_text(status: int, headers: dict[str, str], text: str) -> Failure:
    page = "<html" in text[:2000].lower() or text.lstrip()[:9].lower() == "<!doctype"
    if page:
        text = text[:20_000]
        title = _TITLE.search(text)
        text = html.unescape(title[1] if title else _TAG.sub(" ", text))
    message = _clean(text[: 2 * LONGEST_MESSAGE] or headers.get("x-error-message", ""))
    return Failure(
        status,
        message=message,
        headers=MappingProxyType(headers),
        wait=None if page else _wait((), message),
        reset_at=_reset_at((), headers),
        page=page,
    )


def _clean(text: str) -> str:
    """One line, no longer than allowed, that can be encoded (JSON may carry half a surrogate pair)."""
    short = " ".join(text[: 4 * LONGEST_MESSAGE].split())[:LONGEST_MESSAGE]
    return short.encode("utf-8", "replace").decode("utf-8")


# "raw" is what an aggregator's own upstream said.
_MESSAGE_FIELDS = ("error", "message", "msg", "title", "detail", "errors", "raw", "error_description")


def _message(document: object, parts: Iterable[dict[str, Any]]) -> str:
    if isinstance(document, str):
        return document
    found: list[str] = []
    for part in parts:
        for name in _MESSAGE_FIELDS:
            value = part.get(name)
            for words in value[:20] if isinstance(value, list) else (value,):
                if isinstance(words, str) and words and words not in found and words.lower() != "error":
                    found.append(_told_where(part, words))
    return " | ".join(found)


def _told_where(part: dict[str, Any], message: str) -> str:
    """Pydantic's findings name the field beside the message."""
    location = _location(part)
    return f"{location}: {message}" if location else message


def _location(part: dict[str, Any]) -> str:
    location = part.get("loc")
    if not isinstance(location, list):
        return ""
    names = [str(name) for name in location[:10] if isinstance(name, str | int)]
    return ".".join(names[1:] if names[:1] in (["body"], ["query"]) else names)


# A name as it is quoted in the messages of those who name a parameter only there.
_NAMED = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"unknown name \\?\"(?P<name>[\w.]+)\\?\"(?: at '(?P<at>[^']*)')?",
        r"property '(?P<name>[\w.]+)' is unsupported",
        r"un(?:supported|known|recognized) (?:parameter|value|field|argument)s?:? [\"'`](?P<name>[\w.\[\]]+)[\"'`]",
        r"unrecognized request arguments? supplied: (?P<name>[\w.]+)",
        r"unexpected keyword argument '(?P<name>\w+)'",
        r"(?:parameter|field|argument) [\"'`](?P<name>[\w.]+)[\"'`] is not (?:supported|allowed|permitted)",
        r"[\"'`](?P<name>[\w.]+)[\"'`] (?:is not (?:supported|allowed|permitted)|is unsupported|was unexpected)",
        r"\b(?P<name>[a-z][\w.]{0,80}): extra inputs are not permitted",
    )
)
_ABOUT_THE_REQUEST = frozenset({400, 416, 422})


def _param(status: int, parts: tuple[dict[str, Any], ...], message: str) -> str | None:
    if status not in _ABOUT_THE_REQUEST:
        return None
    for part in parts:
        named = part.get("param")
        if isinstance(named, str) and 0 < len(named) <= 200:
            return _clean(named)
    for part in parts:
        location = _location(part)
        if location:
            return _clean(location)
    if any(part.get("code") == "invalid_encrypted_content" for part in parts):
        return "encrypted_content"
    for pattern in _NAMED:
        found = pattern.search(message)
        if found:
            at = found.groupdict().get("at")
            return f"{at}.{found['name']}" if at else found["name"]
    return None


def _repeated_headers(parts: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Headers of the provider behind an aggregator, or of its own limiter, that are repeated in the body."""
    repeated: dict[str, str] = {}
    for part in parts:
        headers = part.get("headers")
        if isinstance(headers, dict):
            pairs = ((name.lower(), value) for name, value in headers.items() if isinstance(value, str | int | float))
            repeated = {name: str(value) for name, value in pairs} | repeated
    return repeated


def _upstream(parts: Iterable[dict[str, Any]]) -> str | None:
    names = (part.get("provider_name") for part in parts)
    return next((_clean(name)[:100] for name in names if isinstance(name, str) and name), None)


def _quotas(parts: Iterable[dict[str, Any]]) -> Iterator[Quota]:
    """``google.rpc.QuotaFailure``: one violation for each quota that was hit."""
    for part in parts:
        name = part.get("quotaId")
        if isinstance(name, str):
            yield Quota(_clean(name)[:200], _number(part.get("quotaValue")))


def _number(value: object) -> float | None:
    """A count or a number of seconds, given as a number or as text; None for anything that can't be one."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if 0 <= number < math.inf else None


_SPAN_IN_TEXT = re.compile(
    r"(?:try again|try your request again|retry|retry[- ]after|wait)(?: in| after| for)?:? (?:about )?"
    r"(?P<span>[0-9]+(?:\.[0-9]+)? ?[a-z]+(?:,? ?[0-9]+(?:\.[0-9]+)? ?[a-z]+)*)"
)
_RESET_FIELDS = ("quota_reset_timestamp", "reset_at", "resets_at")
_WAIT_FIELDS = ("retry_after_seconds", "retry_after", "retryAfter", "retryDelay")


def _wait(parts: Iterable[dict[str, Any]], message: str) -> float | None:
    """Seconds to stay away: the longest that a field tells, else what the message says in words."""
    told = []
    for part in parts:
        for name in _WAIT_FIELDS:
            if name in part:
                value = part[name]
                seconds = _number(value)
                told.append(parse_span(value) if seconds is None and isinstance(value, str) else seconds)
    waits = [seconds for seconds in told if seconds is not None and seconds < 1e9]
    if waits:
        return max(waits)
    for found in _SPAN_IN_TEXT.finditer(message.lower()):
        seconds = parse_span(found["span"])
        if seconds is not None:
            return seconds
    return None


def _reset_at(parts: Iterable[dict[str, Any]], headers: Mapping[str, str]) -> float | None:
    """A moment that the body names, or the one header that is a moment at those who count no single metric."""
    stamps = [part[name] for part in parts for name in _RESET_FIELDS if name in part]
    for stamp in (*stamps, headers.get("x-ratelimit-reset")):
        if isinstance(stamp, str | int | float) and not isinstance(stamp, bool):
            moment = parse_instant(str(stamp))
            if moment is not None:
                return moment
    return None


_CLOCK = re.compile(
    r"reset (?:at|on):? ([0-9]{4}-[0-9]{2}-[0-9]{2}[ t][0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(?![\d:.]|\s*(?:z|utc|[+-]\d))"
)


def _reset_clock(message: str) -> datetime.datetime | None:
    """``Your limit will reset at 2026-09-03 18:01:05``: the zone is not told."""
    found = _CLOCK.search(message.lower())
    if found is None:
        return None
    try:
        return datetime.datetime.fromisoformat(found[1])
    except ValueError:
        return None
