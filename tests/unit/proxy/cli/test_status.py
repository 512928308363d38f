"""The lines of `shadow status` about the proxies, the accounting, the backends and the configuration."""

import json
from typing import Any

import msgspec
import pytest

from comparator.exchanges.model import LeftOutReason
from comparator.exchanges.number_ranges import NO_NUMBERS, NumberRanges
from comparator.stats.confidence import VerdictCounts
from comparator.store.report import Summary
from comparator.store.rows import LeftOutTables
from proxy.cli.exit_codes import Exit
from proxy.cli.status import ProxyStatus, Status, as_json, exit_of, render
from proxy.journal.reconciliation import WriterAccount
from proxy.rollout.accounting import Accounting, Reading
from proxy.runner.accountant import SliceState

ONE = (ProxyStatus("127.0.0.1:9901", {"stage": "s"}),)


def lines_of(**proxy: Any) -> list[str]:
    status = Status((ProxyStatus("127.0.0.1:9901", {"stage": "candidate_100", **proxy}),), None, None, {})
    return [line for line in render(status).splitlines() if not line.startswith("stage")]


def test_ejected_and_an_unhealthy_side_are_named() -> None:
    backends = {
        "candidate": {"ejected": True, "healthy": False},
        "legacy": {"ejected": False, "healthy": False, "checked": "/heatlh"},
    }
    lines = lines_of(backends=backends)
    assert "EJECTED   the candidate fails clients' requests" in lines
    assert "unhealthy the legacy's health check fails: GET /heatlh" in lines


def test_healthy_and_unchecked_sides_are_not_mentioned() -> None:
    backends = {"candidate": {"ejected": False, "healthy": True}, "legacy": {"ejected": False, "healthy": None}}
    assert lines_of(backends=backends) == lines_of()


def test_refused_file_and_settings_that_need_a_restart_are_named() -> None:
    lines = lines_of(config={"error": "listen: nonsense", "needs_restart": ["admin.port", "listen.workers"]})
    assert "config    the new file was refused: listen: nonsense" in lines
    assert "config    only a restart applies admin.port, listen.workers" in lines


def test_tables_that_are_not_compared_are_named_with_the_reasons() -> None:
    differing = {"table": "score", "since_s": 0, "reasons": ["score.n is integer in live and missing in the shadow"]}
    schema = {"differs": [differing], "not_captured": ["session", "task"]}
    lines = render(Status(ONE, None, None, {}, schema=schema)).splitlines()
    assert (
        "schema    score is not compared since 1970-01-01 00:00:00Z: score.n is integer in live and missing in the shadow"
        in lines
    )
    assert "schema    not captured, so rows are not compared: session, task" in lines


def test_slices_are_listed_and_one_that_is_away_is_named() -> None:
    slices = (
        SliceState("a", "host 1", True, 0),
        SliceState("b", "host 2", False, 40),
        SliceState("c", "", False, None),
    )
    status = Status(ONE, None, None, {}, slices=slices)
    assert render(status).splitlines()[-3:] == [
        "slice     a: host 1, 0 exchanges without its outcome",
        "slice     b: AWAY, its last runner was host 2, 40 exchanges without its outcome: those of its keys are not mirrored",
        "slice     c: AWAY, none has ever run: those of its keys are not mirrored",
    ]
    assert [one["works"] for one in json.loads(as_json(status))["slices"]] == [True, False, False]


def account(**changes: Any) -> WriterAccount:
    values: dict[str, Any] = {"queued": 0, "unwritten": NO_NUMBERS, "unread": 0, "in_flight": 2, "ended": 97}
    return WriterAccount(writer="w1-7", missing=changes.pop("missing", NO_NUMBERS), **(values | changes))


@pytest.mark.parametrize(
    ("changes", "line", "code"),
    [
        (
            {"missing": NumberRanges([(4, 9), (12, 12)])},
            "  MISSING without a trace: 7, numbers 4 to 9, 12",
            Exit.NEGATIVE,
        ),
        (
            {"unwritten": NumberRanges.of(98, 99)},
            "  LOST with the memory of a proxy that ended: 2, numbers 98 to 99",
            0,
        ),
        ({"lost": NumberRanges.of(5, 5)}, "  NOT READ, lost in the journal or not decodable: 1, numbers 5", 0),
        ({}, "  nothing is missing", 0),
    ],
)
def test_exchanges_that_are_missing_are_named_by_writer_and_number(
    changes: dict[str, Any], line: str, code: int
) -> None:
    status = Status(ONE, None, None, {}, accounts=(account(), account(**changes)))
    lines = render(status).splitlines()
    assert lines.count("writer    w1-7: ended 97, in flight 2, unread 0, queued 0") == 2
    assert line in lines
    assert exit_of(status) == code
    document = msgspec.json.decode(as_json(status))["exchanges"][1]
    ranges = {name: NumberRanges([tuple(one) for one in document[name]]) for name in ("missing", "unwritten", "lost")}
    assert ranges == {name: changes.get(name, NO_NUMBERS) for name in ranges}


