from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Callable

import pytest

from chain429 import log
from chain429.errors import StartError
from chain429.redact import Redactor
from chain429.store.records import AttemptRecord, RequestRecord
from tests.fakes import Records

SERVED = RequestRecord(
    id="req_1",
    at=1_800_000_000.0,
    dialect="chat",
    chain="default",
    model_asked="gpt-4o",
    provider="groq",
    model="openai/gpt-oss-120b",
    credential="groq/1",
    status=200,
    outcome="served",
    streamed=True,
    tokens_in=12,
    tokens_out=40,
    latency=0.41,
    first_token=0.18,
    client="sdk",
    error="",
    attempts=(AttemptRecord("groq", "openai/gpt-oss-120b", "groq/1", "served", 200, "served", 0.4),),
)
WORDS = "200 default gpt-4o -> groq/openai/gpt-oss-120b 0.41s (first token 0.18s) 12+40 tokens [req_1]"


def clock_time(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))


def written(*records: RequestRecord, redact: Redactor | None = None) -> list[str]:
    """The lines of the log, each record of which was handed on as it is."""
    text, then = io.StringIO(), Records()
    handler = log.start(redact or Redactor(), debug=False, to=text)
    later: list[Callable[[], None]] = []
    told = log.RequestLog(then, later.append)
    try:
        for record in records:
            told.record(record)
        assert text.getvalue() == ""
        for call in later:
            call()
        assert len(later) == 1
        told.flush()
    finally:
        log.stop(handler)
    assert then.all == list(records)
    return text.getvalue().splitlines()


def test_a_request_is_a_line_that_says_when_it_ended() -> None:
    later = SERVED._replace(at=SERVED.at + 3600)
    assert written(SERVED, SERVED, later) == [
        f"{clock_time(SERVED.at)} {WORDS}",
        f"{clock_time(SERVED.at)} {WORDS}",
        f"{clock_time(later.at)} {WORDS}",
    ]


REFUSED = SERVED._replace(
    chain="",
    model_asked="",
    provider=None,
    status=400,
    outcome="refused",
    streamed=False,
    tokens_in=None,
    latency=0.0,
    first_token=None,
    error="the body is empty",
    attempts=(),
)
CANCELLED = REFUSED._replace(chain="raw", model_asked="raw", status=499, outcome="cancelled", error="the client left")
LIMITED = AttemptRecord("groq", "gpt-oss", "groq/1", "rate_limited", 429, "wait\nfor 2 s", 0.1)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (REFUSED, "400 -> refused 0.00s [req_1] | the body is empty"),
        (REFUSED._replace(model_asked="gpt-9"), "400 gpt-9 -> refused 0.00s [req_1] | the body is empty"),
        (REFUSED._replace(error="no\n\x1b[2J honour"), "400 -> refused 0.00s [req_1] | no ?[2J [redacted]"),
        (REFUSED._replace(error="a " * 149 + "honour b"), f"400 -> refused 0.00s [req_1] | {'a ' * 148}a …"),
        (CANCELLED, "499 raw -> cancelled 0.00s [req_1] | the client left"),
        (
            CANCELLED._replace(attempts=(LIMITED,)),
            "499 raw -> cancelled 0.00s [req_1] | groq/gpt-oss rate_limited: wait?for 2 s",
        ),
        (
            CANCELLED._replace(status=500, outcome="failed", error="a fault", attempts=(LIMITED,)),
            "500 raw -> failed 0.00s [req_1] | groq/gpt-oss rate_limited: wait?for 2 s | a fault",
        ),
        (
            SERVED._replace(outcome="broken", error="it broke off", attempts=(LIMITED,)),
            f"{WORDS.removesuffix('[req_1]')}broken [req_1] | groq/gpt-oss rate_limited: wait?for 2 s",
        ),
    ],
)
def test_a_line_says_once_what_came_of_a_request_and_why(record: RequestRecord, words: str) -> None:
    (told,) = written(record, redact=Redactor(["honour"]))
    assert told == f"{clock_time(record.at + record.latency)} {words}"


