"""What is known of each provider, as data: ``providers.yaml`` beside this file, checked when it is read.

A new provider, or a new quirk of one, is a row there and a fixture in ``tests/catalog``; no code knows a provider's
name.
"""

from __future__ import annotations

import datetime
import functools
import re
import zoneinfo
from collections.abc import Mapping
from importlib import resources
from typing import Annotated, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from chain429.catalog.lists import Shape
from chain429.routing.fit import Capabilities, Models
from chain429.routing.headers import FAMILIES
from chain429.routing.outcome import Kind, Provision, Rule, Scope, words
from chain429.routing.window import DayReset, Refill, Window


def _regex(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"no regular expression: {error}") from error
    return value


def _day(value: str) -> str:
    if value not in ("rolling", "UTC"):
        try:
            zoneinfo.ZoneInfo(value)
        except (ValueError, zoneinfo.ZoneInfoNotFoundError) as error:
            raise ValueError(f"no time zone: {error}") from error
    return value


def _family(value: str) -> str:
    if value not in FAMILIES:
        raise ValueError(f"no header family named {value!r}; there are: {', '.join(sorted(FAMILIES))}")
    return value


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Limits(_Data):
    """Limits of one bucket set: r = requests, t = tokens; s, m, h, d, mo = second, minute, hour, day, month."""

    rps: float | None = Field(None, gt=0)
    rpm: int | None = Field(None, gt=0)
    rph: int | None = Field(None, gt=0)
    rpd: int | None = Field(None, gt=0)
    rpmo: int | None = Field(None, gt=0)
    tpm: int | None = Field(None, gt=0)
    tph: int | None = Field(None, gt=0)
    tpd: int | None = Field(None, gt=0)
    tpmo: int | None = Field(None, gt=0)
    itpm: int | None = Field(None, gt=0)
    otpm: int | None = Field(None, gt=0)
    concurrent: int | None = Field(None, gt=0)


class ErrorRule(_Data):
    """See ``routing.outcome.Rule``, which ``rule`` makes of it. ``says`` is searched without regard to case."""

    outcome: Kind
    status: tuple[int, ...] = ()
    code: tuple[str, ...] = ()
    says: Annotated[str, AfterValidator(_regex)] | None = None
    scope: Scope | None = None
    window: Window | None = None
    seconds: float | None = Field(None, gt=0)
    headers: dict[str, str] = {}
    upstream: bool = False
    page: bool = False
    param: str | None = None
    limit: str = ""

    @model_validator(mode="after")
    def _never_by_wording_alone(self) -> Self:
        if not (self.status or self.code):
            raise ValueError("a rule needs a status or a code: wording alone proves nothing")
        return self

    def rule(self) -> Rule:
        return Rule(
            self.outcome,
            frozenset(self.status),
            frozenset(self.code),
            words(self.says) if self.says else None,
            self.scope,
            self.window,
            self.seconds,
            tuple(self.headers.items()),
            self.upstream,
            self.page,
            self.param,
            self.limit,
        )


class Cleanup(_Data):
    """What is changed in a Chat Completions body before this provider sees it. ``models`` is a glob on the model id.

    ``accept``: only these top-level fields are sent, for providers that refuse unknown names; those of ``rename`` stand
    there by their new names. ``drop``: top-level fields removed. ``rename``: old name to new. ``roles``: message roles
    replaced. ``drop_in_messages``: fields of messages removed. ``drop_nulls``: null members of messages are removed.
    ``values``: field -> {old: new} for string values. ``tool_ids``: the form that ids of tool calls must have.
    ``accept_in_messages``, ``accept_in_calls``: only these fields of messages, and of tool calls in them, are sent.
    ``drop_in_tools``: fields of functions removed. ``drop_in_schemas``: words removed from the schemas of their
    parameters, and of the answer. ``no_content``: what stands for the words of an assistant's turn that has none.
    ``plain_text``: content that is only text is sent as one string. ``drop_empty``: assistant's turns that say nothing
    are left out. ``reasoning_back``: the field in which a model wants its thoughts back (other names are replaced);
    without it none are sent by translation. ``reasoning_due``: it refuses calls without them, so an empty one stands
    where they are not known. ``signed_calls``: it refuses calls without Google's proof of thinking, so what Google
    takes instead stands where it is not known. ``text_calls``: the model is known to write calls of tools as text, so
    its words are searched for them. ``thinking``: how a model that is asked in Messages is told to think: by a budget
    of tokens, at its own choice, or not at all.
    """

    models: str = "*"
    accept: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    rename: dict[str, str] = {}
    roles: dict[str, str] = {}
    drop_in_messages: tuple[str, ...] = ()
    drop_nulls: bool = False
    values: dict[str, dict[str, str]] = {}
    tool_ids: Literal["any", "alnum9"] = "any"
    accept_in_messages: tuple[str, ...] = ()
    accept_in_calls: tuple[str, ...] = ()
    drop_in_tools: tuple[str, ...] = ()
    drop_in_schemas: tuple[str, ...] = ()
    no_content: Literal["null", "empty", "absent"] | None = None
    plain_text: bool = False
    drop_empty: bool = False
    reasoning_back: Literal["reasoning", "reasoning_content"] | None = None
    reasoning_due: bool = False
    signed_calls: bool = False
    text_calls: bool = False
    thinking: Literal["budget", "adaptive", "none"] | None = None


