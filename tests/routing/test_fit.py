from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain429.routing.fit import UNKNOWN, Ability, Capabilities, Models, excess, lack

maybe = st.none() | st.booleans()
sizes = st.none() | st.integers(1, 10**7)
capabilities = st.builds(Capabilities, maybe, maybe, maybe, maybe, sizes, sizes)


def models(
    *,
    told: dict[str, Capabilities] | None = None,
    usual: dict[str, Capabilities] | None = None,
    listed: dict[str, Capabilities] | None = None,
) -> Models:
    return Models(tuple((told or {}).items()), tuple((usual or {}).items()), listed or {})


def test_of_a_model_that_nobody_speaks_of_nothing_is_known() -> None:
    assert Models().of("m") == UNKNOWN == (None, None, None, None, None, None)


def test_a_user_goes_before_the_list_and_the_list_before_what_is_usual() -> None:
    known = models(
        told={"m": Capabilities(tools=True)},
        listed={"m": Capabilities(tools=False, images=True)},
        usual={"m": Capabilities(tools=False, images=False, context=8000)},
    )
    assert known.of("m") == Capabilities(tools=True, images=True, context=8000)
    # Even a glob of the user goes before what is said of that very model.
    assert models(told={"*": Capabilities(tools=True)}, listed={"m": Capabilities(tools=False)}).of("m").tools is True


def test_an_exact_id_goes_before_globs_and_of_these_the_first_that_says_something() -> None:
    known = models(
        usual={
            "qwen*": Capabilities(tools=True, output=100),
            "*": Capabilities(tools=False, images=False, output=200),
            "qwen-vl": Capabilities(output=300),
        }
    )
    assert known.of("qwen-vl") == Capabilities(tools=True, images=False, output=300)
    assert known.of("qwen-3") == Capabilities(tools=True, images=False, output=100)
    assert known.of("llama") == Capabilities(tools=False, images=False, output=200)
    assert known.of("Qwen-vl") == known.of("llama")


def test_an_id_with_the_signs_of_a_glob_is_found_by_itself() -> None:
    assert models(usual={"opus[1m]": Capabilities(context=1_000_000)}).of("opus[1m]").context == 1_000_000


def test_another_list_takes_the_place_of_the_one_before() -> None:
    before = models(usual={"*": Capabilities(tools=True)}, listed={"m": Capabilities(context=10)})
    assert before.of("m").context == 10
    after = before.listing({"n": Capabilities(context=20)})
    assert (after.of("m"), after.of("n")) == (Capabilities(tools=True), Capabilities(tools=True, context=20))
    assert before.of("m").context == 10


def test_names_without_end_are_forgotten_and_asked_for_anew() -> None:
    known = models(usual={"m-*": Capabilities(tools=False)})
    assert all(known.of(f"m-{number}").tools is False for number in range(2500))
    assert known.of("m-0").tools is False
    assert known.of("other") == UNKNOWN


@given(capabilities, capabilities, capabilities)
def test_what_is_known_by_either_is_known_and_the_order_of_merging_does_not_matter(
    one: Capabilities, two: Capabilities, three: Capabilities
) -> None:
    both = one.over(two)
    for mine, theirs, found in zip(one, two, both, strict=True):
        assert found == (theirs if mine is None else mine)
    assert both.over(three) == one.over(two.over(three))
    assert one.over(UNKNOWN) == one == UNKNOWN.over(one) == one.over(one)


@pytest.mark.parametrize(
    ("capabilities", "wants", "lacking"),
    [
        (UNKNOWN, ("tools", "images", "schema"), None),
        (Capabilities(tools=True, images=True, schema=True), ("tools", "images", "schema"), None),
        (Capabilities(tools=False), ("tools",), "it calls no tools"),
        (Capabilities(images=False), ("images",), "it takes no images"),
        (Capabilities(schema=False), ("schema",), "it does not answer by a JSON schema"),
        (Capabilities(tools=False, images=False), ("images",), "it takes no images"),
        (Capabilities(tools=False, images=False), (), None),
        (Capabilities(tools=True, images=False), ("tools", "images"), "it takes no images"),
        (Capabilities(reasoning=False, context=1, output=1), ("tools",), None),
    ],
)
def test_only_a_clear_no_to_what_is_wanted_speaks_against_a_model(
    capabilities: Capabilities, wants: tuple[Ability, ...], lacking: str | None
) -> None:
    assert lack(capabilities, wants) == lacking


@pytest.mark.parametrize(
    ("context", "output", "prompt", "most", "words"),
    [
        (None, None, 1e9, None, None),
        (1000, None, 1000.0, None, None),
        # An estimate may be a quarter too high.
        (1000, None, 1250.0, None, None),
        (1000, None, 1251.0, None, "it takes 1000 tokens, and this request has about 1251"),
        (1000, None, 500.0, 600, None),
        (1000, None, 500.0, 601, "it takes 1000 tokens, and this request has about 500 and allows 601 more"),
        # More than the model makes is not asked for.
        (1000, 600, 500.0, 9000, None),
        (1000, 601, 500.0, 9000, "it takes 1000 tokens, and this request has about 500 and allows 601 more"),
        (1000, 601, 500.0, None, None),
    ],
)
def test_a_request_is_too_long_where_prompt_and_answer_do_not_fit_together(
    context: int | None, output: int | None, prompt: float, most: int | None, words: str | None
) -> None:
    assert excess(Capabilities(context=context, output=output), prompt, most) == words


@given(capabilities, st.floats(0, 1e7), st.none() | st.integers(0, 10**7))
def test_what_fits_still_fits_where_less_is_asked_for(known: Capabilities, prompt: float, most: int | None) -> None:
    if excess(known, prompt, most) is None:
        assert excess(known, prompt / 2, most) is None
        assert excess(known, prompt, None) is None
