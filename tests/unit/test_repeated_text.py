"""Errors that repeat the request that met them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyfleet_workers.dispatch.repeated_text import MOST_CHARACTERS, SHORTEST_RUN, without_request

PROMPT = "The patient in room 12 is called Erika and takes 40 mg of it, twice a day."


def body_of(content: Any, **fields: Any) -> bytes:
    document = {"model": "gpt-4o-mini-2024-07-18", "messages": [{"role": "user", "content": content}], **fields}
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (f"failed on {PROMPT}", "failed on ***"),
        (f"failed on [{{'content': '{PROMPT[:40]}'}}]", "failed on [{'content': '***'}]"),
        (f"failed on …{PROMPT[20 : 20 + SHORTEST_RUN]}…", "failed on …***…"),
        ("failed on The patient\n in   room 12 is called", "failed on ***"),
        ("Rate limit reached for gpt-4o-mini-2024-07-18 in organization org-x on tokens per min (TPM): Limit 200000",)
        * 2,
        ("The server had an error while processing your request. Sorry about that!",) * 2,
        ("", ""),
    ],
)
def test_what_is_repeated_is_hidden_and_the_rest_stays(message: str, shown: str) -> None:
    assert without_request(message, body_of(PROMPT)) == shown


def test_texts_are_found_wherever_they_stand_in_a_request() -> None:
    parts = [
        {"type": "text", "text": PROMPT},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]
    assert without_request(f"no: {PROMPT}", body_of(parts)) == "no: ***"
    assert without_request(f"no: {PROMPT}", json.dumps({"input": ["x", PROMPT]}).encode()) == "no: ***"
    assert without_request("no: PIN 9041", body_of("PIN 9041")) == "no: ***"
    assert without_request(f"no: {PROMPT}", PROMPT.encode()) == "no: ***", "a body that is no JSON"


def test_a_long_message_is_cut_and_a_short_text_of_no_meaning_hides_nothing() -> None:
    assert len(without_request("x" * 5000, body_of(PROMPT))) == MOST_CHARACTERS
    assert without_request("hello there", body_of("hello")) == "hello there"


@given(st.text(min_size=SHORTEST_RUN), st.text(max_size=40), st.text(max_size=40))
def test_a_text_that_is_repeated_as_a_whole_never_shows(text: str, before: str, after: str) -> None:
    text = " ".join(text.split())
    shown = without_request(f"{before} {text} {after}", body_of(text))
    assert len(text) < SHORTEST_RUN or text not in shown or text in f"{before} {after}"
