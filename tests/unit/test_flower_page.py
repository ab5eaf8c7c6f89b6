"""The page of keys within Flower: who gets what, what is refused, and one reading of the fleet for everybody."""

from __future__ import annotations

import asyncio
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from tornado.httpclient import HTTPResponse

from keyfleet import redis_keys
from keyfleet.jobs import pause_job
from keyfleet_workers.monitor import application
from keyfleet_workers.monitor.application import OPENS_API
from keyfleet_workers.monitor.credentials import Credentials
from keyfleet_workers.monitor.handlers import ACTION_HEADER
from keyfleet_workers.monitor.page_document import MOST_ENDED_JOBS, page_document
from keyfleet_workers.monitor.rows import format_row
from keyfleet_workers.monitor.shared_picture import SharedPicture
from keyfleet_workers.overview import read_overview
from support.flower_case import Answers, terms
from support.housekeeping_case import FLEET, HousekeepingCase

ACTS = {ACTION_HEADER: "1"}


@pytest.fixture
def case(housekeeping: HousekeepingCase) -> HousekeepingCase:
    housekeeping.ledger.open(begins=True)
    housekeeping.accept("a1", 3)
    housekeeping.beat(says_status=True)
    return housekeeping


def get(path: str, **headers: str) -> tuple[str, str, dict[str, str], str | None]:
    return "GET", path, headers, None


def post(path: str, body: str = "", headers: dict[str, str] = ACTS) -> tuple[str, str, dict[str, str], str | None]:
    return "POST", path, headers, body


def told(answer: HTTPResponse) -> Any:
    return json.loads(answer.body)


def test_the_page_stands_in_flower_and_has_its_tab_on_every_page(answers: Answers) -> None:
    page, workers = answers.ask(terms(), get("/keys"), get("/workers"))
    assert (page.code, workers.code) == (200, 200)
    for text in (page.body.decode(), workers.body.decode()):
        assert text.index('href="/broker"') < text.index('href="/keys"')
    assert "'self'" in page.headers["Content-Security-Policy"]
    assert {answer.headers["X-Frame-Options"] for answer in (page, workers)} == {"DENY"}


def test_under_a_prefix_everything_stands_below_it(answers: Answers) -> None:
    page, script, overview, health, elsewhere = answers.ask(
        terms(url_prefix="a/flower"),
        *(get("/a/flower/keys"), get("/a/flower/keys/files/1/page.js"), get("/a/flower/keys/api/overview")),
        *(get("/a/flower/healthcheck"), get("/keys")),
    )
    assert [one.code for one in (page, script, overview, health, elsewhere)] == [200, 200, 200, 200, 404]
    assert 'data-api="/a/flower/keys/api"' in page.body.decode()
    assert "javascript" in script.headers["Content-Type"]


@pytest.mark.usefixtures("case")
def test_the_overview_is_that_of_keyfleet_status(answers: Answers) -> None:
    (answer,) = answers.ask(terms(), get("/keys/api/overview"))
    document = told(answer)
    assert [key["name"] for key in document["keys"]] == ["one"]
    assert [(queue["model"], queue["waiting"]) for queue in document["queues"]] == [("a1", 3)]
    assert (len(document["jobs"]), document["jobs_left_out"]) == (1, 0)
    assert answer.headers["Cache-Control"] == "no-store"


def test_without_the_password_nothing_but_health_is_told(
    answers: Answers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(OPENS_API, "true")
    closed = ["/", "/keys", "/metrics", "/api/workers", "/keys/api/overview", "/static/css/flower.css", "/login"]
    *refused, health, opened = answers.ask(
        terms(credentials=Credentials(["bob:b"])),
        *(get(path) for path in closed),
        get("/healthcheck"),
        get("/metrics", Authorization="Basic Ym9iOmI="),
    )
    assert {answer.code for answer in refused} == {401}
    assert all("Access-Control-Allow-Origin" not in answer.headers for answer in refused)
    assert refused[0].headers["WWW-Authenticate"].startswith("Basic ")
    assert (health.code, health.body, opened.code) == (200, b"OK", 200)
    assert f"{OPENS_API} has no effect here" in caplog.text


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {**ACTS, "Sec-Fetch-Site": "cross-site"},
        {**ACTS, "Sec-Fetch-Site": "same-site"},
        {**ACTS, "Origin": "https://evil.example"},
        {**ACTS, "Origin": "null"},
    ],
)
def test_pages_of_other_sites_can_not_act(answers: Answers, case: HousekeepingCase, headers: dict[str, str]) -> None:
    (answer,) = answers.ask(terms(), post("/keys/api/keys/one/disable", headers=headers))
    assert (answer.code, "only this page" in told(answer)["error"]) == (403, True)
    assert case.holds.read([case.scopes.disabled]) == []


