"""The neutral request: what a client asks, in whatever dialect it asked, for the providers that speak another.

Each dialect has one reader into a ``Prompt`` and one writer out of it, so a request crosses once. A request that stays
in its dialect never comes here: its bytes pass through. What has no place here is named in ``Prompt.lost``, so that it
can be told.

Nothing here is changed once it is made. Turns, and the parts that most requests have hundreds of, are not frozen only
because that takes twice the time to make them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from types import MappingProxyType
from typing import Any, Literal


@dataclass(slots=True)
class TextPart:
    """Words; never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class ImagePart:
    """A picture: ``data`` is base64 of ``media_type``, or it is at ``url``. ``detail``: OpenAI's low, high or auto."""

    url: str = ""
    media_type: str = ""
    data: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class FilePart:
    """A document: ``data`` is base64 of ``media_type``, or it is at ``url``, or its provider knows it by ``id``."""

    name: str = ""
    url: str = ""
    media_type: str = ""
    data: str = ""
    id: str = ""


@dataclass(slots=True)
class ReasoningPart:
    """What a model thought before it answered, as the client was given it and sends it back.

    ``signature`` is the proof that goes with it, and ``origin`` the id of the provider that made it, empty where that
    is not known. Only there it may go back. ``redacted``: the signature is all there is, it holds the thoughts.
    """

    text: str
    signature: str = ""
    origin: str = ""
    redacted: bool = False


@dataclass(slots=True)
class CallPart:
    """A tool was called: ``arguments`` is JSON text, or free text where the tool is ``free``."""

    id: str
    name: str
    arguments: str


@dataclass(slots=True)
class Result:
    """What a tool gave back to the call of that ``id``."""

    id: str
    parts: tuple[TextPart | ImagePart | FilePart, ...]
    failed: bool = False


UserPart = TextPart | ImagePart | FilePart
AssistantPart = TextPart | ReasoningPart | CallPart


@dataclass(slots=True)
class SystemTurn:
    """Instructions, at the beginning or anywhere between turns."""

    text: str


@dataclass(slots=True)
class UserTurn:
    """What the user says; at least one part."""

    parts: tuple[UserPart, ...]


@dataclass(slots=True)
class AssistantTurn:
    """What the model answered; at least one part."""

    parts: tuple[AssistantPart, ...]


@dataclass(slots=True)
class ResultTurn:
    """Results of the calls of the assistant's turn before it, in the order of those calls."""

    results: tuple[Result, ...]


Turn = SystemTurn | UserTurn | AssistantTurn | ResultTurn


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that may be called. ``name`` fits every provider (see ``tool_name``); ``schema`` is its arguments' JSON
    schema. ``free``: it takes free text, not JSON."""

    name: str
    description: str = ""
    schema: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({"type": "object", "properties": {}}))
    strict: bool | None = None
    free: bool = False


@dataclass(frozen=True, slots=True)
class Original:
    """What the client calls a tool whose ``Tool.name`` is another; ``namespace`` is that of the Responses API."""

    name: str
    namespace: str = ""
    free: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """Which tool is to be called: any (``required``), the one of that ``name``, none, or as it likes (``auto``)."""

    kind: Literal["auto", "none", "required", "tool"]
    name: str = ""


@dataclass(frozen=True, slots=True)
class Format:
    """The answer is to be JSON; of that ``schema``, where one is given."""

    schema: Mapping[str, Any] | None = None
    name: str = "answer"
    strict: bool | None = None


Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request.

    ``turns`` are in order and fit together (see ``fit``). ``effort`` and ``budget`` (tokens) say how much it may think,
    None where nothing was said. ``tuning`` are further parameters by the names of Chat Completions (``seed``,
    ``presence_penalty``, ``verbosity`` …): a provider may ignore them. ``originals`` are the client's names of tools,
    by ``Tool.name``, where they differ. ``lost`` names what the client sent that has no place here.
    """

    turns: tuple[Turn, ...]
    tools: tuple[Tool, ...] = ()
    choice: Choice | None = None
    parallel: bool | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    effort: Effort | None = None
    budget: int | None = None
    format: Format | None = None
    tuning: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    originals: Mapping[str, Original] = field(default_factory=lambda: MappingProxyType({}))
    lost: tuple[str, ...] = ()


_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]+")


def tool_name(name: str, namespace: str = "") -> str:
    """A name that every provider takes (letters, digits, ``_`` and ``-``, at most 64), the same for the same tool."""
    whole = f"{namespace}__{name}" if namespace else name
    return whole if _TOOL_NAME.fullmatch(whole) else _shortened(whole, 64)


def call_id(identifier: str, longest: int = 64) -> str:
    """An id that every provider takes, but for those with forms of their own; the same for the same id."""
    fits = len(identifier) <= longest and _TOOL_NAME.fullmatch(identifier)
    return identifier if fits else _shortened(identifier, longest)


def _shortened(text: str, longest: int) -> str:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{_NOT_IN_NAMES.sub('_', text)[: longest - 9]}_{digest}"


# A signature of ours: what comes from a provider that signs nothing, or that speaks another dialect, is marked with
# where it came from, so that it goes back there and nowhere else.
_MARK = "c429"


def marked(origin: str, signature: str) -> str:
    """The signature that a client is given for thoughts of the provider ``origin``."""
    return f"{_MARK}.{origin}.{signature}"


