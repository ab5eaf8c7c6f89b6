"""The window: bounded per queue in number and in bytes, expected answers included."""

from __future__ import annotations

import threading

from keyfleet.running.window import OpenRequest, Window


def fill(window: Window, queue: str, count: int, size_bytes: int = 1) -> None:
    for number in range(count):
        window.add(f"{queue}{number}", OpenRequest(queue, size_bytes))


def test_a_queue_takes_as_many_requests_as_the_window_allows() -> None:
    window = Window(requests=3)
    fill(window, "a", 2)
    assert window.has_room("a")
    fill(window, "a", 3)
    assert not window.has_room("a")


def test_a_full_queue_keeps_no_room_from_another() -> None:
    window = Window(requests=2)
    fill(window, "a", 2)
    assert window.has_room("b")
    assert window.is_full()
    fill(window, "b", 1)
    assert not window.is_full()


def test_a_window_without_requests_is_not_full() -> None:
    assert not Window(requests=1).is_full()


def test_requests_are_bounded_in_bytes() -> None:
    window = Window(requests=100, size_bytes=1000)
    fill(window, "a", 3, 400)
    assert not window.has_room("a")
    window.remove("a0")
    assert window.has_room("a")


def test_one_request_is_let_in_however_large_it_is() -> None:
    window = Window(size_bytes=10)
    assert window.has_room("a")
    window.add("1", OpenRequest("a", 10_000))
    assert not window.has_room("a")


def test_answers_that_are_expected_count_by_the_mean_of_those_seen() -> None:
    window = Window(requests=1000, size_bytes=100_000)
    for number in range(300):  # so many that the mean has settled
        window.add(str(number), OpenRequest("other", 0))
        window.remove(str(number), 10_000)
    fill(window, "a", 9, 0)
    assert window.has_room("a")
    fill(window, "a", 12, 0)
    assert not window.has_room("a")


def test_a_request_that_was_withdrawn_says_nothing_of_answers() -> None:
    window = Window(requests=1000, size_bytes=1000)
    for number in range(100):
        window.add(str(number), OpenRequest("a", 0))
        window.remove(str(number))
    fill(window, "a", 500, 0)
    assert window.has_room("a")


def test_a_request_that_is_added_twice_takes_its_room_once() -> None:
    window = Window(requests=2)
    request = OpenRequest("a", 5)
    window.add("1", request)
    window.add("1", request)
    assert window.has_room("a")
    assert window.remove("1") is request
    assert window.remove("1") is None
    assert window.queues() == set()


def test_queues_and_ids_are_those_of_open_requests() -> None:
    window = Window()
    fill(window, "a", 2)
    fill(window, "b", 1)
    window.remove("b0")
    assert window.queues() == {"a"}
    assert window.by_queue() == {"a": ["a0", "a1"]}
    assert len(window) == 2
    assert "a0" in window
    assert "b0" not in window


def test_requests_that_the_server_has_not_yet_can_be_left_out() -> None:
    window = Window()
    fill(window, "a", 1)
    for request_id in ("new", "gone"):
        window.add(request_id, OpenRequest("a", 1), accepted=False)
    assert window.by_queue() == {"a": ["a0", "new", "gone"]}
    assert window.by_queue(accepted=True) == {"a": ["a0"]}
    window.remove("gone")
    window.note_accepted(["new", "gone"])
    assert window.by_queue(accepted=True) == {"a": ["a0", "new"]}


def test_whoever_waits_for_a_change_is_woken_by_a_removal() -> None:
    window = Window()
    fill(window, "a", 1)
    changed = threading.Event()
    waiting = threading.Event()

    def wait() -> None:
        waiting.set()
        window.wait_for_change(30.0)
        changed.set()

    threading.Thread(target=wait, daemon=True).start()
    waiting.wait(10.0)
    while not changed.wait(0.01):  # until the thread has come to wait
        window.remove("a0")
