"""Tokens as bits of an int, so that sets of tokens are ints: union is `a | b`, intersection `a & b`, difference `a & ~b`. Pure."""

from collections.abc import Callable, Iterable
from typing import Final

from comparator.exchanges.difference import Kind
from comparator.findings.tokens import HIDING_ROWS, WHOLE_BODY, Level, Token

_REPLACED_BY: Final = {Kind.MISSING_ROW: Kind.EXTRA_ROW, Kind.EXTRA_ROW: Kind.MISSING_ROW}


class TokenBits:
    """The bits of all tokens, and which tokens a set hides."""

    def __init__(self, tokens: Iterable[Token]) -> None:
        self.all = sorted(tokens, key=lambda token: token.name)
        self._bit = {token: 1 << index for index, token in enumerate(self.all)}
        self.levels = [self._having(lambda t, level=level: t.level is level) for level in Level]
        self.below = [sum(self.levels[level:]) for level in Level]
        """Tokens of a level and of all further ones."""
        self._hidden_by: dict[int, int] = {}
        for token, bit in self._bit.items():
            hidden = self._hidden(token) & ~bit
            if hidden:
                self._hidden_by[bit] = hidden
        self._hiding = sum(self._hidden_by)

    def mask(self, tokens: Iterable[Token]) -> int:
        """Return tokens as bits."""
        return sum(self._bit[token] for token in tokens)

    def members(self, mask: int) -> frozenset[Token]:
        """Return bits as tokens."""
        return frozenset(self.all[bit.bit_length() - 1] for bit in bits(mask))

    def hidden(self, mask: int) -> int:
        """Return the tokens that cannot be seen in an exchange with these ones, even if they are in it."""
        hidden = 0
        for bit in bits(mask & self._hiding):
            hidden |= self._hidden_by[bit]
        return hidden

    def replaced(self, mask: int) -> int:
        """Return the tokens of rows that are missing where these are extra, and extra where these are missing, in the same tables."""
        rows = {(t.table, t.discriminator, t.kind) for t in self.members(mask) if t.kind in _REPLACED_BY}
        return self._having(lambda t: (t.table, t.discriminator, _REPLACED_BY.get(t.kind)) in rows)

    def places(self, mask: int) -> frozenset[tuple[str, str]]:
        """Return the places of tokens."""
        return frozenset((token.place, token.discriminator) for token in self.members(mask))

    def _having(self, holds: Callable[[Token], bool]) -> int:
        return sum(bit for token, bit in self._bit.items() if holds(token))

    def _hidden(self, token: Token) -> int:
        if token.level is Level.STATUS:
            return sum(self.levels[1:])
        if token.kind in HIDING_ROWS:
            return self._having(
                lambda t: t.level is Level.COLUMN and (t.table, t.discriminator) == (token.table, token.discriminator)
            )
        if token.kind in WHOLE_BODY and token.table:
            # The document of one JSON column.
            return self._having(
                lambda t: t.level is Level.COLUMN and t.table == token.table and t.place.startswith(token.place + ".")
            )
        if token.kind in WHOLE_BODY:
            return self._having(lambda t: t.level is Level.FIELD and t.kind not in WHOLE_BODY)
        return 0


def bits(mask: int) -> Iterable[int]:
    """Return each bit of a mask by itself, the lowest first."""
    while mask:
        bit = mask & -mask
        yield bit
        mask ^= bit
