from __future__ import annotations

import dataclasses
import re

import pytest

from chain429.store.records import AttemptRecord, RequestRecord
from tests.web.conftest import ALL_GOOD, NOON, TOKEN, Site

REQUEST = RequestRecord(
    id="req_1",
    at=NOON - 5,
    dialect="chat",
    chain="default",
    model_asked="<script>alert(1)</script>",
    provider="cerebras",
    model="gpt-oss-120b",
    credential="cerebras-1",
    status=200,
    outcome="served",
    streamed=True,
    tokens_in=1200,
    tokens_out=85,
    latency=1.25,
    first_token=0.25,
    client="sdk",
    error='"><img src=x onerror=alert(2)>',
    attempts=(
        AttemptRecord("groq", "gpt-oss-120b", "groq-1", "rate_limited", 429, "<b>slow down</b>", 0.08, NOON + 30),
        AttemptRecord("cerebras", "gpt-oss-120b", "cerebras-1", "served", 200, "", 1.2),
    ),
)


async def test_login_opens_the_page(site: Site) -> None:
    await site.login()
    page = await site.page()
    assert "<h1>All good</h1>" in page
    assert "Log out" in page


async def test_the_cookie_is_for_this_site_and_no_script(site: Site) -> None:
    answer = await site.post("/login", {"token": TOKEN})
    cookie = answer.cookies["chain429_session"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Strict", "/")
    assert cookie["domain"] == ""
    assert TOKEN not in cookie.value


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x", "\ud800"])
async def test_a_wrong_token_is_refused(site: Site, token: str) -> None:
    answer = await site.client.post("/login", data=b"token=" + token.encode("utf-8", "surrogatepass"))
    assert answer.status == 401
    assert not answer.cookies
    assert "That is not the admin token." in await answer.text()
    assert (await site.get("/")).status == 303


@pytest.mark.parametrize("path", ["/", "/fragment", "/admin/api/status"])
async def test_nothing_is_shown_without_a_login(site: Site, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": "chain429_session=guess"}):
        answer = await site.get(path, **headers)
        assert answer.status == (303 if path == "/" else 401)
        assert "groq" not in await answer.text()


async def test_a_session_ends_after_twelve_hours(site: Site) -> None:
    await site.login()
    site.clock.time += 12 * 3600 - 1
    assert (await site.get("/")).status == 200
    site.clock.time += 1
    assert (await site.get("/")).status == 303


async def test_the_number_of_sessions_is_bounded(site: Site) -> None:
    first = (await site.post("/login", {"token": TOKEN})).cookies["chain429_session"].value
    for _ in range(64):
        await site.login()
    site.client.session.cookie_jar.clear()
    assert (await site.get("/", Cookie=f"chain429_session={first}")).status == 303


async def test_logout_needs_the_token_of_the_session(site: Site) -> None:
    await site.login()
    for forged in ({}, {"csrf": ""}, {"csrf": "guess"}, {"csrf": "é"}):
        assert (await site.post("/logout", forged)).status == 403
    page = await site.page()
    (csrf,) = re.findall(r'name="csrf" value="([^"]+)"', page)
    cookie = next(iter(site.client.session.cookie_jar)).value
    answer = await site.post("/logout", {"csrf": csrf})
    assert (answer.status, answer.headers["Location"]) == (303, "/login")
    assert (await site.get("/")).status == 303
    # The server forgot it too, not only the browser.
    assert (await site.get("/", Cookie=f"chain429_session={cookie}")).status == 303


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:9", 200),
        ("localhost:4291", 200),
        ("LOCALHOST:4291", 200),
        ("localhost:80", 421),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("evil.example:4291", 421),
        ("", 421),
    ],
)
async def test_only_known_hosts_are_answered(site: Site, host: str, status: int) -> None:
    for path in ("/login", "/static/app.css"):
        assert (await site.get(path, Host=host)).status == status


