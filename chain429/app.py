"""The one place that wires the objects together, and that reads the environment's folders.

``launch`` does everything a front (mitmproxy's addon, the command line, a test) needs: find the configuration, build,
listen. ``App.stop`` undoes it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import secrets
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chain429 import __version__, folders, log
from chain429.clock import Clock
from chain429.config import DEFAULT_CHAIN, OBSERVE, Config, is_loopback, load, parse, unused_keys
from chain429.config_file import ConfigFile, Document, Edit
from chain429.engine import Call, Engine, Reply
from chain429.errors import ConfigError, RequestError, StartError
from chain429.memory import Memory
from chain429.metrics import Metrics, Tally
from chain429.models import ModelLists
from chain429.pricing import Pricer, list_prices
from chain429.redact import Redactor
from chain429.routing.chain import Entry
from chain429.routing.ledger import Ledger
from chain429.routing.status import ChainStatus, ProviderStatus, Status
from chain429.simulator import Simulator
from chain429.store.pruning import Retention
from chain429.store.queries import Queries
from chain429.store.writer import Store
from chain429.upstream import HttpUpstream, Upstream
from chain429.vault import MASTER_KEY, Vault
from chain429.warmth import Warmth
from chain429.web.api import Api
from chain429.web.auth import Doors, Peer, digest, kept_token
from chain429.web.covered import Handover, Origin, Taken
from chain429.web.own import OwnKeys
from chain429.web.pages import pages_app
from chain429.web.server import Listener, api_runner, pages_runner
from chain429.web.through import Through
from chain429.wire.via import mark

_log = logging.getLogger("chain429.app")

# How long requests under way may go on when the process is asked to stop.
DRAIN_SECONDS = 30.0
# A process that is killed loses what it learned within so many seconds.
KEEP_SECONDS = 30.0
_WATCH_SECONDS = 2.0
# For so long lines of the request log gather.
_LOG_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Options:
    """What a front was told. Addresses are ``host:port`` and win over the configuration's; None means not told.

    ``drain`` is how many seconds requests under way may go on at the end, ``keep`` how many lie between two times that
    what was learned is kept on the disk.
    """

    config: Path | None = None
    data_dir: Path | None = None
    listen: str | None = None
    pages: str | None = None
    debug: bool = False
    drain: float = DRAIN_SECONDS
    keep: float = KEEP_SECONDS


def find_config(options: Options, environ: Mapping[str, str]) -> Path | None:
    """See ``folders.find_config``."""
    return folders.find_config(options.config, environ)


def data_folder(options: Options, environ: Mapping[str, str]) -> Path:
    """See ``folders.data_folder``."""
    return folders.data_folder(options.data_dir, environ)


def templates_folder() -> Path:
    """Where the pages' templates are: in the package when installed, beside it in a checkout."""
    package = Path(__file__).parent
    installed = package / "_templates"
    return installed if installed.is_dir() else package.parent / "templates"


