"""The simulation behind scripts/quota-day: it may only be believed if its time, its truth and its oracle can be."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain429.config import parse
from chain429.errors import ConnectFailed
from chain429.upstream import UpstreamRequest
from scripts.quota_day import oracle, virtual
from scripts.quota_day.__main__ import main, seeds
from scripts.quota_day.day import Figures, percentile, play
from scripts.quota_day.judge import LIE, Judge, Late
from scripts.quota_day.network import Network
from scripts.quota_day.report import as_json, bars, table, total
from scripts.quota_day.traffic import PATIENCE, Request, number_of, requests
from scripts.quota_day.truth import OUTAGE, Truth
from scripts.quota_day.world import (
    ACCOUNTS,
    ENVIRON,
    SITES,
    START,
    Account,
    Day,
    Provider,
    configuration,
)

DAY = Day.of(1, 2.0)
HALF_A_CENTURY = 50 * 365 * 86400.0


def account(credential: str) -> Account:
    return next(account for account in ACCOUNTS if account.credential == credential)


GROQ, MISTRAL = account("groq/GROQ_1"), account("mistral/MISTRAL_1")


# Virtual time


def test_time_passes_only_by_waiting() -> None:
    async def waits(clock: virtual.VirtualClock) -> tuple[float, float, float]:
        before = clock.now()
        for _ in range(100):
            await asyncio.sleep(0)
        still = clock.now()
        await clock.sleep(HALF_A_CENTURY)
        return before, still, clock.monotonic()

    before, still, after = virtual.run(START, waits)
    assert before == still == START
    assert after == pytest.approx(HALF_A_CENTURY)


@given(st.lists(st.floats(0, 1e6), max_size=20))
def test_sleepers_wake_at_their_time_and_in_its_order(naps: list[float]) -> None:
    woken: list[tuple[float, float]] = []

    async def sleeper(clock: virtual.VirtualClock, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((seconds, clock.monotonic()))

    async def all_of_them(clock: virtual.VirtualClock) -> None:
        await asyncio.gather(*(sleeper(clock, seconds) for seconds in naps))

    virtual.run(START, all_of_them)
    assert [seconds for seconds, _ in woken] == sorted(naps)
    assert all(math.isclose(seconds, at, abs_tol=1e-6) for seconds, at in woken)


def test_a_time_out_comes_before_what_takes_longer() -> None:
    async def too_slow(clock: virtual.VirtualClock) -> float:
        with pytest.raises(TimeoutError):
            async with clock.timeout(5):
                await clock.sleep(10)
        async with clock.timeout(5):
            await clock.sleep(4)
        return clock.monotonic()

    assert virtual.run(START, too_slow) == pytest.approx(9.0)


def test_who_waits_for_nothing_is_found_out() -> None:
    async def waits_for_ever(clock: virtual.VirtualClock) -> None:
        await clock.sleep(1)
        await asyncio.Event().wait()

    with pytest.raises(virtual.Deadlock):
        virtual.run(START, waits_for_ever)


# The world and its traffic


@pytest.mark.parametrize("configured", [False, True])
def test_the_engine_is_told_of_every_account(configured: bool) -> None:
    config = parse(configuration(configured=configured), ENVIRON)
    credentials = [target.credential for target in config.chains["default"].targets]
    assert credentials == [account.credential for account in ACCOUNTS]
    assert [len(tier) for tier in config.chains["default"].tiers] == [1, 2, 1, 1]
    told = {len(key.limits) > 0 for provider in config.providers.values() for key in provider.credentials}
    assert told == {configured}


def test_a_day_has_two_resets_and_three_misfortunes_of_different_providers() -> None:
    for seed in range(20):
        day = Day.of(seed)
        assert len({day.down, day.liar, day.lowers}) == 3
        assert all(day.start < moment < day.end for moment in (day.lies_at, day.lowers_at))
        assert day.start < day.down_from < day.down_until < day.end
    for name, hour in {"openrouter": 9, "gemini": 17}.items():
        window = Truth(DAY)
        taker = next(account for account in ACCOUNTS if account.site.name == name)
        for second in range(taker.site.limits.rpd or 0):
            window.take(taker, 1, START + second)
        lack = window.lack(taker, 1, START + 3600)
        assert lack is not None
        assert lack.kind == "requests per day"
        assert hour - 1 < (3600 + lack.wait) / 3600 < hour


def test_traffic_is_as_it_was_ordered() -> None:
    day = Day.of(5)
    asked = requests(day)
    assert 5000 < len(asked) < 8000
    assert [request.number for request in asked] == list(range(len(asked)))
    assert all(before.at <= after.at for before, after in itertools.pairwise(asked))
    assert all(day.start <= request.at < day.end for request in asked)
    assert all(number_of(json.loads(request.body)) == request.number for request in asked[::100])
    sizes = [request.cost(SITES["gemini"]) for request in asked[::5]]
    assert max(sizes) <= 6010
    assert 0.05 < sum(size > 2000 for size in sizes) / len(sizes) < 0.1
    assert 0.45 < sum("stream" in request.fields for request in asked) / len(asked) < 0.55
    within = Counter(int(request.at // 5) for request in asked)
    assert max(within.values()) >= 15


# Truth


@given(
    st.sampled_from(ACCOUNTS),
    st.lists(st.tuples(st.floats(0, 40), st.integers(0, 200)), min_size=20, max_size=50),
    st.floats(0, 600),
)
def test_the_truth_is_what_the_provider_does(
    used: Account, steps: list[tuple[float, int]], lowers_after: float
) -> None:
    now, asked = START, TWO_HOURS
    # Never down; the site in question is the one that lowers its limits, where it can.
    lowers = used.site.name if used.site.name in ("groq", "cerebras", "mistral") else "groq"
    day = Day(0, START, START, "", 0.0, 0.0, "", 0.0, lowers, START + lowers_after)
    truth, provider, lowered = Truth(day), Provider(used.site), False
    for gap, index in steps:
        now += gap
        if not lowered and now >= day.lowers_at and used.site.name == lowers:
            lowered = True
            provider.lower(day.lowered)
        request = asked[index]
        lack = truth.lack(used, request.cost(used.site), now)
        body = {**request.fields, "model": used.site.model}
        assert (provider.respond(used.key, body, now).status == 200) == (lack is None), lack
        if lack is None:
            truth.take(used, request.cost(used.site), now)


TWO_HOURS = requests(DAY)


def test_calls_on_their_way_take_room() -> None:
    truth = Truth(DAY)
    rpm = MISTRAL.site.limits.rpm or 0
    assert truth.lack(MISTRAL, 10, START, (rpm - 1, 0)) is None
    lack = truth.lack(MISTRAL, 10, START, (rpm, 0))
    assert lack is not None
    assert (lack.kind, lack.window) == ("requests per minute", 60.0)


def test_an_outage_ends_when_it_ends() -> None:
    down = next(account for account in ACCOUNTS if account.site.name == DAY.down)
    lack = Truth(DAY).lack(down, 10, DAY.down_until - 100)
    assert lack is not None
    assert lack.kind == OUTAGE
    assert math.isclose(lack.wait, 100, abs_tol=1e-3)
    assert Truth(DAY).lack(down, 10, DAY.down_until) is None


# The oracle


@pytest.mark.parametrize("seed", [1, 2])
def test_the_oracle_never_serves_more_than_the_truth_allows(seed: int) -> None:
    day = Day.of(seed, 3.0)
    asked = requests(day)
    placed = oracle.place(day, asked)
    assert len({one.request.number for one in placed}) == len(placed) <= len(asked)
    providers = {site.name: Provider(site) for site in SITES.values()}
    lowered = False
    for one in placed:
        assert one.request.at <= one.at <= one.request.at + PATIENCE
        assert not day.is_down(one.account.site, one.at)
        if not lowered and one.at >= day.lowers_at:
            lowered = True
            providers[day.lowers].lower(day.lowered)
        body = {**one.request.fields, "model": one.account.site.model}
        assert providers[one.account.site.name].respond(one.account.key, body, one.at).status == 200


def test_the_oracle_lets_requests_wait_for_room_and_gives_up_on_those_that_get_none() -> None:
    # Everything that more than an hour brings, at the same moment.
    crowd = [Request(one.number, START, one.body, one.fields) for one in TWO_HOURS[:250]]
    placed = oracle.place(DAY, crowd)
    assert len(placed) < len(crowd)
    assert sum(one.at > START for one in placed) > 10
    # Whoever was not served would not have been, had he come alone at the end.
    truth = Truth(DAY)
    for one in placed:
        truth.take(one.account, one.request.cost(one.account.site), one.at)
    left = {request.number for request in crowd} - {one.request.number for one in placed}
    for number in left:
        lacks = [truth.lack(each, crowd[number].cost(each.site), START + PATIENCE) for each in ACCOUNTS]
        assert all(lacks)


def test_the_oracle_takes_the_first_in_the_chain_that_is_not_down() -> None:
    one = TWO_HOURS[0]
    assert oracle.place(DAY, [one])[0].account is GROQ
    day = Day(0, START, START + 7200, "groq", START, START + 3600, "", 0.0, "mistral", 0.0)
    assert oracle.place(day, [one])[0].account.site.name == "cerebras"


# The network


def outgoing(used: Account, request: Request) -> UpstreamRequest:
    body = json.dumps({**request.fields, "model": used.site.model}).encode()
    return UpstreamRequest(f"https://{used.site.name}.test/v1/x", {"authorization": f"Bearer {used.key}"}, body, 10.0)


def network(day: Day, clock: virtual.VirtualClock) -> tuple[Network, Judge]:
    judge = Judge(day)
    return Network(day, TWO_HOURS, {f"https://{name}.test/v1": name for name in SITES}, judge, clock), judge


def test_a_call_takes_time_and_its_answer_comes_in_pieces() -> None:
    request = next(request for request in TWO_HOURS if "stream" in request.fields)

    async def one_call(clock: virtual.VirtualClock) -> None:
        upstream, judge = network(DAY, clock)
        answer = await upstream.send(outgoing(GROQ, request))
        assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream")
        head_at = clock.monotonic()
        assert 0.1 < head_at < 1.1
        pieces = []
        while piece := await answer.chunk():
            pieces.append(piece)
        assert len(pieces) > 1
        assert pieces[-1].endswith(b"data: [DONE]\n\n")
        assert clock.monotonic() > head_at
        assert (judge.tallies["groq"].calls, judge.tallies["groq"].served) == (1, 1)

    virtual.run(START, one_call)


def test_an_outage_and_a_lie_come_when_they_should() -> None:
    down = next(account for account in ACCOUNTS if account.site.name == DAY.down)
    liar = next(account for account in ACCOUNTS if account.site.name == DAY.liar)

    async def calls(clock: virtual.VirtualClock) -> None:
        upstream, judge = network(DAY, clock)
        await clock.until(DAY.lies_at)
        refused = await upstream.send(outgoing(liar, TWO_HOURS[0]))
        assert (refused.status, refused.headers["retry-after"]) == (429, "1555200")
        assert (await upstream.send(outgoing(liar, TWO_HOURS[1]))).status == 200
        await clock.until(DAY.down_from)
        seen = Counter[str]()
        for request in TWO_HOURS[:20]:
            try:
                seen[str((await upstream.send(outgoing(down, request))).status)] += 1
            except ConnectFailed:
                seen["refused"] += 1
        assert set(seen) == {"500", "refused"}
        assert judge.tallies[down.site.name].failed == {OUTAGE: 20}
        assert judge.tallies[liar.site.name].refused == {LIE: 1}

    virtual.run(START, calls)


# The judge


def test_a_failure_with_a_free_slot_is_found() -> None:
    judge, request = Judge(DAY), TWO_HOURS[0]
    judge.unserved(request, request.at)
    (failure,) = judge.failures
    assert failure.had_room
    assert failure.lack is None
    assert failure.account is GROQ
    assert not judge.contested(failure)


def test_a_slot_that_another_takes_at_the_end_of_ones_patience_is_no_loss() -> None:
    judge, request, other = Judge(DAY), TWO_HOURS[0], TWO_HOURS[1]
    judge.unserved(request, request.deadline)
    judge.sent(other, GROQ, request.deadline + 0.5)
    assert judge.contested(judge.failures[0])


def test_a_recovered_account_is_unused_from_the_first_request_that_it_could_have_had_to_the_last() -> None:
    judge = Judge(DAY)
    first, second, third = TWO_HOURS[:3]
    judge.sent(first, GROQ, START)
    judge.known(first, GROQ)
    judge.lied(GROQ, START)
    for at, request in ((10.0, second), (100.0, third)):
        judge.sent(request, MISTRAL, START + at)
        judge.known(request, MISTRAL)
        judge.admitted(request, MISTRAL, START + at)
    judge.sent(first, GROQ, START + 150.0)
    assert judge.late == [Late("groq", LIE, 90.0, 60.0)]
    assert judge.late[0].beyond == 30.0
    assert {(request.number, passed.credential) for request, passed in judge.passed_over} >= {(1, "groq/GROQ_1")}


# Whole days


@pytest.mark.parametrize("configured", [False, True])
def test_the_same_seed_gives_the_same_day(configured: bool) -> None:
    days = [play(Day.of(7, 0.6), configured=configured) for _ in range(2)]
    assert days[0] == days[1]
    found = days[0]
    assert found.requests > 50
    assert found.served + found.failed == found.requests
    assert found.failed == found.avoidable + found.contested + found.outrun + found.hopeless
    assert sum(tally.served for tally in found.tallies.values()) == found.served
    assert sum(tally.refused.total() for tally in found.tallies.values()) == found.refused


def test_bars_are_missed_by_the_worst_day() -> None:
    fine = Figures(seeds=[1], requests=1000, served=995, placed=1000, refused=9)
    assert all(bar.holds for bar in bars([fine], configured=True))
    wasteful = Figures(seeds=[2], requests=1000, served=1000, placed=1000, refused=11)
    assert [bar.holds for bar in bars([fine, wasteful], configured=True)] == [True, True, False, True]
    assert all(bar.holds for bar in bars([fine, wasteful], configured=False))
    bad = Figures(seeds=[3], requests=1000, served=980, placed=1000, free_soon=1, late=[Late("groq", LIE, 130, 60)])
    assert [bar.holds for bar in bars([fine, bad], configured=False)] == [False, False, True, False]


def test_days_add_up() -> None:
    days = [Figures(seeds=[n], requests=10, served=9, placed=10, waits=[float(n)], free_now=1) for n in (1, 2)]
    both = total(days)
    assert (both.seeds, both.requests, both.served, both.avoidable, both.waits) == ([1, 2], 20, 18, 2, [1.0, 2.0])
    assert "seed 2" in table(days, configured=False)
    assert as_json(both)["share"] == 90.0


@pytest.mark.parametrize(
    ("values", "share", "expected"), [([], 0.5, 0.0), ([3.0], 0.95, 3.0), ([1.0, 2.0, 3.0], 0.5, 2.0)]
)
def test_percentile(values: list[float], share: float, expected: float) -> None:
    assert percentile(values, share) == pytest.approx(expected)


def test_seeds_are_read_as_people_write_them() -> None:
    assert seeds("1-3,7") == [1, 2, 3, 7]


def test_the_command_prints_keeps_and_judges(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "figures.json"
    status = main(["--seeds", "4", "--hours", "0.2", "--json", str(file), "--bars"])
    kept = json.loads(file.read_text(encoding="utf-8"))
    assert status == int(not all(bar["holds"] for bar in kept["bars"]))
    assert kept["days"][0]["seeds"] == [4]
    assert "served by the oracle" in capsys.readouterr().out
