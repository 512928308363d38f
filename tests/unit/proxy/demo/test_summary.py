import datetime as dt
import io

from rich.console import Console, RenderableType

from comparator.store.comparison_detail import ComparisonDetail, DifferenceText
from comparator.store.rows import ComparisonRow, Finding
from proxy.accounting import Accounting
from proxy.demo import summary

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


def test_exchanges_that_differ_in_the_same_tables_are_one_group_the_largest_first() -> None:
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


def test_accounting_says_whether_it_adds_up() -> None:
    assert "it adds up" in text_of(summary.accounting(Accounting(served=2, compared={"match": 2})))
    assert "it must be 0" in text_of(summary.accounting(Accounting(served=3, compared={"match": 2})))


def test_no_findings_are_said_to_be_none() -> None:
    assert "no mismatch" in text_of(summary.found([]))


def test_findings_show_place_count_and_both_values() -> None:
    finding = Finding(
        *("id", "v2_score", "changed", "score", "", "changed", "new", "", ""),
        *(NOW, NOW, NOW, 7, 'score: served "2.50000", mirrored "1.00000"', 3, 9),
    )
    text = text_of(summary.found([finding]))
    assert 'served "2.50000", mirrored "1.00000"' in text
    assert " 7 " in text


def test_patience_does_not_end_while_something_comes_forward() -> None:
    patience = summary.SettleTimeout(60)
    looks = [(400, 0.0), (300, 50.0), (None, 70.0), (299, 109.0), (298, 168.0)]
    assert not any(patience.ends(left, now) for left, now in looks)


def test_patience_ends_when_nothing_came_forward_for_its_time() -> None:
    patience = summary.SettleTimeout(60)
    assert [patience.ends(left, now) for left, now in [(5, 0.0), (7, 59.0), (5, 61.0)]] == [False, False, True]


def test_patience_ends_when_nobody_ever_answered() -> None:
    patience = summary.SettleTimeout(60)
    assert [patience.ends(None, now) for now in (100.0, 160.0, 160.5)] == [False, False, True]
