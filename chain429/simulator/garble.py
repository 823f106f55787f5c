"""Streams as careless providers write them: each function takes all events of a stream, and gives them changed.

They know an event by its members, so that the same fault can be asked for in every dialect; where a dialect has nothing
of the kind, its events stay as they are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from chain429.simulator.reply import Reply, encoded, event, named_event

Event = dict[str, Any]
Change = Callable[[list[Event]], Iterable[Event]]

# Where an event has its usage, if not in itself.
_HOLDERS = ("message", "response", "x_groq")
_DATA = b"data: {"


def garbled(reply: Reply, change: Change) -> Reply:
    """The reply with its events changed; one that is not streamed is a single event."""
    if not reply.streamed:
        [whole] = change([json.loads(reply.body)])
        return replace(reply, pieces=(encoded(whole),))
    telling = [number for number, piece in enumerate(reply.pieces) if _DATA in piece]
    if not telling:
        return reply
    # What is no event stands before the first one (comments) or after the last one (the end).
    before, after = reply.pieces[: telling[0]], reply.pieces[telling[-1] + 1 :]
    events = [_parsed(reply.pieces[number]) for number in telling]
    changed = list(change(events))
    named = reply.pieces[telling[0]].startswith(b"event: ")
    if "sequence_number" in events[0]:
        changed = [{**each, "sequence_number": number} for number, each in enumerate(changed)]
    pieces = [named_event(each["type"], each) if named else event(each) for each in changed]
    return replace(reply, pieces=(*before, *pieces, *after))


def _parsed(piece: bytes) -> Event:
    parsed: Event = json.loads(piece[piece.index(_DATA) + len(_DATA) - 1 :])
    return parsed


def without_usage(events: list[Event]) -> Iterator[Event]:
    """Nobody says how many tokens it was."""
    for each in events:
        if each.get("choices") == [] and "usage" in each:
            continue
        yield _without(each)


def usage_at_the_end(events: list[Event]) -> Iterator[Event]:
    """Tokens are told after everything else, and nothing true before."""
    usage: object = None
    for each in events:
        if "choices" in each:
            usage = each.get("usage") or usage
            if each["choices"] or "usage" not in each:
                yield _without(each)
        elif each.get("type") == "message_start":
            told = {"input_tokens": 0, "output_tokens": 0}
            yield {**each, "message": {**each["message"], "usage": told}}
        else:
            yield each
    if usage is not None:
        yield {**_without(events[-1]), "choices": [], "usage": usage}


def _without(each: Event) -> Event:
    kept = {name: value for name, value in each.items() if name != "usage"}
    for holder in _HOLDERS:
        if isinstance(kept.get(holder), dict):
            kept[holder] = {name: value for name, value in kept[holder].items() if name != "usage"}
    return kept


def without_finish(events: list[Event]) -> Iterator[Event]:
    """The stream just ends, neatly."""
    ends = ("message_delta", "message_stop", "response.completed", "response.incomplete")
    for each in events:
        if each.get("type") in ends or ("choices" in each and not each["choices"]):
            continue
        if each.get("choices") and each["choices"][0].get("finish_reason"):
            choice = {**each["choices"][0], "finish_reason": None}
            each = {**_without(each), "choices": [choice]}
        yield each


def in_single_characters(events: list[Event]) -> Iterator[Event]:
    """Each character of a tool's arguments comes alone."""
    numbers = _Numbers()
    for each in events:
        match each:
            case {"delta": {"type": "input_json_delta", "partial_json": text}}:
                for letter in text or [""]:
                    yield {**each, "delta": {**each["delta"], "partial_json": letter}}
            case {"type": "response.function_call_arguments.delta", "delta": text}:
                for letter in text:
                    yield {**each, "delta": letter}
            case {"choices": [{"delta": {"tool_calls": [*calls]}} as choice]}:
                yield from _letters_of_calls(each, choice, calls, numbers)
            case _:
                yield each


class _Numbers:
    """Which call a fragment belongs to; where no index tells, each id is a call of its own."""

    def __init__(self) -> None:
        self._seen: list[object] = []

    def of(self, call: Event) -> int:
        if "index" in call:
            index: int = call["index"]
            return index
        if call["id"] not in self._seen:
            self._seen.append(call["id"])
        return self._seen.index(call["id"])


def _letters_of_calls(each: Event, choice: Event, calls: list[Event], numbers: _Numbers) -> Iterator[Event]:
    """A chunk that opens or continues calls, taken apart; what finishes it stays with the last part."""
    deltas: list[Event] = []
    for call in calls:
        text = call["function"].get("arguments") or ""
        place = {"index": numbers.of(call)}
        if "id" in call or not text:
            deltas.append({**call, **place, "function": {**call["function"], "arguments": ""}})
        deltas.extend({**place, "function": {"arguments": letter}} for letter in text)
    unfinished = {**choice, "finish_reason": None}
    for number, delta in enumerate(deltas, start=1):
        ends = number == len(deltas)
        kept = choice if ends else unfinished
        part = {**each, "choices": [{**kept, "delta": {**choice["delta"], "tool_calls": [delta]}}]}
        yield part if ends else _without(part)


def without_indexes(events: list[Event]) -> Iterator[Event]:
    """Which call or block something belongs to is left to guess."""
    return (_indexed(each, None) for each in events)


def all_at_zero(events: list[Event]) -> Iterator[Event]:
    """Every call and block is said to be the first."""
    return (_indexed(each, 0) for each in events)


def _indexed(each: Event, index: int | None) -> Event:
    """The event with all its indexes set, or taken out."""
    changed = _reindexed(each, index)
    for choice in each.get("choices") or ():
        calls = choice.get("delta", {}).get("tool_calls")
        if calls:
            delta = {**choice["delta"], "tool_calls": [_reindexed(call, index) for call in calls]}
            changed["choices"] = [{**choice, "delta": delta}]
    return changed


def _reindexed(value: Event, index: int | None) -> Event:
    names = ("index", "output_index")
    if index is None:
        return {name: inner for name, inner in value.items() if name not in names}
    return {name: index if name in names else inner for name, inner in value.items()}


def cumulative_arguments(events: list[Event]) -> Iterator[Event]:
    """Each fragment of a tool's arguments repeats all that came before, and, where there is a place for them, the
    call's id and name."""
    told: dict[object, str] = {}
    opened: dict[object, Event] = {}
    numbers = _Numbers()
    for each in events:
        match each:
            case {"delta": {"type": "input_json_delta", "partial_json": text}, "index": index}:
                told[index] = told.get(index, "") + text
                yield {**each, "delta": {**each["delta"], "partial_json": told[index]}}
            case {"type": "response.function_call_arguments.delta", "delta": text, "output_index": index}:
                told[index] = told.get(index, "") + text
                yield {**each, "delta": told[index]}
            case {"choices": [{"delta": {"tool_calls": [*calls]}} as choice]}:
                whole = []
                for call in calls:
                    index = numbers.of(call)
                    first = opened.setdefault(index, call)
                    told[index] = told.get(index, "") + (call["function"].get("arguments") or "")
                    function = {**first["function"], "arguments": told[index]}
                    whole.append({**first, "function": function})
                yield {**each, "choices": [{**choice, "delta": {**choice["delta"], "tool_calls": whole}}]}
            case _:
                yield each
