"""Starting and stopping mitmdump with the addon: what it says, and how it ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import urllib.request

import pytest

from tests.integration.conftest import (
    ADDON,
    HELLO,
    PROGRAMS,
    ROOT,
    Front,
    Providers,
    Starter,
    address,
    direct,
    free_port,
    until,
)


def fetch(front: Front, path: str, body: object = None) -> bytes:
    """Ask the API."""
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(front.api + path, data, {"Authorization": f"Bearer {front.token}"})
    with direct.open(request, timeout=30) as answer:
        found: bytes = answer.read()
        return found


def models(front: Front) -> list[str]:
    return [row["id"] for row in json.loads(fetch(front, "/v1/models"))["data"]]


def complaints(text: str) -> list[str]:
    """What was printed but for the line that an old mitmproxy has said of it."""
    return [line for line in text.splitlines() if "lacks security fixes" not in line]


def test_a_configuration_that_is_wrong_is_explained(starter: Starter) -> None:
    starter.config.write_text("providers:\n  groq: {key: x}\nchains: {defualt: [groq/m]}\n", encoding="utf-8")
    front = starter.begin("-q")
    assert front.wait() == 1
    assert front.out == ""
    said = complaints(front.err)
    assert f"{starter.config}:2: providers.groq.key: is not a known key: did you mean 'keys'?" in said[0]
    assert "Traceback" not in front.err


def test_an_option_that_is_wrong_does_not_go_unnoticed(starter: Starter) -> None:
    front = starter.begin("-q", "--set", "chain429_data_dir=/elsewhere")
    assert front.wait() == 1
    (line,) = complaints(front.err)
    assert "Received multiple values for chain429_data_dir" in line


def test_a_port_that_is_taken_is_one_line(starter: Starter) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        front = starter.begin("-q", chain429_listen=where)
        assert front.wait() == 1
    (line,) = complaints(front.err)
    assert line.endswith(f"chain429 can't start: the API can't listen on {where}: the port is taken")
    assert front.out == ""


def test_a_proxy_port_that_is_taken_is_said_though_quiet(starter: Starter) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        front = starter.begin("-q", "--listen-port", str(port))
        assert front.wait() == 1
    assert "failed to listen on" in front.out
    assert str(port) in front.out
    assert "Traceback" not in front.out + front.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_cleanly(starter: Starter, number: signal.Signals) -> None:
    front = starter.start("-q")
    listeners = [address(url) for url in (front.api, front.pages, front.proxy)]
    for _, port in listeners:
        # Another address of this machine, which answers only where something listens everywhere.
        with pytest.raises(OSError, match=r"refused|assign|unreachable"):
            socket.create_connection(("127.0.0.2", port), timeout=5)
    # One that is kept open and unused does not hold it up.
    with socket.create_connection(address(front.api)):
        assert front.stop(number) == 0
    for listener in listeners:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(listener)
    (line,) = complaints(front.err)
    assert "stopping" in line


def test_requests_under_way_may_finish(starter: Starter, providers: Providers) -> None:
    front = starter.start("-q")
    providers.script("groq", "slow_drip", delay=0.1)
    with begun(front) as connection:
        until(providers.received)
        front.send(signal.SIGINT)
        front.wait_for("stopping", stream="err")
        assert b"[DONE]" in b"".join(iter(lambda: connection.recv(65536), b""))
    assert front.wait() == 0
    assert "Traceback" not in front.err


def begun(front: Front) -> socket.socket:
    body = json.dumps({**HELLO, "stream": True})
    head = [
        "POST /v1/chat/completions HTTP/1.1",
        "host: here",
        f"authorization: Bearer {front.token}",
        f"content-length: {len(body)}",
        "connection: close",
    ]
    connection = socket.create_connection(address(front.api), timeout=30)
    connection.sendall(("\r\n".join(head) + "\r\n\r\n" + body).encode())
    return connection


def test_hangup_reloads_the_configuration(starter: Starter) -> None:
    # Started in the script's own folder, where its name is that of the package.
    front = starter.run(PROGRAMS / "mitmdump", "-q", "-s", ADDON.name, *starter.arguments(), cwd=ADDON.parent)
    front.wait_for("^Try it:$")
    assert "gpt-later" not in models(front)
    good = starter.config.read_text(encoding="utf-8")
    starter.config.write_text(good.replace('"gpt-*"', "gpt-later: default, g*"), encoding="utf-8")
    front.send(signal.SIGHUP)
    front.wait_for("the configuration was reloaded", stream="err")
    assert "gpt-later" in models(front)
    starter.config.write_text("providers: {}\n", encoding="utf-8")
    front.send(signal.SIGHUP)
    front.wait_for("the configuration was not reloaded, the old one goes on", stream="err")
    assert "gpt-later" in models(front)


def test_without_a_configuration_it_says_that_it_only_simulates(starter: Starter) -> None:
    del starter.options["chain429_config"]
    del starter.env["PROVIDER_KEY"]
    front = starter.start("-q")
    assert "SIMULATED PROVIDERS" in front.out
    assert b"groq/openai/gpt-oss-120b here." in fetch(front, "/v1/chat/completions", HELLO)


def test_a_script_that_has_changed_is_loaded_again(starter: Starter) -> None:
    checkout = starter.folder / "check out"
    script = checkout / "addons" / "chain429.py"
    script.parent.mkdir(parents=True)
    shutil.copyfile(ADDON, script)
    for name in ("chain429", "templates"):
        (checkout / name).symlink_to(ROOT / name)
    api = f"127.0.0.1:{free_port()}"
    front = starter.fork("mitmdump", "-q", "-s", script, *starter.arguments(chain429_listen=api))
    front.wait_for("^Try it:$")
    os.utime(script)
    front.wait_for(r"(?s)^Try it:$.*^Try it:$")
    assert front.api == f"http://{api}"
    assert "default" in models(front)
    assert "Traceback" not in front.err
    assert front.stop() == 0


def test_the_command_that_scripts_start_ends_in(starter: Starter) -> None:
    script = (ROOT / "scripts" / "start").read_text(encoding="utf-8")
    (last,) = [line for line in script.splitlines() if line.startswith("exec ")]
    run = f"BIN=$1 ROOT=$2; shift 2; options=(); {last}"
    front = starter.run("bash", "-c", run, "start", PROGRAMS, ROOT, *starter.arguments())
    front.wait_for("^Try it:$")
    assert "default" in models(front)
    assert front.stop() == 0
