"""proxy.runner.intake: exchanges that are never mirrored, and their causes."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from comparator.capture.attribution_keys import KeyIndex
from comparator.exchanges.model import Exchange, Failed, FailureCause, HeaderList, Request, Response, Role, Side
from comparator.exchanges.row_changes import Op, RowChange, Transaction
from comparator.tables import AttributionKey, Table
from proxy.config.runner import RunnerSettings
from proxy.journal.delivery import MergedPosition
from proxy.journal.driver import JournalEntry, UnjournaledPeriod, UnreadCause, UnreadRange
from proxy.journal.redaction import is_redacted
from proxy.runner.clock import now_us
from proxy.runner.intake import Intake, trace_id_of
from proxy.runner.key_slice import EVERYTHING, KeySlice
from proxy.runner.ledger import Ledger, MirrorRun
from proxy.runner.metrics import RunnerMetrics
from proxy.runner.mirror import MirrorResult
from proxy.runner.no_capture import EmptyFeed, NoServedAttribution
from proxy.runner.outcomes import Outcomes
from proxy.runner.served_attribution import ServedAttribution
from proxy.runner.shadow_state import ShadowState
from proxy.runner.skip_causes import SkipCause

TABLES = {"score": Table(natural_key=("address",), keys=(AttributionKey(kind="address", column="address"),))}
DIGEST = "redacted:" + 32 * "0"
RESPONSE = Response(200, (), b"")
STARTED_US = 1_000_000
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


def request(
    *,
    method: str = "GET",
    target: str = "/",
    headers: HeaderList = (),
    body: bytes = b"",
    body_truncated: bool = False,
) -> Request:
    return Request(method, target, headers, body, body_truncated)


def exchange(
    number: int, request: Request, outcome: Response | Failed = RESPONSE, *, duration_s: int = 1, skip: str = ""
) -> Exchange:
    started_ns = STARTED_US * 1_000
    ended_ns = started_ns + duration_s * 1_000_000_000
    return Exchange(f"e{number}", "r", "", Side.CANDIDATE, "", started_ns, ended_ns, request, outcome, skip=skip)


class OneBatch:
    """Gives its exchanges at once, then lets the intake stop."""

    def __init__(
        self,
        exchanges: Sequence[Exchange],
        state: ShadowState,
        *,
        periods: Sequence[UnjournaledPeriod] = (),
        unread: Sequence[UnreadRange] = (),
    ) -> None:
        self._exchanges, self._state, self.periods, self.unread = exchanges, state, periods, unread

    async def read(self, max_items: int, wait_s: float) -> list[JournalEntry]:
        self._state.stopping.set()
        return [
            JournalEntry(MergedPosition((("w0", number),)), number, exchange)
            for number, exchange in enumerate(self._exchanges, 1)
        ]

    def complete_us(self, read_from_us: int) -> int:
        return read_from_us

    def settled_us(self) -> int:
        return 0

    def has_several_writers(self) -> bool:
        return False

    def unjournaled(self, ended_us: int) -> Sequence[UnjournaledPeriod]:
        del ended_us
        return self.periods

    def take_unread(self) -> list[UnreadRange]:
        return [*self.unread]


class Causes:
    """Records the exchanges that were read, and the causes for which they have no comparison."""

    def __init__(self) -> None:
        self.read: list[str] = []
        self.by_id: dict[str, SkipCause | None] = {}

    def begin(self, entry: JournalEntry) -> None:
        self.read.append(entry.exchange.id)

    def add_unread(self, unread: UnreadRange) -> None:
        self.unread = unread

    async def add(self, entry: JournalEntry, mirrored: MirrorResult | None, cause: SkipCause | None) -> None:
        assert mirrored is None
        self.by_id[entry.exchange.id] = cause


async def read(
    *exchanges: Exchange,
    reaches: bool = True,
    captured: bool = False,
    comparable_from_us: int = 0,
    resumed_us: int = 0,
    safe_routes: frozenset[str] = frozenset(),
    key_slice: KeySlice = EVERYTHING,
) -> tuple[Causes, list[str]]:
    """Read the exchanges; return the causes, and the ids of those that will be mirrored."""
    metrics, causes, settings = RunnerMetrics(CollectorRegistry()), Causes(), RunnerSettings()
    state = ShadowState({role: EmptyFeed() for role in Role}, metrics, comparable_from_us, resumed_us)
    state.reset_interruptions()
    ledger = Ledger(KeyIndex({}, {}), primary_keys={})
    served = (
        ServedAttribution(settings, ledger, state, metrics, safe_routes)
        if captured
        else NoServedAttribution(ledger, safe_routes)
    )
    outcomes, source = Outcomes(causes, metrics), OneBatch(exchanges, state)
    await Intake(settings, source, ledger, served, outcomes, state, metrics, lambda _: reaches, key_slice).run()
    return causes, [item.exchange.id for _, item in ledger.start_ready(100) if isinstance(item, MirrorRun)]


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        (exchange(1, request(), Failed(FailureCause.TIMEOUT, "")), "served_failed"),
        (exchange(1, request(body_truncated=True)), "truncated_request"),
        (exchange(1, request(headers=(("Authorization", DIGEST),))), "redacted"),
        (exchange(1, request(), duration_s=60), "slow"),
        (exchange(1, request(), skip="policy"), "policy"),
        (exchange(1, request(), skip="of a newer proxy"), "unknown_policy"),
    ],
)
async def test_exchange_that_cannot_be_mirrored_is_skipped_by_its_cause(given: Exchange, cause: str) -> None:
    causes, mirrored = await read(given)
    assert (causes.read, causes.by_id, mirrored) == (["e1"], {"e1": cause}, [])


async def test_exchange_is_mirrored_or_skipped_by_the_slice_that_owns_it_alone() -> None:
    names = ("a", "b")
    given = [exchange(number, request(), skip="policy" if number % 2 else "") for number in range(1, 21)]
    of_a, of_b = [await read(*given, key_slice=KeySlice(name, names)) for name in names]
    assert not set(of_a[1]) & set(of_b[1])
    assert {*of_a[1], *of_b[1]} == {one.id for one in given if not one.skip}
    own = [{name for name, cause in causes.by_id.items() if cause == "policy"} for causes, _ in (of_a, of_b)]
    assert not own[0] & own[1]
    assert own[0] | own[1] == {one.id for one in given if one.skip}
    assert all(len(causes.by_id) + len(mirrored) == 20 for causes, mirrored in (of_a, of_b))


async def test_side_without_a_shadow_instance_is_not_mirrored() -> None:
    causes, _ = await read(exchange(1, request()), reaches=False)
    assert causes.by_id == {"e1": "no_shadow_instance"}


@pytest.mark.parametrize("captured", [False, True])
async def test_second_exchange_of_an_id_has_an_outcome_of_its_own(captured: bool) -> None:
    causes, mirrored = await read(exchange(1, request()), exchange(1, request()), captured=captured)
    assert (causes.read, causes.by_id, mirrored) == (["e1", "e1"], {"e1": "duplicate_id"}, ["e1"])


@pytest.mark.parametrize(
    ("method", "causes"),
    [
        ("GET", {}),
        ("HEAD", {}),
        ("OPTIONS", {}),
        ("TRACE", {}),
        ("POST", {"e1": "no_key"}),
        ("PATCH", {"e1": "no_key"}),
    ],
)
async def test_without_a_key_only_safe_methods_are_mirrored_where_rows_are_captured(
    method: str, causes: dict[str, str]
) -> None:
    given = exchange(1, request(method=method))
    assert (await read(given, captured=True))[0].by_id == causes
    assert (await read(given))[0].by_id == dict.fromkeys(causes, "uncaptured_write")


@pytest.mark.parametrize("captured", [False, True])
async def test_route_declared_safe_is_mirrored_whatever_the_method(captured: bool) -> None:
    given = exchange(1, request(method="POST"))
    causes, mirrored = await read(given, captured=captured, safe_routes=frozenset([given.route]))
    assert (causes.by_id, mirrored) == ({}, ["e1"])


def deliver(ledger: Ledger, committed_us: int, address: str) -> None:
    change = RowChange("score", Op.INSERT, None, {"id": str(committed_us), "address": address})
    keyed, _ = ledger.keyed(Transaction(committed_us, committed_us, committed_us, committed_us, (change,)))
    ledger.deliver(keyed)


async def read_with_rows(
    exchanges: Sequence[Exchange],
    commits: Sequence[int],
    *,
    periods: Sequence[UnjournaledPeriod] = (),
    unread: Sequence[UnreadRange] = (),
) -> dict[str, SkipCause | None]:
    """Read exchanges of one address that committed at these times; return their causes."""
    metrics, causes, settings = RunnerMetrics(CollectorRegistry()), Causes(), RunnerSettings(timeout_s=10)
    state = ShadowState({role: EmptyFeed() for role in Role}, metrics)
    state.reset_interruptions()
    ledger = Ledger(KeyIndex(TABLES, {"score": ("id",)}), primary_keys={"score": ("id",)})
    for committed_us in commits:
        deliver(ledger, committed_us, "0xa1")
    source = OneBatch(exchanges, state, periods=periods, unread=unread)
    served = ServedAttribution(settings, ledger, state, metrics)
    intake = Intake(settings, source, ledger, served, Outcomes(causes, metrics), state, metrics, lambda _: True)
    await intake.run()
    # (everything has been read now)
    intake.known_us = now_us()
    await intake.decide_deferred()
    return causes.by_id


def keyed_exchange(number: int, began_s: float, ended_s: float, outcome: Response | Failed = RESPONSE) -> Exchange:
    given = exchange(number, request(), outcome)
    times = {"started_ns": round(began_s * 1e9), "ended_ns": round(ended_s * 1e9)}
    return replace(given, key="0xa1", served_by=Side.LEGACY, **times)


@pytest.mark.parametrize(
    ("cause", "behind_s", "outcome"),
    [
        (FailureCause.TIMEOUT, 5, "overlapped"),
        (FailureCause.RESET, 5, "overlapped"),
        (FailureCause.PROTOCOL, 5, "overlapped"),
        (FailureCause.TIMEOUT, 11, None),
        # It was never sent.
        (FailureCause.REFUSED, 5, None),
        (FailureCause.EJECTED, 5, None),
    ],
)
async def test_request_that_was_given_up_may_write_on(
    cause: FailureCause, behind_s: float, outcome: str | None
) -> None:
    first, began_s = keyed_exchange(1, 100, 101, Failed(cause, "")), 101 + behind_s
    causes = await read_with_rows([first, keyed_exchange(2, began_s, began_s + 1)], [round((began_s + 0.5) * 1e6)])
    assert (causes["e1"], causes.get("e2")) == ("served_failed", outcome)


@pytest.mark.parametrize(
    ("period_s", "commits_s", "judged"),
    [
        # Killed some time before: its backend goes on for as long as a request may take.
        ((80, 95), (100.5,), False),
        ((80, 89), (100.5,), True),
        # Killed after the request: what it was doing may have begun before.
        ((103, 105), (100.5,), False),
        ((105, 106), (100.5,), True),
        ((80, 95), (), True),
    ],
)
async def test_rows_near_the_end_of_a_killed_process_are_not_judged(
    period_s: tuple[int, int], commits_s: tuple[float, ...], judged: bool
) -> None:
    period = UnjournaledPeriod(period_s[0] * 1_000_000, period_s[1] * 1_000_000)
    commits = [round(committed_s * 1e6) for committed_s in commits_s]
    causes = await read_with_rows([keyed_exchange(1, 100, 101)], commits, periods=[period])
    assert causes == ({} if judged else {"e1": "unjournaled"})


@pytest.mark.parametrize(("until_s", "judged"), [(100, False), (99, True)])
async def test_rows_beside_lost_exchanges_are_not_judged(until_s: int, judged: bool) -> None:
    period = UnjournaledPeriod(90_000_000, until_s * 1_000_000)
    unread = UnreadRange("w0", 1, 2, UnreadCause.LOST, period)
    causes = await read_with_rows([keyed_exchange(1, 100, 101)], [100_500_000], unread=[unread])
    assert causes == ({} if judged else {"e1": "unjournaled"})


@pytest.mark.parametrize(("resumed_us", "cause"), [(0, "not_captured"), (STARTED_US + 1, "repeated")])
async def test_exchange_from_before_the_capture_is_skipped(resumed_us: int, cause: str) -> None:
    given = exchange(1, request())
    causes, _ = await read(given, captured=True, comparable_from_us=STARTED_US + 2, resumed_us=resumed_us)
    assert causes.by_id == {"e1": cause}


@pytest.mark.parametrize(
    ("given", "redacted"),
    [
        (request(headers=(("X-API-Key", DIGEST),)), True),
        (request(target=f"/?a=1&api_key={DIGEST}"), True),
        (request(body=b'{"password":"' + DIGEST.encode() + b'"}'), True),
        (request(body=DIGEST.encode()), True),
        (request(headers=(("Authorization", "Bearer x"), ("Digest", "sha-256=x")), body=b'{"digest":1}'), False),
    ],
)
def test_request_is_redacted_where_a_digest_stands_for_a_secret(given: Request, *, redacted: bool) -> None:
    assert is_redacted(given) is redacted


@pytest.mark.parametrize(
    ("traceparent", "trace_id"),
    [(f"00-{TRACE_ID}-00f067aa0ba902b7-01", TRACE_ID), (f"00-{'0' * 32}-00f067aa0ba902b7-01", ""), ("a-b-c-d", "")],
)
def test_trace_id_is_that_of_a_valid_traceparent(traceparent: str, trace_id: str) -> None:
    assert trace_id_of(exchange(1, request(headers=(("TraceParent", traceparent),)))) == trace_id
