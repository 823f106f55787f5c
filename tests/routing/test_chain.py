from __future__ import annotations

import pytest

from chain429.routing.chain import (
    CALLERS,
    Chain,
    Cost,
    Credential,
    Entry,
    Provider,
    configured_account,
    is_callers,
)


def entry(keys: int = 1) -> Entry:
    return Entry.of(Provider("a", tuple(Credential(f"a{number}", f"a:{number}") for number in range(keys))), "m")


@pytest.mark.parametrize(
    ("tier", "free_models", "model", "cost"),
    [
        (Cost.FREE, (), "m", Cost.FREE),
        (Cost.PAID, (), "m", Cost.PAID),
        (Cost.FREE, ("*:free", "router"), "m:free", Cost.FREE),
        (Cost.FREE, ("*:free", "router"), "router", Cost.FREE),
        (Cost.FREE, ("*:free", "router"), "m", Cost.PAID),
    ],
)
def test_what_a_model_costs(tier: Cost, free_models: tuple[str, ...], model: str, cost: Cost) -> None:
    provider = Provider("a", (Credential("a1", "a:1"),), cost=tier, free_models=free_models)
    assert Entry.of(provider, model).cost is cost


@pytest.mark.parametrize(
    ("tiers", "keeps"),
    [
        (((entry(),),), False),
        (((entry(2),),), True),
        (((entry(), entry()),), True),
        (((entry(),), (entry(),)), True),
    ],
)
def test_conversations_are_kept_where_there_is_a_choice(tiers: tuple[tuple[Entry, ...], ...], keeps: bool) -> None:
    assert Chain("c", tiers).keeps is keeps
    assert not Chain("c", tiers, affinity=False).keeps


def test_each_caller_has_accounts_of_its_own_at_the_provider_that_takes_its_key() -> None:
    stored, own = Credential("a/K", "a:k"), Credential("a/passthrough", f"{CALLERS}a")
    passing, other = Provider("a", (stored, own)), Provider("b", (Credential("b/K", "b:k"),))
    tiers = ((Entry.of(other, "m"),), (Entry.of(passing, "m"),))
    chain = Chain("default", tiers, passing="a")
    mine, yours = chain.of_caller("mine"), chain.of_caller("yours")
    assert [target.account for target in mine.targets] == ["b:k", "a:k", "~a#mine"]
    assert [target.account for target in yours.targets] == ["b:k", "a:k", "~a#yours"]
    assert [target.credential for target in mine.targets] == [target.credential for target in chain.targets]
    assert mine.tiers[0] is chain.tiers[0]
    assert (mine.name, mine.caller, chain.caller) == ("default", "mine", "")
    accounts = [target.account for target in (*chain.targets, *mine.targets)]
    assert [configured_account(account) for account in accounts] == ["b:k", "a:k", "~a"] * 2
    assert [passing.passing, other.passing] == [True, False]


@pytest.mark.parametrize("account", ["a:k", "a:with#sign", "a:~"])
def test_no_configured_account_is_taken_for_a_callers(account: str) -> None:
    assert not is_callers(account)
    assert configured_account(account) == account
