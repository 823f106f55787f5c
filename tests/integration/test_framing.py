"""Requests whose end can be understood in two ways, on every lane: by one of them a second request could be smuggled
past whoever understands the other."""

from __future__ import annotations

import json
import re
import socket

import pytest

from tests.integration.conftest import HELLO, Front, Providers, Starter, address, free_port
from tests.integration.tunnel import Tunnel

BODY = json.dumps(HELLO).encode()
# What is left over where a body ends earlier for one reader than for another.
HIDDEN = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)
SIZE = b"%x" % len(BODY)
END = b"\r\n0\r\n\r\n"
CHUNKS = SIZE + b"\r\n" + BODY + END
LENGTH = b"content-length: %d" % len(BODY)
CHUNKED = b"transfer-encoding: chunked"
PATH = b"/v1/chat/completions"


def sent(*lines: bytes, body: bytes = BODY, start: bytes = b"POST TARGET HTTP/1.1", eol: bytes = b"\r\n") -> bytes:
    return eol.join([start, b"host: chain429.internal", b"AUTH", *lines]) + eol * 2 + body


def chunked(body: bytes) -> bytes:
    return sent(CHUNKED, body=body)


SHAPES = {
    "a length and chunks": sent(LENGTH, CHUNKED, body=CHUNKS),
    "chunks and a length": sent(CHUNKED, LENGTH, body=CHUNKS),
    "no length and chunks": sent(b"content-length: 0", CHUNKED, body=CHUNKS),
    "a length that ends within the chunks": sent(b"content-length: 4", CHUNKED, body=b"0\r\n\r\n" + HIDDEN),
    "two lengths": sent(LENGTH, b"content-length: %d" % (len(BODY) + len(HIDDEN)), body=BODY + HIDDEN),
    "a length twice": sent(LENGTH, LENGTH),
    "a list of lengths": sent(LENGTH + b", %d" % len(BODY)),
    "a length with a sign": sent(b"content-length: +%d" % len(BODY)),
    "a length below nothing": sent(b"content-length: -1"),
    "a length in hexadecimal": sent(b"content-length: 0x" + SIZE),
    "a length with an underscore": sent(b"content-length: 8_1"),
    "a length in two words": sent(b"content-length: 8 1"),
    "an empty length": sent(b"content-length:"),
    "an unknown encoding": sent(b"transfer-encoding: xchunked", body=CHUNKS),
    "no encoding": sent(b"transfer-encoding: identity"),
    "an encoding around the chunks": sent(b"transfer-encoding: chunked, identity", body=CHUNKS),
    "no encoding inside of the chunks": sent(b"transfer-encoding: identity, chunked", body=CHUNKS),
    "an encoding inside of the chunks": sent(b"transfer-encoding: gzip, chunked", body=CHUNKS),
    "chunks in chunks": sent(b"transfer-encoding: chunked, chunked", body=CHUNKS),
    "chunks twice": sent(CHUNKED, CHUNKED, body=CHUNKS),
    "chunks and none": sent(CHUNKED, b"transfer-encoding: identity", body=CHUNKS),
    "chunks in quotes": sent(b'transfer-encoding: "chunked"', body=CHUNKS),
    "chunks before their time": sent(CHUNKED, body=CHUNKS, start=b"POST TARGET HTTP/1.0"),
    "a version that does not exist": sent(LENGTH, start=b"POST TARGET HTTP/1.9"),
    "a space before the colon": sent(b"content-length : %d" % len(BODY)),
    "a space before the colon of chunks": sent(LENGTH, b"transfer-encoding : chunked", body=CHUNKS),
    "a tab before the colon": sent(b"transfer-encoding\t: chunked", body=CHUNKS),
    "a folded header": sent(LENGTH, b"x-a: b", b" c"),
    "folded chunks": sent(b"transfer-encoding:", b" chunked", body=CHUNKS),
    "a fold before any header": sent(LENGTH, start=b"POST TARGET HTTP/1.1\r\n x: y"),
    "a header after a bare line feed": sent(LENGTH, b"x-a: b\ntransfer-encoding: chunked"),
    "a header after a bare carriage return": sent(LENGTH, b"x-a: b\rtransfer-encoding: chunked"),
    "a carriage return in a name": sent(LENGTH, b"x\r-a: b"),
    "a null": sent(LENGTH, b"x-a: b\x00c"),
    "a header without a name": sent(LENGTH, b": c"),
    "a header without a colon": sent(LENGTH, b"garbage"),
    "a name that is not ASCII": sent(LENGTH, b"x\xff: b"),
    "two hosts": sent(LENGTH, b"host: example.com"),
    "a size with a prefix": chunked(b"0x" + CHUNKS),
    "a size with a sign": chunked(b"+" + CHUNKS),
    "a size below nothing": chunked(b"-" + CHUNKS),
    "a size with an underscore": chunked(b"0_" + CHUNKS),
    "a size after a space": chunked(b" " + CHUNKS),
    "no size": chunked(b"\r\n" + CHUNKS),
    "a size that ends in a bare line feed": chunked(SIZE + b"\n" + BODY + END),
    "an extension with a bare line feed": chunked(SIZE + b";a\nb\r\n" + BODY + END),
    "a chunk that ends in a bare line feed": chunked(SIZE + b"\r\n" + BODY + b"\n0\r\n\r\n"),
    "a chunk that is longer than it says": chunked(SIZE + b"\r\n" + BODY + b"xx" + END),
    "a trailer that is none": chunked(SIZE + b"\r\n" + BODY + b"\r\n0\r\nx y\r\n\r\n"),
}
# What mitmproxy's HTTP layer is able to read, and writes anew in the only form that everybody reads alike. The gateway
# refuses it where it reads it itself.
REWRITTEN = {
    "bare line feeds": sent(LENGTH, eol=b"\n"),
    "a vertical tab before chunks": sent(b"transfer-encoding: \x0bchunked", body=CHUNKS),
    "a vertical tab in the first line": sent(LENGTH, start=b"POST\x0bTARGET HTTP/1.1"),
    "a size before a space": chunked(SIZE + b" \r\n" + BODY + END),
    "an extension with a bare carriage return": chunked(SIZE + b";a\rb\r\n" + BODY + END),
}


