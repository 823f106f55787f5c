"""What providers report of their limits in response headers, and how they write a moment or a wait.

``FAMILIES`` is a table: a provider's preset names its family, and a new dialect of headers is a few rows there. Nothing
here decides anything. The functions run on every answer, take ``now`` in Unix seconds, never raise, and pass over
values that make no sense. ``headers`` is a case-insensitive mapping, or one whose names are in lower case.
"""

from __future__ import annotations

import datetime
import email.utils
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple

from chain429.routing.window import Window

Metric = Literal["requests", "tokens", "input_tokens", "output_tokens"]


class Reading(NamedTuple):
    """One bucket as its provider reported it; ``reset_at`` is when it is full again, in Unix seconds."""

    metric: Metric
    window: Window | None = None
    limit: float | None = None
    remaining: float | None = None
    reset_at: float | None = None


@dataclass(frozen=True, slots=True)
class HeaderRule:
    """Where one bucket is reported: the names, in lower case, of the headers that carry it.

    ``used`` carries the share that is used (0 to 1) where neither limit nor remaining is told; the bucket then counts
    percent. ``status`` carries ``rejected`` where that bucket refuses. With ``policy``, ``remaining`` and ``policy``
    name the structured fields of draft-ietf-httpapi-ratelimit-headers, which carry any number of buckets.
    """

    metric: Metric = "requests"
    window: Window | None = None
    limit: str = ""
    remaining: str = ""
    reset: str = ""
    used: str = ""
    status: str = ""
    policy: str = ""


def _openai(window_of_requests: Window) -> tuple[HeaderRule, ...]:
    return (
        _rule("requests", window_of_requests, "x-ratelimit-{}-requests"),
        _rule("tokens", Window.MINUTE, "x-ratelimit-{}-tokens"),
    )


def _rule(metric: Metric, window: Window | None, names: str) -> HeaderRule:
    return HeaderRule(metric, window, names.format("limit"), names.format("remaining"), names.format("reset"))


def _suffixed(*windows: Window) -> tuple[HeaderRule, ...]:
    metrics: tuple[Metric, ...] = ("requests", "tokens")
    return tuple(
        _rule(metric, window, f"x-ratelimit-{{}}-{metric}-{window}") for metric in metrics for window in windows
    )


_IETF = (
    HeaderRule(remaining="ratelimit", policy="ratelimit-policy"),
    _rule("requests", None, "ratelimit-{}"),  # drafts before the structured fields
)

FAMILIES: Mapping[str, tuple[HeaderRule, ...]] = MappingProxyType(
    {
        # Requests are counted per day, tokens per minute. The limits that bind first (RPM, TPD) are never told.
        "groq": _openai(Window.DAY),
        # A few models count requests per day; a minute is the shorter, so the milder, reading.
        "openai": (*_openai(Window.MINUTE), _rule("tokens", Window.MINUTE, "x-ratelimit-{}-project-tokens")),
        "cerebras": _suffixed(Window.MINUTE, Window.HOUR, Window.DAY),
        # Sent with refusals only, for whichever window refused.
        "openrouter": (_rule("requests", None, "x-ratelimit-{}"),),
        # Not on streamed answers; never a reset.
        "mistral": (
            _rule("requests", Window.MINUTE, "x-ratelimit-{}-req-minute"),
            _rule("tokens", Window.MINUTE, "x-ratelimit-{}-tokens-minute"),
        ),
        "sambanova": (
            _rule("requests", Window.MINUTE, "x-ratelimit-{}-requests"),
            _rule("requests", Window.DAY, "x-ratelimit-{}-requests-day"),
        ),
        "cohere": (
            HeaderRule(
                "requests",
                Window.MINUTE,
                limit="x-trial-endpoint-call-limit",
                remaining="x-trial-endpoint-call-remaining",
            ),
            HeaderRule("requests", Window.MONTH, limit="x-endpoint-monthly-call-limit"),
        ),
        "together": (
            _rule("requests", Window.SECOND, "x-ratelimit-{}"),
            _rule("tokens", Window.SECOND, "x-tokenlimit-{}"),
        ),
        "fireworks": (
            _rule("requests", Window.MINUTE, "x-ratelimit-{}-requests"),
            _rule("input_tokens", Window.MINUTE, "x-ratelimit-{}-tokens-prompt"),
            _rule("output_tokens", Window.MINUTE, "x-ratelimit-{}-tokens-generated"),
        ),
        "nebius": _openai(Window.MINUTE),
        "chutes": (
            HeaderRule("requests", Window.DAY, limit="x-chutes-quota-total", remaining="x-chutes-quota-remaining"),
        ),
        "anthropic": (
            _rule("requests", Window.MINUTE, "anthropic-ratelimit-requests-{}"),
            _rule("tokens", Window.MINUTE, "anthropic-ratelimit-tokens-{}"),
            _rule("input_tokens", Window.MINUTE, "anthropic-ratelimit-input-tokens-{}"),
            _rule("output_tokens", Window.MINUTE, "anthropic-ratelimit-output-tokens-{}"),
        ),
        # A subscription's allowances, as shares; the nearest window that is no longer than the true one (five hours).
        "anthropic_unified": tuple(
            HeaderRule(
                "requests",
                window,
                used=f"anthropic-ratelimit-unified-{span}-utilization",
                status=f"anthropic-ratelimit-unified-{span}-status",
                reset=f"anthropic-ratelimit-unified-{span}-reset",
            )
            for span, window in (("5h", Window.HOUR), ("7d", Window.WEEK))
        ),
        "ietf": _IETF,
        # For servers of which nothing is known: the names in common use.
        "generic": (
            *_openai(Window.MINUTE),
            *_suffixed(Window.MINUTE, Window.HOUR, Window.DAY),
            _rule("requests", Window.MINUTE, "x-ratelimit-{}"),
            *_IETF,
        ),
        "none": (),
    }
)


