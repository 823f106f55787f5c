"""Everything that can be made to go wrong at a simulated provider: one row per fault.

A fault either refuses in place of an answer, or bends the answer that would have been given. What a refusal looks like
is the provider's own (its dialect knows); what is bent is bent the same way everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import Any

from chain429.errors import RequestError
from chain429.simulator.dialect import Dialect, Turn, with_headers
from chain429.simulator.garble import (
    Change,
    all_at_zero,
    cumulative_arguments,
    garbled,
    in_single_characters,
    usage_at_the_end,
    without_finish,
    without_indexes,
    without_usage,
)
from chain429.simulator.limits import Exceeded, Metric, Period
from chain429.simulator.reply import JSON_TYPE, Ending, Reply, json_reply

Arguments = Mapping[str, Any]
Refuse = Callable[[Dialect, Turn, Arguments], Reply]
Bend = Callable[[Reply, Dialect, Turn, Arguments], Reply]

STATUSES = (400, 401, 402, 403, 404, 408, 410, 413, 422, 429, 498, 500, 502, 503, 504, 529)
# How long a scripted refusal of each period says to wait, in seconds.
_WAITS = {Period.MINUTE: 20.0, Period.HOUR: 600.0, Period.DAY: 660.528}
# The limit that is named where this key has none.
_UNLIMITED = {Metric.REQUESTS: 30, Metric.TOKENS: 8000, Metric.INPUT: 30_000, Metric.OUTPUT: 8000}
_HTML = b"<!DOCTYPE html>\n<html><head><title>Bad gateway</title></head><body><h1>Bad gateway</h1></body></html>\n"
_SLICES = 8


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. Either ``refuse`` or ``bend`` is set; ``arguments`` names what it takes, with defaults.

    ``limit`` is set where only providers that know this limit have the fault.
    """

    about: str
    refuse: Refuse | None = None
    bend: Bend | None = None
    arguments: Arguments = field(default_factory=lambda: MappingProxyType({}))
    limit: tuple[Metric, Period] | None = None


def faults_of(dialect: Dialect) -> Mapping[str, Fault]:
    """Every fault that this provider can have, by name."""
    own = {
        name: Fault(f"{dialect.name}'s own refusal {name!r}", refuse=partial(_own, name)) for name in dialect.refusals()
    }
    return {name: row for name, row in FAULTS.items() if row.limit is None or row.limit in dialect.knows} | own


def arguments_of(fault: Fault, given: Mapping[str, object]) -> Arguments:
    """The fault's arguments with defaults filled in; raises RequestError for one that it does not take."""
    for name, value in given.items():
        if name not in fault.arguments:
            known = ", ".join(fault.arguments) or "none"
            raise RequestError(f"no argument named {name!r} for this fault; it takes: {known}", param=name)
        default = fault.arguments[name]
        number = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
        if not (isinstance(value, str) if isinstance(default, str) else number):
            wanted = "text" if isinstance(default, str) else "a number of at least 0"
            raise RequestError(f"{name} must be {wanted}", param=name)
    return {**fault.arguments, **given}


def _own(name: str, dialect: Dialect, turn: Turn, arguments: Arguments) -> Reply:
    return dialect.refusals()[name](turn)


def _status(status: int, dialect: Dialect, turn: Turn, arguments: Arguments) -> Reply:
    reply = dialect.failure(status, turn)
    told = arguments["retry_after"]
    return with_headers(reply, {"retry-after": told}) if told else reply


def _spent(metric: Metric, period: Period, dialect: Dialect, turn: Turn, arguments: Arguments) -> Reply:
    """The genuine refusal of a limit, whether or not that is used up."""
    state = turn.quota.state(metric, period, turn.now)
    limit = state.limit if state else _UNLIMITED[metric]
    return dialect.limited(Exceeded(metric, period, limit, limit, 1, float(arguments["wait"])), turn)


def _silent(ending: Ending, dialect: Dialect, turn: Turn, arguments: Arguments) -> Reply:
    return Reply(200, {}, (), head=False, ending=ending)


def _error_in_200(dialect: Dialect, turn: Turn, arguments: Arguments) -> Reply:
    return json_reply(200, dialect.error_in_answer(turn))


def _page(kind: str, body: bytes, dialect: Dialect, turn: Turn, arguments: Arguments) -> Reply:
    return Reply(200, {"Content-Type": kind}, (body,))


