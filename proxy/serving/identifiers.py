"""Generate the values that the proxy writes into every message: X-Request-Id, span ids and Date."""

import os
import random
import time
from email.utils import formatdate


class Identifiers:
    """Request ids, span ids and Date of one process. Ids are a random prefix of the process and a counter."""

    def __init__(self) -> None:
        self._request_prefix = os.urandom(8).hex()
        self._requests = 0
        self._span_prefix = f"{random.getrandbits(32) or 1:08x}"
        self._spans = 0
        self._date = ""
        self._date_s = 0

    def new_request_id(self) -> str:
        """Return 32 hexadecimal digits, unique among all processes: for X-Request-Id, and for a trace that starts here."""
        self._requests += 1
        return f"{self._request_prefix}{self._requests:016x}"

    def new_span_id(self) -> str:
        """Return 16 hexadecimal digits, never all zero (W3C Trace Context); other processes have other prefixes."""
        self._spans = (self._spans + 1) & 0xFFFFFFFF
        return f"{self._span_prefix}{self._spans:08x}"

    @property
    def date(self) -> str:
        """The present time as Date states it; formatted once a second."""
        now_s = int(time.time())
        if now_s != self._date_s:
            self._date_s, self._date = now_s, formatdate(now_s, usegmt=True)
        return self._date
