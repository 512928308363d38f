"""The HTML report is self-contained, well-formed, and shows the report."""

from xml.etree import ElementTree as ET

import msgspec

from proxy.replay.html_report import render_html
from proxy.replay.report import FindingReport, ReplayReport, Verdicts
from tests.unit.proxy.replay.test_report import report, tally

FINDING = FindingReport("f1", "score", "value", "body.<score>", "text", "changed", 3, "id-1", "<script>1</script>", "2")

COMPARED = {"score": Verdicts(compared=4, mismatch=1)}


def page(result: ReplayReport | None = None, *broken: str) -> str:
    given = result or report(verdicts=COMPARED, findings=(FINDING,))
    return render_html(msgspec.structs.replace(given, violations=broken))


def tree(text: str) -> ET.Element:
    """Parse the body as XML: every element must be closed and every text escaped."""
    return ET.fromstring(text[text.index("<body>") : text.index("</html>")])


def test_page_is_well_formed_with_three_charts() -> None:
    assert [svg.get("aria-label") for svg in tree(page()).iter("svg")] == [
        "latency quantiles",
        "statuses",
        "mismatch rate by route",
    ]


def test_chart_has_a_line_of_quantiles_for_each_side() -> None:
    lines = [line.get("points", "").split() for line in tree(page()).iter("polyline")]
    assert [len(points) for points in lines] == [7, 7, 7]


def test_finding_values_are_side_by_side_and_escaped() -> None:
    assert ["".join(pre.itertext()) for pre in tree(page()).iter("pre")] == ["2", "<script>1</script>"]


def test_page_has_no_script_and_loads_nothing() -> None:
    assert not [word for word in ("http://", "https://", "src=", "<script", "@import", "url(") if word in page()]


def test_violated_rules_are_shown() -> None:
    text = page(None, "p95-ratio is 2 > 1")
    assert "p95-ratio is 2 &gt; 1" in text
    assert "<h1>FAIL</h1>" in text


def test_page_begins_with_the_outcome() -> None:
    assert "<h1>PASS</h1>" in page()
    assert "<h1>INCOMPLETE</h1>" in page(report(finished=False))


def test_latencies_are_on_a_logarithmic_scale() -> None:
    axis = [text for node in tree(page()).iter("text") if (text := node.text or "").endswith(" ms")]
    assert axis == ["1 ms", "10 ms", "100 ms"]


def test_page_without_comparisons_has_no_mismatch_section() -> None:
    assert "Mismatch" not in page(report())


def test_json_is_indented_and_only_differing_lines_are_marked() -> None:
    item, other = '{"a": 1, "data": "{\\"b\\": 2}"}', '{"a": 1, "data": "{\\"b\\": 3}"}'
    result = msgspec.structs.replace(FINDING, legacy=item, candidate=other)
    candidate, legacy = tree(page(report(verdicts=COMPARED, findings=(result,)))).iter("pre")
    assert "".join(legacy.itertext()).splitlines() == ["{", '  "a": 1,', '  "data": {', '    "b": 2', "  }", "}"]
    assert [mark.text for pre in (legacy, candidate) for mark in pre.iter("mark")] == ['    "b": 2', '    "b": 3']


def test_missing_value_is_shown_as_nothing() -> None:
    result = msgspec.structs.replace(FINDING, legacy="")
    _, legacy = tree(page(report(verdicts=COMPARED, findings=(result,)))).iter("pre")
    assert "".join(legacy.itertext()) == "nothing"


def test_verdict_counts_are_shown() -> None:
    assert "4 compared, 0 match, 0 known, 1 mismatch" in page()


def test_long_latencies_are_written_without_exponent() -> None:
    labels = [text.text or "" for text in tree(page(report(tally(candidate_ms=3_000, sides="candidate")))).iter("text")]
    assert [label[0] for label in labels if label.endswith(" ms")] == ["1", "1", "1", "1", "1"]
    assert "10,000 ms" in labels
    assert not [label for label in labels if "e+" in label]
