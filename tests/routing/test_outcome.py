from __future__ import annotations

import datetime
import re
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain429.routing.failure import Failure, Quota, read_failure
from chain429.routing.outcome import CONSEQUENCES, GENERIC, Hit, Kind, Outcome, Provision, Rule, Scope, Step, classify
from chain429.routing.window import DayReset, Window

NOW = 1_790_020_800.0  # 2026-09-21 20:00 UTC
UTC_DAY = DayReset(datetime.UTC)
PLAIN = Provision()


def message(status: int, text: str, code: str = "") -> Failure:
    return Failure(status, frozenset(code.split()), text)


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (Failure(301), Kind.FAILED),
        (Failure(400), Kind.REJECTED),
        (Failure(401), Kind.UNAUTHORIZED),
        (Failure(402), Kind.QUOTA_SPENT),
        (Failure(403), Kind.UNAUTHORIZED),
        (Failure(404), Kind.GONE),
        (Failure(405), Kind.FAILED),
        (Failure(407), Kind.UNAUTHORIZED),
        (Failure(408), Kind.FAILED),
        (Failure(409), Kind.FAILED),
        (Failure(410), Kind.GONE),
        (Failure(413), Kind.TOO_LARGE),
        (Failure(422), Kind.REJECTED),
        (Failure(424), Kind.FAILED),
        (Failure(425), Kind.FAILED),
        (Failure(429), Kind.RATE_LIMITED),
        (Failure(451), Kind.REJECTED),
        (Failure(498), Kind.BUSY),
        (Failure(499), Kind.FAILED),
        (Failure(500), Kind.FAILED),
        (Failure(502), Kind.FAILED),
        (Failure(503), Kind.BUSY),
        (Failure(504), Kind.FAILED),
        (Failure(520), Kind.FAILED),
        (Failure(529), Kind.BUSY),
        (Failure(200), Kind.FAILED),
        (Failure(999), Kind.FAILED),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Failure) else value,
)
def test_a_status_alone(failure: Failure, kind: Kind) -> None:
    assert classify(failure, PLAIN, NOW).kind is kind


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (message(400, "x", "context_length_exceeded"), Kind.TOO_LARGE),
        (message(400, "the request exceeds the available context size", "exceed_context_size_error"), Kind.TOO_LARGE),
        (message(400, "x", "string_too_long"), Kind.TOO_LARGE),
        (message(422, "user: String should have at most 64 characters", "string_too_long"), Kind.REJECTED),
        (message(422, "Input is too long for requested model."), Kind.TOO_LARGE),
        (message(500, "Please reduce the length of the messages or completion."), Kind.TOO_LARGE),
        (message(400, "x", "content_filter"), Kind.REJECTED),
        (message(403, "Your input was flagged"), Kind.REJECTED),
        (message(429, "x", "insufficient_quota"), Kind.UNAUTHORIZED),
        (message(400, "x", "API_KEY_INVALID"), Kind.UNAUTHORIZED),
        (message(400, "API key not valid. Please pass a valid API key."), Kind.UNAUTHORIZED),
        (message(403, "Sorry, your account balance is insufficient"), Kind.UNAUTHORIZED),
        (message(400, "Your credit balance is too low to access the API"), Kind.UNAUTHORIZED),
        (message(400, "Invalid token in tool schema"), Kind.REJECTED),
        (message(400, "x", "model_not_found"), Kind.GONE),
        (message(400, "The model `x/y-1.5` does not exist"), Kind.GONE),
        (message(400, "some/model:free is not a valid model ID"), Kind.GONE),
        (message(400, "'max_tokens' is not supported with this model"), Kind.REJECTED),
        (message(404, "Provider returned error"), Kind.FAILED),
        (Failure(403, page=True, message="Access denied"), Kind.FAILED),
        (Failure(400, page=True, message="Bad request"), Kind.FAILED),
        (Failure(404, page=True), Kind.GONE),
        (message(403, "error code: 1010"), Kind.FAILED),
        (message(403, "Country, region, or territory not supported"), Kind.FAILED),
        (message(403, "this model requires a subscription, upgrade for access"), Kind.GONE),
        (message(403, "This model requires a Workers Paid plan"), Kind.GONE),
        (message(403, "Project `p` does not have access to model `m`"), Kind.GONE),
        (message(403, "Your key may not do this"), Kind.UNAUTHORIZED),
        (message(429, "Too many concurrent requests"), Kind.BUSY),
        (message(429, "Model busy, retry later"), Kind.BUSY),
        (message(429, "We're experiencing high traffic right now!"), Kind.BUSY),
        (message(429, "x", "queue_exceeded"), Kind.BUSY),
        (message(500, "Over capacity"), Kind.BUSY),
        (message(200, "x", "overloaded_error"), Kind.BUSY),
        (message(429, "Slow down. Upgrade today for more."), Kind.RATE_LIMITED),
        (message(429, "20 requests per day"), Kind.QUOTA_SPENT),
        (message(429, "weekly usage limit"), Kind.QUOTA_SPENT),
        (message(429, "1000 calls / month"), Kind.QUOTA_SPENT),
        (message(429, "150 requests per hour"), Kind.RATE_LIMITED),
    ],
    ids=lambda value: (
        f"{value.status} {value.message} {min(value.codes, default='')}" if isinstance(value, Failure) else value
    ),
)
def test_what_bodies_say(failure: Failure, kind: Kind) -> None:
    assert classify(failure, PLAIN, NOW).kind is kind


