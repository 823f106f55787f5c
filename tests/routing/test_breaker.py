from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain429.routing.breaker import Breaker, BreakerPolicy

NOW = 1_800_000_000.0
POLICY = BreakerPolicy(failures=3, seconds=30.0)
PROBE, OTHER = object(), object()


def shown(breaker: Breaker, now: float) -> str:
    """The state, and where it matters whether a probe is under way."""
    state = breaker.state(now)
    return "probing" if state == "half-open" and not breaker.admits(now) else state


@dataclass
class Scene:
    """A breaker brought into a state, and the time it is then."""

    breaker: Breaker
    now: float

    @classmethod
    def of(cls, state: str) -> Scene:
        scene = cls(Breaker(POLICY), NOW)
        failures = {"closed": 0, "closed, 2 failures": 2}.get(state, 3)
        for _ in range(failures):
            scene.breaker.failed(NOW, "HTTP 500", OTHER)
        if state in ("half-open", "probing"):
            scene.now += 30
        if state == "probing":
            scene.breaker.start(PROBE, scene.now)
        return scene

    def act(self, event: str) -> None:
        breaker, now = self.breaker, self.now
        who, _, what = event.partition(" ")
        call = PROBE if who == "probe" else OTHER
        acts: dict[str, Callable[[], None]] = {
            "starts": lambda: breaker.start(call, now),
            "is answering": lambda: breaker.answering(call),
            "succeeds": lambda: breaker.succeeded(call),
            "fails": lambda: breaker.failed(now, "HTTP 500", call),
            "is undecided": lambda: breaker.undecided(call),
        }
        if event == "30 s pass":
            self.now += 30
        elif event == "a user resets it":
            breaker.reset()
        else:
            acts[what]()


# Every state with everything that can happen in it. "other" is a call that went out while it was closed.
TRANSITIONS = [
    ("closed", "other starts", "closed"),
    ("closed", "other is answering", "closed"),
    ("closed", "other succeeds", "closed"),
    ("closed", "other fails", "closed"),
    ("closed", "other is undecided", "closed"),
    ("closed", "30 s pass", "closed"),
    ("closed", "a user resets it", "closed"),
    ("closed, 2 failures", "other starts", "closed"),
    ("closed, 2 failures", "other is answering", "closed"),
    ("closed, 2 failures", "other succeeds", "closed"),
    ("closed, 2 failures", "other fails", "open"),
    ("closed, 2 failures", "other is undecided", "closed"),
    ("closed, 2 failures", "30 s pass", "closed"),
    ("closed, 2 failures", "a user resets it", "closed"),
    ("open", "other is answering", "open"),
    ("open", "other succeeds", "open"),
    ("open", "other fails", "open"),
    ("open", "other is undecided", "open"),
    ("open", "30 s pass", "half-open"),
    ("open", "a user resets it", "closed"),
    ("half-open", "probe starts", "probing"),
    ("half-open", "other is answering", "half-open"),
    ("half-open", "other succeeds", "half-open"),
    ("half-open", "other fails", "half-open"),
    ("half-open", "other is undecided", "half-open"),
    ("half-open", "30 s pass", "half-open"),
    ("half-open", "a user resets it", "closed"),
    ("probing", "probe is answering", "closed"),
    ("probing", "probe succeeds", "closed"),
    ("probing", "probe fails", "open"),
    ("probing", "probe is undecided", "half-open"),
    ("probing", "other is answering", "probing"),
    ("probing", "other succeeds", "probing"),
    ("probing", "other fails", "probing"),
    ("probing", "other is undecided", "probing"),
    ("probing", "30 s pass", "probing"),
    ("probing", "a user resets it", "closed"),
]


@pytest.mark.parametrize(("before", "event", "after"), TRANSITIONS)
def test_transition(before: str, event: str, after: str) -> None:
    scene = Scene.of(before)
    assert shown(scene.breaker, scene.now) == before.partition(",")[0]
    scene.act(event)
    assert shown(scene.breaker, scene.now) == after


