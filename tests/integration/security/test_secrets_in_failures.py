"""Providers and proxies that repeat the keys and passwords they were given, in whole and in part: no trace is kept."""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis
import yaml

from support import Command, Place, ServerProcess, bare_line, command_line, rows_of, wait_until, write_lines
from support.echoing_provider import PARROTS, WAYS, EchoingProvider
from support.secret_hunt import Eavesdropper, contents_of, everything_in, forms_of, traces_in
from support.small_proxy import PASSWORD, USER, SmallProxy

MARKER = "prompt-of-ours-nobody-shall-read"
BROKER_PASSWORD = "br0ker/w0rd@home"
LINES_PER_KEY = 2
PROXIED, PROXIED_CAPTIVE = "through-a-proxy", "through-a-captive-one"


def secret_of(way: str) -> str:
    """A key that resembles no other."""
    return hashlib.sha256(way.encode()).hexdigest()[:40]


REPEATED_KEYS = (*WAYS, PROXIED, PROXIED_CAPTIVE)
SECRETS = {way: secret_of(way) for way in (*REPEATED_KEYS, *PARROTS)}
FORMS = [form for secret in SECRETS.values() for form in forms_of(secret)]
FORMS += forms_of(PASSWORD, with_ends=False) + forms_of(f"{USER}:{PASSWORD}", with_ends=False)
FORMS += [BROKER_PASSWORD.encode(), quote(BROKER_PASSWORD, safe="").encode()]


@dataclass(frozen=True)
class Scene:
    """A job whose keys all fail, each in its own way, until `mend`."""

    place: Place
    provider: EchoingProvider
    proxy: SmallProxy
    ear: Eavesdropper

    @property
    def said(self) -> bytes:
        """All that processes have written into files, but the input and the keys."""
        paths = [path for path in self.place.directory.rglob("*") if path.is_file()]
        return b"\n".join(path.read_bytes() for path in paths if path.name not in ("in.jsonl", "kept.yaml"))

    def start(self, ways: Sequence[str]) -> Command:
        """Start the job and its workers, all talkative, with a key that fails in each of `ways`."""
        write_keys(self.place.directory / "kept.yaml", ways, self.provider, self.proxy)
        lines = [bare_line(n, MARKER, model=f"m-{way}") for way in ways for n in range(LINES_PER_KEY)]
        write_lines(self.place.directory / "in.jsonl", lines)
        return self.place.start("run", "in.jsonl", "--workers", "--log-level", "debug", "--max-attempts", "9")

    def client(self) -> redis.Redis:
        """A client that knows the password."""
        client: redis.Redis = redis.Redis.from_url(self.place.settings["KEYFLEET_BROKER_URL"])
        return client

    def end(self, run: Command, served: set[str]) -> None:
        """Let the keys that were enabled serve their models, then end the job, whatever others still wait for."""
        wait_until(lambda: self.answered() >= served, "keys that were enabled serve their requests")
        run.signal(signal.SIGINT)
        interrupted_at_its_very_end = -signal.SIGINT  # for a shell it is 130 too
        assert run.wait() in (0, 1, 130, interrupted_at_its_very_end), run.stderr

    def answered(self) -> set[str]:
        """Models that have a response."""
        rows = rows_of(self.place.directory / "in_results.jsonl")
        return {request["model"] for request, answer, *_ in rows if isinstance(answer, dict)}

    def mend(self) -> None:
        """From now on all answer well."""
        self.provider.is_good = True
        self.proxy.refusal = None


@pytest.fixture
def scene(place: Place, broker: ServerProcess) -> Iterator[Scene]:
    with (
        EchoingProvider() as provider,
        SmallProxy({"provider.test": provider.port}) as proxy,
        Eavesdropper(broker.socket_path) as ear,
    ):
        with broker.client() as client:
            client.config_set("requirepass", BROKER_PASSWORD)
        proxy.refusal = f"407 {USER}:{PASSWORD} is not welcome".encode()
        place.settings["KEYFLEET_BROKER_URL"] = f"unix://:{quote(BROKER_PASSWORD, safe='')}@{broker.socket_path}"
        place.settings["KEYFLEET_KEYS"] = "kept.yaml"
        yield Scene(place, provider, proxy, ear)


