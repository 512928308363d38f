"""The section `journal:` of config.yaml: where exchanges are recorded, and within which bounds. Pure."""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from proxy.config.constraints import NonNegative, Positive, PositiveCount

Bytes = PositiveCount


class JournalDriver(StrEnum):
    """Way from the proxies to the runner."""

    FILES = "files"
    VALKEY = "valkey"


class Durability(StrEnum):
    """Bounds of what a crash can lose.

    `none`: a killed process loses what is queued (at most `flush_ms` of traffic), a power cut also the page cache. `interval`: a
    power cut loses at most `fsync_ms` of traffic. `batch`: each batch is on disk before the next one starts, so that a power cut
    loses at most the queue.
    """

    NONE = "none"
    INTERVAL = "interval"
    BATCH = "batch"


class RedactionMode(StrEnum):
    """Form in which the journal keeps secrets: in its encrypted frames, or as digests only."""

    SEAL = "seal"
    DIGEST = "digest"


class RedactionSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The values that are secrets, and the form in which they are stored. The journal is encrypted in both forms."""

    mode: RedactionMode = RedactionMode.SEAL
    """`seal`: exchanges are encrypted as they were (key: `SHADOW_JOURNAL_KEY`, else a 0600 file in the journal), and secrets are replaced
    by keyed digests wherever they leave the journal. `digest`: they are replaced before anything is written, so that the values are
    gone and exchanges that had one cannot be mirrored; that takes the writer's thread some 0.3 ms for each exchange with a body
    of 2 KB, so above some thousand requests per second copies are dropped, and counted."""
    recognize: bool = True
    """Recognise secrets by the meaning of a name, in any notation (`X_Api_Key`, `accessToken`), and by the looks of a value (JSON Web
    Tokens, private keys, numbers of payment cards). Without it only what the following members declare is a secret."""
    headers: tuple[str, ...] = ("x-api-key", "authorization", "proxy-authorization", "cookie", "set-cookie")
    """Names that are secrets in any case: of header fields, and as well of the places below."""
    query: tuple[str, ...] = ("api_key", "apikey", "access_token", "token")
    """The same, of query parameters."""
    names: tuple[str, ...] = ()
    """Further names: of header fields, parameters, form fields, members and columns. Case, `-` and `_` do not matter."""
    json_paths: tuple[str, ...] = ()
    """Members of JSON bodies that are secrets, e.g. `user.password`; `*` is any member or item; and columns, `table.column`. With any
    of them, JSON bodies that are cut are replaced as a whole."""
    exempt: tuple[str, ...] = ()
    """Names and JSON paths that are not secrets, whatever they look like, e.g. `token` where it names a currency."""


class RetentionSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Limits beyond which closed segments are deleted: those that every reader has committed, once they are old or the journal is large.

    Unread segments are deleted only above `disk_max_bytes`; that is counted, and the affected reader sees the gap.
    """

    age_max_s: NonNegative = 86_400.0
    """Age at which a segment that every reader has committed is deleted."""
    size_max_bytes: Bytes = 4 * 1024**3
    """Size of the journal above which the oldest segments that every reader has committed are deleted."""
    disk_max_bytes: Bytes = 16 * 1024**3
    """Size of the journal above which the oldest segments are deleted, read or not."""


class MismatchJournal(Struct, frozen=True, forbid_unknown_fields=True):
    """The journal of exchanges that differed, for routes with `record_if: {only: mismatches}`."""

    directory: str = "var/mismatches"
    """Folder of the journal."""
    retention: RetentionSettings = RetentionSettings(
        age_max_s=30 * 86_400.0, size_max_bytes=1024**3, disk_max_bytes=2 * 1024**3
    )


class ValkeySettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The broker of the shared journal: a Valkey 7.2 or Redis 6.2 server, or later ones, without an eviction policy."""

    url: str = ""
    """`valkey://HOST:PORT/NUMBER`, or `valkeys://` for TLS; `redis://` and `rediss://` mean the same. Required with `driver: valkey`."""
    user: str = ""
    """Name of the ACL user; "" for the server's default user."""
    password: str = ""
    """Password of the user, e.g. `${VALKEY_PASSWORD}`; it must not be in the URL."""
    password_file: str = ""
    """File that has the password, in place of `password`; a line break at its end does not belong to it. It is read again for each
    connection, so a password that is changed there needs no restart."""
    ca_file: str = ""
    """Certificates that the server's one is checked against; "" for those of the machine."""
    cert_file: str = ""
    """Certificate that is shown to the server, with the chain; "" for none."""
    key_file: str = ""
    """Private key of `cert_file`."""
    prefix: str = "shadow:journal"
    """Beginning of the names of all keys, of which each installation needs its own."""
    timeout_s: Positive = 5.0
    """Time for connecting, and for each command."""
    ahead_max_bytes: Bytes = 64 * 1024**2
    """Bytes of one writer that the broker holds for the slowest reader; beyond it they stay in the spool."""
    silent_max_s: Positive = 5.0
    """Time that exchanges of other writers wait for a writer that does not report; after that it is not waited for, and its requests of
    that time are skipped as `late`."""


class JournalSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The journal: every exchange on disk, without making the client wait."""

    enabled: bool = True
    """Record exchanges; without the journal nothing is mirrored."""
    driver: JournalDriver = JournalDriver.FILES
    """Way to the runner: `files` in `directory`, for proxy and runner on one machine; `valkey` ships them to a broker, for proxies on
    several machines: `directory` is then the spool, from which nothing is deleted before the runner has stored its outcome."""
    directory: str = "var/journal"
    """Folder of the journal."""
    valkey: ValkeySettings = ValkeySettings()
    body_max_bytes: Bytes = 1024 * 1024
    """Bytes of a body that are recorded; a longer one is served in full and marked as truncated."""
    queue_max: PositiveCount = 10_000
    """Exchanges that may wait for the disk; copies beyond it are dropped and counted."""
    queue_max_bytes: Bytes = 64 * 1024**2
    """Bytes that may wait for the disk; copies beyond it are dropped and counted."""
    batch_max: PositiveCount = 256
    """Exchanges that are compressed and written together."""
    flush_ms: NonNegative = 10.0
    """Time the writer waits for a batch to fill."""
    segment_max_bytes: Bytes = 64 * 1024**2
    """Size at which a segment file is closed and the next one opened."""
    segment_max_s: Positive = 3600.0
    """Age at which a segment file is closed and the next one opened."""
    compression_level: Annotated[int, Meta(ge=1, le=19)] = 1
    """Level of zstandard; higher is smaller and slower."""
    durability: Durability = Durability.NONE
    """Bound of what a crash can lose. `none`: a killed process `flush_ms` of traffic, a power cut also the page cache; `interval`: a power
    cut `fsync_ms` of traffic; `batch`: a power cut only what is queued."""
    fsync_ms: Positive = 100.0
    """Longest time between two fsyncs with `durability: interval`."""
    retention: RetentionSettings = RetentionSettings()
    redaction: RedactionSettings = RedactionSettings()
    mismatches: MismatchJournal = MismatchJournal()