@pytest.mark.parametrize(
    "text",
    [
        "maximum context length",
        "flagged",
        "requests per day",
        "rate limit, try again in 5s",
        "overloaded",
        "no such model",
    ],
)
@pytest.mark.parametrize("status", [401, 402, 404, 408, 502])
def test_wording_decides_nothing_where_the_status_is_clear(status: int, text: str) -> None:
    assert classify(message(status, text), PLAIN, NOW).kind is classify(Failure(status), PLAIN, NOW).kind


def test_wording_never_decides_alone() -> None:
    assert [rule for rule in GENERIC if rule.says and not (rule.status or rule.code)] == []


def test_the_last_rule_takes_whatever_is_left() -> None:
    assert GENERIC[-1] == Rule(Kind.FAILED)


RULE = Rule(Kind.BUSY)


@pytest.mark.parametrize(
    ("rule", "failure", "matches"),
    [
        (RULE, Failure(500), True),
        (Rule(Kind.BUSY, frozenset({429})), Failure(429), True),
        (Rule(Kind.BUSY, frozenset({429})), Failure(503), False),
        (Rule(Kind.BUSY, code=frozenset({"a", "b"})), Failure(429, frozenset({"b", "c"})), True),
        (Rule(Kind.BUSY, code=frozenset({"a"})), Failure(429, frozenset({"b"})), False),
        (Rule(Kind.BUSY, says=re.compile("queue")), message(429, "in a queue"), True),
        (Rule(Kind.BUSY, says=re.compile("queue")), message(429, ""), False),
        (Rule(Kind.BUSY, headers=(("x-limit", "0"),)), Failure(429, headers={"x-limit": "0"}), True),
        (Rule(Kind.BUSY, headers=(("x-limit", "0"),)), Failure(429, headers={"x-limit": "10"}), False),
        (Rule(Kind.BUSY, headers=(("x-limit", "0"),)), Failure(429), False),
        (Rule(Kind.BUSY, upstream=True), Failure(429, upstream="X"), True),
        (Rule(Kind.BUSY, upstream=True), Failure(429), False),
        (Rule(Kind.BUSY, page=True), Failure(429, page=True), True),
        (Rule(Kind.BUSY, page=True), Failure(429), False),
        (Rule(Kind.BUSY, frozenset({429}), frozenset({"a"})), Failure(429), False),
    ],
)
def test_every_part_of_a_rule_must_match(rule: Rule, failure: Failure, matches: bool) -> None:
    assert rule.matches(failure) is matches


