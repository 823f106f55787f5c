from __future__ import annotations

import re

import pytest

from chain429.store.bodies import Bodies
from chain429.store.queries import Filter
from chain429.store.records import Costs, RequestRecord
from chain429.web.pages.requests import Search
from tests.web.conftest import NOON, TOKEN, Site
from tests.web.test_pages import REQUEST

BEARER = {"Authorization": f"Bearer {TOKEN}"}


def write(site: Site, *records: RequestRecord) -> None:
    for record in records:
        site.store.record(record)
    assert site.store.flush()


async def shown(site: Site, path: str, status: int = 200) -> str:
    """A page without its tags."""
    answer = await site.get(path, **BEARER)
    assert answer.status == status
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", await answer.text()))


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({}, Filter()),
        (
            {"chain": "fast", "provider": "groq", "outcome": "served", "status": "200", "text": " gpt "},
            Filter(chain="fast", provider="groq", outcome="served", status=200, text="gpt"),
        ),
        ({"span": "1h"}, Filter(since=NOON - 3600)),
        ({"until": "2025-06-15T12:00"}, Filter(until=1_749_988_800.0)),
        ({"until": "2025-06-15T12:00", "span": "24h"}, Filter(since=1_749_902_400.0, until=1_749_988_800.0)),
    ],
)
def test_what_the_form_asks_for(query: dict[str, str], wanted: Filter) -> None:
    search = Search.of(query)
    assert search.problems == ()
    assert search.filter(NOON) == wanted
    assert search.narrowed == bool(query)


@pytest.mark.parametrize("query", [{"status": "4x9"}, {"status": "4299"}, {"span": "1y"}, {"until": "yesterday"}])
def test_what_can_not_be_understood_is_a_problem(query: dict[str, str]) -> None:
    assert len(Search.of(query).problems) == 1


def test_the_address_of_the_next_page_is_the_same_search() -> None:
    search = Search.of({"text": "a&b=c", "before": "90"})
    assert search.address(40) == "?text=a%26b%3Dc&before=40"
    assert search.address() == "?text=a%26b%3Dc"
    assert Search().address() == ""


async def test_the_list_is_narrowed_by_the_form(site: Site) -> None:
    write(site, REQUEST, REQUEST._replace(id="req_2", model_asked="gpt-4o", outcome="exhausted", status=429))
    assert "2 requests, newest first" in await shown(site, "/requests")
    text = await shown(site, "/requests?status=429&provider=groq")
    assert "1 request, newest first" in text
    assert "gpt-4o" in text
    assert "No request fits." in await shown(site, "/requests?chain=other")
    assert "A status is a number such as 429." in await shown(site, "/requests?status=x")


async def test_what_was_typed_stays_in_the_form(site: Site) -> None:
    answer = await site.get("/requests?text=%22%3E%3Cb%3E&outcome=served&provider=retired", **BEARER)
    page = await answer.text()
    assert 'value="&#34;&gt;&lt;b&gt;"' in page
    assert '<option value="served" selected>served</option>' in page
    assert '<option value="retired" selected>retired</option>' in page


async def test_fifty_are_on_a_page(site: Site) -> None:
    write(site, *(REQUEST._replace(id=f"req_{number}", at=NOON - number) for number in range(51)))
    page = await (await site.get("/requests", **BEARER)).text()
    (older,) = re.findall(r'href="(/requests\?before=\d+)"', page)
    assert 'data-part="/requests/rows"' in page
    page = await (await site.get(older, **BEARER)).text()
    assert page.count('<td class="when">') == 1
    assert "Newest" in page
    # What is older does not change.
    assert "data-part" not in page


async def test_the_rows_alone_renew_a_page(site: Site) -> None:
    write(site, REQUEST)
    rows = await (await site.get("/requests/rows?outcome=served", **BEARER)).text()
    assert "<html" not in rows
    assert '<td class="when">' in rows
    assert (await site.get("/requests/rows")).status == 401


async def test_an_empty_log_leads_on(site: Site) -> None:
    assert "No request yet." in await shown(site, "/requests")


async def test_one_request_with_its_trail_and_its_costs(site: Site) -> None:
    site.store.price = lambda record: Costs(0.0, "usd", 0.00042, "openai/gpt-4o-mini", "usd", "2026-09-30")
    skipped = REQUEST.attempts[0]._replace(outcome="skipped", status=None, reason="requests per day", until=None)
    write(site, REQUEST._replace(attempts=(skipped, REQUEST.attempts[1]), error=""))
    for path in ("/requests/1", "/requests/req_1"):
        text = await shown(site, path)
        assert "groq gpt-oss-120b groq-1 passed over requests per day cerebras gpt-oss-120b cerebras-1 served" in text
        assert "List price of openai/gpt-4o-mini $0.00042 Cost $0.00 Saved $0.00042" in text
        assert "1,200 tokens in and 85 out, by the table of prices of 2026-09-30" in text


async def test_a_price_that_is_not_known_is_not_made_up(site: Site) -> None:
    write(site, REQUEST)
    assert "List price unknown Cost unknown Saved unknown" in await shown(site, "/requests/1")


@pytest.mark.parametrize("asked", ["7", "nothing", "9" * 30, "%3Cb%3E"])
async def test_a_request_that_there_is_not(site: Site, asked: str) -> None:
    assert "Not in the log" in await shown(site, f"/requests/{asked}", 404)


@pytest.mark.parametrize("path", ["/requests", "/requests/1", "/usage"])
async def test_without_a_login_pages_lead_to_it(site: Site, path: str) -> None:
    write(site, REQUEST)
    answer = await site.get(path)
    assert (answer.status, answer.headers["Location"]) == (303, "/login")


async def test_bodies_stay_text(site: Site) -> None:
    bodies = Bodies(1000, b"<script>alert(1)</script>")
    bodies.answer(b"<b>Hi</b>")
    write(site, REQUEST._replace(bodies=bodies))
    page = await (await site.get("/requests/1", **BEARER)).text()
    assert ">&lt;script&gt;alert(1)&lt;/script&gt;</pre>" in page
    assert ">&lt;b&gt;Hi&lt;/b&gt;</pre>" in page
    one = await (await site.get(f"/admin/api/requests/{REQUEST.id}", **BEARER)).json()
    assert one["bodies"] == {
        "asked": "<script>alert(1)</script>", "asked_size": 25, "answered": "<b>Hi</b>", "answered_size": 9,
    }  # fmt: skip


async def test_a_request_without_bodies_has_none(site: Site) -> None:
    write(site, REQUEST)
    assert "What was answered" not in await shown(site, "/requests/1")
    assert (await (await site.get(f"/admin/api/requests/{REQUEST.id}", **BEARER)).json())["bodies"] is None
