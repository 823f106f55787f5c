"""What holds for all tests: a property is not false because the machine was slow."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("chain429", deadline=None)
settings.load_profile("chain429")
