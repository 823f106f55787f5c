"""Which way an attempt goes: through, where client and provider speak the same dialect, else by translation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType

from chain429.wire import (
    chat,
    chat_body,
    chat_reader,
    messages,
    messages_answer,
    messages_body,
    responses,
    responses_answer,
    responses_body,
)
from chain429.wire.cleanup import dropped
from chain429.wire.dialect import ClientRequest, DialectName, Exchange, Reader, Side, Writer
from chain429.wire.prompt import Prompt
from chain429.wire.rescue import RescuingReader
from chain429.wire.translate import Translated, Upstream, encoded

_UPSTREAMS: Mapping[DialectName, Upstream] = MappingProxyType(
    {
        "chat": Upstream(
            chat.PATH,
            {},
            {"stream": True, "stream_options": {"include_usage": True}},
            chat_body.write_body,
            chat_reader.ChatReader,
            chat.SAFE_TO_DROP,
            chat.RENAMES,
        ),
        "messages": Upstream(
            messages.PATH,
            {"anthropic-version": messages.VERSION},
            {"stream": True},
            messages_body.write_body,
            messages_answer.MessagesReader,
            messages.SAFE_TO_DROP,
        ),
        "responses": Upstream(
            responses.PATH,
            {},
            {"stream": True},
            responses_body.write_body,
            responses_answer.ResponsesReader,
            responses.SAFE_TO_DROP,
        ),
    }
)


def exchange(request: ClientRequest, side: Side, refused: Iterable[str], identifier: str, at: int) -> Exchange:
    """One attempt at ``request``. See ``ClientRequest`` for ``refused``, ``identifier`` and ``at``. Raises WireError
    where it is none that is translated."""
    asked = request.dialect
    passed = request.exchange(side, refused) if asked.provider == side.dialect else None
    if passed is not None and not asked.translates:
        return passed
    rescued = side.dialect == "chat" and _writes_calls(side)
    if passed is not None and not rescued:
        return passed
    prompt = request.prompt()
    upstream = _UPSTREAMS[side.dialect]
    reader = _rescuing(prompt, upstream.reader) if rescued and prompt.tools else upstream.reader

    def writer() -> Writer:
        return request.writer(prompt, side, identifier, at)

    if passed is not None:
        # Only the answer is read with care; what was asked stays in the client's own words.
        if not prompt.tools:
            return passed
        return Translated(passed.path, passed.headers, passed.body, passed.lost, reader, writer)
    values = upstream.values(prompt, side, refused, stream=request.stream)
    lost = dict.fromkeys((*prompt.lost, *dropped(values, values, side.rules, upstream.renames)))
    for name in upstream.streamed:
        lost.pop(name, None)
    return Translated(upstream.path, upstream.headers, encoded(values), tuple(lost), reader, writer)


def droppable(request: ClientRequest, side: Side, param: str) -> str | None:
    """What may be left out of ``request`` after a provider refused ``param``, in that provider's words; None where it
    is needed."""
    if request.dialect.provider == side.dialect and request.exchange(side, ()) is not None:
        return request.droppable(param)
    return _UPSTREAMS[side.dialect].droppable(request.prompt(), side, param, stream=request.stream)


def _writes_calls(side: Side) -> bool:
    return any(rule.text_calls and fnmatchcase(side.model, rule.models) for rule in side.rules)


def _rescuing(prompt: Prompt, reader: Callable[[], Reader]) -> Callable[[], Reader]:
    names = {tool.name for tool in prompt.tools} | {original.name for original in prompt.originals.values()}
    return lambda: RescuingReader(reader(), names)