class App:
    """Everything that runs. Made by ``launch``; ``stop`` ends it, letting requests under way finish first.

    ``proxied`` holds the proxy's open connections to the API, which it vouches for, ``relayed`` those among them whose
    requests it has not looked at, with where these were going, ``handed`` what it took out of others; it sets
    ``refusal``, which says why nobody is taken to an IP address and port. ``new_admin`` tells that the admin token was
    made at this start."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        *,
        options: Options,
        environ: Mapping[str, str],
        redact: Redactor,
        path: Path | None,
        data: Path,
        vault: Vault,
        upstream: Upstream | None = None,
        simulator: Simulator | None = None,
    ) -> None:
        self.config = config
        self._configured_hosts = config.proxy_hosts
        self.path = path
        self.data = data
        self.proxied: set[Peer] = set()
        self.relayed: dict[Peer, Origin] = {}
        self.handed = Handover[Taken]()
        self.refusal: Callable[[str, int], str | None] = lambda host, port: None
        self.client_token, _ = kept_token(data / "client-token", "c429_")
        self.admin_token, self.new_admin = kept_token(data / "admin-token", "c429admin_")
        self.redact = redact
        redact.know([self.client_token, self.admin_token, *_revealed(config)])
        self.ledger = Ledger(config.breaker)
        self.ledger.configure(config.breaker, config.providers.values())
        self.store = Store(folders.log_file(data), clock, self.redact)
        self.store.price = Pricer(config)
        self.store.retention = Retention(config.log_seconds, config.log_bytes)
        self.memory = Memory(config, self.ledger, self.store, clock, options.keep)
        self.lists = ModelLists(self.store, clock, self._relist)
        self.simulator = simulator
        self.vault = vault
        self.file = ConfigFile(path or folders.new_config(environ), self._checked, self._first_text)
        self._options = options
        self._environ = environ
        self._editing = asyncio.Lock()
        self._clock = clock
        self._started = clock.now()
        self._via = mark(secrets.token_hex(4))
        self._http = HttpUpstream(clock, self._via) if upstream is None else None
        # A pool of its own: its connections are made for whoever uses the proxy.
        self._through = HttpUpstream(clock, self._via, self._refused)
        tally = Tally(lambda: self.config, redact)
        self.metrics = Metrics(tally, self.status, self.ledger.in_flight, self.store, clock)
        self.log = log.RequestLog(self.store, _soon, tally.count)
        self.engine = Engine(config, self.ledger, upstream or self._http_upstream(), self.log, clock, self.redact)
        self._own_keys = OwnKeys()
        self._doors = self._make_doors()
        self._seen = _stamp(path)
        self._tasks: list[asyncio.Task[None]] = []
        self.api: Listener | None = None
        self.pages: Listener | None = None

    def _http_upstream(self) -> HttpUpstream:
        assert self._http is not None
        return self._http

    def _make_doors(self) -> Doors:
        return Doors(
            [self.client_token, *(token.reveal() for token in self.config.tokens)],
            self.proxied,
            self.relayed,
            trust_loopback=self.config.trust_loopback,
            own_keys=self._own_keys,
            handed=self.handed,
        )

    def _refused(self, host: str, port: int) -> str | None:
        return self.refusal(host, port)

    def _is_token(self, text: str) -> bool:
        return self._doors.is_token(text)

    def knows(self, headers: Mapping[str, str]) -> bool:
        """Whether a client token is among these headers."""
        return self._doors.client(headers) is not None

    def lend(self, headers: Mapping[str, str], host: str) -> str | None:
        """See ``Doors.lend``; None where no provider at ``host`` is called with the callers' own keys."""
        return self._doors.lend(headers, host) if host in self.config.passing else None

    async def start(self) -> None:
        """Open the log and the listeners. Raises StartError; then nothing is left open."""
        log.choose(json=self.config.log_json)
        try:
            self.store.open()
            if not self.config.simulated:
                self.memory.recall()
                self.lists.recall()
                self._relist()
            if self._http:
                await self._http.open()
            await self._through.open()
            api = Api(
                self.engine,
                lambda: self.config,
                lambda: self._doors,
                self.log,
                self._clock,
                self.health,
                f"it is kept in {self.data / 'client-token'}",
                self._via,
                Through(self._through, lambda: self.config, self._is_token, self.log, self._clock),
            )
            host, port = _address(self._options.listen) or self.config.listen
            runner = api_runner(api.handle, max_body=lambda: self.config.max_body, drain=self._options.drain)
            self.api = await Listener.start(runner, host, port, "the API")
            host, port = _address(self._options.pages) or self.config.pages
            self.pages = await self._start_pages(host, port)
        except BaseException:
            await self.stop()
            raise
        loop = asyncio.get_running_loop()
        self._tasks.append(loop.create_task(self._watch()))
        # What the simulator taught is of no use: it begins anew, too.
        if not self.config.simulated:
            self._tasks += [loop.create_task(run) for run in self._lasting()]
        for warning in self.config.warnings:
            _log.warning("%s", warning)

    async def _start_pages(self, host: str, port: int) -> Listener:
        hosts = frozenset({"127.0.0.1", "localhost", "[::1]", host})
        assert self.api
        app = pages_app(
            self.status,
            Queries(self.store.path, on_damage=self.store.suspect),
            self.store,
            digest(self.admin_token),
            self._clock,
            hosts,
            templates_folder(),
            clear=self.clear,
            gateway=self,
            api_url=f"{self.api.url}/v1",
            priced=list_prices().checked,
            token_file=str(self.data / "client-token"),
            scrape=self.metrics.scrape,
        )
        listener = await Listener.start(pages_runner(app, drain=1.0), host, port, "the pages' server")
        with suppress(OSError):  # whoever looks for it there will say that nothing is running
            folders.pages_file(self.data).write_text(listener.url, encoding="ascii")
        return listener

    async def stop(self) -> None:
        """Take no new requests, let those under way finish for up to the drain time, then close everything."""
        keeping = self.api is not None and not self.config.simulated
        if keeping:
            self.memory.keep()  # already now: who asks a second time does not wait for the end
        if self.pages and folders.running_pages(self.data) == self.pages.url:
            folders.pages_file(self.data).unlink(missing_ok=True)
        for listener in (self.api, self.pages):
            if listener:
                await listener.stop()
        self.api = self.pages = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        if self._http:
            await self._http.close()
        await self._through.close()
        if self.simulator:
            await self.simulator.stop()
            self.simulator = None
        if keeping:
            self.memory.keep()
        self.log.flush()
        await asyncio.to_thread(self.store.close)

    async def _watch(self) -> None:
        while True:
            await self._clock.sleep(_WATCH_SECONDS)
            stamp = _stamp(self.path)
            if stamp and stamp != self._seen:
                self._seen = stamp
                self.reload()

    def reload(self) -> bool:
        """Take over the configuration file as it is now; if it is wrong, say so and go on with the old one."""
        if self.path is None:
            return False
        try:
            config = load(self.path, self._environ, self.vault.get)
        except ConfigError as error:
            _log.error("the configuration was not reloaded, the old one goes on:\n%s", error)
            return False
        assert config is not None
        self._adopt(config)
        _log.info("the configuration was reloaded: %s", self.path)
        return True

    def use(self, path: Path) -> None:
        """Take over another configuration file. Raises ConfigError; then the old one goes on."""
        config = load(path, self._environ, self.vault.get)
        assert config is not None
        self.path, self.file = path, ConfigFile(path, self._checked, self._first_text)
        self._seen = _stamp(path)
        self._adopt(config)

    async def edit(self, change: Edit, version: str | None = None) -> Document:
        """Change the configuration's file and take the result over at once; see ``ConfigFile.change``."""
        return await self._edited(lambda: self.file.change(change, version))

    async def replace_config(self, text: str, version: str | None = None) -> Document:
        """Put another text in the place of the configuration's file, likewise."""
        return await self._edited(lambda: self.file.replace(text, version))

    async def _edited(self, write: Callable[[], tuple[Document, Config]]) -> Document:
        async with self._editing:
            document, config = await asyncio.to_thread(write)
            self.path = self.file.path
            self._seen = _stamp(self.path)
            self._adopt(config)
        _log.info("the configuration was changed: %s", self.path)
        return document

    def _checked(self, text: str, path: Path) -> Config:
        return parse(text, self._environ, file=str(path), secrets=self.vault.get)

    def _first_text(self) -> str:
        """What a file begins with where there is none: the chain that keys in the environment make, if they do."""
        if self.config.simulated or self.path is not None:
            return ""
        providers = "".join(f"  {name}: {{}}\n" for name in self.config.providers)
        chains = "".join(
            f"  {name}:\n" + "".join(f"    - {entry.name}\n" for tier in chain.tiers for entry in tier)
            for name, chain in self.config.chains.items()
        )
        return f"providers:\n{providers}\nchains:\n{chains}"

    def _adopt(self, config: Config) -> None:
        """From now on requests are served by this configuration; those under way finish by the old one."""
        if (config.listen, config.pages) != (self.config.listen, self.config.pages):
            _log.warning("a changed 'listen' or 'pages' takes effect at the next start")
        begins = self.config.simulated and not config.simulated
        self.config = config = self.lists.adopt(config)
        log.choose(json=config.log_json)
        self._configured_hosts = config.proxy_hosts
        self.redact.know(_revealed(config))
        self.ledger.configure(config.breaker, config.providers.values())
        self.memory.adopt(config)
        self.store.price = Pricer(config)
        self.store.retention = Retention(config.log_seconds, config.log_bytes)
        self.engine.adopt(config)
        self._doors = self._make_doors()
        if begins and self._tasks:
            loop = asyncio.get_running_loop()
            self._tasks += [loop.create_task(run) for run in self._lasting()]

    def _relist(self) -> None:
        """Go on with what the providers' lists of models say now."""
        self.config = self.lists.adopt(self.config)
        self.engine.adopt(self.config)

    def _lasting(self) -> list[Coroutine[Any, Any, None]]:
        """What goes on while there are real providers."""
        if self._http is None:
            return [self.memory.run()]
        warmth = Warmth(self._http, lambda: self.config, self._clock)
        return [self.memory.run(), self.lists.run(self._http), warmth.run()]

    def clear(self, name: str, credential: str | None = None) -> tuple[str, ...]:
        """Forget what speaks against the target ``provider/model``, with one of its credentials or with all of them.

        Returns the credentials. Raises RequestError where no chain has the target and nobody ever asked for it."""
        config = self.config
        provider, _, model = name.partition("/")
        chains = [target for chain in config.chains.values() for target in chain.targets]
        named = Entry.of(config.providers[provider], model).targets if provider in config.providers and model else ()
        known = [target for target in named if target in chains or self.ledger.seen(target)]
        if not known:
            names = dict.fromkeys(f"{target.provider}/{target.model}" for target in chains)
            raise RequestError(f"There is no target {name!r}. There are: {', '.join(names)}.", status=404)
        meant = [target for target in known if credential in (None, target.credential)]
        if not meant:
            credentials = ", ".join(target.credential for target in known)
            raise RequestError(f"{name!r} has no credential {credential!r}. It has: {credentials}.", status=404)
        self.engine.clear(meant)
        _log.info("cleared by hand: %s", ", ".join(map(str, meant)))
        return tuple(target.credential for target in meant)

    def reset_breaker(self, provider: str) -> None:
        """Close a provider's circuit breaker; whoever waits may try it at once."""
        self.engine.reset_breaker(provider)
        _log.info("the circuit breaker was closed by hand: %s", provider)

    def switch(self, chain: str, host: str | None = None) -> tuple[str, ...]:
        """Have requests that come to the proxy for a covered ``host``, or for all that are not observed, go down
        ``chain``; empty: where the configuration sends them. A configuration that is loaded anew undoes it.

        Returns the hosts. Raises RequestError where there is no such chain or no such host."""
        config = self.config
        if chain and chain not in config.chains:
            raise RequestError(f"There is no chain {chain!r}. There are: {', '.join(config.chains)}.", status=404)
        hosts = config.proxy_hosts
        if host is not None and host not in hosts:
            raise RequestError(f"The host {host!r} is not covered. Covered are: {', '.join(hosts)}.", status=404)
        meant = [name for name, use in hosts.items() if name == host or (host is None and use != OBSERVE)]
        uses = {name: chain or self._configured_hosts[name] for name in meant}
        self.config = dataclasses.replace(config, proxy_hosts={**hosts, **uses})
        _log.info("switched by hand: %s to %s", ", ".join(meant), chain or "what is configured")
        return tuple(meant)

    async def ask(self, call: Call) -> Reply:
        """See ``Engine.run``."""
        return await self.engine.run(call)

    async def get(self, url: str, headers: Mapping[str, str], timeout: float) -> tuple[int, bytes]:  # noqa: ASYNC109
        """See ``HttpUpstream.get``."""
        return await self._http_upstream().get(url, headers, timeout)

    def status(self, now: float) -> Status:
        """How everything stands."""
        config = self.config
        chains = tuple(self._redacted(self.ledger.status(chain, now)) for chain in config.chains.values())
        problems: list[str] = []
        for chain in chains:
            targets = [target for tier in chain.tiers for target in tier]
            if not any(target.ready for target in targets):
                problems.append(f"No target of chain '{chain.name}' is available.")
        refused = {target.credential for chain in chains for tier in chain.tiers for target in tier
                   if target.state == "refused"}  # fmt: skip
        problems += [f"The provider refuses the key {credential}." for credential in sorted(refused)]
        open_breakers = [name for name in config.providers if self.ledger.breaker(name).state(now) != "closed"]
        problems += [f"{config.endpoints[name].name} is failing: {self.ledger.breaker(name).last_reason}."
                     for name in open_breakers]  # fmt: skip
        problems += self.lists.missing
        if self.store.failure:
            problems.append(self.store.failure)
        return Status(
            healthy=not problems,
            problems=tuple(self.redact(problem) for problem in problems),
            chains=chains,
            providers=tuple(
                ProviderStatus(name, endpoint.name, endpoint.tier, self.ledger.breaker(name).state(now), endpoint.terms)
                for name, endpoint in config.endpoints.items()
            ),
            started=self._started,
            version=__version__,
            simulated=config.simulated,
        )

    def _redacted(self, chain: ChainStatus) -> ChainStatus:
        """Providers may repeat a key in what they say."""
        tiers = [[dataclasses.replace(target, reason=self.redact(target.reason)) if target.reason else target
                  for target in tier] for tier in chain.tiers]  # fmt: skip
        return ChainStatus(chain.name, tuple(map(tuple, tiers)))

    def health(self) -> dict[str, object]:
        """The body of ``GET /health``."""
        now = self._clock.now()
        status = self.status(now)
        return {
            "status": "ok" if status.healthy else "degraded",
            "version": __version__,
            "uptime": round(now - self._started),
            "simulated": status.simulated,
            "log": self.store.failure or "ok",
            "chains": {
                chain.name: {
                    "targets": sum(len(tier) for tier in chain.tiers),
                    "available": sum(target.ready for tier in chain.tiers for target in tier),
                }
                for chain in status.chains
            },
            "breakers": {provider.id: provider.breaker for provider in status.providers},
        }


