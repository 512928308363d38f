"""`shadow journal scan`: count the secrets of a journal by place and kind, never their values, and take them out."""

import argparse
import os
from collections import Counter
from pathlib import Path

from comparator.exchanges.secret_text import SecretKind
from proxy.cli.exit_codes import Exit
from proxy.cli.output import print_line, print_remark
from proxy.config.journal import JournalSettings, RedactionMode
from proxy.errors import JournalFormatError, SealedError
from proxy.journal.format import Record
from proxy.journal.keys import load_keys
from proxy.journal.redaction import JournalRedactor
from proxy.journal.rewriting import rewrite as rewrite_segments
from proxy.journal.sealing import JournalKeys, key_id_of, records_of
from proxy.journal.segments import frames, read_payload, segment_fault, segments, writers

ROWS_MAX = 200
NAME_MAX = 40


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "--rewrite",
        action="store_true",
        help="seal every closed segment with the active key; with journal.redaction.mode: digest, replace its secrets by digests",
    )


class _Findings:
    """Counts of the secrets in frames that are sealed, and in those that anybody can read."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, SecretKind, str]] = Counter()
        self.open: Counter[tuple[str, SecretKind, str]] = Counter()
        self.frames_by_key: Counter[str] = Counter()
        self.faults: list[str] = []
        self.sealed = False

    def note(self, place: str, kind: SecretKind, name: str) -> None:
        """Count one secret."""
        row = (place, kind, name.lower()[:NAME_MAX])
        self.counts[row] += 1
        if not self.sealed:
            self.open[row] += 1


def scan(directory: Path, settings: JournalSettings, *, rewrite: bool) -> int:
    """Print what is a secret now; rewrite the journal if asked.

    Returns:
        NEGATIVE if frames are not sealed, or sealed with an older key, or cannot be opened, or hold what mode `digest` takes out.
    """
    keys = load_keys(directory, os.environ)
    digests_only = settings.redaction.mode is RedactionMode.DIGEST
    if rewrite:
        _rewrite(directory, settings, keys, digests_only=digests_only)
    findings = _findings(directory, settings, keys)
    _print(findings, keys)
    held = digests_only and bool(findings.counts)
    others = findings.frames_by_key.total() - findings.frames_by_key[keys.active.id]
    if held or (others and not rewrite):
        print_remark("`shadow journal scan --rewrite` takes out what is to be digests, and seals with the active key")
    return Exit.NEGATIVE if others or held or findings.faults else Exit.DONE


def _findings(directory: Path, settings: JournalSettings, keys: JournalKeys) -> _Findings:
    findings = _Findings()
    redactor = JournalRedactor(settings.redaction, keys.active, findings.note)
    for path in [path for writer in writers(directory) for path in segments(directory / writer)]:
        if fault := segment_fault(path):
            findings.faults.append(f"{path}: {fault}")
            continue
        for offset, header in frames(path):
            payload = read_payload(path, offset, header)
            if payload is None:
                findings.faults.append(f"{path} at {offset}: the checksum does not match")
                continue
            key_id = key_id_of(payload)
            findings.sealed = key_id is not None
            findings.frames_by_key[key_id or ""] += 1
            try:
                for record in records_of(header, payload, keys):
                    redactor.redact(record)
            except (SealedError, JournalFormatError) as error:
                findings.faults.append(f"{path} at {offset}: {error}")
    return findings


def _rewrite(directory: Path, settings: JournalSettings, keys: JournalKeys, *, digests_only: bool) -> None:
    redactor = JournalRedactor(settings.redaction, keys.active)

    def change(record: Record) -> Record:
        return redactor.redact(record) if digests_only else record

    done = rewrite_segments(directory, keys, change, compression_level=settings.compression_level)
    print_line(f"{len(done.paths)} segments rewritten, {done.exchanges} exchanges, sealed with key {keys.active.id}")
    for left in done.left_alone:
        print_line(f"left as it is: {left.path.parent.name}/{left.path.name}: {left.reason}")


def _print(findings: _Findings, keys: JournalKeys) -> None:
    for key_id, count in sorted(findings.frames_by_key.items()):
        known = "active" if key_id == keys.active.id else "older" if keys.find(key_id) else "not here"
        print_line(f"{count} frames sealed with key {key_id} ({known})" if key_id else f"{count} frames are not sealed")
    if findings.counts:
        print_line(f"{'place':<36} {'kind':<12} {'name':<{NAME_MAX}} {'secrets':>8} {'readable':>9}")
    for (place, kind, name), count in sorted(findings.counts.items(), key=lambda row: (-row[1], row[0]))[:ROWS_MAX]:
        open_count = findings.open[place, kind, name]
        print_line(f"{place:<36} {kind:<12} {name:<{NAME_MAX}} {count:>8} {open_count:>9}")
    if len(findings.counts) > ROWS_MAX:
        print_line(f"and {len(findings.counts) - ROWS_MAX} more places")
    total, readable = findings.counts.total(), findings.open.total()
    print_line(f"{total} secrets, {readable} of them in frames that are not sealed")
    for fault in findings.faults:
        print_line(fault)
