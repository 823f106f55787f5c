"""Cooldowns: what is benched, how wide, until when and why.

A cooldown holds for as long as the provider said, if that is sensible (``outcome.SENSIBLE``); a claim beyond it is
tested then, and believed for twice as long each time that the test fails. Where it said nothing, the cooldown grows
from seconds with each repetition. The test is the next real request: until its answer begins, it can go elsewhere. A
success ends a cooldown. Everything is computed from stored times and ``now``.

What the provider did not say itself, or not credibly, is known for seconds only: after that, a request that would fail
otherwise may test it, one at a time and at growing intervals.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from chain429.routing.chain import CALLERS, Target, is_callers
from chain429.routing.outcome import Kind, Outcome, Scope
from chain429.routing.saved import Json, members, number, text


@dataclass(frozen=True, slots=True)
class Growth:
    """Seconds of the first cooldown, doubled with each strike up to the longest."""

    first: float
    longest: float

    def seconds(self, strikes: int) -> float:
        return min(self.first * 2.0 ** min(strikes, 30), self.longest)


# Where the provider gave no time. An expired cooldown lets the next request through, which then is the test.
GROWTH: Mapping[Kind, Growth] = MappingProxyType(
    {
        Kind.RATE_LIMITED: Growth(5, 60),
        Kind.BUSY: Growth(2, 60),
        Kind.QUOTA_SPENT: Growth(900, 4 * 3600),
        Kind.UNAUTHORIZED: Growth(600, 6 * 3600),
        Kind.GONE: Growth(3600, 24 * 3600),
    }
)

_SCOPES: Mapping[str, Scope] = MappingProxyType({scope.value: scope for scope in Scope})
_KINDS: Mapping[str, Kind] = MappingProxyType({kind.value: kind for kind in GROWTH})

# Where it gave a time, but not over what it counts: the longer the wait, the sooner it must be tested.
_UNNAMED = Growth(60, 3600)

# How long a bench is known whose end the provider did not tell credibly: doubled with each test that fails.
_DOUBTED = Growth(10, 3600)
_DOUBTFUL = frozenset({Kind.RATE_LIMITED, Kind.BUSY, Kind.QUOTA_SPENT})
# A bench that began so much later than now is of a clock that was set back, and forgotten.
_AHEAD = 60.0

# No refusal is believed for longer than a month: the longest window that any provider counts over.
_LONGEST = 31 * 86400.0
# Clients can name models at will, so what is remembered of them is bounded.
_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Cooldown:
    """One bench: from ``since`` to ``until``, known until ``known_until`` and then only believed (all Unix seconds).

    ``strikes`` counts the repetitions without a success.
    """

    kind: Kind
    reason: str
    since: float
    until: float
    strikes: int
    known_until: float

    def holds(self, now: float) -> bool:
        return self.since <= now < self.until

    @property
    def length(self) -> float:
        return self.until - self.since


Key = tuple[Scope, str, str]


def _keys(target: Target) -> tuple[Key, ...]:
    """Every key under which this target can be benched."""
    if target.account[:1] == CALLERS:
        # What is behind the key of one caller says nothing of another's, nor does what that one may use.
        account = target.account
        return (
            (Scope.MODEL, account, target.bucket),
            (Scope.ENTRY, account, target.model),
            (Scope.ACCOUNT, account, ""),
            (Scope.CREDENTIAL, account, ""),
            (Scope.PROVIDER, target.provider, ""),
        )
    return (
        (Scope.MODEL, target.account, target.bucket),
        (Scope.ENTRY, target.provider, target.model),
        (Scope.ACCOUNT, target.account, ""),
        (Scope.CREDENTIAL, target.credential, ""),
        (Scope.PROVIDER, target.provider, ""),
    )


def _key(target: Target, scope: Scope) -> Key:
    return next(key for key in _keys(target) if key[0] is scope)


class Cooldowns:
    """Every cooldown that holds, or that lately held."""

    def __init__(self) -> None:
        self._held: dict[Key, Cooldown] = {}

    def bench(self, target: Target, outcome: Outcome, now: float) -> Cooldown | None:
        """Bench what the outcome says. Returns the cooldown that now holds, or None where this kind benches nothing.

        What holds is only ever lengthened: a short "busy" must not end a spent day early.
        """
        if outcome.scope is None or outcome.kind not in GROWTH:
            return None
        key = _key(target, outcome.scope)
        before = self._held.get(key)
        holds = before is not None and before.holds(now)
        growth = GROWTH[outcome.kind]
        strikes = 0
        if before and before.kind is outcome.kind and now < before.until + max(growth.longest, before.length):
            # Calls that were under way together fail together: only one that was a test is a new strike.
            strikes = before.strikes + (now >= before.known_until)
        until = outcome.until if outcome.until is not None else now + growth.seconds(strikes)
        doubtful = outcome.kind in _DOUBTFUL and (outcome.until is None or outcome.guessed)
        if outcome.claim is not None:
            until, doubtful = min(now + (until - now) * 2.0 ** min(strikes, 30), outcome.claim), True
        if outcome.kind is Kind.RATE_LIMITED and not outcome.limit and until > now + _UNNAMED.seconds(strikes):
            until, doubtful = now + _UNNAMED.seconds(strikes), True
        until = min(until, now + _LONGEST)
        known_until = min(until, now + _DOUBTED.seconds(strikes)) if doubtful else until
        if before and holds:
            if before.until >= until and before.known_until >= known_until:
                return before
            until, known_until = max(until, before.until), max(known_until, before.known_until)
        if len(self._held) >= _MOST:
            self._forget(now)
        found = self._held[key] = Cooldown(outcome.kind, outcome.reason, now, until, strikes, known_until)
        return found

    def tested(self, target: Target, now: float) -> None:
        """A call goes out to the target although it is benched: others wait for what becomes of it."""
        for key in _keys(target) if self._held else ():
            held = self._held.get(key)
            if held and held.holds(now) and held.known_until <= now:
                # Nothing tells when it is answered.
                self._held[key] = replace(held, strikes=held.strikes + 1, known_until=min(held.until, now + 1))

    def _forget(self, now: float) -> None:
        """Make room: what has ended goes, and of the rest, where it is too much, the half that ends soonest."""
        kept = [(key, held) for key, held in self._held.items() if held.holds(now)]
        if len(kept) > _MOST // 2:
            kept = sorted(kept, key=lambda item: item[1].until)[len(kept) // 2 :]
        self._held = dict(kept)

    def of(self, target: Target, now: float) -> Cooldown | None:
        """The cooldown that keeps this target on the bench longest, if any does."""
        held = self._held
        if not held:
            return None
        longest: Cooldown | None = None
        known_until = 0.0
        for key in _keys(target):
            found = held.get(key)
            if found is None:
                continue
            if found.holds(now):
                known_until = max(known_until, found.known_until)
                if longest is None or found.until > longest.until:
                    longest = found
            elif found.since > now + _AHEAD:
                del held[key]
        if longest is not None and longest.known_until < known_until:
            return replace(longest, known_until=known_until)
        return longest

    def clear(self, target: Target, before: float = math.inf) -> bool:
        """End the target's cooldowns that began ``before`` (Unix seconds): a call that went out then was served.

        What was learned while that call was under way is newer than its success, so it stays. Returns whether there
        were any.
        """
        if not self._held:
            return False
        ended = [key for key in _keys(target) if key in self._held and self._held[key].since < before]
        for key in ended:
            del self._held[key]
        return bool(ended)

    def forget(self, ids: Container[str]) -> None:
        """Forget the cooldowns of these accounts, credentials and providers."""
        self._held = {key: held for key, held in self._held.items() if key[1] not in ids}

    def saved(self, now: float) -> dict[str, Json]:
        """All that hold, or whose strikes still count, for ``restore``: by scope and the two ids of the key."""
        scopes: dict[str, dict[str, dict[str, Json]]] = {}
        for (scope, one, other), held in self._held.items():
            if now - held.until < GROWTH[held.kind].longest and not is_callers(one):
                scopes.setdefault(scope.value, {}).setdefault(one, {})[other] = {
                    "kind": held.kind.value,
                    "reason": held.reason,
                    "since": held.since,
                    "until": held.until,
                    "strikes": held.strikes,
                    "known_until": held.known_until,
                }
        return {**scopes}

    def restore(self, saved: object, now: float) -> None:
        """Go on from what ``saved`` gave, as far as that is sound."""
        for scope, ones in members(saved):
            for one, others in members(ones):
                for other, held in members(others):
                    found = _restored(dict(members(held)), now)
                    if found and scope in _SCOPES and len(self._held) < _MOST:
                        self._held[_SCOPES[scope], one, other] = found


def _restored(saved: Mapping[str, object], now: float) -> Cooldown | None:
    kind = _KINDS.get(text(saved.get("kind")))
    since, until = number(saved.get("since")), number(saved.get("until"))
    strikes = number(saved.get("strikes"), most=1e6)
    if kind is None or since is None or until is None or strikes is None:
        return None
    until = min(until, now + _LONGEST)
    known_until = number(saved.get("known_until"))
    known_until = until if known_until is None else min(known_until, until)
    return Cooldown(kind, text(saved.get("reason")), since, until, int(strikes), known_until)
