"""What holds for all tests: a property is not false because the machine was slow.

CHAIN429_EXAMPLES says how many examples a property is tried with, where it does not say so itself. They are the same in
each run, so that what passed once passes again; with CHAIN429_RANDOM=1 they are others each time.
"""

from __future__ import annotations

import gc
import os

from hypothesis import settings

settings.register_profile(
    "chain429",
    deadline=None,
    max_examples=int(os.environ.get("CHAIN429_EXAMPLES", "10")),
    derandomize=not os.environ.get("CHAIN429_RANDOM"),
)
settings.load_profile("chain429")


def pytest_collection_finish() -> None:
    """What is there now will stay, so the garbage collector need not look at it again and again."""
    gc.collect()
    gc.freeze()
