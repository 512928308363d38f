"""What is read from metrics pages."""

from proxy.config.rollout import GroupSettings, RolloutSettings
from proxy.config.settings import MirrorPolicy, RouteSettings, Settings
from proxy.rollout.evidence_collector import coverage_of, routes_of, rss_of, totals_of
from proxy.rollout.scraper import ScrapedPages, parse

PROXY = """
shadow_served_total 100.0
shadow_skipped_total{cause="policy"} 0.0
shadow_skipped_total{cause="unrouted"} 7.0
shadow_journal_written_total 90.0
shadow_journal_dropped_total{cause="queue"} 1.0
shadow_journal_queued 2.0
"""
RUNNER = """
shadow_compared_total{route="score",verdict="match"} 70.0
shadow_compared_total{route="other",verdict="match"} 9.0
shadow_skipped_total{route="score",cause="policy"} 50.0
shadow_skipped_total{route="score",cause="overlapped"} 6.0
shadow_failed_total{route="score",cause="timeout"} 4.0
shadow_in_flight 3.0
"""


def pages(*texts: str, unread: tuple[str, ...] = ()) -> ScrapedPages:
    return ScrapedPages(tuple(parse(text) for text in texts), unread)


def test_the_accounting_adds_up_over_all_proxies() -> None:
    found = totals_of(pages(PROXY, PROXY), pages(RUNNER))
    assert found
    assert (found.served, found.accounted, found.in_flight, found.gap) == (200, 196, 4, 0)


def test_what_a_proxy_lost_silently_is_a_gap() -> None:
    found = totals_of(pages(PROXY.replace("100.0", "130.0")), pages(RUNNER))
    assert found
    assert found.gap == 30


def test_a_runner_that_ended_more_than_it_was_given_is_a_gap() -> None:
    found = totals_of(pages(PROXY), pages(RUNNER.replace("in_flight 3.0", "in_flight -5.0")))
    assert found
    assert found.gap == -5


def test_a_page_that_was_not_read_leaves_the_accounting_open() -> None:
    assert totals_of(pages(PROXY, unread=("http://x: TimeoutError",)), pages(RUNNER)) is None


def test_coverage_counts_the_routes_of_the_group_without_what_policy_left_out() -> None:
    assert coverage_of(pages(RUNNER), ("score",)) == (80, 70)


def test_the_largest_candidate_process_counts_and_a_silent_one_makes_it_unknown() -> None:
    small, large = "process_resident_memory_bytes 1e8\n", "process_resident_memory_bytes 3e8\n"
    assert rss_of(pages(small, large)) == 300_000_000
    assert rss_of(pages(small, unread=("gone",))) is None
    assert rss_of(pages()) is None


def test_routes_belong_to_their_group_or_to_all_and_count_only_where_mirrored() -> None:
    settings = Settings(
        routes=(
            RouteSettings("score", "/score"),
            RouteSettings("history", "/history"),
            RouteSettings("quiet", "/quiet", mirror=MirrorPolicy.SKIP),
            RouteSettings("unsampled", "/unsampled", sample=0.0),
        ),
        rollout=RolloutSettings(groups=(GroupSettings("reads", ("history", "quiet")),)),
    )
    assert routes_of(settings, "all") == ("score",)
    assert routes_of(settings, "reads") == ("history",)
