"""What became of an attempt, and what follows from it: one table for every provider and dialect.

``classify`` turns what a provider answered (a ``Failure``) into an ``Outcome``; ``CONSEQUENCES`` says what each kind
benches and where the waterfall goes next. Nothing here knows a provider's name: what is particular to one comes in as
``Rule`` values from the catalog.
"""

from __future__ import annotations

import datetime
import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from chain429.routing.failure import Failure
from chain429.routing.headers import Metric, parse_retry_after, read_headers
from chain429.routing.window import DayReset, Refill, Window
from chain429.routing.wording import UNNAMED, NamedLimit, limit_named


class Kind(StrEnum):
    """The kinds of outcome; the rows of the table."""

    SERVED = "served"
    RATE_LIMITED = "rate_limited"
    BUSY = "busy"
    QUOTA_SPENT = "quota_spent"
    UNAUTHORIZED = "unauthorized"
    GONE = "gone"
    TOO_LARGE = "too_large"
    REJECTED = "rejected"
    FAILED = "failed"
    BROKEN = "broken"
    CANCELLED = "cancelled"


class Scope(StrEnum):
    """How wide an outcome benches."""

    MODEL = "model"  # one account's use of one model
    ACCOUNT = "account"  # every model of one account
    CREDENTIAL = "credential"  # one key, for every model
    ENTRY = "entry"  # one model at its provider, whichever the key
    PROVIDER = "provider"  # everything at the provider


class Step(StrEnum):
    """Where the waterfall goes after an attempt: what it may not try again for this request."""

    END = "end"
    TARGET = "target"  # the next target, another key of the same model included
    ENTRY = "entry"  # the next model or provider: another key would meet the same wall
    PROVIDER = "provider"  # the next provider


@dataclass(frozen=True, slots=True)
class Consequence:
    """One row of the table. ``trips`` counts against the provider's circuit breaker. The words are the README's."""

    scope: Scope | None
    step: Step
    trips: bool
    examples: str
    benches: str
    next: str


