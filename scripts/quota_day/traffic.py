"""Who asks for what, when: a day's requests, by seed.

The rhythm of a working day, a few busy quarters of an hour, and bursts such as agents make; mostly short prompts, some
long ones, one in eight in a script whose letters take more bytes on the wire than in the count of tokens.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from chain429.simulator.answers import compose
from scripts.quota_day.world import Day, Site

PATIENCE = 30.0  # seconds that a client gives its request to find a free slot

_PER_MINUTE = 3.8  # on the average of a day
_SWING = 0.85
_PEAK = 8.0  # hours after the start
_HOUR = math.tau / 24  # as an angle
_BURSTS_PER_HOUR = 0.9
_BURST_SECONDS = 5.0
_QUARTERS_PER_HOUR = 0.25
_QUARTER_SECONDS = 900.0
_QUARTER_FACTOR = 2.5
# Each word is streamed as one piece: long ones keep the number of pieces down.
_LATIN = "-".join(["lorem-ipsum-dolor-sit-amet-consectetur-adipiscing-elit"] * 4) + " "
_GREEK = "".join(chr(code) for code in range(0x3B1, 0x3C9)) * 2
_ANSWERS = (64, 256, 512, 1024, 2048)


@dataclass(frozen=True, slots=True)
class Request:
    """One request. ``body`` is what the client sends; ``number`` is found again at the beginning of its prompt."""

    number: int
    at: float
    body: bytes
    fields: dict[str, Any]
    _costs: dict[str, int] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"req_{self.number}"

    @property
    def deadline(self) -> float:
        return self.at + PATIENCE

    def cost(self, site: Site) -> int:
        """How many tokens a provider charges for it when it admits it."""
        found = self._costs.get(site.name)
        if found is None:
            answer = compose(self.fields, f"{site.name}/{site.model}")
            found = self._costs[site.name] = site.dialect.cost(self.fields, answer)
        return found


def number_of(fields: Any) -> int:
    """Which request a body belongs to that came out at the other end."""
    return int(fields["messages"][0]["content"].partition(" ")[0].removeprefix("#"))


def requests(day: Day) -> list[Request]:
    """All requests of a day, by arrival."""
    dice = random.Random(f"{day.seed}/traffic")
    return [_request(number, at, dice) for number, at in enumerate(sorted(_arrivals(day, dice)))]


def _arrivals(day: Day, dice: random.Random) -> Iterator[float]:
    hours = (day.end - day.start) / 3600.0
    quarters = [dice.uniform(day.start, day.end) for _ in range(_number(_QUARTERS_PER_HOUR * hours, dice))]
    most = _PER_MINUTE / 60.0 * (1.0 + _SWING) * _QUARTER_FACTOR
    now = day.start
    while (now := now + dice.expovariate(most)) < day.end:
        rate = _PER_MINUTE / 60.0 * (1.0 + _SWING * math.cos(((now - day.start) / 3600.0 - _PEAK) * _HOUR))
        if any(begin <= now < begin + _QUARTER_SECONDS for begin in quarters):
            rate *= _QUARTER_FACTOR
        if dice.random() * most < rate:
            yield now
    for _ in range(_number(_BURSTS_PER_HOUR * hours, dice)):
        begin = dice.uniform(day.start, day.end - _BURST_SECONDS)
        for _ in range(dice.randint(15, 45)):
            yield begin + dice.uniform(0.0, _BURST_SECONDS)


def _number(expected: float, dice: random.Random) -> int:
    """``expected``, with its fraction as the chance of one more."""
    return int(expected) + (dice.random() < expected % 1)


def _request(number: int, at: float, dice: random.Random) -> Request:
    tokens = _prompt_tokens(dice)
    message = {"role": "user", "content": _text(number, tokens, dice)}
    fields: dict[str, Any] = {"model": "default", "messages": [message]}
    if dice.random() < 0.5:
        fields["stream"] = True
    if dice.random() < 0.25:
        fields["max_tokens"] = dice.choice(_ANSWERS)
    return Request(number, at, json.dumps(fields).encode(), fields)


def _prompt_tokens(dice: random.Random) -> int:
    kind = dice.random()
    if kind < 0.75:
        return dice.randint(20, 300)
    return dice.randint(300, 1500) if kind < 0.93 else dice.randint(2000, 6000)


def _text(number: int, tokens: int, dice: random.Random) -> str:
    size = tokens * 4
    if dice.random() < 0.125:
        return f"#{number} " + (_GREEK * (size // len(_GREEK) + 1))[: size // 2]
    return f"#{number} " + (_LATIN * (size // len(_LATIN) + 1))[:size]
