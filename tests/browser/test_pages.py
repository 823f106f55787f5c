"""The pages as people have them: what they do there, how they look, and what those who can't see them are told."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.browser.conftest import KEY, SCREENSHOTS, TARGETS, Axe, Gateway, Visit
from tests.integration.conftest import until

# Each page by the name of its pictures; {request} is one that failed over.
PAGES = {
    "overview": "/",
    "requests": "/requests",
    "request": "/requests/{request}",
    "chains": "/chains",
    "providers": "/providers",
    "usage": "/usage",
    "playground": "/playground",
    "settings": "/settings",
}
WIDTHS = (1280, 390)
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def order(card: Locator) -> list[str]:
    """The targets of a chain as they are shown from top to bottom."""
    return card.locator(".rung code").all_inner_texts()


def faults(page: Page, *rules: str) -> list[str]:
    """What axe-core finds that keeps people from using the page: by all of its rules, or by some."""
    only = {"runOnly": list(rules)} if rules else {}
    found = page.evaluate("(options) => axe.run(document, options)", {"resultTypes": ["violations"], **only})
    return [
        f"{one['id']}: {node['target']}: {node['failureSummary']}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


def saved(gateway: Gateway, chain: str) -> list[str]:
    (found,) = [one for one in gateway.admin("GET", "config")["chains"] if one["name"] == chain]
    return [target for (target,) in found["tiers"]]


def test_the_token_logs_in(contexts: Callable[[], BrowserContext], gateway: Gateway) -> None:
    context = contexts()
    page = context.new_page()
    page.goto("/requests")
    page.get_by_label("Admin token").fill("not-the-token")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("That is not the admin token.")
    page.get_by_label("Admin token").fill(gateway.admin_token)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("link", name="Overview")).to_have_attribute("aria-current", "page")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Admin token")).to_be_visible()
    context.close()


def test_a_provider_is_added_with_its_key_and_shows_its_models(visit: Visit, gateway: Gateway) -> None:
    page = visit.open("/providers")
    page.get_by_text("Add a provider", exact=True).click()
    form = page.locator("#add-provider")
    form.get_by_label("Provider").select_option(label="Any OpenAI-compatible server")
    form.get_by_label("Name").fill("typed")
    form.get_by_label("Base URL").fill(gateway.providers.simulator.base_url("mistral"))
    form.get_by_label("API key").fill(KEY)
    form.get_by_role("button", name="Add").click()

    added = page.locator("#added")
    expect(added).to_contain_text("typed is added and has 11 models")
    expect(added).to_contain_text("mistral-small-2603")
    card = page.locator("#provider-typed")
    card.get_by_role("button", name="Test").click()
    expect(card.locator(".told")).to_contain_text("✓ typed/")
    assert KEY not in page.content()
    assert KEY not in gateway.config.read_text(encoding="utf-8")


def test_a_chain_of_three_is_made(visit: Visit, gateway: Gateway) -> None:
    page = visit.open("/chains")
    page.get_by_text("New chain", exact=True).click()
    form = page.locator("#add-chain")
    form.get_by_label("Name").fill("three")
    form.get_by_label("First target").fill("home/qwen3")
    form.get_by_role("button", name="Make the chain").click()
    card = page.locator("#chain-three")
    for target in ("groq/openai/gpt-oss-120b", "cerebras/gpt-oss-120b"):
        card.get_by_label("Add a target").fill(target)
        card.get_by_role("button", name="Add").click()
    card.get_by_role("button", name="Save").click()
    expect(card.get_by_role("button", name="Save")).to_be_hidden()

    chain = ["home/qwen3", "groq/openai/gpt-oss-120b", "cerebras/gpt-oss-120b"]
    assert saved(gateway, "three") == chain
    page.reload()
    assert order(card) == chain
    gateway.calm()
    _, answer = gateway.ask("Hello", "three")
    assert "generic/qwen3 here." in answer


def test_a_chain_is_put_into_another_order(visit: Visit, gateway: Gateway) -> None:
    one, two, three = TARGETS
    gateway.admin("PUT", "chains/moved", {"tiers": [[one], [two], [three]]})
    page = visit.open("/chains")
    card = page.locator("#chain-moved")
    card.scroll_into_view_if_needed()

    grip, goal = card.locator(".grip").nth(2), card.locator(".grip").nth(0)
    grip.hover()
    page.mouse.down()
    goal.hover(position={"x": 10, "y": 2}, force=True)
    page.mouse.up()
    assert order(card) == [three, one, two]
    assert saved(gateway, "moved") == [one, two, three]
    card.get_by_role("button", name="Save").click()
    expect(card.get_by_role("button", name="Save")).to_be_hidden()
    assert saved(gateway, "moved") == [three, one, two]

    card.get_by_role("button", name=f"Move {three} down").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert order(card) == [one, two, three]
    expect(page.get_by_role("status")).to_have_text(f"{three} is now 3 of 3.")
    card.get_by_role("button", name="Save").focus()
    page.keyboard.press("Space")
    expect(card.get_by_role("button", name="Save")).to_be_hidden()
    assert saved(gateway, "moved") == [one, two, three]


def test_a_prompt_tells_who_served_it(visit: Visit, gateway: Gateway) -> None:
    gateway.calm()
    gateway.providers.script("groq", "503")
    page = visit.open("/playground")
    page.get_by_label("Prompt", exact=True).fill("Are you there?")
    page.get_by_role("button", name="Send").click()

    answer = page.locator("#answer")
    expect(answer.locator("#words")).to_have_text("cerebras/gpt-oss-120b here. You said: Are you there?")
    expect(answer.locator("#facts")).to_contain_text(re.compile(r"Served by\s*cerebras gpt-oss-120b"))
    expect(answer.locator("#facts")).to_contain_text(re.compile(r"Took\s*\d+(\.\d)? m?s"))
    tried = answer.locator("#trail li")
    expect(tried.nth(0)).to_contain_text(re.compile(r"groq.*503", re.DOTALL))
    expect(tried.nth(1)).to_contain_text(re.compile(r"cerebras.*served", re.DOTALL))
    page.get_by_role("link", name="The request in the log").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("served")


def test_a_429_cools_its_target_and_the_request_tells_it(visit: Visit, gateway: Gateway) -> None:
    gateway.calm()
    page = visit.open("/")
    target = page.locator("#chains .chain").first.locator(".target").first
    expect(target.locator(".state")).to_have_text("available")
    gateway.providers.script("groq", "rate_limit_minute", wait=50)
    _, answer = gateway.ask("Who answers?")
    assert "cerebras/gpt-oss-120b here." in answer

    # Told by the server, without the page being loaded again.
    expect(target.locator(".state")).to_have_text("cooling")
    left = target.locator("time.until").first
    shown = int(re.sub(r"\D", "", left.inner_text()))
    assert 30 < shown <= 51
    expect(left).to_have_text(re.compile(f"back in ({shown - 1}|{shown - 2}) s"))

    page.get_by_role("navigation").get_by_role("link", name="Requests").click()
    row = page.locator("#rows tbody tr").first
    expect(row.locator(".answer")).to_contain_text("cerebras")
    row.get_by_role("link").click()
    trail = page.locator("#trail li")
    expect(trail.nth(0)).to_contain_text(re.compile(r"groq.*429", re.DOTALL))
    expect(trail.nth(1)).to_contain_text("cerebras")


@pytest.fixture(scope="module")
def seen(gateway: Gateway) -> dict[str, str]:
    """Where the pages are, on a gateway that was used: with an error, a target that cools, and peers in a chain."""
    gateway.calm()
    tiers = [["groq/openai/gpt-oss-120b"], ["cerebras/gpt-oss-120b", "home/qwen3"]]
    gateway.admin("PUT", "chains/shared", {"tiers": tiers})
    for prompt in ("What is a chain?", "<script>alert(1)</script>", "And an alias?"):
        gateway.ask(prompt, "gpt-4o")
    gateway.providers.script("cerebras", "rate_limit_minute", wait=600)
    gateway.ask("Hello", "cerebras/gpt-oss-120b")
    gateway.providers.script("groq", "rate_limit_day", wait=40_000)
    id, _ = gateway.ask("Who answers?")
    until(lambda: gateway.is_logged(id))
    return {name: path.format(request=id) for name, path in PAGES.items()}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_every_screen_and_is_for_everybody(visit: Visit, seen: dict[str, str], axe: Axe, name: str) -> None:
    page = visit.open(seen[name])
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 844})
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            picture = SCREENSHOTS / f"{name}-{width}-{scheme}.jpeg"
            page.screenshot(path=picture, type="jpeg", quality=90, full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= width

    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    if axe.missing:
        pytest.skip(axe.missing)
    page.evaluate(axe.source)
    assert faults(page) == []
    # Colours are all that is different there.
    page.emulate_media(color_scheme="light")
    assert faults(page, "color-contrast") == []
