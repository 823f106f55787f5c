"""The first page: is anything wrong, where does the next request go, what is left until when, what did it save."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aiohttp import web

from chain429.clock import Clock
from chain429.routing.status import Status
from chain429.web.pages.frame import Frame, Page
from chain429.web.view import Views


class Overview:
    """``status`` is called with the time; ``dropped`` says how many requests the log lost."""

    def __init__(
        self, frame: Frame, views: Views, status: Callable[[float], Status], dropped: Callable[[], int], clock: Clock
    ) -> None:
        self._frame = frame
        self._views = views
        self._status = status
        self._dropped = dropped
        self._clock = clock

    def pages(self) -> tuple[Page, ...]:
        return (Page("/", "Overview", self.show), Page("/fragment", "", self.renew, part=True))

    async def show(self, request: web.Request) -> web.Response:
        return await self._frame.page(request, "overview.html", self._values())

    async def renew(self, request: web.Request) -> web.Response:
        return await self._frame.part("fragment.html", self._values())

    def _values(self) -> Callable[[], Mapping[str, object]]:
        # The state is the event loop's own; the log is asked in a thread.
        now = self._clock.now()
        status, dropped = self._status(now), self._dropped()
        return lambda: self._views.of(status, dropped, now)
