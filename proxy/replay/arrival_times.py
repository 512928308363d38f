"""Gives requests that nobody has sent yet what a recording has of them: ids, times, the answer that is due. Pure.

Requests arrive independently of each other (a Poisson process), as those of many clients do. Everything follows from the seed.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator

from msgspec import Struct

from comparator.exchanges.model import Request, Response
from proxy.recordings.model import RecordedExchange


class GeneratedRequest(Struct, frozen=True):
    """One line of `python -m scorer populate --targets`: a request, why it is there, and the status that is due."""

    method: str
    path: str
    headers: dict[str, str]
    case: str
    status: int = 200
    body: str = ""
    key: str = ""


def arriving(
    requests: Iterable[GeneratedRequest], *, seed: int, begin_ns: int, rate_per_s: float, host: str
) -> Iterator[RecordedExchange]:
    """The requests as a recording, in their order.

    Args:
        requests: what is asked.
        seed: equal seeds, equal ids and times.
        begin_ns: when the first arrives, Unix nanoseconds.
        rate_per_s: how many arrive in a second, on average.
        host: the Host header.
    """
    at_ns = begin_ns
    for number, made in enumerate(requests):
        digest = hashlib.sha256(f"request {seed} {number}".encode()).digest()
        headers = (("Host", host), ("User-Agent", f"generated/{made.case}"), *made.headers.items())
        yield RecordedExchange(
            Request(made.method, made.path, headers, made.body.encode()),
            Response(made.status, (), b""),
            id=digest[:16].hex(),
            started_ns=at_ns,
            key=made.key,
        )
        share = int.from_bytes(digest[16:24], "big") / 2**64
        at_ns += round(-math.log1p(-share) / rate_per_s * 1e9)
