"""Exchanges that the proxy has just served."""

from collections.abc import Iterable

from proxy.http1.forwarding_headers import ClientAddress, forwarding_block
from proxy.http1.head_cache import CachedRequestParser, CachedResponseParser
from proxy.journal.served_exchange import ServedExchange

CLIENT = ClientAddress("10.0.0.1", "http", trusted=False)


class ServedExchanges:
    """Make exchanges whose heads are all cached, so that they can be encoded fast."""

    def __init__(self) -> None:
        self._requests = CachedRequestParser()
        self._responses = CachedResponseParser()
        self.exchange("")

    def exchange(
        self,
        name: str,
        *,
        key: str = "0xab",
        secret: str = "s3cret",
        target: str = "/v2/stamps",
        body: bytes = b"{}",
    ) -> ServedExchange:
        """Return an exchange with this id, ordering key, API key, target and response body."""
        fields = f"Host: api.example\r\nX-API-Key: {secret}\r\nAccept: */*"
        head = self._requests.parse(f"GET {target} HTTP/1.1\r\n{fields}\r\n\r\n".encode(), fields_max=0)
        exchange = ServedExchange(head, name, 1_000, 0.0, len(body))
        exchange.response = self._responses.parse(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", method="GET")
        exchange.response_body.add(body)
        exchange.route_name, exchange.key, exchange.ended_ns = "score", key, 2_000
        exchange.added = forwarding_block(head, CLIENT)
        exchange.trace = f"00-{'1' * 32}-{'2' * 16}-01"
        return exchange

    def exchanges(self, names: Iterable[object]) -> list[ServedExchange]:
        """Return exchanges with these ids."""
        return [self.exchange(str(name)) for name in names]
