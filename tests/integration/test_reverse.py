"""Reverse mode: a base URL that is mitmproxy's, before the real OpenAI SDK."""

from __future__ import annotations

import json
import socket
from dataclasses import asdict

import openai
import pytest
from openai.types.chat import ChatCompletionUserMessageParam

from tests.integration.conftest import TOOL_KEY, Front, Local, Providers, Starter, address, until

HELLO: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def front(shared: Starter) -> Front:
    return shared.start("-q", "--mode", "reverse:https://api.openai.com")


@pytest.fixture
def sdk(front: Front) -> openai.OpenAI:
    return openai.OpenAI(base_url=front.reverse, api_key=TOOL_KEY, max_retries=0, timeout=30)


def test_the_sdk_is_served(sdk: openai.OpenAI, providers: Providers) -> None:
    with sdk:
        whole = sdk.chat.completions.create(model="gpt-4o", messages=HELLO)
        streamed = sdk.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True)
        pieces = [chunk.choices[0].delta.content or "" for chunk in streamed if chunk.choices]
    assert whole.choices[0].message.content == "".join(pieces) == "groq/openai/gpt-oss-120b here. You said: Hello"
    received = providers.received()
    assert len(received) == 2
    assert TOOL_KEY not in json.dumps([asdict(record) for record in received])


def test_each_chunk_arrives_before_the_next_is_made(sdk: openai.OpenAI, providers: Providers) -> None:
    providers.script("groq", "hang_mid_stream", after=3)
    with sdk, sdk.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True) as stream:
        pieces = (
            chunk.choices[0].delta.content for chunk in stream if chunk.choices and chunk.choices[0].delta.content
        )
        assert [next(pieces) for _ in range(3)] == ["groq/openai/gpt-oss-120b ", "here. ", "You "]
        (record,) = providers.received()
        # The provider never finishes.
        assert not record.done
    until(lambda: record.done, seconds=1)
    assert record.closed_early


def test_an_error_is_the_sdks_own(sdk: openai.OpenAI, providers: Providers) -> None:
    with sdk, pytest.raises(openai.BadRequestError):
        sdk.chat.completions.create(model="gpt-4o", messages=[])


def test_another_upstream_of_the_users_own_is_left_alone(starter: Starter) -> None:
    server = Local()
    try:
        front = starter.start("--mode", f"reverse:http://127.0.0.1:{server.port}")
        port = int(front.wait_for(r"reverse proxy to \S+ listening at 127\.0\.0\.1:(\d+)")[1])
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nhost: api.openai.com\r\nauthorization: Bearer theirs\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
    finally:
        server.stop()
    assert answer.endswith(b"HELLO")
    (heard,) = server.heard
    assert b"authorization: Bearer theirs\r\n" in heard
    assert "reverse " not in front.out.partition("API")[2].partition("Try it:")[0]
    assert address(front.api)[1] != port