def test_a_providers_rule_comes_before_the_generic_ones() -> None:
    provision = Provision((Rule(Kind.GONE, frozenset({429})), Rule(Kind.BUSY, frozenset({429}))))
    assert classify(Failure(429), provision, NOW).kind is Kind.GONE


def limited(text: str = "", retry_after: str | None = None, **facts: float | None) -> Failure:
    headers = {} if retry_after is None else {"retry-after": retry_after}
    return Failure(429, message=text, headers=headers, wait=facts.get("wait"), reset_at=facts.get("reset_at"))


@pytest.mark.parametrize(
    ("failure", "after"),
    [
        pytest.param(limited(), None, id="no hint at all"),
        pytest.param(limited(retry_after="7"), 7, id="Retry-After"),
        pytest.param(limited(wait=9), 9, id="a wait in the body"),
        pytest.param(limited(retry_after="7", wait=9), 7, id="Retry-After before the body"),
        pytest.param(limited(retry_after="7", reset_at=NOW + 30), 30, id="a moment before a wait"),
        pytest.param(limited(retry_after="0"), None, id="no wait is no hint"),
        pytest.param(limited(reset_at=NOW - 30), None, id="a moment that is past is no hint"),
        pytest.param(limited(retry_after="1555200"), 3600, id="18 days are not believed"),
        pytest.param(limited("30 requests per minute"), 60, id="a minute's limit without a hint"),
        pytest.param(limited("30 requests per minute", retry_after="90"), 90, id="a minute's limit"),
        pytest.param(
            limited("30 requests per minute", retry_after="86400"), 120, id="a minute's limit never benches a day"
        ),
        pytest.param(limited("2 requests per second"), 1, id="a second's limit"),
        pytest.param(limited("150 requests per hour", retry_after="86400"), 7200, id="an hour's limit"),
    ],
)
def test_how_long_a_rate_limit_lasts(failure: Failure, after: float | None) -> None:
    outcome = classify(failure, PLAIN, NOW)
    assert outcome.kind is Kind.RATE_LIMITED
    assert outcome.until == (None if after is None else NOW + after)


@pytest.mark.parametrize(
    ("failure", "day", "until"),
    [
        pytest.param(limited("per day"), UTC_DAY, NOW + 4 * 3600, id="midnight"),
        pytest.param(
            limited("per day"), DayReset(ZoneInfo("America/Los_Angeles")), NOW + 11 * 3600, id="midnight elsewhere"
        ),
        pytest.param(limited("per day", wait=1), UTC_DAY, NOW + 4 * 3600, id="midnight wins over a wait"),
        pytest.param(limited("per day", reset_at=NOW + 600), UTC_DAY, NOW + 600, id="a moment wins over midnight"),
        pytest.param(
            limited("per day", reset_at=NOW + 1e6), UTC_DAY, NOW + 4 * 3600, id="unless it is beyond two days"
        ),
        pytest.param(limited("per day"), DayReset(), NOW + 3600, id="a rolling day"),
        pytest.param(limited("per day", wait=660.5), DayReset(), NOW + 660.5, id="a rolling day with a wait"),
        pytest.param(limited("per day", wait=1e8), DayReset(), NOW + 2 * 86400, id="a rolling day with an absurd wait"),
        pytest.param(limited("per week"), UTC_DAY, NOW + 86400, id="a week is looked at once a day"),
        pytest.param(limited("per week", wait=200_000), UTC_DAY, NOW + 200_000, id="a week with a wait"),
        pytest.param(limited("per month", wait=1), UTC_DAY, 1790812800.0, id="the first of the next month"),
        pytest.param(Failure(402), UTC_DAY, NOW + 3600, id="no window"),
        pytest.param(Failure(402, wait=1e8), UTC_DAY, NOW + 86400, id="no window and an absurd wait"),
    ],
)
def test_how_long_a_spent_quota_lasts(failure: Failure, day: DayReset, until: float) -> None:
    outcome = classify(failure, Provision(day=day), NOW)
    assert outcome.kind is Kind.QUOTA_SPENT
    assert outcome.until == until


