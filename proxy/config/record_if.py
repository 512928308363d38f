"""Settings of a route's record filter."""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

StatusPattern = Annotated[str, Meta(pattern="^[1-5](xx|[0-9]{2})$")]


class RecordOnly(StrEnum):
    """`all`: the rule decides what is journaled. `mismatches`: what is kept of the exchanges that were found to differ."""

    ALL = "all"
    MISMATCHES = "mismatches"


class RecordIf(Struct, frozen=True, forbid_unknown_fields=True):
    """What an exchange has to be to be journaled; what is left out does not matter. A route's `sample` holds besides.

    Attributes:
        only: with `mismatches` the route is journaled as without a rule, and of the exchanges that the runner finds to differ those
            that the rule wants are copied to `journal.mismatches`, where they stay longer.
        methods: one of these.
        statuses: one of these: `404`, or `5xx` for all of a hundred.
        duration_ms_min: from the request's head to the end of its response.
        response_bytes_min, response_bytes_max: of the response's body as sent, up to `journal.body_max_bytes`; 0 is no limit.
        until_count: this many in each worker process since it began (with `mismatches`: in the runner); 0 is no limit.
        until: an ISO 8601 time after which nothing is taken; "" is never.
    """

    only: RecordOnly = RecordOnly.ALL
    methods: tuple[str, ...] = ()
    statuses: tuple[StatusPattern, ...] = ()
    duration_ms_min: Annotated[float, Meta(ge=0)] = 0.0
    response_bytes_min: Annotated[int, Meta(ge=0)] = 0
    response_bytes_max: Annotated[int, Meta(ge=0)] = 0
    until_count: Annotated[int, Meta(ge=0)] = 0
    until: str = ""
