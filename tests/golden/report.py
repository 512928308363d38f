"""The report of a run: one line per scenario, details on request, the totals last.

Pure.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

from comparator.exchanges.json_values import ABSENT, value_text
from tests.golden.judge import Found
from tests.golden.known import described
from tests.golden.run import Report, Result

VALUE_MAX_CHARS = 160


def line(report: Report) -> str:
    """Return one line: the result, the scenario, and its first difference."""
    match report.result:
        case Result.MATCH:
            return f"match             {report.name}"
        case Result.KNOWN:
            names = dict.fromkeys(entry.name for _, entry in report.known)
            return f"known difference  {report.name}: {', '.join(names)}"
        case Result.MISMATCH:
            first = report.broke or _words(report.found[0], VALUE_MAX_CHARS)
            more = f" (+{len(report.found) - 1})" if len(report.found) > 1 else ""
            return f"mismatch          {report.name}: {first}{more}"


def details(report: Report) -> Iterator[str]:
    """Return every difference of a scenario with complete values."""
    for found in report.found:
        yield f"    {_words(found, 4000)}"
    for found, entry in report.known:
        yield f"    known ({entry.name}): {_words(found, 400)}"


def totals(reports: Iterable[Report]) -> str:
    """Return the last line of the report."""
    counts = Counter(report.result for report in reports)
    return f"{counts[Result.MATCH]} match, {counts[Result.KNOWN]} known, {counts[Result.MISMATCH]} mismatch"


def _words(found: Found, value_max_chars: int) -> str:
    difference = found.difference
    key = f" {list(difference.natural_key)}" if difference.natural_key else ""
    legacy, ours = _value(difference.served, value_max_chars), _value(difference.mirrored, value_max_chars)
    return f"step {found.step}: {described(difference)}{key}: legacy {legacy}, scorer {ours}"


def _value(value: object, max_chars: int) -> str:
    text = "nothing" if value is ABSENT else value_text(value)
    return text if len(text) <= max_chars else f"{text[:max_chars]}… ({len(text)} characters)"