@pytest.mark.parametrize(
    ("rule", "failure", "after"),
    [
        (Rule(Kind.BUSY), Failure(503), None),
        (Rule(Kind.BUSY), Failure(503, headers={"retry-after": "3"}), 3),
        (Rule(Kind.BUSY), Failure(503, headers={"retry-after": "86400"}), 300),
        (Rule(Kind.BUSY, seconds=2), Failure(503), 2),
        (Rule(Kind.BUSY, seconds=2), Failure(503, wait=1), 1),
        (Rule(Kind.RATE_LIMITED, seconds=62, window=Window.MINUTE), Failure(429), 62),
        (Rule(Kind.RATE_LIMITED, seconds=62, window=Window.MINUTE), Failure(429, wait=5), 5),
        (Rule(Kind.QUOTA_SPENT, seconds=600, window=Window.DAY), Failure(429), 600),
        (Rule(Kind.QUOTA_SPENT, seconds=600, window=Window.DAY), Failure(429, reset_at=NOW + 5), 5),
        (Rule(Kind.UNAUTHORIZED, seconds=600), Failure(401), None),
        (Rule(Kind.GONE), Failure(404, headers={"retry-after": "3"}), None),
        (Rule(Kind.TOO_LARGE), Failure(413, headers={"retry-after": "65"}), None),
    ],
)
def test_what_a_rule_says_of_time(rule: Rule, failure: Failure, after: float | None) -> None:
    outcome = classify(failure, Provision((rule,), UTC_DAY), NOW)
    assert outcome.until == (None if after is None else NOW + after)


def test_a_clock_time_without_a_zone_is_in_that_of_the_providers_days() -> None:
    failure = Failure(429, message="per day", reset_clock=datetime.datetime(2026, 9, 22, 5, 0))  # noqa: DTZ001
    beijing = Provision(day=DayReset(ZoneInfo("Asia/Shanghai")))
    assert classify(failure, beijing, NOW).until == NOW + 3600
    assert classify(failure, PLAIN, NOW).until == NOW + 9 * 3600


@pytest.mark.parametrize(
    ("rule", "scope", "step"),
    [
        (Rule(Kind.RATE_LIMITED), Scope.MODEL, Step.TARGET),
        (Rule(Kind.RATE_LIMITED, scope=Scope.PROVIDER), Scope.PROVIDER, Step.PROVIDER),
        (Rule(Kind.QUOTA_SPENT, scope=Scope.ACCOUNT), Scope.ACCOUNT, Step.TARGET),
        (Rule(Kind.BUSY), Scope.ENTRY, Step.ENTRY),
        (Rule(Kind.BUSY, scope=Scope.MODEL), Scope.MODEL, Step.TARGET),
        (Rule(Kind.GONE), Scope.ENTRY, Step.ENTRY),
        (Rule(Kind.GONE, scope=Scope.MODEL), Scope.MODEL, Step.TARGET),
        (Rule(Kind.UNAUTHORIZED), Scope.CREDENTIAL, Step.TARGET),
        (Rule(Kind.TOO_LARGE), None, Step.ENTRY),
        (Rule(Kind.REJECTED), None, Step.PROVIDER),
        (Rule(Kind.FAILED), None, Step.ENTRY),
    ],
)
def test_how_wide_it_benches_and_where_to_go(rule: Rule, scope: Scope | None, step: Step) -> None:
    outcome = classify(Failure(429), Provision((rule,)), NOW)
    assert (outcome.scope, outcome.step) == (scope, step)


