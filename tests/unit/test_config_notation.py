"""Durations, percentages, and addresses without their credentials."""

from __future__ import annotations

import pytest

from keyfleet.config import parse_duration_s, parse_percentage, parse_size_bytes, redact_url


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("10m", 600),
        ("2h", 7200),
        ("1h30m", 5400),
        ("500ms", 0.5),
        ("1d", 86400),
        ("600", 600),
        ("0.5", 0.5),
    ],
)
def test_a_duration_is_read_with_and_without_a_unit(text: str, seconds: float) -> None:
    assert parse_duration_s(f" {text.upper()} ") == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "0", "-1", "10 minutes", "m", "nan", "inf", "1e999", "5m-3s"])
def test_what_is_no_duration_above_zero_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected a duration above zero, such as 90s"):
        parse_duration_s(text)


@pytest.mark.parametrize(("text", "share"), [("70%", 0.7), ("0.7", 0.7), ("100%", 1.0), ("1", 1.0), ("0.5 %", 0.005)])
def test_a_percentage_is_read_as_a_share(text: str, share: float) -> None:
    assert parse_percentage(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "%", "0", "0%", "-5%", "101%", "1.01", "70", "nan", "nan%", "inf"])
def test_a_percentage_outside_of_its_bounds_or_without_its_sign_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected a percentage such as 70% or 0\.7"):
        parse_percentage(text)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:hunter2@host:6379/0", "redis://:***@host:6379/0"),
        ("redis://me:hunter2@host/0", "redis://me:***@host/0"),
        ("http://me:hun/t@er;2@proxy:8080", "http://me:***@proxy:8080"),
        ("http://hunter2@proxy", "http://***@proxy"),
        ("http://hunter2:@proxy", "http://***@proxy"),
        ("me:hunter2@proxy:1", "me:***@proxy:1"),
        ("sentinel://:hunter2@a:1;sentinel://:hunter2@b:2", "sentinel://:***@b:2"),
        ("redis://host/0?password=hunter2&db=1", "redis://host/0?password=***&db=1"),
        ("rediss://host?ssl_password=hunter2", "rediss://host?ssl_password=***"),
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
        ("", ""),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert redact_url(url) == shown


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("1500", 1500),
        ("12 b", 12),
        ("100MB", 100_000_000),
        ("100mb", 100_000_000),
        ("1.5G", 1_500_000_000),
        ("2 GiB", 2 * 2**30),
        ("64Ki", 65_536),
        ("1T", 10**12),
    ],
)
def test_a_size_is_read_in_powers_of_1000_or_1024(text: str, size_bytes: int) -> None:
    assert parse_size_bytes(f" {text} ") == size_bytes


@pytest.mark.parametrize("text", ["", "MB", "-1", "1 PB", "1,5G", "10 M B", "1ib", "nan"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected a size such as 100MB, 2GiB"):
        parse_size_bytes(text)
