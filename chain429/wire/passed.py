"""What the requests have in common that are passed on as they are, to providers that speak Chat Completions: nothing of
them is translated, and nothing is changed but the model's name and what a provider does not take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, NoReturn

from chain429.errors import RequestError, WireError
from chain429.wire.chat_writer import error_body
from chain429.wire.conversation import Conversation, opening_key
from chain429.wire.dialect import Dialect, DialectName, Problem, RequestName, Side
from chain429.wire.members import Members
from chain429.wire.prompt import Prompt
from chain429.wire.sse import comment
from chain429.wire.wants import Ability


@dataclass(frozen=True, slots=True)
class PassedDialect:
    """See ``dialect.Dialect``. Errors are worded as in Chat Completions."""

    name: RequestName
    one_model: bool
    provider: DialectName = "chat"
    translates: bool = False
    keep_alive: bytes = comment("keep-alive")

    def error(self, problem: Problem) -> bytes:
        return error_body(problem)


@dataclass(frozen=True, slots=True)
class PassedRequest:
    """A client's request, checked. See ``dialect.ClientRequest``; which members are said is up to each kind."""

    members: Members
    model: str
    stream: bool
    size: int
    max_tokens: int | None

    dialect: ClassVar[Dialect]
    wants: ClassVar[tuple[Ability, ...]] = ()

    def conversation(self, session: str) -> Conversation:
        """Each is one of its own: there is nothing in it that was answered."""
        return Conversation(opening_key(self.dialect.name, [session]), begun=False)

    def prompt(self) -> NoReturn:
        raise WireError(f"requests for {self.dialect.name} are not translated")

    def writer(self, prompt: Prompt, side: Side, identifier: str, at: int) -> NoReturn:
        self.prompt()

    def droppable(self, param: str) -> str | None:
        return None


@dataclass(frozen=True, slots=True)
class PassedExchange:
    """One attempt, as far as it is the same for all. See ``dialect.Exchange``."""

    path: str
    body: bytes
    lost: tuple[str, ...]

    headers: ClassVar[Mapping[str, str]] = MappingProxyType({})


def members_of(body: bytes, needed: Iterable[str]) -> Members:
    """Read a client's body; raises RequestError (400) where it is no JSON object, where a member is missing that is
    ``needed``, or where the model is no text."""
    try:
        members = Members.parse(body)
    except WireError as error:
        raise RequestError(f"The request could not be read: {error}.", code="invalid_json") from error
    for name in needed:
        if members.values.get(name) is None:
            raise RequestError(f"Missing required parameter: '{name}'.", code="missing_required_parameter", param=name)
    if not isinstance(members.values.get("model", ""), str):
        raise invalid("model", "a string")
    return members


def how_many(param: str, given: Any) -> int:
    """How many texts are ``given``: one, or a list of them, each in words or in tokens. Raises RequestError (400)."""
    if isinstance(given, str):
        return 1
    if isinstance(given, list) and given:
        if all(_is_number(one) for one in given):
            return 1
        if all(isinstance(one, str) for one in given) or all(_is_tokens(one) for one in given):
            return len(given)
    raise invalid(param, "a string, a list of strings, or tokens")


def invalid(param: str, wanted: str) -> RequestError:
    return RequestError(f"Invalid '{param}': {wanted} was expected.", code="invalid_type", param=param)


def _is_tokens(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(_is_number(one) for one in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
