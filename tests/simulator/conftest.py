from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from chain429.simulator import Simulator
from tests.simulator.fakes import FakeClock


@pytest.fixture
async def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def sim(clock: FakeClock) -> AsyncIterator[Simulator]:
    async with Simulator(clock) as simulator:
        yield simulator