def test_secrets_and_forged_lines_stay_out() -> None:
    record = SERVED._replace(model_asked="x\n12:00:00 200 forged sk-0123456789abcdef \x1b[2J honour")
    (told,) = written(record, redact=Redactor(["honour"]))
    assert "sk-0123456789abcdef" not in told
    assert "honour" not in told
    assert "\x1b" not in told


def test_an_entry_has_all_that_other_handlers_may_show() -> None:
    kept: list[logging.LogRecord] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            kept.append(record)

    keeper = Keeper()
    quiet = logging.getLogger("chain429")
    level = quiet.level
    quiet.setLevel(logging.INFO)
    quiet.addHandler(keeper)
    try:
        log.RequestLog(Records(), lambda write: write()).record(SERVED)
    finally:
        quiet.removeHandler(keeper)
        quiet.setLevel(level)
    (record,) = kept
    assert record.created == SERVED.at + SERVED.latency
    assert (record.name, record.levelname, record.getMessage()) == ("chain429.request", "INFO", WORDS)
    assert set(vars(logging.makeLogRecord({}))) <= set(vars(record))


def test_a_request_is_an_object_with_all_that_is_known_of_it() -> None:
    text, told = io.StringIO(), list[int]()
    handler = log.start(Redactor(['hon"our']), debug=False, json=True, to=text)
    waiting: list[Callable[[], None]] = []
    try:
        requests = log.RequestLog(Records(), waiting.append, lambda records: told.append(len(records)))
        requests.record(SERVED)
        requests.record(SERVED._replace(model_asked='hon"our\n\x1b[2J', latency=1 / 3))
        waiting[0]()
        try:
            raise ValueError('hon"our')
        except ValueError:
            logging.getLogger("chain429.engine").exception("%s\nis wrong", 'hon"our')
    finally:
        log.stop(handler)
    first, second, fault = map(json.loads, text.getvalue().splitlines())
    assert first == {
        "time": "2027-01-15T08:00:00.410Z",
        "level": "info",
        "logger": "chain429.request",
        "message": "request",
        "id": "req_1",
        "dialect": "chat",
        "chain": "default",
        "model_asked": "gpt-4o",
        "provider": "groq",
        "model": "openai/gpt-oss-120b",
        "credential": "groq/1",
        "status": 200,
        "outcome": "served",
        "streamed": True,
        "tokens_in": 12,
        "tokens_out": 40,
        "tokens_cached": None,
        "latency": 0.41,
        "first_token": 0.18,
        "client": "sdk",
        "error": "",
        "attempts": [
            {
                "provider": "groq",
                "model": "openai/gpt-oss-120b",
                "credential": "groq/1",
                "outcome": "served",
                "status": 200,
                "reason": "served",
                "duration": 0.4,
                "until": None,
            }
        ],
    }
    assert (second["model_asked"], second["latency"]) == ("[redacted]\n\x1b[2J", 0.3333)
    assert (fault["level"], fault["message"]) == ("error", "[redacted]\nis wrong")
    assert fault["exception"].endswith("ValueError: [redacted]")
    assert told == [2]


@pytest.mark.parametrize(("told", "chosen", "shown"), [(None, True, True), (None, False, False), (False, True, False)])
def test_what_is_told_at_the_start_goes_before_what_is_configured(told: bool | None, chosen: bool, shown: bool) -> None:
    text = io.StringIO()
    handler = log.start(Redactor(), debug=False, json=told, to=text)
    try:
        log.choose(json=chosen)
        logging.getLogger("chain429.app").warning("hello")
    finally:
        log.stop(handler)
    assert text.getvalue().startswith("{") is shown


def test_a_format_that_there_is_not_is_named() -> None:
    assert (log.told(None), log.told(""), log.told("text"), log.told("json")) == (None, None, False, True)
    with pytest.raises(StartError, match="'xml'; it can be 'text' or 'json'"):
        log.told("xml")