@pytest.fixture(scope="module")
def front(shared: Starter) -> Front:
    return shared.start("-q", "--mode", "regular", "--mode", f"reverse:http://chain429.internal@{free_port()}")


def talk(front: Front, lane: str, shape: bytes) -> bytes:
    """Everything that comes back to a client which sends this, and then says that it has no more to say."""
    where = {"api": front.api, "relay": front.reverse, "http": front.proxy}[lane]
    target = b"http://chain429.internal" + PATH if lane == "http" else PATH
    token = b"authorization: Bearer " + front.token.encode()
    with socket.create_connection(address(where), timeout=30) as connection:
        connection.sendall(shape.replace(b"TARGET", target).replace(b"AUTH", token))
        heard = connection.recv(65536)
        try:
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65536):
                heard += piece
        except OSError:
            pass  # it has hung up without waiting for the rest
        return heard


@pytest.mark.parametrize("lane", ["api", "relay", "http"])
def test_what_has_two_ends_is_refused(front: Front, providers: Providers, lane: str) -> None:
    refused = SHAPES if lane == "http" else {**SHAPES, **REWRITTEN}
    for name, shape in refused.items():
        heard = talk(front, lane, shape)
        # mitmproxy hangs up on chunks that are none, for it has begun to send them on by then.
        status = re.findall(rb"HTTP/1\.[01] (\d+)", heard)
        assert status == [b"400"] or (lane == "http" and not heard), (name, heard)
    assert providers.received() == []
    assert b"HTTP/1.1 200" in talk(front, lane, sent(LENGTH, b"connection: close"))
    assert b"HTTP/1.1 200" in talk(front, lane, sent(CHUNKED, b"connection: close", body=CHUNKS))


@pytest.mark.parametrize("name", REWRITTEN)
def test_what_mitmproxy_understands_is_one_request_and_written_anew(
    front: Front, providers: Providers, name: str
) -> None:
    heard = talk(front, "http", REWRITTEN[name])
    assert re.findall(rb"HTTP/1\.[01] (\d+)", heard) == [b"200"]
    (record,) = providers.received()
    assert record.body["messages"] == HELLO["messages"]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_body_of_http2_is_no_second_request(front: Front, shared: Starter, providers: Providers, method: str) -> None:
    """HTTP/2 tells no length, so the body must be given one where it is written in HTTP/1."""
    tunnel = Tunnel(front.proxy, shared.certificate, "chain429.internal:443", "h2")
    status, _ = tunnel.ask_http2(method, "/v1/models", body=HIDDEN)
    assert status == (200 if method == "GET" else 405)
    tunnel = Tunnel(front.proxy, shared.certificate, "chain429.internal:443", "h2")
    assert tunnel.ask_http2("POST", PATH.decode(), ("content-type", "application/json"), body=BODY)[0] == 200
    (record,) = providers.received()
    assert record.body["messages"] == HELLO["messages"]


@pytest.mark.parametrize(
    "header", [("x-a", "b\r\ncontent-length: 0"), ("transfer-encoding", "chunked"), ("x-a\r\nx-b", "c")]
)
def test_a_header_of_http2_is_no_second_line(
    front: Front, shared: Starter, providers: Providers, header: tuple[str, str]
) -> None:
    tunnel = Tunnel(front.proxy, shared.certificate, "chain429.internal:443", "h2")
    sent = ("content-type", "application/json")
    assert tunnel.ask_http2("POST", PATH.decode(), sent, header, body=HIDDEN)[0] != 200
    assert providers.received() == []
