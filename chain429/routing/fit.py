"""What models can do, what a request wants of one, and what it would lack there.

Whatever is not known of a model may be tried: only a clear no speaks against it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Literal, NamedTuple

# What a request may want that not every model has: to call tools, to be shown images, to answer by a JSON schema.
Ability = Literal["tools", "images", "schema"]

_LACKING: Mapping[Ability, str] = {
    "tools": "it calls no tools",
    "images": "it takes no images",
    "schema": "it does not answer by a JSON schema",
}
# A prompt's length is an estimate: it has to be so much longer than what fits before that speaks against a model.
_MARGIN = 1.25
# Clients can name models at will, so what is remembered of them is bounded.
_MOST = 1000


class Capabilities(NamedTuple):
    """What is known of one model; None where it isn't. ``context`` and ``output`` are in tokens: prompt and answer
    together, and the answer alone."""

    tools: bool | None = None
    images: bool | None = None
    schema: bool | None = None
    reasoning: bool | None = None
    context: int | None = None
    output: int | None = None

    def over(self, other: Capabilities) -> Capabilities:
        """What is known by either; where both say something, this one counts."""
        return Capabilities._make(theirs if mine is None else mine for mine, theirs in zip(self, other, strict=True))


UNKNOWN = Capabilities()


@dataclass(frozen=True, slots=True)
class Models:
    """What is known of a provider's models.

    ``told`` and ``usual`` are rules by a model's id, or a glob of them: an exact id goes before the globs, and of those
    the first that says something. What is ``told`` goes before what the provider lists (``listed``, by id), and that
    before what is ``usual``.
    """

    told: tuple[tuple[str, Capabilities], ...] = ()
    usual: tuple[tuple[str, Capabilities], ...] = ()
    listed: Mapping[str, Capabilities] = field(default_factory=dict)
    _known: dict[str, Capabilities] = field(default_factory=dict, init=False, repr=False, compare=False)

    def of(self, model: str) -> Capabilities:
        """All that is known of one of them."""
        known = self._known.get(model)
        if known is None:
            if len(self._known) >= _MOST:
                self._known.clear()
            listed = self.listed.get(model, UNKNOWN)
            known = self._known[model] = _by_rules(self.told, model).over(listed).over(_by_rules(self.usual, model))
        return known

    def listing(self, listed: Mapping[str, Capabilities]) -> Models:
        """The same, with another list of the provider."""
        return replace(self, listed=listed)


def _by_rules(rules: Iterable[tuple[str, Capabilities]], model: str) -> Capabilities:
    exact, globs = UNKNOWN, UNKNOWN
    for glob, capabilities in rules:
        if glob == model:
            exact = exact.over(capabilities)
        elif fnmatchcase(model, glob):
            globs = globs.over(capabilities)
    return exact.over(globs)


def lack(capabilities: Capabilities, wants: Iterable[Ability]) -> str | None:
    """What a request that wants all these would lack, in plain words; None where nothing is known to."""
    for want in wants:
        if getattr(capabilities, want) is False:
            return _LACKING[want]
    return None


def excess(capabilities: Capabilities, prompt: float, most: int | None) -> str | None:
    """Why a request is too long for a model, in plain words; None where it may fit.

    ``prompt`` is about how many tokens its prompt has, ``most`` how many it allows to be made.
    """
    context = capabilities.context
    if context is None:
        return None
    made = most or 0
    if capabilities.output is not None:
        made = min(made, capabilities.output)  # no more is asked for, then
    if prompt / _MARGIN + made <= context:
        return None
    words = f" and allows {made} more" if made else ""
    return f"it takes {context} tokens, and this request has about {prompt:.0f}{words}"
