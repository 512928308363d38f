"""Counts what was read of a recording, for people and for `--strict`. Pure."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from comparator.exchanges.model import Response
from comparator.exchanges.visible_text import visible
from proxy.recordings.model import Item, MalformedRecord, RecordedExchange, SkippedRecord

KINDS_MAX: Final = 30
OTHER_KINDS: Final = "other kinds"
EXAMPLES_MAX: Final = 5
SHOWN_CHARS: Final = 200


@dataclass(slots=True)
class ReadCounts:
    """The records of a recording by what they are. Memory is bounded: names come from the recording.

    Attributes:
        requests: requests that were recorded as a whole.
        cut: requests of which only a part was recorded, such as a body that is shorter than its Content-Length, or a logged POST.
        cut_responses: responses with headers, of which only a part was recorded.
        not_http: records that are not HTTP, by kind.
        skipped: other records that are not requests of a client, by kind.
        malformed: records that could not be read.
        examples: the first of these, at most EXAMPLES_MAX.
    """

    requests: int = 0
    cut: int = 0
    cut_responses: int = 0
    not_http: Counter[str] = field(default_factory=Counter[str])
    skipped: Counter[str] = field(default_factory=Counter[str])
    malformed: int = 0
    examples: list[MalformedRecord] = field(default_factory=list[MalformedRecord])

    @property
    def total(self) -> int:
        """All records."""
        return self.requests + self.cut + self.not_http.total() + self.skipped.total() + self.malformed

    @property
    def complete(self) -> bool:
        """True when every record is a whole request."""
        return self.total == self.requests

    def add(self, item: Item) -> None:
        """Count one record."""
        match item:
            case RecordedExchange():
                if item.request.body_truncated:
                    self.cut += 1
                else:
                    self.requests += 1
                response = item.outcome
                # A log has neither headers nor bodies of responses: those are not cut.
                self.cut_responses += (
                    isinstance(response, Response) and response.body_truncated and bool(response.headers)
                )
            case SkippedRecord():
                kinds = self.skipped if item.is_http else self.not_http
                kind = _shown(item.kind)
                kinds[kind if kind in kinds or len(kinds) < KINDS_MAX else OTHER_KINDS] += 1
            case MalformedRecord():
                self.malformed += 1
                if len(self.examples) < EXAMPLES_MAX:
                    self.examples.append(item)

    def __str__(self) -> str:
        """Return one line, e.g. `read 120: 101 requests, 12 cut, 7 not HTTP (4 data:, 3 websocket)`."""
        parts = [f"{self.requests} request{'' if self.requests == 1 else 's'}"]
        parts += [f"{self.cut} cut"] if self.cut else []
        parts += [f"{self.not_http.total()} not HTTP ({_kinds(self.not_http)})"] if self.not_http else []
        parts += [f"{self.skipped.total()} skipped ({_kinds(self.skipped)})"] if self.skipped else []
        parts += [f"{self.malformed} malformed"] if self.malformed else []
        responses = f"; {self.cut_responses} of the responses cut" if self.cut_responses else ""
        return f"read {self.total}: {', '.join(parts)}{responses}"

    def lines(self) -> list[str]:
        """Return the line of the counts, and the malformed records that are kept as examples."""
        lines = [str(self), *(_shown(f"  {record.location}: {record.reason}") for record in self.examples)]
        if self.malformed > len(self.examples):
            lines.append(f"  and {self.malformed - len(self.examples)} more")
        return lines


def _shown(text: str) -> str:
    """Return a text of a recording in one line of at most SHOWN_CHARS, with control characters escaped."""
    shown = visible(text[:SHOWN_CHARS].replace("\n", " ").replace("\t", " "))
    return f"{shown}…" if len(text) > SHOWN_CHARS else shown


def _kinds(kinds: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