@pytest.mark.parametrize(
    ("event", "failures_left"),
    [("other succeeds", 3), ("other is undecided", 1), ("other is answering", 1), ("a user resets it", 3)],
)
def test_only_a_success_breaks_a_row_of_failures(event: str, failures_left: int) -> None:
    scene = Scene.of("closed, 2 failures")
    scene.act(event)
    for _ in range(failures_left):
        assert scene.breaker.state(NOW) == "closed"
        scene.act("other fails")
    assert scene.breaker.state(NOW) == "open"


def test_it_opens_for_its_period_and_says_until_when() -> None:
    breaker = Scene.of("open").breaker
    assert breaker.until == NOW + 30
    assert breaker.last_reason == "HTTP 500"
    assert not breaker.admits(NOW + 29.9)
    assert breaker.admits(NOW + 30)


def test_a_failure_of_an_old_call_does_not_put_the_probe_off() -> None:
    breaker = Scene.of("open").breaker
    breaker.failed(NOW + 29, "time-out", OTHER)
    assert breaker.state(NOW + 30) == "half-open"


def test_a_probe_that_fails_opens_it_for_another_period() -> None:
    scene = Scene.of("probing")
    scene.act("probe fails")
    assert scene.breaker.until == scene.now + 30


def test_a_probe_that_answered_and_then_broke_opens_it_at_once() -> None:
    scene = Scene.of("probing")
    scene.act("probe is answering")
    assert scene.breaker.admits(scene.now)
    scene.act("probe fails")
    assert scene.breaker.state(scene.now) == "open"


def test_a_closed_breaker_has_nothing_to_tell() -> None:
    scene = Scene.of("probing")
    scene.act("probe succeeds")
    assert scene.breaker.until is None
    assert scene.breaker.last_reason == ""


def test_new_numbers_keep_what_was_learned() -> None:
    breaker = Scene.of("open").breaker
    breaker.adopt(BreakerPolicy(failures=5, seconds=10))
    assert breaker.state(NOW + 9) == "open"
    assert breaker.state(NOW + 10) == "half-open"
    breaker.start(PROBE, NOW + 10)
    breaker.failed(NOW + 10, "HTTP 500", PROBE)
    assert breaker.state(NOW + 10) == "open"


@given(st.floats(-1e9, 1e9))
def test_no_jump_of_the_clock_keeps_it_open_for_more_than_a_period(jump: float) -> None:
    breaker = Scene.of("open").breaker
    now = NOW + jump
    breaker.state(now)
    assert breaker.admits(now + 30.001)


events = st.lists(
    st.tuples(st.sampled_from(["start", "succeed", "fail", "undecided", "wait"]), st.integers(0, 5)), max_size=60
)


@given(events)
def test_it_admits_one_probe_at_a_time_and_opens_only_after_a_row(script: list[tuple[str, int]]) -> None:
    breaker, now = Breaker(POLICY), NOW
    under_way: list[object] = []
    probes: set[object] = set()
    row = 0
    for what, number in script:
        if what == "wait":
            now += number * 10
        elif what == "start":
            if not breaker.admits(now):
                continue
            call = object()
            if breaker.state(now) == "half-open":
                assert not probes
                probes.add(call)
            breaker.start(call, now)
            under_way.append(call)
        elif under_way:
            call = under_way.pop(number % len(under_way))
            was_closed, probed = breaker.state(now) == "closed", call in probes
            probes.discard(call)
            if what == "fail":
                breaker.failed(now, "HTTP 500", call)
                row += was_closed
                opened = was_closed and breaker.state(now) != "closed"
                assert opened == (was_closed and row >= POLICY.failures)
            elif what == "succeed":
                breaker.succeeded(call)
                row = 0 if was_closed or probed else row
                assert (breaker.state(now) == "closed") == (was_closed or probed)
            else:
                breaker.undecided(call)
