"""Which heads are recognised, what is kept of them, and that the memory is bounded."""

import gc
from typing import Any

import pytest

from proxy.errors import MalformedError
from proxy.http1.head_cache import (
    CREDIT_MAX,
    LEARNED_ONE_IN,
    NAMES_MAX,
    NEW_NAMES_MAX,
    RENEWED_AT_ONCE_MAX,
    RENEWED_ONE_IN,
    SHAPES_MAX,
    VALUE_MAX,
    VALUES_MAX,
    CachedRequestParser,
    CachedResponseParser,
    HeadCache,
    LearningBudget,
    TwoGenerationLru,
)
from proxy.http1.parser import RequestHead, parse_request


def request(*lines: str, first: str = "GET / HTTP/1.1") -> bytes:
    return "\r\n".join([first, "Host: a", *lines, "", ""]).encode("latin-1")


def response(*lines: str, first: str = "HTTP/1.1 200 OK") -> bytes:
    return "\r\n".join([first, *lines, "", ""]).encode("latin-1")


def recognised(*heads: bytes) -> bool:
    """Whether the last head is recognised after the others."""
    memory = CachedRequestParser()
    hits = 0
    for head in heads:
        hits = memory.hits
        memory.parse(head, fields_max=0)
    return memory.hits > hits


def test_a_head_is_recognised_when_it_comes_again() -> None:
    assert recognised(request("Accept: *"), request("Accept: *"))


def test_another_value_of_a_field_is_another_head() -> None:
    assert not recognised(request("Accept: *"), request("Accept: x"))


@pytest.mark.parametrize("name", ["X-Request-Id", "cookie", "Authorization", "X-My-Token", "ETag"])
def test_a_head_is_recognised_whatever_its_ids_and_secrets(name: str) -> None:
    assert recognised(request(f"{name}: 1"), request(f"{name}: 2"))


def test_a_head_is_recognised_whatever_its_target_and_method() -> None:
    assert recognised(request(), request(first="POST /other?x=1 HTTP/1.1"))


def test_a_head_is_recognised_whatever_its_length() -> None:
    memory = CachedRequestParser()
    memory.parse(request("Content-Length: 5"), fields_max=0)
    assert (memory.parse(request("Content-Length: 17"), fields_max=0).length, memory.hits) == (17, 1)


def test_a_field_that_never_repeats_counts_by_its_name_after_a_while() -> None:
    heads = [request(f"X-Client-Version: {number}") for number in range(VALUES_MAX + 2)]
    assert recognised(*heads)


def test_values_that_were_kept_before_a_field_counted_by_its_name_make_no_shapes_of_their_own() -> None:
    memory = CachedRequestParser()
    heads = [request(f"X-V: {number}") for number in range(VALUES_MAX + 1)]
    for head in [*heads, *heads]:
        memory.parse(head, fields_max=0)
    assert memory.hits == len(heads)


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 5", "Content-Length: 5"),
        ("Content-Length: +5",),
        ("Content-Length: ²",),
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        ("X-Request-Id: a\x00b",),
        ("X-Request-Id : a",),
        ("X-Request-Id: a\rb",),
        ("Host: b",),
    ],
)
def test_what_is_refused_is_refused_each_time_though_its_parts_are_known(lines: tuple[str, ...]) -> None:
    memory = CachedRequestParser()
    for known in (("Content-Length: 5",), ("Transfer-Encoding: chunked",), ("X-Request-Id: a",), ()):
        memory.parse(request(*known), fields_max=0)
    for _ in range(3):
        with pytest.raises(MalformedError):
            memory.parse(request(*lines), fields_max=0)
    assert memory.hits == 0


@pytest.mark.parametrize("before", ["GET http://b/ HTTP/1.1", "GET / HTTP/1.0"])
def test_what_a_first_line_decides_is_not_remembered(before: str) -> None:
    memory = CachedRequestParser()
    for _ in range(2):
        memory.parse(request(first=before), fields_max=0)
    after = memory.parse(request(), fields_max=0)
    assert (after.host, after.keep_alive, after.minor) == ("a", True, 1)


@pytest.mark.parametrize("count", [1, NEW_NAMES_MAX, NEW_NAMES_MAX + 1, 100])
def test_a_client_with_ever_new_names_takes_the_place_of_no_name_that_is_used(count: int) -> None:
    memory = CachedRequestParser()
    memory.parse(request("X-API-Key: 1"), fields_max=0)
    for number in range(RENEWED_AT_ONCE_MAX):
        memory.parse(request(*[f"X-Token-{number}-{place}: 1" for place in range(count)]), fields_max=0)
    for number in range(3):
        memory.parse(request(f"X-API-Key: {number}"), fields_max=0)
    assert memory.hits >= 2


class Counting(HeadCache[RequestHead]):
    """Counts how often its pattern is made."""

    renewed = 0

    def _renew(self) -> None:
        self.renewed += 1
        super()._renew()


