from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain429.routing.estimate import Estimates
from chain429.routing.limits import Need


def test_before_anything_is_known_four_bytes_are_a_token_and_answers_are_of_middling_length() -> None:
    need = Estimates().need("m1", Need(size=4001), up_front=False)
    assert need == Need(tokens=1001 + 320, size=4001, output=320, least=(4001 - 200) // 16)
    assert need.of("tokens") == 1321
    assert need.of("input_tokens") == 1001
    assert need.of("output_tokens") == 320


@pytest.mark.parametrize(
    ("most", "up_front", "output"),
    [(None, False, 320), (None, True, 320), (50, False, 50), (50, True, 50), (9000, False, 320), (9000, True, 9000)],
)
def test_what_a_request_allows_to_be_made_bounds_it_or_is_charged_as_a_whole(
    most: int | None, up_front: bool, output: int
) -> None:
    assert Estimates().need("m1", Need(size=400, most=most), up_front=up_front).output == output


def test_what_a_model_really_took_moves_its_estimate_and_no_other() -> None:
    estimates = Estimates()
    for _ in range(100):
        estimates.learn("m1", 8000, 4000, 1000)
    need = estimates.need("m1", Need(size=2000), up_front=False)
    assert need.of("input_tokens") == pytest.approx(1000, abs=2)
    assert need.output == pytest.approx(1250, abs=2)
    assert estimates.need("m2", Need(size=2000), up_front=False).of("input_tokens") == 500


def test_one_odd_request_moves_it_little() -> None:
    estimates = Estimates()
    estimates.learn("m1", 4000, 1, 1)
    assert estimates.need("m1", Need(size=4000), up_front=False).of("input_tokens") > 500


@pytest.mark.parametrize(("size", "tokens"), [(199, (3, None)), (4000, (None, None)), (4000, (0, 0))])
def test_what_tells_nothing_changes_nothing(size: int, tokens: tuple[int | None, int | None]) -> None:
    estimates = Estimates()
    before = estimates.need("m1", Need(size=4000), up_front=False)
    estimates.learn("m1", size, *tokens)
    assert estimates.need("m1", Need(size=4000), up_front=False) == before


def test_names_without_end_are_forgotten() -> None:
    estimates = Estimates()
    for number in range(10_001):
        estimates.learn(f"made-up-{number}", 4000, 4000, None)
    assert estimates.need("made-up-0", Need(size=4000), up_front=False).of("input_tokens") == 1000
    assert estimates.need("made-up-10000", Need(size=4000), up_front=False).of("input_tokens") > 1000


@given(
    st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 10**6), st.integers(0, 10**5)), max_size=30),
    st.integers(0, 10**7),
    st.none() | st.integers(0, 10**6),
    st.booleans(),
)
def test_an_estimate_is_of_whole_tokens_and_within_reason(
    script: list[tuple[int, int, int]], size: int, most: int | None, up_front: bool
) -> None:
    estimates = Estimates()
    for learned in script:
        estimates.learn("m1", *learned)
    need = estimates.need("m1", Need(size=size, most=most), up_front=up_front)
    assert need.tokens.is_integer()
    assert need.output.is_integer()
    assert size / 16 <= need.tokens - need.output <= size + 1
    assert most is None or need.output <= most


def learned(*seen: tuple[int, int, int], most: int | None = None, times: int = 60) -> Estimates:
    """After many requests of so many bytes, tokens, and tokens made."""
    estimates = Estimates()
    for _ in range(times):
        for size, tokens_in, tokens_out in seen:
            estimates.learn("m1", size, tokens_in, tokens_out, most)
    return estimates


def test_requests_of_other_lengths_are_estimated_by_their_like() -> None:
    estimates = learned((500, 100, 20), (16_000, 4000, 1500))
    short, long = (estimates.need("m1", Need(size=size), up_front=False) for size in (500, 16_000))
    assert short.tokens - short.output == pytest.approx(100, abs=1)
    assert long.tokens - long.output == 4000
    assert short.output == pytest.approx(25, abs=1)
    assert long.output == 1875
    unseen = estimates.need("m1", Need(size=100_000), up_front=False)
    assert 100_000 / 5 <= unseen.tokens - unseen.output <= 100_000 / 4, "all together tell of what has no like"


def test_an_answer_that_was_cut_tells_nothing_of_what_is_usual() -> None:
    estimates = learned((4000, 1000, 16), most=16)
    assert estimates.need("m1", Need(size=4000), up_front=False).output == 320


def test_the_least_that_a_request_takes_is_what_the_like_took_at_the_least() -> None:
    assert Estimates().need("m1", Need(size=4200), up_front=False).least == (4200 - 200) // 16
    estimates = learned((4200, 1000, 300), (4200, 1000, 40), times=300)
    assert 950 <= estimates.need("m1", Need(size=4200), up_front=False).least <= 1040
    estimates.learn("m1", 4200, 500, 10)
    assert 500 <= estimates.need("m1", Need(size=4200), up_front=False).least <= 510


def test_an_image_takes_few_tokens_for_its_bytes_and_that_is_remembered_for_a_while() -> None:
    estimates = learned((4000, 1000, 300))
    estimates.learn("m1", 400_000, 1000, 300)
    assert estimates.need("m1", Need(size=400_000), up_front=False).least <= 1300
    for _ in range(1000):
        estimates.learn("m1", 4000, 1000, 300)
    assert estimates.need("m1", Need(size=4000), up_front=False).least > 1000


def test_what_is_charged_up_front_is_sure_to_be_taken() -> None:
    assert Estimates().need("m1", Need(size=1800, most=2000), up_front=True).least == 2000 + 100
    assert Estimates().need("m1", Need(size=1800, most=2000), up_front=False).least == 100


def test_refusals_widen_the_margin_and_answers_narrow_it_again() -> None:
    estimates = learned((4000, 1000, 400))
    usual = estimates.need("m1", Need(size=4000), up_front=False).output
    estimates.too_low("m1")
    assert estimates.need("m1", Need(size=4000), up_front=False).output == pytest.approx(usual * 1.25, abs=1)
    for _ in range(100):
        estimates.too_low("m1")
    assert estimates.need("m1", Need(size=4000), up_front=False).output == pytest.approx(400 * 8, abs=1)
    for _ in range(2000):
        estimates.learn("m1", 4000, 1000, 400)
    assert estimates.need("m1", Need(size=4000), up_front=False).output == usual
    estimates.too_low("m2")
    assert estimates.need("m2", Need(size=4000), up_front=False).output == 320


@given(st.lists(st.tuples(st.integers(200, 10**6), st.integers(1, 10**5), st.integers(1, 10**5)), min_size=1))
def test_the_least_of_what_was_seen_last_is_no_more_than_it_took(seen: list[tuple[int, int, int]]) -> None:
    estimates = learned(*seen, times=1)
    size, tokens_in, tokens_out = seen[-1]
    assert estimates.need("m1", Need(size=size), up_front=False).least <= tokens_in + tokens_out
