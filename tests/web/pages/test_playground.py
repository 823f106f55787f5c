from __future__ import annotations

import dataclasses
import re

from tests.web.conftest import TOKEN, Site

BEARER = {"Authorization": f"Bearer {TOKEN}"}


async def shown(site: Site, path: str = "/playground") -> str:
    answer = await site.get(path, **BEARER)
    assert answer.status == 200
    return await answer.text()


async def test_chains_aliases_and_targets_are_proposed(site: Site) -> None:
    page = await shown(site)
    proposed = re.findall(r'<option value="([^"]+)">', page)
    assert proposed[:2] == ["default", "gpt-4o"]
    assert "home/qwen3" in proposed
    assert 'name="model" list="models" value="default"' in page


async def test_a_model_may_be_named_in_the_address(site: Site) -> None:
    assert 'value="groq/&#34;&gt;x"' in await shown(site, "/playground?model=groq%2F%22%3Ex")


async def test_a_file_that_is_wrong_stops_no_prompt(site: Site) -> None:
    site.gateway.path.write_text("chains: 7\n", encoding="utf-8")
    assert '<option value="default">' in await shown(site)


async def test_without_a_chain_the_page_leads_on(site: Site) -> None:
    site.gateway.config = dataclasses.replace(site.gateway.config, chains={})
    assert '<a href="/providers">Add a provider</a>' in await shown(site)
