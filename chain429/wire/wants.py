"""What a request wants of a model that not every model can do, and how long it is to a model.

A dialect says where in its body things are. The body's text is searched before its parts are looked at: that is far
cheaper, and most requests have nothing but words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from chain429.wire.members import Members, plain_size

# To call tools, to be shown images, to answer by a JSON schema.
Ability = Literal["tools", "images", "schema"]

# What a large image takes, in bytes of text: 1,600 tokens of four bytes. Providers make larger ones smaller.
_IMAGE = 6400
# A PDF takes about a token for 25 of its bytes, in base64 for 33 characters; so this part of them in bytes of text.
_DOCUMENT = 0.12


def abilities(*, tools: bool, images: bool, schema: bool) -> tuple[Ability, ...]:
    """Those that are wanted."""
    if not (tools or images or schema):
        return ()
    every: tuple[tuple[Ability, bool], ...] = (("tools", tools), ("images", images), ("schema", schema))
    return tuple([ability for ability, asked in every if asked])


def shows(members: Members, name: str, kind: str) -> bool:
    """Whether a part of type ``kind`` is among the messages, or items, that stand under ``name``."""
    return members.count(f'"{kind}"') > 0 and any(part.get("type") == kind for part in _parts(members.values[name]))


def length(body: bytes, members: Members, name: str) -> int:
    """The bytes that ``body`` has to a model: those of its text in plain UTF-8, and for each image and document in it
    those of a text that takes as many tokens."""
    size = plain_size(body)
    if members.count(";base64,") or members.count('"base64"'):
        size -= sum(_weightless(part) for part in _parts(members.values[name]))
    return size


def _parts(items: Any, depth: int = 2) -> Iterator[Mapping[str, Any]]:
    """The parts of each message or item, and those of the results of tools among them."""
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict):
            for inner in (item.get("content"), item.get("output")):
                if isinstance(inner, list):
                    yield from [part for part in inner if isinstance(part, dict)]
                    if depth > 1:
                        yield from _parts(inner, depth - 1)


def _weightless(part: Mapping[str, Any]) -> int:
    """How many of the part's bytes a model never reads."""
    match part:
        case {"type": "image_url", "image_url": {"url": str(data)}} | {"type": "input_image", "image_url": str(data)}:
            image = True
        case {"type": "image", "source": {"type": "base64", "data": str(data)}}:
            image = True
        case {"type": "document", "source": {"type": "base64", "data": str(data)}}:
            image = False
        case {"type": "file", "file": {"file_data": str(data)}} | {"type": "input_file", "file_data": str(data)}:
            image = False
        case _:
            return 0
    return max(len(data) - (_IMAGE if image else round(len(data) * _DOCUMENT)), 0)
