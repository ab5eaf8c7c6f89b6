"""`keyfleet flower` beside real workers: what its page shows is so, and what is done there happens."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Browser

from keyfleet.sim import SimConfig, SimLatency, SimProcess
from support import Place, ServerProcess, bare_line, sim_key, wait_until, write_lines
from support.browser import looked_at
from support.flower import Flower
from support.server import running

pytestmark = pytest.mark.xdist_group("browser")

NAMES = ("first", "second")
HOST = socket.gethostname()


class Fleet:
    """Two keys that work, as long as the tests take, on one job."""

    def __init__(self, place: Place, broker: ServerProcess, sim: SimProcess) -> None:
        self.place, self.broker, self.sim = place, broker, sim
        place.settings["KEYFLEET_BROKER_URL"] = broker.url
        place.write_keys(sim, KEYS)
        place.start("worker", "--all")
        self.flower = Flower(place, broker.url)
        self.flower.wait_until_it_answers()
        write_lines(place.directory / "in.jsonl", [bare_line(number) for number in range(1, 20_001)])
        place.start("run", "in.jsonl", "--no-workers")
        wait_until(lambda: all(self.calls(name) for name in NAMES), "both keys work")

    def calls(self, name: str) -> int:
        """Calls of a key that have arrived at the provider."""
        found: Any = self.sim.stats()["keys"].get(name, {"requests": 0})
        return int(found["requests"])

    def key(self, name: str) -> Any:
        """A key as the page shows it."""
        return next((key for key in self.flower.overview()["keys"] if key["name"] == name), None)

    def waits_for(self, name: str, state: str) -> None:
        """Wait until the key is shown in a state."""
        wait_until(lambda: self.key(name)["state"] == state, f"{name} is shown as {state}")

    def stands_still(self, name: str) -> bool:
        """Whether the key is not used while the other one makes twenty calls."""
        (other,) = set(NAMES) - {name}
        wait_until(lambda: self.key(name)["in_flight"] == 0, "calls under way have ended")
        before, others_before = self.calls(name), self.calls(other)
        wait_until(lambda: self.calls(other) >= others_before + 20, "the other key goes on")
        return self.calls(name) == before


KEYS = tuple(sim_key(name, "40/1 second") for name in NAMES)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with ExitStack() as stack:
        broker = stack.enter_context(running(ServerProcess(tmp_path_factory.mktemp("s"))))
        sim = stack.enter_context(SimProcess(SimConfig(keys=KEYS, latency=SimLatency(latency_ms=20))))
        place = Place(tmp_path_factory.mktemp("flower"))
        stack.callback(place.close)
        yield Fleet(place, broker, sim)


def test_keys_queues_and_jobs_are_shown_as_they_are(fleet: Fleet) -> None:
    wait_until(lambda: fleet.flower.overview()["jobs"][0]["requests_per_s"], "the job's pace is known")
    document = fleet.flower.overview()
    assert [(key["name"], key["state"], key["workers"]) for key in document["keys"]] == [
        (name, "ready", {HOST: 1}) for name in NAMES
    ]
    assert [limit["amount"] for key in document["keys"] for quota in key["quotas"] for limit in quota["limits"]] == [
        40,
        40,
    ]
    (queue,), (job,) = document["queues"], document["jobs"]
    assert (queue["keys"], queue["waiting"] > 0) == (2, True)
    assert (job["name"], job["state"], job["left_s"] > 0) == ("in.jsonl", "running", True)
    assert all(name in fleet.flower.get("/workers?json=1") for name in (f"first@{HOST}", f"second@{HOST}"))


def test_a_key_that_is_disabled_on_the_page_stops_taking_work_and_goes_on_when_enabled(
    fleet: Fleet, browser: Browser
) -> None:
    with looked_at(browser, f"{fleet.flower.url}/keys") as page:
        row = page.locator("#keys-rows > tr", has_text="first")
        row.get_by_role("button", name="Disable").click()
        assert "Disable first?" in page.locator("#ask-title").inner_text()
        page.get_by_label("Reason").fill("too expensive")
        page.locator("#ask-do").click()
        page.get_by_text("First is disabled: too expensive").wait_for()
        row.get_by_text("too expensive (ops)").wait_for()
        assert page.locator("#metric-ready").inner_text() == "1"
        assert fleet.stands_still("first")
        row.get_by_role("button", name="Enable").click()
        row.get_by_text("ready", exact=True).wait_for()
        before = fleet.calls("first")
        wait_until(lambda: fleet.calls("first") > before, "the key takes work again")


def test_a_probe_is_asked_for_on_the_page_and_answered_by_the_worker(fleet: Fleet, browser: Browser) -> None:
    with looked_at(browser, f"{fleet.flower.url}/keys") as page:
        row = page.locator("#keys-rows > tr", has_text="second")
        row.get_by_role("button", name="Probe").click()
        row.get_by_text("ago: works").wait_for()


def test_a_job_is_paused_on_the_page_and_goes_on_when_resumed(fleet: Fleet, browser: Browser) -> None:
    with looked_at(browser, f"{fleet.flower.url}/keys") as page:
        row = page.locator("#jobs-rows > tr")
        row.get_by_role("button", name="Pause").click()
        row.get_by_text("paused", exact=True).wait_for()
        page.locator("#queues-rows").get_by_text("its jobs are paused").wait_for()
        row.get_by_role("button", name="Resume").click()
        row.get_by_text("running", exact=True).wait_for()
        row.get_by_role("button", name="Cancel").click()
        assert "Cancel in.jsonl?" in page.locator("#ask-title").inner_text()
        page.get_by_role("button", name="Go back").click()
        page.locator("#ask").wait_for(state="hidden")
        assert fleet.flower.overview()["jobs"][0]["state"] == "running"


def test_without_a_broker_the_last_picture_stays_greyed_and_says_so(fleet: Fleet, browser: Browser) -> None:
    with looked_at(browser, f"{fleet.flower.url}/keys", tolerates="503") as page:
        page.locator("#keys-rows > tr").first.wait_for()
        fleet.broker.kill()
        try:
            page.get_by_text("The broker doesn't answer. Shown is how it stood at").wait_for()
            assert page.locator("#keys-page.is-old #keys-rows > tr").count() == 2
        finally:
            fleet.broker.start()
        page.locator("#live-dot.status-dot-live").wait_for()
        assert page.locator("#keys-page.is-old").count() == 0


def test_a_port_that_is_taken_is_said(fleet: Fleet) -> None:
    port = fleet.flower.url.rpartition(":")[2]
    second = fleet.place.run("flower", "--port", port)
    assert (second.code, second.said(f"--port {port}: nobody can listen there")) == (2, True)


def test_it_ends_well_when_told_to(fleet: Fleet) -> None:
    fleet.flower.command.signal(signal.SIGTERM)
    assert fleet.flower.command.wait(10) == 0
