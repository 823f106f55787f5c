from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chain429.simulator.seals import seal, unwrap, vouches, wrap


@given(st.text())
def test_whoever_sealed_it_knows_it_again(reasoning: str) -> None:
    assert vouches("a", reasoning, seal("a", reasoning))
    assert not vouches("b", reasoning, seal("a", reasoning))
    assert not vouches("a", reasoning + "x", seal("a", reasoning))


@given(st.text(st.characters(codec="utf-8")))
def test_what_is_wrapped_up_comes_out_again(reasoning: str) -> None:
    wrapped = wrap("a", reasoning)
    assert unwrap("a", wrapped) == reasoning
    assert unwrap("b", wrapped) is None
    assert unwrap("a", wrapped[:-4]) is None


@given(st.none() | st.text() | st.integers())
def test_anything_else_is_nobodys(given_: object) -> None:
    assert unwrap("a", given_) is None
    assert not vouches("a", "x", given_)
