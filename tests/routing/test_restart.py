"""What was learned, after a restart: the same answers to every question."""

from __future__ import annotations

import json
import zoneinfo
from collections.abc import Iterator
from copy import copy
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain429.routing.breaker import Breaker, BreakerPolicy
from chain429.routing.bucket import Bucket
from chain429.routing.chain import Credential, Entry, Limit, Provider, Target
from chain429.routing.cooldown import Cooldown, Cooldowns
from chain429.routing.count import Count
from chain429.routing.estimate import Estimates
from chain429.routing.headers import Reading
from chain429.routing.ledger import Ledger
from chain429.routing.limits import Lease, Limits, Need
from chain429.routing.outcome import SERVED, Hit, Kind, Outcome, Provision, Scope
from chain429.routing.window import DayReset, Refill, Window

NOW = 1_800_000_000.0
HOUR, DAY = 3600.0, 86400.0
POLICY = BreakerPolicy(failures=2, seconds=30)
PACIFIC = zoneinfo.ZoneInfo("America/Los_Angeles")

ROLLING = Provider(
    "rolling",
    (
        Credential(
            "rolling/k1", "rolling:k1", limits=(Limit("requests", Window.MINUTE, 4), Limit("requests", None, 3))
        ),
        Credential("rolling/k2", "rolling:k2", limits=(Limit("tokens", Window.HOUR, 9000),)),
    ),
)
STEADY = Provider(
    "steady",
    (Credential("steady/k1", "steady:k1", limits=(Limit("tokens", Window.MINUTE, 5000),)),),
    provision=Provision(refill=Refill.STEADY),
    up_front=True,
)
CALENDAR = Provider(
    "calendar",
    (Credential("calendar/k1", "calendar:k1", limits=(Limit("requests", Window.DAY, 6),)),),
    provision=Provision(day=DayReset(PACIFIC)),
    shared=("big*",),
)
PROVIDERS = {provider.id: provider for provider in (ROLLING, STEADY, CALENDAR)}
TARGETS = [
    target
    for provider in PROVIDERS.values()
    for model in ("big", "small")
    for target in Entry.of(provider, model).targets
]
TARGET = TARGETS[0]
NEEDS = [Need(), Need(size=400), Need(size=8000, most=2000), Need(size=200_000)]
LATER = [0.0, 0.5, 29.0, 31.0, 61.0, 601.0, HOUR + 1, 9 * HOUR, DAY + 2, 3 * DAY, 32 * DAY]


def ledger() -> Ledger:
    made = Ledger(POLICY)
    made.configure(POLICY, PROVIDERS.values())
    return made


def stored(saved: object) -> Any:
    """As it comes back from the disk."""
    return json.loads(json.dumps(saved, allow_nan=False))


def restarted(at: Ledger, now: float) -> Ledger:
    after = ledger()
    assert after.restore(stored(at.snapshot(now)), now) is None
    return after


def answers(at: Ledger, now: float) -> Iterator[object]:
    """All that the ledger says of every target."""
    for target in TARGETS:
        for need in NEEDS:
            yield at.refusal(target, need, now)
        yield at.refused_params(target)
        breaker = at.breaker(target.provider)
        yield breaker.state(now), breaker.until, breaker.admits(now), breaker.last_reason


operations = st.lists(
    st.tuples(
        st.sampled_from(["take", "take", "take", "learn", "learn", "observe", "refuses", "answering", "clear", "wait"]),
        st.sampled_from(TARGETS),
        st.sampled_from([Kind.SERVED, Kind.SERVED, *Kind]),
        st.sampled_from(NEEDS),
        st.integers(0, 3000),
    ),
    max_size=50,
)
Operation = tuple[str, Target, Kind, Need, int]
METRICS = ("requests", "tokens", "input_tokens", "output_tokens")
WINDOWS = (None, *Window)


