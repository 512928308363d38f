"""Retention: deletes old segments that every reader has committed, and, when the disk limit demands it, unread ones. `plan` is pure."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from proxy.config.journal import RetentionSettings
from proxy.journal.segments import all_committed, first_sequence_of, segments, writers


@dataclass(frozen=True, slots=True)
class SegmentFile:
    """A closed segment. `written_s` is its last write, Unix seconds; `unread` the number of exchanges that some reader has not committed."""

    path: Path
    size_bytes: int
    written_s: float
    unread: int


@dataclass(frozen=True, slots=True)
class Pruned:
    """The segments that were deleted, and the number of unread exchanges in them."""

    deleted: tuple[Path, ...]
    unread: int


def plan(
    closed: Iterable[SegmentFile], settings: RetentionSettings, *, now_s: float, open_bytes: int
) -> list[SegmentFile]:
    """Return the segments to delete, oldest first.

    Read segments go when they are older than `age_max_s` or the journal is larger than `size_max_bytes`; then unread ones while it
    is larger than `disk_max_bytes`.

    Args:
        closed: the candidates.
        settings: the limits.
        now_s: Unix seconds.
        open_bytes: size of the segments that are not candidates.
    """
    ordered = sorted(closed, key=lambda segment: segment.written_s)
    total = open_bytes + sum(segment.size_bytes for segment in ordered)
    read_max_bytes = min(settings.size_max_bytes, settings.disk_max_bytes)
    deleted: list[SegmentFile] = []
    for segment in ordered:
        old = now_s - segment.written_s > settings.age_max_s
        if not segment.unread and (old or total > read_max_bytes):
            deleted.append(segment)
            total -= segment.size_bytes
    for segment in ordered:
        if total <= settings.disk_max_bytes:
            break
        if segment.unread:
            deleted.append(segment)
            total -= segment.size_bytes
    return deleted


def prune(directory: Path, settings: RetentionSettings, *, now_s: float, open_segment: Path | None = None) -> Pruned:
    """Delete segments of all writers as `plan` decides. The newest segment of each writer and `open_segment` always stay."""
    closed, open_bytes = survey(directory, open_segment)
    planned = plan(closed, settings, now_s=now_s, open_bytes=open_bytes)
    for segment in planned:
        segment.path.unlink(missing_ok=True)
    return Pruned(tuple(segment.path for segment in planned), sum(segment.unread for segment in planned))


def survey(directory: Path, open_segment: Path | None = None) -> tuple[list[SegmentFile], int]:
    """Return all closed segments, and the bytes of the others."""
    committed = all_committed(directory)
    closed: list[SegmentFile] = []
    open_bytes = 0
    for writer in writers(directory):
        files = segments(directory / writer)
        # Without any reader everything counts as read: age and size alone decide.
        done = min((offsets.sequences.get(writer, 0) for offsets in committed.values()), default=sys.maxsize)
        for path, following in zip_longest(files, files[1:]):
            stat = path.stat()
            if following is None or path == open_segment:
                open_bytes += stat.st_size
                continue
            last = first_sequence_of(following) - 1
            unread = max(0, last - max(done, first_sequence_of(path) - 1))
            closed.append(SegmentFile(path, stat.st_size, stat.st_mtime, unread))
    return closed, open_bytes
