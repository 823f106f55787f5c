"""Which way an attempt goes: through, where client and provider speak the same dialect, else by translation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from chain429.wire import chat, chat_body, messages, messages_answer, messages_body
from chain429.wire.dialect import ClientRequest, DialectName, Exchange, Side
from chain429.wire.translate import Translated, Upstream

_UPSTREAMS: Mapping[DialectName, Upstream] = MappingProxyType(
    {
        "chat": Upstream(
            chat.PATH,
            {},
            {"stream": True, "stream_options": {"include_usage": True}},
            chat_body.write_body,
            chat.ChatReader,
        ),
        "messages": Upstream(
            messages.PATH,
            {"anthropic-version": messages.VERSION},
            {"stream": True},
            messages_body.write_body,
            messages_answer.MessagesReader,
        ),
    }
)


def exchange(request: ClientRequest, side: Side, refused: Iterable[str], identifier: str, at: int) -> Exchange:
    """One attempt at ``request``. See ``ClientRequest`` for ``refused``, ``identifier`` and ``at``."""
    if request.dialect.name == side.dialect:
        return request.exchange(side, refused)
    prompt = request.prompt()
    return Translated(
        prompt,
        side,
        _UPSTREAMS[side.dialect],
        lambda: request.writer(prompt, side, identifier, at),
        refused,
        stream=request.stream,
    )
