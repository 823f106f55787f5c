"""What the engine tells the log: plain frozen values, no database in sight.

Named tuples: two are made for each request, and a frozen dataclass takes five times as long to make."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from chain429.store.bodies import Bodies


class AttemptRecord(NamedTuple):
    """One try at one target, or one target passed over without a call.

    ``outcome`` is a value of ``routing.outcome.Kind``, or ``skipped``; ``status`` the provider's HTTP status, if it
    answered; ``duration`` in seconds (0 when skipped); ``reason`` says why in plain words, already redacted;
    ``until`` is when the target is expected back, Unix seconds.
    """

    provider: str
    model: str
    credential: str
    outcome: str
    status: int | None
    reason: str
    duration: float
    until: float | None = None


class RequestRecord(NamedTuple):
    """One request of a client, from its arrival to the last byte of its answer.

    ``at`` is Unix seconds; ``latency`` and ``first_token`` are seconds since then (``first_token`` is None where
    nothing was committed); ``status`` is what the client was sent; ``outcome`` is ``served``, ``broken``,
    ``cancelled``, ``refused`` (the request itself was wrong) or ``exhausted``. Tokens are the provider's own count, or
    None where it gave none; ``tokens_cached`` are those of ``tokens_in`` that came from a cache. ``client`` names who
    asked, never a secret. What was only observed has ``observe`` for its chain, and the dialect ``other`` where that is
    unknown. ``bodies`` are there where the log is to keep them.
    """

    id: str
    at: float
    dialect: str
    chain: str
    model_asked: str
    provider: str | None
    model: str | None
    credential: str | None
    status: int
    outcome: str
    streamed: bool
    tokens_in: int | None
    tokens_out: int | None
    latency: float
    first_token: float | None
    client: str
    error: str
    attempts: tuple[AttemptRecord, ...]
    tokens_cached: int | None = None
    bodies: Bodies | None = None


class Costs(NamedTuple):
    """What a request cost, and the list price of the model that it is compared with; None where a price is unknown.

    ``currency`` and ``list_currency`` are ``usd`` or ``sats``; ``priced`` is the date of the table of prices.
    """

    cost: float | None = None
    currency: str = "usd"
    list_cost: float | None = None
    list_model: str = ""
    list_currency: str = "usd"
    priced: str = ""


class Recorder(Protocol):
    """Takes records. Must not block and must not raise: a full disk never fails a request."""

    def record(self, record: RequestRecord) -> None: ...
