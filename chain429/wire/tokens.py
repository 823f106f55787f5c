"""How many tokens a request in Anthropic's Messages dialect is about, without a vocabulary.

Text is taken by its bytes, images by their size as Anthropic counts them, and documents by theirs.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from chain429.wire.loading import dumps

_BYTES = 4.0
# Around each message, each block and each tool stands what the provider writes there itself.
_PER_MESSAGE, _PER_TOOL = 4, 8
# Pixels of a token, and the most tokens of an image: larger ones are made smaller. What can't be measured is taken to
# be large.
_PIXELS, _MOST_OF_IMAGE = 750, 1600
# Bytes of a PDF for a token: a page is about 50 kB and 2,000 tokens.
_BYTES_OF_PDF = 25
# Of an image so much is looked at: the sizes of all but some JPEGs stand at the very beginning.
_HEAD = 64 * 1024


def estimate_tokens(values: Mapping[str, Any]) -> int:
    """The tokens of a request's body, checked as ``MessagesRequest`` does; at least 1."""
    tokens = _content(values.get("system"))
    for message in values.get("messages") or ():
        tokens += _PER_MESSAGE + _content(message.get("content"))
    for tool in values.get("tools") or ():
        tokens += _PER_TOOL + _text(dumps(tool))
    return max(round(tokens), 1)


def _content(content: Any) -> float:
    if isinstance(content, str):
        return _text(content)
    return sum([_block(block) for block in content]) if isinstance(content, list) else 0.0


def _block(block: Mapping[str, Any]) -> float:
    kind = block.get("type")
    if kind == "text":
        return _text(block["text"])
    if kind == "tool_result":
        return _PER_MESSAGE + _content(block.get("content"))
    if kind == "thinking":
        return _text(block["thinking"])
    if kind in ("image", "document"):
        return _source(block["source"], image=kind == "image")
    if kind == "tool_use":
        return _PER_TOOL + _text(f"{block['name']}{dumps(block.get('input') or {})}")
    return _text(dumps(block))


def _text(text: str) -> float:
    return (len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))) / _BYTES


def _source(source: Mapping[str, Any], *, image: bool) -> float:
    data = source.get("data")
    if source.get("type") == "content":
        return _content(source.get("content"))
    if not isinstance(data, str):
        return _MOST_OF_IMAGE
    if source.get("type") == "text":
        return _text(data)
    if not image:
        return len(data) * 3 / 4 / _BYTES_OF_PDF
    width, height = _size(_head(data)) or (0, 0)
    return min(width * height / _PIXELS, _MOST_OF_IMAGE) or _MOST_OF_IMAGE


def _head(data: str) -> bytes:
    head = data[: _HEAD * 4 // 3 // 4 * 4]
    try:
        return base64.b64decode(head)
    except (binascii.Error, ValueError):
        return b""


def _size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a PNG, GIF, WebP or JPEG by its beginning, None where it does not tell.

    Formats: PNG's IHDR (W3C), GIF89a, WebP's container (RFC 9649), JPEG's frame header (ITU-T T.81).
    """
    if data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) >= 24:
        return _big(data, 16, 4), _big(data, 20, 4)
    if data.startswith(b"GIF8") and len(data) >= 10:
        return _little(data, 6, 2), _little(data, 8, 2)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP" and len(data) >= 30:
        return _webp(data)
    return _jpeg(data) if data.startswith(b"\xff\xd8") else None


def _webp(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":
        return _little(data, 24, 3) + 1, _little(data, 27, 3) + 1
    if kind == b"VP8 ":
        return _little(data, 26, 2) & 0x3FFF, _little(data, 28, 2) & 0x3FFF
    if kind == b"VP8L":
        bits = _little(data, 21, 4)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return None


def _jpeg(data: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        # Frame headers, but for the tables that stand between them.
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return _big(data, at + 7, 2), _big(data, at + 5, 2)
        at += 2 + _big(data, at + 2, 2)
    return None


def _big(data: bytes, at: int, length: int) -> int:
    return int.from_bytes(data[at : at + length], "big")


def _little(data: bytes, at: int, length: int) -> int:
    return int.from_bytes(data[at : at + length], "little")
