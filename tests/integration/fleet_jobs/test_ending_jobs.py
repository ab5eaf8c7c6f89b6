"""Jobs that are cancelled, too late, interrupted, or looked at while they run."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from keyfleet import DeadlineExceeded, FleetClosed, InputError, JobCancelled, JobStopped
from keyfleet.sim import SimConfig, SimLatency, SimProcess
from support.events import wait_until
from support.fixtures import StartSim
from support.fleets import CHAT, MakeFleet, chat
from support.job_programs import start_job_program, wait_until_printed
from support.place import Place, sim_key

KEY = sim_key("a", "50/1 second")


@pytest.fixture
def sim(place: Place, start_sim: StartSim) -> SimProcess:
    found = start_sim(SimConfig(keys=(KEY,), latency=SimLatency(latency_ms=50)))
    place.write_keys(found, (KEY,))
    return found


def rows(count: int) -> Iterator[dict[str, Any]]:
    for number in range(count):
        yield chat(f"row {number}")


def test_a_cancelled_job_gives_each_row_that_was_read_one_result(make_fleet: MakeFleet, sim: SimProcess) -> None:
    with make_fleet() as fleet:
        job = fleet.submit(rows(5000), id=lambda body: body["messages"][0]["content"], ordered=True)
        results = iter(job)
        first = [next(results) for _ in range(20)]
        with pytest.raises(InputError, match="isn't done"):
            job.retry_failed()
        with pytest.raises(InputError, match="is running"):
            job.delete()
        job.cancel()
        counts = job.wait(timeout_s=60)
        found = [*first, *results]
    assert [result.index for result in found] == list(range(counts.total))
    assert all(result.id == f"row {result.index}" for result in found)
    cancelled = [result for result in found if isinstance(result.error, JobCancelled)]
    assert (counts.cancelled, counts.failed) == (len(cancelled), len(cancelled))
    assert counts.succeeded == sim.stats()["answered_bodies"] == counts.total - len(cancelled)
    assert 0 < len(cancelled) < 5000
    assert all(result.attempts == 0 for result in cancelled)


def test_what_the_deadline_has_overtaken_ends_unpaid_and_so_does_what_is_read_later(
    make_fleet: MakeFleet, sim: SimProcess
) -> None:
    go_on = threading.Event()

    def slow() -> Iterator[dict[str, Any]]:
        yield from rows(300)
        go_on.wait(60)
        yield from rows(5)

    with make_fleet() as fleet:
        fleet.call(CHAT, next(rows(1)))  # its workers take their time to start
        sim.reset()
        job = fleet.submit(slow(), deadline=2.0)
        wait_until(lambda: job.counts.finished == 300, "all that was read has its result")
        go_on.set()
        counts = job.wait(timeout_s=60)
        late = [result for result in job if isinstance(result.error, DeadlineExceeded)]
    assert (counts.total, counts.expired, counts.failed) == (305, len(late), len(late))
    assert {300, 301, 302, 303, 304} <= {result.index for result in late}
    assert counts.succeeded == sim.stats()["answered_bodies"]
    assert 50 <= counts.succeeded < 300


def test_keys_that_are_all_refused_stop_a_job_which_says_so(
    make_fleet: MakeFleet, place: Place, sim: SimProcess
) -> None:
    place.write_keys(sim, (sim_key("a", secret="sk-unknown"),))
    with make_fleet() as fleet:
        job = fleet.submit(rows(3))
        with pytest.raises(JobStopped, match="every key is refused"):
            job.wait(timeout_s=60)
        with pytest.raises(TimeoutError, match="it goes on"):
            job.wait(timeout_s=0.3)  # goes on with it


def test_an_interrupt_reaches_the_program_at_once_and_the_job_goes_on(place: Place, sim: SimProcess) -> None:
    program = start_job_program(
        place,
        """
with Fleet() as fleet:
    job = fleet.submit(rows(150))
    try:
        say("waiting")
        job.wait(progress=True)
    except KeyboardInterrupt:
        say("interrupted", job.counts.finished < 150)
    job.wait()
    say("done", job.counts.succeeded)