def unmarked(signature: str) -> tuple[str, str]:
    """The provider that a signature is marked with, empty where it is not ours, and the provider's own signature."""
    mark, _, rest = signature.partition(".")
    origin, dot, own = rest.partition(".")
    return (origin, own) if mark == _MARK and dot else ("", signature)


NO_RESULT = "(no result)"


class _Made:
    """A call on its way through ``fit``. ``part`` is None where it is one that was told twice."""

    __slots__ = ("part", "result")

    def __init__(self, part: CallPart | None) -> None:
        self.part = part
        self.result: Result | None = None


def fit(turns: Iterable[Turn]) -> tuple[Turn, ...]:
    """The turns as every provider takes them: neighbours of one kind are one turn, each tool call has an id of its own
    and exactly one result, in the turn right after it and in the order of the calls.

    A result that is missing is said to be missing, one without a call is left out, and of several for one call the
    first counts. What stood between calls and their results comes after the results. Some models count their calls
    anew in each answer: an id that comes again is that of another call, if that has a result too.
    """
    everything = _merged([turn for turn in turns if isinstance(turn, ResultTurn) or _speaks(turn)])
    if _fits(everything):
        return tuple(everything)
    calls = iter(_matched(everything))
    found: list[Turn] = []
    open_results: list[Result] = []
    for turn in everything:
        if isinstance(turn, ResultTurn):
            continue
        if open_results:
            found.append(ResultTurn(tuple(open_results)))
            open_results = []
        if isinstance(turn, AssistantTurn):
            parts: list[AssistantPart] = []
            for part in turn.parts:
                if not isinstance(part, CallPart):
                    parts.append(part)
                    continue
                made = next(calls)
                if made.part is not None:
                    parts.append(made.part)
                    open_results.append(made.result or Result(made.part.id, (TextPart(NO_RESULT),)))
            if not parts:
                continue
            turn = AssistantTurn(tuple(parts))
        found.append(turn)
    if open_results:
        found.append(ResultTurn(tuple(open_results)))
    return tuple(_merged(found))


def _fits(turns: Iterable[Turn]) -> bool:
    """Whether each call has an id of its own, and the turn right after has its result: so it is most of the time."""
    taken: set[str] = set()
    due: list[str] = []
    for turn in turns:
        if isinstance(turn, ResultTurn):
            if not due or [result.id for result in turn.results] != due:
                return False
            due = []
        elif due:
            return False
        elif isinstance(turn, AssistantTurn):
            due = [part.id for part in turn.parts if isinstance(part, CallPart)]
            if due:
                before = len(taken)
                taken.update(due)
                if len(taken) != before + len(due):
                    return False
    return not due


def _matched(turns: Iterable[Turn]) -> list[_Made]:
    """Every call of the turns, in order, with its result."""
    found: list[_Made] = []
    waiting: dict[str, list[_Made]] = {}
    early: dict[str, Result] = {}  # of calls that come later
    for turn in turns:
        if isinstance(turn, AssistantTurn):
            made: dict[str, list[_Made]] = {}
            for part in turn.parts:
                if not isinstance(part, CallPart):
                    continue
                unanswered = made.get(part.id) or waiting.get(part.id)
                again = unanswered is not None and any(one.part == part for one in unanswered)
                call = _Made(None if again else part)
                found.append(call)
                if not again:
                    call.result = early.pop(part.id, None)
                    made.setdefault(part.id, []).append(call)
            waiting |= made
        elif isinstance(turn, ResultTurn):
            for result in turn.results:
                if result.id not in waiting:
                    early.setdefault(result.id, result)
                    continue
                for call in waiting[result.id]:
                    if call.result is None:
                        call.result = result
                        break
    _name_apart(found)
    return found


def _name_apart(calls: Iterable[_Made]) -> None:
    """Give calls whose id is taken one of their own; those without a result are nothing but repetitions."""
    taken: set[str] = set()
    for call in calls:
        if call.part is None:
            continue
        identifier = call.part.id
        if identifier in taken:
            if call.result is None:
                call.part = None
                continue
            number = 2
            while (identifier := f"{call.part.id}_{number}") in taken:
                number += 1
            call.part = CallPart(identifier, call.part.name, call.part.arguments)
            call.result = Result(identifier, call.result.parts, call.result.failed)
        taken.add(identifier)


def _speaks(turn: SystemTurn | UserTurn | AssistantTurn) -> bool:
    return bool(turn.text if isinstance(turn, SystemTurn) else turn.parts)


def _merged(turns: Iterable[Turn]) -> list[Turn]:
    """Neighbours of one kind as one; results between two assistant turns keep these apart."""
    runs = [list(run) for _, run in groupby(turns, type)]
    return [run[0] if len(run) == 1 else _joined(run) for run in runs]


def _joined(turns: Sequence[Turn]) -> Turn:
    """Turns of the same kind as one."""
    if isinstance(turns[0], SystemTurn):
        return SystemTurn("\n\n".join([turn.text for turn in turns if isinstance(turn, SystemTurn)]))
    if isinstance(turns[0], ResultTurn):
        return ResultTurn(tuple([one for turn in turns if isinstance(turn, ResultTurn) for one in turn.results]))
    if isinstance(turns[0], UserTurn):
        return UserTurn(tuple([part for turn in turns if isinstance(turn, UserTurn) for part in turn.parts]))
    return AssistantTurn(tuple([part for turn in turns if isinstance(turn, AssistantTurn) for part in turn.parts]))
