"""A client of the proxy that knows no more than sockets: what it sends is up to the test, byte by byte."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import h2.config
import h2.connection
import h2.events

from tests.integration.conftest import address


class Tunnel:
    """A connection to ``where``, through the proxy and inside of TLS."""

    def __init__(self, proxy: str, authority: Path, where: str, *protocols: str) -> None:
        connection = socket.create_connection(address(proxy), timeout=30)
        connection.sendall(f"CONNECT {where} HTTP/1.1\r\nhost: {where}\r\n\r\n".encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        trust = ssl.create_default_context(cafile=authority)
        if protocols:
            trust.set_alpn_protocols(list(protocols))
        self.where = where
        self.socket = trust.wrap_socket(connection, server_hostname=where.partition(":")[0])

    def send(self, *lines: str, body: bytes = b"") -> None:
        head = "\r\n".join([*lines, f"content-length: {len(body)}"] if body else lines)
        self.socket.sendall(head.encode() + b"\r\n\r\n" + body)

    def ask(self, *lines: str, body: bytes = b"") -> bytes:
        """All that comes back over HTTP/1."""
        with self.socket:
            self.send(*lines, "connection: close", body=body)
            return b"".join(iter(lambda: self.socket.recv(65536), b""))

    def ask_http2(self, method: str, path: str, *headers: tuple[str, str], body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer; no length is told of what is sent. The tunnel must be for ``h2``."""
        settings = h2.config.H2Configuration(validate_outbound_headers=False)
        talk = h2.connection.H2Connection(settings)
        talk.initiate_connection()
        pseudo = [(":method", method), (":scheme", "https"), (":authority", self.where), (":path", path)]
        talk.send_headers(1, [*pseudo, *headers])
        talk.send_data(1, body, end_stream=True)
        status, answer = 0, b""
        with self.socket:
            self.socket.sendall(talk.data_to_send())
            while piece := self.socket.recv(65536):
                for event in talk.receive_data(piece):
                    match event:
                        case h2.events.ResponseReceived():
                            status = int(dict(event.headers or ())[b":status"])
                        case h2.events.DataReceived():
                            answer += event.data or b""
                        case h2.events.StreamEnded() | h2.events.StreamReset() | h2.events.ConnectionTerminated():
                            return status, answer
                self.socket.sendall(talk.data_to_send())
        return status, answer
