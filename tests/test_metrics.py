"""What Prometheus is told, as its own reader takes it."""

from __future__ import annotations

import pytest
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics_parser

from chain429.config import parse
from chain429.metrics import Metrics, Tally
from chain429.routing.status import ChainStatus, LimitStatus, ProviderStatus, Status, TargetStatus
from chain429.routing.window import Window
from chain429.store.records import AttemptRecord, RequestRecord
from tests.fakes import FakeClock
from tests.test_log import SERVED

NOON = 1_750_000_000.0
CONFIG = parse("providers: {groq: {keys: [env:KEY]}}\nchains: {default: [groq/m]}", {"KEY": "0123456789"}, file="here")
MINUTE = LimitStatus("requests", Window.MINUTE, 30, 12, 18, NOON + 1, NOON + 41, "reported")
LIMITED = TargetStatus(
    "groq", "m", "groq/KEY", "tracking", "", None,
    (
        MINUTE,
        LimitStatus("requests", Window.MINUTE, 20, 15, 5, NOON + 1, NOON + 50, "configured"),
        LimitStatus("tokens", Window.DAY, None, 5400, None, None, NOON + 80, "counted"),
    ),
)  # fmt: skip
COOLING = TargetStatus("home", "q", "home/-", "cooling", "busy", NOON + 30)
STATUS = Status(
    healthy=False,
    problems=("something",),
    chains=(ChainStatus("default", ((LIMITED,), (COOLING,))), ChainStatus("fast", ((LIMITED,),))),
    providers=(ProviderStatus("groq", "Groq", "free", "half-open", ""),),
    started=NOON - 60,
    version="0.1.0",
    simulated=False,
)


class Log:
    dropped = 7
    failure: str | None = "The disk is full."


async def scraped(*records: RequestRecord, accept: str = "") -> dict[str, float]:
    """Each sample as ``name{label=value}`` without the prefix, labels in their order in the alphabet."""
    tally = Tally(lambda: CONFIG, lambda words: words.replace("sk-secret", "[redacted]"))
    tally.count(records)
    metrics = Metrics(tally, lambda now: STATUS, lambda: {("groq", "m"): 3}, Log(), FakeClock(NOON))
    body, kind = await metrics.scrape(accept)
    strict = kind.startswith("application/openmetrics-text")
    assert strict or kind.startswith("text/plain; version=")
    families = (openmetrics_parser if strict else parser).text_string_to_metric_families(body.decode())
    found: dict[str, float] = {}
    for family in families:
        assert family.documentation, family.name
        assert family.type != "unknown", family.name
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            name = f"{sample.name.removeprefix('chain429_')}{{{labels}}}"
            assert name not in found
            found[name] = sample.value
    return found


def of(found: dict[str, float], *names: str) -> dict[str, float]:
    return {name: value for name, value in found.items() if name.startswith(names)}


async def test_requests_attempts_tokens_and_times_are_counted() -> None:
    skipped = AttemptRecord("home", "q", "home/-", "skipped", None, "busy", 0.0)
    second = SERVED._replace(latency=3.0, attempts=(skipped, *SERVED.attempts), tokens_cached=4, tokens_out=None)
    refused = SERVED._replace(
        chain="", provider=None, model=None, status=400, outcome="refused", tokens_in=None, tokens_out=None,
        first_token=None, attempts=(),
    )  # fmt: skip
    pinned, whole = SERVED._replace(chain="groq/x"), SERVED._replace(chain="observe", streamed=False)
    found = await scraped(SERVED, second, refused, pinned, whole)
    model = "model=openai/gpt-oss-120b"
    assert of(found, "requests", "attempts_total", "tokens") == {
        "requests_total{chain=default,outcome=served,status=200}": 2,
        "requests_total{chain=,outcome=refused,status=400}": 1,
        "requests_total{chain=other,outcome=served,status=200}": 1,
        "requests_total{chain=observe,outcome=served,status=200}": 1,
        f"attempts_total{{{model},outcome=served,provider=groq}}": 4,
        "attempts_total{model=q,outcome=skipped,provider=home}": 1,
        f"tokens_in_total{{{model},provider=groq}}": 48,
        f"tokens_out_total{{{model},provider=groq}}": 120,
        f"tokens_cached_total{{{model},provider=groq}}": 4,
    }
    default = "chain=default,{}provider=groq"
    assert found[f"request_duration_seconds_count{{{default.format('')}}}"] == 2
    assert found[f"request_duration_seconds_sum{{{default.format('')}}}"] == pytest.approx(3.41)
    steps = {step: found[f"request_duration_seconds_bucket{{{default.format(f'le={step},')}}}"]
             for step in ("0.25", "0.5", "2.0", "4.0", "+Inf")}  # fmt: skip
    assert steps == {"0.25": 0, "0.5": 1, "2.0": 1, "4.0": 2, "+Inf": 2}
    assert found["first_token_seconds_count{provider=groq}"] == 3


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
async def test_how_everything_stands_is_found_out_at_the_scrape(accept: str) -> None:
    found = await scraped(accept=accept)
    limit = "credential=groq/KEY,metric=requests,model=m,provider=groq,window=minute"
    told = ("attempts", "target", "limit", "breaker", "log", "healthy", "start", "build")
    assert of(found, *told) == {
        "attempts_in_flight{model=m,provider=groq}": 3,
        "target_ready{credential=groq/KEY,model=m,provider=groq}": 1,
        "target_ready{credential=home/-,model=q,provider=home}": 0,
        f"limit_left{{{limit}}}": 5,
        f"limit{{{limit}}}": 20,
        f"limit_reset_timestamp_seconds{{{limit}}}": NOON + 50,
        "breaker_state{provider=groq,state=closed}": 0,
        "breaker_state{provider=groq,state=open}": 0,
        "breaker_state{provider=groq,state=half-open}": 1,
        "log_records_lost_total{}": 7,
        "log_failing{}": 1,
        "healthy{}": 0,
        "start_time_seconds{}": NOON - 60,
        "build_info{version=0.1.0}": 1,
    }


async def test_a_model_that_a_client_made_up_is_a_label_without_a_key_in_it() -> None:
    attempts = [AttemptRecord("groq", model, "groq/KEY", "gone", 404, "", 0.1) for model in ("sk-secret", "\ud800")]
    found = await scraped(SERVED._replace(attempts=tuple(attempts)))
    assert of(found, "attempts_total") == {
        "attempts_total{model=[redacted],outcome=gone,provider=groq}": 1,
        "attempts_total{model=?,outcome=gone,provider=groq}": 1,
    }


async def test_clients_cannot_make_labels_without_end() -> None:
    def asked(number: int) -> RequestRecord:
        model = f"{number}-" + "x" * 500
        attempt = AttemptRecord("groq", model, "groq/KEY", "gone", 404, "", 0.1)
        return SERVED._replace(chain=f"groq/{model}", model=model, attempts=(attempt,))

    found = await scraped(*map(asked, range(1000)))
    models = of(found, "attempts_total")
    assert len(models) == 301
    assert models["attempts_total{model=other,outcome=gone,provider=groq}"] == 700
    assert max(map(len, models)) < 300
    assert len(of(found, "requests_total")) == 1
