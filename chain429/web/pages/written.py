"""The configuration as the pages that change it show it: the file as it is now, or what is wrong with it.

What is shown is what ``GET config`` of the admin API answers, so a page and a script see the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from chain429.config import check_data
from chain429.errors import ConfigError, Fault
from chain429.web.admin import Gateway
from chain429.web.admin.shown import shown


@dataclass(frozen=True, slots=True)
class Written:
    """``told`` is the body of ``GET config``; empty where ``faults`` say why there is none. ``source`` is the file,
    which need not be there yet."""

    told: Mapping[str, Any]
    source: str
    faults: tuple[Fault, ...] = ()

    @classmethod
    def of(cls, gateway: Gateway) -> Written:
        """Reads the file: to be called in a thread."""
        file = gateway.file
        try:
            document = file.read()
            return cls(shown(document, check_data(document.data, str(file.path)), gateway.config), str(file.path))
        except ConfigError as error:
            redact = gateway.redact
            faults = [Fault(redact(one.message), redact(one.key), one.line) for one in error.faults]
            return cls({}, str(file.path), tuple(faults))

    def values(self, make: Callable[[Mapping[str, Any]], Mapping[str, object]]) -> dict[str, object]:
        """What a template is given: what ``make`` makes of the configuration, if there is one that can be read."""
        common = {
            "source": self.source,
            "faults": self.faults,
            "config_version": self.told.get("version", ""),
            "simulated": self.told.get("simulated", False),
        }
        return {**common, **(make(self.told) if self.told else {})}
