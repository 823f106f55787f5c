"""How many tokens a request will take, before it is sent: by its bytes, calibrated by what its model really used."""

from __future__ import annotations

import math
from dataclasses import dataclass

from chain429.routing.limits import Need

# UTF-8 bytes of the body per token of the prompt, and tokens of an answer, until something is known.
_BYTES = 4.0
_OUTPUT = 256.0
# How much one request moves what is known.
_WEIGHT = 0.2
# An answer is taken to be so much longer than usual: being short of tokens costs a refused call.
_MARGIN = 1.25
# Short bodies are mostly JSON around the prompt: they tell nothing.
_TELLING = 200
_MOST = 10_000


@dataclass(slots=True)
class _Model:
    bytes: float = _BYTES
    output: float = _OUTPUT


_UNKNOWN = _Model()


class Estimates:
    """What is known of each model's tokens, by the model's id at its provider."""

    def __init__(self) -> None:
        self._models: dict[str, _Model] = {}

    def need(self, model: str, need: Need, *, up_front: bool) -> Need:
        """``need`` with its tokens as ``model`` would count them.

        ``up_front``: the provider charges all that the request allows to be made, whether or not it is.
        """
        known = self._models.get(model) or _UNKNOWN
        # Whole tokens: sums of them are exact, so what is held by leases returns to zero.
        output = float(math.ceil(known.output * _MARGIN))
        if need.most is not None:
            output = float(need.most) if up_front else min(output, float(need.most))
        return Need(math.ceil(need.size / known.bytes) + output, need.size, output, need.most)

    def learn(self, model: str, size: int, tokens_in: int | None, tokens_out: int | None) -> None:
        """A request of ``size`` bytes took so many tokens."""
        if len(self._models) >= _MOST and model not in self._models:
            self._models.clear()
        known = self._models.setdefault(model, _Model())
        if tokens_in and size >= _TELLING:
            known.bytes += _WEIGHT * (min(max(size / tokens_in, 1.0), 16.0) - known.bytes)
        if tokens_out:
            known.output += _WEIGHT * (tokens_out - known.output)
