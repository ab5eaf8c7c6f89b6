"""Limits in the keys file: the short fields beside the notation of `limits`, in every place where limits stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from keyfleet.config import Environment, KeyConfig, ModelLimits, load_keys_file, parse_limits
from keyfleet.config.notation import LARGEST_AMOUNT, parse_amount
from keyfleet.errors import KeysFileError

KEY = "keys:\n- name: a\n  api_key: ${A}\n"


def load(tmp_path: Path, text: str) -> tuple[KeyConfig, ...]:
    path = tmp_path / "keys.yaml"
    path.write_text(text, encoding="utf-8")
    return load_keys_file(path, Environment({}))


def limits(requests: tuple[str, ...] = (), tokens: tuple[str, ...] = (), images: tuple[str, ...] = ()) -> ModelLimits:
    return ModelLimits(parse_limits(requests), parse_limits(tokens), parse_limits(images))


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("500", 500),
        ("200_000", 200_000),
        ("450k", 450_000),
        ("450 K", 450_000),
        ("2M", 2_000_000),
        ("1.5M", 1_500_000),
        ("0.001k", 1),
        ("500.0", 500),
        (str(LARGEST_AMOUNT), LARGEST_AMOUNT),
    ],
)
def test_an_amount_may_be_short(text: str, amount: int) -> None:
    assert parse_amount(text) == amount


@pytest.mark.parametrize(
    "text", ["", "0", "-5", "2m", "2G", "1.5", "1.0005k", "1e6", "k", "5/minute", "inf", "9999999999M", "²"]
)
def test_what_is_no_whole_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected an amount such as 500, 450k or 1\.5M"):
        parse_amount(text)


def test_amounts_may_be_short_in_the_notation_of_limits_too() -> None:
    assert parse_limits(["450k/minute", "1.5M per day; 10K / 10 second"]) == parse_limits(
        ["450000/minute", "1500000/day", "10000/10 second"]
    )


@pytest.mark.parametrize("text", ["450m/minute", "1.5/minute", "0.1k5/minute", "1.0005k/minute", "k/minute", "5k"])
def test_an_odd_amount_in_a_limit_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="expected a limit such as 500/minute"):
        parse_limits([text])


def test_a_key_takes_both_spellings_side_by_side(tmp_path: Path) -> None:
    (key,) = load(tmp_path, KEY + "  rpm: 500\n  tpm: 450k\n  rpd: 10_000\n  tpd: 2M\n  requests: 10/second\n")
    assert key.limits == limits(("500/minute", "10000/day", "10/second"), ("450000/minute", "2000000/day"))


def test_models_and_groups_take_them_as_well(tmp_path: Path) -> None:
    text = "groups: {g: {rpm: 9}}\n" + KEY + "  group: g\n  models: {o1: {tpm: 2k, tokens: [50/second], rpd: 7}}\n"
    (key,) = load(tmp_path, text)
    assert key.models["o1"].limits == limits(("7/day",), ("2000/minute", "50/second"))
    assert key.group_settings is not None
    assert key.group_settings.limits == limits(("9/minute",))


def test_limits_of_images_stand_wherever_others_do(tmp_path: Path) -> None:
    text = "groups: {g: {ipm: 9}}\n" + KEY + "  group: g\n  models: {a: {ipm: 50, ipd: 1k}, b: {images: [5/second]}}\n"
    (key,) = load(tmp_path, text)
    assert key.models["a"].limits == limits(images=("50/minute", "1000/day"))
    assert key.models["b"].limits == limits(images=("5/second",))
    assert key.group_settings is not None
    assert key.group_settings.limits == limits(images=("9/minute",))


def test_limits_of_images_at_the_key_replace_those_of_the_defaults_and_no_others(tmp_path: Path) -> None:
    (key,) = load(tmp_path, "defaults: {ipm: 5, ipd: 6, rpm: 7}\n" + KEY + "  images: 8/hour\n")
    assert key.limits == limits(("7/minute",), (), ("8/hour",))


def test_any_limit_of_requests_at_the_key_replaces_those_of_the_defaults(tmp_path: Path) -> None:
    defaults = "defaults: {requests: [5/minute, 6/day], tpm: 7}\n"
    replaced, removed, kept = load(
        tmp_path,
        defaults + KEY + "  rpd: 8\n- {name: b, api_key: file:/b, tokens: }\n- {name: c, api_key: file:/c}\n",
    )
    assert replaced.limits == limits(("8/day",), ("7/minute",))
    assert removed.limits == limits(("5/minute", "6/day"))
    assert kept.limits == limits(("5/minute", "6/day"), ("7/minute",))


@pytest.mark.parametrize(
    ("text", "line_number", "message"),
    [
        (KEY + "  rpm: 5\n  requests: [9/day, 7/minute]\n", 5, "`requests` and `rpm` both limit the requests per 60 s"),
        (KEY + "  images: 5/minute\n  ipm: 7\n", 5, "`ipm` and `images` both limit the images per 60 s"),
        (KEY + "  models: {o1: }\n  ipd: 5\n", 5, "`ipd` beside `models`; expected the limits at each model"),
        (KEY + "  tokens: 5/day\n  tpd: 7\n", 5, "`tpd` and `tokens` both limit the tokens per 86400 s"),
        (KEY + "  rpm: 5/minute\n", 4, "`rpm`: expected an amount such as 500, 450k or 1.5M"),
        (KEY + "  tpm: [5]\n", 4, "`tpm`: expected one value"),
        (KEY + "  requests: [5/minute, 6/60 second]\n", 4, "two limits for the same window of 60 s"),
        (KEY + "  models: {o1: }\n  tpm: 5\n", 5, "`tpm` beside `models`; expected the limits at each model"),
        (KEY + "  models: {o1: {rpm: 5, requests: 5/minute}}\n", 4, "`requests` and `rpm` both limit"),
        ("defaults: {rpm: 5,\n  requests: 6/minute}\n" + KEY, 2, "`requests` and `rpm` both limit the requests"),
        ("groups: {g: {tpm: x}}\n" + KEY + "  group: g\n", 1, "`tpm`: expected an amount"),
    ],
)
def test_an_error_names_the_line_and_the_field(tmp_path: Path, text: str, line_number: int, message: str) -> None:
    with pytest.raises(KeysFileError) as caught:
        load(tmp_path, text)
    assert message in str(caught.value)
    assert caught.value.line_number == line_number
