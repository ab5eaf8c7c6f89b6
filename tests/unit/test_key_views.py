"""How keys stand, as an operator sees it: states, limits, models and workers, on all hosts."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import redis

from keyfleet import redis_keys
from keyfleet.config import Environment, KeyConfig, ModelLimits, ModelSettings, SecretReference, parse_limits
from keyfleet.redis_keys import QueueKeys
from keyfleet_workers.binding import KeyBinding
from keyfleet_workers.holds import Holds, KeyScopes, KeyState, pool_scope
from keyfleet_workers.key_leases import KeyLeases
from keyfleet_workers.key_views import FleetView, KeyView
from keyfleet_workers.limiter import ExactRedisStorage
from support.stand_in import StandIn

ENV = Environment({"KEY": "sk-of-one"})


def limits_of(requests: str) -> ModelSettings:
    return ModelSettings(ModelLimits(parse_limits([requests])))


ONE = KeyConfig("one", SecretReference("${KEY}"), models={"m": limits_of("60/minute"), "n*": limits_of("5/day")})


class Seen:
    """One key on a stand-in server, and what is seen of it from the host `here`."""

    def __init__(self, client: redis.Redis, config: KeyConfig = ONE) -> None:
        self.client = client
        self.config = config
        self.binding = KeyBinding(config, ENV)
        self.holds = Holds(client, declare_flags=False)

    def scopes(self, host: str = "here") -> KeyScopes:
        return KeyScopes(self.binding.fingerprint, self.binding.group, host)

    def fleet(self) -> FleetView:
        return FleetView(self.client, ["main"], "here", declare_flags=False)

    def view(self) -> KeyView:
        return self.fleet().key(self.config, KeyBinding(self.config, ENV))

    def add_worker(self, host: str, state: str = "ready", rest_s: float | None = 0.0) -> None:
        name = f"one:{host}"
        status = {
            "key": "one",
            "host": host,
            "in_flight": 3,
            "slots": 8,
            "short_of_slots": False,
            "waits": {},
            "limits": [],
            "totals": {},
            "queues": {},
            "has_left": False,
            "state": {"name": state, "reason": "said by its worker", "rest_s": rest_s},
        }
        self.client.zadd(redis_keys.workers("main"), {name: 2**50})
        self.client.set(redis_keys.worker("main", name), json.dumps(status))


@pytest.fixture
def seen(stand_in: StandIn) -> Seen:
    return Seen(stand_in.client())


def test_a_key_that_nothing_holds_is_ready(seen: Seen) -> None:
    view = seen.view()
    assert (view.state_name, view.gravest, view.problem, view.workers) == ("ready", None, None, ())


def test_the_state_that_matters_most_comes_first(seen: Seen) -> None:
    seen.holds.set(seen.scopes().failing, KeyState.COOLING, "server_error", 5000)
    seen.holds.set(pool_scope(seen.binding.quota("m").name), KeyState.RESTING, "per day", 9000)
    assert seen.view().state_name == "cooling", "what holds a pool came before what holds the key"
    seen.holds.set(seen.scopes().credit, KeyState.OUT_OF_CREDIT, "no money", None)
    view = seen.view()
    assert view.gravest is not None
    assert (view.state_name, view.gravest.reason, view.gravest.rest_s) == ("out_of_credit", "no money", None)
    assert {(state.state, state.rest_s) for state in view.states} == {
        (KeyState.COOLING, 5.0),
        (KeyState.RESTING, 9.0),
        (KeyState.OUT_OF_CREDIT, None),
    }


def test_what_a_project_has_spent_is_seen_at_its_own_key_and_ended_with_all_else_that_holds_it(seen: Seen) -> None:
    in_group = Seen(seen.client, replace(ONE, group="org"))
    in_group.holds.set(in_group.scopes().own_credit, KeyState.OUT_OF_CREDIT, "the project's limit", None)
    assert in_group.view().state_name == "out_of_credit"
    assert in_group.holds.lift(*in_group.fleet().all_scopes(in_group.binding)) == 1
    assert in_group.view().state_name == "ready"


def test_a_pool_that_rests_is_named(seen: Seen) -> None:
    name = seen.binding.quota("m").name
    seen.holds.set(pool_scope(name), KeyState.RESTING, "per day", 9000)
    (state,) = seen.view().states
    assert (state.pool, state.host) == (name, None)


def test_a_key_that_another_host_can_not_reach_is_seen_with_that_host(seen: Seen) -> None:
    seen.add_worker("there")
    seen.holds.set(seen.scopes("there").way, KeyState.UNREACHABLE, "no way", 5000)
    (state,) = seen.view().states
    assert (state.state, state.host) == (KeyState.UNREACHABLE, "there")


def test_limits_say_what_is_used_and_left_of_each_pool(seen: Seen) -> None:
    storage = ExactRedisStorage("keyfleet+unix://", connection_pool=seen.client.connection_pool, declare_flags=False)
    storage.reserve(seen.binding.quota("m").limits, [(1,), (1,), (1,)])
    found = {limit.models: (limit.amount, limit.window_s, limit.used, limit.left) for limit in seen.view().limits}
    assert found == {("m",): (60, 60, 3, 57), ("n*",): (5, 86400, 0, 5)}


def test_learned_limits_of_models_that_were_asked_for_are_seen(stand_in: StandIn) -> None:
    seen = Seen(stand_in.client(), KeyConfig("one", SecretReference("${KEY}")))
    assert seen.view().limits == ()
    seen.client.sadd(redis_keys.queues("main"), "m")
    seen.client.hset(redis_keys.learned_limits(seen.binding.quota("m").pools[0].name), "requests:60", "40")
    (limit,) = seen.view().limits
    assert (limit.models, limit.amount, limit.left, limit.is_configured) == (("m",), 40, 40, False)


def test_models_that_the_key_lost_are_named_until_they_are_tried_again(seen: Seen, stand_in: StandIn) -> None:
    seen.client.sadd(redis_keys.queues("main"), "m", "n1")
    seen.client.hset(QueueKeys("main", "m").lost, "one", str(stand_in.clock.now_ms + 1000))
    seen.client.hset(QueueKeys("main", "n1").lost, "one", str(stand_in.clock.now_ms - 1000))
    assert seen.view().lost_models == ("m",)
    assert seen.fleet().find_models(ONE) == 2
    assert seen.view().lost_models == ()


def test_workers_are_seen_by_their_hosts(seen: Seen) -> None:
    for host in ("there", "here"):
        seen.add_worker(host)
    view = seen.view()
    assert (view.workers, view.in_flight) == (("here", "there"), 6)


def test_where_the_secret_is_not_here_workers_tell_of_the_key(seen: Seen) -> None:
    view = seen.fleet().key(ONE, "not set here: KEY")
    assert (view.state_name, view.problem, view.limits) == ("unknown", "not set here: KEY", ())
    seen.add_worker("there")
    assert seen.fleet().key(ONE, "not set here: KEY").state_name == "ready"
    seen.add_worker("there", "revoked", None)
    view = seen.fleet().key(ONE, "not set here: KEY")
    assert (view.state_name, [state.reason for state in view.states]) == ("revoked", ["said by its worker"])


def test_workers_that_left_a_key_out_are_called_back(seen: Seen) -> None:
    seen.fleet().call_back(["one"])
    leases = KeyLeases(lambda: seen.client, "main", lease_ms=1000, declare_flags=False)
    assert leases.called_back_s(["one", "two"]) == {"one": 0.0}
