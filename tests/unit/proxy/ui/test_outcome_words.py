"""proxy.ui.outcome_words: every outcome has a sentence, and a section of the runbook that exists."""

import re
from itertools import chain

import pytest

from comparator.exchanges.comparison import NO_CAUSE, Verdict, VerdictCause
from comparator.exchanges.skip import Skip
from proxy.runner.skip_causes import RunnerSkip, SkipCause
from proxy.ui.outcome_words import RUNBOOK_SKIPPED, OutcomeText, outcome_of, skipped_because
from tests.support.paths import ROOT

RUNBOOK = (ROOT / "RUNBOOK.md").read_text()
HEADINGS = set(re.findall(r"^#{1,3} (.+)$", RUNBOOK, re.MULTILINE))
ALL_SKIPPED: list[SkipCause] = [*Skip, *RunnerSkip]


@pytest.mark.parametrize("cause", ALL_SKIPPED)
def test_every_cause_of_a_skip_has_words(cause: SkipCause) -> None:
    outcome = skipped_because(cause)
    assert outcome.text.startswith(f"Not compared ({cause.value}): ")
    assert outcome.runbook in {"", *HEADINGS}


def test_causes_that_lead_to_the_table_of_the_runbook_are_in_it() -> None:
    listed = {cause.value for cause in ALL_SKIPPED if skipped_because(cause).runbook == RUNBOOK_SKIPPED}
    assert {cause for cause in listed if f"`{cause}`" not in RUNBOOK} == set()


FAILURES = [
    cause for cause in VerdictCause if cause.startswith(("served_", "mirrored_")) or cause is VerdictCause.TRUNCATED
]


@pytest.mark.parametrize("cause", FAILURES)
def test_every_failure_has_words_of_its_own(cause: VerdictCause) -> None:
    outcome = outcome_of(Verdict.FAILED, cause, confirmed=None, rows_compared=False)
    assert outcome.tone == "few"
    assert "gave no response" not in outcome.text
    assert outcome.runbook in HEADINGS


def outcomes() -> list[OutcomeText]:
    causes = (VerdictCause.RESPONSE, VerdictCause.EFFECTS, VerdictCause.RESPONSE_AND_EFFECTS, NO_CAUSE)
    mismatches = (
        outcome_of(Verdict.MISMATCH, cause, confirmed=confirmed, rows_compared=rows)
        for cause in causes
        for confirmed in (True, None)
        for rows in (True, False)
    )
    others = (
        outcome_of(verdict, NO_CAUSE, confirmed=None, rows_compared=rows)
        for verdict in (Verdict.MATCH, Verdict.KNOWN, Verdict.TRANSIENT)
        for rows in (True, False)
    )
    return [*chain(mismatches, others)]


def test_outcomes_differ_and_say_when_rows_were_not_compared() -> None:
    texts = [outcome.text for outcome in outcomes()]
    assert len(set(texts)) == len(texts)
    assert all(text[0].isupper() and text.endswith(".") for text in texts)
    assert sum("rows not compared" in text for text in texts) == len(texts) / 2
