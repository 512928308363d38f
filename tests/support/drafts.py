"""Exchanges as the proxy has them when they were just served."""

from collections.abc import Iterable

from proxy.http1.forwarding_headers import ClientAddress, added_block
from proxy.http1.head_cache import CachedRequestParser, CachedResponseParser
from proxy.journal.served_exchange import ServedExchange

CLIENT = ClientAddress("10.0.0.1", "http", trusted=False)


class Serving:
    """Makes drafts whose heads were all recognised, so that they can be packed."""

    def __init__(self) -> None:
        self._seen = CachedRequestParser()
        self._answered = CachedResponseParser()
        self.draft("")

    def draft(
        self,
        name: str,
        *,
        key: str = "0xab",
        secret: str = "s3cret",
        target: str = "/v2/stamps",
        body: bytes = b"{}",
    ) -> ServedExchange:
        """An exchange with this id, ordering key, API key, target and response body."""
        fields = f"Host: api.example\r\nX-API-Key: {secret}\r\nAccept: */*"
        head = self._seen.parse(f"GET {target} HTTP/1.1\r\n{fields}\r\n\r\n".encode(), fields_max=0)
        draft = ServedExchange(head, name, 1_000, 0.0, len(body))
        draft.response = self._answered.parse(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", method="GET")
        draft.response_body.add(body)
        draft.route_name, draft.key, draft.ended_ns = "score", key, 2_000
        draft.added = added_block(head, CLIENT)
        draft.trace = f"00-{'1' * 32}-{'2' * 16}-01"
        return draft

    def drafts(self, names: Iterable[object]) -> list[ServedExchange]:
        """Exchanges with these ids."""
        return [self.draft(str(name)) for name in names]