CONSEQUENCES: Mapping[Kind, Consequence] = MappingProxyType(
    {
        Kind.SERVED: Consequence(None, Step.END, False, "an answer", "nothing", "end"),
        Kind.RATE_LIMITED: Consequence(
            Scope.MODEL,
            Step.TARGET,
            False,
            "429 with a window",
            "that bucket (model, account or provider, as reported) until it frees",
            "next target",
        ),
        Kind.BUSY: Consequence(
            Scope.ENTRY,
            Step.ENTRY,
            False,
            "queue full, 503, 529, 498, an upstream's 429 behind an aggregator",
            "target, for seconds, growing",
            "next target",
        ),
        Kind.QUOTA_SPENT: Consequence(
            Scope.MODEL,
            Step.TARGET,
            False,
            "daily or monthly wording, 402",
            "that bucket till its reset",
            "next target",
        ),
        Kind.UNAUTHORIZED: Consequence(
            Scope.CREDENTIAL,
            Step.TARGET,
            False,
            "401, 403 about the key, `insufficient_quota`, “credit balance too low”",
            "credential",
            "next credential",
        ),
        Kind.GONE: Consequence(Scope.ENTRY, Step.ENTRY, False, "404 or 410, model retired", "target", "next target"),
        Kind.TOO_LARGE: Consequence(
            None,
            Step.ENTRY,
            False,
            "413, context length",
            "nothing; the size that did not fit is remembered",
            "next target that fits",
        ),
        Kind.REJECTED: Consequence(
            None,
            Step.PROVIDER,
            False,
            "400 or 422 about the request",
            "nothing; a parameter that is named and safe to drop is dropped once",
            "next provider; if all reject, the first rejection goes back",
        ),
        Kind.FAILED: Consequence(
            None,
            Step.ENTRY,
            True,
            "5xx, refused, DNS, TLS, time-out, garbage, cut before the first token",
            "breaker of the provider",
            "next target",
        ),
        Kind.BROKEN: Consequence(
            None,
            Step.END,
            True,
            "cut after the first token",
            "breaker of the provider",
            "the dialect's error event, end",
        ),
        Kind.CANCELLED: Consequence(
            None, Step.END, False, "the client left", "nothing", "the upstream call is closed at once"
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Hit:
    """The limit that a refusal named: what it counts, over what, its size and how much of it was used, where that
    was said."""

    metric: Metric
    window: Window
    amount: float | None = None
    used: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one attempt.

    ``until`` (Unix seconds) is set where the provider, or what is known of its windows, says when it is over; without
    it the cooldown grows from seconds. It is no later than is sensible for what was hit; ``claim`` is what the provider
    said where that is later still, and ``guessed`` says that it said nothing. ``limit`` names the limit that was hit
    (``requests per day``), ``hit`` says it in numbers as far as they are known, ``param`` is the request's field that
    was refused.
    """

    kind: Kind
    reason: str
    status: int | None = None
    until: float | None = None
    scope: Scope | None = None
    step: Step = Step.END
    param: str | None = None
    limit: str = ""
    hit: Hit | None = None
    claim: float | None = None
    guessed: bool = False

    @classmethod
    def of(
        cls,
        kind: Kind,
        reason: str,
        *,
        status: int | None = None,
        until: float | None = None,
        scope: Scope | None = None,
        step: Step | None = None,
        param: str | None = None,
        limit: str = "",
    ) -> Outcome:
        """An outcome with the table's scope and step, unless told otherwise."""
        row = CONSEQUENCES[kind]
        return cls(kind, reason, status, until, scope or row.scope, step or row.step, param, limit)


SERVED = Outcome.of(Kind.SERVED, "served", status=200)


def words(pattern: str) -> re.Pattern[str]:
    """What a rule searches a refusal's message for, whatever its case; see ``Failure.folded``."""
    return re.compile(pattern, re.IGNORECASE if pattern != pattern.lower() else 0)


@dataclass(frozen=True, slots=True)
class Rule:
    """A provider's own meaning of a failure; the first that matches wins.

    Every part that is given must match: ``status`` any of these HTTP statuses; ``code`` equals one of the body's code,
    type or status words; ``says`` is searched in the error's message (the provider's own text, never the prompt), and
    goes with a status or a code, since wording alone proves nothing; ``headers`` have exactly these values;
    ``upstream``: the failure is one of the provider behind an aggregator; ``page``: the body is a page of HTML.

    ``window`` is what the refusal counts over and ``limit`` what it counts (``neurons per day``), where the body does
    not name them; ``seconds`` how long to stay away where the provider does not say; ``param`` the field at fault where
    the body names none. A rate limit whose window turns out to be a day or longer is a quota that is spent.
    """

    kind: Kind
    status: frozenset[int] = frozenset()
    code: frozenset[str] = frozenset()
    says: re.Pattern[str] | None = None
    scope: Scope | None = None
    window: Window | None = None
    seconds: float | None = None
    headers: tuple[tuple[str, str], ...] = ()
    upstream: bool = False
    page: bool = False
    param: str | None = None
    limit: str = ""

    def matches(self, failure: Failure) -> bool:
        if self.status and failure.status not in self.status:
            return False
        if self.code and not (self.code & failure.codes):
            return False
        if (self.upstream and failure.upstream is None) or (self.page and not failure.page):
            return False
        if any(failure.headers.get(name) != value for name, value in self.headers):
            return False
        return self.says is None or self.says.search(failure.folded) is not None


@dataclass(frozen=True, slots=True)
class Provision:
    """What the catalog knows of a provider's failures: its rules, and how and when its limits free."""

    rules: tuple[Rule, ...] = ()
    day: DayReset = field(default_factory=DayReset)
    refill: Refill = Refill.WINDOW
    scope: Scope = Scope.MODEL


def _rule(
    kind: Kind,
    status: Iterable[int] = (),
    code: str = "",
    says: str = "",
    *,
    scope: Scope | None = None,
    seconds: float | None = None,
    page: bool = False,
) -> Rule:
    pattern = words(says) if says else None
    return Rule(kind, frozenset(status), frozenset(code.split()), pattern, scope, seconds=seconds, page=page)


# What failures mean where a provider's own rules say nothing. The last rule takes whatever is left.
GENERIC: tuple[Rule, ...] = (
    # Too large, in whatever words.
    _rule(Kind.TOO_LARGE, code="context_length_exceeded exceed_context_size_error max_tokens_exceeded"),
    _rule(Kind.TOO_LARGE, code="payload_too_large request_too_large token_limit_exceeded tokens_limit_reached"),
    _rule(Kind.TOO_LARGE, [400], code="string_too_long"),
    _rule(Kind.TOO_LARGE, [413]),
    _rule(
        Kind.TOO_LARGE,
        [400, 422, 500],
        says=r"context (?:length|window|size)|(?:prompt|input) is too long|input token count|reduce the length"
        r"|exceeded model token limit|request too large|longer than the model's",
    ),
    # The provider's policy refuses the request, not the key.
    _rule(Kind.REJECTED, code="content_filter content_policy_violation invalid_prompt refusal"),
    _rule(Kind.REJECTED, code="ResponsibleAIPolicyViolation data_inspection_failed moderation_blocked"),
    _rule(
        Kind.REJECTED,
        [400, 403, 422],
        says=r"\bflagged\b|\bmoderation\b|content[ _](?:policy|filter|management)|safety (?:system|polic|filter)",
    ),
    # Nothing more from this key until someone acts.
    _rule(Kind.UNAUTHORIZED, code="insufficient_quota billing_not_active billing_hard_limit_reached"),
    _rule(Kind.UNAUTHORIZED, code="API_KEY_INVALID account_deactivated authentication_error invalid_api_key"),
    _rule(
        Kind.UNAUTHORIZED,
        [400, 403, 429],
        says=r"credit balance is too low|insufficient (?:account )?balance|balance is insufficient|positive balance"
        r"|(?:invalid|incorrect|expired|missing) api[ _-]?key"
        r"|api[ _-]?key (?:is |was |has )?(?:been )?(?:not valid|invalid|incorrect|expired|revoked|missing)",
    ),
    _rule(Kind.UNAUTHORIZED, [401, 407]),
    _rule(Kind.QUOTA_SPENT, [402], scope=Scope.ACCOUNT),
    # The model is not there, or not there for this account.
    _rule(Kind.GONE, code="model_archived model_decommissioned model_deprecated model_not_found DeploymentNotFound"),
    _rule(
        Kind.GONE,
        [400, 422],
        says=r"\bmodel [\"'`]?[\w./:@-]+[\"'`]? (?:is |was |has been )?(?:does not exist|not found|decommissioned"
        r"|retired|no longer (?:available|supported))|(?:unknown|no such) model|not a valid model",
    ),
    _rule(Kind.FAILED, [404], says="^provider returned error"),
    _rule(Kind.GONE, [404, 410]),
    # A firewall, or a border, stands before the provider: no key is at fault.
    _rule(Kind.FAILED, [400, 403], page=True),
    _rule(Kind.FAILED, [403], says=r"error code: 1\d\d\d\b"),
    _rule(Kind.FAILED, [400, 403], says=r"(?:country|location)\b.{0,40} (?:is )?not supported"),
    _rule(
        Kind.GONE,
        [403],
        says=r"requires an? (?:[\w-]+ ){0,3}(?:subscription|plan)\b|(?:no|not have) access to (?:the |this )?model",
        scope=Scope.MODEL,
    ),
    _rule(Kind.UNAUTHORIZED, [403]),
    # Too much at once, for whatever reason: seconds, not windows.
    _rule(Kind.BUSY, code="capacity_exceeded capacity_exhausted engine_overloaded_error MODEL_CAPACITY_EXHAUSTED"),
    _rule(Kind.BUSY, code="overloaded_error provider_overloaded queue_exceeded temporarily_unavailable"),
    _rule(Kind.BUSY, [429], says="concurren", scope=Scope.MODEL, seconds=2),
    _rule(
        Kind.BUSY,
        [429, 500],
        says=r"overloaded|over capacity|no capacity|capacity (?:temporarily )?exceeded|high (?:demand|traffic)"
        r"|\b(?:engine|model|server|system) (?:is )?(?:currently |really |too )?busy",
    ),
    _rule(Kind.RATE_LIMITED, [429]),
    _rule(Kind.BUSY, [498, 503, 529]),
    _rule(Kind.FAILED, [405, 408, 409, 424, 425, 499]),
    _rule(Kind.REJECTED, range(400, 500)),
    _rule(Kind.FAILED),
)


# What is answered where a path is unknown, or known and not for this model.
_NOT_THERE = frozenset({403, 404, 405, 501})


@functools.lru_cache(maxsize=64)
def _generic(status: int) -> tuple[Rule, ...]:
    return tuple(rule for rule in GENERIC if not rule.status or status in rule.status)


def classify(failure: Failure, provision: Provision, now: float) -> Outcome:
    """What a provider's refusal means: by its own rules first, then by the generic ones. ``now`` in Unix seconds."""
    own = (rule for rule in provision.rules if rule.matches(failure))
    rule = next(own, None) or next(rule for rule in _generic(failure.status) if rule.matches(failure))
    kind = rule.kind
    hit = limit_named(failure) if kind in (Kind.RATE_LIMITED, Kind.QUOTA_SPENT) else UNNAMED
    window = rule.window or hit.window
    if window is not hit.window:  # what the message names besides is another limit
        hit = UNNAMED if hit.window else NamedLimit(amount=hit.amount)
    if kind is Kind.RATE_LIMITED and window is not None and window.seconds >= Window.DAY.seconds:
        kind = Kind.QUOTA_SPENT
    row = CONSEQUENCES[kind]
    scope = rule.scope or (provision.scope if kind in (Kind.RATE_LIMITED, Kind.QUOTA_SPENT) else row.scope)
    limit = rule.limit or hit.name or (f"usage per {window}" if window else "")
    param = (failure.param or rule.param) if kind is Kind.REJECTED else None
    until, claim, guessed = _end(kind, rule, window, failure, provision, now)
    return Outcome(
        kind,
        _reason(kind, failure, limit, hit.amount, param),
        failure.status,
        until,
        scope,
        row.step if scope is None or scope is row.scope else _STEPS[scope],
        param,
        limit,
        _hit(hit.metric or ("requests" if "requests" in limit else None), window, hit.amount, hit.used),
        claim if claim is not None and until is not None and claim > until else None,
        guessed,
    )


def sized(outcome: Outcome, failure: Failure, family: str, now: float) -> Outcome:
    """The same, with the size of the limit that was hit, where nothing but the refusal's headers tells it: what these,
    of the ``family``, say without a window is said of whichever limit refused."""
    hit = outcome.hit
    if hit is None or hit.amount is not None or failure.upstream is not None:
        return outcome
    for reading in read_headers(family, failure.headers, now):
        if reading.window is None and reading.metric == hit.metric and reading.limit:
            return replace(outcome, hit=replace(hit, amount=reading.limit))
    return outcome


def of_path(outcome: Outcome) -> Outcome:
    """The same, where the request was for one of the paths that not every provider has, or not for every model: that it
    is not there, or not to be had, is said of the path, and must not bench what is asked elsewhere."""
    there = outcome.status not in _NOT_THERE or outcome.kind not in (Kind.UNAUTHORIZED, Kind.FAILED)
    if there and outcome.kind is not Kind.GONE:
        return outcome
    return Outcome.of(Kind.REJECTED, outcome.reason, status=outcome.status)


def _hit(metric: Metric | None, window: Window | None, amount: str, used: str) -> Hit | None:
    if metric is None or window is None:
        return None
    size = _number(amount)
    return Hit(metric, window, size or None, _number(used))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


# What may not be tried again where an outcome benches more, or less, than its kind usually does.
_STEPS: Mapping[Scope, Step] = MappingProxyType(
    {
        Scope.MODEL: Step.TARGET,
        Scope.ACCOUNT: Step.TARGET,
        Scope.CREDENTIAL: Step.TARGET,
        Scope.ENTRY: Step.ENTRY,
        Scope.PROVIDER: Step.PROVIDER,
    }
)


# The longest that a provider's word is taken for at first, in seconds: by what it counts over, else by the kind. A
# failed try then costs one call, a reset that is wrong by days costs the quota of those days.
SENSIBLE: Mapping[Window | Kind, float] = MappingProxyType(
    {
        Window.SECOND: 2.0,
        Window.MINUTE: 120.0,
        Window.HOUR: 7200.0,
        Window.DAY: 2 * 86400.0,
        Window.WEEK: 14 * 86400.0,
        Window.MONTH: 62 * 86400.0,
        Kind.BUSY: 300.0,
        Kind.RATE_LIMITED: 3600.0,
        Kind.QUOTA_SPENT: 86400.0,
    }
)
# When to look again at a quota that is spent, where nothing tells of its reset.
_LOOK_AGAIN = 3600.0


class _End(NamedTuple):
    """When it is over: as believed, as the provider said, and whether the former is only our guess."""

    until: float | None = None
    claim: float | None = None
    guessed: bool = False


def _end(kind: Kind, rule: Rule, window: Window | None, failure: Failure, provision: Provision, now: float) -> _End:
    if kind not in (Kind.BUSY, Kind.RATE_LIMITED, Kind.QUOTA_SPENT):
        return _End()
    moment, wait = _moment(failure, provision, now), _wait(failure, now)
    own = None if rule.seconds is None else now + rule.seconds
    longest = now + SENSIBLE[kind if window is None or kind is Kind.BUSY else window]
    if kind is Kind.BUSY:
        told = wait or moment
        return _End(own) if told is None else _End(min(told, longest), told)
    claim = moment or wait
    if kind is Kind.RATE_LIMITED:
        told = claim or own
        if told is None:
            return _End() if window is None else _End(now + window.seconds, guessed=True)
        return _End(min(told, longest), claim)
    if moment is not None and moment <= longest:
        return _End(moment)
    calendar = provision.day.month_after(now) if window is Window.MONTH else None
    if window is Window.DAY:
        calendar = provision.day.after(now)
    # Of a calendar's day or month, a wait in seconds tells when a minute's limit frees, if anything.
    if calendar is not None:
        return _End(calendar if own is None else own, claim)
    if wait is not None:
        return _End(min(wait, longest), wait)
    again = min(now + (Window.DAY.seconds if window is Window.WEEK else _LOOK_AGAIN), longest)
    return _End(own or again, claim, guessed=own is None)


def _moment(failure: Failure, provision: Provision, now: float) -> float | None:
    """The moment that the body names, if it is still to come. Without a zone, it is in that of the provider's days."""
    moment = failure.reset_at
    if moment is None and failure.reset_clock is not None:
        moment = failure.reset_clock.replace(tzinfo=provision.day.zone or datetime.UTC).timestamp()
    return moment if moment is not None and moment > now else None


def _wait(failure: Failure, now: float) -> float | None:
    """When the headers, or else the body, ask to be tried again, if that is still to come."""
    until = parse_retry_after(failure.headers, now)
    if until is None and failure.wait is not None:
        until = now + failure.wait
    return until if until is not None and until > now else None


_WORDS: Mapping[Kind, str] = MappingProxyType(
    {
        Kind.RATE_LIMITED: "rate limited",
        Kind.BUSY: "busy",
        Kind.QUOTA_SPENT: "quota spent",
        Kind.UNAUTHORIZED: "key refused",
        Kind.GONE: "model not available",
        Kind.TOO_LARGE: "request too large",
        Kind.REJECTED: "request refused",
        Kind.FAILED: "failed",
    }
)
_QUOTED_AT_MOST = 200
# Ids of organisations, projects and keys that messages quote; the sinks redact the configured keys themselves.
_ID = re.compile(
    r"<[^<>]{1,80}>|\b(?:org|proj|ak|sk|gsk|csk|cpk|nvapi|hf)[-_][\w*.-]{1,}|\b[0-9a-f]{8}-[0-9a-f-]{20,}\b"
)


def _reason(kind: Kind, failure: Failure, limit: str, amount: str, param: str | None) -> str:
    """Plain words for a human, made of facts; the provider's own words where those are all there is."""
    if limit:
        size = f" (limit {amount})" if amount else ""
        return f"{limit} {'spent' if kind is Kind.QUOTA_SPENT else 'reached'}{size}"
    words = f"{_WORDS[kind]} (HTTP {failure.status})"
    if param:
        words += f", parameter {param}"
    quoted = _ID.sub("…", failure.message)
    if len(quoted) > _QUOTED_AT_MOST:
        quoted = quoted[: _QUOTED_AT_MOST - 1] + "…"
    return f"{words}: {quoted}" if quoted else words
