"""A secret leaves the process in no text; what is no secret is left alone."""

from __future__ import annotations

import os
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yearling.redact import MARK, SHORTEST, redact, redactor

SECRET = "sk-Qz93+kf/Aq0=="


@pytest.fixture(autouse=True)
def _empty(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    "name",
    [
        *("OPENAI_API_KEY", "HF_TOKEN", "CLIENT_SECRET", "DB_PASSWORD", "pgpasswd", "GOOGLE_APPLICATION_CREDENTIALS"),
        *("AZURE_STORAGE_CONNECTION_STRING", "BLOB_SAS"),
    ],
)
def test_what_an_environment_names_as_secret_is_taken_out(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, SECRET)
    assert redact(f"a {SECRET}, b{SECRET}c") == f"a {MARK}, b{MARK}c"


@pytest.mark.parametrize("name", ["HOME", "PATH", "SAS_PORT", "USER"])
def test_what_is_no_secret_stays(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, SECRET)
    assert redact(f"a {SECRET}") == f"a {SECRET}"


def test_without_secrets_a_text_is_itself() -> None:
    assert redact("a\nb") == "a\nb" and redactor("", "short")("short") == "short"


def test_a_secret_in_an_address_is_taken_out_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", SECRET)
    said = redact(f"GET /x?key={quote(SECRET, safe='')}&y=1")
    assert said == f"GET /x?key={MARK}&y=1"


def test_a_key_with_an_end_of_line_is_found_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", SECRET + "\n")
    assert redact(f"Bearer {SECRET}") == f"Bearer {MARK}"


def test_a_short_value_is_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_LAYOUT", "a" * (SHORTEST - 1))
    assert redact("a" * (SHORTEST - 1)) == "a" * (SHORTEST - 1)
    monkeypatch.setenv("KEY_LAYOUT", "a" * SHORTEST)
    assert redact("a" * SHORTEST) == MARK


def test_of_two_secrets_the_longer_goes_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "abcdefgh")
    monkeypatch.setenv("B_KEY", "abcdefghijkl")
    assert redact("abcdefghijkl abcdefgh") == f"{MARK} {MARK}"


def test_a_redactor_keeps_what_it_was_built_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "abcdefgh")
    built = redactor("token-12345")
    monkeypatch.delenv("A_KEY")
    assert built("abcdefgh token-12345") == f"{MARK} {MARK}"
    assert redact("abcdefgh") == "abcdefgh"


secrets = st.text("XYZ+/=%.*\\(", min_size=SHORTEST, max_size=20)


@given(
    st.lists(secrets, min_size=1, max_size=4), st.lists(st.one_of(st.text("XYabc +", max_size=5), st.integers(0, 3)))
)
def test_no_secret_is_left_in_any_text(secrets: list[str], parts: list[str | int]) -> None:
    texts = [part if isinstance(part, str) else secrets[part % len(secrets)] for part in parts]
    said = redactor(*secrets)("".join(texts))
    assert not any(secret in said for secret in secrets)
