"""The mark that a gateway leaves on what it sends on, and by which it knows what has come back to it: the header "Via"
of RFC 9110, section 7.6.3. Of the marks of others only those of gateways like it are kept."""

from __future__ import annotations

_NAME = "chain429-"


def mark(name: str) -> str:
    """What one gateway adds; ``name`` is its own, and no other's."""
    return f"1.1 {_NAME}{name}"


def onward(via: str, own: str) -> str | None:
    """The header to send on with a request that came with ``via``; None where ``own`` is in it already: a loop."""
    hops = [hop for hop in map(str.strip, via.split(",")) if f" {_NAME}" in hop]
    return None if own in hops else ", ".join([*hops, own])
