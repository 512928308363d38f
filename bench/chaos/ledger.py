"""Hold what clients know, and what is on disk, against what the accounting says.

The truth, which the accounting has no part in: each attempt of a client has an id and an end, and the frames of the journal's files say
which id has which number. A number that a writer has given and that is in no file is lost; a file that is gone took its numbers along.
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.chaos.clients import Attempt
from comparator.exchanges.number_ranges import NumberRanges
from proxy.journal.format import exchange_of
from proxy.journal.keys import load_keys
from proxy.journal.reconciliation import WriterAccount, WriterState
from proxy.journal.sealing import records_of
from proxy.journal.segment_reader import unique_name, writer_states
from proxy.journal.segments import frames, read_payload, segments, writers


@dataclass
class JournalWatch:
    """Every exchange that was ever in the files of a journal: read again and again, faster than they are deleted."""

    directory: Path
    ids: dict[str, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))
    _offsets: dict[Path, int] = field(default_factory=dict)

    def read(self) -> None:
        """Read what is new."""
        for writer in writers(self.directory):
            name = unique_name(self.directory / writer)
            for path in segments(self.directory / writer):
                try:
                    self._read_file(path, name)
                except FileNotFoundError:
                    continue

    def _read_file(self, path: Path, writer: str) -> None:
        for offset, header in frames(path, offset=self._offsets.get(path, 0)):
            payload = read_payload(path, offset, header)
            if payload is None:
                return
            keys = load_keys(self.directory, os.environ)
            for index, record in enumerate(records_of(header, payload, keys)):
                self.ids[writer][header.first_sequence + index] = exchange_of(record).id
            self._offsets[path] = offset + header.size

    def deleted(self) -> dict[str, NumberRanges]:
        """Return the numbers whose files are gone, by writer."""
        gone: dict[str, NumberRanges] = {}
        for writer in writers(self.directory):
            kept = [
                (header.first_sequence, header.next_sequence - 1)
                for path in segments(self.directory / writer)
                for _, header in frames(path)
            ]
            name = unique_name(self.directory / writer)
            gone[name] = NumberRanges.each(self.ids[name]) - NumberRanges(kept)
        return gone

    def states(self) -> list[WriterState]:
        """Return what each writer was offered and wrote."""
        return writer_states(self.directory)


@dataclass(frozen=True, slots=True)
class Balance:
    """The result of holding truth and accounting against each other.

    Attributes:
        lost: exchanges that are in no file of the journal, or whose file was deleted before they were read.
        named: those that the accounting names as lost.
        unnamed: lost, and not named.
        invented: named, and not lost.
        missing: named as missing without a trace.
        untold: served exchanges that are neither in the journal nor covered by the numbers that are lost.
        hidden: requests whose mirrored run differed on purpose, compared and found equal.
        false_reports: requests whose mirrored run did not differ, reported as different.
        repeated: exchanges that are in the store more than once.
    """

    lost: int
    named: int
    unnamed: str
    invented: str
    missing: str
    untold: int
    hidden: Sequence[str]
    false_reports: Sequence[str]
    repeated: Sequence[str]

    @property
    def is_closed(self) -> bool:
        """True when every loss is named, and no other."""
        return not (self.unnamed or self.invented or self.missing or self.untold or self.repeated)

    @property
    def wrong_verdicts(self) -> int:
        """The number of verdicts that are wrong."""
        return len(self.hidden) + len(self.false_reports)


def balance(
    watch: JournalWatch,
    accounts: Iterable[WriterAccount],
    attempts: Iterable[Attempt],
    verdicts: Sequence[tuple[str, str]],
    spoilt: set[str],
) -> Balance:
    """Hold everything against each other, once nothing is in flight.

    Args:
        watch: of the journal.
        accounts: what the accounting says.
        attempts: all that clients sent since the installation began.
        verdicts: id and verdict of all comparisons in the store.
        spoilt: ids of the requests whose mirrored run was to differ.
    """
    deleted, offered = watch.deleted(), {state.writer: state.offered or 0 for state in watch.states()}
    lost_count = named_count = unread_count = 0
    unnamed, invented, missing = [], [], []
    for account in accounts:
        written = NumberRanges.each(watch.ids[account.writer])
        lost = NumberRanges.of(1, offered[account.writer]) - written
        named = account.lost | account.unwritten
        lost_count += len(lost)
        named_count += len(named)
        unread_count += len(named) - len(named - deleted[account.writer])
        unnamed += _texts(account.writer, lost - named)
        invented += _texts(account.writer, named - lost - deleted[account.writer])
        missing += _texts(account.writer, account.missing)
    in_journal = {identity for numbers in watch.ids.values() for identity in numbers.values()}
    absent = [attempt for attempt in attempts if attempt.id not in in_journal]
    served = sum(attempt.status == 200 for attempt in absent)
    # (a client whose connection broke does not know whether its exchange was recorded)
    untold = max(0, served - lost_count, lost_count - len(absent))
    by_id: dict[str, list[str]] = defaultdict(list)
    for identity, verdict in verdicts:
        by_id[identity].append(verdict)
    return Balance(
        lost=lost_count + unread_count,
        named=named_count,
        unnamed="; ".join(unnamed),
        invented="; ".join(invented),
        missing="; ".join(missing),
        untold=untold,
        hidden=[identity for identity in spoilt if "match" in by_id.get(identity, ())],
        false_reports=[identity for identity, own in by_id.items() if "mismatch" in own and identity not in spoilt],
        repeated=[identity for identity, own in by_id.items() if len(own) > 1],
    )


def _texts(writer: str, numbers: NumberRanges) -> list[str]:
    return [f"{writer}: {numbers}"] if numbers else []
