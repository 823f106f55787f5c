from __future__ import annotations

import dataclasses
import re

import pytest

from chain429.routing.status import ChainStatus, TargetStatus
from tests.web.conftest import ALL_GOOD, LIMITS, NOON, TOKEN, Site

BEARER = {"Authorization": f"Bearer {TOKEN}"}
COOLING = TargetStatus(
    "groq", "openai/gpt-oss-120b", "groq/GROQ_API_KEY", "cooling", "requests <per> minute", NOON + 30, LIMITS
)


async def shown(site: Site, path: str = "/providers") -> str:
    answer = await site.get(path, **BEARER)
    assert answer.status == 200
    return await answer.text()


def words(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


async def test_keys_are_shown_by_where_they_come_from_and_how_they_end(site: Site) -> None:
    page = await shown(site)
    assert "GROQ_API_KEY …groq env:GROQ_API_KEY, found in the environment" in words(page)
    assert "HOME_KEY …6789 env:HOME_KEY" in words(page)
    assert "telltale" not in page
    assert 'name="model"' not in page
    # What is found in the environment can't be deleted from a file.
    assert page.count('data-do="test"') == 2
    assert page.count('data-do="delete-key"') == 1


async def test_states_and_limits_are_the_keys_own_however_many_chains_have_them(site: Site) -> None:
    chains = tuple(ChainStatus(name, ((COOLING,),)) for name in ("default", "fast"))
    site.status = dataclasses.replace(ALL_GOOD, chains=chains)
    page = await shown(site)
    assert page.count('<p class="state s-cooling">') == 1
    assert "requests &lt;per&gt; minute" in page
    assert "requests per minute 0 of 30 left" in words(page)
    assert "In no chain yet" in words(page).partition("HOME_KEY")[2]


async def test_the_states_alone_renew_the_page(site: Site) -> None:
    page, part = await shown(site), await shown(site, "/providers/states")
    assert "<html" not in part
    assert re.findall(r'<section id="(state-[^"]+)"', part) == ["state-groq", "state-home"]
    for section in re.findall(r"<section.*?</section>", part, re.DOTALL):
        assert section in page
    assert (await site.get("/providers/states")).status == 401


async def test_every_provider_of_the_catalog_can_be_added(site: Site) -> None:
    page = await shown(site)
    offered = re.findall(r'<option value="([^"]*)">', page)
    assert offered.count("groq") == 1
    assert "" in offered
    assert sorted(re.findall(r'data-preset="([^"]+)"', page)) == sorted(offered[: offered.index("")])


@pytest.mark.parametrize("path", ["/providers", "/chains"])
async def test_of_a_file_that_is_wrong_it_is_said_what(site: Site, path: str) -> None:
    site.gateway.path.write_text("providers:\n  groq: {}\n  home: {base_url: 7}\n", encoding="utf-8")
    page = words(await shown(site, path))
    assert "The configuration's file is not right" in page
    assert "providers.home.base_url must be text" in page
    site.gateway.path.write_text("providers:\n  groq: {\n", encoding="utf-8")
    assert "line 3: this is not valid YAML" in words(await shown(site, path))


async def test_without_any_provider_the_page_says_what_to_do(site: Site) -> None:
    site.gateway.path.write_text("", encoding="utf-8")
    page = await shown(site)
    assert "one key is enough" in page
    # There must be a chain, so the first provider brings its first model along.
    assert 'name="model"' in page
    assert '<details class="card" id="add" open>' in page
