"""The latest values: one reading at a time, by age, and failures in the log once a kind."""

import asyncio
import logging

import pytest

from proxy.ui.latest import LOGGED_AGAIN_S, FailureLog, LatestByKey, LatestValue
from proxy.ui.parts import PartAnswer
from proxy.ui.rules import DRAFT_FRESH_S, fresh_s
from proxy.ui.screens import FRESH_S


def test_missing_value_is_made_by_its_subscripted_type() -> None:
    assert LatestValue[object]().value is None
    assert PartAnswer[int](error="down").error == "down"


async def readings(ages: list[float]) -> list[int | None]:
    """Look once for each age at which the value is read again; return the values, which count the readings."""
    count = 0

    async def read() -> int:
        nonlocal count
        count += 1
        return count

    async with asyncio.TaskGroup() as tasks:
        latest = LatestByKey[int](tasks=tasks, failures=FailureLog())
        return [(await latest.of(f"key of {age}", read, fresh_s=age).look(60.0)).value for age in ages]


async def test_value_is_read_again_at_its_own_age() -> None:
    assert await readings([0.0, 0.0, 0.0]) == [1, 2, 3]
    assert await readings([3_600.0, 3_600.0, 0.0, 3_600.0]) == [1, 1, 2, 1]


@pytest.mark.parametrize(
    ("query", "age"),
    [
        ({}, FRESH_S),
        ({"new": "rule"}, FRESH_S),
        ({"new": "rule", "draft": "x"}, DRAFT_FRESH_S),
        ({"edit": "x"}, DRAFT_FRESH_S),
    ],
    ids=["list", "template", "draft", "edited rule"],
)
def test_draft_is_not_tried_again_at_every_refresh(query: dict[str, str], age: float) -> None:
    assert fresh_s(query) == age


def fail(text: str, *, otherwise: bool) -> None:
    if otherwise:
        raise ValueError(text)
    raise ValueError(text)


def raised(text: str, *, otherwise: bool = False) -> Exception:
    """Return an exception of one of two lines."""
    with pytest.raises(ValueError, match=text) as caught:
        fail(text, otherwise=otherwise)
    return caught.value


@pytest.mark.parametrize(
    ("notes", "logged"),
    [
        ([(raised("a"), 0.0)], ["a"]),
        ([(raised("a"), 0.0), (raised("b"), 2.0), (raised("c"), LOGGED_AGAIN_S - 1)], ["a"]),
        ([(raised("a"), 0.0), (raised("b"), LOGGED_AGAIN_S)], ["a", "b"]),
        ([(raised("a"), 0.0), (raised("b", otherwise=True), 2.0)], ["a", "b"]),
        ([(raised("a"), 0.0), (TypeError("b"), 2.0), (TypeError(), 3.0)], ["a", "b"]),
        ([(LookupError("no cause has this id"), 0.0), (KeyError("none"), 1.0)], []),
    ],
    ids=["first", "one kind", "an hour later", "another line", "another class", "expected"],
)
def test_failure_is_logged_once_a_kind_with_its_traceback(
    notes: list[tuple[Exception, float]], logged: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    failures = FailureLog(LookupError)
    with caplog.at_level(logging.WARNING):
        for error, at in notes:
            failures.note(error, at)
    assert [vars(record)["error"] for record in caplog.records] == logged
    assert all(record.exc_info for record in caplog.records)


async def test_page_has_the_reason_of_a_failure_beside_the_last_value() -> None:
    values = iter([7])

    async def read() -> int:
        try:
            return next(values)
        except StopIteration:
            raise ConnectionError("the store is down") from None

    async with asyncio.TaskGroup() as tasks:
        latest = LatestByKey[int](tasks=tasks, failures=FailureLog())
        looks = [await latest.of("key", read, fresh_s=0.0).look(60.0) for _ in range(3)]
    assert [(one.value, one.error) for one in looks] == [(7, ""), (7, "the store is down"), (7, "the store is down")]
