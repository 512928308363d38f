"""Sums over metrics pages, and the accounting of every served exchange."""

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client import CollectorRegistry

from proxy.rollout import accounting
from proxy.rollout.accounting import (
    Accounting,
    MetricsPages,
    ScrapedPages,
    accounting_of,
    by_label,
    drops_of,
    parse,
    quantile_s,
    read_all,
    reading_of,
    rss_of,
    total,
    totals_of,
)
from proxy.runner.metrics import RunnerMetrics
from proxy.serving import metrics as serving

PROXY = """
shadow_served_total 20
shadow_journal_written_total 16
shadow_journal_queued 1
shadow_journal_dropped_total{cause="queue_full"} 2
shadow_skipped_total{cause="policy"} 1
shadow_request_duration_seconds_bucket{route="a",side="candidate",le="0.01"} 10
shadow_request_duration_seconds_bucket{route="a",side="candidate",le="0.1"} 20
shadow_request_duration_seconds_bucket{route="a",side="candidate",le="+Inf"} 20
"""
RUNNER = """
shadow_compared_total{route="a",verdict="match"} 7
shadow_compared_total{route="b",verdict="match"} 2
shadow_compared_total{route="a",verdict="mismatch"} 1
shadow_skipped_total{route="a",cause="overlapped"} 2
shadow_failed_total{route="a",cause="timeout"} 1
shadow_dropped_total{cause="journal"} 0
shadow_lag_seconds 1.5
"""


def test_exchanges_without_an_outcome_are_in_flight() -> None:
    sums = accounting_of(parse(PROXY), parse(RUNNER))
    assert sums.served == 20
    assert sums.compared == {"match": 9, "mismatch": 1}
    assert sums.skipped == {"overlapped": 2, "policy": 1}
    assert sums.dropped == {"queue_full": 2}
    assert sums.failed == {"timeout": 1}
    assert sums.in_flight == 17 - 13
    assert sums.balance == 0


async def test_reading_is_of_every_process_and_names_those_that_are_silent() -> None:
    pages = {"/first": PROXY, "/second": PROXY, "/runner": RUNNER.replace('match"} 7', 'match"} 20')}

    async def page(request: web.Request) -> web.Response:
        return web.Response(text=pages[request.path]) if request.path in pages else web.Response(status=503)

    app = web.Application()
    app.router.add_get("/{path:.*}", page)
    async with TestServer(app) as server:
        first, second, stopped, runner = (
            str(server.make_url(path)) for path in ("/first", "/second", "/stopped", "/runner")
        )
        both = await read_all(MetricsPages((first, second), (runner,), (), 5.0), timeout_s=5.0)
        one = await read_all(MetricsPages((first, stopped), (runner,), (), 5.0), timeout_s=5.0)
        partial = await read_all(MetricsPages((first,), (runner, stopped), (), 5.0), timeout_s=5.0)
        with pytest.raises(ConnectionError, match="/stopped: ClientResponseError"):
            await read_all(MetricsPages((first,), (stopped,), (), 5.0), timeout_s=5.0)
    assert (both.accounting.served, both.accounting.in_flight, both.accounting.balance) == (40, 34 - 26, 0)
    assert (both.silent, both.lag_s) == ((), 1.5)
    assert partial.away == (f"{stopped}: ClientResponseError",)
    assert partial.accounting.compared == {"match": 22, "mismatch": 1}
    assert (one.accounting.served, one.silent) == (20, (f"{stopped}: ClientResponseError",))


def test_comparisons_without_rows_or_without_some_tables_are_named_apart() -> None:
    page = RUNNER + (
        'shadow_response_only_total{route="a",verdict="match",reason="off"} 3\n'
        'shadow_response_only_total{route="b",verdict="mismatch",reason="lost"} 1\n'
        'shadow_compared_in_part_total{route="a",verdict="match"} 2\n'
    )
    sums = accounting_of(parse(PROXY), parse(page))
    assert (sums.balance, sums.gaps()) == (0, "4 by the responses alone, 2 without some tables")
    assert sums.gaps("match") == "3 by the responses alone, 2 without some tables"
    assert sums.gaps("mismatch") == "1 by the responses alone"
    assert sums.gaps("known") == accounting_of(parse(PROXY), parse(RUNNER)).gaps() == ""


def test_exchange_that_the_proxy_dropped_and_the_runner_found_missing_counts_once() -> None:
    sums = accounting_of(parse(PROXY), parse(RUNNER.replace('cause="journal"} 0', 'cause="journal"} 3')))
    assert sums.dropped == {"journal": 1, "queue_full": 2}
    assert (sums.in_flight, sums.balance) == (3, 0)


def test_lost_exchange_shows_in_the_balance() -> None:
    assert Accounting(served=3, compared={"match": 1}, in_flight=1).balance == 1


def test_sums_are_over_all_other_labels() -> None:
    samples = parse(RUNNER)
    assert total(samples, "shadow_compared_total") == 10
    assert by_label(samples, "shadow_compared_total", "route") == {"a": 8, "b": 2}


def test_absent_metric_counts_as_zero() -> None:
    assert total({}, "shadow_served_total") == 0
    assert by_label({}, "shadow_served_total", "route") == {}


