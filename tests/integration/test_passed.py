"""What is only passed on, with the real OpenAI SDK in front."""

from __future__ import annotations

from pathlib import Path

import openai
import pytest

from tests.integration.test_gateway import running

CONFIG = """
providers:
  groq: {{keys: [env:GROQ], base_url: {groq}}}
  home: {{keys: [env:HOME], base_url: {generic}}}
  away: {{keys: [env:OTHER], base_url: {generic}}}
chains:
  default: [groq/qwen3, home/gemma4, away/qwen3]
aliases: {{text-embedding-3-small: default}}
patience: 0
"""


async def test_embeddings_and_completions(tmp_path: Path) -> None:
    async with running(tmp_path, config=CONFIG) as world:
        # The first provider has no such path, the second one another model.
        raw = await world.sdk.embeddings.with_raw_response.create(model="text-embedding-3-small", input=["a", "b"])
        assert raw.headers["x-chain429-provider"] == "away"
        assert [len(row.embedding) for row in raw.parse().data] == [8, 8]
        assert isinstance(raw.parse().data[0].embedding[0], float)

        whole = await world.sdk.completions.create(model="home/qwen3", prompt="Hi")
        assert whole.choices[0].text == "generic/qwen3 here. You said: Hi"
        streamed = await world.sdk.completions.create(model="default", prompt="Hi", stream=True)
        assert "".join([chunk.choices[0].text async for chunk in streamed]) == "generic/gemma4 here. You said: Hi"
        assert world.rows("SELECT dialect, outcome, provider FROM request ORDER BY number") == [
            ("embeddings", "served", "away"),
            ("completions", "served", "home"),
            ("completions", "served", "home"),
        ]

        with pytest.raises(openai.NotFoundError, match="Unknown names are refused for embeddings"):
            await world.sdk.embeddings.create(model="text-embedding-ada-002", input="a")
        with pytest.raises(openai.BadRequestError, match="'input'"):
            await world.sdk.embeddings.create(model="default", input=[])
