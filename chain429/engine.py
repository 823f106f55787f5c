"""The waterfall: the one loop that takes a request down its chain, for every dialect, streamed or not.

It decides nothing by itself: which target comes next is ``routing.walk``, what a failure means is
``routing.outcome``, what bytes mean is ``wire``. It is the only place that waits, and the only one that knows the
commit point: nothing reaches the client before the provider's first meaningful event, and nothing is replayed after
it."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from chain429.clock import Clock
from chain429.config import Config, Endpoint
from chain429.errors import ConnectFailed, TimedOut, UpstreamError, WireError
from chain429.observer import Observed, ObservedAnswer, Observer, Sent
from chain429.routing.affinity import Affinity
from chain429.routing.capacity import Capacities
from chain429.routing.chain import Chain, Provider, Target, is_callers
from chain429.routing.failure import failure_in_answer, read_failure
from chain429.routing.headers import read_headers
from chain429.routing.ledger import Ledger, Refusal
from chain429.routing.limits import Lease, Need
from chain429.routing.line import Grant, Line, Waiter
from chain429.routing.outcome import SERVED, Kind, Outcome, Step, classify, of_path, sized
from chain429.routing.walk import Walk
from chain429.store.bodies import Bodies
from chain429.store.records import AttemptRecord, Recorder, RequestRecord
from chain429.upstream import MAX_ANSWER, MAX_ERROR_BODY, USER_AGENT, Answer, Upstream, UpstreamRequest
from chain429.wire.conversation import Conversation
from chain429.wire.dialect import AnswerStream, ClientRequest, Exchange, Problem, Side
from chain429.wire.events import Seen
from chain429.wire.exchange import droppable
from chain429.wire.exchange import exchange as translate
from chain429.wire.own import OwnKey

_log = logging.getLogger("chain429.engine")

# Clients give up on a Retry-After of a minute (Claude Code) or sleep through one of hours (the SDKs), and one gives up
# without any (Codex).
_SHORTEST_RETRY = 1
_LONGEST_RETRY = 55
# From here on a client that retries by itself only wastes its time.
_POINTLESS_RETRY = 120

_LONGEST_HEADER = 1000

# A client is left without a byte for no longer than 15 s; a time-out may be half a second late.
_SILENCE = 14.0

_CANCELLED = Outcome.of(Kind.CANCELLED, "the client left")
_SHORTEST_WAIT = 0.05
# More than any model takes or gives: a count above it is a mistake, and what is learned from counts would keep it.
_MOST_TOKENS = 10_000_000
# What a provider may send before its first word.
_MOST_HELD = 4 * 1024 * 1024
_LIMIT_KINDS = frozenset({Kind.RATE_LIMITED, Kind.QUOTA_SPENT})
_FINAL_KINDS = frozenset({Kind.REJECTED, Kind.GONE, Kind.UNAUTHORIZED, Kind.TOO_LARGE})


@dataclass(slots=True)
class Call:
    """One request on its way. ``at`` is Unix seconds, ``started`` the monotonic clock at its arrival; ``patience`` is
    how many seconds it may wait in all for a target to free, None for as many as are configured; ``session`` is what a
    header says that it belongs to, empty for nothing; ``own`` is the key that it brings for a provider; ``via`` are the
    marks that are sent on with it, where there are others than our own."""

    id: str
    request: ClientRequest
    chain: Chain
    client: str
    at: float
    started: float
    attempts: list[AttemptRecord] = field(default_factory=list)
    skipped: set[Target] = field(default_factory=set)
    patience: float | None = None
    session: str = ""
    waited: float = 0.0
    calls: int = 0
    lost: tuple[str, ...] = ()
    own: OwnKey | None = None
    via: str = ""
    observed: Observed | None = None  # the attempt under way, while somebody looks
    bodies: Bodies | None = None  # takes the answer, where the log is to keep it


class Reply(NamedTuple):
    """What the client is answered: ``body`` whole, or a stream that must be closed whatever happens."""

    status: int
    headers: Mapping[str, str]
    body: bytes | Stream


class _Served(NamedTuple):
    """An attempt that came to the commit point."""

    target: Target
    lease: Lease
    began: float
    answer: Answer | None  # still open: the stream goes on
    stream: AnswerStream | None
    seen: Seen
    body: bytes


class Engine:
    """Runs requests. ``adopt`` gives it a new configuration; requests under way finish under the old one."""

    def __init__(
        self,
        config: Config,
        ledger: Ledger,
        upstream: Upstream,
        recorder: Recorder,
        clock: Clock,
        redact: Callable[[str], str],
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._upstream = upstream
        self._recorder = recorder
        self._clock = clock
        self._redact = redact
        self._line = Line(ledger)
        self._affinity = Affinity()
        self._capacities = Capacities(ledger)
        self._observer: Observer | None = None

    def adopt(self, config: Config) -> None:
        self._config = config
        self._capacities.forget()
        self._line.serve(self._clock.now(), freed=True)  # there may be more room now

    def observe(self, observer: Observer | None) -> None:
        """From now on tell ``observer`` of each attempt that begins; None: nobody."""
        self._observer = observer

    def clear(self, targets: Iterable[Target]) -> None:
        """A user says that these targets are fine: forget what speaks against them. Whoever waits may have them."""
        for target in targets:
            self._ledger.clear(target)
        self._capacities.forget()
        self._line.serve(self._clock.now(), freed=True)

    def reset_breaker(self, provider: str) -> None:
        """A user says that the provider is well again. Whoever waits may try it."""
        self._ledger.reset_breaker(provider)
        self._capacities.forget()
        self._line.serve(self._clock.now(), freed=True)

    async def run(self, call: Call) -> Reply:
        """Walk down the chain until a target serves the request or none is left. Never raises but for cancellation."""
        config = self._config
        barred = _lend(call, config.endpoints[call.chain.passing]) if call.chain.passing else {}
        if not call.request.dialect.translates:
            barred |= _closed(call, config)
        conversation = call.request.conversation(call.session) if call.chain.keeps else None
        walk = self._walk(call, conversation, barred)
        outcomes: dict[Target, Outcome] = {}
        try:
            while True:
                left = config.deadline - (self._clock.monotonic() - call.started)
                grant = await self._next(call, walk, left) if left > 0 else None
                left = config.deadline - (self._clock.monotonic() - call.started)
                if grant is not None and left <= 0:
                    self._give_back(grant)
                    grant = None
                if grant is None:
                    return self._exhausted(call, walk, outcomes, left <= 0)
                endpoint = config.endpoints[grant.provider.id]
                result = await self._attempt(call, grant, endpoint, left)
                if isinstance(result, _Served):
                    self._remember(call, conversation, result.target)
                    return self._serve(call, result, endpoint)
                outcomes[grant.target] = result
                if not self._retry_without(call, grant, endpoint, result):
                    walk.after(grant.target, result)
        except asyncio.CancelledError:
            self._record(call, None, None, 499, "cancelled", error="the client left before an answer began")
            raise
        except Exception as error:
            self._record(call, None, None, 500, "failed", error=f"a fault in chain429: {type(error).__name__}")
            raise

    def _walk(self, call: Call, conversation: Conversation | None, barred: Mapping[Target, Refusal]) -> Walk:
        home = None
        if conversation is not None and conversation.begun:
            home = self._affinity.home(call.chain, conversation.key, self._clock.now())
        request = call.request
        need = Need(size=request.size, most=request.max_tokens, wants=request.wants)
        return Walk(call.chain, need, self._ledger, home, barred)

    def _remember(self, call: Call, conversation: Conversation | None, target: Target) -> None:
        """The prompt is in that target's cache from now on."""
        if conversation is not None:
            now = self._clock.now()
            self._affinity.remember(call.chain, conversation.key, target, now, begun=conversation.begun)

    async def _next(self, call: Call, walk: Walk, left: float) -> Grant | None:
        """The next target to call: at once, after a wait in the line, or at last one that is only believed to be full.

        Such a one is tried when nothing is known to free within the request's patience, and once more at its end.
        """
        now, began = self._clock.now(), self._clock.monotonic()
        if self._line:
            self._line.serve(now)
        grant = self._line.take(walk, now)
        self._note_skips(call, walk)
        if grant is not None:
            return grant
        patience = self._config.patience if call.patience is None else call.patience
        patience = min(left, patience - call.waited)
        for hoping in (False, True):
            left = patience - (self._clock.monotonic() - began)
            grant = await self._wait(call, walk, left, hoping=hoping)
            grant = grant or self._line.take(walk, self._clock.now(), bold=True)
            if grant is not None:
                return grant
        return None

    async def _wait(self, call: Call, walk: Walk, patience: float, *, hoping: bool) -> Grant | None:
        """Stand in the line until a target frees; None where none does within so many seconds.

        ``hoping``: to the end, if something may free before it, though nothing is known to.
        """
        now, began = self._clock.now(), self._clock.monotonic()
        soonest = walk.doubtful(now) if hoping else walk.soonest(now)
        if patience <= 0 or soonest is None or soonest > now + patience or self._line.full:
            return None
        walk.again()
        woken = asyncio.Event()
        waiter = Waiter(walk, woken.set, soonest)
        self._line.join(waiter)
        _log.debug("%s waits for %.1f s at first", call.id, soonest - now)
        try:
            while waiter.grant is None:
                # By the clock that never goes back, whatever becomes of the other one while it waits.
                left = began + patience - self._clock.monotonic()
                wait = waiter.soonest - self._clock.now()
                if left <= 0 or (wait > left and not hoping):
                    return None
                with suppress(TimeoutError):
                    # Never at once: what should have freed by now, but has not, must not be asked for in a circle.
                    async with self._clock.timeout(min(max(wait, _SHORTEST_WAIT), left)):
                        await woken.wait()
                self._line.serve(self._clock.now())
            return waiter.grant
        except BaseException:
            if waiter.grant is not None:
                self._give_back(waiter.grant)
            raise
        finally:
            self._line.leave(waiter)
            call.waited += self._clock.monotonic() - began

    def _give_back(self, grant: Grant) -> None:
        """Whoever got the grant does not use it: it may be for the next in the line."""
        now = self._clock.now()
        self._ledger.give_back(grant.lease, now)
        self._line.serve(now, freed=True)

    def _note_skips(self, call: Call, walk: Walk) -> None:
        """Keep in the trail what was passed over, once, at its place between the attempts."""
        for target, refusal in walk.skipped.items():
            if target not in call.skipped:
                call.skipped.add(target)
                call.attempts.append(_skip(target, refusal, self._redact))
                _log.debug("%s %s: passed over: %s", call.id, target, call.attempts[-1].reason)

    def _retry_without(self, call: Call, grant: Grant, endpoint: Endpoint, outcome: Outcome) -> bool:
        """Whether the same target is asked again, now without the parameter that it has just refused."""
        if outcome.kind is not Kind.REJECTED or not outcome.param:
            return False
        target = grant.target
        name = droppable(call.request, _side(endpoint, grant.provider, target.model), outcome.param)
        if name is None or name in self._ledger.refused_params(target):
            return False
        self._ledger.refuses_param(target, name)
        _log.debug("%s %s refuses %r: asking again without it", call.id, target, name)
        return True

    async def _attempt(self, call: Call, grant: Grant, endpoint: Endpoint, left: float) -> _Served | Outcome:
        """One call to one target. Whatever happens, the lease is learned from and the connection given back."""
        provider, target, lease = grant.provider, grant.target, grant.lease
        began = self._clock.monotonic()
        call.calls += 1
        answer: Answer | None = None
        limit = endpoint.timeouts.first_event if call.request.stream else endpoint.timeouts.answer
        try:
            async with self._clock.timeout(min(limit, left)):
                refused = self._ledger.refused_params(target)
                side = _side(endpoint, provider, target.model)
                exchange = translate(call.request, side, refused, call.id, int(call.at))
                call.lost = exchange.lost
                outgoing = _outgoing(call, exchange, endpoint, target)
                if self._observer is None:
                    answer = await self._upstream.send(outgoing)
                else:
                    answer = await self._observed(self._observer, call, target, outgoing)
                now = self._clock.now()
                readings = read_headers(provider.family, answer.headers, now)
                if answer.status >= 400:
                    # What has no window is of whichever limit refused, and that is not known yet.
                    readings = tuple(reading for reading in readings if reading.window is not None)
                self._ledger.observe(lease, readings, now)
                result = await self._judge(call, provider, target, exchange, answer, lease, began)
        except TimeoutError:
            if left < limit:
                # It had less time than it is given: that says nothing against it.
                result = Outcome.of(Kind.CANCELLED, str(TimedOut("deadline", left)))
            else:
                result = _failed(TimedOut("first event" if call.request.stream else "answer", limit))
        except (UpstreamError, WireError) as error:
            result = _failed(error)
        except BaseException:
            if answer is not None:
                answer.close()
            self._learn(call, lease, _CANCELLED, began, (None, None))
            raise
        if isinstance(result, _Served):
            return result
        if answer is not None:
            answer.close()
        if call.own is not None:
            result = replace(result, reason=call.own.hide(result.reason))
        self._learn(call, lease, result, began, (None, None))
        return result

    async def _observed(self, observer: Observer, call: Call, target: Target, outgoing: UpstreamRequest) -> Answer:
        request = call.request
        call.observed = observer.begins(
            Sent(call.id, call.calls, call.chain.name, target, outgoing, request.stream, call.own)
        )
        return ObservedAnswer(await self._upstream.send(outgoing), call.observed)

    async def _judge(
        self,
        call: Call,
        provider: Provider,
        target: Target,
        exchange: Exchange,
        answer: Answer,
        lease: Lease,
        began: float,
    ) -> _Served | Outcome:
        """Read an answer up to the commit point."""
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if not 200 <= answer.status < 300:
            body = await _beginning(answer, MAX_ERROR_BODY)
            if call.own is not None:
                body = call.own.hide(body.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
            if 300 <= answer.status < 400:
                return Outcome.of(Kind.FAILED, "it redirects, which is not followed", status=answer.status)
            failure, now = read_failure(answer.status, answer.headers, body), self._clock.now()
            outcome = sized(classify(failure, provider.provision, now), failure, provider.family, now)
            return outcome if call.request.dialect.translates else of_path(outcome)
        if not call.request.stream:
            body = await answer.read(MAX_ANSWER)
            await answer.finish()
            seen, out = exchange.answer(body)
            if seen.error is None and seen.meaningful:
                return _Served(target, lease, began, None, None, seen, out)
            return self._in_answer(call, provider, answer, seen)
        if kind in ("application/json", "text/html"):
            body = await answer.read(MAX_ERROR_BODY)
            await answer.finish()
            seen, _ = exchange.answer(body)
            if seen.error is None:
                return Outcome.of(Kind.FAILED, "it sent a whole answer where a stream was asked for", status=200)
            return self._in_answer(call, provider, answer, seen)
        stream = exchange.stream()
        held: list[bytes] = []
        room = _MOST_HELD
        while chunk := await answer.chunk():
            held.append(stream.feed(chunk))
            room -= len(chunk)
            if stream.seen.error is not None:
                return self._in_answer(call, provider, answer, stream.seen)
            if stream.seen.meaningful:
                return _Served(target, lease, began, answer, stream, stream.seen, b"".join(held))
            if stream.seen.ended:
                break
            if room < 0:
                return Outcome.of(
                    Kind.FAILED, f"it sent {_MOST_HELD} bytes before its first word", status=answer.status
                )
        held.append(stream.close())
        if stream.seen.meaningful and stream.seen.error is None:
            return _Served(target, lease, began, answer, stream, stream.seen, b"".join(held))
        return self._in_answer(call, provider, answer, stream.seen)

    def _in_answer(self, call: Call, provider: Provider, answer: Answer, seen: Seen) -> Outcome:
        """What a success that is none amounts to: an error inside, or nothing at all."""
        if seen.error is None:
            return Outcome.of(Kind.FAILED, "its answer ended before it said anything", status=answer.status)
        error = seen.error.error if call.own is None else call.own.hide_in(seen.error.error)
        failure = failure_in_answer(error, headers=answer.headers)
        outcome = classify(failure, provider.provision, self._clock.now())
        return outcome if call.request.dialect.translates else of_path(outcome)

    def _serve(self, call: Call, served: _Served, endpoint: Endpoint) -> Reply:
        if served.answer is None or served.stream is None:
            if call.bodies is not None:
                call.bodies.answer(served.body)
            self._finish(call, served, SERVED, self._clock.monotonic())
            headers = self._served_headers(call, served.target)
            headers["content-type"] = "application/json"
            return Reply(200, headers, served.body)
        self._ledger.answering(served.lease)
        headers = self._served_headers(call, served.target)
        headers |= {
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-cache",
            "x-accel-buffering": "no",
        }
        idle = endpoint.timeouts.idle
        return Reply(200, headers, Stream(self, call, served, served.answer, served.stream, idle))

    def _served_headers(self, call: Call, target: Target) -> dict[str, str]:
        headers = self._headers(call)
        headers["x-chain429-provider"] = target.provider
        headers["x-chain429-model"] = _header(target.model)
        if call.lost:
            headers["x-chain429-dropped"] = _header(", ".join(call.lost)[:_LONGEST_HEADER])
        return headers

    def _headers(self, call: Call, *, exact: bool = False) -> dict[str, str]:
        """What every answer carries: which request it was, and what is left for its chain."""
        return {
            "x-request-id": call.id,
            "request-id": call.id,
            "x-chain429-request-id": call.id,
            "x-chain429-chain": _header(call.chain.name),
            "x-chain429-attempts": str(call.calls),
            **self._capacities.headers(call.chain, self._clock.now(), exact=exact),
        }

    def _finish(self, call: Call, served: _Served, outcome: Outcome, first_token: float) -> None:
        """The end of a request that was committed, whichever way it ended."""
        usage = served.seen.usage
        tokens = (_believed(usage.input), _believed(usage.output)) if usage else (None, None)
        self._learn(call, served.lease, outcome, served.began, tokens)
        ended = {Kind.SERVED: "served", Kind.CANCELLED: "cancelled"}.get(outcome.kind, "broken")
        error = "" if outcome.kind is Kind.SERVED else outcome.reason
        cached = usage.cached if usage else None
        self._record(call, served.target, first_token, 200, ended, tokens=tokens, cached=cached, error=error)

    def _learn(
        self, call: Call, lease: Lease, outcome: Outcome, began: float, tokens: tuple[int | None, int | None]
    ) -> None:
        now = self._clock.now()
        until = self._ledger.learn(lease, outcome, tokens, now)
        if self._line:
            self._line.serve(now, freed=True)
        target = lease.target
        if outcome is SERVED:
            reason = f"without {', '.join(call.lost)}" if call.lost else ""
        else:
            reason = self._redact(outcome.reason)
        _log.debug("%s %s: %s%s", call.id, target, outcome.kind, reason and f": {reason}")
        if call.observed is not None:
            call.observed.ended(outcome, reason)
            call.observed = None
        call.attempts.append(
            AttemptRecord(
                provider=target.provider,
                model=target.model,
                credential=target.credential,
                outcome=outcome.kind,
                status=outcome.status,
                reason=reason,
                duration=self._clock.monotonic() - began,
                until=until,
            )
        )

    def _exhausted(self, call: Call, walk: Walk, outcomes: Mapping[Target, Outcome], late: bool) -> Reply:
        """Nothing is left: the honest answer, with every target, why, and when it is back."""
        now = self._clock.now()
        waits: dict[Target, Refusal] = {}
        for target in call.chain.targets:
            refusal = walk.skipped.get(target) or self._ledger.refusal(target, Need(), now)
            if refusal:
                waits[target] = refusal
        soonest = min((wait.until for wait in waits.values() if wait.until is not None), default=None)
        problem = self._problem(call, outcomes, waits, soonest, late)
        headers = self._headers(call, exact=True)
        headers["content-type"] = "application/json"
        if problem.status in (429, 502, 503, 504):
            if soonest is None and any(target not in waits for target in call.chain.targets):
                soonest = now  # one has failed that may be asked again at once
            if soonest is not None:
                wait = math.ceil(soonest - now)
                headers["retry-after"] = str(min(max(wait, _SHORTEST_RETRY), _LONGEST_RETRY))
            if soonest is None or soonest - now > _POINTLESS_RETRY:
                headers["x-should-retry"] = "false"
        body = call.request.dialect.error(problem)
        if call.bodies is not None:
            call.bodies.answer(body)
        self._record(call, None, None, problem.status, "exhausted", error=problem.message)
        return Reply(problem.status, headers, body)

    def _problem(
        self,
        call: Call,
        outcomes: Mapping[Target, Outcome],
        waits: Mapping[Target, Refusal],
        soonest: float | None,
        late: bool,
    ) -> Problem:
        now = self._clock.now()
        targets = [_line(target, outcomes.get(target), waits.get(target), now) for target in call.chain.targets]
        details = {"request_id": call.id, "chain": call.chain.name, "targets": targets}
        trail = "; ".join(f"{line['target']}: {line['reason']}{_back(line)}" for line in targets).removesuffix(".")
        kinds = {outcome.kind for outcome in outcomes.values()}
        at_limit = [_is_limited(outcomes.get(target), waits.get(target)) for target in call.chain.targets]
        limited = any(at_limit)
        unknown = _refused_own(call, outcomes, waits) if call.chain.passing else None
        rejected = next((outcome for outcome in outcomes.values() if outcome.kind is Kind.REJECTED), None)
        unfit = kinds <= _FINAL_KINDS and not limited
        whys = _unfit(call.chain, outcomes, waits)
        if unknown is not None:
            # Tools renew their login when they are told so, and then come back.
            message = f"Chain '{call.chain.name}' needs your own key, which is missing or was refused. {trail}."
            problem = Problem(unknown, message, "authentication_error", "invalid_api_key", None, details)
        elif "ability" in whys:
            lacking = "can do what the request needs" if len(whys) == 1 else "can do what the request needs and take it"
            message = f"No target of chain '{call.chain.name}' {lacking}. {trail}."
            problem = Problem(400, message, "invalid_request_error", "unsupported_request", None, details)
        elif rejected and unfit:
            status = rejected.status if rejected.status and 400 <= rejected.status < 500 else 400
            message = f"Every provider that was asked refused the request. {trail}."
            problem = Problem(status, message, "invalid_request_error", "request_rejected", rejected.param, details)
        elif whys or (Kind.TOO_LARGE in kinds and unfit):
            message = f"The request is too large for every target of chain '{call.chain.name}'. {trail}."
            problem = Problem(400, message, "invalid_request_error", "context_length_exceeded", "messages", details)
        elif limited:
            how = "Every target of chain '{}' is at its limit" if all(at_limit) else "No target of chain '{}' is free"
            message = f"{how.format(call.chain.name)}. {trail}."
            problem = Problem(429, message, "rate_limit_error", "rate_limit_exceeded", None, details)
        elif call.chain.name not in self._config.chains and all(
            _is_gone(outcomes.get(target), waits.get(target)) for target in call.chain.targets
        ):
            # The client itself named a provider's model, so this is its mistake, not an outage.
            message = f"There is no model '{call.chain.name}'. {trail}."
            problem = Problem(404, message, "invalid_request_error", "model_not_found", "model", details)
        elif late:
            message = f"No target of chain '{call.chain.name}' answered before the request's deadline. {trail}."
            problem = Problem(504, message, "server_error", "deadline_exceeded", None, details)
        else:
            message = f"No target of chain '{call.chain.name}' could answer. {trail}."
            problem = Problem(
                502 if soonest is None else 503, message, "server_error", "no_target_available", None, details
            )
        return Problem(
            problem.status, self._redact(problem.message), problem.kind, problem.code, problem.param,
            _redacted(problem.details, self._redact),
        )  # fmt: skip

    def _record(
        self,
        call: Call,
        target: Target | None,
        first_token: float | None,
        status: int,
        outcome: str,
        *,
        tokens: tuple[int | None, int | None] = (None, None),
        cached: int | None = None,
        error: str = "",
    ) -> None:
        self._recorder.record(
            RequestRecord(
                id=call.id,
                at=call.at,
                dialect=call.request.dialect.name,
                chain=call.chain.name,
                model_asked=call.request.model,
                provider=target.provider if target else None,
                model=target.model if target else None,
                credential=target.credential if target else None,
                status=status,
                outcome=outcome,
                streamed=call.request.stream,
                tokens_in=tokens[0],
                tokens_out=tokens[1],
                latency=self._clock.monotonic() - call.started,
                first_token=first_token - call.started if first_token is not None else None,
                client=call.client,
                error=error,
                attempts=tuple(call.attempts),
                tokens_cached=cached,
                bodies=call.bodies,
            )
        )


class Stream:
    """A committed stream. Call ``next`` until it returns nothing, then ``close``; ``close`` in any case.

    While the provider is silent, the client is sent a sign of life every so often."""

    def __init__(
        self, engine: Engine, call: Call, served: _Served, answer: Answer, stream: AnswerStream, idle: float
    ) -> None:
        self._engine = engine
        self._call = call
        self._served = served
        self._answer = answer
        self._stream = stream
        self._idle = idle
        self._waited = 0.0  # for the provider's next bytes, as yet
        self._held = served.body
        self._bodies = call.bodies
        if self._bodies is not None:
            self._bodies.answer(served.body)
        self._first_token = engine._clock.monotonic()
        self._open = True
        self._told = False  # the client has all of it

    async def next(self) -> bytes:
        """The next bytes for the client; empty at the end. A failure becomes the dialect's error event."""
        if self._held:
            held, self._held = self._held, b""
            return held
        stream, clock = self._stream, self._engine._clock
        began = now = clock.monotonic()
        try:
            while self._open:
                if stream.seen.ended:
                    self._told = True
                    await self._answer.finish()
                    self._end(SERVED)
                    return b""
                try:
                    async with clock.timeout(min(began + _SILENCE - now, self._idle - self._waited)):
                        chunk = await self._answer.chunk()
                except TimeoutError:
                    self._waited += clock.monotonic() - now
                    if self._waited >= self._idle:
                        return self._failed(str(TimedOut("idle", self._idle)))
                    return self._call.request.dialect.keep_alive
                self._waited = 0.0
                out = stream.feed(chunk) if chunk else stream.close()
                if self._bodies is not None:
                    self._bodies.answer(out)
                if stream.seen.error is not None:
                    return out + self._broken("the provider reported an error in the middle of its answer")
                if not chunk and not stream.seen.complete:
                    return out + self._broken("its answer was cut short")
                if out:
                    return out
                now = clock.monotonic()
                if now - began >= _SILENCE:
                    return self._call.request.dialect.keep_alive
        except (UpstreamError, WireError) as error:
            return self._failed(str(error))
        return b""

    def close(self) -> None:
        """Give everything back. Before the end it means that the client has left: the provider's call is broken off."""
        if self._open:
            self._answer.close()
            left = Outcome.of(Kind.CANCELLED, "the client left in the middle of the answer")
            self._end(SERVED if self._told else left)

    def _failed(self, reason: str) -> bytes:
        if not self._stream.seen.complete:
            return self._broken(reason)
        # The answer had come to its end already, only the connection had not.
        self._answer.close()
        try:
            rest = self._stream.close()
        except WireError:  # of half an event after the end, which is gone by then
            rest = self._stream.close()
        if self._bodies is not None:
            self._bodies.answer(rest)
        self._end(SERVED)
        return rest

    def _broken(self, reason: str) -> bytes:
        self._answer.close()
        error = self._stream.seen.error
        if error is not None:
            own = self._call.own
            told = failure_in_answer(error.error if own is None else own.hide_in(error.error))
            reason = f"{reason}: {told.message or 'it did not say which'}"
        reason = self._engine._redact(reason)
        target = self._served.target
        problem = Problem(
            502,
            f"{target.provider}/{target.model} broke off in the middle of its answer: {reason}",
            "server_error",
            "stream_broken",
            details={"request_id": self._call.id, "provider": target.provider, "model": target.model},
        )
        failed = self._stream.fail(problem)
        if self._bodies is not None:
            self._bodies.answer(failed)
        self._end(Outcome.of(Kind.BROKEN, reason, status=200))
        return failed

    def _end(self, outcome: Outcome) -> None:
        self._open = False
        self._engine._finish(self._call, self._served, outcome, self._first_token)


async def _beginning(answer: Answer, most: int) -> bytes:
    """The first ``most`` bytes of a body: of a longer one, they tell enough."""
    pieces: list[bytes] = []
    left = most
    while left > 0 and (chunk := await answer.chunk()):
        pieces.append(chunk[:left])
        left -= len(chunk)
    if left > 0:
        await answer.finish()
    return b"".join(pieces)


def _believed(tokens: int) -> int | None:
    """A provider's count, where it can be one."""
    return tokens if tokens <= _MOST_TOKENS else None


def _side(endpoint: Endpoint, provider: Provider, model: str) -> Side:
    most = provider.models.of(model).output
    return Side(provider.id, endpoint.dialect, model, endpoint.cleanup, most, endpoint.vendor)


def _lend(call: Call, endpoint: Endpoint) -> dict[Target, Refusal]:
    """Give the call's chain the accounts of the key that it brings. Returns the targets that are not for a call without
    a key for this provider."""
    own = call.own
    if own is not None and own.host in (None, endpoint.host):
        call.chain = call.chain.of_caller(own.caller)
        return {}
    reason = f"the request brings no key of its own for {endpoint.name}"
    refusal = Refusal(None, reason, for_all=False, unfit="key")
    return {target: refusal for target in call.chain.targets if is_callers(target.account)}


def _closed(call: Call, config: Config) -> dict[Target, Refusal]:
    """The targets that are not for a call which is only passed on: they are not spoken to in its words, or are another
    model where the chain's first is the only one that will do."""
    dialect, targets = call.request.dialect, call.chain.targets
    first = targets[0].model
    closed: dict[Target, Refusal] = {}
    for target in targets:
        spoken = config.endpoints[target.provider].dialect
        if spoken != dialect.provider:
            reason = f"it speaks {spoken}, and requests for {dialect.name} are not translated"
        elif dialect.one_model and target.model != first:
            reason = f"its {dialect.name} can't be compared with those of {first}, which comes first in the chain"
        else:
            continue
        closed[target] = Refusal(None, reason, for_all=False, unfit="ability")
    return closed


def _refused_own(call: Call, outcomes: Mapping[Target, Outcome], waits: Mapping[Target, Refusal]) -> int | None:
    """The HTTP status where a caller's key is what is missing: it was refused, or nothing but it would do."""
    for target in call.chain.targets:
        outcome, wait = outcomes.get(target), waits.get(target)
        if not is_callers(target.account):
            continue
        if outcome is not None and outcome.status in (401, 403) and outcome.kind is Kind.UNAUTHORIZED:
            return outcome.status
        if outcome is None and wait is not None and wait.state == "refused":
            return 401
    alone = all(target in waits and waits[target].unfit == "key" for target in call.chain.targets)
    return 401 if alone else None


def _is_limited(outcome: Outcome | None, wait: Refusal | None) -> bool:
    return outcome.kind in _LIMIT_KINDS if outcome is not None else wait is not None and wait.limited


def _is_gone(outcome: Outcome | None, wait: Refusal | None) -> bool:
    return outcome.kind is Kind.GONE if outcome is not None else wait is not None and wait.state == "gone"


def _unfit(chain: Chain, outcomes: Mapping[Target, Outcome], waits: Mapping[Target, Refusal]) -> set[str]:
    """Why the request is one that the chain will never serve: ``ability``, ``size`` or both; empty where one of its
    targets might."""
    large = {(target.provider, target.model) for target, outcome in outcomes.items() if outcome.kind is Kind.TOO_LARGE}
    whys: set[str] = set()
    for target in chain.targets:
        outcome, wait = outcomes.get(target), waits.get(target)
        if (target.provider, target.model) in large and (outcome is None or outcome.kind is Kind.TOO_LARGE):
            whys.add("size")
        elif outcome is None and wait is not None and wait.unfit in ("ability", "size"):
            whys.add(wait.unfit)
        else:
            return set()
    return whys


def _outgoing(call: Call, exchange: Exchange, endpoint: Endpoint, target: Target) -> UpstreamRequest:
    if call.own is not None and target.credential == endpoint.passing:
        native = endpoint.vendor and call.request.dialect.provider == endpoint.dialect
        shown = call.own.headers(endpoint.auth, native=native)
    else:
        shown = endpoint.authorization(target.credential)
    headers = {
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "accept-encoding": "identity",
        "user-agent": USER_AGENT,
        **exchange.headers,
        **endpoint.headers,
        **shown,
    }
    if call.via:
        headers["via"] = call.via
    return UpstreamRequest(endpoint.base_url + exchange.path, headers, exchange.body, endpoint.timeouts.connect)


def _failed(error: UpstreamError | WireError) -> Outcome:
    """An attempt without an answer. Where nothing could be reached, nothing else of the provider is tried either."""
    reason = f"its answer can't be read: {error}" if isinstance(error, WireError) else str(error)
    return Outcome.of(Kind.FAILED, reason, step=Step.PROVIDER if isinstance(error, ConnectFailed) else None)


def _skip(target: Target, refusal: Refusal, redact: Callable[[str], str]) -> AttemptRecord:
    return AttemptRecord(
        provider=target.provider,
        model=target.model,
        credential=target.credential,
        outcome="skipped",
        status=None,
        reason=redact(refusal.reason),
        duration=0.0,
        until=refusal.until,
    )


def _line(target: Target, outcome: Outcome | None, wait: Refusal | None, now: float) -> dict[str, Any]:
    """One target of an exhausted chain: what became of it, and when it is back."""
    line: dict[str, Any] = {"target": f"{target.provider}/{target.model}", "credential": target.credential}
    if outcome is not None:
        line |= {"outcome": str(outcome.kind), "status": outcome.status, "reason": outcome.reason}
    elif wait is not None:
        line |= {"outcome": "skipped", "status": None, "reason": wait.reason}
    else:
        line |= {"outcome": "skipped", "status": None, "reason": "not tried after the provider had failed"}
    until = wait.until if wait else None
    line["back_at"] = math.ceil(until) if until is not None else None
    line["back_in"] = max(math.ceil(until - now), 0) if until is not None else None
    return line


def _back(line: Mapping[str, Any]) -> str:
    return f" (back in {line['back_in']} s)" if line["back_in"] is not None else ""


def _redacted(details: Mapping[str, Any], redact: Callable[[str], str]) -> dict[str, Any]:
    targets = [{**line, "reason": redact(line["reason"])} for line in details["targets"]]
    return {**details, "targets": targets}


def _header(value: str) -> str:
    """A value that a header can carry."""
    return value if value.isascii() and value.isprintable() else ascii(value)
