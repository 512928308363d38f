"""proxy.runner.mismatch_journal: exchanges that differed are copied in their stored form, if the filter of their route selects them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from comparator.exchanges.model import Exchange, Failed, FailureCause, Response
from proxy.config.loader import load
from proxy.config.settings import Settings
from proxy.errors import SettingsError
from proxy.journal.driver import JournalEntry
from proxy.journal.keys import load_keys
from proxy.journal.registry import open_writer
from proxy.journal.segment_reader import SegmentReader
from proxy.runner.metrics import RunnerMetrics
from proxy.runner.mismatch_journal import RecordMismatch, candidate_of, open_mismatch_journal
from proxy.serving.routing import compile_routes
from tests.support.exchanges import HEADERS, exchange

SECRET = "a-secret-api-key"
KEYED = (*HEADERS, ("X-API-Key", SECRET))


def settings(tmp_path: Path, **rule: object) -> Settings:
    document: dict[str, Any] = {
        "routes": [{"name": "score", "path": "/score", "record_if": {"only": "mismatches", **rule}}],
        "journal": {"directory": str(tmp_path / "journal"), "mismatches": {"directory": str(tmp_path / "mismatches")}},
    }
    return msgspec.convert(document, Settings)


def journaled(settings: Settings, *exchanges: Exchange) -> list[JournalEntry]:
    """The exchanges as the runner reads them."""
    journal = settings.journal
    writer = open_writer(journal, {})
    writer.start()
    assert all(writer.append(one) for one in exchanges)
    writer.close()
    with SegmentReader(journal.directory, "mirror", keys=load_keys(Path(journal.directory), {})) as reader:
        return reader.take(100)


@contextmanager
def recording(settings: Settings) -> Iterator[tuple[RecordMismatch, RunnerMetrics]]:
    metrics = RunnerMetrics(CollectorRegistry())
    with open_mismatch_journal(settings.routes, settings.journal, {}, metrics) as record:
        yield record, metrics


def recorded(settings: Settings) -> list[Exchange]:
    directory = Path(settings.journal.mismatches.directory)
    with SegmentReader(directory, "test", keys=load_keys(directory, {})) as reader:
        return [entry.exchange for entry in reader.take(100)]


def test_mismatch_is_copied_with_its_secrets_sealed_by_the_journals_key(tmp_path: Path) -> None:
    made = settings(tmp_path)
    differed = exchange("differed", headers=KEYED)
    entries = journaled(made, exchange("other"), differed)
    with recording(made) as (record, metrics):
        record(entries[1])
    assert recorded(made) == [differed]
    assert metrics.registry.get_sample_value("shadow_mismatch_journal_written_total", {"route": "score"}) == 1
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def test_a_digest_is_not_digested_again(tmp_path: Path) -> None:
    made = settings(tmp_path)
    digests = msgspec.convert({"redaction": {"mode": "digest"}}, type(made.journal)).redaction
    made = msgspec.structs.replace(made, journal=msgspec.structs.replace(made.journal, redaction=digests))
    [entry] = journaled(made, exchange(headers=KEYED))
    with recording(made) as (record, _):
        record(entry)
    assert recorded(made) == [entry.exchange]


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        ({"until_count": 2}, ["a", "b"]),
        ({"until": "1970-01-01T00:00:00.000003"}, ["a", "b"]),
        ({"statuses": ["5xx"]}, ["c"]),
        ({"methods": ["POST"]}, []),
    ],
)
def test_all_conditions_of_the_filter_hold(tmp_path: Path, rule: dict[str, object], kept: list[str]) -> None:
    made = settings(tmp_path, **rule)
    failed = exchange("c", outcome=Failed(FailureCause.TIMEOUT, "slow"), ended_ns=4_000)
    entries = journaled(made, exchange("a"), exchange("b"), failed)
    with recording(made) as (record, _):
        [record(entry) for entry in entries]
    assert [one.id for one in recorded(made)] == kept


def test_other_routes_are_not_copied_and_without_a_filter_nothing_is_opened(tmp_path: Path) -> None:
    made = msgspec.structs.replace(settings(tmp_path), routes=())
    entries = journaled(made, exchange("a"))
    with recording(made) as (record, _):
        record(entries[0])
    assert not (tmp_path / "mismatches").exists()


def test_exchange_without_a_response_has_the_status_that_the_client_got() -> None:
    candidate = candidate_of(exchange(outcome=Failed(FailureCause.REFUSED, "no")), 0)
    assert (candidate.status, candidate.response_bytes) == (502, 0)


def test_mismatch_journal_of_another_key_gets_the_journals_and_keeps_its_own(tmp_path: Path) -> None:
    made = settings(tmp_path)
    before = load_keys(tmp_path / "mismatches", {}, create=True).active.id
    entries = journaled(made, exchange("a"))
    with recording(made) as (record, _):
        record(entries[0])
    keys = load_keys(tmp_path / "mismatches", {})
    assert keys.active.id == load_keys(Path(made.journal.directory), {}).active.id
    assert [key.id for key in keys.older] == [before]
    assert [one.id for one in recorded(made)] == ["a"]


def test_proxy_journals_such_a_route_in_full(tmp_path: Path) -> None:
    [route] = compile_routes(settings(tmp_path, statuses=["5xx"]).routes)
    assert route.record_if is None


ROUTE = "routes: [{name: a, path: /a%s, record_if: {only: mismatches}}]\n"
SHADOW = "backends: {legacy: {shadow: {url: 'http://127.0.0.1:1'}}}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ROUTE % "", "needs mirroring"),
        (ROUTE % "" + SHADOW + "journal: {enabled: false}", "needs mirroring"),
        (ROUTE % ", mirror: skip" + SHADOW, "mirror: skip"),
    ],
)
def test_mismatches_are_refused_where_nothing_is_mirrored(text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=r"^routes\[0\] \(a\)\.record_if\.only: .*" + message):
        load(text, {})


def test_mismatches_are_accepted_where_a_side_is_mirrored() -> None:
    assert load(ROUTE % "" + SHADOW, {}).routes[0].record_if is not None


def test_candidate_has_status_and_size_of_the_response() -> None:
    candidate = candidate_of(exchange(outcome=Response(404, (), b"no")), 3)
    assert (candidate.status, candidate.response_bytes, candidate.recorded) == (404, 2, 3)
