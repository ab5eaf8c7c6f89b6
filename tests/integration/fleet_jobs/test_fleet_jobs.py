"""Jobs that a program submits, with a server and workers of their own."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keyfleet import InvalidRequest, ProviderError
from keyfleet.errors import InputError
from keyfleet.sim import SimConfig, SimProcess
from support.events import wait_until
from support.fixtures import StartSim
from support.fleets import CHAT, MakeFleet, chat
from support.place import Place, sim_key

KEYS = (sim_key("a", "200/1 second"), sim_key("b", "200/1 second"))


@pytest.fixture
def sim(place: Place, start_sim: StartSim) -> SimProcess:
    found = start_sim(SimConfig(keys=KEYS))
    place.write_keys(found, KEYS)
    return found


def rows(count: int, **texts: str) -> Iterator[dict[str, Any]]:
    """Bodies that say which they are; `t3="…"` is put into the fourth."""
    for number in range(count):
        yield chat(f"row {number} {texts.get(f't{number}', '')}".strip())


def said(result: Any) -> str:
    return str(result.body["choices"][0]["message"]["content"])


def test_a_generators_rows_come_back_each_once_with_its_own_answer(
    make_fleet: MakeFleet, sim: SimProcess, place: Place
) -> None:
    with make_fleet() as fleet:
        job = fleet.submit(rows(60), name="nightly", id=lambda body: body["messages"][0]["content"])
        counts = job.wait(timeout_s=60)
        assert (counts.total, counts.succeeded, counts.failed, counts.open) == (60, 60, 0, 0)
        assert counts.is_complete
        results = list(job)
        assert Counter(result.index for result in results) == Counter(range(60))
        assert all(result.ok and result.id == f"row {result.index}" == said(result) for result in results)
        assert [result.index for result in job] == [result.index for result in results]  # once more from the first
        assert job.is_done
        modes = {path.name: path.stat().st_mode & 0o077 for path in job.results_path.parent.iterdir()}
        assert not any(modes.values()), modes
    assert sim.stats()["requests"] == 60
    assert "nightly" in place.run("jobs").stdout


def test_results_come_in_input_order_where_that_is_asked_for(make_fleet: MakeFleet, sim: SimProcess) -> None:
    with make_fleet() as fleet:
        found = list(fleet.map(rows(40, t1="[[sim:500x1]]"), ordered=True))
        assert [result.index for result in found] == list(range(40))
        assert len(found[1].errors) == 1
        assert not list((fleet.open().settings.state_dir / "jobs").iterdir())


def test_a_bad_row_fails_alone_and_its_error_names_it(make_fleet: MakeFleet, sim: SimProcess) -> None:
    bad: list[Any] = [
        chat("good"),
        17,
        {"messages": []},
        chat("x", stream=True),
        {**chat("x"), "user": {1, 2}},
        {"custom_id": "mine", "method": "POST", "url": CHAT, "body": chat("good too")},
        chat("[[sim:400]]"),
        '{"model"',
    ]
    with make_fleet() as fleet:
        found = {result.index: result for result in fleet.map(bad)}
    assert [found[index].ok for index in range(8)] == [True, False, False, False, False, True, False, False]
    assert (found[5].id, found[0].id) == ("mine", "0")
    for index, code, words in (
        (1, "invalid_row", "request 1: is of type int; expected a mapping"),
        (2, "invalid_messages", "request 2: `messages`"),
        (3, "stream_not_supported", "request 3: `stream`"),
        (4, "invalid_json", "request 4: `user` can't be written as JSON"),
        (7, "invalid_json", "request 7: is no JSON"),
    ):
        error = found[index].error
        assert isinstance(error, InvalidRequest), index
        assert error.code == code
        assert words in str(error)
    refused = found[6].error
    assert isinstance(refused, ProviderError)
    assert refused.status == 400
    assert sim.stats()["requests"] == 3


def test_what_an_iterable_raises_is_told_once_all_before_it_is_finished(make_fleet: MakeFleet, sim: SimProcess) -> None:
    def failing() -> Iterator[dict[str, Any]]:
        yield from rows(7)
        raise ZeroDivisionError("of the caller's")

    with make_fleet() as fleet:
        job = fleet.submit(failing())
        results = iter(job)
        assert sorted(next(results).index for _ in range(7)) == list(range(7))
        with pytest.raises(ZeroDivisionError, match="of the caller's"):
            next(results)
        with pytest.raises(ZeroDivisionError):
            job.wait(timeout_s=30)
        assert (job.counts.succeeded, job.counts.is_complete) == (7, False)


def test_an_iterable_that_blocks_holds_nothing_up(make_fleet: MakeFleet, sim: SimProcess) -> None:
    go_on = threading.Event()

    def slow() -> Iterator[dict[str, Any]]:
        yield from rows(3)
        go_on.wait(60)
        yield chat("last")

    with make_fleet() as fleet:
        job = fleet.submit(slow())
        results = iter(job)
        assert {next(results).index for _ in range(3)} == {0, 1, 2}
        assert not job.is_done
        go_on.set()
        assert said(next(results)) == "last"
        assert next(results, None) is None


def test_failed_requests_are_sent_again_and_take_the_places_of_the_old(make_fleet: MakeFleet, sim: SimProcess) -> None:
    with make_fleet(max_attempts=1) as fleet:
        job = fleet.submit(rows(12, t3="[[sim:500x1]]", t5="[[sim:400]]"))
        assert job.wait(timeout_s=60).failed == 2
        assert job.retry_failed("500") is job
        counts = job.wait(timeout_s=60)
        assert (counts.total, counts.succeeded, counts.failed) == (12, 11, 1)
        assert {result.index for result in job if not result.ok} == {5}
        with pytest.raises(InputError, match="no line has failed for 503"):
            job.retry_failed(["503"])
    assert sim.stats()["requests"] == 13


def test_two_jobs_run_at_once_and_one_is_removed(make_fleet: MakeFleet, sim: SimProcess) -> None:
    with make_fleet() as fleet:
        first, second = fleet.submit(rows(50), name="first"), fleet.submit(rows(50), name="second", priority="urgent")
        assert first.wait(timeout_s=60).succeeded == second.wait(timeout_s=60).succeeded == 50
        assert fleet.job("first").id == first.id
        assert fleet.job(second.id[:12]).id == second.id
        directory: Path = first.results_path.parent
        first.delete()
        assert not directory.exists()
        assert fleet.job(second.id).counts.succeeded == 50


def test_a_loop_that_is_left_early_takes_back_what_was_not_sent(
    make_fleet: MakeFleet, place: Place, start_sim: StartSim
) -> None:
    key = sim_key("a", "20/1 second")
    slow = start_sim(SimConfig(keys=(key,)))
    place.write_keys(slow, (key,))
    with make_fleet() as fleet:
        results = fleet.map(rows(2000))
        next(results)
        results.close()
        wait_until(lambda: not list((fleet.open().settings.state_dir / "jobs").iterdir()), "nothing of it is kept")
    assert slow.stats()["requests"] < 200