def _soon(call: Callable[[], None]) -> object:
    return asyncio.get_running_loop().call_later(_LOG_SECONDS, call)


async def launch(options: Options, environ: Mapping[str, str], clock: Clock, redact: Redactor) -> App:
    """A running App. Without a configuration and without any key it runs on the simulator.

    ``redact`` is told every secret, and may already be at work in the log. Raises ConfigError and StartError, with
    nothing left running."""
    path = find_config(options, environ)
    data = data_folder(options, environ)
    vault = Vault(data, environ.get(MASTER_KEY))
    config = load(path, environ, vault.get)
    simulator: Simulator | None = None
    if config is None:
        simulator = Simulator(clock=clock, token_delay=0.02)
        await simulator.start()
        config = dataclasses.replace(simulated_config(simulator.base_url), warnings=unused_keys(environ))
    try:
        app = App(
            config,
            clock,
            options=options,
            environ=environ,
            redact=redact,
            path=path,
            data=data,
            vault=vault,
            simulator=simulator,
        )
    except BaseException:
        if simulator:
            await simulator.stop()
        raise
    await app.start()
    return app


_DEMO = """
providers:
  groq:       {{keys: [env:KEY], base_url: {groq}}}
  cerebras:   {{keys: [env:KEY], base_url: {cerebras}}}
  gemini:     {{keys: [env:KEY], base_url: {gemini}}}
  openrouter: {{keys: [env:KEY], base_url: {openrouter}}}
  mistral:    {{keys: [env:KEY], base_url: {mistral}}}
chains:
  default:
    - groq/openai/gpt-oss-120b
    - [cerebras/gpt-oss-120b, "openrouter/openai/gpt-oss-20b:free"]
    - gemini/gemini-2.5-flash
    - mistral/mistral-small-2603
  fast: [cerebras/gpt-oss-120b, groq/openai/gpt-oss-20b]
aliases: {{gpt-4o: default, gpt-4o-mini: fast, "gpt-*": default, "claude-*": default}}
"""


