from __future__ import annotations

import re

import pytest

from chain429.store.records import Costs
from chain429.store.usage import Slot, Sums
from chain429.web.pages.usage import SPANS, drawings
from tests.web.conftest import NOON, TOKEN, Site
from tests.web.test_pages import REQUEST

BEARER = {"Authorization": f"Bearer {TOKEN}"}
HOUR = 1_749_999_600
DAY = SPANS["24h"]


def sums(name: str, served: int = 1, failures: int = 0, p95: float | None = 2.0, currency: str = "usd") -> Sums:
    return Sums(name, currency, served, served, failures, 1000, 500, 0, 0, 0.0, 0.0, 0, 0.25, 1.0, p95)


@pytest.mark.parametrize(
    ("name", "first", "last", "count"),
    [
        ("24h", HOUR - 23 * 3600, HOUR, 24),
        ("7d", 1_749_988_800 - 27 * 21_600, 1_749_988_800, 28),
        ("30d", 1_749_945_600 - 29 * 86_400, 1_749_945_600, 30),
    ],
)
def test_the_last_slot_is_under_way(name: str, first: int, last: int, count: int) -> None:
    slots = SPANS[name].slots(NOON)
    assert (slots[0], slots[-1], len(slots)) == (first, last, count)


def test_each_chart_has_its_numbers() -> None:
    timeline = [Slot(HOUR, sums("groq", 3, 1)), Slot(HOUR, sums("", 2, 0, None)), Slot(HOUR - 3600, sums("groq"))]
    requests, tokens, failed, latency = drawings(DAY, DAY.slots(NOON), timeline, ["groq", ""], "provider")
    assert requests.names == ("groq", "nobody")
    assert requests.rows[-2:] == (("14:00", ("1", "0")), ("15:00", ("3", "2")))
    assert tokens.rows[-1] == ("15:00", ("1.5 k", "1.5 k"))
    assert failed.rows[-2:] == (("14:00", ("0 %", "")), ("15:00", ("25 %", "0 %")))
    assert latency.rows[-1] == ("15:00", ("2.0 s", ""))


def test_sums_in_two_currencies_are_of_one_name() -> None:
    timeline = [Slot(HOUR, sums("groq", 3, p95=float("inf"))), Slot(HOUR, sums("groq", 1, currency="sats"))]
    requests, _, _, latency = drawings(DAY, DAY.slots(NOON), timeline, ["groq", "groq"], "provider")
    assert requests.rows[-1] == ("15:00", ("4",))
    assert latency.rows[-1] == ("15:00", ("over 32 s",))


def test_many_names_share_the_last_colour() -> None:
    names = [f"model-{number}" for number in range(10)]
    timeline = [Slot(HOUR, sums(name)) for name in names]
    requests, _, failed, _ = drawings(DAY, DAY.slots(NOON), timeline, names, "model")
    assert requests.names == (*names[:7], "others")
    assert requests.rows[-1][1] == (*["1"] * 7, "3")
    # Shares of all the others say nothing.
    assert failed.names == tuple(names[:7])
    assert "3 more" in failed.note


async def test_the_page_has_totals_charts_and_how_savings_were_computed(site: Site) -> None:
    site.store.price = lambda record: Costs(0.25, "usd", 1.0, "openai/gpt-4o-mini", "usd", "2026-09-30")
    site.store.record(REQUEST)
    assert site.store.flush()
    page = await (await site.get("/usage", **BEARER)).text()
    assert page.count('<svg class="chart"') == 4
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    assert "cerebras 1 1 0 1,200 85 0 0 250 ms 2.0 s 2.0 s $0.25 $0.75 0" in text
    assert "groq 0 0 1 100 % 0 0" in text
    assert "List price of the same tokens, 1 answers $1.00 What they cost \N{MINUS SIGN} $0.25 Saved $0.75" in text


@pytest.mark.parametrize("query", ["?span=7d&by=model", "?span=30d&by=chain", "?by=credential", "?by=%3Cb%3E&span=x"])
async def test_other_spans_and_dimensions(site: Site, query: str) -> None:
    site.store.record(REQUEST)
    assert site.store.flush()
    page = await (await site.get(f"/usage{query}", **BEARER)).text()
    assert "<b>" not in page
    assert page.count('aria-current="true"') == 2


async def test_nothing_used_leads_on(site: Site) -> None:
    page = await (await site.get("/usage", **BEARER)).text()
    assert "Nothing was asked in these 24 hours." in page
