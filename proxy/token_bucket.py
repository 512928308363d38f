"""A token bucket, the one rate limiter of the proxy. Pure: the time is an argument.

A bucket of `rate` 10 and `size` 20 starts with 20 tokens, gains 10 a second and never holds more than 20:

    bucket = TokenBucket.full(10.0, 20.0, now=0.0)
    bucket.refill(0.0)                 # 20.0: a burst may take all of them
    bucket.spend(20.0)
    bucket.take(0.05)                  # False: only half a token has come back
    bucket.take(0.1)                   # True: one token, which is taken

The unit of time is the caller's. It need not be seconds: `LearningBudget` in proxy.http1.head_cache counts cache hits.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class TokenBucket:
    """Tokens that come back at a fixed rate up to a limit.

    Attributes:
        rate: tokens gained in one unit of time.
        size: the most tokens that it holds.
        tokens: tokens that were there at `at`; negative after more was spent than there was.
        at: time of the last refill.
    """

    rate: float
    size: float
    tokens: float
    at: float

    @classmethod
    def full(cls, rate: float, size: float, *, now: float = 0.0) -> "TokenBucket":
        """Make a full bucket. It holds at least one token, or `take` could never succeed."""
        size = max(1.0, size)
        return cls(rate, size, size, now)

    def refill(self, now: float) -> float:
        """Add the tokens gained since the last call and return how many there are. Time that runs backwards adds none."""
        if now > self.at:
            self.tokens = min(self.size, self.tokens + (now - self.at) * self.rate)
            self.at = now
        return self.tokens

    def spend(self, count: float = 1.0) -> None:
        """Take tokens whether they are there or not; a debt is paid off by later refills."""
        self.tokens -= count

    def take(self, now: float) -> bool:
        """Take one token if there is one, and return whether it was taken."""
        if self.refill(now) < 1.0:
            return False
        self.tokens -= 1.0
        return True