def test_the_pattern_is_made_anew_for_few_of_the_heads_with_new_names() -> None:
    memory = Counting()
    for number in range(RENEWED_ONE_IN * 2):
        head = request(f"X-Token-{number}: 1")
        memory.insert(f"\r\nHost: a\r\nX-Token-{number}: 1", "", parse_request(head, fields_max=0))
    assert memory.renewed == 1 + RENEWED_AT_ONCE_MAX + 1


def test_a_limit_of_fields_holds_for_a_head_that_is_known() -> None:
    memory = CachedRequestParser()
    memory.parse(request("A: 1", "B: 2"), fields_max=0)
    with pytest.raises(MalformedError):
        memory.parse(request("A: 1", "B: 2"), fields_max=2)


def test_a_response_to_head_is_not_taken_for_one_with_a_body() -> None:
    memory = CachedResponseParser()
    memory.parse(response("Content-Length: 5"), method="HEAD")
    assert memory.parse(response("Content-Length: 5"), method="GET").length == 5
    assert memory.parse(response("Content-Length: 5"), method="HEAD").length == 0


def test_a_response_is_recognised_by_its_status_and_fields() -> None:
    memory = CachedResponseParser()
    memory.parse(response("Date: 1", "Content-Length: 5"), method="GET")
    memory.parse(response("Date: 2", "Content-Length: 6"), method="GET")
    memory.parse(response("Date: 2", "Content-Length: 6", first="HTTP/1.1 404 Not Found"), method="GET")
    assert (memory.hits, memory.misses) == (1, 2)


def test_of_two_fields_of_one_name_the_first_counts_though_only_the_second_counts_by_its_name() -> None:
    memory = CachedRequestParser()
    for number in range(NAMES_MAX // 32):
        # (the line is used and stays; that it was counted among the values of its name is forgotten)
        memory.parse(request("X-A: first"), fields_max=0)
        memory.parse(request(*[f"X-{number}-{place}: 1" for place in range(32)]), fields_max=0)
    memory.parse(request("X-A: first", "X-A: " + "long" * VALUE_MAX), fields_max=0)
    assert memory.parse(request("X-A: first", "X-A: second"), fields_max=0).named["x-a"] == "first"


def reachable(root: object) -> str:
    """All text that an object holds on to."""
    found: dict[int, object] = {id(root): root}
    waiting = [root]
    while waiting:
        fresh: list[Any] = [one for one in gc.get_referents(waiting.pop()) if id(one) not in found]
        data = [
            one
            for one in fresh
            if isinstance(one, str | bytes | dict | list | tuple) or type(one).__module__ == "proxy.http1.head_cache"
        ]
        found.update((id(one), one) for one in fresh)
        waiting += data
    return "|".join(str(one) for one in found.values() if isinstance(one, str | bytes))


def test_neither_secrets_nor_targets_are_kept() -> None:
    memory = CachedRequestParser()
    secrets = ("Authorization: Bearer s3cret", "Cookie: s3cret", "X-API-Key: s3cret", "X-Session: s3cret", "Accept: *")
    for _ in range(3):
        memory.parse(request(*secrets, first="GET /s3cret HTTP/1.1"), fields_max=0)
    kept = reachable(memory)
    assert "Accept" in kept
    assert "s3cret" not in kept


def test_a_client_who_sends_ever_new_heads_does_not_make_others_be_forgotten_for_long() -> None:
    memory = CachedRequestParser()
    for number in range(SHAPES_MAX * 3):
        memory.parse(request(f"X-{number}: 1"), fields_max=0)
        memory.parse(request("Accept: *"), fields_max=0)
    assert memory.hits > SHAPES_MAX * 3 - 10


def test_where_nothing_is_recognised_few_heads_are_learned() -> None:
    zeal = LearningBudget()
    learned = [zeal.admits(hits=0, misses=number) for number in range(CREDIT_MAX + 80)]
    assert sum(learned) == CREDIT_MAX + 80 // LEARNED_ONE_IN


def test_where_heads_are_recognised_the_others_are_learned() -> None:
    zeal = LearningBudget()
    assert all(zeal.admits(hits=number, misses=number) for number in range(CREDIT_MAX * 3))


def test_a_flood_of_new_heads_does_not_keep_a_new_client_from_being_recognised() -> None:
    memory = CachedRequestParser()
    for number in range(CREDIT_MAX + 200):
        memory.parse(request(f"X-{number}: 1"), fields_max=0)
    for _ in range(LEARNED_ONE_IN + 1):
        memory.parse(request("Accept: new"), fields_max=0)
    assert memory.hits >= 1


def test_what_is_used_survives_what_is_not() -> None:
    memory: TwoGenerationLru[str, int] = TwoGenerationLru(4)
    for number in range(50):
        memory.put(str(number), number)
        memory.put("used", memory.get("used") or 1)
    assert memory.get("used") == 1
    assert memory.get("3") is None
