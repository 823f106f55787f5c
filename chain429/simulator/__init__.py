"""Local providers that speak real providers' dialects and enforce real limits: the demo, and the test bed.

Groq, Cerebras, OpenRouter, Gemini and Mistral with their free limits, and ``generic``, a server without any; besides
these, which all speak Chat Completions, ``anthropic`` speaks Messages and ``openai-responses`` only Responses. All are
on one port of this machine, as one ``Simulator``. Where what and how is kept::

    limits      windows and quotas, the truth that is enforced
    answers     what a model says
    steering    what a prompt can make it say
    seals       what vouches for its reasoning
    reply       what is done to one request, as a value
    dialect     how a provider speaks; groq, cerebras, openrouter, gemini, mistral, anthropic, openai_responses are such
    …_checks    what it refuses; anthropic_blocks, anthropic_conversation and responses_items are parts of that
    faults      what can be made to go wrong; garble has those that change a stream's events
    provider    the decision about one request: pure, ``now`` is an argument
    control     limits, faults and records, as methods and over HTTP
    server      sockets

Any key that begins with ``sim-`` is taken; ``sim-bad…`` is refused, ``sim-broke…`` has no money. Nothing here is used
by the gateway, and nothing of the gateway is used here but its clock and its errors.
"""

from chain429.simulator.control import Control, Received
from chain429.simulator.provider import SimulatedProvider
from chain429.simulator.server import Simulator

__all__ = ["Control", "Received", "SimulatedProvider", "Simulator"]