class Run:
    """A ledger at work: what is done to it is decided by the script alone."""

    def __init__(self, at: Ledger, now: float) -> None:
        self.at = at
        self.now = now
        self.under_way: list[Lease] = []

    def do(self, operation: Operation) -> None:
        what, target, kind, need, number = operation
        at, now, leases = self.at, self.now, self.under_way
        match what:
            case "wait":
                self.now += number if number % 3 else number / 100
            case "take":
                leases.append(at.take(PROVIDERS[target.provider], target, need, now))
            case "refuses":
                at.refuses_param(target, f"param{number % 3}")
            case "clear":
                if number % 10 == 0:
                    at.clear(target)
            case _ if leases:
                lease = leases[number % len(leases)]
                if what == "answering":
                    at.answering(lease)
                elif what == "observe":
                    at.observe(lease, [_reading(number, now)], now)
                else:
                    leases.remove(lease)
                    at.learn(lease, _outcome(kind, number, now), (number, number // 3), now)

    def finish(self) -> None:
        for lease in self.under_way:
            self.at.learn(lease, SERVED, (None, None), self.now)
        self.under_way.clear()


def _reading(number: int, now: float) -> Reading:
    return Reading(
        METRICS[number % 4],  # type: ignore[arg-type]
        WINDOWS[number % len(WINDOWS)],
        limit=float(number) if number % 3 else None,
        remaining=float(number // 7) if number % 5 else None,
        reset_at=now + number if number % 2 else None,
    )


def _outcome(kind: Kind, number: int, now: float) -> Outcome:
    outcome = Outcome.of(
        kind,
        f"{kind} {number}",
        until=now + number if number % 2 else None,
        scope=(None, *Scope)[number % 6],
        limit="requests per day" if number % 3 else "",
    )
    if kind not in (Kind.RATE_LIMITED, Kind.QUOTA_SPENT):
        return outcome
    hit = Hit(METRICS[number % 4], [*Window][number % len(Window)], number * 2.0 if number % 2 else None)  # type: ignore[arg-type]
    return Outcome(**{**{field.name: getattr(outcome, field.name) for field in fields(outcome)}, "hit": hit})


@given(operations, operations)
def test_a_restart_changes_no_answer_then_or_later(script: list[Operation], more: list[Operation]) -> None:
    before = Run(ledger(), NOW)
    for operation in script:
        before.do(operation)
    before.finish()
    after = Run(restarted(before.at, before.now), before.now)
    assert after.at.snapshot(after.now) == before.at.snapshot(before.now)
    for operation in more:
        assert list(answers(after.at, after.now)) == list(answers(before.at, before.now))
        before.do(operation)
        after.do(operation)
    for later in LATER:
        now = before.now + later
        assert list(answers(after.at, now)) == list(answers(before.at, now))


@given(operations, st.sampled_from(LATER[:-1]))
def test_a_restart_takes_as_long_as_it_takes(script: list[Operation], down: float) -> None:
    run = Run(ledger(), NOW)
    for operation in script:
        run.do(operation)
    run.finish()
    snapshot = stored(run.at.snapshot(run.now))
    after = ledger()
    assert after.restore(snapshot, run.now + down) is None
    assert list(answers(after, run.now + down)) == list(answers(run.at, run.now + down))


@given(operations)
def test_what_is_under_way_stays_counted_and_holds_nothing(script: list[Operation]) -> None:
    run = Run(ledger(), NOW)
    for operation in script:
        # Without a probe and what is counted at a time: those end with the process.
        if operation[1].credential != "rolling/k1" and operation[2] not in (Kind.FAILED, Kind.BROKEN):
            run.do(operation)
    after = restarted(run.at, run.now)
    assert after.leased() == 0
    for target in TARGETS:
        for need in NEEDS:
            was, refusal = run.at.refusal(target, need, run.now), after.refusal(target, need, run.now)
            if was is None or refusal is None:
                assert was is refusal
                continue
            # How much they will really have taken nobody will tell any more: their estimate counts.
            assert refusal.known_until >= was.known_until
            assert replace(refusal, known_until=0) == replace(was, known_until=0)


@pytest.mark.parametrize("ended", [Kind.SERVED, Kind.FAILED])
def test_a_probe_that_was_under_way_is_made_anew(ended: Kind) -> None:
    at = ledger()
    for _ in range(2):
        at.learn(at.take(ROLLING, TARGET, Need(), NOW), _outcome(Kind.FAILED, 2, NOW), (None, None), NOW)
    at.take(ROLLING, TARGET, Need(), NOW + 31)
    assert not at.breaker("rolling").admits(NOW + 31)
    after = restarted(at, NOW + 31)
    assert after.breaker("rolling").state(NOW + 31) == "half-open"
    assert after.breaker("rolling").admits(NOW + 31)
    probe = after.take(ROLLING, TARGET, Need(), NOW + 31)
    after.learn(probe, _outcome(ended, 2, NOW + 31), (None, None), NOW + 31)
    assert after.breaker("rolling").state(NOW + 31) == ("closed" if ended is Kind.SERVED else "open")


def test_the_room_that_is_left_is_the_same() -> None:
    before, after = Limits(), Limits()
    for limits in (before, after):
        limits.configure(
            [key for provider in PROVIDERS.values() for key in provider.credentials],
            {key.account: provider.provision for provider in PROVIDERS.values() for key in provider.credentials},
        )
    for number, target in enumerate(TARGETS * 3):
        lease = before.take(target, Need(700, 2800), NOW + number)
        before.settle(lease, 300 + number, 50, NOW + number)
    before.observe(TARGET, [Reading("requests", Window.DAY, 1000, 700, NOW + HOUR)], None, NOW + 20)
    saved: dict[str, Any] = {}
    for _ in before.save(saved, NOW + 20):
        pass
    after.restore(stored(saved), NOW + 20)
    for later in LATER:
        for target in TARGETS:
            room = after.headroom(target, Need(500, 2000), NOW + 20 + later)
            assert room == before.headroom(target, Need(500, 2000), NOW + 20 + later)
            assert after.status(target, NOW + 20 + later) == before.status(target, NOW + 20 + later)


# Whoever adds a field decides what becomes of it.

# What is known otherwise: from its place among the others, the configuration, the provider's facts, the sum of its
# parts. And what is about calls that are under way: nobody will settle them.
TOLD = {"metric", "_window", "_day", "_steady", "_limit", "_late", "_length", "_slice", "_total", "_count"}
UNDER_WAY = {"in_flight", "_left", "_unanswered", "_unsure", "_era"}
SLOTS = (*Bucket.__slots__, *Count.__slots__)


def fields_of(bucket: Bucket) -> dict[str, Any]:
    return {slot: copy(getattr(bucket if hasattr(bucket, slot) else bucket._count, slot)) for slot in SLOTS}


def buckets() -> Iterator[tuple[Bucket, Bucket]]:
    """Buckets of every sort that have seen everything, and those that were restored from them."""
    for provider in PROVIDERS.values():
        for window in Window:
            one, other = (Bucket("requests", window, provider.provision) for _ in range(2))
            now = NOW
            for number in range(6):
                now = NOW + number * window.seconds / 1800
                one.settle(one.take(2, 2, now), 1, now)
            one.refused(Hit("requests", window), 1, now + 5, now)
            yield one, other
            one, other = (Bucket("requests", window, provider.provision) for _ in range(2))
            one.settle(one.take(2, 2, NOW), 1, NOW)
            one.refused(Hit("requests", window, 20), 1, None, NOW)
            yield one, other
            one, other = (Bucket("requests", window, provider.provision) for _ in range(2))
            one.settle(one.take(2, 2, NOW), 1, NOW)
            one.report(Reading("requests", window, 100, 0, NOW + 1000), None, NOW)
            one.settle(one.take(2, 2, NOW), 1, NOW)
            yield one, other


def test_every_field_of_a_bucket_is_saved_or_known_otherwise() -> None:
    seen = set()
    for before, after in buckets():
        fresh = fields_of(after)
        now = before._count._level_at
        saved = stored(before.saved(now))
        after.restore(saved, now)
        assert before._denied is None or len(saved["denied"]) == len(fields(before._denied))
        was, found = fields_of(before), fields_of(after)
        for slot in set(SLOTS) - TOLD - UNDER_WAY:
            # What a report does not know of is of no use without one.
            if slot != "_spent" or before._remaining is not None:
                assert found[slot] == was[slot], slot
                seen |= {slot} if was[slot] != fresh[slot] else set()
    # A field that this test leaves as it was at first, it says nothing about.
    assert seen == set(SLOTS) - TOLD - UNDER_WAY


def test_every_field_of_a_cooldown_is_saved() -> None:
    at = Cooldowns()
    for later in (0, 100):
        at.bench(TARGET, Outcome.of(Kind.QUOTA_SPENT, "spent", until=NOW + later + 50), NOW + later)
    (held,) = at._held.values()
    assert held.strikes == 1
    after = Cooldowns()
    after.restore(stored(at.saved(NOW + 100)), NOW + 100)
    assert after._held == at._held
    (saved,) = stored(at.saved(NOW + 100))["model"]["rolling:k1"].values()
    assert saved.keys() == {field.name for field in fields(Cooldown)}


def test_every_field_of_a_breaker_is_saved_but_its_policy_and_its_probe() -> None:
    before, after = Breaker(POLICY), Breaker(POLICY)
    for _ in range(2):
        before.failed(NOW, "it is down")
    after.restore(stored(before.saved()))
    assert {slot: getattr(after, slot) for slot in Breaker.__slots__} == {
        "_policy": POLICY,
        "_probe": None,
        "_row": 2,
        "_opened": NOW,
        "last_reason": "it is down",
    }


def test_all_that_is_known_of_a_model_is_saved() -> None:
    before, after = Estimates(), Estimates()
    before.learn("m1", 9000, 1000, 50)
    before.too_low("m1")
    after.restore(stored(before.saved()))
    assert after._models == before._models
    (known,) = before._models.values()
    assert all(getattr(known, field.name) != field.default for field in fields(known))


def test_every_part_of_the_ledger_is_saved_or_not_worth_it() -> None:
    parts = {"limits", "cooldowns", "breakers", "estimates", "ceilings", "refused_params"}
    assert set(ledger().snapshot(NOW)) == {"format", "at", *parts}
    # The policy is configuration, whose turn it is may begin anew, and the rest is put together from the others.
    not_worth_it = {"_policy", "_pool", "_closed", "_orders", "changed"}
    assert {name for name in vars(ledger()) if name not in not_worth_it} == {f"_{part}" for part in parts}


# Damage, and other times.


def learned() -> Ledger:
    """A ledger that has learned something of everything."""
    run = Run(ledger(), NOW)
    for number, target in enumerate(TARGETS * 2):
        for kind in (Kind.SERVED, Kind.RATE_LIMITED, Kind.QUOTA_SPENT, Kind.TOO_LARGE, Kind.FAILED):
            run.do(("take", target, kind, NEEDS[2], number))
            run.do(("observe", target, kind, NEEDS[2], 1000 + number))
            run.do(("learn", target, kind, NEEDS[2], number))
        run.do(("refuses", target, Kind.SERVED, NEEDS[0], number))
    return run.at


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*path, key))


SNAPSHOT = stored(learned().snapshot(NOW))
PLACES = list(places(SNAPSHOT))
wrong_values: st.SearchStrategy[object] = st.sampled_from(
    [None, True, -1, -1e9, 0, 1e300, 10**400, float("nan"), float("inf"), "", "words", [], [1], [[]], {}, {"": {}}]
) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def damaged(path: tuple[Any, ...], value: object) -> Any:
    """The snapshot with another value at one place."""
    if not path:
        return value
    found = stored(SNAPSHOT)
    holder = found
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    return found


@given(st.sampled_from(PLACES), wrong_values)
def test_a_damaged_snapshot_is_taken_as_far_as_it_is_sound(path: tuple[Any, ...], value: object) -> None:
    at = ledger()
    at.restore(damaged(path, value), NOW)
    # It answers, learns and is saved as ever.
    for later in LATER:
        list(answers(at, NOW + later))
    run = Run(at, NOW)
    for target in TARGETS:
        run.do(("take", target, Kind.SERVED, NEEDS[1], 1))
        run.do(("learn", target, Kind.SERVED, NEEDS[1], 1))
    json.dumps(at.snapshot(NOW), allow_nan=False)


@pytest.mark.parametrize("part", ["limits", "cooldowns", "breakers", "estimates", "ceilings", "refused_params"])
def test_a_damaged_part_spoils_no_other(part: str) -> None:
    at = ledger()
    assert at.restore(damaged((part,), "damaged"), NOW) is None
    assert {**at.snapshot(NOW), part: None} == {**SNAPSHOT, part: None}
    assert at.snapshot(NOW)[part] == {}


def test_names_that_nobody_knows_are_passed_over() -> None:
    account = {"big": {"requests": {"fortnight": {"known": 5}}, "smiles": {"minute": {"known": 5}}}}
    at = ledger()
    assert at.restore({"format": 1, "at": NOW, "limits": {"a": account}, "cooldowns": {"galaxy": {}}}, NOW) is None
    assert at.snapshot(NOW)["limits"] == {"a": {"big": {}}}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"format": 2}, "it was written by another version, or is damaged"),
        ({"at": "noon"}, "it was written by another version, or is damaged"),
        ({"at": NOW - 40 * DAY}, "it was written 40 days ago"),
        ({"at": NOW + 40 * DAY}, "it was written 40 days ahead of the clock"),
    ],
)
def test_what_can_not_hold_any_more_is_not_taken_at_all(changes: dict[str, object], why: str) -> None:
    at = ledger()
    assert at.restore({**SNAPSHOT, **changes}, NOW) == why
    assert list(answers(at, NOW)) == list(answers(ledger(), NOW))


