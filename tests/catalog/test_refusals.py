"""What providers really answered, and what each answer means under that provider's preset."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import pytest

from chain429.catalog import presets
from chain429.routing.failure import failure_in_answer, read_failure
from chain429.routing.outcome import Kind, Outcome, Scope, Step, classify


def at(text: str, zone: str = "UTC") -> float:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


NOW = at("2026-09-21 20:00")


@dataclass(frozen=True, slots=True)
class Case:
    """One answer of ``provider``. ``until`` is Unix seconds; ``after`` the same in seconds from ``now``."""

    id: str
    provider: str
    status: int
    body: str
    kind: Kind
    scope: Scope | None = None
    after: float | None = None
    until: float | None = None
    limit: str = ""
    reason: str = ""
    step: Step | None = None
    param: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    now: float = NOW

    def outcome(self) -> Outcome:
        failure = read_failure(self.status, dict(self.headers), self.body.encode())
        return classify(failure, presets()[self.provider].provision(), self.now)


def openai_error(message: str, code: str = "", type_: str = "") -> str:
    return f'{{"error":{{"message":"{message}","type":"{type_}","code":"{code}"}}}}'


def gemini_quota(quota: str, value: str = "20", delay: str = "40s") -> str:
    return (
        '[{"error":{"code":429,"message":"You exceeded your current quota, please check your plan and billing details. '
        "* Quota exceeded for metric: generativelanguage.googleapis.com/generate_content_free_tier_requests, limit: "
        f'{value}, model: gemini-2.5-flash\\nPlease retry in 40.121s.","status":"RESOURCE_EXHAUSTED","details":['
        '{"@type":"type.googleapis.com/google.rpc.Help","links":[{"description":"Learn more about Gemini API '
        'quotas"}]},'
        '{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaMetric":'
        '"generativelanguage.googleapis.com/generate_content_free_tier_requests","quotaId":"'
        f'{quota}","quotaDimensions":{{"location":"global","model":"gemini-2.5-flash"}},"quotaValue":"{value}"}}]}},'
        f'{{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"{delay}"}}]}}}}]'
    )


GEMINI_MIDNIGHT = at("2026-09-22 00:00", "America/Los_Angeles")
UTC_MIDNIGHT = at("2026-09-22 00:00")

PER_DAY_OPENROUTER = (
    '{"error":{"message":"Rate limit exceeded: free-models-per-day-high-balance. ","code":429,"metadata":{"headers":'
    '{"X-RateLimit-Limit":"1000","X-RateLimit-Remaining":"0","X-RateLimit-Reset":"1790035200000"},"limit_source":'
    '"openrouter_free_tier_daily"}},"user_id":"user_x"}'
)
UPSTREAM_OPENROUTER = (
    '{"error":{"message":"Provider returned error","code":CODE,'
    '"metadata":{"raw":"meta-llama/llama-3.3-70b-instruct:free '
    'is temporarily rate-limited upstream. Please retry shortly, or add your own key…","provider_name":"Venice",'
    '"is_byok":false,"retry_after_seconds":17,"retry_after_seconds_raw":16.007,"headers":{"Retry-After":"17"}}},'
    '"user_id":"user_x"}'
)
GROQ_TPD = (
    "Rate limit reached for model `openai/gpt-oss-120b` in organization `org_01abc` service tier `on_demand` on tokens "
    "per day (TPD): Limit 200000, Used 197494, Requested 4035. Please try again in 11m0.528s. Need more tokens? "
    "Upgrade "
    "to Dev Tier today at https://console.groq.com/settings/billing"
)
GROQ_RPM = (
    "Rate limit reached for model `openai/gpt-oss-120b` in organization `org_01abc` service tier `on_demand` on "
    "requests "
    "per minute (RPM): Limit 30, Used 30, Requested 1. Please try again in 2s. Need more tokens? Upgrade to Dev Tier "
    "today"
)
GROQ_413 = (
    "Request too large for model `openai/gpt-oss-120b` in organization `org_01abc` service tier `on_demand` on tokens "
    "per "
    "minute (TPM): Limit 8000, Requested 11088, please reduce your message size and try again. Need more tokens?"
)
DEEPSEEK_BALANCE = (
    '{"error":{"message":"Insufficient Balance","type":"unknown_error","param":null,"code":"invalid_request_error"}}'
)

CASES = (
    Case(
        "groq tokens per day",
        "groq",
        429,
        openai_error(GROQ_TPD, "rate_limit_exceeded", "tokens"),
        Kind.QUOTA_SPENT,
        Scope.MODEL,
        after=660.528,
        limit="tokens per day",
        reason="tokens per day spent (limit 200000)",
    ),
    Case(
        "groq requests per minute",
        "groq",
        429,
        openai_error(GROQ_RPM, "rate_limit_exceeded", "requests"),
        Kind.RATE_LIMITED,
        Scope.MODEL,
        after=2,
        limit="requests per minute",
        reason="requests per minute reached (limit 30)",
    ),
    Case(
        "groq waits no longer than a minute's limit can last",
        "groq",
        429,
        openai_error(GROQ_RPM, "rate_limit_exceeded", "requests"),
        Kind.RATE_LIMITED,
        Scope.MODEL,
        after=120,
        limit="requests per minute",
        headers=(("retry-after", "1555200"),),
    ),
    Case(
        "groq too large, whatever Retry-After says",
        "groq",
        413,
        openai_error(GROQ_413, "rate_limit_exceeded", "tokens"),
        Kind.TOO_LARGE,
        headers=(("retry-after", "65"),),
    ),
    Case(
        "groq retired",
        "groq",
        400,
        openai_error("The model `x` has been decommissioned and is no longer supported.", "model_decommissioned"),
        Kind.GONE,
        Scope.ENTRY,
        step=Step.ENTRY,
    ),
    Case(
        "groq unknown model",
        "groq",
        404,
        openai_error("The model `x` does not exist or you do not have access to it.", "model_not_found"),
        Kind.GONE,
        Scope.ENTRY,
    ),
    Case(
        "groq context",
        "groq",
        400,
        openai_error("Please reduce the length of the messages or completion."),
        Kind.TOO_LARGE,
    ),
    Case("groq flex capacity", "groq", 498, openai_error("x", "capacity_exceeded"), Kind.BUSY, Scope.ENTRY),
    Case(
        "groq a name in a message",
        "groq",
        400,
        openai_error("'messages.0' : property 'name' is unsupported"),
        Kind.REJECTED,
        step=Step.PROVIDER,
        param="name",
    ),
    Case("groq tool use", "groq", 400, openai_error("Failed to call a function.", "tool_use_failed"), Kind.REJECTED),
    Case("groq firewall", "groq", 403, "error code: 1010", Kind.FAILED),
    Case(
        "cerebras requests per minute",
        "cerebras",
        429,
        '{"message":"Requests per minute limit exceeded - too many requests sent.","type":"too_many_requests_error",'
        '"param":"quota","code":"request_quota_exceeded"}',
        Kind.RATE_LIMITED,
        Scope.MODEL,
        after=60,
        limit="requests per minute",
        headers=(("retry-after", "60"),),
    ),
    Case(
        "cerebras tokens per minute",
        "cerebras",
        429,
        '{"message":"Tokens per minute limit exceeded - too many tokens processed.","type":"too_many_tokens_error",'
        '"param":"quota","code":"token_quota_exceeded"}',
        Kind.RATE_LIMITED,
        Scope.MODEL,
        after=60,
        limit="tokens per minute",
    ),
    Case(
        "cerebras tokens per day",
        "cerebras",
        429,
        '{"message":"Tokens per day limit exceeded - too many tokens processed.","type":"too_many_tokens_error",'
        '"param":"quota","code":"token_quota_exceeded"}',
        Kind.QUOTA_SPENT,
        Scope.MODEL,
        until=UTC_MIDNIGHT,
        limit="tokens per day",
        headers=(("retry-after", "60"),),
    ),
    Case(
        "cerebras queue",
        "cerebras",
        429,
        '{"message":"We\'re experiencing high traffic right now! Please try again soon.","type":'
        '"too_many_requests_error","param":"queue","code":"queue_exceeded"}',
        Kind.BUSY,
        Scope.ENTRY,
        headers=(("x-should-retry", "false"),),
    ),
    Case("cerebras context, said with nothing", "cerebras", 400, "", Kind.TOO_LARGE),
    Case("cerebras archived", "cerebras", 404, '{"message":"x","code":"model_archived"}', Kind.GONE, Scope.ENTRY),
    Case(
        "gemini requests per day, whatever the delay says",
        "gemini",
        429,
        gemini_quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier", delay="1s"),
        Kind.QUOTA_SPENT,
        Scope.MODEL,
        until=GEMINI_MIDNIGHT,
        limit="requests per day",
        reason="requests per day spent (limit 20)",
    ),
    Case(
        "gemini requests per minute",
        "gemini",
        429,
        gemini_quota("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "5"),
        Kind.RATE_LIMITED,
        Scope.MODEL,
        after=40,
        limit="requests per minute",
    ),
    Case(
        "gemini input tokens per minute",
        "gemini",
        429,
        gemini_quota("GenerateContentInputTokensPerModelPerMinute-FreeTier", "250000", "46s"),
        Kind.RATE_LIMITED,
        Scope.MODEL,
        after=46,
        limit="input tokens per minute",
    ),
    Case(
        "gemini without a free tier of that model",
        "gemini",
        429,
        gemini_quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "0"),
        Kind.GONE,
        Scope.MODEL,
        step=Step.TARGET,
    ),
    Case(
        "gemini bad key",
        "gemini",
        400,
        '[{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT",'
        '"details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID"}]}}]',
        Kind.UNAUTHORIZED,
        Scope.CREDENTIAL,
    ),
    Case(
        "gemini unknown name",
        "gemini",
        400,
        '[{"error":{"code":400,"message":"Invalid JSON payload received. Unknown name \\"web_search_options\\": '
        "Cannot find "
        'field.","status":"INVALID_ARGUMENT"}}]',
        Kind.REJECTED,
        param="web_search_options",
    ),
    Case(
        "gemini context",
        "gemini",
        400,
        '[{"error":{"code":400,"message":"The input token count (1196265) exceeds the maximum number of tokens allowed '
        '(1048575).","status":"INVALID_ARGUMENT"}}]',
        Kind.TOO_LARGE,
    ),
    Case(
        "gemini overloaded",
        "gemini",
        503,
        '[{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}]',
        Kind.BUSY,
        Scope.ENTRY,
    ),
    Case(
        "gemini no capacity",
        "gemini",
        429,
        '{"error":{"code":429,"message":"No capacity available","details":[{"reason":"MODEL_CAPACITY_EXHAUSTED"}]}}',
        Kind.BUSY,
        Scope.ENTRY,
    ),
    Case(
        "gemini from where it is not offered",
        "gemini",
        400,
        '[{"error":{"code":400,"message":"User location is not supported for the API use.",'
        '"status":"FAILED_PRECONDITION"}}]',
        Kind.FAILED,
    ),
    Case(
        "openrouter free models per day",
        "openrouter",
        429,
        PER_DAY_OPENROUTER,
        Kind.QUOTA_SPENT,
        Scope.MODEL,
        until=1790035200.0,
        limit="free requests per day",
    ),
    Case(
        "openrouter free models per day, in words alone",
        "openrouter",
        429,
        '{"error":{"message":"Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model '
        "requests "
        'per day","code":429}}',
        Kind.QUOTA_SPENT,
        Scope.MODEL,
        until=UTC_MIDNIGHT,
        limit="free requests per day",
    ),
    Case(
        "openrouter free models per minute",
        "openrouter",
        429,
        '{"error":{"message":"Rate limit exceeded: free-models-per-min. ","code":429}}',
        Kind.RATE_LIMITED,
        Scope.MODEL,
        after=60,
        limit="free requests per minute",
    ),
    Case(
        "openrouter upstream busy",
        "openrouter",
        429,
        UPSTREAM_OPENROUTER.replace("CODE", "429"),
        Kind.BUSY,
        Scope.ENTRY,
        after=17,
        step=Step.ENTRY,
    ),
    Case(
        "openrouter upstream lost the model for a while",
        "openrouter",
        404,
        UPSTREAM_OPENROUTER.replace("CODE", "404"),
        Kind.BUSY,
        Scope.ENTRY,
        after=17,
    ),
    Case(
        "openrouter upstream refuses OpenRouter's own key",
        "openrouter",
        401,
        UPSTREAM_OPENROUTER.replace("CODE", "401"),
        Kind.BUSY,
        Scope.ENTRY,
        after=17,
    ),
    Case(
        "openrouter 404 that names no upstream",
        "openrouter",
        404,
        '{"error":{"message":"Provider returned error","code":404}}',
        Kind.FAILED,
    ),
    Case(
        "openrouter bad model id",
        "openrouter",
        404,
        '{"error":{"message":"No endpoints found for some/model.","code":404}}',
        Kind.GONE,
        Scope.ENTRY,
    ),
    Case(
        "openrouter free variant ended",
        "openrouter",
        404,
        '{"error":{"message":"This model is unavailable for free. The paid version is available now - use this slug '
        'instead: some/model","code":404}}',
        Kind.GONE,
        Scope.ENTRY,
    ),
    Case(
        "openrouter no endpoint with tools",
        "openrouter",
        404,
        '{"error":{"message":"No endpoints found that support tool use.","code":404}}',
        Kind.REJECTED,
    ),
    Case(
        "openrouter more than the credit allows",
        "openrouter",
        402,
        '{"error":{"message":"This request requires more credits, or fewer max_tokens. You requested up to 2000 '
        "tokens, but "
        'can only afford 500.","code":402,"metadata":{"limit_source":"openrouter_credits"}}}',
        Kind.QUOTA_SPENT,
        Scope.MODEL,
        after=3600,
    ),
    Case(
        "openrouter no credit",
        "openrouter",
        402,
        '{"error":{"message":"Insufficient credits","code":402,"metadata":{"limit_source":"openrouter_credits"}}}',
        Kind.QUOTA_SPENT,
        Scope.ACCOUNT,
        after=3600,
    ),
    Case(
        "openrouter in-flight budget",
        "openrouter",
        402,
        '{"error":{"message":"x","code":402,"metadata":{"limit_source":"openrouter_in_flight_budget"}}}',
        Kind.BUSY,
        Scope.MODEL,
        after=5,
        step=Step.TARGET,
    ),
    Case(
        "openrouter key limit",
        "openrouter",
        402,
        '{"error":{"message":"x","code":402,"metadata":{"limit_source":"openrouter_key_limit"}}}',
        Kind.QUOTA_SPENT,
        Scope.CREDENTIAL,
        after=3600,
        limit="credit of this key",
    ),
    Case(
        "openrouter moderation",
        "openrouter",
        403,
        '{"error":{"message":"This model requires moderation on X. Your input was flagged","code":403,"metadata":'
        '{"provider_name":"X","reasons":["violence"]}}}',
        Kind.REJECTED,
    ),
    Case(
        "openrouter context",
        "openrouter",
        400,
        '{"error":{"message":"This endpoint\'s maximum context length is 8192 tokens. However, you requested about '
        "9000 "
        'tokens (8000 of text input, 1000 in the output)","code":400}}',
        Kind.TOO_LARGE,
    ),
    Case(
        "mistral rate",
        "mistral",
        429,
        '{"object":"error","message":"Rate limit exceeded","type":"rate_limited","param":null,"code":"1300",'
        '"raw_status_code":429}',
        Kind.RATE_LIMITED,
        Scope.MODEL,
        after=60,
        limit="usage per minute",
    ),
    Case(
        "mistral capacity",
        "mistral",
        429,
        '{"object":"error","message":"Service tier capacity exceeded for this model.","type":'
        '"service_tier_capacity_exceeded","param":null,"code":"3505"}',
        Kind.BUSY,
        Scope.ENTRY,
    ),
    Case(
        "mistral model that the plan lacks",
        "mistral",
        429,
        '{"object":"error","message":"Rate limit exceeded","type":"rate_limited","param":null,"code":"1300"}',
        Kind.GONE,
        Scope.MODEL,
        headers=(("X-RateLimit-Limit-Req-Minute", "0"),),
    ),
    Case(
        "mistral unknown field",
        "mistral",
        422,
        '{"object":"error","message":{"detail":[{"type":"extra_forbidden","loc":["body","stream_options",'
        '"include_usage"],'
        '"msg":"Extra inputs are not permitted","input":true}]},"type":"invalid_request_error","param":null,'
        '"code":null}',
        Kind.REJECTED,
        param="stream_options.include_usage",
    ),
    Case("mistral labs model", "mistral", 403, '{"message":"x","code":"1913"}', Kind.GONE, Scope.MODEL),
    Case(
        "mistral tool id",
        "mistral",
        400,
        '{"message":"Tool call id was X but must be a-z, A-Z, 0-9, with a length of 9."}',
        Kind.REJECTED,
    ),
    Case(
        "nvidia",
        "nvidia",
        429,
        '{"status":429,"title":"Too Many Requests"}',
        Kind.RATE_LIMITED,
        Scope.MODEL,
        after=62,
        limit="requests per minute",
    ),
    Case(
        "nvidia model that the account lacks",
        "nvidia",
        404,
        '{"status":404,"title":"Not Found","detail":"Function \'f\': Not found for account \'a\'"}',
        Kind.GONE,
        Scope.MODEL,
    ),
    Case(
        "sambanova tokens per day",
        "sambanova",
        429,
        openai_error(
            "Request would exceed rate limit\\nViolated duration_s: 86400, current usage: 196279, limit: 200000"
        ),
        Kind.QUOTA_SPENT,
        Scope.MODEL,
        after=3600,
        limit="usage per day",
        reason="usage per day spent (limit 200000)",
    ),
    Case(
        "sambanova per minute",
        "sambanova",
        429,
        openai_error("Request would exceed rate limit\\nViolated duration_s: 60, current usage: 20, limit: 20"),
        Kind.RATE_LIMITED,
        Scope.MODEL,
        after=60,
        limit="usage per minute",
    ),
    Case("sambanova removed", "sambanova", 410, openai_error("model removed"), Kind.GONE, Scope.ENTRY),
    Case(
        "cloudflare neurons",
        "cloudflare",
        429,
        '{"errors":[{"message":"AiError: AiError: you have used up your daily free allocation of 10,000 neurons, '
        "please "
        "upgrade to Cloudflare's Workers Paid plan if you would like to continue usage. "
        '(00000000-0000-0000-0000-000000000000)","code":4006}],"success":false,"result":null}',
        Kind.QUOTA_SPENT,
        Scope.ACCOUNT,
        until=UTC_MIDNIGHT,
        limit="neurons per day",
    ),
    Case(
        "cloudflare capacity",
        "cloudflare",
        429,
        '{"errors":[{"message":"Capacity temporarily exceeded, please try again.","code":3040}]}',
        Kind.BUSY,
        Scope.ENTRY,
    ),
    Case(
        "cloudflare paid model",
        "cloudflare",
        403,
        '{"errors":[{"message":"This model requires a Workers Paid plan","code":5035}]}',
        Kind.GONE,
        Scope.MODEL,
        step=Step.TARGET,
    ),
    Case(
        "cohere per minute",
        "cohere",
        429,
        '{"id":"24e32f6d-0000","message":"You are using a Trial key, which is limited to 20 API calls / minute. You '
        "can "
        'continue"}',
        Kind.RATE_LIMITED,
        Scope.MODEL,
        after=60,
        limit="requests per minute",
        reason="requests per minute reached (limit 20)",
    ),
    Case(
        "cohere per month",
        "cohere",
        429,
        '{"id":"24e32f6d-0000","message":"You are using a Trial key, which is limited to 1000 API calls / month."}',
        Kind.QUOTA_SPENT,
        Scope.ACCOUNT,
        until=at("2026-10-01 00:00"),
        limit="requests per month",
    ),
    Case(
        "z.ai concurrency",
        "zai",
        429,
        '{"error":{"code":"1302","message":"Rate limit reached for requests"}}',
        Kind.BUSY,
        Scope.MODEL,
        after=1,
        step=Step.TARGET,
    ),
    Case("z.ai overloaded", "zai", 429, '{"error":{"code":"1305","message":"x"}}', Kind.BUSY, Scope.ENTRY),
    Case(
        "z.ai five hours, told in Beijing's time",
        "zai",
        429,
        '{"error":{"code":"1308","message":"Usage limit reached for 5 hour. Your limit will reset at 2026-09-22 '
        '05:38:28"}}',
        Kind.QUOTA_SPENT,
        Scope.ACCOUNT,
        until=at("2026-09-21 21:38:28"),
        limit="usage per five hours",
    ),
    Case(
        "z.ai weekly or monthly",
        "zai",
        429,
        '{"error":{"code":"1310","message":"Weekly/Monthly Limit Exhausted. Your limit will reset at 2026-09-03 '
        '18:01:05"}}',
        Kind.QUOTA_SPENT,
        Scope.ACCOUNT,
        until=at("2026-09-03 10:01:05"),
        limit="weekly or monthly usage",
        now=at("2026-09-01 00:00"),
    ),
    Case(
        "z.ai weekly or monthly, a reset that is past",
        "zai",
        429,
        '{"error":{"code":"1310","message":"Weekly/Monthly Limit Exhausted. Your limit will reset at 2026-09-03 '
        '18:01:05"}}',
        Kind.QUOTA_SPENT,
        Scope.ACCOUNT,
        after=86400,
        limit="weekly or monthly usage",
    ),
    Case(
        "z.ai no balance",
        "zai",
        429,
        '{"error":{"code":"1113","message":"Insufficient balance or no resource package. Please recharge."}}',
        Kind.UNAUTHORIZED,
        Scope.CREDENTIAL,
    ),
    Case("z.ai plan lacks the model", "zai", 429, '{"error":{"code":"1311","message":"x"}}', Kind.GONE, Scope.MODEL),
    Case("z.ai bad parameter", "zai", 400, '{"error":{"code":"1214","message":"x"}}', Kind.REJECTED),
    Case(
        "hugging face credit",
        "huggingface",
        402,
        '{"error":"You have depleted your monthly included credits. Purchase pre-paid credits to continue using '
        "Inference "
        'Providers. Alternatively, subscribe to PRO to get 20x more included credits."}',
        Kind.QUOTA_SPENT,
        Scope.ACCOUNT,
        until=at("2026-10-01 00:00"),
        limit="included credit per month",
    ),
    Case(
        "hugging face unknown model",
        "huggingface",
        400,
        '{"error":{"message":"The requested model \'x\' does not exist.","type":"invalid_request_error",'
        '"param":"model",'
        '"code":"model_not_found"}}',
        Kind.GONE,
        Scope.ENTRY,
    ),
    Case(
        "siliconflow tokens per minute",
        "siliconflow",
        429,
        '{"message":"Request was rejected due to rate limiting. Details: TPM limit reached.","data":null}',
        Kind.RATE_LIMITED,
        Scope.MODEL,
        after=60,
        limit="tokens per minute",
    ),
    Case(
        "siliconflow busy, with the code of a rate limit",
        "siliconflow",
        503,
        '{"code":50603,"message":"System is really busy. Please try again later.","data":null}',
        Kind.BUSY,
        Scope.ENTRY,
    ),
    Case(
        "ollama weekly",
        "ollama-cloud",
        429,
        '{"error":"you (name) have reached your weekly usage limit, upgrade for higher limits: '
        "https://ollama.com/upgrade or "
        'add usage credits: https://ollama.com/settings (ref: 00000000-0000-0000-0000-000000000000)"}',
        Kind.QUOTA_SPENT,
        Scope.ACCOUNT,
        after=86400,
        limit="usage per week",
        reason="usage per week spent",
    ),
    Case(
        "ollama session",
        "ollama-cloud",
        429,
        '{"error":"you (name) have reached your session usage limit, please wait or upgrade to continue"}',
        Kind.QUOTA_SPENT,
        Scope.ACCOUNT,
        after=3600,
        limit="usage per session",
    ),
    Case(
        "ollama hourly",
        "ollama-cloud",
        429,
        '{"error":"you (name) have reached your hourly usage limit"}',
        Kind.QUOTA_SPENT,
        Scope.ACCOUNT,
        after=3600,
        limit="usage per hour",
    ),
    Case(
        "ollama subscription",
        "ollama-cloud",
        403,
        '{"error":{"message":"this model requires a subscription, upgrade for access: https://ollama.com/upgrade '
        '(ref: x)",'
        '"type":"api_error","param":null}}',
        Kind.GONE,
        Scope.MODEL,
    ),
    Case(
        "ollama not pulled",
        "ollama",
        404,
        '{"error":{"message":"model \\"qwen3\\" not found, try pulling it first","type":"not_found_error"}}',
        Kind.GONE,
        Scope.ENTRY,
    ),
    Case(
        "llm7",
        "llm7",
        429,
        '{"message":"Rate limit exceeded. Retry after 1 seconds.","retry_after":1}',
        Kind.RATE_LIMITED,
        Scope.ACCOUNT,
        after=1,
        headers=(("retry-after", "1"),),
    ),
    Case(
        "together",
        "together",
        429,
        '{"error":{"message":"You have been rate limited. Your rate limit is 60 queries per minute. …",'
        '"type":"credit_limit",'
        '"param":null,"code":null}}',
        Kind.RATE_LIMITED,
        Scope.MODEL,
        after=60,
        limit="requests per minute",
        reason="requests per minute reached (limit 60)",
    ),
    Case(
        "together context",
        "together",
        400,
        openai_error("The input (9000 tokens) is longer than the model's context length (8192 tokens)"),
        Kind.TOO_LARGE,
    ),
    Case(
        "vercel",
        "vercel",
        429,
        '{"error":{"message":"Rate limit exceeded","type":"rate_limit_exceeded"}}',
        Kind.RATE_LIMITED,
        Scope.MODEL,
    ),
    Case(
        "vercel card needed",
        "vercel",
        403,
        openai_error("x", "", "customer_verification_required"),
        Kind.UNAUTHORIZED,
        Scope.CREDENTIAL,
    ),
    Case(
        "scaleway per minute",
        "scaleway",
        429,
        openai_error("You exceeded your current quota of requests per minute"),
        Kind.RATE_LIMITED,
        Scope.MODEL,
        after=60,
        limit="requests per minute",
    ),
    Case(
        "scaleway concurrency",
        "scaleway",
        429,
        openai_error("You exceeded your current threshold of concurrent requests"),
        Kind.BUSY,
        Scope.ACCOUNT,
        after=2,
    ),
    Case(
        "scaleway completion too long",
        "scaleway",
        416,
        openai_error("Range not satisfiable"),
        Kind.REJECTED,
        param="max_completion_tokens",
    ),
    Case("scaleway unknown model", "scaleway", 422, openai_error("Model x not found"), Kind.GONE, Scope.ENTRY),
    Case("deepseek balance", "deepseek", 402, DEEPSEEK_BALANCE, Kind.QUOTA_SPENT, Scope.ACCOUNT, after=3600),
    Case(
        "deepseek context",
        "deepseek",
        400,
        openai_error("This model's maximum context length is 65536 tokens. However, you requested 70000"),
        Kind.TOO_LARGE,
    ),
    Case("deepseek concurrency", "deepseek", 429, openai_error("Too many"), Kind.BUSY, Scope.MODEL, after=2),
    Case(
        "moonshot requests per minute",
        "moonshot",
        429,
        '{"error":{"message":"Your account org-x<ak-y> request reached organization max RPM: 3, please try again '
        "after 1 "
        'seconds","type":"rate_limit_reached_error"}}',
        Kind.RATE_LIMITED,
        Scope.ACCOUNT,
        after=1,
        limit="requests per minute",
        reason="requests per minute reached (limit 3)",
    ),
    Case(
        "moonshot quota",
        "moonshot",
        429,
        openai_error("x", "", "exceeded_current_quota_error"),
        Kind.UNAUTHORIZED,
        Scope.CREDENTIAL,
    ),
    Case("moonshot engine", "moonshot", 429, openai_error("x", "", "engine_overloaded_error"), Kind.BUSY, Scope.ENTRY),
    Case(
        "moonshot context",
        "moonshot",
        400,
        openai_error("Invalid request: Your request exceeded model token limit: 131072"),
        Kind.TOO_LARGE,
    ),
    Case("deepinfra", "deepinfra", 429, '{"error":{"message":"Model busy, retry later"}}', Kind.BUSY, Scope.ENTRY),
    Case(
        "chutes balance",
        "chutes",
        402,
        '{"detail":{"message":"Quota exceeded and account balance is $0.0, please pay with fiat or send tao to x",'
        '"quota_reset_timestamp":"2026-09-22T00:00:00+00:00"}}',
        Kind.QUOTA_SPENT,
        Scope.ACCOUNT,
        until=UTC_MIDNIGHT,
        limit="usage per day",
    ),
    Case(
        "chutes free models",
        "chutes",
        429,
        '{"detail":"Free models limit reached for today - maintain >= $10 balance"}',
        Kind.QUOTA_SPENT,
        Scope.ACCOUNT,
        until=UTC_MIDNIGHT,
        limit="usage per day",
    ),
    Case(
        "openai tokens per minute",
        "openai",
        429,
        openai_error(
            "Rate limit reached for gpt-4.1-mini in organization org-x on tokens per min (TPM): Limit 200000, Used "
            "199000, "
            "Requested 2000. Please try again in 300ms.",
            "rate_limit_exceeded",
            "tokens",
        ),
        Kind.RATE_LIMITED,
        Scope.MODEL,
        after=0.3,
        limit="tokens per minute",
    ),
    Case(
        "openai quota",
        "openai",
        429,
        openai_error(
            "You exceeded your current quota, please check your plan and billing details.",
            "insufficient_quota",
            "insufficient_quota",
        ),
        Kind.UNAUTHORIZED,
        Scope.CREDENTIAL,
        step=Step.TARGET,
    ),
    Case("openai billing", "openai", 429, openai_error("x", "billing_not_active"), Kind.UNAUTHORIZED, Scope.CREDENTIAL),
    Case(
        "openai parameter",
        "openai",
        400,
        '{"error":{"message":"Unsupported parameter: \'max_tokens\' is not supported with this model. Use '
        '\'max_completion_tokens\' instead.","type":"invalid_request_error","param":"max_tokens",'
        '"code":"unsupported_parameter"}}',
        Kind.REJECTED,
        param="max_tokens",
    ),
    Case("openai context", "openai", 400, openai_error("x", "context_length_exceeded"), Kind.TOO_LARGE),
    Case(
        "anthropic input tokens",
        "anthropic",
        429,
        '{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed the rate limit for '
        "your "
        'organization (00000000-0000-0000-0000-000000000000) of 30,000 input tokens per minute. …"},'
        '"request_id":"req_x"}',
        Kind.RATE_LIMITED,
        Scope.MODEL,
        after=33,
        limit="input tokens per minute",
        reason="input tokens per minute reached (limit 30000)",
        headers=(("retry-after", "33"),),
    ),
    Case(
        "anthropic overloaded",
        "anthropic",
        529,
        '{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}',
        Kind.BUSY,
        Scope.ENTRY,
    ),
    Case(
        "anthropic credit",
        "anthropic",
        400,
        '{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access '
        "the "
        'Anthropic API. Please go to Plans & Billing to upgrade"}}',
        Kind.UNAUTHORIZED,
        Scope.CREDENTIAL,
    ),
    Case(
        "anthropic context",
        "anthropic",
        400,
        '{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 215000 tokens > 200000 '
        'maximum"}}',
        Kind.TOO_LARGE,
    ),
    Case(
        "anthropic body too large",
        "anthropic",
        413,
        '{"type":"error","error":{"type":"request_too_large","message":"x"}}',
        Kind.TOO_LARGE,
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_a_refusal_means(case: Case) -> None:
    outcome = case.outcome()
    until = case.now + case.after if case.after is not None else case.until
    assert (outcome.kind, outcome.scope, outcome.limit) == (case.kind, case.scope, case.limit)
    assert outcome.until == (None if until is None else pytest.approx(until))
    assert outcome.param == case.param
    assert outcome.status == case.status
    if case.reason:
        assert outcome.reason == case.reason
    if case.step:
        assert outcome.step is case.step


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_reason_is_short_and_names_nobody(case: Case) -> None:
    reason = case.outcome().reason
    assert 0 < len(reason) < 260
    assert not any(name in reason for name in ("org_01abc", "org-x", "ak-y", "(name)", "00000000-0000"))


def test_every_rule_of_the_catalog_has_a_case() -> None:
    """A rule that no recorded answer reaches is a guess, unless it is one of the codes that are only documented."""
    reached = set()
    for case in CASES:
        failure = read_failure(case.status, dict(case.headers), case.body.encode())
        rules = presets()[case.provider].provision().rules
        first = next((number for number, rule in enumerate(rules) if rule.matches(failure)), None)
        reached.add((case.provider, first))
    unreached = {
        (name, *rule.code, rule.says or "")
        for name, preset in presets().items()
        for number, rule in enumerate(preset.errors)
        if (name, number) not in reached
    }
    assert unreached == {
        ("anthropic", "specified API usage limits"),
        ("cloudflare", "5007", ""),
        ("cloudflare", "10000", "7003", ""),
        ("mistral", ""),  # the token twin of the request limit of nothing
        ("moonshot", "concurrency"),
        ("ollama-cloud", "monthly usage limit"),
        ("openrouter", "constraint_filtered", ""),
        ("openrouter", "data policy|privacy settings"),
        ("openrouter", "free_variant_ended", "no_endpoints", "region_restricted", "wrong_endpoint", ""),
        ("openrouter", "model_unavailable_upstream", ""),
        ("openrouter", "privacy_restricted", ""),
        ("sambanova", r"duration_s: 3600\b"),
        ("vercel", "no_providers_available", ""),
    }


@pytest.mark.parametrize(
    ("provider", "error", "kind"),
    [
        ("openrouter", {"code": 429, "message": "Rate limit exceeded", "metadata": {"provider_name": "X"}}, Kind.BUSY),
        ("openrouter", {"message": "Rate limit exceeded", "code": "rate_limit_exceeded"}, Kind.RATE_LIMITED),
        ("openrouter", {"message": "Provider returned error", "code": 429}, Kind.RATE_LIMITED),
        ("groq", "Over capacity", Kind.BUSY),
        ("groq", "Please reduce the length of the messages or completion.", Kind.TOO_LARGE),
        ("groq", {"message": "x", "type": "internal_server_error", "code": "500"}, Kind.FAILED),
        ("zai", {"code": "1302", "message": "Rate limit reached for requests"}, Kind.BUSY),
        ("cerebras", {"message": "x", "code": "queue_exceeded"}, Kind.BUSY),
        ("anthropic", {"type": "overloaded_error", "message": "Overloaded"}, Kind.BUSY),
        ("gemini", {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}, Kind.BUSY),
    ],
)
def test_what_an_error_inside_a_stream_means(provider: str, error: object, kind: Kind) -> None:
    assert classify(failure_in_answer(error), presets()[provider].provision(), NOW).kind is kind