# Every header that a family's rules look at, each of them once.
_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        family: tuple(
            {
                name: None
                for rule in rules
                for name in (rule.limit, rule.remaining, rule.reset, rule.used, rule.status, rule.policy)
                if name
            }
        )
        for family, rules in FAMILIES.items()
    }
)


def read_headers(family: str, headers: Mapping[str, str], now: float) -> tuple[Reading, ...]:
    """The buckets that an answer reports, in the table's order; empty where it reports none."""
    get = headers.get
    told = {name: value for name in _NAMES[family] if (value := get(name)) is not None}
    if not told:
        return ()
    readings: list[Reading] | None = None
    for rule in FAMILIES[family]:
        if rule.policy:
            found = _structured(told.get(rule.policy), told.get(rule.remaining), now)
        else:
            reading = _read(rule, told, now)
            found = (reading,) if reading is not None else ()
        if found:
            readings = readings or []
            readings.extend(found)
    return tuple(readings) if readings else ()


def _read(rule: HeaderRule, headers: Mapping[str, str], now: float) -> Reading | None:
    if rule.used:
        limit, remaining = _share(rule, headers)
    else:
        limit = _count(headers.get(rule.limit))
        remaining = _count(headers.get(rule.remaining)) if rule.remaining else None
    if limit is None and remaining is None:
        return None
    reset = headers.get(rule.reset) if rule.reset else None
    return Reading(rule.metric, rule.window, limit, remaining, parse_reset(reset, now) if reset else None)


def _share(rule: HeaderRule, headers: Mapping[str, str]) -> tuple[float | None, float | None]:
    if headers.get(rule.status) == "rejected":
        return 100.0, 0.0
    used = _count(headers.get(rule.used))
    return (None, None) if used is None else (100.0, max(0.0, 100.0 * (1.0 - used)))


def _count(value: str | None) -> float | None:
    """A number that can be a limit or what remains of one, else None: not negative, not endless."""
    if value is None:
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if 0.0 <= number < math.inf else None


_ITEM = re.compile(r'(?:[^,"]|"[^"]*")+')
_NAME = re.compile(r'"([^"]*)"|^\s*([\w*.:/-]+)')
_PARAMETERS = re.compile(r";\s*[a-z]+\s*=")
_PARAMETER = re.compile(r';\s*([a-z]+)\s*=\s*"?([^;,"\s]+)"?')
_UNITS: Mapping[str, Metric] = MappingProxyType({"requests": "requests", "tokens": "tokens"})