async def test_another_site_is_refused_even_with_a_session(site: Site) -> None:
    await site.login()
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1", "http://[", ""):
        assert (await site.get("/admin/api/status", Origin=origin)).status == 403
        assert (await site.post("/login", {"token": TOKEN}, Origin=origin)).status == 403
        assert (await site.post("/logout", {}, Origin=origin)).status == 403
    assert (await site.get("/admin/api/status", Origin=site.origin)).status == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/login"),
        ("POST", "/login"),
        ("GET", "/static/app.js"),
        ("GET", "/favicon"),
        ("GET", "/fragment"),
        ("GET", "/admin/api/status"),
        ("GET", "/nothing-here"),
        ("PUT", "/login"),
        ("OPTIONS", "/admin/api/status"),
    ],
)
@pytest.mark.parametrize("host", ["127.0.0.1", "evil.example"])
async def test_every_answer_carries_the_security_headers(site: Site, method: str, path: str, host: str) -> None:
    answer = await site.client.request(method, path, headers={"Host": host}, allow_redirects=False)
    assert answer.headers["Content-Security-Policy"] == (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    static = host == "127.0.0.1" and path in ("/static/app.js", "/favicon")
    assert answer.headers["Cache-Control"] == ("no-cache" if static else "no-store")
    assert answer.headers["Server"] == "chain429"
    assert not [name for name in answer.headers if name.lower().startswith("access-control-")]


async def test_strangers_words_stay_text(site: Site) -> None:
    site.store.record(REQUEST)
    assert site.store.flush()
    await site.login()
    page = await site.page()
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "<b>slow" not in page
    assert "<minors>" not in page
    assert "<code>&lt;script&gt;alert(1)&lt;/script&gt;</code>" in page
    assert "&#34;&gt;&lt;img src=x onerror=alert(2)&gt;" in page


async def test_the_page_tells_who_served_and_why_others_did_not(site: Site) -> None:
    site.store.record(REQUEST)
    assert site.store.flush()
    await site.login()
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", await site.page()))
    assert "1 of 2 available" in text
    assert "requests per minute · back at 2025-06-15 15:07:10 UTC" in text
    assert "Next request goes here cerebras gpt-oss-120b cerebras-1 available" in text
    assert "served cerebras gpt-oss-120b cerebras-1" in text
    assert "2 attempts" in text
    told = "rate limited 429 · 80 ms · &lt;b&gt;slow down&lt;/b&gt; · back at 2025-06-15"
    assert f"groq gpt-oss-120b groq-1 {told}" in text
    assert "cerebras no longer configured 1 0 1,200 85" in text
    assert "Groq free 0 1 0 0 Not for &lt;minors&gt;." in text


async def test_the_page_tells_what_is_left_in_bars_and_in_words(site: Site) -> None:
    await site.login()
    page = await site.page()
    assert '<meter min="0" max="30" value="30" aria-label="requests per minute used"></meter>' in page
    assert page.count("<meter") == 1
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page))
    assert "requests per minute 0 of 30 left 30 used · all back at 2025-06-15 15:07:21 UTC · reported" in text
    assert "Limits not known, counted: 5,400 tokens in a day" in text


async def test_what_is_wrong_is_said_first(site: Site) -> None:
    site.status = dataclasses.replace(
        ALL_GOOD, healthy=False, problems=("Groq refuses its key.", "The log is full."), simulated=True
    )
    await site.login()
    page = await site.page()
    assert "<title>2 things are wrong · chain429</title>" in page
    assert "<li>Groq refuses its key.</li>" in page
    assert "Simulated." in page


async def test_a_log_that_can_not_be_written_is_a_problem(site: Site) -> None:
    site.store.record(REQUEST._replace(status=object()))  # type: ignore[arg-type]
    assert site.store.flush()
    await site.login()
    page = await site.page()
    assert "<h1>One thing is wrong</h1>" in page
    assert "1 requests were not logged" in page
    assert "1 could not be written down" in page
    status = await (await site.get("/admin/api/status")).json()
    assert (status["healthy"], len(status["problems"])) == (False, 1)


async def test_an_empty_gateway_says_what_to_do(site: Site) -> None:
    site.status = dataclasses.replace(ALL_GOOD, chains=(), providers=())
    await site.login()
    page = await site.page()
    assert "curl http://127.0.0.1:4290/v1/chat/completions" in page
    assert "export GROQ_API_KEY=" in page


async def test_the_fragment_is_what_the_page_shows(site: Site) -> None:
    site.store.record(REQUEST)
    assert site.store.flush()
    await site.login()
    fragment = await (await site.get("/fragment")).text()
    assert "<html" not in fragment
    assert fragment.strip() in await site.page()


async def test_nothing_is_loaded_from_elsewhere_and_nothing_is_inline(site: Site) -> None:
    site.store.record(REQUEST)
    assert site.store.flush()
    await site.login()
    for page in (await site.page(), await (await site.get("/login")).text()):
        loaded = re.findall(r'<(?:script|link|img)\b[^>]*(?:src|href)="([^"]+)"', page)
        assert loaded
        assert all(re.fullmatch(r"/favicon|/static/[a-z.]+", address) for address in loaded)
        assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son[a-z]+=\"", page)


@pytest.mark.parametrize(
    ("path", "type"),
    [
        ("/static/app.css", "text/css"),
        ("/static/app.js", "text/javascript"),
        ("/static/login.js", "text/javascript"),
        ("/static/icon.svg", "image/svg+xml"),
        ("/favicon", "image/svg+xml"),
        ("/favicon.ico", "image/svg+xml"),
    ],
)
async def test_static_files_are_sent_once(site: Site, path: str, type: str) -> None:
    answer = await site.get(path)
    assert (answer.status, answer.content_type) == (200, type)
    assert (await site.get(path, **{"If-None-Match": answer.headers["ETag"]})).status == 304


@pytest.mark.parametrize("name", ["login.html", "..%2Flogin.html", "%2e%2e/login.html", "app.css/", "app.css.bak"])
async def test_no_other_file_is_sent(site: Site, name: str) -> None:
    assert (await site.get(f"/static/{name}")).status == 404


async def test_a_form_may_not_be_large(site: Site) -> None:
    assert (await site.post("/login", {"token": "x" * 20_000})).status == 413
