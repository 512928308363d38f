"""The section `routes:` of config.yaml: requests that belong together, and what is recorded and mirrored of them. Pure."""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct, structs

from comparator.table_names import canonical_name
from proxy.config.constraints import Count, NonNegative, Share

StatusPattern = Annotated[str, Meta(pattern="^[1-5](xx|[0-9]{2})$")]


class MirrorPolicy(StrEnum):
    """Mirror the exchanges of a route, or not."""

    MIRROR = "mirror"
    SKIP = "skip"


class WritePolicy(StrEnum):
    """Mirror requests with an unsafe method always, never, or only with an Idempotency-Key."""

    MIRROR = "mirror"
    SKIP = "skip"
    IDEMPOTENT = "idempotent"


class RecordOnly(StrEnum):
    """Scope of a record filter: the journal, or the mismatch journal only."""

    ALL = "all"
    MISMATCHES = "mismatches"


class RecordIf(Struct, frozen=True, forbid_unknown_fields=True):
    """Conditions on an exchange; all that are given have to hold. A route's `sample` applies as well."""

    only: RecordOnly = RecordOnly.ALL
    """`all` journals only exchanges that satisfy the conditions. `mismatches` journals all of the route, and copies those that
    satisfy them and differ to `journal.mismatches`."""
    methods: tuple[str, ...] = ()
    """Methods, one of which the request has; empty: any."""
    statuses: tuple[StatusPattern, ...] = ()
    """Status codes, one of which the response has: `404`, or `5xx` for a class; empty: any."""
    duration_ms_min: NonNegative = 0.0
    """Shortest duration, from the request's header to the end of its response."""
    response_bytes_min: Count = 0
    """Smallest response body, as sent, up to `journal.body_max_bytes`."""
    response_bytes_max: Count = 0
    """Largest response body, as sent, up to `journal.body_max_bytes`; 0: unlimited."""
    until_count: Count = 0
    """Exchanges that each worker (with `mismatches`: the runner) takes since it started; 0: unlimited."""
    until: str = ""
    """ISO 8601 time after which nothing is taken, in quotes; empty: unlimited."""


class RouteSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Requests that belong together. The first route that matches a request has it."""

    name: str
    """Name in metrics, rules and reports; each route has its own."""
    path: str
    """Path template: `{name}` is one segment, `{name:path}` the rest of the path."""
    methods: tuple[str, ...] = ()
    """Methods of the route; empty: any method. Another route may have other methods of the same path."""
    key: str = ""
    """Ordering key, by which requests are ordered, sampled and assigned to a side: a parameter of the path, `header:NAME`,
    `query:NAME`, `jwt:CLAIM` of the bearer token, or `json:member.member` of the body. Compared case-insensitively."""
    mirror: MirrorPolicy = MirrorPolicy.MIRROR
    """Mirror the route, or `skip` it."""
    writes: WritePolicy = WritePolicy.MIRROR
    """Mirror its POST, PUT, PATCH and DELETE requests, `skip` them, or mirror those with an Idempotency-Key (`idempotent`)."""
    safe: bool = False
    """Requests of the route change nothing that matters, whatever their method, e.g. a search by POST: they are compared by their
    responses where their rows cannot be, because they have no ordering key or row changes are not captured."""
    sample: Share = 1.0
    """Share of the keys that is journaled; a key is either in or out."""
    record_if: RecordIf | None = None
    """Conditions on the exchanges of the sample that are journaled; without it all are."""
    mirror_per_s_max: NonNegative = 0.0
    """Exchanges per second that are mirrored, all workers together; the rest is skipped (`rate_limited`). 0: unlimited."""
    quiet: bool = False
    """The route may stay without calls: the rollout then does not wait for comparisons of it."""
    tables: tuple[str, ...] = ()
    """Tables that its requests read or write, as in `capture.tables`. While the changes of one are not all captured, its exchanges are
    skipped (`not_capturable`); while live and shadow define one differently, too (`schema_differs`). Needed only for tables that cannot be
    captured: what is captured shows by itself which requests write it."""

    def __post_init__(self) -> None:
        """Give each table its canonical name.

        Raises:
            ValueError: a text does not name a table.
        """
        structs.force_setattr(self, "tables", tuple(canonical_name(table) for table in self.tables))
