"""The OpenAI SDK, quick to make."""

from __future__ import annotations

import ssl

from openai import AsyncOpenAI, DefaultAsyncHttpxClient

# Nobody, for there is no TLS here; to read whom to trust would take longer than most tests.
_TRUSTED = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def openai_client(url: str, token: str) -> AsyncOpenAI:
    """A client of the API at ``url``; to be closed."""
    client = DefaultAsyncHttpxClient(verify=_TRUSTED)
    return AsyncOpenAI(base_url=f"{url}/v1", api_key=token, max_retries=0, timeout=20, http_client=client)