def test_a_provider_may_count_wider_than_the_model() -> None:
    provision = Provision(scope=Scope.ACCOUNT)
    assert classify(Failure(429), provision, NOW).scope is Scope.ACCOUNT
    assert classify(Failure(503), provision, NOW).scope is Scope.ENTRY


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (limited("on tokens per day (TPD): Limit 200000"), "tokens per day spent (limit 200000)"),
        (limited("on requests per minute"), "requests per minute reached"),
        (limited("hourly usage limit"), "usage per hour reached"),
        (limited(), "rate limited (HTTP 429)"),
        (limited("Slow down."), "rate limited (HTTP 429): Slow down."),
        (message(503, "Overloaded"), "busy (HTTP 503): Overloaded"),
        (
            message(401, "Incorrect API key provided: sk-abc*****xyz."),
            "key refused (HTTP 401): Incorrect API key provided: …",
        ),
        (message(500, "in org_1234 <ak-5> today"), "failed (HTTP 500): in … … today"),
        (Failure(400, param="seed"), "request refused (HTTP 400), parameter seed"),
        (Failure(413), "request too large (HTTP 413)"),
    ],
)
def test_reasons_are_plain_words(failure: Failure, reason: str) -> None:
    assert classify(failure, PLAIN, NOW).reason == reason


def test_a_long_reason_is_cut() -> None:
    reason = classify(message(500, "x" * 1000), PLAIN, NOW).reason
    assert reason == "failed (HTTP 500): " + "x" * 199 + "…"


def test_only_a_rejection_names_a_parameter() -> None:
    assert classify(Failure(400, param="seed"), PLAIN, NOW).param == "seed"
    assert classify(Failure(400, frozenset({"model_not_found"}), param="model"), PLAIN, NOW).param is None
    rule = Rule(Kind.REJECTED, frozenset({416}), param="max_completion_tokens")
    assert classify(Failure(416), Provision((rule,)), NOW).param == "max_completion_tokens"
    assert classify(Failure(416, param="seed"), Provision((rule,)), NOW).param == "seed"


def test_a_rules_window_silences_another_that_the_message_names() -> None:
    rule = Rule(Kind.RATE_LIMITED, frozenset({429}), window=Window.MINUTE)
    outcome = classify(limited("1000 requests per day on other plans"), Provision((rule,)), NOW)
    assert (outcome.kind, outcome.limit, outcome.reason) == (
        Kind.RATE_LIMITED,
        "usage per minute",
        "usage per minute reached",
    )


@pytest.mark.parametrize(
    ("message", "hit"),
    [
        ("on tokens per day (TPD): Limit 200000, Used 197494", Hit("tokens", Window.DAY, 200000, 197494)),
        ("Requests per minute limit exceeded", Hit("requests", Window.MINUTE)),
        ("limit of 0 requests per minute", Hit("requests", Window.MINUTE)),
        ("you reached your weekly usage limit", None),
        ("Too many!", None),
    ],
)
def test_what_limit_it_was_is_told_in_numbers_as_far_as_it_is_named(message: str, hit: Hit | None) -> None:
    assert classify(Failure(429, message=message), Provision(), NOW).hit == hit


def test_a_rule_that_says_what_is_counted_tells_it() -> None:
    rule = Rule(Kind.RATE_LIMITED, frozenset({429}), window=Window.DAY, limit="requests per day")
    found = classify(Failure(429, message="Too many!"), Provision((rule,)), NOW)
    assert (found.kind, found.hit) == (Kind.QUOTA_SPENT, Hit("requests", Window.DAY))


def test_only_a_limit_is_learned_from() -> None:
    assert classify(Failure(503, message="10 requests per minute"), Provision(), NOW).hit is None


def test_every_kind_has_its_row() -> None:
    assert set(CONSEQUENCES) == set(Kind)