def test_of_what_is_no_snapshot_nothing_is_taken() -> None:
    nothing: tuple[object, ...] = (None, [], "words", 5)
    for wrong in nothing:
        assert ledger().restore(wrong, NOW) == "it was written by another version, or is damaged"


def test_a_clock_that_was_set_back_meanwhile_strands_nothing() -> None:
    before = NOW - HOUR
    at = ledger()
    assert at.restore(SNAPSHOT, before) is None
    stayed = learned()
    for target in TARGETS:
        was, refusal = stayed.refusal(target, NEEDS[0], before), at.refusal(target, NEEDS[0], before)
        assert refusal is None or (was is not None and (refusal.until or 0) <= (was.until or 0))


# When to save.


def test_it_tells_whether_anything_was_learned_since() -> None:
    at = ledger()
    assert not at.changed
    lease = at.take(ROLLING, TARGET, Need(), NOW)
    assert at.changed
    at.snapshot(NOW)
    assert not at.changed
    list(answers(at, NOW))
    assert not at.changed
    for learn in (
        lambda: at.observe(lease, [], NOW),
        lambda: at.learn(lease, SERVED, (None, None), NOW),
        lambda: at.give_back(at.take(ROLLING, TARGET, Need(), NOW), NOW),
        lambda: at.refuses_param(TARGET, "seed"),
        lambda: at.clear(TARGET),
        lambda: at.forget({"rolling"}),
    ):
        learn()
        assert at.changed
        at.snapshot(NOW)


