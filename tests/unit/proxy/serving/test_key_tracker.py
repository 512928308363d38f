"""Requests that overlap."""

from dataclasses import dataclass

from proxy.serving.key_tracker import KeyTracker


@dataclass(eq=False)
class TrackedRequest:
    key: str
    overlapped: bool = False


def test_requests_with_one_key_overlap() -> None:
    tracker, first, second = KeyTracker(), TrackedRequest("a"), TrackedRequest("a")
    tracker.add(first)
    tracker.add(second)
    assert (first.overlapped, second.overlapped) == (True, True)


def test_request_after_another_has_ended_does_not_overlap() -> None:
    tracker, first, second = KeyTracker(), TrackedRequest("a"), TrackedRequest("a")
    tracker.add(first)
    tracker.remove(first)
    tracker.add(second)
    assert (first.overlapped, second.overlapped) == (False, False)


def test_third_request_overlaps_the_one_still_in_flight() -> None:
    tracker, first, second, third = KeyTracker(), TrackedRequest("a"), TrackedRequest("a"), TrackedRequest("a")
    tracker.add(first)
    tracker.add(second)
    tracker.remove(first)
    tracker.add(third)
    assert third.overlapped


def test_requests_without_a_key_or_with_different_keys_do_not_overlap() -> None:
    tracker, requests = KeyTracker(), [TrackedRequest(key) for key in ("", "", "a", "b")]
    for request in requests:
        tracker.add(request)
    assert not any(request.overlapped for request in requests)


def test_request_that_was_never_added_is_ignored() -> None:
    tracker, added, other = KeyTracker(), TrackedRequest("a"), TrackedRequest("a")
    tracker.add(added)
    tracker.remove(other)
    tracker.remove(TrackedRequest("b"))
    tracker.add(other)
    assert added.overlapped