class Abilities(_Data):
    """What a model can do, as far as that is known; see ``routing.fit.Capabilities``, which ``capabilities`` makes of
    it. ``json_schema``: its answer follows a schema that the request gives."""

    tools: bool | None = None
    images: bool | None = None
    json_schema: bool | None = None
    reasoning: bool | None = None
    context: int | None = Field(None, gt=0)
    output: int | None = Field(None, gt=0)

    def capabilities(self) -> Capabilities:
        return Capabilities(self.tools, self.images, self.json_schema, self.reasoning, self.context, self.output)


class Known(_Data):
    """What was known of a provider's models on a day: by a model's id, or a glob of them; an exact id goes before the
    globs, and of those the first that says something. What the provider's own list says goes before this."""

    checked: datetime.date
    models: dict[str, Abilities]


class ModelList(_Data):
    """Where a provider lists its models, and how the answer is shaped.

    ``path`` follows the base URL, or is a URL of its own, with the same variables in braces. ``unlisted``: globs of the
    ids that are served although they are not in the list.
    """

    path: str | None = "/models"
    shape: Shape = "openai"
    auth: bool = True
    unlisted: tuple[str, ...] = ()


class SharedBucket(_Data):
    """One bucket that several models of an account share: those whose id matches the glob."""

    models: str
    limits: Limits = Limits()


class Free(_Data):
    """What a provider is known to give for nothing. ``limits`` by model id; ``any`` for models that are not listed."""

    checked: datetime.date
    note: str = ""
    any: Limits = Limits()
    limits: dict[str, Limits] = {}


class Preset(_Data):
    """One provider.

    ``dialect``: what it is asked in; ``vendor``: it made that dialect, so it takes all of it, and signs for itself.
    ``env``: the names under which its key is usually found, most usual first; ``variables``: parts of the base URL and
    the environment variable each is usually found in. ``tier`` orders the default chain: free first, paid last; local
    servers are never added by themselves. ``day`` says when daily limits begin anew: ``rolling`` or a time zone whose
    midnight it is. ``counted_per``: what the provider counts limits against. ``scope``: what a plain 429 is taken to
    bench. ``defaults``: models for the default chain, best first; ``free_models``: globs of the ids that cost nothing
    (empty where the account decides). ``terms``: restrictions that a user must know; shown, never hidden.
    """

    name: str
    base_url: str
    env: tuple[str, ...] = ()
    variables: dict[str, str] = {}
    auth: Literal["bearer", "x-api-key", "none"] = "bearer"
    dialect: Literal["chat", "messages", "responses"] = "chat"
    vendor: bool = False
    tier: Literal["free", "trial", "paid", "local"]
    models: ModelList = ModelList()
    family: Annotated[str, AfterValidator(_family)] = "generic"
    counted_per: Literal["key", "account", "project", "ip"] = "account"
    day: Annotated[str, AfterValidator(_day)] = "rolling"
    scope: Scope = Scope.MODEL
    shared: tuple[SharedBucket, ...] = ()
    up_front: bool = False
    refill: Refill = Refill.WINDOW
    errors: tuple[ErrorRule, ...] = ()
    cleanup: tuple[Cleanup, ...] = ()
    headers: dict[str, str] = {}
    free: Free | None = None
    free_models: tuple[str, ...] = ()
    known: Known | None = None
    defaults: tuple[str, ...] = ()
    terms: str = ""
    site: str = ""

    def provision(self) -> Provision:
        """What ``routing.outcome.classify`` takes of this preset."""
        rules = tuple(rule.rule() for rule in self.errors)
        return Provision(rules, DayReset(self._zone()), self.refill, self.scope)

    def capabilities(self, told: Mapping[str, Abilities]) -> Models:
        """What is known of its models, besides what a user has ``told``."""
        usual = self.known.models if self.known else {}
        return Models(_rules(told), _rules(usual))

    def _zone(self) -> datetime.tzinfo | None:
        if self.day == "rolling":
            return None
        return datetime.UTC if self.day == "UTC" else zoneinfo.ZoneInfo(self.day)


def _rules(abilities: Mapping[str, Abilities]) -> tuple[tuple[str, Capabilities], ...]:
    return tuple((glob, found.capabilities()) for glob, found in abilities.items())


@functools.cache
def presets() -> dict[str, Preset]:
    """Every preset by its id, in the catalog's order, which is also the order of the default chain within a tier."""
    text = resources.files(__package__).joinpath("providers.yaml").read_text(encoding="utf-8")
    # libyaml's loader takes a tenth of the time; some builds of PyYAML lack it.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return {name: Preset.model_validate(fields) for name, fields in yaml.load(text, loader).items()}  # noqa: S506  safe