def test_an_outcome_takes_its_scope_and_step_from_the_table_unless_told() -> None:
    assert Outcome.of(Kind.BUSY, "x") == Outcome(Kind.BUSY, "x", scope=Scope.ENTRY, step=Step.ENTRY)
    told = Outcome.of(Kind.BUSY, "x", scope=Scope.MODEL, step=Step.TARGET, until=1, status=503)
    assert told == Outcome(Kind.BUSY, "x", 503, 1, Scope.MODEL, Step.TARGET)


FAILURES = st.builds(
    Failure,
    status=st.integers(100, 999),
    codes=st.frozensets(st.sampled_from(sorted({code for rule in GENERIC for code in rule.code})), max_size=2),
    message=st.sampled_from(["", "requests per minute", "per day", "monthly", "overloaded", "limit 5 per second"]),
    headers=st.fixed_dictionaries(
        {}, optional={"retry-after": st.from_regex(r"-?[0-9]{1,12}(\.[0-9])?|x", fullmatch=True)}
    ),
    quotas=st.lists(st.builds(Quota, st.sampled_from(["PerDay", "RequestsPerMinute", "x"])), max_size=2).map(tuple),
    wait=st.none() | st.floats(0, 1e9),
    reset_at=st.none() | st.floats(-1e9, 1e12),
    page=st.booleans(),
)


@pytest.mark.parametrize(
    ("failure", "claim"),
    [
        pytest.param(limited("30 requests per minute", retry_after="90"), None, id="sensible"),
        pytest.param(limited("30 requests per minute", retry_after="10800"), NOW + 10800, id="a minute of three hours"),
        pytest.param(limited("per day", reset_at=NOW + 18 * 86400), NOW + 18 * 86400, id="a day of eighteen"),
        pytest.param(limited("per day", wait=1), None, id="less than what is known"),
        pytest.param(limited(), None, id="nothing"),
    ],
)
def test_what_a_provider_claims_beyond_what_is_sensible_is_kept(failure: Failure, claim: float | None) -> None:
    assert classify(failure, Provision(day=UTC_DAY), NOW).claim == claim


@pytest.mark.parametrize(
    ("text", "hit"),
    [
        (
            "on tokens per minute (TPM): Limit 200000, Used 199000, Requested 2000",
            Hit("tokens", Window.MINUTE, 200_000, 199_000),
        ),
        ("30 requests per minute, current usage: 31", Hit("requests", Window.MINUTE, 30, 31)),
        ("you have used up your 50 requests per day", Hit("requests", Window.DAY, 50)),
    ],
)
def test_how_much_was_used_is_told_where_the_refusal_says_it(text: str, hit: Hit) -> None:
    assert classify(limited(text), PLAIN, NOW).hit == hit


@settings(deadline=None)
@given(FAILURES, st.sampled_from([DayReset(), UTC_DAY]), st.floats(1e9, 2e9))
def test_no_bench_outlasts_what_its_window_allows(failure: Failure, day: DayReset, now: float) -> None:
    outcome = classify(failure, Provision(day=day), now)
    if outcome.until is None:
        assert outcome.kind is not Kind.QUOTA_SPENT
    else:
        assert outcome.kind in (Kind.BUSY, Kind.RATE_LIMITED, Kind.QUOTA_SPENT)
        longest = {Kind.BUSY: 300.0, Kind.RATE_LIMITED: 7200.0, Kind.QUOTA_SPENT: 62 * 86400.0}[outcome.kind]
        if outcome.limit.endswith("per minute"):
            longest = 120.0
        assert now < outcome.until <= now + longest


@settings(deadline=None)
@given(st.sampled_from([400, 403, 404, 422, 429, 500, 503]), st.binary(max_size=200))
def test_whatever_comes_has_an_outcome(status: int, body: bytes) -> None:
    outcome = classify(read_failure(status, {}, body), PLAIN, NOW)
    assert outcome.reason
    assert outcome.status == status