def test_read_only_shows_and_does_nothing(answers: Answers, case: HousekeepingCase) -> None:
    page, overview, key, job, shutdown = answers.ask(
        terms(read_only=True, credentials=Credentials(["bob:b"])),
        *(("GET", path, {"Authorization": "Basic Ym9iOmI="}, None) for path in ("/keys", "/keys/api/overview")),
        *(
            post(path, headers={**ACTS, "Authorization": "Basic Ym9iOmI="})
            for path in ("/keys/api/keys/one/disable", "/keys/api/jobs/job/cancel", "/api/worker/shutdown/one@host")
        ),
    )
    assert (page.code, overview.code) == (200, 200)
    assert "data-read-only" in page.body.decode()
    assert 'data-part="switch"' not in page.body.decode()
    assert [answer.code for answer in (key, job, shutdown)] == [403, 403, 403]
    assert told(key) == {"error": "this Flower is read-only"}
    assert case.holds.read([case.scopes.disabled]) == []


def test_a_key_is_disabled_with_its_reason_and_by_whom_probed_and_enabled(
    answers: Answers, case: HousekeepingCase
) -> None:
    acts = {**ACTS, "Authorization": "Basic Ym9iOmI=", "Sec-Fetch-Site": "same-origin"}
    disabled, overview, probed, enabled, again, unknown = answers.ask(
        terms(credentials=Credentials(["bob:b"])),
        post("/keys/api/keys/one/disable", '{"reason": "too\\n expensive"}', acts),
        ("GET", "/keys/api/overview", acts, None),
        post("/keys/api/keys/one/probe", "", acts),
        post("/keys/api/keys/one/enable", "", acts),
        post("/keys/api/keys/one/enable", "", acts),
        post("/keys/api/keys/other/enable", "", acts),
    )
    assert told(disabled) == {"said": "one is disabled: too expensive"}
    (key,) = told(overview)["keys"]
    assert (key["state"], key["reason"]) == ("disabled", "too expensive (bob)")
    assert told(probed) == {"said": "one is being probed"}
    assert case.client.exists(redis_keys.probe_wanted(FLEET, "one"))
    assert [told(enabled)["said"], told(again)["said"]] == ["one is enabled", "nothing held one"]
    assert (unknown.code, "no worker has served" in told(unknown)["error"]) == (404, True)


@pytest.mark.parametrize("body", ["[]", "{", '{"reason": 1}', '{"reason": "' + "x" * 5000 + '"}'])
def test_a_reason_that_is_no_text_is_refused(answers: Answers, case: HousekeepingCase, body: str) -> None:
    (answer,) = answers.ask(terms(), post("/keys/api/keys/one/disable", body))
    assert answer.code == 400
    assert case.holds.read([case.scopes.disabled]) == []


def test_a_job_is_paused_resumed_and_cancelled(answers: Answers, case: HousekeepingCase) -> None:
    paused, resumed, again, cancelled, over, unknown = answers.ask(
        terms(),
        *(post(f"/keys/api/jobs/job/{action}") for action in ("pause", "resume", "resume", "cancel")),
        post("/keys/api/jobs/none/cancel"),
        post("/keys/api/jobs/job/purge"),
    )
    assert told(paused)["said"] == "job job is paused; 3 of its requests wait"
    assert told(resumed)["said"] == "job job goes on"
    assert told(again)["said"] == "job job was not paused"
    assert told(cancelled)["said"] == "job job is cancelled; 3 requests are withdrawn, 0 are being sent still"
    assert (over.code, unknown.code) == (404, 404)
    (job,) = read_overview(case.client, FLEET).jobs
    assert job.state.value == "cancelled"