def _begun(reply: Reply, after: int) -> Reply:
    """Only the beginning of a reply: the prelude and ``after`` more pieces of a stream, half of anything else."""
    if reply.streamed:
        return replace(reply, pieces=reply.pieces[: reply.prelude + after])
    body = reply.body
    return replace(reply, pieces=(body[: len(body) // 2],), length=len(body))


def _stopped(ending: Ending, reply: Reply, dialect: Dialect, turn: Turn, arguments: Arguments) -> Reply:
    return replace(_begun(reply, int(arguments["after"])), ending=ending)


def _cut_before(reply: Reply, dialect: Dialect, turn: Turn, arguments: Arguments) -> Reply:
    length = None if reply.streamed else len(reply.body)
    return replace(reply, pieces=reply.pieces[: reply.prelude], length=length, ending=Ending.CUT)


def _error_in_stream(reply: Reply, dialect: Dialect, turn: Turn, arguments: Arguments) -> Reply:
    if not reply.streamed:
        return _error_in_200(dialect, turn, arguments)
    after = reply.prelude + int(arguments["after"]) if "after" in arguments else 0
    return replace(reply, pieces=(*reply.pieces[:after], dialect.stream_error(turn, arguments["form"])))


def _empty(reply: Reply, dialect: Dialect, turn: Turn, arguments: Arguments) -> Reply:
    return replace(reply, pieces=())


def _wrong_type(reply: Reply, dialect: Dialect, turn: Turn, arguments: Arguments) -> Reply:
    return replace(reply, headers={**reply.headers, "Content-Type": "text/plain; charset=utf-8"})


def _half_event(reply: Reply, dialect: Dialect, turn: Turn, arguments: Arguments) -> Reply:
    if not reply.streamed:
        body = reply.body
        return replace(reply, pieces=(body[: len(body) // 2],))
    whole, half = reply.pieces[: reply.prelude + 1], reply.pieces[reply.prelude + 1]
    return replace(reply, pieces=(*whole, half[: len(half) // 2]))


def _slow_drip(reply: Reply, dialect: Dialect, turn: Turn, arguments: Arguments) -> Reply:
    pieces = reply.pieces
    if not reply.streamed:
        body = reply.body
        size = max(1, -(-len(body) // _SLICES))
        pieces = tuple(body[start : start + size] for start in range(0, len(body), size))
    return replace(reply, pieces=pieces, length=None if reply.streamed else len(reply.body), pause=arguments["delay"])


def _garbled(change: Change, reply: Reply, dialect: Dialect, turn: Turn, arguments: Arguments) -> Reply:
    return garbled(reply, change)


def _limit_rows() -> dict[str, Fault]:
    names = {Metric.REQUESTS: "rate_limit", Metric.TOKENS: "tokens"}
    return {
        f"{name}_{period}": Fault(
            f"the refusal of {metric} per {period}",
            refuse=partial(_spent, metric, period),
            arguments={"wait": _WAITS[period]},
            limit=(metric, period),
        )
        for metric, name in names.items()
        for period in Period
    } | {
        f"{metric.replace('-', '_')}_minute": Fault(
            f"the refusal of {metric} per minute",
            refuse=partial(_spent, metric, Period.MINUTE),
            arguments={"wait": _WAITS[Period.MINUTE]},
            limit=(metric, Period.MINUTE),
        )
        for metric in (Metric.INPUT, Metric.OUTPUT)
    }


_AFTER: Arguments = MappingProxyType({"after": 2})

FAULTS: Mapping[str, Fault] = MappingProxyType(
    {
        **_limit_rows(),
        **{
            str(status): Fault(
                f"status {status} with the provider's body", partial(_status, status), arguments={"retry_after": ""}
            )
            for status in STATUSES
        },
        "reset": Fault("the connection is reset before any header", partial(_silent, Ending.RESET)),
        "hang": Fault("nothing is answered, not even headers", partial(_silent, Ending.HANG)),
        "hang_mid_stream": Fault(
            "nothing more after some chunks", bend=partial(_stopped, Ending.HANG), arguments=_AFTER
        ),
        "cut": Fault("the connection closes after some chunks", bend=partial(_stopped, Ending.CUT), arguments=_AFTER),
        "cut_before": Fault("the connection closes before anything meaningful", bend=_cut_before),
        "error_in_stream": Fault(
            "a stream whose first event is an error", bend=_error_in_stream, arguments={"form": "object"}
        ),
        "error_mid_stream": Fault(
            "an error after some chunks", bend=_error_in_stream, arguments={"after": 2, "form": "object"}
        ),
        "error_in_200": Fault("status 200 with an error object", refuse=_error_in_200),
        "garbage": Fault(
            "status 200, said to be JSON, but is not", partial(_page, JSON_TYPE, b'{"id": "chatcmpl-1", oops')
        ),
        "html": Fault("status 200 with a page", partial(_page, "text/html; charset=utf-8", _HTML)),
        "empty": Fault("status 200 with nothing in it", bend=_empty),
        "wrong_content_type": Fault("the answer, called plain text", bend=_wrong_type),
        "half_event": Fault("the stream ends cleanly in the middle of an event", bend=_half_event),
        "no_usage": Fault("nobody says how many tokens it was", bend=partial(_garbled, without_usage)),
        "late_usage": Fault("tokens are told after all else", bend=partial(_garbled, usage_at_the_end)),
        "no_finish": Fault("the stream ends without a finish", bend=partial(_garbled, without_finish)),
        "single_characters": Fault(
            "arguments of tools come letter by letter", bend=partial(_garbled, in_single_characters)
        ),
        "no_indexes": Fault("calls and blocks have no index", bend=partial(_garbled, without_indexes)),
        "zero_indexes": Fault("calls and blocks all have index 0", bend=partial(_garbled, all_at_zero)),
        "cumulative": Fault(
            "each fragment of arguments repeats those before", bend=partial(_garbled, cumulative_arguments)
        ),
        "slow_drip": Fault("a pause before each chunk but the first", bend=_slow_drip, arguments={"delay": 1.0}),
    }
)
