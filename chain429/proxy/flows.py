"""What is done to one flow on its way to the gateway and back: functions of the flow, without state or I/O.

Whether a client may use the gateway is not decided here.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from urllib.parse import unquote_plus

from mitmproxy import connection, http
from mitmproxy.proxy.mode_specs import ReverseMode

from chain429.web.auth import TOKEN_HEADER
from chain429.web.covered import ORIGIN_HEADER, TICKET_HEADER, Origin, Taken
from chain429.wire.chat import CHAT
from chain429.wire.dialect import Problem

_WORD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PATH = re.compile(rb"[^\x00-\x20\x7f]+")
_ENDS = re.compile(rb"[\r\n\0]")

# In the metadata of a flow that was steered.
STEERED = "chain429"
# In the metadata of a client's flow and of those of its attempts: the id of the request.
REQUEST = "chain429_request"

# A tool's own credentials: nothing needs them here any more, and flows are shown and written to files.
CREDENTIAL_HEADERS = ("authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie", TOKEN_HEADER, TICKET_HEADER)
_OURS = (TOKEN_HEADER, TICKET_HEADER)
CREDENTIAL_PARAMETERS = ("key", "api_key", "api-key", "access_token")

# mitmproxy shows these as a sign beside the flow.
_RETRIED = ":repeat:"
ATTEMPT_MARK = ":arrow_right_hook:"

# More of an answer than this is not kept to be looked at.
_KEPT_BYTES = 8 * 1024 * 1024


def covered(host: str | None, hosts: Container[str]) -> bool:
    """Whether ``host`` is among ``hosts`` (lower case). Upper case, a dot at the end and a port make no difference."""
    return bool(host) and plain_host(host or "") in hosts


def plain_host(host: str) -> str:
    """A host's name as the configuration has it: in lower case, without port and dot at the end."""
    name, separator, port = host.rpartition(":")
    if separator and port.isdigit() and ":" not in name:
        host = name
    return host.lower().rstrip(".")


def origin_of(mode: ReverseMode) -> Origin:
    """Where a reverse proxy leads."""
    return Origin("http" if mode.scheme == "http" else "https", plain_host(mode.address[0]), mode.address[1])


def take_credentials(request: http.Request) -> Taken:
    """Take out the same, and give it: for where the request goes on unchanged."""
    path = request.path
    names = [name for name in CREDENTIAL_HEADERS if name not in _OURS]
    headers = [(name, value) for name in names for value in request.headers.get_all(name)]
    drop_credentials(request)
    return Taken(path, tuple(headers))


def drop_credentials(request: http.Request) -> None:
    """Take out every header and parameter in which a tool sends a key."""
    for name in CREDENTIAL_HEADERS:
        request.headers.pop(name, None)
    path, mark, query = request.path.partition("?")
    if mark:
        # Not by mitmproxy's view of the query: that fails where what HTTP/2 brings as a path is none.
        parameters = query.split("&")
        kept = [one for one in parameters if unquote_plus(one.partition("=")[0]).lower() not in CREDENTIAL_PARAMETERS]
        if len(kept) < len(parameters):
            request.path = f"{path}?{'&'.join(kept)}" if kept else path


def steer(
    flow: http.HTTPFlow, address: tuple[str, int], ticket: str | None = None, origin: Origin | None = None
) -> None:
    """Point a flow at the gateway. The client's Host header stays, so the flow is still shown by the name asked for.

    ``ticket`` stands for what the gateway was handed over; ``origin`` is where it was going, where that matters."""
    flow.request.headers.pop(ORIGIN_HEADER, None)
    if origin:
        flow.request.headers[ORIGIN_HEADER] = str(origin)
    if ticket:
        flow.request.headers[TICKET_HEADER] = ticket
    _frame(flow.request)
    # The request's own properties would rewrite the Host header.
    flow.request.data.host, flow.request.data.port = address
    flow.request.data.scheme = b"http"
    # In upstream mode the connection would otherwise go by way of the other proxy.
    flow.server_conn = connection.Server(address=address)
    flow.metadata[STEERED] = True


def _frame(request: http.Request) -> None:
    """Say where the body ends, which HTTP/2 needs no header for. mitmproxy writes such a request in HTTP/1 without any,
    and its body would be taken for the next request, by which anything could be asked unseen."""
    if request.is_http2 or request.is_http3:
        request.headers.pop("transfer-encoding", None)
        if "content-length" not in request.headers:
            request.headers["transfer-encoding"] = "chunked"


def is_clean(request: http.Request) -> bool:
    """Whether a request has nothing in its head that could end a line of it or add one, as HTTP/2 is able to bring."""
    data = request.data
    return bool(_WORD.fullmatch(data.method) and _PATH.fullmatch(data.path)) and all(
        _WORD.fullmatch(name) and not _ENDS.search(value) for name, value in data.headers.fields
    )


def annotate(flow: http.HTTPFlow, headers: Mapping[str, str]) -> None:
    """Say in the flow list what became of a request, from the headers of the gateway's answer."""
    attempts = headers.get("x-chain429-attempts", "")
    if not attempts.isdigit():
        return
    chain, provider = headers.get("x-chain429-chain"), headers.get("x-chain429-provider")
    served = f"{provider}/{headers.get('x-chain429-model')}" if provider else "nothing left"
    told = "1 attempt" if attempts == "1" else f"{attempts} attempts"
    flow.comment = f"{f'{chain} -> ' if chain else ''}{served}, {told}"
    identifier = headers.get("x-chain429-request-id")
    if identifier:
        flow.comment += f" ({identifier})"
        flow.metadata[REQUEST] = identifier
    if int(attempts) > 1:
        flow.marked = _RETRIED
    elif flow.marked == _RETRIED:
        flow.marked = ""  # sent again, and better this time


def refuse(flow: http.HTTPFlow, status: int, sentence: str, code: str) -> None:
    """Answer in the words of the dialect that the client expects."""
    body = CHAT.error(Problem(status, sentence, "authentication_error" if status == 401 else None, code))
    flow.response = http.Response.make(status, body, {"content-type": "application/json", "server": "chain429"})


class Kept:
    """A stream's bytes, passed on one by one and kept for whoever looks at the flow; for ``flow.response.stream``."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def __call__(self, piece: bytes) -> bytes:
        self._size += len(piece)
        if self._size > _KEPT_BYTES:
            self._pieces.clear()
        else:
            self._pieces.append(piece)
        return piece

    def content(self) -> bytes | None:
        """All of it; None where it was too much."""
        return b"".join(self._pieces) if self._size <= _KEPT_BYTES else None