def test_what_is_learned_between_the_steps_of_saving_is_for_the_next_time() -> None:
    at = ledger()
    for target in TARGETS:
        at.learn(at.take(PROVIDERS[target.provider], target, Need(), NOW), SERVED, (5, 5), NOW)
    saved: dict[str, Any] = {}
    steps = at.save(saved, NOW)
    next(steps)
    new = Entry.of(ROLLING, "new").targets[0]
    at.learn(at.take(ROLLING, new, Need(), NOW), SERVED, (5, 5), NOW)
    assert len(list(steps)) == len(TARGETS) - 1
    assert at.changed
    after = ledger()
    assert after.restore(stored(saved), NOW) is None
    assert "new" not in str(saved["limits"])
    assert "new" in str(at.snapshot(NOW)["limits"])


def test_a_snapshot_is_nobody_elses() -> None:
    at = learned()
    snapshot = at.snapshot(NOW)
    copy = stored(snapshot)
    run = Run(at, NOW)
    for target in TARGETS:
        for what in ("take", "observe", "learn", "refuses", "clear"):
            run.do((what, target, Kind.SERVED, NEEDS[1], 10))
    assert stored(snapshot) == copy


def test_what_was_learned_of_another_server_or_key_is_forgotten() -> None:
    at = learned()
    at.forget({"rolling", "rolling/k1", "rolling:k1", "rolling/k2", "rolling:k2"})
    snapshot = at.snapshot(NOW)
    assert "rolling" not in json.dumps(snapshot)
    assert {name for name, part in snapshot.items() if "steady" in json.dumps(part)} == {
        *("limits", "cooldowns", "breakers", "ceilings", "refused_params")
    }