def test_reading_has_latencies_and_lag() -> None:
    reading = reading_of(parse(PROXY), parse(RUNNER))
    assert reading.served_ms == pytest.approx((10.0, 98.2))
    assert reading.lag_s == 1.5


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.25, 0.05), (0.5, 0.1), (0.75, 0.55), (1.0, 1.0)],
)
def test_quantile_is_interpolated_between_the_bounds(share: float, expected: float) -> None:
    assert quantile_s([(0.1, 10), (1.0, 20), (float("inf"), 20)], share) == pytest.approx(expected)


def test_quantile_beyond_the_last_bound_is_the_last_bound() -> None:
    assert quantile_s([(0.1, 1), (float("inf"), 2)], 0.99) == pytest.approx(0.1)


def test_quantile_of_nothing_is_zero() -> None:
    assert quantile_s([], 0.5) == 0.0
    assert quantile_s([(0.1, 0), (float("inf"), 0)], 0.5) == 0.0


PROXY_PAGE = """
shadow_served_total 100.0
shadow_skipped_total{cause="policy"} 0.0
shadow_skipped_total{cause="unrouted"} 7.0
shadow_journal_written_total 90.0
shadow_journal_dropped_total{cause="queue"} 1.0
shadow_journal_queued 2.0
"""
RUNNER_PAGE = """
shadow_compared_total{route="score",verdict="match"} 70.0
shadow_compared_total{route="other",verdict="match"} 9.0
shadow_skipped_total{route="score",cause="policy"} 50.0
shadow_skipped_total{route="score",cause="overlapped"} 6.0
shadow_failed_total{route="score",cause="timeout"} 4.0
shadow_in_flight 3.0
"""


def pages(*texts: str, unread: tuple[str, ...] = ()) -> ScrapedPages:
    return ScrapedPages(tuple(parse(text) for text in texts), unread)


def test_accounting_adds_up_over_all_proxies() -> None:
    totals = totals_of(pages(PROXY_PAGE, PROXY_PAGE), pages(RUNNER_PAGE))
    assert totals
    assert (totals.served, totals.accounted, totals.in_flight, totals.gap) == (200, 196, 4, 0)


def test_lost_exchange_of_a_proxy_is_a_gap() -> None:
    totals = totals_of(pages(PROXY_PAGE.replace("100.0", "130.0")), pages(RUNNER_PAGE))
    assert totals
    assert totals.gap == 30


def test_exchange_counted_twice_by_a_runner_is_a_gap() -> None:
    totals = totals_of(pages(PROXY_PAGE), pages(RUNNER_PAGE.replace("in_flight 3.0", "in_flight -5.0")))
    assert totals
    assert totals.gap == -5


def test_missing_page_leaves_the_accounting_unknown() -> None:
    assert totals_of(pages(PROXY_PAGE, unread=("http://x: TimeoutError",)), pages(RUNNER_PAGE)) is None


def test_drops_are_known_by_proxy_and_only_when_every_page_was_read() -> None:
    one = ScrapedPages((parse(PROXY_PAGE),), (), ("http://a/metrics",))
    assert drops_of(one) == {"http://a/metrics": {"": 1}}
    by_route = parse(
        PROXY_PAGE.replace('{cause="queue"} 1.0', '{cause="queue"} 5.0') + 'shadow_route_dropped_total{route="a"} 3\n'
    )
    assert drops_of(ScrapedPages((by_route,), (), ("http://a/metrics",))) == {"http://a/metrics": {"a": 3, "": 2}}
    assert drops_of(ScrapedPages((parse(PROXY_PAGE),), ("http://b: TimeoutError",), ("http://a/metrics",))) is None


def test_largest_candidate_process_counts_and_a_missing_one_makes_it_unknown() -> None:
    small, large = "process_resident_memory_bytes 1e8\n", "process_resident_memory_bytes 3e8\n"
    assert rss_of(pages(small, large)) == 300_000_000
    assert rss_of(pages(small, unread=("gone",))) is None
    assert rss_of(pages()) is None


def test_names_of_the_proxy_are_those_it_exports() -> None:
    assert accounting.SERVED == serving.SERVED
    assert accounting.JOURNAL_WRITTEN == serving.JOURNAL_WRITTEN
    assert accounting.JOURNAL_QUEUED == serving.JOURNAL_QUEUED
    assert accounting.JOURNAL_DROPPED == serving.JOURNAL_DROPPED
    assert accounting.ROUTE_DROPPED == serving.ROUTE_DROPPED
    assert accounting.REQUEST_DURATION == serving.DURATION
    assert accounting.SKIPPED == serving.SKIPPED


def test_names_of_the_runner_are_those_it_exports() -> None:
    registry = CollectorRegistry()
    RunnerMetrics(registry)
    exported = {family.name for family in registry.collect()}
    names = (
        *accounting.OUTCOMES,
        accounting.IN_FLIGHT,
        accounting.MISSING,
        accounting.LAG,
        accounting.MIRRORED_DURATION,
    )
    assert {name.removesuffix("_total") for name in names} <= exported
