import datetime as dt
import io

from rich.console import Console, RenderableType

from comparator.store.comparison_detail import ComparisonDetail, DifferenceText
from comparator.store.rows import ComparisonRow, Finding
from proxy.demo import summary
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


def row(identity: str, *differences: DifferenceText) -> ComparisonRow:
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
        detail=ComparisonDetail(differences=differences),
    )


def test_exchanges_that_differ_in_the_same_tables_form_one_group() -> None:
    rows = [row("a", EVENT), row("b", LOST, SCORE), row("c", SCORE, LOST)]
    panels = [text_of(panel) for panel in summary.examples(rows)]
    assert len(panels) == 2
    assert "2 exchanges" in panels[0]
    assert "missing_row registry_stamp, response; for example b" in panels[0]
    assert "1 exchanges" in panels[1]
    assert "missing_row registry_event; for example a" in panels[1]


def test_example_shows_response_and_rows_of_both_sides() -> None:
    (panel,) = summary.examples([row("b", LOST, SCORE)])
    text = text_of(panel)
    assert '"2.50000"' in text
    assert '"1.00000"' in text
    assert 'registry_stamp ["1", "Ens"]' in text


def test_accounting_table_tells_whether_counts_add_up() -> None:
    assert "it adds up" in text_of(summary.accounting_table(Accounting(served=2, compared={"match": 2})))
    assert "it must be 0" in text_of(summary.accounting_table(Accounting(served=3, compared={"match": 2})))


def test_summary_without_findings_has_no_table() -> None:
    assert "no mismatch" in text_of(summary.findings_table([]))


def test_findings_show_place_count_and_both_values() -> None:
    finding = Finding(
        *("id", "v2_score", "changed", "score", "", "changed", "new", "", ""),
        *(NOW, NOW, NOW, 7, 'score: served "2.50000", mirrored "1.00000"', 3, 9),
    )
    text = text_of(summary.findings_table([finding]))
    assert 'served "2.50000", mirrored "1.00000"' in text
    assert " 7 " in text


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
