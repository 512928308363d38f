"""Account for every served exchange exactly once: it is journaled, or it is skipped with a cause."""

from collections import Counter

from comparator.exchanges.skip import Skip, journaled
from proxy.journal.driver import JournalWriter
from proxy.journal.served_exchange import ServedExchange
from proxy.serving.metrics import ProxyMetrics
from proxy.serving.mirror_rate_limits import MirrorRateLimits
from proxy.serving.record_filter import RecordCandidate, RecordFilter, selects
from proxy.serving.routing import Route
from proxy.serving.unrouted_paths import UnroutedPaths


class ExchangeRecorder:
    """Count served exchanges and append them to the journal.

    Args:
        journal: None when it is disabled.
        metrics: of the process.

    Attributes:
        unrouted: the requests that no route has.
    """

    def __init__(self, journal: JournalWriter | None, metrics: ProxyMetrics) -> None:
        self._journal = journal
        self._metrics = metrics
        self.unrouted = UnroutedPaths()
        self._rate_limits: MirrorRateLimits | None = None
        self._recorded: Counter[str] = Counter()
        """Exchanges that the record filter of a route has selected, by route."""

    def apply(self, rate_limits: MirrorRateLimits | None) -> None:
        """Replace the rate limits; None limits nothing."""
        self._rate_limits = rate_limits

    def record(self, exchange: ServedExchange, route: Route | None, *, ended_s: float) -> None:
        """Account for an exchange that has ended.

        Args:
            exchange: its `skip` is set to the final cause.
            route: of the request, None for none.
            ended_s: when it ended, on the clock of the event loop.
        """
        metrics = self._metrics
        duration_s = ended_s - exchange.started_s
        metrics.observe(exchange.route_name, exchange.side, exchange.status, duration_s)
        if exchange.sampled_trace:
            ended_at = exchange.ended_ns / 1e9
            metrics.add_exemplar(exchange.route_name, exchange.side, duration_s, exchange.sampled_trace, ended_at)
        if exchange.overlapped:
            metrics.overlapped += 1
        skip = exchange.skip = self._final_skip(exchange, route, ended_s)
        if skip is not None and not journaled(skip):
            metrics.skipped[skip] += 1
            if skip is Skip.UNROUTED:
                self.unrouted.add(exchange.head.method, exchange.head.target)
        elif self._journal is None:
            metrics.skipped[Skip.DISABLED] += 1
        else:
            self._journal.append_served(exchange)

    def _final_skip(self, exchange: ServedExchange, route: Route | None, ended_s: float) -> Skip | None:
        """Return why the exchange is not mirrored, now that its response is known."""
        skip = exchange.skip
        if skip is None and exchange.request_body.truncated:
            skip = Skip.TRUNCATED
        if route is not None and route.record_if is not None and journaled(skip):
            skip = skip if self._selects(exchange, route.record_if) else Skip.RECORD_IF
        if skip is None and self._rate_limits is not None and self._rate_limits.exceeded(exchange.route_name, ended_s):
            skip = Skip.RATE_LIMITED
        return skip

    def _selects(self, exchange: ServedExchange, record_filter: RecordFilter) -> bool:
        """Return whether the route's record filter selects the exchange, and count it if so."""
        recorded, route_name = self._recorded, exchange.route_name
        candidate = RecordCandidate(
            method=exchange.head.method,
            status=exchange.status,
            duration_ms=(exchange.ended_ns - exchange.started_ns) / 1e6,
            response_bytes=len(exchange.response_body.body),
            ended_ns=exchange.ended_ns,
            recorded=recorded[route_name],
        )
        selected = selects(record_filter, candidate)
        recorded[route_name] += selected
        return selected
