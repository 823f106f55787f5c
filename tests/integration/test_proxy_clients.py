"""Tools as people have them, through ``HTTPS_PROXY`` to the host that is wired into them: one mitmdump for all.

Each asks for a whole answer and for a stream, over each version of HTTP that it speaks; and each leaves in the middle
of a stream, which ends the provider's work.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.integration.conftest import PROVIDER_KEY, ROOT, TOOL_KEY, Front, Providers, Starter, until
from tests.npm import NotInstalled, installed

ANSWER = "groq/openai/gpt-oss-120b here. You said: Hello"
URL = "https://api.openai.com/v1/chat/completions"
UNDICI = ROOT / "tests" / "clients" / "undici"

# Each program prints what it got as JSON: {"whole": …, "pieces": […]}; with "leave" as its argument, the first piece of
# a stream, before it leaves.
COMMON = f"""
import json, os, sys
URL, LEAVE = {URL!r}, "leave" in sys.argv
HEADERS = {{"authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}}
ASKED = {{"model": "gpt-4o", "messages": [{{"role": "user", "content": "Hello"}}]}}
STREAMED = {{**ASKED, "stream": True}}
def texts(lines):
    for line in lines:
        line = line.decode() if isinstance(line, bytes) else line
        if line.startswith("data: {{"):
            for choice in json.loads(line[6:])["choices"]:
                if choice["delta"].get("content"):
                    yield choice["delta"]["content"]
def text(answer):
    return answer["choices"][0]["message"]["content"]
def tell(**said):
    print(json.dumps(said), flush=True)
"""
PROGRAMS = {
    "requests": """
import requests
with requests.Session() as session:
    if LEAVE:
        with session.post(URL, json=STREAMED, headers=HEADERS, stream=True, timeout=30) as answer:
            tell(first=next(texts(answer.iter_lines(chunk_size=1))))
    else:
        whole = session.post(URL, json=ASKED, headers=HEADERS, timeout=30).json()
        with session.post(URL, json=STREAMED, headers=HEADERS, stream=True, timeout=30) as answer:
            tell(whole=text(whole), pieces=list(texts(answer.iter_lines())))
""",
    "httpx": """
import importlib
httpx = importlib.import_module(sys.argv[1])
with httpx.Client(http2=os.environ.get("HTTP2") == "1", timeout=30) as client:
    if LEAVE:
        with client.stream("POST", URL, json=STREAMED, headers=HEADERS) as answer:
            tell(first=next(texts(answer.iter_lines())))
    else:
        whole = client.post(URL, json=ASKED, headers=HEADERS)
        with client.stream("POST", URL, json=STREAMED, headers=HEADERS) as answer:
            tell(whole=text(whole.json()), pieces=list(texts(answer.iter_lines())), version=whole.http_version)
""",
    "aiohttp": """
import aiohttp, asyncio
async def main():
    async with aiohttp.ClientSession(trust_env=True, headers=HEADERS) as session:
        if LEAVE:
            async with session.post(URL, json=STREAMED) as answer:
                async for line in answer.content:
                    for piece in texts([line]):
                        tell(first=piece)
                        return
        async with session.post(URL, json=ASKED) as answer:
            whole = await answer.json()
        async with session.post(URL, json=STREAMED) as answer:
            tell(whole=text(whole), pieces=[piece async for line in answer.content for piece in texts([line])])
asyncio.run(main())
""",
    "openai": """
from openai import OpenAI
with OpenAI(max_retries=0) as client:
    if LEAVE:
        with client.chat.completions.create(**STREAMED) as stream:
            tell(first=next(chunk.choices[0].delta.content for chunk in stream if chunk.choices[0].delta.content))
    else:
        whole = client.chat.completions.create(**ASKED).choices[0].message.content
        chunks = client.chat.completions.create(**STREAMED)
        tell(whole=whole, pieces=[chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices])
""",
}


@pytest.fixture(scope="module")
def front(shared: Starter) -> Front:
    return shared.start("-q")


@pytest.fixture
def environment(front: Front, shared: Starter) -> dict[str, str]:
    """All that a user sets."""
    trusted = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    return {
        "HTTPS_PROXY": front.proxy,
        "OPENAI_API_KEY": TOOL_KEY,
        "PATH": os.environ.get("PATH", os.defpath),
        **dict.fromkeys(trusted, str(shared.certificate)),
    }


def httpx_name() -> str:
    """httpx, under the name that the OpenAI SDK has it by."""
    return next(name for name in ("httpx", "httpx2") if importlib.util.find_spec(name))


def command(tool: str, front: Front, shared: Starter) -> list[str]:
    """How to run a tool; skips where it is not here."""
    if tool == "undici":
        return [*undici(), front.proxy, str(shared.certificate)]
    named = [httpx_name()] if tool == "httpx" else []
    return [sys.executable, "-c", COMMON + PROGRAMS[tool], *named]


def undici() -> list[str]:
    try:
        folder = installed(UNDICI)
    except NotInstalled as error:
        pytest.skip(str(error))
    shutil.copy(UNDICI / "ask.mjs", folder)
    return ["node", str(folder / "ask.mjs")]


def run(program: list[str], environment: dict[str, str]) -> dict[str, object]:
    done = subprocess.run(program, env=environment, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    said: dict[str, object] = json.loads(done.stdout)
    return said


@pytest.mark.parametrize(
    ("tool", "http2"),
    [
        ("requests", False),
        ("httpx", False),
        ("httpx", True),
        ("aiohttp", False),
        ("openai", False),
        ("undici", False),
        ("undici", True),
    ],
)
def test_a_tool_is_served(
    front: Front, shared: Starter, providers: Providers, environment: dict[str, str], tool: str, http2: bool
) -> None:
    if (tool, http2, httpx_name()) == ("httpx", True, "httpx"):
        pytest.skip("this httpx offers HTTP/1.1 before HTTP/2, and mitmproxy takes what comes first")
    said = run(command(tool, front, shared), {**environment, "HTTP2": "1" if http2 else "0"})
    pieces = said["pieces"]
    assert isinstance(pieces, list)
    assert said["whole"] == "".join(pieces) == ANSWER
    assert len([piece for piece in pieces if piece]) > 2
    if tool == "httpx":
        assert said["version"] == ("HTTP/2" if http2 else "HTTP/1.1")
    received = providers.received()
    assert [record.key for record in received] == [PROVIDER_KEY] * 2
    assert TOOL_KEY not in json.dumps([asdict(record) for record in received])


@pytest.mark.parametrize(
    ("tool", "http2"), [(tool, False) for tool in (*PROGRAMS, "undici")] + [("httpx", True), ("undici", True)]
)
def test_a_tool_that_leaves_ends_the_providers_work(
    front: Front, shared: Starter, providers: Providers, environment: dict[str, str], tool: str, http2: bool
) -> None:
    providers.script("groq", "hang_mid_stream", after=3)
    said = run([*command(tool, front, shared), "leave"], {**environment, "HTTP2": "1" if http2 else "0"})
    assert said["first"]
    (record,) = providers.received()
    until(lambda: record.done)
    assert record.closed_early


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_curl(front: Front, providers: Providers, environment: dict[str, str], tmp_path: Path, version: str) -> None:
    program = shutil.which("curl")
    if program is None:
        pytest.skip("there is no curl here")
    asked = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
    sent = ["-H", "content-type: application/json", "-H", f"authorization: Bearer {TOOL_KEY}"]
    shown = ["-sS", "-N", version, "-w", "%{http_version}", "-m", "2"]
    for stream in (False, True):
        ask = [program, *shown, *sent, "-d", json.dumps({**asked, "stream": stream}), URL]
        done = subprocess.run(ask, env=environment, check=True, capture_output=True, text=True)
        assert done.stdout.endswith("2" if version == "--http2" else "1.1")
        assert "here" in done.stdout
        assert ("data: [DONE]" in done.stdout) is stream
    providers.script("groq", "hang_mid_stream", after=3)
    ask = [program, *shown[:-1], "0.5", *sent, "-d", json.dumps({**asked, "stream": True}), URL]
    left = subprocess.run(ask, env=environment, check=False, capture_output=True, text=True)
    assert left.returncode == 28  # the time was up
    assert "here" in left.stdout
    record = providers.received()[-1]
    until(lambda: record.done)
    assert record.closed_early
