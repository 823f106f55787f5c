"""How many tokens a request will take, before it is sent: by its bytes, calibrated by what its model really used."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from chain429.routing.limits import Need
from chain429.routing.saved import Json, members, number

# UTF-8 bytes of the body per token of the prompt, and tokens of an answer, until something is known.
_BYTES = 4.0
_OUTPUT = 256.0
# How much one request moves what is known.
_WEIGHT = 0.2
# An answer is taken to be so much longer than usual: being short of tokens costs a refused call. Each call that is
# refused for it makes the margin wider, each that is served a little narrower: so about one in a hundred is refused,
# however much the lengths of a model's answers differ.
_MARGIN, _WIDEST = 1.25, 8.0
_WIDER, _NARROWER = 1.25, 0.998
# How fast the extremes are forgotten: a text that took few tokens for its bytes (an image in it takes very few), and an
# answer that was short.
_FADING = 0.01
# Short bodies are mostly JSON around the prompt: they tell nothing.
_TELLING = 200
_MOST = 10_000
# Between these are the bytes of a token, whatever a provider counts; and no answer is longer than that.
_LEAST, _LARGEST = 1.0, 16.0
_MOST_OUTPUT = 1e7


@dataclass(slots=True)
class _Alike:
    """What is known of requests whose bodies are of like length."""

    bytes: float  # of a token
    output: float  # tokens of an answer
    shortest: float = 0.0  # answer that was seen lately


@dataclass(slots=True)
class _Model:
    bytes: float = _BYTES
    output: float = _OUTPUT
    margin: float = _MARGIN
    sparsest: float = _LARGEST  # the most bytes of a token that were seen lately
    shortest: ClassVar[float] = 0.0  # of bodies of a length that was never seen
    alike: dict[int, _Alike] = field(default_factory=dict)  # by how many bits the body's length has

    def saved(self) -> Json:
        return {
            "bytes": self.bytes,
            "output": self.output,
            "margin": self.margin,
            "sparsest": self.sparsest,
            "alike": {str(bits): [one.bytes, one.output, one.shortest] for bits, one in self.alike.items()},
        }

    @classmethod
    def restored(cls, saved: object) -> _Model:
        """From what ``saved`` gave; what is not sound is as of a model that nothing is known of."""
        found = dict(members(saved))
        return cls(
            _within(_LEAST, _LARGEST, found.get("bytes"), _BYTES),
            _within(0.0, _MOST_OUTPUT, found.get("output"), _OUTPUT),
            _within(_MARGIN, _WIDEST, found.get("margin"), _MARGIN),
            _within(_LEAST, math.inf, found.get("sparsest"), _LARGEST),
            dict(_alike(found.get("alike"))),
        )


def _alike(saved: object) -> Iterator[tuple[int, _Alike]]:
    for bits, known in members(saved):
        if bits.isdecimal() and len(bits) < 3 and isinstance(known, list) and len(known) == 3:
            yield (
                int(bits),
                _Alike(
                    _within(_LEAST, _LARGEST, known[0], _BYTES),
                    _within(0.0, _MOST_OUTPUT, known[1], _OUTPUT),
                    _within(0.0, _MOST_OUTPUT, known[2], 0.0),
                ),
            )


def _within(least: float, most: float, saved: object, usual: float) -> float:
    found = number(saved)
    return found if found is not None and least <= found <= most else usual


_UNKNOWN = _Model()


class Estimates:
    """What is known of each model's tokens, by the model's id at its provider."""

    def __init__(self) -> None:
        self._models: dict[str, _Model] = {}
        # A request is estimated twice in a row: to find its target, and to be sent there.
        self._last: tuple[str, Need, bool, Need] | None = None

    def need(self, model: str, need: Need, *, up_front: bool) -> Need:
        """``need`` with its tokens as ``model`` would count them.

        ``up_front``: the provider charges all that the request allows to be made, whether or not it is.
        """
        last = self._last
        if last is not None and last[1] is need and last[0] == model and last[2] is up_front:
            return last[3]
        known = self._models.get(model) or _UNKNOWN
        # Whole tokens: sums of them are exact, so what is held by leases returns to zero.
        alike = known.alike.get(need.size.bit_length()) or known
        output, shortest = float(math.ceil(alike.output * known.margin)), alike.shortest
        if need.most is not None:
            most = float(need.most)
            output, shortest = (most, most) if up_front else (min(output, most), min(shortest, most))
        prompt = float(math.ceil(need.size / alike.bytes))
        least = float(math.floor(max(need.size - _TELLING, 0) / known.sparsest + shortest))
        found = Need(prompt + output, need.size, output, need.most, least, need.wants)
        self._last = (model, need, up_front, found)
        return found

    def learn(
        self, model: str, size: int, tokens_in: int | None, tokens_out: int | None, most: int | None = None
    ) -> None:
        """A request of ``size`` bytes, which allowed ``most`` to be made, took so many tokens."""
        self._last = None
        if len(self._models) >= _MOST and model not in self._models:
            self._models.clear()
        known = self._models.setdefault(model, _Model())
        # Long ones differ from short ones: less of them is JSON around the text, and who says much is answered in
        # other lengths than who says little.
        alike = known.alike.setdefault(size.bit_length(), _Alike(known.bytes, known.output))
        if tokens_in and size >= _TELLING:
            density = min(max(size / tokens_in, _LEAST), _LARGEST)
            known.bytes += _WEIGHT * (density - known.bytes)
            alike.bytes += _WEIGHT * (density - alike.bytes)
            faded = known.sparsest + _FADING * (known.bytes - known.sparsest)
            known.sparsest = max((size - _TELLING) / tokens_in, faded)
        if tokens_out and (most is None or tokens_out < most):  # one that was cut tells nothing
            known.output += _WEIGHT * (tokens_out - known.output)
            alike.output += _WEIGHT * (tokens_out - alike.output)
            alike.shortest = min(tokens_out, alike.shortest + _FADING * (alike.output - alike.shortest))
        known.margin = max(known.margin * _NARROWER, _MARGIN)

    def too_low(self, model: str) -> None:
        """A request was refused for its tokens, though it should have fitted."""
        self._last = None
        known = self._models.get(model)
        if known is not None:
            known.margin = min(known.margin * _WIDER, _WIDEST)

    def saved(self) -> dict[str, Json]:
        """What is known of each model, for ``restore``."""
        return {model: known.saved() for model, known in self._models.items()}

    def restore(self, saved: object) -> None:
        """Go on from what ``saved`` gave, as far as that is sound."""
        self._last = None
        for model, known in members(saved):
            if len(self._models) < _MOST:
                self._models[model] = _Model.restored(known)
