"""The `journal` section of config.yaml."""

from enum import StrEnum

from msgspec import Struct


class Durability(StrEnum):
    """What a crash can lose.

    `none`: a killed process loses what is queued (at most `flush_ms` of traffic); a power cut also loses the page cache.
    `interval`: a power cut loses at most `fsync_ms` of traffic. `batch`: each batch is on the disk before the next is begun, so
    a power cut loses at most the queue.
    """

    NONE = "none"
    INTERVAL = "interval"
    BATCH = "batch"


class RedactionMode(StrEnum):
    """`seal`: a digest in place and the value sealed beside it, so that the mirror can open it. `digest`: the digest only."""

    SEAL = "seal"
    DIGEST = "digest"


class RedactionSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Which values are secrets. Names of headers and query parameters are compared without case."""

    mode: RedactionMode = RedactionMode.SEAL
    headers: tuple[str, ...] = ("x-api-key", "authorization", "proxy-authorization", "cookie", "set-cookie")
    query: tuple[str, ...] = ("api_key", "apikey", "access_token", "token")
    tokens: bool = True
    """JSON Web Tokens wherever they stand: in other headers, in targets, in bodies that are not compressed."""
    json_paths: tuple[str, ...] = ()
    """Dotted paths of object members in JSON bodies, e.g. `user.password`; `*` is any member or item."""


class RetentionSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Which closed segments are deleted: those that every reader has committed, once they are old or the journal is large.

    Unread segments are deleted only above `disk_max_bytes`; that is counted, and the affected reader sees the gap.
    """

    age_max_s: float = 86_400.0
    size_max_bytes: int = 4 * 1024**3
    disk_max_bytes: int = 16 * 1024**3


class MismatchJournal(Struct, frozen=True, forbid_unknown_fields=True):
    """The journal of exchanges that differed (`routes[].record_if.only: mismatches`): a folder of its own, kept longer."""

    directory: str = "var/mismatches"
    retention: RetentionSettings = RetentionSettings(
        age_max_s=30 * 86_400.0, size_max_bytes=1024**3, disk_max_bytes=2 * 1024**3
    )


class JournalSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Where exchanges are written and what bounds them."""

    enabled: bool = True
    directory: str = "var/journal"
    body_max_bytes: int = 1024 * 1024
    """A longer body is served in full and journaled up to here, marked as truncated."""
    queue_max: int = 10_000
    queue_max_bytes: int = 64 * 1024**2
    batch_max: int = 256
    flush_ms: float = 10.0
    segment_max_bytes: int = 64 * 1024**2
    segment_max_s: float = 3600.0
    compression_level: int = 1
    durability: Durability = Durability.NONE
    fsync_ms: float = 100.0
    retention: RetentionSettings = RetentionSettings()
    redaction: RedactionSettings = RedactionSettings()
    mismatches: MismatchJournal = MismatchJournal()