def test_missing_exchanges_weigh_more_than_a_part_that_did_not_answer() -> None:
    lost = account(missing=NumberRanges.of(1, 1))
    assert exit_of(Status((), None, None, {"proxy": "refused"}, accounts=(lost,))) is Exit.NEGATIVE
    assert exit_of(Status((), None, None, {"proxy": "refused"}, accounts=(account(),))) is Exit.UNAVAILABLE


def test_figures_that_cannot_be_read_are_not_taken_for_nothing_missing() -> None:
    lines = render(Status(ONE, None, None, {})).splitlines()
    assert "exchanges cannot be accounted for by number: that needs the store and the journal" in lines
    assert "  nothing is missing" not in lines


def test_counts_say_what_verdicts_do_not_rest_on() -> None:
    accounting = Accounting(served=9, compared={"match": 9}, response_only={"match": 3}, in_part={"match": 2})
    part: LeftOutTables = (("audit", LeftOutReason.SHARED),)
    summary = Summary(
        {"r": VerdictCounts(match=9)},
        {"r": {"legacy (mirrored): lost": VerdictCounts(match=3)}},
        {"r": {part: VerdictCounts(match=2)}},
    )
    status = Status(ONE, Reading(accounting), summary, {})
    text = render(status)
    assert "match 9; of these 3 by the responses alone, 2 without some tables" in text
    document = msgspec.json.decode(as_json(status))["routes"]["r"]
    rates = [document[name].split(" ")[0] for name in ("match_rate", "match_rate_in_part", "match_rate_response_only")]
    assert rates == ["4/4", "2/2", "3/3"]
    assert document["left_out"][0]["tables"] == {"audit": "shared"}


def test_side_that_names_no_request_is_said() -> None:
    lines = render(Status(ONE, None, None, {}, schema={"untagged": ["candidate (mirrored)"]})).splitlines()
    assert any(line.startswith("UNTAGGED  the candidate (mirrored) names no request") for line in lines)


@pytest.mark.parametrize(
    ("other", "line"),
    [
        ({"stage": "s", "switch": {}}, ""),
        (
            {"stage": "rolled_back", "switch": {"rolled_back": True}},
            "BUT       b:2 is at stage rolled_back, rolled back",
        ),
        ({"stage": "t", "switch": {"rolled_back": False}}, "BUT       b:2 is at stage t, not rolled back"),
        ({"stage": "s", "config": {"error": "no"}}, "config    the new file was refused: no (b:2)"),
    ],
)
def test_no_proxy_hides_behind_the_first_one(other: dict[str, Any], line: str) -> None:
    alone = render(Status(ONE, None, None, {})).splitlines()
    lines = render(Status((*ONE, ProxyStatus("b:2", other)), None, None, {})).splitlines()
    assert [one for one in lines if one not in alone] == ([line] if line else [])


@pytest.mark.parametrize(
    ("reading", "accounts", "in_flight"),
    [
        (Reading(Accounting(in_flight=3)), None, "       3"),
        (
            Reading(Accounting(in_flight=-158)),
            None,
            "unknown: a process did not answer, or a proxy has started later than the runner",
        ),
        (
            Reading(Accounting(in_flight=3), silent=("http://a: TimeoutError",)),
            None,
            "unknown: a process did not answer, or a proxy has started later than the runner",
        ),
        (Reading(Accounting(in_flight=-158)), (WriterAccount("w", 4, NO_NUMBERS, 1, 2, 9, NO_NUMBERS),), "       7"),
    ],
)
def test_exchanges_in_flight_are_known_by_number_or_said_to_be_unknown(
    reading: Reading, accounts: tuple[WriterAccount, ...] | None, in_flight: str
) -> None:
    lines = render(Status(ONE, reading, None, {}, accounts=accounts)).splitlines()
    assert f"  in flight {in_flight}" in lines
    assert [line for line in lines if line.startswith("  not counted")] == [
        f"  not counted: what this proxy has served: {reason}" for reason in reading.silent
    ]
    document = json.loads(as_json(Status(ONE, reading, None, {}, accounts=accounts)))["accounting"]
    assert document["in_flight"] == (int(in_flight) if in_flight.strip().isdigit() else None)
    assert document["not_counted"] == [*reading.silent]
