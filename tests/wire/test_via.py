from __future__ import annotations

import pytest

from chain429.wire.via import mark, onward

OWN, OTHER = mark("a1"), mark("b2")


@pytest.mark.parametrize(
    ("via", "sent"),
    [
        ("", OWN),
        (OTHER, f"{OTHER}, {OWN}"),
        # Whom else a request has passed is nobody's business.
        (f"1.1 office.example, {OTHER},1.0 fred", f"{OTHER}, {OWN}"),
        (OWN, None),
        (f"{OTHER} ,{OWN}, 1.1 office.example", None),
        (f"{OWN}0", f"{OWN}0, {OWN}"),
    ],
)
def test_what_is_sent_on(via: str, sent: str | None) -> None:
    assert onward(via, OWN) == sent


def test_two_gateways_that_lead_to_each_other_are_a_loop() -> None:
    first = onward("", OWN)
    second = onward(first or "", OTHER)
    assert onward(second or "", OWN) is None