""",
    )
    wait_until_printed(program, "waiting")
    wait_until(lambda: sim.stats()["requests"] > 10, "it runs")
    program.signal(signal.SIGINT)
    assert wait_until_printed(program, "interrupted") == "True"
    assert wait_until_printed(program, "done") == "150"
    assert program.wait() == 0, program.stderr


def test_waiting_shows_how_a_job_stands_and_how_it_ended(place: Place, sim: SimProcess) -> None:
    code = "from keyfleet.running import progress\nprogress.PLAIN_S = 0.2\n"
    code += "with Fleet() as fleet:\n    fleet.submit(rows(100), name='nightly').wait(progress=True)\n"
    program = start_job_program(place, code)
    assert program.wait() == 0, program.stderr
    assert program.said("job nightly: 100 succeeded, 0 failed")
    assert "requests/s" in program.stderr
    assert " of about 100 done" in program.stderr


def test_a_fleet_that_is_closed_ends_the_loops_over_its_jobs(make_fleet: MakeFleet, sim: SimProcess) -> None:
    fleet = make_fleet()
    ends: list[BaseException | None] = []

    def take(results: Iterator[Any]) -> None:
        try:
            for _ in results:
                pass
        except FleetClosed as error:
            ends.append(error)

    job = fleet.submit(rows(2000))
    mapped = fleet.map(rows(2000))
    next(mapped)
    threads = [threading.Thread(target=take, args=(results,)) for results in (iter(job), mapped)]
    for thread in threads:
        thread.start()
    fleet.close()
    for thread in threads:
        thread.join(30)
    assert len(ends) == 2
    with pytest.raises(FleetClosed):
        fleet.submit(rows(1))
    with pytest.raises(FleetClosed):
        job.wait()


def test_an_event_loop_maps_and_submits_and_is_never_held_up(make_fleet: MakeFleet, sim: SimProcess) -> None:
    async def arows(count: int) -> AsyncIterator[dict[str, Any]]:
        for body in rows(count):
            await asyncio.sleep(0)
            yield body

    async def program() -> None:
        loop_went_on = threading.Event()

        def waits_for_the_loop() -> Iterator[dict[str, Any]]:
            yield chat("first")
            assert loop_went_on.wait(60)
            yield chat("last")

        async with make_fleet() as fleet:
            assert [result.index async for result in fleet.amap(arows(30), ordered=True)] == list(range(30))
            job = await fleet.asubmit(waits_for_the_loop())
            results = job.__aiter__()
            assert (await results.__anext__()).index == 0
            loop_went_on.set()
            assert (await job).succeeded == 2
            assert [result.index async for result in results] == [1]
            assert sorted([result.index async for result in job]) == [0, 1]

    asyncio.run(program())


def test_cancelling_a_task_takes_back_what_was_not_sent(make_fleet: MakeFleet, sim: SimProcess) -> None:
    async def program() -> bool:
        fleet = make_fleet()
        begun = asyncio.Event()

        async def take() -> None:
            async for _ in fleet.amap(rows(3000)):
                begun.set()

        task = asyncio.create_task(take())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        jobs = fleet.open().settings.state_dir / "jobs"
        await asyncio.to_thread(wait_until, lambda: not list(jobs.iterdir()), "nothing of it is kept")
        await asyncio.to_thread(fleet.close)
        return True

    assert asyncio.run(program())
    assert sim.stats()["requests"] < 500


def test_programs_with_other_keys_go_on_with_a_job_of_the_embedded_server(place: Place, sim: SimProcess) -> None:
    fields = {"api_key": KEY.api_key, "base_url": f"{sim.base_url}/v1", "requests": ["50/1 second"]}
    code = f"with Fleet(keys=[{{'name': NAME, **{fields}}}]) as fleet:\n"
    begin = code + "    job = fleet.submit(rows(200), name='nightly')\n    job.wait()\n"
    program = start_job_program(place, "NAME = 'first'\n" + begin)
    wait_until(lambda: sim.stats()["requests"] > 60, "a part of it was sent")
    program.signal(signal.SIGKILL)
    program.wait()
    go_on = code + "    say('counts', fleet.job('nightly').wait().succeeded)\n"
    other = start_job_program(place, "NAME = 'second'\n" + go_on)
    assert other.wait() == 0, other.stderr
    assert wait_until_printed(other, "counts") == "200"
    assert sim.stats()["sent_after_success"] == 0
    assert sim.stats()["requests"] == 200
