from __future__ import annotations

import pytest

from chain429.routing.failure import Failure, Quota
from chain429.routing.window import Window
from chain429.routing.wording import UNNAMED, NamedLimit, limit_named

PER_DAY = Quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier", 20)
PER_MINUTE = Quota("GenerateContentInputTokensPerModelPerMinute-FreeTier", 250000)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            "on tokens per day (TPD): Limit 200000, Used 197494",
            NamedLimit("tokens per day", Window.DAY, "200000", "tokens", "197494"),
        ),
        (
            "on requests per minute (RPM): Limit 30, Used 30",
            NamedLimit("requests per minute", Window.MINUTE, "30", "requests", "30"),
        ),
        ("on tokens per min (TPM): Limit 8000", NamedLimit("tokens per minute", Window.MINUTE, "8000", "tokens")),
        (
            "Requests per minute limit exceeded - too many",
            NamedLimit("requests per minute", Window.MINUTE, "", "requests"),
        ),
        ("limited to 20 API calls / minute.", NamedLimit("requests per minute", Window.MINUTE, "20", "requests")),
        ("limited to 1,000 API calls / month.", NamedLimit("requests per month", Window.MONTH, "1000", "requests")),
        (
            "of 30,000 input tokens per minute.",
            NamedLimit("input tokens per minute", Window.MINUTE, "30000", "input_tokens"),
        ),
        (
            "Your rate limit is 60 queries per minute.",
            NamedLimit("requests per minute", Window.MINUTE, "60", "requests"),
        ),
        ("request reached organization max RPM: 3,", NamedLimit("requests per minute", Window.MINUTE, "3", "requests")),
        ("Details: TPM limit reached.", NamedLimit("tokens per minute", Window.MINUTE, "", "tokens")),
        ("Details: RPH limit reached.", NamedLimit("requests per hour", Window.HOUR, "", "requests")),
        ("ITPM exceeded", NamedLimit("input tokens per minute", Window.MINUTE, "", "input_tokens")),
        ("10 requests per second", NamedLimit("requests per second", Window.SECOND, "10", "requests")),
        (
            "quota of requests per minute. 5000 requests per day with Pro",
            NamedLimit("requests per minute", Window.MINUTE, "", "requests"),
        ),
        ("you reached your weekly usage limit", NamedLimit("", Window.WEEK)),
        ("hourly usage limit", NamedLimit("", Window.HOUR)),
        ("Violated duration_s: 86400, current usage: 196279, limit: 200000", NamedLimit("", None, "200000")),
        ("Upgrade today, see /daybreak", UNNAMED),
        ("", UNNAMED),
    ],
)
def test_the_first_limit_that_is_named(message: str, expected: NamedLimit) -> None:
    assert limit_named(Failure(429, message=message)) == expected


@pytest.mark.parametrize("quotas", [(PER_DAY,), (PER_DAY, PER_MINUTE), (PER_MINUTE, PER_DAY)])
def test_of_several_quotas_the_longest_counts(quotas: tuple[Quota, ...]) -> None:
    found = limit_named(Failure(429, message="Please retry in 40s. 5 requests per minute", quotas=quotas))
    assert found == NamedLimit("requests per day", Window.DAY, "20", "requests")


def test_a_quota_alone() -> None:
    expected = NamedLimit("input tokens per minute", Window.MINUTE, "250000", "input_tokens")
    assert limit_named(Failure(429, quotas=(PER_MINUTE,))) == expected


def test_quotas_that_name_no_window_leave_it_to_the_message() -> None:
    failure = Failure(429, message="2 requests per day", quotas=(Quota("SomeQuota"),))
    assert limit_named(failure) == NamedLimit("requests per day", Window.DAY, "2", "requests")