def write_keys(path: Path, ways: Sequence[str], provider: EchoingProvider, proxy: SmallProxy) -> None:
    """A key per way, each for a model of its own, so that every key is used."""
    keys: list[dict[str, Any]] = []
    for way in ways:
        key: dict[str, Any] = {
            "name": way,
            "api_key": SECRETS[way],
            "models": {f"m-{way}": {"requests": ["100/second"]}},
        }
        key["base_url"] = provider.base_url(way)
        if way in (PROXIED, PROXIED_CAPTIVE):
            key["base_url"] = provider.base_url("captive" if way == PROXIED_CAPTIVE else way, "provider.test")
            key["proxy"] = proxy.url("http")
        keys.append(key)
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump({"keys": keys}), encoding="utf-8")


def test_no_trace_of_what_providers_and_proxies_repeat_is_kept_or_said(scene: Scene) -> None:
    run, place = scene.start(REPEATED_KEYS), scene.place
    wait_until(lambda: set(scene.provider.calls) >= set(WAYS), "each key was repeated")
    wait_until(lambda: len(scene.proxy.asked) >= 2, "both keys have met the proxy")
    assert place.run("keys", "probe", "revoked-part", "revoked-whole").code == 1
    states = {key["name"]: key["state"] for key in json.loads(place.run("keys", "--json").stdout)}
    assert (states["revoked-part"], states["no-credit"]) == ("revoked", "out_of_credit")
    assert "Incorrect API key: ***" in place.run("keys", COLUMNS="400").stdout
    checked = place.run("keys", "check")
    assert checked.code == 1
    assert "revoked-whole: is refused (invalid_api_key: Incorrect API key: ***" in checked.stdout
    pids = place.pids()
    commands = [command_line(pid) for pid in pids]
    environments = [(Path("/proc") / str(pid) / "environ").read_bytes() for pid in pids]
    assert len(pids) > len(REPEATED_KEYS), "the workers run"
    with scene.client() as client:
        in_mid_job = contents_of(client)
        scene.mend()
        assert place.run("keys", "enable", *REPEATED_KEYS).code == 0
        scene.end(run, {"m-revoked-whole", "m-revoked-part", "m-no-credit"})
        at_the_end = b"\n".join(everything_in(client))

    assert traces_in("\n".join(commands).encode(), FORMS) == []
    forms_of_keys = [form for form in FORMS if BROKER_PASSWORD[:5].encode() not in form]
    assert traces_in(b"\n".join(environments), forms_of_keys) == []
    assert traces_in(b"\n".join(part for pair in in_mid_job.items() for part in pair), FORMS) == []
    assert traces_in(at_the_end, FORMS) == []
    forms_that_are_sent = [form for form in FORMS if form != BROKER_PASSWORD.encode()]
    assert len(scene.ear.heard) > 100_000
    assert traces_in(scene.ear.heard, forms_that_are_sent) == []
    assert traces_in(scene.said, FORMS) == []


def test_prompts_are_only_in_the_ledger_and_in_the_output(scene: Scene) -> None:
    run = scene.start(tuple(PARROTS))
    wait_until(lambda: set(scene.provider.calls) >= set(PARROTS), "the prompts were repeated")
    with scene.client() as client:
        in_mid_job = contents_of(client)
    scene.mend()
    assert scene.place.run("keys", "enable", *PARROTS).code == 0
    scene.end(run, {"m-parrot-revoked", "m-parrot-no-credit"})
    holders = {name for name, content in in_mid_job.items() if MARKER.encode() in content}
    assert holders
    assert {name.rpartition(b":")[2] for name in holders} <= {b"requests", b"outcomes", b"attempts"}
    for kind, command in ((b":celery:", b"LPUSH"), (b":celery:", b"PUBLISH"), (b":hold:", b'"SET"')):
        # A script is given the ledger's keys beside those of tickets; what it does with each is heard line by line.
        sent = [line for line in scene.ear.heard.splitlines() if kind in line and b'"EVALSHA"' not in line]
        assert any(command in line for line in sent)
        assert [line for line in sent if MARKER.encode() in line] == []
    paths = [path for path in scene.place.directory.rglob("*") if path.is_file()]
    telling = {path.name for path in paths if MARKER.encode() in path.read_bytes()}
    assert telling == {"in.jsonl", "in_results.jsonl"}
