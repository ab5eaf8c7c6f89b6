"""References to secrets: they show where a secret is, and nothing of it."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
import pickle
import traceback

import pytest

from keyfleet.config import Environment, KeyConfig, ProxyUrl, SecretReference
from keyfleet.errors import ConfigurationError

SECRET = "sk-very-secret"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (SECRET, "***"),
        ("${OPENAI_API_KEY_1}", "${OPENAI_API_KEY_1}"),
        ("file:/run/secrets/a", "file:/run/secrets/a"),
        ("file:${KEY_FILE}", "file:${KEY_FILE}"),
        (f"{SECRET}${{A}}", "***${A}"),
        (f"${{A}}{SECRET}${{B}}", "${A}***${B}"),
    ],
)
def test_a_reference_shows_variables_and_paths_and_nothing_literal(text: str, shown: str) -> None:
    reference = SecretReference(text)
    assert str(reference) == f"{reference}" == "%s" % reference == shown  # noqa: UP031 - logging formats this way
    assert repr(reference) == f"SecretReference({shown!r})"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"http://me:{SECRET}@host:8080", "http://me:***@host:8080"),
        (f"http://{SECRET}@host:8080", "http://***@host:8080"),
        ("http://me:${PASSWORD}@host:8080", "http://me:***@host:8080"),
        ("http://127.0.0.1:7890", "http://127.0.0.1:7890"),
        ("${OPENAI_API_PROXY}", "${OPENAI_API_PROXY}"),
        ("file:/run/secrets/proxy", "file:/run/secrets/proxy"),
    ],
)
def test_a_proxy_shows_its_host_and_no_credentials(text: str, shown: str) -> None:
    assert str(ProxyUrl(text)) == shown
    assert repr(ProxyUrl(text)) == f"ProxyUrl({shown!r})"


def test_a_literal_secret_leaves_a_key_configuration_on_no_usual_way(caplog: pytest.LogCaptureFixture) -> None:
    key = KeyConfig(
        name="a",
        api_key=SecretReference(SECRET),
        proxy=ProxyUrl(f"http://me:{SECRET}@host"),
        headers={"X-Token": SecretReference(SECRET)},
    )
    logging.getLogger(__name__).warning("%s %r", key, key.api_key)
    ways = [repr(key), str(key), f"{key}", repr(dataclasses.asdict(key)), repr(copy.deepcopy(key)), caplog.text]
    ways.append(json.dumps(dataclasses.asdict(key), default=str))
    assert not [way for way in ways if SECRET in way]
    assert not hasattr(key.api_key, "__dict__")
    with pytest.raises(TypeError):
        json.dumps(dataclasses.asdict(key))
    with pytest.raises(TypeError, match="can't be pickled"):
        pickle.dumps(key)


@pytest.mark.parametrize("text", ["${A}", "file:/run/a", "file:${A}"])
def test_a_reference_without_a_literal_survives_a_pickle(text: str) -> None:
    assert pickle.loads(pickle.dumps(SecretReference(text))) == SecretReference(text)
    assert pickle.loads(pickle.dumps(ProxyUrl(text))) == ProxyUrl(text)


def test_a_reference_with_some_literal_is_not_pickled() -> None:
    with pytest.raises(TypeError, match="can't be pickled"):
        pickle.dumps(SecretReference(f"${{A}}{SECRET}"))


@pytest.mark.parametrize("text", ["", "  ", "file:", "file: ", "${", "${A", "${A-b}", "${}", "${1}", "${A}${"])
def test_an_empty_or_malformed_reference_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        SecretReference(text)


@pytest.mark.parametrize(
    "text", [SECRET, "host:8080", "ftp://host", "http://", "http://host:sk-very-secret", "http://h:0"]
)
def test_what_is_no_address_of_a_proxy_is_refused_without_quoting_it(text: str) -> None:
    with pytest.raises(ValueError, match="expected a proxy's address") as caught:
        ProxyUrl(text)
    assert SECRET not in "".join(traceback.format_exception(caught.value)).replace("ProxyUrl(text)", "")


def test_variables_are_expanded_and_unset_ones_named() -> None:
    reference = SecretReference("${A}-${B}-${A}")
    assert reference.variables == ("A", "B")
    assert reference.expand(Environment({"A": "1", "B": "2"})) == "1-2-1"
    assert reference.unset_variables(Environment({"A": "1", "B": " "})) == ("B",)
    with pytest.raises(ConfigurationError, match=r"^B is not set") as caught:
        reference.expand(Environment({"A": "1"}))
    assert caught.value.setting == "B"


def test_a_file_expands_to_its_path() -> None:
    reference = SecretReference("file:${DIR}/key")
    assert reference.is_file
    assert reference.expand(Environment({"DIR": "/run"})) == "/run/key"


def test_a_literal_knows_that_it_is_one() -> None:
    assert SecretReference(SECRET).is_literal
    assert not SecretReference("${A}").is_literal
    assert not SecretReference("file:/a").is_literal
