from __future__ import annotations

import pytest

from chain429.routing.chain import Chain, Cost, Credential, Entry, Provider


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
