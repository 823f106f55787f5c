from __future__ import annotations

import io
import logging
import time
from collections.abc import Callable

from chain429 import log
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
