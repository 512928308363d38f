"""The requests of the benchmarks. No two have the same address, key or ids, so no server profits from requests it has seen. Pure.

Each request has its own address, API key, cookie, trace id and request id. Among VARIANTS heads also the fields, their order, their
case and the User-Agent differ.
"""

import random
import re
from collections.abc import Sequence

VARIANTS = 512
TOKENS = 1 << 16
STEP = 11
"""Odd, so that each placeholder gets every token before it gets one twice."""
PLACEHOLDER = re.compile(rb"%\((\w+)\)")
KINDS = (b"address", b"key", b"secret", b"session", b"trace", b"span", b"request", b"tag")
"""Kinds of placeholders: up to 40 hexadecimal digits of a token that no other request has in a placeholder of this kind."""

CLIENTS = (
    b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/1%d.0.0.0 Safari/537.36",
    b"Mozilla/5.0 (iPhone; CPU iPhone OS 17_%d like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
    b"axios/1.7.%d",
    b"python-requests/2.%d.0",
    b"Go-http-client/1.1 build %d",
)
LANGUAGES = (b"en-US,en;q=0.9", b"de-DE,de;q=0.8,en;q=0.5", b"pt-BR,pt;q=0.9", b"zh-CN")


class Requests:
    """An endless source of GET requests for scores."""

    def __init__(self, seed: int) -> None:
        draw = random.Random(seed)
        tokens = tuple(draw.randbytes(20).hex().encode() for _ in range(TOKENS))
        self._tokens = tokens + tokens
        self._variants = [_variant(head(draw)) for _ in range(VARIANTS)]
        self._count = 0

    def next(self) -> bytes:
        """Return the next request, complete."""
        count = self._count
        self._count = count + 1
        text, offsets = self._variants[count % VARIANTS]
        start, tokens = count * STEP % TOKENS, self._tokens
        return text % tuple([tokens[start + offset] for offset in offsets])


def _variant(text: bytes) -> tuple[bytes, tuple[int, ...]]:
    """Return a head to be filled by position, and the offset of each placeholder's token from the first token of a request."""
    spread = TOKENS // len(KINDS)
    return PLACEHOLDER.sub(b"%", text), tuple(KINDS.index(kind) * spread for kind in PLACEHOLDER.findall(text))


def head(draw: random.Random) -> bytes:
    """Return a head with placeholders for the values that differ from request to request."""
    fields = _fields(draw)
    if draw.random() < 0.2:
        draw.shuffle(fields)
    if draw.random() < 0.3:
        fields = [(name.lower(), value) for name, value in fields]
    lines = [b"GET /v2/stamps/335/score/0x%(address)b HTTP/1.1", *(name + b": " + value for name, value in fields)]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _fields(draw: random.Random) -> list[tuple[bytes, bytes]]:
    client = draw.choice(CLIENTS) % draw.randrange(10, 60)
    fields = [
        (b"Host", b"api.example"),
        (b"User-Agent", client),
        (b"Accept", draw.choice((b"application/json", b"*/*", b"application/json, text/plain, */*"))),
        (b"Accept-Encoding", draw.choice((b"gzip, deflate, br", b"gzip", b"identity"))),
        (b"X-API-Key", b"%(key).16b.%(secret).16b"),
    ]
    sometimes = (
        (0.5, b"Accept-Language", draw.choice(LANGUAGES)),
        (0.4, b"X-Forwarded-For", b"10.%d.%d.%d" % (draw.randrange(256), draw.randrange(256), draw.randrange(256))),
        (0.3, b"Cookie", b"session=%%(session)b; theme=%d" % draw.randrange(5)),
        (0.25, b"traceparent", b"00-%(trace).32b-%(span).16b-01"),
        (0.25, b"X-Request-Id", b"%(request).32b"),
        (0.2, b"If-None-Match", b'"%(tag).16b"'),
        (0.2, b"X-Client-Version", b"%d.%d" % (draw.randrange(9), draw.randrange(99))),
        (0.2, b"Referer", b"https://app.example/dashboard/%d" % draw.randrange(10_000)),
    )
    return fields + [(name, value) for share, name, value in sometimes if draw.random() < share]


def due_times(count: int, *, rate: float, seed: int) -> Sequence[float]:
    """Return when each request of a fixed rate is due, in seconds from the start.

    Each is due at a random time in its own slot. At exact intervals, a backend that takes a whole number of them would respond to
    each request just when another is sent.
    """
    draw = random.Random(seed)
    return [(number + draw.random()) / rate for number in range(count)]
