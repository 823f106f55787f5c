"""The yardstick: the least that a relay in Python can do with the same libraries, aiohttp's server and pooled client.

``python -m scripts.benchmark.relay URL`` passes what is asked of it on to URL, and prints its own. It checks nothing,
learns nothing, and has neither time-outs nor a log.
"""

from __future__ import annotations

import asyncio
import sys

import aiohttp
from aiohttp import web


class Relay:
    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = {name: request.headers[name] for name in ("Authorization", "Content-Type")}
        url = self._url + request.path.removeprefix("/v1")
        async with self._session.post(url, data=await request.read(), headers=headers) as answer:
            passed_on = {"Content-Type": answer.headers["Content-Type"]}
            if answer.content_type != "text/event-stream":
                return web.Response(status=answer.status, headers=passed_on, body=await answer.read())
            response = web.StreamResponse(status=answer.status, headers=passed_on)
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response


async def main(url: str) -> None:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        runner = web.ServerRunner(web.Server(Relay(session, url).handle, access_log=None))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(f"http://127.0.0.1:{runner.addresses[0][1]}/v1", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
