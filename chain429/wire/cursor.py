"""A request in Responses, sent to where Chat Completions is spoken, and to be answered in that: Cursor asks so."""

from __future__ import annotations

from collections.abc import Iterable

from chain429.errors import RequestError
from chain429.wire.chat import CHAT, ChatRequest
from chain429.wire.chat_writer import ChatWriter
from chain429.wire.dialect import ClientRequest, Dialect, Side
from chain429.wire.members import Members
from chain429.wire.prompt import Prompt
from chain429.wire.responses import ResponsesRequest, is_responses


class CursorRequest(ResponsesRequest):
    """See ``dialect.ClientRequest``: whoever is asked, it is always translated."""

    @property
    def dialect(self) -> Dialect:
        return CHAT

    def exchange(self, side: Side, refused: Iterable[str]) -> None:
        return None

    def writer(self, prompt: Prompt, side: Side, identifier: str, at: int) -> ChatWriter:
        options = self.members.values.get("stream_options")
        wanted = isinstance(options, dict) and bool(options.get("include_usage"))
        return ChatWriter(identifier, self.model, at, prompt.originals, side.provider, include_usage=wanted)


def parse(body: bytes) -> ClientRequest:
    """What was sent to ``/chat/completions``, in whichever words. Raises RequestError (400)."""
    try:
        return ChatRequest.parse(body)
    except RequestError as error:
        if error.param != "messages" or not is_responses(Members.parse(body).values):
            raise
    return CursorRequest.parse(body)
