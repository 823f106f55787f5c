from __future__ import annotations

import html
import re
from pathlib import Path

from chain429.config import ConfigFile
from chain429.web.pages.settings import FORMS, Field
from tests.web.conftest import TOKEN, Site

BEARER = {"Authorization": f"Bearer {TOKEN}"}
CLIENTS = (Path(__file__).resolve().parents[3] / "docs" / "clients.md").read_text(encoding="utf-8")
CONFIG = """\
tokens: [secret:token-1, env:MY_TOKEN]
log: {days: 7}
proxy: {hosts: {api.openai.com: default, api.groq.com: observe}}
providers: {groq: {}}
chains: {default: groq/openai/gpt-oss-120b}
"""


async def shown(site: Site, text: str = CONFIG) -> str:
    site.gateway.path.write_text(text, encoding="utf-8")
    answer = await site.get("/settings", **BEARER)
    assert answer.status == 200
    return await answer.text()


def test_every_field_of_the_forms_is_a_setting() -> None:
    settings = ConfigFile().model_dump(mode="json")
    fields = [field for _, _, fields in FORMS for field in fields]
    values = {field.key: Field.of(field, settings).value for field in fields}
    assert values["log.days"] == 30
    assert (values["affinity"], values["compare"]) == (True, None)
    assert all(isinstance(values[field.key], bool) for field in fields if field.kind == "flag")


async def test_fields_have_the_file_s_values(site: Site) -> None:
    page = await shown(site)
    assert re.search(r'name="log.days"[^>]* value="7"', page)
    assert re.search(r'name="patience"[^>]* value="30"', page)
    assert re.search(r'name="affinity" type="checkbox" checked', page)


async def test_only_tokens_that_were_made_here_can_be_deleted(site: Site) -> None:
    page = await shown(site)
    assert re.findall(r'data-do="delete-token" data-name="([^"]+)"', page) == ["token-1"]
    assert "<code>env:MY_TOKEN</code>" in page


async def test_a_host_may_lead_to_a_chain_or_be_watched(site: Site) -> None:
    page = await shown(site)
    (hosts,) = re.findall(r'<ul id="host-list">.*?</ul>', page, re.DOTALL)
    assert re.findall(r'name="host" value="([^"]+)"', hosts) == ["api.openai.com", "api.groq.com"]
    assert re.findall(r'<option value="([^"]*)" selected>([^<]+)<', hosts) == [
        ("default", "chain default"),
        ("observe", "only watched"),
    ]


async def test_the_lines_for_clients_are_those_of_the_documentation(site: Site) -> None:
    page = await shown(site)
    lines = [
        html.unescape(text)
        for text in re.findall(r'<pre tabindex="0"><code id="lines-[^"]+">(.*?)</code></pre>', page, re.DOTALL)
    ]
    assert len(lines) == 12
    for text in lines:
        assert text == text.strip("\n")
        for line in text.splitlines():
            assert line.replace("''", "~/.local/share/chain429/client-token") in CLIENTS, line


async def test_of_a_file_that_is_wrong_it_is_said_what(site: Site) -> None:
    assert "providers.groq.base_url must be text" in re.sub(
        r"\s+", " ", re.sub(r"<[^>]+>", " ", await shown(site, "providers: {groq: {base_url: 7}}\n"))
    )
