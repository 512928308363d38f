"""proxy.runner.intake: which exchanges are never mirrored, and why."""

from collections.abc import Sequence

import pytest
from prometheus_client import CollectorRegistry

from comparator.capture.attribution_keys import KeyIndex
from comparator.exchanges.model import Exchange, Failed, FailureCause, HeaderList, Request, Response, Side
from proxy.config.runner import RunnerSettings
from proxy.journal.reader import JournalEntry, Position
from proxy.runner.intake import Intake, is_redacted
from proxy.runner.ledger import Ledger, MirrorRun
from proxy.runner.metrics import RunnerMetrics
from proxy.runner.mirror import MirrorResult
from proxy.runner.outcomes import Outcomes
from proxy.runner.shadow_state import ShadowState

DIGEST = "digest:" + 32 * "0"
RESPONSE = Response(200, (), b"")


def request(*, target: str = "/", headers: HeaderList = (), body: bytes = b"", body_truncated: bool = False) -> Request:
    return Request("GET", target, headers, body, body_truncated)


def exchange(number: int, asked: Request, outcome: Response | Failed = RESPONSE, *, ended_ns: int = 2) -> Exchange:
    return Exchange(f"e{number}", "r", "", Side.CANDIDATE, "", 1, ended_ns, asked, outcome)


class Journal:
    """Gives its exchanges at once, then asks to stop."""

    def __init__(self, exchanges: Sequence[Exchange], standing: ShadowState) -> None:
        self._exchanges, self._standing = exchanges, standing

    async def read(self, max_items: int, wait_s: float) -> list[JournalEntry]:
        self._standing.stopping.set()
        return [JournalEntry(Position((("w0", n),)), n, one) for n, one in enumerate(self._exchanges, 1)]

    def tail_sequence(self) -> int:
        return len(self._exchanges)

    @property
    def lost(self) -> int:
        return 0


class Kept:
    """What was announced, and why it has no comparison."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.causes: dict[str, str] = {}

    def begin(self, entry: JournalEntry) -> None:
        self.begun.append(entry.exchange.id)

    async def keep(self, entry: JournalEntry, mirrored: MirrorResult | None, cause: str) -> None:
        assert mirrored is None
        self.causes[entry.exchange.id] = cause


async def taken_in(*exchanges: Exchange, reaches: bool = True) -> tuple[Kept, list[str]]:
    """What was refused, and the exchanges that became runs."""
    metrics, kept = RunnerMetrics(CollectorRegistry()), Kept()
    standing = ShadowState({}, metrics)
    ledger = Ledger(KeyIndex({}), primary_keys={})
    outcomes = Outcomes(kept, metrics)
    journal = Journal(exchanges, standing)
    await Intake(RunnerSettings(), journal, ledger, outcomes, standing, metrics, lambda _: reaches).run()
    return kept, [item.exchange.id for _, item in ledger.take(100) if isinstance(item, MirrorRun)]


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        (exchange(1, request(), Failed(FailureCause.TIMEOUT, "")), "served_failed"),
        (exchange(1, request(body_truncated=True)), "truncated_request"),
        (exchange(1, request(headers=(("Authorization", DIGEST),))), "redacted"),
        (exchange(1, request(), ended_ns=60_000_000_000), "slow"),
    ],
)
async def test_exchange_that_cannot_be_mirrored_is_skipped_by_its_cause(given: Exchange, cause: str) -> None:
    kept, runs = await taken_in(given)
    assert (kept.begun, kept.causes, runs) == (["e1"], {"e1": cause}, [])


async def test_side_without_a_shadow_instance_is_not_mirrored() -> None:
    kept, _ = await taken_in(exchange(1, request()), reaches=False)
    assert kept.causes == {"e1": "no_shadow_instance"}


async def test_second_exchange_of_an_id_has_an_outcome_of_its_own() -> None:
    kept, runs = await taken_in(exchange(1, request()), exchange(1, request()))
    assert (kept.begun, kept.causes, runs) == (["e1", "e1"], {"e1": "duplicate_id"}, ["e1"])


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
    assert is_redacted(exchange(1, given)) is redacted
