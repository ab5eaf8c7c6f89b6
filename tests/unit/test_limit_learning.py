"""Limits that nobody configured are learned once and known to all hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
import redis

from keyfleet import redis_keys
from keyfleet.config import Environment, KeyConfig, ModelLimits, ModelSettings, SecretReference, parse_limits
from keyfleet_workers.binding import KeyBinding
from keyfleet_workers.limit_learning import FIRST_CALL_S, KEPT_S, LimitLearner
from keyfleet_workers.provider import LimitReport, SaidLimit

if TYPE_CHECKING:
    from support.stand_in import StandIn

REPORTS = (LimitReport("requests", 60, 59, None, 60), LimitReport("tokens", 1000, 900, None, 60))


class Host:
    """A worker's binding and learner."""

    def __init__(self, client: redis.Redis, requests: tuple[str, ...] = (), *, share: float = 1.0) -> None:
        models = {"m": ModelSettings(ModelLimits(parse_limits(list(requests))))} if requests else {}
        config = KeyConfig("one", SecretReference("${KEY}"), models=models)
        self.binding = KeyBinding(config, Environment({"KEY": "sk-very-secret"}), use=share)
        self.learner = LimitLearner(client, self.binding)

    def limits(self) -> list[tuple[str, int, int]]:
        found = self.binding.quota("m").limits
        return [(limit.unit, limit.amount, limit.window_ms // 1000) for limit in found]

    def pool(self) -> str:
        return self.binding.quota("m").name


@pytest.fixture
def client(stand_in: StandIn) -> redis.Redis:
    return stand_in.client()


def test_nothing_is_known_of_a_quota_without_limits_until_its_first_answer(client: redis.Redis) -> None:
    host = Host(client)
    assert not host.learner.is_met(host.binding.quota("m"))
    host.learner.note(host.binding.quota("m"), (), is_success=True)
    assert host.learner.is_met(host.binding.quota("m"))
    assert host.limits() == []


def test_a_quota_with_limits_is_known(client: redis.Redis) -> None:
    host = Host(client, ("60/minute",))
    assert host.learner.is_met(host.binding.quota("m"))


def test_what_an_answer_tells_holds_from_then_on(client: redis.Redis) -> None:
    host = Host(client)
    host.learner.note(host.binding.quota("m"), REPORTS, is_success=True)
    assert host.limits() == [("requests", 60, 60), ("tokens", 1000, 60)]
    raised = (LimitReport("requests", 500, 499, None, 60),)
    host.learner.note(host.binding.quota("m"), raised, is_success=True)
    assert host.limits() == [("requests", 500, 60), ("tokens", 1000, 60)]


def test_the_share_that_may_be_used_is_taken_of_what_is_learned(client: redis.Redis) -> None:
    host = Host(client, share=0.5)
    host.learner.note(host.binding.quota("m"), REPORTS, is_success=True)
    assert host.limits() == [("requests", 30, 60), ("tokens", 500, 60)]


def test_a_configured_limit_stays_and_those_of_the_other_unit_are_learned(client: redis.Redis) -> None:
    host = Host(client, ("30/minute",))
    host.learner.note(host.binding.quota("m"), REPORTS, is_success=True)
    assert host.limits() == [("requests", 30, 60), ("tokens", 1000, 60)]


def test_a_limit_that_a_request_was_too_large_for_holds_beside_a_larger_configured_one(client: redis.Redis) -> None:
    host = Host(client, ("3000/minute",))
    host.learner.note_ceiling(host.binding.quota("m"), SaidLimit("requests", 500, 60, 501))
    assert host.limits() == [("requests", 500, 60)]


def test_other_hosts_know_it_after_their_next_look(client: redis.Redis) -> None:
    first, second = Host(client), Host(client)
    assert second.limits() == []
    first.learner.note(first.binding.quota("m"), REPORTS, is_success=True)
    first.learner.note_ceiling(first.binding.quota("m"), SaidLimit("tokens", 400, 60, 500))
    second.learner.refresh()
    assert second.limits() == first.limits() == [("requests", 60, 60), ("tokens", 400, 60)]
    assert second.learner.is_met(second.binding.quota("m"))


def test_one_worker_at_a_time_finds_out_and_the_others_hear_of_it(client: redis.Redis) -> None:
    first, second = Host(client), Host(client)
    quotas = [host.binding.quota("m") for host in (first, second)]
    assert first.learner.may_be_first(quotas[0])
    assert not second.learner.may_be_first(quotas[1])
    assert first.learner.may_be_first(quotas[0])
    first.learner.note(quotas[0], (), is_success=True)  # a provider that tells nothing of its limits
    second.learner.refresh()
    assert second.learner.is_met(quotas[1])


def test_an_error_without_headers_tells_nothing_of_how_fast_a_quota_may_be_used(client: redis.Redis) -> None:
    host = Host(client)
    host.learner.note(host.binding.quota("m"), (), is_success=False)
    assert not host.learner.is_met(host.binding.quota("m"))
    host.learner.note(host.binding.quota("m"), REPORTS, is_success=False)
    assert host.learner.is_met(host.binding.quota("m"))


def test_a_worker_that_has_just_come_reads_what_is_known_before_its_first_call(client: redis.Redis) -> None:
    first, second = Host(client), Host(client)
    first.learner.note(first.binding.quota("m"), REPORTS, is_success=True)
    assert not second.learner.may_be_first(second.binding.quota("m"))
    assert second.limits() == first.limits()
    assert second.learner.is_met(second.binding.quota("m"))


def test_a_first_call_that_was_not_made_is_left_to_another_and_to_nobody_elses_harm(client: redis.Redis) -> None:
    first, second = Host(client), Host(client)
    quotas = [host.binding.quota("m") for host in (first, second)]
    assert first.learner.may_be_first(quotas[0])
    second.learner.is_not_first(quotas[1])
    assert not second.learner.may_be_first(quotas[1])
    first.learner.is_not_first(quotas[0])
    assert second.learner.may_be_first(quotas[1])


def test_a_worker_that_was_lost_with_the_first_call_is_followed_by_another(
    client: redis.Redis, stand_in: StandIn
) -> None:
    first, second = Host(client), Host(client)
    assert first.learner.may_be_first(first.binding.quota("m"))
    stand_in.clock.advance_ms(FIRST_CALL_S * 1000 + 1)
    assert second.learner.may_be_first(second.binding.quota("m"))


def test_what_was_learned_is_forgotten_in_the_end(client: redis.Redis) -> None:
    host = Host(client)
    host.learner.note(host.binding.quota("m"), REPORTS, is_success=True)
    left_s = cast(int, client.ttl(redis_keys.learned_limits(host.pool())))
    assert 0 < left_s <= KEPT_S


@pytest.mark.parametrize(
    ("name", "amount"), [("x", "1"), ("tokens:60", "-5"), ("tokens:60", "many"), ("tokens:", "5"), ("tokens:6x", "5")]
)
def test_what_makes_no_sense_in_the_broker_is_passed_over(client: redis.Redis, name: str, amount: str) -> None:
    host = Host(client)
    assert host.limits() == []
    client.hset(redis_keys.learned_limits(host.pool()), name, amount)
    host.learner.refresh()
    assert host.limits() == []


def test_a_broker_that_is_away_keeps_nobody_from_learning(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(client)

    def fail(*arguments: object, **options: object) -> None:
        raise redis.ConnectionError("gone")

    monkeypatch.setattr(client, "pipeline", fail)
    host.learner.note(host.binding.quota("m"), REPORTS, is_success=True)
    assert host.limits() == [("requests", 60, 60), ("tokens", 1000, 60)]


def test_limits_of_images_are_learned_and_known_to_all_hosts(client: redis.Redis) -> None:
    host, other = Host(client), Host(client)
    host.learner.note(host.binding.quota("m"), (LimitReport("images", 50, 49, None, 60),), is_success=True)
    host.learner.note_ceiling(host.binding.quota("m"), SaidLimit("images", 5, 1, 6))
    other.binding.quota("m")
    other.learner.refresh()
    assert host.limits() == other.limits() == [("images", 50, 60), ("images", 5, 1)]
