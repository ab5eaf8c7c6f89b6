"""Errors that cross processes."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from keyfleet.contract import AttemptError
from keyfleet.errors import InvalidRequest, KeyfleetError, KeysFileError, NoKeyServes, ProviderError

ERRORS: list[KeyfleetError] = [
    KeyfleetError("plain"),
    KeysFileError("wrong", path=Path("keys.yaml"), line_number=3),
    InvalidRequest("model: missing", code="missing_model", field="model"),
    ProviderError("HTTP 500", status=500, body={"error": {}}, errors=(AttemptError(500, "c", "m"),), key_name="k"),
    NoKeyServes("none", model="m", served=("a", "b")),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_comes_back_whole_from_another_process(error: KeyfleetError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))
