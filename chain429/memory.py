"""What was learned, over a restart: brought to the store every so often and at the end, taken back at the start.

What is learned, and what of it still holds later, is the ledger's matter; how it gets to the disk, the store's.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping

from chain429.clock import Clock
from chain429.config import Config
from chain429.errors import StoreError
from chain429.routing.ledger import Ledger
from chain429.routing.saved import Json, members
from chain429.store.writer import Store

_log = logging.getLogger("chain429.memory")

# The name of all this in the store.
LEARNED = "learned"


class Memory:
    """Takes what ``ledger`` learned to ``store`` and back.

    ``recall`` before the first request, ``run`` while there are any, ``keep`` after the last; ``adopt`` when the
    configuration was reloaded. ``interval`` is how many seconds of it a killed process may lose.
    """

    def __init__(self, config: Config, ledger: Ledger, store: Store, clock: Clock, interval: float) -> None:
        self._marks = _marks(config)
        self._accounts = _accounts(config)
        self._ledger = ledger
        self._store = store
        self._clock = clock
        self._interval = interval
        self._saving = False

    def recall(self) -> None:
        """Take back what was kept, as far as it can be read and still holds. Never raises."""
        try:
            kept = dict(members(self._store.kept(LEARNED)))
        except StoreError as error:
            _log.warning("what was learned before this start can't be used, so it begins anew: %s", error)
            return
        if not kept:
            return
        wrong = self._ledger.restore(kept.get("ledger"), self._clock.now())
        if wrong:
            _log.warning("what was learned before this start is not used, so it begins anew: %s", wrong)
            return
        self._forget_changed(dict(members(kept.get("marks"))))

    def adopt(self, config: Config) -> None:
        """Go on under a new configuration. A key that was replaced is a new key, whatever the old one met."""
        before, self._marks = self._marks, _marks(config)
        self._accounts = _accounts(config)
        self._forget_changed(before)

    def _forget_changed(self, before: Mapping[str, object]) -> None:
        changed = {id for id, mark in self._marks.items() if before.get(id, mark) != mark}
        if changed:
            self._ledger.forget(changed | {self._accounts[id] for id in changed if id in self._accounts})

    async def run(self) -> None:
        """Keep what is learned, every so often, until cancelled."""
        while True:
            await self._clock.sleep(self._interval)
            if self._ledger.changed:
                self._saving = True
                learned: dict[str, Json] = {}
                for _ in self._ledger.save(learned, self._clock.now()):
                    await self._clock.sleep(0)  # requests go first
                self._hand_over(learned)

    def keep(self) -> None:
        """Keep what was learned since it was kept last."""
        if self._ledger.changed or self._saving:
            self._hand_over(self._ledger.snapshot(self._clock.now()))

    def _hand_over(self, learned: Mapping[str, Json]) -> None:
        self._store.keep(LEARNED, {"marks": self._marks, "ledger": learned})
        self._saving = False


def _marks(config: Config) -> dict[str, str]:
    """What tells, by the id of a provider or a credential, whether it is still the same server and the same key."""
    marks: dict[str, str] = {}
    for provider, endpoint in config.endpoints.items():
        marks[provider] = _mark(endpoint.base_url)
        for credential, secret in endpoint.secrets.items():
            marks[credential] = _mark(endpoint.base_url, secret.reveal() if secret else "")
    return marks


def _mark(*parts: str) -> str:
    # A piece of a digest: enough to tell two keys from each other, too little to find one.
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _accounts(config: Config) -> dict[str, str]:
    """The account of each credential, by its id."""
    return {key.id: key.account for provider in config.providers.values() for key in provider.credentials}
