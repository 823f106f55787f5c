"""What a simulated provider answers at ``/completions`` and ``/embeddings``, as OpenAI documents these.

Pure: the same answer for the same request. An embedding is made of the text's digest, so equal texts have equal ones.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from typing import TYPE_CHECKING, Any

from chain429.simulator.answers import tokens_in, words
from chain429.simulator.reply import DONE, Reply, event, json_reply, stream_reply

if TYPE_CHECKING:
    from chain429.simulator.dialect import Dialect, Turn

_DIMENSIONS = 8


def complete(dialect: Dialect, turn: Turn) -> Reply:
    """The reply to a request for completions; each prompt is answered ``n`` times."""
    prompts = _texts(turn.body.get("prompt"))
    count = turn.body.get("n", 1)
    if not prompts or not isinstance(count, int) or not 0 < count <= 16:
        return dialect.error(400, "A prompt was expected, and an n of 1 to 16.")
    said = [f"{dialect.name}/{turn.model} here. You said: {prompt}" for prompt in prompts for _ in range(count)]
    common = {"id": f"cmpl-{turn.serial}", "object": "text_completion", "created": int(turn.now), "model": turn.model}
    read, written = sum(map(tokens_in, prompts)), sum(map(tokens_in, said))
    usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    if not turn.stream:
        choices = [_choice(index, text, "stop") for index, text in enumerate(said)]
        return json_reply(200, {**common, "choices": choices, "usage": usage})
    pieces = [
        event({**common, "choices": [_choice(index, word, None)]})
        for index, text in enumerate(said)
        for word in words(text)
    ]
    pieces += [event({**common, "choices": [_choice(index, "", "stop")]}) for index in range(len(said))]
    if turn.include_usage:
        pieces.append(event({**common, "choices": [], "usage": usage}))
    return stream_reply([*pieces, DONE], {"Content-Type": dialect.stream_type}, 0)


def embed(dialect: Dialect, turn: Turn) -> Reply:
    """The reply to a request for embeddings."""
    texts = _texts(turn.body.get("input"))
    if not texts:
        return dialect.error(400, "An input was expected: a string, a list of strings, or tokens.")
    packed = turn.body.get("encoding_format") == "base64"
    rows = [
        {"object": "embedding", "index": index, "embedding": _embedding(text, packed=packed)}
        for index, text in enumerate(texts)
    ]
    count = sum(map(tokens_in, texts))
    usage = {"prompt_tokens": count, "total_tokens": count}
    return json_reply(200, {"object": "list", "data": rows, "model": turn.model, "usage": usage})


def _texts(given: object) -> list[str]:
    """The texts that are given: one, or several, each in words or in tokens."""
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list):
        return []
    if given and all(isinstance(one, int) for one in given):
        return [json.dumps(given)]
    return [one if isinstance(one, str) else json.dumps(one) for one in given]


def _choice(index: int, text: str, finish: str | None) -> dict[str, Any]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish}


def _embedding(text: str, *, packed: bool) -> str | list[float]:
    digest = hashlib.sha256(text.encode("utf-8", "replace")).digest()
    values = [byte / 128 - 1 for byte in digest[:_DIMENSIONS]]
    return base64.b64encode(struct.pack(f"<{_DIMENSIONS}f", *values)).decode() if packed else values
