"""The overview: who serves, whether both sides agree and on how many comparisons that rests, whether every exchange is counted."""

from collections.abc import Sequence
from typing import Final

from dashboards import recording as rec
from dashboards import sources as at
from dashboards.panels import Json, Panel, Query, dashboard, heading, stat, timeseries
from dashboards.promql import largest, quantile, rate, shares, total

GOOD_RATE: Final = ((None, "red"), (0.99, "orange"), (0.999, "green"))
ZERO_IS_GOOD: Final = ((None, "green"), (1, "red"))
LAG_S: Final = ((None, "green"), (10, "orange"), (60, "red"))
SHARES: Final = (0.5, 0.95, 0.99)


def build() -> Json:
    """The whole dashboard."""
    panels = (*_state(), heading("Accounting"), *_accounting(), heading("Both sides"), *_sides())
    about = "Who serves, do both sides agree, is every exchange counted."
    return dashboard("shadow-overview", "Shadow: overview", about, panels)


def _state() -> Sequence[Panel]:
    return (
        stat(
            "Served by",
            Query(largest(at.ROLLED_BACK.of())),
            words={0: "as planned", 1: "legacy (rolled back)"},
            steps=ZERO_IS_GOOD,
            about="The on-call switch.",
        ),
        stat(
            "Stage: share of the candidate",
            Query(f"max({at.CANDIDATE_SHARE.of()})"),
            unit="percentunit",
            about="Share of clients that the candidate serves.",
        ),
        stat(
            "Match rate, 1 h",
            Query(rec.MATCH_RATE.of()),
            unit="percentunit",
            steps=GOOD_RATE,
            about="1 - mismatches / compared. Known differences and transient ones do not count against it; failed are not compared.",
        ),
        stat(
            "of comparisons, 1 h",
            Query(rec.COMPARED.of()),
            about="The denominator of the match rate.",
        ),
        stat(
            "Share compared, 1 h",
            Query(rec.COMPARED_SHARE.of()),
            unit="percentunit",
            steps=((None, "orange"), (0.8, "green")),
            about="Of what the runner read, without what policy leaves out.",
        ),
        stat("Lag", Query(largest(at.LAG.of())), unit="s", steps=LAG_S, about="Age of the oldest without an outcome."),
    )


def _accounting() -> Sequence[Panel]:
    parts = (
        ("compared: {{verdict}}", at.COMPARED, "verdict"),
        ("skipped: {{cause}}", at.SKIPPED, "cause"),
        ("skipped by the proxy: {{cause}}", at.NOT_JOURNALED, "cause"),
        ("dropped: {{cause}}", at.DROPPED, "cause"),
        ("dropped by the journal: {{cause}}", at.JOURNAL_DROPPED, "cause"),
        ("failed: {{cause}}", at.FAILED, "cause"),
    )
    return (
        timeseries(
            "served = compared + skipped + dropped + failed + in flight",
            *(Query(total(rate(metric.of()), label), legend) for legend, metric, label in parts),
            Query(total(rate(at.SERVED.of())), "served"),
            unit="reqps",
            width=16,
            about="Exchanges a second by how they ended; `served` less the others is what comes to be in flight.",
        ),
        stat(
            "In no count",
            Query(f"sum(abs({rec.PROXY_GAP.of()}))"),
            steps=ZERO_IS_GOOD,
            about="Served, and neither written, queued, dropped nor skipped. Must be 0.",
        ),
        stat(
            "Exchanges compared twice",
            Query(f"-sum(clamp_max({at.IN_FLIGHT.of()}, 0))"),
            steps=ZERO_IS_GOOD,
            about="Outcomes beyond the exchanges of the journal. Must be 0.",
        ),
        timeseries(
            "In flight",
            Query(total(at.IN_FLIGHT.of()), "in the journal, without an outcome"),
            Query(total(at.JOURNAL_QUEUED.of()), "waiting for the disk"),
            Query(total(at.SERVING.of()), "being served"),
        ),
        timeseries("Lag by runner", Query(largest(at.LAG.of(), "instance"), "{{instance}}"), unit="s"),
        timeseries(
            "Handed over",
            Query(rec.HANDED_OVER_GAP.of(), "written, less what the runner knows"),
            about="Level while nothing restarts; its height says nothing, as both count from their own start.",
        ),
    )


def _sides() -> Sequence[Panel]:
    served = at.SERVED_SECONDS.bucket()
    mirrored = at.MIRRORED_SECONDS.bucket()
    return (
        timeseries("Served", Query(total(rate(at.REQUESTS.of()), "side"), "{{side}}"), unit="reqps", stacked=True),
        timeseries(
            "Errors (5xx), share",
            Query(rec.ERROR_RATIO.of(), "{{side}}, served"),
            unit="percentunit",
            about="Of what each side served.",
        ),
        timeseries(
            "Responses by status",
            Query(total(rate(at.REQUESTS.of()), "side", "status"), "{{side}} {{status}}"),
            unit="reqps",
        ),
        timeseries(
            "Latency, served",
            *(Query(quantile(s, total(rate(served), "side", "le")), f"{{{{side}}}} p{s * 100:g}") for s in SHARES),
            unit="s",
            width=12,
        ),
        timeseries(
            "Latency, mirrored",
            *(Query(quantile(s, total(rate(mirrored), "side", "le")), f"{{{{side}}}} p{s * 100:g}") for s in SHARES),
            unit="s",
            width=12,
            about="A served and a mirrored request run under different conditions: compare sides within one role.",
        ),
        timeseries(
            "Mirrored runs that failed, share",
            Query(shares(total(rate(at.FAILED.of()), "cause"), total(rate(at.READ.of()))), "{{cause}}"),
            unit="percentunit",
            width=12,
        ),
        timeseries(
            "Match rate by route, 1 h",
            Query(rec.MATCH_RATE_BY_ROUTE.of(), "{{route}}"),
            unit="percentunit",
            width=12,
            about="The denominators are on the comparison dashboard.",
        ),
    )