def test_a_broker_that_is_away_is_said_without_its_address(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    away = redis.Redis.from_url("redis://:br0ker@127.0.0.1:9/0")
    monkeypatch.setattr(application, "connect", lambda url: away)
    overview, action = answers.ask(terms(), get("/keys/api/overview"), post("/keys/api/keys/one/disable"))
    assert [(answer.code, told(answer)) for answer in (overview, action)] == [
        (503, {"error": "the broker doesn't answer"})
    ] * 2


def test_what_is_wrong_with_the_broker_is_told_and_logged_once(
    answers: Answers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = redis.AuthenticationError("invalid password br0ker")
    outcomes: list[Exception | bytes] = [wrong, wrong, redis.exceptions.OutOfMemoryError("br0ker"), b"{}"]

    def read(client: redis.Redis, fleet: str) -> bytes:
        outcome = outcomes.pop(0)
        if isinstance(outcome, bytes):
            return outcome
        raise outcome

    monkeypatch.setattr(application, "read_page", read)
    with caplog.at_level(logging.INFO):
        found = answers.ask(terms(), *[get("/keys/api/overview")] * 4)
    assert [answer.code for answer in found] == [503, 503, 503, 200]
    assert [told(answer).get("error", "").partition(";")[0] for answer in found] == [
        *["the broker refuses the user or password of its address"] * 2,
        *("the broker's memory is full", ""),
    ]
    assert [line for line in caplog.messages if "broker" in line] == [
        "the broker refuses the user or password of its address (AuthenticationError)",
        "the broker's memory is full; docs/operations.md says what to do (OutOfMemoryError)",
        "the broker answers again",
    ]
    assert "br0ker" not in caplog.text


def test_of_many_jobs_those_that_go_on_and_the_last_that_ended_are_shown(case: HousekeepingCase) -> None:
    for number in range(30):
        record = {"state": "done", "begun_ms": number + 1, "done_ms": number + 2, "name": f"n{number}"}
        case.client.hset(redis_keys.job(FLEET, f"j{number}"), mapping=record)
        case.client.sadd(redis_keys.jobs(FLEET), f"j{number}")
    pause_job(case.client, FLEET, "job", declare_flags=False)
    document = page_document(read_overview(case.client, FLEET))
    assert [job["state"] for job in document["jobs"]] == ["paused"] + ["done"] * MOST_ENDED_JOBS
    assert document["jobs"][1]["name"] == "n29"
    assert document["jobs_left_out"] == 30 - MOST_ENDED_JOBS


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_all_who_ask_within_a_second_share_one_reading() -> None:
    clock, read = Clock(), list[int]()

    def reading() -> bytes:
        read.append(1)
        return b"%d" % len(read)

    async def ask() -> list[list[bytes]]:
        with ThreadPoolExecutor(4) as executor:
            picture = SharedPicture(reading, executor, clock=clock)
            together = await asyncio.gather(*(picture.get() for _ in range(20)))
            later = [await picture.get()]
            clock.now_s += 1.0
            after = [await picture.get()]
            picture.forget()
            return [together, later, after, [await picture.get()]]

    assert asyncio.run(ask()) == [[b"1"] * 20, [b"1"], [b"2"], [b"3"]]


def test_a_reading_that_fails_is_told_to_all_who_wait_and_the_next_is_tried() -> None:
    failures = [redis.ConnectionError("away")]

    def reading() -> bytes:
        if failures:
            raise failures.pop()
        return b"there"

    async def ask() -> list[Any]:
        with ThreadPoolExecutor(1) as executor:
            picture = SharedPicture(reading, executor)
            failed = await asyncio.gather(picture.get(), picture.get(), return_exceptions=True)
            return [*map(type, failed), await picture.get()]

    assert asyncio.run(ask()) == [redis.ConnectionError, redis.ConnectionError, b"there"]


class Task:
    def __init__(self, result: str | None, exception: str | None) -> None:
        self.result, self.exception = result, exception


@pytest.mark.parametrize(
    ("result", "exception", "shown"),
    [
        ("'5 succeeded, 90 tokens'", None, "5 succeeded, 90 tokens"),
        (None, "ChunkFailed('2 succeeded, 1 failed')", "2 succeeded, 1 failed"),
        (None, "Retry(ChunkRetried('1 went back'))", "Retry(ChunkRetried('1 went back'))"),
        (None, None, ""),
    ],
)
def test_what_became_of_a_chunk_is_shown_as_its_result(result: str, exception: str, shown: str) -> None:
    assert format_row(Task(result, exception)).result == shown


def test_terms_and_the_application_show_no_secret() -> None:
    found = terms(credentials=Credentials(["bob:s3cret"]))
    assert "s3cret" not in repr(found)
    assert "redis://" not in repr(found)
