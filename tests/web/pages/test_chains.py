from __future__ import annotations

import re

from tests.web.conftest import TOKEN, Site

BEARER = {"Authorization": f"Bearer {TOKEN}"}


async def shown(site: Site, text: str) -> str:
    site.gateway.path.write_text(text, encoding="utf-8")
    answer = await site.get("/chains", **BEARER)
    assert answer.status == 200
    return await answer.text()


async def test_tiers_stand_in_their_order_and_targets_of_equal_rank_together(site: Site) -> None:
    page = await shown(
        site,
        "providers: {groq: {}, home: {base_url: http://127.0.0.1:9/v1}}\n"
        "chains:\n  default: [groq/a, [home/b, groq/c]]\n  fast: {targets: groq/d, affinity: false}\n"
        "aliases: {'<b>*': fast}\n",
    )
    default, fast = re.findall(r"<article.*?</article>", page, re.DOTALL)
    rungs = re.findall(r'<li class="rung">.*?(?=<li class="rung">|</ol>)', default, re.DOTALL)
    assert [re.findall(r'data-target="([^"]+)"', rung) for rung in rungs] == [["groq/a"], ["home/b", "groq/c"]]
    assert '<option value="" selected>' in default
    assert '<option value="false" selected>' in fast
    assert 'data-alias="&lt;b&gt;*"' in page
    assert "also takes every model" in default
    assert "also takes every model" not in fast


async def test_targets_are_proposed_but_not_those_of_a_disabled_provider(site: Site) -> None:
    page = await shown(site, "providers: {groq: {}, cerebras: {enabled: false}}\nchains: {default: groq/mine}\n")
    (proposed,) = re.findall(r'<datalist id="targets".*?</datalist>', page, re.DOTALL)
    assert 'value="groq/mine"' in proposed
    assert 'value="groq/openai/gpt-oss-120b"' in proposed
    assert "cerebras" not in proposed


async def test_without_any_provider_the_page_leads_to_them(site: Site) -> None:
    assert '<a href="/providers">Add a provider</a> first' in await shown(site, "")
