"""What objects show of themselves: no secret, and nothing of prompts and answers."""

from __future__ import annotations

import dataclasses
import gc
import importlib
import pkgutil
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import keyfleet
import keyfleet_workers
from keyfleet.broker import celery_url, connect
from keyfleet.config import Environment, Settings, find_keys
from keyfleet.embedded import EmbeddedServer
from keyfleet.sim import SimConfig, SimKey
from keyfleet_workers.binding import KeyBinding
from keyfleet_workers.celery_app import build_app
from keyfleet_workers.cli.keys_desk import KeysDesk
from keyfleet_workers.process import WorkerOptions
from keyfleet_workers.provider import ProviderClient
from keyfleet_workers.provider.client import ReadOnceEnvironment
from keyfleet_workers.runtime import WorkerRuntime
from keyfleet_workers.secrets import Secret, resolve

MARKER = "prompt-of-ours-nobody-shall-read"
KEY, PASSWORD, HEADER, BROKER = "sk-Zq7vXw2pLk9sTf4rBn6m", "pr0xy-w0rd", "t0p-secret-header", "br0ker-w0rd"
SECRETS = (KEY, PASSWORD, HEADER, BROKER)

PRIVATE_NAMES = frozenset(
    {
        *("api_key", "secret", "password", "broker_url"),
        *("body", "text", "document", "metadata", "context", "prompts"),
    }
)
"""Fields that hold secrets, or parts of requests and answers, wherever their type is a plain one."""

PLAIN_TYPES = ("str", "Any", "dict[str, Any]", "tuple[str")


def classes() -> list[type]:
    """All classes of both packages."""
    found = set()
    for package in (keyfleet, keyfleet_workers):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                found |= {one for one in vars(importlib.import_module(module.name)).values() if isinstance(one, type)}
    return sorted((one for one in found if is_ours(one)), key=lambda one: f"{one.__module__}.{one.__qualname__}")


def is_ours(one: type) -> bool:
    return one.__module__.partition(".")[0] in ("keyfleet", "keyfleet_workers")


def is_private(field: dataclasses.Field[Any]) -> bool:
    kind = str(field.type)
    return kind.startswith(("bytes", "Mapping[str, str]")) or (
        field.name in PRIVATE_NAMES and kind.startswith(PLAIN_TYPES)
    )


def holding_a_marker(one: type) -> tuple[Any, int]:
    """An instance whose private fields hold the marker, made without its constructor, and how many these are."""
    instance: Any = object.__new__(one)
    private = [field.name for field in dataclasses.fields(one) if is_private(field)]
    for field in dataclasses.fields(one):
        object.__setattr__(instance, field.name, MARKER if field.name in private else 0)
    return instance, len(private)


def shown_of(thing: object) -> str:
    return f"{thing!r} {thing!s} {thing}"


def test_nothing_that_holds_a_secret_a_prompt_or_an_answer_shows_it() -> None:
    found = 0
    for one in classes():
        if dataclasses.is_dataclass(one) and not issubclass(one, BaseException):
            instance, private = holding_a_marker(one)
            found += private
            if private:
                assert MARKER not in shown_of(instance), f"{one.__module__}.{one.__qualname__}"
    assert found >= 30


KEYS_FILE = f"""
keys:
  - name: one
    api_key: {KEY}
    base_url: http://127.0.0.1:9/v1
    proxy: http://team:{PASSWORD}@127.0.0.1:9
    headers: {{x-token: {HEADER}}}
  - name: two
    api_key: ${{THE_KEY}}
"""


@pytest.fixture
def holders(tmp_path: Path) -> Iterator[list[Any]]:
    """What lives in a worker, a command and the stand-in, with real secrets in it."""
    path = tmp_path / "keys.yaml"
    path.write_text(KEYS_FILE, encoding="utf-8")
    path.chmod(0o600)
    url = f"redis://:{BROKER}@127.0.0.1:9/0"
    env = Environment({"THE_KEY": KEY, "KEYFLEET_BROKER_URL": url, "HOME": str(tmp_path)})
    settings = Settings.from_environment(env)
    source = find_keys(option_path=path, env=env, cwd=tmp_path)
    binding = KeyBinding(source.keys[0], env)
    client = ProviderClient(binding, connect_timeout_s=1.0, environment=ReadOnceEnvironment({}, True))
    app = build_app(settings, binding, url)
    yield [
        *(env, settings, source, binding, client, app, resolve(source.keys[1].api_key, env), connect(url)),
        WorkerOptions(settings, url),
        WorkerRuntime(app, settings, binding, celery_url(url)),
        KeysDesk(settings, source, env),
        SimConfig(keys=(SimKey(name="one", api_key=KEY),)),
        EmbeddedServer(tmp_path / "state"),
    ]
    app.close()
    client.close()


def reached_from(things: list[Any]) -> list[Any]:
    """All objects of ours that can be reached from `things`, through any containers and closures."""
    seen: dict[int, Any] = {}
    waiting = deque(things)
    while waiting:
        thing = waiting.popleft()  # the nearest first: the rest of the process is within reach too, and has no end
        is_code = isinstance(thing, (type, type(dataclasses))) or callable(getattr(thing, "__globals__", None))
        if id(thing) not in seen and not is_code and len(seen) < 500_000:
            seen[id(thing)] = thing
            waiting += [one for one in gc.get_referents(thing) if not isinstance(one, (type, type(dataclasses)))]
    return [thing for thing in seen.values() if is_ours(type(thing))]


def test_no_object_that_can_be_reached_in_a_worker_or_a_command_shows_a_secret(holders: list[Any]) -> None:
    reached = reached_from(holders)
    kinds = {type(one).__name__ for one in reached}
    assert kinds >= {"KeyBinding", "KeyConfig", "Secret", "SecretReference", "ProxyUrl", "Environment", "Settings"}
    assert kinds >= {"ProviderClient", "WorkerRuntime", "WorkerOptions", "KeysDesk", "KeySource", "SimKey"}
    assert any(isinstance(one, Secret) and one.reveal() == KEY for one in reached), "secrets are within reach"
    for thing in [*reached, *holders]:
        shown = shown_of(thing)
        assert [secret for secret in SECRETS if secret in shown] == [], type(thing)
