"""Say what became of an exchange, in words, with the section of RUNBOOK.md that says what to do. Pure.

Every verdict with its cause and every cause for which an exchange is not compared has a sentence; a test holds them against the closed
sets and against the runbook.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from comparator.exchanges.comparison import NO_CAUSE, Verdict, VerdictCause, not_compared_text
from comparator.exchanges.skip import Skip
from proxy.runner.skip_causes import RunnerSkip, SkipCause

RUNBOOK_CAUSES: Final = "Pages and messages"
RUNBOOK_SKIPPED: Final = "Exchanges are skipped: why, and what to do"
RUNBOOK_SCHEMA: Final = "A migration of the database"
RUNBOOK_DRIFT: Final = "Rows that do not become equal"
RUNBOOK_DOWN: Final = "What works while something is down"


@dataclass(frozen=True, slots=True)
class OutcomeText:
    """The outcome of an exchange.

    Attributes:
        tone: good, bad, few (not enough to judge) or sup (suppressed).
        text: one sentence.
        runbook: the section of RUNBOOK.md, "" where there is nothing to do.
    """

    tone: str
    text: str
    runbook: str = ""


_FAILURES: Final = {
    "refused": "refused the connection",
    "timeout": "did not answer in time",
    "reset": "closed the connection before its response was complete",
    "protocol": "answered with something that is not HTTP",
    "overload": "got no connection, because too many requests waited for one",
    "ejected": "was ejected as unhealthy",
}
_DIFFERS: Final = {
    VerdictCause.RESPONSE: "the responses differ",
    VerdictCause.EFFECTS: "the committed rows differ",
    VerdictCause.RESPONSE_AND_EFFECTS: "responses and committed rows differ",
}


def outcome_of(
    verdict: Verdict,
    cause: str,
    *,
    confirmed: bool | None,
    rows_compared: bool,
    left_out: Collection[str] = (),
) -> OutcomeText:
    """Return the outcome of a comparison.

    Args:
        verdict: the verdict.
        cause: its cause, NO_CAUSE for none.
        confirmed: whether a second run differed as well; None for none.
        rows_compared: whether the rows were compared, beside the responses.
        left_out: tables whose rows were not compared although those of others were.
    """
    text = not_compared_text(rows_compared=rows_compared, left_out=left_out)
    rows = f"; {text}" if text else ""
    match verdict:
        case Verdict.MATCH:
            return OutcomeText(
                "few" if rows_compared and left_out else "good",
                f"Match: {'responses and committed rows' if rows_compared else 'the responses'} are equal{rows}.",
            )
        case Verdict.KNOWN:
            return OutcomeText("sup", f"Known: only differences that are declared as known{rows}.")
        case Verdict.TRANSIENT:
            return OutcomeText("few", f"Transient: it differed once, and not again in a second run{rows}.")
        case Verdict.FAILED:
            return OutcomeText("few", f"Failed: {_failure(cause)}; there is nothing to compare.", RUNBOOK_DOWN)
        case Verdict.MISMATCH:
            how = {True: ", confirmed by a second run", False: "", None: ", not confirmed by a second run"}[confirmed]
            where = _DIFFERS[VerdictCause(cause)] if cause != NO_CAUSE else "the sides differ"
            return OutcomeText("bad", f"Mismatch{how}: {where}{rows}.", RUNBOOK_CAUSES)


def _failure(cause: str) -> str:
    if cause == VerdictCause.TRUNCATED:
        return "a response is longer than what is recorded, and equal as far as it is"
    role, _, kind = cause.partition("_")
    return f"the {role} side {_FAILURES.get(kind, 'gave no response')}"


_SKIPPED: Final[dict[SkipCause, tuple[str, str]]] = {
    Skip.POLICY: ("its route is configured with `mirror: skip`", ""),
    Skip.WRITE: ("it is a write, and its route mirrors only requests that change nothing", ""),
    Skip.TRUNCATED: ("its body is longer than what is recorded", ""),
    Skip.FALLBACK: ("the other side served it, since the chosen one failed", RUNBOOK_DOWN),
    Skip.RETRIED: (
        "the proxy sent it twice, since a kept connection was closed: its rows may be there twice",
        RUNBOOK_SKIPPED,
    ),
    Skip.RATE_LIMITED: ("more requests than the limit for mirroring allows", RUNBOOK_SKIPPED),
    Skip.UNROUTED: ("no configured route matches it", ""),
    Skip.SAMPLE: ("it is outside of its route's sample", ""),
    Skip.RECORD_IF: ("its route's `record_if` does not select it", ""),
    Skip.SHADOW: ("it is a mirrored request itself", ""),
    Skip.UPGRADE: ("its connection became a tunnel", ""),
    Skip.ABORTED: ("the client went away before its response was complete", ""),
    Skip.DISABLED: ("there is no journal", ""),
    Skip.IMPORTED: ("it was imported without `--mirror`", RUNBOOK_SKIPPED),
    RunnerSkip.SERVED_FAILED: ("the serving side gave no response", RUNBOOK_DOWN),
    RunnerSkip.TRUNCATED_REQUEST: ("its body is longer than what is recorded", ""),
    RunnerSkip.NO_SHADOW_INSTANCE: ("the other side has no shadow instance", ""),
    RunnerSkip.NO_KEY: ("it is a write without an ordering key", RUNBOOK_SKIPPED),
    RunnerSkip.UNCAPTURED_WRITE: ("it is a write, and row changes are not captured", RUNBOOK_SKIPPED),
    RunnerSkip.REDACTED: ("a secret in it is redacted, so the other side would refuse it", RUNBOOK_SKIPPED),
    RunnerSkip.SLOW: ("it took longer than `runner.claim_wait_ms`", RUNBOOK_SKIPPED),
    RunnerSkip.LATE: ("it was read too late for its rows to be told apart", RUNBOOK_SKIPPED),
    RunnerSkip.DUPLICATE_ID: ("an earlier exchange has its id", RUNBOOK_SKIPPED),
    RunnerSkip.OTHER_SLICE: ("the runner of another slice mirrors it", RUNBOOK_SKIPPED),
    RunnerSkip.REPEATED: ("it was read again after a restart, and had its outcome before", RUNBOOK_SKIPPED),
    RunnerSkip.UNKNOWN_POLICY: ("a newer proxy skipped it for a cause that is not known here", RUNBOOK_SKIPPED),
    RunnerSkip.AMBIGUOUS: ("its rows match several requests", RUNBOOK_SKIPPED),
    RunnerSkip.INTERFERED: ("a background writer changed its rows while it ran", RUNBOOK_SKIPPED),
    RunnerSkip.OVERLAPPED: ("another request with its key ran at the same time", RUNBOOK_SKIPPED),
    RunnerSkip.UNJOURNALED: (
        "a request that is not in the journal may have written its rows: a process of the proxy was killed, or exchanges were lost",
        RUNBOOK_SKIPPED,
    ),
    RunnerSkip.UNTAGGED: ("its side names no request in its transactions", RUNBOOK_SKIPPED),
    RunnerSkip.LOST: ("the capture was interrupted while it ran", RUNBOOK_SKIPPED),
    RunnerSkip.SCHEMA_DIFFERS: ("live and shadow define a table of it differently", RUNBOOK_SCHEMA),
    RunnerSkip.NEEDS_CLONE: ("the shadow contradicts live as a whole", RUNBOOK_SKIPPED),
    RunnerSkip.NOT_CAPTURED: ("row changes were not captured when it began", RUNBOOK_SKIPPED),
    RunnerSkip.CLOCK: ("the clocks of proxy and database differ by more than `runner.clock_skew_ms`", RUNBOOK_SKIPPED),
    RunnerSkip.NOT_CAPTURABLE: ("it changed a table whose rows cannot be captured", RUNBOOK_SKIPPED),
    RunnerSkip.UNSETTLED: ("an earlier mirrored request on its keys may still be writing", RUNBOOK_SKIPPED),
    RunnerSkip.REPAIRED: ("its rows had been copied from live, which may be ahead", RUNBOOK_SKIPPED),
    RunnerSkip.DRIFTED: ("a row of its keys differs on the shadow for a reason of its own", RUNBOOK_DRIFT),
    RunnerSkip.OVERLOAD: ("too much waits for the shadow", RUNBOOK_SKIPPED),
    RunnerSkip.CAPTURE_LOST: ("the capture of the shadow was interrupted while it ran", RUNBOOK_SKIPPED),
    RunnerSkip.INTERNAL: ("the runner failed on it; its log has the traceback", RUNBOOK_SKIPPED),
}


def skipped_because(cause: SkipCause) -> OutcomeText:
    """Return the outcome of an exchange that was served and not compared."""
    text, runbook = _SKIPPED[cause]
    return OutcomeText(
        "sup", f"Not compared ({cause.value}): {text}. It was served, and its rows are on the shadow.", runbook
    )