def simulated_config(base_url: Callable[[str], str]) -> Config:
    """The demo: a chain over simulated providers."""
    names = ("groq", "cerebras", "gemini", "openrouter", "mistral")
    text = _DEMO.format(**{name: base_url(name) for name in names})
    config = parse(text, {"KEY": "sim-demo-key"}, file="the simulator")
    return dataclasses.replace(config, simulated=True)


def banner(app: App, proxy: str | None, reverse: Iterable[str] = ()) -> str:
    """What is printed at the start: what listens where, and what to paste. ``proxy`` is the proxy's URL, if there is
    one, ``reverse`` those of reverse proxies that lead here."""
    assert app.api
    assert app.pages
    config = app.config
    chain = config.chains[DEFAULT_CHAIN]
    lines = [f"chain429 {__version__}"]
    if config.simulated:
        key = "provider's key that can be used" if config.warnings else "provider's key"
        lines += [
            "",
            f"  SIMULATED PROVIDERS: no configuration file and no {key} was found, so a built-in simulator",
            "  answers. Set GROQ_API_KEY (or another provider's key), or write chain429.yaml, and start again.",
            *(f"  {warning}." for warning in config.warnings),
        ]
    pages = app.pages.url + (f"/login#{app.admin_token}" if app.new_admin else "")
    lines += [
        "",
        f"  API      {app.api.url}/v1",
        f"  pages    {pages}",
        f"           the admin token is kept in {app.data / 'admin-token'}",
    ]
    if proxy:
        hosts = [f"{host} (observed)" if use == OBSERVE else host for host, use in config.proxy_hosts.items()]
        lines.append(f"  proxy    {proxy} (as HTTPS_PROXY; serves {', '.join(hosts)})")
    lines += [f"  reverse  {url}/v1 (as base URL)" for url in reverse]
    lines += [
        f"  token    {app.client_token}",
        f"  config   {config.source}",
        f"  data     {app.data}",
        f"  default  {' > '.join(' = '.join(entry.name for entry in tier) for tier in chain.tiers)}",
    ]
    if not all(is_loopback(listener.host) for listener in (app.api, app.pages)):
        lines.append("  NOTE     listening beyond this machine: whoever has the token can spend your quota")
    lines += [f"  terms    {endpoint.name}: {endpoint.terms}" for endpoint in config.endpoints.values()
              if endpoint.terms and not config.simulated]  # fmt: skip
    lines += [
        "",
        "Try it:",
        "",
        f"curl {app.api.url}/v1/chat/completions -H 'Authorization: Bearer {app.client_token}' \\",
        '  -H \'Content-Type: application/json\' -d \'{"model": "default", "messages": '
        '[{"role": "user", "content": "Hello"}]}\'',
        "",
        "# pip install openai, then in Python:",
        "from openai import OpenAI",
        f'client = OpenAI(base_url="{app.api.url}/v1", api_key="{app.client_token}")',
        'stream = client.chat.completions.create(model="default", stream=True, '
        'messages=[{"role": "user", "content": "Hello"}])',
        'for chunk in stream: print(chunk.choices[0].delta.content or "", end="", flush=True)',
        "",
    ]
    return "\n".join(lines)


def _revealed(config: Config) -> list[str]:
    return [secret.reveal() for secret in config.secrets()]


def _address(text: str | None) -> tuple[str, int] | None:
    if not text:
        return None
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise StartError(f"{text!r} is not an address such as 127.0.0.1:4290")
    return host.strip("[]"), int(port)


def _stamp(path: Path | None) -> tuple[int, int] | None:
    """What changes when a file does; None where there is no file."""
    try:
        found = path.stat() if path else None
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size) if found else None
