"""The report of a replay as one file: self-contained, well-formed, and showing the report."""

import re
from xml.etree import ElementTree as ET

import msgspec

from proxy.replay.report import FindingReport, ReplayReport, Verdicts
from proxy.ui.report_file import render_file
from tests.unit.proxy.replay.test_report import report, tally

FINDING = FindingReport(
    "f1", "score", "value", "body.<score>", "text", "changed", 3, "id-1", "<script>1</script>", "2", "GET /score/1"
)
COMPARED = {"score": Verdicts(compared=4, mismatch=1)}
VOID = re.compile(r"<(meta|link|input|br)\b[^>]*>")


def page(result: ReplayReport | None = None, *broken: str) -> str:
    given = result or report(verdicts=COMPARED, findings=(FINDING,))
    return render_file(msgspec.structs.replace(given, violations=broken))


def tree(text: str) -> ET.Element:
    """Parse the page as XML: every element must be closed and every text escaped."""
    body = VOID.sub("", text[text.index("<body") : text.index("</html>")])
    return ET.fromstring(body)


def text_of(result: ReplayReport | None = None, *broken: str) -> str:
    return " ".join("".join(tree(page(result, *broken)).itertext()).split())


def test_chart_has_a_line_of_quantiles_for_each_side() -> None:
    lines = {line.get("class"): line.get("points", "").split() for line in tree(page()).iter("polyline")}
    assert {name: len(points) for name, points in lines.items()} == {
        "curve candidate": 7,
        "curve legacy": 7,
        "curve recorded": 7,
    }


def test_finding_has_method_and_path_and_its_values_side_by_side_and_escaped() -> None:
    assert ["".join(pre.itertext()) for pre in tree(page()).iter("pre")] == ["2", "<script>1</script>"]
    assert [head.text for head in tree(page()).iter("h3")] == ["GET /score/1"]


def test_page_has_no_script_and_loads_nothing() -> None:
    assert not [word for word in ("http://", "https://", "src=", "<script", "@import", "href=") if word in page()]


def test_page_begins_with_the_outcome_and_why() -> None:
    assert text_of(None, "p95-ratio is 2 > 1").startswith("Replay FAIL")
    assert "p95-ratio is 2 &gt; 1" in page(None, "p95-ratio is 2 > 1")
    assert text_of().startswith("Replay DIFFERS")
    assert text_of(report(verdicts={"score": Verdicts(compared=4, match=4)})).startswith("Replay PASS")
    assert text_of(report(finished=False)).startswith("Replay INCOMPLETE")


def test_latencies_are_on_a_logarithmic_scale() -> None:
    ticks = [
        (node.text, float(node.get("y", ""))) for node in tree(page()).iter("text") if (node.text or "").endswith(" ms")
    ]
    assert [text for text, _ in ticks] == ["1 ms", "10 ms", "100 ms"]
    assert ticks[0][1] - ticks[1][1] == ticks[1][1] - ticks[2][1]


def test_long_latencies_are_written_without_exponent() -> None:
    labels = [text.text or "" for text in tree(page(report(tally(candidate_ms=3_000, sides="candidate")))).iter("text")]
    assert "10,000 ms" in labels
    assert not [label for label in labels if "e+" in label]


def test_page_without_comparisons_has_no_findings() -> None:
    assert "Findings" not in text_of(report())
    assert "No unexplained difference." in text_of(report(verdicts={"score": Verdicts(compared=4, match=4)}))


def test_json_is_indented_and_only_differing_lines_are_marked() -> None:
    item, other = '{"a": 1, "data": "{\\"b\\": 2}"}', '{"a": 1, "data": "{\\"b\\": 3}"}'
    result = msgspec.structs.replace(FINDING, legacy=item, candidate=other)
    candidate, legacy = tree(page(report(verdicts=COMPARED, findings=(result,)))).iter("pre")
    assert "".join(legacy.itertext()).splitlines() == ["{", '  "a": 1,', '  "data": {', '    "b": 2', "  }", "}"]
    assert [mark.text for pre in (legacy, candidate) for mark in pre.iter("mark")] == ['    "b": 2', '    "b": 3']


def test_long_value_is_cut() -> None:
    result = msgspec.structs.replace(FINDING, legacy="\n".join(map(str, range(1_000))))
    _, legacy = tree(page(report(verdicts=COMPARED, findings=(result,)))).iter("pre")
    assert "".join(legacy.itertext()).splitlines()[-1] == "… (940 more lines)"


def test_missing_value_is_shown_as_nothing() -> None:
    result = msgspec.structs.replace(FINDING, legacy="")
    _, legacy = tree(page(report(verdicts=COMPARED, findings=(result,)))).iter("pre")
    assert "".join(legacy.itertext()) == "nothing"
