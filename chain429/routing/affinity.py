"""Where conversations were served last, so that they can go on where their prompt is cached."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace

from chain429.routing.chain import Chain, Entry, Strategy, Target

# Seconds. Providers keep an unused prompt for five minutes at least, and for an hour at most.
_WARM = 300.0
_COLD = 3600.0
# For no longer than this a conversation stays below a target that the chain puts first.
_LONGEST_BELOW = 3600.0
_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Home:
    """The target that has a conversation's prompt in its cache.

    It goes first while it is available and no target of ``yields_to`` is; else the order of the chain counts.
    """

    entry: Entry
    target: Target
    yields_to: tuple[Entry, ...]


@dataclass(slots=True)
class _Place:
    target: Target
    since: float  # when the conversation came there
    used: float


class Affinity:
    """Remembers for each conversation the target that served it last, and says what that is worth.

    The rule: a request with history goes to the target that served its conversation last, if that is available now.
    Within its tier, and among the keys of one model, it comes first for an hour after its last use. It comes before
    available targets of higher tiers only within five minutes of its last use, and for an hour in all, so that no
    conversation stays on a lower tier for long; and only if none of them costs less (free or one's own, then trial
    credit, then paid). It never comes before a key that ``strategy: priority`` puts first. A request without history
    goes where the chain says; where it went is remembered, unless its conversation was under way elsewhere within the
    last five minutes.

    Each chain remembers its own. In all it is 10,000 conversations at most, those that were used last.
    """

    def __init__(self) -> None:
        self._places: OrderedDict[tuple[str, int], _Place] = OrderedDict()  # the one used longest ago first

    def __len__(self) -> int:
        return len(self._places)

    def home(self, chain: Chain, key: int, now: float) -> Home | None:
        """Where the conversation is to go on, if that is known and still in the chain. Costs no more than a look-up
        where it is not known."""
        place = self._places.get((chain.name, key))
        if place is None or not 0 <= now - place.used < _COLD:
            return None
        target = place.target
        lasting = now - place.used < _WARM and 0 <= now - place.since < _LONGEST_BELOW
        above: list[Entry] = []
        for tier in chain.tiers:
            for entry in tier:
                if entry.model == target.model and entry.provider.id == target.provider and target in entry.targets:
                    if lasting:  # or else whatever is above goes first
                        above = [one for one in above if one.cost < entry.cost]
                    return Home(entry, target, (*above, *_preferred(entry, target)))
            above += tier
        return None

    def remember(self, chain: Chain, key: int, target: Target, now: float, *, begun: bool) -> None:
        """The conversation was served by ``target``. ``begun``: the request had an answer in it already."""
        place = self._places.get((chain.name, key))
        if place is None:
            self._forget(now)
            self._places[chain.name, key] = _Place(target, now, now)
            return
        idle = now - place.used
        if not begun and place.target != target and 0 <= idle < _WARM:
            return
        if place.target != target or not 0 <= idle < _COLD:
            place.target, place.since = target, now
        place.used = now
        self._places.move_to_end((chain.name, key))

    def _forget(self, now: float) -> None:
        """Make room for one more, and let go of what is cold."""
        while self._places:
            oldest = next(iter(self._places.values()))
            if len(self._places) < _MOST and 0 <= now - oldest.used < _COLD:
                return
            self._places.popitem(last=False)


def _preferred(entry: Entry, target: Target) -> tuple[Entry, ...]:
    """The keys of the same model that the user puts before that of ``target``, as an entry of their own."""
    if entry.provider.strategy is not Strategy.PRIORITY or len(entry.targets) == 1:
        return ()
    priorities = {credential.id: credential.priority for credential in entry.provider.credentials}
    own = priorities[target.credential]
    before = tuple(other for other in entry.targets if priorities[other.credential] < own)
    return (replace(entry, targets=before),) if before else ()
