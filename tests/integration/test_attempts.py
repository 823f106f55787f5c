"""Each attempt is a flow of its own, as the file shows that mitmdump writes with ``-w``."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from mitmproxy.http import HTTPFlow

from tests.integration.conftest import HELLO, PROVIDER_KEY, TOOL_KEY, Front, Providers, Starter, direct, flows_in

Flows = dict[str, list[HTTPFlow]]


def ask(front: Front, name: str, model: str, *, stream: bool = False) -> int:
    """What a tool gets for its host through the proxy: the status. ``name`` is the id of its request."""
    body = json.dumps({**HELLO, "model": model, "stream": stream}).encode()
    headers = {"Authorization": f"Bearer {TOOL_KEY}", "Content-Type": "application/json", "X-Request-Id": name}
    request = urllib.request.Request("http://api.openai.com/v1/chat/completions", body, headers)
    request.set_proxy(front.proxy.removeprefix("http://"), "http")
    try:
        with direct.open(request, timeout=30) as answer:
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.fixture(scope="module")
def file(shared: Starter, simulated: Providers) -> Path:
    """What mitmdump wrote of requests for which providers did one thing and another."""
    simulated.call(simulated.simulator.control.reset)
    file = shared.folder / "flows"
    front = shared.start("-q", "-w", file, "--set", "store_streamed_bodies=true")
    simulated.script("cerebras", "429")
    assert ask(front, "limited", "failing") == 200
    assert ask(front, "streamed", "default", stream=True) == 200
    simulated.script("generic", "cut")
    assert ask(front, "cut", "home/qwen3", stream=True) == 200
    # Twice, as it is asked once more where the connection was a kept one.
    simulated.script("generic", "reset", times=2)
    assert ask(front, "reset", "home/qwen3") == 502
    simulated.script("groq", "401")
    assert ask(front, "refused", "default") == 503
    assert front.stop() == 0
    return file


@pytest.fixture(scope="module")
def flows(file: Path) -> Flows:
    """Those of each request, in the order in which they began."""
    found: Flows = {}
    for flow in flows_in(file):
        found.setdefault(flow.metadata["chain429_request"], []).append(flow)
    return {name: sorted(several, key=lambda flow: flow.request.timestamp_start) for name, several in found.items()}


def test_each_attempt_is_a_flow_beside_the_clients_own(flows: Flows) -> None:
    client, refused, served = flows["limited"]
    assert client.comment == "failing -> home/qwen3, 2 attempts (limited)"
    assert refused.response
    assert served.response
    assert refused.comment.startswith("attempt 1 of limited (failing): cerebras/gpt-oss-120b (cerebras/PROVIDER_KEY): ")
    assert served.comment == "attempt 2 of limited (failing): home/qwen3 (home/PROVIDER_KEY)"
    assert (refused.response.status_code, served.response.status_code) == (429, 200)
    assert (refused.request.path, served.request.path) == (
        "/cerebras/v1/chat/completions",
        "/generic/v1/chat/completions",
    )
    assert refused.marked == served.marked != client.marked
    assert refused.error is None
    assert json.loads(refused.request.content or b"")["model"] == "gpt-oss-120b"
    assert b"Rate limit" in (refused.response.content or b"")
    times = [refused.request.timestamp_start, refused.response.timestamp_start, served.request.timestamp_start]
    assert times == sorted(times)


def test_what_was_streamed_is_in_the_flow(flows: Flows) -> None:
    _, attempt = flows["streamed"]
    assert attempt.response
    content = attempt.response.content or b""
    assert content.startswith(b"data: ")
    assert content.endswith(b"data: [DONE]\n\n")


def test_an_attempt_that_broke_is_an_error(flows: Flows) -> None:
    (_, cut), (_, reset) = flows["cut"], flows["reset"]
    assert cut.response
    assert cut.error
    assert b"here." in (cut.response.content or b"")
    assert cut.error.msg == "its answer was cut short"
    assert reset.error
    assert (reset.response, reset.error.msg.partition(":")[0]) == (None, "the connection broke")


def test_no_key_is_in_the_file(file: Path, flows: Flows) -> None:
    assert len(flows) == 5
    assert flows["refused"][1].request.headers["authorization"] == "[redacted]"
    written = file.read_bytes()
    assert PROVIDER_KEY.encode() not in written
    assert TOOL_KEY.encode() not in written
