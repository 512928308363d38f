"""The responses of the backends: scores with 20 stamps, 2.4 KB each, all different. Pure."""

import random

VARIANTS = 512
STAMPS = 20


def responses(seed: int) -> list[bytes]:
    """Return complete responses, head and body."""
    draw = random.Random(seed)
    return [_response(draw, number) for number in range(VARIANTS)]


def _response(draw: random.Random, number: int) -> bytes:
    body = _body(draw)
    return (
        b"HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:%02d:%02d GMT\r\nContent-Type: application/json\r\n"
        b'ETag: "%b"\r\nCache-Control: private, max-age=%d\r\nContent-Length: %d\r\n\r\n'
        % (number // 60, number % 60, draw.randbytes(8).hex().encode(), draw.randrange(60), len(body))
    ) + body


def _body(draw: random.Random) -> bytes:
    stamps = ",".join(
        f'"Provider{draw.randrange(100)}#{number}":{{"score":"{draw.random():.5f}","dedup":false,'
        f'"expiration_date":"2099-{draw.randrange(1, 13):02d}-{draw.randrange(1, 29):02d}T00:00:00+00:00"}}'
        for number in range(STAMPS)
    )
    return (
        f'{{"address":"0x{draw.randbytes(20).hex()}","score":"{draw.random() * 40:.5f}","passing_score":true,'
        f'"last_score_timestamp":"2099-01-01T00:00:{draw.randrange(60):02d}+00:00","expiration_timestamp":null,'
        f'"threshold":"20.00000","error":null,"stamps":{{{stamps}}},'
        f'"points_data":{{"total":{draw.randrange(9999)},"multiplier":{draw.randrange(1, 4)}}},'
        f'"padding":"{draw.randbytes(100).hex()}"}}'
    ).encode()
