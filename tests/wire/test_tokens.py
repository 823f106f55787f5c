from __future__ import annotations

import base64
from typing import Any

import pytest

from chain429.wire.tokens import estimate_tokens


def image(head: bytes) -> dict[str, Any]:
    data = base64.b64encode(head + b"\0" * 300).decode()
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}


def asked(*blocks: dict[str, Any], **fields: Any) -> int:
    return estimate_tokens({"messages": [{"role": "user", "content": list(blocks)}], **fields})


PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (300).to_bytes(4, "big") + (250).to_bytes(4, "big")
# APP0, then a table that looks like a frame header by its number, then the frame.
JPEG = b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0\xff\xc4\0\x04\0\0\xff\xc0\0\x11\x08\0\xfa\x01\x2c\x03"


def test_text_is_about_four_bytes_a_token() -> None:
    assert estimate_tokens({"messages": [{"role": "user", "content": "word" * 100}]}) == 104
    # Two bytes each in UTF-8.
    assert estimate_tokens({"messages": [{"role": "user", "content": "ä" * 200}]}) == 104
    assert estimate_tokens({"system": "word", "messages": []}) == 1
    assert estimate_tokens({"messages": []}) == 1


def test_everything_that_a_model_reads_counts() -> None:
    blocks: list[dict[str, Any]] = [
        {"type": "text", "text": "word" * 100},
        {"type": "thinking", "thinking": "word" * 100, "signature": "x" * 999},
        {"type": "tool_use", "id": "a", "name": "f", "input": {"x": "word" * 100}},
        {"type": "tool_result", "tool_use_id": "a", "content": "word" * 100},
        {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "word" * 100}]},
        {"type": "tool_result", "tool_use_id": "a"},
        {"type": "search_result", "content": [{"type": "text", "text": "word" * 100}]},
    ]
    count = asked(*blocks, system=[{"type": "text", "text": "word" * 100}], tools=[{"name": "f" * 400}])
    assert 800 <= count <= 870


@pytest.mark.parametrize(
    "head",
    [
        PNG,
        JPEG,
        b"GIF89a" + (300).to_bytes(2, "little") + (250).to_bytes(2, "little"),
        b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + (299).to_bytes(3, "little") + (249).to_bytes(3, "little"),
        b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0\0\0\0\x9d\x01\x2a" + (300).to_bytes(2, "little") + (250).to_bytes(2, "little"),
        b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f" + (299 | 249 << 14).to_bytes(4, "little"),
    ],
)
def test_edge_15_an_image_counts_by_its_size_and_not_by_its_bytes(head: bytes) -> None:
    assert asked(image(head)) == 104
    assert asked({"type": "tool_result", "tool_use_id": "a", "content": [image(head)]}) == 108


@pytest.mark.parametrize("head", [b"", b"BM", b"\xff\xd8", b"\xff\xd8\xff\xc0", PNG[:18] + b"\xff" * 8])
def test_an_image_is_never_more_than_the_largest(head: bytes) -> None:
    assert asked(image(head)) == 1604
    assert asked({"type": "image", "source": {"type": "url", "url": "https://x/a.png"}}) == 1604


def test_a_document_counts_by_what_it_is() -> None:
    def document(**source: Any) -> int:
        return asked({"type": "document", "source": source}) - 4

    assert document(type="text", media_type="text/plain", data="word" * 100) == 100
    assert document(type="content", content=[{"type": "text", "text": "word" * 100}]) == 100
    assert document(type="base64", media_type="application/pdf", data="A" * 4000) == 120
    assert document(type="base64", data="not base64") >= 0
