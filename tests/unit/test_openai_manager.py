"""openai-manager's calls, on a fleet that answers at once."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

import keyfleet.openai_manager as openai_manager
from keyfleet.calls import Answer
from keyfleet.errors import BrokerUnavailable, InvalidRequest, NoKeyServes, ProviderError, RequestTooLarge
from keyfleet.openai_manager.many_calls import send_all
from keyfleet.openai_manager.session import SESSION
from support.fake_fleet import FakeFleet, Sent, answer

Use = Callable[[Callable[[Sent], Answer]], FakeFleet]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    """Lets the calls go to a fleet that answers so."""

    def use_fleet(reply: Callable[[Sent], Answer]) -> FakeFleet:
        fleet = FakeFleet(reply)
        monkeypatch.setattr(SESSION, "fleet", lambda: fleet)
        return fleet

    return use_fleet


def echo(sent: Sent) -> Answer:
    if "prompt" in sent.body:
        return answer({"choices": [{"text": sent.body["prompt"]}]})
    if "messages" in sent.body:
        return answer({"choices": [{"message": sent.body["messages"][-1]}]})
    return answer({"data": [{"embedding": [float(len(sent.body["input"]))]}]})


def test_a_list_of_prompts_gives_a_list_of_responses_in_order(use: Use) -> None:
    fleet = use(echo)
    found = openai_manager.Completion.create(model="m", prompt=["a", "b", "c"], max_tokens=2)
    assert [one["choices"][0]["text"] for one in found] == ["a", "b", "c"]
    assert [one.choices[0].text for one in found] == ["a", "b", "c"]
    assert all(isinstance(one, dict) for one in found)
    bodies = [sent.body for sent in fleet.sent]
    assert sorted(bodies, key=str) == [{"prompt": text, "model": "m", "max_tokens": 2} for text in "abc"]
    assert {(sent.endpoint, sent.priority) for sent in fleet.sent} == {("/v1/completions", "bulk")}


def test_one_prompt_gives_a_list_of_one_and_is_urgent(use: Use) -> None:
    fleet = use(echo)
    (found,) = openai_manager.Completion.create(model="m", prompt="a")
    assert found.choices[0].text == "a"
    assert fleet.last.priority == "urgent"


def test_conversations_are_answered_one_by_one(use: Use) -> None:
    fleet = use(echo)
    chats = [[{"role": "user", "content": text}] for text in ("Hi", "Ho")]
    found = openai_manager.ChatCompletion.create(model="m", messages=chats)
    assert [one.choices[0].message.content for one in found] == ["Hi", "Ho"]
    assert len(openai_manager.ChatCompletion.create(model="m", messages=chats[0])) == 1
    assert fleet.last.endpoint == "/v1/chat/completions"


def test_inputs_are_embedded_one_by_one(use: Use) -> None:
    fleet = use(echo)
    found = openai_manager.Embedding.create(model="m", input=["a", "bb"])
    assert [one["data"][0]["embedding"] for one in found] == [[1.0], [2.0]]
    assert fleet.last.endpoint == "/v1/embeddings"


def test_a_list_of_token_numbers_is_one_prompt(use: Use) -> None:
    fleet = use(echo)
    assert len(openai_manager.Completion.create(model="m", prompt=[1, 2, 3])) == 1
    assert fleet.last.body["prompt"] == [1, 2, 3]
    assert len(openai_manager.Embedding.create(model="m", input=[[1, 2], [3]])) == 2


def test_an_empty_list_gives_an_empty_list(use: Use) -> None:
    fleet = use(echo)
    assert openai_manager.Completion.create(model="m", prompt=[]) == []
    assert openai_manager.ChatCompletion.create(model="m", messages=[]) == []
    assert fleet.sent == []


def test_options_of_openai_manager_are_no_fields_of_the_request(use: Use) -> None:
    fleet = use(echo)
    options = {"debug": True, "no_tqdm": True, "return_openai_response": True}
    openai_manager.Completion.create(model="m", prompt="a", **options)
    assert fleet.last.body == {"model": "m", "prompt": "a"}


@pytest.mark.parametrize(
    ("create", "expected"),
    [
        (openai_manager.Completion.create, "`prompt` is missing"),
        (openai_manager.Embedding.create, "`input` is missing"),
        (openai_manager.ChatCompletion.create, "messages must be a list"),
    ],
)
def test_a_missing_input_is_a_type_error(create: Callable[..., Any], expected: str) -> None:
    with pytest.raises(TypeError, match=expected):
        create(model="m")


DOCUMENT = {"error": {"message": "No.", "type": "invalid_request_error", "param": None, "code": "bad_prompt"}}


def refuse_b(sent: Sent) -> Answer:
    return answer(DOCUMENT, 400, attempts=1) if sent.body["prompt"] == "b" else echo(sent)


def test_a_request_that_failed_holds_its_place(use: Use) -> None:
    use(refuse_b)
    found = openai_manager.Completion.create(model="m", prompt=["a", "b", "c"])
    assert [one.choices[0].text if one else None for one in found] == ["a", None, "c"]
    failed = found[1]
    assert isinstance(failed, openai_manager.FailedResponse)
    assert (failed.status, failed.code) == (400, "bad_prompt")
    assert "No." in failed.message
    assert failed == DOCUMENT
    assert failed.error.code == "bad_prompt"


def test_asking_a_failed_request_for_its_response_tells_why_there_is_none(use: Use) -> None:
    use(refuse_b)
    (failed,) = openai_manager.Completion.create(model="m", prompt="b")
    with pytest.raises(ProviderError, match=r"HTTP 400: No\."):
        failed["choices"]
    assert not hasattr(failed, "choices")
    with pytest.raises(AttributeError, match=r"choices: HTTP 400: No\."):
        _ = failed.choices
    assert failed.get("choices") is None


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NoKeyServes("no key serves it"), "model_not_served"),
        (RequestTooLarge("too large"), "request_too_large"),
        (InvalidRequest("model: expected a name", code="missing_model", field="model"), "missing_model"),
    ],
)
def test_errors_of_the_fleet_hold_their_places_too(use: Use, error: Exception, code: str) -> None:
    def fail(sent: Sent) -> Answer:
        raise error

    use(fail)
    found = openai_manager.Completion.create(model="m", prompt=["a", "b"])
    assert [(one.code, one.status, bool(one)) for one in found] == [(code, None, False)] * 2
    assert found[0]["error"]["message"] == str(error)


def test_what_is_no_json_holds_its_place_too(use: Use) -> None:
    use(echo)
    found = openai_manager.Completion.create(model="m", prompt=["a", {1, 2}])
    assert [bool(one) for one in found] == [True, False]
    assert found[1].code == "invalid_json"


def test_an_error_page_is_an_error_with_its_text(use: Use) -> None:
    use(lambda sent: Answer(502, b"<html>"))
    (failed,) = openai_manager.Completion.create(model="m", prompt="a")
    assert (failed.status, failed.code) == (502, "502")
    assert "<html>" in failed.error.message


def test_what_concerns_all_requests_is_raised(use: Use) -> None:
    def away(sent: Sent) -> Answer:
        raise BrokerUnavailable("nobody answers")

    use(away)
    with pytest.raises(openai_manager.exceptions.ManagerException, match="nobody answers"):
        openai_manager.Completion.create(model="m", prompt=["a", "b"])


def test_responses_and_failures_can_be_copied_and_pickled(use: Use) -> None:
    use(refuse_b)
    for one in openai_manager.Completion.create(model="m", prompt=["a", "b"]):
        for other in (copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
            assert type(other) is type(one)
            assert dict(other) == dict(one)


def test_calls_work_where_an_event_loop_runs_already(use: Use) -> None:
    async def in_a_notebook() -> list[openai_manager.Response]:
        return openai_manager.Completion.create(model="m", prompt=["a", "b"])

    use(echo)
    assert len(asyncio.run(in_a_notebook())) == 2


def test_no_more_entries_are_under_way_than_the_variable_says(monkeypatch: pytest.MonkeyPatch, use: Use) -> None:
    asked: list[int] = []

    async def note(fleet: Any, endpoint: str, bodies: Any, *, most_at_once: int, on_end: Any) -> list[Any]:
        asked.append(most_at_once)
        return []

    use(echo)
    monkeypatch.setattr("keyfleet.openai_manager.resources.send_all", note)
    openai_manager.Completion.create(model="m", prompt="a")
    monkeypatch.setenv("OPENAI_PROMPTS_PER_ASYNC_BATCH", "7")
    openai_manager.Completion.create(model="m", prompt="a")
    assert asked == [1000, 7]


def test_a_bounded_number_is_under_way_at_once() -> None:
    class Counting(FakeFleet):
        now = most = 0

        async def asend(self, *arguments: Any, **options: Any) -> Answer:
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(0)
            self.now -= 1
            return await super().asend(*arguments, **options)

    fleet = Counting(echo)
    ended: list[int] = []
    bodies = [{"model": "m", "prompt": str(number)} for number in range(20)]
    found = asyncio.run(send_all(fleet, "/v1/completions", bodies, most_at_once=3, on_end=lambda: ended.append(1)))
    assert [one.choices[0].text for one in found] == [str(number) for number in range(20)]
    assert (fleet.most, len(ended)) == (3, 20)


def test_timeit_tells_the_seconds_and_no_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    @openai_manager.utils.timeit
    def add(one: int, other: int) -> int:
        """Adds."""
        return one + other

    assert add(1, other=2) == 3
    assert (add.__name__, add.__doc__) == ("add", "Adds.")
    assert capsys.readouterr().out.startswith("Function add took 0.")
