import datetime as dt
import io
from dataclasses import replace

from rich.console import Console, RenderableType

from comparator.exchanges.difference import Kind
from comparator.exchanges.model import LeftOutReason
from comparator.exchanges.number_ranges import NumberRanges
from comparator.findings.causes import CauseBody, ShownToken
from comparator.findings.tokens import Level, Token
from comparator.store.comparison_detail import ComparisonDetail, DifferenceText
from comparator.store.rows import CauseList, CauseRow, ComparisonRow
from proxy.demo import summary
from proxy.journal.reconciliation import WriterAccount
from proxy.rollout.accounting import Accounting

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
LOST = DifferenceText("missing_row", "registry_stamp", served='{"provider": "Ens"}', key='["1", "Ens"]')
SCORE = DifferenceText("changed", "score", served='"2.50000"', mirrored='"1.00000"')
EVENT = DifferenceText("missing_row", "registry_event", served="{}", key='["SCU"]')


def text_of(renderable: RenderableType) -> str:
    console = Console(file=io.StringIO(), width=160)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def row(identity: str, *differences: DifferenceText, finding_set: str = "") -> ComparisonRow:
    return ComparisonRow(
        served_at=NOW,
        exchange_id=identity,
        route="v2_score",
        served_by="candidate",
        stage="",
        verdict="mismatch",
        cause="",
        confirmed=True,
        effects_compared=True,
        effects_note="",
        served_status=200,
        mirrored_status=200,
        served_us=1,
        mirrored_us=2,
        rows_served=3,
        rows_mirrored=3,
        difference_count=len(differences),
        left_out={},
        detail=ComparisonDetail(differences=differences),
        finding_set=finding_set,
    )


def cause(identity: str, table: str, *, exemplar: str, exchanges: int = 7) -> CauseRow:
    title = Token(Level.ROW, table, "", table, Kind.EXTRA_ROW, "extra_row")
    score = Token(Level.FIELD, "", "", "score", Kind.CHANGED, "numeric text / numeric text")
    return CauseRow(
        id=identity,
        body=CauseBody(title, (ShownToken(title, 1.0), ShownToken(score, 0.9)), (), exemplar),
        severity="changed",
        provisional=False,
        state="new",
        state_by="",
        state_reason="",
        state_at=NOW,
        first_seen=NOW,
        last_seen=NOW,
        first_release="",
        last_release="",
        fixed_in="",
        regressed_in="",
        routes=("v2_score",),
        findings=("f1", "f2"),
        joined=0,
        exchanges=exchanges,
        keys=3,
    )


def test_each_cause_has_its_clearest_exchange() -> None:
    rows = [row("a", EVENT, finding_set="s1"), row("b", LOST, SCORE, finding_set="s2")]
    found = [cause("c1", "registry_stamp", exemplar="s2"), cause("c2", "registry_event", exemplar="s1")]
    panels = [text_of(panel) for panel in summary.examples(found, rows)]
    assert "registry_stamp: row only on candidate; for example b" in panels[0]
    assert "registry_event: row only on candidate; for example a" in panels[1]


def test_example_shows_rows_and_response_of_candidate_and_legacy() -> None:
    (panel,) = summary.examples([cause("c1", "t", exemplar="s")], [row("b", LOST, SCORE, finding_set="s")])
    text = text_of(panel)
    assert "candidate (served)" in text
    assert text.index('"2.50000"') < text.index('"1.00000"')
    assert "extra_row" in text
    assert 'registry_stamp ["1", "Ens"]' in text


def test_accounting_table_tells_whether_counts_add_up() -> None:
    numbers = Accounting(served=2, compared={"match": 2})
    account = WriterAccount("w0", 0, NumberRanges(), 0, 0, 2, NumberRanges())
    assert "nothing is missing" in text_of(summary.accounting_table(numbers, [account]))
    lost = replace(account, missing=NumberRanges.of(3, 3))
    assert "it must be 0" in text_of(summary.accounting_table(numbers, [account, lost]))


def test_summary_without_causes_has_no_table() -> None:
    assert "no mismatch" in text_of(summary.causes_table(CauseList(), 0))


def test_causes_show_exchanges_keys_and_place() -> None:
    found = CauseList((cause("c1", "registry_stamp", exemplar="s"),), mismatches=9)
    text = text_of(summary.causes_table(found, 12))
    assert "causes: 1, of 9 mismatching exchanges and 12 findings" in text
    assert "registry_stamp" in text
    assert " 7 " in text


def test_two_faults_are_two_causes_on_one_screen() -> None:
    found = CauseList((cause("c1", "registry_event", exemplar="s1"), cause("c2", "registry_stamp", exemplar="s2")), 9)
    rows = [row("a", EVENT, finding_set="s1"), row("b", LOST, SCORE, finding_set="s2")]
    rows[0] = replace(rows[0], left_out={"audit": LeftOutReason.SHARED})
    screen = text_of(summary.causes_table(found, 12))
    assert "causes: 2, of 9 mismatching exchanges and 12 findings" in screen
    assert screen.index("registry_event") < screen.index("registry_stamp")
    first, second = map(text_of, summary.examples(found.causes, rows))
    assert "registry_event: row only on candidate; for example a, table audit left out" in first
    assert "registry_stamp: row only on candidate; for example b" in second
    assert "left out" not in second


def test_accounting_table_says_what_verdicts_do_not_rest_on() -> None:
    numbers = Accounting(served=2, compared={"match": 2}, response_only={"match": 1}, in_part={"match": 1})
    text = text_of(summary.accounting_table(numbers, []))
    assert "match 2; of these 1 by the responses alone, 1 without some tables" in text


def test_timeout_does_not_expire_while_there_is_progress() -> None:
    timeout = summary.ProgressTimeout(60)
    looks = [(400, 0.0), (300, 50.0), (None, 70.0), (299, 109.0), (298, 168.0)]
    assert not any(timeout.expired(left, now) for left, now in looks)


def test_timeout_expires_without_progress() -> None:
    timeout = summary.ProgressTimeout(60)
    assert [timeout.expired(left, now) for left, now in [(5, 0.0), (7, 59.0), (5, 61.0)]] == [False, False, True]


def test_timeout_expires_when_nothing_ever_responded() -> None:
    timeout = summary.ProgressTimeout(60)
    assert [timeout.expired(None, now) for now in (100.0, 160.0, 160.5)] == [False, False, True]
