"""The head cache: hits, contents and bounds."""

import gc
from typing import Any

import pytest

from proxy.errors import MalformedError
from proxy.http1.head_cache import (
    ADMITTED_ONE_IN,
    CREDIT_MAX,
    INSERTS_PER_REBUILD,
    NAMES_MAX,
    NEW_NAMES_MAX,
    REBUILDS_AT_ONCE_MAX,
    TEMPLATES_MAX,
    VALUE_MAX_CHARS,
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


def hits(*heads: bytes) -> bool:
    """Return whether the last head hits after the others were parsed."""
    parser = CachedRequestParser()
    before = 0
    for head in heads:
        before = parser.hits
        parser.parse(head, fields_max=0)
    return parser.hits > before


def test_repeated_head_is_a_hit() -> None:
    assert hits(request("Accept: *"), request("Accept: *"))


def test_other_value_of_a_field_without_slot_is_a_miss() -> None:
    assert not hits(request("Accept: *"), request("Accept: x"))


@pytest.mark.parametrize("name", ["X-Request-Id", "cookie", "Authorization", "X-My-Token", "ETag"])
def test_ids_and_secrets_do_not_matter_for_a_hit(name: str) -> None:
    assert hits(request(f"{name}: 1"), request(f"{name}: 2"))


def test_target_and_method_do_not_matter_for_a_hit() -> None:
    assert hits(request(), request(first="POST /other?x=1 HTTP/1.1"))


def test_length_does_not_matter_for_a_hit() -> None:
    parser = CachedRequestParser()
    parser.parse(request("Content-Length: 5"), fields_max=0)
    assert (parser.parse(request("Content-Length: 17"), fields_max=0).length, parser.hits) == (17, 1)


def test_field_with_many_values_gets_a_slot() -> None:
    heads = [request(f"X-Client-Version: {number}") for number in range(VALUES_MAX + 2)]
    assert hits(*heads)


def test_values_seen_before_a_field_got_its_slot_are_hits() -> None:
    parser = CachedRequestParser()
    heads = [request(f"X-V: {number}") for number in range(VALUES_MAX + 1)]
    for head in [*heads, *heads]:
        parser.parse(head, fields_max=0)
    assert parser.hits == len(heads)


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
def test_malformed_head_is_rejected_every_time_though_its_parts_are_cached(lines: tuple[str, ...]) -> None:
    parser = CachedRequestParser()
    for accepted in (("Content-Length: 5",), ("Transfer-Encoding: chunked",), ("X-Request-Id: a",), ()):
        parser.parse(request(*accepted), fields_max=0)
    for _ in range(3):
        with pytest.raises(MalformedError):
            parser.parse(request(*lines), fields_max=0)
    assert parser.hits == 0


@pytest.mark.parametrize("before", ["GET http://b/ HTTP/1.1", "GET / HTTP/1.0"])
def test_effects_of_the_request_line_are_not_cached(before: str) -> None:
    parser = CachedRequestParser()
    for _ in range(2):
        parser.parse(request(first=before), fields_max=0)
    after = parser.parse(request(), fields_max=0)
    assert (after.host, after.keep_alive, after.minor) == ("a", True, 1)


@pytest.mark.parametrize("count", [1, NEW_NAMES_MAX, NEW_NAMES_MAX + 1, 100])
def test_client_with_ever_new_names_does_not_displace_names_in_use(count: int) -> None:
    parser = CachedRequestParser()
    parser.parse(request("X-API-Key: 1"), fields_max=0)
    for number in range(REBUILDS_AT_ONCE_MAX):
        parser.parse(request(*[f"X-Token-{number}-{place}: 1" for place in range(count)]), fields_max=0)
    for number in range(3):
        parser.parse(request(f"X-API-Key: {number}"), fields_max=0)
    assert parser.hits >= 2


class RebuildCounter(HeadCache[RequestHead]):
    """A cache that counts how often it compiles its pattern."""

    rebuilds = 0

    def _rebuild_pattern(self) -> None:
        self.rebuilds += 1
        super()._rebuild_pattern()


def test_pattern_is_rebuilt_for_few_of_the_heads_with_new_names() -> None:
    cache = RebuildCounter()
    for number in range(INSERTS_PER_REBUILD * 2):
        head = request(f"X-Token-{number}: 1")
        cache.insert(f"\r\nHost: a\r\nX-Token-{number}: 1", "", parse_request(head, fields_max=0))
    assert cache.rebuilds == 1 + REBUILDS_AT_ONCE_MAX + 1


def test_field_limit_applies_to_a_cached_head() -> None:
    parser = CachedRequestParser()
    parser.parse(request("A: 1", "B: 2"), fields_max=0)
    with pytest.raises(MalformedError):
        parser.parse(request("A: 1", "B: 2"), fields_max=2)


def test_response_to_head_is_not_mistaken_for_one_with_a_body() -> None:
    parser = CachedResponseParser()
    parser.parse(response("Content-Length: 5"), method="HEAD")
    assert parser.parse(response("Content-Length: 5"), method="GET").length == 5
    assert parser.parse(response("Content-Length: 5"), method="HEAD").length == 0


def test_response_hits_by_status_and_fields() -> None:
    parser = CachedResponseParser()
    parser.parse(response("Date: 1", "Content-Length: 5"), method="GET")
    parser.parse(response("Date: 2", "Content-Length: 6"), method="GET")
    parser.parse(response("Date: 2", "Content-Length: 6", first="HTTP/1.1 404 Not Found"), method="GET")
    assert (parser.hits, parser.misses) == (1, 2)


def test_first_of_two_fields_wins_though_only_the_second_would_get_a_slot() -> None:
    parser = CachedRequestParser()
    for number in range(NAMES_MAX // 32):
        # (the head stays cached, the values seen under its name are dropped)
        parser.parse(request("X-A: first"), fields_max=0)
        parser.parse(request(*[f"X-{number}-{place}: 1" for place in range(32)]), fields_max=0)
    parser.parse(request("X-A: first", "X-A: " + "long" * VALUE_MAX_CHARS), fields_max=0)
    assert parser.parse(request("X-A: first", "X-A: second"), fields_max=0).first_values["x-a"] == "first"


def reachable(root: object) -> str:
    """Return all text that an object refers to."""
    seen: dict[int, object] = {id(root): root}
    waiting = [root]
    while waiting:
        new: list[Any] = [item for item in gc.get_referents(waiting.pop()) if id(item) not in seen]
        data = [
            item
            for item in new
            if isinstance(item, str | bytes | dict | list | tuple)
            or type(item).__module__ in ("proxy.http1.head_cache", "proxy.http1.head_template", "proxy.http1.parser")
        ]
        seen.update((id(item), item) for item in new)
        waiting += data
    return "|".join(str(item) for item in seen.values() if isinstance(item, str | bytes))


def test_cache_holds_neither_secrets_nor_targets() -> None:
    parser = CachedRequestParser()
    secrets = ("Authorization: Bearer s3cret", "Cookie: s3cret", "X-API-Key: s3cret", "X-Session: s3cret", "Accept: *")
    for _ in range(3):
        parser.parse(request(*secrets, first="GET /s3cret HTTP/1.1"), fields_max=0)
    text = reachable(parser)
    assert "Accept" in text
    assert "s3cret" not in text


def test_client_with_ever_new_heads_does_not_displace_other_heads_for_long() -> None:
    parser = CachedRequestParser()
    for number in range(TEMPLATES_MAX * 3):
        parser.parse(request(f"X-{number}: 1"), fields_max=0)
        parser.parse(request("Accept: *"), fields_max=0)
    assert parser.hits > TEMPLATES_MAX * 3 - 10


def test_few_misses_are_inserted_while_nothing_hits() -> None:
    budget = LearningBudget()
    inserted = [budget.admits(hits=0, misses=number) for number in range(CREDIT_MAX + 80)]
    assert sum(inserted) == CREDIT_MAX + 80 // ADMITTED_ONE_IN


def test_every_miss_is_inserted_while_heads_hit() -> None:
    budget = LearningBudget()
    assert all(budget.admits(hits=number, misses=number) for number in range(CREDIT_MAX * 3))


def test_new_client_hits_soon_during_a_flood_of_new_heads() -> None:
    parser = CachedRequestParser()
    for number in range(CREDIT_MAX + 200):
        parser.parse(request(f"X-{number}: 1"), fields_max=0)
    for _ in range(ADMITTED_ONE_IN + 1):
        parser.parse(request("Accept: new"), fields_max=0)
    assert parser.hits >= 1


def test_used_entry_survives_unused_ones() -> None:
    entries: TwoGenerationLru[str, int] = TwoGenerationLru(4)
    for number in range(50):
        entries.put(str(number), number)
        entries.put("used", entries.get("used") or 1)
    assert entries.get("used") == 1
    assert entries.get("3") is None
