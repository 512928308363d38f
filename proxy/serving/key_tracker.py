"""Requests in flight by ordering key, to mark those that overlap."""

from typing import Protocol


class KeyedRequest(Protocol):
    """A request being served; `key` is "" when it has none."""

    key: str
    overlapped: bool


class KeyTracker:
    """Mark requests that are in flight at the same time as another one with their key.

    The order in which a side executed two such requests is not known, so their row changes cannot be told apart:

        add(A, key x)       A.overlapped = False
        add(B, key x)       A.overlapped = B.overlapped = True: both, whichever ends first
        remove(A)
        add(C, key x)       B.overlapped = C.overlapped = True
    """

    def __init__(self) -> None:
        self._by_key: dict[str, list[KeyedRequest]] = {}

    def add(self, request: KeyedRequest) -> None:
        """Add a request; mark it and the others with its key, if there are any."""
        key = request.key
        if not key:
            return
        others = self._by_key.get(key)
        if others is None:
            self._by_key[key] = [request]
            return
        request.overlapped = True
        for other in others:
            other.overlapped = True
        others.append(request)

    def remove(self, request: KeyedRequest) -> None:
        """Remove a request; one that was never added is ignored."""
        requests = self._by_key.get(request.key)
        if requests is None or request not in requests:
            return
        if len(requests) == 1:
            del self._by_key[request.key]
        else:
            requests.remove(request)
