from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain429.redact import MASK, Redactor, mask_shapes

SECRETS = ("c429_Zq7", "plain secret", "gsk_known0")
PIECES = (
    *(
        "sk",
        "gsk",
        "hf",
        "org",
        "proj",
        "nvapi",
        "xai",
        "acct",
        "-",
        "_",
        "a1b2c3d4",
        "0",
        "abcdefgh",
        " ",
        "\n",
        "é",
        "K",
    ),
    *("AIza", "Bearer ", "bearer ", "cashuA", "cashuB", "token ", "req_0123456789abcdef", *SECRETS),
)


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_the_quick_look_misses_nothing(text: str) -> None:
    assert Redactor()(text) == mask_shapes(text)


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_no_known_secret_is_left(text: str) -> None:
    told = Redactor(SECRETS)(text)
    assert not any(secret in told for secret in SECRETS)


def test_what_is_no_secret_stays() -> None:
    line = "200 default -> groq/openai/gpt-oss-120b 0.41s 12+40 tokens [req_0123456789abcdef01234567]"
    assert Redactor(SECRETS)(line) == line
    assert Redactor()("") == ""


def test_what_is_learned_later_is_redacted_too() -> None:
    redact = Redactor()
    assert redact("my word of honour") == "my word of honour"
    redact.know(["word of honour"])
    assert redact("my word of honour") == f"my {MASK}"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "Incorrect API key provided: sk-proj-abc***************1234. You can find",
            f"Incorrect API key provided: {MASK}. You can find",
        ),
        ("Incorrect API key provided: sk-abcd1********************wxyz.", f"Incorrect API key provided: {MASK}."),
        ("invalid x-api-key sk-ant-api03-AbCdEfGhIjKlMnOp-QrStUv", f"invalid x-api-key {MASK}"),
        ("gsk_abcdefghijklmnopqrstuvwxyzABCDEFGH", MASK),
        ("GROQ_API_KEY=gsk_x1y2z3a4b5", f"GROQ_API_KEY={MASK}"),
        ("model_hf_AbCdEfGhIjKl", f"model_{MASK}"),
        ("key cpk_0123456789ab.0123456789cd.ef. Gone", f"key {MASK}. Gone"),
        ("https://x?key=AIzaSyA1234567890abcdefghijklmnopqrstuv&alt=sse", f"https://x?key={MASK}&alt=sse"),
        ("Authorization: Bearer a-foreign-key", f"Authorization: Bearer {MASK}"),
        ("AUTHORIZATION: BEARER 0123456789", f"AUTHORIZATION: BEARER {MASK}"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abcdefgh", MASK),
        ("cashuBo2FteCJodHRwczovL21pbnQ", MASK),
        (
            "Rate limit reached for model `openai/gpt-oss-120b` in organization `org_01jk2mnp3qrst4uvwx5yz` on tokens",
            f"Rate limit reached for model `openai/gpt-oss-120b` in organization `{MASK}` on tokens",
        ),
        ("of user_2abcDEFghiJKL345678", f"of {MASK}"),
    ],
)
def test_what_looks_like_a_key_or_an_account_is_redacted_though_it_is_not_ours(text: str, told: str) -> None:
    assert Redactor()(text) == told


@pytest.mark.parametrize(
    "text",
    [
        *("user_id", "org-wide", "key_error_in_field", "user_message_2", "key_limit_2_reached", "sk-", "sk-alone"),
        *("key-2024-11-21", "key-20261121", "org-2024-budget", "task-1234567890", "desk_abcdefgh1", "monkey-12345678"),
        *("req_0123abcd4567ef89", "chatcmpl-0123456789abcdef", "call_abc123DEF456", "the bearer of news"),
        *("openai/gpt-oss-120b", "nvidia/nemotron-3-super-120b-a12b:free", "meta-llama/Llama-3.3-70B-Instruct"),
        *("accounts/fireworks/models/gpt-oss-120b", "claude-opus-4-1-20250805", "mistral-small-2603"),
        *("Bearer authentication is needed", "free-models-per-day", "short"),
    ],
)
def test_ordinary_words_and_names_of_models_stay(text: str) -> None:
    assert Redactor(["short"])(text) == text


def test_a_secret_inside_of_an_ordinary_word_is_redacted() -> None:
    assert Redactor(["plainwords"])("user_plainwords_x") == f"user_{MASK}_x"


@pytest.mark.parametrize("piece", ["sk-", "key_", "sk-abcdefgh-", "Bearer ", "eyJaaaaaaaa-", "cashuA", "a", "-*"])
def test_long_texts_of_strangers_take_no_time_to_speak_of(piece: str) -> None:
    # One that looks ahead from every place to the end would be at it for hours.
    assert len(Redactor(["honourable"])(piece * (200_000 // len(piece)))) > 0