def _items(field: str | None) -> Iterator[tuple[str, dict[str, str]]]:
    """Name and parameters of each item of a structured list; the last quoted name counts where several are given."""
    for item in _ITEM.findall(field or ""):
        names = _NAME.findall(_PARAMETERS.split(item, maxsplit=1)[0])
        if names:
            yield names[-1][0] or names[-1][1], dict(_PARAMETER.findall(item))


def _structured(policy: str | None, state: str | None, now: float) -> tuple[Reading, ...]:
    """``RateLimit-Policy: "burst";q=100;w=60`` and ``RateLimit: "burst";r=50;t=30`` (draft 11), joined by name."""
    if policy is None and state is None:
        return ()
    policies = dict(_items(policy))
    states = dict(_items(state))
    readings = []
    for name in dict.fromkeys((*policies, *states)):
        quota, left = policies.get(name, {}), states.get(name, {})
        metric = _UNITS.get(quota.get("qu", "requests"))
        limit, remaining = _count(quota.get("q")), _count(left.get("r"))
        if metric is None or (limit is None and remaining is None):
            continue
        wait = _count(left.get("t"))
        reset_at = None if wait is None else now + wait
        readings.append(Reading(metric, _window(_count(quota.get("w"))), limit, remaining, reset_at))
    return tuple(readings)


def _window(seconds: float | None) -> Window | None:
    """The longest window that is no longer than ``seconds``."""
    fitting = [window for window in Window if seconds is not None and window.seconds <= seconds]
    return fitting[-1] if fitting else None


_SPAN_UNITS: Mapping[str, float] = MappingProxyType(
    {
        "ns": 1e-9,
        "us": 1e-6,
        "µs": 1e-6,
        **dict.fromkeys(("ms", "millisecond", "milliseconds"), 1e-3),
        **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
        **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
        **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600.0),
        **dict.fromkeys(("d", "day", "days"), 86400.0),
    }
)
_SPAN_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)([a-zµ]+)")


def parse_span(text: str) -> float | None:
    """The seconds in a duration with units (``1h2m3.4s``, ``194ms``, ``2 minutes``), or None for anything else."""
    if text[-1:] == "s" and len(text) < 20 and text[:-1].replace(".", "", 1).isdecimal():  # 1.27s, as most are
        return float(text[:-1])
    compact = text.replace(" ", "").replace(",", "").lower()
    total, read = 0.0, 0
    for number, word in _SPAN_PART.findall(compact):
        unit = _SPAN_UNITS.get(word)
        if unit is None:
            return None
        total += float(number) * unit
        read += len(number) + len(word)
    return total if 0 < read == len(compact) and total < math.inf else None


def parse_instant(text: str) -> float | None:
    """The Unix seconds of a moment written out: epoch seconds or milliseconds, RFC 3339, an HTTP date. Else None.

    A date without a zone is taken as UTC.
    """
    text = text.strip()
    number = _count(text)
    if number is not None:
        if number > 1e14:  # beyond the year 5000 in milliseconds: no moment at all
            return None
        return number / 1000 if number > 1e12 else number if number > 1e9 else None
    try:
        read = datetime.datetime.fromisoformat if text[:4].isdigit() else email.utils.parsedate_to_datetime
        moment = read(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def parse_reset(value: str, now: float) -> float | None:
    """When ``value`` says a bucket resets, in Unix seconds, or None where it makes no sense.

    Takes seconds from now (``33011.38``), a duration with units (Go's ``2m59.56s``, also ``6m 11.52s`` and ``194ms``),
    epoch seconds or milliseconds, RFC 3339 and HTTP dates. A bare number above 1e12 is milliseconds since the epoch,
    above 1e9 seconds since the epoch, else seconds from now.
    """
    value = value.strip()
    if value[-1:].isalpha():  # a bare number is the rarer case, and finding out that it is none is slow
        span = parse_span(value)
        return now + span if span is not None else parse_instant(value)
    number = _count(value)
    return now + number if number is not None and number <= 1e9 else parse_instant(value)


def parse_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """When an answer asks to be tried again, in Unix seconds: ``retry-after-ms``, else ``retry-after`` (RFC 9110)."""
    milliseconds = _count(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return now + milliseconds / 1000
    value = headers.get("retry-after")
    return None if value is None else parse_reset(value, now)
