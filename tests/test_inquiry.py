"""What a provider's list of models says of a key, and of the models."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from chain429.config import Config, parse
from chain429.errors import ConnectFailed
from chain429.inquiry import Found, inquire

NOW = 1_800_000_000.0
URL = "https://api.groq.com/openai/v1/models"
CONFIG = """
providers:
  groq: {keys: [env:KEY], headers: {x-title: me}}
  anthropic: {keys: [env:KEY]}
  mine: {preset: cohere, base_url: http://127.0.0.1:9/v1, keys: [env:KEY]}
chains: {default: [groq/x]}
"""


class Asked:
    """Answers every GET alike."""

    def __init__(self, status: int = 200, body: bytes = b'{"data": [{"id": "a"}]}') -> None:
        self.answer = (status, body)
        self.seen: list[tuple[str, Mapping[str, str]]] = []

    async def get(self, url: str, headers: Mapping[str, str], timeout: float) -> tuple[int, bytes]:  # noqa: ASYNC109
        self.seen.append((url, headers))
        return self.answer


async def ask(asked: Asked, provider: str = "groq") -> Found:
    config: Config = parse(CONFIG, {"KEY": "the-key-of-the-test"})
    provision = config.providers[provider].provision
    return await inquire(asked.get, config.endpoints[provider], provision, f"{provider}/KEY", NOW)


async def test_the_key_is_shown_as_the_provider_wants_it() -> None:
    asked = Asked()
    found = await ask(asked)
    assert (found.works, found.words, list(found.models or ())) == (True, "the provider answers", ["a"])
    await ask(asked, "anthropic")
    (url, groq), (_, anthropic) = asked.seen
    assert url == URL
    assert (groq["authorization"], groq["x-title"]) == ("Bearer the-key-of-the-test", "me")
    assert groq["user-agent"].startswith("chain429 ")
    assert anthropic["x-api-key"] == "the-key-of-the-test"
    assert "authorization" not in anthropic


@pytest.mark.parametrize(
    ("status", "body", "works", "words"),
    [
        (401, b'{"error": {"message": "no"}}', False, "key refused (HTTP 401): no"),
        (404, b"404: Not Found", False, f"{URL}: no list of models there (HTTP 404); is base_url right?"),
        (429, b"{}", True, "rate limited (HTTP 429)"),
        (503, b"", False, "busy (HTTP 503)"),
        (200, b"<html>", False, f"{URL}: a web page is there, no list of models; is base_url right?"),
        (200, b"fine", True, "the provider answers, but not with a list of models: it is no JSON"),
    ],
)
async def test_what_an_answer_says_of_the_key(status: int, body: bytes, works: bool, words: str) -> None:
    assert await ask(Asked(status, body)) == Found(works, words)


async def test_a_provider_without_a_list_is_not_asked() -> None:
    asked = Asked()
    found = await ask(asked, "mine")
    assert (found.works, found.tried, found.models, asked.seen) == (True, False, None, [])


async def test_a_provider_that_is_not_there() -> None:
    class Nobody(Asked):
        async def get(self, url: str, headers: Mapping[str, str], timeout: float) -> tuple[int, bytes]:  # noqa: ASYNC109
            raise ConnectFailed("its host name can't be resolved")

    found = await ask(Nobody())
    assert not found.works
    assert found.words == f"{URL}: its host name can't be resolved"
