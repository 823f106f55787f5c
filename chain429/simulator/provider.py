"""One simulated provider: its keys, its limits, what is scripted for it, and the decision about each request.

The decision is synchronous and takes ``now``; it gives a ``Reply``, which the server plays out.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from chain429.errors import RequestError
from chain429.simulator.answers import Dictated, compose, max_tokens
from chain429.simulator.dialect import Dialect, Turn
from chain429.simulator.faults import Arguments, Fault, arguments_of, faults_of
from chain429.simulator.limits import Limits, Pace, Quota
from chain429.simulator.reply import Reply

# Keys are made up by callers, so what is kept of them is bounded.
_QUOTAS = 1_000
_SCRIPTS = 1_000
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass(slots=True, eq=False)
class Scripted:
    """A fault that is to happen ``times`` more times, to requests for ``model`` or for any."""

    fault: Fault
    arguments: Arguments
    times: int
    model: str | None


@dataclass(slots=True, eq=False)
class ScriptedAnswer:
    """What is to be answered ``times`` more times, to requests for ``model`` or for any."""

    dictated: Dictated
    times: int
    model: str | None


class SimulatedProvider:
    """One provider. ``keys`` are those that it knows besides all that begin with ``sim-``."""

    def __init__(self, dialect: Dialect, pace: Pace) -> None:
        self.dialect = dialect
        self.name = dialect.name
        self.path = dialect.path
        self.keys: set[str] = set()
        self.options: Mapping[str, bool] = dialect.options
        self._pace = pace
        self._serial = itertools.count(1)
        self._script: deque[Scripted] = deque()
        self._answers: deque[ScriptedAnswer] = deque()
        self._quotas: OrderedDict[tuple[str, str], Quota] = OrderedDict()
        self._limits: dict[str, Limits] = {}
        self.reset()

    @property
    def models(self) -> Mapping[str, Limits]:
        """The models that it serves, each with the limits of the bucket that it counts in."""
        return {model: self._limits[self.dialect.bucket(model)] for model in self.dialect.models}

    def reset(self) -> None:
        """Free limits, nothing used, nothing scripted, no key registered."""
        self._limits = {self.dialect.bucket(model): limits for model, limits in self.dialect.models.items()}
        self._quotas.clear()
        self._script.clear()
        self._answers.clear()
        self.keys.clear()
        self.options = self.dialect.options

    def set_options(self, changes: Mapping[str, object]) -> None:
        """Switch some of its options; see ``Dialect.options``."""
        for name, value in changes.items():
            if name not in self.dialect.options:
                known = ", ".join(self.dialect.options) or "none"
                raise RequestError(f"{self.name} has no option {name!r}; it has: {known}", param=name)
            if not isinstance(value, bool):
                raise RequestError(f"{name} must be true or false", param=name)
            self.options = {**self.options, name: value}

    def set_limits(self, model: str | None, changes: Mapping[str, object]) -> None:
        """Change limits of one model, or of all; those that are not named stay. What was used of them is forgotten."""
        buckets = list(self._limits) if model is None else [self.dialect.bucket(model)]
        if model is not None and model not in self.dialect.models:
            known = ", ".join(self.dialect.models)
            raise RequestError(f"{self.name} has no model {model!r}; it has: {known}", param="model")
        self._limits |= {bucket: self._limits[bucket].changed(changes) for bucket in buckets}
        for key in [key for key in self._quotas if key[1] in buckets]:
            del self._quotas[key]

    def script(self, fault: str, times: int = 1, model: str | None = None, **arguments: object) -> None:
        """Let the next ``times`` requests (for ``model``) run into a fault, after those that were scripted before.

        A request that is refused for its key, its own faults or a limit does not use one up.
        """
        known = faults_of(self.dialect)
        if fault not in known:
            raise RequestError(f"{self.name} has no fault {fault!r}; it has: {', '.join(known)}", param="fault")
        if times < 1:
            raise RequestError("times must be at least 1", param="times")
        if len(self._script) >= _SCRIPTS:
            raise RequestError(f"more than {_SCRIPTS} faults are waiting already")
        self._script.append(Scripted(known[fault], arguments_of(known[fault], arguments), times, model))

    def script_answer(self, dictated: Dictated, times: int = 1, model: str | None = None) -> None:
        """Let the next ``times`` answers (of ``model``) be this one, after those that were scripted before."""
        if times < 1:
            raise RequestError("times must be at least 1", param="times")
        if len(self._answers) >= _SCRIPTS:
            raise RequestError(f"more than {_SCRIPTS} answers are waiting already")
        self._answers.append(ScriptedAnswer(dictated, times, model))

    def list_models(self, key: str | None) -> Reply:
        """The reply to a request for the list of models."""
        refusal = None if self.dialect.lists_to_all else self._refuse_key(key)
        return refusal or self.dialect.model_list(self.dialect.models)

    def respond(self, key: str | None, body: object, now: float, headers: Mapping[str, str] = _NO_HEADERS) -> Reply:
        """The reply to a request for an answer. ``body`` is its JSON, or None when it was none."""
        turn = self._turn(key, body, now, headers)
        if isinstance(turn, Reply):
            return turn
        dialect, model, quota = self.dialect, turn.model, turn.quota
        scripted = self._next_fault(model)
        if scripted and scripted.fault.refuse:
            if dialect.counts_failures and (exceeded := quota.admit(now, 0)):
                return dialect.limited(exceeded, turn)
            self._spend(scripted)
            return scripted.fault.refuse(dialect, turn, scripted.arguments)
        if refused := self._check(turn):
            return refused
        chat = dialect.in_chat(turn.body)
        told = next((each for each in self._answers if each.model in (None, model)), None)
        dictated = told.dictated if told else None
        answer = compose(chat, f"{self.name}/{model}", reasons=dialect.reasons(turn), dictated=dictated)
        most = max_tokens(chat) or 0
        if dialect.context is not None and answer.prompt_tokens + most > dialect.context:
            return dialect.too_long(answer.prompt_tokens, most)
        cost = dialect.cost(turn.body, answer)
        if exceeded := quota.admit(now, cost, answer.prompt_tokens, answer.completion_tokens):
            return dialect.limited(exceeded, turn)
        if told:
            told.times -= 1
            if told.times == 0:
                self._answers.remove(told)
        reply = dialect.answer(answer, turn)
        if scripted and scripted.fault.bend:
            self._spend(scripted)
            return scripted.fault.bend(reply, dialect, turn, scripted.arguments)
        return reply

    def beside(
        self, path: str, key: str | None, body: object, now: float, headers: Mapping[str, str] = _NO_HEADERS
    ) -> Reply:
        """The reply to a request at one of ``Dialect.others``; a scripted refusal is one here, too."""
        turn = self._turn(key, body, now, headers)
        if isinstance(turn, Reply):
            return turn
        dialect, scripted = self.dialect, self._next_fault(turn.model)
        if scripted and scripted.fault.refuse:
            self._spend(scripted)
            return scripted.fault.refuse(dialect, turn, scripted.arguments)
        if turn.model not in dialect.models:
            return dialect.unknown_model(turn.model)
        if exceeded := turn.quota.admit(now, 0):
            return dialect.limited(exceeded, turn)
        return dialect.others[path](dialect, turn)

    def count(self, key: str | None, body: object, now: float, headers: Mapping[str, str] = _NO_HEADERS) -> Reply:
        """The reply to a request that only asks how many tokens it is; that counts against no limit."""
        turn = self._turn(key, body, now, headers)
        return turn if isinstance(turn, Reply) else self.dialect.counted(turn)

    def _turn(self, key: str | None, body: object, now: float, headers: Mapping[str, str]) -> Turn | Reply:
        """The request; or the refusal of whom it comes from, or of what is no request at all."""
        dialect = self.dialect
        if refused := self._refuse_key(key):
            return refused
        if not isinstance(body, dict) or not isinstance(body.get("model"), str):
            return dialect.not_a_request()
        model = dialect.model_of(body)
        quota = self._quota(key or "", model)
        turn = Turn(next(self._serial), model, body, now, self._pace.real(60.0), quota, headers, self.options)
        if key is not None and key.startswith("sim-broke"):
            return dialect.no_money(turn)
        return turn

    def _refuse_key(self, key: str | None) -> Reply | None:
        if key is None or key == "":
            return self.dialect.missing_key() if self.dialect.needs_key else None
        if key.startswith("sim-bad"):
            return self.dialect.wrong_key()
        if self.dialect.needs_key and not key.startswith("sim-") and key not in self.keys:
            return self.dialect.wrong_key()
        return None

    def _check(self, turn: Turn) -> Reply | None:
        dialect = self.dialect
        if turn.model in dialect.retired:
            return dialect.retired_model(turn.model)
        if turn.model not in dialect.models:
            return dialect.unknown_model(turn.model)
        refused = dialect.malformed(turn) or dialect.check(turn)
        if refused is None and turn.options.get("strict"):
            return dialect.check_conversation(turn)
        return refused

    def _quota(self, key: str, model: str) -> Quota:
        bucket = self.dialect.bucket(model)
        if bucket not in self._limits:
            return Quota(Limits(), self.dialect.window, self._pace)
        quota = self._quotas.get((key, bucket))
        if quota is None:
            quota = self._quotas[key, bucket] = Quota(self._limits[bucket], self.dialect.window, self._pace)
            if len(self._quotas) > _QUOTAS:
                self._quotas.popitem(last=False)
        return quota

    def _next_fault(self, model: str) -> Scripted | None:
        return next((scripted for scripted in self._script if scripted.model in (None, model)), None)

    def _spend(self, scripted: Scripted) -> None:
        scripted.times -= 1
        if scripted.times == 0:
            self._script.remove(scripted)
