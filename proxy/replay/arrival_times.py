"""Turns generated requests into a recording: gives them ids, times and expected responses. Pure.

Requests arrive independently of each other (a Poisson process), as those of many clients do. Everything follows from the seed.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator

from msgspec import Struct

from comparator.exchanges.model import Request, Response
from proxy.recordings.model import RecordedExchange


class GeneratedRequest(Struct, frozen=True):
    """One line of `python -m scorer populate --targets`: a request, the case that it represents, and the expected status."""

    method: str
    path: str
    headers: dict[str, str]
    case: str
    status: int = 200
    body: str = ""
    key: str = ""


def with_arrival_times(
    requests: Iterable[GeneratedRequest], *, seed: int, begin_ns: int, rate_per_s: float, host: str
) -> Iterator[RecordedExchange]:
    """Yield the requests as recorded exchanges, in their order.

    Args:
        requests: without ids and times.
        seed: equal seeds give equal ids and times.
        begin_ns: arrival of the first, Unix nanoseconds.
        rate_per_s: mean number of arrivals in a second.
        host: the Host header.
    """
    at_ns = begin_ns
    for number, request in enumerate(requests):
        digest = hashlib.sha256(f"request {seed} {number}".encode()).digest()
        headers = (("Host", host), ("User-Agent", f"generated/{request.case}"), *request.headers.items())
        yield RecordedExchange(
            Request(request.method, request.path, headers, request.body.encode()),
            Response(request.status, (), b""),
            id=digest[:16].hex(),
            started_ns=at_ns,
            key=request.key,
        )
        # The gap to the next arrival is exponentially distributed: the inverse of its distribution at a uniform number.
        uniform = int.from_bytes(digest[16:24], "big") / 2**64
        at_ns += round(-math.log1p(-uniform) / rate_per_s * 1e9)
